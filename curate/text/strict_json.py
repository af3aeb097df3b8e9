"""JSON as RFC 8259 and RFC 7493 (I-JSON) have it: what other languages read alike, or an error."""

import json
import math
from typing import Any, Literal

Kind = Literal["syntax", "duplicate_key", "not_finite", "lone_surrogate", "too_deep"]


class InvalidJson(ValueError):
    """A text that is not strict JSON; `kind` says in which way."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def loads(text: str) -> Any:
    """The value of a JSON text.

    Stricter than `json.loads`: a key that is given twice, NaN, Infinity, numbers too large for a double and lone
    surrogates are errors, for readers disagree on them; nesting too deep to read is one too.

    Raises:
        InvalidJson: says what is wrong and, for syntax, where.
    """
    try:
        value = _DECODER.decode(text)
        if "\\ud" in text.lower() or not text.isascii():
            json.dumps(value, ensure_ascii=False).encode()
    except InvalidJson:
        raise
    except RecursionError:
        raise InvalidJson("too_deep", "nested too deeply") from None
    except UnicodeEncodeError as error:
        code = ord(error.object[error.start])
        raise InvalidJson("lone_surrogate", f"lone surrogate \\u{code:04x}") from None
    except ValueError as error:
        raise InvalidJson("syntax", str(error)) from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise InvalidJson("duplicate_key", f"duplicate key {next(key for key in found if keys.count(key) > 1)!r}")
    return found


def _no_constant(name: str) -> Any:
    raise InvalidJson("not_finite", f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise InvalidJson("not_finite", f"{text} is too large for a double")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
