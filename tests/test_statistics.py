"""The intervals and tests, against figures worked out elsewhere."""

import math

import numpy as np
import pytest

from vitquant.statistics import mcnemar, paired_difference, wilson


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


def test_a_paired_difference_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    truth, n, covered = 0.03 - 0.08, 400, 0
    for broken, fixed, _ in random.multinomial(n, [0.08, 0.03, 0.89], size=2000):
        found = paired_difference(int(broken), int(fixed), n)
        assert found.low <= found.share <= found.high
        covered += found.low <= truth <= found.high
    assert 0.93 < covered / 2000 < 0.98


def test_a_paired_difference_of_nothing_says_nothing() -> None:
    nothing = paired_difference(0, 0, 0)
    assert (nothing.low, nothing.high) == (-1.0, 1.0)
    same = paired_difference(0, 0, 1000)
    assert same.share == 0
    assert -0.004 < same.low < 0 < same.high < 0.004
    assert paired_difference(10, 0, 10).low == -1.0
