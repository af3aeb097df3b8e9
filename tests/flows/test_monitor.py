"""The flow of the monitor: its tables as artifacts, and an event where the recipe's bounds are passed."""

from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

import evaluation.monitor
import flows.events
from evaluation.monitor import Reading
from flows.events import PAST
from flows.monitor import monitor
from tests.project import Project

pytestmark = pytest.mark.usefixtures("prefect_server")


def reading(*past: str) -> Reading:
    return Reading(
        time="2026-01-01T00:00:00+00:00",
        adapter="demo/0123456789abcdef",
        trained_on="demo/1111111111111111",
        newest="demo/2222222222222222",
        drift={"label": 0.4},
        fresh=40,
        right={"value": 0.5, "low": 0.4, "high": 0.6},
        before=0.7,
        scorecard="demo/3333333333333333",
        past=list(past),
    )


@pytest.mark.parametrize("past", [(), ("Drift of label: too much.",)])
def test_it_tells_and_raises_an_event(past: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path)
    raised: list[tuple[str, dict[str, str], dict[str, Any]]] = []
    monkeypatch.setattr(evaluation.monitor, "look", lambda *_: reading(*past))
    monkeypatch.setattr(
        flows.events, "emit_event", lambda event, resource, payload: raised.append((event, resource, payload))
    )
    state = monitor(str(project.recipe_path), str(tmp_path / "store"), return_state=True)
    assert state.is_completed()
    assert state.result() == tmp_path / "store/monitor/demo.html"
    assert [(event, resource["prefect.resource.id"]) for event, resource, _ in raised] == (
        [(PAST, "assay.adapter.demo/0123456789abcdef")] if past else []
    )
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        found = {each.key: str(each.data) for each in client.read_artifacts(artifact_filter=wanted)}
    assert "50.0% (40.0% to 60.0%)" in found["demo-monitor"]
    assert ("Drift of label: too much." in found["demo-monitor"]) == bool(past)
