"""Each method, run for real: what it trains, what it keeps, and that loading, merging and resuming give the same."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from curate.errors import AssayError
from curate.progress import silent
from curate.rows.chat_template import ChatTemplate
from curate.store import Store
from evaluation.evaluate import evaluate
from evaluation.settings import SystemSettings
from tests.families import model_of
from tests.manifests import forge
from tests.tiny import recipe_for, write_version
from tests.train.test_trainer import dies, killed
from train.adapter import load, merge, save, without_adapter
from train.base_model import BaseModel, load_model, prepare
from train.layout import training_layout
from train.manifest import AdapterManifest
from train.methods.keys import KEYS, QUANTIZED, SOME, WHOLE
from train.methods.lora import own_rate
from train.methods.trained import METHODS, adapted, put_weights, weights_of, with_adapter
from train.qlora import train
from train.settings import TrainingSettings

TEMPLATE = ChatTemplate("chatml")
IDS = torch.tensor([list(range(3, 40))])
OTHERS = ["full", "partial", "dora", "qdora", "ia3"]
"""Methods that no other test trains."""
NAMED: dict[str, dict[str, Any]] = {"partial": {"target_modules": ["mlp"], "layers_to_transform": [1]}}
PARTS = {"epochs": 4, "batch_size": 2, "gradient_accumulation_steps": 4}
RATES = {"full": 0.003, "partial": 0.01, "ia3": 0.1}


def settings_of(method: str, **more: Any) -> dict[str, Any]:
    return {"method": method, "rows": 8, "learning_rate": RATES.get(method, 0.02)} | NAMED.get(method, {}) | more


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model.eval()(input_ids=IDS).logits
    return found


@pytest.fixture(scope="module")
def base(model_folder_64: Path, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return prepare(str(model_folder_64), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def version(model_folder_64: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_version(Store(tmp_path_factory.mktemp("data")), model_folder_64)


@pytest.fixture(scope="module")
def made(version: Path, model_folder_64: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The adapter of a method, trained once: four steps, each of all rows, of four batches."""
    store, found = Store(tmp_path_factory.mktemp("store")), {}

    def _made(method: str) -> Path:
        if method not in found:
            recipe = recipe_for(model_folder_64, **settings_of(method, **PARTS))
            found[method] = train(version, recipe, store)
        return found[method]

    return _made


def test_each_method_is_known_everywhere() -> None:
    assert METHODS.keys() == KEYS.keys()


@pytest.mark.parametrize("method", OTHERS)
def test_what_is_trained_is_kept_loaded_and_merged(
    method: str, made: Callable[[str], Path], base: BaseModel, tmp_path: Path
) -> None:
    folder = made(method)
    manifest = AdapterManifest.read(folder)
    assert manifest.inputs.settings["method"] == method
    had = KEYS[method] - {"modules_to_save"}  # told where it says something
    assert manifest.inputs.settings.keys() & SOME == had, "no key that had no effect"
    before, *after = manifest.loss.validation
    assert after[-1] < before
    file = "trained.safetensors" if method in WHOLE else "adapter_model.safetensors"
    kept = load_file(folder / file)
    assert all(tensor.dtype == torch.float32 for tensor in kept.values())
    plain = load_model(base, "nf4" if method in QUANTIZED else "none")
    if method in WHOLE:
        names = {name for name, _ in plain.named_parameters()}
        if method == "partial":
            names = {name for name in names if name.startswith("model.layers.1.mlp.")}
        assert kept.keys() == names
        assert not (folder / "adapter_config.json").exists()
        size = sum(tensor.nbytes for tensor in kept.values())
        assert 0 < (folder / file).stat().st_size - size < 8000, "the tensors, and their names"
    tuned = load(folder, base, TEMPLATE)
    said = logits(tuned)
    assert not torch.allclose(said, logits(plain), atol=1e-2)
    with without_adapter(tuned, base) as without:
        torch.testing.assert_close(logits(without), logits(plain))
    whole = load_model(merge(folder, base, TEMPLATE, tmp_path), "none")
    in_full = said if method in WHOLE else logits(load(folder, base, TEMPLATE, dtype="float32"))
    torch.testing.assert_close(logits(whole), in_full, rtol=1e-3, atol=1e-4)
    again = tmp_path / "again"
    again.mkdir()
    save(tuned, weights_of(tuned), base, again)
    if method in WHOLE:
        assert (again / file).read_bytes() == (folder / file).read_bytes()


@pytest.mark.parametrize("method", OTHERS)
def test_untrained_it_says_what_the_base_model_says(method: str, base: BaseModel, model_folder_64: Path) -> None:
    training = recipe_for(model_folder_64, **settings_of(method)).training
    plain = load_model(base, training.quantization)
    torch.testing.assert_close(logits(adapted(base, training)), logits(plain))


@pytest.mark.parametrize(
    "method", [pytest.param(each, marks=[pytest.mark.slow] * (each not in WHOLE)) for each in OTHERS]
)
def test_a_killed_run_goes_on_to_the_same_bytes(
    method: str, made: Callable[[str], Path], version: Path, model_folder_64: Path, tmp_path: Path
) -> None:
    recipe = recipe_for(model_folder_64, **settings_of(method, **PARTS, save_steps=1))
    store, told = Store(tmp_path), []

    def work(progress: Callable[..., None]) -> Path:
        return train(version, recipe, store, progress)

    assert killed(lambda: work(dies(11))) == signal.SIGKILL  # type: ignore[arg-type, return-value]
    folder = work(lambda what, *_: told.append(what))
    assert any("goes on after step 2" in what for what in told)
    assert folder.name == made(method).name
    for name in AdapterManifest.read(folder).files:
        if name.endswith(".safetensors"):
            assert (folder / name).read_bytes() == (made(method) / name).read_bytes()


@pytest.mark.parametrize("method", ["full", "dora", "ia3"])
def test_accumulation_is_the_big_batch(
    method: str, made: Callable[[str], Path], version: Path, model_folder_64: Path, tmp_path: Path
) -> None:
    recipe = recipe_for(model_folder_64, **settings_of(method, epochs=4, batch_size=8))
    whole = AdapterManifest.read(train(version, recipe, Store(tmp_path))).loss
    parts = AdapterManifest.read(made(method)).loss
    assert whole.validation == pytest.approx(parts.validation, rel=1e-5)
    assert whole.train == pytest.approx(parts.train, rel=1e-5)


def test_the_base_model_beside_its_own_trained_weights(
    made: Callable[[str], Path], version: Path, model_folder_64: Path, tmp_path: Path
) -> None:
    """Each system is asked of its own weights: the base model's answers are those that it gives alone."""
    systems = {name: SystemSettings(model=name, quantization="none") for name in ("base", "adapter", "merged")}
    recipe = recipe_for(model_folder_64, **settings_of("full"))
    both = recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"systems": systems})})
    alone = {"base": systems["base"]}
    only = recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"systems": alone})})
    card = answers(evaluate(version, made("full"), both, Store(tmp_path / "both")))
    assert card["base"] == answers(evaluate(version, None, only, Store(tmp_path / "alone")))["base"]
    assert card["adapter"] == card["merged"] != card["base"]
    quantised = {"tuned": SystemSettings(model="adapter", quantization="nf4")}
    wrong = recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"systems": quantised})})
    with pytest.raises(AssayError, match="not loaded in nf4") as told:
        evaluate(version, made("full"), wrong, Store(tmp_path / "wrong"))
    assert "{model: merged, quantization: nf4}" in told.value.remedy


def answers(folder: Path) -> dict[str, list[str]]:
    import pyarrow.parquet as pq

    found: dict[str, list[str]] = {}
    for row in pq.read_table(folder / "predictions.parquet").to_pylist():
        found.setdefault(row["system"], []).append(row["output"])
    return found


@pytest.mark.parametrize("family", ["gpt2", "mamba", "mixtral", "gemma2"])
def test_other_architectures_have_a_layout_for_full_and_partial(family: str) -> None:
    """Tied embeddings, experts and states too are put back as they were taken out."""
    for settings in (TrainingSettings(method="full"), TrainingSettings(method="partial", layers_to_transform=[1])):
        model = with_adapter(model_of(family), settings)
        taken = weights_of(model)
        assert all(".1." in name for name in taken) or settings.method == "full"
        with torch.no_grad():
            for each in model.parameters():
                each.zero_() if each.requires_grad else None
        put_weights(model, taken)
        torch.testing.assert_close(logits(model), logits(model_of(family)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "partial"}, "neither target_modules nor layers_to_transform"),
        ({"method": "partial", "target_modules": ["c_attn"]}, "no module of this model is called 'c_attn'"),
        ({"method": "partial", "layers_to_transform": [2]}, "there is no layer 2"),
        ({"method": "partial", "target_modules": ["lm_head"], "layers_to_transform": [0]}, "there is no weight"),
        ({"method": "ia3", "target_modules": ["c_attn"]}, "no linear layer of this model is called 'c_attn'"),
        ({"method": "lora", "rank_pattern": {"c_attn": 2}}, "rank_pattern: no module that gets an adapter is called"),
        ({"method": "dora", "target_modules": ["q_proj"], "alpha_pattern": {"k_proj": 2}}, "alpha_pattern: no module"),
    ],
)
def test_what_is_named_and_not_there(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(AssayError, match=message):
        with_adapter(model_of("llama"), TrainingSettings.model_validate(settings))


def test_an_architecture_whose_modules_peft_does_not_know_asks_for_their_names() -> None:
    with pytest.raises(AssayError, match="ia3: peft knows no modules to scale in an architecture 'mamba'") as told:
        with_adapter(model_of("mamba"), TrainingSettings(method="ia3"))
    assert "in_proj" in told.value.remedy


def test_ia3_scales_what_the_paper_scales() -> None:
    model = with_adapter(model_of("llama"), TrainingSettings(method="ia3"))
    shapes = {name.split(".")[-3]: tuple(each.shape) for name, each in model.named_parameters() if each.requires_grad}
    assert shapes == {"k_proj": (16, 1), "v_proj": (16, 1), "down_proj": (1, 64)}


@pytest.mark.parametrize("method", list(KEYS))
def test_a_key_that_the_method_does_not_take_is_an_error(method: str) -> None:
    values = {"rank": 4, "loraplus_lr_ratio": 16, "target_modules": ["q_proj"], "rank_pattern": {"q_proj": 2}}
    for key, value in values.items():
        given = {"method": method, key: value}
        if key in KEYS[method]:
            assert TrainingSettings.model_validate(given).model_dump()[key] == value
        else:
            with pytest.raises(ValueError, match=f"method {method} takes no `{key}`, which .*lora.* do: leave it out"):
                TrainingSettings.model_validate(given)
        assert TrainingSettings.model_validate({"method": method, key: None}).method == method
    dumped = TrainingSettings.model_validate({"method": method}).model_dump(mode="json")
    assert TrainingSettings.model_validate(dumped).model_dump(mode="json") == dumped


@pytest.mark.parametrize("pattern", ["(a*)*$", "q_proj|v_proj", ".*q_proj", ""])
def test_a_pattern_is_a_name_and_no_expression(pattern: str) -> None:
    with pytest.raises(ValueError, match="expected the end of a module's name"):
        TrainingSettings.model_validate({"method": "lora", "rank_pattern": {pattern: 2}})


def test_the_family_of_lora_by_peft_s_own_names(base: BaseModel, model_folder_64: Path, tmp_path: Path) -> None:
    """Ranks, scales and what is loaded of them."""
    more = {"rank_pattern": {"layers.0.self_attn.q_proj": 2}, "alpha_pattern": {"v_proj": 4}, "use_rslora": True}
    model: Any = adapted(base, recipe_for(model_folder_64, **more).training)
    modules = {name: module for name, module in model.named_modules() if hasattr(module, "lora_A") and module.r}
    ranks = {name.partition("layers.")[2]: module.r["default"] for name, module in modules.items()}
    assert [name for name, rank in ranks.items() if rank == 2] == ["0.self_attn.q_proj"]
    assert set(ranks.values()) == {2, 4}
    q, v = (next(m for n, m in modules.items() if n.endswith(end)) for end in ("0.self_attn.q_proj", "v_proj"))
    assert q.scaling["default"] == pytest.approx(8 / 2**0.5), "alpha over the root of the rank"
    assert v.scaling["default"] == pytest.approx(4 / 4**0.5)


def test_the_second_matrices_learn_faster_and_nothing_else(base: BaseModel, model_folder_64: Path) -> None:
    model = adapted(base, recipe_for(model_folder_64, method="dora").training)
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    optimizer = torch.optim.SGD(trained.values(), lr=0.5)
    before = {name: each.detach().clone() for name, each in trained.items()}
    own_rate(optimizer, model, "lora_B", 16.0)
    own_rate(optimizer, model, "lora_B", 16.0)  # a second time changes nothing
    for each in trained.values():
        each.grad = torch.ones_like(each)
    optimizer.step()
    for name, each in trained.items():
        torch.testing.assert_close(before[name] - each, torch.full_like(each, 8.0 if "lora_B" in name else 0.5))
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 8.0]


def test_what_scales_is_not_turned_down_by_weight_decay(version: Path, model_folder_64: Path, tmp_path: Path) -> None:
    """Rows of no gradient: all that would change a factor is its decay."""
    recipe = recipe_for(model_folder_64, **settings_of("ia3", weight_decay=0.5, learning_rate=1e-9))
    kept = load_file(train(version, recipe, Store(tmp_path)) / "adapter_model.safetensors")
    assert all(torch.allclose(each, torch.ones_like(each)) for each in kept.values())


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "copy"))


@pytest.mark.parametrize(
    ("method", "change", "named"),
    [
        ("dora", {"use_dora": False}, "use_dora"),
        ("dora", {"peft_type": "IA3"}, "peft_type"),
        ("dora", {"rank_pattern": "(a*)*$"}, "rank_pattern"),
        ("dora", {"use_rslora": "yes"}, "use_rslora"),
        ("ia3", {"target_modules": "(.*)*$"}, "target_modules"),
        ("ia3", {"feedforward_modules": "(.*)*$"}, "feedforward_modules"),
        ("ia3", {"r": 4}, "r"),
        ("ia3", {"modules_to_save": ["lm_head"]}, "modules_to_save"),
    ],
)
def test_a_configuration_of_another_method_is_refused(
    method: str, change: dict[str, Any], named: str, made: Callable[[str], Path], base: BaseModel, tmp_path: Path
) -> None:
    folder = copied(made(method), tmp_path)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | change))
    forge(folder)
    with pytest.raises(AssayError, match=rf"not an adapter as method {method} makes them: {named}\."):
        load(folder, base, TEMPLATE)


def test_weights_that_are_not_those_of_the_settings_are_refused(
    made: Callable[[str], Path], base: BaseModel, tmp_path: Path
) -> None:
    folder = copied(made("partial"), tmp_path)
    kept = load_file(folder / "trained.safetensors")
    (folder / "trained.safetensors").chmod(0o644)
    save_file(kept | {"lm_head.weight": torch.zeros(2, 2)}, folder / "trained.safetensors")
    forge(folder)
    with pytest.raises(AssayError, match=r"1 weights are not those that were to be trained, lm_head\.weight"):
        load(folder, base, TEMPLATE)


def test_the_layout_of_rows_is_found_for_full_weights(base: BaseModel, model_folder_64: Path, version: Path) -> None:
    from train.qlora import _examples, renderer_of

    recipe = recipe_for(model_folder_64, **settings_of("full"))
    examples = _examples(version, recipe, renderer_of(recipe, base), silent)[1][0].require()
    assert training_layout(adapted(base, recipe.training), examples).rows == "shared"
