"""Two runs side by side, chosen in the address: so the comparison can be sent to someone."""

import sqlite3
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from components import address, pictures, queue
from components.benchmark import stored
from components.choices import Choices
from vitquant import browse, compare, datasets, predictions, run_tables, runs
from vitquant.compare import ChangedPicture, Comparison
from vitquant.runs import Run

SHOWN = 12
INTERVALS = {
    # by kind, what a comparison's intervals are worth
    "accuracy": "Pictures that both runs have measured, compared picture by picture.",
    "latency": "Those of times hold for the calls within these two runs; between runs a machine may vary more: "
    "the history shows by how much.",
    "bits": "As though the two runs had looked at different pictures: wider than need be where they did not.",
}


def show(db: sqlite3.Connection, chosen: Choices) -> None:
    found = [run for run in runs.find(db, states=("done",)) if run.result and run.request["variants"]]
    found += [run for run in runs.find(db, states=("done",), shipped=True) if run.result]
    if len(found) < 2:
        st.info(
            "Two finished runs of a kind are needed for a comparison: measure something twice.",
            icon=":material/hourglass_empty:",
        )
        return
    by_id = {run.id: run for run in found}
    newest, before = _usual(found, chosen)
    first = address.value_of(address.FIRST, list(by_id), before.id, what="run")
    of_a_kind = [run.id for run in found if run.kind == by_id[first].kind]
    usual = newest.id if newest.id in of_a_kind else of_a_kind[0]
    second = address.value_of(address.SECOND, of_a_kind, usual, what=f"{by_id[first].kind} run")
    left, right = st.columns(2)
    with left:
        st.selectbox(
            "First run",
            list(by_id),
            format_func=lambda run_id: f"{by_id[run_id].kind} · {stored.title(by_id[run_id])}",
            **address.mirror(address.FIRST, first, forgetting=[address.SECOND]),
        )
    with right:
        st.selectbox(
            "Second run",
            of_a_kind,
            format_func=lambda run_id: stored.title(by_id[run_id]),
            **address.mirror(address.SECOND, second),
        )
    if first == second:
        st.info("This is the same run twice: choose another one to compare it with.", icon=":material/info:")
        return
    _comparison(db, compare.compare(db, by_id[first], by_id[second]))


def _usual(found: Sequence[Run], chosen: Choices) -> tuple[Run, Run]:
    """The newest run that has an older one of its kind and model, and that one; else the two newest."""
    for run in found:
        for other in found:
            if other.id < run.id and (other.kind, other.request["model"]) == (run.kind, run.request["model"]):
                return run, other
    return found[0], found[1]


def _comparison(db: sqlite3.Connection, found: Comparison) -> None:
    plain = found.plain()
    names = [f"run {found.first.id}", f"run {found.second.id}"]
    st.subheader("What was different", anchor=False)
    if found.conditions:
        st.dataframe(
            pd.DataFrame({"": c.what, names[0]: c.first, names[1]: c.second} for c in found.conditions),
            hide_index=True,
            alt="; ".join(f"{c.what}: {c.first} and {c.second}" for c in found.conditions),
        )
    else:
        st.markdown("Nothing: both were asked for the same, and measured under the same conditions.")
    st.subheader("What came out", anchor=False)
    changes = [
        {
            "variant": change["variant"],
            "figure": change["figure"],
            names[0]: run_tables.value(change["first"], change["unit"]),
            names[1]: run_tables.value(change["second"], change["unit"]),
            "change": run_tables.change_words(change),
            "note": change["note"],
        }
        for change in plain["changes"]
    ]
    st.dataframe(
        pd.DataFrame(changes),
        hide_index=True,
        alt="; ".join(f"{c['variant']}, {c['figure']}: {c['change']}" for c in changes),
    )
    if any(change.low is not None for change in found.changes):
        st.caption(f"In brackets: 95% intervals. {INTERVALS[found.first.kind]}")
    if found.first.kind == "accuracy":
        _changed_pictures(db, found)


def _changed_pictures(db: sqlite3.Connection, found: Comparison) -> None:
    st.subheader("Pictures that changed their answer", anchor=False)
    if not any(found.changed.values()):
        st.markdown("None: every version answers the same to every picture that both runs have measured.")
        return
    pictures.style_sheet()
    for variant, count in found.changed.items():
        st.markdown(f"{pictures.variant_mark(variant)} **{variant}**: {count:,} pictures")
        _tiles(db, found.second, [p for p in found.pictures if p.variant == variant][:SHOWN])


def _tiles(db: sqlite3.Connection, run: Run, shown: Sequence[ChangedPicture]) -> None:
    request = run.request
    root = datasets.root_of(request["dataset"])
    series = predictions.series_of_key(db, next(iter(run.identity["series"].values())))
    with st.grid("auto", min_column_width=132, gap="small"):
        for one in shown:
            with st.container():
                picture = browse.picture(db, series.dataset_id, {}, one.picture) if series else None
                if picture:
                    pictures.thumbnail(root / picture.path, picture)
                then, now = (pictures.class_title(index) for index in (one.first_index, one.second_index))
                st.caption(f"{then} → {now}")
                st.page_link(
                    "pages/explorer.py",
                    label=pictures.class_title(one.class_index),
                    icon=":material/open_in_new:",
                    query_params={
                        address.MODEL: request["model"],
                        address.WEIGHTS: request["weights"],
                        address.DATASET: request["dataset"],
                        address.SIZE: str(request["image_size"]),
                        address.MEASURED: one.measured,
                        address.PICTURE: str(one.picture),
                    },
                )


def all_runs(db: sqlite3.Connection) -> None:
    """Every run there is, the newest first."""
    found = runs.find(db)
    if not found:
        st.info("No run has been started yet.", icon=":material/hourglass_empty:")
        return
    table = pd.DataFrame(
        {
            "run": run.id,
            "what": queue.title(run),
            "state": run.state,
            "done": f"{run.done:,} of {run.total:,}" if run.total else "",
            "started": run.started_at[:16].replace("T", " ") if run.started_at else "",
            "message": run.message,
        }
        for run in found
    )
    st.dataframe(table, hide_index=True, alt=f"{len(found)} runs, the newest first.")
