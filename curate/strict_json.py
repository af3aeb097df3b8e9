"""JSON as RFC 8259 and RFC 7493 (I-JSON) have it: what other languages read alike, or an error."""

import json
import math
from typing import Any


def loads(text: str) -> Any:
    """The value of a JSON text.

    Stricter than `json.loads`: a key that is given twice, NaN, Infinity, numbers too large for a double and lone
    surrogates are errors, for readers disagree on them; nesting too deep to read is one too.

    Raises:
        ValueError: says what is wrong and, for syntax, where.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if "\\ud" in text.lower():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"lone surrogate \\u{ord(error.object[error.start]):04x}") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"duplicate key {next(key for key in found if keys.count(key) > 1)!r}")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is too large for a double")
    return value
