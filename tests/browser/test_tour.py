"""The tour on the built-in sample, as a presenter goes through it: with a clicker's keys, on a projector."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PATIENCE_MS, Server, settled, visit
from tests.conftest import missing
from vitquant import sample
from vitquant.paths import sample_dir

pytestmark = [pytest.mark.browser, pytest.mark.slow]  # a step has the model run

STEPS = 7
PROJECTOR = {"width": 1280, "height": 600}


@pytest.fixture(autouse=True)
def is_here() -> None:
    if not (sample_dir() / sample.SUMS).is_file():
        missing("the built-in sample: git restore data/sample")


def expect_step(page: Page, number: int) -> None:
    expect(page.get_by_text(f"{number} of {STEPS}", exact=True)).to_be_visible()
    settled(page)


def expect_no_scrolling(page: Page) -> None:
    heights = "main => main.scrollHeight - main.clientHeight"
    assert page.get_by_test_id("stMain").evaluate(heights) <= 0


def test_a_presenter_goes_through_the_tour_by_keyboard_alone(
    browser: Browser, serve: Callable[[], Server]
) -> None:
    server = serve()
    with browser.new_context(viewport=PROJECTOR) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        visit(page, server, "")
        page.get_by_role("button", name="Take the tour").press("Enter")
        for number in range(1, STEPS + 1):
            expect_step(page, number)
            expect(page.get_by_test_id("stAlertContentError")).to_have_count(0)
            if number == 3:
                _round_the_weights(page)
            if number == 5:
                _guess(page)
            if number == 6:
                _turn_the_channels_off(page)
            if number == STEPS:
                _mend_it(page)
            expect_no_scrolling(page)
            expect(page.get_by_test_id("stSidebarNavLink").first).not_to_be_in_viewport()
            _press(page, "PageDown")
        _press(page, "PageUp")
        expect_step(page, STEPS - 1)
    assert "libtorch" not in server.mapped_files()


def _press(page: Page, key: str) -> None:
    page.wait_for_selector("html[data-vq-turned-by=keys]", state="attached")  # it is loaded after the page
    page.keyboard.press(key)


def _round_the_weights(page: Page) -> None:
    expect(page.locator(".st-key-rounded .vq-row").first).to_be_visible(timeout=2 * PATIENCE_MS)
    before = page.locator(".st-key-rounded").inner_text()
    page.get_by_role("slider").focus()
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    expect(page.get_by_text("3 different values")).to_be_visible()  # 2 bits: minus, zero, plus
    expect(page.locator(".st-key-rounded")).not_to_have_text(before)
    settled(page)  # the slider keeps the focus: the clicker must turn the step all the same


def _guess(page: Page) -> None:
    expect(page.locator(".st-key-guess img")).to_have_count(12)
    expect(page.locator(".st-key-guess .vq-sign")).to_have_count(0)  # no answers before the guess
    page.get_by_role("button", name="Show the answers").press("Enter")
    expect(page.locator(".st-key-guess .vq-sign")).to_have_count(12)
    expect(page.get_by_text(re.compile(r"You said 6\. It recognises \d+ of 12"))).to_be_visible()


def _turn_the_channels_off(page: Page) -> None:
    recognised = page.get_by_test_id("stMetricValue").nth(1)
    collapsed = recognised.inner_text()
    page.get_by_role("switch", name="Turn the loud channels off").press("Space")
    expect(recognised).not_to_have_text(collapsed)
    assert float(recognised.inner_text().rstrip("%")) > 80 > 40 > float(collapsed.rstrip("%"))


def _mend_it(page: Page) -> None:
    recognised = page.get_by_test_id("stMetricValue").first
    collapsed = recognised.inner_text()
    three = page.locator("[class*=st-key-mended-]")
    expect(three.filter(has_text="✗")).to_have_count(3)
    page.get_by_role("switch", name="Mend it").press("Space")
    expect(three.filter(has_text="✓")).to_have_count(3)
    expect(three.filter(has_text="✗")).to_have_count(0)
    assert float(recognised.inner_text().rstrip("%")) > 80 > 40 > float(collapsed.rstrip("%"))
    settled(page)
