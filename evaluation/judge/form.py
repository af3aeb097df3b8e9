"""The form of an output: is it the JSON that was asked for, and if not, in which one way does it first fail.

Every output has exactly one class. What else is to be said of it stands in its flags. A think part before the answer is
set aside first, and flagged. Nothing is repaired silently: where a JSON value can be found inside other text, that is
told apart from an output that is one.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from curate import json_schema
from curate.errors import AssayError
from curate.json_schema import Validator, deeper
from curate.text import strict_json
from evaluation.judge.extract import Place, ends_early, places
from evaluation.judge.thinking import LONGEST, set_aside

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
is broken within) and `no_answer` (no object or array begins anywhere, or the text is too long to be looked through)
where no value can be found."""

Rule = Literal["wrong_type", "missing_key", "invented_key", "wrong_enum", "wrong_value"]
BROKEN: tuple[Rule, ...] = get_args(Rule)
Flag = Literal[Rule, "empty", "refusal", "repetition", "truncated", "thought"]
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


def validator_of(schema: Any) -> Validator:
    """The validator of a JSON Schema: see `curate.json_schema`.

    Raises:
        AssayError: it is no schema, or one that is not followed.
    """
    try:
        return json_schema.validator_of(schema)
    except ValueError as error:
        raise AssayError(
            f"The target schema is no JSON Schema: {short(str(error))}", remedy="Mend target.schema.json."
        ) from None


def form_of(output: str, validator: Validator, cut_off: bool = False) -> Form:
    """Judge an output's form; any text whatever gives an answer.

    Args:
        output: the generated text; white space around the JSON is allowed, as JSON has it.
        validator: of the answer's schema.
        cut_off: whether the generator stopped it at its limit of tokens.
    """
    flags: set[Flag] = {"truncated"} if cut_off else set()
    try:
        value = _read(output)
    except strict_json.InvalidJson as error:
        answer, thought = set_aside(output)
        flags |= {"thought"} if thought else set()
        if answer is None:
            return Form("truncated", "a think part that does not end", frozenset[Flag]({"truncated", *flags}))
        if answer == output:
            return _not_json(output, error, validator, flags)
        try:
            value = _read(answer)
        except strict_json.InvalidJson as within:
            return _not_json(answer, within, validator, flags)
    broken, detail = violations(value, validator)
    if not broken:
        return Form("valid", "", frozenset(flags), value, value, True)
    first = next(rule for rule in BROKEN if rule in broken)
    return Form(first, detail, frozenset(broken | flags), value, value)


def value_of(output: str) -> Any:
    """The JSON value that an output is, its think part aside.

    Raises:
        InvalidJson: it is none.
    """
    try:
        return _read(output)
    except strict_json.InvalidJson:
        answer, _ = set_aside(output)
        return _read(answer or "")


def violations(value: Any, validator: Validator) -> tuple[set[Flag], str]:
    """Which kinds of rules of the schema a value breaks, and the first violation in words with its place."""
    try:
        if validator.is_valid(value):
            return set(), ""
        errors = validator.violations(value, VIOLATIONS)
    except (ValueError, TypeError, RecursionError) as unreadable:  # a number, say, that the validator cannot hold
        return {"wrong_value"}, short(str(unreadable))
    first = errors[0]
    place = "/".join(map(str, first.path))
    flags: set[Flag] = {RULES.get(error.kind, "wrong_value") for error in errors}
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
    if text.count("[") + text.count("{") > DEEPEST and deeper(value, DEEPEST):
        raise strict_json.InvalidJson("too_deep", f"nested more than {DEEPEST} levels deep")
    return value


def _not_json(answer: str, error: strict_json.InvalidJson, validator: Validator, cut: set[Flag]) -> Form:
    text = answer.strip()
    detail = short(str(error))
    if not text:
        return Form("empty", "nothing but white space", frozenset[Flag]({"empty", *cut}))
    if error.kind != "syntax":
        return Form(error.kind, detail, frozenset(cut | signs(text)))
    found = places(text) if len(text) <= LONGEST else []
    if len(text) > LONGEST:
        detail += f"; of more than {LONGEST:,} characters, so no value is looked for within"
    begin, end, value, fits = _extract(text, found, validator)
    if value is not ABSENT:
        kind = _around(text, begin, end)
        circles: set[Flag] = {"repetition"} if runs_in_circles(text) else set()
        return Form(kind, detail, frozenset(cut | circles), ABSENT, value, fits)
    flags = cut | signs(text)
    if "refusal" in flags:
        return Form("refusal", detail, frozenset(flags))
    early = bool(found) and not found[-1].complete and ends_early(text[found[-1].begin : found[-1].end].rstrip())
    if early:
        flags.add("truncated")
    if "repetition" in flags:
        return Form("repetition", detail, frozenset(flags))
    if not found:
        return Form("no_answer", detail, frozenset(flags))
    return Form("truncated" if early else "syntax", detail, frozenset(flags))


def signs(text: str) -> set[Flag]:
    """Whether a text begins by declining, and whether it runs in circles."""
    found: set[Flag] = {"refusal"} if REFUSAL.search(text[:200]) else set()
    return found | {"repetition"} if runs_in_circles(text) else found


def _extract(text: str, found: list[Place], validator: Validator) -> tuple[int, int, Any, bool]:
    """Of the complete values in a text that are strict JSON, the last of those that fit the schema best: (begin, end,
    value, whether it fits). Best is to fit; then to have the type that is asked for, and its keys."""
    best: tuple[int, int, Any, bool] = (0, 0, ABSENT, False)
    best_fit = (False, False, False)
    for place in found:
        if not place.complete:
            continue
        try:
            value = _read(text[place.begin : place.end])
        except strict_json.InvalidJson:
            continue
        flags, _ = violations(value, validator)
        fit = not flags, not _wrong_kind(value, validator), not flags & {"missing_key", "invented_key"}
        if fit >= best_fit:
            best, best_fit = (place.begin, place.end, value, not flags), fit
    return best


def _wrong_kind(value: Any, validator: Validator) -> bool:
    """Whether a value itself, not one within it, has another type than is asked for."""
    try:
        return any(error.kind == "type" and not error.path for error in validator.violations(value, VIOLATIONS))
    except (ValueError, TypeError, RecursionError):
        return False


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
