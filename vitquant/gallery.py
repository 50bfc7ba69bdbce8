"""What pages ask of the store: what was measured, under which conditions, and what has changed since. Queries
only; imports neither torch nor Streamlit. (The pictures themselves: browse.)
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vitquant import (
    catalog,
    datasets,
    diagnosis,
    digest_cache,
    fits,
    ledger,
    machine,
    predictions,
    rounding,
    runs,
    weights,
)
from vitquant.accuracy import INT8, REFERENCE, accuracy_row, looks_of_series
from vitquant.errors import InputError
from vitquant.predictions import Identity, Series
from vitquant.runs import Run
from vitquant.sequential import Look
from vitquant.variants import RECIPES, calibrated, own_name

ENOUGH = 24
"""With fewer answered pictures than this, a set is a few answers on demand and no measurement."""


@dataclass(frozen=True)
class Subject:
    """What is looked at: a model with its weights, on a dataset, at an image size."""

    model: str
    weights: str  # "hub", "random" or a folder
    dataset: str
    image_size: int

    @property
    def is_random(self) -> bool:
        return self.weights == "random"


@dataclass(frozen=True)
class Conditions:
    """What an answer measured today would depend on, besides subject and variant."""

    weights_digest: str | None  # None where the weights are no longer here
    dataset_digest: str | None  # None where the pictures are not here
    engine: str
    cpu_features: str
    torch_version: str
    calibrations: Mapping[str, str] = field(default_factory=dict)  # what each calibrated variant would rest on


@dataclass(frozen=True)
class AnswerSet:
    """The variants' stored answers that belong together: same pictures, weights, torch and CPU."""

    key: str  # names the set, in addresses too: what its answers rest on, in short
    dataset_id: int
    series: Mapping[str, Series]  # by variant, in the recipes' order
    answered: int  # pictures that the variant with most answers has answered
    measured_at: str
    opened_singly: int = 0  # of the answered ones, those that are no part of a measurement in order
    shipped: bool = False  # came with the project; not measured here

    @property
    def series_ids(self) -> dict[str, int]:
        return {name: series.id for name, series in self.series.items()}


GONE = ", which are no longer here"
"""How a change ends whose cause is that something was removed."""

# What is here, and what it was measured under


def register(db: sqlite3.Connection, dataset: str) -> tuple[int, str]:
    """Today's pictures of a dataset: their id in the store and their digest. Reads new files once."""
    opened = datasets.open_dataset(dataset)
    digest = digest_cache.of_dataset(db, opened)
    dataset_id = predictions.register_dataset(db, opened, digest, datasets.evaluation_order(opened))
    return dataset_id, digest


def is_registered(db: sqlite3.Connection, dataset_id: int, digest: str) -> bool:
    """Whether the store still has these pictures under this id."""
    query = "SELECT 1 FROM datasets WHERE id = ? AND digest = ?"
    return db.execute(query, (dataset_id, digest)).fetchone() is not None


def subjects(db: sqlite3.Connection) -> list[Subject]:
    """Every subject with predictions measured here, the most recent first; then the models and weights of
    which only latency, size or a profile is stored."""
    rows = db.execute(
        "SELECT model, weights, datasets.name AS dataset, image_size, max(measured_at) AS at "
        "FROM series JOIN datasets ON datasets.id = series.dataset_id "
        "WHERE NOT shipped AND EXISTS (SELECT 1 FROM predictions WHERE series_id = series.id) "
        "GROUP BY 1, 2, 3, 4 ORDER BY at DESC, max(series.id) DESC"
    )
    answered = [Subject(row["model"], row["weights"], row["dataset"], row["image_size"]) for row in rows]
    known = {(subject.model, subject.weights) for subject in answered}
    measured = [run for run in runs.find(db, states=("done",)) if run.request["variants"]]
    others = dict.fromkeys((run.request["model"], run.request["weights"]) for run in measured)
    return answered + [
        Subject(model, source, datasets.usual(model), catalog.model(model).usual_image_size)
        for model, source in others
        if (model, source) not in known and model in catalog.models(removed=True)
    ]


def conditions(db: sqlite3.Connection, subject: Subject, dataset_digest: str | None) -> Conditions:
    """What an answer measured today would depend on. Imports no torch; digests come from the cache."""
    try:
        source = weights.resolve(subject.model, subject.weights)
        here = weights.is_here(source)
        digest = digest_cache.of_weights(db, source) if here else None
    except (InputError, OSError):
        digest = None
    calibrations: dict[str, str] = {}
    for name in calibrated() if digest else ():
        with contextlib.suppress(InputError, OSError):  # there may be no pictures to calibrate on
            calibrations |= fits.keys(db, source, (name,), subject.dataset, subject.image_size)
    return Conditions(
        weights_digest=digest,
        dataset_digest=dataset_digest,
        engine=machine.engine(),
        cpu_features=", ".join(machine.cpu_features()),
        torch_version=machine.version_of("torch"),
        calibrations=calibrations,
    )


def answer_sets(db: sqlite3.Connection, subject: Subject) -> list[AnswerSet]:
    """What is stored of a subject, one set for each weights, pictures, torch and CPU: newest first, what came
    with the project after what was measured here.

    Within a set each variant has its newest series (there are several where engines or recipes differ). What
    has less than ENOUGH answered pictures comes last, so that it does not hide a measurement.
    """
    groups: dict[tuple[int, str, str, str, bool], dict[str, list[Series]]] = {}
    found = predictions.all_series(
        db,
        model=subject.model,
        weights=subject.weights,
        dataset=subject.dataset,
        image_size=subject.image_size,
    )
    for series in found:
        what = series.identity
        groups.setdefault(_set_key(series), {}).setdefault(what.variant, []).append(series)
    sets = []
    for key, group in groups.items():
        enough = min(ENOUGH, pictures_of(db, key[0]))
        answers = {series.id: predictions.tally(db, series.id).n for of in group.values() for series in of}
        # Sorting keeps the newest first among those with enough answers, and among the others.
        by_variant = {
            name: sorted(group[name], key=lambda series: answers[series.id] < enough)[0]
            for name in in_order(group)
        }
        answered = max(answers[series.id] for series in by_variant.values())
        newest = max(series.measured_at for series in by_variant.values())
        name = _set_name(key)
        rank = (answered < enough, key[-1])
        in_order_ = max(predictions.without_gap(db, series.id) for series in by_variant.values())
        found_set = AnswerSet(name, key[0], by_variant, answered, newest, answered - in_order_, key[-1])
        sets.append((rank, found_set))
    return [found for _, found in sorted(sets, key=lambda rank_and_set: rank_and_set[0])]


CURES = ("qint8_best", "qint8_smooth")
"""int8 variants that are to keep the accuracy: the one that is shown as the cure first."""

FIRST_TOLD = (REFERENCE, INT8, "float16", *CURES[:1])
"""The variants that the story needs; the others are for whoever wants to know more."""


def cure_of(answers: AnswerSet) -> str | None:
    """The measured variant that mends what int8 breaks; None where none is measured."""
    return next((name for name in CURES if name in answers.series), None)


def set_of(series: Series) -> str:
    """The name of the answer set that a series belongs to."""
    return _set_name(_set_key(series))


def _set_key(series: Series) -> tuple[int, str, str, str, bool]:
    what = series.identity
    return series.dataset_id, what.weights_digest, what.torch_version, what.cpu_features, series.shipped


def _set_name(key: tuple[int, str, str, str, bool]) -> str:
    return predictions.key_of({"key": key})[:8]


def in_order(variants: Iterable[str]) -> list[str]:
    """Variants in the recipes' order; ones that no recipe makes any more at the end."""
    order = {name: place for place, name in enumerate(RECIPES)}
    return sorted(variants, key=lambda name: (order.get(own_name(name), len(order)), name))


def changes(identity: Identity, today: Conditions) -> tuple[str, ...]:
    """What has changed since a series was measured, in words; nothing where it is as it would be today."""
    recipe = RECIPES.get(own_name(identity.variant))
    then_now = []
    if recipe is None:
        then_now.append(f"the recipe of {identity.variant}, which is gone")
    else:
        then_now += _version_change(identity.variant, identity.recipe_version)
        if recipe.uses_engine:
            then_now += _change("the engine", identity.engine, today.engine)
    if today.dataset_digest is None:
        then_now.append(f"the pictures of {identity.dataset}{GONE}")
    elif identity.dataset_digest != today.dataset_digest:
        then_now.append(f"the pictures of {identity.dataset}")
    then_now += _weights_change(identity.weights_digest, today)
    then_now += _calibration_change(identity.variant, identity.calibration, today)
    then_now += _change("torch", identity.torch_version, today.torch_version)
    then_now += _change("what the CPU offers", identity.cpu_features, today.cpu_features)
    return tuple(then_now)


def run_changes(run: Run, today: Conditions) -> tuple[str, ...]:
    """What has changed since a latency, size, profile or bits run was measured here, in words."""
    if run.shipped:
        return ()
    then = run.identity
    found: list[str] = []
    for name, version in then.get("recipe_versions", {}).items():
        known = own_name(name) in RECIPES
        found += _version_change(name, version) if known else [f"the recipe of {name}, which is gone"]
    found += _weights_change(then.get("weights_digest"), today)
    found += _change("the engine", then.get("engine"), today.engine)
    found += _change("torch", then.get("torch_version"), today.torch_version)
    found += _change("what the CPU offers", then.get("cpu_features"), today.cpu_features)
    if run.kind == "size":
        found += _change("what is measured", str(then.get("measurement", 1)), str(ledger.VERSION))
    usual_size = catalog.model(run.request["model"]).usual_image_size
    if "dataset" in run.request and run.request["image_size"] == usual_size:
        for name, key in then.get("calibrations", {}).items():
            found += _calibration_change(name, key, today)
    if "dataset_digest" in then and then["dataset_digest"] != today.dataset_digest:
        found.append(f"the pictures of {run.request['dataset']}")
    if "rounding_version" in then:
        found += _change("the way of rounding", str(then["rounding_version"]), str(rounding.VERSION))
    if "diagnosis_version" in then:
        found += _change("what is diagnosed", str(then["diagnosis_version"]), str(diagnosis.VERSION))
    if "machine" in then:
        found += _change("the machine", then["machine"], machine.machine_name())
    return tuple(found)


def _version_change(variant: str, then: int) -> list[str]:
    now = RECIPES[own_name(variant)].version
    return [] if then == now else [f"the recipe of {variant} (version {then} then, {now} now)"]


def _calibration_change(variant: str, then: str, today: Conditions) -> list[str]:
    now = today.calibrations.get(variant)
    return [f"the pictures that {variant} is calibrated on"] if then and now and then != now else []


def _weights_change(then: str | None, today: Conditions) -> list[str]:
    if today.weights_digest is None:
        return [f"the weights{GONE}"]
    return [] if then == today.weights_digest else ["the content of the weights"]


def _change(what: str, then: str | None, now: str) -> list[str]:
    return [] if then == now else [f"{what} ({then or 'nothing'} then, {now or 'nothing'} now)"]


def finished_runs(db: sqlite3.Connection, kind: str, subject: Subject) -> list[Run]:
    """The stored results of one kind for a model with these weights: the newest first, what came with the
    project last."""
    found = [
        run for shipped in (False, True) for run in runs.find(db, kind=kind, states=("done",), shipped=shipped)
    ]
    return [
        run
        for run in found
        if run.result and (run.request["model"], run.request["weights"]) == (subject.model, subject.weights)
    ]


def size_rows(db: sqlite3.Connection, subject: Subject) -> dict[str, Mapping[str, Any]]:
    """What each variant takes (a row of a size run), by variant; of the newest measurement that has it."""
    found: dict[str, Mapping[str, Any]] = {}
    for run in finished_runs(db, "size", subject):
        for row in run.result or []:
            found.setdefault(row["variant"], row)
    return found


def runs_on_pictures(
    db: sqlite3.Connection, kind: str, subject: Subject, variant: str | None = None
) -> list[Run]:
    """The stored runs of one kind on a subject's pictures at its image size, in finished_runs' order. variant:
    of this one alone."""
    return [
        run
        for run in finished_runs(db, kind, subject)
        if (run.request["dataset"], run.request["image_size"]) == (subject.dataset, subject.image_size)
        and variant in (None, *run.request["variants"])
    ]


def newest(found: Sequence[Run], today: Conditions) -> Run | None:
    """The first of these runs that is as it would be today, else the first of all; None where there is none."""
    return next((run for run in found if not run_changes(run, today)), found[0] if found else None)


def latency_rows(db: sqlite3.Connection, subject: Subject) -> tuple[Run, list[dict[str, Any]]] | None:
    """The newest latency run that timed fp32 on one picture of this size, and its rows of that shape on most
    threads."""
    shape = f"1x{subject.image_size}"
    for run in finished_runs(db, "latency", subject):
        rows = [row for row in run.result or [] if row["shape"] == shape]
        threads = max((row["threads"] for row in rows if row["variant"] == REFERENCE), default=None)
        if threads is not None:
            return run, [row for row in rows if row["threads"] == threads]
    return None


@dataclass(frozen=True)
class SoFar:
    """What an accuracy run under way has found."""

    rows: list[dict[str, Any]]  # one a variant, as accuracy.rows gives them, on what it has answered in order
    looks: dict[str, list[Look]]  # at each variant but fp32: those taken so far
    last: int  # the last picture that the run may take
    until_sure: bool


def so_far(db: sqlite3.Connection, run: Run) -> SoFar | None:
    """An accuracy run's results up to now; None before its first pictures."""
    found = {name: predictions.series_of_key(db, key) for name, key in run.identity.get("series", {}).items()}
    series = {name: one for name, one in found.items() if one is not None}
    if REFERENCE not in series or not run.total:
        return None
    reference = series[REFERENCE]
    rows = []
    for name, one in series.items():
        # Of what is in the store some may be of an earlier run, beyond what this one is to measure.
        n = min(*(predictions.without_gap(db, s.id) for s in (one, reference)), run.total)
        if n:
            rows.append(accuracy_row(db, series[name], reference, n))
    if not rows:
        return None
    return SoFar(rows, looks_of_series(db, series, run.total), run.total, bool(run.request.get("until_sure")))


# Accuracy


def accuracy_rows(db: sqlite3.Connection, answers: AnswerSet) -> list[dict[str, Any]]:
    """One row a variant, as accuracy.rows gives them, each on the pictures it has answered without a gap.

    Pictures answered on demand lie anywhere in the order; counting them would make the sample unfair.
    """
    reference = answers.series.get(REFERENCE)
    rows = []
    for series in answers.series.values():
        n = predictions.without_gap(db, series.id)
        if n:
            rows.append(accuracy_row(db, series, reference, n))
    return rows


def rows_together(db: sqlite3.Connection, answers: AnswerSet) -> list[dict[str, Any]]:
    """The same, all on the same pictures: those that the variant with fewest has answered without a gap.
    Variants of which only a few pictures were opened one by one are left out."""
    ends = {series.id: predictions.without_gap(db, series.id) for series in answers.series.values()}
    enough = min(ENOUGH, pictures_of(db, answers.dataset_id))
    measured = [series for series in answers.series.values() if ends[series.id] >= enough]
    n = min((ends[series.id] for series in measured), default=0)
    return [accuracy_row(db, series, answers.series.get(REFERENCE), n) for series in measured]


def scores(db: sqlite3.Connection, answers: AnswerSet) -> dict[str, tuple[int, int]]:
    """How many pictures each variant has right, and of how many: of those measured in the evaluation order.

    Pictures that somebody chose to open do not count; they are no sample. Empty where nothing was measured.
    """
    found = {}
    for name, series in answers.series.items():
        tally = predictions.tally(db, series.id, predictions.without_gap(db, series.id))
        if tally.n:
            found[name] = (tally.top1, tally.n)
    return found


def pictures_of(db: sqlite3.Connection, dataset_id: int) -> int:
    """How many pictures a dataset has."""
    [n] = db.execute("SELECT count(*) FROM examples WHERE dataset_id = ?", (dataset_id,)).fetchone()
    return int(n)
