"""An adapter knows its parents."""

import json
import os
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from curate.errors import AssayError
from curate.rows.chat_template import ChatTemplate
from curate.store import Store
from evaluation.evaluate import evaluate
from tests.manifests import adapter_manifest, forge
from tests.tiny import recipe_for, renderer_of, write_model, write_version
from train.adapter import check_parents, dtype_of, load, merge, merge_into, parents, template_of
from train.adapters import load_several
from train.base_model import load_model, prepare
from train.batches import call
from train.manifest import AdapterManifest
from train.qlora import train


@pytest.fixture(scope="module")
def adapter(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Store(tmp_path_factory.mktemp("store"))
    return train(write_version(store, model_folder), recipe_for(model_folder, learning_rate=0.05), store)


def test_it_loads_on_its_own_base_and_changes_what_it_says(adapter: Path, model_folder: Path, tmp_path: Path) -> None:
    base = prepare(str(model_folder), tmp_path)
    ids = torch.tensor([renderer_of(model_folder).prompt_ids([{"role": "user", "content": "Which?"}])])
    last = torch.tensor([ids.shape[1] - 1])
    with torch.inference_mode():
        tuned = load(adapter, base, ChatTemplate("chatml"))
        plain, _ = call(load_model(base, "none"), last, input_ids=ids)
        with_adapter, _ = call(tuned, last, input_ids=ids)
        with tuned.disable_adapter():
            without, _ = call(tuned, last, input_ids=ids)
    torch.testing.assert_close(without, plain)
    assert (with_adapter - plain).abs().max() > 0.01


def test_several_on_one_base_say_what_each_says_alone(adapter: Path, model_folder: Path, tmp_path: Path) -> None:
    store = Store(adapter.parents[2])
    version = next((store.root / "datasets/tiny").iterdir())
    other = train(version, recipe_for(model_folder, learning_rate=0.05, rank=8, target_modules=["v_proj"]), store)
    base, template = prepare(str(model_folder), tmp_path), ChatTemplate("chatml")
    ids = torch.tensor([renderer_of(model_folder).prompt_ids([{"role": "user", "content": "Which?"}])])
    with torch.inference_mode():
        alone = {name: load(each, base, template)(ids).logits for name, each in (("a", adapter), ("b", other))}
        several = load_several({"a": adapter, "v1.0 / b": other}, base, template)
        assert several.names == ("a", "v1.0 / b")
        for name, its in (("a", "a"), ("v1.0 / b", "b"), ("a", "a")):
            with several.using(name) as model:
                assert torch.equal(model(ids).logits, alone[its])
    assert not torch.equal(alone["a"], alone["b"])
    with pytest.raises(AssayError, match="No adapter 'c' is loaded"), several.using("c"):
        pass
    with pytest.raises(AssayError, match="No adapter is named"):
        load_several({}, base, template)
    with pytest.raises(AssayError, match="another chat template"):
        load_several({"a": adapter, "b": other}, base, ChatTemplate("llama2"))


@pytest.mark.parametrize(
    ("one", "other", "asked", "said"),
    [
        ({"method": "qlora"}, {"method": "lora"}, {}, "on nf4 .* on none"),
        ({"method": "qlora"}, {"method": "lora"}, {"quantization": "nf4"}, None),
        ({"method": "qlora"}, {"method": "qlora", "double_quantization": False}, {}, "constants in 8 bits"),
        ({"method": "lora"}, {"method": "qlora", "double_quantization": False}, {"quantization": "nf4"}, "in float32"),
        ({"method": "qlora", "double_quantization": False}, {"method": "qlora"}, {"quantization": "none"}, None),
        ({"method": "qdora", "dtype": "float32"}, {"method": "qlora", "dtype": "bfloat16"}, {}, "computed in bfloat16"),
        ({"method": "qdora", "dtype": "float32"}, {"method": "qlora", "dtype": "bfloat16"}, {"dtype": "float32"}, None),
    ],
    ids=str,
)
def test_what_would_say_another_thing_than_alone_is_refused(
    one: dict[str, Any],
    other: dict[str, Any],
    asked: dict[str, Any],
    said: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folders = {}
    for name, settings in (("a", one), ("b", other)):
        made = adapter_manifest(schema_version=2)
        made["inputs"]["settings"] = settings
        with Store(tmp_path).publishing("adapters", name) as draft:
            folders[name] = draft.publish(made | {"name": name})
    loaded: list[Any] = []
    monkeypatch.setattr("train.adapters.load", lambda *_, **__: loaded.append(1) or SimpleNamespace(eval=lambda: None))
    monkeypatch.setattr("train.adapters.add", lambda *_: None)
    base: Any = None
    if said is None:
        load_several(folders, base, ChatTemplate("chatml"), **asked)
    else:
        with pytest.raises(AssayError, match=f"weights of several kinds.*{said}") as error:
            load_several(folders, base, ChatTemplate("chatml"), **asked)
        assert "quantization, dtype" in error.value.remedy
    assert bool(loaded) == (said is None)


def test_merged_weights_are_rounded_once_when_they_are_written(
    adapter: Path, model_folder: Path, tmp_path: Path
) -> None:
    whole = merge(adapter, prepare(str(model_folder), tmp_path), ChatTemplate("chatml"), tmp_path / "cache").folder
    wanted = load_file(whole / "model.safetensors")
    for asked, dtype in ((None, "float32"), ("bfloat16", "bfloat16"), ("float16", "float16")):
        out = tmp_path / dtype
        assert merge_into(out, adapter, tmp_path / "cache", asked) == dtype
        written = load_file(out / "model.safetensors")
        assert written.keys() == wanted.keys()
        assert all(torch.equal(written[name], wanted[name].to(getattr(torch, dtype))) for name in wanted)
        assert str(AutoModelForCausalLM.from_pretrained(out, dtype="auto").dtype) == f"torch.{dtype}"
        assert dtype_of(prepare(str(out), tmp_path)) == dtype


def test_other_weights_are_an_error(adapter: Path, tmp_path: Path) -> None:
    other = prepare(str(write_model(tmp_path / "other", seed=1)), tmp_path)
    with pytest.raises(AssayError, match=f"Adapter {adapter} was made with another base weights"):
        load(adapter, other, ChatTemplate("chatml"))


def test_another_chat_template_is_an_error(adapter: Path, model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="another chat template"):
        load(adapter, prepare(str(model_folder), tmp_path), ChatTemplate("llama2"))


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("weights_sha256", "base weights"),
        ("config_sha256", r"config\.json"),
        ("generation_config_sha256", r"generation_config\.json"),
        ("tokenizer_sha256", "tokenizer"),
        ("tokenizer_config_sha256", r"tokenizer_config\.json"),
        ("chat_template_sha256", "chat template"),
    ],
)
def test_each_parent_is_checked(key: str, name: str, model_folder: Path, tmp_path: Path) -> None:
    base, template = prepare(str(model_folder), tmp_path), ChatTemplate("chatml")
    made_with = parents(base, template)
    check_parents("Thing", made_with, base, template)
    with pytest.raises(AssayError, match=f"Thing was made with another {name}"):
        check_parents("Thing", made_with | {key: "0" * 64}, base, template)


def changed_model(model: Path, folder: Path, name: str, **values: Any) -> Path:
    """The model, but for some keys of one of its configurations."""
    shutil.copytree(model, folder)
    said = json.loads((folder / name).read_bytes())
    (folder / name).write_text(json.dumps(said | values))
    return folder


CONFIGURATIONS: list[tuple[str, dict[str, Any]]] = [
    ("config.json", {"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}}),
    ("config.json", {"rms_norm_eps": 0.1}),
    ("config.json", {"num_hidden_layers": 1}),
    ("config.json", {"hidden_act": "relu"}),
    ("generation_config.json", {"eos_token_id": 7}),
    ("tokenizer_config.json", {"bos_token": "<s>"}),
]


@pytest.mark.parametrize(("name", "values"), CONFIGURATIONS, ids=str)
def test_weights_are_no_model_without_their_configuration(
    name: str, values: dict[str, Any], adapter: Path, model_folder: Path, tmp_path: Path
) -> None:
    """Neither loaded nor merged where a file beside the weights is another; and another adapter is trained."""
    other = prepare(str(changed_model(model_folder, tmp_path / "other", name, **values)), tmp_path)
    template = ChatTemplate("chatml")
    for use in (lambda: load(adapter, other, template), lambda: merge(adapter, other, template, tmp_path / "cache")):
        with pytest.raises(AssayError, match=rf"Adapter {adapter} was made with another {name} ") as told:
            use()
        assert told.value.remedy.startswith("Restore the file, or name the base model")
    assert not (tmp_path / "cache").exists()
    assert parents(other, template) != parents(prepare(str(model_folder), tmp_path), template)


def test_a_generation_configuration_that_has_come_or_gone_is_told(
    adapter: Path, model_folder: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(model_folder, tmp_path / "other")
    (other / "generation_config.json").unlink()
    with pytest.raises(AssayError, match=r"made with another generation_config\.json"):
        load(adapter, prepare(str(other), tmp_path), ChatTemplate("chatml"))


def test_another_configuration_is_another_adapter_and_evaluated_with_none(model_folder: Path, tmp_path: Path) -> None:
    """The same folder, a key of whose configuration was changed after training."""
    model = shutil.copytree(model_folder, tmp_path / "model")
    store, recipe = Store(tmp_path / "store"), recipe_for(model)
    version = write_version(store, model)
    first = train(version, recipe, store)
    assert train(version, recipe, store) == first
    config = json.loads((model / "config.json").read_bytes())
    (model / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.01}))
    with pytest.raises(AssayError, match=rf"Adapter {first} was made with another config\.json "):
        evaluate(version, first, recipe, store)
    assert store.versions("scorecards", "tiny") == []
    assert train(version, recipe, store) != first


def test_the_config_is_peft_s_and_names_no_place(adapter: Path, model_folder: Path) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 4, 8)
    linear = {"down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"}
    assert {name.rpartition(".")[2] for name in config["target_modules"]} == linear
    assert config["target_modules"] == sorted(config["target_modules"]), "the order of a set is no run's own"
    assert config["base_model_name_or_path"] == AdapterManifest.read(adapter).inputs.base.model


def copied(adapter: Path, folder: Path) -> Path:
    return Path(shutil.copytree(adapter, folder / "copy"))


def test_a_flipped_byte_of_its_weights_is_told(adapter: Path, model_folder: Path, tmp_path: Path) -> None:
    folder = copied(adapter, tmp_path)
    path = folder / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    with pytest.raises(AssayError, match=f"{path}: changed since it was published: its SHA-256 is ") as told:
        load(folder, prepare(str(model_folder), tmp_path), ChatTemplate("chatml"))
    assert told.value.remedy == f"Restore {folder} from where it was copied."


class Payload:
    """What is unpickled runs this."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("listed", [True, False])
def test_a_pickle_is_never_loaded(listed: bool, adapter: Path, model_folder: Path, tmp_path: Path) -> None:
    """Not where the manifest names it, and not where somebody has put it in the place of the safetensors."""
    folder, mark = copied(adapter, tmp_path), tmp_path / "it ran"
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Payload(mark)))
    if listed:
        forge(folder, lambda manifest: manifest["files"].update({"adapter_model.bin": "0" * 64}))
        forge(folder)
    with pytest.raises(AssayError, match=r"no adapter_model\.safetensors among|safetensors: not there"):
        load(folder, prepare(str(model_folder), tmp_path), ChatTemplate("chatml"))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"megatron_config": {"a": 1}, "megatron_core": "an_evil_module"}, "megatron_config, megatron_core"),
        ({"peft_type": "IA3"}, "peft_type"),
        ({"corda_config": {"cache_file": "cache.pt"}}, "corda_config"),
        ({"auto_mapping": {"parent_library": "an_evil_module", "base_model_class": "x"}}, "auto_mapping"),
        ({"init_lora_weights": "corda"}, "init_lora_weights"),
        ({"target_modules": "(.*)*$"}, "target_modules"),
        ({"no_key_of_peft": 1}, "no_key_of_peft"),
        ({"rank_pattern": {"(a*)*$": 8}}, "rank_pattern"),
    ],
)
def test_a_configuration_that_does_more_is_refused(
    change: dict[str, Any],
    named: str,
    adapter: Path,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = copied(adapter, tmp_path)
    (tmp_path / "an_evil_module.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'it ran')!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | change))
    forge(folder)
    with pytest.raises(AssayError, match=rf"adapter_config\.json: not an adapter as method lora makes them: {named}\."):
        load(folder, prepare(str(model_folder), tmp_path), ChatTemplate("chatml"))
    assert not (tmp_path / "it ran").exists()


def test_one_trained_in_what_this_machine_does_not_compute_in_is_loaded(
    adapter: Path, model_folder: Path, tmp_path: Path
) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU computes in float16")
    folder = copied(adapter, tmp_path)
    forge(folder, lambda manifest: manifest["inputs"]["settings"].update({"dtype": "float16"}))
    assert load(folder, prepare(str(model_folder), tmp_path), ChatTemplate("chatml")).dtype == torch.float32


def test_a_template_of_the_model_that_sets_stop_is_read_back_as_the_model_s(model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    source = "{%- set stop = 'no more' -%}" + ChatTemplate("chatml").source
    (folder / "chat_template.jinja").write_text(source)
    store, recipe = Store(tmp_path / "store"), recipe_for(folder)
    recipe = recipe.model_copy(update={"render": recipe.render.model_copy(update={"chat": "model"})})
    made = train(write_version(store, folder, template="model"), recipe, store)
    assert template_of(made).published
    assert template_of(made).sha256 == ChatTemplate.load("model", folder).sha256
