"""What is left of a run whose processes were killed, and what the next one makes of it: by a real server and worker."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from curate.cache import SEAL
from curate.store import Store
from flows import automations
from tests.flows.killed import assert_whole, held_up, kill
from tests.flows.served import Served, wait
from tests.project import Project, make_rows

STAGES = ["read", "clean", "language", "quality", "pii", "decontaminate", "validate", "render", "fit", "duplicates"]

pytestmark = pytest.mark.slow


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
    wait(begun(store, 6))
    kill(served, run, {"flow"})
    ended = served.ended(run)
    assert ended.state is not None
    assert ended.state.is_crashed()
    assert served.slots(deployment) == 0
    assert_whole(store)
    found = assert_goes_on(served, project, store, undisturbed)
    hits = [stage for stage in STAGES if found[stage] == "1 of 1"]
    assert len(hits) >= 3
    assert hits == STAGES[: len(hits)]


def test_a_run_outlives_its_worker_its_server_and_its_shards(
    served: Served, project: Project, undisturbed: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    deployment = served.deploy("curation")
    with held_up(store):
        run = served.run(deployment, **of(project, store))
        wait(begun(store, 1))
        kill(served, run, {"worker", "server", "shard"})
        served.restart()
        assert served.slots(deployment) == 1
        state = served.read(run).state
        assert state is not None
        lease = state.state_details.deployment_concurrency_lease_id
        assert lease is not None
        with served.client() as client:
            client.renew_concurrency_lease(lease, 300)  # as the run does, and ends where that fails
    ended = served.ended(run)
    assert ended.state is not None
    assert ended.state.is_completed(), ended.state
    assert [path.name for path in Store(store).versions("datasets", "demo")] == [undisturbed]
    assert served.slots(deployment) == 0
    assert_whole(store)


def test_the_automations_are_there_once(served: Served) -> None:
    with served.client() as client:
        before = client.read_automations()
        automations.apply()
        assert [(kept.id, kept.name, kept.trigger) for kept in client.read_automations()] == [
            (kept.id, kept.name, kept.trigger) for kept in before
        ]
    assert {kept.name for kept in before} >= {each.name for each in automations.automations()}


def test_a_run_killed_with_its_worker_is_not_called_running_for_long(
    served: Served, project: Project, undisturbed: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    deployment = served.deploy("curation")
    run = served.run(deployment, **of(project, store))
    wait(begun(store, 3))
    kill(served, run, {"worker", "flow"})
    killed = datetime.now(UTC)
    ended = served.ended(run)
    served.restart()
    assert ended.state is not None
    assert ended.state.is_crashed()
    assert str(ended.state.message).startswith("The run's process and its worker were killed")
    assert ended.state.timestamp - killed < timedelta(minutes=2)
    assert served.slots(deployment) == 0
    assert_goes_on(served, project, store, undisturbed)
