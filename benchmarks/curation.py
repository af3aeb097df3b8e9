"""Curation of 34,873 real licence notices, whole and beside data-juicer's equal operators.

Side by side, both from one file of JSON lines: mended Unicode, white space, e-mail and IP addresses, length,
alphanumeric and repeated characters, exact and near-duplicates, and what is kept written as JSON lines. And Assay's
whole curation from the package's 37,183 files to the published version, by stage.

    python -m benchmarks.curation --repeats 3
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from benchmarks.measure import CACHE, Run, environment, result, run, show
from benchmarks.near_dedup import HERE, SYSTEMS, System, data_juicer, minhash_of_data_juicer, script
from curate.read.raw import find_files, read_rows
from curate.recipe import Recipe, find_recipe

THRESHOLD = 0.8


OPERATORS: list[dict[str, Any]] = [
    {"fix_unicode_mapper": None},
    {"whitespace_normalization_mapper": None},
    {"clean_email_mapper": None},
    {"clean_ip_mapper": None},
    {"text_length_filter": {"min_len": 2, "max_len": 20_000}},
    {"alphanumeric_filter": {"tokenization": False, "min_ratio": 0.25}},
    {"character_repetition_filter": {"rep_len": 10, "max_ratio": 0.5}},
    {"document_deduplicator": None},
    minhash_of_data_juicer(THRESHOLD),
]


def _whole(python: Path, source: Path, folder: Path, processes: int) -> list[str | Path]:
    return [python, HERE / "systems" / "with_assay_whole.py", folder / "store", str(processes), "licences"]


COMPARED = {
    "assay": System([], script("assay_stages", THRESHOLD), SYSTEMS["assay"].variables),
    "data-juicer": System(SYSTEMS["data-juicer"].requirements, data_juicer(OPERATORS, "kept.jsonl")),
    "assay, whole": System([], _whole, SYSTEMS["assay"].variables),
}


def notices(folder: Path) -> Path:
    """The notices as JSON lines {"id", "text"}, in a folder of their own."""
    path = folder / "notices.jsonl"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        recipe = Recipe.load(find_recipe("licences"))
        files = [file for source in recipe.sources for file in find_files(source, folder, folder)]
        texts = (row["text"] for file in files for row in read_rows(file) if isinstance(row, dict))
        draft = path.with_suffix(".draft")
        with draft.open("wb") as lines:
            for number, text in enumerate(text for text in texts if text.strip()):
                lines.write(orjson.dumps({"id": number, "text": text}) + b"\n")
        draft.rename(path)
    return folder


def kept_rows(folder: Path) -> int:
    """How many rows a system has written; data-juicer writes as many of statistics beside them."""
    written = [path for path in (folder / "kept").glob("*.jsonl") if not path.stem.endswith("_stats")]
    return sum(len(path.read_bytes().splitlines()) for path in written)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curation", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--systems", nargs="+", choices=[*COMPARED], default=[*COMPARED], help="assay is always run")
    parser.add_argument("--peers", type=Path, default=CACHE, help="environments of the peers, and the input")
    options = parser.parse_args(arguments)
    names = ["assay", *(name for name in options.systems if name != "assay")]
    source = notices(options.peers / "texts" / "notices")
    given = {"rows": len((source / "notices.jsonl").read_bytes().splitlines())}
    given["bytes"] = (source / "notices.jsonl").stat().st_size
    pythons = {
        name: environment(options.peers, name, system.requirements) if system.requirements else Path(sys.executable)
        for name, system in COMPARED.items()
        if name in names
    }
    runs: dict[str, list[Run]] = {name: [] for name in names}
    kept: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="curation-") as scratch:

        def measure(name: str) -> Run:
            folder = Path(scratch) / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            caches = {"NUMBA_CACHE_DIR": Path(scratch) / "kernels", "DATA_JUICER_CACHE_HOME": folder / "dj"}
            command = COMPARED[name].command(pythons[name], source, folder, options.processes)
            done = run(command, caches | COMPARED[name].variables)
            kept[name] = kept_rows(folder)
            print(f"{name}: {done.seconds:.2f} s", flush=True)
            return done

        for name in names:  # once untimed: kernels are compiled, and files are in the page cache
            measure(name)
        for _ in range(options.repeats):
            for name in names:
                runs[name].append(measure(name))
    report(given, runs, kept)


def report(given: dict[str, int], runs: dict[str, list[Run]], kept: dict[str, int]) -> None:
    """Print the tables and the result."""
    seconds = {name: median(each.seconds for each in of_one) for name, of_one in runs.items()}
    rows = [
        [
            name,
            " ".join(f"{each.seconds:.2f}" for each in of_one),
            seconds[name],
            seconds[name] / seconds["assay"],
            f"{max(each.peak_mib for each in of_one):,.0f}",
            kept[name] or "",
        ]
        for name, of_one in runs.items()
    ]
    show(
        f"{given['rows']:,} notices, {given['bytes'] / 1e6:.0f} MB",
        ["", "seconds, each run", "median", "ratio", "peak MiB", "rows out"],
        rows,
    )
    profiles = {
        name: json.loads(of_one[-1].output.splitlines()[-1]) for name, of_one in runs.items() if name != "data-juicer"
    }
    for name, profile in profiles.items():
        show(f"{name}, by stage, last run", ["", "seconds"], [[stage, each] for stage, each in profile.items()])
    if "assay, whole" in runs:
        bare = median(each.seconds - json.loads(each.output.splitlines()[-1])["gate"] for each in runs["assay, whole"])
        print(f"Whole curation without Great Expectations: {bare:.1f} s.")
        print(result("curation", given, runs, profile=profiles, whole_without_gate=bare))
    else:
        print(result("curation", given, runs, profile=profiles))


if __name__ == "__main__":
    main()
