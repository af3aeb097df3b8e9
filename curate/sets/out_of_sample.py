"""Out-of-sample probabilities: what a classifier says of each row's label that has learned from other rows alone.

The rows are dealt to folds, and the rows of a fold are judged by a classifier that was trained on all the other folds.
Rows that are tied together (`split.tied`) share a fold: a near-duplicate in another one would vouch for its twin's
label, right or wrong.

The classifier is linear: for each label a logistic regression against all others, by stochastic gradient descent
(scikit-learn's SGDClassifier), over the distinct words of a text and its pairs of successive words, each weighted by
its rarity (TF-IDF), or over embeddings. Nothing of it depends on how many threads there are.
"""

import os
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.text.words import Hashes, Offsets, shingle_sets

Ints = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float32]

TERMS = 1 << 18
"""Terms at most, the most frequent ones."""
WEIGHTS = 1 << 25
"""Weights of a classifier at most, terms times labels: 256 MiB."""
STRENGTH = 10.0
"""Inverse of the regularisation of all rows together (scikit-learn's `C`)."""
LOOKS, LEAST_EPOCHS = 50_000, 5
"""Rows that a classifier looks at while it learns, at least, and how often at each."""
BLOCK = 4096
"""Rows whose probabilities are computed at a time."""
DIGITS = 6
"""Digits after the point to which a probability is rounded: the order in which a processor adds decides nothing."""


def words_and_pairs(texts: pa.Array) -> tuple[Offsets, Hashes]:
    """The distinct words of each text and its pairs of successive words, as 64-bit hashes.

    Returns:
        Offsets of shape (texts + 1,), and the hashes of all texts one after the other.
    """
    (words, first), (pairs, second) = (shingle_sets(texts, size) for size in (1, 2))
    of = np.concatenate([np.repeat(np.arange(len(texts)), np.diff(each)) for each in (words, pairs)])
    hashes = np.concatenate([first, second])
    order = np.lexsort((hashes, of))
    of, hashes = of[order], hashes[order]
    new = np.ones(len(of), bool)  # a text of one word has it twice: a pair of fewer words is all of them
    new[1:] = (of[1:] != of[:-1]) | (hashes[1:] != hashes[:-1])
    return np.concatenate([[0], np.cumsum(np.bincount(of[new], minlength=len(texts)))]), hashes[new]


def terms(offsets: Offsets, hashes: Hashes, labels: int) -> Any:
    """Rows as sparse vectors of length 1, or 0 where a row has no term that counts: (rows, terms), float64.

    A term weighs log(1 + rows / rows that have it). One that a single row has says nothing of any other.

    Args:
        offsets, hashes: the distinct terms of each row, see `curate.text.words.shingle_sets`.
        labels: that are to be told apart: of many labels fewer terms count, see WEIGHTS.
    """
    from scipy.sparse import csr_array

    rows = len(offsets) - 1
    names, place, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    frequent = np.lexsort((names, -counts))[: min(TERMS, WEIGHTS // labels)]
    frequent = np.sort(frequent[counts[frequent] > 1])
    column = np.full(len(names), -1)
    column[frequent] = np.arange(len(frequent))
    columns, row_of = column[place], np.repeat(np.arange(rows), np.diff(offsets))
    kept = columns >= 0
    weights = np.log1p(rows / counts)[place[kept]]
    lengths = np.sqrt(np.bincount(row_of[kept], weights**2, rows))
    weights /= lengths[row_of[kept]]
    bounds = np.concatenate([[0], np.cumsum(np.bincount(row_of[kept], minlength=rows))])
    # 32-bit places are what scikit-learn's solver takes.
    matrix = csr_array(
        (weights, columns[kept].astype(np.int32), bounds.astype(np.int32)), shape=(rows, max(1, len(frequent)))
    )
    matrix.sort_indices()
    return matrix


def deal(labels: Ints, tied: Ints, folds: int) -> Ints:
    """The fold of each row, so that those that are tied share one and each label is spread over the folds.

    What is tied goes by its rarest label. Label by label, the largest ties first, they go to the folds in turn.

    Args:
        labels: of each row, from 0.
        tied: of each row, the number of what it is tied into, from 0; equal numbers, one fold.
        folds: how many.
    """
    count = np.bincount(labels)
    numbers, of = np.unique(tied, return_inverse=True)
    by_rarity = np.lexsort((labels, count[labels], of))
    rarest = labels[by_rarity[np.searchsorted(of[by_rarity], np.arange(len(numbers)))]]
    order = np.lexsort((np.arange(len(numbers)), -np.bincount(of), rarest))
    given = np.empty(len(numbers), np.int64)
    given[order] = np.arange(len(numbers)) % folds
    return given[of]


def probabilities(vectors: Any, labels: Ints, fold: Ints) -> Probabilities:
    """The probability of each label for each row, by what was learned of the other folds: (rows, labels).

    Args:
        vectors: of the rows, sparse or dense: (rows, dimensions).
        labels: of each row, from 0; each stands in two folds at least.
        fold: of each row.
    """
    from sklearn.linear_model import SGDClassifier

    found = np.zeros((len(labels), int(labels.max()) + 1), np.float32)
    for each in np.unique(fold):
        learned, asked = np.flatnonzero(fold != each), np.flatnonzero(fold == each)
        model = SGDClassifier(
            loss="log_loss",
            alpha=1 / (STRENGTH * len(learned)),
            max_iter=max(LEAST_EPOCHS, LOOKS // len(learned)),
            tol=None,
            random_state=0,
            n_jobs=len(os.sched_getaffinity(0)),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(vectors[learned], labels[learned])
        for begin in range(0, len(asked), BLOCK):
            part = asked[begin : begin + BLOCK]
            found[part[:, None], model.classes_] = np.round(model.predict_proba(vectors[part]), DIGITS)
    return found


def nearest(vectors: Any, rows: Ints, among: Ints, count: int) -> list[list[tuple[int, float]]]:
    """For each of `rows` those of `among` that it is most like, itself aside, with the cosine; of equals the first.

    What it has nothing in common with is not told.

    Args:
        vectors: of length 1 or 0, sparse or dense: (all rows, dimensions).
        rows, among: numbers of rows, ascending.
        count: how many at most.
    """
    found: list[list[tuple[int, float]]] = []
    others = vectors[among].T
    for begin in range(0, len(rows), 256):
        part = rows[begin : begin + 256]
        product = vectors[part] @ others
        cosines = np.round(np.asarray(product.todense() if hasattr(product, "todense") else product, float), DIGITS)
        cosines[part[:, None] == among] = 0
        like: list[list[tuple[int, float]]] = [[] for _ in part]
        every = np.arange(len(part))
        for _ in range(min(count, len(among))):
            best = cosines.argmax(axis=1)
            for at, place in enumerate(best.tolist()):
                if (cosine := float(cosines[at, place])) > 0:
                    like[at].append((int(among[place]), cosine))
            cosines[every, best] = 0
        found += like
    return found
