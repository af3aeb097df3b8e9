"""The rows of a drop beside those of earlier versions, as many of the drop's at a time as memory is to hold."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from curate.sets.keys import Flags, Numbers
from curate.sets.signed import Part, numbered

if TYPE_CHECKING:
    from curate.sets.bands import Tables
    from curate.sets.earlier import Earlier
    from curate.sets.similarity import Side
    from curate.text.words import Hashes

ROWS = 1 << 17
"""Rows of a drop that are compared with earlier ones at a time: about, a part is not divided."""


class Pairs(NamedTuple):
    """Rows of a drop and rows of earlier versions."""

    mine: Numbers
    """The drop's, by its number."""
    numbers: Numbers
    """The number of the `Earlier`."""
    others: Numbers
    """The row there."""

    @staticmethod
    def joined(some: Sequence["Pairs"]) -> "Pairs":
        nothing = np.zeros(0, np.int64)
        return Pairs(*(np.concatenate([nothing, *each]) for each in zip(*some, strict=True)) if some else [nothing] * 3)

    @staticmethod
    def of(number: int, pairs: Numbers) -> "Pairs":
        return Pairs(pairs[:, 0], np.full(len(pairs), number), pairs[:, 1])


class Removed(NamedTuple):
    """Which row of an `Earlier` removes each row of a drop (-1: none), and their similarity."""

    by: Numbers
    similarity: npt.NDArray[np.float64]


def compared(
    parts: Sequence[Part],
    numbers: Numbers,
    earlier: Sequence["Earlier"],
    answers: "Hashes",
    answers_of: Callable[["Earlier"], "Hashes"],
    threshold: float,
) -> tuple[list[Removed], Pairs]:
    """Compare the rows of a drop with all earlier ones, see `near_earlier.remove_duplicates_of`.

    Args:
        parts, numbers: see `Circles`.
        answers, answers_of: a hash of each row's answer, or zeros where the answer does not matter.

    Returns:
        What removes them, for each `Earlier`; and what ties them, in the order of the `Earlier`, then of the rows.
    """
    from curate.sets.near_earlier import remove_duplicates_of

    found = [Removed(np.full(len(answers), -1, np.int64), np.zeros(len(answers))) for _ in earlier]
    tied: list[list[Pairs]] = [[] for _ in earlier]
    for own, side, tables in _sides(parts, numbers, earlier, threshold):
        for number, each in enumerate(earlier):
            by, similarity, pairs = remove_duplicates_of(
                *(each.side, each.tables, each.kept, each.live, answers_of(each), each.clusters),
                *(side, tables, answers[own], threshold),
            )
            found[number].by[own], found[number].similarity[own] = by, similarity
            pairs[:, 0] = own[pairs[:, 0]]
            tied[number].append(Pairs.of(number, pairs))
    return found, Pairs.joined([_by_row(Pairs.joined(some)) for some in tied])


def similar(
    parts: Sequence[Part], numbers: Numbers, earlier: Sequence["Earlier"], least: float, threshold: float
) -> Pairs:
    """Pairs of rows of a drop with counting earlier ones that are at least so similar: all that they join, they join
    through these.

    Args:
        least: no less than the threshold.
        threshold: by which rows are looked for.
    """
    from curate.sets.near_earlier import link_earlier

    found = []
    for own, side, tables in _sides(parts, numbers, earlier, threshold):
        for number, each in enumerate(earlier):
            pairs = link_earlier(each.side, each.tables, each.counts, side, tables, np.arange(len(own)), least)
            pairs[:, 0] = own[pairs[:, 0]]
            found.append(Pairs.of(number, pairs))
    return Pairs.joined(found)


def _by_row(pairs: Pairs) -> Pairs:
    order = np.argsort(pairs.mine, kind="stable")
    return Pairs(*(each[order] for each in pairs))


def _sides(
    parts: Sequence[Part], numbers: Numbers, earlier: Sequence["Earlier"], threshold: float
) -> Iterator[tuple[Numbers, "Side", "Tables"]]:
    """Numbers of rows of a drop, ascending, what the rows are compared by, and their bands; with shingles of those that
    have rivals among earlier rows."""
    from curate.sets.bands import band_tables, bands_for
    from curate.sets.near_earlier import have_rivals_in
    from curate.sets.similarity import Side

    for group in _grouped(numbered(parts, numbers)) if earlier else ():
        own = np.concatenate([each for _, _, each in group])
        order = np.argsort(own)
        place = np.argsort(order)
        signatures = np.concatenate([part.signatures()[rows] for part, rows, _ in group])[order]
        tables = band_tables(signatures, bands_for(threshold))
        needed: Flags = np.zeros(len(own), np.bool_)
        for each in earlier:
            needed |= have_rivals_in(tables, each.tables, each.live)
        begins, ends = np.zeros(len(own), np.int64), np.zeros(len(own), np.int64)
        shingles, begin, total = [np.zeros(0, np.uint64)], 0, 0
        for part, rows, _ in group:
            places = place[begin : begin + len(rows)]
            begin += len(rows)
            wanted = needed[places]
            offsets, values = part.shingles(rows[wanted])
            begins[places[wanted]], ends[places[wanted]] = total + offsets[:-1], total + offsets[1:]
            shingles.append(values)
            total += len(values)
        yield own[order], Side(signatures, begins, ends, np.concatenate(shingles)), tables


def _grouped(some: Iterator[tuple[Part, Numbers, Numbers]]) -> Iterator[list[tuple[Part, Numbers, Numbers]]]:
    """Parts together, until they have ROWS rows."""
    group: list[tuple[Part, Numbers, Numbers]] = []
    for each in some:
        group.append(each)
        if sum(len(rows) for _, rows, _ in group) >= ROWS:
            yield group
            group = []
    if group:
        yield group
