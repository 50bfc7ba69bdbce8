"""The Diagnosis page in a real Chromium: measured by a click, a layer clicked and explained, on a phone too."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PATIENCE_MS, Server, settled, visit

pytestmark = pytest.mark.browser


def measured(page: Page, server: Server) -> None:
    """Diagnose the sample with planted outliers, by the page's own button."""
    visit(page, server, "diagnosis?model=sample_outliers")
    shipped = page.get_by_text("This came with vitquant")
    expect(shipped).to_be_visible()
    page.get_by_role("button", name="Diagnose", exact=True).click()
    expect(shipped).to_be_hidden(timeout=4 * PATIENCE_MS)
    settled(page)
    expect(page.get_by_role("heading", name="The model, layer by layer")).to_be_visible()


def test_a_click_measures_and_a_click_on_a_layer_explains_it(page: Page, serve: Callable[[], Server]) -> None:
    measured(page, serve())
    expect(page.get_by_text("Most sensitive", exact=False).first).to_be_visible()
    # The head is the last layer, and its cell the last bar. It lies beneath what takes the clicks.
    page.locator(".st-key-diagnosis-map .bars .point").last.click(force=True)
    expect(page.get_by_role("heading", name="What comes in, channel by channel")).to_be_visible()
    assert "layer=linear_head" in page.url and "view=why" in page.url
    expect(
        page.get_by_text(re.compile(r"^20 of 960 channels \(4 of 192 in each.* \d+ times larger than the rest"))
    ).to_be_visible()
    page.get_by_role("radio", name="Logarithmic").click()
    settled(page)
    expect(page.get_by_text("largest magnitude (logarithmic)")).to_be_visible()
    page.get_by_role("radio", name="Which layers").click()
    settled(page)
    page.get_by_text("All figures", exact=True).click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download as CSV", exact=True).click()
    assert waiting.value.suggested_filename == "sample_outliers-qint8-layers.csv"
    rows = waiting.value.path().read_text().splitlines()
    assert len(rows) == 1 + 33 and rows[-1].startswith("linear_head,")


def test_on_a_phone_nothing_is_wider_than_the_screen(
    page: Page, serve: Callable[[], Server], browser: Browser
) -> None:
    server = serve()
    measured(page, server)
    with browser.new_context(viewport={"width": 390, "height": 844}) as context:
        phone = context.new_page()
        for view, heading in (("layers", "The most sensitive layers"), ("why", "Where the error grows")):
            visit(phone, server, f"diagnosis?model=sample_outliers&view={view}")
            expect(phone.get_by_role("heading", name=heading)).to_be_visible()
            assert phone.evaluate("document.documentElement.scrollWidth") <= 390
            for chart in phone.locator(".js-plotly-plot").all():
                box = chart.bounding_box()
                assert box and 300 < box["width"] <= 390


def test_the_cheapest_mix_for_a_limit_is_found_by_a_click(page: Page, serve: Callable[[], Server]) -> None:
    visit(page, serve(), "diagnosis?model=sample_outliers&view=cures&cure=qint8_mixed&limit=2")
    page.get_by_role("button", name="Find the cheapest mix that loses at most 2 points").click()
    found = page.get_by_text(re.compile(r"^\d+ of 33 layers stay in float"))
    expect(found).to_be_visible(timeout=4 * PATIENCE_MS)
    expect(page.get_by_text("no layer left in float").first).to_be_attached()  # the first candidate
