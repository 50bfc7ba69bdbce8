"""One picture followed through the blocks: how far the variant drifts from fp32, where the answer is lost, and
where both of them look."""

import base64
import html
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from components import address, pictures, waking
from components.choices import Choices
from components.diagnosis import live
from vitquant import attention, browse, catalog, charts, follow, follow_charts, images
from vitquant.accuracy import REFERENCE
from vitquant.follow import Followed
from vitquant.worker import PredictionWorker

MEAN = "mean"
MAP_EDGE = 320
"""Pixels of an attention map that is sent; pages show it no larger."""

MORE, LESS = charts.style("qint8").colour, charts.style(REFERENCE).colour
"""The difference's colours, whatever the variant: orange and blue, which people with any colour vision tell
apart."""

_CSS = """
<style>
.vq-maps { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 1rem;
  max-width: 1340px; }
.vq-map img { display: block; width: 100%; max-width: 320px; image-rendering: pixelated; border-radius: .4rem;
  background: rgba(128,128,128,.12); outline: 1px solid rgba(128,128,128,.35); outline-offset: -1px; }
.vq-map { font-size: .85rem; line-height: 1.35; }
.vq-map b { display: block; margin-bottom: .3rem; }
.vq-map span { display: block; margin-top: .3rem; opacity: .8; max-width: 320px; }
</style>
"""


@dataclass(frozen=True)
class Question:
    """A picture that is followed through a variant."""

    asked: live.Asked
    variant: str
    dataset: str  # whose calibration a calibrated variant takes
    file: Path


def show(db: sqlite3.Connection, chosen: Choices, variant: str) -> None:
    pictures.style_sheet()
    st.html(_CSS)
    subject = chosen.subject
    if chosen.dataset_id is None or not chosen.pictures_here:
        how = catalog.dataset(subject.dataset).how_to_get
        st.info(
            f"The pictures of {subject.dataset} are not here: `{how}` brings them.", icon=":material/image:"
        )
        return
    if chosen.today.weights_digest is None:
        st.info(
            "The weights of this model are not here: choose others in the sidebar.", icon=":material/weight:"
        )
        return
    if subject.is_random:
        st.warning(f"{pictures.RANDOM.capitalize()}, and so is what they look at.", icon=":material/casino:")
    offered = _telling(db, chosen, variant) or live.first_ones(db, chosen.dataset_id)
    picture = live.picture(db, chosen.dataset_id, offered)
    file = live.file_of(subject.dataset, picture.path)
    asked = live.Asked(subject.model, subject.weights, subject.image_size)
    question = Question(asked, variant, subject.dataset, file)
    left, right = st.columns([1, 2], gap="large")
    with left:
        pictures.large(file, picture.class_index)
        live.offer(db, subject.dataset, chosen.dataset_id, offered)
    found = None
    with right:
        if waking.is_wanted(subject.model):
            found = live.answer(asked, question, lambda worker: _ask(worker, question))
        if found is not None:
            _through_the_blocks(found, variant, picture.class_index)
    if found is not None:
        _attention(found, file, variant)


def _telling(db: sqlite3.Connection, chosen: Choices, variant: str) -> list[int]:
    """Pictures that fp32 has right and the variant wrong, the clearest first; empty where none are stored."""
    answers = chosen.answers
    if answers is None or not {REFERENCE, variant} <= set(answers.series):
        return []
    return browse.telling(db, answers, variant, limit=live.OFFERED)


def _ask(worker: PredictionWorker, question: Question) -> Followed:
    asked = question.asked
    return worker.follow(
        model=asked.model,
        weights=asked.weights,
        variant=question.variant,
        dataset=question.dataset,
        png=live.png(question.file),
        image_size=asked.image_size,
    )


def _through_the_blocks(found: Followed, variant: str, true_class: int) -> None:
    st.markdown(follow.in_words(found, variant))
    st.plotly_chart(
        follow_charts.cosines(found),
        config=charts.CONFIG,
        alt=follow_charts.cosines_alt(found),
        key="follow-cosines",
    )
    st.caption(
        f"How far {variant}'s tokens point where {REFERENCE}'s do after each block (1: the same direction), "
        "with this picture, run just now. The answer counts as lost after the first block from which on "
        "float32, in all blocks that follow and in the head, no longer brings it back."
    )
    with st.grid("auto", min_column_width=220, gap="small"):
        for name, answer in ((REFERENCE, found.fp32), (variant, found.variant)):
            with st.container(border=True, height="stretch", key=f"follow-{name}"):
                pictures.heading(name, None)
                pictures.top5(name, answer, true_class)


# Where they look


@st.fragment
def _attention(found: Followed, file: Path, variant: str) -> None:
    """The choices of a block and a head, and the maps; the rest of the page is not drawn again for them."""
    depth, heads = found.fp32_attention.shape[:2]
    st.subheader("Where the class token looks", anchor=False)
    block = address.number_of(address.BLOCK, depth - 1, low=0, high=depth - 1, what="block")
    names = [MEAN, *map(str, range(heads))]
    head = address.value_of(address.HEAD, names, MEAN, what="head")
    left, right = st.columns(2, gap="large")
    with left:
        st.slider("Block", 0, depth - 1, **address.mirror(address.BLOCK, block))
    with right:
        st.selectbox(
            "Head",
            names,
            format_func=lambda name: "mean of all heads" if name == MEAN else f"head {name}",
            **address.mirror(address.HEAD, head),
        )
    fp32, other = (
        of[block].mean(axis=0) if head == MEAN else of[block, int(head)]
        for of in (found.fp32_attention, found.variant_attention)
    )
    full = float(max(fp32.max(), other.max()))
    whole = images.enlarged_png(images.open_rgb(file), MAP_EDGE)
    maps = [_map("The picture", whole, "as it is given to the model")]
    for name, values in ((REFERENCE, fp32), (variant, other)):
        drawn = attention.drawn(values, full, charts.style(name).colour)
        png = images.enlarged_png(drawn, MAP_EDGE)
        maps.append(_map(name, png, _what_it_sees(values), _spoken(name, values)))
    maps.append(_difference(fp32, other, full, variant))
    st.html(f'<div class="vq-maps">{"".join(maps)}</div>')
    st.caption(
        f"Attention of the class token to the patches in block {block}, "
        f"{'all heads' if head == MEAN else 'one head'}; full colour is {full:.1%} of it, in every map. What "
        "is missing to 100% goes to the class token itself and to the registers, where the model has them."
    )


def _difference(fp32: np.ndarray, other: np.ndarray, full: float, variant: str) -> str:
    apart = other - fp32
    largest = float(np.abs(apart).max())
    drawn = attention.drawn(apart, full, MORE, LESS)
    moved = f"up to {largest:.1%} on one patch; orange: more in {variant}, blue: more in {REFERENCE}"
    spoken = f"{variant} less {REFERENCE}: up to {largest:.1%} apart on a patch"
    return _map("The difference", images.enlarged_png(drawn, MAP_EDGE), moved, spoken)


def _what_it_sees(values: np.ndarray) -> str:
    return f"{float(values.sum()):.0%} on the patches, at most {float(values.max()):.1%} on one"


def _spoken(name: str, values: np.ndarray) -> str:
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return (
        f"Attention map of {name}: most, {float(values.max()):.1%}, on the patch in row {row + 1} of "
        f"{values.shape[0]}, column {column + 1} of {values.shape[1]}"
    )


def _map(title: str, png: bytes, beneath: str, alt: str = "") -> str:
    """One picture with its title, as HTML."""
    source = base64.b64encode(png).decode()
    return (
        f'<div class="vq-map"><b>{html.escape(title)}</b>'
        f'<img alt="{html.escape(alt or title, quote=True)}" src="data:image/png;base64,{source}">'
        f"<span>{html.escape(beneath)}</span></div>"
    )
