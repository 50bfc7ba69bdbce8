"""The Explorer's filter: read from the address, and the controls that change it, each choice with its count."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from components import address, pictures
from components.choices import Choices
from vitquant import browse, labels, wording
from vitquant.accuracy import REFERENCE
from vitquant.browse import Counts, Filter
from vitquant.own_pictures_listing import UNLABELLED
from vitquant.wording import Measure

ALL = "all"
NOBODY = "nothing"
LARGEST_SEED = 999_999
TELLS_MOST = "qint8"
"""The variant looked at first, where it is measured: the one that the notebook's story is about."""

_PARAMETERS = {
    "verdict": (address.VERDICT,),
    "pair": (address.PAIR,),
    "class": (address.CLASS,),
    "words": (address.WORDS,),
    "answer": (address.ANSWER,),
    "confidence": (address.LOW, address.HIGH),
}
"""What in the address asks for a facet of the filter."""


@dataclass(frozen=True)
class Wanted:
    """What the address asks for, out of what there is to choose from."""

    filter: Filter
    variant: str | None  # the one looked at; None where nothing is measured
    versus: str | None  # the one it is compared with
    words: str
    classes: Mapping[str, int]  # pictures by wnid; none of those without a label
    pictures: int  # all of them
    series: Mapping[str, int]  # ids by variant
    measure: Measure  # what the verdicts rest on

    @property
    def title(self) -> str:
        """What the pictures have in common, in words; nothing where all are wanted."""
        parts = [_facet_title(self, facet) for facet in self.filter.facets]
        return ", ".join(part for part in parts if part)


def read(db: sqlite3.Connection, chosen: Choices, dataset_id: int) -> Wanted:
    """The filter that the address asks for; what it asks in vain is noted (address.misunderstood)."""
    sizes = browse.class_sizes(db, dataset_id)
    classes = {labels.by_index(i).wnid: n for i, n in sizes.items() if i != UNLABELLED}
    series = chosen.answers.series_ids if chosen.answers else {}
    variant = versus = verdict = pair = answer = confidence = None
    if series:
        first = TELLS_MOST if TELLS_MOST in series else list(series)[-1]
        variant = address.value_of(address.VARIANT, list(series), first, what="measured variant")
        others = [name for name in series if name != variant]
        versus = address.value_of(address.VERSUS, [NOBODY, *others], NOBODY, what="other measured variant")
        verdict = address.value_of(address.VERDICT, [ALL, *browse.VERDICTS], ALL, what="verdict")
        if versus != NOBODY:
            pair = address.value_of(address.PAIR, [ALL, *browse.PAIRS], ALL, what="comparison")
        answer = _asked_answer()
        confidence = _asked_confidence()
    wnid = address.value_of(
        address.CLASS, [ALL, *classes], ALL, what="class", instead="pictures of all classes are"
    )
    words = st.query_params.get(address.WORDS, "").strip()
    orders = _orders(variant)
    order = address.value_of(address.ORDER, orders, "dataset", what="order")
    seed = address.number_of(address.SEED, 1, low=0, high=LARGEST_SEED, what="seed")
    wanted = Filter(
        series=series.get(variant) if variant else None,
        other=series.get(versus) if versus else None,
        verdict=_or_none(verdict),
        pair=_or_none(pair),
        class_index=None if wnid == ALL else labels.by_wnid(wnid).index,
        classes=_classes_with(words, classes) if words else None,
        answer=answer,
        confidence=confidence,
        order=order,
        seed=seed,
    )
    return Wanted(
        wanted,
        variant,
        None if versus == NOBODY else versus,
        words,
        classes,
        sum(sizes.values()),
        series,
        wording.AGREEMENT if UNLABELLED in sizes else wording.ACCURACY,
    )


def _or_none(value: str | None) -> str | None:
    return None if value == ALL else value


def _orders(variant: str | None) -> list[str]:
    if variant is None:
        return ["dataset", "random"]
    return [order for order in browse.ORDERS if order != "divergence" or variant != REFERENCE]


def _asked_answer() -> int | None:
    asked = st.query_params.get(address.ANSWER)
    if asked is None:
        return None
    by_wnid = {label.wnid: label.index for label in labels.CLASSES}
    if asked not in by_wnid:
        address.misunderstood(
            f"There is no class {address.quoted(asked)} to answer; any answer is shown instead."
        )
        return None
    return by_wnid[asked]


def _asked_confidence() -> tuple[float, float] | None:
    low = address.number_of(address.LOW, 0, low=0, high=100, what="confidence in percent")
    high = address.number_of(address.HIGH, 100, low=0, high=100, what="confidence in percent")
    if low > high:
        address.misunderstood(f"No confidence lies from {low}% to {high}%; any is shown instead.")
        return None
    return None if (low, high) == (0, 100) else (low / 100, high / 100)


def _classes_with(words: str, classes: Mapping[str, int]) -> tuple[int, ...]:
    """The classes whose words contain every one of these."""
    asked = words.lower().split()
    found = (labels.by_wnid(wnid) for wnid in classes)
    return tuple(label.index for label in found if all(word in label.words.lower() for word in asked))


# The controls


def fields(db: sqlite3.Connection, wanted: Wanted, counts: Counts) -> None:
    """Draw the controls; each choice says how many pictures it would leave."""
    if wanted.variant:
        left, right = st.columns([2, 3])
        with left:
            variant_field(wanted)
        with right:
            _verdict_field(wanted, counts)
    with st.container(horizontal=True):
        if wanted.variant and len(wanted.series) > 1:
            versus_field(db, wanted)
        if wanted.classes:
            _class_field(wanted, counts)
        _order_field(wanted)
    if wanted.versus:
        _pair_field(wanted, counts)
    asks_more = bool(wanted.words or wanted.filter.confidence or wanted.filter.order == "random")
    with st.expander("More filters", expanded=asks_more, icon=":material/tune:"):
        _more_fields(wanted)
    if wanted.filter.answer is not None:
        st.button(
            f"Only where {wanted.variant} answers {pictures.class_title(wanted.filter.answer)}",
            icon=":material/close:",
            icon_position="right",
            help="Click to show any answer again.",
            on_click=address.go,
            kwargs={address.ANSWER: None, address.PAGE: None},
        )


def variant_field(wanted: Wanted) -> None:
    st.segmented_control(
        "Variant",
        list(wanted.series),
        required=True,
        format_func=lambda name: f"{pictures.variant_mark(name)} {name}",
        help="Whose answers are held against the truth."
        if wanted.classes
        else f"Whose answers are held against {REFERENCE}'s.",
        **address.mirror(
            address.VARIANT,
            wanted.variant,
            forgetting=[address.VERSUS, address.PAIR, address.ORDER, address.ANSWER, address.PAGE],
        ),
    )


def _verdict_field(wanted: Wanted, counts: Counts) -> None:
    measure = wanted.measure
    titles = {None: "Any", "right": _capital(measure.right), "wrong": _capital(measure.wrong), "near": "Close"}
    truth = "the true one" if wanted.classes else f"{REFERENCE}'s"
    what = "the true class" if wanted.classes else f"{REFERENCE}'s answer"
    st.pills(
        "Verdict",
        [ALL, *browse.VERDICTS],
        required=True,
        format_func=lambda key: f"{titles[_or_none(key)]} ({counts.verdicts[_or_none(key)]:,})",
        help=f"{titles['right']}: the most probable class is {truth} (top-1). Close: it is not, but {what} is "
        "among the five most probable (top-5).",
        **address.mirror(address.VERDICT, wanted.filter.verdict or ALL, forgetting=[address.PAGE]),
    )


def versus_field(db: sqlite3.Connection, wanted: Wanted) -> None:
    assert wanted.filter.series is not None
    others = {name: id_ for name, id_ in wanted.series.items() if name != wanted.variant}
    differ = browse.differing(db, wanted.filter.series, others)
    st.selectbox(
        "Compare with",
        [NOBODY, *others],
        format_func=lambda name: name if name == NOBODY else f"{name} ({differ[name]:,} answers differ)",
        help="A second variant, to find the pictures on which the two part ways.",
        **address.mirror(address.VERSUS, wanted.versus or NOBODY, forgetting=[address.PAIR, address.PAGE]),
    )


def _capital(words: str) -> str:
    return words if words.startswith(REFERENCE) else words[0].upper() + words[1:]


def _pair_field(wanted: Wanted, counts: Counts) -> None:
    st.pills(
        f"{wanted.variant} and {wanted.versus}",
        [ALL, *browse.PAIRS],
        required=True,
        format_func=lambda key: f"{pair_title(key, wanted)} ({counts.pairs[_or_none(key)]:,})",
        **address.mirror(address.PAIR, wanted.filter.pair or ALL, forgetting=[address.PAGE]),
    )


def pair_title(pair: str, wanted: Wanted) -> str:
    """A comparison of two variants, in words."""
    right, wrong = wanted.measure.right, wanted.measure.wrong
    return {
        ALL: "Any",
        "agree": "Same answer",
        "lost": f"{wanted.versus} {right}, {wanted.variant} {wrong}",
        "won": f"{wanted.versus} {wrong}, {wanted.variant} {right}",
        "apart": f"Both {wrong}, different answers",
    }[pair]


def _class_field(wanted: Wanted, counts: Counts) -> None:
    by_wnid = {wnid: counts.classes.get(labels.by_wnid(wnid).index, 0) for wnid in wanted.classes}
    titles = {
        ALL: f"All {len(by_wnid):,} classes ({sum(by_wnid.values()):,})",
        **{wnid: f"{labels.by_wnid(wnid).words} ({n:,})" for wnid, n in by_wnid.items()},
    }
    index = wanted.filter.class_index
    st.selectbox(
        "True class",
        sorted(titles, key=lambda name: (name != ALL, titles[name].lower())),
        format_func=titles.__getitem__,
        help="Type a word to search.",
        **address.mirror(
            address.CLASS, ALL if index is None else labels.by_index(index).wnid, forgetting=[address.PAGE]
        ),
    )


def _order_field(wanted: Wanted) -> None:
    titles = {
        "dataset": "as measured",
        "mistakes": "surest mistakes first",
        "divergence": "farthest from fp32 first",
        "random": "shuffled",
    }
    st.selectbox(
        "Order",
        _orders(wanted.variant),
        format_func=titles.__getitem__,
        help="Farthest from fp32: by the KL divergence of the probabilities, over all 1000 classes.",
        **address.mirror(address.ORDER, wanted.filter.order, forgetting=[address.PAGE]),
    )


def _more_fields(wanted: Wanted) -> None:
    columns = iter(st.columns(1 + bool(wanted.variant) + bool(wanted.classes)))
    if wanted.classes:
        with next(columns):
            st.text_input(
                "Words",
                placeholder="ball, bottle, car …",
                help="Only classes whose words contain all of these.",
                max_chars=100,
                **address.mirror(address.WORDS, wanted.words, forgetting=[address.PAGE]),
            )
    if wanted.variant:
        with next(columns):
            low, high = wanted.filter.confidence or (0.0, 1.0)
            st.session_state["filters:confidence"] = (round(100 * low), round(100 * high))
            st.slider(
                "Confidence (%)",
                0,
                100,
                help=f"The probability that {wanted.variant} gives its first answer.",
                key="filters:confidence",
                on_change=_confidence_changed,
            )
    with next(columns):
        st.number_input(
            "Seed",
            min_value=0,
            max_value=LARGEST_SEED,
            help="Another seed shuffles the pictures another way; the same one always the same way.",
            disabled=wanted.filter.order != "random",
            **address.mirror(address.SEED, wanted.filter.seed, forgetting=[address.PAGE]),
        )


def _confidence_changed() -> None:
    low, high = st.session_state["filters:confidence"]
    is_any = (low, high) == (0, 100)
    address.go(
        **{address.LOW: None if is_any else low, address.HIGH: None if is_any else high, address.PAGE: None}
    )


# Nothing left


def offer_to_loosen(db: sqlite3.Connection, dataset_id: int, wanted: Wanted) -> None:
    """Say that no picture is left, and which filter to let go of to see some."""
    st.info(f"No picture is left: {wanted.title}.", icon=":material/filter_alt:")
    with st.container(horizontal=True):
        for facet in wanted.filter.facets:
            n = browse.count(db, dataset_id, wanted.filter.without(facet))
            if n:
                st.button(
                    f"Let go of “{_facet_title(wanted, facet)}” ({n:,})",
                    key=f"loosen-{facet}",
                    icon=":material/filter_alt_off:",
                    on_click=address.go,
                    kwargs=dict.fromkeys((*_PARAMETERS[facet], address.PAGE)),
                )
        everything = {name: None for names in _PARAMETERS.values() for name in names}
        st.button("Show all pictures", on_click=address.go, kwargs={**everything, address.PAGE: None})


def _facet_title(wanted: Wanted, facet: str) -> str:
    own = wanted.filter
    if facet == "verdict":
        right, wrong = wanted.measure.right, wanted.measure.wrong
        near = "wrong, but with the true class in the top-5" if wanted.classes else f"{wrong}, but close"
        says = {"right": right, "wrong": wrong, "near": near}
        return f"{wanted.variant} {says[own.verdict or 'right']}"
    if facet == "pair":
        return pair_title(own.pair or ALL, wanted)
    if facet == "class":
        return pictures.class_title(own.class_index or 0)
    if facet == "words":
        return f"words {address.quoted(wanted.words)}"
    if facet == "answer":
        return f"{wanted.variant} answers {pictures.class_title(own.answer or 0)}"
    low, high = own.confidence or (0.0, 1.0)
    return f"{wanted.variant} {low:.0%} to {high:.0%} sure"
