"""The frame around every page: its title, the store, and errors as sentences."""

import sqlite3
from collections.abc import Callable

import streamlit as st

from components import address, navigation, readonly
from vitquant import database
from vitquant.errors import VitquantError

_CSS = """
<style>
[data-testid="stMainBlockContainer"] { padding: 3rem clamp(1rem, 3vw, 3rem) 4rem; }
</style>
"""


def page(title: str | None, body: Callable[[sqlite3.Connection], None]) -> None:
    """Draw a page: body is given the store; what goes wrong in it is shown as a sentence where it stopped.

    title: None where the body draws its own.
    """
    navigation.see_to_it()
    st.html(_CSS)
    if title:
        st.title(title, anchor=False)
    address.begin()
    try:
        readonly.say()
        with database.opened() as db:
            body(db)
    except VitquantError as error:
        st.error(str(error), icon=":material/error:")
