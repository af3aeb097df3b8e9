"""A version whose recipe grounds: what is published beside it, what its report shows, that `assay check` proves it."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from curate.manifest import DatasetManifest
from curate.publish.check import check_version
from curate.publish.check_grounded import check_grounded
from curate.publish.version import Curated
from curate.rows.decisions import Decision, append, seen_hash
from tests.project import TARGET_SCHEMA, Project

SCHEMA = TARGET_SCHEMA | {"properties": {"colour": {"enum": ["red", "green"]}, "count": {"type": ["integer", "null"]}}}
NOUNS = ["ball", "house", "river", "table", "cloud", "stone", "horse", "letter", "garden", "window", "mirror", "candle"]


def rows() -> list[dict[str, Any]]:
    """Twelve rows; of every third the count is not in the text, of which one says another."""
    made = []
    for number, noun in enumerate(NOUNS):
        said = f"There are {number + 20} of them" if number % 3 else "Nobody counted them"
        text = f"{said}, each {noun} in its own {noun}-{noun}-place near the {noun}."
        made.append({"text": text, "colour": "red", "count": number + 20})
    made[0]["text"] = made[0]["text"].replace("Nobody counted them", "There are twenty-one of them")
    return made


def curated(folder: Path, policy: str, **changes: Any) -> Curated:
    project = Project(folder, ground={"policy": policy}, **changes)
    (folder / "contract/target.schema.json").write_text(json.dumps(SCHEMA))
    project.add("rows.jsonl", rows())
    return project.curate()


def answers(version: Path) -> dict[str, Any]:
    tables = [pq.read_table(version / f"{split}.parquet") for split in ("train", "validation", "test")]
    return {
        row["turns"][0]["content"]: json.loads(row["target"])["count"] for table in tables for row in table.to_pylist()
    }


@pytest.mark.parametrize("policy", ["keep", "quarantine", "null", "flag"])
def test_what_is_published_and_that_it_is_proven(policy: str, tmp_path: Path) -> None:
    version = curated(tmp_path, policy)
    stage = next((stage for stage in version.manifest.stages if stage.name == "ground"), None)
    unsaid = {row["text"] for number, row in enumerate(rows()) if number % 3 == 0}
    wanted = {row["text"]: row["count"] for row in rows()}
    got = answers(version.folder)
    checks = {check.name: check for check in check_version(version.folder)}
    assert [check.offences for check in checks.values() if check.failures] == []
    assert checks["ids"].how == "all"
    assert ("grounded" in checks) == (policy != "keep")
    listed = version.folder / "ungrounded.parquet"
    assert listed.is_file() == (policy in ("null", "flag"))
    if stage is None:
        assert (policy, got) == ("keep", wanted)
        assert 'id="grounding"' not in (version.folder / "report.html").read_text()
        return
    assert (stage.counters["grounded.count"], stage.counters["ungrounded.count"]) == (8, 4)
    assert version.manifest.grounding == {"colour": "enum", "count": "number"}
    assert checks["grounded"].law == "10"
    if policy == "quarantine":
        assert got == {text: count for text, count in wanted.items() if text not in unsaid}
        assert version.manifest.counts.quarantined == 4
    else:
        assert got == (wanted | dict.fromkeys(unsaid) if policy == "null" else wanted)
        table = pq.read_table(listed).to_pylist()
        assert sorted(row["value"] for row in table) == ["20", "23", "26", "29"]
        assert {(row["field"], row["became"]) for row in table} == {("count", policy)}
        (near,) = [row for row in table if row["value"] == "20"]
        assert (near["nearest"], near["similarity"]) == ("twenty-one", 0.952)
        assert "ungrounded" not in pq.read_schema(version.folder / "train.parquet").names
    page = (version.folder / "report.html").read_text()
    assert "<mark>twenty-one</mark>" in page
    assert "Not looked for: <code>colour</code> (enum)." in page
    assert "4 of the 12 values of <code>count</code> (33.3%) are not in their prompts." in page


def test_the_check_finds_what_is_not_grounded(tmp_path: Path) -> None:
    version = curated(tmp_path, "keep")
    manifest = version.manifest
    hows = {"colour": "enum", "count": "number"}
    told = manifest.model_copy(update={"recipe": manifest.recipe | {"ground": {"policy": "null"}}, "grounding": hows})
    (check,) = check_grounded(version.folder, told)
    assert (check.compared, check.failures) == (12, 4)
    assert "count: '20' is not in its prompt" in " ".join(check.offences)
    assert isinstance(manifest, DatasetManifest)


def test_windows_of_a_document_are_grounded_and_proven(tmp_path: Path) -> None:
    project = Project(tmp_path, ground={"policy": "null"}, quality={"max_chars": 5000})
    recipe = yaml.safe_load(project.recipe_path.read_text())
    recipe["fit"] |= {"policy": "windows", "max_tokens": 250}
    project.recipe_path.write_text(yaml.safe_dump(recipe))
    (tmp_path / "contract/target.schema.json").write_text(json.dumps(SCHEMA))
    whole = {"text": "\n\n".join(row["text"] for row in rows()), "colour": "red", "count": 25}
    project.add("rows.jsonl", [*rows(), whole])
    version = project.curate()
    assert version.manifest.counts.made > 0
    counts = answers(version.folder)
    parts = [text for text in counts if text in whole["text"] and text not in {row["text"] for row in rows()}]
    assert [counts[text] for text in parts if counts[text] is not None] == [25]
    checks = check_version(version.folder)
    assert [check.offences for check in checks if check.failures] == []
    split_of = {
        entry["value"]: split
        for split in ("train", "validation", "test")
        for row in pq.read_table(version.folder / f"{split}.parquet").to_pylist()
        for entry in row["meta"]
        if entry["key"] == "part_of"
    }
    assert len(split_of) == 1


def test_a_row_that_somebody_keeps_is_no_offence(tmp_path: Path) -> None:
    project = Project(tmp_path, ground={"policy": "quarantine"}, decisions="anna.jsonl")
    (tmp_path / "contract/target.schema.json").write_text(json.dumps(SCHEMA))
    (tmp_path / "anna.jsonl").touch()
    project.add("rows.jsonl", rows())
    before = project.curate()
    row = pq.read_table(before.folder / "quarantine.parquet").to_pylist()[0]
    seen = seen_hash(row["id"], row["label"], None)
    said = {"id": row["id"], "seen": seen, "action": "keep", "who": "anna", "when": "2030-01-01T00:00:00Z"}
    append(tmp_path / "anna.jsonl", [Decision.model_validate(said)])
    version = project.curate()
    assert version.manifest.counts.kept == before.manifest.counts.kept + 1
    assert [check.offences for check in check_version(version.folder) if check.failures] == []
