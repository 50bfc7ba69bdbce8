"""What one server keeps for all its visitors: the prepared pictures it has looked through, the worker."""

import sqlite3

import streamlit as st

from components import readonly
from vitquant import database, datasets, digest_cache, gallery, jobs, paths, runs, sample, shipped, weights
from vitquant.errors import VitquantError
from vitquant.worker import PredictionWorker


@st.cache_resource(max_entries=1, show_spinner=False, on_release=lambda worker: worker.release())
def _prediction_worker() -> PredictionWorker:
    return PredictionWorker()


def prediction_worker() -> PredictionWorker:
    """The process that computes predictions on demand; it starts with the first question. Raises InputError
    where the dashboard is read-only."""
    readonly.refuse()
    return _prediction_worker()


def sample_problem(store: str) -> str | None:
    """Have the results that come with the sample in the store; what is wrong with its files, if anything is."""
    files = (paths.sample_dir() / sample.SUMS, shipped.results_file(), *weights.resolve("sample").files)
    return _sample_problem(store, tuple(file.stat().st_mtime_ns if file.is_file() else 0 for file in files))


@st.cache_resource(max_entries=4, ttl="10 minutes", show_spinner="Unpacking the sample's results")
def _sample_problem(store: str, changed_ns: tuple[int, ...]) -> str | None:
    try:
        with database.opened() as db:
            shipped.bring_in(db)
            digest_cache.of_weights(db, weights.resolve("sample"))
    except VitquantError as error:
        return str(error)
    return None


def todays_pictures(db: sqlite3.Connection, dataset: str) -> tuple[int, str]:
    """The dataset's id in the store and its digest, looked through again only where a folder has changed."""
    found = _looked_through(dataset, datasets.fingerprint(dataset), str(paths.store_file()))
    if not gallery.is_registered(db, *found):  # the store was moved away meanwhile
        _looked_through.clear()
        found = _looked_through(dataset, datasets.fingerprint(dataset), str(paths.store_file()))
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
        for queue in (jobs.MEASURING, jobs.ERRANDS):
            running = runs.find(db, states=("running",), errands=queue == jobs.ERRANDS)
            if jobs.waiting(db, queue) and not running and not readonly.is_on():
                jobs.ensure_dispatcher(queue)
