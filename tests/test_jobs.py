"""The queue of runs: carried out one at a time by a process of its own, which survives whoever asked."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from vitquant import database, jobs, measurements, runs
from vitquant.runs import Run

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


def test_a_run_whose_process_is_killed_says_so_and_the_queue_goes_on(db: sqlite3.Connection) -> None:
    run, after = jobs.start(db, accuracy(400)), jobs.start(db, size())
    running = until(db, run, lambda now: now.done >= 8)
    assert running.process_id is not None
    os.kill(running.process_id, signal.SIGKILL)
    failed = until(db, run, is_over)
    assert failed.state == "failed"
    assert "memory ran out" in failed.message
    assert until(db, after, is_over).state == "done"


def test_a_run_that_fails_keeps_the_sentence(db: sqlite3.Connection, data_dir: Path) -> None:
    with FileLock(jobs.measuring_lock_file()):  # holds the run back while its dataset vanishes
        run = jobs.start(db, accuracy(8))
        (data_dir / "tiny-imagenet").unlink()
    failed = until(db, run, is_over)
    assert failed.state == "failed"
    assert "prepare tiny-imagenet" in failed.message


def test_nothing_is_measured_while_another_measures(db: sqlite3.Connection, data_dir: Path) -> None:
    with FileLock(jobs.measuring_lock_file()):
        run = jobs.start(db, size())
        child = until_there_is_a_child(run, data_dir)
        assert runs.get(db, run.id).state == "queued"
        runs.request_cancel(db, run.id)  # while it waits for the lock
        assert runs.get(db, run.id).state == "cancelled"
        child.wait(30)


def test_a_run_that_a_terminal_takes_from_the_queue_is_left_to_it(
    db: sqlite3.Connection, data_dir: Path
) -> None:
    with FileLock(jobs.measuring_lock_file()):
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
