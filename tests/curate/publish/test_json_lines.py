"""JSON lines made of Arrow's buffers: held to orjson's, byte for byte."""

from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.publish.json_lines import json_lines
from curate.record import SCHEMA, dicts
from tests.records import record, table_of

TEXT = st.text(st.sampled_from('ab"\\\b\t\n\f\r\x00\x1f\x7f/é€😀\u2028'), max_size=6)
ANY = st.none() | TEXT
TURN = pa.struct([("role", pa.string()), ('con"tent', pa.large_string()), ("trained", pa.bool_())])
KINDS: dict[str, tuple[pa.DataType, Any]] = {
    "text": (pa.string(), ANY),
    "long": (pa.large_string(), ANY),
    "whole": (pa.int64(), st.none() | st.integers(-(2**63), 2**63 - 1)),
    "byte": (pa.uint8(), st.none() | st.integers(0, 255)),
    "real": (pa.float64(), st.none() | st.floats()),
    "is": (pa.bool_(), st.none() | st.booleans()),
    "turns": (
        pa.list_(TURN),
        st.none()
        | st.lists(
            st.none() | st.fixed_dictionaries({"role": ANY, 'con"tent': ANY, "trained": st.none() | st.booleans()}),
            max_size=3,
        ),
    ),
    "lists": (
        pa.large_list(pa.list_(pa.string())),
        st.none() | st.lists(st.none() | st.lists(ANY, max_size=2), max_size=2),
    ),
    "meta": (pa.map_(pa.string(), pa.string()), st.lists(st.tuples(TEXT, ANY), max_size=3)),
    "some": (
        pa.map_(pa.string(), pa.string()),
        st.none() | st.dictionaries(TEXT, ANY, max_size=3).map(lambda found: [*found.items()]),
    ),
    "by": (pa.map_(pa.string(), pa.list_(pa.int32())), st.lists(st.tuples(TEXT, st.just([1, None])), max_size=2)),
    "nothing": (pa.null(), st.none()),
    "none": (pa.struct([]), st.none() | st.just({})),
    "kind": (pa.dictionary(pa.int32(), pa.string()), ANY),
}  # fmt: skip


@st.composite
def tables(draw: Any) -> pa.Table:
    names = draw(st.lists(st.sampled_from([*KINDS]), min_size=1, unique=True))
    rows = draw(st.integers(1, 6))
    columns = {
        name: pa.array([draw(KINDS[name][1]) for _ in range(rows)], KINDS[name][0])  # each column a chunk of its own
        for name in names
    }
    begin = draw(st.integers(0, rows - 1))
    return pa.table(columns).slice(begin, draw(st.integers(1, rows)))


def as_orjson(table: pa.Table) -> bytes:
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in dicts(table))


@given(tables())
def test_the_bytes_are_those_of_orjson(table: pa.Table) -> None:
    assert json_lines(table).to_pybytes() == as_orjson(table)


def test_every_character_is_as_orjson_has_it() -> None:
    whole = "".join(chr(point) for point in range(0x11000) if not 0xD800 <= point < 0xE000)
    table = pa.table({"text": [*whole[:300], whole]})
    assert json_lines(table).to_pybytes() == as_orjson(table)


def test_records_are_as_they_were_written() -> None:
    table = table_of([record('a\n"b"', id="1", meta={"k": "v", "n": ""}), record("", id="2"), record("é", id="3")])
    lines = b"".join(orjson.dumps(row) + b"\n" for row in dicts(table))
    assert json_lines(table).to_pybytes() == lines
    assert [json_lines(table.slice(at, 1)).to_pybytes() for at in range(3)] == lines.splitlines(keepends=True)
    assert json_lines(SCHEMA.empty_table()).to_pybytes() == b""


def test_what_orjson_cannot_write_is_an_error() -> None:
    with pytest.raises(TypeError):
        json_lines(pa.table({"bytes": [b"x"]}))
