"""What a variant takes on disk and in memory, byte by byte.

Measured on the model itself rather than on the process: building a variant leaves freed float32 copies
behind, so resident memory says little about it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, cast

import torch
from torch import nn

# Beside its weight, a packed layer keeps one pair of these (per-tensor), or one pair for each output row
# (per-channel), as fbgemm's packed struct holds them (ATen/native/quantized/cpu/fbgemm_utils.h). torch shows
# them as float64 and int64 when it unpacks the weight, which is not how they lie in memory.
SCALE_BYTES = 4  # float32
ZERO_POINT_BYTES = 4  # int32


@dataclass(frozen=True)
class Footprint:
    """Bytes of one variant: its file, and the three kinds of numbers it holds in memory."""

    disk_bytes: int  # what torch.save of the state dict writes
    parameters_bytes: int  # what parameters() sees: the notebook's way of counting
    packed_bytes: int  # what parameters() does not see: weights, scales, zero points, biases of packed layers
    buffers_bytes: int  # registered buffers, saved or not
    total_bytes: int  # the three kinds in memory together


def measure(model: nn.Module) -> Footprint:
    """The footprint of a model of any kind; takes as long as saving it, and writes nothing."""
    parameters_bytes = _tensors_bytes(model.parameters())
    packed_bytes = sum(_packed_layer_bytes(module) for module in _packed_modules(model))
    buffers_bytes = _tensors_bytes(model.buffers())
    return Footprint(
        disk_bytes=saved_bytes(model),
        parameters_bytes=parameters_bytes,
        packed_bytes=packed_bytes,
        buffers_bytes=buffers_bytes,
        total_bytes=parameters_bytes + packed_bytes + buffers_bytes,
    )


def saved_bytes(model: nn.Module) -> int:
    """Bytes that torch.save(model.state_dict()) writes into an open file.

    torch.save into a path differs by some tens of bytes: it repeats the file's name in each record.
    Nothing is kept of what is written, so a float32 model needs no second copy of itself; a quantized one
    unpacks its weights (float16 to float32) because that is what its state dict holds.
    """
    sink = _CountingSink()
    torch.save(model.state_dict(), cast(IO[bytes], sink))  # write and flush are all that it calls
    return sink.bytes_written


class _CountingSink:
    """A file to torch.save that counts bytes instead of keeping them."""

    def __init__(self) -> None:
        self.bytes_written = 0

    def write(self, data: bytes | memoryview) -> int:
        written = memoryview(data).nbytes
        self.bytes_written += written
        return written

    def flush(self) -> None:
        """torch.save flushes at the end; nothing is waiting here."""


def _tensors_bytes(tensors: Iterator[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _packed_modules(model: nn.Module) -> Iterator[nn.Module]:
    """The modules that hold packed parameters themselves, of whatever layer type.

    torch.ao's Linear has a submodule that holds them and answers _weight_bias for it; a convolution holds
    its own. Only the holder counts, else a Linear would count twice.
    """
    for module in model.modules():
        packed = getattr(module, "_packed_params", None)
        if packed is not None and not isinstance(packed, nn.Module) and hasattr(module, "_weight_bias"):
            yield module


def _packed_layer_bytes(module: nn.Module) -> int:
    """Bytes of one layer's packed weight, its scales and zero points, and its bias.

    | part                 | int8                          | float16             |
    |----------------------|-------------------------------|---------------------|
    | weight, each number  | 1                             | 2                   |
    | scale, zero point    | 4 + 4, once or for each row   | none                |
    | bias, each number    | 4 (float32)                   | 4 (float32)         |

    Not counted: padding to the engine's block size, and the sums of rows that fbgemm keeps to correct for
    the zero point of what comes in: both are the engine's own, not the model's.
    """
    weight, bias = module._weight_bias()  # type: ignore[operator]  # unpacks this one layer
    if weight.is_quantized:
        per_channel = weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric)
        scales = weight.q_per_channel_scales().numel() if per_channel else 1
        packed = weight.numel() * weight.element_size() + scales * (SCALE_BYTES + ZERO_POINT_BYTES)
    else:  # unpacking float16 gives float32; the module knows what it holds
        packed = weight.numel() * module.dtype.itemsize
    return int(packed) + (bias.numel() * bias.element_size() if bias is not None else 0)
