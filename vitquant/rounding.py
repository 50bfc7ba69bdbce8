"""Weights rounded to a few bits: what quantizing weights alone does, simulated in float32.

This is no variant: nothing becomes smaller or faster, and activations stay as they are, whereas dynamic int8
rounds them too.
"""

import copy

import torch
from torch import nn

FEWEST_BITS, MOST_BITS = 2, 8


def levels(bits: int) -> int:
    """How many values a weight can take: symmetric around zero, so one fewer than 2 to the power of bits."""
    return 2**bits - 1


def rounded(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """A weight of any shape with every element rounded to the nearest of levels(bits) values, evenly spaced
    from minus to plus its largest magnitude (symmetric, per tensor); float32 as before. bits: 2 to 8."""
    if not FEWEST_BITS <= bits <= MOST_BITS:
        raise ValueError(f"{bits} bits: from {FEWEST_BITS} to {MOST_BITS} can be simulated")
    top = levels(bits) // 2
    scale = weight.abs().max() / top
    if scale == 0:
        return weight.clone()
    return (weight / scale).round().clamp(-top, top) * scale


def round_linears(model: nn.Module, bits: int) -> nn.Module:
    """A copy of a float32 model in which the weights of every Linear layer, the layers that dynamic int8
    quantizes, are rounded to so many bits; biases and everything else are as they were."""
    result = copy.deepcopy(model)
    with torch.no_grad():
        for layer in result.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(rounded(layer.weight, bits))
    return result
