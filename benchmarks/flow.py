"""What a flow costs: `assay curate` beside the curation flow, with a server that is up and with a temporary one.

Each into a fresh store, and once more, when all comes from the cache. The systems take turns, each run in a process of
its own that is timed from its start to its end.

    python -m benchmarks.flow --repeats 3
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.measure import Run, result, run, show
from benchmarks.near_dedup import HERE
from curate.manifest import DatasetManifest

FLOW = HERE / "systems" / "with_assay_flow.py"
SYSTEMS = ("assay", "flow, server up", "flow, temporary server")
QUIET = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "GX_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


@contextmanager
def server(home: Path) -> Iterator[str]:
    """A Prefect server on loopback; the URL of its API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    variables = os.environ | QUIET | {"PREFECT_HOME": str(home)}
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/api"
    try:
        while process.poll() is None:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        else:
            sys.exit("Prefect's server does not start.")
        yield url
    finally:
        process.terminate()
        process.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flow", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--recipe", default="licences")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS, help="assay is always run")
    options = parser.parse_args(arguments)
    names = ["assay", *(name for name in options.systems if name != "assay")]
    runs: dict[str, dict[str, list[Run]]] = {kind: {name: [] for name in names} for kind in ("fresh", "cached")}
    given: dict[str, object] = {"recipe": options.recipe, "processes": options.processes}
    with tempfile.TemporaryDirectory(prefix="flow-") as scratch, server(Path(scratch) / "up") as url:

        def curate(name: str) -> Run:
            store, processes = Path(scratch) / "store", str(options.processes)
            command: list[str | Path] = [sys.executable, FLOW, options.recipe, store, processes]
            if name == "assay":
                command = [sys.executable, "-m", "assay", "curate", options.recipe]
                command += ["--store", store, "--workers", processes]
            home = {"PREFECT_HOME": str(Path(scratch) / "temporary")}
            return run(command, QUIET | ({"PREFECT_API_URL": url} if name == "flow, server up" else home))

        for turn in range(options.repeats + 1):  # the first untimed: kernels are compiled, Prefect's databases made
            for name in names:
                for kind in ("fresh", "cached"):
                    done = curate(name)
                    if turn:
                        runs[kind][name].append(done)
                        print(f"{name}, {kind}: {done.seconds:.2f} s", flush=True)
                (version,) = (Path(scratch) / "store" / "datasets").glob("*/*")
                given["rows"] = DatasetManifest.read(version).counts.rows_in
                shutil.rmtree(Path(scratch) / "store")
    report(given, runs)


def report(given: dict[str, object], runs: dict[str, dict[str, list[Run]]]) -> None:
    """Print a table for each kind of run, and the result."""
    more: dict[str, dict[str, float]] = {}
    for kind, of_kind in runs.items():
        seconds = {name: median(each.seconds for each in of_one) for name, of_one in of_kind.items()}
        more[kind] = {name: round(each - seconds["assay"], 2) for name, each in seconds.items() if name != "assay"}
        rows = [
            [
                name,
                " ".join(f"{each.seconds:.2f}" for each in of_one),
                seconds[name],
                seconds[name] - seconds["assay"],
                median(each.processor for each in of_one),
            ]
            for name, of_one in of_kind.items()
        ]
        columns = ["", "seconds, each run", "median", "more", "processor seconds"]
        show(f"{given['rows']:,} rows, {kind}", columns, rows)
    fresh, cached = runs["fresh"], runs["cached"]
    again = {name: [round(each.seconds, 3) for each in of_one] for name, of_one in cached.items()}
    print(result("flow", given, fresh, cached=again, seconds_more=more))


if __name__ == "__main__":
    main()
