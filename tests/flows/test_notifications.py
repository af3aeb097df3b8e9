"""What goes wrong is told once, by a notification block, to a webhook on loopback: on a real server."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import flow
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.deployments.runner import RunnerDeployment
from prefect.states import Cancelled, Crashed, Failed

import evaluation.monitor
from curate.errors import AssayError
from curate.store import Store
from evaluation.card.format import SCHEMA_VERSION
from flows import automations, notifications
from flows.artifacts import REPORTS_URL
from flows.curation import curation
from flows.evaluation import require_passed
from flows.events import RefusalError
from flows.monitor import monitor
from flows.notifications import NOTIFY, TAG
from flows.run import run_of
from flows.watcher import watcher
from tests.flows.failing import with_failing_gate
from tests.flows.test_monitor import reading
from tests.flows.webhook import Webhook, webhook
from tests.manifests import scorecard_manifest, sealed
from tests.project import Project, make_rows

pytestmark = pytest.mark.usefixtures("prefect_server")
LATE = "2026-01-01T00:00:00+00:00"
FRESHNESS = {"slaProperties": [{"property": "freshness", "value": 36, "unit": "h"}]}


@pytest.fixture(scope="module")
def hook(prefect_server: None) -> Iterator[Webhook]:
    """A webhook that the server's automations send word to, made twice."""
    with webhook() as made, pytest.MonkeyPatch.context() as patch:
        made.save_block("ops")
        patch.setenv(NOTIFY, "custom-webhook/ops")
        automations.apply()
        automations.apply()
        yield made
    with get_client(sync_client=True) as client:
        for each in client.read_automations():
            if each.name.startswith("assay: "):
                client.delete_automation(each.id)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path, fit={"model": str(tmp_path / "tokenizer"), "max_tokens": 150})
    made.add("rows.jsonl", make_rows(40))
    return made


def parameters(project: Project, **more: Any) -> dict[str, Any]:
    return {"recipe": str(project.recipe_path), "store": str(project.folder / "store"), **more}


def told(hook: Webhook, subject: str) -> dict[str, Any]:
    """What is sent under a subject, as soon as it is."""
    deadline = time.monotonic() + 120
    while not (found := hook.of(subject)):
        assert time.monotonic() < deadline, hook.posted
        time.sleep(0.1)
    (one,) = found
    return one


@flow(name="sign", persist_result=False)
def sign(name: str) -> None:
    """Send word of something else: what went before has been told when this is."""
    from flows.events import drop_overdue

    drop_overdue(name, "inbox", "late")


def lines(body: str) -> dict[str, str]:
    """What stands below the reason, by its name."""
    return dict(line.split(": ", 1) for line in body.rpartition("\n\n")[2].splitlines())


def test_they_are_there_once_each(hook: Webhook) -> None:
    with get_client(sync_client=True) as client:
        names = [each.name for each in client.read_automations() if each.name.startswith("assay: word of")]
    assert sorted(names) == sorted(each.name for each in notifications.notifications(Secret(value="").save("id")))  # type: ignore[arg-type]


def test_a_failed_gate_is_told_as_that_and_not_as_a_failed_run(
    hook: Webhook, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REPORTS_URL, "http://127.0.0.1:8501/")
    with_failing_gate(project)
    state: State[Any] = curation(**parameters(project), return_state=True)
    with pytest.raises(RefusalError, match="enough_rows"):
        state.result()
    posted = told(hook, "Assay: a gate that is not passed: demo")
    assert posted["token"] == "s3cret"
    assert "enough_rows" in posted["body"]
    found = lines(posted["body"])
    assert found["Recipe"] == "demo"
    assert found["Drop"] == str(project.drop)
    assert found["Report"] == "http://127.0.0.1:8501/failed/demo/report.html"
    assert found["Run"].endswith(str(state.state_details.flow_run_id))
    # The same state of a deployment's run, which is told of where it fails otherwise.
    fail(project, "refused", str(state.message))
    sign("after-refused")
    told(hook, "Assay: no drop in time: after-refused")
    assert hook.of("Assay: a run that failed: refused") == []
    assert hook.of("Assay: a drop that is set aside") == []


def fail(project: Project, name: str, message: str, made: Callable[..., "State[Any]"] = Failed) -> str:
    """Have a deployment's run end; gives its id."""
    deployment = RunnerDeployment.from_flow(curation, name="told", tags=[TAG]).apply()
    with get_client(sync_client=True) as client:
        given = parameters(project, drop=str(project.drop))
        run = client.create_flow_run_from_deployment(deployment, name=name, parameters=given)  # type: ignore[arg-type]
        client.set_flow_run_state(run.id, made(message=message), force=True)
    return str(run.id)


def test_a_run_that_fails_is_told_once_an_hour(hook: Webhook, project: Project) -> None:
    run = fail(project, "curation demo drop", "Flow run encountered an exception: AssayError: Nothing is there.")
    fail(project, "curation demo drop", "Flow run encountered an exception: AssayError: Nothing is there.")
    fail(project, "curation of another", "The run's process was killed.", Crashed)
    fail(project, "curation that was called off", "", Cancelled)
    told(hook, "Assay: a run that failed: curation of another")
    posted = told(hook, "Assay: a run that failed: curation demo drop")
    reason, _, rest = posted["body"].partition("\n\n")
    assert reason == "Flow run encountered an exception: AssayError: Nothing is there."
    assert {**lines(rest)}.items() >= {"Recipe": str(project.recipe_path), "Drop": str(project.drop)}.items()
    assert rest.endswith(run)
    sign("after-failed")
    told(hook, "Assay: no drop in time: after-failed")
    assert len(hook.of("Assay: a run that failed: curation")) == 2


def test_a_drop_that_is_set_aside(hook: Webhook, project: Project) -> None:
    (project.drop / "rows.jsonl").unlink()
    project.add("renamed.jsonl", [{"body": row["text"], "colour": row["colour"]} for row in make_rows(9)])
    with pytest.raises(RefusalError, match="0 of 9 rows would be left"):
        curation(**parameters(project))
    posted = told(hook, "Assay: a drop that is set aside: demo")
    assert "9 unmappable" in posted["body"]
    found = lines(posted["body"])
    assert found["Drop"] == str(project.drop)
    assert found["Report"] == str(project.folder / "store/failed/demo/report.html")


def test_an_adapter_that_does_not_pass_its_gate(hook: Webhook, project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "store/scorecards/held/0123456789abcdef"
    folder.mkdir(parents=True)
    rules = [{"rule": "colour.macro_f1 >= 0.9", "passed": False, "why": "it is 0.5"}]
    card = {"schema_version": SCHEMA_VERSION, "gate": {"passed": False, "rules": rules}, "systems": {}}
    (folder / "scorecard.json").write_text(json.dumps(card))
    (folder / "manifest.json").write_text(json.dumps(sealed(scorecard_manifest(scores=card))))
    (folder / "report.html").touch()

    @flow(name="evaluation", persist_result=False)
    def evaluated() -> None:
        with run_of(**parameters(project), variant=None) as run:
            require_passed(run, folder)

    with pytest.raises(RefusalError, match="does not pass the gate"):
        evaluated()
    posted = told(hook, "Assay: a gate that is not passed: held")
    assert "colour.macro_f1 >= 0.9: it is 0.5" in posted["body"]
    assert lines(posted["body"])["Report"] == str(folder / "report.html")


def test_a_live_adapter_past_its_bounds(hook: Webhook, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation.monitor, "look", lambda *_: reading("Drift of label: too much."))
    page = evaluation.monitor.page(Store(project.folder / "store"), "demo")
    page.parent.mkdir(parents=True)
    page.touch()
    monitor(**parameters(project))
    posted = told(hook, "Assay: a live adapter past its bounds: demo")
    assert posted["body"].startswith("Drift of label: too much.\n\nRecipe: demo\nAdapter: demo/0123456789abcdef\n")
    assert lines(posted["body"])["Report"] == str(page)


def test_no_drop_in_time(hook: Webhook, project: Project) -> None:
    path = project.folder / "contract/contract.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | FRESHNESS))
    store = Store(project.folder / "store")
    store.record({"event": "arrived", "name": "demo", "drop": "0" * 64, "where": "before", "time": LATE})
    for _ in range(2):
        watcher(**parameters(project))
    posted = told(hook, "Assay: no drop in time: demo")
    late = datetime.now(UTC) - datetime.fromisoformat(LATE)
    assert f"the last drop came {LATE}, {late / timedelta(hours=1):,.0f} hours ago" in posted["body"]
    assert lines(posted["body"])["Drop"] == str(project.drop)
    sign("after-late")
    told(hook, "Assay: no drop in time: after-late")
    assert len(hook.of("Assay: no drop in time: demo")) == 1


def test_what_a_message_says_is_text_of_a_bounded_length(hook: Webhook) -> None:
    from flows.events import drop_overdue

    @flow(name="sign", persist_result=False)
    def hostile() -> None:
        drop_overdue("hostile", "{{ event.payload.message }}", "{{ 7 * 7 }} {{token}} <!channel> " + "x" * 5000)

    hostile()
    posted = told(hook, "Assay: no drop in time: hostile")
    assert posted["body"].startswith("{{ 7 * 7 }} {{token}} <!channel> xxx")
    assert lines(posted["body"])["Drop"] == "{{ event.payload.message }}"
    assert len(posted["body"]) < 2500


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("custom-webhook/nobody", "no block 'custom-webhook/nobody'"),
        ("ops", "no block 'ops'"),
        ("secret/id", "'secret/id' does not notify"),
    ],
)
def test_a_block_that_is_not_there_or_does_not_notify(
    named: str, said: str, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    Secret(value="").save("id", overwrite=True)
    monkeypatch.setenv(NOTIFY, named)
    with pytest.raises(AssayError, match=said) as error:
        automations.apply()
    assert "slack-webhook/ops" in error.value.remedy


def test_a_block_may_refuse_what_is_on_loopback(hook: Webhook) -> None:
    """Prefect's own setting, off by default: a server that others may name webhooks to wants it on."""
    block = hook.save_block("shut")
    block.allow_private_urls = False
    with pytest.raises(ValueError, match="not a valid URL"):
        block.notify("body", "subject")
    assert hook.of("subject") == []
