"""File digests, remembered by path, size and time of change, so that an unchanged file is read once."""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from vitquant import datasets, weights
from vitquant.database import transaction
from vitquant.datasets import Dataset
from vitquant.digests import sha256_of
from vitquant.errors import InputError
from vitquant.weights import Weights

_ASK_AT_ONCE = 500  # SQLite's oldest limit on the parameters of one statement is 999


def of_weights(db: sqlite3.Connection, source: Weights) -> str:
    """weights.digest, with what is remembered of the files."""
    return weights.digest(source, lambda file: digests(db, [file])[0])


def of_dataset(db: sqlite3.Connection, dataset: Dataset) -> str:
    """datasets.digest, with what is remembered of the files."""
    return datasets.digest(dataset, lambda files: digests(db, files))


def digests(db: sqlite3.Connection, files: Sequence[Path]) -> list[str]:
    """The sha256 of each file, in hexadecimal, read from the store where size and time of change agree.

    Raises InputError where a file is gone or cannot be read.
    """
    names = [str(file) for file in files]
    stats = [_stat(file) for file in files]
    known: dict[str, tuple[int, int, str]] = {}
    for start in range(0, len(names), _ASK_AT_ONCE):
        asked = names[start : start + _ASK_AT_ONCE]
        marks = ", ".join("?" * len(asked))
        for row in db.execute(f"SELECT * FROM file_digests WHERE path IN ({marks})", asked):
            known[row["path"]] = (row["size"], row["mtime_ns"], row["sha256"])

    def is_current(name: str, size: int, mtime_ns: int) -> bool:
        return name in known and known[name][:2] == (size, mtime_ns)

    stale = [
        (name, file, stat)
        for name, file, stat in zip(names, files, stats, strict=True)
        if not is_current(name, stat.st_size, stat.st_mtime_ns)
    ]
    if stale:
        fresh = [sha256_of(file) for _, file, _ in stale]
        rows = [
            (name, stat.st_size, stat.st_mtime_ns, sha256)
            for (name, _, stat), sha256 in zip(stale, fresh, strict=True)
        ]
        with transaction(db):
            db.executemany("INSERT OR REPLACE INTO file_digests VALUES (?, ?, ?, ?)", rows)
        known |= {name: (size, mtime_ns, sha256) for name, size, mtime_ns, sha256 in rows}
    return [known[name][2] for name in names]


def _stat(file: Path) -> os.stat_result:
    try:
        return file.stat()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): it was there a moment ago.") from error
