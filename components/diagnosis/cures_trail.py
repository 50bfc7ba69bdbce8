"""How a calibrated variant was found: on which pictures, what was tried, what was kept; and the click that
calibrates it, with the limit that it is to keep."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from components import address, choices, provenance, queue, readonly
from components.choices import Choices
from vitquant import calibration, charts, cure_charts, cure_words, fits, room, units, variants, weights
from vitquant.errors import InputError
from vitquant.fits import Fit
from vitquant.measurements import AccuracyRequest, CalibrationRequest
from vitquant.runs import Rows

FIRST = "qint8_best"
LEAST_LIMIT, LARGEST_LIMIT, LIMIT_STEP = 0.1, 5.0, 0.1

COLUMNS = {
    "step": "step",
    "mean_kl_nats": "KL (nats)",
    "points_lost": "points lost",
    "top1": "top-1",
    "broken": "broken",
    "fixed": "fixed",
    "weight_bytes": "Linear weights (MB)",
    "in_float": "layers in float",
    "kept": "kept",
    "why": "because",
}


def show(db: sqlite3.Connection, chosen: Choices) -> None:
    st.subheader("How it was found", anchor=False)
    name = _variant()
    recipe = variants.recipe(name)
    limit = (recipe.settings or {}).get("limit")
    fit, changes = _fit(db, chosen, name)
    request = CalibrationRequest(
        chosen.subject.model, chosen.subject.weights, (name,), chosen.subject.dataset, chosen.subject.image_size
    )
    if fit is None:
        _calibrate(chosen, request, limit)
        return
    provenance.stale({name: changes} if changes else {}, again=request)
    _found(fit, limit, chosen)
    _trail(fit)
    _measure(chosen, name)
    provenance.details(
        f"**{name}**, calibrated on {fit.calibration.title()} · {provenance.when(fit.made_at)}",
        fit.environment,
        {
            "model": fit.model,
            "calibrated on": fit.calibration.title(),
            "recipe": f"{name}, version {fit.recipe_version}",
            "found": provenance.when(fit.made_at),
        },
    )


def _variant() -> str:
    """Draw the choice of a calibrated variant, and of the limit where it keeps one; answer its name with it."""
    names = [name for name in variants.calibrated() if name in choices.usable_variants()]
    own = address.value_of(address.CURE, names, FIRST, what="calibrated variant")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.segmented_control(
            "Calibrated variant",
            names,
            required=True,
            **address.mirror(address.CURE, own),
        )
        if "limit" not in (variants.RECIPES[own].settings or {}):
            return own
        limit = _limit()
        st.number_input(
            "Points that may be lost",
            LEAST_LIMIT,
            LARGEST_LIMIT,
            step=LIMIT_STEP,
            format="%.1f",
            width=190,
            help="Percentage points of top-1 against fp32, on training pictures. The fewest layers that have "
            "to stay in float for that are looked for.",
            **address.mirror(address.LIMIT, limit),
        )
    return variants.recipe(f"{own}:limit={limit:g}").name


def _limit() -> float:
    """The limit that the address names, to a tenth of a point, else the usual one."""
    asked = st.query_params.get(address.LIMIT)
    if asked is None:
        return variants.USUAL_LIMIT
    try:
        found = round(float(asked), 1)
    except ValueError:
        found = float("nan")
    if LEAST_LIMIT <= found <= LARGEST_LIMIT:
        return found
    address.misunderstood(
        f"{address.quoted(asked)} is no limit, which goes from {LEAST_LIMIT:g} to {LARGEST_LIMIT:g} points; "
        f"{variants.USUAL_LIMIT:g} is taken instead."
    )
    return variants.USUAL_LIMIT


def _fit(db: sqlite3.Connection, chosen: Choices, name: str) -> tuple[Fit | None, tuple[str, ...]]:
    """What is stored of a calibration, and what has changed since: that on today's pictures first."""
    subject = chosen.subject
    if chosen.today.weights_digest is None:
        return None, ()
    source, size = weights.resolve(subject.model, subject.weights), subject.image_size
    try:
        wanted = fits.wanted(db, source, (name,), subject.dataset, size)[name]
    except InputError:  # the training pictures are not here: what was found on them may be
        wanted = None
    if wanted and (fit := fits.find(db, wanted.key)):
        return fit, ()
    on, _ = calibration.source_of(subject.dataset)
    for fit in fits.of_model(db, subject.model, chosen.today.weights_digest):
        if (fit.variant, fit.calibration.dataset, fit.calibration.image_size) == (name, on, size):
            now = variants.recipe(name).version
            if fit.recipe_version != now:
                return fit, (f"the recipe (version {fit.recipe_version} then, {now} now)",)
            return fit, ("the training pictures" + ("" if wanted else ", which are no longer here"),)
    return None, ()


def _found(fit: Fit, limit: float | None, chosen: Choices) -> None:
    if left := cure_words.left_in_float(fit.parameters, fit.model):
        st.markdown(left)
    st.markdown(cure_words.outcome(fit.trail, limit))
    if lines := cure_words.parameters(fit.parameters):
        st.markdown("\n".join(f"- {line}" for line in lines))
    if chosen.subject.is_random:
        st.caption("With random weights no answer is right: fp32's count as the truth.")


def _trail(fit: Fit) -> None:
    st.plotly_chart(
        cure_charts.trail(fit.trail, fit.variant),
        config=charts.CONFIG,
        alt=cure_charts.trail_alt(fit.trail),
        key="cures-trail",
    )
    drawn = min(len(fit.trail), cure_charts.MOST_DRAWN)
    some = "" if drawn == len(fit.trail) else f" The first {drawn} of {len(fit.trail)}; the table has them all."
    st.caption(
        f"Every candidate in the order in which it was built and measured on {fit.calibration.judges:,} "
        f"training pictures; filled: kept. To the left: closer to fp32's answers.{some} Points lost are by how "
        "much the mean probability of the right class falls: counted answers would move in steps of "
        f"{100 / fit.calibration.judges:.1f} points."
    )
    with st.expander(f"All {len(fit.trail)} candidates", icon=":material/table:"):
        table = _table(fit.trail)
        st.dataframe(
            table,
            hide_index=True,
            column_config={
                "KL (nats)": st.column_config.NumberColumn(format="%.3g"),
                "points lost": st.column_config.NumberColumn(format="%.2f"),
                "top-1": st.column_config.NumberColumn(format="percent"),
                "Linear weights (MB)": st.column_config.NumberColumn(format="%.2f"),
            },
            alt=cure_charts.trail_alt(fit.trail),
        )
        st.download_button(
            "Download as CSV",
            table.to_csv(index=False),
            file_name=f"{fit.model}-{fit.variant.replace(':', '-')}-trail.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="cures-trail-csv",
        )


def _table(trail: Rows | Sequence[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(list(trail))[list(COLUMNS)]
    return table.assign(weight_bytes=table["weight_bytes"] / units.MB).rename(columns=COLUMNS)


# Clicks


def _calibrate(chosen: Choices, request: CalibrationRequest, limit: float | None) -> None:
    """Say that it is not calibrated yet, with the button that does it."""
    [name] = request.variants
    subject = chosen.subject
    nothing = f"{name} is not calibrated yet for this model, these weights and {subject.dataset}."
    if readonly.is_on():
        st.info(nothing, icon=":material/hourglass_empty:")
        return
    with st.container(border=True):
        words, button = st.columns([3, 2], vertical_alignment="center")
        if chosen.today.weights_digest is None:
            words.markdown(f"{nothing} The weights are not here, either.")
            return
        if too_large := room.memory_problem(subject.model, request.kind):
            words.markdown(f"{nothing} {too_large}")
            return
        source, _ = calibration.source_of(subject.dataset)
        words.markdown(
            f"{nothing} Candidates are built and judged on training pictures of {source}, in the background: "
            "under a minute with the sample, minutes with ViT-B."
        )
        with button:
            queue.offer(
                "Calibrate"
                if limit is None
                else f"Find the cheapest mix that loses at most {limit:g} points"
                if variants.own_name(name) == "qint8_mixed"
                else f"Search, losing at most {limit:g} points",
                request,
                type="primary",
                icon=":material/play_arrow:",
                width="stretch",
                key="cures-calibrate",
            )


def _measure(chosen: Choices, name: str) -> None:
    """The accuracy of a variant that has been calibrated and not measured."""
    subject, answers = chosen.subject, chosen.answers
    if (answers and name in answers.series) or not chosen.pictures_here or readonly.is_on():
        return
    # On the pictures that the others have answered, so that they can be compared.
    pictures = answers.answered if answers and not answers.shipped else choices.FIRST_PICTURES
    request = AccuracyRequest(
        model=subject.model,
        weights=subject.weights,
        variants=("fp32", "qint8", name),
        dataset=subject.dataset,
        limit=pictures,
        image_size=subject.image_size,
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{name} is found, and not measured yet on pictures of {subject.dataset}.", width="content")
        queue.offer(
            f"Measure it on {pictures:,} pictures",
            request,
            icon=":material/play_arrow:",
            key="cures-measure-found",
        )
