"""What latency was measured: medians with quartiles, ratios, what starting takes."""

import sqlite3
from typing import Any

import pandas as pd
import streamlit as st

from components import provenance
from components.benchmark import history, stored
from components.choices import Choices
from vitquant import charts, machine, notebook, tables, units, wording
from vitquant.latency import NOISY
from vitquant.runs import Run

COLUMNS = {
    "shape": "shape",
    "variant": "variant",
    "threads": "threads",
    "median_ms": "median (ms)",
    "q1_ms": "1st quartile (ms)",
    "q3_ms": "3rd quartile (ms)",
    "p95_ms": "95% within (ms)",
    "ratio_to_fp32": "times as fast as fp32",
    "pictures_per_s": "pictures per second",
    "runs": "calls",
    "warm_up": "warm-up",
}
START_COLUMNS = {
    "variant": "variant",
    "load_ms": "loading (ms)",
    "first_ms": "first prediction (ms)",
    "median_ms": "steady median (ms)",
    "peak_mb": "peak memory (MB)",
    "added_mb": "of it added by the model (MB)",
}


def show(db: sqlite3.Connection, chosen: Choices) -> None:
    run = stored.choose(db, chosen, "latency")
    if run is None:
        st.info(
            "No latency is measured yet for this model and these weights.", icon=":material/hourglass_empty:"
        )
    else:
        _result(chosen, run)
        history.show(db, chosen, "latency")
    _notebook(run)


def _result(chosen: Choices, run: Run) -> None:
    found = run.result or []
    rows = pd.DataFrame(found)
    stored.stale(chosen, run)
    features = ", ".join(run.environment.get("cpu_features", [])) or "no special instructions"
    st.caption(f"Medians with quartiles. The CPU offers {features}, which decides the ratios.")
    if any(row.get("is_noisy") for row in found):
        st.warning(
            f"The machine was too noisy for some of these: half of the calls spread over more than {NOISY:.0%} "
            "of their median. Medians and ratios are left out there; measure again when it is quiet.",
            icon=":material/graphic_eq:",
        )
    most = max(row["threads"] for row in found)
    shown = rows[rows["threads"] == most]
    st.plotly_chart(charts.latency(shown), config=charts.CONFIG, alt=charts.latency_alt(shown), key="latency")
    on_most = [row for row in found if row["threads"] == most]
    st.markdown("\n".join(f"- {sentence}" for sentence in wording.speed_summary(on_most)))
    _table(found)
    _starts(found)
    provenance.of_run(run)


def _table(found: list[dict[str, Any]]) -> None:
    table = pd.DataFrame([_cells(row) for row in found])[list(COLUMNS)].rename(columns=COLUMNS)
    twos = [name for name in table.columns if name.endswith("(ms)") or name.startswith("times")]
    st.dataframe(
        table,
        hide_index=True,
        placeholder="too noisy" if any(row.get("is_noisy") for row in found) else "–",
        column_config={
            **{name: st.column_config.NumberColumn(format="%.2f") for name in twos},
            "pictures per second": st.column_config.NumberColumn(format="%.1f"),
            "warm-up": st.column_config.TextColumn(
                help="How long each variant was called before its times counted, and whether they had become "
                "steady by then"
            ),
        },
        alt=charts.latency_alt(pd.DataFrame(found)),
    )


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    """A latency row in milliseconds; where the machine was too noisy, without a median."""
    times = {f"{name}_ms": _ms(row.get(f"{name}_s")) for name in ("median", "q1", "q3", "p95")}
    cells = {
        "pictures_per_s": None,
        "ratio_to_fp32": None,
        **row,
        **times,
        "warm_up": tables.warm_up(row),
    }
    return cells | (
        {"median_ms": None, "ratio_to_fp32": None, "pictures_per_s": None} if row.get("is_noisy") else {}
    )


def _ms(seconds: object) -> float | None:
    return 1e3 * seconds if isinstance(seconds, float | int) else None


def _starts(found: list[dict[str, Any]]) -> None:
    """Loading, the first prediction and memory, each variant in a fresh process of its own."""
    started = [row for row in found if row.get("load_s") is not None]
    if not started:
        return
    st.subheader("Before the first answer", anchor=False)
    table = pd.DataFrame(started)
    for name in ("load", "first", "median"):
        table[f"{name}_ms"] = table[f"{name}_s"] * 1e3
    table["peak_mb"] = table["peak_bytes"] / units.MB
    table["added_mb"] = (table["peak_bytes"] - table["baseline_bytes"]) / units.MB
    table = table[list(START_COLUMNS)].rename(columns=START_COLUMNS)
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            name: st.column_config.NumberColumn(format="%.1f") for name in list(START_COLUMNS.values())[1:]
        },
        alt="; ".join(
            f"{row['variant']}: loading {1e3 * row['load_s']:.0f} ms, "
            f"first prediction {1e3 * row['first_s']:.0f} ms"
            for row in started
        ),
    )
    st.caption(
        f"A fresh process for each variant loads it and makes one prediction at {started[0]['shape']}. Peak "
        "memory is the process's resident memory; the rest of it is torch and what the model needs, imported."
    )


def _notebook(run: Run | None) -> None:
    with st.expander(notebook.TITLE):
        st.markdown(
            f"{notebook.WHAT} `{notebook.MODEL}`, seconds a batch, on 6 threads of its author's machine."
        )
        most = max((row["threads"] for row in run.result or []), default=0) if run else 0
        own = [row for row in (run.result or [] if run else []) if row["threads"] == most]
        beside = pd.DataFrame(notebook.latency_beside(own))
        if beside["here (s)"].isna().all():
            beside = beside.drop(columns=["here (s)", "here, × fp32"])
            st.caption(
                "To see your own figures beside them, measure the shapes 1x518, 2x518, 4x518, 8x518. This "
                f"machine is {machine.machine_name()}."
            )
        elif run:
            st.caption(
                f"Here: {run.request['model']}, measured {provenance.when(run.ended_at or run.created_at)} on "
                f"{run.environment.get('machine', 'an unknown machine')}."
            )
        st.dataframe(
            beside,
            hide_index=True,
            placeholder="–",
            width="content",
            column_config={name: st.column_config.NumberColumn(format="%.2f") for name in beside.columns[2:]},
        )
