"""Scoring 100,000 outputs, whole: form, schema, fields, intervals, and two systems compared; beside the closest check.

The peer is what an evaluation script usually is: `json.loads` and `jsonschema` (or `jsonschema-rs`) in a loop, counting
what parses and fits, and fields by `==`. It gives no interval, no class of failure and no comparison. Outputs are made:
right, wrong, and broken in the ways that models break them.

    python -m benchmarks.scoring --rows 100000 --repeats 3
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import QUIET, Run, result, run, show

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "license": {"type": ["string", "null"]},
        "category": {"enum": ["Permissive", "Copyleft", "Copyleft Limited", "Public Domain", "Commercial"]},
        "level": {"enum": [0, 1, 2, 3]},
        "amount": {"type": "number"},
        "date": {"type": "string", "format": "date"},
        "parties": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "court": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "judges": {"type": "integer", "minimum": 1}},
            "required": ["city"],
        },
    },
    "required": ["license", "category", "level"],
    "additionalProperties": False,
}
HERE = Path(__file__).parent
SYSTEMS = {
    "assay": HERE / "systems" / "score_with_assay.py",
    "jsonschema": HERE / "systems" / "score_with_loop.py",
    "jsonschema-rs": HERE / "systems" / "score_with_loop.py",
}


def rows(count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Rows of a right answer and what two systems said, the second a little better; two rows to a group."""
    draw = random.Random(seed)
    categories = SCHEMA["properties"]["category"]["enum"]
    for number in range(count):
        right = {
            "license": draw.choice(["mit", "gpl-2.0", "apache-2.0", None]),
            "category": draw.choice(categories),
            "level": draw.randrange(4),
            "amount": draw.randrange(10_000) / 4,
            "date": f"20{draw.randrange(10, 25)}-{draw.randrange(1, 13):02}-{draw.randrange(1, 29):02}",
            "parties": sorted({draw.choice("ABCDEFGH") * 6 for _ in range(3)}),
            "court": {"city": draw.choice(["Seoul", "Busan"]), "judges": draw.randrange(1, 4)},
        }
        said = [output(right, share, draw) for share in (0.6, 0.62)]
        yield {"group": number // 2, "expected": right, "first": said[0], "second": said[1]}


def output(right: dict[str, Any], share: float, draw: random.Random) -> str:
    """The right answer with the probability `share`; else a wrong one or a broken one."""
    if draw.random() < share:
        return json.dumps(right)
    kind = draw.randrange(10)
    wrong = right | {"category": draw.choice(SCHEMA["properties"]["category"]["enum"]), "parties": right["parties"][:1]}
    text = json.dumps(wrong)
    broken = [
        *(text, text, json.dumps(wrong | {"amount": str(wrong["amount"])}), json.dumps(wrong | {"reason": "so"})),
        *(json.dumps({"license": "mit"}), f"```json\n{text}\n```", f"Here it is: {text}", text[: len(text) // 2]),
        *("I'm sorry, but I cannot tell.", '{"parties": ["' + "the party, " * 40),
    ]
    return broken[kind]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=50_000, help="of two outputs each")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    runs: dict[str, list[Run]] = {name: [] for name in SYSTEMS}
    with tempfile.TemporaryDirectory(prefix="scoring-") as scratch:
        data, schema = Path(scratch) / "rows.jsonl", Path(scratch) / "schema.json"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows(options.rows)))
        schema.write_text(json.dumps(SCHEMA))
        for _ in range(options.repeats):
            for name, script in SYSTEMS.items():
                done = run([sys.executable, script, name, data, schema], QUIET | {"PYTHONPATH": str(HERE.parent)})
                runs[name].append(done)
                print(f"{name}: {done.seconds:.2f} s", flush=True)
    report({"rows": options.rows, "outputs": 2 * options.rows}, runs)


def report(given: dict[str, Any], runs: dict[str, list[Run]]) -> None:
    """Print the table and the result."""
    told = {name: json.loads(of_one[-1].output.splitlines()[-1]) for name, of_one in runs.items()}
    table = []
    for name, of_one in runs.items():
        seconds = median(each.seconds for each in of_one)
        peak = max(each.peak_mib for each in of_one)
        table.append([name, seconds, f"{given['outputs'] / seconds:,.0f}", f"{peak:,.0f}", told[name]["schema_valid"]])
    show(f"Scoring {given['outputs']:,} outputs", ["", "seconds", "outputs/s", "peak MiB", "fit the schema"], table)
    show("Seconds by step, last run of assay", ["", "seconds"], [[*each] for each in told["assay"]["steps"].items()])
    if len({each["schema_valid"] for each in told.values()}) > 1:
        print("They do not agree on what fits the schema.")
    print(result("scoring", given, runs, steps=told["assay"]["steps"]))


if __name__ == "__main__":
    main()
