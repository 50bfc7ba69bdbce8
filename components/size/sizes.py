"""Disk and memory of every variant, as charts and in bytes."""

import sqlite3

import pandas as pd
import streamlit as st

from components import provenance
from components.choices import Choices
from components.size import stored
from vitquant import charts
from vitquant.runs import Run

COLUMNS = {
    "variant": "variant",
    "disk_bytes": "on disk",
    "parameters_bytes": "parameters()",
    "packed_bytes": "packed weights",
    "buffers_bytes": "buffers",
    "total_bytes": "in memory, all",
}


def show(db: sqlite3.Connection, chosen: Choices) -> None:
    run = stored.sizes(db, chosen)
    if run:
        _result(run)


def _result(run: Run) -> None:
    rows = pd.DataFrame(run.result)
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
    st.subheader("In bytes", anchor=False)
    st.dataframe(
        rows[list(COLUMNS)].rename(columns=COLUMNS),
        hide_index=True,
        column_config={
            name: st.column_config.NumberColumn(format="localized") for name in list(COLUMNS.values())[1:]
        },
        alt=charts.size_alt(rows, 1),
    )
    provenance.of_run(run)
