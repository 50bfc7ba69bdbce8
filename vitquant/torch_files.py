"""Variants as files for torch: a program, or the numbers under their names. float16 takes two bytes in both.

What torch itself saves of a float16 variant is as large as float32: a packed layer unpacks its weight to
float32 when it is saved. Here the unpacked weight is rounded back to float16, which loses nothing (it came from
there), and is packed again when it is loaded.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vitquant import predict
from vitquant.full_range import FullRangeLinear

_PACKED = "._packed_params._packed_params"
_DTYPE = "._packed_params.dtype"


def save_program(model: nn.Module, file: Path, image_size: int) -> None:
    """Write the model as TorchScript, for (N, 3, image_size, image_size) float32 with any N; torch.jit.load
    reads it.

    (torch.export, which is to replace TorchScript, takes neither qint8 nor float16 layers.)
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # torch announces TorchScript's end; requirements.txt bounds torch.
        warnings.filterwarnings("ignore", r".*torch\.jit\.\w+` is deprecated", FutureWarning)
        with _halves_kept(model):
            # Two pictures: a batch of one could be taken for a constant.
            traced = predict.traced(model, image_size, batch=2)
            # Not into the file: where the disk is full, torch.jit.save(traced, file) ends the whole process.
            torch.jit.save(traced, buffer)
    with file.open("wb") as opened:
        opened.write(buffer.getbuffer())


def save_state_dict(model: nn.Module, file: Path) -> None:
    """Write compact_state(model) with torch.save; takeaway/load_state_dict.py reads it. Raises OSError where
    the file cannot be written."""
    try:
        with file.open("wb") as opened:
            torch.save(compact_state(model), opened)
    except RuntimeError as error:  # what torch's writer raises in place of the file's own error
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def compact_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer under the name that it has in the float32 model.

    The weight of a packed layer is a quantized tensor (int8) or float16, its bias float32; every other tensor
    is as the model has it.
    """
    state: dict[str, Any] = model.state_dict()
    packed = [name.removesuffix(_PACKED) for name in state if name.endswith(_PACKED)]
    found: dict[str, torch.Tensor] = {}
    for layer in packed:
        weight, bias = state[layer + _PACKED]
        found[f"{layer}.weight"] = weight if weight.is_quantized else weight.to(state[layer + _DTYPE])
        if bias is not None:
            found[f"{layer}.bias"] = bias.detach()
    of_packed = {layer + end for layer in packed for end in (_PACKED, _DTYPE, ".scale", ".zero_point")}
    return found | {name: value.detach() for name, value in state.items() if name not in of_packed}


def has_full_range(model: nn.Module) -> bool:
    """Whether its int8 layers give activations 8 bits, which their numbers alone do not tell."""
    return any(isinstance(module, FullRangeLinear) for module in model.modules())


class _HalfLinear(nn.Module):
    """A float16 Linear whose saved form is float16; for torch.jit.script alone, which keeps the two methods
    that pickling calls."""

    packed: torch.classes.quantized.LinearPackedParamsBase  # type: ignore[name-defined]

    def __init__(self, packed: Any) -> None:
        super().__init__()
        self.packed = packed

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.ops.quantized.linear_dynamic_fp16(inputs, self.packed)

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, torch.Tensor | None, bool]:
        weight, bias = torch.ops.quantized.linear_unpack_fp16(self.packed)
        return weight.half(), bias, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, torch.Tensor | None, bool]) -> None:
        self.packed = torch.ops.quantized.linear_prepack_fp16(state[0].float(), state[1])
        self.training = state[2]


@contextmanager
def _halves_kept(model: nn.Module) -> Iterator[None]:
    """While this holds, the model's float16 layers are such that a program keeps them in two bytes a weight."""
    halves = {
        name: module
        for name, module in model.named_modules()
        if isinstance(getattr(module, "_packed_params", None), nn.Module)
        and module._packed_params.dtype == torch.float16
    }
    try:
        for name, module in halves.items():
            packed: Any = module._packed_params
            _put(model, name, torch.jit.script(_HalfLinear(packed._packed_params)))
        yield
    finally:
        for name, module in halves.items():
            _put(model, name, module)


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)
