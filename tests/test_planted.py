"""Outlier channels planted by hand in the healthy sample: what stays, what is lost, what the grid leaves."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image

from vitquant import datasets, follow_charts, grid, images, machine, models, planted, predict, weights
from vitquant.vit import Classifier
from vitquant.worker import PredictionWorker

ASKED = {"model": "sample", "weights": "bundled", "image_size": 70}


@pytest.fixture(scope="module")
def shown() -> Image.Image:
    dataset = datasets.open_dataset("sample")
    return images.open_rgb(dataset.file(dataset.examples[datasets.evaluation_order(dataset)[0]]))


@pytest.fixture(scope="module")
def picture(shown: Image.Image) -> torch.Tensor:
    return predict.to_input([shown], 70)


@pytest.fixture(scope="module")
def model() -> Classifier:
    return models.load(weights.resolve("sample"))


@pytest.fixture(scope="module")
def levels() -> int:
    return grid.levels(machine.engine())


def test_float32_answers_as_before_and_the_healthy_model_stays_healthy(
    model: Classifier, picture: torch.Tensor
) -> None:
    before = predict.logits_of(model, picture)
    loud = planted.plant(model, planted.loudest(model, 4), 60)
    np.testing.assert_allclose(predict.logits_of(loud, picture), before, atol=1e-3)
    np.testing.assert_array_equal(predict.logits_of(model, picture), before)
    assert not torch.equal(loud.norm.weight, model.norm.weight)


def test_the_loudest_channels_reach_further_than_most(model: Classifier) -> None:
    channels = planted.loudest(model, planted.MOST_CHANNELS)
    assert len(set(channels)) == planted.MOST_CHANNELS
    assert channels[:4] == planted.loudest(model, 4)
    reach = model.norm.bias.abs()
    assert float(reach[list(channels)].mean()) > 2 * float(reach.median())


@torch.inference_mode()
def test_levels_left_are_counted_on_what_reaches_the_layer(
    model: Classifier, picture: torch.Tensor, levels: int
) -> None:
    channels = planted.loudest(model, 2)
    loud = planted.plant(model, channels, 16)
    head: list[torch.Tensor] = []
    hook = loud.linear_head.register_forward_pre_hook(lambda layer, given: head.append(given[0]))
    loud(picture)
    hook.remove()
    found = {one.layer: one for one in planted.levels_left(loud, picture, channels, levels)}
    assert len(found) == 2 * 8 + 1
    one = found["linear_head"]
    segments = head[0].numpy().reshape(5, 192)
    ordinary = np.delete(segments, channels, axis=1)
    assert (one.low, one.high) == (pytest.approx(segments.min()), pytest.approx(segments.max()))
    assert (one.ordinary_low, one.ordinary_high) == (
        pytest.approx(ordinary.min()),
        pytest.approx(ordinary.max()),
    )
    assert one.step == pytest.approx((segments.max() - segments.min()) / (levels - 1))
    # Rounding the extremes tells which levels the ordinary channels are rounded to.
    assert one.left == np.rint(ordinary.max() / one.step) - np.rint(ordinary.min() / one.step) + 1


def test_louder_channels_leave_fewer_levels_to_the_others(
    model: Classifier, picture: torch.Tensor, levels: int
) -> None:
    channels = planted.loudest(model, 4)
    left = [
        [
            one.left
            for one in planted.levels_left(planted.plant(model, channels, factor), picture, channels, levels)
        ]
        for factor in (1, 8, 60)
    ]
    assert min(left[0]) > levels / 2
    assert all(few < some < many for many, some, few in zip(*left, strict=True))
    assert max(left[2]) < levels / 16


def test_the_chart_draws_every_level_once_and_says_so(
    model: Classifier, picture: torch.Tensor, levels: int
) -> None:
    channels = planted.loudest(model, 4)
    found = planted.levels_left(planted.plant(model, channels, 60), picture, channels, levels)
    one = min(found, key=lambda one: one.left)
    figure = follow_charts.levels(one)
    whole = [len([x for x in trace.x if x is not None]) // 2 for trace in figure.data[:2]]
    assert whole[1] == one.left
    assert sum(whole) == pytest.approx(levels, abs=1)
    assert f"are rounded to {one.left} of them" in follow_charts.levels_alt(one)


@pytest.fixture
def worker(data_dir: object) -> Iterator[PredictionWorker]:
    worker = PredictionWorker()
    yield worker
    worker.release()


@pytest.mark.slow
def test_the_worker_plants_quantizes_and_follows(worker: PredictionWorker, shown: Image.Image) -> None:
    png = io.BytesIO()
    shown.save(png, "PNG")
    given = {**ASKED, "png": png.getvalue()}
    calm = worker.predict_planted(**given, channels=8, factor=1)  # type: ignore[arg-type]
    loud = worker.predict_planted(**given, channels=8, factor=60)  # type: ignore[arg-type]
    first = calm.fp32.indices[0]
    assert calm.planted.indices[0] == calm.qint8.indices[0] == loud.fp32.indices[0] == first
    assert loud.planted.indices == loud.fp32.indices
    assert loud.planted.probabilities == pytest.approx(loud.fp32.probabilities, abs=1e-3)
    assert calm.qint8.probabilities[0] > 0.9
    assert dict(zip(loud.qint8.indices, loud.qint8.probabilities, strict=True)).get(first, 0) < 0.5
    assert len(loud.channels) == 8
    assert loud.worst.left == min(one.left for one in loud.levels) <= loud.median_left
    assert loud.median_left < calm.median_left / 8

    asked = {**given, "model": "sample_outliers", "dataset": "sample"}
    followed = worker.follow(**asked, variant="qint8")  # type: ignore[arg-type]
    assert followed.fp32.indices[0] == first
    assert followed.lost_from is not None
    assert followed.variant_attention.shape == (8, 3, 5, 5)
    half = worker.follow(**asked, variant="float16")  # type: ignore[arg-type]
    assert not half.is_lost
    assert min(half.class_cosine) > 0.999
