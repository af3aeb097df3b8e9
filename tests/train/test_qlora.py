"""Training: the loss is the plain one, the adapter is a function of its inputs, and nothing is half-published."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from assay.results import Adapter, Made
from curate.errors import AssayError
from curate.hashing import digest
from curate.rows.renderer import IGNORED
from curate.store import Store
from curate.taken_back import TakenBackError
from evaluation.evaluate import evaluate
from tests.manifests import adapter_manifest, forge
from tests.tiny import QUESTION, recipe_for, renderer_of, write_model, write_version
from tests.train.test_trainer import killed
from train.adapter import save
from train.audit import encode
from train.base_model import prepare
from train.batches import Layout
from train.examples import Example, read_split
from train.halted import Pruned
from train.history import History
from train.loss import answer_loss, collate, mean_loss
from train.manifest import AdapterManifest
from train.methods.trained import adapted
from train.qlora import _tell_seen, libraries_of, train
from train.settings import TrainingSettings
from train.summary import training_tables


def examples(model: Path, answers: str) -> list[Example]:
    """Rows with the same beginning; of `some` of them, the first of two answers is not trained."""
    turns = [("MIT", "yes"), ("GPL", '{"a": [1, 2]}'), ("", ""), ("what " * 9, "no " * 12)]
    rows = []
    for number, (asked, answered) in enumerate(turns):
        first = [{"role": "user", "content": QUESTION + asked}, {"role": "assistant", "content": answered}]
        if answers == "some" and number % 2:
            first[1]["trained"] = False  # type: ignore[assignment]
        again = [{"role": "user", "content": "sure?"}, {"role": "assistant", "content": "quite"}] * (number % 2)
        rows.append({"id": str(number), "messages": first + again})
    return encode(rows, renderer_of(model, "last" if answers == "last" else "all"))


@pytest.mark.parametrize("answers", ["last", "all", "some"])
def test_loss_and_gradients_are_those_of_the_plain_computation(model_folder: Path, answers: str) -> None:
    """Against each row by itself through the model's own forward: no padding, nothing shared, all logits."""
    rows = examples(model_folder, answers)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    batch = collate([row.input_ids for row in rows], [row.labels for row in rows])
    assert batch["prefix"].shape[1] > 16, "the rows share their question's beginning"
    loss, trained = answer_loss(model, layout=Layout("shared"), **batch)
    loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    plain = torch.tensor(0.0)
    for row in rows:
        logits = model(input_ids=torch.tensor([row.input_ids]), use_cache=False).logits[0, :-1]
        labels = torch.tensor(row.labels[1:])
        plain = plain + torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    plain.backward()
    assert trained == sum(row.trained for row in rows)
    torch.testing.assert_close(loss, plain, rtol=1e-5, atol=1e-4)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-3, atol=1e-4, msg=name)


def test_the_mean_loss_does_not_depend_on_batches(model_folder: Path) -> None:
    rows = examples(model_folder, "last")
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    assert mean_loss(model, rows, 1) == pytest.approx(mean_loss(model, rows, 4), rel=1e-5)
    assert mean_loss(model, rows[:1], 8) != pytest.approx(mean_loss(model, rows, 4), rel=1e-5)


def test_a_validation_does_not_cut_the_gradient(model_folder_64: Path, tmp_path: Path) -> None:
    """bitsandbytes repacks 4-bit weights in eval mode for a CPU kernel that passes no gradient back."""
    base = prepare(str(model_folder_64), tmp_path)
    model = adapted(base, recipe_for(model_folder_64, method="qlora").training)
    rows = examples(model_folder_64, "last")
    batch = collate([row.input_ids for row in rows], [row.labels for row in rows])
    name, first = next((n, p) for n, p in model.named_parameters() if "layers.0.self_attn.q_proj.lora_B" in n)
    seen = []
    for _ in range(2):
        model.train()
        answer_loss(model, **batch)[0].backward()
        seen.append(first.grad.clone())
        model.zero_grad()
        mean_loss(model, rows, 2)
    assert seen[0].abs().max() > 0, name
    torch.testing.assert_close(seen[0], seen[1])


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_training(method: str, model_folder_64: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    version = write_version(store, model_folder_64)
    recipe = recipe_for(model_folder_64, method=method, epochs=2, learning_rate=0.02)
    told: list[tuple[str, int, int, str]] = []
    folder = train(version, recipe, store, lambda *each: told.append(each))

    manifest = AdapterManifest.read(folder)
    before, *after = manifest.loss.validation
    assert len(after) == len(manifest.loss.train) == 2
    assert after[1] < after[0] < before
    assert manifest.rows.train == 16
    assert manifest.inputs.dataset.version == version.name
    assert manifest.inputs.dataset.manifest_sha256 == digest(json.loads((version / "manifest.json").read_bytes()))
    assert {"adapter_config.json", "adapter_model.safetensors"} < set(manifest.files)
    seen = manifest.tokens.seen
    assert ("train", seen, seen, "tokens") in told
    assert told[-1] == ("validate", 12, 12, "rows")
    weights = load_file(folder / "adapter_model.safetensors")
    assert len(weights) == 2 * 7 * 2, "A and B of seven linear layers in two blocks; none on the head"
    assert all(tensor.dtype == torch.float32 for tensor in weights.values())
    assert all(tensor.abs().max() > 0 for tensor in weights.values()), "every part has learned"

    found: list[tuple[str, int, int, str]] = []
    assert train(version, recipe, store, lambda *each: found.append(each)) == folder
    assert [what for what, *_ in found] == ["train (found in the store)"]
    assert [event["found"] for event in store.events()] == [False, True]
    other = recipe.model_copy(update={"training": recipe.training.model_copy(update={"seed": 1, "epochs": 1})})
    assert train(version, other, store) != folder


def test_the_same_inputs_give_the_same_bytes(model_folder: Path, tmp_path: Path) -> None:
    recipe = recipe_for(model_folder)
    versions = []
    for name in ("one", "two"):
        store = Store(tmp_path / name)
        versions.append(train(write_version(store, model_folder), recipe, store))
    assert versions[0].name == versions[1].name


def test_a_data_set_for_another_tokenizer_is_an_error(model_folder: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    version = write_version(store, model_folder)
    other = write_model(tmp_path / "other")
    text = (other / "tokenizer.json").read_text()
    (other / "tokenizer.json").write_text(text + "\n")
    with pytest.raises(AssayError, match=f"Data set {version} was made with another tokenizer"):
        train(version, recipe_for(other), store)


def without(version: Path, *splits: str) -> Path:
    """The version as though it had been published with these splits empty."""
    for split in splits:
        path = version / f"{split}.parquet"
        path.chmod(0o644)
        pq.write_table(pq.read_table(path).slice(0, 0), path)
    forge(version)
    return version


def test_without_rows_to_validate_on_the_loss_is_not_known(model_folder: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    version = without(write_version(store, model_folder), "validation", "test")
    told: list[str] = []
    folder = train(version, recipe_for(model_folder), store, lambda what, *_: told.append(what))
    manifest = AdapterManifest.read(folder)
    assert manifest.loss.validation == []
    assert len(manifest.loss.train) == 1
    assert (manifest.rows.train, manifest.rows.validation) == (16, 0)
    assert "validate" not in told
    rows = dict(row for row in training_tables(folder, store)[0].rows)
    assert rows["validation loss"] == "not known: the validation split has no rows"
    assert "validation loss not known" in Adapter(folder, Made(store)).gist()
    with pytest.raises(AssayError, match="the test split has no rows"):
        evaluate(version, folder, recipe_for(model_folder), store)


def test_without_rows_to_train_on_the_split_is_named(model_folder: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    version = without(write_version(store, model_folder), "train")
    with pytest.raises(AssayError, match="the train split has no rows"):
        train(version, recipe_for(model_folder), store)


def test_no_row_short_enough_is_an_error(model_folder: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(AssayError, match="no row of the train split has 8 tokens or fewer"):
        train(write_version(store, model_folder), recipe_for(model_folder, max_tokens=8), store)


def test_what_decides_does_not_depend_on_what_was_asked_before() -> None:
    TrainingSettings(method="lora").deciding()
    told = TrainingSettings(optim="sgd", validation_rows=5).deciding()
    assert {"momentum", "double_quantization", "validation_rows"} <= told.keys()
    assert {"momentum", "validation_rows", "beta"} & TrainingSettings().deciding().keys() == set()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"momentum": 0.5}, "`momentum` is of `optim: sgd`"),
        ({"lr_scheduler_type": "constant", "min_lr_ratio": 0.5}, "`min_lr_ratio` is of schedules that fall"),
        ({"method": "lora", "double_quantization": False}, "`double_quantization` is of `qlora` and `qdora`"),
        ({"beta": 0.3}, "`beta` is of `objective: dpo`"),
        ({"method": "full", "rank": 4}, "method full takes no `rank`"),
    ],
)
def test_a_key_without_effect_is_an_error(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingSettings.model_validate(given)
    key = list(given)[-1]
    made = TrainingSettings.model_validate(given | {key: None})
    assert key not in made.model_dump()
    assert TrainingSettings.model_validate(made.model_dump()) == made, "what is written out is read back"


def test_what_is_not_said_is_what_suits() -> None:
    def rate(**given: Any) -> float:
        return TrainingSettings.model_validate(given).learning_rate

    assert (rate(), rate(method="full"), rate(method="ia3"), rate(method="full", learning_rate=0.1)) == (
        1e-3, 2e-5, 2e-2, 0.1,
    )  # fmt: skip
    assert rate(objective="dpo", pairs="pairs.parquet") == pytest.approx(1e-4)
    assert TrainingSettings(early_stopping_patience=2).keep_best == "loss", "not the weights that ended it"
    assert TrainingSettings(objective="reft", early_stopping_patience=2).keep_best == "reward"
    assert TrainingSettings().keep_best is None
    assert rate(method="full", learning_rate=None) == 2e-5, "a variant takes the recipe's away"
    with pytest.raises(ValueError, match="with `dpo` say what ends it"):
        TrainingSettings(objective="dpo", pairs="pairs.parquet", early_stopping_patience=2)


def test_all_rows_are_trained_unless_the_recipe_says_how_many(model_folder: Path, tmp_path: Path) -> None:
    store, told = Store(tmp_path / "store"), list[str]()
    version = write_version(store, model_folder)
    lengths = sorted(row["tokens"] for row in read_split(version, "train", ["tokens"]))
    most = lengths[-1] - 1
    recipe = recipe_for(model_folder, rows=None, max_tokens=most)
    kept = sum(length <= most for length in lengths)
    manifest = AdapterManifest.read(train(version, recipe, store, lambda what, *_: told.append(what)))
    assert manifest.rows.train == kept < len(lengths)
    assert (
        f"{kept} of {len(lengths)} rows of the train split; {len(lengths) - kept} have more than {most} tokens" in told
    )


def test_who_trains_may_end_it_after_a_validation(model_folder: Path, tmp_path: Path) -> None:
    """Asked after each but the first, which is before training, and the last; what ends so leaves nothing behind."""
    store = Store(tmp_path / "store")
    version = write_version(store, model_folder)
    recipe = recipe_for(model_folder, eval_steps=1, save_steps=1, validation_rows=5)
    asked: list[list[int]] = []

    def after_two(history: History, /) -> bool:
        asked.append([each.step for each in history.validations])
        return len(history.steps) == 2

    with pytest.raises(Pruned) as ended:
        train(version, recipe, store, hopeless=after_two)
    assert asked == [[0, 1], [0, 1, 2]]
    assert len(ended.value.history.steps) == 2
    assert not (store.root / "adapters").exists()
    assert list((store.cache / "training").glob("*/checkpoint-*")) == []
    asked.clear()
    folder = train(version, recipe, store, hopeless=lambda history: bool(asked.append([len(history.steps)])))
    assert asked == [[1], [2], [3]], "of four steps"
    manifest = AdapterManifest.read(folder)
    assert manifest.rows.validation == manifest.inputs.settings["validation_rows"] == 5


def test_what_was_taken_back_while_it_was_trained_on(model_folder: Path, tmp_path: Path) -> None:
    """Nothing is published of it; once it is there again, the run goes on from where it was."""
    store = Store(tmp_path / "store")
    version = write_version(store, model_folder)
    recipe = recipe_for(model_folder, eval_steps=2, save_steps=1, validation_rows=5)

    def taken_back(_: History, /) -> bool:
        version.rename(tmp_path / "aside")
        return False

    with pytest.raises(TakenBackError) as error:
        train(version, recipe, store, hopeless=taken_back)
    assert f"{version}: taken back meanwhile" in error.value.message
    (key,) = (each for each in (store.cache / "training").iterdir() if (each / "turn").is_dir())
    assert error.value.remedy.endswith(f"The run until step 4 is kept in {key / 'checkpoint-4'}.")
    assert store.versions("adapters", "tiny") == []
    (tmp_path / "aside").rename(version)
    told: list[str] = []
    folder = train(version, recipe, store, lambda what, *_: told.append(what))
    assert store.versions("adapters", "tiny") == [folder]
    assert "train (goes on after step 4 of 4)" in told


def test_killed_between_writing_and_publishing(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    version, recipe = write_version(store, model_folder), recipe_for(model_folder)

    def save_and_die(model: Any, weights: Any, base: Any, folder: Path) -> None:
        save(model, weights, base, folder)
        if (folder / "adapter_model.safetensors").is_file():
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr("train.publish.save", save_and_die)
        assert killed(lambda: train(version, recipe, store)) == signal.SIGKILL  # type: ignore[arg-type, return-value]
    assert store.versions("adapters", "tiny") == []
    folder = train(version, recipe, store)
    assert store.versions("adapters", "tiny") == [folder]


def test_what_an_adapter_and_those_before_it_have_seen_is_told(tmp_path: Path) -> None:
    """All data sets of another name, each once; and where the chain breaks."""
    store, before = Store(tmp_path / "store"), None

    def seen(start: Path) -> list[str]:
        told: list[str] = []
        _tell_seen(start, Path("datasets/mine/0123"), store, lambda what, *_: told.append(what))
        return [what.removeprefix("start_from ").partition(",")[0] for what in told]

    made = []
    for name, dataset in [("first", "x"), ("second", "mine"), ("third", "y"), ("fourth", "x")]:
        content = adapter_manifest(schema_version=2) | {"name": name}
        content["inputs"]["dataset"] |= {"name": dataset}
        if before is not None:
            content["inputs"]["adapter"] = {"name": before.parent.name, "version": before.name}
        with store.publishing("adapters", name) as draft:
            before = draft.publish(content)
        made.append(before)
    version = "fedcba9876543210"
    assert seen(made[0]) == seen(made[1]) == [f"has seen x/{version}"]
    assert seen(made[3]) == [f"has seen x/{version}", f"has seen y/{version}"]
    elsewhere = (tmp_path / "store").rename(tmp_path / "elsewhere") / "adapters"
    assert seen(elsewhere / "third" / made[2].name) == [f"has seen y/{version}", f"has seen x/{version}"]
    shutil.rmtree(elsewhere / "second")
    gone = f"goes back to second/{made[1].name}"
    assert seen(elsewhere / "third" / made[2].name) == [f"has seen y/{version}", gone]


def test_kernels_are_among_the_libraries_where_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.qlora.installed", lambda names: dict.fromkeys(names, "1"))
    plain = libraries_of(TrainingSettings()).keys()
    assert libraries_of(TrainingSettings(use_liger_kernel=True)).keys() - plain == {"liger-kernel"}
    assert libraries_of(TrainingSettings(use_unsloth=True)).keys() - plain == {"unsloth", "unsloth_zoo"}
    assert not {"liger-kernel", "unsloth"} & plain
