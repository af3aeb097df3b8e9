"""The compiled words and shingles against plain Python, which is their definition."""

import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.publish.check_text import words as words_and_signs
from curate.text.words import NO_SPACES, ngrams, shingle_sets, split_words

MASK = (1 << 64) - 1


def fnv(codes: list[int]) -> int:
    value = 0xCBF29CE484222325
    for code in codes:
        value = (value ^ code) * 0x100000001B3 & MASK
    return mix(value)


def mix(value: int) -> int:
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK
    return value ^ value >> 31


def is_single(char: str) -> bool:
    spaceless = any(first <= ord(char) <= last for first, last in NO_SPACES)
    part = char.isalnum() or unicodedata.category(char)[0] == "M"
    return spaceless and (part or ord(char) >= 0x20000)


def plain_words(text: str) -> list[str]:
    """Words by a regular expression over the folded text, each character told apart by what it is."""
    folded = text.casefold()
    kinds = "".join(
        "s" if is_single(char) else "w" if char.isalnum() or char == "_" else
        "m" if unicodedata.category(char)[0] == "M" and ord(char) < 0x20000 else "o"
        for char in folded
    )  # fmt: skip
    return [folded[found.start() : found.end()] for found in re.finditer(r"s|w[wm]*", kinds)]


def plain_shingles(text: str, size: int) -> list[int]:
    hashes = [fnv([ord(char) for char in word]) for word in words_and_signs(text)]
    if not hashes:
        return [fnv([ord(char) for char in text if not char.isspace()])]
    size = min(size, len(hashes))
    found = set()
    for first in range(len(hashes) - size + 1):
        value = 0
        for word in hashes[first : first + size]:
            value = (value * 0x9E3779B97F4A7C15 + word) & MASK
        found.add(mix(value))
    return sorted(found)


def sets_of(texts: list[str], size: int = 5) -> list[list[int]]:
    offsets, values = shingle_sets(pa.array(texts, pa.string()), size)
    return [values[offsets[at] : offsets[at + 1]].tolist() for at in range(len(texts))]


TEXTS = [
    "",
    " \n\t",
    "!?",
    "MIT",
    "GPL-2.0+ or later",
    "Straße STRASSE İstanbul ﬁne",
    "这是一个许可证, version 2",
    "ใบอนุญาตนี้ให้สิทธิ์",
    "رُخصة برمجيات حرة",
    "हिन्दी में लाइसेंस",
    "e\u0301te\u0301 \u0301 alone",
    "❤️ 👩‍👩‍👧 snake_case x86_64",
    "\U00020000\U0002a6df\U000e0100 \U0010ffff",
    "Does -1.5 ≤ x != 5? 50% of a<b && **not** <b>that</b>",
]


@pytest.mark.parametrize("text", TEXTS)
def test_known_texts(text: str) -> None:
    assert sets_of([text]) == [plain_shingles(text, 5)]


def test_words_are_what_a_reader_would_say() -> None:
    found = split_words(pa.array(["The Licence, v2 !", "", "许可 ok"], pa.string()))
    assert found.offsets.tolist() == [0, 3, 3, 6]
    assert found.begins.tolist() == [0, 4, 13, 0, 3, 7]
    assert found.ends.tolist() == [3, 11, 15, 3, 6, 9]
    assert found.hashes[0] == split_words(pa.array(["THE"])).hashes[0]


@given(st.lists(st.text(), max_size=6), st.integers(1, 6))
def test_any_text(texts: list[str], size: int) -> None:
    assert sets_of(texts, size) == [plain_shingles(text, size) for text in texts]
    found = split_words(pa.array(texts, pa.large_string()))
    plain = [plain_words(text) for text in texts]
    assert np.diff(found.offsets).tolist() == [len(words) for words in plain]
    assert found.hashes.tolist() == [fnv([ord(char) for char in word]) for words in plain for word in words]
    for row, (text, words) in enumerate(zip(texts, plain, strict=True)):
        spans = slice(found.offsets[row], found.offsets[row + 1])
        cut = [text.encode()[a:b].decode() for a, b in zip(found.begins[spans], found.ends[spans], strict=True)]
        assert all(word in span.casefold() for word, span in zip(words, cut, strict=True))


@given(st.lists(st.text("aB_9 .\n", max_size=40), max_size=6), st.integers(1, 6))
def test_any_text_of_ascii(texts: list[str], size: int) -> None:
    """These are split by a kernel of their own, both halves at once."""
    assert sets_of(texts, size) == [plain_shingles(text, size) for text in texts]


@given(st.lists(st.text(), min_size=2, max_size=8), st.data())
def test_a_slice_gives_the_same(texts: list[str], data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(texts)))
    array = pa.array(texts, pa.string()).slice(begin)
    offsets, values = shingle_sets(array, 5)
    parts = [values[offsets[at] : offsets[at + 1]].tolist() for at in range(len(array))]
    assert parts == sets_of(texts)[begin:]


def test_ngrams_are_the_shingles_in_order() -> None:
    words = split_words(pa.array(["a b c d e f a b c d e"])).hashes
    assert sorted(set(ngrams(words, 5).tolist())) == sets_of(["a b c d e f a b c d e"])[0]
    assert ngrams(words, 5)[0] == ngrams(words, 5)[-1]


def test_a_megabyte_row() -> None:
    text = " ".join(f"w{number % 50_021}" for number in range(170_000))
    assert sets_of([text, "x"])[1] == plain_shingles("x", 5)
    assert len(sets_of([text])[0]) == 50_021


SIGNED = st.lists(
    st.sampled_from(
        [
            *('abAB1x \t\n()[]<>=!+*/^%&|~-_.,$#";' + "'–‐－％５"),
            *("\r\n", "é", "−", "≤", "°", "👍", "中", "ﬁ", "<b>", "</b>"),
            *("[1, 2)", "(1,234)", "f'(", "(1", ",1]", ", 222", "n!", "1, " * 22),
        ]
    ),
    max_size=16,
).map("".join)


@given(st.lists(SIGNED, max_size=6), st.integers(1, 3))
def test_any_text_with_signs(texts: list[str], size: int) -> None:
    assert sets_of(texts, size) == [plain_shingles(text, size) for text in texts]


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("Does 1 < 5 hold?", "<"),
        ("Does 1 != 5 hold?", "!="),
        ("if (a<=b && !c || d->e) { i++; x -= 1 }", "<=&&!||>++-="),
        ("-30 degrees, (-3), 3 - -4, x - y, +7, −2, -.5", "-----+--"),
        ("3*4, 3 * 4, 2**8, f(x) * 2, 6/3, 6 / 3, 2^8, 17 % 5", "*****//^%"),
        ("50% or 50 %, $5, 5€, 20°C, 5!, ~7", "%%$€°!~"),
        ("C++ and C# and F#", "++##"),
        ("-x = 5, rm -f, (-y), Na+ or Na-, Cl-, SO4-, SO4^2-, an A-; Qxf7# or e8=Q#", "-=--+---^--#=#"),
        ("P(A|B), A ∪ B ≠ ∅, ¬p → q, f′", "|∪≠∅¬→′"),
        ("SELECT a WHERE b >= 3 AND c <> 'x'", ">=<>"),
        ("I like it 👍 ♞", "👍♞"),
        ("–30, —.5, (‐3), －30, －３", "-----"),
        ("[1,2), [1, 2], (1,2), (-1, 2.5], [1,200], ((0, 1))", "[)[]()(-][]()"),
        ("f'(x), f''(x), n!, &p, char *p, 5％", "'''!&*%"),
        # Prose and its dress are not signs.
        ("pages 1–5, it — or not – is, 1 – 2, x–3, (a)–3, –", ""),
        ("(2004), (1,234), (1,234,567), f(1, 2), x[1, 2], (a, 2), [x], [1], (1,), (,1), [], (see 1, 2)", ""),
        ("Tom's, the boys' (three), it's! I! &amp; &lt1; R&D, *one* *two*", ""),
        ("A well-known, state-of-the-art idea - or two -- or so – and/or “more”, Tom&Jerry's!", ""),
        ("- one\n* two\n+ three\n  - four\n> quoted\n> > twice\n~ five", ""),
        ("*emphasis* and **more** of ***it***, ~~gone~~, _so_", ""),
        ("| a | b |\n| --- | --- |\n====\n----\n# Title #\n~~~", ""),
        ("<p>Hello!</p><br/> &amp; &#39; <!-- no --> <me@example.com>", ""),
        ("2020-01-31, pages 3-4, +49-30-1234, https://example.com/a-b?c, ~/path --flag", "+"),
        ("Hello! What? Yes... © ® ™ • ■", ""),
        ("Haupt- und Nebensatz, pre- and post-war, a 12- to 15-year-old, -ish, exam-\nple", ""),
    ],
)
def test_a_sign_is_one_where_it_stands_as_an_operator(text: str, signs: str) -> None:
    found = "".join(word for word in words_and_signs(text) if not any(char.isalnum() or char == "_" for char in word))
    assert found == signs
    assert sets_of([text], 1) == [plain_shingles(text, 1)]
