"""The judgement on duplicates and conflicts: which of all rows go, in favour of which other, and what is one cluster.

Pairs are found first and clusters made of them; then it is seen which rows the split would turn away, and removed what
is a duplicate of a row that stays.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.sets.beside_earlier import Pairs
from curate.sets.decided_pairs import Alike, Came, DecidedPairs
from curate.sets.earlier import Earlier
from curate.sets.judged_columns import (
    CONFLICT,
    DECIDED,
    EXACT,
    KEPT,
    NEAR,
    REASONS,
    ClusterNames,
    Found,
    Named,
    Teller,
    where_earlier,
)
from curate.sets.keys import Flags, Halves, Numbers, fixed, priority, run_begins
from curate.sets.rules import Rules
from curate.sets.signed import Part

NO_PAIRS = DecidedPairs()
NAMED = 20
"""Earlier rows that the evidence of a conflict names at most; conflicts.parquet holds all of them."""


@dataclass
class Judgement:
    """The judgement over all rows; columns are in the order of the key table."""

    reason: pa.ChunkedArray
    """Why a row is removed, null where it is kept."""
    evidence: pa.ChunkedArray
    """What was seen, as JSON: the kept row and the similarity, or the other answers."""
    cluster: pa.ChunkedArray
    """Name of a row's cluster: that of the earlier one it belongs to, or else the least id in it."""
    conflicts: list[Numbers]
    """Rows of each group of equal prompts with different answers, in order of priority."""
    earlier_conflicts: list[list[tuple[int, int]]]
    """For each of these groups the earlier rows in it, as (number of the `Earlier`, row)."""
    ties: Pairs
    """Which rows are near-duplicates of earlier ones. One for each row and earlier cluster."""
    bridges: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Rows that the split is to turn away, and the evidence: none is removed in favour of them."""
    pairs: list[tuple[int, int, Came]] = field(default_factory=list)
    """Rows of which people say that they are the same, or are not, and what came of that."""


class Met(NamedTuple):
    """Earlier rows that have a prompt of the drop, group by group of equal prompts, in each the oldest first."""

    groups: Numbers
    numbers: Numbers
    """Of the `Earlier`."""
    rows: Numbers
    """There."""

    def only(self, some: Flags) -> "Met":
        return Met(*(each[some] for each in self))


Group = tuple[Numbers, list[tuple[int, int]]]
"""Places of rows that ask the same, ascending, and earlier rows that do, as (number of the `Earlier`, row)."""
Bridging = Callable[[Numbers, Numbers, Pairs, Flags], Mapping[int, dict[str, Any]]]


def judge(
    keys: pa.Table,
    settings: Rules,
    parts: Sequence[Part],
    earlier: Sequence[Earlier] = (),
    rank: Numbers | None = None,
    bridging: Bridging = lambda order, clusters, ties, gone: {},
    decided: DecidedPairs = NO_PAIRS,
    folder: Path | None = None,
) -> Judgement:
    """Judge all rows at once; the result does not depend on their order.

    Priority: earlier versions first, then by `rank`, then the better by the column `quality`, then the longer, then the
    lesser id; rows of one id differ only in their source, and the first one counts. A row that the split is to turn
    away removes none.

    Args:
        keys: key tables of all shards, one after the other.
        settings: what is a duplicate, and what becomes of it.
        parts: what the rows are compared by, in the order of `keys`.
        earlier: what was seen before, the oldest first.
        rank: of each row, the lesser first.
        bridging: given the rows in order of priority, their clusters as numbers, the ties (by places in that order),
            and which go as conflicts, the places of those rows that bridge splits, with the evidence (see
            `split.bridging_rows`).
        decided: rows of `keys` that are the same, or not, whatever they look like.
        folder: on the disk that is to hold what memory is not to, in files without a name; by default the system's.
    """
    judging = _Judge(keys, settings, parts, earlier, rank, bridging, folder)
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
        parts: Sequence[Part],
        earlier: Sequence[Earlier],
        rank: Numbers | None,
        bridging: Bridging,
        folder: Path | None,
    ) -> None:
        from curate.sets.batches import Batches
        from curate.sets.beside_earlier import compared

        self.bridging, self.parts = bridging, parts
        self.settings, self.earlier = settings, earlier
        self.total = keys.num_rows
        self.named, self.ids = Named(keys), keys["id"]
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
        self.firsts = np.flatnonzero(first_of == np.arange(self.total))
        self.by_content, self.new_prompt, self.new_content = by_content, new_prompt, new_content
        self.number_of = np.empty(self.total, np.int64)  # of each place's first among the firsts
        self.number_of[self.firsts] = np.arange(len(self.firsts))
        self.number_of = self.number_of[first_of]
        # Only the first of equal rows are compared: of each row its number there.
        self.numbers = np.full(self.total, -1)
        self.numbers[self.order[self.firsts]] = np.arange(len(self.firsts))
        self.batches = Batches(parts, self.numbers, settings.threshold, folder)
        answers = self._answers(self.answers[self.firsts])
        self.removed_by, self.near_ties = compared(
            parts, self.numbers, earlier, answers, lambda each: self._answers(each.answers), settings.threshold
        )

    def verdict(self, decided: DecidedPairs) -> Judgement:
        from curate.sets.components import roots

        self.decided = decided.placed(self.order)
        self.found = Found(self.total)
        self.parents = np.arange(len(self.firsts))
        self._join_equal_prompts()
        self._join_decided()
        groups = self._groups()
        self._join_ties()
        self.batches.link(self.parents, self.settings.threshold)
        self.clusters = roots(self.parents)[self.number_of]
        self.conflict_of = np.full(self.total, -1, np.int32)
        for number, (places, _) in enumerate(groups):
            self.conflict_of[places] = number
        seen = self._conflicts(groups)
        self._find_heads()
        self._exact_duplicates_of_earlier()
        self._decided_duplicates()
        self._near_duplicates()
        self._twins()
        ties = Pairs(roots(self.parents)[self.ties.mine], self.ties.numbers, self.ties.others)
        names = ClusterNames(self.named, self.order, self.clusters, ties, self.earlier)
        return Judgement(
            *Teller(self.named, self.order, self.earlier, seen, names).columns(self.found),
            [self.order[places] for places, _ in groups],
            [others for _, others in groups],
            Pairs(self.order[self.ties_of_places.mine], self.ties_of_places.numbers, self.ties_of_places.others),
            {int(self.order[place]): seen for place, seen in sorted(self.bridges.items())},
        )

    def alike(self, pairs: Sequence[tuple[int, int]]) -> list[Alike]:
        """How the verdict that was given last sees pairs of rows, by their numbers in `keys`."""
        place_of = np.argsort(self.order)
        found = []
        for one, other in place_of[np.array(pairs, np.int64)].tolist():
            numbers = int(self.number_of[one]), int(self.number_of[other])
            torn = bool(self.conflict_of[one] >= 0 and self.conflict_of[one] == self.conflict_of[other])
            removed = numbers[0] == numbers[1] or self.near[max(numbers)] == min(numbers)
            reasons = REASONS[self.found.reason[one]], REASONS[self.found.reason[other]]
            found.append(Alike(bool(self.clusters[one] == self.clusters[other]), torn, bool(removed), reasons))
        return found

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
        answers = self._answers(self.answers)
        same: dict[int, set[int]] = {}
        for pair in self.decided.same:
            heads = [int(self.head_of[place]) for place in pair]
            together = set().union(*(same.get(head, {head}) for head in heads))
            same |= dict.fromkeys(together, together)
        for together in {id(each): each for each in same.values()}.values():
            stays: dict[int, int] = {}
            for head in sorted(head for head in together if self.found.reason[head] == KEPT):
                if (first := stays.get(int(answers[head]))) is not None:
                    self.found.duplicates(head, DECIDED, first, np.nan)
                elif self.standing[head]:
                    stays[int(answers[head])] = head

    def _groups(self) -> list[Group]:
        """Groups of equal (or near-equal) prompts with different answers: places, and earlier rows."""
        by_content, begins = self.by_content, np.flatnonzero(self.new_prompt)
        ends = np.append(begins[1:], self.total)
        first = by_content[begins]  # of each group of equal prompts
        self.met = self._met(first)
        tied = Pairs(self.number_of[first[self.met.groups]], self.met.numbers, self.met.rows)
        self.ties = Pairs.joined([tied, self.near_ties])
        met = self.met
        torn = (np.add.reduceat(self.new_content, begins) if len(begins) else np.zeros(0, np.int64)) > 1
        if self.earlier:
            met = met.only(self._said("counts"))
            equal = self.settings.conflict_similarity is None and not (self.decided.same or self.decided.different)
            other = (self._said("answers", met) != self.answers[first[met.groups]]).any(axis=1)
            torn[met.groups[other | (not equal)]] = True  # else all rows of the group give one answer
        chosen = np.flatnonzero(torn)
        low, high = (np.searchsorted(met.groups, chosen, side) for side in ("left", "right"))
        groups = [
            (
                np.sort(by_content[begins[group] : ends[group]]),
                list(zip(met.numbers[since:until].tolist(), met.rows[since:until].tolist(), strict=True)),
            )
            for group, since, until in zip(chosen.tolist(), low.tolist(), high.tolist(), strict=True)
        ]
        if self.settings.conflict_similarity is not None:
            groups = self._near_groups(groups)
        if self.decided.same or self.decided.different:
            seen = [(places.tolist(), others) for places, others in groups]
            groups = [(np.array(places), others) for places, others in self.decided.regrouped(seen, self.prompts)]
        groups = [group for group in groups if len(self._votes(*group)) > 1]
        return sorted(groups, key=lambda group: group[0][0])

    def _met(self, first: Numbers) -> "Met":
        """The earlier rows that have a prompt of the drop.

        Args:
            first: a place of each group of equal prompts.
        """
        keys = self.prompts[first, 0] << np.uint64(32)
        found = [np.zeros((0, 3), np.int64)]
        for number, each in enumerate(self.earlier):
            low = np.searchsorted(each.by_prompt, keys)
            count = np.searchsorted(each.by_prompt, keys | np.uint64(0xFFFFFFFF), "right") - low
            groups = np.repeat(np.arange(len(first)), count)
            at = np.arange(count.sum()) + np.repeat(low - np.cumsum(count) + count, count)
            rows = (each.by_prompt[at] & np.uint64(0xFFFFFFFF)).astype(np.int64)
            same = each.tying(self.ids)[rows] & (each.prompts[rows] == self.prompts[first[groups]]).all(axis=1)
            found.append(np.stack([groups[same], np.full(same.sum(), number), rows[same]], axis=1))
        met = np.concatenate(found)
        return Met(*met[np.argsort(met[:, 0], kind="stable")].T)

    def _said(self, name: str, met: "Met | None" = None) -> npt.NDArray[Any]:
        """A column of earlier rows, see `Earlier`: of those that are met, by default of all."""
        met = self.met if met is None else met
        columns = [getattr(each, name) for each in self.earlier]
        found = np.zeros((len(met.rows), *columns[0].shape[1:]), columns[0].dtype)
        for number, column in enumerate(columns):
            here = met.numbers == number
            found[here] = column[met.rows[here]]
        return found

    def _near_groups(self, equal: list[Group]) -> list[Group]:
        """Groups over all pairs of prompts at the conflict similarity; those of equal prompts are parts of them."""
        from curate.sets.beside_earlier import similar
        from curate.sets.components import join, roots

        least = self.settings.conflict_similarity
        assert least is not None  # noqa: S101  the caller has asked
        parents = np.arange(len(self.firsts))
        self.batches.link(parents, least)
        numbers = self.number_of
        for places, _ in equal:
            join(parents, numbers[places[1:]], numbers[np.full(len(places) - 1, places[0])])
        pairs = similar(self.parts, self.numbers, self.earlier, least, self.settings.threshold)
        rows = pairs.numbers << 32 | pairs.others
        _, first, other = np.unique(rows, return_index=True, return_inverse=True)
        join(parents, pairs.mine, pairs.mine[first[other]])
        root_of = roots(parents)[numbers]
        earlier: dict[int, set[tuple[int, int]]] = {}
        for mine, *row in zip(*(each.tolist() for each in pairs), strict=True):
            earlier.setdefault(int(root_of[self.firsts[mine]]), set()).add((row[0], row[1]))
        for places, seen_before in equal:
            earlier.setdefault(int(root_of[places[0]]), set()).update(seen_before)
        sizes = np.bincount(root_of, minlength=1)
        sizes[[*earlier]] += 1  # with whatever is earlier a row is not alone
        members = np.flatnonzero(sizes[root_of] > 1)
        members = members[np.argsort(root_of[members], kind="stable")]
        found, begins = np.unique(root_of[members], return_index=True)
        return [
            (places, sorted(earlier.get(root, set())))
            for root, places in zip(found.tolist(), np.split(members, begins[1:]), strict=False)
        ]

    def _votes(self, places: Numbers, others: list[tuple[int, int]]) -> Counter[tuple[int, int]]:
        """How many rows of a group give each answer, in order of first appearance: earlier rows first."""
        votes: Counter[tuple[int, int]] = Counter()
        for number, row in others:
            each = self.earlier[number]
            votes[_pair(each.answers[row])] += int(each.votes[row])
        votes.update((first, second) for first, second in self.answers[places].tolist())
        return votes

    def _conflicts(self, groups: list[Group]) -> list[dict[str, Any]]:
        """Remove the losers of each group, all at once; what an earlier version published stands.

        Returns:
            What was seen of each group.
        """
        found = []
        for group, (places, others) in enumerate(groups):
            votes = self._votes(places, others)
            winner = self._winner(votes, others)
            seen: dict[str, Any] = {"rows": sum(votes.values()), "answers": len(votes)}
            if others:
                seen["earlier"] = [where_earlier(self.earlier[number], [row])[0] for number, row in others[:NAMED]]
            found.append(seen)
            if self.settings.conflicts != "keep_and_flag":
                if winner is not None:
                    places = places[(self.answers[places] != np.array(winner, np.uint64)).any(axis=1)]
                self.found.reason[places], self.found.rival[places] = CONFLICT, group
        return found

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

    def _exact_duplicates_of_earlier(self) -> None:
        """Heads go for the first kept earlier row that has their prompt, form and answer."""
        if not self.earlier:
            return
        met = self.met.only(self._said("kept"))
        group_of = np.empty(self.total, np.int64)
        group_of[self.by_content] = np.cumsum(self.new_prompt) - 1
        places = np.flatnonzero((self.found.reason == KEPT) & (self.head_of == np.arange(self.total)))
        answers = self._said("answers", met)
        said = [
            np.concatenate([theirs, ours[places]]).astype(np.uint64)
            for theirs, ours in (
                (met.groups, group_of),
                (self._said("forms", met), self.forms),
                *((answers[:, half], self.answers[:, half]) for half in (0, 1)),
            )
        ]
        order = np.lexsort(said)  # stable: of equal ones the first earlier row stands first
        begins = np.flatnonzero(run_begins(np.stack(said, axis=1)[order]))
        head = np.repeat(order[begins], np.diff(np.append(begins, len(order))))
        gone = (order >= len(met.rows)) & (head < len(met.rows))
        ours, theirs = places[order[gone] - len(met.rows)], head[gone]
        for number in range(len(self.earlier)):
            here = met.numbers[theirs] == number
            self.found.duplicates(ours[here], EXACT, met.rows[theirs[here]], 1.0, number)

    def _join_ties(self) -> None:
        """Rows that are tied to one earlier cluster are of one."""
        from curate.sets.components import join

        _, first, cluster = np.unique(tags_of(self.ties, self.earlier), return_index=True, return_inverse=True)
        join(self.parents, self.ties.mine, self.ties.mine[first[cluster]])

    def _find_heads(self) -> None:
        """Which of equal rows stands for all: the first that bridges no splits, or the first where all do."""
        by_row = np.argsort(self.ties.mine, kind="stable")
        tied = self.ties.mine[by_row]
        low, high = (np.searchsorted(tied, self.number_of, side) for side in ("left", "right"))
        at = np.arange((high - low).sum()) + np.repeat(high - np.cumsum(high - low), high - low)
        self.ties_of_places = Pairs(
            np.repeat(np.arange(self.total), high - low), self.ties.numbers[by_row[at]], self.ties.others[by_row[at]]
        )
        self.bridges = self.bridging(self.order, self.clusters, self.ties_of_places, self.found.reason != KEPT)
        self.standing = np.ones(self.total, np.bool_)
        self.standing[[*self.bridges]] = False
        self.heads = self.firsts.copy()
        standing = np.flatnonzero(self.standing)[::-1]
        self.heads[self.number_of[standing]] = standing  # of equal ones the first is written last
        self.head_of = self.heads[self.number_of]

    def _near_duplicates(self) -> None:
        there = self.found.reason[self.heads] == KEPT
        for number, (by, similarity) in enumerate(self.removed_by):
            gone = np.flatnonzero(there & (by >= 0))
            self.found.duplicates(self.heads[gone], NEAR, by[gone], similarity[gone], number)
            there &= by < 0
        answers, removing = self._answers(self.answers[self.firsts]), self.standing[self.heads]
        apart = self.decided.apart(self.number_of)
        self.near, similarity = self.batches.remove_near_duplicates(answers, there, removing, apart)
        gone = np.flatnonzero(self.near >= 0)
        self.found.duplicates(self.heads[gone], NEAR, self.heads[self.near[gone]], similarity[gone])

    def _answers(self, answers: Halves) -> npt.NDArray[np.uint64]:
        """What must be equal for a row to remove another."""
        return np.ascontiguousarray(answers[:, 0]) if self.settings.same_target else np.zeros(len(answers), np.uint64)

    def _twins(self) -> None:
        """Rows equal to their head in prompt and answer: its duplicates, or gone for the same reason as it."""
        others = np.flatnonzero((self.head_of != np.arange(self.total)) & (self.found.reason == KEPT))
        heads = self.head_of[others]
        gone = self.found.reason[heads] != KEPT
        self.found.as_of(others[gone], heads[gone])
        equal = ~gone & self.standing[heads]
        self.found.duplicates(others[equal], EXACT, heads[equal], 1.0)


def tags_of(ties: Pairs, earlier: Sequence[Earlier]) -> npt.NDArray[np.uint64]:
    """The clusters of earlier rows, as in `Earlier.clusters`: which stay what they are when segments are merged."""
    tags = np.zeros(len(ties.mine), np.uint64)
    for number, each in enumerate(earlier):
        here = ties.numbers == number
        tags[here] = each.clusters[ties.others[here]]
    return tags


def _pair(values: npt.NDArray[np.uint64]) -> tuple[int, int]:
    return int(values[0]), int(values[1])
