"""The set contract: all rules of all packaged contracts hold on a good set and fail on a broken one; the Data Docs."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.contract import Contract
from curate.expectations import DRIFT
from curate.hashing import file_digest
from curate.publish import gate
from curate.publish.flat import flatten
from curate.publish.gate import _asked, _texts, check_set
from curate.recipe import Recipe, find_recipe
from curate.record import SCHEMA, SPLITS
from curate.set_rules import ColumnRule
from tests.manifests import sealed
from tests.project import Project, make_rows

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parents[3]


def contract_of(name: str) -> Contract:
    """A packaged contract, as its recipe's sets are held to it."""
    return Recipe.load(find_recipe(name)).held_to()


COLUMNS = pa.schema([*SCHEMA, ("cluster", pa.string()), ("split", pa.string()), ("tokens", pa.int32())])
CATEGORIES = [
    *("Permissive", "Copyleft", "Copyleft Limited", "Commercial", "Public Domain", "Source-available"),
    *("Unstated License", "Proprietary Free", "Free Restricted", "CLA", "Patent License"),
]
KINDS = ["notice", "text", "reference", "tag", "intro", "clue"]


def row(number: int, turns: list[str], target: Row | None, tokens: int, language: str = "en") -> Row:
    """Row `number` of a good set: eight of ten train, each its own cluster and group."""
    roles = ["user", "assistant"] * len(turns)
    return {
        "id": f"{number:032x}",
        "turns": [{"role": role, "content": text} for role, text in zip(roles, turns, strict=False)],
        "target": None if target is None else json.dumps(target),
        "group": f"g{number}",
        "label": None,
        "language": language,
        "source": {"drop": "d", "file": "f", "row": number},
        "meta": [],
        "cluster": f"c{number}",
        "split": {8: "validation", 9: "test"}.get(number % 10, "train"),
        "tokens": tokens,
    }


def licence(i: int) -> Row:
    category = CATEGORIES[i // 10 % len(CATEGORIES)]
    target = {
        "license": None if i % 20 == 0 else f"l{i % 900}",
        "category": category,
        "kind": KINDS[i // 10 % len(KINDS)],
        "copyleft": {"Copyleft": "strong", "Copyleft Limited": "weak"}.get(category, "none"),
    }
    return row(i, [f"{i} {'x' * (15, 15, 60, 60, 60, 60, 60, 60, 700, 700)[i // 10 % 10]}"], target, 150)


def cuad(i: int) -> Row:
    target = {
        "document_name": f"Agreement {i}",
        "parties": ["A", "B"],
        "agreement_date": None if i % 5 == 0 else "2001-02-03",
        "effective_date": None,
        "governing_law": f"State {i % 90}" if i % 3 == 0 else None,
    }
    return row(i, [f"This agreement, number {i}"], target, 600)


def guanaco(i: int) -> Row:
    language = ["en", "es", "ru", "fr", "zh", "de", "th", "ca", "uk", "pt", "ja"][i % 11]
    turns = [f"question {i}", "answer"] + (["and then", "that"] if i % 2 else [])
    return row(i, turns, None, (100, 100, 400, 400, 400, 400, 400, 400, 900, 900)[i // 10 % 10], language)


def instruction(i: int) -> Row:
    return row(i, [f"instruction {i}", f"response {i}"], None, 100 if i // 10 % 10 < 8 else 150)


GOOD: dict[str, tuple[Callable[[int], Row], int, int]] = {
    "licences": (licence, 20_200, 2_200),
    "contracts": (cuad, 500, 500),
    "guanaco": (guanaco, 900, 900),
    "instructions": (instruction, 12_100, 300),
}
"""Maker of a row, rows of a good set, rows that are enough to see any other rule than the size break."""


def put(
    rows: list[Row], key: str, value: Any, *, share: float = 1, only: Callable[[Row], bool] = lambda _: True
) -> None:
    """Set a column, or `target.KEY`, in this share of the rows that `only` picks."""
    chosen = [each for each in rows if only(each)]
    for each in chosen[: max(1, round(share * len(chosen)))]:
        if key.startswith("target."):
            target = json.loads(each["target"])
            target[key.removeprefix("target.")] = value
            each["target"] = json.dumps(target)
        else:
            each[key] = value


def is_(key: str, value: Any) -> Callable[[Row], bool]:
    return lambda each: (each if key == "split" else json.loads(each["target"]))[key] == value


def say(rows: list[Row], at: int, text: str | None, share: float = 1) -> None:
    for each in rows[: max(1, round(share * len(rows)))]:
        each["turns"][at]["content"] = text


def join(rows: list[Row], key: str) -> None:
    rows[0][key] = rows[8][key]  # of which one trains and one validates


SHARED: dict[str, Callable[[list[Row]], None]] = {
    "enough_rows": lambda rows: rows.__delitem__(slice(200, None)),
    "ids_unique": lambda rows: rows[1].update(id=rows[0]["id"]),
    "prompts_not_null": lambda rows: say(rows, 0, None, 0),
    "prompts_unique": lambda rows: rows[1].update(turns=rows[0]["turns"]),
    "rows_fit": lambda rows: put(rows, "tokens", 5000, share=0),
    "mostly_english": lambda rows: put(rows, "language", "ja", share=0.05),
    "splits_present": lambda rows: put(rows, "split", "holdout", only=is_("split", "test")),
    "train_share": lambda rows: put(rows, "split", "test", share=0.1, only=is_("split", "train")),
    "validation_share": lambda rows: put(rows, "split", "validation", only=is_("split", "test")),
    "test_share": lambda rows: put(rows, "split", "validation", share=0.5, only=is_("split", "test")),
    "groups_whole": lambda rows: join(rows, "group"),
    "clusters_whole": lambda rows: join(rows, "cluster"),
    "token_lengths_usual": lambda rows: put(rows, "tokens", 20, share=0.6),
    "answers_not_blank": lambda rows: say(rows[:1], -1, ""),
}
BROKEN: dict[str, dict[str, Callable[[list[Row]], None]]] = {
    "licences": {
        "prompt_lengths_usual": lambda rows: say(rows, 0, "x" * 2000, 0.6),
        "license_mostly_known": lambda rows: put(rows, "target.license", None, share=0.2),
        "licences_many": lambda rows: put(rows, "target.license", "mit", share=0.97),
        "categories_known": lambda rows: put(rows, "target.category", "Beerware", share=0),
        "categories_present": lambda rows: put(
            rows, "target.category", "Permissive", only=is_("category", "Free Restricted")
        ),
        "test_has_categories": lambda rows: put(rows, "target.category", "Permissive", only=is_("split", "test")),
        "kinds_present": lambda rows: put(rows, "target.kind", "notice", only=is_("kind", "intro")),
        "test_has_kinds": lambda rows: put(rows, "target.kind", "notice", only=is_("split", "test")),
        "copyleft_present": lambda rows: put(rows, "target.copyleft", "none", only=is_("copyleft", "weak")),
        "labels_stable": lambda rows: put(rows, "label", "mit", share=0.5),
        "languages_stable": lambda rows: put(rows, "language", "de", share=0.2),
        "words_stable": lambda rows: say(rows, 0, "Ganz andere Worte als zuvor.", share=0.5),
        "lengths_stable": lambda rows: say(rows, 0, "Short.", share=0.5),
    },
    "contracts": {
        "parties_known": lambda rows: put(rows, "target.parties", [], share=0.2),
        "titles_known": lambda rows: put(rows, "target.document_name", None, share=0.2),
        "agreement_dates_known": lambda rows: put(rows, "target.agreement_date", None, share=0.6),
        "agreement_dates_in_range": lambda rows: put(rows, "target.agreement_date", "1899-01-01", share=0.1),
        "laws_known": lambda rows: put(rows, "target.governing_law", None, share=0.6),
        "laws_various": lambda rows: put(rows, "target.governing_law", "Delaware"),
    },
    "guanaco": {
        "replies_distinct": lambda rows: rows[2].update(turns=rows[0]["turns"]),
        "several_turns": lambda rows: [each["turns"].__delitem__(slice(2, None)) for each in rows],  # type: ignore[dict-item]
        "languages_many": lambda rows: put(rows, "language", "en"),
        "languages_present": lambda rows: put(rows, "language", "und", only=lambda each: each["language"] == "es"),
    },
    "instructions": {"answers_various": lambda rows: say(rows, 1, "Sure!", 0.2)},
}
CASES = [(name, rule["meta"]["name"]) for name in GOOD for rule in contract_of(name).expectations]


def table(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=COLUMNS)


def as_published(rows: list[Row], folder: Path) -> Path:
    """A folder that holds rows as a version does."""
    folder.mkdir()
    for split in SPLITS:
        pq.write_table(table([each for each in rows if each["split"] == split]), folder / f"{split}.parquet")
    files = {path.name: file_digest(path) for path in folder.iterdir()}
    (folder / "manifest.json").write_text(json.dumps(sealed({"files": files})))
    return folder


@pytest.mark.parametrize("name", GOOD)
def test_a_good_set_meets_every_rule(name: str, tmp_path: Path) -> None:
    make, size, _ = GOOD[name]
    contract = contract_of(name)
    result = check_set([table([make(i) for i in range(size)])], contract, tmp_path)
    assert result.message() == f"All {len(contract.expectations)} expectations of the set contract hold."
    assert result.success
    assert result.evaluated == len(contract.expectations) > 10


@pytest.mark.parametrize(("name", "rule"), CASES)
def test_each_rule_fails_on_a_set_that_breaks_it(name: str, rule: str, tmp_path: Path) -> None:
    make, _, size = GOOD[name]
    contract = contract_of(name)
    alone = tuple(each for each in contract.expectations if each["meta"]["name"] == rule)
    contract = dataclasses.replace(contract, expectations=alone, columns=())
    rows = [make(i) for i in range(size)]
    before = as_published(rows, tmp_path / "before") if alone[0]["type"] == DRIFT else None
    docs = tmp_path / "docs"
    if rule not in ("enough_rows", "licences_many"):
        kept = check_set([table(rows)], contract, docs, before)
        assert not (*kept.failed, *kept.warned)
    (BROKEN[name] | SHARED)[rule](rows)
    result = check_set([table(rows)], contract, docs, before)
    (finding,) = (*result.failed, *result.warned)
    assert finding.name == rule
    assert finding.observed
    assert rule in result.message()


def test_flatten() -> None:
    talk = row(0, ["one", "two", "three", "four"], None, 9)
    ask = row(1, ["né?"], {"a": "x", "b": [1, "y"], "c": None, "d": 2.5}, 7) | {"group": "g0", "split": "test"}
    lone = row(2, ["?"], {"a": "z"}, 5) | {"group": None}
    flat = flatten([table([talk, ask, lone])]).to_pydict()
    assert flat["id"] == [talk["id"], ask["id"], lone["id"]]
    assert flat["prompt"] == ["one\n\ntwo\n\nthree", "né?", "?"]
    assert flat["answer"] == ["four", ask["target"], lone["target"]]
    assert flat["prompt_characters"] == [15, 3, 1]
    assert flat["roles"] == ["user assistant user assistant", "user", "user"]
    assert flat["turn_count"] == [4, 1, 1]
    assert (flat["is_train"], flat["is_validation"], flat["is_test"]) == ([1, 0, 1], [0, 0, 0], [0, 1, 0])
    assert flat["group_splits"] == [2, 2, 1]
    assert flat["cluster_splits"] == [1, 1, 1]
    assert flat["target.a"] == [None, "x", "z"]
    assert flat["target.b"] == [None, '[1,"y"]', None]
    assert flat["target.c"] == [None, None, None]
    assert flat["target.d"] == [None, 2.5, None]


def test_a_key_of_values_of_several_types_is_one_column() -> None:
    values = [True, {"n": 1}, "x", [2], 3, None, 2.5]
    rows = [row(number, ["?"], {"a": value, "n": 1 + number / 2}, 5) for number, value in enumerate(values)]
    flat = flatten([table(rows[:2]), table(rows[2:])])
    assert flat["target.a"].to_pylist() == ["true", '{"n":1}', "x", "[2]", "3", None, "2.5"]
    assert flat["target.n"].to_pylist() == [1, 1.5, 2, 2.5, 3, 3.5, 4]


@pytest.mark.parametrize("others", [[], [-1, 2], [0.5], [10**30]])
def test_whole_numbers_beyond_64_bits_are_judged_as_numbers(others: list[Any]) -> None:
    given = [2**63, *others]
    flat = flatten([table([row(number, ["Q"], {"n": value}, 1)]) for number, value in enumerate(given)])
    assert flat["target.n"].to_pylist() == [float(value) for value in given]


def test_the_empty_set_flattens_and_fails(tmp_path: Path) -> None:
    result = check_set([table([])], contract_of("guanaco"), tmp_path)
    assert "enough_rows" in [finding.name for finding in result.failed]


EVIL = "<script>alert('x')</script><img src=http://evil.example/p.gif onerror=alert(1)> $column {{ 7 * 7 }} | <!--"


def evil_set() -> pa.Table:
    """A small set that breaks many rules, full of markup."""
    rows = [licence(i) for i in range(300)]
    for each in rows[:2]:
        each.update(turns=[{"role": "user", "content": EVIL}], language=EVIL, tokens=99_999)
    put(rows, "target.category", EVIL, share=0)
    put(rows, "target.kind", EVIL, share=0.01)
    return table(rows)


def test_findings_name_the_rows_and_what_was_seen(tmp_path: Path) -> None:
    result = check_set([evil_set()], contract_of("licences"), tmp_path)
    found = {finding.name: finding for finding in result.failed}
    assert found["rows_fit"].column == "tokens"
    assert found["rows_fit"].unexpected_ids == (f"{0:032x}", f"{1:032x}")
    assert found["rows_fit"].observed == "2 of 300 rows break it, e.g. 99999"
    assert found["rows_fit"].expected == 'expect_column_values_to_be_between {"max_value":1024,"min_value":100}'
    assert found["enough_rows"].observed == "300"
    assert found["kinds_present"].observed == f"none missing; besides: {EVIL[:60]}…"
    assert "train_share" not in found
    assert not result.success
    lines = result.message().splitlines()
    assert lines[0] == f"{len(found)} of {result.evaluated} expectations of the set contract fail:"
    assert [line.split()[0].rstrip(":") for line in lines[1:]] == list(found)
    summary = result.summary().content()
    assert summary["failed"] == list(found)
    assert json.loads(json.dumps(summary)) == summary


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, set[str]] = {}
        self.ids: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_data_docs_load_nothing_and_escape_everything(tmp_path: Path) -> None:
    check_set([evil_set()], contract_of("licences"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "base", "form"})
    assert not [name for name in page.attributes if name.startswith("on") or name in ("src", "srcset", "action")]
    assert all(link.startswith("#") for link in page.attributes["href"])
    assert not re.search(r"url\(|@import", text)
    assert any("script-src" in value or "default-src 'none'" in value for value in page.attributes["content"])
    assert len(page.ids) == len(set(page.ids))
    assert EVIL in page.words  # shown as text, and whole
    for rule in contract_of("licences").expectations:
        assert rule["meta"]["name"] in page.ids
        assert rule["meta"]["description"] in page.words


IMPORTED = """
import sys, threading
from curate.publish.gate import get_ready
assert "great_expectations" not in sys.modules
get_ready()
get_ready()
[thread] = [each for each in threading.enumerate() if each is not threading.main_thread()]
thread.join()
assert "great_expectations" in sys.modules
"""
"""Great Expectations is imported by a thread, and once."""


def test_data_docs_are_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    """One that gets the gate ready first, as a run does."""
    check_set([evil_set()], contract_of("licences"), tmp_path / "here")
    code = IMPORTED + (
        "from pathlib import Path\n"
        "from curate.publish.gate import check_set\n"
        "from tests.curate.publish.test_gate import contract_of, evil_set\n"
        f"check_set([evil_set()], contract_of('licences'), Path({str(tmp_path / 'there')!r}))\n"
    )
    environment = os.environ | {"PYTHONHASHSEED": "4", "TZ": "Asia/Tokyo"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True, timeout=120
    )
    assert (done.stdout, done.stderr) == (b"", b"")  # and neither bars nor warnings
    assert (tmp_path / "here/index.html").read_bytes() == (tmp_path / "there/index.html").read_bytes()


def with_rule(rule_type: str, kwargs: dict[str, Any]) -> Contract:
    rule = {"type": rule_type, "kwargs": kwargs, "meta": {"name": "odd", "dimension": "", "description": ""}}
    return dataclasses.replace(contract_of("guanaco"), expectations=(rule,))


@pytest.mark.parametrize("asked", ["match", "not_match"])
def test_patterns_match_in_linear_time(tmp_path: Path, asked: str) -> None:
    """Python's `re` would need 2 ** 2000 steps to see that this one does not match, and pandas would ask it."""
    row = guanaco(0)
    row["turns"][0]["content"] = "é" + "a" * 2000 + "!\n"
    kwargs = {"column": "prompt", "regex": r"^(\pL+\s?)+$"}
    result = check_set([table([row])], with_rule(f"expect_column_values_to_{asked}_regex", kwargs), tmp_path)
    assert result.success == (asked == "not_match")


def test_a_rule_that_cannot_be_evaluated_fails_and_says_why(tmp_path: Path) -> None:
    contract = with_rule("expect_column_mean_to_be_between", {"column": "target.price", "min_value": 0})
    [finding] = check_set([table([guanaco(0)])], contract, tmp_path).failed
    assert 'The column "target.price" in BatchData does not exist' in finding.observed


def test_great_expectations_is_given_what_rules_are_about_as_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = flatten([table([guanaco(number) for number in range(40)])], [])
    assert {*flat["prompt"].to_pylist()} == {""}, "only whether there is one"
    assert flat["prompt_characters"].to_pylist() != [0] * 40
    rules = [
        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}},
        {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "tokens", "row_condition": 'split=="test"'},
        },
    ]
    asked = _asked(flat, rules)
    assert asked.column_names == ["id", "split", "tokens", "row"]
    assert asked["id"].to_pylist() == asked["row"].to_pylist() == [*range(40)]
    twice = pa.concat_tables([flat, flat.slice(3, 1)])
    assert _asked(twice, rules)["id"].to_pylist() == twice["id"].to_pylist(), "then they are shown"
    shown = [*rules, {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "id", "regex": "^0"}}]
    assert _asked(flat, shown)["id"].to_pylist() == flat["id"].to_pylist()
    which = {"type": "expect_table_columns_to_match_set", "kwargs": {"column_set": ["id"]}}
    assert _asked(flat, [*rules, which]).column_names == [*flat.column_names, "row"]


def test_what_is_said_of_texts_is_asked_of_the_texts(tmp_path: Path) -> None:
    contract = contract_of("guanaco")
    required = (ColumnRule("prompt", "required", True),)
    assert _texts(dataclasses.replace(contract, expectations=(), columns=required)) == set()
    longest = (ColumnRule("prompt", "maxLength", 9),)
    assert _texts(dataclasses.replace(contract, expectations=(), columns=longest)) == {"prompt"}
    matching = with_rule("expect_column_values_to_match_regex", {"column": "answer", "regex": "x"})
    assert "answer" in _texts(matching)


def test_its_library_is_imported_while_rows_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def asked(*_: Any) -> gate.GateResult:
        told.append("asked")
        return gate.GateResult(())

    monkeypatch.setattr(gate, "get_ready", lambda: told.append("ready"))
    monkeypatch.setattr(gate, "check_set", asked)
    project = Project(tmp_path)
    project.add("rows.jsonl", make_rows(60))
    project.curate()
    assert told[0] == "ready"
    assert told.count("asked") == 1
    told.clear()
    project.curate()
    assert told == [], "of a run that has nothing to publish it would take seconds"
