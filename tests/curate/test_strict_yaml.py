"""YAML by its events: depth is bounded before anything is made of it."""

import pytest
import yaml

from curate.strict_yaml import bounded_events


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
