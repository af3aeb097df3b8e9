"""Rows and files that end the process that reads or judges them: the run goes on without them, and says why."""

import json
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from curate.engine import MapShards, map_in_process
from curate.errors import AssayError
from curate.progress import silent
from curate.publish.version import Curated
from curate.workers import process_pool
from tests.attacks.lethal import BOUND, ENDS, LETHAL, end_by, harmed, kill_once, leave_for
from tests.curate.test_unharmed import lighten, result
from tests.project import Project, make_rows


def lethal_at(stage: str, end: Callable[[], None], pool: MapShards) -> MapShards:
    """An engine whose workers end where `stage` comes to lethal words; the other stages run here, for speed."""

    def map_shards(name: str, function: Callable[[Any], Any], tasks: Any, /) -> list[Any]:
        engine = pool if stage in name.split(" to ") else map_in_process
        return engine(name, partial(harmed, stage, end, name, function), tasks)

    return map_shards


@pytest.fixture(scope="module")
def pool() -> Iterator[MapShards]:
    with process_pool(1, silent, BOUND) as map_shards:  # the fewest to start anew
        yield map_shards


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Some files with rows of all kinds."""
    lighten(monkeypatch)
    project = Project(tmp_path / "project", sources=[{"files": ["*"]}])
    for number in range(2):
        project.add(f"{number}.jsonl", make_rows(12, number))
    return project


def add_line(project: Project) -> None:
    """A lethal row in the midst of others."""
    path = project.drop / "1.jsonl"
    lines = path.read_text().splitlines()
    lines.insert(7, json.dumps({"text": LETHAL, "colour": "red", "count": 3}))
    path.write_text("\n\n" + "\n".join(lines) + "\n")  # two blank lines: the row's number is not the line's


def rows_of(curated: Curated, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(curated.folder / f"{name}.parquet").to_pylist()
    return rows


def left_out(curated: Curated) -> list[dict[str, Any]]:
    """The quarantined rows that ended a worker."""
    return [row for row in rows_of(curated, "quarantine") if "its worker process" in row["evidence"]]


def others(curated: Curated) -> set[str]:
    """The ids of all rows but those."""
    rows = [row for name in ("train", "validation", "test", "quarantine") for row in rows_of(curated, name)]
    return {row["id"] for row in rows if "its worker process" not in row.get("evidence", "")}


@pytest.mark.parametrize(
    ("stage", "end"),
    [
        ("read", "segfault"),
        ("clean", "exit"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                ("read", "abort"),
                ("read", "exit"),
                ("read", "memory"),
                ("clean", "segfault"),
                ("fit", "memory"),
            )
        ),
    ],
)
def test_only_the_row_is_lost_that_ends_its_worker(stage: str, end: str, project: Project, pool: MapShards) -> None:
    harmless = project.curate("harmless")
    add_line(project)
    how, words = ENDS[end]
    curated = project.curate(map_shards=lethal_at(stage, how, pool))
    (row,) = left_out(curated)
    assert (row["source"]["file"], row["source"]["row"]) == ("1.jsonl", 7)
    assert row["stage"] == stage
    evidence = json.loads(row["evidence"])
    if stage == "read":
        assert (row["reason"], evidence) == ("unreadable", {"message": words, "line": 10})
        assert json.loads(row["raw"])["text"] == LETHAL
    else:
        assert (row["reason"], evidence) == ("worker_died", {"message": words})
        assert row["turns"][0]["content"] == LETHAL
    assert others(curated) == others(harmless)
    assert curated.manifest.counts.rows_in == harmless.manifest.counts.rows_in + 1


@pytest.mark.parametrize("stage", ["read", pytest.param("clean", marks=pytest.mark.slow)])
def test_what_is_left_out_does_not_depend_on_shards(stage: str, project: Project, pool: MapShards) -> None:
    add_line(project)
    (project.drop / "one.jsonl").write_text(json.dumps({"text": f"{LETHAL} either", "colour": "red", "count": 3}))
    lethal = lethal_at(stage, ENDS["segfault"][0], pool)
    found = []
    for size in (1 << 23, 500):
        curated = project.curate(f"{size}", lethal, shard_bytes=size)
        assert len(left_out(curated)) == 2
        found.append(result(project.folder / f"{size}"))
    assert found[0] == found[1]


def test_of_what_cannot_be_cut_the_file_is_lost_and_no_other(project: Project, pool: MapShards) -> None:
    harmless = project.curate("harmless")
    (project.drop / "lethal.csv").write_text(f"text,colour,count\nthe first box,red,1\n{LETHAL},red,2\n")
    lethal = lethal_at("read", ENDS["segfault"][0], pool)
    found = []
    for size in (1 << 23, 500):
        curated = project.curate(f"{size}", lethal, shard_bytes=size)
        (row,) = left_out(curated)
        assert (row["source"]["file"], row["source"]["row"], row["reason"]) == ("lethal.csv", 0, "unreadable")
        assert row["raw"] == (project.drop / "lethal.csv").read_text()
        assert others(curated) == others(harmless)
        found.append(result(project.folder / f"{size}"))
    assert found[0] == found[1]


def test_a_run_again_gives_the_same(project: Project, pool: MapShards) -> None:
    add_line(project)
    lethal = lethal_at("clean", ENDS["segfault"][0], pool)
    first = project.curate(map_shards=lethal)
    assert project.curate(map_shards=lethal).folder == first.folder
    assert len(left_out(first)) == 1
    healed = project.curate()
    assert healed.folder != first.folder
    assert not left_out(healed), "what a mended library survives is judged after all"


def test_a_worker_killed_once_from_outside_costs_nothing(project: Project, pool: MapShards, tmp_path: Path) -> None:
    add_line(project)
    for stage in ("read", "clean"):
        project.curate(f"{stage}", lethal_at(stage, partial(kill_once, tmp_path / f"trace of {stage}"), pool))
        assert (tmp_path / f"trace of {stage}").exists()
    project.curate("undisturbed")
    undisturbed = result(project.folder / "undisturbed")
    assert result(project.folder / "read") == result(project.folder / "clean") == undisturbed


@pytest.mark.parametrize(("stage", "at"), [("read", r"1\.jsonl from line 10"), ("clean", r"row 7 of 1\.jsonl")])
def test_a_worker_killed_each_time_is_told_with_its_row(stage: str, at: str, project: Project, pool: MapShards) -> None:
    """The system may have done it, which says nothing of the row."""
    add_line(project)
    with pytest.raises(AssayError, match=rf"Stage {stage}, {at}: its worker process was killed: signal 9") as caught:
        project.curate(map_shards=lethal_at(stage, partial(end_by, signal.SIGKILL), pool))
    assert "ASSAY_WORKER_MEMORY" in caught.value.remedy
    assert not (project.folder / "store/datasets/demo").exists()


def test_nothing_is_published_where_all_rows_are_compared_and_one_is_lethal(project: Project, pool: MapShards) -> None:
    add_line(project)
    with pytest.raises(AssayError, match=r"Stage duplicates: keys, row 0 of 0\.jsonl to row 12 of 1\.jsonl") as caught:
        project.curate(map_shards=lethal_at("duplicates: keys", ENDS["segfault"][0], pool))
    assert "signal 11 (Segmentation fault), also when it was tried alone" in caught.value.message
    assert not (project.folder / "store/datasets/demo").exists()


def test_a_library_that_dies_of_anything_costs_no_row(project: Project, pool: MapShards) -> None:
    def broken(name: str, function: Callable[[Any], Any], tasks: Any, /) -> list[Any]:
        return pool(name, leave_for, tasks) if name.startswith("clean to ") else map_in_process(name, function, tasks)

    with pytest.raises(AssayError, match=r"Stage clean, no rows: its worker process ended with exit status 3"):
        project.curate(map_shards=broken)
    assert not (project.folder / "store/datasets/demo").exists()


def test_a_lookup_that_ends_every_worker_is_named(project: Project, pool: MapShards) -> None:
    """It is a file of the drop that is read for every other: none of those is to blame."""
    (project.drop / "shades").mkdir()
    (project.drop / "shades/a.jsonl").write_text(json.dumps({"colour": LETHAL}) + "\n")
    lookups = {"shades": {"files": ["shades/*"], "key": "colour"}}
    recipe = yaml.safe_load(project.recipe_path.read_text())
    project.recipe_path.write_text(yaml.safe_dump(recipe | {"lookups": lookups}))
    with pytest.raises(AssayError, match=r"Stage read, lookups shades: its worker process ended: signal 11"):
        project.curate(map_shards=lethal_at("read", ENDS["segfault"][0], pool))
    assert not (project.folder / "store/datasets/demo").exists()
