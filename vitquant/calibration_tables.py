"""Calibrations, and the study of how many pictures they need, as tables for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from vitquant.tables import or_dash, table

Row = Mapping[str, Any]


def text(rows: Sequence[Row]) -> str:
    """For each variant what was found and on what, and every candidate that was measured on the way."""
    blocks = []
    for fit in (row for row in rows if row["part"] == "fit"):
        found = "; ".join(f"{name}: {_plain(value)}" for name, value in fit["parameters"].items())
        trail = [row for row in rows if row["part"] == "candidate" and row["variant"] == fit["variant"]]
        titles = [
            "step",
            "KL (nats)",
            "top-1",
            "points lost",
            "at most",
            "broken",
            "fixed",
            "weights (MB)",
            "",
            "because",
        ]
        body = [
            [
                row["step"],
                f"{row['mean_kl_nats']:.3g}",
                f"{row['top1']:.1%}",
                f"{row['points_lost']:+.2f}",
                f"{row['points_lost_high']:+.2f}",
                row["broken"],
                row["fixed"],
                f"{row['weight_bytes'] / 1e6:.2f}",
                "kept" if row["kept"] else "",
                row["why"],
            ]
            for row in trail
        ]
        head = f"{fit['variant']}: {found}\nCalibrated on {fit['calibrated_on']}."
        blocks.append(f"{head}\n{table(titles, body)}" if body else head)
    if blocks:
        blocks.append(
            "Points lost: by how much the mean probability of the right class falls, in percentage points, "
            "which is finer than counting answers; at most: 95% sure. A limit is kept where that is within it."
        )
    return "\n\n".join(blocks)


def study(rows: Sequence[Row]) -> str:
    """What SmoothQuant is worth by the number of pictures it was fitted to, and their seed."""
    titles = ["calibration pictures", "seed", "judged on", "top-1", "95% interval", "as fp32", "KL (nats)"]
    body = [
        [
            row["pictures"] or "none: not smoothed",
            or_dash(row["seed"] if row["pictures"] else None, "{}"),
            row["n"],
            f"{row['top1']:.2%}",
            f"{row['top1_low']:.2%} to {row['top1_high']:.2%}",
            f"{row['agree']:.2%}",
            f"{row['mean_kl_nats']:.3g}",
        ]
        for row in rows
    ]
    return table(titles, body)


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
