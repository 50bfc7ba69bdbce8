"""Measured values in plain sentences. What a sentence claims, its interval or test has to carry."""

from collections.abc import Mapping
from typing import Any

from vitquant.accuracy import REFERENCE

SIGNIFICANT = 0.05


def accuracy_sentence(row: Mapping[str, Any]) -> str:
    """One variant's accuracy row (accuracy.rows) for people, with the digits."""
    right = (
        f"**{row['variant']}** names {row['top1']:.1%} of {row['n']:,} pictures right at once "
        f"({row['top1_low']:.1%} to {row['top1_high']:.1%}), and {row['top5']:.1%} within five guesses"
    )
    if row["variant"] == REFERENCE or row["mcnemar_p"] is None:
        return f"{right}."
    broken, fixed, p = row["broken"], row["fixed"], row["mcnemar_p"]
    against = f"against {REFERENCE} it breaks {broken:,} and fixes {fixed:,}"
    if broken + fixed == 0:
        return f"{right}; on these pictures it is right and wrong exactly where {REFERENCE} is."
    if p >= SIGNIFICANT:
        verdict = f"no more uneven than chance would make it (p = {p:.2g})"
    else:
        verdict = f"{'worse' if broken > fixed else 'better'} than chance explains (p = {p:.2g})"
    return f"{right}; {against}, {verdict}."


def speed_sentence(row: Mapping[str, Any]) -> str | None:
    """How one variant's latency row compares with fp32's; None for fp32, and where it was not measured."""
    ratio = row["ratio_to_fp32"]
    if row["variant"] == REFERENCE or ratio is None:
        return None
    if 0.95 <= ratio <= 1.05:  # medians of one model differ so much between runs
        return f"**{row['variant']}** takes about as long as {REFERENCE} at {row['shape']} ({ratio:.2f}×)."
    if ratio > 1:
        return f"**{row['variant']}** is {ratio:.2f} times as fast as {REFERENCE} at {row['shape']}."
    return f"**{row['variant']}** is {1 / ratio:.2f} times as slow as {REFERENCE} at {row['shape']}."
