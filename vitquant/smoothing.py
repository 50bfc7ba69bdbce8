"""SmoothQuant (Xiao et al., arXiv 2211.10438): difficulty moves from a layer's activations into its weights.

Each channel of a layer's input is divided by a scale, and the layer's column that reads it is multiplied by the
same: in float32 nothing changes. The division costs nothing where whatever produces the channel can do it:

- the LayerNorm before qkv and fc1, and the last one, which the head's five segments share;
- for proj, the rows of qkv that make the values: attention only weighs them;
- for fc2 of a gated MLP, the rows of fc1 that are not gated; behind a GELU nothing can take it, so there the
  input itself is divided (vit.Divide), one multiplication a number.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from vitquant import layers
from vitquant.vit import Classifier, Divide

LEAST = 1e-5
"""No channel and no column counts as smaller, as in the paper's own code: no scale is zero or infinite."""

FREE = ("qkv", "fc1", "head")
"""The kinds of layer behind a LayerNorm."""


def scales_of(model: Classifier, name: str, activations: np.ndarray, alpha: float) -> np.ndarray:
    """scales() for a layer of a model. activations: (in_features,) the largest |x| of each channel."""
    linear: Any = model.get_submodule(name)
    segments = linear.in_features // model.head_norm.weight.shape[0] if name == layers.HEAD else 1
    return scales(activations, linear.weight, alpha, segments)


def scales(activations: np.ndarray, weight: torch.Tensor, alpha: float, segments: int = 1) -> np.ndarray:
    """By what to divide each channel of a layer's input: max|x|^alpha / max|w|^(1 - alpha), (in_features,)
    float32; the paper's formula (4). alpha 0: all into the activations, 1: all into the weights.

    activations: (in_features,) the largest |x| of each channel; weight: (out_features, in_features) float32;
    segments: how many times in a row the input has the same producer's channels, as a head behind one norm
    reads them: they share their scales, and the largest counts. A channel that is always zero, or that no
    weight reads, is left as it is.
    """
    columns = weight.abs().amax(dim=0).numpy()
    x, w = (of.reshape(segments, -1).max(axis=0) for of in (activations, columns))
    found = np.maximum(x, LEAST) ** alpha / np.maximum(w, LEAST) ** (1 - alpha)
    # Only ratios between channels matter for the grid; around 1 the numbers stay as float32 likes them.
    found /= np.exp(np.log(found).mean())
    found[(x <= 0) | (w <= 0)] = 1.0
    return np.tile(found, segments).astype(np.float32)


def can_fold(model: Classifier, name: str) -> bool:
    """Whether what produces a layer's input can take its scales, so that they cost nothing."""
    return not name.endswith(".fc2") or is_gated(model, name)


def is_gated(model: Classifier, name: str) -> bool:
    """Whether the MLP around this fc1 or fc2 is gated: then fc1 gives twice what fc2 takes."""
    mlp: Any = model.get_submodule(name.rpartition(".")[0])
    return bool(mlp.fc1.out_features == 2 * mlp.fc2.in_features)


def fold(model: Classifier, smooth: Mapping[str, np.ndarray]) -> None:
    """Divide the inputs of these layers and multiply their columns, in place. The float32 function stays up to
    rounding."""
    for name, by_channel in smooth.items():
        divisor = torch.from_numpy(np.ascontiguousarray(by_channel))
        linear: Any = model.get_submodule(name)
        _divide_input(model, name, divisor)
        linear.weight.mul_(divisor)


def _divide_input(model: Classifier, name: str, divisor: torch.Tensor) -> None:
    """Have whatever produces a layer's input divide it."""
    if name == layers.HEAD:
        _divide(model.head_norm, divisor[: model.head_norm.weight.shape[0]])
        return
    block: Any = model.blocks[int(name.split(".")[1])]
    kind = name.rpartition(".")[2]
    if kind == "qkv":
        _divide(block.norm1, divisor)
    elif kind == "fc1":
        _divide(block.norm2, divisor)
    elif kind == "proj":
        _divide(block.attn.qkv, divisor)  # values come last: queries, keys, values
    elif is_gated(model, name):
        _divide(block.mlp.fc1, divisor)  # the gate is the first half
    else:
        block.mlp.norm = Divide(divisor)


def _divide(producer: Any, divisor: torch.Tensor) -> None:
    """Divide the last outputs of a LayerNorm (all of them) or a Linear."""
    rows = slice(producer.weight.shape[0] - len(divisor), None)
    if isinstance(producer, nn.Linear):
        producer.weight[rows] /= divisor[:, None]
    else:
        producer.weight[rows] /= divisor
    if getattr(producer, "bias", None) is not None:  # an RMSNorm has none
        producer.bias[rows] /= divisor


def has_layer_scales(model: Classifier) -> bool:
    """Whether the blocks scale what they add, channel by channel."""
    return hasattr(model.blocks[0].ls1, "gamma")


def fold_layer_scales(model: Classifier) -> None:
    """Multiply every layer scale into the Linear before it, in place; nothing is left to do in its place."""
    for block in model.blocks:
        for linear, place in ((block.attn.proj, "ls1"), (block.mlp.fc2, "ls2")):
            gamma = getattr(block, place).gamma
            linear.weight.mul_(gamma[:, None])
            if linear.bias is not None:
                linear.bias.mul_(gamma)
            setattr(block, place, nn.Identity())
