"""langdetect's model of 55 languages, without its dice.

langdetect draws n-grams of a text at random until one language has won, seven times over. Its model is a naive Bayes
classifier, so the sum over all n-grams, each once, is what the draws approximate: without chance, in a twentieth of the
time. langdetect's own code cleans the text and cuts it into the n-grams that it knows.
"""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from langdetect.detector_factory import DetectorFactory

Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


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
    letters = pc.utf8_ltrim_whitespace(pc.replace_substring_regex(texts, r"[^\pL\pM]+", " "))
    of_gram = _likelihoods()
    sums = np.zeros((len(texts), len(_codes())))
    known = np.zeros(len(texts), np.bool_)
    for row, text in enumerate(pc.utf8_slice_codeunits(letters, 0, head).to_pylist()):
        detector = _profiles().create()
        detector.append(text)
        detector.cleaning_text()
        grams = detector._extract_ngrams()
        known[row] = bool(grams)
        sums[row] = np.sum([of_gram[gram] for gram in grams], axis=0)
    return sums, known


def languages() -> tuple[str, ...]:
    """ISO 639 codes of the languages, in the order of the probabilities."""
    return tuple(sorted(set(_codes())))


@cache
def _profiles() -> "DetectorFactory":
    from langdetect import detector_factory

    detector_factory.init_factory()
    return detector_factory._factory


@cache
def _codes() -> list[str]:
    """The language of each profile, sorted; Chinese has two."""
    return sorted(code.split("-")[0] for code in _profiles().langlist)


@cache
def _likelihoods() -> dict[str, Numbers]:
    """The logarithm of each n-gram's probability by profile, shape (profiles,)."""
    from langdetect.detector import Detector

    codes = _profiles().langlist
    order = sorted(range(len(codes)), key=codes.__getitem__)
    grams = _profiles().word_lang_prob_map
    found = np.log(np.array(list(grams.values()))[:, order] + Detector.ALPHA_DEFAULT / Detector.BASE_FREQ)
    return dict(zip(grams, found, strict=True))
