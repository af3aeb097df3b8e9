"""The set contract: the whole set, as it would be published, is held to the contract's Great Expectations suite."""

import logging
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.contract import Contract
from curate.expectations import DRIFT, compared, named_columns
from curate.hashing import canonical_json
from curate.manifest import GateInfo, GateRule
from curate.patterns import in_re2
from curate.publish.columns import check_columns
from curate.publish.data_docs import write_docs
from curate.publish.drift import Before, check_drift, published_rows
from curate.publish.finding import Finding, number, some
from curate.publish.flat import TEXTS, flatten
from curate.set_rules import is_warning

if TYPE_CHECKING:
    import pandas as pd

ROW = "row"
NOT_NULL, UNIQUE = "expect_column_values_to_not_be_null", "expect_column_values_to_be_unique"
RESULT_FORMAT = {
    "result_format": "COMPLETE",
    "unexpected_index_column_names": [ROW],
    "return_unexpected_index_query": False,
}


@dataclass(frozen=True)
class GateResult:
    """What the gate found."""

    findings: tuple[Finding, ...]
    """One per rule that the contract states, in its order."""
    columns: tuple[Finding, ...] = ()
    """One per rule that follows from what it says of columns, likewise."""

    @property
    def failed(self) -> tuple[Finding, ...]:
        """Of rules without which nothing is published."""
        return tuple(each for each in (*self.findings, *self.columns) if not each.success and not each.warning)

    @property
    def warned(self) -> tuple[Finding, ...]:
        """Of rules that fail and are only told of."""
        return tuple(each for each in self.findings if not each.success and each.warning)

    @property
    def success(self) -> bool:
        """Whether the set may be published."""
        return not self.failed

    @property
    def evaluated(self) -> int:
        """Rules that the contract states, and those besides that fail."""
        return len(self.findings) + sum(not each.success for each in self.columns)

    def message(self) -> str:
        """The outcome for people: the expectations that do not hold, one a line."""
        lines = []
        if self.failed:
            lines += [f"{len(self.failed)} of {self.evaluated} expectations of the set contract fail:"]
            lines += [f"  {finding}" for finding in self.failed]
        if self.warned:
            lines += [f"{len(self.warned)} more would be well kept:" if lines else "Published with warnings:"]
            lines += [f"  {finding}" for finding in self.warned]
        return "\n".join(lines) or f"All {self.evaluated} expectations of the set contract hold."

    def told(self) -> dict[str, list[str]]:
        """What the ledger tells of it: warnings, if there are any."""
        return {"warnings": [str(finding) for finding in self.warned]} if self.warned else {}

    def summary(self) -> GateInfo:
        """The outcome for the manifest; rows are counted, not named. What the contract says of columns is not listed:
        it holds of whatever is published, as what it says of rows does."""
        rules = [
            GateRule(
                name=each.name,
                column=each.column,
                success=each.success,
                observed=each.observed,
                expected=each.expected,
            )
            for each in self.findings
        ]
        warned = {"warned": [each.name for each in self.warned]} if self.warned else {}
        return GateInfo(evaluated=len(self.findings), failed=[each.name for each in self.failed], rules=rules, **warned)


def check_set(
    tables: Iterable[pa.Table], contract: Contract, docs_folder: Path, before: Path | None = None
) -> GateResult:
    """Hold a whole set to its contract.

    Args:
        tables: the kept rows of all splits, in any order: the record's columns and `split`, `cluster` and `tokens`.
        contract: whose rules are evaluated, on the columns that `flatten` gives.
        docs_folder: where the Data Docs go, as index.html. The same set and contract give the same bytes.
        before: folder of the version before, if there is one; read where a rule asks how far the set is from it.

    Returns:
        The result. A failed gate is not an error here: who called decides.

    """
    drifting = [rule for rule in contract.expectations if rule["type"] == DRIFT]
    others = [rule for rule in contract.expectations if rule["type"] != DRIFT]
    texts = _texts(contract)
    flat = flatten(tables, texts).sort_by("id")
    columns = tuple(check_columns(flat, contract.columns))
    old = Before(before.name, flatten(published_rows(before), texts)) if drifting and before is not None else None
    found: dict[str, tuple[Finding, Any]] = {
        rule["meta"]["name"]: (check_drift(flat, rule, old), None) for rule in drifting
    }
    found |= _asked_of_great_expectations(flat, contract.name, others)
    told = [(rule, *found[rule["meta"]["name"]]) for rule in contract.expectations]
    with _quiet():
        write_docs(told, columns, contract, docs_folder)
    return GateResult(tuple(finding for _, finding, _ in told), columns)


@cache
def get_ready() -> None:
    """Have Great Expectations imported by a thread: it takes seconds, which are there while others are at work."""
    threading.Thread(target=import_module, args=("great_expectations",), daemon=True).start()


def _texts(contract: Contract) -> set[str]:
    """The columns of texts of which a rule asks more than whether there is one."""
    asked = {rule.column for rule in contract.columns if rule.keyword not in ("required", "logicalType")}
    for rule in contract.expectations:
        kwargs = rule["kwargs"]
        asked |= {column for column, _ in compared(kwargs)} if rule["type"] == NOT_NULL else {*named_columns(kwargs)}
    return asked & TEXTS.keys()


def _asked_of_great_expectations(
    flat: pa.Table, name: str, rules: Sequence[dict[str, Any]]
) -> dict[str, tuple[Finding, Any]]:
    """What was found of each rule, by its name, and Great Expectations' own result of it."""
    with _quiet():
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        _match_in_linear_time()
        suite = gx.ExpectationSuite(name=name, expectations=_expectations(rules))
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
        frame = _asked(flat, rules).to_pandas()
        asset = context.data_sources.add_pandas("assay").add_dataframe_asset(name)
        batch = asset.add_batch_definition_whole_dataframe("set").get_batch({"dataframe": frame})
        results: list[Any] = list(batch.validate(suite, result_format=RESULT_FORMAT).results)
        by_name = {item.expectation_config.meta["name"]: item for item in results}
        for item in results:
            item.result = _with_ids(_plain(item.to_json_dict()["result"]), flat["id"])
    return {
        rule["meta"]["name"]: (_finding(rule, by_name[rule["meta"]["name"]]), by_name[rule["meta"]["name"]])
        for rule in rules
    }


def _asked(flat: pa.Table, rules: Sequence[dict[str, Any]]) -> pa.Table:
    """The columns that rules are about, all where one is about which there are, and each row's number.

    Ids that are only to be unique, and are, are numbers too: texts take ten times the memory, and the time.
    """
    if not any(rule["type"].startswith("expect_table_column") for rule in rules):
        asked = {column for rule in rules for column in named_columns(rule["kwargs"])}
        flat = flat.select([column for column in flat.column_names if column in asked])
    numbers = pa.array(np.arange(flat.num_rows))
    of_ids = [(rule["type"], *rule["kwargs"]) for rule in rules if "id" in named_columns(rule["kwargs"])]
    if of_ids and {*of_ids} == {(UNIQUE, "column")} and pc.count_distinct(flat["id"]).as_py() == flat.num_rows:
        flat = flat.set_column(flat.schema.get_field_index("id"), "id", numbers)
    return flat.append_column(ROW, numbers)


def _with_ids(found: dict[str, Any], ids: pa.ChunkedArray) -> dict[str, Any]:
    """A result in which rows that break a rule are named by their ids."""
    for name in ("unexpected_index_list", "partial_unexpected_index_list"):
        if rows := found.get(name):
            named = ids.take(pa.array([row[ROW] for row in rows])).to_pylist()
            found[name] = [row | {ROW: id_} for row, id_ in zip(rows, named, strict=True)]
    return found


def _expectations(rules: Sequence[dict[str, Any]]) -> list[Any]:
    """Great Expectations' own objects; the contract has seen to it that they can be made."""
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    return [ExpectationConfiguration(**rule).to_domain_obj() for rule in rules]


@cache
def _match_in_linear_time() -> None:
    """Have patterns matched by RE2: pandas leaves some to Python's `re`, which ten characters can keep busy for ever.

    A metric of Great Expectations is replaced by defining another one of its name.
    """
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.expectations.metrics.map_metric_provider import (
        ColumnMapMetricProvider,
        column_condition_partial,
    )

    def matches(column: "pd.Series[Any]", regex: str) -> "pd.Series[bool]":
        found: pd.Series[bool] = pc.match_substring_regex(
            pa.array(column.astype(str), pa.large_string()), in_re2(regex)
        ).to_pandas()
        return found.set_axis(column.index)

    def replace_metric(name: str, wanted: bool) -> None:
        class MatchRegex(ColumnMapMetricProvider):
            condition_metric_name = f"column_values.{name}"
            condition_value_keys = ("regex",)

            @column_condition_partial(engine=PandasExecutionEngine)
            def _pandas(cls, column: "pd.Series[Any]", regex: str, **_: Any) -> "pd.Series[bool]":  # noqa: N805
                return matches(column, regex) == wanted

    replace_metric("match_regex", True)
    replace_metric("not_match_regex", False)


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    """A result with lists of distinct values, which come from Python sets, in one order on every machine."""
    if "element_count" in found:
        return found
    return {key: sorted(value, key=str) if isinstance(value, list) else value for key, value in found.items()}


def _finding(rule: dict[str, Any], item: Any) -> Finding:
    """What an ExpectationValidationResult of Great Expectations says about a rule of the contract."""
    arguments = {key: value for key, value in rule["kwargs"].items() if key != "column"}
    return Finding(
        name=rule["meta"]["name"],
        column=rule["kwargs"].get("column"),
        success=bool(item.success),
        warning=is_warning(rule),
        observed=_observed(item.result, item.exception_info),
        expected=f"{rule['type']} {canonical_json(arguments).decode()}",
        unexpected_ids=tuple(dict.fromkeys(str(row[ROW]) for row in item.result.get("unexpected_index_list") or [])),
    )


def _observed(found: dict[str, Any], exceptions: dict[str, Any]) -> str:
    """What an expectation saw, in words."""
    if not found:  # it could not be evaluated
        infos = [exceptions, *(info for info in exceptions.values() if isinstance(info, dict))]
        told = [info["exception_message"] for info in infos if info.get("exception_message")]
        return "; ".join(told) or "a table without more to tell"
    if "element_count" in found:  # rules about single rows
        text = f"{found['unexpected_count']} of {found['element_count']} rows break it"
        return f"{text}, e.g. {some(found['partial_unexpected_list'])}" if found["unexpected_count"] else text
    value = found["observed_value"]
    if value is None:  # rules about the set of distinct values
        words = []
        if "missing_count" in found:
            words.append(
                f"missing: {some(found['partial_missing_list'])}" if found["missing_count"] else "none missing"
            )
        if "unexpected_count" in found:
            words.append(
                f"besides: {some(found['partial_unexpected_list'])}" if found["unexpected_count"] else "no other"
            )
        return "; ".join(words) or "no value"
    if isinstance(value, dict):
        return ", ".join(
            f"{number(at)}: {number(v)}" for at, v in zip(value["quantiles"], value["values"], strict=True)
        )
    return number(value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Great Expectations and its dependencies log and warn about; its findings are in the result."""
    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
