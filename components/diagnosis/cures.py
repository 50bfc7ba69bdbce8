"""What mends int8: each cure beside fp32 and qint8, as it was measured, and the clicks that measure it."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from components import choices, costs, pictures, provenance, queue, readonly
from components.choices import Choices
from components.diagnosis import cures_study, cures_trail
from vitquant import (
    catalog,
    charts,
    cure_charts,
    cure_words,
    gallery,
    machine,
    measurements,
    room,
    units,
    variants,
    wording,
)
from vitquant.accuracy import INT8, REFERENCE
from vitquant.request import Request
from vitquant.runs import Run

Row = Mapping[str, Any]

SHOWN = ("qint8_channel", "qint8_smooth", "qint8_mixed", "qint8_best", "bfloat16")


@dataclass(frozen=True)
class Measured:
    """What is stored of the cures, of fp32 and of qint8: rows by variant."""

    accuracy: Mapping[str, Row]
    sizes: Mapping[str, Row]
    speed: Mapping[str, Row]
    timed: Run | None  # what the speeds are of

    @property
    def timed_here(self) -> Mapping[str, Row]:
        """The speeds, where they are this machine's."""
        is_here = self.timed and self.timed.environment.get("machine") == machine.machine_name()
        return self.speed if is_here else {}

    @property
    def cures(self) -> list[str]:
        """Every cure, those with settings of their own where they are measured."""
        told = [name for name in self.accuracy if ":" in name and variants.own_name(name) in SHOWN]
        return sorted([*SHOWN, *told], key=lambda name: SHOWN.index(variants.own_name(name)))


def show(db: sqlite3.Connection, chosen: Choices) -> None:
    pictures.style_sheet()
    subject = chosen.subject
    if subject.is_random:
        st.warning(
            f"{pictures.RANDOM.capitalize()}: no share of right answers is shown, and searches for a cure "
            "minimise the KL divergence to fp32's answers.",
            icon=":material/casino:",
        )
    choices.offer_fuller(chosen)
    measured = _measured(db, chosen)
    _stale(chosen, measured)
    _answer(chosen, measured)
    _offers(chosen, measured)
    _cards(chosen, measured)
    _table(chosen, measured)
    if chosen.answers and measured.accuracy:
        provenance.of_answers(chosen)
    cures_trail.show(db, chosen)
    cures_study.show(db, chosen)


def _measured(db: sqlite3.Connection, chosen: Choices) -> Measured:
    answers = chosen.answers
    rows = {row["variant"]: row for row in gallery.rows_together(db, answers)} if answers else {}
    timed = gallery.latency_rows(db, chosen.subject)
    speed = {row["variant"]: row for row in timed[1]} if timed else {}
    return Measured(
        accuracy=rows if REFERENCE in rows else {},
        sizes=gallery.size_rows(db, chosen.subject),
        speed=speed,
        timed=timed[0] if timed else None,
    )


def _stale(chosen: Choices, measured: Measured) -> None:
    shown = (REFERENCE, INT8, *measured.cures)
    changes = {name: changed for name, changed in chosen.stale.items() if name in shown}
    provenance.stale(changes, again=_accuracy_request(chosen, measured))


# The answer


def _answer(chosen: Choices, measured: Measured) -> None:
    rows, answers = measured.accuracy, chosen.answers
    if answers is None or not {REFERENCE, INT8} <= set(rows):
        st.markdown(
            "**What does int8 lose here, and what gives it back?** That is not measured yet for these choices."
        )
        return
    cure = gallery.cure_of(answers)
    if chosen.subject.is_random:
        st.markdown(cure_words.of_random(rows, cure))
        return
    sentences = cure_words.answer(rows, measured.sizes, cure, chosen.subject.dataset)
    st.markdown("  \n".join(sentences))
    shown = [rows[name] for name in (REFERENCE, INT8, *measured.cures) if name in rows]
    st.plotly_chart(
        cure_charts.kept(shown, measured.sizes),
        config=charts.CONFIG,
        alt=cure_charts.kept_alt(shown, measured.sizes),
        key="cures-kept",
    )
    counts = sorted({row["n"] for row in shown})
    of = " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))
    st.caption(
        f"Top-1 on {of} pictures of {chosen.subject.dataset} with its 95% interval, and at the right the size "
        f"on disk where it is measured. Dashed: {REFERENCE}. No cure has seen these pictures."
    )


# What is still to be measured


def _offers(chosen: Choices, measured: Measured) -> None:
    """What is not measured yet, and the buttons that measure it."""
    usable = set(choices.usable_variants())
    names = [name for name in (REFERENCE, INT8, *SHOWN) if name in usable]
    requests: dict[str, tuple[Mapping[str, Row], str, Request]] = {
        "accuracy": (measured.accuracy, "Measure the accuracy", _accuracy_request(chosen, measured)),
        "size": (measured.sizes, "Measure the sizes", _size_request(chosen, names)),
        "speed": (measured.speed, "Measure the speed", _latency_request(chosen, names)),
    }
    lacking = {what: [name for name in names if name not in there] for what, (there, _, _) in requests.items()}
    if readonly.is_on() or not any(lacking.values()):
        return
    with st.container(border=True):
        st.markdown(
            "Not measured yet: "
            + "; ".join(
                f"the {what} of {'all of them' if of == names else ', '.join(of)}"
                for what, of in lacking.items()
                if of
            )
            + ". In the background; what has to be calibrated is, first."
        )
        if problem := _problem(chosen):
            st.caption(problem)
            return
        with st.container(horizontal=True):
            for what, (_, label, request) in requests.items():
                if lacking[what]:
                    queue.offer(
                        label,
                        request,
                        key=f"cures-{what}",
                        type="primary" if what == "accuracy" else "secondary",
                        icon=":material/play_arrow:",
                    )


def _problem(chosen: Choices) -> str | None:
    """Why nothing can be measured, as a sentence."""
    subject = chosen.subject
    if not chosen.pictures_here:
        how = catalog.dataset(subject.dataset).how_to_get
        return f"The pictures of {subject.dataset} are not here: `{how}` brings them."
    if chosen.today.weights_digest is None:
        return "The weights of this model are not here: choose others in the sidebar."
    return room.memory_problem(subject.model, measurements.CalibrationRequest.kind)


def _accuracy_request(chosen: Choices, measured: Measured) -> measurements.AccuracyRequest:
    """fp32, qint8 and the cures, on as many pictures as fp32 has answered here already."""
    subject, answers = chosen.subject, chosen.answers
    here = measured.accuracy.get(REFERENCE) if answers and not answers.shipped else None
    usable = set(choices.usable_variants())
    return measurements.AccuracyRequest(
        model=subject.model,
        weights=subject.weights,
        variants=tuple(name for name in (REFERENCE, INT8, *SHOWN) if name in usable),
        dataset=subject.dataset,
        limit=max(choices.FIRST_PICTURES, here["n"] if here else 0),
        image_size=subject.image_size,
    )


def _size_request(chosen: Choices, names: Sequence[str]) -> measurements.SizeRequest:
    return measurements.SizeRequest(chosen.subject.model, chosen.subject.weights, tuple(names))


def _latency_request(chosen: Choices, names: Sequence[str]) -> measurements.LatencyRequest:
    subject, threads = chosen.subject, (machine.default_threads(),)
    shape = f"1x{subject.image_size}"
    return measurements.LatencyRequest(
        subject.model, subject.weights, tuple(names), (shape,), threads, costs.SECONDS_PER_SHAPE
    )


# Cure by cure


def _cards(chosen: Choices, measured: Measured) -> None:
    st.subheader("The cures", anchor=False)
    with st.grid("auto", min_column_width=260, gap="small"):
        for name in measured.cures:
            with st.container(border=True, height="stretch", key=f"cure-{name}"):
                _card(name, chosen, measured)
    if measured.timed:
        costs.say_on_what(measured.timed, list(measured.speed.values()), chosen)


def _card(name: str, chosen: Choices, measured: Measured) -> None:
    own, rows = variants.own_name(name), measured.accuracy
    pictures.heading(name, variants.summary(name))
    is_random = chosen.subject.is_random
    row = rows.get(name)
    if row is not None and not is_random:
        sizes = measured.sizes
        smaller = (
            cure_words.disk_bytes(sizes[REFERENCE]) / cure_words.disk_bytes(sizes[name])
            if {REFERENCE, name} <= set(sizes)
            else None
        )
        st.markdown(f"**{wording.kept_sentence(row, rows[REFERENCE], times_smaller=smaller)}**")
    st.markdown(cure_words.WHAT[own] + ("" if is_random else f" {cure_words.why(name, rows)}"))
    lines = []
    if row is None:
        lines.append("accuracy not measured yet")
    else:
        lines += [] if is_random else [cure_words.kept_words(row)]
        lines.append(cure_words.kl_words(name, rows))
    lines.append(cure_words.size_words(name, measured.sizes))
    lines.append(cure_words.speed_words(name, measured.speed))
    st.markdown("\n".join(f"- {line}" for line in lines))
    if own == "bfloat16":
        st.caption(cure_words.bfloat16_here(machine.cpu_features(), measured.timed_here))


def _table(chosen: Choices, measured: Measured) -> None:
    rows = measured.accuracy
    names = [name for name in (REFERENCE, INT8, *measured.cures) if name in rows]
    if not names:
        return
    with st.expander("All figures", icon=":material/table:"):
        table = pd.DataFrame([_figures(name, measured) for name in names])
        if chosen.subject.is_random:
            table = table[[column for column in table if not str(column).startswith(("top-1", "points"))]]
        st.dataframe(
            table,
            hide_index=True,
            column_config={
                title: st.column_config.NumberColumn(
                    format="percent" if title.startswith("top-1") else "%.3g" if title in SHORT else "%.2f"
                )
                for title in table.columns
                if title not in ("variant", "pictures")
            },
            alt=cure_charts.kept_alt([rows[name] for name in names], measured.sizes),
        )


KL, DISK, TIME = "KL (nats)", "on disk (MB)", "a picture (ms)"
SHORT = (KL, TIME)


def _figures(name: str, measured: Measured) -> dict[str, Any]:
    """One variant's line of the table."""
    row, size, time = measured.accuracy[name], measured.sizes.get(name), measured.speed.get(name)
    difference = cure_words.difference_of(row)
    is_reference = name == REFERENCE
    is_quiet = time is not None and not time.get("is_noisy")
    return {
        "variant": name,
        "pictures": row["n"],
        "top-1": row["top1"],
        "top-1, from": row["top1_low"],
        "top-1, to": row["top1_high"],
        "points": None if is_reference else 100 * difference.share,
        "points, from": None if is_reference else 100 * difference.low,
        "points, to": None if is_reference else 100 * difference.high,
        KL: row["mean_kl_nats"],
        DISK: cure_words.disk_bytes(size) / units.MB if size else None,
        TIME: 1e3 * time["median_s"] if time and is_quiet else None,
    }
