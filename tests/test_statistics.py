"""The intervals and tests, against figures worked out elsewhere."""

import math

import pytest

from vitquant.statistics import mcnemar, wilson


def test_wilson_matches_the_published_example() -> None:
    # Newcombe 1998, table I: 81 of 263 gives .2553 to .3662 (method 3, Wilson without correction).
    interval = wilson(81, 263)
    assert interval.share == pytest.approx(81 / 263)
    assert (interval.low, interval.high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))


@pytest.mark.parametrize(("successes", "n"), [(0, 20), (20, 20), (1, 1)])
def test_wilson_stays_inside_zero_to_one_at_the_ends(successes: int, n: int) -> None:
    interval = wilson(successes, n)
    assert 0 <= interval.low <= interval.share <= interval.high <= 1
    assert interval.low < interval.high


def test_nothing_measured_says_nothing() -> None:
    interval = wilson(0, 0)
    assert math.isnan(interval.share)
    assert (interval.low, interval.high) == (0, 1)


@pytest.mark.parametrize(
    ("broken", "fixed", "p"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        (6, 0, 2 / 2**6),
        (0, 6, 2 / 2**6),
        (8, 2, 2 * (1 + 10 + 45) / 2**10),
    ],
)
def test_mcnemar_is_the_exact_two_sided_binomial(broken: int, fixed: int, p: float) -> None:
    assert mcnemar(broken, fixed) == pytest.approx(p)
