"""The tokens of a row as they are shown: what each adds to the text, and what would not be seen of it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from curate.rows.renderer import IGNORED, Renderer

UNDECODED = "\ufffd"
"""What a tokenizer gives of bytes that are no whole character."""
PART = "⋯"
"""Shown of a token whose bytes a later one makes a character of."""
SEEN = {" ": "·", "\t": "⇥", "\n": "⏎"}


class Token(NamedTuple):
    """A token of a row."""

    text: str
    """What it adds to the text; nothing where it is a part of a character that a later one ends."""
    id: int
    trained: bool
    special: bool

    def shown(self) -> str:
        """The text on one line, everything in it visible."""
        return visible("".join(SEEN.get(char, char) for char in self.text)) or PART

    @property
    def ends_line(self) -> bool:
        return "\n" in self.text


def tokens_of(input_ids: Sequence[int], labels: Sequence[int], renderer: Renderer) -> list[Token]:
    """The tokens of a row; their texts, joined, are the text that they are decoded to.

    Args:
        input_ids, labels: of the row, one label for each id.
        renderer: made them.
    """
    special = {renderer.tokenizer.token_to_id(text) for text in renderer.special_texts}
    return [
        Token(text, token, label != IGNORED, token in special)
        for text, token, label in zip(_texts(input_ids, renderer), input_ids, labels, strict=True)
    ]


def _texts(ids: Sequence[int], renderer: Renderer) -> Iterator[str]:
    """What each token adds: that of the bytes of one character comes with the last of them."""
    pending: list[int] = []
    for token in ids:
        if pending and UNDECODED not in renderer.decode([token]):
            # It goes on with no character: what is pending is U+FFFD itself.
            yield from _with_last(pending, renderer)
            pending = []
        pending.append(token)
        if not renderer.decode(pending).endswith(UNDECODED):
            yield from _with_last(pending, renderer)
            pending = []
    yield from _with_last(pending, renderer)


def _with_last(ids: Sequence[int], renderer: Renderer) -> Iterator[str]:
    yield from [""] * (len(ids) - 1)
    if ids:
        yield renderer.decode(ids)


def visible(text: str) -> str:
    """A text in which characters that are not seen, or steer what shows them, stand as their numbers."""
    return "".join(char if char.isprintable() else f"⟨U+{ord(char):04X}⟩" for char in text)
