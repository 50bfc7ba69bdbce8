"""Runs that wait or are under way, and those that stopped half-way: watched, cancelled, continued.

The queue lies in the store, so every visitor sees the same, and a page may be closed at any time.
"""

import time
from collections import deque
from dataclasses import dataclass, field

import streamlit as st

from components import choices
from vitquant import database, jobs, runs
from vitquant.errors import VitquantError
from vitquant.measurements import Request
from vitquant.runs import Run

_ACTIVE = "queue:active"
_PACES = "queue:paces"
_ERROR = "queue:error"

UNFINISHED_SHOWN = 3


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


def start(request: Request) -> None:
    """Start a measurement in the background and say so; for a button's on_click."""
    try:
        with database.opened() as db:
            run = jobs.start(db, request)
        st.toast(f"Run {run.id} ({run.kind}) is {run.state}.", icon=":material/play_arrow:")
    except VitquantError as error:
        st.session_state[_ERROR] = str(error)


def show() -> None:
    """The runs under way, kept up to date while anybody looks; nothing where there are none."""
    with database.opened() as db:
        active = bool(runs.find(db, states=("queued", "running")))
    if error := st.session_state.pop(_ERROR, None):
        st.error(error, icon=":material/error:")
    # Somebody else may start a run while this page is looked at: look now and then even when none is there.
    st.fragment(run_every=1.0 if active else 5.0)(_watch)()


def _watch() -> None:
    try:
        with database.opened() as db:
            active = runs.find(db, states=("running",)) + runs.find(db, states=("queued",))[::-1]
            if any(run.state == "running" for run in active):
                runs.mark_interrupted(db)
            unfinished = runs.find(db, states=runs.UNFINISHED)[:UNFINISHED_SHOWN]
    except VitquantError as error:
        st.error(str(error), icon=":material/error:")
        return
    before, now = st.session_state.get(_ACTIVE), [run.id for run in active]
    st.session_state[_ACTIVE] = now
    for run in active:
        _under_way(run)
    if unfinished:
        runs_are = "1 run has" if len(unfinished) == 1 else f"{len(unfinished)} runs have"
        with st.expander(f"{runs_are} stopped half-way", expanded=True, icon=":material/pause:"):
            for run in unfinished:
                _stopped(run)
    if before is not None and before != now:
        st.rerun()  # a run has ended or begun: the results beside it change


def title(run: Run) -> str:
    """A run in a few words."""
    request = run.request
    on = request.get("dataset") or request.get("shape") or ", ".join(request.get("shapes", []))
    limit = f"first {request['limit']:,} of " if request.get("limit") else ""
    variants = ", ".join(request["variants"])
    return f"{run.kind} of {request['model']}, {choices.weights_phrase(request['weights'])}: {variants}" + (
        f" · {limit}{on}" if on else ""
    )


def _under_way(run: Run) -> None:
    with st.container(border=True, key=f"run-{run.id}"):
        words, button = st.columns([5, 1], vertical_alignment="center")
        words.markdown(f"**Run {run.id}** · {title(run)}")
        button.button(
            "Cancel",
            key=f"cancel-{run.id}",
            on_click=_cancel,
            args=(run.id,),
            disabled=run.cancel_requested,
            width="stretch",
        )
        if run.state == "queued":
            st.caption("Waiting for its turn: one run at a time is measured.")
        elif not run.total:
            st.progress(0.0, text="Waking the model")
        else:
            st.progress(min(run.done / run.total, 1.0), text=_progress(run))


def _progress(run: Run) -> str:
    pace = st.session_state.setdefault(_PACES, {}).setdefault(run.id, Pace())
    pace.see(run.done, time.monotonic())
    if run.kind != "accuracy":
        return f"{run.done / run.total:.0%} · {run.message}".rstrip(" ·")
    text = f"{run.done:,} of {run.total:,} pictures"
    rate, left_s = pace.per_second, pace.left_s(run.total)
    if rate is not None and left_s is not None:
        text += f" · {rate:.3g} a second · {duration(left_s)} left"
    return text + (" · stopping" if run.cancel_requested else "")


def _stopped(run: Run) -> None:
    with st.container(key=f"run-{run.id}"):
        words, button = st.columns([5, 1], vertical_alignment="center")
        far = f", {run.done:,} of {run.total:,} done" if run.total else ""
        words.markdown(f"**Run {run.id}** is {run.state}{far} · {title(run)}")
        if run.message:
            words.caption(run.message)
        button.button("Continue", key=f"continue-{run.id}", on_click=_continue, args=(run.id,), width="stretch")


def duration(seconds: float) -> str:
    """A time to wait, as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _cancel(run_id: int) -> None:
    try:
        with database.opened() as db:
            runs.request_cancel(db, run_id)
    except VitquantError as error:
        st.session_state[_ERROR] = str(error)


def _continue(run_id: int) -> None:
    try:
        with database.opened() as db:
            jobs.resume(db, run_id)
    except VitquantError as error:
        st.session_state[_ERROR] = str(error)
