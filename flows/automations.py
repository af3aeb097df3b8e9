"""What the server does by itself: automations, by name. Those here see to dead runs of our deployments; those of
flows/notifications.py send word.

Runs are ours by the tag that `prefect.yaml` gives to every deployment; those of `assay run` have none.
"""

import os
from collections.abc import Set
from datetime import timedelta

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.notifications import NOTIFY, OURS, block_named, notifications

HEARTBEATS = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
"""Environment of every run of a deployment: seconds between heartbeats, the least that Prefect allows."""
SILENCE = timedelta(seconds=90)
"""Three heartbeats. The server looks every 5 seconds, so that no dead run is called running for two minutes."""
START = timedelta(minutes=5)
"""The longest that a worker may take from a run that it has claimed to one that runs."""
ENDED = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
WAITING = {f"prefect.flow-run.{state}" for state in ("Paused", "Suspended", "AwaitingRetry", "Scheduled")}


def automations() -> list[AutomationCore]:
    """All of them; `apply` makes them so on a server."""
    alive = {"prefect.flow-run.heartbeat"}
    begun = {"prefect.flow-run.Running"}
    return [
        _crashed_when_silent(
            "assay: runs without heartbeats have crashed",
            "The run's process and its worker were killed, or their machine went down. Whatever was published is "
            "whole, and what was finished is kept: run it again.",
            begun | alive,
            alive | ENDED | WAITING,
            SILENCE,
        ),
        _crashed_when_silent(
            "assay: runs that a worker claimed and never began have crashed",
            "The worker that claimed the run has not begun it: it was killed meanwhile. Run it again.",
            {"prefect.flow-run.Pending"},
            begun | alive | ENDED | WAITING,
            START,
        ),
    ]


def apply() -> None:
    """Make or update the automations on the server in use, each by its name. A second time changes nothing. Those that
    send word are made where the environment names a block (`ASSAY_NOTIFY`), and left as they are where it does not.

    Raises:
        AssayError: there is no such block.
    """
    with get_client(sync_client=True) as client:
        named = os.environ.get(NOTIFY)
        words = notifications(block_named(client, named)) if named else []
        for automation in [*automations(), *words]:
            kept = client.read_automations_by_name(automation.name)
            if kept:
                client.update_automation(kept[0].id, automation)
            else:
                client.create_automation(automation)


def _crashed_when_silent(
    name: str, message: str, after: Set[str], expect: Set[str], within: timedelta
) -> AutomationCore:
    """Marks a run as crashed, which frees its slot, where none of the events follows upon another in time."""
    return AutomationCore(
        name=name,
        description=message,
        trigger=EventTrigger(
            after=set(after),
            expect=set(expect),
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=OURS,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=within,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=message)],
    )
