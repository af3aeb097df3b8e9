"""Diff: what became of the rows of one version in another, each row of both accounted for.

A row is the same in both where it has the same id (its content as it was read). Of several, those of one fate are the
same, at the same place of the drop if there is one there; then those at one place, then any. What is left is the same
row with other content where it has the same place, or is the only one left of its group; else it is gone, or added. A
row that both versions publish with other words, because the recipe cleans it in another way, has changed too.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from curate.arrow import whole
from curate.manifest import DatasetManifest
from curate.publish.shown_rows import excerpt, rows_at, seen
from curate.record import SPLITS, TURNS, answer_text, prompt_form, prompt_text
from curate.store import verified

QUARANTINE = "quarantine"
BATCH = 1 << 14
EXAMPLES = 3
"""Rows shown of each fate."""
Numbers = npt.NDArray[np.int64]
FIGURES = {
    "split": "Rows kept, by split",
    "label": "Rows kept, by label",
    "language": "Rows kept, by language",
    "reason": "Rows quarantined, by stage and reason",
}


ROWS = pa.schema(
    [pa.field(name, pa.string()) for name in ("id", "group", "label", "language", "file")]
    + [pa.field("row", pa.int64()), pa.field("text", pa.string()), pa.field("state", pa.string())]
)


@dataclass(frozen=True)
class Matched:
    """Which row of one version is which of another: numbers of rows."""

    before: Numbers
    """Of rows that are in both."""
    after: Numbers
    """Of the same rows, in the same order."""
    changed: npt.NDArray[np.bool_]
    """Whether the row has other content."""
    gone: Numbers
    added: Numbers


@dataclass(frozen=True)
class Fate:
    """Rows that stood in one place of one version, and where they stand in the other."""

    before: str | None
    """The split, or `stage: reason` of the quarantine; None where the row was not there."""
    after: str | None
    """Likewise; None where it is gone."""
    changed: bool
    """Whether their content is another."""
    rows: int
    examples: list[dict[str, Any]]
    """{"id", "source", "text", "target", "evidence"} of `before` and of `after`, or None where it is not there."""


@dataclass(frozen=True)
class Diff:
    """What differs between two versions."""

    before: DatasetManifest
    after: DatasetManifest
    inputs: list[tuple[str, Any, Any]]
    """What they were made from, where it differs: the manifest's key, its value in each."""
    rows: dict[str, int]
    """before = same + changed + gone, after = same + changed + added; moved: those of same and changed that stand in
    another split, or went to or came from the quarantine, or are there for another reason."""
    fates: list[Fate]
    """Of all rows, those of most rows first."""
    figures: dict[str, dict[str, tuple[int, int]]]
    """By FIGURES: by value, the rows in each version."""


def diff(before: Path, after: Path) -> Diff:
    """Compare two published versions, row by row.

    Args:
        before, after: their folders.

    Raises:
        AssayError: a file of one is not as it was published.
    """
    manifests = [DatasetManifest.read(folder) for folder in (before, after)]
    tables = [read_rows(folder) for folder in (before, after)]
    found = matched(*tables)
    states = [table["state"].to_pylist() for table in tables]
    fates: dict[tuple[str | None, str | None, bool], list[tuple[int | None, int | None]]] = {}
    for one, other, changed in zip(found.before.tolist(), found.after.tolist(), found.changed.tolist(), strict=True):
        fates.setdefault((states[0][one], states[1][other], changed), []).append((one, other))
    for one in found.gone.tolist():
        fates.setdefault((states[0][one], None, False), []).append((one, None))
    for other in found.added.tolist():
        fates.setdefault((None, states[1][other], False), []).append((None, other))
    changed = int(found.changed.sum())
    stayed = {key: len(rows) for key, rows in fates.items() if None not in key[:2]}
    counts = {
        "before": tables[0].num_rows,
        "after": tables[1].num_rows,
        "same": len(found.before) - changed,
        "changed": changed,
        "gone": len(found.gone),
        "added": len(found.added),
        "moved": sum(rows for (one, other, _), rows in stayed.items() if one != other),
    }
    return Diff(
        before=manifests[0],
        after=manifests[1],
        inputs=list(_differing(_inputs(manifests[0]), _inputs(manifests[1]))),
        rows=counts,
        fates=_fates(fates, (before, after), tables),
        figures={name: _figures(name, *tables) for name in FIGURES},
    )


def read_rows(folder: Path) -> pa.Table:
    """All rows of a version, the published ones first.

    Returns:
        key: what a row is known by, its id or, where there is none, a hash of its raw text; file, row: its place;
        group, label, language; text: hash of what is said of a published row; state: its split, or stage and reason;
        number: of the row in its file.
    """
    pieces = [_rows_of(folder, split) for split in (*SPLITS, QUARANTINE)]
    return pa.concat_tables(pieces).combine_chunks()


def _rows_of(folder: Path, name: str) -> pa.Table:
    kept = name != QUARANTINE
    own = ["turns", "target", "reasoning"] if kept else ["stage", "reason", "raw"]
    path = verified(folder, f"{name}.parquet")
    pieces = []
    with pq.ParquetFile(path) as file:
        there = [
            each for each in ("id", "group", "label", "language", "source", *own) if each in file.schema_arrow.names
        ]
        for batch in file.iter_batches(BATCH, columns=there):
            source = batch["source"]
            columns = {each: batch[each] for each in ("id", "group", "label", "language")}
            columns |= {each: pc.struct_field(source, each) for each in ("file", "row")}
            if kept:
                columns |= {"text": _said(batch), "state": pa.array([name] * batch.num_rows, pa.string())}
            else:
                columns["state"] = pc.binary_join_element_wise(batch["stage"], batch["reason"], ": ")
                columns["text"] = pa.nulls(batch.num_rows, pa.string())
                raw = [None if text is None else _hash(text) for text in batch["raw"].to_pylist()]
                columns["id"] = pc.coalesce(columns["id"], pa.array(raw, pa.string()))
            pieces.append(pa.table({each: columns[each] for each in ROWS.names}, schema=ROWS))
    table = pa.concat_tables(pieces) if pieces else ROWS.empty_table()
    return table.append_column("number", pa.array(np.arange(table.num_rows)))


def _said(batch: pa.RecordBatch) -> pa.Array:
    """A hash of all that is said and thought in each row."""
    table = pa.table(batch.set_column(batch.schema.get_field_index("turns"), "turns", batch["turns"].cast(TURNS)))
    turns = whole(table["turns"])
    thought = pc.fill_null(pc.struct_field(turns.flatten(), "reasoning"), "")
    ends = np.concatenate([[0], np.cumsum(pc.list_value_length(turns).to_numpy(zero_copy_only=False))])
    thoughts = pc.binary_join(pa.ListArray.from_arrays(pa.array(ends.astype(np.int32)), thought), "\x1f")
    before = pc.fill_null(whole(table["reasoning"]), "") if "reasoning" in table.column_names else ""
    parts = [prompt_form(table), prompt_text(table), answer_text(table), thoughts, before]
    return pa.array([_hash(text) for text in pc.binary_join_element_wise(*parts, "\x1e").to_pylist()], pa.string())


def _hash(text: str) -> str:
    return xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))


def matched(before: pa.Table, after: pa.Table) -> Matched:
    """Which row is which. Rows that are alike are matched in their order.

    Args:
        before, after: as `read_rows` gives them.
    """
    ids, files, groups, states = (_codes(before, after, name) for name in ("id", "file", "group", "state"))
    rows = [pc.fill_null(table["row"], -1).to_numpy() for table in (before, after)]
    places = [np.where(row < 0, -1, part) for part, row in zip(_both(files, rows), rows, strict=True)]
    fates = _both(ids, states)
    left = [np.arange(before.num_rows), np.arange(after.num_rows)]
    pairs: list[tuple[Numbers, Numbers]] = []

    def pair(keys: list[Numbers]) -> None:
        nonlocal left
        one, other = _paired([key[rest] for key, rest in zip(keys, left, strict=True)])
        pairs.append((left[0][one], left[1][other]))
        left = [np.delete(rest, taken) for rest, taken in zip(left, (one, other), strict=True)]

    pair(_both(fates, places))
    pair(fates)
    pair(_both(ids, places))
    pair(ids)
    same = sum(len(one) for one, _ in pairs)
    pair(places)
    pair(_alone(groups, left))
    first, second = (np.concatenate([each[side] for each in pairs]) for side in (0, 1))
    texts = [table["text"].take(pa.array(at)) for table, at in ((before, first), (after, second))]
    rewritten = pc.fill_null(pc.not_equal(*texts), False).to_numpy()
    return Matched(first, second, rewritten | (np.arange(len(first)) >= same), *left)


def _codes(before: pa.Table, after: pa.Table, name: str) -> list[Numbers]:
    """A number for each value of a column, the same in both tables; -1 for null."""
    column = pa.chunked_array([*before[name].chunks, *after[name].chunks], pa.string())
    codes = pc.fill_null(whole(column).dictionary_encode().indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return [codes[: before.num_rows], codes[before.num_rows :]]


def _both(first: list[Numbers], second: list[Numbers]) -> list[Numbers]:
    """A number for each pair of numbers, the same in both tables; -1 where the first is -1."""
    codes = np.unique(np.concatenate(second), return_inverse=True)[1]
    of_each = codes[: len(second[0])], codes[len(second[0]) :]
    return [np.where(one < 0, -1, one * (len(codes) + 1) + other) for one, other in zip(first, of_each, strict=True)]


def _alone(groups: list[Numbers], left: list[Numbers]) -> list[Numbers]:
    """The groups, of which those that have more than one row left in either version are none."""
    found = []
    for own, rest in zip(groups, left, strict=True):
        counts = np.bincount(own[rest] + 1, minlength=int(own.max(initial=-1)) + 2)
        found.append(np.where(counts[own + 1] == 1, own, -1))
    return found


def _paired(keys: list[Numbers]) -> tuple[Numbers, Numbers]:
    """Places in both arrays that have the same key: the first of each with the first, and so on; -1 is no key."""
    ranked = [_ranks(key) for key in keys]
    most = int(max((ranks.max(initial=0) for ranks in ranked), default=0)) + 1
    valid = [np.flatnonzero(key >= 0) for key in keys]
    codes = np.unique(np.concatenate([key[at] for key, at in zip(keys, valid, strict=True)]), return_inverse=True)[1]
    of_each = codes[: len(valid[0])], codes[len(valid[0]) :]
    numbered = [own * most + ranks[at] for own, ranks, at in zip(of_each, ranked, valid, strict=True)]
    _, one, other = np.intersect1d(numbered[0], numbered[1], assume_unique=True, return_indices=True)
    return valid[0][one], valid[1][other]


def _ranks(keys: Numbers) -> Numbers:
    """How many equal keys come before each."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(keys) else np.zeros(0, int)
    lengths = np.diff(np.append(begins, len(keys)))
    ranks = np.empty(len(keys), np.int64)
    ranks[order] = np.arange(len(keys)) - np.repeat(begins, lengths)
    return ranks


def _fates(
    fates: Mapping[tuple[str | None, str | None, bool], list[tuple[int | None, int | None]]],
    folders: tuple[Path, Path],
    tables: list[pa.Table],
) -> list[Fate]:
    """The fates with a few rows of each, spread over all of them."""
    chosen = {
        key: [rows[len(rows) * part // EXAMPLES] for part in range(min(EXAMPLES, len(rows)))]
        for key, rows in fates.items()
        if key[0] != key[1] or key[2]  # who stays as it was is not shown
    }
    shown = [
        _shown(folder, table, {pair[side] for pairs in chosen.values() for pair in pairs} - {None})
        for side, (folder, table) in enumerate(zip(folders, tables, strict=True))
    ]
    ranked = sorted(fates.items(), key=lambda each: (-len(each[1]), [str(part) for part in each[0]]))
    return [
        Fate(
            *key,
            rows=len(rows),
            examples=[
                {
                    "before": None if one is None else shown[0][one],
                    "after": None if other is None else shown[1][other],
                }
                for one, other in chosen.get(key, [])
            ],
        )
        for key, rows in ranked
    ]


def _shown(folder: Path, table: pa.Table, numbers: Iterable[int | None]) -> dict[int, dict[str, Any]]:
    """Rows for the eye, by their number."""
    wanted = sorted(number for number in numbers if number is not None)
    at: dict[str, dict[int, int]] = {}
    for number in wanted:
        state = table["state"][number].as_py()
        at.setdefault(state if state in SPLITS else QUARANTINE, {})[table["number"][number].as_py()] = number
    found = {}
    for name, places in at.items():
        for place, row in rows_at(folder / f"{name}.parquet", sorted(places)):
            evidence = orjson.loads(row["evidence"]) if name == QUARANTINE else None
            shown = seen(row)
            where = {"source": f"{shown.pop('file')}, row {shown.pop('row')}", "evidence": evidence}
            text = {key: None if said is None else excerpt(said) for key, said in shown.items()}
            found[places[place]] = text | where
    return found


def _figures(name: str, before: pa.Table, after: pa.Table) -> dict[str, tuple[int, int]]:
    """The rows in each version, by the values of a column."""
    counts = []
    for table in (before, after):
        kept = pc.is_in(table["state"], pa.array(SPLITS))
        rows = table.filter(pc.invert(kept) if name == "reason" else kept)
        values = rows["state" if name in ("split", "reason") else name].to_pylist()
        counts.append(Counter("(none)" if value is None else value for value in values))
    names = sorted(counts[0].keys() | counts[1].keys(), key=lambda each: (-max(counts[0][each], counts[1][each]), each))
    return {each: (counts[0][each], counts[1][each]) for each in names}


def _inputs(manifest: DatasetManifest) -> dict[str, Any]:
    """What a version was made from."""
    told = manifest.content()
    return {key: told.get(key) for key in ("drop", "lookups", "recipe", "contract", "base", "references", "code")} | {
        "compared_with": manifest.index.compared_with,
        "libraries": manifest.libraries,
    }


def _differing(before: Any, after: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted(before.keys() | after.keys()):
            yield from _differing(before.get(name), after.get(name), f"{key}.{name}".lstrip("."))
    elif before != after:
        yield key, before, after
