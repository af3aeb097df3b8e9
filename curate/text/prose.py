"""Prose: how much of a text is words of sentences, how much names, tags and code, and in which scripts it is written;
and its pieces that may be in a language of their own.

Passes over the bytes, compiled by numba.
"""

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.text.kernel import kernel
from curate.text.words import PLANES, decode, utf8

Counts = npt.NDArray[np.int32]
Offsets = npt.NDArray[np.int64]

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


def heads(texts: pa.Array, head: int) -> pa.Array:
    """The first `head` characters of each text, without addresses: of http from there to the next space, of mail the
    word. String or large_string array without nulls."""
    data, bounds = utf8(texts)
    out = np.empty(min(int(bounds[-1] - bounds[0]), 4 * head * len(texts)), np.uint8)
    ends = np.zeros(len(bounds), np.int32)
    _copy_heads(data, bounds, head, out, ends)
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(out[: ends[-1]]))


def pieces(texts: pa.Array, size: int) -> tuple[pa.Array, Offsets]:
    """Each text's pieces of `size` characters or more, cut where sentences or lines end; and the text of each."""
    data, bounds = utf8(texts)
    room = int(bounds[-1] - bounds[0])
    begins, ends, rows = (np.empty(room // size + len(texts), np.int64) for _ in range(3))
    count = _cut(data, bounds, size, begins, ends, rows)
    # With the gaps between them taken for strings too, the pieces are every other one of an array over the same bytes.
    offsets = np.column_stack([begins[:count], ends[:count]]).reshape(-1)
    found = pa.LargeStringArray.from_buffers(
        max(len(offsets) - 1, 0), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))
    )
    return found.take(pa.array(np.arange(0, len(found), 2))), rows[:count]


@cache
def _tables() -> tuple[Any, Any]:
    """By code point below PLANES: its class, and the number of its script."""
    classes = np.zeros(PLANES, np.uint8)
    scripts = np.zeros(PLANES, np.uint8)
    of_category = {"Ll": LOWER, "Lu": UPPER, "Lt": UPPER, "Lo": CASELESS, "Lm": CASELESS}
    for code in range(0x10000):  # letters above are styled ones, or of scripts that the models do not know
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
                            words[row, 1] += capitals == 0  # camelCase is code
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


@kernel
def _copy_heads(data, bounds, head, out, ends):  # type: ignore[no-untyped-def]
    to = 0
    for row in range(len(bounds) - 1):
        at, end = bounds[row], bounds[row + 1]
        word = to  # where the present word begins
        seen = 0
        address = False
        while at < end and seen < head:
            byte = data[at]
            if byte <= 32:
                word, address = to + 1, False
            elif byte == 64 and to > word:  # @
                to, address = word, True
            elif byte == 58 and at + 2 < end and data[at + 1] == 47 and data[at + 2] == 47:  # ://
                scheme = 5 if to - word >= 5 and out[to - 1] == 115 else 4  # https, http
                if to - word >= scheme and out[to - scheme] == 104 and out[to - scheme + 3] == 112:
                    to, address = to - scheme, True
            seen += (byte & 0xC0) != 0x80
            if not address:
                out[to] = byte
                to += 1
            at += 1
        while at < end and data[at] & 0xC0 == 0x80:  # the rest of the last character
            if not address:
                out[to] = data[at]
                to += 1
            at += 1
        ends[row + 1] = to


@kernel
def _cut(data, bounds, size, begins, ends, rows):  # type: ignore[no-untyped-def]
    count = 0
    for row in range(len(bounds) - 1):
        begin = at = bounds[row]
        end = bounds[row + 1]
        chars = 0
        while at < end:
            code, width = decode(data, at)
            at += width
            chars += 1
            # . ! ? : ; line end, ellipsis, and the full-width ones
            stop = code in (10, 33, 46, 58, 59, 63, 0x2026, 0x3002, 0xFF01, 0xFF1F)
            if chars >= size and (stop or at >= end):
                begins[count], ends[count], rows[count] = begin, at, row
                count += 1
            if (stop and chars >= size) or at >= end:
                begin, chars = at, 0
    return count
