"""Every byte of a variant has an entry, and the entries add up to the file and to the memory, to the byte."""

import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.test_footprint import build_here
from vitquant import footprint, ledger, machine, models, notebook, variants
from vitquant.cure import Cure
from vitquant.ledger import Entry
from vitquant.weights import resolve

NOTEBOOKS = [str(row["variant"]) for row in notebook.SIZE]
"""The variants that the notebook had."""

MODELS = {"sample_outliers": "bundled", "dinov2_vits14_lc": "random"}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> nn.Module:
    return models.load(resolve(request.param, MODELS[request.param]))


IN_FLOAT = ("blocks.0.mlp.fc2", "linear_head")


def mended(model: nn.Module) -> Cure:
    """A little of everything that a calibration may find."""
    width = model.norm.weight.numel()
    return Cure(
        smooth={"blocks.1.attn.qkv": np.full(width, 2, np.float32)},
        bias={"blocks.2.mlp.fc1": np.ones(4 * width, np.float32)},
        per_channel=True,
        full_range=True,
        in_float=IN_FLOAT,
    )


def memory_by_hand(model: nn.Module, name: str) -> int:
    """What a variant's tensors take, counted from the float32 model alone."""
    linear = {key: layer for key, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    others = sum(p.numel() for p in model.parameters()) - sum(one.weight.numel() for one in linear.values())
    whole = {"fp32": 4, "float16": 2, "bfloat16": 2}
    if name in whole:
        weights = sum(layer.weight.numel() for layer in linear.values())
        return (2 if name == "bfloat16" else 4) * others + whole[name] * weights
    total = 4 * others
    for key, layer in linear.items():
        if variants.recipe(name).is_calibrated and key in IN_FLOAT:
            total += (2 if variants.has_float16(machine.engine()) else 4) * layer.weight.numel()
        else:
            scales = 1 if name == "qint8" else layer.out_features
            total += layer.weight.numel() + 8 * scales
    return total


@pytest.mark.parametrize(
    ("model", "name"),
    [
        *(("sample_outliers", name) for name in variants.RECIPES),
        *(("dinov2_vits14_lc", name) for name in NOTEBOOKS),
    ],
    indirect=["model"],
)
def test_the_sums_close_to_the_byte(model: nn.Module, name: str, tmp_path: Path) -> None:
    variant = build_here(model, name, mended(model))
    measured = footprint.measure(variant)
    found = ledger.total(measured.entries)
    assert found.memory_bytes == measured.total_bytes == memory_by_hand(model, name)
    assert found.disk_bytes == measured.disk_bytes
    # And the file that torch really writes has just these tensors' bytes in its records.
    file = tmp_path / "model.pt"
    with file.open("wb") as opened:
        torch.save(variant.state_dict(), opened)
    assert file.stat().st_size == measured.disk_bytes
    with zipfile.ZipFile(file) as archive:
        records = {record.filename.partition("/")[2]: record.file_size for record in archive.infolist()}
    tensors = sum(size for name, size in records.items() if name.startswith("data/"))
    by_name = {entry.name: entry.disk_bytes for entry in measured.entries if entry.block == "file"}
    assert sum(e.disk_bytes for e in measured.entries if e.block != "file") == tensors
    assert by_name[ledger.STRUCTURE] == records["data.pkl"]
    assert 0 < by_name[ledger.HEADERS] < measured.disk_bytes - tensors


def test_per_channel_scales_close_too(model: nn.Module) -> None:
    torch.backends.quantized.engine = machine.engine()
    per_channel = {nn.Linear: torch.ao.quantization.per_channel_dynamic_qconfig}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        variant = torch.ao.quantization.quantize_dynamic(model, per_channel, dtype=torch.qint8)
    measured = footprint.measure(variant)
    assert ledger.total(measured.entries).disk_bytes == measured.disk_bytes
    rows = sum(layer.out_features for layer in model.modules() if isinstance(layer, nn.Linear))
    scales = [entry for entry in measured.entries if entry.name == "scale and zero point"]
    assert (sum(e.memory_bytes for e in scales), sum(e.disk_bytes for e in scales)) == (8 * rows, 16 * rows)


def test_every_parameter_of_the_model_has_its_entry(model: nn.Module) -> None:
    entries = footprint.measure(model).entries
    found = {
        f"{e.layer}.{e.name}".lstrip("."): e.memory_bytes for e in entries if e.counted == ledger.PARAMETERS
    }
    assert found == {name: 4 * parameter.numel() for name, parameter in model.named_parameters()}


def test_what_int8_left_in_float32_is_told_apart(model: nn.Module) -> None:
    entries = footprint.measure(build_here(model, "qint8")).entries
    by_type = ledger.by(entries, "dtype")
    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert by_type["int8"].memory_bytes == sum(layer.weight.numel() for layer in linear)
    blocks = sum(1 for name in ledger.by(entries, "block") if name.startswith("block "))
    assert blocks == len(model.blocks)
    assert {"embedding", "norm", "head", "file"} <= set(ledger.by(entries, "block"))


@pytest.mark.parametrize(
    ("layer", "name", "block", "inside"),
    [
        ("blocks.11.attn.qkv", "weight", "block 11", "attn.qkv"),
        ("blocks.0.norm1", "bias", "block 0", "norm1"),
        ("", "pos_embed", "embedding", "tokens and positions"),
        ("patch_embed.proj", "weight", "embedding", "patch_embed.proj"),
        ("norm", "weight", "norm", "norm"),
        ("linear_head", "weight", "head", "linear_head"),
    ],
)
def test_where_a_tensor_lies(layer: str, name: str, block: str, inside: str) -> None:
    entry = Entry(layer, name, ledger.PARAMETERS, "float32", 4, "float32", 4)
    assert (entry.block, entry.inside) == (block, inside)


def test_a_ledger_survives_the_store() -> None:
    entries = [Entry("norm", "weight", ledger.PARAMETERS, "float32", 8, "float32", 8)]
    assert ledger.of_row({"ledger": ledger.plain(entries)}) == entries
    assert not ledger.has_ledger([{"ledger": ledger.plain(entries)}, {"variant": "qint8"}])
