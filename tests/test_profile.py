"""The profiler's view: which operators, how often, what they take."""

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from vitquant import machine, models, profile, shares, variants
from vitquant.latency import Shape
from vitquant.weights import Weights

LINEARS = 4 * 12 + 1


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    return models.load(Weights("dinov2_vits14_reg_lc", "random", ()))


@pytest.fixture(scope="module")
def of_fp32(vit: nn.Module) -> list[profile.OperatorRow]:
    return profile.measure(vit, Shape(1, 70), 1).operators


@pytest.fixture(autouse=True)
def _settings_restored() -> Iterator[None]:
    engine, threads = torch.backends.quantized.engine, torch.get_num_threads()
    yield
    torch.backends.quantized.engine = engine
    torch.set_num_threads(threads)


def named(rows: list[profile.OperatorRow], name: str) -> profile.OperatorRow:
    [row] = [row for row in rows if row.name == name]
    return row


def test_shares_are_of_all_self_time(of_fp32: list[profile.OperatorRow]) -> None:
    assert sum(row.share for row in of_fp32) == pytest.approx(1)
    whole = sum(row.self_cpu_s for row in of_fp32)
    assert all(row.share == pytest.approx(row.self_cpu_s / whole) for row in of_fp32)


def test_most_self_time_first(of_fp32: list[profile.OperatorRow]) -> None:
    times = [row.self_cpu_s for row in of_fp32]
    assert times == sorted(times, reverse=True)
    assert all(row.total_cpu_s >= row.self_cpu_s >= 0 for row in of_fp32)


def test_counts_are_of_one_forward_pass(of_fp32: list[profile.OperatorRow]) -> None:
    assert named(of_fp32, "aten::linear").calls == LINEARS
    assert named(of_fp32, "aten::linear").stack == ()
    assert "[memory]" not in {row.name for row in of_fp32}


def test_memory_is_of_one_forward_pass() -> None:
    model = nn.Sequential(nn.Linear(70, 10), nn.ReLU())  # of the last axis: 3 x 70 rows a picture
    output_bytes = 4 * 2 * 3 * 70 * 10
    assert (
        named(profile.measure(model, Shape(2, 70), 1).operators, "aten::clamp_min").self_memory_bytes
        == output_bytes
    )


def test_a_variant_shows_its_own_operators(vit: nn.Module) -> None:
    variant = variants.build(vit, "qint8", machine.engine())
    rows = profile.measure(variant, Shape(1, 70), 1).operators
    assert named(rows, "quantized::linear_dynamic").calls == LINEARS
    assert "aten::linear" not in {row.name for row in rows}


def test_stacks_tell_where_an_operator_is_called(vit: nn.Module) -> None:
    rows = profile.measure(vit, Shape(1, 70), 1, stacks=True).operators
    linears = [row for row in rows if row.name == "aten::linear"]
    assert len(linears) == LINEARS  # every place is a row of its own
    assert {row.calls for row in linears} == {1.0}
    assert all(len(row.stack) == profile.STACK_FRAMES for row in linears)
    assert any("nn/modules/linear.py" in frame for frame in linears[0].stack)
    assert not any(re.search("0x[0-9a-f]+", frame) for row in rows for frame in row.stack)
    assert sum(row.share for row in rows) == pytest.approx(1)


def test_threads_as_asked_and_restored() -> None:
    class Watch(nn.Module):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            seen.add((torch.get_num_threads(), torch.is_inference_mode_enabled()))
            return pictures + 1

    seen: set[tuple[int, bool]] = set()
    torch.set_num_threads(1)
    profile.measure(Watch(), Shape(1, 14), 2)
    assert seen == {(2, True)}
    assert torch.get_num_threads() == 1


def test_the_terminal_stays_clean() -> None:
    """torch's profiler writes an error about a missing GPU there unless told not to."""
    code = (
        "from torch import nn; from vitquant import profile; from vitquant.latency import Shape; "
        "print(len(profile.measure(nn.ReLU(), Shape(1, 14), 1).operators))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(answer.stdout) >= 1
    assert answer.stderr == ""


def test_every_operator_is_given_to_the_layer_that_it_ran_in(vit: nn.Module) -> None:
    found = profile.measure(vit, Shape(1, 70), 1)
    assert sum(row.self_cpu_s for row in found.layers) == pytest.approx(
        sum(row.self_cpu_s for row in found.operators)
    )
    assert sum(row.share for row in found.layers) == pytest.approx(1)
    by_name = {row.name: row for row in found.layers}
    assert {row.kind for row in found.layers} == set(shares.KINDS)
    assert sum(row.is_linear for row in found.layers) == LINEARS
    fc1 = by_name["blocks.3.mlp.fc1"]
    assert (fc1.kind, fc1.block, fc1.is_linear, fc1.quantizing_s) == ("MLP", 3, True, None)
    assert by_name["blocks.0.norm1"].kind == "norm"
    assert by_name["linear_head"].kind == "head"
    assert 0 < found.linear_wall_s < found.wall_s
    [whole] = [row for row in found.rows() if row["level"] == "pass"]
    assert (whole["wall_s"], whole["linear_wall_s"]) == (found.wall_s, found.linear_wall_s)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in vit.modules())


def test_quantizing_is_estimated_for_int8_layers_only(vit: nn.Module) -> None:
    for name, has_it in (("qint8", True), ("float16", False)):
        if variants.why_unavailable(name, machine.engine()):
            continue
        layers = profile.measure(variants.build(vit, name, machine.engine()), Shape(1, 70), 1).layers
        linears = [row for row in layers if row.is_linear]
        assert len(linears) == LINEARS
        assert all((row.quantizing_s is not None) == has_it for row in linears)


def test_the_trace_is_one_that_perfetto_opens(vit: nn.Module) -> None:
    trace = json.loads(gzip.decompress(profile.measure(vit, Shape(1, 28), 1).trace))
    names = {event.get("name") for event in trace["traceEvents"]}
    assert {"aten::addmm", "layer:blocks.3.mlp.fc1"} <= names
    assert all("ph" in event for event in trace["traceEvents"])
