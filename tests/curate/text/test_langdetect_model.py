"""langdetect's model: its own detector, and the sum over its own n-grams."""

import math
import random
import tarfile
import unicodedata
from pathlib import Path

import langdetect
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langdetect import detector_factory

from curate.text.langdetect_model import _grams, languages, log_likelihoods, posterior


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


def assert_is_the_sum(texts: list[str], head: int) -> None:
    """To the bit, over the n-grams into which langdetect's own code cuts the first letters of each text."""
    detector_factory.init_factory()
    factory = detector_factory._factory
    codes = sorted(factory.langlist)
    order = list(map(factory.langlist.index, codes))
    # As padded slices, too, for a text is told the same wherever it lies.
    sums, known = log_likelihoods(pa.array(["before", *texts]).slice(1), head)
    seen = pc.utf8_ltrim_whitespace(pc.replace_substring_regex(pa.array(texts, pa.string()), r"[^\pL\pM]+", " "))
    for text, row, any_known in zip(pc.utf8_slice_codeunits(seen, 0, head).to_pylist(), sums, known, strict=True):
        detector = factory.create()
        detector.append(text)
        detector.cleaning_text()
        grams = detector._extract_ngrams()
        assert any_known == bool(grams)
        given = (np.array(factory.word_lang_prob_map[gram])[order] + 0.5 / 10000 for gram in grams)
        expected = sum(map(np.log, given), start=np.zeros(len(codes)))
        assert row.tolist() == expected.tolist(), text


def test_the_profiles_are_read_as_langdetect_reads_them() -> None:
    detector_factory.init_factory()
    factory = detector_factory._factory
    order = list(map(factory.langlist.index, sorted(factory.langlist)))
    grams, found = _grams()
    spelled = ["".join(chr(gram >> at & 0x1FFFFF) for at in (42, 21, 0) if gram >> at) for gram in grams.tolist()]
    assert len(set(spelled)) == len(spelled)
    assert set(spelled) == set(factory.word_lang_prob_map)
    expected = np.array([factory.word_lang_prob_map[gram] for gram in spelled])[:, order]
    assert found.tobytes() == expected.tobytes()


def test_it_is_the_sum_over_all_ngrams(lines: list[str]) -> None:
    assert_is_the_sum(
        ["the licence", "ABC is shouted Aloud", "a  b", "ソフトウェア", "12", "", "mixed русский текст", "𐐜 x 𐐔"], 60
    )
    assert_is_the_sum(lines, 60)
    assert_is_the_sum([" ".join(lines[at : at + 5]) for at in range(0, len(lines), 5)], 300)


PARTS = st.sampled_from(
    [*"aâÂƠyZßẤ漢あアㄅ가ی", *"\u0300\u0301\u0323\u0303\u0309", " ", ".", "ABC", "ș", "𐐜", "\U000e0101"]
)


@given(
    st.lists(st.lists(PARTS | st.characters(exclude_categories=["Cs"])).map("".join), max_size=4), st.integers(1, 40)
)
def test_any_text(texts: list[str], head: int) -> None:
    assert_is_the_sum(texts, head)


def test_every_character() -> None:
    codes = [chr(code) for code in [*range(1, 0x20000), *range(0xE0000, 0xE0200)] if not 0xD800 <= code < 0xE000]
    random.Random(0).shuffle(codes)
    assert_is_the_sum(
        ["".join(codes[at : at + 20]) + " a".join(codes[at : at + 9]) for at in range(0, len(codes), 20)], 99
    )


def test_odds_are_those_of_the_sums(lines: list[str]) -> None:
    sums, _ = log_likelihoods(pa.array(lines), 60)
    factory = detector_factory._factory
    for row, of_languages in zip(sums.tolist(), posterior(pa.array(lines), 60)[0].tolist(), strict=True):
        odds = {code: math.exp(each - max(row)) for code, each in zip(sorted(factory.langlist), row, strict=True)}
        odds["zh"] = odds.pop("zh-cn") + odds.pop("zh-tw")
        found = dict(zip(languages(), of_languages, strict=True))
        assert found == pytest.approx({code: each / sum(odds.values()) for code, each in odds.items()}, abs=1e-6)
