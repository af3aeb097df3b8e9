"""The form of an output: is it the JSON that was asked for, and if not, in which one way does it first fail.

Every output has exactly one class. What else is wrong with it stands in its flags. Nothing is repaired silently: where
a JSON value can be found inside other text, that is told apart from an output that is one.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, get_args

import jsonschema_rs

from curate.errors import AssayError
from curate.text import strict_json

Class = Literal[
    "valid",
    "wrong_type",
    "missing_key",
    "invented_key",
    "wrong_enum",
    "wrong_value",
    "code_fence",
    "text_before",
    "text_after",
    "text_around",
    "duplicate_key",
    "not_finite",
    "lone_surrogate",
    "too_deep",
    "empty",
    "refusal",
    "repetition",
    "truncated",
    "syntax",
    "no_answer",
]
"""`valid`: strict JSON that fits the schema. The next five: strict JSON that breaks it, by the rule it breaks (in this
order, if it breaks several); `wrong_value` is any rule the others do not name. The rest is not JSON and nothing else:
`code_fence`, `text_*`: a JSON value with other text around it; `duplicate_key` to `too_deep`: what only a lax reader
takes; `refusal`, `repetition` (the text runs in circles), `truncated` (JSON that ends too early), `syntax` (JSON that
is broken within) and `no_answer` (no object or array begins anywhere) where no value can be found."""

Flag = Literal[
    "wrong_type",
    "missing_key",
    "invented_key",
    "wrong_enum",
    "wrong_value",
    "empty",
    "refusal",
    "repetition",
    "truncated",
]
FLAGS: tuple[Flag, ...] = get_args(Flag)
RULES: dict[str, Flag] = {
    "type": "wrong_type",
    "required": "missing_key",
    "dependentRequired": "missing_key",
    "additionalProperties": "invented_key",
    "unevaluatedProperties": "invented_key",
    "propertyNames": "invented_key",
    "enum": "wrong_enum",
    "const": "wrong_enum",
}
"""What it means that a keyword of the schema does not hold; any other is `wrong_value`."""

ABSENT: Any = object()
"""In place of a value that is not there; null is a value."""
DEEPEST = 200
"""Levels of nesting that are read. Python's own limit depends on who calls the parser; this one does not."""
VIOLATIONS = 100
"""Violations of one output that are looked at."""
STARTS = 32
"""Places at which a JSON value is looked for within other text."""
MESSAGE = 300
"""Characters of a message that are kept: a validator's repeats the offending value, which may be a whole document."""


@dataclass(frozen=True, slots=True)
class Form:
    """What is to be said of an output's form."""

    kind: Class
    detail: str = ""
    """The fault, or the first violation of the schema, in words; "" where there is none."""
    flags: frozenset[Flag] = frozenset()
    value: Any = ABSENT
    """The JSON value that the output is; ABSENT where it is none, strictly read."""
    extracted: Any = ABSENT
    """The JSON value that is found in it if other text is forgiven; `value` where there is one."""
    extracted_valid: bool = False
    """Whether that value fits the schema."""

    @property
    def parses(self) -> bool:
        return self.value is not ABSENT

    @property
    def valid(self) -> bool:
        return self.kind == "valid"


def validator_of(schema: Any) -> jsonschema_rs.Validator:
    """The validator of a JSON Schema, Draft 2020-12 where it names no other; formats are checked, nothing is fetched.

    Raises:
        AssayError: it is no schema.
    """
    try:
        return jsonschema_rs.validator_for(schema, validate_formats=True, offline=True)
    except (ValueError, TypeError, RecursionError) as error:
        raise AssayError(
            f"The target schema is no JSON Schema: {short(str(error))}", remedy="Mend target.schema.json."
        ) from None


def form_of(output: str, validator: jsonschema_rs.Validator, cut_off: bool = False) -> Form:
    """Judge an output's form; any text whatever gives an answer.

    Args:
        output: the generated text; white space around the JSON is allowed, as JSON has it.
        validator: of the answer's schema.
        cut_off: whether the generator stopped it at its limit of tokens.
    """
    cut: set[Flag] = {"truncated"} if cut_off else set()
    try:
        value = _read(output)
    except strict_json.InvalidJson as error:
        return _not_json(output, error, validator, cut)
    flags, detail = violations(value, validator)
    if not flags:
        return Form("valid", "", frozenset(cut), value, value, True)
    first = next(flag for flag in FLAGS if flag in flags)
    return Form(first, detail, frozenset(flags | cut), value, value)


def violations(value: Any, validator: jsonschema_rs.Validator) -> tuple[set[Flag], str]:
    """Which kinds of rules of the schema a value breaks, and the first violation in words with its place."""
    try:
        if validator.is_valid(value):
            return set(), ""
        errors = list(islice(validator.iter_errors(value), VIOLATIONS))
    except (ValueError, TypeError, RecursionError) as unreadable:  # a number, say, that the validator cannot hold
        return {"wrong_value"}, short(str(unreadable))
    first = errors[0]
    place = "/".join(map(str, first.instance_path))
    flags: set[Flag] = {RULES.get(error.kind.name, "wrong_value") for error in errors}
    return flags, short(f"at /{place}: {first.message}")


def _read(text: str) -> Any:
    """The value of a text that is strict JSON of at most DEEPEST levels.

    Raises:
        InvalidJson: it is not.
    """
    try:
        value = strict_json.loads(text)
    except strict_json.InvalidJson as error:
        if error.kind == "syntax" and re.search(r"\d{4301}", text):  # more than Python reads; a double holds 309
            raise strict_json.InvalidJson("not_finite", "a number of more digits than can be read") from None
        raise
    if text.count("[") + text.count("{") > DEEPEST and _deeper(value, DEEPEST):
        raise strict_json.InvalidJson("too_deep", f"nested more than {DEEPEST} levels deep")
    return value


def _deeper(value: Any, levels: int) -> bool:
    """Whether a value holds anything below so many levels."""
    inside = [value]
    for _ in range(levels + 1):
        inside = [
            inner
            for each in inside
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(inside)


def _not_json(output: str, error: strict_json.InvalidJson, validator: jsonschema_rs.Validator, cut: set[Flag]) -> Form:
    text = output.strip()
    detail = short(str(error))
    if not text:
        return Form("empty", "nothing but white space", frozenset[Flag]({"empty", *cut}))
    if error.kind != "syntax":
        return Form(error.kind, detail, frozenset(cut | signs(text)))
    begin, end, value, fits = _extract(text, validator)
    if value is not ABSENT:
        kind = _around(text, begin, end)
        circles: set[Flag] = {"repetition"} if runs_in_circles(text) else set()
        return Form(kind, detail, frozenset(cut | circles), ABSENT, value, fits)
    flags = cut | signs(text)
    opened = re.search(r"[{\[]", text)
    if opened is not None and "{" in text and text[opened.start()] == "[":
        opened = re.search("{", text)
    if "refusal" in flags:
        return Form("refusal", detail, frozenset(flags))
    early = opened is not None and ends_early(text[opened.start() :])
    if early:
        flags.add("truncated")
    if "repetition" in flags:
        return Form("repetition", detail, frozenset(flags))
    if opened is None:
        return Form("no_answer", detail, frozenset(flags))
    return Form("truncated" if early else "syntax", detail, frozenset(flags))


def signs(text: str) -> set[Flag]:
    """Whether a text begins by declining, and whether it runs in circles."""
    found: set[Flag] = {"refusal"} if REFUSAL.search(text[:200]) else set()
    return found | {"repetition"} if runs_in_circles(text) else found


def _extract(text: str, validator: jsonschema_rs.Validator) -> tuple[int, int, Any, bool]:
    """The first object or array within a text that fits the schema, else the first: (begin, end, value, whether)."""
    found: tuple[int, int, Any, bool] = (0, 0, ABSENT, False)
    for begin, end in _values(text):
        try:
            value = _read(text[begin:end])
        except strict_json.InvalidJson:
            continue
        if not violations(value, validator)[0]:
            return begin, end, value, True
        if found[2] is ABSENT or (isinstance(value, dict) and not isinstance(found[2], dict)):
            found = begin, end, value, False
    return found


_DECODER = json.JSONDecoder()


def _values(text: str) -> Iterator[tuple[int, int]]:
    """Where objects and arrays stand in a text, one after the other."""
    at = 0
    for _ in range(STARTS):
        opened = re.compile(r"[{\[]").search(text, at)
        if opened is None:
            return
        try:
            _, end = _DECODER.raw_decode(text, opened.start())
        except (ValueError, RecursionError):
            at = opened.start() + 1
            continue
        yield opened.start(), end
        at = end


def _around(text: str, begin: int, end: int) -> Class:
    """What stands around the value at text[begin:end]."""
    before, after = text[:begin].strip(), text[end:].strip()
    if re.search(r"```\w*$", before) and after.startswith("```"):
        rest = re.sub(r"```\w*$", "", before) + after.removeprefix("```")
        if not rest.strip():
            return "code_fence"
    if before and after:
        return "text_around"
    return "text_before" if before else "text_after"


def ends_early(text: str) -> bool:
    """Whether a text that begins as JSON ends before the JSON does, so that more text could have made it whole."""
    try:
        _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        rest = text[error.pos :].strip()
        return (
            not rest
            or error.msg.startswith("Unterminated string")
            or (error.msg.startswith("Invalid \\") and len(text) - error.pos <= 6)
            or any(word.startswith(rest) for word in ("true", "false", "null", "-", "NaN", "Infinity", "-Infinity"))
            or re.fullmatch(r"[.eE][+-]?", rest) is not None
        )
    except RecursionError:
        return True
    return False


REFUSAL = re.compile(
    r"(i (apologi[sz]e|am sorry|cannot|can't|can not|am unable|am not able)|i'm (sorry|unable|not able|just an ai)"
    r"|as an? (ai|artificial|language model)|unable to (provide|assist|answer|help)"
    r"|抱歉|对不起[，,！!。]|作为(一个|一名|一款)?(ai|人工智能|语言模型|大模型)|无法(回答|提供|给出|判断|预测|确定)"
    r"|죄송|답변드릴 수 없|申し訳|お答えできません|je suis désolé|lo siento|es tut mir leid)",
    re.IGNORECASE,
)
"""Words with which models decline, within an output's first 200 characters. A list of habits, not a proof."""


CIRCLE = 96
"""Characters that a repeating end must have."""
ROUNDS = 3
"""Times that it must repeat."""
TAIL = 4096
"""Characters of an output's end that are looked at."""


def runs_in_circles(text: str) -> bool:
    """Whether a text ends in a passage said ROUNDS times or more, numbers aside: `art. 1, art. 2, art. 3, ...`"""
    if len(text) < CIRCLE:
        return False
    tail = re.sub(r"\d+", "0", " ".join(text[-TAIL:].split()))
    if len(tail) < CIRCLE:
        return False
    mark = tail[-16:]
    before = tail.rfind(mark, 0, len(tail) - 1)
    if before < 0:
        return False
    period = len(tail) - 16 - before
    length = max(CIRCLE, ROUNDS * period)
    return length <= len(tail) and tail[-length:-period] == tail[len(tail) - length + period :]


def short(text: str) -> str:
    """A message without what cannot be written as UTF-8, and not longer than MESSAGE characters."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= MESSAGE else f"{text[:MESSAGE]}…"
