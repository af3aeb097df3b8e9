"""Bytes of the cache and the index that change by themselves: the result is the same as before, or an error that names
the file and says what to do."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from curate.cache import SEAL
from curate.errors import AssayError
from curate.hashing import checksum
from curate.progress import silent
from curate.sets.segments import PARTS
from curate.store import MANIFEST
from curate.workers import process_pool
from tests.curate.test_unharmed import lighten, result, run, two_drops
from tests.project import Project

SHARD_BYTES = 4000


def flip(path: Path, draw: random.Random) -> bytes:
    content = bytearray(path.read_bytes())
    if content:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content)


DAMAGE: dict[str, Callable[[Path, random.Random], bytes | None]] = {
    "flipped": flip,
    "truncated": lambda path, draw: path.read_bytes()[: draw.randrange(max(1, path.stat().st_size))],
    "emptied": lambda path, draw: b"",
    "appended to": lambda path, draw: path.read_bytes() + draw.randbytes(9),
    "deleted": lambda path, draw: None,
}


def damage(path: Path, kind: str, draw: random.Random) -> bool:
    """Damage a file, not those that it is linked with; gives whether that has changed it."""
    before, after = path.read_bytes(), DAMAGE[kind](path, draw)
    path.unlink()
    if after is not None:
        path.write_bytes(after)
    return after != before


class Stores:
    """A store to copy: the first of two drops is published, and all that the second one's curation caches is there, as
    where a run was killed before it published."""

    def __init__(self, folder: Path) -> None:
        self.project = two_drops(folder)
        self.template = folder / "template"
        self.settings = yaml.safe_load(self.project.recipe_path.read_text())
        self.settings["decontaminate"] = {"references": [{"files": ["reference.json"]}]}
        self.write()
        for name in ("first", "second"):
            self.project.drop = folder / name
            self.project.add("reference.json", [{"text": "the box on shelf holds some small round balls that people"}])
        run(self.project, "first", "template")
        shutil.rmtree(self.template / "cache")
        shutil.copytree(self.template, folder / "store")
        run(self.project, "second", "store", shard_bytes=SHARD_BYTES)
        (folder / "store/cache").rename(self.template / "cache")

    def write(self, **changes: dict[str, Any]) -> None:
        """Write the recipe, with keys of some sections changed."""
        sections = {name: self.settings.get(name, {}) | keys for name, keys in changes.items()}
        self.project.recipe_path.write_text(yaml.safe_dump(self.settings | sections))

    def copy(self) -> Path:
        store = self.project.folder / "store"
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(self.template, store, copy_function=os.link)
        return store


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with pytest.MonkeyPatch.context() as patch:
        lighten(patch)
        yield Stores(tmp_path_factory.mktemp("stores"))


def curated(project: Project, told: list[str], **how: Any) -> dict[str, bytes]:
    run(project, "second", "store", shard_bytes=SHARD_BYTES, progress=lambda what, *_: told.append(what), **how)
    return result(project.folder / "store")


def entry_of(path: Path) -> Path:
    """The folder of the cache that a file belongs to."""
    return next(folder for folder in path.parents if (folder / SEAL).is_file())


def read_by(stores: Stores) -> tuple[dict[str, list[Path]], dict[str, bytes]]:
    """The files of the template's cache that a run reads, by what they hold; and its result."""
    store, found = stores.copy(), set[Path]()

    def recording(path: Path) -> str:
        if path.is_relative_to(store / "cache"):
            found.add(path.relative_to(store))
        return checksum(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curate.cache.checksum", recording)
        expected = curated(stores.project, [])
    kinds: dict[str, list[Path]] = {}
    for path in sorted(path for path in found if (stores.template / path).is_file()):
        kinds.setdefault(path.name, []).append(path)
        kinds.setdefault(SEAL, []).append(entry_of(stores.template / path).relative_to(stores.template) / SEAL)
    return kinds, expected


SAME = {"read", "summary.json", "kept.arrow", "rejected.arrow", "manifest.json", "conflicts.arrow", "version"}


@pytest.mark.parametrize(
    ("changes", "read", "every"),
    [
        ({}, SAME, 3),
        pytest.param({}, SAME, 1, marks=pytest.mark.slow),
        pytest.param(
            {"duplicates": {"same_target": False}},
            {"read", "summary.json", "kept.arrow", "keys.arrow", "texts.arrow"},
            1,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"split": {"train": 0.7, "validation": 0.2}},
            {"000000.arrow", "ties.arrow", "kept.arrow", "changed.arrow"},
            1,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["same recipe, some files", "same recipe", "other duplicates", "another split"],
)
def test_a_rotten_cache_is_told_and_made_anew(
    stores: Stores, changes: dict[str, Any], read: set[str], every: int
) -> None:
    stores.write(**changes)
    kinds, expected = read_by(stores)
    assert read <= kinds.keys(), kinds.keys()
    draw = random.Random(f"{changes}")
    for number, (kind, paths) in list(enumerate(kinds.items()))[::every]:
        how = draw.choice([each for each in DAMAGE if each != "flipped"]) if number % 2 else "flipped"
        path = stores.copy() / draw.choice(paths)
        entry = entry_of(path)
        changed = damage(path, how, draw)
        told: list[str] = []
        assert curated(stores.project, told) == expected, (path, how)
        told = [line for line in told if "damaged" in line]
        if changed and (kind, how) != (SEAL, "deleted"):  # without its seal there is no entry
            assert told, (path, how)
            assert told[0].startswith(f"{entry} is damaged (")
            assert path.name in told[0]
        assert all(line.endswith(": made anew") for line in told)


def test_rot_that_another_process_finds_is_told_here(stores: Stores) -> None:
    changes = {"duplicates": {"same_target": False}}
    stores.write(**changes)
    kinds, expected = read_by(stores)
    path = stores.copy() / kinds["kept.arrow"][0]
    damage(path, "flipped", random.Random(0))
    told: list[str] = []
    with process_pool(2, silent) as map_shards:
        assert curated(stores.project, told, map_shards=map_shards) == expected
    assert [line for line in told if "damaged" in line] == [
        f"{entry_of(path)} is damaged (the bytes of kept.arrow are not those that were written): made anew"
    ]


def test_a_rotten_index_is_an_error_that_names_the_file(stores: Stores) -> None:
    stores.write()
    stores.copy()
    expected = curated(stores.project, [])
    draw = random.Random(0)
    names = [path.relative_to(stores.template) for path in sorted((stores.template / "index").rglob("*.*"))]
    assert len(names) == 1 + len(PARTS)
    for number, name in enumerate(names):
        for how in ("flipped", sorted({*DAMAGE} - {"flipped"})[number % 4]):
            path = stores.copy() / name
            if not damage(path, how, draw) or (how, name.name) == ("deleted", MANIFEST):
                assert curated(stores.project, []) == expected, "it is made again"
                continue
            with pytest.raises(AssayError) as caught:
                curated(stores.project, [])
            assert caught.value.message.startswith(f"{path}: ")
            assert "assay index rebuild demo" in caught.value.remedy
