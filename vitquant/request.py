"""What every measurement is, asked for as plain data: what it depends on, what is stored, how to measure it.

(vitquant/measurements.py has them all.) Imports no torch.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

from vitquant import catalog, datasets, digest_cache, fits, machine, runs, weights
from vitquant.cure import Cure
from vitquant.errors import InputError
from vitquant.runs import Rows, Run
from vitquant.variants import check_available, recipe


@dataclass(frozen=True)
class Journal:
    """What a measurement tells whoever carries it out, and what it was left by an earlier attempt.

    progress(done, total, message) raises Cancelled where the run is to stop. keep(rows) stores all rows that
    are finished so far: they stay when the run is stopped, and are its `rows` when it is continued. attach
    keeps what is too large for rows under a name.
    """

    progress: Callable[[int, int, str], None]
    keep: Callable[[Rows], None] = lambda rows: None
    rows: Sequence[Mapping[str, Any]] = ()
    attach: Callable[[str, bytes], None] = lambda name, content: None

    def finished(self, *parts: str) -> set[Any]:
        """Which parts (variants; pairs of shape and threads) an earlier attempt has finished."""
        return {tuple(row[part] for part in parts) if len(parts) > 1 else row[parts[0]] for row in self.rows}


class Request(Protocol):
    """One measurement asked for; plain data that survives a trip through JSON."""

    kind: ClassVar[str]

    @property
    def model(self) -> str: ...

    @property
    def weights(self) -> str: ...

    @property
    def variants(self) -> tuple[str, ...]: ...

    def identity(self, db: sqlite3.Connection) -> dict[str, Any]:
        """What the result depends on besides the request; InputError where it cannot be measured."""

    def stored(self, db: sqlite3.Connection) -> Rows | None:
        """The rows, if all of them are in the store under today's identity."""

    def measure(self, db: sqlite3.Connection, journal: Journal) -> Rows:
        """Measure what is missing and return the rows."""

    def origin(self, db: sqlite3.Connection) -> tuple[Mapping[str, Any], str]:
        """The environment in which the stored result was measured, and when."""


class KeptWithItsRun:
    """A measurement whose rows are kept with its run (accuracy's are read from the stored predictions)."""

    def stored(self: Request, db: sqlite3.Connection) -> Rows | None:
        run = newest_run(db, self)
        return run.result if run else None

    def origin(self: Request, db: sqlite3.Connection) -> tuple[Mapping[str, Any], str]:
        run = newest_run(db, self)
        if run is None:
            raise InputError(f"Nothing is stored yet for this {self.kind} run.")
        return run.environment, run.ended_at or run.created_at


def to_plain(request: Request) -> dict[str, Any]:
    """The request as plain data, as JSON gives it back."""
    plain = asdict(request)  # type: ignore[call-overload]
    return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}


def identity_of(db: sqlite3.Connection, request: Request) -> dict[str, Any]:
    """What every result that is kept with its run depends on. Raises InputError where the weights, a variant or
    the pictures to calibrate on cannot be had."""
    engine = machine.engine()
    source = weights.resolve(request.model, request.weights)
    calibrations = fits.keys(db, source, request.variants, *_calibrated_on(request))
    return {
        **({"calibrations": calibrations} if calibrations else {}),
        "model": request.model,
        "weights_digest": digest_cache.of_weights(db, source),
        "recipe_versions": {name: recipe(name).version for name in check_available(request.variants, engine)},
        "engine": engine,
        "cpu_features": ", ".join(machine.cpu_features()),
        "torch_version": machine.version_of("torch"),
    }


def _calibrated_on(request: Request) -> tuple[str, int]:
    """The dataset whose training pictures calibrated variants are fitted to, and the image size: the request's,
    or else the model's usual ones, which its accuracy is measured on unless somebody says otherwise."""
    dataset = getattr(request, "dataset", None) or datasets.usual(request.model)
    return dataset, getattr(request, "image_size", catalog.model(request.model).usual_image_size)


def cures_of(db: sqlite3.Connection, request: Request, journal: Journal) -> dict[str, Cure]:
    """What the calibrated ones among a request's variants need; calibrated now where nobody has."""
    source = weights.resolve(request.model, request.weights)
    return fits.cures(db, source, request.variants, *_calibrated_on(request), journal.progress)


def newest_run(db: sqlite3.Connection, request: Request) -> Run | None:
    """The newest finished run of exactly this request under today's conditions."""
    key = runs.run_key(request.kind, to_plain(request), request.identity(db))
    return next(iter(runs.find(db, key=key, states=("done",))), None)
