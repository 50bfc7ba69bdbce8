"""Questions that the views put to the running model, and the picture that they are about. Nothing is stored; an
answer is kept for the visit."""

import sqlite3
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st

from components import address, pictures, queue, readonly, server
from vitquant import browse, datasets, gallery, images
from vitquant.browse import Picture
from vitquant.errors import VitquantError
from vitquant.worker import PredictionWorker

A = TypeVar("A")

LONGEST_EDGE = 1024
"""Larger pictures are made smaller before the model's own resizing, in pixels."""
OFFERED = 6
"""Pictures to choose from."""
MOST_KEPT = 24
"""So many answers of one kind are kept for a visit: at a large image size one takes megabytes."""


@dataclass(frozen=True)
class Asked:
    """The model that a question is put to."""

    model: str
    weights: str
    image_size: int


# The picture in view


def picture(db: sqlite3.Connection, dataset_id: int, offered: Sequence[int]) -> Picture:
    """The picture that the address names (by ImageFolder's order), else the first offered."""
    of = gallery.pictures_of(db, dataset_id)
    number = address.number_of(address.PICTURE, offered[0], low=0, high=of - 1, what="picture")
    found = browse.picture(db, dataset_id, {}, number)
    assert found is not None
    return found


def first_ones(db: sqlite3.Connection, dataset_id: int) -> list[int]:
    """What is offered where no answers say which pictures are telling: the first of the evaluation order, in
    which the classes take turns."""
    return [one.picture for one in browse.page(db, dataset_id, {}, browse.Filter(), limit=OFFERED)]


def offer(db: sqlite3.Connection, dataset: str, dataset_id: int, offered: Sequence[int]) -> None:
    """Some pictures to choose from, as tiles that can be clicked."""
    with st.grid("auto", min_column_width=84, gap="small"):
        for number in offered:
            one = browse.picture(db, dataset_id, {}, number)
            if one is None:
                continue
            with st.container(key=f"tile-{number}"):
                pictures.thumbnail(file_of(dataset, one.path), one)
                st.button(
                    pictures.class_title(one.class_index),
                    key=f"look-at-{number}",
                    type="tertiary",
                    on_click=address.go,
                    kwargs={address.PICTURE: number},
                )


def file_of(dataset: str, path: str) -> Path:
    """Where a picture of a dataset lies. path: relative to the dataset's root."""
    return datasets.root_of(dataset) / path


def png(file: Path) -> bytes:
    """The picture as the worker takes it. Raises InputError where it cannot be read."""
    return images.shrunk_png(images.open_rgb(file), LONGEST_EDGE)


# The answer


def answer(asked: Asked, question: Hashable, ask: Callable[[PredictionWorker], A]) -> A | None:
    """What the model answers; None, and a sentence on the page that says why, until it is awake or where it
    cannot be asked. ask: puts the question to the worker; question: tells it from every other one."""
    kept: dict[Hashable, Any] = st.session_state.setdefault(f"live:{type(question).__name__}", {})
    if question in kept:
        found: A = kept[question]
        return found
    if readonly.is_on():
        st.info("Computing an answer anew needs the model to run: not in a read-only dashboard.")
        return None
    worker = server.prediction_worker()
    if not worker.is_ready(asked.model, asked.weights, asked.image_size):
        st.fragment(run_every=1.0)(_until_awake)(asked)
        return None
    try:
        found = ask(worker)
    except VitquantError as error:
        queue.problem(error)
        return None
    while len(kept) >= MOST_KEPT:
        del kept[next(iter(kept))]
    kept[question] = found
    return found


def _until_awake(asked: Asked) -> None:
    worker = server.prediction_worker()
    if worker.is_ready(asked.model, asked.weights, asked.image_size):
        st.rerun()
    if worker.problem:
        st.warning(worker.problem, icon=":material/hourglass_disabled:")
    else:
        st.info("The model is waking, which takes some seconds.", icon=":material/hourglass_top:")
    worker.wake(asked.model, asked.weights, asked.image_size)
