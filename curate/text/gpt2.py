"""GPT-2's pattern over bytes: what it tells apart in ASCII, and where it cuts whatever stands around.

It cuts where white space begins, before the last one of a run of it, and where letters, digits and other signs meet,
but for apostrophes, which may begin a piece with the letters behind them. That is told by four bytes: two before a
place, and two from there on. Beside what is no ASCII, nothing is certain.
"""

import numpy as np
import numpy.typing as npt

OUT, ELSE, BLANK, WHITE, LETTER, DIGIT, SIGN, APOSTROPHE = range(8)
"""Classes of bytes. OUT is outside of the text; ELSE is what is no ASCII, and what does not print; BLANK is the space
that a word may begin with, WHITE other white space."""
BEGINS = np.uint8(8)
"""Beside a byte's class: a token that was added to the tokenizer begins with it, and may stand there."""
CUT, ASK = np.uint8(1), np.uint8(2)
"""Verdicts on a place: the text is cut before it, if added tokens stand wherever they may; whether they do decides."""


def classes(begins: bytes) -> npt.NDArray[np.uint8]:
    """The class of each byte.

    Args:
        begins: the first bytes of added tokens.
    """
    chars = [chr(byte) for byte in range(128)]
    kinds = {
        **{BLANK: " ".__eq__, WHITE: "\t\n\r".__contains__, APOSTROPHE: "'".__eq__},
        **{LETTER: str.isalpha, DIGIT: str.isdigit, SIGN: str.isprintable},
    }
    known = [next((kind for kind, holds in kinds.items() if holds(char)), ELSE) for char in chars]
    found = np.array(known + [ELSE] * 128, np.uint8)
    found[list(begins)] |= BEGINS
    return found


def _verdicts() -> npt.NDArray[np.uint8]:
    """The verdict on a place by four classes, of 4 bits each: of two bytes before it, and of two from there on."""
    window = np.arange(1 << 16)
    far, before, here, behind = (window >> shift & 7 for shift in (12, 8, 4, 0))
    begins_here, begins_behind = window & 8 << 4 > 0, window & 8 > 0

    def among(kind: npt.NDArray[np.int64], *kinds: int) -> npt.NDArray[np.bool_]:
        return np.isin(kind, kinds)

    def group(kind: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.array([OUT, ELSE, BLANK, BLANK, LETTER, DIGIT, SIGN, SIGN])[kind]

    def stands(kind: npt.NDArray[np.int64], begins: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Whether the pattern sees what is behind white space: not digits, where these are split off before, nor an
        added token."""
        return among(kind, LETTER, SIGN, APOSTROPHE) & ~begins

    meet = group(before) != group(here)
    words_meet = among(before, LETTER, DIGIT, SIGN, APOSTROPHE) & ~among(here, OUT, ELSE) & meet
    cut = words_meet & ~((before == APOSTROPHE) & (here == LETTER))
    within_white = among(before, BLANK, WHITE) & among(here, BLANK, WHITE)
    cut |= within_white & stands(behind, begins_behind)  # the last of a run stands apart, or with what follows
    behind_line = (before == WHITE) & among(here, LETTER, DIGIT, SIGN, APOSTROPHE)
    cut |= behind_line & np.where(among(far, BLANK, WHITE), stands(here, begins_here), far != ELSE)
    ask = begins_here | (within_white & begins_behind)
    verdicts: npt.NDArray[np.uint8] = cut.astype(np.uint8) * CUT | ask.astype(np.uint8) * ASK
    return verdicts


VERDICTS = _verdicts()
