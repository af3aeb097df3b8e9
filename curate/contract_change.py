"""How one contract differs from another: which changes break who reads the data, and so ask for a new major version.

A contract that is looser lets data through that the old one kept out: a key that is gone, null where there was none,
another value, a rule that is no longer asked. One that is tighter breaks no reader; more rows may go to quarantine.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from curate.contract import APART, Contract
from curate.odcs import FREE, stated_grounding
from curate.schema_change import Change, bound_change, schema_changes
from curate.set_rules import is_warning

BOUNDS = {"min_value": False, "max_value": True, "mostly": False}
"""Arguments that bound what is seen, and whether from above."""
TERMS = ("license", "attribution")


@dataclass(frozen=True)
class ContractChange:
    """The changes from one contract to another."""

    old: str
    """Version of the old one."""
    new: str
    changes: tuple[Change, ...]

    @property
    def breaking(self) -> tuple[Change, ...]:
        """Those that break who reads the data."""
        return tuple(change for change in self.changes if change.breaks)

    @property
    def version_asked(self) -> str | None:
        """The version that the new contract must at least have; None where its own will do."""
        was, is_ = (re.match(r"\d+", version) for version in (self.old, self.new))
        if not self.breaking or (was and is_ and int(is_[0]) > int(was[0])):
            return None
        if was is None:
            return None if self.new != self.old else f"another than {self.old}"
        return f"{int(was[0]) + 1}.0.0"


def contract_change(old: Contract, new: Contract) -> ContractChange:
    """What a contract says otherwise than another. Both are loaded without a recipe, or with one of the same bound.

    Args:
        old: the one that readers rely on.
        new: the one in its place.
    """
    return ContractChange(old.version, new.version, tuple(dict.fromkeys(_changes(old, new))))


def _changes(old: Contract, new: Contract) -> Iterator[Change]:
    rows = [_without_target(each.row_schema) for each in (old, new)]
    yield from schema_changes("record", rows[0], rows[1], rows[0], rows[1])
    targets = [each.target_schema or {"type": "null"} for each in (old, new)]
    yield from schema_changes("record.target", targets[0], targets[1], targets[0], targets[1])
    yield from _grounding_changes(old, new)
    yield from _column_changes(old, new)
    yield from _rule_changes(old, new)
    for term in TERMS:
        if old.properties.get(term) != new.properties.get(term):
            said = f"{term}: {old.properties.get(term, 'none')} -> {new.properties.get(term, 'none')}"
            yield Change("customProperties", said, term == "license")
    for key in sorted(({*old.document, *new.document} | APART) - {"version", "schema", "customProperties"}):
        if old.document.get(key) != new.document.get(key):
            yield Change(key, "other words", False)


def _without_target(row_schema: dict[str, Any]) -> dict[str, Any]:
    fields = {name: field for name, field in row_schema["properties"].items() if name != "target"}
    return {key: value for key, value in row_schema.items() if key != "title"} | {"properties": fields}


def _grounding_changes(old: Contract, new: Contract) -> Iterator[Change]:
    """What is stated otherwise of how the answer is grounded; that prompts need not hold a value any more breaks."""
    were, are = (stated_grounding(each.document) for each in (old, new))
    for path in [*were, *(each for each in are if each not in were)]:
        before, after = (stated.get(path, ("as the schema says", ""))[0] for stated in (were, are))
        if before != after:
            key = f"record.target.{path}" if path else "record.target"
            yield Change(key, f"grounding: {before} -> {after}", after in FREE and before not in FREE)


def _column_changes(old: Contract, new: Contract) -> Iterator[Change]:
    were, are = ({(rule.column, rule.keyword): rule.value for rule in each.columns} for each in (old, new))
    for column, keyword in [*were, *(each for each in are if each not in were)]:
        key, before, after = f"set.{column}", were.get((column, keyword)), are.get((column, keyword))
        if keyword.startswith(("min", "max", "exclusive")):
            upper = keyword.lower().endswith(("maximum", "maxlength"))
            yield from bound_change(key, keyword, before, after, upper)
        elif before != after:
            narrower = keyword == "logicalType" and (before, after) == ("number", "integer")
            yield Change(
                key,
                f"{keyword}: {before or 'not asked'} -> {after or 'not asked'}",
                before is not None and not narrower,
            )


def _rule_changes(old: Contract, new: Contract) -> Iterator[Change]:
    were, are = ({rule["meta"]["name"]: rule for rule in each.expectations} for each in (old, new))
    for name in [*were, *(each for each in are if each not in were)]:
        key = f"set.{name}"
        if name not in are:
            yield Change(key, "no longer asked", not is_warning(were[name]))
        elif name not in were:
            yield Change(key, "asked now", False)
        else:
            yield from _rule_change(key, were[name], are[name])


def _rule_change(key: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    """The changes of a rule; one that was only told of kept nothing out, so nothing is looser."""
    binding = not is_warning(old)
    if binding == is_warning(new):
        yield Change(key, "severity: a warning now" if binding else "severity: an error now", binding)
    if old["type"] != new["type"]:
        yield Change(key, f"{old['type']} -> {new['type']}", binding)
        return
    before, after = old["kwargs"], new["kwargs"]
    for name in [*before, *(each for each in after if each not in before)]:
        was, is_ = before.get(name), after.get(name)
        if name in BOUNDS:
            default = 1 if name == "mostly" else None
            found = list(bound_change(key, name, before.get(name, default), after.get(name, default), BOUNDS[name]))
        elif name == "value_set":
            found = list(_set_changes(key, old["type"], was, is_))
        elif name == "quantile_ranges" and was["quantiles"] == is_["quantiles"]:
            ranges = zip(was["quantiles"], was["value_ranges"], is_["value_ranges"], strict=True)
            found = [
                change
                for quantile, old_range, new_range in ranges
                for at, upper in ((0, False), (1, True))
                for change in bound_change(key, f"{quantile:g} quantile", old_range[at], new_range[at], upper)
            ]
        else:
            found = [Change(key, f"{name}: {was} -> {is_}", True)] if was != is_ else []
        yield from (Change(each.key, each.said, each.breaks and binding) for each in found)


def _set_changes(key: str, type_: str, old: list[Any], new: list[Any]) -> Iterator[Change]:
    """Changes of the values that a rule names: those that may be there, that must be, or that may not."""
    added, gone = [each for each in new if each not in old], [each for each in old if each not in new]
    may = "be_in_set" in type_ and "not_be" not in type_
    if added:
        yield Change(key, f"value_set: with {', '.join(map(str, added))}", may or "equal" in type_)
    if gone:
        yield Change(key, f"value_set: without {', '.join(map(str, gone))}", not may)
