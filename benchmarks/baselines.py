"""The learning curve of the baselines: how right they are on the test rows when they learn from some rows, or from all.

    assay curate licences --store STORE
    python -m benchmarks.baselines licences STORE [TEST_ROWS]

Rows to learn from are chosen as training chooses them (1,024: the demo adapter's own); `all` is the whole train split.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curate.recipe import find_recipe
from curate.store import Store
from evaluation.ask import baselines
from evaluation.ask.shots import Shots, asked
from evaluation.card.scorecard import TestRows, judged, scorecard
from evaluation.card.statistics import Rows
from evaluation.evaluate import COLUMNS
from evaluation.judge.answer import Generated
from evaluation.judge.structured import Judge
from evaluation.settings import FullRecipe
from train.examples import Row, read_split, select

COUNTS = (256, 512, 1024, 4096, None)
"""Rows to learn from; None: all."""


def texts(name: str, learned: Sequence[Row], rows: Sequence[Row], judge: Judge) -> list[str]:
    """A baseline's answers to the rows."""
    questions = [asked(row) for row in rows]
    if name == "nearest":
        shots = Shots(learned, max(row["tokens"] for row in learned), 0)
        return [shots.nearest(question, 1)[0]["target"] for question in questions]
    targets = [json.loads(row["target"]) for row in learned]
    if name == "majority":
        return [json.dumps(baselines.majority(targets, judge.fields))] * len(rows)
    values = baselines.tfidf([asked(row) for row in learned], targets, questions, judge.fields, 0)
    return [json.dumps(value, ensure_ascii=False) for value in values]


def main() -> None:
    recipe, store = FullRecipe.load(find_recipe(sys.argv[1])), Store(Path(sys.argv[2]))
    settings, training = recipe.evaluation, recipe.training
    count = int(sys.argv[3]) if len(sys.argv) > 3 else settings.rows
    version = store.resolve("datasets", recipe.name)
    train = read_split(version, "train", COLUMNS)
    rows = select(read_split(version, "test", COLUMNS), count, settings.max_tokens, settings.seed)
    judge = Judge(recipe.held_to().target_schema or {}, settings.fields)
    expected = [json.loads(row["target"]) for row in rows]
    groups = [row["cluster"] or row["id"] for row in rows]
    test_rows = TestRows.of(Rows(groups, len(rows), settings.resamples, settings.seed), judge, expected)
    began = time.perf_counter()
    answers: dict[str, Any] = {}
    for many in COUNTS:
        learned = train if many is None else select(train, many, training.max_tokens, training.seed)
        for name in ("majority", "tfidf", "nearest"):
            given = [Generated(text) for text in texts(name, learned, rows, judge)]
            answers[f"{name}, {many or 'all'}"] = judged(given, expected, judge)
    card = scorecard(answers, test_rows, pairs=[])
    fields = [each.name for each in judge.fields]
    print(f"{version.name}: {len(rows)} rows")
    print(f"| baseline, rows | whole answer | {' | '.join(fields)} |\n| --- |{' --: |' * (1 + len(fields))}")
    for name, system in card["systems"].items():
        shares = [system["whole_match"], *(system["fields"][each]["accuracy"] for each in fields)]
        told = " | ".join(f"{100 * each['value']:.1f}" for each in shares[1:])
        whole = shares[0]
        print(f"| {name} | {100 * whole['value']:.1f} ({100 * whole['low']:.0f}–{100 * whole['high']:.0f}) | {told} |")
    right = {name: system["whole_match"]["value"] for name, system in card["systems"].items()}
    seconds = {"assay": [round(time.perf_counter() - began, 1)]}
    print(json.dumps({"name": "baselines", "input": {"test_rows": len(rows)}, "seconds": seconds, "right": right}))


if __name__ == "__main__":
    main()
