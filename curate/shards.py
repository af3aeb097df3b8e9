"""Shards: parts of the rows; what each stage made of one is an entry of the cache, over that which it was made of."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from curate.cache import cache_folder, intact, is_kept, keyed_folder, read_arrow, write_arrow
from curate.delta import COMPRESSION, Delta, read_table
from curate.distribution import Counts, distributions
from curate.engine import Alone, Narrowable, WorkerDied
from curate.errors import AssayError
from curate.examples import Example, first_examples
from curate.hashing import digest
from curate.record import QUARANTINE_SCHEMA, SCHEMA
from curate.stage import WORKER_DIED, Outcome, Reject, RowStage, Stage, divide

DEFECT = "This is a defect of the stage; nothing was published. --debug shows where."
StageT = TypeVar("StageT", bound=Stage)

SUMMARY = 4
"""Raised whenever the cache is to hold something else about a shard."""
REJECTED = "rejected.arrow"
LEAST_SHARE = 0.5
"""Of the rows that are read, those that a shard keeps of them: one with less is written whole."""


@dataclass(frozen=True)
class Shard:
    """A stage's finished work on one shard: a folder of the cache."""

    folder: Path
    key: str
    """Hash of everything the content depends on: input, stage, its version and its settings."""
    rows: int
    rejected: int
    reasons: dict[str, int]
    counters: dict[str, int]
    cached: bool
    """Whether it was there already."""
    examples: dict[str, list[Example]] = field(default_factory=dict)
    made: int = 0
    distributions: Counts = field(default_factory=dict)
    """Of the rows kept."""
    columns: list[str] = field(default_factory=list)
    """Of the rows kept."""
    read: int = 0
    """Rows of the whole table that the rows kept are read from: its own, or that of a shard below it."""

    def kept(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows kept, in memory: these columns, or all."""
        return read_table(self.folder, self.columns if columns is None else columns)

    def quarantine(self) -> pa.Table:
        return read_arrow(intact(self.folder, REJECTED))


def cached_outcome(
    cache: Path,
    key_of: Any,
    rows_in: int | None,
    compute: Callable[[pa.Table], Outcome],
    base: Shard | None = None,
) -> Shard:
    """The shard of the cache that `key_of` names, computed if it is not there.

    Args:
        cache: the store's cache folder.
        key_of: JSON-like value that determines the outcome; its hash is the shard's key.
        rows_in: how many rows the outcome must account for (None where the stage itself finds out: reading).
        compute: makes the outcome of the base's rows, or of none.
        base: the shard it is made of: only what differs from its rows is written.

    Raises:
        AssayError: the outcome has lost or invented rows (law 1).
        RotError: it is there, and its summary is damaged; or the base's rows are.
    """
    if (found := find_outcome(cache, key_of)) is not None:
        return found
    key = _outcome_key(key_of)
    rows = SCHEMA.empty_table() if base is None else base.kept()
    outcome = compute(rows)
    if rows_in is not None and outcome.kept.num_rows + outcome.rejected.num_rows != rows_in + outcome.made:
        raise AssayError(
            f"{rows_in} rows in, {outcome.made} made, {outcome.kept.num_rows} kept and {outcome.rejected.num_rows} "
            "quarantined: rows are not conserved.",
            remedy="This is a defect of the stage; nothing was published.",
        )
    few = base is None or outcome.kept.num_rows < LEAST_SHARE * base.read
    delta = Delta.of(outcome.kept, None if few else rows)
    below = base if delta.has_base else None
    summary = {
        "rows": outcome.kept.num_rows,
        "rejected": outcome.rejected.num_rows,
        "reasons": dict(Counter(outcome.rejected["reason"].to_pylist())),
        "counters": outcome.counters,
        "examples": {rule: first_examples(found) for rule, found in outcome.examples.items()},
        "made": outcome.made,
        "distributions": distributions(outcome.kept),
        "columns": outcome.kept.column_names,
        "read": outcome.kept.num_rows if below is None else max(outcome.kept.num_rows, below.read),
    }

    def write(draft: Path) -> None:
        delta.write(draft)
        write_arrow(outcome.rejected, draft / REJECTED, COMPRESSION)
        (draft / "summary.json").write_bytes(orjson.dumps(summary))

    folder = keyed_folder(cache / "stages", key)
    cache_folder(folder, write, None if below is None else below.folder)
    return Shard(folder, key, **summary, cached=False)


def find_outcome(cache: Path, key_of: Any) -> Shard | None:
    """The shard of the cache that `key_of` names, if it is there.

    Raises:
        RotError: its summary is damaged.
    """
    key = _outcome_key(key_of)
    folder = keyed_folder(cache / "stages", key)
    if not is_kept(folder):
        return None
    return Shard(folder, key, **orjson.loads(intact(folder, "summary.json").read_bytes()), cached=True)


def _outcome_key(key_of: Any) -> str:
    return digest([SUMMARY, key_of])


@dataclass(frozen=True)
class StageTask(Generic[StageT]):
    """What a stage does with a shard."""

    stage: StageT
    shard: Shard
    cache: Path
    unit: str = "rows"

    @property
    def size(self) -> int:
        return self.shard.rows

    def __str__(self) -> str:
        if not self.size:
            return "no rows"
        source = self.shard.kept(["source"])["source"]
        begin, end = (source[at].as_py() for at in (0, self.size - 1))
        more = f" to row {end['row']} of {end['file']} ({self.size} rows)" if self.size > 1 else ""
        return f"row {begin['row']} of {begin['file']}{more}"


@dataclass(frozen=True)
class RowStageTask(StageTask[RowStage], Narrowable):
    """What a stage over a row does with a shard; it can do without a row."""

    def emptied(self) -> Self:
        return self._of(0, 0)

    def divided(self, alone: Alone) -> list[Self]:
        middle = self.size // 2
        return [self._of(0, middle), self._of(middle, self.size)] if middle else []

    def _of(self, begin: int, end: int) -> Self:
        def part(rows: pa.Table) -> Outcome:
            return Outcome(rows.slice(begin, end - begin), QUARANTINE_SCHEMA.empty_table())

        key = ["rows", self.shard.key, begin, end]
        return replace(self, shard=cached_outcome(self.cache, key, end - begin, part, self.shard))

    def joined(self, results: Sequence[Shard]) -> Shard:
        counters: Counter[str] = Counter()
        examples: dict[str, list[Example]] = {}
        for result in results:
            counters.update(result.counters)
            for rule, found in result.examples.items():
                examples.setdefault(rule, []).extend(found)
        outcome = Outcome(
            pa.concat_tables([result.kept() for result in results]),
            pa.concat_tables([result.quarantine() for result in results]),
            dict(counters),
            examples,
            sum(result.made for result in results),
        )
        key = ["joined", [result.key for result in results]]
        return cached_outcome(self.cache, key, self.size, lambda _: outcome, self.shard)

    def without(self, died: WorkerDied, nothing: Shard) -> Shard:
        def left_out(rows: pa.Table) -> Outcome:
            reject = Reject(0, WORKER_DIED, {"message": died.how})
            return Outcome(nothing.kept(), divide(rows, self.stage.told_as, [reject]).rejected)

        key = ["left out", self.stage.key(), self.shard.key, died.how]
        return cached_outcome(self.cache, key, self.size, left_out, self.shard)


def run_stage(task: StageTask[RowStage]) -> Shard:
    """Run a stage over a shard, or find its outcome in the cache.

    Raises:
        AssayError: the stage has failed, has lost a row, or gives what is no outcome.
    """
    return cached_outcome(
        task.cache,
        [task.stage.key(), task.shard.key],
        task.shard.rows,
        lambda rows: _outcome(task.stage, rows),
        task.shard,
    )


def _outcome(stage: RowStage, rows: pa.Table) -> Outcome:
    with blamed(stage):
        outcome = stage.run(rows)
        told = pc.unique(outcome.rejected["stage"]).to_pylist()
        kept = outcome.kept.schema
        lost = [field.name for field in SCHEMA if field.name not in kept.names or kept.field(field.name) != field]
    problem = None
    if outcome.made < 0 or (not outcome.made and not _same_rows(rows, outcome)):
        problem = "the rows kept and quarantined are not those that it was given: rows are not conserved"
    elif [name for name in told if name != stage.told_as]:
        problem = f"it quarantines rows as {told[0]!r}"
    elif outcome.rejected.schema != QUARANTINE_SCHEMA or lost:
        problem = (
            f"the column {lost[0]!r} is not as in a record" if lost else "its quarantine is not as in QUARANTINE_SCHEMA"
        )
    if problem is not None:
        raise AssayError(f"Stage {stage.told_as}: {problem}.", remedy=DEFECT)
    return outcome


def _same_rows(rows: pa.Table, outcome: Outcome) -> bool:
    """Whether an outcome holds these rows, by their ids; most stages leave most shards as they were."""
    if rows["id"].equals(outcome.kept["id"]):
        return not outcome.rejected.num_rows
    return bool(_ids(rows) == _ids(outcome.kept, outcome.rejected))


def _ids(*tables: pa.Table) -> pa.ChunkedArray:
    """The ids of rows, in their order."""
    ids = pa.chunked_array([chunk for table in tables for chunk in table["id"].chunks], pa.string())
    return ids.take(pc.sort_indices(ids)).combine_chunks()


@contextmanager
def blamed(stage: Stage) -> Iterator[None]:
    """Whatever goes wrong in a stage's own code is told as the stage's, but for what the system refuses it.

    Raises:
        AssayError: names the stage and where it is from.
    """
    try:
        yield
    except (AssayError, OSError, MemoryError, KeyboardInterrupt):
        raise
    except (Exception, SystemExit) as error:
        raise AssayError(
            f"Stage {stage.told_as} ({type(stage).__module__}) failed: {type(error).__name__}: {error}", remedy=DEFECT
        ) from error
