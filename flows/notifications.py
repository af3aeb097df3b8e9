"""Notifications: what goes wrong, sent by the block that the environment names (`ASSAY_NOTIFY=slack-webhook/ops`).

Any notification block of Prefect's does. Of one thing one word is sent: a run that fails because something is refused
sends that of the refusal alone, and the same run that fails again within an hour, as a watcher does each minute whose
folder is gone, sends none.
"""

from collections.abc import Collection, Mapping
from datetime import timedelta
from types import MappingProxyType
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from curate.errors import AssayError
from flows.events import GATE, HELD_BACK, OVERDUE, PAST, REFUSED, WHY, RefusalError

NOTIFY = "ASSAY_NOTIFY"
"""Environment variable: TYPE/NAME of a notification block."""
TAG = "assay"
OURS = [
    ResourceSpecification({"prefect.resource.role": "deployment"}),
    ResourceSpecification({"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"}),
]
"""What is related to runs of our deployments."""
FAILED = {f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut")}
RUN = {
    "prefect.resource.id": "prefect.flow-run.*",
    "prefect.state-message": f"!Flow run encountered an exception: {RefusalError.__name__}: *",
}
"""A run whose failure no event of ours has told of."""
AGAIN = timedelta(hours=1)
OF_RUN = """{{ flow_run.state.message | truncate(2000, True) }}

{% if flow_run.parameters.recipe %}Recipe: {{ flow_run.parameters.recipe }}
{% endif %}{% if flow_run.parameters.drop %}Drop: {{ flow_run.parameters.drop }}
{% endif %}Run: {{ (flow_run | ui_url) or flow_run.id }}"""
"""A server that does not know its own address (PREFECT_API_URL, PREFECT_UI_URL) gives ids for links."""
OF_EVENT = """{{ event.payload.message | truncate(2000, True) }}

Recipe: {{ event.payload.name }}
{% if event.payload.drop %}Drop: {{ event.payload.drop }}
{% endif %}{% if event.payload.adapter %}Adapter: {{ event.payload.adapter }}
{% endif %}{% if event.payload.report %}Report: {{ event.payload.report }}
{% endif %}{% if flow_run %}Run: {{ (flow_run | ui_url) or flow_run.id }}{% endif %}"""
NAME = "{{ event.payload.name }}"


def notifications(block: UUID) -> list[AutomationCore]:
    """The automations that send word by a block.

    Args:
        block: id of its document.
    """

    def word(
        what: str, of: str, body: str, expect: Collection[str], match: Mapping[str, str] = MappingProxyType({})
    ) -> AutomationCore:
        run = expect is FAILED
        return AutomationCore(
            name=f"assay: word of {what}",
            trigger=EventTrigger(
                expect={*expect},
                match=ResourceSpecification(dict(match)),
                match_related=OURS if run else ResourceSpecification({}),
                for_each={"prefect.resource.name"} if run else set(),
                posture=Posture.Reactive,
                within=AGAIN if run else timedelta(0),
                threshold=1,
            ),
            actions=[SendNotification(block_document_id=block, subject=f"Assay: {what}: {of}", body=body)],
        )

    return [
        word("a run that failed", "{{ flow_run.name }}", OF_RUN, FAILED, RUN),
        word("a gate that is not passed", NAME, OF_EVENT, [REFUSED, HELD_BACK], {WHY: GATE}),
        word("a drop that is set aside", NAME, OF_EVENT, [REFUSED], {WHY: f"!{GATE}"}),
        word("a live adapter past its bounds", NAME, OF_EVENT, [PAST]),
        word("no drop in time", NAME, OF_EVENT, [OVERDUE]),
    ]


def block_named(client: SyncPrefectClient, named: str) -> UUID:
    """The document of a notification block.

    Args:
        named: TYPE/NAME, as `slack-webhook/ops`.

    Raises:
        AssayError: the server has none of that name, or it does not notify.
    """
    kind, _, name = named.partition("/")
    remedy = (
        f"Make one on Prefect's pages, under Blocks, while the server runs without {NOTIFY}; then set {NOTIFY} to its "
        "TYPE/NAME, as slack-webhook/ops, and start again. `prefect block ls` lists those there are."
    )
    try:
        document = client.read_block_document_by_name(name, kind)
    except ObjectNotFound:
        raise AssayError(f"{NOTIFY}: the server has no block {named!r}.", remedy) from None
    if document.block_schema is None or "notify" not in document.block_schema.capabilities:
        raise AssayError(f"{NOTIFY}: the block {named!r} does not notify.", remedy)
    return document.id
