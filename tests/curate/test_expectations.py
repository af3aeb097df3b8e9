"""What a contract's rules may ask of Great Expectations: each listed one works, and nothing else is run."""

import datetime
import re
from pathlib import Path
from typing import Any

import great_expectations.expectations.core as core
import pytest

from curate.contract import Contract
from curate.errors import AssayError
from curate.expectations import ARGUMENTS, DRIFT, EXPECTATIONS, wrong_with
from tests.curate.test_contract import short, write

ROOT = Path(__file__).resolve().parents[2]
BY_TYPE = {getattr(each, "expectation_type", ""): each for each in vars(core).values() if isinstance(each, type)}
COLUMN = {"column": "tokens"}
BETWEEN = "expect_column_values_to_be_between"


@pytest.mark.parametrize("type_", [type_ for type_ in EXPECTATIONS if type_ != DRIFT])
def test_the_arguments_are_those_of_the_library(type_: str) -> None:
    fields = BY_TYPE[type_].__fields__
    listed = {name.rstrip("?") for name in EXPECTATIONS[type_]}
    assert listed <= fields.keys()
    assert listed <= ARGUMENTS.keys()
    needed = {name for name, field in fields.items() if field.required}
    assert needed <= {name for name in EXPECTATIONS[type_] if not name.endswith("?")}


def test_the_page_lists_every_expectation() -> None:
    page = (ROOT / "data_contracts/README.md").read_text(encoding="utf-8")
    for type_, arguments in EXPECTATIONS.items():
        assert f"| `{type_}` | {', '.join(f'`{name}`' for name in arguments if name != 'column')} |" in page


RUN = "tokens > @pd.io.common.os.system('touch {}')"


@pytest.mark.parametrize(
    "condition",
    [
        RUN,
        "@pd.eval('1')",
        "__import__('os').system('touch {}')",
        "split == @split",
        'split == "a" or tokens > 1',
        "split.str.replace('a', 'b') == 'b'",
        "`target.x` == 1",
        'split == "a\\" or @pd.x or \\""',
        'split == "test"\nand tokens > 1',
        "tokens > 1 + 1",
        "tokens",
        "",
        "tokens > 9999999999999999999999999",
    ],
)
def test_a_row_condition_compares_and_runs_nothing(tmp_path: Path, condition: str) -> None:
    touched = tmp_path / "touched"
    kwargs = {"min_value": 1, "row_condition": condition.format(touched), "condition_parser": "pandas"}
    rule = {"name": "odd", "implementation": {"type": BETWEEN, "kwargs": kwargs}}
    folder = write(tmp_path, short(whole=[{"name": "tokens", "quality": [rule]}]), target=None)
    with pytest.raises(
        AssayError, match=r"contract\.yaml: schema\.set\.tokens\.quality\.odd\.implementation: 'row_cond"
    ):
        Contract.load(folder)
    assert not touched.exists()


@pytest.mark.parametrize(
    "condition", ['split == "test"', "tokens>=8", "language != 'en' and tokens < 100.5 and label == \"\""]
)
def test_a_row_condition_of_columns_and_constants_is_taken(condition: str) -> None:
    assert (
        wrong_with(BETWEEN, COLUMN | {"max_value": 9, "row_condition": condition, "condition_parser": "pandas"}) is None
    )


@pytest.mark.parametrize(
    ("type_", "arguments", "message"),
    [
        ("expect_column_values_to_be_lovely", {}, "none of the expectations that a contract may name"),
        ("expect_column_values_to_be_unqiue", {}, "do you mean expect_column_values_to_be_unique"),
        ("expect_query_results_to_match_comparison", {"base_query": "select 1"}, "none of the expectations"),
        ("unexpected_rows_expectation", {"unexpected_rows_query": "select 1"}, "none of the expectations"),
        ("expect_column_values_to_match_json_schema", {"json_schema": {"$ref": "http://x"}}, "none of the expect"),
        ("expect_column_values_to_be_of_type", {"type_": "os"}, "none of the expectations"),
        (["expect"], {}, "none of the expectations"),
        ({}, {}, "none of the expectations"),
        (BETWEEN, [1], "expected `kwargs` as keys and values, found list"),
        (BETWEEN, COLUMN | {"min_value": 1, "maximum": 3}, "takes no 'maximum' here; it takes column, min_value"),
        (BETWEEN, COLUMN | {"min_value": 1, "meta": {}}, "takes no 'meta'"),
        (BETWEEN, {"min_value": 1}, "needs 'column'"),
        (BETWEEN, COLUMN, "needs 'min_value' or 'max_value', else it says nothing"),
        (BETWEEN, COLUMN | {"min_value": {"$PARAMETER": "now()"}}, "'min_value': .* is not of types"),
        (BETWEEN, COLUMN | {"min_value": datetime.date(2024, 1, 1)}, "put a date in quotes"),
        (BETWEEN, COLUMN | {"min_value": float("nan")}, "'min_value'"),
        (BETWEEN, COLUMN | {"min_value": 3, "max_value": 2}, "'min_value' 3 is above 'max_value' 2"),
        (BETWEEN, COLUMN | {"min_value": "2024-01-01"}, "'min_value': .* is not of types"),
        ("expect_column_value_lengths_to_be_between", COLUMN | {"min_value": 2.5}, "without a decimal point"),
        ("expect_column_values_to_match_strftime_format", COLUMN | {"strftime_format": "%"}, "no format of dates"),
        ("expect_column_values_to_match_strftime_format", COLUMN | {"strftime_format": "%c%x"}, "no format of dates"),
        (
            "expect_compound_columns_to_be_unique",
            {"column_list": ["label", "split"], "ignore_row_if": "neither"},
            "'ignore_row_if': .* is not one of",
        ),
        (
            "expect_column_pair_values_to_be_equal",
            {"column_A": "label", "column_B": "split", "ignore_row_if": "never"},
            "'ignore_row_if': .* is not one of",
        ),
        (BETWEEN, COLUMN | {"min_value": 1, "mostly": 2}, "'mostly': 2 is greater than the maximum of 1"),
        (BETWEEN, COLUMN | {"min_value": 1, "row_condition": "tokens > 1"}, "needs `condition_parser: pandas`"),
        (BETWEEN, COLUMN | {"min_value": 1, "condition_parser": "spark"}, "'condition_parser'"),
        ("expect_column_values_to_be_in_set", COLUMN | {"value_set": []}, "'value_set': .* has less than 1 item"),
        ("expect_column_values_to_be_in_set", COLUMN | {"value_set": [[1]]}, "'value_set'"),
        ("expect_column_values_to_match_regex", COLUMN | {"regex": "(?<=a)b"}, "can neither look around nor refer"),
        ("expect_column_values_to_match_regex", COLUMN | {"regex": "(a{1000}){1000}"}, "no pattern of RE2"),
        (
            "expect_column_quantile_values_to_be_between",
            COLUMN | {"quantile_ranges": {"quantiles": [0.5], "value_ranges": [[1, 2], [1, 2]]}},
            "as many value_ranges as quantiles",
        ),
    ],
)
def test_what_else_a_rule_says_is_refused_by_name(type_: Any, arguments: Any, message: str) -> None:
    problem = wrong_with(type_, arguments)
    assert problem is not None
    assert re.search(message, problem), problem


def test_a_rule_stands_where_it_is_about_something(tmp_path: Path) -> None:
    rows = {"name": "odd", "implementation": {"type": "expect_table_row_count_to_equal", "kwargs": {"value": 1}}}
    other = {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}}
    for rule, message in (
        (rows, "expect_table_row_count_to_equal is not about the one column 'tokens'"),
        ({"name": "odd", "implementation": other}, "expected the property's, 'tokens'"),
    ):
        folder = write(tmp_path, short(whole=[{"name": "tokens", "quality": [rule]}]), target=None)
        with pytest.raises(AssayError, match=message):
            Contract.load(folder)
