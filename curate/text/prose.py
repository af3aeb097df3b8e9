"""Prose: how much of a text is words of sentences, how much names, tags and code, and in which scripts it is written;
and its pieces that may be in a language of their own.

Passes over the bytes, compiled by numba; what a character is, is what Arrow's regular expressions (RE2) take it for.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.text.fences import without_blocks
from curate.text.kernel import kernel
from curate.text.re2 import code_points
from curate.text.spans import between
from curate.text.words import decode, utf8

Counts = npt.NDArray[np.int64]

SCRIPTS = {
    "Hangul": r"\x{1100}-\x{11FF}\x{3130}-\x{318F}\x{AC00}-\x{D7AF}",
    "Kana": r"\x{3041}-\x{30FF}\x{31F0}-\x{31FF}\x{FF66}-\x{FF9F}",
    "Han": r"\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}\x{F900}-\x{FAFF}\x{20000}-\x{3FFFF}",
    "Cyrillic": r"\x{0400}-\x{052F}",
    "Arabic": r"\x{0600}-\x{06FF}\x{0750}-\x{077F}\x{08A0}-\x{08FF}\x{FB50}-\x{FDFF}\x{FE70}-\x{FEFF}",
    "Devanagari": r"\x{0900}-\x{097F}",
    "Greek": r"\x{0370}-\x{03E1}\x{03F0}-\x{03FF}\x{1F00}-\x{1FFF}",
    "Hebrew": r"\x{0590}-\x{05FF}\x{FB1D}-\x{FB4F}",
    "Armenian": r"\x{0530}-\x{058F}",
    "Georgian": r"\x{10A0}-\x{10FF}\x{1C90}-\x{1CBF}\x{2D00}-\x{2D2F}",
    "Thai": r"\x{0E00}-\x{0E7F}",
    "Lao": r"\x{0E80}-\x{0EFF}",
    "Khmer": r"\x{1780}-\x{17FF}",
    "Myanmar": r"\x{1000}-\x{109F}",
    "Tibetan": r"\x{0F00}-\x{0FFF}",
    "Bengali": r"\x{0980}-\x{09FF}",
    "Gurmukhi": r"\x{0A00}-\x{0A7F}",
    "Gujarati": r"\x{0A80}-\x{0AFF}",
    "Oriya": r"\x{0B00}-\x{0B7F}",
    "Tamil": r"\x{0B80}-\x{0BFF}",
    "Telugu": r"\x{0C00}-\x{0C7F}",
    "Kannada": r"\x{0C80}-\x{0CFF}",
    "Malayalam": r"\x{0D00}-\x{0D7F}",
    "Sinhala": r"\x{0D80}-\x{0DFF}",
    "Ethiopic": r"\x{1200}-\x{139F}",
    "Thaana": r"\x{0780}-\x{07BF}",
}
"""Scripts by their blocks (Unicode 16, Blocks.txt): Unicode's scripts leave out the marks that several share, as the
vowels of Arabic. Every other letter counts as Latin."""
NAMES = ("Latin", *SCRIPTS)

UNKNOWN = (0x10000, 0x1FFFF), (0x40000, 0x10FFFF)
"""Styled letters, and those of scripts that the models do not know: signs, as what cannot be printed."""
PLANES = 0x40000
"""Code points from here on are all UNKNOWN."""
DASHES = "–—…"
"""What divides words though no space does."""
JOINERS = "'’ʼ\u2010\u2011-"
"""What may stand before, after and between a word's letters; as no letter."""
MARGINS = '.,!?:"*()[]'
"""What may stand before and after a word: of ASCII's punctuation these, of other punctuation all."""
SYMBOLS = r"{}<>=;_$|\&^~`()[]"
"""What code is full of; no word holds them, brackets aside."""
LETTER, SIZED, CAPITAL, JOINER, MARGIN, SPACE, SYMBOL, AT = (1 << bit for bit in range(8))
"""What a character may be: a letter or a mark, a letter, ..."""
ADDRESS = r"[^\x00-\x20]+@[^\x00-\x20]*|https?:(?://[^\x00-\x20]*|/?$)"
"""Of mail, or of http, though the head end within."""
BLANKS = r"_{3,}|#{7,}|\.{4,}|[*]{3,}|-{3,}|={3,}|\[[\s_*•●]*\]"
"""What stands in a form for what is to be filled in, and what draws lines."""
KEY = r"\"[^\"\n]{1,60}\"\s*:"
JSON = r"[\[\]{}\"]"
"""Keys of JSON, and what else it is made of besides texts."""
QUERY = (
    r"\b(?:SELECT\s[^;]+?\sFROM\s|INSERT\s+INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s"
    r"|(?:CREATE|ALTER|DROP)\s+(?:TABLE|VIEW|INDEX|DATABASE)\s)[^;]*?(?:;(?:[ \t]*--[^\n]*)?|\n[ \t]*\n|\z)"
)
"""A statement of SQL, with the comment behind it."""
QUOTED = r"(?m)^[ \t]*>[> \t]*|^(?:From|To|Cc|Bcc|Date|Sent|Subject|Message-ID|Reply-To|X-[\w-]+|Content-[\w-]+):.*$"
"""Marks of what a mail quotes, and its header."""
SPAN = r"`[^`\n]+`|\{\{\s*[^{}\s]*(?:[ \t]+[^{}\s]+){0,3}\s*\}\}"
"""Code within a line, and a template's variable; not a sentence that someone has put into such braces."""
TAG = r"</?[A-Za-z][^<>@\n]{0,200}>"
"""A tag of markup."""
ASIDE = rf"```|~~~|{SPAN}|{BLANKS}|{TAG}|{KEY}|{QUERY}|{QUOTED}"
"""What texts hold that `readable` takes away."""
STOPS = ".!?:;\n…。！？"
"""What ends a piece."""
LAST_SPACE = 0x3000
NEAR = 30
"""Characters within which a part of a sample is cut at a space."""


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
    latin: Counts
    """Latin letters of words: those of names of code are none."""
    letters: Counts
    """By script, shape (texts, len(NAMES))."""


def prose(texts: pa.Array, head: int) -> Prose:
    """Count what the first `head` characters of each text are made of: string or large_string array without nulls."""
    words = np.zeros((len(texts), 7), np.int64)
    letters = np.zeros((len(texts), len(NAMES)), np.int64)
    _count(*utf8(texts), head, *_tables(), words, letters)
    tokens, small, titled, shouted, foreign, symbols, latin = words.T
    return Prose(tokens, small, titled, shouted, foreign, symbols, latin, letters)


@cache
def _tables() -> tuple[Any, Any]:
    """By code point below PLANES: what it may be, and the number of its script."""
    kinds, scripts = np.zeros((2, PLANES), np.uint8)
    for kind, classes in ((LETTER, r"\pL\pM"), (SIZED, r"\pL"), (CAPITAL, r"\p{Lu}\p{Lt}"), (MARGIN, r"\pP")):
        kinds[code_points(classes, PLANES - 1)] |= kind
    kinds[:0x80] &= ~np.uint8(MARGIN)
    for kind, signs in ((MARGIN, MARGINS), (SYMBOL, SYMBOLS), (AT, "@")):
        kinds[[ord(sign) for sign in signs]] |= kind
    kinds[[ord(joiner) for joiner in JOINERS]] = JOINER
    for first, last in UNKNOWN:
        kinds[first : last + 1] = 0
    spaces = pc.utf8_is_space(pa.array([chr(code) for code in range(LAST_SPACE + 1)]))
    kinds[: LAST_SPACE + 1][spaces.to_numpy(zero_copy_only=False)] = SPACE
    kinds[[ord(dash) for dash in DASHES]] = SPACE
    for number, blocks in enumerate(SCRIPTS.values(), start=1):
        for first, last in re.findall(r"\\x\{(\w+)\}-\\x\{(\w+)\}", blocks):
            scripts[int(first, 16) : int(last, 16) + 1] = number
    return kinds, scripts


@kernel
def _count(data, bounds, head, kinds, scripts, words, letters):  # type: ignore[no-untyped-def]
    for row in range(len(bounds) - 1):
        at, end = bounds[row], bounds[row + 1]
        seen = 0
        previous = np.uint32(0)
        # Of the token: 0 before its letters, 1 within, 2 after them, 3 no word; letters, capitals, the first's kind.
        phase, size, capitals, latin = 0, 0, 0, 0
        begins_small, address = True, False
        while True:
            over = at >= end or seen >= head
            kind, code = np.uint8(SPACE), np.uint32(32)
            if not over:
                code, width = decode(data, at)
                at += width
                seen += 1
                kind = kinds[code] if code < PLANES else np.uint8(0)
            if kind & SPACE:
                if size and not address:
                    words[row, 0] += 1
                    if phase == 1 or phase == 2:
                        words[row, 1] += capitals == 0
                        words[row, 2] += capitals == 1 and not begins_small
                        words[row, 3] += capitals == size and size > 1
                        words[row, 6] += latin
                phase, size, capitals, latin = 0, 0, 0, 0
                begins_small, address = True, False
                if over:
                    break
            elif kind & LETTER:
                letters[row, scripts[code]] += 1
                latin += scripts[code] == 0
                words[row, 4] += code >= 0x80
                if kind & SIZED:
                    if kind & CAPITAL:
                        begins_small = begins_small and size > 0
                        capitals += 1
                    size += 1
                phase = 3 if phase >= 2 else 1
            else:
                if kind & SYMBOL and code != previous:
                    words[row, 5] += 1
                if kind & MARGIN:
                    phase = 2 if phase == 1 else phase
                elif not kind & JOINER:  # which changes nothing: before, within or after a word
                    phase = 3
                    address = address or kind & AT != 0
            previous = code


def heads(texts: pa.Array, head: int) -> pa.Array:
    """The first `head` characters of each text, without addresses: of http from there to the next space, of mail the
    word. String or large_string array without nulls."""
    seen = pc.utf8_slice_codeunits(texts, 0, head)
    addressed = _addressed(*utf8(seen))
    if not addressed.any():
        return seen
    rows = pa.array(addressed)
    return pc.replace_with_mask(seen, rows, pc.replace_substring_regex(seen.filter(rows), ADDRESS, ""))


@kernel
def _addressed(data, bounds):  # type: ignore[no-untyped-def]
    """Which texts hold an @, or `http:` or `https:`."""
    found = np.zeros(len(bounds) - 1, np.bool_)
    for row in range(len(found)):
        begin = bounds[row]
        for at in range(begin, bounds[row + 1]):
            if data[at] == 58 and at - begin >= 4:  # :
                end = at - 1 if data[at - 1] == 115 else at  # s
                http = end - begin >= 4 and data[end - 4] == 104 and data[end - 3] == 116
                found[row] = http and data[end - 2] == 116 and data[end - 1] == 112
            elif data[at] == 64:
                found[row] = True
            if found[row]:
                break
    return found


def in_a_row(texts: pa.Array, words: int, small: bool) -> npt.NDArray[np.bool_]:
    """Whether so many words stand in a row in each text, between them no more than a comma and a space, bracket or
    quotation mark: string or large_string array without nulls.

    Args:
        small: words begin with a small letter, or one of a script without capitals, the first behind what divides words
            or at the text's begin; else with any letter, the first anywhere.
    """
    found = np.zeros(len(texts), np.bool_)
    _in_a_row(*utf8(texts), _word_kinds(), IN_SMALL if small else IN_ANY, not small, words, found)
    return found


def letters(texts: pa.Array) -> Counts:
    """How many letters and marks each text has: string or large_string array without nulls."""
    found = np.zeros(len(texts), np.int64)
    _letters(*utf8(texts), _word_kinds(), found)
    return found


IN_WORD, IN_SMALL, IN_ANY, IN_LETTERS, DIVIDES = (1 << bit for bit in range(5))
"""What a character may be to words in a row: part of a word, what it begins with, a letter or a mark, what divides."""

SELECTORS = (0xE0100, 0xE01EF)
"""The marks from PLANES on."""


@cache
def _word_kinds() -> Any:
    """The same by code point below PLANES."""
    kinds = np.zeros(PLANES, np.uint8)
    for kind, classes in ((IN_LETTERS | IN_WORD, r"\pL\pM"), (IN_ANY, r"\pL"), (IN_SMALL, r"\p{Ll}\p{Lo}")):
        kinds[code_points(classes, PLANES - 1)] |= kind
    for kind, signs in ((IN_WORD, "'’-"), (DIVIDES, " (“‘")):
        kinds[[ord(sign) for sign in signs]] |= kind
    return kinds


@kernel
def _word_kind(code, kinds):  # type: ignore[no-untyped-def]
    if code < PLANES:
        return kinds[code]
    return np.uint8(IN_LETTERS | IN_WORD if SELECTORS[0] <= code <= SELECTORS[1] else 0)


@kernel
def _in_a_row(data, bounds, kinds, begins, anywhere, words, found):  # type: ignore[no-untyped-def]
    for row in range(len(found)):
        at, end = bounds[row], bounds[row + 1]
        # 0: no word may begin here, 1: one may, 2: within one, 3: behind its comma.
        phase, count = 1, 0
        while at < end:
            code, width = decode(data, at)
            at += width
            kind = _word_kind(code, kinds)
            if phase == 2 and kind & IN_WORD:
                continue
            if kind & DIVIDES:
                count = count if phase >= 2 else 0
                phase = 1
            elif phase == 1 and kind & begins:
                count += 1
                phase = 2
                if count == words:
                    found[row] = True
                    break
            elif phase == 2 and code == 44:
                phase = 3
            elif anywhere and kind & begins:
                phase, count = 2, 1
            else:
                phase = 1 if anywhere else 0
                count = 0


@kernel
def _letters(data, bounds, kinds, found):  # type: ignore[no-untyped-def]
    for row in range(len(found)):
        at = bounds[row]
        while at < bounds[row + 1]:
            code, width = decode(data, at)
            at += width
            found[row] += _word_kind(code, kinds) & IN_LETTERS != 0


def pieces(texts: pa.Array, size: int) -> tuple[pa.Array, Counts]:
    """Each text's pieces of `size` characters or more, cut where sentences or lines end; and the text of each."""
    data, bounds = utf8(texts)
    room = int(bounds[-1] - bounds[0]) // size + 1
    spans, rows = np.empty((room, 2), bounds.dtype), np.empty(room, np.int64)
    count = _cut(data, bounds, size, np.array([ord(stop) for stop in STOPS]), spans, rows)
    return between(texts.type, data, spans[:count]), rows[:count]


@kernel
def _stops(code, stops):  # type: ignore[no-untyped-def]
    at = 0
    while at < len(stops) and stops[at] != code:
        at += 1
    return at < len(stops)


@kernel
def _cut(data, bounds, size, stops, spans, rows):  # type: ignore[no-untyped-def]
    count = 0
    for row in range(len(bounds) - 1):
        begin = at = bounds[row]
        end = bounds[row + 1]
        chars = 0
        while at < end:
            code, width = decode(data, at)
            at += width
            chars += 1
            if chars >= size and (at == end or _stops(code, stops)):
                spans[count, 0], spans[count, 1], rows[count] = begin, at, row
                count += 1
                begin, chars = at, 0
    return count


def readable(texts: pa.Array) -> pa.Array:
    """Each text without what is no language: code between backticks, tags, keys and brackets of JSON, statements of
    SQL, the blanks of forms, headers of mail. String or large_string array without nulls."""
    rows = np.flatnonzero(pc.match_substring_regex(texts, ASIDE).to_numpy(zero_copy_only=False))
    if not len(rows):
        return texts
    few = texts.take(pa.array(rows))
    read = [without_blocks(text) if "```" in text or "~~~" in text else text for text in few.to_pylist()]
    rest = pc.replace_substring_regex(pa.array(read, texts.type), f"{SPAN}|{BLANKS}|{TAG}|{QUERY}|{QUOTED}", " ")
    keys = pc.match_substring_regex(rest, KEY)
    plain = pc.replace_substring_regex(pc.replace_substring_regex(rest.filter(keys), KEY, " "), JSON, " ")
    rest = pc.replace_with_mask(rest, keys, plain)
    mask = np.zeros(len(texts), np.bool_)
    mask[rows] = True
    return pc.replace_with_mask(texts, pa.array(mask), rest)


def sampled(texts: pa.Array, head: int) -> pa.Array:
    """Of each text that is longer than `head` about so many characters, whole words: a third of them at its beginning,
    in its middle and near its end, white space aside. String or large_string array without nulls."""
    data, bounds = utf8(texts)
    out = np.empty(_room(data, bounds, head), np.uint8)
    ends = np.zeros(len(bounds), np.int64 if pa.types.is_large_string(texts.type) else np.int32)
    _sample(data, bounds, head, _spaces(), out, ends)
    return pa.Array.from_buffers(texts.type, len(texts), [None, pa.py_buffer(ends), pa.py_buffer(out)])


@cache
def _spaces() -> Any:
    """Whether each code point up to the last space is one."""
    return np.array([chr(code).isspace() for code in range(LAST_SPACE + 1)])


@kernel
def _length(data, begin, end):  # type: ignore[no-untyped-def]
    chars = 0
    for at in range(np.uint64(begin), np.uint64(end)):
        chars += (data[at] & 0xC0) != 0x80
    return chars


@kernel
def _ahead(data, at, end, chars):  # type: ignore[no-untyped-def]
    """The place so many characters further."""
    while chars > 0 and at < end:
        at += 1
        while at < end and data[at] & 0xC0 == 0x80:
            at += 1
        chars -= 1
    return at


@kernel
def _is_space(code, spaces):  # type: ignore[no-untyped-def]
    return code < len(spaces) and spaces[code]


@kernel
def _room(data, bounds, head):  # type: ignore[no-untyped-def]
    """Bytes that the samples have at most."""
    room = 0
    for row in range(len(bounds) - 1):
        room += min(bounds[row + 1] - bounds[row], 4 * head + 2)
    return room


@kernel
def _sample(data, bounds, head, spaces, out, ends):  # type: ignore[no-untyped-def]
    to = 0
    size = head // 3
    for row in range(len(bounds) - 1):
        begin, end = bounds[row], bounds[row + 1]
        chars = _length(data, begin, end)
        if chars <= head:
            out[to : to + end - begin] = data[begin:end]
            to += end - begin
            ends[row + 1] = to
            continue
        width = min(4 * size, chars // 3)
        at, place = begin, 0
        for first in (0, (chars - width) // 2, chars - width):
            if chars == end - begin:
                at, until = begin + first, begin + first + width
            else:
                at = _ahead(data, at, end, first - place)
                until = _ahead(data, at, end, width)
            place = first
            if first:
                out[to] = 10
                to += 1
            to = _window(data, at, until, first > 0, size, spaces, out, to)
        ends[row + 1] = to


@kernel
def _window(data, at, end, within, size, spaces, out, to):  # type: ignore[no-untyped-def]
    """Write the first `size` characters of a part of a text, whole words where a space is near; gives the place behind.

    Args:
        within: whether the part may begin within a word.
    """
    if within:
        ahead, near = at, 0
        while ahead < end and near < NEAR:
            code, width = decode(data, ahead)
            ahead += width
            near += 1
            if _is_space(code, spaces):
                at = ahead
                break
    chars = 0
    space, space_at = -1, to  # the last one written: its number among the characters, its place
    while at < end:
        if chars == size:
            return space_at if space >= 0 and size - space - 1 <= NEAR else to
        code, width = decode(data, at)
        if _is_space(code, spaces):
            space, space_at = chars, to
            run = at + width
            while code != 10 and run < end:
                after, wide = decode(data, run)
                if after == 10 or not _is_space(after, spaces):
                    break
                run += wide
            if run > at + width:
                out[to] = 32
                to += 1
                chars += 1
                at = run
                continue
        for byte in range(width):
            out[to + byte] = data[at + byte]
        to += width
        at += width
        chars += 1
    return to
