"""What each rule of quality finds: rows out of its bounds, whatever a recipe does with them, and some of them to read.

python -m benchmarks.quality_rules store/datasets/NAME/VERSION/train.parquet [RULE]
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.quality import RULES, Quality
from curate.record import answer_text, prompt_text

READ = 50
"""Rows of a rule that are shown."""


def found(table: pa.Table) -> dict[str, list[int]]:
    """The rows that are out of each rule's bounds, were it the only one.

    Args:
        table: records, with the language stage's columns where `other_language` is to be asked.
    """
    rows = {}
    ignored = {name: {"then": "ignore"} for name in RULES}
    for name in RULES:
        outcome = Quality(rules=ignored | {name: {"then": "reject"}}).run(table)
        named = outcome.rejected.filter(pc.equal(outcome.rejected["reason"], name))["id"]
        rows[name] = np.flatnonzero(pc.is_in(table["id"], named.combine_chunks()).to_numpy()).tolist()
    return rows


def main(path: Path, rule: str | None) -> None:
    table = pq.read_table(path)
    rows = found(table)
    for name, hits in rows.items():
        print(f"{name:26} {len(hits):7,} of {table.num_rows:,}")
    if rule is not None:
        prompts, answers = prompt_text(table), answer_text(table)
        for row in np.random.default_rng(0).permutation(rows[rule])[:READ].tolist():
            prompt, answer = prompts[row].as_py(), answers[row].as_py()
            print(f"\n{prompt[-300:]!r}\n  {answer[:300]!r} ... {answer[-200:]!r}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
