"""Reading checkpoints without trusting them: tensors only, and only those of the model. In Torch Hub's layout,
or somebody's own files: safetensors or what torch.save writes, whole or in two parts.

Every complaint is an InputError that names the file and the tensor. No code in a file is run.
"""

import re
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from vitquant import catalog
from vitquant.catalog import ModelSpec
from vitquant.errors import InputError

HEAD = "linear_head."
"""What the head's tensors begin with in the model; in their own file they are "weight" and "bias"."""

OWN_TYPES = ("float32", "float16", "bfloat16")
"""The types of numbers that somebody's own files may have; all become float32."""

DEEPEST = 4
"""So many tables may lie around the one with the tensors."""

Shape = tuple[int, ...]

Found = TypeVar("Found")


@dataclass(frozen=True)
class Stored:
    """A tensor of somebody's own files: where it is, what it is called there, and itself."""

    file: Path
    name: str
    tensor: Any


Held = dict[str, Stored]
"""The tensors of some files by the names that a model's checkpoint gives them."""


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


def gather(files: Sequence[Path]) -> Held:
    """What somebody's own files hold together, mapped into memory rather than read.

    A file with nothing but "weight" and "bias" is a head's, and "head.", as timm calls it, is a head, too. What
    training adds around names is taken off: tables within tables ("model", "state_dict", "state_dict_ema"),
    "module." and, as Torch Hub's whole model has it, "backbone.". Raises InputError where a file cannot be read
    or used, or two hold the same tensor.
    """
    held: Held = {}
    for file in files:
        for name, (own, tensor) in _named(_open(file)).items():
            if name in held:
                raise InputError(
                    f"{held[name].file} and {file} both hold {name!r}: name a backbone and a head, or one file "
                    "that holds the whole model."
                )
            held[name] = Stored(file, own, tensor)
    return held


def without_head(of: Mapping[str, Found]) -> dict[str, Found]:
    """The same by name, without the head's."""
    return {name: one for name, one in of.items() if not name.startswith(HEAD)}


def check(held: Held, shapes: Mapping[str, Shape], what: str) -> None:
    """Raise InputError unless these are exactly the tensors of the model, all of them finite.

    shapes: the model's, by its checkpoint's names; what: the model, for people. No tensor is kept.
    """
    _check_names(held, shapes, what)
    for stored in held.values():
        _check_finite(stored.file, stored.name, stored.tensor)


def read_own(files: Sequence[Path], shapes: Mapping[str, Shape], what: str) -> dict[str, torch.Tensor]:
    """The tensors of a model from somebody's own files, by their names in shapes: float32, finite, in memory of
    their own. Where shapes have no head, one in the files is passed over. Raises InputError as gather and check
    do."""
    held = gather(files)
    if not any(name.startswith(HEAD) for name in shapes):
        held = without_head(held)
    _check_names(held, shapes, what)
    found = {}
    for name in shapes:
        stored = held.pop(name)
        found[name] = _finite_copy(stored.file, stored.name, stored.tensor)
    return found


def _check_names(held: Held, shapes: Mapping[str, Shape], what: str) -> None:
    tensors = {name: stored.tensor for name, stored in held.items()}
    if wrong := _first_difference(tensors, shapes, OWN_TYPES):
        files = " and ".join(dict.fromkeys(str(stored.file) for stored in held.values()))
        raise InputError(
            f"{files} cannot be {what}: {wrong}. Name the files of one whole model, as they were saved."
        )


def _named(loaded: dict[str, Any], depth: int = 0) -> dict[str, tuple[str, Any]]:
    """A file's tensors by the names that a checkpoint has: their names in the file, and themselves."""
    for around in ("state_dict_ema", "model_ema", "state_dict", "model"):
        if isinstance(loaded.get(around), dict) and depth < DEEPEST:
            return _named(loaded[around], depth + 1)
    names = [str(name) for name in loaded]
    if names and all(name.startswith("module.") for name in names):
        return _named({str(name).removeprefix("module."): tensor for name, tensor in loaded.items()})
    if set(names) == {"weight", "bias"}:
        return {HEAD + name: (name, tensor) for name, tensor in loaded.items()}
    return {_usual(str(name)): (str(name), tensor) for name, tensor in loaded.items()}


def _usual(name: str) -> str:
    name = name.removeprefix("backbone.")
    return HEAD + name.removeprefix("head.") if name.startswith("head.") else name


def _open(file: Path) -> dict[str, Any]:
    """What the file holds by name, mapped into memory rather than read where its format allows it."""
    try:
        with file.open("rb") as there:
            begins = there.read(512)
            size_bytes = there.seek(0, 2)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}. Check that it is there.") from error
    is_zip = zipfile.is_zipfile(file)
    try:
        other = _other_format(file, begins, is_zip)
    except (OSError, zipfile.BadZipFile):  # torch is to say what is wrong with it
        other = None
    if other:
        raise InputError(
            f"{file} is refused: it is {other}. Nothing in it was run. Save the numbers alone, as safetensors "
            "or with torch.save(model.state_dict(), FILE)."
        )
    try:
        if _is_safetensors(begins):
            from safetensors.torch import load_file

            return dict(load_file(file))
        # Checkpoints of torch before 1.6 are no zip archives and cannot be mapped.
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # a damaged file makes torch raise nearly anything
        code = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        if code:
            raise InputError(
                f"{file} is refused: besides tensors it refers to {code[1]}, which could run code. No code in "
                "it was run. Take the checkpoint from its original source."
            ) from error
        is_page = begins.lstrip().lower().startswith((b"<!doctype", b"<html"))
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


_OTHER_FORMATS = {
    ".onnx": "an ONNX graph, which is a program of its own",
    ".h5": "a Keras file, which can hold code",
    ".hdf5": "a Keras file, which can hold code",
    ".keras": "a Keras file, which can hold code",
    ".pb": "a TensorFlow graph, which is a program of its own",
    ".py": "Python code",
    ".joblib": "a joblib file, which runs code when it is opened",
    ".pkl": "a plain pickle, which runs code when it is opened",
    ".pickle": "a plain pickle, which runs code when it is opened",
    ".pt2": "an exported program",
}


def _other_format(file: Path, begins: bytes, is_zip: bool) -> str | None:
    """What a file is that is no table of tensors, in a few words; None where it may be one."""
    if begins.startswith(b"\x89HDF"):
        return _OTHER_FORMATS[".h5"]
    if file.suffix.lower() in _OTHER_FORMATS:
        return _OTHER_FORMATS[file.suffix.lower()]
    if is_zip:
        with zipfile.ZipFile(file) as opened:
            names = opened.namelist()
        if any("/code/" in f"/{name}" for name in names):
            return "TorchScript, a program with its numbers"
        if any(name.endswith((".py", ".pyc")) for name in names):
            return "an archive with Python code"
        if not any(name.endswith("data.pkl") for name in names):
            return "a zip archive that torch.save did not write"
    return None


def _is_safetensors(begins: bytes) -> bool:
    """Whether a file begins as safetensors do: 8 bytes with the length of the JSON that follows."""
    return begins[8:9] == b"{" and begins[6:8] == b"\x00\x00"


def _check(file: Path, tensors: Mapping[str, Any], shapes: Mapping[str, Shape], spec: ModelSpec) -> None:
    """InputError unless the file holds exactly tensors of these names and shapes, of the model's type."""
    wrong = _first_difference(tensors, shapes, (spec.stored_as,))
    if wrong:
        other = _looks_like(tensors, but_not=spec if _part(tensors) == _part(shapes) else None)
        hint = f"It looks like {other}." if other else "Take the checkpoint from its original source."
        raise InputError(f"{file} is not {_part(shapes)} checkpoint of {spec.name}: {wrong}. {hint}")


def _first_difference(
    tensors: Mapping[str, Any], shapes: Mapping[str, Shape], dtypes: Collection[str]
) -> str | None:
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
        if (found := str(tensor.dtype).removeprefix("torch.")) not in dtypes:
            return f"the tensor {name!r} is {found}, not {' or '.join(dtypes)}"
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
    _check_finite(file, name, values)
    return values


def _check_finite(file: Path, name: str, values: torch.Tensor) -> None:
    low, high = torch.aminmax(values.float())  # both are NaN where any value is
    if not (torch.isfinite(low) and torch.isfinite(high)):
        raise InputError(
            f"{file} is damaged: the tensor {name!r} holds NaN or infinity. Delete the file and download it "
            "again."
        )
