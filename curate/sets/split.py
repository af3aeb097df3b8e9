"""Split: every row to train, validation or test, once and for all.

Rows that share a group or a near-duplicate cluster form a *component* and share a split. A row whose split an earlier
version recorded keeps it, and so does what is tied to it. All other components are dealt so that every split has its
ratio of the rows, in all and of each label; or, where the recipe names a time, so that the newest are the test split.
Where the recipe names the splits, as a benchmark with a test split of its own does, nothing is dealt.

Reason: `bridges_splits` (a row ties together rows that earlier versions, or the recipe, put into different splits).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field, model_validator

from curate.errors import AssayError
from curate.record import SPLITS, group_keys
from curate.sets.deal import MILLION, Flags, Ints, Kinds, by_time, deal, give_each, improve, rounded_up
from curate.sets.earlier import Earlier, cluster_splits, recorded_splits, tied_splits
from curate.sets.split_balance import balance, bound
from curate.sets.stage import LooksBack, Seen, SetStage, Verdict
from curate.sets.untie import untie
from curate.stage import evidence_json

HELD_BACK_FIRST = ("test", "validation", "train")
"""Of copies in several splits that the data names, which one stays."""


class Split(SetStage):
    """Sets the columns `split` and `cluster`: a cluster that lies in several splits has a name in each of them."""

    name: ClassVar[str] = "split"
    version: ClassVar[int] = 3
    reasons: ClassVar[dict[str, str]] = {
        "bridges_splits": (
            "a row ties together rows that stand in different splits: a new row by those published before; with "
            "`split.named`, rows by what the data says"
        )
    }
    looks_back: ClassVar[LooksBack] = "at splits"

    train: float = Field(0.8, gt=0, le=1, description="Share of the rows, as all three; together they are 1.")
    validation: float = Field(0.1, ge=0, lt=1, description="Share of the rows that tell when training goes wrong.")
    test: float = Field(0.1, ge=0, lt=1, description="Share of the rows that are asked in the end.")
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

    def keys_of(self, table: pa.Table) -> pa.Table:
        columns = ["id", "group", "cluster", "label"]
        if (key := self.time or self.named) is None:
            return table.select(columns)
        return table.select([*columns, "source"]).append_column("said", pc.map_lookup(table["meta"], key, "first"))

    def judge(self, keys: pa.Table, seen: Seen) -> Verdict:
        earlier, clusters = seen.past.rows, keys["cluster"].to_pylist()
        tied, bridges = _tied(keys, clusters, seen)
        splits: list[str | None] = [None] * keys.num_rows
        rows = [row for row in range(keys.num_rows) if row not in bridges]
        staying = keys.take(pa.array(rows, pa.int64())) if bridges else keys
        given = assign(
            staying["id"].to_pylist(),
            staying["group"].to_pylist(),
            staying["cluster"].to_pylist(),
            staying["label"].to_pylist(),
            self,
            recorded_splits(earlier, staying["id"]),
            [tied[row] for row in rows],
            times(staying, self.time) if self.time else None,
            splits_named(staying, self.named) if self.named else None,
            _held(earlier),
        )
        bridges |= {rows[at]: evidence for at, evidence in given.bridges.items()}
        for row, split in zip(rows, given.split, strict=True):
            splits[row] = split
        columns = {
            "reason": ["bridges_splits" if row in bridges else None for row in range(len(clusters))],
            "evidence": [evidence_json(bridges[row]) if row in bridges else None for row in range(len(clusters))],
            "cluster": _within_splits(clusters, splits, cluster_splits(earlier, keys["cluster"])),
            "split": splits,
        }
        return Verdict(
            pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}),
            manifest={"balance": given.balance},
        )


def _tied(
    keys: pa.Table, clusters: Sequence[str], seen: Seen
) -> tuple[list[frozenset[str]], dict[int, dict[str, Any]]]:
    """For each row the splits that it is bound to by earlier rows, see `assign`; and the rows of `bridging_rows`."""
    earlier = seen.past.rows
    kept, cluster_of = _left(seen)
    place = np.cumsum(kept) - 1  # of the rows judged by `duplicates` among those kept
    members: dict[str, list[int]] = {}
    for row, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(row)
    among: list[tuple[int, int]] = []
    bound: set[tuple[str, int]] = set()
    # What ties a row that was removed ties all that are left of its cluster, once for each earlier cluster.
    ties = seen.before["duplicates"].beside("ties")
    found = seen.before["duplicates"].beside("bridges").to_pydict()
    bridges = dict(zip(found["row"], map(orjson.loads, found["evidence"]), strict=True))
    for row, tag in zip(*(column.to_pylist() for column in ties.columns), strict=True):
        if kept[row]:
            among.append((int(place[row]), tag))
        elif row not in bridges and (cluster_of[row], tag) not in bound:
            bound.add((cluster_of[row], tag))
            among += [(each, tag) for each in members.get(cluster_of[row], ())]
    tied = tied_splits(earlier, keys["group"], among)
    # So does the split that a row was given before it was removed in favour of a new one.
    removed = np.flatnonzero(~kept)
    ids = seen.before["duplicates"].beside("ids")["id"].take(pa.array(removed))
    given_before = recorded_splits(earlier, ids)
    for row, id_ in zip(removed.tolist(), ids.to_pylist(), strict=True):
        if id_ in given_before:
            for each in members.get(cluster_of[row], ()):
                tied[each] |= {given_before[id_]}
    return tied, {int(place[row]): evidence for row, evidence in bridges.items() if kept[row]}


def _held(earlier: Sequence[Earlier]) -> set[str]:
    """The splits that rows are in of earlier versions that the drop adds to."""
    kept = [each.rows["split"].filter(pa.array(each.kept)) for each in earlier]
    return {split for splits in kept for split in splits.unique().to_pylist()}


def _left(seen: Seen) -> tuple[Flags, list[str]]:
    """Which of the rows judged by `duplicates` are left, and each one's cluster, by the verdicts from there on."""
    names = list(seen.before)
    first, *later = (seen.before[name].rows() for name in names[names.index("duplicates") :])
    kept: Flags = pc.is_null(first["reason"]).to_numpy().copy()
    clusters: list[str] = first["cluster"].to_pylist()
    for verdict in later:
        left = np.flatnonzero(kept)
        if "cluster" in verdict.column_names:
            named = verdict["cluster"].to_pylist()
            renamed = {clusters[row]: name for row, name in zip(left.tolist(), named, strict=True)}
            clusters = [renamed.get(cluster, cluster) for cluster in clusters]
        kept[left] = pc.is_null(verdict["reason"]).to_numpy()
    return kept, clusters


def _within_splits(clusters: Sequence[str], splits: Sequence[str | None], earlier: dict[str, set[str]]) -> list[str]:
    """The clusters' names, with the split added where a cluster was torn apart and its rows are in several splits.

    Args:
        earlier: the splits of earlier rows of each cluster.
    """
    held = {cluster: set(names) for cluster, names in earlier.items()}
    for cluster, name in zip(clusters, splits, strict=True):
        if name is not None:
            held.setdefault(cluster, set()).add(name)
    return [
        f"{cluster}/{name}" if len(held.get(cluster, ())) > 1 else cluster
        for cluster, name in zip(clusters, splits, strict=True)
    ]


@dataclass
class Assignment:
    """The split of every row, in the order given."""

    split: list[str | None]
    """None where the row is rejected."""
    bridges: dict[int, dict[str, Any]]
    """Rejected rows and the evidence: the least id of the component, the splits that the row would tie together."""
    balance: dict[str, Any]
    """How well the ratios are met, see `split_balance.balance`; JSON-like."""


def times(keys: pa.Table, key: str) -> npt.NDArray[np.float64]:
    """Each row's time, for `assign`: shape (rows,); numbers as they are, dates and times as seconds since 1970.

    Args:
        keys: see `Split.keys_of`.
        key: of `meta`. Its values are all numbers, or all ISO 8601 dates or times (UTC where they name no zone).

    Raises:
        AssayError: a row has no such value; names its file and row.
    """
    texts = keys["said"].to_pylist()
    for read in (_number, _moment):
        found = [read(text) for text in texts]
        if None not in found:
            return np.array(found, dtype=np.float64)
    row = found.index(None)
    source = keys["source"][row].as_py()
    raise AssayError(
        f"{source['file']}, row {source['row']}: meta.{key} is {texts[row]!r}, which is no ISO 8601 date or time; "
        f"split.time puts the rows in its order. {found.count(None)} of {len(found)} rows are like that.",
        remedy=f"Let record.meta.{key} give one for every row; record.underivable can quarantine rows without.",
    )


def splits_named(keys: pa.Table, key: str) -> list[str]:
    """Each row's split, for `assign`.

    Args:
        keys: see `Split.keys_of`.
        key: of `meta`.

    Raises:
        AssayError: a row's value is no split; names its file and row.
    """
    found: list[str] = keys["said"].to_pylist()
    row = next((row for row, name in enumerate(found) if name not in SPLITS), None)
    if row is not None:
        source = keys["source"][row].as_py()
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
    held_before: Collection[str] = (),
) -> Assignment:
    """Assign rows to splits; the result does not depend on their order.

    Components are dealt the largest first, ties by the hash of their least id, each to the split that its labels need
    most; single components are then moved and exchanged as long as that lessens the deviation (see `balance`). A
    component of more rows than a split's whole share never goes there: one too large to balance goes to train. Of few
    rows, each split that the recipe asks for and no earlier version holds gets one component in any case.

    With `times`, the components are ordered by their newest row, and the two borders are laid where the ratios of the
    rows that are dealt are met best: the newest components are the test split, those before them validation. What
    straddles a border goes whole to the later side, so nothing in train is newer than all of a component of the other
    two; except what is too large to balance, and what an earlier version recorded: its test rows remain test when
    newer rows come to train. The balance counts these exceptions.

    With `named`, every row that no earlier version recorded has the split that is named. Of a component with rows of
    several splits those of the test split stay, else those of validation, and rows of the others go that are tied to
    them: what is to be compared with published scores remains whole.

    Args:
        ids, groups, clusters, labels: one for each row; a group of None stands alone.
        settings: the ratios.
        recorded: id -> split of rows of earlier versions.
        tied: for each row, the splits of the rows of earlier versions that it is a near-duplicate of or shares a group
            with; empty where nothing is tied.
        times: for each row, when it is from, in any unit.
        named: for each row, its split.
        held_before: the splits that rows of earlier versions are in.
    """
    component, fixed, bridges = _untied(ids, groups, clusters, recorded, tied, named)
    kept = np.flatnonzero(component >= 0)
    number, sizes = _numbered(component[kept], kept, ids)
    given = np.full(len(sizes), -1)
    for at, row in enumerate(kept.tolist()):
        if row in fixed:
            given[number[at]] = SPLITS.index(next(iter(fixed[row])))
    known = [None, *sorted({label for label in labels if label is not None})]
    code = {label: at for at, label in enumerate(known)}
    label = np.array([code[labels[row]] for row in kept.tolist()], dtype=np.int64)
    standing = given[number] >= 0
    held = _table(given[number[standing]], label[standing], len(known))
    ratios = settings.millionths()
    kinds = Kinds.of(number[~standing], label[~standing], len(known))
    rows = held.sum(axis=0) + kinds.in_all()
    wanted = ratios[:, None] * rows
    free = np.flatnonzero(given < 0)
    least = bound(kinds, held, wanted, ratios > 0)
    wanting = (ratios > 0) & [split not in held_before for split in SPLITS]
    if times is None:
        open_to = (ratios > 0) & (kinds.sizes[:, None] * MILLION <= rounded_up(ratios * len(kept)))
        open_to[:, 0] = True
        dealt = deal(kinds, held, ratios, open_to)
        improve(kinds, dealt, held, wanted, open_to)
        give_each(kinds, dealt, held, wanting, open_to)
        given[kinds.members] = np.repeat(np.tile(np.arange(3), len(dealt)), dealt.ravel())
    else:
        newest = np.full(len(sizes), -np.inf)
        np.maximum.at(newest, number, times[kept])
        given[free] = by_time(newest[free], sizes[free], ratios, wanting & (held[:, -1] == 0))
    counts = _table(given[number], label, len(known))
    result = Assignment([None] * len(ids), bridges, balance(counts, wanted, ratios, known, least))
    for row, at in zip(kept.tolist(), given[number].tolist(), strict=True):
        result.split[row] = SPLITS[at]
    if times is not None:
        border = newest[given > 0].min(initial=np.inf)
        result.balance["train_rows_after_border"] = int(np.sum(times[kept][given[number] == 0] > border))
    return result


def bridging_rows(
    ids: pa.ChunkedArray,
    groups: pa.ChunkedArray,
    clusters: Sequence[str],
    ties: Sequence[tuple[int, int]],
    earlier: Sequence[Earlier],
    named: Sequence[str | None] | None,
) -> dict[int, dict[str, Any]]:
    """The rows that bridge splits, and the evidence, before any is removed as a duplicate: so none is removed in favour
    of one that goes itself. Without them `assign` finds none: what is left then stays together here.

    Args:
        ids, groups, clusters: one for each row, in order of priority.
        ties: see `tied_splits`.
        named: see `assign`; None for a row that goes in any case.
    """
    tied = tied_splits(earlier, groups, ties)
    return _untied(ids.to_pylist(), groups.to_pylist(), clusters, recorded_splits(earlier, ids), tied, named)[2]


def _untied(
    ids: Sequence[str],
    groups: Sequence[str | None],
    clusters: Sequence[str],
    recorded: dict[str, str],
    tied: Sequence[frozenset[str]],
    named: Sequence[str | None] | None,
) -> tuple[Ints, dict[int, frozenset[str]], dict[int, dict[str, Any]]]:
    """Each row's component (-1: it bridges splits), the splits that rows are fixed to, and the evidence of bridges.

    Args: see `assign`.
    """
    cluster, group = _codes(clusters), _key_codes(groups)
    component = _components(cluster, group)
    fixed = {row: ties for row, ties in enumerate(tied) if ties}
    fixed |= {row: frozenset((recorded[name],)) for row, name in enumerate(ids) if name in recorded}
    rank: dict[int, int] = {}
    if named is not None:
        new = {row: split for row, split in enumerate(named) if split is not None and ids[row] not in recorded}
        fixed |= {row: fixed.get(row, frozenset()) | {split} for row, split in new.items()}
        rank = {row: HELD_BACK_FIRST.index(split) for row, split in new.items()}
    recorded_rows = {row for row in fixed if ids[row] in recorded}
    return component, fixed, untie(component, cluster, group, ids, fixed, recorded_rows, rank)


def tied(clusters: Sequence[str], groups: Sequence[str | None]) -> Ints:
    """The component of each row, a number: rows that share a cluster or a key of a group, and what these share with
    others, have the same one."""
    return _components(_codes(clusters), _key_codes(groups))


def _numbered(component: Ints, rows: Ints, ids: Sequence[str]) -> tuple[Ints, Ints]:
    """The components numbered the largest first, ties by hash: each row's number, and each component's rows.

    Args:
        component: of each row, any number.
        rows: the rows' numbers among all.
        ids: of all rows.
    """
    _, number = np.unique(component, return_inverse=True)
    sizes = np.bincount(number).astype(np.int64)
    order = pc.sort_indices(pa.array(ids, pa.string())).to_numpy().astype(np.int64)
    least = np.full(len(sizes), len(ids))
    np.minimum.at(least, number, np.argsort(order)[rows])
    hashes = np.array([xxhash.xxh3_64_intdigest(ids[row].encode()) for row in order[least].tolist()], dtype=np.uint64)
    dealing = np.lexsort((least, hashes, -sizes))
    return np.argsort(dealing)[number], sizes[dealing]


def _table(split: Ints, label: Ints, labels: int) -> Ints:
    """How many rows of each split have each label, and in all: shape (3, labels + 1)."""
    counts = np.zeros((len(SPLITS), labels + 1), dtype=np.int64)
    np.add.at(counts, (split, label), 1)
    counts[:, -1] = counts[:, :-1].sum(axis=1)
    return counts


def _codes(names: Sequence[str | None]) -> Ints:
    """A number for each distinct name, from 0; -1 for None."""
    codes = pa.array(names, pa.string()).dictionary_encode().indices
    numbers: Ints = pc.fill_null(codes, -1).to_numpy().astype(np.int64)
    return numbers


def _key_codes(groups: Sequence[str | None]) -> Ints:
    """A number for each distinct key of the rows' groups, from 0: shape (rows, most keys of a row), filled with -1."""
    rows, keys = group_keys(pa.chunked_array([groups], pa.string()))
    numbers = keys.dictionary_encode().indices.to_numpy()
    first = np.searchsorted(rows, rows)
    place = np.arange(len(rows)) - first
    codes = np.full((len(groups), place.max(initial=0) + 1), -1)
    codes[rows, place] = numbers
    return codes


def _components(cluster: Ints, group: Ints) -> Ints:
    """The connected components of rows that share a cluster or a key of a group: one number for each row.

    Args:
        cluster: shape (rows,).
        group: shape (rows, keys); -1 is no key.
    """
    from curate.sets.components import Components

    count = int(cluster.max(initial=-1)) + 1
    parents = Components(count)
    first: dict[int, int] = {}
    clusters = np.broadcast_to(cluster[:, None], group.shape)
    for pair in np.unique(group[group >= 0] * count + clusters[group >= 0]).tolist():
        parents.union(pair % count, first.setdefault(pair // count, pair % count))
    return parents.roots()[cluster]
