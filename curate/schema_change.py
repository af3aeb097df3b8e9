"""How one JSON Schema differs from another: which changes let values through that the old one did not.

Who reads data relies on what its schema keeps out. A schema that lets more through breaks readers; one that lets less
through does not. What cannot be told is taken to let more through.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from curate.row_schema import followed, types_of

LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
EXACT = ("pattern", "format", "multipleOf", "uniqueItems")
SAID = frozenset(
    {"title", "description", "examples", "default", "deprecated", "$comment", "$schema", "$id", "$defs", "definitions"}
)
"""Keywords that are for people, or only name what is used elsewhere."""
JUDGED = frozenset(
    {*LOWER, *UPPER, *EXACT, *SAID, "type", "enum", "const", "properties", "required", "additionalProperties", "items"}
    | {"allOf"}
)


@dataclass(frozen=True)
class Change:
    """Something that a contract says otherwise than another."""

    key: str
    """Where, dotted."""
    said: str
    """What has changed, in words."""
    breaks: bool
    """Whether who relied on the old words may find what they kept out."""


def bound_change(key: str, name: str, old: Any, new: Any, upper: bool) -> Iterator[Change]:
    """The change of a bound, None where there is none; names of settings can only be compared with themselves."""
    if old == new:
        return
    numbers = all(isinstance(each, int | float) for each in (old, new))
    looser = new is None or (old is not None and not numbers) or (numbers and ((new > old) if upper else (new < old)))
    yield Change(key, f"{name}: {_shown(old)} -> {_shown(new)}", looser)


def schema_changes(
    key: str, old: Any, new: Any, old_root: dict[str, Any], new_root: dict[str, Any], seen: frozenset[Any] = frozenset()
) -> Iterator[Change]:
    """The changes from one schema to another.

    Args:
        key: where they stand, dotted.
        old: a subschema.
        new: the one in its place.
        old_root: the whole, which references are into.
        new_root: the same of the new one.
        seen: pairs of references that are being compared further out.
    """
    if old == new and old_root == new_root:
        return
    if isinstance(old, bool) or isinstance(new, bool):
        if old != new:
            yield Change(key, f"{_shown(old)} -> {_shown(new)}", old is not True and new is not False)
        return
    pair = old.get("$ref"), new.get("$ref")
    if pair in seen:
        return
    seen |= {pair} - {(None, None)}
    before, after = types_of(old, old_root), types_of(new, new_root)
    old, new = followed(old, old_root), followed(new, new_root)
    if before != after:
        covered = before is None or (
            after is not None and after <= (before | {"integer"} if "number" in before else before)
        )
        yield Change(key, f"type: {_types(before)} -> {_types(after)}", not covered)
    yield from _value_changes(key, old, new)
    for name in LOWER:
        yield from bound_change(key, name, old.get(name), new.get(name), upper=False)
    for name in UPPER:
        yield from bound_change(key, name, old.get(name), new.get(name), upper=True)
    for name in EXACT:
        if old.get(name) != new.get(name):
            finer = name == "multipleOf" and None not in (old.get(name), new.get(name)) and new[name] % old[name] == 0
            looser = not finer and old.get(name) not in (None, False)
            yield Change(key, f"{name}: {_shown(old.get(name))} -> {_shown(new.get(name))}", looser)
    yield from _key_changes(key, old, new, old_root, new_root, seen)
    if "items" in old or "items" in new:
        yield from schema_changes(
            f"{key}.items", old.get("items", True), new.get("items", True), old_root, new_root, seen
        )
    were, are = old.get("allOf", []), new.get("allOf", [])
    if were != are:
        yield Change(key, "allOf: other conditions", any(each not in are for each in were))
    for name in sorted({*old, *new} - JUDGED):
        if old.get(name) != new.get(name):
            yield Change(
                key, f"{name}: changed; whether it lets more through cannot be told", name in old or name == "$ref"
            )
    said = [
        name for name in ("title", "description", "examples", "default", "deprecated") if old.get(name) != new.get(name)
    ]
    if said:
        yield Change(key, f"{', '.join(said)}: other words", False)


def _value_changes(key: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    were, are = (each.get("enum", [each["const"]] if "const" in each else None) for each in (old, new))
    if were == are:
        return
    if were is None or are is None:
        yield Change(key, "values: listed now" if were is None else "values: no longer listed", are is None)
        return
    if added := [value for value in are if value not in were]:
        yield Change(key, f"values: {_listed(added)} may be there now", True)
    if gone := [value for value in were if value not in are]:
        yield Change(key, f"values: {_listed(gone)} may no longer be there", False)


def _key_changes(
    key: str,
    old: dict[str, Any],
    new: dict[str, Any],
    old_root: dict[str, Any],
    new_root: dict[str, Any],
    seen: frozenset[Any],
) -> Iterator[Change]:
    were, are = old.get("properties", {}), new.get("properties", {})
    for name in [*were, *(name for name in are if name not in were)]:
        at = f"{key}.{name}"
        if name not in are:
            yield Change(at, "removed", True)
        elif name not in were:
            yield Change(at, "added", False)
        else:
            yield from schema_changes(at, were[name], are[name], old_root, new_root, seen)
    needed, needs = old.get("required", []), new.get("required", [])
    for name in [*needed, *needs]:
        if (name in needed) != (name in needs) and (name in are or name not in were):
            yield Change(
                f"{key}.{name}", "may be missing now" if name in needed else "can no longer be missing", name in needed
            )
    other, now = old.get("additionalProperties", True), new.get("additionalProperties", True)
    if other != now:
        yield from schema_changes(f"{key} (any other key)", other, now, old_root, new_root, seen)


def _types(found: set[str] | None) -> str:
    return "any" if found is None else " or ".join(sorted(found)) or "none"


def _listed(values: list[Any]) -> str:
    return ", ".join(map(_shown, values[:10])) + (", …" if len(values) > 10 else "")


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
