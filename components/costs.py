"""What each variant keeps of the original's accuracy, and what it costs in space and time."""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from components import address, pictures, provenance, queue
from components.choices import Choices, ready_variants
from vitquant import catalog, charts, gallery, machine, statistics, units, variants, wording
from vitquant.accuracy import REFERENCE
from vitquant.gallery import AnswerSet, Subject
from vitquant.measurements import LatencyRequest
from vitquant.runs import Run

SECONDS_PER_SHAPE = 2.0
"""Enough for a first answer in seconds; the Benchmark page takes longer."""

ALREADY_FLOAT16 = (
    "It cannot lose anything here: the sample's weights come as 16-bit numbers already. That says nothing "
    "about float16 elsewhere."
)

_COST = "trade-off"
DISK, TIME = "size on disk (MB)", "time for one picture (ms)"


def cards(db: sqlite3.Connection, subject: Subject, answers: AnswerSet, key: str) -> None:
    """One card for each variant. key: keeps two sets of cards on a page apart."""
    rows = {row["variant"]: row for row in gallery.accuracy_rows(db, answers)}
    if REFERENCE not in rows:
        st.caption("Only pictures opened one by one are answered yet: no sample to count on.")
        return
    sizes = gallery.size_rows(db, subject)
    timed = gallery.latency_rows(db, subject)
    speed = {row["variant"]: row for row in timed[1]} if timed else {}
    told = [name for name in rows if name in gallery.FIRST_TOLD]
    more = [name for name in rows if name not in told]

    def draw(names: Sequence[str]) -> None:
        with st.grid("auto", min_column_width=196, gap="small"):
            for name in names:
                with st.container(border=True, height="stretch", key=f"card-{key}-{name}"):
                    pictures.heading(name, variants.summary(name))
                    _card(rows[name], rows[REFERENCE], sizes, speed)
                    if name == "float16" and catalog.model(subject.model).home == "bundled":
                        st.caption(ALREADY_FLOAT16)

    draw(told)
    if more:
        with st.expander(f"More versions: {', '.join(more)}"):
            draw(more)


def _card(
    row: Mapping[str, Any],
    reference: Mapping[str, Any],
    sizes: Mapping[str, Mapping[str, Any]],
    speed: Mapping[str, Mapping[str, Any]],
) -> None:
    name = row["variant"]
    times_smaller = None
    if name in sizes and REFERENCE in sizes:
        times_smaller = sizes[REFERENCE]["disk_bytes"] / sizes[name]["disk_bytes"]
    st.markdown(f"**{wording.kept_sentence(row, reference, times_smaller=times_smaller)}**")
    st.metric(
        wording.measure_in(row).title,
        f"{row['top1']:.1%}",
        help=wording.measure_in(row).help,
    )
    st.caption(
        f"of {row['n']:,}; 95% interval {row['top1_low']:.1%} to {row['top1_high']:.1%}. "
        f"Among its first five guesses: {row['top5']:.1%}."
    )
    lines = [_lost(row, reference), _smaller(name, sizes, times_smaller), _faster(name, speed)]
    st.markdown("\n".join(f"- {line}" for line in lines if line))


def _lost(row: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    """The difference in percentage points, with its interval."""
    if row["variant"] == reference["variant"] or row["broken"] is None or row["n"] != reference["n"]:
        return ""
    difference = statistics.paired_difference(row["broken"], row["fixed"], row["n"])
    low, middle, high = (100 * share for share in (difference.low, difference.share, difference.high))
    return f"**{middle:+.1f} points** against the original (95% interval {low:+.1f} to {high:+.1f})"


def _smaller(name: str, sizes: Mapping[str, Mapping[str, Any]], times_smaller: float | None) -> str:
    if name not in sizes:
        return "size not measured yet"
    disk, memory = (sizes[name][column] / units.MB for column in ("disk_bytes", "total_bytes"))
    size = f"{disk:,.1f} MB on disk, {memory:,.1f} MB in memory"
    if name == REFERENCE or times_smaller is None:
        return f"**{size}**"
    if times_smaller < 1.05:
        return f"**not smaller** on disk: {size}"
    return f"**{times_smaller:.1f} times smaller**: {size}"


def _faster(name: str, speed: Mapping[str, Mapping[str, Any]]) -> str:
    if name not in speed:
        return "speed not measured yet"
    row, reference = speed[name], speed[REFERENCE]
    time = f"{row['median_s'] * 1e3:,.1f} ms a picture"
    if name == REFERENCE:
        return f"**{time}**"
    if row.get("is_noisy") or reference.get("is_noisy"):
        return "**the machine was too noisy** to tell the speed"
    if row["q1_s"] <= reference["q3_s"] and reference["q1_s"] <= row["q3_s"]:
        return f"{time}: **no clear difference in speed**"
    ratio = reference["median_s"] / row["median_s"]
    return f"**{ratio:.1f} times faster**: {time}" if ratio > 1 else f"**{1 / ratio:.1f} times slower**: {time}"


def offer_to_time(db: sqlite3.Connection, chosen: Choices) -> None:
    """Say on what the speed was measured, or offer to measure it: it belongs to the visitor's own machine."""
    subject = chosen.subject
    timed = gallery.latency_rows(db, subject)
    if timed:
        say_on_what(*timed, chosen)
        return
    if chosen.today.weights_digest is None:
        return
    request = LatencyRequest(
        subject.model,
        subject.weights,
        tuple(ready_variants(db, subject)),
        (f"1x{subject.image_size}", f"8x{subject.image_size}"),
        (machine.default_threads(),),
        SECONDS_PER_SHAPE,
    )
    queue.offer(
        "Measure the speed on this machine",
        request,
        icon=":material/speed:",
        help="In the background: with the sample, some seconds.",
    )


def say_on_what(run: Run, rows: Sequence[Mapping[str, Any]], chosen: Choices) -> None:
    """On what the speeds were measured, as gallery.latency_rows gives them, and what has changed since."""
    changes = gallery.run_changes(run, chosen.today)
    st.caption(
        f"Speed: one picture at a time, median, {rows[0]['threads']} threads of "
        f"{run.environment.get('machine', 'this machine')}, "
        f"{provenance.when(run.ended_at or run.created_at)}."
        + (f" Stale, changed since: {'; '.join(changes)}." if changes else "")
    )


def trade_off(
    db: sqlite3.Connection,
    subject: Subject,
    answers: AnswerSet,
    names: Collection[str] | None = None,
    height: int | None = None,
) -> None:
    """Accuracy against size or time, for the variants of which both are measured. names: of these alone.
    height: of the chart in pixels, where there is room for nothing else; then against size, if measured."""
    rows = [row for row in gallery.accuracy_rows(db, answers) if names is None or row["variant"] in names]
    timed = gallery.latency_rows(db, subject)
    measured = {
        DISK: {name: row["disk_bytes"] / units.MB for name, row in gallery.size_rows(db, subject).items()},
        TIME: {row["variant"]: row["median_s"] * 1e3 for row in timed[1]} if timed else {},
    }
    available = [title for title, costs in measured.items() if any(row["variant"] in costs for row in rows)]
    if not available:
        return
    title = available[0] if height else _chosen_cost(available)
    table = pd.DataFrame([{**row, _COST: measured[title].get(row["variant"])} for row in rows]).dropna(
        subset=[_COST]
    )
    st.plotly_chart(
        charts.trade_off(table, _COST, title, height),
        config=charts.CONFIG,
        alt=charts.trade_off_alt(table, _COST, title),
        key="trade-off",
    )


def _chosen_cost(available: Sequence[str]) -> str:
    """The heading, and the cost that the visitor wants to see, DISK or TIME."""
    st.subheader("The trade-off", anchor=False)
    keys = {DISK: "disk", TIME: "time"}
    cost = address.value_of(address.COST, [keys[title] for title in available], keys[available[0]], what="cost")
    if len(available) > 1:
        st.segmented_control(
            "Cost",
            [keys[title] for title in available],
            required=True,
            format_func={keys[title]: title for title in available}.__getitem__,
            label_visibility="collapsed",
            **address.mirror(address.COST, cost),
        )
    return next(title for title in available if keys[title] == cost)
