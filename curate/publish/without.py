"""A published version again, without rows that are to be forgotten: the rows that are left are as they were, in their
splits, and so are their bytes.

The stages' account stays that of the run, which had these rows; how many are missing now, and of what fate, says the
manifest's `forgotten`, and at which places of the drop `forgotten.parquet`. What quoted them, or told of a label or a
folder that only they had, goes.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.contract import Contract
from curate.forgotten import mark
from curate.manifest import DatasetManifest
from curate.publish.carried import FOLDER, carried
from curate.publish.published import row_count
from curate.publish.version import FEW
from curate.record import SPLITS, whole_of
from curate.shared import put_again
from curate.store import MANIFEST, SUMS, Store, read_manifest, verified_whole, write_sums

PLACES = "forgotten.parquet"
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "file")]
    + [("row", pa.int64())]
    + [(name, pa.string()) for name in ("split", "stage", "reason")]
)
"""Of forgotten.parquet: the ids of rows that are not there any more, where in the drop they stood, and their fate."""


@dataclass(frozen=True)
class Gone:
    """Which rows are to go."""

    ids: frozenset[str] = frozenset()
    """As they were read; of a row that was divided, those of its parts go too."""
    raws: frozenset[str] = frozenset()
    """SHA-256 of rows of which no record could be made."""

    def mask(self, table: pa.Table, sha256: Mapping[str, str]) -> pa.Array:
        """Which rows of a published table go.

        Args:
            table: with the columns `id` and, where it has records, `meta`, and `raw` with `source`.
            sha256: of each file of the drop.
        """
        mine = pa.array(sorted(self.ids), pa.string())
        found = pc.is_in(table["id"], value_set=mine)
        if "meta" in table.column_names:
            meta = table["meta"].combine_chunks()
            values = meta.items if pa.types.is_map(meta.type) else pc.struct_field(meta.values, "value")
            if pc.any(pc.is_in(values, value_set=mine)).as_py():
                wholes = pa.array(map(whole_of, meta.to_pylist()), pa.string())
                found = pc.or_(found, pc.is_in(wholes, value_set=mine))
        if self.raws and "raw" in table.column_names:
            rows = zip(table["id"].to_pylist(), table["raw"].to_pylist(), table["source"].to_pylist(), strict=True)
            marks = [id is None and raw_mark(raw, source, sha256) in self.raws for id, raw, source in rows]
            found = pc.or_(found, pa.array(marks, pa.bool_()))
        return found


def raw_mark(raw: str | None, source: Mapping[str, Any], sha256: Mapping[str, str]) -> str:
    """See `curate.forgotten.mark`."""
    return mark(raw, sha256.get(source["file"], ""), source["row"])


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a version's drop, by name."""
    path = folder / "sources.parquet"
    listed = pq.read_table(path, columns=["file", "sha256"]).to_pylist() if path.is_file() else []
    return {each["file"]: each["sha256"] for each in listed}


def without(store: Store, folder: Path, gone: Gone) -> Path:
    """Publish a version again without rows, and leave the old one where it is.

    Args:
        store: it is of.
        folder: the version.
        gone: which rows go.

    Returns:
        The folder of the new version. Its gate tells how the rows that are left stand to the contract; it keeps
        nothing from being published, as forgetting cannot wait.

    Raises:
        AssayError: the version is damaged.
    """
    manifest = read_manifest(verified_whole(folder))
    contract = carried(folder, manifest["recipe"]["fit"]["max_tokens"])
    with store.publishing("datasets", manifest["name"], unhashed=frozenset({"data_docs"})) as draft:
        rows = _write_rows(folder, draft.folder, gone)
        left = _rows_left(draft.folder)
        told = {key: value for key, value in manifest.items() if key not in ("files", "version")}
        told |= _told_without(told, rows, left, draft.folder, gone.ids)
        if contract is not None:
            told["gate"] = _gate(left, contract, draft.folder, _before(store, manifest))
        return draft.publish(told, partial(_describe, contract=contract, before=_before(store, manifest)))


def holds(folder: Path, gone: Gone) -> Counter[str]:
    """How many of these rows each table of a version holds: its splits, its quarantine and those beside them."""
    found: Counter[str] = Counter()
    sha256 = file_hashes(folder)
    for path in sorted(folder.glob("*.parquet")):
        names = pq.read_schema(path).names
        if path.name != PLACES and "id" in names:
            asked = [name for name in ("id", "meta", "raw", "source") if name in names]
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(columns=asked):
                    found[path.stem] += pc.sum(gone.mask(pa.table(batch), sha256)).as_py() or 0
    return +found


def _write_rows(folder: Path, draft: Path, gone: Gone) -> pa.Table:
    """Every table without the rows; gives those of splits and quarantine, see SCHEMA, with their `label`."""
    found = [pa.Table.from_pylist([], SCHEMA.append(pa.field("label", pa.string())))]
    sha256 = file_hashes(folder)
    for path in sorted(folder.glob("*.parquet")):
        if path.name == PLACES:
            found.append(pq.read_table(path).append_column("label", pa.nulls(row_count(path), pa.string())))
            continue
        stays: list[bool] = []
        with (
            pq.ParquetFile(path) as file,
            pq.ParquetWriter(draft / path.name, file.schema_arrow, compression="zstd") as writer,
        ):
            has_rows = "id" in file.schema_arrow.names
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                mask = gone.mask(table, sha256) if has_rows else pa.repeat(False, table.num_rows)
                if path.stem in (*SPLITS, "quarantine"):
                    found.append(_fates(table.filter(mask), path.stem))
                stays += pc.invert(mask).to_pylist()
                if (table := table.filter(pc.invert(mask))).num_rows:
                    writer.write_table(table, row_group_size=table.num_rows)
        if (lines := path.with_suffix(".jsonl")).is_file():
            with lines.open("rb") as before, (draft / lines.name).open("wb") as after:
                after.writelines(compress(before, stays))
    rows = pa.concat_tables(found).sort_by([(name, "ascending") for name in ("file", "row", "id")])
    pq.write_table(rows.select(SCHEMA.names), draft / PLACES, compression="zstd")
    return rows


def _fates(table: pa.Table, stem: str) -> pa.Table:
    """Of rows of a split or the quarantine: see SCHEMA, and their `label`."""
    source, nothing = table["source"].combine_chunks(), pa.nulls(table.num_rows, pa.string())
    quarantined = stem == "quarantine"
    fate = {name: table[name] if quarantined else nothing for name in ("stage", "reason")}
    named = {"id": table["id"]} | {name: pc.struct_field(source, name) for name in ("file", "row")}
    split = nothing if quarantined else pa.repeat(stem, table.num_rows)
    return pa.table(named | {"split": split} | fate | {"label": table["label"]})


def _rows_left(folder: Path) -> pa.Table:
    """The published rows, with `split`."""
    tables = {split: pq.read_table(folder / f"{split}.parquet") for split in SPLITS}
    return pa.concat_tables(
        [table.append_column("split", pa.repeat(split, table.num_rows)) for split, table in tables.items()]
    )


def _told_without(
    manifest: Mapping[str, Any], rows: pa.Table, left: pa.Table, draft: Path, ids: frozenset[str]
) -> dict[str, Any]:
    """What the manifest tells otherwise.

    Args:
        manifest: of the old version.
        rows: that went, see `_write_rows`.
        left: the rows that are published still.
        draft: holds the quarantine that is left.
        ids: of the rows that were to go.
    """
    quarantine = pq.read_table(draft / "quarantine.parquet", columns=["label", "source"])
    fates = Counter(tuple(row.items()) for row in rows.select(["split", "stage", "reason"]).to_pylist())
    splits = {split: row_count(draft / f"{split}.parquet") for split in SPLITS}
    only = {
        column: {*values(rows)}.difference(values(left), values(quarantine))
        for column, values in (("label", _labels), ("source", _folders))
    }
    gone = ids | {*rows["id"].to_pylist()}
    counts = manifest["counts"] | {
        "kept": left.num_rows,
        "quarantined": quarantine.num_rows,
        "splits": splits,
        "clusters": pc.count_distinct(left["cluster"]).as_py(),
        "forgotten": rows.num_rows,
    }
    told: dict[str, Any] = {
        "forgotten": [
            {"rows": number, **{key: value for key, value in fate if value is not None}}
            for fate, number in sorted(fates.items(), key=str)
        ],
        "counts": counts,
        "stages": [_stage_without(stage, gone, only) for stage in manifest["stages"]],
    }
    labels = only["label"]
    if balance := manifest.get("balance"):
        told["balance"] = balance | {"labels": [each for each in balance["labels"] if each["label"] not in labels]}
    if doubt := manifest.get("doubt"):
        pairs = [pair for pair in doubt["pairs"] if not labels & {*pair[:2]}]
        named = {label: number for label, number in doubt["left"]["named"].items() if label not in labels}
        told["doubt"] = doubt | {"pairs": pairs, "left": doubt["left"] | {"named": named}}
    return told


def _labels(table: pa.Table) -> list[str]:
    return [label for label in pc.unique(table["label"]).to_pylist() if label is not None]


def _folders(table: pa.Table) -> list[str]:
    """As `curate.distribution` tells where rows come from."""
    files = table["file"] if "file" in table.column_names else pc.struct_field(table["source"].combine_chunks(), "file")
    return [str(file).rpartition("/")[0] or str(file) for file in pc.unique(files).to_pylist()]


def _stage_without(
    stage: Mapping[str, Any], gone: Collection[str], only: Mapping[str, Collection[str]]
) -> dict[str, Any]:
    """A stage's account without examples of rows that went, and without the values that only they had."""
    told = dict(stage)
    if examples := told.get("examples"):
        left = {rule: [each for each in found if each["id"] not in gone] for rule, found in examples.items()}
        told["examples"] = {rule: found for rule, found in left.items() if found}
    if distributions := told.get("distributions"):
        told["distributions"] = {column: _unnamed(each, only.get(column, ())) for column, each in distributions.items()}
    return told


def _unnamed(distribution: Mapping[str, Any], values: Collection[str]) -> dict[str, Any]:
    """A distribution that counts these values and does not name them."""
    named = {value: rows for value, rows in distribution["values"].items() if value not in values}
    others, rows = distribution["others"]
    more = [rows for value, rows in distribution["values"].items() if value in values]
    return {"values": named, "others": [others + len(more), rows + sum(more)]}


def told_again(store: Store, folder: Path, old: DatasetManifest) -> None:
    """Write a later version's report again, where it tells of labels or folders that the version before has not any
    more: it is compared with that.

    Args:
        store: it is of.
        folder: the later version.
        old: of the version before, as it was.
    """
    from curate.publish.report import Beside, write_report

    manifest, before = DatasetManifest.read(verified_whole(folder)), _before(store, read_manifest(folder))
    if before is None:
        return
    parent = DatasetManifest.read(before)
    if _named(old) - _named(parent) - _named(manifest):
        write_report(folder, manifest, Beside(parent=parent))
        write_sums(folder, manifest.files)
        put_again(folder, ["report.html", SUMS])


def _named(manifest: DatasetManifest) -> set[str]:
    """The labels and folders that a manifest names."""
    return {
        value
        for stage in manifest.stages
        for column in ("label", "source")
        if column in stage.distributions
        for value in stage.distributions[column].values
    }


def _before(store: Store, manifest: Mapping[str, Any]) -> Path | None:
    """The last of the versions that the rows were compared with that is there still."""
    now = store.instead("datasets", manifest["name"])
    versions = (now.get(each, each) for each in reversed(manifest["index"]["compared_with"]))
    folders = (store.root / "datasets" / manifest["name"] / version for version in versions)
    return next((folder for folder in folders if (folder / MANIFEST).is_file()), None)


def _gate(left: pa.Table, contract: Contract, draft: Path, before: Path | None) -> dict[str, Any]:
    """What the contract says of the rows that are left; its Data Docs are written."""
    from curate.publish.gate import check_set

    held_to = contract.of_splits(pc.unique(left["split"]).to_pylist(), left.num_rows >= FEW)
    return check_set([left], held_to, draft / "data_docs", before).summary().content()


def _describe(folder: Path, content: dict[str, Any], contract: Contract | None, before: Path | None) -> None:
    """Card, report and contract, as of any version."""
    from curate.publish.card import write_card
    from curate.publish.croissant import write_croissant
    from curate.publish.report import Beside, write_report

    manifest = DatasetManifest.model_validate(content)
    write_report(folder, manifest, Beside(parent=None if before is None else DatasetManifest.read(before)))
    if contract is not None:
        write_card(folder, manifest, contract)
        write_croissant(folder, manifest, contract)
        contract.write(folder / FOLDER)
