"""How often a run until sure concludes wrongly, and how many pictures it takes: simulated on known accuracies.

    python -m benchmarks.until_sure_simulation

Each simulated run answers 10,000 pictures (Tiny-ImageNet's validation set) with the probabilities given, and is
judged by vitquant/sequential.py as a real one is. Wrong is "differs" where the true accuracies are equal, and
"within one point" where they are one point apart or further. Nothing is timed, and the seed is fixed.
"""

import argparse
from collections import Counter
from dataclasses import dataclass

import numpy as np

from vitquant import sequential


@dataclass(frozen=True)
class Truth:
    """What a variant really does: the shares of pictures that it breaks and that it fixes."""

    title: str
    broken: float
    fixed: float

    @property
    def wrong(self) -> str | None:
        """The conclusion that would be wrong."""
        apart = abs(self.broken - self.fixed)
        if apart < 1e-12:
            return "differs"
        return "within" if apart >= sequential.ALIKE - 1e-12 else None


TRUTHS = (
    Truth("equal, never differing", 0.0, 0.0),
    Truth("equal, differing in 2% of pictures", 0.01, 0.01),
    Truth("equal, differing in 6% of pictures", 0.03, 0.03),
    Truth("0.5 points apart", 0.0125, 0.0075),
    Truth("1 point apart, all of it broken", 0.01, 0.0),
    Truth("1 point apart", 0.015, 0.005),
    Truth("1.5 points apart", 0.02, 0.005),
    Truth("3 points apart", 0.04, 0.01),
    Truth("collapsed (92% to 1%)", 0.915, 0.005),
)


def conclude(truth: Truth, last: int, error: float, random: np.random.Generator) -> sequential.Look:
    """One simulated variant's last look."""
    draws = random.random(last)
    broken = np.cumsum(draws < truth.broken)
    fixed = np.cumsum((draws >= truth.broken) & (draws < truth.broken + truth.fixed))
    return sequential.taken(lambda n: (int(broken[n - 1]), int(fixed[n - 1])), last, error)[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)

    print(f"{options.runs} runs of at most {options.pictures:,} pictures")
    print(f"{'one variant compared with fp32':36}  differs  within  unsettled   wrong   median pictures")
    error = sequential.error_per_look(options.pictures, 1)
    for truth in TRUTHS:
        ends = [conclude(truth, options.pictures, error, random) for _ in range(options.runs)]
        _print(truth.title, ends, sum(end.conclusion == truth.wrong for end in ends) / options.runs)

    error = sequential.error_per_look(options.pictures, len(TRUTHS))
    any_wrong, lengths = 0, []
    for _ in range(options.runs):
        ends = [conclude(truth, options.pictures, error, random) for truth in TRUTHS]
        any_wrong += any(end.conclusion == truth.wrong for end, truth in zip(ends, TRUTHS, strict=True))
        lengths.append(max(end.n for end in ends))
    print(
        f"all {len(TRUTHS)} variants in one run: {any_wrong / options.runs:.1%} of the runs draw any wrong "
        f"conclusion; median length {np.median(lengths):,.0f} pictures"
    )


def _print(title: str, ends: list[sequential.Look], wrong: float) -> None:
    counts = Counter(end.conclusion for end in ends)
    shares = [counts[name] / len(ends) for name in ("differs", "within", "unsettled")]
    median = np.median([end.n for end in ends])
    print(f"{title:36}  {shares[0]:7.1%} {shares[1]:7.1%}  {shares[2]:9.1%}  {wrong:6.1%}  {median:16,.0f}")


if __name__ == "__main__":
    main()
