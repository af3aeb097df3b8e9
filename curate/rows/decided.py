"""Decisions of people, applied: each row that somebody has decided on is as they say, and told.

`drop` takes a row out; `target` and `label` put others in the place of the row's, which the stages after this one then
judge as though they had been read; `keep` has the row stay where a stage of opinion would take it out
(`curate.stage.OPINIONS`): what is wrong in form, and what must not be shown, goes all the same. `same` and `different`
are for the stage `duplicates`. What came of every line is published in decisions.parquet.

Reason: `decided`; the evidence is who has decided it, and why.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict, Field, field_validator, model_validator

from curate.hashing import exact_json
from curate.record import SCHEMA
from curate.rows.decisions import PAIR, Decision, Line, Resolved, Verdict, file_digest, lines_of, read, resolve
from curate.stage import BESIDE, DECIDED, KEEP, Context, Outcome, Reject, RowStage, Stage, Told, divide
from curate.text import strict_json

TABLE = "decisions"
PAIRS_TOLD = "pairs"
"""The table beside the verdict of the stage `duplicates` that tells what came of pairs: ids, the lesser first, and an
outcome of `curate.rows.decisions.Outcome`."""
LISTED = pa.schema(
    {
        "file": pa.string(),
        "line": pa.int64(),
        "id": pa.string(),
        "action": pa.string(),
        "value": pa.string(),
        "reason": pa.string(),
        "who": pa.string(),
        "outcome": pa.string(),
        "because": pa.string(),
    }
)
"""Of decisions.parquet, a row for each line: where it stands; what it says (`value` as JSON text, null where there is
none); what came of it, see `curate.rows.decisions.Outcome`; and why, such as which verdicts a `keep` has overruled,
that the row was `divided`, or that what was replaced was `stale`."""


OWN = "decisions/decided"


def _or_a_name(schema: dict[str, Any]) -> None:
    """The JSON Schema of the section, which may be written as a file's name alone, or a list of them."""
    whole = dict(schema)
    schema.clear()
    schema |= {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "null"}, whole]}


class Decisions(Stage):
    """Written `decisions: decisions.jsonl`, or as a list of files."""

    name: ClassVar[str] = "decisions"
    reasons: ClassVar[dict[str, str]] = {"decided": "somebody has decided that the row is to go"}

    files: Annotated[list[str], BESIDE] = Field(
        [], description="Files beside the recipe with what people have decided, one for each person or for all."
    )

    model_config = ConfigDict(json_schema_extra=_or_a_name)

    @model_validator(mode="before")
    @classmethod
    def _names_alone(cls, value: Any) -> Any:
        if value is None:
            return {}
        return {"files": [value] if isinstance(value, str) else value} if isinstance(value, str | list) else value

    @field_validator("files")
    @classmethod
    def _differ(cls, files: list[str]) -> list[str]:
        if len({Path(name).name for name in files}) < len(files):
            raise ValueError("two files of one name")
        return files

    @property
    def runs(self) -> bool:
        return bool(self.files)

    def prepare(self, context: Context) -> Stage:
        if not self.files:
            return self
        lines = lines_of(map(Path, self.files))
        wanted = {line.decision.id for line in lines} | {str(line.decision.value) for line in lines}
        labels: dict[str, set[str | None]] = {}
        for rows in context.rows(["id", "label"]):
            mine = rows.filter(pc.is_in(rows["id"], value_set=pa.array(sorted(wanted), pa.string())))
            for row in mine.to_pylist():
                labels.setdefault(row["id"], set()).add(row["label"])
        resolved = resolve(lines, labels)
        told = {Path(name).name: file_digest(read(Path(name))) for name in self.files}
        return Deciding(files=self.files, told=told, rows=resolved.rows, resolved=resolved)


class Deciding(Decisions, RowStage):
    """The stage `decisions` with what comes of all lines."""

    files: list[str] = Field(exclude=True)
    told: dict[str, str] = Field(exclude=True)
    """Hash of each file's content."""
    rows: dict[str, Verdict]
    """By id; those of a shard alone where it judges one."""
    resolved: Resolved = Field(exclude=True)

    def prepared_from(self) -> dict[str, Any]:
        return {"decisions": self.told}

    @property
    def pairs(self) -> list[tuple[str, str, str]]:
        """Pairs of rows that are the same, or are not: ids, and which of both."""
        return [(one, other, action) for one, other, action in self.resolved.pairs]

    def narrowed(self, ids: Callable[[], Collection[str]]) -> "Deciding":
        mine = {id_: self.rows[id_] for id_ in ids() if id_ in self.rows}
        return self.model_copy(update={"rows": mine, "resolved": Resolved([], []), "told": {}})

    def run(self, table: pa.Table) -> Outcome:
        return decide(table, self.rows)

    def told_last(
        self,
        kept: Iterable[pa.Table],
        rejected: Iterable[pa.Table],
        beside: Mapping[str, Callable[[str], pa.Table]],
    ) -> Told:
        pairs = beside["duplicates"](PAIRS_TOLD).to_pylist() if self.pairs else []
        came = {(pair["one"], pair["other"]): pair["outcome"] for pair in pairs}
        listed = _listed(self.resolved, _Fates.of(self.resolved.lines, kept, rejected), came)
        counts = dict(sorted(Counter(listed["outcome"].to_pylist()).items()))
        agreed = [each._asdict() | {"who": list(each.who)} for each in self.resolved.agreements]
        return Told({TABLE: listed}, {"decided": {"outcomes": counts, "agreement": agreed}})


def decide(table: pa.Table, rows: dict[str, Verdict]) -> Outcome:
    """Do with rows what stands of them.

    Args:
        table: records as they were read.
        rows: what stands, by id.
    """
    ids = table["id"].to_pylist()
    told: list[str | None] = [None] * len(ids)
    columns = {name: table[name].to_pylist() for name in ("target", "label")} if rows else {}
    counters: Counter[str] = Counter()
    rejects = []
    for row, id_ in enumerate(ids):
        if (verdict := rows.get(id_)) is None:
            continue
        words = []
        if verdict.drop:
            why = [{"who": who, "reason": reason} for who, reason in verdict.drop]
            rejects.append(Reject(row, "decided", {"decisions": why}))
            continue
        for name, new in (("target", verdict.target), ("label", verdict.label and verdict.label[0])):
            if getattr(verdict, name) is not None and not _same(name, columns[name][row], new):
                columns[name][row] = new
                counters[name] += 1
                words.append(name)
        if verdict.keep:
            counters[KEEP] += 1
            words.append(KEEP)
        told[row] = " ".join(words) or None
    for name in columns:
        if counters[name]:
            at = table.schema.get_field_index(name)
            table = table.set_column(at, SCHEMA.field(name), pa.array(columns[name], pa.string()))
    return divide(table.append_column(DECIDED, pa.array(told, pa.string())), Decisions.name, rejects, dict(counters))


def _same(name: str, before: str | None, after: str | None) -> bool:
    """Whether two labels are the same, or two targets the same value."""
    if before is None or after is None or name == "label":
        return before == after
    try:
        return exact_json(strict_json.loads(before)) == exact_json(strict_json.loads(after))
    except ValueError:  # what was read is no JSON
        return False


@dataclass
class _Fates:
    """What became of the rows that lines are about, by their ids: those of a row that was divided are its parts'."""

    stay: dict[str, list[str]]
    """The words of the rows that stay, see `curate.stage.DECIDED`."""
    gone: dict[str, str]
    """Stage and reason of the others; of several the one that came farthest."""
    divided: set[str]

    @classmethod
    def of(cls, lines: Sequence[Line], kept: Iterable[pa.Table], rejected: Iterable[pa.Table]) -> "_Fates":
        wanted = pa.array(sorted({id_ for line in lines for id_ in line.decision.rows()}), pa.string())
        found = cls(defaultdict(list), {}, set())
        for row in found._rows(kept, wanted):
            found.stay[row["id"]].append(row[DECIDED] or "")
        for row in found._rows(rejected, wanted):
            found.gone[row["id"]] = f"{row['stage']}/{row['reason']}"
        return found

    def _rows(self, tables: Iterable[pa.Table], wanted: pa.Array) -> Iterator[dict[str, Any]]:
        for table in tables:
            whole = pc.map_lookup(table["meta"], "part_of", "first")
            parts = pc.is_in(whole, value_set=wanted)
            mine = pc.or_(parts, pc.is_in(table["id"], value_set=wanted))
            rows = table.append_column("whole", pc.if_else(parts, whole, None)).drop_columns("meta").filter(mine)
            for row in rows.to_pylist():
                if row["whole"] is not None:
                    self.divided.add(row["whole"])
                yield row | {"id": row["whole"] or row["id"]}

    def away(self, ids: Iterable[str]) -> str | None:
        """Stage and reason of the first of these rows that has gone."""
        return next((self.gone[id_] for id_ in ids if id_ in self.gone and id_ not in self.stay), None)


def _listed(resolved: Resolved, fates: _Fates, pairs: Mapping[tuple[str, str], str]) -> pa.Table:
    """See LISTED.

    Args:
        resolved: all lines.
        fates: what became of their rows.
        pairs: what came of pairs of rows, as far as both have been compared; the lesser id first.
    """
    rows = []
    for number, (line, outcome) in enumerate(zip(resolved.lines, resolved.outcomes, strict=True)):
        decision = line.decision
        because: str | None = None
        came: str | None = outcome
        if outcome == "no_row" and fates.gone.get(decision.id, "").startswith("read/"):
            came, because = "overruled", fates.gone[decision.id]
        elif outcome == "replaced" and number in resolved.stale:
            because = "stale"
        elif outcome is None and decision.action in PAIR:
            came, because = _came_of_pair(decision, fates, pairs)
        elif outcome is None:
            came, because = _came_of(decision, fates)
        said = [decision.id, decision.action, decision.value_text(), decision.reason, decision.who]
        rows.append(dict(zip(LISTED.names, [line.file, line.number, *said, came, because or None], strict=True)))
    return pa.Table.from_pylist(rows, LISTED)


def _came_of(decision: Decision, fates: _Fates) -> tuple[str, str | None]:
    """What came of what is decided of a row, and why.

    It holds of all rows of the id, and of all parts of one that was divided; it is told of what stays of them.
    """
    if decision.action == "drop":
        return "applied", None
    if decision.id not in fates.stay:
        gone = fates.gone.get(decision.id)
        return ("no_effect" if gone in (None, OWN) else "overruled"), gone
    words = [word for told in fates.stay[decision.id] for word in told.split()]
    verdicts = [*dict.fromkeys(word for word in words if "/" in word)] if decision.action == KEEP else []
    acted = bool(verdicts) if decision.action == KEEP else decision.action in words
    why = ", ".join([*verdicts, *(["divided"] if decision.id in fates.divided else [])])
    return ("applied" if acted else "no_effect"), why


def _came_of_pair(decision: Decision, fates: _Fates, pairs: Mapping[tuple[str, str], str]) -> tuple[str, str | None]:
    """What came of what is decided of two rows, and why: nothing where one of them had gone before they were compared,
    or was divided, for parts are compared as they are."""
    ids = decision.rows()
    away = fates.away(ids)
    came = pairs.get((min(ids), max(ids)))
    if came is None and away is not None:
        return ("no_effect" if away == OWN else "overruled"), away
    if came is None:
        return "no_effect", "divided"
    if decision.action == "different" and away is not None and came != "no_effect":
        return "overruled", away
    return came, None
