"""Parquet and Arrow: values, repeated columns, and what Python has no value for."""

import io
import json
from datetime import date
from decimal import Decimal

import pandas as pd
import pyarrow as pa

from curate.read.raw import Unread
from tests.curate.read.made import Written, parquet_of


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
    far = pa.array([0, 10**18, 1], pa.int64()).cast(pa.timestamp("us"))
    spoilt = pa.StringArray.from_buffers(3, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffc"))
    for column in (far, spoilt):
        rows = written("f.parquet", parquet_of(pa.table({"a": column})))
        assert [isinstance(row, Unread) for row in rows] == [False, True, False]


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
