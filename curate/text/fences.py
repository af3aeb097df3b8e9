"""Fences: code blocks of Markdown, as CommonMark 0.31.2 (4.5) closes them."""

import re

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

HINT = "```|~~~"
"""What every fence begins with: RE2."""
_FENCE = re.compile(
    r"(?m)^(?P<within>[ ]{0,3}(?:(?:>|[-*+]|[0-9]{1,9}[.)])[ \t]{1,4}|>){0,4})"
    r"(?P<fence>`{3,}(?=[^`\n]*$)|~{3,})[ \t]*(?P<info>[^\n]*)$"
)
"""A line that may open a block, also within a list or a quotation."""
_CLOSING = re.compile(r"(?m)^[ \t>]*(?P<fence>`{3,}|~{3,})[ \t]*$")
_INFO = re.compile(r"\S*(?:[ \t]+[^\n]*[={}\[][^\n]*)?")
"""What says the language: a word, and attributes; several words are a sentence that begins with a fence."""


def blocks(text: str) -> tuple[list[tuple[int, int]], bool]:
    """The spans of a text's fenced blocks, and whether the last one is left open.

    A block is closed by at least as many of the character that opened it, alone on a line, or where the quotation ends
    that it stands in. Backticks within a line, and a fence in a block of code that is indented, open nothing.
    """
    found: list[tuple[int, int]] = []
    at = 0
    while opening := _FENCE.search(text, at):
        at = opening.end()
        if not _INFO.fullmatch(opening["info"].rstrip()):
            continue
        end = len(text)
        if ">" in opening["within"] and (outside := re.compile(r"(?m)^(?!>|[ ]{1,3}>)").search(text, at + 1)):
            end = outside.start()
        mark, size = opening["fence"][0], len(opening["fence"])
        closing = next(
            (line for line in _CLOSING.finditer(text, at, end) if line["fence"][0] == mark and len(line["fence"]) >= size),
            None,
        )
        if closing is None and end == len(text):
            return [*found, (opening.start(), end)], True
        at = closing.end() if closing else end
        found.append((opening.start(), at))
    return found, False


def open_fences(texts: pa.Array) -> npt.NDArray[np.bool_]:
    """Whether each text leaves a fenced block open: string array without nulls.

    Where fences as long as that block's are even in number, their writer took each second one for the end of one.
    """
    left: npt.NDArray[np.bool_] = pc.match_substring_regex(texts, HINT).to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(left).tolist():
        text = texts[row].as_py()
        found, is_open = blocks(text)
        left[row] = is_open and _written(text, found[-1][0]) % 2 == 1
    return left


def _written(text: str, begin: int) -> int:
    """How many lines are fences as long as the one that begins at `begin`, and of its character."""
    mine = _FENCE.match(text, begin)["fence"]  # type: ignore[index]
    lines = (line["fence"] for line in _FENCE.finditer(text))
    return sum(fence.startswith(mine) for fence in lines)
