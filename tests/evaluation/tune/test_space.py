"""The section `tune`: what it may search, and which settings a point of it stands for."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from curate.errors import AssayError
from evaluation.settings import FullRecipe
from evaluation.tune.space import Space
from train.search import FIXED, MOST, TuneSettings
from train.settings import TrainingSettings

ROOT = Path(__file__).resolve().parents[3]
RECIPE = ROOT / "recipes/licences.yaml"


LOADED = FullRecipe.load(RECIPE)


def space(search: dict[str, Any], training: dict[str, Any] | None = None, **tune: Any) -> Space:
    sections: dict[str, Any] = {"tune": TuneSettings.model_validate({"search": search} | tune)}
    if training is not None:
        sections["training"] = TrainingSettings.model_validate(
            LOADED.training.model_dump(exclude_unset=True) | training
        )
    return Space.of(LOADED.model_copy(update=sections))


@pytest.mark.parametrize(
    ("search", "tune", "said"),
    [
        ({"rankk": [8]}, {}, r"tune: search\.rankk: `training` has no such key"),
        ({"seed": [0, 1]}, {}, r"search\.seed: is not searched: it chooses the rows that are validated on"),
        ({"keep_best": ["loss"]}, {}, r"search\.keep_best: is not searched: `metric` says it"),
        ({"rank": []}, {}, r"search\.rank: no value to try"),
        ({"rank": {"low": 2, "high": 2}}, {}, r"tune\.search\.rank: low 2 is not below high 2"),
        ({"dropout": {"low": 0, "high": 0.5, "log": True}}, {}, r"dropout: log: low 0 has no logarithm"),
        ({"rank": {"low": 2, "high": 4.5}}, {}, r"search\.rank: is a whole number, and so are low and high"),
        ({"method": {"low": 2, "high": 4}}, {}, r"search\.method: is no number, so it has no range"),
        ({"rank": {"low": 2, "high": 4}}, {"method": "grid"}, r"search\.rank: a grid has no ranges"),
        ({"rank": [2]}, {"method": "grid", "trials": 3}, r"trials: a grid has one for each combination"),
        ({"rank": [2]}, {"metric": "best"}, r"tune\.metric: expected `loss`"),
        ({"rank": [2]}, {"method": "grids"}, r"tune\.method: Input should be 'grid', 'random' or 'tpe'"),
        ({"rank": {"low": 2, "hihg": 4}}, {}, r"tune\.search\.rank\.hihg: no such key"),
        ({}, {}, r"tune\.search: .*at least 1"),
        ({"rank": [8, 0]}, {}, r"tune\.search\.rank: 0: Input should be greater than or equal to 1"),
        ({"learning_rate": {"low": -1, "high": 1}}, {}, r"tune\.search\.learning_rate: -1\.0: .* greater than 0"),
        ({"target_modules": [["q_proj"], [7]]}, {}, r"tune\.search\.target_modules: \[7\]: Input should be"),
        ({"method": ["lora", "qlorra"]}, {}, r"tune\.search\.method: 'qlorra': Input should be 'full'"),
        ({"method": ["ia3", "lora"], "rank": [0, 8]}, {}, r"tune\.search\.rank: 0: Input should be greater"),
        (
            {"method": ["lora", ["qlora"]], "rank": [8]},
            {},
            r"tune\.search\.method: \['qlora'\]: Input should be 'full'",
        ),
        ({"optim": [{"sgd": 1}], "momentum": [0.5]}, {}, r"tune\.search\.optim: \{'sgd': 1\}: Input should be 'adamw'"),
        ({"learning_rate": [float("inf")]}, {}, r"tune\.search\.learning_rate: inf: Input should be a finite number"),
        ({"rank": [2]}, {"metric": "reward"}, r"tune\.metric: reward: .*of `objective: reft`"),
        ({"rank": [2]}, {"trials": 10_001}, r"tune\.trials: Input should be less than or equal to 10000"),
        (
            {key: list(range(1, 60)) for key in ("rank", "alpha", "epochs", "batch_size", "eval_steps")},
            {"method": "grid"},
            r"search: a grid of 714,924,299 combinations, at most 10,000 are tried: .*method: random",
        ),
        ({"objective": ["sft", "dpo"]}, {}, r"tune\.search\.objective: 'dpo': .*`pairs: FILE` go together"),
    ],
)
def test_what_cannot_be_searched_is_told(search: dict[str, Any], tune: dict[str, Any], said: str) -> None:
    with pytest.raises(AssayError, match=re.compile(said, re.DOTALL)) as told:
        Space.of(FullRecipe.load(RECIPE, changes={"tune": {"search": search} | tune}))
    assert told.value.remedy


def test_a_recipe_without_the_section_is_told() -> None:
    with pytest.raises(AssayError, match="The recipe licences does not say what is searched") as told:
        Space.of(LOADED)
    assert "tune: {search: {learning_rate" in told.value.remedy


def test_the_section_of_the_page_is_one() -> None:
    [block] = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/tuning.md").read_text(), re.DOTALL)
    shown = Space.of(FullRecipe.load(RECIPE, changes=yaml.safe_load(block)))
    assert shown.tune.model_fields_set == TuneSettings.model_fields.keys(), "it explains every key"
    assert shown.training({"learning_rate": 1e-3, "rank": 0, "target_modules": 1, "eval_steps": 0}).eval_steps == 8


def test_every_other_key_of_training_can_be_searched() -> None:
    """With a value of its own; `objective` and `start_from` go with files and adapters that are there."""
    values: dict[str, Any] = {
        "method": ["lora"], "objective": ["sft"], "start_from": [None], "rpo_alpha": [None], "lr_scheduler_type":
        ["cosine"], "optim": ["muon"], "rank_pattern": [{"q_proj": 2}], "alpha_pattern": [{}], "target_modules":
        [["q_proj"]], "layers_to_transform": [[0, 1]], "dtype": ["float32"], "max_grad_norm": [None],
        "neftune_noise_alpha": [5.0], "loraplus_lr_ratio": [16], "early_stopping_patience": [2], "eval_steps": [4],
    }  # fmt: skip
    preferences = {"objective": "dpo", "pairs": "pairs.jsonl"}
    takers: dict[str, dict[str, Any]] = {
        "momentum": {"optim": "sgd"}, "double_quantization": {"method": "qlora"}, "beta": preferences,
        "rpo_alpha": preferences,
    }  # fmt: skip
    for key, field in TrainingSettings.model_fields.items():
        if key not in FIXED:
            tried = values.get(key, [field.default])
            searched = space({key: tried}, {"method": "lora"} | takers.get(key, {}))
            assert getattr(searched.training({key: 0}), key) == tried[0], key


def test_a_point_is_settings_of_the_recipe_with_a_few_others() -> None:
    searched = space(
        {"learning_rate": {"low": "1e-4", "high": 1e-2, "log": True}, "rank": [4, 8], "epochs": {"low": 1, "high": 4}},
        {"weight_decay": 0.1},
    )
    made = searched.training({"learning_rate": 0.00123456, "rank": 1, "epochs": 3})
    changes = {"learning_rate": 0.001235, "rank": 8, "epochs": 3, "keep_best": "loss", "weight_decay": 0.1}
    assert made == LOADED.training.model_copy(update=changes)
    assert searched.training({"learning_rate": 0.01, "rank": 0, "epochs": 1}).learning_rate == 0.01
    assert searched.largest().epochs == 4
    assert space({"rank": [4]}, {"keep_best": "schema_valid"}).metric == "schema_valid"


def test_keys_that_a_searched_method_does_not_take_are_left_out() -> None:
    searched = space({"method": ["lora", "ia3", "full"], "rank": [4, 8]}, {"rank": 2, "dropout": 0.1}, method="grid")
    made = [searched.training(point) for point in searched.grid]
    assert [(each.method, each.model_dump().get("rank")) for each in made] == [
        ("lora", 4), ("lora", 8), ("ia3", None), ("ia3", None), ("full", None), ("full", None),
    ]  # fmt: skip
    assert made[2].deciding() == made[3].deciding()


def test_the_largest_grid() -> None:
    searched = space({"rank": list(range(1, 101)), "alpha": list(range(1, 101))}, method="grid")
    assert searched.count == len(searched.grid) == MOST


def test_a_combination_in_a_grid_that_excludes_itself_is_told() -> None:
    search = {"optim": ["adamw", "sophia"], "use_rslora": [True, False]}
    assert space(search, method="grid").count == 4
    with pytest.raises(AssayError, match=r"method ia3 takes no `rank`"):
        space({"rank": [4]}, {"method": "ia3"})
