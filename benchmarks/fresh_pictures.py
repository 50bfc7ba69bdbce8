"""Accuracy on freshly drawn pictures, which neither training nor calibration has seen: how much of top-1 each
variant loses to fp32, with the paired interval.

    python -m tools.sample pictures --count 5000 --seed 1125 --out FOLDER
    python -m benchmarks.fresh_pictures FOLDER

(Seeds 1 and 2 are the training's own.) It measures in a store of its own, in which the pictures stand where
Tiny-ImageNet's would; calibrated variants take the sample's training pictures, as they do there.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from vitquant import paths
from vitquant.tables import table

VARIANTS = "fp32,qint8,float16,bfloat16,qint8_channel,qint8_smooth,qint8_mixed,qint8_best"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path, help="the folder that they were drawn into: it has val/")
    parser.add_argument("--models", default="sample_outliers,sample")
    parser.add_argument("--variants", default=VARIANTS)
    options = parser.parse_args()
    titles = [
        "model",
        "variant",
        "pictures",
        "top-1",
        "95% interval",
        "lost (points)",
        "95% interval",
        "KL (nats)",
    ]
    body = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tiny-imagenet").symlink_to(options.pictures.resolve())
        for model in options.models.split(","):
            command = [sys.executable, "-m", "vitquant", "benchmark", "accuracy", "--json", "--model", model]
            command += ["--dataset", "tiny-imagenet", "--variants", options.variants]
            environment = os.environ | {"VITQUANT_DATA": folder}
            answer = subprocess.run(
                command, cwd=paths.PROJECT_ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            for row in json.loads(answer.stdout):
                lost = None if row["difference"] is None else 0.0 - 100 * row["difference"]
                body.append(
                    [
                        model,
                        row["variant"],
                        row["n"],
                        f"{row['top1']:.2%}",
                        f"{row['top1_low']:.2%} to {row['top1_high']:.2%}",
                        "-" if lost is None else f"{lost:+.2f}",
                        "-"
                        if lost is None
                        else f"{-100 * row['difference_high']:+.2f} to {-100 * row['difference_low']:+.2f}",
                        "-" if row["mean_kl_nats"] is None else f"{row['mean_kl_nats']:.3g}",
                    ]
                )
    print(table(titles, body))


if __name__ == "__main__":
    main()
