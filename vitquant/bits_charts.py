"""Plotly figures of a bits run (vitquant/bits.py): agreement, size and weight error against bits, with one line
for scales per tensor and one for scales per channel. Imports no torch.
"""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from vitquant import charts, units
from vitquant.accuracy import REFERENCE
from vitquant.bits import CHANNEL, GRANULARITIES, ORIGINAL, TENSOR
from vitquant.charts import VariantStyle
from vitquant.rounding import FEWEST_BITS, MOST_BITS

STYLES = {
    # What no variant looks like: these are ways of rounding. Told apart without colour by symbol and dash.
    TENSOR: VariantStyle("#c9920a", "-", "triangle-up"),
    CHANNEL: VariantStyle("#8a7fd0", "+", "hexagon"),
}
DASHES = {TENSOR: "solid", CHANNEL: "dot"}
APART = {TENSOR: -0.06, CHANNEL: 0.06}
"""Where both have the same figure, each is still seen: so far to the side they are drawn, in bits."""


def agreement(rows: pd.DataFrame) -> go.Figure:
    """The share of fp32's answers that stay, with its 95% interval. rows: as bits.measure gives them."""
    figure = _by_bits(rows, "agree", 1.0, ".1%", low="agree_low", high="agree_high")
    # From 0 to 1 whatever was measured: an axis cut short makes small differences look large.
    figure.update_yaxes(
        range=[-0.04, 1.06], autorange=False, tickformat=".0%", title="answers that stay fp32's"
    )
    figure.update_layout(height=340)
    return figure


def agreement_alt(rows: pd.DataFrame) -> str:
    parts = [
        f"{row['bits']} bits {GRANULARITIES[row['granularity']]}: {row['agree']:.1%} "
        f"({row['agree_low']:.1%} to {row['agree_high']:.1%})"
        for row in _rounded(rows)
    ]
    return f"Share of {REFERENCE}'s answers that stay, with 95% intervals. {'; '.join(parts)}."


def size(rows: pd.DataFrame, unit: int) -> go.Figure:
    """What the model would take, computed. unit: units.MB or units.MIB."""
    name = units.name(unit)
    figure = _by_bits(rows, "size_bytes", 1 / unit, ",.2f", unit=f" {name}")
    for row in rows[rows["granularity"] == ORIGINAL].to_dict("records"):
        figure.add_hline(
            y=row["size_bytes"] / unit,
            line={"dash": "dash", "width": 1, "color": "gray"},
            annotation={
                "text": f"{REFERENCE}: {row['size_bytes'] / unit:,.1f} {name}",
                "xanchor": "left",
                "x": 0,
                "yanchor": "top",
            },
        )
    figure.update_yaxes(range=[0, 1.06 * rows["size_bytes"].max() / unit], autorange=False, title=name)
    return figure


def size_alt(rows: pd.DataFrame, unit: int) -> str:
    parts = [
        f"{row['bits']} bits {GRANULARITIES.get(row['granularity'], '')}".strip()
        + f": {row['size_bytes'] / unit:,.2f}"
        for row in rows.to_dict("records")
    ]
    return f"Computed size in {units.name(unit)}. {'; '.join(parts)}."


def error(rows: pd.DataFrame) -> go.Figure:
    """The weights' signal-to-quantization-noise ratio in dB: more is closer to fp32's."""
    figure = _by_bits(rows, "sqnr_db", 1.0, ".1f", unit=" dB")
    figure.update_yaxes(autorange=True, rangemode="tozero", title="weight SQNR (dB)")
    return figure


def error_alt(rows: pd.DataFrame) -> str:
    parts = [
        f"{row['bits']} bits {GRANULARITIES[row['granularity']]}: {row['sqnr_db']:.1f} dB"
        for row in _rounded(rows)
        if not pd.isna(row["sqnr_db"])
    ]
    return f"Signal-to-quantization-noise ratio of all Linear weights. {'; '.join(parts)}."


def _rounded(rows: pd.DataFrame) -> list[dict[Any, Any]]:
    return rows[rows["granularity"] != ORIGINAL].to_dict("records")


def _by_bits(
    rows: pd.DataFrame,
    column: str,
    scale: float,
    form: str,
    *,
    unit: str = "",
    low: str | None = None,
    high: str | None = None,
) -> go.Figure:
    """A column times scale against bits, many to few, one line a granularity. form: d3's format of a value,
    unit: what follows it; low, high: the columns of its interval."""
    figure = go.Figure()
    for granularity, title in GRANULARITIES.items():
        own = rows[rows["granularity"] == granularity].sort_values("bits")
        look = STYLES[granularity]
        values = own[column] * scale
        interval = None
        if low and high:
            interval = {
                "type": "data",
                "symmetric": False,
                "array": own[high] * scale - values,
                "arrayminus": values - own[low] * scale,
                "color": look.colour,
                "thickness": 2,
                "width": 5,
            }
        figure.add_scatter(
            x=own["bits"] + APART[granularity],
            y=values,
            name=title,
            mode="lines+markers",
            line={"color": look.colour, "width": 2, "dash": DASHES[granularity]},
            marker={"symbol": look.symbol, "size": 11, "color": look.colour},
            error_y=interval,
            customdata=own["bits"],
            hovertemplate=f"%{{customdata}} bits {title}: %{{y:{form}}}{unit}<extra></extra>",
        )
    charts.plain(figure, 4, legend=True)
    figure.update_xaxes(
        title="bits for each weight",
        range=[MOST_BITS + 0.4, FEWEST_BITS - 0.4],
        tickvals=list(range(FEWEST_BITS, MOST_BITS + 1)),
    )
    figure.update_yaxes(tickfont={"size": 12}, showgrid=True, gridcolor="rgba(128,128,128,.25)", zeroline=False)
    return figure
