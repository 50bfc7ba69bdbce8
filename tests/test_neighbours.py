"""How pictures of one batch change each other's answers: on made-up models, and on qint8."""

import numpy as np
import pytest
import torch
from torch import nn

from vitquant import datasets, images, machine, models, neighbours, predict, variants, weights
from vitquant.datasets import Example
from vitquant.errors import Cancelled

QUIET, LOUD = 1.0, 100.0


class Crowd(nn.Module):
    """Answers class 7 to every picture; class 8 to quiet ones in a batch with so many loud ones or more."""

    def __init__(self, loud_ones: int) -> None:
        super().__init__()
        self.loud_ones = loud_ones

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        is_loud = inputs.flatten(1).amax(dim=1) > QUIET
        logits = torch.zeros(len(inputs), 1000)
        logits[:, 7] = 3.0
        if int(is_loud.sum()) >= self.loud_ones:
            logits[~is_loud, 8] = 5.0
        return logits


def pictures(n: int, *, loud: set[int]) -> torch.Tensor:
    inputs = torch.full((n, 3, 2, 2), QUIET)
    inputs[list(loud)] = LOUD
    return inputs


def examples(n: int) -> list[Example]:
    return [Example(100 + place, f"n0/{place}.png", "n0", 900 + place) for place in range(n)]


def nothing() -> None:
    pass


def test_the_neighbour_that_flips_an_answer_is_found() -> None:
    found = neighbours.measure(Crowd(1), pictures(12, loud={5}), nothing)
    assert [(one.batch, one.n, one.changed) for one in found.changed] == [(1, 12, 0), (8, 12, 7), (32, 12, 11)]
    assert found.flip is not None
    assert found.flip.neighbour == 5
    assert found.flip.picture != 5
    assert (found.flip.alone[0], found.flip.beside[0]) == (7, 8)

    rows = found.rows(examples(12))
    assert [row["part"] for row in rows] == ["batch"] * 3 + ["flip"]
    eight = rows[1]
    assert eight["changed"] == 7 / 12
    assert 0 < eight["changed_low"] < eight["changed"] < eight["changed_high"] < 1
    flip = rows[-1]
    assert (flip["neighbour"], flip["neighbour_path"], flip["neighbour_class_index"]) == (105, "n0/5.png", 905)
    assert flip["picture"] == 100 + found.flip.picture
    assert flip["class_index"] == 900 + found.flip.picture
    # exp(3) and exp(5) beside 999 or 998 zeros, and exp(3)
    assert flip["alone_probability"] == pytest.approx(np.exp(3) / (np.exp(3) + 999))
    assert flip["beside_probability"] == pytest.approx(np.exp(5) / (np.exp(5) + np.exp(3) + 998))


def test_what_only_several_neighbours_do_together_is_told_so() -> None:
    found = neighbours.measure(Crowd(2), pictures(8, loud={1, 2}), nothing)
    assert found.changed[1].changed == 6
    assert found.flip is not None
    assert found.flip.neighbour is None
    assert (found.flip.alone[0], found.flip.beside[0]) == (7, 8)
    [flip] = [row for row in found.rows(examples(8)) if row["part"] == "flip"]
    assert (flip["neighbour"], flip["neighbour_path"]) == (None, None)


def test_a_model_that_looks_at_each_picture_alone_changes_nothing() -> None:
    found = neighbours.measure(Crowd(1), pictures(9, loud=set()), nothing)
    assert [one.changed for one in found.changed] == [0, 0, 0]
    assert found.flip is None
    assert [row["part"] for row in found.rows(examples(9))] == ["batch"] * 3


def test_it_can_be_stopped_between_any_two_passes() -> None:
    passes = 0

    def tell() -> None:
        nonlocal passes
        passes += 1

    neighbours.measure(Crowd(1), pictures(12, loud={5}), tell)
    alone_and_in_batches, pairs = 12 + 2 + 1, 7
    assert passes >= alone_and_in_batches + pairs

    def stop() -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        neighbours.measure(Crowd(1), pictures(12, loud={5}), stop)


def test_qint8_with_outliers_answers_otherwise_beside_others() -> None:
    dataset = datasets.open_dataset("sample")
    chosen = [dataset.examples[index] for index in datasets.evaluation_order(dataset)[:10]]
    inputs = predict.to_input([images.open_rgb(dataset.file(example)) for example in chosen], 70)
    model = models.load(weights.resolve("sample_outliers"))
    variant = variants.build(model, "qint8", machine.engine())

    found = neighbours.measure(variant, inputs, nothing)
    assert found.changed[1].changed >= 2  # of 64 pictures 41 changed theirs, on x86
    flip = found.flip
    assert flip is not None
    assert flip.neighbour is not None
    own = inputs[flip.picture]
    alone = predict.logits_of(variant, own[None]).argmax()
    beside = predict.logits_of(variant, torch.stack([own, inputs[flip.neighbour]]))[0].argmax()
    assert (alone, beside) == (flip.alone[0], flip.beside[0])
    assert alone != beside
