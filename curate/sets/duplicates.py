"""Duplicates and conflicts, exact and near, judged together over the whole drop and all that was seen before it.

Row by row first (`key_table`, shard by shard): what a row is compared by. Then all rows at once (`judge`): which are
removed and why, and which cluster each belongs to. Locality-sensitive hashing only proposes pairs; a row is removed
only if a kept row of higher priority has a true Jaccard similarity of at least the threshold and (by default) the
same answer. Clusters hold over all such pairs, whatever their answers, for the split.

Reasons: `conflict` (equal prompts, different answers), `exact_duplicate`, `near_duplicate`. The evidence names the kept
row (`kept`, `file`, `row`, and `version` where an earlier version holds it), the similarity, and the cluster.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from curate.sets.conflicts import conflict_table
from curate.sets.earlier import Earlier
from curate.sets.keys import Compared, Flags, Halves, Numbers, compared_text, fixed, hexadecimal, key_table, priority
from curate.sets.stage import LooksBack, Seen, SetStage, Verdict
from curate.stage import Context, evidence_json

BATCH = 8192
BATCH_CHARS = 64 << 20
"""Rows whose shingles one thread computes at a time, and about how many characters of them at most."""
NAMED = 20
"""Earlier rows that the evidence of a conflict names at most; conflicts.parquet holds all of them."""


class Duplicates(Compared, SetStage):
    """Sets the column `cluster`."""

    name: ClassVar[str] = "duplicates"
    version: ClassVar[int] = 6
    reasons: ClassVar[dict[str, str]] = {
        "exact_duplicate": "a kept row has the same prompt, turn by turn, and the same answer",
        "near_duplicate": "a kept row is as similar as `threshold` and has the same answer",
        "conflict": "equal prompts (or, with `conflict_similarity`, similar ones) have different answers",
    }
    looks_back: ClassVar[LooksBack] = "at rows"

    same_target: bool = Field(True, description="Remove a near-duplicate only if its answer is the same.")
    conflicts: Literal["quarantine", "majority", "keep_and_flag"] = Field(
        "quarantine", description="What becomes of rows with equal prompts and different answers."
    )
    conflict_similarity: float | None = Field(
        None,
        le=1,
        description="Also prompts of at least this true Jaccard similarity conflict; without it, equal ones only.",
    )

    @model_validator(mode="after")
    def _near_conflicts_are_compared(self) -> "Duplicates":
        if self.conflict_similarity is not None and self.scope != "prompt":
            raise ValueError("conflict_similarity compares prompts, so scope must be prompt")
        if self.conflict_similarity is not None and self.conflict_similarity < self.threshold:
            raise ValueError(f"conflict_similarity must be at least the threshold, {self.threshold:g}")
        return self

    def keys_of(self, table: pa.Table) -> pa.Table:
        return key_table(table, self)

    def keys_key(self) -> Any:
        return [*self.text_key(), self.shingle_words]

    def judge(self, keys: pa.Table, seen: Seen) -> Verdict:
        rows = seen.rows.select(["turns", "target"])
        earlier = seen.past.rows
        found = judge(keys, self, lambda numbers: compared_text(rows.take(numbers), self), earlier)
        # By the earlier cluster, not the row: segments may have been merged when this is read from the cache.
        ties = [(row, int(earlier[number].clusters[other])) for row, number, other in found.ties]
        conflicts = conflict_table(
            found.conflicts, found.reason, seen.rows, found.earlier_conflicts, earlier, seen.past.published
        )
        counts = {"conflicts": pc.count_distinct(conflicts["conflict"]).as_py(), "rows_in_conflict": conflicts.num_rows}
        return Verdict(
            pa.table({name: pa.array(getattr(found, name), pa.string()) for name in ("reason", "evidence", "cluster")}),
            beside={
                "ids": keys.select(["id"]),
                "ties": pa.table(
                    {
                        "row": pa.array([row for row, _ in ties], pa.int64()),
                        "cluster": pa.array([tag for _, tag in ties], pa.uint64()),
                    }
                ),
            },
            published={"conflicts": conflicts},
            manifest={"counts": counts},
        )


@dataclass
class Judgement:
    """The judgement over all rows; arrays are in the order of the key table."""

    reason: list[str | None]
    """Why a row is removed, None where it is kept."""
    evidence: list[str | None]
    """What was seen, as JSON: the kept row and the similarity, or the other answers."""
    cluster: list[str]
    """Name of a row's cluster: that of the earlier one it belongs to, or else the least id in it."""
    conflicts: list[list[int]]
    """Rows of each group of equal prompts with different answers, in order of priority."""
    earlier_conflicts: list[list[tuple[int, int]]]
    """For each of these groups the earlier rows in it, as (number of the `Earlier`, row)."""
    ties: list[tuple[int, int, int]]
    """(row, number of the `Earlier`, earlier row): which rows are near-duplicates of earlier ones. One for each row and
    earlier cluster."""


def compared_by(context: Context) -> Compared:
    """Which text of a row the recipe has compared: stages that look at the same text say so once, in `duplicates`."""
    (duplicates,) = (stage for stage in context.before if isinstance(stage, Duplicates))
    return Compared(**duplicates.model_dump(include=set(Compared.model_fields)))


def judge(
    keys: pa.Table, settings: Duplicates, texts: Callable[[Numbers], pa.Array], earlier: Sequence[Earlier] = ()
) -> Judgement:
    """Judge all rows at once; the result does not depend on their order.

    Priority: earlier versions first, then the better by the column `quality`, then the longer, then the lesser id; rows
    of one id differ only in their source, and the first one counts.

    Args:
        keys: key tables of all shards, one after the other.
        settings: what is a duplicate, and what becomes of it.
        texts: gives the compared text of rows, by their numbers in `keys`, which ascend; called by several threads.
        earlier: what was seen before, the oldest first.
    """
    return _Judge(keys, settings, texts, earlier).verdict()


class _Judge:
    """The steps of `judge`. Rows stand in order of priority here: *place* p is row order[p] of the key table."""

    def __init__(
        self,
        keys: pa.Table,
        settings: Duplicates,
        texts: Callable[[Numbers], pa.Array],
        earlier: Sequence[Earlier],
    ) -> None:
        self.keys, self.settings, self.texts, self.earlier = keys, settings, texts, earlier
        self.total = keys.num_rows
        self.order = priority(keys)
        self.prompts = fixed(keys["prompt"], np.uint64)[self.order]
        self.answers = fixed(keys["answer"], np.uint64)[self.order]
        self.forms = keys["form"].to_numpy()[self.order]
        self.reason: list[str | None] = [None] * self.total
        self.evidence: list[dict[str, Any] | None] = [None] * self.total

    def verdict(self) -> Judgement:
        # Stable: each group in order of priority.
        by_content = np.lexsort((self.forms, self.answers[:, 0], self.prompts[:, 0]))
        new_prompt = _begins(self.prompts[by_content])
        new_content = new_prompt | _begins(self.answers[by_content]) | _begins(self.forms[by_content, None])
        first_of = np.empty(self.total, np.int64)  # the first place with the same prompt and answer
        first_of[by_content] = by_content[np.flatnonzero(new_content)[np.cumsum(new_content) - 1]]
        self.first_of = first_of
        self.firsts = np.flatnonzero(first_of == np.arange(self.total))
        self._compare()
        self._join_equal_prompts(by_content, new_prompt)
        groups = self._groups(by_content, new_prompt, new_content)
        self._conflicts(groups)
        self._exact_duplicates_of_earlier()
        self._near_duplicates()
        self._twins()
        conflicts = [[int(self.order[place]) for place in places] for places, _ in groups]
        reason, evidence, cluster = (
            _unordered(each, self.order) for each in (self.reason, self.evidence, self._clusters())
        )
        return Judgement(
            reason,
            [
                None if seen is None else evidence_json(seen | {"cluster": name})
                for seen, name in zip(evidence, cluster, strict=True)
            ],
            cluster,
            conflicts,
            [others for _, others in groups],
            [(int(self.order[self.firsts[each]]), number, row) for each, number, row in self.ties],
        )

    def _compare(self) -> None:
        """Find what is worth comparing, and the shingles of those rows; only the first of equal rows are compared."""
        from curate.sets.bands import band_tables, bands_for
        from curate.sets.buckets import band_buckets, have_rivals
        from curate.sets.near_earlier import have_rivals_in
        from curate.sets.prefix_filter import prefix_buckets
        from curate.sets.similarity import Side

        threshold = self.settings.threshold
        rows = self.order[self.firsts]
        signatures = _gathered(self.keys["signature"], rows)
        tables = band_tables(signatures, bands_for(threshold))
        self.buckets, crowded = band_buckets(tables)
        needed = crowded | have_rivals(signatures, self.buckets, threshold)
        for each in self.earlier:
            needed |= have_rivals_in(tables, each.tables, each.live)
        self.tables = tables if self.earlier else tables[:0].copy()  # large, and only to find earlier rows by
        del tables
        begins, ends = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
        numbers = np.flatnonzero(needed)
        begins[numbers], ends[numbers], values = self._shingles(rows[numbers])
        self.side = Side(signatures, begins, ends, values)
        if crowded.any():
            self.buckets += prefix_buckets(self.side, crowded, threshold)
        self.parents = np.arange(len(rows))
        self.ties: list[tuple[int, int, int]] = []
        self.number_of = np.empty(self.total, np.int64)  # of each place's first among the firsts
        self.number_of[self.firsts] = np.arange(len(self.firsts))
        self.number_of = self.number_of[self.first_of]

    def _shingles(self, rows: Numbers) -> tuple[Numbers, Numbers, npt.NDArray[np.uint64]]:
        """Where each row's shingles begin and end, and the shingles."""
        from curate.text.words import shingle_sets

        order = np.argsort(rows)

        sizes = self.keys["chars"].to_numpy()[rows[order]] + BATCH_CHARS // BATCH
        batches = np.split(rows[order], np.flatnonzero(np.diff(np.cumsum(sizes, dtype=np.int64) // BATCH_CHARS)) + 1)

        def of_batch(batch: Numbers) -> tuple[Numbers, npt.NDArray[np.uint64]]:
            return shingle_sets(self.texts(batch), self.settings.shingle_words)

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            parts = list(threads.map(of_batch, batches if len(rows) else ()))
        lengths = np.concatenate([np.zeros(0, np.int64), *(np.diff(offsets) for offsets, _ in parts)])
        ends = np.empty(len(rows), np.int64)
        begins = np.empty(len(rows), np.int64)
        ends[order] = np.cumsum(lengths)
        begins[order] = ends[order] - lengths
        return begins, ends, np.concatenate([np.zeros(0, np.uint64), *(values for _, values in parts)])

    def _join_equal_prompts(self, by_content: Numbers, new_prompt: Flags) -> None:
        """Rows with one prompt are of one cluster, whatever the scope: its answer would be known to the other split."""
        from curate.sets.components import join

        firsts = by_content[np.flatnonzero(new_prompt)[np.cumsum(new_prompt) - 1]]
        join(self.parents, self.number_of[by_content], self.number_of[firsts])

    def _groups(
        self, by_content: Numbers, new_prompt: Flags, new_content: Flags
    ) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Groups of equal (or near-equal) prompts with different answers: places, and earlier rows."""
        begins = np.flatnonzero(new_prompt)
        ends = np.append(begins[1:], self.total)
        answers = np.add.reduceat(new_content, begins) if len(begins) else np.zeros(0, np.int64)
        suspect = answers > 1
        found: dict[int, list[tuple[int, int]]] = {}
        for number, each in enumerate(self.earlier):
            keys = self.prompts[by_content[begins], 0] << np.uint64(32)
            lows = np.searchsorted(each.by_prompt, keys)
            highs = np.searchsorted(each.by_prompt, keys | np.uint64(0xFFFFFFFF), "right")
            for group in np.flatnonzero(lows < highs):
                prompt = self.prompts[by_content[begins[group]]]
                entries = each.by_prompt[lows[group] : highs[group]] & np.uint64(0xFFFFFFFF)
                same = [int(row) for row in entries if each.live[row] and (each.prompts[row] == prompt).all()]
                found.setdefault(int(group), []).extend((number, row) for row in same)
        self.same_prompt = [(by_content[begins[group] : ends[group]].tolist(), found[group]) for group in found]
        self.ties += [
            (int(self.number_of[by_content[begins[group]]]), *other)
            for group, others in found.items()
            for other in others
        ]
        groups = [
            (sorted(by_content[begins[group] : ends[group]].tolist()), found.get(group, []))
            for group in sorted({*np.flatnonzero(suspect).tolist(), *found})
        ]
        if self.settings.conflict_similarity is not None:
            groups = self._near_groups(groups)
        groups = [group for group in groups if len(self._votes(*group)) > 1]
        return sorted(groups, key=lambda group: group[0][0])

    def _near_groups(
        self, equal: list[tuple[list[int], list[tuple[int, int]]]]
    ) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Groups over all pairs of prompts at the conflict similarity; those of equal prompts are parts of them."""
        from curate.sets.components import join, roots
        from curate.sets.near_dedup import link
        from curate.sets.near_earlier import link_earlier

        least = self.settings.conflict_similarity
        assert least is not None  # noqa: S101  the caller has asked
        parents = np.arange(len(self.firsts))
        link(self.side, self.buckets, parents, least)
        numbers = self.number_of
        for places, _ in equal:
            join(parents, numbers[places[1:]], numbers[[places[0]] * (len(places) - 1)])
        similar = [
            (mine, (number, row))
            for number, each in enumerate(self.earlier)
            for mine, row in link_earlier(
                each.side, each.tables, each.live, self.side, self.tables, parents, least
            ).tolist()
        ]
        root_of = roots(parents)[numbers]
        members: dict[int, list[int]] = {}
        for place, root in enumerate(root_of.tolist()):
            members.setdefault(root, []).append(place)
        earlier: dict[int, set[tuple[int, int]]] = {}
        for mine, other in similar:
            earlier.setdefault(int(root_of[self.firsts[mine]]), set()).add(other)
        for places, seen_before in equal:
            earlier.setdefault(int(root_of[places[0]]), set()).update(seen_before)
        return [
            (places, sorted(earlier.get(root, set())))
            for root, places in members.items()
            if len(places) > 1 or root in earlier
        ]

    def _votes(self, places: list[int], others: list[tuple[int, int]]) -> Counter[tuple[int, int]]:
        """How many rows of a group give each answer, in order of first appearance: earlier rows first."""
        votes: Counter[tuple[int, int]] = Counter()
        for number, row in others:
            each = self.earlier[number]
            votes[_pair(each.answers[row])] += int(each.votes[row])
        for place in places:
            votes[_pair(self.answers[place])] += 1
        return votes

    def _conflicts(self, groups: list[tuple[list[int], list[tuple[int, int]]]]) -> None:
        """Remove the losers of each group, all at once; what an earlier version published stands."""
        for places, others in groups:
            votes = self._votes(places, others)
            winner = self._winner(votes, others)
            seen: dict[str, Any] = {"rows": sum(votes.values()), "answers": len(votes)}
            if others:
                seen["earlier"] = [self._where(number, [row])[0] for number, row in others[:NAMED]]
            for place in places:
                if self.settings.conflicts != "keep_and_flag" and _pair(self.answers[place]) != winner:
                    self.reason[place], self.evidence[place] = "conflict", seen

    def _winner(self, votes: Counter[tuple[int, int]], others: list[tuple[int, int]]) -> tuple[int, int] | None:
        """The answer that is kept, if there is one; where no answer has a majority, none is."""
        if self.settings.conflicts == "quarantine":
            return None
        standing = {
            _pair(self.earlier[number].answers[row]) for number, row in others if self.earlier[number].kept[row]
        }
        if standing:
            return standing.pop() if len(standing) == 1 else None
        (first, most), (_, next_most) = votes.most_common(2)
        return first if most > next_most else None

    def _where(self, number: int, rows: Sequence[int] | Numbers) -> list[dict[str, Any]]:
        """How evidence names earlier rows."""
        named = self.earlier[number].rows.select(["id", "version", "file", "row"]).take(pa.array(rows, pa.int64()))
        return named.rename_columns(["kept", "version", "file", "row"]).to_pylist()  # type: ignore[no-any-return]

    def _duplicate(self, place: int, reason: str, where: dict[str, Any], similarity: float) -> None:
        self.reason[place], self.evidence[place] = reason, where | {"similarity": round(similarity, 6)}

    def _exact_duplicates_of_earlier(self) -> None:
        found: dict[int, dict[int, int]] = {}  # by the number of the `Earlier`: place -> the row that removes it
        for places, others in self.same_prompt:
            kept: dict[tuple[int, tuple[int, int]], tuple[int, int]] = {}  # the first kept row of each form and answer
            for number, row in others:
                each = self.earlier[number]
                if each.kept[row]:
                    kept.setdefault((int(each.forms[row]), _pair(each.answers[row])), (number, row))
            for place in places:
                rival = kept.get((int(self.forms[place]), _pair(self.answers[place])))
                if rival is not None and self.reason[place] is None and self.first_of[place] == place:
                    found.setdefault(rival[0], {})[place] = rival[1]
        for number, rows in found.items():
            for place, where in zip(rows, self._where(number, list(rows.values())), strict=True):
                self._duplicate(place, "exact_duplicate", where, 1.0)

    def _near_duplicates(self) -> None:
        from curate.sets.components import join
        from curate.sets.near_dedup import link, remove_near_duplicates
        from curate.sets.near_earlier import remove_duplicates_of

        threshold = self.settings.threshold
        there = np.array([self.reason[place] is None for place in self.firsts.tolist()], np.bool_)
        answers = self._answers(self.answers[self.firsts])
        for number, each in enumerate(self.earlier):
            by, similarity, pairs = remove_duplicates_of(
                each.side,
                each.tables,
                each.kept,
                each.live,
                self._answers(each.answers),
                each.clusters,
                self.side,
                self.tables,
                answers,
                threshold,
            )
            removed = np.flatnonzero(there & (by >= 0))
            for mine, where in zip(removed.tolist(), self._where(number, by[removed]), strict=True):
                self._duplicate(int(self.firsts[mine]), "near_duplicate", where, similarity[mine])
            there &= by < 0
            self.ties += [(mine, number, row) for mine, row in pairs.tolist()]
        tied = np.array([mine for mine, _, _ in self.ties], np.int64)
        to = np.array([self.earlier[number].clusters[row] for _, number, row in self.ties], np.uint64)
        _, first, cluster = np.unique(to, return_index=True, return_inverse=True)
        join(self.parents, tied, tied[first[cluster]])
        by, similarity = remove_near_duplicates(self.side, self.buckets, answers, there, threshold)
        removed = np.flatnonzero(by >= 0)
        kept = self.keys.select(["id", "file", "row"]).take(pa.array(self.order[self.firsts[by[removed]]]))
        for mine, where, true in zip(
            self.firsts[removed].tolist(), kept.to_pylist(), similarity[removed].tolist(), strict=True
        ):
            named = {"kept": where["id"], "version": None, "file": where["file"], "row": where["row"]}
            self._duplicate(mine, "near_duplicate", named, true)
        join(self.parents, removed, by[removed])
        link(self.side, self.buckets, self.parents, threshold)

    def _answers(self, answers: Halves) -> npt.NDArray[np.uint64]:
        """What must be equal for a row to remove another."""
        return np.ascontiguousarray(answers[:, 0]) if self.settings.same_target else np.zeros(len(answers), np.uint64)

    def _twins(self) -> None:
        """Rows equal to an earlier one in prompt and answer: its duplicates, or gone for the same reason as it."""
        columns = {name: self.keys[name] for name in ("id", "file", "row")}
        for place in np.flatnonzero(self.first_of != np.arange(self.total)).tolist():
            first = int(self.first_of[place])
            if self.reason[place] is not None:
                continue
            if self.reason[first] is None:
                row = int(self.order[first])
                id_, file, number = (columns[name][row].as_py() for name in ("id", "file", "row"))
                where = {"kept": id_, "version": None, "file": file, "row": number}
                self._duplicate(place, "exact_duplicate", where, 1.0)
            else:
                self.reason[place], self.evidence[place] = self.reason[first], self.evidence[first]

    def _clusters(self) -> list[str]:
        """The name of each place's cluster."""
        from curate.sets.components import roots

        root_of: Numbers = roots(self.parents)
        root_of_place = root_of[self.number_of]
        ids = hexadecimal(self.keys["id"], 32)[self.order]
        by_id = np.lexsort((ids[:, 1], ids[:, 0]))
        first_by_id = np.full(len(root_of), self.total)  # place among `by_id` of each root's least id
        np.minimum.at(first_by_id, root_of_place[by_id], np.arange(self.total))
        heads = np.unique(root_of_place)
        names = self.keys["id"].take(pa.array(self.order[by_id[first_by_id[heads]]])).to_pylist()
        least = dict(zip(heads.tolist(), names, strict=True))
        earlier: dict[int, str] = {}
        for mine, number, row in self.ties:
            root = int(root_of[mine])
            name = self.earlier[number].rows["cluster"][row].as_py()
            earlier[root] = min(earlier.get(root, name), name)
        least |= earlier
        return [least[root] for root in root_of_place.tolist()]


def _gathered(column: pa.ChunkedArray, rows: Numbers) -> npt.NDArray[np.uint32]:
    """Rows of a column of signatures, chunk by chunk, so that the column is never there twice: shape (rows, 128)."""
    from curate.text.kernel import in_threads
    from curate.text.minhash import copy_rows

    out = np.empty((len(rows), column.type.byte_width // 4), np.uint32)
    order = np.argsort(rows)
    begins = np.cumsum([0, *(len(chunk) for chunk in column.chunks)])
    cuts = np.searchsorted(rows[order], begins)

    def copy(number: int) -> None:
        places = order[cuts[number] : cuts[number + 1]]
        copy_rows(fixed(column.chunk(number), np.uint32), rows[places] - begins[number], out, places)

    in_threads(copy, range(column.num_chunks))
    return out


def _begins(values: Halves) -> Flags:
    """Where a run of equal hashes begins: shape (rows,)."""
    begins = np.ones(len(values), np.bool_)
    begins[1:] = (values[1:] != values[:-1]).any(axis=1)
    return begins


def _pair(values: npt.NDArray[np.uint64]) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def _unordered(values: list[Any], order: Numbers) -> list[Any]:
    """Values by place as values by row."""
    out = [None] * len(values)
    for row, value in zip(order.tolist(), values, strict=True):
        out[row] = value
    return out
