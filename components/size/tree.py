"""Where the bytes are: a treemap to descend into, one variant or two under one root, the parts side by side,
and two variants layer by layer."""

import functools
import sqlite3
from typing import Any

import pandas as pd
import streamlit as st

from components import address, provenance
from components.choices import Choices
from components.size import differences, stored
from vitquant import charts, ledger, size_charts, tree, units
from vitquant.accuracy import REFERENCE
from vitquant.tree import Ledgers

MEASURES = {"memory": "In memory", "disk": "On disk"}
ORDERS = {"block": "Block", "kind": "Kind of layer"}
NOTHING = "nothing"
FIRST = "qint8"
"""The variant looked at first, where it is measured: what it left in float32 is what one looks for."""
CHART = "treemap"


def show(db: sqlite3.Connection, chosen: Choices) -> None:
    run = stored.sizes(db, chosen, with_ledgers=True)
    if run is None:
        return
    by_variant = {row["variant"]: ledger.of_row(row) for row in run.result or []}
    names = list(by_variant)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first = FIRST if FIRST in names else names[-1]
        variant = address.value_of(address.VARIANT, names, first, what="measured variant")
        st.segmented_control(
            "Variant",
            names,
            required=True,
            **address.mirror(address.VARIANT, variant, forgetting=[address.AT]),
        )
        others = [NOTHING, *(name for name in names if name != variant)]
        usual = REFERENCE if REFERENCE in others else NOTHING
        beside = address.value_of(address.WITH, others, usual, what="other measured variant")
        st.segmented_control(
            "beside it", others, required=True, **address.mirror(address.WITH, beside, forgetting=[address.AT])
        )
        measure = address.value_of(address.BYTES, list(MEASURES), "memory", what="kind of bytes")
        st.segmented_control(
            "Bytes",
            list(MEASURES),
            required=True,
            format_func=MEASURES.__getitem__,
            **address.mirror(address.BYTES, measure, forgetting=[address.AT]),
        )
        order = address.value_of(address.GROUP, list(ORDERS), "block", what="division")
        st.segmented_control(
            "Divided by",
            list(ORDERS),
            required=True,
            format_func=ORDERS.__getitem__,
            help="Block by block, or all layers of a kind together, such as every block's qkv.",
            **address.mirror(address.GROUP, order, forgetting=[address.AT]),
        )
        unit = stored.unit()
    shown = {name: by_variant[name] for name in ([variant] if beside == NOTHING else [beside, variant])}
    st.html(_legend(shown, measure, unit))
    at = _level(shown, measure, order)
    st.plotly_chart(
        size_charts.treemap(shown, measure, order, unit, at),
        config=charts.CONFIG,
        alt=size_charts.treemap_alt(shown, measure),
        key=CHART,
        on_select=functools.partial(_clicked, order),
        selection_mode="points",
    )
    _descent(shown, measure, order, at)
    _parts(shown, measure, order, unit, at)
    differences.show(db, chosen, run, unit)
    provenance.of_run(run)


def _legend(shown: Ledgers, measure: str, unit: int) -> str:
    """What each colour means, and how much of each variant has that data type; as HTML."""
    lines = []
    for name, entries in shown.items():
        counts = ledger.by_dtype(entries, measure)
        parts = [
            '<span style="white-space:nowrap">'
            f'<i style="{_SWATCH}background:{size_charts.dtype_colour(dtype)}"></i>'
            f"{size_charts.dtype_title(dtype)} {units.bytes_words(count, unit)} "
            f"({count / sum(counts.values()):.1%})</span>"
            for dtype, count in counts.items()
        ]
        lines.append(f"<div><b>{name}</b>: {', '.join(parts)}</div>")
    return "".join(lines)


_SWATCH = "display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.35em;"


# Descending


def _level(shown: Ledgers, measure: str, order: str) -> str:
    at = st.query_params.get(address.AT, tree.ROOT)
    if tree.has(shown, measure, order, at):
        return at
    address.misunderstood(f"There is no part {address.quoted(at)} here; all of it is shown instead.")
    return tree.ROOT


def _clicked(order: str) -> None:
    """A click on a part descends into it; on the part that one is in, goes up again; a tensor has no parts."""
    points: list[Any] = st.session_state[CHART].selection.points
    if not points:
        return
    node = str(points[0]["id"])
    if node == st.query_params.get(address.AT, tree.ROOT) or tree.is_tensor(node, order):
        node = tree.up(node)
    _go_to(node)


def _go_to(node: str) -> None:
    address.go(**{address.AT: None if node == tree.ROOT else node})


def _descent(shown: Ledgers, measure: str, order: str, at: str) -> None:
    """Where one is, as buttons that lead back up, and a list to descend by without a pointer."""
    with st.container(horizontal=True, vertical_alignment="center"):
        names = tree.names(at)
        for depth in range(len(names) + 1):
            st.button(
                "Everything" if depth == 0 else names[depth - 1],
                key=f"up-{depth}",
                type="tertiary",
                icon=":material/home:" if depth == 0 else ":material/chevron_right:",
                disabled=depth == len(names),
                on_click=_go_to,
                args=(tree.SEPARATOR.join(names[:depth]) or tree.ROOT,),
            )
        if below := tree.below(shown, measure, order, at):
            key = f"descend-{order}-{at}"
            st.selectbox(
                "Descend into",
                below,
                index=None,
                placeholder="Descend into …",
                format_func=lambda node: tree.names(node)[-1],
                label_visibility="collapsed",
                key=key,
                on_change=_descended,
                args=(key,),
                width=260,
            )


def _descended(key: str) -> None:
    if st.session_state[key]:
        _go_to(st.session_state[key])


# The parts side by side


def _parts(shown: Ledgers, measure: str, order: str, unit: int, at: str) -> None:
    rows = tree.side_by_side(shown, measure, order, at)
    if not rows:
        return
    where = " › ".join(tree.names(at)[1:]) or "the whole model"
    st.subheader(f"{'Side by side' if len(shown) > 1 else 'Its parts'}: {where}", anchor=False)
    table = pd.DataFrame(rows)
    for name in shown:
        table[f"{name}, types"] = [
            ", ".join(map(size_charts.dtype_title, row["types"].get(name, []))) for row in rows
        ]
    st.plotly_chart(
        size_charts.pairs(table, list(shown), unit),
        config=charts.CONFIG,
        alt=size_charts.pairs_alt(table, list(shown)),
        key="pairs",
    )
    with st.expander("In bytes", icon=":material/table:"):
        st.dataframe(
            table[["part", *(column for name in shown for column in (name, f"{name}, types"))]],
            hide_index=True,
            column_config={name: st.column_config.NumberColumn(format="localized") for name in shown},
            alt=size_charts.pairs_alt(table, list(shown)),
        )
