"""Model, weights, dataset and image size: chosen once, in the sidebar, for all pages.

Only what can work is offered: what has stored results, or whose weights are here (random ones always are).
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st

from components import address, server
from vitquant import accuracy, catalog, datasets, fits, gallery, machine, paths, sample, weights, wording
from vitquant.errors import InputError
from vitquant.gallery import AnswerSet, Conditions, Subject
from vitquant.measurements import AccuracyRequest
from vitquant.variants import usable

WITHOUT_WEIGHTS = "dinov2_vits14_reg_lc"
"""What is preselected where nothing is measured and no weights are here: the quickest to try."""

LARGEST_SIZE = 1022
FIRST_PICTURES = 300


@dataclass(frozen=True)
class Choices:
    """What the visitor looks at, and what is stored of it."""

    subject: Subject
    pictures_here: bool  # whether the dataset has been prepared
    dataset_id: int | None  # the pictures shown: those measured, else today's; None where there are none
    today: Conditions  # what would be measured now
    answers: AnswerSet | None  # what is stored; None where nothing is
    fuller: AnswerSet | None = None  # another measurement of the same, of more pictures

    @property
    def stale(self) -> dict[str, tuple[str, ...]]:
        """By variant, what has changed since it was measured here; variants that are as today are left out."""
        if self.answers is None or self.answers.shipped:
            return {}
        found = {name: gallery.changes(s.identity, self.today) for name, s in self.answers.series.items()}
        return {name: changes for name, changes in found.items() if changes}


def choose(db: sqlite3.Connection) -> Choices:
    """Draw the choices in the sidebar, and answer what they mean."""
    if problem := server.sample_problem(str(paths.store_file())):
        st.warning(problem, icon=":material/inventory_2:")
    measured = gallery.subjects(db)
    with st.sidebar:
        subject = _subject(measured)
    pictures_here = datasets.is_here(subject.dataset)
    dataset_id, digest = server.todays_pictures(db, subject.dataset) if pictures_here else (None, None)
    today = gallery.conditions(db, subject, digest)
    found = gallery.answer_sets(db, subject)
    answers = _answer_set(found)
    fuller = None
    if answers:
        dataset_id = answers.dataset_id
        fullest = max(found, key=lambda other: other.answered)
        fuller = fullest if fullest.answered > answers.answered else None
    return Choices(subject, pictures_here, dataset_id, today, answers, fuller)


def offer_fuller(chosen: Choices) -> None:
    """Say that another measurement has more pictures, with a click to see it: a small one may hide it."""
    if chosen.answers is None or chosen.fuller is None:
        return
    more = chosen.fuller
    came = "came with vitquant" if more.shipped else f"was measured on {more.measured_at[:10]}"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            f"These are answers to {chosen.answers.answered:,} pictures. "
            f"A measurement of {more.answered:,} {came}.",
            width="content",
        )
        forgotten = dict.fromkeys(address.OF_THE_ANSWERS)
        st.button("Show that one", on_click=address.go, kwargs={**forgotten, address.MEASURED: more.key})


def with_todays_answers(db: sqlite3.Connection, chosen: Choices) -> Choices:
    """The same choices with what is stored of them now, under today's conditions."""
    for answers in gallery.answer_sets(db, chosen.subject):
        if answers.shipped:
            continue
        fresh = replace(chosen, answers=answers, dataset_id=answers.dataset_id)
        if accuracy.REFERENCE not in fresh.stale:
            return fresh
    return chosen


def usable_variants() -> list[str]:
    """The variants that this machine's engine can run; some may have to be calibrated first."""
    return list(usable(machine.engine()))


def ready_variants(db: sqlite3.Connection, subject: Subject) -> list[str]:
    """Those that can be run at once: what is calibrated has been, for these weights and pictures."""
    try:
        source = weights.resolve(subject.model, subject.weights)
    except InputError:  # no longer here: whoever asks the model says so
        return usable_variants()
    return list(fits.ready(db, source, usable_variants(), subject.dataset, subject.image_size))


def first_accuracy_request(db: sqlite3.Connection, subject: Subject) -> AccuracyRequest:
    """The run that a page offers where nothing has been measured: small enough to wait for."""
    return AccuracyRequest(
        model=subject.model,
        weights=subject.weights,
        variants=tuple(ready_variants(db, subject)),
        dataset=subject.dataset,
        limit=FIRST_PICTURES,
        image_size=subject.image_size,
    )


def weights_title(source: str) -> str:
    """Where the values come from, in a word or two; a folder by its name."""
    titles = {
        "hub": "Torch Hub's",
        "bundled": "shipped",
        "own": "your own",
        "random": "random (meaningless answers)",
    }
    return titles.get(source, Path(source).name)


def weights_phrase(source: str) -> str:
    """The weights within a sentence."""
    if source == "random":
        return "random weights (meaningless answers)"
    return f"{weights_title(source)} weights"


def summary(subject: Subject) -> str:
    """The choices in one line of Markdown, for pages whose sidebar may be folded away."""
    return (
        f"**{subject.model}** · {weights_phrase(subject.weights)} · {subject.dataset} · "
        f"{subject.image_size} × {subject.image_size}"
    )


def note_on_labels(subject: Subject) -> None:
    """Say what right answers mean where the pictures have no labels."""
    if not catalog.dataset(subject.dataset).labelled:
        st.caption(wording.NO_LABELS)


def _subject(measured: Sequence[Subject]) -> Subject:
    st.caption("What to look at")
    here = {name for name in catalog.models() if _own_weights_are_here(name)}
    latest = measured[0] if measured else None

    known = catalog.models(removed=True)  # what was measured with a removed one is shown as ever
    models = _distinct([*(s.model for s in measured if s.model in known), *catalog.models()])
    if latest and latest.model in known:
        first = latest.model
    elif here:
        first = catalog.FIRST_SIGHT if catalog.FIRST_SIGHT in here else sorted(here)[0]
    else:
        first = WITHOUT_WEIGHTS
    model = address.value_of(address.MODEL, models, first, what="model")
    st.selectbox(
        "Model",
        models,
        help="A float32 vision transformer; its quantized versions are compared with it.",
        **address.mirror(address.MODEL, model, forgetting=[address.WEIGHTS, *address.OF_THE_ANSWERS]),
    )

    of_model = [s for s in measured if s.model == model]
    sources = _distinct(
        [*(s.weights for s in of_model), *([catalog.model(model).home] if model in here else []), "random"]
    )
    source = address.value_of(
        address.WEIGHTS, sources, sources[0], what="source of weights for this model called"
    )
    st.selectbox(
        "Weights",
        sources,
        format_func=weights_title,
        help="Where the model's values come from. Random weights have the real size and speed, but their "
        "answers mean nothing. The samples' come with vitquant; Torch Hub's are offered once they are in its "
        "cache: a `benchmark` command in the terminal downloads them.",
        **address.mirror(address.WEIGHTS, source, forgetting=address.OF_THE_ANSWERS),
    )

    of_weights = [s for s in of_model if s.weights == source]
    datasets_known = catalog.datasets(removed=True)
    measured_on = [s.dataset for s in of_weights if s.dataset in datasets_known]
    names = _distinct([*catalog.datasets(), *measured_on])
    usual = next((s.dataset for s in of_weights), datasets.usual(model))
    dataset = address.value_of(address.DATASET, names, usual, what="dataset")
    st.selectbox(
        "Pictures",
        names,
        format_func=lambda name: datasets_known[name].title,
        **address.mirror(
            address.DATASET,
            dataset,
            forgetting=[address.CLASS, address.WORDS, address.PICTURE, *address.OF_THE_ANSWERS],
        ),
    )

    of_dataset = [s.image_size for s in of_weights if s.dataset == dataset]
    sizes = sorted({*catalog.model(model).image_sizes, *of_dataset, *_asked_size(model)})
    size = address.value_of(
        address.SIZE, sizes, (of_dataset or [catalog.model(model).usual_image_size])[0], what="image size"
    )
    st.selectbox(
        "Image size",
        sizes,
        format_func=lambda edge: f"{edge} × {edge} pixels",
        help="Every picture is resized to this before the model sees it.",
        **address.mirror(address.SIZE, size, forgetting=address.OF_THE_ANSWERS),
    )
    return Subject(model, source, dataset, size)


def _answer_set(found: list[AnswerSet]) -> AnswerSet | None:
    """The newest measurement, or the one that is chosen where there are several."""
    if not found:
        return None
    by_key = {answers.key: answers for answers in found}
    keys = list(by_key)
    key = address.value_of(address.MEASURED, keys, keys[0], what="measurement")
    if len(found) == 1:
        return found[0]
    with st.sidebar:
        st.selectbox(
            "Measured",
            keys,
            format_func=lambda key: (
                f"{by_key[key].measured_at[:16].replace('T', ' ')} · {by_key[key].answered:,} pictures"
                + (" · shipped" if by_key[key].shipped else "")
            ),
            help="The same choices, measured under different conditions (another torch, CPU, weights or "
            "pictures): each is kept by itself.",
            **address.mirror(
                address.MEASURED, key, forgetting=[n for n in address.OF_THE_ANSWERS if n != address.MEASURED]
            ),
        )
    return by_key[key]


def _asked_size(model: str) -> list[int]:
    """The image size that the address asks for, where the model can take it."""
    asked = st.query_params.get(address.SIZE, "")
    if not (asked.isascii() and asked.isdigit() and len(asked) <= 4):
        return []
    try:
        size = catalog.check_image_size(int(asked), model)
    except InputError:
        return []
    return [size] if size <= LARGEST_SIZE else []


def _own_weights_are_here(model: str) -> bool:
    own = weights.resolve(model)
    return sample.is_here() if own.source == "bundled" else weights.is_here(own)


def _distinct(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))
