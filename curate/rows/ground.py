"""Ground: an answer says only what its prompt says, see `curate.grounding`.

By policy a row of which the answer holds a value that its prompt does not goes to quarantine; or the value goes from
the answer (`null`: null takes its place where the schema allows that, else a list goes without its item; where neither
is possible, or what is left breaks the schema, the row goes to quarantine); or it stays and is listed (`flag`). What
was taken or flagged is published beside the splits, in `ungrounded.parquet`.

Counters: values that were found in their prompts, and those that were not, by field (`grounded.FIELD`,
`ungrounded.FIELD`), of the rows quarantined too; rows of which values went or were flagged (`null`, `flag`).
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field, field_validator

from curate.examples import Example
from curate.grounding import VERSION, Grounding, Prompt, Said
from curate.json_schema import validator_of
from curate.record import SCHEMA, places_in
from curate.stage import Context, Outcome, Reject, RowStage, Stage, divide
from curate.text import strict_json

GROUNDED, UNGROUNDED = "grounded.", "ungrounded."
"""What counters by field begin with."""
SHOWN = 300
"""Characters of a value and of a passage in evidence."""
FOUND = pa.struct(
    [
        *(pa.field(name, pa.string()) for name in ("field", "value", "how", "became", "nearest")),
        pa.field("similarity", pa.float64()),
        *(pa.field(name, pa.int32()) for name in ("turn", "page")),
        *(pa.field(name, pa.int64()) for name in ("begin", "end")),
    ]
)
"""A value that its prompt does not hold. field: its path (`parties[]`); value: as people see it; how: it was looked
for; became: `null` or `flag`; nearest: the passage that is most like it, or null, its similarity (0 to 1), its turn
(from 0), its page (from 1, null where none is known), its first character in the turn and the one after its last."""


class Ground(Stage):
    """Adds the column `ungrounded` where values may go or be flagged."""

    name: ClassVar[str] = "ground"
    libraries: ClassVar[tuple[str, ...]] = ("RapidFuzz", "dateparser", "text2num")
    reasons: ClassVar[dict[str, str]] = {
        "ungrounded": "the answer says what its prompt does not, and the contract does not say why"
    }

    policy: Literal["keep", "quarantine", "null", "flag", None] = Field(
        "keep",
        description="What becomes of a value in the answer that the prompt does not hold: its row goes to quarantine; "
        "null takes its place, or a list goes without it, where the schema allows that; or it stays and is listed.",
    )

    @field_validator("policy")
    @classmethod
    def _null(cls, policy: str | None) -> str:
        return "null" if policy is None else policy  # `policy: null` is YAML's null

    @property
    def runs(self) -> bool:
        return self.policy != "keep"

    def prepare(self, context: Context) -> "Ground":
        if not self.runs:
            return self
        schema = context.contract.target_schema or {}
        return Grounds(policy=self.policy, grounding=Grounding.of(context.contract), target_schema=schema)


class Grounds(Ground, RowStage):
    """The stage `ground` with what the contract says of the answer."""

    version: ClassVar[int] = VERSION
    grounding: Grounding
    target_schema: dict[str, Any]

    def prepared_from(self) -> dict[str, Any]:
        return {"grounding": dict(self.grounding.fields)}

    def run(self, table: pa.Table) -> Outcome:
        return ground(table, self)


def ground(table: pa.Table, settings: Grounds) -> Outcome:
    """Look for what each row's answer says in its prompt.

    Args:
        table: records whose targets their contract allows; a row without one is kept.
        settings: the policy, and how fields are grounded.
    """
    validator = validator_of(settings.target_schema)
    counters: Counter[str] = Counter()
    examples: dict[str, list[Example]] = {}
    rejects: list[Reject] = []
    targets: list[str | None] = table["target"].to_pylist()
    found: list[list[dict[str, Any]]] = [[] for _ in targets]
    turns, languages, ids, sources = (table[name].to_pylist() for name in ("turns", "language", "id", "source"))
    for row, target in enumerate(targets):
        if target is None:
            continue
        prompt, answer = Prompt(turns[row], languages[row]), strict_json.loads(target)
        looked = settings.grounding.looked_for(answer, prompt)
        missing = [said for said, place in looked if place is None]
        for said, place in looked:
            counters[f"{UNGROUNDED if place is None else GROUNDED}{said.path}"] += 1
            if place is not None:
                example = {"id": ids[row], "before": text_of(said), "after": prompt.passage(place)}
                examples.setdefault(f"{GROUNDED}{said.path}", []).append(example)
        if not missing:
            continue
        evidence = [evidence_of(said, prompt, sources[row]) for said in missing]
        left = answer
        if settings.policy == "null":
            left = settings.grounding.without(answer, looked)
            left = left if left is not None and validator.is_valid(left) else None
        if settings.policy == "quarantine" or left is None:
            rejects.append(Reject(row, "ungrounded", _told(evidence)))
        else:
            counters[str(settings.policy)] += 1
            targets[row] = target if left is answer else json.dumps(left, ensure_ascii=False)
            found[row] = [each | {"became": settings.policy} for each in evidence]
    if settings.policy != "quarantine":
        at = table.schema.get_field_index("target")
        table = table.set_column(at, SCHEMA.field("target"), pa.array(targets, pa.string()))
        table = table.append_column("ungrounded", pa.array(found, pa.list_(FOUND)))
    outcome = divide(table, Ground.name, rejects, dict(counters))
    return Outcome(outcome.kept, outcome.rejected, outcome.counters, examples)


def text_of(said: Said) -> str:
    """A value as people see it."""
    return said.value if isinstance(said.value, str) else json.dumps(said.value, ensure_ascii=False)


def evidence_of(said: Said, prompt: Prompt, source: dict[str, Any] | None = None) -> dict[str, Any]:
    """What is told of a value that its prompt does not hold, by the names of FOUND; null where nothing is like it."""
    near = prompt.nearest(said.value, said.how)
    told = {"field": said.path, "value": text_of(said)[:SHOWN], "how": said.how}
    if near is None:
        return told | dict.fromkeys(("nearest", "similarity", "turn", "page", "begin", "end"))
    places = places_in(source, near.turn, near.begin, near.end, len(prompt.readings[near.turn].text))
    page = places[0]["page"] if places else None
    place = {"turn": near.turn, "page": page, "begin": near.begin, "end": near.end}
    return told | {"nearest": prompt.passage(near)[:SHOWN], "similarity": near.similarity} | place


def _told(evidence: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The evidence of a row: of its first value all, of the others field and value."""
    first = {name: value for name, value in evidence[0].items() if value is not None}
    others = [{"field": each["field"], "value": each["value"]} for each in evidence[1:]]
    return first | ({"others": others} if others else {})
