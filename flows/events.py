"""Events: what became of a drop, for whoever waits for it. Prefect's automations start runs by them and send word."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.events import emit_event

from curate.arrival import Arrival
from curate.errors import AssayError
from curate.store import Store

if TYPE_CHECKING:
    from evaluation.monitor import Reading

ARRIVED = "assay.drop.arrived"
REFUSED = "assay.drop.refused"
PUBLISHED = "assay.version.published"
OVERDUE = "assay.drop.overdue"
PAST = "assay.monitor.past"


def drop_arrived(name: str, arrival: Arrival, recipe: str, store: str, variant: str | None) -> None:
    """A drop came whole, and nothing has become of it yet.

    Args:
        name: of the recipe.
        arrival: of the drop.
        recipe: parameters of the flow that is to curate it; so are the next two.
    """
    payload = {"recipe": recipe, "store": store, "variant": variant, "drop": arrival.place}
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
    payload = {"name": name, "store": str(store.root), "drop": told["where"], "why": told["why"]}
    _emit(REFUSED, f"drop.{name}.{told['drop']}", name, payload | {"message": str(refusal)})


def version_published(folder: Path) -> None:
    """A data set version, an adapter or a scorecard is published that was not there before.

    Args:
        folder: STORE/KIND/NAME/VERSION.
    """
    kind, name, version = folder.parts[-3:]
    payload = {"kind": kind, "name": name, "version": version, "folder": str(folder)}
    _emit(PUBLISHED, f"version.{kind}.{name}.{version}", name, payload)


def drop_overdue(name: str, sentence: str) -> None:
    """No new drop has come for longer than the contract's service level `freshness` allows.

    Args:
        name: of the recipe.
        sentence: says since when.
    """
    _emit(OVERDUE, f"drops.{name}", name, {"name": name, "message": sentence})


def past_bounds(name: str, reading: "Reading", page: Path) -> None:
    """The monitor finds bounds of the recipe passed.

    Args:
        name: of the recipe.
        reading: what it found.
        page: that is drawn of all looks.
    """
    payload = {"name": name, "adapter": reading.adapter, "newest": reading.newest, "page": str(page)}
    _emit(PAST, f"adapter.{reading.adapter}", name, payload | {"message": " ".join(reading.past)})


def _emit(event: str, resource: str, name: str, payload: dict[str, Any]) -> None:
    of = {"prefect.resource.id": f"assay.{resource}", "prefect.resource.name": name}
    emit_event(event, resource=of, payload=payload)
