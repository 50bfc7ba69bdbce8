"""Figures of where a variant's bytes are: sums step by step, a treemap, pairs of bars. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from vitquant import charts, ledger
from vitquant.ledger import Ledger
from vitquant.riddle import Line

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

SEPARATOR = "/"
"""Between the names of a node's ancestors in its id; layers' own names have dots."""

LEVELS = ("block", "inside", "name")
"""What a variant's bytes are divided by on the way down."""


def dtype_colour(dtype: str) -> str:
    return DTYPE_COLOURS.get(dtype, _OTHER)


def dtype_title(dtype: str) -> str:
    """A data type as the legend calls it."""
    return dtype or "no numbers: structure and padding"


def waterfall(lines: Sequence[Line], variant: str, unit: int) -> go.Figure:
    """One variant's sum, step by step, from the top down. unit: charts.MB or charts.MIB."""
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
            f"{'' if line.is_sum or line is shown[0] else '+'}{_amount(v)}"
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
    figure.update_xaxes(range=[0, most * 1.3], title=charts.unit_name(unit))
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


def treemap(ledgers: Mapping[str, Ledger], measure: str, unit: int, level: str) -> go.Figure:
    """Where the bytes of one or two variants are, under one root, so that areas compare; each data type in its
    colour, float32 hatched as well. measure: "memory" or "disk"; level: the id of the node to begin at, "" for
    all."""
    nodes = pd.DataFrame(_nodes(ledgers, measure))
    figure = go.Figure()
    figure.add_treemap(
        ids=nodes["id"].tolist(),
        parents=nodes["parent"].tolist(),
        labels=nodes["label"].tolist(),
        values=nodes["bytes"].tolist(),
        branchvalues="total",
        level=level or ROOT,
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
            [f"{_amount(count / unit)} {charts.unit_name(unit)}", f"{count:,}", dtype_title(dtype)]
            for count, dtype in zip(nodes["bytes"], nodes["dtype"], strict=True)
        ],
        hovertemplate="<b>%{label}</b><br>%{customdata[1]} bytes, mostly %{customdata[2]}"
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


ROOT = "all"


def _nodes(ledgers: Mapping[str, Ledger], measure: str) -> list[dict[str, Any]]:
    """Every node with its id, parent, label, bytes and the data type that most of its bytes have."""
    nodes: dict[str, dict[str, Any]] = {}

    def add(node: str, parent: str, label: str, entry_bytes: int, dtype: str) -> None:
        found = nodes.setdefault(node, {"id": node, "parent": parent, "label": label, "bytes": 0, "of": {}})
        found["bytes"] += entry_bytes
        found["of"][dtype] = found["of"].get(dtype, 0) + entry_bytes

    for variant, entries in ledgers.items():
        for entry in entries:
            count = entry.memory_bytes if measure == "memory" else entry.disk_bytes
            dtype = entry.dtype if measure == "memory" else entry.disk_dtype
            if not count:
                continue
            path, parent = variant, ROOT
            add(ROOT, "", "variants side by side" if len(ledgers) > 1 else "one variant", count, dtype)
            add(path, parent, variant, count, dtype)
            for attribute in LEVELS:
                parent, path = path, f"{path}{SEPARATOR}{getattr(entry, attribute)}"
                add(path, parent, getattr(entry, attribute), count, dtype)
    for node in nodes.values():
        node["dtype"] = max(node["of"], key=node["of"].__getitem__)
    return list(nodes.values())


def treemap_alt(ledgers: Mapping[str, Ledger], measure: str) -> str:
    parts = []
    for variant, entries in ledgers.items():
        sums = ledger.by(entries, "dtype" if measure == "memory" else "disk_dtype")
        by_type = ", ".join(
            f"{dtype_title(dtype)} {getattr(found, f'{measure}_bytes'):,}"
            for dtype, found in sums.items()
            if getattr(found, f"{measure}_bytes")
        )
        parts.append(f"{variant}: {by_type}")
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
            marker={
                "color": look.colour,
                "pattern": {
                    "shape": look.pattern,
                    "bgcolor": look.colour,
                    "fgcolor": "rgba(255,255,255,.55)",
                    "size": 7,
                },
            },
            customdata=list(rows[variant]),
            text=[_amount(value) if value else "" for value in values],
            textposition="outside",
            cliponaxis=False,
            hovertemplate=f"{variant}, %{{y}}: %{{customdata:,}} bytes<extra></extra>",
        )
    charts.plain(figure, len(rows), legend=len(variants) > 1)
    most = max(float(rows[variant].max()) for variant in variants) / unit
    figure.update_xaxes(range=[0, most * 1.18], title=charts.unit_name(unit))
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
    for place, row in enumerate(rows):
        look = charts.style(row["variant"])
        tensors = row["total_bytes"] / unit
        steady, peak = ((row[f"{name}_bytes"] - row["baseline_bytes"]) / unit for name in ("steady", "peak"))
        for value, title, shade, pattern in (
            (min(tensors, steady), "its tensors", 1.0, ""),
            (max(steady - tensors, 0), "what else stays (libraries' code and buffers)", 0.55, "."),
            (max(peak - max(steady, 0), 0), "only while loading", 0.3, "/"),
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
                    f"{row['variant']}, {title}: {_amount(value)} {charts.unit_name(unit)}<extra></extra>"
                ),
            )
        figure.add_annotation(
            x=peak,
            y=place,
            text=f"{_amount(peak)} {charts.unit_name(unit)}",
            showarrow=False,
            xanchor="left",
            xshift=6,
        )
    charts.plain(figure, len(rows))
    most = max((row["peak_bytes"] - row["baseline_bytes"]) / unit for row in rows)
    figure.update_xaxes(range=[0, most * 1.4], title=charts.unit_name(unit))
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=[row["variant"] for row in rows])
    figure.update_layout(barmode="stack")
    return figure


def resident_alt(rows: Sequence[Mapping[str, Any]]) -> str:
    parts = [
        f"{row['variant']}: {row['peak_bytes'] - row['baseline_bytes']:,} at the peak, "
        f"{row['steady_bytes'] - row['baseline_bytes']:,} steady, {row['total_bytes']:,} of tensors"
        for row in rows
    ]
    return f"Resident memory added, in bytes. {'; '.join(parts)}."


def _amount(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 1 else f"{value:,.3g}"


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
