"""Stages from outside the package, one of each kind: the examples of CONTRIBUTING, found by their entry points."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curate.errors import AssayError
from curate.publish.check import check_version
from curate.recipe import Recipe, outside_stages
from curate.workers import process_pool
from tests.project import Project
from tests.test_docs import code_block

EXAMPLES = {"shouting": "class Shouting", "source_cap": "class SourceCap"}
"""Module and entry point -> what marks its block in CONTRIBUTING."""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package that adds both stages."""
    site = tmp_path / "site"
    site.mkdir()
    for module, mark in EXAMPLES.items():
        (site / f"outside_{module}.py").write_text(code_block("CONTRIBUTING.md", "python", mark))
    declare(site, {"shouting": "outside_shouting:Shouting", "source_cap": "outside_source_cap:SourceCap"})
    monkeypatch.syspath_prepend(site)
    yield site
    for module in EXAMPLES:
        sys.modules.pop(f"outside_{module}", None)


def declare(site: Path, entries: dict[str, str]) -> None:
    """What `pip install` would write of a package's entry points."""
    info = site / "outside-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
    (info / "entry_points.txt").write_text(f"[assay.stages]\n{lines}")


def project_of(folder: Path, **sections: Any) -> Project:
    """Two files of 40 rows each that differ, every tenth of them in capitals."""
    project = Project(folder, **sections)
    for number, file in enumerate(("one", "two")):
        said = [f"{file} asks for box {row} with {row * row} green parts of kind {row % 7}" for row in range(40)]
        texts = [text.upper() if row % 10 == 0 else text for row, text in enumerate(said)]
        project.add(
            f"{file}.jsonl",
            [{"text": text, "colour": "red", "count": 2 * at + number} for at, text in enumerate(texts)],
        )
    return project


def test_both_kinds_run_where_the_recipe_names_them(package: Path, tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", shouting={"max_share": 0.5}, source_cap={"rows": 30})
    with process_pool(2, lambda *_: None) as pool:
        curated = project.curate(map_shards=pool, shard_bytes=2000)
    manifest = curated.manifest
    names = [stage.name for stage in manifest.stages]
    assert names[names.index("shouting") + 1] == "decontaminate"
    assert names[names.index("source_cap") + 1] == "split"
    told = {stage.name: stage for stage in manifest.stages}
    assert told["shouting"].reasons == {"shouting": 8}
    assert told["source_cap"].reasons == {"over_source_cap": 12}
    assert manifest.code["shouting"] == manifest.code["source_cap"] == 1
    assert manifest.recipe["source_cap"] == {"rows": 30}
    quarantine = pq.read_table(curated.folder / "quarantine.parquet").to_pylist()
    reasons = Counter((row["stage"], row["reason"]) for row in quarantine)
    assert reasons["shouting", "shouting"] == 8
    assert reasons["source_cap", "over_source_cap"] == 12
    capped = [json.loads(row["evidence"]) for row in quarantine if row["stage"] == "source_cap"]
    assert {(seen["file"], seen["rank"]) for seen in capped} == {
        (file, rank) for file in ("one.jsonl", "two.jsonl") for rank in range(31, 37)
    }
    report = (curated.folder / "report.html").read_text()
    assert "over_source_cap" in report
    assert "shouting" in report
    checks = check_version(curated.folder)
    assert checks
    assert [each.claim for each in checks if each.failures] == []
    again = project.curate()
    assert again.folder == curated.folder
    second = project.curate()
    assert all(hit == of for hit, of in second.cached.values())


def test_a_change_of_their_settings_redoes_only_what_comes_after(package: Path, tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", shouting={"max_share": 0.5}, source_cap={"rows": 30})
    project.curate()
    path = project.recipe_path
    path.write_text(path.read_text().replace("rows: 30", "rows: 20"))
    cached = project.curate().cached
    assert cached["shouting"][0] == cached["fit"][0] == 1
    assert cached["source_cap"][0] == cached["split"][0] == 0


def test_a_recipe_that_names_none_knows_nothing_of_them(package: Path, tmp_path: Path) -> None:
    with_them = project_of(tmp_path / "with").curate()
    assert not {"shouting", "source_cap"} & with_them.manifest.recipe.keys()
    declare(package, {})
    assert outside_stages() == {}
    assert project_of(tmp_path / "without").curate().folder.name == with_them.folder.name


def test_their_settings_are_checked_as_any(package: Path, tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", source_cap={"rows": 0, "colour": 1})
    with pytest.raises(AssayError) as error:
        Recipe.load(project.recipe_path)
    assert "source_cap.rows: Input should be greater than or equal to 1 (found 0)" in error.value.message
    assert "source_cap.colour: no such key" in error.value.message


def test_a_section_without_its_package_is_no_key(tmp_path: Path) -> None:
    assert not list(metadata.entry_points(group="assay.stages"))
    project = project_of(tmp_path / "project", source_cap={"rows": 3})
    with pytest.raises(AssayError, match="source_cap: no such key"):
        Recipe.load(project.recipe_path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"clean": "outside_shouting:Shouting"}, "outside_shouting:Shouting: its `name` must be 'clean'"),
        ({"shouting": "outside_missing:Shouting"}, "The stage 'shouting' cannot be loaded: ModuleNotFoundError"),
        ({"shouting": "outside_shouting:pa"}, "outside_shouting:pa is no stage: expected a RowStage or a SetStage"),
        ({"fit": "outside_clash:Clash"}, "There is a stage or a section 'fit' already"),
        ({"training": "outside_clash:Training"}, "There is a stage or a section 'training' already"),
        ({"astray": "outside_clash:Astray"}, "outside_clash:Astray: there is no stage 'nowhere' to come before"),
        ({"late": "outside_clash:Late"}, "outside_clash:Late: there is no stage 'balance' to come before"),
        ({"model_config": "outside_clash:Gate"}, "'model_config' cannot be a stage's name"),
        ({"Has Space": "outside_clash:Gate"}, "'Has Space' cannot be a stage's name"),
        ({"gate": "outside_clash:Gate"}, "There is a stage or a section 'gate' already"),
    ],
)
def test_an_entry_point_that_cannot_be_is_a_clear_error(
    package: Path, tmp_path: Path, entries: dict[str, str], message: str
) -> None:
    (package / "outside_clash.py").write_text(
        "from outside_shouting import Shouting\n"
        "class Clash(Shouting):\n    name = 'fit'\n"
        "class Training(Shouting):\n    name = 'training'\n"
        "class Astray(Shouting):\n    name, place = 'astray', 'nowhere'\n"
        "class Late(Shouting):\n    name, place = 'late', 'balance'\n"
        "class Gate(Shouting):\n    name = 'gate'\n"
    )
    declare(package, entries)
    (name,) = entries
    sections = {name: {}} if name in ("shouting", "astray", "late") else {"unknown": {}}
    project = project_of(tmp_path / "project", **sections)
    with pytest.raises(AssayError) as error:
        Recipe.load(project.recipe_path)
    assert message in error.value.message
    assert "assay.stages" in error.value.remedy


def test_two_packages_that_add_one_name_are_a_clear_error(package: Path, tmp_path: Path) -> None:
    other = package / "other-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text("[assay.stages]\nshouting = outside_shouting:Shouting\n")
    project = project_of(tmp_path / "project", shouting={})
    with pytest.raises(AssayError, match="There is a stage or a section 'shouting' already"):
        Recipe.load(project.recipe_path)


WRONG = {
    "short": (
        "Verdict(said.slice(1))",
        "Stage wrong: a verdict of 79 rows with reason, evidence, expected one for each of 80",
    ),
    "bare": ("Verdict(said.select(['reason']))", "Stage wrong: a verdict of 80 rows with reason, expected"),
    "word": (
        "Verdict(said.set_column(0, 'reason', pa.array(['odd'] * 80)))",
        "Stage wrong: 'odd' is none of its `reasons`",
    ),
    "path": ("Verdict(said, published={'../../evil': said})", "Stage wrong: '../../evil' is no name of a table"),
    "raises": ("1 / 0", "failed: ZeroDivisionError"),
    "leaves": ("__import__('sys').exit(0)", "failed: SystemExit: 0"),
    "taken": ("Verdict(said, published={'train': said})", "Stage wrong: a version has a table 'train' already"),
    "sets": ("Verdict(said.append_column('label', said['reason']))", "Stage wrong: its verdict sets 'label'"),
    "tells": ("Verdict(said, manifest={'drop': {'sha256': ''}})", "Stage wrong: the manifest has a key 'drop' already"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_verdict_that_cannot_be_is_told_and_not_kept(package: Path, tmp_path: Path, kind: str) -> None:
    given, message = WRONG[kind]
    source = (
        "import pyarrow as pa\n"
        "from curate.sets.stage import SetStage, Verdict\n"
        "class Wrong(SetStage):\n"
        "    name = 'wrong'\n"
        "    def keys_of(self, table):\n"
        "        return table.select(['id'])\n"
        "    def judge(self, keys, seen):\n"
        "        none = pa.nulls(keys.num_rows, pa.string())\n"
        "        said = pa.table({'reason': none, 'evidence': none})\n"
        f"        return {given}\n"
    )
    (package / f"outside_wrong_{kind}.py").write_text(source)
    declare(package, {"wrong": f"outside_wrong_{kind}:Wrong"})
    project = project_of(tmp_path / "project", wrong={})
    for _ in range(2):  # what is wrong has not been kept
        with pytest.raises(AssayError) as error:
            project.curate()
        assert message in error.value.message
    assert not list((project.folder / "store/datasets").rglob("*.parquet"))


ASTRAY = {
    "lost": ("divide(table.take([1, 1, *range(2, n)]), 'astray', [])", "rows are not conserved"),
    "renamed": ("divide(table.set_column(0, 'id', pa.array(['x'] * n)), 'astray', [])", "rows are not conserved"),
    "owed": ("replace(divide(table.slice(2), 'astray', []), made=-2)", "rows are not conserved"),
    "other": ("divide(table, 'fit', [Reject(0, 'shouting', {})])", "it quarantines rows as 'fit'"),
    "typed": (
        "replace(divide(table, 'astray', []), kept=table.set_column(5, 'label', pa.array([1] * n)))",
        "the column 'label' is not as in a record",
    ),
    "none": ("None", "failed: AttributeError"),
    "turned": ("divide(table.take([1, 0, *range(2, n)]), 'astray', [])", "gives them in another order"),
}


@pytest.mark.parametrize("kind", ASTRAY)
def test_a_row_stage_that_goes_astray_is_told_by_its_name(package: Path, tmp_path: Path, kind: str) -> None:
    given, message = ASTRAY[kind]
    (package / f"outside_astray_{kind}.py").write_text(
        "from dataclasses import replace\n"
        "import pyarrow as pa\n"
        "from curate.stage import Reject, RowStage, divide\n"
        "class Astray(RowStage):\n"
        "    name = 'astray'\n"
        f"    reads = property(lambda self: {() if kind == 'turned' else None})\n"
        "    def run(self, table):\n"
        "        n = table.num_rows\n"
        f"        return {given}\n"
    )
    declare(package, {"astray": f"outside_astray_{kind}:Astray"})
    project = project_of(tmp_path / "project", astray={})
    with pytest.raises(AssayError) as error:
        project.curate()
    assert error.value.message.startswith("Stage astray")
    assert message in error.value.message


def test_keys_of_another_number_are_told(package: Path, tmp_path: Path) -> None:
    (package / "outside_few.py").write_text(
        code_block("CONTRIBUTING.md", "python", "class SourceCap")
        .replace('"id": table["id"]', '"id": table["id"][1:]')
        .replace('"file": files', '"file": files[1:]')
    )
    declare(package, {"source_cap": "outside_few:SourceCap"})
    project = project_of(tmp_path / "project", source_cap={"rows": 30})
    with pytest.raises(AssayError, match="Stage source_cap: 79 keys of 80 rows"):
        project.curate()


def test_a_stage_that_does_not_run_judges_nothing(package: Path, tmp_path: Path) -> None:
    (package / "outside_idle.py").write_text(
        "from outside_shouting import Shouting\n"
        "class Idle(Shouting):\n"
        "    name = 'idle'\n"
        "    @property\n"
        "    def runs(self):\n"
        "        return False\n"
    )
    declare(package, {"idle": "outside_idle:Idle"})
    curated = project_of(tmp_path / "project", idle={"max_share": 0.0}).curate()
    assert "idle" not in [stage.name for stage in curated.manifest.stages]
    assert curated.manifest.counts.rows_in == 80


def test_what_a_stage_publishes_has_the_same_bytes_however_rows_are_cut(package: Path, tmp_path: Path) -> None:
    (package / "outside_listed.py").write_text(
        "import pyarrow as pa\n"
        "from curate.sets.stage import SetStage, Verdict\n"
        "class Listed(SetStage):\n"
        "    name = 'listed'\n"
        "    def keys_of(self, table):\n"
        "        return table.select(['id'])\n"
        "    def judge(self, keys, seen):\n"
        "        none = pa.nulls(keys.num_rows, pa.string())\n"
        "        rows = pa.concat_tables(seen.rows.tables)\n"
        "        said = pa.table({'reason': none, 'evidence': none})\n"
        "        return Verdict(said, published={'whole': rows, 'ids': keys}, manifest={'listed': keys.num_rows})\n"
    )
    declare(package, {"listed": "outside_listed:Listed"})
    project = project_of(tmp_path / "project", listed={})
    one, other = project.curate("one"), project.curate("two", shard_bytes=1500)
    assert one.folder.name == other.folder.name
    assert pq.read_table(one.folder / "whole.parquet").num_rows == pq.read_table(one.folder / "ids.parquet").num_rows
    assert one.manifest.model_dump()["listed"] == 80
