"""Runs that wait or are under way, and those that stopped half-way: watched, cancelled, continued.

The queue lies in the store, so every visitor sees the same, and a page may be closed at any time.
"""

import sqlite3
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from components import choices, readonly
from vitquant import (
    catalog,
    charts,
    database,
    errands,
    gallery,
    jobs,
    run_charts,
    runs,
    sequential,
    wording,
    worker,
)
from vitquant.errors import Busy, VitquantError
from vitquant.measurements import CalibrationRequest, HeadRequest
from vitquant.request import Request
from vitquant.runs import Run

_ACTIVE = "queue:active"
_PACES = "queue:paces"
_ERROR = "queue:error"
_STORED = "queue:stored"

NARROWING = (
    "How much more (or less) each version has right than fp32, in percentage points, with the interval that "
    "counts for the conclusion. Grey: within one point."
)

UNFINISHED_SHOWN = 3

BYTES_OF = "bytes of "
"""How a run's message begins while what is done and what there is to do are bytes of a file."""


@dataclass
class Pace:
    """How fast a run goes, from what was seen of it in the last seconds. A continued run begins half-way,
    so what was done before one looked does not count."""

    window_s: float = 20.0
    seen: deque[tuple[float, int]] = field(default_factory=deque)  # (time in s, done)

    def see(self, done: int, at_s: float) -> None:
        if self.seen and done < self.seen[-1][1]:
            self.seen.clear()
        self.seen.append((at_s, done))
        while len(self.seen) > 2 and at_s - self.seen[0][0] > self.window_s:
            self.seen.popleft()

    @property
    def per_second(self) -> float | None:
        """None until something has moved."""
        if len(self.seen) < 2:
            return None
        (first_s, first), (last_s, last) = self.seen[0], self.seen[-1]
        return (last - first) / (last_s - first_s) if last > first and last_s > first_s else None

    def left_s(self, total: int) -> float | None:
        rate = self.per_second
        return None if rate is None else (total - self.seen[-1][1]) / rate


def offer(label: str, request: Request, *, again: bool = False, **look: Any) -> None:
    """A button that starts a measurement in the background; nothing where the dashboard is read-only. look:
    what st.button takes besides."""
    if not readonly.is_on():
        st.button(label, on_click=start, args=(request,), kwargs={"again": again}, **look)


def start(request: Request, *, again: bool = False) -> None:
    """Start a measurement in the background and say so; for a button's on_click. What is stored under today's
    conditions is not measured again unless that is asked for."""
    try:
        readonly.refuse()
        with database.opened() as db:
            if not again and request.stored(db) is not None:
                st.session_state[_STORED] = (request, request.origin(db)[1])
                return
            run = jobs.start(db, request)
        what = title(run) if run.kind in runs.ERRANDS else f"Run {run.id} ({run.kind})"
        st.toast(f"{what[0].upper()}{what[1:]} is {run.state}.", icon=":material/play_arrow:")
    except VitquantError as error:
        st.session_state[_ERROR] = str(error)


def problem(error: VitquantError) -> None:
    """What went wrong with a prediction on demand; while times are taken, that it waits: it is asked for again
    by itself when they are done."""
    if not isinstance(error, Busy):
        st.error(str(error), icon=":material/error:")
        return
    st.info(f"{error} It comes by itself.", icon=":material/hourglass_top:")
    st.fragment(run_every=1.0)(_again_when_quiet)()


def _again_when_quiet() -> None:
    with database.opened() as db:
        quiet = not worker.takes_times(db)
    if quiet:
        st.rerun()


def show(*, of_errands: bool = False) -> None:
    """The runs under way, kept up to date while anybody looks; nothing where there are none. of_errands: what
    fetches and looks through instead of what measures."""
    with database.opened() as db:
        active = bool(runs.find(db, states=("queued", "running"), errands=of_errands))
    if error := st.session_state.pop(_ERROR, None):
        st.error(error, icon=":material/error:")
    if stored := st.session_state.pop(_STORED, None):
        _stored(*stored)
    # Somebody else may start a run while this page is looked at: look now and then even when none is there.
    st.fragment(run_every=1.0 if active else 5.0)(_watch)(of_errands)


def _watch(of_errands: bool) -> None:
    try:
        with database.opened() as db:
            running = runs.find(db, states=("running",), errands=of_errands)
            active = running + runs.find(db, states=("queued",), errands=of_errands)[::-1]
            if running:
                runs.mark_interrupted(db)
            unfinished = runs.find(db, states=runs.UNFINISHED, errands=of_errands)
    except VitquantError as error:
        st.error(str(error), icon=":material/error:")
        return
    key = f"{_ACTIVE}:{of_errands}"
    before, now = st.session_state.get(key), [run.id for run in active]
    st.session_state[key] = now
    for run in active:
        _under_way(run)
    if unfinished:
        what = "errand" if of_errands else "run"
        runs_are = f"1 {what} has" if len(unfinished) == 1 else f"{len(unfinished)} {what}s have"
        how = "not come to an end" if of_errands else "stopped half-way"
        with st.expander(f"{runs_are} {how}", expanded=True, icon=":material/pause:"):
            for run in unfinished[:UNFINISHED_SHOWN]:
                _stopped(run)
            if older := unfinished[UNFINISHED_SHOWN:]:
                st.caption(f"And {len(older):,} older: they come up here as these are continued or forgotten.")
    if before is not None and before != now:
        st.rerun()  # a run has ended or begun: the results beside it change


def _stored(request: Request, measured_at: str) -> None:
    """That what was asked for is there already."""
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"**Measured already**, {wording.age(measured_at)}, under the same conditions: it is shown below."
            + (
                " The same pictures get the same answers, so there is nothing to measure again."
                if request.kind == "accuracy"
                else ""
            )
        )
        if request.kind != "accuracy":
            offer("Measure again", request, again=True, icon=":material/refresh:")


def title(run: Run) -> str:
    """A run in a few words."""
    request = run.request
    if run.kind in runs.ERRANDS:
        return errands.title(run.kind, request)
    if run.kind == HeadRequest.kind:
        return f"training the head {request['name']} for {request['model']} on {request['dataset']}"
    on = request.get("dataset") or request.get("shape") or ", ".join(request.get("shapes", []))
    asked = request.get("limit") or request.get("pictures")
    limit = f"first {asked:,} of " if asked else ""
    limit = f"until sure, {limit}" if request.get("until_sure") else limit
    variants = ", ".join(request["variants"])
    kind = f"{run.kind} ({request['format']})" if "format" in request else run.kind
    return f"{kind} of {request['model']}, {choices.weights_phrase(request['weights'])}: {variants}" + (
        f" · {limit}{on}" if on else ""
    )


def _name(run: Run) -> str:
    """A run as its box begins."""
    if run.kind in runs.ERRANDS:
        words = title(run)
        return f"**{words[0].upper()}{words[1:]}**"
    return f"**Run {run.id}** · {title(run)}"


def _under_way(run: Run) -> None:
    with st.container(border=True, key=f"run-{run.id}"):
        words, button = st.columns([5, 1], vertical_alignment="center")
        words.markdown(_name(run))
        if not readonly.is_on():
            button.button(
                "Cancel",
                key=f"cancel-{run.id}",
                on_click=_act,
                args=(runs.request_cancel, run.id),
                disabled=run.cancel_requested,
                width="stretch",
            )
        if run.state == "queued":
            is_errand = run.kind in runs.ERRANDS
            rule = "one errand at a time is done" if is_errand else "one run at a time is measured"
            st.caption(f"Waiting for its turn: {rule}.")
        elif not run.total:
            st.progress(0.0, text="Beginning" if run.kind in runs.ERRANDS else "Waking the model")
        else:
            st.progress(min(run.done / run.total, 1.0), text=_progress(run))
            _so_far(run)


def _so_far(run: Run) -> None:
    """What a run under way has found up to now."""
    if run.kind == "latency":
        done = [
            f"{row['variant']} at {row['shape']}: {1e3 * row['median_s']:.3g} ms" for row in run.result or []
        ]
        if done:
            st.caption("So far: " + " · ".join(done))
        return
    if run.kind != "accuracy":
        return
    with database.opened() as db:
        found = gallery.so_far(db, run)
    if found is None:
        return
    st.markdown(" · ".join(f"{wording.short_accuracy(row)}" for row in found.rows))
    error = sequential.error_per_look(found.last, len(found.looks))
    if found.until_sure:
        measure = wording.measure_of(catalog.dataset(run.request["dataset"]))
        sentences = wording.until_sure_sentences(found.looks, found.last, error, measure)
        st.markdown("\n".join(f"- {sentence}" for sentence in sentences))
    if any(found.looks.values()):
        st.plotly_chart(
            run_charts.narrowing(found.looks, found.last),
            config=charts.CONFIG,
            alt=run_charts.narrowing_alt(found.looks),
            key=f"narrowing-{run.id}",
        )
        st.caption(NARROWING)


def _progress(run: Run) -> str:
    pace = st.session_state.setdefault(_PACES, {}).setdefault(run.id, Pace())
    pace.see(run.done, time.monotonic())
    rate, left_s = pace.per_second, pace.left_s(run.total)
    if run.kind == "accuracy":
        text = f"{run.done:,} of {run.total:,} pictures"
        text += "" if rate is None else f" · {rate:.3g} a second"
    elif run.message.startswith(BYTES_OF):
        text = f"{run.done / 1e6:,.1f} of {run.total / 1e6:,.1f} MB of {run.message.removeprefix(BYTES_OF)}"
        text += "" if rate is None else f" · {rate / 1e6:.3g} MB a second"
    else:
        text = f"{run.done / run.total:.0%} · {run.message}".rstrip(" ·")
    if left_s is not None:
        text += f" · {'at most ' if run.request.get('until_sure') else ''}{duration(left_s)} left"
    return text + (" · stopping" if run.cancel_requested else "")


def _stopped(run: Run) -> None:
    with st.container(key=f"run-{run.id}"):
        words, buttons = st.columns([5, 2], vertical_alignment="center")
        far = f", {run.done / run.total:.0%} done" if run.done and run.total else ""
        state = "has failed" if run.state == "failed" else f"is {run.state}"
        words.markdown(f"{_name(run)} {state}{far}")
        if run.message:
            words.caption(run.message)
        if readonly.is_on():
            return
        with buttons.container(horizontal=True):
            # Nothing of a calibration is kept that it could go on from, nor of what looks through files.
            keeps_nothing = run.kind == CalibrationRequest.kind or (
                run.kind in runs.ERRANDS and run.kind != errands.FetchRequest.kind
            )
            again = "Try again" if keeps_nothing else "Continue"
            st.button(again, key=f"continue-{run.id}", on_click=_act, args=(jobs.resume, run.id))
            st.button(
                "Forget",
                key=f"forget-{run.id}",
                help="Remove it from the list. Pictures that no other run has answered are forgotten with it.",
                type="tertiary",
                on_click=_act,
                args=(jobs.forget, run.id),
            )


def duration(seconds: float) -> str:
    """A time to wait, as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _act(action: Callable[[sqlite3.Connection, int], object], run_id: int) -> None:
    """Do something with a run, for a button's on_click; what goes wrong is said by show()."""
    try:
        readonly.refuse()
        with database.opened() as db:
            action(db, run_id)
    except VitquantError as error:
        st.session_state[_ERROR] = str(error)
