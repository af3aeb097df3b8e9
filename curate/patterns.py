"""Patterns that a recipe or a contract gives: matched by RE2, in time linear in the text, whatever they say.

Python's own `re` goes back and tries again: a pattern of ten characters can keep it busy for a year.
"""

import re2

OPTIONS = re2.Options()
OPTIONS.log_errors = False
OPTIONS.max_mem = 64 << 20


def compile_pattern(pattern: str) -> "re2._Regexp":
    """A pattern, ready to match.

    Its syntax is RE2's (https://github.com/google/re2/wiki/Syntax): that of `re` without looking around and without
    references back, and with `\\d`, `\\w`, `\\s` and `\\b` for ASCII alone (`\\pL` is a letter of any script).

    Raises:
        ValueError: it is none.
    """
    try:
        return re2.compile(pattern, OPTIONS)
    except re2.error as error:
        said = error.args[0]
        words = said.decode() if isinstance(said, bytes) else said
        raise ValueError(
            f"{pattern!r} is no pattern of RE2, which can neither look around nor refer back: {words}"
        ) from None
