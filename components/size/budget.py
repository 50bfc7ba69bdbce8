"""What fits: a budget of disk, memory and time, the variants that keep within it, and a click that measures
what was not."""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import groupby

import streamlit as st

from components import choices, costs, provenance, queue, readonly
from components.choices import Choices
from components.size import cards, limits, stored
from vitquant import budget, candidates, catalog, machine, runs, sample, units
from vitquant.budget import FITS, TOO_MUCH, UNKNOWN, Budget, Judged, listed
from vitquant.candidates import Candidate
from vitquant.gallery import Subject
from vitquant.measurements import LatencyRequest, SizeRequest
from vitquant.request import Request

CARDS_SHOWN = 6
OFFERS_SHOWN = 2
"""Of more than these the rest is folded away."""


def show(db: sqlite3.Connection, chosen: Choices) -> None:
    left, right = st.columns([4, 1])
    with right:
        unit = stored.unit()
    with left:
        preset = limits.choose_preset()
    asked = limits.choose(preset, unit)
    subject = chosen.subject
    found = candidates.find(db, subject.dataset, subject.image_size, chosen.today.dataset_digest)
    judged = budget.ranked(found, asked)
    cards.style_sheet()
    with st.container(border=True, key="budget-answer"):
        st.markdown("\n\n".join(budget.answer_sentences(judged, asked, unit)))
        st.caption(
            f"All models and variants, by what they recognise of {catalog.dataset(subject.dataset).title} at "
            f"{subject.image_size} × {subject.image_size} pixels{_others_sizes(found)}. "
            f"{' '.join(_what_figures_mean(found, unit))}"
        )
    fitting, unknown, too_much = (
        [one for one in judged if one[1].answer == answer] for answer in (FITS, UNKNOWN, TOO_MUCH)
    )
    beside = budget.runtime_beyond(judged, asked) is not None
    _section("Would fit beside a smaller runtime" if beside else "Fits", fitting, asked, unit)
    _section("Not known yet", [one for one in unknown if one[0].is_measured], asked, unit)
    _not_measured(db, chosen, judged)
    _too_much(too_much, asked, unit, unfolded=not fitting)
    _measured_on(found)


def _others_sizes(found: Sequence[Candidate]) -> str:
    """That some models are at another size than was asked for."""
    is_any = any(one.is_at_another_size for one in found)
    return ", or, where a model's patches do not fit that, at the size that is named with it" if is_any else ""


def _what_figures_mean(found: Sequence[Candidate], unit: int) -> list[str]:
    """What the limits are held against: whose memory, whose time."""
    baselines = [one.baseline_bytes for one in found if one.baseline_bytes is not None]
    beyond = budget.WHAT_MEMORY_IS
    if baselines:
        before = units.bytes_words(max(baselines), unit)
        beyond += f"; that process itself takes up to {before} before it loads any model"
    timed_on = dict.fromkeys(
        one.origins["latency"].machine for one in found if "latency" in one.origins and one.latency_s
    )
    where = "; ".join(timed_on) or f"this machine ({machine.machine_name()})"
    return [
        budget.WHAT_DISK_IS,
        f"{beyond}.",
        f"Times are those of {where}, not of the device that you have in mind.",
    ]


def _section(title: str, judged: Sequence[Judged], asked: Budget, unit: int) -> None:
    if not judged:
        return
    st.subheader(f"{title} ({len(judged)})", anchor=False)
    cards.show(judged[:CARDS_SHOWN], asked, unit)
    if rest := judged[CARDS_SHOWN:]:
        with st.expander(f"{len(rest)} more"):
            cards.show(rest, asked, unit)


def _too_much(judged: Sequence[Judged], asked: Budget, unit: int, *, unfolded: bool) -> None:
    if not judged:
        return
    measured = [one for one in judged if one[0].is_measured]
    with st.expander(
        f"{len(judged)} do not fit", expanded=unfolded and bool(measured), icon=":material/close:"
    ):
        if measured:
            cards.show(measured, asked, unit)
        computed: dict[str, list[str]] = {}
        for candidate, verdict in judged:
            if not candidate.is_measured:
                least = units.bytes_words(verdict.broken[0].figure, unit)
                computed.setdefault(candidate.model, []).append(f"{candidate.variant} {least}")
        if computed:
            st.caption("Not measured, but computed from their numbers alone: on disk they take at least")
            st.caption("\n".join(f"- {model}: {', '.join(least)}" for model, least in computed.items()))


# What was not measured


def _not_measured(db: sqlite3.Connection, chosen: Choices, judged: Sequence[Judged]) -> None:
    """What is missing of whatever may fit, by model, with a click that measures it."""
    may_fit = [candidate for candidate, verdict in judged if verdict.answer != TOO_MUCH]
    # Models that can be measured as they are come first, the small before the large.
    may_fit.sort(
        key=lambda one: (not one.weights_here, catalog.model(one.model).parameters, one.model, one.weights)
    )
    groups = [list(of) for _, of in groupby(may_fit, key=lambda one: (one.model, one.weights))]
    lacking = [of for of in groups if _missing(of)]
    if not lacking:
        return
    st.subheader("What was not measured", anchor=False)
    active = {
        (run.request["model"], run.request["weights"]) for run in runs.find(db, states=("queued", "running"))
    }
    for of in lacking[:OFFERS_SHOWN]:
        _offer(db, chosen, of, active)
    if rest := lacking[OFFERS_SHOWN:]:
        with st.expander("1 more model" if len(rest) == 1 else f"{len(rest)} more models"):
            for of in rest:
                _offer(db, chosen, of, active)


def _missing(of: Sequence[Candidate]) -> dict[str, list[str]]:
    """The variants that lack a figure, by figure."""
    lacking = {
        "disk": [one.variant for one in of if one.disk_bytes is None],
        "memory": [one.variant for one in of if one.memory_bytes is None],
        "time": [one.variant for one in of if one.latency_s is None],
        "accuracy": [one.variant for one in of if one.accuracy is None],
    }
    return {figure: variants for figure, variants in lacking.items() if variants}


def _offer(
    db: sqlite3.Connection,
    chosen: Choices,
    of: Sequence[Candidate],
    active: set[tuple[str, str]],
) -> None:
    first, missing = of[0], _missing(of)
    spec = catalog.model(first.model)
    # Without the model's own weights, random ones give the real size and speed.
    source = first.weights if first.weights_here else "random"
    requests, why_not = _requests(db, chosen, first, source, missing)
    with st.container(border=True, key=f"offer-{first.model}-{first.weights}"):
        words, button = st.columns([3, 2], vertical_alignment="center")
        words.markdown(
            f"**{first.model}** · {spec.parameters / 1e6:,.1f} million numbers · "
            f"{choices.weights_phrase(first.weights)}  \nNot measured: {_listed_missing(missing)}."
        )
        for sentence in why_not:
            words.caption(sentence)
        if requests and not readonly.is_on():
            is_active = (first.model, source) in active
            title = _button_title(requests, missing, stand_in=source != first.weights)
            button.button(
                "Being measured" if is_active else title,
                key=f"measure-{first.model}-{first.weights}",
                on_click=_start,
                args=(requests,),
                disabled=is_active,
                icon=":material/play_arrow:",
                width="stretch",
            )


def _listed_missing(missing: dict[str, list[str]]) -> str:
    """What of which variants: "disk and time of qint8; accuracy of fp32, qint8"."""
    figures: dict[tuple[str, ...], list[str]] = {}
    for figure, variants in missing.items():
        figures.setdefault(tuple(variants), []).append(figure)
    return "; ".join(f"{listed(of)} of {', '.join(variants)}" for variants, of in figures.items())


_FIGURES = {"size": ("disk", "memory"), "latency": ("time",), "accuracy": ("accuracy",)}


def _button_title(requests: Sequence[Request], missing: Iterable[str], *, stand_in: bool) -> str:
    if stand_in:
        return "Measure with random weights"
    return f"Measure {listed(f for r in requests for f in _FIGURES[r.kind] if f in missing)}"


def _requests(
    db: sqlite3.Connection, chosen: Choices, of: Candidate, source: str, missing_of: dict[str, list[str]]
) -> tuple[list[Request], list[str]]:
    """What measures what is missing, with weights from source, and sentences about what cannot be measured as
    things are. What is not calibrated yet waits for that: a click here is to take minutes at most."""
    subject = chosen.subject
    looked_at = Subject(of.model, source, subject.dataset, of.image_size)
    ready = tuple(choices.ready_variants(db, looked_at))
    missing = {figure for figure, variants in missing_of.items() if set(variants) & set(ready)}
    waiting = dict.fromkeys(name for variants in missing_of.values() for name in variants if name not in ready)
    why_not = []
    if not of.weights_here:
        stand_in = (
            ""
            if missing == {"accuracy"}
            else (" Size and time can be measured with random weights, which take as much.")
        )
        why_not.append(f"{_how_to_get(of, subject.dataset)}{stand_in}")
    if waiting:
        why_not.append(f"To be calibrated first, by the Cures on the Diagnosis page: {', '.join(waiting)}.")
    requests: list[Request] = []
    if missing & {"disk", "memory"}:
        requests.append(SizeRequest(of.model, source, ready))
    if "time" in missing:
        shapes, threads = (f"1x{of.image_size}",), (machine.default_threads(),)
        requests.append(LatencyRequest(of.model, source, ready, shapes, threads, costs.SECONDS_PER_SHAPE))
    if "accuracy" in missing and of.weights_here:
        if chosen.pictures_here:
            requests.append(choices.first_accuracy_request(db, looked_at))
        else:
            why_not.append(
                f"The accuracy needs the pictures of {subject.dataset}: the page Data and models can bring "
                "them in."
            )
    return requests, why_not


def _how_to_get(of: Candidate, dataset: str) -> str:
    """Why the accuracy cannot be measured, and what brings the weights."""
    if of.weights == "hub":
        command = f"python -m vitquant benchmark accuracy --model {of.model} --dataset {dataset}"
        return f"The accuracy needs the weights, which are not here: `{command}` fetches them."
    if of.weights == "bundled":
        return f"The accuracy needs the weights, which are not here. {sample.REMEDY}"
    return f"The accuracy needs the weights, and their folder is gone: `{of.weights}`."


def _start(requests: Sequence[Request]) -> None:
    for request in requests:
        # What is missing of a size or a time was measured too noisily, or before it was taken: again, then.
        queue.start(request, again=request.kind != "accuracy")


# What it was measured on


def _measured_on(found: Sequence[Candidate]) -> None:
    """For every model and kind of figure: the machine, when, and whether that was elsewhere or is stale."""
    origins = {
        (one.model, candidates.RANDOM if origin.random_weights else one.weights, kind, origin): None
        for one in found
        for kind, origin in one.origins.items()
    }
    if not origins:
        return
    stale = {
        f"{model}, {choices.weights_phrase(source)} ({kind})": origin.changes
        for model, source, kind, origin in origins
        if origin.changes
    }
    provenance.stale(stale)
    if any(origin.shipped for *_, origin in origins):
        st.caption(
            ":material/inventory_2: What a card calls shipped came with vitquant and was measured elsewhere."
        )
    with st.expander("What this was measured on", icon=":material/info:"):
        st.markdown(
            "\n".join(
                f"- {kind} of **{model}**, {choices.weights_phrase(source)}: "
                f"{provenance.when(origin.measured_at)}, on {origin.machine or 'a machine without a name'}"
                f"{', shipped with vitquant' if origin.shipped else ''}{', stale' if origin.changes else ''}"
                for model, source, kind, origin in origins
            )
        )
