"""Answers of an endpoint that are kept: paid for once, and known by their hash, so that rot is asked again."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import xxhash

from curate.errors import AssayError
from curate.mirror import mirror_of
from curate.shared import add_lines, fresh
from evaluation.judge.answer import Generated

SHARED = "answers.jsonl"
"""Beside the table, where the store is in a bucket: what machines tell each other."""


class Kept:
    """Answers on disk: a row each of an SQLite table, written by a transaction each, so that no crash can halve one."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(
            "CREATE TABLE IF NOT EXISTS answers "
            "(key TEXT PRIMARY KEY, answer TEXT NOT NULL, refused TEXT NOT NULL, hash TEXT NOT NULL)"
        )

    def __contains__(self, key: str) -> bool:
        """Whether the answer is there, and is what was written."""
        row = self._database.execute("SELECT * FROM answers WHERE key = ?", [key]).fetchone()
        return row is not None and _sound(row)

    def __getitem__(self, key: str) -> Generated:
        [answer] = self._database.execute("SELECT answer FROM answers WHERE key = ?", [key]).fetchone()
        return Generated(**json.loads(answer))

    def add(self, key: str, answer: Generated, refused: Iterable[str]) -> None:
        """Keep an answer, and which parameters it was asked without."""
        row = [key, json.dumps(asdict(answer)), json.dumps(sorted(refused))]  # ASCII: half a character is escaped
        self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", [*row, _hash(row)])

    def refused(self) -> list[str]:
        """All the parameters that answers were asked without."""
        rows = filter(_sound, self._database.execute("SELECT * FROM answers"))
        return sorted({name for names in {row[2] for row in rows} for name in json.loads(names)})

    def share(self, lines: Path) -> None:
        """Learn the answers that lines of a file of all machines hold, and add those that they do not.

        Args:
            lines: a JSON list each, of a row of the table.
        """
        said = lines.read_bytes().splitlines() if fresh(lines).is_file() else []
        known: list[tuple[str, ...]] = [tuple(json.loads(line)) for line in said]
        self._database.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", [*filter(_sound, known)])
        told = {(row[0], row[3]) for row in known}
        new = [row for row in self._database.execute("SELECT * FROM answers") if (row[0], row[3]) not in told]
        if new:
            add_lines(lines, b"".join(json.dumps(row).encode() + b"\n" for row in new))


def _hash(columns: Iterable[str]) -> str:
    return xxhash.xxh3_128_hexdigest("\n".join(columns).encode())


def _sound(row: tuple[str, ...]) -> bool:
    *columns, written = row
    return _hash(columns) == written


@contextmanager
def kept_in(folder: Path) -> Iterator[Kept]:
    """The answers kept in a folder; of a store in a bucket those that any machine has been given.

    Raises:
        AssayError: the disk is full, or the file is not as it was written.
    """
    file = folder / "answers.sqlite"
    try:
        with closing(sqlite3.connect(file, isolation_level=None)) as database:
            kept, lines = Kept(database), folder / SHARED
            if mirror_of(folder) is None:
                yield kept
                return
            kept.share(lines)
            try:
                yield kept
            finally:
                kept.share(lines)
    except sqlite3.Error as error:
        raise AssayError(
            f"{file}: {error}.",
            remedy="Make room on the disk. A file that is broken may be deleted: its rows are then asked again.",
        ) from None
