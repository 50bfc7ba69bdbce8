"""Which keeps the cores busier at 70 x 70: a batch split by torch, or a thread with a batch for each core?

Prints pictures per second for each way, all measured in one run, interleaved; the ratios are to the first
row of each variant. The accuracy pass takes its chunk size and its workers from this.

    python -m benchmarks.threads_or_batches --model vit_small_patch14_reg4_dinov2 --seconds 1
"""

import argparse
import functools
import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier, Event
from typing import Any, cast

import timm
import torch
from torch import nn

from vitquant import machine, variants

IMAGE_SIZE = 70
ROUNDS = 5
BATCHES = {"fp32": (1, 4, 8, 16, 32), "float16": (1, 4, 8, 16, 32), "qint8": (1,)}


def build(model_name: str, variant: str) -> nn.Module:
    """The variant of timm's model with random weights, from the same seed in every process."""
    torch.manual_seed(0)
    model = timm.create_model(model_name, dynamic_img_size=True, img_size=IMAGE_SIZE).eval()
    model.requires_grad_(False)
    return variants.build(cast(Any, model), variant, machine.engine())  # any model made of Linear layers


@torch.inference_mode()
def pictures_until(model: nn.Module, batch: int, deadline: float) -> tuple[int, float]:
    """Pictures that went through the model until the deadline (time.perf_counter), and the end's time."""
    pictures = torch.randn((batch, 3, IMAGE_SIZE, IMAGE_SIZE))
    done = 0
    while time.perf_counter() < deadline:
        model(pictures)
        done += batch
    return done, time.perf_counter()


def one_thread(model: nn.Module, batch: int, cores: int, seconds: float) -> float:
    """Pictures per second when torch splits each operation over all cores."""
    torch.set_num_threads(cores)
    start = time.perf_counter()
    done, end = pictures_until(model, batch, start + seconds)
    return done / (end - start)


def thread_per_core(model: nn.Module, batch: int, cores: int, seconds: float) -> float:
    """Pictures per second of one Python thread a core, torch single-threaded in each, sharing the model."""
    rates = []

    def work() -> None:
        torch.set_num_threads(1)  # OpenMP's setting belongs to the calling thread
        begin = time.perf_counter()
        done, end = pictures_until(model, batch, begin + seconds)
        rates.append(done / (end - begin))

    threads = [threading.Thread(target=work) for _ in range(cores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates)


def _process(
    model_name: str, variant: str, batch: int, seconds: float, go: Barrier, stop: Event, rates: object
) -> None:
    torch.set_num_threads(1)
    model = build(model_name, variant)
    pictures_until(model, batch, time.perf_counter() + 1)
    while True:
        go.wait()
        if stop.is_set():
            return
        begin = time.perf_counter()
        done, end = pictures_until(model, batch, begin + seconds)
        rates.put(done / (end - begin))  # type: ignore[attr-defined]


class ProcessPerCore:
    """One process a core, each with a model of its own; waits at a barrier between measurements."""

    def __init__(self, model_name: str, variant: str, batch: int, cores: int, seconds: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.go, self.stop, self.rates = context.Barrier(cores + 1), context.Event(), context.Queue()
        given = (model_name, variant, batch, seconds, self.go, self.stop, self.rates)
        self.processes = [context.Process(target=_process, args=given) for _ in range(cores)]
        for process in self.processes:
            process.start()

    def measure(self) -> float:
        """Pictures per second of all processes together."""
        self.go.wait()
        return sum(self.rates.get() for _ in self.processes)

    def close(self) -> None:
        self.stop.set()
        self.go.wait()
        for process in self.processes:
            process.join()


def compare(ways: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Each way's pictures per second in each round; the ways take turns, after one turn to warm up."""
    for way in ways.values():
        way()
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            rates[name].append(way())
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="vit_small_patch14_reg4_dinov2", help="one of timm's")
    parser.add_argument("--variants", default="fp32,float16,qint8")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each way in each round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--processes", action="store_true", help="also a process for each core, at batch 1")
    asked = parser.parse_args()
    cores = machine.default_threads()

    print(f"{asked.model} at {IMAGE_SIZE} x {IMAGE_SIZE}, {cores} cores, engine {machine.engine()}")
    print(f"{machine.machine_name()}; {', '.join(machine.cpu_features())}; torch {torch.__version__}\n")
    print(f"{'variant':8} {'way':26} {'pictures/s':>10} {'lowest':>8} {'highest':>8} {'ratio':>6}")
    for variant in asked.variants.split(","):
        model = build(asked.model, variant)
        ways: dict[str, Callable[[], float]] = {}
        for batch in BATCHES[variant]:
            given = (model, batch, cores, asked.seconds)
            ways[f"batch {batch:2}, {cores} intra-op"] = functools.partial(one_thread, *given)
            ways[f"batch {batch:2}, {cores} threads x 1"] = functools.partial(thread_per_core, *given)
        processes = None
        if asked.processes:
            processes = ProcessPerCore(asked.model, variant, 1, cores, asked.seconds)
            ways[f"batch  1, {cores} processes x 1"] = processes.measure
        rates = compare(ways, asked.rounds)
        if processes:
            processes.close()
        medians = {name: statistics.median(seen) for name, seen in rates.items()}
        first = next(iter(medians.values()))
        for name, seen in rates.items():
            print(
                f"{variant:8} {name:26} {medians[name]:10.1f} {min(seen):8.1f} {max(seen):8.1f} "
                f"{medians[name] / first:6.2f}"
            )
        print(flush=True)


if __name__ == "__main__":
    main()
