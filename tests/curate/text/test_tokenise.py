"""Many texts at once have the tokens that the tokenizer gives each of them."""

import itertools
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from curate.text.tokenise import MANY, MOST, Tokeniser
from tests.curate.rows.test_render import SPECIAL, TOKENIZER

MORSELS = [
    *("'", "'re", "'s", "r", "ve", " ", "  ", "\n", "\n\n", " \n", "\t", "\r", "\u00a0", "\u2028", "\u0301"),
    *("the", " the", "12", " 3", "x4", "é", "中", "½", ".", " .", "<", "|im_", "<s", "</s>", "<|im_end|>"),
    *("_", "(", "''", "\x1c", "\x0b", "\u3000", "T", "0"),
]


def merging_tokenizer(*before: Any) -> Tokenizer:
    """Byte-level BPE as GPT-2's, with merges, some of them over what a wrong cut would tear."""
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*before, byte_level]) if before else byte_level
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    lines = ["".join(pair) for pair in itertools.product(MORSELS, MORSELS)] * 3
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def with_spaced_token() -> Tokenizer:
    tokenizer = merging_tokenizer()
    tokenizer.add_tokens([AddedToken("the r", normalized=False), AddedToken("the\nr", normalized=False)])
    return tokenizer


def with_words_of_letters() -> Tokenizer:
    """Added tokens that begin with letters, digits, white space and what is no ASCII."""
    tokenizer = merging_tokenizer()
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in ("the", "x4", "\u00e9the", "'re", "''")])
    return tokenizer


def with_normalizer() -> Tokenizer:
    tokenizer = merging_tokenizer()
    tokenizer.normalizer = normalizers.Replace(". ", "~")
    return tokenizer


TOKENIZERS = {
    "GPT-2": merging_tokenizer(),
    "digits": merging_tokenizer(pre_tokenizers.Digits(individual_digits=True)),
    "bytes": TOKENIZER,
    "a token with a space": with_spaced_token(),
    "tokens of letters": with_words_of_letters(),
    "runs of digits": merging_tokenizer(pre_tokenizers.Digits(individual_digits=False)),
    "normalizer": with_normalizer(),
}
REMEMBERING = {name: Tokeniser(tokenizer) for name, tokenizer in TOKENIZERS.items()}


@pytest.mark.parametrize(("most", "many"), [(0, MANY), (0, 0), (MOST, 0)])
@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=300)
@given(texts=st.lists(st.lists(st.sampled_from(MORSELS), max_size=8).map("".join) | st.text(max_size=9), max_size=6))
def test_texts_have_the_tokens_that_each_has_by_itself(name: str, most: int, many: int, texts: list[str]) -> None:
    """Also of words that were met before, and when all are forgotten each time; whether they are asked or made here."""
    tokenizer = TOKENIZERS[name]
    alone = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curate.text.tokenise.MOST", most)
        patch.setattr("curate.text.tokenise.MANY", many)
        together = REMEMBERING[name](texts)
    assert [tokens.ids for tokens in together] == alone
    assert [tokens.count for tokens in together] == list(map(len, alone))
    counts = REMEMBERING[name].counts(pa.array(texts, pa.large_string()))
    assert counts.tolist() == list(map(len, alone))


def test_words_are_cut_once_and_the_library_is_asked_for_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.text.tokenise.MANY", 0)
    asked: list[str] = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(TOKENIZERS["GPT-2"], name)

        def encode_batch_fast(self, texts: list[str], **options: Any) -> Any:
            asked.extend(texts)
            return TOKENIZERS["GPT-2"].encode_batch_fast(texts, **options)

    tokenise = Tokeniser(Counting())  # type: ignore[arg-type]
    tokenise(["the same words,  the same", "f(x1)\n"])
    [last] = tokenise(["same words f<s>(x  2)\n\n\tthe don't"])
    words = ["the", " same", " words", ",", " the", "f", "(", "x", ")", " ", "1", "\n"]
    more = ["same", " f", " don", "'t", "<s>(", "  2", "\n\n", "\t"]
    assert len(last.begins) - 1 == len(words + more)
    assert asked == ["<s>("]


def test_a_text_of_more_than_the_room_for_words() -> None:
    """The room grows in the middle of a text, and of a word."""
    tokenizer = TOKENIZERS["GPT-2"]
    texts = ["a" * 200_000, " ".join(f"w{number}x" for number in range(30_000)), "words"]
    alone = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    assert [tokens.ids for tokens in Tokeniser(tokenizer)(texts)] == alone


def test_threads_share_the_words() -> None:
    tokenizer = TOKENIZERS["digits"]
    tokenise = Tokeniser(tokenizer)
    texts = [" ".join(f"w{number % 97}x{number}" for number in range(begin, begin + 300)) for begin in range(64)]
    alone = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda text: tokenise([text])[0].ids, texts))
    assert found == alone


def test_real_texts_have_the_tokens_that_each_has_by_itself(shared_data: Path) -> None:
    tokenizer = TOKENIZERS["digits"]
    rows = [
        row
        for path in sorted((shared_data / "ins_gpteacher/Codegen").glob("*.json"))
        for row in json.loads(path.read_bytes())
    ]
    texts = [row["instruction"] + "\n" + row["response"] for row in rows]
    assert len(texts) == 4535
    alone = tokenizer.encode_batch(texts, add_special_tokens=False)
    together = Tokeniser(tokenizer)(texts)
    assert [tokens.ids for tokens in together] == [each.ids for each in alone]
    assert len(together[0].begins) * 30 < sum(len(tokens.words) for tokens in together)  # most words are met again


@pytest.mark.parametrize("name", ["GPT-2", "digits"])
def test_texts_of_all_languages_have_the_tokens_that_each_has_by_itself(shared_data: Path, name: str) -> None:
    with tarfile.open(shared_data / "lang_udhr/declaration.tar.xz") as archive:
        files = [file for each in archive.getmembers()[::8] if (file := archive.extractfile(each))]
        texts = [file.read().decode()[:9000] for file in files]
    assert len(texts) > 50
    alone = TOKENIZERS[name].encode_batch(texts, add_special_tokens=False)
    assert [tokens.ids for tokens in Tokeniser(TOKENIZERS[name])(texts)] == [each.ids for each in alone]
