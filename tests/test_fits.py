"""What a calibration has found is found again, told from any other, and answers alike wherever it is built."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import drawn
from tests.test_cli import answer, vitquant
from tests.test_exports import answers_without_vitquant
from tests.test_packing import every_step
from vitquant import (
    accuracy,
    calibrate,
    database,
    datasets,
    exports,
    fits,
    gallery,
    images,
    jobs,
    latency,
    machine,
    models,
    packing,
    paths,
    predict,
    predictions,
    runs,
    startup,
    variants,
    weights,
)
from vitquant.cure import Cure
from vitquant.errors import Cancelled, InputError, VitquantError
from vitquant.fits import Fit
from vitquant.gallery import Subject
from vitquant.measurements import CalibrationRequest, ExportRequest, SizeRequest

pytestmark = pytest.mark.usefixtures("built_in_sample")

MODEL = weights.resolve("sample", "bundled")
VARIANT = "qint8_smooth:pictures=8"


@pytest.fixture
def db(with_training: Path) -> Iterator[sqlite3.Connection]:
    """A store beside a dataset that has training pictures."""
    with database.opened() as opened:
        yield opened


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The recipes that were carried out, by name, each in no time: what they find is the name's length."""
    carried_out: list[str] = []

    def carry_out(source: Any, recipe: variants.Recipe, *_: Any) -> tuple[Cure, dict[str, Any], list[Any]]:
        carried_out.append(recipe.name)
        return Cure(bias={"linear_head": np.full(1000, len(recipe.name), np.float32)}), {"alpha": 0.5}, []

    monkeypatch.setattr(calibrate, "carry_out", carry_out)
    return carried_out


def obtain(db: sqlite3.Connection, variant: str = VARIANT, source: weights.Weights = MODEL) -> Fit:
    return fits.obtain(db, source, (variant,), drawn.DATASET, 70)[variant]


def store(db: sqlite3.Connection, variant: str, cure: Cure, dataset: str = drawn.DATASET) -> Fit:
    """Store a cure made by hand as what this recipe has found for the sample."""
    one = fits.wanted(db, MODEL, (variant,), dataset, 70)[variant]
    fit = Fit(
        one.model,
        one.weights_digest,
        variant,
        one.recipe.version,
        one.chosen.calibration,
        cure,
        {},
        [],
        machine.environment(),
        predictions.now(),
    )
    fits.add(db, fit)
    return fit


# Found again, and told from others


def test_what_was_found_is_not_searched_again(db: sqlite3.Connection, calls: list[str]) -> None:
    first, again = obtain(db), obtain(db)
    assert calls == [VARIANT]
    assert again.key == first.key
    assert again.cure.to_bytes() == first.cure.to_bytes()
    assert replace(again, cure=first.cure) == first
    assert [fit.key for fit in fits.all_of(db)] == [first.key]


def test_any_other_setting_picture_or_weight_is_another_fit(
    db: sqlite3.Connection, calls: list[str], data_dir: Path, tmp_path: Path
) -> None:
    names = [
        VARIANT,
        f"{VARIANT}:seed=1",
        "qint8_smooth:pictures=9",
        "qint8_mixed:pictures=8",
        "qint8_mixed:pictures=8:limit=1",
    ]
    found = [obtain(db, name) for name in names]
    found.append(obtain(db, source=weights.resolve("sample", "random")))
    found += fits.obtain(db, MODEL, (VARIANT,), drawn.DATASET, 84).values()
    found += fits.obtain(db, MODEL, (VARIANT,), "sample", 70).values()
    assert len(calls) == len({fit.key for fit in found}) == len(found)
    # The same weights from elsewhere are the same weights, and need no other fit.
    for file in MODEL.files:
        shutil.copy(file, tmp_path)
    assert obtain(db, source=weights.resolve("sample", str(tmp_path))).key == found[0].key
    assert len(calls) == len(found)


def test_variants_that_are_not_calibrated_need_nothing(db: sqlite3.Connection, calls: list[str]) -> None:
    assert fits.obtain(db, MODEL, ("fp32", "qint8", "bfloat16"), drawn.DATASET, 70) == {}
    assert fits.keys(db, MODEL, ("fp32", "qint8"), drawn.DATASET, 70) == {}
    assert calls == []


def test_an_image_size_that_the_model_does_not_take_is_a_sentence(db: sqlite3.Connection) -> None:
    with pytest.raises(InputError, match="take 70 or 84"):
        fits.keys(db, MODEL, (VARIANT,), drawn.DATASET, 71)


def test_what_is_ready_can_be_built_at_once(db: sqlite3.Connection, calls: list[str]) -> None:
    names = ("fp32", "qint8", VARIANT, "qint8_mixed:pictures=8")
    assert fits.ready(db, MODEL, names, drawn.DATASET, 70) == ("fp32", "qint8")
    with pytest.raises(VitquantError, match=r"pictures=8 of sample is not calibrated yet.*vitquant calibrate"):
        fits.stored_cures(db, MODEL, names, drawn.DATASET, 70)
    found = obtain(db)
    assert fits.ready(db, MODEL, names, drawn.DATASET, 70) == names[:3]
    [cure] = fits.stored_cures(db, MODEL, names[:3], drawn.DATASET, 70).values()
    assert cure.to_bytes() == found.cure.to_bytes()
    assert fits.ready(db, MODEL, ("qint8_smooth",), drawn.DATASET, 70) == ()  # too few pictures for the usual


def test_a_stopped_calibration_stores_nothing(db: sqlite3.Connection) -> None:
    def stop(done: int, total: int, what: str) -> None:
        assert what.startswith(f"{variants.own_name(VARIANT)}: ")
        assert 0 <= done < total
        if done >= 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        fits.obtain(db, MODEL, (VARIANT,), drawn.DATASET, 70, stop)
    assert fits.all_of(db) == []


def test_a_picture_that_is_evaluated_too_stops_even_what_is_stored(
    db: sqlite3.Connection, calls: list[str], data_dir: Path
) -> None:
    obtain(db)
    chosen = fits.wanted(db, MODEL, (VARIANT,), drawn.DATASET, 70)[VARIANT].chosen
    twice = chosen.file(chosen.fitted_to[0])
    shutil.copy(twice, data_dir / drawn.DATASET / "val" / chosen.fitted_to[0].wnid / "copied.png")
    for name in (VARIANT, f"{VARIANT}:seed=1"):
        with pytest.raises(InputError, match=r"1 of the calibration pictures are also among those"):
            obtain(db, name)
    assert len(fits.all_of(db)) == 1


def test_plain_data_gives_the_same_fit(db: sqlite3.Connection) -> None:
    fit = store(db, VARIANT, every_step(models.load(MODEL)))
    again = fits.from_plain(json.loads(json.dumps(fits.to_plain(fit))))
    assert again.key == fit.key
    assert again.cure.to_bytes() == fit.cure.to_bytes()
    assert fits.find(db, fit.key) is not None
    assert fits.of_model(db, "sample", fit.weights_digest)[0].key == fit.key
    assert fits.of_model(db, "sample", "other weights") == []


def test_a_shipped_fit_never_replaces_ones_own(db: sqlite3.Connection) -> None:
    own = store(db, VARIANT, Cure(per_channel=True))
    fits.add(db, replace(own, cure=Cure()), shipped=True)
    found = fits.find(db, own.key)
    assert found is not None and found.cure.per_channel


# What results depend on


def plan(db: sqlite3.Connection, *names: str) -> accuracy.Plan:
    return accuracy.plan(
        db,
        model="sample",
        weights_source="bundled",
        dataset_name=drawn.DATASET,
        variants=names,
        image_size=70,
    )


def test_answers_are_told_apart_by_their_calibration(db: sqlite3.Connection, data_dir: Path) -> None:
    names = ("fp32", "qint8", VARIANT, f"{VARIANT}:seed=1")
    series = plan(db, *names).series
    assert {name: series[name].identity.calibration == "" for name in names} == dict(
        zip(names, (True, True, False, False), strict=True)
    )
    assert plan(db, *names).series[VARIANT].identity.key == series[VARIANT].identity.key
    other = replace(series[VARIANT].identity, calibration=series[names[3]].identity.calibration)
    assert other.key != series[VARIANT].identity.key
    drawn.draw("n07749582", 55).save(data_dir / drawn.DATASET / "train" / "n07749582" / "000.png")
    after = plan(db, *names).series
    assert after["qint8"].identity.key == series["qint8"].identity.key
    assert after[VARIANT].identity.key != series[VARIANT].identity.key


def test_answers_from_before_there_were_calibrations_keep_their_key() -> None:
    values = {name: name for name in predictions.Identity.__dataclass_fields__ if name != "calibration"}
    identity = predictions.Identity(**values | {"recipe_version": 1, "image_size": 70})  # type: ignore[arg-type]
    before = {**asdict(identity)}
    del before["weights"], before["calibration"]
    assert identity.key == predictions.key_of(before)


def test_runs_from_before_there_were_calibrations_keep_theirs(db: sqlite3.Connection) -> None:
    assert "calibrations" not in SizeRequest("sample", "bundled", ("fp32", "qint8")).identity(db)
    cured = SizeRequest("sample", "bundled", ("fp32", "qint8_smooth")).identity(db)
    assert set(cured["calibrations"]) == {"qint8_smooth"}


def test_a_store_of_the_schema_before_keeps_its_answers(tmp_path: Path) -> None:
    before = next(i for i, m in enumerate(database.MIGRATIONS) if m.__name__.startswith("m007"))
    old = tmp_path / "old.sqlite"
    db = sqlite3.connect(old, isolation_level=None)
    for migration in database.MIGRATIONS[:before]:
        migration(db)
    db.execute(f"PRAGMA user_version = {before}")
    columns = [row[1] for row in db.execute("PRAGMA table_info(series)")]
    assert "calibration" not in columns
    values = {name: name for name in predictions.Identity.__dataclass_fields__ if name != "calibration"}
    identity = predictions.Identity(**values | {"recipe_version": 1, "image_size": 70})  # type: ignore[arg-type]
    db.execute("INSERT INTO datasets VALUES (1, 'dataset', 'split', 'dataset_digest', 'added')")
    row = {name: value for name, value in asdict(identity).items() if name in columns} | {
        "id": 1,
        "key": identity.key,
        "dataset_id": 1,
        "environment": "{}",
        "begun_at": "then",
        "measured_at": "then",
    }
    marks = ", ".join(f":{name}" for name in row)
    db.execute(f"INSERT INTO series ({', '.join(row)}) VALUES ({marks})", row)
    db.close()
    with database.opened(old) as migrated:
        found = predictions.find_series(migrated, identity)
        assert found is not None
        assert found.identity == identity
        assert fits.all_of(migrated) == []


# The same answers wherever it is built


@pytest.fixture(scope="module")
def pictures() -> list[Path]:
    dataset = datasets.open_dataset("sample")
    return [dataset.file(dataset.examples[i]) for i in datasets.evaluation_order(dataset)[:8]]


def in_vitquant(variant: str, cure: Cure | None, pictures: list[Path]) -> np.ndarray:
    built = variants.build(models.load(MODEL), variant, machine.engine(), cure)
    inputs = predict.to_input([images.open_rgb(picture) for picture in pictures], 70)
    return predict.logits_of(built, inputs, one_by_one=True)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["program", "state-dict"])
@pytest.mark.parametrize("variant", ["qint8_smooth", "qint8_mixed", "qint8_best", "qint8_channel", "bfloat16"])
def test_a_file_to_take_away_answers_as_the_variant_does(
    data_dir: Path, tmp_path: Path, pictures: list[Path], variant: str, format: str
) -> None:
    steps = every_step(models.load(MODEL))
    cure = {
        "qint8_smooth": Cure(smooth=steps.smooth, per_channel=True),
        "qint8_mixed": Cure(in_float=steps.in_float),
        "qint8_best": replace(steps, full_range=not packing.saturates()),
    }.get(variant)
    with database.opened() as opened:
        if cure is not None:
            store(opened, variant, cure, "sample")
        request = ExportRequest("sample", "bundled", (variant,), format, "sample", len(pictures))
        [row] = jobs.run_here(opened, request)
    archive = exports.file_of(row)
    assert archive is not None
    assert (row["n"], row["disagreements"]) == (len(pictures), 0)
    expected = in_vitquant(variant, cure, pictures)
    found = answers_without_vitquant(archive, pictures, tmp_path / "elsewhere")
    assert np.abs(found - expected).max() < 1e-4
    plain = in_vitquant("fp32" if variant == "bfloat16" else "qint8", None, pictures)
    assert np.abs(expected - plain).max() > 1e-3  # else nothing is shown


@pytest.mark.slow
def test_a_fresh_process_starts_a_calibrated_variant(data_dir: Path) -> None:
    [shape] = latency.parse_shapes("1x70", "sample")
    cure = every_step(models.load(MODEL))
    start = startup.measure("sample", "bundled", "qint8_best", shape, 1, cure)
    assert start.load_s > 0 and start.peak_bytes >= start.baseline_bytes
    with pytest.raises(VitquantError, match="has to be calibrated first"):
        startup.measure("sample", "bundled", "qint8_best", shape, 1)


# As a measurement, and on the command line


def test_a_calibration_is_a_run_that_is_carried_out_once(db: sqlite3.Connection, calls: list[str]) -> None:
    request = CalibrationRequest("sample", "bundled", (VARIANT, "qint8_mixed:pictures=8"), drawn.DATASET)
    assert request.stored(db) is None
    rows = jobs.run_here(db, request)
    assert [(row["part"], row["variant"]) for row in rows] == [("fit", name) for name in request.variants]
    assert rows[0]["calibration"]["pictures"] == 8
    assert request.stored(db) == rows
    assert jobs.run_here(db, request) == rows
    assert calls == list(request.variants)
    environment, made_at = request.origin(db)
    assert environment == fits.all_of(db)[0].environment and made_at
    assert [run.state for run in runs.find(db)] == ["done"]


@pytest.mark.slow
def test_the_commands_calibrate_measure_and_find_it_again(db: sqlite3.Connection) -> None:
    words = ["--model", "sample", "--dataset", drawn.DATASET, "--variants"]
    rows = answer("calibrate", *words, f"{VARIANT},qint8_mixed:pictures=8:limit=5", "--json")
    assert [row["variant"] for row in rows if row["part"] == "fit"] == [
        VARIANT,
        "qint8_mixed:pictures=8:limit=5",
    ]
    assert sum(row["part"] == "candidate" for row in rows) > 6
    shown = vitquant("calibrate", *words, VARIANT).stdout
    assert "Calibrated on 8 training pictures of tiny-imagenet (seed 0, 70 × 70 pixels), judged on 16" in shown
    assert "smoothed, alpha 0.5" in shown and "because" in shown
    assert answer("calibrate", *words, VARIANT, "--json") == [r for r in rows if r["variant"] == VARIANT]
    measured = answer(
        "benchmark", "accuracy", *words, "fp32,qint8_mixed:limit=5:pictures=8", "--limit", "6", "--json"
    )
    by_variant = {row["variant"]: row for row in measured}
    assert by_variant["qint8_mixed:pictures=8:limit=5"]["n"] == 6  # under its one name
    assert len(fits.all_of(db)) == 2  # and with what was found before


def test_models_that_share_their_weights_have_fits_of_their_own(
    db: sqlite3.Connection, with_training: Path
) -> None:
    asked = ("qint8_smooth:pictures=8",), drawn.DATASET, 70
    of = [fits.wanted(db, weights.resolve(name), *asked)[asked[0][0]] for name in ("sample", "sample_outliers")]
    assert of[0].weights_digest == of[1].weights_digest
    assert of[0].key != of[1].key


def test_another_spelling_of_a_setting_is_the_same_variant(db: sqlite3.Connection, calls: list[str]) -> None:
    for spelling in ("qint8_smooth:pictures=8", "qint8_smooth:pictures=08"):
        fits.obtain(db, MODEL, (spelling,), drawn.DATASET, 70)
    assert [fit.variant for fit in fits.all_of(db)] == ["qint8_smooth:pictures=8"]
    assert len(calls) == 1


def test_a_damaged_fit_counts_as_not_there(db: sqlite3.Connection, calls: list[str]) -> None:
    [fit] = fits.obtain(db, MODEL, (VARIANT,), drawn.DATASET, 70).values()
    db.execute("UPDATE fits SET cure = ?", (b"not a cure",))
    assert fits.find(db, fit.key) is None
    assert fits.all_of(db) == []
    fits.obtain(db, MODEL, (VARIANT,), drawn.DATASET, 70)
    found = fits.find(db, fit.key)
    assert found and found.cure.to_bytes() == fit.cure.to_bytes()


def test_other_training_pictures_make_an_answer_stale(
    db: sqlite3.Connection, with_training: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(variants.RECIPES["qint8_smooth"], settings={"pictures": 8, "seed": 0})
    monkeypatch.setitem(variants.RECIPES, "qint8_smooth", few)
    subject = Subject("sample", "bundled", drawn.DATASET, 70)
    plan = accuracy.plan(
        db, model="sample", weights_source="bundled", dataset_name=drawn.DATASET, variants=("qint8_smooth",),
        image_size=70,
    )  # fmt: skip
    identity = plan.series["qint8_smooth"].identity
    today = gallery.conditions(db, subject, identity.dataset_digest)
    assert gallery.changes(identity, today) == ()
    for file in sorted((paths.data_dir() / drawn.DATASET / "train").rglob("*.*"))[:4]:
        file.unlink()
    today = gallery.conditions(db, subject, identity.dataset_digest)
    assert gallery.changes(identity, today) == ("the pictures that qint8_smooth is calibrated on",)
