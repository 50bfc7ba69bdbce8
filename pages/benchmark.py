"""Benchmark: start measurements in the background, watch them, read, compare and send what is stored."""

import sqlite3

from components import address, choices, frame, views
from components.benchmark import accuracy, compare, engineer, latency, profile, report, start
from components.choices import Choices
from vitquant import gallery

ACCURACY, LATENCY, PROFILE, COMPARE, ENGINEER, RUNS = (
    "accuracy",
    "latency",
    "profile",
    "compare",
    "engineer",
    "runs",
)
VIEWS = {
    ACCURACY: "Accuracy",
    LATENCY: "Latency",
    PROFILE: "Where time goes",
    COMPARE: "Compare",
    ENGINEER: "Engineer",
    RUNS: "All runs",
}
OF_A_VIEW = (address.RUN, address.FIRST, address.SECOND, address.FIGURE)


def show(db: sqlite3.Connection) -> None:
    views.show(db, VIEWS, _view, forgetting=OF_A_VIEW, above=choices.offer_fuller, beside=report.menu)


def _view(db: sqlite3.Connection, chosen: Choices, view: str) -> None:
    start.form(db, chosen, view, nothing_yet=_nothing_yet(db, chosen, view))
    if view == COMPARE:
        compare.show(db, chosen)
    elif view == RUNS:
        compare.all_runs(db)
    else:
        shown = {ACCURACY: accuracy, LATENCY: latency, PROFILE: profile, ENGINEER: engineer}
        shown[view].show(db, chosen)


def _nothing_yet(db: sqlite3.Connection, chosen: Choices, view: str) -> bool:
    if view == ACCURACY:
        return chosen.answers is None
    return view in (LATENCY, PROFILE) and not gallery.finished_runs(db, view, chosen.subject)


frame.page("Benchmark", show)
