"""Predictions on demand: the same answers as an accuracy run stores, from a process that can come and go."""

import io
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitquant import database, datasets, images, predictions, runs
from vitquant.errors import Busy, VitquantError
from vitquant.measurements import AccuracyRequest
from vitquant.predictions import Prediction
from vitquant.request import Journal
from vitquant.worker import PredictionWorker

pytestmark = pytest.mark.slow  # the worker imports torch

ASKED = {"model": "dinov2_vits14_reg_lc", "weights": "random", "image_size": 70}


@pytest.fixture
def db(data_dir: Path, tiny_imagenet: Path) -> Iterator[sqlite3.Connection]:
    (data_dir / "tiny-imagenet").symlink_to(tiny_imagenet / "tiny-imagenet")
    with database.opened() as opened:
        yield opened


@pytest.fixture
def worker() -> Iterator[PredictionWorker]:
    worker = PredictionWorker()
    yield worker
    worker.release()


def ask(worker: PredictionWorker, picture: int, dataset: str = "tiny-imagenet") -> None:
    worker.predict_picture(**ASKED, variants=["qint8"], dataset=dataset, picture=picture)  # type: ignore[arg-type]


def stored(db: sqlite3.Connection, picture: int) -> dict[str, Prediction]:
    series = {series.id: series.identity.variant for series in predictions.all_series(db)}
    return {series[key]: answer for key, answer in predictions.answers_to(db, list(series), picture).items()}


def test_what_is_computed_on_demand_is_what_a_run_stores(
    db: sqlite3.Connection, worker: PredictionWorker, tmp_path: Path
) -> None:
    request = AccuracyRequest("dinov2_vits14_reg_lc", "random", ("qint8",), "tiny-imagenet", 20)
    pictures = [request.plan(db).order[position] for position in (3, 19)]
    assert not worker.is_awake
    for picture in pictures:
        ask(worker, picture)
    assert worker.is_awake
    on_demand = [stored(db, picture) for picture in pictures]
    assert [set(answers) for answers in on_demand] == [{"fp32", "qint8"}] * 2

    with database.opened(tmp_path / "other.sqlite") as other:
        request.measure(other, Journal(lambda done, total, message: None))
        assert [stored(other, picture) for picture in pictures] == on_demand


def test_the_worker_survives_errors_and_its_own_end(db: sqlite3.Connection, worker: PredictionWorker) -> None:
    with pytest.raises(VitquantError, match="imagenette"):
        ask(worker, 0, dataset="imagenette")
    assert worker.is_awake
    worker.release()
    assert not worker.is_awake
    ask(worker, 0)
    assert stored(db, 0)


def test_nothing_is_computed_beside_a_run_that_takes_times(
    db: sqlite3.Connection, worker: PredictionWorker
) -> None:
    run = runs.add(db, "latency", {}, {}, {})
    runs.claim(db, run.id, run.identity, {})  # by this very process, so that it counts as alive
    with pytest.raises(Busy, match="Times are being taken"):
        ask(worker, 0)
    runs.finish(db, run.id, "done", result=[])
    ask(worker, 0)
    assert stored(db, 0)


def test_a_latency_run_that_was_killed_disturbs_nobody(
    db: sqlite3.Connection, worker: PredictionWorker
) -> None:
    run = runs.add(db, "latency", {}, {}, {})
    runs.claim(db, run.id, {}, {})
    db.execute("UPDATE runs SET process_started = 1")  # as though that process had ended, and its id were ours
    ask(worker, 0)
    assert stored(db, 0)
    assert runs.get(db, run.id).state == "interrupted"


def test_ones_own_picture_is_answered_as_one_of_a_dataset_and_leaves_nothing_behind(
    db: sqlite3.Connection, worker: PredictionWorker, tiny_imagenet: Path
) -> None:
    dataset = datasets.open_dataset("tiny-imagenet")
    file = datasets.folder("tiny-imagenet") / "val" / dataset.examples[3].path
    png = images.shrunk_png(images.open_rgb(file), 1024)
    answers = worker.predict_own(**ASKED, variants=["fp32", "qint8"], png=png)  # type: ignore[arg-type]
    assert set(answers) == {"fp32", "qint8"}
    assert all(answer.seconds > 0 for answer in answers.values())
    assert predictions.all_series(db) == []
    ask(worker, 3)
    for name, answer in stored(db, 3).items():
        assert answer.indices == answers[name].indices
        assert answers[name].probabilities == pytest.approx(answer.probabilities, rel=1e-4)


def test_rounding_to_fewer_bits_moves_the_answer_away(db: sqlite3.Connection, worker: PredictionWorker) -> None:
    worker.wake(**ASKED)  # type: ignore[arg-type]
    deadline = time.monotonic() + 120
    while not worker.is_ready(**ASKED):  # type: ignore[arg-type]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    png = io.BytesIO()
    noise = np.random.default_rng(14).integers(0, 256, (64, 64, 3), np.uint8)  # its first answer is far ahead
    Image.fromarray(noise).save(png, "PNG")
    given = {**ASKED, "png": png.getvalue()}
    exact = worker.predict_own(**given, variants=["fp32"])["fp32"]  # type: ignore[arg-type]
    eight, two = (worker.predict_rounded(**given, bits=bits) for bits in (8, 2))  # type: ignore[arg-type]
    assert eight.indices[0] == exact.indices[0]
    assert abs(two.probabilities[0] - exact.probabilities[0]) > abs(
        eight.probabilities[0] - exact.probabilities[0]
    )
    by_channel = worker.predict_rounded(**given, bits=2, per_channel=True)  # type: ignore[arg-type]
    assert by_channel.probabilities != two.probabilities


def test_while_times_are_taken_the_model_is_not_woken_and_says_why(
    db: sqlite3.Connection, worker: PredictionWorker
) -> None:
    run = runs.add(db, "latency", {}, {}, {})
    runs.claim(db, run.id, run.identity, {})  # by this very process, so that it counts as alive
    worker.wake(**ASKED)  # type: ignore[arg-type]
    deadline = time.monotonic() + 120
    while worker.problem is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "Times are being taken" in worker.problem
    assert not worker.is_ready(**ASKED)  # type: ignore[arg-type]


def test_weights_that_are_not_here_are_a_sentence(db: sqlite3.Connection, worker: PredictionWorker) -> None:
    with pytest.raises(VitquantError, match="no longer here"):
        worker.predict_own(model="dinov2_vitg14_lc", weights="hub", variants=["fp32"], png=b"", image_size=70)
