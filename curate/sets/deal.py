"""Dealing: whole components of rows go to the splits, so that each has its ratio of all rows and of each label.

Rows are counted in millionths of a row and ratios in millionths: integers, so that every machine deals alike.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.record import SPLITS

MILLION = 1_000_000
"""Ratios count in millionths and rows in millionths of a row: integers, so that every machine deals alike."""
CELLS = 1 << 18
"""The most numbers that one step of the search or of the bound lays out at once."""
SWAPS = 24
"""Components of each side that a swap is sought among."""

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass
class Kinds:
    """Components to be dealt, those that are alike together: a kind's components hold as many rows of each label.

    The kinds' contents lie one after the other in `column` and `rows`: a column is a label, the last one is all rows.
    """

    columns: int
    begins: Ints
    """Where each kind's contents begin: shape (kinds,)."""
    column: Ints
    rows: Ints
    """How many rows of the column one component of the kind has."""
    copies: Ints
    """How many components are of the kind: shape (kinds,)."""
    sizes: Ints
    """Rows of one component of the kind, falling: shape (kinds,)."""
    members: Ints
    """The components, kind after kind, in the order of their numbers within each."""

    @staticmethod
    def of(number: Ints, label: Ints, labels: int) -> "Kinds":
        """Kinds in the order of their first components.

        Args:
            number, label: of each row, the component and the label.
            labels: how many labels there are.
        """
        pairs, rows = np.unique(number * labels + label, return_counts=True)
        components, begins = np.unique(pairs // labels, return_index=True)
        ends = np.append(begins[1:], len(pairs))
        same = np.empty(len(components), dtype=np.int64)  # a number for each content
        alone = ends - begins == 1
        held = (pairs % labels)[begins[alone]] * (rows.max(initial=0) + 1) + rows[begins[alone]]
        distinct, same[alone] = np.unique(held, return_inverse=True)
        others: dict[bytes, int] = {}
        for at in np.flatnonzero(~alone).tolist():
            piece = slice(begins[at], ends[at])
            packed = (pairs[piece] % labels).tobytes() + rows[piece].tobytes()
            same[at] = others.setdefault(packed, len(distinct) + len(others))
        _, first, kinds = np.unique(same, return_index=True, return_inverse=True)
        rank = np.argsort(np.argsort(first))
        kinds = rank[kinds]
        column: list[int] = []
        counts: list[int] = []
        starts: list[int] = []
        for at in np.sort(first).tolist():
            piece = slice(begins[at], ends[at])
            starts.append(len(column))
            column += [*(pairs[piece] % labels).tolist(), labels]
            counts += [*rows[piece].tolist(), int(rows[piece].sum())]
        begins, every = np.array(starts, dtype=np.int64), np.array(counts, dtype=np.int64)
        return Kinds(
            columns=labels + 1,
            begins=begins,
            column=np.array(column, dtype=np.int64),
            rows=every,
            copies=np.bincount(kinds, minlength=len(first)).astype(np.int64),
            sizes=every[np.append(begins[1:], len(every)) - 1] if len(begins) else every,
            members=components[np.argsort(kinds, kind="stable")],
        )

    def in_all(self) -> Ints:
        """Rows of each column in all components: shape (columns,)."""
        copies = np.repeat(self.copies, np.diff(np.append(self.begins, len(self.column))))
        return np.bincount(self.column, self.rows * copies, minlength=self.columns).astype(np.int64)

    def content(self, kind: int) -> tuple[Ints, Ints]:
        """Columns and rows of one component of a kind."""
        end = self.begins[kind + 1] if kind + 1 < len(self.begins) else len(self.column)
        return self.column[self.begins[kind] : end], self.rows[self.begins[kind] : end]

    def dense(self, kinds: Ints) -> Ints:
        """Rows of each column in one component of each of some kinds: shape (len(kinds), columns)."""
        out = np.zeros((len(kinds), self.columns), dtype=np.int64)
        for at, kind in enumerate(kinds.tolist()):
            column, rows = self.content(kind)
            out[at, column] = rows
        return out


def deal(kinds: Kinds, held: Ints, ratios: Ints, open_to: Flags) -> Ints:
    """How many components of each kind every split is given: shape (kinds, 3).

    Kind after kind, in proportion to what each split then lacks of its share of the rows dealt so far, summed over the
    kind's columns; so every split gets large and small components alike, and later kinds make up for earlier ones.

    Args:
        held: rows of each column that every split has already, shape (3, columns); those dealt are added.
        open_to: splits that a kind may go to, shape (kinds, 3).
    """
    dealt = np.zeros((len(kinds.copies), len(SPLITS)), dtype=np.int64)
    share = (ratios / MILLION)[:, None]
    for kind, copies in enumerate(kinds.copies.tolist()):
        column, rows = kinds.content(kind)
        here = held[:, column]
        lack = (rows * (share - here / (here.sum(axis=0) + copies * rows))).sum(axis=1)
        lack[~open_to[kind]] = -np.inf
        # Rounded, so that the last bit of a sum decides nothing.
        part = np.round(np.clip(lack, 0, None), 9)
        part = part * (copies / part.sum()) if part.any() else np.where(np.arange(3) == lack.argmax(), copies, 0.0)
        take = np.floor(part).astype(np.int64)
        most_left = np.argsort(np.round(take - part, 9), kind="stable")
        take[most_left[: copies - take.sum()]] += 1
        dealt[kind] = take
        held[:, column] += take[:, None] * rows
    return dealt


def improve(kinds: Kinds, dealt: Ints, held: Ints, wanted: Ints, open_to: Flags) -> None:
    """Move components, and exchange two where no move helps, while that lessens the deviation; in place.

    Each time the best of all moves, with as many alike as gain as much, or the best exchange among the SWAPS most
    promising components of each side. The number of steps is bounded so that the work is linear in the size of the
    kinds; the deal leaves little to mend.

    Args:
        dealt: shape (kinds, 3); held: shape (3, columns); wanted: the same, in millionths of a row.
    """
    if not len(dealt):
        return
    sides = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    never = np.iinfo(np.int64).max // 4

    def off(split: int, change: Ints, column: Ints | slice) -> Any:
        return np.abs((held[split, column] + change) * MILLION - wanted[split, column])

    def move(kind: int, source: int, target: int, copies: int) -> None:
        column, rows = kinds.content(kind)
        dealt[kind, source] -= copies
        dealt[kind, target] += copies
        held[source, column] -= copies * rows
        held[target, column] += copies * rows

    def as_good(kind: int, source: int, target: int) -> int:
        """How many copies gain as much each as the first: until a split has what it should of a column."""
        column, rows = kinds.content(kind)
        too_much = held[source, column] * MILLION - wanted[source, column]
        too_little = wanted[target, column] - held[target, column] * MILLION
        room = np.concatenate(
            [too_much[too_much > 0] // rows[too_much > 0], too_little[too_little > 0] // rows[too_little > 0]]
        )
        return int(max(1, min(dealt[kind, source], room.min(initial=never) // MILLION)))

    nothing = np.zeros(1, dtype=np.int64)
    width = min(SWAPS, max(1, int((CELLS / kinds.columns) ** 0.5)))
    for _ in range(min(1000, max(10, 30_000_000 // len(kinds.column)))):
        gains = []
        for source, target in sides:
            change = off(source, -kinds.rows, kinds.column) - off(source, nothing, kinds.column)
            change += off(target, kinds.rows, kinds.column) - off(target, nothing, kinds.column)
            gain = np.add.reduceat(change, kinds.begins)
            gains.append(np.where((dealt[:, source] > 0) & open_to[:, target], gain, never))
        side, kind = divmod(int(np.argmin(gains)), len(dealt))
        if gains[side][kind] < 0:
            move(kind, *sides[side], as_good(kind, *sides[side]))
            continue
        best, swap = 0, None
        for (source, target), there, back in ((sides[0], 0, 2), (sides[1], 1, 4), (sides[3], 3, 5)):
            out, into = (
                [kind for kind in np.argsort(gains[way], kind="stable")[:width] if gains[way][kind] < never]
                for way in (there, back)
            )
            if not out or not into:
                continue
            every = slice(None)
            net = kinds.dense(np.array(out))[:, None] - kinds.dense(np.array(into))[None]
            now = (off(source, nothing, every) + off(target, nothing, every)).sum()
            change = (off(source, -net, every) + off(target, net, every)).sum(axis=2) - now
            at = np.unravel_index(int(np.argmin(change)), change.shape)
            if change[at] < best:
                best, swap = int(change[at]), (out[at[0]], into[at[1]], source, target)
        if swap is None:
            return
        out_kind, in_kind, source, target = swap
        move(out_kind, source, target, 1)
        move(in_kind, target, source, 1)


def give_each(kinds: Kinds, dealt: Ints, held: Ints, wanting: Flags, open_to: Flags) -> None:
    """Give each split that wants rows and was dealt none one component, as long as there is one to spare; in place.

    It is the smallest that the split is open to, of equals one of the kind that there are most of, and comes from the
    split of most rows.

    Args:
        dealt, held: as `deal` and `improve` leave them.
        wanting: splits that are not to stay without rows, shape (3,).
    """
    for split in np.flatnonzero(wanting & (held[:, -1] == 0)).tolist():
        source = int(held[:, -1].argmax())
        spare = np.flatnonzero((dealt[:, source] > 0) & open_to[:, split] & (kinds.sizes < held[source, -1]))
        if len(spare):
            kind = int(spare[np.lexsort((-dealt[spare, source], kinds.sizes[spare]))[0]])
            column, rows = kinds.content(kind)
            dealt[kind, source] -= 1
            dealt[kind, split] += 1
            held[source, column] -= rows
            held[split, column] += rows


def by_time(newest: npt.NDArray[np.float64], sizes: Ints, ratios: Ints, wanting: Flags) -> Ints:
    """The split of every component that is dealt, the newest to test, then validation, then train: shape (components,).

    Of all pairs of borders the one whose deviation is least, found exactly: with i components in test, the deviation
    is convex in the rows at the second border, and least at the border next above or below where it should be.

    Args:
        newest: time of each component's newest row; equal ones in the order of the components.
        wanting: splits that are not to stay without rows where there are components enough, shape (3,).
    """
    wanted = ratios * sizes.sum()
    balanced = sizes * MILLION <= rounded_up(np.where(ratios > 0, wanted, wanted.max())).min()
    ordered = np.flatnonzero(balanced)
    ordered = ordered[np.argsort(-newest[ordered], kind="stable")]
    until = np.append(0, np.cumsum(sizes[ordered])) * MILLION
    first = np.arange(len(until)) if ratios[2] else np.zeros(1, dtype=np.int64)
    above = np.searchsorted(until, until[first] + wanted[1]) if ratios[1] else first
    first, second = np.tile(first, 2), np.append(above, above - 1)
    second = np.clip(second, first, len(until) - 1 if ratios[1] else first)
    off = np.abs(until[first] - wanted[2]) + np.abs(until[second] - until[first] - wanted[1])
    off += np.abs(until[second] - wanted[1:].sum())
    last = len(until) - 1 if balanced.all() else len(until)  # else train has components in any case
    empty = np.stack([second >= last, second == first, first == 0])[wanting].any(axis=0)
    best = int(np.lexsort((off, empty))[0])
    split = np.zeros(len(sizes), dtype=np.int64)
    split[ordered[: second[best]]] = 1
    split[ordered[: first[best]]] = 2
    return split


def rounded_up(rows: Ints) -> Ints:
    """Millionths of rows, up to whole rows."""
    return -(-rows // MILLION) * MILLION
