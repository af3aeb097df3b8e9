"""Versions made of a few rows at a time, drop after drop, into one store."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from curate.engine import map_in_process
from curate.pipeline import curate
from curate.publish.check import check_version
from curate.publish.version import Curated
from curate.record import SPLITS
from curate.store import Store
from evaluation.settings import FullRecipe
from tests.project import Project

Run = Callable[..., Curated]


def curator(folder: Path) -> Run:
    """Curates rows or files by a recipe's sections, into one store; every name is a data set."""
    tokenizer = Project(folder / "project").tokenizer
    (folder / "contract").mkdir()
    contract = {"apiVersion": "v3.1.0", "kind": "DataContract", "name": "c", "version": "1", "status": "active"}
    turns = {"name": "turns", "logicalType": "array", "logicalTypeOptions": {"minItems": 1}}
    record = {"name": "record", "logicalType": "object", "properties": [turns]}
    document = contract | {"schema": [record, {"name": "set", "logicalType": "object", "properties": []}]}
    (folder / "contract/contract.yaml").write_text(yaml.safe_dump(document))

    def curated(files: dict[str, list[dict[str, Any]]] | Path, **sections: Any) -> Curated:
        drop = folder / f"drop{len(list(folder.iterdir()))}"
        if isinstance(files, Path):
            drop = files
        else:
            drop.mkdir()
            for name, rows in files.items():
                (drop / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        recipe = {
            "name": "set",
            "sources": [{"files": ["*.jsonl"]}],
            "contract": "contract",
            "render": {"task": "conversation", "chat": "chatml"},
            "fit": {"model": "tokenizer", "max_tokens": 4000},
        }
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe | sections))
        loaded = FullRecipe.load(folder / "recipe.yaml", drop=drop)
        return curate(loaded, Store(folder / "store"), tokenizer_folder=tokenizer, map_shards=map_in_process)

    return curated


def questions(count: int, answer: str = "The answer is {}.") -> list[dict[str, Any]]:
    things = "rivers bridges spiders planets novels kings mountains engines violins lighthouses".split()  # noqa: SIM905
    return [
        {"prompt": f"How many {things[n % 10]} are there in country {n} by the last count?", "answer": answer.format(n)}
        for n in range(count)
    ]


def rows_of(curated: Curated, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(curated.folder / f"{name}.parquet").to_pylist()
    return found


def split_by_prompt(*versions: Curated) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for version in versions:
        for split in SPLITS:
            for row in rows_of(version, split):
                found.setdefault(row["turns"][0]["content"], set()).add(split)
    return found


def require_sound(curated: Curated) -> None:
    assert {check.name: check.examples for check in check_version(curated.folder) if check.failures} == {}
