"""The page in a browser: it loads, sorts, filters, opens a run; by keyboard, on a phone, in the dark, printed."""

import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect

from harness.reporting import report
from tests.support.page_factory import HOSTILE, made
from tests.support.patience import PATIENCE
from tests.support.results_factory import run_key

ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
CHROMIUM = shutil.which("chromium")
KEY = run_key("sst2", "kd", "big", 1)
COMPARE = "#compare=kd%2Fbig&with=finetune%2Fbig"


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        missing = "no `chromium` on the path: `apt-get install chromium`"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    from playwright.sync_api import sync_playwright

    expect.set_options(timeout=1000 * PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS, timeout=1000 * PATIENCE)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    made(folder, text=HOSTILE)
    with pytest.MonkeyPatch.context() as patch:  # plots are not tested here
        patch.setattr("harness.plots.draw", lambda summary: ())
        report(folder)
    return (folder / "index.html").as_uri()


@pytest.fixture
def opened(chromium, url):
    """Open the page; afterwards assert that nothing was logged and only the page and its details were requested."""
    messages, requests, contexts = [], [], []

    @contextmanager
    def context(**options):
        browser_context = chromium.new_context(**options)
        browser_context.set_default_timeout(1000 * PATIENCE)
        contexts.append(browser_context)
        yield browser_context

    def load(fragment="", *, width=1280, height=900, **options):
        with context(viewport={"width": width, "height": height}, **options) as browser_context:
            page = browser_context.new_page()
            page.on("console", lambda message: messages.append(message.text))
            page.on("pageerror", lambda error: messages.append(str(error)))
            page.on("request", lambda request: requests.append(request.url.partition("#")[0]))
            page.goto(url + fragment)
            return page

    yield load
    for browser_context in contexts:
        browser_context.close()
    assert messages == []
    others = {request for request in requests if request != url}
    assert all(
        re.fullmatch(r"details/[0-9a-f]{16}\.js", request.removeprefix(url.removesuffix("index.html")))
        for request in others
    )


def fragment_of(page):
    """The fragment of the page's URL, with its `#`. `page.url` is updated asynchronously and can be stale."""
    return page.evaluate("location.hash")


def column(page, index):
    """Return the texts of the students' cells in a column."""
    rows = page.locator("#leaderboard tbody.student tr:visible")
    return [rows.nth(n).locator("td, th").nth(index).inner_text().strip() for n in range(rows.count())]


def names(page):
    return list(zip(column(page, 1), column(page, 2), strict=True))


def test_page_executes_no_code_from_data(opened):
    page = opened(f"#run={KEY}")
    page.locator("ol.errors li").first.wait_for()
    assert HOSTILE in page.locator("ol.errors li").first.inner_text()
    assert page.evaluate("window.hurt") is None
    assert page.locator("img").count() == 0


def test_sorts_by_every_column_and_back(opened):
    page = opened()
    original = names(page)
    heads = page.locator("#leaderboard thead th")
    for index in range(heads.count()):
        button = heads.nth(index).locator("button")
        button.click()
        first = heads.nth(index).get_attribute("aria-sort")
        assert first == ("ascending" if index < 3 else "descending")
        others = [heads.nth(n).get_attribute("aria-sort") for n in range(heads.count()) if n != index]
        assert set(others) == {"none"}
        button.click()
        assert {first, heads.nth(index).get_attribute("aria-sort")} == {"ascending", "descending"}
        button.click()
        assert heads.nth(index).get_attribute("aria-sort") == "none"
        assert names(page) == original
    page.locator("#leaderboard thead button", has_text="sst2").click()
    scores = [float(text.split()[0]) for text in column(page, 3)]
    assert scores == sorted(scores, reverse=True)
    page.locator("#leaderboard thead button", has_text="average").click()
    assert column(page, 5)[-1] == "–", "what is not known comes last"
    assert page.locator("#leaderboard tbody").first.get_attribute("class") == "teacher"


def test_filters_rows_columns_and_plots(opened):
    page = opened()
    page.get_by_placeholder("method or student").fill("KD")
    assert {name for name, _ in names(page)} == {"kd"}
    assert page.get_by_role("status").inner_text() == "2 of 6 rows"
    assert page.locator(".forest").first.locator("tr.student:visible").count() == 2
    page.get_by_placeholder("method or student").fill("")
    page.get_by_label("Student").select_option("small")
    assert {student for _, student in names(page)} == {"small"}
    assert page.locator("tbody.teacher tr:visible").count() == 1
    assert page.locator("tbody.constant tr:visible").count() == 1
    page.get_by_label("teachers").uncheck()
    assert page.locator("tbody.teacher tr:visible").count() == 0
    page.get_by_text("Tasks", exact=True).click()
    page.get_by_label("squad", exact=True).uncheck()
    assert page.locator("#leaderboard th:visible", has_text="squad").count() == 0
    assert page.locator("#leaderboard th:visible", has_text="sst2").count() == 1


def test_run_view_and_back_button(opened):
    page = opened()
    page.locator("#leaderboard tbody.student a", has_text="86.0").first.click()
    page.locator("#run h2").wait_for()
    assert fragment_of(page) == f"#run={KEY}"
    assert page.locator("#board").is_hidden()
    assert page.locator("#run h2").inner_text() == "kd · big"
    assert "85.0 accuracy, seed 1" in page.locator("#run .lead").inner_text()
    page.locator(".confusion").wait_for()
    assert page.locator(".confusion td.num").all_inner_texts()[0].isdigit()
    assert page.evaluate("document.activeElement.localName") == "h2"
    page.get_by_role("link", name="3", exact=True).click()
    assert fragment_of(page) == "#run=" + run_key("sst2", "kd", "big", 3)
    page.go_back()
    page.go_back()
    page.locator("#leaderboard").wait_for()
    assert page.locator("#run").is_hidden()


def test_errors_filter_by_different_teacher_answer(opened):
    page = opened(f"#run={KEY}")
    items = page.locator("ol.errors > li")
    items.first.wait_for()
    every = items.count()
    assert page.locator("ol.errors > li:visible").count() == 10 < every
    page.get_by_role("button", name=f"Show {every - 10} more").click()
    assert page.locator("ol.errors > li:visible").count() == every
    page.get_by_label("only where the student differs from the teacher").check()
    differing = page.locator("ol.errors > li:visible")
    assert 0 < differing.count() < every
    answers = differing.first.locator(".said dd").all_inner_texts()
    assert answers[0] == answers[2] != answers[1].split()[0], "the teacher is right and the student is not"


def test_failed_and_unknown_runs_show_a_message(opened):
    page = opened("#run=" + run_key("squad", "kd", "small", 3))
    page.locator("pre.failure").wait_for()
    assert "RuntimeError" in page.locator("pre.failure").inner_text()
    assert "failed" in page.locator(".lead").inner_text()
    page = opened("#run=nothing")
    assert page.locator("#run h2").inner_text() == "No such run"


def test_curves_follow_the_controls(opened):
    page = opened()
    lines = page.locator("#curves .series")
    assert lines.count() == 0, "not loaded before they are visible"
    page.locator("#curves").scroll_into_view_if_needed()
    expect(lines).to_have_count(12)
    drawn = page.locator("#curves svg")
    assert "on sst2" in drawn.get_attribute("aria-label")
    page.locator("#curves").get_by_label("Task").select_option("squad")
    expect(lines).to_have_count(12 - 1)  # one failed before it logged anything
    page.locator("#curves").get_by_label("Term").select_option("kd")
    assert drawn.get_attribute("aria-label") == "kd on squad"
    page.locator("#curves").get_by_role("checkbox", name="finetune · big").uncheck()
    expect(lines).to_have_count(8)
    page.locator("#curves").get_by_label("logarithmic").check()
    expect(lines).to_have_count(8)


def test_page_without_its_details_shows_a_message(chromium, url, tmp_path):
    alone = tmp_path / "index.html"
    alone.write_bytes(Path(url.removeprefix("file://")).read_bytes())
    page = chromium.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(f"{alone.as_uri()}#run={KEY}")
    expect(page.get_by_role("alert")).to_contain_text("details belongs next to this page")
    assert page.locator("#run h2").inner_text() == "kd · big"
    page.close()


def test_details_of_another_report_show_a_message(chromium, url, tmp_path):
    folder = Path(shutil.copytree(Path(url.removeprefix("file://")).parent, tmp_path / "copy"))
    for path in (folder / "details").iterdir():
        path.write_text(f"details('{path.stem}','{{\"runs\":{{}},\"texts\":[]}}');")
    page = chromium.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(f"{(folder / 'index.html').as_uri()}#run={KEY}")
    expect(page.get_by_role("alert")).to_contain_text("another report")
    page.close()


def test_keyboard_navigation(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the leaderboard"
    page.keyboard.press("Enter")

    def to(selector):
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                return
        pytest.fail(f"{selector} is not reached")

    to("#leaderboard thead th:nth-child(2) button")
    page.keyboard.press("Enter")
    assert page.locator("#leaderboard thead th").nth(1).get_attribute("aria-sort") == "ascending"
    to("#leaderboard tbody.student a")
    page.keyboard.press("Enter")
    page.locator("#run h2").wait_for()
    page.keyboard.press("Escape")
    page.locator("#leaderboard").wait_for()
    assert page.evaluate("document.activeElement.matches('#leaderboard tbody.student a')")
    to("svg a.mark")
    assert "average" in page.locator(".tip").inner_text()
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash").startswith("#row-")


@pytest.mark.parametrize("fragment", ["", f"#run={KEY}", COMPARE])
def test_phone_scrolls_the_tables_not_the_page(opened, fragment):
    page = opened(fragment, width=360, height=740)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    if not fragment:
        page.get_by_label("all columns").check()
        table = page.locator("#scores > .scroll")
        assert table.evaluate("e => e.scrollWidth > e.clientWidth")
        table.evaluate("e => e.scrollLeft = 200")
        assert page.locator("#leaderboard tbody th").first.bounding_box()["x"] < 40, "names stay in view"


def test_first_screen_of_a_phone_has_rank_method_and_average(opened):
    page = opened(width=390, height=844)
    heads = page.locator("#leaderboard thead th:visible .title")
    assert [text.split()[0] for text in heads.all_inner_texts()] == ["rank", "method", "average"]
    best = page.locator("#leaderboard tbody.student tr").first
    assert best.bounding_box()["y"] + best.bounding_box()["height"] < 844
    average = best.locator("td:visible").last
    assert average.inner_text().startswith("81.5")
    assert average.bounding_box()["x"] + average.bounding_box()["width"] <= 390
    assert "big" in best.locator("th").evaluate("e => getComputedStyle(e, '::after').content")


def test_columns_that_are_cut_off_are_announced(opened):
    page = opened(width=1440)
    note = page.locator("#cut")
    assert note.is_hidden()
    assert page.locator("#leaderboard").evaluate("e => e.getBoundingClientRect().right") <= 1440
    page.set_viewport_size({"width": 660, "height": 800})
    page.locator("#leaderboard").evaluate("e => (e.style.minWidth = '60rem')")
    page.set_viewport_size({"width": 650, "height": 800})
    expect(note).to_be_visible()
    expect(page.locator("#scores > .cut-right")).to_have_count(1)
    page.locator("#scores > .scroll").evaluate("e => e.scrollLeft = 5000")
    expect(page.locator("#scores > .cut-left:not(.cut-right)")).to_have_count(1)


def test_copied_url_shows_the_same_board(opened):
    page = opened()
    page.get_by_placeholder("method or student").fill("KD")
    page.get_by_label("Student").select_option("small")
    page.get_by_label("teachers").uncheck()
    page.get_by_text("Tasks", exact=True).click()
    page.get_by_label("squad", exact=True).uncheck()
    page.locator("#leaderboard thead button", has_text="sst2").click()
    fragment = fragment_of(page)
    copy = opened(fragment)
    assert names(copy) == names(page) == [("kd", "small")]
    assert copy.get_by_placeholder("method or student").input_value() == "KD"
    assert not copy.get_by_label("teachers").is_checked()
    assert copy.locator("#leaderboard th:visible", has_text="squad").count() == 0
    assert copy.locator("#leaderboard thead th", has_text="sst2").get_attribute("aria-sort") == "descending"
    copy.locator("#leaderboard tbody.student tr:visible a").first.click()
    copy.locator("#run h2").wait_for()
    copy.keyboard.press("Escape")
    copy.locator("#leaderboard").wait_for()
    assert names(copy) == [("kd", "small")]
    assert fragment_of(copy) == fragment
    copy.get_by_placeholder("method or student").fill("")
    copy.get_by_label("Student").select_option("")
    assert "student=" not in fragment_of(copy)
    assert len(names(copy)) == 4


def test_two_rows_are_compared(opened):
    page = opened()
    page.get_by_label("Compare kd · big").check()
    expect(page.locator("#picked")).to_contain_text("tick a second row")
    page.get_by_label("Compare finetune · small").check()
    page.get_by_label("Compare finetune · big").check()
    assert not page.get_by_label("Compare kd · big").is_checked(), "a third row replaces the first"
    page.get_by_role("button", name="Clear").click()
    assert page.locator("#picked").is_hidden()
    page.get_by_label("Compare kd · big").check()
    page.get_by_label("Compare finetune · big").check()
    page.get_by_role("link", name="Compare kd · big with finetune · big").click()
    page.locator("#compare h2").wait_for()
    assert fragment_of(page) == COMPARE
    cells = page.locator(".differences tbody tr").first.locator("td")
    expect(cells.first).to_contain_text("+4.0 [")
    assert cells.nth(2).inner_text().startswith("86.0")
    expect(page.locator(".differences tr.average")).to_contain_text("+5.0 [")
    items = page.locator("#compare ol.errors li")
    items.first.wait_for()
    assert items.first.locator(".right dd").count() + items.first.locator(".wrong dd").count() >= 1
    assert "sentence" in items.first.inner_text()
    page.locator("#compare").get_by_label("Task").select_option("squad")
    expect(items.first).to_contain_text("which ")
    page.get_by_role("button", name="Swap").click()
    expect(page.locator("#compare h2")).to_have_text("finetune · big compared with kd · big")
    expect(page.locator(".differences tbody tr").first).to_contain_text("-4.0 [")
    page.keyboard.press("Escape")
    page.locator("#leaderboard").wait_for()
    assert page.get_by_label("Compare kd · big").is_checked()
    page = opened("#compare=kd%2Fbig&with=nothing")
    assert page.locator("#compare h2").inner_text() == "No such comparison"


def test_dark_mode_by_preference_and_by_button(opened):
    def lightness(page):
        color = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        return sum(int(number) for number in color[4:-1].split(","))

    page = opened(color_scheme="dark")
    assert lightness(page) < 150
    page.get_by_role("button", name="Light", exact=True).click()
    assert lightness(page) > 700
    page = opened(color_scheme="light")
    assert lightness(page) > 700
    page.get_by_role("button", name="Dark", exact=True).click()
    assert lightness(page) < 150


def test_reduced_motion_disables_animations(opened):
    page = opened(reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    assert page.evaluate("getComputedStyle(document.querySelector('.mark .name')).transitionDuration") == "0s"


def test_numbers_and_plots_without_javascript(opened):
    page = opened(java_script_enabled=False)
    assert len(names(page)) == 4
    assert page.locator("svg.chart a.mark").count() > 0
    assert page.locator(".forest tr.student").count() > 0
    assert page.locator("#filters").is_hidden()
    assert page.locator("#curves").is_hidden()


def test_print_style_is_light_without_controls(opened):
    page = opened(color_scheme="dark")
    page.emulate_media(media="print")
    assert page.locator("#filters").is_hidden()
    assert page.locator("#leaderboard").is_visible()
    assert page.pdf()[:4] == b"%PDF"
