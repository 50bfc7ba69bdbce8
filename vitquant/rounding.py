"""Weights rounded to a few bits: what quantizing weights alone does, simulated in float32.

This is no variant: nothing becomes smaller or faster, and activations stay as they are, whereas dynamic int8
rounds them too. Imports no torch until something is rounded: pages ask here what can be.
"""

import copy
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

FEWEST_BITS, MOST_BITS = 2, 8
ORIGINAL_BITS = 32
SCALE_BYTES = 4  # float32

VERSION = 1
"""To be raised when the same weights are rounded to other values, or their size is computed otherwise."""


def levels(bits: int) -> int:
    """How many values a weight can take: symmetric around zero, so one fewer than 2 to the power of bits."""
    return 2**bits - 1


def rounded(weight: "torch.Tensor", bits: int, *, per_channel: bool = False) -> "torch.Tensor":
    """A weight with every element rounded to the nearest of levels(bits) values, evenly spaced from minus to
    plus its largest magnitude (symmetric); float32 as before. bits: 2 to 8.

    Per tensor: the largest magnitude of all, for a weight of any shape. per_channel: each row's own (along
    the first dimension: a Linear's output channels).
    """
    if not FEWEST_BITS <= bits <= MOST_BITS:
        raise ValueError(f"{bits} bits: from {FEWEST_BITS} to {MOST_BITS} can be simulated")
    top = levels(bits) // 2
    within = tuple(range(1 if per_channel else 0, weight.dim()))
    scale = weight.abs().amax(within, keepdim=True) / top
    scale[scale == 0] = 1.0  # nothing but zeros there, which stay zeros
    return (weight / scale).round().clamp(-top, top) * scale


def round_linears(model: "nn.Module", bits: int, *, per_channel: bool = False) -> "nn.Module":
    """A copy of a float32 model in which the weights of every Linear layer, the layers that dynamic int8
    quantizes, are rounded to so many bits; biases and everything else are as they were."""
    import torch

    result = copy.deepcopy(model)
    with torch.no_grad():
        for weight in linear_weights(result):
            weight.copy_(rounded(weight, bits, per_channel=per_channel))
    return result


def linear_weights(model: "nn.Module") -> "Iterator[torch.Tensor]":
    """The weights that are rounded, each (out, in), in the order of the model's modules."""
    from torch import nn

    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            yield layer.weight


def sqnr_db(model: "nn.Module", other: "nn.Module") -> float | None:
    """Signal-to-quantization-noise ratio of a rounded copy's Linear weights, all of them together, in dB:
    10 * log10(sum of w^2 / sum of (w - rounded w)^2). None where no weight was changed."""
    signal = noise = 0.0
    for weight, changed in zip(linear_weights(model), linear_weights(other), strict=True):
        exact = weight.detach().double()
        signal += float(exact.square().sum())
        noise += float((exact - changed.detach().double()).square().sum())
    return 10 * math.log10(signal / noise) if noise else None


def simulated_bytes(model: "nn.Module", bits: int, *, per_channel: bool = False) -> int:
    """What a float32 model's numbers would take if Linear weights were stored at so many bits. Computed: no
    file of this size is written, and whatever reads one may pad it.

    | part                              | bytes                                                    |
    |-----------------------------------|----------------------------------------------------------|
    | a Linear's weight                 | its elements * bits / 8, rounded up to whole bytes       |
    | its scales                        | 4 (float32), once; per channel once for each output row  |
    | all other parameters, and buffers | as they are: biases, norms, embeddings in float32        |

    bits = 32 is the model as it is: no scales.
    """
    everything = [*model.parameters(), *model.buffers()]
    total = sum(tensor.numel() * tensor.element_size() for tensor in everything)
    if bits == ORIGINAL_BITS:
        return total
    for weight in linear_weights(model):
        scales = weight.shape[0] if per_channel else 1
        packed = -(-weight.numel() * bits // 8)
        total += packed + scales * SCALE_BYTES - weight.numel() * weight.element_size()
    return total
