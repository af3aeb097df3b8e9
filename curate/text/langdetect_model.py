"""langdetect's model of 55 languages, without its dice.

langdetect draws n-grams of a text at random until one language has won, seven times over. Its model is a naive Bayes
classifier, so the sum over all n-grams, each once, is what the draws approximate: without chance, and for many texts at
once. Its profiles are read as it reads them, and what it takes each character for is asked of it; a compiled loop cuts
texts into the n-grams that its own code would give, and sums, to the bit, what these say.
"""

from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from curate.text.kernel import kernel
from curate.text.re2 import code_points
from curate.text.words import decode, utf8

Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

BLOCKS = 0x10000
"""langdetect takes characters from here on as they are."""
PLANES = 0x20000
"""From here on there are no capitals either."""
CODE = np.uint64(21)
"""Bits of a code point: an n-gram is up to three, the last one lowest."""
CAPITAL, LATIN, OTHER, ABOVE, BELOW = (1 << bit for bit in range(5))
"""What a character may be: a capital once it is normal, of ASCII's letters or of another script (to
`Detector.cleaning_text`), a letter or a mark that are one in Vietnamese."""
LAST = 0xE01EF
"""The last mark."""
SLOT_BITS = 18
SLOTS = 1 << SLOT_BITS


class Model(NamedTuple):
    """The model's tables."""

    letters: Any
    """Whether each code point up to the last that is one is a letter or a mark."""
    kinds: Any
    """What each code point below PLANES may be."""
    normal: Any
    """What langdetect takes each for."""
    joined: Any
    """By the numbers of a letter and a mark, the letter of Vietnamese that they make; by code point, these numbers."""
    joins: Any
    slots: Any
    """An open table of the n-grams, 0 where there is none; and of their numbers."""
    numbers: Any
    likelihoods: Any
    """The logarithm of each n-gram's probability: shape (n-grams, profiles)."""


def posterior(texts: pa.Array, head: int) -> tuple[Numbers, Flags]:
    """What the model makes of each text: the probability of each of `languages()`, shape (texts, languages), and
    whether it knows an n-gram of the text at all, shape (texts,); where not, all are as probable.

    Args:
        texts: string array without nulls.
        head: letters and the spaces between words that are looked at.
    """
    sums, known = log_likelihoods(texts, head)
    odds = np.exp(sums - sums.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    first = [place for place, code in enumerate(_codes()) if code not in _codes()[:place]]
    return np.add.reduceat(odds, first, axis=1), known


def log_likelihoods(texts: pa.Array, head: int) -> tuple[Numbers, Flags]:
    """The sum over all n-grams of each text by profile, shape (texts, profiles), and whether any is known."""
    sums = np.zeros((len(texts), len(_codes())))
    known = np.zeros(len(texts), np.bool_)
    _sum(*utf8(texts), head, _model(), sums, known)
    return sums, known


def languages() -> tuple[str, ...]:
    """ISO 639 codes of the languages, in the order of the probabilities."""
    return tuple(sorted(set(_codes())))


@cache
def _codes() -> list[str]:
    """The language of each profile, sorted; Chinese has two."""
    return [name.split("-")[0] for name in sorted(file.name for file in _profiles())]


def _profiles() -> list[Any]:
    """The files of the profiles, each named as its language."""
    return [file for file in (files("langdetect") / "profiles").iterdir() if file.is_file() and file.name[0] != "."]


def _grams() -> tuple[npt.NDArray[np.uint64], Numbers]:
    """The n-grams of all profiles, and the probability of each by profile: shape (n-grams, profiles).

    langdetect's own tables, lists of Python's numbers, take most of a second and 50 MB: `add_profile`.
    """
    packed, shares = [], []
    for file in sorted(_profiles(), key=lambda file: file.name):
        profile = orjson.loads(file.read_bytes())
        codes = np.array([*profile["freq"]], "U3").view(np.uint32).reshape(-1, 3).astype(np.uint64)
        sizes = np.count_nonzero(codes, axis=1)
        of_profile = np.zeros(len(codes), np.uint64)
        for signs in codes.T:
            of_profile = np.where(signs > 0, of_profile << CODE | signs, of_profile)
        packed.append(of_profile)
        shares.append(np.array([*profile["freq"].values()]) / np.array(profile["n_words"])[sizes - 1])
    grams, rows = np.unique(np.concatenate(packed), return_inverse=True)
    probabilities = np.zeros((len(grams), len(packed)))
    probabilities[rows, np.repeat(np.arange(len(packed)), [*map(len, packed)])] = np.concatenate(shares)
    return grams, probabilities


@cache
def _model() -> Model:
    """langdetect's profiles and characters as tables."""
    from langdetect.detector import Detector
    from langdetect.utils.ngram import NGram

    letters = np.zeros(LAST + 1, np.bool_)
    letters[code_points(r"\pL\pM", LAST)] = True
    normal = np.arange(PLANES, dtype=np.uint32)
    asked = np.flatnonzero(letters[:BLOCKS])
    normal[asked] = [ord(NGram.normalize(chr(code))) for code in asked.tolist()]
    kinds = np.where([chr(code).isupper() for code in normal.tolist()], CAPITAL, 0).astype(np.uint8)
    kinds[ord("A") : ord("z") + 1] |= LATIN
    kinds[0x300:] |= OTHER  # Vietnamese ones too: langdetect compares the number of their block with its name
    joins = np.zeros(PLANES, np.uint8)
    for kind, signs in ((ABOVE, NGram.TO_NORMALIZE_VI_CHARS), (BELOW, NGram.DMARK_CLASS)):
        places = list(map(ord, signs))
        kinds[places] |= kind
        joins[places] = np.arange(len(places))
    joined = np.array([[ord(sign) for sign in signs] for signs in NGram.NORMALIZED_VI_CHARS], np.uint32)

    grams, likelihoods = _grams()
    likelihoods += Detector.ALPHA_DEFAULT / Detector.BASE_FREQ
    np.log(likelihoods, out=likelihoods)
    slots, numbers = np.zeros(SLOTS, np.uint64), np.zeros(SLOTS, np.int32)
    _fill(grams, slots, numbers)
    return Model(letters, kinds, normal, joined, joins, slots, numbers, likelihoods)


@kernel
def _slot(gram, slots):  # type: ignore[no-untyped-def]
    """Where an n-gram stands in an open table, or may be put."""
    slot = (gram * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - SLOT_BITS)
    while slots[slot] != 0 and slots[slot] != gram:
        slot = (slot + np.uint64(1)) & np.uint64(SLOTS - 1)
    return slot


@kernel
def _fill(grams, slots, numbers):  # type: ignore[no-untyped-def]
    for number in range(len(grams)):
        slot = _slot(grams[number], slots)
        slots[slot] = grams[number]
        numbers[slot] = number


@kernel
def _letters(data, at, end, model, codes):  # type: ignore[no-untyped-def]
    """The first letters of a text as `Detector.append` reads them, with a space between words; gives how many."""
    size, joined = 0, 0
    while at < end and size < len(codes):
        code, width = decode(data, at)
        at += width
        if code >= len(model.letters) or not model.letters[code]:
            if size and codes[size - 1] != 32:
                codes[size] = 32
                size += 1
            continue
        codes[size] = code
        size += 1
    for at in range(size):
        code = codes[at]
        before = codes[joined - 1] if joined else np.uint32(0)
        if before < PLANES and code < PLANES and model.kinds[code] & BELOW and model.kinds[before] & ABOVE:
            codes[joined - 1] = model.joined[model.joins[code], model.joins[before]]
        else:
            codes[joined] = code
            joined += 1
    return joined


@kernel
def _sum(data, bounds, head, model, sums, known):  # type: ignore[no-untyped-def]
    codes = np.empty(head, np.uint32)
    for row in range(len(bounds) - 1):
        size = _letters(data, bounds[row], bounds[row + 1], model, codes)
        latin, other = 0, 0
        for at in range(size):
            kind = model.kinds[codes[at]] if codes[at] < PLANES else np.uint8(OTHER)
            latin += kind & LATIN != 0
            other += kind & OTHER != 0
        drop = 2 * latin < other  # Detector.cleaning_text
        # NGram.add_char: the last characters, of which a space is only ever the first or the last.
        grams, length = np.uint64(32), 1
        in_capitals, capital = False, False
        for at in range(size):
            code, kind = codes[at], np.uint8(OTHER)
            if code < PLANES:
                kind = model.kinds[code]
                if drop and kind & LATIN:
                    continue
                code = model.normal[code]
            if grams & np.uint64((1 << 21) - 1) == 32:
                length, in_capitals, capital = 1, False, False
                if code == 32:
                    continue
            grams = (grams << CODE | np.uint64(code)) & np.uint64((1 << 63) - 1)
            length = min(length + 1, 3)
            in_capitals = kind & CAPITAL != 0 and (in_capitals or capital)
            capital = kind & CAPITAL != 0
            if in_capitals:
                continue
            for n in range(2 if code == 32 else 1, length + 1):
                slot = _slot(grams & np.uint64((1 << 21 * n) - 1), model.slots)
                if model.slots[slot]:
                    known[row] = True
                    of_gram = model.likelihoods[model.numbers[slot]]
                    for profile in range(len(of_gram)):
                        sums[row, profile] += of_gram[profile]
