"""Plotly figures from data frames, and the one place where a variant's colour, pattern and symbol live.

Every figure has a transparent background, so that it suits the light and the dark theme; every figure has
its text alternative beside it. Imports no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from vitquant import units, wording
from vitquant.variants import own_name

CONFIG = {"displayModeBar": False}
"""For st.plotly_chart: no toolbar, since nothing is zoomed or panned."""

LOGARITHMIC_TICKS = [digit * 10.0**power for power in range(-3, 7) for digit in (1, 2, 3, 5, 7)]


@dataclass(frozen=True)
class VariantStyle:
    """How a variant looks on every page; told apart without colour by pattern and symbol."""

    colour: str
    pattern: str  # plotly's fill pattern; "" is plain
    symbol: str  # plotly's marker symbol


# Okabe and Ito's palette, which people with any colour vision tell apart, on white and on near-black.
STYLES = {
    "fp32": VariantStyle("#3b8fc7", "", "circle"),
    "qint8": VariantStyle("#d9661f", "/", "square"),
    "float16": VariantStyle("#13a07c", ".", "diamond"),
    "bfloat16": VariantStyle("#7c8a99", "|", "pentagon"),
    "qint8_channel": VariantStyle("#c277a0", "x", "triangle-up"),
    "qint8_smooth": VariantStyle("#c9920a", "-", "cross"),
    "qint8_mixed": VariantStyle("#8a7fd0", "+", "hexagon"),
    "qint8_best": VariantStyle("#6f9c1b", "\\", "star"),
}
_SPARE = (
    VariantStyle("#5aa9d6", "|", "star-diamond"),
    VariantStyle("#a5694f", "x", "hourglass"),
)


def style(variant: str) -> VariantStyle:
    """A variant's look: its own, or one of the spare ones, always the same for the same name."""
    return STYLES.get(own_name(variant)) or _SPARE[sum(variant.encode()) % len(_SPARE)]


def hatched(look: VariantStyle, pattern: str | None = None) -> dict[str, Any]:
    """A bar's marker: the variant's colour under its pattern, or another one."""
    return {
        "color": look.colour,
        "pattern": {
            "shape": look.pattern if pattern is None else pattern,
            "bgcolor": look.colour,
            "fgcolor": "rgba(255,255,255,.55)",
            "size": 7,
            "solidity": 0.3,
        },
    }


def accuracy(rows: pd.DataFrame) -> go.Figure:
    """Top-1 (filled) and top-5 (open) with their 95% intervals. rows: as accuracy.rows gives them."""
    figure = go.Figure()
    variants = list(rows["variant"])
    for place, row in enumerate(rows.to_dict("records")):
        look = style(row["variant"])
        for figure_name, open_ in (("top1", False), ("top5", True)):
            share = row[figure_name]
            title = {"top1": wording.measure_in(row).first, "top5": "among the first five"}[figure_name]
            figure.add_scatter(
                x=[share],
                # A little below each other: at 100% their intervals would meet.
                y=[place + (0.16 if open_ else -0.16)],
                mode="markers",
                marker={
                    "symbol": look.symbol + ("-open" if open_ else ""),
                    "size": 13,
                    "color": look.colour,
                    "line": {"width": 2, "color": look.colour},
                },
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [row[f"{figure_name}_high"] - share],
                    "arrayminus": [share - row[f"{figure_name}_low"]],
                    "color": look.colour,
                    "thickness": 2,
                    "width": 5,
                },
                hovertemplate=(
                    f"{row['variant']}, {title}: {share:.1%} ({row[f'{figure_name}_low']:.1%} to "
                    f"{row[f'{figure_name}_high']:.1%}) of {row['n']:,} pictures<extra></extra>"
                ),
            )
    # From 0 to 1 whatever was measured: an axis cut short makes small differences look large.
    figure.update_xaxes(range=[-0.02, 1.02], tickformat=".0%", title="share of the pictures")
    figure.update_yaxes(tickvals=list(range(len(variants))), ticktext=variants, zeroline=False)
    return plain(figure, len(rows))


def accuracy_alt(rows: pd.DataFrame) -> str:
    measure = _measure_in(rows.to_dict("records"))
    firsts = measure.first.replace("answer", "answers", 1)
    parts = [
        f"{r['variant']}: {r['top1']:.1%} {firsts} (95% interval {r['top1_low']:.1%} to "
        f"{r['top1_high']:.1%}), {r['top5']:.1%} among the first five, {r['n']:,} pictures"
        for r in rows.to_dict("records")
    ]
    what = "Accuracy" if measure is wording.ACCURACY else measure.name.capitalize()
    return f"{what}. {'; '.join(parts)}."


def trade_off(rows: pd.DataFrame, cost: str, title: str, height: int | None = None) -> go.Figure:
    """What each variant keeps (top-1 with its 95% interval, upwards) against what it costs (to the right).

    rows: as accuracy.rows gives them, with a column named by cost, in the unit that the title names. height: in
    pixels, unless the usual one.
    """
    figure = go.Figure()
    largest = rows[cost].max() * 1.12
    points = rows.to_dict("records")

    def close(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
        return abs(one[cost] - other[cost]) < largest * 0.06 and abs(one["top1"] - other["top1"]) < 0.1

    for place, row in enumerate(points):
        look = style(row["variant"])
        # Where variants coincide, each is seen around the one above it, and their names do not meet.
        hidden_by = sum(close(row, other) for other in points[place + 1 :])
        beneath = sum(close(row, other) for other in points[:place])
        side = "right" if row[cost] < largest * 0.6 else "left"
        figure.add_scatter(
            x=[row[cost]],
            y=[row["top1"]],
            mode="markers+text",
            text=[row["variant"]],
            textposition=f"{('top', 'bottom', 'middle')[beneath % 3]} {side}",
            cliponaxis=False,  # a name at the upper edge is read in full
            marker={"symbol": look.symbol, "size": 14 + 9 * hidden_by, "color": look.colour},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [row["top1_high"] - row["top1"]],
                "arrayminus": [row["top1"] - row["top1_low"]],
                "color": look.colour,
                "thickness": 2,
                "width": 6,
            },
            hovertemplate=(
                f"{row['variant']}: {row['top1']:.1%} ({row['top1_low']:.1%} to {row['top1_high']:.1%}), "
                f"{row[cost]:,.1f} {title}<extra></extra>"
            ),
        )
    figure.add_shape(
        type="rect",
        x0=0,
        x1=largest * 0.12,
        y0=0.9,
        y1=1.04,
        line={"width": 0},
        fillcolor="rgba(128,128,128,.16)",
    )
    figure.add_annotation(
        x=0,
        y=0.89,
        text="costs nothing,<br>loses nothing:<br>out of reach",
        showarrow=False,
        xanchor="left",
        yanchor="top",
        align="left",
        font={"size": 11},
    )
    plain(figure, 0)
    figure.update_xaxes(title=title, range=[0, largest])
    figure.update_yaxes(
        range=[-0.09, 1.06],
        autorange=False,
        tickformat=".0%",
        title=share_title(points),
        showgrid=True,
        gridcolor="rgba(128,128,128,.25)",
        zeroline=False,
        tickfont={"size": 12},
    )
    figure.update_layout(height=height or 340)
    return figure


def share_title(rows: Sequence[Mapping[Any, Any]]) -> str:
    """The title of an axis for accuracy rows' shares."""
    measure = _measure_in(rows)
    return f"{measure.title} (top-1)" if measure is wording.ACCURACY else measure.title


def _measure_in(rows: Sequence[Mapping[Any, Any]]) -> wording.Measure:
    return wording.measure_in(rows[0]) if rows else wording.ACCURACY


def trade_off_alt(rows: pd.DataFrame, cost: str, title: str) -> str:
    parts = [f"{r['variant']}: {r['top1']:.1%} at {r[cost]:,.1f} {title}" for r in rows.to_dict("records")]
    return f"Accuracy against cost. {'; '.join(parts)}."


def latency(rows: pd.DataFrame) -> go.Figure:
    """Median time of a forward pass by shape, with quartiles, on a logarithmic axis in milliseconds."""
    figure = go.Figure()
    shapes = list(dict.fromkeys(rows["shape"]))
    variants = list(dict.fromkeys(rows["variant"]))
    for place, variant in enumerate(variants):
        look = style(variant)
        own = rows[rows["variant"] == variant]
        median = own["median_s"] * 1e3
        # Each variant a little lower than the one before, so that equal times do not hide each other.
        shift = 0.5 * (place - (len(variants) - 1) / 2) / max(len(variants) - 1, 1)
        figure.add_scatter(
            x=median,
            y=[shapes.index(shape) + shift for shape in own["shape"]],
            text=own["shape"],
            name=variant,
            mode="markers",
            marker={"symbol": look.symbol, "size": 13, "color": look.colour},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": own["q3_s"] * 1e3 - median,
                "arrayminus": median - own["q1_s"] * 1e3,
                "color": look.colour,
                "thickness": 2,
                "width": 5,
            },
            hovertemplate=f"{variant}, %{{text}}: %{{x:,.4~r}} ms<extra></extra>",
        )
    figure.update_xaxes(
        type="log",
        title="milliseconds for a batch (logarithmic)",
        tickvals=LOGARITHMIC_TICKS,
        ticktext=[f"{tick:,g}" for tick in LOGARITHMIC_TICKS],
    )
    figure.update_yaxes(tickvals=list(range(len(shapes))), ticktext=shapes, zeroline=False)
    return plain(figure, len(shapes), legend=True)


def latency_alt(rows: pd.DataFrame) -> str:
    parts = [
        f"{r['variant']} at {r['shape']}: {r['median_s'] * 1e3:.4g} ms"
        + ("" if pd.isna(r["ratio_to_fp32"]) else f", {r['ratio_to_fp32']:.2f} times as fast as fp32")
        for r in rows.to_dict("records")
    ]
    return f"Median latency. {'; '.join(parts)}."


def disk(rows: pd.DataFrame, unit: int) -> go.Figure:
    """What each variant takes on disk. unit: MB or MIB, the number of bytes in one."""
    figure = go.Figure()
    for row in rows.to_dict("records"):
        value = row["disk_bytes"] / unit
        _bar(figure, row["variant"], "on disk", value, pattern=style(row["variant"]).pattern, unit=unit)
        _end_label(figure, row["variant"], value, unit)
    return _bytes_axis(figure, len(rows), unit)


MEMORY_PARTS = {
    # column -> what people call it, fill pattern (told apart without colour)
    "parameters_bytes": ("what parameters() counts", ""),
    "packed_bytes": ("packed weights, which it does not count", "/"),
    "buffers_bytes": ("buffers", "x"),
}
MEMORY_LEGEND = "Plain: what `parameters()` counts. Striped: packed weights. Crossed: buffers."


def memory(rows: pd.DataFrame, unit: int) -> go.Figure:
    """What each variant's tensors take in memory, stacked by kind. unit: MB or MIB."""
    figure = go.Figure()
    for row in rows.to_dict("records"):
        for column, (title, pattern) in MEMORY_PARTS.items():
            if row[column]:
                _bar(figure, row["variant"], title, row[column] / unit, pattern=pattern, unit=unit)
        _end_label(figure, row["variant"], row["total_bytes"] / unit, unit)
    figure.update_layout(barmode="stack")
    return _bytes_axis(figure, len(rows), unit)


def instead(variant: str, names: Sequence[str], values: Sequence[int], of: int) -> go.Figure:
    """A variant's most frequent wrong answers. names, values: classes and how often each is answered wrongly;
    of: all its wrong answers."""
    look = style(variant)
    figure = go.Figure()
    figure.add_bar(
        x=list(values),
        y=list(range(len(names))),
        orientation="h",
        marker={"color": look.colour},
        text=[f"{value:,}" for value in values],
        textposition="outside",
        cliponaxis=False,
        customdata=[f"{name}: {value:,} of {of:,}" for name, value in zip(names, values, strict=True)],
        hovertemplate="%{customdata}<extra></extra>",
    )
    figure.update_xaxes(title="pictures given this answer, wrongly", range=[0, max(values) * 1.15])
    plain(figure, len(names))
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=list(names))
    figure.update_layout(height=70 + 28 * len(names), bargap=0.25)
    return figure


def confusion(variant: str, names: Sequence[str], cells: Sequence[tuple[int, int, int]]) -> go.Figure:
    """A confusion matrix as squares, whose points can be chosen. cells: row (true class), column (answer), both
    as places in names, and pictures."""
    figure = go.Figure()
    counts = [count for _, _, count in cells]
    figure.add_scatter(
        x=[column for _, column, _ in cells],
        y=[row for row, _, _ in cells],
        mode="markers+text",
        text=[str(count) for count in counts],
        textfont={
            "size": 9,
            "color": ["#ffffff" if count > max(counts) / 2 else "#808a94" for count in counts],
        },
        marker={
            "symbol": "square",
            "size": 17,
            "color": [shade(style(variant).colour, count / max(counts, default=1)) for count in counts],
            "line": {"width": 1, "color": style(variant).colour},
        },
        customdata=[f"{names[row]} taken for {names[column]}: {count}" for row, column, count in cells],
        hovertemplate="%{customdata}<extra></extra>",
    )
    plain(figure, len(names))
    places = list(range(len(names)))
    ends = [-0.6, len(names) - 0.4]
    figure.update_xaxes(
        tickvals=places, ticktext=list(names), tickangle=-90, side="top", range=ends, tickmode="array"
    )
    figure.update_yaxes(
        tickvals=places,
        ticktext=list(names),
        range=ends[::-1],
        autorange=False,
        tickfont={"size": 12},
        showgrid=True,
        gridcolor="rgba(128,128,128,.25)",
        zeroline=False,
    )
    figure.update_layout(height=130 + 30 * len(names))
    return figure


def shade(colour: str, share: float) -> str:
    """A colour (#rrggbb), fainter where the share (0..1) is smaller."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{0.15 + 0.85 * share:.2f})"


def size_alt(rows: pd.DataFrame, unit: int) -> str:
    parts = [
        f"{r['variant']}: {_amount(r['disk_bytes'] / unit)} on disk, {_amount(r['total_bytes'] / unit)} in "
        f"memory, of which parameters() counts {_amount(r['parameters_bytes'] / unit)}"
        for r in rows.to_dict("records")
    ]
    return f"Size in {units.name(unit)}. {'; '.join(parts)}."


def _bar(figure: go.Figure, variant: str, title: str, value: float, *, pattern: str, unit: int) -> None:
    look = style(variant)
    figure.add_bar(
        x=[value],
        y=[variant],
        orientation="h",
        marker=hatched(look, pattern),
        hovertemplate=f"{variant}, {title}: {_amount(value)} {units.name(unit)}<extra></extra>",
    )


def _end_label(figure: go.Figure, variant: str, value: float, unit: int) -> None:
    figure.add_annotation(
        x=value,
        y=variant,
        text=f"{_amount(value)} {units.name(unit)}",
        showarrow=False,
        xanchor="left",
        xshift=6,
    )


def _bytes_axis(figure: go.Figure, rows: int, unit: int) -> go.Figure:
    # Room at the right for the figure that stands at the end of the longest bar.
    longest = max((a.x for a in figure.layout.annotations), default=1)
    figure.update_xaxes(range=[0, longest * 1.4], title=units.name(unit))
    return plain(figure, rows)


def _amount(value: float) -> str:
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def plain(figure: go.Figure, rows: int, *, legend: bool = False) -> go.Figure:
    """What all figures have in common: transparent, a height by rows, the first row on top."""
    figure.update_layout(
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 0, "r": 8, "t": 34 if legend else 6, "b": 0},
        height=96 + 44 * rows + (28 if legend else 0),
        showlegend=legend,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0, "xanchor": "left"},
        bargap=0.35,
        dragmode=False,
    )
    figure.update_xaxes(
        fixedrange=True,
        showgrid=True,
        gridcolor="rgba(128,128,128,.25)",
        zeroline=False,
        automargin=True,
    )
    figure.update_yaxes(
        fixedrange=True, autorange="reversed", showgrid=False, automargin=True, tickfont={"size": 14}
    )
    return figure
