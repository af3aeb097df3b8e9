"""Literals of Python that are hostile: refused with words, never run, and never the end of the process."""

import pytest

from curate.read.python_value import python_value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 200_000 + "]" * 200_000, "too many nested parentheses"),
        ("-" * 200_000 + "1", "no literal of Python"),
        ("a" + ".a" * 200_000, "recursion"),
        ("1" + "+1" * 200_000, "recursion"),
        ("__import__('os').system('true')", "malformed node"),
        ("1" * 5000, "Exceeds the limit"),
        ("[0x" + "f" * 5000 + "]", "a number of more than 4300 digits"),
        ("[1e999]", "a number too large"),
        ("['\\ud800']", "lone surrogate"),
        ("'" + "x" * (1 << 20) + "'", "longer than 1 Mi characters"),
        ("{1: b'x'}", "a bytes"),
        ("['\\n', b'x']", "a bytes"),
    ],
)
def test_hostile_literals_are_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        python_value(text)


def test_literals_are_as_json_has_them() -> None:
    assert python_value(" {'a': (1, None, True), 2: ['x', 1.5]} ") == {"a": [1, None, True], "2": ["x", 1.5]}
    assert python_value(r"{b'a': '\n', (1,): 2}") == {"b'a'": "\n", "(1,)": 2}
    assert python_value("0x" + "f" * 3000) == 16**3000 - 1


@pytest.mark.parametrize(
    "text",
    [
        "[{'a': 'it}\\n{s'} {'a': 2}]",
        "[{'a': 'it}\\n{s'}\n {'a': 2}]",
        "array([{'a': 'it}\\n{s'},\n       {'a': 2}], dtype=object)",
    ],
)
def test_what_numpy_prints_of_objects(text: str) -> None:
    assert python_value(text) == [{"a": "it}\n{s"}, {"a": 2}]


def test_what_numpy_prints_within_objects() -> None:
    assert python_value("{'a': array([{'b': (1,)}, {'b': [2]}], dtype=object), 'c': array([])}") == {
        "a": [{"b": [1]}, {"b": [2]}],
        "c": [],
    }


@pytest.mark.parametrize("text", ["['a' 'b']", "[{'a': ['x' 'y']} {'a': 1}]", "array(['a' 'b'], dtype=object)"])
def test_texts_that_numpy_prints_side_by_side_are_not_run_into_one(text: str) -> None:
    with pytest.raises(ValueError, match="texts without commas"):
        python_value(text)


@pytest.mark.parametrize(
    "text", ["[{'a': 1} ... {'a': 2}]", "array(print('x'))", "}{", "[{'a': 1}\n {'a': 2}", "array(("]
)
def test_what_is_cut_or_called_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        python_value(text)
