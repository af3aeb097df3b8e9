"""Ingest: the files of a drop -> shards of records, and a quarantine of what cannot be read or mapped."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.mapping import Mapper, RecordMapping, RowError, build_lookup, raw_json
from curate.read import UNREADABLE, InputFile, Unread, find_files, read_rows
from curate.recipe import Recipe
from curate.record import QUARANTINE_SCHEMA, SCHEMA
from curate.stage import MapShards, Outcome, Shard, cached_outcome, evidence_json

VERSION = 3
SHARD_BYTES = 8 << 20
"""Raw bytes of a shard: enough shards to keep every core busy, few enough for a shard to be worth its start."""


@dataclass(frozen=True)
class Side:
    """A lookup of the recipe with the files it is read from."""

    name: str
    key: str
    files: tuple[InputFile, ...]


@dataclass(frozen=True)
class ReadTask:
    """Reading one shard's files."""

    files: tuple[InputFile, ...]
    mapping: str
    """The recipe's `record` as JSON."""
    lookups: tuple[Side, ...]
    cache: Path
    unit: str = "bytes"

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Ingested:
    """A drop that has been read."""

    files: list[InputFile]
    """Those of all sources, by name."""
    lookups: dict[str, dict[str, str]]
    """Name -> file name -> SHA-256 of each side table."""
    shards: list[Shard]


def ingest(recipe: Recipe, cache: Path, map_shards: MapShards, shard_bytes: int) -> Ingested:
    """Read a recipe's sources into shards of records.

    Args:
        recipe: what to read, and how a row becomes a record.
        cache: the store's.
        map_shards: runs a stage over shards.
        shard_bytes: raw bytes of a shard.

    Raises:
        AssayError: files cannot be found or opened, or a lookup has holes.
    """
    drop = Path(recipe.drop)
    files = [file for source in recipe.sources for file in find_files(source, drop, cache)]
    files.sort(key=lambda file: file.name)
    lookups = tuple(
        Side(name, lookup.key, tuple(find_files(lookup, drop, cache))) for name, lookup in recipe.lookups.items()
    )
    mapping = recipe.record.model_dump_json()
    tasks = [ReadTask(part, mapping, lookups, cache) for part in _parts(files, shard_bytes)]
    shards = map_shards("read", run_read, tasks)
    return Ingested(files, {side.name: {file.name: file.sha256 for file in side.files} for side in lookups}, shards)


@cache
def _mapper(mapping: str, lookups: tuple[Side, ...]) -> Mapper:
    """The mapping, compiled, and its side tables, read once a process."""
    tables = {
        side.name: build_lookup(side.name, side.key, (row for file in side.files for row in read_rows(file)))
        for side in lookups
    }
    return Mapper(RecordMapping.model_validate_json(mapping), tables)


def run_read(task: ReadTask) -> Shard:
    """Read a shard's files into records, or find them in the cache."""

    def named(files: Sequence[InputFile]) -> list[list[str | None]]:
        return [[file.name, file.sha256, file.format] for file in files]

    lookups = [[side.name, side.key, named(side.files)] for side in task.lookups]

    def compute() -> Outcome:
        mapper = _mapper(task.mapping, task.lookups)
        counters: Counter[str] = Counter()
        more = 0
        records: list[dict[str, Any]] = []
        rejected: list[dict[str, Any]] = []
        for file in task.files:
            for number, row in mapper.rows(read_rows(file)):
                source = {"drop": None, "file": file.name, "row": number}
                if isinstance(row, Unread):
                    seen = {"message": row.message, "line": row.line}
                    rejected.append(_unmade(source, UNREADABLE, seen, row.raw))
                    continue
                try:
                    made = mapper.records(row, file.name)
                except RowError as problem:
                    rejected.append(_unmade(source, problem.reason, problem.evidence, raw_json(row)))
                    continue
                more += len(made) - 1
                for record in made:
                    counters.update(record.pop("told"))
                    records.append(record | {"source": source})
        return Outcome(
            pa.Table.from_pylist(records, schema=SCHEMA),
            pa.Table.from_pylist(rejected, schema=QUARANTINE_SCHEMA),
            dict(counters),
            made=more,
        )

    return cached_outcome(task.cache, ["read", VERSION, task.mapping, named(task.files), lookups], None, compute)


def _unmade(source: dict[str, Any], reason: str, evidence: dict[str, Any], raw: str) -> dict[str, Any]:
    """A quarantined row of which no record was made."""
    return {"source": source, "stage": "read", "reason": reason, "evidence": evidence_json(evidence), "raw": raw}


def _parts(files: list[InputFile], size: int) -> list[tuple[InputFile, ...]]:
    """Files in groups of about `size` bytes, in their order; a larger file is a group of its own."""
    parts: list[list[InputFile]] = []
    room = 0
    for file in files:
        if not parts or file.size > room:
            parts.append([])
            room = size
        parts[-1].append(file)
        room -= file.size
    return [tuple(part) for part in parts]
