"""The record's vectorised columns against what plain Python makes of the same rows."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from curate.record import (
    SCHEMA,
    answer_is_last_turn,
    answer_text,
    content_id,
    dicts,
    map_contents,
    prompt_text,
    roles_text,
    rows_of_texts,
    texts_of,
)
from tests.records import RECORDS, layouts, record, table_of, turn


def answer_at(row: dict[str, Any]) -> int | None:
    """Which turn is the answer."""
    if row["target"] is not None or not row["turns"] or row["turns"][-1]["role"] != "assistant":
        return None
    answers = [at for at, each in enumerate(row["turns"]) if each["role"] == "assistant" and each["trained"] is None]
    return answers[-1] if answers else None


def prompt(row: dict[str, Any]) -> str:
    return "\n\n".join(turn["content"] for turn in row["turns"][: answer_at(row)])


def answer_of(row: dict[str, Any]) -> str:
    at = answer_at(row)
    return row["target"] or "" if at is None else row["turns"][at]["content"]


@given(RECORDS)
def test_columns_are_what_python_makes_of_each_row(rows: list[dict[str, Any]]) -> None:
    for table in layouts(rows):
        assert prompt_text(table).to_pylist() == [prompt(row) for row in rows]
        assert answer_text(table).to_pylist() == [answer_of(row) for row in rows]
        assert answer_is_last_turn(table).to_pylist() == [answer_at(row) is not None for row in rows]
        assert roles_text(table).to_pylist() == [" ".join(turn["role"] for turn in row["turns"]) for row in rows]


@given(RECORDS)
def test_map_contents_changes_what_is_said_and_thought_and_nothing_else(rows: list[dict[str, Any]]) -> None:
    def louder(text: str | None) -> str | None:
        return None if text is None else text + "!"

    changed = [
        row
        | {"reasoning": louder(row["reasoning"])}
        | {"turns": [each | {key: louder(each[key]) for key in ("content", "reasoning")} for each in row["turns"]]}
        for row in rows
    ]
    for table in layouts(rows):
        mapped = map_contents(table, lambda texts: pc.binary_join_element_wise(texts, "!", ""))
        assert mapped.schema == SCHEMA
        assert mapped.equals(table_of(changed))


@given(RECORDS)
def test_texts_are_found_with_their_rows(rows: list[dict[str, Any]]) -> None:
    wanted = [(each["content"], at) for at, row in enumerate(rows) for each in row["turns"]]
    wanted += [(each["reasoning"], at) for at, row in enumerate(rows) for each in row["turns"]]
    wanted += [(row["reasoning"], at) for at, row in enumerate(rows)]
    for table in layouts(rows):
        found = zip(texts_of(table).to_pylist(), rows_of_texts(table).tolist(), strict=True)
        assert list(found) == [pair for pair in wanted if pair[0] is not None]


@given(RECORDS, st.data())
def test_any_slice_gives_the_same(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(rows)))
    part = table_of(rows).slice(begin)
    assert prompt_text(part).to_pylist() == [prompt(row) for row in rows[begin:]]
    assert roles_text(part).to_pylist() == [" ".join(turn["role"] for turn in row["turns"]) for row in rows[begin:]]


@given(rows=RECORDS, data=st.data())
def test_dicts_are_the_rows_however_they_lie_in_memory(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    table = table_of(rows)
    begin = data.draw(st.integers(0, len(rows)))
    for each in (table, table.slice(begin), pa.concat_tables([table.slice(begin), table]), unknown(table)):
        assert dicts(each) == each.to_pylist(maps_as_pydicts="strict")


def unknown(table: pa.Table) -> pa.Table:
    """With no row's `meta` known."""
    return table.set_column(
        table.schema.get_field_index("meta"), "meta", pa.nulls(table.num_rows, SCHEMA.field("meta").type)
    )


def test_an_answer_is_the_target_or_the_assistants_last_turn() -> None:
    rows = [
        record("q", ("assistant", "a")),
        record("q", ("assistant", "a"), target='{"x": 1}'),
        record("q", ("assistant", "a"), "and?"),
        record("q", target=""),
    ]
    table = table_of(rows)
    assert answer_text(table).to_pylist() == ["a", '{"x": 1}', "", ""]
    assert prompt_text(table).to_pylist() == ["q", "q\n\na", "q\n\na\n\nand?", "q"]


def test_an_answer_that_is_not_trained_is_not_the_answer_and_what_is_thought_is_no_part_of_it() -> None:
    wrong = turn("assistant", "wrong", trained=False)
    rows = [
        record("q", turn("assistant", "right", "thought"), "and?", wrong),
        record("q", wrong, "no?", ("assistant", "right")),
        record("q", wrong),
        record("q", turn("assistant", "b", "thought"), target="{}", reasoning="t"),
    ]
    table = table_of(rows)
    assert answer_text(table).to_pylist() == ["right", "right", "", "{}"]
    assert prompt_text(table).to_pylist() == ["q", "q\n\nwrong\n\nno?", "q\n\nwrong", "q\n\nb"]
    assert answer_is_last_turn(table).to_pylist() == [True, True, False, False]


def test_an_id_is_of_roles_contents_and_target_alone() -> None:
    turns = [{"role": "user", "content": "q"}]
    assert content_id(turns, None) == xxhash.xxh3_128_hexdigest(b'[[["user","q"]],null]')
    assert content_id(turns, None) == "bf8c298254fddbb8e95af768e8b9f3fa"
    others = [
        content_id(turns, "null"),
        content_id(turns, ""),
        content_id([{"role": "system", "content": "q"}], None),
        content_id([*turns, {"role": "user", "content": ""}], None),
        content_id([{"content": "q ", "role": "user"}], None),
    ]
    assert len({content_id(turns, None), *others}) == 6
    assert content_id([{"content": "q", "role": "user"}], None) == content_id(turns, None)


def test_what_is_thought_and_what_is_not_trained_count_only_where_they_are() -> None:
    said = {"role": "assistant", "content": "a"}
    same = [said, turn("assistant", "a"), said | {"trained": True}]
    assert {content_id([each], None) for each in same} == {content_id([said], None)}
    others = [said | {"reasoning": "r"}, said | {"trained": False}, said | {"reasoning": "r", "trained": False}]
    ids = [content_id([each], None) for each in [said, *others, said | {"reasoning": ""}]]
    ids += [content_id([said], None, "r"), content_id([said], "{}"), content_id([said], "{}", "r")]
    assert len(set(ids)) == len(ids)
    assert ids[1] == xxhash.xxh3_128_hexdigest(b'[[["assistant","a","r"]],null]')
    assert ids[2] == xxhash.xxh3_128_hexdigest(b'[[["assistant","a",null,false]],null]')
    assert ids[-1] == xxhash.xxh3_128_hexdigest(b'[[["assistant","a"]],"{}","r"]')


def test_roles_of_a_null_role_are_null() -> None:
    turns = pa.array([[{"role": None, "content": "x"}], None], SCHEMA.field("turns").type)
    assert roles_text(pa.table({"turns": turns})).to_pylist() == [None, ""]


@pytest.mark.parametrize("column", [prompt_text, answer_text, roles_text])
def test_no_rows_give_no_values(column: Any) -> None:
    for table in (table_of([]), SCHEMA.empty_table(), pa.Table.from_batches([], SCHEMA)):
        assert column(table).to_pylist() == []
