"""The intervals and tests behind every accuracy figure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A share with its 95% interval, all in 0..1."""

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
