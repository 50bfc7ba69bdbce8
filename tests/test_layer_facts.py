"""What each Linear layer of a variant is, read off variants that are really built; and two of them compared."""

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.test_footprint import build_here
from vitquant import (
    catalog,
    footprint,
    grid,
    layer_differences,
    layer_facts,
    layers,
    machine,
    models,
    packing,
    size_tables,
    variants,
)
from vitquant.cure import Cure
from vitquant.layer_facts import CORRECTED, DIVIDED, FOLDED, RESCALED, Facts
from vitquant.weights import resolve

SPEC = catalog.model("sample")
QKV, PROJ, FC2 = "blocks.1.attn.qkv", "blocks.1.attn.proj", "blocks.1.mlp.fc2"


@pytest.fixture(autouse=True)
def _engine_restored() -> Iterator[None]:
    before = torch.backends.quantized.engine
    yield
    torch.backends.quantized.engine = before


@pytest.fixture(scope="module")
def model() -> Any:
    return models.load(resolve("sample", None))


def facts_of(model: Any, variant: nn.Module, cure: Cure | None = None) -> dict[str, Facts]:
    entries = footprint.measure(variant).entries
    floats = variants.floats_of(model, cure)
    return {facts.layer: facts for facts in layer_facts.measure(variant, floats, cure, entries)}


def row_of(model: Any, name: str) -> dict[str, Any]:
    """What a size run keeps of a variant, as JSON gives it back."""
    variant = build_here(model, name)
    taken = footprint.measure(variant)
    found = layer_facts.measure(variant, model, None, taken.entries)
    row = {"variant": name, **taken.row(), "layers": layer_facts.plain(found)}
    return dict(json.loads(json.dumps(row)))


# ---- the facts -----------------------------------------------------------------------------------------------


def test_int8_layers_are_as_torch_made_them(model: Any) -> None:
    variant = build_here(model, "qint8")
    found = facts_of(model, variant)
    assert list(found) == [layer.name for layer in layers.of(SPEC)]
    assert {(f.dtype, f.scheme, f.done) for f in found.values()} == {("int8", "per tensor, symmetric", ())}
    levels = grid.levels(machine.engine())
    assert {f.levels for f in found.values()} == {levels}
    assert found[QKV].activations == {128: "7 bits", 256: "8 bits"}[levels]
    layer: Any = variant.get_submodule(QKV)
    exact = model.get_submodule(QKV).weight.detach().double()
    noise = (exact - layer.weight().dequantize().double()).square().sum()
    assert found[QKV].weight_sqnr_db == pytest.approx(10 * math.log10(exact.square().sum() / noise))


def test_the_bytes_are_the_ledgers_and_with_everything_else_the_variants(model: Any) -> None:
    row = row_of(model, "qint8")
    linear, rest, whole = (total.first for total in layer_differences.totals(row, row))
    assert linear.memory_bytes == sum(facts.memory_bytes for facts in layer_facts.of_row(row))
    assert linear.disk_bytes == sum(facts.disk_bytes for facts in layer_facts.of_row(row))
    assert linear.memory_bytes + rest.memory_bytes == whole.memory_bytes == row["total_bytes"]
    assert linear.disk_bytes + rest.disk_bytes == whole.disk_bytes == row["disk_bytes"]
    one = layer_facts.of_row(row)[0]  # block 0's qkv: 192 numbers in, 3 x 192 out
    assert one.memory_bytes == 576 * 192 + 4 * 576 + 8


@pytest.mark.parametrize(
    ("name", "dtype", "activations"),
    [("fp32", "float32", "float32"), ("float16", "float16", "float32"), ("bfloat16", "bfloat16", "bfloat16")],
)
def test_floating_point_layers_lie_on_no_grid(model: Any, name: str, dtype: str, activations: str) -> None:
    found = facts_of(model, build_here(model, name))
    assert {(f.dtype, f.scheme, f.activations, f.levels) for f in found.values()} == {
        (dtype, layer_facts.FLOAT, activations, None)
    }
    if name == "fp32":
        assert {f.weight_sqnr_db for f in found.values()} == {None}  # exact
    if name == "bfloat16":  # 8 bits of a number: some 50 dB, whatever the weight
        assert all(50 < (f.weight_sqnr_db or 0) < 60 for f in found.values())


def test_what_a_cure_has_done_is_told_layer_by_layer(model: Any) -> None:
    cure = Cure(
        smooth={QKV: np.full(192, 4, np.float32), FC2: np.full(768, 2, np.float32)},
        bias={PROJ: np.zeros(192, np.float32), layers.HEAD: np.zeros(1000, np.float32)},
        per_channel=True,
        full_range=True,
        fold_layer_scale=True,
        in_float=(layers.HEAD,),
    )
    variant = variants.build(model, "qint8_smooth", machine.engine(), cure)
    found = facts_of(model, variant, cure)
    assert found[QKV].done == (FOLDED,)
    assert found[FC2].done == (DIVIDED, RESCALED)  # behind a GELU nothing can take the scales
    assert found[PROJ].done == (RESCALED, CORRECTED)
    assert found["blocks.1.mlp.fc1"].done == ()
    assert found[QKV].scheme == "per channel, symmetric"
    levels = grid.levels(machine.engine()) if packing.saturates() else 256
    assert {f.levels for f in found.values() if f.dtype == "int8"} == {levels}
    left = "float16" if variants.has_float16(machine.engine()) else "float32"
    head = found[layers.HEAD]
    assert (head.dtype, head.scheme, head.activations, head.done) == (left, "float", "float32", ())


def test_the_error_of_a_smoothed_weight_is_against_the_smoothed_one(model: Any) -> None:
    plain = variants.build(model, "qint8", machine.engine())
    cure = Cure(smooth={QKV: np.full(192, 4, np.float32)})  # 4 times the numbers on a grid 4 times as coarse
    smoothed = variants.build(model, "qint8_smooth", machine.engine(), cure)
    first, second = facts_of(model, plain)[QKV], facts_of(model, smoothed, cure)[QKV]
    assert second.weight_sqnr_db == pytest.approx(first.weight_sqnr_db, abs=0.01)


def test_the_facts_survive_the_store(model: Any) -> None:
    found = list(facts_of(model, build_here(model, "qint8")).values())
    assert layer_facts.of_row(json.loads(json.dumps({"layers": layer_facts.plain(found)}))) == found
    assert layer_facts.of_row({"variant": "qint8"}) == []  # as it was stored before there were any


# ---- two of them ---------------------------------------------------------------------------------------------


def facts(layer: str, **changed: Any) -> dict[str, Any]:
    usual = Facts(layer, "int8", "per tensor, symmetric", 128, (), 1000, 1004, 40.0)
    return layer_facts.plain([usual])[0] | changed


ROWS = (
    {"variant": "qint8", "layers": [facts(QKV), facts(PROJ), facts(layers.HEAD)]},
    {
        "variant": "qint8_mixed",
        "layers": [
            facts(QKV, dtype="float16", scheme="float", levels=None, memory_bytes=2000, weight_sqnr_db=70.0),
            facts(PROJ),
            facts(layers.HEAD, done=["bias corrected"]),
        ],
    },
)


def test_only_what_is_not_the_same_differs() -> None:
    qkv, proj, head = layer_differences.lines(SPEC, *ROWS)
    assert [line.layer.title for line in (qkv, proj, head)] == ["block 1, qkv", "block 1, proj", "head"]
    assert qkv.differing == ("dtype", "scheme", "activations", "memory_bytes", "weight_sqnr_db")
    assert proj.differing == ()
    assert head.differing == ("done",)
    assert head.values["done"] == (layer_differences.NOTHING_DONE, "bias corrected")
    said = layer_differences.sentence([qkv, proj, head], "qint8", "qint8_mixed")
    assert said.startswith("**2 of 3** Linear layers differ between **qint8** and **qint8_mixed**")
    assert "1 of them in type, scheme, what they compute with, bytes in memory and error of the weights" in said
    assert said.endswith("; 1 of them in what is done to them.")
    same = layer_differences.sentence([proj, proj], "qint8", "qint8_mixed")
    assert same == "All 2 Linear layers are the same in **qint8** and **qint8_mixed**."


def test_columns_that_are_the_same_everywhere_can_be_left_out() -> None:
    found = layer_differences.lines(SPEC, *ROWS)
    differing = {fact for fact, _ in layer_differences.columns(found, only_differing=True)}
    assert "disk_bytes" not in differing and "done" in differing
    everything = layer_differences.columns(found)
    assert ("disk_bytes", 0) in everything
    assert not {fact for fact, _ in everything} & set(layer_differences.COSTS)  # nobody has diagnosed them


def test_what_a_diagnosis_measured_of_a_variant_stands_beside_it() -> None:
    diagnosis = [
        {"part": "layer", "layer": QKV, "alone_kl_nats": 0.25, "alone_sqnr_db": 9.0},
        {"part": "range", "layer": QKV},
    ]
    found = layer_differences.lines(SPEC, *ROWS, (diagnosis, []))
    assert found[0].values["alone_kl_nats"] == (0.25, None)
    assert found[1].values["alone_kl_nats"] == (None, None)
    columns = layer_differences.columns(found, only_differing=True)
    assert ("alone_kl_nats", 0) in columns and ("alone_kl_nats", 1) not in columns
    assert "alone_kl_nats" not in found[0].differing  # measured of one of them alone


def test_the_recommended_variant_is_looked_at_first_where_it_is_measured() -> None:
    assert layer_differences.usual_pair(["fp32", "qint8", "qint8_best"]) == ("qint8", "qint8_best")
    assert layer_differences.usual_pair(["fp32", "qint8", "float16"]) == ("fp32", "qint8")
    assert layer_differences.usual_pair(["float16", "qint8_mixed:limit=1"]) == (
        "float16",
        "qint8_mixed:limit=1",
    )


def test_a_terminal_shows_two_variants_side_by_side_and_others_one_by_one(model: Any) -> None:
    rows = [row_of(model, "fp32"), row_of(model, "qint8")]
    shown = size_tables.layers(SPEC, rows)
    lines = shown.splitlines()
    assert lines[0].startswith("33 of 33 Linear layers differ between fp32 and qint8")
    [head] = [line for line in lines if line.startswith("head ")]
    assert "float32" in head and "int8" in head and "per tensor, symmetric" in head
    assert "done to it" in shown and "qint8: done to it" not in shown  # the same in both: one column
    [whole] = [line for line in lines if line.startswith("the whole variant")]
    assert f"{rows[1]['total_bytes']:,}" in whole
    alone = size_tables.layers(SPEC, rows[1:])
    assert alone.splitlines()[0] == "qint8"
    assert "differ" not in alone
