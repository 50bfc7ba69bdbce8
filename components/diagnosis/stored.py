"""Which variant is diagnosed, which stored diagnosis the views show, and the click that measures one."""

import sqlite3

import streamlit as st

from components import address, choices, measure, pictures, provenance, readonly
from components.choices import Choices
from vitquant import gallery
from vitquant.measurements import DiagnosisRequest
from vitquant.runs import Run
from vitquant.variants import recipe

FIRST = "qint8"
"""The variant looked at first: the one that collapses."""


def variant() -> str:
    """Draw the choice of the int8 variant to diagnose, where there are several, and answer it."""
    names = [name for name in choices.usable_variants() if recipe(name).batch_dependent]
    name = address.value_of(address.VARIANT, names, FIRST, what="int8 variant")
    if len(names) > 1:
        st.selectbox(
            "Variant",
            names,
            format_func=lambda name: f"{name}: {recipe(name).title}",
            width=320,
            **address.mirror(address.VARIANT, name),
        )
    return name


def diagnosis(db: sqlite3.Connection, chosen: Choices, variant: str) -> Run | None:
    """The newest diagnosis of a variant on these pictures at this size, one under today's conditions first,
    with an offer to measure where there is none."""
    if chosen.subject.is_random:
        st.warning(
            f"{pictures.RANDOM.capitalize()}; which layers are sensitive says nothing of trained ones.",
            icon=":material/casino:",
        )
    run = gallery.newest(
        gallery.runs_on_pictures(db, DiagnosisRequest.kind, chosen.subject, variant), chosen.today
    )
    request = DiagnosisRequest(
        chosen.subject.model,
        chosen.subject.weights,
        chosen.subject.dataset,
        image_size=chosen.subject.image_size,
        variants=(variant,),
    )
    if run is None:
        nothing = f"Nothing is measured yet of {variant} for this model, these weights and these pictures."
        if readonly.is_on():
            st.info(nothing, icon=":material/hourglass_empty:")
        _offer(chosen, request, nothing)
        return None
    if changes := gallery.run_changes(run, chosen.today):
        provenance.stale({variant: changes}, again=request)
    elif run.shipped:
        _offer(chosen, request, "This came with vitquant: measured elsewhere. Measure it on this machine?")
    return run


def _offer(chosen: Choices, request: DiagnosisRequest, why: str) -> None:
    takes = (
        f"Every layer is quantized alone, and every layer but it, on {request.pictures} pictures, in the "
        "background: under a minute with the sample, minutes with ViT-B."
    )
    measure.offer(chosen, request, why, takes, "Diagnose")
