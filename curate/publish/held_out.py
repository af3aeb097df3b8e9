"""Which rows of a version share something with rows that are held out to ask: with these, nothing may be trained.

Within one version the split sees to that. An arm of an experiment that curates otherwise has a version of its own, with
a split of its own, in which the rows that all arms are asked may lie anywhere, as they are or nearly so.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curate.cache import cache_text, intact, keyed_folder, sound
from curate.hashing import digest
from curate.manifest import DatasetManifest
from curate.publish.check_leaks import KEYS, Inner, Member
from curate.publish.check_text import prompt_of, shingles_of
from curate.publish.published import Row, read_rows, split_rows

VERSION = 1
"""Of what is taken for sharing something."""
COLUMNS = ["id", "turns", "target", "group", "cluster"]


def sharing_kept(version: Path, held: Path, settings: dict[str, Any], cache: Path) -> frozenset[str]:
    """`sharing`, from the store's cache where the same was asked before."""
    manifests = [DatasetManifest.read(folder).content() for folder in (version, held)]
    kept = keyed_folder(cache / "held_out", digest([VERSION, *manifests, settings]))
    if not sound(kept):
        cache_text(kept, "ids.json", json.dumps(sorted(sharing(version, held, settings))))
    return frozenset(json.loads(intact(kept, "ids.json").read_bytes()))


def sharing(version: Path, held: Path, settings: dict[str, Any]) -> set[str]:
    """The ids of the rows to train and to validate on that share something with a held-out row.

    A row shares with another its id, its prompt, a key of its group, or a true Jaccard similarity of at least the
    threshold; and so does what is in one near-duplicate cluster or group with such a row, whatever its split.

    Args:
        version: folder of the version whose rows are looked at.
        held: folder of the version whose test split is held out, whole.
        settings: `duplicates` of a recipe: scope, boilerplate, shingle_words and threshold.
    """
    ids, prompts, keys = set[str](), set[str](), set[str]()
    members = []
    for row in read_rows(held / "test.parquet", COLUMNS):
        ids.add(row["id"])
        prompts.add(prompt_of(row))
        keys |= set(_groups(row))
        members.append(Member("test", row["id"], shingles_of(row, settings)))
    near = Inner(members, settings["threshold"])
    rows = [
        (split, row["id"], _ties(row), _shares(row, ids, prompts, keys, near, settings))
        for split, row in split_rows(version, COLUMNS)
    ]
    return _tied(rows)


def _groups(row: Row) -> list[str]:
    return [] if row["group"] is None else row["group"].split(KEYS)


def _ties(row: Row) -> set[tuple[str, str]]:
    """What a row is tied to others of its version by."""
    return {("group", key) for key in _groups(row)} | ({("cluster", row["cluster"])} if row["cluster"] else set())


def _shares(row: Row, ids: set[str], prompts: set[str], keys: set[str], near: Inner, settings: dict[str, Any]) -> bool:
    """Whether a row itself shares something with one that is held out."""
    if row["id"] in ids or prompt_of(row) in prompts or not keys.isdisjoint(_groups(row)):
        return True
    return any(True for _ in near.similar(Member("", row["id"], shingles_of(row, settings))))


def _tied(rows: Sequence[tuple[str, str, set[tuple[str, str]], bool]]) -> set[str]:
    """The ids of those of train and validation that share something, or are tied to one that does, over any number of
    rows: (split, id, ties, shares) each."""
    reached: set[tuple[str, str]] = set()
    found: set[int] = set()
    grown = True
    while grown:
        new = {at for at, (_, _, ties, shares) in enumerate(rows) if shares or not ties.isdisjoint(reached)}
        grown = new != found
        found = new
        reached = set().union(*(rows[at][2] for at in found))
    return {rows[at][1] for at in found if rows[at][0] != "test"}
