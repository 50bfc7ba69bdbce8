"""The benchmark beside other runtimes: what it makes of times, profiles and answers."""

from importlib import util

import numpy as np
import pytest
import torch

from benchmarks import operations, runtimes
from benchmarks import peer_results as results
from benchmarks.operations import ATTENTION, GELU, LINEAR, NORM, OTHER, Step
from vitquant import latency, models, onnx_files
from vitquant.latency import Shape, Timing
from vitquant.weights import Weights

TOKENS, HEADS = (8, 30, 192), (8, 3, 30, 64)


def kernel(name: str, operation: str, microseconds: int, *shapes: tuple[int, ...]) -> dict[str, object]:
    """An event as ONNX Runtime writes it."""
    return {
        "cat": "Node",
        "name": f"{name}_kernel_time",
        "dur": microseconds,
        "args": {"op_name": operation, "input_type_shape": [{"float": list(shape)} for shape in shapes]},
    }


def test_a_ratio_is_of_medians_and_lies_in_its_interval() -> None:
    slow, fast = [0.4, 0.38, 0.42, 0.41, 0.39], [0.2, 0.19, 0.21, 0.2, 0.9]
    found = results.ratio(slow, fast)
    assert found.value == pytest.approx(2)
    assert found.low <= found.value <= found.high
    assert found.low < 1 < found.high, "one slow call of five can be the median of a resample"
    assert str(results.ratio([0.3] * 5, [0.1] * 5)) == "3.00x (3.00 to 3.00)"


def test_more_calls_make_the_interval_narrower() -> None:
    source = np.random.default_rng(0)

    def width(calls: int) -> float:
        found = results.ratio(source.normal(1, 0.1, calls), source.normal(1, 0.1, calls))
        return found.high - found.low

    assert width(400) < 0.5 * width(10)


@pytest.mark.parametrize(
    ("operation", "inputs", "parts", "expected"),
    [
        ("MatMul", (TOKENS,), ("node_MatMul_5",), LINEAR),
        ("FullyConnected", (TOKENS, (192, 768)), ("node_linear_2", "node_gelu"), LINEAR),
        ("FullyConnectedQuantizedLegacy", (TOKENS, (192, 768)), ("node_linear_2",), LINEAR),
        ("DynamicQuantizeMatMul", (TOKENS, (192,)), ("node_linear_MatMul_quant",), LINEAR),
        ("Add", ((768,), TOKENS), ("node_linear_3",), LINEAR),
        ("Subgraph", (TOKENS,), ("node_Reshape_6_0_0/nncf_smooth_quant/fq_output_0",), LINEAR),
        ("FusedMatMul", (HEADS, (8, 3, 64, 30)), ("node_MatMul_509",), ATTENTION),
        ("Softmax", ((8, 3, 30, 30),), ("node_Softmax",), ATTENTION),
        ("Subgraph", (HEADS, HEADS), ("node_MatMul_89", "node_Softmax_90"), ATTENTION),
        ("LayerNormalization", (TOKENS, (192,)), ("node_layer_norm_3",), NORM),
        ("Subgraph", (TOKENS,), ("Multiply_1", "node_layer_norm_1_0_0/nncf_smooth_quant/fq_output_0"), NORM),
        ("BiasGelu", (TOKENS, (768,)), ("BiasGelu_token_59",), GELU),
        ("Add", (TOKENS, TOKENS), ("node_add_80",), OTHER),
        ("Mul", (TOKENS, (192,)), ("node_mul_4",), OTHER),
    ],
)
def test_operations_of_every_runtime_find_their_class(
    operation: str, inputs: tuple[tuple[int, ...], ...], parts: tuple[str, ...], expected: str
) -> None:
    first_norm = Step("MVN", (TOKENS,), ("MVN_1",), 0.0)
    found = operations.by_class([first_norm, Step(operation, inputs, parts, 0.25)])
    assert {kind for kind, seconds in found.items() if seconds} == {expected}
    assert found[expected] == 0.25


def test_what_comes_before_the_first_norm_is_not_attention() -> None:
    of_four_axes = Step("Transpose", ((8, 3, 70, 70),), ("transpose",), 2.0)
    norm = Step("LayerNormalization", (TOKENS,), ("norm",), 3.0)
    found = operations.by_class([of_four_axes, norm, of_four_axes])
    assert found == {LINEAR: 0, ATTENTION: 2, NORM: 3, GELU: 0, OTHER: 2}


def test_steps_of_onnx_runtime_are_medians_without_the_first_call() -> None:
    events = [
        {"cat": "Session", "name": "model_run", "dur": 999, "args": {}},
        *(kernel("node_linear", "Gemm", dur, (8, 960), (1000,)) for dur in (900, 30, 20, 40)),
        kernel("node_mul", "Mul", 500, TOKENS),
        kernel("node_mul", "Mul", 7, TOKENS),
    ]
    linear, multiply = runtimes.onnx_runtime_steps(events)
    assert (linear.operation, linear.inputs, linear.parts) == ("Gemm", ((8, 960), (1000,)), ("node_linear",))
    assert linear.seconds == pytest.approx(30e-6)
    assert multiply.seconds == pytest.approx(7e-6)


def test_what_is_not_installed_is_left_out_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes.util, "find_spec", lambda name: None if name in ("openvino", "nncf") else util)
    assert runtimes.why_left_out("ONNX Runtime") is None
    reason = runtimes.why_left_out("OpenVINO int8")
    assert reason is not None
    assert "install openvino, nncf (pip install -r requirements-peers.txt)" in reason


def test_the_model_at_one_size_resizes_nothing_and_answers_the_same() -> None:
    model = models.load(Weights("dinov2_vits14_reg_lc", "random", ()))
    at_one_size = onnx_files.at_one_size(model, 70)
    assert at_one_size.pos_embed.shape == (1, 1 + 5 * 5, 384)
    assert model.pos_embed.shape == (1, 1 + 37 * 37, 384), "the model itself does not change"
    inputs = latency.random_pictures(Shape(2, 70))
    with torch.inference_mode():
        assert torch.equal(at_one_size(inputs), model(inputs))


def test_rows_bring_times_answers_and_parts_together() -> None:
    shape = Shape(8, 70)
    timings = [Timing(shape, "fp32", 2, (0.4,) * 5, 0.1), Timing(shape, "peer", 2, (0.1,) * 5, 0.1)]
    answers = {"fp32": np.array([1, 2, 3, 4]), "peer": np.array([1, 2, 9, 9])}
    parts = dict.fromkeys(operations.CLASSES, 0.01)
    fp32, peer = results.rows(timings, answers, answers["fp32"], {"fp32": None, "peer": parts}, 0.125)
    assert (fp32.agreeing, peer.agreeing, peer.pictures) == (4, 2, 4)
    assert peer.to_fp32 == results.Ratio(4.0, 4.0, 4.0)
    assert peer.to_qint8 is None
    assert peer.busy_elsewhere == 0.125
    shown = results.time_table([fp32, peer])
    assert "4.00x (4.00 to 4.00)" in shown
    assert "2 of 4 (15% to 85%)" in shown
    only = results.class_table([fp32, peer]).splitlines()
    assert len(only) == 3, "nothing tells the first one's operations apart"
    assert "50.0" in only[-1]
    assert "100.0" in only[-1]


def test_the_share_that_others_took_is_what_was_neither_idle_nor_ours() -> None:
    assert results.others_share((0.0, 0.0, 0.0), (20.0, 15.0, 10.0)) == 0.25
    assert results.others_share((5.0, 5.0, 5.0), (15.0, 15.0, 15.5)) == 0
