"""Checks of leaks: what two splits must not share, and no near-duplicates across them."""

import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from curate.manifest import DatasetManifest
from curate.progress import Progress
from curate.publish.check_result import ALL, Check
from curate.publish.check_text import jaccard, prompt_of, shingles_of
from curate.publish.published import SPLITS, EarlierVersions, Row, read_rows, row_count, row_name, split_rows

KEYS = "\x1f"
"""What is between the keys of a group."""


def check_shared(folder: Path, earlier: EarlierVersions) -> list[Check]:
    """Group, cluster and prompt of every row: no two splits may share one."""
    groups, clusters, prompts = (
        Check(f"{what}s", f"no two splits share a {what}", "4", how=ALL + earlier.how())
        for what in ("group", "cluster", "prompt")
    )
    first: dict[tuple[str, str], tuple[str, str]] = {}
    columns = ["turns", "target", "group", "cluster", "source"]

    def keys(row: Row) -> Iterator[tuple[Check, str]]:
        yield clusters, row["cluster"]
        yield prompts, prompt_of(row)
        if row["group"] is not None:
            yield from ((groups, key) for key in row["group"].split(KEYS))

    for name, row in split_rows(folder, columns):
        for check, key in keys(row):
            check.compared += 1
            where, there = first.setdefault((check.name, key), (name, row_name(name, row)))
            if where != name:
                check.fail(f"{row_name(name, row)} and {there} share {_short(key)}")
    for version, name, row in earlier.rows(columns):
        for check, key in keys(row):
            check.compared += 1
            where, there = first.get((check.name, key), (name, ""))
            if where != name:
                check.fail(f"{there} and {version.name}, {row_name(name, row)} share {_short(key)}")
    return [groups, clusters, prompts]


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")


def check_splits_stand(folder: Path, earlier: EarlierVersions) -> Check:
    check = Check("standing", "rows of earlier versions keep their split", "4", how=ALL + earlier.how())
    now = {row["id"]: (name, row_name(name, row)) for name, row in split_rows(folder, ["id", "source"])}
    for version in earlier.standing:
        for name, row in split_rows(version, ["id"]):
            if row["id"] in now:
                check.compared += 1
                where, named = now[row["id"]]
                if where != name:
                    check.fail(f"{named} was in {name} of {version.name}")
    return check


class Member(NamedTuple):
    """A row of a split that is compared."""

    split: str
    name: str
    shingles: frozenset[str]


def check_near_duplicates(
    folder: Path, manifest: DatasetManifest, earlier: EarlierVersions, progress: Progress, sample: int
) -> Check:
    """Rows of validation and test against every row of the other splits, by their true similarity."""
    settings = manifest.recipe["duplicates"]
    columns = ["turns", "target", "source"]

    def member(split: str, row: Row, version: str = "") -> Member:
        return Member(split, version + row_name(split, row), shingles_of(row, settings))

    held = sum(row_count(folder / f"{name}.parquet") for name in SPLITS[1:])
    chosen = set(random.Random(0).sample(range(held), min(held, sample)))  # noqa: S311  a sample, no secret
    small = ((name, row) for name in SPLITS[1:] for row in read_rows(folder / f"{name}.parquet", columns))
    inner = Inner([member(*each) for at, each in enumerate(small) if at in chosen], settings["threshold"])
    total = sum(row_count(folder / f"{name}.parquet") for name in SPLITS)
    check = Check(
        "near_duplicates",
        f"no two rows in two splits have a similarity of {settings['threshold']} or more",
        "4",
        what="pairs",
    )
    if len(chosen) < held:
        check.how = f"{len(chosen):,} of {held:,} rows of validation and test (seed 0) against all"
    check.how += earlier.how()

    def others() -> Iterator[Member]:
        for at, (name, row) in enumerate(split_rows(folder, columns)):
            if at % 1000 == 0:
                progress("compare", at, total, "rows")
            yield member(name, row)
        progress("compare", total, total, "rows")
        for version, name, row in earlier.rows(columns):
            yield member(name, row, f"{version.name}, ")

    _compare(check, inner, others())
    # The rows of train meet the smaller splits of this version above; here, those of earlier ones.
    seen = [each for each in earlier.rows(columns) if each[1] != "train"] if earlier.folders else []
    if len(seen) > sample:
        check.how += f", of their validation and test {sample:,} of {len(seen):,} rows (seed 0)"
        seen = random.Random(0).sample(seen, sample)  # noqa: S311
    before = [member(name, row, f"{version.name}, ") for version, name, row in seen]
    if before:
        train = (member("train", row) for row in read_rows(folder / "train.parquet", columns))
        _compare(check, Inner(before, settings["threshold"]), train)
    return check


def _compare(check: Check, inner: "Inner", others: Iterable[Member]) -> None:
    """Two members of `inner` meet twice; the pair is counted when the second one by its split is the other."""
    by_split = Counter(each.split for each in inner.members)
    named = {each.name for each in inner.members}
    for other in others:
        apart = {
            split for split in by_split if split != other.split and (other.name not in named or split < other.split)
        }
        check.compared += sum(by_split[split] for split in apart)
        for found, similarity in inner.similar(other):
            if found.split in apart:
                check.fail(f"{found.name} and {other.name}: similarity {similarity:.6f}")


class Inner:
    """Rows in which those similar to another are found, all of them.

    Prefix filtering (Chaudhuri et al., 2006; Bayardo et al., 2007): two sets of similarity t have at least t|x| and at
    least t|y| elements in common; so whatever the order of all elements, the first |x| - t|x| + 1 of x and the first
    |y| - t|y| + 1 of y share one. With the rarest first there is little to look up, and what is found is exactly what
    comparing every pair finds.
    """

    def __init__(self, members: list[Member], threshold: float) -> None:
        self.members = members
        self.threshold = threshold
        self._times = Counter(shingle for member in members for shingle in member.shingles)
        self._having: dict[str, list[int]] = {}
        for number, member in enumerate(members):
            ordered = sorted(member.shingles, key=self._rank)
            for shingle in ordered[: self._prefix(len(ordered))]:
                self._having.setdefault(shingle, []).append(number)

    def _rank(self, shingle: str) -> tuple[int, str]:
        return self._times[shingle], shingle

    def _prefix(self, size: int) -> int:
        return size - math.ceil(self.threshold * size - 1e-9) + 1

    def similar(self, other: Member) -> Iterator[tuple[Member, float]]:
        """Members of at least the threshold's similarity, with it."""
        theirs = other.shingles
        known = [shingle for shingle in theirs if shingle in self._times]
        prefix = self._prefix(len(theirs)) - (len(theirs) - len(known))  # those that no member has come first
        if prefix <= 0:
            return
        known.sort(key=self._rank)
        for number in {number for shingle in known[:prefix] for number in self._having.get(shingle, ())}:
            member = self.members[number]
            similarity = jaccard(member.shingles, theirs)
            if similarity >= self.threshold:
                yield member, similarity
