"""The Diagnosis page's views of stored rows: no browser, no torch."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests import drawn
from tests.pages.helpers import choose, store_run, text_of, visit
from vitquant import accuracy, activations, catalog, database, diagnosis, layers, machine, room, runs
from vitquant.activations import Ranges
from vitquant.measurements import DiagnosisRequest

REQUEST = DiagnosisRequest(drawn.MODEL, "random", drawn.DATASET, 40, variants=("qint8",))
LAYERS = layers.of(catalog.model(drawn.MODEL))
WORST, SECOND, EXEMPT = "blocks.3.attn.qkv", "linear_head", "blocks.7.mlp.fc2"
KL = {WORST: 2.5, SECOND: 0.4}
OUTLIERS, CHANNELS, TIMES, LEVELS = (5, 9), 16, 256.0, 128
BUTTON = "Diagnose"


def cost(direction: str, kl: float, lost: float) -> dict[str, Any]:
    found = {"top1": 0.9 - lost, "lost": lost, "lost_low": lost - 0.05, "lost_high": lost + 0.05}
    found |= {"agree": 1 - lost, "kl_nats": kl, "sqnr_db": 20 - 10 * kl}
    return {f"{direction}_{name}": value for name, value in found.items()}


def layer_row(layer: layers.Layer) -> dict[str, Any]:
    kl = KL.get(layer.name, 1e-5)
    # Alone, only the worst layer loses answers; left out, only one other layer saves any.
    alone = cost("alone", kl, 0.5 if layer.name == WORST else 0.0)
    but = cost("but", 0.1 if layer.name == EXEMPT else 3.0, 0.1 if layer.name == EXEMPT else 0.8)
    return {
        "part": "layer",
        "layer": layer.name,
        "block": layer.block,
        "kind": layer.kind,
        "n": 40,
        **alone,
        **but,
    }


def range_row(layer: layers.Layer) -> dict[str, Any]:
    stands_out = layer.name == WORST
    return {
        "part": "range",
        "layer": layer.name,
        "block": layer.block,
        "kind": layer.kind,
        "channels": CHANNELS,
        "absmax": TIMES if stands_out else 1.0,
        "ordinary": 1.0,
        "outliers": len(OUTLIERS) if stands_out else 0,
        "outlier_ratio": TIMES if stands_out else None,
        "levels": LEVELS,
        "levels_left": 1 if stands_out else LEVELS,
        "weight_absmax": 0.5,
        "weight_ordinary": 0.25,
    }


WHOLE = {"part": "whole", "variant": "qint8", "n": 40, "kl_nats": 3.0, "sqnr_db": -2.0, "levels": LEVELS}
WHOLE |= {"bits": 7.0} | {
    f"{name}{end}": share + off
    for name, share in (("fp32_top1", 0.9), ("top1", 0.1), ("agree", 0.15))
    for end, off in (("", 0.0), ("_low", -0.05), ("_high", 0.05))
}
GROUPS = [*layers.KINDS, *(f"block {block}" for block in range(12))]
ROWS: list[dict[str, Any]] = [
    WHOLE,
    *(range_row(layer) for layer in LAYERS),
    *(
        {"part": "depth", "block": block, "class_cosine": 0.9 - 0.05 * block, "patch_cosine": 0.8,
         "sqnr_db": 12.0 - block}
        for block in range(12)
    ),
    *(layer_row(layer) for layer in LAYERS),
    *({"part": "group", "group": name, "n": 40, **cost("alone", 0.1, 0.0), **cost("but", 3.0, 0.8)}
      for name in GROUPS),
]  # fmt: skip


def store(request: DiagnosisRequest = REQUEST, rows: runs.Rows = ROWS) -> runs.Run:
    run = store_run(request, rows)
    high = np.ones(CHANNELS, np.float32)
    loud = np.where(np.isin(np.arange(CHANNELS), OUTLIERS), TIMES, 1.0).astype(np.float32)
    by_layer = {
        layer.name: Ranges(*((-loud, loud) if layer.name == WORST else (-high, high)), -high / 4, high / 4)
        for layer in LAYERS
    }
    with database.opened() as db:
        runs.attach(db, run.id, diagnosis.RANGES, activations.to_bytes(by_layer))
    return run


def charts_of(at: AppTest) -> dict[str, Any]:
    """Every figure's traces and layout, by an id that ends with the key it is drawn with."""
    return {chart.proto.id: json.loads(chart.proto.spec) for chart in at.get("plotly_chart")}


def chart(at: AppTest, key: str) -> Any:
    [found] = [spec for name, spec in charts_of(at).items() if name.endswith(key)]
    return found


def buttons(at: AppTest, label: str) -> list[Any]:
    return [button for button in at.button if button.label == label]


def labels(figure: Any) -> list[str]:
    return list(figure["layout"]["yaxis"]["ticktext"])


# Which layers


def test_the_layer_that_breaks_is_named_mapped_and_ranked_first(plan: accuracy.Plan) -> None:
    store()
    at = visit("diagnosis")
    assert not buttons(at, BUTTON)
    assert "**block 3, qkv** (2.5 nats), **head** (0.4 nats)" in text_of(at)
    cells = chart(at, "diagnosis-map")["data"][0]
    assert len(cells["customdata"]) == len(LAYERS)
    assert labels(chart(at, "diagnosis-map")) == list(layers.KINDS)
    worst = chart(at, "diagnosis-worst")
    assert labels(worst)[:2] == ["block 3, qkv", "head"]
    assert len(labels(worst)) == 12
    assert worst["data"][0]["x"][:2] == [2.5, 0.4]
    assert labels(chart(at, "By kind")) == list(layers.KINDS)
    assert len(labels(chart(at, "By block"))) == 12
    assert "40 pictures" in text_of(at)


def test_the_full_colour_goes_to_what_is_to_blame(plan: accuracy.Plan) -> None:
    store()
    at = visit("diagnosis")
    cells = chart(at, "diagnosis-map")["data"][0]
    full = [name for (name, _), colour in zip(cells["customdata"], cells["marker"]["color"], strict=True)
            if float(colour.rpartition(",")[2].rstrip(")")) > 0.6]  # fmt: skip
    assert full == [WORST, SECOND]
    choose(at, "quantized", "but")
    cells = chart(at, "diagnosis-map")["data"][0]
    alpha = [float(colour.rpartition(",")[2].rstrip(")")) for colour in cells["marker"]["color"]]
    assert cells["customdata"][alpha.index(max(alpha))][0] == EXEMPT


def test_top_1_has_intervals_and_all_but_one_layer_ranks_what_it_saves(plan: accuracy.Plan) -> None:
    store()
    at = visit("diagnosis", by="lost")
    bars = chart(at, "diagnosis-worst")["data"][0]
    assert bars["x"][0] == pytest.approx(50)
    assert bars["error_x"]["array"][0] == pytest.approx(5)
    assert "with 95% intervals" in text_of(at)
    choose(at, "quantized", "but")
    worst = chart(at, "diagnosis-worst")
    assert labels(worst)[0] == "block 7, fc2"
    assert worst["data"][0]["x"][0] == pytest.approx(10)
    assert at.query_params["quantized"] in ("but", ["but"])
    choose(at, "by", "sqnr")
    assert labels(chart(at, "diagnosis-worst"))[0] == "block 7, fc2"
    assert "with 95% intervals" not in text_of(at)


def test_a_layer_that_changes_nothing_has_no_noise_and_comes_last(plan: accuracy.Plan) -> None:
    exact = {"alone_sqnr_db": None, "alone_kl_nats": 0.0}
    rows = [row | exact if (row["part"], row.get("layer")) == ("layer", SECOND) else row for row in ROWS]
    store(rows=rows)
    at = visit("diagnosis", by="sqnr", view="layers")
    assert not at.error
    assert "head" not in labels(chart(at, "diagnosis-worst"))


def test_every_figure_is_in_the_table(plan: accuracy.Plan) -> None:
    store()
    at = visit("diagnosis")
    [table] = [frame.value for frame in at.dataframe]
    assert list(table["layer"]) == [layer.name for layer in LAYERS]
    assert table.set_index("layer")["alone: KL (nats)"][WORST] == 2.5
    assert table.set_index("layer")["all but it: top-1 lost"][EXEMPT] == pytest.approx(0.1)


# Why


def test_the_worst_layer_is_explained_first(plan: accuracy.Plan) -> None:
    store()
    at = visit("diagnosis", view="why")
    assert at.selectbox(key="address:layer").value == WORST
    shown = text_of(at)
    assert "2 of 16 channels are 256 times larger than the rest; at int8 the others get 1 level." in shown
    assert "This layer alone as in qint8: top-1 lost 50.0 points (45.0 to 55.0), 2.5 nats of KL" in shown
    assert "128 levels (7 bits; read off the kernel itself)" in shown
    assert "Dashed: block 3" in shown


def test_outliers_are_lines_of_their_own_and_the_grid_lies_beneath(plan: accuracy.Plan) -> None:
    store()
    at = visit("diagnosis", view="why", arranged="model")
    by_name = {trace["name"]: trace for trace in chart(at, "ranges-all")["data"]}
    places = [place for place in by_name["outliers"]["x"] if place is not None]
    assert sorted(set(places)) == list(OUTLIERS)
    lines = [y for y in by_name["int8's levels"]["y"] if y is not None]
    distances = np.diff(sorted(set(np.round(lines, 3))))
    assert distances == pytest.approx(2 * TIMES / (LEVELS - 1), abs=0.01)
    close = {trace["name"]: trace for trace in chart(at, "ranges-close")["data"]}
    assert {round(y, 2) for y in close["int8's levels"]["y"] if y is not None} == {-4.03, 0, 4.03}
    choose(at, "arranged", "sorted")
    [outliers] = [trace for trace in chart(at, "ranges-all")["data"] if trace["name"] == "outliers"]
    assert sorted({place for place in outliers["x"] if place is not None}) == [0, 1]
    choose(at, "scale", "log")
    assert chart(at, "ranges-all")["layout"]["yaxis"]["type"] == "log"


def test_a_layer_without_outliers_says_so(plan: accuracy.Plan) -> None:
    store()
    at = visit("diagnosis", view="why", layer="blocks.0.attn.proj")
    assert "No channel of 16 stands out" in text_of(at)
    names = [trace["name"] for trace in chart(at, "ranges-all")["data"]]
    assert "outliers" not in names and "int8's levels" in names
    assert not [key for key in charts_of(at) if key.endswith("ranges-close")]


def test_a_layer_that_stays_in_float_has_no_grid(plan: accuracy.Plan) -> None:
    rows = [row | {"levels": None, "levels_left": None} if row["part"] == "range" else row for row in ROWS]
    store(rows=rows)
    at = visit("diagnosis", view="why")
    assert not at.error
    assert "does not round them" in text_of(at)
    assert "int8's levels" not in [trace["name"] for trace in chart(at, "ranges-all")["data"]]


def test_choosing_another_layer_is_kept_in_the_address(plan: accuracy.Plan) -> None:
    store()
    at = visit("diagnosis", view="why")
    at.selectbox(key="address:layer").set_value(SECOND).run()
    assert at.query_params["layer"] in (SECOND, [SECOND])
    assert "Dashed" not in text_of(at)  # the head belongs to no block


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"layer": "blocks.99.mlp.fc1", "view": "why"}, "There is no layer"),
        ({"by": "beauty"}, "There is no cost of a layer"),
        ({"quantized": "none"}, "There is no choice of layers"),
        ({"variant": "float16"}, "There is no int8 variant"),
        ({"view": "<b>"}, "There is no view"),
    ],
)
def test_an_address_that_means_nothing_is_a_sentence(
    plan: accuracy.Plan, query: dict[str, str], said: str
) -> None:
    store()
    at = visit("diagnosis", **query)
    assert any("From the address" in warning.value and said in warning.value for warning in at.warning)


# Whether there is something to show


def test_one_click_measures_in_the_background(plan: accuracy.Plan) -> None:
    at = visit("diagnosis")
    assert "Nothing is measured yet of qint8" in text_of(at)
    [button] = buttons(at, BUTTON)
    button.click().run()
    assert not at.exception
    with database.opened() as db:
        [run] = runs.find(db)
    assert (run.kind, run.state, run.request["variants"]) == ("diagnosis", "queued", ["qint8"])
    assert f"first {diagnosis.USUAL_PICTURES} of {drawn.DATASET}" in text_of(at)


def test_a_model_too_large_for_the_memory_is_not_offered(
    plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "memory_problem", lambda model, what: f"{model} is too large for {what}.")
    at = visit("diagnosis")
    assert f"{drawn.MODEL} is too large for diagnosis." in text_of(at)
    assert not buttons(at, BUTTON)


@pytest.mark.parametrize(
    "other", [replace(REQUEST, image_size=84), replace(REQUEST, variants=("qint8_channel",))]
)
def test_a_diagnosis_of_something_else_is_not_shown(plan: accuracy.Plan, other: DiagnosisRequest) -> None:
    store(other)
    at = visit("diagnosis", size=70)
    assert buttons(at, BUTTON)
    assert not charts_of(at)


def test_another_variant_has_its_own_diagnosis(plan: accuracy.Plan) -> None:
    store(replace(REQUEST, variants=("qint8_channel",)))
    at = visit("diagnosis", variant="qint8_channel")
    assert not buttons(at, BUTTON)
    assert chart(at, "diagnosis-map")


def test_a_run_under_other_conditions_is_stale_and_one_of_today_goes_first(
    plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = store()
    real = machine.version_of
    with monkeypatch.context() as patched:
        patched.setattr(machine, "version_of", lambda name: "9.9.9" if name == "torch" else real(name))
        store()
    at = visit("diagnosis")
    assert not [warning for warning in at.warning if "Stale" in warning.value]
    with database.opened() as db:
        runs.delete(db, today.id)
    at = visit("diagnosis")
    [warning] = [warning for warning in at.warning if "Stale" in warning.value]
    assert "torch (9.9.9 then" in warning.value
    assert buttons(at, "Measure again")
    assert chart(at, "diagnosis-map")


def test_random_weights_are_labelled(plan: accuracy.Plan) -> None:
    store()
    for view in ("layers", "why"):
        assert any("says nothing of trained ones" in w.value for w in visit("diagnosis", view=view).warning)


def test_read_only_shows_what_is_stored_and_starts_nothing(
    plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    store()
    monkeypatch.setenv("VITQUANT_READONLY", "1")
    at = visit("diagnosis")
    assert chart(at, "diagnosis-map")
    at = visit("diagnosis", size=84)  # nothing is stored at this size
    assert text_of(at).count("Nothing is measured yet") == 1  # said, and not offered to be changed
    assert not buttons(at, BUTTON)
