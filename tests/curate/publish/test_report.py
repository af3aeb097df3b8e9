"""The data set card and the data-quality report of a real, small run whose rows are hostile."""

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

from curate.contract import Contract
from curate.distribution import quantiles
from curate.manifest import DatasetManifest
from curate.publish.report import _by_length, _by_size, _by_value, _parts, write_card, write_report
from curate.record import SPLITS
from tests.browser import DESKTOP, PHONE, Browser, assert_printable, assert_readable
from tests.project import Project, make_rows

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }} {% include 'x' %} | `x` ---"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = Project(tmp_path_factory.mktemp("project"))
    rows = make_rows(300)
    for number in range(0, 300, 7):
        rows[number]["text"] = f"{EVIL} {number}"
    rows += [{"text": f"{EVIL} twice", "colour": colour, "count": 1} for colour in ("red", "green")]
    rows += [{"text": f"{EVIL} bad", "colour": EVIL, "count": 1}]
    project.add("<b>rows<&.jsonl", rows)
    return project.curate().folder


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_report_loads_nothing_and_escapes_rows(published: Path) -> None:
    text = (published / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "base", "form", "b"})
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "srcset")]
    links = {value for name, value in page.attributes if name == "href"}
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


def test_the_same_version_gives_the_same_bytes(published: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(published, copy)
    manifest = DatasetManifest.read(copy)
    project = published.parents[3]
    write_card(copy, manifest, Contract.load(project / "contract"))
    write_report(copy, manifest)
    for name in ("README.md", "report.html"):
        assert (copy / name).read_bytes() == (published / name).read_bytes()


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
    bars = _by_value(splits(label=["a", "a", "b", None, "a", "b", "b", "b"]), "label")
    assert [(bar["name"], bar["rows"]) for bar in bars] == [("b", 4), ("a", 3), ("(none)", 1)]
    assert bars[0]["shares"] == {"train": 0.25, "validation": 0.5, "test": 1.0}
    assert bars[0]["widths"] == {"train": 25.0, "validation": 50.0, "test": 100.0}
    assert bars[2]["shares"] == {"train": 0.25, "validation": 0.0, "test": 0.0}


def test_rare_values_share_the_last_bar() -> None:
    values = [f"v{number:02}" for number in range(20)] + ["v00"] * 5
    bars = _by_value({"train": pa.table({"label": values})}, "label")
    assert [bar["name"] for bar in bars] == [f"v{number:02}" for number in range(12)] + ["8 others"]
    assert [bar["rows"] for bar in bars] == [6] + [1] * 11 + [8]


def test_lengths_fall_into_bins_of_doubling_width() -> None:
    bars = _by_length(splits(tokens=[1, 2, 3, 4, 7, 8, 31, 32]))
    assert [(bar["name"], bar["rows"]) for bar in bars] == [
        *(("1–1", 1), ("2–3", 2), ("4–7", 2), ("8–15", 1), ("16–31", 1), ("32–63", 1)),
    ]


def test_sizes_of_clusters() -> None:
    names = pa.chunked_array([["a", "b", "c", "c", "d", "d", "d"], ["e"] * 9 + [None]])
    assert [(bar["name"], bar["count"], bar["rows"]) for bar in _by_size(names)] == [
        *(("1", 2, 2), ("2–3", 2, 5), ("9", 1, 9)),
    ]


def testquantiles() -> None:
    assert quantiles(pa.chunked_array([list(range(11))])) == [0, 1, 5, 9, 10]
    assert quantiles(pa.chunked_array([[]], pa.int32())) == []


def test_examples_mark_what_changed_and_hide_nothing() -> None:
    parts = _parts("zero\u200bwidth \nend", "zerowidth\nend")
    assert parts["before"] == [(False, "zero"), (True, "⟨U+200B⟩"), (False, "width"), (True, "·"), (False, "\nend")]
    assert "".join(text for _, text in parts["after"]) == "zerowidth\nend"


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
