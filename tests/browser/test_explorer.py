"""The Explorer on the built-in sample in a real Chromium: filters, pairs, drill-downs, links, the keyboard."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import Server, settled, visit
from tests.conftest import missing
from tests.pages.test_pages import HOSTILE
from vitquant import labels, sample, variants
from vitquant.paths import sample_dir

pytestmark = pytest.mark.browser

Serve = Callable[[], Server]
LOST = "explorer?model=sample_outliers&variant=qint8&versus=fp32&pair=lost"


@pytest.fixture(autouse=True)
def is_here() -> None:
    if not (sample_dir() / sample.SUMS).is_file():
        missing("the built-in sample: git restore data/sample")


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve()


def tiles(page: Page) -> Locator:
    return page.locator("[class*=st-key-tile-] img")


def shown(page: Page) -> int:
    """How many pictures the filter lets through, as the page says."""
    line = page.get_by_text(re.compile(r"Pictures 1 to [\d,]+ of [\d,]+")).inner_text()
    found = re.search(r"of ([\d,]+)", line)
    assert found
    return int(found[1].replace(",", ""))


def counted(choice: Locator) -> int:
    """The number that stands beside a choice."""
    found = re.search(r"\(([\d,]+)\)", choice.inner_text())
    assert found
    return int(found[1].replace(",", ""))


def choose(page: Page, label: str, option: str | re.Pattern[str]) -> None:
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option).first.click()
    settled(page)


@pytest.mark.parametrize("verdict", ["Right", "Wrong", "Close"])
def test_each_verdict_shows_as_many_pictures_as_it_promised(page: Page, server: Server, verdict: str) -> None:
    visit(page, server)
    choice = page.get_by_role("radio", name=re.compile(rf"^{verdict} \("))
    promised = counted(choice)
    choice.click()
    expect(choice).to_be_checked()
    expect(page.get_by_text(re.compile(rf"^Pictures 1 to \d+ of {promised:,}"))).to_be_visible()


def test_a_pair_of_variants_is_compared(page: Page, server: Server) -> None:
    visit(page, server)
    choose(page, "Compare with", re.compile("^fp32"))
    lost = page.get_by_role("radio", name=re.compile("fp32 right, qint8 wrong"))
    promised = counted(lost)
    assert promised > 1000
    lost.click()
    expect(page.get_by_text(re.compile(rf"of {promised:,}: fp32 right, qint8 wrong"))).to_be_visible()
    said = page.locator("[class*=st-key-tile-] .vq-verdict")
    expect(said.filter(has_text=re.compile(r"qint8(?!_)")).locator("[aria-label=wrong]")).to_have_count(24)
    expect(said.filter(has_text="fp32").locator("[aria-label=right]")).to_have_count(24)


def test_classes_words_confidence_and_order(page: Page, server: Server) -> None:
    visit(page, server, "explorer?variant=fp32")
    page.get_by_role("combobox", name="True class").click()
    page.keyboard.type("lemon")  # the list is searched by word
    page.get_by_role("option", name="lemon (25)").click()
    expect(page.get_by_text("Pictures 1 to 24 of 25: lemon")).to_be_visible()

    visit(page, server, "explorer?variant=fp32")
    page.get_by_text("More filters").click()
    page.get_by_role("textbox", name="Words").fill("bottle")
    page.get_by_role("textbox", name="Words").press("Enter")
    bottles = [f for f in (sample_dir() / "val").iterdir() if "bottle" in labels.by_wnid(f.name).words]
    pictures = sum(len(list(folder.iterdir())) for folder in bottles)
    expect(page.get_by_text(f"Pictures 1 to 24 of {pictures}: words bottle")).to_be_visible()

    visit(page, server, "explorer?variant=fp32&from=0&to=30")
    assert 0 < shown(page) < 200
    visit(page, server, "explorer?variant=fp32&verdict=wrong")
    before = tiles(page).first.get_attribute("alt")
    choose(page, "Order", "surest mistakes first")
    expect(tiles(page).first).not_to_have_attribute("alt", before or "")


def test_a_filter_that_leaves_nothing_says_which_one_to_loosen(page: Page, server: Server) -> None:
    visit(page, server, "explorer?variant=fp32&verdict=wrong&words=teapot&from=99&to=100")
    expect(page.get_by_text("No picture is left")).to_be_visible()
    page.get_by_role("button", name=re.compile("Let go of")).first.click()
    expect(tiles(page).first).to_be_visible()


def test_a_square_of_the_confusion_matrix_shows_its_pictures(page: Page, server: Server) -> None:
    visit(page, server, "explorer?model=sample&variant=fp32&view=confusions")
    square = page.locator(".st-key-matrix-fp32-True .point").first
    square.scroll_into_view_if_needed()
    box = square.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page).to_have_url(re.compile(r"class=n\d+.*answer=n\d+|answer=n\d+.*class=n\d+"))
    expect(tiles(page).first).to_be_visible()
    chip = page.get_by_role("button", name=re.compile("Only where fp32 answers"))
    expect(chip).to_be_visible()
    answer = chip.inner_text().split("answers ")[1].split("\n")[0]
    for said in page.locator("[class*=st-key-tile-] .vq-verdict:first-child .vq-answer").all_inner_texts():
        assert said == answer


def test_a_bar_of_what_is_answered_instead_shows_its_pictures(page: Page, server: Server) -> None:
    visit(page, server, "explorer?view=confusions")
    expect(page.get_by_text("What does qint8 answer instead?")).to_be_visible()
    bar = page.locator(".st-key-instead-qint8 .point").first
    box = bar.bounding_box()
    assert box
    page.mouse.click(box["x"] + 10, box["y"] + box["height"] / 2)
    expect(page.get_by_role("button", name="Only where qint8 answers sunglasses")).to_be_visible()
    assert shown(page) > 300


def test_a_row_of_the_class_table_shows_its_pictures(page: Page, server: Server) -> None:
    visit(page, server, "explorer?view=classes&variant=fp32&versus=qint8")
    table = page.get_by_test_id("stDataFrame")
    box = table.bounding_box()
    assert box
    page.mouse.click(box["x"] + 20, box["y"] + 36 + 17)  # the first row's box, beneath the head
    expect(page).to_have_url(re.compile(r"class=n\d+"))
    expect(page.get_by_text(re.compile("Pictures 1 to 24 of 25"))).to_be_visible()


def test_a_copied_link_shows_the_same_in_another_window(page: Page, browser: Browser, server: Server) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit(page, server, f"{LOST}&order=random&seed=7")
    expected = [tile.get_attribute("alt") for tile in tiles(page).all()]
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Link copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    for choice in (
        "model=sample_outliers",
        "weights=bundled",
        "measured=",
        "verdict=all",
        "order=random",
        "seed=7",
    ):
        assert choice in link
    with browser.new_context() as context:
        other = context.new_page()
        other.goto(link)
        other.locator("h1").first.wait_for()
        settled(other)
        expect(tiles(other)).to_have_count(len(expected))
        assert [tile.get_attribute("alt") for tile in tiles(other).all()] == expected


def test_the_first_page_that_a_new_server_shows_may_be_an_inner_one(page: Page, server: Server) -> None:
    visit(page, server, LOST)
    expect(page.get_by_test_id("stSidebarNavLink").filter(has_text="Overview")).to_be_visible()
    expect(page.get_by_test_id("stSidebarNavLink").filter(has_text="dashboard")).to_have_count(0)
    assert "pair=lost" in page.url


def test_the_selection_is_downloaded(page: Page, server: Server) -> None:
    visit(page, server, "explorer?variant=fp32&verdict=wrong")
    promised = shown(page)
    page.get_by_role("button", name="Download").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON").click()
    rows = json.loads(Path(download.value.path()).read_text())
    assert len(rows) == promised
    assert all(row["fp32_true_rank"] > 1 for row in rows)


def test_the_explorer_is_walked_through_by_keyboard(page: Page, server: Server) -> None:
    visit(page, server, LOST)
    first = page.locator("[class*=st-key-tile-] button").first
    page.locator("summary").filter(has_text="More filters").focus()
    for _ in range(12):
        if first.evaluate("button => button === document.activeElement"):
            break
        page.keyboard.press("Tab")
    expect(first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile(r"^1 of [\d,]+: fp32 right"))).to_be_visible()
    settled(page)
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text(re.compile(r"^2 of [\d,]+: fp32 right"))).to_be_visible()
    settled(page)
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text(re.compile(r"^1 of [\d,]+: fp32 right"))).to_be_visible()


@pytest.mark.slow
def test_hostile_files_are_sentences_and_a_picture_among_them_is_answered(page: Page, server: Server) -> None:
    visit(page, server, "explorer?view=own")
    good = next((sample_dir() / "val" / "n07749582").iterdir())
    for batch in (list(HOSTILE)[:5], list(HOSTILE)[5:]):
        files = [{"name": name, "mimeType": "image/png", "buffer": HOSTILE[name]} for name in batch]
        page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(files)
        expect(page.get_by_test_id("stAlertContentError").first).to_be_visible()
    visit(page, server, "explorer?view=own")
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(str(good))
    # The sample's calibrated variants can be run at once, too: their calibrations come with it.
    expect(page.locator(".vq-row")).to_have_count(5 * len(variants.RECIPES))
    expect(page.locator(".vq-row").first).to_contain_text("lemon")
    expect(page.get_by_text("on this machine").first).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)
