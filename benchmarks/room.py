"""What heavy runs and exports take of memory at their peak, as multiples of the weights.

    python -m benchmarks.room --model dinov2_vitb14_reg_lc

vitquant/room.py estimates with these multiples of the float32 weights, rounded up, before it begins any of
them. Each is done in a process of its own, with random weights; what the process takes after its imports is
taken off. The processes that it starts in its turn, which load a finished file, are smaller.
"""

import argparse
import os
import subprocess
import sys
import tempfile

from vitquant import catalog, formats, machine, room

IN_A_PROCESS = """
import resource, sys
from vitquant import database, jobs, measurements, models, predict, variants, onnx_files, torch_files, footprint
what, model = sys.argv[1:]
if what.startswith("onnx"):
    import onnxruntime.quantization, onnxscript
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ask = {
    "size": lambda: measurements.SizeRequest(model, "random", ("fp32", "qint8", "float16")),
    "bits": lambda: measurements.BitsRequest(model, "random", "sample", 16),
    "diagnosis": lambda: measurements.DiagnosisRequest(model, "random", "sample", 16),
}.get(what, lambda: measurements.ExportRequest(
    model, "random", ("fp32" if what.startswith("onnx") else "float16",), what, "sample", 8))
with database.opened() as db:
    jobs.run_here(db, ask(), again=True)
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=catalog.DEFAULT_MODEL)
    model = catalog.model(parser.parse_args().model)
    float32_bytes = 4 * model.parameters
    print(f"{machine.machine_name()}, torch {machine.version_of('torch')}")
    print(f"{model.name}: {float32_bytes:,} bytes")
    print(f"{'what':12} {'peak bytes added':>18} {'times':>6} {'estimate':>9}")
    for what in ("size", "bits", "diagnosis", *formats.FORMATS):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [sys.executable, "-c", IN_A_PROCESS, what, model.name],
                env=os.environ | {"VITQUANT_DATA": folder},
                capture_output=True,
                text=True,
                check=True,
            )
        added = int(done.stdout.splitlines()[-1])
        print(f"{what:12} {added:18,} {added / float32_bytes:6.2f} {room.COPIES[what]:9}")


if __name__ == "__main__":
    main()
