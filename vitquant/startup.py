"""What a variant costs before its first answer: a fresh process loads it and makes one prediction.

Each variant gets a process of its own, apart from the timing in turns: memory and first calls depend on what a
process has done before. The process is this module; the parent's side imports no torch.
"""

import gc
import json
import os
import re
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vitquant import children, cure, machine, paths, weights
from vitquant.cure import Cure
from vitquant.errors import InputError

if TYPE_CHECKING:
    from vitquant.latency import Shape

CALLS = 3
"""Predictions after the first, so that the memory at the end is that of a variant at work."""


@dataclass(frozen=True)
class Start:
    """One variant's start. Memory is the process's resident memory in bytes, the baseline included."""

    load_s: float  # reading or drawing the weights, building the model and the variant
    first_s: float  # the first prediction
    next_s: float  # the median of the CALLS after it
    baseline_bytes: int  # torch and what the model needs imported, nothing loaded
    peak_bytes: int  # at any moment from then on
    steady_bytes: int  # after the predictions


def measure(
    model: str, source: str, variant: str, shape: "Shape", threads: int, cure: Cure | None = None
) -> Start:
    """Start a process that loads this variant, and wait for what it says.

    source: where the weights come from, as weights.resolve takes it; cure: a calibrated variant's. Raises
    VitquantError with the process's sentence, or with what ended it.
    """
    question = {
        "model": model,
        "source": source,
        "variant": variant,
        "shape": str(shape),
        "threads": threads,
    }
    with tempfile.TemporaryDirectory() as folder:
        if cure is not None:
            file = Path(folder) / "cure.npz"
            file.write_bytes(cure.to_bytes())
            question["cure_file"] = str(file)
        answer = children.run(
            ["-m", "vitquant.startup", json.dumps(question)],
            what=f"The process that loaded {variant}",
            cwd=paths.PROJECT_ROOT,
            environment=paths.child_environment(),
        )
    return Start(**json.loads(answer))


def main(argument: str) -> int:
    """The process's side: print one Start as JSON."""
    question = json.loads(argument)
    try:
        print(json.dumps(asdict(_start(**question))))
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _start(
    model: str, source: str, variant: str, shape: str, threads: int, cure_file: str | None = None
) -> Start:
    import torch

    from vitquant import latency, models, variants

    torch.set_num_threads(threads)
    [parsed] = latency.parse_shapes(shape, model)
    pictures = latency.random_pictures(parsed)
    gc.collect()
    baseline_bytes = resident_bytes()
    forget_peak()
    begin = time.perf_counter()
    found = cure.from_bytes(Path(cure_file).read_bytes()) if cure_file else None
    built = variants.build(models.load(weights.resolve(model, source)), variant, machine.engine(), found)
    gc.collect()  # what the float32 model leaves behind
    loaded = time.perf_counter()
    with torch.inference_mode():
        built(pictures)
        first = time.perf_counter()
        calls = []
        for _ in range(CALLS):
            start = time.perf_counter()
            built(pictures)
            calls.append(time.perf_counter() - start)
    return Start(
        load_s=loaded - begin,
        first_s=first - loaded,
        next_s=statistics.median(calls),
        baseline_bytes=baseline_bytes,
        peak_bytes=peak_bytes(),
        steady_bytes=resident_bytes(),
    )


def resident_bytes() -> int:
    """This process's resident memory now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def peak_bytes() -> int:
    """The most resident memory this process has had since forget_peak, or ever where that cannot be told."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            found = re.search(r"VmHWM:\s+(\d+) kB", file.read())
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def forget_peak() -> None:
    """Have Linux count the peak from now on (proc(5), clear_refs); elsewhere it counts from the start."""
    try:
        with open(f"/proc/{os.getpid()}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
