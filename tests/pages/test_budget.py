"""The Size page's view of what fits: limits in the address, the answer, a click for what was not measured."""

from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests import drawn
from tests.pages.helpers import (
    LATENCY,
    LATENCY_ROWS,
    READY,
    SIZE,
    SIZE_ROWS,
    html_of,
    store_run,
    text_of,
    visit,
)
from vitquant import accuracy, budget, catalog, database, presets, runs, units, variants
from vitquant.runs import Run

BUTTON = f"measure-{drawn.MODEL}-hub"
ALL = len(catalog.MODELS) * len(variants.RECIPES)


def view(**query: object) -> AppTest:
    return visit("size", view="budget", **query)


def limits(at: AppTest) -> list[str]:
    return [at.select_slider(key=f"address:{name}").value for name in ("disk", "memory", "latency")]


def buttons(at: AppTest) -> list[str]:
    return [button.key for button in at.button if str(button.key).startswith("measure-")]


def how_to_get(at: AppTest) -> str:
    """What is said of the drawn model's own weights, which are not here."""
    command = f"`python -m vitquant benchmark accuracy --model {drawn.MODEL} --dataset {drawn.DATASET}`"
    [told] = [caption.value for caption in at.caption if command in caption.value]
    return told


def misunderstood(at: AppTest) -> str:
    return "\n".join(warning.value for warning in at.warning if "From the address" in warning.value)


def queued() -> list[Run]:
    with database.opened() as db:
        return runs.find(db, states=("queued",))[::-1]


def test_nothing_measured_is_a_sentence(pictures: Path) -> None:
    at = view()
    assert "Nothing is measured yet" in text_of(at)
    assert "vq-card" not in html_of(at).split("</style>")[-1]
    # The others' smallest variants cannot take less than 64 MB.
    assert buttons(at) == [
        "measure-sample-bundled",
        "measure-sample_outliers-bundled",
        "measure-dinov2_vits14_lc-hub",
        f"measure-{drawn.MODEL}-hub",
    ]


def test_what_fits_is_told_with_what_it_takes_and_what_is_missing(plan: accuracy.Plan) -> None:
    store_run(SIZE, SIZE_ROWS)
    at = view(disk="64MB", latency="150ms")
    text = text_of(at)
    assert "is known to fit" in text
    assert "26.6 MB" in text
    assert "of 64 MB" in text
    assert "32 MB too much" in text  # fp32: 95.98 MB
    assert "not measured" in text
    store_run(LATENCY, LATENCY_ROWS)
    text = text_of(view(disk="64MB", latency="150ms"))
    assert "1 of " in text
    assert "15 ms" in text
    assert "not of the device" in text
    assert budget.WHAT_DISK_IS in text
    assert budget.WHAT_MEMORY_IS in text


def test_random_weights_stand_in_for_size_and_time_and_are_labelled(plan: accuracy.Plan) -> None:
    store_run(SIZE, SIZE_ROWS)
    at = view(disk="64MB")
    assert "with random weights: size<" in html_of(at)
    store_run(LATENCY, LATENCY_ROWS)
    at = view(disk="64MB")
    html = html_of(at)
    assert "with random weights: size, latency<" in html
    assert "How accurate they are was not measured." in text_of(at)  # the plan's answers are of random weights
    assert "pictures recognised" in html
    assert "%</span>" not in html
    assert f"- size of **{drawn.MODEL}**, random weights" in text_of(at)  # on what it was measured


def test_disk_is_judged_by_the_smaller_file(plan: accuracy.Plan) -> None:
    store_run(SIZE, [row | {"exported_bytes": 50 * units.MB} for row in SIZE_ROWS])
    at = view(disk="64MB")
    assert f"2 of {ALL} fit" in text_of(at)
    assert "50 MB" in html_of(at)
    assert "too much" not in html_of(at)


def test_a_limit_smaller_than_the_process_itself_is_told(plan: accuracy.Plan) -> None:
    memory = {"baseline_bytes": 450 * units.MB, "peak_bytes": 510 * units.MB, "steady_bytes": 480 * units.MB}
    store_run(SIZE, [row | memory for row in SIZE_ROWS])
    at = view(preset="lambda")
    [answer] = [m.value for m in at.markdown if m.value.startswith("**Nothing fits with torch**")]
    assert answer.split("\n\n")[:2] == [
        "**Nothing fits with torch**: its process takes 450 MB of memory before it loads any model, more than "
        "the limit.",
        f"Beside a smaller runtime 2 of {ALL} would.",
    ]
    assert "60 MB" in html_of(at)  # what the model adds
    at = view(memory="500MB")
    assert "Nothing fits with torch" not in text_of(at)
    assert "smaller runtime" not in text_of(at)
    assert "takes up to 450 MB" in text_of(at)


def test_a_slider_writes_the_address_and_the_answer_follows(plan: accuracy.Plan) -> None:
    store_run(SIZE, SIZE_ROWS)
    at = view(disk="64MB")
    assert "1 of " in text_of(at)
    at.select_slider(key="address:disk").set_value("20MB").run()
    assert at.query_params["disk"] == "20MB"
    assert at.query_params["memory"] == "none"
    assert "6.55 MB too much" in text_of(at)
    assert "fit" in text_of(at)
    assert "1 of " not in text_of(at)


def test_a_preset_sets_the_sliders_names_its_source_and_is_left_when_one_moves(plan: accuracy.Plan) -> None:
    at = view()
    at.selectbox(key="address:preset").set_value("lambda").run()
    assert not at.exception
    assert at.query_params["preset"] == "lambda"
    assert limits(at) == ["250MiB", "128MB", "none"]
    assert all(source.url in text_of(at) for source in presets.PRESETS["lambda"].sources)
    at.select_slider(key="address:latency").set_value("150ms").run()
    assert "preset" not in at.query_params
    assert limits(at) == ["250MiB", "128MB", "150ms"]
    assert at.selectbox(key="address:preset").value == "own"


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_can_be_linked_to(pictures: Path, name: str) -> None:
    at = view(preset=name)
    assert not misunderstood(at)
    assert presets.PRESETS[name].sources[0].url in text_of(at)


def test_a_link_shows_the_limits_that_its_sender_saw(pictures: Path) -> None:
    at = view(disk="100MiB", memory="none", latency="33.3ms", unit="MiB")
    assert limits(at) == ["100MiB", "none", "33.3ms"]
    assert not misunderstood(at)
    # The same limit in the other unit, between its steps.
    at = view(disk="100MiB", unit="MB")
    assert limits(at)[0] == "100MiB"


def test_an_odd_amount_is_written_in_bytes_that_the_address_reads(pictures: Path) -> None:
    at = view(preset="nano-33-ble")
    assert limits(at) == ["1MB", "256000B", "none"]
    at.select_slider(key="address:latency").set_value("150ms").run()
    assert not at.exception
    assert at.query_params["memory"] == "256000B"
    assert limits(at) == ["1MB", "256000B", "150ms"]
    assert not misunderstood(at)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"disk": "64 megs"}, "64 megs"),
        ({"memory": "256000"}, "256000"),
        ({"latency": "<b>soon</b>"}, "soon"),
        ({"preset": "toaster"}, "toaster"),
        ({"preset": "instant", "disk": "5MB"}, "Feels instantaneous"),
    ],
)
def test_limits_that_mean_nothing_are_sentences(pictures: Path, query: dict[str, str], said: str) -> None:
    at = view(**query)
    assert said in misunderstood(at)


def test_a_click_measures_what_is_missing(plan: accuracy.Plan) -> None:
    at = view()
    at.button(key=BUTTON).click().run()
    assert not at.exception
    assert [(run.kind, run.request["weights"]) for run in queued()] == [
        ("size", "random"),
        ("latency", "random"),
    ]
    size, latency = queued()
    assert size.request["variants"] == latency.request["variants"] == list(READY)
    told = "To be calibrated first, by the Cures on the Diagnosis page: qint8_smooth, qint8_mixed, qint8_best."
    assert told in [caption.value for caption in at.caption]
    assert (latency.request["model"], latency.request["shapes"]) == (drawn.MODEL, ["1x70"])
    assert at.button(key=BUTTON).disabled  # it is being measured


def test_what_is_known_is_not_measured_again(plan: accuracy.Plan) -> None:
    rows = [
        SIZE_ROWS[0]
        | {"variant": name, "disk_bytes": 20_000_000, "baseline_bytes": 5, "peak_bytes": 9, "steady_bytes": 7}
        for name in READY
    ]
    store_run(SIZE, rows)
    at = view()
    assert "Size and time can be measured with random weights" in how_to_get(at)
    at.button(key=BUTTON).click().run()
    assert [(run.kind, run.request["weights"]) for run in queued()] == [("latency", "random")]


def test_where_only_the_accuracy_is_missing_its_weights_are_asked_for(plan: accuracy.Plan) -> None:
    memory = {"baseline_bytes": 5, "peak_bytes": 9, "steady_bytes": 7}
    store_run(SIZE, [SIZE_ROWS[1] | memory | {"variant": name} for name in READY])
    store_run(LATENCY, [LATENCY_ROWS[0] | {"variant": name} for name in READY])
    at = view()
    assert f"measure-{drawn.MODEL}-hub" not in buttons(at)
    assert f"accuracy of {', '.join(variants.RECIPES)}" in text_of(at)
    assert "disk, memory and time of qint8_smooth, qint8_mixed, qint8_best" in text_of(at)
    assert "random weights" not in how_to_get(at)


def test_a_size_without_memory_is_measured_again_even_under_the_same_conditions(plan: accuracy.Plan) -> None:
    rows = [SIZE_ROWS[0] | {"variant": name, "disk_bytes": 20_000_000} for name in READY]
    store_run(replace(SIZE, variants=READY), rows)
    view().button(key=BUTTON).click().run()
    assert [run.kind for run in queued()] == ["size", "latency"]


def test_without_its_weights_a_model_is_measured_with_random_ones(pictures: Path) -> None:
    at = view()
    [button] = [b for b in at.button if b.key == f"measure-{drawn.MODEL}-hub"]
    assert "random weights" in button.label
    assert f"benchmark accuracy --model {drawn.MODEL} --dataset tiny-imagenet" in text_of(at)
    button.click().run()
    assert {(run.kind, run.request["weights"]) for run in queued()} == {
        ("size", "random"),
        ("latency", "random"),
    }


def test_with_its_weights_here_the_accuracy_is_measured_too(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitquant import catalog, paths

    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(paths, "hub_checkpoints_dir", lambda: folder)
    for name in (catalog.model(drawn.MODEL).backbone_file, catalog.model(drawn.MODEL).head_file):
        (folder / name).write_bytes(b"weights")
    at = view()
    at.button(key=f"measure-{drawn.MODEL}-hub").click().run()
    assert [(run.kind, run.request["weights"]) for run in queued()] == [
        ("size", "hub"),
        ("latency", "hub"),
        ("accuracy", "hub"),
    ]
    assert queued()[-1].request["dataset"] == drawn.DATASET


def test_read_only_shows_what_is_missing_and_offers_nothing(
    plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITQUANT_READONLY", "1")
    at = view()
    assert buttons(at) == []
    assert "Not measured: " in text_of(at)


def test_it_says_on_what_it_was_measured_and_what_is_stale(
    plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitquant import machine

    store_run(SIZE, SIZE_ROWS)
    at = view()
    assert machine.machine_name() in text_of(at)
    assert "Stale" not in text_of(at)
    real = machine.version_of
    monkeypatch.setattr(machine, "version_of", lambda name: "9.9.9" if name == "torch" else real(name))
    at = view()
    assert any("9.9.9" in warning.value and drawn.MODEL in warning.value for warning in at.warning)
    assert "stale: " in html_of(at)
