"""From adapter and test split to a published scorecard."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curate.errors import AssayError
from curate.store import Store
from curate.taken_back import TakenBackError
from evaluation.ask.systems import Asking
from evaluation.card.compare import compare
from evaluation.card.format import schema
from evaluation.card.manifest import ScorecardManifest
from evaluation.evaluate import evaluate
from evaluation.settings import EvaluationSettings, FullRecipe
from tests.project import RECIPE, Project, make_rows
from tests.tiny import recipe_for, write_model, write_version
from train.qlora import train


@pytest.fixture(scope="module")
def recipe(model_folder_64: Path) -> FullRecipe:
    """Enough steps for the three answers to be learned by heart."""
    recipe = recipe_for(model_folder_64, rows=24, epochs=16, learning_rate=0.02, rank=16, method="qlora")
    return recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"max_new_tokens": 120})})


@pytest.fixture(scope="module")
def scored(store: Store, version: Path, recipe: FullRecipe, adapter: Path) -> Path:
    return evaluate(version, adapter, recipe, store)


def test_what_a_published_row_accepts_is_right(model_folder: Path, tmp_path: Path) -> None:
    all_of_it = '{"colour": ["red", "green", "blue"], "count": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]} | tojson'
    record = RECIPE["record"] | {"meta": {"also": all_of_it, "may_lack": '["count"] | tojson'}}
    guess = {"guess": {"model": "majority"}}
    made = Project(
        tmp_path / "made",
        record=record,
        fit={"model": str(model_folder), "max_tokens": 150},
        evaluation={"rows": 20, "systems": guess, "resamples": 100},
    )
    made.add("rows.jsonl", make_rows(240))
    made.tokenizer = model_folder
    version = made.curate().folder

    def right(**settings: Any) -> float:
        changes = {"evaluation": made.recipe.evaluation.model_copy(update=settings)}
        folder = evaluate(version, None, made.recipe.model_copy(update=changes), Store(tmp_path / "made/store"))
        card = json.loads((folder / "scorecard.json").read_bytes())
        assert (
            card["ungrounded"]["fields"].keys() == card["systems"]["guess"]["ungrounded"]["fields"].keys() == {"count"}
        )
        assert card["ungrounded"]["values"] == card["rows"]
        return float(card["systems"]["guess"]["whole_match"]["value"])

    assert right() < right(accepted="also", optional="may_lack") == 1
    with pytest.raises(AssayError, match="no row that is asked has 'alos' in its `meta`"):
        right(accepted="alos")


def test_what_was_taken_back_while_it_was_asked(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    version = write_version(store, model_folder)
    guess = EvaluationSettings.model_validate({"systems": {"guess": {"model": "majority"}}, "resamples": 100})
    recipe = recipe_for(model_folder).model_copy(update={"evaluation": guess})
    answers = Asking.answers

    def taken_back(*given: Any) -> Any:
        found = answers(*given)
        version.rename(tmp_path / "aside")
        return found

    monkeypatch.setattr(Asking, "answers", taken_back)
    with pytest.raises(TakenBackError, match=f"{version}: taken back meanwhile"):
        evaluate(version, None, recipe, store)
    assert store.versions("scorecards", "tiny") == []


def test_scorecard_json(scored: Path) -> None:
    card = json.loads((scored / "scorecard.json").read_bytes())
    assert card["rows"] == 8
    assert list(card["systems"]) == ["majority", "nearest", "nearest_own", "base", "tuned"]
    tuned, base, guess = (card["systems"][name] for name in ("tuned", "base", "majority"))
    assert base["parses"]["value"] == 0.0
    assert tuned["schema_valid"]["value"] >= 0.5, "it has learned the form"
    assert guess["parses"]["value"] == 1.0
    assert set(tuned["fields"]) == {"license", "category", "kind", "copyleft"}
    assert list(schema().iter_errors(card)) == []
    assert sum(tuned["form"].values()) == 8
    assert {each["verdict"] for each in card["comparisons"]} <= {"better", "worse", "no difference shown"}
    assert "macro_f1" in tuned["fields"]["category"]
    assert "macro_f1" not in tuned["fields"]["license"]
    assert set(tuned["fields"]["kind"]["accuracy"]) == {"value", "low", "high", "count"}
    assert {each["b"] for each in card["comparisons"]} == {"majority", "nearest", "nearest_own", "base"}
    assert tuned["latency_seconds"]["p50"] > 0


def test_predictions(scored: Path) -> None:
    rows = pq.read_table(scored / "predictions.parquet").to_pylist()
    card = json.loads((scored / "scorecard.json").read_bytes())
    assert len(rows) == 5 * 8
    tuned = [row for row in rows if row["system"] == "tuned"]
    assert sum(row["schema_valid"] for row in tuned) == card["systems"]["tuned"]["schema_valid"]["count"]
    assert (
        sum(row["fields"]["kind"]["exact"] for row in tuned)
        == card["systems"]["tuned"]["fields"]["kind"]["accuracy"]["count"]
    )
    for row in tuned:
        assert row["prompt"].startswith("<|im_start|>user\n")
        assert row["prompt"].endswith("<|im_start|>assistant\n")
        right = row["parses"] and json.loads(row["output"]) == json.loads(row["expected"])
        assert row["exact_match"] == row["whole_match"] == right
    assert len({row["id"] for row in rows}) == 8


def test_it_is_found_again(store: Store, version: Path, recipe: FullRecipe, adapter: Path, scored: Path) -> None:
    told: list[str] = []
    assert evaluate(version, adapter, recipe, store, lambda what, *_: told.append(what)) == scored
    assert told == ["evaluate (found in the store)"]


def test_its_version_is_that_of_inputs_and_answers(
    version: Path, recipe: FullRecipe, adapter: Path, scored: Path, tmp_path: Path
) -> None:
    """Another store, nothing cached, other latencies: the same version."""
    again = evaluate(version, adapter, recipe, Store(tmp_path / "other"))
    assert again.name == scored.name
    assert ScorecardManifest.read(again) == ScorecardManifest.read(scored)
    assert set(ScorecardManifest.read(again).files) == {"predictions.parquet"}


def test_answers_are_not_asked_for_twice(store: Store, version: Path, recipe: FullRecipe, scored: Path) -> None:
    """The base model's answers are in the cache, so without an adapter nothing is generated."""
    told: list[str] = []
    alone = evaluate(version, None, recipe, store, lambda what, *_: told.append(what))
    assert told == []
    card = json.loads((alone / "scorecard.json").read_bytes())
    assert list(card["systems"]) == ["majority", "nearest", "base"]
    assert {(each["a"], each["b"]) for each in card["comparisons"]} == {("base", "majority"), ("base", "nearest")}
    assert card["systems"]["base"] == json.loads((scored / "scorecard.json").read_bytes())["systems"]["base"]


def test_a_gate_is_told_and_a_scorecard_compared_with_another(
    store: Store, version: Path, recipe: FullRecipe, adapter: Path, scored: Path
) -> None:
    """Other settings, so another scorecard, of the same answers: every difference is nought."""
    settings = recipe.evaluation.model_copy(update={"gate": ["parses >= 0", "schema_valid better than base, p < 0.05"]})
    gated = evaluate(version, adapter, recipe.model_copy(update={"evaluation": settings}), store)
    card = json.loads((gated / "scorecard.json").read_bytes())
    assert card["gate"]["rules"][0]["passed"]
    assert ">Gate:" in (gated / "report.html").read_text().replace(' id="gate"', "")
    assert store.events()[-1]["promoted"] == card["gate"]["passed"]
    same = compare(scored, gated)
    assert (same["rows"], same["only_in_a"], same["only_in_b"]) == (8, 0, 0)
    assert (same["comparisons"], same["differing"]) == ([], 0)
    better = {
        (each["measure"], each["field"]): (each["difference"], each["p"])
        for each in compare(gated, gated, "tuned", "base")["comparisons"]
    }
    within = [each for each in card["comparisons"] if each["b"] == "base"]
    told = {(each["measure"], each["field"]): (each["difference"], each["p"]) for each in within}
    assert ("schema_valid", None) in better.keys() & told.keys()
    assert better.items() >= {key: told[key] for key in better.keys() & told.keys()}.items()
    with pytest.raises(AssayError, match="no system 'few-shot'"):
        compare(scored, gated, "few-shot")


def test_plain_chat(store: Store, model_folder_64: Path, recipe: FullRecipe) -> None:
    chat = recipe.model_copy(
        update={
            "contract": "guanaco",
            "training": recipe.training.model_copy(update={"epochs": 1}),
            "evaluation": recipe.evaluation.model_copy(update={"max_new_tokens": 8}),
        }
    )
    version = write_version(store, model_folder_64, rows=40, chat=True)
    folder = evaluate(version, train(version, chat, store), chat, store)
    card = json.loads((folder / "scorecard.json").read_bytes())
    assert list(card["systems"]) == ["base", "tuned"]
    assert set(card["systems"]["tuned"]) & {"parses", "exact_match"} == {"exact_match"}
    assert pq.read_table(folder / "predictions.parquet")["form"].null_count == 2 * card["rows"]
    assert "Exactly the expected text" in (folder / "report.html").read_text()


def test_an_adapter_of_another_base_is_an_error(
    store: Store, version: Path, recipe: FullRecipe, adapter: Path, tmp_path: Path
) -> None:
    other = write_model(tmp_path / "other", hidden=64, seed=1)
    foreign = recipe.model_copy(update={"fit": recipe.fit.model_copy(update={"model": str(other)})})
    with pytest.raises(AssayError, match=f"Adapter {adapter} was made with another base weights"):
        evaluate(version, adapter, foreign, store)


def test_no_test_rows_are_an_error(store: Store, model_folder_64: Path, recipe: FullRecipe) -> None:
    empty = write_version(store, model_folder_64, rows=3)
    with pytest.raises(AssayError, match="the test split has no rows"):
        evaluate(empty, None, recipe, store)


def test_no_row_short_enough_is_an_error(store: Store, version: Path, recipe: FullRecipe) -> None:
    short = recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"max_tokens": 8})})
    with pytest.raises(AssayError, match="no row of the test split has 8 tokens or fewer"):
        evaluate(version, None, short, store)


def test_the_report_tells_of_the_run(scored: Path) -> None:
    page = (scored / "report.html").read_text(encoding="utf-8")
    assert scored.name in page
    assert page.count('<article class="row"') == 8
    for word in (
        "Fits the schema",
        "valid, but wrong",
        "Better or by chance",
        "while it was learning",
        "training rows say",
    ):
        assert word in page
