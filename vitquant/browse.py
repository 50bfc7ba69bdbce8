"""The pictures of a dataset as the Explorer looks through them: which ones a filter lets through, in which
order, and how many each choice would leave. (Where a variant's answers go: confusions.)

Queries only, on stored predictions; imports neither torch nor Streamlit. "position" is a picture's place in the
evaluation order, so that what has been measured comes first.
"""

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vitquant import labels, predictions
from vitquant.accuracy import REFERENCE
from vitquant.gallery import AnswerSet
from vitquant.own_pictures_listing import UNLABELLED
from vitquant.predictions import TOP, Prediction

PAGE = 24
"""Pictures on one page of the grid: divisible by 2, 3, 4, 6 and 8 columns."""

VERDICTS = {
    "right": "v.true_rank = 1",
    "wrong": "v.true_rank > 1",
    "near": f"v.true_rank BETWEEN 2 AND {TOP}",
}
"""What one variant (v) makes of the truth; near: the true class is in the top-5, but not first."""

PAIRS = {
    "agree": "v.index1 = o.index1",
    "lost": "o.true_rank = 1 AND v.true_rank > 1",
    "won": "o.true_rank > 1 AND v.true_rank = 1",
    "apart": "o.true_rank > 1 AND v.true_rank > 1 AND v.index1 != o.index1",
}
"""How one variant's first answers (v) compare with another's (o): every picture that both have answered is in
exactly one of these."""

ORDERS = {
    "dataset": "e.position",
    "mistakes": "v.true_rank > 1 DESC, v.probability1 DESC, e.position",
    "divergence": "v.kl_nats DESC, e.position",
    "random": "shuffled(e.position, :seed), e.position",
}
"""dataset: as it is measured; mistakes: wrong answers first, the surest of them on top; divergence: by
KL(fp32 || variant) over all classes; random: shuffled by a seed. What is not answered comes last."""

FACETS = ("verdict", "pair", "class", "words", "answer", "confidence")
"""What a filter can ask for, each of which can be let go of by itself (Filter.without)."""


@dataclass(frozen=True)
class Filter:
    """Which pictures are wanted, in which order. None: whatever it is."""

    series: int | None = None  # the variant looked at
    other: int | None = None  # the one that it is compared with
    verdict: str | None = None  # a key of VERDICTS; needs series
    pair: str | None = None  # a key of PAIRS; needs series and other
    class_index: int | None = None  # the true class
    classes: tuple[int, ...] | None = None  # true classes, from a search by words
    answer: int | None = None  # the class that the variant answers; needs series
    confidence: tuple[float, float] | None = None  # of the first answer, both ends included; needs series
    order: str = "dataset"
    seed: int = 0

    def without(self, facet: str) -> "Filter":
        """The same filter asking for anything in this facet."""
        nothing: dict[str, Any] = {{"class": "class_index", "words": "classes"}.get(facet, facet): None}
        return replace(self, **nothing)

    @property
    def facets(self) -> tuple[str, ...]:
        """The facets that this filter narrows."""
        return tuple(facet for facet in FACETS if self.without(facet) != self)


@dataclass(frozen=True)
class Verdict:
    """One variant's first answer to one picture."""

    class_index: int
    probability: float
    right: bool


@dataclass(frozen=True)
class Picture:
    """One example with what each variant says; variants that have not answered it are absent."""

    picture: int  # place in ImageFolder's order
    position: int  # place in the evaluation order
    path: str  # relative to the dataset's root
    class_index: int  # own_pictures_listing.UNLABELLED where nobody has said it
    verdicts: Mapping[str, Verdict]


@dataclass(frozen=True)
class Place:
    """Where a picture stands among those a filter lets through, in the filter's order."""

    number: int  # 1 for the first; 0 where the filter does not let it through
    count: int
    previous: int | None  # pictures, by ImageFolder's order
    next: int | None


@dataclass(frozen=True)
class Counts:
    """How many pictures each choice would leave, with everything else as it is."""

    verdicts: Mapping[str | None, int]  # by key of VERDICTS; None: any verdict
    pairs: Mapping[str | None, int]  # by key of PAIRS; None: any; empty without a variant to compare with
    classes: Mapping[int, int]  # by true class; classes without pictures are absent


# Which pictures


def class_sizes(db: sqlite3.Connection, dataset_id: int) -> dict[int, int]:
    """How many pictures each class of the dataset has, in index order."""
    rows = db.execute(
        "SELECT class_index, count(*) AS n FROM examples WHERE dataset_id = ? GROUP BY class_index",
        (dataset_id,),
    )
    return {row["class_index"]: row["n"] for row in rows}


def count(db: sqlite3.Connection, dataset_id: int, wanted: Filter) -> int:
    """How many pictures a filter lets through."""
    query, values = _let_through("count(*)", dataset_id, wanted)
    [n] = db.execute(query, values).fetchone()
    return int(n)


def counts(db: sqlite3.Connection, dataset_id: int, wanted: Filter) -> Counts:
    """How many pictures each verdict, pair and class would leave if it were chosen now."""
    verdicts = _count_each(db, dataset_id, wanted.without("verdict"), VERDICTS) if wanted.series else {}
    pairs = _count_each(db, dataset_id, wanted.without("pair"), PAIRS) if wanted.series and wanted.other else {}
    query, values = _let_through("e.class_index, count(*) AS n", dataset_id, wanted.without("class"))
    rows = db.execute(f"{query} GROUP BY e.class_index", values)
    return Counts(verdicts, pairs, {row["class_index"]: row["n"] for row in rows})


def differing(db: sqlite3.Connection, series: int, others: Mapping[str, int]) -> dict[str, int]:
    """By name, on how many of the pictures that both have answered another series' first answer differs."""
    found = {}
    for name, other in others.items():
        [n] = db.execute(
            "SELECT count(*) FROM predictions v JOIN predictions o ON o.series_id = ? AND "
            "o.position = v.position WHERE v.series_id = ? AND v.index1 != o.index1",
            (other, series),
        ).fetchone()
        found[name] = int(n)
    return found


def page(
    db: sqlite3.Connection,
    dataset_id: int,
    series_ids: Mapping[str, int],
    wanted: Filter,
    *,
    offset: int = 0,
    limit: int = PAGE,
) -> list[Picture]:
    """Some of the pictures that a filter lets through, in its order, with each variant's verdict."""
    query, values = _let_through("e.*", dataset_id, wanted)
    rows = db.execute(
        f"{query} ORDER BY {_order(db, wanted)} LIMIT :limit OFFSET :offset",
        {**values, "limit": limit, "offset": offset},
    ).fetchall()
    return _with_verdicts(db, rows, series_ids)


def place(db: sqlite3.Connection, dataset_id: int, wanted: Filter, picture: int) -> Place:
    """Where a picture stands among those that the filter lets through, and its neighbours there; a picture
    that it does not let through is followed by the first of them."""
    over = f"OVER (ORDER BY {_order(db, wanted)})"
    query, values = _let_through(
        f"e.picture, row_number() {over} AS number, count(*) OVER () AS n, lag(e.picture) {over} AS previous, "
        f"lead(e.picture) {over} AS next",
        dataset_id,
        wanted,
    )
    rows = db.execute(
        f"SELECT * FROM ({query}) WHERE picture = :picture OR number = 1", {**values, "picture": picture}
    ).fetchall()
    here = next((row for row in rows if row["picture"] == picture), None)
    if here:
        return Place(here["number"], here["n"], here["previous"], here["next"])
    return Place(0, rows[0]["n"], None, rows[0]["picture"]) if rows else Place(0, 0, None, None)


def picture(
    db: sqlite3.Connection, dataset_id: int, series_ids: Mapping[str, int], number: int
) -> Picture | None:
    """One picture by its place in ImageFolder's order; None where the dataset has none of that number."""
    rows = db.execute(
        "SELECT * FROM examples WHERE dataset_id = ? AND picture = ?", (dataset_id, number)
    ).fetchall()
    return _with_verdicts(db, rows, series_ids)[0] if rows else None


def answers_to(db: sqlite3.Connection, series_ids: Mapping[str, int], number: int) -> dict[str, Prediction]:
    """Each variant's stored top-5 for one picture, by variant."""
    found = predictions.answers_to(db, list(series_ids.values()), number)
    return {name: found[series_id] for name, series_id in series_ids.items() if series_id in found}


def telling(db: sqlite3.Connection, answers: AnswerSet, variant: str, *, limit: int = 60) -> list[int]:
    """Pictures that the reference gets right and the variant wrong, both sure of themselves: one of each
    class, the clearest first, by their place in ImageFolder's order. Empty where there are none."""
    rows = db.execute(
        "SELECT picture FROM ("
        "  SELECT e.picture, e.position, r.true_probability * v.probability1 AS sure, row_number() OVER ("
        f"    PARTITION BY {_shown_class('r')} "
        "     ORDER BY r.true_probability * v.probability1 DESC, e.position) AS place"
        "  FROM examples e JOIN predictions r ON r.series_id = :reference AND r.position = e.position"
        "  JOIN predictions v ON v.series_id = :variant AND v.position = e.position"
        "  WHERE e.dataset_id = :dataset AND r.true_rank = 1 AND v.true_rank > 1"
        ") WHERE place = 1 ORDER BY sure DESC, position LIMIT :limit",
        {
            "reference": answers.series[REFERENCE].id,
            "variant": answers.series[variant].id,
            "dataset": answers.dataset_id,
            "limit": limit,
        },
    )
    return [row["picture"] for row in rows]


def by_verdicts(
    db: sqlite3.Connection, answers: AnswerSet, *, right: Sequence[str], wrong: Sequence[str], limit: int
) -> list[Picture]:
    """Pictures that all of some variants have right and all of others wrong, each of another class: those
    first that the first of them is surest of."""
    conditions = {**dict.fromkeys(right, "= 1"), **dict.fromkeys(wrong, "> 1")}
    joins, values = [], {"dataset": answers.dataset_id, "limit": limit}
    for place, (name, condition) in enumerate(conditions.items()):
        values[f"series{place}"] = answers.series[name].id
        joins.append(
            f"JOIN predictions p{place} ON p{place}.series_id = :series{place} "
            f"AND p{place}.position = e.position AND p{place}.true_rank {condition}"
        )
    rows = db.execute(
        "SELECT * FROM (SELECT e.*, p0.probability1 AS sure, row_number() OVER ("
        f"PARTITION BY {_shown_class('p0')} ORDER BY p0.probability1 DESC, e.position) AS place "
        f"FROM examples e {' '.join(joins)} "
        "WHERE e.dataset_id = :dataset) WHERE place = 1 ORDER BY sure DESC, position LIMIT :limit",
        values,
    ).fetchall()
    return _with_verdicts(db, rows, answers.series_ids)


def export(
    db: sqlite3.Connection, dataset_id: int, series_ids: Mapping[str, int], wanted: Filter
) -> Iterator[dict[str, Any]]:
    """Every picture that a filter lets through, in its order, as flat rows for a file: the picture, its true
    class, and of each variant the first answer, its probability, the true class' rank and probability (of
    pictures without labels: of fp32's answer), and the KL divergence from fp32 in nats. What is not known is
    None."""
    query, values = _let_through("e.*", dataset_id, wanted)
    answers = {
        name: {
            row["position"]: row
            for row in db.execute("SELECT * FROM predictions WHERE series_id = ?", (series_id,))
        }
        for name, series_id in series_ids.items()
    }
    for row in db.execute(f"{query} ORDER BY {_order(db, wanted)}", values).fetchall():
        flat: dict[str, Any] = {
            "picture": row["picture"],
            "path": row["path"],
            "true_wnid": row["wnid"] or None,
            "true_words": labels.by_wnid(row["wnid"]).words if row["wnid"] else None,
        }
        for name, own in answers.items():
            answer = own.get(row["position"])
            label = labels.by_index(answer["index1"]) if answer else None
            flat |= {
                f"{name}_wnid": label.wnid if label else None,
                f"{name}_words": label.words if label else None,
                f"{name}_probability": answer["probability1"] if answer else None,
                f"{name}_true_rank": answer["true_rank"] if answer else None,
                f"{name}_true_probability": answer["true_probability"] if answer else None,
                f"{name}_kl_nats": answer["kl_nats"] if answer else None,
            }
        yield flat


# How the queries are put together


def _shown_class(answered: str) -> str:
    """The class of an example (e), or the answer of these predictions where it has no label."""
    return f"CASE e.class_index WHEN {UNLABELLED} THEN {answered}.index1 ELSE e.class_index END"


def _let_through(what: str, dataset_id: int, wanted: Filter) -> tuple[str, dict[str, Any]]:
    """SELECT what FROM the pictures that a filter lets through, and the values to bind."""
    conditions = ["e.dataset_id = :dataset"]
    values: dict[str, Any] = {
        "dataset": dataset_id,
        "series": wanted.series,
        "other": wanted.other,
        "seed": wanted.seed,
        "class_index": wanted.class_index,
        "answer": wanted.answer,
    }
    joins = ""
    if wanted.series is not None:
        joins += " LEFT JOIN predictions v ON v.series_id = :series AND v.position = e.position"
    if wanted.other is not None:
        joins += " LEFT JOIN predictions o ON o.series_id = :other AND o.position = e.position"
    if wanted.verdict:
        conditions.append(VERDICTS[wanted.verdict])
    if wanted.pair:
        conditions.append(f"({PAIRS[wanted.pair]})")
    if wanted.class_index is not None:
        conditions.append("e.class_index = :class_index")
    if wanted.classes is not None:
        marks = ", ".join(f":class{place}" for place in range(len(wanted.classes)))
        values |= {f"class{place}": index for place, index in enumerate(wanted.classes)}
        conditions.append(f"e.class_index IN ({marks})")
    if wanted.answer is not None:
        conditions.append("v.index1 = :answer")
    if wanted.confidence is not None:
        values |= {"low": wanted.confidence[0], "high": wanted.confidence[1]}
        conditions.append("v.probability1 BETWEEN :low AND :high")
    return f"SELECT {what} FROM examples e{joins} WHERE {' AND '.join(conditions)}", values


def _order(db: sqlite3.Connection, wanted: Filter) -> str:
    if wanted.order == "random":
        db.create_function("shuffled", 2, _shuffled, deterministic=True)
    return ORDERS[wanted.order]


def _shuffled(position: int, seed: int) -> int:
    """A place that looks random, the same for the same seed on every machine."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {position}".encode(), digest_size=7).digest())


def _count_each(
    db: sqlite3.Connection, dataset_id: int, wanted: Filter, conditions: Mapping[str, str]
) -> dict[str | None, int]:
    columns = ", ".join(f"total({condition}) AS {name}" for name, condition in conditions.items())
    query, values = _let_through(f"count(*) AS n, {columns}", dataset_id, wanted)
    row = db.execute(query, values).fetchone()
    return {None: int(row["n"]), **{name: int(row[name]) for name in conditions}}


def _with_verdicts(
    db: sqlite3.Connection, rows: Sequence[sqlite3.Row], series_ids: Mapping[str, int]
) -> list[Picture]:
    positions = [row["position"] for row in rows]
    marks = ", ".join("?" * len(positions))
    verdicts: dict[int, dict[str, Verdict]] = {position: {} for position in positions}
    for name, series_id in series_ids.items():
        for row in db.execute(
            "SELECT position, index1, probability1, true_rank FROM predictions "
            f"WHERE series_id = ? AND position IN ({marks})",
            [series_id, *positions],
        ):
            verdicts[row["position"]][name] = Verdict(row["index1"], row["probability1"], row["true_rank"] == 1)
    return [
        Picture(row["picture"], row["position"], row["path"], row["class_index"], verdicts[row["position"]])
        for row in rows
    ]
