"""What a drop is to the versions before it: each row's lot by its content, however the producer writes files."""

import json
import random
from pathlib import Path
from typing import Any, Literal

import pytest

from curate.publish.enough import EmptyError
from curate.publish.summary import curation_tables
from curate.record import SPLITS
from tests.curate.test_unharmed import lighten
from tests.sets import Run, curator, questions, require_sound, rows_of, split_by_prompt

Files = dict[str, list[dict[str, Any]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    lighten(monkeypatch)
    return curator(tmp_path)


WAYS: dict[str, Files] = {
    "another file": {"a.jsonl": questions(30), "b.jsonl": questions(40)[30:]},
    "appended to the file": {"a.jsonl": questions(40)},
    "put before": {"a.jsonl": questions(40)[::-1]},
    "renamed, and another": {"c.jsonl": questions(30), "b.jsonl": questions(40)[30:]},
    "divided anew": {"1.jsonl": questions(17), "2.jsonl": questions(40)[17:]},
}


OTHERS = ("appended to the file", "put before", "renamed, and another")


@pytest.mark.parametrize("way", [pytest.param(way, marks=[pytest.mark.slow] * (way in OTHERS)) for way in WAYS])
def test_how_the_producer_writes_files_does_not_matter(run: Run, way: str) -> None:
    first = run({"a.jsonl": questions(30)})
    second = run(WAYS[way])
    assert (second.manifest.counts.kept, second.manifest.counts.quarantined) == (40, 0)
    assert {len(splits) for splits in split_by_prompt(first, second).values()} == {1}
    require_sound(second)
    delivered = run(WAYS[way], name="delivered", drop_is="delivery")
    assert delivered.manifest.counts.kept == 40
    run({"a.jsonl": questions(30)}, name="deliveries", drop_is="delivery")
    more = run(WAYS[way], name="deliveries", drop_is="delivery")
    assert (more.manifest.counts.kept, more.manifest.counts.quarantined) == (10, 30)
    assert {row["reason"] for row in rows_of(more, "quarantine")} == {"exact_duplicate"}
    require_sound(more)


@pytest.mark.parametrize("drop_is", ["appended", "delivery", "all"])
def test_a_drop_under_other_names_is_the_same_drop(run: Run, drop_is: str) -> None:
    first = run({"a.jsonl": questions(20), "b.jsonl": questions(30)[20:]}, drop_is=drop_is)
    other = run({"x.jsonl": questions(20), "b.jsonl": questions(30)[20:]}, drop_is=drop_is)
    assert other.folder == first.folder
    assert len(list(first.folder.parent.iterdir())) == 1


def test_names_that_rows_depend_on_make_another_drop(run: Run) -> None:
    record = {"turns": [{"role": "user", "content": "prompt ~ _file"}, {"role": "assistant", "content": "answer"}]}
    first = run({"a.jsonl": questions(20)}, record=record)
    other = run({"x.jsonl": questions(20)}, record=record)
    assert other.folder != first.folder
    assert "x.jsonl" in rows_of(other, "train")[0]["turns"][0]["content"]


def test_a_half_copied_drop_does_not_eat_the_whole_one(run: Run) -> None:
    half = run({"a.jsonl": questions(15)})
    whole = run({"a.jsonl": questions(30)})
    assert (half.manifest.counts.kept, whole.manifest.counts.kept) == (15, 30)


def test_deliveries_that_hold_the_same_rows_add_nothing(run: Run) -> None:
    first = run({"a.jsonl": questions(20)}, drop_is="delivery")
    with pytest.raises(EmptyError, match="0 of 12 rows would be left") as error:
        run({"b.jsonl": questions(12)}, drop_is="delivery")
    assert "drop_is" in error.value.remedy
    third = run({"b.jsonl": questions(12) + questions(25)[20:]}, drop_is="delivery")
    fourth = run({"c.jsonl": questions(26)}, drop_is="delivery")  # 12 rows of it stood in two versions
    assert (third.manifest.counts.kept, fourth.manifest.counts.kept) == (5, 1)
    named = [json.loads(row["evidence"])["version"] for row in rows_of(fourth, "quarantine")]
    assert [named.count(each.folder.name) for each in (first, third)] == [20, 5]


def test_rows_that_left_a_folder_that_grows_are_told(run: Run) -> None:
    run({"a.jsonl": questions(20), "b.jsonl": questions(30)[20:]})
    second = run({"a.jsonl": questions(20)})
    assert (second.manifest.counts.kept, second.manifest.counts.missing) == (20, 10)
    ((note,),) = curation_tables(second)[-1].rows
    assert note.startswith("10 rows that earlier versions published are missing from the drop")
    grown = run({"a.jsonl": questions(20), "b.jsonl": questions(40)[20:]})
    assert "missing" not in grown.manifest.content()["counts"]


def test_a_row_that_left_the_folder_stands_where_it_was_published(run: Run) -> None:
    """Of a folder that grows, what is near such a row goes for it; of all rows there are, it stays."""
    long = "Which of the many old stone bridges over the river was built by the monks before the great flood came"
    gone = {"prompt": f"{long}?", "answer": "The first."}
    near = {"prompt": f"{long} then?", "answer": "The first."}
    first = run({"a.jsonl": [*questions(10), gone]})
    second = run({"a.jsonl": [*questions(10), near]})
    (row,) = rows_of(second, "quarantine")
    assert (row["reason"], json.loads(row["evidence"])["version"]) == ("near_duplicate", first.folder.name)
    third = run({"a.jsonl": [*questions(10), near]}, drop_is="all")
    assert (third.manifest.counts.kept, third.manifest.counts.quarantined) == (11, 0)


Mode = Literal["appended", "delivery", "all"]


class Told:
    """By rows alone, what becomes of each: prompts here are alike or have nothing to do with each other."""

    def __init__(self) -> None:
        self.drops: list[list[tuple[str, str]]] = []
        self.versions: list[tuple[Mode, set[tuple[str, str]], set[tuple[str, str]]]] = []
        """Of each version its mode, the rows that it held to compare, and those of them that it published."""

    def kept(self, rows: list[tuple[str, str]], mode: Mode) -> set[tuple[str, str]]:
        own = set(rows) if mode != "delivery" else set()
        counting: set[tuple[str, str]] = set()
        standing: set[tuple[str, str]] = set()
        newer: set[tuple[str, str]] = set()
        for was, held, published in reversed(self.versions):
            if mode == "all":
                break
            counts = held - own if was == "delivery" else held - own - newer
            counting |= counts
            standing |= counts & published
            newer |= held if was != "delivery" else set()
            if was == "all":
                break
        answers: dict[str, set[str]] = {}
        for prompt, answer in counting | set(rows):
            answers.setdefault(prompt, set()).add(answer)
        kept = {row for row in rows if len(answers[row[0]]) == 1} - standing
        if kept:
            self.versions.append((mode, set(rows), kept))
        return kept


def edited(draw: random.Random, files: Files, number: int) -> Files:
    """A drop as its producer leaves it the next time."""
    files = {name: list(rows) for name, rows in files.items()}
    for _ in range(draw.randint(1, 3)):
        name = draw.choice(sorted(files))
        match draw.choice(["append", "add", "rename", "mend", "remove", "shuffle", "divide", "copy"]):
            case "append":
                files[name] += draw.sample(questions(40), 4)
            case "add":
                files[f"new{number}{len(files)}.jsonl"] = draw.sample(questions(40), 5)
            case "rename":
                files[f"renamed{number}{len(files)}.jsonl"] = files.pop(name)
            case "mend":
                at = draw.randrange(len(files[name]))
                files[name][at] = files[name][at] | {"answer": f"Mended {draw.randint(0, 1)}."}
            case "remove" if len(files) > 1:
                del files[name]
            case "shuffle":
                draw.shuffle(files[name])
            case "divide" if len(files[name]) > 1:
                files[name], files[f"part{number}{len(files)}.jsonl"] = files[name][::2], files[name][1::2]
            case "copy":
                files[f"copy{number}{len(files)}.jsonl"] = list(files[name])
    return files


@pytest.mark.parametrize(
    ("mode", "seed"),
    [("appended", 0), ("mixed", 0)]
    + [
        pytest.param(mode, seed, marks=pytest.mark.slow)
        for mode, seed in [
            ("delivery", 0),
            ("all", 0),
            *((each, 1) for each in ("appended", "delivery", "all", "mixed")),
        ]
    ],
)
def test_any_edits_give_what_the_rows_alone_say(run: Run, mode: str, seed: int) -> None:
    draw = random.Random(f"{mode} {seed}")
    told, versions = Told(), []
    files: Files = {"a.jsonl": questions(14)}
    for number in range(5):
        drop_is: Any = draw.choice(["appended", "delivery", "all"]) if mode == "mixed" else mode
        expected = told.kept([(row["prompt"], row["answer"]) for rows in files.values() for row in rows], drop_is)
        sections: Any = {"drop_is": drop_is, "split": {"train": 1.0, "validation": 0, "test": 0}}
        if not expected:
            with pytest.raises(EmptyError):
                run(files, **sections)
        elif (made := run(files, **sections)).folder not in [each.folder for each in versions]:
            versions.append(made)  # else the same drop once more
            rows = [row for split in SPLITS for row in rows_of(made, split)]
            assert {(row["turns"][0]["content"], row["turns"][1]["content"]) for row in rows} == expected
            assert len(rows) == len(expected)
            require_sound(made)
        files = edited(draw, files, number)
    assert {len(splits) for splits in split_by_prompt(*versions).values()} == {1}
