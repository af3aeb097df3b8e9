"""Select: so many rows, as LIMA chose its thousand: quality first, then those that stand best for all the others.

Each label gets its share of the rows wanted. Within a label the better half by `quality` may be chosen, and of these
the ones that cover all the label's rows best (see `curate.sets.coverage`): every row should have a chosen one that is
like it. What is compared is the text that the stage `duplicates` compares: by single words (of five words in a row, two
rows that are no duplicates share hardly any), or by the embeddings of a model.

The time is linear in the rows: where a label has more than SAMPLE, a sample of them is what is to be covered.

Reason: `not_selected`; the evidence is the chosen row that stands for it and the similarity, and the row's quality.
"""

import heapq
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import ConfigDict, Field, model_validator

from curate.arrow import whole
from curate.cache import seen_by_all
from curate.sets.balance import best_first
from curate.sets.duplicates import compared_by
from curate.sets.keys import Compared, compared_text, fixed
from curate.sets.semantic import embed, model_digest, vector_column
from curate.sets.stage import Seen, SetStage, Verdict
from curate.stage import ANYWHERE, BESIDE, Context, Stage, evidence_json

if TYPE_CHECKING:
    from curate.text.words import Hashes, Offsets

    Said = tuple[Offsets, Hashes] | npt.NDArray[np.float32]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

SAMPLE = 8192
"""Rows of a label that are to be covered at most; of more, those with the least hashes of their ids."""
DIGITS = 3
"""Of the similarity and the quality that the evidence tells."""


def _or_a_number(schema: dict[str, Any]) -> None:
    """The JSON Schema of the section, which may be written as a number alone."""
    whole = dict(schema)
    schema.clear()
    schema |= {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}, whole]}


class Select(Stage):
    """Written `select: 1000`, or with its options."""

    name: ClassVar[str] = "select"
    version: ClassVar[int] = 2
    reasons: ClassVar[dict[str, str]] = {"not_selected": "`select` rows stand better for all rows"}

    rows: int | None = Field(None, ge=1, description="How many rows to choose; by default all that are left.")
    labels: Literal["proportional", "equal"] = Field(
        "proportional", description="Rows of each label: in proportion to those it has, or the same of each."
    )
    best: float = Field(0.5, gt=0, le=1, description="Share of each label's rows, the best first, to choose from.")

    model: Annotated[str | None, BESIDE, ANYWHERE] = Field(
        None, description="Folder of a model, as `semantic` takes it: rows are compared by embeddings, not by words."
    )

    model_config = ConfigDict(json_schema_extra=_or_a_number)

    @model_validator(mode="before")
    @classmethod
    def _number_alone(cls, value: Any) -> Any:
        if value is None:
            return {}
        return {"rows": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @property
    def runs(self) -> bool:
        return self.rows is not None

    def prepare(self, context: Context) -> Stage:
        if self.rows is None:
            return self
        sha256 = None if self.model is None else model_digest(Path(self.model))
        folder = None if self.model is None else seen_by_all(Path(self.model), context.cache)
        return Choosing(**self.model_dump(), sha256=sha256, folder=folder, compared=compared_by(context))

    def prepared_from(self) -> dict[str, Any]:
        return {"embedding_sha256": {}}


class Choosing(Select, SetStage):
    """The stage `select` with what rows are compared by."""

    model: str | None = Field(exclude=True)
    sha256: str | None
    """Hash of the model's folder, where there is one."""
    folder: Path | None = Field(exclude=True)
    """Where whoever makes keys finds it."""
    compared: Compared

    def prepared_from(self) -> dict[str, Any]:
        return {"embedding_sha256": {} if self.sha256 is None else {self.name: self.sha256}}

    def keys_key(self) -> Any:
        return [self.name, self.version, self.sha256, self.compared.text_key()]

    def keys_of(self, table: pa.Table) -> pa.Table:
        texts = compared_text(table, self.compared)
        found = table.select(["id", "label", "source", *({"quality"} & set(table.column_names))])
        if self.folder is not None:
            return found.append_column("vector", vector_column(embed(texts.to_pylist(), self.folder)))
        from curate.text.words import shingle_sets

        offsets, words = shingle_sets(texts, 1)
        return found.append_column("words", pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(words)))

    def judge(self, keys: pa.Table, seen: Seen) -> Verdict:
        if self.model is not None:
            return Verdict(judge(keys, fixed(keys["vector"], np.float32), self))
        words = whole(keys["words"])
        return Verdict(judge(keys, (words.offsets.to_numpy(), words.values.to_numpy()), self))


class Choice(NamedTuple):
    """Which rows are chosen, and what stands for the others."""

    chosen: Flags
    nearest: Ints
    """The chosen row of the same label that each row is most like; -1 where it is like none."""
    similarity: Floats
    """To that row, 0 to 1."""


def judge(rows: pa.Table, said: "Said", settings: Select) -> pa.Table:
    """Choose among all rows at once; the choice does not depend on their order.

    Args:
        rows: with the columns id, label and source, and quality where there is one.
        said: the distinct words of each row's text, see `curate.text.words.shingle_sets`; or its embedding, see
            `curate.sets.semantic.embed`.
        settings: how many, and of what.

    Returns:
        Columns reason and evidence (JSON), in the order of the rows.
    """
    quality = np.ones(rows.num_rows, np.float32)
    if "quality" in rows.column_names:
        quality = rows["quality"].to_numpy()
    choice = choose(rows, quality, said, settings)
    out = np.flatnonzero(~choice.chosen)
    of = pa.array(choice.nearest[out], mask=choice.nearest[out] < 0)
    source = rows["source"].combine_chunks()
    kept = rows["id"].take(of).to_pylist()
    files, numbers = (pc.struct_field(source, name).take(of).to_pylist() for name in ("file", "row"))
    reason: list[str | None] = [None] * rows.num_rows
    evidence: list[str | None] = [None] * rows.num_rows
    for at, row in enumerate(out.tolist()):
        seen: dict[str, Any] = {"similarity": round(float(choice.similarity[row]), DIGITS)}
        if kept[at] is not None:
            seen |= {"kept": kept[at], "file": files[at], "row": numbers[at]}
        if "quality" in rows.column_names:
            seen["quality"] = round(float(quality[row]), DIGITS)
        reason[row], evidence[row] = "not_selected", evidence_json(seen)
    return pa.table({"reason": pa.array(reason, pa.string()), "evidence": pa.array(evidence, pa.string())})


def choose(rows: pa.Table, quality: npt.NDArray[np.float32], said: "Said", settings: Select) -> Choice:
    """The choice itself. Of rows that are worth the same the better one counts first, then the lesser id."""
    from curate.sets.coverage import LENGTH, Embeddings, Vectors, cover, nearest_of

    ids, labels = rows["id"].to_pylist(), rows["label"].to_pylist()
    members: dict[str | None, list[int]] = {}
    for row in best_first(rows).tolist():
        members.setdefault(labels[row], []).append(row)
    wanted = seats({label: len(each) for label, each in members.items()}, settings.rows or len(ids), settings.labels)
    choice = Choice(np.zeros(len(ids), bool), np.full(len(ids), -1, np.int64), np.zeros(len(ids)))
    for label, listed in members.items():
        if not wanted[label]:
            continue
        these = np.array(listed)
        vectors = Vectors.of(these, said) if isinstance(said, tuple) else Embeddings.of(these, said)
        better = max(wanted[label], math.ceil(settings.best * len(these)))
        candidates = np.count_nonzero(quality[these] >= quality[these[better - 1]])  # all that are as good as the last
        picked, _ = cover(vectors, _sample([ids[row] for row in listed]), int(candidates), wanted[label])
        nearest, score = nearest_of(vectors, np.sort(picked))
        choice.chosen[these[picked]] = True
        choice.nearest[these] = np.where(nearest >= 0, these[nearest], -1)
        choice.similarity[these] = score / LENGTH**2
    return choice


def seats(sizes: dict[str | None, int], count: int, labels: Literal["proportional", "equal"]) -> dict[str | None, int]:
    """How many rows of each label to choose: `count` in all, or all rows if there are fewer.

    `proportional` is by largest remainder, but at least one of each as far as there are enough; `equal` is the same of
    each, and what a label has too few rows for goes to those that have more. Ties go to the larger, then by name.

    Args:
        sizes: how many rows each label has, one or more.
    """
    left = min(count, sum(sizes.values()))
    names = sorted(sizes, key=lambda name: (-sizes[name], name is not None, name or ""))
    if labels == "equal":
        given: dict[str | None, int] = {}
        for at, name in enumerate(reversed(names)):
            given[name] = min(sizes[name], left // (len(names) - at))
            left -= given[name]
        return given
    total = sum(sizes.values())
    shares = {name: divmod(left * sizes[name], total) for name in names}
    given = {name: whole for name, (whole, _) in shares.items()}
    by_remainder = sorted(names, key=lambda name: -shares[name][1])
    for name in by_remainder[: left - sum(given.values())]:
        given[name] += 1
    most = [(-given[name], at) for at, name in enumerate(names)]
    heapq.heapify(most)
    for name in names if left >= len(names) else ():
        if not given[name]:
            seats_of, at = most[0]
            heapq.heapreplace(most, (seats_of + 1, at))
            given[names[at]] -= 1
            given[name] = 1
    return given


def _sample(ids: Sequence[str]) -> Ints:
    """Places of the rows that are to be covered, ascending."""
    if len(ids) <= SAMPLE:
        return np.arange(len(ids))
    hashes = np.array([xxhash.xxh3_64_intdigest(id_.encode()) for id_ in ids], np.uint64)
    return np.sort(np.argsort(hashes, kind="stable")[:SAMPLE])
