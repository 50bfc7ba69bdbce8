"""A run's life in the store: queued, running, over, interrupted, continued, deleted."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from vitquant import database, runs
from vitquant.errors import Cancelled, InputError, VitquantError


@pytest.fixture
def db(data_dir: Path) -> Iterator[sqlite3.Connection]:
    with database.opened() as opened:
        yield opened


def queued(db: sqlite3.Connection, **request: object) -> runs.Run:
    return runs.add(db, "size", {"model": "m", "variants": ["fp32"], **request}, {"weights": "w"}, {})


def test_a_run_comes_back_as_it_was_asked_for(db: sqlite3.Connection) -> None:
    run = queued(db)
    assert runs.get(db, run.id) == run
    assert (run.kind, run.state, run.request["variants"]) == ("size", "queued", ["fp32"])
    runs.claim(db, run.id, run.identity, {})
    runs.report(db, run.id, 3, 9, "qint8")
    runs.finish(db, run.id, "done", result=[{"variant": "fp32", "disk_bytes": 1}])
    over = runs.get(db, run.id)
    assert (over.state, over.done, over.total) == ("done", 3, 9)
    assert over.result == [{"variant": "fp32", "disk_bytes": 1}]
    assert over.is_over


def test_the_same_request_on_the_same_ground_has_the_same_key(db: sqlite3.Connection) -> None:
    first, same, other = queued(db), queued(db), queued(db, limit=3)
    key = runs.run_key(first.kind, first.request, first.identity)
    assert [run.id for run in runs.find(db, key=key)] == [same.id, first.id]
    assert runs.run_key("size", other.request, other.identity) != key
    assert runs.run_key("size", first.request, {"weights": "others"}) != key


def test_two_processes_cannot_claim_one_run(db: sqlite3.Connection) -> None:
    run = queued(db)
    runs.claim(db, run.id, run.identity, {})
    with pytest.raises(VitquantError, match="running already"):
        runs.claim(db, run.id, run.identity, {})


def test_a_cancelled_run_stops_at_its_next_report_and_can_be_continued(db: sqlite3.Connection) -> None:
    run = queued(db)
    runs.claim(db, run.id, run.identity, {})
    runs.report(db, run.id, 1, 2)
    runs.request_cancel(db, run.id)
    with pytest.raises(Cancelled):
        runs.report(db, run.id, 2, 2)
    runs.finish(db, run.id, "cancelled")
    assert runs.requeue(db, run.id).state == "queued"
    runs.claim(db, run.id, run.identity, {})
    runs.report(db, run.id, 2, 2)  # the old request to stop does not reach the new attempt


def test_a_run_that_is_only_queued_is_cancelled_at_once(db: sqlite3.Connection) -> None:
    run = queued(db)
    runs.request_cancel(db, run.id)
    assert runs.get(db, run.id).state == "cancelled"


CLAIM_AND_HANG = """
import sys
from vitquant import database, runs
with database.opened() as db:
    run = runs.get(db, int(sys.argv[1]))
    runs.claim(db, run.id, run.identity, {})
    runs.report(db, int(sys.argv[1]), 5, 10)
print("claimed", flush=True)
sys.stdin.read()
"""


def test_a_killed_process_leaves_an_interrupted_run_that_can_be_continued(db: sqlite3.Connection) -> None:
    run, alive = queued(db), queued(db)
    runs.claim(db, alive.id, alive.identity, {})  # by this very process
    child = subprocess.Popen(
        [sys.executable, "-c", CLAIM_AND_HANG, str(run.id)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"claimed\n"
    runs.mark_interrupted(db)
    assert runs.get(db, run.id).state == "running"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()

    runs.mark_interrupted(db)
    interrupted = runs.get(db, run.id)
    assert (interrupted.state, interrupted.done) == ("interrupted", 5)
    assert "kept" in interrupted.message
    assert runs.get(db, alive.id).state == "running"
    assert runs.requeue(db, run.id).state == "queued"


def test_a_run_under_way_cannot_be_deleted_and_a_finished_one_can(db: sqlite3.Connection) -> None:
    run = queued(db)
    runs.claim(db, run.id, run.identity, {})
    with pytest.raises(InputError, match="cancel it first"):
        runs.delete(db, run.id)
    with pytest.raises(InputError, match="nothing to continue"):
        runs.requeue(db, run.id)
    runs.finish(db, run.id, "done", result=[])
    runs.delete(db, run.id)
    with pytest.raises(InputError, match=f"no run {run.id}"):
        runs.get(db, run.id)


def test_a_run_continued_under_other_conditions_drops_what_it_had_and_says_what_it_rests_on_now(
    db: sqlite3.Connection,
) -> None:
    run = queued(db)
    runs.claim(db, run.id, run.identity, {"torch": "1"})
    runs.keep(db, run.id, [{"variant": "fp32"}])
    runs.finish(db, run.id, "cancelled")

    same = runs.claim(db, run.id, run.identity, {"torch": "1"})
    assert same.result == [{"variant": "fp32"}]
    runs.finish(db, run.id, "cancelled")

    changed = runs.claim(db, run.id, {"weights": "others"}, {"torch": "2"})
    assert changed.result is None
    assert (changed.identity, changed.environment) == ({"weights": "others"}, {"torch": "2"})
    assert changed.key == runs.run_key(run.kind, run.request, {"weights": "others"})


@pytest.mark.parametrize("number", [0, -1, 10**20])
def test_a_number_that_no_run_has_is_a_sentence(db: sqlite3.Connection, number: int) -> None:
    with pytest.raises(InputError, match=f"no run {number}"):
        runs.get(db, number)
