"""Judges candidates for a calibrated recipe: a variant's answers to training pictures beside fp32's."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from vitquant import packing, predict, sensitivity, side_by_side, statistics
from vitquant.calibration import Chosen
from vitquant.composed import Cores
from vitquant.cure import Cure
from vitquant.errors import InputError
from vitquant.images import open_rgb
from vitquant.layers import Layer
from vitquant.vit import Classifier

ONE_SIDED_95 = 1.645
"""Standard errors above the mean: the normal distribution's 95% point."""


@dataclass(frozen=True)
class Pictures:
    """Calibration pictures as the model takes them."""

    fitted_to: torch.Tensor  # (N, 3, size, size) float32: give the ranges
    judges: torch.Tensor  # (M, 3, size, size) float32: judge what was tried
    classes: np.ndarray  # (M,) the judges' true classes, UNLABELLED where nobody has said them


def read(chosen: Chosen) -> Pictures:
    """Decode them. Raises InputError for a picture that cannot be read, or that is of a single colour: it says
    nothing about a layer's range."""
    inputs = []
    for example in chosen.examples:
        picture = open_rgb(chosen.file(example))
        if all(low == high for low, high in np.asarray(picture.getextrema()).reshape(-1, 2)):
            raise InputError(
                f"{chosen.file(example)} is of a single colour, and cannot tell what a layer's activations are "
                "like: remove it from the training pictures, or take another seed (seed=1)."
            )
        inputs.append(predict.to_input([picture], chosen.calibration.image_size))
    together = torch.cat(inputs)
    n = chosen.calibration.pictures
    classes = np.array([example.class_index for example in chosen.judges])
    return Pictures(together[:n], together[n:], classes)


@dataclass(frozen=True)
class Judged:
    """What a candidate answers to the M judging pictures, compared with fp32."""

    kl_nats: np.ndarray  # (M,) KL(fp32 || candidate)
    probability_lost: np.ndarray  # (M,) by how much less it believes in the right class; 0..1, below 0: more
    broken: int  # first answers that fp32 has right and the candidate has not
    fixed: int  # the other way round
    right: int
    agree: int
    meaningful: bool = True  # whether a right answer means anything: not where the weights are random

    @property
    def mean_kl_nats(self) -> float:
        return float(self.kl_nats.mean())

    @property
    def points_lost(self) -> float:
        """Points of top-1 lost to fp32, as a few hundred pictures can tell: by how much the mean probability of
        the right class falls. (Counted answers would move in steps of half a point.)"""
        return 100 * float(self.probability_lost.mean())

    @property
    def points_lost_high(self) -> float:
        """Up to how many, on pictures like these: the upper end of the one-sided 95% interval of that mean. A
        search that tries dozens of mixes on the same pictures would find one that is only lucky."""
        n = len(self.probability_lost)
        error = float(self.probability_lost.std(ddof=1)) / n**0.5 if n > 1 else 0.0
        return self.points_lost + 100 * ONE_SIDED_95 * error

    def keeps(self, limit: float, *, surely: bool = True) -> bool:
        """Whether at most so many points are lost: by the mean probability, its uncertainty included where that
        is to be sure, and the counted answers do not speak against it (the 95% interval of their paired
        difference reaches up to the limit). With random weights classes are so close to each other that counted
        answers say nothing."""
        lost = self.points_lost_high if surely else self.points_lost
        counted = statistics.paired_difference(self.broken, self.fixed, len(self.kl_nats))
        return lost <= limit and (100 * counted.high >= -limit or not self.meaningful)

    def is_better_than(self, other: "Judged", by: float = 0.0) -> bool:
        """Whether its mean KL is lower, on the same pictures, by at least this share of the other's and by more
        than chance explains: one standard error of the paired difference."""
        gains = other.kl_nats - self.kl_nats
        error = float(gains.std(ddof=1)) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
        return float(gains.mean()) > max(error, by * other.mean_kl_nats)

    def row(self) -> dict[str, Any]:
        """For the trail: shares in 0..1, with 95% intervals; difference is candidate less fp32."""
        n = len(self.kl_nats)
        top1 = statistics.wilson(self.right, n)
        difference = statistics.paired_difference(self.broken, self.fixed, n)
        return {
            "n": n,
            "top1": top1.share,
            "top1_low": top1.low,
            "top1_high": top1.high,
            "broken": self.broken,
            "fixed": self.fixed,
            "difference": difference.share,
            "difference_low": difference.low,
            "difference_high": difference.high,
            "points_lost": self.points_lost,
            "points_lost_high": self.points_lost_high,
            "agree": self.agree / n,
            "mean_kl_nats": self.mean_kl_nats,
        }


@dataclass
class Judge:
    """Has the float32 model's answers to the judging pictures, and compares candidates with them.

    random: whether the weights are random; then no answer is right, and fp32's count as the truth, as they do
    for pictures without labels. Raises InputError where float32's own answers are no numbers.
    """

    model: Classifier
    of_model: Sequence[Layer]
    pictures: Pictures
    cores: Cores
    has_float16: bool
    random: bool
    reference: np.ndarray = field(init=False)  # fp32's logits, (M, 1000) float32
    classes: np.ndarray = field(init=False)  # what counts as right, (M,)

    def __post_init__(self) -> None:
        self.reference = self.answers(self.model)
        if not np.isfinite(self.reference).all():
            raise InputError(
                "What float32 itself answers to the training pictures contains NaN or infinity, so nothing can "
                "be compared with it: check the weights, which may be damaged."
            )
        of_labels = predict.truth(self.pictures.classes, self.reference)
        self.classes = self._firsts(self.reference) if self.random else of_labels

    def build(self, cure: Cure) -> Classifier:
        """The candidate."""
        return packing.int8(self.model, cure, has_float16=self.has_float16)

    def measure(self, cure: Cure) -> Judged:
        """Build the candidate and judge it, as it answers one picture at a time."""
        return self.judged(self.answers(sensitivity.picturewise(self.build(cure), self.of_model)))

    def answers(self, model: Classifier) -> np.ndarray:
        """A model's logits for the judging pictures, (M, 1000) float32."""
        inputs = self.pictures.judges
        parts = self.cores.map(
            lambda part: model(inputs[part]), len(inputs), side_by_side.at_once(model, inputs)
        )
        return torch.cat(parts).numpy()

    def judged(self, logits: np.ndarray) -> Judged:
        """What a candidate's logits (M, 1000) are worth."""
        first, fp32s = self._firsts(logits), self._firsts(self.reference)
        right, was_right = first == self.classes, fp32s == self.classes
        believed, was_believed = (predict.probabilities_of(of, self.classes) for of in (logits, self.reference))
        return Judged(
            kl_nats=predict.kl_nats(self.reference, logits),
            probability_lost=was_believed - believed,
            broken=int((was_right & ~right).sum()),
            fixed=int((~was_right & right).sum()),
            right=int(right.sum()),
            agree=int((first == fp32s).sum()),
            meaningful=not self.random,
        )

    @staticmethod
    def _firsts(logits: np.ndarray) -> np.ndarray:
        return predict.top_k(logits, 1)[0][:, 0]
