"""Which expectations a contract may name, those of Great Expectations and one of ours, and with which arguments.

An expectation's arguments are run, not only compared: `row_condition` is a pandas query, which calls whatever Python it
names; others hold SQL, open schemas, or look names up in modules. So a rule has one of the types below, with the
arguments of it that are listed here, each a plain value of the form that is listed too, and a row condition compares
columns with constants. Nothing else reaches the library.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import Any

import jsonschema_rs

from curate.patterns import compile_pattern

DRIFT = "assay_drift"
"""Our own expectation: how far a column is from what it was in the last version, see `curate.publish.drift`."""
MEASURES = {
    "psi": "population stability index",
    "ks": "Kolmogorov-Smirnov statistic",
    "cramers_v": "Cramér's V",
    "ks_p_value": "p-value of the two-sample Kolmogorov-Smirnov test",
    "chi2_p_value": "p-value of the chi-squared test",
}
"""What it measures."""
OF_NUMBERS = ("ks", "ks_p_value")
"""Measures that only numbers have."""
GIVEN = ("fit.max_tokens",)
"""Settings of the recipe that stand for a number where an argument is one: written there, and nowhere else again."""
SCALAR = {"type": ["string", "number", "boolean"]}
SCALARS = {"type": "array", "items": SCALAR, "minItems": 1}
NUMBER = {"type": ["number", "null"]}
NAMES = {"type": "array", "items": {"type": "string"}, "minItems": 1}
FLAG = {"type": "boolean"}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "column": {"type": "string"},
    "column_A": {"type": "string"},
    "column_B": {"type": "string"},
    "column_list": NAMES | {"minItems": 2},
    "column_set": NAMES,
    "column_index": {"type": "integer", "minimum": 0},
    "mostly": {"type": "number", "minimum": 0, "maximum": 1},
    "min_value": NUMBER,
    "max_value": NUMBER,
    "strict_min": FLAG,
    "strict_max": FLAG,
    "strictly": FLAG,
    "or_equal": FLAG,
    "ties_okay": FLAG,
    "exact_match": FLAG,
    "value": {"type": "integer", "minimum": 0},
    "measure": {"enum": list(MEASURES)},
    "value_set": SCALARS,
    "value_pairs_set": {"type": "array", "minItems": 1, "items": SCALARS | {"minItems": 2, "maxItems": 2}},
    "sum_total": {"type": "number"},
    "regex": {"type": "string"},
    "strftime_format": {"type": "string", "maxLength": 100},
    "ignore_row_if": {"enum": ["both_values_are_missing", "either_value_is_missing", "neither"]},
    "ignore_row_if of many": {"enum": ["all_values_are_missing", "any_value_is_missing", "never"]},
    "quantile_ranges": {
        "type": "object",
        "properties": {
            "quantiles": {"type": "array", "minItems": 1, "items": {"type": "number", "minimum": 0, "maximum": 1}},
            "value_ranges": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "array", "minItems": 2, "maxItems": 2, "items": NUMBER},
            },
        },
        "required": ["quantiles", "value_ranges"],
        "additionalProperties": False,
    },
    "row_condition": {"type": "string"},
    "condition_parser": {"const": "pandas"},
}
"""JSON Schema of an argument; `of many`, where the expectation is about a list of columns."""

COMPARISON = (
    r"""([a-z][a-z0-9_]*) *(?:==|!=|<=|>=|<|>) *("[^"\\`@\n]*"|'[^'\\`@\n]*'|-?[0-9]{1,15}(?:\.[0-9]{1,15})?)"""
)
CONDITION = re.compile(f"{COMPARISON}(?: and {COMPARISON})*")
"""`row_condition`: `split == "test"`, `tokens > 100 and language == "en"`."""

WHERE = ("row_condition?", "condition_parser?")
BETWEEN = ("min_value?", "max_value?", "strict_min?", "strict_max?")
EXPECTATIONS: dict[str, tuple[str, ...]] = {
    DRIFT: ("column", "measure", "min_value?", "max_value?"),
    "expect_column_distinct_values_to_be_in_set": ("column", "value_set", *WHERE),
    "expect_column_distinct_values_to_contain_set": ("column", "value_set", *WHERE),
    "expect_column_distinct_values_to_equal_set": ("column", "value_set", *WHERE),
    "expect_column_max_to_be_between": ("column", *BETWEEN, *WHERE),
    "expect_column_mean_to_be_between": ("column", *BETWEEN, *WHERE),
    "expect_column_median_to_be_between": ("column", *BETWEEN, *WHERE),
    "expect_column_min_to_be_between": ("column", *BETWEEN, *WHERE),
    "expect_column_most_common_value_to_be_in_set": ("column", "value_set", "ties_okay?", *WHERE),
    "expect_column_pair_values_a_to_be_greater_than_b": (
        "column_A",
        "column_B",
        "or_equal?",
        "ignore_row_if?",
        "mostly?",
        *WHERE,
    ),
    "expect_column_pair_values_to_be_equal": ("column_A", "column_B", "ignore_row_if?", "mostly?", *WHERE),
    "expect_column_pair_values_to_be_in_set": (
        "column_A",
        "column_B",
        "value_pairs_set",
        "ignore_row_if?",
        "mostly?",
        *WHERE,
    ),
    "expect_column_proportion_of_non_null_values_to_be_between": ("column", *BETWEEN, *WHERE),
    "expect_column_proportion_of_unique_values_to_be_between": ("column", *BETWEEN, *WHERE),
    "expect_column_quantile_values_to_be_between": ("column", "quantile_ranges", *WHERE),
    "expect_column_stdev_to_be_between": ("column", *BETWEEN, *WHERE),
    "expect_column_sum_to_be_between": ("column", *BETWEEN, *WHERE),
    "expect_column_to_exist": ("column", "column_index?"),
    "expect_column_unique_value_count_to_be_between": ("column", *BETWEEN, *WHERE),
    "expect_column_value_lengths_to_be_between": ("column", *BETWEEN, "mostly?", *WHERE),
    "expect_column_value_lengths_to_equal": ("column", "value", "mostly?", *WHERE),
    "expect_column_values_to_be_between": ("column", *BETWEEN, "mostly?", *WHERE),
    "expect_column_values_to_be_decreasing": ("column", "strictly?", "mostly?", *WHERE),
    "expect_column_values_to_be_in_set": ("column", "value_set", "mostly?", *WHERE),
    "expect_column_values_to_be_increasing": ("column", "strictly?", "mostly?", *WHERE),
    "expect_column_values_to_be_null": ("column", "mostly?", *WHERE),
    "expect_column_values_to_be_unique": ("column", "mostly?", *WHERE),
    "expect_column_values_to_match_regex": ("column", "regex", "mostly?", *WHERE),
    "expect_column_values_to_match_strftime_format": ("column", "strftime_format", "mostly?", *WHERE),
    "expect_column_values_to_not_be_in_set": ("column", "value_set", "mostly?", *WHERE),
    "expect_column_values_to_not_be_null": ("column", "mostly?", *WHERE),
    "expect_column_values_to_not_match_regex": ("column", "regex", "mostly?", *WHERE),
    "expect_compound_columns_to_be_unique": ("column_list", "ignore_row_if?", "mostly?", *WHERE),
    "expect_multicolumn_sum_to_equal": ("column_list", "sum_total", "ignore_row_if?", "mostly?", *WHERE),
    "expect_multicolumn_values_to_be_equal": ("column_list", "ignore_row_if?", "mostly?", *WHERE),
    "expect_select_column_values_to_be_unique_within_record": ("column_list", "ignore_row_if?", "mostly?", *WHERE),
    "expect_table_column_count_to_be_between": ("min_value?", "max_value?"),
    "expect_table_column_count_to_equal": ("value",),
    "expect_table_columns_to_match_ordered_list": ("column_list",),
    "expect_table_columns_to_match_set": ("column_set", "exact_match?"),
    "expect_table_row_count_to_be_between": (*BETWEEN, *WHERE),
    "expect_table_row_count_to_equal": ("value", *WHERE),
}
"""The expectations, each with its arguments; those with a question mark may be left out."""


def known_type(type_: Any) -> bool:
    """Whether there is an expectation that is called so, if it is a name at all."""
    return isinstance(type_, str) and type_ in EXPECTATIONS


def engine_of(implementation: Any) -> str:
    """Who evaluates a rule, as ODCS names it."""
    ours = isinstance(implementation, dict) and implementation.get("type") == DRIFT
    return "assay" if ours else "greatExpectations"


def takes(type_: Any, argument: str) -> bool:
    """Whether an expectation has an argument of this name."""
    return known_type(type_) and not {argument, f"{argument}?"}.isdisjoint(EXPECTATIONS[type_])


def filled(arguments: Any, given: Mapping[str, int]) -> Any:
    """Arguments with the numbers that settings of the recipe give in the places of their names."""
    if isinstance(arguments, dict):
        return {key: filled(value, given) for key, value in arguments.items()}
    if isinstance(arguments, list):
        return [filled(value, given) for value in arguments]
    return given.get(arguments, arguments) if isinstance(arguments, str) else arguments


def about_a_column(type_: Any) -> bool:
    """Whether an expectation is about the one column that its property names."""
    return known_type(type_) and "column" in EXPECTATIONS[type_]


def named_columns(arguments: dict[str, Any]) -> list[str]:
    """The columns that an expectation's arguments, which are as they must be, are about."""
    named = [arguments[name] for name in ("column", "column_A", "column_B") if name in arguments]
    return [*named, *arguments.get("column_list", []), *(column for column, _ in compared(arguments))]


def compared(arguments: dict[str, Any]) -> list[tuple[str, str]]:
    """The columns of an expectation's row condition, each with the constant it is compared with as that is written."""
    return re.findall(COMPARISON, arguments.get("row_condition", ""))


def wrong_with(type_: Any, arguments: Any) -> str | None:
    """What is wrong with an expectation of these arguments; None if it may be evaluated.

    Args:
        type_: as the contract names it.
        arguments: its `kwargs`, `column` among them.
    """
    if not known_type(type_):
        near = get_close_matches(str(type_), EXPECTATIONS, 3)
        hint = f"; do you mean {' or '.join(near)}?" if near else ""
        return f"{type_!r} is none of the expectations that a contract may name{hint}"
    if not isinstance(arguments, dict):
        return f"expected `kwargs` as keys and values, found {type(arguments).__name__}"
    known = {name.rstrip("?"): name.endswith("?") for name in EXPECTATIONS[type_]}
    for name in arguments:
        if name not in known:
            return f"{type_} takes no {name!r} here; it takes {', '.join(known) or 'no arguments'}"
    for name, optional in known.items():
        if name not in arguments and not optional:
            return f"{type_} needs {name!r}"
    for name, value in arguments.items():
        of_many = f"{name} of many" if "column_list" in known else name
        if problem := _unfit(ARGUMENTS.get(of_many, ARGUMENTS[name]), value):
            return f"{name!r}: {problem}"
    return _contradiction(type_, arguments)


def _unfit(schema: dict[str, Any], value: Any) -> str | None:
    """Why a value is not of the form that an argument has."""
    try:
        error = next(jsonschema_rs.iter_errors(schema, value), None)
    except ValueError:  # what JSON has no word for: a date that YAML makes of an unquoted one, infinity
        return f"expected a plain value, found {value!r:.80}; put a date in quotes"
    return None if error is None else error.message


def _contradiction(type_: str, arguments: dict[str, Any]) -> str | None:
    """Why arguments, each of its form, say nothing together, or are no patterns."""
    low, high = arguments.get("min_value"), arguments.get("max_value")
    if "min_value?" in EXPECTATIONS[type_] and low is None and high is None:
        return f"{type_} needs 'min_value' or 'max_value', else it says nothing"
    if low is not None and high is not None and low > high:
        return f"'min_value' {low!r} is above 'max_value' {high!r}"
    if re.search("_(count|lengths)_", type_) and any(isinstance(bound, float) for bound in (low, high)):
        return f"{type_} compares whole numbers; expected bounds without a decimal point"
    ranges = arguments.get("quantile_ranges")
    if ranges is not None and len(ranges["quantiles"]) != len(ranges["value_ranges"]):
        return "'quantile_ranges': expected as many value_ranges as quantiles"
    if "row_condition" in arguments:
        if not CONDITION.fullmatch(arguments["row_condition"]):
            return (
                f"'row_condition': expected columns compared with constants, as `split == \"test\"` or "
                f'`tokens > 100 and language == "en"`, found {arguments["row_condition"]!r:.80}'
            )
        if "condition_parser" not in arguments:
            return "'row_condition' needs `condition_parser: pandas` beside it"
    if "strftime_format" in arguments:
        try:
            written = datetime(2000, 1, 1).strftime(arguments["strftime_format"])
            datetime.strptime(written, arguments["strftime_format"])
        except (ValueError, re.error) as error:
            return f"'strftime_format': no format of dates: {error}"
    if "regex" in arguments:
        try:
            compile_pattern(arguments["regex"])
        except ValueError as error:
            return f"'regex': {error}"
    return None
