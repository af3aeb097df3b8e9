"""What texts are made of, by hand; and that nothing of it hangs on the texts beside them."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.text.prose import NAMES, heads, pieces, prose

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
