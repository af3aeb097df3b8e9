"""Formats: the same rows from every one."""

import pyarrow as pa
import pytest

from tests.curate.read.made import PACKERS, ROWS, Written, parquet_of


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("f.jsonl", b'{"a": "1", "b": "\xc3\xa9"}\r\n\n  \n{"a": "2", "b": ""}'),
        ("f.ndjson", b'\xef\xbb\xbf{"a": "1", "b": "\\u00e9"}\n{"a": "2", "b": ""}\n'),
        ("f.JSON", '[{"a": "1", "b": "é"}, {"a": "2", "b": ""}]'.encode()),
        ("f.csv", "a,b\n1,é\n\n2,\n".encode()),
        ("f.csv", '\ufeffa,b\r\n"1","é"\r\n"2",""'.encode()),
        ("f.csv", "a,b\r1,é\r2,\r".encode()),
        ("f.tsv", "a\tb\n1\té\n2\t\n".encode()),
        ("f.parquet", parquet_of(pa.table({"a": ["1", "2"], "b": ["é", ""]}))),
    ],
)
@pytest.mark.parametrize("packing", ["", *PACKERS])
def test_the_same_rows_from_every_format(written: Written, name: str, content: bytes, packing: str) -> None:
    pack = PACKERS.get(packing, bytes)
    assert written(name + packing, pack(content)) == ROWS


def test_files_without_rows(written: Written) -> None:
    assert written("f.jsonl", "\n \n") == []
    assert written("f.json", "[]") == []
    assert written("f.csv", "") == []
    assert written("f.csv", "a,b\n") == []
    assert written("f.parquet", parquet_of(pa.table({"a": pa.array([], pa.string())}))) == []
