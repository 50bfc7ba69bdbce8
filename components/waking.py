"""Whether a model may be loaded to answer live: it stays in memory."""

import streamlit as st

from vitquant import catalog, room

LOADED_UNASKED = 500 * 10**6
"""Bytes of float32 weights up to which a model is loaded without being asked for."""


def is_wanted(model: str) -> bool:
    """Whether the model may be loaded: a large one only when somebody asks for it, by the button
    drawn here."""
    takes = 4 * catalog.model(model).parameters
    key = f"waking:wanted:{model}"
    if takes <= LOADED_UNASKED or st.session_state.get(key):
        return True
    if problem := room.memory_problem(model, "bits"):
        st.info(problem, icon=":material/memory:")
        return False
    st.button(
        f"Load {model} ({room.amount(takes)} of weights)",
        icon=":material/memory:",
        on_click=st.session_state.__setitem__,
        args=(key, True),
    )
    return False
