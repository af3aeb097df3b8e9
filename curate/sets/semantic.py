"""Semantic near-duplicates: rows that say the same in other words, by the cosine of their embeddings.

Off unless the recipe names a model: a local folder of model2vec or of sentence-transformers' static embeddings (their
transformers need torch, which this package does without). Every pair of rows is compared, by exact products of their
vectors in blocks; no index, nothing approximate. A row is removed only if a kept row of higher priority has a cosine of
at least the threshold and (by default) the same answer; all pairs at the threshold are linked into clusters, whatever
their answers. Time grows with the square of the rows, memory does not.

Reason: `semantic_duplicate`; the evidence is the kept row and the cosine.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from curate.cache import seen_by_all
from curate.errors import AssayError
from curate.hashing import file_digest, files_digest
from curate.sets.duplicates import compared_by
from curate.sets.keys import Compared, compared_text, fixed, identities, priority
from curate.sets.stage import Seen, SetStage, Verdict
from curate.stage import ANYWHERE, BESIDE, Context, Stage, evidence_json
from curate.text.tokenise import panics_told

Vectors = npt.NDArray[np.float32]

ROWS, OTHERS = 1024, 4096
"""Rows compared at a time, and with how many others: 16 MiB of products."""
PAIRS = 8192
"""Pairs whose cosine is computed exactly at a time."""
REMEDY = "Name a folder of model2vec, or of sentence-transformers' static embeddings, in `model`."
DIGITS = 6
"""Digits after the point to which a cosine, computed in double precision, is rounded before it is held against the
threshold: the order in which a processor adds decides nothing."""


class Semantic(Stage):
    """Without a model no row is compared by what it means."""

    name: ClassVar[str] = "semantic"
    reasons: ClassVar[dict[str, str]] = {"semantic_duplicate": "a kept row means the same and has the same answer"}

    model: Annotated[str | None, BESIDE, ANYWHERE] = Field(
        None, description="Folder of a model: model2vec, or static embeddings."
    )
    threshold: float = Field(0.95, gt=0, le=1, description="Cosine from which two rows are near-duplicates.")
    same_target: bool = Field(True, description="Remove a near-duplicate only if its answer is the same.")

    @property
    def runs(self) -> bool:
        return self.model is not None

    def prepare(self, context: Context) -> Stage:
        if self.model is None:
            return self
        return Comparing(
            threshold=self.threshold,
            same_target=self.same_target,
            model=self.model,
            sha256=model_digest(Path(self.model)),
            folder=seen_by_all(Path(self.model), context.cache),
            compared=compared_by(context),
        )

    def prepared_from(self) -> dict[str, Any]:
        return {"embedding_sha256": {}}


class Comparing(Semantic, SetStage):
    """The stage `semantic` with its model. Sets the column `cluster`."""

    model: str = Field(exclude=True)
    sha256: str
    """Hash of the model's folder."""
    folder: Path = Field(exclude=True)
    """Where whoever makes keys finds it."""
    compared: Compared
    """Which text is embedded."""

    def prepared_from(self) -> dict[str, Any]:
        return {"embedding_sha256": {self.name: self.sha256}}

    def keys_key(self) -> Any:
        return [self.name, self.version, self.sha256, self.compared.text_key()]

    def keys_of(self, table: pa.Table) -> pa.Table:
        texts = compared_text(table, self.compared)
        found = identities(table, texts).append_column("cluster", table["cluster"])
        return found.append_column("vector", vector_column(embed(texts.to_pylist(), self.folder)))

    def judge(self, keys: pa.Table, seen: Seen) -> Verdict:
        return Verdict(judge(keys, keys["cluster"].to_pylist(), fixed(keys["vector"], np.float32), self))


def vector_column(vectors: "Vectors") -> pa.Array:
    """Vectors of shape (rows, dimensions) as a column of bytes, for `keys.fixed`."""
    width = vectors.shape[1] * vectors.itemsize
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(vectors), [None, pa.py_buffer(vectors)])


class Removal(NamedTuple):
    """A row that goes in favour of another one."""

    row: int
    kept: int
    cosine: float


def embed(texts: Sequence[str], folder: Path) -> Vectors:
    """The texts' embeddings, each of length 1 (0 where the model knows no word of it): shape (texts, dimensions).

    Texts are read to their end, however long they are.

    Raises:
        AssayError: the folder holds no such model.
    """
    try:
        from model2vec import StaticModel
    except ImportError:
        raise AssayError(
            "`semantic.model` needs the package model2vec.", remedy="pip install 'assay-curation[semantic]'"
        ) from None
    try:
        model = StaticModel.from_pretrained(folder)
    except Exception as error:  # of its own, or of the libraries by which it reads its files
        raise AssayError(f"{folder}: not a model that model2vec opens: {error}", remedy=REMEDY) from None
    if not texts:
        return np.empty((0, model.dim), np.float32)
    with panics_told(f"{folder}: the model's tokenizer"):
        encoded = model.encode(list(texts), max_length=None, use_multiprocessing=False)
    vectors: npt.NDArray[np.float64] = encoded.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def model_digest(folder: Path) -> str:
    """Content hash of a model's folder.

    Raises:
        AssayError: it is not there; nothing is ever fetched.
    """
    if not folder.is_dir():
        raise AssayError(f"{folder}: no such folder.", remedy=REMEDY)
    return files_digest(
        (path.relative_to(folder).as_posix(), file_digest(path)) for path in folder.rglob("*") if path.is_file()
    )


def judge(keys: pa.Table, clusters: Sequence[str], vectors: Vectors, settings: Semantic) -> pa.Table:
    """Judge all rows at once, in the order of priority of the stage `duplicates`.

    Args:
        keys: see `keys.identities`.
        clusters: the name of each row's cluster.
        vectors: see `embed`.
        settings: what is a duplicate.

    Returns:
        Columns reason, evidence (JSON) and cluster, in the order of the rows; the clusters joined by the links.
    """
    from curate.sets.components import join, roots

    order = priority(keys)
    answers = fixed(keys["answer"], np.uint64)[order, 0] if settings.same_target else np.zeros(len(order))
    removals, links = compare(vectors[order], answers, settings.threshold)
    reason: list[str | None] = [None] * len(order)
    evidence: list[str | None] = [None] * len(order)
    names = np.unique(np.array(clusters, object))
    number = np.searchsorted(names, np.array(clusters, object))
    parents = np.arange(len(names))
    pairs = np.array(links, np.int64).reshape(-1, 2)
    join(parents, number[order[pairs[:, 0]]], number[order[pairs[:, 1]]])
    cluster = names[roots(parents)[number]].tolist()  # the least name: they are sorted
    for removal in removals:
        row = int(order[removal.row])
        kept = keys.slice(int(order[removal.kept]), 1).select(["id", "file", "row"]).to_pylist()[0]
        seen = {"kept": kept["id"], "file": kept["file"], "row": kept["row"], "cosine": removal.cosine}
        reason[row], evidence[row] = "semantic_duplicate", evidence_json(seen | {"cluster": cluster[row]})
    columns = {"reason": reason, "evidence": evidence, "cluster": cluster}
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def compare(
    vectors: Vectors, answers: npt.NDArray[Any], threshold: float
) -> tuple[list[Removal], list[tuple[int, int]]]:
    """Compare every row with every other.

    Args:
        vectors: in order of priority, the highest first, each of length 1 or 0: shape (rows, dimensions).
        answers: one value for each row; rows with different ones never remove each other.
        threshold: cosine, in (0, 1].

    Returns:
        The removals, in the order of the rows, each in favour of the first kept row that is near enough. And pairs of
        rows at the threshold, whose connected components are those of all such pairs.
    """
    from curate.sets.components import Components

    _, answers = np.unique(answers, return_inverse=True)
    # What single precision may get wrong (Higham, Accuracy and Stability of Numerical Algorithms, 3.1), and rounding.
    least = threshold - vectors.shape[1] * float(np.finfo(np.float32).eps) - 0.5 * 10.0**-DIGITS
    kept = np.ones(len(vectors), bool)
    components = Components(len(vectors))
    removals: dict[int, Removal] = {}
    links: list[tuple[int, int]] = []

    for begin in range(0, len(vectors), ROWS):
        end = min(begin + ROWS, len(vectors))
        for first, last in [*((at, min(at + OTHERS, begin)) for at in range(0, begin, OTHERS)), (begin, end)]:
            near = vectors[begin:end] @ vectors[first:last].T >= least
            if first == begin:
                near = np.tril(near, -1)
            if not near.any():
                continue
            these, those = slice(begin, end), slice(first, last)

            rival = kept[these, None] & kept[those] & (answers[these, None] == answers[those])
            rows, others = np.nonzero(near & rival)
            for row, rivals in _grouped(rows + begin, others + first):
                for other in rivals[kept[rivals]].tolist():  # one may have gone within this very block
                    (cosine,) = _cosines(vectors, np.array([row]), np.array([other]))
                    if cosine >= threshold:
                        kept[row] = False
                        removals[row] = Removal(row, other, float(cosine))
                        break

            roots = components.roots()
            rows, others = np.nonzero(near & (roots[these, None] != roots[those]))
            rows, others = rows + begin, others + first
            while len(rows):
                # Of many pairs, one of each row: it is likely to join the row with all the others as well.
                tried = np.append(True, np.diff(rows) > 0) | (len(rows) <= PAIRS)
                near_enough = _cosines(vectors, rows[tried], others[tried]) >= threshold
                for row, other in zip(rows[tried][near_enough], others[tried][near_enough], strict=True):
                    if components.find(row) != components.find(other):
                        components.union(row, other)
                        links.append((int(other), int(row)))
                roots = components.roots()
                left = ~tried & (roots[rows] != roots[others])
                rows, others = rows[left], others[left]
    return [removals[row] for row in sorted(removals)], links


def _cosines(vectors: Vectors, rows: npt.NDArray[np.int64], others: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The cosine of each pair, in double precision, rounded."""
    found = np.empty(len(rows), np.float64)
    for at in range(0, len(rows), PAIRS):
        part = slice(at, at + PAIRS)
        products = vectors[rows[part]].astype(np.float64) * vectors[others[part]]
        found[part] = products.sum(axis=1)
    return np.round(found, DIGITS)


def _grouped(rows: npt.NDArray[np.int64], others: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Each row of a sorted list with its others."""
    begins = np.flatnonzero(np.append(True, np.diff(rows) > 0)[: len(rows)])
    for begin, end in pairwise([*begins.tolist(), len(rows)]):
        yield int(rows[begin]), others[begin:end]
