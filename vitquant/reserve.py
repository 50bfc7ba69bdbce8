"""A little disk space kept in reserve, so that a run can still note that the disk is full.

SQLite needs space even to change a row. Where none is left, the reserve is given back, and the run's last words
are written into its place.
"""

import contextlib
from pathlib import Path

from vitquant import paths

BYTES = 512 * 1024


def lay_by() -> None:
    """See that the reserve is there; nothing is said where the disk has no room for it."""
    file = _file()
    if file.is_file() and file.stat().st_size == BYTES:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\0" * BYTES)
    except OSError:
        give_back()


def give_back() -> bool:
    """Free the reserve; whether there was one."""
    with contextlib.suppress(FileNotFoundError):
        _file().unlink()
        return True
    return False


def _file() -> Path:
    return paths.data_dir() / "reserve"
