"""croissant.json, read by mlcroissant: it is valid, and the records that it describes are the rows of the version."""

import json
import shutil
from pathlib import Path
from typing import Any

import mlcroissant
import pyarrow.parquet as pq
import pytest

from curate.contract import Contract
from curate.manifest import DatasetManifest
from curate.publish.check import check_version
from curate.publish.croissant import CROISSANT, write_croissant
from curate.record import SPLITS
from curate.store import SUMS, strangers, verified, write_sums
from tests.curate.test_unharmed import lighten
from tests.project import RECIPE, Project, make_rows

MEANT = ["citeAs", "datePublished", "license", "MAJOR.MINOR.PATCH"]
"""Of each warning a word: nothing is cited, no clock is published, the contract of these tests names no licence, and a
version is called by its content."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    record = RECIPE["record"] | {"meta": {"case": "case | default(none)"}}
    return Project(tmp_path_factory.mktemp("project"), record=record)


@pytest.fixture(scope="module")
def published(project: Project) -> Path:
    project.add("rows.jsonl", make_rows(120))
    with pytest.MonkeyPatch.context() as patch:
        lighten(patch)
        return project.curate().folder


def described(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / CROISSANT).read_bytes())
    return document


def plain(value: Any) -> Any:
    """A record as mlcroissant gives it, without its fields' ids and with text for bytes."""
    if isinstance(value, dict):
        return {key.rpartition("/")[2]: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value.decode() if isinstance(value, bytes) else value


def test_it_is_valid(published: Path) -> None:
    issues = mlcroissant.Dataset(jsonld=str(published / CROISSANT)).metadata.issues
    assert issues.errors == set()
    assert len(issues.warnings) == len(MEANT)
    assert [word for word in MEANT if not any(word in warning for warning in issues.warnings)] == []


def test_its_records_are_the_rows(published: Path) -> None:
    dataset = mlcroissant.Dataset(jsonld=str(published / CROISSANT))
    rows = {split: pq.read_table(published / f"{split}.parquet").to_pylist() for split in SPLITS}
    assert all(rows.values())
    assert {len(row["meta"]) for row in rows["train"]} == {0, 1}
    assert {row["source"].pop("places") for split in rows.values() for row in split} == {
        None
    }  # Croissant has no form for it
    for split, expected in rows.items():
        assert [plain(record) for record in dataset.records(record_set=split)] == expected


def test_every_column_is_a_field_of_its_type(published: Path) -> None:
    fields = {each["name"]: each for each in described(published)["recordSet"][0]["field"]}
    assert list(fields) == pq.read_schema(published / "train.parquet").names
    types = {name: fields[name]["dataType"] for name in ("id", "tokens", "quality", "mixed_language")}
    assert types == {"id": "sc:Text", "tokens": "sc:Integer", "quality": "sc:Float", "mixed_language": "sc:Boolean"}
    assert fields["label"]["description"] == "What the split is stratified by."  # the contract's
    assert fields["tokens"]["description"] == "Length of the text in the base model's tokens."
    role, *_ = fields["turns"]["subField"]
    assert (fields["turns"]["repeated"], role["description"]) == (True, "Who speaks.")
    assert role["source"]["transform"] == {"jsonPath": "$[*].role"}
    row = fields["source"]["subField"][2]
    assert (row["dataType"], row["source"]["transform"]) == ("sc:Integer", {"jsonPath": "$.row"})


def test_it_says_what_the_contract_says(published: Path, tmp_path: Path) -> None:
    for split in SPLITS:
        shutil.copy(published / f"{split}.parquet", tmp_path)
    contract = Contract.load("licences")
    write_croissant(tmp_path, DatasetManifest.read(published), contract)
    metadata = mlcroissant.Dataset(jsonld=str(tmp_path / CROISSANT)).metadata
    assert (metadata.name, metadata.version) == ("demo", published.name)
    assert metadata.description == contract.purpose
    assert metadata.license == ["cc-by-4.0"]
    assert metadata.keywords == list(contract.tags)
    assert metadata.data_limitations == [contract.limitations]
    assert described(tmp_path)["creditText"] == contract.properties["attribution"]


def test_files_are_named_with_size_and_hash(published: Path) -> None:
    manifest = DatasetManifest.read(published)
    for split, file in zip(SPLITS, described(published)["distribution"], strict=True):
        path = published / f"{split}.parquet"
        assert file["contentUrl"] == path.name
        assert file["contentSize"] == f"{path.stat().st_size} B"
        assert file["sha256"] == manifest.files[path.name]


def test_the_same_version_gives_the_same_bytes_without_a_path(
    published: Path, project: Project, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(published, tmp_path / "copy"))
    write_croissant(copy, DatasetManifest.read(copy), Contract.load(project.folder / "contract"))
    assert (copy / CROISSANT).read_bytes() == (published / CROISSANT).read_bytes()
    assert str(project.folder) not in (published / CROISSANT).read_text(encoding="utf-8")


def test_it_is_no_part_of_what_names_the_version_but_of_its_sums(published: Path) -> None:
    assert CROISSANT not in DatasetManifest.read(published).files
    assert verified(published, CROISSANT).is_file()


def test_a_version_from_before_passes(published: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(published, tmp_path / published.name))
    for name in (CROISSANT, SUMS):
        (old / name).unlink()
    files = DatasetManifest.read(old).files
    write_sums(old, {"manifest.json": "", **files})
    assert strangers(old, files) == []
    assert [each.name for each in check_version(old) if each.failures] == []
