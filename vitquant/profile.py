"""Where the time of a forward pass goes: operators and layers, from torch's profiler.

vitquant/shares.py adds the rows up, without torch.
"""

import gzip
import os
import re
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, _ExperimentalConfig, profile, record_function

from vitquant.latency import Shape, intra_op_threads, random_pictures

# The profiler's library writes "ERROR: gpuGetDeviceCount failed" to the terminal of every machine without a
# GPU; it reads this when a profile starts. Whoever wants its log sets the variable.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

FEWEST_CALLS, MOST_CALLS = 3, 10
"""How many passes are profiled: more of short ones, which vary more."""
STACK_FRAMES = 5
"""How many frames of the call stack tell two uses of an operator apart: the notebook's group_by_stack_n."""

_LAYER = "layer:"
"""Before a layer's name in the profiler's annotations."""


@dataclass(frozen=True)
class OperatorRow:
    """One operator of one variant (with stacks: from one place in the code), averaged over the calls."""

    name: str  # as torch calls it: "aten::addmm", "quantized::linear_dynamic"
    calls: float  # in one forward pass
    self_cpu_s: float  # seconds in one forward pass, without the operators it calls
    total_cpu_s: float  # the same, with them
    self_memory_bytes: int  # allocated less released, in one forward pass
    share: float  # of the self time of all operators, 0..1
    stack: tuple[str, ...]  # innermost frame first; empty unless asked for


@dataclass(frozen=True)
class LayerRow:
    """One module of one variant: what its own operators take, without those of the modules inside it."""

    name: str  # its path in the model: "blocks.3.attn.qkv"; "" is the model itself
    kind: str  # one of shares.KINDS
    block: int | None
    is_linear: bool  # what dynamic quantization replaces
    self_cpu_s: float  # seconds in one forward pass
    share: float  # of the self time of all operators, 0..1
    quantizing_s: float | None  # what quantizing its input by itself takes; None where nothing is quantized


@dataclass(frozen=True)
class Profile:
    """A profiled forward pass."""

    operators: list[OperatorRow]  # most self time first
    layers: list[LayerRow]  # in the model's order; their times sum to the operators'
    wall_s: float  # seconds a forward pass takes without the profiler: a median
    linear_wall_s: float  # of it, in the Linear layers
    trace: bytes  # Chrome's trace format, gzipped: Perfetto opens it

    def rows(self) -> list[dict[str, Any]]:
        """Ready for JSON; "level" tells operators from layers and from the pass as a whole."""
        busy_s = sum(row.self_cpu_s for row in self.operators)
        return [
            {
                "level": "pass",
                "name": "forward pass",
                "wall_s": self.wall_s,
                "linear_wall_s": self.linear_wall_s,
                "self_cpu_s": busy_s,
            },
            *({"level": "operator", **asdict(row)} for row in self.operators),
            *({"level": "layer", **asdict(row)} for row in self.layers),
        ]


def measure(model: nn.Module, shape: Shape, threads: int, *, stacks: bool = False) -> Profile:
    """Every operator and every layer of a forward pass on random pictures of that shape.

    The profiler itself takes some microseconds for each operator, and with stacks more: compare shares,
    and take durations from vitquant/latency.py. torch's thread count is restored afterwards.
    """
    pictures = random_pictures(shape)
    # Since torch replaced its first profiler, stacks are recorded only with `verbose`; without it
    # with_stack=True gives empty stacks, the notebook's profiler.profile included.
    verbose = _ExperimentalConfig(verbose=True) if stacks else None
    with intra_op_threads(threads), torch.inference_mode():
        model(pictures)  # warm-up: memory is allocated and kernels are chosen on the first call
        most = FEWEST_CALLS if stacks else MOST_CALLS  # recording stacks takes long
        calls = max(FEWEST_CALLS, min(most, int(1 / _seconds(model, pictures))))
        wall_s, linear_wall_s = _wall_seconds(model, pictures, calls)
        quantizing_s = _quantizing_s(model, pictures)
        with (
            _annotated(model),
            profile(
                activities=[ProfilerActivity.CPU],
                profile_memory=True,
                with_stack=stacks,
                experimental_config=verbose,
            ) as profiler,
        ):
            for _ in range(calls):
                model(pictures)
    operators = _operators(profiler, calls, stacks)
    return Profile(
        operators, _layers(profiler, calls, model, quantizing_s), wall_s, linear_wall_s, _trace(profiler)
    )


def _seconds(model: nn.Module, pictures: torch.Tensor) -> float:
    begin = time.perf_counter()
    model(pictures)
    return time.perf_counter() - begin


def _wall_seconds(model: nn.Module, pictures: torch.Tensor, calls: int) -> tuple[float, float]:
    """Medians of what a pass takes, and of what its Linear layers take together, by the clock.

    The profiler would not do: it slows every operator down by about as much, and a float32 Linear layer is
    several operators where a quantized one is one.
    """
    linear_s = 0.0
    begun_s = 0.0

    def begin(_: nn.Module, __: Any) -> None:
        nonlocal begun_s
        begun_s = time.perf_counter()

    def end(_: nn.Module, __: Any, ___: Any) -> None:
        nonlocal linear_s
        linear_s += time.perf_counter() - begun_s

    linears = [module for module in model.modules() if _is_linear(module)]
    handles = [module.register_forward_pre_hook(begin) for module in linears]
    handles += [module.register_forward_hook(end) for module in linears]
    walls, in_linears = [], []
    try:
        for _ in range(calls):
            linear_s = 0.0
            walls.append(_seconds(model, pictures))
            in_linears.append(linear_s)
    finally:
        for handle in handles:
            handle.remove()
    return statistics.median(walls), statistics.median(in_linears)


def _operators(profiler: Any, calls: int, stacks: bool) -> list[OperatorRow]:
    averages = profiler.key_averages(group_by_stack_n=STACK_FRAMES if stacks else 0)
    # "[memory]" stands for what was allocated or released outside every operator: no operator, no time.
    events = [event for event in averages if event.key != "[memory]" and not event.key.startswith(_LAYER)]
    all_self_us = sum(event.self_cpu_time_total for event in events)
    rows = [
        OperatorRow(
            name=event.key,
            calls=event.count / calls,
            self_cpu_s=event.self_cpu_time_total / calls / 1e6,
            total_cpu_s=event.cpu_time_total / calls / 1e6,
            self_memory_bytes=round(event.self_cpu_memory_usage / calls),
            share=event.self_cpu_time_total / all_self_us,
            stack=tuple(_without_address(frame) for frame in event.stack) if stacks else (),
        )
        for event in events
    ]
    return sorted(rows, key=lambda row: row.self_cpu_s, reverse=True)


def _without_address(frame: str) -> str:
    """A frame as it reads in every process: built-in functions carry their address in this one."""
    return re.sub(r" at 0x[0-9a-f]+", "", frame)


# Layers


@contextmanager
def _annotated(model: nn.Module) -> Iterator[None]:
    """Have the profiler know which module an operator runs for, as long as this holds."""
    handles = []
    for name, module in model.named_modules():
        open_ranges: list[Any] = []

        def enter(_: nn.Module, __: Any, name: str = name, open_ranges: list[Any] = open_ranges) -> None:
            open_ranges.append(record_function(f"{_LAYER}{name}").__enter__())

        def leave(_: nn.Module, __: Any, ___: Any, open_ranges: list[Any] = open_ranges) -> None:
            open_ranges.pop().__exit__(None, None, None)

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layers(profiler: Any, calls: int, model: nn.Module, quantizing_s: dict[str, float]) -> list[LayerRow]:
    """Each operator's time, given to the innermost module that it ran in."""
    self_us: dict[str, float] = {}
    for event in profiler.events():
        if event.name == "[memory]" or event.name.startswith(_LAYER):
            continue
        around = event.cpu_parent
        while around is not None and not around.name.startswith(_LAYER):
            around = around.cpu_parent
        name = around.name.removeprefix(_LAYER) if around is not None else ""
        self_us[name] = self_us.get(name, 0.0) + event.self_cpu_time_total
    all_self_us = sum(self_us.values())
    return [
        LayerRow(
            name=name,
            kind=_kind(name),
            block=_block(name),
            is_linear=_is_linear(module),
            self_cpu_s=self_us[name] / calls / 1e6,
            share=self_us[name] / all_self_us,
            quantizing_s=quantizing_s.get(name),
        )
        for name, module in model.named_modules()
        if name in self_us
    ]


def _kind(name: str) -> str:
    """What a module does, by its path (shares.KINDS)."""
    path = name.split(".")
    if path[0] == "blocks" and len(path) > 2:
        inside = path[2]
        if inside == "attn":
            return "attention"
        if inside == "mlp":
            return "MLP"
        return "norm" if inside.startswith("norm") else "scale and add"
    if path[0] == "blocks":
        return "scale and add"
    return _OUTSIDE_BLOCKS.get(path[0], "tokens")


_OUTSIDE_BLOCKS = {
    "patch_embed": "patches",
    "norm_pre": "norm",
    "norm": "norm",
    "fc_norm": "norm",
    "linear_head": "head",
}


def _block(name: str) -> int | None:
    found = re.match(r"blocks\.(\d+)", name)
    return int(found[1]) if found else None


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or _is_quantized_linear(module)


def _is_quantized_linear(module: nn.Module) -> bool:
    """Whether it is torch.ao's Linear (and not the holder of packed parameters inside it)."""
    return isinstance(getattr(module, "_packed_params", None), nn.Module)


def _quantizing_s(model: nn.Module, pictures: torch.Tensor) -> dict[str, float]:
    """What quantizing the input of each int8 layer takes by itself, in seconds, by the layer's name.

    Inside quantized::linear_dynamic it cannot be told from the multiplication; so the same inputs are quantized
    once more, alone, with the operator that torch has for it. An estimate: fused, it may take less.
    """
    inputs: dict[str, torch.Tensor] = {}

    def remember(name: str, given: torch.Tensor) -> None:
        inputs[name] = given

    handles = [
        module.register_forward_pre_hook(lambda _, given, name=name: remember(name, given[0]))
        for name, module in model.named_modules()
        if _is_quantized_linear(module) and module._packed_params.dtype == torch.qint8
    ]
    try:
        if handles:
            model(pictures)
    finally:
        for handle in handles:
            handle.remove()
    found = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*deprecated", UserWarning)
        for name, given in inputs.items():
            seconds = []
            for _ in range(FEWEST_CALLS + 1):
                begin = time.perf_counter()
                torch.quantize_per_tensor_dynamic(given, torch.quint8, reduce_range=True)
                seconds.append(time.perf_counter() - begin)
            found[name] = statistics.median(seconds[1:])
    return found


def _trace(profiler: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        return gzip.compress(file.read_bytes(), mtime=0)
