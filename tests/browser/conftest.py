"""A real headless Chromium, and a dashboard of the test's own to look at."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import ROOT, missing

NAMES = ("chromium", "chromium-browser", "google-chrome")  # as scripts/test looks for them
CHROMIUM = os.environ.get("VITQUANT_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
# As root Chromium needs --no-sandbox; the others keep it from asking the network for anything.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

PATIENCE_MS = 60_000
"""Waits end as soon as what they wait for is there; this is for a machine that is busy with other things."""

expect.set_options(timeout=PATIENCE_MS)

SETTLED = '[data-testid="stApp"][data-test-connection-state="CONNECTED"][data-test-script-state="notRunning"]'


@dataclass(frozen=True)
class Server:
    """A running dashboard."""

    url: str
    process_id: int
    data: Path

    def mapped_files(self) -> str:
        """Every file that the server's process has mapped into memory, as /proc lists them."""
        return Path(f"/proc/{self.process_id}/maps").read_text()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None or not Path(CHROMIUM).exists():
        missing(f"a Chromium to drive: {' or '.join(NAMES)} on the PATH, or VITQUANT_CHROMIUM naming one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        yield page


@pytest.fixture
def serve(data_dir: Path) -> Iterator[Callable[[], Server]]:
    """Starts the dashboard on the test's data folder; everything it has started ends with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> Server:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        command = ["-m", "streamlit", "run", "dashboard.py", "--server.headless", "true"]
        log = (data_dir / "server.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, *command, "--server.port", str(port)], cwd=ROOT, stdout=log, stderr=log
        )
        started.append(process)
        url = f"http://localhost:{port}"
        _wait_until_healthy(f"{url}/_stcore/health", process)
        return Server(url, process.pid, data_dir)

    yield start
    for process in started:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.send_signal(signal.SIGKILL)
        process.kill()
        process.wait()
    _end_detached(data_dir)


def _wait_until_healthy(url: str, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, "the server ended by itself"
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.05)  # between two attempts; nothing tells us from outside that a port opens
    raise AssertionError(f"{url} does not answer")


def _end_detached(data_dir: Path) -> None:
    """The queue's processes outlive the server on purpose; those of this test's data folder end here."""
    for process in psutil.process_iter(["cmdline"]):
        try:
            if "vitquant.jobs" in (process.info["cmdline"] or []) and process.environ().get(
                "VITQUANT_DATA"
            ) == str(data_dir):
                process.kill()
        except psutil.Error:
            continue


def settled(page: Page) -> None:
    """Wait until the page's script has run to its end."""
    page.wait_for_selector(SETTLED, timeout=PATIENCE_MS)


def visit(page: Page, server: Server, path: str = "explorer") -> None:
    page.goto(f"{server.url}/{path}")
    page.locator("h1").first.wait_for(timeout=PATIENCE_MS)  # before its first run a page counts as settled, too
    settled(page)
