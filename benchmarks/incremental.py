"""A small drop against an index of a million rows, and what that costs beside the run that built the index.

Both read texts, compare them with all that was seen before, publish a version and add it to the index; each in a
fresh process. The drop's texts continue those of the index, so the same share of them are near-duplicates of earlier
ones.

    python -m benchmarks.incremental --indexed 1000000 --drop 10000 --repeats 3
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import median

from benchmarks import texts
from benchmarks.measure import CACHE, Run, result, run, show
from benchmarks.near_dedup import HERE, SYSTEMS, THRESHOLD, WORDS


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.incremental", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--indexed", type=int, default=1_000_000)
    parser.add_argument("--drop", type=int, default=10_000)
    parser.add_argument("--small", type=int, default=1000, help="rows of the drops that are not measured")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--texts", type=Path, default=CACHE / "texts", help="folder for the inputs")
    options = parser.parse_args(arguments)
    every = texts.write(texts.mutated(), options.indexed, options.texts / f"mutated-{options.indexed}")
    following = options.texts / f"mutated-{options.indexed}-and-{options.drop}"
    drop = texts.write(islice(texts.mutated(), options.indexed, None), options.drop, following, first=options.indexed)
    given = {"indexed": texts.describe(every), "drop": texts.describe(drop)}
    runs: dict[str, list[Run]] = {"full": [], "drop": []}
    with tempfile.TemporaryDirectory(prefix="incremental-") as scratch:
        stores = {kind: Path(scratch) / kind for kind in ("full", "drop")}

        def curate(store: Path, source: Path) -> Run:
            script = HERE / "systems" / "with_assay_index.py"
            settings = [str(setting) for setting in (THRESHOLD, WORDS, options.processes)]
            return run([sys.executable, script, store, source, *settings], SYSTEMS["assay"].variables)

        def warm_up() -> None:
            """Two small drops: what is compiled is kept on the disk, and what is loaded stays in the page cache."""
            shutil.rmtree(Path(scratch) / "small", ignore_errors=True)
            for small in smalls:
                curate(Path(scratch) / "small", small)

        def measure(kind: str, source: Path) -> None:
            warm_up()
            done = curate(stores[kind], source)
            runs[kind].append(done)
            print(f"{kind}: {done.seconds:.2f} s, {done.output.splitlines()[-2]}", flush=True)

        smalls = [
            texts.write(
                islice(texts.mutated(), begin, None),
                options.small,
                options.texts / f"mutated-{options.small}-from-{begin}",
                first=begin,
            )
            for begin in (0, options.small)
        ]
        for _ in range(options.repeats):
            for store in stores.values():
                shutil.rmtree(store, ignore_errors=True)
            measure("full", every)
            shutil.copytree(stores["full"], stores["drop"], copy_function=os.link)
            measure("drop", drop)
    report(given, runs)


def report(given: dict[str, dict[str, object]], runs: dict[str, list[Run]]) -> None:
    """Print the table and the result."""
    seconds = {kind: median(each.seconds for each in of_one) for kind, of_one in runs.items()}
    rows = []
    for (kind, of_one), source in zip(runs.items(), given.values(), strict=True):
        each_run = " ".join(f"{each.seconds:.2f}" for each in of_one)
        peak = max(each.peak_mib for each in of_one)
        rows.append([kind, f"{source['rows']:,}", each_run, seconds[kind], f"{peak:,.0f}"])
    show("Incremental", ["run", "rows", "seconds, each run", "median", "peak MiB"], rows)
    profiles = {kind: json.loads(of_one[-1].output.splitlines()[-1]) for kind, of_one in runs.items()}
    steps = [[name, seconds, profiles["drop"].get(name, 0.0)] for name, seconds in profiles["full"].items()]
    show("Seconds by step, last run", ["", "full", "drop"], steps)
    share = seconds["drop"] / seconds["full"]
    bare = {kind: runs[kind][-1].seconds - profiles[kind]["add to the index"] for kind in runs}
    bare_share = bare["drop"] / bare["full"]
    print(f"The drop takes {share:.1%} of the full run's time; if neither were added to the index, {bare_share:.1%}.")
    print(result("incremental", given, runs, share=share, share_without_adding=bare_share, profile=profiles))


if __name__ == "__main__":
    main()
