"""The form of targets: the order of their keys, the spelling of their numbers and strings, what stands between them.

A grammar of a JSON Schema writes keys in the schema's order and each value in few spellings. A model is trained to
write targets, and held to another order it is wrong from the first key on. So the schema is written in the targets'
order and made wider where a target spells a value as the grammar could not. It allows the same objects as before but
for what `TargetForm.widened` names.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jsonschema_rs

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

SPACED: "JsonCompileOptions" = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""As `curate.read.mapping` writes targets."""
ANY_SPACE = r"(\r?\n)?[ \t]{0,40}"
"""White space of targets that have no one way to use it, as those that are indented; bounded, so as not to run in
circles in."""
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
TEXTS = ("pattern", "format", "minLength", "maxLength")
BESIDE = ("allOf", "anyOf", "oneOf")
"""Keywords of schemas that are about the very same value."""
OF_OBJECTS = frozenset({"properties", "required", "patternProperties", "additionalProperties"})
"""Keywords that name keys."""
APART = ("$schema", "$id", "$defs", "definitions")
"""Keywords that say nothing of the value itself, and stay where they are."""
KEYS = 256
"""The most keys of an object that are put in an order."""
ORDERS = 1000
"""The most ways, the most frequent first, in which targets write an object that its order is found from."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPE = re.compile(r"\\u(?!00[01])[0-9a-fA-F]{4}")
"""Of a character that could stand in the string as it is."""


@dataclass(frozen=True)
class TargetForm:
    """How targets are written, and the schema so written."""

    schema: Mapping[str, Any]
    """Its `properties` in the order of targets' keys; nothing else is changed."""
    grammar_schema: Mapping[str, Any]
    """That with all orders said, also those that `properties` cannot say, and made wider for spellings."""
    options: "JsonCompileOptions"
    """Of the grammar: what stands between values, and whether strings may have escapes that they do not need."""
    reordered: tuple[str, ...]
    """Places (JSON Pointers, `*` for an item) where the schema names keys in another order than targets write them."""
    widened: tuple[str, ...]
    """What of the schema is given up for the spellings of targets, e.g. `/share: maximum`."""

    @staticmethod
    def of(schema: Mapping[str, Any], targets: Iterable[str]) -> "TargetForm":
        """The form that targets have.

        Args:
            schema: JSON Schema of the answer.
            targets: JSON texts; those that are not JSON say nothing.
        """
        written = list(dict.fromkeys(targets))
        seen = _Seen(schema)
        for text in written:
            try:
                value = json.loads(text)
                spelled = json.loads(text, parse_int=_Number, parse_float=_Number)
                if "\\" in text:
                    spelled = _with_raw_strings(spelled, iter(_STRING.findall(text)))
                seen.add(value, spelled)
            except (ValueError, RecursionError):
                continue
        ordered, reordered = seen.ordered(schema, wrapped=False)
        wider, widened = seen.widened(ordered)
        whole, _ = seen.ordered(wider, wrapped=True)
        return TargetForm(ordered, whole, _options(written), tuple(reordered), tuple(widened))


class _Number(str):
    """A number as it is spelled."""

    __slots__ = ()


class _Seen:
    """What targets have at each place of a schema.

    Args:
        schema: the root; places in it are JSON Pointers.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.root = dict(schema)
        self.keys: dict[str, Counter[tuple[str, ...]]] = {}
        """By place of an object's schema: how often keys stand in which order."""
        self.spelled: dict[str, set[str]] = {}
        """By place of a value's schema: keywords that its spelling breaks in the grammar."""
        self.paths: dict[str, str] = {}
        """By place in the schema: a place of the target, for people."""
        self._validators: dict[str, jsonschema_rs.Validator] = {}

    def add(self, value: Any, spelled: Any) -> None:
        """Walk through one target. `spelled` has its numbers and strings as they are written."""
        self._visit("", self.root, value, spelled, "")

    def _visit(
        self,
        at: str,
        node: Any,
        value: Any,
        spelled: Any,
        path: str,
        within: frozenset[str] = frozenset(),
        own: bool = True,
    ) -> None:
        """One value at one place; `own`: whether no other schema of the same value says the order of its keys."""
        if not isinstance(node, dict) or at in within:
            return
        self.paths.setdefault(at, path or "/")
        others = [key for key in ("$ref", *BESIDE) if key in node]
        alone = len(others) == 1 and others != ["allOf"] and not node.keys() & OF_OBJECTS
        beside = (within | {at}, own and alone)
        reference = node.get("$ref")
        if isinstance(reference, str) and reference.startswith("#"):
            self._visit(reference[1:], _pointed(self.root, reference[1:]), value, spelled, path, *beside)
        for keyword in BESIDE:
            branches = node.get(keyword)
            for number, branch in enumerate(branches if isinstance(branches, list) else ()):
                place = f"{at}/{keyword}/{number}"
                if keyword == "allOf" or self._fits(place, value):
                    self._visit(place, branch, value, spelled, path, *beside)
        if isinstance(value, dict):
            if own and not alone:
                self.keys.setdefault(at, Counter())[tuple(value)] += 1
            for name, inner in value.items():
                for place, schema in _property(at, node, name):
                    self._visit(place, schema, inner, spelled[name], f"{path}/{name}")
        elif isinstance(value, list):
            named = node.get("prefixItems")
            first = named if isinstance(named, list) else []
            for number, inner in enumerate(value):
                place = f"{at}/prefixItems/{number}" if number < len(first) else f"{at}/items"
                schema = first[number] if number < len(first) else node.get("items")
                self._visit(place, schema, inner, spelled[number], f"{path}/*")
        elif "enum" not in node and "const" not in node:
            self.spelled.setdefault(at, set()).update(_given_up(node, spelled))

    def _fits(self, place: str, value: Any) -> bool:
        if place not in self._validators:
            registry = jsonschema_rs.Registry([("urn:target", self.root)])
            branch = {"$ref": f"urn:target#{quote(place)}"}
            self._validators[place] = jsonschema_rs.validator_for(branch, registry=registry, offline=True)
        return self._validators[place].is_valid(value)

    def ordered(self, schema: Mapping[str, Any], wrapped: bool) -> tuple[dict[str, Any], list[str]]:
        """The schema with each `properties` in the order of targets' keys, and the places where this is another order.

        Args:
            schema: the root.
            wrapped: whether to say too what no `properties` of its own can say (keys of several schemas of one object,
                or that none names): by one of all keys in front, which allows anything.
        """
        root: dict[str, Any] = deepcopy(dict(schema))
        changed: dict[str, None] = {}
        referred = set(_references(root))
        # The innermost first: what is wrapped moves to another place.
        for at in sorted(self.keys, key=lambda place: -place.count("/")):
            node = _pointed(root, at)
            before = list(node.get("properties", {})) if isinstance(node.get("properties"), dict) else []
            order = _order(self.keys[at], list(_declared(self.root, _pointed(self.root, at), frozenset())))
            rank = {name: place for place, name in enumerate(order)}
            own = sorted((name for name in before if name in rank), key=lambda name: rank[name])
            if own != [name for name in before if name in rank]:
                node["properties"] = {name: node["properties"][name] for name in _merged(before, own)}
                changed[self.paths[at]] = None
            if order != [name for name in _declared(root, node, frozenset()) if name in rank]:
                changed[self.paths[at]] = None
                stays = tuple(f"{at}/{key}/" for key in APART)
                if wrapped and not any(each.startswith(f"{at}/") and not each.startswith(stays) for each in referred):
                    inner = dict(node)
                    apart = {key: inner.pop(key) for key in APART if key in inner}
                    node.clear()
                    node |= apart | {"allOf": [{"properties": dict.fromkeys(order, True)}, inner]}
        return root, sorted(changed)

    def widened(self, schema: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """The schema without the keywords that targets' spellings break in the grammar; and which they are."""
        root: dict[str, Any] = deepcopy(dict(schema))
        told: dict[str, None] = {}
        for at, keywords in sorted(self.spelled.items()):
            node = _pointed(root, at)
            for keyword in sorted(keywords):
                if keyword != "type":
                    del node[keyword]
                else:
                    named = [node["type"]] if isinstance(node["type"], str) else node["type"]
                    node["type"] = ["number" if each == "integer" else each for each in named]
                told[f"{self.paths[at]}: {'integer' if keyword == 'type' else keyword}"] = None
        return root, list(told)


def _property(at: str, node: Mapping[str, Any], name: str) -> Iterator[tuple[str, Any]]:
    """The schemas of an object's key, and their places."""
    properties, patterns = node.get("properties"), node.get("patternProperties")
    known = False
    if isinstance(properties, dict) and name in properties:
        known = True
        yield f"{at}/properties/{_escaped(name)}", properties[name]
    for pattern, schema in (patterns if isinstance(patterns, dict) else {}).items():
        if _matching(pattern).is_valid(name):
            known = True
            yield f"{at}/patternProperties/{_escaped(pattern)}", schema
    if not known:
        yield f"{at}/additionalProperties", node.get("additionalProperties")


@cache
def _matching(pattern: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for({"pattern": pattern}, offline=True)


def _references(node: Any) -> Iterator[str]:
    """The places in it that a schema refers to."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        if key == "$ref" and isinstance(value, str) and value.startswith("#"):
            yield value[1:]
        yield from _references(value)


def _declared(root: Mapping[str, Any], node: Any, within: frozenset[int]) -> dict[str, None]:
    """The keys that a schema, and those about the same value, name, in the order that the grammar takes them."""
    found: dict[str, None] = {}
    if not isinstance(node, dict) or id(node) in within:
        return found
    within |= {id(node)}
    if isinstance(node.get("properties"), dict):
        found |= dict.fromkeys(node["properties"])
    reference = node.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        found |= {name: None for name in _declared(root, _pointed(root, reference[1:]), within) if name not in found}
    for keyword in BESIDE:
        for branch in node[keyword] if isinstance(node.get(keyword), list) else ():
            found |= {name: None for name in _declared(root, branch, within) if name not in found}
    required = node.get("required")
    return found | {name: None for name in (required if isinstance(required, list) else ()) if name not in found}


def _order(orders: Counter[tuple[str, ...]], declared: Sequence[str]) -> list[str]:
    """The order in which most targets write the keys that are to be in one.

    Those are the declared ones that some target has, and of the others those that stand before one: what is named
    nowhere comes last in the grammar. Which of two keys comes first, most targets say; where these run in circles, or
    none has both, the one that is declared first.
    """
    known = set(declared)
    names: dict[str, None] = {}
    ahead: Counter[tuple[str, str]] = Counter()
    for keys, count in orders.most_common(ORDERS):
        last = max((place for place, name in enumerate(keys) if name in known), default=-1)
        placed = keys[: last + 1]
        names |= dict.fromkeys(placed)
        if len(names) > KEYS:
            return [name for name in declared if any(name in each for each in orders)]
        for place, first in enumerate(placed):
            for second in placed[place + 1 :]:
                ahead[first, second] += count
    left = [*(name for name in declared if name in names), *(name for name in names if name not in known)]
    found = []
    while left:
        behind = {name: sum(ahead[other, name] > ahead[name, other] for other in left) for name in left}
        found.append(min(left, key=lambda name: behind[name]))
        left.remove(found[-1])
    return found


def _merged(before: Sequence[str], own: Sequence[str]) -> list[str]:
    """All of `before`: those of `own` in its order, the others where they stand."""
    moved, wanted = set(own), iter(own)
    return [next(wanted) if name in moved else name for name in before]


def _given_up(node: Mapping[str, Any], spelled: Any) -> set[str]:
    """The keywords of a value's schema that its spelling breaks in the grammar, though the value fits."""
    if isinstance(spelled, _Number):
        types = [node["type"]] if isinstance(node.get("type"), str) else node.get("type", [])
        exponent, point = "e" in spelled.lower(), "." in spelled
        whole = {"type"} if "integer" in types and "number" not in types and (exponent or point) else set()
        unusual = exponent or spelled.startswith("-0") or bool(whole)
        return whole | (node.keys() & set(BOUNDS) if unusual else set())
    return node.keys() & set(TEXTS) if isinstance(spelled, str) and _ESCAPE.search(spelled) else set()


def _with_raw_strings(value: Any, strings: Iterator[str]) -> Any:
    """A JSON value with each string, keys aside, as it is written; `strings` are all of its text."""
    if isinstance(value, dict):
        found = {}
        for name, inner in value.items():
            next(strings)
            found[name] = _with_raw_strings(inner, strings)
        return found
    if isinstance(value, list):
        return [_with_raw_strings(inner, strings) for inner in value]
    return next(strings) if isinstance(value, str) and not isinstance(value, _Number) else value


def _options(targets: Sequence[str]) -> "JsonCompileOptions":
    between: Counter[str] = Counter()
    bare = [_STRING.sub('""', text) for text in targets]
    for text in bare:
        between.update(re.findall(r"\s*[,:]\s*", text))
    commas, colons = ([each for each in between if each.strip() == mark] or [f"{mark} "] for mark in ",:")
    # Where there is but one way to write each, and no other white space.
    one_way = len(commas) == len(colons) == 1 and not any(re.search(r"[{\[]\s|\s[}\]]|^\s|\s$", text) for text in bare)
    options: JsonCompileOptions = {**SPACED, "lenient": True}
    if one_way:
        options |= {"item_separator": commas[0], "key_separator": colons[0]}
    else:
        options |= {"item_separator": ",", "key_separator": ":", "whitespace_flexible": True}
        options["whitespace_pattern"] = ANY_SPACE
    if any(_ESCAPE.search(text) for text in targets):
        options["json_allow_general_unicode_escapes"] = True
    return options


def _pointed(root: Any, pointer: str) -> Any:
    """What stands at a JSON Pointer; None where nothing does."""
    for part in pointer.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(root, list):
            root = root[int(part)] if part.isdecimal() and int(part) < len(root) else None
        else:
            root = root.get(part) if isinstance(root, dict) else None
    return root


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
