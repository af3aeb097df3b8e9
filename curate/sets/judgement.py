"""The judgement on duplicates and conflicts: which of all rows go, in favour of which other, and what is one cluster.

Pairs are found first and clusters made of them; then it is seen which rows the split would turn away, and removed what
is a duplicate of a row that stays.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.sets.decided_pairs import Alike, Came, DecidedPairs
from curate.sets.earlier import Earlier
from curate.sets.keys import Halves, Numbers, fixed, gathered, hexadecimal, priority, run_begins
from curate.sets.rules import Rules
from curate.stage import evidence_json

BATCH = 8192
BATCH_CHARS = 64 << 20
"""Rows whose shingles one thread computes at a time, and about how many characters of them at most."""
NO_PAIRS = DecidedPairs()
NAMED = 20
"""Earlier rows that the evidence of a conflict names at most; conflicts.parquet holds all of them."""


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
    bridges: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Rows that the split is to turn away, and the evidence: none is removed in favour of them."""
    pairs: list[tuple[int, int, Came]] = field(default_factory=list)
    """Rows of which people say that they are the same, or are not, and what came of that."""


Bridging = Callable[
    [Numbers, Sequence[str], Sequence[tuple[int, int, int]], Sequence[bool]], Mapping[int, dict[str, Any]]
]


def judge(
    keys: pa.Table,
    settings: Rules,
    texts: Callable[[Numbers], pa.Array],
    earlier: Sequence[Earlier] = (),
    rank: Numbers | None = None,
    bridging: Bridging = lambda order, clusters, ties, gone: {},
    decided: DecidedPairs = NO_PAIRS,
) -> Judgement:
    """Judge all rows at once; the result does not depend on their order.

    Priority: earlier versions first, then by `rank`, then the better by the column `quality`, then the longer, then the
    lesser id; rows of one id differ only in their source, and the first one counts. A row that the split is to turn
    away removes none.

    Args:
        keys: key tables of all shards, one after the other.
        settings: what is a duplicate, and what becomes of it.
        texts: gives the compared text of rows, by their numbers in `keys`, which ascend; called by several threads.
        earlier: what was seen before, the oldest first.
        rank: of each row, the lesser first.
        bridging: given the rows in order of priority, their clusters, the ties (place in that order, number of the
            `Earlier`, earlier row), and which go as conflicts, the places of those rows that bridge splits, with the
            evidence (see `split.bridging_rows`).
        decided: rows of `keys` that are the same, or not, whatever they look like.
    """
    judging = _Judge(keys, settings, texts, earlier, rank, bridging)
    found = judging.verdict(decided)
    if pairs := [*decided.same, *decided.different]:
        seen = judging.alike(pairs)
        judging.verdict(NO_PAIRS)
        found.pairs = decided.told(seen, judging.alike(pairs))
    return found


class _Judge:
    """The steps of `judge`. Rows stand in order of priority here: *place* p is row order[p] of the key table."""

    def __init__(
        self,
        keys: pa.Table,
        settings: Rules,
        texts: Callable[[Numbers], pa.Array],
        earlier: Sequence[Earlier],
        rank: Numbers | None,
        bridging: Bridging,
    ) -> None:
        self.bridging = bridging
        self.keys, self.settings, self.texts, self.earlier = keys, settings, texts, earlier
        self.total = keys.num_rows
        self.order = priority(keys, rank)
        self.prompts = fixed(keys["prompt"], np.uint64)[self.order]
        self.answers = fixed(keys["answer"], np.uint64)[self.order]
        self.forms = keys["form"].to_numpy()[self.order]
        # Stable: each group in order of priority.
        by_content = np.lexsort((self.forms, self.answers[:, 0], self.prompts[:, 0]))
        new_prompt = run_begins(self.prompts[by_content])
        new_content = new_prompt | run_begins(self.answers[by_content]) | run_begins(self.forms[by_content, None])
        first_of = np.empty(self.total, np.int64)  # the first place with the same prompt and answer
        first_of[by_content] = by_content[np.flatnonzero(new_content)[np.cumsum(new_content) - 1]]
        self.first_of = first_of
        self.firsts = np.flatnonzero(first_of == np.arange(self.total))
        self.by_content, self.new_prompt, self.new_content = by_content, new_prompt, new_content
        self._compare()

    def verdict(self, decided: DecidedPairs) -> Judgement:
        from curate.sets.near_dedup import link

        self.decided = decided.placed(self.order)
        self.reason: list[str | None] = [None] * self.total
        self.evidence: list[dict[str, Any] | None] = [None] * self.total
        self.parents = np.arange(len(self.firsts))
        self.ties: list[tuple[int, int, int]] = []
        self._join_equal_prompts()
        self._join_decided()
        groups = self._groups()
        self._compare_with_earlier()
        link(self.side, self.buckets, self.parents, self.settings.threshold)
        self.clusters = clusters = self._clusters()
        self.conflict_of = {place: number for number, (places, _) in enumerate(groups) for place in places}
        self._conflicts(groups)
        self._find_heads(clusters)
        self._exact_duplicates_of_earlier()
        self._decided_duplicates()
        self._near_duplicates()
        self._twins()
        conflicts = [[int(self.order[place]) for place in places] for places, _ in groups]
        reason, evidence, cluster = (_unordered(each, self.order) for each in (self.reason, self.evidence, clusters))
        return Judgement(
            reason,
            [
                None if seen is None else evidence_json(seen | {"cluster": name})
                for seen, name in zip(evidence, cluster, strict=True)
            ],
            cluster,
            conflicts,
            [others for _, others in groups],
            [(int(self.order[place]), number, row) for place, number, row in self.ties_of_places],
            {int(self.order[place]): seen for place, seen in sorted(self.bridges.items())},
        )

    def alike(self, pairs: Sequence[tuple[int, int]]) -> list[Alike]:
        """How the verdict that was given last sees pairs of rows, by their numbers in `keys`."""
        place_of = np.argsort(self.order)
        found = []
        for one, other in place_of[np.array(pairs, np.int64)].tolist():
            numbers = int(self.number_of[one]), int(self.number_of[other])
            torn = one in self.conflict_of and self.conflict_of[one] == self.conflict_of.get(other)
            removed = numbers[0] == numbers[1] or self.near[max(numbers)] == min(numbers)
            reasons = self.reason[one], self.reason[other]
            found.append(Alike(self.clusters[one] == self.clusters[other], torn, removed, reasons))
        return found

    def _compare(self) -> None:
        """Find what is worth comparing, and the shingles of those rows; only the first of equal rows are compared."""
        from curate.sets.bands import band_tables, bands_for
        from curate.sets.buckets import band_buckets, have_rivals
        from curate.sets.near_earlier import have_rivals_in
        from curate.sets.prefix_filter import prefix_buckets
        from curate.sets.similarity import Side

        threshold = self.settings.threshold
        rows = self.order[self.firsts]
        signatures = gathered(self.keys["signature"], rows)
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

    def _join_equal_prompts(self) -> None:
        """Rows with one prompt are of one cluster, whatever the scope: its answer would be known to the other split."""
        from curate.sets.components import join

        firsts = self.by_content[np.flatnonzero(self.new_prompt)[np.cumsum(self.new_prompt) - 1]]
        join(self.parents, self.number_of[self.by_content], self.number_of[firsts])

    def _join_decided(self) -> None:
        from curate.sets.components import join

        pairs = np.array(self.decided.same, np.int64).reshape(-1, 2)
        join(self.parents, self.number_of[pairs[:, 0]], self.number_of[pairs[:, 1]])

    def _decided_duplicates(self) -> None:
        """Of rows that people call the same, and that have the same answer, the first stays that bridges no splits."""
        answers = self._answers(self.answers).tolist()
        same: dict[int, set[int]] = {}
        for pair in self.decided.same:
            heads = [int(self.head_of[place]) for place in pair]
            together = set().union(*(same.get(head, {head}) for head in heads))
            same |= dict.fromkeys(together, together)
        for together in {id(each): each for each in same.values()}.values():
            stays: dict[int, int] = {}
            for head in sorted(head for head in together if self.reason[head] is None):
                if (first := stays.get(answers[head])) is not None:
                    self.reason[head] = "decided_duplicate"
                    self.evidence[head] = self._named(self.order[[first]])[0]
                elif self.standing[head]:
                    stays[answers[head]] = head

    def _groups(self) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Groups of equal (or near-equal) prompts with different answers: places, and earlier rows."""
        by_content, begins = self.by_content, np.flatnonzero(self.new_prompt)
        ends = np.append(begins[1:], self.total)
        suspect = (np.add.reduceat(self.new_content, begins) if len(begins) else np.zeros(0, np.int64)) > 1
        found: dict[int, list[tuple[int, int]]] = {}
        for number, each in enumerate(self.earlier):
            keys = self.prompts[by_content[begins], 0] << np.uint64(32)
            lows = np.searchsorted(each.by_prompt, keys)
            highs = np.searchsorted(each.by_prompt, keys | np.uint64(0xFFFFFFFF), "right")
            tying = each.tying(self.keys["id"])
            for group in np.flatnonzero(lows < highs):
                prompt = self.prompts[by_content[begins[group]]]
                entries = each.by_prompt[lows[group] : highs[group]] & np.uint64(0xFFFFFFFF)
                same = [int(row) for row in entries if tying[row] and (each.prompts[row] == prompt).all()]
                found.setdefault(int(group), []).extend((number, row) for row in same)
        self.same_prompt = [(by_content[begins[group] : ends[group]].tolist(), found[group]) for group in found]
        self.ties += [
            (int(self.number_of[by_content[begins[group]]]), *other)
            for group, others in found.items()
            for other in others
        ]
        groups = [
            (
                sorted(by_content[begins[group] : ends[group]].tolist()),
                [(number, row) for number, row in found.get(group, []) if self.earlier[number].counts[row]],
            )
            for group in sorted({*np.flatnonzero(suspect).tolist(), *found})
        ]
        if self.settings.conflict_similarity is not None:
            groups = self._near_groups(groups)
        groups = self.decided.regrouped(groups, self.prompts)
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
                each.side, each.tables, each.counts, self.side, self.tables, parents, least
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
                if rival is not None and self.reason[place] is None and self.head_of[place] == place:
                    found.setdefault(rival[0], {})[place] = rival[1]
        for number, rows in found.items():
            for place, where in zip(rows, self._where(number, list(rows.values())), strict=True):
                self._duplicate(place, "exact_duplicate", where, 1.0)

    def _compare_with_earlier(self) -> None:
        """What ties rows to earlier ones, and which of those would remove them."""
        from curate.sets.components import join
        from curate.sets.near_earlier import remove_duplicates_of

        answers = self._answers(self.answers[self.firsts])
        self.removed_by: list[tuple[Numbers, npt.NDArray[np.float64]]] = []
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
                self.settings.threshold,
            )
            self.removed_by.append((by, similarity))
            self.ties += [(mine, number, row) for mine, row in pairs.tolist()]
        tied = np.array([mine for mine, _, _ in self.ties], np.int64)
        to = np.array([self.earlier[number].clusters[row] for _, number, row in self.ties], np.uint64)
        _, first, cluster = np.unique(to, return_index=True, return_inverse=True)
        join(self.parents, tied, tied[first[cluster]])

    def _find_heads(self, clusters: list[str]) -> None:
        """Which of equal rows stands for all: the first that bridges no splits, or the first where all do."""
        tied: dict[int, list[tuple[int, int]]] = {}
        for mine, number, row in self.ties:
            tied.setdefault(mine, []).append((number, row))
        places = np.flatnonzero(np.isin(self.number_of, list(tied)))
        self.ties_of_places = [
            (place, *other) for place in places.tolist() for other in tied[int(self.number_of[place])]
        ]
        gone = [reason is not None for reason in self.reason]
        self.bridges = self.bridging(self.order, clusters, self.ties_of_places, gone)
        self.standing = np.ones(self.total, np.bool_)
        self.standing[[*self.bridges]] = False
        self.heads = self.firsts.copy()
        standing = np.flatnonzero(self.standing)[::-1]
        self.heads[self.number_of[standing]] = standing  # of equal ones the first is written last
        self.head_of = self.heads[self.number_of]

    def _near_duplicates(self) -> None:
        from curate.sets.near_dedup import remove_near_duplicates

        there = np.array([self.reason[place] is None for place in self.heads.tolist()], np.bool_)
        for number, (by, similarity) in enumerate(self.removed_by):
            removed = np.flatnonzero(there & (by >= 0))
            for mine, where in zip(removed.tolist(), self._where(number, by[removed]), strict=True):
                self._duplicate(int(self.heads[mine]), "near_duplicate", where, similarity[mine])
            there &= by < 0
        answers = self._answers(self.answers[self.firsts])
        removing = self.standing[self.heads]
        by, similarity = remove_near_duplicates(
            *(self.side, self.buckets, answers, there, removing, self.settings.threshold),
            self.decided.apart(self.number_of),
        )
        self.near = by
        removed = np.flatnonzero(by >= 0)
        kept = self._named(self.order[self.heads[by[removed]]])
        for mine, where, true in zip(self.heads[removed].tolist(), kept, similarity[removed].tolist(), strict=True):
            self._duplicate(mine, "near_duplicate", where, true)

    def _named(self, rows: Numbers) -> list[dict[str, Any]]:
        """How evidence names rows of the drop."""
        found = self.keys.select(["id", "file", "row"]).take(pa.array(rows)).to_pylist()
        return [{"kept": row["id"], "version": None, "file": row["file"], "row": row["row"]} for row in found]

    def _answers(self, answers: Halves) -> npt.NDArray[np.uint64]:
        """What must be equal for a row to remove another."""
        return np.ascontiguousarray(answers[:, 0]) if self.settings.same_target else np.zeros(len(answers), np.uint64)

    def _twins(self) -> None:
        """Rows equal to their head in prompt and answer: its duplicates, or gone for the same reason as it."""
        others = np.flatnonzero(self.head_of != np.arange(self.total))
        heads = self.head_of[others]
        for place, head, where in zip(others.tolist(), heads.tolist(), self._named(self.order[heads]), strict=True):
            if self.reason[place] is not None:
                continue
            if self.reason[head] is not None:
                self.reason[place], self.evidence[place] = self.reason[head], self.evidence[head]
            elif self.standing[head]:
                self._duplicate(place, "exact_duplicate", where, 1.0)

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


def _pair(values: npt.NDArray[np.uint64]) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def _unordered(values: list[Any], order: Numbers) -> list[Any]:
    """Values by place as values by row."""
    out = [None] * len(values)
    for row, value in zip(order.tolist(), values, strict=True):
        out[row] = value
    return out
