"""A picture's answer depends on the pictures beside it: how often, and one that flips."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from components import pictures, provenance
from components.choices import Choices
from components.diagnosis import live
from vitquant import charts, follow_charts
from vitquant.runs import Run

Row = Mapping[str, Any]


def show(db: sqlite3.Connection, chosen: Choices, run: Run) -> None:
    """run: a diagnosis of the variant on these pictures."""
    pictures.style_sheet()
    [variant] = run.request["variants"]
    rows = [row for row in run.result or [] if row["part"] == "batch"]
    flips = [row for row in run.result or [] if row["part"] == "flip"]
    if not rows:
        st.info(
            "This diagnosis has not come to the batches: measure it again.", icon=":material/hourglass_empty:"
        )
        return
    st.markdown(
        "Dynamic int8 gives a layer **one scale for the whole batch**: the largest activation of any picture "
        f"in it sets the grid for all. So what {variant} says of a picture depends on the pictures beside it. "
        "float32 knows nothing of the sort."
    )
    for sentence in _sentences(rows, variant):
        st.markdown(sentence)
    st.plotly_chart(
        follow_charts.changed(rows, variant),
        config=charts.CONFIG,
        alt=follow_charts.changed_alt(rows),
        key="neighbours-changed",
    )
    st.caption(
        f"{run.request['model']}, {variant}: first answers to {rows[0]['n']:,} pictures of "
        f"{run.request['dataset']}, in the order in which they are measured, with 95% intervals (Wilson; as if "
        "pictures of one batch did not share their fate). Elsewhere in vitquant every picture is measured "
        "alone."
    )
    if flips:
        _flip(flips[0], run.request["dataset"], variant)
    provenance.of_run(run)


def _sentences(rows: Sequence[Row], variant: str) -> list[str]:
    found = []
    for row in rows:
        if row["batch"] == 1:
            continue
        count, n = round(row["changed"] * row["n"]), row["n"]
        found.append(
            f"In batches of **{row['batch']}**, {count:,} of {n:,} first answers are others than alone: "
            f"**{row['changed']:.1%}** (95% interval {row['changed_low']:.1%} to {row['changed_high']:.1%})."
        )
    if not any(row["changed"] for row in rows):
        found.append(
            f"No answer changed here. That does not make {variant} independent of its batch: its probabilities "
            "move, only too little to turn an answer."
        )
    return found


def _flip(flip: Row, dataset: str, variant: str) -> None:
    st.subheader("One answer that flips", anchor=False)
    alone, beside = (pictures.class_title(flip[f"{how}_index"]) for how in ("alone", "beside"))
    sure, then = (f"{flip[f'{how}_probability']:.0%}" for how in ("alone", "beside"))
    said = f"Alone, {variant} says **{alone}** ({sure}) of the first picture."
    if flip["neighbour"] is None:
        st.markdown(
            f"{said} In its batch of {flip['batch']} it says **{beside}** ({then}). No single neighbour does "
            "it, only several of them together."
        )
    else:
        what = pictures.class_title(flip["neighbour_class_index"])
        st.markdown(
            f"{said} Beside the second one, {_with_article(what)}, it says **{beside}** ({then}) of the very "
            "same picture."
        )
    with st.container(width=480, key="flip"), st.grid("auto", min_column_width=140, gap="medium"):
        _picture(dataset, flip["path"], flip["class_index"], "The picture")
        if flip["neighbour"] is not None:
            _picture(dataset, flip["neighbour_path"], flip["neighbour_class_index"], "Its neighbour")


def _picture(dataset: str, path: str, class_index: int, title: str) -> None:
    with st.container():
        pictures.large(live.file_of(dataset, path), class_index)
        st.caption(f"{title}: {pictures.class_title(class_index)}")


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"
