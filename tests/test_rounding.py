"""Weights rounded to a few bits."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from vitquant import rounding

BITS = range(rounding.FEWEST_BITS, rounding.MOST_BITS + 1)


def uneven(bits: int) -> torch.Tensor:
    """A weight whose rows are of very different magnitude."""
    rows = torch.randn(40, 300, generator=torch.Generator().manual_seed(bits))
    return rows * torch.logspace(-3, 1, 40).unsqueeze(1)


@pytest.mark.parametrize("bits", BITS)
def test_a_weight_takes_so_many_values_and_each_is_the_nearest(bits: int) -> None:
    weight = torch.randn(400, 300, generator=torch.Generator().manual_seed(bits))
    found = rounding.rounded(weight, bits)
    values = found.unique()
    assert len(values) <= rounding.levels(bits)
    assert values.abs().max() == pytest.approx(weight.abs().max().item())
    step = 2 * weight.abs().max() / (rounding.levels(bits) - 1)
    assert (found - weight).abs().max() <= step / 2 + 1e-6


@pytest.mark.parametrize("bits", BITS)
def test_per_channel_each_row_is_rounded_as_if_it_were_alone(bits: int) -> None:
    weight = uneven(bits)
    found = rounding.rounded(weight, bits, per_channel=True)
    for row, alone in zip(found, weight, strict=True):
        assert torch.equal(row, rounding.rounded(alone, bits))
    assert not torch.equal(found, rounding.rounded(weight, bits))


def test_only_linear_weights_change_and_the_model_itself_does_not() -> None:
    model = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.Conv2d(1, 1, 3))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for per_channel in (False, True):
        changed = rounding.round_linears(model, 2, per_channel=per_channel).state_dict()
        assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
        assert [name for name in before if not torch.equal(before[name], changed[name])] == ["1.weight"]
        expected = rounding.rounded(before["1.weight"], 2, per_channel=per_channel)
        assert torch.equal(changed["1.weight"], expected)


def test_zeros_stay_zeros_and_other_bits_are_refused() -> None:
    assert torch.equal(rounding.rounded(torch.zeros(3), 4), torch.zeros(3))
    half = torch.tensor([[0.0, 0.0], [3.0, -1.0]])
    assert torch.equal(rounding.rounded(half, 4, per_channel=True)[0], torch.zeros(2))
    for bits in (1, 9):
        with pytest.raises(ValueError, match="from 2 to 8"):
            rounding.rounded(torch.ones(3), bits)


def one_linear(*rows: list[float]) -> nn.Module:
    layer = nn.Linear(len(rows[0]), len(rows))
    layer.weight.data = torch.tensor(rows)
    return nn.Sequential(layer)


def test_the_error_is_of_all_linear_weights_together() -> None:
    model = nn.Sequential(one_linear([1.0, 0.4]), one_linear([2.0, 0.2]), nn.LayerNorm(2))
    # At 2 bits the values are minus the largest, zero and the largest: 0.4 and 0.2 become zero.
    expected = 10 * math.log10((1 + 0.16 + 4 + 0.04) / (0.16 + 0.04))
    assert rounding.sqnr_db(model, rounding.round_linears(model, 2)) == pytest.approx(expected, rel=1e-6)
    assert rounding.sqnr_db(model, model) is None


def test_the_size_is_counted_in_whole_bytes_with_scales_and_all_the_rest_in_float32() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 7, bias=False))
    model.register_buffer("seen", torch.zeros(2))
    rest = 4 * (5 + 2 * 5 + 2)  # a bias, a norm's two vectors, a buffer
    assert rounding.simulated_bytes(model, rounding.ORIGINAL_BITS) == rest + 4 * (15 + 35)
    # 15 * 3 bits are 6 bytes, 35 * 3 bits are 14; both begun ones counted in full
    assert rounding.simulated_bytes(model, 3) == rest + (6 + 4) + (14 + 4)
    assert rounding.simulated_bytes(model, 3, per_channel=True) == rest + (6 + 4 * 5) + (14 + 4 * 7)
    assert rounding.simulated_bytes(model, 8) == rest + (15 + 4) + (35 + 4)


def test_pages_may_ask_what_can_be_rounded_without_torch() -> None:
    code = "import sys; from vitquant import rounding, bits, bits_charts; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
