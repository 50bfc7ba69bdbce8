"""vitquant's latency beside an independent measurement with torch.utils.benchmark, in turns.

    python -m benchmarks.latency_agreement --model sample

The independent one builds the variants itself, with torch's quantize_dynamic, and takes the median of
Timer.blocked_autorange. Both are repeated several times in turns, and the medians of their medians compared.
"""

import argparse
import statistics

import torch
from torch import nn
from torch.ao.quantization import quantize_dynamic
from torch.utils.benchmark import Timer

from vitquant import latency, machine, models, predict, weights

DTYPES = {"qint8": torch.qint8, "float16": torch.float16}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="sample")
    parser.add_argument("--weights")
    parser.add_argument("--shapes", default="1x70,8x70")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    source = weights.resolve(options.model, options.weights)
    threads = machine.default_threads()
    names = ("fp32", *DTYPES)
    ours = predict.load_variants(source, names, machine.engine())
    original = models.load(source)
    theirs = {"fp32": original} | {
        name: quantize_dynamic(original, {nn.Linear}, dtype=dtype) for name, dtype in DTYPES.items()
    }
    print(f"{machine.machine_name()}, {threads} threads, torch {torch.__version__}, {options.model}")
    print(f"{'shape':8} {'variant':8} {'vitquant':>12} {'torch alone':>12} {'ratio':>7}")
    for shape in latency.parse_shapes(options.shapes, options.model):
        medians: dict[str, dict[str, list[float]]] = {name: {"ours": [], "theirs": []} for name in names}
        for _ in range(options.repeats):
            for timing in latency.measure(ours, [shape], threads, seconds_per_shape=options.seconds):
                medians[timing.variant]["ours"].append(timing.median_s)
            for name, model in theirs.items():
                medians[name]["theirs"].append(_independent(model, shape, threads, options.seconds / 3))
        for name, both in medians.items():
            a, b = (statistics.median(both[who]) for who in ("ours", "theirs"))
            print(f"{shape!s:8} {name:8} {1e3 * a:9.3f} ms {1e3 * b:9.3f} ms {a / b:7.3f}")


def _independent(model: nn.Module, shape: latency.Shape, threads: int, seconds: float) -> float:
    pictures = torch.randn(shape.batch, 3, shape.size, shape.size)
    timer = Timer(
        "with torch.inference_mode(): model(pictures)",
        globals={"model": model, "pictures": pictures, "torch": torch},
        num_threads=threads,
    )
    timer.timeit(3)  # warm-up
    return float(timer.blocked_autorange(min_run_time=seconds).median)


if __name__ == "__main__":
    main()
