"""What could go on a device: every model's every variant with what is stored of it, accuracy, disk, memory and
time, each from its newest measurement. Queries only; imports neither torch nor Streamlit.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vitquant import catalog, gallery, machine, resident, runs, sample, weights
from vitquant.catalog import ModelSpec
from vitquant.errors import InputError
from vitquant.gallery import ENOUGH, Conditions, Subject
from vitquant.runs import Run
from vitquant.variants import recipe, usable


@dataclass(frozen=True)
class Origin:
    """The measurement that a figure comes from."""

    machine: str
    measured_at: str
    shipped: bool  # came with the project; not measured here
    changes: tuple[str, ...]  # what has changed since it was measured here; nothing where it holds
    random_weights: bool = False  # measured with random weights, which take as much space and time


@dataclass(frozen=True)
class Candidate:
    """One variant of one model with its weights. A figure that was not measured is None."""

    model: str
    weights: str  # "hub", "bundled" or a folder
    variant: str
    image_size: int  # of the pictures, in pixels
    weights_here: bool  # whether it can be measured here without fetching anything
    is_at_another_size: bool = False  # than was asked for: it takes no pictures of that size
    accuracy: Mapping[str, Any] | None = None  # as accuracy.rows gives it, on the dataset asked for
    disk_bytes: int | None = None
    memory_bytes: int | None = None  # at its peak, beyond what the process took before loading it
    baseline_bytes: int | None = None  # what that process takes before it loads the model
    latency_s: float | None = None  # median of one picture
    threads: int | None = None  # with which it was timed
    is_noisy: bool = False  # it was timed, but the machine was too noisy to tell
    computed_disk_bytes: int | None = None  # the least its file can take, where it was not measured
    origins: Mapping[str, Origin] = field(default_factory=dict)  # by "accuracy", "size" and "latency"

    @property
    def top1(self) -> float | None:
        """What it is ranked by: the share of pictures it has right."""
        return None if self.accuracy is None else float(self.accuracy["top1"])

    @property
    def label(self) -> str:
        """What to call it; the weights are named where they are not the model's own."""
        beside = (
            [] if self.weights == catalog.model(self.model).home else [f"weights {Path(self.weights).name}"]
        )
        if self.is_at_another_size:
            beside.append(f"{self.image_size} px")
        return f"{self.model} · {self.variant}" + (f" ({', '.join(beside)})" if beside else "")

    @property
    def is_measured(self) -> bool:
        """Whether anything of it was measured."""
        return bool(self.origins)


def check_image_size(size: int) -> None:
    """InputError unless some model takes pictures of so many pixels."""
    known = catalog.models()
    if not any(size > 0 and size % spec.patch_size == 0 for spec in known.values()):
        catalog.check_image_size(size, next(iter(known)))


def find(db: sqlite3.Connection, dataset: str, image_size: int, dataset_digest: str | None) -> list[Candidate]:
    """Every model of the catalog, with its own weights and any folder's of which something is stored, in every
    variant that this machine can run. Random weights are no candidates; their size and time stand in where the
    model's own were not measured. A model that takes no pictures of this size stands at its usual one.

    dataset_digest: today's pictures, which tells whether an accuracy is stale; None where they are not here.
    """
    others = {(subject.model, subject.weights) for subject in gallery.subjects(db)}
    shipped = {
        (run.request["model"], run.request["weights"]) for run in runs.find(db, states=("done",), shipped=True)
    }
    found = []
    for spec in catalog.models().values():

        def of(source: str, spec: ModelSpec = spec) -> list[Candidate]:
            # The samples' answers come with the project, their sizes too.
            is_stored = (spec.name, source) in others | shipped
            takes_it = image_size % spec.patch_size == 0
            subject = Subject(spec.name, source, dataset, image_size if takes_it else spec.usual_image_size)
            return _of(db, subject, dataset_digest, is_stored=is_stored, is_at_another_size=not takes_it)

        own = of(spec.home)
        if (spec.name, RANDOM) in others:
            own = [_filled(mine, of_random) for mine, of_random in zip(own, of(RANDOM), strict=True)]
        found += own
        for source in sorted(source for model, source in others if model == spec.name):
            if source not in (spec.home, RANDOM):
                found += [one for one in of(source) if one.is_measured]
    return found


RANDOM = "random"


def _filled(own: Candidate, of_random: Candidate) -> Candidate:
    """A variant with its own weights; what was not measured of its size and time is what random ones take."""
    changed: dict[str, Any] = {}
    origins = dict(own.origins)
    for kind, figures in (
        ("size", ("disk_bytes", "memory_bytes", "baseline_bytes")),
        ("latency", ("latency_s", "threads", "is_noisy")),
    ):
        if kind not in origins and kind in of_random.origins:
            changed |= {name: getattr(of_random, name) for name in figures}
            origins[kind] = replace(of_random.origins[kind], random_weights=True)
            if kind == "size":
                changed["computed_disk_bytes"] = None  # now it is measured
    return replace(own, **changed, origins=origins)


def _of(
    db: sqlite3.Connection,
    subject: Subject,
    dataset_digest: str | None,
    *,
    is_stored: bool,
    is_at_another_size: bool,
) -> list[Candidate]:
    """One model with one source of weights, in every variant."""
    parts: dict[str, dict[str, Any]] = {name: {"origins": {}} for name in usable(machine.engine())}
    if is_stored:
        today = gallery.conditions(db, subject, dataset_digest)
        _add_sizes(db, subject, today, parts)
        _add_latency(db, subject, today, parts)
        _add_accuracy(db, subject, today, parts)
    for name, known in parts.items():
        if "disk_bytes" not in known:
            # It can rule out a model that was not measured; it is no measurement.
            known["computed_disk_bytes"] = recipe(name).weight_bytes * catalog.model(subject.model).parameters
    here = _weights_are_here(subject)
    return [
        Candidate(
            subject.model,
            subject.weights,
            name,
            subject.image_size,
            is_at_another_size=is_at_another_size,
            weights_here=here,
            **known,
        )
        for name, known in parts.items()
    ]


def _add_sizes(
    db: sqlite3.Connection, subject: Subject, today: Conditions, parts: dict[str, dict[str, Any]]
) -> None:
    for run in gallery.finished_runs(db, "size", subject):
        for row in run.result or []:
            known = parts.get(row["variant"])
            if known is None or "size" in known["origins"]:
                continue
            known["disk_bytes"] = min(row["disk_bytes"], row.get("exported_bytes") or row["disk_bytes"])
            if adds := resident.added(row):
                known |= {"memory_bytes": adds.peak_bytes, "baseline_bytes": row["baseline_bytes"]}
            known["origins"]["size"] = _origin_of_run(run, today)


def _add_latency(
    db: sqlite3.Connection, subject: Subject, today: Conditions, parts: dict[str, dict[str, Any]]
) -> None:
    timed = gallery.latency_rows(db, subject)
    if timed is None:
        return
    run, rows = timed
    for row in rows:
        known = parts.get(row["variant"])
        if known is None:
            continue
        is_noisy = bool(row.get("is_noisy"))
        known |= {
            "latency_s": None if is_noisy else row["median_s"],
            "is_noisy": is_noisy,
            "threads": row["threads"],
        }
        known["origins"]["latency"] = _origin_of_run(run, today)


def _add_accuracy(
    db: sqlite3.Connection, subject: Subject, today: Conditions, parts: dict[str, dict[str, Any]]
) -> None:
    for answers in gallery.answer_sets(db, subject):
        lacking = [name for name in parts if "accuracy" not in parts[name] and name in answers.series]
        if not lacking:
            continue
        enough = min(ENOUGH, gallery.pictures_of(db, answers.dataset_id))
        for row in gallery.accuracy_rows(db, answers):
            if row["variant"] not in lacking or row["n"] < enough:
                continue
            series = answers.series[row["variant"]]
            known = parts[row["variant"]]
            known["accuracy"] = row
            known["origins"]["accuracy"] = Origin(
                str(series.environment.get("machine", "")),
                series.measured_at,
                answers.shipped,
                () if answers.shipped else gallery.changes(series.identity, today),
            )


def _origin_of_run(run: Run, today: Conditions) -> Origin:
    at = run.ended_at or run.created_at
    machine_name = str(run.environment.get("machine", ""))
    return Origin(machine_name, at, run.shipped, gallery.run_changes(run, today))


def _weights_are_here(subject: Subject) -> bool:
    try:
        source = weights.resolve(subject.model, subject.weights)
    except InputError:  # a folder that is gone
        return False
    return sample.is_here() if source.source == "bundled" else weights.is_here(source)
