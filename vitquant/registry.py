"""What a person has added: models and datasets of their own, one readable JSON file each below data/own/.

A file appears whole or not at all. What is removed keeps its entry, marked as removed, so that what was
measured with it can still be shown by its name; adding something under the name again takes its place.
Imports no torch.
"""

import functools
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vitquant import paths, whole
from vitquant.errors import InputError

MODELS, DATASETS = "models", "datasets"

LONGEST_NAME = 40

REMOVED_AT = "removed_at"
"""An entry's key that says when it was removed; None or missing while it is in use."""

Entry = Mapping[str, Any]


def folder(kind: str) -> Path:
    """Where the entries of a kind (MODELS or DATASETS) are, each as NAME.json; what belongs to one may lie
    beside it under other endings."""
    return paths.data_dir() / "own" / kind


def entries(kind: str) -> dict[str, Entry]:
    """Every entry by its name, removed ones too, in the order in which they were added. Files that are no
    entries are passed over."""
    place = folder(kind)
    try:
        changed_ns = place.stat().st_mtime_ns
    except OSError:
        return {}
    return dict(_entries(place, changed_ns))


@functools.lru_cache(maxsize=8)
def _entries(place: Path, changed_ns: int) -> dict[str, Entry]:
    """Read anew where a file was added, replaced or removed: that changes the folder's time."""
    found = []
    for file in place.glob("*.json"):
        try:
            entry = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(entry, dict) and entry.get("name") == file.stem:
            found.append(entry)
    return {entry["name"]: entry for entry in sorted(found, key=lambda entry: str(entry.get("added_at", "")))}


def add(kind: str, name: str, values: Mapping[str, Any]) -> Entry:
    """Keep an entry under a name. values: plain data for JSON; the name and the time are added.

    Raises InputError where the name cannot be had (check_name), VitquantError where it cannot be written.
    """
    check_name(kind, name)
    entry = {"name": name, "added_at": _now(), REMOVED_AT: None, **values}
    _write(folder(kind) / f"{name}.json", entry)
    return entry


def remove(kind: str, name: str) -> None:
    """Mark an entry as removed. Raises InputError where there is none."""
    entry = entries(kind).get(name)
    if entry is None or entry.get(REMOVED_AT):
        raise InputError(f"Nothing of yours is called {name!r}: there is nothing to remove.")
    _write(folder(kind) / f"{name}.json", {**entry, REMOVED_AT: _now()})


def check_name(kind: str, name: str) -> str:
    """The name, if something of one's own can be called that; else InputError.

    Letters, digits, "-", "_" and "." only, so that it is a file's name everywhere and nothing else; not the
    name of another entry in use, of either kind, so that a name says what is meant; not even in other capitals,
    which some file systems do not tell apart.
    """
    is_name = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) and not name.endswith((".", ".json"))
    if not is_name or len(name) > LONGEST_NAME:
        raise InputError(
            f"{name!r} is no name for it: take up to {LONGEST_NAME} letters, digits, '-', '_' and '.', the "
            "first one a letter or digit."
        )
    for of_kind in (MODELS, DATASETS):
        for other, entry in entries(of_kind).items():
            if other.lower() != name.lower():
                continue
            if not entry.get(REMOVED_AT):
                raise InputError(f"There is {other} already: remove it, or take another name.")
            if of_kind == kind and other != name:
                raise InputError(f"There was {other}, and {name} differs in capitals alone: take another name.")
    return name


def _write(file: Path, entry: Mapping[str, Any]) -> None:
    with whole.written(file) as writing:
        writing.write_text(json.dumps(entry, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
