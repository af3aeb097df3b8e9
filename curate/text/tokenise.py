"""Tokenise: many texts at once, each distinct word of them once.

A byte-level tokenizer cuts a text from left to right by GPT-2's pattern, in which white space stands only at a piece's
beginning (" word") or is a piece of its own, and tokenises each piece by itself. Between two other characters, a single
space or line end therefore always begins a piece: a text cut there has the same tokens as the whole. What is cut so
are words and little more, of which even a large set of texts has few that differ.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    Words = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one text."""

    count: int
    words: "Words"
    """Its words, as positions in `ids_of`."""
    ids_of: list[list[int]]
    """The token ids of each distinct word of all texts."""

    @property
    def ids(self) -> list[int]:
        return list(chain.from_iterable(map(self.ids_of.__getitem__, self.words.tolist())))

    @property
    def last(self) -> int:
        """The last token's id, of a text that is not empty."""
        return self.ids_of[int(self.words[-1])][-1]


def tokenise(tokenizer: "Tokenizer", texts: Sequence[str]) -> list[Tokens]:
    """The tokens of each text, as `tokenizer.encode(text, add_special_tokens=False)` gives them."""
    column = pa.array(texts, pa.large_string())
    ends = np.frombuffer(column.buffers()[1], np.int64, len(column) + 1)
    begins_word = np.zeros(ends[-1] + 1, bool)
    begins_word[ends] = True
    if _cuts_by_gpt2(tokenizer) and len(column):
        text = np.frombuffer(column.buffers()[2], np.uint8, ends[-1])
        printed = (text > ord(" ")) & (text < 0x7F)  # in ASCII: other white space is to be far away
        single = (text == ord(" ")) | (text == ord("\n"))
        begins_word[1 : len(text) - 1] |= single[1:-1] & printed[:-2] & printed[2:]
    cuts = np.flatnonzero(begins_word)
    words = pa.Array.from_buffers(
        pa.large_string(), len(cuts) - 1, [None, pa.py_buffer(cuts), column.buffers()[2]]
    ).dictionary_encode()
    encoded = tokenizer.encode_batch_fast(words.dictionary.to_pylist(), add_special_tokens=False)
    ids_of = [each.ids for each in encoded]
    which = words.indices.to_numpy()
    tokens = np.concatenate([[0], np.cumsum(np.array(list(map(len, ids_of)), np.int64)[which])])
    first = np.searchsorted(cuts, ends)
    counts = np.diff(tokens[first]).tolist()
    return [
        Tokens(count, which[begin:end], ids_of)
        for count, begin, end in zip(counts, first[:-1].tolist(), first[1:].tolist(), strict=True)
    ]


def _cuts_by_gpt2(tokenizer: "Tokenizer") -> bool:
    """Whether texts are cut by GPT-2's pattern, after digits perhaps, and nothing else is done to them before."""
    if tokenizer.normalizer is not None or tokenizer.pre_tokenizer is None:
        return False
    known = json.loads(tokenizer.pre_tokenizer.__getstate__())
    *before, last = known["pretokenizers"] if known["type"] == "Sequence" else [known]
    plain = last["type"] == "ByteLevel" and last["use_regex"] and not last["add_prefix_space"]
    added = tokenizer.get_added_tokens_decoder().values()
    return (
        plain
        and all(each["type"] == "Digits" for each in before)
        and not any(token.lstrip or token.rstrip or token.single_word or token.normalized for token in added)
        and not any(space in token.content for token in added for space in " \n")
    )
