"""The rows of the train split that are most like a row that was asked."""

from collections.abc import Sequence
from itertools import pairwise

import pyarrow as pa

from curate.text.words import shingle_sets
from evaluation.ask.shots import Shots, asked
from evaluation.card.side_by_side import question
from evaluation.card.slices import SHINGLE
from evaluation.card.taught import Neighbour
from train.examples import Row

SHOWN = 3
"""Rows of the train split that are shown beside a wrong answer."""
ALIKE = 0.8
"""Similarity from which a row is called a near-duplicate, whatever its cluster."""


def neighbours(row: Row, shots: Shots) -> list[Neighbour]:
    """The rows that are most like a row (BM25, as shots are chosen), the most alike first; never the row itself."""
    near = [each for each in reversed(shots.nearest(asked(row), SHOWN + 1)) if each["id"] != row["id"]][:SHOWN]
    alike = similarities(shots.own_part(asked(row)), [shots.own_part(asked(each)) for each in near])
    return [
        Neighbour(
            each["id"],
            shots.own_part(question(each["messages"])).strip(),
            each["target"] if each["target"] is not None else each["messages"][-1]["content"],
            similarity,
            similarity >= ALIKE or (each["cluster"] is not None and each["cluster"] == row["cluster"]),
        )
        for each, similarity in zip(near, alike, strict=True)
    ]


def similarities(text: str, others: Sequence[str]) -> list[float]:
    """The true Jaccard similarity of a text to each of the others, by shingles of 5 words."""
    writable = [each.encode("utf-8", "replace").decode() for each in (text, *others)]
    offsets, values = shingle_sets(pa.array(writable, pa.large_string()), SHINGLE)
    mine, *rest = [set(values[begin:end].tolist()) for begin, end in pairwise(offsets)]
    return [len(mine & each) / len(mine | each) for each in rest]
