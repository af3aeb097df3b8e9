"""What of a version needs a person, most useful first: a line for each row and cause."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assay.desk import Desk
from curate.errors import AssayError
from curate.record import SPLITS, answer_text, prompt_text
from evaluation.card.manifest import ScorecardManifest

KINDS = {
    "conflict": "Conflicts",
    "doubted": "Doubted labels",
    "ungrounded": "Ungrounded values",
    "near": "Alike, other answer",
    "quarantined": "Quarantined",
    "wrong": "Wrong answers",
    "disagreement": "Disagreements",
    "stale": "Stale decisions",
}
"""What a row may need a person for, in the order in which they are shown."""
SHOWN = 160
"""Characters of a row that its line in the list shows."""
AGAIN = ("disagreement", "stale")
"""Those that stand for what was decided, and did not come to anything: it has to be decided once more."""
BESIDE = 8
"""Rows that are shown beside one, at most."""


class Case(NamedTuple):
    """A row that needs a person."""

    kind: str
    id: str
    beside: list[str]
    """Ids of rows to look at with it."""
    why: str
    """In a few words."""
    told: Any
    """What was seen: JSON-like."""


class Queue:
    """The cases of a version.

    Args:
        desk: knows the rows.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.special = [case for case in _cases(desk) if case.id in desk.place_of]
        rest = _quarantined(desk, {case.id for case in self.special if case.kind == "conflict"})
        places = pa.array([desk.place_of[case.id] for case in self.special], pa.int64())
        kinds = pa.array([case.kind for case in self.special], pa.string())
        why = pa.array([case.why for case in self.special], pa.string())
        rank = {kind: at for at, kind in enumerate(KINDS)}
        number = pa.array(range(len(self.special)), pa.int64())
        listed = pa.table({"kind": kinds, "place": places, "why": why, "case": number})
        self.table = pa.concat_tables([listed, rest]).combine_chunks()
        ranks = pc.index_in(self.table["kind"], value_set=pa.array([*rank], pa.string()))
        by = self.table.append_column("rank", ranks).append_column("number", pa.array(range(self.table.num_rows)))
        self.table = self.table.take(pc.sort_indices(by, [("rank", "ascending"), ("number", "ascending")]))
        self.ids = pc.coalesce(desk.rows["part_of"], desk.rows["id"]).take(self.table["place"])
        said = pc.binary_join_element_wise(prompt_text(desk.rows), answer_text(desk.rows), " → ")
        self.texts = said.take(self.table["place"])

    def found(self, kind: str, words: str, undecided: bool) -> pa.Array:
        """The numbers of cases, in order.

        Args:
            kind: one of KINDS; "" for all, and `KIND/REASON` for those of one reason.
            words: that stand in the row, in any case.
            undecided: only those whose row nothing has been decided of here.
        """
        wanted = pa.array([True] * self.table.num_rows)
        name, _, reason = kind.partition("/")
        if name:
            wanted = pc.and_(wanted, pc.equal(self.table["kind"], name))
        if reason:
            wanted = pc.and_(wanted, pc.equal(self.table["why"], reason))
        if undecided:
            wanted = pc.and_(wanted, pc.invert(self.decided()))
        if words:
            wanted = pc.and_(wanted, pc.match_substring(self.texts, words, ignore_case=True))
        return pc.indices_nonzero(pc.fill_null(wanted, False))

    def decided(self) -> pa.ChunkedArray:
        """Whether something has been decided here of each case's row, or of one that is shown beside it; of cases
        AGAIN, since the version was made."""
        again = pc.is_in(self.table["kind"], value_set=pa.array(AGAIN))
        return pc.if_else(again, self._of(self.desk.decided(since=True)), self._of(self.desk.decided()))

    def _of(self, ids: set[str]) -> pa.ChunkedArray:
        """Whether each case's row, or one that is shown beside it, is one of those."""
        if not ids:
            return pa.chunked_array([pa.array([False] * self.table.num_rows)])
        cases = pa.array(sorted({number for id_ in ids for number in self._cases_of.get(id_, ())}), pa.int64())
        own = pc.is_in(self.ids, value_set=pa.array(sorted(ids), pa.string()))
        return pc.or_(own, pc.is_in(self.table["case"], value_set=cases, skip_nulls=True))

    @cached_property
    def _cases_of(self) -> dict[str, list[int]]:
        """The numbers of the cases that each row is shown in, itself or a part of it, but for the quarantined."""
        found: dict[str, list[int]] = {}
        for number, case in enumerate(self.special):
            for id_ in (case.id, *case.beside):
                found.setdefault(self.desk.whole_of.get(id_, id_), []).append(number)
        return found

    def counts(self) -> list[dict[str, Any]]:
        """Of each kind, and of each reason of the quarantined, how many cases there are and how many are left."""
        by = self.table.append_column("left", pc.cast(pc.invert(self.decided()), pa.int64()))
        found = by.group_by(["kind", "why"]).aggregate([("left", "count"), ("left", "sum")]).to_pylist()
        told = []
        for kind, title in KINDS.items():
            mine = [each for each in found if each["kind"] == kind]
            parts = sorted(mine, key=lambda each: (-each["left_count"], each["why"])) if kind == "quarantined" else []
            if mine:
                told.append(_count(kind, title, mine))
            told += [_count(f"{kind}/{each['why']}", f"{title}: {each['why']}", [each]) for each in parts]
        return told

    def listed(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """The lines of cases."""
        taken = self.table.take(pa.array(numbers, pa.int64())).to_pylist()
        texts = pc.utf8_slice_codeunits(self.texts.take(pa.array(numbers, pa.int64())), 0, SHOWN).to_pylist()
        done = self.decided().take(pa.array(numbers, pa.int64())).to_pylist()
        return [
            {
                "number": number,
                "kind": each["kind"],
                "why": each["why"],
                "text": " ".join(text.split()),
                "decided": mark,
            }
            for number, each, text, mark in zip(numbers, taken, texts, done, strict=True)
        ]

    def case(self, number: int) -> Case:
        """A case, whole."""
        line = self.table.slice(number, 1).to_pylist()[0]
        if line["case"] is not None:
            case: Case = self.special[line["case"]]
            return case
        row = self.desk.rows.slice(line["place"], 1).to_pylist()[0]
        told = orjson.loads(row["evidence"] or "null")
        named = [told.get(key) for key in ("kept", "chosen")] if isinstance(told, dict) else []
        return Case("quarantined", row["id"], [id_ for id_ in named if id_ in self.desk.place_of], line["why"], told)


def _count(kind: str, title: str, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    whole, left = (sum(each[name] for each in found) for name in ("left_count", "left_sum"))
    return {"kind": kind, "title": title, "all": whole, "left": left}


def _cases(desk: Desk) -> Iterator[Case]:
    """All but the quarantined."""
    yield from _conflicts(desk)
    yield from _doubted(desk)
    yield from _ungrounded(desk)
    yield from _near(desk)
    yield from _wrong(desk)
    yield from _told(desk)


def _read(path: Path, columns: list[str]) -> list[dict[str, Any]]:
    return pq.read_table(path, columns=columns).to_pylist() if path.is_file() else []


def _conflicts(desk: Desk) -> Iterator[Case]:
    groups: dict[int, dict[str, None]] = {}
    for row in _read(desk.folder / "conflicts.parquet", ["conflict", "id"]):
        groups.setdefault(row["conflict"], {})[row["id"]] = None
    for ids in groups.values():
        first, *others = [id_ for id_ in ids if id_ in desk.place_of] or [""]
        yield Case("conflict", first, others[:BESIDE], "equal prompts, different answers", None)


def _doubted(desk: Desk) -> Iterator[Case]:
    for row in _read(desk.folder / "doubted.parquet", ["id", "evidence", "given", "likelier"]):
        told = orjson.loads(row["evidence"])
        near = [*told.get("nearest_likelier", [])[:1], *told.get("nearest_given", [])[:1]]
        others = [each["id"] for each in near if each["id"] in desk.place_of]
        yield Case("doubted", row["id"], others, f"{row['given']}, more likely {row['likelier']}", told)


def _ungrounded(desk: Desk) -> Iterator[Case]:
    found: dict[str, list[dict[str, Any]]] = {}
    names = ["id", "field", "value", "how", "became", "nearest", "similarity", "turn", "begin", "end"]
    for row in _read(desk.folder / "ungrounded.parquet", names):
        found.setdefault(row.pop("id"), []).append(row)
    for id_, values in found.items():
        fields = ", ".join(dict.fromkeys(each["field"] for each in values))
        yield Case("ungrounded", id_, [], f"not in the prompt: {fields}", values)


def _near(desk: Desk) -> Iterator[Case]:
    """Published rows of one cluster with different answers."""
    names = ["id", "cluster", "target"]
    rows = pa.concat_tables([pq.read_table(desk.folder / f"{name}.parquet", columns=names) for name in SPLITS])
    sizes = rows.group_by("cluster").aggregate([("target", "count_distinct")])
    several = sizes.filter(pc.greater(sizes["target_count_distinct"], 1))["cluster"]
    groups: dict[str, list[str]] = {}
    for row in rows.filter(pc.is_in(rows["cluster"], value_set=several.combine_chunks())).to_pylist():
        groups.setdefault(row["cluster"], []).append(row["id"])
    for _, ids in sorted(groups.items()):
        yield Case("near", ids[0], ids[1 : BESIDE + 1], f"{len(ids)} rows alike, with different answers", None)


def _wrong(desk: Desk) -> Iterator[Case]:
    """Wrong answers of the last scorecard: the tuned system's, else those of the last one."""
    try:
        folder = desk.store.resolve("scorecards", desk.manifest.name)
        ScorecardManifest.read(folder)
    except AssayError:
        return
    names = ["id", "system", "output", "expected", "whole_match", "exact_match"]
    rows = _read(folder / "predictions.parquet", names)
    systems = list(dict.fromkeys(row["system"] for row in rows))
    chosen = "tuned" if "tuned" in systems else systems[-1] if systems else None
    for row in rows:
        right = row["exact_match"] if row["whole_match"] is None else row["whole_match"]
        if row["system"] == chosen and not right:
            told = {"system": chosen, "answer": row["output"], "expected": row["expected"]}
            yield Case("wrong", row["id"], [], f"{chosen} answers otherwise", told)


def _told(desk: Desk) -> Iterator[Case]:
    """Decisions that were not applied."""
    rows = _read(desk.folder / "decisions.parquet", ["id", "action", "value", "reason", "who", "outcome"])
    for row in rows:
        if row["outcome"] == "stale":
            yield Case("stale", row["id"], [], f"{row['who']}: {row['action']}", [row])
    apart: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["outcome"] == "disagreement":
            apart.setdefault(row["id"], []).append(row)
    for id_, said in apart.items():
        yield Case("disagreement", id_, [], ", ".join(f"{each['who']}: {each['action']}" for each in said), said)


def _quarantined(desk: Desk, but: Iterable[str]) -> pa.Table:
    """Those of which there are many: quarantined rows that may be decided on, by reason.

    Nothing can be decided of a row that is another one once more; of several of one id only the first is listed, for
    an id is all that a decision names.
    """
    rows = desk.rows
    first = pa.array([desk.place_of[id_] for id_ in pc.unique(rows["id"]).to_pylist() if id_ is not None], pa.int64())
    wanted = pc.is_in(pa.array(range(rows.num_rows), pa.int64()), value_set=first)
    wanted = pc.and_(wanted, pc.invert(pc.is_in(rows["id"], value_set=pa.array([*but], pa.string()))))
    reason = pc.fill_null(rows["reason"], "conflict")
    wanted = pc.and_(wanted, pc.invert(pc.is_in(reason, value_set=pa.array(["conflict", "exact_duplicate"]))))
    places = pc.indices_nonzero(wanted)
    why = rows["reason"].take(places).combine_chunks()
    kind = pa.array(["quarantined"] * len(places), pa.string())
    columns = [kind, pc.cast(places, pa.int64()), why, pa.nulls(len(places), pa.int64())]
    return pa.table(columns, names=["kind", "place", "why", "case"])
