"""The report of a scorecard: it loads and runs nothing of a row's, shows every row, claims no more than tests do."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from evaluation.card.manifest import ScorecardManifest
from evaluation.card.measures import best, leading
from evaluation.card.side_by_side import LARGEST, shown
from evaluation.judge.answer import Generated
from tests.evaluation.made import HOSTILE, SKILLS, systems, wanted, write
from tests.manifests import scorecard_manifest


class Page(HTMLParser):
    """Tags, attributes, and the words outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words = ""
        self.sources: dict[str, str] = {}
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self._within = tag

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within in ("script", "style"):
            self.sources[self._within] = self.sources.get(self._within, "") + data
        else:
            self.words += data


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("report")
    card = write(folder, systems(60, SKILLS))
    return (folder / "report.html").read_text(encoding="utf-8"), card


def assert_inert(page: Page) -> None:
    """Nothing is loaded, and nothing runs but the one script whose hash the policy has."""
    assert page.tags.count("script") == page.tags.count("style") == 1
    assert set(page.tags).isdisjoint({"link", "img", "iframe", "object", "embed", "base"})
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "srcset", "style")]
    assert {value[0] for name, value in page.attributes if name == "href"} == {"#"}
    policy = next(value for name, value in page.attributes if value.startswith("default-src"))
    for directive, source in page.sources.items():
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{directive}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert not re.search(r"https?:|url\(|@import|fetch|XMLHttp|innerHTML|eval", "".join(page.sources.values()))


def test_the_page_loads_nothing(made: tuple[str, dict[str, Any]]) -> None:
    assert_inert(Page(made[0]))


def test_every_row_is_in_the_page_and_every_different_answer_once(made: tuple[str, dict[str, Any]]) -> None:
    text, card = made
    cards = text.split('<article class="row"')[1:]
    assert len(cards) == card["rows"] == 60
    given = systems(60, SKILLS)
    for number, each in enumerate(cards):
        distinct = {answers[number].text for answers in given.values()}
        right = sum(json.dumps(wanted(number)) == one for one in distinct)
        assert each.count('class="answer"') == len(distinct) - right
        kinds = re.search(r'data-kinds="(.*?)"', each)
        assert kinds is not None
        assert [kind[-1] == "1" for kind in kinds[1].split()] == [
            answers[number].text == json.dumps(wanted(number)) for answers in given.values()
        ]
    for name in SKILLS:
        told = sum(f'<b class="name">{name}</b>' in each for each in cards)
        assert told == 60, "each system stands in each row, right or wrong"


def test_differences_are_marked_within_values(made: tuple[str, dict[str, Any]]) -> None:
    text, _ = made
    assert "<code>&#34;<mark>Weak Copyleft</mark>&#34;</code>" in text
    assert re.search(r"&#34;\w[\w.-]*<mark>-plus</mark>&#34;", text)
    assert "<mark>&#34;extra&#34;</mark>]</code>" in text
    assert re.search(r'<dt>names</dt><dd><code><del>.*?</del></code> <span class="chip mild">missing', text)
    assert "<dt>note</dt><dd><code><mark>&#34;as far as I can tell&#34;</mark></code>" in text


def test_the_best_is_named_only_where_a_comparison_shows_it(made: tuple[str, dict[str, Any]]) -> None:
    _, card = made
    assert leading(card, "whole_match") == "tuned"
    assert best(card, "whole_match") is None, "the merged model is not shown to be worse"
    without = card | {"systems": {name: each for name, each in card["systems"].items() if name != "merged"}}
    assert best(without, "whole_match") == "tuned"
    assert best(without | {"comparisons": []}, "whole_match") is None
    words = re.sub(r"\s+", " ", Page(made[0]).words)
    assert (
        "tuned is better than majority, base, few-shot, nearest, constrained; not shown to differ from merged." in words
    )


def test_hostile_texts_are_shown_and_do_nothing(tmp_path: Path) -> None:
    texts = [
        *(HOSTILE, json.dumps({HOSTILE: HOSTILE}), "[" * 10_000, '{"a": 1e999}', "", "-->", "\u2028\u2066"),
        *("x" * (1 << 20), json.dumps({"license": "ab " * 200_000}), json.dumps({f"k{n}": n for n in range(500)})),
    ]
    write(
        tmp_path,
        {HOSTILE: [Generated(text) for text in texts], "b": [Generated(text) for text in reversed(texts)]},
        texts=[HOSTILE] * len(texts),
        expected=[wanted(0) | {"license": HOSTILE}] * len(texts),
    )
    path = tmp_path / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert_inert(page)
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", path.read_text(encoding="utf-8"))
    assert page.words.count(shown(HOSTILE)) > len(texts)
    assert "⟨U+001B⟩[2J ⟨U+202E⟩abc ⟨U+D800⟩" in page.words
    assert "1,044,577 of 1,048,576 characters left out" in page.words
    assert "460 more values" not in page.words
    assert "more values" in page.words
    assert path.stat().st_size < 200_000
    assert "49" not in page.words.split("Answers side by side")[1].split("Provenance")[0].replace("k49", "")


def test_many_rows_of_many_systems_fit_or_it_is_said_how_many_do(tmp_path: Path) -> None:
    small = {f"s{number}": (number / 13, 0.1) for number in range(12)}
    write(tmp_path, systems(400, small))
    assert (tmp_path / "report.html").stat().st_size < 2_500_000
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("<article") == 400
    long = {name: [Generated(f"{name} {row} {'long ' * 120}") for row in range(650)] for name in small}
    write(tmp_path, long, texts=[f"question {row}" for row in range(650)])
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    held = text.count("<article")
    assert 300 < held < 650
    assert f"The first {held} of 650 rows are in this page" in re.sub("<.*?>", "", text)
    assert LARGEST * 0.7 < len(text) < LARGEST * 1.3


def test_plain_text_has_its_differences_marked(tmp_path: Path, made: tuple[str, dict[str, Any]]) -> None:
    from evaluation.card.report import write_report
    from evaluation.card.scorecard import TestRows, scorecard
    from evaluation.card.side_by_side import Questions
    from evaluation.card.statistics import Rows
    from evaluation.judge.answer import Answer

    given = {"base": [Answer(Generated("the red fox", 3), None, False)], "b": [Answer(Generated("a fox"), None, True)]}
    card = scorecard(given, TestRows(Rows(None, 1, 100)))
    manifest = ScorecardManifest.model_validate(scorecard_manifest(name="chat"))
    write_report(tmp_path, manifest, card, None, Questions(["1"], ["Which?"], ["the brown fox"]), given)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<pre tabindex="0">the <mark>red</mark> fox</pre>' in page
    assert "Exactly the expected text" in page
    assert 'id="forms"' not in page
