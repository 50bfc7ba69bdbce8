"""Where the time of a forward pass goes: operators by self time and memory, from torch's profiler."""

import os
import re
from dataclasses import dataclass

import torch
from torch import nn
from torch.profiler import ProfilerActivity, _ExperimentalConfig, profile

from vitquant.latency import Shape, intra_op_threads, random_pictures

# The profiler's library writes "ERROR: gpuGetDeviceCount failed" to the terminal of every machine without a
# GPU; it reads this when a profile starts. Whoever wants its log sets the variable.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

CALLS = 3
STACK_FRAMES = 5
"""How many frames of the call stack tell two uses of an operator apart: the notebook's group_by_stack_n."""


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


def measure(model: nn.Module, shape: Shape, threads: int, *, stacks: bool = False) -> list[OperatorRow]:
    """Every operator of a forward pass on random pictures of that shape, most self time first.

    The profiler itself takes some microseconds for each operator, and with stacks more: compare shares,
    and take durations from vitquant/latency.py. torch's thread count is restored afterwards.
    """
    pictures = random_pictures(shape)
    # Since torch replaced its first profiler, stacks are recorded only with `verbose`; without it
    # with_stack=True gives empty stacks, the notebook's profiler.profile included.
    verbose = _ExperimentalConfig(verbose=True) if stacks else None
    with intra_op_threads(threads), torch.inference_mode():
        model(pictures)  # warm-up: memory is allocated and kernels are chosen on the first call
        with profile(
            activities=[ProfilerActivity.CPU],
            profile_memory=True,
            with_stack=stacks,
            experimental_config=verbose,
        ) as profiler:
            for _ in range(CALLS):
                model(pictures)

    averages = profiler.key_averages(group_by_stack_n=STACK_FRAMES if stacks else 0)
    # "[memory]" stands for what was allocated or released outside every operator: no operator, no time.
    events = [event for event in averages if event.key != "[memory]"]
    all_self_us = sum(event.self_cpu_time_total for event in events)
    rows = [
        OperatorRow(
            name=event.key,
            calls=event.count / CALLS,
            self_cpu_s=event.self_cpu_time_total / CALLS / 1e6,
            total_cpu_s=event.cpu_time_total / CALLS / 1e6,
            self_memory_bytes=round(event.self_cpu_memory_usage / CALLS),
            share=event.self_cpu_time_total / all_self_us,
            stack=tuple(_without_address(frame) for frame in event.stack) if stacks else (),
        )
        for event in events
    ]
    return sorted(rows, key=lambda row: row.self_cpu_s, reverse=True)


def _without_address(frame: str) -> str:
    """A frame as it reads in every process: built-in functions carry their address in this one."""
    return re.sub(r" at 0x[0-9a-f]+", "", frame)
