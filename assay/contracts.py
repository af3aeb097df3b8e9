"""`assay contract`: a contract as a whole, with what is common to all and what is derived from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.result import Result
from curate.contract import Contract
from curate.recipe import Recipe, find_recipe
from curate.table import Table


@dataclass(frozen=True)
class WholeContract(Result):
    """What a contract says once it is merged with the common part, and what follows from it."""

    contract: Contract

    def __repr__(self) -> str:
        return f"WholeContract({self.contract.name}: {len(self.contract.expectations)} rules of the set)"

    def tables(self) -> list[Table]:
        """The rules that the whole set is held to."""
        rows = [
            [each["meta"]["name"], each["kwargs"].get("column", ""), each["meta"]["description"]]
            for each in self.contract.expectations
        ]
        title = f"Contract {self.contract.name}: nothing is published unless"
        return [Table("suite", title, ["rule", "column", "what it means"], rows, texts=3)]

    def data(self) -> dict[str, Any]:
        """contract: the document, full ODCS; target_schema: JSON Schema of the answer, or None; row_schema: JSON Schema
        of a row; suite: the configurations of expectations, in order; columns: what is asked of the set's columns
        besides; service_levels: by property, {value, unit}; sha256: what the contract is known by."""
        return {
            "contract": self.contract.document,
            "target_schema": self.contract.target_schema,
            "row_schema": self.contract.row_schema,
            "suite": list(self.contract.expectations),
            "columns": [
                {"column": rule.column, "keyword": rule.keyword, "value": rule.value} for rule in self.contract.columns
            ],
            "service_levels": {
                name: {"value": level.value, "unit": level.unit}
                | ({"columns": list(level.columns)} if level.columns else {})
                for name, level in self.contract.service_levels.items()
            },
            "sha256": self.contract.sha256,
        }


def whole_contract(name: str) -> WholeContract:
    """A contract as a whole.

    Args:
        name: a packaged contract's name, a folder that holds one, or a recipe's YAML file, whose contract is meant.

    Raises:
        AssayError: there is no such contract or recipe, or it is wrong.
    """
    is_recipe = Path(name).suffix in (".yaml", ".yml")
    return WholeContract(Recipe.load(find_recipe(name)).held_to() if is_recipe else Contract.load(name))
