"""A value in Python's own notation, as pandas writes lists and dicts into CSV: read as data, never as code."""

import ast
import io
import math
import re
import tokenize
from itertools import pairwise
from typing import Any

from curate.read.json_value import check_depth, check_text

LONGEST = 1 << 20
"""Characters, beyond which the parser's own tree could fill the memory."""

PRINTED = re.compile(r"\}\s*\{|\barray\(")
"""What may be what numpy prints."""

MOST_BITS = 14_000
"""Of a number: as many as have the 4300 digits that Python writes, to which it does not hold `0xff...`."""


def python_value(text: str) -> Any:
    """A literal of Python as JSON has it: tuples are lists, keys are text. What numpy prints of an array of objects is
    read too, with commas or without.

    Raises:
        ValueError: it is none within bounds; or it is what numpy prints of an array of texts, which stand side by side
            without commas and would run into one.
    """
    if len(text) > LONGEST:
        raise ValueError(f"longer than {LONGEST >> 20} Mi characters")
    try:
        try:
            value = ast.literal_eval(text.strip())  # before the tokens, for tokenize takes long over what is none
        except (SyntaxError, ValueError):
            if not PRINTED.search(text):
                raise
            value = ast.literal_eval(_unprinted(text.strip()))
        tokens = [token.type for token in tokenize.generate_tokens(io.StringIO(text.strip()).readline)]
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError, tokenize.TokenError) as error:
        raise ValueError(f"no literal of Python: {error}") from None
    said = [token for token in tokens if token != tokenize.NL]
    if (tokenize.STRING, tokenize.STRING) in pairwise(said):
        raise ValueError("texts without commas between them, as numpy prints an array: write its .tolist()")
    check_depth(value)
    plain = _plain(value)
    if "\\" in text:
        check_text(plain)
    return plain


def _unprinted(text: str) -> str:
    """What numpy prints, as a literal: a comma between objects, and no `array(..., dtype=object)` around a list."""
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.string.strip()]
    words = [token.string for token in tokens]
    said: list[str] = []
    within: list[bool] = []  # for each bracket that is open, whether it is an array's
    at = 0
    while at < len(words):
        word = words[at]
        if words[at : at + 2] == ["array", "("]:
            within.append(True)
            at += 2
            continue
        if word == "{" and said and said[-1] == "}":
            said.append(",")
        if word in ("(", "[", "{"):
            within.append(False)
        if word in (")", "]", "}") and within and within.pop():
            at += 1
            continue
        if within and within[-1] and words[at : at + 3] == [",", "dtype", "="]:
            at += 4
            continue
        said.append(word)
        at += 1
    return " ".join(said)


def is_python(text: str) -> bool:
    """Whether a text that is no JSON is a list or dict of Python's."""
    try:
        return isinstance(python_value(text), (list, dict))
    except ValueError:
        return False


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise ValueError("a number of more than 4300 digits")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number too large, which JSON does not have")
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise ValueError(f"a {type(value).__name__}, which JSON does not have")
