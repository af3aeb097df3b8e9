"""Baselines on rows whose answers are known by hand."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from evaluation.ask.baselines import majority, tfidf, words
from evaluation.judge.structured import Judge

JUDGE = Judge(
    {
        "type": "object",
        "properties": {
            "kind": {"enum": ["x", "y", "z"]},
            "level": {"enum": [0, 1, 2]},
            "free": {"type": "boolean"},
            "tags": {"type": "array", "uniqueItems": True},
            "at": {"type": "object", "properties": {"city": {"type": "string"}, "side": {"enum": ["n", "s", None]}}},
        },
    }
)


def test_majority_takes_each_field_by_itself() -> None:
    targets: list[dict[str, Any]] = [
        {"kind": "x", "level": 1},
        {"kind": "y", "level": 1, "at": {"city": "R"}},
        {"kind": "x"},
    ]
    assert majority(targets, JUDGE.fields) == {"kind": "x", "level": 1}, "most have no city"
    assert majority(targets[:2], JUDGE.fields)["at"] == {"city": "R"}, "as many have one as have none"
    assert majority([{"kind": "y"}, {"kind": "x"}], JUDGE.fields) == {"kind": "x"}, "a tie goes by the value"
    assert majority([{"tags": [2]}, {"tags": [2]}, {"tags": [1]}], JUDGE.fields) == {"tags": [2]}
    assert majority([{"free": False}, {"free": True}, {"free": True}], JUDGE.fields) == {"free": True}


def test_words() -> None:
    assert words("The GPL-2.0, v_2 (Straße)") == ["the", "gpl", "2", "0", "v_2", "strasse"]
    assert words("刑法 第264条 음주운전 ภาษา") == ["刑", "法", "第", "264", "条", "음주운전", *"ภาษา"]
    assert words(" \n…") == []


@given(st.text())
def test_words_leave_no_letter_out(text: str) -> None:
    assert "".join(words(text)) == "".join(c for c in text.casefold() if c.isalnum() or c == "_" or words(c))


TEXTS = ["permission to use and sell", "you may sell it", "must publish the source", "publish your source code"] * 3
TARGETS: list[dict[str, Any]] = [
    {"kind": "x", "level": 0, "free": True, "tags": ["a"], "at": {"city": "R", "side": None}},
    {"kind": "x", "level": 0, "free": True, "tags": ["a"], "at": {"city": "R", "side": None}},
    {"kind": "y", "level": 2, "free": False, "tags": [], "at": {"city": "R"}},
    {"kind": "y", "level": 2, "free": False, "tags": ["a"], "at": {"city": "B"}},
] * 3


def test_tfidf_reads_classes_and_guesses_the_rest() -> None:
    """Values of any type come back as they were; a field that not every answer has may be left out."""
    questions = ["may I sell?", "the source must be published: publish it", "", "quite other words"]
    sell, source, *unknown = tfidf(TEXTS, TARGETS, questions, JUDGE.fields, seed=0)
    assert sell == {"kind": "x", "level": 0, "free": True, "tags": ["a"], "at": {"city": "R", "side": None}}
    assert source == {"kind": "y", "level": 2, "free": False, "tags": ["a"], "at": {"city": "R"}}
    assert unknown[0] == unknown[1], "nothing known in either"
    assert tfidf(TEXTS, TARGETS, questions, JUDGE.fields, seed=0) == [sell, source, *unknown]


def test_tfidf_without_any_word_is_the_majority() -> None:
    assert tfidf(["!", "?"], [{"kind": "z"}, {"kind": "z", "level": 1}], ["e"], JUDGE.fields, seed=0) == [
        {"kind": "z", "level": 1}
    ]


def test_tfidf_of_one_class_is_that_class() -> None:
    assert tfidf(["a b", "c d"], [{"kind": "z"}, {"kind": "z"}], ["e"], JUDGE.fields, seed=0) == [{"kind": "z"}]
