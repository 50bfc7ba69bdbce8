"""Timing: who is called when and with what. Nothing here asserts how long anything takes."""

import subprocess
import sys
import time
import timeit
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from vitquant import latency
from vitquant.errors import Cancelled, InputError
from vitquant.latency import Shape, Timing


class Recorder(nn.Module):
    """Stands in for a model: takes some milliseconds, and writes down how it was called."""

    def __init__(self, name: str, calls: list[str], seconds: float = 0.003) -> None:
        super().__init__()
        self.name, self.calls, self.seconds = name, calls, seconds
        self.threads: set[int] = set()
        self.inputs: list[torch.Tensor] = []
        self.inference: set[bool] = set()

    def forward(self, pictures: torch.Tensor) -> None:
        self.calls.append(self.name)
        self.threads.add(torch.get_num_threads())
        self.inference.add(torch.is_inference_mode_enabled())
        if not self.inputs:
            self.inputs.append(pictures)
        time.sleep(self.seconds)


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def recorders(calls: list[str]) -> dict[str, Recorder]:
    return {name: Recorder(name, calls) for name in ("fp32", "qint8", "float16")}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(latency, "TURN_SECONDS", 0.001)  # shorter than a call: one is measured each turn
    monkeypatch.setattr(latency, "WARMUP_SECONDS", 0.05)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def turns(calls: list[str]) -> list[str]:
    """The names in the order of their turns: consecutive calls of one are one turn."""
    return [name for index, name in enumerate(calls) if index == 0 or calls[index - 1] != name]


def test_parsing_imports_no_torch() -> None:
    code = (
        "import sys, vitquant.latency as l; l.parse_shapes('1x70', 'sample'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_shapes_in_the_order_given_each_once() -> None:
    assert latency.parse_shapes("1x518, 8x70 1x518,2×14", "sample") == (
        Shape(1, 518),
        Shape(8, 70),
        Shape(2, 14),
    )


def test_a_shape_reads_back_as_it_is_written() -> None:
    written = ",".join(map(str, latency.NOTEBOOK_SHAPES))
    assert written == "1x70,1x518,2x518,4x518,8x518"
    assert latency.parse_shapes(written, "dinov2_vitb14_reg_lc") == latency.NOTEBOOK_SHAPES


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "No shape is named.*1x518,8x70"),
        (" , ", "No shape is named"),
        ("8x71", "Image size 71 .* take 70 or 84"),
        ("1x0", "Image size 0 .* take 14 or 28"),
        ("0x70", "'0x70' has a batch of 0: take 1 to 4096"),
        ("4097x70", "'4097x70' has a batch of 4097"),
        ("1x14014", "14014 is too large"),
        ("8", "'8' is no shape"),
        ("8x", "'8x' is no shape"),
        ("-1x70", "'-1x70' is no shape"),
        ("1x70x70", "'1x70x70' is no shape"),
        ("1x70,eight", "'eight' is no shape"),
        ("٨x70", "is no shape"),
        ("9999999999999x70", "is no shape"),
    ],
)
def test_what_is_no_shape_gets_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        latency.parse_shapes(text, "sample")


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_quartiles_and_percentile(n: int) -> None:
    times = tuple(np.random.default_rng(n).exponential(size=n).tolist())
    timing = Timing(Shape(1, 70), "fp32", 2, times, 0.0)
    figures = [timing.q1_s, timing.median_s, timing.q3_s, timing.p95_s]
    assert figures == pytest.approx(np.percentile(times, [25, 50, 75, 95]).tolist())


def test_ratio_says_how_many_times_faster() -> None:
    small, large = Shape(1, 70), Shape(8, 70)
    rows = latency.rows(
        [
            Timing(small, "qint8", 2, (1.0, 2.0, 3.0), 0.5),
            Timing(small, "fp32", 2, (4.0, 6.0, 80.0), 0.5),
            Timing(large, "fp32", 2, (30.0,), 0.5),
            Timing(large, "float16", 2, (40.0,), 0.5),
            Timing(small, "qint8", 1, (1.0,), 0.5),
        ]
    )
    assert [row["ratio_to_fp32"] for row in rows] == [3.0, 1.0, 1.0, 0.75, None]
    assert rows[0] == {
        "shape": "1x70",
        "batch": 1,
        "image_size": 70,
        "variant": "qint8",
        "threads": 2,
        "median_s": 2.0,
        "q1_s": 1.5,
        "q3_s": 2.5,
        "p95_s": pytest.approx(2.9),
        "spread": 0.5,
        "is_noisy": True,
        "pictures_per_s": 0.5,
        "runs": 3,
        "warmup_s": 0.5,
        "warmup_calls": 1,
        "warm": True,
        "ratio_to_fp32": 3.0,
        **dict.fromkeys(latency.START_FIGURES),
    }


def test_variants_take_turns_after_warming_up(recorders: dict[str, Recorder], calls: list[str]) -> None:
    timings = list(latency.measure(recorders, [Shape(1, 14)], 1, seconds_per_shape=0))
    assert turns(calls) == ["fp32", "qint8", "float16"] * (1 + latency.MIN_ROUNDS)
    assert [timing.variant for timing in timings] == ["fp32", "qint8", "float16"]
    assert [len(timing.times_s) for timing in timings] == [latency.MIN_ROUNDS] * 3
    assert all(timing.warmup_s >= 0.003 for timing in timings)


def test_a_long_call_is_made_twice_a_turn(recorders: dict[str, Recorder], calls: list[str]) -> None:
    """Once unmeasured, once measured; and once to warm up where it takes longer than the warm-up may."""
    recorders = {name: Recorder(name, calls, seconds=0.06) for name in ("fp32", "qint8")}
    list(latency.measure(recorders, [Shape(1, 14)], 1, seconds_per_shape=0))
    assert calls.count("fp32") == calls.count("qint8") == 1 + 2 * latency.MIN_ROUNDS


def test_rounds_go_on_until_the_time_is_spent(recorders: dict[str, Recorder], calls: list[str]) -> None:
    [timing, *_] = latency.measure(recorders, [Shape(1, 14)], 1, seconds_per_shape=1.0)
    assert len(timing.times_s) > latency.MIN_ROUNDS
    assert turns(calls) == ["fp32", "qint8", "float16"] * (1 + len(timing.times_s))


def test_short_calls_are_timed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Microsecond(nn.Module):
        """Takes a microsecond by a clock of its own, so that a busy machine changes nothing."""

        now = 0.0
        calls = 0

        def forward(self, pictures: torch.Tensor) -> None:
            self.calls += 1
            self.now += 1e-6

    model = Microsecond()
    monkeypatch.setattr(timeit, "default_timer", lambda: model.now)
    monkeypatch.setattr(latency, "TURN_SECONDS", 0.002)
    [timing] = latency.measure({"fp32": model}, [Shape(1, 14)], 1, seconds_per_shape=0)
    assert timing.times_s == pytest.approx([1e-6] * len(timing.times_s))  # of a call, not of a block
    assert model.calls > 5 * len(timing.times_s)


def test_longer_calls_are_timed_one_by_one(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "TURN_SECONDS", 0.05)
    models = {"fp32": Recorder("fp32", calls, seconds=0.003)}
    [timing] = latency.measure(models, [Shape(1, 14)], 1, seconds_per_shape=0)
    assert len(timing.times_s) > len(calls) / 2  # the others warmed up


def test_threads_as_asked_and_restored(recorders: dict[str, Recorder]) -> None:
    torch.set_num_threads(1)
    list(latency.measure(recorders, [Shape(1, 14)], 2, seconds_per_shape=0))
    assert [recorder.threads for recorder in recorders.values()] == [{2}] * 3
    assert torch.get_num_threads() == 1


def test_every_variant_gets_the_same_seeded_input(recorders: dict[str, Recorder]) -> None:
    list(latency.measure(recorders, [Shape(2, 28)], 1, seconds_per_shape=0))
    inputs = [recorder.inputs[0] for recorder in recorders.values()]
    assert inputs[0].shape == (2, 3, 28, 28)
    assert inputs[0].dtype == torch.float32
    assert all(torch.equal(given, latency.random_pictures(Shape(2, 28))) for given in inputs)


def test_inference_mode_is_on_inside_only(recorders: dict[str, Recorder]) -> None:
    timings = latency.measure(recorders, [Shape(1, 14)], 1, seconds_per_shape=0)
    next(iter(timings))
    assert not torch.is_inference_mode_enabled()
    assert [recorder.inference for recorder in recorders.values()] == [{True}] * 3


def test_cancelled_keeps_the_finished_shapes(recorders: dict[str, Recorder], calls: list[str]) -> None:
    torch.set_num_threads(1)
    kept: list[Timing] = []

    def on_progress(done: int, total: int, message: str) -> None:
        if message == "1x28: qint8, round 2":
            raise Cancelled("enough")

    shapes = [Shape(1, 14), Shape(1, 28), Shape(1, 42)]
    measuring = latency.measure(recorders, shapes, 2, seconds_per_shape=0, on_progress=on_progress)
    with pytest.raises(Cancelled):
        kept.extend(measuring)  # list.extend keeps what came before the exception
    assert [(str(timing.shape), timing.variant) for timing in kept] == [
        ("1x14", "fp32"),
        ("1x14", "qint8"),
        ("1x14", "float16"),
    ]
    assert torch.get_num_threads() == 1
    assert not torch.is_inference_mode_enabled()


def test_progress_grows_to_its_end(recorders: dict[str, Recorder]) -> None:
    seen: list[tuple[int, int, str]] = []
    shapes = [Shape(1, 14), Shape(1, 28)]
    list(
        latency.measure(
            recorders, shapes, 1, seconds_per_shape=0, on_progress=lambda *reported: seen.append(reported)
        )
    )
    done = [report[0] for report in seen]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 100)
    assert {report[1] for report in seen} == {100}
    assert any(50 <= value < 100 for value in done)
    assert {report[2].split(":")[0] for report in seen[:-1]} == {"1x14", "1x28"}
