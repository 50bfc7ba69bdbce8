"""The box that offers to measure something on the pictures in view: why, what it takes, and the button."""

import streamlit as st

from components import queue, readonly
from components.choices import Choices
from vitquant import catalog, room
from vitquant.request import Request


def offer(chosen: Choices, request: Request, why: str, what_it_takes: str, button: str) -> None:
    """Draw it; where the pictures or the weights are not here, or memory is short, it says so without a button.
    Nothing where the dashboard is read-only."""
    if readonly.is_on():
        return
    with st.container(border=True):
        words, place = st.columns([3, 2], vertical_alignment="center")
        if problem := _problem(chosen, request):
            words.markdown(f"{why} {problem}")
            return
        words.markdown(f"{why} {what_it_takes}")
        with place:
            queue.offer(
                button, request, again=True, type="primary", icon=":material/play_arrow:", width="stretch"
            )


def _problem(chosen: Choices, request: Request) -> str | None:
    """Why it cannot be measured now, in a sentence."""
    dataset = chosen.subject.dataset
    if not chosen.pictures_here:
        return f"The pictures of {dataset} are not here: `{catalog.dataset(dataset).how_to_get}` brings them."
    if chosen.today.weights_digest is None:
        return "The weights of this model are not here, either."
    return room.memory_problem(request.model, request.kind)
