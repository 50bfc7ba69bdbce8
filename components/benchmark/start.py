"""The one form that starts measurements: what is measured, of which variants, on how much."""

import sqlite3
from collections.abc import Callable

import streamlit as st

from components import choices, queue, readonly
from components.choices import Choices
from vitquant import catalog, latency, machine
from vitquant.errors import InputError
from vitquant.measurements import AccuracyRequest, LatencyRequest, ProfileRequest, SizeRequest
from vitquant.request import Request

SECONDS_PER_SHAPE = 10.0  # as the command line's, so that both find each other's results

UNTIL_SURE, FIRST, ALL = "Until sure", "The first", "All"

WHAT_IT_IS = {
    "accuracy": "How many pictures each version recognises, against the truth and against fp32.",
    "latency": "How long a prediction takes, variants in turns; what loading takes, in time and memory. "
    "Nothing else should run on the machine meanwhile.",
    "profile": "Where the time of one pass goes, by operator and by layer.",
    "size": "Bytes on disk and in memory. The Size page shows them.",
}


def form(db: sqlite3.Connection, chosen: Choices, kind_shown: str, *, nothing_yet: bool) -> None:
    """The form, folded away where there is something to look at; nothing where the dashboard is read-only."""
    if readonly.is_on():
        return
    with st.expander("Measure", expanded=nothing_yet, icon=":material/play_arrow:"):
        kind = st.segmented_control(
            "What to measure",
            list(_FIELDS),
            default=kind_shown if kind_shown in _FIELDS else "accuracy",
            required=True,
            format_func=str.capitalize,
            key=f"measure-{kind_shown}",
        )
        st.caption(WHAT_IT_IS[kind])
        with st.form(f"measure-form-{kind}", border=False):
            variants = tuple(
                st.multiselect(
                    "Variants",
                    choices.usable_variants(),
                    default=choices.ready_variants(db, chosen.subject),
                    help="Those that are not calibrated yet for this model are not chosen at first: they take "
                    "some seconds more with the sample, and minutes with a large model.",
                    key=f"variants-of-{kind}",
                )
            )
            try:
                request = _FIELDS[kind](chosen, variants)
                problem = "" if variants else "Choose one variant at least."
            except InputError as error:
                problem = str(error)
            if st.form_submit_button("Start", type="primary"):
                if problem:
                    st.error(problem, icon=":material/error:")
                else:
                    queue.start(request)
                    st.rerun()


def _accuracy(chosen: Choices, variants: tuple[str, ...]) -> Request:
    if not chosen.pictures_here:
        raise InputError(f"{chosen.subject.dataset} is not here: the page Data and models can bring it in.")
    left, right = st.columns(2, vertical_alignment="bottom")
    how_many = left.radio(
        "Pictures",
        [UNTIL_SURE, FIRST, ALL],
        index=1,
        horizontal=True,
        help="In a fixed, class-balanced random order, so that the first so many are a fair sample. What is "
        "stored already is not measured again. Until sure: each variant only until it is settled whether its "
        "top-1 differs from fp32's or lies within one percentage point of it, with a 5% risk of any error in "
        "the run. A variant that never differs takes about 1,000 pictures, one that differs in 2% of them "
        "about 2,000 to 4,000; a collapse shows after 64.",
        key="pictures-of-accuracy",
    )
    number = right.number_input(
        "How many, where it is the first", min_value=1, value=choices.FIRST_PICTURES, step=100, max_value=10**7
    )
    return AccuracyRequest(
        model=chosen.subject.model,
        weights=chosen.subject.weights,
        variants=variants,
        dataset=chosen.subject.dataset,
        limit=int(number) if how_many == FIRST else None,
        image_size=chosen.subject.image_size,
        until_sure=how_many == UNTIL_SURE,
    )


def _latency(chosen: Choices, variants: tuple[str, ...]) -> Request:
    left, right = st.columns(2)
    spec = catalog.model(chosen.subject.model)
    edge = spec.usual_image_size
    shapes = left.text_input(
        "Shapes",
        value=f"1x{edge}, 8x{edge}",
        help=f"Pictures in a batch × their edge in pixels (a multiple of {spec.patch_size}), separated by "
        f"commas: 8x{edge} is a batch of eight pictures of {edge} × {edge}. Several batch or image sizes make "
        f"a sweep. The notebook's: {', '.join(map(str, latency.NOTEBOOK_SHAPES))}.",
        key=f"shapes-of-latency-{edge}",
    )
    cores = machine.default_threads()
    threads = right.text_input(
        "Threads",
        value=str(cores),
        help=f"One number or several, separated by commas. This machine has {cores} cores.",
        key="threads-of-latency",
    )
    st.caption(f"{SECONDS_PER_SHAPE:.0f} seconds for each shape and number of threads, longer for slow ones.")
    return LatencyRequest(
        model=chosen.subject.model,
        weights=chosen.subject.weights,
        variants=variants,
        shapes=tuple(str(shape) for shape in latency.parse_shapes(shapes, chosen.subject.model)),
        threads=latency.parse_threads(threads, cores),
        seconds_per_shape=SECONDS_PER_SHAPE,
    )


def _profile(chosen: Choices, variants: tuple[str, ...]) -> Request:
    left, right = st.columns(2)
    edge = catalog.model(chosen.subject.model).usual_image_size
    text = left.text_input(
        "Shape",
        value=f"1x{edge}",
        help="Pictures in the batch × their edge in pixels.",
        key=f"shape-of-profile-{edge}",
    )
    cores = machine.default_threads()
    threads = right.number_input(
        "Threads", min_value=1, max_value=cores, value=cores, help=f"This machine has {cores} cores."
    )
    shapes = latency.parse_shapes(text, chosen.subject.model)
    if len(shapes) != 1:
        raise InputError(f"The profiler takes one shape, and {text!r} names {len(shapes)}.")
    return ProfileRequest(
        model=chosen.subject.model,
        weights=chosen.subject.weights,
        variants=variants,
        shape=str(shapes[0]),
        threads=int(threads),
    )


def _size(chosen: Choices, variants: tuple[str, ...]) -> Request:
    return SizeRequest(chosen.subject.model, chosen.subject.weights, variants)


_FIELDS: dict[str, Callable[[Choices, tuple[str, ...]], Request]] = {
    "accuracy": _accuracy,
    "latency": _latency,
    "profile": _profile,
    "size": _size,
}
