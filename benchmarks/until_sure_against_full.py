"""How much sooner a run until sure ends than a full pass, and whether both conclude the same.

    python -m benchmarks.until_sure_against_full --model sample_outliers --variants fp32,qint8
    python -m benchmarks.until_sure_against_full --model sample_outliers --dataset tiny-imagenet ...

Both measure in stores of their own, in turn; loading torch and the model is part of both.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vitquant import paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="sample_outliers")
    parser.add_argument("--weights", default="bundled")
    parser.add_argument("--dataset", default="sample")
    parser.add_argument("--data", type=Path, help="the folder in which the dataset was prepared")
    parser.add_argument("--variants", default="fp32,qint8")
    parser.add_argument("--limit", help="only so many pictures, for both")
    options = parser.parse_args()
    command = [sys.executable, "-m", "vitquant", "benchmark", "accuracy", "--model", options.model]
    command += ["--weights", options.weights, "--dataset", options.dataset, "--variants", options.variants]
    command += ["--limit", options.limit] if options.limit else []
    seconds = {}
    for title, more in {"until sure": ["--until-sure"], "full pass": []}.items():
        with tempfile.TemporaryDirectory() as folder:
            if options.data:
                (Path(folder) / options.dataset).symlink_to(options.data.resolve() / options.dataset)
            begin = time.perf_counter()
            answer = subprocess.run(
                [*command, *more],
                cwd=paths.PROJECT_ROOT,
                env=os.environ | {"VITQUANT_DATA": folder},
                capture_output=True,
                text=True,
                check=True,
            )
            seconds[title] = time.perf_counter() - begin
        print(f"{title}\n{answer.stdout}")
    ratio = seconds["until sure"] / seconds["full pass"]
    print(f"until sure {seconds['until sure']:.1f} s, full pass {seconds['full pass']:.1f} s: {ratio:.3f}")


if __name__ == "__main__":
    main()
