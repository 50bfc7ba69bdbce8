"""Where the time goes: by kind of layer, by operator, and what Amdahl's law makes of it."""

import sqlite3

import pandas as pd
import streamlit as st

from components import provenance
from components.benchmark import history, stored
from components.choices import Choices
from vitquant import charts, run_charts, shares, wording
from vitquant.runs import Run

COLUMNS = {
    "name": "operator",
    "calls": "calls",
    "self_cpu_s": "self time (ms)",
    "share": "share",
    "total_cpu_s": "time with what it calls (ms)",
    "self_memory_bytes": "memory (bytes)",
}
MOST_OPERATORS = 10


def show(db: sqlite3.Connection, chosen: Choices) -> None:
    run = stored.choose(db, chosen, "profile")
    if run is None:
        st.info(
            "No profile is measured yet for this model and these weights.", icon=":material/hourglass_empty:"
        )
        return
    _result(chosen, run)
    history.show(db, chosen, "profile")


def _result(chosen: Choices, run: Run) -> None:
    rows = run.result or []
    stored.stale(chosen, run)
    st.caption(
        f"Where the time of one forward pass at {run.request['shape']} goes, on {run.request['threads']} "
        "threads, by torch's profiler, which slows the pass down: compare shares, and take durations from "
        "Latency."
    )
    if shares.has_layers(rows):
        parts = shares.by_kind(rows)
        st.plotly_chart(
            run_charts.kinds(parts), config=charts.CONFIG, alt=run_charts.kinds_alt(parts), key="kinds"
        )
        st.caption(
            "Striped: Linear layers, the only ones that are quantized. Plain: everything else. The profiler "
            "slows every operator by about as much, and fp32's Linear layers are several operators each; so "
            "the sentences below take their ratios from the clock instead."
        )
        st.markdown("\n".join(f"- {sentence}" for sentence in wording.profile_sentences(rows)))
    names = shares.variants(rows)
    name = st.segmented_control("Variant", names, default=names[0], required=True, key="profile-variant")
    operators = shares.at(rows, "operator", name)
    shown = operators[:MOST_OPERATORS]
    first = shown[0]
    alt = f"Operators of {name} by self time; first {first['name']} with {first['share']:.0%}."
    st.plotly_chart(run_charts.operators(name, shown), config=charts.CONFIG, alt=alt, key="operators")
    table = pd.DataFrame(operators)[list(COLUMNS)]
    table[["self_cpu_s", "total_cpu_s"]] *= 1e3
    st.dataframe(
        table.rename(columns=COLUMNS),
        hide_index=True,
        column_config={
            "share": st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1),
            **{
                COLUMNS[column]: st.column_config.NumberColumn(format="%.3f")
                for column in ("self_cpu_s", "total_cpu_s")
            },
            "memory (bytes)": st.column_config.NumberColumn(format="localized"),
        },
        alt=alt,
    )
    provenance.of_run(run)
