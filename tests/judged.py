"""The judgement over all rows in plain lists, for tests."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from curate.sets.duplicates import Duplicates
from curate.sets.earlier import Earlier
from curate.sets.judgement import judge
from curate.sets.keys import Compared, compared_text, key_table
from curate.sets.signed import Part, signed


@dataclass
class Judged:
    """See `curate.sets.judgement.Judgement`."""

    reason: list[str | None]
    evidence: list[str | None]
    cluster: list[str]
    conflicts: list[list[int]] = field(default_factory=list)
    earlier_conflicts: list[list[tuple[int, int]]] = field(default_factory=list)
    ties: list[tuple[int, int, int]] = field(default_factory=list)
    bridges: dict[int, dict[str, Any]] = field(default_factory=dict)
    pairs: list[Any] = field(default_factory=list)


def keys_of(data: pa.Table, settings: Compared) -> pa.Table:
    return key_table(data, compared_text(data, settings))


def parts_of(data: pa.Table, settings: Compared, rows: int | None = None) -> list[Part]:
    """What rows are compared by, in parts of so many of them."""
    table = signed(compared_text(data, settings), settings.shingle_words)
    rows = rows or max(1, table.num_rows)
    parts = [table.slice(begin, rows) for begin in range(0, table.num_rows, rows)]
    return [Part.of(part.num_rows, lambda part=part: part) for part in parts]  # type: ignore[misc]


def judged(
    data: pa.Table, settings: Duplicates, earlier: Sequence[Earlier] = (), rows: int | None = None, **options: Any
) -> Judged:
    """Judge records, in parts of so many rows."""
    found = judge(keys_of(data, settings), settings, parts_of(data, settings, rows), earlier, **options)
    return Judged(
        *(column.to_pylist() for column in (found.reason, found.evidence, found.cluster)),
        [group.tolist() for group in found.conflicts],
        found.earlier_conflicts,
        [*zip(*(each.tolist() for each in found.ties), strict=True)],
        found.bridges,
        found.pairs,
    )
