"""langdetect's model: its own detector, and the sum over its own n-grams."""

import math
import tarfile
import unicodedata
from pathlib import Path

import langdetect
import pyarrow as pa
import pytest
from langdetect import detector_factory

from curate.text.langdetect_model import languages, log_likelihoods, posterior


@pytest.fixture(scope="module")
def lines(shared_data: Path) -> list[str]:
    found = []
    with tarfile.open(shared_data / "lang_lingua_testdata/language-testdata.tar.xz") as members:
        for language in ("en", "de", "nl", "sv", "da", "es", "pt", "ru", "ar", "ja", "vi", "hi"):
            content = members.extractfile(f"sentences/{language}.txt")
            assert content is not None
            found += content.read().decode().splitlines()[:240:30]
    return found


def letters(text: str) -> str:
    """Letters and the single spaces between them."""
    return " ".join("".join(char if unicodedata.category(char)[0] in "LM" else " " for char in text).split())


def test_it_tells_what_langdetect_tells(lines: list[str]) -> None:
    """langdetect draws n-grams at random; all of them together must mostly come to the same."""
    langdetect.DetectorFactory.seed = 0
    odds, known = posterior(pa.array(lines), 200)
    assert known.all()
    assert odds.sum(axis=1) == pytest.approx(1, abs=1e-5)
    told = [languages()[place] for place in odds.argmax(axis=1)]
    expected = [langdetect.detect(letters(line)[:200]).split("-")[0] for line in lines]
    assert sum(map(str.__eq__, told, expected)) >= 0.95 * len(lines)


def test_it_is_the_sum_over_all_ngrams(lines: list[str]) -> None:
    detector_factory.init_factory()
    factory = detector_factory._factory
    texts = ["the licence", "ABC is shouted Aloud", "a  b", "ソフトウェア", "12", "", "mixed русский текст", "𐐜 x 𐐔"]
    texts += [letters(line)[:60].strip() for line in lines[::2]]
    sums, known = log_likelihoods(pa.array(texts), 60)
    for text, row, any_known in zip(texts, sums, known, strict=True):
        detector = factory.create()
        detector.append(" ".join(text.split()))
        detector.cleaning_text()
        grams = detector._extract_ngrams()
        assert any_known == bool(grams)
        expected = [
            sum(
                math.log(factory.word_lang_prob_map[gram][factory.langlist.index(code)] + 0.5 / 10000) for gram in grams
            )
            for code in sorted(factory.langlist)
        ]
        assert row.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-3)
        odds = {
            code: math.exp(each - max(expected)) for code, each in zip(sorted(factory.langlist), expected, strict=True)
        }
        odds["zh"] = odds.pop("zh-cn") + odds.pop("zh-tw")
        found = dict(zip(languages(), posterior(pa.array([text]), 60)[0][0].tolist(), strict=True))
        assert found == pytest.approx({code: each / sum(odds.values()) for code, each in odds.items()}, abs=1e-6)
