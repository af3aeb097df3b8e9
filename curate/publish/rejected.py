"""Rejected rows for the report's search: as many as a page can hold, compressed, as text that nothing runs.

The page unpacks them (templates/report/report.js), so that it works from a file, where nothing can be fetched.
"""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from curate.publish.shown_rows import kept_rows, seen

MOST_ROWS = 200_000
"""Rows that are in the page; of more, the first of the drop."""
LENGTHS = (4000, 2000, 1000, 600, 400, 300, 200, 120, 80)
"""Characters of a text that are in the page: the most that fit."""
PAGE_BYTES, ROW_BYTES = 3_000_000, 80
"""What all rows may take in the page, as base64: so much, or so much for each."""
UNPACKED_CHARACTERS = 50_000_000
"""Characters of all texts that it may hold: a browser unpacks and searches so many without a noticeable wait."""
HELD_CHARACTERS = 128_000_000
"""Characters of texts that are held while a page is written."""
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that no text shows, and by which it shows another; tabs and line ends are shown."""


@dataclass(frozen=True)
class Rejected:
    """Rejected rows as a page holds them."""

    packed: str
    """Base64 of gzip of JSON, see `_document`; empty where there is none."""
    rows: int
    """How many it holds."""
    length: int
    """Characters of each text that it holds at most."""
    first: list[dict[str, Any]]
    """The first few, for a page whose script does not run."""


def rejected_rows(folder: Path, first: int) -> Rejected:
    """The rejected rows of a version.

    Args:
        folder: holds quarantine.parquet and the splits' Parquet files.
        first: how many are shown where no script runs.
    """
    with pq.ParquetFile(folder / "quarantine.parquet") as file:
        count = min(file.metadata.num_rows, MOST_ROWS)
        if not count:
            return Rejected("", 0, 0, [])
        held = next((length for length in LENGTHS if count * length <= HELD_CHARACTERS), LENGTHS[-1])
        rows = list(_rows(file, count, held))
    kept = kept_rows(folder, {row["evidence"]["kept"] for row in rows if "kept" in row["evidence"]}) if rows else {}
    most = max(PAGE_BYTES, ROW_BYTES * count)
    texts = [len(each[name]) for each in (*rows, *kept.values()) for name in ("text", "target")]
    for length in LENGTHS:
        if length > held or (length > LENGTHS[-1] and sum(min(size, length) for size in texts) > UNPACKED_CHARACTERS):
            continue
        packed = base64.b64encode(pa.compress(orjson.dumps(_document(rows, kept, length)), "gzip", asbytes=True))
        if len(packed) <= most:
            break
    return Rejected(packed.decode(), count, length, rows[:first])


def _rows(file: pq.ParquetFile, count: int, length: int) -> Iterator[dict[str, Any]]:
    """The first rows of a quarantine as `seen` gives them, with `stage`, `reason` and `evidence`, texts shortened."""
    columns = ["id", "turns", "target", "source", "stage", "reason", "evidence", "raw"]
    for batch in file.iter_batches(4096, columns=columns):
        for row in batch.to_pylist():
            if not count:
                return
            count -= 1
            shown = seen(row)
            yield shown | {
                "text": _cut(shown["text"], length),
                "target": _cut(shown["target"], length),
                "stage": row["stage"],
                "reason": row["reason"],
                "evidence": orjson.loads(row["evidence"]),
            }


def _document(rows: list[dict[str, Any]], kept: dict[str, dict[str, Any]], length: int) -> dict[str, Any]:
    """What is packed: {"kinds": [[stage, reason]], "files": [name], "rows": [row]}.

    A row is [kind, file, row, text, target, evidence as JSON, kept]; `row` is its number, or words that begin with it
    and say on which pages it stands; `kept` is null, or the row kept in its place as [file, row, text, target, fate],
    or the number of an earlier row that holds it. So a duplicate lies beside what it is like, which packs best.
    """
    kinds: dict[tuple[str, str], int] = {}
    files: dict[str, int] = {}
    holders: dict[str, int] = {}
    made: list[list[Any]] = []
    for number, row in enumerate(rows):
        evidence: dict[str, Any] = row["evidence"]
        like: int | list[Any] | None = None
        if (id_ := evidence.get("kept")) in kept:
            evidence = {name: value for name, value in evidence.items() if name not in ("kept", "file", "row")}
            like = holders.setdefault(id_, number)
            if like == number:
                other = kept[id_]
                at = files.setdefault(_plain(other["file"]), len(files))
                texts = [_cut(other[name], length) for name in ("text", "target")]
                like = [at, _number(other), *texts, other["fate"]]
        made.append(
            [
                kinds.setdefault((row["stage"], row["reason"]), len(kinds)),
                files.setdefault(_plain(row["file"]), len(files)),
                _number(row),
                _cut(row["text"], length),
                _cut(row["target"], length),
                _cut(orjson.dumps(evidence).decode(), length),
                like,
            ]
        )
    return {"kinds": list(kinds), "files": list(files), "rows": made}


def _number(row: dict[str, Any]) -> int | str:
    return f"{row['row']}: {_plain(row['pages'])}" if row["pages"] else row["row"]


def _cut(text: str, length: int) -> str:
    """How a text begins, in which nothing steers what shows it."""
    return _plain(text if len(text) <= length else f"{text[:length]}…")


def _plain(text: str) -> str:
    return HIDDEN.sub(lambda char: f"⟨U+{ord(char[0]):04X}⟩", text)
