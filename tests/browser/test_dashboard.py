"""The dashboard in a real Chromium: every page, a picture opened, runs started and watched."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import drawn
from tests.browser.conftest import PATIENCE_MS, Server, settled, visit
from tests.pages.helpers import (
    LATENCY,
    LATENCY_ROWS,
    PROFILE,
    PROFILE_ROWS,
    READY,
    SIZE,
    SIZE_ROWS,
    WRONG,
    store_run,
)

pytestmark = pytest.mark.browser
slow = pytest.mark.slow

Serve = Callable[[], Server]
PATHS = ("", "explorer", "benchmark", "size", "diagnosis", "data")
TOP5_OF_ALL = 5 * len(READY)
"""Rows on the page of a picture that every variant has answered."""


@pytest.fixture
def pictures(data_dir: Path, no_sample: Path) -> None:
    drawn.draw_split(data_dir / drawn.DATASET / "val", 8, classes=5)


@pytest.fixture
def filled(pictures: None, serve: Serve) -> Server:
    """Stored results of every kind."""
    drawn.store_answers({name: WRONG.get(name, {0, 1}) for name in READY}, limit=30)
    store_run(SIZE, SIZE_ROWS)
    store_run(LATENCY, LATENCY_ROWS)
    store_run(PROFILE, PROFILE_ROWS)
    return serve()


def expect_no_error(page: Page) -> None:
    expect(page.get_by_test_id("stException")).to_have_count(0)
    expect(page.get_by_test_id("stAlertContentError")).to_have_count(0)
    assert "Traceback" not in page.inner_text("body")


def expect_no_torch(server: Server) -> None:
    """torch cannot be in a process without its libraries being mapped into it."""
    maps = server.mapped_files()
    assert "sqlite" in maps  # what the server does use shows
    for library in ("libtorch", "torchvision", "/torch/_C"):  # timm, all Python, imports torch
        assert library not in maps


def test_the_server_never_imports_torch_whatever_page_is_visited(page: Page, filled: Server) -> None:
    for path in PATHS:
        visit(page, filled, path)
        expect_no_error(page)
    for view in ("latency", "profile", "compare", "engineer", "runs"):
        visit(page, filled, f"benchmark?view={view}")
        expect_no_error(page)
    visit(page, filled)
    page.locator("[class*=st-key-tile-] button").first.click()
    expect(page.locator(".vq-row")).to_have_count(TOP5_OF_ALL)
    expect_no_error(page)
    expect_no_torch(filled)


def test_every_page_is_listed_and_a_click_opens_it(page: Page, filled: Server) -> None:
    visit(page, filled, "")
    links = page.get_by_test_id("stSidebarNavLink")
    titles = ["Overview", "Tour", "Explorer", "Benchmark", "Size", "Diagnosis", "Data and models"]
    assert [link.inner_text().splitlines()[-1] for link in links.all()] == titles
    links.filter(has_text="Diagnosis").click()
    expect(page.get_by_role("heading", name="Diagnosis", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile("/diagnosis"))
    settled(page)
    expect_no_error(page)


# The tile's button lies over its picture once the page has been laid out to its end.
TAKES_CLICKS = """image => {
    const box = image.getBoundingClientRect();
    const hit = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    return hit !== null && hit.closest("button") !== null;
}"""


def test_a_picture_is_opened_by_clicking_it(page: Page, filled: Server) -> None:
    visit(page, filled)
    expect(page.locator("[class*=st-key-tile-] img")).to_have_count(24)
    picture = page.locator("[class*=st-key-tile-]").nth(2).locator("img")
    page.wait_for_function(TAKES_CLICKS, arg=picture.element_handle())
    picture.click(force=True)
    expect(page.get_by_text("64 × 64, enlarged")).to_be_visible()
    expect(page).to_have_url(re.compile("picture="))
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("4 of 40")).to_be_visible()
    page.get_by_role("button", name="All pictures").click()
    expect(page.locator("[class*=st-key-tile-] img")).to_have_count(24)


def test_a_picture_is_opened_from_the_keyboard(page: Page, filled: Server) -> None:
    visit(page, filled)
    first = page.locator("[class*=st-key-tile-] button").first
    page.get_by_role("combobox", name="Order").focus()
    for _ in range(8):
        page.keyboard.press("Tab")
        if first.evaluate("button => button === document.activeElement"):
            break
    expect(first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".vq-row")).to_have_count(TOP5_OF_ALL)


def test_only_the_pictures_that_a_variant_gets_wrong(page: Page, filled: Server) -> None:
    visit(page, filled)
    page.get_by_role("radio", name="fp32").click()
    settled(page)
    page.get_by_role("radio", name="Wrong (2)").click()
    expect(page.locator("[class*=st-key-tile-] img")).to_have_count(2)
    expect(page).to_have_url(re.compile("verdict=wrong"))


def test_a_link_shows_the_same_in_another_window(page: Page, browser: Browser, filled: Server) -> None:
    visit(page, filled, "explorer?variant=qint8&verdict=wrong&class=n07747607")
    shown = page.locator("[class*=st-key-tile-] img").count()
    with browser.new_context() as context:
        other = context.new_page()
        other.goto(page.url)
        settled(other)
        expect(other.locator("[class*=st-key-tile-] img")).to_have_count(shown)


@pytest.mark.parametrize("path", [*PATHS, "?picture=3"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_in_one_direction_only(
    browser: Browser, filled: Server, path: str, scheme: str
) -> None:
    with browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        visit(page, filled, path)
        expect_no_error(page)
        main = page.get_by_test_id("stMain")
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
        assert main.evaluate("element => element.scrollWidth <= element.clientWidth")


def test_nothing_is_asked_of_the_network(page: Page, filled: Server) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in PATHS:
        visit(page, filled, path)
    own = (filled.url, filled.url.replace("http", "ws"), "data:", "blob:")
    strangers = [url for url in asked if not url.startswith(own)]
    assert not strangers


def test_a_start_without_pictures_says_how_to_bring_them_in(page: Page, no_sample: Path, serve: Serve) -> None:
    server = serve()
    visit(page, server)
    expect(page.get_by_test_id("stCode")).to_contain_text("python -m vitquant fetch tiny-imagenet")
    for path in PATHS:
        visit(page, server, path)
        expect_no_error(page)
    expect_no_torch(server)


@slow
def test_a_run_survives_the_page_that_started_it(
    page: Page, browser: Browser, pictures: None, serve: Serve
) -> None:
    server = serve()
    visit(page, server, "benchmark")
    page.get_by_role("button", name="Start", exact=True).first.click()
    progress = page.get_by_test_id("stProgress")
    expect(progress).to_be_visible()
    page.close()

    with browser.new_context() as context:
        other = context.new_page()
        other.set_default_timeout(3 * PATIENCE_MS)
        visit(other, server, "benchmark")
        # The page is not loaded again: the result appears by itself once the run has ended.
        expect(other.get_by_text("of 40 pictures right at once").first).to_be_visible(timeout=3 * PATIENCE_MS)
        expect(other.get_by_text("Random weights").first).to_be_visible()
        expect_no_error(other)
        visit(other, server)
        expect(other.locator("[class*=st-key-tile-] .vq-sign")).to_have_count(24 * len(READY))
    expect_no_torch(server)


@slow
def test_a_picture_is_answered_on_demand(page: Page, pictures: None, serve: Serve) -> None:
    server = serve()
    visit(page, server)
    page.locator("[class*=st-key-tile-] button").first.click()
    expect(page.get_by_text("Waking the model")).to_be_visible()
    expect(page.locator(".vq-row")).to_have_count(TOP5_OF_ALL, timeout=2 * PATIENCE_MS)
    expect(page.get_by_text("predictions are meaningless").first).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("2 of 40")).to_be_visible()
    expect(page.locator(".vq-row")).to_have_count(TOP5_OF_ALL)
    expect_no_error(page)
    expect_no_torch(server)
