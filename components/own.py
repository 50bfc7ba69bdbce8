"""A visitor's own pictures, put to every variant side by side. They are kept in memory, for the visit only."""

import hashlib
import io
import sqlite3
from collections.abc import Sequence
from urllib.parse import urlsplit

import streamlit as st

from components import pictures, queue, readonly, server
from components.choices import Choices, ready_variants
from vitquant import catalog, images, labels, variants
from vitquant.errors import InputError, VitquantError
from vitquant.worker import OwnAnswer

MOST_PICTURES = 8
MOST_MB = 20
LONGEST_EDGE = 1024
"""Larger pictures are made smaller before the model's own resizing, in pixels."""

TYPES = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"]
BIGGER = "dinov2_vitb14_reg_lc"

_ANSWERS = "own:answers"


def show(db: sqlite3.Connection, chosen: Choices, classes: Sequence[str]) -> None:
    """Upload or camera, and what every variant answers. classes: wnids that a bundled model knows."""
    if readonly.is_on():
        st.info("Pictures of your own need the model to run: not in a read-only dashboard.")
        return
    if chosen.today.weights_digest is None:
        st.info("The weights of this model are not here, so it can answer nothing new.", icon=":material/info:")
        return
    _what_it_knows(chosen, classes)
    left, right = st.columns([3, 2], gap="large")
    with left:
        uploaded = st.file_uploader(
            "Pictures",
            type=TYPES,
            accept_multiple_files=True,
            max_upload_size=MOST_MB,
            help="They stay in this computer's memory, for this visit only.",
        )
    with right:
        photo = _camera()
    sources = [*uploaded[:MOST_PICTURES], *([photo] if photo else [])]
    if len(uploaded) > MOST_PICTURES:
        st.warning(f"The first {MOST_PICTURES} of {len(uploaded)} pictures are shown: put the others in later.")
    for place, source in enumerate(sources):
        st.divider()
        _one(db, chosen, source.getvalue(), pictures_name(source.name), place)


def pictures_name(name: str) -> str:
    """A file's name as harmless, short text."""
    plain = "".join(letter if letter.isalnum() or letter in " ._-()" else "_" for letter in name)
    return plain if len(plain) <= 60 else f"{plain[:50]}…{plain[-8:]}"


def _what_it_knows(chosen: Choices, classes: Sequence[str]) -> None:
    spec = catalog.model(chosen.subject.model)
    if chosen.subject.is_random:
        st.warning(f"{pictures.RANDOM.capitalize()}.", icon=":material/casino:")
        return
    if spec.home != "bundled":
        st.markdown(
            f"**{spec.name} knows the 1000 kinds of things of ImageNet**, and answers with one of them."
        )
        return
    bigger = catalog.model(BIGGER)
    megabytes = bigger.parameters * 4 / 1e6
    st.markdown(
        f"**{spec.name} knows {len(classes)} kinds of things, from drawn pictures only**, and answers with one "
        f"of them whatever it is shown. `{BIGGER}` knows a thousand, from photographs: a download of about "
        f"{megabytes:.0f} MB, which a `benchmark` command in the terminal makes."
    )
    with st.expander(f"The {len(classes)} kinds of things"):
        st.markdown(", ".join(sorted(labels.short(labels.by_wnid(wnid).words) for wnid in classes)))


def _camera() -> io.BytesIO | None:
    address = urlsplit(st.context.url or "")
    if address.scheme != "https" and address.hostname not in ("localhost", "127.0.0.1", "::1"):
        st.caption("The camera works over HTTPS or on this computer itself (localhost) only.")
        return None
    if not st.toggle("Use the camera"):
        return None
    return st.camera_input("Camera", label_visibility="collapsed")


def _one(db: sqlite3.Connection, chosen: Choices, content: bytes, name: str, place: int) -> None:
    """One picture and every variant's answer; a sentence where it is none."""
    try:
        stream = io.BytesIO(content)
        picture = images.open_rgb(stream, name)
        is_animated = images.is_animated(stream)
    except InputError as error:
        st.error(str(error), icon=":material/broken_image:")
        return
    left, right = st.columns([1, 3], gap="medium")
    with left:
        pictures.enlarged(picture, f"Your picture {name}")
        st.caption(name + (": an animation, of which this is the first picture" if is_animated else ""))
        if chosen.subject.is_random:
            st.caption(f"{pictures.RANDOM.capitalize()}.")
        if max(picture.size) > 1.2 * min(picture.size):
            st.caption("The model sees it squeezed to a square.")
    with right:
        try:
            answers = _answers(db, chosen, content, images.shrunk_png(picture, LONGEST_EDGE))
        except VitquantError as error:
            queue.problem(error)
            return
        with st.grid("auto", min_column_width=176, gap="small"):
            for variant, answer in answers.items():
                with st.container(border=True, height="stretch", key=f"own-{place}-{variant}"):
                    pictures.heading(variant, variants.summary(variant))
                    pictures.top5(variant, answer, None)
                    st.caption(
                        f"{1e3 * answer.seconds:.3g} ms on this machine",
                        help="Median of a few passes of this picture alone. The Benchmark page measures more "
                        "carefully.",
                    )


def _answers(db: sqlite3.Connection, chosen: Choices, content: bytes, png: bytes) -> dict[str, OwnAnswer]:
    """Every variant's answer, computed once in a visit."""
    subject = chosen.subject
    ready = tuple(ready_variants(db, subject))
    key = (hashlib.sha256(content).hexdigest(), subject, chosen.today.weights_digest, ready)
    kept = st.session_state.setdefault(_ANSWERS, {})
    if key not in kept:
        worker = server.prediction_worker()
        asked = "Asking every variant"
        wait = asked if worker.is_awake else "Waking the model, which takes a while the first time"
        with st.spinner(wait, show_time=True):
            kept[key] = worker.predict_own(
                model=subject.model,
                weights=subject.weights,
                variants=ready,
                png=png,
                image_size=subject.image_size,
                dataset=subject.dataset,
            )
    return dict(kept[key])
