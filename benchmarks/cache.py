"""What a run leaves in the cache, beside its drop: bytes of the one over bytes of the other, and time and memory.

A recipe is curated into a fresh store each time, by this checkout and, in turn with it, by others: an earlier commit
in a worktree.

    python -m benchmarks.cache licences --repeats 3 --beside ../before
"""

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.measure import Run, result, run, show

ROOT = Path(__file__).resolve().parents[1]


def cache_bytes(store: Path) -> Counter[str]:
    """Bytes of the files of a store's cache by their names; one that has several names counts once."""
    found: Counter[str] = Counter()
    seen: set[int] = set()
    for path in sorted((store / "cache").rglob("*")):
        status = path.stat()
        if path.is_file() and status.st_ino not in seen:
            seen.add(status.st_ino)
            found[path.name] += status.st_size
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cache", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("recipe", nargs="?", default="licences")
    parser.add_argument("--drop", help="by default the recipe's own")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--beside", type=Path, nargs="+", default=[], help="folders of other checkouts")
    options = parser.parse_args(arguments)
    checkouts = {"assay": ROOT, **{folder.name: folder.resolve() for folder in options.beside}}
    runs: dict[str, list[Run]] = {name: [] for name in checkouts}
    left: dict[str, Counter[str]] = {}
    versions: dict[str, str] = {}
    given: dict[str, int] = {}
    for _ in range(options.repeats):
        for name, checkout in checkouts.items():
            with tempfile.TemporaryDirectory(prefix="cache-") as store:
                command = [sys.executable, "-m", "assay", "curate", options.recipe, "--store", store, "--json"]
                command += ["--workers", str(options.processes), *(["--drop", options.drop] if options.drop else [])]
                done = run(command, {"PYTHONPATH": checkout, "PYTHONSAFEPATH": "1"})
                told = json.loads(done.output[done.output.index("{") :].rpartition("}")[0] + "}")
                manifest = json.loads((Path(told["folder"]) / "manifest.json").read_bytes())
                left[name], versions[name] = cache_bytes(Path(store)), told["version"]
            given = {"rows": told["counts"]["in"], "bytes": manifest["drop"]["bytes"]}
            runs[name].append(done)
            print(f"{name}: {done.seconds:.2f} s, {done.peak_mib:,.0f} MiB", flush=True)
    ratios = {name: round(sum(each.values()) / given["bytes"], 2) for name, each in left.items()}
    rows = [
        [
            name,
            versions[name],
            " ".join(f"{each.seconds:.2f}" for each in of_one),
            median(each.seconds for each in of_one),
            median(each.processor for each in of_one),
            f"{median(each.peak_mib for each in of_one):,.0f}",
            sum(left[name].values()) / 1e6,
            ratios[name],
        ]
        for name, of_one in runs.items()
    ]
    columns = ["", "version", "seconds, each run", "median", "processors", "peak MiB", "cache MB", "over the drop"]
    show(f"{options.recipe}: {given['rows']:,} rows, {given['bytes'] / 1e6:,.1f} MB", columns, rows)
    names = [name for name, size in sum(left.values(), Counter()).most_common() if size >= 10_000]
    show("MB by file", ["", *left], [[name, *(each[name] / 1e6 for each in left.values())] for name in names])
    sizes = {name: sum(each.values()) for name, each in left.items()}
    print(result("cache", given, runs, cache_bytes=sizes, over_drop=ratios))


if __name__ == "__main__":
    main()
