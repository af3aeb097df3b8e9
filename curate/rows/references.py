"""References: texts that must not be trained on, and the tables by which rows are compared with them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from curate.cache import intact, read_arrow, write_arrow
from curate.errors import AssayError
from curate.read.raw import Files, InputFile, Unread, find_files, read_rows
from curate.record import SCHEMA, TURN
from curate.stage import RowStage
from curate.store import Store, verified

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


def reference_files(references: Sequence[Reference], drop: str | Path, store: Store) -> tuple[InputFile, ...]:
    """The files of all references.

    Args:
        drop: folder or URL that relative globs start from.
        store: where published versions are.

    Raises:
        AssayError: a reference is not there.
    """
    files: list[InputFile] = []
    for reference in references:
        if reference.published is None:
            files += find_files(reference, drop, store.cache)
        else:
            folder = store.resolve("datasets", reference.published)
            verified(folder, f"{reference.split}.parquet")
            split = find_files(Files(files=[f"{reference.split}.parquet"]), folder, store.cache)
            files += [replace(file, name=f"{reference.published}/{file.name}") for file in split]
    return tuple(files)


def write_references(
    files: Sequence[InputFile], ngram_words: int, short_ngram_words: int, preparing: Sequence[RowStage], folder: Path
) -> None:
    """Read the references and write what rows are compared with into a folder, for `References.open`.

    Args:
        files: see `reference_files`.
        ngram_words, short_ngram_words: successive words that make a contamination, see `Decontaminate`.
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
    run = np.where(counts >= ngram_words * characters, ngram_words, short_ngram_words)
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
    wholes, short = _sorted(whole_hashes(words.hashes, words.offsets, short), short)
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
            read_arrow(intact(folder, f"{name}.arrow")) for name in ("texts", "runs", "filter", "wholes")
        )
        return References(texts, runs, bits["bits"].to_numpy(), wholes)

    def find_runs(self, hashes: Hashes) -> tuple[Integers, Integers]:
        """Every pair of a position in `hashes` and the place of an equal run in the references."""
        slots = _slots(hashes, self.filter)
        maybe = np.flatnonzero(self.filter[slots >> 3] >> (slots & 7).astype(np.uint8) & 1)
        first, count = equal_range(self.runs["hash"].to_numpy(), hashes[maybe])
        return np.repeat(maybe, count), self.runs["at"].to_numpy()[_ranges(first, count)]

    def holding(self, text: str) -> Integers:
        """The rows of the references, by number, of which `text` is one of the short texts."""
        from curate.text.words import split_words

        words = split_words(pa.array([text]))
        first, count = equal_range(
            self.wholes["hash"].to_numpy(), whole_hashes(words.hashes, words.offsets, np.zeros(1, np.int64))
        )
        owners: Integers = self.wholes["owner"].to_numpy()[_ranges(first, count)]
        return owners

    def place(self, text: int) -> dict[str, Any]:
        """Where a text comes from, and how long it is: file, row, field, of."""
        named: dict[str, Any] = self.texts.select(["file", "row", "field", "of"]).slice(text, 1).to_pylist()[0]
        return named


def leaves(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every text and number of a row, each with its path (`choices.0`); a text that is JSON is looked into.

    Of a record, only what it says: its turns and its target.
    """
    if row.keys() >= {*SCHEMA.names} - {"reasoning"}:  # which versions of before do not have
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
    said = pa.StructArray.from_arrays(
        [pa.repeat("user", len(texts)), texts, *(pa.nulls(len(texts), field.type) for field in list(TURN)[2:])],
        fields=list(TURN),
    )
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
    _, count = equal_range(hashes, hashes)
    return count


def equal_range(known: Hashes, wanted: Hashes) -> tuple[Integers, Integers]:
    """Where in the sorted `known` each wanted hash is first, and how many times it is there."""
    order = np.argsort(wanted)  # so that each search goes where the last one went
    first, last = np.empty_like(order), np.empty_like(order)
    first[order] = np.searchsorted(known, wanted[order], side="left")
    last[order] = np.searchsorted(known, wanted[order], side="right")
    return first, last - first


def whole_hashes(words: Hashes, offsets: Integers, texts: Integers) -> Hashes:
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
