"""Make docs/*.png: the dashboard as it opens on the built-in sample, in an empty store.

.venv/bin/python -m tools.make_screenshots [--out FOLDER]

Needs Chromium and takes a minute.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser.conftest import CHROMIUM, FLAGS, SETTLED
from vitquant import browse, catalog, database, gallery, jobs, machine, notebook, paths, shipped
from vitquant.commands import NOTEBOOK_VARIANTS
from vitquant.gallery import Subject
from vitquant.measurements import ExportRequest, LatencyRequest, ProfileRequest, SizeRequest
from vitquant.variants import RECIPES

DOCS = paths.PROJECT_ROOT / "docs"

SHOTS = (
    # file, address ({broken}: a picture that int8 breaks), width, theme
    ("overview.png", "", 1280, "light"),
    ("overview-healthy.png", "?beside=sample", 1280, "dark"),
    ("overview-phone.png", "", 390, "dark"),
    ("explorer.png", "explorer?variant=qint8&verdict=wrong", 1280, "light"),
    ("picture.png", "explorer?picture={broken}", 1280, "dark"),
    ("benchmark.png", "benchmark", 1280, "light"),
    ("latency.png", "benchmark?view=latency", 1280, "dark"),
    ("profile.png", "benchmark?view=profile", 1280, "light"),
    ("compare.png", "benchmark?view=compare", 1280, "light"),
    ("engineer.png", "benchmark?view=engineer", 1280, "dark"),
    ("latency-phone.png", "benchmark?view=latency", 390, "light"),
    ("size.png", "size", 1280, "light"),
    ("riddle.png", "size?view=riddle&model=dinov2_vitb14_reg_lc&weights=random", 1280, "light"),
    ("tree.png", "size?view=tree", 1280, "dark"),
    ("tree-phone.png", "size?view=tree&at=qint8/block 3", 390, "light"),
    ("budget.png", "size?view=budget", 1280, "light"),
    ("budget-phone.png", "size?view=budget", 390, "dark"),
    ("bits.png", "size?view=bits", 1280, "dark"),
    ("take.png", "size?view=take&model=sample&variant=float16", 1280, "light"),
    ("pairs.png", "explorer?variant=qint8&versus=fp32&pair=lost&order=mistakes", 1280, "dark"),
    ("classes.png", "explorer?view=classes&versus=fp32", 1280, "light"),
    ("confusions.png", "explorer?view=confusions", 1280, "light"),
    ("confusions-phone.png", "explorer?view=confusions&model=sample&variant=fp32", 390, "dark"),
    ("own.png", "explorer?view=own", 1280, "light"),
    ("tour-breaks.png", "tour?step=5", 1280, "light"),
    ("tour-why.png", "tour?step=6", 1280, "dark"),
    ("tour-mended.png", "tour?step=7", 1280, "light"),
    ("explorer-phone.png", "explorer", 390, "light"),
    ("layers.png", "diagnosis", 1280, "light"),
    ("why.png", "diagnosis?view=why", 1280, "dark"),
    ("cause.png", "diagnosis?view=outliers&factor=60", 1280, "light"),
    ("neighbours.png", "diagnosis?view=neighbours", 1280, "light"),
    ("follow.png", "diagnosis?view=follow&picture={broken}", 1280, "dark"),
    ("cures.png", "diagnosis?view=cures", 1280, "light"),
    ("cures-phone.png", "diagnosis?view=cures", 390, "dark"),
    ("data.png", "data", 1280, "light"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DOCS)
    parser.add_argument("--only", help="these files alone, comma-separated, of the shipped results as they are")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    shots = [shot for shot in SHOTS if options.only is None or shot[0] in options.only.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VITQUANT_DATA"] = folder
        broken = broken_picture()
        if options.only is None:
            measure()
        shoot(options.out, broken, shots)


def broken_picture() -> int:
    """The clearest of the pictures that fp32 has right and qint8 wrong."""
    subject = Subject(catalog.FIRST_SIGHT, "bundled", shipped.DATASET, catalog.DEFAULT_IMAGE_SIZE)
    with database.opened() as db:
        shipped.bring_in(db)
        [answers] = gallery.answer_sets(db, subject)
        return browse.telling(db, answers, "qint8")[0]


def measure() -> None:
    """What the views show: sizes of the notebook's model, a file to take away; latency measured twice, a sweep
    and a profile, on this machine. The dashboard opens on what was measured last."""
    model, variants = catalog.FIRST_SIGHT, tuple(RECIPES)
    threads = machine.default_threads()
    usual = LatencyRequest(model, "bundled", variants, ("1x70", "8x70"), (threads,), 5.0)
    shapes = ("1x70", "2x70", "4x70", "8x70", "16x70", "1x224")
    sweep = replace(usual, variants=NOTEBOOK_VARIANTS, shapes=shapes, threads=(1, threads))
    notebooks = SizeRequest(notebook.MODEL, "random", NOTEBOOK_VARIANTS)
    export = ExportRequest("sample", "bundled", ("float16",), "program", shipped.DATASET)
    with database.opened() as db:
        for first in (notebooks, export):
            jobs.run_here(db, first)
        for request in (sweep, ProfileRequest(model, "bundled", variants, "1x70", threads), usual, usual):
            jobs.run_here(db, request, again=True)


def shoot(out: Path, broken: int, shots: Sequence[tuple[str, str, int, str]]) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = ["-m", "streamlit", "run", "dashboard.py", "--server.headless", "true"]
    server = subprocess.Popen([sys.executable, *command, "--server.port", str(port)], cwd=paths.PROJECT_ROOT)
    try:
        _wait(f"http://localhost:{port}/_stcore/health")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            for file, address, width, theme in shots:
                viewport = {"width": width, "height": 900 if width > 500 else 844}
                with browser.new_context(viewport=viewport, color_scheme=theme) as context:  # type: ignore[arg-type]
                    page = context.new_page()
                    page.goto(f"http://localhost:{port}/{address.format(broken=broken)}")
                    page.wait_for_selector(SETTLED, timeout=60_000)
                    page.wait_for_load_state("networkidle")
                    page.get_by_text("The model is waking").wait_for(state="hidden", timeout=120_000)
                    page.wait_for_timeout(1500)  # charts are drawn after the script has run to its end
                    page.screenshot(path=out / file)
            browser.close()
    finally:
        server.terminate()
        server.wait()
    for file, *_ in shots:
        Image.open(out / file).convert("RGB").save(out / file, optimize=True)


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
