"""Fetching through the page in a real browser: the real Tiny-ImageNet from the loopback, then measured on."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PATIENCE_MS, Server, settled, visit
from tests.loopback import Fault, serving
from vitquant import database, runs
from vitquant.fetching import ARCHIVE

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_tiny_imagenet_is_fetched_by_a_click_survives_a_cut_and_is_measured_on(
    page: Page, serve: Callable[[], Server], shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving({ARCHIVE: shared / "tiny-imagenet-200-val.zip"}) as site:
        monkeypatch.setenv("VITQUANT_MIRROR", site.address)
        site.faults[ARCHIVE] = [Fault(cut_after=20_000_000)]
        server = serve()
        visit(page, server, "data")
        card = page.locator(".st-key-item-dataset-tiny-imagenet")
        expect(card.get_by_text("not here")).to_be_visible()
        card.get_by_role("button", name="Fetch").click()
        expect(card.get_by_role("button", name="Verify")).to_be_visible(timeout=2 * PATIENCE_MS)
        expect(card.get_by_text(re.compile("10,000 pictures to evaluate on")).first).to_be_visible()
        assert len(site.asked) == 2 and 19_000_000 < site.asked[1].first <= 20_000_000
    settled(page)
    expect(page.get_by_test_id("stAlertContentError")).to_have_count(0)
    visit(page, server, "benchmark?model=sample&dataset=tiny-imagenet&view=accuracy")
    page.get_by_role("button", name="Start").click()
    run = page.locator("[class*=st-key-run-]")
    expect(run).to_have_count(1)
    expect(run).to_have_count(0, timeout=3 * PATIENCE_MS)
    with database.opened() as db:
        [measured] = runs.find(db, kind="accuracy", states=("done",))
        assert measured.request["dataset"] == "tiny-imagenet"
        assert {row["n"] for row in measured.result or []} == {300}
    assert "libtorch" not in server.mapped_files()
