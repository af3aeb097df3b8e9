"""Cases of whole sets: nothing empty is published, signs are meaning, copies and splits keep their promises."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from curate.errors import AssayError
from curate.publish.enough import EmptyError
from curate.record import SPLITS
from tests.sets import Run, curator, questions, require_sound, rows_of, split_by_prompt


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return curator(tmp_path)


@pytest.fixture
def cases(shared_data: Path) -> Path:
    folder = shared_data.parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"the cases are not here: {folder} does not exist")
    return folder


def sections_of(recipe: Path) -> dict[str, Any]:
    """What of a case's recipe is its own."""
    raw = yaml.safe_load(recipe.read_text())
    return {key: raw[key] for key in ("sources", "record", "split", "duplicates") if raw.get(key)}


# An empty version


def test_case_07_one_prompt_in_all_rows(cases: Path, run: Run, tmp_path: Path) -> None:
    case = cases / "drops/07-empty-split-published"
    with pytest.raises(EmptyError, match="50 of 50 rows would be left, and none for validation and test") as error:
        run(case / "raw", **sections_of(case / "recipe.yaml"))
    assert "all rows have the same prompt" in error.value.message
    assert "system turn" in error.value.remedy
    assert "split: {train: 1, validation: 0, test: 0}" in error.value.remedy
    assert not list((tmp_path / "store/datasets").rglob("manifest.json"))


def test_case_17_three_rows(cases: Path, run: Run) -> None:
    case = cases / "17-no-validation-rows/23-train-three"
    assert run(case / "input", **sections_of(case / "recipe.yaml")).manifest.counts.splits == dict.fromkeys(SPLITS, 1)
    alone = run(case / "input", name="alone", **sections_of(case / "r2.yaml"))
    assert alone.manifest.counts.splits == {"train": 3, "validation": 0, "test": 0}
    require_sound(alone)


def test_a_run_that_keeps_no_row_names_the_reasons_and_the_mend(run: Run, tmp_path: Path) -> None:
    contradictions = [*questions(4), *questions(4, "No, {} and one.")]
    with pytest.raises(EmptyError, match="set: 0 of 9 rows would be left: nothing was published") as error:
        run({"a.jsonl": [*contradictions, {"prompt": "", "answer": "Nothing was asked."}]})
    assert "  8 conflict (duplicates), as a.jsonl, row 0: {" in error.value.message
    assert "  1 empty (quality), as a.jsonl, row 8: {" in error.value.message
    assert "keep_and_flag" in error.value.remedy
    assert not list((tmp_path / "store/datasets").rglob("manifest.json"))
    kept = tmp_path / "store/failed/set/quarantine.parquet"
    assert str(kept.parent) in error.value.message
    assert pq.read_table(kept).num_rows == 9


def test_fewer_rows_than_the_recipe_asks_for(run: Run) -> None:
    with pytest.raises(EmptyError, match=r"12 of 12 rows would be left, `min_rows` asks for 13") as error:
        run({"a.jsonl": questions(12)}, min_rows=13)
    assert error.value.remedy == "Add rows. To do with fewer, lower `min_rows`."
    assert run({"a.jsonl": questions(12)}, min_rows=12).manifest.counts.kept == 12


def test_too_few_rows_for_every_split(run: Run) -> None:
    with pytest.raises(EmptyError, match="too few for every split") as error:
        run({"a.jsonl": questions(2)})
    assert "To do without that split: `split: {train: 0.9" in error.value.remedy
    with pytest.raises(EmptyError, match=r"one group holds 100% of the rows") as error:
        run({"a.jsonl": [row | {"case": "7"} for row in questions(20)]}, record={"group": "case"})
    assert "record.group" in error.value.remedy
    with pytest.raises(EmptyError, match=r"one cluster holds 100% of the rows") as error:
        run({"a.jsonl": [{"system": row["answer"], "prompt": "Go.", "answer": row["prompt"]} for row in questions(9)]})
    assert "If what differs stands in the system turn, put it into the user's" in error.value.remedy


def test_a_split_that_the_rows_name_and_that_none_is_left_of(run: Run) -> None:
    named = {"record": {"meta": {"part": "part"}}, "split": {"named": "part"}}
    rows = [row | {"part": "train"} for row in questions(12)]
    assert run({"a.jsonl": rows}, **named).manifest.counts.splits == {"train": 12, "validation": 0, "test": 0}
    broken = {"prompt": "", "answer": "Nothing was asked.", "part": "test"}
    with pytest.raises(EmptyError, match="none for test") as error:
        run({"a.jsonl": [*rows, broken]}, name="other", **named)
    assert "right column" in error.value.remedy


def test_a_later_drop_may_leave_a_split_as_it_is(run: Run) -> None:
    run({"a.jsonl": questions(40)})
    later = run({"b.jsonl": [{"prompt": "What colour is the sky at night, mostly?", "answer": "Black."}]})
    assert later.manifest.counts.kept == 1
    with pytest.raises(EmptyError, match="0 of 3 rows") as error:
        run({"c.jsonl": questions(3)}, drop_is="delivery")
    assert "nothing new" in error.value.remedy


# Signs


def test_case_10_rows_that_differ_in_a_sign(cases: Path, run: Run) -> None:
    counts = run(cases / "10-signs-are-meaning/04b-signs-json/input").manifest.counts
    assert (counts.rows_in, counts.quarantined) == (83, 0)


def test_signs_of_code_units_and_sets_are_kept_apart(run: Run) -> None:
    prompts = [
        *(f"Is a {sign} b true for all whole numbers a and b?" for sign in ("==", "!=", "<=", ">=", "<", ">")),
        *(f"What does `x{sign};` do to x in this old language?" for sign in ("++", "--", "+=1", "-=1")),
        *(f"Write a short program in {name} that prints the date." for name in ("C", "C++", "C#")),
        *(f"Water is at {warm} in this glass, is it ice?" for warm in ("5°", "-5°", "5%", "5")),
        *(f"Name the elements of A {sign} B for these two sets." for sign in ("∪", "∩", "∖")),
    ]
    rows = [{"prompt": prompt, "answer": "It depends."} for prompt in prompts]
    assert run({"a.jsonl": rows}).manifest.counts.kept == len(prompts)
    same = [
        {"prompt": f"He said {quoted} - and left the well-known inn!", "answer": "Yes."} for quoted in ("“no”", '"no"')
    ]
    assert run({"a.jsonl": [*rows, *same]}, name="prose").manifest.counts.quarantined == 1


# Copies in several splits, and what goes in favour of what


@pytest.mark.parametrize("names", [("a_train.jsonl", "b_test.jsonl"), ("b_train.jsonl", "a_test.jsonl")])
def test_case_06_the_test_copy_stays_whatever_the_files_are_called(
    cases: Path, run: Run, names: tuple[str, str]
) -> None:
    case = cases / "drops/06-named-test-row-removed"
    given = {"train": case / "raw/a_train.jsonl", "test": case / "raw/b_test.jsonl"}
    files = {
        name: [json.loads(line) for line in given[split].read_text().splitlines()]
        for name, split in zip(names, ("train", "test"), strict=True)
    }
    curated = run(files, **sections_of(case / "recipe.yaml"))
    assert len(rows_of(curated, "test")) == 2
    (gone,) = rows_of(curated, "quarantine")
    assert (gone["source"]["file"], gone["reason"]) == (names[0], "exact_duplicate")
    assert json.loads(gone["evidence"])["file"] == names[1]
    require_sound(curated)


def test_a_near_copy_in_train_goes_in_favour_of_test_and_of_validation(run: Run) -> None:
    long = "the quick brown fox jumps over the lazy dog while seven wizards watch it from the old stone bridge"
    rows = questions(12)
    files = {
        "a_train.jsonl": [*rows, {"prompt": long + " at noon today", "answer": "yes"}],
        "b_validation.jsonl": [{"prompt": long + " at", "answer": "yes"}, {"prompt": "What is a fox?", "answer": "A."}],
        "c_test.jsonl": [{"prompt": long, "answer": "yes"}, {"prompt": "Who is a wizard?", "answer": "He."}],
    }
    meta = {"split": '_file.split(".")[0][2:]'}
    curated = run(files, record={"meta": meta}, split={"named": "split"})
    assert curated.manifest.counts.splits == {"train": 12, "validation": 1, "test": 2}
    assert {json.loads(row["evidence"])["file"] for row in rows_of(curated, "quarantine")} == {"c_test.jsonl"}
    require_sound(curated)


def test_case_11_no_row_goes_in_favour_of_one_that_bridges_splits(cases: Path, run: Run) -> None:
    case = cases / "drops/11-duplicates-of-a-bridging-row-lost"
    curated = run(case / "raw", **sections_of(case / "recipe.yaml"))
    gone = {row["source"]["row"]: row for row in rows_of(curated, "quarantine")}
    assert {row: each["reason"] for row, each in gone.items()} == {0: "near_duplicate", 1: "bridges_splits"}
    assert json.loads(gone[0]["evidence"])["file"] == "validation.jsonl"
    require_sound(curated)


def test_rows_of_a_later_drop_do_not_go_in_favour_of_one_that_bridges_splits(run: Run) -> None:
    rows = [row | {"case": str(number)} for number, row in enumerate(questions(40))]
    first = run({"a.jsonl": rows}, record={"group": "case"})
    where = {row["group"]: split for split in SPLITS for row in rows_of(first, split)}
    train, test = (next(group for group, split in where.items() if split == name) for name in ("train", "test"))
    text = "An entirely new question of many words that nobody has asked before, about the weather of {} and its causes"
    asked = [text.format("March"), text.format("March") + " really", text.format("March") + " really so"]
    cases = [train, train, test]  # the longest row is tied to test, the others to train
    new = [{"prompt": prompt, "answer": "Rain.", "case": case} for prompt, case in zip(asked, cases, strict=True)]
    second = run({"b.jsonl": new}, record={"group": "case"})
    reasons = {row["source"]["row"]: row["reason"] for row in rows_of(second, "quarantine")}
    assert reasons == {0: "near_duplicate", 2: "bridges_splits"}
    assert second.manifest.counts.splits["train"] == 1
    require_sound(second)


@pytest.mark.parametrize("scope", ["answer", "both"])
def test_five_planted_pairs_of_answers_are_found(run: Run, scope: str) -> None:
    long = "A long answer about {} that goes on for quite a number of words before it comes to its end"
    rows = [row | {"answer": long.format(row["prompt"])} for row in questions(30)]
    planted = [row | {"answer": row["answer"] + " at last"} for row in rows[:5]]
    if scope == "answer":
        planted = [row | {"prompt": f"Tell me, number {n}!"} for n, row in enumerate(planted)]
    settings = {"scope": scope, "conflicts": "keep_and_flag"}
    curated = run({"a.jsonl": [*rows, *planted]}, duplicates=settings)
    gone = [row["reason"] for row in rows_of(curated, "quarantine")]
    assert gone == ["near_duplicate"] * 5
    require_sound(curated)


def test_an_answer_scope_that_asks_for_equal_answers_is_an_error(run: Run) -> None:
    with pytest.raises(AssayError, match="scope answer with same_target would remove equal answers only"):
        run({"a.jsonl": questions(3)}, duplicates={"scope": "answer", "same_target": True})


# A file that grew, or was mended


def test_case_16_a_drop_in_place_of_the_one_before(cases: Path, run: Run) -> None:
    from curate.publish.summary import curation_tables

    case = cases / "drops/16-file-that-grew"
    rows = [json.loads(line) for line in (case / "raw/a.jsonl").read_text().splitlines()]
    grown = [*rows, *questions(6)]
    mended = [row | {"answer": row["answer"].upper()} for row in grown]
    sections = sections_of(case / "recipe.yaml")
    first = run({"a.jsonl": rows}, **sections)
    second = run({"a.jsonl": grown}, **sections)
    assert (first.manifest.counts.kept, second.manifest.counts.kept) == (100, 106)
    assert [curation_tables(each)[-1].key for each in (first, second)] == ["stages", "stages"]
    with pytest.raises(EmptyError, match="0 of 106 rows would be left") as error:
        run({"a.jsonl": mended}, **sections)
    assert "drop_is: all" in error.value.remedy
    third = run({"a.jsonl": mended}, **sections, drop_is="all")
    assert (third.manifest.counts.kept, third.manifest.counts.conflicts) == (106, 0)
    assert {len(splits) for splits in split_by_prompt(first, second, third).values()} == {1}
    require_sound(third)
    # What comes after is compared with the version that stands, not with those that it stands in place of.
    again = [row | {"answer": row["answer"].upper()} for row in rows[:10]]
    new = {"prompt": "Which question is the very last one here?", "answer": "This."}
    last = run({"a.jsonl": [*again, new]}, **sections, drop_is="delivery")
    assert (last.manifest.counts.kept, last.manifest.counts.conflicts) == (1, 0)
    assert {json.loads(row["evidence"])["version"] for row in rows_of(last, "quarantine")} == {third.folder.name}
    assert run({"a.jsonl": mended}, **sections, drop_is="all").folder == third.folder, "the same bytes"


@pytest.mark.parametrize(("drop_is", "kept", "conflicts"), [("appended", 3, 6), ("delivery", 3, 6), ("all", 9, 0)])
def test_what_a_mended_file_with_new_rows_means_is_told(run: Run, drop_is: str, kept: int, conflicts: int) -> None:
    from curate.publish.summary import curation_tables

    run({"a.jsonl": questions(6)})
    mended = [*questions(6, "Now it is {}."), *questions(9)[6:]]
    second = run({"a.jsonl": mended}, drop_is=drop_is)
    assert (second.manifest.counts.kept, second.manifest.counts.conflicts) == (kept, conflicts)
    assert ("drop_is: all" in curation_tables(second)[-1].rows[0][0]) == bool(conflicts)


def test_every_mend_is_of_a_reason_that_there_is() -> None:
    from curate.publish.mends import MENDS
    from curate.read import ingest
    from curate.recipe import built_in_stages

    kinds = [kind for floor in built_in_stages() for kind in floor]
    assert {*MENDS} <= {*ingest.REASONS, *(reason for kind in kinds for reason in kind.reasons)}
