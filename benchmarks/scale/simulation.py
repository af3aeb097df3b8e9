"""The verdict of many workers, that of one process, and what the workers have sent each other."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.scale.network import run
from benchmarks.scale.worker import Given, Told, records, work
from curate.engine import map_in_process
from curate.progress import silent
from curate.record import QUARANTINE_SCHEMA, SPLITS
from curate.sets.duplicates import Duplicates
from curate.sets.split import Split
from curate.sets.stage import Judged, Past, SetStage, judge_rows
from curate.shards import Shard, cached_outcome
from curate.stage import Outcome

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
    files = files_of(folder)
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
    """The verdict of curate's own stages over all rows, and the processor seconds of their steps."""
    seconds: dict[str, float] = {}

    def timed(stage: str, function: Callable[[Any], Any], tasks: Sequence[Any], /) -> list[Any]:
        begin = time.process_time()
        results = map_in_process(stage, function, tasks)
        seconds[stage] = time.process_time() - begin
        return results

    def judged(stage: SetStage, shards: Sequence[Shard], before: dict[str, Judged]) -> tuple[Sequence[Shard], Judged]:
        begin = time.process_time()
        done = judge_rows(stage, shards, past, before, cache, timed, silent)
        parts = sum(each for name, each in seconds.items() if name.startswith(stage.name))
        seconds[f"{stage.name}: judge"] = time.process_time() - begin - parts
        return done

    with TemporaryDirectory(prefix="scale-") as scratch:
        cache = Path(scratch)
        past = Past([], [], [], [], cache.joinpath)
        shards: Sequence[Shard] = [cached_outcome(cache, file.name, None, _as_read(file)) for file in files_of(folder)]
        shards, duplicates = judged(SETTINGS, shards, {})
        _, split = judged(Split(), shards, {"duplicates": duplicates})
        found, dealt = duplicates.rows(), split.rows()["split"]
        kept = found["reason"].is_null()
        ids = pa.chunked_array([chunk for shard in shards for chunk in shard.kept(["id"])["id"].chunks], pa.string())
        splits: list[str | None] = [None] * found.num_rows
        for row, name in zip(np.flatnonzero(kept.to_numpy()).tolist(), dealt.to_pylist(), strict=True):
            splits[row] = name
        published = [id_ for name in SPLITS for id_ in ids.filter(pc.equal(dealt, name)).sort().to_pylist()]
        columns = (found[name].to_pylist() for name in ("reason", "evidence", "cluster"))
        return Verdict(*columns, splits, published), seconds


def _as_read(file: Path) -> Callable[[pa.Table], Outcome]:
    return lambda _: Outcome(records(file), QUARANTINE_SCHEMA.empty_table())


def files_of(folder: Path) -> list[Path]:
    """Each is a shard."""
    return sorted(folder.iterdir())


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
