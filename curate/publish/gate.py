"""The set contract: the whole set, as it would be published, is held to the contract's Great Expectations suite."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from curate.contract import Contract
from curate.expectations import DRIFT
from curate.hashing import canonical_json
from curate.manifest import GateInfo, GateRule
from curate.patterns import in_re2
from curate.publish.columns import check_columns
from curate.publish.data_docs import write_docs
from curate.publish.drift import Before, check_drift, published_rows
from curate.publish.finding import Finding, number, some
from curate.record import SPLITS, answer_text, group_keys, prompt_text, roles_text
from curate.set_rules import is_warning

if TYPE_CHECKING:
    import pandas as pd

ROW = "row"
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


def check_set(table: pa.Table, contract: Contract, docs_folder: Path, before: Path | None = None) -> GateResult:
    """Hold a whole set to its contract.

    Args:
        table: the kept rows of all splits, in any order: the record's columns and `split`, `cluster` and `tokens`.
        contract: whose rules are evaluated, on the columns that `flatten` gives.
        docs_folder: where the Data Docs go, as index.html. The same set and contract give the same bytes.
        before: folder of the version before, if there is one; read where a rule asks how far the set is from it.

    Returns:
        The result. A failed gate is not an error here: who called decides.

    """
    flat = flatten(table).sort_by("id")
    columns = tuple(check_columns(flat, contract.columns))
    drifting = [rule for rule in contract.expectations if rule["type"] == DRIFT]
    old = Before(before.name, flatten(published_rows(before))) if drifting and before is not None else None
    found: dict[str, tuple[Finding, Any]] = {
        rule["meta"]["name"]: (check_drift(flat, rule, old), None) for rule in drifting
    }
    found |= _asked_of_great_expectations(
        flat, contract.name, [rule for rule in contract.expectations if rule["type"] != DRIFT]
    )
    told = [(rule, *found[rule["meta"]["name"]]) for rule in contract.expectations]
    with _quiet():
        write_docs(told, columns, contract, docs_folder)
    return GateResult(tuple(finding for _, finding, _ in told), columns)


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
        said = canonical_json(rules).decode()
        if "expect_table_column" not in said:  # else a rule is about which columns there are
            flat = flat.drop_columns([column for column in ("prompt", "answer") if f'"{column}"' not in said])
        flat = flat.append_column(ROW, flat["id"])  # a column cannot both be judged and name the rows
        asset = context.data_sources.add_pandas("assay").add_dataframe_asset(name)
        batch = asset.add_batch_definition_whole_dataframe("set").get_batch({"dataframe": flat.to_pandas()})
        results: list[Any] = list(batch.validate(suite, result_format=RESULT_FORMAT).results)
        by_name = {item.expectation_config.meta["name"]: item for item in results}
        for item in results:
            item.result = _plain(item.to_json_dict()["result"])
    return {
        rule["meta"]["name"]: (_finding(rule, by_name[rule["meta"]["name"]]), by_name[rule["meta"]["name"]])
        for rule in rules
    }


def flatten(table: pa.Table) -> pa.Table:
    """The set as expectations see it: one flat row per record.

    Args:
        table: the record's columns and `split`, `cluster` and `tokens`.

    Returns:
        id, group, label, language, split, cluster, tokens; prompt and answer with prompt_characters and
        answer_characters; roles and turn_count; is_train, is_validation and is_test (0 or 1); group_splits and
        cluster_splits (in how many splits the row's group and cluster lie, 1 where it has no group); and a column
        target.KEY per key of the targets: text, number or boolean as it is, lists and objects as JSON text.
    """
    columns: dict[str, Any] = {
        name: table[name] for name in ("id", "group", "label", "language", "split", "cluster", "tokens")
    }
    # Batch by batch, and with 64-bit offsets: a column of all rows' texts may be longer than 2 GiB.
    batches = [pa.Table.from_batches([batch]) for batch in table.select(["turns", "target"]).to_batches()]
    for name, text in (("prompt", prompt_text), ("answer", answer_text), ("roles", roles_text)):
        columns[name] = pa.chunked_array([text(batch).cast(pa.large_string()) for batch in batches], pa.large_string())
    for name in ("prompt", "answer"):
        columns[f"{name}_characters"] = pc.utf8_length(columns[name])
    columns["turn_count"] = pc.list_value_length(table["turns"])
    for split in SPLITS:
        columns[f"is_{split}"] = pc.cast(pc.equal(table["split"], split), pa.int8())
    for name in ("group", "cluster"):
        columns[f"{name}_splits"] = _splits_of(table[name], table["split"])
    targets = [{} if text is None else orjson.loads(text) for text in table["target"].to_pylist()]
    for key in sorted({key for target in targets for key in target}):
        values = [target.get(key) for target in targets]
        kinds = {type(value) for value in values if value is not None}
        mixed = len(kinds) > 1 and not kinds <= {int, float}
        if kinds <= {int, float} and max(filter(None, values), default=0) >= 2**63:  # orjson reads greater ones so
            values = [None if value is None else float(value) for value in values]
        written = (list, dict, bool, int, float) if mixed else (list, dict)  # as JSON: a column has one type
        columns[f"target.{key}"] = [
            orjson.dumps(value).decode() if isinstance(value, written) else value for value in values
        ]
    return pa.table(columns)


def _splits_of(names: pa.ChunkedArray, splits: pa.ChunkedArray) -> pa.Array:
    """For each row, in how many splits its name, or a key of its group, occurs at most: int64, 1 where it has none."""
    rows, keys = group_keys(names)
    codes = keys.dictionary_encode().indices.to_numpy()
    seen = np.zeros((int(codes.max(initial=-1)) + 1, len(SPLITS)), dtype=bool)
    for column, split in enumerate(SPLITS):
        seen[codes[pc.equal(splits, split).to_numpy()[rows]], column] = True
    counts = np.ones(len(names), np.int64)
    np.maximum.at(counts, rows, seen.sum(axis=1)[codes])
    return pa.array(counts)


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
