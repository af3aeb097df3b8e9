"""A few rows as the tokens that are trained: on their way from the raw file, without the store, or of a version."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby, islice, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from assay.door import Place, load, positive, recipe_named, store_of
from assay.result import Result, plain
from curate.errors import AssayError
from curate.manifest import DatasetManifest
from curate.publish.pages import report_environment
from curate.reach import is_url
from curate.read.mapping import Mapper, RowError, build_lookup
from curate.read.raw import InputFile, Unread, find_files, read_rows
from curate.read.shapes import SHAPES
from curate.record import SCHEMA, SPLITS, dicts, pages_of
from curate.rows.chat_template import ChatTemplate, Message
from curate.rows.render import Rendering
from curate.rows.renderer import IGNORED, Renderer
from curate.rows.tokens import Token, tokens_of
from curate.sets.stage import SetStage
from curate.stage import Context, RowStage
from curate.store import Store
from curate.table import Table
from curate.urls import without_secrets
from evaluation.settings import FullRecipe
from train.adapter import check_parents
from train.audit import audit
from train.base_model import BaseTokenizer, prepare_tokenizer
from train.examples import Row, read_split
from train.qlora import renderer_of

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
    """What becomes of one row."""

    source: str
    """File and 0-based row."""
    rejected: Rejected | None = None
    """Where it goes to quarantine; nothing else is known then."""
    shape: str | None = None
    """The shape that the raw row was recognised to have; None where the recipe maps it, and of a published row."""
    record: dict[str, Any] = field(default_factory=dict)
    """Empty of a published row."""
    id: str | None = None
    messages: list[Message] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    """As training is given them."""
    problems: list[str] = field(default_factory=list)
    """Why it would not be trained: what the audit of the mask says of it."""

    @property
    def trained(self) -> int:
        """How many tokens are trained."""
        return sum(token.trained for token in self.tokens)

    @property
    def special(self) -> int:
        """How many tokens are special ones."""
        return sum(token.special for token in self.tokens)

    @property
    def pieces(self) -> list[tuple[str, bool]]:
        """The text, cut where training begins and ends: (text, whether its tokens are trained)."""
        runs = groupby(self.tokens, lambda token: token.trained)
        return [("".join(token.text for token in run), trained) for trained, run in runs]

    def told(self) -> str:
        """How many tokens there are, and the shares of those that are trained and of special ones."""
        count = len(self.tokens)
        parts = {"trained": self.trained, "special": self.special}
        return ", ".join(
            [f"{count:,} tokens", *(f"{part:,} {what} ({part / max(count, 1):.1%})" for what, part in parts.items())]
        )

    def data(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "source": self.source,
            "rejected": self.rejected and asdict(self.rejected),
            "shape": self.shape,
            "record": self.record,
            "messages": self.messages,
            "pieces": self.pieces,
            "tokens": [token.text for token in self.tokens],
            "input_ids": [token.id for token in self.tokens],
            "labels": [token.id if token.trained else IGNORED for token in self.tokens],
            "special": [token.special for token in self.tokens],
            "problems": self.problems,
        }


@dataclass(frozen=True)
class Previews(Result):
    """A few rows, those that go to quarantine among them."""

    rows: list[Preview]
    name: str = ""
    """Of the recipe or the version."""
    page: Path | None = None
    """Where they are written as HTML."""

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
        return {"rows": [row.data() for row in self.rows], "html": self.page}

    def places(self) -> dict[str, Path]:
        return {} if self.page is None else {"html": self.page}

    def html(self) -> str:
        """A page that loads nothing and runs nothing: each token with its border, the trained ones coloured."""
        environment = report_environment()
        environment.filters["plain"] = plain
        stay = [row for row in self.rows if row.rejected is None]
        return environment.get_template("preview.html.jinja").render(name=self.name, rows=self.rows, stay=stay)

    def write(self, path: Path) -> "Previews":
        """Write the page, over an earlier one if there is one.

        Raises:
            AssayError: something else is there, or it cannot be written.
        """
        try:
            if path.exists() and MARK not in path.read_bytes()[:1024]:
                raise AssayError(
                    f"{path} is there, and is no page of `assay preview`.",
                    remedy="Name a new file; only an earlier preview is written over.",
                )
            path.write_text(self.html(), encoding="utf-8")
        except OSError as error:
            raise AssayError(
                f"{path} cannot be written: {error.strerror}.", remedy="Name a file in a folder that is there."
            ) from error
        return replace(self, page=path)


MARK = b'<meta name="generator" content="assay preview">'
"""By which a page of previews is known; stands in its template."""


def preview(
    recipe: Place,
    *,
    rows: int = 3,
    drop: Place | None = None,
    store: Place | None = None,
    variant: str | None = None,
    dataset: Place | None = None,
    split: str | None = None,
    row: Iterable[str] = (),
    html: Place | None = None,
) -> Previews:
    """A few rows as training will be given them, token by token, the trained ones marked. Publishes nothing.

    By default raw rows of the drop on their way through the recipe, with their records and messages; where a data set
    version, a split or a row is named, rows that are published. Nothing that the recipe names is fetched: it may come
    from elsewhere.

    Args:
        recipe: a recipe's YAML file, or a packaged one's name.
        rows: how many; of raw ones those that stay, and those quarantined on the way come too.
        drop: folder of the raw files, or its URL, instead of the recipe's own.
        store: folder, or URL in a bucket, that Assay writes to.
        variant: one of the recipe's variants.
        dataset: a version, or the name of one as `load` takes it; by default the recipe's latest.
        split: train (the default), validation or test: its first rows.
        row: ids of published rows, of any split if none is named; then `rows` does not count.
        html: file for the rows as a page; an earlier one is written over.

    Raises:
        AssayError: as of `curate`; there is no such version, split or row; or the page cannot be written.
    """
    loaded, target, wanted = recipe_named(recipe, variant, drop), store_of(store), list(row)
    positive("rows", rows)
    if dataset or split or wanted:
        if drop is not None:
            raise AssayError(
                "A drop is named, and published rows are asked for.",
                remedy="Leave out --drop, or --dataset, --split and --row.",
            )
        version = load(dataset or loaded.name, store=store).folder
        chosen = _published(version, loaded, target, split, wanted, rows)
        shown = Previews(list(chosen), f"{version.parent.name}/{version.name}")
    else:
        if drop is None and is_url(loaded.drop):
            raise not_fetched(loaded.drop)
        tokenizer = prepare_tokenizer(loaded.fit.model, target.cache, fetch=False)
        shown = Previews(list(previews(loaded, target, tokenizer, rows)), loaded.name)
    return shown if html is None else shown.write(Path(html))


def _published(
    version: Path, recipe: FullRecipe, store: Store, split: str | None, wanted: Sequence[str], rows: int
) -> Iterator[Preview]:
    """The first rows of a split, or those of some ids, tokenised as training does.

    Raises:
        AssayError: there is no such split or row, or base model or template are others than the version's.
    """
    if split is not None and split not in SPLITS:
        raise AssayError(f"There is no split {split!r}.", remedy=f"Name one of {', '.join(SPLITS)}.")
    base = BaseTokenizer.in_folder(recipe.fit.model, prepare_tokenizer(recipe.fit.model, store.cache, fetch=False))
    template = ChatTemplate.load(recipe.render.chat, base.folder)
    check_parents(f"Data set {version}", DatasetManifest.read(version).base.content(), base, template)
    renderer = renderer_of(recipe, base)
    splits = ([split] if split else SPLITS) if wanted else [split or "train"]
    found = {
        row["id"]: (row, f"{name}, row {number}")
        for name in splits
        for number, row in enumerate(read_split(version, name, ["id", "messages"]))
    }
    missing = [each for each in wanted if each not in found]
    if missing:
        raise AssayError(
            f"{version}: no row {missing[0]!r} in {', '.join(splits)}.",
            remedy="Ids stand in the column `id` of each split; rows that did not stay are in quarantine.parquet.",
        )
    for each in wanted or islice(found, rows):
        row, source = found[each]
        yield _tokenised(Preview(source), row, renderer, recipe)


def _tokenised(shown: Preview, row: Row, renderer: Renderer, recipe: FullRecipe) -> Preview:
    """With the tokens of a row that has `id` and `messages`, as training makes and audits them."""
    audited = audit([row], renderer, recipe.training.max_tokens)
    return replace(
        shown,
        id=row["id"],
        messages=row["messages"],
        tokens=[
            token for example in audited.examples for token in tokens_of(example.input_ids, example.labels, renderer)
        ],
        problems=[f"{problem}: {seen}" for problem, (seen,) in audited.first.items()],
    )


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
        context = Context(
            *(recipe.drop, recipe.held_to(), store, Path(cache), tokenizer_folder),
            rows=lambda columns: [_read(recipe, TRIES * rows).select(columns)],
        )
        stages: list[RowStage] = []
        of_rows = takewhile(lambda stage: not isinstance(stage, SetStage), recipe.stages())
        for stage in (stage for stage in of_rows if stage.runs):
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
        source = _place(record["source"])
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
                yield _tokenised(Preview(source, None, record["shape"], known), row, renderer, recipe)


def _place(source: dict[str, Any]) -> str:
    pages = pages_of(source)
    return f"{source['file']}, row {source['row']}" + (f": {pages}" if pages else "")


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _read(recipe: FullRecipe, rows: int) -> pa.Table:
    """The records that are tried, as a table."""
    records = [record for record in _records(recipe, rows) if not isinstance(record, Preview)]
    return pa.Table.from_pylist(records, schema=SCHEMA)


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
                why = {"message": row.message} | _known({"line": row.line, "page": row.page})
                yield Preview(f"{file.name}, row {number}", Rejected("read", row.reason, why))
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
                yield record | {"source": source | {"places": record["places"]}, "shape": shape}


def _spread(
    files: list[InputFile], mapper: Mapper, rows: int
) -> Iterator[tuple[InputFile, int, dict[str, Any] | Unread]]:
    """About equally many first rows of up to `rows` files at equal distances."""
    chosen = files[:: max(1, len(files) // rows)][:rows]
    for file in chosen:
        for number, row in islice(mapper.rows(read_rows(file)), -(-rows // len(chosen))):
            yield file, number, row
