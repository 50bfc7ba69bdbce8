"""The budget that a visitor sets: a preset with its source, or three sliders. All of it lies in the address."""

from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from components import address
from vitquant import budget, units
from vitquant.budget import DISK, LATENCY, MEMORY, Budget
from vitquant.errors import InputError
from vitquant.presets import PRESETS

T = TypeVar("T")

OWN = "own"
NO_LIMIT = "none"

FIRST_DISK_BYTES = 64 * units.MB
"""What is set at first sight: of the three only disk is known of what comes with the project."""

# Roughly doubling, with the round numbers that people name.
BYTE_STEPS = (
    1, 2, 4, 8, 10, 16, 20, 25, 32, 50, 64, 80, 100, 128, 150, 200, 256, 300, 400, 500, 750, 1000, 1500, 2000,
    3000, 5000, 10000,
)  # fmt: skip
MILLISECOND_STEPS = (1, 2, 5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 5000)

NAMES = {DISK: address.DISK, MEMORY: address.MEMORY, LATENCY: address.LATENCY}
TITLES = {DISK: "Disk", MEMORY: "Memory", LATENCY: "Time for one picture"}
HELP = {
    DISK: budget.WHAT_DISK_IS,
    MEMORY: f"{budget.WHAT_MEMORY_IS}.",
    LATENCY: "The median time of one picture, on the machine where it was measured.",
}


def choose_preset() -> str:
    """Draw the choice of what has to hold the model, and answer its name: OWN or one of the presets."""
    names = [OWN, *PRESETS]
    preset = address.value_of(address.PRESET, names, OWN, what="preset", instead="what fits your own limits is")
    st.selectbox(
        "What has to hold it",
        names,
        format_func=lambda name: PRESETS[name].title if name in PRESETS else "My own limits",
        help="Limits that somebody has published, with their source; moving a slider makes them your own.",
        **address.mirror(address.PRESET, preset, forgetting=list(NAMES.values())),
    )
    return preset


def choose(preset: str, unit: int) -> Budget:
    """Draw the sliders, and answer the budget that they and the preset mean. unit: MB or MIB, for the bytes."""
    if preset in PRESETS:
        asked = PRESETS[preset].budget
        _say_where_from(preset)
        _leave_aside(PRESETS[preset].title)
    else:
        asked = _from_address()
    with st.grid("auto", min_column_width=230, gap="medium"):
        for what in NAMES:
            _slider(what, asked.limits.get(what), unit)
    return asked


def _say_where_from(preset: str) -> None:
    chosen = PRESETS[preset]
    links = ", ".join(f"[{source.title}]({source.url})" for source in chosen.sources)
    st.caption(f"{chosen.says} Source: {links}.")


def _leave_aside(title: str) -> None:
    """A preset and limits beside it in one address contradict each other."""
    aside = [name for name in NAMES.values() if name in st.query_params]
    if aside:
        address.misunderstood(
            f"The limits of {title!r} are taken; {budget.listed(f'`{name}`' for name in aside)} beside them do "
            "not count."
        )


def _from_address() -> Budget:
    return Budget(
        disk_bytes=_limit(DISK, budget.parse_bytes, FIRST_DISK_BYTES, "64MB"),
        memory_bytes=_limit(MEMORY, budget.parse_bytes, None, "200MB"),
        latency_s=_limit(LATENCY, budget.parse_seconds, None, "150ms"),
    )


def _limit(what: str, parse: Callable[[str], T], default: T | None, example: str) -> T | None:
    """The limit that the address names, else the default; None is no limit."""
    text = st.query_params.get(NAMES[what])
    if text is None:
        return default
    if text == NO_LIMIT:
        return None
    try:
        return parse(text)
    except InputError:
        instead = "no limit is" if default is None else f"{example} is"
        address.misunderstood(
            f"{address.quoted(text)} is no limit for {what}, as {example} or {NO_LIMIT} are; {instead} taken "
            "instead."
        )
        return default


def _slider(what: str, limit: float | None, unit: int) -> None:
    steps = _steps(what, unit)
    if limit is not None:
        steps = sorted({*steps, limit})  # a preset's limit, or an address's, lies between the steps
    by_text: dict[str, float | None] = {_text(what, step, unit): step for step in steps}
    by_text[NO_LIMIT] = None
    key = address.key_of(NAMES[what])
    st.session_state[key] = NO_LIMIT if limit is None else _text(what, limit, unit)

    def shown(text: str) -> str:
        step = by_text[text]
        return "no limit" if step is None else budget.words(what, step, unit)

    st.select_slider(TITLES[what], list(by_text), format_func=shown, help=HELP[what], key=key, on_change=_moved)


def _moved() -> None:
    """A slider was moved: what all three show is now one's own."""
    limits = {name: st.session_state[address.key_of(name)] for name in NAMES.values()}
    address.go(**limits, **{address.PRESET: None})


def _steps(what: str, unit: int) -> list[float]:
    if what == LATENCY:
        return [step / 1000 for step in MILLISECOND_STEPS]
    return [float(step * unit) for step in BYTE_STEPS]


def _text(what: str, figure: float, unit: int) -> str:
    """A limit as the address has it: what budget.parse_bytes and parse_seconds read."""
    if what == LATENCY:
        return f"{1000 * figure:.6g}ms"
    for size, name in sorted(((units.MB, "MB"), (units.MIB, "MiB")), key=lambda one: one[0] != unit):
        if figure % size == 0:
            return f"{figure / size:.0f}{name}"
    return f"{figure:.0f}B"
