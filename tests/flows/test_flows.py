"""The flows against a real Prefect server: states, task runs, artifacts, and the same bytes as without Prefect."""

import json
import re
import shutil
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State, TaskRun
from typer.testing import CliRunner

from assay.cli import app
from assay.web import server
from curate.engine import map_in_process
from curate.errors import AssayError
from curate.progress import silent
from curate.publish.version import Curated
from curate.store import Store
from curate.workers import process_pool
from flows.artifacts import REPORTS_URL, report_link
from flows.curation import curation
from flows.run import report_to
from flows.tasks import as_tasks, is_transient
from tests.curate.naps import Sleep, Trap, die, spring
from tests.flows.failing import with_failing_gate
from tests.project import Project, make_rows

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("project")
    made = Project(folder, fit={"model": str(folder / "tokenizer"), "max_tokens": 150})
    made.add("rows.jsonl", make_rows(240))
    return made


@pytest.fixture(scope="module")
def state(project: Project, prefect_server: None) -> "State[Curated]":
    """The final state of one curation."""
    final: State[Curated] = curation(str(project.recipe_path), str(project.folder / "flow-store"), return_state=True)
    return final


def run_id(state: "State[Any]") -> UUID:
    assert state.state_details.flow_run_id is not None
    return state.state_details.flow_run_id


def test_the_flow_publishes_the_same_version_as_the_package(state: "State[Curated]", project: Project) -> None:
    assert state.is_completed()
    curated = state.result()
    plain = project.curate("plain-store")
    assert curated.folder == project.folder / "flow-store/datasets/demo" / plain.folder.name
    assert (curated.folder / "manifest.json").read_bytes() == (plain.folder / "manifest.json").read_bytes()


def test_the_flow_takes_the_engine(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []

    def cluster(workers: int | None, *_: Any) -> Any:
        asked.append(workers)
        return nullcontext(map_in_process)

    monkeypatch.setattr("curate.engines.dask_cluster.dask_cluster", cluster)
    curated = curation(str(project.recipe_path), str(project.folder / "dask-store"), workers=3, engine="dask")
    assert asked == [3]
    assert curated.folder.name == project.curate("plain-store").folder.name


def test_a_rotten_cache_is_told_and_made_anew(state: "State[Curated]", project: Project, tmp_path: Path) -> None:
    first = state.result()
    store = shutil.copytree(project.folder / "flow-store", tmp_path / "store")
    path = min((store / "cache").rglob("summary.json"))
    path.write_bytes(path.read_bytes().replace(b'"rows":', b'"rowz":'))
    told: list[str] = []
    with report_to(lambda what, *_: told.append(what)):
        again = curation(str(project.recipe_path), str(store))
    assert again.folder.name == first.folder.name
    assert [line for line in told if line.startswith(f"{path.parent} is damaged (the bytes of summary.json")]


def task_runs(state: "State[Any]") -> list[TaskRun]:
    """The task runs that the server knows of a flow run; their last events may be on their way."""
    deadline = time.monotonic() + 60
    while True:
        with get_client(sync_client=True) as client:
            runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id(state)])))
        if runs and all(run.state is not None and run.state.is_final() for run in runs):
            return runs
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_the_server_knows_one_task_run_for_each_stage(state: "State[Curated]") -> None:
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(run_id(state))
    assert flow_run.name == f"curation demo drop {state.result().folder.name}"
    runs = task_runs(state)
    assert all(run.state is not None and run.state.is_completed() for run in runs)
    names = [run.name for run in runs]
    assert len(names) == len(set(names))
    assert {"tokenizer", "read", "clean to fit", "duplicates: keys", "duplicates", "split"} <= {*names}


def test_the_server_keeps_the_tables(state: "State[Curated]") -> None:
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id(state)]))
    with get_client(sync_client=True) as client:
        kept = {artifact.key: artifact for artifact in client.read_artifacts(artifact_filter=of_run)}
    assert set(kept) == {"demo-data-set", "demo-quarantine", "demo-stages"}
    counts = state.result().manifest.counts
    assert f"| rows in | {counts.rows_in} |" in str(kept["demo-data-set"].data)
    rows = json.loads(str(kept["demo-quarantine"].data))
    assert sum(int(row["rows"]) for row in rows) == counts.quarantined
    assert {"reason": "target_schema", "stage": "validate"}.items() <= rows[
        [row["reason"] for row in rows].index("target_schema")
    ].items()


def test_the_page_links_to_the_report_where_it_is_served(
    state: "State[Curated]", project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, folder = Store(project.folder / "flow-store"), state.result().folder
    assert report_link(folder, store) == "", "nowhere"
    with server(store, 0) as serving:
        threading.Thread(target=serving.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv(REPORTS_URL, f"http://127.0.0.1:{serving.server_port}")
        again: State[Any] = curation(str(project.recipe_path), str(store.root), return_state=True)
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id(again)]))
        with get_client(sync_client=True) as client:
            kept = {artifact.key: str(artifact.data) for artifact in client.read_artifacts(artifact_filter=of_run)}
        (link,) = re.findall(r"^\[Report\]\((.+)\)$", kept["demo-data-set"], re.MULTILINE)
        assert httpx.get(link).content == (folder / "report.html").read_bytes()
        serving.shutdown()
    monkeypatch.setenv(REPORTS_URL, "https://reports.example.org/assay/")
    link = f"https://reports.example.org/assay/datasets/demo/{folder.name}/report.html"
    assert report_link(folder, store) == f"\n[Report]({link})\n"
    assert report_link(store.root, store) == "", "no report"


def test_a_failed_gate_is_a_failed_run_and_one_document(tmp_path: Path) -> None:
    project = Project(tmp_path, fit={"model": str(tmp_path / "tokenizer"), "max_tokens": 150})
    project.add("rows.jsonl", make_rows(40))
    with_failing_gate(project)
    final: State[Any] = curation(str(project.recipe_path), str(tmp_path / "store"), return_state=True)
    assert final.is_failed()
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id(final)]))
    with get_client(sync_client=True) as client:
        kept = {artifact.key: artifact for artifact in client.read_artifacts(artifact_filter=of_run)}
    assert kept.keys() - {None} == {"demo-refused"}  # Prefect keeps one of the failure, without a key
    assert f"The candidate is kept in {tmp_path}/store/failed/demo" in str(kept["demo-refused"].data)
    with pytest.raises(AssayError, match="enough_rows"):
        final.result()
    assert not list((tmp_path / "store").glob("datasets/demo/*/manifest.json"))
    told = CliRunner().invoke(app, ["run", str(project.recipe_path), "--store", str(tmp_path / "store"), "--json"])
    assert told.exit_code == 1
    document = json.loads(told.stdout)
    assert document.keys() == {"error"}
    assert "enough_rows" in document["error"]["message"]
    assert document["error"]["remedy"]
    assert "Remedy: " in told.stderr


@pytest.mark.parametrize(
    ("error", "tried_again"), [(OSError("disk"), True), (TimeoutError(), True), (AssayError("no"), False)]
)
def test_only_what_the_disk_or_the_network_did_is_tried_again(error: Exception, tried_again: bool) -> None:
    class Failed:
        def result(self, raise_on_failure: bool) -> Exception:
            return error

    assert is_transient(None, None, Failed()) is tried_again  # type: ignore[arg-type]


def test_a_stage_whose_worker_dies_goes_on_and_is_one_task_run(tmp_path: Path) -> None:
    @flow(persist_result=False)
    def trapped() -> list[int]:
        with process_pool(2, silent) as pool:
            map_shards = as_tasks(pool)
            first = map_shards("traps", spring, [Trap(number, tmp_path / "sprung") for number in range(1, 4)])
            return first + map_shards("more traps", spring, [Trap(4, tmp_path / "sprung")])

    final: State[list[int]] = trapped(return_state=True)
    assert final.result() == [1, 2, 3, 4]
    assert (tmp_path / "sprung").exists()
    assert sorted(run.name for run in task_runs(final)) == ["more traps", "traps"]


def test_what_kills_each_process_is_named_with_its_stage() -> None:
    @flow(persist_result=False)
    def deadly() -> list[None]:
        with process_pool(1, silent) as pool:
            return as_tasks(pool)("naps", die, [Sleep(7, 0)])

    with pytest.raises(AssayError, match=r"Stage naps, Sleep\(size=7.*: its worker process was killed: signal 9"):
        deadly()
