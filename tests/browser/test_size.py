"""The Size page in a real Chromium: descending by clicks, a budget, fewer bits, a file made and taken away."""

import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PATIENCE_MS, Server, settled, visit
from vitquant import datasets

pytestmark = pytest.mark.browser


STILL = """() => {
  const parts = [...document.querySelectorAll(".treemaplayer .surface")];
  const now = parts.map((part) => part.getAttribute("d")).join();
  const before = window.treemapBefore;
  window.treemapBefore = now;
  return now.length > 0 && now === before;
}"""
"""True when the treemap's parts lie where they lay when this was last asked, a quarter of a second ago."""


def click_part(page: Page, name: str, nth: int = 0) -> None:
    """Click a part of the treemap, by its name; nth: which of those called so."""
    settled(page)
    page.wait_for_function(STILL, polling=250)  # it moves on its way down, and a click on what moves is lost
    # The names lie beneath what takes the clicks, so that the click is forced at their place.
    page.locator(f'.treemaplayer .slicetext[data-unformatted^="{name}"]').nth(nth).click(force=True)


def test_a_click_descends_into_the_treemap_and_the_parts_follow(
    page: Page, serve: Callable[[], Server]
) -> None:
    visit(page, serve(), "size?view=tree&variant=qint8&with=fp32")
    heading = page.get_by_role("heading", name=re.compile("Side by side"))
    expect(heading).to_have_text("Side by side: the whole model")
    click_part(page, "block 3", 1)  # fp32's comes first
    expect(heading).to_have_text("Side by side: block 3")
    assert "at=qint8%2Fblock+3" in page.url
    click_part(page, "attn.qkv")
    expect(heading).to_have_text("Side by side: block 3 › attn.qkv")
    click_part(page, "attn.qkv")  # what one is in already: up again
    expect(heading).to_have_text("Side by side: block 3")
    page.get_by_role("button", name="Everything").click()
    expect(heading).to_have_text("Side by side: the whole model")
    assert "at=" not in page.url
    page.get_by_text("In bytes", exact=True).click()
    in_bytes = page.get_by_test_id("stExpander").filter(has_text="In bytes")
    expect(in_bytes.get_by_test_id("stDataFrame")).to_be_visible()


def test_a_budget_is_set_by_a_preset_and_by_hand(page: Page, serve: Callable[[], Server]) -> None:
    visit(page, serve(), "size?view=budget")
    expect(page.get_by_text(re.compile(r"^\d+ of \d+ fit\."))).to_be_visible()
    disk = page.get_by_role("slider").first
    disk.focus()
    disk.press("Home")  # the least disk there is to choose
    expect(page.get_by_text(re.compile(r"^Nothing fits|^0 of"))).to_be_visible()
    page.get_by_role("combobox", name="What has to hold it").click()
    page.get_by_role("option", name=re.compile("GitHub")).click()
    settled(page)
    expect(page.get_by_text(re.compile(r"^\d+ of \d+ fit\."))).to_be_visible()
    expect(page.get_by_role("link", name=re.compile("About large files on GitHub"))).to_be_visible()
    assert "preset=" in page.url


def test_fewer_bits_are_measured_by_a_click_and_tried_on_a_picture(
    page: Page, serve: Callable[[], Server]
) -> None:
    visit(page, serve(), "size?view=bits&model=sample")
    expect(page.get_by_text(re.compile("Simulated weight-only quantization")).first).to_be_visible()
    shipped = page.get_by_text("shipped with vitquant, measured elsewhere")
    expect(shipped).to_be_visible()
    page.get_by_role("button", name="Measure fewer bits").click()
    expect(shipped).to_have_count(0, timeout=2 * PATIENCE_MS)
    expect(page.get_by_text("4 bits, per tensor")).to_be_visible(timeout=2 * PATIENCE_MS)
    slider = page.get_by_role("slider")
    expect(slider).to_have_count(1)  # the measurement's end moves it: for a moment there are two
    settled(page)
    slider.focus()
    slider.press("ArrowLeft")
    settled(page)
    slider.press("ArrowLeft")
    expect(page.get_by_text("2 bits, per tensor")).to_be_visible(timeout=PATIENCE_MS)
    page.get_by_role("radio", name="per channel").click()
    expect(page.get_by_text("2 bits, per channel")).to_be_visible(timeout=PATIENCE_MS)


def test_a_file_is_made_proven_and_downloaded(page: Page, serve: Callable[[], Server], tmp_path: Path) -> None:
    visit(page, serve(), "size?view=take&model=sample&variant=float16")
    page.get_by_role("button", name="Make the file").click()
    proof = page.get_by_text("the same first answer on all 256 pictures")
    expect(proof).to_be_visible(timeout=2 * PATIENCE_MS)
    with page.expect_download() as waiting:
        page.get_by_role("button", name=re.compile(r"Download \(")).click()
    file = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(file)
    assert file.name == "sample-float16-program-70px.zip"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    expect(page.get_by_text(digest)).to_be_visible()
    with zipfile.ZipFile(file) as zipped:
        zipped.extractall(tmp_path)
    dataset = datasets.open_dataset("sample")
    picture = dataset.file(dataset.examples[0])
    shown = subprocess.run(
        [sys.executable, "predict.py", str(picture)],
        cwd=tmp_path / file.stem,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.search(r"\d+\.\d\d%  n\d{8}", shown)
