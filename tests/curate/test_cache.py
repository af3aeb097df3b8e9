"""Stages conserve rows, and their outcomes are cached whole or not at all."""

import json
import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.cache import (
    SEAL,
    StageTask,
    cache_folder,
    cached_outcome,
    clear_drafts,
    damaged,
    intact,
    is_kept,
    mended,
    run_stage,
    sound,
)
from curate.errors import AssayError, RotError
from curate.examples import EXCERPT, NEAR, example_of, excerpt, first_examples
from curate.record import QUARANTINE_SCHEMA, SCHEMA
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

    first, second = (cached_outcome(tmp_path, ["demo", 1], 3, compute) for _ in range(2))
    assert (first.cached, second.cached, len(calls)) == (False, True, 1)
    assert (second.rows, second.rejected, second.reasons, second.counters) == (2, 1, {"why": 1}, {"changed": 2})
    assert second.kept()["id"].to_pylist() == ["0", "2"]
    assert second.quarantine()["id"].to_pylist() == ["1"]
    assert cached_outcome(tmp_path, ["demo", 2], 3, compute).key != first.key


def test_rows_that_a_stage_leaves_as_they_were_are_not_written_again(tmp_path: Path) -> None:
    before = cached_outcome(tmp_path, ["before"], 3, lambda: divide(table(3), "before", []))

    class Same(RowStage):
        name: ClassVar[str] = "same"

        def run(self, rows: pa.Table) -> Outcome:
            copied = pa.Table.from_pylist(rows.to_pylist(maps_as_pydicts="strict"), schema=rows.schema)
            return divide(copied, self.name, [])

    class Other(RowStage):
        name: ClassVar[str] = "other"

        def run(self, rows: pa.Table) -> Outcome:
            return divide(rows, self.name, [Reject(0, "why", {})])

    same = run_stage(StageTask(Same(), before, tmp_path))
    assert (same.folder / "kept.arrow").samefile(before.folder / "kept.arrow")
    assert same.kept().equals(table(3))
    other = run_stage(StageTask(Other(), same, tmp_path))
    assert other.kept()["id"].to_pylist() == ["1", "2"]
    assert same.kept().num_rows == 3


def test_a_stage_that_loses_rows_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="not conserved"):
        cached_outcome(tmp_path, ["lossy"], 3, lambda: divide(table(2), "lossy", []))
    assert not list(tmp_path.rglob("*.arrow"))


def test_a_cache_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("midway")

    with pytest.raises(RuntimeError):
        cache_folder(tmp_path / "aa/key", fail)
    assert list((tmp_path / "aa").iterdir()) == []
    for _ in range(2):  # the second finds that another run was faster
        cache_folder(tmp_path / "aa/key", lambda folder: (folder / "whole").touch())
    assert [path.name for path in (tmp_path / "aa/key").iterdir() if path.name != SEAL] == ["whole"]


def test_drafts_of_killed_runs_are_removed_and_those_of_live_ones_are_not(tmp_path: Path) -> None:
    abandoned = tmp_path / "stages/aa/.draft-dead"
    abandoned.mkdir(parents=True)
    (abandoned / "kept.arrow").touch()

    def write(folder: Path) -> None:
        (folder / "half").touch()
        clear_drafts(tmp_path)
        assert (folder / "half").is_file()
        assert not abandoned.exists()

    cache_folder(tmp_path / "stages/bb/key", write)
    assert {path.name for path in tmp_path.rglob("*")} == {"stages", "aa", "bb", "key", "half", SEAL}


def entry(folder: Path, **files: str) -> Path:
    """An entry of the cache."""

    def write(draft: Path) -> None:
        for name, text in files.items():
            (draft / name).write_text(text)

    cache_folder(folder, write)
    return folder


def flip(path: Path, number: int) -> None:
    """Flip one bit, in place: files that are linked with it change too."""
    content = bytearray(path.read_bytes())
    content[number // 8] ^= 1 << number % 8
    with path.open("r+b") as file:
        file.write(content)


@given(st.binary(max_size=40), st.data())
@settings(max_examples=50)
def test_no_bit_of_an_entry_flips_unnoticed(content: bytes, data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        made = Path(folder) / "aa/key"
        cache_folder(made, lambda draft: (draft / "file").write_bytes(content))
        assert intact(made, "file").read_bytes() == content
        assert sound(made)
        path = made / data.draw(st.sampled_from(["file", SEAL] if content else [SEAL]))
        flip(path, data.draw(st.integers(0, 8 * path.stat().st_size - 1)))
        with pytest.raises(RotError, match=f"the bytes of {path.name} are not those that were written") as caught:
            intact(made, "file")
        assert caught.value.remedy == "Remove the folder: it is part of the cache and is made anew."
        assert not sound(made)
        assert not made.exists()


def without_a_file(made: Path) -> None:
    (made / "a").unlink()


def with_a_folder_in_place_of_a_file(made: Path) -> None:
    (made / "a").unlink()
    (made / "a").mkdir()


def with_another_file(made: Path) -> None:
    (made / "model-00002.safetensors").write_text("more")


def in_place_of_another(made: Path) -> None:
    other = entry(made.parent / "other", a="one")
    shutil.rmtree(made)
    other.rename(made)


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (without_a_file, "a is missing"),
        (with_a_folder_in_place_of_a_file, "a is missing"),
        (with_another_file, "model-00002.safetensors was added to it"),
        (in_place_of_another, "it holds what was written as aa/other"),
    ],
)
def test_an_entry_with_other_files_is_told_and_removed(
    harm: Callable[[Path], None], problem: str, tmp_path: Path
) -> None:
    made = entry(tmp_path / "aa/key", a="one", b="two")
    harm(made)
    told: list[tuple[str, int, int, str]] = []
    assert [rot.problem for rot in damaged(tmp_path)] == [problem]
    assert not sound(made, lambda *line: told.append(line))
    assert told == [(f"{made} is damaged ({problem}): made anew", 1, 1, "entries")]
    assert list((tmp_path / "aa").iterdir()) == []


def test_an_entry_of_before_there_were_seals_is_none(tmp_path: Path) -> None:
    (tmp_path / "aa/key").mkdir(parents=True)
    (tmp_path / "aa/key/a").write_text("of before")
    assert not is_kept(tmp_path / "aa/key")
    assert not sound(tmp_path / "aa/key")
    assert intact(entry(tmp_path / "aa/key", a="new"), "a").read_text() == "new"
    assert [path.name for path in (tmp_path / "aa").iterdir()] == ["key"]


def test_an_entry_is_made_anew_once_and_no_more(tmp_path: Path) -> None:
    made, calls = tmp_path / "aa/key", list[int]()

    def run(rots: int) -> str:
        calls.append(1)
        if not is_kept(made):
            entry(made, a="one")
        if len(calls) <= rots:
            flip(made / "a", 3)
        return intact(made, "a").read_text()

    assert mended(partial(run, 1)) == "one"
    assert len(calls) == 2
    calls.clear()
    with pytest.raises(RotError, match="the bytes of a are not those"):
        mended(partial(run, 9))
    assert len(calls) == 2


def test_what_another_run_has_made_anew_meanwhile_stays(tmp_path: Path) -> None:
    made = entry(tmp_path / "aa/key", a="one")
    flip(made / "a", 0)
    opened = (made / "a").open()
    calls: list[int] = []

    def run() -> None:
        calls.append(1)
        if len(calls) == 1:
            rot = next(damaged(tmp_path))
            assert not sound(made)  # another run finds it too, removes it
            entry(made, a="one")  # and makes it anew
            inode.append(made.stat().st_ino)
            raise rot
        assert made.stat().st_ino == inode[0]

    inode: list[int] = []
    mended(run)
    assert len(calls) == 2
    assert opened.read() == "nne", "who has a removed entry open keeps it"
    opened.close()


def test_rot_is_told_across_processes() -> None:
    rot = pickle.loads(pickle.dumps(RotError(Path("cache/aa/key"), "a is missing")))
    assert (rot.folder, rot.problem) == (Path("cache/aa/key"), "a is missing")
    assert str(rot) == str(RotError(Path("cache/aa/key"), "a is missing"))


def test_rows_that_several_stages_share_rot_together_and_are_made_anew_together(tmp_path: Path) -> None:
    class Same(RowStage):
        name: ClassVar[str] = "same"
        number: int

        def run(self, rows: pa.Table) -> Outcome:
            return divide(rows, self.name, [])

    def run() -> pa.Table:
        shard = cached_outcome(tmp_path, ["read"], 3, lambda: divide(table(3), "read", []))
        for number in range(3):
            shard = run_stage(StageTask(Same(number=number), shard, tmp_path))
        return shard.kept()

    expected = run()
    [shared] = {path.stat().st_ino: path for path in tmp_path.rglob("kept.arrow")}.values()
    flip(shared, 8 * 1000)
    told: list[str] = []
    assert mended(run, lambda *line: told.append(line[0])).equals(expected)
    assert len(told) == 4
    assert list(damaged(tmp_path)) == []


TEXT = st.text("ab \n\u200b", max_size=400)


@given(TEXT, TEXT, st.text("ab \n\u200b", min_size=1, max_size=9).map(lambda text: text * 6000), st.booleans())
@settings(max_examples=25)
def test_an_example_of_what_is_near_is_that_of_the_whole(before: str, after: str, far: str, first: bool) -> None:
    whole = [far + text if first else text + far for text in (before, after)]
    near = example_of("1", *whole)
    assert max(map(len, near.values())) <= EXCERPT + 2 * NEAR
    assert excerpt(near) == excerpt({"id": "1", "before": whole[0], "after": whole[1]})


@given(TEXT, TEXT)
def test_an_example_shows_what_changed(before: str, after: str) -> None:
    example = excerpt(example_of("1", before, after))
    assert all(len(example[side]) <= EXCERPT for side in ("before", "after"))
    assert example["before"] in before
    assert example["after"] in after
    assert (example["before"] == example["after"]) == (before == after)


def test_an_example_is_cut_between_words() -> None:
    words = "jane.doe@example.org " * 40
    example = excerpt(example_of("1", words + "teh end " + words, words + "the end " + words))
    assert "teh end" in example["before"]
    assert "the end" in example["after"]
    assert set(example["before"].split()) == {"jane.doe@example.org", "teh", "end"}


@given(st.lists(st.integers(0, 9), max_size=30), st.data())
def test_the_examples_kept_do_not_depend_on_the_shards(numbers: list[int], data: st.DataObject) -> None:
    examples = [{"id": str(number), "before": "a", "after": "b"} for number in numbers]
    cut = data.draw(st.integers(0, len(examples)))
    shards = first_examples(examples[cut:]) + first_examples(examples[:cut])
    assert first_examples(shards) == first_examples(examples)
    assert [example["id"] for example in first_examples(examples)] == sorted({str(number) for number in numbers})[:3]
