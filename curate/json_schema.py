"""JSON Schemas from elsewhere: what they refer to is in them, and what they ask of a value has an end."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

import jsonschema_rs

MOST_STEPS = 10_000
"""Subschemas that one value may be held to. Thirty definitions that each refer twice to the next make a billion."""
BACKTRACKS = 100_000
"""Steps that a pattern with look-around or a backreference may go back in a text; others take linear time."""
TOGETHER, ALONE = ("allOf", "anyOf", "oneOf"), ("not", "if", "then", "else")
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


def validator_of(schema: Any) -> jsonschema_rs.Validator:
    """The validator of a JSON Schema, Draft 2020-12 where it names no other; formats are checked, nothing is fetched.

    Raises:
        ValueError: it is no schema, refers to something outside, or holds a value to more than MOST_STEPS subschemas.
    """
    options = jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS)
    try:
        validator = jsonschema_rs.validator_for(schema, validate_formats=True, offline=True, pattern_options=options)
        steps = _Steps(schema).most() if isinstance(schema, dict) else 1
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
    return validator


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
            following = [part[key] for key in ALONE if key in part]
            following += [each for key in TOGETHER if isinstance(part.get(key), list) for each in part[key]]
            following += [self._referred(part, part[key]) for key in REFERENCES if isinstance(part.get(key), str)]
            dependent = part.get("dependentSchemas")
            following += dependent.values() if isinstance(dependent, Mapping) else ()
            self._counted[id(part)] = 1 + sum(map(self._of, following))
        return self._counted[id(part)]

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
