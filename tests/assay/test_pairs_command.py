"""`assay pairs`: from mistake to data to an adapter, by the command; what is right, or judged by, makes no pair."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from assay.cli import app
from curate.errors import AssayError
from curate.store import Store
from evaluation.pairs import SCHEMA, collect
from evaluation.settings import EvaluationSettings
from tests.assay.conftest import Finished
from train.manifest import AdapterManifest


def called(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_from_mistake_to_data_to_adapter(finished: Finished, tmp_path: Path) -> None:
    store = Path(shutil.copytree(finished.store, tmp_path / "store"))
    recipe = finished.project.recipe_path
    before = Store(store).resolve("scorecards", "demo")
    asked = called("evaluate", recipe, "--split", "train", "--store", store)
    assert asked.exit_code == 0, asked.output
    assert "6 train rows" in asked.output
    assert "Gate" not in asked.output, "a gate is held to test rows"
    scorecard = store / "scorecards/demo" / Store(store).told("scorecards", "demo")[-1]["version"]
    assert Store(store).resolve("scorecards", "demo").name == before.name, "that of the recipe's own split"
    systems = set(pq.read_table(scorecard / "predictions.parquet")["system"].to_pylist())
    assert systems == {"base", "tuned"}, "what learns from these very rows is not asked them"
    assert "of the train split of" in (scorecard / "report.html").read_text()

    made = called("pairs", "demo", "--out", tmp_path / "pairs.parquet", "--store", store)
    assert made.exit_code == 0, made.output
    pairs = pq.read_table(tmp_path / "pairs.parquet")
    assert pairs.schema.equals(SCHEMA)
    train = {row["id"]: row for row in pq.read_table(finished.version.folder / "train.parquet").to_pylist()}
    said = {
        row["id"]: row["output"]
        for row in pq.read_table(scorecard / "predictions.parquet", filters=[("system", "=", "tuned")]).to_pylist()
    }
    assert pairs.num_rows == len(said) == 6, "a random model is never right"
    for pair in pairs.to_pylist():
        row = train[pair["id"]]
        messages = [{key: each[key] for key in ("role", "content")} for each in row["messages"]]
        assert pair["prompt"] + pair["chosen"] == messages
        assert pair["rejected"] == [{"role": "assistant", "content": said[pair["id"]]}]
        assert (pair["cluster"], pair["split"], pair["system"]) == (row["cluster"], "train", "tuned")
        assert pair["scorecard"] == f"demo/{scorecard.name}"

    changed = yaml.safe_load(recipe.read_text())
    start = f"demo/{finished.adapter.id}"
    changed["training"] |= {"objective": "dpo", "pairs": str(tmp_path / "pairs.parquet"), "start_from": start}
    changed["training"] |= {"epochs": 4, "learning_rate": 0.01, "rpo_alpha": 1.0}
    recipe = recipe.with_name("dpo.yaml")
    recipe.write_text(yaml.safe_dump(changed))
    trained = called("train", recipe, "--store", store)
    assert trained.exit_code == 0, trained.output
    assert start in trained.output
    last = Store(store).told("adapters", "demo")[-1]["version"]  # which waits for the gate
    adapter = Store(store).resolve("adapters", f"demo/{last}")
    inputs = AdapterManifest.read(adapter).inputs
    assert inputs.pairs is not None
    assert inputs.pairs.scorecards == [f"demo/{scorecard.name}"]
    assert AdapterManifest.read(adapter).rows.train == 6
    steps = pq.read_table(adapter / "steps.parquet").to_pylist()[1:]
    assert abs(steps[0]["margin"]) < 0.01, "it is the reference, to rounding"
    assert steps[-1]["preferred"] == 1.0
    loss = AdapterManifest.read(adapter).loss.validation
    assert loss[-1] < loss[0] - 0.5, "of rows that no pair asks"
    judged = called("evaluate", recipe, "--store", store)
    assert judged.exit_code == 0, judged.output
    assert "nearest_own" not in judged.output, "it has learned from pairs, not from rows"


@pytest.mark.parametrize("system", ["majority", "nearest", "nearest_own"])
def test_what_is_right_makes_no_pair(system: str, finished: Finished) -> None:
    answers = [row for row in finished.scorecard.predictions if row["system"] == system]
    wrong = {row["id"] for row in answers if json.loads(row["output"]) != json.loads(row["expected"])}
    found = collect(finished.scorecard.folder, Store(finished.store), "test", system)
    assert {pair["id"] for pair in found.pairs} == wrong
    assert found.right == len(answers) - len(wrong)
    for pair in found.pairs:
        said, right = (json.loads(pair[side][0]["content"]) for side in ("rejected", "chosen"))
        assert pair["why"] == "fields"
        assert pair["detail"].split(", ") == [key for key in ("colour", "count") if said[key] != right[key]]


def test_what_cannot_be_is_told(finished: Finished, tmp_path: Path) -> None:
    folder, store = finished.scorecard.folder, ("--store", finished.store)
    for options, told in (
        ((), "asked rows of the test split, not of train"),
        (("--split", "tset"), "split is 'tset'"),
        (("--split", "test", "--system", "best"), "no system 'best'"),
        (("--split", "test", "--out", tmp_path / "pairs.csv"), "pairs are written as .parquet or .jsonl"),
        (("--split", "test", "--out", finished.project.recipe_path.with_suffix(".jsonl")), "is there already"),
    ):
        finished.project.recipe_path.with_suffix(".jsonl").touch()
        done = called("pairs", folder, *options, *store)
        assert done.exit_code == 1
        assert told in " ".join(done.stderr.split())
    file = tmp_path / "pairs.jsonl"
    done = called("pairs", folder, "--split", "test", "--system", "base", "--out", file, "--json", *store)
    assert json.loads(done.stdout)["why"] == {"not_json": 6, "schema": 0, "fields": 0, "text": 0}
    changed = yaml.safe_load(finished.project.recipe_path.read_text())
    changed["training"] |= {"objective": "dpo", "pairs": str(file)}
    recipe = finished.project.recipe_path.with_name("leaking.yaml")
    recipe.write_text(yaml.safe_dump(changed))
    done = called("train", recipe, *store)
    assert done.exit_code == 1
    assert "6 of 6 pairs ask what rows of the test split of demo/" in " ".join(done.stderr.split())


def test_replies_from_files_have_no_prompts(finished: Finished, tmp_path: Path) -> None:
    row = {"output": "{}", "expected": {"colour": "red", "count": 1}, "id": 1, "system": "x"}
    replies = tmp_path / "replies.jsonl"
    replies.write_text(json.dumps(row) + "\n")
    store = tmp_path / "store"
    called("evaluate", finished.project.recipe_path, "--from-file", replies, "--store", store)
    with pytest.raises(AssayError, match="its replies come from files"):
        collect(Store(store).resolve("scorecards", "demo"), Store(store))


def test_a_scorecard_of_test_rows_is_named_as_before() -> None:
    assert "split" not in EvaluationSettings().deciding()
    assert EvaluationSettings(split="train").deciding()["split"] == "train"
