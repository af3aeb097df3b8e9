"""`assay contract diff`: which changes of a contract break who reads the data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.door import store_of
from assay.result import Result
from curate.contract import Contract
from curate.contract_change import ContractChange, contract_change
from curate.errors import AssayError
from curate.odcs import FILE
from curate.publish.carried import carried
from curate.recipe import Recipe, find_recipe
from curate.store import MANIFEST, Store
from curate.table import Table


@dataclass(frozen=True)
class ContractDiff(Result):
    """What one contract says otherwise than another."""

    change: ContractChange

    def __repr__(self) -> str:
        return f"ContractDiff({len(self.change.changes)} changes, {len(self.change.breaking)} of them breaking)"

    def tables(self) -> list[Table]:
        """The changes, the breaking ones first."""
        changes = sorted(self.change.changes, key=lambda change: not change.breaks)
        rows = [["BREAKS" if each.breaks else "harmless", each.key, each.said] for each in changes]
        found = f"{len(self.change.breaking)} of {len(rows)} changes break" if rows else "nothing has changed"
        title = f"Contract {self.change.old} -> {self.change.new}: {found}"
        return [Table("changes", title, ["readers", "where", "what has changed"], rows, texts=3)]

    def data(self) -> dict[str, Any]:
        """old, new: the versions; changes: each with `key`, `said` and `breaks`; version_asked: what the new contract
        must at least be called, None where its version will do."""
        return {
            "old": self.change.old,
            "new": self.change.new,
            "changes": [{"key": each.key, "said": each.said, "breaks": each.breaks} for each in self.change.changes],
            "version_asked": self.change.version_asked,
        }

    def require(self) -> None:
        """Stop where the new contract breaks readers and its version does not say so.

        Raises:
            AssayError: names the version that it must at least have.
        """
        if asked := self.change.version_asked:
            count = len(self.change.breaking)
            raise AssayError(
                f"{count} {'change breaks' if count == 1 else 'changes break'} who reads the data, and the version "
                f"goes from {self.change.old} to {self.change.new}.",
                remedy=f"Raise the new contract's `version` to {asked}, or take them back.",
            )


def contract_diff(old: str | Path, new: str | Path, *, store: str | Path | None = None) -> ContractDiff:
    """Compare two contracts.

    Args:
        old: the one that readers rely on: a contract's folder, a packaged contract's name, a recipe's YAML file, or a
            published version (its folder, NAME/VERSION, or NAME: the one published last), which carries its contract.
        new: the one in its place, named likewise.
        store: where versions are.

    Raises:
        AssayError: there is no such contract, or it is wrong.
    """
    where = store_of(store)
    return ContractDiff(contract_change(_named(str(old), where), _named(str(new), where)))


def _named(name: str, store: Store) -> Contract:
    """The contract that a name means, without the numbers of a recipe."""
    if Path(name).suffix in (".yaml", ".yml"):
        return Contract.load(Recipe.load(find_recipe(name)).contract)
    version = Path(name) if (Path(name) / MANIFEST).is_file() else store.root / "datasets" / name
    if (version / MANIFEST).is_file() or (not (Path(name) / FILE).is_file() and store.told("datasets", name)):
        version = store.resolve("datasets", name)
        found = carried(version)
        if found is None:
            raise AssayError(
                f"{version}: the version was published before versions carried their contract.",
                remedy="Name the folder of the contract that it was held to.",
            )
        return found
    return Contract.load(name)
