"""The Size page's view of fewer bits, on stored rows: no browser, no torch."""

from dataclasses import replace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests import drawn
from tests.pages.helpers import choose, store_run, text_of, visit
from vitquant import accuracy, bits, database, machine, runs
from vitquant.measurements import BitsRequest
from vitquant.worker import OwnAnswer, PredictionWorker

REQUEST = BitsRequest(drawn.MODEL, "random", drawn.DATASET, 40)
AGREE = {(2, "tensor"): 0.05, (2, "channel"): 0.2, (3, "tensor"): 0.5}
ROWS = [
    {
        "bits": count,
        "granularity": granularity,
        "size_bytes": 3_000_000 * count,
        "sqnr_db": None if granularity == bits.ORIGINAL else 6.0 * count,
        "n": 40,
        "agree": (share := AGREE.get((count, granularity), 1.0)),
        "agree_low": max(share - 0.04, 0.0),
        "agree_high": min(share + 0.04, 1.0),
        "top1": 0.01,
        "top1_low": 0.0,
        "top1_high": 0.02,
        "mean_kl_nats": 0.5,
    }
    for count, granularity in ((32, bits.ORIGINAL), *bits.SETTINGS)
]

BUTTON = "Measure fewer bits"


def buttons(at: AppTest, label: str) -> list[Any]:
    return [button for button in at.button if button.label == label]


def charts_of(at: AppTest) -> list[str]:
    return [chart.proto.spec for chart in at.get("plotly_chart")]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A worker that is awake and holds that everything is an orange, but at 2 bits a lemon; what it is asked is
    noted."""
    found: list[dict[str, Any]] = []

    def answer(first: int) -> OwnAnswer:
        return OwnAnswer((first, 1, 2, 3, 4), (0.5, 0.2, 0.1, 0.1, 0.05), 0.004)

    def predict_own(self: PredictionWorker, **question: Any) -> dict[str, OwnAnswer]:
        found.append(question)
        return {"fp32": answer(950)}

    def predict_rounded(self: PredictionWorker, **question: Any) -> OwnAnswer:
        found.append(question)
        return answer(951 if question["bits"] == 2 else 950)

    monkeypatch.setattr(PredictionWorker, "is_ready", lambda self, *of: True)
    monkeypatch.setattr(PredictionWorker, "predict_own", predict_own)
    monkeypatch.setattr(PredictionWorker, "predict_rounded", predict_rounded)
    return found


def test_what_is_simulated_is_said_before_anything_else(plan: accuracy.Plan) -> None:
    at = visit("size", view="bits")
    assert bits.SIMULATED in at.info[0].value
    assert "predictions are meaningless" in text_of(at)


def test_one_click_measures_in_the_background(plan: accuracy.Plan) -> None:
    at = visit("size", view="bits")
    [button] = buttons(at, BUTTON)
    button.click().run()
    assert not at.exception
    with database.opened() as db:
        [run] = runs.find(db)
    assert (run.kind, run.state) == ("bits", "queued")
    assert (run.request["pictures"], run.request["dataset"]) == (bits.USUAL_PICTURES, drawn.DATASET)
    assert f"first 256 of {drawn.DATASET}" in text_of(at)


def test_a_measured_run_shows_its_finding_its_charts_and_every_byte(plan: accuracy.Plan) -> None:
    store_run(REQUEST, ROWS)
    at = visit("size", view="bits")
    assert not buttons(at, BUTTON)
    shown = text_of(at)
    assert "Scales **per tensor**: down to **4 bits** at least 99% of the answers to these 40 pictures" in shown
    assert "At 3 bits 50% (46% to 54%) stay with one scale for a whole weight" in shown
    table = at.dataframe[0].value
    assert list(table["computed size (bytes)"])[:3] == [96_000_000, 24_000_000, 24_000_000]
    assert len(table) == 15
    assert len(charts_of(at)) == 3
    assert not any("MiB" in spec for spec in charts_of(at))
    choose(at, "unit", "MiB")
    assert any("MiB" in spec for spec in charts_of(at))
    assert not any(" MB" in spec for spec in charts_of(at))


def test_a_run_at_another_image_size_is_not_shown(plan: accuracy.Plan) -> None:
    store_run(replace(REQUEST, image_size=84), ROWS)
    at = visit("size", view="bits", size=70)
    assert not at.dataframe
    assert buttons(at, BUTTON)


def test_a_run_under_other_conditions_is_stale_and_one_of_today_goes_first(
    plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = store_run(REQUEST, ROWS)
    real = machine.version_of
    with monkeypatch.context() as patched:
        patched.setattr(machine, "version_of", lambda name: "9.9.9" if name == "torch" else real(name))
        other = store_run(REQUEST, ROWS)
    at = visit("size", view="bits")
    assert not [warning for warning in at.warning if "Stale" in warning.value]
    with database.opened() as db:
        runs.delete(db, today.id)
    at = visit("size", view="bits")
    assert other.id != today.id
    [warning] = [warning for warning in at.warning if "Stale" in warning.value]
    assert "torch (9.9.9 then" in warning.value
    assert buttons(at, BUTTON)


# One picture, just now


def test_the_rounded_answer_stands_beside_fp32s(plan: accuracy.Plan, asked: list[dict[str, Any]]) -> None:
    at = visit("size", view="bits")
    assert [question.get("bits") for question in asked] == [None, 4]
    assert asked[0]["variants"] == ["fp32"]
    assert text_of(at).count('class="vq-row"') == 2 * 5
    assert "The answer stays: orange" in text_of(at)
    at.slider(key="address:bits").set_value(2).run()
    assert not at.exception
    assert "The answer changes from orange to lemon" in text_of(at)
    assert "2 bits, per tensor" in text_of(at)
    choose(at, "granularity", "channel")
    assert [(question["bits"], question["per_channel"]) for question in asked[1:]] == [
        (4, False), (2, False), (2, True)
    ]  # fmt: skip
    assert at.query_params["bits"] in ("2", ["2"])
    assert at.query_params["granularity"] in ("channel", ["channel"])
    at.run()
    assert len(asked) == 4  # answered once in a visit


def test_a_link_opens_the_same_bits_of_the_same_picture(
    plan: accuracy.Plan, asked: list[dict[str, Any]]
) -> None:
    at = visit("size", view="bits", bits=3, granularity="channel", picture=plan.order[7])
    assert not [warning for warning in at.warning if "From the address" in warning.value]
    assert at.slider(key="address:bits").value == 3
    assert (asked[1]["bits"], asked[1]["per_channel"]) == (3, True)
    [button] = buttons(at, "Another picture")
    button.click().run()
    assert at.query_params["picture"] in (str(plan.order[8]), [str(plan.order[8])])
    assert asked[3]["png"] != asked[1]["png"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"bits": "9"}, "goes from 2 to 8"),
        ({"bits": "two"}, "is no number of bits"),
        ({"granularity": "<b>"}, "There is no granularity"),
        ({"picture": "40"}, "is no picture"),
    ],
)
def test_an_address_that_means_nothing_is_a_sentence(
    plan: accuracy.Plan, query: dict[str, str], said: str
) -> None:
    at = visit("size", view="bits", **query)
    assert any("From the address" in warning.value and said in warning.value for warning in at.warning)
    assert at.slider(key="address:bits").value == 4


def test_while_the_model_wakes_the_page_says_so(plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    woken = []
    monkeypatch.setattr(PredictionWorker, "wake", lambda self, *of: woken.append(of))
    at = visit("size", view="bits")
    assert "The model is waking" in text_of(at)
    assert woken[0] == (drawn.MODEL, "random", 70)


def test_read_only_shows_what_is_stored_and_nothing_that_computes(
    plan: accuracy.Plan, asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store_run(REQUEST, ROWS)
    monkeypatch.setenv("VITQUANT_READONLY", "1")
    at = visit("size", view="bits")
    assert not at.error
    assert len(charts_of(at)) == 3
    assert not at.slider
    assert not buttons(at, BUTTON) and not buttons(at, "Another picture")
    at = visit("size", view="bits", size=84)  # nothing is stored at this size
    assert "Nothing is measured yet" in text_of(at)
    assert not buttons(at, BUTTON)
    assert not asked


# Elsewhere


def test_other_lists_of_runs_take_such_runs(plan: accuracy.Plan) -> None:
    first, second = store_run(REQUEST, ROWS), store_run(replace(REQUEST, pictures=20), ROWS)
    at = visit("benchmark", view="runs")
    assert list(at.dataframe[0].value["run"]) == [second.id, first.id]
    at = visit("benchmark", view="compare", first=first.id, second=second.id)
    assert not at.error
    assert at.dataframe[1].value["variant"].iloc[0] == "8 bits, per tensor"
    assert "As though the two runs had looked at different pictures" in text_of(at)
