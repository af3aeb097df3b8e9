"""What an engine gives, in a process of its own: `python -m tests.curate.on_engine ENGINE FOLDER` writes it as JSON."""

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from curate.engine import MapShards
from curate.engines import engine
from curate.errors import AssayError
from curate.store import Store
from tests.attacks.lethal import ENDS, LETHAL, harmed
from tests.curate.naps import Sleep, Trap, end_host, nap, refuse
from tests.curate.test_unharmed import lighten
from tests.project import Project, make_rows


def lethal_project(folder: Path) -> Project:
    """Rows of all kinds, with one that ends its worker at `clean`."""
    project = Project(folder)
    for number in range(3):
        project.add(f"{number}.jsonl", make_rows(30, number))
    project.add("lethal.jsonl", [*make_rows(5, 4), {"text": LETHAL, "colour": "red", "count": 3}, *make_rows(5, 5)])
    return project


def published(project: Project, map_shards: MapShards) -> None:
    """Curate it in small shards, on an engine."""

    def lethal(name: str, function: Any, tasks: Any, /) -> list[Any]:
        return map_shards(name, partial(harmed, "clean", ENDS["segfault"][0], name, function), tasks)

    project.curate(map_shards=lethal, shard_bytes=2000)


def facts(name: str, folder: Path) -> dict[str, Any]:
    told: list[tuple[Any, ...]] = []
    with engine(name, 2, Store(folder / "store"), lambda *call: told.append(call)) as map_shards:
        naps = map_shards("naps", nap, [Sleep(1, 0.6), Sleep(2, 0), Sleep(3, 0)])
        done = {"naps": naps, "told": list(told), "driver": os.getpid()}
        done["traps"] = map_shards("traps", end_host, [Trap(size, folder / "sprung") for size in range(1, 5)])
        try:
            map_shards("naps", refuse, [Sleep(1, 0), Sleep(2, 0)])
        except AssayError as error:
            done["refused"] = [error.message, error.remedy]
        published(lethal_project(folder / "project"), map_shards)
    return done


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        lighten(patch)
        sys.stdout.write(json.dumps(facts(sys.argv[1], Path(sys.argv[2]))))
