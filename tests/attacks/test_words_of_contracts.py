"""Contracts from elsewhere: whatever they say is shown as text, in the card, in the pages and in the terminal."""

import json
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mlcroissant import Dataset
from typer.testing import CliRunner

from assay.cli import app
from curate.contract import Contract
from curate.publish.pages import one_line, prose
from tests.project import CONTRACT, TARGET_SCHEMA, Project, make_rows

EVIL = (
    "<script>alert(1)</script><img src=http://evil.test/a.png onerror=alert(1)>\n\n# Theirs\n\n---\nconfigs: []\n---\n"
    "![seen](http://evil.test/b.png)\n"
    "[click](javascript:alert(1)) <http://evil.test/c> https://evil.test/d www.evil.test\n"
    "```\n| a | b |\n|---|---|\n`$column` {{ 7 * 7 }} \\<b> &lt;i&gt; \u202egnp\x9b31m\x07 - x\n1. y\n* z\n[r]: http://evil.test/e"
)
MARKDOWN = MarkdownIt("commonmark").enable("table")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version whose contract is hostile wherever a contract has words of its own."""
    project = Project(tmp_path_factory.mktemp("hostile"))
    project.add("rows.jsonl", [row | {"colour": "red", EVIL: 1} for row in make_rows(80)])
    contract: dict[str, Any] = json.loads(json.dumps(CONTRACT))
    contract |= {
        "name": EVIL,
        "version": EVIL,
        "tags": [EVIL],
        "description": dict.fromkeys(["purpose", "usage", "limitations"], EVIL),
        "customProperties": [{"property": key, "value": EVIL} for key in ("license", "attribution")],
    }
    target = {"name": EVIL, "logicalType": "string", "description": EVIL} | dict.fromkeys(
        ["transformDescription", "transformLogic"], EVIL
    )
    record = next(item for item in contract["schema"] if item["name"] == "record")
    next(item for item in record["properties"] if item["name"] == "target")["properties"].append(target)
    whole = next(item for item in contract["schema"] if item["name"] == "set")
    allowed = {
        "type": "expect_column_values_to_not_be_in_set",
        "kwargs": {"column": "id", "value_set": [EVIL, "$column"]},
    }
    whole["quality"] = [
        *whole.get("quality", []),
        {"name": EVIL, "dimension": "conformity", "description": EVIL, "implementation": allowed},
    ]
    folder = project.folder / "contract"
    (folder / "contract.yaml").write_text(yaml.safe_dump(contract, sort_keys=False))
    schema = TARGET_SCHEMA | {
        "properties": TARGET_SCHEMA["properties"] | {EVIL: {"type": "string", "description": EVIL}}
    }
    (folder / "target.schema.json").write_text(json.dumps(schema))
    return project.curate().folder


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words += data


def flat(tokens: list[Token]) -> list[Token]:
    return [each for token in tokens for each in (token, *flat(token.children or []))]


def test_the_card_shows_a_contracts_words_as_text(published: Path) -> None:
    card = (published / "README.md").read_text(encoding="utf-8")
    _, header, body = card.split("---\n", 2)
    front = yaml.safe_load(header)
    assert set(front) == {"pretty_name", "license", "language", "task_categories", "tags", "size_categories", "configs"}
    assert len(front["configs"]) == 1
    tokens = flat(MARKDOWN.parse(body))
    kinds = {token.type for token in tokens}
    assert kinds.isdisjoint({"html_block", "html_inline", "image", "link_open", "hr", "bullet_list_open"})
    assert "ordered_list_open" not in kinds
    headings = [tokens[at + 1].content for at, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings[1:] == ["Fields", "How it was made"]
    assert "Theirs" in headings[0]
    assert len([token for token in tokens if token.type == "fence"]) == 2
    assert not {"\u202e", "\x9b", "\x07"} & {*card}


def test_pages_show_a_contracts_words_as_text(published: Path) -> None:
    for name, ours in (("report.html", 1), ("data_docs/index.html", 0)):
        page = Page((published / name).read_text(encoding="utf-8"))
        assert page.tags.keys().isdisjoint({"img", "iframe", "object", "embed", "base", "link", "i"})
        assert [page.tags[tag] for tag in ("script", "form", "input")] == [ours] * 3
        names = {key for key, _ in page.attributes}
        assert not [key for key in names if key.startswith("on") or key in ("src", "srcset", "style")]
        links = {value for key, value in page.attributes if key == "href"}
        assert not [link for link in links if link.startswith(("http", "//", "javascript"))]
    assert "alert(1)" in page.words


def test_croissant_holds_a_contracts_words_as_text(published: Path) -> None:
    text = (published / "croissant.json").read_text(encoding="utf-8")
    assert not {"\u202e", "\x9b", "\x07"} & {*text}
    document = json.loads(text)
    words = one_line(EVIL)
    about = {key: document[key] for key in ("description", "license", "creditText", "rai:dataLimitations")}
    assert about == dict.fromkeys(about, words)
    assert document["keywords"] == [words]
    metadata = Dataset(jsonld=str(published / "croissant.json")).metadata
    assert metadata.issues.errors == set()
    assert (metadata.name, metadata.description, metadata.license) == ("demo", words, [words])


@pytest.mark.parametrize("command", ["curate", "preview", "inspect"])
def test_a_terminal_is_not_steered(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_STORE", str(tmp_path / "store"))
    project = Project(tmp_path / "made")
    project.add("rows.jsonl", make_rows(3))
    path = project.folder / "contract/contract.yaml"
    path.write_text(yaml.safe_dump({"name": "\x9b2J\u202e", "version": "1", "\x9b\x07\x1b[2J\u202e": 1}))
    drop = [] if command == "inspect" else ["--drop", str(project.drop)]
    done = CliRunner().invoke(app, [command, str(project.recipe_path), *drop])
    assert "\\x9b" in done.stderr or command == "inspect"
    assert not {"\x9b", "\u202e", "\x07", "\x1b"} & set(done.stdout + done.stderr)


SIGNS = st.text(st.sampled_from(list("<>&[]()!`*_~#|\\-+=:/.1 \n\tahtpw\u202e\x07")), max_size=40)


@given(SIGNS)
def test_prose_is_text_and_nothing_else(text: str) -> None:
    tokens = flat(MARKDOWN.parse(prose(text)))
    assert {token.type for token in tokens} <= {
        "paragraph_open",
        "inline",
        "text",
        "paragraph_close",
        "code_inline",
    } | {"text_special"}
    if "`" not in text:
        shown = "".join(token.content for token in tokens if token.type in ("text", "text_special"))
        steered = text.replace("\u202e", "⟨U+202E⟩").replace("\x07", "⟨U+0007⟩")
        assert "".join(shown.split()) == "".join(steered.split())


def test_a_packaged_contract_reads_as_it_is_written() -> None:
    contract = Contract.load("licences")
    assert prose(contract.purpose) == " ".join(contract.purpose.split())
