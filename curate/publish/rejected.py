"""Rejected rows for the report's search: as many as a page can hold, compressed, as text that nothing runs.

The page unpacks them (templates/report/report.js), so that it works from a file, where nothing can be fetched. They may
be many: their texts stay in Arrow until they are cut to what is shown.
"""

import base64
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.arrow import whole
from curate.patterns import in_re2
from curate.publish.shown_rows import SEEN, tables_of, with_fate
from curate.record import QUARANTINE_SCHEMA, pages_of
from curate.sets.runs import Runs

READ = [*SEEN, "stage", "reason", "evidence", "raw"]
"""Columns of a quarantine that are shown."""
FIRST = 12
"""Rows that are shown where no script runs."""
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
TRIED, PARTS = 4096, 16
"""Of many rows so many, in so many parts, are packed first to see what length all may have."""
PLACE = ("kept", "file", "row")
"""What evidence says of the row that was kept, which stands beside it in the page."""
HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that no text shows, and by which it shows another; tabs and line ends are shown."""
GZIP_LEVEL = 6
"""A page is a hundredth longer than of the highest, and packed in half the time."""


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


def rejected_rows(folder: Path) -> Rejected:
    """The rejected rows of a version.

    Args:
        folder: holds quarantine.parquet and the splits' Parquet files.
    """
    with pq.ParquetFile(folder / "quarantine.parquet") as file:
        tables = (pa.table(batch) for batch in file.iter_batches(4096, columns=READ))
        return _found(tables, file.metadata.num_rows, partial(tables_of, folder))


def rejected_of(rejected: Runs, kept: Runs) -> Rejected:
    """The same of a version that is being made, by its rows."""

    def some_of(ids: pa.Array) -> Iterator[pa.Table]:
        for rows, about in ((rejected, ["stage", "reason"]), (kept, [])):
            wanted = pc.is_in(pa.concat_tables(rows.select(["id"]).tables)["id"], value_set=ids).to_numpy()
            for table in rows.select([*SEEN, *about]).pieces(rows.order[wanted[rows.order]]):
                yield with_fate(table, about)

    return _found(rejected.select(READ).pieces(rejected.order), len(rejected.order), some_of)


def _found(tables: Iterable[pa.Table], count: int, some_of: Callable[[pa.Array], Iterable[pa.Table]]) -> Rejected:
    """See `rejected_rows`.

    Args:
        tables: the rejected rows in their order, with the columns READ.
        count: how many they are.
        some_of: gives those of these ids of all rows, see `tables_of`.
    """
    count = min(count, MOST_ROWS)
    if not count:
        return Rejected("", 0, 0, [])
    held = next((length for length in LENGTHS if count * length <= HELD_CHARACTERS), LENGTHS[-1])
    rows = pa.concat_tables(_rows(tables, count, held))
    ids = whole(rows["kept"]).drop_null().unique()
    none = QUARANTINE_SCHEMA.empty_table().append_column("fate", pa.array([], pa.string()))
    kept = (_shown(table, held).append_column("fate", table["fate"]) for table in (none, *some_of(ids)))
    packed, length = _packed(rows, pa.concat_tables(kept), held)
    return Rejected(packed, count, length, rows.slice(0, FIRST).to_pylist())


def _rows(tables: Iterable[pa.Table], count: int, held: int) -> Iterator[pa.Table]:
    """The first rows of a quarantine as `_shown` gives them, with `stage`, `reason` and `evidence`; of one that went in
    favour of another, the other's id as `kept`, and what the evidence says but for its place as `besides`."""
    for each in tables:
        table = each.slice(0, count)
        count -= table.num_rows
        evidence = [orjson.loads(said) for said in table["evidence"].to_pylist()]
        kept = [said.get("kept") for said in evidence]
        besides = [None if id_ is None else _besides(said) for id_, said in zip(kept, evidence, strict=True)]
        shown = _shown(table, held)
        for name in ("stage", "reason"):
            shown = shown.append_column(name, table[name])
        for name, texts in (("evidence", whole(table["evidence"])), ("besides", pa.array(besides, pa.string()))):
            shown = shown.append_column(name, _cut(texts, held))
        yield shown.append_column("kept", pa.array(kept, pa.string()))
        if not count:
            return


def _besides(evidence: dict[str, Any]) -> str:
    return orjson.dumps({name: value for name, value in evidence.items() if name not in PLACE}).decode()


def _shown(table: pa.Table, held: int) -> pa.Table:
    """What there is to see of rows, as `curate.publish.shown_rows.seen` has it, texts shortened."""
    source = whole(table["source"])
    pages = [""] * table.num_rows
    if source.type.get_field_index("places") >= 0:  # as it is not of the first versions
        places = pc.fill_null(pc.list_value_length(pc.struct_field(source, "places")), 0)
        for at in pc.indices_nonzero(places).to_pylist():
            pages[at] = pages_of(source[at].as_py())
    text = _dialogues(whole(table["turns"]))
    if "raw" in table.column_names:
        text = pc.coalesce(text, whole(table["raw"]))
    columns = {"id": table["id"], "file": pc.struct_field(source, "file"), "row": pc.struct_field(source, "row")}
    columns |= {"pages": pa.array(pages, pa.string()), "text": _cut(pc.fill_null(text, ""), held)}
    return pa.table(columns | {"target": _cut(pc.fill_null(whole(table["target"]), ""), held)})


def _dialogues(turns: pa.Array) -> pa.Array:
    """`curate.publish.shown_rows.dialogue` of each row's turns; null where it has none."""
    said = turns.flatten()
    role, content = (pc.fill_null(pc.struct_field(said, name), "") for name in ("role", "content"))
    lengths = pc.fill_null(pc.list_value_length(turns), 0).to_numpy(zero_copy_only=False)
    alone = pa.array(np.repeat(lengths == 1, lengths))
    lines = pc.if_else(alone, content, pc.binary_join_element_wise(role, content, ": "))
    ends = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), mask=np.append(lengths == 0, False))
    return pc.binary_join(pa.ListArray.from_arrays(ends, lines), "\n")


def _cut(texts: pa.Array, length: int) -> pa.Array:
    """How texts begin; null stays."""
    begin = pc.binary_join_element_wise(pc.utf8_slice_codeunits(texts, 0, length), "…", "")
    return pc.if_else(pc.greater(pc.utf8_length(texts), length), begin, texts)


def _packed(rows: pa.Table, kept: pa.Table, held: int) -> tuple[str, int]:
    """The rows as the page holds them, and the characters of each text: the most that fit."""
    most = max(PAGE_BYTES, ROW_BYTES * rows.num_rows)
    few = _few(rows)
    texts = [table[name] for table in (rows, kept) for name in ("text", "target")]
    sizes = np.concatenate([pc.utf8_length(each).to_numpy() for each in texts])
    for length in (each for each in LENGTHS if each <= held):
        if length > LENGTHS[-1]:
            if np.minimum(sizes, length).sum() > UNPACKED_CHARACTERS:
                continue
            if few is not rows and len(_pack(few, kept, length)) * rows.num_rows > most * few.num_rows:
                continue
        packed = _pack(rows, kept, length)
        if len(packed) <= most:
            break
    return packed.decode(), length


def _few(rows: pa.Table) -> pa.Table:
    """Some of many rows, in parts of neighbours, which are alike; all where they are not many."""
    if rows.num_rows < 2 * TRIED:
        return rows
    size = TRIED // PARTS
    between = (rows.num_rows - size) // (PARTS - 1)
    return pa.concat_tables(rows.slice(between * part, size) for part in range(PARTS))


def _pack(rows: pa.Table, kept: pa.Table, length: int) -> bytes:
    document = orjson.dumps(_document(rows, kept, length))
    return base64.b64encode(pa.Codec("gzip", GZIP_LEVEL).compress(document, asbytes=True))


def _document(rows: pa.Table, kept: pa.Table, length: int) -> dict[str, Any]:
    """What is packed: {"kinds": [[stage, reason]], "files": [name], "rows": [row]}.

    A row is [kind, file, row, text, target, evidence as JSON, kept]; `row` is its number, or words that begin with it
    and say on which pages it stands; `kept` is null, or the row kept in its place as [file, row, text, target, fate],
    or the number of an earlier row that holds it. So a duplicate lies beside what it is like, which packs best.
    """
    kinds: dict[tuple[str, str], int] = {}
    files: dict[str, int] = {}
    holders: dict[str, int] = {}
    kept = kept.filter(pc.is_in(kept["id"], value_set=whole(rows["kept"])))
    told = zip(*_told(kept, length), kept["fate"].to_pylist(), strict=True)
    others = dict(zip(kept["id"].to_pylist(), told, strict=True))
    evidence = pc.if_else(pc.is_in(rows["kept"], value_set=whole(kept["id"])), rows["besides"], rows["evidence"])
    about = [rows[name].to_pylist() for name in ("stage", "reason", "kept")]
    about += [_plain(_cut(whole(evidence), length)), *_told(rows, length)]
    made: list[list[Any]] = []
    for number, (stage, reason, id_, said, file, row, text, target) in enumerate(zip(*about, strict=True)):
        like: int | list[Any] | None = None
        if id_ in others:
            like = holders.setdefault(id_, number)
            if like == number:
                other, *more = others[id_]
                like = [files.setdefault(other, len(files)), *more]
        kind = kinds.setdefault((stage, reason), len(kinds))
        made.append([kind, files.setdefault(file, len(files)), row, text, target, said, like])
    return {"kinds": list(kinds), "files": list(files), "rows": made}


def _told(table: pa.Table, length: int) -> list[list[Any]]:
    """Of each row its file, its number with its pages, its text and its target."""
    numbers: list[Any] = table["row"].to_pylist()
    for at, pages in enumerate(_plain(whole(table["pages"]))):
        if pages:
            numbers[at] = f"{numbers[at]}: {pages}"
    text, target = (_plain(_cut(whole(table[name]), length)) for name in ("text", "target"))
    return [_plain(whole(table["file"])), numbers, text, target]


def _plain(texts: pa.Array) -> list[str]:
    """Texts in which nothing steers what shows them."""
    plain: list[str] = texts.to_pylist()
    for at in pc.indices_nonzero(pc.match_substring_regex(texts, in_re2(HIDDEN.pattern))).to_pylist():
        plain[at] = HIDDEN.sub(lambda char: f"⟨U+{ord(char[0]):04X}⟩", plain[at])
    return plain
