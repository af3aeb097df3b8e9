"""The way of the data: raw drop -> published data set version. Written once, for every engine."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.contract import Contract
from curate.distribution import NONE, quantiles, summed
from curate.errors import AssayError
from curate.hashing import digest, file_digest
from curate.progress import Progress, silent
from curate.read import ingest
from curate.read.raw import drop_digest
from curate.recipe import Recipe
from curate.record import SCHEMA, dicts
from curate.rows import decontaminate, fit, render
from curate.rows.validate import validate
from curate.sets import balance, duplicates, select, semantic, split
from curate.sets import keys as compared_by
from curate.sets.earlier import Earlier, before, cluster_splits, earlier_rows, recorded_splits, tied_splits
from curate.sets.index import Index
from curate.sets.rows import Rows, in_order
from curate.stage import (
    Example,
    MapShards,
    Outcome,
    Reject,
    Shard,
    StageTask,
    cache_folder,
    clear_drafts,
    divide,
    divide_by,
    excerpt,
    first_examples,
    installed,
    keyed_folder,
    read_arrow,
    run_stage,
    write_arrow,
)
from curate.store import MANIFEST, Store, read_manifest

VALIDATE_VERSION = 1
PUBLISH_VERSION = 6
LISTED_META = pa.list_(pa.struct([pa.field("key", pa.string()), pa.field("value", pa.string())]))
SOURCES = {"file": "name", "sha256": "sha256", "bytes": "size"}
"""Columns of sources.parquet, and what they are called in `InputFile`."""


@dataclass(frozen=True)
class Curated:
    """What a run of curation gave."""

    folder: Path
    """The published version."""
    manifest: dict[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by stage."""
    cached: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By stage: shards that came from the cache, of how many."""


class GateError(AssayError):
    """The set contract does not hold; nothing was published."""


def curate(
    recipe: Recipe,
    store: Store,
    *,
    tokenizer_folder: Path,
    map_shards: MapShards,
    progress: Progress = silent,
    shard_bytes: int = ingest.SHARD_BYTES,
) -> Curated:
    """Curate a drop and publish the version.

    Args:
        recipe: what to do.
        store: where to publish, and where finished stages are cached.
        tokenizer_folder: holds the base model's tokenizer.json and tokenizer_config.json.
        map_shards: runs a stage over shards.
        progress: told of the stages that run over all rows at once.
        shard_bytes: raw bytes of a shard; it changes nothing but speed and memory.

    Raises:
        AssayError: bad input, a broken law, or (GateError) a set that breaks its contract; nothing is published.
    """
    return _Run(recipe, store, tokenizer_folder, map_shards, progress, shard_bytes).run()


@dataclass(frozen=True)
class KeyTask:
    """Computing what a shard's rows are compared by."""

    shard: Shard
    settings: duplicates.Duplicates
    cache: Path
    unit: str = "rows"

    @property
    def size(self) -> int:
        return self.shard.rows


def run_keys(task: KeyTask) -> Path:
    """The folder of the cache that holds a shard's key table."""
    compared = task.settings.model_dump(include={"scope", "boilerplate", "shingle_words"})
    key = digest(["keys", compared_by.VERSION, compared, task.shard.key])
    folder = keyed_folder(task.cache / "stages", key)
    if not folder.is_dir():
        table = compared_by.key_table(task.shard.kept(), task.settings)
        cache_folder(folder, lambda draft: write_arrow(table, draft / "keys.arrow"))
    return folder


def apply_verdict(table: pa.Table, stage: str, path: Path, begin: int) -> Outcome:
    """Remove those of a shard's rows that a judgement over all rows gives a reason for; sets the column `cluster`.

    Args:
        stage: the stage that judged.
        path: the verdict over all rows (reason, evidence, cluster).
        begin: position of the shard's first row in it.
    """
    mine = read_arrow(path).slice(begin, table.num_rows).combine_chunks()
    columns = {name: mine[name].combine_chunks() for name in ("reason", "evidence", "cluster")}
    others = table.drop_columns("cluster") if "cluster" in table.column_names else table
    table = others.append_column("cluster", columns["cluster"])
    return divide_by(table, stage, columns["reason"], columns["evidence"])


@dataclass(frozen=True)
class EmbedTask:
    """Embedding what a shard's rows say."""

    shard: Shard
    settings: duplicates.Duplicates
    model: Path
    sha256: str
    """Hash of the model's folder."""
    cache: Path
    unit: str = "rows"

    @property
    def size(self) -> int:
        return self.shard.rows


def run_embed(task: EmbedTask) -> Path:
    """The folder of the cache that holds a shard's vectors."""
    compared = task.settings.model_dump(include={"scope", "boilerplate"})
    folder = keyed_folder(
        task.cache / "stages", digest(["embed", semantic.VERSION, compared, task.sha256, task.shard.key])
    )
    if not folder.is_dir():
        texts = compared_by.compared_text(task.shard.kept(), task.settings).to_pylist()
        vectors = semantic.embed(texts, task.model)
        cache_folder(folder, lambda draft: np.save(draft / "vectors.npy", vectors))
    return folder


def compared_texts(shards: Sequence[Shard], settings: duplicates.Duplicates) -> Callable[[Any], pa.Array]:
    """What gives the compared text of rows, numbered through all shards; the numbers ascend."""
    rows = Rows([shard.kept().select(["turns", "target"]) for shard in shards])
    return lambda numbers: compared_by.compared_text(rows.take(numbers), settings)


@cache
def _references(folder: Path) -> decontaminate.References:
    return decontaminate.References.open(folder)


def run_decontaminate(table: pa.Table, folder: Path) -> Outcome:
    """The stage `decontaminate` with the references opened once a process."""
    return decontaminate.decontaminate(table, _references(folder))


@cache
def _renderer(chat: str, folder: Path, answers: Any) -> render.Renderer:
    tokenizer, tokens = render.load_tokenizer(folder)
    return render.Renderer(render.ChatTemplate(chat), tokenizer, tokens, answers)


def run_render(table: pa.Table, contract: Contract, settings: Any, folder: Path) -> Outcome:
    """The stage `render` with templates and tokenizer loaded in this process."""
    task = render.TaskTemplate(settings.task, contract.target_schema)
    return render.render(table, task, _renderer(settings.chat, folder, settings.answers))


def run_fit(table: pa.Table, contract: Contract, settings: Any, bound: fit.Fit, folder: Path) -> Outcome:
    """The stage `fit` with templates and tokenizer loaded in this process."""
    task = render.TaskTemplate(settings.task, contract.target_schema)
    return fit.fit(table, task, _renderer(settings.chat, folder, settings.answers), bound)


def apply_split(
    table: pa.Table, names: Sequence[str | None], clusters: Sequence[str], bridges: dict[int, dict[str, Any]]
) -> Outcome:
    """Add the column `split`, name the clusters anew, and quarantine the rows that bridge splits."""
    at = table.schema.get_field_index("cluster")
    table = table.set_column(at, "cluster", pa.array(clusters, pa.string()))
    table = table.append_column("split", pa.array(names, pa.string()))
    return divide(table, "split", [Reject(row, "bridges_splits", seen) for row, seen in bridges.items()])


class _Run:
    """One run: the stages in their order, and what is told of them."""

    def __init__(
        self,
        recipe: Recipe,
        store: Store,
        tokenizer_folder: Path,
        map_shards: MapShards,
        progress: Progress,
        shard_bytes: int,
    ) -> None:
        self.recipe = recipe
        self.store = store
        self.cache = store.cache
        self.tokenizer_folder = tokenizer_folder
        self.map_shards = map_shards
        self.progress = progress
        self.shard_bytes = shard_bytes
        self.contract = Contract.load(recipe.contract)
        self.index = Index(store, recipe.name, recipe.duplicates)
        self.index.versions()  # an index of other parameters, or a damaged one, is better told now than after an hour
        models = {"semantic": recipe.semantic.model, "select": recipe.select.model}
        self.embedding_sha256 = {
            stage: semantic.model_digest(Path(model)) for stage, model in models.items() if model is not None
        }
        self.stages: list[dict[str, Any]] = []
        self.quarantined: list[Shard] = []
        self.seconds: dict[str, float] = {}
        self.cached: dict[str, tuple[int, int]] = {}

    def run(self) -> Curated:
        clear_drafts(self.cache)
        shards = self._read()
        self.drop = drop_digest(self.files)
        self._check_labels(shards)
        for name, stage in self.recipe.row_stages().items():
            version = [stage.version, installed(stage.libraries)]
            shards = self._map(name, version, stage.model_dump(), stage.run, shards)
        shards = self._decontaminate(shards)
        held = partial(validate, contract=self.contract)
        shards = self._map("validate", VALIDATE_VERSION, self.contract.sha256, held, shards)
        shards = self._render(shards)
        # From here to the end no other run may publish a version that this one would have to be compared with.
        with self.index.lock(self.progress):
            return self._judge(shards)

    def _judge(self, shards: Sequence[Shard]) -> Curated:
        """The stages over all rows at once, and publishing."""
        self._index()
        segments = self.index.segments()
        versions = [version for segment in segments for version in segment.versions]
        drops = [drop for segment in segments for drop in segment.drops]
        self.compared_with = before(versions, drops, self.drop)
        inputs = self._inputs()
        own = [version for version, drop in zip(versions, drops, strict=True) if drop == self.drop]
        standing = self._standing(own, inputs)
        self.earlier = earlier_rows(segments, self.drop, [file.sha256 for file in self.files], standing)
        # Duplicates come after every stage that judges a row by itself: no row is removed in favour of one that is then
        # found to be too long or invalid.
        shards, verdict = self._duplicates(shards)
        later: list[Path] = []
        for stage in (self._semantic, self._balance, self._select):
            shards = stage(shards, later)
        shards, met = self._split(shards, verdict, later)
        manifest = inputs | {"splits_of": standing, "stages": self.stages, "balance": met}
        published = self._publish(shards, verdict, manifest)
        self._index()
        return published

    def _inputs(self) -> dict[str, Any]:
        """The part of the manifest that determines all the rest."""
        return {
            "name": self.recipe.name,
            "schema_version": 1,
            "drop": {"sha256": self.drop, "files": len(self.files), "bytes": sum(file.size for file in self.files)},
            "lookups": self.lookups,
            "references": self.references,
            "recipe": curation_settings(self.recipe),
            "contract": {"name": self.contract.name, "version": self.contract.version, "sha256": self.contract.sha256},
            "base": {
                "model": Path(self.recipe.fit.model).name,
                "tokenizer_sha256": file_digest(self.tokenizer_folder / "tokenizer.json"),
                "tokenizer_config_sha256": file_digest(self.tokenizer_folder / "tokenizer_config.json"),
                "chat_template_sha256": render.ChatTemplate(self.recipe.render.chat).sha256,
                "task_template_sha256": digest(render.read_template("tasks", self.recipe.render.task)),
            },
            "embedding_sha256": self.embedding_sha256,
            "index": {"parameters": self.index.parameters, "compared_with": self.compared_with},
            "code": {
                "read": ingest.VERSION,
                **{name: stage.version for name, stage in self.recipe.row_stages().items()},
                "decontaminate": decontaminate.VERSION,
                "validate": VALIDATE_VERSION,
                "render": render.VERSION,
                "fit": fit.VERSION,
                "duplicates": duplicates.VERSION,
                "semantic": semantic.VERSION,
                "balance": balance.VERSION,
                "select": select.VERSION,
                "split": split.VERSION,
                "publish": PUBLISH_VERSION,
            },
            "libraries": installed(
                {"pyarrow", *ingest.LIBRARIES, *render.LIBRARIES}.union(
                    *(stage.libraries for stage in self.recipe.row_stages().values())
                )
            ),
        }

    def _standing(self, own: Sequence[str], inputs: dict[str, Any]) -> list[str]:
        """The versions of the same drop that bind the splits: all, unless this very run has been published already.

        Then those that bound it, so that it gives the same bytes again.
        """
        for version in own:
            if (self.published(version) / MANIFEST).is_file():
                known = read_manifest(self.published(version))
                if digest({key: known.get(key) for key in inputs}) == digest(inputs):
                    return list(known["splits_of"])
        return list(own)

    def published(self, version: str) -> Path:
        """The folder of an earlier version of this data set."""
        return self.store.root / "datasets" / self.recipe.name / version

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """Add to a stage's seconds what is not counted as another's meanwhile."""
        begin, others = time.perf_counter(), sum(self.seconds.values())
        yield
        inside = sum(self.seconds.values()) - others
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begin - inside

    def _index(self) -> None:
        with self._timed("index"):
            self.index.catch_up(self.progress)

    def _tell(self, name: str, rows_in: int, shards: Sequence[Shard]) -> None:
        """Add a stage to the manifest; check that it conserved the rows (law 1)."""
        kept, rejected = sum(shard.rows for shard in shards), sum(shard.rejected for shard in shards)
        made = sum(shard.made for shard in shards)
        if kept + rejected != rows_in + made:
            raise AssayError(f"Stage {name}: {rows_in} rows in, {made} made, {kept} kept, {rejected} quarantined.")
        reasons: Counter[str] = Counter()
        counters: Counter[str] = Counter()
        examples: dict[str, list[Example]] = {}
        for shard in shards:
            reasons.update(shard.reasons)
            counters.update(shard.counters)
            for rule, found in shard.examples.items():
                examples.setdefault(rule, []).extend(found)
        told = summed(shard.distributions for shard in shards)
        if name != "pii" and all(stage["name"] != "pii" for stage in self.stages):
            values = told["label"]["values"]
            told["label"]["values"] = dict(zip(self._labels(list(values)), values.values(), strict=True))
        self.stages.append(
            {
                "name": name,
                "rows_in": rows_in,
                "made": made,
                "kept": kept,
                "rejected": rejected,
                "reasons": dict(sorted(reasons.items())),
                "counters": dict(sorted(counters.items())),
                "examples": {
                    rule: self._protected(first_examples(found)) for rule, found in sorted(examples.items()) if found
                },
                "distributions": told,
            }
        )
        self.quarantined += shards
        self.cached[name] = (sum(shard.cached for shard in shards), len(shards))

    def _protected(self, examples: Sequence[Example]) -> list[Example]:
        """Examples as people see them, without the personal data that the recipe protects: some stages come before."""
        turns = [[{"role": "user", "content": each[side]} for side in ("before", "after")] for each in examples]
        rows = [{"id": each["id"], "turns": said, "meta": {}} for each, said in zip(examples, turns, strict=True)]
        kept = self.recipe.pii.run(pa.Table.from_pylist(rows, schema=SCHEMA)).kept.select(["id", "turns"]).to_pylist()
        return [
            excerpt({"id": row["id"], "before": row["turns"][0]["content"], "after": row["turns"][1]["content"]})
            for row in kept
        ]

    def _labels(self, labels: Sequence[str]) -> list[str]:
        """Labels as the stage `pii` leaves them."""
        rows = [{"turns": [], "meta": {}, "label": label} for label in labels]
        kept = self.recipe.pii.replacing().run(pa.Table.from_pylist(rows, schema=SCHEMA)).kept
        return list(kept["label"].to_pylist())

    def _check_labels(self, shards: Sequence[Shard]) -> None:
        """See `balance.check_labels`; now, rather than after an hour of work that the caps would not touch."""
        settings = self.recipe.balance
        if settings.named():
            labels = {label for shard in shards for label in shard.distributions["label"]} - {NONE}
            known = {*self._labels(sorted(labels)), *balance.enumerated(self.contract.row_schema)}
            for version in self.index.versions():
                if (self.published(version) / MANIFEST).is_file():
                    read, *_ = read_manifest(self.published(version))["stages"]
                    known |= {*read["distributions"]["label"]["values"]}
            balance.check_labels(settings, known)

    def _map(
        self,
        name: str,
        version: Any,
        settings: Any,
        run: Callable[[pa.Table], Outcome],
        shards: Sequence[Shard],
    ) -> list[Shard]:
        """A row-wise stage over all shards."""
        with self._timed(name):
            tasks = [StageTask(name, version, settings, run, shard, self.cache) for shard in shards]
            done = self.map_shards(name, run_stage, tasks)
        self._tell(name, sum(shard.rows for shard in shards), done)
        return done

    def _read(self) -> list[Shard]:
        with self._timed("read"):
            done = ingest.ingest(self.recipe, self.cache, self.map_shards, self.shard_bytes)
        self.files, self.lookups = done.files, done.lookups
        rows = sum(shard.rows + shard.rejected - shard.made for shard in done.shards)
        if not rows:
            size = sum(file.size for file in done.files)
            raise AssayError(
                f"The drop holds no rows: {len(done.files)} file(s) of {size:,} bytes.",
                remedy="Name the folder of the raw files with --drop, or mend `sources` in the recipe.",
            )
        self._tell("read", rows, done.shards)
        return done.shards

    def _duplicates(self, shards: Sequence[Shard]) -> tuple[list[Shard], Path]:
        """Also gives the folder of the verdict, see `_write_verdict`."""
        settings = self.recipe.duplicates
        with self._timed("duplicates"):
            key_folders = self._keys(shards)
            seen = [duplicates.VERSION, settings.model_dump(), self.compared_with, [file.sha256 for file in self.files]]
            key = digest(["verdict", 2, seen, [shard.key for shard in shards]])
            folder = keyed_folder(self.cache / "stages", key)
            if not folder.is_dir():
                self.progress("judge", 0, sum(shard.rows for shard in shards), "rows")
                keys = _keys_of(key_folders)
                verdict = duplicates.judge(keys, settings, compared_texts(shards, settings), self.earlier)
                cache_folder(
                    folder,
                    partial(
                        _write_verdict, verdict=verdict, shards=shards, earlier=self.earlier, published=self.published
                    ),
                )
                self.progress("judge", keys.num_rows, keys.num_rows, "rows")
            done = self._apply("duplicates", shards, key, folder / "verdict.arrow")
        self._tell("duplicates", sum(shard.rows for shard in shards), done)
        return done, folder

    def _keys(self, shards: Sequence[Shard]) -> list[Path]:
        """The folders of the shards' key tables."""
        tasks = [KeyTask(shard, self.recipe.duplicates, self.cache) for shard in shards]
        return self.map_shards("compare", run_keys, tasks)

    def _apply(self, stage: str, shards: Sequence[Shard], key: str, path: Path) -> list[Shard]:
        """Apply a judgement over all rows to each shard."""
        begins = np.cumsum([0, *(shard.rows for shard in shards)]).tolist()
        tasks = [
            StageTask(stage, 1, key, partial(apply_verdict, stage=stage, path=path, begin=begin), shard, self.cache)
            for shard, begin in zip(shards, begins[:-1], strict=True)
        ]
        return self.map_shards(stage, run_stage, tasks)

    def _semantic(self, shards: Sequence[Shard], later: list[Path]) -> Sequence[Shard]:
        """The optional stage `semantic`, over the rows that are left."""
        settings = self.recipe.semantic
        if settings.model is None:
            return shards
        with self._timed("semantic"):
            embedded = self._embedded(shards, settings.model, self.embedding_sha256["semantic"])
            known = [semantic.VERSION, settings.threshold, settings.same_target, self.embedding_sha256["semantic"]]

            def judge() -> pa.Table:
                keys = _keys_of(self._keys(shards))
                clusters = pa.concat_tables([shard.kept().select(["cluster"]) for shard in shards])["cluster"]
                return semantic.judge(keys, clusters.to_pylist(), embedded(), settings)

            return self._judged("semantic", known, judge, shards, later)

    def _embedded(self, shards: Sequence[Shard], model: str, sha256: str) -> Callable[[], semantic.Vectors]:
        """What gives the embeddings of all rows."""
        tasks = [EmbedTask(shard, self.recipe.duplicates, Path(model), sha256, self.cache) for shard in shards]
        folders = self.map_shards("embed", run_embed, tasks)
        return lambda: np.concatenate([np.load(folder / "vectors.npy") for folder in folders])

    def _balance(self, shards: Sequence[Shard], later: list[Path]) -> Sequence[Shard]:
        """The optional stage `balance`: caps."""
        settings = self.recipe.balance
        if settings.cap is None:
            return shards
        with self._timed("balance"):
            known = [balance.VERSION, settings.cap]
            return self._judged("balance", known, lambda: balance.judge(_told(shards), settings), shards, later)

    def _select(self, shards: Sequence[Shard], later: list[Path]) -> Sequence[Shard]:
        """The optional stage `select`."""
        settings, compared = self.recipe.select, self.recipe.duplicates
        if settings.rows is None:
            return shards

        def words() -> tuple[Any, Any]:
            from curate.text.words import shingle_sets

            sets = [shingle_sets(compared_by.compared_text(shard.kept(), compared), 1) for shard in shards]
            ends = np.cumsum([0, *(offsets[-1] for offsets, _ in sets)])
            offsets = np.concatenate([[0], *(each[1:] + end for (each, _), end in zip(sets, ends, strict=False))])
            return offsets, np.concatenate([words for _, words in sets])

        with self._timed("select"):
            sha256 = self.embedding_sha256.get("select")
            said = words if sha256 is None else self._embedded(shards, str(settings.model), sha256)
            texts = compared.model_dump(include={"scope", "boilerplate"})
            known = [select.VERSION, settings.model_dump(exclude={"model"}), sha256, texts]
            return self._judged("select", known, lambda: select.judge(_told(shards), said(), settings), shards, later)

    def _judged(
        self, stage: str, known: Any, judge: Callable[[], pa.Table], shards: Sequence[Shard], later: list[Path]
    ) -> list[Shard]:
        """Judge all rows that are left at once, or find the verdict in the cache, and apply it.

        Args:
            known: with the shards, what the verdict depends on.
            judge: gives the columns reason, evidence and cluster for all rows.
            later: the folders of the verdicts after that of `duplicates`; this one is added.
        """
        key = digest([stage, known, [shard.key for shard in shards]])
        folder = keyed_folder(self.cache / "stages", key)
        if not folder.is_dir():
            total = sum(shard.rows for shard in shards)
            self.progress(f"judge ({stage})", 0, total, "rows")
            verdict = judge()
            cache_folder(folder, lambda draft: write_arrow(verdict, draft / "verdict.arrow"))
            self.progress(f"judge ({stage})", total, total, "rows")
        done = self._apply(stage, shards, key, folder / "verdict.arrow")
        self._tell(stage, sum(shard.rows for shard in shards), done)
        later.append(folder)
        return done

    def _decontaminate(self, shards: Sequence[Shard]) -> list[Shard]:
        settings = self.recipe.decontaminate
        preparing = [self.recipe.clean, self.recipe.pii.replacing()]
        files = decontaminate.reference_files(settings, self.recipe.drop, self.store)
        self.references = {file.name: file.sha256 for file in files}
        key = [
            settings.model_dump(exclude={"references"}),
            [[file.name, file.sha256, file.format] for file in files],
            [[stage.version, installed(stage.libraries), stage.model_dump()] for stage in preparing],
        ]
        folder = keyed_folder(self.cache / "stages", digest(["references", decontaminate.VERSION, *key]))
        if not folder.is_dir():
            size = sum(file.size for file in files)
            self.progress("references", 0, size, "bytes")
            cache_folder(folder, partial(decontaminate.write_references, files, settings, preparing))
            self.progress("references", size, size, "bytes")
        stage = partial(run_decontaminate, folder=folder)
        return self._map("decontaminate", decontaminate.VERSION, key, stage, shards)

    def _render(self, shards: Sequence[Shard]) -> list[Shard]:
        settings, folder = self.recipe.render, self.tokenizer_folder
        key = [
            render.read_template("tasks", settings.task),
            render.read_template("chat", settings.chat),
            settings.answers,
            self.contract.sha256,
            [file_digest(folder / name) for name in render.TOKENIZER_FILES],
            installed(render.LIBRARIES),
        ]
        stage = partial(run_render, contract=self.contract, settings=settings, folder=folder)
        shards = self._map("render", render.VERSION, key, stage, shards)
        bound = self.recipe.fit
        stage = partial(run_fit, contract=self.contract, settings=settings, bound=bound, folder=folder)
        shards = self._map("fit", fit.VERSION, bound.model_dump(exclude={"model"}), stage, shards)
        tokens = pa.concat_tables([shard.kept().select(["tokens"]) for shard in shards])["tokens"]
        rejected = pa.concat_tables([shard.quarantine().select(["reason", "evidence"]) for shard in shards])
        evidence = rejected.filter(pc.equal(rejected["reason"], "too_many_tokens"))["evidence"].to_pylist()
        long = pa.array([orjson.loads(each)["tokens"] for each in evidence], pa.int32())
        self.stages[-1]["tokens"] = {"kept": quantiles(tokens), "too_long": quantiles(long)}
        return shards

    def _split(
        self, shards: Sequence[Shard], verdict: Path, later: Sequence[Path]
    ) -> tuple[list[Shard], dict[str, Any]]:
        """Also tells how well the ratios are met, see `split.Assignment`.

        Args:
            verdict, later: folders of the verdicts of `duplicates` and of the stages after it.
        """
        settings = self.recipe.split
        with self._timed("split"):
            columns = ["id", "group", "cluster", "label", "source", "meta"]
            rows = pa.concat_tables([shard.kept().select(columns) for shard in shards])
            clusters = rows["cluster"].to_pylist()
            kept, cluster_of = _left(verdict, later)
            place = np.cumsum(kept) - 1  # of the rows judged among those kept
            members: dict[str, list[int]] = {}
            for row, cluster in enumerate(clusters):
                members.setdefault(cluster, []).append(row)
            among: list[tuple[int, int]] = []
            bound: set[tuple[str, int]] = set()
            # What ties a row that was removed ties all that are left of its cluster, once for each earlier cluster.
            for row, tag in zip(
                *(column.to_pylist() for column in read_arrow(verdict / "ties.arrow").columns), strict=True
            ):
                if kept[row]:
                    among.append((int(place[row]), tag))
                elif (cluster_of[row], tag) not in bound:
                    bound.add((cluster_of[row], tag))
                    among += [(each, tag) for each in members.get(cluster_of[row], ())]
            tied = tied_splits(self.earlier, rows["group"], among)
            # So does the split that a row was given before it was removed in favour of a new one.
            removed = np.flatnonzero(~kept)
            ids = read_arrow(verdict / "verdict.arrow")["id"].take(pa.array(removed))
            given_before = recorded_splits(self.earlier, ids)
            for row, id_ in zip(removed.tolist(), ids.to_pylist(), strict=True):
                if id_ in given_before:
                    for each in members.get(cluster_of[row], ()):
                        tied[each] |= {given_before[id_]}
            given = split.assign(
                rows["id"].to_pylist(),
                rows["group"].to_pylist(),
                clusters,
                rows["label"].to_pylist(),
                settings,
                recorded_splits(self.earlier, rows["id"]),
                tied,
                split.times(rows, settings.time) if settings.time else None,
                split.splits_named(rows, settings.named) if settings.named else None,
            )
            names = _within_splits(clusters, given.split, cluster_splits(self.earlier, rows["cluster"]))
            tasks, begin = [], 0
            for shard in shards:
                end = begin + shard.rows
                mine = given.split[begin:end], names[begin:end]
                bridges = {row - begin: seen for row, seen in given.bridges.items() if begin <= row < end}
                stage = partial(apply_split, names=mine[0], clusters=mine[1], bridges=bridges)
                key = digest([*mine, sorted(bridges.items())])
                tasks.append(StageTask("split", split.VERSION, key, stage, shard, self.cache))
                begin = end
            done = self.map_shards("split", run_stage, tasks)
        self._tell("split", sum(shard.rows for shard in shards), done)
        return done, given.balance

    def _publish(self, shards: Sequence[Shard], verdict: Path, manifest: dict[str, Any]) -> Curated:
        key = digest([PUBLISH_VERSION, manifest, [shard.key for shard in shards]])
        note = self.cache / "published" / key
        with self._timed("publish"):
            known = self.published(note.read_text()) if note.is_file() else None
            if known is not None and (known / MANIFEST).is_file():
                folder, self.cached["publish"] = known, (1, 1)
            else:
                conflicts = read_arrow(verdict / "conflicts.arrow")
                folder, self.cached["publish"] = self._write(shards, conflicts, manifest), (0, 1)
                note.parent.mkdir(parents=True, exist_ok=True)
                note.write_text(folder.name)
        return Curated(folder, read_manifest(folder), self.seconds, self.cached)

    def _write(self, shards: Sequence[Shard], conflicts: pa.Table, manifest: dict[str, Any]) -> Path:
        from curate.publish.gate import check_set
        from curate.publish.report import write_card, write_report

        kept = Rows([shard.kept() for shard in shards])
        table = pa.concat_tables(kept.tables)
        rejected = Rows([shard.quarantine() for shard in self.quarantined])
        quarantine = pa.concat_tables(rejected.tables)
        rows_in = self.stages[0]["rows_in"]
        made = sum(stage["made"] for stage in self.stages)
        if table.num_rows + quarantine.num_rows != rows_in + made:
            raise AssayError(
                f"{rows_in} rows in, {made} made, {table.num_rows} kept, {quarantine.num_rows} quarantined."
            )
        sizes = Counter(table["split"].to_pylist())
        with self.store.publishing("datasets", self.recipe.name, unhashed=frozenset({"data_docs"})) as draft:
            self.progress("gate", 0, table.num_rows, "rows")
            with self._timed("gate"):
                gate = check_set(table, self.contract, draft.folder / "data_docs")
            self.progress("gate", table.num_rows, table.num_rows, "rows")
            if not gate.success:
                raise GateError(
                    gate.message(), remedy="Mend the drop, the recipe or the contract; nothing was published."
                )
            by_id = in_order(table.select(["id"]))
            split_of = table["split"].to_numpy()[by_id]
            for name in split.SPLITS:
                pieces = kept.pieces(by_id[split_of == name])
                schema = table.schema.remove(table.schema.get_field_index("split"))
                _write_split(map(self._with_drop, pieces), schema, draft.folder / name)
            pieces = map(self._with_drop, rejected.pieces(_source_order(quarantine)))
            _write_parquet(pieces, quarantine.schema, draft.folder / "quarantine.parquet")
            pieces = map(self._with_drop, map(_table, conflicts.to_batches()))
            _write_parquet(pieces, conflicts.schema, draft.folder / "conflicts.parquet")
            sources = pa.table({name: [getattr(file, each) for file in self.files] for name, each in SOURCES.items()})
            pq.write_table(sources, draft.folder / "sources.parquet", compression="zstd")
            counts = {
                "in": rows_in,
                "made": made,
                "kept": table.num_rows,
                "quarantined": quarantine.num_rows,
                "splits": {name: sizes[name] for name in split.SPLITS},
                "clusters": pc.count_distinct(table["cluster"]).as_py(),
                "conflicts": pc.count_distinct(conflicts["conflict"]).as_py(),
                "rows_in_conflict": conflicts.num_rows,
            }

            def describe(folder: Path, published: dict[str, Any]) -> None:
                write_card(folder, published, self.contract)
                write_report(folder, published)

            manifest = manifest | {"counts": counts, "gate": gate.summary()}
            folder = draft.publish(manifest, describe)
        self.store.record(
            {"event": "datasets", "name": self.recipe.name, "version": folder.name, "drop": self.drop, "counts": counts}
        )
        return folder

    def _with_drop(self, table: pa.Table) -> pa.Table:
        """Name the drop in every row's source; only here, so that a shard's cache outlives a drop that has grown."""
        source = table["source"].combine_chunks()
        named = pa.StructArray.from_arrays(
            [pa.repeat(self.drop, len(source)), pc.struct_field(source, "file"), pc.struct_field(source, "row")],
            fields=list(SCHEMA.field("source").type),
        )
        return table.set_column(table.schema.get_field_index("source"), SCHEMA.field("source"), named)


def curation_settings(recipe: Recipe) -> dict[str, Any]:
    """The part of a recipe that the data depends on, as JSON: no path, nor training and evaluation."""
    settings = recipe.model_dump(mode="json", exclude={"drop", "contract", "training", "evaluation", "variants"})
    named = ("render", "task"), ("render", "chat"), ("fit", "model"), ("semantic", "model"), ("select", "model")
    for section, key in named:
        if settings[section][key] is not None:
            settings[section][key] = Path(settings[section][key]).name
    return settings


def _keys_of(folders: Sequence[Path]) -> pa.Table:
    return pa.concat_tables([read_arrow(folder / "keys.arrow") for folder in folders])


def _write_verdict(
    folder: Path,
    verdict: duplicates.Verdict,
    shards: Sequence[Shard],
    earlier: Sequence[Earlier],
    published: Callable[[str], Path],
) -> None:
    """The verdict, what ties rows to earlier ones, and the conflicts' rows, each group whole.

    Args:
        published: the folder of an earlier version.
    """
    rows = Rows([shard.kept() for shard in shards])
    ids = pa.concat_tables([table.select(["id"]) for table in rows.tables])["id"]
    columns = {name: pa.array(getattr(verdict, name), pa.string()) for name in ("reason", "evidence", "cluster")}
    write_arrow(pa.table({"id": ids, **columns}), folder / "verdict.arrow")
    # By the earlier cluster, not the row: segments may have been merged when this is read from the cache.
    ties = [(row, int(earlier[number].clusters[other])) for row, number, other in verdict.ties]
    columns = {
        "row": pa.array([row for row, _ in ties], pa.int64()),
        "cluster": pa.array([tag for _, tag in ties], pa.uint64()),
    }
    write_arrow(pa.table(columns), folder / "ties.arrow")
    members = np.array([row for group in verdict.conflicts for row in group], np.int64)
    group_of = np.repeat(np.arange(len(verdict.conflicts)), [len(group) for group in verdict.conflicts])
    tables, begin = [], 0
    for piece in [*rows.pieces(members)] or [rows.take(members)]:
        end = begin + piece.num_rows
        piece = piece.add_column(0, "conflict", pa.array(group_of[begin:end]))
        piece = piece.add_column(1, "version", pa.nulls(piece.num_rows, pa.string()))
        kept = [verdict.reason[row] is None for row in members[begin:end].tolist()]
        tables.append(piece.append_column("kept", pa.array(kept, pa.bool_())))
        begin = end
    seen = [(number, *other) for number, group in enumerate(verdict.earlier_conflicts) for other in group]
    tables += _earlier_conflicts(seen, earlier, published)
    whole = pa.concat_tables(tables, promote_options="default")
    if seen:
        batches = Rows([_table(batch) for batch in whole.to_batches()])
        whole = pa.concat_tables(batches.pieces(in_order(whole.select(["conflict"]))))
    write_arrow(whole, folder / "conflicts.arrow")


def _earlier_conflicts(
    seen: Sequence[tuple[int, int, int]], earlier: Sequence[Earlier], published: Callable[[str], Path]
) -> Iterator[pa.Table]:
    """The earlier rows of conflicts as they are published or quarantined, one table for each version and file.

    Args:
        seen: (number of the conflict, number of the `Earlier`, row in it).
    """
    by_version: dict[str, dict[bool, dict[str, int]]] = {}
    for conflict, number, row in seen:
        known = earlier[number].rows.slice(row, 1).select(["id", "version", "kept"]).to_pylist()[0]
        by_version.setdefault(known["version"], {True: {}, False: {}})[known["kept"]][known["id"]] = conflict
    columns = ["id", "turns", "target", "group", "label", "language", "source"]
    for version, wanted in by_version.items():
        if not published(version).is_dir():  # no longer in the store; the evidence still names its rows
            continue
        for name in (*split.SPLITS, "quarantine"):
            conflict_of = wanted[name != "quarantine"]
            of_these = pc.field("id").isin(pa.array(conflict_of, pa.string()))
            table = pq.read_table(published(version) / f"{name}.parquet", columns=columns, filters=of_these)
            numbers = pa.array([conflict_of[id_] for id_ in table["id"].to_pylist()], pa.int64())
            table = table.add_column(0, "conflict", numbers)
            table = table.add_column(1, "version", pa.repeat(version, table.num_rows))
            yield table.append_column("kept", pa.repeat(name != "quarantine", table.num_rows))


def _told(shards: Sequence[Shard]) -> pa.Table:
    """What the stages that choose are told of the rows: their quality where a stage has judged it."""
    columns = ["id", "label", "source", "cluster"]
    tables = [shard.kept() for shard in shards]
    return pa.concat_tables([table.select([*columns, *({"quality"} & set(table.column_names))]) for table in tables])


def _left(verdict: Path, later: Sequence[Path]) -> tuple[Any, list[str]]:
    """Which of the rows judged by `duplicates` are left, and each one's cluster, by the verdicts' folders."""
    judged = read_arrow(verdict / "verdict.arrow")
    kept = pc.is_null(judged["reason"]).to_numpy().copy()
    clusters: list[str] = judged["cluster"].to_pylist()
    for folder in later:
        left = np.flatnonzero(kept)
        verdict_of = read_arrow(folder / "verdict.arrow")
        names = verdict_of["cluster"].to_pylist()
        renamed = {clusters[row]: name for row, name in zip(left.tolist(), names, strict=True)}
        kept[left] = pc.is_null(verdict_of["reason"]).to_numpy()
        clusters = [renamed.get(cluster, cluster) for cluster in clusters]
    return kept, clusters


def _within_splits(clusters: Sequence[str], splits: Sequence[str | None], earlier: dict[str, set[str]]) -> list[str]:
    """The clusters' names, with the split added where a cluster was torn apart and its rows are in several splits.

    Args:
        earlier: the splits of earlier rows of each cluster.
    """
    held = {cluster: set(names) for cluster, names in earlier.items()}
    for cluster, name in zip(clusters, splits, strict=True):
        if name is not None:
            held.setdefault(cluster, set()).add(name)
    return [
        f"{cluster}/{name}" if len(held.get(cluster, ())) > 1 else cluster
        for cluster, name in zip(clusters, splits, strict=True)
    ]


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
                    file.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in dicts(_table(batch)))
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
