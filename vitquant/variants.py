"""The recipes that make a variant out of a float32 model: the one place that knows torch.ao.

Listing the recipes imports no torch. A new recipe is one decorated function at the end of this file.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vitquant import catalog
from vitquant.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn

    Apply = Callable[[nn.Module], nn.Module]


@dataclass(frozen=True)
class Recipe:
    """How one variant is made from the float32 model, and what must be known about its answers."""

    name: str
    title: str  # for people: "int8 (dynamic)"
    summary: str  # one sentence
    version: int  # raised when the same name begins to give other answers, so that stored ones turn stale
    batch_dependent: bool  # whether the answer for one picture depends on the pictures beside it
    uses_engine: bool  # whether torch's quantized engine runs any part of it
    weight_bytes: int  # for each number of a Linear weight, at least
    apply: "Apply" = field(repr=False)
    unavailable: Mapping[str, str] = field(default_factory=dict)  # engine -> why it cannot run this


RECIPES: dict[str, Recipe] = {}
"""Every recipe by name, float32 first: the order in which variants are listed."""


def recipe(name: str) -> Recipe:
    """The recipe of that name; InputError, with the nearest names, where there is none."""
    if name not in RECIPES:
        raise catalog.unknown("variant", name, RECIPES, "python -m vitquant variants")
    return RECIPES[name]


def why_unavailable(name: str, engine: str) -> str | None:
    """Why this variant cannot be had on this engine, as a sentence; None where it can."""
    return recipe(name).unavailable.get(engine)


def usable(engine: str) -> tuple[str, ...]:
    """The variants that can be had on this engine."""
    return tuple(name for name in RECIPES if why_unavailable(name, engine) is None)


def check_available(names: tuple[str, ...], engine: str) -> tuple[str, ...]:
    """names, if every one of them can be had on this engine; else InputError with the reason."""
    for name in names:
        reason = why_unavailable(name, engine)
        if reason:
            raise InputError(f"The variant {name} cannot be had on this machine: {reason}")
    return names


def build(model: "nn.Module", name: str, engine: str) -> "nn.Module":
    """The variant of a float32 model. The model itself never changes; fp32 is the model itself.

    Sets torch's quantized engine for the whole process: besides packing the weights for it, torch asks
    for it again when a packed model is copied or loaded. Raises InputError where this machine's torch has
    no such engine, or the engine cannot run the variant.
    """
    chosen = recipe(name)
    if not chosen.uses_engine:
        return chosen.apply(model)
    check_available((name,), engine)
    _set_engine(engine)
    return chosen.apply(model)


def _set_engine(engine: str) -> None:
    import torch

    # "none" is listed by torch builds without any engine, and nothing runs on it.
    there = [name for name in torch.backends.quantized.supported_engines if name != "none"]
    if not there:
        raise InputError(
            "This machine's torch has no engine for quantized layers, so only fp32 can run: "
            "a torch wheel for x86-64 with AVX2, or for 64-bit ARM, has one."
        )
    if engine not in there:
        raise InputError(
            f"This machine's torch has no quantized engine {engine!r}: it has {', '.join(there)}. "
            "Set the environment variable VITQUANT_ENGINE to one of these."
        )
    torch.backends.quantized.engine = engine


@contextmanager
def _without_deprecation_warnings() -> Iterator[None]:
    """Keeps torch.ao's announcements of its own removal from the user, who can do nothing about them.

    requirements.txt bounds torch for that reason; every other warning passes.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"torch\.ao\.quantization is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", r"torch\.quantize_per_tensor, .* are deprecated", UserWarning)
        yield


def _quantize_linears(model: "nn.Module", dtype: "torch.dtype") -> "nn.Module":
    """The notebook's recipe: a copy of the model, every nn.Linear replaced by a dynamically quantized one."""
    from torch import nn

    try:
        from torch.ao.quantization import quantize_dynamic
    except ImportError as error:
        raise InputError(
            "The installed torch no longer has torch.ao.quantization, which makes this variant: "
            "install the version that requirements.txt names (pip install -r requirements.txt)."
        ) from error
    with _without_deprecation_warnings():
        return quantize_dynamic(model, {nn.Linear}, dtype=dtype)


def _register(
    *,
    title: str,
    summary: str,
    version: int = 1,
    batch_dependent: bool = False,
    uses_engine: bool = True,
    weight_bytes: int = 4,
    unavailable: Mapping[str, str] | None = None,
) -> "Callable[[Apply], Apply]":
    """Lists the decorated function as the recipe of its name."""

    def register(apply: "Apply") -> "Apply":
        name = apply.__name__
        RECIPES[name] = Recipe(
            name,
            title,
            summary,
            version,
            batch_dependent,
            uses_engine,
            weight_bytes,
            apply,
            unavailable or {},
        )
        return apply

    return register


@_register(
    title="float32",
    summary="The model as it was loaded, with 4 bytes for each weight.",
    uses_engine=False,
)
def fp32(model: "nn.Module") -> "nn.Module":
    return model


@_register(
    title="int8 (dynamic)",
    summary=(
        "Linear layers keep their weights in 1 byte each, and round what comes in to 8 bits on the fly, "
        "with one scale for the whole batch."
    ),
    batch_dependent=True,
    weight_bytes=1,
)
def qint8(model: "nn.Module") -> "nn.Module":
    import torch

    return _quantize_linears(model, torch.qint8)


@_register(
    title="float16 (weights)",
    summary="Linear layers keep their weights in 2 bytes each and compute in float32.",
    weight_bytes=2,
    # torch 2.14 names them itself: "quantized::linear_prepack_fp16 is currently not supported by ONEDNN".
    unavailable={
        engine: f"torch cannot pack float16 weights for the engine {engine}, only for x86 and fbgemm, "
        "which need an x86-64 processor with AVX2."
        for engine in ("onednn", "qnnpack")
    },
)
def float16(model: "nn.Module") -> "nn.Module":
    import torch

    return _quantize_linears(model, torch.float16)
