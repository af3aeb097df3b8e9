"""Texts without case, white space, punctuation and variants of Unicode: where words stand in one, whatever their form.

A text is read as its words: runs of letters, of digits, single characters of scripts without spaces, and the few signs
that say something (`5%`, `C++`). Each is folded (NFKD, then case), and they are joined with nothing between them, so
that `L.L.C.` is `LLC` and a line that ends within a word does not matter; only between two runs of digits a full stop
stays, so that 1.5 is not 15. What is found begins and ends where words do: `US` is not found in `BUSINESS`.
"""

import re
import unicodedata
from bisect import bisect_right
from functools import cache, cached_property
from typing import NamedTuple

SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Thai and Lao, Burmese, Khmer, kana, Han with its extensions: each character is a word."""
SIGNS = "+#%$€£¥&"
AND = {"&": "and"}
BETWEEN_DIGITS = "."


class Word(NamedTuple):
    """A word of a text."""

    folded: str
    begin: int
    end: int
    """Characters of the text, the end not included."""


class Folded:
    """A text, to find others in."""

    def __init__(self, text: str) -> None:
        self.text = text
        pattern = _words()
        self.words = [Word(_fold(match[0]), *match.span()) for match in pattern.finditer(text)]

    @cached_property
    def joined(self) -> str:
        return self._joined[0]

    @cached_property
    def begins(self) -> list[int]:
        """Where in `joined` each word begins."""
        return self._joined[1]

    @cached_property
    def _joined(self) -> tuple[str, list[int]]:
        parts: list[str] = []
        begins: list[int] = []
        at, after_digit = 0, False
        for word, _, _ in self.words:
            digits = word[:1].isdigit()
            if digits and after_digit:
                parts.append(BETWEEN_DIGITS)
                at += 1
            parts.append(word)
            begins.append(at)
            at += len(word)
            after_digit = digits
        return "".join(parts), begins

    def find(self, other: str) -> tuple[int, int] | None:
        """Where in the text another first stands, in characters; None where it does not.

        Of a text without words, its characters are looked for as they are.
        """
        wanted = folded(other)
        if not wanted:
            begin = self.text.find(other.strip())
            return None if begin < 0 else (begin, begin + len(other.strip()))
        at = self.joined.find(wanted)
        while at >= 0:
            first = bisect_right(self.begins, at) - 1
            last = bisect_right(self.begins, at + len(wanted) - 1) - 1
            whole = self.begins[last] + len(self.words[last].folded) == at + len(wanted)
            if self.begins[first] == at and whole:
                return self.words[first].begin, self.words[last].end
            at = self.joined.find(wanted, at + 1)
        return None

    def place(self, begin: int, end: int) -> tuple[int, int]:
        """The words of the text that lie for the greater part in a part of `joined`, in characters."""
        first = max(bisect_right(self.begins, begin) - 1, 0)
        last = max(bisect_right(self.begins, max(end - 1, begin)) - 1, first)
        if first < last and 2 * (begin - self.begins[first]) > len(self.words[first].folded):
            first += 1
        if first < last and 2 * (end - self.begins[last]) < len(self.words[last].folded):
            last -= 1
        return self.words[first].begin, self.words[last].end


def folded(text: str) -> str:
    """The words of a text, joined."""
    return Folded(text).joined


def _fold(word: str) -> str:
    if word.isascii():
        return AND.get(word) or word.lower()
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", word).casefold())


@cache
def _words() -> re.Pattern[str]:
    marks = "".join(chr(code) for code in range(0x10000) if unicodedata.category(chr(code))[0] == "M")
    letters = rf"[^\W\d_{SPACELESS}]"
    return re.compile(rf"{letters}+(?:[{marks}]+{letters}*)*|\d+|[{SPACELESS}][{marks}]*|[{SIGNS}]")
