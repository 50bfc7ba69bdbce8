"""A variant as a file that works without vitquant: made in the background, put to the test, then offered."""

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from components import address, choices, provenance, queue
from components.choices import Choices
from vitquant import catalog, charts, datasets, exports, measurements, paths, room, runs
from vitquant.accuracy import REFERENCE
from vitquant.exports import Format
from vitquant.measurements import ExportRequest
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
        wanted = _format(chosen)
    with right:
        variant = _variant(wanted)
    st.caption(wanted.summary)
    if problem := exports.why_not(wanted.name, variant):
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
    run = _stored(db, chosen, request)
    if run:
        _offer(chosen, run)
    else:
        _make(chosen, request)
    _how_to_load(wanted)
    _made_before(db, chosen, run)


def _format(chosen: Choices) -> Format:
    name = address.value_of(address.FORMAT, list(exports.FORMATS), "program", what="format")
    st.selectbox(
        "Format",
        list(exports.FORMATS),
        format_func=lambda name: exports.FORMATS[name].title,
        **address.mirror(address.FORMAT, name),
    )
    return exports.FORMATS[name]


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


def _stored(db: sqlite3.Connection, chosen: Choices, request: ExportRequest) -> Run | None:
    """The run that made this file under today's conditions, if the file is still there."""
    if chosen.today.weights_digest is None or not datasets.is_here(request.dataset):
        return None
    rows = request.stored(db)
    return measurements.newest_run(db, request) if rows else None


def _make(chosen: Choices, request: ExportRequest) -> None:
    with st.container(border=True):
        words, button = st.columns([3, 2], vertical_alignment="center")
        if chosen.today.weights_digest is None:
            words.markdown("The weights of this model are not here, so nothing can be made of it.")
            return
        if problem := room.memory_problem(request.model, request.format):
            words.markdown(problem)
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


def _offer(chosen: Choices, run: Run) -> None:
    [row] = run.result or [{}]
    file = exports.file_of(row)
    assert file is not None
    with st.container(border=True, key="offer"):
        st.markdown(f"**{file.name}** · {_sizes(row)}")
        st.markdown(_proof(row, chosen))
        if row["file_bytes"] <= LARGEST_DOWNLOAD:
            st.download_button(
                f"Download ({row['file_bytes'] / charts.MB:,.1f} MB)",
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
    mark = "✓" if row["disagreements"] == 0 else "≠"
    lines = [
        f"{mark} Loaded again by itself in {row['runtime']}, it gave **another first answer on "
        f"{row['disagreements']:,} of {row['n']:,} pictures** than {row['compared_with']} in vitquant; the "
        f"largest difference of a logit is **{row['largest_logit_difference']:.3g}**."
    ]
    if exports.FORMATS[row["format"]].converts:
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


def _made_before(db: sqlite3.Connection, chosen: Choices, shown: Run | None) -> None:
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
                    "format": exports.FORMATS[row["format"]].title
                    if row["format"] in exports.FORMATS
                    else row["format"],
                    "bytes": row["file_bytes"],
                    "other answers": row["disagreements"],
                    "of pictures": row["n"],
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
