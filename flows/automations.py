"""What the server does by itself about runs of our deployments: automations, by name."""

from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore


def automations() -> list[AutomationCore]:
    """All of them; `apply` makes them so on a server."""
    return []


def apply() -> None:
    """Make or update the automations on the server in use, each by its name. A second time changes nothing."""
    with get_client(sync_client=True) as client:
        for automation in automations():
            kept = client.read_automations_by_name(automation.name)
            if kept:
                client.update_automation(kept[0].id, automation)
            else:
                client.create_automation(automation)
