"""Weights at 8 down to 2 bits, simulated: size, error and agreement with fp32, and one picture to try it on."""

import sqlite3
from dataclasses import replace

import pandas as pd
import streamlit as st

from components import address, measure, pictures, provenance, readonly, rounded, waking
from components.choices import Choices
from components.rounded import Question
from components.size import stored
from vitquant import bits, bits_charts, browse, catalog, charts, datasets, gallery, rounding, wording
from vitquant.accuracy import REFERENCE
from vitquant.browse import Picture
from vitquant.measurements import BitsRequest
from vitquant.runs import Run

COLUMNS = {
    "bits": "bits",
    "scales": "scales",
    "size_bytes": "computed size (bytes)",
    "sqnr_db": "weight SQNR (dB)",
    "n": "pictures",
    "agree": "answers as fp32",
    "agree_low": "from",
    "agree_high": "to",
    "top1": "top-1",
    "top1_low": "top-1 from",
    "top1_high": "top-1 to",
    "mean_kl_nats": "mean KL (nats)",
}
SHARES = ("agree", "agree_low", "agree_high", "top1", "top1_low", "top1_high")
FIRST_BITS = 4
"""What the slider stands at: few enough to see something."""


def show(db: sqlite3.Connection, chosen: Choices) -> None:
    st.info(f"**{bits.SIMULATED}**", icon=":material/science:")
    if chosen.subject.is_random:
        st.warning(
            f"{pictures.RANDOM.capitalize()}; how many of them stay says nothing either.",
            icon=":material/casino:",
        )
    run = _stored(db, chosen)
    if run:
        _result(run)
    _one_picture(db, chosen)


# What was measured


def _stored(db: sqlite3.Connection, chosen: Choices) -> Run | None:
    """The newest run on these pictures at this size, one under today's conditions first, with an offer to
    measure where there is none."""
    run = gallery.newest(gallery.runs_on_pictures(db, BitsRequest.kind, chosen.subject), chosen.today)
    if run is None:
        if readonly.is_on():
            st.info("Nothing is measured yet of fewer bits.", icon=":material/hourglass_empty:")
        _measure(chosen, "Nothing is measured yet for this model, these weights and these pictures.")
        return None
    if changes := gallery.run_changes(run, chosen.today):
        _measure(chosen, "Measure again under today's conditions?")
        provenance.stale({"bits": changes})
    elif run.shipped:
        _measure(chosen, "These came with vitquant: measured elsewhere. Measure them on this machine?")
    return run


def _measure(chosen: Choices, why: str) -> None:
    subject = chosen.subject
    request = BitsRequest(
        subject.model, subject.weights, subject.dataset, bits.USUAL_PICTURES, subject.image_size
    )
    takes = (
        f"{request.pictures} pictures are put to the model with its weights rounded in {len(bits.SETTINGS)} "
        "ways, in the background: seconds with the sample."
    )
    measure.offer(chosen, request, why, takes, "Measure fewer bits")


def _result(run: Run) -> None:
    rows = pd.DataFrame(run.result)
    for sentence in wording.bits_sentences(run.result or []):
        st.markdown(sentence)
    st.subheader("How many answers stay", anchor=False)
    st.plotly_chart(
        bits_charts.agreement(rows), config=charts.CONFIG, alt=bits_charts.agreement_alt(rows), key="bits-agree"
    )
    st.caption(
        f"First answers to {rows['n'].max():,} pictures, with 95% intervals. One scale for a whole weight "
        "(per tensor), or one for each of its output channels (per channel): the fewer numbers share a scale, "
        "the closer each is rounded. The variant qint8 also rounds what flows between the layers; this says "
        "nothing of that."
    )
    if planted := catalog.model(run.request["model"]).planted:
        st.caption(
            f"Here the weights that take the planted channels are {planted.factor:.0f} times smaller than the "
            "others, so that an even grid of 8 bits or fewer rounds them all to zero: more of these bits do "
            "not bring the last answers back."
        )
    unit = stored.unit()
    left, right = st.columns(2, gap="medium")
    with left:
        st.subheader("What it would take", anchor=False)
        st.plotly_chart(
            bits_charts.size(rows, unit),
            config=charts.CONFIG,
            alt=bits_charts.size_alt(rows, unit),
            key="bits-size",
        )
        st.caption(
            "Computed: Linear weights at so many bits, a 32-bit scale for each tensor or each output channel, "
            "everything else in 32 bits as it is."
        )
    with right:
        st.subheader("How far the weights are off", anchor=False)
        st.plotly_chart(
            bits_charts.error(rows), config=charts.CONFIG, alt=bits_charts.error_alt(rows), key="bits-error"
        )
        st.caption(
            "Signal-to-quantization-noise ratio of all Linear weights together, in decibels: 6 dB more is half "
            "the error."
        )
    st.subheader("All figures", anchor=False)
    _table(rows)
    provenance.of_run(run)


def _table(rows: pd.DataFrame) -> None:
    scales = rows["granularity"].map({**bits.GRANULARITIES, bits.ORIGINAL: f"none ({REFERENCE})"})
    shares = {COLUMNS[name]: st.column_config.NumberColumn(format="percent") for name in SHARES}
    st.dataframe(
        rows.assign(scales=scales)[list(COLUMNS)].rename(columns=COLUMNS),
        hide_index=True,
        height="content",
        column_config={
            **shares,
            COLUMNS["size_bytes"]: st.column_config.NumberColumn(format="localized"),
            COLUMNS["sqnr_db"]: st.column_config.NumberColumn(format="%.1f"),
            COLUMNS["mean_kl_nats"]: st.column_config.NumberColumn(format="%.4f"),
        },
        alt=f"{bits_charts.agreement_alt(rows)} {bits_charts.size_alt(rows, 1)} {bits_charts.error_alt(rows)}",
    )


# One picture, just now


def _one_picture(db: sqlite3.Connection, chosen: Choices) -> None:
    """Bits to choose, and what the model then answers to one picture; nothing where it cannot be asked."""
    asked_bits = address.number_of(
        address.BITS,
        FIRST_BITS,
        low=rounding.FEWEST_BITS,
        high=rounding.MOST_BITS,
        what="number of bits",
    )
    granularity = address.value_of(
        address.GRANULARITY, list(bits.GRANULARITIES), bits.TENSOR, what="granularity"
    )
    picture = _picture(db, chosen)
    if readonly.is_on() or picture is None:
        return
    file = datasets.root_of(chosen.subject.dataset) / picture.path
    if not rounded.can_be_asked(chosen, file):
        return
    pictures.style_sheet()
    st.subheader("Try it on a picture", anchor=False)
    if not waking.is_wanted(chosen.subject.model):
        return
    rounded.wake(chosen.subject)
    left, right = st.columns([1, 3], gap="large")
    with left:
        pictures.large(file, picture.class_index)
        _another(db, chosen, picture)
    with right:
        st.slider(
            "Bits for each weight",
            rounding.FEWEST_BITS,
            rounding.MOST_BITS,
            help="The weights of every Linear layer, rounded evenly from minus to plus the largest that shares "
            "their scale. Original: 32 bits.",
            **address.mirror(address.BITS, asked_bits),
        )
        st.segmented_control(
            "Scales",
            list(bits.GRANULARITIES),
            required=True,
            format_func=bits.GRANULARITIES.__getitem__,
            **address.mirror(address.GRANULARITY, granularity),
        )
        question = Question(
            chosen.subject, picture.picture, file, asked_bits, per_channel=granularity == bits.CHANNEL
        )
        _answers(question, picture.class_index)


def _picture(db: sqlite3.Connection, chosen: Choices) -> Picture | None:
    """The picture that the address names, else the first of the evaluation order; None where none are here."""
    if chosen.dataset_id is None or not chosen.pictures_here:
        return None
    of = gallery.pictures_of(db, chosen.dataset_id)
    first = browse.page(db, chosen.dataset_id, {}, browse.Filter(), limit=1)[0]
    number = address.number_of(address.PICTURE, first.picture, low=0, high=of - 1, what="picture")
    return browse.picture(db, chosen.dataset_id, {}, number)


def _another(db: sqlite3.Connection, chosen: Choices, picture: Picture) -> None:
    """On to the next picture of the evaluation order, where classes take turns."""
    assert chosen.dataset_id is not None
    place = browse.place(db, chosen.dataset_id, browse.Filter(), picture.picture)
    if place.next is not None:
        st.button(
            "Another picture",
            icon=":material/skip_next:",
            on_click=address.go,
            kwargs={address.PICTURE: place.next},
        )


@st.fragment(run_every=1.0)
def _answers(question: Question, true_class: int) -> None:
    """fp32's five best answers and the rounded model's beside them, once the model is awake."""
    original = rounded.answer(replace(question, bits=rounding.ORIGINAL_BITS, per_channel=False))
    answer = rounded.answer(question) if original else None
    if original is None or answer is None:
        return
    granularity = bits.CHANNEL if question.per_channel else bits.TENSOR
    with st.grid("auto", min_column_width=230, gap="small"):
        with st.container(border=True, height="stretch", key="bits-original"):
            pictures.heading(REFERENCE, "The model as it is.")
            pictures.top5(REFERENCE, original, true_class)
        with st.container(border=True, height="stretch", key="bits-rounded"):
            st.markdown(f"**{bits.setting_title(question.bits, granularity)}**, simulated")
            pictures.top5(REFERENCE, answer, true_class)
    stays = answer.indices[0] == original.indices[0]
    first, other = (pictures.class_title(found.indices[0]) for found in (original, answer))
    before, after = original.probabilities[0], answer.probabilities[0]
    st.markdown(
        f"✓ The answer stays: {first}, {after:.1%} sure, where the original is {before:.1%}."
        if stays
        else f"✗ The answer changes from {first} to {other}."
    )
    if question.subject.is_random:
        st.caption(f"{pictures.RANDOM.capitalize()}.")
