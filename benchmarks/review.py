"""How fluent `assay review` is on many rows: from the start to the page, a filter, a search, the next case.

The version is one of N quarantined rows of real length, made by this module; asked by HTTP as the page asks. Run as
`python -m benchmarks.review --rows 100000`.
"""

import argparse
import http.client
import json
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from assay.desk import Desk
from assay.queue import Queue
from assay.reviewing import Session, server
from curate.record import QUARANTINE_SCHEMA
from tests.project import WORDS, Project

REASONS = ["target_schema", "too_long", "near_duplicate", "language"]
ALL = {"train": 1, "validation": 0, "test": 0}
ASKED = 30


def rows(count: int) -> list[dict[str, Any]]:
    draw = random.Random(0)
    return [
        {
            "id": f"{number:032x}",
            "turns": [{"role": "user", "content": " ".join(draw.choices(WORDS, k=120)) + f" {number}"}],
            "target": json.dumps({"colour": "red", "count": number}),
            "label": "red",
            "source": {"drop": "d", "file": "rows.jsonl", "row": number},
            "meta": {},
            "stage": "quality",
            "reason": REASONS[number % len(REASONS)],
            "evidence": "{}",
        }
        for number in range(count)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder) / "project", decisions="decisions.jsonl", split=ALL)
        (project.folder / "decisions.jsonl").touch()
        project.add("rows.jsonl", [{"text": "How many red boxes are on the shelf", "colour": "red", "count": 1}])
        project.curate()
        desk = Desk(project.recipe_path, who="anna", store=project.folder / "store")
        many = pa.Table.from_pylist(rows(given.rows), schema=QUARANTINE_SCHEMA)
        pq.write_table(many, desk.folder / "quarantine.parquet", compression="zstd")
        begin = time.perf_counter()
        session = Session(desk, Queue(desk))
        seconds = {"open": [time.perf_counter() - begin]}
        with server(session) as serving:
            threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True).start()
            connection = http.client.HTTPConnection("127.0.0.1", serving.server_port)

            def ask(method: str, path: str, body: Any = None) -> Any:
                begin = time.perf_counter()
                connection.request(method, path, body and json.dumps(body), {"X-Assay-Token": session.token})
                response = connection.getresponse()
                told = json.loads(response.read())
                if response.status != HTTPStatus.OK:
                    raise SystemExit(f"{path}: {told}")
                took.append(time.perf_counter() - begin)
                return told

            for name, path in {
                "list": "/list?from=0&count=100&undecided=1",
                "filter": "/list?from=0&count=100&undecided=1&kind=quarantined/too_long",
                "scroll": f"/list?from={given.rows // 2}&count=100&undecided=1",
                "search": "/list?from=0&count=100&undecided=1&words=shelf+99999",
                "next": f"/case?number={given.rows // 2}",
                "counts": "/counts",
            }.items():
                took: list[float] = []
                for _ in range(ASKED):
                    ask("GET", path)
                seconds[name] = took
            took = []
            for number in range(ASKED):
                ask("POST", "/decide", {"id": f"{number:032x}", "action": "keep"})
            seconds["decide"] = took
            serving.shutdown()
    for name, took in seconds.items():
        print(f"{name:8} {1000 * statistics.median(took):9.1f} ms, most {1000 * max(took):9.1f} ms")
    told = {"name": "review", "input": {"rows": given.rows}, "seconds": {"assay": [round(sum(seconds.pop("open")), 3)]}}
    print(json.dumps(told | {"asked": {name: [round(each, 6) for each in took] for name, took in seconds.items()}}))


if __name__ == "__main__":
    main()
