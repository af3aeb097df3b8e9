"""Plain text: what finders of personal data read in place of a text.

Digits of other scripts, full-width forms, typographic dashes and spaces count as their ASCII equivalents, and invisible
characters as nothing.
"""

import re
from functools import cache

INVISIBLE = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
DASHES, SPACES = "\u2010-\u2015\u2212", "\u00a0\u2000-\u200a\u202f\u3000"
_INVISIBLE = re.compile(f"[{INVISIBLE}]")
NO_SPACES = "[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7af]"
"""Scripts in which a word may stand beside an address without a space: Thai to Khmer, Chinese, Japanese, Korean."""

ODD = (
    rf"[{INVISIBLE}]|[^0-9\P{{Nd}}]|[\x{{ff0b}}\x{{ff0e}}\x{{ff1d}}\x{{ff20}}-\x{{ff3a}}\x{{ff3f}}\x{{ff41}}-\x{{ff5a}}]"
    rf"|[0-9)][{DASHES}{SPACES}\x{{ff08}}\x{{ff09}}\x{{ff0d}}]+[ ]?[0-9(]|\x{{ff08}}[ ]?[0-9]|[A-Za-z]\x{{ff1a}}"
)
"""RE2: texts that `plain` changes in a way that matters; none of ASCII."""


@cache
def _equivalents() -> dict[int, str]:
    """Characters that are read as an ASCII character (not the digits of scripts past U+FFFF that nobody types)."""
    codes = [*range(0x660, 0xFF10), *range(0x1D7CE, 0x1D800)]
    digits = {code: str(int(chr(code))) for code in codes if chr(code).isdecimal()}
    wide = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    dashes = dict.fromkeys([*range(0x2010, 0x2016), 0x2212], "-")
    return digits | wide | dashes | dict.fromkeys([0xA0, *range(0x2000, 0x200B), 0x202F, 0x3000], " ")


def plain(text: str) -> tuple[str, list[int] | None]:
    """The text as the finders read it, and where each of its characters stands in `text` (None: at the same place)."""
    if text.isascii():
        return text, None
    read = text.translate(_equivalents())
    if not _INVISIBLE.search(read):
        return read, None
    places = [place for place, char in enumerate(read) if not _INVISIBLE.match(char)]
    return "".join(read[place] for place in places), places
