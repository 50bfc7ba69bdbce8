"""Measured values in plain sentences. What a sentence claims, its interval or test has to carry."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vitquant import bits, latency, resident, sequential, shares, statistics, units
from vitquant.accuracy import REFERENCE
from vitquant.catalog import DatasetSpec
from vitquant.sequential import Look

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Measure:
    """What counts as right on a dataset's pictures, in the words that pages and tables take for it."""

    name: str  # of the share, for tables
    title: str  # of the share, for everybody
    right: str  # of one answer
    wrong: str
    first: str  # of a first answer that counts
    help: str


ACCURACY = Measure(
    name="top-1",
    title="pictures recognised",
    right="right",
    wrong="wrong",
    first="first answer right",
    help="Top-1 accuracy: the share of pictures whose most probable class is the true one.",
)
AGREEMENT = Measure(
    name=f"agreement with {REFERENCE}",
    title=f"agreement with {REFERENCE}",
    right=f"as {REFERENCE}",
    wrong=f"not as {REFERENCE}",
    first=f"first answer as {REFERENCE}'s",
    help=f"These pictures have no labels: the share to which the most probable class is {REFERENCE}'s.",
)


NO_LABELS = (
    f"These pictures have no labels: {REFERENCE}'s first answer counts as the right one, so that top-1 is "
    f"agreement with {REFERENCE}."
)


def measure_of(spec: DatasetSpec) -> Measure:
    """What is measured on a dataset: accuracy, or agreement with fp32 where its pictures have no labels."""
    return ACCURACY if spec.labelled else AGREEMENT


def measure_in(row: Mapping[Any, Any]) -> Measure:
    """What an accuracy row (accuracy.rows) tells of."""
    return AGREEMENT if row.get("agreement_with") else ACCURACY


def accuracy_sentence(row: Mapping[str, Any]) -> str:
    """One variant's accuracy row (accuracy.rows) for people, with the digits."""
    if row.get("agreement_with"):
        return _agreement_sentence(row)
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


def _agreement_sentence(row: Mapping[str, Any]) -> str:
    if row["variant"] == REFERENCE:
        return (
            f"**{REFERENCE}** is what the others are compared with: the {row['n']:,} pictures have no labels."
        )
    return (
        f"**{row['variant']}** answers {row['top1']:.1%} of {row['n']:,} pictures as {REFERENCE} does "
        f"({row['top1_low']:.1%} to {row['top1_high']:.1%}), and has {REFERENCE}'s answer among its first five "
        f"for {row['top5']:.1%}."
    )


def conclusion_sentence(row: Mapping[str, Any]) -> str:
    """What a run until sure concluded of one variant, and on how many pictures."""
    who, n = f"**{row['variant']}**", f"{row['n']:,} pictures"
    low, high = 100 * row["difference_low"], 100 * row["difference_high"]
    interval = f"interval {low:+.2f} to {high:+.2f} points"
    if row["conclusion"] == "differs":
        way = "fewer" if row["difference"] < 0 else "more"
        if row.get("agreement_with"):
            return f"{who} differs from {REFERENCE} ({interval}). Settled on {n}."
        return f"{who} differs: it has {way} pictures right than {REFERENCE} ({interval}). Settled on {n}."
    if row["conclusion"] == "within":
        return f"{who} lies within one percentage point of {REFERENCE} ({interval}). Settled on {n}."
    return f"{who} is unsettled after {n}, the last of them ({interval})."


def until_sure_sentences(
    looks: Mapping[str, Sequence[Look]], last: int, error: float, measure: Measure = ACCURACY
) -> list[str]:
    """Each variant's conclusion, or how far it is from one. measure: what was measured on the pictures."""
    found = []
    for variant, taken in looks.items():
        if not taken:
            found.append(f"**{variant}**: the first look comes after {sequential.looks(last)[0]:,} pictures.")
            continue
        look = taken[-1]
        if sequential.next_look(list(taken), last) is None:
            row = {
                "variant": variant,
                "n": look.n,
                "difference": look.difference.share,
                "difference_low": look.difference.low,
                "difference_high": look.difference.high,
                "conclusion": look.conclusion,
                "agreement_with": REFERENCE if measure is AGREEMENT else None,
            }
            found.append(conclusion_sentence(row))
        else:
            likely = sequential.likely_look(look.broken, look.fixed, look.n, last, error)
            found.append(waiting_sentence(variant, look, likely))
    return found


def short_accuracy(row: Mapping[str, Any]) -> str:
    """One variant's top-1 with its interval, in a few words."""
    return (
        f"**{row['variant']}** {row['top1']:.1%} ({row['top1_low']:.1%} to {row['top1_high']:.1%}) "
        f"of {row['n']:,}"
    )


def waiting_sentence(variant: str, look: Look, likely: int | None) -> str:
    """How far a variant is from being settled, in a run until sure that goes on."""
    discordant = look.broken + look.fixed
    so_far = (
        f"**{variant}** was right and wrong exactly where {REFERENCE} was on {look.n:,} pictures"
        if not discordant
        else f"**{variant}** differs from {REFERENCE} on {discordant:,} of {look.n:,} pictures"
    )
    if likely is None:
        return f"{so_far}: if it goes on so, not even the last picture will settle it."
    return f"{so_far}: if it goes on so, {likely:,} will settle it."


def p_value(p: float) -> str:
    """A p-value for people: two digits, and never a probability of nothing."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def _p(p: float) -> str:
    return f"p {p_value(p)}" if p < 1e-4 else f"p = {p_value(p)}"


def kept_sentence(
    row: Mapping[str, Any], reference: Mapping[str, Any], *, times_smaller: float | None = None
) -> str:
    """What a variant has kept of fp32's accuracy, for everybody. reference: fp32's row on the same pictures;
    times_smaller: fp32's bytes by the variant's, where they are known."""
    if row["variant"] == reference["variant"]:
        return "The reference: 32-bit numbers, as the model is loaded."
    broken, fixed, n = row["broken"], row["fixed"], row["n"]
    if n != reference["n"] or broken is None:
        return "Not measured on the same pictures as the original."
    difference = statistics.paired_difference(broken, fixed, n)
    if row.get("agreement_with"):
        return f"{_agrees(row, sequential.is_alike(difference))}{_space(times_smaller)}."
    if sequential.is_alike(difference):
        exactly = broken + fixed == 0
        alike = "exactly the same pictures as" if exactly else "as many pictures as"
        within = "" if exactly else ", to within one in a hundred"
        return f"Recognises {alike} the original{within}{_space(times_smaller)}."
    if difference.high < 0:
        return f"{_lost(broken, round(reference['top1'] * n))}{_space(times_smaller, ', though ')}."
    if difference.low > 0:
        more = _between(difference.low, difference.high)
        return f"Recognises {more} more pictures in a hundred than the original."
    return (
        f"Not enough pictures yet to tell: between {100 * -difference.low:.1f} fewer and "
        f"{100 * difference.high:.1f} more in a hundred than the original."
    )


def _agrees(row: Mapping[str, Any], alike: bool) -> str:
    """How often a variant answers as the original does."""
    if not row["broken"]:
        return f"Answers all {row['n']:,} pictures as the original does"
    share = (
        "all but one in a hundred" if alike else f"{_between(row['top1_low'], row['top1_high'])} of a hundred"
    )
    return f"Answers {share} pictures as the original does"


def _lost(broken: int, right: int) -> str:
    """How many of the pictures that the original has right are lost, as precisely as the interval allows."""
    share = statistics.wilson(broken, right)
    tenths = {round(10 * end) for end in (share.low, share.share, share.high)}
    if tenths == {10}:
        return "Gets nearly every picture wrong that the original gets right"
    if len(tenths) == 1 and min(tenths) >= 2:
        return f"Gets {tenths.pop()} of 10 pictures wrong that the original gets right"
    return f"Gets {_between(share.low, share.high)} of a hundred pictures wrong that the original gets right"


def _between(low: float, high: float) -> str:
    """Two shares as numbers out of a hundred."""
    digits = 0 if high - low > 0.02 else 1
    return f"{100 * low:.{digits}f} to {100 * high:.{digits}f}"


def _space(times_smaller: float | None, joined: str = ", ") -> str:
    """How little space that takes; nothing where it is not much less."""
    if times_smaller is None or times_smaller < 1.5:
        return ""
    parts = {2: "half", 3: "a third of", 4: "a quarter of", 5: "a fifth of"}
    for part in sorted(parts, reverse=True):
        if abs(times_smaller - part) < 0.05 * part:
            return f"{joined}in {parts[part]} the space"
    whole = int(times_smaller)
    if whole in parts:
        return f"{joined}in less than {parts[whole]} the space"
    return f"{joined}in {1 / times_smaller:.0%} of the space"


def speed_sentences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """How each variant's latency rows compare with fp32's at the same shape and threads; none where fp32 is
    missing."""
    references = {(row["shape"], row["threads"]): row for row in rows if row["variant"] == REFERENCE}
    several = len({row["threads"] for row in rows}) > 1
    return [
        _speed_sentence(row, references[row["shape"], row["threads"]], several)
        for row in rows
        if row["variant"] != REFERENCE and (row["shape"], row["threads"]) in references
    ]


MOST_SHAPES = 3
"""Of more shapes than these a summary is given."""


def speed_summary(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """speed_sentences, or where there are many shapes one sentence a variant."""
    shapes = list(dict.fromkeys(row["shape"] for row in rows))
    if len(shapes) <= MOST_SHAPES:
        return speed_sentences(rows)
    found = []
    for name in dict.fromkeys(row["variant"] for row in rows if row["variant"] != REFERENCE):
        clear = {
            row["shape"]: row["ratio_to_fp32"]
            for row in rows
            if row["variant"] == name and row["ratio_to_fp32"] is not None and not row.get("is_noisy")
        }
        if not clear:
            continue
        worst, best = min(clear, key=clear.__getitem__), max(clear, key=clear.__getitem__)
        found.append(
            f"**{name}** is {clear[worst]:.2f} (at {worst}) to {clear[best]:.2f} (at {best}) times as fast as "
            f"{REFERENCE}. The Engineer view draws how that grows."
        )
    return found


def _speed_sentence(row: Mapping[str, Any], reference: Mapping[str, Any], several_threads: bool) -> str:
    on = f" on {latency.threads_title(row['threads'])}" if several_threads else ""
    who, where = f"**{row['variant']}**", f"at {row['shape']}{on}"
    if row.get("is_noisy") or reference.get("is_noisy"):
        return (
            f"{who} {where}: the machine was too noisy to tell. Half of the calls lay between "
            f"{1e3 * row['q1_s']:.3g} and {1e3 * row['q3_s']:.3g} ms, {REFERENCE}'s between "
            f"{1e3 * reference['q1_s']:.3g} and {1e3 * reference['q3_s']:.3g}. Measure again when it is quiet."
        )
    if row["q1_s"] <= reference["q3_s"] and reference["q1_s"] <= row["q3_s"]:
        return (
            f"{who} {where}: no clear difference from {REFERENCE}, since the quartiles overlap. If the machine "
            "was busy, measure again when it is quiet."
        )
    ratio = reference["median_s"] / row["median_s"]
    if ratio > 1:
        return f"{who} {where}: {ratio:.2f} times as fast as {REFERENCE}."
    return f"{who} {where}: slower than {REFERENCE}, taking {1 / ratio:.2f} times as long."


def profile_sentences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a profile says of each variant's speed: Amdahl's bound, and what makes it slower where it is."""
    found = []
    for name in shares.variants(rows):
        law = shares.amdahl(rows, name)
        if law is None:
            continue
        sentence = (
            f"**{name}**: {law.linear_share:.0%} of {REFERENCE}'s time goes into Linear layers, the only ones "
            f"that change. Computed (Amdahl's law): if they took no time at all, the whole would be "
            f"{law.bound:.2f} times as fast; they were {law.linear_ratio:.2f} times as fast, which makes "
            f"{law.predicted:.2f}. One pass beside the profile was {law.measured:.2f} times as fast."
        )
        if law.measured < 1:
            culprits = ", ".join(
                f"`{operator}` (+{1e3 * more_s:.2g} ms)" for operator, more_s in shares.slower(rows, name)
            )
            sentence += f" What takes longer than in {REFERENCE}: {culprits or 'no single operator'}."
        quantizing_s, linear_s = shares.quantizing(rows, name)
        if quantizing_s and linear_s:
            sentence += (
                f" Rounding what comes into these layers takes about {quantizing_s / linear_s:.0%} of their "
                "time (estimated by doing it alone)."
            )
        found.append(sentence)
    return found


def smaller_sentences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """By how much each variant of a size run is smaller than fp32, in its file and in memory."""
    own = {row["variant"]: row for row in rows}
    reference = own.pop(REFERENCE, None)
    if reference is None:
        return []
    found = []
    for name, row in own.items():
        disk, memory = (reference[column] / row[column] for column in ("disk_bytes", "total_bytes"))
        file = f"is {disk:.1f} times smaller than" if disk >= NOT_SMALLER else "is not smaller than"
        held = f"are {memory:.1f} times smaller" if memory >= NOT_SMALLER else "are not smaller"
        found.append(f"**{name}**'s file {file} {REFERENCE}'s; its tensors in memory {held}.")
    return found


def loading_sentence(rows: Sequence[Mapping[str, Any]], unit: int) -> str | None:
    """That a quantized variant takes more than fp32 while it is loaded, where one does (of a size run's
    rows)."""
    peaks = {row["variant"]: adds.peak_bytes for row in rows if (adds := resident.added(row))}
    most = max(peaks, key=peaks.__getitem__, default=REFERENCE)
    if REFERENCE not in peaks or most == REFERENCE:
        return None
    return (
        f"While it is loaded, **{most}** takes the most, {units.bytes_words(peaks[most], unit)} at the peak, "
        f"more than {REFERENCE} with {units.bytes_words(peaks[REFERENCE], unit)}: for a moment a weight lies "
        "in memory as read and as packed."
    )


NOT_SMALLER = 1.05
"""Less than so many times smaller is not called smaller."""


def reproduced(off: Mapping[str, float]) -> str:
    """By how much the notebook's figures are missed at most (riddle.largest_deviation)."""
    memory = "exactly" if off["memory"] == 0 else f"within {off['memory']:.3%}"
    return (
        f"**Reproduced**: on disk within {off['disk']:.3%} (a file also holds names and structure, which "
        f"differ between programs), in memory {memory}."
    )


def ruined_sentence(row: Mapping[str, Any]) -> str | None:
    """That an exported file has clearly fewer pictures right than fp32 (an export run's row); None where it has
    not."""
    if row.get("fp32_top1") is None or row["top1_high"] >= row["fp32_top1"]:
        return None
    return (
        f"It recognises {row['top1']:.1%} of these {row['n']:,} pictures (95% interval {row['top1_low']:.1%} "
        f"to {row['top1_high']:.1%}), where fp32 recognises {row['fp32_top1']:.1%}: what was lost in "
        "quantizing is lost in this file."
    )


HARMLESS = 0.99
"""Where at least so many of fp32's answers stay, rounding its weights is called harmless."""


def bits_sentences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a bits run (vitquant/bits.py) found on its own pictures: how far down nearly all answers stay, and
    what becomes of them where it matters most what shares a scale (where that is not clear: at the fewest
    bits)."""
    by_scale = {
        granularity: sorted(
            (row for row in rows if row["granularity"] == granularity), key=lambda row: -row["bits"]
        )
        for granularity in bits.GRANULARITIES
    }
    found = []
    for granularity, own in by_scale.items():
        if not own:
            continue  # a run that stopped half-way has not come to it
        scales = f"Scales **{bits.GRANULARITIES[granularity]}**"
        stays = f"at least {HARMLESS:.0%} of the answers to these {own[0]['n']:,} pictures stay {REFERENCE}'s"
        good = list(itertools.takewhile(lambda row: row["agree"] >= HARMLESS, own))
        found.append(
            f"{scales}: down to **{good[-1]['bits']} bits** {stays}."
            if good
            else f"{scales}: at no number of bits {stays}; at {own[0]['bits']} bits {_kept_answers(own[0])} do."
        )
    per_channel = {row["bits"]: row for row in by_scale[bits.CHANNEL]}
    pairs = [(row, per_channel[row["bits"]]) for row in by_scale[bits.TENSOR] if row["bits"] in per_channel]
    if not pairs:
        return found
    apart = [(one, other) for one, other in pairs if one["agree_high"] < other["agree_low"]]
    one, other = max(apart or pairs[-1:], key=lambda pair: pair[1]["agree"] - pair[0]["agree"])
    found.append(
        f"At {one['bits']} bits {_kept_answers(one)} stay with one scale for a whole weight, and "
        f"{_kept_answers(other)} with one for each output channel."
    )
    return found


def _kept_answers(row: Mapping[str, Any]) -> str:
    return f"{row['agree']:.0%} ({row['agree_low']:.0%} to {row['agree_high']:.0%})"


def age(at: str, now: datetime | None = None) -> str:
    """How long ago a stored time (UTC, ISO 8601) was, as people say it."""
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(at)).total_seconds()
    steps = ((60, 1, "second"), (3600, 60, "minute"), (48 * 3600, 3600, "hour"), (math.inf, 86400, "day"))
    unit_s, unit = next((unit_s, unit) for below, unit_s, unit in steps if seconds < below)
    count = max(int(seconds / unit_s), 0)
    if count == 0:
        return "just now"
    return f"{count:,} {unit}{'s' if count != 1 else ''} ago"
