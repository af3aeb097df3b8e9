"""Kept documents: what the documents of a lookup say is kept in the cache, so that each is read once.

A row may ask for any document, so every process that maps rows has them all, and so has every run: what takes time is
done once for each content, by all processes together.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson

from curate.cache import cache_folder, intact, is_kept, keyed_folder
from curate.engine import MapShards
from curate.hashing import digest
from curate.read.documents.messages import message_of, row_of
from curate.read.files import InputFile, grouped
from curate.read.formats import DOCUMENTS
from curate.read.raw import form_of, read_rows
from curate.read.raw_row import Document, Row, Unread

NAME = "documents"
"""What the work is called, and where the cache has it."""
KEPT = DOCUMENTS | {"html", "mbox"}
"""Formats of which rows are kept; all are read in a process of its own, which sends them as JSON."""
ARCHIVES = {"zip", "tar"}
ROWS = "rows.json"
TASK_BYTES = 1 << 18
"""Bytes of the documents of a task, so few that all workers have some."""
DOCUMENT_BYTES = 1 << 13
"""Bytes that are read in the time that a document takes beside, about."""


@dataclass(frozen=True)
class KeepTask:
    """Reading some documents, each into an entry of the cache."""

    files: tuple[InputFile, ...]
    cache: Path
    read_by: str
    unit: str = "bytes"

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    def __str__(self) -> str:
        return ", ".join(file.name for file in self.files)


def keep_documents(files: Iterable[InputFile], cache: Path, read_by: str, map_shards: MapShards) -> None:
    """See to it that the documents among files are kept.

    Args:
        files: hashed.
        cache: the store's.
        read_by: hash of all but the file that its rows depend on.
        map_shards: runs the work that is left over tasks.
    """
    entries = {_entry(file, cache, read_by): file for file in files if _is_document(file)}
    left = [file for entry, file in entries.items() if not is_kept(entry)]
    if left:
        tasks = [KeepTask(group, cache, read_by) for group in grouped(left, TASK_BYTES, DOCUMENT_BYTES)]
        map_shards(NAME, run_keep, tasks)


def run_keep(task: KeepTask) -> None:
    """Read documents, and keep what is read."""
    for file in task.files:
        cache_folder(_entry(file, task.cache, task.read_by), partial(_write, file))


def rows_kept(file: InputFile, cache: Path, read_by: str) -> Iterator[Row | Unread]:
    """The rows of a file, as `read_rows` gives them: those that are kept, if they are.

    Raises:
        RotError: they are, and are not as they were written.
        AssayError: as of `read_rows`.
    """
    entry = _entry(file, cache, read_by)
    if is_kept(entry) and (entry / ROWS).is_file():
        yield from map(row_of, orjson.loads(intact(entry, ROWS).read_bytes()))
    else:
        yield from read_rows(file)


def _is_document(file: InputFile) -> bool:
    """Whether a file is a document, or an archive, which may hold some."""
    if file.unread or file.format not in (None, *KEPT):
        return False
    packing, format = form_of(file)
    return format in KEPT or (format is None and packing in ARCHIVES)


def _entry(file: InputFile, cache: Path, read_by: str) -> Path:
    key = digest([NAME, read_by, file.name, file.sha256, file.format, file.options.model_dump(mode="json")])
    return keyed_folder(cache / NAME, key)


def _write(file: InputFile, draft: Path) -> None:
    """The rows of a file; none of an archive that holds anything but documents, whose rows may be no JSON."""
    rows = [*read_rows(file)]
    documents = all(isinstance(row, Unread) or isinstance(row.get("text"), Document) for row in rows)
    if documents or form_of(file)[0] not in ARCHIVES:
        (draft / ROWS).write_bytes(orjson.dumps([message_of(row) for row in rows]))
