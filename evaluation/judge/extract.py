"""What is found in a reply that is not JSON alone: the outermost JSON objects and arrays within its text.

A value that is broken or cut off is passed over whole: what stands inside it is a piece of an answer, never an answer.
"""

import json
import re
from dataclasses import dataclass

STARTS = 256
"""Places at which a JSON value is looked for within a text."""
SCANNED = 8 << 20
"""Characters that are read in all to find where broken values end; what comes then is taken for one that does not."""

_DECODER = json.JSONDecoder()
_BRACKET = re.compile(r"[{\[]")
_AS_JSON = re.compile(
    r"""\{\s*(?:["'“‘{\\]|/[*/]|[A-Za-z_$][\w$-]*\s*:|\Z)|\[\s*(?:["'“‘{\[\\]|/[*/]|-?\d|(?:true|false|null)\b|\Z)"""
)
"""A bracket that begins a value, well or badly written; `{name}` and `[see below]` are prose."""
_SCALARS = re.compile(r"\[\s*(?:-?\d|true|false|null)")
_TOKEN = re.compile(r'\\.|["{}\[\]]|^[ \t]*```[ \t]*$', re.DOTALL | re.MULTILINE)
_GOES_ON = re.compile(r"""\s*(?:[}\]]|,\s*["'{\[])""")
"""What follows a bracket that cannot be the last one of a broken value."""
_KEY_ENDS = re.compile(r'\s*(?:[}\]]|,\s*")')
LABEL = 64
"""Characters of a fence with its language that are looked at."""
_CLOSES = {"}": "{", "]": "["}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a JSON value stands in a text."""

    begin: int
    end: int
    complete: bool
    """Whether it can be read; else it is broken within, or the text ends before it does."""


def places(text: str) -> list[Place]:
    """The outermost objects and arrays of a text, complete or not, in order."""
    found: list[Place] = []
    at = scanned = 0
    for _ in range(STARTS):
        opened = _BRACKET.search(text, at)
        if opened is None:
            break
        begin = opened.start()
        try:
            _, at = _DECODER.raw_decode(text, begin)
        except (ValueError, RecursionError) as error:
            reached = error.pos if isinstance(error, json.JSONDecodeError) else len(text)
            if not _AS_JSON.match(text, begin):
                at = begin + 1
                continue
            end = _end(text, begin) if scanned < SCANNED else None
            scanned += (len(text) if end is None else end) - begin
            interval = _SCALARS.match(text, begin) and not _BRACKET.search(text, begin + 1, reached)
            if end is None and interval and scanned < SCANNED and not ends_early(text[begin:]):  # prose: [0, 1)
                at = reached
                continue
            at = len(text) if end is None else end
            found.append(Place(begin, at, False))
        else:
            found.append(Place(begin, at, not _inside(text, begin, at)))
    return found


def _end(text: str, begin: int) -> int | None:
    """Where the broken value that begins at a bracket ends: at the bracket that closes it or, where a code fence begins
    right before it, at the fence's end; None where nothing ends it."""
    fenced = re.search(r"```[\w-]*\Z", text[:begin].rstrip()[-LABEL:]) is not None
    opened: list[str] = []
    count = {"{": 0, "[": 0}
    within = False
    for token in _TOKEN.finditer(text, begin):
        char = token[0]
        if char == '"':
            within = not within
        elif within or char[0] == "\\":
            continue
        elif char in "{[":
            opened.append(char)
            count[char] += 1
        elif char in _CLOSES:
            begun = _CLOSES[char]
            while count[begun]:  # a missing bracket between the two is what is broken
                last = opened.pop()
                count[last] -= 1
                if last == begun:
                    break
            if not opened and not _GOES_ON.match(text, token.end()):
                return token.end()
        elif fenced:
            return token.start()
    return None


def _inside(text: str, begin: int, end: int) -> bool:
    """Whether a value is a key's in an object of which the opening bracket is missing."""
    before = text[:begin].rstrip()
    key = before.endswith(":") and before[:-1].rstrip().endswith('"')
    return key and _KEY_ENDS.match(text, end) is not None


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
    except (ValueError, RecursionError):
        return True
    return False
