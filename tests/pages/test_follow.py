"""The Diagnosis page's views that ask a running model, and the one of neighbours: no browser, no torch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests import drawn
from tests.conftest import missing
from tests.pages.helpers import html_of, store_run, text_of, visit
from vitquant import accuracy, paths, sample
from vitquant.follow import Answer, Followed
from vitquant.measurements import DiagnosisRequest
from vitquant.planted import LevelsLeft
from vitquant.worker import OwnAnswer, PlantedAnswer, PredictionWorker

LEMON, ORANGE, BUS = 951, 950, 779


def charts_of(at: AppTest) -> list[str]:
    return [chart.proto.spec for chart in at.get("plotly_chart")]


# The cause, live


@pytest.fixture
def with_sample(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    """The built-in sample and its shipped results, which these tests do without otherwise."""
    monkeypatch.delenv("VITQUANT_SAMPLE")
    if not (paths.PROJECT_ROOT / "data" / "sample" / sample.SUMS).is_file():
        missing("the built-in sample: git restore data/sample")


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A worker that is awake, and whose qint8 takes everything for an orange once channels are 32 times louder;
    what it is asked is noted."""
    found: list[dict[str, Any]] = []

    def answer(first: int) -> OwnAnswer:
        return OwnAnswer((first, 1, 2, 3, 4), (0.5, 0.2, 0.1, 0.1, 0.05), 0.004)

    def predict_planted(self: PredictionWorker, **question: Any) -> PlantedAnswer:
        found.append(question)
        loud = question["factor"] >= 32
        left = 1 if loud else 96
        levels = (
            LevelsLeft("blocks.0.attn.qkv", -2.0, 2.0, -1.5, 1.5, 4 / 127, 128, 100),
            LevelsLeft("blocks.1.mlp.fc1", -9.0, 9.0, -0.2, 0.2, 18 / 127, 128, left),
            LevelsLeft("linear_head", -2.0, 2.0, -1.5, 1.5, 4 / 127, 128, 100),
        )
        channels = tuple(range(question["channels"]))
        qint8 = answer(ORANGE if loud else LEMON)
        return PlantedAnswer(channels, answer(LEMON), answer(LEMON), qint8, levels)

    monkeypatch.setattr(PredictionWorker, "is_ready", lambda self, *of: True)
    monkeypatch.setattr(PredictionWorker, "predict_planted", predict_planted)
    return found


def test_louder_channels_turn_int8s_answer_and_the_page_counts_the_levels(
    with_sample: None, planted: list[dict[str, Any]]
) -> None:
    at = visit("diagnosis", view="outliers", model="sample_outliers")
    [asked] = planted
    assert (asked["model"], asked["weights"], asked["image_size"]) == ("sample", "bundled", 70)
    assert (asked["channels"], asked["factor"]) == (4, 1)
    assert "✓ **qint8** stays with lemon" in text_of(at)

    at.select_slider(key="address:factor").set_value(32).run()
    assert not at.exception
    assert planted[-1]["factor"] == 32
    shown = text_of(at)
    assert "✓ **fp32** stays with lemon, 50% sure" in shown
    assert "✗ **qint8** now says orange, 50% sure, instead of lemon" in shown
    assert "The other 188 channels are left **1 level of 128** in block 1, fc1" in shown
    assert "100 levels in the median of the 3 layers" in shown
    assert at.query_params["factor"] in ("32", ["32"])

    at.slider(key="address:channels").set_value(8).run()
    assert planted[-1]["channels"] == 8
    assert "The other 184 channels" in text_of(at)
    asked_so_far = len(planted)
    at.slider(key="address:channels").set_value(4).run()
    assert len(planted) == asked_so_far  # answered before, and kept


def test_other_pictures_are_offered_and_asked_about(with_sample: None, planted: list[dict[str, Any]]) -> None:
    at = visit("diagnosis", view="outliers", model="sample_outliers")
    offered = [button for button in at.button if str(button.key).startswith("look-at-")]
    assert len(offered) == 6
    assert len({button.label for button in offered}) == 6
    offered[3].click().run()
    assert not at.exception
    number = str(offered[3].key).removeprefix("look-at-")
    assert at.query_params["picture"] in (number, [number])
    assert planted[-1]["png"] != planted[0]["png"]


def test_a_read_only_dashboard_shows_the_sliders_and_asks_nothing(
    with_sample: None, planted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITQUANT_READONLY", "1")
    at = visit("diagnosis", view="outliers", model="sample_outliers", factor=60)
    assert at.select_slider(key="address:factor").value == 60
    assert any("not in a read-only dashboard" in info.value for info in at.info)
    assert not planted


def test_a_model_that_is_not_awake_is_woken_and_says_so(
    with_sample: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[tuple[Any, ...]] = []
    monkeypatch.setattr(PredictionWorker, "wake", lambda self, *of: woken.append(of))
    at = visit("diagnosis", view="outliers", model="sample_outliers")
    assert any("The model is waking" in info.value for info in at.info)
    assert set(woken) == {("sample", "bundled", 70)}


def test_without_the_sample_the_page_says_how_to_bring_it(plan: accuracy.Plan) -> None:
    at = visit("diagnosis", view="outliers")
    assert any("git restore data/sample" in info.value for info in at.info)


# Neighbours


REQUEST = DiagnosisRequest(drawn.MODEL, "random", drawn.DATASET)


def batch_row(batch: int, changed: float) -> dict[str, Any]:
    interval = {"changed_low": max(changed - 0.1, 0.0), "changed_high": changed + 0.1}
    return {"part": "batch", "batch": batch, "n": 64, "changed": changed, **interval}


FLIP = {
    "part": "flip", "batch": 8, "picture": 3, "path": "n07749582/003.png", "class_index": LEMON,
    "neighbour": 9, "neighbour_path": "n07747607/001.png", "neighbour_class_index": ORANGE,
    "alone_index": LEMON, "alone_probability": 0.61, "beside_index": BUS, "beside_probability": 0.3,
}  # fmt: skip
WHOLE = {
    "part": "whole", "n": 64, "fp32_top1": 0.9, "fp32_top1_low": 0.8, "fp32_top1_high": 0.95, "top1": 0.1,
    "top1_low": 0.05, "top1_high": 0.2, "agree": 0.1, "agree_low": 0.05, "agree_high": 0.2, "kl_nats": 3.0,
    "sqnr_db": 1.0, "levels": 128, "bits": 7.0,
}  # fmt: skip


def test_neighbours_show_how_many_answers_change_and_one_that_flips(plan: accuracy.Plan) -> None:
    store_run(REQUEST, [WHOLE, batch_row(1, 0.0), batch_row(8, 0.25), batch_row(32, 0.5), FLIP])
    at = visit("diagnosis", view="neighbours")
    shown = text_of(at)
    assert "In batches of **8**, 16 of 64 first answers are others than alone: **25.0%**" in shown
    assert "(95% interval 15.0% to 35.0%)" in shown
    assert "Alone, qint8 says **lemon** (61%) of the first picture." in shown
    assert "Beside the second one, an orange, it says **school bus** (30%)" in shown
    assert html_of(at).count('alt="lemon, enlarged"') == html_of(at).count('alt="orange, enlarged"') == 1
    assert len(charts_of(at)) == 1


def test_neighbours_that_only_together_flip_an_answer_are_told_so(plan: accuracy.Plan) -> None:
    together = {**FLIP, "neighbour": None, "neighbour_path": None, "neighbour_class_index": None}
    store_run(REQUEST, [WHOLE, batch_row(1, 0.0), batch_row(8, 0.25), together])
    at = visit("diagnosis", view="neighbours")
    assert "In its batch of 8 it says **school bus** (30%). No single neighbour does it" in text_of(at)
    assert html_of(at).count("enlarged") == 1


def test_answers_that_stay_are_no_proof_of_independence(plan: accuracy.Plan) -> None:
    store_run(REQUEST, [WHOLE, batch_row(1, 0.0), batch_row(8, 0.0), batch_row(32, 0.0)])
    shown = text_of(visit("diagnosis", view="neighbours"))
    assert "No answer changed here. That does not make qint8 independent" in shown
    assert "flips" not in shown


# One picture


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A worker that is awake, and loses a lemon after the second of three blocks; what it is asked is noted."""
    found: list[dict[str, Any]] = []

    def follow(self: PredictionWorker, **question: Any) -> Followed:
        found.append(question)
        fp32 = np.full((3, 2, 2, 2), 0.1, np.float32)
        fp32[1, 0, 1, 0] = 0.6
        return Followed(
            (0.9, 0.5, 0.2),
            (0.95, 0.6, 0.3),
            Answer((LEMON, 1, 2, 3, 4), (0.9, 0.05, 0.02, 0.01, 0.005)),
            Answer((ORANGE, 1, 2, 3, 4), (0.4, 0.05, 0.02, 0.01, 0.005)),
            (LEMON, LEMON, BUS, ORANGE),
            fp32,
            np.full((3, 2, 2, 2), 0.1, np.float32),
        )

    monkeypatch.setattr(PredictionWorker, "is_ready", lambda self, *of: True)
    monkeypatch.setattr(PredictionWorker, "follow", follow)
    return found


def test_a_picture_is_followed_to_where_its_answer_is_lost(
    plan: accuracy.Plan, followed: list[dict[str, Any]]
) -> None:
    at = visit("diagnosis", view="follow")
    [asked] = followed
    assert (asked["model"], asked["variant"], asked["dataset"]) == (drawn.MODEL, "qint8", drawn.DATASET)
    shown = text_of(at)
    assert "As soon as blocks 0 and 1 are as in qint8, the answer is no longer **lemon**" in shown
    assert "qint8 as a whole says **orange**" in shown
    assert shown.count('class="vq-row"') == 2 * 5
    assert "predictions are meaningless" in shown
    assert len(charts_of(at)) == 1


def test_maps_of_attention_are_of_the_block_and_the_head_that_are_chosen(
    plan: accuracy.Plan, followed: list[dict[str, Any]]
) -> None:
    at = visit("diagnosis", view="follow")
    maps = html_of(at)
    assert maps.count('class="vq-map"') == 4
    assert "40% on the patches, at most 10.0% on one" in maps
    at.slider(key="address:block").set_value(1).run()
    assert "90% on the patches" not in html_of(at)  # the mean of two heads
    assert "65% on the patches, at most 35.0% on one" in html_of(at)
    at.selectbox(key="address:head").set_value("0").run()
    assert not at.exception
    shown = html_of(at)
    assert "90% on the patches, at most 60.0% on one" in shown
    assert "most, 60.0%, on the patch in row 2 of 2, column 1 of 2" in shown
    assert "up to 50.0% on one patch" in shown
    assert at.query_params["block"] in ("1", ["1"])
    assert at.query_params["head"] in ("0", ["0"])
    assert len(followed) == 1


def test_without_pictures_nothing_is_followed_and_the_page_says_why(
    data_dir: Path, followed: list[dict[str, Any]]
) -> None:
    at = visit("diagnosis", view="follow", model=drawn.MODEL, dataset=drawn.DATASET)
    assert any("brings them" in info.value for info in at.info)
    assert not followed
