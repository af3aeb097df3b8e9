"""Which adapter a NAME means: one that waits for its recipe's gate is asked first, and is promoted by passing it."""

import shutil
from pathlib import Path

import yaml

import assay
from curate.pointers import Pointer
from curate.store import Store
from tests.assay.conftest import Finished


def test_an_adapter_is_promoted_by_passing_the_gate(finished: Finished, tmp_path: Path) -> None:
    place = shutil.copytree(finished.store, tmp_path / "store")
    store = Store(place)
    first = finished.adapter.id
    assert store.pointed("adapters", "demo") == Pointer(first)

    raw = yaml.safe_load(finished.project.recipe_path.read_text())
    recipe = finished.project.folder / "other.yaml"
    recipe.write_text(yaml.safe_dump(raw | {"training": raw["training"] | {"seed": 7}}))
    second = assay.train("demo", recipe, store=place)
    assert second.id != first
    assert store.pointed("adapters", "demo") == Pointer(first, (), second.id)
    assert store.resolve("adapters", "demo").name == first

    failed = assay.evaluate(recipe=recipe, store=place, variant="strict")  # asks the one that waits
    assert failed.passed is False
    assert failed.manifest.inputs.model_dump()["adapter"]["version"] == second.id
    assert store.pointed("adapters", "demo") == Pointer(first, (), second.id)

    assert assay.evaluate(recipe=recipe, store=place).passed is True
    assert store.pointed("adapters", "demo") == Pointer(second.id, (first,))
    assert store.resolve("adapters", "demo").name == second.id


def test_without_a_gate_training_promotes(finished: Finished, tmp_path: Path) -> None:
    place = shutil.copytree(finished.store, tmp_path / "store")
    shutil.rmtree(place / "pointers")
    raw = yaml.safe_load(finished.project.recipe_path.read_text())
    recipe = finished.project.folder / "without.yaml"
    recipe.write_text(yaml.safe_dump(raw | {"evaluation": raw["evaluation"] | {"gate": []}}))
    found = assay.train("demo", recipe, store=place)
    assert Store(place).pointed("adapters", "demo") == Pointer(found.id)
