"""515 strings that break programs go through two whole curations, as prompts, answers and values of a target: each is
published as the documented rules leave it, or stands in quarantine, whole and with a documented reason."""

import copy
import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from curate.manifest import DatasetManifest
from curate.publish.report import write_report
from curate.record import SPLITS
from tests.project import CONTRACT, Project
from tests.records import record, table_of

ROOT = Path(__file__).resolve().parents[2]
RECIPES: dict[str, dict[str, Any]] = {
    "chat": {
        "turns": [{"role": "user", "content": "prompt"}, {"role": "assistant", "content": "answer"}],
    },
    "target": {"turns": [{"role": "user", "content": "prompt"}], "target": {"said": "answer"}},
}
TARGET_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"said": {"type": "string"}},
    "required": ["said"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def strings(shared_data: Path) -> list[str]:
    found: list[str] = json.loads((shared_data / "messy_blns/blns.json").read_text(encoding="utf-8"))
    assert len(found) == 515
    return found


@pytest.fixture(scope="module")
def rows(strings: list[str]) -> list[dict[str, str]]:
    """Each string as a prompt, and as an answer."""
    prompts = [{"prompt": text, "answer": f"That was number {place}."} for place, text in enumerate(strings)]
    return prompts + [{"prompt": f"Say number {place}!", "answer": text} for place, text in enumerate(strings)]


@pytest.fixture(scope="module", params=RECIPES)
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]
) -> tuple[Project, Path]:
    changes = {"record": RECIPES[request.param], "quality": {}, "fit": {"model": "tokenizer", "max_tokens": 4096}}
    project = Project(tmp_path_factory.mktemp("project"), **changes)
    contract = copy.deepcopy(CONTRACT)
    properties = contract["schema"][0]["properties"]
    if request.param == "chat":
        properties.pop()
        (project.folder / "contract/target.schema.json").unlink()
    else:
        properties[1]["properties"] = [{"name": "said", "logicalType": "string"}]
        (project.folder / "contract/target.schema.json").write_text(json.dumps(TARGET_SCHEMA))
    (project.folder / "contract/contract.yaml").write_text(yaml.safe_dump(contract, sort_keys=False))
    project.add("strings.jsonl", rows)
    return project, project.curate().folder


def test_each_is_published_as_cleaning_leaves_it_or_quarantined_whole(
    published: tuple[Project, Path], rows: list[dict[str, str]]
) -> None:
    project, folder = published
    chat = "target" not in project.recipe.record.model_fields_set
    records = [
        record(row["prompt"], ("assistant", row["answer"]))
        if chat
        else record(row["prompt"], target=json.dumps({"said": row["answer"]}, ensure_ascii=False))
        for row in rows
    ]
    cleaned = project.recipe.clean.run(table_of(records)).kept.to_pylist()
    assert len(cleaned) == len(rows)

    kept = [row for split in SPLITS for row in pq.read_table(folder / f"{split}.parquet").to_pylist()]
    gone = pq.read_table(folder / "quarantine.parquet").to_pylist()
    assert sorted(row["source"]["row"] for row in kept + gone) == list(range(len(rows)))
    assert len(kept) > 1000
    for row in kept + gone:
        place = row["source"]["row"]
        assert row["turns"] == cleaned[place]["turns"]
        assert row["target"] == cleaned[place]["target"]
    for row in kept:
        assert row["text"] == "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in row["messages"])
        assert [m["content"] for m in row["messages"]] == [
            *(turn["content"] for turn in row["turns"]),
            *([] if chat else [row["target"]]),
        ]
        assert chat or json.loads(row["target"]) == {"said": rows[row["source"]["row"]]["answer"]}

    documented = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/quarantine.md").read_text(), re.MULTILINE))
    assert {row["reason"] for row in gone} <= documented
    for row in gone:
        blank = not any(char.isalnum() for turn in row["turns"] for char in turn["content"] if turn["role"] == "user")
        assert row["reason"] != "empty" or blank
        assert json.loads(row["evidence"])


def test_jsonl_holds_the_same_rows_one_a_line(published: tuple[Project, Path]) -> None:
    for split in SPLITS:
        lines = (published[1] / f"{split}.jsonl").read_bytes().rstrip(b"\n").split(b"\n")
        rows = pq.read_table(published[1] / f"{split}.parquet").to_pylist()
        assert [json.loads(line)["messages"] for line in lines] == [row["messages"] for row in rows]


class Page(HTMLParser):
    """The elements, attributes and visible words of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[tuple[str, str]] = set()
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {(name, value or "") for name, value in attrs}

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_report_shows_each_and_runs_none(
    published: tuple[Project, Path], strings: list[str], tmp_path: Path
) -> None:
    """All strings as examples of a rule; a report shows but a few of them otherwise."""
    for name in ("quarantine", "conflicts", *SPLITS):
        shutil.copy(published[1] / f"{name}.parquet", tmp_path)
    content = DatasetManifest.read(published[1]).content()
    stage = next(stage for stage in content["stages"] if stage["name"] == "clean")

    def page_of(examples: list[str]) -> Page:
        stage["examples"] = {"controls": [{"id": "0", "before": text, "after": text} for text in examples]}
        write_report(tmp_path, DatasetManifest.model_validate(content))
        return Page((tmp_path / "report.html").read_text(encoding="utf-8"))

    plain, page = page_of(["plain"] * len(strings)), page_of(strings)
    assert page.tags == plain.tags
    assert page.attributes == plain.attributes
    shown = [text for text in strings if text.isascii() and text.isprintable()]
    assert len(shown) > 300
    assert [text for text in shown if text not in page.words] == []


def test_pages_that_are_published_hold_no_element_of_a_row(published: tuple[Project, Path]) -> None:
    for name, ours in (("report.html", 1), ("data_docs/index.html", 0)):
        page = Page((published[1] / name).read_text(encoding="utf-8"))
        assert page.tags.keys().isdisjoint({"img", "iframe", "object", "embed", "base", "xss"})
        assert [page.tags[tag] for tag in ("script", "form", "input")] == [ours] * 3
        assert not [name for name, value in page.attributes if name.startswith("on") or "script:" in value]


def test_the_card_holds_no_row(published: tuple[Project, Path], strings: list[str]) -> None:
    card = (published[1] / "README.md").read_text(encoding="utf-8")
    _, header, body = card.split("---\n", 2)
    assert [each["split"] for each in yaml.safe_load(header)["configs"][0]["data_files"]] == list(SPLITS)
    assert "<" not in body
    assert not [text for text in strings if len(text) > 20 and text in card]
