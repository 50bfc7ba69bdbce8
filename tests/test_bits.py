"""Weights at few bits, simulated, on the real sample: what is measured, kept, told and compared."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components import queue
from tests.pages.helpers import SIZE, SIZE_ROWS, store_run
from tests.test_cli import answer, imported_nothing_heavy, vitquant
from vitquant import (
    bits,
    bits_charts,
    compare,
    database,
    datasets,
    gallery,
    images,
    jobs,
    models,
    predict,
    report,
    rounding,
    runs,
    units,
    weights,
    wording,
)
from vitquant.errors import Cancelled, InputError
from vitquant.gallery import Subject
from vitquant.measurements import BitsRequest
from vitquant.request import Journal

pytestmark = pytest.mark.usefixtures("built_in_sample")

N = 96
REQUEST = BitsRequest("sample", "bundled", "sample", 8)
SUBJECT = Subject("sample", "bundled", "sample", 70)

Row = dict[str, Any]
Rows = dict[tuple[int, str], Row]


@pytest.fixture
def db(data_dir: Path) -> Iterator[sqlite3.Connection]:
    with database.opened() as opened:
        yield opened


def quiet_journal() -> Journal:
    return Journal(lambda done, total, message: None)


@pytest.fixture(scope="module")
def rows() -> Rows:
    """The sample measured on N pictures, by bits and granularity."""
    dataset = datasets.open_dataset("sample")
    found = bits.measure(weights.resolve("sample"), dataset, N, 70, quiet_journal())
    return {(row["bits"], row["granularity"]): row for row in found}


# What is measured


def test_every_setting_is_measured_beside_fp32(rows: Rows) -> None:
    expected = [(32, "none"), *((b, g) for b in range(8, 1, -1) for g in ("tensor", "channel"))]
    assert list(rows) == expected
    assert {row["n"] for row in rows.values()} == {N}
    for row in rows.values():
        assert 0 <= row["agree_low"] <= row["agree"] <= row["agree_high"] <= 1
        assert 0 <= row["top1_low"] <= row["top1"] <= row["top1_high"] <= 1
    fp32 = rows[32, "none"]
    assert (fp32["agree"], fp32["mean_kl_nats"], fp32["sqnr_db"]) == (1.0, 0.0, None)
    assert fp32["top1"] > 0.8  # MODEL_CARD.md: some 90% of all pictures


def test_many_bits_keep_the_answers_and_two_lose_them(rows: Rows) -> None:
    assert rows[8, "channel"]["agree"] >= 0.97
    assert rows[8, "channel"]["mean_kl_nats"] < 0.01
    for granularity in bits.GRANULARITIES:
        assert rows[2, granularity]["agree"] < 0.5
        assert rows[2, granularity]["top1"] < 0.5
        assert rows[2, granularity]["mean_kl_nats"] > 1
    assert rows[3, "channel"]["agree"] > rows[2, "channel"]["agree"] + 0.3


def test_the_error_grows_with_fewer_bits_and_is_smaller_per_channel(rows: Rows) -> None:
    for count in range(2, 9):
        assert rows[count, "channel"]["sqnr_db"] > rows[count, "tensor"]["sqnr_db"] + 1
    for granularity in bits.GRANULARITIES:
        errors = [rows[count, granularity]["sqnr_db"] for count in range(8, 1, -1)]
        assert errors == sorted(errors, reverse=True)
        assert errors[0] > errors[1] + 5  # a bit more is 6 dB


def test_sizes_are_as_counted_from_the_weights_shapes(rows: Rows) -> None:
    state = models.load(weights.resolve("sample")).state_dict()
    shapes = [tuple(t.shape) for name, t in state.items() if name.endswith(".weight") and t.dim() == 2]
    assert len(shapes) > 20
    everything = sum(tensor.numel() for tensor in state.values())
    linear = sum(out * into for out, into in shapes)
    assert rows[32, "none"]["size_bytes"] == 4 * everything
    for count in range(2, 9):
        packed = sum((out * into * count + 7) // 8 for out, into in shapes) + 4 * (everything - linear)
        assert rows[count, "tensor"]["size_bytes"] == packed + 4 * len(shapes)
        assert rows[count, "channel"]["size_bytes"] == packed + 4 * sum(out for out, _ in shapes)


def test_agreement_is_of_the_first_pictures_of_the_evaluation_order(rows: Rows) -> None:
    dataset = datasets.open_dataset("sample")
    examples = [dataset.examples[index] for index in datasets.evaluation_order(dataset)[:N]]
    inputs = predict.to_input([images.open_rgb(dataset.file(example)) for example in examples], 70)
    model = models.load(weights.resolve("sample"))
    exact = predict.logits_of(model, inputs).argmax(1)
    classes = np.array([example.class_index for example in examples])
    margin = 2 / N  # batches differ in their last bits, which may turn a close answer
    assert rows[32, "none"]["top1"] == pytest.approx((exact == classes).mean(), abs=margin)
    for granularity in bits.GRANULARITIES:
        rounded = rounding.round_linears(model, 3, per_channel=granularity == bits.CHANNEL)
        found = predict.logits_of(rounded, inputs).argmax(1)
        assert rows[3, granularity]["agree"] == pytest.approx((found == exact).mean(), abs=margin)
        assert rows[3, granularity]["top1"] == pytest.approx((found == classes).mean(), abs=margin)


# Runs


def test_a_stopped_run_goes_on_with_what_is_missing(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, total: int, message: str) -> None:
        assert total == len(bits.SETTINGS)
        if message == "6 bits, per tensor":
            assert done == 4
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        jobs.run_here(db, REQUEST, on_progress=stop)
    [stopped] = runs.find(db)
    assert [(row["bits"], row["granularity"]) for row in stopped.result or []] == [
        (32, "none"), (8, "tensor"), (8, "channel"), (7, "tensor"), (7, "channel")
    ]  # fmt: skip
    assert REQUEST.stored(db) is None

    rounded = []
    real = rounding.round_linears
    monkeypatch.setattr(
        rounding, "round_linears", lambda *given, **more: rounded.append(given[1]) or real(*given, **more)
    )
    rows = jobs.run_here(db, REQUEST)
    assert rounded == [6, 6, 5, 5, 4, 4, 3, 3, 2, 2]
    assert rows[:5] == stopped.result
    assert len(rows) == 15
    [continued] = runs.find(db)
    assert (continued.id, continued.state, continued.done, continued.total) == (stopped.id, "done", 14, 14)
    assert REQUEST.stored(db) == rows


def test_all_pictures_are_taken_where_there_are_fewer(db: sqlite3.Connection) -> None:
    dataset = datasets.open_dataset("sample")
    few = replace(dataset, examples=dataset.examples[:5])
    rows = bits.measure(weights.resolve("sample"), few, 256, 14, quiet_journal())
    assert {row["n"] for row in rows} == {5}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dataset": "tiny-imagenet"}, "tiny-imagenet is not here yet"),
        ({"dataset": "imagenette"}, "imagenette"),
        ({"pictures": 0}, "0 pictures leave nothing to measure"),
        ({"image_size": 71}, "take 70 or 84"),
    ],
)
def test_what_cannot_be_measured_is_a_sentence(
    db: sqlite3.Connection, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        jobs.run_here(db, replace(REQUEST, **change))
    assert runs.find(db) == []


def stored(rows: Rows, **change: Any) -> runs.Run:
    request = replace(REQUEST, pictures=N)
    return store_run(request, [row | change for row in rows.values()])


def test_pictures_that_change_make_a_run_stale(db: sqlite3.Connection, rows: Rows) -> None:
    run = stored(rows)
    today = gallery.conditions(db, SUBJECT, run.identity["dataset_digest"])
    assert gallery.run_changes(run, today) == ()
    assert gallery.run_changes(run, replace(today, dataset_digest="another")) == ("the pictures of sample",)


def test_two_runs_are_compared_setting_by_setting(db: sqlite3.Connection, rows: Rows) -> None:
    found = compare.compare(db, stored(rows), stored(rows, agree=0.5, agree_low=0.4, agree_high=0.6))
    assert [change.variant for change in found.changes][:2] == ["8 bits, per tensor", "8 bits, per channel"]
    assert len(found.changes) == len(bits.SETTINGS)
    change = found.changes[0]
    assert change.change == pytest.approx(100 * (0.5 - rows[8, "tensor"]["agree"]))
    assert change.low is not None and change.high is not None
    assert change.low < change.change < change.high < 0
    with pytest.raises(InputError, match="compare two of a kind"):
        compare.compare(db, stored(rows), store_run(SIZE, SIZE_ROWS))


def test_a_list_of_runs_names_the_pictures(db: sqlite3.Connection, rows: Rows) -> None:
    assert queue.title(stored(rows)) == "bits of sample, shipped weights: fp32 · first 96 of sample"


@pytest.mark.parametrize("format", report.FORMATS)
def test_a_report_has_the_run_on_its_pictures_alone(
    db: sqlite3.Connection, rows: Rows, tmp_path: Path, format: str
) -> None:
    stored(rows)
    file = tmp_path / f"report{format}"
    report.write(file, report.collect(db, SUBJECT, None))
    text = file.read_text("utf-8")
    assert {".html": "Simulated weight-only", ".json": '"granularity"', ".csv": "bits,fp32,bits 3 tensor,"}[
        format
    ] in text
    other = report.collect(db, replace(SUBJECT, image_size=84), None)
    assert "bits" not in [part["kind"] for part in other["parts"]]


# Words and charts


def made(agree: dict[tuple[int, str], float]) -> list[Row]:
    """Rows as a run gives them, all answers staying but where it is said otherwise."""
    found = [{"bits": 32, "granularity": "none", "size_bytes": 400, "n": 100, "sqnr_db": None}]
    for count, granularity in bits.SETTINGS:
        share = agree.get((count, granularity), 1.0)
        interval = {"agree_low": max(share - 0.05, 0), "agree_high": min(share + 0.05, 1)}
        row = {"bits": count, "granularity": granularity, "size_bytes": 12 * count, "n": 100, "agree": share}
        found.append(row | interval | {"sqnr_db": 6.0 * count})
    return found


def test_the_finding_says_how_far_down_the_answers_stay() -> None:
    few = {(2, g): 0.1 for g in bits.GRANULARITIES}
    one, other, third = wording.bits_sentences(made(few | {(5, "tensor"): 0.98, (3, "tensor"): 0.4}))
    # 5 bits fall short, so that 4 bits, which do not, do not count
    assert "per tensor**: down to **6 bits** at least 99% of the answers to these 100 pictures" in one
    assert "per channel**: down to **3 bits**" in other
    assert third.startswith("At 3 bits 40% (35% to 45%) stay")
    assert "100% (95% to 100%) with one for each output channel" in third


def test_the_finding_claims_no_difference_where_intervals_overlap() -> None:
    found = wording.bits_sentences(made({(8, "tensor"): 0.9, (4, "tensor"): 0.92, (2, "channel"): 0.97}))
    assert "per tensor**: at no number of bits" in found[0]
    assert "at 8 bits 90% (85% to 95%) do" in found[0]
    assert found[-1].startswith("At 2 bits 100%")  # the fewest, not those furthest apart


def test_the_charts_say_in_words_what_they_draw() -> None:
    rows = pd.DataFrame(made({(3, "tensor"): 0.4}))
    assert "3 bits per tensor: 40.0% (35.0% to 45.0%)" in bits_charts.agreement_alt(rows)
    assert "Computed size in MiB" in bits_charts.size_alt(rows, units.MIB)
    assert "4 bits per channel: 24.0 dB" in bits_charts.error_alt(rows)
    figures = (
        bits_charts.agreement(rows),
        bits_charts.size(rows, units.MB),
        bits_charts.error(rows),
    )
    for figure in figures:
        lines = {trace.name: (trace.line.dash, trace.marker.symbol) for trace in figure.data}
        assert set(lines) == {"per tensor", "per channel"}
        assert len({dash for dash, _ in lines.values()}) == len({symbol for _, symbol in lines.values()}) == 2
        assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)"
    tensor = figures[0].data[0]
    place = list(tensor.customdata).index(3)
    assert tensor.y[place] == 0.4
    assert tensor.error_y.array[place] == pytest.approx(0.05)


# The command line


@pytest.mark.slow
def test_the_command_measures_once_and_says_that_it_simulates(data_dir: Path) -> None:
    words = ["benchmark", "bits", "--model", "sample", "--dataset", "sample", "--pictures", "8"]
    rows = answer(*words, "--json")
    assert [(row["bits"], row["granularity"]) for row in rows[:2]] == [(32, "none"), (8, "tensor")]
    assert len(rows) == 15
    again = vitquant(*words)
    assert imported_nothing_heavy(again)
    assert bits.SIMULATED in again.stdout
    assert "2 bits, per channel" in again.stdout
    [run] = answer("runs", "--json")
    assert (run["kind"], run["variants"], run["on"]) == ("bits", ["fp32"], "sample")
    assert "weight SQNR" in vitquant("runs", "show", str(run["id"])).stdout
    assert "nothing to continue" in vitquant("runs", "continue", str(run["id"]), status=2).stderr


def test_the_command_refuses_nonsense_with_a_sentence(data_dir: Path) -> None:
    words = ["benchmark", "bits", "--model", "sample", "--dataset", "sample"]
    assert "take 1 or more" in vitquant(*words, "--pictures", "0", status=2).stderr
    assert "take 70 or 84" in vitquant(*words, "--image-size", "71", status=2).stderr
    assert "--variants" in vitquant(*words, "--variants", "qint8", status=2).stderr
    done = vitquant("benchmark", "bits", "--dataset", "tiny-imagenet", status=2)
    assert "fetch tiny-imagenet" in done.stderr
    assert imported_nothing_heavy(done)


@pytest.mark.parametrize("kept", [0, 1, 2, 3, 4])
def test_a_run_that_stopped_half_way_is_told_as_far_as_it_came(kept: int) -> None:
    settings = [(32, bits.ORIGINAL), *bits.SETTINGS][:kept]
    rows = [
        {"bits": count, "granularity": granularity, "n": 8, "agree": 1.0, "agree_low": 0.7, "agree_high": 1.0}
        for count, granularity in settings
    ]
    sentences = wording.bits_sentences(rows)
    assert all("fp32" in sentence or "one scale" in sentence for sentence in sentences)
    assert bool(sentences) == (kept > 1)
