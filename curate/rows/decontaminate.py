"""Decontaminate: rows that share words with texts that must not be trained on, such as a benchmark's test rows.

Words are those of `curate.text.words`: no matter the case, the punctuation or the white space. What makes a row
contaminated depends on how many words a text of the reference has (with the default settings):

- 13 or more: any 13 successive ones in any turn, or in the target;
- 8 to 12: any 8 successive ones there;
- 4 to 7: they are all that the row asks (its one turn that is neither the system's nor the answer);
- 1 to 3: so too, and all that the row answers is in that row of the reference as well.

So an answer by itself counts from 8 words on: "yes", "B" and "MIT" are the answers of rows that have nothing else in
common. Words met more than `COMMON` times in the references (instructions, licence headers, labels) identify no row of
them. Where a script has no spaces, a word is several characters (`CHARACTERS`).

Reason: `contaminated`; the evidence names the reference's file, row and field, and shows the longest run of its words:
as it stands in the row (`span`), how many words it has, of how many in the reference's text (`words`, `of`), and where
it is (`prompt`, `answer`, or `prompt and answer`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial, reduce
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from curate.cache import cache_folder, keyed_folder, read_arrow, write_arrow
from curate.errors import AssayError
from curate.hashing import digest
from curate.read.raw import Files, InputFile, Unread, find_files, read_rows
from curate.record import SCHEMA, TURN, answer_is_last_turn, answer_text
from curate.stage import Context, Outcome, Reject, RowStage, Stage, divide
from curate.store import Store

SHORTEST = 4
"""A reference of fewer words counts only together with its answer."""
COMMON = 10
"""Words met more often than this identify nothing (so did GPT-3 with its 13-grams; Brown et al., 2020, appendix C)."""
CHARACTERS = {
    2: "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]",
    5: "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]",
}
"""How many characters say as much as a word, where the splitter makes each a word of its own. In the Universal
Declaration of Human Rights, for each English word: Chinese 1.4, Japanese 2.2; Thai 5.1, Lao 5.6, Khmer 5.7, Burmese
7.8. (Words of scripts with spaces: German 0.9, Russian 0.9, Arabic 0.8, Korean 0.7, Vietnamese 1.4.)"""
LONGEST_SPAN = 1000
"""Characters of the row that the evidence shows."""

Integers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


class Reference(Files):
    """Texts that must not be trained on: files, a package or a dataset as in `sources`, or a published version."""

    published: str | None = Field(
        None, pattern=r"^[a-z0-9][a-z0-9_-]*/[0-9a-f]{16}$", description="NAME/VERSION of a data set in the store."
    )
    split: str = Field("test", description="Split of `dataset` or `published`.")

    @model_validator(mode="after")
    def _one_origin(self) -> "Reference":
        if [bool(self.files), self.dataset is not None, self.published is not None].count(True) != 1:
            raise ValueError("name `files` (globs), `dataset` (hub id or local folder) or `published` (NAME/VERSION)")
        return self


class Decontaminate(Stage):
    """Without references no row is looked at."""

    name: ClassVar[str] = "decontaminate"
    version: ClassVar[int] = 2
    reasons: ClassVar[dict[str, str]] = {"contaminated": "shares words with a reference"}

    references: list[Reference] = Field([], description="What must not be trained on; every text in its rows counts.")
    ngram_words: int = Field(
        13, ge=SHORTEST, description="Successive words that make a contamination (GPT-3's most; Brown et al., 2020)."
    )
    short_ngram_words: int = Field(
        8, ge=SHORTEST, description="The same for reference texts of fewer than `ngram_words` (GPT-3's least)."
    )

    @model_validator(mode="after")
    def _short_is_shorter(self) -> "Decontaminate":
        if self.short_ngram_words > self.ngram_words:
            raise ValueError("short_ngram_words must not be more than ngram_words")
        return self

    def prepare(self, context: Context) -> "Decontaminating":
        files = reference_files(self, context.drop, context.store)
        preparing = [
            rewriting
            for stage in context.before
            if isinstance(stage, RowStage) and (rewriting := stage.rewriting()) is not None
        ]
        key = [
            [[file.name, file.sha256, file.format] for file in files],
            [stage.key() for stage in preparing],
        ]
        words = self.model_dump(exclude={"references"})
        folder = keyed_folder(context.cache / "stages", digest(["references", self.version, words, key]))
        if not folder.is_dir():
            size = sum(file.size for file in files)
            context.progress("references", 0, size, "bytes")
            cache_folder(folder, partial(write_references, files, self, preparing))
            context.progress("references", size, size, "bytes")
        return Decontaminating(
            **dict(self), files={file.name: file.sha256 for file in files}, read_as=key, folder=folder
        )


class Decontaminating(Decontaminate, RowStage):
    """The stage `decontaminate` with its references."""

    references: list[Reference] = Field(exclude=True)
    files: dict[str, str] = Field(exclude=True)
    """SHA-256 of each reference's file, by its name."""
    read_as: list[Any]
    """The files' contents and formats, and the stages that they have gone through."""
    folder: Path = Field(exclude=True)
    """See `write_references`."""

    def prepared_from(self) -> dict[str, Any]:
        return {"references": self.files}

    def run(self, table: pa.Table) -> Outcome:
        return decontaminate(table, _opened(self.folder))


@cache
def _opened(folder: Path) -> "References":
    """The references, opened once a process."""
    return References.open(folder)


def reference_files(settings: Decontaminate, drop: str | Path, store: Store) -> tuple[InputFile, ...]:
    """The files of all references.

    Args:
        drop: folder or URL that relative globs start from.
        store: where published versions are.

    Raises:
        AssayError: a reference is not there.
    """
    files: list[InputFile] = []
    for reference in settings.references:
        if reference.published is None:
            files += find_files(reference, drop, store.cache)
        else:
            folder = store.resolve("datasets", reference.published)
            split = find_files(Files(files=[f"{reference.split}.parquet"]), folder, store.cache)
            files += [replace(file, name=f"{reference.published}/{file.name}") for file in split]
    return tuple(files)


def write_references(
    files: Sequence[InputFile], settings: Decontaminate, preparing: Sequence[RowStage], folder: Path
) -> None:
    """Read the references and write what rows are compared with into a folder, for `References.open`.

    Args:
        files: see `reference_files`.
        preparing: the stages that change the rows' words before they are compared, and so must change the references'.

    Raises:
        AssayError: a row of a reference cannot be read.
    """
    from curate.text.words import ngrams, split_words

    texts, contents = _read(files)
    owners = texts["owner"].to_numpy()
    contents = _prepared(contents, owners, preparing)
    words = split_words(contents)
    counts = np.diff(words.offsets)
    characters = np.ones(len(counts), np.int64)
    for per_word, script in CHARACTERS.items():
        characters[2 * pc.count_substring_regex(contents, script).to_numpy(zero_copy_only=False) > counts] = per_word
    run = np.where(counts >= settings.ngram_words * characters, settings.ngram_words, settings.short_ngram_words)
    run = np.where(counts >= run * characters, run * characters, 0)
    for name, column in {"of": counts, "begin": words.offsets[:-1], "run": run}.items():
        texts = texts.append_column(name, pa.array(column, pa.int64()))

    hashes, begins = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for size in np.unique(run[run > 0]).tolist():
        of_size = np.flatnonzero(run == size)
        begins.append(_ranges(words.offsets[of_size], counts[of_size] - size + 1))
        hashes.append(ngrams(words.hashes, size)[begins[-1]])
    runs, at = _sorted(np.concatenate(hashes), np.concatenate(begins))
    telling = _occurrences(runs) <= COMMON
    runs, at = runs[telling], at[telling]

    short = np.flatnonzero((run == 0) & (counts > 0))
    wholes, short = _sorted(_whole_hashes(words.hashes, words.offsets, short), short)
    alone = (counts[short] >= SHORTEST * characters[short]) & (_occurrences(wholes) <= COMMON)

    write_arrow(texts, folder / "texts.arrow")
    write_arrow(pa.table({"hash": runs, "at": at}), folder / "runs.arrow")
    write_arrow(pa.table({"bits": _filter(runs)}), folder / "filter.arrow")
    columns = {"hash": wholes, "text": short, "owner": owners[short], "of": counts[short], "alone": alone}
    write_arrow(pa.table(columns), folder / "wholes.arrow")


@dataclass(frozen=True)
class References:
    """What rows are compared with: the references' texts, and tables by which their words are found."""

    texts: pa.Table
    """One row per text: file, row, field; of (its words); owner (number of its row among all rows); begin (place of its
    first word among the words of all texts); run (how many successive words count; 0: only all of them)."""
    runs: pa.Table
    """hash (sorted) and at (place of the first word) of every run of words that counts."""
    filter: npt.NDArray[np.uint8]
    """A bit for each value of a hash's upper bits: whether a run has it. Most runs of most rows end here."""
    wholes: pa.Table
    """hash (sorted), text, and its owner and of, of every text that counts only whole; alone: whatever the answer."""

    @staticmethod
    def open(folder: Path) -> "References":
        """Memory-map what `write_references` wrote."""
        texts, runs, bits, wholes = (
            read_arrow(folder / f"{name}.arrow") for name in ("texts", "runs", "filter", "wholes")
        )
        return References(texts, runs, bits["bits"].to_numpy(), wholes)

    def find_runs(self, hashes: Hashes) -> tuple[Integers, Integers]:
        """Every pair of a position in `hashes` and the place of an equal run in the references."""
        slots = _slots(hashes, self.filter)
        maybe = np.flatnonzero(self.filter[slots >> 3] >> (slots & 7).astype(np.uint8) & 1)
        first, count = _equal_range(self.runs["hash"].to_numpy(), hashes[maybe])
        return np.repeat(maybe, count), self.runs["at"].to_numpy()[_ranges(first, count)]

    def holding(self, text: str) -> Integers:
        """The rows of the references, by number, of which `text` is one of the short texts."""
        from curate.text.words import split_words

        words = split_words(pa.array([text]))
        first, count = _equal_range(
            self.wholes["hash"].to_numpy(), _whole_hashes(words.hashes, words.offsets, np.zeros(1, np.int64))
        )
        owners: Integers = self.wholes["owner"].to_numpy()[_ranges(first, count)]
        return owners

    def place(self, text: int) -> dict[str, Any]:
        """Where a text comes from, and how long it is: file, row, field, of."""
        named: dict[str, Any] = self.texts.select(["file", "row", "field", "of"]).slice(text, 1).to_pylist()[0]
        return named


def decontaminate(table: pa.Table, references: References) -> Outcome:
    """Quarantine the rows that share words with a reference."""
    if not references.texts.num_rows:
        return divide(table, "decontaminate", [])
    said = _Said.of(table)
    rejects = _by_wholes(said, references) | _by_runs(said, references)
    return divide(table, "decontaminate", list(rejects.values()))


@dataclass(frozen=True)
class _Said:
    """What the rows say, text by text: every turn of every row, then every target."""

    texts: pa.Array
    words: Any
    """`curate.text.words.Words` of the texts."""
    rows: Integers
    """Which row each text is of."""
    is_answer: npt.NDArray[np.bool_]
    asked: Integers
    """The texts that are all that their row asks."""
    answers: pa.Array
    """Each row's answer."""

    @staticmethod
    def of(table: pa.Table) -> "_Said":
        from curate.text.words import split_words

        turns = table["turns"].combine_chunks()
        contents = pc.struct_field(turns.flatten(), "content")
        rows = pc.list_parent_indices(turns).to_numpy()
        last = np.append(rows[1:] != rows[:-1], True)[: len(rows)]
        is_answer = last & answer_is_last_turn(table).to_numpy(zero_copy_only=False)[rows]
        system = pc.fill_null(pc.equal(pc.struct_field(turns.flatten(), "role"), "system"), False)
        asks = ~is_answer & ~system.to_numpy(zero_copy_only=False)
        alone = np.bincount(rows[asks], minlength=table.num_rows) == 1
        contents = pc.fill_null(contents, "")
        targets = _spelt_out(pc.fill_null(table["target"].combine_chunks(), ""))
        return _Said(
            pa.concat_arrays([contents, targets]),
            split_words(pa.concat_arrays([contents, _without_escapes(targets)])),
            np.concatenate([rows, np.arange(table.num_rows)]),
            np.concatenate([is_answer, np.ones(table.num_rows, bool)]),
            np.flatnonzero(asks & alone[rows]),
            answer_text(table),
        )

    def text_at(self, places: Any) -> Any:
        """Which texts the words at these places are of."""
        return np.searchsorted(self.words.offsets, places, side="right") - 1

    def shown(self, place: int, count: int) -> dict[str, Any]:
        """Evidence of `count` words from a place on."""
        text = self.text_at(place)
        begin, end = int(self.words.begins[place]), int(self.words.ends[place + count - 1])
        span = self.texts[text].as_py().encode()[begin:end].decode()[:LONGEST_SPAN]
        return {"words": count, "span": span, "where": "answer" if self.is_answer[text] else "prompt"}


def _spelt_out(targets: pa.Array) -> pa.Array:
    """JSON texts with their letters as such where they were escapes (`\\u00e9`)."""
    escaped = pc.match_substring(targets, "\\u")
    spelt: list[str] = []
    for text in targets.filter(escaped).to_pylist():
        try:
            spelt.append(orjson.dumps(orjson.loads(text)).decode())
        except orjson.JSONDecodeError:
            spelt.append(text)
    return pc.replace_with_mask(targets, escaped, pa.array(spelt, pa.string()))


def _without_escapes(targets: pa.Array) -> pa.Array:
    """JSON texts with spaces in place of every escape, whose letters are no words."""
    for escape, width in ((r'\\["\\/bfnrt]', 2), (r"\\u[0-9A-Fa-f]{4}", 6)):
        targets = pc.replace_substring_regex(targets, escape, " " * width)
    return targets


def _by_runs(said: _Said, references: References) -> dict[int, Reject]:
    """By row: the longest run of words that it shares with a reference."""
    from curate.text.words import ngrams

    found = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    for size in pc.unique(references.texts["run"]).to_pylist():
        if 0 < size <= len(said.words.hashes):
            here, there = references.find_runs(ngrams(said.words.hashes, size))
            within = said.words.offsets[said.text_at(here) + 1] >= here + size
            found.append((here[within], there[within]))
    here, there = (np.concatenate(each) for each in zip(*found, strict=True))

    # Words that follow each other here as they do there are one run: they lie on one diagonal.
    order = np.lexsort((here, there - here))
    here, there = here[order], there[order]
    begins = np.flatnonzero(np.append(True, (np.diff(here) != 1) | (np.diff(there) != 1))[: len(here)])
    counts = np.diff(begins, append=len(here))
    here, there = here[begins], there[begins]
    texts = np.searchsorted(references.texts["begin"].to_numpy(), there, side="right") - 1
    counts += references.texts["run"].to_numpy()[texts] - 1

    rows = said.rows[said.text_at(here)]
    best_first = np.lexsort((there, here, -counts, rows))
    _, first_of_row = np.unique(rows[best_first], return_index=True)
    rejects = {}
    for run in best_first[first_of_row].tolist():
        seen = references.place(int(texts[run])) | said.shown(int(here[run]), int(counts[run]))
        rejects[int(rows[run])] = Reject(int(rows[run]), "contaminated", seen)
    return rejects


def _by_wholes(said: _Said, references: References) -> dict[int, Reject]:
    """By row: the short text of a reference that is all it asks."""
    counts = np.diff(said.words.offsets)
    asked = said.asked[np.isin(counts[said.asked], references.wholes["of"].to_numpy())]
    hashes = _whole_hashes(said.words.hashes, said.words.offsets, asked)
    firsts, equals = _equal_range(references.wholes["hash"].to_numpy(), hashes)
    rejects = {}
    for each in np.flatnonzero(equals).tolist():
        text, row = asked[each], int(said.rows[asked[each]])
        entries = references.wholes.slice(firsts[each], equals[each])
        seen = said.shown(int(said.words.offsets[text]), int(counts[text]))
        if entries["alone"].to_numpy().any():
            entry = int(np.argmax(entries["alone"].to_numpy()))
        else:
            owners = entries["owner"].to_numpy()
            answers = [text for _, text in leaves({"": said.answers[row].as_py()}) if any(map(str.isalnum, text))]
            both = reduce(np.intersect1d, [references.holding(text) for text in answers], owners)
            if not answers or not len(both):
                continue
            entry = int(np.flatnonzero(owners == both[0])[0])
            seen["where"] = "prompt and answer"
        rejects[row] = Reject(row, "contaminated", references.place(entries["text"][entry].as_py()) | seen)
    return rejects


def leaves(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every text and number of a row, each with its path (`choices.0`); a text that is JSON is looked into.

    Of a record, only what it says: its turns and its target.
    """
    if row.keys() >= set(SCHEMA.names):
        row = {"turns": [turn["content"] for turn in row["turns"]], "target": row["target"]}
    waiting: list[tuple[str, Any]] = [("", row)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError:
                yield path, value
                continue
        inner = (
            list(value.items())
            if isinstance(value, dict)
            else list(enumerate(value))
            if isinstance(value, (list, tuple))
            else []
        )
        waiting += [(f"{path}.{key}".removeprefix("."), each) for key, each in reversed(inner)]
        if isinstance(value, (str, int, float)):
            yield path, str(value)


def _read(files: Sequence[InputFile]) -> tuple[pa.Table, pa.Array]:
    """Every text of the references: file, row, field and owner (see `References.texts`); and the texts themselves."""
    columns: dict[str, list[Any]] = {"file": [], "row": [], "field": [], "owner": []}
    texts: list[str] = []
    owner = 0
    for file in files:
        for number, row in enumerate(read_rows(file)):
            if isinstance(row, Unread):
                raise AssayError(
                    f"Reference {file.name}, row {number}: {row.message}",
                    remedy="Mend it: nothing can be compared with a row that cannot be read.",
                )
            for field, text in leaves(row):
                for column, value in zip(columns.values(), (file.name, number, field, owner), strict=True):
                    column.append(value)
                texts.append(text)
            owner += 1
    types = {"file": pa.string(), "row": pa.int64(), "field": pa.string(), "owner": pa.int64()}
    return pa.table(columns, schema=pa.schema(list(types.items()))), pa.array(texts, pa.string())


def _prepared(texts: pa.Array, owners: Integers, stages: Sequence[RowStage]) -> pa.Array:
    """The texts as these stages leave the turns of a row; what a stage would quarantine is compared like all others."""
    offsets = np.searchsorted(owners, np.arange(owners.max(initial=-1) + 2))
    said = pa.StructArray.from_arrays([pa.repeat("user", len(texts)), texts], fields=list(TURN))
    columns = {field.name: pa.nulls(len(offsets) - 1, field.type) for field in SCHEMA}
    columns["id"] = pa.array([f"{row:032x}" for row in range(len(offsets) - 1)], pa.string())
    columns["turns"] = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), said)
    columns["meta"] = pa.array([[]] * (len(offsets) - 1), SCHEMA.field("meta").type)
    table = pa.table(columns, schema=SCHEMA)
    for stage in stages:
        outcome = stage.run(table)
        table = outcome.kept
        if outcome.rejected.num_rows:
            table = pa.concat_tables([table.select(SCHEMA.names), outcome.rejected.select(SCHEMA.names)])
            table = table.take(pc.sort_indices(table["id"]))
    return pc.struct_field(table["turns"].combine_chunks().flatten(), "content")


def _ranges(begins: Integers, counts: Integers) -> Integers:
    """The integers from each begin on, as many as counted."""
    before = np.cumsum(counts) - counts
    return np.repeat(begins - before, counts) + np.arange(counts.sum())


def _sorted(hashes: Hashes, values: Integers) -> tuple[Hashes, Integers]:
    """Both in the order of the hashes; those of one hash stay in their order."""
    order = np.argsort(hashes, kind="stable")
    return hashes[order], values[order]


def _occurrences(hashes: Hashes) -> Integers:
    """How many times each of these sorted hashes is there."""
    _, count = _equal_range(hashes, hashes)
    return count


def _equal_range(known: Hashes, wanted: Hashes) -> tuple[Integers, Integers]:
    """Where in the sorted `known` each wanted hash is first, and how many times it is there."""
    order = np.argsort(wanted)  # so that each search goes where the last one went
    first, last = np.empty_like(order), np.empty_like(order)
    first[order] = np.searchsorted(known, wanted[order], side="left")
    last[order] = np.searchsorted(known, wanted[order], side="right")
    return first, last - first


def _whole_hashes(words: Hashes, offsets: Integers, texts: Integers) -> Hashes:
    """Hash of all the words of each of these texts."""
    from curate.text.words import ngrams

    counts = np.diff(offsets)[texts]
    out = np.zeros(len(texts), np.uint64)
    for size in np.unique(counts[counts > 0]).tolist():
        of_size = counts == size
        places = _ranges(offsets[texts[of_size]], counts[of_size])
        out[of_size] = ngrams(words[places], size)[::size]
    return out


def _filter(hashes: Hashes) -> npt.NDArray[np.uint8]:
    """A bit for each value that the upper bits of a hash may have, set for these: 32 to 64 times as many bits."""
    bits = np.zeros(4 << len(hashes).bit_length(), np.uint8)
    slots = _slots(hashes, bits)
    np.bitwise_or.at(bits, slots >> 3, (1 << (slots & 7)).astype(np.uint8))
    return bits


def _slots(hashes: Hashes, bits: npt.NDArray[np.uint8]) -> Integers:
    """Each hash's bit in a filter."""
    return (hashes >> np.uint64(64 - (8 * len(bits) - 1).bit_length())).astype(np.int64)
