"""Signs: characters that are no part of a word and carry meaning all the same, where they do.

Beyond ASCII those are the symbols of mathematics, currencies, degrees and pictures, wherever they stand. Of ASCII it is
an operator where it stands as one: `1 < 5`, `-30`, `-x`, `Cl-`, `a && b`, `50%`, `C++`, `f'(x)`, the brackets of
`[1, 2)`. Hyphens and dashes between words, bullets, quotes, emphasis, tags, entities and the lines of a table are none.
"""

import unicodedata

import numpy as np
from numba import njit

from curate.text.kernel import kernel

ASCII = "!#$%&*+-/<=>^|~"
SELDOM = "'()[]"
"""Of ASCII's too, but what hardly ever stands as an operator."""
OTHERS = "°‰′″"
PICTURES = ((0x2600, 0x2793), (0x1F000, 0x1FAFF))
"""Where characters of the categories So and Sk are signs: dice, cards, chess, ticks and crosses, faces and hands, but
no bullets, boxes or trade marks. Code points, inclusive."""
MINUS = 0x2212
"""The minus of mathematics: the same sign as a hyphen that stands for one."""
WIDE_PERCENT = 0xFF05
"""The same sign as `%`, wherever it stands."""
DASHES = (0x2010, 0x2011, 0x2013, 0x2014, 0xFE63, 0xFF0D)
"""Hyphens and dashes: a minus where nothing of a word is before them and a number behind."""
INTERVAL = 64
"""The most characters between the brackets of numbers."""


def is_sign(char: str) -> bool:
    """Whether a character is a sign, if it is one of ASCII as far as `sign_run` says so."""
    category = unicodedata.category(char)
    picture = category in ("So", "Sk") and any(first <= ord(char) <= last for first, last in PICTURES)
    wide = ord(char) == WIDE_PERCENT
    return char in ASCII + SELDOM if char.isascii() else category in ("Sm", "Sc") or char in OTHERS or picture or wide


@njit(nogil=True, inline="always")
def _is_blank(byte):  # type: ignore[no-untyped-def]
    return byte == 32 or byte == 9


@njit(nogil=True, inline="always")
def _is_end(byte):  # type: ignore[no-untyped-def]
    """Of a line."""
    return byte == 10 or byte == 13


@njit(nogil=True, inline="always")
def _is_digit(byte):  # type: ignore[no-untyped-def]
    return 48 <= byte <= 57


@njit(nogil=True, inline="always")
def _is_letter(byte):  # type: ignore[no-untyped-def]
    return 65 <= byte <= 90 or 97 <= byte <= 122


@njit(nogil=True, inline="always")
def _in_word(byte):  # type: ignore[no-untyped-def]
    return _is_digit(byte) or _is_letter(byte) or byte == 95 or byte >= 0x80


@njit(nogil=True, inline="always")
def _opens(byte):  # type: ignore[no-untyped-def]
    return byte == 40 or byte == 91 or byte == 123  # ( [ {


@njit(nogil=True, inline="always")
def _closes(byte):  # type: ignore[no-untyped-def]
    return byte == 41 or byte == 93 or byte == 125  # ) ] }


@njit(nogil=True, inline="always")
def _begins_tag(byte):  # type: ignore[no-untyped-def]
    return _is_letter(byte) or byte == 47 or byte == 33 or byte == 63  # / ! ?


@njit(nogil=True, inline="always")
def _ends_formula(data, begin, at):  # type: ignore[no-untyped-def]
    """Whether the word before `at` is one that a charge or a mark stands behind: `A`, `Cl`, `SO4`, `2` of `^2`."""
    first, digit = at, False
    while first > begin and (_is_letter(data[first - 1]) or _is_digit(data[first - 1])):
        first -= 1
        digit |= _is_digit(data[first])
    capital = first < at and 65 <= data[first] <= 90
    above = first > begin and data[first - 1] == 94  # ^
    whole = first == begin or not _in_word(data[first - 1])
    return whole and ((capital and (at - first <= 2 or _is_digit(data[at - 1]))) or (above and digit))


@njit(nogil=True, inline="always")
def is_signed(data, begin, end, first, last):  # type: ignore[no-untyped-def]
    """Whether a dash from `first` to `last` is a minus: nothing of a word is before it, and a number behind."""
    if first > begin and (_in_word(data[first - 1]) or _closes(data[first - 1])):
        return False
    if last < end and data[last] == 46:  # .
        last += 1
    wide = last + 2 < end and data[last] == 0xEF and data[last + 1] == 0xBC and 0x90 <= data[last + 2] <= 0x99
    return wide or (last < end and _is_digit(data[last]))


@kernel
def _holds_numbers(data, begin, end, first):  # type: ignore[no-untyped-def]
    """Where the bracket closes that opens at `first`, if only numbers and commas are between: an interval, a point, a
    list. -1 where it holds something else, or in round brackets one number with commas, or is a call's or an index."""
    if first > begin and _in_word(data[first - 1]):
        return -1
    seen, comma, last = False, 0, np.uint8(0)
    stop = min(end, first + 2 + INTERVAL)
    for at in range(first + 1, stop):
        byte = data[at]
        if _is_digit(byte) or byte == 46 or byte == 43 or byte == 45:  # . + -
            seen = True
        elif byte == 44:  # ,
            if not seen:
                return -1
            digits = at + 1
            while digits < stop and _is_digit(data[digits]):
                digits += 1
            comma |= 1 if digits - at != 4 else 2
        elif byte == 41 or byte == 93:  # ) ]
            whole = data[first] == 40 and byte == 41  # ( )
            return at if (_is_digit(last) or last == 46) and (comma & 1 or (comma and not whole)) else -1
        elif not _is_blank(byte):
            return -1
        if not _is_blank(byte):
            last = byte
    return -1


@kernel
def _bracket_stands(data, begin, end, at):  # type: ignore[no-untyped-def]
    """Whether a round or square bracket is one of two around numbers."""
    if data[at] == 40 or data[at] == 91:  # ( [
        return _holds_numbers(data, begin, end, at) >= 0
    first = at - 1
    while first >= begin and at - first <= INTERVAL + 1:
        byte = data[first]
        if byte == 40 or byte == 91:
            return _holds_numbers(data, begin, end, first) == at
        if not (_is_digit(byte) or _is_blank(byte) or 43 <= byte <= 46):  # + , - .
            return False
        first -= 1
    return False


@njit(nogil=True, inline="always")
def _is_last_star(data, last, end):  # type: ignore[no-untyped-def]
    """Whether no `*` stands behind on the line, by which one before a word would open an emphasis."""
    while last < end and data[last] != 42 and not _is_end(data[last]):
        last += 1
    return last >= end or data[last] != 42


@njit(nogil=True, inline="always")
def _ends_entity(data, last, end):  # type: ignore[no-untyped-def]
    """Whether letters and digits from `last` on end in a `;`, as an entity does behind its `&`."""
    while last < end and (_is_letter(data[last]) or _is_digit(data[last])):
        last += 1
    return last < end and data[last] == 59


@njit(nogil=True, inline="always")
def may_stand(data, begin, end, at):  # type: ignore[no-untyped-def]
    """Whether `sign_run` has to be asked about a sign; of SELDOM hardly ever."""
    sign = data[at]
    if sign == 39:  # '
        return at + 1 < end and (data[at + 1] == 40 or data[at + 1] == 39)
    if sign == 40 or sign == 91:  # ( [
        return at + 1 < end and (_is_blank(data[at + 1]) or 43 <= data[at + 1] <= 57)
    if sign == 41 or sign == 93:  # ) ]
        return at > begin and (_is_blank(data[at - 1]) or 46 <= data[at - 1] <= 57)
    return True


@kernel
def _tag_ends(data, stop, end):  # type: ignore[no-untyped-def]
    """Whether a tag is closed from `stop` on, on its line and before another begins."""
    while stop < end and data[stop] != 60 and data[stop] != 62 and not _is_end(data[stop]):
        stop += 1
    return stop < end and data[stop] == 62


@kernel
def _tag_began(data, begin, at):  # type: ignore[no-untyped-def]
    """Whether what stands at `at` closes a tag, which began on its line."""
    stop = at - 1
    while stop >= begin and data[stop] != 60 and data[stop] != 62 and not _is_end(data[stop]):
        stop -= 1
    return stop >= begin and data[stop] == 60 and stop + 1 < at and _begins_tag(data[stop + 1])


@kernel
def sign_run(data, begin, end, at):  # type: ignore[no-untyped-def]
    """How often an ASCII sign is repeated from `at` on, and whether it stands as an operator there.

    `curate.publish.check_text` says the same in plain Python, a line for each sign.
    """
    sign, last = data[at], at + 1
    if sign == 40 or sign == 41 or sign == 91 or sign == 93:  # ( ) [ ]
        return 1, _bracket_stands(data, begin, end, at)
    while last < end and data[last] == sign:
        last += 1
    run, newline = last - at, np.uint8(10)
    before = data[at - 1] if at > begin else newline
    after = data[last] if last < end else newline
    if sign == 39:  # '
        return run, run <= 3 and after == 40 and _is_letter(before)
    left, right = at - 1, last
    while left >= begin and _is_blank(data[left]):
        left -= 1
    while right < end and _is_blank(data[right]):
        right += 1
    near = data[left] if left >= begin else newline
    far = data[right] if right < end else newline
    spaced = _is_blank(before) and _is_blank(after) and not _is_end(near) and not _is_end(far)
    tight = (_in_word(before) or _closes(before)) and (_in_word(after) or _opens(after))
    stands = False
    if sign == 61:  # =
        stands = run <= 3
    elif sign == 43 or sign == 94:  # + ^
        stands = run <= 3 and not (_is_end(near) and (_is_blank(after) or _is_end(after)))
    elif sign == 126:  # ~
        stands = run == 1 and after != 47 and not (_is_end(near) and _is_blank(after))
    elif sign == 42:  # *
        free = not (_is_end(near) or _in_word(before) or _closes(before))
        points = run == 1 and free and _is_letter(after) and _is_last_star(data, last, end)
        stands = run <= 2 and ((spaced and near != 42) or tight or points)
    elif sign == 47:  # /
        numbers = (_is_digit(before) or _closes(before)) and (_is_digit(after) or _opens(after))
        stands = run <= 2 and (spaced or numbers)
    elif sign == 37:  # %
        stands = run == 1 and (spaced or _is_digit(near))
    elif sign == 38:  # &
        free = not (_in_word(before) or _closes(before))
        points = free and _is_letter(after) and not _ends_entity(data, last, end)
        stands = run == 2 or (run == 1 and (spaced or points))
    elif sign == 124:  # |
        stands = run == 2 or (run == 1 and tight)
    elif sign == 36:  # $
        stands = run == 1 and _is_digit(after)
    elif sign == 35:  # #
        stands = run == 1 and (_is_letter(before) or _is_digit(before)) and not _in_word(after)
    elif sign == 33:  # !
        negates = (_is_letter(after) or after == 40) and not (_in_word(before) or _closes(before) or before == 60)
        behind = data[at - 2] if at > begin + 1 else newline
        product = 97 <= before <= 122 and not (_in_word(behind) or behind == 39 or _in_word(after))
        stands = run == 1 and (after == 61 or negates or product or (_is_digit(before) and not _is_digit(after)))
    elif sign == 45:  # -
        number = _is_digit(after) or (after == 46 and last + 1 < end and _is_digit(data[last + 1]))
        signed = number and not (_in_word(before) or _closes(before))
        alone = _is_letter(near) and not (left > begin and _in_word(data[left - 1]))
        alone_after = _is_letter(far) and not (right + 1 < end and _in_word(data[right + 1]))
        first = _is_digit(near) or _closes(near) or alone
        second = _is_digit(far) or _opens(far) or far == 45 or far == 46 or alone_after
        negated = alone_after and not _is_blank(after) and not (_in_word(before) or _closes(before))
        charged = _ends_formula(data, begin, at) and not _in_word(after) and not _opens(after)
        stands = run == 1 and (after == 61 or signed or negated or charged or (spaced and first and second))
    elif sign == 60:  # <
        stands = run <= 3 and not (run == 1 and _begins_tag(after) and _tag_ends(data, last, end))
    else:  # >
        quote = _is_end(near) or (near == 62 and _is_blank(before))
        stands = run <= 3 and not (run == 1 and _tag_began(data, begin, at)) and not quote
    return run, stands
