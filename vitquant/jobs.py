"""Carrying runs out: one at a time on this machine, in a process of its own, surviving whoever asked.

A run started from a page is queued in the store; the dispatcher, a small process that holds no torch,
takes the queue's runs one after the other and starts a fresh process for each. A run started from a
terminal is carried out in that terminal's own process. Whoever measures holds the measuring lock, so that
nothing else is measured beside it.

Errands (vitquant/errands.py: fetching, looking through pictures) have a queue and a lock of their own: a
download of an hour keeps nobody from measuring. While times are taken an errand waits.
"""

import contextlib
import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from vitquant import database, exports, machine, measurements, paths, reserve, runs
from vitquant.errors import Cancelled, VitquantError
from vitquant.request import Journal, Request, to_plain
from vitquant.runs import Rows, Run

POLL_S = 0.2
TERMINATE_S = 1.0
"""A cancelled run's process gets this long to end by itself; all it has measured is committed."""

NEEDS_QUIET = ("latency", "profile")
"""Kinds of run that take times: nothing else may be computed beside them, predictions on demand included."""

MEASURING, ERRANDS = "measuring", "errands"
"""The two queues; each has one run under way at a time."""

LOOK_FOR_QUIET_EVERY_S = 1.0
TELL_EVERY_S = 0.2

Waiting = Callable[[str], None]
OnProgress = Callable[[int, int, str], None]


def start(db: sqlite3.Connection, request: Request) -> Run:
    """Queue a run and see to it that somebody takes it; returns at once.

    The same run already queued or running is returned instead of a second one; an unfinished one goes on
    where it stopped. A finished one is measured again, and kept. Raises InputError where the request cannot
    be measured.
    """
    runs.mark_interrupted(db)
    identity = request.identity(db)  # before the transaction: it may take a moment, and write itself
    with database.transaction(db):
        run = _same_run(db, request, identity, states=("queued", "running"))
        if run is None:
            unfinished = _same_run(db, request, identity, states=runs.UNFINISHED)
            run = runs.requeue(db, unfinished.id) if unfinished else _add(db, request, identity)
    _forget_replaced(db, run)
    ensure_dispatcher(queue_of(run.kind))
    return run


def _forget_replaced(db: sqlite3.Connection, run: Run) -> None:
    """Forget errands of the same kind and name that did not come to their end: this one takes their place, and
    what has come of a download lies beside its place, in no run."""
    if queue_of(run.kind) == ERRANDS:
        for other in runs.find(db, kind=run.kind, states=runs.UNFINISHED, errands=True):
            if other.id != run.id and other.request["name"] == run.request["name"]:
                runs.delete(db, other.id)


def resume(db: sqlite3.Connection, run_id: int) -> Run:
    """Put an interrupted, cancelled or failed run back in the queue, to go on where it stopped."""
    runs.mark_interrupted(db)
    run = runs.requeue(db, run_id)
    ensure_dispatcher(queue_of(run.kind))
    return run


def queue_of(kind: str) -> str:
    """Which queue runs of that kind wait in: MEASURING or ERRANDS."""
    return ERRANDS if kind in runs.ERRANDS else MEASURING


def run_here(
    db: sqlite3.Connection,
    request: Request,
    *,
    again: bool = False,
    on_progress: OnProgress | None = None,
    on_wait: Waiting | None = None,
) -> Rows:
    """Answer from the store, or measure in this process, and return the rows.

    again: measure even where a result is stored; the older run is kept. on_wait is called with a sentence
    where another run has to end first. Raises what the measurement raises; Ctrl-C leaves a cancelled run.
    """
    if not again and (rows := request.stored(db)) is not None:
        return rows
    with _alone(queue_of(request.kind), on_wait):
        # Whoever was measuring until now may have measured just this.
        if not again and (rows := request.stored(db)) is not None:
            return rows
        runs.mark_interrupted(db)
        identity = request.identity(db)
        unfinished = _same_run(db, request, identity, states=(*runs.UNFINISHED, "queued"))
        run = unfinished or _add(db, request, identity)
        _forget_replaced(db, run)
        return _carry_out(db, run, on_progress)


def continue_here(
    db: sqlite3.Connection, run: Run, *, on_progress: OnProgress | None = None, on_wait: Waiting | None = None
) -> Rows:
    """Go on in this process with a run that stopped half-way, and return its rows. Raises InputError where it
    has not stopped half-way; else as run_here does."""
    run = runs.requeue(db, run.id)
    with _alone(queue_of(run.kind), on_wait):
        return _carry_out(db, run, on_progress)


def carry_out_queued(run_id: int) -> None:
    """Carry out one run of the queue in this process, which the dispatcher has started for it."""
    with database.opened() as db, _alone(queue_of(runs.get(db, run_id).kind), None):
        run = runs.get(db, run_id)
        if run.state != "queued":
            return  # cancelled, or taken by a terminal, while it waited
        try:
            _carry_out(db, run, None)
        except VitquantError as error:
            if not runs.get(db, run_id).is_over:  # it could not even begin
                finish(db, run_id, "failed", str(error))
            raise


def forget(db: sqlite3.Connection, run_id: int) -> int:
    """Forget a run that is over, and the file that it has made; returns how many predictions went with it.

    Raises InputError where there is no such run, or it is not over.
    """
    run = runs.get(db, run_id)
    forgotten = runs.delete(db, run_id)
    if run.kind == measurements.ExportRequest.kind:
        for row in run.result or []:
            exports.forget(row)
    return forgotten


def ensure_dispatcher(queue: str = MEASURING) -> None:
    """Start a queue's dispatcher, detached from this process; it ends at once where another is at work."""
    paths.data_dir().mkdir(parents=True, exist_ok=True)
    reserve.lay_by()
    with (paths.data_dir() / "runs.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "vitquant.jobs", "dispatch", queue],
            cwd=paths.PROJECT_ROOT,
            env=paths.child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def dispatch(queue: str = MEASURING) -> None:
    """Take a queue's runs one after the other, until there are none."""
    lock = FileLock(paths.data_dir() / f"{queue}-dispatcher.lock")
    while True:
        try:
            with lock.acquire(blocking=False), database.opened() as db:
                runs.mark_interrupted(db)
                while queued := waiting(db, queue):
                    _dispatch_one(db, queued[-1].id)
        except Timeout:
            return  # another dispatcher is at work; it looks at the queue again before it ends
        # A run queued between the last look and the lock's release would wait for nobody.
        with database.opened() as db:
            if not waiting(db, queue):
                return


def waiting(db: sqlite3.Connection, queue: str) -> list[Run]:
    """The runs that wait in a queue, the newest first."""
    return runs.find(db, states=("queued",), errands=queue == ERRANDS)


def _dispatch_one(db: sqlite3.Connection, run_id: int) -> None:
    kills_before = _out_of_memory_kills()
    process = subprocess.Popen(
        [sys.executable, "-m", "vitquant.jobs", "run", str(run_id)],
        cwd=paths.PROJECT_ROOT,
        env=paths.child_environment(),
    )
    while process.poll() is None:
        time.sleep(POLL_S)
        run = runs.look_up(db, run_id)
        if run is None or run.cancel_requested or run.state == "cancelled":
            _end(process)
    _clear_left()
    run = runs.look_up(db, run_id)
    if run is None or run.is_over or (run.state == "running" and run.process_id != process.pid):
        return  # a terminal may have taken the run from the queue while its process waited for the lock
    if run.cancel_requested:
        finish(db, run_id, "cancelled", "Cancelled; what it had measured is kept.")
    else:
        finish(
            db, run_id, *last_words(process.returncode, memory_ran_out=_out_of_memory_kills() > kills_before)
        )


def _clear_left() -> None:
    """Remove the half-made files of a run whose process was ended, unless somebody else is at work by now."""
    with contextlib.suppress(Timeout), FileLock(lock_file(MEASURING), timeout=0):
        exports.clear_left()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a run's process, and those it has started, within a second or so: every batch it has measured is
    committed."""
    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        for child in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    try:
        process.wait(TERMINATE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_words(exit_status: int, *, memory_ran_out: bool) -> tuple[str, str]:
    """The state and the message of a run whose process ended without giving its own."""
    kept = "What it had measured is kept; continue it when the cause is mended."
    if exit_status == -signal.SIGKILL and memory_ran_out:
        return "failed", f"Memory ran out, and the system killed the run's process. {kept}"
    if exit_status < 0:
        name = signal.Signals(-exit_status).name
        return (
            "interrupted",
            f"The run's process was ended from outside ({name}). What it had measured is kept.",
        )
    return (
        "failed",
        f"The run's process ended early, with exit status {exit_status}; runs.log says more. {kept}",
    )


def _out_of_memory_kills() -> int:
    """How many processes Linux has killed since it started because memory ran out (proc(5), oom_kill)."""
    try:
        with open("/proc/vmstat", encoding="ascii") as file:
            counts = dict(line.split() for line in file)
    except (OSError, ValueError):
        return 0
    return int(counts.get("oom_kill", 0))


def finish(
    db: sqlite3.Connection, run_id: int, state: str, message: str | None = None, result: Rows | None = None
) -> None:
    """Note how a run ended, even where the disk is full: for that some space is kept in reserve."""
    try:
        runs.finish(db, run_id, state, message, result)
    except sqlite3.OperationalError as error:
        if "full" not in str(error) or not reserve.give_back():
            raise
        runs.finish(db, run_id, state, message, result)


def _carry_out(db: sqlite3.Connection, run: Run, on_progress: OnProgress | None) -> Rows:
    request = measurements.from_plain(run.kind, run.request)
    run = runs.claim(db, run.id, request.identity(db), machine.environment())
    reserve.lay_by()

    looked_s = told_s = 0.0
    told = ""

    def progress(done: int, total: int, message: str) -> None:
        nonlocal looked_s, told_s, told
        is_errand = queue_of(run.kind) == ERRANDS
        if is_errand and message == told and done < total and time.monotonic() - told_s < TELL_EVERY_S:
            return  # a download's blocks and a folder's pictures go by faster than a disk takes notes
        told_s, told = time.monotonic(), message
        runs.report(db, run.id, done, total, message)
        if on_progress:
            on_progress(done, total, message)
        if is_errand and time.monotonic() - looked_s > LOOK_FOR_QUIET_EVERY_S:
            while not _is_quiet_free():
                runs.report(db, run.id, done, total, "waits: times are being taken")
                time.sleep(LOOK_FOR_QUIET_EVERY_S)
            looked_s = time.monotonic()

    try:
        journal = Journal(
            progress,
            lambda rows: runs.keep(db, run.id, rows),
            run.result or (),
            lambda name, content: runs.attach(db, run.id, name, content),
        )
        with quiet() if request.kind in NEEDS_QUIET else contextlib.nullcontext():
            rows = request.measure(db, journal)
    except Cancelled as error:
        finish(db, run.id, "cancelled", str(error))
        raise
    except KeyboardInterrupt:
        finish(db, run.id, "cancelled", "Stopped by Ctrl-C; what it had measured is kept.")
        raise
    except VitquantError as error:
        finish(db, run.id, "failed", str(error))
        raise
    except Exception as error:
        message = _what_ran_out(error)
        if message is None:
            finish(db, run.id, "failed", f"Unexpected: {type(error).__name__}: {error}")
            raise
        finish(db, run.id, "failed", message)
        raise VitquantError(message) from error
    finish(db, run.id, "done", result=rows)
    return runs.get(db, run.id).result or []  # exactly what will be read back


def _what_ran_out(error: Exception) -> str | None:
    """Memory or disk, in a sentence; None where it is something else."""
    if isinstance(error, MemoryError) or "allocate memory" in str(error):  # torch's is a RuntimeError
        return "Memory ran out; what was measured is kept. Take a smaller model or smaller batches."
    no_space = isinstance(error, OSError) and error.errno == errno.ENOSPC
    if no_space or (isinstance(error, sqlite3.OperationalError) and "full" in str(error)):
        return "The disk is full; what was measured is kept. Free some space, then continue the run."
    return None


@contextmanager
def quiet(*, patience_s: float = -1) -> Iterator[None]:
    """Nothing else is computed by vitquant on this machine while this holds: whoever takes times holds it, and
    whoever answers a prediction on demand. Raises filelock.Timeout where patience runs out (-1: never)."""
    paths.data_dir().mkdir(parents=True, exist_ok=True)
    with FileLock(paths.data_dir() / "quiet.lock", timeout=patience_s):
        yield


def _is_quiet_free() -> bool:
    """Whether nobody takes times at this moment."""
    try:
        with quiet(patience_s=0):
            return True
    except Timeout:
        return False


@contextmanager
def _alone(queue: str, on_wait: Waiting | None) -> Iterator[None]:
    """Hold a queue's lock, waiting for whoever has it. The system drops it when its holder dies."""
    lock = FileLock(lock_file(queue))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if on_wait:
            what = "run is being measured" if queue == MEASURING else "errand is under way"
            on_wait(f"Another {what} on this machine: waiting for it to end.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def lock_file(queue: str) -> Path:
    """The lock that is held by whoever carries out a run of this queue."""
    paths.data_dir().mkdir(parents=True, exist_ok=True)
    return paths.data_dir() / f"{queue}.lock"


def _add(db: sqlite3.Connection, request: Request, identity: dict[str, Any]) -> Run:
    return runs.add(db, request.kind, to_plain(request), identity, machine.environment())


def _same_run(
    db: sqlite3.Connection, request: Request, identity: dict[str, Any], states: tuple[str, ...]
) -> Run | None:
    key = runs.run_key(request.kind, to_plain(request), identity)
    errands = queue_of(request.kind) == ERRANDS
    return next(iter(runs.find(db, key=key, states=states, errands=errands)), None)


def main(arguments: list[str]) -> int:
    """`dispatch QUEUE`, or `run ID`: what this module's own processes are started with."""
    try:
        if arguments[0] == "dispatch":
            dispatch(arguments[1])
        else:
            carry_out_queued(int(arguments[1]))
    except VitquantError as error:
        print(f"{os.getpid()}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
