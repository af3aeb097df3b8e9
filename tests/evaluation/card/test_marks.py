"""What of an answer differs: marks leave the answer whole, and say nothing of what is right."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evaluation.card.marks import MOST_LINES, differences, lines
from evaluation.judge.fields import equal


@pytest.mark.parametrize(
    ("answer", "expected", "parts"),
    [
        ("gpl-2.0-plus", "gpl-2.0", [("same", "gpl-2.0"), ("other", "-plus")]),
        ("gpl-2.0", "gpl-2.0-plus", [("same", "gpl-2.0"), ("lacking", "-plus")]),
        ("the red fox", "the brown fox", [("same", "the "), ("other", "red"), ("same", " fox")]),
        ("诈骗罪", "盗窃罪", [("other", "诈骗"), ("same", "罪")]),
        ("mit", "apache", [("other", "mit")]),
        ("", "mit", [("lacking", "mit")]),
    ],
)
def test_within_a_text(answer: str, expected: str, parts: list[Any]) -> None:
    assert differences(answer, expected) == parts


@given(st.text(max_size=60) | st.text("ab ", max_size=2000), st.text(max_size=60) | st.text("ab ", max_size=2000))
def test_marks_leave_a_text_whole(answer: str, expected: str) -> None:
    parts = differences(answer, expected)
    assert "".join(text for kind, text in parts if kind != "lacking") == answer
    if answer == expected:
        assert {kind for kind, _ in parts} <= {"same", "lacking"}
        assert not any(text for kind, text in parts if kind == "lacking")


def test_by_path() -> None:
    expected = {"a": 1, "b": {"c": "mit", "d": [1, 2]}, "e": [{"f": 1}, {"f": 2}], "g": None}
    answer = {"a": 1.5, "b": {"c": "mit", "d": [2, 3]}, "e": [{"f": 1}], "h": True}
    found = {line.path: (line.fault, line.parts) for line in lines(answer, expected)}
    assert found == {
        "a": ("wrong", [("other", "1.5")]),
        "b.c": ("", [("same", '"mit"')]),
        "b.d": (
            "wrong",
            [*(("same", "["), ("same", "2"), ("same", ", "), ("other", "3")), *(("lacking", "1"), ("same", "]"))],
        ),
        "e[0].f": ("", [("same", "1")]),
        "e[1]": ("missing", [("lacking", '{"f": 2}')]),
        "g": ("missing", [("lacking", "null")]),
        "h": ("invented", [("other", "true")]),
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, JSON)
@example({"a": {}}, {})
def test_nothing_is_marked_of_what_is_right_and_something_of_what_is_wrong(answer: Any, expected: Any) -> None:
    marked = [line for line in lines(answer, expected) if line.fault]
    assert bool(marked) != equal(answer, expected)


def test_of_many_values_some_are_shown() -> None:
    found = lines({str(number): number for number in range(500)}, {})
    assert len(found) == MOST_LINES + 1
    assert found[-1].parts == [("same", "460 more values")]
