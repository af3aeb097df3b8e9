"""Ingest: the files of a drop -> shards of records, and a quarantine of what cannot be read or mapped."""

import hashlib
import re
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Self

import orjson
import pyarrow as pa
import xxhash

from curate.cache import cache_text, intact, is_kept, keyed_folder
from curate.engine import Alone, MapShards, Narrowable, WorkerDied
from curate.errors import AssayError
from curate.forgotten import NOTHING, Forgotten
from curate.hashing import digest
from curate.read.conversation import NOT_TEXT, REJECTED_ANSWER, UNGRADED_ANSWER
from curate.read.encoding import SAMPLE, encoding_of, is_utf8
from curate.read.files import Files, InputFile, Options, find_files, grouped, hashed, list_files, unopened
from curate.read.kept_documents import keep_documents, rows_kept
from curate.read.mapping import Lookup, Mapper, RecordMapping, RowError, build_lookup, raw_json
from curate.read.raw import UNREADABLE, Part, is_plain_json_lines, parse, read_part, read_rows
from curate.read.raw_row import LONGEST_ROW, NO_TEXT_LAYER, Document, Row, Unread, shown
from curate.read.sniff import BLOCK, is_text
from curate.record import QUARANTINE_SCHEMA, SCHEMA
from curate.shards import Shard, cached_outcome, find_outcome
from curate.stage import Outcome, evidence_json, installed

NAME = "read"
VERSION = 14
REASONS = {
    UNREADABLE: "the file or line cannot be read",
    NO_TEXT_LAYER: "a page of a PDF shows something and has no text, as scans do",
    "unrecognised": "the recipe maps no `turns`, and the row fits no known shape",
    "unmappable": "an expression of `record` failed, or gave something else than text",
    "label_underivable": "a condition of `record.underivable` holds",
    NOT_TEXT: "pictures, sound or the like are part of what is said",
    REJECTED_ANSWER: "the row says that the answer is bad, or that another one is better",
    UNGRADED_ANSWER: "the row grades the answer, and the recipe does not say which grades are good (`record.accept`)",
}
"""What reading quarantines rows for, and what it means."""
LIBRARIES = ("charset-normalizer", "google-re2", "jinja2")
"""Packages whose versions the records depend on."""
READERS = ("onnxruntime", "pypdfium2", "python-calamine", "rapidocr", "resiliparse", "striprtf")
"""Those that read documents: what is kept of a drop depends on them too."""
SHARD_BYTES = 8 << 20
"""Raw bytes of a shard: enough shards to keep every core busy, few enough for a shard to be worth its start."""
TEXT_SHARE = 2
"""A shard ends with so many times its bytes of rows as they are read: those of one part of a file are hardly ever more,
and what is left over would be a shard that is not worth its start."""
FILE_BYTES = 1 << 10
"""Bytes that are read in the time that a file takes to be opened, about."""
ROW_BYTES = 200
"""Bytes of a row beside its texts, about."""
MOST_COLUMNS = 1000
"""Columns that are told of a file. Where there are more, their names are data."""


@dataclass(frozen=True)
class Side:
    """A lookup of the recipe with the files it is read from."""

    name: str
    key: str
    files: tuple[InputFile, ...]


@dataclass(frozen=True)
class ScanTask(Narrowable):
    """Finding where a long file may be cut, or a part of one."""

    file: InputFile
    whole_trees: bool
    """Whether rows may be messages of trees, which must not be cut."""
    shard_bytes: int
    part: Part | None = None
    unit: str = "bytes"

    @property
    def size(self) -> int:
        return self.part.end - self.part.begin if self.part else self.file.size

    def __str__(self) -> str:
        return self.file.name

    def without(self, died: WorkerDied, nothing: None) -> tuple[str, list[Part]]:
        """It is not cut: whether it can be read is seen when it is."""
        return "", []


@dataclass(frozen=True)
class Ingested:
    """A drop that has been read, or a part of it."""

    files: list[InputFile]
    """Those of all sources, by name, hashed."""
    lookups: dict[str, dict[str, str]]
    """Name -> file name -> SHA-256 of each side table."""
    shards: list[Shard]
    forgotten: list[dict[str, Any]] = field(default_factory=list)
    """Rows that must not come back, by `id` and `source`; no shard is made where there is one."""
    copies: list[Path] = field(default_factory=list)
    """Entries of the cache that were made of remote files."""


@dataclass(frozen=True)
class ReadTask(Narrowable):
    """Reading some files, or a part of one; it can do without a file, and without a line of JSON lines."""

    files: tuple[InputFile, ...]
    """Hashed if there is a part; else they are hashed as they are read."""
    part: Part | None
    mapping: str
    """The recipe's `record` as JSON."""
    lookups: tuple[Side, ...]
    cache: Path
    shard_bytes: int
    forgotten: Forgotten
    unit: str = "bytes"

    @property
    def size(self) -> int:
        return self.part.end - self.part.begin if self.part else sum(file.size for file in self.files)

    def __str__(self) -> str:
        if not self.files:
            return f"lookups {', '.join(side.name for side in self.lookups)}" if self.lookups else "no file"
        name = self.files[0].name
        if self.part is not None:
            return f"{name} from line {self.part.line + 1}"
        return name if len(self.files) == 1 else f"{name} to {self.files[-1].name} ({len(self.files)} files)"

    def emptied(self) -> Self:
        return replace(self, files=(), part=None)

    def divided(self, alone: Alone) -> list[Self]:
        middle = len(self.files) // 2
        if middle:
            return [replace(self, files=files) for files in (self.files[:middle], self.files[middle:])]
        trees = RecordMapping.model_validate_json(self.mapping).turns is None
        try:
            sha256, parts = alone(run_halve, ScanTask(self.files[0], trees, self.size, self.part))
        except WorkerDied:
            return []
        files = (replace(self.files[0], sha256=sha256),)
        return [replace(self, files=files, part=part) for part in parts]

    def joined(self, results: Sequence[Ingested]) -> Ingested:
        return Ingested(
            [file for each in results for file in each.files],
            {},
            [shard for each in results for shard in each.shards],
            [row for each in results for row in each.forgotten],
        )

    def without(self, died: WorkerDied, nothing: Ingested) -> Ingested:
        file = self.files[0] if self.files[0].sha256 else hashed(self.files[0])
        line, row = (self.part.line + 1, self.part.row) if self.part else (None, 0)
        try:
            with file.path.open("rb") as stream:
                stream.seek(self.part.begin if self.part else 0)
                text = stream.read(min(self.size, LONGEST_ROW + 1))
        except OSError as error:
            raise unopened(file.path, error) from None
        source = {"drop": None, "file": file.name, "row": row}
        raw = shown(text if len(text) <= LONGEST_ROW else text[:1000]) if is_text(text[:BLOCK]) else ""
        left_out = _unmade(source, UNREADABLE, {"message": died.how, "line": line}, raw)
        outcome = Outcome(SCHEMA.empty_table(), pa.Table.from_pylist([left_out], schema=QUARANTINE_SCHEMA))
        key = ["left out", file.name, file.sha256, astuple(self.part) if self.part else None, died.how]
        return Ingested([file], {}, [cached_outcome(self.cache, key, None, lambda _: outcome)])


def ingest(
    sources: Sequence[Files],
    lookups: Mapping[str, Lookup],
    record: RecordMapping,
    drop: str | Path,
    cache: Path,
    map_shards: MapShards,
    shard_bytes: int = SHARD_BYTES,
    forgotten: Forgotten = NOTHING,
) -> Ingested:
    """Read a recipe's sources into shards of records.

    Args:
        sources, lookups, record: what to read, and how a row becomes a record.
        drop: folder of the raw files, or its URL.
        cache: the store's.
        map_shards: runs a stage over shards.
        shard_bytes: raw bytes of a shard; no more than twice as much of a file is held in memory, but for a row that is
            longer.
        forgotten: rows that must not come back; what holds one is not kept.

    Raises:
        AssayError: files cannot be found or opened, or a lookup has holes.
    """
    files = _each_once(file for source in sources for file in list_files(source, drop, cache))
    sides = tuple(Side(name, lookup.key, tuple(find_files(lookup, drop, cache))) for name, lookup in lookups.items())
    if gone := [file.name for side in sides for file in side.files if file.sha256 in forgotten.files]:
        whole = [file if file.sha256 else hashed(file) for file in files]
        return Ingested(whole, {}, [], [{"id": None, "source": {"file": name, "row": None}} for name in gone])
    keep_documents((file for side in sides for file in side.files), cache, _read_by(), map_shards)
    long = [file for file in files if file.size > shard_bytes]
    scans = [ScanTask(file, record.turns is None, shard_bytes) for file in long]
    cut = dict(zip(long, map_shards("scan", run_scan, scans) if scans else [], strict=True))
    mapping = record.model_dump_json()
    tasks: list[ReadTask] = []
    for group in grouped(files, shard_bytes, FILE_BYTES):
        hash_, parts = cut.get(group[0], ("", [None]))
        group = (replace(group[0], sha256=hash_), *group[1:])
        tasks += [ReadTask(group, part, mapping, sides, cache, shard_bytes, forgotten) for part in parts or [None]]
    done = map_shards("read", run_read, tasks)
    found: dict[str, InputFile] = {}
    for file in (file for each in done for file in each.files):
        found[file.name] = file if file.name not in found else _together(found[file.name], file)
    named = {side.name: {file.name: file.sha256 for file in side.files} for side in sides}
    back = [row for each in done for row in each.forgotten]
    return Ingested(
        [found[file.name] for file in files],
        named,
        [shard for each in done for shard in each.shards],
        back,
        [file.path.parent for file in (*files, *(file for side in sides for file in side.files)) if file.copied],
    )


def _each_once(files: Iterable[InputFile]) -> list[InputFile]:
    """Files by name, in order: one that two sources name alike is read once.

    Raises:
        AssayError: two files have one name, or two sources read one file in different ways.
    """
    found: dict[str, InputFile] = {}
    for file in files:
        if found.setdefault(file.name, file) != file:
            raise AssayError(
                f"Two of the recipe's sources have a file {file.name!r}, which differs in where it lies or how it is "
                "read.",
                remedy="A row is known by its file's name: let one source name it, or move one of the two files.",
            )
    return [found[name] for name in sorted(found)]


BLANK = re.compile(rb"\n[ \t\r\x0b\x0c]*(?=\n)")


def run_scan(task: ScanTask) -> tuple[str, list[Part]]:
    """The SHA-256 of a file and its parts of about `shard_bytes` bytes, which end where lines end.

    There are none where the file must be read in one go: it is not JSON lines, not surely in UTF-8, or has trees whose
    messages are rows. Of a part, the parts of it, with the file's SHA-256 as it was known.
    """
    if task.part is None and not is_plain_json_lines(task.file):
        return "", []
    whole = hashlib.sha256()
    parts: list[Part] = []
    begin, line, row = (task.part.begin, task.part.line, task.part.row) if task.part else (0, 0, 0)
    end = begin + task.size
    cut = True
    try:
        with task.file.path.open("rb") as file:
            if task.part is None:
                encoding = task.file.options.encoding or encoding_of(file.read(SAMPLE))
                cut = encoding is not None and is_utf8(encoding)
            file.seek(begin)
            while block := file.read(min(task.shard_bytes, end - begin) if task.part else task.shard_bytes):
                hash_ = xxhash.xxh3_128(block)
                whole.update(block)
                lines = block.count(b"\n")
                rows = lines - len(BLANK.findall(b"\n" + (block if begin else block.removeprefix(BOM_UTF8))))
                last = block[block.rfind(b"\n") + 1 :]
                size = len(block)
                while last and not last.endswith(b"\n") and (rest := file.readline(1 << 20)):
                    hash_.update(rest)
                    whole.update(rest)
                    size += len(rest)
                    last = last + rest if len(last) <= LONGEST_ROW else last[: LONGEST_ROW + 1] + rest[-1:]
                last = last if begin or lines else last.removeprefix(BOM_UTF8)
                lines += last.endswith(b"\n")
                rows += bool(last) and (len(last) > LONGEST_ROW or not last.isspace())
                cut = cut and not (task.whole_trees and (b"parent_id" in block or b"message_tree_id" in block))
                parts.append(Part(begin, begin + size, line, row, hash_.hexdigest()))
                begin, line, row = begin + size, line + lines, row + rows
    except OSError as error:
        raise unopened(task.file.path, error) from None
    return task.file.sha256 if task.part else whole.hexdigest(), parts if cut else []


def run_halve(task: ScanTask) -> tuple[str, list[Part]]:
    """As `run_scan`, in about two parts: at least one of a file that may be cut, none of a part that is one line."""
    step = task.size
    while step > 1:
        step = -(-step // 2)  # long lines at the end are cut off from short ones before them by a shorter step
        sha256, parts = run_scan(replace(task, shard_bytes=step))
        if len(parts) != 1 or task.part is None:
            return sha256, parts
    return task.file.sha256, []


def _read_by() -> str:
    """Hash of all but a file and how it is written that its rows depend on."""
    return digest([VERSION, installed([*LIBRARIES, *READERS])])


@cache
def _mapper(mapping: str, lookups: tuple[Side, ...], cache: Path) -> Mapper:
    """The mapping, compiled, and its side tables, read once a process."""
    by = _read_by()
    tables = {
        side.name: build_lookup(side.name, side.key, (row for file in side.files for row in rows_kept(file, cache, by)))
        for side in lookups
    }
    return Mapper(RecordMapping.model_validate_json(mapping), tables)


def run_read(task: ReadTask) -> Ingested:
    """Read files into shards of records, or find them in the cache. Small files are opened once."""
    contents: dict[str, bytes] = {}
    files: list[InputFile] = []
    for file in task.files:
        if task.part is None and file.size <= task.shard_bytes and not file.unread:
            try:
                data = file.path.read_bytes()
            except OSError as error:
                raise unopened(file.path, error) from None
            contents[file.name] = data
            file = replace(file, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
        elif not file.sha256:
            file = hashed(file)
        files.append(file)

    def rows(file: InputFile) -> Iterator[Row | Unread]:
        if task.part is not None:
            return read_part(file, task.part)
        return parse(file, contents[file.name]) if file.name in contents else read_rows(file)

    stated = cache(Options.model_dump)  # of a source with many files they are the same

    def named(files: Iterable[InputFile]) -> list[list[Any]]:
        return [[file.name, file.sha256, file.format, stated(file.options), file.unread] for file in files]

    part = astuple(task.part) if task.part else None
    sides = [[side.name, side.key, named(side.files)] for side in task.lookups]
    how = ["read", VERSION, installed([*LIBRARIES, *READERS]), task.mapping]
    key = digest([*how, TEXT_SHARE, named(files), part, sides, *task.forgotten.key()])
    # How many shards there are is known only once all is read: it is noted last, and which columns each file has.
    note = keyed_folder(task.cache / "stages", key)
    count, columns = orjson.loads(intact(note, "read").read_bytes()) if is_kept(note) else (0, {})
    shards = [shard for number in range(count) if (shard := find_outcome(task.cache, [key, number])) is not None]
    back: list[dict[str, Any]] = []
    if not count or len(shards) < count:
        shards = []
        kinds: dict[str, set[tuple[str, ...]]] = {}
        mapper = _mapper(task.mapping, task.lookups, task.cache)
        first = task.part.row if task.part else 0
        made = ((file, first, mapper.rows(rows(file))) for file in files)
        for number, outcome in enumerate(_outcomes(mapper, made, TEXT_SHARE * task.shard_bytes, kinds)):
            if here := _forgotten(outcome, task.forgotten, files):
                back += here
            else:
                shards.append(cached_outcome(task.cache, [key, number], None, partial(_same, outcome)))
        columns = {name: _told_columns(those) for name, those in kinds.items() if those}
        if not back:
            cache_text(note, "read", orjson.dumps([len(shards), columns]).decode())
    told = {name: (tuple(some), tuple(every)) for name, (some, every) in columns.items()}
    return Ingested([_with_columns(file, *told.get(file.name, ((), ()))) for file in files], {}, shards, back)


def _forgotten(outcome: Outcome, forgotten: Forgotten, files: Iterable[InputFile]) -> list[dict[str, Any]]:
    """The rows that must not come back: `id` and `source` of each."""
    if not forgotten:
        return []
    columns = ["id", "group", "source"]
    sha256 = {file.name: file.sha256 for file in files}
    rows = [*outcome.kept.select(columns).to_pylist(), *outcome.rejected.select([*columns, "raw"]).to_pylist()]
    return [
        {"id": row["id"], "source": row["source"]}
        for row in rows
        if forgotten.has(row["id"], row["group"], row.get("raw"), (sha256[row["source"]["file"]], row["source"]["row"]))
    ]


def _with_columns(file: InputFile, some: tuple[str, ...], every: tuple[str, ...]) -> InputFile:
    return replace(file, columns=some, always=every)


def _together(file: InputFile, part: InputFile) -> InputFile:
    """A file by what two of its parts have told of its columns."""
    if not (file.columns and part.columns):
        return _with_columns(file, file.columns or part.columns, file.always or part.always)
    some, every = {*file.columns, *part.columns}, {*file.always} & {*part.always}
    return _with_columns(file, tuple(sorted(some)) if len(some) <= MOST_COLUMNS else (), tuple(sorted(every)))


def _told_columns(kinds: set[tuple[str, ...]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns that some rows have and those that every one has, as they are told of a file: none of ours, and none
    if they are too many."""
    rows = [{name.encode(errors="replace").decode() for name in kind if not name.startswith("_")} for kind in kinds]
    some, every = set.union(*rows), set.intersection(*rows)
    return (tuple(sorted(some)), tuple(sorted(every))) if len(some) <= MOST_COLUMNS else ((), ())


def _same(outcome: Outcome, _: pa.Table) -> Outcome:
    return outcome


def _outcomes(
    mapper: Mapper,
    files: Iterable[tuple[InputFile, int, Iterator[tuple[int, Row | Unread]]]],
    size: int,
    kinds: dict[str, set[tuple[str, ...]]],
) -> Iterator[Outcome]:
    """Records, those of bad answers rejected, and what gives none, about `size` bytes at a time; one outcome at least.

    Args:
        files: each with the number of its first row, and its rows numbered from 0.
        kinds: is told which columns rows have together, by file.
    """
    records: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    counters: Counter[str] = Counter()
    more = held = told = 0

    def outcome() -> Outcome:
        kept = pa.Table.from_pylist(records, schema=SCHEMA)
        return Outcome(kept, pa.Table.from_pylist(rejected, schema=QUARANTINE_SCHEMA), dict(counters), made=more)

    for file, first, rows in files:
        if not file.size and not file.unread:
            counters["empty_files"] += 1
        having = kinds.setdefault(file.name, set())
        for number, row in rows:
            if held >= size:
                yield outcome()
                records, rejected, counters = [], [], Counter()
                more = held = 0
                told += 1
            source = {"drop": None, "file": file.name, "row": first + number}
            if isinstance(row, Unread):
                seen = {"message": row.message, "line": row.line} | ({"page": row.page} if row.page else {})
                rejected.append(_unmade(source, row.reason, seen, row.raw))
                held += ROW_BYTES + len(row.raw)
                continue
            if len(having) <= MOST_COLUMNS:
                having.add(tuple(row))
            if "_duplicate_key" in row:
                counters["duplicate_key"] += 1
            try:
                made = mapper.records(row, file.name)
            except RowError as problem:
                rejected.append(_unmade(source, problem.reason, problem.evidence, raw_json(row)))
                held += ROW_BYTES + len(rejected[-1]["raw"])
                continue
            more += len(made) - 1
            for record in made:
                counted = record.pop("told")
                if isinstance(row.get("_encoding"), str):
                    record["meta"] = _how_encoded(row, counters) | record["meta"]
                if "_duplicate_key" in row:
                    record["meta"] = {"duplicate_key": row["_duplicate_key"]} | record["meta"]
                if isinstance(text := row.get("text"), Document) and text.left_out:
                    record["meta"] = {"pages_left_out": ", ".join(map(str, text.left_out))} | record["meta"]
                record["source"] = source | {"places": record.pop("places")}
                if record["rejected"] is None:
                    for name, count in counted.items():  # `update` takes ten times as long
                        counters[name] += count
                    records.append(record)
                else:
                    reason, evidence = record["rejected"]
                    seen = {"stage": NAME, "reason": reason, "evidence": evidence_json(evidence)}
                    rejected.append(record | seen)
                held += ROW_BYTES + len(record["target"] or "") + sum(map(len, record["meta"].values()))
                for turn in record["turns"]:
                    held += len(turn["content"]) + len(turn.get("reasoning", ""))
    if records or rejected or counters or not told:
        yield outcome()


def _how_encoded(row: Row, counters: Counter[str]) -> dict[str, str]:
    """What a record's meta says of how its text was encoded; a guess is counted."""
    guessed = row.get("_guessed")
    if guessed is not None:
        counters["encoding_guessed"] += 1
    return {"encoding": row["_encoding"]} | ({"encoding_guess": "unsure"} if guessed == "unsure" else {})


def _unmade(source: dict[str, Any], reason: str, evidence: dict[str, Any], raw: str) -> dict[str, Any]:
    """A quarantined row of which no record was made."""
    return {"source": source, "stage": "read", "reason": reason, "evidence": evidence_json(evidence), "raw": raw}
