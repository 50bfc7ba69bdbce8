"""Plotly figures of one layer's ranges (vitquant/activations.py) with the int8 grid laid over them, and of the
error's growth through the depth (vitquant/depth.py). Imports no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from vitquant import charts

ORDINARY = "#3b8fc7"
OUTLIER = "#d9661f"
"""The two are told apart without colour, too: outliers are single lines with a square at each end."""
GRID = "rgba(128,128,128,.45)"
TO_ZERO = "rgba(201,146,10,.22)"


@dataclass(frozen=True)
class Channels:
    """The range of each input channel of a layer, in the order in which they are drawn."""

    low: np.ndarray  # (channels,) float32
    high: np.ndarray  # (channels,) float32
    number: np.ndarray  # (channels,) which channel of the model each is
    outlier: np.ndarray  # (channels,) bool

    @property
    def absmax(self) -> np.ndarray:
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @property
    def band(self) -> tuple[float, float]:
        """What the ordinary channels span together."""
        ordinary = ~self.outlier if not self.outlier.all() else self.outlier
        return float(self.low[ordinary].min()), float(self.high[ordinary].max())

    def put_in(self, order: np.ndarray) -> "Channels":
        return Channels(self.low[order], self.high[order], self.number[order], self.outlier[order])


def widest_first(channels: Channels) -> np.ndarray:
    """The order that puts the channel with the largest magnitude first."""
    return np.argsort(-channels.absmax, kind="stable")


def activations(channels: Channels, step: float | None) -> go.Figure:
    """From the least to the largest activation of every channel, with the levels of int8 as lines. step: the
    distance of two levels; None where the layer is not rounded."""
    figure = _ranges(channels)
    low, high = min(float(channels.low.min()), 0.0), max(float(channels.high.max()), 0.0)
    if step is not None:
        _levels(figure, channels, step, low, high)
    margin = 0.06 * (high - low)
    figure.update_yaxes(range=[low - margin, high + margin], title="activation")
    return figure


def close_up(channels: Channels, step: float) -> go.Figure:
    """The same, as near as the ordinary channels fill the figure, but with a level on each side of zero at
    least; shaded: what is rounded to zero."""
    figure = _ranges(channels)
    band_low, band_high = channels.band
    low, high = min(1.15 * band_low, -1.6 * step), max(1.15 * band_high, 1.6 * step)
    _levels(figure, channels, step, low, high)
    figure.add_hrect(y0=-step / 2, y1=step / 2, line={"width": 0}, fillcolor=TO_ZERO, layer="below")
    figure.update_yaxes(range=[low, high], title="activation")
    return figure


def magnitudes(channels: Channels, step: float | None) -> go.Figure:
    """The largest magnitude of every channel on a logarithmic axis; shaded: what is rounded to zero."""
    figure = go.Figure()
    sizes = channels.absmax
    least = float(sizes[sizes > 0].min(initial=float(sizes.max())))
    floor = (least if step is None else min(least, step / 2)) / 2
    shown = np.maximum(sizes, floor)
    places = np.arange(len(sizes))
    for outlier, name, colour, symbol in (
        (False, "ordinary channels", ORDINARY, "circle"),
        (True, "outliers", OUTLIER, "square"),
    ):
        own = channels.outlier == outlier
        if not own.any():
            continue
        figure.add_scatter(
            x=places[own],
            y=shown[own],
            name=name,
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 9 if outlier else 4},
            customdata=[
                [int(number), float(size)]
                for number, size in zip(channels.number[own], sizes[own], strict=True)
            ],
            hovertemplate="channel %{customdata[0]}: at most %{customdata[1]:.3~g}<extra></extra>",
        )
    top = float(shown.max()) * 1.6
    if step is not None:
        figure.add_hrect(y0=floor, y1=step / 2, line={"width": 0}, fillcolor=TO_ZERO, layer="below")
        figure.add_hline(y=step, line={"color": GRID, "width": 1.5})
    _styled(figure, channels)
    ticks = [digit * 10.0**power for power in range(-9, 9) for digit in (1, 3)]
    figure.update_yaxes(
        type="log",
        range=[np.log10(floor), np.log10(top)],
        title="largest magnitude (logarithmic)",
        tickvals=ticks,
        ticktext=[f"{tick:,g}" for tick in ticks],
    )
    return figure


def channels_alt(channels: Channels, step: float | None) -> str:
    low, high = channels.band
    outliers = ", ".join(
        f"channel {number}: {a:.3g} to {b:.3g}"
        for number, a, b, outlier in zip(
            channels.number, channels.low, channels.high, channels.outlier, strict=True
        )
        if outlier
    )
    return (
        f"Activations of {len(channels.low):,} channels. Ordinary ones together: {low:.3g} to {high:.3g}. "
        f"Outliers: {outliers or 'none'}."
        + ("" if step is None else f" Two levels of the int8 grid are {step:.3g} apart.")
    )


def weights(channels: Channels) -> go.Figure:
    """From the least to the largest weight of every input channel, in the activations' order."""
    figure = _ranges(channels)
    low, high = float(channels.low.min()), float(channels.high.max())
    margin = 0.06 * max(high - low, 1e-12)
    figure.update_yaxes(range=[low - margin, high + margin], title="weight")
    figure.update_layout(height=250)
    return figure


def weights_alt(channels: Channels) -> str:
    sizes = channels.absmax
    return (
        f"Weights by input channel: the largest magnitude is {float(sizes.max()):.3g}, the median channel's "
        f"{float(np.median(sizes)):.3g}."
    )


def depth(rows: Sequence[Mapping[str, Any]], variant: str, block: int | None) -> go.Figure:
    """How alike the tokens of fp32 and the variant still are after each block. rows: of part "depth"; block:
    the one that is looked at."""
    look = charts.style(variant)
    figure = go.Figure()
    places = [row["block"] for row in rows]
    for column, name, dash, symbol in (
        ("class_cosine", "class token", "solid", look.symbol),
        ("patch_cosine", "patches, mean", "dot", f"{look.symbol}-open"),
    ):
        figure.add_scatter(
            x=places,
            y=[row[column] for row in rows],
            name=name,
            mode="lines+markers",
            line={"color": look.colour, "width": 2, "dash": dash},
            marker={"symbol": symbol, "size": 9, "color": look.colour},
            hovertemplate=f"after block %{{x}}, {name}: %{{y:.4f}}<extra></extra>",
        )
    least = min(min(row["class_cosine"], row["patch_cosine"]) for row in rows)
    _along_depth(figure, places, block)
    figure.update_yaxes(range=[min(0.0, 1.1 * least) - 0.03, 1.05], title="cosine to fp32's")
    return figure


def depth_noise(rows: Sequence[Mapping[str, Any]], variant: str, block: int | None) -> go.Figure:
    """The signal-to-quantization-noise ratio of all tokens after each block, in dB: more is closer."""
    look = charts.style(variant)
    figure = go.Figure()
    places = [row["block"] for row in rows]
    figure.add_scatter(
        x=places,
        y=[row["sqnr_db"] for row in rows],
        mode="lines+markers",
        line={"color": look.colour, "width": 2},
        marker={"symbol": look.symbol, "size": 9, "color": look.colour},
        hovertemplate="after block %{x}: %{y:.1f} dB<extra></extra>",
        showlegend=False,
    )
    _along_depth(figure, places, block)
    figure.update_yaxes(autorange=True, rangemode="tozero", title="signal to noise of all tokens (dB)")
    return figure


def depth_alt(rows: Sequence[Mapping[str, Any]]) -> str:
    parts = [
        f"block {row['block']}: class token {row['class_cosine']:.3f}, patches {row['patch_cosine']:.3f}"
        + ("" if row["sqnr_db"] is None else f", {row['sqnr_db']:.1f} dB")
        for row in rows
    ]
    return f"Cosine to fp32's tokens and signal to noise after each block. {'; '.join(parts)}."


def _ranges(channels: Channels) -> go.Figure:
    """The ordinary channels as one area from low to high, the outliers as lines of their own."""
    figure = go.Figure()
    places = np.arange(len(channels.low))
    ordinary = ~channels.outlier
    hover = [
        f"channel {number}: {low:.3g} to {high:.3g}"
        for number, low, high in zip(channels.number, channels.low, channels.high, strict=True)
    ]
    for values, fill in ((channels.low, None), (channels.high, "tonexty")):
        figure.add_scatter(
            x=places,
            y=np.where(ordinary, values, np.nan),
            mode="lines",
            line={"color": ORDINARY, "width": 1, "shape": "hvh"},
            fill=fill,
            fillcolor="rgba(59,143,199,.55)",
            name="ordinary channels",
            legendgroup="ordinary",
            showlegend=fill is not None and bool(ordinary.any()),
            text=hover,
            hovertemplate="%{text}<extra></extra>",
        )
    if channels.outlier.any():
        at = np.flatnonzero(channels.outlier)
        figure.add_scatter(
            x=[place for one in at for place in (one, one, None)],
            y=[end for one in at for end in (float(channels.low[one]), float(channels.high[one]), None)],
            mode="lines+markers",
            line={"color": OUTLIER, "width": 3},
            marker={"symbol": "square", "size": 7, "color": OUTLIER},
            name="outliers",
            text=[text for one in at for text in (hover[one], hover[one], "")],
            hovertemplate="%{text}<extra></extra>",
        )
    _styled(figure, channels)
    return figure


def _levels(figure: go.Figure, channels: Channels, step: float, low: float, high: float) -> None:
    """A line for every level of the int8 grid from low to high, beneath what is drawn already."""
    first, last = int(np.ceil(low / step)), int(np.floor(high / step))
    ends = (-0.5, len(channels.low) - 0.5)
    many = last - first > 40
    figure.add_scatter(
        x=[place for _ in range(first, last + 1) for place in (*ends, None)],
        y=[y for level in range(first, last + 1) for y in (level * step, level * step, None)],
        mode="lines",
        line={"color": GRID, "width": 0.5 if many else 1},
        name="int8's levels",
        hoverinfo="skip",
    )
    figure.data = (figure.data[-1], *figure.data[:-1])


def _styled(figure: go.Figure, channels: Channels) -> None:
    count = len(channels.number)
    in_order = bool((np.diff(channels.number) > 0).all())
    charts.plain(figure, 5, legend=True)
    figure.update_xaxes(
        title="input channel" if in_order else "input channels, widest first",
        range=[-0.02 * count - 0.5, 1.02 * count],
        showgrid=False,
    )
    figure.update_yaxes(autorange=False, tickfont={"size": 12}, zeroline=True, zerolinecolor="gray")
    figure.update_layout(height=400)


def _along_depth(figure: go.Figure, places: Sequence[int], block: int | None) -> None:
    charts.plain(figure, 4, legend=True)
    if block is not None:
        figure.add_vline(x=block, line={"dash": "dash", "width": 1, "color": "gray"})
    step = 1 if len(places) <= 12 else 4
    figure.update_xaxes(title="after block", tickvals=list(places)[::step])
    figure.update_yaxes(
        autorange=False, tickfont={"size": 12}, showgrid=True, gridcolor="rgba(128,128,128,.25)", zeroline=False
    )
