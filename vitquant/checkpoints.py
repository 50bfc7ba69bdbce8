"""Reading checkpoints in Torch Hub's layout without trusting them: tensors only, and only those of the model.

Every complaint is an InputError that names the file and the tensor. No code in a file is run.
"""

import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vitquant import catalog
from vitquant.catalog import ModelSpec
from vitquant.errors import InputError

HEAD = "linear_head."
"""What the head's tensors begin with in the model; in their own file they are "weight" and "bias"."""

Shape = tuple[int, ...]


def read(spec: ModelSpec, files: Sequence[Path], shapes: Mapping[str, Shape]) -> dict[str, torch.Tensor]:
    """The tensors of a model by their names in shapes: float32, finite, in memory of their own.

    files: the backbone's checkpoint, then the head's. Raises InputError where a file is not there, is no
    checkpoint, holds code, or its tensors are not exactly those expected.
    """
    tensors: dict[str, torch.Tensor] = {}
    for file, is_head in zip(files, (False, True), strict=True):
        prefix = HEAD if is_head else ""
        wanted = {n.removeprefix(prefix): shapes[n] for n in shapes if n.startswith(HEAD) == is_head}
        opened = _open(file)
        _check(file, opened, wanted, spec)
        # One tensor after the other leaves the mapped file for memory, so no file is held twice.
        tensors |= {prefix + name: _finite_copy(file, name, opened.pop(name)) for name in wanted}
    return tensors


def _open(file: Path) -> dict[str, Any]:
    """What the file holds by name, mapped into memory rather than read where its format allows it."""
    try:
        with file.open("rb") as there:
            begins = there.read(512).lstrip().lower()
            size_bytes = there.seek(0, 2)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}. Check that it is there.") from error
    try:
        # Checkpoints of torch before 1.6 are no zip archives and cannot be mapped.
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:  # a damaged file makes torch raise nearly anything
        code = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        if code:
            raise InputError(
                f"{file} is refused: besides tensors it refers to {code[1]}, which could run code. No code in "
                "it was run. Take the checkpoint from its original source."
            ) from error
        is_page = begins.startswith((b"<!doctype", b"<html"))
        wrong = "it is a web page" if is_page else "it is cut short, damaged or no checkpoint at all"
        raise InputError(
            f"{file} ({size_bytes:,} bytes) cannot be read as a checkpoint: {wrong}. Delete it and download it "
            "again."
        ) from error
    if not isinstance(loaded, dict):
        raise InputError(
            f"{file} holds a {type(loaded).__name__}, not tensors by name. Take the checkpoint from its "
            "original source."
        )
    return dict(loaded)


def _check(file: Path, tensors: Mapping[str, Any], shapes: Mapping[str, Shape], spec: ModelSpec) -> None:
    """InputError unless the file holds exactly tensors of these names and shapes, of the model's type."""
    wrong = _first_difference(tensors, shapes, spec.stored_as)
    if wrong:
        other = _looks_like(tensors, but_not=spec if _part(tensors) == _part(shapes) else None)
        hint = f"It looks like {other}." if other else "Take the checkpoint from its original source."
        raise InputError(f"{file} is not {_part(shapes)} checkpoint of {spec.name}: {wrong}. {hint}")


def _first_difference(tensors: Mapping[str, Any], shapes: Mapping[str, Shape], dtype: str) -> str | None:
    missing = [name for name in shapes if name not in tensors]
    if missing:
        return f"the tensor {missing[0]!r} is missing{_and_more(missing)}"
    extra = [name for name in tensors if name not in shapes]
    if extra:
        return f"the tensor {extra[0]!r} is not one of the model's{_and_more(extra)}"
    for name, shape in shapes.items():
        tensor = tensors[name]
        if not isinstance(tensor, torch.Tensor):
            return f"{name!r} is no tensor but a {type(tensor).__name__}"
        if tuple(tensor.shape) != shape:
            return f"the tensor {name!r} has the shape {tuple(tensor.shape)}, not {shape}"
        if (found := str(tensor.dtype).removeprefix("torch.")) != dtype:
            return f"the tensor {name!r} is {found}, not {dtype}"
        if tensor.layout != torch.strided or tensor.device.type != "cpu":
            return f"the tensor {name!r} is sparse or without values, not dense"
    return None


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _part(names: Mapping[str, Any]) -> str:
    """Which of a model's two checkpoints has these names."""
    return "the head's" if set(names) == {"weight", "bias"} else "the backbone's"


def _looks_like(tensors: Mapping[str, Any], but_not: ModelSpec | None) -> str | None:
    """Whose checkpoint has this width, depth and registers, for people; None where nobody's has."""
    shapes = {str(name): tuple(t.shape) for name, t in tensors.items() if isinstance(t, torch.Tensor)}
    if _part(tensors) == "the head's":
        like = [spec for spec in catalog.MODELS.values() if shapes.get("weight") == (1000, 5 * spec.width)]
    else:
        width = shapes.get("cls_token", (0,))[-1:]
        depth = len({name.split(".")[1] for name in shapes if name.startswith("blocks.")})
        registers = shapes["register_tokens"][1:2] if "register_tokens" in shapes else (0,)
        found = (*width, depth, *registers)
        like = [spec for spec in catalog.MODELS.values() if (spec.width, spec.depth, spec.registers) == found]
    if not like or but_not in like:
        return None
    return f"{_part(tensors)} checkpoint of {' or '.join(spec.name for spec in like)}"


def _finite_copy(file: Path, name: str, tensor: torch.Tensor) -> torch.Tensor:
    """The values as float32 in memory of their own, so that a file changed later changes no model."""
    values = tensor.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    low, high = torch.aminmax(values)  # both are NaN where any value is
    if not (torch.isfinite(low) and torch.isfinite(high)):
        raise InputError(
            f"{file} is damaged: the tensor {name!r} holds NaN or infinity. Delete the file and download it "
            "again."
        )
    return values
