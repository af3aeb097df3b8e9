"""langdetect's model of 55 languages, without its dice.

langdetect draws n-grams of a text at random until one language has won, seven times over. Its model is a naive Bayes
classifier, so the sum over all n-grams, each once, is what the draws approximate: without chance, and for many texts at
once. Compiled by numba over Arrow's buffers; the tests hold it to langdetect's own code.
"""

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.text.kernel import kernel
from curate.text.words import decode, utf8

Flags = npt.NDArray[np.bool_]

CODES = 0x10000
"""Code points below are langdetect's; all others are letters that it knows nothing of."""
ANY = 0xFFFF
"""What stands for these: a code point of no character."""


@dataclass(frozen=True)
class Model:
    """Tables of the model, as `_sum` takes them."""

    languages: tuple[str, ...]
    """The languages in the order of the probabilities: its profiles, both of Chinese (the last two) as one."""
    tables: tuple[Any, ...]


def posterior(texts: pa.Array, head: int) -> tuple[npt.NDArray[np.float32], Flags]:
    """What the model makes of each text: the probability of each of `model().languages`, shape (texts, languages), and
    whether it knows an n-gram of the text at all, shape (texts,); where not, all are as probable.

    Args:
        texts: string or large_string array without nulls.
        head: letters and the spaces between words that are looked at.
    """
    sums, known = log_likelihoods(texts, head)
    odds = np.exp(sums - sums.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    odds[:, -2] += odds[:, -1]
    return odds[:, :-1].astype(np.float32), known


def log_likelihoods(texts: pa.Array, head: int) -> tuple[npt.NDArray[np.float64], Flags]:
    """The sum over all n-grams of each text by profile, shape (texts, profiles), and whether any is known."""
    data, bounds = utf8(texts)
    tables = model().tables
    sums = np.zeros((len(texts), tables[-1].shape[1]), np.float64)
    known = np.zeros(len(texts), np.bool_)
    _sum(data, bounds, head, *tables, sums, known)
    return sums, known


@cache
def model() -> Model:
    """langdetect's profiles, and its normal form of each character."""
    from langdetect import detector_factory
    from langdetect.detector import Detector
    from langdetect.utils.ngram import NGram

    detector_factory.init_factory()
    factory = detector_factory._factory
    chinese = [factory.langlist.index(code) for code in ("zh-cn", "zh-tw")]
    order = [column for column in range(len(factory.langlist)) if column not in chinese] + chinese
    languages = tuple(factory.langlist[column].split("-")[0] for column in order[:-1])
    letter = np.array([unicodedata.category(chr(code))[0] in "LM" for code in range(CODES)])
    normal = np.array([ord(NGram.normalize(chr(code))) for code in range(CODES)], np.uint16)
    capital = np.array([chr(code).isupper() for code in normal.tolist()])
    latin = np.zeros(CODES, np.int8)  # Detector.cleaning_text
    latin[ord("A") : ord("z") + 1] = 1
    latin[0x0300:] = -1
    latin[0x1E00:0x1F00] = 0

    grams = np.zeros(len(factory.word_lang_prob_map), np.int64)
    for number, gram in enumerate(factory.word_lang_prob_map):
        for place, char in enumerate(reversed(gram)):
            grams[number] |= ord(char) << 16 * place
    slots, places = np.zeros(1 << 18, np.int64), np.zeros(1 << 18, np.int32)
    _fill(grams, slots, places)
    given = np.array(list(factory.word_lang_prob_map.values()), dtype=np.float32)[:, order]
    likelihoods = np.log(given + np.float32(Detector.ALPHA_DEFAULT / Detector.BASE_FREQ))
    return Model(languages, (letter, normal, capital, latin, slots, places, likelihoods))


@kernel
def _slot(gram, slots):  # type: ignore[no-untyped-def]
    """Where an n-gram stands in an open table, or may be put."""
    mixed = np.uint64(gram) * np.uint64(0x9E3779B97F4A7C15)
    slot = np.int64(mixed >> np.uint64(46))
    while slots[slot] != 0 and slots[slot] != gram:
        slot = (slot + 1) & (len(slots) - 1)
    return slot


@kernel
def _fill(grams, slots, places):  # type: ignore[no-untyped-def]
    for number in range(len(grams)):
        slot = _slot(grams[number], slots)
        slots[slot] = grams[number]
        places[slot] = number


@kernel
def _sum(  # type: ignore[no-untyped-def]
    data, bounds, head, letter, normal, capital, latin, slots, places, likelihoods, sums, known
):
    codes = np.empty(head, np.int64)
    for row in range(len(bounds) - 1):
        at, end = bounds[row], bounds[row + 1]
        size, latins, others = 0, 0, 0
        while at < end and size < head:
            wide, width = decode(data, at)
            at += width
            code = min(np.int64(wide), np.int64(ANY))
            if code != ANY and not letter[code]:
                if size > 0 and codes[size - 1] != 32:
                    codes[size] = 32
                    size += 1
                continue
            codes[size] = code
            size += 1
            latins += latin[code] > 0
            others += latin[code] < 0
        drop = 2 * latins < others  # Latin letters do not count where there are twice as many others
        # langdetect's NGram: the last characters, of which a space is only ever the first or the last.
        first, second, third = np.int64(0), np.int64(0), np.int64(32)
        length = 1
        word_in_capitals = False
        for place in range(size):
            if drop and latin[codes[place]] > 0:
                continue
            code = np.int64(normal[codes[place]])
            if third == 32:
                length = 1
                word_in_capitals = False
                if code == 32:
                    continue
            first, second, third = second, third, code
            length = min(length + 1, 3)
            word_in_capitals = capital[code] and (word_in_capitals or capital[second])
            if word_in_capitals:
                continue
            for n in range(2 if code == 32 else 1, length + 1):
                gram = code
                if n > 1:
                    gram |= second << 16
                if n > 2:
                    gram |= first << 32
                slot = _slot(gram, slots)
                if slots[slot] != 0:
                    known[row] = True
                    for column in range(sums.shape[1]):
                        sums[row, column] += likelihoods[places[slot], column]
