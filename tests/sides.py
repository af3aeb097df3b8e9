"""Rows for tests of near-duplicates, and brute force over their shingle sets."""

import itertools
from random import Random

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from hypothesis import strategies as st

from curate.sets.bands import band_tables, bands_for
from curate.sets.similarity import Side
from curate.text.minhash import signatures, text_signatures
from curate.text.words import shingle_sets

SIZE = 3

prompts = st.lists(st.sampled_from([*"abcdefgh"]), max_size=12).map(" ".join)
corpora = st.lists(st.tuples(prompts, st.integers(0, 1)), max_size=25)
thresholds = st.sampled_from([0.4, 0.5, 0.6, 0.8, 1.0])


def side_of(texts: list[str], threshold: float) -> Side:
    array = pa.array(texts, pa.string())
    offsets, values = shingle_sets(array, SIZE)
    return Side(text_signatures(array, SIZE), offsets[:-1], offsets[1:], values)


def side_of_sets(sets: list[set[int]]) -> Side:
    offsets = np.cumsum([0, *map(len, sets)])
    values = np.array([value for each in sets for value in sorted(each)], np.uint64)
    return Side(signatures(offsets, values), offsets[:-1], offsets[1:], values)


def tables_of(side: Side, threshold: float) -> npt.NDArray[np.uint64]:
    return band_tables(side.signatures, bands_for(threshold))


def sets_of(side: Side) -> list[set[int]]:
    return [set(side.values[begin:end].tolist()) for begin, end in zip(side.begins, side.ends, strict=True)]


def similar(first: set[int], second: set[int]) -> float:
    return len(first & second) / len(first | second)


def greedy(sets: list[set[int]], answers: list[int], threshold: float) -> list[int]:
    """The rule by brute force: for each row the first kept row of the same answer that is similar enough, or -1."""
    kept: list[int] = []
    by = []
    for row, mine in enumerate(sets):
        rivals = (k for k in kept if answers[k] == answers[row] and similar(sets[k], mine) >= threshold)
        by.append(next(rivals, -1))
        if by[-1] < 0:
            kept.append(row)
    return by


def clusters(sets: list[set[int]], threshold: float) -> list[int]:
    names = list(range(len(sets)))
    for first, second in itertools.combinations(range(len(sets)), 2):
        if similar(sets[first], sets[second]) >= threshold:
            old, new = names[second], names[first]
            names = [new if name == old else name for name in names]
    return [min(row for row in range(len(sets)) if names[row] == name) for name in names]


def with_a_common_part(random: Random, rows: int, common: list[int]) -> list[set[int]]:
    """Sets of most of what is common, of what some of them share, and of their own; many are similar."""
    shared = [random.getrandbits(64) for _ in range(60)]
    sets: list[set[int]] = []
    for _ in range(rows):
        if sets and random.random() < 0.4:
            sets.append({random.getrandbits(64) if random.random() < 0.1 else each for each in random.choice(sets)})
        else:
            parts = random.sample(common, random.randint(len(common) // 2, len(common))), random.sample(shared, 4)
            sets.append({*parts[0], *parts[1], *(random.getrandbits(64) for _ in range(random.randint(0, 12)))})
    return sets
