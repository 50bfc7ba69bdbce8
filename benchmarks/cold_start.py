"""How long until the Overview stands on a screen, and how long the server takes over a page switch.

    python -m benchmarks.cold_start --times 3

Each time: a new server and a new browser, an empty data folder, the built-in sample. Prints seconds from
starting the server to the painted head picture, how many of them passed after the browser was sent there, and,
in the same browser, the seconds from a click on each page's link to the settled page (the browser's part
included, so an upper bound of the server's time).
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from playwright.sync_api import sync_playwright

from tests.browser.conftest import CHROMIUM, FLAGS, SETTLED
from vitquant import paths

PAGES = ("Explorer", "Benchmark", "Size", "Overview")


def once() -> dict[str, float]:
    """Seconds, by what they were spent on."""
    found = {}
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [
        "-m",
        "streamlit",
        "run",
        "dashboard.py",
        "--server.headless",
        "true",
        "--server.port",
        str(port),
    ]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        environment = {**os.environ, "VITQUANT_DATA": folder}
        begun = time.perf_counter()
        server = subprocess.Popen(
            [sys.executable, *command],
            cwd=paths.PROJECT_ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait(f"http://localhost:{port}/_stcore/health")
            sent = time.perf_counter()
            page.goto(f"http://localhost:{port}/")
            page.wait_for_selector(".vq-detail img")
            painted = time.perf_counter()
            found["from starting the server to the painted Overview"] = painted - begun
            found["of which since the browser was sent there"] = painted - sent
            page.wait_for_selector(SETTLED)
            for title in PAGES:
                clicked = time.perf_counter()
                page.get_by_test_id("stSidebarNavLink").filter(has_text=title).click()
                page.get_by_role("heading", name=title, exact=True, level=1).wait_for()
                page.wait_for_selector(SETTLED)
                found[f"a click on {title}"] = time.perf_counter() - clicked
        finally:
            server.terminate()
            server.wait()
            browser.close()
    return found


def _wait(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"{url} does not answer.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3)
    runs = [once() for _ in range(parser.parse_args().times)]
    for what in runs[0]:
        seconds = sorted(run[what] for run in runs)
        print(f"{what:52} median {statistics.median(seconds):5.2f} s   ({seconds[0]:.2f} to {seconds[-1]:.2f})")


if __name__ == "__main__":
    main()
