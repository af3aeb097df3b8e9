"""Split: every row to train, validation or test, once and for all.

Rows that share a group or a near-duplicate cluster form a *component* and share a split. A row whose split an earlier
version recorded keeps it, and so does what is tied to it. All other components are dealt so that every split has its
ratio of the rows, in all and of each label; or, where the recipe names a time, so that the newest are the test split.
Where the recipe names the splits, as a benchmark with a test split of its own does, nothing is dealt.

Reason: `bridges_splits` (a row ties together rows that earlier versions, or the recipe, put into different splits).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from curate.arrow import whole
from curate.errors import AssayError
from curate.record import SPLITS, group_keys
from curate.sets.deal import MILLION, Flags, Ints, Kinds, by_time, deal, give_each, improve, rounded_up
from curate.sets.earlier import Earlier, cluster_splits, recorded_splits, tied_splits
from curate.sets.keys import hashes_of
from curate.sets.split_balance import balance, bound
from curate.sets.split_masks import ALONE, SEVERAL, Codes, Masks, codes_of, joined, masks_of, names_of
from curate.sets.stage import LooksBack, Seen, SetStage, Verdict
from curate.sets.untie import untie
from curate.stage import evidence_json

HELD_BACK_FIRST = ("test", "validation", "train")
"""Of copies in several splits that the data names, which one stays."""
TURN = np.array([*(HELD_BACK_FIRST.index(split) for split in SPLITS), 0])
"""When it is a row's turn, by the split that is named: those of the least number first."""
BATCH = 1 << 14
"""Times that are read at a time."""


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
    reads: ClassVar[tuple[str, ...] | None] = ("id", "group", "cluster", "label", "source", "meta")

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
        earlier, clusters = seen.past.rows, whole(keys["cluster"]).dictionary_encode()
        cluster = clusters.indices.to_numpy().astype(np.int64)
        tied, bridges = _tied(keys, clusters.dictionary, cluster, seen)
        stays = np.ones(keys.num_rows, np.bool_)
        stays[[*bridges]] = False
        rows = np.flatnonzero(stays)
        staying = keys.take(pa.array(rows)) if bridges else keys
        given = assign(
            staying["id"],
            staying["group"],
            cluster[rows],
            staying["label"],
            self,
            recorded_splits(earlier, staying["id"]),
            tied[rows],
            times(staying, self.time) if self.time else None,
            splits_named(staying, self.named) if self.named else None,
            _held(earlier),
        )
        bridges |= {int(rows[at]): evidence for at, evidence in given.bridges.items()}
        splits = np.full(keys.num_rows, -1, np.int8)
        splits[rows] = given.split
        turned_away = pa.array([*bridges], pa.int64())
        place = pc.index_in(pa.array(np.arange(keys.num_rows)), value_set=turned_away)
        evidence = pa.array([evidence_json(each) for each in bridges.values()], pa.string())
        held = cluster_splits(earlier, clusters.dictionary)
        columns = {
            "reason": pa.array(["bridges_splits"] * len(bridges), pa.string()).take(place),
            "evidence": evidence.take(place),
            "cluster": _within_splits(keys["cluster"], cluster, splits, held),
            "split": names_of(splits),
        }
        return Verdict(pa.table(columns), manifest={"balance": given.balance})


def _tied(keys: pa.Table, names: pa.Array, cluster: Ints, seen: Seen) -> tuple[Masks, dict[int, dict[str, Any]]]:
    """For each row the splits that it is bound to by earlier rows, see `assign`; and the rows of `bridging_rows`.

    Args:
        names, cluster: the clusters' names, and of each row the place of its own's.
    """
    earlier, judged = seen.past.rows, seen.before["duplicates"]
    found = judged.beside("bridges").to_pydict()
    bridging = dict(zip(found["row"], map(orjson.loads, found["evidence"]), strict=True))
    if not earlier and not bridging:
        return np.zeros(len(cluster), np.uint8), {}
    kept, cluster_of = _left(seen)
    place = np.cumsum(kept) - 1  # of the rows judged by `duplicates` among those kept
    bridges = {int(place[row]): evidence for row, evidence in bridging.items() if kept[row]}
    ties = judged.beside("ties")
    rows, tags = ties["row"].to_numpy(), ties["cluster"].to_numpy()
    left = kept[rows]
    tied = tied_splits(earlier, keys["group"], place[rows[left]], tags[left])
    # What ties a row that was removed ties all that are left of its cluster, as does the split that it had before.
    removed = np.flatnonzero(~kept)
    alone = pa.chunked_array([pa.nulls(len(kept), pa.string())])
    passed_on = tied_splits(earlier, alone, rows[~left], tags[~left])
    passed_on[[*bridging]] = 0
    given_before = recorded_splits(earlier, judged.beside("ids")["id"].take(pa.array(removed)))
    passed_on[removed] |= masks_of(given_before)
    passing = np.flatnonzero(passed_on)
    at = pc.index_in(cluster_of.take(pa.array(passing)), value_set=names)
    there = at.is_valid().to_numpy(zero_copy_only=False)
    at = np.asarray(at.drop_null()).astype(np.int64)
    tied |= joined(len(names), at, passed_on[passing[there]])[cluster]
    return tied, bridges


def _held(earlier: Sequence[Earlier]) -> set[str]:
    """The splits that rows are in of earlier versions that the drop adds to."""
    found = np.unique(np.concatenate([np.zeros(0, np.int8), *(each.splits[each.kept] for each in earlier)]))
    return {SPLITS[code] for code in found.tolist()}


def _left(seen: Seen) -> tuple[Flags, pa.Array]:
    """Which of the rows judged by `duplicates` are left, and each one's cluster, by the verdicts from there on."""
    stages = list(seen.before)
    first, *later = (seen.before[name].rows() for name in stages[stages.index("duplicates") :])
    kept: Flags = pc.is_null(first["reason"]).to_numpy().copy()
    clusters = whole(first["cluster"]).dictionary_encode()
    cluster, names = clusters.indices.to_numpy(), clusters.dictionary
    for verdict in later:
        left = np.flatnonzero(kept)
        if "cluster" in verdict.column_names:
            renamed = np.full(len(names), -1)
            renamed[cluster[left]] = np.arange(len(left))
            now = whole(verdict["cluster"]).take(pa.array(renamed, mask=renamed < 0))
            names = pc.coalesce(now, names)
        kept[left] = pc.is_null(verdict["reason"]).to_numpy()
    return kept, names.take(pa.array(cluster))


def _within_splits(names: pa.ChunkedArray, cluster: Ints, splits: Codes, earlier: Masks) -> pa.ChunkedArray:
    """The clusters' names, with the split added where a cluster was torn apart and its rows are in several splits.

    Args:
        cluster: of each row, a number.
        earlier: the splits of earlier rows of each cluster.
    """
    torn = SEVERAL[earlier | joined(len(earlier), cluster, masks_of(splits))][cluster] & (splits >= 0)
    if not torn.any():
        return names
    return pc.if_else(pa.array(torn), pc.binary_join_element_wise(names, names_of(splits), "/"), names)


@dataclass
class Assignment:
    """The split of every row, in the order given."""

    split: Codes
    """-1 where the row is rejected."""
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
    texts = keys["said"]
    for read in (_number, _moment):
        found = _read(texts, read)
        if not np.isnan(found).any():
            return found
    row = int(np.flatnonzero(np.isnan(found))[0])
    source, text = keys["source"][row].as_py(), texts[row].as_py()
    raise AssayError(
        f"{source['file']}, row {source['row']}: meta.{key} is {text!r}, which is no ISO 8601 date or time; "
        f"split.time puts the rows in its order. {np.isnan(found).sum()} of {len(found)} rows are like that.",
        remedy=f"Let record.meta.{key} give one for every row; record.underivable can quarantine rows without.",
    )


def _read(texts: pa.ChunkedArray, read: Callable[[str | None], float | None]) -> npt.NDArray[np.float64]:
    """What is read of each text; not a number where that is none."""
    found = np.empty(len(texts))
    for begin in range(0, len(texts), BATCH):
        found[begin : begin + BATCH] = [read(text) for text in texts.slice(begin, BATCH).to_pylist()]
    return found


def splits_named(keys: pa.Table, key: str) -> Codes:
    """Each row's split, for `assign`.

    Args:
        keys: see `Split.keys_of`.
        key: of `meta`.

    Raises:
        AssayError: a row's value is no split; names its file and row.
    """
    found = codes_of(keys["said"])
    if (found < 0).any():
        row = int(np.argmin(found))
        source, name = keys["source"][row].as_py(), keys["said"][row].as_py()
        raise AssayError(
            f"{source['file']}, row {source['row']}: meta.{key} is {name!r}; split.named expects one of "
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
    ids: pa.ChunkedArray,
    groups: pa.ChunkedArray,
    clusters: Ints,
    labels: pa.ChunkedArray,
    settings: Split,
    recorded: Codes,
    tied: Masks,
    times: npt.NDArray[np.float64] | None = None,
    named: Codes | None = None,
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
        ids, groups, clusters, labels: one for each row, clusters as numbers; a group of null stands alone.
        settings: the ratios.
        recorded: the splits of rows that earlier versions hold.
        tied: for each row, the splits of the rows of earlier versions that it is a near-duplicate of or shares a group
            with.
        times: for each row, when it is from, in any unit.
        named: for each row, its split.
        held_before: the splits that rows of earlier versions are in.
    """
    component, fixed, bridges = _untied(ids, groups, clusters, recorded, tied, named)
    kept = np.flatnonzero(component >= 0)
    number, sizes = _numbered(component[kept], kept, ids)
    given = np.full(len(sizes), -1)
    bound_rows = np.flatnonzero(fixed[kept])
    given[number[bound_rows]] = ALONE[fixed[kept[bound_rows]]]
    known = [None, *sorted(labels.unique().drop_null().to_pylist())]
    codes = pc.index_in(labels, value_set=pa.array(known[1:], pa.string())).fill_null(-1)
    label = np.asarray(codes).astype(np.int64)[kept] + 1
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
    split = np.full(len(ids), -1, np.int8)
    split[kept] = given[number]
    result = Assignment(split, bridges, balance(counts, wanted, ratios, known, least))
    if times is not None:
        border = newest[given > 0].min(initial=np.inf)
        result.balance["train_rows_after_border"] = int(np.sum(times[kept][given[number] == 0] > border))
    return result


def bridging_rows(
    ids: pa.ChunkedArray,
    groups: pa.ChunkedArray,
    clusters: Ints,
    tied: Masks,
    earlier: Sequence[Earlier],
    named: Codes | None,
) -> dict[int, dict[str, Any]]:
    """The rows that bridge splits, and the evidence, before any is removed as a duplicate: so none is removed in favour
    of one that goes itself. Without them `assign` finds none: what is left then stays together here.

    Args:
        ids, groups, clusters: one for each row, in order of priority.
        tied: see `assign`.
        named: see `assign`; -1 for a row that goes in any case.
    """
    return _untied(ids, groups, clusters, recorded_splits(earlier, ids), tied, named)[2]


def _untied(
    ids: pa.ChunkedArray, groups: pa.ChunkedArray, clusters: Ints, recorded: Codes, tied: Masks, named: Codes | None
) -> tuple[Ints, Masks, dict[int, dict[str, Any]]]:
    """Each row's component (-1: it bridges splits), the splits that rows are fixed to, and the evidence of bridges.

    Args: see `assign`.
    """
    group = _key_codes(groups)
    component = _components(clusters, group)
    fixed = np.where(recorded >= 0, masks_of(recorded), tied)
    turn = np.zeros(len(fixed), np.int64)
    if named is not None:
        new = np.where(recorded < 0, named, np.int8(-1))
        fixed |= masks_of(new)
        turn = TURN[new]
    return component, fixed, untie(component, clusters, group, ids, fixed, recorded >= 0, turn)


def tied(clusters: pa.ChunkedArray, groups: pa.ChunkedArray) -> Ints:
    """The component of each row, a number: rows that share a cluster or a key of a group, and what these share with
    others, have the same one."""
    return _components(whole(clusters).dictionary_encode().indices.to_numpy().astype(np.int64), _key_codes(groups))


def _numbered(component: Ints, rows: Ints, ids: pa.ChunkedArray) -> tuple[Ints, Ints]:
    """The components numbered the largest first, ties by hash: each row's number, and each component's rows.

    Args:
        component: of each row, any number.
        rows: the rows' numbers among all.
        ids: of all rows.
    """
    _, number = np.unique(component, return_inverse=True)
    sizes = np.bincount(number).astype(np.int64)
    order = pc.sort_indices(ids).to_numpy().astype(np.int64)
    rank = np.empty(len(ids), np.int64)
    rank[order] = np.arange(len(ids))
    least = np.full(len(sizes), len(ids))
    np.minimum.at(least, number, rank[rows])
    dealing = np.lexsort((least, hashes_of(ids.take(pa.array(order[least]))), -sizes))
    place = np.empty(len(sizes), np.int64)
    place[dealing] = np.arange(len(sizes))
    return place[number], sizes[dealing]


def _table(split: Ints, label: Ints, labels: int) -> Ints:
    """How many rows of each split have each label, and in all: shape (3, labels + 1)."""
    counts = np.zeros((len(SPLITS), labels + 1), dtype=np.int64)
    np.add.at(counts, (split, label), 1)
    counts[:, -1] = counts[:, :-1].sum(axis=1)
    return counts


def _key_codes(groups: pa.ChunkedArray) -> Ints:
    """A number for each distinct key of the rows' groups, from 0: shape (rows, most keys of a row), filled with -1."""
    rows, keys = group_keys(groups)
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
    from curate.sets.components import join, roots

    count = int(cluster.max(initial=-1)) + 1
    parents = np.arange(count)
    clusters = np.broadcast_to(cluster[:, None], group.shape)
    key, member = np.divmod(np.unique(group[group >= 0] * count + clusters[group >= 0]), max(count, 1))
    first = np.searchsorted(key, key)
    join(parents, member, member[first])
    found: Ints = roots(parents)[cluster]
    return found
