"""Calibrations: they mend what outliers broke, keep only what pays off, and refuse what cannot be judged."""

import random
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.test_cli import vitquant
from tests.test_sensitivity import pictures
from vitquant import (
    calibrate,
    calibration,
    catalog,
    composed,
    database,
    fits,
    layers,
    machine,
    models,
    packing,
    predict,
    sensitivity,
    variants,
    weights,
)
from vitquant.cure import Cure
from vitquant.errors import InputError
from vitquant.fits import Fit
from vitquant.full_range import FullRangeLinear
from vitquant.judging import Judge, Judged, Pictures
from vitquant.vit import Classifier, Divide

pytestmark = pytest.mark.usefixtures("built_in_sample")

OUTLIERS = "sample_outliers"
OF_SAMPLE = layers.of(catalog.model("sample"))
QUICK = "pictures=8"
N = 64


@pytest.fixture
def db(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    """A store of this test's own, where few pictures judge."""
    monkeypatch.setattr(calibration, "JUDGES", 16)
    with database.opened() as opened:
        yield opened


def fit(db: sqlite3.Connection, variant: str, model: str = OUTLIERS, source: str | None = None) -> Fit:
    return fits.obtain(db, weights.resolve(model, source), (variant,), "sample", 70)[variant]


@pytest.fixture(scope="module")
def cured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Fit]:
    """What each recipe finds for the sample with outliers, with its usual settings, by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITQUANT_DATA", str(tmp_path_factory.mktemp("cured")))
        with database.opened() as opened:
            return {name: fit(opened, name) for name in variants.calibrated()}


@pytest.fixture(scope="module")
def inputs() -> torch.Tensor:
    """The first evaluated pictures, which no calibration sees."""
    return pictures(N)[0]


@pytest.fixture(scope="module")
def healthy() -> Classifier:
    return models.load(weights.resolve("sample"))


@pytest.fixture(scope="module")
def exact(inputs: torch.Tensor) -> np.ndarray:
    return predict.logits_of(models.load(weights.resolve(OUTLIERS)), inputs)


def built(variant: str, cure: Cure | None = None) -> torch.nn.Module:
    return variants.build(models.load(weights.resolve(OUTLIERS)), variant, machine.engine(), cure)


def agreement(model: torch.nn.Module, inputs: torch.Tensor, exact: np.ndarray) -> float:
    """The share of pictures that get fp32's first answer."""
    logits = predict.logits_of(model, inputs, one_by_one=True)
    return float((logits.argmax(axis=1) == exact.argmax(axis=1)).mean())


# What outliers broke is mended


def test_a_scale_for_each_row_of_the_weights_does_not_help(inputs: torch.Tensor, exact: np.ndarray) -> None:
    for variant in ("qint8", "qint8_channel"):
        assert agreement(built(variant), inputs[:16], exact[:16]) < 0.5


def test_smoothing_brings_the_answers_back(
    db: sqlite3.Connection, inputs: torch.Tensor, exact: np.ndarray
) -> None:
    found = fit(db, f"qint8_smooth:{QUICK}")
    assert agreement(built(found.variant, found.cure), inputs[:32], exact[:32]) >= 0.95
    assert found.parameters["alpha"] in calibrate.ALPHAS
    smoothed = {layer.kind for layer in OF_SAMPLE if layer.name in found.cure.smooth}
    assert {"qkv", "fc1", "head"} <= smoothed
    assert found.cure.per_channel and not found.cure.in_float


@pytest.mark.slow
@pytest.mark.parametrize("variant", variants.calibrated())
def test_every_cure_brings_the_answers_back(
    cured: Mapping[str, Fit], inputs: torch.Tensor, exact: np.ndarray, variant: str
) -> None:
    found = cured[variant]
    model = built(found.variant, found.cure)
    assert agreement(model, inputs, exact) >= 0.95
    packed = [model.get_submodule(layer.name) for layer in OF_SAMPLE if layer.name not in found.cure.in_float]
    assert len(packed) >= 16
    assert {module.weight().dtype for module in packed} == {torch.qint8}


@pytest.mark.slow
def test_mixed_leaves_no_layer_in_float_that_has_no_outliers(cured: Mapping[str, Fit]) -> None:
    """They are planted behind the LayerNorms: what proj and fc2 read has none."""
    found = cured["qint8_mixed"]
    left = {layer.kind for layer in OF_SAMPLE if layer.name in found.cure.in_float}
    assert left and left <= {"qkv", "fc1", "head"}
    assert sorted(found.parameters["left in float"]) == sorted(found.cure.in_float)
    assert not found.cure.smooth


@pytest.mark.slow
def test_best_has_tried_much_and_says_why_it_kept_what_it_kept(cured: Mapping[str, Fit]) -> None:
    trail, n = cured["qint8_best"].trail, cured["qint8_best"].calibration.judges
    assert len(trail) >= 6
    assert all(row["why"] and isinstance(row["kept"], bool) for row in trail)
    assert all(row["n"] == n and 0 <= row["top1_low"] <= row["top1"] <= row["top1_high"] for row in trail)
    rejected = [row for row in trail if not row["kept"]]
    assert rejected
    assert all("mean KL" in row["why"] or "better than without" in row["why"] for row in rejected)
    assert trail[0]["step"] == "int8 as in the notebook"
    kept = [row for row in trail if row["kept"]]
    assert kept[-1]["mean_kl_nats"] < 0.01 < trail[0]["mean_kl_nats"]


@pytest.mark.slow
def test_what_is_kept_is_what_is_built(cured: Mapping[str, Fit]) -> None:
    found = cured["qint8_best"]
    kept = {row["step"] for row in found.trail if row["kept"]}

    def was_kept(of: str) -> bool:
        return any(of in step for step in kept)

    cure, model = found.cure, built(found.variant, found.cure)
    assert cure.per_channel is was_kept("a scale for each row")
    assert cure.full_range is was_kept("8 bits for activations")
    assert cure.fold_layer_scale is was_kept("layer scales multiplied")
    assert bool(cure.bias) is was_kept("mean errors")
    smoothed = {layer.kind for layer in OF_SAMPLE if layer.name in cure.smooth}
    assert ("proj" in smoothed) is was_kept("values and attention's output")
    assert ("fc2" in smoothed) is was_kept("fc2's input smoothed")
    assert ("qkv" in smoothed) is was_kept("smoothed, alpha")
    assert any(isinstance(module, FullRangeLinear) for module in model.modules()) is cure.full_range
    assert any(isinstance(module, Divide) for module in model.modules()) is ("fc2" in smoothed)
    assert any("gamma" in name for name in model.state_dict()) is not cure.fold_layer_scale
    assert len(cure.in_float) == [row for row in found.trail if row["kept"]][-1]["in_float"]


@pytest.mark.slow
def test_where_the_cpu_saturates_best_keeps_to_7_bits(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "saturates", lambda: True)
    found = fit(db, f"qint8_best:{QUICK}")
    assert not found.cure.full_range
    assert found.parameters["activations"] == "7 bits: this CPU saturates with 8"
    assert not any("8 bits" in row["step"] for row in found.trail)


def test_outliers_before_fc2_are_divided_behind_the_gelu(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, inputs: torch.Tensor
) -> None:
    """A few of fc1's outputs get a large bias: a GELU lets them pass, and no LayerNorm can take them."""
    model = models.load(weights.resolve("sample"))
    rng = random.Random(0)
    for block in model.blocks:
        rows = rng.sample(range(block.mlp.fc1.out_features), 3)
        block.mlp.fc1.bias[rows] += 3000.0
        block.mlp.fc2.bias -= 3000.0 * block.mlp.fc2.weight[:, rows].sum(dim=1)
    monkeypatch.setattr(models, "load", lambda source: model)
    found = fit(db, f"qint8_smooth:{QUICK}", "sample")
    assert found.parameters["fc2"] == "smoothed, by a multiplication behind the GELU"
    fc2s = {layer.name for layer in OF_SAMPLE if layer.kind == "fc2"}
    assert fc2s <= set(found.cure.smooth)
    without = Cure(
        {name: scales for name, scales in found.cure.smooth.items() if name not in fc2s}, per_channel=True
    )
    exact = predict.logits_of(model, inputs[:8])
    kl = {
        what: predict.kl_nats(
            exact,
            predict.logits_of(
                variants.build(model, "qint8_smooth", machine.engine(), cure), inputs[:8], one_by_one=True
            ),
        ).mean()
        for what, cure in (("none", Cure()), ("without fc2", without), ("with fc2", found.cure))
    }
    assert kl["none"] > 0.3
    assert kl["without fc2"] > 0.3  # smoothing the others alone is no help
    assert kl["with fc2"] < 0.25 * kl["without fc2"]  # 0.12 of it on a CPU without VNNI


def test_healthy_layers_get_no_multiplication_of_their_own(db: sqlite3.Connection) -> None:
    found = fit(db, f"qint8_smooth:{QUICK}", "sample")
    assert found.parameters["fc2"] == "left as it is"
    assert not any(name.endswith("fc2") for name in found.cure.smooth)


@pytest.mark.parametrize("variant", ["qint8_smooth", pytest.param("qint8_best", marks=pytest.mark.slow)])
def test_random_weights_are_judged_by_their_own_float32(db: sqlite3.Connection, variant: str) -> None:
    found = fit(db, f"{variant}:{QUICK}", "sample", "random")
    assert all(0 <= row["mean_kl_nats"] < 1 for row in found.trail)
    # No picture has a right class with random weights: float32's own answers are the measure.
    assert all(row["top1"] == row["agree"] for row in found.trail)
    assert max(row["top1"] for row in found.trail) > 0.5


# The fewest layers in float


class Priced(Judge):
    """Every layer in int8 costs its price in points of top-1, whatever the others are; nothing else does."""

    prices: Mapping[str, float] = {}
    always = 0.0  # lost even with every layer in float

    def measure(self, cure: Cure) -> Judged:
        lost = self.always + sum(price for name, price in self.prices.items() if name not in cure.in_float)
        n = len(self.classes)
        return Judged(np.full(n, lost), np.full(n, lost / 100), 0, 0, n, n)


@pytest.fixture
def priced(monkeypatch: pytest.MonkeyPatch, healthy: Classifier, inputs: torch.Tensor) -> Iterator[Priced]:
    variants.set_engine(machine.engine())

    def measure(*given: Any) -> list[list[dict[str, Any]]]:
        """What the layers cost alone."""
        costs = judge.prices
        return [[{"part": "layer", "layer": name, "alone_kl_nats": cost} for name, cost in costs.items()]]

    monkeypatch.setattr(sensitivity, "measure", measure)
    with composed.cores() as cores:
        of = Pictures(inputs[:1], inputs[1:3], np.zeros(2, int))
        judge = Priced(healthy, OF_SAMPLE, of, cores, has_float16=True, random=False)
        yield judge


def left_in_float(judge: Priced, limit: float) -> tuple[str, ...]:
    search = calibrate.Search(judge, {}, limit, lambda done, what: None)
    calibrate.mixed(search)
    assert search.judged is not None and search.judged.points_lost <= limit
    assert list(search.cure.in_float) == search.parameters["left in float"]
    assert search.judged.points_lost == pytest.approx(judge.measure(search.cure).points_lost)
    return search.cure.in_float


@pytest.mark.parametrize("seed", range(3))
def test_exactly_the_spoiled_layers_are_left_in_float(priced: Priced, seed: int) -> None:
    spoiled = random.Random(seed).sample([layer.name for layer in OF_SAMPLE], 3)
    priced.prices = {layer.name: 3.0 if layer.name in spoiled else 0.01 for layer in OF_SAMPLE}
    assert sorted(left_in_float(priced, 0.5)) == sorted(spoiled)


@pytest.mark.parametrize("seed", range(3))
def test_a_looser_limit_never_leaves_more_layers(priced: Priced, seed: int) -> None:
    rng = random.Random(seed)
    priced.prices = {layer.name: rng.expovariate(1.0) for layer in OF_SAMPLE}
    left = [len(left_in_float(priced, limit)) for limit in (0.5, 1, 2, 4, 8, 16, 1000)]
    assert left == sorted(left, reverse=True)
    assert left[0] > left[3] > left[-1] == 0


def test_a_layer_that_only_seemed_harmful_is_put_back(priced: Priced) -> None:
    alone = {layer.name: 3.0 if layer.block == 2 else 0.001 for layer in OF_SAMPLE}

    def measure(cure: Cure) -> Judged:
        lost = 0.0 if "blocks.2.mlp.fc2" in cure.in_float else 3.0  # it was the one that mattered
        return Judged(np.zeros(2), np.full(2, lost / 100), 0, 0, 2, 2)

    priced.prices = alone
    priced.measure = measure  # type: ignore[method-assign]
    assert left_in_float(priced, 0.5) == ("blocks.2.mlp.fc2",)


def test_a_limit_that_no_mix_keeps_is_a_sentence(priced: Priced) -> None:
    priced.prices, priced.always = dict.fromkeys((layer.name for layer in OF_SAMPLE), 0.1), 2.0
    with pytest.raises(
        InputError, match=r"No mix keeps within 0\.5 points: even with every layer.* 2 are lost"
    ):
        left_in_float(priced, 0.5)
    priced.always = 0.0
    with pytest.raises(InputError, match=r"Only with every layer left.*no int8 model.*limit=…"):
        left_in_float(priced, 0.05)


def test_an_unreachable_limit_stores_nothing(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judged, "keeps", lambda self, limit, surely=True: False)
    with pytest.raises(InputError, match=r"No mix keeps within 1 points.*16 training pictures that judge"):
        fit(db, f"qint8_mixed:{QUICK}:limit=1")
    assert fits.all_of(db) == []


def test_where_only_floats_keep_the_limit_the_recommended_variant_stays_int8_and_says_so(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Judged, "keeps", lambda self, limit, surely=True: self.mean_kl_nats < 1e-7)
    found = fit(db, f"qint8_best:{QUICK}")
    assert found.cure.in_float == ()
    assert "no int8 model" in found.parameters["limit"] or "No mix keeps" in found.parameters["limit"]
    assert not any(row["kept"] for row in found.trail if row["in_float"])


# What cannot be calibrated


def spoil(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    model = models.load(weights.resolve("sample"))
    if what == "zero":
        model.blocks[3].norm2.weight.zero_()
        model.blocks[3].norm2.bias.zero_()
    elif what == "NaN":
        model.blocks[3].norm2.bias[5] = float("nan")
    elif what == "infinity":
        model.blocks[3].norm2.weight[5] = 3e38
        model.blocks[3].norm2.weight[5] *= 10
    else:
        model.linear_head.weight *= 1e38
    monkeypatch.setattr(models, "load", lambda source: model)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("zero", r"What reaches block 3, fc1 of sample is zero in all 192 channels on all 8 pictures.*check"),
        ("NaN", r"What reaches block 3, fc1 of sample contains NaN, in 1 of 192 channels.*check the weights"),
        ("infinity", r"What reaches block 3, fc1 of sample contains infinity, in 1 of 192 channels.*check"),
        ("logits", r"What float32 itself answers.*contains NaN or infinity.*check the weights"),
    ],
)
def test_what_has_no_range_is_a_sentence_and_stores_nothing(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, what: str, sentence: str
) -> None:
    spoil(monkeypatch, what)
    with pytest.raises(InputError, match=sentence):
        fit(db, f"qint8_best:{QUICK}", "sample")
    assert fits.all_of(db) == []


@pytest.mark.slow
def test_the_command_says_what_is_wrong_with_a_folder(data_dir: Path, tmp_path: Path) -> None:
    """The weights as a person has them, in two files."""
    spec = catalog.model("sample")
    state = {
        name: tensor.half() for name, tensor in models.load(weights.resolve("sample")).state_dict().items()
    }
    head = {name: state.pop(f"linear_head.{name}") for name in ("weight", "bias")}
    state["blocks.3.norm2.weight"].zero_()
    state["blocks.3.norm2.bias"].zero_()
    torch.save(state, tmp_path / spec.backbone_file)
    torch.save(head, tmp_path / spec.head_file)
    words = ["calibrate", "--model", "sample", "--weights", tmp_path, "--dataset", "sample"]
    done = vitquant(*words, "--variants", "qint8_mixed:pictures=8", status=2)
    assert "What reaches block 3, fc1 of sample is zero in all 192 channels" in done.stderr
    few = vitquant(*words, "--variants", "qint8_mixed:pictures=4", status=2)
    assert "4 calibration pictures are too few" in few.stderr
    plain = vitquant(*words, "--variants", "qint8", status=2)
    assert "qint8 is not calibrated: only qint8_smooth, qint8_mixed, qint8_best are" in plain.stderr
    with database.opened() as opened:
        assert fits.all_of(opened) == []
