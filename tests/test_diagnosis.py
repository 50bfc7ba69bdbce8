"""A whole diagnosis on the real sample: what is measured, kept, continued, told, compared and refused."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.pages.helpers import store_run
from tests.test_cli import answer, imported_nothing_heavy, vitquant
from vitquant import (
    activations,
    catalog,
    compare,
    database,
    datasets,
    depth,
    diagnosis,
    diagnosis_tables,
    diagnosis_words,
    grid,
    jobs,
    layers,
    machine,
    models,
    run_tables,
    runs,
    sensitivity,
    weights,
)
from vitquant.cure import Cure
from vitquant.errors import Cancelled, InputError
from vitquant.measurements import DiagnosisRequest, from_plain
from vitquant.request import Journal, to_plain
from vitquant.vit import Classifier

pytestmark = pytest.mark.usefixtures("built_in_sample")

N = 4
REQUEST = DiagnosisRequest("sample_outliers", "bundled", "sample", N)
SPEC = catalog.model("sample_outliers")

Row = dict[str, Any]


@pytest.fixture
def db(data_dir: Path) -> Iterator[sqlite3.Connection]:
    with database.opened() as opened:
        yield opened


def quiet_journal(attachments: dict[str, bytes] | None = None) -> Journal:
    kept = {} if attachments is None else attachments
    return Journal(lambda done, total, message: None, attach=kept.__setitem__)


@pytest.fixture(scope="module")
def attachments() -> dict[str, bytes]:
    return {}


@pytest.fixture(scope="module")
def rows(attachments: dict[str, bytes]) -> list[Row]:
    """The sample with outliers, diagnosed on N pictures."""
    dataset = datasets.open_dataset("sample")
    source = weights.resolve("sample_outliers")
    return diagnosis.measure(source, dataset, N, 70, "qint8", quiet_journal(attachments))


def part(rows: list[Row], name: str) -> list[Row]:
    return [row for row in rows if row["part"] == name]


# What is measured


def test_int8_collapses_where_outliers_are_planted(rows: list[Row]) -> None:
    [whole] = part(rows, "whole")
    assert (whole["n"], whole["variant"]) == (N, "qint8")
    assert whole["levels"] == grid.levels(machine.engine())
    assert whole["bits"] == np.log2(whole["levels"])
    assert whole["fp32_top1"] >= 0.75
    assert whole["top1"] <= 0.5
    assert whole["kl_nats"] > 1
    assert whole["sqnr_db"] < 10
    for name in ("fp32_top1", "top1", "agree"):
        assert 0 <= whole[f"{name}_low"] <= whole[name] <= whole[f"{name}_high"] <= 1


def test_every_layer_has_its_range_and_the_planted_channels_stand_out(
    rows: list[Row], attachments: dict[str, bytes]
) -> None:
    ranges = {row["layer"]: row for row in part(rows, "range")}
    assert list(ranges) == [layer.name for layer in layers.of(SPEC)]
    planted = SPEC.planted
    assert planted is not None
    for name, row in ranges.items():
        behind_a_norm = row["kind"] in ("qkv", "fc1", "head")
        assert row["outliers"] == (0 if not behind_a_norm else 20 if name == "linear_head" else 4)
        if behind_a_norm:
            assert 100 < row["outlier_ratio"] < 500
            assert row["levels_left"] <= 4
        else:
            assert row["levels_left"] == row["levels"]
        stored = diagnosis.ranges_of(attachments[diagnosis.RANGES], name)
        assert len(stored.act_min) == row["channels"]
        assert float(stored.act_absmax.max()) == row["absmax"]
        assert float(stored.weight_absmax.max()) == row["weight_absmax"]
        if behind_a_norm and name != "linear_head":
            assert tuple(np.flatnonzero(activations.outliers(stored))) == planted.channels


def test_the_error_grows_through_the_depth(rows: list[Row]) -> None:
    blocks = part(rows, "depth")
    assert [row["block"] for row in blocks] == list(range(SPEC.depth))
    for column in ("class_cosine", "patch_cosine", "sqnr_db"):
        assert blocks[0][column] > blocks[-1][column]
    assert all(-1 <= row["class_cosine"] <= 1 for row in blocks)


def test_tokens_are_compared_picture_by_picture() -> None:
    """One class token, two registers, three patches of width 2."""
    exact = torch.tensor([[[1.0, 0], [5, 5], [5, 5], [1, 0], [0, 1], [1, 0]]]).repeat(2, 1, 1)
    other = exact.clone()
    other[1, 0] = torch.tensor([-2.0, 0])  # the class token turned round
    other[1, 1] = 0  # a register lost, which only the noise tells
    other[1, 4] = torch.tensor([0.0, -1])  # a patch turned round
    figures = depth.compared(exact, other, registers=2)
    assert figures[0] == pytest.approx([1, 1, 104, 0])
    assert figures[1] == pytest.approx([-1, 1 / 3, 104, 9 + 50 + 4])
    [row] = depth.rows(figures[None])
    assert (row["class_cosine"], row["patch_cosine"]) == (pytest.approx(0), pytest.approx(2 / 3))
    assert row["sqnr_db"] == pytest.approx(10 * np.log10(208 / 63))
    assert depth.rows(figures[None, :1])[0]["sqnr_db"] is None


def test_a_smoothed_variant_is_measured_on_what_reaches_its_own_layers() -> None:
    """The planted channels divided by what they were multiplied with: nothing is left to find."""
    planted = SPEC.planted
    assert planted is not None
    by_channel = np.ones(SPEC.width, np.float32)
    by_channel[list(planted.channels)] = planted.factor
    smooth = {
        layer.name: np.tile(by_channel, 5) if layer.kind == "head" else by_channel
        for layer in layers.of(SPEC)
        if layer.kind in ("qkv", "fc1", "head")
    }
    dataset, source = datasets.open_dataset("sample"), weights.resolve("sample_outliers")
    found = diagnosis.measure(source, dataset, N, 70, "qint8_smooth", quiet_journal(), Cure(smooth=smooth))
    [whole] = part(found, "whole")
    assert (whole["variant"], whole["agree"]) == ("qint8_smooth", 1.0)
    assert whole["kl_nats"] < 0.01
    assert {row["outliers"] for row in part(found, "range") if row["layer"] in smooth} == {0}
    assert all(row["alone_kl_nats"] < 0.01 for row in part(found, "layer"))
    assert all(row["class_cosine"] > 0.99 for row in part(found, "depth"))


def test_layers_behind_a_norm_are_to_blame(rows: list[Row]) -> None:
    kinds = {row["group"]: row["alone_kl_nats"] for row in part(rows, "group") if row["group"] in layers.KINDS}
    assert min(kinds[kind] for kind in ("qkv", "fc1", "head")) > 100 * max(kinds["proj"], kinds["fc2"])
    worst = diagnosis_words.worst_alone(rows)
    assert {row["kind"] for row in worst[:10]} <= {"qkv", "fc1", "head"}


def test_batches_are_part_of_it(rows: list[Row]) -> None:
    batches = part(rows, "batch")
    assert [row["batch"] for row in batches] == [1, 8, 32]
    assert batches[0]["changed"] == 0


def test_a_healthy_model_loses_nothing() -> None:
    dataset = datasets.open_dataset("sample")
    found = diagnosis.measure(weights.resolve("sample"), dataset, 2, 70, "qint8", quiet_journal())
    [whole] = part(found, "whole")
    assert whole["kl_nats"] < 0.01
    assert whole["sqnr_db"] > 20
    behind_a_norm = [row for row in part(found, "range") if row["kind"] in ("qkv", "fc1", "head")]
    assert {row["outliers"] for row in behind_a_norm} == {0}
    assert {row["levels_left"] - row["levels"] for row in behind_a_norm} == {0}
    assert "No layer by itself changes a first answer." in " ".join(diagnosis_words.sentences(found, "qint8"))


# Runs


def test_a_stopped_run_goes_on_with_what_is_missing(
    db: sqlite3.Connection, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, total: int, message: str) -> None:
        assert 0 <= done <= total
        if message == "block 3":
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        jobs.run_here(db, REQUEST, on_progress=stop)
    [stopped] = runs.find(db)
    kept = list(stopped.result or [])
    assert [row["group"] for row in part(kept, "group")] == ["block 0", "block 1", "block 2"]
    assert REQUEST.stored(db) is None
    told = diagnosis_tables.text(kept)
    assert "block 2, fc1" in told and "block 3, fc1" not in told.split("what reaches")[0]

    exchanged = []
    real = sensitivity.Walk.exchanged
    monkeypatch.setattr(
        sensitivity.Walk,
        "exchanged",
        lambda walk, *given: exchanged.append(walk.block) or real(walk, *given),
    )
    seen = []
    found = jobs.run_here(db, REQUEST, on_progress=lambda done, total, message: seen.append((done, total)))
    assert exchanged == [3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
    assert found[: len(kept)] == kept
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]
    assert [without_figures(row) for row in found] == [without_figures(row) for row in rows]
    for again, once in zip(found, rows, strict=True):
        assert figures(again) == pytest.approx(figures(once), rel=1e-6, abs=1e-9)
    [continued] = runs.find(db)
    assert (continued.id, continued.state) == (stopped.id, "done")
    assert REQUEST.stored(db) == found
    content = runs.attachment(db, continued.id, diagnosis.RANGES)
    assert content is not None
    assert diagnosis.ranges_of(content, "linear_head").act_max.shape == (960,)


def figures(row: Row) -> dict[str, float]:
    return {name: value for name, value in row.items() if isinstance(value, float)}


def without_figures(row: Row) -> Row:
    return {name: value for name, value in row.items() if not isinstance(value, float)}


def test_a_request_survives_being_stored(db: sqlite3.Connection) -> None:
    assert from_plain("diagnosis", to_plain(REQUEST)) == REQUEST
    assert REQUEST.identity(db)["recipe_versions"].keys() == {"qint8"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dataset": "tiny-imagenet"}, "tiny-imagenet is not here yet"),
        ({"pictures": 0}, "0 pictures leave nothing to measure"),
        ({"image_size": 71}, "take 70 or 84"),
        ({"variants": ("fp32",)}, "fp32 does not round activations to int8.*take qint8 or"),
        ({"variants": ("qint8", "qint8_channel")}, "One variant at a time"),
        ({"model": "dinov2_vitg14_lc", "weights": "random", "image_size": 1400}, "take 7 or fewer"),
    ],
)
def test_what_cannot_be_diagnosed_is_a_sentence(db: sqlite3.Connection, change: Row, said: str) -> None:
    with pytest.raises(InputError, match=said):
        jobs.run_here(
            db,
            replace(REQUEST, pictures=64, **change) if "pictures" not in change else replace(REQUEST, **change),
        )
    assert runs.find(db) == []


# Spoiled models


def spoiled(monkeypatch: pytest.MonkeyPatch, spoil: Any) -> None:
    """Weights that were damaged before they came here."""
    real = models.load

    def load(source: weights.Weights) -> Classifier:
        model = real(source)
        spoil(model)
        return model

    monkeypatch.setattr(models, "load", load)


def measured_on_two(variant: str = "qint8") -> list[Row]:
    dataset = datasets.open_dataset("sample")
    return diagnosis.measure(weights.resolve("sample"), dataset, 2, 70, variant, quiet_journal())


def test_a_layer_that_only_sees_zeros_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def silence(model: Classifier) -> None:
        for tensor in (model.blocks[2].norm2.weight, model.blocks[2].norm2.bias):
            tensor.zero_()

    spoiled(monkeypatch, silence)
    with pytest.raises(
        InputError, match="block 2, fc1 of sample is zero in all 192 channels on all 2 pictures"
    ):
        measured_on_two()


@pytest.mark.parametrize(("value", "name"), [(float("nan"), "NaN"), (float("inf"), "infinity")])
def test_a_layer_that_sees_no_numbers_is_named(
    monkeypatch: pytest.MonkeyPatch, value: float, name: str
) -> None:
    def damage(model: Classifier) -> None:
        model.blocks[5].norm1.bias[3] = value

    spoiled(monkeypatch, damage)
    with pytest.raises(InputError, match=f"block 5, qkv of sample contains {name}, in 1 of 192 channels"):
        measured_on_two()


# Told and compared


def test_the_most_sensitive_layers_are_named_first(rows: list[Row]) -> None:
    whole, layers_, why = diagnosis_words.sentences(rows, "qint8")
    assert f"On these {N} pictures **qint8** has" in whole
    worst = diagnosis_words.worst_alone(rows)[0]
    assert f"each layer causes alone: **{diagnosis_words.title(worst)}** (" in layers_
    assert why.startswith(f"What reaches {diagnosis_words.title(worst)}: ")
    assert "times larger than the rest; at int8 the others get" in why
    assert diagnosis_words.sentences([], "qint8") == []


def test_two_runs_are_compared_layer_by_layer(db: sqlite3.Connection, rows: list[Row]) -> None:
    better = [
        row
        | ({"agree": 1.0} if row["part"] == "whole" else {})
        | ({"alone_agree": 0.25, "but_agree": 0.75} if row.get("layer") == "linear_head" else {})
        for row in rows
    ]
    found = compare.compare(db, store_run(REQUEST, rows), store_run(REQUEST, better))
    whole, *of_layers = found.changes
    assert whole.variant == "qint8"
    assert whole.change == pytest.approx(100 * (1 - part(rows, "whole")[0]["agree"]))
    assert whole.low is not None and whole.high is not None
    assert whole.low < whole.change <= whole.high
    assert len(of_layers) == len(layers.of(SPEC))
    assert of_layers[0].variant == "block 0, qkv, alone"
    assert {change.change for change in of_layers[:-1]} == {0.0}
    assert (of_layers[-1].variant, of_layers[-1].second) == ("head, alone", 0.25)
    assert "block 0, qkv, alone" in run_tables.comparison(found.plain())


def test_a_run_is_listed_and_shown(db: sqlite3.Connection, rows: list[Row]) -> None:
    run = store_run(REQUEST, rows)
    assert run_tables.run_row(run)["on"] == "sample"
    shown = run_tables.run(run_tables.run_details(run))
    for title in ("each layer:", "blocks and kinds", "what reaches each layer", "tokens after", "in a batch"):
        assert title in shown


# The command line


@pytest.mark.slow
def test_the_command_measures_once_and_prints(data_dir: Path) -> None:
    words = ["diagnose", "--model", "sample", "--dataset", "sample", "--pictures", "2"]
    found = answer(*words, "--json")
    assert {row["part"] for row in found} >= {"whole", "range", "depth", "layer", "group", "batch"}
    again = vitquant(*words)
    assert imported_nothing_heavy(again)
    assert "Most sensitive, by the KL divergence" in again.stdout
    assert "weights bundled on sample" in again.stdout
    [run] = answer("runs", "--json")
    assert (run["kind"], run["variants"], run["state"]) == ("diagnosis", ["qint8"], "done")
    assert "each layer" in vitquant("runs", "show", str(run["id"])).stdout


def test_the_command_refuses_nonsense_with_a_sentence(data_dir: Path) -> None:
    words = ["diagnose", "--model", "sample", "--dataset", "sample"]
    refused = vitquant(*words, "--variant", "float16", status=2)
    assert "float16 does not round activations to int8" in refused.stderr
    assert imported_nothing_heavy(refused)
    assert "take 1 or more" in vitquant(*words, "--pictures", "0", status=2).stderr
