"""Shingles against the definition."""

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from curate.shingles import WordHasher, jaccard, ngrams, shingles, words

MASK = (1 << 64) - 1


def scalar_ngram(word_hashes: list[int]) -> int:
    """The hash of one run of words, in Python's whole numbers."""
    mixed = 0
    for each in word_hashes:
        mixed = (mixed * 0x9E3779B97F4A7C15 + each) & MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
    return mixed ^ (mixed >> 31)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("GPL-2.0 or later", ["gpl", "2", "0", "or", "later"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("这是 MIT 许可", ["这", "是", "mit", "许", "可"]),
        ("MITライセンス", ["mit", "ラ", "イ", "セ", "ン", "ス"]),
        ("สวัสดี", list("สวัสดี")),
        ("رخصة عامة", ["رخصة", "عامة"]),
        ("👍 !!", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(st.lists(st.text(max_size=5), min_size=1, max_size=30), st.integers(1, 7))
def test_ngrams_equal_the_scalar_definition(some_words: list[str], size: int) -> None:
    size = min(size, len(some_words))
    hashes = [xxhash.xxh3_64_intdigest(word.encode("utf-8", "surrogatepass")) for word in some_words]
    expected = [scalar_ngram(hashes[at : at + size]) for at in range(len(hashes) - size + 1)]
    assert ngrams(WordHasher()(some_words), size).tolist() == expected


@given(st.text())
def test_no_text_is_without_shingles(text: str) -> None:
    found = shingles(text, 5, WordHasher())
    assert len(found) >= 1
    assert np.all(found[1:] > found[:-1])


def test_short_texts_are_told_apart() -> None:
    texts = ["", "!", "MIT", "GPL", "GPL 2", "GPL 3", "GPL 2 or", "GPL 2 or later", "?"]
    hasher = WordHasher()
    assert len({shingles(text, 5, hasher).tobytes() for text in texts}) == len(texts)
    assert shingles("GPL-2", 5, hasher).tolist() == shingles("gpl 2", 5, hasher).tolist()


@given(st.sets(st.integers(0, 40), min_size=1), st.sets(st.integers(0, 40), min_size=1))
def test_jaccard_equals_the_definition(first: set[int], second: set[int]) -> None:
    arrays = [np.array(sorted(each), dtype=np.uint64) for each in (first, second)]
    assert jaccard(*arrays) == len(first & second) / len(first | second)
