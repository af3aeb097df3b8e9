"""Tokenise: many texts at once, each distinct word of them once in a process.

A byte-level tokenizer cuts a text from left to right by GPT-2's pattern and tokenises each piece by itself. Between
certain ASCII characters it cuts whatever stands around them: where white space begins, before the last one of a run of
it, and where letters, digits and other signs meet. A text cut there has the same tokens as the whole (but for
apostrophes, which may begin a piece with the letters behind them, and within the tokenizer's added tokens, where
nothing is cut here). What is cut so are words and little more, of which even a large set of texts has few that differ,
source code too: what each is known for is remembered from one call to the next.
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
from curate.text.kernel import kernel

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Numbers = npt.NDArray[np.int64]

MOST = 32 << 20
"""Bytes of words that are remembered: when there are more, all are forgotten. Those that are met again come back."""
LINES = 4096
"""Words that are given to the tokenizer as the lines of one text."""
LOOKS_BACK = re.compile(r"\(\?<[=!]|\\[bBAGK]|(?<!\[)\^")
"""Of a pattern, as JSON: what depends on the text before."""
ELSE, SPACE, LETTER, DIGIT, SIGN = range(5)
"""Classes of bytes: those of ASCII that GPT-2's pattern tells apart. Beside others, ELSE, nothing is cut."""
APOSTROPHE, BLANK = ord("'"), ord(" ")
"""What may begin a piece with letters behind it: 're, 's, and words."""
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
        begin_added = "".join(map(re.escape, sorted({text[:1] for text in _added_texts(tokenizer)})))
        self._lined_up = re.compile(f" ?(?![0-9])(?:(?![{begin_added}])[!-~])+" if begin_added else " ?[!-/:-~][!-~]*")

    def __call__(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text, as `tokenizer.encode(text, add_special_tokens=False)` gives them.

        Raises:
            AssayError: the tokenizer gives up, as on a pattern that goes back too often.
        """
        if not texts:
            return []
        if not self._cuts:
            begins, ids = self._encoded(texts)
            return [
                Tokens(end - begin, np.array([at]), begins, ids)
                for at, (begin, end) in enumerate(zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True))
            ]
        with self._lock:
            words, first = self._numbered(pa.array(texts, pa.large_string()))
            begins, ids = self._words.begins, self._words.ids
        tokens = np.concatenate([[0], np.cumsum((begins[1:] - begins[:-1])[words])])
        counts = np.diff(tokens[first]).tolist()
        return [
            Tokens(count, words[begin:end], begins, ids)
            for count, begin, end in zip(counts, first[:-1].tolist(), first[1:].tolist(), strict=True)
        ]

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
        if new := self._words.new():
            try:
                self._words.learn(*self._of_words(new))
            except BaseException:
                self._words = _Words()
                raise
        return words, first

    def _of_words(self, words: list[str]) -> tuple[Numbers, Numbers]:
        """The tokens of all words, and where those of each begin.

        To be asked for a word costs the library more than the word: most are given to it as lines of longer texts. A
        line's end is a token of its own there, as the pattern cuts before it and behind it.
        """
        line_end = self._tokenizer.encode("\n", add_special_tokens=False).ids
        alike = self._lined_up.fullmatch
        in_line = np.array([alike(word) is not None for word in words])
        lined = [word for word, easy in zip(words, in_line.tolist(), strict=True) if easy]
        lines = ["\n".join(lined[at : at + LINES]) + "\n" for at in range(0, len(lined), LINES)]
        _, ids = self._encoded(lines)
        is_end = ids == (line_end[0] if len(line_end) == 1 else -1)
        if np.count_nonzero(is_end) != len(lined):
            return self._encoded(words)
        begins, others = self._encoded([word for word, easy in zip(words, in_line.tolist(), strict=True) if not easy])
        lengths = np.empty(len(words), np.int64)
        lengths[in_line] = np.diff(np.flatnonzero(is_end), prepend=-1) - 1
        lengths[~in_line] = np.diff(begins)
        found = np.empty(lengths.sum(), np.int64)
        of_line = np.repeat(in_line, lengths)
        found[of_line], found[~of_line] = ids[~is_end], others
        return np.concatenate([[0], np.cumsum(lengths)]), found

    @cached_property
    def _added(self) -> "_Added":
        return _Added.of(self._tokenizer)


def _added_texts(tokenizer: "Tokenizer") -> list[str]:
    return [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.content]


class _Added(NamedTuple):
    """The texts of a tokenizer's added tokens."""

    texts: Any
    begins: Any
    """Where each begins in `texts`, and the last one ends."""
    starts: Any
    """By byte: whether one begins with it."""

    @classmethod
    def of(cls, tokenizer: "Tokenizer") -> "_Added":
        known = [text.encode() for text in _added_texts(tokenizer)]
        starts = np.zeros(256, np.bool_)
        starts[[text[0] for text in known]] = True
        begins = np.array([*accumulate(map(len, known), initial=0)], np.int64)
        return cls(np.frombuffer(b"".join(known), np.uint8), begins, starts)


class _Words:
    """The words that were met, by numbers, with the tokens of each."""

    def __init__(self) -> None:
        self._text = np.empty(1 << 16, np.uint8)
        self._at = np.zeros(1 << 12, np.int64)  # where each word begins in the text, and the last one ends
        self._table = np.zeros((1 << 13, 2), np.uint64)  # open addressing: a word's key, and its number and 1
        self._count = 0
        self._learnt = 0
        self.begins: Numbers = np.zeros(1, np.int64)
        self.ids: Numbers = np.empty(0, np.int64)

    @property
    def used(self) -> int:
        """Bytes of the words."""
        return int(self._at[self._count])

    def numbered(self, texts: pa.Array, added: _Added) -> tuple[Numbers, Numbers]:
        """See `Tokeniser._numbered`; words that are met for the first time get the next numbers."""
        bounds = np.frombuffer(texts.buffers()[1], np.int64, len(texts) + 1)
        data = np.frombuffer(texts.buffers()[2] or b"", np.uint8)
        words, first = np.empty(bounds[-1], np.int64), np.zeros(len(bounds), np.int64)
        done = 0
        while True:
            done, self._count = _number(
                *(data, bounds, CLASSES, added, done, self._count),
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

    def new(self) -> list[str]:
        """The words whose tokens are not known yet."""
        at = self._at[self._learnt : self._count + 1].copy()
        found = pa.Array.from_buffers(
            pa.large_string(), len(at) - 1, [None, pa.py_buffer(at), pa.py_buffer(self._text)]
        )
        words: list[str] = found.to_pylist()
        return words

    def learn(self, begins: Numbers, ids: Numbers) -> None:
        """Keep the tokens of the new words."""
        self.begins = np.concatenate([self.begins, len(self.ids) + begins[1:]])
        self.ids = np.concatenate([self.ids, ids])
        self._learnt = self._count


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


def _classes() -> npt.NDArray[np.uint8]:
    """The class of each byte."""
    chars = [chr(byte) for byte in range(128)]
    kinds = {LETTER: str.isalpha, DIGIT: str.isdigit, SPACE: " \t\n\r".__contains__, SIGN: str.isprintable}
    known = [next((kind for kind, holds in kinds.items() if holds(char)), ELSE) for char in chars]
    return np.array(known + [ELSE] * 128, np.uint8)


CLASSES = _classes()
NEVER, ALWAYS, PERHAPS = range(3)
MEETING = np.array(
    [
        [NEVER, NEVER, NEVER, NEVER, NEVER],
        [NEVER, PERHAPS, PERHAPS, PERHAPS, PERHAPS],
        [NEVER, ALWAYS, NEVER, ALWAYS, ALWAYS],
        [NEVER, ALWAYS, ALWAYS, NEVER, ALWAYS],
        [NEVER, ALWAYS, PERHAPS, ALWAYS, NEVER],
    ],
    np.uint8,
)
"""Whether a text is cut between two characters, by their classes; PERHAPS is for `_cuts` to say."""


@kernel
def _number(data, bounds, classes, added, done, count, known, at, table, words, first):  # type: ignore[no-untyped-def]
    """Number the words of the texts from `done` on; gives how many texts are done when there is no more room, and how
    many words are known."""
    for text in range(done, len(bounds) - 1):
        end, placed, begin = bounds[text + 1], first[text], bounds[text]
        within = begin  # up to here an added token may stand
        here = classes[data[begin]] if begin < end else ELSE
        for place in range(begin, end):
            behind, before = place + 1, here
            if added.starts[data[place]]:
                within = max(within, place + _longest(data, place, end, added))
            if behind < end:
                here = classes[data[behind]]
                meeting = MEETING[before, here]
                if meeting == NEVER or behind < within:
                    continue
                if meeting == PERHAPS and not _cuts(data, behind, bounds[text], end, classes, added):
                    continue
            number, count = _word(data, begin, behind, count, known, at, table)
            if number < 0:
                return text, count
            words[placed] = number
            placed, begin = placed + 1, behind
        first[text + 1] = placed
    return len(bounds) - 1, count


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
def _cuts(data, place, begin, end, classes, added):  # type: ignore[no-untyped-def]
    """Whether the text is cut before a place where MEETING says PERHAPS; false where that is not certain.

    The place is not the text's first, nor within an added token.
    """
    here = classes[data[place]]
    if classes[data[place - 1]] == SIGN:  # and here is a letter
        return data[place - 1] != APOSTROPHE
    if here == SPACE:  # the last one of a run stands apart, or with what follows
        return place + 1 < end and _stands(data, place + 1, end, classes, added)
    if data[place - 1] == BLANK:
        return False
    if place - 2 < begin or classes[data[place - 2]] != SPACE:
        return place - 2 < begin or classes[data[place - 2]] != ELSE
    return _stands(data, place, end, classes, added)


@kernel
def _stands(data, place, end, classes, added):  # type: ignore[no-untyped-def]
    """Whether the pattern sees what stands at a place behind white space: it does not see digits, where these are split
    off before, nor an added token."""
    if classes[data[place]] != LETTER and classes[data[place]] != SIGN:
        return False
    return not added.starts[data[place]] or _longest(data, place, end, added) == 0


@kernel
def _word(data, begin, end, count, known, at, table):  # type: ignore[no-untyped-def]
    """The number of a word, -1 where there is no room for a new one; and how many are known."""
    size = end - begin
    if size <= SHORT:  # the bytes themselves
        value = np.uint64(size)
        for place in range(begin, end):
            value = (value << np.uint64(8)) | np.uint64(data[place])
    else:
        value = OFFSET
        for place in range(begin, end):
            value = (value ^ np.uint64(data[place])) * PRIME
        value |= LONG
    slots = len(table)
    slot = _slot(value, slots)
    while table[slot, 1]:
        if table[slot, 0] == value:
            number = np.int64(table[slot, 1]) - 1
            if size <= SHORT:
                return number, count
            if at[number + 1] - at[number] == size:
                same = 0
                while same < size and known[at[number] + same] == data[begin + same]:
                    same += 1
                if same == size:
                    return number, count
        slot = (slot + 1) & (slots - 1)
    if count + 1 >= len(at) or at[count] + size > len(known):
        return -1, count
    known[at[count] : at[count] + size] = data[begin:end]
    at[count + 1] = at[count] + size
    table[slot, 0], table[slot, 1] = value, count + 1
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
