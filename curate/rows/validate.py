"""The row contract: every record is held to the JSON Schema that its contract derives.

Reasons: `target_not_json` (not strict JSON: RFC 8259 without duplicate keys), `target_schema` (the answer breaks
target.schema.json), `record_schema` (any other field breaks the contract). The evidence holds the validator's message,
where in the record, by which rule of the schema, and how many rules were broken in all.
"""

from itertools import chain
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from curate.json_schema import Violation, validator_of
from curate.record import dicts, roles_text
from curate.stage import Context, Outcome, Reject, RowStage, divide
from curate.text import strict_json

VIOLATIONS = 10_000
"""The most broken rules of a record that are counted."""
BLOCK = 250
"""Records that are Python's at a time: through all at once the garbage collector would look, again and again."""
MESSAGE_CHARACTERS = 500
"""A validator's message repeats the offending value, which may be a whole document."""


class Validate(RowStage):
    """The contract of a recipe is all its settings."""

    name: ClassVar[str] = "validate"
    reasons: ClassVar[dict[str, str]] = {
        "target_not_json": "the target is not strict JSON",
        "target_schema": "the target breaks target.schema.json",
        "record_schema": "another field breaks the contract",
    }

    row_schema: dict[str, Any] = Field({}, description="JSON Schema of a record: the contract's.")

    def prepare(self, context: Context) -> "Validate":
        return Validate(row_schema=context.contract.row_schema)

    def run(self, table: pa.Table) -> Outcome:
        return validate(table, self.row_schema)


def validate(table: pa.Table, row_schema: dict[str, Any]) -> Outcome:
    """Hold each record to the row contract.

    Args:
        table: records; other columns are kept and not looked at.
        row_schema: JSON Schema that the records must satisfy, see `Contract.row_schema`.

    Returns:
        The outcome; a record that breaks several rules is rejected once, its target's faults first.
    """
    validator = validator_of(row_schema)
    fields = row_schema["properties"]
    records = table.append_column("roles", roles_text(table)).select(list(fields))
    rejects: list[Reject] = []
    blocks = (records.slice(begin, BLOCK) for begin in range(0, records.num_rows, BLOCK))
    for row, record in enumerate(chain.from_iterable(map(dicts, blocks))):
        if record.get("target") is not None:
            try:
                record["target"] = strict_json.loads(record["target"])
            except ValueError as error:
                evidence = {"message": _short(str(error)), "target": _short(record["target"])}
                rejects.append(Reject(row, "target_not_json", evidence))
                continue
        if not validator.is_valid(record):
            rejects.append(_reject(row, validator.violations(record, VIOLATIONS)))
    return divide(table, Validate.name, rejects)


def _reject(row: int, errors: list[Violation]) -> Reject:
    """The reject for a record's errors, of which the target's come first and then the first by its place."""
    first = min(errors, key=lambda error: (error.path[:1] != ["target"], _pointer(error)))
    evidence: dict[str, Any] = {
        "message": _short(first.message),
        "instance_path": "/".join(map(str, first.path)),
        "schema_path": "/".join(map(str, first.rule)),
        "errors": len(errors),
    }
    return Reject(row, "target_schema" if first.path[:1] == ["target"] else "record_schema", evidence)


def _pointer(error: Violation) -> tuple[str, str]:
    return "/".join(map(str, error.path)), "/".join(map(str, error.rule))


def _short(text: str) -> str:
    return text if len(text) <= MESSAGE_CHARACTERS else f"{text[:MESSAGE_CHARACTERS]}…"
