"""Statements: lines that are code, in whichever of the usual languages, to whoever looks for sentences.

Compiled by numba over Arrow's buffers; the regular expression in the tests is the definition it is held to, which takes
ten times as long.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.text.kernel import kernel
from curate.text.words import utf8

IMPORT, FROM, USING, ASYNC, NAMED, OPENED, BARE, WHOLE, BOUND, SELF, DIRECTIVE = range(1, 12)
KEYWORDS = {
    IMPORT: "import",
    FROM: "from",
    USING: "using",
    ASYNC: "async",
    NAMED: "def class func fn function",
    OPENED: "if elif for while except with",
    BARE: "try else finally do",
    WHOLE: "return break continue pass raise throw yield echo print printf end fi done",
    BOUND: "const let var",
    SELF: "self",
    DIRECTIVE: "include define ifdef ifndef",
}
"""What statements begin with, by what must follow: a module; a module and what of it; a name and `;`; `def`; a name and
further on a bracket or colon; anything and at the end `:` or `{`; just these; nothing; a name and `=`; an attribute.
Those of the preprocessor stand behind `#`."""


def _packed(word: str) -> int:
    return int.from_bytes(word.encode(), "little")


_PACKED = np.array([_packed(word) for words in KEYWORDS.values() for word in words.split()], np.uint64)
_KINDS = np.array([kind for kind, words in KEYWORDS.items() for _ in words.split()])
_DEF, _IMPORT, _AS = np.uint64(_packed("def")), np.uint64(_packed("import")), np.uint64(_packed("as"))
_NAME, _DOTTED = np.zeros((2, 256), np.bool_)
_NAME[[byte for byte in range(128) if chr(byte).isalnum() or chr(byte) == "_"]] = True
_DOTTED[:] = _NAME
_DOTTED[ord(".")] = True


def without_statements(texts: pa.Array, least: int) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Those of the texts that have so many statements, without these; and which they are.

    Args:
        texts: string or large_string array without nulls.
        least: one at least.
    """
    data, bounds = utf8(texts)
    out = np.empty(int(bounds[-1] - bounds[0]), np.uint8)
    ends = np.zeros(len(bounds), np.int64 if pa.types.is_large_string(texts.type) else np.int32)
    coded = np.zeros(len(texts), np.bool_)
    count = _take_out(data, bounds, least, out, ends, coded)
    buffers: list[Any] = [None, pa.py_buffer(ends[: count + 1]), pa.py_buffer(out)]
    return pa.Array.from_buffers(texts.type, count, buffers), coded


@kernel
def _take_out(data, bounds, least, out, ends, coded):  # type: ignore[no-untyped-def]
    count = 0
    for row in range(len(coded)):
        at, end = bounds[row], bounds[row + 1]
        to, statements = np.int64(ends[count]), 0
        while at < end:
            behind = _statement(data, at, end)
            if behind >= 0:
                statements += 1
                at = behind
            while at < end:  # the line, or the line feed that stays of it
                byte = data[at]
                out[to] = byte
                at += 1
                to += 1
                if byte == 10:
                    break
        coded[row] = statements >= least
        if coded[row]:
            count += 1
            ends[count] = to
    return count


@kernel
def _line_end(data, at, end):  # type: ignore[no-untyped-def]
    while at < end and data[at] != 10:
        at += 1
    return at


@kernel
def _run(data, at, end, kind):  # type: ignore[no-untyped-def]
    """Where a run of such bytes ends."""
    while at < end and kind[data[at]]:
        at += 1
    return at


@kernel
def _word(data, begin, end):  # type: ignore[no-untyped-def]
    """A word as a number; 0 where it is too long to be a keyword."""
    packed = np.uint64(0)
    if end - begin <= 8:
        for at in range(end - 1, begin - 1, -1):
            packed = packed << np.uint64(8) | np.uint64(data[at])
    return packed


@kernel
def _kind(packed):  # type: ignore[no-untyped-def]
    for number in range(len(_PACKED)):
        if _PACKED[number] == packed:
            return _KINDS[number]
    return 0


@kernel
def _is(data, at, end, byte):  # type: ignore[no-untyped-def]
    return at < end and data[at] == byte


@kernel
def _statement(data, at, end):  # type: ignore[no-untyped-def]
    """Where the statement ends that begins with a line, -1 where none does.

    Args:
        at, end: of the line's begin, and of the text's end.
    """
    while at < end and (data[at] == 32 or data[at] == 9):
        at += 1
    if _is(data, at, end, 35):  # #, and the directive, on the same line or the next ones
        at += 1
        while at < end and (data[at] == 32 or (9 <= data[at] <= 13 and data[at] != 11)):
            at += 1
        stop = _run(data, at, end, _NAME)
        directive = _kind(_word(data, at, stop)) == DIRECTIVE and _is(data, stop, end, 32)
        return _line_end(data, stop, end) if directive else -1
    dotted = _run(data, at, end, _DOTTED)
    if dotted == at:
        return -1
    end = _line_end(data, dotted, end)
    stop = _run(data, at, dotted, _NAME)
    found = _follows(data, at, stop, end) or _is_assigned(data, at, stop, end) or _is_called(data, dotted, end)
    return end if found else -1


@kernel
def _is_assigned(data, begin, stop, end):  # type: ignore[no-untyped-def]
    """Whether behind a name ` = ` stands."""
    return stop > begin and stop + 3 <= end and data[stop] == 32 and data[stop + 1] == 61 and data[stop + 2] == 32


@kernel
def _is_called(data, at, end):  # type: ignore[no-untyped-def]
    """Whether all the rest of a line stands in brackets."""
    at += _is(data, at, end, 32)
    last = end - 1 - (data[end - 1] == 59)  # ;
    return _is(data, at, end, 40) and last > at and data[last] == 41


@kernel
def _follows(data, begin, stop, end):  # type: ignore[no-untyped-def]
    """Whether a line's first word is a keyword, and what must follow it does."""
    kind = _kind(_word(data, begin, stop))
    if kind == 0 or kind == DIRECTIVE:
        return False
    if kind == WHOLE:
        return True
    if kind == BARE:
        stop += _is(data, stop, end, 32)
        return stop == end - 1 and (data[stop] == 58 or data[stop] == 123)
    if kind == SELF:
        return _is(data, stop, end, 46) and stop + 1 < end and _NAME[data[stop + 1]]
    if not _is(data, stop, end, 32):
        return False
    at = stop + 1
    if kind == ASYNC:
        stop = _run(data, at, end, _NAME)
        if _word(data, at, stop) != _DEF or not _is(data, stop, end, 32):
            return False
        at, kind = stop + 1, NAMED
    if kind == OPENED:
        return end > at and (data[end - 1] == 58 or data[end - 1] == 123)
    if kind == NAMED:
        found = at < end and _NAME[data[at]]
        at += 1
        while found and at < end and not (data[at] == 58 or data[at] == 123 or data[at] == 40):
            at += 1
        return found and at < end
    stop = _run(data, at, end, _NAME if kind == BOUND else _DOTTED)
    if stop == at:
        return False
    if kind == BOUND:
        return _is(data, stop + _is(data, stop, end, 32), end, 61)
    if kind == USING:
        return stop == end - 1 and data[stop] == 59
    at = stop + _is(data, stop, end, 32)
    second = _run(data, at, end, _NAME)
    if kind == FROM:
        return at > stop and _word(data, at, second) == _IMPORT and _is(data, second, end, 32)
    return _only_stops(data, stop, end) or (
        at > stop and _word(data, at, second) == _AS and _is_named(data, second, end)
    )


@kernel
def _is_named(data, at, end):  # type: ignore[no-untyped-def]
    """Whether a space, a name and nothing else follows."""
    stop = _run(data, at + 1, end, _NAME)
    return _is(data, at, end, 32) and stop > at + 1 and _only_stops(data, stop, end)


@kernel
def _only_stops(data, at, end):  # type: ignore[no-untyped-def]
    while at < end and (data[at] == 32 or data[at] == 59):
        at += 1
    return at == end
