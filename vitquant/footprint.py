"""What a variant takes on disk and in memory, byte by byte.

Counted on the model itself rather than on a process: what a process takes besides is vitquant/resident.py's.
"""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import IO, Any, cast

import torch
from torch import nn

from vitquant import ledger
from vitquant.ledger import Entry

# Beside its weight, a packed layer keeps one pair of these (per-tensor), or one pair for each output row
# (per-channel), as fbgemm's packed struct holds them (ATen/native/quantized/cpu/fbgemm_utils.h). torch shows
# them as float64 and int64 when it unpacks the weight, which is how they lie in a file but not in memory.
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
    entries: tuple[Entry, ...] = field(repr=False)  # what they add up from

    def row(self) -> dict[str, Any]:
        """The five figures and the ledger, ready for JSON."""
        figures = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "entries"}
        return figures | {"ledger": ledger.plain(self.entries)}


@dataclass(frozen=True)
class SavedFile:
    """What torch.save writes, by what it is for; the directory of the zip archive that it is says so."""

    tensors_bytes: int  # the data of all tensors
    structure_bytes: int  # the pickle that names them
    all_bytes: int

    @property
    def headers_bytes(self) -> int:
        """Zip headers, padding that aligns the data, and torch's small records (version, byte order)."""
        return self.all_bytes - self.tensors_bytes - self.structure_bytes


def measure(model: nn.Module) -> Footprint:
    """The footprint of a model of any kind.

    Takes as long as saving it, and writes nothing. disk_bytes and the file's own entries are read off what
    torch.save really writes; the other entries are counted tensor by tensor.
    """
    saved = saved_file(model)
    entries = (
        *_entries(model),
        Entry("", ledger.STRUCTURE, ledger.FILE, "", 0, "", saved.structure_bytes),
        Entry("", ledger.HEADERS, ledger.FILE, "", 0, "", saved.headers_bytes),
    )
    counted = ledger.by(entries, "counted")
    kinds = (ledger.PARAMETERS, ledger.PACKED, ledger.BUFFERS)
    of = {kind: counted[kind].memory_bytes if kind in counted else 0 for kind in kinds}
    return Footprint(
        disk_bytes=saved.all_bytes,
        parameters_bytes=of[ledger.PARAMETERS],
        packed_bytes=of[ledger.PACKED],
        buffers_bytes=of[ledger.BUFFERS],
        total_bytes=sum(of.values()),
        entries=entries,
    )


def saved_file(model: nn.Module) -> SavedFile:
    """What torch.save(model.state_dict()) writes into an open file.

    torch.save into a path differs by some tens of bytes: it repeats the file's name in each record.
    Nothing is kept of the tensors written, so a float32 model needs no second copy of itself; a quantized one
    unpacks its weights (float16 to float32) because that is what its state dict holds.
    """
    sink = _CountingSink()
    torch.save(model.state_dict(), cast(IO[bytes], sink))  # write and flush are all that it calls
    with zipfile.ZipFile(cast(IO[bytes], _Tail(sink.tail, sink.bytes_written))) as archive:
        records = {record.filename.partition("/")[2]: record.file_size for record in archive.infolist()}
    return SavedFile(
        tensors_bytes=sum(size for name, size in records.items() if name.startswith("data/")),
        structure_bytes=records["data.pkl"],
        all_bytes=sink.bytes_written,
    )


class _CountingSink:
    """A file to torch.save that counts bytes, and keeps the last ones, where a zip archive has its
    directory."""

    KEPT = 512 * 1024  # a directory entry takes some 150 bytes; the largest model has some 1,000 tensors

    def __init__(self) -> None:
        self.bytes_written = 0
        self.tail = b""

    def write(self, data: bytes | memoryview) -> int:
        view = memoryview(data).cast("B")
        self.bytes_written += view.nbytes
        self.tail = (self.tail + bytes(view[-self.KEPT :]))[-self.KEPT :]
        return view.nbytes

    def flush(self) -> None:
        """torch.save flushes at the end; nothing is waiting here."""


class _Tail(io.RawIOBase):
    """The end of a file as a file to zipfile, which reads an archive's directory from there."""

    def __init__(self, tail: bytes, size: int) -> None:
        self._tail, self._size, self._at = io.BytesIO(tail), size, 0
        self._start = size - len(tail)

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        self._tail.seek(self._at - self._start)
        found = self._tail.read(size)
        self._at += len(found)
        return found


def _entries(model: nn.Module) -> Iterator[Entry]:
    """Every tensor that the model holds, in the model's order; those of packed layers unpacked one by one."""
    saved = model.state_dict().keys()
    for layer, module in model.named_modules():
        holder = layer.removesuffix("._packed_params")
        if _holds_packed(module):
            yield from _packed_entries(holder, module)
        for counted, tensors in ((ledger.PARAMETERS, module._parameters), (ledger.BUFFERS, module._buffers)):
            for name, tensor in tensors.items():
                if tensor is not None:
                    yield _entry(layer, name, counted, tensor, is_saved=f"{layer}.{name}".lstrip(".") in saved)


def _entry(layer: str, name: str, counted: str, tensor: torch.Tensor, *, is_saved: bool = True) -> Entry:
    size = tensor.numel() * tensor.element_size()
    dtype = _name(tensor.dtype)
    return Entry(layer, name, counted, dtype, size, dtype if is_saved else "", size if is_saved else 0)


def _holds_packed(module: nn.Module) -> bool:
    """Whether a module holds packed parameters itself, of whatever layer type.

    torch.ao's Linear has a submodule that holds them and answers _weight_bias for it; a convolution holds
    its own. Only the holder counts, else a Linear would count twice.
    """
    packed = getattr(module, "_packed_params", None)
    return packed is not None and not isinstance(packed, nn.Module) and hasattr(module, "_weight_bias")


def _packed_entries(layer: str, module: Any) -> Iterator[Entry]:
    """One packed layer's weight, scales and zero points, and bias, in memory and as torch.save unpacks them.

    | part                | int8 in memory   | in its file        | float16 in memory | in its file |
    |---------------------|------------------|--------------------|-------------------|-------------|
    | weight, each number | 1                | 1                  | 2                 | 4 (float32) |
    | scale, zero point   | 4 + 4 each       | none, or 8 + 8 each | none             | none        |
    | bias, each number   | 4 (float32)      | 4                  | 4                 | 4           |
    | output's scale etc. | none             | 4 + 8              | none              | 4 + 8       |

    There is one scale and zero point, which then lies in the pickle, or one for each row (per-channel). A
    dynamic layer has no use for its output's. Not counted: padding to the engine's block size, and the sums of
    rows that fbgemm keeps to correct for the zero point of what comes in: both are the engine's own, not the
    model's.
    """
    weight, bias = module._weight_bias()  # unpacks this one layer
    numbers = weight.numel()
    if weight.is_quantized:
        yield Entry(layer, "weight", ledger.PACKED, "int8", numbers, "int8", numbers)
        per_channel = weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric)
        scales = weight.q_per_channel_scales().numel() if per_channel else 1
        in_memory = scales * (SCALE_BYTES + ZERO_POINT_BYTES)
        in_file = scales * (8 + 8) if per_channel else 0
        yield Entry(
            layer, "scale and zero point", ledger.PACKED, ledger.SCALES, in_memory, ledger.SCALES, in_file
        )
    else:  # unpacking float16 gives float32; the module knows what it holds
        held = module.dtype
        yield Entry(
            layer,
            "weight",
            ledger.PACKED,
            _name(held),
            numbers * held.itemsize,
            _name(weight.dtype),
            4 * numbers,
        )
    if bias is not None:
        yield _entry(layer, "bias", ledger.PACKED, bias)
    yield Entry(layer, "output's scale and zero point", ledger.FILE, ledger.SCALES, 0, ledger.SCALES, 4 + 8)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
