"""The report behind one button: HTML to read and print, JSON and CSV to go on with."""

from collections.abc import Callable

import streamlit as st

from components.choices import Choices
from vitquant import database, predictions, report
from vitquant.gallery import AnswerSet, Subject

MIME = {".html": "text/html", ".json": "application/json", ".csv": "text/csv"}


def menu(chosen: Choices) -> None:
    """Made when it is clicked, from what is stored then."""
    with st.popover("Report", icon=":material/description:"):
        st.caption(
            "Everything measured of this model on these pictures, with what it was measured on. The HTML file "
            "needs nothing else, and prints."
        )
        for suffix, mime in MIME.items():
            st.download_button(
                suffix.removeprefix(".").upper(),
                data=_maker(chosen.subject, chosen.answers, suffix),
                file_name=f"vitquant-{chosen.subject.model}-{predictions.now()[:10]}{suffix}",
                mime=mime,
                icon=":material/download:",
                width="stretch",
                key=f"report{suffix}",
                on_click="ignore",  # a rerun meanwhile could sweep the file away before it is fetched
            )


def _maker(subject: Subject, answers: AnswerSet | None, suffix: str) -> Callable[[], str]:
    makers = {".html": report.as_html, ".json": report.as_json, ".csv": report.as_csv}

    def make() -> str:
        with database.opened() as db:
            return makers[suffix](report.collect(db, subject, answers))

    return make
