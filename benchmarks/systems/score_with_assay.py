"""Score two systems with Assay; argv: (name), rows.jsonl, schema.json. Prints its steps and how many outputs fit."""

import json
import sys
import time
from pathlib import Path

from evaluation.card.scorecard import TestRows, judged, scorecard
from evaluation.card.statistics import Rows
from evaluation.judge.answer import Generated
from evaluation.judge.structured import Judge


def main(data: Path, schema: Path) -> None:
    clock = [time.perf_counter()]
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    judge = Judge(json.loads(schema.read_text()))
    clock.append(time.perf_counter())
    expected = [row["expected"] for row in rows]
    systems = {name: judged([Generated(row[name]) for row in rows], expected, judge) for name in ("first", "second")}
    clock.append(time.perf_counter())
    test_rows = TestRows.of(Rows([row["group"] for row in rows], len(rows)), judge, expected)
    card = scorecard(systems, test_rows)
    clock.append(time.perf_counter())
    steps = ("read", "judge", "count, resample, compare")
    told = {
        "steps": {name: round(clock[at + 1] - clock[at], 2) for at, name in enumerate(steps)},
        "schema_valid": sum(system["schema_valid"]["count"] for system in card["systems"].values()),
    }
    print(json.dumps(told))


main(*map(Path, sys.argv[2:]))
