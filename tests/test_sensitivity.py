"""What each layer costs: against models put together by hand, and on layers spoiled on purpose."""

import copy
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from vitquant import (
    catalog,
    composed,
    datasets,
    diagnosis_words,
    images,
    layers,
    machine,
    models,
    predict,
    sensitivity,
    side_by_side,
    statistics,
    variants,
    weights,
)
from vitquant.catalog import Outliers
from vitquant.composed import Cores
from vitquant.layers import Layer
from vitquant.runs import Rows
from vitquant.sensitivity import Answers
from vitquant.side_by_side import Looked
from vitquant.vit import Classifier

pytestmark = pytest.mark.usefixtures("built_in_sample")

N = 4
OF_SAMPLE = layers.of(catalog.model("sample"))
GIANT_WEIGHT = 300.0


@pytest.fixture(scope="module")
def cores() -> Iterator[Cores]:
    with composed.cores() as all_of_them:
        yield all_of_them


@pytest.fixture(scope="module")
def model() -> Classifier:
    """The sample with outliers that hurt int8 but leave it something to say."""
    planted = models.load(weights.resolve("sample"))
    models.plant(planted, Outliers(channels=(17, 62, 105, 151), factor=16.0))
    return planted


@pytest.fixture(scope="module")
def variant(model: Classifier) -> Classifier:
    return quantized(model)


@pytest.fixture(scope="module")
def inputs() -> torch.Tensor:
    return pictures(N)[0]


@pytest.fixture(scope="module")
def looked(model: Classifier, variant: Classifier, inputs: torch.Tensor, cores: Cores) -> Looked:
    return side_by_side.look(model, model, variant, OF_SAMPLE, inputs, cores)


@pytest.fixture(scope="module")
def rows(model: Classifier, variant: Classifier, looked: Looked, cores: Cores) -> Rows:
    return measured(model, variant, looked, pictures(N)[1], cores)


def pictures(count: int) -> tuple[torch.Tensor, np.ndarray]:
    dataset = datasets.open_dataset("sample")
    examples = [dataset.examples[index] for index in datasets.evaluation_order(dataset)[:count]]
    found = predict.to_input([images.open_rgb(dataset.file(example)) for example in examples], 70)
    return found, np.array([example.class_index for example in examples])


def quantized(model: Classifier) -> Classifier:
    variant = variants.build(model, "qint8", machine.engine())
    assert isinstance(variant, Classifier)
    return variant


def measured(
    floats: Classifier,
    variant: Classifier,
    looked: Looked,
    classes: np.ndarray,
    cores: Cores,
    finished: set[tuple[str, object]] | None = None,
) -> Rows:
    answers = Answers(looked.exact, classes)
    found = sensitivity.measure(
        floats, variant, OF_SAMPLE, looked.embedded, answers, cores, finished or set(), lambda done, what: None
    )
    return [row for rows in found for row in rows]


def put(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, layer)


def exchanged(base: nn.Module, other: nn.Module, names: list[str]) -> nn.Module:
    """A copy of base with these layers of other: what a person would do by hand."""
    made = copy.deepcopy(base)
    for name in names:
        put(made, name, copy.deepcopy(other.get_submodule(name)))
    return made


def one_by_one(model: nn.Module, inputs: torch.Tensor) -> np.ndarray:
    return predict.logits_of(model, inputs, one_by_one=True)


# Against the same by hand


def test_each_figure_is_that_of_the_model_put_together_by_hand(
    model: Classifier, variant: Classifier, inputs: torch.Tensor, rows: Rows
) -> None:
    answers = Answers(one_by_one(model, inputs), pictures(N)[1])
    by_name = {row.get("layer") or row["group"]: row for row in rows}
    groups = {
        "blocks.0.mlp.fc1": ["blocks.0.mlp.fc1"],
        "blocks.6.attn.qkv": ["blocks.6.attn.qkv"],
        "blocks.7.attn.proj": ["blocks.7.attn.proj"],
        "blocks.7.mlp.fc2": ["blocks.7.mlp.fc2"],
        "linear_head": ["linear_head"],
        "block 5": [layer.name for layer in OF_SAMPLE if layer.block == 5],
        "qkv": [layer.name for layer in OF_SAMPLE if layer.kind == "qkv"],
        "head": ["linear_head"],
    }
    for name, exchange in groups.items():
        for way, (base, other) in {"alone": (model, variant), "but": (variant, model)}.items():
            by_hand = answers.cost(one_by_one(exchanged(base, other, exchange), inputs))
            row = by_name[name]
            assert by_hand["kl_nats"] > 1e-6  # else nothing is shown
            # Float32 batches may differ from single pictures in last bits, and int8 then in a step.
            assert row[f"{way}_kl_nats"] == pytest.approx(by_hand["kl_nats"], rel=0.02, abs=1e-7), (name, way)
            assert row[f"{way}_sqnr_db"] == pytest.approx(by_hand["sqnr_db"], abs=0.3), (name, way)
            assert row[f"{way}_agree"] == by_hand["agree"]
            assert row[f"{way}_top1"] == by_hand["top1"]


def test_every_layer_block_and_kind_has_one_row(
    model: Classifier, variant: Classifier, looked: Looked, rows: Rows, cores: Cores
) -> None:
    of_layers = [(r["layer"], r["block"], r["kind"]) for r in rows if r["part"] == "layer"]
    assert of_layers == [(layer.name, layer.block, layer.kind) for layer in OF_SAMPLE]
    groups = [row["group"] for row in rows if row["part"] == "group"]
    assert sorted(groups) == sorted([f"block {i}" for i in range(8)] + list(layers.KINDS))
    assert {row["n"] for row in rows} == {N}
    finished = {("layer", "linear_head"), ("group", "head"), ("group", "qkv"), ("group", "block 3")}
    finished |= {("layer", layer.name) for layer in OF_SAMPLE if layer.block == 3}
    rest = measured(model, variant, looked, pictures(N)[1], cores, finished)
    assert rest == [row for row in rows if (row["part"], row.get("layer") or row["group"]) not in finished]


def test_a_batch_is_answered_as_its_pictures_are_one_by_one(
    variant: Classifier, inputs: torch.Tensor, looked: Looked
) -> None:
    alone, together = one_by_one(variant, inputs), predict.logits_of(variant, inputs)
    off = np.abs(looked.found - alone).max()
    # 0 where this was written; another CPU's float32 may turn a last bit, and that an int8 step.
    assert off < 0.05 * np.abs(together - alone).max()


def test_putting_models_together_changes_neither(
    model: Classifier, variant: Classifier, inputs: torch.Tensor
) -> None:
    before = one_by_one(model, inputs), one_by_one(variant, inputs)
    layer = "blocks.2.mlp.fc1"
    mixed = composed.with_layers(model, {layer: variant.get_submodule(layer)})
    assert mixed.get_submodule(layer) is variant.get_submodule(layer)
    assert mixed.get_submodule("blocks.3") is model.get_submodule("blocks.3")
    assert isinstance(model.get_submodule(layer), nn.Linear)
    assert mixed.pos_embed is model.pos_embed
    np.testing.assert_array_equal(one_by_one(model, inputs), before[0])
    np.testing.assert_array_equal(one_by_one(variant, inputs), before[1])


def test_a_loss_counts_positive_with_its_paired_interval() -> None:
    classes = np.arange(20)
    fp32 = np.zeros((20, 1000), np.float32)
    fp32[np.arange(20), classes] = 9
    fp32[19] = 0
    fp32[19, 500] = 9  # wrong
    worse = fp32.copy()
    worse[:5] = 0
    worse[:5, 700] = 9  # five that were right
    worse[19] = fp32[18]
    worse[19, 19], worse[19, 18] = 9, 0  # one that was wrong
    cost = Answers(fp32, classes).cost(worse)
    expected = statistics.paired_difference(1, 5, 20)
    assert (cost["lost"], cost["lost_low"], cost["lost_high"]) == (
        pytest.approx(0.2), expected.low, expected.high
    )  # fmt: skip
    assert (cost["top1"], cost["agree"]) == (15 / 20, 14 / 20)
    same = Answers(fp32, classes).cost(fp32)
    assert (same["sqnr_db"], same["kl_nats"], same["lost"], same["agree"]) == (None, 0.0, 0.0, 1.0)


# Layers spoiled on purpose


def spoil(model: Classifier, layer: Layer, channel: int) -> None:
    """Ruin one layer under int8 and no other: a giant weight in a column whose input is always zero.

    float32 never notices it. The kernel's one scale for a weight has to reach as far, and all the layer's other
    weights round to nothing.
    """
    width = model.norm.weight.shape[0]
    with torch.no_grad():
        if layer.kind == "head":
            silence(model.norm, channel)
        else:
            block = model.blocks[layer.block]
            producer, row = {
                "qkv": (block.norm1, channel),
                "proj": (block.attn.qkv, 2 * width + channel),  # the values come last
                "fc1": (block.norm2, channel),
                "fc2": (block.mlp.fc1, channel),
            }[layer.kind]
            silence(producer, row)
        linear = model.get_submodule(layer.name)
        assert isinstance(linear, nn.Linear)
        linear.weight[0, channel] = GIANT_WEIGHT


def silence(producer: nn.Module, row: int) -> None:
    """One channel of a LayerNorm's or a Linear's output becomes zero."""
    assert isinstance(producer, nn.LayerNorm | nn.Linear)
    producer.weight[row] = 0
    producer.bias[row] = 0


@pytest.mark.parametrize("seed", range(3))
def test_the_three_most_sensitive_layers_are_those_that_were_spoiled(seed: int, cores: Cores) -> None:
    chance = random.Random(seed)
    spoiled = chance.sample(OF_SAMPLE, 3)
    model = models.load(weights.resolve("sample"))
    for layer in spoiled:
        spoil(model, layer, chance.randrange(model.norm.weight.shape[0]))
    variant, (inputs, classes) = quantized(model), pictures(8)
    looked = side_by_side.look(model, model, variant, OF_SAMPLE, inputs, cores)
    rows = measured(model, variant, looked, classes, cores)
    ranked = diagnosis_words.worst_alone(rows)
    assert {row["layer"] for row in ranked[:3]} == {layer.name for layer in spoiled}
    assert ranked[2]["alone_kl_nats"] > 5 * ranked[3]["alone_kl_nats"]
    # Without them the rest is as good as ever; with any two of them left it is not.
    assert all(row["but_kl_nats"] > 0.001 for row in ranked)


@pytest.mark.parametrize("kind", layers.KINDS)
def test_a_spoiled_layer_of_every_kind_is_found(kind: str, cores: Cores) -> None:
    model = models.load(weights.resolve("sample"))
    layer = next(layer for layer in reversed(OF_SAMPLE) if layer.kind == kind)
    spoil(model, layer, 7)
    variant, (inputs, classes) = quantized(model), pictures(N)
    looked = side_by_side.look(model, model, variant, OF_SAMPLE, inputs, cores)
    rows = measured(model, variant, looked, classes, cores)
    worst, second, *_ = diagnosis_words.worst_alone(rows)
    assert worst["layer"] == layer.name
    assert worst["alone_kl_nats"] > 5 * second["alone_kl_nats"]
    least = min((row for row in rows if row["part"] == "layer"), key=lambda row: row["but_kl_nats"])
    assert least["layer"] == layer.name
    groups = [row for row in rows if row["part"] == "group" and row["group"] in layers.KINDS]
    assert max(groups, key=lambda row: row["alone_kl_nats"])["group"] == kind
