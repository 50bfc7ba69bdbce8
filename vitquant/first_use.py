"""The digests of fetched files, noted when each was first here: for files whose source states none.

One readable file, data/fetched.json. A file that later comes with another digest is refused until somebody says
that the change is meant. Imports no torch.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from vitquant import paths, whole
from vitquant.errors import InputError


@dataclass(frozen=True)
class Noted:
    """What was noted of a file when it was first here."""

    sha256: str
    size_bytes: int
    origin: str  # the address or path that it came from
    at: str  # ISO time


def noted() -> dict[str, Noted]:
    """Everything noted, by file name; nothing where somebody has damaged the file."""
    try:
        return _read()
    except InputError:
        return {}


def _read() -> dict[str, Noted]:
    """The same, but InputError where somebody has damaged the file."""
    try:
        found = json.loads(_file().read_text(encoding="utf-8"))
        return {name: Noted(**values) for name, values in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{_file()}, which has the digests of what was fetched, cannot be read ({error}): mend it, or "
            "remove it to have them noted anew."
        ) from error


def check(name: str, sha256: str) -> Noted | None:
    """What was noted of this file, if it has this digest or nothing was noted (then None). Raises InputError
    where it was another."""
    before = _read().get(name)
    if before is not None and before.sha256 != sha256:
        raise InputError(
            f"{name} is not what it was: its sha256 is {sha256[:16]}…, and on {before.at[:10]} it was "
            f"{before.sha256[:16]}… (from {before.origin}). If the change is meant, remove what {_file()} "
            f"says of {name} (from its name to the closing brace and comma), and do the same again."
        )
    return before


def note(name: str, sha256: str, size_bytes: int, origin: str) -> Noted:
    """Note a file that is here for the first time; returns what is noted now. Raises as check does."""
    _file().parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{_file()}.lock"):
        if before := check(name, sha256):
            return before
        now = Noted(sha256, size_bytes, origin, datetime.now(UTC).isoformat(timespec="seconds"))
        _write({**_read(), name: now})
    return now


def forget(*names: str) -> None:
    """Forget what was noted under these names: what comes next under them is somebody's own choice."""
    if not set(names) & set(noted()):
        return
    with FileLock(f"{_file()}.lock"):
        _write({one: known for one, known in _read().items() if one not in names})


def _write(found: dict[str, Noted]) -> None:
    with whole.written(_file()) as writing:
        plain = {name: asdict(known) for name, known in found.items()}
        writing.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")


def _file() -> Path:
    return paths.data_dir() / "fetched.json"
