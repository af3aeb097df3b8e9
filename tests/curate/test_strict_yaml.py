"""YAML that people write, and what only attackers do: it is bounded before anything is made of it."""

import pytest
import yaml

from curate.strict_yaml import DEEPEST, MOST_NODES, load_yaml


def laughs(levels: int) -> str:
    """Lists of nine aliases of the list before: 9 ** levels values in a few lines."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]" for at in range(1, levels + 1)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "[" * 100_000, f"nested deeper than {DEEPEST} levels, on line 1"),
        ("a: " + "{a: " * 100_000, f"nested deeper than {DEEPEST} levels, on line 1"),
        ("a:\n" + "- " * 10_000, f"nested deeper than {DEEPEST} levels, on line 2"),
        (laughs(20), f"more than {MOST_NODES:,} values"),
        ("a: &a [*a]", r"the alias \*a stands within what it stands for"),
        ("a: &a {b: [*a]}", r"the alias \*a stands within what it stands for"),
    ],
)
def test_what_has_no_end_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_yaml(text)


def test_what_people_write_is_read() -> None:
    assert load_yaml("[" * DEEPEST + "]" * DEEPEST)
    assert load_yaml("a: &a [1, 2]\nb: *a") == {"a": [1, 2], "b": [1, 2]}
    assert len(load_yaml(laughs(4))["a4"]) == 9


@pytest.mark.parametrize(("text", "message"), [("a: 1\nb: 2\na: 3", "'a' is given twice"), ("[1]: a", "unhashable")])
def test_a_key_is_given_once_and_is_no_list(text: str, message: str) -> None:
    with pytest.raises(yaml.YAMLError, match=message):
        load_yaml(text)


def test_a_mapping_of_many_keys_is_read_in_linear_time() -> None:
    assert len(load_yaml("\n".join(f"k{at}: 1" for at in range(30_000)))) == 30_000
