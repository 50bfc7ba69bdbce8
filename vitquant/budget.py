"""A budget of disk, memory and time, and which variants keep within it: what a device, a host or a person's
patience allows. Imports neither torch nor Streamlit.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vitquant.candidates import Candidate
from vitquant.errors import InputError
from vitquant.units import MB, MIB, bytes_words, seconds_words

BYTE_UNITS = {
    "B": 1, "KB": 10**3, "MB": MB, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": MIB, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip
SECOND_UNITS = {"S": 1.0, "MS": 1e-3}
MOST_BYTES = 10**18
WORTH_TELLING = 1.2
"""A variant about as accurate as the best is named where it is so many times smaller."""
MOST_SECONDS = 86_400.0

WHAT_DISK_IS = (
    "Disk is the smaller of torch's own file and of the state dict that Take it away makes, where float16 "
    "takes two bytes."
)
WHAT_MEMORY_IS = (
    "Memory is what a variant adds, at its peak and with one picture of the model's usual size, to a process "
    "that has torch and timm ready"
)

DISK, MEMORY, LATENCY = "disk", "memory", "latency"
"""What a budget may limit."""

FITS, UNKNOWN, TOO_MUCH = "fits", "unknown", "does not fit"
_RANK = {FITS: 0, UNKNOWN: 1, TOO_MUCH: 2}


@dataclass(frozen=True)
class Budget:
    """What there is. None: no limit."""

    disk_bytes: int | None = None
    memory_bytes: int | None = None
    latency_s: float | None = None

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set, in bytes and seconds."""
        named = {DISK: self.disk_bytes, MEMORY: self.memory_bytes, LATENCY: self.latency_s}
        return {what: limit for what, limit in named.items() if limit is not None}


@dataclass(frozen=True)
class Excess:
    """A limit that is broken, in bytes or seconds."""

    what: str  # DISK, MEMORY or LATENCY
    figure: float
    limit: float
    computed: bool = False  # the figure is the least it can be, not measured

    @property
    def over(self) -> float:
        return self.figure - self.limit

    @property
    def times(self) -> float:
        """How many times the limit it takes."""
        return self.figure / self.limit


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate keeps within a budget: FITS, UNKNOWN or TOO_MUCH, and why."""

    answer: str
    broken: tuple[Excess, ...] = ()
    missing: tuple[str, ...] = ()  # the limits whose figures were not measured


# Amounts as people write them


def parse_bytes(text: str, what: str = "an amount of bytes") -> int:
    """Bytes from "64MB", "64 MiB", "1.5GB" or "512B". MB is 10^6 bytes and MiB 2^20.

    Raises InputError where that is none. what: names the thing in its sentence.
    """
    number, unit = _number_and_unit(text)
    if number is None or unit not in BYTE_UNITS:
        raise InputError(
            f"{text!r} is not {what}: write a number with its unit, as 64MB (10^6 bytes each) or 64MiB "
            "(2^20 bytes each); B, kB, GB, KiB and GiB can be had too."
        )
    count = round(number * BYTE_UNITS[unit])
    if not 1 <= count <= MOST_BYTES:
        raise InputError(f"{text!r} is not {what}: take from 1 byte up to {MOST_BYTES // 10**9:,} GB.")
    return count


def parse_seconds(text: str, what: str = "a time") -> float:
    """Seconds from "150ms" or "0.2s". Raises InputError where that is none; what: as for parse_bytes."""
    number, unit = _number_and_unit(text)
    if number is None or unit not in SECOND_UNITS:
        raise InputError(f"{text!r} is not {what}: write a number with its unit, as 150ms or 0.15s.")
    seconds = number * SECOND_UNITS[unit]
    if not 0 < seconds <= MOST_SECONDS:
        raise InputError(f"{text!r} is not {what}: take more than 0 and up to {MOST_SECONDS:,.0f}s.")
    return seconds


def _number_and_unit(text: str) -> tuple[float | None, str]:
    """The number and the unit in capitals; no number where it is written otherwise."""
    match = re.fullmatch(r"\s*([0-9]{1,24}(?:\.[0-9]{1,24})?)\s*([A-Za-z]*)\s*", text)
    return (float(match[1]), match[2].upper()) if match else (None, "")


def words(what: str, figure: float, unit: int) -> str:
    """A figure of this kind for people."""
    return seconds_words(figure) if what == LATENCY else bytes_words(figure, unit)


# Judging


def judge(candidate: Candidate, budget: Budget) -> Verdict:
    """Whether a candidate keeps within the budget, breaks it (one broken limit is enough), or cannot be told
    to, since a figure was not measured."""
    figures = figures_of(candidate)
    broken, missing = [], []
    for what, limit in budget.limits.items():
        figure = figures[what]
        computed = figure is None and what == DISK
        least = candidate.computed_disk_bytes if computed else figure
        if least is not None and least > limit:
            broken.append(Excess(what, least, limit, computed))
        elif figure is None:
            missing.append(what)
    answer = TOO_MUCH if broken else UNKNOWN if missing else FITS
    return Verdict(answer, tuple(broken), tuple(missing))


def figures_of(candidate: Candidate) -> dict[str, float | None]:
    """What was measured of it, by what a budget may limit, in bytes and seconds."""
    return {DISK: candidate.disk_bytes, MEMORY: candidate.memory_bytes, LATENCY: candidate.latency_s}


Judged = tuple[Candidate, Verdict]


def ranked(candidates: Iterable[Candidate], budget: Budget) -> list[Judged]:
    """All of them judged: what fits first, then what cannot be told, then what does not fit.

    Within these the most accurate first, at the same accuracy the smaller; what has no accuracy last.
    """
    judged = [(candidate, judge(candidate, budget)) for candidate in candidates]
    return sorted(judged, key=lambda one: (_RANK[one[1].answer], *_accurate_then_small(one[0])))


def _accurate_then_small(candidate: Candidate) -> tuple[float, float]:
    top1, disk = candidate.top1, candidate.disk_bytes
    return (1.0 if top1 is None else -top1, float("inf") if disk is None else float(disk))


def plain(candidate: Candidate, verdict: Verdict, unit: int) -> dict[str, Any]:
    """A judged candidate, ready for JSON."""
    return {
        **asdict(candidate),
        "verdict": verdict.answer,
        "why": verdict_words(verdict, unit),
        "broken": [{**asdict(excess), "over": excess.over} for excess in verdict.broken],
        "missing": list(verdict.missing),
    }


# In words


def excess_words(excess: Excess, unit: int) -> str:
    """Which limit is broken, and by how much."""
    over, limit = words(excess.what, excess.over, unit), words(excess.what, excess.limit, unit)
    by = f"{excess.times:,.1f} times the {limit}" if excess.times >= 2 else f"{over} over the {limit}"
    return f"{_OF[excess.what]} {by}{' (computed from its numbers, not measured)' if excess.computed else ''}"


_OF = {DISK: "disk", MEMORY: "memory", LATENCY: "time"}


def verdict_words(verdict: Verdict, unit: int) -> str:
    """A verdict in a few words."""
    if verdict.answer == TOO_MUCH:
        return "does not fit: " + "; ".join(excess_words(excess, unit) for excess in verdict.broken)
    if verdict.answer == UNKNOWN:
        return f"not known: {listed(_OF[what] for what in verdict.missing)} not measured"
    return "fits"


def runtime_beyond(judged: Sequence[Judged], budget: Budget) -> int | None:
    """What the process itself takes before it loads any model, in bytes, where that is more than the limit of
    memory: then what fits fits beside a smaller runtime than torch only."""
    baselines = [one.baseline_bytes for one, _ in judged if one.baseline_bytes is not None]
    if budget.memory_bytes is None or not baselines or min(baselines) <= budget.memory_bytes:
        return None
    return min(baselines)


def answer_sentences(judged: Sequence[Judged], budget: Budget, unit: int) -> list[str]:
    """What fits, in plain sentences: how many, the most accurate of them, and what could change that."""
    fitting, unknown, too_much = (
        [one for one in judged if one[1].answer == answer] for answer in (FITS, UNKNOWN, TOO_MUCH)
    )
    if not any(candidate.is_measured for candidate, _ in judged):
        ruled_out = f" Computed from the numbers alone, {len(too_much)} cannot fit." if too_much else ""
        return [f"**Nothing is measured yet**, so nothing is known to fit.{ruled_out}"]
    found = []
    runtime = runtime_beyond(judged, budget)
    if runtime:
        found.append(
            f"**Nothing fits with torch**: its process takes {bytes_words(runtime, unit)} of memory before it "
            "loads any model, more than the limit."
        )
    if fitting:
        found.append(
            f"Beside a smaller runtime {len(fitting)} of {len(judged)} would."
            if runtime
            else f"**{len(fitting)} of {len(judged)} fit.**"
        )
        found += _best([candidate for candidate, _ in fitting])
    elif unknown:
        found.append(f"**None of the {len(judged)} is known to fit.**")
    else:
        found.append(f"**Nothing fits.** {_closest(too_much, unit)}")
    if unknown:
        might = f"{len(unknown)} more" if fitting else str(len(unknown))
        found.append(f"{might} might: something that decides it was not measured.")
    return found


def _best(fitting: Sequence[Candidate]) -> list[str]:
    """The most accurate, and what else its interval leaves as likely."""
    known = [candidate for candidate in fitting if candidate.top1 is not None]
    if not known:
        return ["How accurate they are was not measured."]
    best, *others = known
    row = best.accuracy or {}
    sentences = [f"The most accurate: **{best.label}**, {accuracy_words(row)}."]
    # Ranked behind it by what may be chance.
    alike = [other for other in others if (other.accuracy or {})["top1_high"] >= row["top1_low"]]
    sizes = [(other.disk_bytes, other) for other in alike if other.disk_bytes is not None]
    if sizes and best.disk_bytes is not None:
        least_bytes, least = min(sizes, key=lambda one: one[0])
        times = best.disk_bytes / least_bytes
        if times >= WORTH_TELLING:
            sentences.append(
                f"**{least.label}** takes {times:.1f} times less disk, and the intervals of the two overlap."
            )
    return sentences


def accuracy_words(row: Mapping[str, float]) -> str:
    """What an accuracy row says, with its interval and on how many pictures."""
    return (
        f"which recognises {row['top1']:.1%} of {row['n']:,} pictures "
        f"(95% interval {row['top1_low']:.1%} to {row['top1_high']:.1%})"
    )


def _closest(too_much: Sequence[Judged], unit: int) -> str:
    """What comes nearest to fitting, of what was measured."""
    # One of which everything is known before one that may break more limits than is known.
    candidate, verdict = min(
        too_much, key=lambda one: (len(one[1].missing), max(excess.times for excess in one[1].broken))
    )
    worst = max(verdict.broken, key=lambda excess: excess.times)
    figure, limit = (words(worst.what, amount, unit) for amount in (worst.figure, worst.limit))
    kind = "Computed, not measured: the closest" if worst.computed else "The closest"
    at_least = "at least " if worst.computed else ""
    return (
        f"{kind}, **{candidate.label}**, takes {at_least}{figure} of {_OF[worst.what]}, which is "
        f"{worst.times:,.1f} times the limit of {limit}."
    )


def listed(names: Iterable[str]) -> str:
    """Names as a sentence has them: "disk, memory and time"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
