"""What benchmarks/peers.py measured, brought together and printed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import psutil

from benchmarks import operations
from vitquant import statistics
from vitquant.latency import Timing
from vitquant.tables import or_dash, table

RESAMPLES = 2000

FUSED = """What a runtime does along with a Linear layer counts there: rounding what comes in; in OpenVINO
also GELU and layer scales, and its int8 rounds along with LayerNorm, attention and GELU. Profiling itself takes
time."""


@dataclass(frozen=True)
class Ratio:
    """How many times as fast one is as another, with its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f}x ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Row:
    """What was measured of one contender on one shape."""

    shape: str
    contender: str  # a variant, or a runtime and what it computes in
    median_s: float
    q1_s: float
    q3_s: float
    calls: int
    to_fp32: Ratio | None  # None where fp32 was not measured
    to_qint8: Ratio | None
    agreeing: int  # pictures, one at a time, whose first answer is the float32 model's in torch
    pictures: int
    seconds_by_class: Mapping[str, float] | None  # operations.CLASSES; None where nothing tells them apart
    busy_elsewhere: float  # the share of the machine that other processes took meanwhile, 0..1


def ratio(reference_s: Sequence[float], times_s: Sequence[float], seed: int = 0) -> Ratio:
    """The reference's median time by this one's, with the 95% interval of a percentile bootstrap that resamples
    both RESAMPLES times (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).

    It takes the times for independent; other load on the machine that lasts longer than a turn makes the truth
    less certain than that.
    """
    source = np.random.default_rng(seed)
    medians = [
        np.median(source.choice(np.asarray(times), (RESAMPLES, len(times))), axis=1)
        for times in (reference_s, times_s)
    ]
    low, high = np.quantile(medians[0] / medians[1], (0.025, 0.975))
    return Ratio(float(np.median(reference_s) / np.median(times_s)), float(low), float(high))


def rows(
    timings: Sequence[Timing],
    answers: Mapping[str, np.ndarray],
    right: np.ndarray,
    made_of: Mapping[str, Mapping[str, float] | None],
    busy_elsewhere: float,
) -> list[Row]:
    """The timings of one shape with all that belongs to them.

    answers: the first answers (N,) by contender; right: those of the float32 model in torch; made_of: seconds
    by operations.CLASSES, by contender.
    """
    times = {timing.variant: timing.times_s for timing in timings}

    def against(reference: str, name: str) -> Ratio | None:
        return ratio(times[reference], times[name]) if reference in times else None

    return [
        Row(
            shape=str(timing.shape),
            contender=timing.variant,
            median_s=timing.median_s,
            q1_s=timing.q1_s,
            q3_s=timing.q3_s,
            calls=len(timing.times_s),
            to_fp32=against("fp32", timing.variant),
            to_qint8=against("qint8", timing.variant),
            agreeing=int((answers[timing.variant] == right).sum()),
            pictures=len(right),
            seconds_by_class=made_of[timing.variant],
            busy_elsewhere=busy_elsewhere,
        )
        for timing in timings
    ]


def time_table(found: Sequence[Row]) -> str:
    """Times, ratios and agreement, of one shape."""
    return table(
        ["", "median", "quartiles", "calls", "times as fast as fp32", "as qint8", "answers as fp32"],
        [
            [
                row.contender,
                f"{1e3 * row.median_s:.1f} ms",
                f"{1e3 * row.q1_s:.1f} to {1e3 * row.q3_s:.1f}",
                row.calls,
                or_dash(row.to_fp32, "{}"),
                or_dash(row.to_qint8, "{}"),
                _agreement(row),
            ]
            for row in found
        ],
    )


def class_table(found: Sequence[Row]) -> str:
    """Milliseconds by class of operation, of one shape, as each runtime's own profile has them."""
    return table(
        ["ms", *operations.CLASSES, "their sum", "median call"],
        [
            [
                row.contender,
                *(f"{1e3 * row.seconds_by_class[kind]:.1f}" for kind in operations.CLASSES),
                f"{1e3 * sum(row.seconds_by_class.values()):.1f}",
                f"{1e3 * row.median_s:.1f}",
            ]
            for row in found
            if row.seconds_by_class
        ],
    )


def _agreement(row: Row) -> str:
    interval = statistics.wilson(row.agreeing, row.pictures)
    return f"{row.agreeing} of {row.pictures} ({interval.low:.0%} to {interval.high:.0%})"


def cpu_seconds() -> tuple[float, float, float]:
    """Of all cores since the start: seconds that passed, that were not idle, and that this process took."""
    times, own = psutil.cpu_times(), psutil.Process().cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # Linux counts a guest's time in its user's as well.
    passed = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return passed, passed - idle, own.user + own.system


def others_share(before: tuple[float, float, float], after: tuple[float, float, float]) -> float:
    """The share of all cores' time, 0..1, that was neither idle nor ours, between two cpu_seconds()."""
    passed, busy, own = (b - a for a, b in zip(before, after, strict=True))
    return min(max((busy - own) / passed, 0.0), 1.0) if passed else 0.0
