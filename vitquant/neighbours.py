"""How much a picture's answer depends on the pictures beside it: dynamic int8 sets one scale for a whole batch.

Imports no torch until measure() is called.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vitquant import statistics
from vitquant.datasets import Example
from vitquant.runs import Rows

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

ALONE = 1
BATCHES = (8, 32)
"""The batch sizes that are compared with every picture alone."""

FLIPS_TRIED = 6
"""So many flipped pictures, the clearest first, are put beside each of their neighbours one by one: a batch of
32 takes 31 pairs."""


@dataclass(frozen=True)
class Changed:
    """How many of n first answers are others in batches of this size than alone."""

    batch: int
    n: int
    changed: int


@dataclass(frozen=True)
class Flip:
    """A picture whose first answer is another beside others. Places: among the pictures that were measured."""

    batch: int  # the size of the batch in which it was found
    picture: int  # place
    neighbour: int | None  # place of the one picture that does it; None: only all of the batch together do
    alone: tuple[int, float]  # the first answer alone: its class and probability
    beside: tuple[int, float]  # beside that neighbour, or in the whole batch where there is none


@dataclass(frozen=True)
class Neighbours:
    """What the batch does to the answers: a count for each size, and the clearest flip where there is any."""

    changed: tuple[Changed, ...]  # ALONE first, against itself
    flip: Flip | None

    def rows(self, examples: Sequence[Example]) -> Rows:
        """As a run keeps them. examples: the pictures that were measured, in their order.

        The 95% intervals are Wilson's and take the pictures for independent, which those of one batch, whose
        scale they share, are not quite.
        """
        rows = []
        for one in self.changed:
            share = statistics.wilson(one.changed, one.n)
            rows.append(
                {
                    "part": "batch",
                    "batch": one.batch,
                    "n": one.n,
                    "changed": share.share,
                    "changed_low": share.low,
                    "changed_high": share.high,
                }
            )
        return rows + ([_flip_row(self.flip, examples)] if self.flip else [])


def _flip_row(flip: Flip, examples: Sequence[Example]) -> dict[str, object]:
    picture = examples[flip.picture]
    neighbour = None if flip.neighbour is None else examples[flip.neighbour]
    return {
        "part": "flip",
        "batch": flip.batch,
        "picture": picture.index,
        "path": picture.path,
        "class_index": picture.class_index,
        "neighbour": neighbour.index if neighbour else None,
        "neighbour_path": neighbour.path if neighbour else None,
        "neighbour_class_index": neighbour.class_index if neighbour else None,
        "alone_index": flip.alone[0],
        "alone_probability": flip.alone[1],
        "beside_index": flip.beside[0],
        "beside_probability": flip.beside[1],
    }


def measure(variant: "nn.Module", inputs: "torch.Tensor", tell: Callable[[], None]) -> Neighbours:
    """Put pictures to an int8 variant alone and in batches of BATCHES, and find a picture whose answer flips.

    inputs: (N, 3, S, S) float32, as predict.to_input gives them, in an order that mixes the classes (the
    evaluation order does); the last batch may be smaller. tell: called between passes; it may raise to stop.
    """
    alone = _answers(variant, inputs, ALONE, tell)
    in_batches = {batch: _answers(variant, inputs, batch, tell) for batch in BATCHES}
    changed = [Changed(ALONE, len(inputs), 0)]
    changed += [
        Changed(batch, len(inputs), int((found[0] != alone[0]).sum())) for batch, found in in_batches.items()
    ]
    return Neighbours(tuple(changed), _clearest_flip(variant, inputs, alone, in_batches, tell))


Answers = tuple["np.ndarray", "np.ndarray"]
"""First answers: classes and probabilities, (N,) each."""


def _answers(variant: "nn.Module", inputs: "torch.Tensor", batch: int, tell: Callable[[], None]) -> Answers:
    import numpy as np

    from vitquant import predict

    logits = []
    for start in range(0, len(inputs), batch):
        tell()
        logits.append(predict.logits_of(variant, inputs[start : start + batch]))
    indices, probabilities = predict.top_k(np.concatenate(logits), 1)
    return indices[:, 0], probabilities[:, 0]


def _clearest_flip(
    variant: "nn.Module",
    inputs: "torch.Tensor",
    alone: Answers,
    in_batches: "dict[int, Answers]",
    tell: Callable[[], None],
) -> Flip | None:
    """The clearest flip that a single neighbour brings about, of FLIPS_TRIED; the clearest of all where none of
    them has such a neighbour; None where no answer changes."""
    flips = [
        Flip(batch, place, None, _at(alone, place), _at(found, place))
        for batch, found in in_batches.items()
        for place in range(len(inputs))
        if found[0][place] != alone[0][place]
    ]
    flips.sort(key=lambda flip: flip.alone[1] * flip.beside[1], reverse=True)
    for flip in flips[:FLIPS_TRIED]:
        pairs = list(_pairs(variant, inputs, flip, tell))
        if pairs:
            return max(pairs, key=lambda pair: pair.beside[1])
    return flips[0] if flips else None


def _pairs(
    variant: "nn.Module", inputs: "torch.Tensor", flip: Flip, tell: Callable[[], None]
) -> Iterator[Flip]:
    """The same flip beside one picture of its batch at a time, for those that bring it about."""
    import torch

    first = flip.picture - flip.picture % flip.batch
    for neighbour in range(first, min(first + flip.batch, len(inputs))):
        if neighbour == flip.picture:
            continue
        pair = torch.stack([inputs[flip.picture], inputs[neighbour]])
        found = _at(_answers(variant, pair, len(pair), tell), 0)
        if found[0] != flip.alone[0]:
            yield Flip(flip.batch, flip.picture, neighbour, flip.alone, found)


def _at(answers: Answers, place: int) -> tuple[int, float]:
    return int(answers[0][place]), float(answers[1][place])
