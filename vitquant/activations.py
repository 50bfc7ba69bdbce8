"""What reaches each layer, channel by channel: ranges, outlier channels, and how much of the int8 grid is left
to the ordinary ones. Imports no torch.
"""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitquant import grid
from vitquant.errors import InputError
from vitquant.layers import Layer

OUTLIER = 6
"""A channel stands out that reaches more than so many times as far as the median one, which it leaves some 20
of 128 levels. Beyond what is usual: in the healthy sample no channel reaches more than 4.8 times as far
(`diagnose --model sample`: absmax by ordinary)."""


@dataclass(frozen=True)
class Ranges:
    """One layer's input channels: least and largest activation, and least and largest weight that reads it."""

    act_min: np.ndarray  # (channels,) float32, over all pictures
    act_max: np.ndarray
    weight_min: np.ndarray  # (channels,) float32: of the weight's columns
    weight_max: np.ndarray

    @property
    def act_absmax(self) -> np.ndarray:
        """How far each channel reaches from zero."""
        return np.maximum(np.abs(self.act_min), np.abs(self.act_max))

    @property
    def weight_absmax(self) -> np.ndarray:
        return np.maximum(np.abs(self.weight_min), np.abs(self.weight_max))


@dataclass(frozen=True)
class Seen:
    """What came into a layer: the least and the largest value of each picture's each channel."""

    low: np.ndarray  # (pictures, channels) float32
    high: np.ndarray

    @staticmethod
    def joined(parts: "Iterable[Seen]") -> "Seen":
        """Of all pictures, from some of them each."""
        listed = list(parts)
        return Seen(
            np.concatenate([part.low for part in listed]), np.concatenate([part.high for part in listed])
        )


def check(seen: Seen, layer: Layer, model: str) -> None:
    """InputError where no range can be taken: something is NaN or infinite, or everything is zero."""
    n, channels = seen.low.shape
    bad = ~(np.isfinite(seen.low) & np.isfinite(seen.high))
    if bad.any():
        what = "NaN" if np.isnan(seen.low[bad]).any() else "infinity"
        raise InputError(
            f"What reaches {layer.title} of {model} contains {what}, in {bad.any(axis=0).sum():,} of "
            f"{channels:,} channels on {bad.any(axis=1).sum():,} of {n:,} pictures, in float32 already: check "
            "the weights, which may be damaged, or larger than float32 can multiply."
        )
    if not seen.low.any() and not seen.high.any():
        raise InputError(
            f"What reaches {layer.title} of {model} is zero in all {channels:,} channels on all {n:,} "
            "pictures, so that it has no range to quantize: check the weights, and that the pictures are not "
            "blank."
        )


def ranges(seen: Seen, weight: np.ndarray) -> Ranges:
    """Over all pictures. weight: the float32 layer's, (out, channels)."""
    return Ranges(seen.low.min(axis=0), seen.high.max(axis=0), weight.min(axis=0), weight.max(axis=0))


def ordinary(absmax: np.ndarray) -> float:
    """How far the median channel reaches; channels that are always zero do not count. absmax: (channels,)."""
    alive = absmax[absmax > 0]
    return float(np.median(alive)) if alive.size else 0.0


def outliers(ranges: Ranges) -> np.ndarray:
    """Which channels stand out: (channels,) bool."""
    absmax = ranges.act_absmax
    return absmax > OUTLIER * ordinary(absmax)


def row(layer: Layer, seen: Seen, ranges: Ranges, levels: int | None) -> dict[str, Any]:
    """What is known of one layer's input, as a row. levels: how many values the kernel gives it; None: it is
    not rounded to int8.

    levels_left: to how many of them the ordinary channels are rounded, all together, in the median picture:
    each has its own grid, which has to reach as far as its own outliers.
    """
    standing_out = outliers(ranges)
    typical = ordinary(ranges.act_absmax)
    left = None
    if levels is not None:
        rest = ~standing_out
        step = grid.step(seen.low.min(axis=1), seen.high.max(axis=1), levels)
        within = grid.levels_within(seen.low[:, rest].min(axis=1), seen.high[:, rest].max(axis=1), step)
        # Where both ends of a range round to a half level, one level more is used than the grid has steps for.
        left = min(round(float(np.median(within))), levels)
    return {
        "part": "range",
        "layer": layer.name,
        "block": layer.block,
        "kind": layer.kind,
        "channels": len(standing_out),
        "absmax": float(ranges.act_absmax.max()),
        "ordinary": typical,
        "outliers": int(standing_out.sum()),
        "outlier_ratio": (
            float(ranges.act_absmax[standing_out].mean()) / typical if standing_out.any() else None
        ),
        "levels": levels,
        "levels_left": left,
        "weight_absmax": float(ranges.weight_absmax.max()),
        "weight_ordinary": ordinary(ranges.weight_absmax),
    }


FIELDS = ("act_min", "act_max", "weight_min", "weight_max")


def to_bytes(by_layer: Mapping[str, Ranges]) -> bytes:
    """The ranges of layers, by module name, as a file's content."""
    buffer = io.BytesIO()
    arrays = {f"{name}:{field}": getattr(of, field) for name, of in by_layer.items() for field in FIELDS}
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def from_bytes(content: bytes, layer: str) -> Ranges:
    """One layer's ranges, by its module name. Raises KeyError for a layer that is not there."""
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return Ranges(*(stored[f"{layer}:{field}"] for field in FIELDS))
