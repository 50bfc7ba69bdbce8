"""The address as the one place where a visitor's choices live, so that a link shows what its sender sees.

A widget mirrors a query parameter: it is set from the address before it is drawn, and writes the address
when it is changed. What another page has chosen is remembered for the visit, since Streamlit's navigation
drops the query. All names of query parameters are made here.
"""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import streamlit as st

T = TypeVar("T")

MODEL, WEIGHTS, DATASET, SIZE = "model", "weights", "dataset", "size"
MEASURED, PAGE, PICTURE, UNIT, BESIDE, SHOWN = "measured", "page", "picture", "unit", "beside", "shown"
COST, STEP = "cost", "step"
BITS, GRANULARITY = "bits", "granularity"
RUN, FIRST, SECOND, FIGURE = "run", "first", "second", "figure"
PRESET, DISK, MEMORY, LATENCY = "preset", "disk", "memory", "latency"
WITH, AT, BYTES, FORMAT, GROUP = "with", "at", "bytes", "format", "group"
LAYER, QUANTIZED, BY, ARRANGED, SCALE = "layer", "quantized", "by", "arranged", "scale"
FACTOR, CHANNELS, BLOCK, HEAD = "factor", "channels", "block", "head"
CURE, LIMIT = "cure", "limit"
VARIANT, VERDICT, VERSUS, PAIR, ANSWER = "variant", "verdict", "versus", "pair", "answer"
CLASS, WORDS, LOW, HIGH, ORDER, SEED, VIEW = "class", "words", "from", "to", "order", "seed", "view"

_SUBJECT = {MODEL, WEIGHTS, DATASET, SIZE, MEASURED}
_FILTER = {VARIANT, VERDICT, VERSUS, PAIR, ANSWER, CLASS, WORDS, LOW, HIGH, ORDER, SEED}
KNOWN = _SUBJECT | _FILTER | {PAGE, PICTURE, UNIT, BESIDE, SHOWN, COST, STEP, VIEW}
KNOWN |= {RUN, FIRST, SECOND, FIGURE}
KNOWN |= {BITS, GRANULARITY}
KNOWN |= {PRESET, DISK, MEMORY, LATENCY}
KNOWN |= {WITH, AT, BYTES, FORMAT, GROUP}
KNOWN |= {LAYER, QUANTIZED, BY, ARRANGED, SCALE}
KNOWN |= {FACTOR, CHANNELS, BLOCK, HEAD}
KNOWN |= {CURE, LIMIT}

_REMEMBERED = {MODEL, WEIGHTS, DATASET, SIZE, MEASURED, UNIT, VARIANT}
_SPELLED_OUT = _REMEMBERED | {VERDICT, VERSUS, ORDER}
"""Written to the address even where nobody chose them, so that a link still shows the same when the
defaults have changed."""

OF_THE_ANSWERS = (MEASURED, VARIANT, VERDICT, VERSUS, PAIR, ANSWER, LOW, HIGH, PAGE, LAYER)
"""What loses its meaning when other answers are looked at."""

_MISUNDERSTOOD = "address:misunderstood"


def key_of(name: str) -> str:
    """The session-state key of the widget that mirrors this query parameter."""
    return f"address:{name}"


def begin() -> None:
    """Start a script run: nothing has been misunderstood yet but names that no page knows."""
    st.session_state[_MISUNDERSTOOD] = []
    for name in st.query_params:
        if name not in KNOWN and not name.startswith("embed"):
            misunderstood(f"{quoted(name)} is nothing that this page knows; it was left aside.")


def misunderstood(sentence: str) -> None:
    """Note what the address asks for that there is not, for show_misunderstood."""
    st.session_state[_MISUNDERSTOOD].append(sentence)


def show_misunderstood() -> None:
    """Say what in the address was not understood."""
    sentences = st.session_state[_MISUNDERSTOOD]
    if sentences:
        st.warning("From the address: " + " ".join(sentences), icon=":material/link_off:")


def quoted(text: str) -> str:
    """Text from the address as harmless Markdown: short, on one line, without markup."""
    plain = re.sub(r"[`\s]+", " ", text).strip()
    return f"`{plain[:60]}{'…' if len(plain) > 60 else ''}`" if plain else "an empty value"


def value_of(name: str, options: Sequence[T], default: T, *, what: str, instead: str = "") -> T:
    """The option that the address names, else the one chosen before in this visit, else the default.

    options and their str() are what the address may say. what: names the parameter in the sentence about
    a value that is none of them; instead: what is then shown, with its verb.
    """
    asked = st.query_params.get(name)
    value = default
    if asked is not None:
        by_text = {str(option): option for option in options}
        if asked in by_text:
            value = by_text[asked]
        else:
            shown = instead or f"{quoted(str(default))} is"
            misunderstood(f"There is no {what} {quoted(asked)} here; {shown} shown instead.")
    elif name in _REMEMBERED and st.session_state.get(_memory(name)) in options:
        value = st.session_state[_memory(name)]
    _keep(name, value)
    return value


def number_of(name: str, default: int, *, low: int, high: int, what: str) -> int:
    """The whole number that the address names, from low to high, else the default."""
    asked = st.query_params.get(name)
    if asked is None:
        return default
    number = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else -1
    if low <= number <= high:
        return number
    misunderstood(
        f"{quoted(asked)} is no {what}, which goes from {low:,} to {high:,}; {default} is taken instead."
    )
    return default


def mirror(name: str, value: object, *, forgetting: Sequence[str] = ()) -> dict[str, Any]:
    """The arguments that make a widget show this value and write the address when it is changed.

    forgetting: other parameters that lose their meaning when this one changes.
    """
    st.session_state[key_of(name)] = value
    return {"key": key_of(name), "on_change": _widget_changed, "args": (name, tuple(forgetting))}


def go(**values: object) -> None:
    """Set query parameters (None removes one): for buttons' on_click."""
    for name, value in values.items():
        if value is None:
            st.query_params.pop(name, None)
        else:
            st.query_params[name] = str(value)


def _widget_changed(name: str, forgetting: tuple[str, ...]) -> None:
    for other in forgetting:
        st.query_params.pop(other, None)
        st.session_state.pop(_memory(other), None)
    value = st.session_state[key_of(name)]
    go(**{name: None if value == "" else value})


def _keep(name: str, value: object) -> None:
    """Spell the choice out in the address and remember it."""
    if name in _REMEMBERED:
        st.session_state[_memory(name)] = value
    if name in _SPELLED_OUT and st.query_params.get(name) != str(value):
        st.query_params[name] = str(value)


def _memory(name: str) -> str:
    return f"remembered:{name}"
