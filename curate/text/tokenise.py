"""Tokenise: many texts at once, each distinct word of them once where words are met again.

A byte-level tokenizer cuts a text from left to right by GPT-2's pattern, in which white space stands only at a piece's
beginning (" word") or is a piece of its own, and tokenises each piece by itself. Between two other characters, a single
space or line end therefore always begins a piece: a text cut there has the same tokens as the whole. What is cut so
are words and little more, of which even a large set of texts has few that differ. Where it has many, as source code
has, the texts are given to the tokenizer whole, which costs less than so many pieces (`benchmarks/tokenise.py`).
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.errors import AssayError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    Words = npt.NDArray[np.int64]

DISTINCT_SHARE = 0.4
"""Share of the distinct words' bytes among all above which texts are tokenised whole: at a third words are 10 to 25%
faster, at a half it depends, and at two thirds they are 15 to 25% slower."""

LOOKS_BACK = re.compile(r"\(\?<[=!]|\\[bBAGK]|(?<!\[)\^")
"""Of a pattern, as JSON: what depends on the text before."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one text."""

    count: int
    words: "Words"
    """Its words, or the one piece that it is, as positions in `ids_of`."""
    ids_of: list[list[int]]
    """The token ids of each distinct word of all texts, or of each text."""

    @property
    def ids(self) -> list[int]:
        return list(chain.from_iterable(map(self.ids_of.__getitem__, self.words.tolist())))

    @classmethod
    def of(cls, ids: list[int]) -> "Tokens":
        """These tokens, of a text that was not cut."""
        return cls(len(ids), np.zeros(1, np.int64), [ids])


@contextmanager
def panics_told(whose: str) -> Iterator[None]:
    """A panic of the tokenizer's library, which is no Exception, as an error that names the tokenizer.

    Raises:
        AssayError: in place of the panic.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise AssayError(
            f"{whose} fails on a text: {error}", remedy="Name another model, or mend its tokenizer."
        ) from None


def tokenise(tokenizer: "Tokenizer", texts: Sequence[str]) -> list[Tokens]:
    """The tokens of each text, as `tokenizer.encode(text, add_special_tokens=False)` gives them.

    Raises:
        AssayError: the tokenizer gives up, as on a pattern that goes back too often.
    """
    column = pa.array(texts, pa.large_string())
    cuts = ends = np.frombuffer(column.buffers()[1], np.int64, len(column) + 1)
    pieces, which = texts, np.arange(len(column))
    if cuts_by_gpt2(tokenizer) and len(column):
        begins = _begins_of_words(column, ends)
        words = pa.Array.from_buffers(
            pa.large_string(), len(begins) - 1, [None, pa.py_buffer(begins), column.buffers()[2]]
        ).dictionary_encode()
        if _size(words.dictionary) <= DISTINCT_SHARE * ends[-1]:
            cuts, pieces, which = begins, words.dictionary.to_pylist(), words.indices.to_numpy()
    with panics_told("The base model's tokenizer"):
        encodings = tokenizer.encode_batch_fast(pieces, add_special_tokens=False)
    ids_of = [each.ids for each in encodings]
    tokens = np.concatenate([[0], np.cumsum(np.array(list(map(len, ids_of)), np.int64)[which])])
    first = np.searchsorted(cuts, ends)
    counts = np.diff(tokens[first]).tolist()
    return [
        Tokens(count, which[begin:end], ids_of)
        for count, begin, end in zip(counts, first[:-1].tolist(), first[1:].tolist(), strict=True)
    ]


def independent(tokenizer: "Tokenizer") -> bool:
    """Whether a text has the same tokens behind another, where that ends with a token, and they give the text back.

    A byte-level tokenizer without a space before the first word, whose patterns look ahead alone, is so. That it may
    bring texts into Unicode's form NFC is passed over: see `unchanged`.
    """
    known = _parts(tokenizer.pre_tokenizer)
    forms = {each["type"] for each in _parts(tokenizer.normalizer)}
    return (
        bool(known)
        and known[-1]["type"] == "ByteLevel"
        and not any(each.get("add_prefix_space") for each in known)
        and all(each["type"] in ("ByteLevel", "Split", "Digits") for each in known)
        and not any(LOOKS_BACK.search(json.dumps(each.get("pattern", ""))) for each in known)
        and forms <= {"NFC"}
        and type(tokenizer.decoder).__name__ == "ByteLevel"
        and not any(
            token.lstrip or token.rstrip or token.single_word or token.normalized
            for token in tokenizer.get_added_tokens_decoder().values()
        )
    )


def unchanged(tokenizer: "Tokenizer", text: str) -> bool:
    """Whether an `independent` tokenizer does not bring a text into another form before it is cut."""
    return tokenizer.normalizer is None or text.isascii() or unicodedata.is_normalized("NFC", text)


def _parts(part: Any) -> list[dict[str, Any]]:
    """A normalizer or pre-tokenizer, or those that it is a sequence of."""
    if part is None:
        return []
    known = json.loads(part.__getstate__())
    if known["type"] != "Sequence":
        return [known]
    [inner] = [value for value in known.values() if isinstance(value, list)]
    return list(inner)


def _begins_of_words(column: pa.Array, ends: "Words") -> "Words":
    """Where the words of all texts begin in the column's bytes, and where the last one ends."""
    begins_word = np.zeros(ends[-1] + 1, bool)
    begins_word[ends] = True
    text = np.frombuffer(column.buffers()[2], np.uint8, ends[-1])
    printed = (text > ord(" ")) & (text < 0x7F)  # in ASCII: other white space is to be far away
    single = (text == ord(" ")) | (text == ord("\n"))
    begins_word[1 : len(text) - 1] |= single[1:-1] & printed[:-2] & printed[2:]
    return np.flatnonzero(begins_word)


def _size(strings: pa.Array) -> int:
    """Bytes of a large_string array made whole."""
    return int(np.frombuffer(strings.buffers()[1], np.int64, len(strings) + 1)[-1])


def cuts_by_gpt2(tokenizer: "Tokenizer") -> bool:
    """Whether texts are cut by GPT-2's pattern, after digits perhaps, and nothing else is done to them before."""
    if tokenizer.normalizer is not None or tokenizer.pre_tokenizer is None:
        return False
    *before, last = _parts(tokenizer.pre_tokenizer)
    plain = last["type"] == "ByteLevel" and last["use_regex"] and not last["add_prefix_space"]
    added = tokenizer.get_added_tokens_decoder().values()
    return (
        plain
        and all(each["type"] == "Digits" for each in before)
        and not any(token.lstrip or token.rstrip or token.single_word or token.normalized for token in added)
        and not any(space in token.content for token in added for space in " \n")
    )
