"""The cache: work that is kept, each piece in a folder that is named by all it depends on.

Such an entry is there whole or not at all, and is sealed with the checksums of its files: whatever is read of it is
compared with them, and an entry that has changed by itself is made anew.
"""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from curate.distribution import Counts, distributions
from curate.drafts import DRAFT, drafted, locked, remove_abandoned
from curate.engine import Alone, Narrowable, WorkerDied
from curate.errors import AssayError, RotError
from curate.examples import Example, first_examples
from curate.hashing import canonical_json, checksum, digest
from curate.progress import Progress, silent
from curate.record import QUARANTINE_SCHEMA, SCHEMA
from curate.stage import WORKER_DIED, Outcome, Reject, RowStage, Stage, divide

DEFECT = "This is a defect of the stage; nothing was published. --debug shows where."
StageT = TypeVar("StageT", bound=Stage)
Made = TypeVar("Made")

SUMMARY = 3
"""Raised whenever the cache is to hold something else about a shard."""
SEAL = "checksums"
"""The file of an entry that says what the others were when they were written: without it there is no entry."""


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
        return read_arrow(intact(self.folder, "kept.arrow"))

    def quarantine(self) -> pa.Table:
        return read_arrow(intact(self.folder, "rejected.arrow"))


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
        RotError: it is there, and its summary is damaged.
    """
    if (found := find_outcome(cache, key_of)) is not None:
        return found
    key = _outcome_key(key_of)
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
        # Which has just been read, and so compared with its checksum.
        if before is not None and outcome.kept.equals(read_arrow(before.folder / "kept.arrow")):
            os.link(before.folder / "kept.arrow", draft / "kept.arrow")
        else:
            write_arrow(outcome.kept, draft / "kept.arrow")
        write_arrow(outcome.rejected, draft / "rejected.arrow")
        (draft / "summary.json").write_bytes(orjson.dumps(summary))

    folder = keyed_folder(cache / "stages", key)
    cache_folder(folder, write)
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
        begin, end = (self.shard.kept()["source"][at].as_py() for at in (0, self.size - 1))
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
        outcome = Outcome(self.shard.kept().slice(begin, end - begin), QUARANTINE_SCHEMA.empty_table())
        key = ["rows", self.shard.key, begin, end]
        return replace(self, shard=cached_outcome(self.cache, key, end - begin, lambda: outcome))

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
        return cached_outcome(self.cache, ["joined", [result.key for result in results]], self.size, lambda: outcome)

    def without(self, died: WorkerDied, nothing: Shard) -> Shard:
        reject = Reject(0, WORKER_DIED, {"message": died.how})
        rejected = divide(self.shard.kept(), self.stage.told_as, [reject]).rejected
        key = ["left out", self.stage.key(), self.shard.key, died.how]
        return cached_outcome(self.cache, key, self.size, lambda: Outcome(nothing.kept(), rejected))


def run_stage(task: StageTask[RowStage]) -> Shard:
    """Run a stage over a shard, or find its outcome in the cache.

    Raises:
        AssayError: the stage has failed, has lost a row, or gives what is no outcome.
    """
    return cached_outcome(
        task.cache,
        [task.stage.key(), task.shard.key],
        task.shard.rows,
        lambda: _outcome(task.stage, task.shard.kept()),
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


def keyed_folder(root: Path, key: str) -> Path:
    """Where the cache keeps what `key` names: below its first two digits, so that no folder grows too long."""
    return root / key[:2] / key


def cache_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Fill an entry aside, seal it and rename it into place, so that it is there whole or not at all.

    The system writes it to the disk when it will: to wait for that would take a tenth of a run. What a power failure
    leaves half-written does not agree with its seal; what is published has been waited for.
    """
    with drafted(folder.parent) as draft:
        write(draft)
        _seal(draft, folder)
        while True:
            try:
                draft.rename(folder)
                return
            except OSError:
                if is_kept(folder):  # another run has just made the same entry
                    return
                if not folder.is_dir():
                    raise
            _discard(folder)


def cache_text(folder: Path, name: str, text: str) -> None:
    """Make an entry of one file."""

    def write(draft: Path) -> None:
        (draft / name).write_text(text)

    cache_folder(folder, write)


def is_kept(folder: Path) -> bool:
    """Whether an entry is there; its seal gets the time. Whether it is sound shows when it is read."""
    with suppress(PermissionError):  # of a store that is only read
        try:
            os.utime(folder / SEAL)
        except (FileNotFoundError, NotADirectoryError):
            return False
    return (folder / SEAL).is_file()


def entries(cache: Path) -> dict[Path, float]:
    """The entries of a store's cache, each with the time at which it was last asked for."""
    return {seal.parent: seal.stat().st_mtime for seal in sorted(cache.rglob(SEAL))}


def intact(folder: Path, name: str) -> Path:
    """A file of an entry, for the caller to read: its bytes are those that were written.

    Raises:
        RotError: they are not, or the entry's seal is damaged itself.
    """
    wanted = sealed(folder).get(name)
    try:
        found = checksum(folder / name)
    except (FileNotFoundError, IsADirectoryError):
        found = None
    if found is None or wanted is None:
        raise RotError(folder, f"{name} is missing")
    if found != wanted:
        raise RotError(folder, f"the bytes of {name} are not those that were written")
    return folder / name


def sealed(folder: Path) -> dict[str, str]:
    """The files of an entry by name, each with its checksum.

    Raises:
        RotError: the seal is missing or damaged, or that of another entry.
    """
    try:
        own, _, content = (folder / SEAL).read_bytes().partition(b"\n")
    except FileNotFoundError:
        raise RotError(folder, f"{SEAL} is missing") from None
    if own != xxhash.xxh3_128_hexdigest(content).encode():
        raise RotError(folder, f"the bytes of {SEAL} are not those that were written")
    name, files = orjson.loads(content)
    if name != _name(folder):
        raise RotError(folder, f"it holds what was written as {name}")
    found: dict[str, str] = files
    return found


def sound(folder: Path, progress: Progress = silent) -> bool:
    """Whether an entry is there, all of it as it was written; one that is damaged is told and removed."""
    if not is_kept(folder):
        return False
    try:
        require_sound(folder)
    except RotError as rot:
        _remove(rot, progress)
        return False
    return True


def require_sound(folder: Path) -> None:
    """Read a whole entry.

    Raises:
        RotError: something of it is not as it was written, or was added since.
    """
    names = sealed(folder).keys()
    for name in names:
        intact(folder, name)
    if added := sorted(_files(folder) - names - {SEAL}):
        raise RotError(folder, f"{added[0]} was added to it")


def mended(run: Callable[[], Made], progress: Progress = silent) -> Made:
    """What `run` gives. An entry that it finds damaged is told and removed, and it runs again, which makes that anew.

    Raises:
        RotError: an entry was found damaged twice: the disk or the memory is at fault.
    """
    removed: set[Path] = set()
    while True:
        try:
            return run()
        except RotError as rot:
            if rot.folder in removed:
                raise
            removed.add(rot.folder)
            _remove(rot, progress)


def damaged(cache: Path) -> Iterator[RotError]:
    """Read every entry of a store's cache; gives those that are damaged."""
    for seal in sorted(cache.rglob(SEAL)):
        try:
            require_sound(seal.parent)
        except RotError as rot:
            yield rot


def _seal(draft: Path, folder: Path) -> None:
    """Seal what is to be the entry `folder`."""
    content = canonical_json([_name(folder), {name: checksum(draft / name) for name in _files(draft)}])
    (draft / SEAL).write_bytes(xxhash.xxh3_128_hexdigest(content).encode() + b"\n" + content)


def _name(folder: Path) -> str:
    """What an entry is called wherever the store lies."""
    return f"{folder.parent.name}/{folder.name}"


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _remove(rot: RotError, progress: Progress) -> None:
    progress(f"{rot.folder} is damaged ({rot.problem}): made anew", 1, 1, "entries")
    _discard(rot.folder)


def _discard(folder: Path) -> None:
    """Remove an entry, unless another run has just made it anew; who has a file of it open keeps that."""
    with suppress(FileNotFoundError), locked(folder.parent):
        try:
            require_sound(folder)
        except RotError:
            if folder.is_dir():
                _set_aside(folder)


def forget(folder: Path) -> None:
    """Remove an entry that is not wanted any more; a process that is killed meanwhile leaves nothing that looks like
    one."""
    with suppress(FileNotFoundError), locked(folder.parent):
        _set_aside(folder)


def _set_aside(folder: Path) -> None:
    aside = folder.rename(tempfile.mkdtemp(prefix=DRAFT, dir=folder.parent))
    shutil.rmtree(aside, ignore_errors=True)


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
