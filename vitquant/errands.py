"""Errands: what brings something here or looks it through, as requests for the queue. They measure nothing.

An errand is always done when it is asked for (what is here already makes it short), and one that was stopped
goes on where it was. Imports no torch until measure() is called.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from vitquant import catalog, fetching, own_pictures, registry
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
        """Nothing, since an errand is always done; raises InputError where it is known at once that it cannot
        be."""
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
        fetching.check(self.name, [Path(file) for file in self.files])
        return {}

    def measure(self, db: sqlite3.Connection, journal: Journal) -> Rows:
        files = [Path(file) for file in self.files]
        return fetching.fetch(self.name, journal.progress, mirror=self.mirror, files=files)


@dataclass(frozen=True)
class VerifyRequest(Errand):
    """Whether a model's weights or a dataset's pictures are whole and as they were."""

    kind: ClassVar[str] = "verify"

    def identity(self, db: sqlite3.Connection) -> dict[str, Any]:
        fetching.check_is_here(self.name)
        return {}

    def measure(self, db: sqlite3.Connection, journal: Journal) -> Rows:
        return fetching.verify(self.name, journal.progress)


@dataclass(frozen=True)
class PicturesRequest(Errand):
    """One's own pictures, looked through and added (vitquant/own_pictures.py).

    path: a folder, or a .zip archive, which is unpacked. labels: a CSV. classes: by the name of a folder, the
    class index that is meant. copy: whether the pictures are copied, so that they stay when the folder goes.
    add: whether they are added, or only looked through.
    """

    kind: ClassVar[str] = "pictures"
    path: str
    title: str = ""
    labels: str | None = None
    classes: dict[str, int] = field(default_factory=dict)
    copy: bool = False
    add: bool = True

    def identity(self, db: sqlite3.Connection) -> dict[str, Any]:
        catalog.check_new_name(registry.DATASETS, self.name)
        _check_there(Path(self.path), "pictures")
        if self.labels:
            _check_there(Path(self.labels), "table of labels")
            if Path(self.path).is_file():
                raise InputError(
                    f"A table of labels goes with a folder: unpack {self.path}, and name the folder beside it."
                )
        return {}

    def measure(self, db: sqlite3.Connection, journal: Journal) -> Rows:
        def progress(done: int, total: int) -> None:
            journal.progress(done, total, "pictures looked at")

        path, labels = Path(self.path), Path(self.labels) if self.labels else None
        if path.suffix.lower() == ".zip" and path.is_file():
            report = own_pictures.look_through_zip(path, chosen=self.classes, progress=progress)
        else:
            report = own_pictures.look_through(path, labels=labels, chosen=self.classes, progress=progress)
        is_added = self.add and report.problem is None
        if is_added:
            self._add(path, report, progress)
        return [{"name": self.name, "added": is_added, **report.plain()}]

    def _add(self, path: Path, report: own_pictures.Report, progress: own_pictures.Progress) -> None:
        title = self.title or self.name
        if path.suffix.lower() == ".zip" and path.is_file():
            own_pictures.add_zip(self.name, path, chosen=self.classes, title=title, progress=progress)
        else:
            labels = Path(self.labels) if self.labels else None
            own_pictures.add(
                self.name,
                path,
                report=report,
                labels=labels,
                chosen=self.classes,
                title=title,
                copy=self.copy,
            )


@dataclass(frozen=True)
class ModelRequest(Errand):
    """One's own model, looked at and added (vitquant/own_models.py)."""

    kind: ClassVar[str] = "model"
    files: tuple[str, ...]
    title: str = ""
    timm: str | None = None  # which of timm's ViTs it is; None: one of DINOv2's

    def identity(self, db: sqlite3.Connection) -> dict[str, Any]:
        catalog.check_new_name(registry.MODELS, self.name)
        for file in self.files:
            _check_there(Path(file), "file")
        return {}

    def measure(self, db: sqlite3.Connection, journal: Journal) -> Rows:
        from vitquant import own_models

        journal.progress(0, 1, "reading every tensor")
        files = [Path(file) for file in self.files]
        spec = own_models.add(self.name, files, title=self.title or None, timm_name=self.timm)
        found = {"model": spec.name, "title": spec.title, "parameters": spec.parameters}
        return [{**found, "files": list(spec.files), "has_head": spec.has_head}]


def _check_there(path: Path, what: str) -> None:
    if not path.exists():
        raise InputError(f"There is nothing at {path}: check the path of the {what}.")


KINDS: dict[str, type] = {
    request.kind: request for request in (FetchRequest, VerifyRequest, PicturesRequest, ModelRequest)
}


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
