"""Where the bytes are: a treemap to descend into, one variant or two under one root, and the parts side by
side."""

import sqlite3
from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from components import address, provenance
from components.choices import Choices
from components.size import stored
from vitquant import charts, ledger, size_charts
from vitquant.accuracy import REFERENCE
from vitquant.ledger import Ledger
from vitquant.size_charts import LEVELS, SEPARATOR

MEASURES = {"memory": "In memory", "disk": "On disk"}
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
        unit = stored.unit()
    shown = {name: by_variant[name] for name in ([variant] if beside == NOTHING else [beside, variant])}
    st.html(_legend(shown, measure, unit))
    at = _level(shown, measure)
    st.plotly_chart(
        size_charts.treemap(shown, measure, unit, at),
        config=charts.CONFIG,
        alt=size_charts.treemap_alt(shown, measure),
        key=CHART,
        on_select=_clicked,
        selection_mode="points",
    )
    _descent(shown, measure, at)
    _parts(shown, measure, unit, at)
    provenance.of_run(run)


def _count(entries: Ledger, measure: str) -> int:
    found = ledger.total(entries)
    return found.memory_bytes if measure == "memory" else found.disk_bytes


def _legend(shown: Mapping[str, Ledger], measure: str, unit: int) -> str:
    """What each colour means, and how much of each variant has that data type; as HTML."""
    lines = []
    for name, entries in shown.items():
        counts = _by_type(entries, measure)
        parts = [
            '<span style="white-space:nowrap">'
            f'<i style="{_SWATCH}background:{size_charts.dtype_colour(dtype)}"></i>'
            f"{size_charts.dtype_title(dtype)} {_amount(count, unit)} "
            f"({count / sum(counts.values()):.1%})</span>"
            for dtype, count in counts.items()
        ]
        lines.append(f"<div><b>{name}</b>: {', '.join(parts)}</div>")
    return "".join(lines)


_SWATCH = "display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.35em;"


def _amount(count: int, unit: int) -> str:
    if count < unit / 100:
        return f"{count:,} bytes"
    return f"{count / unit:,.2f} {charts.unit_name(unit)}"


def _by_type(entries: Ledger, measure: str) -> dict[str, int]:
    """Bytes by data type, the most first; types that take nothing are left out."""
    sums = ledger.by(entries, "dtype" if measure == "memory" else "disk_dtype")
    counts = {
        dtype: found.memory_bytes if measure == "memory" else found.disk_bytes for dtype, found in sums.items()
    }
    return {dtype: n for dtype, n in sorted(counts.items(), key=lambda pair: -pair[1]) if n}


# Descending


def _levels(shown: Mapping[str, Ledger], measure: str) -> set[str]:
    """The ids of all nodes that have parts: the root's, variants', blocks', layers'."""
    found = {size_charts.ROOT}
    for name, entries in shown.items():
        found.add(name)
        for entry in entries:
            if _count([entry], measure):
                found.add(SEPARATOR.join([name, entry.block]))
                found.add(SEPARATOR.join([name, entry.block, entry.inside]))
    return found


def _level(shown: Mapping[str, Ledger], measure: str) -> str:
    at = st.query_params.get(address.AT)
    if at is None:
        return size_charts.ROOT
    if at in _levels(shown, measure):
        return at
    address.misunderstood(f"There is no part {address.quoted(at)} here; all of it is shown instead.")
    return size_charts.ROOT


def _clicked() -> None:
    """A click on a part descends into it; on the part that one is in, goes up again; a tensor has no parts."""
    points: list[Any] = st.session_state[CHART].selection.points
    if not points:
        return
    node = str(points[0]["id"])
    is_where_one_is = node == st.query_params.get(address.AT, size_charts.ROOT)
    is_tensor = node.count(SEPARATOR) == len(LEVELS)
    if is_where_one_is or is_tensor:
        node = node.rpartition(SEPARATOR)[0]
    address.go(**{address.AT: None if node in ("", size_charts.ROOT) else node})


def _descent(shown: Mapping[str, Ledger], measure: str, at: str) -> None:
    """Where one is, as buttons that lead back up, and a list to descend by without a pointer."""
    with st.container(horizontal=True, vertical_alignment="center"):
        names = [] if at == size_charts.ROOT else at.split(SEPARATOR)
        for depth in range(len(names) + 1):
            node = SEPARATOR.join(names[:depth])
            st.button(
                "Everything" if depth == 0 else names[depth - 1],
                key=f"up-{depth}",
                type="tertiary",
                icon=":material/home:" if depth == 0 else ":material/chevron_right:",
                disabled=depth == len(names),
                on_click=address.go,
                kwargs={address.AT: node or None},
            )
        below = _below(shown, measure, at)
        if below:
            st.selectbox(
                "Descend into",
                list(below),
                index=None,
                placeholder="Descend into …",
                format_func=below.__getitem__,
                label_visibility="collapsed",
                key=f"descend-{at}",
                on_change=_descended,
                args=(f"descend-{at}",),
                width=260,
            )


def _below(shown: Mapping[str, Ledger], measure: str, at: str) -> dict[str, str]:
    """The nodes right below one that have parts themselves, with their titles."""
    if at == size_charts.ROOT:
        return {name: name for name in shown}
    variant, *path = at.split(SEPARATOR)
    if len(path) >= len(LEVELS) - 1:
        return {}
    attribute = LEVELS[len(path)]
    entries = [e for e in _within(shown[variant], path) if _count([e], measure)]
    return {SEPARATOR.join([at, name]): name for name in ledger.by(entries, attribute)}


def _descended(key: str) -> None:
    if st.session_state[key]:
        address.go(**{address.AT: st.session_state[key]})


def _within(entries: Ledger, path: list[str]) -> Ledger:
    return [
        entry
        for entry in entries
        if all(getattr(entry, LEVELS[depth]) == name for depth, name in enumerate(path))
    ]


# The parts side by side


def _parts(shown: Mapping[str, Ledger], measure: str, unit: int, at: str) -> None:
    path = [] if at == size_charts.ROOT else at.split(SEPARATOR)[1:]
    where = " › ".join(path) if path else "the whole model"
    attribute = LEVELS[min(len(path), len(LEVELS) - 1)]
    within = {name: _within(entries, path) for name, entries in shown.items()}
    rows: dict[str, dict[str, Any]] = {}
    for name, entries in within.items():
        for part, found in ledger.by(entries, attribute).items():
            count = found.memory_bytes if measure == "memory" else found.disk_bytes
            if count:
                rows.setdefault(part, {"part": part, **dict.fromkeys(shown, 0)})[name] = count
                of_part = [e for e in entries if getattr(e, attribute) == part]
                rows[part][f"{name}, types"] = _types(of_part, measure)
    if not rows:
        return
    table = pd.DataFrame(list(rows.values()))
    st.subheader(f"Side by side: {where}", anchor=False)
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
            placeholder="–",
            column_config={name: st.column_config.NumberColumn(format="localized") for name in shown},
            alt=size_charts.pairs_alt(table, list(shown)),
        )


def _types(entries: Ledger, measure: str) -> str:
    return ", ".join(size_charts.dtype_title(dtype) for dtype in _by_type(entries, measure))
