"""Content hashes: the names of files, settings, rows and versions.

Everything that is named is named by what it holds, so the same input has the same name on every machine.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import xxhash


def canonical_json(value: Any) -> bytes:
    """`value` as JSON with sorted keys and no spaces: equal values give equal bytes."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def exact_json(value: Any) -> bytes:
    """`canonical_json` of what may hold whole numbers beyond 64 bits."""
    try:
        return canonical_json(value)
    except TypeError:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-like value in canonical form."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum(path: Path) -> str:
    """XXH3-128 (hex) of a file's bytes: tells whether they have changed by themselves, as fast as they can be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


def files_digest(files: Iterable[tuple[str, str]]) -> str:
    """SHA-256 (hex) of (name, content hash) pairs, whatever their order."""
    return digest(sorted(files))
