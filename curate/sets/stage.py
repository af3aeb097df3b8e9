"""The form of a stage over all rows at once: what rows are judged by is found shard by shard, then judged in one place.

The two halves are cached separately: `keys_of` by the shard, `judge` by all shards and whatever else it looks at. What
a stage says of a row is applied to the shards, counted and published in one place for all stages (`curate.pipeline`).
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from curate.cache import cache_folder, intact, is_kept, keyed_folder, read_arrow, sealed, write_arrow
from curate.delta import COMPRESSION
from curate.engine import MapShards
from curate.errors import AssayError
from curate.hashing import digest
from curate.manifest import DatasetManifest
from curate.progress import Progress
from curate.record import SCHEMA, SPLITS
from curate.sets.earlier import Earlier
from curate.sets.kept_keys import KeptKeys
from curate.sets.rows import Rows, rows_of
from curate.sets.signed import SIGNED, Part
from curate.shards import DEFECT, Shard, StageTask, blamed, run_stage
from curate.stage import DECIDED, Outcome, RowStage, Stage, divide_by

NAME = re.compile(r"[a-z][a-z0-9_]*")
KEYS, APART = "keys.arrow", "apart.arrow"
"""Files of an entry of keys."""
BATCH = 1 << 14
"""Rows of a verdict that are looked at a time."""
LooksBack = Literal["never", "at rows", "at splits"]


@dataclass(frozen=True)
class Verdict:
    """What a stage says of all rows."""

    rows: pa.Table
    """One row for each, in the order of the keys: `reason` and `evidence` (JSON), null where the row is kept, and the
    columns that the stage sets, such as `cluster`."""
    beside: Mapping[str, pa.Table] = field(default_factory=dict)
    """Tables that later stages read, by name."""
    published: Mapping[str, pa.Table] = field(default_factory=dict)
    """Tables that are published with the version, as NAME.parquet: a record's columns and others."""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    """What the manifest says beside the counts of rows and reasons: JSON-like, by key; mappings under one key join."""


@dataclass(frozen=True)
class Judged:
    """A verdict that has been reached, as the cache holds it."""

    folder: Path
    key: str
    """Hash of everything the verdict depends on."""
    reached: bool = False
    """Whether it was reached just now, and not found."""
    keys_made: tuple[Path, ...] = ()
    """The entries of the cache that were made then of what rows are compared by, and not found."""

    @staticmethod
    def write(verdict: Verdict, begins: Sequence[int], folder: Path) -> None:
        """Write what a stage says; of each shard's rows in a file of its own, for a file is read through to be trusted.

        Args:
            begins: the numbers of the shards' first rows, and how many rows there are.
        """
        (folder / "rows").mkdir()
        for number, (begin, end) in enumerate(pairwise(begins)):
            write_arrow(verdict.rows.slice(begin, end - begin), folder / _part(number))
        for kind, tables in (("beside", verdict.beside), ("published", verdict.published)):
            (folder / kind).mkdir()
            for name, table in tables.items():
                # What is published has texts, and is read once.
                compression = COMPRESSION if kind == "published" else None
                write_arrow(table, folder / kind / f"{name}.arrow", compression)
        (folder / "manifest.json").write_bytes(orjson.dumps(verdict.manifest))

    def rows(self) -> pa.Table:
        """See `Verdict.rows`; memory-mapped, as all tables of it but those that are published."""
        count = sum(name.startswith("rows/") for name in sealed(self.folder))
        return pa.concat_tables(map(self.rows_of_shard, range(count)))

    def rows_of_shard(self, number: int) -> pa.Table:
        """Those of one shard, by its place among them."""
        return self._read(_part(number))

    def beside(self, name: str) -> pa.Table:
        return self._read(f"beside/{name}.arrow")

    def published(self) -> dict[str, Callable[[], pa.Table]]:
        """What gives each of the tables."""
        names = sorted(name for name in sealed(self.folder) if name.startswith("published/"))
        return {Path(name).stem: partial(self._read, name) for name in names}

    def _read(self, name: str) -> pa.Table:
        return read_arrow(intact(self.folder, name))

    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(intact(self.folder, "manifest.json").read_bytes())
        return found


def _part(number: int) -> str:
    return f"rows/{number:06}.arrow"


@dataclass(frozen=True)
class Past:
    """What earlier versions hold."""

    rows: Sequence[Earlier]
    """The oldest first."""
    versions: list[str]
    """The versions that the drop is compared with, in order."""
    bound_by: list[str]
    """The versions of the same drop whose splits stand."""
    files: list[str]
    """SHA-256 of each file of the drop: rows of these are judged anew."""
    published: Callable[[str], Path]
    """Gives the folder of a version; one that has been deleted is not there."""
    replaced: int = 0
    """How many of the versions, the oldest, this drop or a later version stands in place of."""
    missing: int = 0
    """How many published rows of them a drop that grows does not hold any more."""

    def splits(self) -> set[str]:
        """The splits that rows of the versions are in that the drop is compared with and adds to."""
        there = [self.published(version) for version in self.versions[self.replaced :]]
        counted = [DatasetManifest.read(folder).counts.splits for folder in there if folder.is_dir()]
        return {split for rows in counted for split, number in rows.items() if number}

    def shown(self, looks_back: LooksBack) -> tuple["Past", list[Any]]:
        """As much of it as a stage asks for, and what that depends on: nothing else can decide a verdict."""
        if looks_back == "never":
            return replace(self, rows=[], versions=[], bound_by=[], files=[]), []
        there = [version for version in self.versions if self.published(version).is_dir()]
        if looks_back == "at splits":
            return self, [self.versions, there, self.files, self.bound_by, self.replaced]
        rows = [replace(each, assigned=np.zeros_like(each.assigned)) for each in self.rows]
        return replace(self, rows=rows, bound_by=[]), [self.versions, there, self.files, self.replaced]


@dataclass(frozen=True)
class Seen:
    """What a stage over all rows may look at beside their keys."""

    rows: Rows
    """The rows, whole, in the order of the keys."""
    past: Past
    before: Mapping[str, Judged]
    """The verdicts of the stages that came before, by their names, in order."""
    apart: Sequence[tuple[int, Callable[[], pa.Table]]] = ()
    """For each shard, how many rows it has, and what gives the columns of their keys that are kept apart: mapped from a
    file for as long as they are held."""
    folder: Path | None = None
    """On the disk that is to hold what memory is not to: files without a name there go with the run."""


class SetStage(Stage, ABC):
    """A stage that judges all rows at once: `keys_of` for each shard, then `judge` over all of them."""

    place: ClassVar[str] = "split"
    looks_back: ClassVar[LooksBack] = "never"
    """What of earlier versions the verdict depends on: nothing, their rows, or also the splits these are in."""
    reads: ClassVar[tuple[str, ...] | None] = None
    """Columns that `keys_of` looks at, of those that there are; None: all."""
    apart: ClassVar[tuple[str, ...]] = ()
    """Columns of the keys that are too large to be there for all rows at once: `judge` asks for them shard by shard."""

    @abstractmethod
    def keys_of(self, table: pa.Table) -> pa.Table:
        """What the rows of a shard are judged by: one row for each, in their order. Computed by any worker, and kept;
        must not depend on the rows' order. (Called `keys`, it would make the stage a mapping to `dict`, by which
        Prefect looks through a recipe.)"""

    def keys_key(self) -> Any:
        """All that the keys of given rows depend on, JSON-like: the whole stage, unless it knows better."""
        return self.key()

    @abstractmethod
    def judge(self, keys: pa.Table, seen: Seen) -> Verdict:
        """Judge all rows; the verdict must not depend on their order."""


def keys_folder(stage: SetStage, shard: Shard, cache: Path) -> Path:
    """The entry of the cache for a shard's keys."""
    return keyed_folder(cache / "stages", digest(["keys", 2, stage.keys_key(), shard.key]))


def run_keys(task: StageTask[SetStage]) -> tuple[Path, bool]:
    """The entry of the cache that holds a shard's keys, and whether it was made just now."""
    folder = keys_folder(task.stage, task.shard, task.cache)
    made = not is_kept(folder)
    if made:
        reads = task.stage.reads
        with blamed(task.stage):
            table = task.stage.keys_of(
                task.shard.kept([name for name in task.shard.columns if reads is None or name in reads])
            )
        if table.num_rows != task.size:
            raise AssayError(
                f"Stage {task.stage.name}: {table.num_rows} keys of {task.size} rows.",
                remedy="This is a defect of the stage: it is to give one row of keys for each row, in their order.",
            )

        def write(draft: Path) -> None:
            write_arrow(table.drop_columns([*task.stage.apart]), draft / KEYS)
            if task.stage.apart:
                write_arrow(table.select(task.stage.apart), draft / APART)

        cache_folder(folder, write)
    return folder, made


def kept_keys(given: Sequence[tuple[SetStage, Sequence[Shard]]], cache: Path) -> KeptKeys | None:
    """The keys of the rows that the stage was given which signs them; None without one, or if the cache lost some."""
    tasks = [StageTask(shard, cache, stage) for stage, shards in given if stage.apart == SIGNED for shard in shards]
    folders = [keys_folder(task.stage, task.shard, task.cache) for task in tasks]
    if not folders or not all(map(is_kept, folders)):
        return None
    keys = pa.concat_tables([read_arrow(intact(folder, KEYS)) for folder in folders])
    parts = [Part.of(task.size, _Apart(folder)) for task, folder in zip(tasks, folders, strict=True)]
    return KeptKeys(keys, parts, cache)


class _Apart:
    """Gives the columns of a shard's keys that are kept apart; the first time they are compared with their seal.

    Args:
        folder: see `run_keys`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: Path | None = None

    def __call__(self) -> pa.Table:
        self._path = self._path or intact(self._folder, APART)
        return read_arrow(self._path)


class Apply(RowStage):
    """A verdict, applied to the rows of one shard."""

    stage: str
    verdict: str
    """Its key."""
    folder: Path
    """See `Judged`."""
    number: int
    """The shard's place among all."""

    @property
    def told_as(self) -> str:
        return self.stage

    @property
    def reads(self) -> tuple[str, ...]:
        return (DECIDED,)

    def key(self) -> Any:
        return ["apply", 1, self.stage, self.verdict]  # a shard has its place among all shards, which are in that key

    def run(self, table: pa.Table) -> Outcome:
        mine = Judged(self.folder, self.verdict).rows_of_shard(self.number).combine_chunks()
        for name in mine.column_names:
            if name in table.column_names:
                table = table.set_column(table.schema.get_field_index(name), mine.schema.field(name), mine[name])
            elif name not in ("reason", "evidence"):
                table = table.append_column(mine.schema.field(name), mine[name])
        return divide_by(table, self.stage, *(mine[name].combine_chunks() for name in ("reason", "evidence")))


def _require_whole(stage: SetStage, verdict: Verdict, rows: int, before: Mapping[str, Judged]) -> None:
    """See to it that a verdict says of every row what it must, before it is kept.

    Raises:
        AssayError: it does not, or publishes a table under a name that is taken.
    """
    columns = [
        verdict.rows.schema.field(name).type for name in ("reason", "evidence") if name in verdict.rows.column_names
    ]
    if columns != [pa.string()] * 2 or verdict.rows.num_rows != rows:
        raise AssayError(
            f"Stage {stage.name}: a verdict of {verdict.rows.num_rows} rows with "
            f"{', '.join(verdict.rows.column_names)}, expected one for each of {rows} with reason and evidence.",
            remedy=DEFECT,
        )
    if unknown := sorted({*pc.unique(verdict.rows["reason"]).drop_null().to_pylist()} - {*stage.reasons}):
        raise AssayError(f"Stage {stage.name}: {unknown[0]!r} is none of its `reasons`.", remedy=DEFECT)
    for batch in verdict.rows.select(["reason", "evidence"]).to_batches(BATCH):
        for evidence in batch["evidence"].filter(batch["reason"].is_valid()).to_pylist():
            try:
                orjson.loads(evidence or "")
            except orjson.JSONDecodeError:
                problem = f"Stage {stage.name}: evidence that is no JSON: {evidence!r:.80}"
                raise AssayError(problem, remedy=DEFECT) from None
    if odd := [name for name in (*verdict.published, *verdict.beside) if not NAME.fullmatch(name)]:
        raise AssayError(f"Stage {stage.name}: {odd[0]!r} is no name of a table.", remedy=DEFECT)
    others = {name for each in before.values() for name in each.published()}
    if taken := sorted(verdict.published.keys() & {*SPLITS, "quarantine", "sources", *others}):
        raise AssayError(f"Stage {stage.name}: a version has a table {taken[0]!r} already.", remedy=DEFECT)
    if own := sorted({*verdict.rows.column_names} & {*SCHEMA.names}):
        raise AssayError(
            f"Stage {stage.name}: its verdict sets {own[0]!r}, which is what the data says.", remedy=DEFECT
        )


def judge_rows(
    stage: SetStage,
    shards: Sequence[Shard],
    past: Past,
    before: Mapping[str, Judged],
    cache: Path,
    map_shards: MapShards,
    progress: Progress,
) -> tuple[list[Shard], Judged]:
    """Judge all rows at once, or find the verdict in the cache, and apply it to each shard.

    Args:
        stage: prepared.
        shards: the rows that are left.
        past, before: see `Seen`.
        cache: the store's.
        map_shards: runs what is done shard by shard.
        progress: told of the rest.
    """
    shown, looked_at = past.shown(stage.looks_back)
    key = digest(["verdict", 3, stage.key(), stage.keys_key(), looked_at, [shard.key for shard in shards]])
    folder = keyed_folder(cache / "stages", key)
    judged = Judged(folder, key)
    if not is_kept(folder):
        found = map_shards(f"{stage.name}: keys", run_keys, [StageTask(shard, cache, stage) for shard in shards])
        folders = [each for each, _ in found]
        judged = Judged(folder, key, True, tuple(each for each, made in found if made))
        keys = pa.concat_tables([read_arrow(intact(each, KEYS)) for each in folders])
        sizes = [shard.rows for shard in shards]
        apart = [*zip(sizes, map(_Apart, folders), strict=True)] if stage.apart else []
        what = f"{stage.name}: judge"
        progress(what, 0, keys.num_rows, "rows")
        with blamed(stage):
            verdict = stage.judge(keys, Seen(rows_of(shards, cache), shown, before, apart, cache))
        _require_whole(stage, verdict, keys.num_rows, before)
        begins = np.cumsum([0, *(shard.rows for shard in shards)]).tolist()
        cache_folder(folder, partial(Judged.write, verdict, begins))
        progress(what, keys.num_rows, keys.num_rows, "rows")
    tasks: list[StageTask[RowStage]] = [
        StageTask(shard, cache, Apply(stage=stage.name, verdict=key, folder=folder, number=number))
        for number, shard in enumerate(shards)
    ]
    return map_shards(stage.name, run_stage, tasks), judged
