"""Disk and memory of every variant: what its tensors take, and what a fresh process that loads it takes."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from components import provenance
from components.choices import Choices
from components.size import stored
from vitquant import charts, resident, size_charts, units, wording

COLUMNS = {
    "variant": "variant",
    "disk_bytes": "on disk",
    "exported_bytes": "on disk, to take away",
    "parameters_bytes": "parameters()",
    "packed_bytes": "packed weights",
    "buffers_bytes": "buffers",
    "total_bytes": "in memory, all tensors",
    "baseline_bytes": "process before loading",
    "added_steady_bytes": "added, steady",
    "added_peak_bytes": "added, peak",
    "steady_share": "steady / tensors",
}


def show(db: sqlite3.Connection, chosen: Choices) -> None:
    run = stored.sizes(db, chosen)
    if run is None:
        return
    found = run.result or []
    rows = pd.DataFrame(found)
    st.markdown("\n".join(f"- {sentence}" for sentence in wording.smaller_sentences(found)))
    unit = stored.unit()
    alt = charts.size_alt(rows, unit)
    left, right = st.columns(2, gap="medium")
    with left:
        st.subheader("On disk", anchor=False)
        st.caption("The file that `torch.save` makes of the variant's weights.")
        st.plotly_chart(charts.disk(rows, unit), config=charts.CONFIG, alt=alt, key="disk")
    with right:
        st.subheader("In memory", anchor=False)
        st.caption(charts.MEMORY_LEGEND)
        st.plotly_chart(charts.memory(rows, unit), config=charts.CONFIG, alt=alt, key="memory")
    _resident(found, unit)
    _table(found)
    provenance.of_run(run)


def _resident(found: Sequence[Mapping[str, Any]], unit: int) -> None:
    measured = [row for row in found if resident.added(row)]
    if not measured:
        return
    st.subheader("A process that loads it", anchor=False)
    baselines = [row["baseline_bytes"] for row in measured]
    low, high = (f"{count / unit:,.0f}" for count in (min(baselines), max(baselines)))
    baseline = low if low == high else f"{low} to {high}"
    st.caption(
        "Measured, not computed: for each variant a fresh process loads it from a file of its own and makes "
        f"one prediction. Before loading, with torch and timm imported, it takes **{baseline} "
        f"{units.name(unit)}**; the bars show what comes on top. Plain: the variant's tensors. Dotted: "
        "what else stays, such as the code and buffers of the libraries that compute. Striped: only while "
        "loading, when a weight lies in memory both as read and as packed."
    )
    st.plotly_chart(
        size_charts.resident(measured, unit),
        config=charts.CONFIG,
        alt=size_charts.resident_alt(measured),
        key="resident",
    )
    if sentence := wording.loading_sentence(measured, unit):
        st.markdown(sentence)


def _table(found: Sequence[Mapping[str, Any]]) -> None:
    st.subheader("In bytes", anchor=False)
    rows = pd.DataFrame([{**row, **_added(row)} for row in found])
    shown = {column: title for column, title in COLUMNS.items() if column in rows}
    st.dataframe(
        rows[list(shown)].rename(columns=shown),
        hide_index=True,
        column_config={
            title: st.column_config.NumberColumn(format="%.2f" if column == "steady_share" else "localized")
            for column, title in list(shown.items())[1:]
        },
        alt=charts.size_alt(rows, 1),
    )


def _added(row: Mapping[str, Any]) -> dict[str, Any]:
    adds = resident.added(row)
    if adds is None:
        return {}
    return {
        "added_steady_bytes": adds.steady_bytes,
        "added_peak_bytes": adds.peak_bytes,
        "steady_share": adds.steady_bytes / row["total_bytes"],
    }
