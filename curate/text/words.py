"""Words and shingles: a text as a sequence of word hashes, and as a set of hashes of its word n-grams.

A word is a letter, digit or underscore and all such characters and combining marks that follow it, without regard to
case. A script that writes words without spaces gives one word per character.

In shingles, a sign that carries meaning is a word too (`curate.text.signs`): `1 < 5` is not `1 != 5`, nor -30 the same
as 30, nor Cl- as Cl.

A text of fewer words than a shingle has gives one shingle of all its words; a text without any word gives one shingle
of its characters, spaces aside: no text is without shingles.

Compiled by numba over Arrow's buffers; a plain Python version in the tests is the definition they are held to.
"""

import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from curate.text.kernel import kernel, read_only
from curate.text.signs import DASHES, MINUS, SELDOM, WIDE_PERCENT, is_sign, is_signed, may_stand, sign_run

Hashes = npt.NDArray[np.uint64]
Offsets = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Tables = tuple[Bytes, Bytes, npt.NDArray[np.uint32], npt.NDArray[np.uint32]]

NO_SPACES = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
"""Thai, Lao, Burmese, Khmer, kana, Han: scripts that put no spaces between words (UAX 29). Code points, inclusive."""

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio, odd (Knuth, TAOCP 3, 6.4)."""
WORD_SEED = np.uint64(0xCBF29CE484222325)
WORD_PRIME = np.uint64(0x100000001B3)
"""Offset basis and prime of 64-bit FNV-1a (Fowler, Noll, Vo), here over code points."""

OTHER, WORD, SINGLE, SPACE, MARK, DASH, SIGN, SELDOM_SIGN = range(8)
PLANES = 0x20000
"""Code points below have their class in a table; those above are Han (see NO_SPACES) or no part of a word."""
MANY = 0x110000
"""Entries of the folding table from here on point into the table of foldings to several code points."""


@dataclass(frozen=True)
class Words:
    """The words of several texts, one after the other."""

    offsets: Offsets
    """Words of text i are those from offsets[i] to offsets[i + 1]: shape (texts + 1,)."""
    hashes: Hashes
    """64-bit hash of each word, case folded."""
    begins: Offsets
    """Byte position of each word's first character in its text's UTF-8."""
    ends: Offsets
    """Byte position after its last one."""


def split_words(texts: pa.Array) -> Words:
    """The words of each text: string or large_string array without nulls."""
    data, bounds = utf8(texts)
    room = int(bounds[-1] - bounds[0])
    hashes, begins, ends = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(room, np.int64)
    offsets = np.zeros(len(bounds), np.int64)
    _split_all(data, bounds, *tables(), hashes, begins, ends, offsets)
    total = offsets[-1]
    return Words(offsets, hashes[:total].copy(), begins[:total].copy(), ends[:total].copy())


def ngrams(word_hashes: Hashes, size: int) -> Hashes:
    """Hash of every run of `size` words, in order: shape (words - size + 1,).

    A polynomial of the words' hashes modulo 2^64, then SplitMix64's finalizer (Steele et al., 2014).
    """
    out = np.empty(len(word_hashes) - size + 1, np.uint64)
    _ngrams(word_hashes, len(word_hashes), size, out)
    return out


def shingle_sets(texts: pa.Array, size: int) -> tuple[Offsets, Hashes]:
    """Each text's shingles of `size` words: sorted, distinct 64-bit hashes, at least one.

    Args:
        texts: string or large_string array without nulls.

    Returns:
        Offsets of shape (texts + 1,), and the hashes of all texts one after the other.
    """
    offsets, values = shingles(texts, size)
    bounds = np.zeros_like(offsets)
    _distinct(offsets, values, bounds)
    return bounds, values[: bounds[-1]].copy()


def shingles(texts: pa.Array, size: int) -> tuple[Offsets, Hashes]:
    """Each text's shingles as `shingle_sets` gives them, but in the order of the text and with repeats."""
    data, bounds = utf8(texts)
    values = np.empty(int(bounds[-1] - bounds[0]) + len(texts), np.uint64)
    offsets = np.zeros(len(bounds), np.int64)
    _shingles(data, bounds, *tables(), size, values, offsets)
    return offsets, values[: offsets[-1]]


def utf8(texts: pa.Array) -> tuple[Bytes, Offsets]:
    """The bytes of a string array's texts, without a copy, and where each begins in them: shape (texts + 1,)."""
    _, bounds, data = texts.buffers()
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    if not len(texts):
        return read_only(np.empty(0, np.uint8)), np.zeros(1, np.int64)
    offsets = np.frombuffer(bounds, kind)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    return read_only(np.frombuffer(data or b"", np.uint8)), offsets


@cache
def tables() -> Tables:
    """What the kernels know of characters: by byte, the folded letter where it is an ASCII character of a word, else 0;
    by code point below PLANES, its class and its case folding; and the foldings to several code points, each as their
    number and then these.
    """
    classes = np.zeros(PLANES, np.uint8)
    folds = np.arange(PLANES, dtype=np.uint32)
    many: list[int] = []
    for code in range(PLANES):
        char = chr(code)
        if char.isalnum() or char == "_":
            classes[code] = WORD
        elif char.isspace():
            classes[code] = SPACE
        elif unicodedata.category(char)[0] == "M":
            classes[code] = MARK
        elif is_sign(char):
            classes[code] = SELDOM_SIGN if char in SELDOM else SIGN
        elif code in DASHES:
            classes[code] = DASH
        folded = char.casefold()
        if folded != char:
            if len(folded) == 1:
                folds[code] = ord(folded)
            else:
                folds[code] = MANY + len(many)
                many += [len(folded), *map(ord, folded)]
    folds[WIDE_PERCENT] = ord("%")
    for first, last in NO_SPACES[:-1]:
        in_words = (classes[first : last + 1] == WORD) | (classes[first : last + 1] == MARK)
        classes[first : last + 1][in_words] = SINGLE
    ascii_words = np.zeros(256, np.uint8)
    ascii_words[:128] = np.where(classes[:128] == WORD, folds[:128], 0)
    return ascii_words, classes, folds, np.array(many, np.uint32)


@njit(nogil=True, inline="always")
def decode(data, at):  # type: ignore[no-untyped-def]
    """The code point at a byte position of valid UTF-8, and how many bytes it has."""
    lead = np.uint32(data[at])
    if lead < 0x80:
        return lead, 1
    if lead < 0xE0:
        return (lead & np.uint32(0x1F)) << np.uint32(6) | np.uint32(data[at + 1] & 0x3F), 2
    second = np.uint32(data[at + 1] & 0x3F)
    third = np.uint32(data[at + 2] & 0x3F)
    if lead < 0xF0:
        return (lead & np.uint32(0x0F)) << np.uint32(12) | second << np.uint32(6) | third, 3
    fourth = np.uint32(data[at + 3] & 0x3F)
    return (lead & np.uint32(7)) << np.uint32(18) | second << np.uint32(12) | third << np.uint32(6) | fourth, 4


@njit(nogil=True, inline="always")
def _mix(value):  # type: ignore[no-untyped-def]
    """SplitMix64's finalizer."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@kernel
def _split(data, begin, end, ascii_words, classes, folds, many, signs, hashes, begins, ends, count):  # type: ignore[no-untyped-def]
    """Append the words of one text, its signs too if `signs`, to `hashes` (and `begins`, `ends`, unless these are
    empty: as they must be with `signs`); gives the new count."""
    keep = len(begins) > 0
    within = False
    word = WORD_SEED
    at = begin
    while at < end:
        if ascii_words[data[at]]:
            if not within:
                within = True
                word = WORD_SEED
                if keep:
                    begins[count] = at - begin
            while at < end and ascii_words[data[at]]:
                word = (word ^ np.uint64(ascii_words[data[at]])) * WORD_PRIME
                at += 1
            if keep:
                ends[count] = at - begin
            continue
        if data[at] < 0x80:
            if within:
                hashes[count] = _mix(word)
                count += 1
                within = False
            if signs and classes[data[at]] >= SIGN and may_stand(data, begin, end, at):
                run, stands = sign_run(data, begin, end, at)
                if stands:
                    hashes[count : count + run] = _mix((WORD_SEED ^ np.uint64(data[at])) * WORD_PRIME)
                    count += run
                at += run
            else:
                at += 1
            continue
        code, width = decode(data, at)
        folded, parts, first_part = code, np.int64(1), np.int64(0)
        if code < PLANES:
            folded = folds[code]
            if folded >= MANY:
                first_part = np.int64(folded) - MANY
                parts = np.int64(many[first_part])
        for part in range(parts):
            if parts > 1:
                folded = many[first_part + 1 + part]
            kind = classes[folded] if folded < PLANES else (SINGLE if folded < 0x40000 else OTHER)
            if kind == WORD or (kind == MARK and within):
                if not within:
                    within = True
                    word = WORD_SEED
                    if keep:
                        begins[count] = at - begin
                word = (word ^ np.uint64(folded)) * WORD_PRIME
                if keep:
                    ends[count] = at + width - begin
            else:
                if within:
                    hashes[count] = _mix(word)
                    count += 1
                    within = False
                if kind == DASH and signs and is_signed(data, begin, end, at, at + width):
                    kind, folded = SIGN, np.uint32(MINUS)
                if kind == SINGLE or (kind == SIGN and signs):
                    if folded == MINUS:
                        folded = np.uint32(45)
                    hashes[count] = _mix((WORD_SEED ^ np.uint64(folded)) * WORD_PRIME)
                    if keep:
                        begins[count] = at - begin
                        ends[count] = at + width - begin
                    count += 1
        at += width
    if within:
        hashes[count] = _mix(word)
        count += 1
    return count


@kernel
def _split_all(data, bounds, ascii_words, classes, folds, many, hashes, begins, ends, offsets):  # type: ignore[no-untyped-def]
    count = 0
    for text in range(len(bounds) - 1):
        count = _split(
            data, bounds[text], bounds[text + 1], ascii_words, classes, folds, many, False, hashes, begins, ends, count
        )
        offsets[text + 1] = count


@njit(nogil=True, inline="always")
def _step(letter, before, word, count, hashes):  # type: ignore[no-untyped-def]
    """One ASCII character more, without a branch: a word ends every few characters, where no processor foresees it."""
    hashes[count] = word
    count += np.uint64((letter == 0) & (before != 0))
    longer = (word ^ np.uint64(letter)) * WORD_PRIME
    return letter, (longer if letter else WORD_SEED), count


@kernel
def _split_ascii(data, begin, end, ascii_words, hashes):  # type: ignore[no-untyped-def]
    """`_split` of a text of ASCII characters alone, without `begins` and `ends`.

    Both halves are walked through at once: the multiplications of one word have to wait for each other.

    Args:
        hashes: room for half as many as there are characters, and 4.
    """
    begin, end = np.uint64(begin), np.uint64(end)
    middle = (begin + end) // np.uint64(2)
    while middle < end and ascii_words[data[middle]]:
        middle += np.uint64(1)
    second = (middle - begin) // np.uint64(2) + np.uint64(2)  # where the second half's words begin, for now
    before, word, count = np.uint8(0), WORD_SEED, np.uint64(0)
    before2, word2, count2 = np.uint8(0), WORD_SEED, second
    both = min(middle - begin, end - middle)
    for at in range(both):
        before, word, count = _step(ascii_words[data[begin + at]], before, word, count, hashes)
        before2, word2, count2 = _step(ascii_words[data[middle + at]], before2, word2, count2, hashes)
    for at in range(begin + both, middle):
        before, word, count = _step(ascii_words[data[at]], before, word, count, hashes)
    for at in range(middle + both, end):
        before2, word2, count2 = _step(ascii_words[data[at]], before2, word2, count2, hashes)
    _, _, count = _step(np.uint8(0), before, word, count, hashes)
    _, _, count2 = _step(np.uint8(0), before2, word2, count2, hashes)
    for at in range(second, count2):
        hashes[count] = hashes[at]
        count += np.uint64(1)
    for at in range(count):
        hashes[at] = _mix(hashes[at])
    return np.int64(count)


@kernel
def _split_signed(data, begin, end, ascii_words, classes, hashes):  # type: ignore[no-untyped-def]
    """`_split` of a text of ASCII characters alone with its signs: what stands between them piece by piece.

    Args:
        hashes: room for as many as there are characters, and 4.
    """
    count, piece, after = 0, begin, begin
    for place in range(np.uint64(begin), np.uint64(end)):  # of no sign, so that numba need not look for negative ones
        if classes[data[place]] >= SIGN:
            at = np.int64(place)
            if at >= after and may_stand(data, begin, end, at):
                run, stands = sign_run(data, begin, end, at)
                after = at + run
                if stands:
                    count += _split_ascii(data, piece, at, ascii_words, hashes[count:])
                    hashes[count : count + run] = _mix((WORD_SEED ^ np.uint64(data[at])) * WORD_PRIME)
                    count += run
                    piece = after
    return count + _split_ascii(data, piece, end, ascii_words, hashes[count:])


@kernel
def _ngrams(words, count, size, out):  # type: ignore[no-untyped-def]
    total = np.uint64(count - size + 1)
    for first in range(total):
        out[first] = words[first]
    for offset in range(np.uint64(1), np.uint64(size)):  # the inner loops run over many at a time: they are vectorised
        for first in range(total):
            out[first] = out[first] * MULTIPLIER + words[first + offset]
    for first in range(total):
        out[first] = _mix(out[first])


@kernel
def _shingle_text(data, begin, end, ascii_words, classes, folds, many, size, words, out):  # type: ignore[no-untyped-def]
    """The shingles of one text, in the order of the text and with repeats, written to `out`; gives their number.

    Args:
        words: scratch of at least `end - begin` uint64, and 4.
        out: at least `end - begin` uint64, and at least one.
    """
    every = np.uint8(0)
    for at in range(np.uint64(begin), np.uint64(end)):
        every |= data[at]
    if every < 0x80:
        count = _split_signed(data, begin, end, ascii_words, classes, words)
    else:
        nothing = np.empty(0, np.int64)
        count = _split(data, begin, end, ascii_words, classes, folds, many, True, words, nothing, nothing, 0)
    if count:
        size = min(size, count)
        _ngrams(words, count, size, out)
        return count - size + 1
    whole = WORD_SEED
    at = begin
    while at < end:
        code, width = decode(data, at)
        if code >= PLANES or classes[code] != SPACE:
            whole = (whole ^ np.uint64(code)) * WORD_PRIME
        at += width
    out[0] = _mix(whole)
    return 1


@kernel
def _shingles(data, bounds, ascii_words, classes, folds, many, size, values, offsets):  # type: ignore[no-untyped-def]
    longest = 0
    for text in range(len(bounds) - 1):
        longest = max(longest, bounds[text + 1] - bounds[text])
    words = np.empty(longest + 4, np.uint64)
    total = 0
    for text in range(len(bounds) - 1):
        begin, end = bounds[text], bounds[text + 1]
        total += _shingle_text(data, begin, end, ascii_words, classes, folds, many, size, words, values[total:])
        offsets[text + 1] = total


@kernel
def _distinct(offsets, values, bounds):  # type: ignore[no-untyped-def]
    """Sort each set and leave out its repeats, in place; `bounds` are the offsets that they have then."""
    total = 0
    for text in range(len(offsets) - 1):
        ordered = np.sort(values[offsets[text] : offsets[text + 1]])
        for at in range(len(ordered)):
            if at == 0 or ordered[at] != ordered[at - 1]:
                values[total] = ordered[at]
                total += 1
        bounds[text + 1] = total
