"""Which pictures a filter lets through, in which order, and how many each choice would leave."""

import json
import sqlite3
from dataclasses import replace

from tests import drawn
from vitquant import accuracy, browse, confusions, labels
from vitquant.browse import Filter


def test_pictures_come_in_evaluation_order_with_every_verdict(
    db: sqlite3.Connection, plan: accuracy.Plan
) -> None:
    answers = drawn.only_set(db)
    shown = browse.page(db, answers.dataset_id, answers.series_ids, Filter(), offset=0, limit=4)
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
    answers = drawn.only_set(db)
    last = browse.page(db, answers.dataset_id, answers.series_ids, Filter(), offset=39)
    assert [p.verdicts for p in last] == [{}]


def test_only_the_mistakes_of_one_variant(db: sqlite3.Connection) -> None:
    answers = drawn.only_set(db)
    wanted = Filter(series=answers.series_ids["qint8"], verdict="wrong")
    shown = browse.page(db, answers.dataset_id, answers.series_ids, wanted)
    assert [p.position for p in shown] == [1, 2, 3, 29]
    assert browse.count(db, answers.dataset_id, wanted) == 4


def test_only_one_class(db: sqlite3.Connection) -> None:
    answers = drawn.only_set(db)
    sizes = browse.class_sizes(db, answers.dataset_id)
    assert list(sizes.values()) == [drawn.PER_CLASS] * drawn.CLASSES
    first = next(iter(sizes))
    wanted = Filter(class_index=first)
    shown = browse.page(db, answers.dataset_id, answers.series_ids, wanted)
    assert {p.class_index for p in shown} == {first}
    assert len(shown) == browse.count(db, answers.dataset_id, wanted) == drawn.PER_CLASS


def test_the_neighbours_stay_within_the_filter(db: sqlite3.Connection, plan: accuracy.Plan) -> None:
    answers = drawn.only_set(db)
    wanted = Filter(series=answers.series_ids["qint8"], verdict="wrong")
    place = browse.place(db, answers.dataset_id, wanted, plan.order[2])
    assert (place.number, place.count) == (2, 4)
    assert (place.previous, place.next) == (plan.order[1], plan.order[3])
    first = browse.place(db, answers.dataset_id, wanted, plan.order[1])
    assert (first.previous, first.number) == (None, 1)
    # A picture that the filter does not let through leads to the first that it does.
    outside = browse.place(db, answers.dataset_id, wanted, plan.order[10])
    assert (outside.number, outside.previous, outside.next) == (0, None, plan.order[1])


def test_one_picture_and_its_answers(db: sqlite3.Connection, plan: accuracy.Plan) -> None:
    answers = drawn.only_set(db)
    picture = browse.picture(db, answers.dataset_id, answers.series_ids, plan.order[5])
    assert picture is not None
    assert picture.position == 5
    assert browse.picture(db, answers.dataset_id, answers.series_ids, 40) is None
    stored = browse.answers_to(db, answers.series_ids, plan.order[5])
    assert stored["qint8"].indices[0] == picture.class_index


# What a filter asks for. fp32 is wrong at positions 0 and 1, qint8 at 1, 2, 3 and 29, of 30 answered.


def positions(db: sqlite3.Connection, **choices: object) -> list[int]:
    """The positions that qint8's filter, compared with fp32, lets through."""
    answers = drawn.only_set(db)
    ids = answers.series_ids
    wanted = replace(Filter(series=ids["qint8"], other=ids["fp32"]), **choices)
    shown = browse.page(db, answers.dataset_id, ids, wanted, limit=100)
    assert browse.count(db, answers.dataset_id, wanted) == len(shown)
    return [picture.position for picture in shown]


def test_each_verdict_and_each_pair_lets_through_what_it_says(db: sqlite3.Connection) -> None:
    assert positions(db, verdict="right") == [0, *range(4, 29)]
    assert positions(db, verdict="wrong") == [1, 2, 3, 29]
    assert positions(db, pair="lost") == [2, 3, 29]
    assert positions(db, pair="won") == [0]
    assert positions(db, pair="agree") == [1, *range(4, 29)]  # both give position 1 the same wrong answer
    assert positions(db, pair="apart") == []
    assert positions(db) == list(range(40))  # unanswered ones too, where nothing is asked of the answers


def test_both_wrong_with_different_answers(db: sqlite3.Connection) -> None:
    qint8 = drawn.only_set(db).series_ids["qint8"]
    db.execute("UPDATE predictions SET index1 = 999 WHERE series_id = ? AND position = 1", (qint8,))
    assert positions(db, pair="apart") == [1]
    assert 1 not in positions(db, pair="agree")


def test_close_is_in_the_top5_but_not_first(db: sqlite3.Connection) -> None:
    qint8 = drawn.only_set(db).series_ids["qint8"]
    for position, rank in ((1, 5), (2, 6), (3, 2)):
        db.execute(
            "UPDATE predictions SET true_rank = ? WHERE series_id = ? AND position = ?", (rank, qint8, position)
        )
    assert set(positions(db, verdict="near")) & {1, 2, 3} == {1, 3}


def test_confidence_and_answer(db: sqlite3.Connection) -> None:
    qint8 = drawn.only_set(db).series_ids["qint8"]
    db.execute("UPDATE predictions SET probability1 = 0.5 WHERE series_id = ? AND position = 7", (qint8,))
    assert positions(db, confidence=(0.4, 0.6)) == [7]
    [answer] = db.execute(
        "SELECT index1 FROM predictions WHERE series_id = ? AND position = 29", (qint8,)
    ).fetchone()
    answered = positions(db, answer=answer)
    assert 29 in answered
    assert positions(db, answer=answer, verdict="wrong") == [p for p in (1, 2, 3, 29) if p in answered]


def test_several_classes_from_a_search(db: sqlite3.Connection) -> None:
    sizes = list(browse.class_sizes(db, drawn.only_set(db).dataset_id))
    assert len(positions(db, classes=tuple(sizes[:2]))) == 2 * drawn.PER_CLASS
    assert positions(db, classes=()) == []


def test_every_choice_says_how_many_pictures_it_would_leave(db: sqlite3.Connection) -> None:
    answers = drawn.only_set(db)
    ids = answers.series_ids
    wanted = Filter(series=ids["qint8"], other=ids["fp32"], verdict="wrong", pair="lost")
    counts = browse.counts(db, answers.dataset_id, wanted)
    for verdict, n in counts.verdicts.items():
        assert n == browse.count(db, answers.dataset_id, replace(wanted, verdict=verdict))
    for pair, n in counts.pairs.items():
        assert n == browse.count(db, answers.dataset_id, replace(wanted, pair=pair))
    assert set(counts.verdicts) == {None, *browse.VERDICTS}
    assert set(counts.pairs) == {None, *browse.PAIRS}
    assert sum(counts.classes.values()) == browse.count(db, answers.dataset_id, wanted) == 3
    assert browse.differing(db, ids["qint8"], {"fp32": ids["fp32"]}) == {"fp32": 4}


def test_the_surest_mistakes_and_the_farthest_from_fp32_come_first(db: sqlite3.Connection) -> None:
    qint8 = drawn.only_set(db).series_ids["qint8"]
    for position, sure, kl in ((3, 0.99, 0.1), (29, 0.95, 7.0)):
        db.execute(
            "UPDATE predictions SET probability1 = ?, kl_nats = ? WHERE series_id = ? AND position = ?",
            (sure, kl, qint8, position),
        )
    assert positions(db, order="mistakes")[:4] == [3, 29, 1, 2]
    assert positions(db, order="mistakes")[-10:] == list(range(30, 40))  # what is not answered comes last
    assert positions(db, order="divergence")[0] == 29
    assert positions(db, order="divergence")[-10:] == list(range(30, 40))


def test_a_seed_shuffles_always_the_same_way(db: sqlite3.Connection) -> None:
    first, again, other = (positions(db, order="random", seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert sorted(first) == list(range(40)) != first


def test_neighbours_follow_the_order(db: sqlite3.Connection, plan: accuracy.Plan) -> None:
    answers = drawn.only_set(db)
    wanted = Filter(order="random", seed=5)
    listed = [p.picture for p in browse.page(db, answers.dataset_id, {}, wanted, limit=40)]
    place = browse.place(db, answers.dataset_id, wanted, listed[17])
    assert (place.number, place.count, place.previous, place.next) == (18, 40, listed[16], listed[18])


def test_a_filter_that_lets_nothing_through_has_no_neighbours(db: sqlite3.Connection) -> None:
    answers = drawn.only_set(db)
    nowhere = browse.place(db, answers.dataset_id, Filter(classes=()), 0)
    assert (nowhere.number, nowhere.count, nowhere.previous, nowhere.next) == (0, 0, None, None)


def test_which_facets_narrow_a_filter(db: sqlite3.Connection) -> None:
    assert Filter(series=1, order="random", seed=4).facets == ()
    full = Filter(
        series=1,
        other=2,
        verdict="wrong",
        pair="lost",
        class_index=3,
        classes=(3,),
        answer=4,
        confidence=(0, 1),
    )
    assert full.facets == browse.FACETS
    for facet in browse.FACETS:
        assert set(full.without(facet).facets) == set(browse.FACETS) - {facet}


def test_every_class_with_what_two_variants_have_right(db: sqlite3.Connection) -> None:
    answers = drawn.only_set(db)
    ids = answers.series_ids
    rows = confusions.by_class(db, answers.dataset_id, ids["qint8"], ids["fp32"])
    assert sum(row.pictures for row in rows) == drawn.MEASURED
    assert sum(row.right for row in rows) == drawn.MEASURED - 4
    assert sum(row.other_right or 0 for row in rows) == drawn.MEASURED - 2
    assert all(
        row.other_right is None for row in confusions.by_class(db, answers.dataset_id, ids["qint8"], None)
    )


def test_where_answers_go(db: sqlite3.Connection) -> None:
    answers = drawn.only_set(db)
    found = confusions.by_pair(db, answers.dataset_id, answers.series_ids["qint8"])
    assert sum(confusion.pictures for confusion in found) == drawn.MEASURED
    wrong = [confusion for confusion in found if confusion.class_index != confusion.answer]
    assert sum(confusion.pictures for confusion in wrong) == 4
    confused = confusions.most_confused(found, 100)
    assert set(confused) == {c.class_index for c in wrong} | {c.answer for c in wrong}
    assert confusions.most_confused(found, 1)[0] in confused


def test_a_selection_as_rows_for_a_file(db: sqlite3.Connection, plan: accuracy.Plan) -> None:
    answers = drawn.only_set(db)
    wanted = Filter(series=answers.series_ids["qint8"], verdict="wrong")
    rows = list(browse.export(db, answers.dataset_id, answers.series_ids, wanted))
    assert [row["picture"] for row in rows] == [plan.order[p] for p in (1, 2, 3, 29)]
    assert all(row["qint8_true_rank"] > 1 and row["qint8_wnid"] != row["true_wnid"] for row in rows)
    assert rows[1]["fp32_wnid"] == rows[1]["true_wnid"] == labels.by_wnid(rows[1]["true_wnid"]).wnid
    assert json.loads(json.dumps(rows)) == rows
    unanswered = list(browse.export(db, answers.dataset_id, answers.series_ids, Filter()))[-1]
    assert unanswered["qint8_wnid"] is None


def test_pictures_by_who_has_them_right(db: sqlite3.Connection) -> None:
    answers = drawn.only_set(db)
    only_qint8 = browse.by_verdicts(db, answers, right=["fp32"], wrong=["qint8"], limit=10)
    assert {picture.position for picture in only_qint8} <= {2, 3, 29}
    assert len({picture.class_index for picture in only_qint8}) == len(only_qint8) > 0
    both = browse.by_verdicts(db, answers, right=["fp32", "qint8"], wrong=[], limit=3)
    assert len(both) == 3
    assert all(verdict.right for picture in both for verdict in picture.verdicts.values())
