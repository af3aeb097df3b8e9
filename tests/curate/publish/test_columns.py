"""What keywords say of columns: each by hand, and all that JSON Schema has by its validator as the oracle."""

from typing import Any

import jsonschema_rs
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.publish.columns import check_columns
from curate.set_rules import ColumnRule


def broken(column: pa.Array | list[Any], keyword: str, value: Any) -> list[int]:
    """The rows that break a rule, which its finding must name, count and fail by."""
    flat = pa.table({"id": [str(row) for row in range(len(column))], "x": column})
    [finding] = check_columns(flat, [ColumnRule("x", keyword, value)])
    rows = [int(each) for each in finding.unexpected_ids]
    assert finding.success == (not rows)
    assert finding.observed.startswith(f"{len(rows)} of {len(column)} rows break it")
    assert (finding.name, finding.column, finding.warning) == (f"x.{keyword}", "x", False)
    return rows


@pytest.mark.parametrize(
    ("column", "keyword", "value", "rows"),
    [
        (["a", None, ""], "required", True, [1]),
        (pa.nulls(2), "required", True, [0, 1]),
        (["a", "b", "a", None, None], "unique", True, [0, 2]),
        ([1, 2, 2], "unique", True, [1, 2]),
        (["1", None], "logicalType", "integer", [0]),
        ([1, None], "logicalType", "integer", []),
        ([1.0, 2.5, None], "logicalType", "integer", [1]),
        ([1, 2], "logicalType", "number", []),
        ([True], "logicalType", "integer", [0]),
        ([True, None], "logicalType", "boolean", []),
        (pa.array(["x"], pa.large_string()), "logicalType", "string", []),
        (pa.nulls(2), "logicalType", "string", []),
        (["é", "éé", None], "maxLength", 1, [1]),
        (["", "é"], "minLength", 1, [0]),
        (["2024-02-30", "2024-02-29", None], "format", "date", [0]),
        (["a1", "b", "é9"], "pattern", r"^\w\d$", [1]),
        ([0, 1, 2], "minimum", 1, [0]),
        ([0, 1, 2], "exclusiveMinimum", 1, [0, 1]),
        ([0.5, 1.5], "maximum", 1, [1]),
        ([0, 1, 2], "exclusiveMaximum", 1, [1, 2]),
        ([4, 6, -2, None], "multipleOf", 4, [1, 2]),
        ([1, 2], "maxLength", 0, []),  # of no text: the rule about its type tells
    ],
)
def test_by_hand(column: Any, keyword: str, value: Any, rows: list[int]) -> None:
    assert broken(column, keyword, value) == rows


def test_a_column_that_is_not_there_has_no_value() -> None:
    flat = pa.table({"id": ["a", "b"]})
    rules = [ColumnRule("target.x", "required", True), ColumnRule("target.x", "unique", True)]
    rules += [ColumnRule("target.x", "logicalType", "string"), ColumnRule("target.x", "pattern", "^a")]
    assert [finding.success for finding in check_columns(flat, rules)] == [False, True, True, True]
    assert all(finding.success for finding in check_columns(flat.slice(0, 0), rules))


TEXTS = st.lists(st.one_of(st.none(), st.text(max_size=4), st.dates().map(str), st.emails()), max_size=8)
NUMBERS = st.lists(st.one_of(st.none(), st.integers(-9, 9)), max_size=8)
OF_TEXTS = st.one_of(
    st.tuples(st.sampled_from(["minLength", "maxLength"]), st.integers(0, 4)),
    st.tuples(st.just("format"), st.sampled_from(["date", "email", "uuid"])),
)
OF_NUMBERS = st.one_of(
    st.tuples(
        st.sampled_from(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]),
        st.one_of(st.integers(-9, 9), st.floats(-9, 9)),
    ),
    st.tuples(st.just("multipleOf"), st.integers(1, 4)),
)


@given(st.one_of(st.tuples(TEXTS, OF_TEXTS), st.tuples(NUMBERS, OF_NUMBERS)))
def test_the_same_rows_break_it_as_a_validator_of_json_schema_finds(case: tuple[list[Any], tuple[str, Any]]) -> None:
    values, (keyword, bound) = case
    kind = pa.string() if keyword in ("minLength", "maxLength", "format") else pa.int64()
    validator = jsonschema_rs.validator_for({keyword: bound}, validate_formats=True)
    expected = [row for row, value in enumerate(values) if value is not None and not validator.is_valid(value)]
    assert broken(pa.array(values, kind), keyword, bound) == expected
