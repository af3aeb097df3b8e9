"""Which adapter is evaluated where none is named."""

from pathlib import Path

import pytest

from curate.errors import AssayError
from curate.store import Store
from evaluation.promotion import adapter_for
from evaluation.settings import FullRecipe
from tests.tiny import recipe_for


def published(store: Store, text: str) -> str:
    with store.publishing("adapters", "tiny") as draft:
        (draft.folder / "file.txt").write_text(text)
        return draft.publish({"name": "tiny"}).name


def with_gate(*rules: str) -> FullRecipe:
    recipe = recipe_for(Path("model"))
    return recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"gate": list(rules)})})


def test_the_one_that_waits_is_asked_only_where_there_is_a_gate_that_it_can_pass(tmp_path: Path) -> None:
    store = Store(tmp_path)
    gated, free = with_gate("schema_valid >= 0"), with_gate()
    assert adapter_for(gated, store) is adapter_for(free, store) is None
    live, waiting = published(store, "live"), published(store, "waiting")
    store.promote("adapters", "tiny", live)
    store.propose("adapters", "tiny", waiting)
    folder = tmp_path / "adapters/tiny"
    assert adapter_for(gated, store) == folder / waiting
    assert adapter_for(free, store) == folder / live
    assert adapter_for(gated, store, "tiny") == folder / live, "by its name"
    assert adapter_for(free, store, f"tiny/{waiting}") == folder / waiting
    store.promote("adapters", "tiny", waiting)
    assert adapter_for(gated, store) == adapter_for(free, store) == folder / waiting


def test_without_a_gate_none_is_asked_that_has_never_been_promoted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    waiting = published(store, "waiting")
    store.propose("adapters", "tiny", waiting)
    assert adapter_for(with_gate("schema_valid >= 0"), store) == tmp_path / "adapters/tiny" / waiting
    with pytest.raises(AssayError, match=f"tiny/{waiting} has not passed"):
        adapter_for(with_gate(), store)
