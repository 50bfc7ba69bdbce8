"""The study of how many calibration pictures are enough: what is measured, kept and told."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vitquant import calibration, calibration_tables, database, datasets, jobs, runs, study
from vitquant.errors import Cancelled, InputError
from vitquant.measurements import StudyRequest

pytestmark = pytest.mark.usefixtures("built_in_sample")

N = 16
REQUEST = StudyRequest("sample_outliers", "bundled", "sample", N)
SETTINGS = [(0, 0), (1, 0), (1, 1), (8, 0), (8, 1)]


@pytest.fixture
def db(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    """A store of this test's own, for a study in small."""
    monkeypatch.setattr(study, "COUNTS", (1, 8))
    monkeypatch.setattr(study, "SEEDS", (0, 1))
    monkeypatch.setattr(calibration, "JUDGES", 8)
    with database.opened() as opened:
        yield opened


def test_a_stopped_study_keeps_its_rows_and_measures_only_the_rest(db: sqlite3.Connection) -> None:
    told: list[tuple[int, int, str]] = []

    def stop(done: int, total: int, what: str) -> None:
        told.append((done, total, what))
        if what == "8 pictures, seed 0":
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        jobs.run_here(db, REQUEST, on_progress=stop)
    [stopped] = runs.find(db)
    assert [(row["pictures"], row["seed"]) for row in stopped.result or ()] == SETTINGS[:3]
    assert REQUEST.stored(db) is None
    assert (2, len(SETTINGS), "1 pictures, seed 1") in told

    told.clear()
    rows = jobs.run_here(db, REQUEST, on_progress=lambda *what: told.append(what))
    assert [(row["pictures"], row["seed"]) for row in rows] == SETTINGS
    assert [dict(row) for row in rows[:3]] == [dict(row) for row in stopped.result or ()]
    assert "1 pictures, seed 1" not in {what for _, _, what in told}
    assert REQUEST.stored(db) == rows
    check_rows(rows)


def check_rows(rows: Any) -> None:
    none, *smoothed = rows
    assert {row["n"] for row in rows} == {N}
    assert all(row["top1_low"] <= row["top1"] <= row["top1_high"] for row in rows)
    for row in smoothed:  # the outliers are in the same channels of every picture: one is enough to see them
        assert row["mean_kl_nats"] < 0.2 * none["mean_kl_nats"]
        assert row["agree"] > none["agree"] + 0.3
    # Neither the number nor the seed is without effect: each is fitted to other pictures.
    assert len({row["mean_kl_nats"] for row in smoothed}) == len(smoothed)
    shown = calibration_tables.study(rows)
    assert "none: not smoothed" in shown
    assert f"{none['top1']:.2%}" in shown


def test_a_picture_that_is_evaluated_too_is_a_sentence(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if somebody had laid out the evaluated pictures as the training ones."""
    monkeypatch.setattr(calibration, "source_of", lambda dataset: (dataset, "val"))
    with pytest.raises(InputError, match=r"16 of the calibration pictures are also among those"):
        jobs.run_here(db, REQUEST)


def test_no_count_is_larger_than_there_are_training_pictures(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "COUNTS", (1, 8, 128, 256))
    chosen = study.chosen(db, "sample", 70)
    assert {of.calibration.pictures for of in chosen.values()} == {128}
    assert len(datasets.open_dataset("sample", "train").examples) < 256
