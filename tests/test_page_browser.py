"""The page in a real browser: what people can reach, filter, sort, print and hear."""

import re
from functools import cache
from pathlib import Path

import axe_playwright_python.sync_playwright as axe
import pytest
from playwright.sync_api import expect

from benchmarks import page as benchmark
from orchestrator.core.times import rounded
from orchestrator.report import render
from orchestrator.report.view import view
from tests.browser import chromium, opened
from tests.golden.story import read
from tests.nights import STATES, night
from tests.test_report_page import built

pytestmark = pytest.mark.slow
TALL = 80  # rows drawn at a time, at most


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def file_of(tmp_path_factory):
    """The file of a page, written once: by state and number of targets, or of a story."""
    folder = tmp_path_factory.mktemp("pages")

    @cache
    def written(state="in doubt", count=362) -> Path:
        return of(night(state, count), f"{state} {count}")

    def of(story, name="page") -> Path:
        place = folder / f"{name.replace(' ', '-')}.html"
        place.write_text(render(view(story.run_id, story.history, story.now), "html"), encoding="utf-8")
        return place

    written.of = of
    return written


def ids(page):
    return page.locator("#list tbody td.id bdi").all_inner_texts()


def shown(page):
    return page.locator("#shown").inner_text()


# -- everybody can use it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing(browser, file_of, state, scheme):
    with opened(browser, file_of(state, 60), color_scheme=scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        if state != "nothing":
            page.locator("#list tbody a.quiet").first.click()
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("state", STATES)
def test_a_phone_needs_no_scrolling_sideways(browser, file_of, state):
    with opened(browser, file_of(state), width=390) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_hostile_texts_are_shown_and_do_nothing(browser, file_of):
    for case in ("hostile", "mixed"):
        for width in (390, 1280):
            with opened(browser, file_of.of(read(case)), width=width) as page:
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                assert len(ids(page)) == len(read(case).history.targets)
                page.locator("#list tbody a.quiet").nth(1).click()
                page.locator("#one").wait_for(state="visible", timeout=5000)


def test_without_script_causes_and_names_are_there(browser, file_of):
    with opened(browser, file_of(), java_script_enabled=False) as page:
        page.get_by_text("The build failed").click()
        assert page.get_by_text("initech/svc-019@main").is_visible()
        assert page.locator("noscript p").is_visible()
        assert not page.locator("#list").is_visible()


def test_a_night_prints_on_three_sheets_with_all_causes_opened(browser, file_of):
    with opened(browser, file_of()) as page:
        sheets = len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4", print_background=True)))
        assert 1 <= sheets <= 3
        page.emulate_media(media="print")
        assert page.get_by_text("initech/svc-019@main").first.is_visible()
        assert not page.locator("#targets").is_visible()


# -- the table -------------------------------------------------------------------------------------------------------


def test_a_number_filters_and_the_address_keeps_it(browser, file_of):
    with opened(browser, file_of()) as page:
        assert shown(page) == "362 targets"
        page.get_by_role("button", name="27 failed").click()
        assert shown(page) == "27 of 362 targets"
        page.get_by_role("button", name="4 errored").press("Enter")
        assert shown(page) == "31 of 362 targets"
        assert page.url.endswith("#o=failed,errored")
        page.reload()
        assert shown(page) == "31 of 362 targets"
        assert page.get_by_role("button", name="27 failed").get_attribute("aria-pressed") == "true"
        page.get_by_role("button", name="27 failed").press(" ")
        assert shown(page) == "4 of 362 targets"


def test_the_keyboard_finds_and_clears(browser, file_of):
    with opened(browser, file_of()) as page:
        page.keyboard.press("/")
        page.keyboard.type("acme/ release")
        names = ids(page)
        assert names
        assert all("acme/" in name and "release" in name for name in names)
        assert page.url.endswith("#q=acme/%20release")
        page.keyboard.press("Escape")
        assert shown(page) == "362 targets"
        assert page.locator("#find").input_value() == ""
        assert "#" not in page.url


def test_an_address_leads_to_what_it_names(browser, file_of):
    with opened(browser, file_of(), "#q=acme&o=failed") as page:
        assert shown(page) == "6 of 362 targets"
        assert page.locator("#find").input_value() == "acme"
    with opened(browser, file_of(), "#t=travis:initech/svc-019@main") as page:
        said = page.locator("#one").inner_text()
        assert "failed initech/svc-019@main" in " ".join(said.split())
        assert "orchestrator why r1 travis:initech/svc-019@main" in said
        assert page.locator("#one a").get_attribute("href").endswith("/initech/svc-019/builds/5000018")
        page.evaluate("location.hash = '#c=1'")
        expect(page.locator("#shown")).to_have_text("27 of 362 targets")
        assert not page.locator("#one").is_visible()
    with opened(browser, file_of(), "#t=travis:acme/none@main") as page:
        assert "is no target here" in page.locator("#one").inner_text()


def test_labels_stand_beside_a_target_and_are_found(browser, file_of):
    with opened(browser, file_of(), "#q=core") as page:
        labels = page.locator("#list tbody td.id .label").all_inner_texts()
        assert labels == ["core"] * len(ids(page))
        assert len(labels) == 13


def test_an_owner_leads_to_its_targets(browser, file_of):
    with opened(browser, file_of()) as page:
        page.get_by_role("link", name="hooli", exact=True).click()
        expect(page.locator("#shown")).to_have_text("72 of 362 targets")


def test_only_rows_in_sight_are_drawn_and_the_last_can_be_reached(browser, file_of):
    with opened(browser, file_of(count=10_000)) as page:
        assert len(ids(page)) <= TALL
        page.locator("#list").focus()
        page.keyboard.press("End")
        expect(page.locator("#list tbody tr").last).to_have_attribute("aria-rowindex", "10001")
        assert len(ids(page)) <= TALL
        last, box = page.locator("#list tbody tr").last.bounding_box(), page.locator("#list").bounding_box()
        assert last["y"] + last["height"] <= box["y"] + box["height"] + 2
        assert page.locator("#list table").get_attribute("aria-rowcount") == "10001"


@pytest.mark.parametrize("column", ["Outcome", "Target", "Reason", "Queued", "Ran", "Build"])
def test_a_head_sorts_backwards_too_and_then_no_more(browser, file_of, column):
    with opened(browser, file_of()) as page:
        usual = ids(page)
        head = page.locator("#list th", has_text=column)
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        forwards = page.evaluate(LISTED)
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "descending"
        assert page.evaluate(LISTED) != forwards or column == "Outcome"
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") is None
        assert ids(page) == usual


LISTED = "[...document.querySelectorAll('#list tbody td.id bdi')].map(one => one.textContent)"


def test_names_are_sorted_as_people_count(browser, file_of):
    with opened(browser, file_of(), "#s=id&q=acme/") as page:
        found = [int(re.search(r"svc-(\d+)", name)[1]) for name in ids(page)]
        assert found == sorted(found)
        assert found[0] == 1


def test_the_table_writes_durations_as_the_rest_of_the_page_does(browser, file_of):
    lasted = [
        *range(0, 130, 13),
        119,
        120,
        149,
        150,
        151,
        210,
        3_599,
        3_600,
        5_370,
        7_199,
        7_200,
        9_000,
        86_399,
        90_000,
    ]
    story = built(*[(0, seconds) for seconds in lasted])
    with opened(browser, file_of.of(story, "durations"), "#s=id") as page:
        assert page.locator("#list tbody td.ran").all_inner_texts() == [rounded(seconds) for seconds in lasted]


# -- beside the page of 18dc075 ----------------------------------------------------------------------------------------


def test_ten_thousand_targets_load_in_a_third_and_filter_in_a_thirtieth_of_the_time_of_before():
    load, filtered, _ = benchmark.timed(10_000, times=1)
    assert load.ours < load.before / 3, load
    assert filtered.ours < filtered.before / 30, filtered
