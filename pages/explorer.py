"""Explorer: the pictures, what each variant makes of them, and one picture in detail."""

import json
import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from components import (
    address,
    choices,
    filters,
    frame,
    link,
    mistakes,
    own,
    pictures,
    provenance,
    queue,
    readonly,
    server,
)
from components.choices import Choices
from components.filters import Wanted
from vitquant import browse, catalog, database, datasets, gallery, labels, machine, variants, wording
from vitquant.accuracy import REFERENCE
from vitquant.browse import Picture
from vitquant.errors import VitquantError
from vitquant.own_pictures_listing import UNLABELLED
from vitquant.predictions import Prediction
from vitquant.variants import RECIPES, why_unavailable

PICTURES, CLASSES, CONFUSIONS, OWN = "pictures", "classes", "confusions", "own"
VIEWS = {PICTURES: "Pictures", CLASSES: "Classes", CONFUSIONS: "Confusions", OWN: "Your own"}


def show(db: sqlite3.Connection) -> None:
    chosen = choices.choose(db)
    if chosen.dataset_id is None:
        address.show_misunderstood()
        _no_pictures(chosen)
        return
    pictures.style_sheet()
    wanted = filters.read(db, chosen, chosen.dataset_id)
    views = list(VIEWS) if wanted.variant and wanted.classes else [PICTURES, OWN]
    view = address.value_of(address.VIEW, views, PICTURES, what="view")
    picture = _asked_picture(db, chosen)
    address.show_misunderstood()
    st.markdown(choices.summary(chosen.subject))
    choices.note_on_labels(chosen.subject)
    if picture:
        _detail(db, chosen, wanted, picture)
        return
    choices.offer_fuller(chosen)
    if chosen.answers:
        pictures.scores(gallery.scores(db, chosen.answers), wanted.measure)
    provenance.stale(chosen.stale)
    _view_field(views, view)
    if view == PICTURES:
        _grid(db, chosen, wanted)
    elif view == OWN:
        own.show(db, chosen, list(wanted.classes))
    else:
        _mistakes(db, chosen, wanted, view)


def _no_pictures(chosen: Choices) -> None:
    spec = catalog.dataset(chosen.subject.dataset)
    st.subheader("No pictures yet", anchor=False)
    if spec.is_own:
        why = f"{spec.name} was removed here" if spec.removed_at else f"{spec.root} is gone"
        st.markdown(f"There are no pictures of {spec.name} to show: {why}. This adds them again:")
        st.code(spec.how_to_get, language="bash")
        return
    st.markdown(
        "Look at pictures, and see what each quantized version of a vision transformer still recognises. "
        f"{spec.title} has {spec.pictures:,} pictures of {spec.classes} kinds. One line in the project's "
        "folder brings them here, as the page Data and models does by a click:"
    )
    st.code(spec.how_to_get, language="bash")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Look again", icon=":material/refresh:")
        st.page_link("pages/data.py", label="Data and models", icon=":material/database:")


def _asked_picture(db: sqlite3.Connection, chosen: Choices) -> Picture | None:
    """The picture that the address asks for, to be shown in detail."""
    assert chosen.dataset_id is not None
    asked = st.query_params.get(address.PICTURE)
    if asked is None:
        return None
    series_ids = chosen.answers.series_ids if chosen.answers else {}
    picture = None
    if asked.isascii() and asked.isdigit() and len(asked) < 10:
        picture = browse.picture(db, chosen.dataset_id, series_ids, int(asked))
    if picture is None:
        address.misunderstood(f"There is no picture {address.quoted(asked)}; the grid is shown instead.")
        address.go(picture=None)
    return picture


# The grid


def _view_field(views: Sequence[str], view: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.segmented_control(
            "View",
            views,
            required=True,
            format_func=VIEWS.__getitem__,
            label_visibility="collapsed",
            **address.mirror(address.VIEW, view, forgetting=[address.PAGE]),
        )
        link.copy_button()


def _mistakes(db: sqlite3.Connection, chosen: Choices, wanted: Wanted, view: str) -> None:
    """Where one variant goes wrong, over all pictures: class by class, or as pairs of classes."""
    assert chosen.dataset_id is not None
    with st.container(horizontal=True):
        filters.variant_field(wanted)
        if view == CLASSES and len(wanted.series) > 1:
            filters.versus_field(db, wanted)
    if chosen.subject.is_random:
        st.warning(f"{pictures.RANDOM.capitalize()}.", icon=":material/casino:")
    draw = mistakes.classes if view == CLASSES else mistakes.pairs
    draw(db, chosen.dataset_id, wanted)
    provenance.of_answers(chosen)


def _grid(db: sqlite3.Connection, chosen: Choices, wanted: Wanted) -> None:
    assert chosen.dataset_id is not None
    enough = min(browse.PAGE, wanted.pictures)
    if chosen.pictures_here and (chosen.answers is None or chosen.answers.answered < enough):
        _little_measured(db, chosen)
    counts = browse.counts(db, chosen.dataset_id, wanted.filter)
    filters.fields(db, wanted, counts)
    n = browse.count(db, chosen.dataset_id, wanted.filter)
    if n == 0:
        filters.offer_to_loosen(db, chosen.dataset_id, wanted)
        return
    pages = -(-n // browse.PAGE)
    number = _page_number(pages)
    offset = (number - 1) * browse.PAGE
    shown = browse.page(db, chosen.dataset_id, wanted.series, wanted.filter, offset=offset)
    _count_line(chosen, wanted, offset, len(shown), n)
    root = _root(chosen)
    variants = {name: name in chosen.stale for name in wanted.series}
    with st.grid("auto", min_column_width=124, gap="small", key="pictures"):
        for picture in shown:
            with st.container(key=f"tile-{picture.picture}"):
                pictures.thumbnail(root / picture.path, picture)
                st.button(
                    pictures.class_title(picture.class_index),
                    key=f"open-{picture.picture}",
                    type="tertiary",
                    on_click=address.go,
                    kwargs={address.PICTURE: picture.picture},
                )
                if variants:
                    pictures.verdicts(picture, variants, random=chosen.subject.is_random)
    if pages > 1:
        with st.container(horizontal_alignment="center"):
            st.pagination(pages, **address.mirror(address.PAGE, number))
    if chosen.answers:
        provenance.of_answers(chosen)


def _count_line(chosen: Choices, wanted: Wanted, offset: int, shown: int, n: int) -> None:
    """Which pictures these are, and the whole selection as a file."""
    what = f": {wanted.title}" if wanted.title else ""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(f"Pictures {offset + 1:,} to {offset + shown:,} of {n:,}{what}", width="content")
        if chosen.dataset_id is not None and wanted.series:
            _downloads(chosen.dataset_id, wanted, n)


def _downloads(dataset_id: int, wanted: Wanted, n: int) -> None:
    with st.popover("Download", icon=":material/download:"):
        st.caption(f"All {n:,} pictures of this selection, with every variant's answer.")
        for suffix, mime in (("csv", "text/csv"), ("json", "application/json")):
            st.download_button(
                suffix.upper(),
                data=partial(_selection, dataset_id, wanted, suffix),
                file_name=f"vitquant-selection.{suffix}",
                mime=mime,
                width="stretch",
                on_click="ignore",
            )


def _selection(dataset_id: int, wanted: Wanted, suffix: str) -> str:
    with database.opened() as db:
        rows = list(browse.export(db, dataset_id, wanted.series, wanted.filter))
    return pd.DataFrame(rows).to_csv(index=False) if suffix == "csv" else json.dumps(rows, indent=1)


def _page_number(pages: int) -> int:
    asked = st.query_params.get(address.PAGE)
    if asked is None:
        return 1
    number = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else 0
    if 1 <= number <= pages:
        return number
    nearest = pages if number > pages else 1
    st.warning(f"There is no page {address.quoted(asked)}; page {nearest} of {pages} is shown instead.")
    return nearest


def _little_measured(db: sqlite3.Connection, chosen: Choices) -> None:
    queue.show()
    with st.container(border=True):
        words, button = st.columns([3, 2], vertical_alignment="center")
        little = f"Only {chosen.answers.answered} measured" if chosen.answers else "Nothing is measured"
        words.markdown(
            f"**{little} yet for** {choices.summary(chosen.subject)}. "
            "Open a picture to see what each variant answers, or measure some now, in the background."
        )
        with button:
            queue.offer(
                f"Measure the first {choices.FIRST_PICTURES} pictures",
                choices.first_accuracy_request(db, chosen.subject),
                type="primary",
                icon=":material/play_arrow:",
                width="stretch",
            )


# One picture


def _detail(db: sqlite3.Connection, chosen: Choices, wanted: Wanted, picture: Picture) -> None:
    _steps(db, chosen, wanted, picture)
    left, right = st.columns([1, 3], gap="medium")
    with left:
        pictures.large(_root(chosen) / picture.path, picture.class_index)
        place = f"picture {picture.picture:,} · {picture.path}"
        if picture.class_index == UNLABELLED:
            st.markdown("**No label**")
            st.caption(place)
        else:
            label = labels.by_index(picture.class_index)
            st.markdown(f"**True class: {label.words}**")
            st.caption(f"{label.wnid} · {place}")
        if chosen.subject.is_random:
            st.warning(f"{pictures.RANDOM.capitalize()}.", icon=":material/casino:")
    with right:
        chosen, problem = _with_answers(db, chosen, picture)
        answers = _stored(db, chosen, picture)
        if problem:
            queue.problem(problem)
        provenance.stale({name: why for name, why in chosen.stale.items() if name in answers})
        with st.grid("auto", min_column_width=176, gap="small"):
            for name in gallery.in_order({*answers, *RECIPES}):
                with st.container(border=True, height="stretch", key=f"answer-{name}"):
                    _answer(name, answers.get(name), answers.get(REFERENCE), picture)
    if chosen.answers:
        provenance.of_answers(chosen)


def _steps(db: sqlite3.Connection, chosen: Choices, wanted: Wanted, picture: Picture) -> None:
    """The way back to the grid and to the neighbours within the filter."""
    assert chosen.dataset_id is not None
    place = browse.place(db, chosen.dataset_id, wanted.filter, picture.picture)
    with st.container(horizontal=True, vertical_alignment="center", key="steps"):
        st.button("All pictures", icon=":material/grid_view:", on_click=address.go, kwargs={"picture": None})
        for title, icon, neighbour, shortcut in (
            ("Previous", ":material/chevron_left:", place.previous, "Left"),
            ("Next", ":material/chevron_right:", place.next, "Right"),
        ):
            st.button(
                title,
                icon=icon,
                icon_position="left" if shortcut == "Left" else "right",
                on_click=address.go,
                kwargs={"picture": neighbour},
                disabled=neighbour is None,
                shortcut=shortcut,
            )
        if place.number:
            what = f": {wanted.title}" if wanted.title else ""
            st.caption(f"{place.number:,} of {place.count:,}{what}", width="content")
        link.copy_button()


def _with_answers(
    db: sqlite3.Connection, chosen: Choices, picture: Picture
) -> tuple[Choices, VitquantError | None]:
    """The choices with this picture answered by every variant that can, and what went wrong if it did.

    Answers are computed only beside ones of today's conditions: beside stale or shipped ones they would compare
    what is not comparable.
    """
    is_todays = chosen.answers is None or not (chosen.answers.shipped or REFERENCE in chosen.stale)
    lacking = [
        name for name in choices.ready_variants(db, chosen.subject) if name not in _stored(db, chosen, picture)
    ]
    if not (lacking and is_todays and chosen.pictures_here and chosen.today.weights_digest):
        return chosen, None
    if readonly.is_on() or not (_root(chosen) / picture.path).is_file():
        return chosen, None
    worker = server.prediction_worker()
    asked = f"Asking {', '.join(lacking)}"
    wait = asked if worker.is_awake else "Waking the model, which takes a while the first time"
    try:
        with st.spinner(wait, show_time=True):
            worker.predict_picture(
                model=chosen.subject.model,
                weights=chosen.subject.weights,
                variants=lacking,
                dataset=chosen.subject.dataset,
                picture=picture.picture,
                image_size=chosen.subject.image_size,
            )
    except VitquantError as error:
        return chosen, error
    return choices.with_todays_answers(db, chosen), None


def _stored(db: sqlite3.Connection, chosen: Choices, picture: Picture) -> dict[str, Prediction]:
    return browse.answers_to(db, chosen.answers.series_ids, picture.picture) if chosen.answers else {}


def _answer(name: str, prediction: Prediction | None, reference: Prediction | None, picture: Picture) -> None:
    """One variant's card: right or wrong, its top-5, what changed from fp32."""
    pictures.heading(name, _summary(name))
    if prediction is None:
        reason = why_unavailable(name, machine.engine()) if name in RECIPES else None
        st.caption(reason or _why_not(name))
        return
    labelled = picture.class_index != UNLABELLED
    measure = wording.ACCURACY if labelled else wording.AGREEMENT
    is_right = prediction.true_rank == 1
    st.markdown(f"✓ {measure.right}" if is_right else f"✗ {measure.wrong}: {_instead(prediction)}")
    pictures.top5(name, prediction, picture.class_index)
    if name != REFERENCE and reference:
        st.caption(_change_from(reference, prediction))
    if name != REFERENCE and prediction.kl_nats is not None:
        st.caption(
            f"KL divergence from fp32: {prediction.kl_nats:.3g} nats",
            help="How far this variant's probabilities, over all 1000 classes, are from fp32's: 0 where "
            "they are the same.",
        )
    if prediction.true_rank > len(prediction.indices):
        what = "The true class" if labelled else f"{REFERENCE}'s answer"
        st.caption(f"{what} comes at place {prediction.true_rank}, with {prediction.true_probability:.2g}.")


def _why_not(name: str) -> str:
    if name in variants.calibrated():
        return "Not measured for this picture: the Cures on the Diagnosis page calibrate it for this model."
    return "Not measured for this picture under these conditions."


def _change_from(reference: Prediction, prediction: Prediction) -> str:
    then, now = reference.indices[0], prediction.indices[0]
    if then != now:
        return f"Changed: fp32 says {pictures.class_title(then)}, {reference.probabilities[0]:.0%} sure."
    sure = f"{prediction.probabilities[0]:.0%} sure, fp32 {reference.probabilities[0]:.0%}"
    return f"Same answer as fp32 ({sure})."


def _instead(prediction: Prediction) -> str:
    return f"says {pictures.class_title(prediction.indices[0])}"


def _summary(name: str) -> str | None:
    return variants.summary(name)


def _root(chosen: Choices) -> Path:
    return datasets.root_of(chosen.subject.dataset)


frame.page("Explorer", show)
