"""The results that come with the built-in sample, so that a first visit has something measured to look at.

data/sample/results.json.gz holds them with the machine, versions and time of their measurement. They are
read into the store once, as shipped: they show, labelled so, until the visitor's own are there; they never
answer a question for what was measured here. Imports no torch.
"""

import base64
import gzip
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vitquant import datasets, digest_cache, fits, gallery, paths, predictions, runs, sample
from vitquant.database import transaction
from vitquant.errors import InputError
from vitquant.fits import Fit
from vitquant.predictions import Identity, Prediction, Series
from vitquant.runs import Run

DATASET = "sample"
FORMAT = 2
DIGITS = 5
"""Significant digits of probabilities and divergences in the file."""


def results_file() -> Path:
    return paths.sample_dir() / "results.json.gz"


def bring_in(db: sqlite3.Connection) -> None:
    """See that the store has the shipped results, of the file as it is now: at once where it has.

    Raises InputError, and leaves the store without any shipped results, where the file is missing or
    damaged, or its results belong to other pictures than those here.
    """
    file = results_file()
    try:
        digest = digest_cache.digests(db, [file])[0] if file.is_file() else None
        if digest and db.execute("SELECT 1 FROM shipped WHERE digest = ?", (digest,)).fetchone():
            return
        sample.check({file: digest})
        content = _read(file)
        dataset_id, dataset_digest = gallery.register(db, DATASET)
        if content["dataset_digest"] != dataset_digest:
            raise InputError(f"The shipped results belong to other pictures than the sample's. {sample.REMEDY}")
    except InputError:
        with transaction(db):
            _forget(db)
        raise
    with transaction(db):
        if db.execute("SELECT 1 FROM shipped WHERE digest = ?", (digest,)).fetchone():
            return  # another process was faster
        _forget(db)
        for series in content["series"]:
            _add_series(db, series, dataset_id)
        for run in content["runs"]:
            runs.add_shipped(db, run)
        for fit in content["fits"]:
            fits.add(db, fits.from_plain(fit), shipped=True)
        db.execute("INSERT INTO shipped VALUES (?, ?)", (digest, predictions.now()))


def _read(file: Path) -> dict[str, Any]:
    try:
        with gzip.open(file, "rt", encoding="utf-8") as opened:
            content = json.load(opened)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{file} of the built-in sample is damaged. {sample.REMEDY}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{file} is of another version of vitquant. {sample.REMEDY}")
    return content


def _forget(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM series WHERE shipped")
    db.execute("DELETE FROM runs WHERE shipped")
    db.execute("DELETE FROM fits WHERE shipped")
    db.execute("DELETE FROM shipped")


def _add_series(db: sqlite3.Connection, plain: Mapping[str, Any], dataset_id: int) -> None:
    identity = Identity(**plain["identity"])
    series = predictions.add_shipped_series(
        db, identity, dataset_id, plain["environment"], plain["measured_at"]
    )
    columns = (plain[name] for name in ("indices", "probabilities", "ranks", "true_probabilities", "kl_nats"))
    predictions.insert_predictions(
        db,
        series,
        (
            Prediction(position, tuple(top), tuple(probabilities), rank, true_probability, kl)
            for position, (top, probabilities, rank, true_probability, kl) in enumerate(
                zip(*columns, strict=True)
            )
        ),
    )


# Writing the file


def pack(
    db: sqlite3.Connection, series: Iterable[Series], measured: Sequence[Run], found: Sequence[Fit]
) -> bytes:
    """The content of results.json.gz: these series, which have answered every picture, these runs, and what the
    calibrated variants among them were calibrated to.

    The same results give the same bytes.
    """
    opened = datasets.open_dataset(DATASET)
    content = {
        "format": FORMAT,
        "dataset_digest": digest_cache.of_dataset(db, opened),
        "series": [_plain_series(db, one, len(opened.examples)) for one in series],
        "runs": [
            {
                "kind": run.kind,
                "request": run.request,
                "identity": run.identity,
                "environment": run.environment,
                "result": run.result,
                "ended_at": run.ended_at,
                "attachments": {
                    name: base64.b64encode(runs.attachment(db, run.id, name) or b"").decode()
                    for name in runs.attachments(db, run.id)
                },
            }
            for run in measured
        ],
        "fits": [fits.to_plain(fit) for fit in found],
    }
    text = json.dumps(content, separators=(",", ":"), sort_keys=True)
    return gzip.compress(text.encode(), mtime=0)


def _plain_series(db: sqlite3.Connection, series: Series, n: int) -> dict[str, Any]:
    answers = predictions.all_of(db, series.id)
    if [answer.position for answer in answers] != list(range(n)):
        raise InputError(f"{series.identity.variant} has not answered all {n:,} pictures.")
    return {
        "identity": asdict(series.identity),
        "environment": series.environment,
        "measured_at": series.measured_at,
        "indices": [answer.indices for answer in answers],
        "probabilities": [[_short(p) for p in answer.probabilities] for answer in answers],
        "ranks": [answer.true_rank for answer in answers],
        "true_probabilities": [_short(answer.true_probability) for answer in answers],
        "kl_nats": [None if answer.kl_nats is None else _short(answer.kl_nats) for answer in answers],
    }


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
