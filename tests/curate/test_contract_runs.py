"""What a contract's rules do to a whole run: a warning is told, drift is measured from the version before."""

import json
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from assay.results import Made, Version
from curate.contract import Contract
from curate.errors import AssayError
from curate.publish.carried import FOLDER, carried
from curate.publish.check import check_version
from curate.publish.summary import curation_tables
from curate.publish.version import GateError
from curate.store import Store
from tests.project import CONTRACT, RECIPE, Project, make_rows


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
    assert '<b class="warn">!</b><div><strong>many</strong>' in report
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


def test_a_contract_that_has_become_looser_needs_another_version(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("rows.jsonl", make_rows(60))
    rows = rule("many", MANY, min_value=20)
    state(project, lambda whole: whole.update(quality=[rows]))
    first = project.curate()
    project.drop = tmp_path / "more"
    project.add("more.jsonl", make_rows(60, seed=2))
    fewer = rule("many", MANY, min_value=5)
    state(project, lambda whole: whole.update(quality=[fewer]))
    with pytest.raises(
        AssayError,
        match=rf"demo 1\.0\.0 is looser than .* demo/{first.manifest.version} .*\n  set\.many: min_value: 20 -> 5\n",
    ) as caught:
        project.curate()
    assert "raise the contract's version to 2.0.0" in caught.value.remedy
    assert len(list((tmp_path / "store/datasets/demo").glob("[0-9a-f]*"))) == 1
    state(project, lambda whole: whole.update(quality=[fewer]), version="2.0.0")
    assert project.curate().manifest.contract.version == "2.0.0"
    state(project, lambda whole: whole.update(quality=[rule("many", MANY, min_value=7)]), version="2.0.0")
    project.drop = tmp_path / "most"
    project.add("most.jsonl", make_rows(60, seed=3))
    assert project.curate(), "a tighter one may keep its version"


def test_a_longer_bound_of_the_recipe_is_no_looser_contract(tmp_path: Path) -> None:
    fit = {"model": "tokenizer", "max_tokens": 150}
    project = Project(tmp_path, fit=fit)
    project.add("rows.jsonl", make_rows(60))
    between = rule("rows_fit", "expect_column_values_to_be_between", min_value=1, max_value="fit.max_tokens")
    state(project, lambda whole: whole["properties"].append({"name": "tokens", "quality": [between]}))
    first = project.curate()
    assert {each.name: each.expected for each in first.manifest.gate.rules}["rows_fit"].endswith(
        '"max_value":150,"min_value":1}'
    )
    project.recipe_path.write_text(yaml.safe_dump(RECIPE | {"fit": fit | {"max_tokens": 300}}))
    second = project.curate()
    assert second.manifest.contract.sha256 != first.manifest.contract.sha256
    assert second.manifest.contract.sha256 == project.recipe.held_to().sha256


def test_a_version_without_its_contract_is_compared_with_nothing(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("rows.jsonl", make_rows(60))
    state(project, lambda whole: whole.update(quality=[rule("many", MANY, min_value=20)]))
    first = project.curate()
    assert carried(first.folder) is not None
    shutil.rmtree(first.folder / FOLDER)
    (first.folder / "SHA256SUMS").unlink()
    assert carried(first.folder) is None
    state(project, lambda whole: whole.update(quality=[rule("many", MANY, min_value=5)]))
    assert project.curate()


def test_a_carried_contract_that_has_changed_is_told(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("rows.jsonl", make_rows(60))
    first = project.curate()
    with (first.folder / FOLDER / "contract.yaml").open("a") as file:
        file.write("# changed\n")
    with pytest.raises(AssayError, match=r"contract/contract\.yaml: changed since it was published"):
        project.curate()
