"""How time and memory of near-duplicate removal grow with the rows, from 10,000 to a million.

The texts are real, with a known share of realistic alterations (see `benchmarks.texts.mutated`); each size is the
beginning of the next. Every run is a fresh process, as in `benchmarks.near_dedup`.

    python -m benchmarks.growth --repeats 3 --plot docs/growth.svg
    python -m benchmarks.growth --repeats 1 --sizes 2000000 --limit 3    # in an address space of 3 GiB (ulimit -v)
    python -m benchmarks.growth --repeats 1 --sizes 10000000 --pieces 5    # texts of 3.1 kB, as long as FineWeb's
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from math import ceil, floor, gcd, log10
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow.parquet as pq

from benchmarks import texts
from benchmarks.measure import CACHE, Run, result, run, show
from benchmarks.near_dedup import SYSTEMS, kept_rows

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)


def exponent(rows: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of time over rows, both in logarithms, by least squares."""
    return float(np.polyfit(np.log(rows), np.log(seconds), 1)[0])


def link_beginning(folder: Path, rows: int, target: Path) -> Path:
    """A folder of links to the first files of `folder`, which have that many rows together."""
    target.mkdir()
    for file in sorted(folder.iterdir()):
        if rows > 0:
            (target / file.name).symlink_to(file)
            rows -= pq.read_metadata(file).num_rows
    return target


def limited(gib: float | None) -> list[str]:
    """What a command begins with that is to run in an address space of so many GiB."""
    return [] if gib is None else ["bash", "-c", f'ulimit -v {int(gib * 2**20)} && exec "$@"', "limited"]


def plot(rows: Sequence[int], seconds: Sequence[float], mib: Sequence[float]) -> str:
    """An SVG of time and memory over rows, all axes logarithmic; the dashed lines grow as the rows do."""
    panels = [*_panel("seconds", rows, seconds, 30), *_panel("peak memory, MiB", rows, mib, 290)]
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 670 540" font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="670" height="540" fill="white"/>', *panels, "</svg>"]) + "\n"


def _panel(label: str, rows: Sequence[int], values: Sequence[float], top: int) -> Iterator[str]:
    """One diagram, 200 high and 540 wide."""
    low, high = floor(log10(min(values))), ceil(log10(max(values)))

    def point(size: float, value: float) -> tuple[float, float]:
        across = log10(size / rows[0]) / log10(rows[-1] / rows[0])
        return 70 + 540 * across, top + 200 * (high - log10(value)) / (high - low)

    def line(points: Iterable[tuple[float, float]], style: str) -> str:
        return f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" fill="none" {style}/>'

    points = [point(size, value) for size, value in zip(rows, values, strict=True)]
    yield f'<text x="70" y="{top - 10}">{label}</text>'
    for power in range(low, high + 1):
        _, y = point(rows[0], 10.0**power)
        yield line([(70, y), (610, y)], 'stroke="#ddd"')
        yield f'<text x="62" y="{y + 4:.1f}" text-anchor="end">{10.0**power:,g}</text>'
    each = values[-1] / rows[-1]
    begin = max(rows[0], 10.0**low / each)
    yield line([point(begin, begin * each), points[-1]], 'stroke="#888" stroke-dasharray="5 4"')
    yield line(points, 'stroke="#1565c0" stroke-width="2"')
    for size, (x, y) in zip(rows, points, strict=True):
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#1565c0"/>'
        yield f'<text x="{x:.1f}" y="{top + 220}" text-anchor="middle">{size:,} rows</text>'


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--pieces", type=int, default=2, help="of 300 to 950 characters, that a text is of")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--plot", type=Path, help="SVG to write")
    parser.add_argument("--limit", type=float, metavar="GIB", help="address space of a run; none by default")
    parser.add_argument("--texts", type=Path, default=CACHE / "texts", help="folder for the inputs")
    options = parser.parse_args(arguments)
    sizes, assay = sorted(options.sizes), SYSTEMS["assay"]
    most, rows_of_file = sizes[-1], gcd(10_000, *sizes)
    named = f"mutated-{most}" if options.pieces == 2 else f"mutated-{most}-{options.pieces}"
    given_texts = texts.mutated(pieces=options.pieces)
    every = texts.write(given_texts, most, options.texts / named, rows_of_file=rows_of_file)
    runs: dict[int, list[Run]] = {size: [] for size in sizes}
    kept: dict[int, int] = {}
    with tempfile.TemporaryDirectory(prefix="growth-") as scratch:
        sources = {size: link_beginning(every, size, Path(scratch) / f"texts-{size}") for size in sizes}
        given = {size: texts.describe(source) for size, source in sources.items()}

        def measure(size: int) -> Run:
            folder = Path(scratch) / "run"
            folder.mkdir()
            command = assay.command(Path(sys.executable), sources[size], folder, options.processes)
            done = run([*limited(options.limit), *command], assay.variables)
            kept[size] = len(kept_rows(folder))
            shutil.rmtree(folder)
            return done

        measure(sizes[0])  # kernels are compiled now
        for _ in range(options.repeats):
            for size in sizes:
                runs[size].append(measure(size))
                print(f"{size:,} rows: {runs[size][-1].seconds:.2f} s", flush=True)

    seconds = [median(each.seconds for each in runs[size]) for size in sizes]
    mib = [max(each.peak_mib for each in runs[size]) for size in sizes]
    rows = []
    for size, middle, peak in zip(sizes, seconds, mib, strict=True):
        each_run = " ".join(f"{each.seconds:.2f}" for each in runs[size])
        megabytes = given[size]["bytes"] / 1e6
        processor = median(each.processor for each in runs[size])
        rows.append(
            [
                *(f"{size:,}", f"{megabytes:,.0f}", each_run, middle, megabytes / middle, f"{peak:,.0f}", kept[size]),
                *(f"{size / processor:,.0f}", f"{peak * 2**20 / size:,.0f}"),
            ]
        )
    show(
        "Growth",
        ["rows", "MB", "seconds, each run", "median", "MB/s", "peak MiB", "rows out", "rows/core-s", "bytes/row"],
        rows,
    )
    profiles = [json.loads(runs[size][-1].output.splitlines()[-1]) for size in sizes]
    steps = [[name, *(profile.get(name, 0.0) for profile in profiles)] for name in profiles[-1]]
    show("Seconds by step, last run", ["", *(f"{size:,}" for size in sizes)], steps)
    decade = [index for index, size in enumerate(sizes) if size * 10 >= most]
    exponents = {
        "all": exponent(sizes, seconds),
        "last_decade": exponent([sizes[index] for index in decade], [seconds[index] for index in decade]),
    }
    print(f"Exponent of time: {exponents['all']:.3f}, over the last decade {exponents['last_decade']:.3f}.")
    if options.plot:
        options.plot.write_text(plot(sizes, seconds, mib))
    inputs = {str(size): each for size, each in given.items()}
    print(result("growth", inputs, {str(size): each for size, each in runs.items()}, exponents=exponents))


if __name__ == "__main__":
    main()
