"""Weights rounded to a few bits."""

import pytest
import torch
from torch import nn

from vitquant import rounding


@pytest.mark.parametrize("bits", range(rounding.FEWEST_BITS, rounding.MOST_BITS + 1))
def test_a_weight_takes_so_many_values_and_each_is_the_nearest(bits: int) -> None:
    weight = torch.randn(400, 300, generator=torch.Generator().manual_seed(bits))
    found = rounding.rounded(weight, bits)
    values = found.unique()
    assert len(values) <= rounding.levels(bits)
    assert values.abs().max() == pytest.approx(weight.abs().max().item())
    step = 2 * weight.abs().max() / (rounding.levels(bits) - 1)
    assert (found - weight).abs().max() <= step / 2 + 1e-6


def test_only_linear_weights_change_and_the_model_itself_does_not() -> None:
    model = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.Conv2d(1, 1, 3))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    changed = rounding.round_linears(model, 2).state_dict()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [name for name in before if not torch.equal(before[name], changed[name])] == ["1.weight"]


def test_zeros_stay_zeros_and_other_bits_are_refused() -> None:
    assert torch.equal(rounding.rounded(torch.zeros(3), 4), torch.zeros(3))
    for bits in (1, 9):
        with pytest.raises(ValueError, match="from 2 to 8"):
            rounding.rounded(torch.ones(3), bits)
