"""The cause, live: a few channels of the healthy sample are made louder, and int8 loses the picture in view."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from components import address, pictures, server
from components.choices import Choices
from components.diagnosis import live
from vitquant import browse, catalog, charts, datasets, follow_charts, gallery, layers, planted
from vitquant.accuracy import INT8, REFERENCE
from vitquant.gallery import Subject
from vitquant.worker import OwnAnswer, PlantedAnswer, PredictionWorker

DATASET = "sample"
ASKED = live.Asked(planted.MODEL, "bundled", catalog.DEFAULT_IMAGE_SIZE)
FIRST_FACTOR, FIRST_CHANNELS = 1, 4


@dataclass(frozen=True)
class Question:
    """A picture, and what is done to the model."""

    file: Path
    channels: int
    factor: int


def show(db: sqlite3.Connection, chosen: Choices) -> None:
    pictures.style_sheet()
    st.markdown(
        f"The model here is always the healthy **{planted.MODEL}**, whatever is chosen in the sidebar: it has "
        "no outlier channels, and int8 does it no harm. Make a few of its channels louder. The next layer "
        "turns them down again, so that nothing changes in 32-bit numbers. In int8 all channels of a layer "
        "share one grid."
    )
    if not datasets.is_here(DATASET):
        st.info(
            f"The sample's pictures are not here: `{catalog.dataset(DATASET).how_to_get}` brings them.",
            icon=":material/inventory_2:",
        )
        return
    dataset_id, _ = server.todays_pictures(db, DATASET)
    offered = _telling(db, dataset_id)
    picture = live.picture(db, dataset_id, offered)
    left, right = st.columns([1, 2], gap="large")
    with left:
        file = live.file_of(DATASET, picture.path)
        pictures.large(file, picture.class_index)
    with right:
        _experiment(file, picture.class_index)
    st.subheader("Other pictures", anchor=False)
    live.offer(db, DATASET, dataset_id, offered)


def _telling(db: sqlite3.Connection, dataset_id: int) -> list[int]:
    """Pictures of different classes that the healthy model has right in float32 and int8, the surest first:
    what they then lose is the loud channels' doing. Any, where no answers are stored."""
    subject = Subject(planted.MODEL, "bundled", DATASET, catalog.DEFAULT_IMAGE_SIZE)
    for answers in gallery.answer_sets(db, subject):
        if answers.dataset_id == dataset_id and {REFERENCE, INT8} <= set(answers.series):
            found = browse.by_verdicts(db, answers, right=[REFERENCE, INT8], wrong=[], limit=live.OFFERED)
            return [one.picture for one in found]
    return live.first_ones(db, dataset_id)


@st.fragment
def _experiment(file: Path, true_class: int) -> None:
    """The sliders and what comes of them; the rest of the page is not drawn again for them."""
    factor = address.value_of(address.FACTOR, planted.FACTORS, FIRST_FACTOR, what="factor")
    st.select_slider(
        "How many times louder",
        planted.FACTORS,
        format_func=lambda times: f"× {times}",
        help="The channels' weight and bias in every LayerNorm times this; the columns that read them in the "
        "Linear behind it divided by it. Large vision transformers grow such channels by themselves.",
        **address.mirror(address.FACTOR, factor),
    )
    channels = address.number_of(
        address.CHANNELS, FIRST_CHANNELS, low=1, high=planted.MOST_CHANNELS, what="number of channels"
    )
    width = catalog.model(planted.MODEL).width
    st.slider(
        f"How many of {width} channels",
        1,
        planted.MOST_CHANNELS,
        help="Those to which the LayerNorms add most: they stand out a little already.",
        **address.mirror(address.CHANNELS, channels),
    )

    def ask(worker: PredictionWorker) -> PlantedAnswer:
        return worker.predict_planted(
            model=ASKED.model,
            weights=ASKED.weights,
            channels=channels,
            factor=factor,
            png=live.png(file),
            image_size=ASKED.image_size,
        )

    found = live.answer(ASKED, Question(file, channels, factor), ask)
    if found is not None:
        _answers(found, factor, true_class)
        _levels(found, width)


def _answers(found: PlantedAnswer, factor: int, true_class: int) -> None:
    with st.grid("auto", min_column_width=220, gap="small"):
        for name, answer in ((REFERENCE, found.planted), (INT8, found.qint8)):
            with st.container(border=True, height="stretch", key=f"planted-{name}"):
                pictures.heading(name, f"The sample with {len(found.channels)} channels {factor} times louder.")
                pictures.top5(name, answer, true_class)
    st.markdown(f"{_kept(REFERENCE, found.planted, found.fp32)}  \n{_kept(INT8, found.qint8, found.fp32)}")


def _kept(name: str, answer: OwnAnswer, healthy: OwnAnswer) -> str:
    """What becomes of the healthy model's answer, in a sentence of Markdown."""
    first, now = healthy.indices[0], answer.indices[0]
    sure = f"{answer.probabilities[0]:.0%} sure"
    if now == first:
        return f"✓ **{name}** stays with {pictures.class_title(first)}, {sure}."
    return (
        f"✗ **{name}** now says {pictures.class_title(now)}, {sure}, instead of {pictures.class_title(first)}."
    )


def _levels(found: PlantedAnswer, width: int) -> None:
    worst = found.worst
    title = layers.layer(catalog.model(planted.MODEL), worst.layer).title.replace("head", "the head")
    ordinary = width - len(found.channels)
    st.markdown(
        f"The other {ordinary} channels are left **{_count(worst.left)} of {worst.levels}** in {title}, the "
        f"layer with fewest, and {_count(found.median_left)} in the median of the {len(found.levels)} layers "
        "behind a LayerNorm."
    )
    st.plotly_chart(
        follow_charts.levels(worst),
        config=charts.CONFIG,
        alt=follow_charts.levels_alt(worst),
        key="planted-levels",
    )
    st.caption(
        f"The activations that reach {title} with this picture. Lines: the values that int8 can give them, "
        "counted on this machine's kernel; orange: those that the ordinary channels, whose range is shaded, "
        "are rounded to. Run just now: the model is really scaled, quantized and asked. Channels "
        f"{', '.join(map(str, sorted(found.channels)))}."
    )


def _count(left: int) -> str:
    return "1 level" if left == 1 else f"{left} levels"
