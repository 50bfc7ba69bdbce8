"""The built-in sample as shipped: its files, its two models, its results."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from vitquant import (
    accuracy,
    catalog,
    database,
    datasets,
    digest_cache,
    gallery,
    images,
    machine,
    models,
    paths,
    predict,
    predictions,
    runs,
    sample,
    shipped,
    variants,
    weights,
)
from vitquant.errors import InputError
from vitquant.gallery import Subject
from vitquant.measurements import AccuracyRequest, SizeRequest
from vitquant.wording import SIGNIFICANT

pytestmark = pytest.mark.usefixtures("built_in_sample")

MODELS = ("sample", "sample_outliers")
REAL = paths.PROJECT_ROOT / "data" / "sample"


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sample to do damage to."""
    folder = tmp_path / "sample"
    shutil.copytree(REAL, folder)
    monkeypatch.setenv("VITQUANT_SAMPLE", str(folder))
    return folder


@pytest.fixture
def db(data_dir: Path) -> Iterator[database.sqlite3.Connection]:
    with database.opened() as opened:
        yield opened


def subject(model: str) -> Subject:
    return Subject(model, "bundled", "sample", catalog.DEFAULT_IMAGE_SIZE)


# Files


def test_every_shipped_file_is_as_recorded_and_the_pictures_are_small_enough_to_ship() -> None:
    files = [file for file in REAL.rglob("*") if file.is_file() and file.name != sample.SUMS]
    assert {file.relative_to(REAL).as_posix() for file in files} == set(sample.recorded())
    for file in files:
        assert sample.sha256_of(file) == sample.recorded()[file.relative_to(REAL).as_posix()], file
    pictures = [file for file in files if file.suffix == ".JPEG"]
    assert sum(file.stat().st_size for file in pictures) < 6e6
    assert sum(file.stat().st_size for file in (REAL / "model").iterdir()) < 12e6


def test_the_pictures_are_many_of_many_of_tiny_imagenets_classes() -> None:
    spec = catalog.dataset("sample")
    evaluated = datasets.open_dataset("sample")
    assert (len(evaluated.examples), len({e.wnid for e in evaluated.examples})) == (spec.pictures, spec.classes)
    assert spec.pictures >= 1000
    assert spec.classes >= 40
    assert all(images.open_rgb(evaluated.file(e)).size == (64, 64) for e in evaluated.examples[::50])
    calibration = datasets.open_dataset("sample", "train")
    shown = {evaluated.file(e).read_bytes() for e in evaluated.examples}
    assert not any(calibration.file(e).read_bytes() in shown for e in calibration.examples)


def test_a_missing_picture_is_named_with_the_way_to_get_it_back(copied: Path) -> None:
    file = next((copied / "val").rglob("*.JPEG"))
    file.unlink()
    with pytest.raises(InputError, match=rf"{file.name} .* is missing.*git restore data/sample"):
        datasets.open_dataset("sample")


def test_an_altered_picture_is_named_when_it_would_be_measured(copied: Path) -> None:
    file = next((copied / "val").rglob("*.JPEG"))
    file.write_bytes(file.read_bytes()[:-1])
    opened = datasets.open_dataset("sample")
    with pytest.raises(InputError, match=rf"{file.name} .*cut short or altered.*git restore data/sample"):
        datasets.digest(opened)


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_a_damaged_model_is_a_sentence_and_the_others_keep_working(
    copied: Path, tmp_path: Path, damage: str
) -> None:
    file = copied / "model" / "sample_pretrain.pth"
    content = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"sample_pretrain\.pth .*git restore data/sample"):
        models.load(weights.resolve("sample"))
    assert models.load(weights.resolve("sample", "random"))
    assert datasets.open_dataset("sample")


def test_a_record_that_cannot_be_read_is_a_sentence(copied: Path) -> None:
    (copied / sample.SUMS).unlink()
    (copied / sample.SUMS).mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        sample.recorded()


def test_without_the_record_a_sentence_says_so(copied: Path) -> None:
    (copied / sample.SUMS).unlink()
    with pytest.raises(InputError, match=r"record of digests.*missing.*git restore data/sample"):
        datasets.open_dataset("sample")


# Models


@pytest.fixture(scope="module")
def inputs() -> torch.Tensor:
    """Every evaluated picture as the model takes it."""
    opened = datasets.open_dataset("sample")
    return predict.to_input([images.open_rgb(opened.file(e)) for e in opened.examples], 70)


@pytest.fixture(scope="module")
def logits(inputs: torch.Tensor) -> dict[str, np.ndarray]:
    return {name: predict.logits_of(models.load(weights.resolve(name)), inputs) for name in MODELS}


def test_the_twin_is_the_same_function(logits: dict[str, np.ndarray]) -> None:
    assert np.abs(logits["sample"] - logits["sample_outliers"]).max() <= 1e-3
    assert (logits["sample"].argmax(axis=1) == logits["sample_outliers"].argmax(axis=1)).all()


def test_the_model_is_good_and_not_perfect(logits: dict[str, np.ndarray]) -> None:
    opened = datasets.open_dataset("sample")
    classes = np.array([e.class_index for e in opened.examples])
    top5 = np.argsort(-logits["sample"], axis=1)[:, :5]
    assert 0.80 <= (top5[:, 0] == classes).mean() <= 0.95
    assert (top5 == classes[:, None]).any(axis=1).mean() >= 0.97


def test_planted_channels_are_loud_before_every_linear_that_follows_a_norm(inputs: torch.Tensor) -> None:
    planted = catalog.model("sample_outliers").planted
    assert planted
    healthy, twin = (models.load(weights.resolve(name)) for name in MODELS)
    for before, after in zip(healthy.blocks, twin.blocks, strict=True):
        for norm in ("norm1", "norm2"):
            ratio = getattr(after, norm).weight / getattr(before, norm).weight
            loud = torch.ones(ratio.shape)
            loud[list(planted.channels)] = planted.factor
            assert torch.equal(ratio, loud)


def test_int8_ruins_the_twin_while_float16_holds(inputs: torch.Tensor) -> None:
    opened = datasets.open_dataset("sample")
    chosen = datasets.evaluation_order(opened)[:150]
    classes = np.array([opened.examples[i].class_index for i in chosen])
    right = {}
    for name in MODELS:
        model = models.load(weights.resolve(name))
        for variant in ("fp32", "qint8", "float16"):
            built = variants.build(model, variant, machine.engine())
            answers = predict.logits_of(built, inputs[chosen], one_by_one=True).argmax(axis=1)
            right[name, variant] = int((answers == classes).sum())
    assert right["sample", "fp32"] == right["sample_outliers", "fp32"]
    assert right["sample_outliers", "qint8"] <= right["sample_outliers", "fp32"] / 3
    assert right["sample", "qint8"] >= right["sample", "fp32"] * 0.9
    for name in MODELS:
        assert abs(right[name, "float16"] - right[name, "fp32"]) <= 1


# Shipped results


def test_shipped_results_are_read_once_and_never_taken_for_measured_ones(
    db: database.sqlite3.Connection,
) -> None:
    shipped.bring_in(db)
    [answers] = gallery.answer_sets(db, subject("sample_outliers"))
    assert answers.shipped
    assert answers.answered == catalog.dataset("sample").pictures
    assert set(answers.series) == set(variants.RECIPES)
    count = db.execute("SELECT count(*) FROM predictions").fetchone()[0]
    shipped.bring_in(db)
    assert db.execute("SELECT count(*) FROM predictions").fetchone()[0] == count

    assert AccuracyRequest("sample", "bundled", ("fp32",), "sample").stored(db) is None
    assert SizeRequest("sample", "bundled", tuple(variants.RECIPES)).stored(db) is None
    assert not gallery.subjects(db)
    assert not runs.find(db)
    [size] = gallery.finished_runs(db, "size", subject("sample"))
    assert size.shipped
    today = gallery.conditions(db, subject("sample"), None)
    assert gallery.run_changes(size, today) == ()


def test_results_measured_here_come_before_the_shipped_ones(db: database.sqlite3.Connection) -> None:
    shipped.bring_in(db)
    [before] = gallery.answer_sets(db, subject("sample"))
    plan = AccuracyRequest("sample", "bundled", ("fp32",), "sample").plan(db)
    own = predictions.all_of(db, before.series["fp32"].id)[: gallery.ENOUGH]
    predictions.add_predictions(db, {plan.series["fp32"].id: own})
    found = gallery.answer_sets(db, subject("sample"))
    assert [answers.shipped for answers in found] == [False, True]


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_damaged_results_are_a_sentence_and_leave_no_half_of_them(
    copied: Path, db: database.sqlite3.Connection, damage: str
) -> None:
    shipped.bring_in(db)
    file = shipped.results_file()
    content = file.read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_bytes(content[:-100] if damage == "truncated" else content[:-1] + b"x")
    with pytest.raises(InputError, match=r"results\.json\.gz .*git restore data/sample"):
        shipped.bring_in(db)
    assert not gallery.answer_sets(db, subject("sample"))
    file.write_bytes(content)
    shipped.bring_in(db)
    assert gallery.answer_sets(db, subject("sample"))


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_shipped_accuracy_is_what_is_measured_here(db: database.sqlite3.Connection, model: str) -> None:
    shipped.bring_in(db)
    [answers] = gallery.answer_sets(db, subject(model))
    there = {row["variant"]: row for row in gallery.accuracy_rows(db, answers)}
    names = tuple(name for name in there if variants.why_unavailable(name, machine.engine()) is None)
    request = AccuracyRequest(model, "bundled", names, "sample")
    plan = request.plan(db)
    accuracy.measure(db, plan, accuracy.missing(db, plan, len(plan.order)))
    for row in accuracy.rows(db, plan, names, len(plan.order)):
        name, then = row["variant"], there[row["variant"]]
        if name == "qint8":
            was, now = answers.series[name].identity, plan.series[name].identity
            if (was.engine, was.cpu_features, was.torch_version) == (
                now.engine,
                now.cpu_features,
                now.torch_version,
            ):
                assert (row["top1"], row["top5"]) == (then["top1"], then["top5"])
            assert then["top1_low"] <= row["top1"] <= then["top1_high"]
            assert (row["mcnemar_p"] < SIGNIFICANT) == (then["mcnemar_p"] < SIGNIFICANT)
        else:
            assert abs(row["top1"] - then["top1"]) * row["n"] <= 2 + 1e-6
            assert abs(row["top5"] - then["top5"]) * row["n"] <= 2 + 1e-6


def test_digests_of_the_shipped_series_are_of_the_shipped_files(db: database.sqlite3.Connection) -> None:
    shipped.bring_in(db)
    opened = datasets.open_dataset("sample")
    for model in MODELS:
        [answers] = gallery.answer_sets(db, subject(model))
        for series in answers.series.values():
            assert series.identity.weights_digest == digest_cache.of_weights(db, weights.resolve(model))
            assert series.identity.dataset_digest == digest_cache.of_dataset(db, opened)
