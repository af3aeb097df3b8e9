"""Parquet and Arrow: values, repeated columns, and what Python has no value for."""

import io
import json
import tracemalloc
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.read import raw
from curate.read.raw import Files, Unread, find_files, read_rows
from tests.curate.read.made import Written, messages, parquet_of, parsed


def test_parquet_values(written: Written) -> None:
    row = {"t": date(2020, 1, 2), "d": Decimal("1.50"), "x": b"\xff", "l": [{"k": None}], "m": [("a", 1)], "n": None}
    types = {"m": pa.map_(pa.string(), pa.int64()), "n": pa.int64()}
    table = pa.table({name: pa.array([value], types.get(name)) for name, value in row.items()})
    read = {"t": "2020-01-02", "d": 1.5, "x": b"\xff", "l": [{}], "m": {"a": 1}, "n": None}
    assert written("f.parquet", parquet_of(table)) == [read]


def test_the_index_that_pandas_adds_is_no_data(written: Written) -> None:
    frame = pd.DataFrame({"a": [1, 2, 3]})
    buffer = io.BytesIO()
    frame[frame["a"] > 1].to_parquet(buffer)
    assert written("f.parquet", buffer.getvalue()) == [{"a": 2}, {"a": 3}]


def test_a_parquet_value_that_python_does_not_have(written: Written) -> None:
    far = pa.array([0, 2**63 - 1, 1], pa.int64()).cast(pa.duration("s"))
    spoilt = pa.StringArray.from_buffers(3, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffc"))
    for column in (far, spoilt):
        rows = written("f.parquet", parquet_of(pa.table({"a": column})))
        assert [isinstance(row, Unread) for row in rows] == [False, True, False]


@pytest.mark.parametrize("stated", [None, "latin-1"])
def test_bytes_are_text_in_the_encoding_that_is_stated(stated: str | None) -> None:
    table = pa.table({"a": ["é".encode(), b"\xe9"], "b": [[{"c": b"\xe9t\xe9"}], None]})
    other = b"\xe9" if stated is None else "é"
    nested = [{"c": b"\xe9t\xe9" if stated is None else "été"}]
    found = parsed(parquet_of(table), "parquet", encoding=stated)
    assert found == [{"a": "é", "b": nested}, {"a": other, "b": None}]


def test_repeated_columns_of_parquet(written: Written) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    assert written("f.parquet", parquet_of(table)) == [{"a": 1, "a.1": 2}]


def test_arrow_files_and_streams(written: Written) -> None:
    table = pa.table({"a": [1, 2, 3], "b": ["x", None, "é"]})
    for kind in (pa.ipc.new_file, pa.ipc.new_stream):
        buffer = io.BytesIO()
        with kind(buffer, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
        content = buffer.getvalue()
        assert written("f.arrow", content) == table.to_pylist()
        assert written("f.arrow.zst", pa.compress(content, "zstd", asbytes=True)) == table.to_pylist()
        assert isinstance(written("f.arrow", content[: len(content) // 2])[-1], Unread)


def test_classes_of_datasets_are_their_names(written: Written) -> None:
    kind = {"_type": "ClassLabel", "names": ["neg", "pos"]}
    features = {
        "label": kind,
        "tags": {"_type": "List", "feature": kind},
        "spans": [{"kind": kind, "n": {"_type": "Value", "dtype": "int64"}}],
        "one": {"feature": kind},
        "n": {"_type": "Value", "dtype": "int64"},
    }
    row = {"label": 1, "tags": [0, 1, None], "spans": [{"kind": 0, "n": 0}], "one": {"feature": 1}, "n": 1}
    table = pa.Table.from_pylist([row, row | {"label": -1}, row | {"label": 5}])
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    read = {"label": "pos", "tags": ["neg", "pos", None], "spans": [{"kind": "neg", "n": 0}], "one": {"feature": "pos"}}
    rows = [read | {"n": 1}, read | {"label": None, "n": 1}, read | {"label": 5, "n": 1}]
    assert written("f.parquet", parquet_of(table)) == rows
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    assert written("f.arrow", buffer.getvalue()) == rows


LONG = "x" * 4_000_000
ZEROS = pa.array(np.zeros(100_000, np.int32))
REPEATED = pa.DictionaryArray.from_arrays(ZEROS, pa.array([LONG]))
EACH = pa.array(np.arange(100_001, dtype=np.int32))


def packed_parquet(column: pa.Array, **options: Any) -> bytes:
    buffer = io.BytesIO()
    options = {"compression": "zstd", "store_schema": False} | options
    pq.write_table(pa.table({"a": column}), buffer, **options)
    return buffer.getvalue()


def packed_arrow(column: pa.Array, is_file: bool = True) -> bytes:
    buffer = io.BytesIO()
    table = pa.table({"a": column})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with (pa.ipc.new_file if is_file else pa.ipc.new_stream)(buffer, table.schema, options=options) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def views(count: int) -> pa.Array:
    """Texts that share one buffer."""
    words = np.zeros((count, 4), np.int32)
    words[:, 0], words[:, 1] = len(LONG), int.from_bytes(LONG[:4].encode(), "little")
    return pa.Array.from_buffers(
        pa.string_view(), count, [None, pa.py_buffer(words.tobytes()), pa.py_buffer(LONG.encode())]
    )


PARQUET_BOMBS = {
    "a text of a dictionary": lambda: packed_parquet(REPEATED),
    "that text in a dictionary of Arrow": lambda: packed_parquet(REPEATED, store_schema=True),
    "in a struct": lambda: packed_parquet(pa.StructArray.from_arrays([REPEATED], ["b"])),
    "in lists": lambda: packed_parquet(pa.ListArray.from_arrays(EACH, REPEATED)),
    "in lists, the first of them empty": lambda: packed_parquet(
        pa.ListArray.from_arrays(pa.concat_arrays([pa.array([0, 0], pa.int32()), EACH]), REPEATED)
    ),
    "in the list of one row": lambda: packed_parquet(pa.ListArray.from_arrays(EACH[::100_000], REPEATED)),
    "behind nulls": lambda: packed_parquet(pa.concat_arrays([pa.nulls(5000, REPEATED.type), REPEATED])),
    "a prefix": lambda: packed_parquet(
        pa.array([LONG] * 70), use_dictionary=False, column_encoding={"a": "DELTA_BYTE_ARRAY"}
    ),
    "binary of one size": lambda: packed_parquet(pa.array([LONG.encode()] * 70, pa.binary(len(LONG)))),
    "a hundred million rows": lambda: packed_parquet(pa.nulls(100_000_000)),
}
ARROW_BOMBS = {
    "a text of a dictionary": lambda: packed_arrow(REPEATED),
    "in a stream": lambda: packed_arrow(REPEATED, is_file=False),
    "a run": lambda: packed_arrow(pa.RunEndEncodedArray.from_arrays(pa.array([100_000]), pa.array([LONG]))),
    "a view": lambda: packed_arrow(views(100_000)),
    "lists that overlap": lambda: packed_arrow(
        pa.ListViewArray.from_arrays(
            ZEROS, pa.array(np.full(100_000, 10**5, np.int32)), pa.array(np.zeros(10**5, "i1"))
        )
    ),
    "a union": lambda: packed_arrow(
        pa.UnionArray.from_dense(ZEROS.cast(pa.int8()), ZEROS, [pa.array([LONG]), pa.array([1])])
    ),
    "nulls": lambda: packed_arrow(pa.nulls(100_000_000)),
    "nulls of a stream": lambda: packed_arrow(pa.nulls(100_000_000), is_file=False),
    "binary of no bytes": lambda: packed_arrow(
        pa.FixedSizeBinaryArray.from_buffers(pa.binary(0), 100_000_000, [None, pa.py_buffer(b"")])
    ),
    "structs of no fields": lambda: packed_arrow(pa.StructArray.from_buffers(pa.struct([]), 100_000_000, [None])),
    "zeros": lambda: packed_arrow(pa.array(np.zeros(200_000_000, np.int64))),
}
BOMBS = {("parquet", name): make for name, make in PARQUET_BOMBS.items()}
BOMBS |= {("arrow", name): make for name, make in ARROW_BOMBS.items()}


@pytest.mark.parametrize(("format", "name"), BOMBS)
def test_what_a_small_file_repeats_is_held_to_the_budget(
    format: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = BOMBS[format, name]()
    assert len(content) < 250_000
    monkeypatch.setattr(raw, "UNPACKED_BYTES", 1 << 28)
    default = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(default)
    pa.set_memory_pool(pool)
    try:
        *rows, last = parsed(content, format)
    finally:
        pa.set_memory_pool(default)
    assert isinstance(last, Unread)
    assert last.message.startswith("UnpackedSizeError: unpacks to more than 1 GiB and 100 times its size")
    assert all(isinstance(row, dict) for row in rows)
    told = sum(row != {"a": None} for row in rows)
    assert told * len(LONG) <= (1 << 28) + 100 * len(content)
    assert pool.max_memory() <= 600 << 20


def test_a_repeated_text_is_read_up_to_the_bound() -> None:
    content = packed_parquet(REPEATED)
    *rows, last = parsed(content, "parquet")
    assert len(content) < 1000
    assert len(rows) == 264  # of 4 MB each: the next eight would be more than a GiB
    assert isinstance(last, Unread)


def test_a_length_that_a_buffer_claims_is_not_taken_at_its_word() -> None:
    content = bytearray(packed_arrow(pa.array(["x" * 5000])))
    at = content.index(bytes.fromhex("28b52ffd")) - 8  # before the first frame of Zstandard
    content[at : at + 8] = (1 << 40).to_bytes(8, "little")
    [row] = parsed(bytes(content), "arrow")
    assert isinstance(row, Unread)
    assert "1,099,511,6" in row.message


BODY = (8008).to_bytes(8, "little")
"""The length of a message with 1001 numbers, as it stands in it."""


@pytest.mark.parametrize("place", ["metadata", "footer", "body"])
def test_a_length_beyond_the_end_of_a_file_takes_no_memory(tmp_path: Path, place: str) -> None:
    numbers = pa.record_batch({"a": pa.array(range(1001))})
    sink = io.BytesIO()
    with (pa.ipc.new_file if place == "footer" else pa.ipc.new_stream)(sink, numbers.schema) as writer:
        writer.write_batch(numbers)
    content = sink.getvalue()
    before, number = {"metadata": (4, 4), "footer": (len(content) - 10, 4), "body": (content.index(BODY), 8)}[place]
    content = content[:before] + (0x7FFFFFF0).to_bytes(number, "little") + content[before + number :]
    (tmp_path / "f.arrow").write_bytes(content)
    [file] = find_files(Files(files=["f.arrow"]), tmp_path, tmp_path)
    tracemalloc.start()
    try:
        [row] = read_rows(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(row, Unread)
    assert row.message.startswith(("ArrowInvalid: ", "OSError: "))
    assert peak < 16 << 20


def test_an_honest_file_of_many_short_rows_is_read_whole() -> None:
    label = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1_000_000, np.int32)), pa.array(["MIT"]))
    for format, content in (("parquet", packed_parquet(label)), ("arrow", packed_arrow(label))):
        assert len(content) < 10_000
        assert sum(row == {"a": "MIT"} for row in parsed(content, format)) == 1_000_000


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_a_row_longer_than_the_bound_is_set_aside_alone(format: str) -> None:
    long = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.int32()), pa.array(["x", "y" * (17 << 20)]))
    for column, size in (
        (long, (17 << 20) + 1),
        (pa.array([["x"], ["y" * (1 << 20)] * 17, ["x"]]), 17 * ((1 << 20) + 1) + 1),
        (
            pa.ListArray.from_arrays(pa.array([0, 1, 10**7, 10**7 + 1], pa.int32()), pa.nulls(10**7 + 1, pa.int8())),
            None,
        ),
    ):
        content = packed_parquet(column) if format == "parquet" else packed_arrow(column)
        rows = parsed(content, format)
        assert [isinstance(row, Unread) for row in rows] == [False, True, False]
        assert size is None or messages(rows) == [f"longer than 16 MiB: {size:,} bytes"]


def test_columns_are_bounded() -> None:
    names = [f"c{number}" for number in range(16_385)]
    table = pa.table({name: [1] for name in names})
    buffer = io.BytesIO()
    with pa.ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(table)
    for format, content in (("parquet", parquet_of(table)), ("arrow", buffer.getvalue())):
        assert messages(parsed(content, format)) == ["16,385 columns, more than 16,384"]
    [row] = parsed(parquet_of(table.select(names[1:])), "parquet")
    assert isinstance(row, dict)
    assert len(row) == 16_384


@pytest.mark.parametrize(("levels", "is_read"), [(60, True), (1000, False)])
def test_types_are_bounded_in_depth(levels: int, is_read: bool) -> None:
    kind = pa.string()
    for _ in range(levels):
        kind = pa.struct([("f", kind)])
    [row] = parsed(packed_parquet(pa.nulls(1, kind)), "parquet")
    assert isinstance(row, dict) == is_read
    assert is_read or "too deeply nested" in messages([row])[0]
    if is_read:  # Arrow does not write what it would not read
        assert parsed(packed_arrow(pa.nulls(1, kind)), "arrow") == [row]


def test_maps_of_a_long_batch_are_those_of_their_rows() -> None:
    rows = [[(f"k{at}", at)] for at in range(3000)]
    column = pa.array(rows, pa.map_(pa.string(), pa.int64()))
    assert parsed(packed_arrow(column), "arrow") == [{"a": dict(pairs)} for pairs in rows]
