"""A JSON value: strict, within bounds of depth and size of numbers, and such that it can be written back as UTF-8."""

import json
import math
from collections import Counter
from contextlib import suppress
from typing import Any

import orjson

from curate.json_schema import deeper
from curate.read.raw_row import DEEPEST

_ZEROS = bytes.maketrans(b"123456789", b"000000000")


def json_value(data: bytes) -> Any:
    """A JSON text's value, which has only finite numbers, at most DEEPEST levels, and can be written back as UTF-8.

    orjson's, where it is sure to be the same as the standard library's: orjson makes floats of integers beyond 64
    bits (20 digits, or 19 and a sign), and has another limit of depth. Of a key given twice both take the last, which
    `duplicate_key` tells.

    Raises:
        ValueError: it is not strict JSON in these bounds, in the standard library's words.
    """
    if data.count(b"[") + data.count(b"{") <= DEEPEST:
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            pass  # or a byte order mark; the words below are the ones people know
        else:
            if _is_of_texts(value) or b"0" * 19 not in data.translate(_ZEROS):
                return value
    return strict_value(data.decode("utf-8-sig"))


def _is_of_texts(value: Any) -> bool:
    """Whether a value is an object of texts alone, as many rows are."""
    return type(value) is dict and {*map(type, value.values())} == {str}


def text_value(text: str) -> Any:
    """The value of JSON that is held as text, as strictly; ValueError says where the text is none."""
    return json_value(text.encode())


def strict_value(text: str) -> Any:
    """What `json_value` means, by the standard library alone."""
    try:
        value = DECODER.decode(text)
    except RecursionError:
        raise ValueError(f"nested deeper than {DEEPEST} levels") from None
    check_value(value, text)
    return value


def check_value(value: Any, text: str) -> None:
    """Hold a value that the standard library has read from `text` to the bounds; ValueError where it breaks them."""
    if text.count("[") + text.count("{") > DEEPEST:
        check_depth(value)
    if "\\ud" in text.lower():
        check_text(value)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text:.40} is too large for a number")
    return value


DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def check_depth(value: Any) -> None:
    """ValueError where lists and dicts are nested deeper than DEEPEST."""
    if deeper(value, DEEPEST):
        raise ValueError(f"nested deeper than {DEEPEST} levels")


def check_text(value: Any) -> None:
    """ValueError where a text holds a lone surrogate, which UTF-8 cannot write."""
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"lone surrogate \\u{ord(error.object[error.start]):04x}") from None


def duplicate_key(data: bytes, value: Any) -> str | None:
    """The first key that an object within a JSON text has twice, if there is one.

    A text has as many colons as its value when that is written again, one behind each key and those of its texts,
    unless more keys were given than there are (or a text has its colons as \\u003a). Only then is it parsed again.

    Args:
        data: JSON text.
        value: what was read from it.
    """
    given = data.count(b":")
    if isinstance(value, dict):  # quick for the many objects of texts alone
        try:
            if given == len(value) + "".join(value.values()).count(":"):
                return None
        except TypeError:
            pass
    with suppress(TypeError):  # of an integer beyond 64 bits
        if given == orjson.dumps(value).count(b":"):
            return None
    repeated: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            repeated.extend(key for key, times in Counter(key for key, _ in items).items() if times > 1)
        return found

    json.loads(data.decode("utf-8-sig"), object_pairs_hook=pairs)
    return repeated[0] if repeated else None
