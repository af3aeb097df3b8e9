"""What is refused: nothing of it is published or remembered, and all that tells why stays to be looked at."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from curate.errors import AssayError
from curate.publish.enough import EmptyError
from curate.publish.few_quarantined import QuarantinedError
from curate.publish.refused import RefusedError
from curate.publish.version import GateError
from curate.service_levels import LEVELS
from curate.store import Store
from tests.project import CONTRACT, Project, make_rows

SOUND = [{"text": f"{word} {number}", "colour": "red", "count": number} for number, word in enumerate("abcdefghij")]
BROKEN = [{"txt": "a renamed column", "colour": "red", "count": number} for number in range(90)]


def state(**levels: Any) -> dict[str, Any]:
    """The contract with service levels."""
    return CONTRACT | {"slaProperties": [{"property": name, **each} for name, each in levels.items()]}


def hold_to(project: Project, document: dict[str, Any]) -> None:
    (project.folder / "contract/contract.yaml").write_text(yaml.safe_dump(document))


def events(project: Project) -> list[dict[str, Any]]:
    return Store(project.folder / "store").events()


@pytest.mark.parametrize(("sound", "published"), [(10, True), (9, False)])
def test_no_more_rows_than_the_bound_go_each_by_itself(sound: int, published: bool, tmp_path: Path) -> None:
    """90 of 100 rows are 0.9 of them, 90 of 99 more."""
    project = Project(tmp_path)
    project.add("rows.jsonl", SOUND[:sound] + BROKEN)
    if published:
        assert project.curate().manifest.counts.kept == 10
        return
    with pytest.raises(QuarantinedError, match=r"90 of 99 rows \(0.9091\) were quarantined .* a share of 0.9") as error:
        project.curate()
    assert "90 unmappable (read), as rows.jsonl, row 9: " in error.value.message
    assert "Mend the expression that it names" in error.value.remedy
    assert not list((tmp_path / "store/datasets").rglob("*.parquet"))
    told = json.loads((tmp_path / "store/failed/demo/refused.json").read_text())
    assert told["why"] == "quarantined"
    assert told["counts"]["quarantined"] == 90
    (failed,) = told["failed"]
    assert (failed["rule"], failed["expected"]) == ("quarantined", "a share of at most 0.9")
    assert failed["observed"] == "90 of 99 rows (0.9091)"
    assert pq.read_table(tmp_path / "store/failed/demo/quarantine.parquet").num_rows == 90


def test_a_contract_states_another_bound(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("rows.jsonl", SOUND + BROKEN[:10])
    hold_to(project, state(quarantined={"value": 0.49, "unit": "share"}))
    with pytest.raises(QuarantinedError, match=r"10 of 20 rows \(0.5\)"):
        project.curate()
    hold_to(project, state(quarantined={"value": 0.5}))
    assert project.curate().manifest.counts.kept == 10


def test_duplicates_of_earlier_versions_say_nothing_of_a_drop(tmp_path: Path) -> None:
    project = Project(tmp_path, drop_is="delivery")
    project.add("rows.jsonl", SOUND)
    project.curate()
    project.drop = tmp_path / "more"
    project.add("rows.jsonl", [*SOUND, {"text": "something else", "colour": "blue", "count": 5}])
    hold_to(project, state(quarantined={"value": 0}))
    counts = project.curate().manifest.counts
    assert (counts.kept, counts.quarantined) == (1, 10)


def gated(project: Project) -> None:
    """Ten rows, of which the contract says that none counts more than 6."""
    project.add("rows.jsonl", SOUND)
    rule = {"type": "expect_column_values_to_be_between", "kwargs": {"max_value": 6}}
    quality = {"name": "few", "type": "custom", "engine": "greatExpectations", "implementation": rule}
    record, whole = CONTRACT["schema"]
    column = {"name": "target.count", "logicalType": "integer", "quality": [quality]}
    hold_to(project, CONTRACT | {"schema": [record, whole | {"properties": [*whole["properties"], column]}]})


def test_what_the_gate_refuses_stays_to_be_looked_at(tmp_path: Path) -> None:
    project = Project(tmp_path)
    gated(project)
    with pytest.raises(GateError) as error:
        project.curate()
    folder = tmp_path / "store/failed/demo"
    kept = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert kept >= {"refused.json", "report.html", "data_docs/index.html", "quarantine.parquet", "train.parquet"}
    assert "manifest.json" not in kept
    assert "README.md" not in kept
    told = json.loads((folder / "refused.json").read_text())
    (failed,) = told["failed"]
    assert told["why"] == "gate"
    assert (failed["rule"], failed["column"]) == ("few", "target.count")
    assert failed["expected"] == 'expect_column_values_to_be_between {"max_value":6}'
    assert failed["observed"].startswith("3 of 10 rows break it, e.g. ")
    rows = [
        row
        for split in ("train", "validation", "test")
        for row in pq.read_table(folder / f"{split}.parquet").to_pylist()
    ]
    assert sorted(failed["rows"]) == sorted(row["id"] for row in rows if json.loads(row["target"])["count"] > 6)
    for said in ("few (target.count)", failed["observed"], failed["expected"], failed["rows"][0], str(folder)):
        assert said in error.value.message
    page = (folder / "report.html").read_text()
    assert "Refused: this candidate was not published." in page
    assert "3 of 10 rows break it" in page


def test_a_candidate_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    project = Project(tmp_path)
    gated(project)
    with pytest.raises(GateError):
        project.curate()
    (project.drop / "rows.jsonl").write_text("{}\n")
    with pytest.raises(EmptyError):
        project.curate()
    folder = tmp_path / "store/failed/demo"
    told = json.loads((folder / "refused.json").read_text())
    assert told["why"] == "empty"
    assert told["failed"] == [
        {"rule": "min_rows", "column": None, "expected": "at least 1 rows", "observed": "0 rows", "rows": []}
    ]
    assert not (folder / "data_docs").exists()
    assert "Refused" in (folder / "report.html").read_text()
    assert [path.name for path in folder.parent.iterdir()] == ["demo"]


def test_the_ledger_tells_of_what_was_refused_and_no_later_run_remembers_it(tmp_path: Path) -> None:
    """A data set version is the same, byte for byte, whether something was refused before it or not."""
    project, never = Project(tmp_path / "one"), Project(tmp_path / "other")
    gated(project)
    with pytest.raises(RefusedError):
        project.curate()
    (event,) = events(project)
    assert (event["event"], event["name"], event["why"], event["rules"]) == ("refused", "demo", "gate", ["few"])
    assert event["where"] == str(project.drop)
    assert event["counts"]["kept"] == 10
    assert Store(project.folder / "store").told("datasets", "demo") == []
    for each in (project, never):
        hold_to(each, CONTRACT)
        each.add("rows.jsonl", make_rows(60))
    one, other = project.curate().folder, never.curate().folder
    files = {path.relative_to(one) for path in one.rglob("*") if path.is_file()}
    assert files == {path.relative_to(other) for path in other.rglob("*") if path.is_file()}
    assert all((one / path).read_bytes() == (other / path).read_bytes() for path in files)


def test_hostile_rows_are_escaped_in_the_report_of_what_is_refused(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("rows.jsonl", SOUND[:9] + [{"txt": "<script>alert(1)</script>", "colour": "<b>", "count": 1}] * 99)
    with pytest.raises(QuarantinedError):
        project.curate()
    assert "<script>alert" not in (tmp_path / "store/failed/demo/report.html").read_text()


@pytest.mark.parametrize(
    ("levels", "problem"),
    [
        ([{"property": "latency", "value": 4, "unit": "d"}], "slaProperties.latency: not understood; expected one of"),
        ([{"property": "quarantined", "value": 2}], "value is 2; expected a number from 0 to 1"),
        ([{"property": "quarantined", "value": True}], "value is True"),
        ([{"property": "quarantined", "value": "0.5"}], "value is '0.5'"),
        ([{"property": "quarantined", "value": 0.5, "unit": "d"}], "unit is 'd'; expected share"),
        ([{"property": "quarantined", "value": 0.5, "element": "x"}], "'element' is not understood"),
        ([{"property": "quarantined", "value": 0.5}, {"property": "quarantined", "value": 1}], "stated twice"),
        ([{"property": "quarantined"}], "slaProperties"),
        ([{"property": "completeness", "value": 0.5}], "completeness: `element` is missing"),
        ([{"property": "completeness", "value": 0.5, "element": "colour"}], "'colour' is no column of `schema.set`"),
        ([{"property": "freshness", "value": 2, "unit": "y"}], "unit is 'y'; expected d or h"),
        ("0.5", "slaProperties"),
    ],
)
def test_a_service_level_that_is_not_understood_is_refused(levels: Any, problem: str, tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("rows.jsonl", SOUND)
    hold_to(project, CONTRACT | {"slaProperties": levels})
    with pytest.raises(AssayError) as error:
        project.curate()
    assert problem in error.value.message


@pytest.mark.parametrize(("least", "kept"), [(1.0, False), (0.5, True)])
def test_completeness_is_a_rule_of_the_set(least: float, kept: bool, tmp_path: Path) -> None:
    """Half of the rows have a group."""
    project = Project(tmp_path)
    project.add("rows.jsonl", [row | ({"case": str(at)} if at % 2 else {}) for at, row in enumerate(SOUND)])
    hold_to(project, CONTRACT | {"slaProperties": [{"property": "completeness", "value": least, "element": "group"}]})
    if kept:
        gate = project.curate().manifest.gate
        assert [rule.name for rule in gate.rules if rule.name == "completeness_group"]
    else:
        with pytest.raises(GateError, match="completeness_group"):
            project.curate()


def test_the_documented_service_levels_are_those_there_are() -> None:
    page = (Path(__file__).parents[3] / "data_contracts/README.md").read_text()
    for name, level in LEVELS.items():
        default = "" if level.default is None else f"{level.default:g}"
        assert f"| `{name}` | {', '.join(level.units)} | {default} | {level.description} |" in page
