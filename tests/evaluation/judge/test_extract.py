"""What is found in a reply is never a piece of a broken value: by brute force, by construction, and by example."""

import json
import re
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from evaluation.judge.extract import ends_early, places

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('ab{}[]",:\\`', max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab{", max_size=2), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("ab", min_size=1, max_size=2), VALUES, min_size=1, max_size=3)
PROSE = st.text("so it is. (`\n", max_size=5)


def complete(text: str) -> list[str]:
    return [text[place.begin : place.end] for place in places(text) if place.complete]


def outermost(text: str) -> list[str]:
    """Every object and array among all substrings that lies within no other, by brute force."""
    spans = [
        (begin, end)
        for begin in range(len(text))
        for end in range(begin + 1, len(text) + 1)
        if text[begin] + text[end - 1] in ("{}", "[]") and _reads(text[begin:end])
    ]
    return [
        text[begin:end]
        for begin, end in sorted(spans)
        if not any(first <= begin and end <= last and (first, last) != (begin, end) for first, last in spans)
    ]


def _reads(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@given(st.lists(st.tuples(PROSE, st.lists(VALUES, max_size=2) | OBJECTS), max_size=3), PROSE)
def test_the_values_within_prose_are_found_whole(parts: list[tuple[str, Any]], end: str) -> None:
    written = [(prose, json.dumps(value)) for prose, value in parts]
    assert complete("".join(prose + value for prose, value in written) + end) == [value for _, value in written]


@given(st.lists(st.tuples(PROSE, st.sampled_from(["{}", "[1]", '{"a": [{}]}', '[{"b": "[}"}]'])), max_size=3), PROSE)
def test_they_are_those_that_brute_force_finds(parts: list[tuple[str, str]], end: str) -> None:
    text = "".join(prose + value for prose, value in parts) + end
    assert complete(text) == outermost(text)


@given(st.text('{}[]",:\\ 1a`\n', max_size=14))
def test_what_is_found_is_always_outermost(text: str) -> None:
    assert set(complete(text)) <= set(outermost(text))


@given(OBJECTS, PROSE)
def test_nothing_is_found_within_what_is_cut_off(value: dict[str, Any], before: str) -> None:
    text = json.dumps(value)
    for end in range(1, len(text)):
        assert complete(before + text[:end]) == []
        assert ends_early(text[:end])
    assert not ends_early(text)


@given(OBJECTS, st.data())
@example({"a": [{"b": 1}, {"b": 2}], "c": {"d": [1, "e"]}}, None)
def test_nothing_is_found_within_what_lacks_a_character(value: dict[str, Any], data: st.DataObject | None) -> None:
    """Brackets within a string that lacks its quote are brackets, so there are none."""
    text = json.dumps(value)
    assume(sum(map(text.count, "{}[]")) == len(re.findall(r"[{}\[\]]", re.sub(r'"(\\.|[^"\\])*"', "", text))))
    for at in range(1, len(text)) if data is None else [data.draw(st.integers(1, len(text) - 1))]:
        broken = text[:at] + text[at + 1 :]
        assert complete(broken) in ([], [broken])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('Use {name} and [see below]: {"a": 1}', ['{"a": 1}']),
        ('on [0, 1) it is {"a": [1, 2]}', ['{"a": [1, 2]}']),
        ('```json\n{"a": [{"b": 1}\n```\nbetter:\n```json\n{"a": [{"b": 2}]}\n```', ['{"a": [{"b": 2}]}']),
        ('{"a": "```json\n{"b": 1}\n```", "c": [{"d": 1}', []),
        (r'Here: "{\"a\": [1, 2], \"b\": {}}"', []),
        ('{"a": [{"b": 1}],}', []),
        ("{'a': [{\"b\": 1}]}", []),
        ('{a: {"b": 1}}', []),
        ('{"a": 1, /* {"c": 1} */ "b": {"d": 1}}', []),
        ('{{"a": 1}}', []),
        ('{“a”: {"b": 1}}', []),
        ('[{"a": 1} {"a": 2}]', []),
        ('"total": 5, "items": [{"a": 1}]}', []),
        ('{"a": 1}}', ['{"a": 1}']),
        ('{"a": 1} so {"b": [{"c": 1}', ['{"a": 1}']),
        ('{"a": [{"b": 1}, so {"c": 2}', []),
        ("[" * 5000, []),
        ("{ " * 5000, []),
        ("[0, " * 5000, []),
        ("[0) " * 5000, []),
    ],
)
def test_examples(text: str, found: list[str]) -> None:
    assert complete(text) == found


def test_brackets_of_which_none_closes_are_counted() -> None:
    """It took time with the square of their number where each closing one was looked for among all that are open."""
    assert complete("[" * 200_000 + "}" * 200_000) == []
