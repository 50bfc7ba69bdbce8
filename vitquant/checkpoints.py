"""Reading Torch Hub's checkpoint files without trusting them: tensors only, and only those of the model.

Every complaint is an InputError that names the file and the tensor. No code in a file is run.
"""

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from vitquant import catalog
from vitquant.catalog import ModelSpec
from vitquant.errors import InputError

HEAD = "linear_head."
"""What a tensor's name begins with in the model where its file is the head's ("weight" and "bias" there)."""

Shape = tuple[int, ...]


def read(
    spec: ModelSpec, files: tuple[Path, ...], shapes: Mapping[str, Shape]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Each tensor of a model by its name in shapes, copied to memory one after the other: float32, finite.

    files: the backbone's checkpoint, then the head's. Raises InputError where a file is not there, is no
    checkpoint, holds code, or its tensors are not exactly those expected.
    """
    backbone, head = files
    opened = {backbone: _open(backbone), head: _open(head)}
    of_head = {name.removeprefix(HEAD): shape for name, shape in shapes.items() if name.startswith(HEAD)}
    of_backbone = {name: shape for name, shape in shapes.items() if not name.startswith(HEAD)}
    _check(backbone, opened[backbone], of_backbone, spec)
    _check(head, opened[head], of_head, spec)
    for name in of_backbone:
        yield name, _finite_copy(backbone, name, opened[backbone].pop(name))
    for name in of_head:
        yield HEAD + name, _finite_copy(head, name, opened[head].pop(name))


def _open(file: Path) -> dict[str, Any]:
    """What the file holds by name, mapped into memory rather than read where its format allows it."""
    try:
        # Files of torch before 1.6 are no zip archives and cannot be mapped.
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except OSError as error:
        raise InputError(
            f"{file} cannot be read: {error.strerror or error}. Check that it is there."
        ) from error
    except Exception as error:  # a damaged file can make torch raise nearly anything
        if isinstance(error, pickle.UnpicklingError) and "Unsupported" in str(error):
            raise InputError(
                f"{file} holds something other than tensors, which could run code when read, so it was left "
                "unread. Take the checkpoint from its original source."
            ) from error
        raise InputError(
            f"{file} ({file.stat().st_size:,} bytes) is not a checkpoint that torch can read: it is damaged, cut "
            "short or something else altogether. Delete it and download it again."
        ) from error
    if not isinstance(loaded, dict) or not all(isinstance(name, str) for name in loaded):
        raise InputError(
            f"{file} holds a {type(loaded).__name__}, not tensors by name. Take the checkpoint from its "
            "original source."
        )
    return dict(loaded)


def _check(file: Path, tensors: Mapping[str, Any], shapes: Mapping[str, Shape], spec: ModelSpec) -> None:
    """InputError unless the file holds exactly float32 tensors of these names and shapes."""
    wrong = _first_difference(tensors, shapes)
    if wrong:
        other = _looks_like(tensors)
        hint = f"It looks like {other}." if other else "Take the checkpoint from its original source."
        raise InputError(f"{file} is not the checkpoint of {spec.name}: {wrong}. {hint}")


def _first_difference(tensors: Mapping[str, Any], shapes: Mapping[str, Shape]) -> str | None:
    missing = [name for name in shapes if name not in tensors]
    if missing:
        return f"the tensor {missing[0]} is missing{_and_more(missing)}"
    extra = [name for name in tensors if name not in shapes]
    if extra:
        return f"the tensor {extra[0]} does not belong to the model{_and_more(extra)}"
    for name, shape in shapes.items():
        tensor = tensors[name]
        if not isinstance(tensor, torch.Tensor):
            return f"{name} is a {type(tensor).__name__}, not a tensor"
        if tuple(tensor.shape) != shape:
            return f"the tensor {name} has the shape {tuple(tensor.shape)}, not {shape}"
        if tensor.dtype != torch.float32 or tensor.layout != torch.strided:
            return f"the tensor {name} is {_kind(tensor)}, not dense float32"
    return None


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _kind(tensor: torch.Tensor) -> str:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return dtype if tensor.layout == torch.strided else f"sparse {dtype}"


def _looks_like(tensors: Mapping[str, Any]) -> str | None:
    """Which checkpoint of the catalog has this width, depth and registers, for people; None if none has."""
    shapes = {name: tuple(t.shape) for name, t in tensors.items() if isinstance(t, torch.Tensor)}
    if set(shapes) == {"weight", "bias"}:
        part = "the head"
        like = [s for s in catalog.MODELS.values() if shapes["weight"] == (1000, s.head_parameters // 1000 - 1)]
    else:
        part = "the backbone"
        width = shapes.get("cls_token", (0,))[-1]
        depth = len({name.split(".")[1] for name in shapes if name.startswith("blocks.")})
        registers = shapes.get("register_tokens", (1, 0, width))[1]
        found = (width, depth, registers)
        like = [s for s in catalog.MODELS.values() if (s.width, s.depth, s.registers) == found]
    return f"{part} of {' or '.join(spec.name for spec in like)}" if like else None


def _finite_copy(file: Path, name: str, tensor: torch.Tensor) -> torch.Tensor:
    """The values in memory of their own, so that a file changed later changes no model."""
    values = tensor.detach().clone(memory_format=torch.contiguous_format)
    low, high = torch.aminmax(values)  # both are NaN where any value is
    if not (torch.isfinite(low) and torch.isfinite(high)):
        raise InputError(
            f"{file} is damaged: the tensor {name} holds values that are no finite numbers. Delete the file and "
            "download it again."
        )
    return values
