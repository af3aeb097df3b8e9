"""Files of tokens and tags: sentences as rows, and the entities that the tags mark."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.read.raw_row import Unread
from curate.read.tagged import entities
from tests.curate.read.made import Written, parsed

TOKENS = ["Ada", "Lovelace", "met", "Acme", "Inc."]


def marked(tags: str) -> list[tuple[str, str]]:
    return [(each["label"], each["text"]) for each in entities(TOKENS, tags.split())]


@pytest.mark.parametrize(
    "tags",
    [
        "B-PER I-PER O B-ORG I-ORG",  # IOB2
        "I-PER I-PER O I-ORG I-ORG",  # IOB1
        "B-PER E-PER O B-ORG E-ORG",  # BIOES
        "B-PER L-PER O B-ORG L-ORG",  # BILOU
    ],
)
def test_all_schemes_mark_the_same(tags: str) -> None:
    assert marked(tags) == [("PER", "Ada Lovelace"), ("ORG", "Acme Inc.")]


def test_entities_side_by_side() -> None:
    assert marked("I-PER B-PER O S-ORG S-ORG") == [
        ("PER", "Ada"),
        ("PER", "Lovelace"),
        ("ORG", "Acme"),
        ("ORG", "Inc."),
    ]
    assert marked("U-PER I-PER O I-PER I-ORG") == [
        ("PER", "Ada"),
        ("PER", "Lovelace"),
        ("PER", "Acme"),
        ("ORG", "Inc."),
    ]
    assert marked("O O O O O") == []


SPANS = st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["PER", "ORG", None])), min_size=1, max_size=8)


@given(SPANS, st.sampled_from(["IOB2", "BIOES", "BILOU"]))
def test_what_is_tagged_is_found(spans: list[tuple[int, str | None]], scheme: str) -> None:
    """Spans of tokens, an entity or none each, written in a scheme and read again."""
    single, last = {"IOB2": "BI", "BIOES": "SE", "BILOU": "UL"}[scheme]
    tokens: list[str] = []
    tags: list[str] = []
    told: list[dict[str, Any]] = []
    for length, label in spans:
        begin = len(" ".join([*tokens, ""])) if tokens else 0
        words = [f"w{len(tokens) + at}" for at in range(length)]
        tokens += words
        kinds = [single] if length == 1 else ["B", *"I" * (length - 2), last]
        tags += [f"{kind}-{label}" if label else "O" for kind in kinds]
        text = " ".join(words)
        if label:
            told.append({"label": label, "text": text, "begin": begin, "end": begin + len(text)})
    assert entities(tokens, tags) == told


FILE = """-DOCSTART- -X- O

Ada NNP B-PER
met VBD O

-DOCSTART- -X- O

Acme NNP B-ORG
"""


def test_a_row_is_a_sentence(written: Written) -> None:
    first, second = written("a.conll", FILE)
    assert first == {
        "text": "Ada met",
        "tokens": ["Ada", "met"],
        "tags": ["B-PER", "O"],
        "entities": [{"label": "PER", "text": "Ada", "begin": 0, "end": 3}],
        "document": 1,
        "column_2": ["NNP", "VBD"],
        "name": "a.conll",
    }
    assert isinstance(second, dict)
    assert second["document"] == 2


def test_columns_are_stated(written: Written) -> None:
    rows = parsed(b"B-PER\tAda\r\nO\tmet\r\n", "conll", columns=("tag", "token"), header=False)
    assert [row["text"] for row in rows if isinstance(row, dict)] == ["Ada met"]
    [unread] = parsed(b"a b\n", "conll", columns=("x", "y"), header=False)
    assert isinstance(unread, Unread)
    assert "no `token`" in unread.message


def test_broken_sentences_are_set_aside() -> None:
    rows = parsed(b"Ada B-PER\n\nmet\n\na b c\nd e\n\nx NNP\n\nmet O\n\nbad \xff\n", "conll", encoding="utf-8")
    assert [each.message if isinstance(each, Unread) else each["text"] for each in rows] == [
        "Ada",
        "one column: tokens without tags",
        "2 columns on line 6, expected 3",
        "'NNP' is no tag such as B-PER, I-PER or O",
        "met",
        "not UTF-8: state `encoding` in the recipe's source",
    ]
    assert [each.line for each in rows if isinstance(each, Unread)] == [3, 5, 8, 12]
