"""What can be curated with: the stages, their settings and reasons; and the JSON Schema of a recipe."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import Field, create_model
from pydantic.fields import FieldInfo

from assay.result import Result
from curate.read import ingest
from curate.recipe import Preset, built_in_stages, in_order, outside_stages, presets
from curate.rows.validate import Validate
from curate.sets.stage import SetStage
from curate.stage import WORKER_DIED, Stage
from curate.table import Table
from evaluation.settings import FullRecipe

OF_EVERY = {WORKER_DIED: "the process that judged the row ended, also with this row alone"}
"""Why any stage over a row quarantines rows, beside its own reasons."""
SHOWN = 60
"""Characters of a default that a table shows."""


@dataclass(frozen=True)
class StageInfo:
    """A stage, as people need to know it."""

    name: str
    judges: str
    """ "files", "a row" or "all rows"."""
    settings: dict[str, tuple[str, str]]
    """Key -> (default as JSON, "" where there is none; what it means)."""
    reasons: dict[str, str]
    """Why it quarantines rows: code -> meaning."""
    package: str
    """Where it is from."""


@dataclass(frozen=True)
class Stages(Result):
    """Every stage there is, in the order they run; those of other packages at their places."""

    stages: list[StageInfo]

    def __repr__(self) -> str:
        return f"Stages({', '.join(each.name for each in self.stages)})"

    def __iter__(self) -> Iterator[StageInfo]:
        return iter(self.stages)

    def tables(self) -> list[Table]:
        """Their settings, and their reasons."""
        settings = [
            [each.name, key, default if len(default) <= SHOWN else f"{default[:SHOWN]}…", about]
            for each in self.stages
            for key, (default, about) in each.settings.items()
        ]
        reasons = [
            [each.name, each.judges, code, about] for each in self.stages for code, about in each.reasons.items()
        ] + [["every", "a row", code, about] for code, about in OF_EVERY.items()]
        return [
            Table("settings", "Settings", ["stage", "key", "default", "what it means"], settings, texts=4),
            Table("reasons", "Why rows go", ["stage", "judges", "reason", "what it means"], reasons, texts=4),
        ]

    def data(self) -> dict[str, Any]:
        return {
            "stages": [
                {
                    "name": each.name,
                    "judges": each.judges,
                    "package": each.package,
                    "settings": {
                        key: {
                            "default": orjson.loads(default) if default else None,
                            "required": not default,
                            "about": about,
                        }
                        for key, (default, about) in each.settings.items()
                    },
                    "reasons": each.reasons,
                }
                for each in self.stages
            ],
            "reasons_of_every": OF_EVERY,
        }


@dataclass(frozen=True)
class RecipeSchema(Result):
    """The JSON Schema (2020-12) of a recipe, with the stages of other packages that are installed here."""

    schema: dict[str, Any]

    def __repr__(self) -> str:
        return f"RecipeSchema({len(self.schema['properties'])} sections)"

    def tables(self) -> list[Table]:
        """Every key, by its path: `[]` stands for each of a list, `NAME` for a name of your own."""
        return [
            Table("keys", "Keys of a recipe", ["key", "default", "what it means"], [*self._keys("", self.schema)], 3)
        ]

    def _keys(self, within: str, node: dict[str, Any]) -> Iterator[list[str]]:
        """The keys below a path, each with its default and its meaning."""
        for key, each in node.get("properties", {}).items():
            default = orjson.dumps(each["default"]).decode() if "default" in each else ""
            if "$ref" in each or len(default) > SHOWN:
                default = "" if "$ref" in each else f"{default[:SHOWN]}…"
            yield [within + key, default, self._about(each)]
            yield from self._below(within + key, each)

    def _below(self, path: str, node: dict[str, Any]) -> Iterator[list[str]]:
        """The keys of what may stand at a path."""
        node = self._definition(node)
        for each in node.get("anyOf", node.get("oneOf", [])):
            yield from self._below(path, each)
        yield from self._keys(f"{path}.", node)
        if "items" in node:
            yield from self._below(f"{path}[]", node["items"])
        for inner in (node.get("additionalProperties"), *node.get("patternProperties", {}).values()):
            if isinstance(inner, dict):
                yield from self._below(f"{path}.NAME", inner)

    def _about(self, node: dict[str, Any]) -> str:
        described = node if "description" in node else self._definition(node)
        return " ".join(str(described.get("description", "")).partition("\n\n")[0].split())

    def _definition(self, node: dict[str, Any]) -> dict[str, Any]:
        """What a schema refers to, or itself."""
        found: dict[str, Any] = self.schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
        return found

    def data(self) -> dict[str, Any]:
        return self.schema


def stages() -> Stages:
    """Every stage there is, in the order they run.

    Raises:
        AssayError: an entry point of the group `assay.stages` is wrong.
    """
    read = StageInfo(ingest.NAME, "files", {}, ingest.REASONS, "curate.read")
    _, over_all = built_in_stages()
    listed = [
        read,
        *(
            StageInfo(
                kind.name,
                "all rows" if kind in over_all or issubclass(kind, SetStage) else "a row",
                {key: (_default(field), field.description or "") for key, field in _settings(kind).items()},
                kind.reasons,
                kind.__module__,
            )
            for kind in in_order(outside_stages().values())
        ),
    ]
    return Stages(listed)


def _settings(kind: type[Stage]) -> dict[str, FieldInfo]:
    return {} if kind is Validate else kind.model_fields  # its one field is the contract's


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    return orjson.dumps(value, default=lambda each: each.model_dump(mode="json")).decode()


def recipe_schema() -> RecipeSchema:
    """The JSON Schema of a recipe.

    Raises:
        AssayError: an entry point of the group `assay.stages` is wrong.
    """
    outside: dict[str, Any] = {name: (kind, Field(None)) for name, kind in outside_stages().items()}
    model = create_model("Recipe", __base__=FullRecipe, **outside)
    schema = model.model_json_schema()
    properties = schema["properties"]
    properties["preset"]["enum"] = [None, *presets()]
    # What a recipe needs, a preset may give.
    given = [key for key in schema["required"] if key in Preset.model_fields]
    sections = {key: schema["$defs"][properties[key]["$ref"].rpartition("/")[2]] for key in given}
    needed = {key: {"required": section.pop("required")} for key, section in sections.items()}
    schema["required"] = [key for key in schema["required"] if key not in needed]
    schema["if"] = {"not": {"required": ["preset"]}}
    schema["then"] = {"required": list(needed), "properties": needed}
    return RecipeSchema(
        schema | {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A recipe of Assay"}
    )
