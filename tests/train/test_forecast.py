"""The forecast: what fits begins, what does not says what would make it fit."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import train.forecast as module
from curate.errors import AssayError, ShortOfDisk, ShortOfMemory
from curate.store import Store
from tests.tiny import recipe_for, write_version
from tests.train.test_memory import CPU, llama, settings
from train.forecast import Forecast, Length, Room, forecast, require_room
from train.qlora import forecast as foretell
from train.qlora import train
from train.settings import TrainingSettings

ROWS = [Length(100, 20)] * 30 + [Length(400, 20)] * 2
PLENTY = Room(2**40, 2**40)
LLAMA = llama(num_hidden_layers=2)


def made(**more: Any) -> Forecast:
    return forecast(LLAMA, settings(batch_size=8, **more), ROWS, CPU, PLENTY)


def test_counts() -> None:
    found = made(epochs=3, gradient_accumulation_steps=2)
    assert (found.rows, found.steps, found.tokens) == (32, 6, 3 * 3800)
    assert (found.batch.rows, found.batch.tokens, found.batch.trained) == (8, 399, 20)
    assert found.lacking < 0
    adapter = found.step.memory["adapters"]
    assert found.disk == 3 * 3 * adapter + adapter, "two checkpoints, one being written, and the adapter"
    assert made(keep_best="loss").disk == found.disk + 3 * adapter, "and the best weights in each"


def test_the_check_of_the_layout_is_counted() -> None:
    one, two = (forecast(LLAMA, settings(batch_size=rows), ROWS, CPU, PLENTY) for rows in (1, 2))
    assert one.step.memory == two.step.memory, "it computes two rows"
    alone = forecast(LLAMA, settings(batch_size=1), ROWS[-1:], CPU, PLENTY)
    assert alone.step.bytes < one.step.bytes


def test_large_tensors_are_given_back_where_memory_is_short() -> None:
    found = made()
    needed = found.step.bytes
    batch = found.step.memory["activations"] + found.step.memory["logits"]
    assert replace(found, room=Room(needed + batch - 1, 2**40)).short
    assert not replace(found, room=Room(needed + batch, 2**40)).short
    gpu = replace(CPU, device="cuda")
    assert not replace(found, room=Room(needed, 2**40), machine=gpu).short


def test_a_run_that_does_not_fit_says_what_would_cheapest_first() -> None:
    short = made().step.bytes // 6
    with pytest.raises(AssayError, match="too little") as caught:
        require_room(LLAMA, settings(batch_size=8), ROWS, CPU, Room(short, 2**40))
    remedy = caught.value.remedy
    assert remedy.index("batch_size 4, gradient_accumulation_steps 2 (the same step)") < remedy.index("batch_size 2")
    assert remedy.count("(fits)") == 1
    assert remedy.endswith("(fits).")


def test_each_way_is_the_forecast_of_what_it_says() -> None:
    least = made(gradient_checkpointing=True).step.bytes // 20
    with pytest.raises(AssayError) as caught:
        require_room(LLAMA, settings(batch_size=8), ROWS, CPU, Room(least, 2**40))
    remedy = caught.value.remedy
    assert "(2 of 32 rows are lost)" in remedy
    found = forecast(LLAMA, settings(batch_size=4, gradient_accumulation_steps=2), ROWS, CPU, PLENTY)
    assert f"batch_size 4, gradient_accumulation_steps 2 (the same step): {module.gib(found.step.bytes)}" in remedy
    sizes = [float(size) for size in re.findall(r": ([\d.]+) MiB", remedy)]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.slow
def test_a_batch_of_an_odd_number_of_rows_is_cut_too() -> None:
    with pytest.raises(AssayError) as caught:
        require_room(LLAMA, settings(batch_size=6), ROWS, CPU, Room(2**10, 2**40))
    for way in ("batch_size 3, gradient_accumulation_steps 2", "batch_size 1, gradient_accumulation_steps 6"):
        assert f"{way} (the same step)" in caught.value.remedy


def test_a_cheaper_method_is_offered() -> None:
    few = settings_of("full", batch_size=1, gradient_checkpointing=True)
    with pytest.raises(AssayError) as caught:
        require_room(LLAMA, few, ROWS[:1], CPU, Room(2**10, 2**40))
    remedy = caught.value.remedy
    assert remedy.index("method lora: ") < remedy.index("method qlora: ")
    some = settings_of("partial", batch_size=1, gradient_checkpointing=True, layers_to_transform=[0])
    with pytest.raises(AssayError, match="too little") as caught:
        require_room(LLAMA, some, ROWS[:1], CPU, Room(2**10, 2**40))
    assert "method qlora, without layers_to_transform: " in caught.value.remedy
    kept = forecast(LLAMA, few.model_copy(update={"keep_best": "loss"}), ROWS, CPU, PLENTY)
    assert kept.step.memory["best weights"] == 4 * kept.step.trained == kept.step.memory["optimizer state"] / 2


def settings_of(method: Any, **more: Any) -> TrainingSettings:
    return TrainingSettings(method=method, **more)


def test_where_nothing_is_enough() -> None:
    with pytest.raises(AssayError, match="too little") as caught:
        require_room(LLAMA, settings(batch_size=8), ROWS, CPU, Room(2**10, 2**40))
    assert "take a smaller model" in caught.value.remedy


def test_a_disk_that_is_full() -> None:
    with pytest.raises(ShortOfDisk, match=r"the store's disk has 0\.0 MiB free") as caught:
        require_room(LLAMA, settings(), ROWS, CPU, Room(2**40, 10))
    assert caught.value.remedy.endswith("lower training.save_total_limit or training.rank.")


def test_the_keys_that_say_how_much_disk_is_taken() -> None:
    others: dict[str, Any] = {
        "method": "dora", "optim": "sgd", "rank": 8, "rank_pattern": {"q_proj": 9}, "modules_to_save": ["lm_head"],
        "target_modules": ["q_proj"], "layers_to_transform": [0],
    }  # fmt: skip
    assert others.keys() == module.SIZES
    plain = made().disk
    for key, value in others.items():
        assert made(**{key: value}).disk != plain, key
    same: dict[str, Any] = {"alpha": 3, "dropout": 0.5, "use_rslora": True, "epochs": 3, "rows": 9}
    for key, value in same.items():
        assert made(**{key: value}).disk == plain, key


def test_libraries_are_not_counted_twice() -> None:
    room = Room(made().step.bytes, 2**40)
    held = replace(CPU, libraries=2**34)
    assert require_room(LLAMA, settings(batch_size=8), ROWS, held, room).lacking <= 0


def test_room_is_within_the_bound_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text(f"{2**30}\n")
    (tmp_path / "memory.current").write_text(f"{2**29}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {2**20}\n")
    monkeypatch.setattr(module, "CGROUP", tmp_path)
    found = Room.here(tmp_path / "not" / "yet", "cpu")
    assert found.memory <= 2**29 + 1024 * 2**20
    assert found.disk > 0
    (tmp_path / "memory.max").write_text("max\n")
    assert Room.here(tmp_path, "cpu").memory > 0


def test_a_run_that_does_not_fit_does_not_begin(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    version, recipe = write_version(store, model_folder), recipe_for(model_folder)
    monkeypatch.setattr(module, "_free_memory", lambda device: 1000)
    with pytest.raises(ShortOfMemory, match="Training will take"):
        train(version, recipe, store)
    assert not (store.root / "adapters").exists()
    said: list[str] = []
    train(version, recipe, store, lambda what, *_: said.append(what), force=True)
    assert any(what.startswith("forecast: ") and "of memory" in what for what in said)


def test_measured_time(model_folder: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    version, recipe = write_version(store, model_folder), recipe_for(model_folder)
    plain = foretell(version, recipe, store)
    assert plain.seconds is None
    assert plain.rows == 16
    measured = foretell(version, recipe, store, measure=1)
    assert measured.seconds is not None
    assert measured.seconds > 0
    assert torch.is_grad_enabled()
