"""The recipes that make a variant out of a float32 model.

Listing the recipes imports no torch. A new recipe is one decorated function at the end of this file; a
calibrated one has its calibration in vitquant/calibrate.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from vitquant import catalog
from vitquant.cure import Cure
from vitquant.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from vitquant.vit import Classifier

    Apply = Callable[[Classifier, Cure], nn.Module]


@dataclass(frozen=True)
class Recipe:
    """How one variant is made from the float32 model, and what must be known about its answers.

    settings: what a calibrated recipe may be told, with its value; a variant's name carries those that are not
    the usual ones ("qint8_mixed:limit=1"). None: the recipe is not calibrated.
    """

    name: str
    title: str  # for people: "int8 (dynamic)"
    summary: str  # one sentence
    version: int  # raised when the same name begins to give other answers, so that stored ones turn stale
    batch_dependent: bool  # whether the answer for one picture depends on the pictures beside it
    uses_engine: bool  # whether torch's quantized engine runs any part of it
    weight_bytes: int  # for each number of a Linear weight, at least
    apply: "Apply" = field(repr=False)
    unavailable: Mapping[str, str] = field(default_factory=dict)  # engine -> why it cannot run this
    settings: Mapping[str, float] | None = None

    @property
    def is_calibrated(self) -> bool:
        """Whether pictures decide how it is made."""
        return self.settings is not None


USUAL = {"pictures": 64, "seed": 0}
"""What every calibrated recipe may be told: how many training pictures its ranges are taken from, and which."""

USUAL_LIMIT = 0.5
"""How many points of top-1 may be lost, where a recipe is to keep a limit."""

RECIPES: dict[str, Recipe] = {}
"""Every recipe by name, float32 first: the order in which variants are listed."""


def recipe(name: str) -> Recipe:
    """The recipe of that name, with the settings that the name carries ("qint8_smooth:pictures=16:seed=3").

    Raises InputError, with the nearest names, where there is none, and where a setting cannot be.
    """
    own, *given = name.split(":")
    if own not in RECIPES:
        raise catalog.unknown("variant", own, RECIPES, "python -m vitquant variants")
    found = RECIPES[own]
    if not given:
        return found
    if found.settings is None:
        raise InputError(f"{own} is not calibrated, so it takes no settings: leave out {':'.join(given)!r}.")
    told = dict(_setting(own, found.settings, text) for text in given)
    settings = {**found.settings, **told}
    return replace(found, name=_name(own, found.settings, settings), settings=settings)


def _setting(own: str, usual: Mapping[str, float], text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    if name not in usual:
        raise InputError(f"{own} cannot be told {name!r}: it takes {', '.join(f'{key}=…' for key in usual)}.")
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    whole = name in USUAL
    if not 0 <= number <= 1_000_000 or (whole and number != int(number)):
        what = "a whole number" if whole else "a number of percentage points"
        raise InputError(f"{own}:{text} cannot be: {name} takes {what}, such as {name}={usual[name]:g}.")
    return name, int(number) if whole else float(f"{number:g}")  # as the name will say it


def _name(own: str, usual: Mapping[str, float], settings: Mapping[str, float]) -> str:
    """The one name of a recipe with these settings: the usual ones are left out, the others in their order."""
    unusual = [f"{key}={value:g}" for key, value in settings.items() if value != usual[key]]
    return ":".join([own, *unusual])


def own_name(name: str) -> str:
    """A variant's name without its settings."""
    return name.split(":")[0]


def calibrated() -> tuple[str, ...]:
    """The recipes that pictures decide how to make."""
    return tuple(name for name, found in RECIPES.items() if found.is_calibrated)


def summary(name: str) -> str | None:
    """What a variant is, in a sentence; None where no recipe makes it any more."""
    found = RECIPES.get(own_name(name))
    return found.summary if found else None


def has_float16(engine: str) -> bool:
    """Whether this engine can pack float16 weights."""
    return engine not in _NO_FLOAT16


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


def build(model: "Classifier", name: str, engine: str, cure: Cure | None = None) -> "nn.Module":
    """The variant of a float32 model. The model itself never changes; fp32 is the model itself.

    cure: what the calibration of a calibrated recipe has found for this model (vitquant/fits.py). Sets torch's
    quantized engine for the whole process: besides packing the weights for it, torch asks for it again when a
    packed model is copied or loaded. Raises InputError where this machine's torch has no such engine, the
    engine cannot run the variant, or a calibrated one comes without its cure.
    """
    chosen = recipe(name)
    if chosen.is_calibrated and cure is None:
        raise InputError(f"{name} has to be calibrated first: `python -m vitquant calibrate` does.")
    if chosen.uses_engine:
        check_available((name,), engine)
        set_engine(engine)
    return chosen.apply(model, cure or Cure())


def floats_of(model: "Classifier", cure: Cure | None) -> "Classifier":
    """The float32 model whose Linear layers an int8 variant is made from: the same function, perhaps folded."""
    if cure is None:
        return model
    from vitquant import packing

    return packing.floats_of(model, cure)


def set_engine(engine: str) -> None:
    """Have torch run quantized layers with this engine. Raises InputError where it has no such engine."""
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


def _register(
    *,
    title: str,
    summary: str,
    version: int = 1,
    batch_dependent: bool = False,
    uses_engine: bool = True,
    weight_bytes: int = 4,
    unavailable: Mapping[str, str] | None = None,
    settings: Mapping[str, float] | None = None,
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
            settings,
        )
        return apply

    return register


_NO_FLOAT16 = {
    # torch 2.14 names them itself: "quantized::linear_prepack_fp16 is currently not supported by ONEDNN".
    engine: f"torch cannot pack float16 weights for the engine {engine}, only for x86 and fbgemm, "
    "which need an x86-64 processor with AVX2."
    for engine in ("onednn", "qnnpack")
}


@_register(
    title="float32",
    summary="The model as it was loaded, with 4 bytes for each weight.",
    uses_engine=False,
)
def fp32(model: "Classifier", cure: Cure) -> "nn.Module":
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
def qint8(model: "Classifier", cure: Cure) -> "nn.Module":
    import torch

    from vitquant import packing

    return packing.notebook(model, torch.qint8)


@_register(
    title="float16 (weights)",
    summary="Linear layers keep their weights in 2 bytes each and compute in float32.",
    weight_bytes=2,
    unavailable=_NO_FLOAT16,
)
def float16(model: "Classifier", cure: Cure) -> "nn.Module":
    import torch

    from vitquant import packing

    return packing.notebook(model, torch.float16)


@_register(
    title="bfloat16",
    summary=(
        "Every number and every computation in bfloat16: 2 bytes each, float32's range with 3 digits. Fast on "
        "CPUs that have the instructions, slow on those that have not."
    ),
    uses_engine=False,
    weight_bytes=2,
)
def bfloat16(model: "Classifier", cure: Cure) -> "nn.Module":
    import copy

    import torch

    return copy.deepcopy(model).to(torch.bfloat16)


@_register(
    title="int8, per channel",
    summary=(
        "As int8, but every row of a weight has a scale of its own. What comes in is rounded as before, with "
        "one scale for all channels."
    ),
    batch_dependent=True,
    weight_bytes=1,
)
def qint8_channel(model: "Classifier", cure: Cure) -> "nn.Module":
    return _int8(model, Cure(per_channel=True))


@_register(
    title="int8, smoothed",
    summary=(
        "SmoothQuant: channels that tower over the others are divided before a layer and multiplied in its "
        "weights, so that the 8 bits serve all of them. Scales are taken from training pictures."
    ),
    batch_dependent=True,
    weight_bytes=1,
    settings=USUAL,
)
def qint8_smooth(model: "Classifier", cure: Cure) -> "nn.Module":
    return _int8(model, cure)


@_register(
    title="int8, mixed",
    summary=(
        "int8 but for the fewest layers that have to stay in float for the accuracy to hold, chosen by how "
        "much each one costs on training pictures."
    ),
    batch_dependent=True,
    weight_bytes=1,
    settings=USUAL | {"limit": USUAL_LIMIT},
)
def qint8_mixed(model: "Classifier", cure: Cure) -> "nn.Module":
    return _int8(model, cure)


@_register(
    title="int8, recommended",
    summary=(
        "What a search over all of these steps found to be best for this model: each step is kept only if it "
        "pays off on training pictures that its ranges were not taken from."
    ),
    batch_dependent=True,
    weight_bytes=1,
    settings=USUAL | {"limit": USUAL_LIMIT},
)
def qint8_best(model: "Classifier", cure: Cure) -> "nn.Module":
    return _int8(model, cure)


def _int8(model: "Classifier", cure: Cure) -> "nn.Module":
    import torch

    from vitquant import packing

    return packing.int8(model, cure, has_float16=has_float16(torch.backends.quantized.engine))
