"""The report of a scorecard in a headless Chromium: on a phone, on a desktop, dark, printed, with and without scripts.

Needs a Chromium on the path; `make test` installs one where it can. ASSAY_SCREENSHOTS names a folder to keep
pictures in.
"""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from evaluation.card.taught import Neighbour
from tests.browser import DESKTOP, PHONE, Browser, assert_accessible, assert_printable, assert_quiet, assert_readable
from tests.evaluation.made import HOSTILE, SKILLS, Generated, grounds, systems, taught, wanted, write

ROWS = 96


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports by name: of a scorecard, of one whose texts are hostile, of a data set."""
    scored, hostile = tmp_path_factory.mktemp("scored"), tmp_path_factory.mktemp("hostile")
    write(scored, systems(ROWS, SKILLS), near={row: taught(row) for row in range(ROWS)}, keep_to=grounds(ROWS))
    texts = [HOSTILE, "x" * 100_000, "-->", "</pre></article>", f"{{{HOSTILE!r}: 1}}"]
    given = {HOSTILE: [Generated(text) for text in texts], "x" * 60: [Generated(text) for text in texts[::-1]]}
    near = {0: [Neighbour(HOSTILE, HOSTILE * 9, json.dumps(wanted(0) | {"license": HOSTILE * 9}), 0.9, True)] * 3}
    write(hostile, given, texts=[HOSTILE] * len(texts), near=near)
    return {"score": scored / "report.html", "hostile": hostile / "report.html"}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("name", ["score", "hostile"])
def test_it_fits_its_window_can_be_read_and_asks_for_nothing(
    browser: Browser, pages: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    assert_readable(browser, pages[name], width, dark, f"{name}_report")


SHOWN = """[...document.querySelectorAll("article.row")].filter(each => each.getClientRects().length)
  .map(each => Number(each.id.slice(4)))"""


def numbers(holds: Any) -> list[int]:
    """Rows, from 1, of which something holds: given the row, the right answer as text, and the answers by system."""
    given = systems(ROWS, SKILLS)
    by_row = [{name: each[row].text for name, each in given.items()} for row in range(ROWS)]
    return [row + 1 for row in range(ROWS) if holds(row, json.dumps(wanted(row)), by_row[row])]


def said(right: str, by: dict[str, str]) -> str:
    return " ".join([right, *by.values()]).lower()


@pytest.mark.parametrize(
    ("part", "holds"),
    [
        ("#system=5&outcome=wrong", lambda row, right, by: by["tuned"] != right),
        ("#system=6&outcome=right", lambda row, right, by: by["merged"] == right),
        ("#system=1&form=empty", lambda row, right, by: by["base"] == ""),
        ("#form=empty", lambda row, right, by: "" in by.values()),
        ("#outcome=differ", lambda row, right, by: right in by.values() and set(by.values()) != {right}),
        ("#q=WEAK+copyleft", lambda row, right, by: "weak" in said(right, by)),
        (
            "#q=i+can+tell&system=4&outcome=wrong",
            lambda row, right, by: "i can tell" in said(right, by) and by["constrained"] != right,
        ),
        ("#q=nothing+has+these+words", lambda row, right, by: False),
        ("#slice=0&q=artistic", lambda row, right, by: row % 3 > 0 and "artistic" in said(right, by)),
    ],
)
def test_the_filter_leaves_exactly_the_rows_asked_for(
    browser: Browser, pages: dict[str, Path], part: str, holds: Any
) -> None:
    expected = numbers(holds)
    browser.open(pages["score"], part)
    assert browser.run(SHOWN) == expected[:25]
    assert browser.run("document.getElementById('status').textContent").startswith(f"{len(expected)} of {ROWS} rows")
    assert_quiet(browser, pages["score"])


def test_typing_filters_and_more_rows_are_shown_on_request(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["score"])
    assert browser.run(SHOWN) == list(range(1, 26))
    browser.run("document.getElementById('more').click()")
    assert browser.run(SHOWN) == list(range(1, 51))
    browser.run("document.querySelector('[name=q]').focus()")
    browser.call("Input.insertText", text="GPL-2.0-plus")
    expected = numbers(lambda row, right, by: "gpl-2.0-plus" in said(right, by))
    assert browser.run(SHOWN) == expected[:25]
    assert browser.run("location.hash") == "#q=GPL-2.0-plus", "a link to these rows"
    assert browser.run("CSS.highlights.get('found').size") > len(expected[:25])
    browser.run("document.querySelector('[type=reset]').click()")
    assert browser.run(
        "new Promise(done => setTimeout(() => done(document.getElementById('status').textContent)))"
    ) == (f"{ROWS} of {ROWS} rows; the first 25 are shown")
    browser.run("document.querySelector('.forms a').click()")
    assert browser.run("new Promise(done => setTimeout(() => done(location.hash)))") == "#system=0&form=valid"
    assert browser.run("document.querySelector('[name=form]').value") == "valid"
    assert_quiet(browser, pages["score"])


def test_a_link_to_a_row_shows_it(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["score"], "#row-80")
    assert 80 in browser.run(SHOWN)
    top = browser.run("document.getElementById('row-80').getBoundingClientRect().top")
    assert -1 < top < 900, "places are rounded to pixels of the device"


def test_without_scripts_every_row_is_there(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["score"], scripts=False)
    document = browser.call("DOM.getDocument")["root"]["nodeId"]
    found = browser.call("DOM.querySelectorAll", nodeId=document, selector="article.row:not([hidden]):not(.later)")
    assert len(found["nodeIds"]) == ROWS
    form = browser.call("DOM.querySelector", nodeId=document, selector="#filter[hidden]")
    assert form["nodeId"], "what would do nothing is not shown"
    assert browser.brightness(browser.screenshot())[:100].sum() > 5_000, "pixels of text"


def test_on_paper_nothing_is_cut_off(browser: Browser, pages: dict[str, Path]) -> None:
    assert_printable(browser, pages["score"], "score_report")
    assert len(browser.run(SHOWN)) == ROWS, "also those that are shown on request"
    assert browser.run("document.getElementById('filter').getClientRects().length") == 0


def test_headings_and_tables_can_be_walked_through(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["score"])
    levels = browser.run("[...document.querySelectorAll('h1,h2,h3,h4')].map(each => Number(each.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert browser.run("[...document.querySelectorAll('th')].filter(each => !each.scope).length") == 0
    assert browser.run("[...document.querySelectorAll('th')].filter(each => !each.textContent.trim()).length") == 0
    unnamed = "[...document.querySelectorAll('input, select')].filter(each => !each.labels.length).length"
    assert browser.run(unnamed) == 0
    reached = []
    for _ in range(40):
        browser.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        browser.call("Input.dispatchKeyEvent", type="keyUp", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        reached.append(browser.run("document.activeElement.tagName"))
    assert {"A", "DIV"} <= set(reached), "links, and tables that scroll, by keyboard alone"
    clickable = "[...document.querySelectorAll('*')].filter(each => each.onclick).length"
    assert browser.run(clickable) == 0


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [
        pytest.param(
            *(name, width, dark),
            id=f"{name}-{width}-{'dark' if dark else 'light'}",
            marks=[] if dark == (width == DESKTOP) else pytest.mark.slow,
        )
        for name in ("score", "hostile")
        for width in (PHONE, DESKTOP)
        for dark in (False, True)
    ],
)
def test_it_is_accessible(browser: Browser, pages: dict[str, Path], name: str, width: int, dark: bool) -> None:
    browser.open(pages[name], width=width, dark=dark)
    assert_accessible(browser)
