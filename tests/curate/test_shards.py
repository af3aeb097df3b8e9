"""Outcomes of stages: rows are conserved, and each is computed once."""

import json
import tempfile
from pathlib import Path
from typing import ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import AssayError
from curate.record import QUARANTINE_SCHEMA, SCHEMA
from curate.shards import PassTask, Shard, cached_outcome, run_pass
from curate.stage import Outcome, Reject, RowStage, divide


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


class Some(RowStage):
    """A stage that does one of the things that stages do."""

    name: ClassVar[str] = "some"
    does: Literal["drop", "label", "add", "divide", "reverse"]
    every: int

    @property
    def reads(self) -> tuple[str, ...] | None:
        return {"drop": ("label",), "label": ("label", "extra 4"), "add": ()}.get(self.does)

    def run(self, table: pa.Table) -> Outcome:
        ids = table["id"].to_pylist()
        hit = [int(id_.split("-")[0]) % self.every == 0 for id_ in ids]
        if self.does == "drop":
            return divide(table, self.name, [Reject(row, "why", {}) for row, each in enumerate(hit) if each])
        if self.does == "add":
            name = f"extra {table.num_columns}"
            return Outcome(table.append_column(name, pa.array(ids, pa.string())), QUARANTINE_SCHEMA.empty_table())
        if self.does == "label":
            labels = pc.if_else(pa.array(hit, pa.bool_()), pa.scalar(f"of {self.every}"), table["label"])
            table = table.set_column(table.schema.get_field_index("label"), SCHEMA.field("label"), labels)
            return Outcome(table, QUARANTINE_SCHEMA.empty_table(), {"labelled": sum(hit)})
        order = list(range(len(ids)))[:: -1 if self.does == "reverse" else 1]
        twice = [row for row in order for _ in range(1 + (self.does == "divide" and hit[row]))]
        return Outcome(
            table.take(pa.array(twice, pa.int64())), QUARANTINE_SCHEMA.empty_table(), made=len(twice) - len(order)
        )


STAGES = st.builds(Some, does=st.sampled_from(["drop", "label", "add", "divide", "reverse"]), every=st.integers(1, 4))


@settings(deadline=None)
@given(st.integers(0, 9), st.lists(STAGES, min_size=1, max_size=5), st.integers(0, 5))
def test_stages_over_rows_in_memory_give_what_each_gives_alone(rows: int, stages: list[Some], found: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = cached_outcome(Path(folder), "base", rows, lambda _: divide(table(rows), "base", []))
        run_pass(PassTask(base, Path(folder), stages[:found]))  # what is there already is not in memory
        passed = [shard for shard, _ in run_pass(PassTask(base, Path(folder), stages))]
        assert [shard.cached for shard in passed] == [at < found for at in range(len(stages))]
        with tempfile.TemporaryDirectory() as other:
            shard = cached_outcome(Path(other), "base", rows, lambda _: divide(table(rows), "base", []))
            for stage, one in zip(stages, passed, strict=True):
                ((shard, _),) = run_pass(PassTask(shard, Path(other), [stage]))
                assert type(one) is Shard, "what goes between processes holds no rows"
                assert one.key == shard.key
                assert one.kept().equals(shard.kept(), check_metadata=True)
                assert one.quarantine().equals(shard.quarantine(), check_metadata=True)
                written = [{path.name: path.read_bytes() for path in each.folder.iterdir()} for each in (one, shard)]
                assert written[0] == written[1]


class Tiered(RowStage):
    """Sets a column, which it does not read, and takes out the first rows."""

    name: ClassVar[str] = "tiered"
    version: ClassVar[int] = 1
    tier: str
    out: int

    @property
    def reads(self) -> tuple[str, ...]:
        return ()

    def run(self, table: pa.Table) -> Outcome:
        rejects = [Reject(row, "why", {}) for row in range(self.out)]
        return divide(table.append_column("tier", pa.array([self.tier] * table.num_rows)), self.name, rejects)


@pytest.mark.parametrize("out", [0, 2, 7])
def test_what_a_stage_sets_anew_is_what_it_said_last(out: int, tmp_path: Path) -> None:
    """Also in a shard that keeps few of its rows, and is written whole."""
    read = cached_outcome(tmp_path, ["read"], None, lambda _: divide(table(10), "read", []))
    stages = [Tiered(tier="first", out=0), Tiered(tier="second", out=out)]
    *_, (last, _) = run_pass(PassTask(read, tmp_path, stages))
    assert last.kept()["tier"].to_pylist() == ["second"] * (10 - out)


class Odd(RowStage):
    """Does what `run` is told to."""

    name: ClassVar[str] = "odd"
    version: ClassVar[int] = 1
    does: Literal["writes unread", "overflows"]

    @property
    def reads(self) -> tuple[str, ...]:
        return ()

    def run(self, table: pa.Table) -> Outcome:
        if self.does == "overflows":
            pc.binary_join_element_wise("x" * 65536, pa.array(["a"] * 33000), "y", "")
        label = pa.array(["new"] * table.num_rows, pa.string())
        return divide(table.append_column(SCHEMA.field("label"), label), self.name, [])


def test_a_column_that_a_stage_writes_and_does_not_read_is_told(tmp_path: Path) -> None:
    read = cached_outcome(tmp_path, ["read"], None, lambda _: divide(table(3), "read", []))
    with pytest.raises(AssayError, match="writes the column 'label', which is not among those that it reads"):
        run_pass(PassTask(read, tmp_path, [Odd(does="writes unread")]))


def test_more_text_than_an_array_holds_is_want_of_memory(tmp_path: Path) -> None:
    """Of which the rows are divided, where a worker is at work."""
    read = cached_outcome(tmp_path, ["read"], None, lambda _: divide(table(3), "read", []))
    with pytest.raises(MemoryError, match="more text than an array holds"):
        run_pass(PassTask(read, tmp_path, [Odd(does="overflows")]))
