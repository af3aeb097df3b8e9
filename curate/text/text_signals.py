"""Text signals: what the filters of long web texts measure, a column for each.

- Gopher: Rae et al. 2021, arXiv 2112.11446, appendix A.1.1 and table A1;
- FineWeb: Penedo et al. 2024, arXiv 2406.17557, "Developing additional heuristic filters";
- C4: Raffel et al. 2020, JMLR 21 (140), section 2.2.

A *word* is what `curate.text.words` takes for one, a *token* what stands between white space. Lines are those in which
something stands, without the white space around it; a paragraph is a run of such lines. A line, paragraph or n-gram is
a *duplicate* if the same stands in the text before it. A share of nothing is null.

Compiled by numba over Arrow's buffers; a plain Python version in the tests is the definition they are held to.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.text.kernel import kernel
from curate.text.words import MULTIPLIER, PLANES, WORD_PRIME, WORD_SEED, Words, decode, split_words, utf8

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Gopher's: two of them stand in any English prose."""
SHORT_LINE = 30
"""Characters up to which FineWeb calls a line short."""
BULLETS = "•‣⁃◦▪●○*-–"
ENDS = '.!?…"”。！？｡」』؟۔।॥։።။៕'
"""What closes a line: C4's period, exclamation mark, question mark and closing quotation mark, and what other scripts
have in their place."""
TOP, REPEATED = (2, 3, 4), (5, 6, 7, 8, 9, 10)
"""Gopher's n-grams: those of which the most frequent one counts, and those of which the repeats do."""

COUNTS = (
    *("tokens", "token_chars", "alphabetic", "hashes", "ellipses", "lines", "line_chars", "bullets", "trailing"),
    *("closed", "short", "again", "again_chars", "paragraphs", "paragraphs_again", "paragraphs_again_chars"),
)
SPACE, ALPHABETIC, BULLET, END = 1, 2, 4, 8


def text_signals(texts: pa.Array, words: Words) -> dict[str, pa.Array]:
    """The signals of each text, by name: float32 arrays of length `len(texts)`.

    Args:
        texts: string or large_string array without nulls.
        words: theirs.
    """
    data, bounds = utf8(texts)
    counts = np.zeros((len(texts), len(COUNTS)), np.int64)
    _count(data, bounds, _classes(), SHORT_LINE, counts)
    n = dict(zip(COUNTS, counts.T, strict=True))
    total = np.diff(words.offsets)
    stops = split_words(pa.array([" ".join(STOP_WORDS)])).hashes
    found = np.zeros(len(texts), np.int64)
    grams = np.zeros((len(texts), REPEATED[-1] + 1))
    _repetition(data, bounds, words.offsets, words.hashes, words.begins, words.ends, stops, found, grams)
    nothing = total == 0
    return {
        "words": pa.array(total.astype(np.float32)),
        "mean_word_length": _share(n["token_chars"], n["tokens"]),
        "symbol_to_word": _share(np.maximum(n["hashes"], n["ellipses"]), n["tokens"]),
        "alphabetic_words": _share(n["alphabetic"], n["tokens"]),
        "stop_words": pa.array(found.astype(np.float32)),
        "bullet_lines": _share(n["bullets"], n["lines"]),
        "ellipsis_lines": _share(n["trailing"], n["lines"]),
        "punctuated_lines": _share(n["closed"], n["lines"]),
        "short_lines": _share(n["short"], n["lines"]),
        "duplicate_lines": _share(n["again"], n["lines"]),
        "duplicate_line_chars": _share(n["again_chars"], n["line_chars"]),
        "duplicate_paragraphs": _share(n["paragraphs_again"], n["paragraphs"]),
        "duplicate_paragraph_chars": _share(n["paragraphs_again_chars"], n["line_chars"]),
        **{f"top_{size}gram": pa.array(grams[:, size].astype(np.float32), mask=nothing) for size in TOP},
        **{f"duplicate_{size}gram": pa.array(grams[:, size].astype(np.float32), mask=nothing) for size in REPEATED},
    }


def _share(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array((part / np.maximum(whole, 1)).astype(np.float32), mask=whole == 0)


@cache
def _classes() -> npt.NDArray[np.uint8]:
    """The classes of each code point below PLANES, as bits; those above are letters up to 0x40000 (Han)."""
    classes = np.zeros(PLANES, np.uint8)
    for code in range(PLANES):
        char = chr(code)
        classes[code] = SPACE * char.isspace() | ALPHABETIC * char.isalpha()
    for char in BULLETS:
        classes[ord(char)] |= BULLET
    for char in ENDS:
        classes[ord(char)] |= END
    return classes


class _Table(NamedTuple):
    """Keys by open addressing; those of an earlier stamp count as none, so that nothing is cleared between texts."""

    keys: npt.NDArray[np.uint64]
    stamps: npt.NDArray[np.int64]
    last: np.uint64
    """The last slot: one less than a power of two."""


@kernel
def _count(data, bounds, classes, short_line, counts):  # type: ignore[no-untyped-def]
    """Count COUNTS, one row a text."""
    most = 2  # lines of a text; the table has room for them and for their paragraphs
    for text in range(len(bounds) - 1):
        lines = 2
        for at in range(bounds[text], bounds[text + 1]):
            lines += data[at] == 10
        most = max(most, lines)
    table = _table(most)
    for text in range(len(bounds) - 1):
        tokens = token_chars = alphabetic = hashes = ellipses = 0
        lines = line_chars = bullets = trailing = closed = short = again = again_chars = 0
        paragraphs = paragraphs_again = paragraphs_again_chars = 0
        token = letter = False
        dots = 0
        # The line: characters up to its last one that is no white space, all of them, and its hash up to the former.
        length, reach, hashed, line = 0, 0, WORD_SEED, WORD_SEED
        first = last = np.uint32(0)
        ellipsis = False
        paragraph, paragraph_chars = WORD_SEED, 0
        at, end = bounds[text], bounds[text + 1]
        while at <= end:
            # A line feed is put behind the last line.
            code, width = (np.uint32(10), 1) if at == end else decode(data, at)
            at += width
            kind = classes[code] if code < PLANES else (ALPHABETIC if code < 0x40000 else 0)
            if kind & SPACE:
                if token:
                    tokens += 1
                    alphabetic += letter
                    token = letter = False
                dots = 0
                if length:
                    reach += 1
                    hashed = (hashed ^ np.uint64(code)) * WORD_PRIME
                if code == 10:
                    if length:
                        lines += 1
                        line_chars += length
                        bullets += (classes[first] & BULLET) > 0 if first < PLANES else 0
                        closed += (classes[last] & END) > 0 if last < PLANES else 0
                        trailing += ellipsis
                        short += length <= short_line
                        if _claim(table, line, text + 1)[1]:
                            again += 1
                            again_chars += length
                        paragraph = (paragraph ^ line) * WORD_PRIME + np.uint64(1)
                        paragraph_chars += length
                    if (not length or at > end) and paragraph_chars:
                        paragraphs += 1
                        if _claim(table, paragraph, text + 1)[1]:
                            paragraphs_again += 1
                            paragraphs_again_chars += paragraph_chars
                        paragraph, paragraph_chars = WORD_SEED, 0
                    length, reach, hashed, line = 0, 0, WORD_SEED, WORD_SEED
                    ellipsis = False
                continue
            token = True
            token_chars += 1
            letter |= (kind & ALPHABETIC) > 0
            hashes += code == 35
            if code == 46:
                dots += 1
            else:
                dots = 0
            ellipsis = code == 0x2026 or dots >= 3
            if code == 0x2026 or (dots and dots % 3 == 0):
                ellipses += 1
            if not length:
                first = code
            last = code
            reach += 1
            length = reach
            hashed = (hashed ^ np.uint64(code)) * WORD_PRIME
            line = hashed
        row = counts[text]
        row[0], row[1], row[2], row[3], row[4] = tokens, token_chars, alphabetic, hashes, ellipses
        row[5], row[6], row[7], row[8], row[9], row[10] = lines, line_chars, bullets, trailing, closed, short
        row[11], row[12] = again, again_chars
        row[13], row[14], row[15] = paragraphs, paragraphs_again, paragraphs_again_chars


@kernel
def _repetition(data, bounds, offsets, words, begins, ends, stops, found, grams):  # type: ignore[no-untyped-def]
    """How many of the stop words stand in each text, and what its n-grams say of it: grams[text, size].

    An n-gram can only be repeated where the two shorter ones in it are, so few are left to be looked at.
    """
    most = 1
    for text in range(len(offsets) - 1):
        most = max(most, offsets[text + 1] - offsets[text])
    table = _table(most)
    times = np.empty(len(table.keys), np.int64)
    gram, slot = np.empty(most, np.uint64), np.empty(most, np.int64)
    alive, again, covered = np.empty(most, np.bool_), np.empty(most, np.bool_), np.empty(most, np.bool_)
    before = np.empty(most + 1, np.int64)
    stamp = 0
    for text in range(len(offsets) - 1):
        begin, count = offsets[text], offsets[text + 1] - offsets[text]
        seen = 0
        for at in range(count):
            word = words[begin + at]
            gram[at] = word
            alive[at] = True
            for number in range(len(stops)):
                if word == stops[number]:
                    seen |= 1 << number
        for number in range(len(stops)):
            found[text] += (seen >> number) & 1
        for n in range(2, grams.shape[1]):
            stamp += 1
            repeats = 0
            for at in range(count - n + 1):
                if alive[at]:
                    gram[at] = gram[at] * MULTIPLIER + words[begin + at + n - 1]
                    place, known = _claim(table, gram[at], stamp)
                    slot[at], again[at] = place, known
                    times[place] = times[place] + 1 if known else 1
                    repeats += known
            if not repeats:
                break
            if n == 2:
                before[0] = 0
                for at in range(count):
                    chars = 0
                    for byte in range(bounds[text] + begins[begin + at], bounds[text] + ends[begin + at]):
                        chars += (data[byte] & 0xC0) != 0x80
                    before[at + 1] = before[at] + chars
            if n <= 4:
                often = chars = 0
                for at in range(count - n + 1):
                    if alive[at] and times[slot[at]] > 1:
                        here = before[at + n] - before[at]
                        if times[slot[at]] > often or (times[slot[at]] == often and here > chars):
                            often, chars = times[slot[at]], here
                grams[text, n] = min(1.0, often * chars / before[count])
            else:
                covered[:count] = False
                for at in range(count - n + 1):
                    if alive[at] and again[at]:
                        covered[at : at + n] = True
                chars = 0
                for at in range(count):
                    if covered[at]:
                        chars += before[at + 1] - before[at]
                grams[text, n] = chars / before[count]
            for at in range(count - n):
                alive[at] = alive[at] and times[slot[at]] > 1 and alive[at + 1] and times[slot[at + 1]] > 1


@kernel
def _table(most):  # type: ignore[no-untyped-def]
    """An empty table for up to `most` keys of one stamp, at most half of it filled."""
    size = 2
    while size < 2 * most:
        size *= 2
    return _Table(np.empty(size, np.uint64), np.zeros(size, np.int64), np.uint64(size - 1))


@kernel
def _claim(table, key, stamp):  # type: ignore[no-untyped-def]
    """The slot of a key, and whether it was there already under this stamp."""
    slot = (key * MULTIPLIER) >> np.uint64(32) & table.last
    while table.stamps[slot] == stamp and table.keys[slot] != key:
        slot = (slot + np.uint64(1)) & table.last
    known = table.stamps[slot] == stamp
    table.keys[slot], table.stamps[slot] = key, stamp
    return slot, known
