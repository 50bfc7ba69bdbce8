"""Plotly figures of runs for the Benchmark page and the report: sweeps, raw times, profiles, history, and how
an interval narrows. The looks are charts'. Imports no torch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from vitquant import charts
from vitquant.history import Band, Figure, Point
from vitquant.sequential import ALIKE, Look
from vitquant.shares import KINDS, Part

_KIND_COLOURS = ("#3b8fc7", "#d9661f", "#13a07c", "#c277a0", "#c9920a", "#8a7fd0", "#808a94")
SWEEPS = {
    # column of latency rows -> the axis
    "batch": "pictures in a batch",
    "image_size": "image size (pixels)",
    "threads": "threads",
}
MOST_RAW = 2000
"""So many raw times of one variant are drawn, evenly chosen."""


def narrowing(looks: Mapping[str, Sequence[Look]], last: int) -> go.Figure:
    """How the interval of each variant's difference from fp32 narrows with the pictures, in points."""
    figure = go.Figure()
    figure.add_hrect(
        y0=-100 * ALIKE, y1=100 * ALIKE, fillcolor="rgba(128,128,128,.22)", line_width=0, layer="below"
    )
    for variant, found in looks.items():
        look = charts.style(variant)
        n = [one.n for one in found]
        middle = [100 * one.difference.share for one in found]
        figure.add_scatter(
            x=n,
            y=middle,
            name=variant,
            mode="lines+markers",
            line={"color": look.colour, "width": 2},
            marker={"symbol": look.symbol, "size": 9, "color": look.colour},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [100 * one.difference.high - m for one, m in zip(found, middle, strict=True)],
                "arrayminus": [m - 100 * one.difference.low for one, m in zip(found, middle, strict=True)],
                "color": look.colour,
                "thickness": 2,
                "width": 5,
            },
            hovertemplate=f"{variant}, %{{x:,}} pictures: %{{y:+.2f}} points<extra></extra>",
        )
    charts.plain(figure, 4, legend=True)
    ticks = [64 * 2**k for k in range(20) if 64 * 2**k <= last]
    figure.update_xaxes(
        type="log", title="pictures (logarithmic)", tickvals=ticks, ticktext=[f"{tick:,}" for tick in ticks]
    )
    near, far = _off_the_chart(looks)
    figure.update_yaxes(
        title="points from fp32",
        range=near,
        autorange=near is None,
        tickfont={"size": 12},
        zeroline=True,
        zerolinecolor="gray",
    )
    for place, (variant, points) in enumerate(far.items()):
        figure.add_annotation(
            text=f"{variant}: {points:+.0f} points, off the chart",
            xref="paper",
            yref="paper",
            x=0.99,
            y=0.02 + 0.09 * place if points < 0 else 0.98 - 0.09 * place,
            xanchor="right",
            showarrow=False,
            font={"color": charts.style(variant).colour},
        )
    return figure


_FAR = 20.0
"""Variants further from fp32 than so many percentage points would leave no room for the others."""


def _off_the_chart(looks: Mapping[str, Sequence[Look]]) -> tuple[list[float] | None, dict[str, float]]:
    """The range of the axis, where some variants are too far away for it, and how far these are."""
    ends = {variant: 100 * found[-1].difference.share for variant, found in looks.items() if found}
    far = {variant: points for variant, points in ends.items() if abs(points) > _FAR}
    if not far or len(far) == len(ends):
        return None, {}
    shown = [look.difference for variant, found in looks.items() if variant not in far for look in found]
    reach = 110 * max(max(abs(interval.low), abs(interval.high)) for interval in shown)
    return [-reach, reach], far


def narrowing_alt(looks: Mapping[str, Sequence[Look]]) -> str:
    parts = [
        f"{variant} after {found[-1].n:,} pictures: {100 * found[-1].difference.low:+.2f} to "
        f"{100 * found[-1].difference.high:+.2f} points"
        for variant, found in looks.items()
        if found
    ]
    return f"Difference of top-1 from fp32 by number of pictures. {'; '.join(parts)}."


def sweep(rows: pd.DataFrame, along: str, column: str = "median_s") -> go.Figure:
    """Latency (median_s, with quartiles, in ms) or throughput (pictures_per_s) along one of SWEEPS, both axes
    logarithmic. rows: latency rows that differ in nothing else but the variant."""
    figure = go.Figure()
    is_time = column == "median_s"
    scale = 1e3 if is_time else 1.0
    for variant, own in rows.sort_values(along).groupby("variant", sort=False):
        look = charts.style(str(variant))
        figure.add_scatter(
            x=own[along],
            y=own[column] * scale,
            name=str(variant),
            mode="lines+markers",
            line={"color": look.colour, "width": 2},
            marker={"symbol": look.symbol, "size": 9, "color": look.colour},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": (own["q3_s"] - own["median_s"]) * scale,
                "arrayminus": (own["median_s"] - own["q1_s"]) * scale,
                "color": look.colour,
                "visible": is_time,
            },
            hovertemplate=f"{variant}, {SWEEPS[along]} %{{x}}: %{{y:,.4~r}}<extra></extra>",
        )
    charts.plain(figure, 4, legend=True)
    values = sorted(set(rows[along]))
    figure.update_xaxes(type="log", title=SWEEPS[along], tickvals=values, ticktext=[f"{v:g}" for v in values])
    figure.update_yaxes(
        type="log",
        autorange=True,
        title="milliseconds for a batch" if is_time else "pictures per second",
        tickfont={"size": 12},
        showgrid=True,
        gridcolor="rgba(128,128,128,.25)",
        tickvals=charts.LOGARITHMIC_TICKS,
        ticktext=[f"{tick:,g}" for tick in charts.LOGARITHMIC_TICKS],
    )
    return figure


def sweep_alt(rows: pd.DataFrame, along: str, column: str = "median_s") -> str:
    scale, unit = (1e3, "ms") if column == "median_s" else (1.0, "pictures per second")
    parts = [
        f"{row['variant']} at {row[along]}: {scale * row[column]:.4g} {unit}" for row in rows.to_dict("records")
    ]
    return f"By {SWEEPS[along]}. {'; '.join(parts)}."


def raw_times(times_s: Mapping[str, Sequence[float]]) -> go.Figure:
    """Every timed call of each variant in its order, in milliseconds (evenly thinned where there are many)."""
    figure = go.Figure()
    for variant, times in times_s.items():
        look = charts.style(variant)
        step = max(1, -(-len(times) // MOST_RAW))
        shown = times[::step]
        figure.add_scatter(
            x=[1 + step * place for place in range(len(shown))],
            y=[1e3 * seconds for seconds in shown],
            name=variant,
            mode="markers",
            marker={"symbol": look.symbol, "size": 4, "color": look.colour, "opacity": 0.6},
            hovertemplate=f"{variant}, call %{{x:,}}: %{{y:,.4~r}} ms<extra></extra>",
        )
    charts.plain(figure, 4, legend=True)
    figure.update_xaxes(title="call")
    figure.update_yaxes(title="milliseconds", autorange=True, tickfont={"size": 12}, rangemode="tozero")
    figure.update_layout(legend={"itemsizing": "constant"})
    return figure


def kinds(parts: Sequence[Part]) -> go.Figure:
    """For each variant, one bar of its time by kind of layer, in milliseconds; Linear layers are striped."""
    figure = go.Figure()
    names = list(dict.fromkeys(part.variant for part in parts))
    for is_linear in (True, False):
        for kind, colour in zip(KINDS, _KIND_COLOURS, strict=True):
            of_kind = [part for part in parts if part.title == kind]
            values = [1e3 * (part.linear_s if is_linear else part.other_s) for part in of_kind]
            if not any(values):
                continue
            title = f"{kind}, Linear" if is_linear else kind
            figure.add_bar(
                x=values,
                y=[part.variant for part in of_kind],
                name=title,
                orientation="h",
                marker={
                    "color": colour,
                    "pattern": {
                        "shape": "/" if is_linear else "",
                        "bgcolor": colour,
                        "fgcolor": "rgba(255,255,255,.6)",
                        "size": 7,
                        "solidity": 0.3,
                    },
                },
                hovertemplate=f"%{{y}}, {title}: %{{x:.3~r}} ms<extra></extra>",
            )
    charts.plain(figure, len(names), legend=True)
    beneath = {"traceorder": "normal", "font": {"size": 12}, "yanchor": "top", "y": -0.35}
    figure.update_layout(barmode="stack", legend=beneath, margin={"t": 6}, height=210 + 44 * len(names))
    figure.update_xaxes(title="milliseconds of a forward pass, by the profiler")
    return figure


def kinds_alt(parts: Sequence[Part]) -> str:
    listed = [
        f"{part.variant}, {part.title}: {1e3 * part.total_s:.3g} ms, "
        f"of it {1e3 * part.linear_s:.3g} in Linear layers"
        for part in parts
        if part.total_s
    ]
    return f"Time by kind of layer. {'; '.join(listed)}."


def blocks(parts: Sequence[Part]) -> go.Figure:
    """Each variant's time by block of the transformer, in milliseconds."""
    figure = go.Figure()
    for variant in dict.fromkeys(part.variant for part in parts):
        look = charts.style(variant)
        own = [part for part in parts if part.variant == variant]
        figure.add_scatter(
            x=[part.title.removeprefix("block ") for part in own],
            y=[1e3 * part.total_s for part in own],
            name=variant,
            mode="lines+markers",
            line={"color": look.colour, "width": 2},
            marker={"symbol": look.symbol, "size": 9, "color": look.colour},
            hovertemplate=f"{variant}, block %{{x}}: %{{y:.3~r}} ms<extra></extra>",
        )
    charts.plain(figure, 4, legend=True)
    figure.update_xaxes(title="block", type="category")
    figure.update_yaxes(title="milliseconds", autorange=True, rangemode="tozero", tickfont={"size": 12})
    return figure


def blocks_alt(parts: Sequence[Part]) -> str:
    listed = [f"{part.variant}, {part.title}: {1e3 * part.total_s:.3g} ms" for part in parts]
    return f"Time by block. {'; '.join(listed)}."


def operators(variant: str, rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """The operators of one variant by self time, in milliseconds, the longest on top."""
    figure = go.Figure()
    look = charts.style(variant)
    figure.add_bar(
        x=[1e3 * row["self_cpu_s"] for row in rows],
        y=list(range(len(rows))),
        orientation="h",
        marker={"color": look.colour},
        text=[f"{row['share']:.0%}" for row in rows],
        textposition="outside",
        cliponaxis=False,
        customdata=[row["name"] for row in rows],
        hovertemplate="%{customdata}: %{x:.3~r} ms<extra></extra>",
    )
    charts.plain(figure, len(rows))
    longest = max((1e3 * row["self_cpu_s"] for row in rows), default=1.0)
    figure.update_xaxes(title="milliseconds of a forward pass, by the profiler", range=[0, 1.15 * longest])
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=[row["name"] for row in rows])
    figure.update_yaxes(tickfont={"size": 12})
    figure.update_layout(height=70 + 26 * len(rows), bargap=0.25)
    return figure


def history(found: Mapping[str, Sequence[Point]], bands: Mapping[str, Band | None], of: Figure) -> go.Figure:
    """One figure over the runs, by variant, the oldest first; the band is how much it varies by itself."""
    figure = go.Figure()
    ends = sorted({(point.at, point.run_id) for points in found.values() for point in points})
    places = {end: place for place, end in enumerate(ends)}
    for variant, points in found.items():
        look = charts.style(variant)
        band = bands.get(variant)
        if band:
            figure.add_hrect(
                y0=band.low, y1=band.high, fillcolor=look.colour, opacity=0.18, line_width=0, layer="below"
            )
        figure.add_scatter(
            x=[places[point.at, point.run_id] for point in points],
            y=[point.value for point in points],
            name=variant,
            mode="lines+markers",
            line={"color": look.colour, "width": 1, "dash": "dot"},
            marker={"symbol": look.symbol, "size": 10, "color": look.colour},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [0 if point.high is None else point.high - point.value for point in points],
                "arrayminus": [0 if point.low is None else point.value - point.low for point in points],
                "color": look.colour,
            },
            customdata=[f"run {point.run_id}, {point.at[:16].replace('T', ' ')}" for point in points],
            hovertemplate=f"{variant}, %{{customdata}}: %{{y:,.5~r}} {of.unit}<extra></extra>",
        )
    charts.plain(figure, 4, legend=True)
    names = ["shipped" if _is_shipped(found, end) else f"run {end[1]}" for end in ends]
    figure.update_xaxes(
        tickvals=list(range(len(ends))),
        ticktext=[f"{name}<br>{end[0][5:16].replace('T', ' ')}" for name, end in zip(names, ends, strict=True)],
        range=[-0.5, len(ends) - 0.5],
    )
    figure.update_yaxes(title=f"{of.title} ({of.unit})", autorange=True, tickfont={"size": 12})
    return figure


def _is_shipped(found: Mapping[str, Sequence[Point]], end: tuple[str, int]) -> bool:
    return any(p.shipped for points in found.values() for p in points if (p.at, p.run_id) == end)


def history_alt(found: Mapping[str, Sequence[Point]], of: Figure) -> str:
    parts = [
        f"{variant} in run {point.run_id}: {point.value:,.4g} {of.unit}"
        for variant, points in found.items()
        for point in points
    ]
    return f"{of.title} over {len(parts)} measurements. {'; '.join(parts)}."
