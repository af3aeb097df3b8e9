"""What AGENTS.md says of the document that a command gives."""

import re
from pathlib import Path
from typing import Any

AGENTS = Path(__file__).resolve().parent.parent / "AGENTS.md"
ROW = re.compile(r"^\| `assay ([a-z ]+?)(?: [A-Z ]+)?` \| (.+) \|$", re.MULTILINE)
KEY = re.compile(r"`([$\w]+)`(?: \(([^)]*)\))?")
"""A key, and in parentheses those of its value."""
KEYS = {
    command: {key: re.findall(r"`(\w+)`", inner) for key, inner in KEY.findall(told.partition(";")[0])}
    for command, told in ROW.findall(AGENTS.read_text(encoding="utf-8"))
}
"""By command: the keys of its document, each with the keys of its value, or of each value of its list."""


def missing(command: str, document: dict[str, Any]) -> list[str]:
    """The documented keys that a command's document lacks."""
    found = []
    for key, inner in KEYS[command].items():
        if key not in document:
            found.append(key)
            continue
        value = document[key]
        for each in value if isinstance(value, list) else [value]:
            found += [f"{key}.{name}" for name in inner if name not in each]
    return found
