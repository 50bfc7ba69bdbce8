"""Overview: the first sight. One picture that int8 gets wrong, how that is mended, and what each variant keeps
and costs."""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from components import address, choices, costs, frame, pictures, provenance, queue, server
from components.choices import Choices
from vitquant import browse, catalog, datasets, gallery, paths, variants, wording
from vitquant.accuracy import INT8, REFERENCE
from vitquant.browse import Picture
from vitquant.gallery import AnswerSet, Subject
from vitquant.measurements import AccuracyRequest
from vitquant.own_pictures_listing import UNLABELLED
from vitquant.predictions import Prediction

IN_A_STRIP = 3
PLAIN = {
    REFERENCE: "The original",
    INT8: "With 8-bit numbers",
}
MENDED = "Mended, in 8-bit numbers too"
PLANTED = """
**What was done to this model.** It is the sample model with a few of its inner channels turned up: in every
LayerNorm four channels are multiplied by 256, and the layer after it divides them by 256 again. In ordinary
32-bit numbers nothing changes, to the last digit. But 8-bit numbers have one scale for a whole layer: it must
reach up to the loud channels, and the quiet ones are left with few of its steps.

These channels are **planted here, on purpose**. The notebook that this project started from reports the same
collapse on the full-size DINOv2. Large vision transformers grow such outlier channels by themselves, as
RegCache ([arXiv 2510.04547](https://arxiv.org/abs/2510.04547)) and the authors of SmoothQuant
([arXiv 2211.10438](https://arxiv.org/abs/2211.10438)) describe: the likely cause there too, to be checked on
its own weights.
"""


def show(db: sqlite3.Connection) -> None:
    server.see_to_the_queue(str(paths.store_file()))
    chosen = choices.choose(db)
    pictures.style_sheet()
    beside = _beside(db, chosen)
    address.show_misunderstood()
    st.markdown(choices.summary(chosen.subject))
    choices.note_on_labels(chosen.subject)
    queue.show()
    choices.offer_fuller(chosen)
    if chosen.answers is None or REFERENCE not in chosen.answers.series:
        _nothing_yet(db, chosen)
        return
    provenance.stale(chosen.stale)
    if address.BESIDE in st.query_params and beside is None:
        _healthy_is_missing(db, chosen)
    if chosen.subject.is_random:
        st.warning(f"{pictures.RANDOM.capitalize()}.", icon=":material/casino:")
    _head(db, chosen, chosen.answers, beside)
    _figures(db, chosen, chosen.answers, beside)
    _story(db, chosen, chosen.answers)
    if catalog.model(chosen.subject.model).planted:
        st.info(PLANTED, icon=":material/biotech:")
    _measured_where(db, chosen, chosen.answers)


def _nothing_yet(db: sqlite3.Connection, chosen: Choices) -> None:
    st.info("Nothing is measured yet for these choices.", icon=":material/hourglass_empty:")
    if chosen.pictures_here:
        queue.offer(
            f"Measure the first {choices.FIRST_PICTURES} pictures",
            choices.first_accuracy_request(db, chosen.subject),
            type="primary",
            icon=":material/play_arrow:",
        )
    else:
        st.caption(f"{chosen.subject.dataset} is not here: the page Data and models can bring it in.")


# The healthy model beside it


def _healthy(subject: Subject) -> Subject | None:
    """The same subject with the model that has no planted channels; None where there is no such model."""
    twin = catalog.TWINS.get(subject.model)
    return replace(subject, model=twin) if twin else None


def _beside(db: sqlite3.Connection, chosen: Choices) -> AnswerSet | None:
    """The healthy model's answers to the same pictures, where the address asks for them."""
    asked = st.query_params.get(address.BESIDE)
    healthy = _healthy(chosen.subject)
    if asked is None:
        return None
    if healthy is None or asked != healthy.model:
        address.misunderstood(f"There is no model {address.quoted(asked)} to show beside this one.")
        address.go(beside=None)
        return None
    found = [a for a in gallery.answer_sets(db, healthy) if a.dataset_id == chosen.dataset_id]
    return next((a for a in found if REFERENCE in a.series), None)


def _healthy_is_missing(db: sqlite3.Connection, chosen: Choices) -> None:
    """The healthy model was asked for, and has not answered these pictures yet."""
    healthy = _healthy(chosen.subject)
    if healthy is None:
        return
    st.info(f"{healthy.model} is not measured yet for these choices.", icon=":material/healing:")
    if chosen.pictures_here:
        queue.offer(
            f"Measure {healthy.model} on the first {choices.FIRST_PICTURES} pictures",
            choices.first_accuracy_request(db, healthy),
        )


def _switch(subject: Subject) -> None:
    healthy = _healthy(subject)
    if healthy is None:
        return
    is_on = address.BESIDE in st.query_params
    st.button(
        "Hide the healthy model" if is_on else "Show the healthy model beside it",
        icon=":material/healing:",
        on_click=address.go,
        kwargs={address.BESIDE: None if is_on else healthy.model},
    )


# The head: one picture


def _head(db: sqlite3.Connection, chosen: Choices, answers: AnswerSet, beside: AnswerSet | None) -> None:
    variant = INT8 if INT8 in answers.series else None
    telling = browse.telling(db, answers, variant) if variant else []
    labelled = catalog.dataset(chosen.subject.dataset).labelled
    if not variant or not telling:
        st.subheader(
            "No picture among those measured that the original gets right and 8-bit numbers get wrong"
            if variant and labelled
            else "8-bit numbers answer every picture among those measured as the original does"
            if variant
            else "8-bit numbers are not measured yet for these choices",
            anchor=False,
        )
        _switch(chosen.subject)
        return
    number = _number(len(telling))
    picture = browse.picture(db, answers.dataset_id, answers.series_ids, telling[number - 1])
    assert picture is not None
    found = browse.answers_to(db, answers.series_ids, picture.picture)
    names = [name for name in (REFERENCE, variant, gallery.cure_of(answers)) if name in found]
    st.subheader(" ".join(_says(_plain(name), found[name]) for name in names), anchor=False)
    left, *others = st.columns([1, *[1.2] * len(names)], gap="medium")
    with left:
        root = datasets.root_of(chosen.subject.dataset)
        pictures.large(root / picture.path, picture.class_index)
        if labelled and st.button("Take the tour", type="primary", icon=":material/slideshow:"):
            st.switch_page("pages/tour.py", query_params={address.SHOWN: str(number)})
        with st.container(horizontal=True):
            st.button(
                "Another picture",
                icon=":material/skip_next:",
                on_click=address.go,
                kwargs={address.SHOWN: number % len(telling) + 1},
            )
            _switch(chosen.subject)
    for column, name in zip(others, names, strict=True):
        with column, st.container(border=True, key=f"head-{name}"):
            _answer(name, found[name], picture.class_index)
    if beside:
        _healthy_answers(db, beside, picture.picture, picture.class_index)


def _healthy_answers(db: sqlite3.Connection, beside: AnswerSet, picture: int, class_index: int) -> None:
    found = browse.answers_to(db, beside.series_ids, picture)
    st.subheader("The healthy model, on the same picture", anchor=False)
    left, middle, right = st.columns([1, 1.2, 1.2], gap="medium")
    left.markdown("The same weights without the planted channels. In 32-bit numbers both answer alike.")
    if not found:
        st.caption("It has not answered this picture yet.")
    for column, name in ((middle, REFERENCE), (right, INT8)):
        if name in found:
            with column, st.container(border=True, key=f"healthy-{name}"):
                _answer(name, found[name], class_index)


def _number(count: int) -> int:
    """Which of the telling pictures the address asks for, counted from 1."""
    asked = st.query_params.get(address.SHOWN, "1")
    number = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 6 else 0
    return number if 1 <= number <= count else 1


def _plain(name: str) -> str:
    """What a variant of the head is called for people."""
    return PLAIN.get(name, MENDED)


def _says(who: str, prediction: Prediction) -> str:
    return f"{who}: {pictures.class_title(prediction.indices[0])}, {prediction.probabilities[0]:.0%} sure."


def _answer(name: str, prediction: Prediction, true_class: int) -> None:
    summary = variants.summary(name)
    pictures.heading(name, summary)
    measure = wording.AGREEMENT if true_class == UNLABELLED else wording.ACCURACY
    verdict = f"✓ {measure.right}" if prediction.true_rank == 1 else f"✗ {measure.wrong}"
    st.markdown(f"**{_plain(name)}** · {verdict}")
    pictures.top5(name, prediction, true_class)


# What each variant keeps and costs


def _figures(db: sqlite3.Connection, chosen: Choices, answers: AnswerSet, beside: AnswerSet | None) -> None:
    st.subheader("What each version keeps, and what it costs", anchor=False)
    costs.cards(db, chosen.subject, answers, "own")
    costs.offer_to_time(db, chosen)
    healthy = _healthy(chosen.subject)
    if beside and healthy:
        st.subheader("The same of the healthy model", anchor=False)
        if beside.shipped:
            st.caption(f"{provenance.SHIPPED}{beside.measured_at[:10]}")
        if (beside.answered, beside.shipped) != (answers.answered, answers.shipped):
            where = "shipped with vitquant" if beside.shipped else "measured here"
            st.caption(
                f"On {beside.answered:,} pictures, {where}; the figures above are of {answers.answered:,} "
                f"pictures, {'shipped' if answers.shipped else 'measured here'}: they need not agree."
            )
        costs.cards(db, healthy, beside, "healthy")
    costs.trade_off(db, chosen.subject, answers)


# Pictures that tell the story


def _story(db: sqlite3.Connection, chosen: Choices, answers: AnswerSet) -> None:
    """Three pictures that every version gets right, and three that int8 lost and the cure has right again."""
    cure = gallery.cure_of(answers)
    names = [name for name in answers.series if name in (*gallery.FIRST_TOLD, cure)]
    others = [name for name in names if name != INT8]
    if INT8 not in names or REFERENCE not in others:
        return
    lost = "Lost with 8-bit numbers, and right again, mended" if cure else "Only 8-bit numbers get these wrong"
    every = "Every version recognises these"
    if not catalog.dataset(chosen.subject.dataset).labelled:
        every = "Every version answers these alike"
        lost = "8-bit numbers alone answer these otherwise than the original"
    strips = {
        every: browse.by_verdicts(db, answers, right=names, wrong=[], limit=IN_A_STRIP),
        lost: browse.by_verdicts(db, answers, right=others, wrong=[INT8], limit=IN_A_STRIP),
    }
    for column, (title, shown) in zip(st.columns(2, gap="large"), strips.items(), strict=True):
        with column:
            st.subheader(title, anchor=False)
            if shown:
                _strip(chosen, shown, names)
            else:
                st.caption("There is no such picture among those measured.")
    if cure:
        st.page_link(
            "pages/diagnosis.py",
            label="Why 8-bit numbers lose them, and how it is mended",
            icon=":material/troubleshoot:",
        )


def _strip(chosen: Choices, shown: Sequence[Picture], names: Sequence[str]) -> None:
    root = datasets.root_of(chosen.subject.dataset)
    stale = {name: name in chosen.stale for name in names}
    with st.grid("auto", min_column_width=100, gap="small"):
        for picture in shown:
            with st.container(key=f"tile-{picture.picture}"):
                pictures.thumbnail(root / picture.path, picture)
                title = pictures.class_title(picture.class_index)
                if st.button(title, key=f"open-{picture.picture}", type="tertiary"):
                    st.switch_page("pages/explorer.py", query_params={address.PICTURE: str(picture.picture)})
                told = {name: verdict for name, verdict in picture.verdicts.items() if name in names}
                pictures.verdicts(replace(picture, verdicts=told), stale, random=chosen.subject.is_random)


def _measured_where(db: sqlite3.Connection, chosen: Choices, answers: AnswerSet) -> None:
    with st.container(horizontal=True):
        st.page_link(
            "pages/explorer.py",
            label="What 8-bit numbers get wrong",
            icon=":material/grid_view:",
            query_params={address.VARIANT: INT8, address.VERDICT: "wrong"} if INT8 in answers.series else None,
        )
        st.page_link("pages/benchmark.py", label="All measurements", icon=":material/speed:")
    if answers.shipped and chosen.pictures_here:
        queue.offer(
            "Measure the accuracy on this machine",
            _all_pictures(db, chosen.subject),
            icon=":material/play_arrow:",
            help="All pictures, in the background. Then this page shows what was measured here.",
        )
    provenance.of_answers(chosen)


def _all_pictures(db: sqlite3.Connection, subject: Subject) -> AccuracyRequest:
    return replace(choices.first_accuracy_request(db, subject), limit=None)


frame.page("Overview", show)
