"""A fresh adapter: on the modules and layers named, by peft's names; a name that fits nothing is told."""

from pathlib import Path
from typing import Any

import pytest
import torch

from curate.errors import AssayError
from curate.rows.chat_template import ChatTemplate
from curate.store import Store
from tests.families import model_of
from tests.tiny import recipe_for, write_version
from train.adapter import load
from train.base_model import compute_dtype, load_model, prepare
from train.lora import adapted, with_adapter
from train.qlora import train

LINEAR = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


def trained(model: torch.nn.Module) -> set[tuple[int, str]]:
    """(layer, module) of each that has an adapter."""
    names = [name.split(".") for name, parameter in model.named_parameters() if parameter.requires_grad]
    return {
        (int(parts[parts.index("layers") + 1]), parts[parts.index("lora_A") - 1])
        for parts in names
        if "lora_A" in parts
    }


@pytest.mark.parametrize(
    ("settings", "modules", "layers"),
    [
        ({}, LINEAR, [0, 1]),
        ({"layers_to_transform": [1]}, LINEAR, [1]),
        ({"target_modules": ["q_proj", "v_proj"]}, ["q_proj", "v_proj"], [0, 1]),
        ({"target_modules": ["self_attn.o_proj"], "layers_to_transform": [0]}, ["o_proj"], [0]),
    ],
)
def test_modules_and_layers_named_get_an_adapter_and_no_others(
    settings: dict[str, Any], modules: list[str], layers: list[int], model_folder: Path, tmp_path: Path
) -> None:
    model = adapted(prepare(str(model_folder), tmp_path), recipe_for(model_folder, **settings).training)
    assert trained(model) == {(layer, module) for layer in layers for module in modules}


@pytest.mark.parametrize(
    ("settings", "message", "remedy"),
    [
        ({"target_modules": ["q_proj", "c_attn"]}, "target_modules: no linear layer .* 'c_attn'", ", ".join(LINEAR)),
        ({"target_modules": ["proj"]}, "no linear layer of this model is called 'proj'", "There are: down_proj"),
        ({"target_modules": ["lm_head"]}, "no linear layer of this model is called 'lm_head'", "There are: down_proj"),
        ({"target_modules": []}, "the list is empty", "Leave it out"),
        ({"layers_to_transform": [0, 2]}, "layers_to_transform: there is no layer 2", "are 0 to 1"),
        ({"layers_to_transform": []}, "layers_to_transform: the list is empty", "are 0 to 1"),
    ],
)
def test_a_name_that_fits_nothing_is_an_error_that_lists_what_there_is(
    settings: dict[str, Any], message: str, remedy: str, model_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(AssayError, match=message) as error:
        adapted(prepare(str(model_folder), tmp_path), recipe_for(model_folder, **settings).training)
    assert remedy in error.value.remedy


def test_an_adapter_of_some_layers_is_loaded_as_it_was_trained(model_folder: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    recipe = recipe_for(model_folder, target_modules=["q_proj"], layers_to_transform=[1], learning_rate=0.02)
    folder = train(write_version(store, model_folder), recipe, store)
    model = load(folder, prepare(str(model_folder), store.cache), ChatTemplate("chatml"))
    assert {name.split(".lora_")[0] for name, _ in model.named_parameters() if "lora_" in name} == {
        "base_model.model.model.layers.1.self_attn.q_proj"
    }


def test_double_quantization_and_dtype_are_those_asked_for(model_folder_64: Path, tmp_path: Path) -> None:
    base = prepare(str(model_folder_64), tmp_path)
    for double in (True, False):
        model = load_model(base, "nf4", "float32", double)
        module = model.model.layers[0].self_attn.q_proj
        assert module.weight.quant_state.nested == double
        assert module.compute_dtype == torch.float32
    assert compute_dtype("bfloat16") == torch.bfloat16


@pytest.mark.parametrize("layers", [None, [1]])
def test_what_peft_refuses_of_mamba_is_left_out(model_folder: Path, layers: list[int] | None) -> None:
    settings = recipe_for(model_folder, layers_to_transform=layers).training
    model = with_adapter(model_of("mamba"), settings)
    assert trained(model) == {(layer, name) for layer in layers or [0, 1] for name in ("dt_proj", "in_proj", "x_proj")}
