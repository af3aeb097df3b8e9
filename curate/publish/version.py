"""Publishing: the rows that are left, all that are not, and what is told of both become a version, or nothing does."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.account import Account
from curate.contract import Contract
from curate.errors import AssayError
from curate.forgotten import Forgotten, require_as_known
from curate.manifest import Counts, DatasetManifest, GateInfo
from curate.progress import Progress
from curate.publish.carried import FOLDER
from curate.publish.enough import Wanted, require_enough
from curate.publish.few_quarantined import require_few_quarantined
from curate.publish.json_lines import json_lines
from curate.publish.refused import Broken, RefusedError, candidate, keep
from curate.read.files import InputFile
from curate.record import SCHEMA, SPLITS
from curate.rows.render import Rendering
from curate.sets.rows import Rows, in_order, rows_of, spread
from curate.shards import Shard
from curate.store import MANIFEST, Store, verified

if TYPE_CHECKING:
    from curate.publish.gate import GateResult

VERSION = 8
"""Raised whenever the same rows would be published in other bytes."""
QUARANTINE = "quarantine.parquet"
FEW = 10
"""Rows from which a split's share says something: of fewer, one is more than a tenth."""
LISTED_META = pa.list_(pa.struct([pa.field("key", pa.string()), pa.field("value", pa.string())]))
APART = ("ungrounded",)
"""Columns of lists that are published as tables of their own beside the splits, a row for each item."""
SOURCES = pa.schema({"file": pa.string(), "sha256": pa.string(), "bytes": pa.int64(), "columns": pa.list_(pa.string())})
"""Of sources.parquet: see `InputFile`; columns are those that every row of the file has."""


@dataclass(frozen=True)
class Curated:
    """What a run of curation gave."""

    folder: Path
    """The published version."""
    manifest: DatasetManifest
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by stage."""
    cached: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By stage: shards that came from the cache, of how many."""


class GateError(RefusedError):
    """The set contract does not hold; nothing was published."""

    why = "gate"


def publish(
    wanted: Wanted,
    shards: Sequence[Shard],
    account: Account,
    tables: Mapping[str, pa.Table],
    manifest: Mapping[str, Any],
    files: Sequence[InputFile],
    contract: Contract,
    rendering: Rendering,
    store: Store,
    progress: Progress,
    where: str,
    before: Path | None,
    forgotten: Forgotten,
) -> Path:
    """Publish a version.

    Args:
        wanted: names the data set, and says what it is to hold.
        shards: the rows that are left, with the column `split`.
        account: tells of the stages, and holds the rows that are not left.
        tables: published beside the rows, by name.
        manifest: what the version was made from and its stages said, as JSON; `counts` may hold some already.
        files: of the drop.
        contract: the set is held to it, and the card quotes it.
        rendering: rendered the rows; the report shows some as tokens.
        store: where to publish.
        progress: told of the gate.
        where: the drop lies, for the ledger.
        before: folder of the last version that the drop is compared with; its rows are what drift is measured from.
        forgotten: what had been forgotten when the drop was read.

    Returns:
        The version's folder.

    Raises:
        RefusedError: the set breaks its contract, no row is left, or none of a split that the recipe asks for, or too
            many were quarantined; nothing is published, and the candidate is kept aside.
        AssayError: rows have been lost or invented (law 1).
    """

    name, drop = wanted.name, manifest["drop"]["sha256"]
    named = partial(_with_drop, drop=drop)
    kept = rows_of(shards, store.cache)
    rejected = Rows(spread((shard.quarantine() for shard in account.quarantined), store.cache))
    table, quarantine = pa.concat_tables(kept.tables), pa.concat_tables(rejected.tables)
    counts = _counts(table, quarantine, account, manifest["counts"]).content()
    manifest = {**manifest, "counts": counts, "gate": GateInfo(evaluated=0, failed=[], rules=[]).content()}
    kept_out_of = [each["published"] for each in manifest["recipe"]["decontaminate"]["references"]]
    parents = [store.resolve("datasets", each) for each in kept_out_of if each is not None]
    with store.publishing("datasets", name, parents, unhashed=frozenset({"data_docs"})) as draft:
        _write_splits(draft.folder, table, kept, named)
        _write_quarantine(rejected, quarantine, named, draft.folder)
        _write_beside(draft.folder, {**tables, **_apart(table)}, files, named)
        try:
            require_enough(wanted, table, quarantine, account.stages, candidate(store, name))
            require_few_quarantined(name, contract, account, quarantine, candidate(store, name))
            shares = wanted.split.named is None and table.num_rows >= FEW
            contract = contract.of_splits(pc.unique(table["split"]).to_pylist(), shares)
            gate = _gate(table, contract, before, draft.folder, account, progress)
            manifest["gate"] = gate.summary().content()
            _require_kept(gate, counts, account, candidate(store, name))
        except RefusedError as refusal:
            keep(refusal, draft, manifest, store, where)
            raise

        describe = partial(_describe, contract=contract, account=account, rendering=rendering, store=store)
        folder = draft.publish(manifest, describe, partial(require_as_known, store.root, forgotten))
    tell(store, DatasetManifest.read(folder), where, gate.told())
    return folder


def tell(store: Store, manifest: DatasetManifest, where: str, gate: dict[str, list[str]]) -> None:
    """Have the ledger tell of a version.

    Args:
        store: where it is published.
        manifest: its.
        where: its drop lies.
        gate: what is told of its gate; the rows that only warn are named nowhere else.
    """
    event = {"event": "datasets", "name": manifest.name, "version": manifest.version}
    store.record(event | {"drop": manifest.drop.sha256, "where": where, "counts": manifest.counts.content()} | gate)


def holds(folder: Path, shards: Sequence[Shard]) -> bool:
    """Whether a version publishes just the rows of these shards, by their ids, each in its split."""
    rows = pa.concat_tables([shard.kept(["id", "split"]) for shard in shards])
    for split in SPLITS:
        theirs = pq.read_table(verified(folder, f"{split}.parquet"), columns=["id"])["id"]
        ours = rows["id"].filter(pc.equal(rows["split"], split))
        if not theirs.take(pc.sort_indices(theirs)).equals(ours.take(pc.sort_indices(ours))):
            return False
    return True


def _gate(
    table: pa.Table, contract: Contract, before: Path | None, folder: Path, account: Account, progress: Progress
) -> "GateResult":
    """What the set contract says of the set; its Data Docs are written."""
    from curate.publish.gate import check_set

    progress("gate", 0, table.num_rows, "rows")
    with account.timed("gate"):
        gate = check_set(table, contract, folder / "data_docs", before)
    progress("gate", table.num_rows, table.num_rows, "rows")
    return gate


def _require_kept(gate: "GateResult", counts: Mapping[str, Any], account: Account, kept_in: Path) -> None:
    """See to it that the set keeps its contract.

    Raises:
        GateError: names the rules that it breaks, what was expected and observed, some rows, and where it lies.
    """
    if gate.success:
        return
    raise GateError(
        f"{gate.message()}\n{_reasons(counts, account)}\n"
        f"Nothing was published. The candidate is kept in {kept_in}: its report.html, data_docs, quarantine.parquet.",
        remedy="Mend the drop, the recipe or the contract.",
        broken=[
            Broken(each.name, each.column, each.expected, each.observed, each.unexpected_ids) for each in gate.failed
        ],
    )


def _write_quarantine(rejected: Rows, table: pa.Table, named: Callable[[pa.Table], pa.Table], folder: Path) -> None:
    """The rows that did not stay, in the order of their files and rows.

    Args:
        table: all of `rejected`.
    """
    _write_parquet(map(named, rejected.pieces(_source_order(table))), table.schema, folder / QUARANTINE)


def _describe(
    folder: Path, content: dict[str, Any], contract: Contract, account: Account, rendering: Rendering, store: Store
) -> None:
    """The card, the report and the contract of a version that is about to be published."""
    from curate.publish.card import write_card
    from curate.publish.croissant import write_croissant
    from curate.publish.report import Beside, write_report

    manifest = DatasetManifest.model_validate(content)
    write_card(folder, manifest, contract)
    write_croissant(folder, manifest, contract)
    write_report(folder, manifest, Beside(account.masked, rendering.renderer, _parent(store, manifest)))
    contract.write(folder / FOLDER)


def _parent(store: Store, manifest: DatasetManifest) -> DatasetManifest | None:
    """The last of the versions that the rows were compared with, if it is still there."""
    folders = [store.root / "datasets" / manifest.name / version for version in manifest.index.compared_with[-1:]]
    return next((DatasetManifest.read(folder) for folder in folders if (folder / MANIFEST).is_file()), None)


def _write_splits(folder: Path, table: pa.Table, kept: Rows, named: Callable[[pa.Table], pa.Table]) -> None:
    """The rows of each split, in the order of their ids.

    Args:
        table: all of `kept`.
    """
    by_id = in_order(table.select(["id"]))
    split_of = table["split"].to_numpy()[by_id]
    schema = pa.schema([field for field in table.schema if field.name not in ("split", *APART)])
    for split in SPLITS:
        _write_split(map(named, kept.pieces(by_id[split_of == split])), schema, folder / split)


def _apart(table: pa.Table) -> dict[str, pa.Table]:
    """The tables of the columns APART, each item with the id, split and source of its row, in the order of the ids."""
    found = {}
    for name in APART:
        if name in table.column_names:
            rows = table.take(in_order(table.select(["id"])))
            items = rows[name].combine_chunks()
            row_of = rows.select(["id", "split", "source"]).take(pc.list_parent_indices(items))
            fields = items.flatten()
            for at, field in enumerate(items.type.value_type):
                row_of = row_of.append_column(field, fields.field(at))
            found[name] = row_of
    return found


def _write_beside(
    folder: Path, tables: Mapping[str, pa.Table], files: Sequence[InputFile], named: Callable[[pa.Table], pa.Table]
) -> None:
    """The tables that are published beside the rows, and the list of the drop's files."""
    for title, beside in tables.items():
        whole = Rows([pa.Table.from_batches([batch]) for batch in beside.to_batches()] or [beside])
        pieces = whole.pieces(np.arange(beside.num_rows))
        _write_parquet(map(named, pieces), beside.schema, folder / f"{title}.parquet")
    told = zip(*((file.name, file.sha256, file.size, list(file.always)) for file in files), strict=True)
    sources = pa.table([*map(list, told)], schema=SOURCES)
    pq.write_table(sources, folder / "sources.parquet", compression="zstd")


def _counts(table: pa.Table, quarantine: pa.Table, account: Account, told: Mapping[str, int]) -> Counts:
    """What the manifest counts of all rows, with what stages have told; in the end none is lost (law 1)."""
    rows_in = account.stages[0].rows_in
    made = sum(stage.made for stage in account.stages)
    if table.num_rows + quarantine.num_rows != rows_in + made:
        raise AssayError(
            f"{rows_in} rows in, {made} made, {table.num_rows} kept, {quarantine.num_rows} quarantined.",
            remedy="This is a defect of a stage; nothing was published.",
        )
    sizes = Counter(table["split"].to_pylist())
    return Counts(
        rows_in=rows_in,
        made=made,
        kept=table.num_rows,
        quarantined=quarantine.num_rows,
        splits={name: sizes[name] for name in SPLITS},
        clusters=pc.count_distinct(table["cluster"]).as_py(),
        **told,
    )


def _reasons(counts: Mapping[str, Any], account: Account) -> str:
    """Why rows are not in a set that is not published: no other place tells."""
    found = [f"{rows:,} {reason} ({stage.name})" for stage in account.stages for reason, rows in stage.reasons.items()]
    return f"{counts['kept']:,} rows are kept; quarantined: {', '.join(found) or 'none'}."


def _with_drop(table: pa.Table, drop: str) -> pa.Table:
    """Name the drop in every row's source; only here, so that a shard's cache outlives a drop that has grown."""
    if "source" not in table.column_names:
        return table
    source = table["source"].combine_chunks()
    named = pa.StructArray.from_arrays(
        [pa.repeat(drop, len(source)), *(pc.struct_field(source, name) for name in ("file", "row", "places"))],
        fields=list(SCHEMA.field("source").type),
    )
    return table.set_column(table.schema.get_field_index("source"), SCHEMA.field("source"), named)


def _source_order(table: pa.Table) -> Any:
    """The numbers of a table's rows in the order of their files and rows."""
    source = table["source"]
    keys = pa.table({name: pc.struct_field(source, name) for name in ("file", "row")} | {"id": table["id"]})
    return in_order(keys)


def _table(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])


def _write_split(pieces: Iterator[pa.Table], schema: pa.Schema, stem: Path) -> None:
    """One split as Parquet, with `meta` as a list of {key, value} (`datasets` reads no maps), and as JSON lines.

    The JSON lines leave out the many `signals` of a row: they are what trains a model, not what tells of it.
    """
    with stem.with_suffix(".jsonl").open("wb") as file:

        def listed() -> Iterator[pa.Table]:
            for piece in pieces:
                piece = piece.select(schema.names)
                for batch in piece.drop_columns(unread).to_batches(max_chunksize=4096):
                    file.write(json_lines(_table(batch)))
                meta = piece["meta"].combine_chunks()
                entries = pa.StructArray.from_arrays([meta.keys, meta.items], fields=list(LISTED_META.value_type))
                yield piece.set_column(at, "meta", pa.ListArray.from_arrays(meta.offsets, entries))

        at, unread = schema.get_field_index("meta"), [name for name in ("signals",) if name in schema.names]
        _write_parquet(listed(), schema.set(at, pa.field("meta", LISTED_META)), stem.with_suffix(".parquet"))


def _write_parquet(pieces: Iterator[pa.Table], schema: pa.Schema, path: Path) -> None:
    """A Parquet file with a row group for each piece."""
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for piece in pieces:
            writer.write_table(piece, row_group_size=max(1, piece.num_rows))
