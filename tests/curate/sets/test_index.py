"""The kept index: what it stores, that nothing can leave it half-written, and that no damage goes unnoticed."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import log2
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import AssayError
from curate.hashing import checksum, digest
from curate.manifest import DatasetManifest
from curate.record import QUARANTINE_SCHEMA, SPLITS, content_id
from curate.sets.bands import band_tables
from curate.sets.duplicates import Duplicates
from curate.sets.index import Index, recorded_settings
from curate.sets.keys import compared_text
from curate.sets.published import published, read_version
from curate.sets.segments import GROWTH, PARTS, ROWS, Keys
from curate.store import Store
from curate.text.minhash import signatures
from curate.text.words import shingle_sets
from tests import judged
from tests.disks import mounted
from tests.manifests import dataset_manifest, forge, sealed
from tests.project import Project, make_rows
from tests.records import record, table_of

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = Duplicates(threshold=0.7, shingle_words=2)


def row(text: str, target: str = '{"a":1}', place: str = "a.txt:0", **known: Any) -> dict[str, Any]:
    """A row to publish: what a record holds, where it is from ("FILE:ROW"), and `split`, `reason` or `cluster`."""
    file, number = place.split(":")
    turns = [{"role": "user", "content": text}]
    source = {"drop": "d", "file": file, "row": int(number)}
    return record(text, id=content_id(turns, target), target=target, source=source) | {"split": "train"} | known


def publish(
    store: Store,
    rows: Sequence[dict[str, Any]],
    *,
    earlier: Sequence[Path] | None = None,
    sources: bool = True,
    ledger: bool = True,
) -> Path:
    """Publish a version as the pipeline lays it out: rows with a `reason` go to quarantine.

    Args:
        earlier: the versions it was compared with; None leaves manifest["index"] out.
        sources: whether it has a sources.parquet.
        ledger: whether the ledger tells of it.
    """
    kept = [each for each in rows if "reason" not in each]
    removed = [each | {"raw": None} for each in rows if "reason" in each]
    drop = digest([each["id"] for each in rows] + [[each["source"]["file"], each["source"]["row"]] for each in rows])
    with store.publishing("datasets", "demo") as draft:
        for split in SPLITS:
            own = [each for each in kept if each["split"] == split]
            table = table_of(own).drop_columns("meta")
            clusters = pa.array([each.get("cluster", each["id"]) for each in own], pa.string())
            pq.write_table(table.append_column("cluster", clusters), draft.folder / f"{split}.parquet")
        for each in removed:
            each["stage"] = each.get("stage", "duplicates")
            each["evidence"] = orjson.dumps({"cluster": each["cluster"]} if "cluster" in each else {}).decode()
        pq.write_table(pa.Table.from_pylist(removed, QUARANTINE_SCHEMA), draft.folder / "quarantine.parquet")
        files = sorted({each["source"]["file"] for each in rows})
        if sources:
            listed = {"file": pa.array(files, pa.string()), "sha256": pa.array([f"sha of {file}" for file in files])}
            pq.write_table(pa.table(listed), draft.folder / "sources.parquet")
        rejected = sum(each["stage"] == "duplicates" for each in removed)
        manifest = dataset_manifest(drop, len(kept), rejected, recipe={"duplicates": SETTINGS.model_dump()})
        if earlier is not None:
            manifest["index"] = {"compared_with": [folder.name for folder in earlier]}
        folder = draft.publish(manifest)
    if ledger:
        store.record({"event": "datasets", "name": "demo", "version": folder.name})
    return folder


def numbered(count: int, file: str = "a.txt") -> list[dict[str, Any]]:
    """Different rows, some of them alike, of different lengths."""
    return [row(f"{file} {n} " + "and so on " * (n % 7), place=f"{file}:{n}") for n in range(count)]


def index_of(store: Store, given: Duplicates = SETTINGS) -> Index:
    return Index(store, "demo", given)


def contents(store: Store) -> dict[str, bytes]:
    """Every file of the index but the lock."""
    folder = store.index / "demo"
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def stored(index: Index) -> list[tuple[Any, ...]]:
    """Every row of the index, in order: all columns, its signature and its shingles."""
    return [
        (*values.values(), segment.signatures[n].tobytes(), tuple(segment.shingles[begin:end].tolist()))
        for segment in index.segments()
        for n, (values, begin, end) in enumerate(
            zip(segment.rows.to_pylist(), segment.offsets[:-1], segment.offsets[1:], strict=True)
        )
    ]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three indexed versions in two segments."""
    store = Store(tmp_path_factory.mktemp("template") / "store")
    for count, file in [(40, "a.txt"), (9, "b.txt"), (5, "c.txt")]:
        publish(store, numbered(count, file))
    index_of(store).catch_up()
    assert [segment.rows.num_rows for segment in index_of(store).segments()] == [40, 14]
    return store.root


@pytest.fixture
def filled(template: Path, store: Store) -> Store:
    """A copy of it, to change."""
    shutil.copytree(template, store.root)
    return store


def test_a_version_s_rows_are_stored_with_what_they_are_compared_by(store: Store) -> None:
    folder = publish(
        store,
        [
            row("one two three", place="a.txt:0", cluster="c1", group="g"),
            row("four five six", place="a.txt:1", split="test"),
            row("one two three!", place="b.txt:5", reason="near_duplicate", cluster="c1"),
            row("seven", '{"a":2}', place="b.txt:6", reason="conflict"),
            row("too long", place="b.txt:7", reason="too_long", stage="quality"),
        ],
    )
    assert index_of(store).catch_up() == [folder.name]
    assert index_of(store).versions() == [folder.name]
    (segment,) = index_of(store).segments()
    assert segment.rows.schema == ROWS
    assert (segment.versions, segment.drops) == ([folder.name], [DatasetManifest.read(folder).drop.sha256])
    told = ["version", "file", "row", "file_sha256", "votes", "chars", "kept", "conflict", "cluster", "group", "split"]
    assert [tuple(each.values()) for each in segment.rows.select(told).to_pylist()] == [
        (folder.name, "a.txt", 0, "sha of a.txt", 1, 13, True, False, "c1", "g", "train"),
        (folder.name, "a.txt", 1, "sha of a.txt", 1, 13, True, False, segment.rows["id"][1].as_py(), None, "test"),
        (folder.name, "b.txt", 5, "sha of b.txt", 1, 14, False, False, "c1", None, None),
        (folder.name, "b.txt", 6, "sha of b.txt", 1, 5, False, True, None, None, None),
    ]
    texts = [("one two three", 1), ("four five six", 1), ("one two three!", 1), ("seven", 2)]
    table = table_of([row(text, f'{{"a":{answer}}}') for text, answer in texts])
    keys = judged.keys_of(table, SETTINGS)
    for name in ("id", "prompt", "answer"):
        assert segment.rows[name].to_pylist() == keys[name].to_pylist()
    offsets, shingles = shingle_sets(compared_text(table, SETTINGS), 2)
    assert np.array_equal(segment.offsets, offsets)
    assert np.array_equal(segment.shingles, shingles)
    assert np.array_equal(segment.signatures, signatures(offsets, shingles))
    assert np.array_equal(segment.bands, band_tables(segment.signatures, len(segment.bands)))
    prompts = sorted((int.from_bytes(p[:4], "little") << 32) + n for n, p in enumerate(keys["prompt"].to_pylist()))
    assert segment.prompts.tolist() == prompts
    assert index_of(store).check() == []


def test_rows_of_a_file_with_one_prompt_and_answer_are_stored_once_and_counted(store: Store) -> None:
    twins = [
        row("b", place="a.txt:0", reason="exact_duplicate"),
        row("a", place="a.txt:1", reason="exact_duplicate"),
        row("a", place="a.txt:2", split="validation"),
        row("a", place="a.txt:3", reason="exact_duplicate"),
        row("a", place="b.txt:0", reason="exact_duplicate"),
        row("a", '{"a":2}', place="a.txt:4"),
        row("b", place="a.txt:5", reason="exact_duplicate"),
    ]
    publish(store, twins)
    index_of(store).catch_up()
    (segment,) = index_of(store).segments()
    assert [tuple(each.values()) for each in segment.rows.select(["file", "row", "votes", "kept"]).to_pylist()] == [
        ("a.txt", 4, 1, True),
        ("a.txt", 2, 3, True),
        ("a.txt", 0, 2, False),
        ("b.txt", 0, 1, False),
    ]
    assert index_of(store).check() == []


def test_an_old_version_without_sources_or_clusters_is_indexed(store: Store) -> None:
    publish(store, [row("a"), row("b", reason="near_duplicate")], sources=False)
    index_of(store).catch_up()
    (segment,) = index_of(store).segments()
    assert segment.rows["file_sha256"].to_pylist() == [None, None]
    assert segment.rows["cluster"].to_pylist() == [segment.rows["id"][0].as_py(), None]


def test_a_version_from_before_turns_could_think_is_indexed_as_the_same(store: Store) -> None:
    version = publish(store, [row("a"), row("b", reason="near_duplicate")])
    before = keys_of(version)
    for path in version.glob("*.parquet"):
        table = pq.read_table(path)
        if "turns" in table.column_names:
            said = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
            at = table.column_names.index("turns")
            table = table.set_column(at, "turns", pa.array(table["turns"].to_pylist(), said))
            path.chmod(0o644)
            pq.write_table(table.drop_columns("reasoning"), path)
    forge(version)
    assert keys_of(version) == before


def keys_of(version: Path) -> list[dict[str, Any]]:
    return [each for keys in read_version(version, SETTINGS) for each in keys.rows.to_pylist()]


@pytest.mark.parametrize(("name", "size"), [("BATCH", 3), ("BATCH_BYTES", 1)])
def test_how_many_rows_are_read_at_a_time_changes_nothing(
    store: Store, name: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = numbered(20) + [row("twin", place=f"a.txt:{n}", reason="exact_duplicate") for n in range(20, 28)]
    publish(store, [*rows, row("twin", place="b.txt:0")])
    index_of(store).catch_up()
    before = contents(store)
    monkeypatch.setattr(f"curate.sets.published.{name}", size)
    index_of(store).rebuild()
    assert contents(store) == before


def test_a_version_that_cannot_be_read_is_named(store: Store) -> None:
    folder = publish(store, numbered(20))
    os.truncate(folder / "train.parquet", 100)
    with pytest.raises(AssayError, match=r"train\.parquet: changed since it was published"):
        index_of(store).catch_up()
    forge(folder)
    with pytest.raises(AssayError, match=r"train\.parquet: not readable as Parquet"):
        index_of(store).catch_up()
    (folder / "train.parquet").unlink()
    with pytest.raises(AssayError, match=r"train\.parquet: not there, though it was published"):
        index_of(store).catch_up()
    assert index_of(store).versions() == []


def test_what_the_pipeline_publishes_is_indexed_whole(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("a.jsonl", make_rows(150))
    first = project.curate()
    project.add("b.jsonl", make_rows(60, seed=1))
    second = project.curate()
    store = Store(tmp_path / "store")
    given = recorded_settings(store, "demo")
    assert given.model_dump().items() <= project.recipe.duplicates.model_dump().items()
    index = Index(store, "demo", given)
    index.catch_up()
    assert sorted(index.versions()) == sorted([first.folder.name, second.folder.name])
    assert index.check() == []
    rows = pa.concat_tables([segment.rows for segment in index.segments()]).to_pylist()
    for curated in (first, second):
        own = [each for each in rows if each["version"] == curated.folder.name]
        for split in SPLITS:
            table = pq.read_table(curated.folder / f"{split}.parquet")
            columns = [table[name].to_pylist() for name in ("id", "cluster", "group")]
            assert [(each["id"], each["cluster"], each["group"]) for each in own if each["split"] == split] == list(
                zip(*columns, strict=True)
            )
        (stage,) = [stage for stage in curated.manifest.stages if stage.name == "duplicates"]
        assert sum(each["votes"] for each in own) == curated.manifest.counts.kept + stage.rejected
        assert sum(each["votes"] for each in own if each["conflict"]) == stage.reasons["conflict"]


@settings(max_examples=8)
@given(st.lists(st.integers(0, 12) | st.sampled_from([25, 60]), min_size=1, max_size=5))
def test_appending_and_merging_lose_nothing_and_rebuilding_gives_the_same_bytes(counts: list[int]) -> None:
    with TemporaryDirectory() as folder:
        store = Store(Path(folder))
        index, expected = index_of(store), list[str]()
        for number, count in enumerate(counts):
            rows = numbered(count, f"{number}.txt")
            folder = publish(store, rows, earlier=published(store, "demo"))
            assert index.catch_up() == [folder.name]
            expected += [each["id"] for each in rows]
            held = [segment.rows.num_rows for segment in index.segments()]
            assert all(before > GROWTH * after for before, after in pairwise(held))
            assert len(held) <= 1 + (log2(len(expected)) if expected else 0)
            assert [values[0] for values in stored(index)] == expected
        assert index.check() == []
        parts = [part for folder in published(store, "demo") for part in read_version(folder, SETTINGS)]
        whole = pa.concat_tables([ROWS.empty_table(), *(part.rows for part in parts)]).to_pylist()
        assert [values[: len(ROWS)] for values in stored(index)] == [tuple(each.values()) for each in whole]
        table = table_of([each for number, count in enumerate(counts) for each in numbered(count, f"{number}.txt")])
        offsets, shingles = shingle_sets(compared_text(table, SETTINGS), 2)
        assert [values[-1] for values in stored(index)] == [
            tuple(shingles[begin:end].tolist()) for begin, end in pairwise(offsets)
        ]
        before = contents(store)
        index.rebuild()
        assert contents(store) == before
        shutil.rmtree(store.index)
        index.catch_up()
        assert contents(store) == before


def test_what_is_made_ready_before_a_version_is_published_is_the_same_and_counts_from_then_on(store: Store) -> None:
    publish(store, numbered(9))
    index = index_of(store)
    index.catch_up()
    before = contents(store)
    version = publish(store, numbered(30, "b.txt"))
    aside = store.root / "aside"
    version.rename(aside)
    index.make_ready(aside, version.name, DatasetManifest.read(aside).drop.sha256)
    assert before.items() < contents(store).items(), "its files lie there, and nothing names them"
    assert index_of(store).versions() == index.versions()
    aside.rename(version)
    assert index.catch_up() == [version.name]
    made_ready = contents(store)
    index.rebuild()
    assert contents(store) == made_ready


def test_what_was_made_ready_for_a_version_that_nobody_published_goes(store: Store) -> None:
    publish(store, numbered(9))
    index_of(store).catch_up()
    before = contents(store)
    version = publish(store, numbered(30, "b.txt"))
    aside = store.root / "aside"
    version.rename(aside)
    index_of(store).make_ready(aside, version.name, DatasetManifest.read(aside).drop.sha256)
    assert index_of(store).catch_up() == []
    assert contents(store) == before


def test_versions_stand_after_those_they_were_compared_with_else_as_the_ledger_tells(store: Store) -> None:
    last = publish(store, [row("untold")], ledger=False)
    first, second = publish(store, [row("a")]), publish(store, [row("b")])
    fourth = publish(store, [row("d")], ledger=False)
    third = publish(store, [row("c")], earlier=[fourth, first])
    gone = publish(store, [row("gone")])
    fifth = publish(store, [row("e")], earlier=[gone])
    shutil.rmtree(gone)
    untold = sorted([last, fourth], key=lambda folder: folder.name)
    at = untold.index(fourth)
    assert published(store, "demo") == [first, second, fifth, *untold[: at + 1], third, *untold[at + 1 :]]


def test_what_is_open_stays_as_it_is_while_segments_are_merged(filled: Store) -> None:
    index = index_of(filled)
    opened = index.segments()
    before = stored(index)
    names = set(contents(filled))
    publish(filled, numbered(60, "d.txt"))
    index.catch_up()
    assert len(index.segments()) == 1
    assert not names & set(contents(filled)) - {"manifest.json"}, "the merged files are gone"
    assert [each for segment in opened for each in segment.rows["id"].to_pylist()] == [values[0] for values in before]
    assert np.array_equal(opened[0].bands, band_tables(opened[0].signatures, len(opened[0].bands)))
    assert stored(index)[: len(before)] == before


def test_who_reads_while_segments_are_merged_reads_again(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    index, merging = index_of(filled), index_of(filled)
    stale = index._entries()

    def merge(what: str, done: int, total: int, unit: str) -> None:
        if total == 54:  # not yet when it checks again
            publish(filled, numbered(60, "d.txt"))
            merging.catch_up()

    assert index.check(merge) == []
    assert len(merging.versions()) == 4
    read = iter([stale])
    monkeypatch.setattr(index, "_entries", lambda: next(read, None) or merging._entries())
    assert [segment.rows.num_rows for segment in index.segments()] == [114]


def test_an_index_is_opened_and_read_through_in_next_to_no_memory(filled: Store) -> None:
    path = filled.index / "demo/manifest.json"
    content = json.loads(path.read_bytes())
    entry = content["segments"][0]
    shingles = filled.index / f"demo/segments/{entry['name']}.shingles.npy"
    with shingles.open("wb") as file:
        header = {"descr": "<u8", "fortran_order": False, "shape": (2**27,)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 2**30)
    entry["files"]["shingles.npy"] = {"bytes": shingles.stat().st_size, "xxh3_128": checksum(shingles)}
    del content["sha256"]
    path.write_text(json.dumps(content | {"sha256": digest(content)}))
    tracemalloc.start()
    assert index_of(filled).segments()[0].shingles[-1] == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


def test_an_index_of_other_parameters_is_an_error_that_names_each(filled: Store) -> None:
    other = index_of(filled, Duplicates(threshold=0.7, shingle_words=3, scope="both"))
    for read in (other.segments, other.versions, other.catch_up):
        with pytest.raises(AssayError) as caught:
            read()
        assert "scope is prompt there and both here; shingle_words is 2 there and 3 here" in caught.value.message
        assert "threshold" not in caught.value.message
        assert "assay index rebuild demo --recipe RECIPE" in caught.value.remedy
    (problem,) = other.check()
    assert "shingle_words is 2 there and 3 here" in problem
    other.rebuild()
    assert other.check() == []
    assert recorded_settings(filled, "demo").scope == "both"
    with pytest.raises(AssayError, match="scope is both there and prompt here"):
        index_of(filled).segments()


def test_there_is_nothing_to_record_or_rebuild_where_nothing_is_published(store: Store) -> None:
    with pytest.raises(AssayError, match="demo: no version in"):
        recorded_settings(store, "demo")
    with pytest.raises(AssayError, match="demo: no version in"):
        index_of(store).rebuild()
    assert index_of(store).segments() == index_of(store).versions() == index_of(store).check() == []
    assert not store.root.exists(), "reading writes nothing"


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def flip(path: Path, share: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(share * (len(content) - 1))] ^= 4
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "short": truncate,
    "long": lengthen,
    "first byte": partial(flip, share=0.0),
    "a byte within": partial(flip, share=0.6),
    "last byte": partial(flip, share=1.0),
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_noticed_and_mended(filled: Store, kind: str, part: str) -> None:
    index, before = index_of(filled), contents(filled)
    path = next(path for path in sorted((filled.index / "demo/segments").iterdir()) if path.name.endswith(part))
    DAMAGE[kind](path)
    with pytest.raises(AssayError) as caught:
        index.segments()
    assert str(path) in caught.value.message
    assert "assay index rebuild demo" in caught.value.remedy
    (problem,) = index.check()
    assert problem.startswith(f"{path}: ")
    publish(filled, numbered(60, "d.txt"))
    with pytest.raises(AssayError) as caught:
        index.catch_up()
    assert str(path) in caught.value.message, "it is not merged into a sound file"
    shutil.rmtree(next(folder for folder in published(filled, "demo") if folder.name not in index.versions()))
    index.rebuild()
    assert index.check() == []
    assert contents(filled) == before


@pytest.mark.parametrize("kind", ["short", "a byte within", "empty", "not an object", "another number", "no hash"])
def test_a_damaged_manifest_is_noticed_and_mended(filled: Store, kind: str) -> None:
    index, before, path = index_of(filled), contents(filled), filled.index / "demo/manifest.json"
    content = json.loads(path.read_bytes())
    if kind in DAMAGE:
        os.truncate(path, 900) if kind == "short" else flip(path, 0.5)
    elif kind == "another number":
        content["segments"][0]["rows"] += 1
        path.write_text(json.dumps(content))
    elif kind == "no hash":
        del content["sha256"]
        path.write_text(json.dumps(content))
    else:
        path.write_text("" if kind == "empty" else "[1]")
    for read in (index.segments, index.catch_up):
        with pytest.raises(AssayError) as caught:
            read()
        assert caught.value.message.startswith(f"{path}: ")
        assert "assay index rebuild demo" in caught.value.remedy
    (problem,) = index.check()
    assert problem.startswith(f"{path}: ")
    told = recorded_settings(filled, "demo").model_dump()
    assert told.items() <= SETTINGS.model_dump().items(), "the last published version tells"
    index.rebuild()
    assert contents(filled) == before


def test_an_index_of_a_format_to_come_is_not_guessed_at(filled: Store) -> None:
    path = filled.index / "demo/manifest.json"
    content = json.loads(path.read_bytes()) | {"format": 3}
    del content["sha256"]
    path.write_text(json.dumps(content | {"sha256": digest(content)}))
    with pytest.raises(AssayError, match="format 3, expected 2"):
        index_of(filled).segments()


def test_a_missing_manifest_is_made_again(filled: Store) -> None:
    before = contents(filled)
    (filled.index / "demo/manifest.json").unlink()
    assert all("published, but not indexed" in problem for problem in index_of(filled).check())
    assert len(index_of(filled).check()) == 3
    index_of(filled).catch_up()
    assert contents(filled) == before


def test_check_compares_the_index_with_what_is_published(filled: Store) -> None:
    gone = published(filled, "demo")[1]
    shutil.rmtree(gone)
    late = publish(filled, [row("late")])
    changed = published(filled, "demo")[0]
    manifest = json.loads((changed / "manifest.json").read_bytes())
    manifest["counts"]["kept"] = 41
    (changed / "manifest.json").write_text(json.dumps(sealed(manifest)))
    assert index_of(filled).check() == [
        f"demo/{changed.name}: 40 rows indexed of 41 that are published or removed.",
        f"demo/{gone.name}: indexed, but no longer published.",
        f"demo/{late.name}: published, but not indexed.",
    ]
    index_of(filled).rebuild()
    assert index_of(filled).versions() == [folder.name for folder in published(filled, "demo")]


def shuffled(keys: Keys) -> Keys:
    return Keys(keys.rows, keys.signatures, keys.offsets, keys.shingles[::-1])


def strange(keys: Keys) -> Keys:
    return Keys(keys.rows, keys.signatures + np.uint32(1), keys.offsets, keys.shingles)


def empty_row(keys: Keys) -> Keys:
    return Keys(keys.rows, keys.signatures, np.minimum(keys.offsets, keys.offsets[-2]), keys.shingles)


@pytest.mark.parametrize(
    ("change", "part"),
    [(shuffled, "shingles.npy"), (strange, "signatures.npy"), (empty_row, "offsets.npy")],
)
def test_check_derives_what_can_be_derived(store: Store, change: Callable[[Keys], Keys], part: str) -> None:
    """Files that are as they were written, and were written wrongly."""
    folder = publish(store, numbered(20))
    index_of(store).add(folder.name, "drop", map(change, read_version(folder, SETTINGS)))
    problems = index_of(store).check()
    assert problems
    assert f"{part}: " in problems[0]


@pytest.mark.parametrize("part", ["bands.npy", "prompts.npy"])
def test_check_derives_the_tables(store: Store, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(store, numbered(20))
    name = {"bands.npy": "curate.sets.band_file.band_entries", "prompts.npy": "curate.sets.segments.prompt_table"}[part]
    with monkeypatch.context() as patch:
        wrong = {
            "bands.npy": lambda _, rows, __, bands: np.zeros((bands, len(rows)), np.uint64),
            "prompts.npy": lambda rows: np.zeros(rows.num_rows, np.uint64),
        }[part]
        patch.setattr(name, wrong)
        index_of(store).catch_up()
    (problem,) = index_of(store).check()
    assert f"{part}: not those of" in problem


def test_check_asks_datasketch(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that is wrong the same way each time is found out all the same."""
    from curate.text import minhash

    factors, summands = minhash._permutations()
    monkeypatch.setattr(minhash, "_permutations", lambda: (factors[::-1].copy(), summands))
    publish(store, numbered(20))
    index_of(store).catch_up()
    (problem,) = index_of(store).check()
    assert "signatures.npy: not datasketch's in row 0" in problem


CHILD = """
import os, shutil, signal, sys
from itertools import count
from pathlib import Path
import curate.sets.index
from curate.sets.duplicates import Duplicates
from curate.sets.index import Index
from curate.sets.published import published, read_version
from curate.store import Store

SETTINGS = Duplicates(threshold=0.7, shingle_words=2)

def files(store):
    paths = [p for p in (store.index / "demo").rglob("*") if p.is_file() and p.name != "lock"]
    return {str(p.relative_to(store.index)): p.read_bytes() for p in paths}

def in_child(work):
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    return child
"""


def run(code: str, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a script that begins with CHILD in a process of its own, which may fork: it has no other threads."""
    command = [sys.executable, "-c", CHILD + textwrap.dedent(code), *map(str, arguments)]
    threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, env=os.environ | threads)
    assert not check or done.returncode == 0, done.stderr
    return done


KILLS = """
def killed_at(place):
    # Kill this process just before its place-th step that changes the disk; a file that was not yet told to be
    # written is cut in half, as a power failure may leave it.
    steps = count(1)

    def before(name, real):
        def step(target, *rest, **named):
            if next(steps) == place:
                if name == "fsync" and not os.path.isdir(f"/proc/self/fd/{target}"):
                    path = os.readlink(f"/proc/self/fd/{target}")
                    os.truncate(path, os.path.getsize(path) // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(target, *rest, **named)
        return step

    for name in ("fsync", "replace", "unlink"):
        setattr(os, name, before(name, getattr(os, name)))

os.fsync = lambda descriptor: None  # the disk's part is played above
action, template, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
undisturbed = Store(folder / "undisturbed")
shutil.copytree(template, undisturbed.root)
parts = {path.name: list(read_version(path, SETTINGS)) for path in published(undisturbed, "demo")}
curate.sets.index.read_version = lambda path, settings: iter(parts[path.name])  # read once: writing is what is tested
getattr(Index(undisturbed, "demo", SETTINGS), action)()
whole = Index(undisturbed, "demo", SETTINGS).versions()
at_first = Index(Store(template), "demo", SETTINGS).versions()
held = []
for place in count(1):
    store = Store(folder / str(place))
    shutil.copytree(template, store.root)
    index = Index(store, "demo", SETTINGS)

    def work():
        killed_at(place)
        getattr(index, action)()

    _, status = os.waitpid(in_child(work), 0)
    if os.WIFSIGNALED(status):
        versions = index.versions()
        held.append(len(versions))
        assert versions == whole[: len(versions)] and len(versions) >= len(at_first), (place, versions)
        assert sum(segment.rows.num_rows for segment in index.segments()) > 0 or not versions
        if place % 8 == 0:
            assert all("not indexed" in problem for problem in index.check()), (place, index.check())
        getattr(index, action)()
    else:
        assert os.WEXITSTATUS(status) == 0, place
    assert files(store) == files(undisturbed), place
    shutil.rmtree(store.root)
    if not os.WIFSIGNALED(status):
        break
print(place - 1, *held)
"""


STEPS = 3 * (2 * len(PARTS) + 1)
"""The files of two versions' segments and of the merged one are synced and renamed, and then their folder is synced."""


def test_killed_at_any_step_of_adding_it_holds_whole_versions_and_goes_on(store: Store, tmp_path: Path) -> None:
    for count, file in [(9, "a.txt"), (5, "b.txt")]:
        publish(store, numbered(count, file))
    kills, *held = map(int, run(KILLS, "catch_up", store.root, tmp_path).stdout.split())
    assert kills == STEPS + 2 * (3 + len(PARTS)), "a manifest each, and the two segments merged are removed"
    assert held == sorted(held)
    assert set(held) == {0, 1, 2}


def test_killed_at_any_step_of_rebuilding_the_old_index_stays(store: Store, tmp_path: Path) -> None:
    for count, file in [(9, "a.txt"), (5, "b.txt")]:
        publish(store, numbered(count, file))
    index_of(store).catch_up()
    kills, *held = map(int, run(KILLS, "rebuild", store.root, tmp_path).stdout.split())
    assert kills == STEPS + 3 + 2 * len(PARTS), "one manifest; the two segments merged are removed"
    assert set(held) == {2}


def test_processes_that_add_at_once_all_end_up_in_it(store: Store) -> None:
    folders = [publish(store, numbered(20, f"{number}.txt")) for number in range(4)]
    code = """
        store = Store(Path(sys.argv[1]))
        read, write = os.pipe()

        def add(folder):
            os.close(write)
            os.read(read, 1)  # until all are there
            Index(store, "demo", SETTINGS).add(folder.name, "drop", read_version(folder, SETTINGS))

        import curate.text.minhash, curate.sets.bands, curate.text.words
        children = [in_child(lambda folder=Path(name): add(folder)) for name in sys.argv[2:]]
        os.close(write)
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    """
    run(code, store.root, *folders)
    index = index_of(store)
    assert sorted(index.versions()) == sorted(folder.name for folder in folders)
    assert index.check() == []
    assert len(contents(store)) == 1 + len(PARTS) * len(index.segments())


def test_one_waits_for_another_and_says_for_which(store: Store) -> None:
    code = """
        store = Store(Path(sys.argv[1]))
        with Index(store, "demo", SETTINGS).lock():
            print("held", os.getpid(), flush=True)
            sys.stdin.readline()
    """
    command = [sys.executable, "-c", CHILD + textwrap.dedent(code), str(store.root)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        pid = holder.stdout.readline().split()[1]
        told: list[tuple[str, int, int]] = []

        def progress(what: str, done: int, total: int, unit: str) -> None:
            told.append((what, done, total))
            if not done:
                holder.stdin.write("let go\n")  # type: ignore[union-attr]
                holder.stdin.flush()  # type: ignore[union-attr]

        index = index_of(store)
        with index.lock(progress), index.lock(progress):
            assert (store.index / "demo/lock").read_text() == str(os.getpid())
    assert told == [(f"wait for process {pid}", 0, 1), (f"wait for process {pid}", 1, 1)]


def test_a_full_disk_is_a_message_and_nothing_is_half_indexed(store: Store, tmp_path: Path) -> None:
    publish(store, numbered(20))
    publish(store, numbered(600, "large.txt"))
    store.index.mkdir(parents=True)
    undisturbed = Store(tmp_path / "undisturbed")
    with mounted(store.index, "-t", "tmpfs", "-o", "size=256k", "tmpfs"):
        index = index_of(store)
        with pytest.raises(AssayError) as caught:
            index.catch_up()
        assert "No space left on device" in caught.value.message
        assert "run the same command again" in caught.value.remedy
        assert len(index.versions()) == 1, "the small one was added before"
        assert [segment.rows.num_rows for segment in index.segments()] == [20]
        assert len(contents(store)) == 1 + len(PARTS), "no draft takes up the space"
        with pytest.raises(AssayError, match="No space left on device"):
            index.rebuild()
        assert [segment.rows.num_rows for segment in index.segments()] == [20]
        subprocess.run(["mount", "-o", "remount,size=8m", str(store.index)], check=True)
        index.catch_up()
        assert index.check() == []
        shutil.copytree(store.root / "datasets", undisturbed.root / "datasets")
        shutil.copytree(store.ledger, undisturbed.ledger)
        index_of(undisturbed).catch_up()
        assert contents(undisturbed) == contents(store)


def test_a_read_only_index_can_be_read_and_says_that_it_cannot_be_written(filled: Store) -> None:
    before = stored(index_of(filled))
    publish(filled, [row("late")])
    with mounted(filled.index, "--bind", str(filled.index)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(filled.index)], check=True)
        index = index_of(filled)
        for write in (index.catch_up, index.rebuild):
            with pytest.raises(AssayError, match="Read-only file system") as caught:
                write()
            assert str(index.folder) in caught.value.message
        assert stored(index) == before
        (problem,) = index.check()
        assert "published, but not indexed" in problem


def test_the_documented_program_reads_the_index(
    filled: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/index.md shows how; the pairs it prints are similar, by datasketch's estimate and truly."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/index.md").read_text(), re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(filled.root.parent)
    exec(code.replace("index/licences", "index/demo"), {})
    pairs = [line.split() for line in capsys.readouterr().out.splitlines()]
    segments = index_of(filled).segments()
    shared = [np.count_nonzero(np.diff(segment.bands[0] >> np.uint64(32)) == 0) for segment in segments]
    assert len(pairs) == sum(shared) > 5
    ids = {each for segment in segments for each in segment.rows["id"].to_pylist()}
    for first, second, estimate, true in pairs:
        assert {first, second} <= ids
        assert first != second
        assert abs(float(estimate) - float(true)) < 0.25, "five standard deviations"


def test_every_column_and_file_is_documented() -> None:
    text = (ROOT / "docs/index.md").read_text()
    assert [name for name in [*ROWS.names, *PARTS] if f"`{name}`" not in text and f"**{name}**" not in text] == []
    example = re.search(r'"parameters": (\{.*?\})', text, re.DOTALL)
    assert example is not None
    assert set(json.loads(example[1])) == set(index_of(Store(Path("nowhere"))).parameters)
