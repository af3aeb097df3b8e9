"""Inspect: what would be read of a file or folder, before there is a recipe for it."""

import glob
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError

from assay.beside import beside
from assay.file_group import DOCUMENTS, EACH_A_ROW, Group, named
from assay.grounded import FieldSeen, grounded, grounded_table
from assay.layouts import layout
from assay.recognised import record_of, rows_recognised
from assay.result import Result
from curate.errors import AssayError
from curate.read.files import as_text
from curate.read.profile import example
from curate.read.raw import Files, InputFile, Unread, find_files, form_of
from curate.table import Table

MOST_OPENED = 2_000
"""Files whose first row is looked at for what they have in common, at equal distances."""
MOST_GROUPS, MOST_COLUMNS, LONGEST_EXAMPLE = 8, 40, 60
"""What tables show: groups, columns, characters of an example."""


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
    hidden: list[str]
    """Names of hidden files, and of files in hidden folders: they are left alone."""
    grounded: dict[str, FieldSeen] = field(default_factory=dict)
    """Of the first group, by field of its JSON answers: how many of the values stand in their prompts."""
    written: list[Path] = field(default_factory=list)
    """The files of a starter, the recipe first."""

    def __repr__(self) -> str:
        group = self.groups[0]
        what = ", ".join(group.shapes) or "no known shape"
        return (
            f"Inspection({self.path}: {group.profile.rows:,} rows of {' and '.join(group.formats)} looked at, {what})"
        )

    def tables(self) -> list[Table]:
        """The files by how they would be read, the columns of the largest group, and which values of its answers are
        in the prompts."""
        columns = [_columns(self.groups[0])] if self.groups[0].profile.rows else []
        return [_files(self), *columns, *([grounded_table(self.grounded)] if self.grounded else [])]

    def places(self) -> dict[str, Path]:
        return {"recipe": self.written[0], "contract": self.written[1].parent} if self.written else {}

    def data(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "groups": [_told(group) for group in self.groups],
            "passed_over": self.passed_over,
            "hidden": self.hidden,
            "grounded": [{"field": name} | asdict(seen) for name, seen in self.grounded.items()],
            "written": self.written,
        }

    def left_out(self) -> list[str]:
        """What a starter recipe does not read, a sentence each."""
        read = self.groups[0].beside
        others = [label(group) for group in self.groups[1:] if read is None or group.format not in DOCUMENTS]
        return [
            f"{what}: {named(names, MOST_GROUPS, rest)}"
            for what, names, rest in (
                ("Other kinds of files, each to be inspected by itself", others, "more kinds"),
                ("Passed over, of no known format", self.passed_over, "more"),
                ("Hidden, and left alone", self.hidden, "more"),
            )
            if names
        ]


def inspect(path: Path, sample: int, options: Mapping[str, Any] | None = None) -> Inspection:
    """Read a sample of a file's or a folder's rows.

    Args:
        path: what to look at.
        sample: raw rows of each group to read at most.
        options: what is known of how the files are written, by the names that a recipe's source has for it: `format`,
            `encoding`, `delimiter`, `rows` ...

    Raises:
        AssayError: there is nothing, nothing that can be opened, or an option makes no sense.
    """
    options = dict(options or {})
    try:
        Files.model_validate({"files": ["*"], **options})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or ", ".join(options)
        raise AssayError(
            f"{key}: {first['msg'].removeprefix('Value error, ')}.", remedy="`assay inspect --help` says what it takes."
        ) from None
    drop, names, hidden = _listed(path)
    passed_over: list[str] = []
    found: list[_Found] = []
    with TemporaryDirectory() as cache:
        for name in names:
            file = _found(drop, name, Path(cache), options)
            if file is None:
                passed_over.append(as_text(name))
            else:
                found.append(file)
    groups = _grouped(found)
    if not groups:
        raise AssayError(
            f"{path}: no file of a known format, among {named(passed_over, MOST_GROUPS)}.",
            remedy="Assay reads JSON, JSON lines, CSV, TSV, Parquet, Arrow, text and text with YAML front matter, PDF, "
            "DOCX, ODT, RTF, HTML, mail, spreadsheets, and tokens with tags; state `--format` if it is one of these.",
        )
    for group in groups:
        group.sample(sample)
    documents = [file for group in groups if group.format in DOCUMENTS for file in group.files]
    for group in groups:
        if documents and group.format not in DOCUMENTS and not group.recognised:
            group.beside = beside(group.profile, documents)
        group.show_first()

    def order(group: Group) -> tuple[bool, bool, bool, int, str]:
        # Text and lone objects beside data are mostly what is said about the data, or what it was made of.
        beside = group.profile.columns.keys() <= {"text", "name", "number", "title", "_member"} or group.lone
        return not group.profile.rows, beside, not group.has_mapping, -group.size, group.files[0].name

    groups = sorted(groups, key=order)
    values: dict[str, FieldSeen] = {}
    with suppress(AssayError):  # there is no mapping, which the inspection tells
        values = grounded(groups[0], groups[0].mapping(), sample)
    return Inspection(path, drop, groups, passed_over, hidden, values)


def _listed(path: Path) -> tuple[Path, list[str], list[str]]:
    """The drop, and the names of the files in it, and of the hidden ones."""
    if path.is_file():
        path = path.resolve() if path.is_symlink() else path
        return path.parent, [path.name], []
    if not path.is_dir():
        raise AssayError(f"{path}: no such file or folder.", remedy="Name a file, or a folder of files.")
    found = sorted(file.relative_to(path) for file in path.rglob("*") if not file.is_dir())
    hidden = {file.as_posix() for file in found if any(part.startswith(".") for part in file.parts)}
    names = [name for file in found if (name := file.as_posix()) not in hidden]
    if not names:
        raise AssayError(f"{path}: an empty folder.", remedy="Name a file, or a folder of files.")
    return path, names, [as_text(name) for name in sorted(hidden)]


@dataclass(frozen=True)
class _Found:
    """A file, and how it would be read."""

    file: InputFile
    packed: bool
    options: dict[str, Any]
    """What a source must state."""
    layout: str
    """See `Group`."""


def _found(drop: Path, name: str, cache: Path, options: dict[str, Any]) -> _Found | None:
    """A file as a source would find it; None where nothing tells a format."""
    source = {"files": [glob.escape(name)], **options}
    try:
        [file] = find_files(Files.model_validate(source), drop, cache)
    except AssayError:
        return None
    if file.unread:
        return None
    packing, format = form_of(file)
    if format == "text" and packing is None and "format" not in options and _has_front_matter(file.path):
        return _Found(replace(file, format="front_matter"), False, {"format": "front_matter"} | options, "")
    added, words = layout(replace(file, format=format), packing is not None)
    if format is None and packing not in ("zip", "tar") and not words:
        return None
    if added:
        [file] = find_files(Files.model_validate(source | added), drop, cache)
    return _Found(replace(file, format=file.format or format), packing is not None, options | added, words)


def _has_front_matter(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"---\n"


def _grouped(found: list[_Found]) -> list[Group]:
    """Files by how they would be read; where there are too many some are opened, and others taken to be alike."""
    looked_at = {each.file.name: each for each in found[:: max(1, -(-len(found) // MOST_OPENED))]}
    groups: dict[Any, Group] = {}
    likely: dict[Any, Any] = {}
    for each in found:
        known = each.file.format, each.packed, repr(each.options)
        like = *known, each.file.path.suffix
        key: Any = likely.get(like, like)
        if each.file.name in looked_at:
            kind = _kind(each.file)
            alike = each.file.format not in (None, *EACH_A_ROW) and kind is not None
            key = (repr(each.options), kind) if alike else (*known, kind)
        likely.setdefault(like, key)
        group = groups.setdefault(key, Group(each.file.format, each.options, each.layout))
        group.files.append(each.file)
    return list(groups.values())


def _kind(file: InputFile) -> Any:
    """What files of one group have in common: the shape of their first row, or its columns; where each file is a row,
    the suffix."""
    if file.format in EACH_A_ROW:
        return file.path.suffix.lower()
    for _, row in islice(rows_recognised(file), 1):
        if isinstance(row, Unread):
            return None
        made = record_of(row)
        return next(iter(made[0]["told"])) if made else tuple(sorted(map(str, row)))
    return None


def _files(inspection: Inspection) -> Table:
    """The files, by how they would be read."""
    found = [
        [
            label(group),
            ", ".join([*group.formats, *group.encodings]),
            _shapes(group),
            f"{group.size / 2**20:,.1f}",
            f"{group.profile.rows:,}",
            _total(group),
            f"{group.unreadable:,}",
        ]
        for group in inspection.groups[:MOST_GROUPS]
    ]
    if len(inspection.groups) > MOST_GROUPS:
        found.append([f"... and {len(inspection.groups) - MOST_GROUPS:,} other kinds of files", *[""] * 6])
    columns = ["files", "format", "shape", "MiB", "rows looked at", "of", "unreadable"]
    return Table("files", f"Files of {inspection.path}", columns, found, texts=3)


def _shapes(group: Group) -> str:
    rest = group.profile.rows - sum(group.shapes.values())
    found = [f"{shape} ({rows:,})" for shape, rows in group.shapes.most_common()]
    return ", ".join([*found, *([f"unknown ({rest:,})"] if rest else [])] if found else ["unknown"])


def _total(group: Group) -> str:
    if group.total is None:
        return "?"
    return f"{'' if group.exact else 'about '}{group.total:,}"


def label(group: Group) -> str:
    """A group's files, in few words."""
    first = group.files[0].name
    return first if len(group.files) == 1 else f"{first} and {len(group.files) - 1:,} more"


def _columns(group: Group) -> Table:
    """The columns of a group's rows, and what each would be read as."""
    roles = group.read_as()
    rows = []
    for name, seen in list(group.profile.columns.items())[:MOST_COLUMNS]:
        types = [kind for kind, _ in seen.types.most_common() if kind != "null"] or ["null"]
        kinds = (
            f"JSON in {types[0]}" if group.profile.holds_objects(name) and types[0] == "string" else " or ".join(types)
        )
        if seen.is_class():
            kinds += f", {len(seen.values or ())} values" if len(seen.values or ()) > 1 else ", always the same"
        share = 100 * seen.filled // group.profile.rows
        filled = "<1%" if seen.filled and not share else f"{share}%"
        rows.append([name, kinds, filled, roles.get(name, "-"), example(seen.example, LONGEST_EXAMPLE)])
    if len(group.profile.columns) > MOST_COLUMNS:
        rows.append([f"... and {len(group.profile.columns) - MOST_COLUMNS:,} more", *[""] * 4])
    return Table("columns", "Columns", ["column", "type", "filled", "read as", "example"], rows, texts=5)


def _told(group: Group) -> dict[str, Any]:
    """A group as data."""
    try:
        mapping, problem = group.mapping(), None
    except AssayError as error:
        mapping, problem = None, error.message
    roles = group.read_as() if group.profile.rows else {}
    return {
        "files": [file.name for file in group.files],
        "format": group.format,
        "formats": group.formats,
        "options": group.options,
        "layout": group.layout,
        "encodings": group.encodings,
        "bytes": group.size,
        "rows": group.profile.rows,
        "total": {"rows": group.total, "exact": group.exact},
        "shapes": group.shapes,
        "columns": {
            name: {
                "types": seen.types,
                "filled": seen.filled,
                "read_as": roles.get(name),
                "example": example(seen.example, LONGEST_EXAMPLE),
            }
            for name, seen in group.profile.columns.items()
        },
        "lookups": group.beside.lookups() if group.beside else {},
        "record": mapping,
        "problem": problem,
        "notes": group.notes(),
        "first": group.record,
        "unreadable": group.unreadable,
        "unread": [{"where": where, "why": why} for where, why in group.unread],
    }
