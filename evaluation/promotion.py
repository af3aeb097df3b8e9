"""Promotion: which adapter a NAME means. Training promotes where the recipe has no gate; else an evaluation that passes
it does."""

from pathlib import Path

from curate.errors import AssayError
from curate.store import Store
from evaluation.ask.systems import needs
from evaluation.card.format import read_scorecard
from evaluation.settings import FullRecipe


def trained(adapter: Path, recipe: FullRecipe, store: Store) -> Path:
    """Promote an adapter that was trained or found again, or have it wait for the recipe's gate.

    Returns:
        Its folder.
    """
    (store.propose if recipe.evaluation.gate else store.promote)("adapters", recipe.name, adapter.name)
    return adapter


def scored(scorecard: Path, adapter: Path | None, store: Store) -> Path:
    """Promote the adapter that was asked, if the recipe's gate is passed.

    Returns:
        The scorecard's folder.
    """
    if adapter is not None and store.root / "adapters" == adapter.parent.parent:
        gate = read_scorecard(scorecard)["gate"]
        if gate is not None and gate["passed"]:
            store.promote("adapters", adapter.parent.name, adapter.name)
    return scorecard


def adapter_for(recipe: FullRecipe, store: Store, named: str | None = None) -> Path | None:
    """The adapter to evaluate; None where the recipe's systems need none, or by default there is none.

    Args:
        recipe: whose systems are asked.
        store: where adapters are published.
        named: a folder, NAME/VERSION or NAME; by default the one that waits for the recipe's gate, else the one that
            the recipe's name means.

    Raises:
        AssayError: the one that is named is not there, or no system needs it.
    """
    systems = recipe.evaluation.systems
    if systems and not needs(systems, "adapter", "merged"):
        if named is not None:
            raise AssayError(
                f"Adapter {named}: no system of the recipe {recipe.name} is one with an adapter.",
                remedy="Leave it out, or name such a system: evaluation.systems.tuned: {model: adapter}.",
            )
        return None
    if named is None and not store.versions("adapters", recipe.name):
        return None
    gated = named is None and recipe.evaluation.gate
    waiting = store.pointed("adapters", recipe.name).candidate if gated else None
    return store.resolve("adapters", f"{recipe.name}/{waiting}" if waiting else named or recipe.name)
