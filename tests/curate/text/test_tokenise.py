"""Many texts at once have the tokens that the tokenizer gives each of them."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from curate.text.tokenise import DISTINCT_SHARE, tokenise
from tests.curate.rows.test_render import SPECIAL, TOKENIZER

MORSELS = [
    *("'", "'re", "'s", "r", "ve", " ", "  ", "\n", "\n\n", " \n", "\t", "\r", "\u00a0", "\u2028", "\u0301"),
    *("the", " the", "12", " 3", "x4", "é", "中", "½", ".", " .", "<", "|im_", "<s", "</s>", "<|im_end|>"),
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


def with_normalizer() -> Tokenizer:
    tokenizer = merging_tokenizer()
    tokenizer.normalizer = normalizers.Replace(". ", "~")
    return tokenizer


TOKENIZERS = {
    "GPT-2": merging_tokenizer(),
    "digits": merging_tokenizer(pre_tokenizers.Digits(individual_digits=True)),
    "bytes": TOKENIZER,
    "a token with a space": with_spaced_token(),
    "normalizer": with_normalizer(),
}


@pytest.mark.parametrize("share", [0.0, DISTINCT_SHARE, 1.0])
@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=200)
@given(texts=st.lists(st.lists(st.sampled_from(MORSELS), max_size=8).map("".join) | st.text(max_size=9), max_size=6))
def test_texts_have_the_tokens_that_each_has_by_itself(name: str, share: float, texts: list[str]) -> None:
    """Cut at all words, at none, and as is chosen."""
    tokenizer = TOKENIZERS[name]
    alone = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curate.text.tokenise.DISTINCT_SHARE", share)
        together = tokenise(tokenizer, texts)
    assert [tokens.ids for tokens in together] == alone
    assert [tokens.count for tokens in together] == list(map(len, alone))


def test_texts_are_cut_where_words_are_met_again() -> None:
    tokenizer = TOKENIZERS["GPT-2"]
    said = " ".join(["the same words again and again"] * 100)
    new = " ".join(f"word{number}" for number in range(10))
    for texts, words in (([said, new], 610), ([said], 600), ([new], 1), ([new, f"{new} more"], 2)):
        for order in (texts, texts[::-1]):
            assert sum(len(tokens.words) for tokens in tokenise(tokenizer, order)) == words


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
    together = tokenise(tokenizer, texts)
    assert [tokens.ids for tokens in together] == [each.ids for each in alone]
    assert len(together[0].ids_of) * 5 < sum(len(tokens.words) for tokens in together)  # most words are met again
