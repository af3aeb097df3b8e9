"""Events: what became of a drop, for whoever waits for it. Prefect's automations start runs by them and send word
(flows/notifications.py)."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from prefect.events import emit_event

from curate.arrival import UNREADABLE, Arrival
from curate.errors import AssayError
from curate.publish.refused import RefusedError, candidate
from curate.store import Store
from flows.artifacts import report_of

if TYPE_CHECKING:
    from evaluation.monitor import Reading

ARRIVED = "assay.drop.arrived"
REFUSED = "assay.drop.refused"
PUBLISHED = "assay.version.published"
OVERDUE = "assay.drop.overdue"
HELD_BACK = "assay.adapter.refused"
PAST = "assay.monitor.past"
WHY = "assay.why"
"""Label of what is refused: in a word, what for."""
GATE = "gate"
"""Of a set that breaks its contract, and of an adapter that does not pass its recipe's gate."""


class RefusalError(AssayError):
    """Ends a run of which an event has said that something is refused: it needs no word of its own."""


def drop_arrived(name: str, arrival: Arrival, recipe: str, store: str, variant: str | None) -> None:
    """A drop came whole, and nothing has become of it yet.

    Args:
        name: of the recipe.
        arrival: of the drop.
        recipe: parameters of the flow that is to curate it; so are the next two.
    """
    payload = {"recipe": recipe, "store": store, "variant": variant, "drop": arrival.place} | {"digest": arrival.drop}
    _emit(ARRIVED, f"drop.{name}.{arrival.drop}", name, payload)


def drop_refused(name: str, store: Store, refusal: AssayError) -> None:
    """What was made of a drop is not published.

    Args:
        name: of the recipe.
        store: whose ledger has just told of it.
        refusal: says why.
    """
    refused = ((event, event.get("name")) for event in reversed(store.events()) if event["event"] == "refused")
    told = next(event for event, of in refused if of == name)
    payload = {"name": name, "store": store.place, "drop": told["where"], "why": told["why"]}
    payload["report"] = report_of(candidate(store, name), store) if isinstance(refusal, RefusedError) else ""
    _emit(REFUSED, f"drop.{name}.{told['drop']}", name, payload | {"message": str(refusal)}, {WHY: told["why"]})


def drop_unreadable(name: str, store: Store, found: Arrival) -> None:
    """A drop is set aside, as it cannot be read.

    Args:
        name: of the recipe.
        store: whose ledger has just told of it.
        found: of the drop.
    """
    payload = {"name": name, "store": store.place, "drop": found.place, "why": UNREADABLE, "report": ""}
    _emit(REFUSED, f"drop.{name}.{found.drop}", name, payload | {"message": found.why}, {WHY: UNREADABLE})


def adapter_refused(scorecard: Path, store: Store, refusal: AssayError) -> None:
    """An adapter does not pass its recipe's gate: it is not promoted.

    Args:
        scorecard: STORE/scorecards/NAME/VERSION, which says so.
        store: in which it lies.
        refusal: says which rules do not hold.
    """
    _, name, version = scorecard.parts[-3:]
    payload = {"name": name, "store": store.place, "scorecard": version, "message": str(refusal)}
    payload |= {"report": report_of(scorecard, store)}
    _emit(HELD_BACK, f"version.scorecards.{name}.{version}", name, payload, {WHY: GATE})


def version_published(folder: Path) -> None:
    """A data set version, an adapter or a scorecard is published that was not there before.

    Args:
        folder: STORE/KIND/NAME/VERSION.
    """
    kind, name, version = folder.parts[-3:]
    payload = {"kind": kind, "name": name, "version": version, "folder": str(folder)}
    _emit(PUBLISHED, f"version.{kind}.{name}.{version}", name, payload)


def drop_overdue(name: str, place: str, sentence: str) -> None:
    """No new drop has come for longer than the contract's service level `freshness` allows.

    Args:
        name: of the recipe.
        place: where drops arrive.
        sentence: says since when.
    """
    _emit(OVERDUE, f"drops.{name}", name, {"name": name, "drop": place, "message": sentence})


def past_bounds(name: str, reading: "Reading", page: Path, store: Store) -> None:
    """The monitor finds bounds of the recipe passed.

    Args:
        name: of the recipe.
        reading: what it found.
        page: that is drawn of all looks.
        store: in which it lies.
    """
    payload = {"name": name, "adapter": reading.adapter, "newest": reading.newest, "report": report_of(page, store)}
    _emit(PAST, f"adapter.{reading.adapter}", name, payload | {"message": " ".join(reading.past)})


def _emit(
    event: str, resource: str, name: str, payload: dict[str, Any], labels: Mapping[str, str] = MappingProxyType({})
) -> None:
    of = {"prefect.resource.id": f"assay.{resource}", "prefect.resource.name": name, **labels}
    emit_event(event, resource=of, payload=payload)
