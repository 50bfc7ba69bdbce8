"""A calibration under way: the best cure so far, what beats it, and the trail of every candidate measured."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from vitquant import smoothing
from vitquant.activations import Ranges
from vitquant.cure import Cure
from vitquant.judging import Judge, Judged
from vitquant.layers import Layer


@dataclass
class Search:
    """One calibration under way: the best so far, and every candidate measured on the way to it."""

    judge: Judge
    ranges: Mapping[str, Ranges]  # of what reaches each layer in float32
    limit: float  # points of top-1 that may be lost
    tell: Callable[[int, str], None]  # with how many candidates are measured, and the one that comes
    cure: Cure = field(default_factory=Cure)
    judged: Judged | None = None
    parameters: dict[str, Any] = field(default_factory=dict)  # what people read of the best
    trail: list[dict[str, Any]] = field(default_factory=list)

    @property
    def of_model(self) -> Sequence[Layer]:
        return self.judge.of_model

    def measure(self, step: str, cure: Cure) -> Judged:
        """Judge a candidate and note it."""
        self.tell(len(self.trail), step)
        judged = self.judge.measure(cure)
        size = weight_bytes(self.judge.model, self.of_model, cure, has_float16=self.judge.has_float16)
        row = {"step": step, **judged.row(), "weight_bytes": size, "in_float": len(cure.in_float)}
        self.trail.append(row | {"kept": None, "why": ""})
        return judged

    def decide(self, kept: bool, why: str, row: int = -1) -> None:
        """Note what became of a candidate, the last one unless told otherwise."""
        self.trail[row] |= {"kept": kept, "why": why}

    def start(self, step: str, cure: Cure) -> None:
        """Take a candidate as the one that others have to beat."""
        self.cure, self.judged = cure, self.measure(step, cure)
        self.decide(True, "where the search begins")

    def attempt(self, step: str, candidate: Cure, *, by: float = 0.0, free: bool = True) -> bool:
        """Measure a candidate, and keep it where it beats the best so far.

        by: the share by which its mean KL must be lower; below 0 it may be higher, since it saves time.
        """
        assert self.judged is not None
        after = self.measure(step, candidate)
        before_kl, after_kl = self.judged.mean_kl_nats, after.mean_kl_nats
        change = f"mean KL {before_kl:.3g} before, {after_kl:.3g} with it"
        if by < 0:
            kept = not self.judged.is_better_than(after, -by)
            why = f"{change}: less to compute" if kept else f"{change}: too much for what it saves"
        else:
            kept = after.is_better_than(self.judged, by)
            why = change if kept else f"{change}: within one standard error"
            if not kept and by and after.is_better_than(self.judged):
                why = f"{change}: too little for one more operation"
        self.decide(kept, why)
        if kept:
            self.cure, self.judged = candidate, after
        return kept

    def smoothing(self, kinds: Iterable[str], alpha: float) -> dict[str, np.ndarray]:
        """The scales of all layers of these kinds."""
        return {
            one.name: smoothing.scales_of(self.judge.model, one.name, self.ranges[one.name].act_absmax, alpha)
            for one in self.of_model
            if one.kind in kinds
        }


def weight_bytes(model: torch.nn.Module, of_model: Sequence[Layer], cure: Cure, *, has_float16: bool) -> int:
    """What the Linear weights and their scales take in bytes, computed: 1 for each number in int8, 2 or 4 for
    one left in float; 12 for each scale with its zero point (float64 and int32, as torch keeps them)."""
    total = 0
    for layer in of_model:
        rows, columns = weight_of(model, layer.name).shape
        if layer.name in cure.in_float:
            total += (2 if has_float16 else 4) * rows * columns
        else:
            total += rows * columns + 12 * (rows if cure.per_channel else 1)
    return total


def weight_of(model: torch.nn.Module, name: str) -> torch.Tensor:
    """A layer's weight, (out_features, in_features)."""
    weight: Any = model.get_submodule(name).weight
    return weight
