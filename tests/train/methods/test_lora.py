"""A fresh adapter: on the modules and layers named, by peft's names; a name that fits nothing is told."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from curate.errors import AssayError
from curate.rows.chat_template import ChatTemplate
from curate.store import Store
from tests.families import model_of
from tests.tiny import recipe_for, write_version
from train.adapter import load, merge
from train.base_model import configuration, load_model, prepare
from train.dtypes import compute_dtype
from train.memory import Batch, Machine, step
from train.methods.trained import adapted, tell_left_out, with_adapter
from train.optimizers import optimizer
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


def test_experts_that_are_adapted_are_loaded_and_merged_as_they_were_trained(
    model_folder: Path, tmp_path: Path
) -> None:
    rows = json.loads((model_folder / "config.json").read_bytes())["vocab_size"]
    folder = shutil.copytree(model_folder, tmp_path / "mixtral")
    model_of("mixtral", vocab_size=rows, max_position_embeddings=512).save_pretrained(folder)
    store = Store(tmp_path / "store")
    told: list[str] = []
    recipe = recipe_for(folder, learning_rate=0.02, epochs=1)
    made = train(write_version(store, folder), recipe, store, lambda what, *_: told.append(what))
    assert not any("no adapter for" in what for what in told)
    base, template = prepare(str(folder), store.cache), ChatTemplate("chatml")
    ids = torch.tensor([list(range(3, 40))])
    with torch.inference_mode():
        plain = load_model(base, "none").eval()(input_ids=ids).logits
        tuned = load(made, base, template)
        assert any("experts" in name and bool(w.any()) for name, w in tuned.named_parameters() if "lora_B" in name)
        wanted = tuned(input_ids=ids).logits
        merged = load_model(merge(made, base, template, store.cache), "none").eval()(input_ids=ids).logits
    assert not torch.allclose(wanted, plain, atol=1e-2)
    torch.testing.assert_close(merged, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("tied", [pytest.param(False, marks=pytest.mark.slow), True])
def test_embeddings_and_head_are_trained_beside_the_adapter(tied: bool, model_folder_64: Path, tmp_path: Path) -> None:
    """Kept, loaded and merged; where they are one weight, they stay one."""
    folder = shutil.copytree(model_folder_64, tmp_path / "model")
    rows = json.loads((folder / "config.json").read_bytes())["vocab_size"]
    model_of("llama", vocab_size=rows, tie_word_embeddings=tied, max_position_embeddings=512).save_pretrained(folder)
    store = Store(tmp_path / "store")
    names = ["embed_tokens"] if tied else ["embed_tokens", "lm_head"]
    recipe = recipe_for(
        folder, rows=8, epochs=2, learning_rate=0.01, modules_to_save=names, keep_best="loss", method="qlora"
    )
    made = train(write_version(store, folder), recipe, store)
    kept = load_file(made / "adapter_model.safetensors")
    assert any("embed_tokens" in name for name in kept)
    base, template = prepare(str(folder), store.cache), ChatTemplate("chatml")
    ids = torch.tensor([list(range(3, 40))])
    plain, tuned = load_model(base, "nf4", "float32").eval(), load(made, base, template, dtype="float32")
    with torch.inference_mode():
        wanted = tuned(input_ids=ids).logits
        merged = load_model(merge(made, base, template, store.cache), "none").eval()
        torch.testing.assert_close(merged(input_ids=ids).logits, wanted, rtol=1e-3, atol=1e-4)
    moved = (merged.get_input_embeddings().weight - plain.get_input_embeddings().weight).abs().max()
    assert moved > 1e-3
    assert (merged.get_output_embeddings().weight is merged.get_input_embeddings().weight) is tied
    counted = sum(
        each.numel() for each in load(made, base, template, trainable=True).parameters() if each.requires_grad
    )
    machine = Machine("cpu", torch.float32, torch.float32)
    assert step(configuration(folder), recipe.training, Batch(4, 60, 8), machine).trained == counted
    given = recipe_for(folder, modules_to_save=["norm"], method="lora", learning_rate=0.01).training
    model = with_adapter(load_model(base, "none"), given)
    saved = {name for name, each in model.named_parameters() if each.requires_grad and "lora_" not in name}
    assert saved == {"base_model.model.model.norm.modules_to_save.default.weight"}, "not the norms of the layers"
    rates = {group["lr"]: len(group["params"]) for group in optimizer(model, given, []).param_groups}
    assert rates[0.001] == 1
    assert set(rates) == {0.01, 0.001}
    with pytest.raises(AssayError, match="no embedding, head or norm of this model is called 'q_proj'"):
        with_adapter(load_model(base, "none"), recipe_for(folder, modules_to_save=["q_proj"], method="lora").training)


def test_experts_that_stay_as_they_are_are_told(model_folder: Path) -> None:
    told: list[str] = []
    for family in ("gpt-oss", "mixtral", "mamba"):
        model = with_adapter(model_of(family), recipe_for(model_folder).training)
        tell_left_out(model, lambda what, *_: told.append(what))
    assert [what.partition(":")[0] for what in told] == ["no adapter for experts.down_proj, experts.gate_up_proj"]


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
