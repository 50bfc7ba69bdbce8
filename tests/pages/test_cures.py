"""The Cures view of the Diagnosis page: what mends int8, how it was found, and the clicks that measure it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from tests import drawn
from tests.pages.helpers import choose, store_run, text_of, visit
from vitquant import accuracy, catalog, cure_words, database, fits, machine, predictions, runs, weights
from vitquant.cure import Cure
from vitquant.fits import Fit
from vitquant.measurements import CalibrationRequest, SizeRequest, StudyRequest

LOST, KEPT = set(range(2, 30)), {0, 1}
WRONG = {"fp32": KEPT, "qint8": LOST, "qint8_channel": LOST, "qint8_smooth": KEPT, "qint8_mixed": KEPT,
         "qint8_best": KEPT, "bfloat16": KEPT}  # fmt: skip
TRAINING_PICTURES = 80
HEAD, QKV = "linear_head", "blocks.3.attn.qkv"


def candidate(step: str, kl: float, kept: bool, **values: object) -> dict[str, Any]:
    return {"step": step, "n": 16, "top1": 0.9, "points_lost": 0.25, "points_lost_high": 0.45,
            "broken": 1, "fixed": 0,
            "mean_kl_nats": kl, "weight_bytes": 5 * 10**6, "in_float": 0, "kept": kept,
            "why": f"because of {step}"} | values  # fmt: skip


TRAIL = [candidate("int8", 5.0, True), candidate("smoothed", 0.01, True), candidate("corrected", 0.02, False)]
STUDY_ROWS = [
    {"pictures": count, "seed": seed, "n": 16, "top1": top1, "top1_low": top1 - 0.01, "top1_high": top1 + 0.01,
     "agree": top1, "mean_kl_nats": kl}
    for count, seed, top1, kl in ((0, 0, 0.05, 5.0), (1, 0, 0.9, 0.01), (1, 1, 0.9, 0.012), (8, 0, 0.9, 0.011))
]  # fmt: skip


@pytest.fixture
def training(pictures: Path) -> Path:
    """Training pictures beside those that are measured: small ones, each of its own colour."""
    root = pictures.parent / "train"
    folders = sorted(folder.name for folder in pictures.iterdir())
    for number in range(TRAINING_PICTURES):
        folder = root / folders[number % len(folders)]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number, 0, 0)).save(folder / f"{number}.png")
    return root


@pytest.fixture
def trained(training: Path, tmp_path: Path) -> str:
    """A folder of weights that are not random: files that nothing here opens."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for file in weights.resolve(drawn.MODEL, "hub").files:
        (folder / file.name).write_bytes(b"weights")
    return str(folder)


@pytest.fixture
def mended(trained: str) -> str:
    """The same, with every cure's answers stored: int8 loses nearly all, and the cures but one nothing."""
    drawn.store_answers(WRONG, limit=30, weights=trained)
    return trained


def store_fit(source: str, name: str, parameters: dict[str, Any], trail: runs.Rows = TRAIL) -> None:
    with database.opened() as db:
        resolved = weights.resolve(drawn.MODEL, source)
        wanted = fits.wanted(db, resolved, (name,), drawn.DATASET, 70)[name]
        of = wanted.chosen.calibration
        about = machine.environment(), predictions.now()
        fit = Fit(drawn.MODEL, wanted.weights_digest, name, 1, of, Cure(), parameters, trail, *about)
        fits.add(db, fit)


def cures(**query: object) -> AppTest:
    return visit("diagnosis", view="cures", **query)


def chart(at: AppTest, key: str) -> Any:
    [found] = [json.loads(c.proto.spec) for c in at.get("plotly_chart") if c.proto.id.endswith(key)]
    return found


def buttons(at: AppTest) -> dict[str, Any]:
    """The buttons that start something, by their words."""
    starters = ("cures-", "again-")
    return {button.label: button for button in at.button if str(button.key).startswith(starters)}


def queued() -> runs.Run:
    with database.opened() as db:
        [run] = runs.find(db, states=("queued",))
    return run


# What is lost, and what mends it


def test_the_answer_comes_first_with_intervals_and_pictures(mended: str) -> None:
    sizes = [{"variant": "fp32", "disk_bytes": 20_000_000}, {"variant": "qint8", "disk_bytes": 5_000_000},
             {"variant": "qint8_best", "disk_bytes": 5_500_000}]  # fmt: skip
    store_run(SizeRequest(drawn.MODEL, mended, ("fp32", "qint8", "qint8_best")), sizes)
    at = cures()
    shown = text_of(at)
    assert "**qint8** loses 86.7 points of top-1 (95% interval " in shown
    assert "**qint8_best** loses 0.0 points of top-1 (95% interval -" in shown
    assert "**5.5 MB** on disk: 0.28 of fp32's, 1.10 of qint8's" in shown
    kept = chart(at, "cures-kept")
    assert list(kept["layout"]["yaxis"]["ticktext"])[:3] == ["fp32", "qint8", "qint8_channel"]
    assert [trace["x"][0] for trace in kept["data"]][:2] == pytest.approx([28 / 30, 2 / 30])
    assert all(trace["error_x"]["array"][0] > 0 for trace in kept["data"])


def test_every_cure_has_its_figures_and_the_one_that_does_not_help_says_why(mended: str) -> None:
    shown = text_of(cures())
    assert cure_words.WEIGHTS_ARE_INNOCENT in shown
    assert "**6.7%** right" in shown and "**-86.7 points** against fp32" in shown
    assert shown.count("**+0.0 points** against fp32") == 4
    assert shown.count("size not measured yet") == shown.count("speed not measured yet") == 5


def test_every_figure_is_in_the_table(mended: str) -> None:
    table = cures().dataframe[0].value.set_index("variant")
    assert list(table.index) == list(WRONG)
    assert table["points"]["qint8"] == pytest.approx(-100 * 26 / 30)
    assert table["KL (nats)"]["qint8_best"] == pytest.approx(0.5 * 2 / 30)


def test_where_int8_loses_nothing_there_is_nothing_to_mend(trained: str) -> None:
    drawn.store_answers({"fp32": KEPT, "qint8": KEPT}, limit=30, weights=trained)
    assert cure_words.NOTHING_TO_MEND in text_of(cures())


def test_one_click_measures_what_is_not_measured(trained: str) -> None:
    drawn.store_answers({"fp32": KEPT, "qint8": LOST}, limit=30, weights=trained)
    at = cures()
    assert "the accuracy of qint8_channel, qint8_smooth, qint8_mixed, qint8_best, bfloat16" in text_of(at)
    buttons(at)["Measure the accuracy"].click().run()
    run = queued()
    assert (run.kind, run.request["variants"]) == ("accuracy", list(WRONG))


def test_what_is_measured_is_not_offered_again(mended: str) -> None:
    assert "Measure the accuracy" not in buttons(cures())


# How it was found


def test_a_calibration_says_on_what_and_shows_every_candidate(mended: str) -> None:
    store_fit(mended, "qint8_best", {"alpha": 0.4})
    at = cures()
    shown = text_of(at)
    assert "Smoothed behind the LayerNorms, alpha: **0.4**" in shown
    lost = "**0.25 points** are lost (95% sure: at most 0.45), where 0.5 may be"
    assert f"On 16 training pictures that judge, {lost}" in shown
    assert "64 training pictures of tiny-imagenet (seed 0, 70 × 70 pixels), judged on 16 others" in shown
    traces = {trace["name"]: trace for trace in chart(at, "cures-trail")["data"]}
    assert traces["kept"]["x"] == [5.0, 0.01] and traces["not kept"]["x"] == [0.02]
    assert traces["kept"]["marker"]["symbol"] + "-open" == traces["not kept"]["marker"]["symbol"]
    assert chart(at, "cures-trail")["layout"]["xaxis"]["type"] == "log"
    table = at.dataframe[1].value
    assert list(table["step"]) == ["int8", "smoothed", "corrected"]
    assert list(table["because"])[2] == "because of corrected"


def test_a_mix_names_the_layers_it_leaves_in_float(mended: str) -> None:
    rows = [candidate("all", 0.001, True, in_float=49, weight_bytes=9 * 10**6), candidate("two", 0.1, True)]
    store_fit(mended, "qint8_mixed", {"left in float": [HEAD, QKV], "as": "float16"}, rows)
    shown = text_of(cures(cure="qint8_mixed"))
    of = 4 * catalog.model(drawn.MODEL).depth + 1
    assert f"**2 of {of}** layers stay in float16: the head; qkv of block 3." in shown
    assert "**5 MB** (computed), where they would take 9 MB with 49 layers in float" in shown


def test_another_limit_is_another_variant_that_a_click_calibrates(mended: str) -> None:
    store_fit(mended, "qint8_mixed", {"left in float": [], "as": "float16"})
    at = cures(cure="qint8_mixed")
    assert not [label for label in buttons(at) if "mix" in label]
    at.number_input(key="address:limit").set_value(1.2).run()
    assert at.query_params["limit"] in ("1.2", ["1.2"])
    assert "qint8_mixed:limit=1.2 is not calibrated yet" in text_of(at)
    buttons(at)["Find the cheapest mix that loses at most 1.2 points"].click().run()
    run = queued()
    assert (run.kind, run.request["variants"]) == ("calibration", ["qint8_mixed:limit=1.2"])


def test_a_variant_without_a_limit_is_not_asked_for_one(mended: str) -> None:
    at = cures()
    choose(at, "cure", "qint8_smooth")
    assert not at.number_input
    buttons(at)["Calibrate"].click().run()
    assert queued().request["variants"] == ["qint8_smooth"]


def test_a_variant_that_was_found_and_not_measured_is_offered_and_then_has_a_card(mended: str) -> None:
    name = "qint8_mixed:limit=1"
    store_fit(mended, name, {"left in float": [HEAD], "as": "float16"})
    at = cures(cure="qint8_mixed", limit=1)
    assert f"{name} is found, and not measured yet" in text_of(at)
    [click] = [button for title, button in buttons(at).items() if title.startswith("Measure it on")]
    assert click.label == "Measure it on 30 pictures", "as many as the others have answered"
    click.click().run()
    assert queued().request["variants"] == ["fp32", "qint8", name]
    drawn.store_answers({name: KEPT}, limit=30, weights=mended)
    at = cures(cure="qint8_mixed", limit=1)
    assert not any(title.startswith("Measure it on") for title in buttons(at))
    assert name in list(at.dataframe[0].value["variant"])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"cure": "qint8"}, "There is no calibrated variant"),
        ({"cure": "qint8_mixed", "limit": "9"}, "is no limit"),
        ({"cure": "qint8_best", "limit": "<b>"}, "is no limit"),
        ({"cure": "qint8_mixed", "limit": "nan"}, "is no limit"),
    ],
)
def test_an_address_that_means_nothing_is_a_sentence(mended: str, query: dict[str, str], said: str) -> None:
    at = cures(**query)
    assert any("From the address" in warning.value and said in warning.value for warning in at.warning)


def test_a_calibration_on_other_pictures_is_stale(mended: str, training: Path) -> None:
    store_fit(mended, "qint8_best", {"alpha": 0.4})
    Image.new("RGB", (4, 4), (0, 255, 0)).save(next(training.rglob("*.png")))
    at = cures()
    [*_, warning] = [warning.value for warning in at.warning if "Stale: qint8_best" in warning.value]
    assert "the training pictures" in warning
    assert chart(at, "cures-trail")
    buttons(at)["Measure again"].click().run()
    assert queued().kind == "calibration"


def test_a_limit_that_no_mix_keeps_is_said_where_the_run_ended(mended: str) -> None:
    request = CalibrationRequest(drawn.MODEL, mended, ("qint8_mixed:limit=0.1",), drawn.DATASET)
    run = store_run(request, [], state="failed")
    sentence = "No mix keeps within 0.1 points."
    with database.opened() as db:
        runs.finish(db, run.id, "failed", sentence)
    at = cures(cure="qint8_mixed", limit="0.1")
    assert sentence in text_of(at)
    assert "Find the cheapest mix that loses at most 0.1 points" in buttons(at)


# How many pictures are enough


def test_the_study_is_told_and_drawn(mended: str) -> None:
    store_run(StudyRequest(drawn.MODEL, mended, drawn.DATASET, 16), STUDY_ROWS)
    at = cures()
    assert "**From 1 picture on**, KL stays between 0.01 and 0.012 nats" in text_of(at)
    seeds = {trace["name"]: trace["customdata"] for trace in chart(at, "study-kl")["data"]}
    assert seeds == {"seed 0": [1, 8], "seed 1": [1]}
    assert chart(at, "study-top1")["layout"]["xaxis"]["type"] == "log"


def test_a_study_at_another_image_size_is_not_shown_and_a_click_makes_one(mended: str) -> None:
    store_run(replace(StudyRequest(drawn.MODEL, mended, drawn.DATASET, 16), image_size=84), STUDY_ROWS)
    at = cures()
    assert "From 1 picture on" not in text_of(at)
    buttons(at)["Measure it"].click().run()
    run = queued()
    assert (run.kind, run.request["image_size"]) == ("study", 70)


# Whether there is anything to say


def test_random_weights_show_no_share_of_right_answers(training: Path) -> None:
    drawn.store_answers(WRONG, limit=30)
    at = cures()
    shown = text_of(at)
    assert "searches for a cure minimise the KL divergence" in shown
    assert "KL divergence to fp32's answers: **qint8** 0.467 nats, **qint8_best** 0.0333 nats." in shown
    assert "points of top-1" not in shown and "right (" not in shown
    assert not [c for c in at.get("plotly_chart") if c.proto.id.endswith("cures-kept")]
    assert not [title for title in at.dataframe[0].value if str(title).startswith("top-1")]


def test_without_training_pictures_the_measured_cures_are_still_shown(plan: accuracy.Plan) -> None:
    at = cures()
    assert "qint8_best is not calibrated yet" in text_of(at)
    buttons(at)["Search, losing at most 0.5 points"].click().run()
    assert any("sample" in error.value for error in at.error)


def test_answers_under_other_conditions_are_stale(mended: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = machine.version_of
    monkeypatch.setattr(machine, "version_of", lambda name: "9.9.9" if name == "torch" else real(name))
    at = cures()
    [*_, warning] = [warning.value for warning in at.warning if "Stale" in warning.value]
    assert "qint8_best" in warning and "9.9.9 now" in warning


def test_read_only_shows_what_is_stored_and_starts_nothing(
    mended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_fit(mended, "qint8_best", {"alpha": 0.4})
    monkeypatch.setenv("VITQUANT_READONLY", "1")
    at = cures()
    assert chart(at, "cures-trail") and chart(at, "cures-kept")
    assert not buttons(at)
    at = cures(cure="qint8_mixed")
    shown = text_of(at)
    assert "qint8_mixed is not calibrated yet" in shown and "This is not measured yet" in shown
    assert (
        "Not measured yet: " not in shown and "in the background" not in shown and "is fitted to" not in shown
    )
    assert not buttons(at)
