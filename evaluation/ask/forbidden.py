"""Where and why a text cannot be said under a grammar."""

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llguidance import LLMatcher
    from tokenizers import Tokenizer

SHOWN = 60
"""Characters of what is forbidden that are shown."""
_PART = re.compile(r'"(?:[^"\\]|\\.)*"?|-?\d[\d.eE+-]*|[a-z]+|[{}\[\],:]|\s+|.', re.DOTALL)


@dataclass(frozen=True)
class Forbidden:
    """The first thing of an answer that a grammar does not take."""

    at: str
    """Where: a JSON Pointer."""
    why: str


def forbidden(text: str, matcher: "LLMatcher", tokenizer: "Tokenizer") -> Forbidden | None:
    """What of an answer cannot be said; None where all of it can, the stop token after it.

    Args:
        text: the answer.
        matcher: the grammar at the beginning of an answer; it is used up.
        tokenizer: of the grammar's tokens.
    """
    tokens = tokenizer.encode(text, add_special_tokens=False)
    taken = matcher.try_consume_tokens(tokens.ids)
    if taken == len(tokens.ids):
        return None if matcher.is_accepting() else Forbidden("", "more has to follow its end")
    begin, end = tokens.offsets[taken]
    for place in range(begin, end):  # the token may begin with what could be said
        said = tokenizer.encode(text[begin : place + 1], add_special_tokens=False).ids
        if matcher.deep_copy().try_consume_tokens(said) < len(said):
            return _told(text, place)
    return _told(text, begin)


def _told(text: str, place: int) -> Forbidden:
    path: list[str | int] = []
    is_key, said = False, ""
    for part in _PART.finditer(text):
        said = part[0]
        if part.end() > place:
            break
        if said in ("{", "["):
            path.append("" if said == "{" else 0)
            is_key = said == "{"
        elif said in ("}", "]"):
            del path[-1:]
        elif said == "," and path:
            is_key = isinstance(path[-1], str)
            if isinstance(path[-1], int):
                path[-1] += 1
        elif said == ":":
            is_key = False
        elif is_key and path and said[0] == '"':
            path[-1] = _unquoted(said)
    shown = said if len(said) <= SHOWN else f"{said[:SHOWN]}…"
    if is_key and path and said[0] == '"':
        behind = f"behind {json.dumps(path[-1], ensure_ascii=False)}" if path[-1] else "first"
        return Forbidden(_pointer(path[:-1]), f"the key {shown} cannot stand {behind}")
    if said in ("}", "]"):
        return Forbidden(_pointer(path[:-1]), "it cannot end here")
    if said[0] == '"':
        why = f"the string {shown} cannot be said, or not so spelled"
    elif said[0].isdigit() or said[0] == "-":
        why = f"the number {shown} cannot be said, or not so spelled"
    elif said.isspace():
        why = "white space"
    else:
        why = f"{shown!r} cannot stand here"
    return Forbidden(_pointer(path), why)


def _unquoted(string: str) -> str:
    try:
        return str(json.loads(string, strict=False))
    except ValueError:
        return string


def _pointer(path: list[str | int]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
