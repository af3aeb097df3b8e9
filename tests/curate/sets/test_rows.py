"""Rows of many tables: held to `pa.Table.take` over one table of them all."""

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.record import QUARANTINE_SCHEMA
from curate.sets import rows as module
from curate.sets.rows import Rows, in_order

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
