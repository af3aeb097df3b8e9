"""Shingles: a text as a set of hashes of its word n-grams.

Words are runs of letters, digits and underscores, without regard to case. A script that writes words without spaces
gives one "word" per character. A text of fewer words than a shingle has gives one shingle of all its words; a text
without any word gives one shingle of its characters, so no text is without shingles.
"""

import re

import numpy as np
import numpy.typing as npt
import xxhash

Hashes = npt.NDArray[np.uint64]

NO_SPACES = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Thai, Lao, Burmese, Khmer, kana, Han: scripts that put no spaces between words (UAX 29)."""
WORD = re.compile(rf"[{NO_SPACES}]|(?:(?![{NO_SPACES}])\w)+")

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio, odd (Knuth, TAOCP 3, 6.4)."""


def words(text: str) -> list[str]:
    """The words of a text, case folded, in order."""
    return WORD.findall(text.casefold())


class WordHasher:
    """64-bit XXH3 of words, each computed once."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def __call__(self, text_words: list[str]) -> Hashes:
        known = self._known
        for word in set(text_words) - known.keys():
            known[word] = xxhash.xxh3_64_intdigest(word.encode("utf-8", "surrogatepass"))
        return np.array([known[word] for word in text_words], dtype=np.uint64)


def ngrams(word_hashes: Hashes, size: int) -> Hashes:
    """Hash of every run of `size` words, in order: shape (words - size + 1,).

    A polynomial of the words' hashes modulo 2^64, then SplitMix64's finalizer (Steele et al., 2014).
    """
    count = len(word_hashes) - size + 1
    mixed = np.zeros(count, dtype=np.uint64)
    for offset in range(size):
        mixed = mixed * MULTIPLIER + word_hashes[offset : offset + count]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def shingles(text: str, size: int, hasher: WordHasher) -> Hashes:
    """The text's shingles: sorted, distinct 64-bit hashes, at least one."""
    word_hashes = hasher(words(text) or [text.strip()])
    return np.unique(ngrams(word_hashes, min(size, len(word_hashes))))


def jaccard(first: Hashes, second: Hashes) -> float:
    """Jaccard similarity of two sets of sorted, distinct hashes: size of the intersection over size of the union."""
    small, large = (first, second) if len(first) <= len(second) else (second, first)
    at = np.searchsorted(large, small)
    at[at == len(large)] = 0
    common = int(np.count_nonzero(large[at] == small))
    return common / (len(small) + len(large) - common)
