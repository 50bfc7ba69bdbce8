"""What one server keeps for all its visitors: the prepared pictures it has looked through, the worker."""

import sqlite3

import streamlit as st

from vitquant import database, gallery, jobs, paths, runs, sample, shipped
from vitquant.errors import VitquantError
from vitquant.worker import PredictionWorker


@st.cache_resource(max_entries=1, show_spinner=False, on_release=lambda worker: worker.release())
def prediction_worker() -> PredictionWorker:
    """The process that computes predictions on demand; it starts with the first question."""
    return PredictionWorker()


def shipped_results(store: str) -> str | None:
    """Have the results that come with the project in the store; what is wrong with them, if anything is."""
    files = (shipped.results_file(), paths.sample_dir() / sample.SUMS)
    return _shipped_results(store, tuple(file.stat().st_mtime_ns if file.is_file() else 0 for file in files))


@st.cache_resource(max_entries=4, ttl="10 minutes", show_spinner="Unpacking the sample's results")
def _shipped_results(store: str, changed_ns: tuple[int, ...]) -> str | None:
    try:
        with database.opened() as db:
            shipped.bring_in(db)
    except VitquantError as error:
        return str(error)
    return None


def todays_pictures(db: sqlite3.Connection, dataset: str) -> tuple[int, str]:
    """The dataset's id in the store and its digest, looked through again only where a folder has changed."""
    found = _looked_through(dataset, gallery.fingerprint(dataset), str(paths.store_file()))
    if not gallery.is_registered(db, *found):  # the store was moved away meanwhile
        _looked_through.clear()
        found = _looked_through(dataset, gallery.fingerprint(dataset), str(paths.store_file()))
    return found


@st.cache_resource(
    max_entries=8, ttl="10 minutes", show_spinner="Looking through the pictures: a few seconds the first time"
)
def _looked_through(dataset: str, fingerprint: tuple[tuple[str, int], ...], store: str) -> tuple[int, str]:
    with database.opened() as db:
        return gallery.register(db, dataset)


@st.cache_resource(max_entries=1, ttl="30 seconds", show_spinner=False)
def see_to_the_queue(store: str) -> None:
    """After a restart or a kill: mark what was interrupted, and have somebody take what still waits."""
    with database.opened() as db:
        runs.mark_interrupted(db)
        waiting = runs.find(db, states=("queued",))
        if waiting and not runs.find(db, states=("running",)):
            jobs.ensure_dispatcher()
