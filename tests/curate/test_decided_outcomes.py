"""What is told of decisions: of pairs what the comparison did with them, of rows of one id, and of divided ones."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curate.publish.version import Curated
from curate.record import SPLITS
from curate.rows.decisions import append
from curate.sets.decided_pairs import Alike
from tests.curate.test_decisions import BOOK, FIT, PLAIN, decide, decision, outcomes, rows_of
from tests.project import RECIPE, Project

NEAR = [{"text": f"{BOOK} {word}", "colour": "red", "count": 2} for word in ("there", "here", "twice")]
TORN = [{"text": "Which of both answers is it that you give", "colour": each, "count": 3} for each in ("red", "blue")]
KIND = RECIPE["record"] | {"label": "kind"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path, decisions="anna.jsonl", fit=FIT)
    made.add("rows.jsonl", PLAIN)
    (tmp_path / "anna.jsonl").touch()
    return made


def found_of(curated: Curated) -> dict[tuple[str, str], dict[str, Any]]:
    """Every row by its text and colour."""
    tables = [pq.read_table(curated.folder / f"{name}.parquet").to_pylist() for name in (*SPLITS, "quarantine")]
    return {(row["turns"][0]["content"], json.loads(row["target"])["colour"]): row for each in tables for row in each}


def test_of_a_pair_is_told_what_the_comparison_did_with_it(project: Project) -> None:
    wrong = {"text": "A colour that is none of those", "colour": "purple", "count": 1}
    project.add("more.jsonl", [*NEAR, *TORN, wrong])
    found = found_of(project.curate())
    near = sorted((found[each["text"], "red"] for each in NEAR), key=lambda row: row.get("reason") is not None)
    torn = [found[each["text"], each["colour"]] for each in TORN]
    plain = [found[each["text"], "red"] for each in PLAIN]
    purple = found[wrong["text"], "purple"]
    assert [row.get("reason") for row in near] == [None, "near_duplicate", "near_duplicate"]
    after = decide(
        project,
        decision(near[0], "same", near[1]["id"]),
        decision(near[1], "different", near[2]["id"]),
        decision(near[0], "different", near[2]["id"]),
        decision(torn[0], "different", torn[1]["id"]),
        decision(plain[0], "same", plain[1]["id"]),
        decision(plain[2], "different", plain[3]["id"]),
        decision(plain[4], "same", purple["id"]),
        decision(plain[5], "drop"),
        decision(plain[6], "same", plain[5]["id"]),
    )
    assert outcomes(after) == [
        ("same", "no_effect", None),
        ("different", "no_effect", None),
        ("different", "applied", None),
        ("different", "applied", None),
        ("same", "applied", None),
        ("different", "no_effect", None),
        ("same", "overruled", "validate/target_schema"),
        ("drop", "applied", None),
        ("same", "no_effect", "decisions/decided"),
    ]


def test_what_is_like_a_third_row_goes_all_the_same(project: Project) -> None:
    project.add("more.jsonl", NEAR)
    found = rows_of(project.curate())
    kept, *gone = sorted((found[each["text"]] for each in NEAR), key=lambda row: row.get("reason") is not None)
    apart = [decision(kept, "different", row["id"]) for row in gone]
    after = decide(project, *apart)
    assert Counter(outcomes(after)) == {
        ("different", "applied", None): 1,
        ("different", "overruled", "duplicates/near_duplicate"): 1,
    }, "the first of both stays now, and the other goes in favour of it"


@pytest.mark.parametrize(
    ("action", "seen", "without", "came"),
    [
        ("same", Alike(True, False, False, (None, None)), Alike(False, False, False, (None, None)), "applied"),
        ("same", Alike(True, True, False, ("conflict", None)), Alike(True, False, False, (None, None)), "applied"),
        (
            "same",
            Alike(True, False, False, ("decided_duplicate", None)),
            Alike(True, False, False, (None, None)),
            "applied",
        ),
        (
            *("same", Alike(True, False, False, ("decided_duplicate", None))),
            *(Alike(True, False, True, ("near_duplicate", None)), "no_effect"),
        ),
        ("different", Alike(True, False, False, (None, None)), Alike(True, False, True, (None, None)), "applied"),
        ("different", Alike(True, False, False, (None, None)), Alike(True, True, False, (None, None)), "applied"),
        ("different", Alike(True, False, True, (None, None)), Alike(True, False, True, (None, None)), "overruled"),
        ("different", Alike(False, False, False, (None, None)), Alike(False, False, False, (None, None)), "no_effect"),
    ],
)
def test_a_pair_is_held_against_what_would_be_without_any(action: str, seen: Alike, without: Alike, came: str) -> None:
    assert seen.came(action, without) == came


@pytest.fixture
def twice(tmp_path: Path) -> Project:
    """Each row is there twice, with two labels; the first stays."""
    made = Project(tmp_path, decisions="anna.jsonl", record=KIND, fit=FIT)
    made.add("a.jsonl", [row | {"kind": "first"} for row in PLAIN])
    made.add("b.jsonl", [row | {"kind": "second"} for row in PLAIN])
    (tmp_path / "anna.jsonl").touch()
    return made


def test_what_is_decided_of_an_id_holds_of_all_rows_of_it_and_is_told_of_the_one_that_stays(twice: Project) -> None:
    before = rows_of(twice.curate())
    rows = [row | {"label": "first"} for row in before.values()]
    assert Counter(pq.read_table(twice.curate().folder / "train.parquet")["label"].to_pylist()).keys() == {"first"}
    after = decide(
        twice,
        decision(rows[0], "label", "third"),
        decision(rows[1] | {"label": "second"}, "label", "third"),
        decision(rows[2], "label", "second"),
        decision(rows[3], "label", "first"),
        decision(rows[4], "target", {"colour": "blue", "count": 7}),
        decision(rows[5], "drop"),
        decision(rows[6] | {"label": "fourth"}, "drop"),
        decision(rows[7], "target", {"colour": "purple", "count": 7}),
    )
    assert outcomes(after) == [
        *[("label", "applied", None)] * 3,
        ("label", "no_effect", None),
        ("target", "applied", None),
        ("drop", "applied", None),
        ("drop", "stale", None),
        ("target", "overruled", "validate/target_schema"),
    ]
    published = [row for name in SPLITS for row in pq.read_table(after.folder / f"{name}.parquet").to_pylist()]
    labels = {row["id"]: row["label"] for row in published}
    assert [labels.get(row["id"]) for row in rows[:6]] == ["third", "third", "second", "first", "first", None]
    gone = Counter(row["id"] for row in pq.read_table(after.folder / "quarantine.parquet").to_pylist())
    assert [gone[row["id"]] for row in rows[:6]] == [1, 1, 1, 1, 1, 2]


def test_where_none_of_an_id_stays_it_is_told_of_the_row_that_came_farthest(twice: Project) -> None:
    twice.recipe_path.write_text(twice.recipe_path.read_text() + "balance: {cap: {first: 3}}\n")
    gone = pq.read_table(twice.curate().folder / "quarantine.parquet").to_pylist()
    first = next(row for row in gone if row["stage"] == "balance")
    assert [row["reason"] for row in gone if row["id"] == first["id"]].count("exact_duplicate") == 1
    after = decide(twice, decision(first, "target", {"colour": "green", "count": 1}))
    assert outcomes(after) == [("target", "overruled", f"balance/{first['reason']}")]


LONG = "Of 7 red boxes on the upper shelf nine hold small round balls that people painted by hand for a game"


def test_what_is_decided_of_a_divided_row_is_told_of_its_parts(tmp_path: Path) -> None:
    project = Project(
        tmp_path,
        decisions="anna.jsonl",
        fit=FIT | {"max_tokens": 240, "policy": "windows"},
        split={"train": 1, "validation": 0, "test": 0},
    )
    text = "\n\n".join(f"{LONG} {word}" for word in ("there", "here"))
    other = "\n\n".join(f"{word} 7 " + f"{word.lower()} " * 14 for word in ("Apples", "Cherries"))
    project.add("rows.jsonl", [{"text": each, "colour": "red", "count": 7} for each in (text, other)])
    (tmp_path / "anna.jsonl").touch()
    first = project.curate()
    parts = [
        row for name in (*SPLITS, "quarantine") for row in pq.read_table(first.folder / f"{name}.parquet").to_pylist()
    ]
    whole = {
        row["turns"][0]["content"].split()[0]: {"id": dict(map(tuple, _entries(row)))["part_of"], "label": "red"}
        for row in parts
    }
    assert sorted(row.get("reason") or "" for row in parts) == ["", "", "", "near_duplicate"]
    append(
        project.folder / "anna.jsonl",
        [
            decision(whole["Of"], "keep"),
            decision(whole["Of"], "label", "red"),
            decision(whole["Apples"], "label", "blue"),
            decision(whole["Apples"], "keep"),
            decision(whole["Apples"], "same", whole["Of"]["id"]),
            decision(whole["Apples"], "target", {"colour": "purple", "count": 7}),
        ],
    )
    assert outcomes(project.curate()) == [
        ("keep", "applied", "duplicates/near_duplicate, divided"),
        ("label", "no_effect", "divided"),
        ("label", "overruled", "validate/target_schema"),
        ("keep", "overruled", "validate/target_schema"),
        ("same", "overruled", "validate/target_schema"),
        ("target", "overruled", "validate/target_schema"),
    ]


def _entries(row: dict[str, Any]) -> list[Any]:
    """Of `meta`, which splits hold as lists of objects and the quarantine as a map."""
    return [tuple(each.values()) if isinstance(each, dict) else each for each in row["meta"]]
