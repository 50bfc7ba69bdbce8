"""Where a variant's answers go: class by class, and which class is taken for which. Queries on stored
predictions; imports neither torch nor Streamlit.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from vitquant.predictions import TOP


@dataclass(frozen=True)
class ClassRow:
    """How two variants do on the pictures of one class that the first has answered."""

    class_index: int
    pictures: int
    right: int
    other_right: int | None  # None without another variant, or where it has not answered all of these
    top5: int


@dataclass(frozen=True)
class Confusion:
    """How many pictures of one class are given this answer."""

    class_index: int
    answer: int
    pictures: int


def by_class(db: sqlite3.Connection, dataset_id: int, series: int, other: int | None) -> list[ClassRow]:
    """How a variant, and another beside it, do on each class, in index order; answered pictures only."""
    rows = db.execute(
        "SELECT e.class_index, count(*) AS n, total(v.true_rank = 1) AS right_, "
        f"total(v.true_rank <= {TOP}) AS top5, total(o.true_rank = 1) AS other_right, "
        "count(o.true_rank) AS other_n FROM examples e "
        "JOIN predictions v ON v.series_id = :series AND v.position = e.position "
        "LEFT JOIN predictions o ON o.series_id = :other AND o.position = e.position "
        "WHERE e.dataset_id = :dataset GROUP BY e.class_index",
        {"series": series, "other": other, "dataset": dataset_id},
    )
    return [
        ClassRow(
            class_index=row["class_index"],
            pictures=row["n"],
            right=int(row["right_"]),
            other_right=int(row["other_right"]) if row["other_n"] == row["n"] else None,
            top5=int(row["top5"]),
        )
        for row in rows
    ]


def by_pair(db: sqlite3.Connection, dataset_id: int, series: int) -> list[Confusion]:
    """How many pictures of each class get each answer, right ones included; the most frequent first."""
    rows = db.execute(
        "SELECT e.class_index, v.index1, count(*) AS n FROM examples e "
        "JOIN predictions v ON v.series_id = ? AND v.position = e.position "
        "WHERE e.dataset_id = ? GROUP BY 1, 2 ORDER BY n DESC, 1, 2",
        (series, dataset_id),
    )
    return [Confusion(*row) for row in rows]


def most_confused(found: Sequence[Confusion], limit: int) -> list[int]:
    """The classes with the most mistakes, as truth or as answer; in index order."""
    mistakes: dict[int, int] = {}
    for confusion in found:
        if confusion.class_index != confusion.answer:
            for which in (confusion.class_index, confusion.answer):
                mistakes[which] = mistakes.get(which, 0) + confusion.pictures
    return sorted(sorted(mistakes, key=lambda which: (-mistakes[which], which))[:limit])
