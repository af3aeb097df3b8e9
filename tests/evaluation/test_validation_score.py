"""The score that a checkpoint is chosen by is the scorecard's own, of answers to the validation rows."""

import json
from pathlib import Path

import pytest

from curate.errors import AssayError
from curate.store import Store
from evaluation import validation_score as scoring
from evaluation.judge.answer import Generated
from evaluation.settings import FullRecipe
from evaluation.validation_score import ValidationScore, validation_score
from tests.tiny import recipe_for, write_version
from train.batches import SHARED
from train.examples import read_split
from train.manifest import AdapterManifest
from train.qlora import train


@pytest.fixture(scope="module")
def version(store: Store, model_folder: Path) -> Path:
    return write_version(store, model_folder)


@pytest.mark.parametrize("measure", [None, "loss"])
def test_the_loss_needs_no_answers(measure: str | None, store: Store, version: Path, model_folder: Path) -> None:
    assert validation_score(version, recipe_for(model_folder, keep_best=measure), store) is None


def test_a_field_that_is_no_class_is_told(store: Store, version: Path, model_folder: Path) -> None:
    with pytest.raises(AssayError, match="no field 'licence' of the answer is a class") as error:
        validation_score(version, recipe_for(model_folder, keep_best="licence.macro_f1"), store)
    assert "category" in error.value.remedy


@pytest.mark.parametrize("value", ["accuracy", "macro_f1", "category.f1", "", ".macro_f1"])
def test_a_measure_that_there_is_not_is_told_of_the_recipe(value: str) -> None:
    with pytest.raises(
        ValueError, match=r"expected `loss`, `reward`, `schema_valid`, `whole_match` or `FIELD\.macro_f1`"
    ):
        FullRecipe.model_validate({"training": {"keep_best": value}})


def test_the_score_is_the_share_of_right_answers(
    store: Store, version: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {row["id"]: row for row in read_split(version, "validation", ["id", "target", "messages"])}
    asked: list[list[int]] = []

    def answers(model: object, renderer: object, prompts: list[list[int]], **_: object) -> list[Generated]:
        """Right for the first half, of another kind for the rest but the last, which is no JSON."""
        asked.extend(prompts)
        said = [Generated(row["target"]) for row in order]
        wrong = len(said) // 2
        for place in range(wrong, len(said)):
            told = json.loads(said[place].text)
            other = "tag" if told["kind"] != "tag" else "text"
            said[place] = Generated(json.dumps(told | {"kind": other}))
        return [*said[:-1], Generated("no")]

    monkeypatch.setattr(scoring, "generate", answers)
    monkeypatch.setattr(scoring, "decoding_layout", lambda *_: SHARED)
    found = {}
    for measure in ("whole_match", "schema_valid", "kind.macro_f1"):
        score = validation_score(version, recipe_for(model_folder, keep_best=measure), store)
        assert score is not None
        order = [rows[row["id"]] for row in score._rows]
        found[measure] = score(None)  # type: ignore[arg-type]
    count = len(rows)
    assert len(asked) == 3 * count
    assert found["whole_match"] == pytest.approx((count // 2) / count, abs=1e-6)
    assert found["schema_valid"] == pytest.approx((count - 1) / count, abs=1e-6)
    assert 0 < found["kind.macro_f1"] < 1


def test_what_is_accepted_is_right(
    store: Store, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of half of the rows the kind is another one, of the others a key is missing; `rare` has no row that is asked."""
    meta = {"also": '{"kind": ["notice", "tag", "text"]}', "may_lack": '["copyleft"]'}
    other = write_version(Store(tmp_path), model_folder, meta=lambda row: meta | ({} if row else {"rare": "[]"}))

    def answers(model: object, renderer: object, prompts: list[list[int]], **_: object) -> list[Generated]:
        said = [json.loads(row["target"]) for row in score._rows]
        for place, each in enumerate(said):
            if place % 2:
                each["kind"] = "tag" if each["kind"] != "tag" else "text"
            else:
                del each["copyleft"]
        return [Generated(json.dumps(each)) for each in said]

    monkeypatch.setattr(scoring, "generate", answers)
    monkeypatch.setattr(scoring, "decoding_layout", lambda *_: SHARED)
    found = []
    for settings in ({}, {"accepted": "also"}, {"accepted": "also", "optional": "may_lack"}, {"optional": "rare"}):
        recipe = recipe_for(model_folder, keep_best="whole_match")
        evaluation = recipe.evaluation.model_copy(update=settings)
        score = scored(other, recipe.model_copy(update={"evaluation": evaluation}), store)
        found.append(score(None))  # type: ignore[arg-type]
        assert {key: score.deciding[key] for key in settings} == settings
        assert not {"accepted", "optional"} - settings.keys() & score.deciding.keys(), "others are what they were"
    assert found == [0, 0.5, 1, 0]
    evaluation = recipe.evaluation.model_copy(update={"accepted": "alos"})
    with pytest.raises(AssayError, match="has 'alos' in its `meta`"):
        scored(other, recipe.model_copy(update={"evaluation": evaluation}), store)(None)  # type: ignore[arg-type]


def scored(version: Path, recipe: FullRecipe, store: Store) -> ValidationScore:
    score = validation_score(version, recipe, store)
    assert score is not None
    return score


def test_training_takes_it(store: Store, version: Path, model_folder: Path) -> None:
    recipe = recipe_for(model_folder, keep_best="schema_valid", epochs=2)
    told: list[str] = []
    score = validation_score(version, recipe, store, lambda what, *_: told.append(what))
    manifest = AdapterManifest.read(train(version, recipe, store, score=score))
    assert manifest.run is not None
    assert [each.score for each in manifest.run.validations] == [0.0, 0.0, 0.0]
    assert manifest.run.kept == 4, "of equals the earlier"
    assert "ask the validation rows" in told
