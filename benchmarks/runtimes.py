"""The same float32 model run by ONNX Runtime and by OpenVINO, each called as if it were torch's model."""

import contextlib
import importlib
import json
import logging
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from importlib import util
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.operations import Step
from vitquant import onnx_files
from vitquant.vit import Classifier

REQUIREMENTS = "requirements-peers.txt"
NEEDS = {
    "ONNX Runtime": ("onnx", "onnxscript", "onnxruntime"),
    "OpenVINO": ("onnx", "onnxscript", "openvino"),
    "OpenVINO int8": ("onnx", "onnxscript", "openvino", "nncf"),
}
"""Which packages each needs; OpenVINO reads the file that is made for ONNX Runtime."""

PROFILED_CALLS = 10


def why_left_out(runtime: str) -> str | None:
    """Why this runtime cannot be measured, as a sentence with the remedy; None where it can."""
    lacking = [name for name in NEEDS[runtime] if util.find_spec(name) is None]
    if not lacking:
        return None
    return f"{runtime} is left out: install {', '.join(lacking)} (pip install -r {REQUIREMENTS})."


class PerShape(nn.Module):
    """A model that is made anew for each shape of its input, on the first call with it.

    make: from (batch, 3, size, size) to what answers such float32 pictures with (batch, 1000) float32 logits.
    """

    def __init__(self, make: Callable[[tuple[int, ...]], Callable[[torch.Tensor], torch.Tensor]]) -> None:
        super().__init__()
        self._make = make
        self._made: dict[tuple[int, ...], Callable[[torch.Tensor], torch.Tensor]] = {}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        shape = tuple(images.shape)
        if shape not in self._made:
            self._made[shape] = self._make(shape)
        return self._made[shape](images)


class OnnxRuntime(nn.Module):
    """An ONNX file in a session of ONNX Runtime, with its defaults but for the number of threads."""

    def __init__(self, file: Path, threads: int) -> None:
        super().__init__()
        self._file, self._threads = file, threads
        self._session = self._open()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._session.run(None, {"images": images.numpy()})[0])

    def steps(self, images: torch.Tensor) -> list[Step]:
        """What a call is made of, in the order in which it runs; medians over PROFILED_CALLS."""
        with tempfile.TemporaryDirectory() as folder:
            session = self._open(profile_prefix=str(Path(folder) / "profile"))
            for _ in range(1 + PROFILED_CALLS):
                session.run(None, {"images": images.numpy()})
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        return onnx_runtime_steps(events)

    def _open(self, *, profile_prefix: str | None = None) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3  # errors: it warns of what it does not fold
        if profile_prefix:
            options.enable_profiling = True
            options.profile_file_prefix = profile_prefix
        return onnxruntime.InferenceSession(self._file, options, providers=["CPUExecutionProvider"])


def onnx_runtime_steps(events: Iterable[dict[str, Any]]) -> list[Step]:
    """The steps of one call, from the events of ONNX Runtime's profile of several: medians, without the first
    call, which allocates."""
    durations_s: dict[str, list[float]] = defaultdict(list)
    steps: dict[str, Step] = {}
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith("_kernel_time"):
            continue
        name, arguments = event["name"].removesuffix("_kernel_time"), event["args"]
        durations_s[name].append(event["dur"] / 1e6)
        shapes = tuple(tuple(s) for kind in arguments["input_type_shape"] for s in kind.values())
        steps.setdefault(name, Step(arguments["op_name"], shapes, (name,), 0.0))
    return [
        Step(step.operation, step.inputs, step.parts, statistics.median(durations_s[name][1:] or [0.0]))
        for name, step in steps.items()
    ]


class OpenVino(PerShape):
    """A model of OpenVINO compiled for the CPU and for one call at a time; for each shape of its input anew,
    since a fixed shape is what OpenVINO is fastest with.

    precision: what it computes in where it does not in int8, "f32" or "bf16" (its own choice on a CPU with the
    instructions).
    """

    def __init__(self, model: Any, threads: int, precision: str) -> None:
        super().__init__(lambda shape: self._answering(self._compile(shape)))
        self._model, self._threads, self._precision = model, threads, precision

    def steps(self, images: torch.Tensor) -> list[Step]:
        """What a call is made of, in the order in which it runs; medians over PROFILED_CALLS."""
        compiled = self._compile(tuple(images.shape), PERF_COUNT=True)
        request = compiled.create_infer_request()
        durations_s: dict[str, list[float]] = defaultdict(list)
        for call in range(1 + PROFILED_CALLS):
            request.infer([images.numpy()], share_inputs=True)
            for node in request.profiling_info if call else []:
                durations_s[node.node_name].append(node.real_time.total_seconds())
        found = []
        for node in compiled.get_runtime_model().get_ordered_ops():
            name, about = node.get_friendly_name(), node.get_rt_info()
            if name in durations_s:
                parts = str(about["originalLayersNames"].astype(str)).split(",")
                shapes = tuple(tuple(port.get_shape()) for port in node.inputs())
                seconds = statistics.median(durations_s[name])
                found.append(Step(about["layerType"].astype(str), shapes, tuple(parts), seconds))
        return found

    def precision_used(self, shape: tuple[int, ...]) -> str:
        """What OpenVINO says it computes in where it does not in int8."""
        return str(self._compile(shape).get_property("INFERENCE_PRECISION_HINT").get_type_name())

    def _compile(self, shape: tuple[int, ...], **more: Any) -> Any:
        fixed = self._model.clone()
        fixed.reshape(list(shape))
        settings = {
            "INFERENCE_PRECISION_HINT": self._precision,
            "INFERENCE_NUM_THREADS": self._threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        return _openvino().Core().compile_model(fixed, "CPU", settings | more)

    @staticmethod
    def _answering(compiled: Any) -> Callable[[torch.Tensor], torch.Tensor]:
        request = compiled.create_infer_request()

        def answer(images: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(request.infer([images.numpy()], share_inputs=True)[0])

        return answer


def cpu_has_bf16() -> bool:
    """Whether OpenVINO can compute in bfloat16 on this CPU."""
    return "BF16" in _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def onnx_file(model: Classifier, folder: Path, image_size: int, *, int8: bool) -> Path:
    """The float32 model as an ONNX file in the folder, as vitquant exports it; made once."""
    file = folder / f"{'int8' if int8 else 'float32'}-{image_size}.onnx"
    if not file.exists():
        onnx_files.save(model, file, image_size, int8=int8)
    return file


def openvino_model(file: Path) -> Any:
    """An ONNX file as OpenVINO's model, not yet compiled."""
    return _openvino().Core().read_model(file)


def nncf_quantized(model: Any, pictures: torch.Tensor) -> Any:
    """OpenVINO's model in int8, calibrated on these pictures, by NNCF's defaults for transformers: weights per
    output channel, activations with a fixed scale for each tensor, after SmoothQuant and a bias correction."""
    # NNCF tells its makers that it is used unless it believes that it is being tested.
    os.environ.setdefault("NNCF_CI", "1")
    with contextlib.redirect_stdout(sys.stderr):  # its progress bars
        nncf = importlib.import_module("nncf")
        nncf.set_log_level(logging.ERROR)
        samples = [pictures[i : i + 1].numpy() for i in range(len(pictures))]
        return nncf.quantize(
            model,
            nncf.Dataset(samples),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(samples),
        )


def _openvino() -> Any:
    return importlib.import_module("openvino")
