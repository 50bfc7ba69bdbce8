"""Stored predictions: what each variant answered, under which identity, and the questions asked of them.

Imports no torch: pages and the command line answer from here. "position" is an example's place in the
evaluation order (datasets.evaluation_order), "picture" its place in ImageFolder's order.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from vitquant.database import transaction
from vitquant.datasets import Dataset
from vitquant.own_pictures_listing import UNLABELLED

TOP = 5


def now() -> str:
    """The time as the store writes it: UTC, ISO 8601, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def key_of(value: Mapping[str, Any]) -> str:
    """A digest of plain data, the same for the same content."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Identity:
    """All that decides what a variant answers: the same identity, the same predictions."""

    model: str
    weights: str  # as people name them: "hub", "random", a folder
    weights_digest: str
    variant: str
    recipe_version: int
    engine: str
    cpu_features: str
    torch_version: str
    dataset: str
    split: str
    dataset_digest: str
    image_size: int
    calibration: str = ""  # the key of the pictures that the recipe was fitted to (calibration.py), if it was

    @property
    def key(self) -> str:
        """A digest of what the answers depend on; the weights count by content, not by where they lie."""
        parts = asdict(self)
        del parts["weights"]
        if not self.calibration:  # as keys were before there were any
            del parts["calibration"]
        return key_of(parts)


@dataclass(frozen=True)
class Series:
    """One variant's stored answers under one identity."""

    id: int
    identity: Identity
    dataset_id: int
    environment: Mapping[str, Any]
    begun_at: str
    measured_at: str
    shipped: bool = False  # came with the project; not measured here


@dataclass(frozen=True)
class Prediction:
    """What one variant answers to one example."""

    position: int
    indices: tuple[int, ...]  # the top-5 classes, most probable first
    probabilities: tuple[float, ...]
    true_rank: int  # 1: right; 2..5: in the top-5
    true_probability: float
    kl_nats: float | None  # KL(fp32 || this variant) over all classes; None where fp32 is not measured
    logits: np.ndarray | None = None  # (1000,) float32, stored for fp32 only


@dataclass(frozen=True)
class Tally:
    """How many of n examples a variant has right."""

    n: int
    top1: int
    top5: int
    mean_kl_nats: float | None


@dataclass(frozen=True)
class Paired:
    """Two variants on the same n examples: the second has broken what the first had right, or fixed it."""

    n: int
    broken: int
    fixed: int


def register_dataset(db: sqlite3.Connection, dataset: Dataset, digest: str, order: Sequence[int]) -> int:
    """The dataset's id in the store, where it is registered if it is new. order: pictures by position."""
    query = "SELECT id FROM datasets WHERE name = ? AND split = ? AND digest = ?"
    row = db.execute(query, (dataset.name, dataset.split, digest)).fetchone()
    if row:
        return int(row["id"])
    with transaction(db):
        row = db.execute(query, (dataset.name, dataset.split, digest)).fetchone()
        if row:
            return int(row["id"])
        cursor = db.execute(
            "INSERT INTO datasets (name, split, digest, added_at) VALUES (?, ?, ?, ?)",
            (dataset.name, dataset.split, digest, now()),
        )
        dataset_id = int(cursor.lastrowid or 0)
        examples = (dataset.examples[picture] for picture in order)
        db.executemany(
            "INSERT INTO examples (dataset_id, position, picture, path, wnid, class_index) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (
                (dataset_id, position, example.index, example.path, example.wnid, example.class_index)
                for position, example in enumerate(examples)
            ),
        )
    return dataset_id


def has_labels(db: sqlite3.Connection, dataset_id: int) -> bool:
    """Whether somebody has said what the pictures of a registered dataset show."""
    query = "SELECT 1 FROM examples WHERE dataset_id = ? AND position = 0 AND class_index = ?"
    return db.execute(query, (dataset_id, UNLABELLED)).fetchone() is None


def find_series(db: sqlite3.Connection, identity: Identity) -> Series | None:
    """The series of exactly this identity, if anything was measured under it."""
    row = db.execute(f"{_SERIES} WHERE series.key = ?", (identity.key,)).fetchone()
    return _series(row) if row else None


def series_of_key(db: sqlite3.Connection, key: str) -> Series | None:
    """The series that a run names by its identity's key, if it is still stored."""
    row = db.execute(f"{_SERIES} WHERE series.key = ?", (key,)).fetchone()
    return _series(row) if row else None


def changed_answers(
    db: sqlite3.Connection, first: int, second: int, n: int, most: int
) -> tuple[int, list[sqlite3.Row]]:
    """On how many of the first n pictures two series' first answers differ, and the first so many of them:
    picture, class_index, first_index, second_index."""
    query = (
        "FROM predictions a JOIN predictions b ON a.position = b.position "
        "JOIN series ON series.id = a.series_id "
        "JOIN examples ON examples.dataset_id = series.dataset_id AND examples.position = a.position "
        "WHERE a.series_id = ? AND b.series_id = ? AND a.position < ? AND a.index1 != b.index1"
    )
    [count] = db.execute(f"SELECT count(*) {query}", (first, second, n)).fetchone()
    rows = db.execute(
        "SELECT examples.picture, examples.class_index, a.index1 AS first_index, b.index1 AS second_index "
        f"{query} ORDER BY a.position LIMIT ?",
        (first, second, n, most),
    ).fetchall()
    return int(count), rows


def begin_series(
    db: sqlite3.Connection, identity: Identity, dataset_id: int, environment: Mapping[str, Any]
) -> Series:
    """The series of this identity, begun now if there is none."""
    values = {
        **{k: v for k, v in asdict(identity).items() if k not in ("dataset", "split", "dataset_digest")},
        "key": identity.key,
        "dataset_id": dataset_id,
        "environment": json.dumps(environment),
        "begun_at": now(),
        "measured_at": now(),
    }
    columns = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    # The same weights may have been measured under another name: the newest name is where they are found.
    db.execute(
        f"INSERT INTO series ({columns}) VALUES ({marks}) "
        "ON CONFLICT (key) DO UPDATE SET weights = excluded.weights WHERE weights != excluded.weights",
        values,
    )
    series = find_series(db, identity)
    assert series is not None
    return series


def add_shipped_series(
    db: sqlite3.Connection,
    identity: Identity,
    dataset_id: int,
    environment: Mapping[str, Any],
    measured_at: str,
) -> int:
    """A series that came with the project: its id. Its key is its own, so that find_series never finds it."""
    values = {
        **{k: v for k, v in asdict(identity).items() if k not in ("dataset", "split", "dataset_digest")},
        "key": f"shipped:{identity.key}",
        "dataset_id": dataset_id,
        "environment": json.dumps(environment),
        "begun_at": measured_at,
        "measured_at": measured_at,
        "shipped": 1,
    }
    marks = ", ".join(f":{name}" for name in values)
    cursor = db.execute(f"INSERT INTO series ({', '.join(values)}) VALUES ({marks})", values)
    return int(cursor.lastrowid or 0)


def all_series(db: sqlite3.Connection, **where: str | int) -> list[Series]:
    """Every series with predictions, newest first; where: model, weights, variant, dataset, image_size."""
    names = {"dataset": "datasets.name"}
    conditions = [f"{names.get(name, f'series.{name}')} = :{name}" for name in where]
    conditions.append("EXISTS (SELECT 1 FROM predictions WHERE series_id = series.id)")
    query = f"{_SERIES} WHERE {' AND '.join(conditions)} ORDER BY measured_at DESC, series.id DESC"
    return [_series(row) for row in db.execute(query, where)]


def missing_positions(db: sqlite3.Connection, series_id: int, n: int) -> list[int]:
    """Which of the first n positions this series has no answer for yet, ascending."""
    measured = {
        row[0]
        for row in db.execute(
            "SELECT position FROM predictions WHERE series_id = ? AND position < ?", (series_id, n)
        )
    }
    return [position for position in range(n) if position not in measured]


def without_gap(db: sqlite3.Connection, series_id: int) -> int:
    """How many positions, counted from the first, this series has answered without leaving one out."""
    n, last = db.execute(
        "SELECT count(*), max(position) FROM predictions WHERE series_id = ?", (series_id,)
    ).fetchone()
    if n == 0 or last == n - 1:  # the usual case, without sorting out gaps
        return int(n)
    [n] = db.execute(
        "SELECT count(*) FROM (SELECT position, row_number() OVER (ORDER BY position) - 1 AS place "
        "FROM predictions WHERE series_id = ?) WHERE position = place",
        (series_id,),
    ).fetchone()
    return int(n)


def add_predictions(db: sqlite3.Connection, answers: Mapping[int, Sequence[Prediction]]) -> None:
    """Commit one batch of answers, by series id: all of them or none. What is stored is left as it is."""
    with transaction(db):
        for series_id, predictions in answers.items():
            insert_predictions(db, series_id, predictions)
            db.executemany(
                "INSERT INTO logits (series_id, position, logits) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                [
                    (series_id, p.position, p.logits.astype("<f4").tobytes())
                    for p in predictions
                    if p.logits is not None
                ],
            )
            db.execute("UPDATE series SET measured_at = ? WHERE id = ?", (now(), series_id))


def insert_predictions(db: sqlite3.Connection, series_id: int, answers: Iterable[Prediction]) -> None:
    """Insert answers without their logits, in the caller's transaction. What is stored is left as it is."""
    names = [f"{name}{k}" for k in range(1, TOP + 1) for name in ("index", "probability")]
    marks = ", ".join("?" * (5 + len(names)))
    db.executemany(
        "INSERT INTO predictions (series_id, position, true_rank, true_probability, kl_nats, "
        f"{', '.join(names)}) VALUES ({marks}) ON CONFLICT DO NOTHING",
        [_prediction_values(series_id, answer) for answer in answers],
    )


def all_of(db: sqlite3.Connection, series_id: int) -> list[Prediction]:
    """Every stored answer of a series, by position, without logits."""
    rows = db.execute("SELECT * FROM predictions WHERE series_id = ? ORDER BY position", (series_id,))
    return [_prediction(row) for row in rows]


def logits(db: sqlite3.Connection, series_id: int, positions: Iterable[int]) -> dict[int, np.ndarray]:
    """Stored logits, (1000,) float32 by position; positions without any are left out."""
    found = {}
    for position in positions:
        row = db.execute(
            "SELECT logits FROM logits WHERE series_id = ? AND position = ?", (series_id, position)
        ).fetchone()
        if row:
            found[position] = np.frombuffer(row["logits"], dtype="<f4")
    return found


def positions_with_logits(db: sqlite3.Connection, series_id: int) -> set[int]:
    """The positions that a series has logits stored for."""
    return {row[0] for row in db.execute("SELECT position FROM logits WHERE series_id = ?", (series_id,))}


def tally(db: sqlite3.Connection, series_id: int, n: int | None = None) -> Tally:
    """How a variant did on the first n positions (all that is measured unless told otherwise)."""
    row = db.execute(
        "SELECT count(*) AS n, total(true_rank = 1) AS top1, total(true_rank <= 5) AS top5, "
        "avg(kl_nats) AS kl FROM predictions WHERE series_id = ? AND position < ?",
        (series_id, _end(n)),
    ).fetchone()
    return Tally(row["n"], int(row["top1"]), int(row["top5"]), row["kl"])


def paired(db: sqlite3.Connection, first: int, second: int, n: int | None = None) -> Paired:
    """Two series on the examples that both have answered, of the first n positions."""
    row = db.execute(
        "SELECT count(*) AS n, total(a.true_rank = 1 AND b.true_rank > 1) AS broken, "
        "total(a.true_rank > 1 AND b.true_rank = 1) AS fixed "
        "FROM predictions a JOIN predictions b ON a.position = b.position "
        "WHERE a.series_id = ? AND b.series_id = ? AND a.position < ?",
        (first, second, _end(n)),
    ).fetchone()
    return Paired(row["n"], int(row["broken"]), int(row["fixed"]))


def answers_to(db: sqlite3.Connection, series_ids: Sequence[int], picture: int) -> dict[int, Prediction]:
    """What each of these series answered to one picture (by its place in ImageFolder's order)."""
    found = {}
    for series_id in series_ids:
        row = db.execute(
            "SELECT predictions.* FROM predictions JOIN series ON series.id = predictions.series_id "
            "JOIN examples USING (dataset_id, position) WHERE series_id = ? AND picture = ?",
            (series_id, picture),
        ).fetchone()
        if row:
            found[series_id] = _prediction(row)
    return found


_SERIES = (
    "SELECT series.*, datasets.name AS dataset, datasets.split, datasets.digest AS dataset_digest "
    "FROM series JOIN datasets ON datasets.id = series.dataset_id"
)


def _series(row: sqlite3.Row) -> Series:
    identity = Identity(**{name: row[name] for name in Identity.__dataclass_fields__})
    environment = json.loads(row["environment"])
    return Series(
        id=row["id"],
        identity=identity,
        dataset_id=row["dataset_id"],
        environment=environment,
        begun_at=row["begun_at"],
        measured_at=row["measured_at"],
        shipped=bool(row["shipped"]),
    )


def _prediction_values(series_id: int, prediction: Prediction) -> list[float | int | None]:
    top = [value for pair in zip(prediction.indices, prediction.probabilities, strict=True) for value in pair]
    return [
        series_id,
        prediction.position,
        prediction.true_rank,
        prediction.true_probability,
        prediction.kl_nats,
        *top,
    ]


def _prediction(row: sqlite3.Row) -> Prediction:
    return Prediction(
        position=row["position"],
        indices=tuple(row[f"index{k}"] for k in range(1, TOP + 1)),
        probabilities=tuple(row[f"probability{k}"] for k in range(1, TOP + 1)),
        true_rank=row["true_rank"],
        true_probability=row["true_probability"],
        kl_nats=row["kl_nats"],
    )


def _end(n: int | None) -> int:
    return 2**62 if n is None else n
