"""Runs on disk: one measurement each, with its request, environment, progress and result.

A run is queued, then running, then done, failed or cancelled; one whose process is gone without a word is
interrupted, and can be continued. Imports no torch.
"""

import base64
import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from vitquant.database import transaction
from vitquant.errors import Cancelled, InputError, VitquantError
from vitquant.predictions import key_of, now

Rows = list[dict[str, Any]]

UNFINISHED = ("interrupted", "cancelled", "failed")
"""The states from which a run can be continued."""

ERRANDS = ("fetch", "verify", "pictures", "model")
"""Kinds of run that measure nothing: they bring something here, or look it through (vitquant/errands.py). They
have a queue of their own, and are no results."""


@dataclass(frozen=True)
class Run:
    """One measurement, as it stands in the store."""

    id: int
    kind: str  # accuracy, latency, size, profile, bits, export
    state: str  # queued, running, done, failed, cancelled, interrupted
    request: Mapping[str, Any]
    identity: Mapping[str, Any]  # what it is measured on
    key: str  # digest of kind, request and identity
    environment: Mapping[str, Any]
    done: int
    total: int
    message: str
    result: Rows | None
    created_at: str
    started_at: str | None
    ended_at: str | None
    process_id: int | None
    cancel_requested: bool
    shipped: bool = False  # came with the project; not measured here

    @property
    def is_over(self) -> bool:
        return self.state not in ("queued", "running")


def add(
    db: sqlite3.Connection,
    kind: str,
    request: Mapping[str, Any],
    identity: Mapping[str, Any],
    environment: Mapping[str, Any],
) -> Run:
    """A new run, queued."""
    cursor = db.execute(
        "INSERT INTO runs (kind, state, request, identity, key, environment, created_at) "
        "VALUES (?, 'queued', ?, ?, ?, ?, ?)",
        (
            kind,
            json.dumps(request),
            json.dumps(identity),
            run_key(kind, request, identity),
            json.dumps(environment),
            now(),
        ),
    )
    return get(db, int(cursor.lastrowid or 0))


def add_shipped(db: sqlite3.Connection, plain: Mapping[str, Any]) -> None:
    """A finished run that came with the project, with its attachments (base64). Its key is its own: it answers
    no request."""
    key = run_key(plain["kind"], plain["request"], plain["identity"])
    cursor = db.execute(
        "INSERT INTO runs (kind, state, request, identity, key, environment, result, created_at, ended_at, "
        "shipped) VALUES (?, 'done', ?, ?, ?, ?, ?, ?, ?, 1)",
        (
            plain["kind"],
            *(json.dumps(plain[name]) for name in ("request", "identity")),
            f"shipped:{key}",
            *(json.dumps(plain[name]) for name in ("environment", "result")),
            plain["ended_at"],
            plain["ended_at"],
        ),
    )
    for name, content in plain.get("attachments", {}).items():
        attach(db, int(cursor.lastrowid or 0), name, base64.b64decode(content))


def run_key(kind: str, request: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    """The same kind, request and identity: the same key."""
    return key_of({"kind": kind, "request": request, "identity": identity})


def get(db: sqlite3.Connection, run_id: int) -> Run:
    """The run of that number; InputError where there is none."""
    run = look_up(db, run_id)
    if run is None:
        raise InputError(f"There is no run {run_id}: `python -m vitquant runs` lists the stored ones.")
    return run


def look_up(db: sqlite3.Connection, run_id: int) -> Run | None:
    """The run of that number, if there is one (it may have been deleted meanwhile)."""
    if not 0 <= run_id < 2**63:  # what SQLite takes for a number
        return None
    row = db.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone()
    return _run(row) if row else None


def find(
    db: sqlite3.Connection,
    *,
    kind: str | None = None,
    states: Sequence[str] = (),
    key: str | None = None,
    shipped: bool = False,
    errands: bool = False,
) -> list[Run]:
    """Runs of that kind, in one of these states, of that key: newest first. shipped: those instead that came
    with the project; errands: those instead that measure nothing."""
    of_kind = f"kind {'IN' if errands else 'NOT IN'} ({', '.join('?' * len(ERRANDS))})"
    conditions, values = [f"shipped = {int(shipped)}", of_kind], [*ERRANDS]
    if kind:
        conditions.append("kind = ?")
        values.append(kind)
    if key:
        conditions.append("key = ?")
        values.append(key)
    if states:
        conditions.append(f"state IN ({', '.join('?' * len(states))})")
        values.extend(states)
    query = f"SELECT * FROM runs WHERE {' AND '.join(conditions)} ORDER BY id DESC"
    return [_run(row) for row in db.execute(query, values)]


def claim(
    db: sqlite3.Connection, run_id: int, identity: Mapping[str, Any], environment: Mapping[str, Any]
) -> Run:
    """Mark the run as running in this process, on what is here now.

    Where that has changed since the run was asked for (another torch, other weights), the rows it has kept
    are dropped: one result never mixes two conditions. Raises VitquantError where another process has it.
    """
    with transaction(db):
        run = get(db, run_id)
        if run.state in ("running", "done"):
            raise VitquantError(f"Run {run_id} is {run.state} already.")
        if run.identity != identity:
            db.execute(
                "UPDATE runs SET identity = ?, key = ?, result = NULL WHERE id = ?",
                (json.dumps(identity), run_key(run.kind, run.request, identity), run_id),
            )
            db.execute("DELETE FROM attachments WHERE run_id = ?", (run_id,))
        db.execute(
            "UPDATE runs SET state = 'running', started_at = ?, ended_at = NULL, cancel_requested = 0, "
            "message = '', environment = ?, process_id = ?, process_started = ? WHERE id = ?",
            (now(), json.dumps(environment), os.getpid(), psutil.Process().create_time(), run_id),
        )
    return get(db, run_id)


def report(db: sqlite3.Connection, run_id: int, done: int, total: int, message: str = "") -> None:
    """Note how far the run is. Raises Cancelled where somebody has asked it to stop."""
    db.execute("UPDATE runs SET done = ?, total = ?, message = ? WHERE id = ?", (done, total, message, run_id))
    row = db.execute("SELECT cancel_requested FROM runs WHERE id = ?", (run_id,)).fetchone()
    if row is None or row["cancel_requested"]:
        raise Cancelled(f"Run {run_id} was cancelled; what it had measured is kept.")


def keep(db: sqlite3.Connection, run_id: int, rows: Rows) -> None:
    """Store the rows that are finished so far; they stay whatever becomes of the run."""
    db.execute("UPDATE runs SET result = ? WHERE id = ?", (json.dumps(rows), run_id))


def attach(db: sqlite3.Connection, run_id: int, name: str, content: bytes) -> None:
    """Keep something that belongs to a run beside its rows; what had this name is replaced."""
    db.execute("INSERT OR REPLACE INTO attachments VALUES (?, ?, ?)", (run_id, name, content))


def attachment(db: sqlite3.Connection, run_id: int, name: str) -> bytes | None:
    row = db.execute("SELECT content FROM attachments WHERE run_id = ? AND name = ?", (run_id, name)).fetchone()
    return None if row is None else bytes(row["content"])


def attachments(db: sqlite3.Connection, run_id: int) -> list[str]:
    """The names of what is kept beside a run."""
    return [row[0] for row in db.execute("SELECT name FROM attachments WHERE run_id = ?", (run_id,))]


def finish(
    db: sqlite3.Connection, run_id: int, state: str, message: str | None = None, result: Rows | None = None
) -> None:
    """Set how the run ended: done, failed or cancelled. Message and rows stay where none are given."""
    db.execute(
        "UPDATE runs SET state = ?, message = coalesce(?, message), "
        "result = coalesce(?, result), ended_at = ? WHERE id = ?",
        (state, message, None if result is None else json.dumps(result), now(), run_id),
    )


def requeue(db: sqlite3.Connection, run_id: int) -> Run:
    """Put an unfinished run back in the queue, to be continued."""
    run = get(db, run_id)
    if run.state not in UNFINISHED:
        raise InputError(f"Run {run_id} is {run.state}: there is nothing to continue.")
    db.execute(
        "UPDATE runs SET state = 'queued', message = '', cancel_requested = 0 WHERE id = ? AND state = ?",
        (run_id, run.state),
    )
    return get(db, run_id)


def request_cancel(db: sqlite3.Connection, run_id: int) -> None:
    """Ask a run to stop; one that is only queued is cancelled at once."""
    with transaction(db):
        db.execute("UPDATE runs SET cancel_requested = 1 WHERE id = ? AND state = 'running'", (run_id,))
        db.execute(
            "UPDATE runs SET state = 'cancelled', ended_at = ? WHERE id = ? AND state = 'queued'",
            (now(), run_id),
        )


def delete(db: sqlite3.Connection, run_id: int) -> int:
    """Forget a run that is over, and the predictions that no other run rests on: returns how many.

    Raises InputError where there is no such run, or it is not over.
    """
    with transaction(db):
        run = get(db, run_id)
        if not run.is_over:
            raise InputError(f"Run {run_id} is {run.state}: cancel it first, then delete it.")
        db.execute("DELETE FROM runs WHERE id = ?", (run_id,))
        still_used = {key for other in find(db, kind="accuracy") for key in _series_keys(other)}
        unused = [key for key in _series_keys(run) if key not in still_used]
        marks = ", ".join("?" * len(unused))
        [forgotten] = db.execute(
            "SELECT count(*) FROM predictions JOIN series ON series.id = series_id "
            f"WHERE series.key IN ({marks})",
            unused,
        ).fetchone()
        db.execute(f"DELETE FROM series WHERE key IN ({marks})", unused)
    return int(forgotten)


def _series_keys(run: Run) -> list[str]:
    return list(run.identity.get("series", {}).values())


def mark_interrupted(db: sqlite3.Connection) -> None:
    """Mark the runs whose process is gone (killed, machine rebooted) as interrupted."""
    rows = db.execute("SELECT id, process_id, process_started FROM runs WHERE state = 'running'").fetchall()
    gone = [row["id"] for row in rows if not _is_alive(row["process_id"], row["process_started"])]
    for run_id in gone:
        db.execute(
            "UPDATE runs SET state = 'interrupted', ended_at = ?, message = ? "
            "WHERE id = ? AND state = 'running'",
            (now(), "Its process ended without a word; what it had measured is kept.", run_id),
        )


def _is_alive(process_id: int, started: float) -> bool:
    try:
        process = psutil.Process(process_id)
        # Process ids are used again: the same id with another start is another process.
        return abs(process.create_time() - started) < 2 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _run(row: sqlite3.Row) -> Run:
    return Run(
        id=row["id"],
        kind=row["kind"],
        state=row["state"],
        request=json.loads(row["request"]),
        identity=json.loads(row["identity"]),
        key=row["key"],
        environment=json.loads(row["environment"]),
        done=row["done"],
        total=row["total"],
        message=row["message"],
        result=None if row["result"] is None else json.loads(row["result"]),
        created_at=row["created_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        process_id=row["process_id"],
        cancel_requested=bool(row["cancel_requested"]),
        shipped=bool(row["shipped"]),
    )
