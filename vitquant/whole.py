"""Files that appear whole or not at all, and work that one process does at a time. Imports no torch."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vitquant.errors import InputError, VitquantError


@contextmanager
def written(file: Path) -> Iterator[Path]:
    """Where to write a file, which is in its place when all of it has been written; what was there before is
    there until then. Raises VitquantError where it cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=file.parent) as staging:
            writing = Path(staging) / file.name
            yield writing
            os.replace(writing, file)
    except OSError as error:
        raise VitquantError(f"{file} could not be written: {error.strerror or error}.") from error


@contextmanager
def alone(lock_file: Path, otherwise: str) -> Iterator[None]:
    """No other process does the same meanwhile; a killed one's lock is gone with it. Raises InputError with the
    sentence `otherwise` where one is at it."""
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_file)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise InputError(otherwise) from error
    try:
        yield
    finally:
        lock.release()
