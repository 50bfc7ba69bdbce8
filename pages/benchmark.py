"""Benchmark: start measurements in the background, watch them, read, compare and send what is stored."""

import sqlite3

import streamlit as st

from components import address, choices, frame, link, queue, server
from components.benchmark import accuracy, compare, engineer, latency, profile, report, start
from vitquant import gallery, paths

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
    server.see_to_the_queue(str(paths.store_file()))
    chosen = choices.choose(db)
    view = address.value_of(address.VIEW, list(VIEWS), ACCURACY, what="view")
    misunderstood = st.empty()  # views read the address, too
    st.markdown(choices.summary(chosen.subject))
    queue.show()
    choices.offer_fuller(chosen)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.segmented_control(
            "View",
            list(VIEWS),
            required=True,
            format_func=VIEWS.__getitem__,
            label_visibility="collapsed",
            **address.mirror(address.VIEW, view, forgetting=OF_A_VIEW),
        )
        report.menu(chosen)
        link.copy_button()
    start.form(db, chosen, view, nothing_yet=_nothing_yet(db, chosen, view))
    if view == COMPARE:
        compare.show(db, chosen)
    elif view == RUNS:
        compare.all_runs(db)
    else:
        shown = {ACCURACY: accuracy, LATENCY: latency, PROFILE: profile, ENGINEER: engineer}
        shown[view].show(db, chosen)
    with misunderstood:
        address.show_misunderstood()


def _nothing_yet(db: sqlite3.Connection, chosen: choices.Choices, view: str) -> bool:
    if view == ACCURACY:
        return chosen.answers is None
    return view in (LATENCY, PROFILE) and not gallery.finished_runs(db, view, chosen.subject)


frame.page("Benchmark", show)
