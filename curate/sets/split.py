"""Split: every row to train, validation or test, once and for all.

Rows that share a group or a near-duplicate cluster form a *component* and share a split. A row whose split an earlier
version recorded keeps it, and so does what is tied to it. All other components are dealt so that every split has its
ratio of the rows, in all and of each label; or, where the recipe names a time, so that the newest are the test split.
Where the recipe names the splits, as a benchmark with a test split of its own does, nothing is dealt.

Reason: `bridges_splits` (a row ties together rows that earlier versions, or the recipe, put into different splits).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field, model_validator

from curate.errors import AssayError
from curate.stage import Settings

VERSION = 2
SPLITS = ("train", "validation", "test")

MILLION = 1_000_000
"""Ratios count in millionths and rows in millionths of a row: integers, so that every machine deals alike."""
CELLS = 1 << 18
"""The most numbers that one step of the search or of the bound lays out at once."""
SWAPS = 24
"""Components of each side that a swap is sought among."""

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Split(Settings):
    train: float = Field(0.8, gt=0, le=1)
    validation: float = Field(0.1, ge=0, lt=1)
    test: float = Field(0.1, ge=0, lt=1)
    time: str | None = Field(None, description="Key of `meta` with each row's time: the newest rows are then the test.")
    named: str | None = Field(
        None, description="Key of `meta` with each row's split: train, validation or test. No ratio is then aimed at."
    )

    @model_validator(mode="after")
    def _sums_to_one(self) -> "Split":
        if self.time and self.named:
            raise ValueError("the recipe names a time or the splits, not both")
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError(f"train + validation + test is {self.train + self.validation + self.test:g}, expected 1")
        return self

    def millionths(self) -> Ints:
        """The ratios in the order of SPLITS, in millionths: shape (3,), the sum is 1,000,000."""
        validation, test = round(self.validation * MILLION), round(self.test * MILLION)
        return np.array([MILLION - validation - test, validation, test])


@dataclass
class Assignment:
    """The split of every row, in the order given."""

    split: list[str | None]
    """None where the row is rejected."""
    bridges: dict[int, dict[str, Any]]
    """Rejected rows and the evidence: the least id of the component, the splits that the row would tie together."""
    balance: dict[str, Any]
    """How well the ratios are met, see `_balance`; JSON-like."""


def times(table: pa.Table, key: str) -> npt.NDArray[np.float64]:
    """Each row's time, for `assign`: shape (rows,); numbers as they are, dates and times as seconds since 1970.

    Args:
        table: records.
        key: of `meta`. Its values are all numbers, or all ISO 8601 dates or times (UTC where they name no zone).

    Raises:
        AssayError: a row has no such value; names its file and row.
    """
    texts = pc.map_lookup(table["meta"], key, "first").to_pylist()
    for read in (_number, _moment):
        found = [read(text) for text in texts]
        if None not in found:
            return np.array(found, dtype=np.float64)
    row = found.index(None)
    source = table["source"][row].as_py()
    raise AssayError(
        f"{source['file']}, row {source['row']}: meta.{key} is {texts[row]!r}, which is no ISO 8601 date or time; "
        f"split.time puts the rows in its order. {found.count(None)} of {len(found)} rows are like that.",
        remedy=f"Let record.meta.{key} give one for every row; record.underivable can quarantine rows without.",
    )


def splits_named(table: pa.Table, key: str) -> list[str]:
    """Each row's split, for `assign`.

    Args:
        table: records.
        key: of `meta`.

    Raises:
        AssayError: a row's value is no split; names its file and row.
    """
    found: list[str] = pc.map_lookup(table["meta"], key, "first").to_pylist()
    row = next((row for row, name in enumerate(found) if name not in SPLITS), None)
    if row is not None:
        source = table["source"][row].as_py()
        raise AssayError(
            f"{source['file']}, row {source['row']}: meta.{key} is {found[row]!r}; split.named expects one of "
            f"{', '.join(SPLITS)}.",
            remedy=f"Let record.meta.{key} give one for every row; record.underivable can quarantine rows without.",
        )
    return found


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None and np.isfinite(float(text)) else None
    except ValueError:
        return None


def _moment(text: str | None) -> float | None:
    try:
        moment = datetime.fromisoformat((text or "").strip())
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def assign(
    ids: Sequence[str],
    groups: Sequence[str | None],
    clusters: Sequence[str],
    labels: Sequence[str | None],
    settings: Split,
    recorded: dict[str, str],
    tied: Sequence[frozenset[str]] = (),
    times: npt.NDArray[np.float64] | None = None,
    named: Sequence[str] | None = None,
) -> Assignment:
    """Assign rows to splits; the result does not depend on their order.

    Components are dealt the largest first, ties by the hash of their least id, each to the split that its labels need
    most; single components are then moved and exchanged as long as that lessens the deviation (see `_balance`). A
    component of more rows than a split's whole share never goes there: one too large to balance goes to train.

    With `times`, the components are ordered by their newest row, and the two borders are laid where the ratios of the
    rows that are dealt are met best: the newest components are the test split, those before them validation. What
    straddles a border goes whole to the later side, so nothing in train is newer than all of a component of the other
    two; except what is too large to balance, and what an earlier version recorded: its test rows remain test when
    newer rows come to train. The balance counts these exceptions.

    With `named`, every row that no earlier version recorded has the split that is named. Of a component with rows of
    several splits those of the test split stay, and rows of the others go that are tied to them: what is to be
    compared with published scores remains whole.

    Args:
        ids, groups, clusters, labels: one for each row; a group of None stands alone.
        settings: the ratios.
        recorded: id -> split of rows of earlier versions.
        tied: for each row, the splits of the rows of earlier versions that it is a near-duplicate of or shares a group
            with; empty where nothing is tied.
        times: for each row, when it is from, in any unit.
        named: for each row, its split.
    """
    cluster, group = _codes(clusters), _codes(groups)
    component = _components(cluster, group)
    fixed = {row: ties for row, ties in enumerate(tied) if ties}
    fixed |= {row: frozenset((recorded[name],)) for row, name in enumerate(ids) if name in recorded}
    standing_test: set[int] = set()
    if named is not None:
        new = [row for row, name in enumerate(ids) if name not in recorded]
        fixed |= {row: fixed.get(row, frozenset()) | {named[row]} for row in new}
        standing_test = {row for row in new if named[row] == "test"}
    recorded_rows = {row for row in fixed if ids[row] in recorded}
    bridges = _untie(component, cluster, group, ids, fixed, recorded_rows, standing_test)

    kept = np.flatnonzero(component >= 0)
    _, number = np.unique(component[kept], return_inverse=True)
    sizes = np.bincount(number).astype(np.int64)
    order = pc.sort_indices(pa.array(ids, pa.string())).to_numpy().astype(np.int64)
    least = np.full(len(sizes), len(ids))
    np.minimum.at(least, number, np.argsort(order)[kept])
    hashes = np.array([xxhash.xxh3_64_intdigest(ids[row].encode()) for row in order[least].tolist()], dtype=np.uint64)
    # From here on components are numbered the largest first, ties by hash.
    dealing = np.lexsort((least, hashes, -sizes))
    number, sizes = np.argsort(dealing)[number], sizes[dealing]

    given = np.full(len(sizes), -1)
    for at, row in enumerate(kept.tolist()):
        if row in fixed:
            given[number[at]] = SPLITS.index(next(iter(fixed[row])))
    known = [None, *sorted({label for label in labels if label is not None})]
    code = {label: at for at, label in enumerate(known)}
    label = np.array([code[labels[row]] for row in kept.tolist()], dtype=np.int64)
    held = np.zeros((len(SPLITS), len(known) + 1), dtype=np.int64)
    standing = given[number] >= 0
    np.add.at(held, (given[number[standing]], label[standing]), 1)
    held[:, -1] = held[:, :-1].sum(axis=1)
    ratios = settings.millionths()
    kinds = _Kinds.of(number[~standing], label[~standing], len(known))
    rows = held.sum(axis=0) + kinds.in_all()
    wanted = ratios[:, None] * rows
    free = np.flatnonzero(given < 0)
    bound = _bound(kinds, held, wanted, ratios > 0)
    if times is None:
        open_to = (ratios > 0) & (kinds.sizes[:, None] * MILLION <= _rounded_up(ratios * len(kept)))
        open_to[:, 0] = True
        dealt = _deal(kinds, held, ratios, open_to)
        _improve(kinds, dealt, held, wanted, open_to)
        given[kinds.members] = np.repeat(np.tile(np.arange(3), len(dealt)), dealt.ravel())
    else:
        newest = np.full(len(sizes), -np.inf)
        np.maximum.at(newest, number, times[kept])
        given[free] = _by_time(newest[free], sizes[free], ratios)
    result = Assignment([None] * len(ids), bridges, {})
    for row, at in zip(kept.tolist(), given[number].tolist(), strict=True):
        result.split[row] = SPLITS[at]
    counts = np.zeros_like(held)
    np.add.at(counts, (given[number], label), 1)
    counts[:, -1] = counts[:, :-1].sum(axis=1)
    result.balance = _balance(counts, wanted, ratios, known, bound)
    if times is not None:
        border = newest[given > 0].min(initial=np.inf)
        result.balance["train_rows_after_border"] = int(np.sum(times[kept][given[number] == 0] > border))
    return result


def _codes(names: Sequence[str | None]) -> Ints:
    """A number for each distinct name, from 0; -1 for None."""
    codes = pa.array(names, pa.string()).dictionary_encode().indices
    numbers: Ints = pc.fill_null(codes, -1).to_numpy().astype(np.int64)
    return numbers


def _components(cluster: Ints, group: Ints) -> Ints:
    """The connected components of rows that share a cluster or a group (-1: none): one number for each row."""
    from curate.sets.components import Components

    count = int(cluster.max(initial=-1)) + 1
    parents = Components(count)
    first: dict[int, int] = {}
    for pair in np.unique(group[group >= 0] * count + cluster[group >= 0]).tolist():
        parents.union(pair % count, first.setdefault(pair // count, pair % count))
    return parents.roots()[cluster]


def _untie(
    component: Ints,
    cluster: Ints,
    group: Ints,
    ids: Sequence[str],
    fixed: dict[int, frozenset[str]],
    recorded: set[int],
    first: set[int],
) -> dict[int, dict[str, Any]]:
    """Take apart, in place, the components in which several splits are fixed; gives back the rows that must go.

    A row joins its cluster with its group. As in Kruskal's algorithm the rows of such a component are put back one by
    one, and one that would join two splits stays out: recorded rows first, which all stand, then those of `first`, then
    the rows that touch one split only, the split that most rows touch first, then the others; of equals the least id
    first. No row that stayed out could be put back, so none goes that did not have to once the others were in.

    Args:
        component: -1 is written for the rows that go, and a number of its own for each part that remains.
        fixed: row -> the splits it is fixed to.
        recorded: rows of `fixed` that an earlier version published.
        first: rows that come before all that are not recorded.
    """
    from curate.sets.components import Components

    splits_of: dict[int, frozenset[str]] = {}
    for row, ties in fixed.items():
        splits_of[int(component[row])] = splits_of.get(int(component[row]), frozenset()) | ties
    torn = [root for root, splits in splits_of.items() if len(splits) > 1]
    rows = np.flatnonzero(np.isin(component, torn)).tolist()
    nodes = {row: [("cluster", int(cluster[row])), ("group", int(group[row]))][: 1 + (group[row] >= 0)] for row in rows}
    least: dict[int, str] = {}
    at_node: dict[tuple[str, int], frozenset[str]] = {}
    for row in rows:
        root = int(component[row])
        least[root] = min(ids[row], least.get(root, ids[row]))
        if row in recorded:
            at_node |= {node: at_node.get(node, frozenset()) | fixed[row] for node in nodes[row]}
    touched = {
        row: frozenset().union(fixed.get(row, ()), *(at_node.get(node, ()) for node in nodes[row])) for row in rows
    }
    votes = Counter((int(component[row]), touched[row]) for row in rows)

    def turn(row: int) -> tuple[bool, bool, bool, int, list[str], str]:
        touches_one = len(touched[row]) == 1
        most = -votes[int(component[row]), touched[row]] if touches_one else 0
        return row not in recorded, row not in first, not touches_one, most, sorted(touched[row]), ids[row]

    position = {row: at for at, row in enumerate(rows)}
    parts = Components(len(rows))
    split_of: dict[int, str | None] = {}
    present: dict[tuple[str, int], set[int]] = {}
    bridges: dict[int, dict[str, Any]] = {}
    for row in sorted(rows, key=turn):
        here = position[row]
        beside = {parts.find(part) for node in nodes[row] for part in present.get(node, ())}
        if row in recorded:
            beside = {part for part in beside if split_of[part] in fixed[row]}
        splits = set(fixed.get(row, ())) | {split for part in beside if (split := split_of[part]) is not None}
        if len(splits) > 1:
            bridges[row] = {"cluster": least[int(component[row])], "splits": sorted(splits)}
            continue
        for part in beside:
            parts.union(here, part)
        split_of[parts.find(here)] = next(iter(splits), None)
        for node in nodes[row]:
            present[node] = {parts.find(part) for part in (here, *present.get(node, ()))}
    for row in rows:
        component[row] = -1 if row in bridges else len(component) + parts.find(position[row])
    return bridges


@dataclass
class _Kinds:
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
    def of(number: Ints, label: Ints, labels: int) -> "_Kinds":
        """Kinds in the order of their first components.

        Args:
            number, label: of each row, the component and the label.
            labels: how many labels there are.
        """
        pairs, rows = np.unique(number * labels + label, return_counts=True)
        contents = np.stack([pairs % labels, rows], axis=1)
        components, begins = np.unique(pairs // labels, return_index=True)
        pieces = zip(begins.tolist(), [*begins[1:].tolist(), len(pairs)], strict=True) if len(pairs) else ()
        kind_of: dict[bytes, int] = {}
        kinds = np.array(
            [kind_of.setdefault(contents[begin:end].tobytes(), len(kind_of)) for begin, end in pieces], dtype=np.int64
        )
        column: list[int] = []
        counts: list[int] = []
        starts: list[int] = []
        for packed in kind_of:
            held = np.frombuffer(packed, dtype=np.int64).reshape(-1, 2)
            starts.append(len(column))
            column += [*held[:, 0].tolist(), labels]
            counts += [*held[:, 1].tolist(), int(held[:, 1].sum())]
        begins, every = np.array(starts, dtype=np.int64), np.array(counts, dtype=np.int64)
        return _Kinds(
            columns=labels + 1,
            begins=begins,
            column=np.array(column, dtype=np.int64),
            rows=every,
            copies=np.bincount(kinds, minlength=len(kind_of)).astype(np.int64),
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


def _deal(kinds: _Kinds, held: Ints, ratios: Ints, open_to: Flags) -> Ints:
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


def _improve(kinds: _Kinds, dealt: Ints, held: Ints, wanted: Ints, open_to: Flags) -> None:
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


def _by_time(newest: npt.NDArray[np.float64], sizes: Ints, ratios: Ints) -> Ints:
    """The split of every component that is dealt, the newest to test, then validation, then train: shape (components,).

    Of all pairs of borders the one whose deviation is least, found exactly: with i components in test, the deviation
    is convex in the rows at the second border, and least at the border next above or below where it should be.

    Args:
        newest: time of each component's newest row; equal ones in the order of the components.
    """
    wanted = ratios * sizes.sum()
    balanced = sizes * MILLION <= _rounded_up(np.where(ratios > 0, wanted, wanted.max())).min()
    ordered = np.flatnonzero(balanced)
    ordered = ordered[np.argsort(-newest[ordered], kind="stable")]
    until = np.append(0, np.cumsum(sizes[ordered])) * MILLION
    first = np.arange(len(until)) if ratios[2] else np.zeros(1, dtype=np.int64)
    above = np.searchsorted(until, until[first] + wanted[1]) if ratios[1] else first
    first, second = np.tile(first, 2), np.append(above, above - 1)
    second = np.clip(second, first, len(until) - 1 if ratios[1] else first)
    off = np.abs(until[first] - wanted[2]) + np.abs(until[second] - until[first] - wanted[1])
    best = int(np.argmin(off + np.abs(until[second] - wanted[1:].sum())))
    split = np.zeros(len(sizes), dtype=np.int64)
    split[ordered[: second[best]]] = 1
    split[ordered[: first[best]]] = 2
    return split


def _rounded_up(rows: Ints) -> Ints:
    """Millionths of rows, up to whole rows."""
    return -(-rows // MILLION) * MILLION


def _bound(kinds: _Kinds, held: Ints, wanted: Ints, open_to: Flags) -> Ints:
    """A lower bound of the deviation of every assignment: shape (3,), in all, by label and the sum of both.

    The deviation of a column (a label, or all rows) is half the sum over the splits of |rows - wanted|, which is the
    sum of what the splits have too much, since both add up to the same.

    Proof. Take any assignment. It puts the k largest components somewhere; all 3^k ways are tried here, so one of them
    is a part of it. Let a split hold f rows of a column then, want q, and let g divide what every component still to
    come has of the column, K g rows in all. In the end the split holds f + n g for a whole n >= 0, where the n of the
    splits add up to K, and has max(0, f + n g - q) too much: convex in n, so the sum is least where each next g rows go
    where they add least. The first max(0, floor((q - f) / g)) steps of a split add nothing; what remains of K, at most
    two steps, adds least on the splits with the cheapest next steps. The columns' minima, added up, are no more than
    what the assignment has of all columns together; and the least of that over the 3^k ways, no more than what it has.
    With all components among the k largest nothing remains, and the bound is the optimum.

    Args:
        held: rows of each column that stand already, shape (3, columns).
        wanted: shape (3, columns), in millionths of a row.
        open_to: splits whose ratio is not 0, shape (3,).
    """
    splits = np.flatnonzero(open_to)
    every = np.repeat(np.arange(len(kinds.copies)), kinds.copies)
    largest = every[: max(0, int(np.log(CELLS / kinds.columns) / np.log(max(2, len(splits)))))]
    left = kinds.copies - np.bincount(largest, minlength=len(kinds.copies))
    ways = len(splits) ** len(largest)
    has = np.broadcast_to(held, (ways, *held.shape)).copy()
    ways_of = np.indices((len(splits),) * len(largest)).reshape(len(largest), ways)
    for where, rows in zip(ways_of, kinds.dense(largest), strict=True):
        has[np.arange(ways), splits[where]] += rows
    divisor = np.zeros(kinds.columns, dtype=np.int64)
    remaining = np.repeat(left > 0, np.diff(np.append(kinds.begins, len(kinds.column))))
    np.gcd.at(divisor, kinds.column[remaining], kinds.rows[remaining])
    step = np.where(divisor == 0, 1, divisor) * MILLION
    steps = (wanted.sum(axis=0) - has[0].sum(axis=0) * MILLION) // step

    has *= MILLION
    free = np.where(open_to[:, None], np.clip((wanted - has) // step, 0, None), 0)
    too_much = np.clip(has - wanted, 0, None).sum(axis=1)
    after = np.clip(has + (free + 1) * step - wanted, 0, None) - np.clip(has + free * step - wanted, 0, None)
    after = np.sort(np.where(open_to[:, None], after, np.iinfo(np.int64).max // 4), axis=1)
    short = steps - free.sum(axis=1)
    too_much += np.where(short >= 1, after[:, 0], 0) + np.where(short >= 2, after[:, 1], 0)
    in_all, by_label = too_much[:, -1], too_much[:, :-1].sum(axis=1)
    return np.array([in_all.min(), by_label.min(), (in_all + by_label).min()])


def _balance(counts: Ints, wanted: Ints, ratios: Ints, labels: Sequence[str | None], bound: Ints) -> dict[str, Any]:
    """How well the ratios are met.

    splits: of each split rows, share and ratio; labels: of each label (null: rows without one), the most frequent
    first, rows and shares; deviation: the rows in a wrong split, as a share of all rows: in all (how many would have to
    change their split for the ratios to hold), by label (the same, label by label), and the sum of both, which the
    split makes small; least_possible: a bound that no assignment of these components goes below.

    Args:
        counts: rows of each column in each split, shape (3, columns); the last column is all rows.
        wanted: the same as the ratios would have it, in millionths of a row.
        bound: see `_bound`.
    """
    rows = counts.sum(axis=0)
    off = np.abs(counts * MILLION - wanted).sum(axis=0) // 2
    measured = np.array([off[-1], off[:-1].sum(), off.sum()])

    def shares(column: int) -> list[float]:
        return [round(count / max(int(rows[column]), 1), 6) for count in counts[:, column].tolist()]

    def deviations(values: Ints) -> dict[str, float]:
        found = [round(value / (max(int(rows[-1]), 1) * MILLION), 9) for value in values.tolist()]
        return dict(zip(("in_all", "by_label", "sum"), found, strict=True))

    order = sorted(
        (column for column in range(len(labels)) if rows[column]), key=lambda column: (-rows[column], column)
    )
    return {
        "splits": {
            name: {"rows": int(count), "share": share, "ratio": ratio / MILLION}
            for name, count, share, ratio in zip(SPLITS, counts[:, -1], shares(-1), ratios.tolist(), strict=True)
        },
        "labels": [
            {
                "label": labels[column],
                "rows": int(rows[column]),
                "shares": dict(zip(SPLITS, shares(column), strict=True)),
            }
            for column in order
        ],
        "deviation": deviations(measured),
        "least_possible": deviations(bound),
    }
