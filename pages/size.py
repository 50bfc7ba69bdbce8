"""Size: what each variant takes and why, where the bytes are, what fits, and a model to take away."""

import sqlite3

import streamlit as st

from components import address, choices, frame, link, queue, server
from components.size import bits, budget, riddle, sizes, takeaway, tree
from vitquant import paths

SIZES = "sizes"
VIEWS = {
    # view -> title, what draws it
    SIZES: ("Disk and memory", sizes.show),
    "riddle": ("The riddle", riddle.show),
    "tree": ("Where the bytes are", tree.show),
    "budget": ("What fits", budget.show),
    "bits": ("Fewer bits", bits.show),
    "take": ("Take it away", takeaway.show),
}


OF_A_VIEW = (address.AT, address.FIRST, address.SECOND, address.SHOWN)


def show(db: sqlite3.Connection) -> None:
    server.see_to_the_queue(str(paths.store_file()))
    chosen = choices.choose(db)
    view = address.value_of(address.VIEW, list(VIEWS), SIZES, what="view")
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


frame.page("Size", show)
