"""The process that `reader` starts: documents come by standard input, rows go by standard output.

It imports little, as it is started often, and a format's library only for a document of that format.
"""

import os
import signal
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import IO, Any

import orjson

from curate.read.budget import RefusedError
from curate.read.documents.bounds import OUT_OF_MEMORY, more_time, set_bounds
from curate.read.documents.messages import message_of
from curate.read.documents.stated import Read, Stated
from curate.read.raw_row import Unread

FORMATS = {
    "pdf": ("pdf", "documents"),
    "docx": ("office", ""),
    "odt": ("office", ""),
    "rtf": ("rtf", "documents"),
    "html": ("html", ""),
    "eml": ("mail", ""),
    "xlsx": ("sheets", "documents"),
}
"""Format -> the module beside this one that has a function of its name, and the extra that brings its library."""
MESSAGE = 1 << 20
"""Bytes of rows that are sent at a time, about."""


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_bounds(*map(int, sys.argv[1:]))
    documents, rows = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print is no row
    while head := documents.readline():
        format, name, stated, size = orjson.loads(head)
        data = documents.read(size)
        more_time()
        try:
            _send_all(_rows(data, format, name, Stated(*stated)), rows)
        except MemoryError:
            os._exit(OUT_OF_MEMORY)


def _rows(data: bytes, format: str, name: str, stated: Stated) -> Iterator[dict[str, Any]]:
    """Rows as they are sent: as messages, or {"needs"}, a package that is not there."""
    module, extra = FORMATS[format]
    try:
        read: Read = getattr(import_module(f"curate.read.documents.{module}"), format)
        for row in read(data, name, stated):
            yield message_of(row)
    except ModuleNotFoundError as error:
        yield {"needs": [error.name, extra if error.name in ("pypdfium2", "python_calamine", "striprtf") else "ocr"]}
    except MemoryError:
        raise
    except Exception as error:  # whatever a library raises of a document is the document's
        said = str(error) if isinstance(error, RefusedError) else f"{type(error).__name__}: {error}"
        yield message_of(Unread(said, None, "", name=name))


def _send_all(rows: Iterator[dict[str, Any]], stream: IO[bytes]) -> None:
    held: list[bytes] = []
    size = 0
    for row in rows:
        held.append(_encoded(row))
        size += len(held[-1])
        if size >= MESSAGE:
            _send(b"[" + b",".join(held) + b"]", stream)
            held, size = [], 0
    if held:
        _send(b"[" + b",".join(held) + b"]", stream)
    _send(b"null", stream)


def _encoded(row: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(row)
    except TypeError:  # of halves of surrogate pairs, which are no text
        return orjson.dumps(_whole(row))


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_whole(key): _whole(inner) for key, inner in value.items()}
    return [_whole(each) for each in value] if isinstance(value, list) else value


def _send(message: bytes, stream: IO[bytes]) -> None:
    stream.write(len(message).to_bytes(8, "little") + message)
    stream.flush()


if __name__ == "__main__":
    main()
