"""Which items of two lists belong together, so that each can be scored by its own fields."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

PAIRS = 1 << 14
"""The most pairs of items that are looked at; of longer lists, items belong together that stand at the same place."""

Pair = tuple[int, int]


def aligned(
    given: Sequence[Any], wanted: Sequence[Any], score: Callable[[Any, Any], float], ordered: bool
) -> list[tuple[Pair, float]]:
    """The pairs (number in `given`, number in `wanted`) that together are most alike, each with its score.

    Args:
        given: items of an output.
        wanted: items that are expected.
        score: of two items, 0 to 1; items that have nothing in common are not paired.
        ordered: whether pairs have to stand in the same order in both lists.
    """
    if len(given) * len(wanted) > PAIRS:
        met = [((place, place), score(*pair)) for place, pair in enumerate(zip(given, wanted, strict=False))]
        return [each for each in met if each[1]]
    scores = np.array([[score(one, other) for other in wanted] for one in given]).reshape(len(given), len(wanted))
    return [
        (pair, float(scores[pair])) for pair in (_in_order(scores) if ordered else _assigned(scores)) if scores[pair]
    ]


def _assigned(scores: Any) -> list[Pair]:
    """The assignment of the greatest sum (Kuhn 1955, by SciPy)."""
    from scipy.optimize import linear_sum_assignment

    return [(int(one), int(other)) for one, other in zip(*linear_sum_assignment(scores, maximize=True), strict=True)]


def _in_order(scores: Any) -> list[Pair]:
    """The alignment of the greatest sum that crosses nowhere (Needleman and Wunsch 1970, gaps cost nothing)."""
    best = np.zeros((scores.shape[0] + 1, scores.shape[1] + 1))
    for one in range(scores.shape[0]):
        for other in range(scores.shape[1]):
            best[one + 1, other + 1] = max(
                best[one, other] + scores[one, other], best[one, other + 1], best[one + 1, other]
            )
    pairs = []
    one, other = scores.shape
    while one and other:
        if best[one, other] == best[one - 1, other]:
            one -= 1
        elif best[one, other] == best[one, other - 1]:
            other -= 1
        else:
            one, other = one - 1, other - 1
            pairs.append((one, other))
    return pairs[::-1]
