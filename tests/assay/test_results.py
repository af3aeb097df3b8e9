"""Tables of a version as data sets."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from assay.results import read_dataset


def test_a_map_becomes_a_list_of_keys_and_values(tmp_path: Path) -> None:
    meta = pa.array([[("sku", "1"), ("page", None)], None, []], pa.map_(pa.string(), pa.string()))
    pq.write_table(pa.table({"id": ["a", "b", "c"], "meta": meta}), tmp_path / "rows.parquet")
    loaded = read_dataset(tmp_path / "rows.parquet")
    assert loaded["id"][:] == ["a", "b", "c"]
    assert loaded["meta"][:] == [[{"key": "sku", "value": "1"}, {"key": "page", "value": None}], None, []]


def test_a_table_without_rows_is_an_empty_data_set(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": pa.array([], pa.string())}), tmp_path / "rows.parquet")
    assert read_dataset(tmp_path / "rows.parquet").to_list() == []
