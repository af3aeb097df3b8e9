"""A pipeline, from drop to scorecard, that is killed, starved of space or crossed by another.

By a real server and worker: nothing is half-published, the next run goes on where this one was, no run is called
running that is not, no slot is kept and no lock is held.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.schemas.objects import StateType

from curate.cache import SEAL
from curate.store import MANIFEST
from flows import automations
from tests.disks import disk, fill
from tests.flows.killed import VICTIMS, assert_clean, assert_whole, held_up, kill
from tests.flows.served import Served, process_of, wait
from tests.project import Project
from tests.tiny import small_project
from train.checkpoints import PREFIX, step_of

KINDS = ("datasets", "adapters", "scorecards")
STEPS = 8
"""Of training."""
PAGE = 4096
PATIENCE = 800
"""Seconds that a busy machine may take to a whole pipeline."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * PATIENCE)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return small_project(tmp_path_factory.mktemp("project"), {"epochs": 2, "save_steps": 1}, {})


def published(store: Path) -> dict[str, list[str]]:
    return {kind: sorted(path.parent.name for path in store.glob(f"{kind}/demo/*/{MANIFEST}")) for kind in KINDS}


def work_done(store: Path) -> int:
    """How far the pipeline has come: entries of stages, steps that are kept, and what is published, counted."""
    stages = len(entries(store))
    there = published(store)
    return stages + (STEPS if there["adapters"] else last_step(store)) + sum(map(len, there.values()))


@dataclass(frozen=True)
class Undisturbed:
    """What a run does that nothing comes across."""

    published: dict[str, list[str]]
    work: int
    """See `work_done`."""
    size: int
    """Bytes that the store takes on a disk."""


@pytest.fixture(scope="module")
def undisturbed(served: Served, project: Project) -> Undisturbed:
    store = project.folder / "undisturbed"
    completed(served, served.run(served.deploy("pipeline"), **of(project, store)))
    sizes = {(stat := path.stat()).st_ino: stat.st_size for path in store.rglob("*") if path.is_file()}
    size = sum(-(-each // PAGE) * PAGE for each in sizes.values())
    found = published(store)
    assert [len(each) for each in found.values()] == [1, 1, 1]
    return Undisturbed(found, work_done(store), size)


def of(project: Project, store: Path) -> dict[str, object]:
    """Parameters of a pipeline."""
    return {"recipe": str(project.recipe_path), "store": str(store), "workers": 1}


def in_state(served: Served, run: UUID, state: StateType) -> bool:
    return (now := served.read(run).state) is not None and now.type == state


def completed(served: Served, run: UUID) -> None:
    ended = served.ended(run, PATIENCE)
    assert ended.state is not None
    assert ended.state.is_completed(), ended.state


def entries(store: Path) -> dict[Path, int]:
    """The entries of stages, each with the file that is its seal: an entry that is made anew has another."""
    return {path: path.stat().st_ino for path in store.glob(f"cache/stages/*/*/{SEAL}")}


def last_step(store: Path) -> int:
    """Of training, of those that are kept."""
    return max(map(step_of, store.glob(f"cache/training/*/{PREFIX}*")), default=0)


def assert_goes_on(served: Served, project: Project, store: Path, expected: Undisturbed) -> str:
    """A new run publishes what an undisturbed one does, and does nothing again that is done; gives what it found."""
    there, before, step = published(store), entries(store), last_step(store)
    deployment = served.deploy("pipeline")
    run = served.run(deployment, **of(project, store))
    completed(served, run)
    assert published(store) == expected.published
    assert served.slots(deployment) == 0
    assert_whole(store)
    assert_clean(store)
    assert before.items() <= entries(store).items()
    trained = next(line for line in served.said(run) if line.startswith("train"))
    if there["adapters"]:
        assert trained.startswith("train (found in the store)")
    elif step:
        assert trained.startswith(f"train (goes on after step {step} of {STEPS})")
    cached = [told.split() for told in served.shards_from_cache(run).values() if told]
    hits = sum(hit == total for hit, _, total in cached)
    return f"{len(before)} entries, {hits} of {len(cached)} stages; {' '.join(trained.split('  ')[0].split())}"


@pytest.mark.parametrize("seed", range(10))
def test_killed_at_any_moment(
    seed: int,
    served: Served,
    project: Project,
    undisturbed: Undisturbed,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Any of the processes, alone or together, at any moment of a run."""
    draw = random.Random(seed)
    store = tmp_path / "store"
    curation = undisturbed.work - STEPS - 3
    moment, rest = draw.randrange(undisturbed.work), draw.random() / 2
    among = [victim for victim in VICTIMS if victim != "shard" or moment < curation - 2]
    victims = set(draw.sample(among, draw.randint(1, len(among))))
    deployment = served.deploy("pipeline")
    run = served.run(deployment, **of(project, store))
    wait(lambda: work_done(store) >= moment and in_state(served, run, StateType.RUNNING), PATIENCE, 0.02)
    time.sleep(rest)
    before = work_done(store)
    killed = datetime.now(UTC)
    kill(served, run, victims)
    served.restart()
    ended = served.ended(run, PATIENCE)
    assert ended.state is not None
    if "flow" in victims:
        assert ended.state.is_crashed(), ended.state
        assert ended.state.timestamp - killed < timedelta(minutes=2)
    else:
        assert ended.state.is_completed(), ended.state
    assert served.slots(deployment) == 0
    assert_whole(store)
    there = published(store)
    assert all({*there[kind]} <= {*undisturbed.published[kind]} for kind in KINDS)
    after = (ended.state.timestamp - killed).total_seconds()
    found = assert_goes_on(served, project, store, undisturbed)
    record_property(
        "outcome",
        f"{moment} of {undisturbed.work} ({before}) | {sorted(victims)} | {ended.state.name} {after:.0f} s | {found}",
    )


def test_two_runs_at_once(served: Served, project: Project, undisturbed: Undisturbed, tmp_path: Path) -> None:
    store = tmp_path / "store"
    deployments = [served.deploy("pipeline") for _ in range(2)]
    runs = [served.run(each, **of(project, store)) for each in deployments]
    for run in runs:
        completed(served, run)
    assert published(store) == undisturbed.published
    assert [served.slots(each) for each in deployments] == [0, 0]
    assert_whole(store)
    assert_clean(store)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_a_full_disk(share: float, served: Served, project: Project, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """It is full when that share of what a run writes is written."""
    with disk(tmp_path / "disk", 64) as folder:
        store = folder / "store"
        fill(folder, int(share * undisturbed.size))
        deployment = served.deploy("pipeline")
        ended = served.ended(served.run(deployment, **of(project, store)), PATIENCE)
        assert ended.state is not None
        assert ended.state.is_failed(), ended.state
        assert "No space left on device" in str(ended.state.message)
        assert "run the same command again" in str(ended.state.message)
        assert served.slots(deployment) == 0
        (folder / "ballast").unlink()
        assert_whole(store)
        assert_goes_on(served, project, store, undisturbed)


def test_a_run_outlives_its_server_by_more_than_its_lease(
    served: Served, project: Project, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """A run renews the lease of its slot after 225 seconds, at a server that has not given it."""
    deployment = served.deploy("pipeline")
    with held_up(tmp_path / "store"):
        run = served.run(deployment, **of(project, tmp_path / "store"))
        wait(lambda: any("wait for process" in line for line in served.said(run)), PATIENCE, 1)
        served.kill("server")
        served.restart()
        assert served.slots(deployment) == 1
        time.sleep(240)
        assert in_state(served, run, StateType.RUNNING)
    completed(served, run)
    assert published(tmp_path / "store") == undisturbed.published
    assert served.slots(deployment) == 0
    assert_whole(tmp_path / "store")


def test_a_run_that_is_killed_before_it_begins(
    served: Served, project: Project, undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = served.deploy("pipeline")
    with served.client():
        monkeypatch.setattr(automations, "START", timedelta(seconds=30))
        automations.apply()
    run = served.run(deployment, **of(project, tmp_path / "store"))
    wait(lambda: process_of(run), pause=0.01)
    kill(served, run, {"flow", "worker"})
    assert in_state(served, run, StateType.PENDING)
    assert served.slots(deployment) == 1
    ended = served.ended(run, PATIENCE)
    served.restart()
    with served.client():
        monkeypatch.undo()
        automations.apply()
    assert ended.state is not None
    assert ended.state.is_crashed()
    assert str(ended.state.message).startswith("The worker that claimed the run has not begun it")
    assert served.slots(deployment) == 0
    assert_goes_on(served, project, tmp_path / "store", undisturbed)
