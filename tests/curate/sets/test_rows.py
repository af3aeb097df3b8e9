"""Rows of many tables: held to `pa.Table.take` over one table of them all."""

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.delta import read_table
from curate.record import QUARANTINE_SCHEMA
from curate.sets import rows as module
from curate.sets.rows import Rows, in_order, rows_of, spread
from curate.shards import cached_outcome
from curate.stage import Outcome
from tests.records import record, table_of

TEXT = st.none() | st.text(max_size=20)
TURNS = st.none() | st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": TEXT}), max_size=3)


@st.composite
def tables(draw: Any) -> tuple[pa.Table, list[pa.Table], np.ndarray]:
    """A table, the same cut into several, and some of its rows' numbers in any order."""
    rows = draw(st.lists(st.fixed_dictionaries({"turns": TURNS, "raw": TEXT, "target": TEXT}), min_size=1, max_size=12))
    whole = pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA)
    cuts = [0, *sorted(draw(st.lists(st.integers(0, len(rows)), max_size=3))), len(rows)]
    parts = [whole.slice(begin, end - begin) for begin, end in pairwise(cuts)]
    numbers = draw(st.permutations(range(len(rows))))[: draw(st.integers(0, len(rows)))]
    return whole, parts, np.array(numbers, np.int64)


@given(tables())
def test_rows_are_taken_in_any_order_from_any_tables(case: tuple[pa.Table, list[pa.Table], np.ndarray]) -> None:
    whole, parts, numbers = case
    assert Rows(parts).take(numbers).to_pylist() == whole.take(pa.array(numbers)).to_pylist()


@given(tables())
def test_tables_spread_over_the_disk_are_the_same_and_leave_nothing(
    case: tuple[pa.Table, list[pa.Table], np.ndarray],
) -> None:
    whole, parts, numbers = case
    with TemporaryDirectory() as folder:
        found = spread(iter([*parts, pa.concat_tables(parts)]), Path(folder))
        assert not list(Path(folder).iterdir())
    assert [table.to_pylist() for table in found] == [part.to_pylist() for part in [*parts, whole]]
    assert Rows(found[:-1]).take(numbers).to_pylist() == whole.take(pa.array(numbers)).to_pylist()


def test_of_shards_the_columns_are_read_that_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of([record(str(row), id=str(row)) for row in range(5)])
    parts = [table.slice(0, 2), table.slice(2, 0), table.slice(2)]
    nothing = QUARANTINE_SCHEMA.empty_table()
    shards = [
        cached_outcome(tmp_path, number, None, lambda _, part=part: Outcome(part, nothing))  # type: ignore[misc]
        for number, part in enumerate(parts)
    ]
    asked: list[list[str]] = []
    monkeypatch.setattr("curate.shards.read_table", lambda _, columns: asked.append(columns) or read_table(_, columns))
    rows = rows_of(shards, tmp_path)
    some = rows.select(["id"])
    assert asked == []
    assert [part.to_pylist() for part in some.tables] == [part.select(["id"]).to_pylist() for part in parts]
    assert some.take(np.array([4, 0])).to_pylist() == [{"id": "4"}, {"id": "0"}]
    assert asked == [["id"]] * 3, "once"
    assert rows.take(np.array([1])).equals(table.slice(1, 1))
    assert rows.begins.tolist() == [0, 2, 2, 5]
    for wanted in ([], [0], [1, 3], [2, 4]):
        some = rows.only(np.array(wanted, np.int64))
        assert some.take(np.arange(len(wanted))).to_pylist() == table.take(pa.array(wanted, pa.int64())).to_pylist()


@given(tables(), st.integers(1, 4), st.integers(1, 60))
def test_pieces_are_bounded_and_do_not_depend_on_the_tables(
    case: tuple[pa.Table, list[pa.Table], np.ndarray], most_rows: int, most_bytes: int
) -> None:
    whole, parts, numbers = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PIECE_ROWS", most_rows)
        patch.setattr(module, "PIECE_BYTES", most_bytes)
        pieces = [piece.to_pylist() for piece in Rows(parts).pieces(numbers)]
        assert pieces == [piece.to_pylist() for piece in Rows([whole]).pieces(numbers)]
    assert [row for piece in pieces for row in piece] == whole.take(pa.array(numbers)).to_pylist()
    for piece in pieces:
        sizes = [text_bytes(row) for row in piece]
        assert len(piece) <= most_rows
        assert sum(sizes[:-1]) < most_bytes
        assert piece is pieces[-1] or len(piece) == most_rows or sum(sizes) >= most_bytes


def text_bytes(row: dict[str, Any]) -> int:
    texts = [row["raw"], row["target"], *(turn["content"] for turn in row["turns"] or [])]
    return sum(len((text or "").encode()) for text in texts)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3))))
def test_order_is_that_of_all_columns(keys: list[tuple[str, int]]) -> None:
    columns = {"file": [file for file, _ in keys], "row": [row for _, row in keys]}
    schema = pa.schema([("file", pa.string()), ("row", pa.int64())])
    expected = sorted(range(len(keys)), key=lambda number: keys[number])
    assert in_order(pa.table(columns, schema=schema)).tolist() == expected
