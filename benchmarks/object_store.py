"""A curation into a bucket beside one into a folder: what its requests cost, and how many there are.

GPTeacher's instructions by the packaged recipe, cut to some rows, with no rules of their own: a fresh store each, then
the same again on another machine, which has an empty mirror, and a `show` there. The bucket is moto's, in this process,
on loopback: a request takes a few milliseconds of the processor that the curation uses too. A real storage takes 10 to
50 ms of waiting.

    python -m benchmarks.object_store ../shared/data/ins_gpteacher --rows 2000 --repeats 3
"""

import argparse
import gzip
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.measure import Run, result, run, show
from benchmarks.whole import CONTRACT
from curate.recipe import find_recipe
from tests.buckets import Served, served


def drop(source: Path, rows: int, folder: Path) -> Path:
    """The first rows of each of GPTeacher's three parts, as a drop of its own."""
    for path in sorted(path for path in source.glob("*/*") if ".json" in path.name):
        opened = gzip.open if path.suffix == ".gz" else open
        (folder / path.parent.name).mkdir(parents=True)
        with opened(path, "rb") as file, opened(folder / path.parent.name / path.name, "wb") as cut:
            cut.write(json.dumps(json.load(file)[: rows // 3]).encode())
    return folder


def told(server: Served) -> str:
    """Requests by kind, and bytes that were put and got."""
    kinds = Counter(
        "list" if each.method == "GET" and not each.key else each.method.lower() for each in server.requests
    )
    counted = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    moved = {m: sum(each.bytes for each in server.requests if each.method == m) / 1e6 for m in ("PUT", "GET")}
    return f"{len(server.requests)} requests ({counted}), {moved['PUT']:.1f} MB put, {moved['GET']:.1f} MB got"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="GPTeacher's folder")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args(arguments)
    runs: dict[str, list[Run]] = {}
    requests: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as work, served() as server:
        rows, recipe = drop(asked.source, asked.rows, Path(work) / "drop"), Path(work) / "recipe.yaml"
        recipe.write_text(find_recipe("instructions").read_text().replace("contract: instructions", "contract: rows"))
        (Path(work) / "rows").mkdir()
        (Path(work) / "rows/contract.yaml").write_text(yaml.safe_dump(CONTRACT))
        for number in range(asked.repeats):
            server.begin()
            place = Path(work) / str(number)
            curate = ["curate", recipe, "--drop", rows, "--workers", "2", "--json"]

            def assay(kind: str, store: str | Path, machine: str, *command: Any, place: Path = place) -> None:
                server.requests.clear()
                variables = server.environment() | {"ASSAY_MIRROR": str(place / machine)}
                done = run([sys.executable, "-m", "assay", *command, "--store", store], variables)
                runs.setdefault(kind, []).append(done)
                requests[kind] = told(server) if "://" in str(store) else ""

            assay("folder", place / "store", "none", *curate)
            assay("bucket", server.store, "one", *curate)
            assay("folder, again", place / "store", "none", *curate)
            assay("bucket, again elsewhere", server.store, "two", *curate)
            assay("bucket, show elsewhere", server.store, "three", "show", "instructions", "--json")
    rows_shown = [
        [kind, median(run.seconds for run in of), median(run.processor for run in of), requests[kind]]
        for kind, of in runs.items()
    ]
    show(f"{asked.rows:,} instructions", ["", "s", "processor s", "requests"], rows_shown)
    print(result("object_store", {"rows": asked.rows}, runs, requests=requests))


if __name__ == "__main__":
    main()
