"""Errands: what brings something here or looks it through, as requests for the queue. They measure nothing.
 An errand is always done when it is asked for (what is here already makes it short), and one that was stopped
goes on where it was. Imports no torch until measure() is called."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from vitquant import fetching
from vitquant.errors import InputError
from vitquant.request import Journal
from vitquant.runs import Rows


@dataclass(frozen=True)
class Errand:
    """What every errand is: about one name."""

    kind: ClassVar[str]
    name: str

    @property
    def model(self) -> str:
        return self.name

    @property
    def weights(self) -> str:
        return ""

    @property
    def variants(self) -> tuple[str, ...]:
        return ()

    def identity(self, db: sqlite3.Connection) -> dict[str, Any]:
        return {}

    def stored(self, db: sqlite3.Connection) -> Rows | None:
        return None

    def origin(self, db: sqlite3.Connection) -> tuple[Mapping[str, Any], str]:
        raise InputError("An errand has no stored result.")

    def measure(self, db: sqlite3.Connection, journal: Journal) -> Rows:
        raise NotImplementedError


@dataclass(frozen=True)
class FetchRequest(Errand):
    """Tiny-ImageNet, or a model's checkpoints (vitquant/fetching.py). files: paths of what somebody has
    brought."""

    kind: ClassVar[str] = "fetch"
    mirror: str | None = None
    files: tuple[str, ...] = ()

    def identity(self, db: sqlite3.Connection) -> dict[str, Any]:
        fetching.parts(self.name, self.mirror)  # a name that cannot be fetched is said at once
        return {}

    def measure(self, db: sqlite3.Connection, journal: Journal) -> Rows:
        files = [Path(file) for file in self.files]
        return fetching.fetch(self.name, journal.progress, mirror=self.mirror, files=files)


@dataclass(frozen=True)
class VerifyRequest(Errand):
    """Whether a model's weights or a dataset's pictures are whole and as they were."""

    kind: ClassVar[str] = "verify"

    def measure(self, db: sqlite3.Connection, journal: Journal) -> Rows:
        return fetching.verify(self.name, journal.progress)


KINDS: dict[str, type] = {request.kind: request for request in (FetchRequest, VerifyRequest)}


def title(kind: str, request: Mapping[str, Any]) -> str:
    """An errand in a few words, from its request as plain data."""
    name = request["name"]
    match kind:
        case "fetch":
            return f"fetching {name}" + (f" from {request['mirror']}" if request.get("mirror") else "")
        case "verify":
            return f"verifying {name}"
        case "pictures":
            return f"looking through the pictures of {name}"
        case _:
            return f"reading the model {name}"
