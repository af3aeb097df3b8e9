"""A fuzz target: a check that any bytes must pass, and what its inputs are made of."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import strategies as st

from curate.errors import AssayError

Option = TypeVar("Option")

TIMES = (1, 1, 1, 1, 2, 30, 400)
"""How often an inserted piece stands one after the other: what is nested or long is more than most seeds hold."""
INSERTED = (b"\0", b"\xff", b"\n")
"""What is tried anywhere."""
LONGEST_INPUT = 1 << 16
"""Bytes."""


@dataclass(frozen=True)
class Target:
    """One kind of input."""

    name: str
    check: Callable[[bytes], None]
    """Raises whatever an input must not do; nothing of what may be said of a bad one."""
    seeds: Callable[[], Sequence[bytes]]
    """Sound inputs, which are changed a little to make others."""
    words: tuple[bytes, ...] = ()
    """Pieces that mean something in such an input."""
    led: bool = False
    """Whether an input means nothing by itself, but leads `Choices`."""

    def inputs(self) -> st.SearchStrategy[bytes]:
        """Seeds with pieces replaced, left out, repeated, or taken from another seed."""
        if self.led:
            return st.binary(min_size=24, max_size=120)
        return _changed(tuple(self.seeds()), (*self.words, *INSERTED))


@st.composite
def _changed(draw: st.DrawFn, seeds: tuple[bytes, ...], words: tuple[bytes, ...]) -> bytes:
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 5))):
        begin = draw(st.integers(0, len(data)))
        end = begin + draw(st.sampled_from((0, 0, 1, 1, 4, 40, len(data))))
        other = draw(st.sampled_from(seeds))
        at = draw(st.integers(0, len(other)))
        piece = draw(st.sampled_from(words) | st.binary(max_size=4) | st.just(other[at : at + 40]))
        data = data[:begin] + piece * draw(st.sampled_from(TIMES)) + data[end:]
    return data[:LONGEST_INPUT]


ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2**53 + 1,
        10**25,
        -0.0,
        0.5,
        1e308,
        "",
        " ",
        "a",
        "0",
        "é\u0301日",
        "\0",
        "\x1b[2J",
        "<|im_end|>",
    ),
    *(
        [],
        {},
        [None],
        [[]],
        [{}],
        {"": None},
        {"a": "b"},
        ["a", 1],
        [["a"], {"b": 1}],
        "null",
        "[1]",
        '{"a": 1}',
        "['a']",
        "2020-01-01",
    ),
    *(
        "a" * 5000,
        [0] * 500,
        {"a": {"a": {"a": {"a": []}}}},
        "user",
        "assistant",
        "http://127.0.0.1:9/",
        "../../etc/passwd",
        "/",
        "(",
        "{{",
        "%s",
    ),
)
"""What nobody expects in a place."""


class Choices:
    """What leads a grammar: one of an input's bytes for each choice, zeros once they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)

    def one_of(self, options: Sequence[Option]) -> Option:
        return options[next(self._data, 0) % len(options)]


def altered(document: Any, choices: Choices, odd: Sequence[Any] = ODD) -> Any:
    """A JSON-like document in which one value or more are others, or their keys are."""
    document = deepcopy(document)
    for _ in range(choices.one_of((1, 1, 1, 2, 3))):
        within = document
        while True:
            keys = list(within) if isinstance(within, dict) else list(range(len(within)))
            if not keys:
                break
            key = choices.one_of(keys)
            inner = within[key]
            if isinstance(inner, (dict, list)) and inner and choices.one_of((True, True, True, False)):
                within = inner
                continue
            how = choices.one_of(("replace", "replace", "replace", "remove", "wrap", "repeat", "rename"))
            if how == "replace":
                within[key] = deepcopy(choices.one_of(odd))
            elif how == "remove":
                del within[key]
            elif how == "wrap":
                within[key] = [inner]
            elif how == "repeat" and isinstance(within, list):
                within.append(deepcopy(inner))
            elif isinstance(within, dict):
                within[str(choices.one_of(odd))[:20]] = within.pop(key)
            break
    return document


def told(error: Exception) -> str:
    """What is said of a bad input, which must be words that can be printed."""
    words = error.message if isinstance(error, AssayError) else str(error)
    assert words.strip(), "an error without words"
    str(error).encode()  # of a lone surrogate, or half a character, it cannot
    return words
