"""Outcomes of stages: rows are conserved, and each is computed once."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import AssayError
from curate.record import QUARANTINE_SCHEMA, SCHEMA
from curate.shards import cached_outcome
from curate.stage import Outcome, Reject, divide


def table(rows: int) -> pa.Table:
    return pa.Table.from_pylist([dict.fromkeys(SCHEMA.names) | {"id": str(row)} for row in range(rows)], schema=SCHEMA)


@given(st.integers(0, 30), st.data())
def test_divide_conserves_rows_and_their_order(rows: int, data: st.DataObject) -> None:
    rejected = data.draw(st.lists(st.sampled_from(range(rows)), unique=True)) if rows else []
    extra = table(rows).append_column("text", pa.array([f"t{row}" for row in range(rows)], pa.string()))
    outcome = divide(extra, "demo", [Reject(row, "why", {"row": row}) for row in rejected])
    assert outcome.kept["id"].to_pylist() == [str(row) for row in range(rows) if row not in rejected]
    assert outcome.kept.schema == extra.schema
    assert outcome.rejected["id"].to_pylist() == [str(row) for row in sorted(rejected)]
    assert outcome.rejected.schema == QUARANTINE_SCHEMA
    assert [json.loads(text)["row"] for text in outcome.rejected["evidence"].to_pylist()] == sorted(rejected)


def test_an_outcome_is_computed_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute() -> Outcome:
        calls.append(1)
        return divide(table(3), "demo", [Reject(1, "why", {})], {"changed": 2})

    first, second = (cached_outcome(tmp_path, ["demo", 1], 3, lambda _: compute()) for _ in range(2))
    assert (first.cached, second.cached, len(calls)) == (False, True, 1)
    assert (second.rows, second.rejected, second.reasons, second.counters) == (2, 1, {"why": 1}, {"changed": 2})
    assert second.kept()["id"].to_pylist() == ["0", "2"]
    assert second.quarantine()["id"].to_pylist() == ["1"]
    assert cached_outcome(tmp_path, ["demo", 2], 3, lambda _: compute()).key != first.key


def test_a_stage_that_loses_rows_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="not conserved"):
        cached_outcome(tmp_path, ["lossy"], 3, lambda _: divide(table(2), "lossy", []))
    assert not list(tmp_path.rglob("*.arrow"))
