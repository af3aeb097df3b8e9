"""Two scorecards compared: every measure against a count by hand, and the rows that differ."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curate.errors import AssayError
from curate.store import Store
from evaluation.card.compare import FAULTS, LISTED, compare
from evaluation.card.statistics import mcnemar
from evaluation.judge.answer import Generated
from evaluation.replies import Replies, score
from evaluation.settings import EvaluationSettings
from tests.evaluation.made import SCHEMA, SKILLS, systems, wanted
from tests.manifests import forge

ROWS = 120


def published(folder: Path, given: dict[str, list[Generated]], name: str, rows: list[int]) -> Path:
    file = folder / f"{name}.txt"
    file.write_text(name)
    replies = Replies(
        name=name,
        ids=[f"row {row}" for row in rows],
        expected=[wanted(row) for row in rows],
        systems={system: [each[row] for row in rows] for system, each in given.items()},
        prompts=["?"] * len(rows),
        groups=[f"row {row}" for row in rows],
    )
    settings = EvaluationSettings.model_validate({"resamples": 200, "fields": {"license": {"as": "text"}}})
    return score(replies, SCHEMA, settings, [file], Store(folder / "store"))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("scored")
    given = systems(ROWS, {name: SKILLS[name] for name in ("tuned", "nearest", "base")})
    given["merged"] = given["tuned"]
    first = published(folder, given, "first", list(range(ROWS)))
    later = systems(ROWS, {"tuned": (0.6, 0.2)})["tuned"]
    return first, published(folder, {"tuned": later}, "second", list(range(20, ROWS)))


def table(folder: Path, system: str) -> dict[str, dict[str, Any]]:
    rows = pq.read_table(folder / "predictions.parquet", filters=[("system", "=", system)]).to_pylist()
    return {row["id"]: row for row in rows}


def test_two_systems_of_one_scorecard(scored: tuple[Path, Path]) -> None:
    found = compare(scored[0], scored[0], "tuned", "nearest")
    one, other = table(scored[0], "tuned"), table(scored[0], "nearest")
    assert (found["rows"], found["only_in_a"], found["only_in_b"]) == (ROWS, 0, 0)
    told = {(each["measure"], each["field"]): each for each in found["comparisons"]}
    of = {
        ("whole_match", None): lambda row: row["whole_match"],
        ("parses", None): lambda row: row["parses"],
        ("missing_keys", None): lambda row: bool(row["missing_keys"]),
        ("empty", None): lambda row: "empty" in row["flags"],
        ("wrong_but_valid", None): lambda row: row["schema_valid"] and not row["whole_match"],
        ("accuracy", "grant.year"): lambda row: row["fields"]["grant.year"]["exact"],
    }
    for key, holds in of.items():
        only = [sum(holds(a[row]) and not holds(b[row]) for row in one) for a, b in ((one, other), (other, one))]
        assert [told[key]["only_a"], told[key]["only_b"]] == only, key
        assert told[key]["p"] == pytest.approx(mcnemar(*only), rel=0.01)
        assert told[key]["difference"] == pytest.approx((only[0] - only[1]) / ROWS, abs=1e-6)
    assert told["whole_match", None]["verdict"] == "better"
    assert ("f1", "names") in told
    assert ("macro_f1", "category") in told
    assert ("match", "grant.year") not in told, "its rule changes nothing"
    assert {"wrong_type", "repetition"} <= {measure for measure, _ in found["equal"]}
    assert not set(found["equal"]) & told.keys()


def test_more_of_a_fault_is_worse(scored: tuple[Path, Path]) -> None:
    found = compare(scored[0], scored[0], "base", "tuned")
    for each in found["comparisons"]:
        if each["verdict"] != "no difference shown":
            assert (each["verdict"] == "better") == ((each["difference"] > 0) != (each["measure"] in FAULTS))
    verdicts = {each["measure"]: each["verdict"] for each in found["comparisons"]}
    assert verdicts["empty"] == verdicts["whole_match"] == "worse"


def test_the_rows_that_differ_are_named_the_most_telling_first(scored: tuple[Path, Path]) -> None:
    found = compare(*scored)
    one, other = table(scored[0], "tuned"), table(scored[1], "tuned")
    assert (found["rows"], found["only_in_a"], found["only_in_b"]) == (100, 20, 0)
    apart = [row for row in other if one[row]["exact_match"] != other[row]["exact_match"]]
    assert found["differing"] >= len(apart)
    assert len(found["examples"]) == LISTED <= len(apart)
    for each in found["examples"]:
        assert each["id"] in apart
        assert each["right"] == [one[each["id"]]["exact_match"], other[each["id"]]["exact_match"]]
        assert each["forms"] == [one[each["id"]]["form"], other[each["id"]]["form"]]
    json.dumps(found)


def test_the_same_answers_differ_in_nothing(scored: tuple[Path, Path]) -> None:
    found = compare(scored[0], scored[0], "tuned", "merged")
    assert (found["comparisons"], found["differing"], found["examples"]) == ([], 0, [])
    assert ("whole_match", None) in found["equal"]


def test_a_field_of_another_kind_is_not_compared(scored: tuple[Path, Path], tmp_path: Path) -> None:
    """A label that one scorecard does not keep is no miss of its system."""
    other = tmp_path / "other"
    shutil.copytree(scored[0], other)
    file = other / "scorecard.json"
    file.chmod(0o644)
    card = json.loads(file.read_bytes())
    field = next(name for name, each in card["fields"].items() if each["kind"] == "class")
    card["fields"][field] = {"kind": "text", "labels": None}
    file.write_text(json.dumps(card))
    forge(other, lambda manifest: manifest.update(scores=card))
    found = compare(scored[0], other, "base", "nearest")
    assert field not in {each["field"] for each in found["comparisons"]}


def test_what_cannot_be_compared_is_said(scored: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="tuned is compared with itself"):
        compare(scored[0], scored[0])
    plain = tmp_path / "plain"
    shutil.copytree(scored[0], plain)
    file = plain / "predictions.parquet"
    file.chmod(0o644)
    answers = pq.read_table(file)
    pq.write_table(answers.set_column(answers.column_names.index("form"), "form", [[None] * len(answers)]), file)
    with pytest.raises(AssayError, match=r"predictions\.parquet: changed since it was published"):
        compare(scored[0], plain)
    forge(plain)
    with pytest.raises(AssayError, match="those of the other plain text"):
        compare(scored[0], plain)
    with pytest.raises(AssayError, match="no system 'none'"):
        compare(scored[0], scored[1], "none")
    (plain / "scorecard.json").unlink()
    with pytest.raises(AssayError, match="no scorecard"):
        compare(scored[0], plain)
