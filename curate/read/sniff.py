"""Sniff: what a file's bytes say that it is, whatever it is called.

Where they are sure they decide; where not, the name does. A format that the recipe states stands over both.
"""

import csv
import io
import json
import re
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

from curate.read.encoding import BOMS, CONTROL, Rejoined, head_of, unmarked
from curate.read.raw_row import LONGEST_ROW

SIZES = (1 << 16, 1 << 20, LONGEST_ROW)
"""Bytes of a file's beginning that are looked at; the larger ones only where those before are not enough."""
FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".txt": "text",
    ".md": "text",
    ".pdf": "pdf",
    ".docx": "docx",
    ".docm": "docx",
    ".odt": "odt",
    ".rtf": "rtf",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".eml": "eml",
    ".mbox": "mbox",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
    ".xlsb": "xlsx",
    ".xls": "xlsx",
    ".ods": "xlsx",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".iob2": "conll",
    ".ann": "brat",
}
BY_NAME = {"eml", "mbox", "conll", "brat"}
"""Formats of text that content does not tell from others."""
PACKED = {
    ".gz": "gzip",
    ".tgz": "gzip",
    ".xz": "xz",
    ".bz2": "bzip2",
    ".zst": "zstd",
    ".zip": "zip",
    ".tar": "tar",
}
"""What suffixes tell: formats, and packings."""
BLOCK = 512
"""Bytes that show a packing: a tar's header has so many."""
PACKINGS = {
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "bzip2": re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
    "zip": re.compile(rb"PK(?:\x03\x04|\x05\x06|\x07\x08)"),
}
PARQUET = b"PAR1"
ARROW = (b"ARROW1", b"\xff\xff\xff\xff")
"""Of a file, and of a stream."""
DOCUMENTS = {b"%PDF-": "pdf", b"{\\rtf": "rtf"}
OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
FOREIGN = {
    OLD_OFFICE: "an old Office file (.doc), or an encrypted one",
    b"SQLite format 3\0": "an SQLite database",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"Rar!\x1a\x07": "a RAR archive",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"\x04\x22\x4d\x18": "an LZ4 file",
    b"Obj\x01": "an Avro file",
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF89a": "a GIF image",
    b"\x93NUMPY": "a NumPy array",
    b"\x80\x02}": "a pickle",
    b"\x80\x03}": "a pickle",
    b"\x80\x04\x95": "a pickle",
    b"\x80\x05\x95": "a pickle",
    b"\x00\x05\x16\x07": "what macOS keeps beside a file (._name)",
    b"\x00\x00\x00\x01Bud1": "a folder's view of macOS (.DS_Store)",
    b"version https://git-lfs.github.com/spec/": "a pointer of Git LFS (`git lfs pull` fetches the file)",
}
"""First bytes of files in which no rows are looked for."""
TITLES = {
    "jsonl": "JSON lines",
    "json": "JSON",
    "csv": "CSV",
    "tsv": "TSV",
    "parquet": "Parquet",
    "arrow": "Arrow",
    "front_matter": "text below YAML",
    "text": "text",
    "pdf": "PDF",
    "docx": "DOCX",
    "odt": "ODT",
    "rtf": "RTF",
    "html": "HTML",
    "eml": "a mail",
    "mbox": "a mail folder",
    "xlsx": "a spreadsheet",
    "conll": "tokens and tags",
    "brat": "annotations of brat",
}
OPEN_DOCUMENT = "application/vnd.oasis.opendocument."
HTML = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*+<(?:!doctype\s+html|html|head|body|Error)\b", re.IGNORECASE | re.DOTALL
)
"""A page, or a storage's refusal in XML."""
COLUMNS = frozenset(
    """id name title text content body label category class topic language lang source target prompt completion
    instruction input output question answer query response context system role messages conversations group split
    summary translation date author url score""".split()  # noqa: SIM905
)
"""Names that the columns of such data have: a line with two of them is a header."""
MBOX = re.compile(r"From \S+.*\d\d:\d\d.*\r?\n[A-Za-z-]+:")
"""The beginning of a mail folder, whose name mostly has no suffix."""
_BLANK = " \t\r\n\ufeff\x1e"
"""What may stand between JSON texts; RFC 7464 begins each with \\x1e."""
_SPACE = re.compile(f"[{_BLANK}]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Content:
    """What bytes are."""

    format: str | None
    """One of `Files.format`; None where they do not tell, or are nothing that has rows."""
    sure: bool = True
    """Whether they are that whatever the file is called; else only if its name says JSON."""
    foreign: str = ""
    """What they are instead of a file with rows."""

    def decides(self, named: str | None) -> str | None:
        """The format, given the one that the file's name tells."""
        if self.format is None or (named == "tsv" and self.format == "csv"):
            return named
        return self.format if self.sure or named in ("json", "jsonl") else named

    def said(self) -> str:
        """What it is, to people; empty where that is not sure."""
        return self.foreign or (TITLES[self.format] if self.format and self.sure else "")


UNKNOWN = Content(None)
UNLIKE = Content(None, sure=False)
"""What is called JSON and begins like none."""


def format_by_name(name: str) -> str | None:
    """The format that a file's suffix tells, those of packings aside."""
    while (inner := unpacked_name(name)) != name:
        name = inner
    return FORMATS.get(PurePosixPath(name).suffix.lower())


def packing_by_name(name: str) -> str | None:
    """The outermost packing that a file's suffix tells."""
    return PACKED.get(PurePosixPath(name).suffix.lower())


def archive_by_name(name: str) -> str | None:
    """ "zip" or "tar" where a file's suffixes tell it, compressed or not."""
    while (packing := packing_by_name(name)) not in ("zip", "tar", None):
        name = unpacked_name(name)
    return packing


def unpacked_name(name: str) -> str:
    """A file's name once its outermost packing is off."""
    suffix = PurePosixPath(name).suffix
    if suffix.lower() == ".tgz":
        return name.removesuffix(suffix) + ".tar"
    return name.removesuffix(suffix) if suffix.lower() in PACKED else name


def packing_of(head: bytes) -> str | None:
    """One of PACKINGS or "tar", by a stream's first BLOCK bytes."""
    for packing, magic in PACKINGS.items():
        if magic.match(head):
            return packing
    if head[257:262] == b"ustar":
        return "tar"
    if len(head) >= BLOCK and re.fullmatch(rb"[ 0-7]{6}\0 |[ 0-7]{7}\0", head[148:156]):
        try:
            tarfile.TarInfo.frombuf(head[:BLOCK], "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            return None
        return "tar"
    return None


def has_magic(head: bytes) -> bool:
    """Whether a stream's first bytes are those of a kind of file that is not packed."""
    return head.startswith((PARQUET, *ARROW, *FOREIGN, *DOCUMENTS))


def is_text(head: bytes) -> bool:
    """Whether bytes may be text: no control characters that text does not have, or those of UTF-16 or UTF-32."""
    marked = any(head.startswith(bom) for bom, _ in BOMS)
    return bool(head) and (marked or CONTROL.search(head) is None or unmarked(head) is not None)


def packaged(archive: zipfile.ZipFile) -> str | None:
    """The format of a document that a zip archive is; None of another archive."""
    names = set(archive.namelist())
    if "[Content_Types].xml" in names:
        parts = {"word/document.xml": "docx", "xl/workbook.xml": "xlsx", "xl/workbook.bin": "xlsx"}
        return next((format for part, format in parts.items() if part in names), None)
    if {"mimetype", "content.xml"} <= names:
        kind = archive.open("mimetype").read(BLOCK).decode(errors="replace").removeprefix(OPEN_DOCUMENT)
        return "odt" if kind.startswith("text") else "xlsx" if kind.startswith("spreadsheet") else None
    return None


def beginning(stream: IO[bytes], size: int) -> tuple[bytes, IO[bytes]]:
    """The first bytes of a stream, and the stream as if they had not been read."""
    head = head_of(stream, size)
    if stream.seekable():
        stream.seek(0)
        return head, stream
    return head, io.BufferedReader(Rejoined(head, stream), 1 << 16)


def sniff(stream: IO[bytes], named: str | None, encoding: str | None) -> tuple[Content, IO[bytes]]:
    """What a stream that is not packed holds, and the stream as if it had not been read.

    Args:
        stream: at its beginning.
        named: the format that the file's name tells.
        encoding: the one that the recipe states.
    """
    head, stream = beginning(stream, BLOCK)
    if packing_of(head) == "zip":
        with zipfile.ZipFile(stream) as archive:
            format = packaged(archive)
        stream.seek(0)
        return Content(format), stream
    for size in SIZES:
        head, stream = beginning(stream, size)
        found = _content(head, len(head) < size, named, encoding)
        if found is not None:
            return found, stream
    return UNKNOWN, stream


def _content(head: bytes, ended: bool, named: str | None, encoding: str | None) -> Content | None:
    """What bytes are; None where more of them would tell. `ended`: whether they are all there are."""
    for magic, format in DOCUMENTS.items():
        if head.startswith(magic):
            return Content(format)
    for magic, words in FOREIGN.items():
        if head.startswith(magic):
            return Content("xlsx") if magic == OLD_OFFICE and named == "xlsx" else Content(None, foreign=words)
    if head.startswith(PARQUET):
        return Content("parquet")
    if head.startswith(ARROW):
        return Content("arrow")
    encoding = encoding or next((name for bom, name in BOMS if head.startswith(bom)), unmarked(head) or "utf-8")
    text = head.decode(encoding, "replace")
    if named in BY_NAME:
        return UNKNOWN
    if named is None and MBOX.match(text):
        return Content("mbox")
    if named == "html":
        return Content("html")
    if HTML.match(text) and named not in ("text", "front_matter"):
        return Content(None, foreign="an HTML page (such as servers send in place of a file)")
    if "{" in text or "[" in text:
        found = _json(text, ended, named)
        if found is None or found.format is not None:
            return found
    if named not in ("csv", "tsv") and _is_table(text, ended):
        return Content("csv")
    return UNLIKE if _named_json(named) and re.match(f'[{_BLANK}]*[^{_BLANK}{{["0-9tfn-]', text) else UNKNOWN


def _json(text: str, ended: bool, named: str | None) -> Content | None:
    """JSON lines, where half of the lines are objects: of one JSON text never so many are. Else JSON texts."""
    lines = text.split("\n")
    if not ended:
        lines.pop()
    lines = [line for each in lines if (line := each.strip(_BLANK))]
    if lines and isinstance(_value(lines[0].removesuffix(",")), dict):  # then each line may end in a comma
        lines = [line.removesuffix(",") for line in lines]
    values = [_value(line) for line in lines if line.startswith(("{", "["))]
    if len(values) == len(lines) and {type(value) for value in values} == {dict, list}:  # an array with lines behind it
        return Content("json")
    objects = sum(isinstance(value, dict) for value in values)
    if named == "jsonl" and (len(lines) > 1 or not ended):
        objects += sum(isinstance(value, list) for value in values)
    if lines and lines[0] != "[" and 2 * objects >= len(lines):
        alone = ended and len(lines) == 1 and named != "jsonl"
        return Content("json" if alone else "jsonl")
    text = text.strip(_BLANK)
    found, whole = _texts(text)
    if whole:
        return Content("json") if found else UNKNOWN
    if len(lines) > 1 and isinstance(_value(lines[0]), dict) and lines[1].startswith("{"):
        return Content("jsonl")
    if lines and all(line.startswith("{") and line.endswith(("}", "},")) for line in lines[:2]):
        return Content("jsonl", sure=False)
    begins = re.match(r'\{\s*"|\[\s*[{\["]|[{\[]\s*\Z', text) is not None
    if not ended and begins and ((not lines and text[0] == "{" and not found) or not (found or _named_json(named))):
        return None
    return Content("json", sure=found and not ended) if begins else UNKNOWN


def _named_json(named: str | None) -> bool:
    return named in ("json", "jsonl")


def _value(line: str) -> Any:
    """A line's JSON value; None where it is none."""
    try:
        return _DECODER.decode(line)
    except (ValueError, RecursionError):
        return None


def _texts(text: str) -> tuple[bool, bool]:
    """Whether objects are among the JSON texts at a text's beginning, and whether there is nothing else."""
    at, found = 0, False
    try:
        while at < len(text):
            value, at = _DECODER.raw_decode(text, at)
            found |= isinstance(value, dict) or (isinstance(value, list) and any(isinstance(e, dict) for e in value))
            at = _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
    except (ValueError, RecursionError):
        if not found and at == 0 and text.startswith("["):  # an array that goes on
            first = text[1:].lstrip(_BLANK)
            found = first.startswith("{") and _first_of(first)
        return found, False
    return found, True


def _first_of(text: str) -> bool:
    """Whether a text begins with a JSON object."""
    try:
        return isinstance(_DECODER.raw_decode(text)[0], dict)
    except (ValueError, RecursionError):
        return False


def _is_table(text: str, ended: bool) -> bool:
    """Whether a text is surely CSV: two cells of its first line are what columns are called, and all rows have as many
    cells."""
    first = text.lstrip(_BLANK).split("\n", 1)[0]
    for delimiter in ",;\t|":
        names = [cell.strip(' \r"').lower() for cell in first.split(delimiter)]
        if len(COLUMNS.intersection(names)) > 1 and len(set(names)) == len(names):
            rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
            try:
                widths = [len(row) for row in rows if row]
            except csv.Error:
                continue
            if not ended:
                widths.pop()
            if len(widths) > 1 and set(widths) == {len(names)}:
                return True
    return False
