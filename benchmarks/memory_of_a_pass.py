"""Memory of an accuracy pass over 1,000 and over 10,000 pictures, each in a fresh process: the process's peak,
and the most that was resident during the pass itself (loading the model may have peaked higher).

python -m benchmarks.memory_of_a_pass [--model dinov2_vits14_reg_lc] [--variants fp32,qint8,float16]
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from vitquant import accuracy, database, machine

MIB = 2**20


def one_pass(model: str, variants: list[str], pictures: int) -> None:
    with tempfile.TemporaryDirectory() as folder, database.opened(Path(folder) / "store.sqlite") as db:
        plan = accuracy.plan(
            db,
            model=model,
            weights_source="random",
            dataset_name="tiny-imagenet",
            variants=variants,
            image_size=70,
        )
        process, resident = psutil.Process(), [0]

        def look(done: int, total: int) -> None:
            resident[0] = max(resident[0], process.memory_info().rss)

        accuracy.measure(db, plan, accuracy.missing(db, plan, plan.count(pictures)), look)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, resident[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="dinov2_vits14_reg_lc")
    parser.add_argument("--variants", default="fp32,qint8,float16")
    parser.add_argument("--pictures", type=int, help="one pass in this process; prints its peak in bytes")
    options = parser.parse_args()
    if options.pictures:
        one_pass(options.model, options.variants.split(","), options.pictures)
        return
    print(f"{machine.machine_name()}; {options.model}, random weights, {options.variants}")
    found = {}
    for pictures in (1_000, 10_000):
        command = [sys.executable, "-m", "benchmarks.memory_of_a_pass", "--pictures", str(pictures)]
        command += ["--model", options.model, "--variants", options.variants]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peak, resident = found[pictures] = tuple(map(int, answer.split()))
        print(f"{pictures:6,} pictures: peak {peak / MIB:,.0f} MiB, during the pass {resident / MIB:,.0f} MiB")
    ratios = [many / few for many, few in zip(found[10_000], found[1_000], strict=True)]
    print(f"ratios 10,000 / 1,000: peak {ratios[0]:.3f}, during the pass {ratios[1]:.3f}")


if __name__ == "__main__":
    main()
