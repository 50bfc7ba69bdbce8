"""Which stored run a view shows, and whether it still holds."""

import sqlite3

import streamlit as st

from components import address, provenance
from components.choices import Choices
from vitquant import gallery, measurements
from vitquant.runs import Run


def choose(db: sqlite3.Connection, chosen: Choices, kind: str) -> Run | None:
    """The newest run of a kind, or another of those stored, chosen in the address."""
    found = gallery.finished_runs(db, kind, chosen.subject)
    if not found:
        return None
    by_id = {run.id: run for run in found}
    shown = address.value_of(address.RUN, list(by_id), found[0].id, what=f"stored {kind} run")
    if len(found) > 1:
        st.selectbox(
            "Stored run",
            list(by_id),
            format_func=lambda run_id: title(by_id[run_id]),
            **address.mirror(address.RUN, shown),
        )
    return by_id[shown]


def title(run: Run) -> str:
    """A finished run in a list."""
    name = "Shipped with vitquant" if run.shipped else f"Run {run.id}"
    asked = run.request
    at = ", ".join(asked.get("shapes", [])) or asked.get("shape", "")
    if "dataset" in asked:
        n = asked.get("limit") or asked.get("pictures")
        limit = f"first {n:,}" if n else "all"
        at = f"{asked['dataset']}, {'until sure' if asked.get('until_sure') else limit}"
    return " · ".join(part for part in (name, at, provenance.when(run.ended_at or run.created_at)) if part)


def stale(chosen: Choices, run: Run) -> None:
    """What has changed since the run, with a click to measure again."""
    changes = gallery.run_changes(run, chosen.today)
    if changes:
        again = measurements.from_plain(run.kind, run.request) if chosen.today.weights_digest else None
        provenance.stale({", ".join(run.request["variants"]): changes}, again)
