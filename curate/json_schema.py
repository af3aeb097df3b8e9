"""JSON Schemas from elsewhere: what they refer to is in them, and what they ask of a value has an end."""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

import jsonschema_rs

MOST_STEPS = 10_000
"""Subschemas that one value may be held to. Thirty definitions that each refer twice to the next make a billion."""
STEPS_AT_ONCE = 10_000
SECONDS = 2
"""A value so deep that it may be held to more than so many subschemas, itself and all in it, has so much time of the
processor: a definition that comes back to itself twice makes twice as many of each level."""
LEVELS = 200
"""Deeper than any value is read."""
BACKTRACKS = 100_000
"""Steps that a pattern with look-around or a backreference may go back in a text; others take linear time."""
TOGETHER, ALONE = ("allOf", "anyOf", "oneOf"), ("not", "if", "then", "else")
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


@dataclass(frozen=True)
class Violation:
    """A rule of a schema that a value breaks."""

    path: list[str | int]
    """Where in the value."""
    rule: list[str | int]
    """Where in the schema."""
    kind: str
    """The rule's name, as jsonschema_rs has it; `time` where there was none to find out."""
    message: str


class Validator:
    """What holds values to a JSON Schema."""

    def __init__(self, validator: jsonschema_rs.Validator, levels: int | None) -> None:
        self._validator = validator
        self._levels = levels

    def is_valid(self, value: Any) -> bool:
        """Whether a value fits; one that cannot be held to the schema in SECONDS does not.

        Raises:
            ValueError: the value holds what JSON cannot, or a number past all bounds.
        """
        if self._quick(value):
            return self._validator.is_valid(value)
        return bool(_in_time(lambda: self._validator.is_valid(value)))

    def violations(self, value: Any, most: int) -> list[Violation]:
        """The rules that a value breaks, the first so many of them.

        Raises:
            ValueError: as `is_valid`.
        """

        def found() -> list[list[Any]]:
            return [
                [list(each.instance_path), list(each.schema_path), each.kind.name, each.message]
                for each in islice(self._validator.iter_errors(value), most)
            ]

        told = found() if self._quick(value) else _in_time(found)
        if told is None:
            told = [[[], [], "time", f"holding it to the schema takes more than {SECONDS} s: it is nested too deeply"]]
        return [Violation(*each) for each in told]

    def _quick(self, value: Any) -> bool:
        return self._levels is None or not deeper(value, self._levels)


def _in_time(give: Callable[[], Any]) -> Any:
    """What a function gives, as JSON has it, in a process of its own; None if it takes more than SECONDS.

    The validator cannot be interrupted.
    """
    answer, told = os.pipe()
    child = os.fork()
    if not child:
        try:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)  # which ends the process
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            with os.fdopen(told, "w", encoding="utf-8") as pipe:
                json.dump(give(), pipe)
        finally:
            os._exit(0)
    os.close(told)
    with os.fdopen(answer, encoding="utf-8") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return json.loads(said) if said else None


def deeper(value: Any, levels: int) -> bool:
    """Whether a value holds anything below so many levels of lists and dicts."""
    layer = [value]
    for _ in range(levels + 1):
        if not layer:
            break
        inner = [each.values() if isinstance(each, dict) else each for each in layer if isinstance(each, (dict, list))]
        layer = [child for children in inner for child in children]
    return bool(layer)


def validator_of(schema: Any) -> Validator:
    """The validator of a JSON Schema, Draft 2020-12 where it names no other; formats are checked, nothing is fetched.

    Raises:
        ValueError: it is no schema, refers to something outside, or holds a value to more than MOST_STEPS subschemas.
    """
    options = jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS)
    try:
        validator = jsonschema_rs.validator_for(schema, validate_formats=True, offline=True, pattern_options=options)
        counted = _Steps(schema) if isinstance(schema, dict) else None
        steps = counted.most() if counted else 1
    except RecursionError:
        raise ValueError("it is nested, or refers from one definition to the next, too deeply") from None
    except TypeError as error:
        raise ValueError(str(error)) from None
    except ValueError as error:
        if outside := re.match(r"Resource '(.*?)' is not present", str(error)):
            raise ValueError(f"it refers to {outside[1]!r}, which is not in it, and nothing is fetched") from None
        raise
    if steps > MOST_STEPS:
        raise ValueError(f"it holds one value to {steps:.2g} subschemas by references; at most {MOST_STEPS:,} may be")
    return Validator(validator, counted.levels() if counted else None)


class _Steps:
    """How many subschemas one value is held to: those that are about itself, not about values in it."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._homes: dict[int, tuple[str, dict[str, Any]]] = {}
        """Of each object of the schema the URI that its references are relative to, and the object that it names."""
        self._named: dict[str, Any] = {}
        """What a URI names."""
        self._counted: dict[int, float] = {}
        self._objects = list(self._walk(schema))

    def most(self) -> float:
        return max(map(self._of, self._objects))

    def levels(self) -> int | None:
        """How deep a value may be to be held to STEPS_AT_ONCE subschemas at most along any way into it; None where it
        may be of any depth."""
        cost: dict[int, float] = {}
        for level in range(LEVELS):
            known: dict[int, float] = {}
            most = max(self._deep(part, cost, known) for part in self._objects)
            if most > STEPS_AT_ONCE:
                return level
            if known == cost:
                break
            cost = known
        return None

    def _deep(self, part: Any, below: dict[int, float], known: dict[int, float]) -> float:
        """Subschemas that a value is held to along a way into it, those of the level below being known."""
        if not isinstance(part, dict) or id(part) not in self._homes:
            return 1
        if id(part) not in known:
            known[id(part)] = 0
            ways = [sum(below.get(id(each), 0) for each in way) for way in self._ways(part)]
            known[id(part)] = 1 + max(ways) + sum(self._deep(each, below, known) for each in self._same(part))
        return known[id(part)]

    def _ways(self, part: dict[str, Any]) -> list[list[Any]]:
        """Subschemas about what is in a value: those that one item is held to, and those that one of its fields is."""
        of_items = [part[key] for key in ("items", "additionalItems", "contains", "unevaluatedItems") if key in part]
        first = part.get("prefixItems", part.get("items"))
        of_items += first if isinstance(first, list) else []
        of_fields = [part[key] for key in ("additionalProperties", "unevaluatedProperties") if key in part]
        patterns, named = part.get("patternProperties"), part.get("properties")
        of_fields += patterns.values() if isinstance(patterns, dict) else ()
        return [of_items, *([*of_fields, each] for each in (named.values() if isinstance(named, dict) else [None]))]

    def _walk(self, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Every object, the outer before the inner."""
        waiting: list[tuple[Any, str, dict[str, Any]]] = [(schema, "", schema)]
        while waiting:
            part, base, home = waiting.pop()
            if isinstance(part, dict):
                if isinstance(part.get("$id"), str):
                    base, home = urldefrag(urljoin(base, part["$id"])).url, part
                self._homes[id(part)] = base, home
                self._named.setdefault(base, home)
                for key in ("$anchor", "$dynamicAnchor"):
                    self._named[f"{base}#{part.get(key)}"] = part
                yield part
            if isinstance(part, dict | list):
                inner = part.values() if isinstance(part, dict) else part
                waiting += [(each, base, home) for each in inner]

    def _of(self, part: Any) -> float:
        if not isinstance(part, dict) or id(part) not in self._homes:
            return 1
        if id(part) not in self._counted:
            self._counted[id(part)] = 0  # what refers to itself goes no further
            self._counted[id(part)] = 1 + sum(map(self._of, self._same(part)))
        return self._counted[id(part)]

    def _same(self, part: dict[str, Any]) -> list[Any]:
        """Subschemas about the same value."""
        following = [part[key] for key in ALONE if key in part]
        following += [each for key in TOGETHER if isinstance(part.get(key), list) for each in part[key]]
        following += [self._referred(part, part[key]) for key in REFERENCES if isinstance(part.get(key), str)]
        dependent = part.get("dependentSchemas")
        following += dependent.values() if isinstance(dependent, Mapping) else ()
        return following

    def _referred(self, part: dict[str, Any], reference: str) -> Any:
        """What a reference is to; None where that is not in the schema, as the drafts' own schemas."""
        base, home = self._homes[id(part)]
        uri, fragment = urldefrag(urljoin(base, reference)) if not reference.startswith("#") else (base, reference[1:])
        found: Any = home if uri == base else self._named.get(uri)
        if fragment and not fragment.startswith("/"):
            return self._named.get(f"{uri}#{fragment}")
        for step in unquote(fragment).split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and step.isdecimal() and int(step) < len(found):
                found = found[int(step)]
            elif isinstance(found, dict):
                found = found.get(step)
            else:
                return None
        return found
