"""The report page in headless Chromium: sorting, filtering, enlarging, playing; nothing leaves the page.

Needs Chromium and `pip install -e '.[browser]'`; skipped where either is missing.
"""

import shutil

import pytest

from tests.analysis.conftest import COLUMNS, synthetic_data
from tests.analysis.pages import page_of

sync_api = pytest.importorskip("playwright.sync_api", reason="needs pip install -e '.[browser]'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    page_of(folder, synthetic_data(), COLUMNS, error="it exploded", clips=1, figures=("pareto",))
    return folder / "report.html"


@pytest.fixture
def page(browser, report):
    page = browser.new_page()
    page.complaints, page.requests = [], []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: page.requests.append(request.url))
    page.goto(report.as_uri())
    yield page
    elsewhere = [url for url in page.requests if not url.startswith("data:") and url != report.as_uri()]
    assert not page.complaints and not elsewhere
    page.close()


def first_column(page):
    return page.locator("#summary-table tbody tr:visible th").all_text_contents()


def test_a_click_sorts_by_the_numbers_of_a_column_and_another_turns_it_round(page):
    head = page.locator("#summary-table thead th", has_text="Test NLL")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    ascending = first_column(page)
    assert ascending[0] == "pooling=[1,1,1,1]" and ascending[-2:] == ["unigram", "layers=4"]  # which has none
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert first_column(page)[0] == "unigram" and first_column(page)[-1] == "layers=4"


def test_a_filter_keeps_the_rows_that_have_all_its_words_and_counts_them(page):
    page.get_by_label("Show variants whose name has").fill("pooling 1,1,1")
    assert first_column(page) == ["pooling=[1,1,1,1]", "pooling=[2,1,1,1]"]
    assert page.locator("[data-counts=summary-table]").text_content() == "2 of 14"


def test_a_figure_is_enlarged_and_closed_by_keyboard(page):
    page.get_by_role("button", name="Enlarge: Pareto").press("Enter")
    assert page.locator("dialog img").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()


def test_on_a_phone_an_enlarged_figure_is_larger_than_the_window_and_can_be_moved(browser, report):
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto(report.as_uri())
    page.get_by_role("button", name="Enlarge: Pareto").click()
    dialog = page.locator("dialog")
    assert dialog.locator("img").bounding_box()["width"] > 800 and dialog.bounding_box()["width"] <= 390
    assert dialog.evaluate("box => { box.scrollLeft = 400; return box.scrollLeft; }") == 400
    page.close()


def test_a_clip_can_be_played(page):
    seconds = page.locator("audio").first.evaluate(
        "async (clip) => { clip.muted = true; await clip.play(); return clip.duration; }"
    )
    assert seconds == pytest.approx(0.1, abs=0.01)


def test_without_javascript_everything_can_be_read(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("#summary-table tbody tr").count() == 14
    assert page.locator("#answers dd").first.is_visible() and not page.locator(".filter").first.is_visible()
    context.close()


@pytest.mark.parametrize("width", [1440, 390])
def test_the_page_is_never_wider_than_the_window(browser, report, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
