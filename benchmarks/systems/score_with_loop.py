"""Score two systems with a loop of json.loads and a validator; argv: jsonschema or jsonschema-rs, rows, schema."""

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any


def checker(name: str, schema: Any) -> Callable[[Any], bool]:
    if name == "jsonschema-rs":
        import jsonschema_rs

        fast: Callable[[Any], bool] = jsonschema_rs.validator_for(schema, validate_formats=True).is_valid
        return fast
    from jsonschema import Draft202012Validator, FormatChecker

    slow: Callable[[Any], bool] = Draft202012Validator(schema, format_checker=FormatChecker()).is_valid
    return slow


def main(name: str, data: Path, schema: Path) -> None:
    valid = checker(name, json.loads(schema.read_text()))
    counts: Counter[str] = Counter()
    for line in data.read_text().splitlines():
        row = json.loads(line)
        for system in ("first", "second"):
            try:
                value = json.loads(row[system])
            except ValueError:
                continue
            counts["parses"] += 1
            counts["schema_valid"] += valid(value)
            counts["whole_match"] += value == row["expected"]
            for field, right in row["expected"].items():
                counts[field] += isinstance(value, dict) and value.get(field) == right
    print(json.dumps(counts))


main(sys.argv[1], *map(Path, sys.argv[2:]))
