"""Sizes of Arrow's values before they are decoded, held to the values themselves."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.read.arrow_sizes import message_sizes, value_sizes

TEXTS = pa.array(["a", "four", None, "", "é"])
NUMBERS = pa.array([1, None, 3, 4, 5], pa.int16())
PLACES = pa.array([4, 0, None, 1, 1], pa.int32())
OFFSETS = pa.array([0, 2, 2, 3, 5, 5], pa.int32())
ARRAYS = {
    "text": TEXTS,
    "views": TEXTS.cast(pa.string_view()),
    "binary": TEXTS.cast(pa.large_binary()),
    "numbers": NUMBERS,
    "booleans": pa.array([True, None, False, True, True]),
    "nulls": pa.nulls(5),
    "fixed": pa.array([b"abc", None, b"def", b"ghi", b"jkl"], pa.binary(3)),
    "dictionary": pa.DictionaryArray.from_arrays(PLACES, TEXTS),
    "dictionary of none": pa.DictionaryArray.from_arrays(pa.nulls(5, pa.int8()), TEXTS[:0]),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array([2, 3, 5], pa.int32()), TEXTS[:3]),
    "lists": pa.ListArray.from_arrays(OFFSETS, TEXTS),
    "lists of numbers": pa.LargeListArray.from_arrays(OFFSETS.cast(pa.int64()), NUMBERS),
    "lists of dictionaries": pa.ListArray.from_arrays(OFFSETS, pa.DictionaryArray.from_arrays(PLACES, TEXTS)),
    "lists of one size": pa.FixedSizeListArray.from_arrays(pa.concat_arrays([TEXTS, TEXTS]), 2),
    "views of lists": pa.ListViewArray.from_arrays(pa.array([0, 0, 4, 1, 2]), pa.array([5, 5, 1, 0, 2]), TEXTS),
    "structs": pa.StructArray.from_arrays([TEXTS, NUMBERS], ["a", "b"]),
    "maps": pa.MapArray.from_arrays(OFFSETS, pa.array(list("vwxyz")), TEXTS),
    "sparse union": pa.UnionArray.from_sparse(pa.array([0, 0, 0, 0, 0], pa.int8()), [TEXTS]),
    "dense union": pa.UnionArray.from_dense(
        pa.array([0, 1, 0, 0, 1], pa.int8()), pa.array([1, 0, 2, 0, 0], pa.int32()), [TEXTS, TEXTS[1:]]
    ),
}


def size(value: Any, width: int | None) -> int:
    """Bytes of a value: one, and those of what it holds; of a number `width`."""
    if isinstance(value, (list, tuple)):
        return 1 + sum(size(each, width) for each in value)
    if isinstance(value, dict):
        return 1 + size(value["a"], None) + size(value["b"], 2)
    return 1 + (width if width is not None else len(value.encode() if isinstance(value, str) else value or b""))


@pytest.mark.parametrize("name", ARRAYS)
@given(begin=st.integers(0, 5), count=st.integers(0, 5))
def test_sizes_are_those_of_the_values(name: str, begin: int, count: int) -> None:
    array = ARRAYS[name].slice(begin, count)
    width = {"numbers": 2, "lists of numbers": 2, "booleans": 1, "nulls": 0, "fixed": 3}.get(name)
    expected = [size(value, width) for value in array.to_pylist()]
    if name == "maps":  # whose pairs are none of Arrow's values
        expected = [value - len(pairs) for value, pairs in zip(expected, array.to_pylist(), strict=True)]
    if "union" in name:  # which is a value that holds one
        expected = [value + 1 for value in expected]
    assert value_sizes(array).tolist() == expected


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
@pytest.mark.parametrize("is_file", [True, False])
def test_messages_say_what_they_unpack_to(compression: str | None, is_file: bool) -> None:
    table = pa.table({"n": np.zeros(1000, np.int64), "d": pa.array(["text " * 100] * 1000).dictionary_encode()})
    buffer = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (pa.ipc.new_file if is_file else pa.ipc.new_stream)(buffer, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=400)
    found = sorted(message_sizes(buffer, is_file))
    assert [rows for rows, _ in found] == [0, 200, 400, 400]
    assert [unpacked >= 12 * rows for rows, unpacked in found] == [
        True,
        *[compression is not None] * 3,
    ]


@given(st.binary(max_size=200), st.booleans())
def test_what_is_no_message_has_no_size(content: bytes, is_file: bool) -> None:
    assert all(unpacked >= 0 for _, unpacked in message_sizes(io.BytesIO(content), is_file))


@pytest.mark.parametrize("length", [1 << 50, (1 << 63) - 1])
def test_a_place_that_no_file_can_have_ends_it_on_a_disk_as_in_memory(length: int, tmp_path: Path) -> None:
    table = pa.table({"n": np.zeros(1000, np.int64)})
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    # Of the only message with a body, 8,000 bytes long and told twice: the message's length and the buffer's.
    content = buffer.getvalue().replace(struct.pack("<q", 8000), struct.pack("<q", length))
    (tmp_path / "a.arrow").write_bytes(content)
    with (tmp_path / "a.arrow").open("rb") as on_disk:
        assert list(message_sizes(on_disk, False)) == list(message_sizes(io.BytesIO(content), False)) == [(1000, 0)]
