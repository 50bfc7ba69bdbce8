"""The pages, run by Streamlit's AppTest on stores that the tests fill: no browser, no torch."""

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from components.queue import Pace, duration
from tests import drawn
from tests.conftest import ROOT
from tests.loopback import serving
from tests.pages.helpers import (
    MEASURED,
    READY,
    SIZE,
    SIZE_ROWS,
    WRONG,
    choose,
    html_of,
    opened,
    store_run,
    text_of,
    visit,
)
from vitquant import accuracy, browse, database, labels, machine, rounding, runs
from vitquant.worker import OwnAnswer, PredictionWorker

PAGES = ("overview", "tour", "explorer", "benchmark", "size")


# Empty states


@pytest.mark.parametrize("page", PAGES)
def test_a_new_data_folder_shows_no_error(data_dir: Path, page: str) -> None:
    at = visit(page)
    assert not at.error


def test_without_pictures_one_line_says_how_to_bring_them_in_and_that_line_works(
    data_dir: Path, shared: Path, tmp_path: Path
) -> None:
    [code] = visit().code
    assert code.value == ".venv/bin/python -m vitquant fetch tiny-imagenet"
    command = code.value.replace(".venv/bin/python", sys.executable).split()
    with serving({"tiny-imagenet-200.zip": shared / "tiny-imagenet-200-val.zip"}) as site:
        places = {"PYTHONPATH": str(ROOT), "VITQUANT_DATA": str(data_dir), "VITQUANT_MIRROR": site.address}
        subprocess.run(command, cwd=tmp_path, env=places, check=True)
    assert len(opened(visit())) == browse.PAGE


def test_pictures_can_be_browsed_before_anything_is_measured(pictures: Path) -> None:
    at = visit()
    assert len(opened(at)) == browse.PAGE
    assert "Nothing is measured" in text_of(at)


def test_one_button_measures_the_first_pictures_in_the_background(pictures: Path) -> None:
    at = visit()
    [button] = [b for b in at.button if b.label.startswith("Measure")]
    button.click().run()
    with database.opened() as db:
        [run] = runs.find(db)
    assert (run.kind, run.state, run.request["limit"]) == ("accuracy", "queued", 300)
    assert f"Run {run.id}" in text_of(at)


# Explorer


def test_every_picture_says_what_each_variant_answers_and_that_the_weights_are_random(
    plan: accuracy.Plan,
) -> None:
    at = visit()
    assert [int(key.removeprefix("open-")) for key in opened(at)] == list(plan.order[: browse.PAGE])
    shown = html_of(at)
    assert shown.count('aria-label="right"') == 2 * 22 + 2
    assert shown.count('aria-label="wrong"') == 2 * 2 + 22
    assert shown.count("random weights: meaningless") == browse.PAGE
    answer = labels.short(labels.by_index(plan.example(2).class_index + 1).words)
    assert answer in shown
    assert "28 of 30 right" in shown


def test_only_the_pictures_that_a_variant_gets_wrong(plan: accuracy.Plan) -> None:
    at = visit(variant="qint8", verdict="wrong")
    assert len(opened(at)) == 24
    assert "1 to 24 of 28" in text_of(at)
    choose(at, "variant", "fp32")
    assert [int(key.removeprefix("open-")) for key in opened(at)] == list(plan.order[:2])
    assert at.query_params["variant"] in ("fp32", ["fp32"])


def test_a_class_is_chosen_by_its_words(plan: accuracy.Plan) -> None:
    at = visit()
    box = at.selectbox(key="address:class")
    assert "orange (8)" in box.options
    box.set_value("n07747607").run()
    assert len(opened(at)) == 8


def test_the_second_page_has_the_rest(plan: accuracy.Plan) -> None:
    assert len(opened(visit(page="explorer"))) == 24
    at = AppTest.from_file(str(ROOT / "dashboard.py"), default_timeout=30)
    at.query_params["page"] = "2"
    at.switch_page("pages/explorer.py")
    at.run()
    assert [int(key.removeprefix("open-")) for key in opened(at)] == list(plan.order[24:])


def test_a_filter_that_leaves_nothing_offers_the_way_back(plan: accuracy.Plan) -> None:
    classes = {plan.example(p).wnid for p in WRONG["fp32"]}
    other = next(wnid for wnid in list(drawn.DRAWINGS)[:5] if wnid not in classes)
    at = visit(variant="fp32", verdict="wrong", **{"class": other})
    assert not opened(at)
    [button] = [b for b in at.button if b.label == "Show all pictures"]
    button.click().run()
    assert len(opened(at)) == 24


def test_a_click_opens_a_picture_with_every_top5_and_the_next_one_follows(plan: accuracy.Plan) -> None:
    drawn.store_answers({name: set() for name in READY if name not in WRONG}, limit=MEASURED)
    at = visit(variant="qint8", verdict="wrong")
    third = plan.order[2]
    at.button(key=f"open-{third}").click().run()
    shown = text_of(at)
    assert shown.count('class="vq-row"') == len(READY) * 5
    assert shown.count("true class</span>") == len(READY)
    assert "64 × 64, enlarged" in shown
    assert "KL divergence from fp32: 0.5 nats" in shown
    assert "predictions are meaningless" in shown
    assert "1 of 28" in shown
    [following] = [b for b in at.button if b.label == "Next"]
    following.click().run()
    assert "2 of 28" in text_of(at)
    assert at.query_params["picture"] in (str(plan.order[3]), [str(plan.order[3])])


def test_a_picture_without_stored_answers_is_put_to_the_worker(
    plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, object]] = []

    def predict_picture(self: PredictionWorker, **question: object) -> None:
        asked.append(question)
        drawn.store_answers({name: set() for name in READY})

    monkeypatch.setattr(PredictionWorker, "predict_picture", predict_picture)
    at = visit(picture=plan.order[39])
    assert [question["picture"] for question in asked] == [plan.order[39]]
    assert asked[0]["variants"] == list(READY)
    assert text_of(at).count('class="vq-row"') == len(READY) * 5


def test_what_the_worker_cannot_do_is_a_sentence(plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    from vitquant.errors import VitquantError

    def predict_picture(self: PredictionWorker, **question: object) -> None:
        raise VitquantError("Times are being taken on this machine right now.")

    monkeypatch.setattr(PredictionWorker, "predict_picture", predict_picture)
    at = visit(picture=plan.order[39])
    assert [error.value for error in at.error] == ["Times are being taken on this machine right now."]


def test_a_deleted_picture_is_missed_and_its_predictions_still_show(
    plan: accuracy.Plan, pictures: Path
) -> None:
    visit()  # the server has looked through the pictures
    gone = plan.example(3)
    (pictures / gone.path).unlink()
    at = visit()
    assert "no longer here" in html_of(at)
    assert html_of(at).count('aria-label="wrong"') == 2 * 2 + 22
    detail = text_of(visit(picture=plan.order[3]))
    assert "no longer here" in detail
    assert detail.count('class="vq-row"') == 15


def test_answers_from_other_conditions_are_labelled_stale(
    plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitquant import machine

    real = machine.version_of
    monkeypatch.setattr(machine, "version_of", lambda p: "9.9.9" if p == "torch" else real(p))
    for at in (visit(), visit("benchmark"), visit(picture=plan.order[0])):
        stale = [w.value for w in at.warning if "Stale" in w.value]
        assert stale
        assert f"torch ({real('torch')} then, 9.9.9 now)" in stale[0]
    assert ">stale</span>" in html_of(visit())


# Addresses


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    "query",
    [
        {"model": "__import__('os')"},
        {"weights": "../../etc/passwd"},
        {"dataset": "<script>alert(1)</script>"},
        {"size": "71"},
        {"size": "９８"},
        {"nothing": "`[x](javascript:alert(1))`"},
        {"measured": "x" * 5000},
    ],
)
def test_what_an_address_asks_in_vain_is_said(plan: accuracy.Plan, page: str, query: dict[str, str]) -> None:
    at = visit(page, **query)
    assert not at.error
    if "measured" not in query:
        assert any("From the address" in warning.value for warning in at.warning)
    assert all(len(warning.value) < 600 for warning in at.warning)
    assert "<script>" not in html_of(at)


@pytest.mark.parametrize(
    "query",
    [
        {"class": "n99999999"},
        {"variant": "int1"},
        {"verdict": "<b>"},
        {"versus": "qint8", "variant": "qint8"},
        {"versus": "fp32", "variant": "qint8", "pair": "enemies"},
        {"answer": "n00000000"},
        {"from": "90", "to": "10"},
        {"from": "-5"},
        {"order": "by beauty"},
        {"order": "random", "seed": "٣"},
        {"view": "../../etc"},
        {"picture": "-1"},
        {"picture": "1e9"},
        {"picture": "40"},
        {"page": "0"},
        {"page": "999999999999999999999"},
        {"page": "two"},
    ],
)
def test_the_nearest_sensible_pictures_are_shown(plan: accuracy.Plan, query: dict[str, str]) -> None:
    at = AppTest.from_file(str(ROOT / "dashboard.py"), default_timeout=30)
    for name, value in query.items():
        at.query_params[name] = value
    at.switch_page("pages/explorer.py")
    at.run()
    assert not at.exception
    assert opened(at)
    assert at.warning


def test_choices_go_along_to_other_pages(plan: accuracy.Plan) -> None:
    at = visit(size=224)
    at.switch_page("pages/size.py").run()
    assert "224 × 224" in text_of(at)


# Benchmark and Size


def test_size_keeps_mb_and_mib_apart(plan: accuracy.Plan) -> None:
    store_run(SIZE, SIZE_ROWS)
    at = visit("size")
    assert list(at.dataframe[0].value["packed weights"]) == [0, 23_323_944]
    charts = [chart.proto.spec for chart in at.get("plotly_chart")]
    assert all("MB" in spec and "MiB" not in spec for spec in charts)
    [unit] = [g for g in at.get("button_group") if g.key == "address:unit"]
    unit.set_value("MiB").run()
    charts = [chart.proto.spec for chart in at.get("plotly_chart")]
    assert all("MiB" in spec and " MB" not in spec for spec in charts)


def test_size_offers_once_to_measure_where_a_part_is_measured_and_stale(
    plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_run(replace(SIZE, variants=("fp32",)), SIZE_ROWS[:1])
    at = visit("size")
    assert len([b for b in at.button if b.label == "Measure the sizes"]) == 1
    real = machine.version_of
    monkeypatch.setattr(machine, "version_of", lambda name: "9.9.9" if name == "torch" else real(name))
    at = visit("size")
    assert "torch" in text_of(at)
    assert len([b for b in at.button if b.label == "Measure the sizes"]) == 1


def test_a_size_alone_does_not_choose_other_pictures(pictures: Path) -> None:
    store_run(SIZE, SIZE_ROWS)
    at = visit("size")
    assert at.selectbox(key="address:dataset").value == drawn.DATASET


def test_without_int8_the_overview_claims_nothing_about_it(pictures: Path) -> None:
    drawn.store_answers({"fp32": {0}}, limit=MEASURED)
    assert "8-bit numbers are not measured yet" in text_of(visit("overview"))


def test_size_offers_to_measure_what_is_missing(plan: accuracy.Plan) -> None:
    at = visit("size")
    [button] = [b for b in at.button if b.label == "Measure the sizes"]
    button.click().run()
    with database.opened() as db:
        [run] = runs.find(db)
    assert (run.kind, run.request["variants"]) == ("size", list(READY))


@pytest.mark.parametrize("page", PAGES)
def test_a_damaged_store_is_a_sentence(data_dir: Path, page: str) -> None:
    (data_dir / "vitquant.sqlite").write_bytes(b"not a database" * 1000)
    at = visit(page)
    assert "is not a store of vitquant's" in at.error[0].value


# The tour


def test_the_tour_leaves_out_what_is_not_there(plan: accuracy.Plan) -> None:
    seen = []
    for step in range(1, 5):
        at = visit("tour", step=step)
        seen.append(at.title[0].value)
        assert at.button(key="tour-next").disabled == (step == 4)
    assert seen == [
        "A picture goes in",
        "Probabilities come out",
        "Quantizing: fewer digits",  # random weights are always here
        "What it breaks",  # no sizes are measured, and this model has no healthy twin
    ]
    beyond = visit("tour", step=5)
    assert any("goes from 1 to 4" in warning.value for warning in beyond.warning)


def test_the_tour_wakes_the_model_at_its_first_step_and_stays_usable(
    plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken = []
    monkeypatch.setattr(PredictionWorker, "wake", lambda self, *of: woken.append(of))
    at = visit("tour")
    assert woken == [(drawn.MODEL, "random", 70)]
    at.button(key="tour-next").click().run()
    at.button(key="tour-next").click().run()
    assert "The model is waking" in text_of(at)
    slider = at.slider(key="tour:bits")
    assert (slider.min, slider.max) == (rounding.FEWEST_BITS, rounding.MOST_BITS)
    at.slider(key="tour:bits").set_value(3).run()
    assert "7 different values" in text_of(at)
    at.button(key="tour-next").click().run()
    assert at.title[0].value == "What it breaks"


def test_without_answers_the_tour_says_what_it_needs(pictures: Path) -> None:
    assert "needs answers of fp32 and qint8" in text_of(visit("tour"))


# The Explorer's other views


def test_every_class_and_every_confusion_of_a_variant(plan: accuracy.Plan) -> None:
    at = visit(view="classes", variant="fp32", versus="qint8")
    table = at.dataframe[0].value
    assert len(table) == 5
    assert (table["fp32 top-1"] - table["qint8 top-1"]).tolist() == table["fp32 − qint8"].tolist()
    at = visit(view="confusions", variant="fp32")
    assert "Of its 2 wrong answers" in text_of(at)
    at.toggle(key="no-diagonal").set_value(False).run()
    assert not at.exception


def test_a_small_measurement_offers_the_fuller_one(
    plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("vitquant.machine.cpu_features", lambda: ("some other CPU",))
        drawn.store_answers({"fp32": {0}, "qint8": {1}}, limit=26)
    at = visit()
    assert "answers to 26 pictures. A measurement of 30" in text_of(at)
    [button] = [b for b in at.button if b.label == "Show that one"]
    button.click().run()
    assert "1 to 24 of 40" in text_of(at)
    assert not [b for b in at.button if b.label == "Show that one"]


def test_a_damaged_picture_is_told_apart_from_a_deleted_one(plan: accuracy.Plan) -> None:
    file = plan.dataset.root / plan.example(0).path
    file.write_bytes(file.read_bytes()[:100])
    assert "damaged picture" in html_of(visit())
    assert "damaged or cut short" in html_of(visit(picture=plan.order[0]))


# One's own picture


def own_answers(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The worker answers that everything is an orange; what it was asked is noted."""
    asked: list[bytes] = []

    def predict_own(self: PredictionWorker, *, png: bytes, variants: list[str], **rest: object) -> object:
        asked.append(png)
        return {
            name: OwnAnswer((950, 951, 952, 953, 954), (0.5, 0.2, 0.1, 0.1, 0.05), 0.004) for name in variants
        }

    monkeypatch.setattr(PredictionWorker, "predict_own", predict_own)
    return asked


def picture_file(format: str = "PNG", size: tuple[int, int] = (40, 30), **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "orange").save(buffer, format, **options)
    return buffer.getvalue()


def test_ones_own_pictures_are_answered_by_every_variant(
    plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = own_answers(monkeypatch)
    at = visit(view="own")
    assert "predictions are meaningless" in text_of(at)
    at.file_uploader[0].set_value(
        [("mine.png", picture_file(), "image/png"), ("b.jpg", picture_file("JPEG"), "image/jpeg")]
    )
    at.run()
    assert not at.exception
    shown = text_of(at)
    assert shown.count('class="vq-row"') == 2 * len(READY) * 5
    assert "4 ms on this machine" in shown
    assert "true class" not in shown
    assert len(asked) == 2
    at.run()
    assert len(asked) == 2  # answered once in a visit


HOSTILE = {
    "empty.png": b"",
    "words.jpg": b"this is no picture",
    "cut.png": picture_file()[:60],
    "cut.jpg": picture_file("JPEG", (300, 300))[:400],
    "bomb.png": b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (60000).to_bytes(4) * 2 + b"\x08\x02\0\0\0" + bytes(4),
    "page.png": b"<html><script>alert(1)</script></html>",
    "vector.jpg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "<img src=x onerror=alert(1)>.png": b"GIF89a",
    "zip.webp": b"PK\x03\x04" + bytes(40),
    "noise.bmp": bytes(range(256)) * 4,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_a_sentence_and_the_others_are_answered(
    plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    own_answers(monkeypatch)
    at = visit(view="own")
    good = ("good.png", picture_file(), "image/png")
    at.file_uploader[0].set_value([(name, HOSTILE[name], "image/png"), good])
    at.run()
    assert not at.exception
    assert len(at.error) == 1
    assert len(at.error[0].value) < 400
    assert "<img" not in at.error[0].value
    assert text_of(at).count('class="vq-row"') == len(READY) * 5


def test_an_animation_says_that_its_first_picture_is_shown(
    plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_answers(monkeypatch)
    at = visit(view="own")
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    content = picture_file("GIF", save_all=True, append_images=frames)
    at.file_uploader[0].set_value([("moving.gif", content, "image/gif")])
    at.run()
    assert "an animation, of which this is the first picture" in text_of(at)


# How fast a run goes


def test_the_pace_is_of_what_was_seen() -> None:
    pace = Pace()
    pace.see(250, at_s=100.0)  # a continued run begins half-way
    assert pace.per_second is None
    pace.see(270, at_s=110.0)
    assert pace.per_second == 2.0
    assert pace.left_s(300) == 15.0
    pace.see(0, at_s=111.0)  # begun again
    assert pace.per_second is None


def test_waiting_times_read_well() -> None:
    assert [duration(s) for s in (12, 600, 7200)] == ["12 s", "10 min", "2.0 h"]
