"""Typed values: one rule, at any depth, in any slice; what was JSON before comes out as it was."""

import json
import subprocess
import sys
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.read.expressions import compile_expression
from curate.read.typed_values import Struct, column_values, nested

MOMENT = datetime(2024, 1, 2, 9, 30, tzinfo=UTC)


def far(kind: pa.TimestampType, more: int) -> pa.Array:
    """The beginning of the year 10000 and so many units more, and that of 1970."""
    units = {"s": 1, "ms": 10**3, "us": 10**6}[kind.unit]
    return pa.array([253_402_300_800 * units + more, 0], pa.int64()).cast(kind)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([Decimal("7"), None], pa.decimal128(10, 0)), [7, None]),
        (pa.array([Decimal("1.00"), Decimal("4.10")], pa.decimal128(10, 2)), [1.0, 4.1]),
        (pa.array([Decimal("123456789012345678901.12")], pa.decimal128(30, 2)), ["123456789012345678901.12"]),
        (pa.array([date(2024, 1, 2)]), ["2024-01-02"]),
        (pa.array([MOMENT], pa.timestamp("us", "UTC")), ["2024-01-02T09:30:00+00:00"]),
        (pa.array([MOMENT], pa.timestamp("s", "Europe/Oslo")), ["2024-01-02T10:30:00+01:00"]),
        (pa.array([datetime(2024, 1, 2)], pa.timestamp("ns")), ["2024-01-02T00:00:00"]),
        (pa.array([1], pa.int64()).cast(pa.timestamp("ns")), ["1970-01-01T00:00:00.000000001"]),
        (pa.array([2932897, 0, -719529, None, 2**31 - 1], pa.int32()).cast(pa.date32()),
         ["10000-01-01", "1970-01-01", "-0001-12-31", None, "2147483647"]),
        (far(pa.timestamp("us"), 5), ["10000-01-01T00:00:00.000005", "1970-01-01T00:00:00"]),
        (far(pa.timestamp("ms", "Asia/Kolkata"), 0), ["10000-01-01T05:30:00+05:30", "1970-01-01T05:30:00+05:30"]),
        (far(pa.timestamp("s", "UTC"), 0), ["10000-01-01T00:00:00+00:00", "1970-01-01T00:00:00+00:00"]),
        (pa.array([2**63 - 1], pa.int64()).cast(pa.timestamp("us")), ["9223372036854775807"]),
        (pa.array([time(9, 30)]), ["09:30:00"]),
        (pa.array([timedelta(days=1, hours=2, seconds=1.5), -timedelta(minutes=3)]), ["P1DT2H1.5S", "-PT3M"]),
        (pa.array([pa.MonthDayNano([1, 2, 3_500_000_000]), None]), ["P1M2DT3.5S", None]),
        (pa.array([b"caf\xc3\xa9", b"\xff", None]), ["café", b"\xff", None]),
        (pa.array([b"a"], pa.binary_view()), ["a"]),
        (pa.array([float("nan"), float("inf"), 1.5]), [None, float("inf"), 1.5]),
        (pa.array([12.34, 1e-7, 3, None, float("nan")], pa.float32()), [12.34, 1e-7, 3.0, None, None]),
        (pa.array([[("a", None)], None, []], pa.map_(pa.string(), pa.int64())), [{"a": None}, None, {}]),
        (pa.array([[(1, 2)]], pa.map_(pa.int64(), pa.int64())), [{"1": 2}]),
        (pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
        (pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"]), ["a", "a", "b"]),
        (pa.array([[1], None], pa.list_view(pa.int64())), [[1], None]),
        (pa.array([[1, None], None], pa.list_(pa.int64(), 2)), [[1, None], None]),
        (pa.array(['{"a": null}', None, '"x"'], pa.json_()), [{"a": None}, None, "x"]),
        (pa.array([uuid.UUID(int=1).bytes], pa.uuid()), ["00000000-0000-0000-0000-000000000001"]),
        (pa.array([{"a": 1}, {"b": 2}, None]), [{"a": 1}, {"b": 2}, None]),
        (pa.array([{}, None], pa.struct([])), [{}, None]),
    ],
)  # fmt: skip
def test_each_type_by_the_rule_and_in_any_slice(array: Any, expected: list[Any]) -> None:
    assert column_values(array) == expected
    lists = pa.ListArray.from_arrays([0, len(array)], array)
    assert column_values(lists) == [expected]
    for at in range(len(array)):
        assert column_values(array.slice(at, 1)) == expected[at : at + 1]


TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def _unpadded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unpadded(inner) for key, inner in value.items() if inner is not None}
    return [_unpadded(inner) for inner in value] if isinstance(value, list) else value


@given(st.lists(st.dictionaries(st.sampled_from("abc"), TREES, max_size=3), min_size=1, max_size=4))
def test_objects_that_arrow_has_padded_come_out_as_they_went_in(objects: list[dict[str, Any]]) -> None:
    try:
        array = pa.array(objects)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # one key with values of two types
        return
    if pa.types.is_struct(array.type):
        assert column_values(array) == _unpadded(objects)
        assert json.loads(json.dumps(column_values(array))) == _unpadded(objects)


def test_a_map_with_a_key_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="key twice"):
        column_values(pa.array([[("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64())))


def test_an_expression_may_ask_for_a_field_that_is_null() -> None:
    [row] = column_values(pa.array([{"a": {"x": 1, "y": None}}, {"a": None}]))[:1]
    assert compile_expression("[a.y, a.x, a]")(row) == [None, 1, {"x": 1}]
    assert isinstance(row["a"], Struct)
    with pytest.raises(Exception, match="no attribute 'z'"):
        compile_expression("a.z")(row)


def test_python_s_own_values() -> None:
    yaml = {"on": date(2024, 1, 2), "at": [MOMENT, float("nan")], "n": None}
    assert nested(yaml) == {"on": "2024-01-02", "at": ["2024-01-02T09:30:00+00:00", None], "n": None}


@given(st.timedeltas(timedelta(0), timedelta(days=400)))
def test_durations_are_what_pandas_reads(value: timedelta) -> None:
    assert pd.Timedelta(nested(value)).to_pytimedelta() == value


def test_nanoseconds_are_read_where_arrow_knows_no_pandas() -> None:
    """As in workers, which do without it."""
    code = """
from curate.arrow import do_without_pandas
do_without_pandas()
import pyarrow as pa
from curate.read.typed_values import column_values
for kind in (pa.timestamp("ns"), pa.timestamp("ns", "Europe/Paris"), pa.duration("ns"), pa.time64("ns")):
    print(column_values(pa.array([1, None, 1_700_000_000_123_456_789 % 86_400_000_000_000], pa.int64()).cast(kind)))
print(column_values(pa.array([{"at": -1}], pa.struct([("at", pa.timestamp("ns"))]))))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == [
        "['1970-01-01T00:00:00.000000001', None, '1970-01-01T22:13:20.123456789']",
        "['1970-01-01T01:00:00.000000001+01:00', None, '1970-01-01T23:13:20.123456789+01:00']",
        "['PT0S', None, 'PT22H13M20.123456S']",
        "['00:00:00', None, '22:13:20.123456']",
        "[{'at': '1969-12-31T23:59:59.999999999'}]",
    ]
