"""Diagnosis: which layers int8 breaks, why, and what mends it."""

import sqlite3
from collections.abc import Callable

import streamlit as st

from components import address, choices, frame, link, queue, server
from components.choices import Choices
from components.diagnosis import cures, follow, layers, neighbours, outliers, stored, why
from vitquant import paths

View = Callable[[sqlite3.Connection, Choices], None]


def _of_a_variant(draw: Callable[[sqlite3.Connection, Choices, str], None]) -> View:
    """A view of one int8 variant, beneath the choice of it."""
    return lambda db, chosen: draw(db, chosen, stored.variant())


def _neighbours(db: sqlite3.Connection, chosen: Choices, variant: str) -> None:
    run = stored.diagnosis(db, chosen, variant)
    if run:
        neighbours.show(db, chosen, run)


LAYERS = "layers"
VIEWS: dict[str, tuple[str, View]] = {
    # view -> title, what draws it
    LAYERS: ("Which layers", _of_a_variant(layers.show)),
    "why": ("Why", _of_a_variant(why.show)),
    "outliers": ("The cause, live", outliers.show),
    "neighbours": ("Neighbours", _of_a_variant(_neighbours)),
    "follow": ("One picture", _of_a_variant(follow.show)),
    "cures": ("Cures", cures.show),
}
OF_A_VIEW = (address.PICTURE,)
"""The live view has pictures of its own."""


def show(db: sqlite3.Connection) -> None:
    server.see_to_the_queue(str(paths.store_file()))
    chosen = choices.choose(db)
    view = address.value_of(address.VIEW, list(VIEWS), LAYERS, what="view")
    misunderstood = st.empty()  # views read the address, too
    st.markdown(choices.summary(chosen.subject))
    queue.show()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.segmented_control(
            "View",
            list(VIEWS),
            required=True,
            format_func=lambda name: VIEWS[name][0],
            label_visibility="collapsed",
            **address.mirror(address.VIEW, view, forgetting=OF_A_VIEW),
        )
        link.copy_button()
    VIEWS[view][1](db, chosen)
    with misunderstood:
        address.show_misunderstood()


frame.page("Diagnosis", show)
