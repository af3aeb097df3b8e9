"""DOCX and ODT -> a row of their text: paragraphs, tables and notes, as they are read from top to bottom.

The XML is read as a stream. Of what is tracked, text that was put in is text, and text that was taken out is none; nor
are comments, nor what stands on every page. Cells of a table's row are divided by tabs, its rows by a line's end. A
note stands behind the paragraph that refers to it.
"""

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any
from xml.parsers import expat

from curate.read.budget import UNPACKED_BYTES, UNPACKED_RATIO, Budget, RefusedError
from curate.read.documents.stated import Stated
from curate.read.raw_row import LONGEST_ROW, Document, Row, Unread, too_long

MOST_SPACES = 100
"""Of which one element stands for several."""
DEEPEST = 1000
"""Levels of elements."""
PIECE = 1 << 16
"""Bytes of XML that are read at a time."""
WORD = (
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "http://purl.oclc.org/ooxml/wordprocessingml/main",
)
"""The namespace of what Word writes, and of Strict Open XML."""
OPEN = "urn:oasis:names:tc:opendocument:xmlns"
DOCX = {
    f"{space} {name}": kind
    for space in WORD
    for kind, names in {
        "paragraph": "p",
        "words": "t",
        "tab": "tab",
        "line": "br cr",
        "hyphen": "noBreakHyphen",
        "table": "tbl",
        "row": "tr",
        "cell": "tc",
        "reference": "footnoteReference endnoteReference",
        "note": "footnote endnote",
        "passed": "del moveFrom pPr rPr rt",  # the tabs of a pPr are stops; an rt says how its word is spoken
    }.items()
    for name in names.split()
} | {"http://schemas.openxmlformats.org/markup-compatibility/2006 Fallback": "passed"}  # the same for older programs
ODT = {
    f"{OPEN}:{name}": kind
    for kind, names in {
        "paragraph spoken": "text:1.0 p, text:1.0 h",
        "tab": "text:1.0 tab",
        "line": "text:1.0 line-break",
        "spaces": "text:1.0 s",
        "table": "table:1.0 table",
        "row": "table:1.0 table-row",
        "cell": "table:1.0 table-cell",
        "note": "text:1.0 note",
        "passed": "text:1.0 note-citation, text:1.0 tracked-changes, office:1.0 annotation, text:1.0 ruby-text, "
        "svg-compatible:1.0 title, svg-compatible:1.0 desc",
    }.items()
    for name in names.split(", ")
}
"""Elements by namespace and name, and what they are to a text; whose words are of a paragraph without any of their own
are "spoken"."""
SPACE = re.compile(r"[ \t\r\n]+")


def docx(data: bytes, name: str, _: Stated) -> Iterator[Row | Unread]:
    """One row {text, name}."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    budget = Budget(UNPACKED_BYTES + UNPACKED_RATIO * len(data))
    notes: dict[str, str] = {}
    for kind in ("footnote", "endnote"):
        if (part := f"word/{kind}s.xml") in archive.namelist():
            found = _Text(DOCX, {})
            _parse(archive, part, found, budget)
            notes |= {f"{kind} {number}": text for number, text in found.noted.items()}
    text = _Text(DOCX, notes)
    _parse(archive, "word/document.xml", text, budget)
    yield from _row(text, name)


def odt(data: bytes, name: str, _: Stated) -> Iterator[Row | Unread]:
    """One row {text, name}."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    budget = Budget(UNPACKED_BYTES + UNPACKED_RATIO * len(data))
    manifest = "META-INF/manifest.xml"
    if manifest in archive.namelist() and b"encryption-data" in archive.open(manifest).read(LONGEST_ROW):
        yield Unread("encrypted: a password opens it", None, "", name=name)
        return
    text = _Text(ODT, {})
    _parse(archive, "content.xml", text, budget)
    yield from _row(text, name)


def _row(found: "_Text", name: str) -> Iterator[Row | Unread]:
    text = "\n\n".join(found.blocks[0])
    yield {"text": Document(text), "name": name} if text else Unread("no text in it", None, "", name=name)


def _parse(archive: zipfile.ZipFile, part: str, text: "_Text", budget: Budget) -> None:
    """Have `text` take in a part of the archive.

    Raises:
        RefusedError: it declares entities, is nested too deeply, or too long.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = text.begin
    parser.EndElementHandler = text.end
    parser.CharacterDataHandler = text.say

    def refuse(*_: Any) -> None:
        raise RefusedError(f"{part} declares entities, a few lines of which can stand for terabytes")

    parser.EntityDeclHandler = refuse
    with archive.open(part) as stream:
        while piece := stream.read(PIECE):
            budget.spend(len(piece))
            parser.Parse(piece, False)
    parser.Parse(b"", True)


class _Text:
    """A text under way, as its elements begin and end.

    Args:
        rules: what elements are.
        notes: by "footnote 1" and the like, what their references mean.
    """

    def __init__(self, rules: dict[str, str], notes: dict[str, str]) -> None:
        self._rules = rules
        self._notes = notes
        self.blocks: list[list[str]] = [[]]
        """Paragraphs of the whole, then of each table, row, cell and note that is open."""
        self.noted: dict[str, str] = {}
        """The notes themselves, by their numbers."""
        self._paragraphs: list[tuple[list[str], list[str]]] = []
        """Of each that is open, as a box of text stands within one: its words, and the notes they refer to."""
        self._numbers: list[str] = []
        """Of the notes that are open."""
        self._depth = self._passed = self._words = self._size = self._count = 0

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise RefusedError(f"elements nested more than {DEEPEST} levels deep")
        kind = self._rules.get(name)
        if kind is None:
            return
        if self._passed or kind == "passed":
            self._passed += 1
        elif kind.startswith("paragraph"):
            self._paragraphs.append(([], []))
            self._words += kind == "paragraph spoken"
        elif kind == "words":
            self._words += 1
        elif kind in ("table", "row", "cell", "note"):
            self.blocks.append([])
            if kind == "note":
                self._numbers.append(_attribute(attributes, "id"))
        elif kind == "reference":
            of = "footnote" if name.endswith("footnoteReference") else "endnote"
            self._refer(self._notes.get(f"{of} {_attribute(attributes, 'id')}", ""))
        elif kind == "spaces":
            self._add(" " * min(int(_attribute(attributes, "c") or 1), MOST_SPACES))
        else:
            self._add({"tab": "\t", "line": "\n", "hyphen": "-"}[kind])

    def end(self, name: str) -> None:
        self._depth -= 1
        kind = self._rules.get(name)
        if kind is None:
            return
        if self._passed:
            self._passed -= 1
        elif kind.startswith("paragraph"):
            words, notes = self._paragraphs.pop()
            self._words -= kind == "paragraph spoken"
            self.blocks[-1] += [text for each in ("".join(words), *notes) if (text := each.strip())]
        elif kind == "words":
            self._words -= 1
        elif kind in ("table", "row", "cell"):
            found = self.blocks.pop()
            if kind == "cell" or any(found):
                self.blocks[-1].append(("\t" if kind == "row" else "\n").join(found))
        elif kind == "note":
            text, number = "\n".join(self.blocks.pop()), self._numbers.pop()
            self.noted[number] = text
            if self._paragraphs:
                self._refer(text)

    def say(self, words: str) -> None:
        if self._words and not self._passed:
            self._add(SPACE.sub(" ", words) if self._rules is ODT else words)

    def _refer(self, note: str) -> None:
        if note and self._paragraphs:
            self._count += 1
            self._add(f"[^{self._count}]")
            self._paragraphs[-1][1].append(f"[^{self._count}]: {note}")

    def _add(self, words: str) -> None:
        self._size += len(words)
        if self._size > LONGEST_ROW:
            raise RefusedError(too_long())
        if self._paragraphs:
            self._paragraphs[-1][0].append(words)


def _attribute(attributes: dict[str, str], name: str) -> str:
    return next((value for key, value in attributes.items() if key.endswith(f" {name}")), "")
