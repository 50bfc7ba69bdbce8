"""Measured values in plain sentences. What a sentence claims, its interval or test has to carry."""

from collections.abc import Mapping, Sequence
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
        verdict = f"no more uneven than chance would make it ({_p(p)})"
    else:
        verdict = f"{'worse' if broken > fixed else 'better'} than chance explains ({_p(p)})"
    return f"{right}; {against}, {verdict}."


def p_value(p: float) -> str:
    """A p-value for people: two digits, and never a probability of nothing."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def _p(p: float) -> str:
    return f"p {p_value(p)}" if p < 1e-4 else f"p = {p_value(p)}"


def kept_sentence(row: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    """What a variant has kept of fp32's accuracy, for everybody. reference: fp32's row on the same pictures."""
    if row["variant"] == reference["variant"]:
        return "The original, as it was trained."
    broken, fixed = row["broken"], row["fixed"]
    right = round(reference["top1"] * reference["n"])
    if row["n"] != reference["n"] or row["mcnemar_p"] is None:
        return "Not measured on the same pictures as the original."
    if broken + fixed == 0:
        return "Right and wrong on exactly the same pictures as the original."
    if row["mcnemar_p"] >= SIGNIFICANT:
        return f"No difference that these pictures could show: {broken:,} newly wrong, {fixed:,} newly right."
    if broken > fixed:
        return f"Gets {broken:,} of the {right:,} pictures wrong that the original gets right."
    return f"Gets {fixed:,} pictures right that the original gets wrong, and {broken:,} the other way round."


def speed_sentences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """How each variant's latency rows compare with fp32's at the same shape; none where fp32 is missing."""
    references = {row["shape"]: row for row in rows if row["variant"] == REFERENCE}
    return [
        _speed_sentence(row, references[row["shape"]])
        for row in rows
        if row["variant"] != REFERENCE and row["shape"] in references
    ]


def _speed_sentence(row: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    who, where = f"**{row['variant']}**", f"at {row['shape']}"
    if row["q1_s"] <= reference["q3_s"] and reference["q1_s"] <= row["q3_s"]:
        return (
            f"{who} {where}: no clear difference from {REFERENCE}, since the quartiles overlap. If the machine "
            "was busy, measure again when it is quiet."
        )
    ratio = reference["median_s"] / row["median_s"]
    if ratio > 1:
        return f"{who} {where}: {ratio:.2f} times as fast as {REFERENCE}."
    return f"{who} {where}: slower than {REFERENCE}, taking {1 / ratio:.2f} times as long."
