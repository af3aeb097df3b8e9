"""Byte-pair encoding of ASCII words, as the library does it, many at once.

To be asked for a word costs the library more than the word.
"""

from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

import numpy as np
import numpy.typing as npt
import orjson

from curate.text.gpt2 import APOSTROPHE, BLANK, DIGIT, ELSE, LETTER, SIGN, WHITE
from curate.text.kernel import kernel

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Numbers = npt.NDArray[np.int64]

LONGEST = 64
"""Bytes of a word: each merge goes over all of its piece."""
TOGETHER, RUNS, EACH = range(3)
"""How digits are split off before the pattern cuts: not at all, runs of them, or each."""
S, T, M, D, R, V, E, L = b"stmdrvel"
NONE = 1 << 62
"""The rank of a pair that is not merged."""
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio, odd (Knuth, TAOCP 3, 6.4)."""


class BytePairs(NamedTuple):
    """A tokenizer's merges, as kernels take them."""

    first: Any
    """By byte: its token; -1 where it has none."""
    pairs: Any
    """Open addressing: two tokens and 1, in one number; 0 where there are none."""
    ranks: Any
    """Of the pairs, by slot: those of lower ranks are merged first."""
    merged: Any
    """Of the pairs, by slot: the token that they become."""
    digits: int

    @classmethod
    def of(cls, tokenizer: "Tokenizer", digits: int) -> Optional["BytePairs"]:
        """Those of a tokenizer that cuts by GPT-2's pattern; None where its model is another, or varies them."""
        if type(tokenizer.model).__name__ != "BPE":
            return None
        model = orjson.loads(tokenizer.model.__getstate__())
        varied = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")
        if any(model.get(key) for key in varied):
            return None
        token, merges = model["vocab"].__getitem__, model["merges"]
        sides = list(zip(*merges, strict=True)) or [(), ()]
        known = np.stack([np.fromiter(map(token, each), np.int64) for each in (*sides, map(add, *sides))], axis=1)
        slots = 1 << max(4, (2 * len(known)).bit_length())
        table = np.zeros(slots, np.uint64), np.zeros(slots, np.int64), np.zeros(slots, np.int64)
        _fill(known, *table)
        return cls(_first(model["vocab"]), *table, digits)


def _first(vocabulary: dict[str, int]) -> Numbers:
    from tokenizers.pre_tokenizers import ByteLevel

    written = ByteLevel(add_prefix_space=False, use_regex=False)
    chars = [written.pre_tokenize_str(chr(byte))[0][0] for byte in range(128)]
    return np.array([vocabulary.get(char, -1) for char in chars] + [-1] * 128, np.int64)


def encoded(
    pairs: BytePairs, classes: npt.NDArray[np.uint8], text: npt.NDArray[np.uint8], at: Numbers
) -> tuple[Numbers, Numbers]:
    """The tokens of words, one after the other, and how many each has; -1 of a word that is not for `BytePairs`: it is
    long, or holds what is no ASCII or begins an added token.

    Args:
        pairs: the tokenizer's.
        classes: see `gpt2.classes`.
        text: the words' bytes.
        at: where in them each word begins, and the last one ends.
    """
    ids, counts = np.empty(at[-1] - at[0], np.int64), np.empty(len(at) - 1, np.int64)
    placed = _encoded(pairs, classes, text, at, ids, counts)
    return ids[:placed], counts


@kernel
def _encoded(pairs, classes, text, at, ids, counts):  # type: ignore[no-untyped-def]
    ranks, slots = np.empty(LONGEST, np.int64), np.empty(LONGEST, np.int64)
    placed = 0
    for word in range(len(at) - 1):
        begin, end = at[word], at[word + 1]
        counts[word] = -1
        if not _is_plain(pairs, classes, text, begin, end):
            continue
        first = placed
        while begin < end:
            piece = _piece_end(pairs.digits, classes, text, begin, end)
            placed = _merge(pairs, text, begin, piece, ids, placed, ranks, slots)
            begin = piece
        counts[word] = placed - first
    return placed


@kernel
def _is_plain(pairs, classes, text, begin, end):  # type: ignore[no-untyped-def]
    if end - begin > LONGEST:
        return False
    for place in range(begin, end):
        kind = classes[text[place]]
        if kind == ELSE or kind > APOSTROPHE or pairs.first[text[place]] < 0:
            return False
    return True


@kernel
def _piece_end(digits, classes, text, begin, end):  # type: ignore[no-untyped-def]
    """Where the pattern's piece ends that begins a text."""
    kind = classes[text[begin]]
    if digits != TOGETHER:  # what is between digits is cut by itself
        if kind == DIGIT:
            place = begin + 1
            while digits == RUNS and place < end and classes[text[place]] == DIGIT:
                place += 1
            return place
        place = begin
        while place < end and classes[text[place]] != DIGIT:
            place += 1
        end = place
    if kind == APOSTROPHE:
        size = _contraction(text, begin, end)
        if size:
            return begin + size
    place = begin + 1 if kind == BLANK and begin + 1 < end else begin
    kind = classes[text[place]]
    if kind in (LETTER, DIGIT):
        while place < end and classes[text[place]] == kind:
            place += 1
        return place
    if kind in (SIGN, APOSTROPHE):
        while place < end and classes[text[place]] in (SIGN, APOSTROPHE):
            place += 1
        return place
    place = begin
    while place < end and classes[text[place]] in (BLANK, WHITE):
        place += 1
    return place if place == end or place == begin + 1 else place - 1


@kernel
def _contraction(text, begin, end):  # type: ignore[no-untyped-def]
    """Bytes of 's, 't, 're, 've, 'm, 'll, 'd behind an apostrophe, with it; 0 where there is none."""
    one = text[begin + 1] if begin + 1 < end else 0
    two = text[begin + 2] if begin + 2 < end else 0
    if one in (S, T, M, D):
        return 2
    return 3 if (one in (R, V) and two == E) or (one == L and two == L) else 0


@kernel
def _merge(pairs, text, begin, end, ids, placed, ranks, slots):  # type: ignore[no-untyped-def]
    """Put the tokens of a piece behind those placed: of all pairs that lie side by side, that of the least rank is
    merged, the leftmost of several, until none is left."""
    size = end - begin
    for each in range(size):
        ids[placed + each] = pairs.first[text[begin + each]]
    for each in range(size - 1):
        ranks[each], slots[each] = _rank(pairs, ids[placed + each], ids[placed + each + 1])
    while size > 1:
        best = 0
        for each in range(1, size - 1):
            if ranks[each] < ranks[best]:
                best = each
        if ranks[best] == NONE:
            break
        ids[placed + best] = pairs.merged[slots[best]]
        size -= 1
        for each in range(best + 1, size):
            ids[placed + each] = ids[placed + each + 1]
            ranks[each - 1], slots[each - 1] = ranks[each], slots[each]
        if best > 0:
            ranks[best - 1], slots[best - 1] = _rank(pairs, ids[placed + best - 1], ids[placed + best])
        if best < size - 1:
            ranks[best], slots[best] = _rank(pairs, ids[placed + best], ids[placed + best + 1])
    return placed + size


@kernel
def _rank(pairs, left, right):  # type: ignore[no-untyped-def]
    """The rank of a pair, and its slot."""
    pair = _pair(left, right)
    slot = _slot(pair, len(pairs.pairs))
    while pairs.pairs[slot]:
        if pairs.pairs[slot] == pair:
            return pairs.ranks[slot], slot
        slot = (slot + 1) & (len(pairs.pairs) - 1)
    return NONE, slot


@kernel
def _pair(left, right):  # type: ignore[no-untyped-def]
    return ((np.uint64(left) << np.uint64(32)) | np.uint64(right)) + np.uint64(1)


@kernel
def _slot(pair, slots):  # type: ignore[no-untyped-def]
    mixed = pair * GOLDEN
    return np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(slots - 1))


@kernel
def _fill(known, pairs, ranks, merged):  # type: ignore[no-untyped-def]
    """Put pairs into an empty table, by rank; of one that comes twice, the later rank counts."""
    for rank in range(len(known)):
        pair = _pair(known[rank, 0], known[rank, 1])
        slot = _slot(pair, len(pairs))
        while pairs[slot] and pairs[slot] != pair:
            slot = (slot + 1) & (len(pairs) - 1)
        pairs[slot], ranks[slot], merged[slot] = pair, rank, known[rank, 2]
