"""Telling languages, on real sentences; and not telling them where there is none to tell."""

import ast
import io
import json
import random
import re
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate.rows.language import Language
from curate.text.fasttext_model import languages, probabilities
from curate.text.language_detection import detect
from curate.text.languages import UNDETERMINED
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


@pytest.mark.parametrize("kind", ["sentences", "word-pairs"])
def test_right_at_least_as_often_as_the_fast_model_alone(shared_data: Path, kind: str) -> None:
    """In all 75 languages, those among them that no model knows: one line in ten."""
    texts, expected = [], []
    archive = (shared_data / "lang_lingua_testdata/language-testdata.tar.xz").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        for member in members:
            if member.name.startswith(f"{kind}/") and (content := members.extractfile(member)) is not None:
                lines = [line for line in content.read().decode().splitlines() if line.strip()][::10]
                texts += lines
                expected += [Path(member.name).stem.replace("nb", "no")] * len(lines)
    assert len(set(expected)) == 75
    alone = np.array(languages())[probabilities(pa.array(texts), 1e-4).argmax(axis=1)]
    found = np.array(codes(*texts))
    right, told = found == np.array(expected), found != UNDETERMINED
    assert right.mean() >= (alone == np.array(expected)).mean()
    assert right[told].mean() >= {"sentences": 0.84, "word-pairs": 0.76}[kind]


def codes(*texts: str) -> list[str]:
    return detect(pa.array(texts, pa.string())).languages


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
        "型",
        "lorem",
        "license: GNU Lesser General Public License v2.1+",
        "gnu lgpl v2.1 plus",
        "hasOwnProperty",
        "𝕋𝕙𝕖 𝕢𝕦𝕚𝕔𝕜 𝕓𝕣𝕠𝕨𝕟 𝕗𝕠𝕩",
        "license: GNU GPLv2 or higher",
        "import os\nimport time\nimport socket\nfrom email.header import decode_header\ntry:\n    import ssl",
    ],
)
def test_names_tags_addresses_and_code_have_no_language(text: str) -> None:
    assert codes(text) == [UNDETERMINED]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS", "en"),
        ("This program is free software; see http://www.gnu.org/licenses/ or mail x@gnu.org", "en"),
        ("모델", "ko"),
        ("Καλημέρα κόσμε", "el"),
        ("שלום עולם", "he"),
        ("ライセンス", "ja"),
        ("模型", "zh"),
        ("吾輩は猫である。名前はまだ無い。", "ja"),
        ("Это предложение написано на русском языке.", "ru"),
        ("यह वाक्य हिन्दी में लिखा गया है।", "hi"),
        ("Dieses Programm ist freie Software, Sie können es weitergeben.\n\n" + "x = f(y)\n" * 3, "de"),
        ("Ce logiciel est libre. " * 1000, "fr"),
        ("Please tell me what this does:\n\nimport os\nx = os.getcwd()\nwhile True:\n    print(x)", "en"),
        ("public domain software", "en"),
        ("sich unterhalten", "de"),
        ("доброе утро", "ru"),
        ("Ｔｈｅ ｑｕｉｃｋ ｂｒｏｗｎ ｆｏｘ", "und"),
        ("Docker 容器启动失败 error: port already in use", "zh"),
        ("报错 ModuleNotFoundError: No module named requests 怎么解决", "zh"),
        ("解释：the quick brown fox jumps over the lazy dog", "zh"),
        ("エラー: connection refused by the remote host を直して", "ja"),
        ("次の英文を訳してください: The cat sat on the mat and looked at me.", "ja"),
        ("오류: permission denied for user root 해결 방법", "ko"),
        ("Τι σημαίνει το error not found;", "el"),
        ("Что лучше? Parabola, или Hyperbola(дистрибутив linux)?", "ru"),
        ("ما معنى hello world", "und"),
        ("What does 画蛇添足 mean in English?", "en"),
        ("Please write a poem about 上海 and 北京", "en"),
        ("Explain what Москва is in plain words: is it a town?", "en"),
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
        assert outcome.kept["answer_language"].to_pylist() == ["und", "und", "und", "en"]
        assert outcome.kept["mixed_language"].to_pylist() == [False] * 4
        assert outcome.kept.select(table.column_names).drop_columns("language").equals(table.drop_columns("language"))
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


def test_the_answer_tells_where_the_prompt_does_not() -> None:
    short = record("OK", ("assistant", "Cette phrase est écrite en français."))
    english = record("This sentence is plainly written in English.", ("assistant", "Cette phrase est en français."))
    outcome = Language(keep=["fr"]).run(table_of([short, english]))
    assert outcome.kept["language"].to_pylist() == ["und"]
    assert outcome.rejected["language"].to_pylist() == ["en"]


def test_licence_tags_and_code_are_not_guessed(licence_data: Path) -> None:
    tags = []
    for path in sorted((licence_data / "rules").glob("*.RULE"))[::10]:
        header, text = path.read_text(encoding="utf-8").split("---\n", 2)[1:]
        if "is_license_tag: yes" in header:
            tags.append(text.strip())
    assert len(tags) > 300
    assert codes(*tags).count(UNDETERMINED) >= 0.96 * len(tags)
    code = []
    for path in sorted(Path(json.__file__).parent.parent.glob("*.py")):
        try:
            lines = ast.unparse(_without_words(ast.parse(path.read_bytes()))).splitlines()
        except (SyntaxError, ValueError):
            continue
        code += ["\n".join(lines[begin : begin + 15]) for begin in range(0, len(lines) - 15, 150)]
    assert len(code) > 300
    assert codes(*code).count(UNDETERMINED) >= 0.97 * len(code)


def test_naughty_strings_are_hardly_guessed(shared_data: Path) -> None:
    texts = json.loads((shared_data / "messy_blns/blns.json").read_text())
    told = dict(zip(texts, codes(*texts), strict=True))
    known = {
        *(
            "田中さんにあげて下さい",
            "パーティーへ行かないか",
            "和製漢語",
            "部落格",
            "사회과학원 어학연구소",
            "社會科學院語學研究所",
        ),
        *("울란바토르", "magna cum laude", "medieval erection of parapets", "shitake mushrooms", "జ్ఞ\u200cా"),
    }
    assert known <= {text for text, code in told.items() if code != UNDETERMINED}
    assert list(told.values()).count(UNDETERMINED) >= len(told) - 29


def _without_words(tree: ast.AST) -> ast.AST:
    """Code without its texts: a docstring is a text in a language."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = "text"
    return tree


def test_mixed_languages_are_flagged(sentences: dict[str, list[str]]) -> None:
    first, second = sentences["en"], sentences["ru"]
    pairs = [f"{a} {b}" for a, b in zip(first, second, strict=True)]
    assert detect(pa.array(pairs)).mixed.mean() >= 0.75
    pairs = [f"{a}\n{b}" for a, b in zip(first, sentences["de"], strict=True) if min(len(a), len(b)) >= 60]
    assert len(pairs) >= 10
    assert detect(pa.array(pairs)).mixed.mean() >= 0.9
    assert detect(pa.array([text for found in sentences.values() for text in found])).mixed.mean() <= 0.01


def test_languages_of_the_declaration_of_human_rights(shared_data: Path) -> None:
    right = total = 0
    with tarfile.open(shared_data / "lang_udhr/declaration.tar.xz") as members:
        for member in members:
            page = members.extractfile(member)
            text = page.read().decode() if page else ""
            language = re.search('lang="([a-z]+)">', text)
            if language is None or language[1] not in COMMON:
                continue
            found = codes(*[part for part in re.findall("<p>([^<]+)</p>", text) if len(part) >= 60][:10])
            right += found.count(language[1])
            total += len(found)
    assert total > 200
    assert right / total >= 0.93
