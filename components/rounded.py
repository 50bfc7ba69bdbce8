"""Answers computed just now, with the model's weights rounded to a few bits: for a picture and bits that the
visitor chooses. Nothing is stored; an answer is kept for the visit."""

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from components import queue, readonly, server
from components.choices import Choices
from vitquant import images, rounding
from vitquant.accuracy import REFERENCE
from vitquant.errors import VitquantError
from vitquant.gallery import Subject
from vitquant.worker import OwnAnswer

LONGEST_EDGE = 1024
"""Larger pictures are made smaller before the model's own resizing, in pixels."""

_ANSWERS = "rounded:answers"


@dataclass(frozen=True)
class Question:
    """One picture put to a model as it is, or rounded."""

    subject: Subject
    picture: int  # place in ImageFolder's order
    file: Path
    bits: int = rounding.ORIGINAL_BITS
    per_channel: bool = False


def wake(subject: Subject) -> None:
    """Have the model loaded, so that it is ready when somebody asks; nothing where the dashboard is
    read-only."""
    if not readonly.is_on():
        server.prediction_worker().wake(subject.model, subject.weights, subject.image_size)


def can_be_asked(chosen: Choices, file: Path) -> bool:
    """Whether the weights and the picture are here."""
    return chosen.today.weights_digest is not None and file.is_file()


def answer(question: Question) -> OwnAnswer | None:
    """The model's answer, once it is awake; until then None, and a sentence on the page that says why. To be
    called in a fragment that runs every second or so."""
    kept: dict[Question, OwnAnswer] = st.session_state.setdefault(_ANSWERS, {})
    if question in kept:
        return kept[question]
    if readonly.is_on():
        st.info("Computing an answer anew needs the model to run: not in a read-only dashboard.")
        return None
    subject, worker = question.subject, server.prediction_worker()
    if not worker.is_ready(subject.model, subject.weights, subject.image_size):
        if worker.problem:
            st.warning(worker.problem, icon=":material/hourglass_disabled:")
        else:
            st.info("The model is waking, which takes some seconds.", icon=":material/hourglass_top:")
        wake(subject)
        return None
    try:
        kept[question] = _ask(question)
    except VitquantError as error:
        queue.problem(error)
        return None
    return kept[question]


def _ask(question: Question) -> OwnAnswer:
    subject, worker = question.subject, server.prediction_worker()
    png = images.shrunk_png(images.open_rgb(question.file), LONGEST_EDGE)
    if question.bits == rounding.ORIGINAL_BITS:
        answers = worker.predict_own(
            model=subject.model,
            weights=subject.weights,
            variants=[REFERENCE],
            png=png,
            image_size=subject.image_size,
        )
        return answers[REFERENCE]
    return worker.predict_rounded(
        model=subject.model,
        weights=subject.weights,
        bits=question.bits,
        per_channel=question.per_channel,
        png=png,
        image_size=subject.image_size,
    )
