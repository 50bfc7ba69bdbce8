"""The grid that dynamic int8 lays over a layer's activations: how many values the kernel gives them, read off
the kernel, and how far apart they are. Imports no torch until a kernel is asked.
"""

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import nn

SMALLEST_STEP = 6.1e-5
"""torch's kernels let no step be smaller (SMALL_SCALE_THRESHOLD in aten/src/ATen/native/quantized/cpu/
QuantUtils.h): what spans less than a few thousandths is given fewer values."""

MOST_LEVELS = 256
"""8 bits: a layer that tells more values apart does not round to int8."""


@functools.cache
def levels(engine: str) -> int:
    """How many values torch's dynamic int8 gives the activations of a layer on this engine: 128 on x86, where
    it keeps to 7 bits (`reduce_range`). Read off a Linear of one weight.

    Raises InputError where torch has no such engine.
    """
    import torch
    from torch import nn

    from vitquant import packing, variants

    one = nn.Linear(1, 1, bias=False)
    one.weight = nn.Parameter(torch.ones(1, 1), requires_grad=False)
    before = torch.backends.quantized.engine
    variants.set_engine(engine)
    try:
        found = levels_of(packing.packed(one, torch.qint8), one)
    finally:
        torch.backends.quantized.engine = before
    assert found is not None
    return found


def levels_of(layer: "nn.Module", original: "nn.Module") -> int | None:
    """How many values a quantized layer gives its activations; None where it does not round to int8.

    original: the nn.Linear that it was made from. A ramp from 0 to 1 goes in where the largest weight is read,
    and the values that come out there are counted.
    """
    import torch

    weight: Any = original.weight
    row, column = divmod(int(weight.abs().argmax()), weight.shape[1])
    ramp = torch.zeros(2 * MOST_LEVELS, weight.shape[1])
    ramp[:, column] = torch.linspace(0, 1, len(ramp))
    with torch.inference_mode():
        found = len(layer(ramp)[:, row].unique())
    return found if found <= MOST_LEVELS else None


def bits(levels: int) -> float:
    """How many bits so many values are worth."""
    return math.log2(levels)


def step(low: np.ndarray | float, high: np.ndarray | float, levels: int) -> Any:
    """How far apart the levels are where a layer's activations go from low to high: float or array, in the
    activations' unit. The range is made to include 0, as the kernel does (ChooseQuantizationParams in the file
    named above)."""
    span = np.maximum(high, 0.0) - np.minimum(low, 0.0)
    return np.maximum(span / (levels - 1), SMALLEST_STEP)


def levels_within(low: np.ndarray | float, high: np.ndarray | float, step: np.ndarray | float) -> Any:
    """How many levels so far apart values from low to high are rounded to: 1 where all become the same."""
    # Zero is one of the levels, so that they lie at whole multiples of the step.
    return np.rint(np.asarray(high) / step) - np.rint(np.asarray(low) / step) + 1
