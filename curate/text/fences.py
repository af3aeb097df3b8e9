"""Fences: code blocks of Markdown, as CommonMark 0.31.2 (4.5) closes them."""

import re

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.text.spans import holding

HINT = "```|~~~"
"""What every fence begins with: RE2."""
_FENCE = re.compile(
    r"(?m)^(?P<within>[ ]{0,3}(?:(?:>|[-*+]|[0-9]{1,9}[.)])[ \t]{1,4}|>){0,4})"
    r"(?P<fence>`{3,}(?=[^`\n]*$)|~{3,})[ \t]*(?P<info>[^\n]*)$"
)
"""A line that may open a block, also within a list or a quotation."""
_ALONE = r"^(?P<within>[ \t>]*)(?P<fence>`{3,}|~{3,})[ \t]*$"
_CLOSING = re.compile(_ALONE, re.MULTILINE)
_CLOSING_QUOTED = re.compile(rf"^(?![ ]{{0,3}}>)|{_ALONE}", re.MULTILINE)
"""The same within a quotation, or the beginning of the line where that ends."""
_INFO = re.compile(r"\S*(?:[ \t][^\n]*[={}\[][^\n]*)?")
"""What says the language: a word, and attributes; several words are a sentence that begins with a fence."""


def blocks(text: str) -> tuple[list[tuple[int, int]], bool]:
    """The spans of a text's fenced blocks, and whether the last one is left open.

    A block is closed by at least as many of the character that opened it, alone on a line, or where the quotation ends
    that it stands in. Backticks within a line, a fence in a block of code that is indented, and tildes right below a
    line of text open nothing.
    """
    found: list[tuple[int, int]] = []
    at = 0
    while opening := _FENCE.search(text, at):
        at = opening.end()
        info = opening["info"].rstrip()
        drawn = opening["fence"][0] == "~" and not info and _is_under_text(text, opening.start())
        if drawn or not _INFO.fullmatch(info):
            continue
        lines = (_CLOSING_QUOTED if ">" in opening["within"] else _CLOSING).finditer(text, at)
        closing = next((line for line in lines if line["fence"] is None or _closes(line, opening)), None)
        if closing is None or closing.start() == len(text):
            return [*found, (opening.start(), len(text))], True
        at = closing.end()
        found.append((opening.start(), at))
    return found, False


def without_blocks(text: str) -> str:
    """A text with a line's end in place of each of its fenced blocks."""
    spans = blocks(text)[0]
    begins = [0, *(end for _, end in spans)]
    return "\n".join(text[begin:end] for begin, end in zip(begins, [*(begin for begin, _ in spans), None], strict=True))


def _is_under_text(text: str, begin: int) -> bool:
    """Whether the line before is not blank: a line of tildes rather underlines a heading there, or is part of a
    drawing."""
    before = text.rfind("\n", 0, max(0, begin - 1)) + 1
    return bool(text[before:begin].strip())


def _closes(line: re.Match[str], opening: re.Match[str]) -> bool:
    """Whether the fence of a line is as long as that of an opening one, and hardly more indented."""
    return line["fence"].startswith(opening["fence"]) and len(line["within"]) <= len(opening["within"]) + 3


def open_fences(texts: pa.Array) -> npt.NDArray[np.bool_]:
    """Whether each text surely leaves a fenced block open: string array without nulls.

    It does not where a closing fence is merely indented too much, nor where fences as long as that block's are even in
    number: their writer took each second one for the end of one.
    """
    left = holding(texts, b"`~")
    left[left] = pc.match_substring_regex(texts.filter(pa.array(left)), HINT).to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(left).tolist():
        text = texts[row].as_py()
        found, is_open = blocks(text)
        left[row] = is_open and not _meant_to_close(text, found[-1][0])
    return left


def _meant_to_close(text: str, begin: int) -> bool:
    """Whether the writer of a text seems to have closed the block that begins at `begin`."""
    opening = next(_FENCE.finditer(text, begin))
    mine = opening["fence"]
    closed = any(line["fence"].startswith(mine) for line in _CLOSING.finditer(text, opening.end()))
    return closed or sum(line["fence"].startswith(mine) for line in _FENCE.finditer(text)) % 2 == 0
