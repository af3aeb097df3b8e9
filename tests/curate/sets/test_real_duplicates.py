"""Near-duplicates in real texts against an exact join over sets of shingles, which are strings here."""

import itertools
import json
import math
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from curate.publish.check_text import shingles
from curate.sets.duplicates import Duplicates
from tests.curate.sets.test_duplicates import table
from tests.judged import Judged, judged


@dataclass
class Case:
    """Rows, what became of them, and all pairs of them that are similar enough."""

    rows: list[tuple[str, str]]
    ids: list[str]
    verdict: Judged
    sets: list[frozenset[str]]
    pairs: dict[tuple[int, int], float]


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    common = len(first & second)
    return common / (len(first) + len(second) - common)


def similar_pairs(sets: list[frozenset[str]], threshold: float) -> Iterator[tuple[int, int, float]]:
    """All pairs of sets at or above the threshold, found as brute force over all pairs finds them: of two such sets,
    both ordered with the rarest first, the beginnings share an element (Bayardo et al., 2007)."""
    times = Counter(itertools.chain.from_iterable(sets))
    having: dict[str, list[int]] = {}
    for number, mine in enumerate(sets):
        ordered = sorted(mine, key=lambda each: (times[each], each))
        prefix = [
            each for each in ordered[: len(mine) - math.ceil(threshold * len(mine) - 1e-9) + 1] if times[each] > 1
        ]
        for other in {other for each in prefix for other in having.get(each, ())}:
            if min(len(mine), len(sets[other])) >= threshold * max(len(mine), len(sets[other])) - 1e-9:
                similarity = jaccard(mine, sets[other])
                if similarity >= threshold:
                    yield other, number, similarity
        for each in prefix:
            having.setdefault(each, []).append(number)


def case_of(rows: list[tuple[str, str]], threshold: float) -> Case:
    data, chosen = table(rows), Duplicates(threshold=threshold, conflicts="keep_and_flag")
    verdict = judged(data, chosen)
    sets = [shingles(prompt, chosen.shingle_words) for prompt, _ in rows]
    first_of: dict[frozenset[str], int] = {}
    leader = [first_of.setdefault(each, row) for row, each in enumerate(sets)]
    leaders = sorted(first_of.values())
    found = {
        (leaders[first], leaders[second]): similarity
        for first, second, similarity in similar_pairs([sets[row] for row in leaders], threshold)
    }
    members: dict[int, list[int]] = {}
    for row, its in enumerate(leader):
        members.setdefault(its, []).append(row)
    pairs = {pair: 1.0 for rows_ in members.values() for pair in itertools.combinations(rows_, 2)}
    for (first, second), similarity in found.items():
        for pair in itertools.product(members[first], members[second]):
            pairs[min(pair), max(pair)] = similarity
    return Case(rows, data["id"].to_pylist(), verdict, sets, pairs)


def test_the_exact_join_is_brute_force() -> None:
    sets = [shingles(" ".join(words), 2) for words in itertools.product("ab", repeat=6)]
    expected = {
        (first, second)
        for first, second in itertools.combinations(range(len(sets)), 2)
        if jaccard(sets[first], sets[second]) >= 0.6
    }
    assert {(first, second) for first, second, _ in similar_pairs(sets, 0.6)} == expected


def check_soundness(data: Case, threshold: float) -> int:
    """Every removed row names a kept row with that true similarity and the same answer; gives their number."""
    reason, evidence = data.verdict.reason, data.verdict.evidence
    removed = 0
    for row, seen in enumerate(evidence):
        if seen is None:
            continue
        known = json.loads(seen)
        kept = known["row"]
        assert reason[kept] is None
        assert data.ids[kept] == known["kept"]
        assert data.rows[kept][1] == data.rows[row][1]
        true = jaccard(data.sets[row], data.sets[kept])
        assert known["similarity"] == round(true, 6)
        assert true >= threshold
        removed += 1
    return removed


def check_completeness(data: Case) -> tuple[int, int]:
    """How many pairs with equal answers there are, and of how many of these both rows are kept."""
    reason = data.verdict.reason
    alike = [pair for pair in data.pairs if data.rows[pair[0]][1] == data.rows[pair[1]][1]]
    return len(alike), sum(reason[first] is None and reason[second] is None for first, second in alike)


def check_clusters(data: Case) -> int:
    """How many of all similar pairs, whatever their answers, are not of one cluster."""
    return sum(data.verdict.cluster[first] != data.verdict.cluster[second] for first, second in data.pairs)


@pytest.fixture(scope="module")
def notices(licence_data: Path) -> Case:
    rows = []
    for path in sorted((licence_data / "rules").glob("*.RULE")):
        front, text = path.read_text(encoding="utf-8")[3:].split("\n---\n", 1)
        expression = next((line for line in front.splitlines() if line.startswith("license_expression")), "")
        rows.append((text.strip(), expression))
    return case_of(rows, 0.8)


@pytest.mark.slow
def test_licence_notices_are_judged_as_brute_force_does(notices: Case) -> None:
    assert len(notices.rows) > 34_000
    assert check_soundness(notices, 0.8) > 5_000
    pairs, both_kept = check_completeness(notices)
    assert pairs > 30_000
    assert both_kept <= pairs / 1000
    assert check_clusters(notices) <= len(notices.pairs) / 1000


@pytest.mark.slow
def test_no_short_distinct_notice_is_lost(notices: Case) -> None:
    """Rows of no more words than a shingle has are where others lose data: bare names, tags, one-line references.

    Ours go only in favour of a kept row of the same words and the same answer.
    """
    named = [(its, answer) for its, (_, answer) in zip(notices.sets, notices.rows, strict=True)]
    short = [row for row, its in enumerate(notices.sets) if len(its) == 1]
    kept = {named[row] for row, reason in enumerate(notices.verdict.reason) if reason is None}
    assert len(short) > 6_500
    assert {named[row] for row in short} <= kept


@pytest.mark.slow
def test_tldr_pages_are_judged_as_brute_force_does(shared_data: Path) -> None:
    rows = []
    with tarfile.open(shared_data / "dedup_tldr_pages/tldr_pages.tar.xz") as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".md") and (file := archive.extractfile(member)) is not None:
                folder = next(part for part in Path(member.name).parts if part.startswith("pages"))
                rows.append((file.read().decode(), folder))
    assert len(rows) == 38_404
    data = case_of(rows[::2], 0.7)  # brute force takes its time
    assert check_soundness(data, 0.7) > 400
    pairs, both_kept = check_completeness(data)
    assert both_kept <= pairs / 1000
    assert check_clusters(data) <= len(data.pairs) / 1000
