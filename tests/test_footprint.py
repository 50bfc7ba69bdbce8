"""The bytes of a variant, against files really written and sums made by hand."""

import io
import tracemalloc
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vitquant import footprint, machine, models, variants
from vitquant.cure import Cure
from vitquant.weights import Weights

MIB = 2**20


@pytest.fixture(autouse=True)
def _engine_restored() -> Iterator[None]:
    before = torch.backends.quantized.engine
    yield
    torch.backends.quantized.engine = before


def build_here(model: nn.Module, name: str, found: Cure | None = None) -> nn.Module:
    """found: what the calibration of a calibrated variant has found; the others are built without."""
    reason = variants.why_unavailable(name, machine.engine())
    if reason:
        pytest.skip(reason)
    cure = found or Cure() if variants.recipe(name).is_calibrated else None
    return variants.build(model, name, machine.engine(), cure)


def small(bias: bool = True) -> nn.Module:
    return nn.Sequential(nn.Linear(30, 20, bias=bias), nn.LayerNorm(20)).eval()


LAYER_NORM = 4 * 2 * 20


@pytest.mark.parametrize("name", variants.RECIPES)
def test_disk_bytes_are_those_of_a_real_file(name: str, tmp_path: Path) -> None:
    found = Cure(per_channel=True, full_range=True, bias={"0": np.ones(20, np.float32)})
    model = build_here(small(), name, found)
    file = tmp_path / "model.pt"
    with file.open("wb") as opened:
        torch.save(model.state_dict(), opened)
    assert footprint.measure(model).disk_bytes == file.stat().st_size


def test_counting_keeps_no_copy_of_the_file() -> None:
    model = nn.Sequential(*[nn.Linear(1000, 500) for _ in range(8)])  # 8 x 2 MB
    footprint.measure(model)  # what torch imports on the first save is not counted below
    tracemalloc.start()
    try:
        measured = footprint.measure(model)
        _, peak_bytes = tracemalloc.get_traced_memory()
        kept = io.BytesIO()  # the measure of this test: a sink that keeps is seen
        torch.save(model.state_dict(), kept)
        _, peak_of_a_copy = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert measured.disk_bytes > 16e6
    assert peak_of_a_copy > 16e6
    assert peak_bytes < 3e6  # one tensor at most


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("name", "weight_and_scales"),
    [
        ("fp32", 0),
        ("qint8", 600 * 1 + 4 + 4),
        ("float16", 600 * 2),
        ("qint8_channel", 600 * 1 + 20 * (4 + 4)),
    ],
)
def test_packed_bytes_by_hand(name: str, weight_and_scales: int, bias: bool) -> None:
    measured = footprint.measure(build_here(small(bias), name))
    float_linear = 4 * (600 + 20 * bias)
    if name == "fp32":
        assert (measured.parameters_bytes, measured.packed_bytes) == (float_linear + LAYER_NORM, 0)
    else:
        assert measured.parameters_bytes == LAYER_NORM
        assert measured.packed_bytes == weight_and_scales + 4 * 20 * bias
    assert measured.total_bytes == measured.parameters_bytes + measured.packed_bytes


def test_a_scale_and_zero_point_for_each_channel() -> None:
    torch.backends.quantized.engine = machine.engine()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        per_channel = {nn.Linear: torch.ao.quantization.per_channel_dynamic_qconfig}
        model = torch.ao.quantization.quantize_dynamic(small(), per_channel, dtype=torch.qint8)
    assert footprint.measure(model).packed_bytes == 600 + 20 * (4 + 4) + 20 * 4


def test_other_packed_layers_are_found_too() -> None:
    torch.backends.quantized.engine = machine.engine()
    convolution = torch.ao.nn.quantized.Conv2d(3, 8, kernel_size=5)  # holds its packed weight itself
    assert footprint.measure(nn.Sequential(convolution)).packed_bytes == 8 * 3 * 25 + (4 + 4) + 8 * 4


def test_buffers_count_whether_saved_or_not() -> None:
    model = nn.BatchNorm2d(7)  # running mean and variance, and an int64 counter
    model.register_buffer("scratch", torch.zeros(5, dtype=torch.float16), persistent=False)
    measured = footprint.measure(model)
    assert measured.buffers_bytes == 2 * 7 * 4 + 8 + 5 * 2
    assert measured.total_bytes == 2 * 7 * 4 + measured.buffers_bytes


@pytest.fixture(scope="module")
def vit_b() -> nn.Module:
    return models.load(Weights("dinov2_vitb14_reg_lc", "random", ()))


# The notebook's own figures for dinov2_vitb14_reg_lc: disk in MiB, memory in MB.
@pytest.mark.parametrize(
    ("name", "disk_mib", "parameters_bytes"),
    [
        ("fp32", 345.026460647583, 361_698_208),
        ("qint8", 91.05587959289551, 6_263_808),
        ("float16", 345.040864944458, 6_263_808),
    ],
)
def test_the_notebooks_table(vit_b: nn.Module, name: str, disk_mib: float, parameters_bytes: int) -> None:
    measured = footprint.measure(build_here(vit_b, name))
    assert measured.disk_bytes / MIB == pytest.approx(disk_mib, rel=1e-3)
    assert measured.parameters_bytes == parameters_bytes
    weights = 12 * (4 + 8) * 768 * 768 + 5 * 768 * 1000  # four Linear a block (qkv, proj, MLP), the head
    biases = 12 * (3 + 1 + 4 + 1) * 768 + 1000
    expected = {"fp32": 0, "qint8": weights + 49 * (4 + 4) + 4 * biases, "float16": 2 * weights + 4 * biases}
    assert measured.packed_bytes == expected[name]
    if name == "qint8":
        assert round(measured.packed_bytes / 1e6, 1) == 89.1  # as measured when the notebook was rerun
