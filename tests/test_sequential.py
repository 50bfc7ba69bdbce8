"""Until sure: when a variant settles, and how often it may be wrong."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from benchmarks.until_sure_simulation import TRUTHS, conclude
from vitquant import sequential, wording
from vitquant.sequential import Look
from vitquant.statistics import paired_difference


def test_looks_double_and_end_at_the_last_picture() -> None:
    assert sequential.looks(10_000) == (64, 128, 256, 512, 1024, 2048, 4096, 8192, 10_000)
    assert sequential.looks(128) == (64, 128)
    assert sequential.looks(20) == (20,)


def test_the_error_is_divided_over_looks_and_variants() -> None:
    assert sequential.error_per_look(10_000, 2) * 9 * 2 == pytest.approx(sequential.ERROR)


def test_a_collapse_settles_at_the_first_look() -> None:
    found = sequential.taken(lambda n: (int(0.9 * n), 0), 10_000, sequential.error_per_look(10_000, 5))
    assert [(look.n, look.conclusion) for look in found] == [(64, "differs")]


def test_a_variant_that_never_differs_needs_under_a_thousand_pictures() -> None:
    error = sequential.error_per_look(10_000, 2)
    settled = [n for n in range(1, 2000) if sequential.look_at(0, 0, n, error).conclusion == "within"]
    assert 600 < settled[0] < 1024
    assert settled == list(range(settled[0], 2000))


def test_nothing_is_concluded_from_pictures_that_are_not_measured() -> None:
    found = sequential.taken(lambda n: (0, 0) if n <= 128 else None, 10_000, 0.001)
    assert [look.n for look in found] == [64, 128]
    assert sequential.next_look(found, 10_000) == 256


def test_the_last_picture_leaves_a_variant_unsettled() -> None:
    found = sequential.taken(lambda n: (n // 20, n // 20 + 2), 300, 0.001)
    assert [look.n for look in found] == [64, 128, 256, 300]
    assert found[-1].conclusion == "unsettled"
    assert sequential.next_look(found, 300) is None


def test_how_far_it_is_goes_on_from_what_was_seen() -> None:
    error = sequential.error_per_look(10_000, 1)
    assert sequential.likely_look(0, 0, 128, 10_000, error) == 1024
    assert sequential.likely_look(3, 3, 300, 10_000, error) == 2048  # 2% of them differ, as often either way
    assert sequential.likely_look(1, 1, 64, 200, error) is None
    look = sequential.look_at(0, 0, 128, error)
    assert "1,024 will settle it" in wording.waiting_sentence("float16", look, 1024)
    assert "not even the last picture" in wording.waiting_sentence("float16", look, None)


@pytest.mark.parametrize("truth", TRUTHS, ids=lambda truth: truth.title)
def test_wrong_conclusions_are_rarer_than_promised(truth: object) -> None:
    random = np.random.default_rng(1)
    error = sequential.error_per_look(4000, 1)
    ends = [conclude(truth, 4000, error, random) for _ in range(200)]
    assert sum(end.conclusion == truth.wrong for end in ends) / 200 < sequential.ERROR


@pytest.mark.parametrize(
    ("conclusion", "words"),
    [
        ("differs", "**qint8** differs: it has fewer pictures right"),
        ("within", "lies within one percentage point"),
        ("unsettled", "unsettled after 64 pictures"),
    ],
)
def test_conclusions_in_words(conclusion: str, words: str) -> None:
    row = {"variant": "qint8", "n": 64, "difference": -0.5, "difference_low": -0.6, "difference_high": -0.4}
    sentence = wording.conclusion_sentence(row | {"conclusion": conclusion})
    assert words in sentence
    assert "64 pictures" in sentence


@pytest.mark.parametrize(("broken", "fixed", "n"), [(3, 9, 100), (12, 2, 50), (0, 5, 60), (7, 0, 200)])
@pytest.mark.parametrize("error", [0.05, 0.002])
def test_the_ends_of_the_interval_are_the_differences_that_the_score_test_just_rejects(
    broken: int, fixed: int, n: int, error: float
) -> None:
    """The likeliest shares under each end are found here by trying all of them, not by a formula."""
    interval = paired_difference(broken, fixed, n, error=error)
    z = NormalDist().inv_cdf(1 - error / 2)
    for end in (interval.low, interval.high):
        shares = np.linspace(max(0.0, -end) + 1e-12, min(1.0, (1 - end) / 2), 400_001)  # of broken ones
        with np.errstate(divide="ignore", invalid="ignore"):
            likelihood = (
                _times_log(broken, shares)
                + _times_log(fixed, shares + end)
                + _times_log(n - broken - fixed, 1 - 2 * shares - end)
            )
        share = shares[np.nanargmax(likelihood)]
        variance = n * (2 * share + end - end**2)
        assert abs(fixed - broken - n * end) / math.sqrt(variance) == pytest.approx(z, rel=1e-3)


def _times_log(count: int, shares: np.ndarray) -> np.ndarray:
    return count * np.log(shares) if count else np.zeros_like(shares)


def test_a_look_keeps_what_it_saw() -> None:
    look = sequential.look_at(5, 1, 64, 0.05)
    assert isinstance(look, Look)
    assert (look.n, look.broken, look.fixed) == (64, 5, 1)
    assert look.difference.share == pytest.approx(-4 / 64)
