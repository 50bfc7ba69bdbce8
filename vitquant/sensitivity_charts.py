"""Plotly figures of a diagnosis (vitquant/diagnosis.py): what each layer costs, as a map of the model, as bars
worst first, and by block and kind. Imports no torch.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from vitquant import charts, layers
from vitquant.accuracy import REFERENCE
from vitquant.diagnosis_words import title

Row = Mapping[str, Any]

ALONE, BUT = "alone", "but"


@dataclass(frozen=True)
class Cost:
    """One way to say what quantizing a layer costs."""

    column: str  # of a row, after "alone_" or "but_"
    title: str
    axis: str
    scale: float  # from the column to the axis
    form: str  # of a figure with its unit
    low_is_worse: bool
    shade: Callable[[float], float]  # of a figure on the axis: 0 costs nothing, 1 everything; not clipped
    has_interval: bool = False


COSTS = {
    # The colours mean the same for every model, so that a healthy one is pale.
    "kl": Cost(
        "kl_nats",
        "KL",
        f"KL divergence from {REFERENCE}'s answer (nats)",
        1,
        "{:.3g} nats",
        False,
        # Layers differ by powers of ten: from a ten-thousandth of a nat to ten.
        lambda nats: (math.log10(max(nats, 1e-4)) + 4) / 5,
    ),
    "lost": Cost(
        "lost",
        "Top-1 lost",
        "top-1 lost (percentage points)",
        100,
        "{:.1f} points",
        False,
        lambda points: points / 50,
        has_interval=True,
    ),
    "sqnr": Cost(
        "sqnr_db",
        "SQNR",
        "signal to noise of the logits (dB)",
        1,
        "{:.1f} dB",
        True,
        lambda decibels: (40 - decibels) / 40,
    ),
}
EXACT = f"as {REFERENCE}, to the last bit"

MOST_RANKED = 12
MOST_LABELLED = 12
"""With more blocks than this the map's cells are too narrow for figures, on a phone at least."""
STANDS_OUT = 0.35
"""Cells with so much of the blame are drawn in full colour."""


def value(row: Row, cost: Cost, direction: str) -> float | None:
    """What a layer's or a group's row says, on the cost's axis; None where the logits are fp32's own."""
    found = row[f"{direction}_{cost.column}"]
    return None if found is None else cost.scale * found + 0.0  # -0.0 becomes 0.0


def whole_value(whole: Row, cost: Cost) -> float | None:
    """What all layers together cost, on the cost's axis. whole: the row of part "whole"."""
    if cost.column == "lost":
        return cost.scale * float(whole["fp32_top1"] - whole["top1"])
    found = whole[cost.column]
    return None if found is None else cost.scale * found


def worst_first(rows: Sequence[Row], cost: Cost, direction: str) -> list[Row]:
    """Layers or groups: those first that cost most by themselves, or whose exemption saves most."""

    def blame(row: Row, cost: Cost) -> float:
        found = value(row, cost, direction)
        if found is None:
            found = math.inf if cost.low_is_worse else 0.0
        return -found if cost.low_is_worse == (direction == ALONE) else found

    # On few pictures many layers lose as many answers: KL tells them apart.
    return sorted(rows, key=lambda row: (blame(row, cost), blame(row, COSTS["kl"])), reverse=True)


def words(row: Row, cost: Cost, direction: str) -> str:
    """One figure with its unit, and its interval where it has one."""
    found = value(row, cost, direction)
    if found is None:
        return EXACT
    text = cost.form.format(found)
    if cost.has_interval:
        low, high = _interval(row, cost, direction)
        text += f" ({low:.1f} to {high:.1f})"
    return text


def heat_map(
    rows: Sequence[Row],
    whole: Row,
    cost: Cost,
    direction: str,
    variant: str,
    chosen: str | None = None,
    *,
    head_blocks: int,
) -> go.Figure:
    """Every layer as a cell, kind by block; the fuller its colour, the more it is to blame. Cells can be
    chosen: their customdata begins with the name. rows: of part "layer"; chosen: the layer with a frame;
    head_blocks: how many of the last blocks the head reads."""
    colour = charts.style(variant).colour
    blocks = depth(rows)
    kinds = list(layers.KINDS)
    # The head lies beneath the blocks that it reads.
    spans = [head_blocks if row["block"] is None else 1 for row in rows]
    starts = [
        (blocks - span if row["block"] is None else row["block"]) - 0.5
        for row, span in zip(rows, spans, strict=True)
    ]
    places = [kinds.index(row["kind"]) for row in rows]
    shares = [_shade(row, whole, cost, direction) for row in rows]
    figure = go.Figure()
    # Bars instead of plotly's heat map: they can be clicked.
    figure.add_bar(
        orientation="h",
        y=places,
        x=spans,
        base=starts,
        width=0.94,
        marker={
            "color": [_fill(colour, share) for share in shares],
            "line": {
                "width": [3 if row["layer"] == chosen else 1 for row in rows],
                "color": ["#808a94" if row["layer"] == chosen else charts.shade(colour, 0.2) for row in rows],
            },
        },
        customdata=[[row["layer"], _hover(row, cost, direction)] for row in rows],
        hovertemplate="%{customdata[1]}<extra></extra>",
    )
    for font in ({}, {"color": "#ffffff"}) if blocks <= MOST_LABELLED else ():
        # On a pale cell the theme's own colour, on a full one white.
        own = [place for place, share in enumerate(shares) if (share >= STANDS_OUT) == bool(font)]
        figure.add_scatter(
            x=[starts[place] + spans[place] / 2 for place in own],
            y=[places[place] for place in own],
            mode="text",
            text=[_short(rows[place], cost, direction) for place in own],
            textfont={"size": 12 if blocks <= 8 else 10, **font},
            hoverinfo="skip",
        )
    charts.plain(figure, len(kinds))
    step = 1 if blocks <= MOST_LABELLED else 4
    figure.update_xaxes(
        title="block", range=[-0.5, blocks - 0.5], showgrid=False, tickvals=list(range(0, blocks, step))
    )
    figure.update_yaxes(
        tickvals=list(range(len(kinds))), ticktext=kinds, range=[len(kinds) - 0.5, -0.5], autorange=False
    )
    figure.update_layout(height=80 + 44 * len(kinds), barmode="overlay", bargap=0, clickmode="event+select")
    return figure


def depth(rows: Sequence[Row]) -> int:
    """How many blocks the model of these layers has."""
    return 1 + max(row["block"] for row in rows if row["block"] is not None)


def heat_map_alt(rows: Sequence[Row], cost: Cost, direction: str) -> str:
    parts = [f"{title(row)}: {words(row, cost, direction)}" for row in rows]
    return f"Layer by layer, {cost.axis}, {_direction_words(direction)}. {'; '.join(parts)}."


def bars(
    rows: Sequence[Row], whole: Row, cost: Cost, direction: str, variant: str, chosen: str | None = None
) -> go.Figure:
    """Layers or groups as bars, in their order, with 95% intervals where the cost has them, and a line for what
    the whole variant costs. Bars of layers can be chosen: their customdata begins with the name."""
    look = charts.style(variant)
    values = [value(row, cost, direction) for row in rows]
    spans = [_interval(row, cost, direction) if cost.has_interval else None for row in rows]
    figure = go.Figure()
    interval = None
    if cost.has_interval:
        pairs = [(v or 0.0, span) for v, span in zip(values, spans, strict=True) if span]
        interval = {
            "type": "data",
            "symmetric": False,
            "array": [high - v for v, (_, high) in pairs],
            "arrayminus": [v - low for v, (low, _) in pairs],
            "color": "#808a94",
            "thickness": 2,
            "width": 4,
        }
    figure.add_bar(
        orientation="h",
        x=[0 if v is None else v for v in values],
        y=list(range(len(rows))),
        error_x=interval,
        marker={
            "color": look.colour,
            "line": {
                "width": [3 if chosen and row.get("layer") == chosen else 0 for row in rows],
                "color": "#808a94",
            },
        },
        customdata=[[row.get("layer"), _hover(row, cost, direction)] for row in rows],
        hovertemplate="%{customdata[1]}<extra></extra>",
    )
    ends = [max(v or 0.0, span[1] if span else 0.0, 0.0) for v, span in zip(values, spans, strict=True)]
    starts = [min(v or 0.0, span[0] if span else 0.0, 0.0) for v, span in zip(values, spans, strict=True)]
    everything = whole_value(whole, cost)
    right = max([*ends, everything or 0.0, 1e-9])
    left = min([*starts, everything or 0.0])
    room = right - left
    if everything is not None:
        _line_of_all(figure, everything, variant)
    for place, (row, end) in enumerate(zip(rows, ends, strict=True)):
        in_its_way = everything is not None and 0 <= everything - end < 0.3 * room
        figure.add_annotation(
            x=everything if in_its_way else end,
            y=place,
            text=_label(row, cost, direction),
            showarrow=False,
            xanchor="left",
            xshift=5,
            font={"size": 12},
        )
    charts.plain(figure, len(rows))
    figure.update_xaxes(
        title=cost.axis,
        exponentformat="none",
        nticks=6,
        range=[left - 0.03 * room * (left < 0), right + 0.4 * room],
    )
    figure.update_yaxes(
        tickvals=list(range(len(rows))), ticktext=[title(row) for row in rows], tickfont={"size": 12}
    )
    figure.update_layout(height=92 + 27 * len(rows), bargap=0.25, margin={"t": 24}, clickmode="event+select")
    return figure


def bars_alt(rows: Sequence[Row], cost: Cost, direction: str) -> str:
    parts = [f"{title(row)}: {words(row, cost, direction)}" for row in rows]
    return f"{cost.axis}, {_direction_words(direction)}. {'; '.join(parts)}."


def _line_of_all(figure: go.Figure, limit: float, variant: str) -> None:
    figure.add_vline(x=limit, line={"dash": "dash", "width": 1, "color": "gray"})
    figure.add_annotation(
        x=limit,
        y=1,
        yref="paper",
        yanchor="bottom",
        xanchor="auto",
        text=f"all of {variant}",
        showarrow=False,
        font={"size": 11},
    )


def _shade(row: Row, whole: Row, cost: Cost, direction: str) -> float:
    """0..1: what a layer costs by itself, or what leaving it out saves of what everything costs."""
    found = value(row, cost, direction)
    share = 0.0 if found is None else cost.shade(found)
    if direction == BUT:
        everything = whole_value(whole, cost)
        share = 0.0 if everything is None else 2 * (cost.shade(everything) - share)
    return min(max(share, 0.0), 1.0)


def _fill(colour: str, share: float) -> str:
    """A cell's colour: faint, or else dark enough for white text on a white page and on a dark one."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    if share < STANDS_OUT:
        return f"rgba({red},{green},{blue},{0.06 + 0.5 * share:.2f})"
    return f"rgba({0.8 * red:.0f},{0.8 * green:.0f},{0.8 * blue:.0f},{0.6 + 0.4 * share:.2f})"


def _interval(row: Row, cost: Cost, direction: str) -> tuple[float, float]:
    low, high = (row[f"{direction}_{cost.column}_{end}"] for end in ("low", "high"))
    return cost.scale * low, cost.scale * high


def _short(row: Row, cost: Cost, direction: str) -> str:
    """A figure for a narrow cell."""
    found = value(row, cost, direction)
    if found is None:
        return "="
    if cost.column != "kl_nats":
        return f"{found:.0f}".replace("-0", "0") if abs(found) < 0.5 else f"{found:.0f}"
    return f"{found:.0e}".replace("e-0", "e-") if 0 < found < 0.001 else f"{found:.2g}"


def _label(row: Row, cost: Cost, direction: str) -> str:
    found = value(row, cost, direction)
    return EXACT if found is None else cost.form.format(found)


def _hover(row: Row, cost: Cost, direction: str) -> str:
    return f"<b>{title(row)}</b>, {_direction_words(direction)}: {words(row, cost, direction)}"


def _direction_words(direction: str) -> str:
    return "this alone quantized" if direction == ALONE else "all but this quantized"
