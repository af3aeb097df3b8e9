"""Findings: each rule says its sentence where something stands out, and nothing where nothing does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curate.manifest import DatasetManifest
from curate.publish import findings as rules
from curate.publish.findings import MOST, RULES, Facts, Finding, Grade, findings
from tests.browser import UNPACKED, Browser
from tests.project import Project, make_rows

STAGES = ("read", "language", "pii", "ground", "fit", "duplicates", "split")


def stage(name: str, rows_in: int = 1000, **told: Any) -> dict[str, Any]:
    rejected = sum(told.get("reasons", {}).values())
    return {"name": name, "rows_in": rows_in, "kept": rows_in - rejected, "rejected": rejected, "reasons": {}} | told


def facts(*stages: dict[str, Any], **changed: Any) -> Facts:
    """A clean version of 1,000 rows of two labels, with some stages and parts of its manifest in place of others."""
    given = {each["name"]: each for each in stages}
    labels = ["a", "b"] * 400, ["a", "b"] * 50, ["a", "b"] * 50
    tables = {
        name: pa.table(
            {"label": of_split, "tokens": pa.array([100 + at % 9 for at in range(len(of_split))], pa.int32())}
        )
        for name, of_split in zip(("train", "validation", "test"), labels, strict=True)
    }
    counts = {"in": 1000, "kept": 1000, "quarantined": 0, "clusters": 1000, "conflicts": 0}
    manifest = {
        "name": "demo",
        "schema_version": 2,
        "version": "0" * 16,
        "files": {},
        "drop": {"sha256": "d", "files": 1, "bytes": 1},
        "recipe": {"fit": {"max_tokens": 1024}},
        "contract": {"name": "c", "version": "1", "sha256": "c"},
        "base": {"tokenizer_sha256": "t", "chat_template_sha256": "t"},
        "libraries": {},
        "stages": [given.get(name, stage(name)) for name in STAGES],
        "counts": counts | {"splits": {name: table.num_rows for name, table in tables.items()}},
        "gate": {"evaluated": 0, "failed": [], "rules": []},
    }
    for name in ("recipe", "counts", "gate"):
        manifest[name] |= changed.pop(name, {})
    manifest |= {name: changed.pop(name) for name in ("balance", "doubt") if name in changed}
    made = Facts(DatasetManifest.model_validate(manifest), tables, {})
    return replace(made, **changed)


def said(found: Facts) -> list[str]:
    return [each.text for each in findings(found)]


SHARES = 'expect_x {"max_value":0.82,"min_value":0.78}'


def languages(**rows: int) -> dict[str, Any]:
    return stage("split", distributions={"language": {"values": rows, "others": [0, 0]}})


def sources(**rows: int) -> dict[str, Any]:
    return stage("read", distributions={"source": {"values": rows, "others": [0, 0]}})


def rule(name: str, expected: str, observed: str, column: str | None = "c") -> dict[str, Any]:
    return {"name": name, "column": column, "success": True, "observed": observed, "expected": expected}


def split_of(labels: list[str | None], tokens: int = 104) -> pa.Table:
    return pa.table({"label": pa.array(labels, pa.string()), "tokens": pa.array([tokens] * len(labels), pa.int32())})


def doubt(doubted: int, rows: int = 1000) -> dict[str, Any]:
    left = {"labels": 0, "rows": 0, "named": {}}
    return {"of": "label", "rows": rows, "labels": 2, "doubted": doubted, "pairs": [["a", "b", doubted]], "left": left}


def test_a_clean_version_has_none() -> None:
    assert findings(facts()) == []


CASES: list[tuple[str, Facts, str, str, Grade]] = [
    ("warned", facts(stage("language", warnings=["Most are `und`."])),
     "`language` warns: Most are `und`.", "cleaning", Grade.GRAVE),
    ("lost", facts(stage("duplicates", reasons={"near_duplicate": 50})),
     "50 rows (5.0%) went to quarantine in `duplicates` as `near_duplicate`.",
     "duplicates-near_duplicate", Grade.LOOK),
    ("lost", facts(stage("read", reasons={"unreadable": 500})),
     "500 rows (50.0%) went to quarantine in `read` as `unreadable`.", "read-unreadable", Grade.GRAVE),
    ("too_long", facts(stage("fit", reasons={"too_many_tokens": 1})),
     "1 row (0.1%) is longer than 1,024 tokens and went to quarantine.", "fit-too_many_tokens", Grade.LOOK),
    ("too_long", facts(stage("fit", counters={"truncated_input": 60})),
     "60 rows (6.0%) are longer than 1,024 tokens and had the user's text cut.", "cleaning", Grade.DOUBTFUL),
    ("doubted", facts(doubt=doubt(49)), "49 rows (4.9%) of those judged most likely have another `label`: "
     "most often `a` where `b` is likelier (49).", "doubted", Grade.LOOK),
    ("doubted", facts(doubt=doubt(50)), "50 rows (5.0%) of those judged most likely have another `label`: "
     "most often `a` where `b` is likelier (50).", "doubted", Grade.DOUBTFUL),
    ("conflicting", facts(stage("duplicates", reasons={"conflict": 4}), counts={"conflicts": 2, "rows_in_conflict": 4}),
     "2 questions have more than one answer, in 4 rows; 4 of them went to quarantine.", "conflicts", Grade.LOOK),
    ("conflicting", facts(counts={"conflicts": 1, "rows_in_conflict": 2}),
     "1 question has more than one answer, in 2 rows; all of them are kept.", "conflicts", Grade.DOUBTFUL),
    ("unread", facts(stage("read", counters={"message_key_not_read.name": 70})),
     "70 rows were read with `name` in messages, which is not read.", "cleaning", Grade.DOUBTFUL),
    ("unread", facts(stage("read", counters={"encoding_guessed": 1, "messages": 1000})),
     "1 row was read whose encoding is a guess.", "cleaning", Grade.LOOK),
    ("small_splits", facts(counts={"splits": {"train": 800, "validation": 100, "test": 25}}),
     "Test has 25 rows: a share of them is uncertain by up to ±20 points.", "distributions", Grade.DOUBTFUL),
    ("personal_data", facts(stage("pii", counters={"email": 3, "phone": 1, "ip": 0, "in_keys": 0})),
     "Personal data was found and replaced: `email` in 3 rows, `phone` in 1 row.", "personal-data", Grade.LOOK),
    ("personal_data", facts(stage("pii", counters={"in_keys": 2})),
     "2 rows (0.2%) have personal data in a key of the JSON, which stays.", "cleaning", Grade.DOUBTFUL),
    ("ungrounded", facts(stage("ground", counters={"grounded.day": 90, "ungrounded.day": 10, "ungrounded.x": 0})),
     "10 of the 100 values of `day` (10.0%) are not in their prompts.", "grounding", Grade.LOOK),
    ("close_to_bound", facts(gate={"rules": [rule("shares", SHARES, "0.7805")]}),
     "The expectation `shares` of `c` holds by little: 0.7805, its bound is 0.78.", "gate", Grade.LOOK),
    ("close_to_bound", facts(gate={"rules": [rule("english", 'x {"mostly":0.9}', "999 of 10000 rows break it")]}),
     "The expectation `english` of `c` holds by little: 0.9001, its bound is 0.9.", "gate", Grade.LOOK),
    ("warnings_of_gate", facts(gate={"warned": ["even"], "rules": [rule("even", "x {}", "0.3") | {"success": False}]}),
     "The expectation `even` of `c` does not hold and only warns: 0.3.", "gate", Grade.DOUBTFUL),
    ("other_languages",
     facts(languages(en=700, und=290, de=7, fr=3)),
     "10 rows (1.0%) are in another language than `en`: `de` 7, `fr` 3.", "language", Grade.LOOK),
    ("duplicates_of_one_source",
     facts(sources(a=300, b=700), near_duplicates={"a": 30, "b": 10}),
     "75.0% of the near-duplicates come from `a`, which has 30.0% of the rows.",
     "duplicates-near_duplicate", Grade.LOOK),
    ("split_astray",
     facts(balance={"splits": {"train": {"rows": 700, "share": 0.7, "ratio": 0.8}}, "labels": [],
                    "deviation": {"in_all": 0.1, "by_label": 0.1, "sum": 0.2},
                    "least_possible": {"in_all": 0.1, "by_label": 0.1, "sum": 0.2}}),
     "The splits are not of the sizes asked for: train 70.0% (of 80.0%).", "clusters", Grade.DOUBTFUL),
    ("rose", facts(stage("duplicates", reasons={"conflict": 120}), parent=facts().manifest),
     "`conflict` took 12.0% of the rows, 0.0% in version `0000000000000000` before.", "parent", Grade.DOUBTFUL),
]  # fmt: skip


@pytest.mark.parametrize(("name", "found", "text", "evidence", "grade"), CASES, ids=[case[0] for case in CASES])
def test_what_each_rule_says(name: str, found: Facts, text: str, evidence: str, grade: Grade) -> None:
    [finding] = getattr(rules, name)(found)
    assert (finding.text, finding.evidence, finding.grade) == (text, evidence, grade)
    assert finding.mend.endswith(".")
    assert finding in findings(found)


def test_every_rule_has_a_case() -> None:
    elsewhere = {"lengths_differ", "labels_missing", "labels_uneven"}
    assert {each.__name__ for each in RULES} == {case[0] for case in CASES} | elsewhere


@pytest.mark.parametrize(
    ("found"),
    [
        facts(stage("duplicates", reasons={"near_duplicate": 49})),
        facts(counts={"splits": {"train": 800, "validation": 0, "test": 100}}),
        facts(gate={"rules": [rule("groups", 'expect_x_max {"max_value":1}', "1")]}),
        facts(gate={"rules": [rule("shares", SHARES, "0.8")]}),
        facts(gate={"rules": [rule("many", 'expect_unique_value_count_to_be {"min_value":800}', "801")]}),
        facts(gate={"rules": [rule("unique", "expect_x {}", "0 of 1000 rows break it")]}),
        facts(gate={"rules": [rule("set", 'expect_x {"value_set":["a"]}', "none missing; no other")]}),
        facts(languages(en=600, de=400)),
        facts(stage("pii", counters={"email": 0, "in_keys": 0})),
        facts(parent=facts().manifest),
    ],
)
def test_what_is_as_it_should_be_is_not_told(found: Facts) -> None:
    assert findings(found) == []


def test_a_shorter_test_split_is_told_with_its_z() -> None:
    """Train: 100 rows of 90 and 100 of 110, mean 100; test: 100 of 85 and 100 of 105, mean 95. The variances are
    100 * 200 / 199, so z = 5 / sqrt(2 * 100 / 199) = 4.99."""
    shares = {
        "train": pa.table({"label": ["a"] * 200, "tokens": pa.array([90, 110] * 100, pa.int32())}),
        "validation": pa.table({"label": ["a"] * 200, "tokens": pa.array([90, 110] * 100, pa.int32())}),
        "test": pa.table({"label": ["a"] * 200, "tokens": pa.array([85, 105] * 100, pa.int32())}),
    }
    [finding] = rules.lengths_differ(facts(splits=shares))
    assert finding.text == "Test is shorter than train: 95.0 tokens a row on average against 100.0, z = 5.0."
    assert finding.grade == Grade.LOOK
    shares["test"] = pa.table({"label": ["a"] * 200, "tokens": pa.array([110, 130] * 100, pa.int32())})
    [finding] = rules.lengths_differ(facts(splits=shares))
    assert finding.text.startswith("Test is longer than train: 120.0 tokens")
    assert finding.grade == Grade.DOUBTFUL


def test_labels_that_a_split_lacks() -> None:
    shares = {
        "train": split_of(["a", "b"] * 100 + ["c"] * 20 + ["d"] * 19),
        "validation": split_of(["a", "b", "c"]),
        "test": split_of(["a", "b", "e", None]),
    }
    found = sorted(rules.labels_missing(facts(splits=shares)), key=lambda each: -each.grade)
    assert [each.text for each in found] == [
        "Train has no row of `e`: test asks for what is never shown, in 1 row.",
        "Test has no row of `c`, which the set has 20 rows of and more.",
    ]
    assert [each.grade for each in found] == [Grade.GRAVE, Grade.DOUBTFUL]


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (["a"] * 50 + ["b"] * 50, None),
        (["a"] * 75 + ["b"] * 25, "Labels are uneven: `a` has 75.0% of the rows, `b` 25.0% (25 rows)."),
        (["a"] * 50 + ["b"] * 25 + ["c"] * 25, "Labels are uneven: `a` has 50.0% of the rows, `c` 25.0% (25 rows)."),
        (["a"] * 60 + ["b"] * 60 + ["c"] * 3, "Labels are uneven: `a` has 48.8% of the rows, `c` 2.4% (3 rows)."),
        (["a"] * 40 + ["b"] * 40 + ["c"] * 20, None),
        (["a"] * 40, None),
        ([None] * 40, None),
    ],
)
def test_uneven_labels(labels: list[str | None], text: str | None) -> None:
    given = facts(splits={"train": split_of(labels), "validation": split_of([]), "test": split_of([])})
    assert [each.text for each in rules.labels_uneven(given)] == ([text] if text else [])
    weighed = facts(splits=given.splits, recipe={"balance": {"weights": {"a": 2.0}}})
    assert list(rules.labels_uneven(weighed)) == []


def test_at_most_ten_are_told_the_gravest_first() -> None:
    reasons = {f"reason{at:02}": 50 + at for at in range(12)}
    found = findings(facts(stage("read", 10**3, reasons=reasons), stage("language", warnings=["Look."])))
    assert len(found) == MOST
    assert found[0].grade == Grade.GRAVE
    assert [each.share for each in found[1:]] == sorted((n / 1000 for n in reasons.values()), reverse=True)[:9]


def test_a_name_of_the_data_is_no_markup() -> None:
    found = facts(sources(**{"`<b>`": 1}), near_duplicates={"`<b>`": 30})
    [finding] = rules.duplicates_of_one_source(replace(found, near_duplicates={"`<i>`": 30}))
    assert "`’<i>’`" in finding.text


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = Project(tmp_path_factory.mktemp("project"))
    project.add("rows.jsonl", make_rows(150))
    return project.curate().folder


def test_each_leads_to_what_is_in_the_page(browser: Browser, version: Path) -> None:
    browser.open(version / "report.html")
    browser.run(UNPACKED)
    links = browser.run("[...document.querySelectorAll('.findings a')].map(each => each.getAttribute('href'))")
    assert len(links) > 3
    missing = "[...document.querySelectorAll('.findings a')].filter(each => !document.querySelector(each.hash)).length"
    assert browser.run(missing) == 0
    grades = browser.run("[...document.querySelectorAll('.findings li')].map(each => each.className)")
    assert grades == sorted(grades, key=["grave", "doubtful", "look"].index)
    assert browser.run("[...document.querySelectorAll('.findings .mend')].every(each => each.textContent.length > 10)")


def test_a_clean_set_says_so_in_a_sentence(version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from curate.publish import report

    for path in version.glob("*.parquet"):
        (tmp_path / path.name).symlink_to(path)
    nothing: list[Finding] = []
    monkeypatch.setattr(report, "findings", lambda _: nothing)
    report.write_report(tmp_path, DatasetManifest.read(version))
    assert "Nothing stands out in the" in (tmp_path / "report.html").read_text()
