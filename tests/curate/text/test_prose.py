"""What texts are made of, by hand and by Arrow's regular expressions; and that nothing of it hangs on the texts beside
them."""

import json
import random
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.text.prose import NAMES, SCRIPTS, Prose, heads, in_a_row, letters, pieces, prose, sampled

HEAD = 300


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("", (0, 0, 0, 0, 0, 0)),
        (" \n - 12 ...", (0, 0, 0, 0, 0, 0)),
        ("the words of Mr Smith", (5, 3, 2, 0, 0, 0)),
        ("A BIG sign: it's (well-known)!", (5, 3, 1, 1, 0, 2)),
        ("camelCase JavaScript v2.0 foo(s) x=y", (5, 0, 0, 0, 0, 3)),
        ("mail me@example.org, see http://a.b", (3, 2, 0, 0, 0, 0)),
        ("---- a == b;; ((c", (3, 2, 0, 0, 0, 3)),
        ("one—two…three", (3, 3, 0, 0, 0, 0)),
        ("Été à “Noël”, ЛЕС и 日本語", (6, 3, 2, 1, 11, 0)),
        ("e\u0301te\u0301 \u0301 𝕋𝕙𝕖", (1, 1, 0, 0, 3, 0)),
        ("\u02bc \u02bcn don\u02bct", (2, 2, 0, 0, 0, 0)),
        ("a\u00a0b\u2003c\u0085d", (4, 4, 0, 0, 0, 0)),
    ],
)
def test_counts(text: str, counts: tuple[int, ...]) -> None:
    found = prose(pa.array([text]), HEAD)
    columns = (found.tokens, found.small, found.titled, found.shouted, found.foreign, found.symbols)
    assert tuple(int(column[0]) for column in columns) == counts


def test_letters_by_script() -> None:
    text = "Latin ё, 日本語の𠀀 كِتاب 모델 αβ"
    found = dict(zip(NAMES, prose(pa.array([text]), HEAD).letters[0].tolist(), strict=True))
    expected = {"Latin": 5, "Cyrillic": 1, "Han": 4, "Kana": 1, "Arabic": 5, "Hangul": 2, "Greek": 2}
    assert {name: count for name, count in found.items() if count} == expected


def test_only_the_head_counts() -> None:
    assert prose(pa.array(["one two three"]), 7).small.tolist() == [2]
    assert prose(pa.array(["one two three"]), 7).letters[:, 0].tolist() == [6]


@given(st.lists(st.text(st.sampled_from("aB é日 \n@=(.-'—𝕋ʼ"), max_size=12), max_size=5))
def test_a_text_counts_the_same_beside_any_others(texts: list[str]) -> None:
    together = prose(pa.array(texts, pa.string()), HEAD)
    for row, text in enumerate(texts):
        alone = prose(pa.array([text]), HEAD)
        assert alone.letters[0].tolist() == together.letters[row].tolist()
        for name in ("tokens", "small", "titled", "shouted", "foreign", "symbols"):
            assert getattr(alone, name)[0] == getattr(together, name)[row]


@pytest.mark.parametrize(
    ("text", "head", "left"),
    [
        ("see http://a.b/c?d=e now", 100, "see  now"),
        ("(https://a.b) x", 100, "( x"),
        ("a me@b.org, @home x@ @@", 100, "a  @home  "),
        ("see http://a.b", 9, "see "),
        ("see http://a.b", 10, "see "),
        ("日本語", 2, "日本"),
    ],
)
def test_heads_hold_no_addresses(text: str, head: int, left: str) -> None:
    assert heads(pa.array([text]), head).to_pylist() == [left]


def test_pieces_are_cut_where_sentences_end() -> None:
    texts = ["One. Two is longer. And\nthree", "short", "", "日本語です。そうです。"]
    found, rows = pieces(pa.array(texts), 6)
    assert found.to_pylist() == ["One. Two is longer.", " And\nthree", "日本語です。"]
    assert rows.tolist() == [0, 0, 3]


UNKNOWN = r"[\x{10000}-\x{1FFFF}\x{40000}-\x{10FFFF}]"
JOINERS = "'’ʼ\u2010\u2011-"
CAPITAL = r"[\p{Lu}\p{Lt}]"
MARGIN = rf"""(?:[.,!?:"*()\[\]{JOINERS}]|[^\x00-\x7F\PP])"""
WORD = rf"^{MARGIN}*[\pL\pM][\pL\pM{JOINERS}]*{MARGIN}*$"
SYMBOL = "|".join(rf"\x{ord(symbol):02x}+" for symbol in r"{}<>=;_$|\&^~`()[]")


def by_expressions(texts: pa.Array, head: int) -> Prose:
    """`prose` by RE2, each distinct token once."""

    def number(texts: pa.Array, pattern: str) -> Any:
        return pc.count_substring_regex(texts, pattern).to_numpy()

    seen = pc.replace_substring_regex(pc.utf8_slice_codeunits(texts, 0, head), "[–—…]", " ")
    tokens = pc.utf8_split_whitespace(seen)
    which = tokens.flatten().dictionary_encode()
    distinct = pc.replace_substring_regex(which.dictionary, UNKNOWN, "\x7f")
    letters = pc.replace_substring_regex(distinct, r"[^\pL\pM]+|ʼ", "")
    size, capitals = number(letters, r"\pL"), number(letters, CAPITAL)
    begins_small = number(letters, rf"^\pM*{CAPITAL}") == 0
    is_token = (size > 0) & (number(distinct, "@") == 0)
    is_word = is_token & (number(distinct, WORD) > 0)
    scripts = np.vstack([size * 0, *(number(letters, f"[{block}]") for block in SCRIPTS.values())])
    scripts[0] = pc.utf8_length(letters).to_numpy() - scripts.sum(axis=0)
    shouted = is_word & (capitals == size) & (size > 1)
    small, titled = is_word & (capitals == 0), is_word & ~begins_small & (capitals == 1)
    symbols, foreign = number(distinct, SYMBOL), number(letters, r"[^\x00-\x7F]")
    of_token = np.vstack([is_token, small, titled, shouted, foreign, symbols, scripts[0] * is_word, scripts])
    ends = np.cumsum([0, *pc.list_value_length(tokens).to_pylist()])
    nothing = np.zeros((len(of_token), 1), np.int64)
    totals = np.cumsum(np.hstack([nothing, of_token[:, which.indices.to_numpy()]]), axis=1)
    found = np.diff(totals[:, ends], axis=1)
    return Prose(found[0], found[1], found[2], found[3], found[4], found[5], found[6], found[7:].T)


def pieces_by_expressions(texts: pa.Array, size: int) -> list[list[str]]:
    pattern = rf"(?s).{{{size - 1},}}?(?:[.!?:;\n…。！？]|.\Z)"
    return [re.findall(pattern, text) for text in texts.to_pylist()]


def sample_by_expressions(text: str, head: int) -> str:
    if len(text) <= head:
        return text
    size = head // 3
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


SMALL_IN_A_ROW = r"(?:(?:^|[ (“‘])(?:\p{Ll}|\p{Lo})[\pL\pM'’-]*,?){5}"
ANY_IN_A_ROW = r"\pL[\pL\pM'’-]*(?:,?[ (“‘]\pL[\pL\pM'’-]*){4}"


def assert_words_as_expressions(texts: pa.Array) -> None:
    for expression, small in ((SMALL_IN_A_ROW, True), (ANY_IN_A_ROW, False)):
        expected = pc.match_substring_regex(texts, expression).to_pylist()
        differing = zip(texts.to_pylist(), in_a_row(texts, 5, small).tolist(), expected, strict=True)
        assert [text for text, found, match in differing if found != match] == []
    only = pc.replace_substring_regex(texts, r"[^\pL\pM]+", "")
    assert letters(texts).tolist() == pc.utf8_length(only).to_pylist()


IN_ROW = st.sampled_from([*"aÉߺʰはé\u0301 (“‘,,'’-.7", "\U000e0100", " a", " b", ", c", " (d", " E", "\n"])


@given(st.lists(st.lists(IN_ROW, max_size=20).map("".join), max_size=4))
def test_words_in_a_row(texts: list[str]) -> None:
    assert_words_as_expressions(pa.array(["before", *texts], pa.string()).slice(1))


def assert_as_expressions(texts: pa.Array, head: int, size: int) -> None:
    samples = sampled(texts, head)
    assert samples.type == texts.type
    assert samples.to_pylist() == [sample_by_expressions(text, head) for text in texts.to_pylist()]
    for seen in (texts, samples):
        counts, expected = prose(seen, head), by_expressions(seen, head)
        for name in Prose.__dataclass_fields__:
            assert getattr(counts, name).tolist() == getattr(expected, name).tolist(), name
        found, rows = pieces(seen, size)
        by_row = pieces_by_expressions(seen, size)
        assert found.to_pylist() == [piece for of_text in by_row for piece in of_text]
        assert rows.tolist() == [row for row, of_text in enumerate(by_row) for _ in of_text]


ODD = st.sampled_from(
    [*"aZé日ひ한дعⅧǅ𐐀𠀀\U00050000", *" \n\t\x1c\x85\u00a0\u3000", *"@=((.-'’ʼ—…`·。“", "\u0301", "x" * 29]
)


@given(st.lists(st.lists(ODD | st.characters(exclude_categories=["Cs"]), max_size=60).map("".join), max_size=4))
def test_any_text(texts: list[str]) -> None:
    for kind in (pa.string(), pa.large_string()):
        padded = pa.array(["before", *texts, "after"], kind)
        assert_as_expressions(padded.slice(1, len(texts)), 24, 7)
        assert_as_expressions(padded.slice(1, len(texts)), 300, 30)


def test_every_character() -> None:
    codes = [code for code in range(1, 0x32000) if not 0xD800 <= code < 0xE000] + [0x40000, 0xE0100, 0x10FFFF]
    random.Random(0).shuffle(codes)
    texts = [" ".join(map(chr, codes[at : at + 40])) for at in range(0, len(codes), 80)]
    texts += ["".join(map(chr, codes[at + 40 : at + 80])) for at in range(0, len(codes), 80)]
    assert_as_expressions(pa.array(texts), 300, 30)
    assert_words_as_expressions(
        pa.array([f"a {char} b{char} c{char}d,{char} e {char}f (g" for char in map(chr, codes)])
    )


def test_real_texts(shared_data: Path) -> None:
    with tarfile.open(shared_data / "dedup_tldr_pages/tldr_pages.tar.xz") as members:
        pages = [content.read().decode() for each in members if (content := members.extractfile(each)) is not None]
    naughty = json.loads((shared_data / "messy_blns/blns.json").read_text())
    texts = pa.array([*pages[::40], *naughty, "\n".join(naughty)])
    assert_as_expressions(texts, 300, 30)
    assert_words_as_expressions(texts)
