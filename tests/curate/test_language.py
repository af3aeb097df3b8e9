"""Telling languages, on real sentences; and not telling them where there is none to tell."""

import io
import math
import random
import tarfile
from pathlib import Path

import langdetect
import pyarrow as pa
import pytest
from langdetect import detector_factory

from curate.language import UNDETERMINED, Language, _second_opinion, detect
from tests.records import layouts, record, table_of

COMMON = (
    *("ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hu", "it", "ja", "ko", "nl"),
    *("pl", "pt", "ro", "ru", "sv", "ta", "th", "tr", "uk", "ur", "vi", "zh"),
)


@pytest.fixture(scope="module")
def sentences(shared_data: Path) -> dict[str, list[str]]:
    """Thirty sentences of each common language, drawn with a seed."""
    found = {}
    archive = (shared_data / "lang_lingua_testdata/language-testdata.tar.xz").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        for language in COMMON:
            content = members.extractfile(f"sentences/{language}.txt")
            assert content is not None
            lines = [line for line in content.read().decode().splitlines() if line.strip()]
            found[language] = random.Random(0).sample(lines, 30)
    return found


def codes(*texts: str) -> list[str]:
    return [code for code, _ in detect(pa.array(texts, pa.string()))]


def test_sentences_of_common_languages(sentences: dict[str, list[str]]) -> None:
    right = told = total = 0
    for language, texts in sentences.items():
        found = codes(*texts)
        assert found.count(language) >= 0.8 * len(texts), language
        right += found.count(language)
        told += len(texts) - found.count(UNDETERMINED)
        total += len(texts)
    assert right / total >= 0.95
    assert right / told >= 0.99


def test_the_second_opinion_is_langdetects(sentences: dict[str, list[str]]) -> None:
    """langdetect draws n-grams at random; all of them together must mostly come to the same."""
    langdetect.DetectorFactory.seed = 0
    texts = [text[:200] for language in ("en", "de", "nl", "sv", "da", "es", "pt") for text in sentences[language][:6]]
    same = sum(_second_opinion(text) == langdetect.detect(text).split("-")[0] for text in texts)
    assert same >= 0.95 * len(texts)


def test_the_second_opinion_is_the_sum_over_all_ngrams() -> None:
    detector_factory.init_factory()
    factory = detector_factory._factory
    for text in ("the licence", "freie software", "logiciel libre", "ソフトウェア"):
        detector = factory.create()
        detector.append(text)
        grams = detector._extract_ngrams()
        scores = [
            sum(math.log(factory.word_lang_prob_map[gram][column] + 0.5 / 10000) for gram in grams)
            for column in range(len(factory.langlist))
        ]
        assert _second_opinion(text) == factory.langlist[scores.index(max(scores))]
    assert _second_opinion("12 34") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n ",
        "MIT",
        "BSD-3-Clause",
        "SPDX-License-Identifier: Apache-2.0 OR MIT",
        "GPL-2.0-only WITH Classpath-exception-2.0",
        "licenses/by-nc-sa/4.0/legalcode",
        "https://example.com/the/quick/brown/fox/jumps/over/the/lazy/dog",
        "some.person@example.com, other.person@example.org",
        "public static void main(String[] args) { System.out.println(args.length); }",
        "SELECT name, count(*) FROM users WHERE id = 3 GROUP BY name;",
        "<license><name>The Apache License, Version 2.0</name><url>http://apache.org</url></license>",
        "def f(x):\n    return x + 1\n\nclass Foo(Bar):\n    def __init__(self):\n        self.x = 1",
        "0123456789 " * 10,
        "-" * 200,
        "🙂" * 50,
        "模型",
        "lorem",
    ],
)
def test_names_tags_addresses_and_code_have_no_language(text: str) -> None:
    assert codes(text) == [UNDETERMINED]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS", "en"),
        ("This program is free software; see http://www.gnu.org/licenses/ or mail x@gnu.org", "en"),
        ("吾輩は猫である。名前はまだ無い。", "ja"),
        ("Это предложение написано на русском языке.", "ru"),
        ("यह वाक्य हिन्दी में लिखा गया है।", "hi"),
        ("Dieses Programm ist freie Software, Sie können es weitergeben.\n\n" + "x = f(y)\n" * 3, "de"),
        ("Ce logiciel est libre. " * 1000, "fr"),
    ],
)
def test_hand_checked(text: str, code: str) -> None:
    assert codes(text) == [code]


def test_a_row_is_told_the_same_language_beside_any_others(sentences: dict[str, list[str]]) -> None:
    texts = [text for language in ("en", "da", "ko") for text in sentences[language][:10]]
    alone = [code for text in texts for code in codes(text)]
    together = codes(*texts)
    assert together == alone
    assert codes(*texts[::-1]) == alone[::-1]
    assert codes(*texts) == together


def test_the_stage_tags_keeps_and_counts() -> None:
    rows = [
        record("This sentence is plainly written in English."),
        record("Dieser Satz ist offensichtlich auf Deutsch geschrieben."),
        record("MIT"),
        record("Cette phrase est écrite en français.", ("assistant", "This answer does not count: it is no prompt.")),
    ]
    for table in layouts(rows):
        outcome = Language().run(table)
        assert outcome.kept["language"].to_pylist() == ["en", "de", "und", "fr"]
        assert outcome.kept.drop_columns("language").equals(table.drop_columns("language"))
        assert outcome.counters == {"de": 1, "en": 1, "fr": 1, "und": 1}
        outcome = Language(keep=["en", "und"]).run(table)
        assert outcome.kept["language"].to_pylist() == ["en", "und"]
        rejected = outcome.rejected.to_pylist()
        assert [(row["stage"], row["reason"], row["language"]) for row in rejected] == [
            ("language", "language", "de"),
            ("language", "language", "fr"),
        ]
        assert '"language":"de"' in rejected[0]["evidence"]
    assert Language().run(table_of([])).kept.num_rows == 0
