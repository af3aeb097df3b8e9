"""What 100 million and a billion rows would take, from what was measured: bytes, core-hours, wall time and money.

Everything is a product of a measured figure per row and the number of rows; prices are assumptions. Given the last
lines of `benchmarks.scale` and of `benchmarks.scale.stages`, it prints the tables of docs/scale.md.

    python -m benchmarks.scale.reckoning scale.json stages.json --vcpu-hour 0.04 --gb-month 0.023
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.scale.__main__ import BESIDE

ROWS = (100_000_000, 1_000_000_000)
VCPUS = (16, 64, 256)
MET = ("prompts", "bands", "crowded rows", "compare", "splits")
"""Steps of the simulation that many workers share, instead of what one process does today of JUDGED."""
JUDGED = ("duplicates", "split")
PAIR = 8
"""Bytes of a pair that is proposed."""
VCPUS_OF_MACHINE, BYTES_A_SECOND = 16, 1.25e9
"""Assumed: a machine of 16 vCPU sends and receives 10 Gbit/s."""


@dataclass(frozen=True)
class Measured:
    """What was measured, per row."""

    stages: dict[str, dict[str, float]]
    """By stage of a whole curation: `us` of one core, `shared_us` of these by shards, `bytes` that it leaves in the
    store."""
    drop: float
    """Bytes of the raw files."""
    kept: float
    """Share of the rows."""
    steps: dict[str, float]
    """Microseconds by step of the simulation, all workers together, at its most rows and fewest workers."""
    moved: dict[str, float]
    """Bytes by kind of message of the plan, however many machines: were every row on another one than what it meets,
    every pair on two of its own, and every band on another."""

    @staticmethod
    def read(scale: dict[str, Any], stages: dict[str, Any]) -> "Measured":
        runs = sorted(scale["runs"], key=lambda run: (run["rows"], run["workers"]))
        few, many = next(run for run in runs if run["rows"] == runs[-1]["rows"]), runs[-1]
        moved = {kind: each["with_stayed"] for kind, each in many["bytes_a_row"].items() if not kind.startswith(BESIDE)}
        counted, rows = many["per_row"], stages["rows"]
        moved["texts"] *= counted["pairs proposed"] / counted["rows that travel"]
        moved["pairs proposed"] = PAIR * counted["pairs proposed, by each band anew"]
        return Measured(
            stages=stages["stages"],
            drop=stages["drop_bytes"] / rows,
            kept=stages["kept"] / rows,
            steps=few["processor_us_a_row"],
            moved=moved,
        )

    def alone(self) -> dict[str, float]:
        """Microseconds a row that one process takes today, whatever there is of machines."""
        return {name: each["us"] - each["shared_us"] for name, each in self.stages.items()}

    def shared(self) -> float:
        """Microseconds a row that workers share today."""
        return sum(each["shared_us"] for each in self.stages.values())

    def planned(self) -> float:
        """Microseconds a row that workers share by the plan: all but what the one place does."""
        others = sum(each for name, each in self.alone().items() if name not in JUDGED)
        return self.shared() + others + sum(self.steps[step] for step in MET)


def wall(rows: int, parallel: float, serial: float, moved: float, vcpus: int) -> float:
    """Hours: what is shared, what is not, and what goes over the network, one after the other."""
    network = moved / (vcpus / VCPUS_OF_MACHINE * BYTES_A_SECOND) if vcpus > VCPUS_OF_MACHINE else 0.0
    return rows * (parallel * 1e-6 / vcpus + serial * 1e-6 + network) / 3600


def table(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """Markdown."""
    rows = [columns, ["---"] * len(columns), *lines]
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in rows)


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def of_stages(found: Measured) -> str:
    """Per row, and for all rows."""
    lines = []
    for name, each in found.stages.items():
        if each["us"] >= 1 or each["bytes"] >= 1:
            hours = [each["us"] * rows / 3.6e9 for rows in ROWS]
            stored = [each["bytes"] * rows / 1e9 for rows in ROWS]
            lines.append([name, each["us"], each["us"] - each["shared_us"], *hours, each["bytes"], *stored])
    sums = [sum(line[at] for line in lines) for at in range(1, 8)]
    columns = ["stage", "µs", "of these alone", "core-hours, 100 M", "1 B", "bytes stored", "GB, 100 M", "1 B"]
    return table(columns, [*lines, ["all", *sums]])


def of_walls(found: Measured) -> str:
    """Hours today and by the plan, by vCPUs."""
    moved = sum(found.moved.values())
    alone, place = sum(found.alone().values()), found.steps["one place"]
    lines = []
    for rows in ROWS:
        lines += [
            [f"{rows / 1e6:,.0f} M, today", *(wall(rows, found.shared(), alone, 0, vcpus) for vcpus in VCPUS)],
            [
                f"{rows / 1e6:,.0f} M, by the plan",
                *(wall(rows, found.planned(), place, moved, vcpus) for vcpus in VCPUS),
            ],
        ]
    return table(["hours of wall time", *(f"{vcpus} vCPU" for vcpus in VCPUS)], lines)


def of_money(found: Measured, vcpu_hour: float, gb_month: float) -> str:
    """Quantities, and what they cost at the prices assumed."""
    core = sum(each["us"] for each in found.stages.values())
    # What rows were compared by leaves the cache with the run.
    cache = sum(each["bytes"] for name, each in found.stages.items() if name not in ("index", "publish", "duplicates"))
    kinds = [
        ("vCPU-hours of one curation", core / 3.6e9, vcpu_hour),
        ("GB of the drop, a month", found.drop / 1e9, gb_month),
        ("GB of the version, a month", found.stages["publish"]["bytes"] / 1e9, gb_month),
        ("GB of the index, a month", found.stages["index"]["bytes"] / 1e9, gb_month),
        ("GB of the cache, a week", cache / 1e9, gb_month / 4.35),
    ]
    lines = [
        [name, *(number for rows in ROWS for number in (each * rows, f"${each * rows * price:,.2f}"))]
        for name, each, price in kinds
    ]
    return table(["", "100 M", "", "1 B", ""], lines)


def of_messages(runs: Sequence[dict[str, Any]]) -> str:
    """Bytes a row by kind and run, with the largest over the mean of the last one."""
    names = [f"{run['rows'] / 1000:,.0f}k, {run['workers']}" for run in runs]
    lines = [
        [
            kind,
            *(round(run["bytes_a_row"][kind]["moved"], 1) for run in runs),
            f"{runs[-1]['bytes_a_row'][kind]['largest_over_mean']:.2f}",
        ]
        for kind in runs[-1]["bytes_a_row"]
    ]
    return table(["message", *names, "largest / mean"], lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale.reckoning", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("scale", type=Path, help="what `python -m benchmarks.scale` has printed")
    parser.add_argument("stages", type=Path, help="what `python -m benchmarks.scale.stages` has printed")
    parser.add_argument("--vcpu-hour", type=float, default=0.04, help="dollars")
    parser.add_argument("--gb-month", type=float, default=0.023, help="dollars")
    options = parser.parse_args(arguments)
    scale, stages = (json.loads(path.read_text().splitlines()[-1]) for path in (options.scale, options.stages))
    found = Measured.read(scale, stages)
    print(of_messages(scale["runs"]), of_stages(found), of_walls(found), sep="\n\n", end="\n\n")
    print(of_money(found, options.vcpu_hour, options.gb_month))
    print(f"\nMoved by the plan, bytes a row: {sum(found.moved.values()):,.0f}")


if __name__ == "__main__":
    main()
