"""Which stored size run the views show, the click that measures one, and the unit of bytes."""

import sqlite3

import streamlit as st

from components import address, choices, provenance, queue, readonly
from components.choices import Choices
from vitquant import gallery, ledger, room, units
from vitquant.measurements import SizeRequest
from vitquant.runs import Run

UNITS = {"MB": units.MB, "MiB": units.MIB}


def sizes(db: sqlite3.Connection, chosen: Choices, *, with_ledgers: bool = False) -> Run | None:
    """The size run to show, with what has changed since and an offer to measure where something is missing.

    with_ledgers: only one that has every tensor listed; older ones have sums alone.
    """
    found = gallery.finished_runs(db, "size", chosen.subject)
    if with_ledgers:
        older, found = found, [run for run in found if ledger.has_ledger(run.result or [])]
        if older and not found:
            offer(db, chosen, "What is stored was measured before every tensor was listed.")
            return None
    if not found:
        if readonly.is_on():
            st.info(
                "Nothing is measured yet for this model and these weights.", icon=":material/hourglass_empty:"
            )
        offer(db, chosen, "Nothing is measured yet for this model and these weights.")
        return None
    # The newest run that has all variants; a newer one of a single variant must not hide it.
    usable = set(choices.ready_variants(db, chosen.subject))
    whole = next((run for run in found if usable <= set(run.request["variants"])), None)
    run = whole or found[0]
    changes = gallery.run_changes(run, chosen.today)
    if changes:
        offer(db, chosen, "Measure again under today's conditions?")
        provenance.stale({", ".join(run.request["variants"]): changes})
    elif whole is None:
        offer(db, chosen, "Not every variant is measured yet.")
    elif run.shipped:
        offer(db, chosen, "These came with vitquant: measured elsewhere. Measure them on this machine?")
    return run


def offer(db: sqlite3.Connection, chosen: Choices, why: str, *, key: str | None = None) -> None:
    """Why to measure the sizes of every variant that can be had, and the button that does. key: of the button,
    where the page has another one."""
    if readonly.is_on():
        return
    request = SizeRequest(
        chosen.subject.model, chosen.subject.weights, tuple(choices.ready_variants(db, chosen.subject))
    )
    too_large = room.memory_problem(request.model, request.kind)
    with st.container(border=True):
        words, button = st.columns([3, 2], vertical_alignment="center")
        words.markdown(
            f"{why} {too_large}"
            if too_large
            else f"{why} Every variant is built, its bytes are counted and a fresh process loads it, in the "
            "background."
        )
        if too_large:
            return
        with button:
            queue.offer(
                "Measure the sizes",
                request,
                again=True,
                type="primary",
                icon=":material/play_arrow:",
                width="stretch",
                key=key,
            )


def unit() -> int:
    """The unit chosen, as a number of bytes, with the switch that changes it."""
    name = address.value_of(address.UNIT, list(UNITS), "MB", what="unit")
    st.segmented_control(
        "Unit",
        list(UNITS),
        required=True,
        help="MB is 10⁶ bytes, MiB is 2²⁰ bytes: 1 MiB is 4.9% more than 1 MB.",
        **address.mirror(address.UNIT, name),
    )
    return UNITS[name]
