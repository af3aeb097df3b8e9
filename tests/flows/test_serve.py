"""`python -m flows.serve` and what it serves: runs on demand, by schedule and by event, to their end."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings

from curate.errors import AssayError
from curate.store import Store
from flows import serve
from flows.serve import Process
from tests.flows.failing import with_failing_gate
from tests.flows.webhook import Webhook, webhook
from tests.project import Project, make_rows
from tests.tiny import write_model

ROOT = Path(__file__).resolve().parents[2]
FRESHNESS = {"slaProperties": [{"property": "freshness", "value": 36, "unit": "h"}]}
LATE = "2026-01-01T00:00:00+00:00"
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
DECLARED: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Served:
    """A folder with a project, its prefect.yaml, and a server of its own."""

    def __init__(self, folder: Path, hook: Webhook) -> None:
        self.folder = folder
        self.hook = hook
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.environment = os.environ | {
            "PREFECT_HOME": str(folder / "home"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "PREFECT_API_URL": self.url,
            "ASSAY_REPORTS_URL": "https://reports.example.org",
        }

    def call(self, *command: str) -> subprocess.CompletedProcess[str]:
        whole = [sys.executable, "-m", *command]
        return subprocess.run(
            whole, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=600, check=False
        )

    def serve(self, what: str) -> subprocess.CompletedProcess[str]:
        return self.call("flows.serve", what, "--port", str(self.port))

    def ask(self, path: str, **wanted: Any) -> Any:
        return httpx.post(f"{self.url}/{path}/filter", json=wanted, timeout=60).json()

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        """Of a deployment FLOW/NAME, the oldest first."""
        flow, name = deployment.split("/")
        of = {"flows": {"name": {"any_": [flow]}}, "deployments": {"name": {"any_": [name]}}}
        found: list[dict[str, Any]] = self.ask("flow_runs", **of, sort="EXPECTED_START_TIME_ASC")
        return found

    def ended(self, run: dict[str, Any]) -> dict[str, Any]:
        """A run once its state is final."""

        def final() -> dict[str, Any] | None:
            now: dict[str, Any] = httpx.get(f"{self.url}/flow_runs/{run['id']}", timeout=60).json()
            return now if now["state_type"] in ENDED else None

        found: dict[str, Any] = wait_for(final)
        return found

    def deployment(self, named: str) -> dict[str, Any]:
        """FLOW/NAME as the server has it."""
        found: dict[str, Any] = httpx.get(f"{self.url}/deployments/name/{named}", timeout=60).json()
        return found

    def asked(self, named: str, **parameters: str) -> dict[str, Any]:
        """The end of a run of FLOW/NAME."""
        place = f"{self.url}/deployments/{self.deployment(named)['id']}/create_flow_run"
        return self.ended(httpx.post(place, json={"parameters": parameters}, timeout=60).json())

    def told(self, subject: str) -> str:
        """What the webhook is sent under a subject, as soon as it is; it is sent once."""
        (one,) = wait_for(lambda: self.hook.of(f"Assay: {subject}"))
        body: str = one["body"]
        return body

    def published(self) -> list[str]:
        """Versions of the data set, the adapter and the scorecard."""
        kinds = ("datasets", "adapters", "scorecards")
        return [path.name for kind in kinds for path in (self.folder / "store" / kind / "demo").glob("[0-9a-f]*")]


def wait_for(what: Callable[[], Any], seconds: float = 600) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return found


def of_folder(folder: Path) -> list[str]:
    """The processes whose environment names a folder, but this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.name != str(os.getpid()) and str(folder).encode() in (path / "environ").read_bytes():
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The deployments of prefect.yaml with a small project."""
    folder = tmp_path_factory.mktemp("served")
    model = write_model(folder / "model")
    project = Project(
        folder / "project",
        drop="inbox",
        arrival={"marker": "_SUCCESS"},
        fit={"model": str(model), "max_tokens": 150},
        monitor={"max_drift": 0.01},
        training={"rows": 8, "max_tokens": 150, "batch_size": 4, "rank": 4, "method": "lora"},
        evaluation={"rows": 4, "max_tokens": 150, "max_new_tokens": 8, "batch_size": 4},
    )
    project.drop = folder / "project/inbox"
    project.add("rows.jsonl", make_rows(120))
    contract = project.folder / "contract/contract.yaml"
    contract.write_text(yaml.safe_dump(yaml.safe_load(contract.read_text()) | FRESHNESS))
    declared = yaml.safe_load(yaml.safe_dump(DECLARED))
    for each in declared["deployments"]:
        given = {"recipe": str(project.recipe_path), "store": str(folder / "store")}
        each["parameters"] = {key: value for key, value in given.items() if key in each["parameters"]}
    (folder / "prefect.yaml").write_text(yaml.safe_dump(declared))
    with webhook() as hook:
        made = Served(folder, hook)
        try:
            yield made
        finally:
            made.serve("stop")


# The next six are one story, in this order: each part would take a minute of processor time to come to alone.


def story(test: Callable[[Served], None]) -> Callable[[Served], None]:
    marked: Callable[[Served], None] = pytest.mark.slow(pytest.mark.timeout(900)(test))
    return marked


@story
def test_a_second_start_changes_nothing(served: Served) -> None:
    started = served.serve("start")
    assert started.returncode == 0, started.stderr
    assert f"export PREFECT_API_URL={served.url}" in started.stdout
    pids = re.findall(r"pid (\d+)", served.serve("status").stdout)
    assert len(pids) == 2
    with temporary_settings({PREFECT_API_URL: served.url}):
        served.hook.save_block("ops")
    served.environment["ASSAY_NOTIFY"] = "custom-webhook/ops"
    again = served.serve("start")
    assert again.returncode == 0, again.stderr
    assert re.findall(r"pid (\d+)", served.serve("status").stdout) == pids
    names = [automation["name"] for automation in served.ask("automations")]
    assert len(names) == len(set(names))
    assert len([name for name in names if name.startswith("assay: word of ")]) == 5
    assert len(served.ask("deployments")) == len(DECLARED["deployments"])


@story
def test_a_drop_that_arrives_starts_the_pipeline(served: Served) -> None:
    """The watcher, itself on a schedule, tells of the drop, and the trigger gives its place."""
    inbox = served.folder / "project/inbox"
    (inbox / "_SUCCESS").touch()
    run = wait_for(lambda: [run for run in served.runs("pipeline/daily") if run["parameters"].get("drop")])[0]
    assert run["parameters"] == {
        "recipe": str(served.folder / "project/recipe.yaml"),
        "store": str(served.folder / "store"),
        "drop": str(inbox),
        "variant": None,
        "digest": run["parameters"]["digest"],
    }
    assert run["created_by"]["type"] == "AUTOMATION"
    ended = served.ended(run)
    assert ended["state_type"] == "COMPLETED", ended["state"]["message"]
    version, _, _ = served.published()
    assert ended["name"] == f"pipeline demo inbox {version}"
    assert any(run["state_type"] == "COMPLETED" for run in served.runs("watcher/every-minute"))


@story
def test_on_demand_in_the_words_of_the_documents(served: Served) -> None:
    before = served.published()
    asked = served.call("prefect", "deployment", "run", "pipeline/daily", "--watch")
    assert asked.returncode == 0, asked.stdout + asked.stderr
    assert "Completed" in asked.stdout + asked.stderr
    assert served.published() == before
    failed = served.call("prefect", "deployment", "run", "training/on-demand", "-p", "dataset=nothing", "--watch")
    assert failed.returncode == 1
    (run,) = served.runs("training/on-demand")
    word = served.told("a run that failed: training demo nothing")
    assert "AssayError" in word
    assert word.endswith(f"Run: http://127.0.0.1:{served.port}/runs/flow-run/{run['id']}")


@story
def test_what_is_refused_is_told_as_that(served: Served) -> None:
    held = Project(served.folder / "held", name="held", fit={"model": str(served.folder / "model"), "max_tokens": 150})
    held.add("rows.jsonl", make_rows(40))
    with_failing_gate(held)
    recipe = {"recipe": str(held.recipe_path)}
    assert served.asked("curation/on-demand", **recipe)["state_type"] == "FAILED"
    word = served.told("a gate that is not passed: held")
    assert "enough_rows" in word
    assert "Report: https://reports.example.org/failed/held/report.html\n" in word
    (held.drop / "rows.jsonl").write_text('{"body": "renamed"}\n')
    assert served.asked("curation/on-demand", **recipe)["state_type"] == "FAILED"
    assert f"Drop: {held.drop}\n" in served.told("a drop that is set aside: held")


@story
def test_the_monitor_and_the_watcher_tell_what_they_find(served: Served) -> None:
    other = served.folder / "other"
    other.mkdir()
    rows = [row | {"colour": "blue"} for row in make_rows(60, seed=9)]
    (other / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert served.asked("curation/on-demand", drop=str(other))["state_type"] == "COMPLETED"
    assert served.asked("monitor/daily")["state_type"] == "COMPLETED"
    word = served.told("a live adapter past its bounds: demo")
    assert "Drift of label: a population stability index of" in word
    assert "Report: https://reports.example.org/monitor/demo.html\n" in word
    late = {"event": "arrived", "name": "demo", "drop": "0" * 64, "where": "before", "time": LATE}
    Store(served.folder / "store").record(late)
    word = served.told("no drop in time: demo")
    assert f"the last drop came {LATE}" in word
    assert f"Drop: {served.folder / 'project/inbox'}\n" in word
    assert [each["subject"] for each in served.hook.of("Assay: a run")] == [
        "Assay: a run that failed: training demo nothing"
    ]


@story
def test_by_schedule_with_the_daily_run_moved_into_the_next_minute(served: Served) -> None:
    daily = served.deployment("pipeline/daily")
    (schedule,) = daily["schedules"]
    moved = {"schedule": {"cron": "* * * * *", "timezone": "UTC"}, "active": True}
    place = f"{served.url}/deployments/{daily['id']}/schedules/{schedule['id']}"
    httpx.patch(place, json=moved, timeout=60).raise_for_status()
    ended = wait_for(
        lambda: [run for run in served.runs("pipeline/daily") if run["auto_scheduled"] and run["state_type"] in ENDED]
    )
    assert ended[0]["state_type"] == "COMPLETED", ended[0]["state"]["message"]
    assert len([run for run in served.runs("pipeline/daily") if run["parameters"].get("drop")]) == 1, "told once"


@story
def test_a_run_at_work_ends_with_the_worker_and_nothing_is_left(served: Served) -> None:
    wait_for(lambda: any(run["state_type"] == "RUNNING" for run in served.runs("pipeline/daily")))
    assert served.serve("stop").stdout == "Ended: worker and server.\n"
    assert of_folder(served.folder) == []
    nothing = served.serve("stop")
    assert (nothing.returncode, nothing.stdout) == (0, "Nothing runs.\n")
    assert served.serve("status").returncode == 1


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a prefect.yaml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prefect.yaml").write_text("deployments: []\n")
    return tmp_path


def test_a_port_that_another_process_has_is_not_taken(here: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(AssayError, match="cannot be had: Address already in use") as error:
            serve.start(other.getsockname()[1])
    assert "--port" in error.value.remedy
    assert not list((here / ".assay").glob("*.json"))


def test_without_deployments_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssayError, match=r"prefect\.yaml: not there"):
        serve.start(free_port())
    assert not (tmp_path / ".assay").exists()


def test_what_does_not_start_is_told_with_its_log_and_ended(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "PREFECT", (sys.executable, "-c", "import sys; sys.exit('no room for a database')"))
    with pytest.raises(AssayError, match="server does not start") as error:
        serve.start(free_port())
    assert "no room for a database" in error.value.remedy
    assert not list((here / ".assay").glob("*.json"))


def test_a_process_that_got_the_id_of_ours_is_left_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    begun = serve._begun(other.pid)
    assert Process(other.pid, begun, 1).alive()
    (here / ".assay").mkdir()
    (here / ".assay/worker.json").write_text(f'{{"pid": {other.pid}, "begun": "1", "port": 1}}')
    serve.stop()
    assert capsys.readouterr().out == "Nothing runs.\n"
    assert other.poll() is None
    (here / ".assay/worker.json").write_text(f'{{"pid": {other.pid}, "begun": "{begun}", "port": 1}}')
    serve.stop()
    assert capsys.readouterr().out == "Ended: worker.\n"
    assert other.wait(30) == -15
    assert not Process(other.pid, begun, 1).alive()


def test_another_port_than_that_of_the_running_server_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Process(os.getpid(), serve._begun(os.getpid()), 4711)
    monkeypatch.setattr(serve, "_known", lambda name: mine if name == "server" else None)
    with pytest.raises(AssayError, match="runs already, at port 4711"):
        serve.start(4712)
