"""Assay, keeping an index: a drop is compared with all that the store holds, published there, and added to the index.

Without the stages that judge a row by itself: the texts become records, those kept are published as one split. The last
line printed is a profile, as in `with_assay`.

    python with_assay_index.py STORE INPUT THRESHOLD WORDS PROCESSES
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.systems.with_assay import Drop, Profile, load
from curate.arrow import do_without_pandas, whole
from curate.hashing import digest, file_digest
from curate.manifest import BaseInfo, ContractInfo, Counts, DatasetInputs, DropInfo, IndexInfo, StageAccount
from curate.record import SPLITS
from curate.sets import duplicates
from curate.sets.duplicates import Duplicates
from curate.sets.earlier import Earlier, Own, earlier_rows
from curate.sets.index import Index
from curate.sets.judgement import Judgement
from curate.store import Store

NAME = "texts"


def publish(store: Store, drop: Drop, sha256: Sequence[str], verdict: Judgement, compared_with: list[str]) -> None:
    """A version of the data set: what the index reads of one."""
    schema = pa.schema([*drop.records(drop.files[0]).schema, ("group", pa.string()), ("cluster", pa.string())])
    removed = pa.schema([*schema, ("stage", pa.string()), ("reason", pa.string()), ("evidence", pa.string())])
    with store.publishing("datasets", NAME) as draft:
        train, *others = (draft.folder / f"{split}.parquet" for split in SPLITS)
        for path in others:
            pq.write_table(schema.empty_table(), path)
        pq.write_table(
            pa.table({"file": [path.name for path in drop.files], "sha256": sha256}), draft.folder / "sources.parquet"
        )
        begin = 0
        with (
            pq.ParquetWriter(train, schema) as published,
            pq.ParquetWriter(draft.folder / "quarantine.parquet", removed) as quarantine,
        ):
            for file in drop.files:
                table = drop.records(file)
                said = (verdict.reason, verdict.evidence, verdict.cluster)
                reason, evidence, cluster = (whole(column.slice(begin, table.num_rows)) for column in said)
                begin += table.num_rows
                table = pa.table([*table.columns, pa.nulls(table.num_rows, pa.string()), cluster], schema=schema)
                published.write_table(table.filter(reason.is_null()))
                stage = pa.repeat("duplicates", table.num_rows)
                table = pa.table([*table.columns, stage, reason, evidence], schema=removed)
                quarantine.write_table(table.filter(reason.is_valid()))
        rejected = begin - verdict.reason.null_count
        kept = begin - rejected
        inputs = DatasetInputs(
            name=NAME,
            schema_version=1,
            drop=DropInfo(
                sha256=digest(sha256), files=len(sha256), bytes=sum(file.stat().st_size for file in drop.files)
            ),
            recipe={},
            contract=ContractInfo(name=NAME, version="", sha256=""),
            base=BaseInfo(tokenizer_sha256="", chat_template_sha256=""),
            libraries={},
            index=IndexInfo(compared_with=compared_with),
        )
        stage = StageAccount(name="duplicates", rows_in=begin, kept=kept, rejected=rejected, reasons={})
        splits = dict.fromkeys(SPLITS, 0) | {"train": kept}
        counts = Counts(rows_in=begin, kept=kept, quarantined=rejected, splits=splits, clusters=kept, conflicts=0)
        told = {"stages": [stage.content()], "counts": counts.content(), "gate": {"evaluated": 0, "failed": []}}
        draft.publish(inputs.content() | told)


def main() -> None:
    folder, source, threshold, words, processes = sys.argv[1:]
    do_without_pandas()
    profile, drop = Profile(), Drop(Path(source))
    settings = Duplicates(threshold=float(threshold), shingle_words=int(words))
    store = Store(Path(folder))
    index = Index(store, NAME, settings)
    sha256 = [file_digest(file) for file in drop.files]

    def open_index() -> Sequence[Earlier]:
        index.catch_up()
        return earlier_rows(index.segments(), digest(sha256), Own(sha256))

    with index.lock():
        earlier = profile.timed("open the index", open_index)()
        compared_with = index.versions()
        keys, parts = profile.timed("read and sign", drop.keys)(settings, int(processes), load, store.root)
        verdict = profile.timed("judge", duplicates.judge)(keys, settings, parts, earlier, folder=store.root)
        profile.timed("publish", publish)(store, drop, sha256, verdict, compared_with)
        profile.timed("add to the index", index.catch_up)()
    removed = [json.loads(seen) for seen in verdict.evidence.drop_null().to_pylist()]
    print(f"{len(removed)} removed, {sum(seen.get('version') is not None for seen in removed)} by earlier rows")
    print(json.dumps({name: round(seconds, 3) for name, seconds in profile.items()}))


if __name__ == "__main__":
    main()
