"""Inspect: what would be read of a file or folder, before there is a recipe for it."""

import glob
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from assay.result import Result
from curate.errors import AssayError
from curate.read.encoding import SAMPLE, encoding_of
from curate.read.mapping import Mapper, RecordMapping, RowError
from curate.read.profile import MOSTLY, Guess, Profile, Seen, example, guess, json_object
from curate.read.raw import Files, InputFile, Row, Unread, find_files, form_of, read_rows
from curate.record import SCHEMA
from curate.table import Table

IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
RESERVED = {"and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "self", "turns", "loop", "for"}
MOST_NAMED = 10
"""Columns that an error names."""
MOST_FILES = 200
"""Files of a group that are sampled, at equal distances."""
MOST_SHOWN = 5
"""Rows that cannot be read of which the reasons are kept."""
MOST_GROUPS, MOST_COLUMNS, LONGEST_EXAMPLE = 8, 40, 60
"""What tables show: groups, columns, characters of an example."""


@dataclass
class Group:
    """Files that would be read in one way: of one format and one shape, or of one set of columns."""

    format: str | None
    """None for archives."""
    stated: bool
    """Whether a recipe must state the format, because the files' names do not tell it."""
    files: list[InputFile] = field(default_factory=list)
    encodings: Counter[str] = field(default_factory=Counter)
    profile: Profile = field(default_factory=Profile)
    shapes: Counter[str] = field(default_factory=Counter)
    """Rows by the shape that they were recognised to have."""
    answers: Seen = field(default_factory=Seen)
    """The JSON objects that recognised rows have for their answers."""
    answered: int = 0
    """Recognised records that have an answer."""
    record: dict[str, Any] | None = None
    """The first row as a record, where one can be made of it."""
    unread: list[tuple[str, str]] = field(default_factory=list)
    """Where and why, of the first rows that cannot be read."""
    unreadable: int = 0
    unrecognised: str | None = None
    """Why the first of the rows without a shape has none."""

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def recognised(self) -> bool:
        """Whether nearly all rows have a shape."""
        return sum(self.shapes.values()) >= MOSTLY * max(1, self.profile.rows)

    @property
    def structured(self) -> bool:
        """Whether nearly all answers of recognised rows are JSON objects."""
        return self.answered > 0 and self.answers.count >= MOSTLY * self.answered

    @property
    def guess(self) -> Guess:
        return guess(self.profile)

    def mapping(self) -> dict[str, Any]:
        """The recipe's `record`: nothing where a shape tells all, else by what columns look like.

        Raises:
            AssayError: nothing looks like a question, or like an answer.
        """
        if not self.profile.rows:
            what = "none of its rows can be read" if self.unreadable else "there is no row in it"
            raise AssayError(
                f"{self.files[0].name}: {what}.",
                remedy="Mend the file, or state in a recipe how it is written (`format`, `encoding`, `delimiter`).",
            )
        found = self.guess
        if self.recognised:
            mapping: dict[str, Any] = {"target": "turns[-1].content"} if self.structured else {}
        else:
            if found.prompt is None or not found.answers:
                what = "a prompt" if found.prompt is None else "an answer"
                columns = named(self.profile.columns, MOST_NAMED)
                raise AssayError(
                    f"No column looks like {what}; there are {columns}.",
                    remedy="Write the recipe's `record` by hand: `turns` for what is said, `target` for a JSON answer.",
                )
            turns = [{"role": "user", "content": self.expression(found.prompt)}]
            mapping = {"turns": turns}
            if not found.target:
                turns.append({"role": "assistant", "content": self.expression(found.answers[0])})
            elif self.profile.holds_objects(found.answers[0]):
                mapping["target"] = self.expression(found.answers[0])
            else:
                mapping["target"] = {name: self.expression(name) for name in found.answers}
            if found.group is not None:
                mapping["group"] = self.expression(found.group)
        if found.label is not None:
            mapping["label"] = self.expression(found.label)
        return mapping

    def expression(self, name: str) -> str:
        """A column as the recipe's expressions name it, where some rows lack it with none in its place."""
        plain = IDENTIFIER.fullmatch(name) and name.lower() not in RESERVED
        missing = self.profile.columns[name].count < self.profile.rows
        return (name if plain else f"_row[{json.dumps(name)}]") + (" | default(none)" if missing else "")


@dataclass(repr=False)
class Inspection(Result):
    """What was found."""

    path: Path
    drop: Path
    """The folder that the files' names are relative to."""
    groups: list[Group]
    """The largest first; a starter recipe reads that one."""
    passed_over: list[str]
    """Names of files of no known format."""
    written: list[Path] = field(default_factory=list)
    """The files of a starter, the recipe first."""

    def __repr__(self) -> str:
        group = self.groups[0]
        what = ", ".join(group.shapes) or "no known shape"
        return f"Inspection({self.path}: {group.profile.rows:,} rows of {group.format} looked at, {what})"

    def tables(self) -> list[Table]:
        """The files by how they would be read, and the columns of the largest group."""
        return [_files(self), *([_columns(self.groups[0])] if self.groups[0].profile.rows else [])]

    def places(self) -> dict[str, Path]:
        return {"recipe": self.written[0], "contract": self.written[1].parent} if self.written else {}

    def data(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "groups": [_told(group) for group in self.groups],
            "passed_over": self.passed_over,
            "written": self.written,
        }


def inspect(path: Path, rows: int) -> Inspection:
    """Read a sample of a file's or a folder's rows.

    Args:
        path: what to look at.
        rows: raw rows of each group to read at most.

    Raises:
        AssayError: there is nothing, or nothing that can be opened.
    """
    drop, names = _listed(path)
    groups: dict[Any, Group] = {}
    passed_over: list[str] = []
    with TemporaryDirectory() as cache:
        files: list[tuple[InputFile, bool]] = []
        for name in names:
            found = _found(drop, name, Path(cache))
            if found is None:
                passed_over.append(name)
            else:
                files.append(found)
    looked_at = files[:: max(1, -(-len(files) // MOST_FILES))]
    keys = {file.name: (file.format, stated, _kind(file)) for file, stated in looked_at}
    likely: dict[tuple[str | None, bool, str], Any] = {}
    for file, stated in files:
        alike = file.format, stated, file.path.suffix
        key = keys.get(file.name) or likely.get(alike, alike)
        likely.setdefault(alike, key)
        groups.setdefault(key, Group(file.format, stated)).files.append(file)
    if not groups:
        raise AssayError(
            f"{path}: no file of a known format.",
            remedy="Assay reads JSON, JSON lines, CSV, TSV, Parquet, Arrow, text and text with YAML front matter.",
        )
    for group in groups.values():
        _sample(group, rows)

    def order(group: Group) -> tuple[bool, bool, int, str]:
        # Text beside data is mostly what is said about the data, or what it was made of.
        only_text = group.profile.columns.keys() <= {"text", "name", "_member"}
        return not group.profile.rows, only_text, -group.size, group.files[0].name

    ordered = sorted(groups.values(), key=order)
    return Inspection(path, drop, ordered, passed_over)


def mapped_rows(files: list[InputFile], rows: int | None = None) -> Iterator[tuple[InputFile, int, Row | Unread]]:
    """Rows of files, each with its file and number, messages of one tree put together; from each file as many, if no
    more than `rows`."""
    mapper = Mapper(RecordMapping(), {})
    each = None if rows is None else max(1, rows // len(files))
    for file in files:
        for number, row in islice(mapper.rows(read_rows(file)), each):
            yield file, number, row


def record_of(row: Row) -> list[dict[str, Any]]:
    """The records of a row whose shape is recognised; none of another."""
    try:
        return _RECOGNISE.records(row, "")
    except RowError:
        return []


def why_unrecognised(row: Row) -> str:
    """What is said of a row whose shape is not recognised."""
    try:
        _RECOGNISE.records(row, "")
    except RowError as problem:
        return str(problem.evidence["message"])
    return ""


_RECOGNISE = Mapper(RecordMapping(), {})


def answer_of(record: dict[str, Any]) -> str | None:
    last = record["turns"][-1]
    return str(last["content"]) if last["role"] == "assistant" else None


def named(names: Iterable[str], most: int) -> str:
    """Names one after the other, no more than `most` of them."""
    every = list(names)
    return (", ".join(every[:most]) or "none") + (f" and {len(every) - most:,} more" if len(every) > most else "")


def _listed(path: Path) -> tuple[Path, list[str]]:
    """The drop, and the names of the files in it; hidden ones are left alone."""
    if path.is_file():
        return path.parent, [path.name]
    if not path.is_dir():
        raise AssayError(f"{path}: no such file or folder.", remedy="Name a file, or a folder of files.")
    found = (file.relative_to(path) for file in path.rglob("*") if file.is_file())
    names = sorted(name.as_posix() for name in found if not any(part.startswith(".") for part in name.parts))
    if not names:
        raise AssayError(f"{path}: an empty folder.", remedy="Name a file, or a folder of files.")
    return path, names


def _found(drop: Path, name: str, cache: Path) -> tuple[InputFile, bool] | None:
    """A file as a source would find it, and whether its format must be stated; None where nothing tells a format."""
    try:
        [file] = find_files(Files(files=[glob.escape(name)]), drop, cache)
    except AssayError:
        return None
    packing, format = form_of(file)
    if format is None and packing not in ("zip", "tar"):
        return None
    stated = format == "text" and packing is None and _has_front_matter(file.path)
    return replace(file, format="front_matter" if stated else format), stated


def _has_front_matter(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"---\n"


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        return encoding_of(file.read(SAMPLE)) or "not UTF-8"


def _kind(file: InputFile) -> Any:
    """What files of one group have in common: the shape of their first row, or its columns; where each file is a row,
    the suffix."""
    if file.format in ("text", "front_matter"):
        return file.path.suffix
    for _, row in islice(_RECOGNISE.rows(read_rows(file)), 1):
        if isinstance(row, Unread):
            return None
        made = record_of(row)
        return next(iter(made[0]["told"])) if made else tuple(sorted(map(str, row)))
    return None


def _sample(group: Group, rows: int) -> None:
    files = group.files[:: max(1, -(-len(group.files) // min(MOST_FILES, rows)))]
    for file in files:
        if file.format in ("jsonl", "json", "csv", "tsv", "text", "front_matter") and not _packed(file.path):
            group.encodings[_encoding(file.path)] += 1
    first: Row | None = None
    for file, number, row in mapped_rows(files, rows):
        if isinstance(row, Unread):
            group.unreadable += 1
            if len(group.unread) < MOST_SHOWN:
                where = f"{file.name}, line {row.line}" if row.line is not None else f"{file.name}, row {number}"
                group.unread.append((where, row.message))
            continue
        first = first or row
        group.profile.add(row)
        records = record_of(row)
        if not records:
            group.unrecognised = group.unrecognised or why_unrecognised(row)
        for name in list(records[0]["told"])[:1] if records else ():
            group.shapes[name] += 1
        for record in records:
            if (answer := answer_of(record)) is not None:
                group.answered += 1
                if (found := json_object(answer)) is not None:
                    group.answers.add(found)
    if first is not None:
        try:
            made = Mapper(RecordMapping.model_validate(group.mapping()), {}).records(first, files[0].name)
        except (AssayError, RowError):
            return
        group.record = {name: made[0][name] for name in SCHEMA.names if made[0].get(name)}


def _packed(path: Path) -> bool:
    return path.suffix.lower() in (".gz", ".xz", ".bz2", ".zst", ".tgz", ".zip", ".tar")


def _files(inspection: Inspection) -> Table:
    """The files, by how they would be read."""
    found = [
        [
            _label(group),
            ", ".join([group.format or "archive", *group.encodings]),
            ", ".join(f"{shape} ({rows:,})" for shape, rows in group.shapes.most_common()) or "unknown",
            f"{group.size / 2**20:,.1f}",
            f"{group.profile.rows:,}",
            f"{group.unreadable:,}",
        ]
        for group in inspection.groups[:MOST_GROUPS]
    ]
    if len(inspection.groups) > MOST_GROUPS:
        found.append([f"... and {len(inspection.groups) - MOST_GROUPS:,} other kinds of files", *[""] * 5])
    columns = ["files", "format", "shape", "MiB", "rows", "unreadable"]
    return Table("files", f"Files of {inspection.path}", columns, found, texts=3)


def _label(group: Group) -> str:
    first = group.files[0].name
    return first if len(group.files) == 1 else f"{first} and {len(group.files) - 1:,} more"


def _columns(group: Group) -> Table:
    """The columns of a group's rows; those that look like something say so."""
    roles = _roles(group)
    rows = []
    for name, seen in list(group.profile.columns.items())[:MOST_COLUMNS]:
        types = [kind for kind, _ in seen.types.most_common() if kind != "null"] or ["null"]
        kinds = (
            f"JSON in {types[0]}" if group.profile.holds_objects(name) and types[0] == "string" else " or ".join(types)
        )
        if seen.is_class():
            kinds += f", {len(seen.values or ())} values" if len(seen.values or ()) > 1 else ", always the same"
        filled = f"{100 * seen.filled // group.profile.rows}%" if 100 * seen.filled >= group.profile.rows else "<1%"
        rows.append([name, kinds, filled, roles.get(name, ""), example(seen.example, LONGEST_EXAMPLE)])
    if len(group.profile.columns) > MOST_COLUMNS:
        rows.append([f"... and {len(group.profile.columns) - MOST_COLUMNS:,} more", *[""] * 4])
    return Table("columns", "Columns", ["column", "type", "filled", "looks like", "example"], rows, texts=5)


def _roles(group: Group) -> dict[str | None, str]:
    """What columns look like."""
    found = group.guess
    roles: dict[str | None, str] = {found.id: "id", found.group: "group", found.label: "label"}
    if not group.recognised:
        roles |= {found.prompt: "prompt"}
        roles.update(dict.fromkeys(found.answers, "target" if found.target else "answer"))
    return roles


def _told(group: Group) -> dict[str, Any]:
    """A group as data."""
    try:
        mapping, problem = group.mapping(), None
    except AssayError as error:
        mapping, problem = None, error.message
    roles = _roles(group) if group.profile.rows else {}
    return {
        "files": [file.name for file in group.files],
        "format": group.format,
        "encodings": group.encodings,
        "bytes": group.size,
        "rows": group.profile.rows,
        "shapes": group.shapes,
        "columns": {
            name: {
                "types": seen.types,
                "filled": seen.filled,
                "looks_like": roles.get(name),
                "example": example(seen.example, LONGEST_EXAMPLE),
            }
            for name, seen in group.profile.columns.items()
        },
        "record": mapping,
        "problem": problem,
        "first": group.record,
        "unreadable": group.unreadable,
        "unread": [{"where": where, "why": why} for where, why in group.unread],
    }
