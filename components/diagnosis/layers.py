"""Which layers int8 breaks: the model as a map, the worst layers as bars, by kind and by block, and a table."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from components import address, provenance
from components.choices import Choices
from components.diagnosis import stored
from vitquant import catalog, charts, diagnosis_words, layers, sensitivity_charts
from vitquant.accuracy import REFERENCE
from vitquant.runs import Run
from vitquant.sensitivity_charts import ALONE, BUT, COSTS, Cost

Row = Mapping[str, Any]

MAP, WORST = "diagnosis-map", "diagnosis-worst"
FIRST_COST = "kl"
"""What is shown first: it tells layers apart that lose no answer, on few pictures."""

COLUMNS = {
    "layer": "layer",
    "block": "block",
    "kind": "kind",
    "n": "pictures",
    **{
        f"{direction}_{column}": f"{words}: {name}"
        for direction, words in ((ALONE, "alone"), (BUT, "all but it"))
        for column, name in (
            ("kl_nats", "KL (nats)"),
            ("lost", "top-1 lost"),
            ("lost_low", "lost, from"),
            ("lost_high", "lost, to"),
            ("top1", "top-1"),
            ("agree", f"answers as {REFERENCE}"),
            ("sqnr_db", "SQNR (dB)"),
        )
    },
}
SHARES = ("_lost", "_lost_low", "_lost_high", "_top1", "_agree")


def show(db: sqlite3.Connection, chosen: Choices, variant: str) -> None:
    run = stored.diagnosis(db, chosen, variant)
    if run is None:
        return
    found = run.result or []
    for sentence in diagnosis_words.sentences(found, variant):
        st.markdown(sentence)
    of_layers = [row for row in found if row["part"] == "layer"]
    [whole] = [row for row in found if row["part"] == "whole"]
    cost, direction = _choices(variant)
    looked_at = st.query_params.get(address.LAYER)
    st.subheader("The model, layer by layer", anchor=False)
    st.plotly_chart(
        sensitivity_charts.heat_map(
            of_layers,
            whole,
            cost,
            direction,
            variant,
            looked_at,
            head_blocks=catalog.model(chosen.subject.model).head_blocks,
        ),
        config=charts.CONFIG,
        alt=sensitivity_charts.heat_map_alt(of_layers, cost, direction),
        key=MAP,
        on_select=_clicked(MAP),
        selection_mode="points",
    )
    st.caption(_what_the_map_says(whole, cost, direction, variant))
    _worst(of_layers, whole, cost, direction, variant, looked_at)
    _groups([row for row in found if row["part"] == "group"], whole, cost, direction, variant)
    _table(of_layers, run)
    provenance.of_run(run)


def _choices(variant: str) -> tuple[Cost, str]:
    """Draw what the figures say of a layer, and answer it: the cost, and whether alone or all but it."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        directions = {
            ALONE: "This layer alone in int8",
            BUT: "All but this layer in int8",
        }
        direction = address.value_of(address.QUANTIZED, list(directions), ALONE, what="choice of layers")
        st.segmented_control(
            "Quantized",
            list(directions),
            required=True,
            format_func=directions.__getitem__,
            help=f"One layer as in {variant} and the others in float32, or the other way round: what one layer "
            "breaks by itself, and what leaving it out would save.",
            **address.mirror(address.QUANTIZED, direction),
        )
        name = address.value_of(address.BY, list(COSTS), FIRST_COST, what="cost of a layer")
        st.segmented_control(
            "What it costs",
            list(COSTS),
            required=True,
            format_func=lambda cost: COSTS[cost].title,
            help=f"KL: how far the whole answer moves from {REFERENCE}'s, in nats; 0 is the same. Top-1 lost: "
            f"answers that {REFERENCE} has right and this has not, less the reverse. SQNR: signal-to-"
            "quantization-noise ratio of the logits; 6 dB less is twice the error.",
            **address.mirror(address.BY, name),
        )
    return COSTS[name], direction


def _what_the_map_says(whole: Row, cost: Cost, direction: str, variant: str) -> str:
    meaning = {
        ALONE: "The fuller its colour, the more one layer by itself costs.",
        BUT: f"The fuller its colour, the more is saved by leaving one layer in {REFERENCE}.",
    }[direction]
    found = sensitivity_charts.whole_value(whole, cost)
    all_of_it = "" if found is None else f" All of {variant} together: {cost.form.format(found)}."
    return (
        f"Each cell: {cost.axis}, on {whole['n']:,} pictures. {meaning} The head lies beneath the blocks "
        f"that it reads.{all_of_it} A click on a layer shows why."
    )


# Clicks


def _clicked(key: str) -> Callable[[], None]:
    def go() -> None:
        points: list[Any] = st.session_state[key].selection.points
        if points:
            look_at(points[0]["customdata"][0])

    return go


def look_at(layer: str) -> None:
    """On to why this layer is as it is."""
    address.go(**{address.LAYER: layer, address.VIEW: "why"})


# Worst first, and summed up


def _worst(
    rows: Sequence[Row], whole: Row, cost: Cost, direction: str, variant: str, looked_at: str | None
) -> None:
    st.subheader("The most sensitive layers", anchor=False)
    ranked = sensitivity_charts.worst_first(rows, cost, direction)[: sensitivity_charts.MOST_RANKED]
    st.plotly_chart(
        sensitivity_charts.bars(ranked, whole, cost, direction, variant, looked_at),
        config=charts.CONFIG,
        alt=sensitivity_charts.bars_alt(ranked, cost, direction),
        key=WORST,
        on_select=_clicked(WORST),
        selection_mode="points",
    )
    interval = " with 95% intervals, paired" if cost.has_interval else ""
    st.caption(
        f"The {len(ranked)} worst of {len(rows)} layers, on {whole['n']:,} pictures{interval}. Dashed: all of "
        f"{variant} together."
    )


def _groups(rows: Sequence[Row], whole: Row, cost: Cost, direction: str, variant: str) -> None:
    kinds = list(layers.KINDS)
    by_kind = sorted((row for row in rows if row["group"] in kinds), key=lambda row: kinds.index(row["group"]))
    by_block = [row for row in rows if row["group"] not in layers.KINDS]
    left, right = st.columns(2, gap="medium")
    for column, title, of_group in ((left, "By kind", by_kind), (right, "By block", by_block)):
        if not of_group:
            continue
        with column:
            st.subheader(title, anchor=False)
            st.plotly_chart(
                sensitivity_charts.bars(of_group, whole, cost, direction, variant),
                config=charts.CONFIG,
                alt=sensitivity_charts.bars_alt(of_group, cost, direction),
                key=f"diagnosis-{title}",
            )
    meanings = "; ".join(f"{kind}: {words}" for kind, words in layers.KINDS.items())
    together = "quantized together" if direction == ALONE else f"left in {REFERENCE} together"
    st.caption(
        f"All layers of a kind, and of a block, {together}. A part can cost more than the whole: errors also "
        f"make up for each other. {meanings}."
    )


def _table(rows: Sequence[Row], run: Run) -> None:
    with st.expander("All figures", icon=":material/table:"):
        table = pd.DataFrame(rows)[list(COLUMNS)].astype({"block": "Int64"})
        st.dataframe(
            table.rename(columns=COLUMNS),
            hide_index=True,
            column_config={
                title: st.column_config.NumberColumn(
                    format="percent" if name.endswith(SHARES) else "%.1f" if name.endswith("_db") else "%.5f"
                )
                for name, title in COLUMNS.items()
                if name.startswith((ALONE, BUT))
            },
            alt=sensitivity_charts.heat_map_alt(rows, COSTS[FIRST_COST], ALONE),
        )
        request = run.request
        st.download_button(
            "Download as CSV",
            table.to_csv(index=False),
            file_name=f"{request['model']}-{request['variants'][0]}-layers.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
