"""The queue of runs: carried out one at a time by a process of its own, which survives whoever asked."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock

from vitquant import database, jobs, measurements, reserve, runs
from vitquant.errors import VitquantError
from vitquant.runs import Run
from vitquant.worker import takes_times

pytestmark = pytest.mark.slow  # each run is a fresh process, which imports torch


@pytest.fixture
def db(data_dir: Path, tiny_imagenet: Path) -> Iterator[sqlite3.Connection]:
    (data_dir / "tiny-imagenet").symlink_to(tiny_imagenet / "tiny-imagenet")
    with database.opened() as opened:
        yield opened
    for process in psutil.process_iter(["cmdline"]):
        if "vitquant.jobs" in (process.info["cmdline"] or []) and _is_ours(process, data_dir):
            process.kill()


def _is_ours(process: psutil.Process, data: Path) -> bool:
    try:
        return process.environ().get("VITQUANT_DATA") == str(data)
    except psutil.Error:
        return False


def size() -> measurements.SizeRequest:
    return measurements.SizeRequest("dinov2_vits14_reg_lc", "random", ("fp32", "qint8"))


def accuracy(limit: int) -> measurements.AccuracyRequest:
    return measurements.AccuracyRequest(
        "dinov2_vits14_reg_lc", "random", ("fp32", "qint8"), "tiny-imagenet", limit
    )


def latency() -> measurements.LatencyRequest:
    return measurements.LatencyRequest(
        "dinov2_vits14_reg_lc", "random", ("fp32", "qint8"), ("1x28", "2x28"), (1,), 0.2
    )


def until(db: sqlite3.Connection, run: Run, condition: Callable[[Run], bool]) -> Run:
    deadline = time.monotonic() + 180
    while not condition(now := runs.get(db, run.id)):
        assert time.monotonic() < deadline, f"waited three minutes; the run is {now}"
        time.sleep(0.05)  # between two looks
    return now


def is_over(run: Run) -> bool:
    return run.is_over


def test_runs_of_the_queue_are_carried_out_in_turn(db: sqlite3.Connection) -> None:
    first, second = jobs.start(db, size()), jobs.start(db, accuracy(8))
    assert jobs.start(db, size()).id == first.id  # asked for twice, measured once
    ended = [until(db, run, is_over) for run in (first, second)]
    assert [run.state for run in ended] == ["done", "done"], [run.message for run in ended]
    assert [row["variant"] for row in ended[0].result or []] == ["fp32", "qint8"]
    assert (ended[1].done, ended[1].total) == (8, 8)
    assert (ended[0].ended_at or "") <= (ended[1].started_at or "")
    assert size().stored(db) == ended[0].result


def test_a_running_run_is_cancelled_and_continued(db: sqlite3.Connection) -> None:
    run = jobs.start(db, accuracy(400))
    until(db, run, lambda now: now.done >= 8)
    runs.request_cancel(db, run.id)
    cancelled = until(db, run, is_over)
    assert cancelled.state == "cancelled"
    assert 8 <= cancelled.done < 400

    assert jobs.resume(db, run.id).state == "queued"
    again = until(db, run, lambda now: now.state == "running" and now.total == 400)
    assert again.done >= cancelled.done  # goes on where it stopped
    runs.request_cancel(db, run.id)
    until(db, run, is_over)


def test_a_run_whose_process_is_killed_is_interrupted_and_goes_on_where_it_stopped(
    db: sqlite3.Connection,
) -> None:
    run, after = jobs.start(db, accuracy(200)), jobs.start(db, size())
    running = until(db, run, lambda now: now.done >= 8)
    assert running.process_id is not None
    os.kill(running.process_id, signal.SIGKILL)
    stopped = until(db, run, is_over)
    assert stopped.state == "interrupted"
    assert "SIGKILL" in stopped.message
    assert until(db, after, is_over).state == "done"  # the queue goes on
    [stored] = db.execute("SELECT count(*) FROM predictions").fetchone()
    assert stored >= 2 * stopped.done
    jobs.resume(db, run.id)
    again = until(db, run, lambda now: now.state == "running" and now.total > 0)
    assert again.done >= stopped.done
    assert until(db, run, is_over).state == "done"


def test_what_ended_a_run_is_told_apart() -> None:
    state, message = jobs.last_words(-signal.SIGKILL, memory_ran_out=True)
    assert (state, "Memory ran out" in message) == ("failed", True)
    assert jobs.last_words(-signal.SIGKILL, memory_ran_out=False)[0] == "interrupted"
    state, message = jobs.last_words(3, memory_ran_out=False)
    assert (state, "exit status 3" in message) == ("failed", True)


def test_cancelling_ends_the_processes_that_a_run_has_started(db: sqlite3.Connection, data_dir: Path) -> None:
    """A latency run loads each variant in a process of its own first."""
    run = jobs.start(db, latency())
    until(db, run, lambda now: "in a fresh process" in now.message)
    runs.request_cancel(db, run.id)
    assert until(db, run, is_over).state == "cancelled"
    assert not [
        process
        for process in psutil.process_iter(["cmdline"])
        if "vitquant.startup" in (process.info["cmdline"] or []) and _is_ours(process, data_dir)
    ]


def test_the_disk_is_full_keeps_what_was_measured_and_goes_on_when_there_is_room(
    db: sqlite3.Connection,
) -> None:
    """SQLite is told that the disk ends here; the reserve's part is in test_the_reserve_is_for_last_words."""
    accuracy(200).plan(db)  # digests and the list of pictures are stored before
    [pages] = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages + 90}")  # 360 KB: some batches fit
    with pytest.raises(VitquantError, match="The disk is full; what was measured is kept"):
        jobs.run_here(db, accuracy(200))
    [run] = runs.find(db)
    assert (run.state, run.message.split(";")[0]) == ("failed", "The disk is full")
    [stored] = db.execute("SELECT count(*) FROM predictions").fetchone()
    assert stored >= 16
    db.execute("PRAGMA max_page_count = 1073741823")
    rows = jobs.continue_here(db, run)
    assert [row["n"] for row in rows] == [200, 200]
    assert runs.get(db, run.id).state == "done"


def test_the_reserve_is_for_last_words(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    reserve.lay_by()
    run = runs.add(db, "size", {}, {}, {})
    finish, calls = runs.finish, []

    def full_until_the_reserve_is_gone(*given: Any) -> None:
        calls.append(given)
        if len(calls) == 1:
            raise sqlite3.OperationalError("database or disk is full")
        finish(*given)

    monkeypatch.setattr(runs, "finish", full_until_the_reserve_is_gone)
    jobs.finish(db, run.id, "failed", "The disk is full.")
    assert runs.get(db, run.id).state == "failed"
    assert not reserve.give_back()  # it was given back already


def test_a_latency_run_waits_until_a_prediction_on_demand_has_ended(db: sqlite3.Connection) -> None:
    with jobs.quiet():  # as the prediction worker holds it
        run = jobs.start(db, latency())
        until(db, run, lambda now: now.state == "running")
        assert takes_times(db)  # and so no other prediction begins
        assert runs.get(db, run.id).total == 0
    assert until(db, run, lambda now: now.total > 0 or now.is_over).state in ("running", "done")
    runs.request_cancel(db, run.id)
    until(db, run, is_over)


def test_a_run_that_fails_keeps_the_sentence(db: sqlite3.Connection, data_dir: Path) -> None:
    with FileLock(jobs.lock_file(jobs.MEASURING)):  # holds the run back while its dataset vanishes
        run = jobs.start(db, accuracy(8))
        (data_dir / "tiny-imagenet").unlink()
    failed = until(db, run, is_over)
    assert failed.state == "failed"
    assert "fetch tiny-imagenet" in failed.message


def test_nothing_is_measured_while_another_measures(db: sqlite3.Connection, data_dir: Path) -> None:
    with FileLock(jobs.lock_file(jobs.MEASURING)):
        run = jobs.start(db, size())
        child = until_there_is_a_child(run, data_dir)
        assert runs.get(db, run.id).state == "queued"
        runs.request_cancel(db, run.id)  # while it waits for the lock
        assert runs.get(db, run.id).state == "cancelled"
        child.wait(30)


def test_a_run_that_a_terminal_takes_from_the_queue_is_left_to_it(
    db: sqlite3.Connection, data_dir: Path
) -> None:
    with FileLock(jobs.lock_file(jobs.MEASURING)):
        run = jobs.start(db, size())
        child = until_there_is_a_child(run, data_dir)
        dispatcher = child.parent()
        assert dispatcher is not None
        runs.claim(db, run.id, run.identity, {})  # by this very process, which holds the lock
    child.wait(30)
    dispatcher.wait(30)
    assert runs.get(db, run.id).state == "running"


def until_there_is_a_child(run: Run, data: Path) -> psutil.Process:
    """The process that the dispatcher has started for this run."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for process in psutil.process_iter(["cmdline"]):
            words = (process.info["cmdline"] or [])[-3:]
            if words == ["vitquant.jobs", "run", str(run.id)] and _is_ours(process, data):
                return process
        time.sleep(0.05)  # between two looks
    raise AssertionError("no process was started for the run")
