"""Loads the state dict: needs torch, timm, numpy and Pillow.

logits = load(".")(Image.open("picture.jpg"))      # (1000,) float32
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from full_range import FullRangeLinear, saturates
from model import Divide
from model import build as build_float
from PIL import Image
from torch import nn
from torch.ao.nn.quantized import dynamic
from transform import transform


def load(folder: Path | str) -> Callable[[Image.Image], np.ndarray]:
    """What answers a picture with its 1000 logits; folder: where weights.pt and config.json lie."""
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    if config["engine"] in torch.backends.quantized.supported_engines:
        torch.backends.quantized.engine = config["engine"]
    state = torch.load(Path(folder) / "weights.pt", weights_only=True)
    # Where 8 bits would overflow this CPU's sums, activations keep to 7: a little less exact, and right.
    in_8_bits = config.get("full_range", False) and not saturates(torch.backends.quantized.engine)
    model = build(config["architecture"], state, full_range=in_8_bits)

    def logits_of(picture: Image.Image) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(model(transform(picture.convert("RGB"), config["transform"]))[0])

    return logits_of


def build(
    architecture: dict[str, Any], state: dict[str, torch.Tensor], *, full_range: bool = False
) -> nn.Module:
    """The model of a state dict; takes the tensors out of it, so that none lies in memory twice for long.

    A Linear whose weight is quantized (int8) or float16 becomes the quantized layer that computes with it. What
    a variant divides before fc2 gets its place, and a layer scale that was folded into the weights is left out.
    full_range: whether activations have 8 bits, where torch's own layer keeps to 7.
    """
    with torch.device("meta"):
        model = build_float(architecture).eval()
    scales_are_folded = not any(name.endswith(".gamma") for name in state)
    for place, block in enumerate(model.blocks):
        factor = state.get(f"blocks.{place}.mlp.norm.factor")
        if factor is not None:
            block.mlp.norm = Divide(torch.ones_like(factor))
        if scales_are_folded:
            block.ls1, block.ls2 = nn.Identity(), nn.Identity()
    packed = {}
    for name, module in model.named_modules():
        weight = state.get(f"{name}.weight")
        if weight is None or not isinstance(module, nn.Linear):
            continue
        if weight.is_quantized or weight.dtype == torch.float16:
            packed[name] = (state.pop(f"{name}.weight"), state.pop(f"{name}.bias", None))
    _, unexpected = model.load_state_dict(state, strict=False, assign=True)
    state.clear()
    while packed:
        name, (weight, bias) = packed.popitem()
        dtype = torch.qint8 if weight.is_quantized else torch.float16
        kind = FullRangeLinear if full_range and weight.is_quantized else dynamic.Linear
        layer = kind(weight.shape[1], weight.shape[0], dtype=dtype)
        layer.set_weight_bias(weight if weight.is_quantized else weight.float(), bias)
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, layer.eval())
    lacking = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    if unexpected or lacking:
        raise ValueError(f"weights.pt is not of this architecture: {[*unexpected, *lacking]}")
    return model.requires_grad_(False)
