"""Prose: how much of a text is words of sentences, how much names, tags and code, and in which scripts it is written.

One pass over the bytes, compiled by numba.
"""

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.kernel import kernel
from curate.words import PLANES, decode, utf8

Counts = npt.NDArray[np.int32]

SCRIPTS: dict[str, tuple[tuple[int, int], ...]] = {
    "Hangul": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7AF)),
    "Kana": ((0x3041, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F)),
    "Han": ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF)),
    "Cyrillic": ((0x0400, 0x052F),),
    "Arabic": ((0x0600, 0x06FF), (0x0750, 0x077F), (0x08A0, 0x08FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFF)),
    "Devanagari": ((0x0900, 0x097F),),
    "Greek": ((0x0370, 0x03E1), (0x03F0, 0x03FF), (0x1F00, 0x1FFF)),
    "Hebrew": ((0x0590, 0x05FF), (0xFB1D, 0xFB4F)),
    "Armenian": ((0x0530, 0x058F),),
    "Georgian": ((0x10A0, 0x10FF), (0x1C90, 0x1CBF), (0x2D00, 0x2D2F)),
    "Thai": ((0x0E00, 0x0E7F),),
    "Lao": ((0x0E80, 0x0EFF),),
    "Khmer": ((0x1780, 0x17FF),),
    "Myanmar": ((0x1000, 0x109F),),
    "Tibetan": ((0x0F00, 0x0FFF),),
    "Bengali": ((0x0980, 0x09FF),),
    "Gurmukhi": ((0x0A00, 0x0A7F),),
    "Gujarati": ((0x0A80, 0x0AFF),),
    "Oriya": ((0x0B00, 0x0B7F),),
    "Tamil": ((0x0B80, 0x0BFF),),
    "Telugu": ((0x0C00, 0x0C7F),),
    "Kannada": ((0x0C80, 0x0CFF),),
    "Malayalam": ((0x0D00, 0x0D7F),),
    "Sinhala": ((0x0D80, 0x0DFF),),
    "Ethiopic": ((0x1200, 0x139F),),
    "Thaana": ((0x0780, 0x07BF),),
}
"""Scripts by their blocks (Unicode 16, Blocks.txt), code points inclusive; every other letter counts as Latin."""
NAMES = ("Latin", *SCRIPTS)

OTHER, LOWER, UPPER, CASELESS, MARK, SPACE, MARGIN, JOINER, SYMBOL, BRACKET = range(10)
JOINERS = "'’ʼ-\u2010\u2011"
"""What may stand between a word's letters."""
DASHES = "–—\u2026"
"""What divides words though no space does."""
ASCII_MARGINS = '.,:!?"*'
"""What may stand before and after a word; of other punctuation all may."""


SYMBOLS = "{}<>=;_$|\\&^~`"
"""What code is full of, to be counted; no word holds them."""
BRACKETS = "()[]"
"""Counted too, but words stand in them."""


@dataclass(frozen=True)
class Prose:
    """Counts of each text's head: arrays of shape (texts,)."""

    tokens: Counts
    """Runs between spaces that hold a letter, addresses aside."""
    small: Counts
    """Words of letters alone that begin with a small letter, or with one of a script without capitals."""
    titled: Counts
    """Words of letters alone, the first a capital and no other."""
    shouted: Counts
    """Words of two letters and more, all capitals."""
    foreign: Counts
    """Letters beyond ASCII: tags and code have hardly any."""
    symbols: Counts
    """Brackets, operators and the like that code is full of; a run of the same one counts once."""
    letters: Counts
    """By script, shape (texts, len(NAMES))."""


def prose(texts: pa.Array, head: int) -> Prose:
    """Count what the first `head` characters of each text are made of: string or large_string array without nulls."""
    data, bounds = utf8(texts)
    words = np.zeros((len(texts), 6), np.int32)
    letters = np.zeros((len(texts), len(NAMES)), np.int32)
    _count(data, bounds, head, *_tables(), words, letters)
    return Prose(words[:, 0], words[:, 1], words[:, 2], words[:, 3], words[:, 4], words[:, 5], letters)


@cache
def _tables() -> tuple[Any, Any]:
    """By code point below PLANES: its class, and the number of its script."""
    classes = np.zeros(PLANES, np.uint8)
    scripts = np.zeros(PLANES, np.uint8)
    of_category = {"Ll": LOWER, "Lu": UPPER, "Lt": UPPER, "Lo": CASELESS, "Lm": CASELESS}
    for code in range(PLANES):
        char = chr(code)
        category = unicodedata.category(char)
        if char.isspace() or char in DASHES:
            classes[code] = SPACE
        elif char in JOINERS:
            classes[code] = JOINER
        elif category[0] == "M":
            classes[code] = MARK
        elif category in of_category:
            classes[code] = of_category[category]
        elif char in BRACKETS:
            classes[code] = BRACKET
        elif char in SYMBOLS:
            classes[code] = SYMBOL
        elif char in ASCII_MARGINS or (code > 0x7F and category[0] == "P"):
            classes[code] = MARGIN
    for number, ranges in enumerate(SCRIPTS.values(), start=1):
        for first, last in ranges:
            scripts[first : last + 1] = number
    return classes, scripts


@kernel
def _count(data, bounds, head, classes, scripts, words, letters):  # type: ignore[no-untyped-def]
    last = np.uint8(len(classes) >> 16)  # only so that the planes above are known to be none of the table's
    for row in range(len(bounds) - 1):
        at, end = bounds[row], bounds[row + 1]
        seen = 0
        previous = np.uint32(0)
        # Of the token: 0 before its letters, 1 within, 2 after them, 3 no word; letters, capitals, the first's kind.
        phase, size, capitals, first = 0, 0, 0, OTHER
        address = False
        while True:
            over = at >= end or seen >= head
            kind, code = SPACE, np.uint32(32)
            if not over:
                code, width = decode(data, at)
                at += width
                seen += 1
                if (code >> np.uint32(16)) < last:
                    kind = classes[code]
                elif code < np.uint32(0x40000):
                    kind = CASELESS
                else:
                    kind = OTHER
            if (kind in (SYMBOL, BRACKET)) and code != previous:
                words[row, 5] += 1
            previous = code
            if kind == SPACE:
                if size > 0 and not address:
                    words[row, 0] += 1
                    if phase == 1 or phase == 2:
                        if first != UPPER:
                            words[row, 1] += 1
                        elif capitals == 1:
                            words[row, 2] += 1
                        elif capitals == size:
                            words[row, 3] += 1
                phase, size, capitals, first = 0, 0, 0, OTHER
                address = False
                if over:
                    break
            elif kind in (LOWER, UPPER, CASELESS, MARK):
                if (code >> np.uint32(16)) < last:
                    letters[row, scripts[code]] += 1
                else:
                    letters[row, 3] += 1  # Han, of the planes above
                if code >= np.uint32(0x80):
                    words[row, 4] += 1
                if kind != MARK:
                    if size == 0:
                        first = kind
                    size += 1
                    if kind == UPPER:
                        capitals += 1
                if phase == 0:
                    phase = 1
                elif phase == 2:
                    phase = 3
            elif kind in (OTHER, SYMBOL):
                phase = 3
                if code == np.uint32(0x40):
                    address = True
            elif kind in (MARGIN, BRACKET):
                phase = 2 if phase == 1 else phase
            # A joiner changes nothing: before, within or after a word.
