"""Figures of where a variant's bytes are: sums step by step, a treemap, pairs of bars. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from vitquant import charts, ledger, tree, units
from vitquant import resident as resident_memory
from vitquant.riddle import Line
from vitquant.tree import Ledgers

DTYPE_COLOURS = {
    # A data type looks as the variant that is named for it, on every page.
    "float32": charts.STYLES["fp32"].colour,
    "int8": charts.STYLES["qint8"].colour,
    "float16": charts.STYLES["float16"].colour,
    "bfloat16": "#8a7fd0",
    ledger.SCALES: "#c9920a",
    "": "#8b949e",  # what a file has besides numbers
}
_OTHER = "#c277a0"


def dtype_colour(dtype: str) -> str:
    return DTYPE_COLOURS.get(dtype, _OTHER)


def dtype_title(dtype: str) -> str:
    """A data type as the legend calls it."""
    return dtype or "no numbers: structure and padding"


def waterfall(lines: Sequence[Line], variant: str, unit: int) -> go.Figure:
    """One variant's sum, step by step, from the top down. unit: units.MB or units.MIB."""
    shown = [line for line in lines if line.amounts[variant] or line.is_sum or line is lines[0]]
    values = [line.amounts[variant] / unit for line in shown]
    look = charts.style(variant)
    figure = go.Figure()
    figure.add_waterfall(
        orientation="h",
        measure=["total" if line.is_sum else "relative" for line in shown],
        x=values,
        y=list(range(len(shown))),
        text=[
            f"{'' if line.is_sum or line is shown[0] else '+'}{units.digits(v)}"
            for line, v in zip(shown, values, strict=True)
        ],
        textposition="outside",
        cliponaxis=False,
        increasing={"marker": {"color": look.colour}},
        decreasing={"marker": {"color": "#8b949e"}},
        totals={"marker": {"color": look.colour, "line": {"color": look.colour, "width": 2}}},
        connector={"line": {"color": "rgba(128,128,128,.5)", "width": 1}},
        customdata=[[line.title, line.amounts[variant]] for line in shown],
        hovertemplate="%{customdata[0]}: %{customdata[1]:,} bytes<extra></extra>",
    )
    most = max(line.amounts[variant] for line in shown) / unit
    charts.plain(figure, len(shown))
    figure.update_xaxes(range=[0, most * 1.3], title=units.name(unit))
    figure.update_yaxes(
        tickvals=list(range(len(shown))),
        ticktext=[_wrapped(line.title) for line in shown],
        tickfont={"size": 12},
    )
    figure.update_layout(height=90 + 44 * len(shown))
    return figure


def waterfall_alt(lines: Sequence[Line], variant: str) -> str:
    parts = [
        f"{line.title} {'=' if line.is_sum else ''} {line.amounts[variant]:,} bytes"
        for line in lines
        if line.amounts[variant] or line.is_sum
    ]
    return f"{variant}: {'; '.join(parts)}."


def treemap(ledgers: Ledgers, measure: str, order: str, unit: int, level: str) -> go.Figure:
    """Where the bytes of one or two variants are, under one root, so that areas compare; each data type in its
    colour, float32 hatched as well. measure: "memory" or "disk"; level: the id of the node to begin at, "" for
    all."""
    nodes = pd.DataFrame(tree.nodes(ledgers, measure, order))
    figure = go.Figure()
    figure.add_treemap(
        ids=nodes["id"].tolist(),
        parents=nodes["parent"].tolist(),
        labels=nodes["label"].tolist(),
        values=nodes["bytes"].tolist(),
        branchvalues="total",
        level=level,
        maxdepth=4,
        sort=False,
        marker={
            "colors": [dtype_colour(dtype) for dtype in nodes["dtype"]],
            "line": {"width": 1, "color": "rgba(255,255,255,.55)"},
            "pattern": {
                "shape": ["/" if dtype == "float32" else "" for dtype in nodes["dtype"]],
                "fgcolor": "rgba(255,255,255,.28)",
                "fillmode": "overlay",
                "solidity": 0.25,
                "size": 9,
            },
            "pad": {"t": 18, "l": 3, "r": 3, "b": 3},
            "cornerradius": 3,
        },
        texttemplate="%{label}<br>%{customdata[0]}",
        textfont={"color": "white", "size": 13},
        customdata=[
            [
                f"{units.digits(count / unit)} {units.name(unit)}",
                f"{count:,}",
                f"{'' if is_pure else 'mostly '}{dtype_title(dtype)}",
            ]
            for count, dtype, is_pure in zip(nodes["bytes"], nodes["dtype"], nodes["is_pure"], strict=True)
        ],
        hovertemplate="<b>%{label}</b><br>%{customdata[1]} bytes, %{customdata[2]}"
        "<br>%{percentRoot:.1%} of what is shown in all<extra></extra>",
        pathbar={"visible": False},  # the page has its own way back up
        tiling={"packing": "squarify", "pad": 2},
    )
    figure.update_layout(
        height=520,
        margin={"l": 0, "r": 0, "t": 4, "b": 0},
        paper_bgcolor="rgba(0,0,0,0)",
        uniformtext_mode=None,
    )
    return figure


def treemap_alt(ledgers: Ledgers, measure: str) -> str:
    parts = [
        f"{variant}: "
        + ", ".join(
            f"{dtype_title(dtype)} {count:,}" for dtype, count in ledger.by_dtype(entries, measure).items()
        )
        for variant, entries in ledgers.items()
    ]
    return f"Bytes by data type, {'in memory' if measure == 'memory' else 'on disk'}. {'; '.join(parts)}."


def pairs(rows: pd.DataFrame, variants: Sequence[str], unit: int) -> go.Figure:
    """What each part takes in each variant, as bars on one axis. rows: a column "part", and one of bytes for
    each variant."""
    figure = go.Figure()
    for variant in variants:
        look = charts.style(variant)
        values = rows[variant] / unit
        figure.add_bar(
            x=values,
            y=list(range(len(rows))),
            orientation="h",
            name=variant,
            marker=charts.hatched(look),
            customdata=list(rows[variant]),
            text=[units.digits(value) if value else "" for value in values],
            textposition="outside",
            cliponaxis=False,
            hovertemplate=f"{variant}, %{{y}}: %{{customdata:,}} bytes<extra></extra>",
        )
    charts.plain(figure, len(rows), legend=len(variants) > 1)
    most = max(float(rows[variant].max()) for variant in variants) / unit
    figure.update_xaxes(range=[0, most * 1.18], title=units.name(unit))
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=list(rows["part"]), tickfont={"size": 12})
    figure.update_layout(barmode="group", height=110 + (10 + 15 * len(variants)) * len(rows), bargap=0.25)
    return figure


def pairs_alt(rows: pd.DataFrame, variants: Sequence[str]) -> str:
    parts = [
        f"{row['part']}: {', '.join(f'{variant} {row[variant]:,}' for variant in variants)}"
        for row in rows.to_dict("records")
    ]
    return f"Bytes by part. {'; '.join(parts)}."


def resident(rows: Sequence[Mapping[str, Any]], unit: int) -> go.Figure:
    """What loading each variant and one prediction add to a process: its tensors, what else stays, and the
    peak."""
    figure = go.Figure()
    measured = [(row, adds) for row in rows if (adds := resident_memory.added(row))]
    for place, (row, adds) in enumerate(measured):
        look = charts.style(row["variant"])
        tensors, steady, peak = (n / unit for n in (row["total_bytes"], adds.steady_bytes, adds.peak_bytes))
        for value, title, shade, pattern in (
            (min(tensors, steady), "its tensors", 1.0, ""),
            (max(steady - tensors, 0), "what else stays (libraries' code and buffers)", 0.55, "."),
            (max(peak - steady, 0), "only while loading", 0.3, "/"),
        ):
            figure.add_bar(
                x=[value],
                y=[place],
                orientation="h",
                marker={
                    "color": look.colour,
                    "opacity": shade,
                    "pattern": {
                        "shape": pattern,
                        "bgcolor": look.colour,
                        "fgcolor": "rgba(255,255,255,.8)",
                        "size": 7,
                        "solidity": 0.3,
                    },
                },
                hovertemplate=(
                    f"{row['variant']}, {title}: {units.digits(value)} {units.name(unit)}<extra></extra>"
                ),
            )
        figure.add_annotation(
            x=peak,
            y=place,
            text=f"{units.digits(peak)} {units.name(unit)}",
            showarrow=False,
            xanchor="left",
            xshift=6,
        )
    charts.plain(figure, len(measured))
    most = max(adds.peak_bytes for _, adds in measured) / unit
    figure.update_xaxes(range=[0, most * 1.4], title=units.name(unit))
    figure.update_yaxes(tickvals=list(range(len(measured))), ticktext=[row["variant"] for row, _ in measured])
    figure.update_layout(barmode="stack")
    return figure


def resident_alt(rows: Sequence[Mapping[str, Any]]) -> str:
    parts = [
        f"{row['variant']}: {adds.peak_bytes:,} at the peak, {adds.steady_bytes:,} steady, "
        f"{row['total_bytes']:,} of tensors"
        for row in rows
        if (adds := resident_memory.added(row))
    ]
    return f"Resident memory added, in bytes. {'; '.join(parts)}."


def _wrapped(text: str, width: int = 30) -> str:
    """A long label on several lines."""
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "<br>".join([*lines, line])
