"""What takes space, and removing it one by one."""

import sqlite3
from itertools import groupby

import streamlit as st

from components import readonly
from components.data import act
from vitquant import database, space
from vitquant.space import Piece

SHOWN = 12


def show(db: sqlite3.Connection) -> None:
    found = space.pieces(db)
    store_bytes = space.store_bytes()
    total = sum(piece.size_bytes for piece in found if piece.kind != space.RUNS) + store_bytes
    st.markdown(
        f"Everything here takes **{act.mb(total)}**, {act.mb(store_bytes)} of it the store of all "
        "results. Removing pictures or weights keeps every figure that was measured with them."
    )
    by_kind = {kind: list(of) for kind, of in groupby(found, key=lambda piece: piece.kind)}
    for kind, title in space.TITLES.items():
        st.subheader(title, anchor=False)
        of_kind = by_kind.get(kind, [])
        if not of_kind:
            st.caption("Nothing.")
            continue
        st.caption(f"{len(of_kind):,}, {act.mb(sum(piece.size_bytes for piece in of_kind))} in all.")
        for piece in of_kind[:SHOWN]:
            _piece(piece)
        if rest := of_kind[SHOWN:]:
            with st.expander(f"{len(rest):,} more"):
                for piece in rest:
                    _piece(piece)


def _piece(piece: Piece) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key=f"piece-{piece.kind}-{piece.key}"):
        takes = act.mb(piece.size_bytes) if piece.size_bytes else "nothing of ours"
        st.markdown(f"{piece.title} · {takes}", width="stretch")
        if readonly.is_on():
            return
        with st.popover("Remove", icon=":material/delete:", type="tertiary"):
            st.markdown(piece.goes)
            st.button(
                "Yes, remove it",
                key=f"remove-{piece.kind}-{piece.key}",
                type="primary",
                on_click=act.do,
                args=(lambda: _remove(piece),),
            )


def _remove(piece: Piece) -> str:
    with database.opened() as db:
        return space.remove(db, piece.kind, piece.key)
