"""Make docs/*.png: the dashboard on pictures that the tests draw, with everything on them really measured.

    .venv/bin/python -m tools.make_screenshots

Tiny-ImageNet's pictures may not be passed on, and Torch Hub's weights need a download; so a random
ViT-S/14 in DINOv2's form gets a head fitted to the drawings, and outlier channels like DINOv2's own (four
in each LayerNorm, scaled by 60, undone in the layer that follows), which are what int8 stumbles over.
Needs Chromium and takes a few minutes.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import torch
from PIL import Image
from playwright.sync_api import sync_playwright
from torch import nn

from tests import drawn
from tests.browser.conftest import CHROMIUM, FLAGS, SETTLED
from vitquant import catalog, database, gallery, labels, models, paths, predict
from vitquant.gallery import Filter
from vitquant.weights import resolve

DOCS = paths.PROJECT_ROOT / "docs"
MODEL = drawn.MODEL
PER_CLASS = 30
FITTED_PER_CLASS = 80
OUTLIERS, OUTLIER_SCALE = 4, 60.0

SHOTS = (
    # file, address ({broken}: a picture that int8 broke), width, theme
    ("explorer.png", "explorer?wrong=qint8", 1280, "light"),
    ("picture.png", "explorer?picture={broken}", 1280, "dark"),
    ("benchmark.png", "benchmark", 1280, "light"),
    ("size.png", "size", 1280, "light"),
    ("explorer-phone.png", "explorer", 390, "dark"),
)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["VITQUANT_DATA"] = str(folder / "data")
        drawn.draw_split(folder / "data" / drawn.DATASET / "val", PER_CLASS)
        weights = folder / "drawn-shapes"
        weights.mkdir()
        fit(weights)
        measure(weights)
        shoot()


def fit(folder: Path) -> None:
    """Write the two checkpoint files of a model that tells the drawings apart."""
    spec = catalog.model(MODEL)
    model = models.load(resolve(MODEL, "random"))
    pictures, classes = [], []
    for place, wnid in enumerate(drawn.DRAWINGS):
        pictures += [drawn.draw(wnid, 1000 + number) for number in range(FITTED_PER_CLASS)]
        classes += [place] * FITTED_PER_CLASS
    features = _features(model, predict.to_input(pictures, catalog.DEFAULT_IMAGE_SIZE))
    mean, deviation = features.mean(0), features.std(0) + 1e-6
    inputs = (features - mean) / deviation
    targets = nn.functional.one_hot(torch.tensor(classes)).double()
    gram = inputs.T @ inputs + 0.1 * len(inputs) * torch.eye(inputs.shape[1], dtype=torch.float64)
    solution = torch.linalg.solve(gram, inputs.T @ (targets - targets.mean(0))) / deviation[:, None]
    sharpness = 12.0  # makes a least-squares score of 0 or 1 a confident logit
    head = nn.Linear(features.shape[1], models.CLASSES)
    with torch.no_grad():
        head.weight.mul_(0.001)
        head.bias.fill_(-sharpness / 2)
        for place, wnid in enumerate(drawn.DRAWINGS):
            row = labels.by_wnid(wnid).index
            head.weight[row] = sharpness * solution[:, place].float()
            head.bias[row] = sharpness * (targets.mean(0)[place] - mean @ solution[:, place]).float()
    _plant_outliers(model)
    backbone = {n: t for n, t in model.state_dict().items() if not n.startswith("linear_head.")}
    torch.save(backbone, folder / spec.backbone_file)
    torch.save({n: t.detach() for n, t in head.named_parameters()}, folder / spec.head_file)


@torch.inference_mode()
def _features(model: models.LinearClassifier, inputs: torch.Tensor) -> torch.Tensor:
    """What the head is given: (N, 5 * width) float64."""
    given: list[torch.Tensor] = []
    hook = model.linear_head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    for batch in inputs.split(32):
        model(batch)
    hook.remove()
    return torch.cat(given).double()


@torch.no_grad()
def _plant_outliers(model: models.LinearClassifier) -> None:
    """Scale a few channels up in each LayerNorm and down again in the layer after it: the same function."""
    generator = torch.Generator().manual_seed(0)
    for block in model.blocks:
        for norm, following in ((block.norm1, block.attn.qkv), (block.norm2, block.mlp.fc1)):
            channels = torch.randperm(len(norm.weight), generator=generator)[:OUTLIERS]
            norm.weight[channels] *= OUTLIER_SCALE
            norm.bias[channels] *= OUTLIER_SCALE
            following.weight[:, channels] /= OUTLIER_SCALE


def measure(weights: Path) -> None:
    """Store size and accuracy, each from a process of its own, as a terminal would."""
    for command in ("size", f"accuracy --dataset {drawn.DATASET}"):
        arguments = [*command.split(), "--model", MODEL, "--weights", str(weights)]
        subprocess.run(
            [sys.executable, "-m", "vitquant", "benchmark", *arguments, "--variants", "fp32,qint8,float16"],
            cwd=paths.PROJECT_ROOT,
            check=True,
        )


def broken_picture() -> int:
    """A picture that fp32 has right and qint8 wrong."""
    with database.opened() as db:
        [answers, *_] = gallery.answer_sets(db, gallery.subjects(db)[0])
        wanted = Filter(wrong_series=answers.series_ids["qint8"])
        pictures = gallery.page(db, answers.dataset_id, answers.series_ids, wanted)
    return next(picture.picture for picture in pictures if picture.verdicts["fp32"].right)


def shoot() -> None:
    broken = broken_picture()
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = ["-m", "streamlit", "run", "dashboard.py", "--server.headless", "true"]
    server = subprocess.Popen([sys.executable, *command, "--server.port", str(port)], cwd=paths.PROJECT_ROOT)
    try:
        _wait(f"http://localhost:{port}/_stcore/health")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            for file, address, width, theme in SHOTS:
                viewport = {"width": width, "height": 900 if width > 500 else 844}
                with browser.new_context(viewport=viewport, color_scheme=theme) as context:  # type: ignore[arg-type]
                    page = context.new_page()
                    page.goto(f"http://localhost:{port}/{address.format(broken=broken)}")
                    page.wait_for_selector(SETTLED, timeout=60_000)
                    page.wait_for_load_state("networkidle")
                    page.wait_for_timeout(1500)  # charts are drawn after the script has run to its end
                    page.screenshot(path=DOCS / file)
            browser.close()
    finally:
        server.terminate()
        server.wait()
    for file, *_ in SHOTS:
        Image.open(DOCS / file).convert("RGB").save(DOCS / file, optimize=True)


def _wait(url: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{url} does not answer")


if __name__ == "__main__":
    main()
