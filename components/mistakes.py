"""Where a variant goes wrong: by class, by pair of classes, and what it answers instead. A click on a row, a
bar or a square shows those pictures."""

import sqlite3
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from components import address, pictures
from components.filters import Wanted
from vitquant import charts, confusions, labels
from vitquant.confusions import Confusion

MOST_CONFUSED = 14
"""Classes of the matrix: their squares do not touch on a phone."""
MATRIX_WIDTH = 680
"""In pixels, where there is room."""

INSTEAD = 10


def _show_pictures(**choices: object) -> None:
    """The grid, narrowed to what was clicked and to nothing that was asked before."""
    before = (address.CLASS, address.ANSWER, address.WORDS, address.VERDICT, address.PAIR, address.LOW)
    forgotten = dict.fromkeys((*before, address.HIGH, address.PAGE, address.VIEW))
    address.go(**{**forgotten, **choices})


# Classes


def classes(db: sqlite3.Connection, dataset_id: int, wanted: Wanted) -> None:
    """Every class with the share that the variant has right, and the difference from another variant."""
    assert wanted.filter.series is not None and wanted.variant is not None
    rows = confusions.by_class(db, dataset_id, wanted.filter.series, wanted.filter.other)
    table = pd.DataFrame(
        {
            "class": [pictures.class_title(row.class_index) for row in rows],
            "pictures": [row.pictures for row in rows],
            f"{wanted.variant} top-1": [100 * row.right / row.pictures for row in rows],
            f"{wanted.variant} top-5": [100 * row.top5 / row.pictures for row in rows],
            "wnid": [labels.by_index(row.class_index).wnid for row in rows],
        }
    )
    shares = [f"{wanted.variant} top-1", f"{wanted.variant} top-5"]
    other, difference = f"{wanted.versus} top-1", f"{wanted.variant} − {wanted.versus}"
    if wanted.versus:
        table.insert(
            3,
            other,
            [None if row.other_right is None else 100 * row.other_right / row.pictures for row in rows],
        )
        table.insert(4, difference, table[f"{wanted.variant} top-1"] - table[other])
        shares.append(other)
    table[shares] = table[shares].astype(float)
    table = table.sort_values([f"{wanted.variant} top-1", "class"], ignore_index=True)
    hint = "" if wanted.versus else " Compare with another variant above to see the difference."
    st.caption(
        f"What {wanted.variant} recognises least comes first. Choose a row to see its pictures, a column's "
        f"head to sort by it.{hint}"
    )
    if wanted.versus:
        st.caption(f"{difference}: the difference of the two, in percentage points.")
    key = f"classes-{wanted.variant}-{wanted.versus}"
    st.dataframe(
        table,
        hide_index=True,
        placeholder="–",
        height=min(36 * (len(table) + 1), 620),
        column_config={
            **{
                name: st.column_config.ProgressColumn(format="%.0f%%", min_value=0, max_value=100)
                for name in shares
            },
            "class": st.column_config.TextColumn(width="small"),
            "pictures": st.column_config.NumberColumn(format="localized", help="Answered ones", width="small"),
            **({difference: st.column_config.NumberColumn(format="%+.0f")} if wanted.versus else {}),
        },
        on_select=lambda: _row_chosen(key, list(table["wnid"])),
        selection_mode="single-row",
        key=key,
        alt=f"How {wanted.variant} does on each of {len(table)} classes.",
    )


def _row_chosen(key: str, wnids: Sequence[str]) -> None:
    rows = st.session_state[key]["selection"]["rows"]
    if rows:
        _show_pictures(**{address.CLASS: wnids[rows[0]]})


# Confusions


def pairs(db: sqlite3.Connection, dataset_id: int, wanted: Wanted) -> None:
    """What the variant answers instead of the truth: in all, and class by class."""
    assert wanted.filter.series is not None and wanted.variant is not None
    found = confusions.by_pair(db, dataset_id, wanted.filter.series)
    wrong = [confusion for confusion in found if confusion.class_index != confusion.answer]
    if not wrong:
        st.info(f"{wanted.variant} has every answered picture right.", icon=":material/check:")
        return
    _instead(wanted.variant, found, wrong)
    _matrix(wanted.variant, found)
    _all_pairs(wanted.variant, wrong)


def _instead(variant: str, found: Sequence[Confusion], wrong: Sequence[Confusion]) -> None:
    st.subheader(f"What does {variant} answer instead?", anchor=False)
    n_wrong = sum(confusion.pictures for confusion in wrong)
    by_answer: dict[int, int] = {}
    for confusion in wrong:
        by_answer[confusion.answer] = by_answer.get(confusion.answer, 0) + confusion.pictures
    top = sorted(by_answer, key=lambda answer: (-by_answer[answer], answer))[:INSTEAD]
    first = top[0]
    truly = sum(confusion.pictures for confusion in found if confusion.class_index == first)
    st.markdown(
        f"Of its {n_wrong:,} wrong answers, **{by_answer[first]:,} ({by_answer[first] / n_wrong:.0%}) say "
        f"{pictures.class_title(first)}**, which {truly:,} of all {sum(c.pictures for c in found):,} pictures "
        f"show. It spreads its mistakes over {len(by_answer):,} "
        f"{'class' if len(by_answer) == 1 else 'classes'}. Choose a bar to see the pictures."
    )
    names = [pictures.class_title(answer) for answer in top]
    values = [by_answer[answer] for answer in top]
    st.plotly_chart(
        charts.instead(variant, names, values, n_wrong),
        config=charts.CONFIG,
        on_select=lambda: _bar_chosen(f"instead-{variant}", top),
        selection_mode="points",
        key=f"instead-{variant}",
        alt="; ".join(f"{name}: {value:,}" for name, value in zip(names, values, strict=True)),
    )


def _bar_chosen(key: str, answers: Sequence[int]) -> None:
    points = st.session_state[key]["selection"]["points"]
    if points:
        answer = labels.by_index(answers[points[0]["point_index"]])
        _show_pictures(**{address.ANSWER: answer.wnid, address.VERDICT: "wrong"})


def _matrix(variant: str, found: Sequence[Confusion]) -> None:
    st.subheader("Confusion matrix", anchor=False)
    shown = confusions.most_confused(found, MOST_CONFUSED)
    hide = st.toggle(
        "Hide the diagonal",
        value=True,
        help="The right answers, which outshine the mistakes.",
        key="no-diagonal",
    )
    cells = [
        cell
        for cell in found
        if cell.class_index in shown and cell.answer in shown and not (hide and cell.class_index == cell.answer)
    ]
    st.caption(
        f"The {len(shown)} classes with the most mistakes. A row is what a picture shows, a column what "
        f"{variant} answers. Choose a square to see its pictures."
    )
    key = f"matrix-{variant}-{hide}"
    st.container(width=MATRIX_WIDTH).plotly_chart(
        charts.confusion(
            variant,
            [pictures.class_title(index) for index in shown],
            [(shown.index(cell.class_index), shown.index(cell.answer), cell.pictures) for cell in cells],
        ),
        config=charts.CONFIG,
        on_select=lambda: _cell_chosen(key, cells),
        selection_mode="points",
        key=key,
        alt=f"Confusion matrix of {variant}; the table beneath has the same in words.",
    )


def _cell_chosen(key: str, cells: Sequence[Confusion]) -> None:
    points = st.session_state[key]["selection"]["points"]
    if points:
        _show_pair(cells[points[0]["point_index"]])


def _all_pairs(variant: str, wrong: Sequence[Confusion]) -> None:
    st.subheader("All pairs", anchor=False)
    table = pd.DataFrame(
        {
            "shows": [labels.by_index(confusion.class_index).words for confusion in wrong],
            f"{variant} answers": [labels.by_index(confusion.answer).words for confusion in wrong],
            "pictures": [confusion.pictures for confusion in wrong],
        }
    )
    st.dataframe(
        table,
        hide_index=True,
        height=min(36 * (len(table) + 1), 400),
        on_select=lambda: _pair_chosen(f"pairs-{variant}", wrong),
        selection_mode="single-row",
        key=f"pairs-{variant}",
        alt=f"Which class {variant} takes for which: {len(table):,} pairs.",
    )


def _pair_chosen(key: str, wrong: Sequence[Confusion]) -> None:
    rows = st.session_state[key]["selection"]["rows"]
    if rows:
        _show_pair(wrong[rows[0]])


def _show_pair(confusion: Confusion) -> None:
    true, answer = labels.by_index(confusion.class_index), labels.by_index(confusion.answer)
    _show_pictures(**{address.CLASS: true.wnid, address.ANSWER: answer.wnid})
