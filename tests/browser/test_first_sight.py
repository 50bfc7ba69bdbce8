"""What somebody sees who has just cloned the project: the built-in sample, in a real Chromium, offline."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PATIENCE_MS, Server, settled, visit
from tests.conftest import missing
from vitquant import sample
from vitquant.paths import sample_dir

pytestmark = pytest.mark.browser

PATHS = (
    "",
    "tour",
    "tour?step=3",
    "tour?step=7",
    "explorer",
    "explorer?variant=qint8&verdict=wrong",
    "explorer?view=confusions",
    "explorer?view=own",
    "explorer?picture=3",
    "benchmark",
    "size",
    "diagnosis",
    "diagnosis?view=cures",
)

GUARD = """
import os, socket

def guarded(call):
    def connect(self, address, *rest):
        host = address[0] if isinstance(address, tuple) else "localhost"
        if not (host.startswith("127.") or host in ("localhost", "::1")):
            with open(os.environ["VITQUANT_TEST_ATTEMPTS"], "a") as log:
                log.write(f"{host}\\n")
            raise ConnectionRefusedError(f"no network in this test: {host}")
        return call(self, address, *rest)
    return connect

socket.socket.connect = guarded(socket.socket.connect)
socket.socket.connect_ex = guarded(socket.socket.connect_ex)
found = socket.getaddrinfo

def getaddrinfo(host, *rest, **named):
    if host not in (None, "", "localhost", "::1", "0.0.0.0", "::") and not str(host).startswith("127."):
        with open(os.environ["VITQUANT_TEST_ATTEMPTS"], "a") as log:
            log.write(f"{host}\\n")
        raise socket.gaierror(f"no network in this test: {host}")
    return found(host, *rest, **named)

socket.getaddrinfo = getaddrinfo
"""


@pytest.fixture(autouse=True)
def is_here() -> None:
    if not (sample_dir() / sample.SUMS).is_file():
        missing("the built-in sample: git restore data/sample")


@pytest.fixture
def attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No process started from here reaches beyond the loopback; the file lists those that tried."""
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    log = tmp_path / "attempts"
    log.touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "guard"))
    monkeypatch.setenv("VITQUANT_TEST_ATTEMPTS", str(log))
    return log


def answer(page: Page, card: str) -> str:
    """The most probable class in a card of the head ("head-fp32"), or of the healthy model's."""
    return page.locator(f".st-key-{card} .vq-words").first.inner_text()


def test_a_first_visit_opens_on_a_picture_that_int8_gets_wrong_and_the_cure_right(
    page: Page, serve: Callable[[], Server]
) -> None:
    visit(page, serve(), "")
    expect(page).to_have_url(re.compile("model=sample_outliers"))
    expect(page.locator(".vq-detail img")).to_be_visible()
    expect(page.locator(".st-key-head-fp32").get_by_text("✓ right")).to_be_visible()
    expect(page.locator(".st-key-head-qint8").get_by_text("✗ wrong")).to_be_visible()
    mended = page.locator(".st-key-head-qint8_best")
    expect(mended.get_by_text("Mended, in 8-bit numbers too")).to_be_visible()
    expect(mended.get_by_text("✓ right")).to_be_visible()
    expect(page.locator(".vq-row")).to_have_count(15)
    original = answer(page, "head-fp32")
    assert answer(page, "head-qint8") != original == answer(page, "head-qint8_best")
    expect(page.get_by_text("planted here, on purpose")).to_be_visible()
    expect(page.get_by_text("shipped with vitquant")).to_be_visible()
    expect(page.get_by_text("Stale")).to_have_count(0)

    page.get_by_role("button", name="Another picture").click()
    expect(page.locator(".st-key-head-fp32 .vq-words").first).not_to_have_text(original)
    settled(page)

    page.get_by_role("button", name="Show the healthy model beside it").click()
    expect(page.locator(".vq-row")).to_have_count(25)
    settled(page)
    assert answer(page, "healthy-fp32") == answer(page, "head-fp32")  # the same function in float32
    expect(page.locator("[class*=st-key-card-healthy-]")).to_have_count(
        page.locator("[class*=st-key-card-own-]").count()
    )


def test_every_page_works_with_the_network_refused(
    browser: Browser, attempts: Path, serve: Callable[[], Server]
) -> None:
    server = serve()
    asked: list[str] = []
    # A proxy that nobody answers on, for everything but the dashboard itself.
    with browser.new_context(proxy={"server": "http://127.0.0.1:9", "bypass": "localhost"}) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: asked.append(request.url))
        for path in PATHS:
            visit(page, server, path)
            expect(page.get_by_test_id("stException")).to_have_count(0)
            expect(page.get_by_test_id("stAlertContentError")).to_have_count(0)
    own = (server.url, server.url.replace("http", "ws"), "data:", "blob:")
    assert not [url for url in asked if not url.startswith(own)]
    assert attempts.read_text() == ""


def test_the_guard_against_the_network_would_notice(attempts: Path) -> None:
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=dict(os.environ))
    assert done.returncode != 0
    assert "192.0.2.1" in attempts.read_text()


def test_shipped_sizes_are_measured_here_with_one_click(page: Page, serve: Callable[[], Server]) -> None:
    visit(page, serve(), "size")
    expect(page.get_by_text("shipped with vitquant, measured elsewhere")).to_be_visible()
    page.get_by_role("button", name="Measure the sizes").click()
    # A fresh process for each of eight variants, which takes some seconds to import torch.
    shipped = page.get_by_text("shipped with vitquant, measured elsewhere")
    expect(shipped).to_have_count(0, timeout=4 * PATIENCE_MS)
    expect(page.get_by_role("button", name="Measure the sizes")).to_have_count(0)
