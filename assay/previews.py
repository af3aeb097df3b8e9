"""A few rows on their way from the raw file to the tokens that are trained, without the store."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby, islice, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from assay.result import Result
from curate.contract import Contract
from curate.errors import AssayError
from curate.read.mapping import Mapper, RowError, build_lookup
from curate.read.raw import UNREADABLE, InputFile, Unread, find_files, read_rows
from curate.read.shapes import SHAPES
from curate.record import SCHEMA, dicts
from curate.rows.chat_template import Message
from curate.rows.render import Rendering
from curate.rows.renderer import IGNORED, Renderer
from curate.sets.stage import SetStage
from curate.stage import Context, RowStage
from curate.store import Store
from curate.table import Table
from curate.urls import without_secrets
from evaluation.settings import FullRecipe

TRIES = 10
"""Raw rows read for each row that is to be shown, at most: some of them go to quarantine."""


@dataclass(frozen=True)
class Rejected:
    """Why a row goes to quarantine, as the quarantine says it."""

    stage: str
    reason: str
    evidence: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.stage}: {self.reason} {json.dumps(self.evidence, ensure_ascii=False, default=str)}"


@dataclass(frozen=True)
class Preview:
    """What becomes of one raw row."""

    source: str
    """File and 0-based row."""
    rejected: Rejected | None
    """Where it goes to quarantine; nothing else is known then."""
    shape: str | None = None
    """The shape that the raw row was recognised to have; None where the recipe maps it."""
    record: dict[str, Any] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    pieces: list[tuple[str, bool]] = field(default_factory=list)
    """The rendered text, cut where training begins and ends: (text, whether its tokens are trained)."""


@dataclass(frozen=True)
class Previews(Result):
    """A few rows, those that go to quarantine among them."""

    rows: list[Preview]

    def __repr__(self) -> str:
        lost = sum(row.rejected is not None for row in self.rows)
        return f"Previews({len(self.rows) - lost} rows that stay, {lost} quarantined)"

    def tables(self) -> list[Table]:
        shown = [
            [
                row.source,
                str(row.rejected or ""),
                "".join(f"⟦{text}⟧" if trained else text for text, trained in row.pieces),
            ]
            for row in self.rows
        ]
        columns = ["row", "quarantined by", "text (trained tokens in brackets)"]
        return [Table("preview", "Preview", columns, shown, texts=3)]

    def data(self) -> dict[str, Any]:
        return {"rows": [asdict(row) for row in self.rows]}


def previews(recipe: FullRecipe, store: Store, tokenizer_folder: Path, rows: int) -> Iterator[Preview]:
    """Rows from places spread over the drop, through every stage that looks at one row alone.

    Args:
        recipe: whose sources are read.
        store: where published versions are, which rows may have to be kept apart from.
        tokenizer_folder: the base model's.
        rows: how many that stay; those quarantined on the way come too.

    Raises:
        AssayError: as curation does.
    """
    for source in (*recipe.sources, *recipe.lookups.values(), *recipe.decontaminate.references):
        for name in source.fetched(recipe.drop):
            raise not_fetched(name)
    with TemporaryDirectory() as cache:
        context = Context(recipe.drop, Contract.load(recipe.contract), store, Path(cache), tokenizer_folder)
        stages: list[RowStage] = []
        for stage in takewhile(lambda stage: not isinstance(stage, SetStage), recipe.stages()):
            ready = stage.prepare(replace(context, before=tuple(stages)))
            assert isinstance(ready, RowStage)  # noqa: S101  those over all rows come last
            stages.append(ready)
        yield from _through(stages, recipe, rows)


def not_fetched(name: str) -> AssayError:
    """What is said of what a recipe names, where it is only looked at: it may come from elsewhere."""
    return AssayError(
        f"{without_secrets(name)!r} would have to be fetched, and a preview fetches nothing that a recipe names.",
        remedy="Fetch it and name its folder, curate the recipe once you have read it, or name the drop with --drop.",
    )


def _through(stages: Sequence[RowStage], recipe: FullRecipe, rows: int) -> Iterator[Preview]:
    (renderer,) = (stage.renderer for stage in stages if isinstance(stage, Rendering))
    kept = 0
    for record in _records(recipe, TRIES * rows):
        if kept == rows:
            break
        if isinstance(record, Preview):
            yield record
            continue
        source = f"{record['source']['file']}, row {record['source']['row']}"
        table = pa.Table.from_pylist([record], schema=SCHEMA)
        for stage in stages:
            outcome = stage.run(table)
            if outcome.kept.num_rows == 0:
                why = outcome.rejected.to_pylist()[0]
                yield Preview(source, Rejected(why["stage"], why["reason"], json.loads(why["evidence"])))
                break
            table = outcome.kept
        else:
            kept += 1
            for row in dicts(table):  # several, where a long one was divided
                row["turns"] = list(map(_known, row["turns"]))
                known = _known({name: row[name] for name in SCHEMA.names if name != "source"})
                pieces = _pieces(renderer, row["messages"])
                yield Preview(source, None, record["shape"], known, row["messages"], pieces)


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _records(recipe: FullRecipe, rows: int) -> Iterator[dict[str, Any] | Preview]:
    """Records, or what is said of raw rows that give none."""
    with TemporaryDirectory() as cache:
        files = [file for source in recipe.sources for file in find_files(source, recipe.drop, Path(cache))]
        tables = {
            name: build_lookup(
                name,
                lookup.key,
                (row for file in find_files(lookup, recipe.drop, Path(cache)) for row in read_rows(file)),
            )
            for name, lookup in recipe.lookups.items()
        }
        mapper = Mapper(recipe.record, tables)
        for file, number, row in _spread(files, mapper, rows):
            source = {"drop": None, "file": file.name, "row": number}
            if isinstance(row, Unread):
                why = {"message": row.message} | ({} if row.line is None else {"line": row.line})
                yield Preview(f"{file.name}, row {number}", Rejected("read", UNREADABLE, why))
                continue
            try:
                made = mapper.records(row, file.name)
            except RowError as problem:
                yield Preview(f"{file.name}, row {number}", Rejected("read", problem.reason, problem.evidence))
                continue
            for record in made:
                if record["rejected"]:
                    yield Preview(f"{file.name}, row {number}", Rejected("read", *record["rejected"]))
                    continue
                shape = next((shape for shape in SHAPES if shape in record["told"]), None)
                yield record | {"source": source, "shape": shape}


def _spread(
    files: list[InputFile], mapper: Mapper, rows: int
) -> Iterator[tuple[InputFile, int, dict[str, Any] | Unread]]:
    """About equally many first rows of up to `rows` files at equal distances."""
    chosen = files[:: max(1, len(files) // rows)][:rows]
    for file in chosen:
        for number, row in islice(mapper.rows(read_rows(file)), -(-rows // len(chosen))):
            yield file, number, row


def _pieces(renderer: Renderer, messages: list[Message]) -> list[tuple[str, bool]]:
    encoded = renderer.encode(messages)
    labelled = zip(encoded.input_ids, encoded.labels, strict=True)
    return [
        (renderer.decode([token for token, _ in group]), trained)
        for trained, group in groupby(labelled, key=lambda pair: pair[1] != IGNORED)
    ]
