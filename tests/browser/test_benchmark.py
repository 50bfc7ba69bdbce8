"""The Benchmark page in a real Chromium: runs started, watched by two, cancelled, continued, compared, sent."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import drawn
from tests.browser.conftest import PATIENCE_MS, Server, settled, visit
from tests.browser.test_dashboard import expect_no_error, expect_no_torch
from tests.pages.helpers import LATENCY, LATENCY_ROWS, PROFILE, PROFILE_ROWS, READY, store_run

pytestmark = pytest.mark.browser
slow = pytest.mark.slow

Serve = Callable[[], Server]
VIEWS = ("accuracy", "latency", "profile", "compare", "engineer", "runs")
WRONG = {"fp32": {0, 1}, "qint8": set(range(2, 30)), "float16": {0, 1}}


@pytest.fixture
def filled(data_dir: Path, no_sample: Path, serve: Serve) -> Server:
    """Stored results, latency twice so that there is something to compare."""
    drawn.draw_split(data_dir / drawn.DATASET / "val", 8, classes=5)
    drawn.store_answers(WRONG, limit=30)
    store_run(LATENCY, LATENCY_ROWS)
    store_run(LATENCY, [row | {"median_s": 0.9 * row["median_s"]} for row in LATENCY_ROWS])
    store_run(PROFILE, PROFILE_ROWS)
    return serve()


@pytest.fixture
def many_pictures(data_dir: Path, no_sample: Path) -> None:
    drawn.draw_split(data_dir / drawn.DATASET / "val", 60)


def start_all_pictures(page: Page) -> None:
    page.get_by_text("All", exact=True).click()
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text(re.compile("of 720 pictures")).first).to_be_visible(timeout=2 * PATIENCE_MS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_on_a_phone_scrolls_in_one_direction_only(
    browser: Browser, filled: Server, scheme: str
) -> None:
    with browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        for view in VIEWS:
            visit(page, filled, f"benchmark?view={view}")
            expect_no_error(page)
            assert page.get_by_test_id("stMain").evaluate("e => e.scrollWidth <= e.clientWidth"), view
    expect_no_torch(filled)


def test_a_comparison_is_sent_as_a_link(page: Page, browser: Browser, filled: Server) -> None:
    visit(page, filled, "benchmark")
    page.get_by_role("radio", name="Compare").click()
    expect(page.get_by_role("heading", name="What came out")).to_be_visible()
    settled(page)
    visit(page, filled, "benchmark?view=compare&first=2&second=1")
    with browser.new_context() as context:
        other = context.new_page()
        other.goto(page.url)
        expect(other.get_by_role("heading", name="What was different")).to_be_visible()
        expect(other.get_by_role("combobox", name="First run")).to_have_value(re.compile("Run 2"))
        expect_no_error(other)


@pytest.mark.parametrize("suffix", ["html", "json", "csv"])
def test_the_report_is_downloaded(
    page: Page, browser: Browser, filled: Server, tmp_path: Path, suffix: str
) -> None:
    visit(page, filled, "benchmark")
    page.get_by_role("button", name="Report").click()
    with page.expect_download() as download:
        page.get_by_role("button", name=suffix.upper(), exact=True).click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert file.suffix == f".{suffix}"
    if suffix == "json":
        assert {part["kind"] for part in json.loads(file.read_text())["parts"]} == {
            "accuracy",
            "latency",
            "profile",
        }
    if suffix != "html":
        return
    with browser.new_context(offline=True) as context:  # it needs nothing else
        report = context.new_page()
        errors: list[str] = []
        report.on("pageerror", lambda error: errors.append(str(error)))
        report.goto(file.as_uri())
        expect(report.get_by_role("heading", name="Accuracy")).to_be_visible()
        expect(report.locator(".chart svg.main-svg").first).to_be_visible()
        expect(report.get_by_role("cell", name="93.33%").first).to_be_visible()
        assert not errors


def test_a_read_only_dashboard_offers_nothing_to_start(
    page: Page, filled: Server, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITQUANT_READONLY", "1")
    server = serve()
    for path in ("", "tour", "explorer", "benchmark", "benchmark?view=latency", "size", "diagnosis"):
        visit(page, server, path)
        expect(page.get_by_text("This dashboard is read-only").first).to_be_visible()
        expect(page.get_by_role("button", name=re.compile("^(Start|Measure|Cancel|Continue)"))).to_have_count(0)
        expect_no_error(page)


@slow
def test_one_starts_another_watches_the_first_leaves_and_both_see_the_end(
    page: Page, browser: Browser, many_pictures: None, serve: Serve
) -> None:
    server = serve()
    with browser.new_context() as context:
        first = context.new_page()
        first.set_default_timeout(PATIENCE_MS)
        visit(first, server, "benchmark")
        visit(page, server, "benchmark")
        start_all_pictures(first)
        # The other sees it without doing anything, with results whose intervals narrow.
        expect(page.get_by_text(re.compile("of 720 pictures")).first).to_be_visible()
        expect(page.get_by_text(re.compile("points from fp32")).first).to_be_visible()
    expect(page.get_by_text("of 720 pictures right at once").first).to_be_visible(timeout=4 * PATIENCE_MS)
    with browser.new_context() as context:
        again = context.new_page()
        visit(again, server, "benchmark")
        expect(again.get_by_text("of 720 pictures right at once").first).to_be_visible()
        expect_no_error(again)
    expect_no_torch(server)


@slow
def test_a_run_is_cancelled_and_continued(page: Page, many_pictures: None, serve: Serve) -> None:
    server = serve()
    visit(page, server, "benchmark")
    start_all_pictures(page)
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.get_by_text("1 run has stopped half-way")).to_be_visible()
    page.get_by_role("button", name="Continue", exact=True).click()
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_visible()
    expect(page.get_by_text("of 720 pictures right at once").first).to_be_visible(timeout=4 * PATIENCE_MS)


@slow
def test_a_prediction_waits_while_times_are_taken_and_comes_by_itself(
    page: Page, browser: Browser, many_pictures: None, serve: Serve
) -> None:
    server = serve()
    visit(page, server, "benchmark?view=latency")
    page.get_by_role("textbox", name="Shapes").fill("1x28")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_visible()
    expect(page.get_by_text(re.compile("1x28|fresh process")).first).to_be_visible()
    with browser.new_context() as context:
        other = context.new_page()
        other.set_default_timeout(2 * PATIENCE_MS)
        visit(other, server, "explorer?picture=3")
        expect(other.get_by_text("Times are being taken on this machine right now")).to_be_visible()
        expect(other.locator(".vq-row")).to_have_count(5 * len(READY), timeout=3 * PATIENCE_MS)
        expect(other.get_by_text("Times are being taken")).to_have_count(0)
    expect(page.get_by_text(re.compile("at 1x28")).first).to_be_visible()
    expect_no_error(page)
