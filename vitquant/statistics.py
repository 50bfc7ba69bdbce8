"""The intervals and tests behind every accuracy figure."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A share, or a difference of shares, with its interval: 95% unless said otherwise."""

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


def paired_difference(broken: int, fixed: int, n: int, *, error: float = 0.05) -> Interval:
    """How much more of n examples a second variant has right than a first, -1..1, with its interval.

    broken and fixed as for mcnemar; error: the probability that the interval misses the true difference,
    divided evenly between its two sides. The interval inverts the score test: Tango, "Equivalence test and
    confidence interval for the difference in proportions for the paired-sample design", Statistics in
    Medicine 17 (1998), so it has a width even where no example differs. n = 0 gives -1..1.
    """
    if n == 0:
        return Interval(float("nan"), -1.0, 1.0)
    z = statistics.NormalDist().inv_cdf(1 - error / 2)
    share = (fixed - broken) / n
    low = -1.0 if broken == n else _where(lambda d: _score(broken, fixed, n, d) > z, -1.0, share)
    high = 1.0 if fixed == n else _where(lambda d: _score(broken, fixed, n, d) > -z, share, 1.0)
    return Interval(share, min(low, share), max(high, share))


def unpaired_difference(first: Interval, second: Interval) -> Interval:
    """The second of two shares less the first, measured on different examples, with its 95% interval.

    Both with Wilson's intervals: Newcombe, "Interval estimation for the difference between independent
    proportions", Statistics in Medicine 17 (1998), method 10.
    """
    share = second.share - first.share
    low = share - math.hypot(second.share - second.low, first.high - first.share)
    high = share + math.hypot(second.high - second.share, first.share - first.low)
    return Interval(share, max(low, -1.0), min(high, 1.0))


def median_error(q1: float, q3: float, n: int) -> float:
    """The standard error of a median, from the quartiles of n values: 1.25 / 1.35 of their distance by the root
    of n (McGill, Tukey and Larsen, "Variations of box plots", The American Statistician 32, 1978)."""
    return 1.25 * (q3 - q1) / (1.35 * math.sqrt(n))


def _score(broken: int, fixed: int, n: int, difference: float) -> float:
    """Tango's statistic: how many standard errors the observed difference lies above this one."""
    b = -fixed - broken + (2 * n - fixed + broken) * difference
    c = -broken * difference * (1 - difference)
    # The share of broken ones that is likeliest if the true difference is this one.
    likeliest = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    variance = n * (2 * likeliest + difference * (1 - difference))
    above = fixed - broken - n * difference
    return above / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, above)


def _where(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Where a condition that holds at the low end and not at the high one changes, by halving."""
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return (low + high) / 2
