"""What each Linear layer of a built variant is: its type and scheme, what is done to what comes in, its bytes,
and how far its weight is from the float32 one. Imports no torch until a variant is measured.

A size run keeps these facts for each variant; vitquant/layer_differences.py sets two variants' side by side.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vitquant import grid, ledger
from vitquant.cure import Cure
from vitquant.ledger import Entry

if TYPE_CHECKING:
    import torch
    from torch import nn

    from vitquant.vit import Classifier

FLOAT = "float"
"""The scheme of a layer whose weight is not on a grid."""

FOLDED, DIVIDED, CORRECTED, RESCALED = (
    "input smoothed before it",
    "input divided on the way in",
    "bias corrected",
    "layer scale folded in",
)
"""What a cure may have done: the input's scales lie in what produces it, or one multiplication was put in."""


@dataclass(frozen=True)
class Facts:
    """One Linear layer of a variant."""

    layer: str  # the module's name: "blocks.3.attn.qkv"
    dtype: str  # of its weight in memory: "float32", "bfloat16", "float16", "int8"
    scheme: str  # "per tensor, symmetric", "per channel, symmetric"; FLOAT
    levels: int | None  # how many values what comes in is rounded to; None: it stays in floating point
    done: tuple[str, ...]  # what a cure has done to it, in words
    memory_bytes: int  # weight, scales and bias
    disk_bytes: int
    weight_sqnr_db: float | None  # against the float32 weight that it was made from; None: exact

    @property
    def activations(self) -> str:
        """What it computes with: "7 bits", "float32"."""
        if self.levels is not None:
            return f"{grid.bits(self.levels):.3g} bits"
        return "bfloat16" if self.dtype == "bfloat16" else "float32"


def measure(
    variant: "nn.Module", floats: "Classifier", cure: Cure | None, entries: Iterable[Entry]
) -> list[Facts]:
    """The facts of every Linear layer, in the model's order.

    floats: the float32 model that the variant was made from (variants.floats_of), whose weights are the signal
    of weight_sqnr_db (depth.sqnr_db). cure: what the variant was built with, if anything. entries: the
    variant's ledger. What activations are rounded to is read off the first layer of each type.
    """
    from torch import nn

    of_layer = ledger.grouped(entries, "layer")
    levels: dict[type, int | None] = {}
    found = []
    for name, original in floats.named_modules():
        if not isinstance(original, nn.Linear):
            continue
        layer: Any = variant.get_submodule(name)
        weight = layer.weight() if callable(layer.weight) else layer.weight.detach()
        if weight.is_quantized and type(layer) not in levels:
            levels[type(layer)] = grid.levels_of(layer, original)
        found.append(
            Facts(
                layer=name,
                dtype=next(entry.dtype for entry in of_layer[name] if entry.name == "weight"),
                scheme=_scheme(weight),
                levels=levels.get(type(layer)) if weight.is_quantized else None,
                done=_done(floats, name, cure or Cure()),
                memory_bytes=ledger.total(of_layer[name]).memory_bytes,
                disk_bytes=ledger.total(of_layer[name]).disk_bytes,
                weight_sqnr_db=_sqnr_db(original.weight, weight),
            )
        )
    return found


def _scheme(weight: "torch.Tensor") -> str:
    if not weight.is_quantized:
        return FLOAT
    import torch

    # torch calls a quantized tensor affine even where its zero points are all 0.
    if weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
        granularity, is_symmetric = "per channel", not weight.q_per_channel_zero_points().any()
    else:
        granularity, is_symmetric = "per tensor", weight.q_zero_point() == 0
    return f"{granularity}, {'symmetric' if is_symmetric else 'with a zero point'}"


def _done(floats: "Classifier", name: str, cure: Cure) -> tuple[str, ...]:
    from vitquant import smoothing

    found = []
    if name in cure.smooth:
        found.append(FOLDED if smoothing.can_fold(floats, name) else DIVIDED)
    if cure.fold_layer_scale and name.endswith((".proj", ".fc2")):
        found.append(RESCALED)
    if name in cure.bias and name not in cure.in_float:
        found.append(CORRECTED)
    return tuple(found)


def _sqnr_db(exact: "torch.Tensor", held: "torch.Tensor") -> float | None:
    from vitquant import depth

    return depth.sqnr_db(exact.detach().numpy(), held.dequantize().float().numpy())


def plain(found: Iterable[Facts]) -> list[dict[str, Any]]:
    """The facts as a size run's row keeps them, under "layers"."""
    return [asdict(facts) | {"done": list(facts.done)} for facts in found]


def of_row(row: Mapping[str, Any]) -> list[Facts]:
    """The facts in a size run's row; none where it was measured before there were any."""
    return [Facts(**values | {"done": tuple(values["done"])}) for values in row.get("layers") or []]
