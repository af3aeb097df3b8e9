"""Recipes and contracts as YAML: nothing in it runs, and nothing in it grows."""

import time

import pytest
import yaml

from curate.strict_yaml import bounded_events, load_yaml

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
MERGES = "a: &a {k0: 1, k1: 2, k2: 3}\n" + "".join(
    f"b{n}: &b{n} {{<<: [{', '.join([f'*b{n - 1}' if n else '*a'] * 8)}]}}\n" for n in range(12)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "more than 100,000 values or 100 levels with its aliases written out, on line"),
        (MERGES, "more than 100,000 values or 100 levels with its aliases written out, on line"),
        ("a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 300)), "100 levels"),
        ("a: &a [*a]", r"\*a stands in what it names, on line 1"),
        ("a: " + "[" * 50_000, "nested deeper than 100 levels, on line 1"),
        ("{a: " * 50_000, "nested deeper than 100 levels, on line 1"),
        ("- " * 50_000, "nested deeper than 100 levels, on line 1"),
        ("a: " + "x" * (1 << 20), "longer than 1,048,576 characters"),
        ("a: !!python/object/apply:os.system ['touch pwned']", "could not determine a constructor for the tag"),
        ("a: !!python/name:os.system", "could not determine a constructor for the tag"),
        ("a: !!set {x, y}", "could not determine a constructor for the tag"),
        ("a: !!binary aGk=", "could not determine a constructor for the tag"),
        ("a: !own {x: y}", "could not determine a constructor for the tag"),
        ("a: !!timestamp x", "a value that is no timestamp"),
        ("a: !!bool [x]", "expected a scalar node"),
        ("!!bool x: y", "a value that is no bool"),
        ("a: !!int x", "a value that is no int"),
        ("a: !!float x", "a value that is no float"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("a: 1\nb: 2\na: 3", "the key 'a' is given twice"),
        ("1: a\n1.0: b", "the key 1.0 is given twice"),
        ("[1]: a", "found unhashable key"),
        ('a: "\\ud800"', "invalid Unicode character"),
        ("a: 1" + ":10" * 100_000, "a number of more than 100 digits"),
        ("a: *b", "found undefined alias"),
        ('a:\n- "b\\0c"', "a NUL character, on line 2"),
        ('"a\\0": b', "a NUL character, on line 1"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises((yaml.YAMLError, ValueError), match=said):
        load_yaml(text)


def test_many_keys_take_linear_time() -> None:
    begun = time.process_time()
    assert len(load_yaml("".join(f"k{n}: 1\n" for n in range(20_000)))) == 20_000
    many = time.process_time() - begun
    load_yaml("".join(f"k{n}: 1\n" for n in range(5_000)))
    assert many < 16 * (time.process_time() - begun - many)


def test_what_people_write_is_read() -> None:
    text = "base: &base {a: 1, b: [x, y]}\nother: {<<: *base, b: 2}\nlist: [*base, *base]\nday: 2020-01-02\nn: 1_000\n"
    found = load_yaml(text)
    assert found["other"] == {"a": 1, "b": 2}
    assert found["list"] == [found["base"]] * 2
    assert (str(found["day"]), found["n"]) == ("2020-01-02", 1000)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_depth_is_bounded(opening: str) -> None:
    with pytest.raises(ValueError, match="nested deeper than 200 levels, on line 1"):
        list(bounded_events(opening * 50_000, 200))


def test_events_are_those_of_yaml() -> None:
    text = "a: [{b: *x}, &x c]\nd: 1\n"
    told = [type(event).__name__ for event in bounded_events(text, 3)]
    assert told == [type(event).__name__ for event in yaml.parse(text)]
    with pytest.raises(ValueError, match="nested deeper than 2 levels"):
        list(bounded_events(text, 2))
    with pytest.raises(yaml.YAMLError):
        list(bounded_events("a: [", 3))
