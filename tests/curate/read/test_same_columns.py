"""A drop whose columns have changed is refused, and the recipe may say that it is meant."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curate.read.mapping import RecordMapping
from curate.read.same_columns import ColumnsChangedError
from curate.store import Store
from tests.sets import Run, curator, questions, rows_of

READ: dict[str, Any] = {
    "turns": [{"role": "user", "content": "prompt"}, {"role": "assistant", "content": "answer"}],
    "label": "topic | default(none)",
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return curator(tmp_path)


def with_topic(rows: list[dict[str, Any]], name: str = "topic") -> list[dict[str, Any]]:
    return [row | {name: "a", "notes": "n"} for row in rows]


def renamed(rows: list[dict[str, Any]], old: str, new: str) -> list[dict[str, Any]]:
    return [{new if key == old else key: value for key, value in row.items()} for row in rows]


def test_a_version_tells_the_columns_of_its_files(run: Run) -> None:
    first = run({"a.jsonl": with_topic(questions(20)), "b.jsonl": questions(30)[20:]})
    known = pq.read_table(first.folder / "sources.parquet").to_pylist()
    assert [row["columns"] for row in known] == [["answer", "notes", "prompt", "topic"], ["answer", "prompt"]]
    assert run({"a.jsonl": with_topic(questions(20)), "b.jsonl": questions(30)[20:]}).folder == first.folder


@pytest.mark.parametrize("old", ["topic", "prompt"])
def test_a_column_that_is_read_and_was_renamed(run: Run, tmp_path: Path, old: str) -> None:
    """`topic` has a default: without the check every row would lose its label and nobody would know."""
    first = run({"a.jsonl": with_topic(questions(20))}, record=READ)
    grown = {"a.jsonl": with_topic(questions(20)), "b.jsonl": renamed(with_topic(questions(30)[20:]), old, "subject")}
    with pytest.raises(ColumnsChangedError) as error:
        run(grown, record=READ)
    assert f"b.jsonl lacks `{old}`; new in it: `subject`" in error.value.message
    assert f"since version {first.folder.name}" in error.value.message
    assert "`record`" in error.value.remedy
    refused = Store(tmp_path / "store").events()[-1]
    assert (refused["event"], refused["why"], refused["name"]) == ("refused", "columns", "set")
    assert run({"a.jsonl": with_topic(questions(20))}, record=READ).folder == first.folder
    meant = READ | {"label": "(subject if subject is defined else topic) | default(none)"}
    if old == "topic":
        second = run(grown, record=meant)
        assert {row["label"] for row in rows_of(second, "train")} == {"a"}


def test_what_nobody_reads_may_come_and_go(run: Run) -> None:
    run({"a.jsonl": with_topic(questions(20))}, record=READ)
    second = run({"a.jsonl": [row | {"topic": "b"} for row in questions(30)]}, record=READ)
    assert second.manifest.counts.kept == 30


def test_a_column_that_some_files_lacked_before(run: Run) -> None:
    run({"a.jsonl": with_topic(questions(20)), "b.jsonl": questions(25)[20:]}, record=READ)
    assert run({"c.jsonl": questions(30)}, record=READ).manifest.counts.kept == 30


def test_a_verdict_that_a_shape_obeyed(run: Run) -> None:
    graded = [row | {"is_correct": number % 4 > 0} for number, row in enumerate(questions(20))]
    assert run({"a.jsonl": graded}).manifest.counts.kept == 15
    with pytest.raises(ColumnsChangedError, match=r"b\.jsonl lacks `is_correct`"):
        run({"a.jsonl": graded, "b.jsonl": questions(24)[20:]})


@pytest.mark.parametrize(
    ("label", "is_read"),
    [
        ('"topic"', False),
        ('prompt | replace("topic", "")', False),
        ('{"topic": prompt} | tojson', False),
        ("prompt if prompt.topic is defined else prompt", False),
        ('_row["topic"] | default(none)', True),
        ('_row.get("topic")', True),
        ("_row.topic | default(none)", True),
        ('_row | pick("topic") | tojson', True),
        ('topic if topic is defined else ""', True),
    ],
)
def test_what_an_expression_reads_and_what_it_only_says(run: Run, label: str, is_read: bool) -> None:
    record = READ | {"label": label}
    run({"a.jsonl": with_topic(questions(20))}, record=record)
    grown = {"a.jsonl": with_topic(questions(20)), "b.jsonl": questions(30)[20:]}
    if is_read:
        with pytest.raises(ColumnsChangedError, match=r"b\.jsonl lacks `topic`"):
            run(grown, record=record)
    else:
        assert run(grown, record=record).manifest.counts.rows_in == 30


def test_the_names_of_files_count_where_an_expression_says_so() -> None:
    for label, reads in (("_file", True), ('"my_file"', False), ('"_file"', False)):
        assert RecordMapping(label=label, meta={"source_file": "prompt"}).reads_names is reads


def test_columns_that_only_keys_of_the_recipe_are_called_like(run: Run) -> None:
    keyed = READ | {"meta": {"of": "answer"}}
    unread = dict.fromkeys(["label", "content", "role", "user", "group", "meta", "of"], "x")
    run({"a.jsonl": [row | unread for row in with_topic(questions(20))]}, record=keyed)
    assert run({"b.jsonl": with_topic(questions(30))}, record=keyed).manifest.counts.rows_in == 30


def test_every_expression_of_a_recipe_is_looked_at() -> None:
    record = RecordMapping.model_validate(
        {
            "let": {"x": "a"},
            "underivable": [{"when": "b", "because": "c"}],
            "accept": "d",
            "turns": [{"role": "user", "content": "e"}],
            "target": {"y": "f"},
            "group": ["g", "h"],
            "label": "i",
            "meta": {"z": "j"},
        }
    )
    assert sorted(record.expressions()) == list("abdefghij")
    whole = RecordMapping.model_validate({"turns": "a", "target": "b", "group": "c"})
    assert sorted(whole.expressions()) == list("abc")
