"""Near-duplicate removal end to end, beside text-dedup, data-juicer, datatrove, daft and rensa.

Every run is a fresh process that reads the same Parquet files, removes near-duplicates at a Jaccard similarity of 0.7
over 5-word shingles with 128 permutations, and writes what it keeps (text-dedup: as Arrow, as it always does).

    python -m benchmarks.near_dedup --rows 100000 --repeats 3
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks import quality, texts
from benchmarks.measure import CACHE, Run, environment, result, run, show

THRESHOLD, WORDS, PERMUTATIONS = 0.7, 5, 128
SMALL = 1000
"""Rows of the untimed run before each timed one."""
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class System:
    """How to install a system and run it."""

    requirements: Sequence[str]
    """None for Assay: it runs where the benchmark does."""
    command: Callable[[Path, Path, Path, int], list[str | Path]]
    """Of its Python, the folder of inputs, a fresh folder to write into, and the number of processes."""
    variables: dict[str, str] = field(default_factory=dict)


def script(name: str, threshold: float = THRESHOLD) -> Callable[[Path, Path, Path, int], list[str | Path]]:
    """The command that runs `systems/with_NAME.py`."""

    def command(python: Path, source: Path, folder: Path, processes: int) -> list[str | Path]:
        given = (threshold, WORDS, PERMUTATIONS, processes)
        return [python, HERE / "systems" / f"with_{name}.py", source, folder / "kept", *map(str, given)]

    return command


def _text_dedup(python: Path, source: Path, folder: Path, processes: int) -> list[str | Path]:
    options = {
        "path": "parquet",
        "data_files": f"{source}/*.parquet",
        "split": "train",
        "cache_dir": folder / "cache",
        "output": folder / "kept",
        "column": "text",
        "batch_size": 10_000,
        "ngram": WORDS,
        "num_perm": PERMUTATIONS,
        "threshold": THRESHOLD,
        "num_proc": processes,
    }
    return [python, "-m", "text_dedup.minhash", *(f"--{name}={value}" for name, value in options.items())]


def minhash_of_data_juicer(threshold: float) -> dict[str, Any]:
    """The operator that removes near-duplicates by the words between spaces."""
    settings = {"tokenization": "space", "window_size": WORDS, "num_permutations": PERMUTATIONS}
    return {"document_minhash_deduplicator": settings | {"jaccard_threshold": threshold}}


def data_juicer(
    operators: Sequence[dict[str, Any]], output: str
) -> Callable[[Path, Path, Path, int], list[str | Path]]:
    """The command that runs data-juicer's operators and writes a file of that name."""

    def command(python: Path, source: Path, folder: Path, processes: int) -> list[str | Path]:
        config = {
            "project_name": "benchmark",
            "dataset_path": str(source),
            "export_path": str(folder / "kept" / output),
            "ds_cache_dir": str(folder / "cache"),
            "np": processes,
            "text_keys": "text",
            "process": list(operators),
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        return [python.parent / "dj-process", "--config", folder / "config.yaml"]

    return command


SYSTEMS = {
    "assay": System([], script("assay"), {"PYTHONPATH": str(HERE.parent)}),
    "text-dedup": System(["text-dedup==0.4.0"], _text_dedup),
    # torch: without it, data-juicer installs it while it runs
    "data-juicer": System(
        ["py-data-juicer==1.6.1", "aiohttp", "torch"], data_juicer([minhash_of_data_juicer(THRESHOLD)], "kept.parquet")
    ),
    "datatrove": System(["datatrove[io,processing]==0.10.1", "spacy>=3.8", "xxhash<4"], script("datatrove")),
    "daft": System(["daft==0.7.26", "numpy", "scipy"], script("daft")),
    "rensa": System(["rensa==0.5.0", "pyarrow"], script("rensa")),
}


def kept_rows(folder: Path) -> npt.NDArray[np.int64]:
    """Numbers of the rows a system has written, in order."""
    output = folder / "kept"
    if streams := list(output.glob("*.arrow")):
        ids = pa.concat_tables(pa.ipc.open_stream(file).read_all().select(["id"]) for file in streams)
    else:
        whole = output / "kept.parquet"
        ids = pq.read_table(whole if whole.is_file() else output, columns=["id"])
    return np.sort(ids["id"].to_numpy())


def signature_rate(column: pa.Array) -> float:
    """MB of text a second that one thread turns into signatures: the median of three."""
    from curate.text.minhash import text_signatures

    text_signatures(column.slice(0, 10), WORDS)
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        text_signatures(column, WORDS)
        seconds.append(time.perf_counter() - begin)
    return sum(map(len, map(str.encode, column.to_pylist()))) / 1e6 / median(seconds)


COPY = """
import sys
import pyarrow.parquet as pq
source, target = sys.argv[1:]
pq.write_table(pq.read_table(source), target)
"""
"""What every system does besides: reading and writing."""
FLOOR = "floor: a process that only reads and writes"


def profile(cold: Run, warm: Sequence[Run], floor: Sequence[Run]) -> dict[str, float]:
    """Seconds by step of Assay's runs (medians), what lies outside of the steps, and the first run's compilation.

    Args:
        cold: the first run, which compiles the kernels.
        warm: the others.
        floor: processes that only read and write.
    """
    steps = [json.loads(each.output.splitlines()[-1]) for each in warm]
    by_step = {name: median(each.get(name, 0.0) for each in steps) for name in steps[0]}
    inside = [sum(value for name, value in each.items() if not name.startswith(" ")) for each in steps]
    outside = median(each.seconds - spent for each, spent in zip(warm, inside, strict=True))
    seconds, least = (median(each.seconds for each in runs) for runs in (warm, floor))
    return by_step | {
        "start and end of the process": outside,
        "all": seconds,
        "compilation, first run only": cold.seconds - seconds,
        FLOOR: least,
        "times the floor": seconds / least,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.near_dedup", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--systems", nargs="+", choices=[*SYSTEMS], default=[*SYSTEMS], help="assay is always run")
    parser.add_argument("--peers", type=Path, default=CACHE, help="environments of the peers, and the inputs")
    options = parser.parse_args(arguments)
    names = ["assay", *(name for name in options.systems if name != "assay")]

    source = texts.write(texts.cuts(), options.rows, options.peers / "texts" / f"cuts-{options.rows}")
    small = texts.write(texts.cuts(), SMALL, options.peers / "texts" / f"cuts-{SMALL}")
    given = texts.describe(source)
    pythons = {
        name: environment(options.peers, name, SYSTEMS[name].requirements) if name != "assay" else Path(sys.executable)
        for name in names
    }
    runs: dict[str, list[Run]] = {name: [] for name in names}
    floor: list[Run] = []
    kept: dict[str, npt.NDArray[np.int64]] = {}
    with tempfile.TemporaryDirectory(prefix="near-dedup-") as scratch:
        kernels = Path(scratch) / "kernels"

        def measure(name: str) -> Run:
            folder = Path(scratch) / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            caches: dict[str, str | Path] = {
                "NUMBA_CACHE_DIR": kernels,
                "HF_HOME": folder / "hf",
                "DATA_JUICER_CACHE_HOME": folder / "dj",
            }
            # A few rows first, untimed, and the inputs read once: what a system loads is then in the page cache, for
            # all of them alike, however long the one before took.
            before = folder / "before"
            before.mkdir()
            if kept:  # the very first run shows what compiling costs
                run(
                    SYSTEMS[name].command(pythons[name], small, before, options.processes),
                    caches | SYSTEMS[name].variables,
                )
            for file in source.iterdir():
                file.read_bytes()
            command = SYSTEMS[name].command(pythons[name], source, folder, options.processes)
            done = run(command, caches | SYSTEMS[name].variables)
            kept[name] = kept_rows(folder)
            print(f"{name}: {done.seconds:.2f} s, {len(kept[name]):,} rows kept", flush=True)
            return done

        cold = measure("assay")
        for _ in range(options.repeats):
            for name in names:
                runs[name].append(measure(name))
            floor.append(run([sys.executable, "-c", COPY, source, Path(scratch) / "copy.parquet"]))
    report(given, runs, kept, profile(cold, runs["assay"], floor), pq.read_table(source)["text"].combine_chunks())


def report(
    given: dict[str, Any],
    runs: dict[str, list[Run]],
    kept: dict[str, npt.NDArray[np.int64]],
    steps: dict[str, float],
    column: pa.Array,
) -> None:
    """Print the tables and the result."""
    sets = list(quality.definitions(column, WORDS))
    assay = median(each.seconds for each in runs["assay"])
    rows, judged = [], {}
    for name, of_one in runs.items():
        flags = np.zeros(given["rows"], np.bool_)
        flags[kept[name]] = True
        unlike, left = quality.judge(sets, flags, THRESHOLD)
        judged[name] = {"kept": len(kept[name]), "removed_unlike_any_kept": unlike, "pairs_left": left}
        seconds = median(each.seconds for each in of_one)
        each_run = " ".join(f"{each.seconds:.2f}" for each in of_one)
        rate, peak = given["bytes"] / 1e6 / seconds, max(each.peak_mib for each in of_one)
        took = [each_run, seconds, seconds / assay, rate, median(each.processor for each in of_one)]
        rows.append([name, *took, f"{peak:,.0f}", len(kept[name]), unlike, left])
    columns = [
        "",
        "seconds, each run",
        "median",
        "ratio",
        "MB/s",
        "processor",
        "peak MiB",
        "rows out",
        "unlike",
        "left",
    ]
    show(f"{given['rows']:,} rows, {given['bytes'] / 1e6:.0f} MB", columns, rows)
    print(
        f"unlike: removed, though no kept row has a true similarity of {THRESHOLD}, whoever's words are counted."
        f"\nleft: pairs of kept rows that have it, whoever's words are counted."
    )
    show("Assay by step", ["", "seconds, median"], [[name, seconds] for name, seconds in steps.items()])
    rate = signature_rate(column[:20_000])
    print(f"Signatures: {rate:.0f} MB/s a core.")
    print(result("near_dedup", given, runs, rows=judged, profile=steps, signatures_mb_s=rate))


if __name__ == "__main__":
    main()
