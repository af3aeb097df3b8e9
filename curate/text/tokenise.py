"""Tokenise: many texts at once, each distinct word of them once in a process.

A byte-level tokenizer cuts a text from left to right by GPT-2's pattern and tokenises each piece by itself. Between
certain ASCII characters it cuts whatever stands around them (`curate.text.gpt2`). A text cut there has the same tokens
as the whole, but within the tokenizer's added tokens, where nothing is cut here. What is cut so are words and little
more, of which even a large set of texts has few that differ, source code too: what each is known for is remembered from
one call to the next.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.errors import AssayError
from curate.text.byte_pairs import EACH, RUNS, TOGETHER, BytePairs, encoded
from curate.text.gpt2 import ASK, BEGINS, CUT, OUT, VERDICTS, classes
from curate.text.kernel import kernel, read_only

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Numbers = npt.NDArray[np.int64]

MOST = 32 << 20
"""Bytes of words that are remembered: when there are more, all are forgotten. Those that are met again come back."""
MANY = 4096
"""Words known from which on a tokenizer's merges are read, which takes as long as to ask the library for so many."""
LOOKS_BACK = re.compile(r"\(\?<[=!]|\\[bBAGK]|(?<!\[)\^")
"""Of a pattern, as JSON: what depends on the text before."""
OFFSET, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
"""Of 64-bit FNV-1a (Fowler, Noll, Vo)."""
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio, odd (Knuth, TAOCP 3, 6.4)."""
SHORT, LONG = 7, np.uint64(1 << 63)
"""Words of so many bytes are their own key in a table; the bit that the key of a longer one has, its hash."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one text."""

    count: int
    words: Numbers
    """Its words, or the one piece that it is, as positions in `begins`."""
    begins: Numbers
    """Where the tokens of each word known begin in `ids_of`, and those of the last one end."""
    ids_of: Numbers
    """The token ids of all words, one after the other."""

    @property
    def ids(self) -> list[int]:
        begins, lengths = self.begins[self.words], self.begins[self.words + 1] - self.begins[self.words]
        shifts = np.repeat(begins - np.cumsum(lengths) + lengths, lengths)
        ids: list[int] = self.ids_of[shifts + np.arange(len(shifts))].tolist()
        return ids

    @classmethod
    def of(cls, ids: list[int]) -> "Tokens":
        """These tokens, of a text that was not cut."""
        return cls(len(ids), np.zeros(1, np.int64), np.array([0, len(ids)]), np.array(ids, np.int64))


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


class Tokeniser:
    """A tokenizer that remembers the words that it has met; threads may share it.

    Args:
        tokenizer: is not changed from now on.
    """

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self._tokenizer = tokenizer
        self._cuts = cuts_by_gpt2(tokenizer)
        self._words = _Words()
        self._lock = Lock()

    def __call__(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text, as `tokenizer.encode(text, add_special_tokens=False)` gives them.

        Raises:
            AssayError: the tokenizer gives up, as on a pattern that goes back too often.
        """
        if not texts:
            return []
        words, begins, ids, first = self._known(pa.array(texts, pa.large_string()))
        counts = _counts(words, begins, first).tolist()
        return [
            Tokens(count, words[begin:end], begins, ids)
            for count, begin, end in zip(counts, first[:-1].tolist(), first[1:].tolist(), strict=True)
        ]

    def counts(self, texts: pa.Array) -> Numbers:
        """How many tokens each of the texts has, an array of large strings.

        Raises:
            AssayError: as for `__call__`.
        """
        words, begins, _, first = self._known(texts)
        return _counts(words, begins, first)

    def _known(self, texts: pa.Array) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """The words of all texts by number, where the tokens of each begin, these, and where a text's words begin."""
        if not self._cuts:  # each text is a word
            begins, ids = self._encoded(texts.to_pylist())
            return np.arange(len(texts)), begins, ids, np.arange(len(texts) + 1)
        with self._lock:
            words, first = self._numbered(texts)
            return words, self._words.begins, self._words.ids, first

    def _encoded(self, texts: Sequence[str]) -> tuple[Numbers, Numbers]:
        """The tokens of all texts, and where those of each begin."""
        with panics_told("The base model's tokenizer"):
            encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ids_of = [each.ids for each in encodings]
        begins = np.array([*accumulate(map(len, ids_of), initial=0)], np.int64)
        return begins, np.fromiter(chain.from_iterable(ids_of), np.int64, begins[-1])

    def _numbered(self, texts: pa.Array) -> tuple[Numbers, Numbers]:
        """The words of all texts by their numbers, and where those of each text begin; new ones are tokenised."""
        if self._words.used > MOST:
            self._words = _Words()
        words, first = self._words.numbered(texts, self._added)
        if self._words.has_new:
            try:
                self._words.learn(*self._of_words(*self._words.new()))
            except BaseException:
                self._words = _Words()
                raise
        return words, first

    def _of_words(self, text: npt.NDArray[np.uint8], at: Numbers) -> tuple[Numbers, Numbers]:
        """The tokens of all words, and where those of each begin; those that no kernel knows are the library's.

        Args:
            text: the words.
            at: where in it each begins, and the last one ends.
        """
        ids, counts = np.empty(0, np.int64), np.full(len(at) - 1, -1)
        if self._words.count >= MANY and self._pairs:
            ids, counts = encoded(self._pairs, self._added.classes, text, at)
        asked = counts < 0
        begins, others = self._encoded(_strings(text, at).filter(pa.array(asked)).to_pylist())
        counts[asked] = np.diff(begins)
        found = np.empty(counts.sum(), np.int64)
        by_library = np.repeat(asked, counts)
        found[by_library], found[~by_library] = others, ids
        return np.concatenate([[0], np.cumsum(counts)]), found

    @cached_property
    def _pairs(self) -> BytePairs | None:
        split = {
            each["individual_digits"] for each in _parts(self._tokenizer.pre_tokenizer) if each["type"] == "Digits"
        }
        return BytePairs.of(self._tokenizer, (EACH if True in split else RUNS) if split else TOGETHER)

    @cached_property
    def _added(self) -> "_Added":
        return _Added.of(self._tokenizer)


def _counts(words: Numbers, begins: Numbers, first: Numbers) -> Numbers:
    """How many tokens each text has, of what `Tokeniser._known` gives."""
    tokens = np.concatenate([[0], np.cumsum(np.diff(begins)[words])])
    counts: Numbers = np.diff(tokens[first])
    return counts


def _strings(text: npt.NDArray[np.uint8], at: Numbers) -> pa.Array:
    return pa.Array.from_buffers(pa.large_string(), len(at) - 1, [None, pa.py_buffer(at), pa.py_buffer(text)])


class _Added(NamedTuple):
    """The texts of a tokenizer's added tokens."""

    texts: Any
    begins: Any
    """Where each begins in `texts`, and the last one ends."""
    classes: Any
    """See `gpt2.classes`."""

    @classmethod
    def of(cls, tokenizer: "Tokenizer") -> "_Added":
        known = [token.content.encode() for token in tokenizer.get_added_tokens_decoder().values() if token.content]
        begins = np.array([*accumulate(map(len, known), initial=0)], np.int64)
        return cls(np.frombuffer(b"".join(known), np.uint8), begins, classes(bytes(text[0] for text in known)))


class _Words:
    """The words that were met, by numbers, with the tokens of each."""

    def __init__(self) -> None:
        self._text = np.empty(1 << 16, np.uint8)
        self._at = np.zeros(1 << 12, np.int64)  # where each word begins in the text, and the last one ends
        self._table = np.zeros((1 << 13, 2), np.uint64)  # open addressing: a word's key, and its number and 1
        self.count = 0
        self._learnt = 0
        self.begins: Numbers = np.zeros(1, np.int64)
        self.ids: Numbers = np.empty(0, np.int64)

    @property
    def used(self) -> int:
        """Bytes of the words."""
        return int(self._at[self.count])

    def numbered(self, texts: pa.Array, added: _Added) -> tuple[Numbers, Numbers]:
        """See `Tokeniser._numbered`; words that are met for the first time get the next numbers."""
        bounds = read_only(np.frombuffer(texts.buffers()[1], np.int64, len(texts) + 1, 8 * texts.offset))
        data = read_only(np.frombuffer(texts.buffers()[2] or b"", np.uint8))
        words, first = np.empty(bounds[-1], np.int64), np.zeros(len(bounds), np.int64)
        done = 0
        while True:
            done, self.count = _number(
                *(data, bounds, VERDICTS, added, done, self.count),
                *(self._text, self._at, self._table, words, first),
            )
            if done == len(texts):
                return words[: first[-1]].copy(), first
            self._grow()

    def _grow(self) -> None:
        """Twice the room."""
        self._text = np.resize(self._text, 2 * len(self._text))
        self._at = np.resize(self._at, 2 * len(self._at))
        larger = np.zeros((2 * len(self._table), 2), np.uint64)
        _fill(self._table, larger)
        self._table = larger

    @property
    def has_new(self) -> bool:
        """Whether there are words whose tokens are not known yet."""
        return self._learnt < self.count

    def new(self) -> tuple[npt.NDArray[np.uint8], Numbers]:
        """These words: the text, and where in it each begins, and the last one ends."""
        return self._text, self._at[self._learnt : self.count + 1].copy()

    def learn(self, begins: Numbers, ids: Numbers) -> None:
        """Keep the tokens of the new words."""
        self.begins = np.concatenate([self.begins, len(self.ids) + begins[1:]])
        self.ids = np.concatenate([self.ids, ids])
        self._learnt = self.count


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
        and not any(char.isspace() for token in added for char in token.content)
    )


@kernel
def _number(data, bounds, verdicts, added, done, count, known, at, table, words, first):  # type: ignore[no-untyped-def]
    """Number the words of the texts from `done` on; gives how many texts are done when there is no more room, and how
    many words are known."""
    kinds = added.classes
    for text in range(done, len(bounds) - 1):
        begin, end, placed = bounds[text], bounds[text + 1], first[text]
        within = begin  # up to here an added token stands
        short, long = np.uint64(0), OFFSET
        window = np.uint64(kinds[data[begin]]) if begin < end else np.uint64(OUT)
        for place in range(begin, end + 1 if begin < end else begin):
            behind = np.uint64(kinds[data[place + 1]]) if place + 1 < end else np.uint64(OUT)
            window = ((window << np.uint64(4)) | behind) & np.uint64(0xFFFF)
            verdict = verdicts[window] if place < end else CUT
            if verdict:
                size = 0
                if verdict & ASK:
                    size = _longest(data, place, end, added) if window & np.uint64(BEGINS << 4) else 0
                    window = _seen(window, size, data, place, end, added)
                    verdict = verdicts[window]
                if verdict & CUT and place >= within:
                    key = short | (np.uint64(place - begin) << np.uint64(56)) if place - begin <= SHORT else long | LONG
                    slot = _slot(key, len(table))
                    if table[slot, 0] == key and not key & LONG:
                        words[placed] = table[slot, 1] - np.uint64(1)
                    else:
                        number, count = _word(data, begin, place, key, count, known, at, table)
                        if number < 0:
                            return text, count
                        words[placed] = number
                    placed, begin = placed + 1, place
                    short, long = np.uint64(0), OFFSET
                within = max(within, place + size)
            if place < end:
                byte = np.uint64(data[place])
                short, long = (short << np.uint64(8)) | byte, (long ^ byte) * PRIME
        first[text + 1] = placed
    return len(bounds) - 1, count


@kernel
def _seen(window, size, data, place, end, added):  # type: ignore[no-untyped-def]
    """The classes around a place, without BEGINS where no added token stands; here stands one of `size` bytes."""
    if size == 0:
        window &= ~np.uint64(BEGINS << 4)
    if window & np.uint64(BEGINS) and _longest(data, place + 1, end, added) == 0:
        window &= ~np.uint64(BEGINS)
    return window


@kernel
def _longest(data, place, end, added):  # type: ignore[no-untyped-def]
    """Bytes of the longest added token that stands at a place; 0 where none does."""
    longest = 0
    for each in range(len(added.begins) - 1):
        begin = added.begins[each]
        size = added.begins[each + 1] - begin
        if size <= longest or place + size > end:
            continue
        same = 0
        while same < size and data[place + same] == added.texts[begin + same]:
            same += 1
        if same == size:
            longest = size
    return longest


@kernel
def _word(data, begin, end, key, count, known, at, table):  # type: ignore[no-untyped-def]
    """The number of a word, -1 where there is no room for a new one; and how many are known."""
    size = end - begin
    slot = _slot(key, len(table))
    while table[slot, 1]:
        if table[slot, 0] == key:
            number = np.int64(table[slot, 1]) - 1
            if size <= SHORT:
                return number, count
            if at[number + 1] - at[number] == size:
                same = 0
                while same < size and known[at[number] + same] == data[begin + same]:
                    same += 1
                if same == size:
                    return number, count
        slot = (slot + 1) & (len(table) - 1)
    if count + 1 >= len(at) or at[count] + size > len(known):
        return -1, count
    known[at[count] : at[count] + size] = data[begin:end]
    at[count + 1] = at[count] + size
    table[slot, 0], table[slot, 1] = key, count + 1
    return count, count + 1


@kernel
def _slot(value, slots):  # type: ignore[no-untyped-def]
    """Where a key's search begins in a table of that many slots, a power of two."""
    mixed = value * GOLDEN
    return np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(slots - 1))


@kernel
def _fill(table, larger):  # type: ignore[no-untyped-def]
    """Put the entries of a table into a larger one, which is empty."""
    for entry in range(len(table)):
        if table[entry, 1]:
            slot = _slot(table[entry, 0], len(larger))
            while larger[slot, 1]:
                slot = (slot + 1) & (len(larger) - 1)
            larger[slot] = table[entry]
