"""What is left of a run whose processes were killed, and what the next one makes of it: by a real server and worker."""

import os
import signal
from collections.abc import Callable
from fcntl import LOCK_NB
from pathlib import Path

import pytest
from typer.testing import CliRunner

from assay.cli import app
from curate.cache import SEAL
from curate.drafts import locked
from curate.store import Store
from tests.flows.served import Served, process_of, shard_process_of, wait
from tests.project import Project, make_rows

STAGES = ["read", "clean", "language", "quality", "pii", "decontaminate", "validate", "render", "fit", "duplicates"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("project")
    made = Project(folder, fit={"model": str(folder / "tokenizer"), "max_tokens": 150})
    made.add("rows.jsonl", make_rows(240))
    return made


@pytest.fixture(scope="module")
def undisturbed(project: Project) -> str:
    """The version that an undisturbed run publishes."""
    return project.curate("undisturbed").folder.name


def of(project: Project, store: Path) -> dict[str, object]:
    """Parameters of a curation."""
    return {"recipe": str(project.recipe_path), "store": str(store), "workers": 1}


def begun(store: Path, stages: int) -> Callable[[], bool]:
    """Whether a run has finished the work of so many stages."""
    return lambda: len(list(store.glob(f"cache/stages/*/*/{SEAL}"))) >= stages


def assert_whole(store: Path) -> None:
    """Everything that is published is whole, and nobody holds a lock."""
    checked = CliRunner().invoke(app, ["check", "--all", "--store", str(store)])
    assert checked.exit_code == 0, checked.output
    for folder, _, _ in os.walk(store):
        with locked(Path(folder), LOCK_NB):
            pass


def assert_goes_on(served: Served, project: Project, store: Path, version: str) -> dict[str, str]:
    """A new run publishes what an undisturbed one does; gives what it says that it found."""
    deployment = served.deploy("curation")
    run = served.run(deployment, **of(project, store))
    ended = served.ended(run)
    assert ended.state is not None
    assert ended.state.is_completed(), ended.state
    assert [path.name for path in Store(store).versions("datasets", "demo")] == [version]
    assert served.slots(deployment) == 0
    assert_whole(store)
    return served.shards_from_cache(run)


def test_a_killed_run_has_crashed_and_the_next_one_goes_on(
    served: Served, project: Project, undisturbed: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    deployment = served.deploy("curation")
    run = served.run(deployment, **of(project, store))
    wait(begun(store, 4))
    os.kill(process_of(run), signal.SIGKILL)
    ended = served.ended(run)
    assert ended.state is not None
    assert ended.state.is_crashed()
    assert served.slots(deployment) == 0
    assert_whole(store)
    found = assert_goes_on(served, project, store, undisturbed)
    hits = [stage for stage in STAGES if found[stage] == "1 of 1"]
    assert len(hits) >= 3
    assert hits == STAGES[: len(hits)]


def test_a_run_outlives_its_worker_and_its_shards(
    served: Served, project: Project, undisturbed: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    deployment = served.deploy("curation")
    run = served.run(deployment, **of(project, store))
    wait(begun(store, 1))
    served.kill("worker")
    os.kill(shard_process_of(run), signal.SIGKILL)
    ended = served.ended(run)
    served.restart()
    assert ended.state is not None
    assert ended.state.is_completed(), ended.state
    assert [path.name for path in Store(store).versions("datasets", "demo")] == [undisturbed]
    assert served.slots(deployment) == 0
    assert_whole(store)
