"""A variant as a file that works without vitquant: made in the background, put to the test, then offered."""

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from components import address, choices, provenance, queue, readonly
from components.choices import Choices
from vitquant import catalog, datasets, exports, formats, paths, room, runs, units, wording
from vitquant.accuracy import REFERENCE
from vitquant.formats import Format
from vitquant.measurements import ExportRequest
from vitquant.request import newest_run
from vitquant.runs import Run

LARGEST_DOWNLOAD = 10**9
"""Bytes that the server hands to a browser; it holds them in memory meanwhile. A larger file is copied from
where it lies."""


def show(db: sqlite3.Connection, chosen: Choices) -> None:
    st.markdown(
        "A variant as files that work **without vitquant**: the weights, the few lines that load them, the "
        "transform, the labels, a model card with what was measured, and digests. Before a file is offered it "
        "is loaded again by itself, in a process that knows nothing of vitquant, and its answers are compared."
    )
    left, right = st.columns(2, gap="medium")
    with left:
        wanted = _format()
    with right:
        variant = _variant(wanted)
    st.caption(wanted.summary)
    if problem := formats.why_not(wanted.name, variant):
        st.info(problem, icon=":material/extension:")
        return
    if variant == "float16":
        st.info(
            "**Half as large, really.** What torch itself saves of a float16 variant is as large as float32: "
            "to save a packed layer it unpacks the weight to float32. Here the weight is rounded back to "
            "float16 when the file is written, which loses nothing since it came from there, and packed again "
            "when it is loaded.",
            icon=":material/lightbulb:",
        )
    request = _request(chosen, wanted, variant)
    made = _stored(db, chosen, request)
    if made:
        _offer(chosen, *made)
    else:
        _make(chosen, request)
    _how_to_load(wanted)
    _made_before(db, chosen)


def _format() -> Format:
    name = address.value_of(address.FORMAT, list(formats.FORMATS), "program", what="format")
    st.selectbox(
        "Format",
        list(formats.FORMATS),
        format_func=lambda name: formats.FORMATS[name].title,
        **address.mirror(address.FORMAT, name),
    )
    return formats.FORMATS[name]


def _variant(wanted: Format) -> str:
    usable = choices.usable_variants()
    first = "float16" if "float16" in usable else usable[0]
    variant = address.value_of(address.VARIANT, usable, first, what="variant")
    if wanted.variants is not None and variant not in wanted.variants:
        st.segmented_control(
            "Made of", wanted.variants, default=wanted.variants[0], required=True, key="made-of", disabled=True
        )
        return wanted.variants[0]
    st.segmented_control("Variant", usable, required=True, **address.mirror(address.VARIANT, variant))
    return variant


def _request(chosen: Choices, wanted: Format, variant: str) -> ExportRequest:
    subject = chosen.subject
    # The sample's pictures are always here, and a file can be put to the test on any.
    dataset = subject.dataset if datasets.is_here(subject.dataset) else "sample"
    return ExportRequest(
        subject.model,
        subject.weights,
        (variant,),
        wanted.name,
        dataset,
        exports.usual_pictures(subject.model),
        subject.image_size,
    )


def _stored(db: sqlite3.Connection, chosen: Choices, request: ExportRequest) -> tuple[Run, Path] | None:
    """The run that made this file under today's conditions, and the file, if that is still there as it was
    made."""
    if chosen.today.weights_digest is None or not datasets.is_here(request.dataset):
        return None
    run = newest_run(db, request)
    file = exports.sound_file(db, run.result[0]) if run and run.result else None
    return (run, file) if run and file else None


def _make(chosen: Choices, request: ExportRequest) -> None:
    with st.container(border=True):
        words, button = st.columns([3, 2], vertical_alignment="center")
        if chosen.today.weights_digest is None:
            words.markdown("The weights of this model are not here, so nothing can be made of it.")
            return
        if problem := room.memory_problem(request.model, request.format):
            words.markdown(problem)
            return
        if readonly.is_on():
            words.markdown("Not made yet.")
            return
        needs = room.amount(room.needed_bytes(catalog.model(request.model), request.format))
        words.markdown(
            f"Not made yet. It is written and put to the test on {request.pictures:,} pictures of "
            f"{request.dataset}, in the background: seconds for the sample, a minute or so for ViT-B; about "
            f"{needs} of memory meanwhile (estimated)."
        )
        with button:
            queue.offer(
                "Make the file",
                request,
                again=True,
                type="primary",
                icon=":material/package_2:",
                width="stretch",
            )


def _offer(chosen: Choices, run: Run, file: Path) -> None:
    [row] = run.result or []
    with st.container(border=True, key="offer"):
        st.markdown(f"**{file.name}** · {_sizes(row)}")
        st.markdown(_proof(row, chosen))
        if (ruined := wording.ruined_sentence(row)) and not chosen.subject.is_random:
            st.error(ruined, icon=":material/warning:")
        if row["file_bytes"] <= LARGEST_DOWNLOAD:
            st.download_button(
                f"Download ({row['file_bytes'] / units.MB:,.1f} MB)",
                data=_reader(file),
                file_name=file.name,
                mime="application/zip",
                icon=":material/download:",
                type="primary",
                on_click="ignore",  # a rerun meanwhile could sweep the file away before it is fetched
            )
        else:
            st.markdown(f"Too large to send through a browser. It lies here on the server: `{file}`")
        st.caption(f"SHA-256 of the archive: `{row['sha256']}`")
    provenance.of_run(run)


def _sizes(row: Mapping[str, Any]) -> str:
    return f"{row['file_bytes']:,} bytes, of them {row['weights_bytes']:,} the weights' file"


def _proof(row: Mapping[str, Any], chosen: Choices) -> str:
    """What the file answered when it was loaded again."""
    same = (
        f"✓ Loaded again by itself in {row['runtime']}, it gave **the same first answer on all {row['n']:,} "
        f"pictures** as {row['compared_with']} in vitquant"
        if row["disagreements"] == 0
        else f"≠ Loaded again by itself in {row['runtime']}, it gave **another first answer on "
        f"{row['disagreements']:,} of {row['n']:,} pictures** than {row['compared_with']} in vitquant"
    )
    lines = [f"{same}; the largest difference of a logit is **{row['largest_logit_difference']:.3g}**."]
    if formats.FORMATS[row["format"]].converts:
        lines.append(
            "It is a conversion of its own, made by ONNX Runtime from float32, and not torch's qint8. On "
            f"these pictures it has **{row['top1']:.1%}** right (95% interval {row['top1_low']:.1%} to "
            f"{row['top1_high']:.1%}), where {REFERENCE} has {row['reference_top1']:.1%}."
        )
    if chosen.subject.is_random:
        lines.append("The weights are random: that the answers agree means something, what they are does not.")
    return "\n\n".join(lines)


def _reader(file: Path) -> Callable[[], bytes]:
    return file.read_bytes


def _how_to_load(wanted: Format) -> None:
    with st.expander(f"How it is loaded: {', '.join(wanted.needs)}, and these lines", icon=":material/code:"):
        st.caption("load.py, which goes along; `python predict.py picture.jpg` uses it.")
        st.code(wanted.loader, language="python")


def _made_before(db: sqlite3.Connection, chosen: Choices) -> None:
    """Every file made of this model that still lies there."""
    rows = []
    for run in runs.find(db, kind="export", states=("done",)):
        if (run.request["model"], run.request["weights"]) != (chosen.subject.model, chosen.subject.weights):
            continue
        for row in run.result or []:
            file = exports.file_of(row)
            rows.append(
                {
                    "variant": row["variant"],
                    "format": formats.FORMATS[row["format"]].title
                    if row["format"] in formats.FORMATS
                    else row["format"],
                    "bytes": row["file_bytes"],
                    "other answers": f"{row['disagreements']:,} of {row['n']:,}",
                    "largest logit difference": row["largest_logit_difference"],
                    "top-1": 100 * row["top1"],
                    "made": provenance.when(run.ended_at or run.created_at),
                    "where": str(file.relative_to(paths.data_dir())) if file else "the file is gone",
                }
            )
    if not rows:
        return
    st.subheader("Made of this model", anchor=False)
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={
            "bytes": st.column_config.NumberColumn(format="localized"),
            "largest logit difference": st.column_config.NumberColumn(format="%.3g"),
            "top-1": st.column_config.NumberColumn(format="%.1f%%"),
        },
        alt="; ".join(f"{row['variant']} as {row['format']}: {row['bytes']:,} bytes" for row in rows),
    )
