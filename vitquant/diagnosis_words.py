"""What a diagnosis (vitquant/diagnosis.py) found, in sentences. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from vitquant.accuracy import REFERENCE
from vitquant.layers import HEAD, Layer

Row = Mapping[str, Any]

NAMED = 3
"""So many layers are named."""

DINOV2S_SEGMENTS = 5
"""How many tokens its head reads; in rows that were stored before there were other heads it is not said."""


def of_range(row: Row) -> str:
    """What reaches a layer, and what that leaves of the int8 grid. row: of part "range"."""
    channels, count = row["channels"], row["outliers"]
    if not count:
        times = row["absmax"] / row["ordinary"]
        return (
            f"No channel of {channels:,} stands out: the widest reaches {_times(times)} as far as the median "
            f"one; {_share(row, 'they share')}."
        )
    are = "is" if count == 1 else "are"
    segments = row.get("segments", DINOV2S_SEGMENTS)
    in_each = (
        f" ({count // segments:,} of {channels // segments:,} in each of the {segments} tokens that the head "
        "reads side by side)"
        if row.get("layer") == HEAD and segments > 1 and count % segments == 0
        else ""
    )
    others = "the other gets" if channels - count == 1 else "the others get"
    return (
        f"{count:,} of {channels:,} channels{in_each} {are} {_times(row['outlier_ratio'])} larger than the "
        f"rest; {_share(row, others)}."
    )


def sentences(rows: Sequence[Row], variant: str) -> list[str]:
    """All of a diagnosis: what the variant loses, which layers lose it, and why the worst one does. Markdown;
    of a diagnosis that has only begun, what there is."""
    whole = next((row for row in rows if row["part"] == "whole"), None)
    found = []
    if whole is not None:
        found.append(of_whole(whole, variant))
    ranked = worst_alone(rows)
    if ranked:
        found.append(of_layers(ranked))
        ranges = {row["layer"]: row for row in rows if row["part"] == "range"}
        worst = ranked[0]
        if worst["layer"] in ranges:
            why = of_range(ranges[worst["layer"]])
            found.append(f"What reaches {title(worst)}: {why[0].lower()}{why[1:]}")
    return found


def of_whole(row: Row, variant: str) -> str:
    """What a variant loses in all. row: of part "whole"."""
    n = row["n"]
    pictures = "this 1 picture" if n == 1 else f"these {n:,} pictures"
    return (
        f"On {pictures} **{variant}** has {_percent(row, 'top1')} right, where {REFERENCE} has "
        f"{_percent(row, 'fp32_top1')}; to {_percent(row, 'agree')} it answers as {REFERENCE} does. "
        f"KL {row['kl_nats']:.3g} nats."
    )


def of_layers(ranked: Sequence[Row]) -> str:
    """Which layers cost most by themselves. ranked: as worst_alone gives them, one at least."""
    named = [row for row in ranked if row["alone_kl_nats"] > 0][:NAMED]
    if not named:
        return f"No layer by itself changes what {REFERENCE} says, to the last bit."
    layers = [f"**{title(row)}** ({row['alone_kl_nats']:.3g} nats)" for row in named]
    listed = f"{', '.join(layers[:-1])} and {layers[-1]}" if len(layers) > 1 else layers[0]
    worst = min(ranked, key=lambda row: row["alone_agree"])
    changed = 1 - worst["alone_agree"]
    answers = (
        f"By itself {title(worst)} changes {changed:.0%} of the first answers."
        if changed > 0
        else "No layer by itself changes a first answer."
    )
    return f"Most sensitive, by the KL divergence that each layer causes alone: {listed}. {answers}"


def worst_alone(rows: Sequence[Row]) -> list[Row]:
    """The layers, those first that move the answers most by themselves (KL)."""
    layers = [row for row in rows if row["part"] == "layer"]
    return sorted(layers, key=lambda row: -row["alone_kl_nats"])


def title(row: Row) -> str:
    """A layer's, range's or group's row for people: "block 3, qkv"."""
    if "group" in row:
        return str(row["group"])
    return Layer(row["layer"], row["block"], row["kind"]).title


def _share(row: Row, who: str) -> str:
    left = row["levels_left"]
    if left is None:
        return "this layer is not rounded to int8"
    if not row["outliers"]:
        return f"at int8 {who} {left:,} of {row['levels']:,} levels"
    return f"at int8 {who} {'1 level' if left == 1 else f'{left:,} levels'}"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} times" if ratio >= 10 else f"{ratio:.1f} times"


def _percent(row: Row, name: str) -> str:
    return f"{row[name]:.1%} ({row[f'{name}_low']:.1%} to {row[f'{name}_high']:.1%})"
