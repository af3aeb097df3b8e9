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

from dataclasses import dataclass
from functools import cache, partial, reduce
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from curate.cache import cache_folder, keyed_folder, sound
from curate.hashing import digest
from curate.read import ingest
from curate.record import answer_places, answer_text, rows_of_texts, texts_of
from curate.rows.references import (
    SHORTEST,
    Integers,
    Reference,
    References,
    equal_range,
    leaves,
    reference_files,
    whole_hashes,
    write_references,
)
from curate.stage import Context, Outcome, Reject, RowStage, Stage, divide, installed

LONGEST_SPAN = 1000
"""Characters of the row that the evidence shows."""


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
        files = reference_files(self.references, context.drop, context.store)
        preparing = [
            rewriting
            for stage in context.before
            if isinstance(stage, RowStage) and (rewriting := stage.rewriting()) is not None
        ]
        key = [
            [[file.name, file.sha256, file.format, file.options.model_dump(mode="json")] for file in files],
            [ingest.VERSION, installed([*ingest.LIBRARIES, *ingest.READERS])],
            [stage.key() for stage in preparing],
        ]
        words = self.model_dump(exclude={"references"})
        folder = keyed_folder(context.cache / "stages", digest(["references", self.version, words, key]))
        if not sound(folder, context.progress):
            size = sum(file.size for file in files)
            context.progress("references", 0, size, "bytes")
            cache_folder(folder, partial(write_references, files, self.ngram_words, self.short_ngram_words, preparing))
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

    @property
    def reads(self) -> tuple[str, ...] | None:
        return None if self.references else ()

    def run(self, table: pa.Table) -> Outcome:
        return decontaminate(table, _opened(self.folder))


@cache
def _opened(folder: Path) -> "References":
    """The references, opened once a process."""
    return References.open(folder)


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

        roles = pc.struct_field(table["turns"].combine_chunks().flatten(), "role")
        contents, rows = pc.fill_null(texts_of(table), ""), rows_of_texts(table)
        places = answer_places(table)
        is_answer = np.arange(len(rows)) >= len(roles)  # what was thought before one counts as part of it
        is_answer[places[places >= 0]] = True
        system = np.zeros(len(rows), bool)
        system[: len(roles)] = pc.fill_null(pc.equal(roles, "system"), False).to_numpy(zero_copy_only=False)
        asks = ~is_answer & ~system
        alone = np.bincount(rows[asks], minlength=table.num_rows) == 1
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
    hashes = whole_hashes(said.words.hashes, said.words.offsets, asked)
    firsts, equals = equal_range(references.wholes["hash"].to_numpy(), hashes)
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
