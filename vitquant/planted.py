"""Outlier channels planted by hand in a healthy model: what they leave of the int8 grid to the ordinary
channels of one picture. Imports no torch until something is planted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

    from vitquant.vit import Classifier

MODEL = "sample"
"""The model that they are planted in: it has none of its own, and int8 does it no harm."""

FACTORS = (1, 2, 4, 8, 16, 24, 32, 40, 48, 54, 60)
MOST_CHANNELS = 8


@dataclass(frozen=True)
class LevelsLeft:
    """What reaches one layer behind a LayerNorm, and the int8 levels that its ordinary channels are given."""

    layer: str  # the module's name
    low: float  # the least and the largest activation of all channels
    high: float
    ordinary_low: float  # of those that were not planted
    ordinary_high: float
    step: float  # the distance of two levels
    levels: int  # of the grid, as the kernel has them
    left: int  # levels that the ordinary channels are rounded to


def loudest(model: "Classifier", count: int) -> tuple[int, ...]:
    """The channels to which the LayerNorms add most: |bias| by the largest of its LayerNorm, over all of them.

    Those that stand out a little already are the ones that stand out furthest when they are scaled. Scaling the
    sample's 4 loudest by 60 leaves qint8 0.04 of top-1 on 96 pictures, where 4 chosen blindly leave it 0.75.
    """
    import torch

    shares = torch.stack([norm.bias.abs() / norm.bias.abs().max() for norm in _norms(model)])
    return tuple(shares.mean(dim=0).argsort(descending=True)[:count].tolist())


def plant(model: "Classifier", channels: Sequence[int], factor: float) -> "Classifier":
    """A copy of the model with these outlier channels (models.plant). In float32 it computes the same but for
    rounding; exactly the same where the factor is a power of two."""
    import copy

    from vitquant import catalog, models

    copied = copy.deepcopy(model)
    models.plant(copied, catalog.Outliers(tuple(channels), factor))
    return copied


def levels_left(
    model: "Classifier", picture: "torch.Tensor", channels: Sequence[int], levels: int
) -> list[LevelsLeft]:
    """What the kernel's grid, with so many levels, leaves of one picture's activations to the channels that
    were not planted: for every layer behind a LayerNorm, in the order in which the picture passes them.

    model: the float32 one, planted; picture: (1, 3, S, S) float32.
    """
    import torch

    found: dict[str, LevelsLeft] = {}

    def look(name: str, inputs: "torch.Tensor") -> None:
        by_channel = inputs.flatten(0, -2)
        # The head reads the same LayerNorm's channels in each of its segments.
        ordinary = torch.ones(by_channel.shape[-1], dtype=torch.bool)
        ordinary.unflatten(0, (-1, model.head_norm.weight.shape[0]))[:, list(channels)] = False
        found[name] = _left(name, by_channel, by_channel[:, ordinary], levels)

    hooks = [
        layer.register_forward_pre_hook(lambda module, given, name=name: look(name, given[0]))
        for name, layer in _behind_norms(model).items()
    ]
    try:
        with torch.inference_mode():
            model(picture)
    finally:
        for hook in hooks:
            hook.remove()
    return list(found.values())


def _left(name: str, everything: "torch.Tensor", ordinary: "torch.Tensor", levels: int) -> LevelsLeft:
    from vitquant import grid

    low, high = float(everything.min()), float(everything.max())
    ordinary_low, ordinary_high = float(ordinary.min()), float(ordinary.max())
    step = float(grid.step(low, high, levels))
    left = int(grid.levels_within(ordinary_low, ordinary_high, step))
    return LevelsLeft(name, low, high, ordinary_low, ordinary_high, step, levels, left)


def _norms(model: Any) -> "list[nn.LayerNorm]":
    return [norm for block in model.blocks for norm in (block.norm1, block.norm2)] + [model.head_norm]


def _behind_norms(model: Any) -> "dict[str, nn.Module]":
    from vitquant import layers

    found = {}
    for number, block in enumerate(model.blocks):
        found[f"blocks.{number}.attn.qkv"] = block.attn.qkv
        found[f"blocks.{number}.mlp.fc1"] = block.mlp.fc1
    return {**found, layers.HEAD: model.linear_head}
