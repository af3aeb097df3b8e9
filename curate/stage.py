"""Stages: functions from a table to an outcome, run over shards, cached by content."""

import json
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from os.path import commonprefix
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from curate.distribution import Counts, distributions
from curate.errors import AssayError
from curate.hashing import digest
from curate.record import QUARANTINE_SCHEMA, SCHEMA
from curate.store import DRAFT, drafted, locked, remove_abandoned

Example = dict[str, str]
"""What a rule did to a row, for people to see: {"id", "before", "after"}, excerpts around the first change. A stage
gives them with what is near; a manifest's are cut once personal data has been replaced."""
EXAMPLES = 3
"""How many examples of each rule are kept."""
AROUND = 50
"""Characters of an example before and after what changed."""
EXCERPT = 300
"""Characters of an example, at most."""
NEAR = 4096
"""Characters that are kept around an example until personal data in it has been replaced: half an address is none that
could be found. A private RSA key of 4096 bits has 3,272."""
SUMMARY = 3
"""Raised whenever the cache is to hold something else about a shard."""


@dataclass(frozen=True)
class Outcome:
    """What a stage made of a table."""

    kept: pa.Table
    """Rows that go on; record columns plus whatever earlier stages added."""
    rejected: pa.Table
    """Rows that go to quarantine, in QUARANTINE_SCHEMA."""
    counters: dict[str, int] = field(default_factory=dict)
    """What the stage did to the rows it kept, e.g. {"whitespace": 12}: rows."""
    examples: dict[str, list[Example]] = field(default_factory=dict)
    """By counter: rows before and after, for people to look at. Those of the smallest ids are kept."""
    made: int = 0
    """How many rows more there are because some were divided: kept + rejected = rows in + made."""


class Settings(BaseModel):
    """Base of every section of a recipe: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RowStage(Settings, ABC):
    """A stage that judges each row by itself: its settings are a section of the recipe, its work is `run`."""

    version: ClassVar[int] = 1
    """Raised whenever `run` would give another outcome for the same rows: it keys the cache."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Packages whose versions the outcome depends on: they key the cache too, and are in the manifest."""

    @abstractmethod
    def run(self, table: pa.Table) -> Outcome:
        """Judge a shard's rows; must not depend on their order or on other rows."""


@dataclass(frozen=True)
class Reject:
    """Why one row goes to quarantine."""

    row: int
    """0-based position in the stage's table."""
    reason: str
    """Code, documented where the stage is."""
    evidence: dict[str, Any]
    """What was seen; JSON-like."""


def installed(libraries: Iterable[str]) -> dict[str, str]:
    """The version of each package that is installed, by its name."""
    found: dict[str, str] = {}
    for name in sorted(libraries):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def divide(table: pa.Table, stage: str, rejects: Sequence[Reject], counters: dict[str, int] | None = None) -> Outcome:
    """An outcome in which `rejects` are quarantined and all other rows are kept, in their order.

    Args:
        table: the stage's rows, of which each may be rejected once.
        stage: the stage's name.
        rejects: in any order.
        counters: see `Outcome`.
    """
    reason: list[str | None] = [None] * table.num_rows
    evidence: list[str | None] = [None] * table.num_rows
    for reject in rejects:
        reason[reject.row], evidence[reject.row] = reject.reason, evidence_json(reject.evidence)
    columns = pa.array(reason, pa.string()), pa.array(evidence, pa.string())
    return divide_by(table, stage, *columns, counters)


def divide_by(
    table: pa.Table, stage: str, reason: pa.Array, evidence: pa.Array, counters: dict[str, int] | None = None
) -> Outcome:
    """An outcome in which the rows that have a reason are quarantined.

    Args:
        table: the stage's rows.
        stage: the stage's name.
        reason, evidence: one for each row, the evidence as JSON; null where the row is kept.
        counters: see `Outcome`.
    """
    keep = pc.is_null(reason)
    out = pc.invert(keep)
    taken = table.select(SCHEMA.names).filter(out)
    rejected = pa.table(
        [
            *taken.columns,
            pa.repeat(pa.scalar(stage, pa.string()), taken.num_rows),
            reason.filter(out),
            evidence.filter(out),
            pa.nulls(taken.num_rows, pa.string()),
        ],
        schema=QUARANTINE_SCHEMA,
    )
    return Outcome(table.filter(keep) if taken.num_rows else table, rejected, counters or {})


def example_of(id_: str, before: str, after: str) -> Example:
    """The example of a change: both texts around the first place where they differ, with NEAR characters around."""
    return _around(id_, before, after, NEAR, EXCERPT + 2 * NEAR)


def excerpt(example: Example) -> Example:
    """An example as people see it, cut between words."""
    return _around(example["id"], example["before"], example["after"], AROUND, EXCERPT)


def _around(id_: str, before: str, after: str, around: int, longest: int) -> Example:
    same = _same(before, after)
    tail = _same(before[same:][::-1], after[same:][::-1])
    begin = max(0, same - around)
    begin = before.find(" ", begin, same) + 1 or begin if begin else 0

    def part(text: str) -> str:
        end = min(len(text) - tail + around, begin + longest)
        cut = text.rfind(" ", max(begin, len(text) - tail), end) if end < len(text) else end
        return text[begin : cut if cut > begin else end]

    return {"id": id_, "before": part(before), "after": part(after)}


def _same(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    return len(commonprefix([one, other]))  # noqa: RUF071  of characters, not of paths


def first_examples(examples: Iterable[Example]) -> list[Example]:
    """The few examples of the smallest ids: the same ones, however the rows were cut into shards."""
    by_id = {
        example["id"]: example for example in sorted(examples, key=lambda each: sorted(each.items()), reverse=True)
    }
    return [by_id[id_] for id_ in sorted(by_id)[:EXAMPLES]]


def evidence_json(evidence: dict[str, Any]) -> str:
    """Evidence as canonical JSON text; a lone surrogate becomes its escape."""
    try:
        return orjson.dumps(evidence, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # a lone surrogate, or a number that orjson does not know
        text = json.dumps(evidence, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace").decode()


class Task(Protocol):
    """Work on one shard, small enough to send to another process."""

    @property
    def size(self) -> int:
        """How much work it is, in `unit`s."""

    @property
    def unit(self) -> str:
        """ "rows", "bytes", ..."""


TaskT = TypeVar("TaskT", bound=Task)
Result = TypeVar("Result")


class MapShards(Protocol):
    """Runs `function` over tasks, anywhere and in any order; gives back the results in the order of the tasks."""

    def __call__(self, stage: str, function: Callable[[TaskT], Result], tasks: Sequence[TaskT], /) -> list[Result]: ...


def map_in_process(stage: str, function: Callable[[TaskT], Result], tasks: Sequence[TaskT], /) -> list[Result]:
    """The MapShards that runs every task here, one after the other."""
    return [function(task) for task in tasks]


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

    def kept(self) -> pa.Table:
        return read_arrow(self.folder / "kept.arrow")

    def quarantine(self) -> pa.Table:
        return read_arrow(self.folder / "rejected.arrow")


def cached_outcome(
    cache: Path, key_of: Any, rows_in: int | None, compute: Callable[[], Outcome], before: Shard | None = None
) -> Shard:
    """The shard of the cache that `key_of` names, computed if it is not there.

    Args:
        cache: the store's cache folder.
        key_of: JSON-like value that determines the outcome; its hash is the shard's key.
        rows_in: how many rows the outcome must account for (None where the stage itself finds out: reading).
        compute: makes the outcome.
        before: the shard it is made of; if its rows are left as they were, they are linked to and not written again.

    Raises:
        AssayError: the outcome has lost or invented rows (law 1).
    """
    key = digest([SUMMARY, key_of])
    folder = keyed_folder(cache / "stages", key)
    if (folder / "summary.json").is_file():
        return Shard(folder, key, **json.loads((folder / "summary.json").read_bytes()), cached=True)
    outcome = compute()
    if rows_in is not None and outcome.kept.num_rows + outcome.rejected.num_rows != rows_in + outcome.made:
        raise AssayError(
            f"{rows_in} rows in, {outcome.made} made, {outcome.kept.num_rows} kept and {outcome.rejected.num_rows} "
            "quarantined: rows are not conserved.",
            remedy="This is a defect of the stage; nothing was published.",
        )
    summary = {
        "rows": outcome.kept.num_rows,
        "rejected": outcome.rejected.num_rows,
        "reasons": dict(Counter(outcome.rejected["reason"].to_pylist())),
        "counters": outcome.counters,
        "examples": {rule: first_examples(found) for rule, found in outcome.examples.items()},
        "made": outcome.made,
        "distributions": distributions(outcome.kept),
    }

    def write(draft: Path) -> None:
        if before is not None and outcome.kept.equals(before.kept()):
            os.link(before.folder / "kept.arrow", draft / "kept.arrow")
        else:
            write_arrow(outcome.kept, draft / "kept.arrow")
        write_arrow(outcome.rejected, draft / "rejected.arrow")
        (draft / "summary.json").write_bytes(orjson.dumps(summary))

    cache_folder(folder, write)
    return Shard(folder, key, **summary, cached=False)


@dataclass(frozen=True)
class StageTask:
    """A stage over a shard."""

    stage: str
    version: Any
    settings: Any
    """JSON-like; with the version and the shard's key it determines the outcome."""
    run: Callable[[pa.Table], Outcome]
    shard: Shard
    cache: Path
    unit: str = "rows"

    @property
    def size(self) -> int:
        return self.shard.rows


def run_stage(task: StageTask) -> Shard:
    """Run a stage over a shard, or find its outcome in the cache."""
    return cached_outcome(
        task.cache,
        [task.stage, task.version, task.settings, task.shard.key],
        task.shard.rows,
        lambda: task.run(task.shard.kept()),
        task.shard,
    )


def keyed_folder(root: Path, key: str) -> Path:
    """Where the cache keeps what `key` names: below its first two digits, so that no folder grows too long."""
    return root / key[:2] / key


def cache_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Fill a folder of the cache aside and rename it into place, so that it is there whole or not at all.

    The system writes it to the disk when it will: to wait for that would take a tenth of a run. After a power failure
    the cache is best removed; what is published has been waited for.
    """
    with drafted(folder.parent) as draft:
        try:
            write(draft)
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another run has just made the same folder
                raise


def clear_drafts(cache: Path) -> None:
    """Remove what killed runs have left half-made in a store's cache; what a live run is at work on stays."""
    for parent in {draft.parent for draft in cache.glob(f"*/*/{DRAFT}*")}:
        with locked(parent):
            remove_abandoned(parent)


def write_arrow(table: pa.Table, path: Path) -> None:
    """Write a table as an Arrow IPC file."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def read_arrow(path: Path) -> pa.Table:
    """Read an Arrow IPC file, memory-mapped."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()
