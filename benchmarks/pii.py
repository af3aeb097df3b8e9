"""Personal data: recall and precision on Presidio's own sentences, and speed on licence notices, beside Presidio.

Both are asked for the same kinds. A span counts as found if one of the same kind covers it whole, and what is found
counts as wrong if it overlaps no span of its kind. Presidio runs its rules alone (no model), in its own
environment. Times are those of the processor: one core.

    python -m benchmarks.pii --data ../shared/data/messy_presidio --rows 1000
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import CACHE, environment, run, show
from curate.record import SCHEMA
from curate.rows.pii import Pii
from curate.text.personal_data import find

FILES = ("data/synth_dataset_v2.json", "tests/data/generated_large.json")
PRESIDIO = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "IP_ADDRESS": "ip",
    "CREDIT_CARD": "credit_card",
    "IBAN_CODE": "iban",
    "US_SSN": "ssn",
}
HERE = Path(__file__).resolve().parent
Spans = Iterable[tuple[str, int, int]]


def sentences(folder: Path) -> list[dict[str, Any]]:
    return [row for file in FILES for row in json.loads((folder / file).read_text(encoding="utf-8"))]


def ours(text: str) -> Spans:
    return [each[:3] for each in find(text, PRESIDIO.values())]


def score(folder: Path, finder: Callable[[str], Spans] = ours) -> dict[str, Counter[str]]:
    """By kind: spans hit and missed, and what was found rightly (`found`) and wrongly."""
    judged: dict[str, Counter[str]] = {kind: Counter() for kind in PRESIDIO.values()}
    for row in sentences(folder):
        mine = list(finder(row["full_text"]))
        spans = [
            (PRESIDIO[span["entity_type"]], span["start_position"], span["end_position"])
            for span in row["spans"]
            if span["entity_type"] in PRESIDIO
        ]
        for kind, begin, end in spans:
            whole = any(each[0] == kind and each[1] <= begin and each[2] >= end for each in mine)
            judged[kind]["hit" if whole else "missed"] += 1
        for kind, begin, end in mine:
            right = any(each[0] == kind and each[1] < end and begin < each[2] for each in spans)
            judged[kind]["found" if right else "wrong"] += 1
    return judged


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pii", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of presidio-research's sentences")
    parser.add_argument("--rows", type=int, default=1000, help="licence notices that Presidio reads")
    parser.add_argument("--peers", type=Path, default=CACHE, help="environments of the peers")
    options = parser.parse_args(arguments)
    import licensedcode

    rules = Path(next(iter(licensedcode.__path__))) / "data" / "rules"
    texts = [path.read_text(encoding="utf-8").split("---", 2)[-1] for path in sorted(rules.glob("*.RULE"))]
    none = [None] * len(texts)
    columns = dict.fromkeys(SCHEMA.names, none) | {
        "turns": [[{"role": "user", "content": text}] for text in texts],
        "meta": [[] for _ in texts],
    }
    table = pa.table(columns, schema=SCHEMA)
    stage = Pii()
    stage.run(table.slice(0, 100))
    seconds = []
    for _ in range(3):
        begin = time.process_time()
        outcome = stage.run(table)
        seconds.append(time.process_time() - begin)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    some = texts[:: max(1, len(texts) // options.rows)]
    with tempfile.TemporaryDirectory(prefix="pii-") as scratch:
        pq.write_table(
            pa.table({"text": [row["full_text"] for row in sentences(options.data)]}), f"{scratch}/s.parquet"
        )
        pq.write_table(pa.table({"text": some}), f"{scratch}/n.parquet")
        python = environment(options.peers, "presidio", ["presidio-analyzer==2.2.366", "pyarrow"])
        command = [python, HERE / "systems" / "with_presidio.py", f"{scratch}/s.parquet", f"{scratch}/n.parquet"]
        answer = json.loads(run(command).output.splitlines()[-1])
    theirs = dict(zip((row["full_text"] for row in sentences(options.data)), answer["spans"], strict=True))
    scores = {
        "assay": score(options.data),
        "presidio": score(
            options.data, lambda text: [(PRESIDIO[kind], begin, end) for kind, begin, end in theirs[text]]
        ),
    }
    rows = [
        [
            system,
            kind,
            c["hit"] + c["missed"],
            c["hit"] / (c["hit"] + c["missed"]),
            c["found"] / (c["found"] + c["wrong"]),
        ]
        for system, kinds in scores.items()
        for kind, c in kinds.items()
    ]
    show("Sentences of presidio-research", ["", "kind", "spans", "recall", "precision"], rows)
    rate = {
        "assay": megabytes / sorted(seconds)[1],
        "presidio": sum(len(text.encode()) for text in some) / 1e6 / answer["seconds"],
    }
    show("Licence notices", ["", "MB/s"], [[name, value] for name, value in rate.items()])
    print({kind: rows for kind, rows in outcome.counters.items() if rows}, file=sys.stderr)
    result = {"name": "pii", "input": {"rows": len(texts), "mb": round(megabytes, 1)}, "mb_s": rate, "scores": scores}
    print(json.dumps(result | {"seconds": {"assay": seconds, "presidio": [answer["seconds"]]}}))


if __name__ == "__main__":
    main()
