"""Prose: how much of a text is words of sentences, how much names, tags and code, and in which scripts it is written;
and its pieces that may be in a language of their own.

By Arrow's regular expressions (RE2), each distinct token once.
"""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.text.fences import without_blocks

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

UNKNOWN = r"[\x{10000}-\x{1FFFF}\x{40000}-\x{10FFFF}]"
"""Styled letters, and those of scripts that the models do not know: signs, as what cannot be printed."""
UNPRINTED = "\x7f"
DASHES = "[–—…]"
"""What divides words though no space does."""
JOINERS = "'’ʼ\u2010\u2011-"
"""What may stand between a word's letters."""
NO_LETTER = r"[^\pL\pM]+|ʼ"
CAPITAL = r"[\p{Lu}\p{Lt}]"
FOREIGN = r"[^\x00-\x7F]"
NOT_LATIN = r"[^\x00-\x{36F}]"
"""What may be a letter of a block above."""
MARGIN = rf"""(?:[.,!?:"*()\[\]{JOINERS}]|[^\x00-\x7F\PP])"""
"""What may stand before and after a word: of ASCII's punctuation these, of other punctuation all."""
WORD = rf"^{MARGIN}*[\pL\pM][\pL\pM{JOINERS}]*{MARGIN}*$"
SYMBOL = "|".join(rf"\x{ord(symbol):02x}+" for symbol in r"{}<>=;_$|\&^~`()[]")
"""What code is full of; no word holds them, brackets aside."""
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
PIECE = r"(?s).{%d,}?(?:[.!?:;\n…。！？]|.\Z)"
"""So many characters and more, to the end of a sentence, a line or the text."""


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
    seen = pc.replace_substring_regex(pc.utf8_slice_codeunits(texts, 0, head), DASHES, " ")
    tokens = pc.utf8_split_whitespace(seen)
    which = tokens.flatten().dictionary_encode()
    indices = which.indices.to_numpy()
    ends = np.cumsum([0, *pc.list_value_length(tokens).to_pylist()])
    of_token = _counts(pc.replace_substring_regex(which.dictionary, UNKNOWN, UNPRINTED))
    found = np.zeros((len(of_token), len(texts)), np.int64)
    for row, counts in enumerate(of_token):
        if counts.any():
            # Differences of a running total, for a text may have no token.
            found[row] = np.diff(np.concatenate([[0], np.cumsum(counts[indices])])[ends])
    return Prose(found[0], found[1], found[2], found[3], found[4], found[5], found[6], found[7:].T)


def _counts(tokens: pa.Array) -> Counts:
    """What each token adds to each count and script: shape (7 + scripts, tokens)."""
    letters = pc.replace_substring_regex(tokens, NO_LETTER, "")
    size, capitals = _number(letters, r"\pL"), _number(letters, CAPITAL)
    begins_small = _number(letters, rf"^\pM*{CAPITAL}") == 0
    is_token = (size > 0) & (_number(tokens, "@") == 0)
    is_word = is_token & (_number(tokens, WORD) > 0)
    scripts = np.zeros((len(NAMES), len(tokens)), np.int64)
    other = np.flatnonzero(_number(letters, NOT_LATIN))
    for row, block in enumerate(SCRIPTS.values(), start=1):
        scripts[row, other] = _number(letters.take(pa.array(other)), f"[{block}]")
    scripts[0] = pc.utf8_length(letters).to_numpy() - scripts.sum(axis=0)
    small, titled = is_word & (capitals == 0), is_word & ~begins_small & (capitals == 1)
    shouted = is_word & (capitals == size) & (size > 1)
    latin = scripts[0] * is_word
    counts = [is_token, small, titled, shouted, _number(letters, FOREIGN), _number(tokens, SYMBOL), latin, scripts]
    return np.vstack(counts)


def _number(texts: pa.Array, pattern: str) -> Counts:
    """How often each text matches."""
    found: Counts = pc.count_substring_regex(texts, pattern).to_numpy()
    return found


def heads(texts: pa.Array, head: int) -> pa.Array:
    """The first `head` characters of each text, without addresses: of http from there to the next space, of mail the
    word. String or large_string array without nulls."""
    return pc.replace_substring_regex(pc.utf8_slice_codeunits(texts, 0, head), ADDRESS, "")


def pieces(texts: pa.Array, size: int) -> tuple[pa.Array, Counts]:
    """Each text's pieces of `size` characters or more, cut where sentences or lines end; and the text of each."""
    found = [re.findall(PIECE % (size - 1), text) for text in texts.to_pylist()]
    parts = pa.array([part for of_text in found for part in of_text], pa.string())
    return parts, np.repeat(np.arange(len(found)), list(map(len, found)))


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
    plain = pc.replace_substring_regex(pc.replace_substring_regex(rest, KEY, " "), JSON, " ")
    rest = pc.if_else(keys, plain, rest)
    mask = np.zeros(len(texts), np.bool_)
    mask[rows] = True
    return pc.replace_with_mask(texts, pa.array(mask), rest)


def sampled(texts: pa.Array, head: int) -> pa.Array:
    """Of each text that is longer than `head` about so many characters, whole words: a third of them at its beginning,
    in its middle and near its end, white space aside. String or large_string array without nulls."""
    rows = np.flatnonzero(pc.greater(pc.utf8_length(texts), head).to_numpy(zero_copy_only=False))
    if not len(rows):
        return texts
    some = [_sample(text, head // 3) for text in texts.take(pa.array(rows)).to_pylist()]
    mask = np.zeros(len(texts), np.bool_)
    mask[rows] = True
    return pc.replace_with_mask(texts, pa.array(mask), pa.array(some, texts.type))


def _sample(text: str, size: int) -> str:
    width = min(4 * size, len(text) // 3)
    windows = []
    for begin in (0, (len(text) - width) // 2, len(text) - width):
        window = text[begin : begin + width]
        if begin and (space := re.search(r"\s", window[:30])):
            window = window[space.end() :]
        window = re.sub(r"[^\S\n]{2,}", " ", window)
        if len(window) > size and (space := re.search(r"\s\S{0,30}\Z", window[:size])):
            window = window[: space.start()]
        windows.append(window[:size])
    return "\n".join(windows)
