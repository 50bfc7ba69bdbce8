"""Showing the dashboard to others without letting them start anything: $VITQUANT_READONLY=1, or the setting."""

import streamlit as st

from vitquant import settings
from vitquant.errors import InputError

SENTENCE = (
    "This dashboard is read-only: everything that was measured can be looked at, and nothing can be started."
)


def is_on() -> bool:
    return bool(settings.value("read_only"))


def refuse() -> None:
    """Raise InputError with a sentence where the dashboard is read-only."""
    if is_on():
        raise InputError(SENTENCE)


def say() -> None:
    """Say so on the page, where it is."""
    if is_on():
        st.caption(f":material/visibility: {SENTENCE}")
