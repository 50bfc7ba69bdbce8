"""How long one forward pass takes, for several variants compared fairly in one process.

Parsing shapes and making rows import no torch.
"""

import math
import re
import statistics
import struct
import time
import timeit
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vitquant import catalog
from vitquant.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn

MIN_ROUNDS = 5
TURN_SECONDS = 0.2
"""What one variant is timed for before the next has its turn; one call where a call takes longer."""
WARMUP_SECONDS = 3.0
STEADY = 0.1
"""Warm when the last calls differ by no more than this share of the fastest."""
MAX_BATCH = 4096
NOISY = 0.25
"""Where the middle half of a variant's times spreads over more than this share of their median, the machine was
too noisy for the median to be told."""
PROGRESS_STEPS = 100
"""Progress is counted in hundredths of the whole."""


@dataclass(frozen=True, order=True)
class Shape:
    """What goes in: a batch of square RGB pictures, float32 (batch, 3, size, size)."""

    batch: int
    size: int  # pixels

    def __str__(self) -> str:
        return f"{self.batch}x{self.size}"


NOTEBOOK_SHAPES = (Shape(1, 70), Shape(1, 518), Shape(2, 518), Shape(4, 518), Shape(8, 518))
"""Its single picture of Tiny-ImageNet, and its four batches of random input."""


SAMPLE_SHAPES = (Shape(1, 70), Shape(8, 70))
"""For the samples, whose pictures have 64 pixels: one by one, and a batch. Seconds suffice."""


def usual_shapes(model: str) -> tuple[Shape, ...]:
    """What a model is timed on unless told otherwise; InputError for an unknown model."""
    spec = catalog.model(model)
    if spec.family != "dinov2":
        return Shape(1, spec.usual_image_size), Shape(8, spec.usual_image_size)
    return SAMPLE_SHAPES if spec.home == "bundled" else NOTEBOOK_SHAPES


def parse_shapes(text: str, model: str) -> tuple[Shape, ...]:
    """The shapes of "1x518,8x70", in that order, each once; InputError for what is no shape, or
    none that the model takes."""
    parts = [part for part in re.split(r"[\s,]+", text.strip()) if part]
    if not parts:
        raise InputError("No shape is named: give batch and image size, such as 1x518,8x70.")
    return tuple(dict.fromkeys(_parse_shape(part, model) for part in parts))


def _parse_shape(text: str, model: str) -> Shape:
    match = re.fullmatch(r"([0-9]{1,9})[x×]([0-9]{1,9})", text.lower())
    if not match:
        raise InputError(
            f"{text!r} is no shape: give batch and image size, such as 8x70 for 8 pictures of 70 x 70."
        )
    batch, size = int(match[1]), int(match[2])
    if not 1 <= batch <= MAX_BATCH:
        raise InputError(f"The shape {text!r} has a batch of {batch}: take 1 to {MAX_BATCH} pictures.")
    catalog.check_image_size(size, model)
    return Shape(batch, size)


@dataclass(frozen=True)
class Timing:
    """One variant on one shape: every measured time, the source of every other figure."""

    shape: Shape
    variant: str
    threads: int
    times_s: tuple[float, ...]  # seconds per call; the mean of a block of calls where one is very short
    warmup_s: float  # what the warm-up before took
    warmup_calls: int = 1
    warm: bool = True  # whether its last calls were steady

    @property
    def name(self) -> str:
        """Names its raw times among a run's attachments."""
        return f"times/{self.shape}/{self.threads}/{self.variant}"

    @property
    def spread(self) -> float:
        """How far the quartiles lie apart, as a share of the median."""
        return (self.q3_s - self.q1_s) / self.median_s

    @property
    def median_s(self) -> float:
        return statistics.median(self.times_s)

    @property
    def q1_s(self) -> float:
        return self._quantile(0.25)

    @property
    def q3_s(self) -> float:
        return self._quantile(0.75)

    @property
    def p95_s(self) -> float:
        """The time that 95 of 100 calls stay within (interpolated, as the quartiles are)."""
        return self._quantile(0.95)

    def _quantile(self, share: float) -> float:
        ordered = sorted(self.times_s)
        position = share * (len(ordered) - 1)
        below = math.floor(position)
        above = math.ceil(position)
        return ordered[below] + (position - below) * (ordered[above] - ordered[below])


START_FIGURES = ("load_s", "first_s", "baseline_bytes", "peak_bytes", "steady_bytes")
"""What a row says of a fresh process that loads its variant: see vitquant/startup.py."""


def rows(
    timings: Iterable[Timing], starts: Mapping[str, Mapping[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """The timings, ready for JSON, in the order given.

    ratio_to_fp32 says how many times faster than fp32 on the same shape and threads (its median divided by
    this one); None where fp32 was not measured. starts: the START_FIGURES by variant; None without.
    """
    timings = list(timings)
    fp32 = {(t.shape, t.threads): t.median_s for t in timings if t.variant == "fp32"}
    return [
        {
            "shape": str(timing.shape),
            "batch": timing.shape.batch,
            "image_size": timing.shape.size,
            "variant": timing.variant,
            "threads": timing.threads,
            "median_s": timing.median_s,
            "q1_s": timing.q1_s,
            "q3_s": timing.q3_s,
            "p95_s": timing.p95_s,
            "spread": timing.spread,
            "is_noisy": timing.spread > NOISY,
            "pictures_per_s": timing.shape.batch / timing.median_s,
            "runs": len(timing.times_s),
            "warmup_s": timing.warmup_s,
            "warmup_calls": timing.warmup_calls,
            "warm": timing.warm,
            "ratio_to_fp32": _ratio(fp32.get((timing.shape, timing.threads)), timing.median_s),
            **{name: (starts or {}).get(timing.variant, {}).get(name) for name in START_FIGURES},
        }
        for timing in timings
    ]


def pack_times(times_s: Sequence[float]) -> bytes:
    """Raw times as they are stored: float64, little-endian, in seconds."""
    return struct.pack(f"<{len(times_s)}d", *times_s)


def unpack_times(content: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(content) // 8}d", content)


def parse_threads(text: str, most: int) -> tuple[int, ...]:
    """The numbers of threads of "1,2", each once; InputError for what cannot be on so many cores."""
    parts = [part for part in re.split(r"[\s,]+", text.strip()) if part]
    if not parts:
        raise InputError(f"No number of threads is named: give one or more, such as 1,{most}.")
    for part in parts:
        if not (part.isascii() and part.isdigit() and len(part) < 5 and 1 <= int(part) <= most):
            raise InputError(f"{part!r} threads cannot be: this machine has {most} cores; take 1 to {most}.")
    return tuple(dict.fromkeys(int(part) for part in parts))


def threads_title(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def _ratio(reference_s: float | None, median_s: float) -> float | None:
    return reference_s / median_s if reference_s is not None else None


def measure(
    models: Mapping[str, "nn.Module"],
    shapes: Sequence[Shape],
    threads: int,
    *,
    seconds_per_shape: float = 10.0,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Iterator[Timing]:
    """Time every variant on every shape; yields the timings of a shape as soon as it is finished.

    models: by variant, in eval mode. Each is warmed up, then they take turns (A B C A B C …), so that
    whatever else the machine does falls on all of them alike: at least MIN_ROUNDS rounds, and more until
    seconds_per_shape has passed. on_progress(done, total, message) is called before each turn and may
    raise Cancelled: the shapes yielded before are complete, the one at hand is dropped. torch's thread
    count is restored after each turn.
    """
    for index, shape in enumerate(shapes):

        def report(share: float, message: str, index: int = index, shape: Shape = shape) -> None:
            if on_progress:
                done = math.floor(PROGRESS_STEPS * (index + min(share, 0.99)) / len(shapes))
                on_progress(done, PROGRESS_STEPS, f"{shape}: {message}")

        yield from _measure_shape(models, shape, threads, seconds_per_shape, report)
    if on_progress:
        on_progress(PROGRESS_STEPS, PROGRESS_STEPS, "")


def _measure_shape(
    models: Mapping[str, "nn.Module"],
    shape: Shape,
    threads: int,
    seconds: float,
    report: Callable[[float, str], None],
) -> list[Timing]:
    import torch
    from torch.utils.benchmark import Timer

    pictures = random_pictures(shape)
    timers = {
        # Timer's own clock asks each time whether a GPU must be waited for; at 3 microseconds that would make
        # blocked_autorange put 10 calls of 10 ms into one block, and hide how much single calls vary.
        name: Timer(
            "model(pictures)",
            globals={"model": model, "pictures": pictures},
            num_threads=threads,
            timer=timeit.default_timer,
        )
        for name, model in models.items()
    }
    times: dict[str, list[float]] = {name: [] for name in models}
    warmups = {}
    # inference_mode holds for this function only: a generator must not leave it on for its consumer.
    with torch.inference_mode():
        for name, model in models.items():
            report(0.0, f"{name}, warming up")
            warmups[name] = _warm_up(model, pictures, threads)
        begin = time.perf_counter()
        rounds = 0
        while rounds < MIN_ROUNDS or time.perf_counter() - begin < seconds:
            for name, timer in timers.items():
                share = min(rounds / MIN_ROUNDS, (time.perf_counter() - begin) / seconds if seconds else 1.0)
                report(share, f"{name}, round {rounds + 1}")
                # Timer.timeit hides two calls for each block; blocked_autorange hides one (for calls above
                # its timer's noise), by which it chooses how many calls make a block. That one is not
                # wasted: the variant before has just filled the caches with its own weights. A call longer
                # than TURN_SECONDS is measured once a turn.
                times[name].extend(timer.blocked_autorange(min_run_time=TURN_SECONDS).times)
            rounds += 1
    return [Timing(shape, name, threads, tuple(times[name]), *warmups[name]) for name in models]


def _warm_up(model: "nn.Module", pictures: "torch.Tensor", threads: int) -> tuple[float, int, bool]:
    """Call the model until its times are steady, or for WARMUP_SECONDS: the seconds that took, the calls, and
    whether they had become steady.

    A call longer than WARMUP_SECONDS is made once: every turn begins with an unmeasured call anyway.
    """
    calls: list[float] = []
    with intra_op_threads(threads):
        begin = time.perf_counter()
        while True:
            start = time.perf_counter()
            model(pictures)
            end = time.perf_counter()
            calls.append(end - start)
            last = calls[-3:]
            steady = len(last) == 3 and max(last) - min(last) <= STEADY * min(calls)
            if steady or end - begin > WARMUP_SECONDS:
                return end - begin, len(calls), steady


def random_pictures(shape: Shape) -> "torch.Tensor":
    """Seeded random numbers in place of pictures: times do not depend on the values."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return torch.randn((shape.batch, 3, shape.size, shape.size), generator=generator)


@contextmanager
def intra_op_threads(threads: int) -> Iterator[None]:
    """torch splits its operations over this many threads inside, and over as many as before afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
