"""A small project for tests: a drop, a recipe, a contract and a tokenizer, all made on the spot."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from curate.engine import map_in_process
from curate.pipeline import curate
from curate.publish.version import Curated
from curate.store import Store
from evaluation.settings import FullRecipe

CONTRACT: dict[str, Any] = {
    "apiVersion": "v3.1.0",
    "kind": "DataContract",
    "id": "urn:assay:contract:demo",
    "name": "demo",
    "version": "1.0.0",
    "status": "active",
    "schema": [
        {
            "name": "record",
            "logicalType": "object",
            "properties": [
                {
                    "name": "turns",
                    "logicalType": "array",
                    "required": True,
                    "logicalTypeOptions": {"minItems": 1},
                    "items": {
                        "logicalType": "object",
                        "required": True,
                        "properties": [
                            {"name": "role", "logicalType": "string", "required": True},
                            {"name": "content", "logicalType": "string", "required": True},
                        ],
                    },
                },
                {
                    "name": "target",
                    "logicalType": "object",
                    "required": True,
                    "properties": [
                        {"name": "colour", "logicalType": "string"},
                        {"name": "count", "logicalType": "integer"},
                    ],
                },
            ],
        },
        {
            "name": "set",
            "logicalType": "object",
            "customProperties": [  # versions of a few rows are made here, too few for every split
                {
                    "property": "withoutRules",
                    "value": ["splits_present", "train_share", "validation_share", "test_share"],
                }
            ],
            "properties": [
                {
                    "name": "id",
                    "logicalType": "string",
                    "quality": [
                        {
                            "name": "ids_unique",
                            "type": "custom",
                            "engine": "greatExpectations",
                            "implementation": {"type": "expect_column_values_to_be_unique", "kwargs": {}},
                        }
                    ],
                }
            ],
        },
    ],
}
TARGET_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green", "blue"]}, "count": {"type": "integer"}},
    "required": ["colour", "count"],
    "additionalProperties": False,
}
RECIPE: dict[str, Any] = {
    "name": "demo",
    "contract": "contract",
    "drop": "drop",
    "sources": [{"files": ["*.jsonl"]}],
    "record": {
        "turns": [{"role": "user", "content": "text"}],
        "target": {"colour": "colour", "count": "count"},
        "group": "case | default(none)",
        "label": "colour",
    },
    "quality": {"max_chars": 400},
    "duplicates": {"threshold": 0.6},
    "render": {"task": "conversation", "chat": "chatml"},
    "fit": {"model": "tokenizer", "max_tokens": 150},
}
WORDS = "the box on shelf holds some small round balls that people painted for a game".split()  # noqa: SIM905


def make_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows with exact and near-duplicates, conflicts, groups, personal data, broken targets and over-long texts."""
    draw = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for _number in range(count):
        words = [draw.choice(WORDS) for _ in range(draw.randint(1, 20))]
        row = {"text": " ".join(words), "colour": draw.choice(["red", "green", "blue"]), "count": draw.randint(0, 9)}
        kind = draw.random()
        if rows and kind < 0.1:
            row = dict(draw.choice(rows))
        elif rows and kind < 0.2:
            row = draw.choice(rows) | {"count": draw.randint(0, 9)}
        elif rows and kind < 0.35:
            row = dict(draw.choice(rows))
            row["text"] = row["text"] + " " + draw.choice(WORDS)
        elif kind < 0.4:
            row["colour"] = "purple"
        elif kind < 0.45:
            row["text"] = " ".join(words * 40)
        elif kind < 0.5:
            row["text"] += " mail jane.doe@example.org or call +44 20 7946 0018"
        elif kind < 0.55:
            row["text"] = ["", "!", "`<|im_end|>` x", "\u202e\u0000odd", "é" * 3][draw.randrange(5)]
        if draw.random() < 0.2:
            row["case"] = f"case {draw.randrange(5)}"
        rows.append(row)
    return rows


def byte_tokenizer() -> Tokenizer:
    """One token per byte, and ChatML's special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: number for number, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    return tokenizer


class Project:
    """A folder with everything a run needs.

    Args:
        folder: an empty folder.
        changes: sections of the recipe to change.
    """

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder = folder
        self.drop = folder / "drop"
        self.recipe_path = folder / "recipe.yaml"
        self.tokenizer = folder / "tokenizer"
        for path in (self.drop, folder / "contract", self.tokenizer):
            path.mkdir(parents=True)
        self.recipe_path.write_text(yaml.safe_dump(RECIPE | changes))
        (folder / "contract/contract.yaml").write_text(yaml.safe_dump(CONTRACT, sort_keys=False))
        (folder / "contract/target.schema.json").write_text(json.dumps(TARGET_SCHEMA))
        byte_tokenizer().save(str(self.tokenizer / "tokenizer.json"))
        special = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
        (self.tokenizer / "tokenizer_config.json").write_text(json.dumps(special))

    @property
    def recipe(self) -> FullRecipe:
        return FullRecipe.load(self.recipe_path, drop=self.drop)

    def add(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Write a file of the drop; `drop` may be set to another folder beside the first."""
        self.drop.mkdir(exist_ok=True)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (self.drop / name).write_text(lines, encoding="utf-8")

    def curate(self, store: str = "store", map_shards: Callable[..., Any] = map_in_process, **options: Any) -> Curated:
        """Run curation into a store of this folder."""
        return curate(
            self.recipe,
            Store(self.folder / store),
            tokenizer_folder=self.tokenizer,
            map_shards=map_shards,
            **options,
        )
