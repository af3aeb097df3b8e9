"""Drops that arrive: what the watcher tells of, and a deployment that curates them, on a real server."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import FlowRun
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger

from curate.arrival import superseded
from curate.errors import AssayError
from curate.store import Store
from flows.clean_up import clean_up
from flows.curation import curation
from flows.events import ARRIVED, PUBLISHED, REFUSED, WHY
from flows.pipeline import pipeline
from flows.watcher import watcher
from tests.flows.failing import with_failing_gate
from tests.project import Project, make_rows

pytestmark = pytest.mark.usefixtures("prefect_server")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    changes = {"drop_is": "delivery", "drop": "inbox", "arrival": {"marker": "_SUCCESS"}}
    made = Project(tmp_path, fit={"model": str(tmp_path / "tokenizer"), "max_tokens": 150}, **changes)
    (tmp_path / "inbox").mkdir()
    return made


def deliver(project: Project, name: str, rows: list[dict[str, Any]]) -> Path:
    project.drop = project.folder / "inbox" / name
    project.add("rows.jsonl", rows)
    return project.drop


def wait_for(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 120
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def events(folder: Path, names: list[str]) -> list[dict[str, Any]]:
    """Those of a project that the server knows, the oldest first."""
    wanted = {"filter": {"event": {"name": names}, "order": "ASC"}, "limit": 50}
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/events/filter", json=wanted).json()["events"]
    return [each for each in found if str(folder) in str(each["payload"])]


def test_a_drop_that_arrives_is_curated_once(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    (spec,) = (trigger for each in declared for trigger in each.get("triggers", []))
    made = RunnerDeployment.from_flow(
        curation,
        name="on-arrival",
        triggers=[DeploymentEventTrigger(**spec)],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    deployment = made.apply()
    recipe, store = str(project.recipe_path), str(project.folder / "store")

    def runs() -> list[FlowRun]:
        of = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]))
        with get_client(sync_client=True) as client:
            return client.read_flow_runs(flow_run_filter=of)

    place = deliver(project, "monday", make_rows(60))
    with caplog.at_level(logging.INFO, logger="prefect.flow_runs"):
        assert [each.state for each in watcher(recipe, store)] == ["waiting"]
        (place / "_SUCCESS").touch()
        (found,) = watcher(recipe, store)
        assert [each.due for each in watcher(recipe, store)] == [False]
    said = [record.getMessage() for record in caplog.records]
    assert f"{place}: waiting, its marker _SUCCESS is not there" in said
    assert f"{place}: arrived, whole" in said
    (run,) = wait_for(runs)
    told = {"recipe": recipe, "store": store, "drop": str(place), "variant": None, "digest": found.drop}
    assert run.parameters == told
    curation(**run.parameters)  # by a worker: tests/flows/test_serve.py
    assert [(each.state, each.due) for each in watcher(recipe, store)] == [("known", False)]
    (arrived,) = wait_for(lambda: events(project.folder, [ARRIVED]))
    assert arrived["resource"]["prefect.resource.id"] == f"assay.drop.demo.{found.drop}"


def test_what_is_refused_and_what_is_published_is_told(project: Project) -> None:
    recipe, store = str(project.recipe_path), str(project.folder / "store")
    first = deliver(project, "monday", make_rows(40))
    curated = curation(recipe, store, drop=str(first))
    curation(recipe, store, drop=str(first))
    other = [{"body": row["text"], "colour": row["colour"], "count": row["count"]} for row in make_rows(9, seed=1)]
    second = deliver(project, "tuesday", other)
    with pytest.raises(AssayError, match="Columns have changed"):
        curation(recipe, store, drop=str(second))
    third = deliver(project, "wednesday", make_rows(40, seed=2))
    with_failing_gate(project)
    with pytest.raises(AssayError, match="enough_rows"):
        curation(recipe, store, drop=str(third))

    published, columns, gate = wait_for(lambda: len(each := events(project.folder, [PUBLISHED, REFUSED])) >= 3 and each)
    assert published["event"] == PUBLISHED
    version = curated.folder.name
    assert published["resource"]["prefect.resource.id"] == f"assay.version.datasets.demo.{version}"
    assert published["payload"] == {
        "kind": "datasets",
        "name": "demo",
        "version": version,
        "folder": str(curated.folder),
    }
    assert [each["event"] for each in (columns, gate)] == [REFUSED] * 2
    assert [(each["payload"]["why"], each["payload"]["drop"]) for each in (columns, gate)] == [
        ("columns", str(second)),
        ("gate", str(third)),
    ]
    assert "enough_rows" in gate["payload"]["message"]


def test_a_drop_that_cannot_be_read_is_told_of_once(project: Project) -> None:
    recipe, store = str(project.recipe_path), str(project.folder / "store")
    place = deliver(project, "monday", make_rows(9))
    (place / "rows.jsonl").rename(place / "rows.csv")
    (place / "_SUCCESS").touch()
    for due in (True, False):
        (found,) = watcher(recipe, store)
        assert (found.state, found.due) == ("unreadable", due)
    (place / "rows.csv").rename(place / "rows.jsonl")
    (arrived,) = watcher(recipe, store)
    assert arrived.due
    told, _ = wait_for(lambda: len(each := events(project.folder, [REFUSED, ARRIVED])) >= 2 and each)
    assert told["event"] == REFUSED
    assert told["resource"]["prefect.resource.id"] == f"assay.drop.demo.{found.drop}"
    assert (told["resource"][WHY], told["payload"]["why"]) == ("unreadable", "unreadable")
    assert (told["payload"]["drop"], told["payload"]["message"]) == (str(place), found.why)


def test_a_run_that_waited_while_a_later_drop_was_published_gives_nothing(project: Project) -> None:
    recipe, place = str(project.recipe_path), project.folder / "store"
    store, again = Store(place), {"drop": str(project.folder), "digest": "b"}
    for version, drop in (("one", "b"), ("two", "c")):
        store.record({"event": "datasets", "name": "demo", "version": version, "drop": drop})
        assert superseded(store, "demo", drop) is None, "a run that is started again goes on"
    assert superseded(store, "demo", "b") == "one"
    assert superseded(store, "demo", "new") is None
    for flow in (pipeline, curation):
        assert flow(recipe, str(place), **again) is None


def test_the_clean_up_removes_what_gc_tells_of(project: Project) -> None:
    store = project.folder / "store"
    draft = store / "datasets/demo/.draft-dead"
    draft.mkdir(parents=True)
    (draft / "half").write_bytes(b"0123456789")
    assert clean_up(str(store)) == 10
    assert not draft.exists()
    assert clean_up(str(store)) == 0
    with pytest.raises(AssayError, match="a store is a folder"):
        clean_up.fn("https://host/store")
