"""The way of the data: raw drop -> published data set version. Written once, for every engine.

read -> each row by itself, stage after stage in the recipe's order -> all rows at once, likewise -> gate -> publish
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.account import Account
from curate.cache import cache_text, clear_drafts, forget, intact, is_kept, keyed_folder, mended
from curate.contract import Contract
from curate.distribution import NONE
from curate.engine import MapShards, looking_seldom
from curate.errors import SetAsideError
from curate.forgotten import Forgotten, ForgottenMeanwhileError, read_forgotten, refusal, require_as_known
from curate.garbage import forget_files, forget_rows
from curate.hashing import digest
from curate.manifest import SCHEMA_VERSION, ContractInfo, DatasetInputs, DatasetManifest, DropInfo, IndexInfo, joined
from curate.progress import Progress, silent
from curate.publish import gate, refused, version
from curate.publish.carried import require_no_looser
from curate.publish.enough import Wanted
from curate.publish.keep import Made, kept_after_run
from curate.publish.version import Curated, holds
from curate.read import ingest
from curate.read.files import drop_digest, place_of
from curate.read.same_columns import require_same_columns
from curate.recipe import Recipe
from curate.rows.render import Rendering
from curate.sets.earlier import Own, before, earlier_rows
from curate.sets.index import NOTHING, Index
from curate.sets.kept_keys import KeptKeys
from curate.sets.keys import Compared
from curate.sets.stage import Judged, Past, SetStage, judge_rows, kept_keys
from curate.shards import PassTask, Shard, run_pass
from curate.stage import DECIDED, Context, RowStage, Settings, Stage, Told, installed
from curate.store import MANIFEST, Store, verified_whole


class NoRowsError(SetAsideError):
    """A drop's files hold no rows."""

    why = "unreadable"


@dataclass(frozen=True)
class _Work:
    """What stays the same from the first stage of a run to the last."""

    recipe: Recipe
    store: Store
    contract: Contract
    index: Index
    map_shards: MapShards
    progress: Progress
    account: Account
    forgotten: Forgotten
    """What had been forgotten when the run began."""
    made: Made

    def published(self, version: str) -> Path:
        """The folder of a version of this data set."""
        return self.store.root / "datasets" / self.recipe.name / version


def curate(
    recipe: Recipe,
    store: Store,
    *,
    tokenizer_folder: Path,
    map_shards: MapShards,
    progress: Progress = silent,
    shard_bytes: int = ingest.SHARD_BYTES,
    contract: Contract | None = None,
) -> Curated:
    """Curate a drop and publish the version.

    Args:
        recipe: what to do.
        store: where to publish, and where finished stages are cached.
        tokenizer_folder: holds the base model's tokenizer.json and tokenizer_config.json.
        map_shards: runs a stage over shards.
        progress: told of the stages that run over all rows at once.
        shard_bytes: raw bytes of a shard; it changes nothing but speed and memory.
        contract: that rows and set are held to; by default the recipe's.

    Raises:
        AssayError: bad input, a contract that has become looser and kept its version, a broken law, or (GateError) a
            set that breaks its contract; nothing is published.
    """
    if contract is None:
        require_no_looser(Contract.load(recipe.contract), recipe.name, store)
    held_to = recipe.held_to() if contract is None else contract
    forgotten, made = read_forgotten(store.root), Made()
    work = partial(
        _curate, recipe, held_to, store, tokenizer_folder, map_shards, progress, shard_bytes, forgotten, made
    )
    with looking_seldom():
        try:
            return mended(work, store.cache, progress)
        except ForgottenMeanwhileError:
            forget_rows(store.cache)  # what this run was at work on was put there after they had gone
            raise


def _curate(
    recipe: Recipe,
    contract: Contract,
    store: Store,
    tokenizer_folder: Path,
    map_shards: MapShards,
    progress: Progress,
    shard_bytes: int,
    forgotten: Forgotten,
    made: Made,
) -> Curated:
    """See `curate`.

    Raises:
        RotError: an entry of the cache is damaged.
    """
    stages = recipe.stages()
    settings: Sequence[Settings] = stages
    (compared,) = (each for each in settings if isinstance(each, Compared))
    protecting = next((stage for stage in stages if isinstance(stage, RowStage) and stage.protects), None)
    index = Index(store, recipe.name, compared)
    index.versions()  # an index of other parameters, or a damaged one, is better told now than after an hour ...
    store.events()  # ... and so is a damaged ledger
    keep = kept_after_run()
    work = _Work(recipe, store, contract, index, map_shards, progress, Account(protecting), forgotten, made)
    clear_drafts(store.cache)
    drop = _read(work, shard_bytes)
    _require_as_before(work, drop)
    context = Context(
        recipe.drop,
        contract,
        store,
        store.cache,
        tokenizer_folder,
        stages=tuple(stages),
        labels=lambda: _labels(work, drop),
        rows=lambda columns: (shard.kept(columns) for shard in drop.shards),
        progress=progress,
    )
    stages = _prepared(work, stages, context)
    shards: Sequence[Shard] = drop.shards
    for some in _passes(stages):
        shards = _judge_each(work, some, shards)
    # From here to the end no other run may publish a version that this one would have to be compared with.
    with index.lock(progress):
        require_as_known(store.root, forgotten)
        _catch_up(work)
        inputs, past, known = _past(work, drop, shards, _inputs(work, drop, stages))
        _tell_missed(work, inputs.drop.sha256)
        judged: dict[str, Judged] = {}
        given: list[tuple[SetStage, Sequence[Shard]]] = []
        for stage in stages:
            if isinstance(stage, SetStage) and stage.runs:
                given.append((stage, shards))
                shards = _judge_all(work, stage, shards, past, judged)
        made_from = inputs.content() | {"splits_of": past.bound_by}
        (rendering,) = (stage for stage in stages if isinstance(stage, Rendering))
        told = _told_last(work, stages, shards, judged)
        keys = kept_keys(given, store.cache)
        published = _publish(work, drop, shards, judged, told, made_from, past, known, rendering, keys)
        _catch_up(work, {} if keys is None else {published.name: keys})
        store.promote("datasets", recipe.name, published.name)
    work.made.forget(keep)
    return Curated(published, DatasetManifest.read(published), work.account.seconds, work.account.cached)


@contextmanager
def _running(work: _Work, stage: str) -> Iterator[None]:
    """A stage is timed, and Arrow keeps none of what it took."""
    with work.account.timed(stage):
        yield
    pa.default_memory_pool().release_unused()


def _read(work: _Work, shard_bytes: int) -> ingest.Ingested:
    """Read the drop.

    Raises:
        ForgottenError: it holds rows that were forgotten; the ledger tells of it, and nothing of the drop is kept.
        NoRowsError: it holds none; the ledger tells of it.
    """
    recipe = work.recipe
    with _running(work, ingest.NAME):
        drop = ingest.ingest(
            recipe.sources,
            recipe.lookups,
            recipe.record,
            recipe.drop,
            work.store.cache,
            work.map_shards,
            shard_bytes,
            work.forgotten,
        )
    if drop.forgotten:
        forget_files(work.store.cache)
        for shard in (shard for shard in drop.shards if not shard.cached):
            forget(shard.folder)
        refused_drop = refusal(drop.forgotten)
        _tell(work, drop, refused_drop)
        raise refused_drop
    rows = sum(shard.rows + shard.rejected - shard.made for shard in drop.shards)
    if not rows:
        size = sum(file.size for file in drop.files)
        error = NoRowsError(
            f"The drop holds no rows: {len(drop.files)} file(s) of {size:,} bytes.",
            remedy="Name the folder of the raw files with --drop, or mend `sources` in the recipe.",
        )
        _tell(work, drop, error)
        raise error
    work.account.record_stage(ingest.NAME, rows, drop.shards)
    work.made.add(ingest.NAME, drop.shards)
    work.made.add_copies(drop.copies)
    return drop


def _require_as_before(work: _Work, drop: ingest.Ingested) -> None:
    """See to it that the drop's files have the columns that those of the last version had.

    Raises:
        ColumnsChangedError: they lack some that are read; the ledger tells of it.
    """
    there = [folder for name in work.index.versions() if ((folder := work.published(name)) / MANIFEST).is_file()]
    if not there:
        return
    try:
        require_same_columns(work.recipe.record, drop.files, there[-1])
    except SetAsideError as error:
        _tell(work, drop, error)
        raise


def _tell(work: _Work, drop: ingest.Ingested, error: SetAsideError) -> None:
    """Tell the ledger that the drop is set aside."""
    sha256 = drop_digest(drop.files, work.recipe.record.reads_names)
    refused.tell(work.store, work.recipe.name, sha256, place_of(work.recipe.drop), error.why, message=error.message)


def _labels(work: _Work, drop: ingest.Ingested) -> set[str]:
    """The labels of the drop's rows and of those of earlier versions, as they are published."""
    read = {label for shard in drop.shards for label in shard.distributions["label"]} - {NONE}
    labels = set(work.account.protected_labels(sorted(read)))
    for name in work.index.versions():
        if (work.published(name) / MANIFEST).is_file():
            first, *_ = DatasetManifest.read(work.published(name)).stages
            labels |= {*first.distributions["label"].values}
    return labels


def _prepared(work: _Work, stages: Sequence[Stage], context: Context) -> list[Stage]:
    """The stages with all that they need, each told of those before it."""
    ready: list[Stage] = []
    for stage in stages:
        with _running(work, stage.name):
            ready.append(stage.prepare(replace(context, before=tuple(ready))))
    return ready


def _passes(stages: Sequence[Stage]) -> list[list[RowStage]]:
    """The stages over a row that run, in their order: those together that run one after the other over each shard. One
    that is `narrowed` to its rows has to know them first."""
    found: list[list[RowStage]] = []
    for stage in stages:
        if isinstance(stage, RowStage) and stage.runs:
            if not found or type(stage).narrowed is not RowStage.narrowed:
                found.append([])
            found[-1].append(stage)
    return found


def _judge_each(work: _Work, stages: Sequence[RowStage], shards: Sequence[Shard]) -> list[Shard]:
    """Stages over a row, over all shards."""
    _get_ready(shards)
    first, *rest = stages
    ids = [lambda shard=shard: shard.kept(["id"])["id"].to_pylist() for shard in shards]
    with _running(work, first.name):
        mine = map(first.narrowed, ids)
        tasks = [PassTask(shard, work.store.cache, [own, *rest]) for own, shard in zip(mine, shards, strict=True)]
    name = f"{first.name} to {stages[-1].name}" if rest else first.name
    begin = time.perf_counter()
    found = work.map_shards(name, run_pass, tasks)
    taken = {stage.name: sum(each[at][1] for each in found) for at, stage in enumerate(stages)}
    work.account.share(time.perf_counter() - begin, taken)
    done: list[Shard] = []
    for at, stage in enumerate(stages):
        done = [each[at][0] for each in found]
        with _running(work, stage.name):
            summary = stage.summary((shard.kept(stage.sums_up) for shard in done), map(Shard.quarantine, done))
        work.account.record_stage(stage.name, sum(shard.rows for shard in shards), done, summary)
        work.made.add(stage.name, done)
        shards = done
    _get_ready(done)
    return done


def _get_ready(shards: Sequence[Shard]) -> None:
    """Of what is new something will be published."""
    if not all(shard.cached for shard in shards):
        gate.get_ready()


def _judge_all(
    work: _Work, stage: SetStage, shards: Sequence[Shard], past: Past, judged: dict[str, Judged]
) -> list[Shard]:
    """A stage over all rows; its verdict joins those that are there."""
    with _running(work, stage.name):
        done, verdict = judge_rows(stage, shards, past, dict(judged), work.store.cache, work.map_shards, work.progress)
    judged[stage.name] = verdict
    work.account.over_all.add(stage.name)
    work.account.record_stage(stage.name, sum(shard.rows for shard in shards), done)
    work.made.add_judged(stage.name, verdict)
    work.made.add(stage.name, done)
    return done


def _catch_up(work: _Work, kept: Mapping[str, KeptKeys] = NOTHING) -> None:
    with _running(work, "index"):
        work.index.catch_up(work.progress, kept)


def _inputs(work: _Work, drop: ingest.Ingested, stages: Sequence[Stage]) -> DatasetInputs:
    """The part of the manifest that, with what the rows are compared with, determines all the rest."""
    contract = work.contract
    libraries = {"pyarrow", *ingest.LIBRARIES}.union(*(stage.libraries for stage in stages))
    return DatasetInputs(
        name=work.recipe.name,
        schema_version=SCHEMA_VERSION,
        drop=DropInfo(
            sha256=drop_digest(drop.files, work.recipe.record.reads_names),
            files=len(drop.files),
            bytes=sum(file.size for file in drop.files),
        ),
        lookups=drop.lookups,
        recipe=work.recipe.settings(),
        contract=ContractInfo(name=contract.name, version=contract.version, sha256=contract.sha256),
        **joined((stage.name, stage.prepared_from()) for stage in stages),
        code={
            ingest.NAME: ingest.VERSION,
            **{stage.name: stage.version for stage in stages},
            "publish": version.VERSION,
        },
        libraries=installed(libraries),
    )


def _past(
    work: _Work, drop: ingest.Ingested, shards: Sequence[Shard], inputs: DatasetInputs
) -> tuple[DatasetInputs, Past, Path | None]:
    """What earlier versions hold; the inputs with those of them that count; and the version that this very run has
    published already.

    The splits of all versions of the same drop stand, unless this very run has been published already: then of those
    that bound it, so that it gives the same bytes again.
    """
    segments = work.index.segments()
    versions = [version for segment in segments for version in segment.versions]
    drops = [each for segment in segments for each in segment.drops]
    sha256 = inputs.drop.sha256
    compared_with = before(versions, drops, sha256)
    index = IndexInfo(parameters=work.index.parameters, compared_with=compared_with)
    inputs = inputs.model_copy(update={"index": index})
    wanted = inputs.content()
    bound_by = own = [version for version, each in zip(versions, drops, strict=True) if each == sha256]
    published = None
    now = work.store.instead("datasets", work.recipe.name)
    for name in own:
        if (work.published(name) / MANIFEST).is_file():
            known = DatasetManifest.read(work.published(name))
            told = known.content()
            told["index"] = told["index"] | {"compared_with": [now.get(e, e) for e in known.index.compared_with]}
            if digest({key: told.get(key) for key in wanted}) == digest(wanted):
                bound_by, published = [now.get(each, each) for each in known.splits_of], work.published(name)
                break
    anew = Own()
    if work.recipe.drop_is != "delivery":
        ids = [shard.kept(["id"])["id"] for shard in shards] if compared_with else []
        anew = Own(
            {file.sha256 for file in drop.files},
            pa.chunked_array([chunk for each in ids for chunk in each.chunks], pa.string()),
        )
    modes = {version: _drop_was(work.published(version)) for version in compared_with}
    whole = [number for number, version in enumerate(compared_with) if modes[version] == "all"]
    replaced = len(compared_with) if work.recipe.drop_is == "all" else max(whole, default=0)
    deliveries = {version for version, mode in modes.items() if mode == "delivery"}
    rows = earlier_rows(segments, sha256, anew, bound_by, replaced, deliveries)
    missing = sum(int(each.kept.sum()) for each in rows) if work.recipe.drop_is == "appended" else 0
    past = Past(rows, compared_with, bound_by, sorted(anew.files), work.published, replaced, missing)
    return inputs, past, published


def _tell_missed(work: _Work, drop: str) -> None:
    """Have the ledger tell of the versions whose runs were killed before it did; of another drop's not where it lies.

    Args:
        drop: the hash of this run's drop.
    """
    told = {event["version"] for event in work.store.told("datasets", work.recipe.name)}
    for folder in map(work.published, work.index.versions()):
        if folder.name not in told and (folder / MANIFEST).is_file():
            manifest = DatasetManifest.read(folder)
            where = place_of(work.recipe.drop) if manifest.drop.sha256 == drop else None
            version.tell(work.store, manifest, where, {})


def _drop_was(folder: Path) -> str | None:
    """What a version's drop was to those before it; None where the version has been deleted."""
    return DatasetManifest.read(folder).recipe.get("drop_is") if (folder / MANIFEST).is_file() else None


def _told_last(
    work: _Work, stages: Sequence[Stage], shards: Sequence[Shard], judged: Mapping[str, Judged]
) -> list[tuple[str, Told]]:
    """What stages tell of rows that people may have decided on, now that all have judged."""
    if not shards or DECIDED not in shards[0].columns:
        return []
    told = []
    beside = {name: verdict.beside for name, verdict in judged.items()}
    for stage in stages:
        kept = (shard.kept(["id", DECIDED, "meta"]) for shard in shards)
        rejected = (shard.quarantine().select(["id", "stage", "reason", "meta"]) for shard in work.account.quarantined)
        told.append((stage.name, stage.told_last(kept, rejected, beside)))
    return told


def _publish(
    work: _Work,
    drop: ingest.Ingested,
    shards: Sequence[Shard],
    judged: Mapping[str, Judged],
    last: Sequence[tuple[str, Told]],
    made_from: dict[str, Any],
    past: Past,
    same: Path | None,
    rendering: Rendering,
    keys: KeptKeys | None,
) -> Path:
    """Publish the version, unless it is there, or one is that differs in the names of the drop's files alone."""
    stages = [stage.content() for stage in work.account.stages]
    parts = [(name, verdict.manifest()) for name, verdict in judged.items()]
    parts += [(name, dict(told.manifest)) for name, told in last]
    parts += [("drop", {"counts": {"missing": past.missing}})] if past.missing else []
    told = joined(parts, made_from)
    manifest = made_from | {"stages": stages} | told
    key = digest([version.VERSION, manifest, [shard.key for shard in shards]])
    note = keyed_folder(work.store.cache / "published", key)
    with _running(work, "publish"):
        known = work.published(intact(note, "version").read_text()) if is_kept(note) else None
        if known is not None and (known / MANIFEST).is_file():
            return _found(work, known)
        if same is not None and holds(same, shards):
            work.progress(f"the drop is that of {same.name}, its files under other names", 1, 1, "drops")
            return _found(work, same)
        tables = {name: table for verdict in judged.values() for name, table in verdict.published().items()}
        tables |= {name: partial(pa.table, table) for _, each in last for name, table in each.published.items()}
        there = (path for path in map(work.published, reversed(past.versions)) if (path / MANIFEST).is_file())
        made = version.Made(
            wanted=Wanted(work.recipe.name, work.recipe.min_rows, work.recipe.split, past.splits()),
            shards=shards,
            account=work.account,
            tables=tables,
            manifest=manifest,
            files=drop.files,
            where=place_of(work.recipe.drop),
            contract=work.contract,
            rendering=rendering,
            before=next(there, None),
            forgotten=work.forgotten,
            beside=lambda files, name: work.index.make_ready(files, name, manifest["drop"]["sha256"], keys),
        )
        folder = version.publish(made, work.store, work.map_shards, work.progress)
        work.account.cached["publish"] = (0, 1)
        cache_text(note, "version", folder.name)
    return folder


def _found(work: _Work, folder: Path) -> Path:
    """A version that is there."""
    work.account.cached["publish"] = (1, 1)
    verified_whole(folder)
    return folder
