"""What calibrated recipes have found, kept in the store: found once for a model and its calibration pictures,
and the same wherever the variant is built again. Imports no torch until something has to be calibrated.
"""

import base64
import contextlib
import json
import sqlite3
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vitquant import calibration, catalog, cure, digest_cache, machine, predictions
from vitquant.calibration import Calibration, Chosen
from vitquant.cure import Cure
from vitquant.errors import InputError, VitquantError
from vitquant.runs import Rows
from vitquant.variants import Recipe, recipe
from vitquant.weights import Weights

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Fit:
    """One calibrated recipe's result for one model: what is done, found on what, and what was tried."""

    model: str
    weights_digest: str
    variant: str
    recipe_version: int
    calibration: Calibration
    cure: Cure
    parameters: Mapping[str, Any]  # plain: what people read of it
    trail: Rows  # every candidate that was measured, in order (vitquant/calibrate.py)
    environment: Mapping[str, Any]
    made_at: str

    @property
    def key(self) -> str:
        return _key(self.model, self.weights_digest, self.variant, self.recipe_version, self.calibration)

    def rows(self) -> list[dict[str, Any]]:
        """As rows: one of part "fit" that says what was found and on what, and the trail, each of part
        "candidate"."""
        calibrated = {"calibration": asdict(self.calibration), "calibrated_on": self.calibration.title()}
        found = {"part": "fit", "variant": self.variant, **calibrated, "parameters": dict(self.parameters)}
        return [found, *({"part": "candidate", "variant": self.variant, **row} for row in self.trail)]


@dataclass(frozen=True)
class Wanted:
    """A calibrated variant of a model, and the pictures it is to be fitted to."""

    model: str
    weights_digest: str
    recipe: Recipe
    chosen: Chosen

    @property
    def key(self) -> str:
        return _key(
            self.model, self.weights_digest, self.recipe.name, self.recipe.version, self.chosen.calibration
        )


def wanted(
    db: sqlite3.Connection, source: Weights, variants: Iterable[str], dataset: str, image_size: int
) -> dict[str, Wanted]:
    """What the calibrated ones among these variants need on this dataset; nothing for the others.

    Raises InputError where the model takes no pictures of that size, and where there are none to calibrate on
    (vitquant/calibration.py).
    """
    found = {}
    for name in variants:
        of = recipe(name)
        if of.settings is not None:
            catalog.check_image_size(image_size, source.model)
            chosen = calibration.choose(db, dataset, image_size, of.settings)
            found[name] = Wanted(source.model, digest_cache.of_weights(db, source), of, chosen)
    return found


def keys(
    db: sqlite3.Connection, source: Weights, variants: Iterable[str], dataset: str, image_size: int
) -> dict[str, str]:
    """The calibrations that these variants rest on, as part of what a result depends on: by variant."""
    found = wanted(db, source, variants, dataset, image_size)
    return {name: one.chosen.calibration.key for name, one in found.items()}


def find(db: sqlite3.Connection, key: str) -> Fit | None:
    """The stored fit of that key."""
    return next(_readable(db.execute("SELECT * FROM fits WHERE key = ?", (key,))), None)


def all_of(db: sqlite3.Connection) -> list[Fit]:
    """Every stored fit, by model and variant."""
    return list(_readable(db.execute("SELECT * FROM fits ORDER BY model, variant, key")))


def of_model(db: sqlite3.Connection, model: str, weights_digest: str) -> list[Fit]:
    """Every stored fit of a model with these weights, the newest first."""
    rows = db.execute(
        "SELECT * FROM fits WHERE model = ? AND weights_digest = ? ORDER BY made_at DESC, variant",
        (model, weights_digest),
    )
    return list(_readable(rows))


def obtain(
    db: sqlite3.Connection,
    source: Weights,
    variants: Iterable[str],
    dataset: str,
    image_size: int,
    progress: Progress = lambda done, total, message: None,
) -> dict[str, Fit]:
    """The fits that these variants need, by variant; what is not stored yet is calibrated now, and stored.

    Raises InputError where that cannot be done, and what progress raises.
    """
    found = {}
    for name, one in wanted(db, source, variants, dataset, image_size).items():
        # Of a stored one, too: it may have been found for another dataset, or before pictures were copied.
        calibration.check_apart(db, one.chosen, dataset)
        fit = find(db, one.key)
        if fit is None:
            from vitquant import calibrate

            cured, parameters, trail = calibrate.carry_out(source, one.recipe, one.chosen, progress)
            fit = Fit(
                one.model,
                one.weights_digest,
                one.recipe.name,
                one.recipe.version,
                one.chosen.calibration,
                cured,
                parameters,
                trail,
                machine.environment(),
                predictions.now(),
            )
            add(db, fit)
        found[name] = fit
    return found


def cures(
    db: sqlite3.Connection,
    source: Weights,
    variants: Iterable[str],
    dataset: str,
    image_size: int,
    progress: Progress = lambda done, total, message: None,
) -> dict[str, Cure]:
    """obtain(), of which only what variants.build takes."""
    return {name: fit.cure for name, fit in obtain(db, source, variants, dataset, image_size, progress).items()}


def stored_cures(
    db: sqlite3.Connection, source: Weights, variants: Iterable[str], dataset: str, image_size: int
) -> dict[str, Cure]:
    """The same of what is stored, for whoever cannot wait for a calibration. Raises VitquantError where one of
    these variants is not calibrated yet."""
    found = {}
    for name, one in wanted(db, source, variants, dataset, image_size).items():
        fit = find(db, one.key)
        if fit is None:
            raise VitquantError(
                f"{name} of {source.model} is not calibrated yet for {dataset} at {image_size} pixels: the "
                "Cures on the Diagnosis page do that, and so does `python -m vitquant calibrate`."
            )
        found[name] = fit.cure
    return found


def ready(
    db: sqlite3.Connection, source: Weights, variants: Iterable[str], dataset: str, image_size: int
) -> tuple[str, ...]:
    """Those of these variants that can be built at once: the calibrated ones have been."""
    return tuple(
        name
        for name in variants
        if not recipe(name).is_calibrated or _is_fitted(db, source, name, dataset, image_size)
    )


def _is_fitted(db: sqlite3.Connection, source: Weights, name: str, dataset: str, image_size: int) -> bool:
    known = db.execute("SELECT 1 FROM fits WHERE model = ? AND variant = ?", (source.model, recipe(name).name))
    if known.fetchone() is None:  # then there is no need to look through the training pictures
        return False
    try:
        return find(db, wanted(db, source, (name,), dataset, image_size)[name].key) is not None
    except InputError:  # the weights or the pictures are not here
        return False


def add(db: sqlite3.Connection, fit: Fit, *, shipped: bool = False) -> None:
    """Store a fit, in the place of one of the same key; a shipped one only where there is none."""
    values = {
        "key": fit.key,
        "model": fit.model,
        "weights_digest": fit.weights_digest,
        "variant": fit.variant,
        "recipe_version": fit.recipe_version,
        "calibration": json.dumps(asdict(fit.calibration)),
        "parameters": json.dumps(fit.parameters),
        "trail": json.dumps(list(fit.trail)),
        "cure": fit.cure.to_bytes(),
        "environment": json.dumps(fit.environment),
        "made_at": fit.made_at,
        "shipped": int(shipped),
    }
    marks = ", ".join(f":{name}" for name in values)
    names = ", ".join(values)
    otherwise = "IGNORE" if shipped else "REPLACE"
    db.execute(f"INSERT OR {otherwise} INTO fits ({names}) VALUES ({marks})", values)


def to_plain(fit: Fit) -> dict[str, Any]:
    """The fit as plain data, its cure as base64."""
    names = [name for name in Fit.__dataclass_fields__ if name not in ("calibration", "cure")]
    return {
        **{name: getattr(fit, name) for name in names},
        "calibration": asdict(fit.calibration),
        "cure": base64.b64encode(fit.cure.to_bytes()).decode(),
    }


def from_plain(plain: Mapping[str, Any]) -> Fit:
    """The fit that to_plain gave."""
    return Fit(
        **{
            **plain,
            "calibration": calibration.from_plain(plain["calibration"]),
            "cure": cure.from_bytes(base64.b64decode(plain["cure"])),
        }
    )


def _key(model: str, weights_digest: str, variant: str, version: int, of: Calibration) -> str:
    # The model counts as well: the samples share their weights, and channels are planted in one of them.
    return predictions.key_of(
        {
            "model": model,
            "weights": weights_digest,
            "variant": variant,
            "version": version,
            "calibration": asdict(of),
        }
    )


def _readable(rows: Iterable[sqlite3.Row]) -> Iterator[Fit]:
    """The fits of these rows; what is damaged, or of another version of vitquant, counts as not there."""
    for row in rows:
        with contextlib.suppress(ValueError, TypeError, zipfile.BadZipFile):
            yield _fit(row)


def _fit(row: sqlite3.Row) -> Fit:
    return Fit(
        model=row["model"],
        weights_digest=row["weights_digest"],
        variant=row["variant"],
        recipe_version=row["recipe_version"],
        calibration=calibration.from_plain(json.loads(row["calibration"])),
        cure=cure.from_bytes(row["cure"]),
        parameters=json.loads(row["parameters"]),
        trail=json.loads(row["trail"]),
        environment=json.loads(row["environment"]),
        made_at=row["made_at"],
    )
