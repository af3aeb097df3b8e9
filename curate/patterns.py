"""Patterns that a recipe or a contract gives: matched by RE2, in time linear in the text, whatever they say.

Python's own `re` goes back and tries again: a pattern of ten characters can keep it busy for a year.
"""

import re
from collections.abc import Iterator

import re2

OPTIONS = re2.Options()
OPTIONS.log_errors = False
OPTIONS.max_mem = 64 << 20


TOKENS = re.compile(r"\[\^?\]?(?:\\.|\[:\^?[a-z]+:\]|[^\]\\])*\]|\\(?:u[0-9A-Fa-f]{4}|.)|\{,(?=[0-9]+\})", re.DOTALL)
ESCAPES = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
CLASSES = {
    "d": r"\p{Nd}",
    "D": r"\P{Nd}",
    "w": r"\p{L}\p{N}_",
    "W": r"\p{M}\p{Z}\p{S}\p{C}\p{Pd}\p{Ps}\p{Pe}\p{Pi}\p{Pf}\p{Po}‿⁀⁔︳︴﹍-﹏＿",
    "s": r"\t-\r\x1c-\x1f\x85\p{Z}",
    "S": r"\x00-\x08\x0e-\x1b!-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e}"
    r"\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff}",
}
"""What `re` means by these, as RE2 says it between brackets."""


def compile_pattern(pattern: str) -> "re2._Regexp":
    """A pattern, ready to match.

    Its syntax is RE2's (https://github.com/google/re2/wiki/Syntax): that of `re` without looking around and without
    references back. `\\d`, `\\w` and `\\s` are of any script as in `re`; `\\b` is the edge of a word of ASCII letters,
    and `$` the end, not also before a last line break.

    Raises:
        ValueError: it is none.
    """
    try:
        return re2.compile(in_re2(pattern), OPTIONS)
    except re2.error as error:
        said = error.args[0]
        words = said.decode() if isinstance(said, bytes) else said
        raise ValueError(
            f"{pattern!r} is no pattern of RE2, which can neither look around nor refer back: {words}"
        ) from None


def in_re2(pattern: str) -> str:
    """A pattern as RE2 is to be given it, wherever that matches."""
    return TOKENS.sub(_as_in_re, pattern)


def compile_start(pattern: str) -> "re2._Regexp":
    """A pattern to be matched at the beginning of a line with its line break, before which `$` is, as in `re`.

    Raises:
        ValueError: it is none.
    """
    return compile_pattern(f"(?m){pattern}")


def _as_in_re(token: re.Match[str]) -> str:
    """A piece of a pattern of `re` that RE2 takes otherwise."""
    if token[0] == "{,":
        return "{0,"
    within = token[0].startswith("[")

    def said(escape: re.Match[str]) -> str:
        kind = escape[1]
        if kind in CLASSES:
            return CLASSES[kind] if within else f"[{CLASSES[kind]}]"
        if kind in ("C", "Q"):
            raise ValueError(f"\\{kind} is RE2's own, and not to be used here")
        if kind == "Z":
            return r"\z"
        return f"\\x{{{kind[1:]}}}" if kind.startswith("u") and len(kind) > 1 else escape[0]

    return ESCAPES.sub(said, token[0])


def matches(pattern: "re2._Regexp", text: str) -> Iterator["re2._Match"]:
    """Its matches in a text, one after the other as `re.finditer` gives them; their groups are bytes, UTF-8."""
    data = text.encode()
    last = None
    for match in pattern.finditer(data):
        start, _ = span = match.span()
        within = start < len(data) and data[start] & 0xC0 == 0x80  # nothing, found within a letter
        if not within and span != last:  # the wrapper finds nothing twice, where it lies ahead
            yield match
        last = span
