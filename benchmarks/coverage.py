"""How often 95% intervals hold the truth: macro F1 of classes as skewed as those of the licence task, by simulation.

    python -m benchmarks.coverage [SAMPLES]

A system is right with one probability (`even`), or more often on frequent labels (`by frequency`), and where it is not,
it gives another label, the frequent ones more often; `majority` gives but the most frequent one. For each kind of
system, its accuracy and number of rows, samples are drawn, and of each the interval that a scorecard would tell. The
truth is macro F1 of endless rows, over the labels that the sample expects: what the number is said to be. Then the same
of the difference of two systems, which answer each row by themselves, or alike as far as they can in four of five.
"""

import json
import sys
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.card.classes import Labels, compared_macro_f1, macro_f1, scores
from evaluation.card.statistics import Ints, Rows, statistic

ROWS = (7572, 4444, 4370, 957, 929, 723, 683, 189, 162, 44, 7)
"""Of each category in the train split of the licence task."""
SHARES = np.array(ROWS) / sum(ROWS)
ACCURACIES = (0.3, 0.5, 0.7, 0.9)
SIZES = (96, 384)
MAJORITY = "majority"
PAIRS = (
    *((("even", 0.7), ("even", 0.5)), (("even", 0.7), ("even", 0.7)), (("even", 0.9), ("even", 0.8))),
    *((("by frequency", 0.7), ("by frequency", 0.5)), (("by frequency", 0.7), (MAJORITY, float(SHARES[0])))),
    *((("even", 0.9), ("by frequency", 0.9)), (("even", 0.3), ("even", 0.3))),
)
ALIKE = (0.0, 0.8)
"""The share of rows that two systems answer alike as far as they can."""

Floats = npt.NDArray[np.float64]


def confusion(kind: str, accuracy: float) -> Floats:
    """The share of rows in each cell [expected, given] of a system: shape (labels, labels)."""
    right = np.full(len(SHARES), accuracy)
    if kind == "by frequency":
        right = right + 0.12 * (np.log(SHARES) - SHARES @ np.log(SHARES))
        for _ in range(50):  # until the bounds no longer move the mean
            right = np.clip(right + accuracy - right @ SHARES, 0.03, 0.98)
    cells = np.zeros((len(SHARES), len(SHARES)))
    for label, hit in enumerate(right):
        others = np.where(np.arange(len(SHARES)) == label, 0, SHARES)
        cells[label] = (1 - hit) * others / others.sum()
        cells[label, label] = hit
    if kind == MAJORITY:
        cells[:] = 0
        cells[:, 0] = 1
    return cells * SHARES[:, None]


def covered(cells: Floats, size: int, samples: int) -> dict[str, tuple[float, float]]:
    """Share of intervals that hold the truth, and their mean width: of the scorecard's, and of the bootstrap's."""
    names = tuple(map(str, range(len(cells))))
    true_f1 = 2 * np.diag(cells) / (cells.sum(axis=0) + cells.sum(axis=1))
    draw = np.random.default_rng(size)
    found: dict[str, list[tuple[bool, float]]] = {"scorecard": [], "percentile bootstrap": []}
    for seed in range(samples):
        wanted, given = np.divmod(np.repeat(np.arange(cells.size), draw.multinomial(size, cells.ravel())), len(cells))
        rows = Rows(None, size, 1000, seed)
        truth = true_f1[np.unique(wanted)].mean()
        pairs, kinds = np.unique(wanted * len(cells) + given, return_inverse=True)
        plain = statistic(kinds, lambda counts, pairs=pairs: macro_f1(counts, *np.divmod(pairs, len(cells))), rows)
        told = scores(Labels(names, wanted), given, rows, ())["macro_f1"]
        for name, each in (("scorecard", told), ("percentile bootstrap", plain)):
            found[name].append((each["low"] <= truth <= each["high"], each["high"] - each["low"]))
    return {name: tuple(np.mean(each, axis=0).round(4).tolist()) for name, each in found.items()}


def together(one: Floats, other: Floats, alike: float) -> Floats:
    """The share of rows in each cell [expected, the one's, the other's] of two systems: shape (labels,) * 3."""
    cells = np.zeros((len(one),) * 3)
    for label, (mine, its) in enumerate(zip(one, other, strict=True)):
        both = np.minimum(mine, its)
        rest = (mine - both).sum()
        apart = np.outer(mine - both, its - both) / rest if rest > 1e-12 else 0
        cells[label] = alike * (np.diag(both) + apart) + (1 - alike) * np.outer(mine, its) / mine.sum()
    return cells


def covered_difference(cells: Floats, size: int, samples: int) -> dict[str, tuple[float, float]]:
    """As `covered`, of the difference of two systems."""
    many = len(cells)
    names = tuple(map(str, range(many)))
    sides = cells.sum(axis=2), cells.sum(axis=1)
    true_f1 = [2 * np.diag(side) / (side.sum(axis=0) + side.sum(axis=1)) for side in sides]
    draw = np.random.default_rng(size)
    found: dict[str, list[tuple[bool, float]]] = {"scorecard": [], "percentile bootstrap": []}
    for seed in range(samples):
        drawn = np.repeat(np.arange(cells.size), draw.multinomial(size, cells.ravel() / cells.sum()))
        wanted, one, other = np.unravel_index(drawn, cells.shape)
        rows = Rows(None, size, 1000, seed)
        truth = (true_f1[0] - true_f1[1])[np.unique(wanted)].mean()
        triples, kinds = np.unique(drawn, return_inverse=True)
        given = np.unravel_index(triples, cells.shape)

        def difference(counts: Floats, given: tuple[Ints, ...] = given) -> Floats:
            return macro_f1(counts, given[0], given[1]) - macro_f1(counts, given[0], given[2])

        told = compared_macro_f1(Labels(names, wanted), one, other, rows, draws=1)
        for name, each in (("scorecard", told), ("percentile bootstrap", statistic(kinds, difference, rows))):
            within = each["low"] - 1e-6 <= truth <= each["high"] + 1e-6
            found[name].append((within, each["high"] - each["low"]))
    return {name: tuple(np.mean(each, axis=0).round(4).tolist()) for name, each in found.items()}


def main() -> None:
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    began = time.perf_counter()
    table, differences = systems(samples), pairs(samples)
    seconds = {"assay": [round(time.perf_counter() - began, 1)]}
    told = {"name": "coverage", "input": {"samples": samples}, "seconds": seconds}
    print(json.dumps(told | {"table": table, "differences": differences}))


def systems(samples: int) -> list[dict[str, Any]]:
    """Of each system by itself."""
    table = []
    print("| system | right | rows | scorecard: covered | width | percentile bootstrap: covered | width |")
    print("| --- | --: | --: | --: | --: | --: | --: |")
    for kind in ("even", "by frequency", MAJORITY):
        for accuracy in ACCURACIES if kind != MAJORITY else (float(SHARES[0]),):
            for size in SIZES:
                found = covered(confusion(kind, accuracy), size, samples)
                told = " | ".join(f"{100 * share:.1f} | {width:.3f}" for share, width in found.values())
                print(f"| {kind} | {accuracy:.1f} | {size} | {told} |", flush=True)
                table.append({"kind": kind, "accuracy": accuracy, "rows": size} | found)
    return table


def pairs(samples: int) -> list[dict[str, Any]]:
    """Of the difference of two systems."""
    table = []
    print("\n| systems | alike | rows | scorecard: covered | width | percentile bootstrap: covered | width |")
    print("| --- | --: | --: | --: | --: | --: | --: |")
    for pair in PAIRS:
        for alike in ALIKE:
            for size in SIZES:
                cells = together(*(confusion(*each) for each in pair), alike)
                found = covered_difference(cells, size, samples)
                told = " | ".join(f"{100 * share:.1f} | {width:.3f}" for share, width in found.values())
                names = ", ".join(f"{kind} {accuracy:.1f}" for kind, accuracy in pair)
                print(f"| {names} | {alike} | {size} | {told} |", flush=True)
                table.append({"pair": pair, "alike": alike, "rows": size} | found)
    return table


if __name__ == "__main__":
    main()
