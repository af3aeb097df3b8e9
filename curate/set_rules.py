"""What the whole set is held to: the rules that a contract states, and what it says of the columns of the set.

A rule is an expectation with a name. What a property says by its keywords (`required`, `unique`, `logicalType`,
`logicalTypeOptions`) is a rule without one, unless a stated rule says the very same thing: then it has that one's name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.expectations import (
    DRIFT,
    GIVEN,
    OF_NUMBERS,
    about_a_column,
    compared,
    engine_of,
    filled,
    named_columns,
    takes,
    wrong_with,
)
from curate.odcs import wrong
from curate.patterns import compile_pattern
from curate.row_schema import require_format, values_of

WITHOUT = "withoutRules"
"""Custom property of `set`: names of the common rules that the set is not held to."""
WARNINGS, ERRORS = ("warning", "warn", "info"), ("error", "fail", "critical")
"""Values of ODCS's `severity`: a rule that fails is told of; or nothing is published."""
TYPES = ("string", "integer", "number", "boolean")
"""Logical types that a column of the set may have: a value with parts stands in it as JSON text."""
OPTIONS = {
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
SAME = {"required": "expect_column_values_to_not_be_null", "unique": "expect_column_values_to_be_unique"}
"""The expectation that says the same as a keyword."""
PLACEHOLDER = 2**30
"""Stands for a number of the recipe where there is none: as large as no bound is."""


@dataclass(frozen=True)
class ColumnRule:
    """What a keyword of a property asks of a column of the set."""

    column: str
    """As `curate.publish.flat.flatten` names it."""
    keyword: str
    """`required`, `unique`, `logicalType`, or one of its options, e.g. `maxLength`."""
    value: Any

    @property
    def name(self) -> str:
        """As a rule is named."""
        return f"{self.column}.{self.keyword}"

    @property
    def expected(self) -> str:
        """In words."""
        plain = {"required": "a value in every row", "unique": "no value twice"}
        return plain.get(self.keyword, f"{self.keyword} {self.value}")


def is_warning(rule: Mapping[str, Any]) -> bool:
    """Whether an expectation is told of when it fails, and no more."""
    return rule["meta"].get("severity") in WARNINGS


def leave_out(whole: dict[str, Any], common: list[dict[str, Any]], file: Path) -> list[dict[str, Any]]:
    """Take out the common rules that the contract says its set is not held to; gives those."""
    named = [item["value"] for item in whole.get("customProperties", []) if item["property"] == WITHOUT]
    owners = [whole, *whole["properties"]]
    stated = [rule.get("name") for owner in owners for rule in owner.get("quality", [])]
    known = dict.fromkeys([*stated, *(rule["meta"]["name"] for rule in common)])
    for without in named:
        if not isinstance(without, list) or [name for name in without if name not in known]:
            raise wrong(file, f"schema.set.{WITHOUT}", f"expected a list of some of {', '.join(map(str, known))}")
        for owner in owners:
            if "quality" in owner:
                owner["quality"] = [rule for rule in owner["quality"] if rule.get("name") not in without]
    return [rule for rule in common if any(rule["meta"]["name"] in without for without in named)]


def fill_values(whole: dict[str, Any], row_schema: dict[str, Any], file: Path) -> None:
    """Give a rule about the values of a column, which names none, those that the row's own schema lists."""
    for owner in whole["properties"]:
        for rule in owner.get("quality", []):
            implementation = rule.get("implementation")
            if not isinstance(implementation, dict) or not isinstance(implementation.get("kwargs"), dict):
                continue
            if takes(implementation.get("type"), "value_set") and "value_set" not in implementation["kwargs"]:
                values = values_of(row_schema, owner["name"])
                if not values:
                    key = f"schema.set.{owner['name']}.quality.{rule.get('name')}.implementation"
                    raise wrong(file, key, "names no 'value_set', and the row's schema has no `enum` to take it from")
                kwargs = {"value_set": values, **implementation["kwargs"]}
                rule["implementation"] = implementation | {"kwargs": kwargs}


def expectations_of(whole: dict[str, Any], given: Mapping[str, int], file: Path) -> list[dict[str, Any]]:
    """The stated rules as configurations of expectations, in order.

    Args:
        whole: the object `set`.
        given: numbers that the recipe gives; those that are not known stay as they are written.
        file: for errors.

    Raises:
        AssayError: a rule is none that can be evaluated.
    """
    columns = {item["name"]: item.get("logicalType") for item in whole["properties"]}
    found: list[dict[str, Any]] = []
    for column, owner in [(None, whole), *((item["name"], item) for item in whole["properties"])]:
        for rule in owner.get("quality", []):
            key = ".".join(["schema.set", *([column] if column else []), f"quality.{rule.get('name', '(unnamed)')}"])
            if "name" not in rule or rule["name"] in (other["meta"]["name"] for other in found):
                raise wrong(file, f"{key}.name", "expected a name that no other rule has")
            type_, kwargs = _implementation(rule, column, columns, key, file)
            meta = {name: rule.get(name, "") for name in ("name", "dimension", "description")}
            found.append({"type": type_, "kwargs": filled(kwargs, given), "meta": meta | _severity(rule, key, file)})
    return found


def _implementation(
    rule: dict[str, Any], column: str | None, columns: dict[str, Any], key: str, file: Path
) -> tuple[str, dict[str, Any]]:
    """The expectation that a rule is, and its arguments."""
    implementation = rule.get("implementation")
    if rule.get("type", "library") != "custom" or rule["engine"] != engine_of(implementation):
        raise wrong(file, key, "expected `type: custom` and `engine: greatExpectations`, the one engine that runs")
    if not isinstance(implementation, dict) or set(implementation) != {"type", "kwargs"}:
        raise wrong(file, f"{key}.implementation", "expected `type: expect_...` and `kwargs`")
    type_, kwargs = implementation["type"], implementation["kwargs"]
    if column and isinstance(kwargs, dict):
        if not about_a_column(type_):
            raise wrong(file, f"{key}.implementation.type", f"{type_} is not about the one column {column!r}")
        if kwargs.get("column", column) != column:
            raise wrong(file, f"{key}.implementation.kwargs.column", f"expected the property's, {column!r}")
        kwargs = {"column": column} | kwargs
    if problem := wrong_with(type_, filled(kwargs, dict.fromkeys(GIVEN, PLACEHOLDER))):
        raise wrong(file, f"{key}.implementation", problem)
    for unknown in [name for name in named_columns(kwargs) if name not in columns]:
        raise wrong(file, f"{key}.implementation.kwargs", f"column {unknown!r} is none of {', '.join(columns)}")
    for name, constant in compared(kwargs):  # else no row would be asked, and the rule hold
        if (columns[name] == "string") != (constant[0] in "\"'"):
            raise wrong(
                file,
                f"{key}.implementation.kwargs.row_condition",
                f"{name!r} is of type {columns[name]}, and cannot be compared with {constant}",
            )
    if type_ == DRIFT and kwargs["measure"] in OF_NUMBERS and columns[kwargs["column"]] not in ("integer", "number"):
        raise wrong(
            file,
            f"{key}.implementation.kwargs.measure",
            f"{kwargs['measure']} is of numbers; say that the column's logicalType is one, or measure psi",
        )
    return type_, kwargs


def _severity(rule: dict[str, Any], key: str, file: Path) -> dict[str, str]:
    """The `severity` of a rule, where it is another than that of a rule that says none."""
    said = rule.get("severity", ERRORS[0])
    if said not in (*WARNINGS, *ERRORS):
        raise wrong(file, f"{key}.severity", f"expected one of {', '.join((*ERRORS, *WARNINGS))}, found {said!r}")
    return {"severity": WARNINGS[0]} if said in WARNINGS else {}


def column_rules_of(
    whole: dict[str, Any], record: dict[str, Any], stated: list[dict[str, Any]], file: Path
) -> list[ColumnRule]:
    """What keywords ask of the columns, without what a stated rule asks already.

    Args:
        whole: the object `set`.
        record: the object `record`, of whose keywords `unique` is about all rows.
        stated: the rules of the set, and those that it is not held to.
        file: for errors.

    Raises:
        AssayError: a keyword cannot be kept here.
    """
    rules = list(_unique_fields(record, {item["name"] for item in whole["properties"]}, file))
    for item in whole["properties"]:
        name, key, kind = item["name"], f"schema.set.{item['name']}", item.get("logicalType")
        rules += [ColumnRule(name, keyword, True) for keyword in SAME if item.get(keyword)]
        if kind is not None and kind not in TYPES:
            raise wrong(
                file,
                f"{key}.logicalType",
                f"a column of the set is one of {', '.join(TYPES)}, found {kind}; what has parts stands there as JSON "
                "text, and a day as text of a `format`",
            )
        rules += [ColumnRule(name, "logicalType", kind)] if kind is not None else []
        rules += _options(item, key, file)
        if "properties" in item or "items" in item:
            raise wrong(file, key, "a column of the set has no parts; describe those in `record`")
    known = {(rule["type"], rule["kwargs"].get("column")) for rule in stated if _says_all(rule)}
    named = [rule for rule in dict.fromkeys(rules) if (SAME.get(rule.keyword), rule.column) not in known]
    order = {item["name"]: at for at, item in enumerate(whole["properties"])}
    return sorted(named, key=lambda rule: order.get(rule.column, len(order)))


def _says_all(rule: dict[str, Any]) -> bool:
    """Whether a rule is about every row, and must hold."""
    return set(rule["kwargs"]) == {"column"} and not is_warning(rule)


def _unique_fields(record: dict[str, Any], columns: set[str], file: Path) -> Iterator[ColumnRule]:
    def look(item: dict[str, Any], column: str, key: str) -> Iterator[ColumnRule]:
        if item.get("unique"):
            if column not in columns and not column.startswith("target."):
                raise wrong(
                    file, f"{key}.unique", f"the set has no column of it; say it of one of {', '.join(sorted(columns))}"
                )
            yield ColumnRule(column, "unique", True)
        for inner in item.get("properties", []):
            yield from look(inner, f"{column}.{inner['name']}", f"{key}.{inner['name']}")
        if "items" in item:
            yield from look(item["items"], "", f"{key}.items")

    for item in record["properties"]:
        yield from look(item, item["name"], f"schema.record.{item['name']}")


def _options(item: dict[str, Any], key: str, file: Path) -> Iterator[ColumnRule]:
    """What `logicalTypeOptions` ask; the standard's schema has seen to it that they go with the type."""
    kind, options = item.get("logicalType"), item.get("logicalTypeOptions", {})
    known = OPTIONS.get("number" if kind == "integer" else str(kind), ())
    require_format(kind, options, f"{key}.logicalTypeOptions", file)
    for keyword, value in options.items():
        if keyword not in known:
            raise wrong(
                file,
                f"{key}.logicalTypeOptions.{keyword}",
                f"of a column of type {kind} it is kept nowhere; expected some of {', '.join(known) or 'none'}",
            )
        if keyword == "pattern":
            try:
                compile_pattern(value)
            except ValueError as error:
                raise wrong(file, f"{key}.logicalTypeOptions.pattern", str(error)) from None
        yield ColumnRule(item["name"], keyword, value)
