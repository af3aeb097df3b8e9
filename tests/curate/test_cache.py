"""Entries of the cache are there whole or not at all, and what changes by itself is found and made anew."""

import os
import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.cache import (
    REMOVALS,
    SEAL,
    cache_folder,
    clear_drafts,
    damaged,
    entries,
    forget,
    intact,
    is_kept,
    mended,
    sound,
)
from curate.errors import RotError


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

    assert mended(partial(run, 1), tmp_path) == "one"
    assert len(calls) == 2
    calls.clear()
    with pytest.raises(RotError, match="the bytes of a are not those"):
        mended(partial(run, 9), tmp_path)
    assert len(calls) == 2


@pytest.mark.parametrize("sealed", [False, True])
def test_an_entry_that_other_runs_remove_before_it_is_read_is_made_again(sealed: bool, tmp_path: Path) -> None:
    """Before the look at its seal, or after it."""
    made = tmp_path / "aa/key"

    def run(removals: int) -> str:
        if not is_kept(made):
            entry(made, a="one")
        path = intact(made, "a") if sealed else made / "a"
        if len(removed) < removals:
            removed.append(1)
            forget(made)
        return (path if sealed else intact(made, "a")).read_text()

    removed: list[int] = []
    assert mended(partial(run, REMOVALS), tmp_path) == "one"
    removed.clear()
    with pytest.raises(FileNotFoundError if sealed else RotError):
        mended(partial(run, 99), tmp_path)
    assert len(removed) == REMOVALS + 1


def test_another_file_that_is_missing_is_an_error_at_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def run() -> str:
        calls.append(1)
        return (tmp_path / f"of a stage {len(calls)}").read_text()

    with pytest.raises(FileNotFoundError):
        mended(run, tmp_path / "cache")
    assert len(calls) == 1


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
    mended(run, tmp_path)
    assert len(calls) == 2
    assert opened.read() == "nne", "who has a removed entry open keeps it"
    opened.close()


def test_rot_is_told_across_processes() -> None:
    rot = pickle.loads(pickle.dumps(RotError(Path("cache/aa/key"), "a is missing")))
    assert (rot.folder, rot.problem) == (Path("cache/aa/key"), "a is missing")
    assert str(rot) == str(RotError(Path("cache/aa/key"), "a is missing"))


def test_an_entry_is_as_old_as_its_last_use(tmp_path: Path) -> None:
    made = entry(tmp_path / "stages/aa/key", a="one")
    other = entry(tmp_path / "models/bb/key", a="one", b="two")
    for folder in (made, other):
        os.utime(folder / SEAL, (0, 1_000_000))
    assert is_kept(made)
    assert list(damaged(tmp_path)) == [], "to look for damage is no use"
    used = {each.folder: each.used for each in entries(tmp_path)}
    assert used[made] > used[other] == 1_000_000
    flip(other / SEAL, 0)
    assert [(each.folder, each.base) for each in entries(tmp_path)] == [(other, None), (made, None)], "damaged ones too"
