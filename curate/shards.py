"""Shards: parts of the rows; what each stage made of one is an entry of the cache, over that which it was made of."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrow import whole
from curate.cache import cache_folder, intact, is_kept, keyed_folder, read_arrow, write_arrow
from curate.delta import COMPRESSION, PLACE, Delta, Numbers, read_table
from curate.distribution import COUNTED, Counts, distributions, less
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
    parts: tuple[Path, ...] = ()
    """Entries of the cache that it was put together from, where a worker died at the whole."""

    def kept(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows kept, in memory: these columns, or all."""
        return read_table(self.folder, self.columns if columns is None else columns)

    def quarantine(self) -> pa.Table:
        return read_arrow(intact(self.folder, REJECTED))


@dataclass(frozen=True)
class Held(Shard):
    """A shard of whose rows kept some columns are in memory, for the stage that is next."""

    memory: dict[str, pa.Table] = field(default_factory=dict)
    """Columns that have been read or made, each as a table."""

    @staticmethod
    def of(shard: Shard, memory: dict[str, pa.Table] | None = None) -> "Held":
        return Held(**vars(shard), memory={} if memory is None else memory)

    def kept(self, columns: Sequence[str] | None = None) -> pa.Table:
        wanted = self.columns if columns is None else columns
        if missing := [name for name in wanted if name not in self.memory]:
            self.memory.update(_apart(super().kept(missing)))
        schema = pa.schema([self.memory[name].field(0) for name in wanted], self.memory[wanted[0]].schema.metadata)
        return pa.Table.from_arrays([self.memory[name].column(0) for name in wanted], schema=schema)

    def apart(self) -> Shard:
        """The shard without what is in memory."""
        return Shard(**{name: value for name, value in vars(self).items() if name != "memory"})

    def next(self, made: Shard, kept: pa.Table) -> "Held":
        """What a stage made of it, likewise.

        Args:
            kept: the rows kept, which have a PLACE unless all columns are here.
        """
        memory = _apart(kept)
        if (places := memory.pop(PLACE.name, None)) is not None:
            at = None if kept.num_rows == self.rows else whole(places.column(0))
            for name, column in self.memory.items():
                memory.setdefault(name, column if at is None else column.take(at))
        return Held.of(made, memory)


def _apart(table: pa.Table) -> dict[str, pa.Table]:
    """The columns of a table, each as one."""
    return {name: table.select([name]) for name in table.column_names}


def cached_outcome(
    cache: Path,
    key_of: Any,
    rows_in: int | None,
    compute: Callable[[pa.Table], Outcome],
    base: Shard | None = None,
    reads: Sequence[str] | None = None,
) -> Shard:
    """The shard of the cache that `key_of` names, computed if it is not there.

    Args:
        cache: the store's cache folder.
        key_of: JSON-like value that determines the outcome; its hash is the shard's key.
        rows_in: how many rows the outcome must account for (None where the stage itself finds out: reading).
        compute: makes the outcome of the base's rows, or of none.
        base: the shard it is made of: only what differs from its rows is written. Of one that is held, what is made is.
        reads: columns of the base that the outcome is made of, see `RowStage.reads`; None: all.

    Raises:
        AssayError: the outcome has lost or invented rows (law 1).
        RotError: it is there, and its summary is damaged; or the base's rows are.
    """
    if (found := find_outcome(cache, key_of)) is not None:
        return found
    key = _outcome_key(key_of)
    rows = SCHEMA.empty_table() if base is None else _given(base, reads)
    outcome = compute(rows)
    if rows_in is not None and outcome.kept.num_rows + outcome.rejected.num_rows != rows_in + outcome.made:
        raise AssayError(
            f"{rows_in} rows in, {outcome.made} made, {outcome.kept.num_rows} kept and {outcome.rejected.num_rows} "
            "quarantined: rows are not conserved.",
            remedy="This is a defect of the stage; nothing was published.",
        )
    few = base is None or outcome.kept.num_rows < LEAST_SHARE * base.read
    columns, made = outcome.kept.column_names, outcome.kept
    if base is not None and reads is not None:
        columns = [*base.columns, *(name for name in columns if name not in (*base.columns, PLACE.name))]
        outcome = _completed(outcome, rows, base, few)
    kept, rejected = outcome.kept, outcome.rejected
    delta = Delta.of(kept, None if few else rows)
    below = base if delta.has_base else None
    summary = {
        "rows": kept.num_rows,
        "rejected": rejected.num_rows,
        "reasons": dict(Counter(rejected["reason"].to_pylist())),
        "counters": outcome.counters,
        "examples": {rule: first_examples(found) for rule, found in outcome.examples.items()},
        "made": outcome.made,
        "distributions": _counted(kept, rejected, rows, base),
        "columns": columns,
        "read": kept.num_rows if below is None else max(kept.num_rows, below.read),
    }

    def write(draft: Path) -> None:
        delta.write(draft)
        write_arrow(rejected, draft / REJECTED, COMPRESSION)
        (draft / "summary.json").write_bytes(orjson.dumps(summary))

    folder = _outcome_folder(cache, key)
    cache_folder(folder, write, None if below is None else below.folder)
    shard = Shard(folder, key, **summary, cached=False)
    return base.next(shard, made) if isinstance(base, Held) else shard


def _given(base: Shard, reads: Sequence[str] | None) -> pa.Table:
    """What a stage is given of a shard's rows: all, or of some columns, and PLACE to tell them by."""
    if reads is None:
        return base.kept()
    rows = base.kept([name for name in base.columns if name in ("id", "source", *reads)])
    return rows.append_column(PLACE, pa.array(range(rows.num_rows), PLACE.type))


def _completed(outcome: Outcome, rows: pa.Table, base: Shard, few: bool) -> Outcome:
    """An outcome with what it is to have of the columns that were not given: its quarantine, and if `few` all of it."""
    at, gone = _stay_and_go(outcome, rows)
    kept, rejected = outcome.kept, outcome.rejected
    if few:
        kept = _with(kept.drop_columns([PLACE.name]), base, rows, at, base.columns)
    if len(gone):
        unsaid = [name for name in SCHEMA.names if name not in rows.column_names]
        rejected = _with(rejected.drop_columns(unsaid), base, rows, gone, SCHEMA.names)
    return replace(outcome, kept=kept, rejected=rejected)


def _stay_and_go(outcome: Outcome, rows: pa.Table) -> tuple[Numbers, Numbers]:
    """The places of the rows kept, and of the others, which ascend."""
    at: Numbers = outcome.kept[PLACE.name].to_numpy()
    return at, np.setdiff1d(np.arange(rows.num_rows), at)


def _with(table: pa.Table, base: Shard, rows: pa.Table, at: Numbers, columns: Sequence[str]) -> pa.Table:
    """A table with those of these columns that are neither in it nor in `rows`, as the base has them in the places
    `at`."""
    missing = [name for name in columns if name not in {*rows.column_names, *table.column_names}]
    there = base.kept(missing).take(pa.array(at)) if missing else rows.select([])
    parts = [*zip(table.schema, table.columns, strict=True), *zip(there.schema, there.columns, strict=True)]
    found = {field.name: (field, column) for field, column in parts}
    ordered = [found[name] for name in dict.fromkeys([*columns, *table.column_names])]
    schema = pa.schema([field for field, _ in ordered], table.schema.metadata)
    return pa.Table.from_arrays([column for _, column in ordered], schema=schema)


def _counted(kept: pa.Table, rejected: pa.Table, rows: pa.Table, base: Shard | None) -> Counts:
    """The distributions of the rows kept; of a base of which no column was given that is counted, what is left."""
    if base is None or {*COUNTED} <= {*kept.column_names}:
        return distributions(kept)
    if not {*COUNTED} & {*rows.column_names}:
        return less(base.distributions, distributions(rejected))
    return distributions(_with(kept, base, rows, kept[PLACE.name].to_numpy(), COUNTED))


def find_outcome(cache: Path, key_of: Any) -> Shard | None:
    """The shard of the cache that `key_of` names, if it is there.

    Raises:
        RotError: its summary is damaged.
    """
    key = _outcome_key(key_of)
    folder = _outcome_folder(cache, key)
    if not is_kept(folder):
        return None
    return Shard(folder, key, **orjson.loads(intact(folder, "summary.json").read_bytes()), cached=True)


def _outcome_folder(cache: Path, key: str) -> Path:
    return keyed_folder(cache / "stages", key)


def _outcome_key(key_of: Any) -> str:
    return digest([SUMMARY, key_of])


@dataclass(frozen=True)
class ShardTask:
    """Work on the rows of a shard."""

    shard: Shard
    cache: Path

    @property
    def unit(self) -> str:
        return "rows"

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
class StageTask(ShardTask, Generic[StageT]):
    """What a stage does with a shard."""

    stage: StageT


@dataclass(frozen=True)
class PassTask(ShardTask, Narrowable):
    """What stages over a row, one at least, do with a shard one after the other; they can do without a row of it."""

    stages: Sequence[RowStage]

    def in_steps(self, step: Callable[[str, Self], "Passed"]) -> "Passed | None":
        if len(self.stages) == 1:
            return None
        shard, found = self.shard, Passed()
        for stage in self.stages:
            found += step(stage.name, replace(self, stages=[stage], shard=shard))
            shard = found[-1][0]
        return found

    def emptied(self) -> Self:
        return self._of(0, 0)

    def divided(self, alone: Alone) -> list[Self]:
        middle = self.size // 2
        return [self._of(0, middle), self._of(middle, self.size)] if middle else []

    def _of(self, begin: int, end: int) -> Self:
        def part(rows: pa.Table) -> Outcome:
            return Outcome(rows.slice(begin, end - begin), QUARANTINE_SCHEMA.empty_table())

        key = self._key_of(begin, end)
        return replace(self, shard=cached_outcome(self.cache, key, end - begin, part, self.shard))

    def _key_of(self, begin: int, end: int) -> Any:
        return ["rows", self.shard.key, begin, end]

    def _of_parts(self, shard: Shard, results: Sequence[Shard]) -> Shard:
        """A shard, with the entries of what it was put together from, and of the rows that these were made of."""
        middle = self.size // 2
        given = (self._key_of(*rows) for rows in ((0, 0), (0, middle), (middle, self.size)))
        of_rows = (_outcome_folder(self.cache, _outcome_key(key)) for key in given)
        parts = [each for result in results for each in (result.folder, *result.parts)]
        return replace(shard, parts=tuple(dict.fromkeys([*of_rows, *parts])))

    def joined(self, results: Sequence["Passed"]) -> "Passed":
        counters: Counter[str] = Counter()
        examples: dict[str, list[Example]] = {}
        shards = [shard for ((shard, _),) in results]
        for shard in shards:
            counters.update(shard.counters)
            for rule, found in shard.examples.items():
                examples.setdefault(rule, []).extend(found)
        outcome = Outcome(
            pa.concat_tables([shard.kept() for shard in shards]),
            pa.concat_tables([shard.quarantine() for shard in shards]),
            dict(counters),
            examples,
            sum(shard.made for shard in shards),
        )
        key = ["joined", [shard.key for shard in shards]]
        made = cached_outcome(self.cache, key, self.size, lambda _: outcome, self.shard)
        return [(self._of_parts(made, shards), sum(seconds for ((_, seconds),) in results))]

    def without(self, died: WorkerDied, nothing: "Passed") -> "Passed":
        (stage,), ((empty, seconds),) = self.stages, nothing

        def left_out(rows: pa.Table) -> Outcome:
            reject = Reject(0, WORKER_DIED, {"message": died.how})
            return Outcome(empty.kept(), divide(rows, stage.told_as, [reject]).rejected)

        key = ["left out", stage.key(), self.shard.key, died.how]
        return [(self._of_parts(cached_outcome(self.cache, key, self.size, left_out, self.shard), [empty]), seconds)]


Passed = list[tuple[Shard, float]]
"""What each stage made of a shard, and its seconds."""


def run_pass(task: PassTask) -> Passed:
    """Run stages over a shard, whose rows stay in memory from one to the next; or find their outcomes in the cache.

    Raises:
        AssayError: see `run_stage`.
    """
    shard, found = Held.of(task.shard), Passed()
    for stage in task.stages:
        begin = time.perf_counter()
        made = run_stage(StageTask(shard, task.cache, stage))
        shard = made if isinstance(made, Held) else Held.of(made)
        found.append((shard.apart(), time.perf_counter() - begin))
    return found


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
        task.stage.reads,
    )


def _outcome(stage: RowStage, rows: pa.Table) -> Outcome:
    with blamed(stage):
        outcome = stage.run(rows)
        told = pc.unique(outcome.rejected["stage"]).to_pylist()
        kept = outcome.kept.schema
        given = (field for field in SCHEMA if field.name in rows.column_names)
        lost = [field.name for field in given if field.name not in kept.names or kept.field(field.name) != field]
        unread = [name for name in SCHEMA.names if name in kept.names and name not in rows.column_names]
    problem = None
    if outcome.made < 0 or (not outcome.made and not _same_rows(rows, outcome)):
        problem = "the rows kept and quarantined are not those that it was given: rows are not conserved"
    elif stage.reads is not None and (outcome.made or not _in_order(rows, outcome)):
        problem = "it divides rows of which it reads some columns, or gives them in another order"
    elif [name for name in told if name != stage.told_as]:
        problem = f"it quarantines rows as {told[0]!r}"
    elif outcome.rejected.schema != QUARANTINE_SCHEMA or lost:
        problem = (
            f"the column {lost[0]!r} is not as in a record" if lost else "its quarantine is not as in QUARANTINE_SCHEMA"
        )
    elif unread:
        problem = f"it writes the column {unread[0]!r}, which is not among those that it reads"
    if problem is not None:
        raise AssayError(f"Stage {stage.told_as}: {problem}.", remedy=DEFECT)
    return outcome


def _same_rows(rows: pa.Table, outcome: Outcome) -> bool:
    """Whether an outcome holds these rows, by their ids; most stages leave most shards as they were."""
    if rows["id"].equals(outcome.kept["id"]):
        return not outcome.rejected.num_rows
    return bool(_ids(rows) == _ids(outcome.kept, outcome.rejected))


def _in_order(rows: pa.Table, outcome: Outcome) -> bool:
    """Whether the rows kept and those quarantined stand as they were given."""
    at, gone = _stay_and_go(outcome, rows)
    return bool((np.diff(at) > 0).all()) and rows["id"].take(pa.array(gone)).equals(outcome.rejected["id"])


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
        if isinstance(error, (pa.ArrowInvalid, pa.ArrowCapacityError)) and re.search(
            "overflow|cannot contain more", str(error)
        ):
            raise MemoryError(f"more text than an array holds: {error}") from error  # fewer rows will do
        raise AssayError(
            f"Stage {stage.told_as} ({type(stage).__module__}) failed: {type(error).__name__}: {error}", remedy=DEFECT
        ) from error
