"""Why int8 breaks one layer: its channels' ranges with the int8 grid laid over them, its weights, what it
costs, and where the error grows through the depth."""

import functools
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from components import address, provenance
from components.choices import Choices
from components.diagnosis import stored
from vitquant import (
    activations,
    charts,
    diagnosis,
    diagnosis_words,
    grid,
    range_charts,
    runs,
    sensitivity_charts,
)
from vitquant.accuracy import REFERENCE
from vitquant.activations import Ranges
from vitquant.range_charts import Channels
from vitquant.runs import Run
from vitquant.sensitivity_charts import ALONE, BUT, COSTS

Row = Mapping[str, Any]

INT8_BITS = 8
ORDERS = {"sorted": "Widest first", "model": "As in the model"}
SCALES = {"linear": "Linear", "log": "Logarithmic"}


def show(db: sqlite3.Connection, chosen: Choices, variant: str) -> None:
    run = stored.diagnosis(db, chosen, variant)
    if run is None:
        return
    found = run.result or []
    [whole] = [row for row in found if row["part"] == "whole"]
    layer = _layer([row for row in found if row["part"] == "layer"])
    _costs(layer, whole, variant)
    ranges = {row["layer"]: row for row in found if row["part"] == "range"}
    if layer["layer"] in ranges:
        _ranges(db, run, ranges[layer["layer"]], whole)
    _depth([row for row in found if row["part"] == "depth"], whole, variant, layer["block"])
    provenance.of_run(run)


def _layer(rows: Sequence[Row]) -> Row:
    """Draw the choice of a layer, the most sensitive first, and answer its row."""
    ranked = sensitivity_charts.worst_first(rows, COSTS["kl"], ALONE)
    by_name = {row["layer"]: row for row in ranked}

    def in_the_list(name: str) -> str:
        row = by_name[name]
        return f"{diagnosis_words.title(row)}: {sensitivity_charts.words(row, COSTS['kl'], ALONE)}"

    name = address.value_of(address.LAYER, list(by_name), next(iter(by_name)), what="layer")
    st.selectbox(
        "Layer, the most sensitive first",
        list(by_name),
        format_func=in_the_list,
        width=320,
        **address.mirror(address.LAYER, name),
    )
    return by_name[name]


def _costs(row: Row, whole: Row, variant: str) -> None:
    """What the layer costs, both ways round, beside the whole variant."""
    lines = [
        f"- {words}: top-1 lost {_both(row, direction)}"
        for words, direction in (
            (f"This layer alone as in {variant}", ALONE),
            (f"All but this layer as in {variant}", BUT),
        )
    ]
    lost = sensitivity_charts.whole_value(whole, COSTS["lost"])
    lines.append(
        f"- All of {variant}: top-1 lost {COSTS['lost'].form.format(lost)}, "
        f"{COSTS['kl'].form.format(whole['kl_nats'])} of KL. On {whole['n']:,} pictures, 95% intervals."
    )
    st.markdown("\n".join(lines))


def _both(row: Row, direction: str) -> str:
    lost, kl = (sensitivity_charts.words(row, COSTS[name], direction) for name in ("lost", "kl"))
    return f"{lost}, {kl} of KL"


# Ranges


def _ranges(db: sqlite3.Connection, run: Run, row: Row, whole: Row) -> None:
    st.subheader("What comes in, channel by channel", anchor=False)
    st.markdown(f"**{diagnosis_words.of_range(row)}**")
    content = runs.attachment(db, run.id, diagnosis.RANGES)
    if content is None:
        st.caption("The channels themselves were not kept with this run: measure it again to see them.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        order = address.value_of(address.ARRANGED, list(ORDERS), "sorted", what="order of channels")
        st.segmented_control(
            "Channels",
            list(ORDERS),
            required=True,
            format_func=ORDERS.__getitem__,
            **address.mirror(address.ARRANGED, order),
        )
        scale = address.value_of(address.SCALE, list(SCALES), "linear", what="scale")
        st.segmented_control(
            "Scale",
            list(SCALES),
            required=True,
            format_func=SCALES.__getitem__,
            **address.mirror(address.SCALE, scale),
        )
    ranges = diagnosis.ranges_of(content, row["layer"])
    taken, weights = _channels(ranges, order)
    levels = row["levels"]
    low, high = float(taken.low.min()), float(taken.high.max())
    step = None if levels is None else float(grid.step(low, high, levels))
    draw = range_charts.magnitudes if scale == "log" else range_charts.activations
    alt = range_charts.channels_alt(taken, step)
    whole_range = functools.partial(
        st.plotly_chart, draw(taken, step), config=charts.CONFIG, alt=alt, key="ranges-all"
    )
    if step is not None and taken.outlier.any():
        left, right = st.columns(2, gap="medium")
        with left:
            st.markdown("**All of them**")
            whole_range()
        with right:
            st.markdown("**The ordinary ones up close**")
            st.plotly_chart(
                range_charts.close_up(taken, step), config=charts.CONFIG, alt=alt, key="ranges-close"
            )
    else:
        whole_range()
    st.caption(_what_is_drawn(levels, step, whole["n"]))
    st.subheader("What they are multiplied with", anchor=False)
    st.plotly_chart(
        range_charts.weights(weights),
        config=charts.CONFIG,
        alt=range_charts.weights_alt(weights),
        key="weights",
    )
    st.caption(
        "The least and the largest weight that takes each channel, in the same order"
        + (", the activations' outliers marked" if taken.outlier.any() else "")
        + f". The largest magnitude is {row['weight_absmax']:.3g}, the median channel's "
        f"{row['weight_ordinary']:.3g}."
    )


def _what_is_drawn(levels: int | None, step: float | None, pictures: int) -> str:
    drawn = f"The least and the largest activation of each channel over {pictures:,} pictures, in float32."
    if levels is None or step is None:
        return f"{drawn} This variant does not round them."
    bits = grid.bits(levels)
    kept = (
        " int8 has 8 bits, of which torch's kernel leaves one unused for activations here (`reduce_range`): on "
        "CPUs without VNNI the sums of 8-bit products would overflow."
        if bits < INT8_BITS
        else ""
    )
    return (
        f"{drawn}{kept} Lines: the levels of int8, {step:.3g} apart; shaded: what is rounded to zero. torch's "
        f"kernel has {levels:,} levels ({bits:g} bits; read off the kernel itself), spread from the "
        "least to the largest activation of the whole layer. It takes each picture's own; drawn is the widest."
    )


def _channels(ranges: Ranges, order: str) -> tuple[Channels, Channels]:
    """Activations and weights of each input channel, in the order that was chosen."""
    number = np.arange(len(ranges.act_min))
    outlier = activations.outliers(ranges)
    taken = Channels(ranges.act_min, ranges.act_max, number, outlier)
    weights = Channels(ranges.weight_min, ranges.weight_max, number, outlier)
    if order == "model":
        return taken, weights
    widest_first = range_charts.widest_first(taken)
    return taken.put_in(widest_first), weights.put_in(widest_first)


# Depth


def _depth(rows: Sequence[Row], whole: Row, variant: str, block: int | None) -> None:
    if not rows:
        return
    st.subheader("Where the error grows", anchor=False)
    left, right = st.columns(2, gap="medium")
    alt = range_charts.depth_alt(rows)
    with left:
        st.plotly_chart(
            range_charts.depth(rows, variant, block), config=charts.CONFIG, alt=alt, key="depth-cosine"
        )
    with right:
        st.plotly_chart(
            range_charts.depth_noise(rows, variant, block), config=charts.CONFIG, alt=alt, key="depth-noise"
        )
    st.caption(
        f"The tokens after each block, of {REFERENCE} and of the whole of {variant}, mean of {whole['n']:,} "
        "pictures: the cosine of the class token and of the patches, 1 being the same direction, and the "
        "signal-to-quantization-noise ratio of all tokens."
        + ("" if block is None else f" Dashed: block {block}, which the layer belongs to.")
    )
