"""Traces: where a store's files still say what rows say that are to be forgotten.

Of each text of these rows a few pieces are looked for that no other row has, cut so that they are spelt alike in a
table, in JSON and in a page. What is packed inside a page is not looked into: pages are made of tables beside them.
"""

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import re2

PIECE = 48
"""Characters of a piece."""
LEAST = 12
"""Of a shorter one nobody could say whose it is."""
MOST = 2000
"""Pieces that are looked for together."""
MEMORY = 1 << 29
"""Bytes that looking for them may take."""
PLAIN = re.compile(r"[^\"\\<>&'\x00-\x1f\x7f]+")
"""What is written alike everywhere."""


class Traces:
    """What gives rows away.

    Args:
        pieces: of their texts.
    """

    def __init__(self, pieces: Iterable[str]) -> None:
        self.pieces = sorted(pieces)
        spelt = [(piece, form) for piece in self.pieces for form in {piece, json.dumps(piece)[1:-1]}]
        self._sets = [_Set(spelt[begin : begin + MOST]) for begin in range(0, len(spelt), MOST)]

    def found(self, data: bytes) -> set[str]:
        """The pieces that some bytes hold."""
        return {piece for each in self._sets for piece in each.found(data)}

    def within(self, path: Path) -> bool:
        """Whether a file, or any in a folder, holds one."""
        return any(self.found(data) for data in texts_in(path)) if self.pieces else False


class _Set:
    """Pieces that are looked for together.

    Args:
        spelt: each with the way that it is written.
    """

    def __init__(self, spelt: Sequence[tuple[str, str]]) -> None:
        options = re2.Options()
        options.max_mem = MEMORY
        self._set, self._pieces = re2.Set.SearchSet(options), [piece for piece, _ in spelt]
        for _, form in spelt:
            self._set.Add(re2.escape(form.encode()))
        self._set.Compile()

    def found(self, data: bytes) -> list[str]:
        return [self._pieces[number] for number in self._set.Match(data) or ()]


def traces_of(rows: Iterable[dict[str, Any]], others: Iterable[dict[str, Any]], said: Iterable[bytes]) -> Traces:
    """What gives rows away.

    Args:
        rows: those, as they are published or quarantined.
        others: all the rest; what one of them says too gives nothing away.
        said: what contracts and recipes say, which gives nothing away either.
    """
    traces = Traces({piece for row in rows for piece in _pieces(row)})
    common: set[str] = set()
    for other in others:
        common |= traces.found("\n".join(texts_of(other)).encode("utf-8", "replace"))
    for each in said:
        common |= traces.found(each)
    return Traces({*traces.pieces} - common)


def texts_of(row: Mapping[str, Any]) -> list[str]:
    """All that a row says."""
    said = [turn.get(name) for turn in row.get("turns") or () for name in ("content", "reasoning")]
    values = row["meta"].values() if row.get("meta") else ()
    named = (row.get(name) for name in ("target", "reasoning", "raw", "label", "group"))
    return [text for text in (*said, *named, *values) if text]


def _pieces(row: Mapping[str, Any]) -> Iterator[str]:
    """Of each text the beginning, the middle and the end of its longest stretches."""
    for text in texts_of(row):
        runs = [run for run in PLAIN.findall(text.encode("utf-8", "replace").decode()) if len(run.strip()) >= LEAST]
        for run in sorted(runs, key=len, reverse=True)[:3]:
            run = run.strip()
            for begin in {0, (len(run) - PIECE) // 2, len(run) - PIECE}:
                yield run[max(0, begin) : max(0, begin) + PIECE].strip()


def texts_in(path: Path) -> Iterator[bytes]:
    """What a file says, or all files in a folder: columns of tables as they are read, other files byte by byte."""
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    for file in files:
        try:
            if file.suffix == ".parquet":
                with pq.ParquetFile(file) as parquet:
                    for batch in parquet.iter_batches():
                        yield from _texts(batch.columns)
            elif file.suffix == ".arrow":
                with pa.memory_map(str(file)) as source:
                    for batch in pa.ipc.open_file(source).read_all().to_batches():
                        yield from _texts(batch.columns)
            elif file.suffix == ".sqlite":
                with closing(sqlite3.connect(file)) as database:
                    yield from (answer.encode() for (answer,) in database.execute("SELECT answer FROM answers"))
            else:
                yield file.read_bytes()
        except (pa.ArrowException, sqlite3.Error):  # whatever it is, its bytes are there
            yield file.read_bytes()


def _texts(columns: Iterable[pa.Array]) -> Iterator[bytes]:
    """The texts of columns, at whatever depth."""
    for column in columns:
        kind = column.type
        if pa.types.is_dictionary(kind):
            yield from _texts([column.dictionary])
        elif pa.types.is_struct(kind):
            yield from _texts(column.flatten())
        elif pa.types.is_map(kind):
            yield from _texts([column.keys, column.items])
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            yield from _texts([column.flatten()])
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
            said = (each if isinstance(each, bytes) else each.encode() for each in column.to_pylist() if each)
            yield b"\n".join(said)
