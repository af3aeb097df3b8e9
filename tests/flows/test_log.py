"""What a run writes into its log: a page at most, and where it fails one message without a traceback."""

import logging
import time
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import Log, State

from curate.errors import AssayError
from curate.progress import silent
from curate.workers import process_pool
from flows.curation import curation
from flows.tasks import as_tasks
from tests.curate.naps import Sleep, refuse
from tests.flows.failing import with_failing_gate
from tests.project import Project, make_rows

pytestmark = pytest.mark.usefixtures("prefect_server")

MOST = 60


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path, fit={"model": str(tmp_path / "tokenizer"), "max_tokens": 150})
    made.add("rows.jsonl", make_rows(40))
    return made


def ran(project: Project, **parameters: Any) -> tuple["State[Any]", list[Log]]:
    """The final state of a curation, and its log."""
    store = str(project.folder / "store")
    return logged(curation(str(project.recipe_path), store, return_state=True, **parameters))


def logged(state: "State[Any]") -> tuple["State[Any]", list[Log]]:
    """A final state, and the run's log as the server has it, of which the last line comes last."""
    of_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    deadline = time.monotonic() + 60
    with get_client(sync_client=True) as client:
        while True:
            log = client.read_logs(of_run, limit=200)
            if any(line.message.startswith("Finished in state") for line in log):
                return state, log
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_a_good_run_writes_a_line_for_each_stage(project: Project) -> None:
    state, log = ran(project)
    assert state.is_completed()
    lines = [line.message for line in log]
    assert len(lines) <= MOST
    assert lines[-1] == "Finished in state Completed"
    for stage in ("read", "clean", "split", "gate"):
        assert len([line for line in lines if line.split()[0] == stage]) == 1, stage
    assert {line.level for line in log} == {logging.INFO}


def test_a_failed_gate_is_one_message(project: Project) -> None:
    with_failing_gate(project)
    told_once(*ran(project), "enough_rows")


def test_a_drop_that_is_not_there_is_one_message(project: Project) -> None:
    told_once(*ran(project, drop=str(project.folder / "nowhere")), "No file matches")


def test_a_drop_that_cannot_be_read_is_one_message(project: Project) -> None:
    (project.drop / "rows.jsonl").write_bytes(b"\x81\x00\n" * 4)
    told_once(*ran(project), "4 unreadable")


def test_what_a_worker_refuses_is_one_message() -> None:
    @flow(persist_result=False)
    def refusing() -> None:
        with process_pool(1, silent) as pool:
            as_tasks(pool)("naps", refuse, [Sleep(7, 0)])

    told_once(*logged(refusing(return_state=True)), "nap 7 is refused")


def told_once(state: "State[Any]", log: list[Log], words: str) -> None:
    assert state.is_failed()
    with pytest.raises(AssayError) as error:
        state.result()
    assert words in error.value.message
    lines = [line.message for line in log]
    assert [line.message for line in log if line.level > logging.INFO] == [str(error.value)]
    assert len([line for line in lines if words in line]) == 1
    assert "Traceback" not in "\n".join(lines)
    assert lines[-1] == "Finished in state Failed"
    assert len(lines) <= MOST
    assert str(state.message).endswith(str(error.value)), "message and remedy"
