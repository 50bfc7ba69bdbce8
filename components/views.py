"""A page of several views, the one in the address: what all such pages have around what a view draws."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from components import address, choices, link, queue, server
from components.choices import Choices
from vitquant import paths


def show(
    db: sqlite3.Connection,
    titles: Mapping[str, str],
    draw: Callable[[sqlite3.Connection, Choices, str], None],
    *,
    forgetting: Sequence[str],
    above: Callable[[Choices], None] = lambda chosen: None,
    beside: Callable[[Choices], None] = lambda chosen: None,
) -> None:
    """Draw the choices, the runs under way, the row of views and the view that the address names.

    titles: of the views, by their names in the address, the first one first. forgetting: what of the address
    belongs to one view alone. above: drawn above the row; beside: in it.
    """
    server.see_to_the_queue(str(paths.store_file()))
    chosen = choices.choose(db)
    view = address.value_of(address.VIEW, list(titles), next(iter(titles)), what="view")
    misunderstood = st.empty()  # views read the address, too
    st.markdown(choices.summary(chosen.subject))
    choices.note_on_labels(chosen.subject)
    queue.show()
    above(chosen)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.segmented_control(
            "View",
            list(titles),
            required=True,
            format_func=titles.__getitem__,
            label_visibility="collapsed",
            **address.mirror(address.VIEW, view, forgetting=forgetting),
        )
        beside(chosen)
        link.copy_button()
    draw(db, chosen, view)
    with misunderstood:
        address.show_misunderstood()
