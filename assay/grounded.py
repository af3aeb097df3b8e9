"""Which values of guessed answers their prompts hold, by field, in a sample of rows."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from assay.file_group import Group
from assay.recognised import mapped_rows
from curate.grounding import Grounding, Prompt
from curate.read.mapping import Mapper, RecordMapping, RowError
from curate.read.profile import Seen
from curate.read.raw import Unread
from curate.rows.ground import evidence_of
from curate.table import Table
from curate.text import strict_json

LONGEST = 60
"""Characters of an example in a table."""


@dataclass
class FieldSeen:
    """The values of a field of the answers."""

    how: str
    """They were looked for."""
    values: int = 0
    found: int = 0
    missing: dict[str, Any] | None = None
    """The first that its prompt does not hold, see `curate.rows.ground.FOUND`."""


def grounded(group: Group, mapping: Mapping[str, Any], rows: int) -> dict[str, FieldSeen]:
    """Look for the values of JSON answers in their prompts, as a contract of what is seen of them would have it.

    Args:
        group: files of one kind.
        mapping: the recipe's `record` for them, see `Group.mapping`.
        rows: at most, as many of each file.

    Returns:
        By field of those that prompts have to hold; nothing where answers are no JSON.
    """
    if "target" not in mapping:
        return {}
    mapper = Mapper(RecordMapping.model_validate(mapping), {})
    answers: list[tuple[Any, dict[str, Any]]] = []
    targets = Seen()
    for _, _, row in mapped_rows(group.files, rows):
        if isinstance(row, Unread):
            continue
        with suppress(RowError, ValueError):  # what gives no record, or no JSON, goes to quarantine for that
            for record in mapper.records(row, ""):
                if record["rejected"] is None and record["target"] is not None:
                    answers.append((strict_json.loads(record["target"]), record))
                    targets.add(answers[-1][0])
    grounding = Grounding.of_schema(targets.schema()) if answers else Grounding()
    seen: dict[str, FieldSeen] = {}
    for answer, record in answers:
        prompt = Prompt(record["turns"])
        for said, place in grounding.looked_for(answer, prompt):
            field = seen.setdefault(said.path, FieldSeen(said.how))
            field.values += 1
            field.found += place is not None
            if place is None and field.missing is None:
                field.missing = evidence_of(said, prompt)
    return dict(sorted(seen.items()))


def grounded_table(seen: Mapping[str, FieldSeen]) -> Table:
    """What of the answers stands in the prompts."""
    rows = []
    for name, field in seen.items():
        missing = field.missing or {"value": "", "nearest": None}
        near = "" if missing["nearest"] is None else f" ~ {_short(missing['nearest'])}"
        said = [name, field.how, _short(missing["value"]) + near]
        rows.append([*said, f"{field.values:,}", f"{100 * field.found // field.values}%"])
    columns = ["field", "looked for as", "not in its prompt ~ what is most like it", "values", "in the prompts"]
    return Table("grounded", "Values of the answers that their prompts hold", columns, rows, texts=3)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
