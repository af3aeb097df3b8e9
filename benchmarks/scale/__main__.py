"""Duplicates, splits and publishing by many workers: which bytes go from one to another for the same verdict.

Workers are processes with a pipe between each two. Together they judge what `assay curate` judges in one process, rows
of `benchmarks.texts.mutated` cut into a question and an answer: conflicts, exact and near-duplicates, clusters, splits.
The run ends with an error unless every reason, evidence, cluster and split is that of curate's own functions over all
rows. Kinds of messages that begin with "(instead)" or "rounds" are other ways to the same, which are measured beside.

    python -m benchmarks.scale --rows 50000 100000 200000 --workers 4 16
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import texts
from benchmarks.measure import CACHE, show
from benchmarks.scale.simulation import Verdict, by_one, by_workers, require_same, traffic

BESIDE = ("(instead)", "rounds")
"""Kinds of messages that are not of the plan begin so."""


def measured(folder: Path, rows: int, workers: int, one: Verdict) -> dict[str, Any]:
    """One run, held to the verdict of one process."""
    begin = time.perf_counter()
    many, told = by_workers(folder, workers)
    require_same(one, many)
    moved = traffic(told, rows)
    plan = sum(each["moved"] for kind, each in moved.items() if not kind.startswith(BESIDE))
    counts = Counter[str]()
    for each in told:
        counts.update({name: number for name, number in each.counts.items() if not name.endswith("rounds")})
    rounds = {name: number for name, number in told[0].counts.items() if name.endswith("rounds")}
    steps = {name: 1e6 * sum(each.processor[name] for each in told) / rows for name in told[0].processor}
    seconds = time.perf_counter() - begin
    print(f"{rows:,} rows, {workers} workers: the same verdict; {plan:,.0f} bytes a row, {seconds:.0f} s", flush=True)
    return {
        "rows": rows,
        "workers": workers,
        "bytes_a_row": {kind: {name: round(value, 3) for name, value in each.items()} for kind, each in moved.items()},
        "plan_bytes_a_row": round(plan, 1),
        "per_row": {name: round(number / rows, 4) for name, number in counts.items()},
        "rounds": rounds,
        "processor_us_a_row": {name: round(each, 2) for name, each in steps.items()},
        "peak_mib": round(max(each.peak_mib for each in told), 1),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 100_000, 200_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--texts", type=Path, default=CACHE / "texts", help="folder for the inputs")
    parser.add_argument("--prose", type=Path, help="folder that holds legal_cuad: its contracts instead of code")
    options = parser.parse_args(arguments)
    given, kind = (None, "code") if options.prose is None else (texts.prose(options.prose), "prose")
    found, alone = [], {}
    for rows in options.rows:
        of_file = -(-rows // (2 * max(options.workers)))
        folder = options.texts / f"mutated-{kind}-{rows}-by-{of_file}"
        source = texts.write(texts.mutated(0, given), rows, folder, rows_of_file=of_file)
        one, seconds = by_one(source)
        alone[rows] = {name: round(1e6 * each / rows, 2) for name, each in seconds.items()}
        found += [measured(source, rows, workers, one) for workers in options.workers]
    report(found)
    print(json.dumps({"name": "scale", "kind": kind, "runs": found, "one_process_us_a_row": alone}))


def report(found: Sequence[dict[str, Any]]) -> None:
    """Print the tables."""
    columns = [f"{each['rows']:,} / {each['workers']}" for each in found]
    for title, key in (("Bytes a row between workers", "moved"), ("The largest over the mean", "largest_over_mean")):
        kinds = [[kind, *(each["bytes_a_row"][kind][key] for each in found)] for kind in found[0]["bytes_a_row"]]
        if key == "moved":
            kinds.append(["the plan", *(each["plan_bytes_a_row"] for each in found)])
        show(f"{title}, by rows / workers", ["", *columns], kinds)
    for title, key in (("Per row", "per_row"), ("Processor microseconds a row, all workers", "processor_us_a_row")):
        show(title, ["", *columns], [[name, *(each[key][name] for each in found)] for name in found[0][key]])
    rounds = [[name, *(each["rounds"][name] for each in found)] for name in found[0]["rounds"]]
    show("Rounds", ["", *columns], [*rounds, ["peak MiB", *(each["peak_mib"] for each in found)]])


if __name__ == "__main__":
    main()
