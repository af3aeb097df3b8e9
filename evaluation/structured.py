"""One structured answer judged: is it JSON, does it fit the schema, is it right."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jsonschema_rs

from curate import strict_json

Fault = Literal[
    "empty",
    "code_fence",
    "text_before",
    "text_after",
    "syntax",
    "duplicate_key",
    "not_finite",
    "lone_surrogate",
    "too_deep",
]
"""Why an output is not JSON and nothing else. `text_before`, `text_after`: an object or array is there, with other text
around it. `syntax`: anything that no other class names, an answer cut short among it."""

_ABSENT = object()


@dataclass(frozen=True)
class Judgement:
    """What is to be said of one output."""

    fault: Fault | None
    """Why it is not JSON; None where it is."""
    detail: str
    """The fault, or the first violation of the schema, in words; "" where there is none."""
    schema_valid: bool = False
    whole_match: bool = False
    """Equal to what is expected."""
    missing_keys: list[str] = field(default_factory=list)
    """Keys of the expected object that the output, an object, lacks."""
    invented_keys: list[str] = field(default_factory=list)
    """Keys of the output that the expected object does not have."""
    fields: dict[str, bool] = field(default_factory=dict)
    """Whether each field is right: equal in type and value, or absent in both."""

    @property
    def parses(self) -> bool:
        return self.fault is None

    @property
    def wrong_but_valid(self) -> bool:
        """What no check of form catches."""
        return self.schema_valid and not self.whole_match


def judge(output: str, expected: Any, validator: jsonschema_rs.Validator, fields: Sequence[str]) -> Judgement:
    """Judge an output.

    Args:
        output: the generated text; white space around the JSON is allowed, as JSON has it.
        expected: the right answer as a Python value.
        validator: of the answer's JSON Schema (Draft 2020-12).
        fields: top-level fields to judge one by one; all are wrong where the output is not an object.
    """
    try:
        value = strict_json.loads(output)
    except strict_json.InvalidJson as error:
        fault: Fault = _syntax_fault(output) if error.kind == "syntax" else error.kind
        return Judgement(fault, str(error), fields=dict.fromkeys(fields, False))
    violation = _violation(value, validator)
    given: Mapping[str, Any] = value if isinstance(value, dict) else {}
    right: Mapping[str, Any] = expected if isinstance(expected, dict) else {}
    return Judgement(
        fault=None,
        detail=violation,
        schema_valid=not violation,
        whole_match=equal(value, expected),
        missing_keys=sorted(right.keys() - given.keys()) if isinstance(value, dict) else [],
        invented_keys=sorted(given.keys() - right.keys()),
        fields={
            name: isinstance(value, dict) and equal(given.get(name, _ABSENT), right.get(name, _ABSENT))
            for name in fields
        },
    )


def equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal as JSON Schema has it: 1 is 1.0, and neither is true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    return bool(one == other)


def _violation(value: Any, validator: jsonschema_rs.Validator) -> str:
    """The first violation of the schema, with its place; "" if there is none."""
    try:
        error = next(iter(validator.iter_errors(value)), None)
    except ValueError as unreadable:  # nested deeper than the validator goes
        return str(unreadable)
    return "" if error is None else f"at /{'/'.join(map(str, error.instance_path))}: {error.message}"


def _syntax_fault(output: str) -> Fault:
    """The class of an output that does not parse."""
    text = output.strip()
    if not text:
        return "empty"
    if text.startswith("```"):
        return "code_fence"
    if _begins_with_json(text):
        return "text_after"
    begins = [at for at in (text.find("{"), text.find("[")) if at > 0]
    return "text_before" if any(_begins_with_json(text[at:]) for at in begins) else "syntax"


def _begins_with_json(text: str) -> bool:
    """Whether a whole object or array stands at the beginning."""
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict | list)
