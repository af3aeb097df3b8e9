"""Publishing: the rows that are left, all that are not, and what is told of both become a version, or nothing does."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.account import Account
from curate.contract import Contract
from curate.drafts import drafted
from curate.engine import MapShards
from curate.errors import AssayError
from curate.forgotten import Forgotten, require_as_known
from curate.manifest import Counts, DatasetManifest, GateInfo
from curate.progress import Progress
from curate.publish.carried import FOLDER
from curate.publish.data_files import (
    by_source,
    by_split,
    quarantine_part,
    split_parts,
    with_drop,
    write,
    write_beside,
)
from curate.publish.enough import Wanted, require_enough
from curate.publish.few_quarantined import require_few_quarantined
from curate.publish.flat import READ
from curate.publish.refused import Broken, RefusedError, candidate, keep
from curate.publish.rejected import Rejected, rejected_of
from curate.read.files import InputFile
from curate.record import SPLITS
from curate.rows.render import Rendering
from curate.sets.runs import Runs, beside, runs_of
from curate.shards import Shard
from curate.store import MANIFEST, Draft, Store, verified

if TYPE_CHECKING:
    from curate.publish.gate import GateResult

VERSION = 8
"""Raised whenever the same rows would be published in other bytes."""
FEW = 10
"""Rows from which a split's share says something: of fewer, one is more than a tenth."""


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


@dataclass(frozen=True)
class Made:
    """What a run of curation has made, to be published."""

    wanted: Wanted
    """Names the data set, and says what a version is to hold."""
    shards: Sequence[Shard]
    """The rows that are left, with the column `split`."""
    account: Account
    """Tells of the stages, and holds the rows that are not left."""
    tables: Mapping[str, Callable[[], pa.Table]]
    """Gives what is published beside the rows, by name."""
    manifest: Mapping[str, Any]
    """What the version was made from and its stages said, as JSON; `counts` may hold some already."""
    files: Sequence[InputFile]
    """Of the drop."""
    where: str
    """The drop lies, for the ledger."""
    contract: Contract
    """The set is held to it, and the card quotes it."""
    rendering: Rendering
    """Rendered the rows; the report shows some as tokens."""
    before: Path | None
    """Folder of the last version that the drop is compared with; its rows are what drift is measured from."""
    forgotten: Forgotten
    """What had been forgotten when the drop was read."""
    beside: Callable[[Path, str], None]
    """Makes of the folder of a version's files, and of its name, what is to be there once it is published."""


def publish(made: Made, store: Store, map_shards: MapShards, progress: Progress) -> Path:
    """Publish a version.

    Args:
        made: by the run.
        store: where to publish.
        map_shards: puts the rows in order, shard by shard, and writes files, each whole.
        progress: told of the gate.

    Returns:
        The version's folder.

    Raises:
        RefusedError: the set breaks its contract, no row is left, or none of a split that the recipe asks for, or too
            many were quarantined; nothing is published, and the candidate is kept aside.
        AssayError: rows have been lost or invented (law 1).
    """
    name = made.wanted.name
    kept_out_of = [each["published"] for each in made.manifest["recipe"]["decontaminate"]["references"]]
    parents = [store.resolve("datasets", each) for each in kept_out_of if each is not None]
    with store.publishing("datasets", name, parents, unhashed=frozenset({"data_docs"})) as draft:
        with drafted(store.cache / "runs" / name) as runs:  # they go before more is written
            written = _write(made, draft, store, runs, map_shards, progress)
        folder = _publish(made, draft, store, written)
    tell(store, DatasetManifest.read(folder), made.where, written.gate.told())
    return folder


@dataclass(frozen=True)
class _Written:
    """A version whose files are there, but for those that tell of it."""

    manifest: Mapping[str, Any]
    contract: Contract
    gate: "GateResult"
    rejected: Rejected


def _write(made: Made, draft: Draft, store: Store, runs: Path, map_shards: MapShards, progress: Progress) -> _Written:
    """Write a version's files, and see to it that the set keeps its contract.

    Args:
        runs: a folder for the rows in order.
    """
    account, named = made.account, partial(with_drop, drop=made.manifest["drop"]["sha256"])
    kept = runs_of(made.shards, False, by_split, runs, map_shards)
    rejected = runs_of(account.quarantined, True, by_source, runs, map_shards)
    table, quarantine = pa.concat_tables(kept.tables), pa.concat_tables(rejected.tables)
    counts = _counts(table, quarantine, account, made.manifest["counts"]).content()
    unjudged = GateInfo(evaluated=0, failed=[], rules=[]).content()
    manifest = {**made.manifest, "counts": counts, "gate": unjudged}
    shares = made.wanted.split.named is None and table.num_rows >= FEW
    contract = made.contract.of_splits(pc.unique(table["split"]).to_pylist(), shares)
    kept_in = candidate(store, made.wanted.name)
    with ThreadPoolExecutor(1) as thread:  # beside the workers
        judging = thread.submit(_judge, made, contract, kept, (table, quarantine), draft.folder, kept_in)
        finding = thread.submit(rejected_of, rejected, kept)
        write_beside(draft.folder, kept, made.tables, made.files, named)
        parts = [*split_parts(draft.folder, kept, named), quarantine_part(draft.folder, rejected, named)]
        beside(runs, map_shards)("publish: files", write, parts)
        try:
            gate = _judged(judging, table.num_rows, account, progress)
            manifest["gate"] = gate.summary().content()
            _require_kept(gate, counts, account, kept_in)
        except RefusedError as refusal:
            keep(refusal, draft, manifest, store, made.where, finding.result())
            raise
        return _Written(manifest, contract, gate, finding.result())


def _publish(made: Made, draft: Draft, store: Store, written: _Written) -> Path:
    """Describe a version and publish it; what is to be there then is made meanwhile."""
    making: list[Future[None]] = []
    with ThreadPoolExecutor(1) as thread:

        def describe(folder: Path, content: dict[str, Any]) -> None:
            making.append(thread.submit(made.beside, folder, content["version"]))
            _describe(folder, content, written.contract, made, store, written.rejected)

        def ready() -> None:
            for each in making:
                each.result()
            require_as_known(store.root, made.forgotten)

        return draft.publish(dict(written.manifest), describe, ready)


def tell(store: Store, manifest: DatasetManifest, where: str | None, gate: dict[str, list[str]]) -> None:
    """Have the ledger tell of a version.

    Args:
        store: where it is published.
        manifest: its.
        where: its drop lies, if that is known.
        gate: what is told of its gate; the rows that only warn are named nowhere else.
    """
    event = {"event": "datasets", "name": manifest.name, "version": manifest.version}
    drop = {"drop": manifest.drop.sha256} | ({} if where is None else {"where": where})
    store.record(event | drop | {"counts": manifest.counts.content()} | gate)


def holds(folder: Path, shards: Sequence[Shard]) -> bool:
    """Whether a version publishes just the rows of these shards, by their ids, each in its split."""
    rows = pa.concat_tables([shard.kept(["id", "split"]) for shard in shards])
    for split in SPLITS:
        theirs = pq.read_table(verified(folder, f"{split}.parquet"), columns=["id"])["id"]
        ours = rows["id"].filter(pc.equal(rows["split"], split))
        if not theirs.take(pc.sort_indices(theirs)).equals(ours.take(pc.sort_indices(ours))):
            return False
    return True


def _judge(
    made: Made, contract: Contract, kept: Runs, tables: tuple[pa.Table, pa.Table], folder: Path, kept_in: Path
) -> "GateResult":
    """What the set contract says of the set; its Data Docs are written.

    Raises:
        RefusedError: it is not worth asking.
    """
    from curate.publish.gate import check_set

    require_enough(made.wanted, *tables, made.account.stages, kept_in)
    require_few_quarantined(made.wanted.name, made.contract, made.account, tables[1], kept_in)
    return check_set(kept.each(READ), contract, folder / "data_docs", made.before)


def _judged(judging: Future["GateResult"], rows: int, account: Account, progress: Progress) -> "GateResult":
    """What the gate says, as soon as it does; its seconds are those that are waited for it."""
    progress("gate", 0, rows, "rows")
    with account.timed("gate"):
        gate = judging.result()
    progress("gate", rows, rows, "rows")
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


def _describe(
    folder: Path, content: dict[str, Any], contract: Contract, made: Made, store: Store, rejected: Rejected
) -> None:
    """The card, the report and the contract of a version that is about to be published."""
    from curate.publish.card import write_card
    from curate.publish.croissant import write_croissant
    from curate.publish.report import Beside, write_report

    manifest = DatasetManifest.model_validate(content)
    write_card(folder, manifest, contract)
    write_croissant(folder, manifest, contract)
    told = Beside(made.account.masked, made.rendering.renderer, _parent(store, manifest), rejected=rejected)
    write_report(folder, manifest, told)
    contract.write(folder / FOLDER)


def _parent(store: Store, manifest: DatasetManifest) -> DatasetManifest | None:
    """The last of the versions that the rows were compared with, if it is still there."""
    folders = [store.root / "datasets" / manifest.name / version for version in manifest.index.compared_with[-1:]]
    return next((DatasetManifest.read(folder) for folder in folders if (folder / MANIFEST).is_file()), None)


def _counts(table: pa.Table, quarantine: pa.Table, account: Account, told: Mapping[str, int]) -> Counts:
    """What the manifest counts of all rows, with what stages have told; in the end none is lost (law 1)."""
    rows_in = account.stages[0].rows_in
    made = sum(stage.made for stage in account.stages)
    if table.num_rows + quarantine.num_rows != rows_in + made:
        raise AssayError(
            f"{rows_in} rows in, {made} made, {table.num_rows} kept, {quarantine.num_rows} quarantined.",
            remedy="This is a defect of a stage; nothing was published.",
        )
    sizes = Counter({each["values"]: each["counts"] for each in pc.value_counts(table["split"]).to_pylist()})
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
