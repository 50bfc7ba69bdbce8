"""A diagnosis as tables for a terminal."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vitquant import diagnosis_words
from vitquant.layers import KINDS
from vitquant.tables import Cells, or_dash, table

Row = Mapping[str, Any]


def text(rows: Sequence[Row]) -> str:
    """What was found in words; then each layer, the most sensitive first, with what reaches it; groups;
    depth."""
    variant = next((row["variant"] for row in rows if row["part"] == "whole"), "int8")
    found = [sentence.replace("**", "") for sentence in diagnosis_words.sentences(rows, variant)]
    blocks = ["\n".join(found)] if found else []
    parts: Sequence[tuple[str, Callable[[Sequence[Row]], Cells]]] = (
        ("each layer: it alone quantized, and all but it", layer_cells),
        ("blocks and kinds of layer", group_cells),
        ("what reaches each layer in float32", range_cells),
        ("tokens after each block, beside fp32's", depth_cells),
        ("answers that change in a batch", batch_cells),
    )
    for title, cells in parts:
        titles, *body = cells(rows)
        if body:
            blocks.append(f"{title}\n{table(titles, body)}")
    return "\n\n".join(blocks)


_COSTS = [
    f"{way}: {what}"
    for way in ("alone", "all but it")
    for what in ("KL", "points of top-1 lost", "as fp32", "SQNR")
]


def layer_cells(rows: Sequence[Row]) -> Cells:
    """Every layer, the most sensitive first."""
    ranked = diagnosis_words.worst_alone(rows)
    return [
        ["layer", "pictures", *_COSTS],
        *[[diagnosis_words.title(row), row["n"], *_costs(row)] for row in ranked],
    ]


def group_cells(rows: Sequence[Row]) -> Cells:
    """Every kind of layer and every block, in the model's order."""
    groups = [row for row in rows if row["part"] == "group"]
    groups.sort(key=lambda row: row["group"] not in KINDS)  # stable: in the order measured otherwise
    return [["group", "pictures", *_COSTS], *[[row["group"], row["n"], *_costs(row)] for row in groups]]


def range_cells(rows: Sequence[Row]) -> Cells:
    titles = (
        "layer|channels|largest|median channel's|outliers|times larger|levels|left to the rest|largest weight"
    )
    body: Cells = [
        [
            diagnosis_words.title(row),
            f"{row['channels']:,}",
            f"{row['absmax']:.4g}",
            f"{row['ordinary']:.4g}",
            f"{row['outliers']:,}",
            or_dash(row["outlier_ratio"], "{:.1f}"),
            or_dash(row["levels"], "{:,}"),
            or_dash(row["levels_left"], "{:,}"),
            f"{row['weight_absmax']:.4g}",
        ]
        for row in rows
        if row["part"] == "range"
    ]
    return [list(titles.split("|")), *body]


def depth_cells(rows: Sequence[Row]) -> Cells:
    body: Cells = [
        [
            row["block"],
            f"{row['class_cosine']:.4f}",
            f"{row['patch_cosine']:.4f}",
            _decibels(row["sqnr_db"]),
        ]
        for row in rows
        if row["part"] == "depth"
    ]
    return [["block", "cosine of class token", "of patches", "SQNR"], *body]


def batch_cells(rows: Sequence[Row]) -> Cells:
    body: Cells = [
        [
            row["batch"],
            f"{row['n']:,}",
            f"{row['changed']:.1%}",
            f"{row['changed_low']:.1%} to {row['changed_high']:.1%}",
        ]
        for row in rows
        if row["part"] == "batch"
    ]
    return [["batch", "pictures", "answered otherwise than alone", "95% interval"], *body]


def _costs(row: Row) -> list[object]:
    cells: list[object] = []
    for way in ("alone", "but"):
        lost, low, high = (100 * row[f"{way}_{name}"] for name in ("lost", "lost_low", "lost_high"))
        cells += [
            f"{row[f'{way}_kl_nats']:.3g} nats",
            f"{lost:+.1f} ({low:+.1f} to {high:+.1f})",
            f"{row[f'{way}_agree']:.1%}",
            _decibels(row[f"{way}_sqnr_db"]),
        ]
    return cells


def _decibels(value: float | None) -> str:
    return or_dash(value, "{:.1f} dB")
