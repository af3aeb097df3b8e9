"""Doubt: rows whose label is most likely another one, by confident learning over out-of-sample probabilities.

Off unless the recipe says what the label is (`of`). For each row a classifier that has learned from other rows alone,
none of them a near-duplicate or of its group (`curate.sets.out_of_sample`), gives the probability of each label. How
many labels are wrong is estimated by confident learning (Northcutt, Jiang and Chuang, 2021) as cleanlab does it. So
many rows, those whose own label is the least probable, are doubted where another label is more probable.

A label in fewer components of rows than there are folds cannot be judged: its rows are left as they are, and told. Of
so many labels that the probabilities of all rows would not fit, the rarest are left likewise (see CELLS).

Every doubted row is published in doubted.parquet. Reason, with `policy: quarantine`: `doubted_label`. The evidence is
the label, the likelier one, the probability of both, their difference (`margin`), and the rows of either label that
are most like the doubted one, with the cosine.
"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrow import whole
from curate.cache import seen_by_all
from curate.errors import AssayError
from curate.record import SCHEMA
from curate.sets.duplicates import compared_by
from curate.sets.keys import Compared, compared_text, fixed
from curate.sets.rows import Rows, in_order
from curate.sets.semantic import embed, model_digest, vector_column
from curate.sets.split import tied
from curate.sets.stage import Seen, SetStage, Verdict
from curate.stage import ANYWHERE, BESIDE, Context, Stage, evidence_json

if TYPE_CHECKING:
    from curate.sets.out_of_sample import Ints, Probabilities

CELLS = 1 << 27
"""Probabilities at most, rows times labels: 512 MiB."""
NEAREST = 3
"""Rows of either label that the evidence names."""
DIGITS = 6
"""Digits after the point of what the evidence tells."""
NAMED = 20
"""Labels that could not be judged, and pairs of labels, that the manifest names: the most frequent ones."""


class Doubt(Stage):
    """Without a label that it says is to be doubted, none is."""

    name: ClassVar[str] = "doubt"
    reasons: ClassVar[dict[str, str]] = {"doubted_label": "the label is most likely another one (`doubt.of`)"}

    of: str | None = Field(
        None,
        pattern=r"^(label|target(\.[^.]+)+)$",
        description="What is doubted: `label`, or a key of the target whose values are classes (`target.kind`).",
    )
    policy: Literal["flag", "quarantine"] = Field(
        "flag", description="What becomes of a doubted row; either way it is in doubted.parquet."
    )
    folds: int = Field(5, ge=2, le=20, description="Parts the rows are dealt to, each judged by what the others teach.")
    model: Annotated[str | None, BESIDE, ANYWHERE] = Field(
        None, description="Folder of a model, as `semantic` takes it: the classifier reads embeddings, not words."
    )

    @property
    def runs(self) -> bool:
        return self.of is not None

    def prepare(self, context: Context) -> Stage:
        if self.of is None:
            return self
        try:
            import cleanlab  # noqa: F401
            import sklearn  # noqa: F401
        except ImportError:
            raise AssayError(
                "`doubt` needs the packages cleanlab and scikit-learn.",
                remedy="pip install 'assay-curation[doubt]'",
            ) from None
        sha256 = None if self.model is None else model_digest(Path(self.model))
        folder = None if self.model is None else seen_by_all(Path(self.model), context.cache)
        boilerplate = compared_by(context).boilerplate
        return Doubting(
            **self.model_dump(),
            sha256=sha256,
            folder=folder,
            compared=Compared(scope="prompt", boilerplate=boilerplate),
        )

    def prepared_from(self) -> dict[str, Any]:
        return {"embedding_sha256": {}}


class Doubting(Doubt, SetStage):
    """The stage `doubt` with what labels are told by."""

    libraries: ClassVar[tuple[str, ...]] = ("cleanlab", "scikit-learn")

    of: str
    model: str | None = Field(exclude=True)
    sha256: str | None
    """Hash of the model's folder, where there is one."""
    folder: Path | None = Field(None, exclude=True)
    """Where whoever makes keys finds it."""
    compared: Compared
    """Which text is read: what was said, without the answer."""

    def prepared_from(self) -> dict[str, Any]:
        return {"embedding_sha256": {} if self.sha256 is None else {self.name: self.sha256}}

    def keys_key(self) -> Any:
        return [self.name, self.version, self.of, self.sha256, self.compared.text_key()]

    def keys_of(self, table: pa.Table) -> pa.Table:
        source = whole(table["source"])
        texts = compared_text(table, self.compared)
        found = table.select(["id", "group", "cluster"])
        for name in ("file", "row"):
            found = found.append_column(name, pc.struct_field(source, name))
        found = found.append_column("given", labels_of(table, self.of))
        if self.folder is not None:
            return found.append_column("vector", vector_column(embed(texts.to_pylist(), self.folder)))
        from curate.sets.out_of_sample import words_and_pairs

        offsets, hashes = words_and_pairs(texts)
        return found.append_column("terms", pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(hashes)))

    def judge(self, keys: pa.Table, seen: Seen) -> Verdict:
        found = doubted(keys, self)
        evidence = pa.array(map(evidence_json, found.evidence), pa.string())
        place = np.full(keys.num_rows, -1)
        if self.policy == "quarantine":
            place[found.rows] = np.arange(len(found.rows))
        said = evidence.take(pa.array(place, mask=place < 0))
        reason = pc.if_else(pc.is_valid(said), "doubted_label", pa.scalar(None, pa.string()))
        return Verdict(
            pa.table({"reason": reason, "evidence": said}),
            published={"doubted": table_of(found, seen.rows, evidence)},
            manifest={"doubt": {"of": self.of, **found.told}},
        )


class Found(NamedTuple):
    """What comes of doubting the labels of all rows."""

    rows: "Ints"
    """The numbers of those that are doubted, the one whose label is the least probable first."""
    evidence: list[dict[str, Any]]
    """Of each of them."""
    told: dict[str, Any]
    """What the manifest says, see `curate.manifest.DoubtInfo`."""


def labels_of(table: pa.Table, of: str) -> pa.Array:
    """The label of each row as text, null where it has none: a string array.

    Args:
        of: see `Doubt.of`. Of a target's values, what is no text is written as JSON.

    Raises:
        AssayError: a value is a list or an object, which is no class; names its file and row.
    """
    if of == "label":
        return whole(table["label"])
    path = of.split(".")[1:]
    found: list[str | None] = []
    for row, target in enumerate(table["target"].to_pylist()):
        value = None if target is None else orjson.loads(target)
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, dict | list):
            source = table["source"][row].as_py()
            kind = type(value).__name__
            raise AssayError(
                f"doubt.of: {of} of {source['file']}, row {source['row']}, is a {kind}, which is no class.",
                remedy="Name a key of the target whose values are texts, numbers, or true and false.",
            )
        found.append(value if value is None or isinstance(value, str) else orjson.dumps(value).decode())
    return pa.array(found, pa.string())


def doubted(keys: pa.Table, settings: Doubting) -> Found:
    """Find the rows whose label is doubted; the result does not depend on their order.

    Args:
        keys: see `Doubting.keys_of`.
        settings: how many folds, what the label is called, and whether the rows have embeddings.

    Raises:
        AssayError: there are rows, and none has a label.
    """
    from curate.sets.out_of_sample import probabilities, terms

    order = in_order(keys.select(["id", "file", "row"]))
    keys = keys.take(pa.array(order))
    names, label = _numbered(keys["given"])
    if keys.num_rows and not len(names):
        raise AssayError(
            f"doubt.of: no row has {settings.of}.",
            remedy="Let `record` give it, or name a key of the target that rows have.",
        )
    judged, fold = can_be_judged(label, tied(keys["cluster"], keys["group"]), settings.folds)
    known, labels = np.unique(label[judged], return_inverse=True)
    counts = np.bincount(label[label >= 0], minlength=len(names))
    counts[known] = 0
    left = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].tolist()
    told: dict[str, Any] = {
        "rows": len(judged),
        "labels": len(known),
        "doubted": 0,
        "pairs": [],
        "left": {
            "labels": len(left),
            "rows": int(counts.sum()),
            "named": {str(names[each]): int(counts[each]) for each in left[:NAMED]},
        },
    }
    if len(known) < 2:
        return Found(np.zeros(0, np.int64), [], told)
    keys = keys.take(pa.array(judged))
    if settings.sha256 is not None:
        vectors = fixed(keys["vector"], np.float32)
    else:
        lists = whole(keys["terms"])
        vectors = terms(lists.offsets.to_numpy(), lists.flatten().to_numpy(), len(known))
    probable = probabilities(vectors, labels, fold)
    rows = issues(labels, probable)
    evidence = _evidence(rows, labels, probable, vectors, names[known], keys)
    pairs = Counter((each["given"], each["likelier"]) for each in evidence)
    often = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:NAMED]
    told |= {"doubted": len(rows), "pairs": [[*pair, count] for pair, count in often]}
    return Found(order[judged[rows]], evidence, told)


def _numbered(given: pa.ChunkedArray) -> tuple[npt.NDArray[np.object_], "Ints"]:
    """The labels there are, sorted, and the number of each row's, -1 where it has none."""
    codes = whole(given).dictionary_encode()
    names = np.array(codes.dictionary.to_pylist(), object)
    order = np.argsort(names)
    number = np.append(np.argsort(order), -1)
    return names[order], number[pc.fill_null(codes.indices, -1).to_numpy().astype(np.int64)]


def can_be_judged(label: "Ints", ties: "Ints", folds: int) -> tuple["Ints", "Ints"]:
    """The numbers of the rows whose labels can be judged, ascending, and their folds (`out_of_sample.deal`).

    Args:
        label: of each row, -1 where it has none.
        ties: what each row is tied into, see `split.tied`.
        folds: how many; a label is to be in so many ties, and then in two folds.
    """
    from curate.sets.out_of_sample import deal

    labelled = np.flatnonzero(label >= 0)
    sizes = np.bincount(label[labelled])
    of, _ = np.unique(np.stack([label[labelled], ties[labelled]]), axis=1)
    enough = np.flatnonzero(np.bincount(of, minlength=len(sizes)) >= folds)
    enough = enough[np.argsort(-sizes[enough], kind="stable")]
    fit = np.cumsum(sizes[enough]) * np.arange(1, len(enough) + 1) <= CELLS
    rows = labelled[np.isin(label[labelled], enough[fit])]
    fold = deal(label[rows], ties[rows], folds)
    of, _ = np.unique(np.stack([label[rows], fold]), axis=1)
    taught = np.isin(label[rows], np.flatnonzero(np.bincount(of, minlength=1) >= 2))
    return rows[taught], fold[taught]


def issues(labels: "Ints", probable: "Probabilities") -> "Ints":
    """The rows whose label is doubted, the one whose label is the least probable first, of equals the first.

    The same as cleanlab's `find_label_issues(labels, probable, filter_by="low_self_confidence")`, without the rows of
    which no other label is more probable; of equally probable ones where it draws the line, the first are in it.

    Args:
        labels: of each row, from 0.
        probable: out-of-sample, of each label: (rows, labels).
    """
    from cleanlab.count import num_label_issues

    own = probable[np.arange(len(labels)), labels]
    least = np.argsort(own, kind="stable")[: int(num_label_issues(labels, probable))]
    doubts: Ints = least[probable[least].max(axis=1) > own[least]]
    return doubts


def _evidence(
    rows: "Ints",
    labels: "Ints",
    probable: "Probabilities",
    vectors: Any,
    names: npt.NDArray[np.object_],
    keys: pa.Table,
) -> list[dict[str, Any]]:
    """What was seen of each doubted row: see the module.

    Args:
        rows: numbers of the doubted rows among the judged.
        labels, probable, vectors, keys: of the judged rows, see `issues` and `Doubting.keys_of`.
        names: of the labels.
    """
    from curate.sets.out_of_sample import nearest

    likelier = probable[rows].argmax(axis=1)
    places = keys.select(["id", "file", "row"])
    found: list[dict[str, Any]] = []
    for row, own, other in zip(rows.tolist(), labels[rows].tolist(), likelier.tolist(), strict=True):
        shares = [round(float(probable[row, each]), DIGITS) for each in (own, other)]
        found.append(
            {"given": names[own], "likelier": names[other]}
            | {"given_probability": shares[0], "likelier_probability": shares[1]}
            | {"margin": round(shares[1] - shares[0], DIGITS)}
        )
    for side, of_row in (("given", labels[rows]), ("likelier", likelier)):
        for label in np.unique(of_row).tolist():
            asked = np.flatnonzero(of_row == label)
            alike = nearest(vectors, rows[asked], np.flatnonzero(labels == label), NEAREST)
            for at, others in zip(asked.tolist(), alike, strict=True):
                numbers = pa.array([number for number, _ in others], pa.int64())
                told = places.take(numbers).to_pylist()
                cosines = [{"cosine": cosine} for _, cosine in others]
                found[at][f"nearest_{side}"] = [a | b for a, b in zip(told, cosines, strict=True)]
    return found


def table_of(found: Found, rows: Rows, evidence: pa.Array) -> pa.Table:
    """The doubted rows as they are, the most doubted first, with what is said of them: what is published.

    Columns: those of a record; `what` (`doubted_label`), `evidence` (JSON), `given`, `likelier`, `given_probability`,
    `likelier_probability`, `margin`.
    """
    records = rows.select(SCHEMA.names)
    whole_rows = pa.concat_tables([*records.pieces(found.rows)] or [records.take(found.rows)])
    told = {"what": pa.repeat("doubted_label", len(evidence)), "evidence": evidence}
    for name in ("given", "likelier"):
        told[name] = pa.array([each[name] for each in found.evidence], pa.string())
    for name in ("given_probability", "likelier_probability", "margin"):
        told[name] = pa.array([each[name] for each in found.evidence], pa.float64())
    for name, column in told.items():
        whole_rows = whole_rows.append_column(name, column)
    return whole_rows
