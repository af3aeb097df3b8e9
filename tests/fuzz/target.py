"""A fuzz target: a check that any bytes must pass, and what its inputs are made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hypothesis import strategies as st

from curate.errors import AssayError

Option = TypeVar("Option")

TIMES = (1, 1, 1, 1, 2, 30, 400)
"""How often an inserted piece stands one after the other: what is nested or long is more than most seeds hold."""
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

    def inputs(self) -> st.SearchStrategy[bytes]:
        """Seeds with pieces replaced, left out, repeated, or taken from another seed."""
        return _changed(tuple(self.seeds()), (*self.words, b"\0", b"\xff", b"\n"))


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


class Choices:
    """What leads a grammar: one of an input's bytes for each choice, zeros once they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)

    def one_of(self, options: Sequence[Option]) -> Option:
        return options[next(self._data, 0) % len(options)]


def told(error: Exception) -> str:
    """What is said of a bad input, which must be words that can be printed."""
    words = error.message if isinstance(error, AssayError) else str(error)
    assert words.strip(), "an error without words"
    str(error).encode()  # of a lone surrogate, or half a character, it cannot
    return words
