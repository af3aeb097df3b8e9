"""The columns of a set, held to what the contract says of each by keywords; asked of Arrow, before anything else is."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.json_schema import validator_of
from curate.patterns import in_re2
from curate.publish.finding import Finding, some
from curate.set_rules import ColumnRule


def check_columns(flat: pa.Table, rules: Iterable[ColumnRule]) -> list[Finding]:
    """Hold columns to rules.

    Args:
        flat: as `curate.publish.flat.flatten` gives it. A column that it lacks has no value in any row.
        rules: of the contract, see `Contract.columns`.

    Returns:
        What was found of each rule, in order.
    """
    return [_finding(flat, rule) for rule in rules]


def _finding(flat: pa.Table, rule: ColumnRule) -> Finding:
    there = rule.column in flat.column_names
    column = flat[rule.column] if there else pa.chunked_array([pa.nulls(flat.num_rows)])
    bad = pc.fill_null(pa.chunked_array(_broken(column, rule)), False)
    count = pc.sum(bad).as_py() or 0
    observed = f"{count} of {flat.num_rows} rows break it"
    if count and rule.keyword == "logicalType":
        observed += f": they are {_kind(column.type)}"
    elif count and rule.keyword != "required":
        observed += f", e.g. {some(column.filter(bad).slice(0, 100).to_pylist())}"
    return Finding(
        name=rule.name,
        column=rule.column,
        success=not count,
        warning=False,
        observed=observed,
        expected=rule.expected,
        unexpected_ids=tuple(flat["id"].filter(bad).to_pylist()),
    )


def _broken(column: pa.ChunkedArray, rule: ColumnRule) -> pa.ChunkedArray | pa.Array:
    """Whether each row breaks a rule; null, where there is no value, breaks none but `required`."""
    value, keyword = rule.value, rule.keyword
    if keyword == "required":
        return pc.is_null(column)
    if keyword == "unique":
        counts = pc.value_counts(column.drop_null())
        twice = pc.struct_field(counts, "values").filter(pc.greater(pc.struct_field(counts, "counts"), 1))
        return pc.and_(pc.is_valid(column), pc.is_in(column, value_set=twice))
    if keyword == "logicalType":
        return pc.and_(pc.is_valid(column), _is_not(column, value))
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if text != (keyword in TEXTS):  # the rule about its type tells of it
        return pa.repeat(pa.scalar(None, pa.bool_()), len(column))
    if keyword == "pattern":
        return pc.invert(pc.match_substring_regex(column, in_re2(value)))
    if keyword == "format":
        validator = validator_of({"format": value})
        different = pc.unique(column.drop_null())
        right = pa.array([each for each in different.to_pylist() if validator.is_valid(each)], column.type)
        return pc.and_(pc.is_valid(column), pc.invert(pc.is_in(column, value_set=right)))
    if keyword == "multipleOf":
        quotient = pc.divide(pc.cast(column, pa.float64()), float(value))
        return pc.not_equal(quotient, pc.round(quotient))
    return COMPARED[keyword](pc.utf8_length(column) if text else column, pa.scalar(value))


TEXTS = ("minLength", "maxLength", "pattern", "format")
COMPARED = {
    "minLength": pc.less,
    "maxLength": pc.greater,
    "minimum": pc.less,
    "maximum": pc.greater,
    "exclusiveMinimum": pc.less_equal,
    "exclusiveMaximum": pc.greater_equal,
}
"""How a value that breaks a bound stands to it."""


def _is_not(column: pa.ChunkedArray, kind: str) -> pa.Array:
    """Whether each value is of another logical type; 2.0 is an integer, as in JSON Schema."""
    found = _kind(column.type)
    if kind == "integer" and found == "number":
        return pc.not_equal(column, pc.round(column))
    right = found == kind or (kind == "number" and found == "integer")
    return pa.array(np.full(len(column), not right))


def _kind(type_: pa.DataType) -> str:
    """The logical type of a column as it lies in Arrow."""
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return "string"
    if pa.types.is_boolean(type_):
        return "boolean"
    return "integer" if pa.types.is_integer(type_) else "number" if pa.types.is_floating(type_) else str(type_)
