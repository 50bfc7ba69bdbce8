"""The intervals and tests behind every accuracy figure."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A share, or a difference of shares, with its 95% interval."""

    share: float
    low: float
    high: float


def wilson(successes: int, n: int) -> Interval:
    """A binomial share with Wilson's 95% score interval (scipy, method "wilson"); n = 0 gives 0..1."""
    if n == 0:
        return Interval(float("nan"), 0.0, 1.0)
    from scipy import stats  # a second to import, which listing models or runs need not wait for

    interval = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return Interval(successes / n, float(interval.low), float(interval.high))


def mcnemar(broken: int, fixed: int) -> float:
    """Exact McNemar test, two-sided: how likely so uneven a split of the discordant pairs is by chance.

    broken: examples the first has right and the second wrong; fixed: the reverse. 1.0 where none differ.
    """
    if broken + fixed == 0:
        return 1.0
    from scipy import stats

    return float(stats.binomtest(broken, broken + fixed, 0.5).pvalue)


def paired_difference(broken: int, fixed: int, n: int) -> Interval:
    """How much more of n examples a second variant has right than a first, with its 95% interval, -1..1.

    broken and fixed as for mcnemar. The interval is Wald's with half an example added to each of the four
    cells: Agresti and Min, "Simple improved confidence intervals for comparing matched proportions",
    Statistics in Medicine 24 (2005). n = 0 gives -1..1.
    """
    if n == 0:
        return Interval(float("nan"), -1.0, 1.0)
    b, c, of = broken + 0.5, fixed + 0.5, n + 2
    middle = (c - b) / of
    half = 1.959964 * math.sqrt(b + c - (c - b) ** 2 / of) / of
    return Interval((fixed - broken) / n, max(middle - half, -1.0), min(middle + half, 1.0))
