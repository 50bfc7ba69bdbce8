"""How many calibration pictures are enough: the stored study, folded away, and the click that makes one."""

import sqlite3

import pandas as pd
import streamlit as st

from components import provenance, queue, readonly
from components.choices import Choices
from vitquant import charts, cure_charts, cure_words, gallery, room, study
from vitquant.measurements import StudyRequest
from vitquant.runs import Run

COLUMNS = {
    "pictures": "calibration pictures",
    "seed": "seed",
    "n": "judged on",
    "top1": "top-1",
    "top1_low": "from",
    "top1_high": "to",
    "agree": "answers as fp32",
    "mean_kl_nats": "KL (nats)",
}
SHARES = ("top1", "top1_low", "top1_high", "agree")


def show(db: sqlite3.Connection, chosen: Choices) -> None:
    with st.expander("How many calibration pictures are enough?", icon=":material/school:"):
        run = _run(db, chosen)
        if run is not None:
            _found(run, chosen)


def _run(db: sqlite3.Connection, chosen: Choices) -> Run | None:
    """The newest study of these pictures at this size, one under today's conditions first; with the button
    that makes one where there is none."""
    subject = chosen.subject
    run = gallery.newest(gallery.runs_on_pictures(db, StudyRequest.kind, subject), chosen.today)
    request = StudyRequest(subject.model, subject.weights, subject.dataset, image_size=subject.image_size)
    if run is None:
        _offer(chosen, request)
        return None
    changes = gallery.run_changes(run, chosen.today)
    provenance.stale({"the study": changes} if changes else {}, again=request)
    return run


def _found(run: Run, chosen: Choices) -> None:
    rows = run.result or []
    st.markdown(cure_words.study(rows))
    left, right = st.columns(2, gap="medium")
    alt = cure_charts.study_alt(rows)
    with left:
        st.plotly_chart(cure_charts.study_kl(rows), config=charts.CONFIG, alt=alt, key="study-kl")
    with right:
        if not chosen.subject.is_random:
            st.plotly_chart(cure_charts.study_top1(rows), config=charts.CONFIG, alt=alt, key="study-top1")
    st.caption(
        f"SmoothQuant at alpha {study.ALPHA:g} with a scale for each row of the weights, fitted to so many "
        f"training pictures of three seeds, on the first {rows[0]['n']:,} pictures of "
        f"{run.request['dataset']}; intervals: 95%."
    )
    table = pd.DataFrame(rows)[list(COLUMNS)].rename(columns=COLUMNS)
    st.dataframe(
        table,
        hide_index=True,
        height=220,
        column_config={
            COLUMNS[name]: st.column_config.NumberColumn(format="percent" if name in SHARES else "%.3g")
            for name in (*SHARES, "mean_kl_nats")
        },
        alt=alt,
    )
    st.caption(
        f"{provenance.SHIPPED if run.shipped else ''}{provenance.when(run.ended_at or run.created_at)} on "
        f"{run.environment.get('machine', 'a machine')}, torch {run.environment.get('torch', '')}."
    )


def _offer(chosen: Choices, request: StudyRequest) -> None:
    nothing = "This is not measured yet for these choices."
    problem = None
    if not chosen.pictures_here or chosen.today.weights_digest is None:
        problem = "The pictures or the weights are not here."
    elif not readonly.is_on():
        problem = room.memory_problem(chosen.subject.model, request.kind)
    if problem or readonly.is_on():
        st.markdown(f"{nothing} {problem or ''}".rstrip())
        return
    st.markdown(
        f"{nothing} Smoothing is fitted to {study.COUNTS[0]} to {study.COUNTS[-1]} training pictures of "
        f"{len(study.SEEDS)} seeds, as far as there are so many, and judged on {request.pictures} others: "
        "under a minute with the sample."
    )
    queue.offer("Measure it", request, icon=":material/play_arrow:", key="cures-study")
