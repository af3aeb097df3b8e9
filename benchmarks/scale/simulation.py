"""The verdict of many workers, that of one process, and what the workers have sent each other."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.scale.network import run
from benchmarks.scale.worker import Given, Told, records, work
from curate.record import SPLITS
from curate.sets.duplicates import Duplicates
from curate.sets.judgement import judge
from curate.sets.keys import compared_text, key_table
from curate.sets.split import Split, assign

SETTINGS = Duplicates(scope="both", threshold=0.7)
"""As the recipe of `benchmarks.whole` has them."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of all rows, in the order of the drop."""

    reason: list[str | None]
    evidence: list[str | None]
    cluster: list[str]
    split: list[str | None]
    published: list[str]
    """Ids, by split, then in their order."""


def by_workers(folder: Path, workers: int) -> tuple[Verdict, list[Told]]:
    """The verdict of as many workers, each with as many of the files as the others, and what each tells."""
    files = sorted(folder.iterdir())
    sizes = [pq.read_metadata(file).num_rows for file in files]
    ends = np.cumsum([0, *sizes])
    cuts = np.linspace(0, len(files), workers + 1).astype(int).tolist()
    begins, called = ends[cuts], [file.name for file in files]
    given = [Given(files[first:last], begins, ends[:-1], called, SETTINGS) for first, last in pairwise(cuts)]
    told: list[Told] = run(workers, work, given)
    names = ["reason", "evidence", "cluster", "split"]
    joined = ([*chain.from_iterable(getattr(each, name) for each in told)] for name in names)
    return Verdict(*joined, _published(told)), told


def _published(told: Sequence[Told]) -> list[str]:
    """Each worker has a range of the ids of every split."""
    return [id_ for split in SPLITS for each in told for id_ in each.published[split]]


def by_one(folder: Path) -> tuple[Verdict, dict[str, float]]:
    """The verdict of curate's own functions over all rows, and the processor seconds of their steps."""
    marks = [time.process_time()]
    tables = [records(file) for file in sorted(folder.iterdir())]
    keys = pa.concat_tables([key_table(table, SETTINGS) for table in tables])
    marks.append(time.process_time())
    rows = pa.concat_tables(tables)
    every = compared_text(rows, SETTINGS)
    found = judge(keys, SETTINGS, lambda numbers: every.take(pa.array(numbers)))
    marks.append(time.process_time())
    kept = np.flatnonzero([reason is None for reason in found.reason])
    staying = keys["id"].take(pa.array(kept))
    clusters = pa.array(found.cluster).take(pa.array(kept)).dictionary_encode().indices.to_numpy().astype(np.int64)
    nobody = pa.chunked_array([pa.nulls(len(kept), pa.string())])
    nothing = np.full(len(kept), -1, np.int8), np.zeros(len(kept), np.uint8)
    given = assign(staying, nobody, clusters, nobody, Split(), *nothing).split
    marks.append(time.process_time())
    split: list[str | None] = [None] * keys.num_rows
    for row, code in zip(kept.tolist(), given.tolist(), strict=True):
        split[row] = SPLITS[code]
    dealt = [pa.array(given == code) for code in range(len(SPLITS))]
    published = [id_ for each in dealt for id_ in staying.filter(each).sort().to_pylist()]
    seconds = dict(zip(("sign", "judge", "split"), np.diff(marks).tolist(), strict=True))
    return Verdict(found.reason, found.evidence, found.cluster, split, published), seconds


def require_same(one: Verdict, many: Verdict) -> None:
    """See to it that two verdicts are the same.

    Raises:
        SystemExit: they are not; it names the first row that differs.
    """
    for name in ("reason", "evidence", "cluster", "split", "published"):
        expected, found = getattr(one, name), getattr(many, name)
        if expected != found:
            differing = [at for at, pair in enumerate(zip(expected, found, strict=False)) if pair[0] != pair[1]]
            at = differing[0] if differing else min(len(expected), len(found))
            raise SystemExit(
                f"{name}: {len(differing):,} of {len(expected):,} rows differ, {len(found):,} found. "
                f"The first is {at}: {expected[at : at + 1]} by one process, {found[at : at + 1]} by many."
            )


def traffic(told: Sequence[Told], rows: int) -> dict[str, dict[str, float]]:
    """By kind of message, per row: bytes that went between workers, and those that would have, had every row been on
    another machine than what it met; and how much more than the mean the worker received that received most.

    Raises:
        SystemExit: what was sent is not what was received.
    """
    out = {}
    for kind in told[0].sent:
        sent, received = Counter[int](), Counter[int]()
        for number, each in enumerate(told):
            sent.update(each.sent[kind])
            received[number] = sum(each.received[kind].values())
        if sent != received:
            raise SystemExit(f"{kind}: sent {sent}, received {received}.")
        moved = sum(received.values())
        most = max(received.values()) * len(told) / moved if moved else 0.0
        stayed = sum(each.stayed[kind] for each in told)
        out[kind] = {"moved": moved / rows, "with_stayed": (moved + stayed) / rows, "largest_over_mean": most}
    return out
