"""Size: what each variant takes on disk and in memory."""

import sqlite3

import pandas as pd
import streamlit as st

from components import address, choices, frame, provenance, queue, server
from components.choices import Choices
from vitquant import charts, gallery, notebook, paths
from vitquant.measurements import SizeRequest
from vitquant.runs import Run

UNITS = {"MB": charts.MB, "MiB": charts.MIB}

COLUMNS = {
    "variant": "variant",
    "disk_bytes": "on disk",
    "parameters_bytes": "parameters()",
    "packed_bytes": "packed weights",
    "buffers_bytes": "buffers",
    "total_bytes": "in memory, all",
}


def show(db: sqlite3.Connection) -> None:
    server.see_to_the_queue(str(paths.store_file()))
    chosen = choices.choose(db)
    unit = address.value_of(address.UNIT, list(UNITS), "MB", what="unit")
    address.show_misunderstood()
    st.markdown(choices.summary(chosen.subject))
    queue.show()
    found = gallery.finished_runs(db, "size", chosen.subject)
    if found:
        # The newest run that has all variants; a newer one of a single variant must not hide it.
        usable = set(choices.usable_variants())
        whole = next((run for run in found if usable <= set(run.request["variants"])), None)
        _result(chosen, whole or found[0], unit)
        shown = whole or found[0]
        if gallery.run_changes(shown, chosen.today):
            _measure(chosen, "Measure again under today's conditions?")
        elif whole is None:
            _measure(chosen, "Not every variant is measured yet.")
        elif shown.shipped:
            _measure(chosen, "These came with vitquant: measured elsewhere. Measure them on this machine?")
    else:
        _measure(chosen, "Nothing is measured yet for this model and these weights.")
    _notebook()


def _measure(chosen: Choices, why: str) -> None:
    request = SizeRequest(chosen.subject.model, chosen.subject.weights, tuple(choices.usable_variants()))
    with st.container(border=True):
        words, button = st.columns([3, 2], vertical_alignment="center")
        words.markdown(f"{why} Every variant is built and its bytes are counted, in the background.")
        with button:
            queue.offer(
                "Measure the sizes",
                request,
                again=True,
                type="primary",
                icon=":material/play_arrow:",
                width="stretch",
            )


def _result(chosen: Choices, run: Run, unit_name: str) -> None:
    rows = pd.DataFrame(run.result)
    unit = UNITS[unit_name]
    changes = gallery.run_changes(run, chosen.today)
    if changes:
        provenance.stale({", ".join(run.request["variants"]): changes})
    st.segmented_control(
        "Unit",
        list(UNITS),
        required=True,
        help="MB is 10⁶ bytes, MiB is 2²⁰ bytes: 1 MiB is 4.9% more than 1 MB.",
        **address.mirror(address.UNIT, unit_name),
    )
    alt = charts.size_alt(rows, unit)
    left, right = st.columns(2, gap="medium")
    with left:
        st.subheader("On disk", anchor=False)
        st.caption("The file that `torch.save` makes of the variant's weights.")
        st.plotly_chart(charts.disk(rows, unit), config=charts.CONFIG, alt=alt, key="disk")
    with right:
        st.subheader("In memory", anchor=False)
        st.caption(charts.MEMORY_LEGEND)
        st.plotly_chart(charts.memory(rows, unit), config=charts.CONFIG, alt=alt, key="memory")
    st.info(
        "**Why `parameters()` misses most of a quantized model.** A quantized layer keeps its weights "
        "*packed*, in the engine's own layout, and torch does not list packed weights among a model's "
        "parameters. So a sum over `parameters()` shows only what was left unquantized, while the packed "
        "weights lie in memory all the same. Saving float16 unpacks it to float32, so its file is as large "
        "as the original's.",
        icon=":material/lightbulb:",
    )
    st.subheader("In bytes", anchor=False)
    st.dataframe(
        rows[list(COLUMNS)].rename(columns=COLUMNS),
        hide_index=True,
        column_config={
            name: st.column_config.NumberColumn(format="localized") for name in list(COLUMNS.values())[1:]
        },
        alt=charts.size_alt(rows, 1),
    )
    provenance.of_run(run)


def _notebook() -> None:
    with st.expander(notebook.TITLE):
        st.markdown(
            f"{notebook.WHAT} `{notebook.MODEL}`, Torch Hub's weights. It calls "
            "both columns MB; its disk figures are MiB, and its memory figures are MB and count "
            "`parameters()` alone."
        )
        st.dataframe(pd.DataFrame(notebook.SIZE), hide_index=True)


frame.page("Size", show)
