"""What was measured before: the same figure over all stored runs, and how much it varies between runs that were
made under the same conditions. Queries only; imports no torch.
"""

import sqlite3
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitquant import gallery, predictions
from vitquant.gallery import Subject
from vitquant.runs import Run

ENOUGH = 3
"""With so many runs under the same conditions the band is their mean and two standard deviations, with fewer
their range."""


@dataclass(frozen=True)
class Figure:
    """A column of a kind of run's rows that can be followed over time."""

    kind: str
    column: str
    title: str
    unit: str  # "%", "ms", "MB": what the values times scale are in
    scale: float
    low: str | None = None  # the columns of its interval within a run
    high: str | None = None

    @property
    def key(self) -> str:
        return f"{self.kind}.{self.column}"


FIGURES = (
    Figure("accuracy", "top1", "Top-1", "%", 100, "top1_low", "top1_high"),
    Figure("latency", "median_s", "Latency, median", "ms", 1e3, "q1_s", "q3_s"),
    Figure("latency", "load_s", "Loading time", "ms", 1e3),
    Figure("latency", "first_s", "First prediction", "ms", 1e3),
    Figure("latency", "peak_bytes", "Peak memory of a fresh process", "MB", 1e-6),
    Figure("profile", "wall_s", "One pass beside its profile", "ms", 1e3),
    Figure("size", "disk_bytes", "On disk", "MB", 1e-6),
    Figure("size", "total_bytes", "In memory", "MB", 1e-6),
)


@dataclass(frozen=True)
class Point:
    """One figure of one run."""

    run_id: int
    at: str
    variant: str
    setting: str  # what else it was measured at: shape and threads, number of pictures
    value: float
    low: float | None
    high: float | None
    conditions: str  # the same for runs made under the same conditions
    shipped: bool


@dataclass(frozen=True)
class Band:
    """How much a figure varies between runs under the newest run's conditions."""

    low: float
    high: float
    runs: int


def points(db: sqlite3.Connection, subject: Subject, figure: Figure) -> list[Point]:
    """The figure in every finished run of the subject, the oldest first; values in the figure's unit."""
    found = []
    for run in _runs(db, subject, figure.kind):
        for row in run.result or []:
            if row.get(figure.column) is None:
                continue
            value, low, high = (
                None if column is None or row.get(column) is None else figure.scale * row[column]
                for column in (figure.column, figure.low, figure.high)
            )
            assert value is not None
            found.append(
                Point(
                    run.id,
                    run.ended_at or run.created_at,
                    row["variant"],
                    _setting(run, row),
                    value,
                    low,
                    high,
                    predictions.key_of(run.identity),
                    run.shipped,
                )
            )
    return sorted(found, key=lambda point: (point.at, point.run_id))


def settings(found: Sequence[Point]) -> list[str]:
    """What the points were measured at, the newest first."""
    return list(dict.fromkeys(point.setting for point in reversed(found)))


def band(found: Sequence[Point]) -> Band | None:
    """The noise band of one variant at one setting; None where no run was repeated as the newest was made.

    Not for accuracy: the same pictures under the same conditions get the same answers every time.
    """
    if not found:
        return None
    newest = found[-1]
    values = [
        point.value
        for point in found
        if (point.conditions, point.shipped) == (newest.conditions, newest.shipped)
    ]
    if len(values) < 2:
        return None
    if len(values) < ENOUGH:
        return Band(min(values), max(values), len(values))
    middle, apart = statistics.mean(values), 2 * statistics.stdev(values)
    return Band(middle - apart, middle + apart, len(values))


def _runs(db: sqlite3.Connection, subject: Subject, kind: str) -> list[Run]:
    found = gallery.finished_runs(db, kind, subject)
    if kind != "accuracy":
        return found
    of = (subject.dataset, subject.image_size)
    return [run for run in found if (run.request["dataset"], run.request["image_size"]) == of]


def _setting(run: Run, row: Mapping[str, Any]) -> str:
    if run.kind == "latency":
        return f"{row['shape']}, threads: {row['threads']}"
    if run.kind == "profile":
        return f"{run.request['shape']}, threads: {run.request['threads']}"
    return ""
