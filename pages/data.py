"""Data and models: what is here, what can be fetched, one's own pictures and models, settings, cleaning up."""

import sqlite3
from collections.abc import Callable

import streamlit as st

from components import address, frame, link, queue, server
from components.data import act, here, models, own_pictures, settings_view, space
from vitquant import paths

VIEWS: dict[str, tuple[str, Callable[[sqlite3.Connection], None]]] = {
    "here": ("What is here", here.show),
    "pictures": ("Your own pictures", own_pictures.show),
    "models": ("Your own model", models.show),
    "settings": ("Settings", settings_view.show),
    "space": ("Cleaning up", space.show),
}


def show(db: sqlite3.Connection) -> None:
    server.see_to_the_queue(str(paths.store_file()))
    view = address.value_of(address.VIEW, list(VIEWS), next(iter(VIEWS)), what="view")
    address.show_misunderstood()
    act.say()
    queue.show(of_errands=True)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.segmented_control(
            "View",
            list(VIEWS),
            required=True,
            format_func=lambda name: VIEWS[name][0],
            label_visibility="collapsed",
            **address.mirror(address.VIEW, view),
        )
        link.copy_button()
    VIEWS[view][1](db)


frame.page("Data and models", show)
