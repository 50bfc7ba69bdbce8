"""Peak memory of an accuracy pass over 1,000 and over 10,000 pictures, each in a fresh process.

python -m benchmarks.memory_of_a_pass [--model dinov2_vits14_reg_lc] [--variants fp32,qint8,float16]
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from vitquant import accuracy, database, machine


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
        accuracy.measure(db, plan, accuracy.missing(db, plan, plan.count(pictures)))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


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
    peaks = {}
    for pictures in (1_000, 10_000):
        command = [sys.executable, "-m", "benchmarks.memory_of_a_pass", "--pictures", str(pictures)]
        command += ["--model", options.model, "--variants", options.variants]
        peaks[pictures] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"{pictures:6,} pictures: peak {peaks[pictures] / 2**20:,.0f} MiB")
    print(f"ratio {peaks[10_000] / peaks[1_000]:.3f}")


if __name__ == "__main__":
    main()
