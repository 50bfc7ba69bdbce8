"""What an engineer looks for: sweeps, every raw time, time by block, the trace, the environment."""

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from components.benchmark import stored
from components.choices import Choices
from vitquant import charts, compare, gallery, latency, run_charts, runs, shares
from vitquant.runs import Run


def show(db: sqlite3.Connection, chosen: Choices) -> None:
    timed = gallery.finished_runs(db, "latency", chosen.subject)
    profiled = gallery.finished_runs(db, "profile", chosen.subject)
    if not timed and not profiled:
        st.info(
            "Nothing yet: a latency run over several batch sizes, image sizes or threads makes sweeps, and a "
            "profile makes a trace.",
            icon=":material/hourglass_empty:",
        )
        return
    if timed:
        run = _one(timed, "Latency run", "engineer-latency")
        _sweeps(run)
        _raw(db, run)
        _environment(db, run)
    if profiled:
        run = _one(profiled, "Profile", "engineer-profile")
        _blocks(run)
        _traces(db, run)


def _one(found: list[Run], label: str, key: str) -> Run:
    """One of several runs: the one with most settings unless another is chosen, the newest of equal ones."""
    if len(found) == 1:
        return found[0]
    by_id = {run.id: run for run in found}
    widest = max(found, key=lambda run: len({(r.get("shape"), r.get("threads")) for r in run.result or []}))
    chosen = st.selectbox(
        label,
        list(by_id),
        index=list(by_id).index(widest.id),
        format_func=lambda run_id: stored.title(by_id[run_id]),
        key=key,
    )
    return by_id[chosen]


def _sweeps(run: Run) -> None:
    """One pair of charts for each axis along which several values were measured."""
    rows = pd.DataFrame(run.result)
    st.subheader("Sweeps", anchor=False)
    drawn = 0
    for along, title in run_charts.SWEEPS.items():
        others = [name for name in run_charts.SWEEPS if name != along]
        groups: dict[Any, pd.DataFrame] = {
            key: group for key, group in rows.groupby(others) if group[along].nunique() > 1
        }
        if not groups:
            continue
        drawn += 1
        st.markdown(f"**By {title}**")
        key = max(groups, key=lambda name: (groups[name][along].nunique(), name))
        if len(groups) > 1:
            key = st.selectbox(
                "At",
                list(groups),
                index=list(groups).index(key),
                format_func=partial(_setting, others),
                key=f"sweep-{along}",
            )
        left, right = st.columns(2)
        group = groups[key]
        for place, column in ((left, "median_s"), (right, "pictures_per_s")):
            if column in group:
                place.plotly_chart(
                    run_charts.sweep(group, along, column),
                    config=charts.CONFIG,
                    alt=run_charts.sweep_alt(group, along, column),
                    key=f"sweep-{along}-{column}",
                )
    if not drawn:
        st.caption(
            "This run measured one batch size, one image size and one number of threads: name several (shapes "
            "1x70, 2x70, 4x70, 8x70; threads 1, 2) to see how the times grow."
        )


def _setting(names: Sequence[str], values: Sequence[Any]) -> str:
    return ", ".join(f"{run_charts.SWEEPS[name]}: {value}" for name, value in zip(names, values, strict=True))


def _raw(db: sqlite3.Connection, run: Run) -> None:
    names = [name for name in runs.attachments(db, run.id) if name.startswith("times/")]
    st.subheader("Every timed call", anchor=False)
    if not names:
        st.caption("The raw times of this run are not stored: those of shipped results are left out.")
        return
    settings = list(dict.fromkeys((row["shape"], row["threads"]) for row in run.result or []))
    shape, threads = max(settings, key=lambda at: at[1])
    if len(settings) > 1:
        shape, threads = st.selectbox(
            "At",
            settings,
            index=settings.index((shape, threads)),
            format_func=lambda at: f"{at[0]}, {latency.threads_title(at[1])}",
            key="raw-at",
        )
    times = {
        name: latency.unpack_times(runs.attachment(db, run.id, f"times/{shape}/{threads}/{name}") or b"")
        for name in run.request["variants"]
    }
    alt = "; ".join(f"{name}: {len(own):,} calls" for name, own in times.items())
    st.plotly_chart(run_charts.raw_times(times), config=charts.CONFIG, alt=alt, key="raw-times")
    st.caption(
        f"{alt}. Variants take turns, so a disturbance falls on all of them alike. The report's JSON and CSV "
        "have every number."
    )


def _blocks(run: Run) -> None:
    rows = run.result or []
    if not shares.has_layers(rows):
        return
    parts = shares.by_block(rows)
    st.subheader("Time by block", anchor=False)
    st.plotly_chart(
        run_charts.blocks(parts), config=charts.CONFIG, alt=run_charts.blocks_alt(parts), key="blocks"
    )


def _traces(db: sqlite3.Connection, run: Run) -> None:
    names = [name for name in runs.attachments(db, run.id) if name.startswith("trace/")]
    if not names:
        return
    st.subheader("Trace", anchor=False)
    st.caption(
        "Every operator of the profiled passes on a time line: open the file at ui.perfetto.dev, or in "
        "chrome://tracing."
    )
    with st.container(horizontal=True):
        for name in names:
            file = name.removeprefix("trace/")
            st.download_button(
                f"Trace of {file.removesuffix('.json.gz')}",
                data=runs.attachment(db, run.id, name) or b"",
                file_name=f"run{run.id}-{file}",
                mime="application/gzip",
                icon=":material/download:",
                key=f"download-{name}",
                on_click="ignore",
            )


def _environment(db: sqlite3.Connection, run: Run) -> None:
    st.subheader("Environment", anchor=False)
    conditions = compare.conditions_of(db, run)
    st.dataframe(
        pd.DataFrame({"": name, "as measured": value} for name, value in conditions.items()),
        hide_index=True,
        width="content",
        alt="; ".join(f"{name}: {value}" for name, value in conditions.items()),
    )
