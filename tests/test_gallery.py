"""What pages ask of stored predictions: filters, neighbours, what has changed since."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from tests import drawn
from vitquant import accuracy, datasets, gallery, predictions, runs
from vitquant.gallery import Conditions


def today(db: sqlite3.Connection) -> Conditions:
    return gallery.conditions(db, drawn.SUBJECT, gallery.register(db, drawn.DATASET)[1])


def test_what_was_measured_last_comes_first(db: sqlite3.Connection) -> None:
    plan = drawn.store_answers({"fp32": set()}, limit=3, image_size=84)
    db.execute("UPDATE series SET measured_at = '2999' WHERE id = ?", (plan.series["fp32"].id,))
    assert gallery.subjects(db) == [replace(drawn.SUBJECT, image_size=84), drawn.SUBJECT]


def test_the_variants_of_a_set_are_in_the_recipes_order(db: sqlite3.Connection) -> None:
    answers = drawn.only_set(db)
    assert list(answers.series) == ["fp32", "qint8"]
    assert answers.answered == drawn.MEASURED


def test_nothing_has_changed_right_after_measuring(db: sqlite3.Connection) -> None:
    for series in drawn.only_set(db).series.values():
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
    identity = replace(drawn.only_set(db).series["qint8"].identity, engine="x86")
    now = replace(today(db), engine="x86")
    [change] = gallery.changes(identity, replace(now, **changed))
    assert named in change


def test_a_new_recipe_version_is_named(db: sqlite3.Connection) -> None:
    identity = drawn.only_set(db).series["qint8"].identity
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
    assert [s.answered for s in gallery.answer_sets(db, drawn.SUBJECT)] == [drawn.MEASURED, 2]
    drawn.store_answers({"fp32": set()}, limit=25)
    db.execute("UPDATE series SET measured_at = '2999' WHERE id = ?", (newer.id,))
    assert [s.answered for s in gallery.answer_sets(db, drawn.SUBJECT)] == [25, drawn.MEASURED]


def test_answers_on_demand_do_not_count_as_a_sample(db: sqlite3.Connection) -> None:
    answers = drawn.only_set(db)
    fp32 = answers.series_ids["fp32"]
    db.execute("DELETE FROM predictions WHERE series_id = ? AND position BETWEEN 10 AND 20", (fp32,))
    assert predictions.without_gap(db, fp32) == 10
    rows = {row["variant"]: row for row in gallery.accuracy_rows(db, answers)}
    assert (rows["fp32"]["n"], rows["fp32"]["top1"]) == (10, 0.8)
    assert rows["qint8"]["n"] == drawn.MEASURED


def test_finished_runs_of_this_model_only(db: sqlite3.Connection) -> None:
    def add(model: str, state: str) -> int:
        request = {"model": model, "weights": "random", "variants": ["fp32"]}
        run = runs.add(db, "size", request, {}, {})
        runs.finish(db, run.id, state, result=[{"variant": "fp32"}])
        return run.id

    wanted = add(drawn.MODEL, "done")
    add(drawn.MODEL, "failed")
    add("dinov2_vitb14_lc", "done")
    assert [run.id for run in gallery.finished_runs(db, "size", drawn.SUBJECT)] == [wanted]


def test_a_new_picture_changes_the_fingerprint(plan: accuracy.Plan, data_dir: Path) -> None:
    before = datasets.fingerprint(drawn.DATASET)
    assert datasets.fingerprint(drawn.DATASET) == before
    wnid = next(iter(drawn.DRAWINGS))
    drawn.draw(wnid, 99).save(data_dir / drawn.DATASET / "val" / wnid / "099.png")
    assert datasets.fingerprint(drawn.DATASET) != before
