"""A table that is put together from deltas is, bit for bit, the one that was written; and what a delta costs."""

import math
import struct
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.cache import Seal, damaged, entries, intact, mended, sealed
from curate.delta import CHANGED, KEPT, differing
from curate.errors import RotError
from curate.record import QUARANTINE_SCHEMA, SCHEMA
from curate.shards import Shard, cached_outcome
from curate.stage import Outcome, Reject, divide
from tests.curate.test_cache import flip
from tests.records import record, table_of

TEXT = st.text("ab\u00e9", max_size=3)
FLOATS = st.sampled_from([0.0, -0.0, 1.5, math.nan, math.inf])
TURN = st.fixed_dictionaries({"role": TEXT, "content": TEXT})
PAIR = st.fixed_dictionaries({"a": FLOATS, "b": st.lists(TEXT, max_size=1)})
KINDS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.string(), TEXT),
    (pa.large_string(), TEXT),
    (pa.int64(), st.integers(0, 2)),
    (pa.bool_(), st.booleans()),
    (pa.float32(), FLOATS),
    (pa.list_(pa.float64()), st.lists(FLOATS, max_size=2)),
    (pa.map_(pa.string(), pa.string()), st.lists(st.tuples(TEXT, st.none() | TEXT), max_size=2)),
    (SCHEMA.field("turns").type, st.lists(TURN, max_size=2)),
    (pa.struct({"a": pa.float32(), "b": pa.list_(pa.string())}), PAIR),
]


def bits(value: Any) -> Any:
    """What tells two values apart."""
    if isinstance(value, float):
        return struct.pack("d", value)
    if isinstance(value, dict):
        return {name: bits(each) for name, each in value.items()}
    return [bits(each) for each in value] if isinstance(value, list | tuple) else value


@given(st.sampled_from(KINDS), st.data())
@settings(max_examples=200)
def test_the_rows_that_differ_are_found(kind: tuple[pa.DataType, st.SearchStrategy[Any]], data: st.DataObject) -> None:
    of_type, values = kind
    pairs = data.draw(st.lists(st.tuples(st.none() | values, st.none() | values), max_size=6))
    cut = data.draw(st.integers(0, len(pairs)))  # arrays may begin in the middle of their buffers
    one, other = (pa.array([pair[side] for pair in pairs], of_type).slice(cut) for side in (0, 1))
    expected = [bits(a) != bits(b) for a, b in zip(one.to_pylist(), other.to_pylist(), strict=True)]
    assert differing(one, other).tolist() == expected


def test_of_a_type_that_is_not_looked_into_all_rows_differ_or_none() -> None:
    words = [pa.array(each).dictionary_encode() for each in (["a", "b"], ["a", "b"], ["a", "c"])]
    assert differing(words[0], words[1]).tolist() == [False, False]
    assert differing(words[0], words[2]).tolist() == [True, True]


RECORD = st.builds(
    lambda id_, said, target, row: record(*said, id=id_, target=target, source={"drop": None, "file": "f", "row": row}),
    st.sampled_from("abc"),  # rows may have one id, and even one source
    st.lists(TEXT, max_size=2),
    st.none() | TEXT,
    st.integers(0, 3),
)


def dropped(rows: pa.Table, draw: Callable[..., Any]) -> Outcome:
    which = draw(st.sets(st.integers(0, rows.num_rows - 1)) if rows.num_rows else st.just(set[int]()))
    return divide(rows, "s", [Reject(row, "why", {}) for row in which])


def changed(rows: pa.Table, draw: Callable[..., Any]) -> Outcome:
    at = draw(st.integers(0, rows.num_columns - 1))
    field = rows.schema.field(at)
    values = rows[field.name].to_pylist()
    new = {"turns": [{"role": "user", "content": draw(TEXT)}], "source": {"file": "g"}, "meta": [(draw(TEXT), "v")]}
    for row in draw(st.sets(st.integers(0, rows.num_rows - 1))) if values else ():
        values[row] = new.get(field.name, -0.0 if pa.types.is_floating(field.type) else draw(TEXT))
    return kept(rows.set_column(at, field, pa.array(values, field.type)))


def added(rows: pa.Table, draw: Callable[..., Any]) -> Outcome:
    name = draw(st.sampled_from(["quality", "other"]))
    if name in rows.column_names:
        return kept(rows.drop_columns([name]))
    values = draw(st.lists(FLOATS, min_size=rows.num_rows, max_size=rows.num_rows))
    return kept(rows.add_column(draw(st.integers(0, rows.num_columns)), name, pa.array(values, pa.float32())))


def made(rows: pa.Table, draw: Callable[..., Any]) -> Outcome:
    new = pa.Table.from_pylist(
        [dict.fromkeys(rows.column_names) | row for row in table_of(draw(st.lists(RECORD, max_size=3))).to_pylist()],
        schema=rows.schema,
    )
    at = draw(st.integers(0, rows.num_rows))
    return kept(pa.concat_tables([rows.slice(0, at), new, rows.slice(at)]), new.num_rows)


def moved(rows: pa.Table, draw: Callable[..., Any]) -> Outcome:
    return kept(rows.take(pa.array(draw(st.permutations(range(rows.num_rows))), pa.int64())))


def told(rows: pa.Table, draw: Callable[..., Any]) -> Outcome:
    return kept(rows.replace_schema_metadata(draw(st.none() | st.just({"b": "b"}))))


def kept(rows: pa.Table, more: int = 0) -> Outcome:
    return Outcome(rows, QUARANTINE_SCHEMA.empty_table(), made=more)


@given(st.lists(RECORD, max_size=7), st.lists(st.sampled_from([dropped, changed, added, made, moved, told])), st.data())
@settings(max_examples=80)
def test_whatever_stages_do_their_rows_come_back(
    records: list[dict[str, Any]], stages: list[Callable[..., Outcome]], data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        shard = cached_outcome(Path(folder), "read", None, lambda _: kept(table_of(records)))
        for number, stage in enumerate(stages):
            outcome = stage(shard.kept(), data.draw)
            shard = cached_outcome(Path(folder), number, shard.rows, lambda _, done=outcome: done, shard)  # type: ignore[misc]
            found = shard.kept()
            assert found.schema.equals(outcome.kept.schema, check_metadata=True)
            assert bits(found.to_pylist()) == bits(outcome.kept.to_pylist())
            assert shard.quarantine().equals(outcome.rejected)
            some = data.draw(st.lists(st.sampled_from(found.column_names), unique=True, min_size=1))
            assert bits(shard.kept(some).to_pylist()) == bits(found.select(some).to_pylist())
            assert 2 * shard.rows >= shard.read, "no more than twice the rows are read"
        assert not list(damaged(Path(folder)))


@given(
    st.lists(RECORD, max_size=7),
    st.sets(st.sampled_from(["turns", "target", "label", "language", "meta"])),
    st.lists(st.sampled_from(["keep", "drop"]), min_size=7, max_size=7),
    st.booleans(),
)
def test_a_stage_that_reads_some_columns_says_what_it_would_say_of_all(
    records: list[dict[str, Any]], reads: set[str], verdicts: list[str], renames: bool
) -> None:
    def judged(rows: pa.Table) -> Outcome:
        if renames and "label" in rows.column_names:
            labels = pa.array([f"{label}!" for label in rows["label"].to_pylist()], pa.string())
            rows = rows.set_column(rows.schema.get_field_index("label"), SCHEMA.field("label"), labels)
        rows = rows.append_column("number", pa.array(range(rows.num_rows), pa.int32()))
        rejects = [Reject(row, "why", {}) for row in range(rows.num_rows) if verdicts[row] == "drop"]
        return divide(rows, "judged", rejects)

    renames = renames and "label" in reads
    with TemporaryDirectory() as folder:
        read = cached_outcome(Path(folder), "read", None, lambda _: kept(table_of(records)))
        base = cached_outcome(Path(folder), "base", read.rows, numbered_before, read)
        whole, some = (
            cached_outcome(Path(folder), f"judged by {columns}", base.rows, judged, base, columns)
            for columns in (None, [*reads])
        )
        assert some.kept().equals(whole.kept(), check_metadata=True)
        assert some.quarantine().equals(whole.quarantine(), check_metadata=True)
        told = "columns", "distributions", "read", "reasons", "rejected", "rows"
        assert [getattr(some, name) for name in told] == [getattr(whole, name) for name in told]


def numbered_before(rows: pa.Table) -> Outcome:
    return kept(rows.append_column("before", pa.array(range(rows.num_rows), pa.int64())))


ROWS = table_of([record("said " * 400 + str(row), id=f"{row:03}", meta={"n": str(row)}) for row in range(100)])


def chain(cache: Path, *outcomes: Callable[[pa.Table], Outcome]) -> list[Shard]:
    """Outcomes, each over the one before."""
    shards = [cached_outcome(cache, "read", None, lambda _: kept(ROWS))]
    for number, outcome in enumerate(outcomes):
        shards.append(cached_outcome(cache, number, shards[-1].rows, outcome, shards[-1]))
    return shards


def less(rows: pa.Table) -> Outcome:
    return divide(rows, "less", [Reject(row, "why", {}) for row in range(0, rows.num_rows, 3)])


def numbered(rows: pa.Table) -> Outcome:
    return kept(rows.append_column("number", pa.array(range(rows.num_rows), pa.int32())))


def renamed(rows: pa.Table) -> Outcome:
    labels = rows["label"].to_pylist()
    return kept(rows.set_column(rows.schema.get_field_index("label"), "label", pa.array(["x", *labels[1:]])))


def files(shard: Shard) -> dict[str, list[str]]:
    """The columns of each file that holds rows kept."""
    return {
        name: [*pa.ipc.open_file(str(intact(shard.folder, name))).schema.names]
        for name in (KEPT, CHANGED)
        if name in sealed(shard.folder)
    }


def test_a_stage_writes_what_it_adds(tmp_path: Path) -> None:
    read, same, fewer, more, changed_ = chain(tmp_path, kept, less, numbered, renamed)
    place = "\x1fplace"
    assert files(read) == {KEPT: SCHEMA.names}
    assert files(same) == {}
    assert files(fewer) == {KEPT: [place]}
    assert files(more) == {KEPT: ["number"]}
    assert files(changed_) == {CHANGED: [place, "label"]}
    assert pa.ipc.open_file(str(changed_.folder / CHANGED)).read_all().num_rows == 1
    assert changed_.kept().equals(renamed(numbered(less(ROWS).kept).kept).kept)
    assert [Seal.of(shard.folder).base for shard in (read, same, changed_)] == [None, read.folder, more.folder]


def test_few_rows_of_many_are_written_whole(tmp_path: Path) -> None:
    _, first, second = chain(tmp_path, less, less)  # 66, and of these 44
    assert first.read == 100
    assert (second.rows, second.read) == (44, 44)
    assert files(second) == {KEPT: SCHEMA.names}
    assert Seal.of(second.folder).base is None


def test_a_base_that_rots_is_made_anew_by_itself(tmp_path: Path) -> None:
    def run() -> pa.Table:
        return chain(tmp_path, less, numbered, renamed)[-1].kept()

    expected = run()
    read, fewer, *_ = chain(tmp_path, less, numbered, renamed)
    told: list[str] = []
    for shard in (read, fewer):
        flip(shard.folder / KEPT, 8 * 500)
        told.clear()
        assert mended(run, tmp_path, lambda *line: told.append(line[0])).equals(expected)
        assert [line.partition(" is damaged")[0] for line in told] == [str(shard.folder)]
    assert list(damaged(tmp_path)) == []


def test_over_another_base_an_entry_is_none(tmp_path: Path) -> None:
    """A stage gives other rows the second time, and its first outcome has rotted: the places would be of other rows."""
    rows = iter([ROWS, ROWS.slice(1)])
    first = cached_outcome(tmp_path, "read", None, lambda _: kept(next(rows)))
    over = cached_outcome(tmp_path, "less", 100, less, first)
    flip(first.folder / KEPT, 0)

    def run() -> pa.Table:
        read = cached_outcome(tmp_path, "read", None, lambda _: kept(next(rows)))
        return cached_outcome(tmp_path, "less", read.rows, less, read).kept()

    told: list[str] = []
    assert mended(run, tmp_path, lambda *line: told.append(line[0])).equals(less(ROWS.slice(1)).kept)
    assert [line.partition(" is damaged")[0] for line in told] == [str(first.folder), str(over.folder)]
    assert "is not the one that it was written over" in told[1]


def test_an_entry_without_its_base_is_told_and_made_anew(tmp_path: Path) -> None:
    read, fewer = chain(tmp_path, less)
    expected = fewer.kept()
    read.folder.rename(tmp_path / "elsewhere")
    with pytest.raises(RotError, match=r"its base .* is missing"):
        fewer.kept()
    assert [rot.folder for rot in damaged(tmp_path / "stages")] == [fewer.folder]
    assert mended(lambda: chain(tmp_path, less)[-1].kept(), tmp_path).equals(expected)


def test_the_entries_tell_what_gc_must_know(tmp_path: Path) -> None:
    read, fewer = chain(tmp_path, less)
    found = {each.folder: each for each in entries(tmp_path)}
    assert found.keys() == {read.folder, fewer.folder}
    assert [found[shard.folder].base for shard in (read, fewer)] == [None, read.folder]
    assert found[read.folder].size == sum(path.stat().st_size for path in read.folder.iterdir())
    assert found[fewer.folder].size < found[read.folder].size
