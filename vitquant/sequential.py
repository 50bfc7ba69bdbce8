"""Until sure: when a variant has been compared with fp32 on enough pictures to say how they compare.

At looks fixed beforehand (after 64, 128, 256, … pictures, and after the last) a variant may settle in one of
two ways: its top-1 differs from fp32's, or it lies within one percentage point of it. The probability of a
wrong conclusion, ERROR, is divided evenly over all looks and variants (Bonferroni), so it holds for the whole
run however the looks depend on each other. Imports no torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from vitquant import statistics
from vitquant.statistics import Interval

FIRST_LOOK = 64
ERROR = 0.05
"""The probability of any wrong conclusion in a run."""
ALIKE = 0.01
"""Two variants recognise as many pictures where the interval of the difference stays within this."""

Conclusion = Literal["differs", "within", "unsettled"]
Pairs = Callable[[int], tuple[int, int] | None]
"""How many of the first so many pictures are broken and fixed; None where they are not all measured."""


@dataclass(frozen=True)
class Look:
    """What one look at the first n pictures says."""

    n: int
    broken: int
    fixed: int
    difference: Interval  # of top-1 from fp32's; wrong with the probability that this look may spend
    p: float  # exact McNemar
    conclusion: Conclusion


def looks(last: int) -> tuple[int, ...]:
    """After how many pictures one looks, where there are so many: doubling, then the last."""
    found = []
    look = FIRST_LOOK
    while look < last:
        found.append(look)
        look *= 2
    return (*found, last)


def error_per_look(last: int, variants: int) -> float:
    """What each look at each of so many compared variants may spend of ERROR."""
    return ERROR / (len(looks(last)) * max(variants, 1))


def look_at(broken: int, fixed: int, n: int, error: float) -> Look:
    """What n pictures say, if a wrong conclusion from this look may have this probability."""
    difference = statistics.paired_difference(broken, fixed, n, error=error)
    p = statistics.mcnemar(broken, fixed)
    conclusion: Conclusion = "unsettled"
    if p < error:
        conclusion = "differs"
    elif is_alike(difference):
        conclusion = "within"
    return Look(n, broken, fixed, difference, p, conclusion)


def is_alike(difference: Interval) -> bool:
    """Whether the whole interval lies within one percentage point of no difference."""
    return difference.low > -ALIKE and difference.high < ALIKE


def taken(pairs: Pairs, last: int, error: float) -> list[Look]:
    """The looks that could be taken so far: up to the first that settles, or that is not measured yet."""
    found: list[Look] = []
    for n in looks(last):
        counts = pairs(n)
        if counts is None:
            break
        found.append(look_at(*counts, n, error))
        if found[-1].conclusion != "unsettled":
            break
    return found


def next_look(so_far: list[Look], last: int) -> int | None:
    """How many pictures the next look needs; None where there is none to take."""
    if so_far and so_far[-1].conclusion != "unsettled":
        return None
    return next((n for n in looks(last) if not so_far or n > so_far[-1].n), None)


def likely_look(broken: int, fixed: int, n: int, last: int, error: float) -> int | None:
    """At which look the variant will settle if it goes on as it did on these n pictures; None: at none."""
    for look in looks(last):
        if look >= n and n > 0:
            scaled = look_at(round(broken * look / n), round(fixed * look / n), look, error)
            if scaled.conclusion != "unsettled":
                return look
    return None
