"""How a Linear becomes int8 or float16: the one place that makes torch.ao's packed layers.

(vitquant/takeaway/load_state_dict.py makes them again from a file.)
"""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from vitquant import full_range, smoothing
from vitquant.cure import Cure
from vitquant.errors import InputError
from vitquant.vit import Classifier

try:
    from torch.ao.nn.quantized import dynamic
    from torch.ao.quantization import (
        default_dynamic_qconfig,
        float16_dynamic_qconfig,
        per_channel_dynamic_qconfig,
        quantize_dynamic,
    )

    from vitquant.full_range import FullRangeLinear
except ImportError as error:
    raise InputError(
        "The installed torch no longer has torch.ao.quantization, which makes this variant: "
        "install the version that requirements.txt names (pip install -r requirements.txt)."
    ) from error


@contextmanager
def _without_deprecation_warnings() -> Iterator[None]:
    """Keeps torch.ao's announcements of its own removal from the user, who can do nothing about them.

    requirements.txt bounds torch for that reason; every other warning passes.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"torch\.ao\.quantization is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", r"torch\.quantize_per_tensor, .* are deprecated", UserWarning)
        warnings.filterwarnings("ignore", r"torch\.quantize_per_channel, .* are deprecated", UserWarning)
        yield


def notebook(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The notebook's recipe: a copy of the model, every nn.Linear replaced by a dynamically quantized one."""
    with _without_deprecation_warnings():
        return quantize_dynamic(model, {nn.Linear}, dtype=dtype)


def floats_of(model: Classifier, cure: Cure) -> Classifier:
    """The float32 model whose Linear layers the int8 variant is made from: the same function up to rounding,
    folded as the cure says. A copy; shares every tensor that stays as it is where nothing is folded."""
    if not (cure.smooth or cure.fold_layer_scale):
        shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
        return copy.deepcopy(model, shared)
    folded = copy.deepcopy(model)
    with torch.no_grad():
        smoothing.fold(folded, cure.smooth)
        if cure.fold_layer_scale:
            smoothing.fold_layer_scales(folded)
    return folded


def int8(model: Classifier, cure: Cure, *, has_float16: bool) -> Classifier:
    """A copy of the model with its Linear layers in int8, as the cure says.

    has_float16: whether the engine can pack float16 weights, for the layers that are left. Raises InputError
    where the cure names a layer that the model has not.
    """
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if unknown := (set(cure.in_float) | set(cure.smooth) | set(cure.bias)) - set(linears):
        raise InputError(
            f"The model has no layer {', '.join(sorted(unknown))}: this calibration is not its own."
        )
    built = floats_of(model, cure)
    in_8_bits = cure.full_range and not saturates()
    for name in linears:
        linear = built.get_submodule(name)
        if name in cure.in_float:
            if has_float16:
                put(built, name, packed(linear, torch.float16))
            continue
        layer = packed(linear, torch.qint8, per_channel=cure.per_channel, in_8_bits=in_8_bits)
        if name in cure.bias:
            correction = torch.from_numpy(cure.bias[name])
            bias = correction if linear.bias is None else linear.bias + correction  # type: ignore[operator]
            layer.set_weight_bias(layer.weight(), bias)  # type: ignore[operator]
        put(built, name, layer)
    return built


def packed(
    linear: nn.Module, dtype: torch.dtype, *, per_channel: bool = False, in_8_bits: bool = False
) -> nn.Module:
    """The dynamically quantized layer of one nn.Linear, which stays as it is."""
    kind = FullRangeLinear if in_8_bits else dynamic.Linear
    shell: Any = copy.copy(linear)  # its qconfig is not to be left on the model's own
    if dtype == torch.float16:
        shell.qconfig = float16_dynamic_qconfig
    else:
        shell.qconfig = per_channel_dynamic_qconfig if per_channel else default_dynamic_qconfig
    with _without_deprecation_warnings():
        return kind.from_float(shell).eval()


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    """Replace the module of that name."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)


def saturates() -> bool:
    """Whether activations must keep to 7 bits here: full_range.saturates, of the engine in use."""
    return full_range.saturates(torch.backends.quantized.engine)
