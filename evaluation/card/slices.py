"""Parts of the test rows, so that bias and leakage show: by language, source, label, length, and by how near the
closest row of the train split is (does the model only know what it has seen?)."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.text.kernel import kernel
from curate.text.words import shingle_sets

SMALLEST = 5
"""Rows that a slice must have to be shown: fewer say nothing."""
MOST = 20
"""Slices of one kind; where there are more, those of most rows are shown."""
LENGTHS = (100, 300, 1_000, 3_000, 10_000)
"""Characters of a prompt at which a slice by length begins."""
SIMILARITIES = (0.2, 0.4, 0.6, 0.8)
"""Jaccard similarities at which a slice by the closest train row begins."""
SHINGLE = 5
"""Words of a shingle, as near-duplicates are found by default."""

Names = Sequence[str | None]


def slices_of(
    prompts: Sequence[str], train: Sequence[str] | None, columns: Mapping[str, Names]
) -> dict[str, dict[str, npt.NDArray[np.bool_]]]:
    """The slices of the rows: kind -> name -> mask of shape (rows,).

    Args:
        prompts: what each row asks.
        train: what the rows of the train split ask; None where there is none to compare with.
        columns: other kinds of slices, by the name of each row's; None where a row has none.
    """
    kinds = dict(columns)
    kinds["length"] = [_bucket(len(prompt), LENGTHS, "{:,}") for prompt in prompts]
    if train:
        kinds["similarity to train"] = [_bucket(value, SIMILARITIES, "{:.1f}") for value in nearest(prompts, train)]
    found: dict[str, dict[str, npt.NDArray[np.bool_]]] = {}
    for kind, names in kinds.items():
        array = np.array([name or "" for name in names], dtype=object)
        counts = {name: int((array == name).sum()) for name in sorted(set(array)) if name}
        shown = [name for name, count in counts.items() if count >= SMALLEST]
        shown = sorted(sorted(shown, key=lambda name: -counts[name])[:MOST]) if len(shown) > MOST else shown
        if shown and (len(counts) > 1 or kind in ("language", "similarity to train")):
            found[kind] = {name: array == name for name in _in_order(kind, shown)}
    return found


def _in_order(kind: str, names: list[str]) -> list[str]:
    if kind not in ("length", "similarity to train"):
        return names
    return sorted(names, key=lambda name: (not name.startswith("below"), float(name.split(" ")[-1].replace(",", ""))))


def _bucket(value: float, edges: Sequence[float], shape: str) -> str:
    number = int(np.searchsorted(edges, value, side="right"))
    if number == 0:
        return f"below {shape.format(edges[0])}"
    return f"from {shape.format(edges[number - 1])}"


def nearest(texts: Sequence[str], others: Sequence[str]) -> npt.NDArray[np.float64]:
    """The true Jaccard similarity of each text to the closest of the others, by shingles of 5 words: shape (texts,)."""
    offsets, values = shingle_sets(pa.array(_writable(texts), pa.large_string()), SHINGLE)
    other_offsets, other_values = shingle_sets(pa.array(_writable(others), pa.large_string()), SHINGLE)
    vocabulary = np.unique(values)
    mine = np.searchsorted(vocabulary, values)
    place = np.minimum(np.searchsorted(vocabulary, other_values), len(vocabulary) - 1)
    shared = vocabulary[place] == other_values
    owner = np.repeat(np.arange(len(others)), np.diff(other_offsets))[shared]
    order = np.argsort(place[shared], kind="stable")
    bounds = np.append(0, np.cumsum(np.bincount(place[shared], minlength=len(vocabulary))))
    found = np.zeros(len(texts))
    _closest(offsets, mine, bounds, owner[order], np.diff(other_offsets), found)
    return found


def _writable(texts: Sequence[str]) -> list[str]:
    """Texts that Arrow can hold: lone surrogates replaced."""
    return [text.encode("utf-8", "replace").decode() for text in texts]


@kernel
def _closest(offsets, values, bounds, owners, sizes, found):  # type: ignore[no-untyped-def]
    shared = np.zeros(len(sizes), np.int64)
    for row in range(len(offsets) - 1):
        size = offsets[row + 1] - offsets[row]
        for at in range(offsets[row], offsets[row + 1]):
            for post in range(bounds[values[at]], bounds[values[at] + 1]):
                other = owners[post]
                shared[other] += 1
                alike = shared[other] / (size + sizes[other] - shared[other])
                if alike > found[row]:
                    found[row] = alike
        for at in range(offsets[row], offsets[row + 1]):
            for post in range(bounds[values[at]], bounds[values[at] + 1]):
                shared[owners[post]] = 0
