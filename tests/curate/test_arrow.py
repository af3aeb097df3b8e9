"""pyarrow without copies and without pandas, in processes of their own where what is imported matters."""

import subprocess
import sys

import pyarrow as pa

from curate.arrow import whole

WITHOUT_PANDAS = """
import sys
import pyarrow as pa
from curate.arrow import do_without_pandas
do_without_pandas()
table = pa.table({"number": pa.array([1.0, None])})
assert "pandas" not in sys.modules
frame = table.to_pandas()
assert frame["number"].isna().tolist() == [False, True]
assert pa.array(frame["number"]).null_count == 1
assert pa.Table.from_pandas(frame).equals(table)
"""


def test_a_single_chunk_is_not_copied() -> None:
    column = pa.chunked_array([["one", "two"]])
    assert whole(column).buffers()[2].address == column.chunk(0).buffers()[2].address
    assert whole(pa.chunked_array([["one"], ["two"]])).to_pylist() == ["one", "two"]
    assert whole(pa.chunked_array([], pa.string())).to_pylist() == []


def test_pandas_is_imported_only_where_it_is_needed() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_PANDAS], check=True)
