"""The measurements, each as a request: what is asked for, what it depends on, what is stored, how to
measure it. The command line, the pages and the queue of runs know measurements only through these.

Nothing here imports torch until measure() is called.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from vitquant import (
    accuracy,
    bits,
    catalog,
    diagnosis,
    digest_cache,
    errands,
    exports,
    features,
    fits,
    formats,
    heads,
    ledger,
    machine,
    paths,
    predictions,
    registry,
    room,
    rounding,
    runs,
    study,
    weights,
)
from vitquant.datasets import Dataset
from vitquant.errors import InputError
from vitquant.request import Journal, KeptWithItsRun, Request, cures_of, identity_of, to_plain
from vitquant.runs import Rows
from vitquant.variants import calibrated, recipe
from vitquant.weights import Weights


@dataclass(frozen=True)
class AccuracyRequest:
    """Top-1 and top-5 on the first `limit` pictures of a dataset's evaluation order (all: None).

    until_sure: each variant only until it is settled how it compares with fp32, on that many at most.
    """

    kind: ClassVar[str] = "accuracy"
    model: str
    weights: str
    variants: tuple[str, ...]
    dataset: str
    limit: int | None = None
    image_size: int = catalog.DEFAULT_IMAGE_SIZE
    until_sure: bool = False

    def plan(self, db: sqlite3.Connection) -> accuracy.Plan:
        if self.until_sure and set(self.variants) <= {accuracy.REFERENCE}:
            raise InputError(
                f"Until sure compares variants with {accuracy.REFERENCE}: name another variant beside it."
            )
        return accuracy.plan(
            db,
            model=self.model,
            weights_source=self.weights,
            dataset_name=self.dataset,
            variants=self.variants,
            image_size=self.image_size,
        )

    def identity(self, db: sqlite3.Connection) -> dict[str, Any]:
        return {"series": {name: series.identity.key for name, series in self.plan(db).series.items()}}

    def stored(self, db: sqlite3.Connection) -> Rows | None:
        plan = self.plan(db)
        n = plan.count(self.limit)
        if self.until_sure:
            return accuracy.settled_rows(db, plan, self.variants, n)
        return None if accuracy.missing(db, plan, n) else accuracy.rows(db, plan, self.variants, n)

    def origin(self, db: sqlite3.Connection) -> tuple[Mapping[str, Any], str]:
        series = self.plan(db).series[self.variants[-1]]
        return series.environment, series.measured_at

    def measure(self, db: sqlite3.Connection, journal: Journal) -> Rows:
        plan = self.plan(db)
        n = plan.count(self.limit)
        accuracy.calibrate(db, plan, self.variants, journal.progress)
        if self.until_sure:
            accuracy.measure_until_sure(
                db, plan, n, lambda done, _: journal.progress(done, n, "pictures at most")
            )
            return accuracy.settled_rows(db, plan, self.variants, n) or []
        wanted = accuracy.missing(db, plan, n)
        # Pictures that every variant has answered before count as done from the start.
        stored = n - len({position for positions in wanted.values() for position in positions})
        what = f"pictures, {stored:,} of them stored before" if stored else "pictures"
        accuracy.measure(db, plan, wanted, lambda done, _: journal.progress(stored + done, n, what))
        return accuracy.rows(db, plan, self.variants, n)


@dataclass(frozen=True)
class LatencyRequest(KeptWithItsRun):
    """Seconds a forward pass takes, for each shape ("8x70": 8 pictures of 70 x 70) and number of threads.

    Before the variants are timed in turns, a fresh process for each loads it and makes one prediction at the
    first shape (vitquant/startup.py); those figures stand in the rows of that shape.
    """

    kind: ClassVar[str] = "latency"
    model: str
    weights: str
    variants: tuple[str, ...]
    shapes: tuple[str, ...]
    threads: tuple[int, ...]
    seconds_per_shape: float

    def identity(self, db: sqlite3.Connection) -> dict[str, Any]:
        return identity_of(db, self) | {"machine": machine.machine_name()}

    def measure(self, db: sqlite3.Connection, journal: Journal) -> Rows:
        from vitquant import latency, startup
        from vitquant.predict import load_variants

        rows = [dict(row) for row in journal.rows]
        shapes = latency.parse_shapes(",".join(self.shapes), self.model)
        settings = [(s, threads) for threads in self.threads for s in shapes]
        finished = journal.finished("shape", "threads")
        source = weights.resolve(self.model, self.weights)
        cures = cures_of(db, self, journal)
        starts = {}
        if not finished:
            for name in self.variants:
                journal.progress(0, latency.PROGRESS_STEPS, f"loading {name} in a fresh process")
                starts[name] = asdict(
                    startup.measure(self.model, self.weights, name, *settings[0], cures.get(name))
                )
        models = load_variants(source, self.variants, machine.engine(), cures)
        for place, (shape, threads) in enumerate(settings):
            if (str(shape), threads) in finished:
                continue

            def report(done: int, total: int, message: str, place: int = place, threads: int = threads) -> None:
                share = (place + done / total) / len(settings)
                where = f"{message}, {latency.threads_title(threads)}" if message else ""
                journal.progress(int(latency.PROGRESS_STEPS * share), latency.PROGRESS_STEPS, where)

            timings = list(
                latency.measure(
                    models, [shape], threads, seconds_per_shape=self.seconds_per_shape, on_progress=report
                )
            )
            for timing in timings:
                journal.attach(timing.name, latency.pack_times(timing.times_s))
            rows += latency.rows(timings, starts if place == 0 else {})
            journal.keep(rows)
        return rows


@dataclass(frozen=True)
class SizeRequest(KeptWithItsRun):
    """Bytes on disk and in memory, tensor by tensor (vitquant/ledger.py); what each Linear layer is
    (vitquant/layer_facts.py); and the resident memory of a fresh process that loads each variant from a file of
    its own and makes one prediction (vitquant/resident.py)."""

    kind: ClassVar[str] = "size"
    model: str
    weights: str
    variants: tuple[str, ...]

    def identity(self, db: sqlite3.Connection) -> dict[str, Any]:
        return identity_of(db, self) | {"measurement": ledger.VERSION}

    def measure(self, db: sqlite3.Connection, journal: Journal) -> Rows:
        from vitquant import footprint, layer_facts, models, resident, variants

        room.check_memory(self.model, self.kind)
        spec = catalog.model(self.model)
        room.check_disk(paths.data_dir(), 4 * spec.parameters, "Measuring resident memory")
        cures = cures_of(db, self, journal)
        model = models.load(weights.resolve(self.model, self.weights))
        rows = [dict(row) for row in journal.rows]
        steps = 2 * len(self.variants)
        for place, name in enumerate(self.variants):
            if name in journal.finished("variant"):
                continue
            journal.progress(2 * place, steps, name)
            cure = cures.get(name)
            variant = variants.build(model, name, machine.engine(), cure)
            taken = footprint.measure(variant)
            floats = variants.floats_of(model, cure)
            found = layer_facts.measure(variant, floats, cure, taken.entries)
            del floats  # folded, it is a second float32 model
            row = {"variant": name, **taken.row(), "layers": layer_facts.plain(found)}
            with exports.making() as folder:
                size = spec.usual_image_size
                exports.write(folder, variant, spec, "state-dict", image_size=size, engine=machine.engine())
                written = folder / formats.format_of("state-dict").weights_file
                row["exported_bytes"] = written.stat().st_size
                del variant  # one variant in memory at a time
                journal.progress(2 * place + 1, steps, f"{name} in a fresh process")
                row |= asdict(resident.measure(folder))
            rows.append(row)
            journal.keep(rows)
        journal.progress(steps, steps, "")
        return rows


@dataclass(frozen=True)
class ProfileRequest(KeptWithItsRun):
    """Where the time of a forward pass goes, per variant: operators by self time and memory, and layers."""

    kind: ClassVar[str] = "profile"
    model: str
    weights: str
    variants: tuple[str, ...]
    shape: str
    threads: int
    stacks: bool = False

    def identity(self, db: sqlite3.Connection) -> dict[str, Any]:
        return identity_of(db, self) | {"machine": machine.machine_name()}

    def measure(self, db: sqlite3.Connection, journal: Journal) -> Rows:
        from vitquant import latency, profile
        from vitquant.predict import load_variants

        rows = [dict(row) for row in journal.rows]
        lacking = [name for name in self.variants if name not in journal.finished("variant")]
        cures = cures_of(db, self, journal)
        models = load_variants(weights.resolve(self.model, self.weights), lacking, machine.engine(), cures)
        [shape] = latency.parse_shapes(self.shape, self.model)
        for name, model in models.items():
            journal.progress(self.variants.index(name), len(self.variants), name)
            found = profile.measure(model, shape, self.threads, stacks=self.stacks)
            journal.attach(f"trace/{name}.json.gz", found.trace)
            rows += [{"variant": name, **row} for row in found.rows()]
            journal.keep(rows)
        journal.progress(len(self.variants), len(self.variants), "")
        return rows


@dataclass(frozen=True)
class BitsRequest(KeptWithItsRun):
    """Weights at 8 down to 2 bits, simulated (vitquant/bits.py), on the first so many pictures of a dataset's
    evaluation order; on all of them where there are fewer."""

    kind: ClassVar[str] = "bits"
    model: str
    weights: str
    dataset: str
    pictures: int = bits.USUAL_PICTURES
    image_size: int = catalog.DEFAULT_IMAGE_SIZE
    variants: tuple[str, ...] = (accuracy.REFERENCE,)  # whose weights are rounded

    def identity(self, db: sqlite3.Connection) -> dict[str, Any]:
        dataset = bits.opened(self.model, self.dataset, self.pictures, self.image_size)
        return identity_of(db, self) | {
            "dataset_digest": digest_cache.of_dataset(db, dataset),
            "rounding_version": rounding.VERSION,
        }

    def measure(self, db: sqlite3.Connection, journal: Journal) -> Rows:
        room.check_memory(self.model, self.kind)
        source = weights.resolve(self.model, self.weights)
        dataset = bits.opened(self.model, self.dataset, self.pictures, self.image_size)
        return bits.measure(source, dataset, self.pictures, self.image_size, journal)


@dataclass(frozen=True)
class DiagnosisRequest(KeptWithItsRun):
    """Which layers an int8 variant breaks, and why (vitquant/diagnosis.py), on the first so many pictures of a
    dataset's evaluation order; on all of them where there are fewer."""

    kind: ClassVar[str] = "diagnosis"
    model: str
    weights: str
    dataset: str
    pictures: int = diagnosis.USUAL_PICTURES
    image_size: int = catalog.DEFAULT_IMAGE_SIZE
    variants: tuple[str, ...] = diagnosis.USUAL_VARIANTS  # the one that is diagnosed

    def opened(self) -> Dataset:
        return diagnosis.opened(self.model, self.dataset, self.pictures, self.image_size, self.variants)

    def identity(self, db: sqlite3.Connection) -> dict[str, Any]:
        return identity_of(db, self) | {
            "dataset_digest": digest_cache.of_dataset(db, self.opened()),
            "diagnosis_version": diagnosis.VERSION,
        }

    def measure(self, db: sqlite3.Connection, journal: Journal) -> Rows:
        room.check_memory(self.model, self.kind)
        source = weights.resolve(self.model, self.weights)
        [variant] = self.variants
        cure = cures_of(db, self, journal).get(variant)
        return diagnosis.measure(source, self.opened(), self.pictures, self.image_size, variant, journal, cure)


@dataclass(frozen=True)
class ExportRequest(KeptWithItsRun):
    """One variant as a file to take away, put to the test on the first so many pictures of a dataset's
    evaluation order: loaded again by itself, and compared with the variant it was made from
    (vitquant/exports.py)."""

    kind: ClassVar[str] = "export"
    model: str
    weights: str
    variants: tuple[str, ...]  # the one that is exported
    format: str
    dataset: str
    pictures: int = exports.USUAL_PICTURES
    image_size: int = catalog.DEFAULT_IMAGE_SIZE

    def identity(self, db: sqlite3.Connection) -> dict[str, Any]:
        formats.check(self.format, self.variants[0])
        return identity_of(db, self) | {
            "dataset_digest": digest_cache.of_dataset(db, exports.opened(self.dataset, self.pictures)),
            "runtime": f"{formats.format_of(self.format).runtime} {formats.runtime_version(self.format)}",
            "code_digest": exports.digest_of_code(),
        }

    def stored(self, db: sqlite3.Connection) -> Rows | None:
        rows = super().stored(db)
        return rows if rows and exports.sound_file(db, rows[0]) else None  # somebody may have removed it

    def measure(self, db: sqlite3.Connection, journal: Journal) -> Rows:
        from vitquant import export_run

        return [export_run.carry_out(db, self, journal.progress)]


@dataclass(frozen=True)
class CalibrationRequest:
    """Calibrated variants fitted to a dataset's training pictures (vitquant/calibrate.py). What is found is
    kept with the store's fits, where every other measurement finds it; the rows tell of it: one of part "fit"
    for each variant, and one of part "candidate" for everything that was tried."""

    kind: ClassVar[str] = "calibration"
    model: str
    weights: str
    variants: tuple[str, ...]
    dataset: str
    image_size: int = catalog.DEFAULT_IMAGE_SIZE

    def _of(self) -> tuple[Weights, tuple[str, ...], str, int]:
        """What fits takes to tell these calibrations from any others."""
        return weights.resolve(self.model, self.weights), self.variants, self.dataset, self.image_size

    def identity(self, db: sqlite3.Connection) -> dict[str, Any]:
        if plain := [name for name in self.variants if not recipe(name).is_calibrated]:
            raise InputError(
                f"{plain[0]} is not calibrated: only {', '.join(calibrated())} are, and can be told settings."
            )
        return identity_of(db, self)

    def stored(self, db: sqlite3.Connection) -> Rows | None:
        self.identity(db)
        found = [fits.find(db, one.key) for one in fits.wanted(db, *self._of()).values()]
        return None if None in found else [row for fit in found if fit for row in fit.rows()]

    def origin(self, db: sqlite3.Connection) -> tuple[Mapping[str, Any], str]:
        fit = fits.find(db, fits.wanted(db, *self._of())[self.variants[-1]].key)
        if fit is None:
            raise InputError("Nothing is stored yet for this calibration.")
        return fit.environment, fit.made_at

    def measure(self, db: sqlite3.Connection, journal: Journal) -> Rows:
        room.check_memory(self.model, self.kind)
        found = fits.obtain(db, *self._of(), journal.progress)
        journal.progress(1, 1, "")  # how many candidates there are to be is not known before
        return [row for fit in found.values() for row in fit.rows()]


@dataclass(frozen=True)
class StudyRequest(KeptWithItsRun):
    """What SmoothQuant is worth by the number of calibration pictures and their seed (vitquant/study.py), on
    the first so many pictures of a dataset's evaluation order."""

    kind: ClassVar[str] = "study"
    model: str
    weights: str
    dataset: str
    pictures: int = study.USUAL_PICTURES
    image_size: int = catalog.DEFAULT_IMAGE_SIZE
    variants: tuple[str, ...] = ("qint8",)  # what is smoothed

    def identity(self, db: sqlite3.Connection) -> dict[str, Any]:
        dataset = bits.opened(self.model, self.dataset, self.pictures, self.image_size)
        chosen = study.chosen(db, self.dataset, self.image_size)
        return identity_of(db, self) | {
            "dataset_digest": digest_cache.of_dataset(db, dataset),
            "study": {str(seed): of.calibration.key for seed, of in chosen.items()},
        }

    def measure(self, db: sqlite3.Connection, journal: Journal) -> Rows:
        room.check_memory(self.model, self.kind)
        source = weights.resolve(self.model, self.weights)
        chosen = study.chosen(db, self.dataset, self.image_size)
        return study.measure(source, self.dataset, self.pictures, self.image_size, chosen, journal)


@dataclass(frozen=True)
class HeadRequest(KeptWithItsRun):
    """A head for a dataset's classes, trained on what a model's backbone makes of its pictures, and registered
    with the backbone as a model of its own (vitquant/head_training.py).

    model: whose backbone, with weights as everywhere, or with the backbone's checkpoint in a file. name: of the
    new model; pictures: to train with at most (None: all).
    """

    kind: ClassVar[str] = "head"
    model: str
    weights: str
    dataset: str
    name: str
    pictures: int | None = None
    image_size: int = catalog.DEFAULT_IMAGE_SIZE
    seed: int = 0
    backbone: str | None = None
    variants: tuple[str, ...] = ()

    def identity(self, db: sqlite3.Connection) -> dict[str, Any]:
        catalog.check_image_size(self.image_size, self.model)
        if not self._has_been_trained(db):
            catalog.check_new_name(registry.MODELS, self.name)
        of = heads.backbone(self.model, self.weights, self.backbone)
        found = heads.pictures(db, self.dataset, self.pictures, self.seed)
        if found.rest:
            heads.check_rest(found)
        return {
            "model": of.model,
            "weights_digest": heads.digest_of_backbone(db, of),
            "dataset_digest": predictions.key_of({"pictures": heads.digest_of_pictures(db, found)}),
            "features_version": features.VERSION,
            "head_version": heads.VERSION,
            "torch_version": machine.version_of("torch"),
        }

    def _has_been_trained(self, db: sqlite3.Connection) -> bool:
        """Whether the name may be taken by what this request has made itself."""
        mine = to_plain(self)
        return any(run.request == mine for run in runs.find(db, kind=self.kind, states=("done",)))

    def stored(self, db: sqlite3.Connection) -> Rows | None:
        rows = super().stored(db)
        return rows if rows and heads.is_there(db, rows[0]) else None  # it may have been removed

    def measure(self, db: sqlite3.Connection, journal: Journal) -> Rows:
        from vitquant import head_training, own_models, own_pictures

        return head_training.carry_out(
            db, self, journal, add_model=own_models.add, add_view=own_pictures.add_view
        )


KINDS: dict[str, type] = {
    request.kind: request
    for request in (
        AccuracyRequest,
        LatencyRequest,
        SizeRequest,
        ProfileRequest,
        BitsRequest,
        DiagnosisRequest,
        ExportRequest,
        CalibrationRequest,
        StudyRequest,
        HeadRequest,
    )
}


def from_plain(kind: str, request: Mapping[str, Any]) -> Request:
    """The request that was stored as plain data (lists become tuples again)."""
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in request.items()}
    if kind in errands.KINDS:
        errand: Request = errands.KINDS[kind](**values)
        return errand
    if kind == LatencyRequest.kind and isinstance(values["threads"], int):
        values["threads"] = (values["threads"],)  # as it was stored before threads could be swept
    return KINDS[kind](**values)
