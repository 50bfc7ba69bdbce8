"""Two runs side by side, and a figure over all runs."""

import sqlite3
from dataclasses import replace

import pytest

from tests import drawn
from tests.pages.helpers import LATENCY, LATENCY_ROWS, SIZE, SIZE_ROWS, store_run
from vitquant import accuracy, compare, gallery, history, machine, runs
from vitquant.errors import InputError
from vitquant.measurements import AccuracyRequest
from vitquant.runs import Run


def accuracy_run(db: sqlite3.Connection, limit: int) -> Run:
    request = AccuracyRequest(drawn.MODEL, "random", ("fp32", "qint8"), drawn.DATASET, limit)
    plan = request.plan(db)
    return store_run(request, accuracy.rows(db, plan, request.variants, limit))


@pytest.fixture
def torch_changed(
    db: sqlite3.Connection, plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> tuple[Run, Run]:
    """The same pictures answered twice, the second time by another torch, which gets others of them wrong."""
    first = accuracy_run(db, 30)
    version_of = machine.version_of
    monkeypatch.setattr(machine, "version_of", lambda name: "9.9.9" if name == "torch" else version_of(name))
    drawn.store_answers({"fp32": {0, 1}, "qint8": {2, 5, 6, 7}}, limit=drawn.MEASURED)
    return first, accuracy_run(db, 30)


def test_what_was_different_and_what_came_out(db: sqlite3.Connection, torch_changed: tuple[Run, Run]) -> None:
    found = compare.compare(db, *torch_changed)
    conditions = {condition.what: condition for condition in found.conditions}
    assert conditions["torch"].second == "9.9.9"
    assert "model" not in conditions
    changes = {change.variant: change for change in found.changes}
    assert changes["fp32"].change == 0
    assert changes["qint8"].first == pytest.approx(26 / 30)
    assert changes["qint8"].second == pytest.approx(26 / 30)
    qint8 = changes["qint8"]
    assert qint8.low is not None and qint8.high is not None
    assert qint8.low < qint8.change < qint8.high


def test_pictures_that_changed_their_answer_are_named(
    db: sqlite3.Connection, plan: accuracy.Plan, torch_changed: tuple[Run, Run]
) -> None:
    found = compare.compare(db, *torch_changed)
    changed = {1, 3, 29, 5, 6, 7}  # wrong in one of the two only
    assert found.changed == {"fp32": 0, "qint8": len(changed)}
    assert {picture.picture for picture in found.pictures} == {plan.order[position] for position in changed}
    sets = {answers.key for answers in gallery.answer_sets(db, drawn.SUBJECT)}
    assert {picture.measured for picture in found.pictures} <= sets
    one = next(p for p in found.pictures if p.picture == plan.order[3])
    assert (one.first_index, one.second_index) == ((one.class_index + 1) % 1000, one.class_index)


def test_the_same_run_extended_is_compared_on_what_both_have(
    db: sqlite3.Connection, plan: accuracy.Plan
) -> None:
    found = compare.compare(db, accuracy_run(db, 10), accuracy_run(db, 30))
    assert all("first 10 pictures" in change.note for change in found.changes)
    assert all(change.change == 0 for change in found.changes)
    assert "number of pictures" in {condition.what for condition in found.conditions}


def test_times_are_compared_with_the_interval_that_their_spread_gives(
    db: sqlite3.Connection, plan: accuracy.Plan
) -> None:
    wide = [row | {"q1_s": 0.9 * row["median_s"], "q3_s": 1.1 * row["median_s"]} for row in LATENCY_ROWS]
    slower = [row | {"median_s": 2 * row["median_s"]} for row in wide]
    found = compare.compare(db, store_run(LATENCY, wide), store_run(LATENCY, slower))
    for change in found.changes:
        assert change.change == pytest.approx(0.5)
        assert change.low is not None and change.high is not None
        assert 0.4 < change.low < 0.5 < change.high < 0.6


def test_sizes_are_compared_byte_by_byte(db: sqlite3.Connection, plan: accuracy.Plan) -> None:
    smaller = [row | {"disk_bytes": row["disk_bytes"] - 7} for row in SIZE_ROWS]
    found = compare.compare(db, store_run(SIZE, SIZE_ROWS), store_run(SIZE, smaller))
    assert [change.change for change in found.changes if change.figure == "on disk"] == [-7, -7]


def test_what_cannot_be_compared_is_a_sentence(db: sqlite3.Connection, plan: accuracy.Plan) -> None:
    size, latency = store_run(SIZE, SIZE_ROWS), store_run(LATENCY, LATENCY_ROWS)
    with pytest.raises(InputError, match=f"Run {size.id} measured size and run {latency.id} latency"):
        compare.compare(db, size, latency)
    with pytest.raises(InputError, match="has no result yet"):
        compare.compare(db, size, store_run(SIZE, [], state="interrupted"))
    other = store_run(replace(SIZE, variants=("float16",)), [SIZE_ROWS[0] | {"variant": "float16"}])
    with pytest.raises(InputError, match="no variant in common"):
        compare.compare(db, size, other)


# History


def test_the_band_is_of_runs_under_the_newest_conditions_only(
    db: sqlite3.Connection, plan: accuracy.Plan
) -> None:
    def timed(factor: float, identity: str | None = None) -> None:
        rows = [row | {"median_s": row["median_s"] * factor} for row in LATENCY_ROWS]
        run = store_run(LATENCY, rows)
        if identity:
            db.execute("UPDATE runs SET identity = ? WHERE id = ?", (identity, run.id))

    timed(9.0, '{"torch_version": "1.0"}')
    for factor in (1.0, 1.1):
        timed(factor)
    figure = next(f for f in history.FIGURES if f.key == "latency.median_s")
    points = [p for p in history.points(db, drawn.SUBJECT, figure) if p.variant == "fp32"]
    assert [point.value for point in points] == pytest.approx([270.0, 30.0, 33.0])
    band = history.band(points)
    assert band == history.Band(pytest.approx(30.0), pytest.approx(33.0), 2)  # two runs: their range
    timed(1.2)
    band = history.band([p for p in history.points(db, drawn.SUBJECT, figure) if p.variant == "fp32"])
    assert band is not None
    assert (band.low, band.high, band.runs) == (pytest.approx(27.0), pytest.approx(39.0), 3)
    assert history.band(points[:1]) is None


def test_an_older_run_stays_when_measured_again(db: sqlite3.Connection, plan: accuracy.Plan) -> None:
    first, second = store_run(SIZE, SIZE_ROWS), store_run(SIZE, SIZE_ROWS)
    assert [run.id for run in runs.find(db, kind="size")] == [second.id, first.id]
    figure = next(f for f in history.FIGURES if f.key == "size.disk_bytes")
    assert {point.run_id for point in history.points(db, drawn.SUBJECT, figure)} == {first.id, second.id}
