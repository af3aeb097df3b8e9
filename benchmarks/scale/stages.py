"""What each stage of a whole curation takes per row: processor time, how much of it by shards, and bytes of the store.

The rows and the recipe are those of `benchmarks.whole`. All is done by one process, and its processor time is counted,
that of its threads too: other work on the machine hardly changes it.

    python -m benchmarks.scale.stages ../shared/data --rows 100000
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

from benchmarks import texts, whole
from benchmarks.measure import CACHE, show
from curate.account import Account
from curate.arrow import do_without_pandas
from curate.engine import Result, TaskT, map_in_process
from curate.pipeline import curate
from curate.publish import version
from curate.recipe import Recipe
from curate.sets.index import Index
from curate.store import Store
from train.base_model import prepare_tokenizer

Returned = TypeVar("Returned")


class Meter:
    """Counts processor time where an `Account` would count wall time, and what the store has grown by."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.seconds: dict[str, float] = {}
        self.shared: dict[str, float] = {}
        """Of the seconds, those that any worker could have done: work on shards."""
        self.bytes: dict[str, int] = {}
        """What is there when the stage ends; some of it leaves the store with the run (ASSAY_KEEP)."""
        self._timed: list[str] = []
        self._beside: list[tuple[str, str, float]] = []

    def map_shards(self, what: str, function: Callable[[TaskT], Result], tasks: Sequence[TaskT], /) -> list[Result]:
        begin = time.process_time()
        results = map_in_process(what, function, tasks)
        taken = time.process_time() - begin
        if self._timed:
            self.shared[self._timed[-1]] = self.shared.get(self._timed[-1], 0.0) + taken
        else:
            self._passed(tasks, results, taken)
        return results

    def _passed(self, tasks: Sequence[Any], results: Sequence[Any], taken: float) -> None:
        """Deal what a pass over shards took to its stages, by what each said of itself."""
        told = [sum(each[at][1] for each in results) for at in range(len(tasks[0].stages))]
        for at, stage in enumerate(tasks[0].stages):
            self.shared[stage.name] = self.seconds[stage.name] = taken * told[at] / sum(told)
            self.bytes[stage.name] = sum(stored(each[at][0].folder) for each in results)

    def beside(self, stage: str, function: Callable[..., Returned]) -> Callable[..., Returned]:
        """A function that a thread runs while work on shards is done: it is counted as alone, of that stage."""

        def metered(*given: Any) -> Returned:
            begin = time.thread_time()
            try:
                return function(*given)
            finally:
                self._beside.append((self._timed[-1], stage, time.thread_time() - begin))

        return metered

    def counted(self) -> None:
        """Take what was done beside a stage, and its shards if it had any, out of what was counted meanwhile."""
        for meanwhile, stage, seconds in self._beside:
            if meanwhile in self.shared:
                self.shared[meanwhile] -= seconds
            self.seconds[meanwhile] -= seconds
            self.seconds[stage] += seconds

    @contextmanager
    def timed(self, _: Account, stage: str) -> Iterator[None]:
        """As `Account.timed`: what is counted as another stage's meanwhile is left out."""
        begin, others = time.process_time(), sum(self.seconds.values())
        grown = stored(self.store) - sum(self.bytes.values())
        self._timed.append(stage)
        yield
        self._timed.pop()
        taken = time.process_time() - begin - (sum(self.seconds.values()) - others)
        self.seconds[stage] = self.seconds.get(stage, 0.0) + taken
        self.bytes[stage] = self.bytes.get(stage, 0) + stored(self.store) - sum(self.bytes.values()) - grown


def stored(folder: Path) -> int:
    """Bytes of the files in a folder, each once however many names it has."""
    found = {status.st_ino: status.st_size for path in folder.rglob("*") if path.is_file() and (status := path.stat())}
    return sum(found.values())


def curated(recipe: Path, drop: Path, store: Path) -> tuple[Meter, dict[str, Any]]:
    """A whole curation into a fresh store, and the counts of its manifest."""
    given = Recipe.load(recipe).model_copy(update={"drop": str(drop)})
    kept = Store(store)
    tokenizer = prepare_tokenizer(given.fit.model, kept.cache)
    meter = Meter(store)
    with (
        patch.object(Account, "timed", lambda account, stage: meter.timed(account, stage)),
        patch.object(version, "_judge", meter.beside("gate", version._judge)),
        patch.object(version, "rejected_of", meter.beside("publish", version.rejected_of)),
        patch.object(Index, "make_ready", lambda *_: None),  # it is made afterwards, where it can be counted by itself
    ):
        done = curate(given, kept, tokenizer_folder=tokenizer, map_shards=meter.map_shards)
    meter.counted()
    return meter, done.manifest.counts.model_dump()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale.stages", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("data", type=Path, help="folder that holds legal_cuad")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for the inputs")
    options = parser.parse_args(arguments)
    do_without_pandas()
    given = texts.mutated(0, texts.prose(options.data))
    source = texts.write_instructions(
        given, options.rows, options.cache / "texts" / f"instructions-prose-{options.rows}"
    )
    with tempfile.TemporaryDirectory(prefix="stages-", dir=options.cache) as folder:
        scratch = Path(folder)
        recipe = whole.recipe(scratch / "recipe")
        curated(recipe, whole.drop(source, min(2_000, options.rows), scratch / "small"), scratch / "kernels")
        meter, counts = curated(recipe, source, scratch / "store")
        drop = whole.size_of(source)
    report(options.rows, drop, meter, counts)


def report(rows: int, drop: int, meter: Meter, counts: dict[str, Any]) -> None:
    """Print the table and the result."""
    lines = [
        [name, 1e6 * each / rows, 1e6 * meter.shared.get(name, 0.0) / rows, meter.bytes[name] / rows]
        for name, each in meter.seconds.items()
    ]
    total = ["all", *(sum(line[at] for line in lines) for at in (1, 2, 3))]
    columns = ["", "processor µs a row", "of these by shards", "bytes stored a row"]
    show(f"{rows:,} rows of {drop / rows:,.0f} bytes", columns, [*lines, total])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{counts['kept']:,} rows kept. Peak {peak:,.0f} MiB.")
    of_stages = {
        name: {"us": round(us, 2), "shared_us": round(shared, 2), "bytes": round(size, 1)}
        for name, us, shared, size in lines
    }
    result = {"name": "stages", "rows": rows, "drop_bytes": drop, "kept": counts["kept"], "stages": of_stages}
    print(json.dumps(result | {"peak_mib": round(peak, 1)}))


if __name__ == "__main__":
    main()
