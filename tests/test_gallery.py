"""What pages ask of stored predictions: filters, neighbours, what has changed since."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests import drawn
from vitquant import accuracy, database, gallery, runs
from vitquant.gallery import Conditions, Filter, Subject

SUBJECT = Subject(drawn.MODEL, "random", drawn.DATASET, 70)
CLASSES, PER_CLASS, MEASURED = 5, 8, 30


@pytest.fixture
def plan(data_dir: Path) -> accuracy.Plan:
    """40 drawn pictures, of which fp32 and qint8 have answered the first 30."""
    drawn.draw_split(data_dir / drawn.DATASET / "val", PER_CLASS, classes=CLASSES)
    return drawn.store_answers({"fp32": {0, 1}, "qint8": {1, 2, 3, 29}}, limit=MEASURED)


@pytest.fixture
def db(plan: accuracy.Plan) -> Iterator[sqlite3.Connection]:
    with database.opened() as db:
        yield db


def today(db: sqlite3.Connection) -> Conditions:
    return gallery.conditions(db, SUBJECT, gallery.register(db, drawn.DATASET)[1])


def only_set(db: sqlite3.Connection) -> gallery.AnswerSet:
    [answers] = gallery.answer_sets(db, SUBJECT)
    return answers


def test_what_was_measured_last_comes_first(db: sqlite3.Connection) -> None:
    plan = drawn.store_answers({"fp32": set()}, limit=3, image_size=84)
    db.execute("UPDATE series SET measured_at = '2999' WHERE id = ?", (plan.series["fp32"].id,))
    assert gallery.subjects(db) == [replace(SUBJECT, image_size=84), SUBJECT]


def test_the_variants_of_a_set_are_in_the_recipes_order(db: sqlite3.Connection) -> None:
    answers = only_set(db)
    assert list(answers.series) == ["fp32", "qint8"]
    assert answers.answered == MEASURED


def test_pictures_come_in_evaluation_order_with_every_verdict(
    db: sqlite3.Connection, plan: accuracy.Plan
) -> None:
    answers = only_set(db)
    shown = gallery.page(db, answers.dataset_id, answers.series_ids, Filter(), offset=0, limit=4)
    assert [p.picture for p in shown] == plan.order[:4]
    assert [{name: v.right for name, v in p.verdicts.items()} for p in shown] == [
        {"fp32": False, "qint8": True},
        {"fp32": False, "qint8": False},
        {"fp32": True, "qint8": False},
        {"fp32": True, "qint8": False},
    ]
    wrong = shown[2].verdicts["qint8"]
    assert (wrong.class_index, wrong.probability) == (shown[2].class_index + 1, 0.9)


def test_a_picture_that_nobody_answered_is_shown_without_verdicts(db: sqlite3.Connection) -> None:
    answers = only_set(db)
    last = gallery.page(db, answers.dataset_id, answers.series_ids, Filter(), offset=39)
    assert [p.verdicts for p in last] == [{}]


def test_only_the_mistakes_of_one_variant(db: sqlite3.Connection) -> None:
    answers = only_set(db)
    wanted = Filter(wrong_series=answers.series_ids["qint8"])
    shown = gallery.page(db, answers.dataset_id, answers.series_ids, wanted)
    assert [p.position for p in shown] == [1, 2, 3, 29]
    assert gallery.count(db, answers.dataset_id, wanted) == 4
    assert gallery.wrong_counts(db, answers) == {"fp32": (2, 30), "qint8": (4, 30)}


def test_only_one_class(db: sqlite3.Connection) -> None:
    answers = only_set(db)
    counts = gallery.classes(db, answers.dataset_id)
    assert [c.pictures for c in counts] == [PER_CLASS] * CLASSES
    wanted = Filter(class_index=counts[0].class_index)
    shown = gallery.page(db, answers.dataset_id, answers.series_ids, wanted)
    assert {p.class_index for p in shown} == {counts[0].class_index}
    assert len(shown) == gallery.count(db, answers.dataset_id, wanted) == PER_CLASS


def test_the_neighbours_stay_within_the_filter(db: sqlite3.Connection, plan: accuracy.Plan) -> None:
    answers = only_set(db)
    wanted = Filter(wrong_series=answers.series_ids["qint8"])
    place = gallery.place(db, answers.dataset_id, wanted, 2)
    assert (place.number, place.count) == (2, 4)
    assert (place.previous, place.next) == (plan.order[1], plan.order[3])
    first = gallery.place(db, answers.dataset_id, wanted, 1)
    assert (first.previous, first.number) == (None, 1)
    # A picture that the filter does not let through still has neighbours to go to.
    outside = gallery.place(db, answers.dataset_id, wanted, 10)
    assert (outside.number, outside.previous, outside.next) == (0, plan.order[3], plan.order[29])


def test_one_picture_and_its_answers(db: sqlite3.Connection, plan: accuracy.Plan) -> None:
    answers = only_set(db)
    picture = gallery.picture(db, answers.dataset_id, answers.series_ids, plan.order[5])
    assert picture is not None
    assert picture.position == 5
    assert gallery.picture(db, answers.dataset_id, answers.series_ids, 40) is None
    stored = gallery.answers_to(db, answers.series_ids, plan.order[5])
    assert stored["qint8"].indices[0] == picture.class_index


def test_nothing_has_changed_right_after_measuring(db: sqlite3.Connection) -> None:
    for series in only_set(db).series.values():
        assert gallery.changes(series.identity, today(db)) == ()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"torch_version": "9.9.9"}, "torch ("),
        ({"cpu_features": "SSE"}, "what the CPU offers"),
        ({"engine": "onednn"}, "the engine (x"),
        ({"dataset_digest": "other"}, "the pictures of tiny-imagenet"),
        ({"dataset_digest": None}, "no longer here"),
        ({"weights_digest": "other"}, "the content of the weights"),
        ({"weights_digest": None}, "the weights, which are no longer here"),
    ],
)
def test_what_has_changed_is_named(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], named: str
) -> None:
    identity = replace(only_set(db).series["qint8"].identity, engine="x86")
    now = replace(today(db), engine="x86")
    [change] = gallery.changes(identity, replace(now, **changed))
    assert named in change


def test_a_new_recipe_version_is_named(db: sqlite3.Connection) -> None:
    identity = only_set(db).series["qint8"].identity
    [change] = gallery.changes(replace(identity, recipe_version=0), today(db))
    assert change == "the recipe of qint8 (version 0 then, 1 now)"
    [gone] = gallery.changes(replace(identity, variant="qint3"), today(db))
    assert gone == "the recipe of qint3, which is gone"


def test_a_few_answers_on_demand_do_not_hide_a_measurement(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitquant.machine.version_of", lambda package: "9.9.9")
    newer = drawn.store_answers({"fp32": set()}, limit=2).series["fp32"]
    db.execute("UPDATE series SET measured_at = '2999' WHERE id = ?", (newer.id,))
    assert [s.answered for s in gallery.answer_sets(db, SUBJECT)] == [MEASURED, 2]
    drawn.store_answers({"fp32": set()}, limit=25)
    db.execute("UPDATE series SET measured_at = '2999' WHERE id = ?", (newer.id,))
    assert [s.answered for s in gallery.answer_sets(db, SUBJECT)] == [25, MEASURED]


def test_answers_on_demand_do_not_count_as_a_sample(db: sqlite3.Connection) -> None:
    answers = only_set(db)
    fp32 = answers.series_ids["fp32"]
    db.execute("DELETE FROM predictions WHERE series_id = ? AND position BETWEEN 10 AND 20", (fp32,))
    assert gallery.measured_without_gap(db, fp32) == 10
    rows = {row["variant"]: row for row in gallery.accuracy_rows(db, answers)}
    assert (rows["fp32"]["n"], rows["fp32"]["top1"]) == (10, 0.8)
    assert rows["qint8"]["n"] == MEASURED


def test_finished_runs_of_this_model_only(db: sqlite3.Connection) -> None:
    def add(model: str, state: str) -> int:
        request = {"model": model, "weights": "random", "variants": ["fp32"]}
        run = runs.add(db, "size", request, {}, {})
        runs.finish(db, run.id, state, result=[{"variant": "fp32"}])
        return run.id

    wanted = add(drawn.MODEL, "done")
    add(drawn.MODEL, "failed")
    add("dinov2_vitb14_lc", "done")
    assert [run.id for run in gallery.finished_runs(db, "size", SUBJECT)] == [wanted]


def test_a_new_picture_changes_the_fingerprint(plan: accuracy.Plan, data_dir: Path) -> None:
    before = gallery.fingerprint(drawn.DATASET)
    assert gallery.fingerprint(drawn.DATASET) == before
    wnid = next(iter(drawn.DRAWINGS))
    drawn.draw(wnid, 99).save(data_dir / drawn.DATASET / "val" / wnid / "099.png")
    assert gallery.fingerprint(drawn.DATASET) != before
