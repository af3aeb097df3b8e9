"""What a contract's rules do to a whole run: a warning is told, drift is measured from the version before."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from assay.results import Made, Version
from curate.contract import Contract
from curate.publish.check import check_version
from curate.publish.summary import curation_tables
from curate.publish.version import CONTRACT as FOLDER
from curate.publish.version import GateError
from curate.store import Store
from tests.project import CONTRACT, Project, make_rows


def state(project: Project, change: Any, version: str = "1.0.0") -> None:
    """Give a project's contract other words of its set."""
    document = deepcopy(CONTRACT) | {"version": version}
    change(document["schema"][1])
    (project.folder / "contract/contract.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def rule(name: str, type_: str, severity: str | None = None, **kwargs: Any) -> dict[str, Any]:
    said = {"name": name, "dimension": "consistency", "description": f"{name}, as a test."}
    said["implementation"] = {"type": type_, "kwargs": kwargs}  # type: ignore[assignment]
    return said | ({"severity": severity} if severity else {})


MANY = "expect_table_row_count_to_be_between"


@pytest.mark.parametrize("severity", ["warning", "warn", "info"])
def test_a_warning_that_fails_is_told_and_the_version_published(tmp_path: Path, severity: str) -> None:
    project = Project(tmp_path)
    project.add("rows.jsonl", make_rows(60))
    state(project, lambda whole: whole.update(quality=[rule("many", MANY, severity, min_value=10_000)]))
    curated = project.curate()
    kept = curated.manifest.counts.kept
    assert curated.manifest.gate.warned == ["many"]
    assert curated.manifest.gate.failed == []
    [told] = next(table for table in curation_tables(curated) if table.key == "warnings").rows
    assert told == ["gate", f'many: {kept}; expected {MANY} {{"min_value":10000}}']
    [event] = Store(tmp_path / "store").told("datasets", "demo")
    assert event["warnings"] == [f'many: observed {kept}; expected {MANY} {{"min_value":10000}}']
    data = Version(curated.folder, Made(Store(tmp_path / "store"))).data()
    assert data["warnings"] == [
        {
            "name": "many",
            "column": None,
            "success": False,
            "observed": str(kept),
            "expected": told[1].split("expected ")[1],
        }
    ]
    report = (curated.folder / "report.html").read_text()
    assert '<span class="warn">!</span></td><td>many</td>' in report
    docs = (curated.folder / "data_docs/index.html").read_text()
    assert "1 of severity warning fail" in docs
    assert all(not each.failures for each in check_version(curated.folder))


@pytest.mark.parametrize("severity", [None, "error", "fail"])
def test_any_other_rule_that_fails_publishes_nothing(tmp_path: Path, severity: str | None) -> None:
    project = Project(tmp_path)
    project.add("rows.jsonl", make_rows(60))
    few = rule("few", MANY, "warning", max_value=1)
    state(project, lambda whole: whole.update(quality=[rule("many", MANY, severity, min_value=10_000), few]))
    with pytest.raises(
        GateError, match=r"1 of \d+ expectations .* fail:\n  many: .*\n1 more would be well kept:\n  few: "
    ):
        project.curate()
    assert not list((tmp_path / "store/datasets/demo").glob("[0-9a-f]*"))


def test_a_warning_that_holds_changes_nothing_of_a_version(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("rows.jsonl", make_rows(60))
    state(project, lambda whole: whole.update(quality=[rule("many", MANY, "warning", min_value=1)]))
    curated = project.curate()
    gate = json.loads((curated.folder / "manifest.json").read_bytes())["gate"]
    assert set(gate) == {"evaluated", "failed", "rules"}
    assert "warnings" not in Store(tmp_path / "store").told("datasets", "demo")[0]


def test_a_keyword_of_a_column_is_kept(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("rows.jsonl", make_rows(60))
    state(project, lambda whole: whole["properties"].append({"name": "label", "logicalType": "string", "unique": True}))
    with pytest.raises(
        GateError, match=r"\n  label\.unique \(label\): observed \d+ of \d+ rows break it, e\.g\. .*expected no"
    ):
        project.curate()


def test_a_version_carries_the_contract_that_it_was_held_to(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("rows.jsonl", make_rows(60))
    curated = project.curate()
    held_to = project.recipe.held_to()
    carried = Contract.as_published(curated.folder / FOLDER)
    assert carried == held_to
    assert carried.sha256 == curated.manifest.contract.sha256
    assert not [name for name in curated.manifest.files if name.startswith(FOLDER)]
    sums = (curated.folder / "SHA256SUMS").read_text()
    assert f"{FOLDER}/contract.yaml" in sums
    assert f"{FOLDER}/target.schema.json" in sums


def test_drift_is_measured_from_the_last_version(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("first.jsonl", make_rows(120, seed=1))
    words = rule("words_stable", "assay_drift", measure="psi", max_value=0.5)
    labels = rule("labels_stable", "assay_drift", "warning", measure="psi", max_value=0.5)
    lengths = rule("lengths_stable", "assay_drift", measure="ks", max_value=0.5)

    def said(whole: dict[str, Any]) -> None:
        columns = {"prompt": words, "label": labels, "tokens": lengths}
        whole["properties"] += [{"name": name, "quality": [each]} for name, each in columns.items()]

    state(project, said)
    first = project.curate()
    seen = {each.name: each for each in first.manifest.gate.rules}
    for name in ("words_stable", "labels_stable", "lengths_stable"):
        assert seen[name].success
        assert seen[name].observed == "not applicable: there is no earlier version"
        assert seen[name].expected in (first.folder / "data_docs/index.html").read_text()

    project.drop = tmp_path / "second"
    project.add("second.jsonl", [row | {"colour": "red"} for row in make_rows(120, seed=2)])
    second = project.curate()
    assert second.manifest.index.compared_with == [first.manifest.version]
    seen = {each.name: each for each in second.manifest.gate.rules}
    assert seen["words_stable"].success
    assert seen["words_stable"].observed.endswith(f"against version {first.manifest.version}")
    assert second.manifest.gate.warned == ["labels_stable"], "all are red now"
    again = project.curate("another")
    assert again.manifest.version != second.manifest.version, "with nothing before it"

    project.drop = tmp_path / "third"
    project.add(
        "third.jsonl", [{"text": f"quite other words {n} {n * 7919}", "colour": "red", "count": 1} for n in range(90)]
    )
    with pytest.raises(GateError, match=r"words_stable \(prompt\): observed [\d.]+ against version "):
        project.curate()


def test_the_same_run_gives_the_same_version_wherever_drift_is_measured(tmp_path: Path) -> None:
    project = Project(tmp_path)
    state(project, lambda whole: whole["properties"].append(
        {"name": "answer", "quality": [rule("same", "assay_drift", "info", measure="chi2_p_value", min_value=0.5)]}
    ))  # fmt: skip
    made: dict[str, list[str]] = {}
    for store in ("one", "two"):
        for number in (1, 2):
            project.drop = tmp_path / f"drop-{number}"
            project.add("rows.jsonl", make_rows(60, seed=number))
            made.setdefault(store, []).append(project.curate(store).manifest.version)
    assert made["one"] == made["two"]
