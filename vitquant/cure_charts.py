"""Plotly figures of what mends int8: what each variant keeps, what a calibration tried, and how many pictures
it needs. Imports no torch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from vitquant import charts, cure_words, units
from vitquant.accuracy import REFERENCE
from vitquant.charts import VariantStyle

Row = Mapping[str, Any]

GREY = "rgba(128,128,128,.9)"
LEAST_KL = 1e-6
"""Nats; what lies below is drawn here: the same answers, to six digits."""
MOST_DRAWN = 30
"""Candidates of a trail; the table has them all."""
ROW_HEIGHT = 42
FEW_DECADES = 2
"""On a logarithmic axis as short as this the powers of ten alone are too few ticks."""

SEEDS = (
    # What no variant looks like: these are seeds. Told apart without colour by symbol.
    VariantStyle("#c9920a", "", "triangle-up"),
    VariantStyle("#8a7fd0", "", "hexagon"),
    VariantStyle("#a5694f", "", "hourglass"),
)


def kept(rows: Sequence[Row], sizes: Mapping[str, Row]) -> go.Figure:
    """Each variant's top-1 with its 95% interval, and at the right what it takes on disk. rows: as
    accuracy.rows gives them; sizes: size rows by variant, of some or all of them."""
    figure = go.Figure()
    for place, row in enumerate(rows):
        look = charts.style(row["variant"])
        figure.add_scatter(
            x=[row["top1"]],
            y=[place],
            mode="markers",
            marker={"symbol": look.symbol, "size": 14, "color": look.colour},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [row["top1_high"] - row["top1"]],
                "arrayminus": [row["top1"] - row["top1_low"]],
                "color": look.colour,
                "thickness": 2,
                "width": 5,
            },
            hovertemplate=f"{row['variant']}: {_share(row)} of {row['n']:,} pictures<extra></extra>",
        )
        if row["variant"] == REFERENCE:
            figure.add_vline(x=row["top1"], line={"dash": "dash", "width": 1, "color": look.colour})
        if row["variant"] in sizes:
            figure.add_annotation(
                xref="paper",
                x=1,
                y=place,
                xanchor="left",
                xshift=6,
                showarrow=False,
                text=units.bytes_words(cure_words.disk_bytes(sizes[row["variant"]]), units.MB),
            )
    charts.plain(figure, 0)
    # From 0 to 1 whatever was measured: an axis cut short makes small differences look large.
    figure.update_xaxes(range=[-0.03, 1.03], tickformat=".0%", title=charts.share_title(rows))
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[row["variant"] for row in rows],
        range=[len(rows) - 0.4, -0.6],
        autorange=False,
        zeroline=False,
    )
    right = 74 if any(row["variant"] in sizes for row in rows) else 8
    figure.update_layout(height=70 + 34 * len(rows), margin={"r": right})
    return figure


def kept_alt(rows: Sequence[Row], sizes: Mapping[str, Row]) -> str:
    parts = [
        f"{row['variant']}: {_share(row)}"
        + (
            f", {units.bytes_words(cure_words.disk_bytes(sizes[row['variant']]), units.MB)} on disk"
            if row["variant"] in sizes
            else ""
        )
        for row in rows
    ]
    return f"Top-1 with 95% intervals. {'; '.join(parts)}."


def trail(rows: Sequence[Row], variant: str) -> go.Figure:
    """Every candidate of a calibration in order, from the top: its mean KL on a logarithmic axis, filled where
    it was kept. rows: a fit's trail."""
    look = charts.style(variant)
    shown = rows[:MOST_DRAWN]
    values = [max(row["mean_kl_nats"], LEAST_KL) for row in shown]
    low, high = math.log10(min(values)) - 0.4, math.log10(max(values)) + 0.4
    middle = (low + high) / 2
    figure = go.Figure()
    for title, is_kept in (("kept", True), ("not kept", False)):
        own = [place for place, row in enumerate(shown) if bool(row["kept"]) == is_kept]
        figure.add_scatter(
            x=[values[place] for place in own],
            y=own,
            name=title,
            mode="markers+text",
            text=[f" {kl_words(shown[place])} " for place in own],
            # Away from the nearer edge, so that no figure is cut off.
            textposition=[
                "middle left" if math.log10(values[place]) > middle else "middle right" for place in own
            ],
            marker={
                "symbol": look.symbol if is_kept else f"{look.symbol}-open",
                "size": 13,
                "color": look.colour,
                "line": {"width": 2, "color": look.colour},
            },
            customdata=[_hover(shown[place]) for place in own],
            hovertemplate="%{customdata}<extra></extra>",
        )
    for place, row in enumerate(shown):
        # Above its marker instead of at the axis: on a phone the names would leave no room for the figure.
        figure.add_annotation(
            xref="paper",
            x=0,
            y=place - 0.46,
            xanchor="left",
            showarrow=False,
            text=f"<b>{row['step']}</b>" if row["kept"] else row["step"],
            font={"size": 12},
        )
    charts.plain(figure, 0, legend=True)
    figure.update_xaxes(
        type="log",
        range=[low, high],
        title="mean KL divergence to fp32 (nats, logarithmic)",
        exponentformat="power",
        **({"dtick": 1} if high - low > FEW_DECADES else _ticks(low, high)),
    )
    figure.update_yaxes(range=[len(shown) - 0.5, -0.9], autorange=False, visible=False)
    figure.update_layout(height=90 + ROW_HEIGHT * len(shown))
    return figure


def _ticks(low: float, high: float) -> dict[str, Any]:
    """Ticks between the powers of ten as well, from 10 ** low to 10 ** high."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    values = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return {"tickvals": values, "ticktext": [f"{value:g}" for value in values]}


def trail_alt(rows: Sequence[Row]) -> str:
    parts = [f"{row['step']}: {kl_words(row)} nats, {'kept' if row['kept'] else 'not kept'}" for row in rows]
    return f"Mean KL divergence of each candidate, in order. {'; '.join(parts)}."


def kl_words(row: Row) -> str:
    """A mean KL divergence with the digits that a person reads."""
    found = row["mean_kl_nats"]
    return f"< {LEAST_KL:.0e}".replace("e-0", "e-") if found < LEAST_KL else f"{found:.2g}"


def study_kl(rows: Sequence[Row]) -> go.Figure:
    """Mean KL against the number of calibration pictures, both logarithmic, a line for each seed. rows: as
    study.measure gives them."""
    figure = _by_count(rows, "mean_kl_nats", ".2~g", is_log=True)
    values = [max(row["mean_kl_nats"], LEAST_KL) for row in rows]
    ends = [math.log10(min(values)) - 0.3, math.log10(max(values)) + 0.5]
    figure.update_yaxes(
        type="log", range=ends, dtick=1, exponentformat="power", title="mean KL to fp32 (nats, logarithmic)"
    )
    return figure


def study_top1(rows: Sequence[Row]) -> go.Figure:
    """Top-1 with its 95% interval against the number of calibration pictures, a line for each seed."""
    figure = _by_count(rows, "top1", ".1%", is_log=False)
    figure.update_yaxes(range=[-0.04, 1.06], tickformat=".0%", title="pictures recognised (top-1)")
    return figure


def study_alt(rows: Sequence[Row]) -> str:
    parts = [
        (f"{row['pictures']} pictures, seed {row['seed']}" if row["pictures"] else "not smoothed")
        + f": {_share(row)}, KL {row['mean_kl_nats']:.2g} nats"
        for row in rows
    ]
    return f"What smoothing is worth by the number of calibration pictures. {'; '.join(parts)}."


def _by_count(rows: Sequence[Row], column: str, form: str, *, is_log: bool) -> go.Figure:
    """A column against the number of pictures; on an axis that is not logarithmic with its 95% interval."""
    figure = go.Figure()
    smoothed = [row for row in rows if row["pictures"]]
    seeds = sorted({row["seed"] for row in smoothed})
    for place, seed in enumerate(seeds):
        look = SEEDS[place % len(SEEDS)]
        own = sorted((row for row in smoothed if row["seed"] == seed), key=lambda row: row["pictures"])
        apart = 1.07 ** (place - (len(seeds) - 1) / 2)  # equal figures are still seen beside each other
        figure.add_scatter(
            x=[row["pictures"] * apart for row in own],
            y=[max(row[column], LEAST_KL) for row in own],
            name=f"seed {seed}",
            mode="lines+markers",
            line={"color": look.colour, "width": 2},
            marker={"symbol": look.symbol, "size": 9, "color": look.colour},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [row["top1_high"] - row["top1"] for row in own],
                "arrayminus": [row["top1"] - row["top1_low"] for row in own],
                "color": look.colour,
                "thickness": 1,
                "width": 3,
            }
            if not is_log
            else None,
            customdata=[row["pictures"] for row in own],
            hovertemplate=f"%{{customdata}} pictures, seed {seed}: %{{y:{form}}}<extra></extra>",
        )
    for row in rows:
        if not row["pictures"]:
            value = max(row[column], LEAST_KL)
            figure.add_hline(y=value, line={"dash": "dash", "width": 1, "color": GREY})
            # plotly places an annotation on a logarithmic axis by the logarithm, unlike the line itself.
            figure.add_annotation(
                text="not smoothed",
                xref="paper",
                x=1,
                xanchor="right",
                y=math.log10(value) if is_log else value,
                yanchor="bottom",
                showarrow=False,
            )
    charts.plain(figure, 4, legend=True)
    counts = sorted({row["pictures"] for row in smoothed})
    ends = [math.log10(counts[0]) - 0.12, math.log10(counts[-1]) + 0.12] if counts else [0, 2]
    figure.update_xaxes(
        type="log",
        range=ends,
        tickvals=counts,
        ticktext=[f"{count:,}" for count in counts],
        title="calibration pictures (logarithmic)",
    )
    figure.update_yaxes(autorange=False, showgrid=True, gridcolor="rgba(128,128,128,.25)", zeroline=False)
    figure.update_layout(height=300)
    return figure


def _hover(row: Row) -> str:
    return (
        f"{row['step']}: KL {row['mean_kl_nats']:.3g} nats, {row['points_lost'] + 0.0:+.2f} points lost, "
        f"{row['broken']} broken, {row['fixed']} fixed of {row['n']:,}<br>{row['why']}"
    )


def _share(row: Row) -> str:
    return f"{row['top1']:.1%} ({row['top1_low']:.1%} to {row['top1_high']:.1%})"
