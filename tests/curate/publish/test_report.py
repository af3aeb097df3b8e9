"""The data set card and the data-quality report of a real, small run whose rows are hostile."""

import base64
import gzip
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from curate.contract import Contract
from curate.distribution import quantiles
from curate.manifest import DatasetManifest
from curate.publish.bars import by_length, by_size, by_value
from curate.publish.card import write_card
from curate.publish.rejected import HIDDEN
from curate.publish.shown_rows import changes_of, differences
from curate.record import SPLITS
from tests.browser import (
    DESKTOP,
    PHONE,
    ROLLED,
    UNPACKED,
    Browser,
    assert_accessible,
    assert_printable,
    assert_readable,
)
from tests.project import Project, make_rows

ROOT = Path(__file__).resolve().parents[3]
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }} {% include 'x' %} | `x` ---"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"))
    rows = make_rows(300)
    for number in range(0, 300, 7):
        rows[number]["text"] = f"{EVIL} {number}"
    rows += [{"text": f"{EVIL} twice", "colour": colour, "count": 1} for colour in ("red", "green")]
    rows += [{"text": f"{EVIL} bad", "colour": EVIL, "count": 1}]
    project.add("<u>rows<&.jsonl", rows)
    return project


@pytest.fixture(scope="module")
def published(project: Project) -> Path:
    return project.curate().folder


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.within = ""
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.within = tag
        self.attributes |= {(name, value or "") for name, value in attrs}

    def handle_data(self, data: str) -> None:
        if self.within in ("script", "style"):
            {"script": self.scripts, "style": self.styles}[self.within].append(data)
        else:
            self.words += data

    def handle_endtag(self, tag: str) -> None:
        self.within = ""


def joined(*names: str) -> str:
    """Our own files of a page, as they stand in it."""
    return "\n".join((ROOT / "templates/report" / name).read_text(encoding="utf-8") for name in names)


def hashed(source: str) -> str:
    """As a Content-Security-Policy names a script or a style that it allows."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def test_the_report_loads_nothing_and_escapes_rows(published: Path) -> None:
    text = (published / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.isdisjoint({"link", "img", "iframe", "object", "embed", "base", "u"})
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "srcset")]
    assert page.styles == [joined("style.css", "tokens.css", "report.css")]
    assert page.scripts == [joined("report.js", "doubted.js")], "ours, and no other"
    [policy] = (value for name, value in page.attributes if name == "content" and value.startswith("default-src"))
    assert policy == (
        f"default-src 'none'; style-src {hashed(page.styles[0])}; script-src {hashed(page.scripts[0])}; "
        "base-uri 'none'; form-action 'none'"
    )
    links = {value for name, value in page.attributes if name == "href" and not value.startswith("#stage=")}
    targets = {value for name, value in page.attributes if name == "id"}
    assert {link for link in links if not link.startswith("#")} == {"data_docs/index.html"}
    assert {link[1:] for link in links if link.startswith("#")} <= targets
    assert not re.search(r"url\(|@import", text)
    assert EVIL in page.words  # shown as it is, neither cut short nor run as a template


def test_the_report_says_what_became_of_every_row(published: Path) -> None:
    manifest = DatasetManifest.read(published)
    text = (published / "report.html").read_text(encoding="utf-8")
    words = re.sub(r"\s+", " ", Page(text).words)
    counts = manifest.counts
    assert f"Rows in{counts.rows_in}1 file" in words
    assert f"Kept{counts.kept}" in words
    assert f"Quarantined{counts.quarantined}" in words
    for stage in manifest.stages:
        for reason, count in stage.reasons.items():
            assert f'id="{stage.name}-{reason}"' in text
            assert f"{reason} {stage.name} · {count} rows" in words
    quarantine = pq.read_table(published / "quarantine.parquet").to_pylist()
    assert {row["reason"] for row in quarantine} >= {"near_duplicate", "conflict", "target_schema", "too_many_tokens"}
    evidence = [json.loads(row["evidence"]) for row in quarantine if row["reason"] == "target_schema"]
    assert any(seen["message"] in words for seen in evidence)
    for rule in manifest.gate.rules:
        assert rule.name in words


def test_a_duplicate_is_shown_beside_the_row_it_is_like(published: Path) -> None:
    text = (published / "report.html").read_text(encoding="utf-8")
    section = text[text.index('id="duplicates-near_duplicate"') :]
    section = section[: section.index("<h3")]
    examples = section.split('<div class="card">')[1:]
    assert len(examples) == 3
    for example in examples:
        assert example.count("<pre>") == 2
        assert re.search(r"like .*, row \d+, (which is kept|quarantined later \(\w+: \w+\))", example)
        assert re.search(r"similarity</span>\s*(0\.[6-9]\d*|1\.0)", example)


def test_the_same_drop_gives_the_same_bytes(project: Project, published: Path) -> None:
    again = project.curate("again", shard_bytes=5_000).folder
    assert again.name == published.name
    for name in ("README.md", "report.html"):
        assert (again / name).read_bytes() == (published / name).read_bytes()


def test_the_report_does_not_count_towards_the_version(published: Path) -> None:
    manifest = DatasetManifest.read(published)
    assert "report.html" not in manifest.files
    assert "  report.html\n" in (published / "SHA256SUMS").read_text()


def test_near_duplicates_are_marked_by_word(published: Path) -> None:
    text = (published / "report.html").read_text(encoding="utf-8")
    section = text[text.index('id="duplicates-near_duplicate"') :]
    section = section[: section.index("<h3")]
    assert re.search('<mark>[^<]+</mark>|<mark class="new">[^<]+</mark>', section)


def test_rows_are_shown_as_tokens(published: Path) -> None:
    text = (published / "report.html").read_text(encoding="utf-8")
    section = text[text.index('id="rendered"') : text.index('id="cleaning"')]
    assert section.count("<h3>train, row ") == 3
    assert '<span class="t special" title="0: id 256, special">&lt;|im_start|&gt;</span>' in section
    assert "t on special" in section, "the stop token is trained"


def test_personal_data_is_shown_as_shapes_and_placeholders(published: Path) -> None:
    text = (published / "report.html").read_text(encoding="utf-8")
    section = Page(text[text.index('id="personal-data"') : text.index('id="gate"')]).words
    assert "xxxx.xxx@xxxxxxx.xxx" in section
    assert "+00 00 0000 0000" in section
    assert "[EMAIL_1]" in section
    for secret in ("jane.doe", "example.org", "7946"):
        assert secret not in text
        assert secret not in json.dumps(unpacked(text))


def test_each_rule_is_shown_with_what_it_expects_and_what_was_seen(published: Path) -> None:
    text = (published / "report.html").read_text(encoding="utf-8")
    words = Page(text[text.index('id="gate"') : text.index('id="quarantine"')]).words
    for rule in DatasetManifest.read(published).gate.rules:
        assert rule.expected in words
        assert rule.observed in words


def unpacked(text: str) -> dict[str, Any]:
    """The rejected rows in a page, see `rejected._document`."""
    packed = re.search('<template id="packed">([^<]*)</template>', text)
    assert packed is not None
    document: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed[1])))
    return document


def test_every_rejected_row_is_in_the_page(published: Path) -> None:
    document = unpacked((published / "report.html").read_text(encoding="utf-8"))
    quarantine = pq.read_table(published / "quarantine.parquet").to_pylist()
    assert len(document["rows"]) == len(quarantine)
    for (kind, file, number, text, target, evidence, like), row in zip(document["rows"], quarantine, strict=True):
        assert tuple(document["kinds"][kind]) == (row["stage"], row["reason"])
        assert (document["files"][file], number) == (row["source"]["file"], row["source"]["row"])
        if not row["raw"]:
            said = "".join(turn["content"] for turn in row["turns"])
            assert text == HIDDEN.sub(lambda char: f"⟨U+{ord(char[0]):04X}⟩", said)
        assert target == (row["target"] or "")
        seen = json.loads(row["evidence"])
        left_out = {"kept", "file", "row"} if like is not None else set()
        assert json.loads(evidence) == {name: value for name, value in seen.items() if name not in left_out}


def test_the_card_loads_with_datasets(published: Path, tmp_path: Path) -> None:
    from datasets import List, Value, load_dataset

    loaded = load_dataset(str(published), cache_dir=str(tmp_path))
    manifest = DatasetManifest.read(published)
    assert {name: split.num_rows for name, split in loaded.items()} == manifest.counts.splits
    said = {"role": Value("string"), "content": Value("string")}
    trained = {"trained": Value("bool")}
    features = loaded["train"].features
    assert {name: features[name] for name in ("id", "turns", "target", "messages", "tokens", "meta")} == {
        "id": Value("string"),
        "turns": List(said | {"reasoning": Value("string")} | trained),
        "target": Value("string"),
        "messages": List(said | trained),
        "tokens": Value("int32"),
        "meta": List({"key": Value("string"), "value": Value("string")}),
    }
    for name in SPLITS:
        assert loaded[name]["text"][:] == pq.read_table(published / f"{name}.parquet")["text"].to_pylist()


def front_matter(folder: Path) -> dict[str, Any]:
    _, header, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(header)
    return found


def test_the_card_of_a_packaged_contract(published: Path, tmp_path: Path) -> None:
    for name in SPLITS:
        shutil.copy(published / f"{name}.parquet", tmp_path)
    manifest = DatasetManifest.read(published)
    write_card(tmp_path, manifest, Contract.load("licences"))
    front = front_matter(tmp_path)
    assert front["license"] == "cc-by-4.0"
    assert "structured-output" in front["tags"]
    assert front["size_categories"] == ["n<1K"]
    assert [each["split"] for each in front["configs"][0]["data_files"]] == list(SPLITS)
    body = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| `target.copyleft` | string | How far the licence reaches into derived works. | Wholly given by" in body
    assert manifest.version in body
    assert "**Who answers for it.** Team: Assay, assay (owner). Roles: reader (read), curator (write)." in body
    fields = [line for line in body.splitlines() if line.startswith("| `")]
    assert all(line.count("|") - line.count("\\|") == 5 for line in fields)


def splits(**columns: list[Any]) -> dict[str, pa.Table]:
    """Tables of 4, 2 and 2 rows."""
    whole = pa.table(columns)
    return {name: whole.slice(*span) for name, span in zip(SPLITS, ((0, 4), (4, 2), (6, 2)), strict=True)}


def test_bars_are_shares_of_each_split() -> None:
    bars = by_value(splits(label=["a", "a", "b", None, "a", "b", "b", "b"]), "label")
    assert [(bar["name"], bar["rows"]) for bar in bars] == [("b", 4), ("a", 3), ("(none)", 1)]
    assert bars[0]["shares"] == {"train": 0.25, "validation": 0.5, "test": 1.0}
    assert bars[0]["widths"] == {"train": 25.0, "validation": 50.0, "test": 100.0}
    assert bars[2]["shares"] == {"train": 0.25, "validation": 0.0, "test": 0.0}


def test_rare_values_share_the_last_bar() -> None:
    values = [f"v{number:02}" for number in range(20)] + ["v00"] * 5
    bars = by_value({"train": pa.table({"label": values})}, "label")
    assert [bar["name"] for bar in bars] == [f"v{number:02}" for number in range(12)] + ["8 others"]
    assert [bar["rows"] for bar in bars] == [6] + [1] * 11 + [8]


def test_lengths_fall_into_bins_of_doubling_width() -> None:
    bars = by_length(splits(tokens=[1, 2, 3, 4, 7, 8, 31, 32]))
    assert [(bar["name"], bar["rows"]) for bar in bars] == [
        *(("1–1", 1), ("2–3", 2), ("4–7", 2), ("8–15", 1), ("16–31", 1), ("32–63", 1)),
    ]


def test_sizes_of_clusters() -> None:
    names = pa.chunked_array([["a", "b", "c", "c", "d", "d", "d"], ["e"] * 9 + [None]])
    assert [(bar["name"], bar["count"], bar["rows"]) for bar in by_size(names)] == [
        *(("1", 2, 2), ("2–3", 2, 5), ("9", 1, 9)),
    ]


def testquantiles() -> None:
    assert quantiles(pa.chunked_array([list(range(11))])) == [0, 1, 5, 9, 10]
    assert quantiles(pa.chunked_array([[]], pa.int32())) == []


def test_examples_mark_what_changed_and_hide_nothing() -> None:
    parts = changes_of({"id": "", "before": "zero\u200bwidth \nend", "after": "zerowidth\nend"})
    assert parts["before"] == [(False, "zero"), (True, "⟨U+200B⟩"), (False, "width"), (True, "·"), (False, "\nend")]
    assert "".join(text for _, text in parts["after"]) == "zerowidth\nend"


@pytest.mark.parametrize(
    ("one", "other", "marked"),
    [
        ("a b c", "a b c", ([(False, "a b c")], [(False, "a b c")])),
        ("a b c", "a x c", ([(False, "a "), (True, "b"), (False, " c")], [(False, "a "), (True, "x"), (False, " c")])),
        ("a b", "a b c", ([(False, "a b")], [(False, "a b"), (True, " c")])),
        ("", "a", ([], [(True, "a")])),
        ("a a", "a", ([(False, "a"), (True, " a")], [(False, "a")])),
        (
            "x " * 200 + "y",
            "x " * 200 + "z",
            ([(False, "…" + "x " * 30), (True, "y")], [(False, "…" + "x " * 30), (True, "z")]),
        ),
    ],
)
def test_words_that_differ(one: str, other: str, marked: Any) -> None:
    assert differences(one, other) == marked


@given(st.text("ab \n.", max_size=30), st.text("ab \n.", max_size=30))
def test_differences_give_both_texts_back(one: str, other: str) -> None:
    left, right = differences(one, other)
    assert "".join(text for _, text in left) == one
    assert "".join(text for _, text in right) == other
    same = ["".join(text for differs, text in side if not differs) for side in (left, right)]
    assert same[0] == same[1]


def test_the_report_shows_what_cleaning_changed(published: Path) -> None:
    text = (published / "report.html").read_text(encoding="utf-8")
    assert "<mark>⟨U+202E⟩⟨U+0000⟩</mark>" in text


@pytest.mark.parametrize(("width", "dark"), [(PHONE, False), (PHONE, True), (DESKTOP, False), (DESKTOP, True)])
def test_the_report_fits_its_window_can_be_read_and_asks_for_nothing(
    browser: Browser, published: Path, width: int, dark: bool
) -> None:
    assert_readable(browser, published / "report.html", width, dark, "data_report")


def test_on_paper_nothing_is_cut_off(browser: Browser, published: Path) -> None:
    assert_printable(browser, published / "report.html", "data_report")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, DESKTOP])
def test_the_report_is_accessible_and_no_column_is_cut(
    browser: Browser, published: Path, width: int, dark: bool
) -> None:
    browser.open(published / "report.html", width=width, dark=dark)
    assert browser.run(ROLLED) == []
    browser.run(UNPACKED)
    assert_accessible(browser)
    browser.run("document.querySelector('#list button').click()")
    assert_accessible(browser)


def test_it_prints_with_its_colours(browser: Browser, published: Path) -> None:
    browser.open(published / "report.html", dark=True)
    browser.look(720, media="print", dark=True)
    for selector in ("svg.funnel .kept", ".tiles div", "mark", ".t.on"):
        shown = f"getComputedStyle(document.querySelector({selector!r})).printColorAdjust"
        assert browser.run(shown) == "exact"
    assert browser.run("getComputedStyle(document.querySelector('svg.funnel .kept')).fill") == "rgb(36, 99, 166)"
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("document.getElementById('first').getClientRects().length") == 1, "rows, as on paper none scroll"
