"""The notebook's riddle: its table, the same two computations here, and what each of them leaves out."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from components import provenance
from components.choices import Choices
from components.size import stored
from vitquant import charts, notebook, riddle, size_charts, units, wording
from vitquant.accuracy import REFERENCE
from vitquant.riddle import Line
from vitquant.units import MB, MIB


def show(db: sqlite3.Connection, chosen: Choices) -> None:
    theirs = {str(row["variant"]): row for row in notebook.SIZE}
    int8, half = (
        [f"{theirs[name][column]:.0f} MB" for column in ("disk (MiB)", "memory (MB)")]
        for name in ("qint8", "float16")
    )
    st.markdown(
        f"The notebook that vitquant grew out of measured that int8 takes **{int8[0]} on disk but {int8[1]} in "
        f"memory**, and float16 **{half[0]} on disk, as much as the original, but also {half[1]} in memory**. "
        "It called both MB, and ended with: probably some quirks of the implementation. Here is every byte."
    )
    run = stored.sizes(db, chosen, with_ledgers=True)
    if run is None:
        _notebook_alone()
        return
    found = run.result or []
    unit = stored.unit()
    _same_computations(chosen, found)
    _units(found)
    _sum(
        "3 · What `parameters()` does not see",
        "A quantized layer keeps its weight **packed**, in the engine's own layout, and torch does not list "
        "packed weights among a model's parameters. The notebook's sum over `parameters()` therefore shows "
        "only what was *not* quantized: embeddings, norms, layer scales, tokens. That is the same for int8 "
        "and float16, whatever their weights take. Add the packed weights, and the riddle's first half is "
        "gone:",
        riddle.memory_lines(found),
        unit,
        "memory",
        "It is the sum of all tensors that the variant holds.",
    )
    _sum(
        "4 · Why the float16 file is as large as float32's",
        "To save a packed layer, torch **unpacks** its weight; and it unpacks float16 to float32. The file "
        "therefore has 4 bytes for each number that takes 2 in memory. int8 stays int8 when it is saved. What "
        "is left is small: names, structure, headers.",
        riddle.disk_lines(found),
        unit,
        "disk",
        "It is the size of the file that torch wrote.",
    )
    _truth(found)
    provenance.of_run(run)


def _notebook_alone() -> None:
    st.caption(f"{notebook.WHAT} `{notebook.MODEL}`, Torch Hub's weights.")
    st.dataframe(pd.DataFrame(notebook.SIZE), hide_index=True)


def _same_computations(chosen: Choices, found: Sequence[Mapping[str, Any]]) -> None:
    st.subheader("1 · The notebook's table, and the same two computations here", anchor=False)
    if chosen.subject.model == notebook.MODEL:
        st.markdown(
            f"The notebook's model is the one you look at: `{notebook.MODEL}`. Sizes do not depend on the "
            "weights' values."
        )
    else:
        st.markdown(
            f"The notebook's figures are of `{notebook.MODEL}`; you look at `{chosen.subject.model}`, so the "
            "figures differ, and the riddle is the same."
        )
        st.page_link(
            "pages/size.py",
            label="See it with the notebook's own model",
            icon=":material/swap_horiz:",
            query_params={"view": "riddle", "model": notebook.MODEL, "weights": "random"},
        )
    beside = riddle.beside_the_notebook(found)
    table = pd.DataFrame(beside)
    st.dataframe(
        table,
        hide_index=True,
        placeholder="not measured",
        column_config={
            name: st.column_config.NumberColumn(format="%.6f" if "memory" in name else "%.4f")
            for name in table.columns[1:]
        },
        alt="; ".join(
            f"{row['variant']}: notebook {row['notebook, disk (MiB)']:.1f} MiB on disk and "
            f"{row['notebook, memory (MB)']:.1f} MB in memory"
            for row in table.to_dict("records")
        ),
    )
    st.caption(
        "notebook: its author's figures, not measured here. here: `torch.save` of the state dict, and the sum "
        "over `parameters()`, as the notebook computed them."
    )
    off = riddle.largest_deviation(beside)
    if off is not None and off["disk"] < notebook.CLOSE:
        st.markdown(wording.reproduced(off))


def _units(found: Sequence[Mapping[str, Any]]) -> None:
    reference = next((row for row in found if row["variant"] == REFERENCE), found[0])
    count = reference["disk_bytes"]
    st.subheader("2 · One of its MB is a MiB", anchor=False)
    st.markdown(
        f"The notebook calls both columns MB. But it divided the file's bytes by 2²⁰ = {MIB:,}, which gives "
        f"**MiB**, and the memory's by 10⁶ = {MB:,}, which gives **MB**. One file, {reference['variant']}'s "
        f"{count:,} bytes, is {count / MIB:,.2f} MiB or {count / MB:,.2f} MB. So a file seemed "
        f"{100 * (1 - MB / MIB):.1f}% smaller beside memory than it was."
    )


def _sum(title: str, words: str, lines: Sequence[Line], unit: int, key: str, closing: str) -> None:
    st.subheader(title, anchor=False)
    st.markdown(words)
    variants = [name for name in lines[0].amounts if name != REFERENCE] or list(lines[0].amounts)
    for column, variant in zip(st.columns(len(variants), gap="medium"), variants, strict=True):
        with column:
            st.markdown(f"**{variant}**")
            st.plotly_chart(
                size_charts.waterfall(lines, variant, unit),
                config=charts.CONFIG,
                alt=size_charts.waterfall_alt(lines, variant),
                key=f"riddle-{key}-{variant}",
            )
    with st.expander("The sum in bytes", icon=":material/functions:"):
        table = pd.DataFrame(
            [{"": ("= " if line.is_sum else "") + line.title, **line.amounts} for line in lines]
        )
        st.dataframe(
            table,
            hide_index=True,
            column_config={
                name: st.column_config.NumberColumn(format="localized") for name in lines[0].amounts
            },
            alt=" ".join(size_charts.waterfall_alt(lines, name) for name in lines[0].amounts),
        )
        st.caption(f"The lines add up to the last one, to the byte. {closing}")


def _truth(found: Sequence[Mapping[str, Any]]) -> None:
    st.subheader("5 · So this is what they take", anchor=False)
    st.markdown("\n".join(f"- {sentence}" for sentence in wording.smaller_sentences(found)))
    table = pd.DataFrame(riddle.in_truth(found))
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            name: st.column_config.NumberColumn(format="localized" if "bytes" in name else "%.3f")
            for name in table.columns[1:]
        },
        alt=charts.size_alt(pd.DataFrame(found), units.MB),
    )
    st.page_link(
        "pages/size.py",
        label="A float16 file that really is half as large",
        icon=":material/download:",
        query_params={"view": "take", "variant": "float16"},
    )
