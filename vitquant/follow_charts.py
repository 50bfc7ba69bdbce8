"""Plotly figures of what is asked of a running model, or measured on batches: a picture followed through the
blocks, the int8 grid with planted channels, answers that change beside others. Imports no torch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vitquant import charts
from vitquant.accuracy import REFERENCE
from vitquant.follow import Followed
from vitquant.planted import LevelsLeft

CLASS, PATCHES = "#3b8fc7", "#c9920a"
ORDINARY = "rgba(59,143,199,.28)"
LEVEL = "rgba(128,128,128,.75)"
TAKEN = "#d9661f"

Row = Mapping[str, Any]


# One picture through the blocks


def cosines(followed: Followed) -> go.Figure:
    """The cosine of fp32's tokens with the variant's after each block: the class token's, and the patches'
    mean."""
    figure = go.Figure()
    blocks = list(range(len(followed.class_cosine)))
    for name, values, colour, symbol, dash in (
        ("class token", followed.class_cosine, CLASS, "circle", "solid"),
        ("patches, mean", followed.patch_cosine, PATCHES, "square", "dot"),
    ):
        figure.add_scatter(
            x=blocks,
            y=values,
            name=name,
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": dash},
            marker={"symbol": symbol, "size": 10, "color": colour},
            hovertemplate=f"after block %{{x}}, {name}: %{{y:.4f}}<extra></extra>",
        )
    charts.plain(figure, 0, legend=True)
    if followed.lost_from is not None:
        place = followed.lost_from - 1
        right = place > len(blocks) / 2
        figure.add_vline(
            x=place,
            line={"dash": "dash", "width": 1.5, "color": TAKEN},
            annotation={
                "text": "the answer is lost",
                "xanchor": "right" if right else "left",
                "yanchor": "bottom",
                "y": 0,
                "font": {"size": 12},
            },
        )
    low = min(0.0, *followed.class_cosine, *followed.patch_cosine)
    figure.update_xaxes(title="after block", range=[-0.4, len(blocks) - 0.6], dtick=max(1, len(blocks) // 8))
    # From 0 whatever was found: an axis cut short makes small differences look large.
    figure.update_yaxes(
        range=[low - 0.03, 1.05],
        autorange=False,
        title="cosine",
        tickfont={"size": 12},
        showgrid=True,
        gridcolor="rgba(128,128,128,.25)",
    )
    figure.update_layout(height=300)
    return figure


def cosines_alt(followed: Followed) -> str:
    parts = [
        f"block {block}: class token {of_class:.3f}, patches {of_patches:.3f}"
        for block, (of_class, of_patches) in enumerate(
            zip(followed.class_cosine, followed.patch_cosine, strict=True)
        )
    ]
    return f"Cosine of {REFERENCE}'s tokens with the variant's after each block. {'; '.join(parts)}."


# The grid


def levels(left: LevelsLeft) -> go.Figure:
    """The int8 grid over all activations that reach a layer, and enlarged where the ordinary channels lie."""
    figure = make_subplots(rows=2, cols=1, vertical_spacing=0.5)
    whole = (min(left.low, 0.0), max(left.high, 0.0))
    near = (min(left.ordinary_low, -1.3 * left.step), max(left.ordinary_high, 1.3 * left.step))
    for row, (low, high), title in (
        (1, whole, f"everything that reaches the layer: {left.levels} levels"),
        (2, near, f"enlarged, the ordinary channels: {left.left} of them"),
    ):
        _grid(figure, left, row, low, high)
        figure.update_xaxes(
            row=row,
            title={"text": title, "font": {"size": 13}},
            range=[low - 0.03 * (high - low), high + 0.03 * (high - low)],
        )
    charts.plain(figure, 0)
    figure.update_xaxes(showgrid=False, nticks=7)
    figure.update_yaxes(visible=False, range=[0, 1], autorange=False)
    figure.update_layout(height=230)
    return figure


def _grid(figure: go.Figure, left: LevelsLeft, row: int, low: float, high: float) -> None:
    """The band of the ordinary channels, and a line for each level from low to high."""
    figure.add_shape(
        type="rect",
        x0=left.ordinary_low,
        x1=left.ordinary_high,
        y0=0,
        y1=1,
        fillcolor=ORDINARY,
        line={"width": 0},
        layer="below",
        row=row,
        col=1,
    )
    first, last = (round(value / left.step) for value in (left.ordinary_low, left.ordinary_high))
    everywhere = range(round(low / left.step), round(high / left.step) + 1)
    for taken, colour, width in ((False, LEVEL, 1.0), (True, TAKEN, 2.0)):
        places = [k * left.step for k in everywhere if (first <= k <= last) == taken]
        figure.add_scatter(
            x=[x for place in places for x in (place, place, None)],
            y=[y for _ in places for y in (0.0, 1.0, None)],
            mode="lines",
            line={"color": colour, "width": width},
            hoverinfo="skip",
            row=row,
            col=1,
        )


def levels_alt(left: LevelsLeft) -> str:
    return (
        f"The int8 grid of {left.layer}: {left.levels} levels from {left.low:.3g} to {left.high:.3g}, "
        f"{left.step:.3g} apart. The ordinary channels, from {left.ordinary_low:.3g} to "
        f"{left.ordinary_high:.3g}, are rounded to {left.left} of them."
    )


# Neighbours


def changed(rows: Sequence[Row], variant: str) -> go.Figure:
    """The share of first answers that are others than alone, by batch, with 95% intervals. rows: of part
    "batch"."""
    look = charts.style(variant)
    figure = go.Figure()
    shares = [row["changed"] for row in rows]
    figure.add_bar(
        x=shares,
        y=[_batch(row) for row in rows],
        orientation="h",
        marker=charts.hatched(look),
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [row["changed_high"] - row["changed"] if row["batch"] > 1 else 0 for row in rows],
            "arrayminus": [row["changed"] - row["changed_low"] if row["batch"] > 1 else 0 for row in rows],
            "thickness": 2,
            "width": 5,
        },
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )
    charts.plain(figure, len(rows))
    # From 0 to 1 whatever was measured: an axis cut short makes small differences look large.
    figure.update_xaxes(range=[0, 1.02], tickformat=".0%", title="first answers that are others than alone")
    return figure


def changed_alt(rows: Sequence[Row]) -> str:
    parts = [
        f"{_batch(row)}: {row['changed']:.1%} ({row['changed_low']:.1%} to {row['changed_high']:.1%})"
        if row["batch"] > 1
        else f"{_batch(row)}: none, by definition"
        for row in rows
    ]
    return f"First answers that are others than alone, with 95% intervals. {'; '.join(parts)}."


def _batch(row: Row) -> str:
    return "alone" if row["batch"] == 1 else f"{row['batch']} at once"
