"""Lineage as OpenLineage tells it: one event for each run that published something or was refused.

Nothing is recorded for it: the ledger says what happened when, the manifests say what was made from what.
https://openlineage.io/docs/spec/object-model
"""

import json
import logging
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from assay.door import Place, store_of
from assay.parents import MANIFESTS, Member, folder, parents
from assay.result import Result
from curate.errors import AssayError
from curate.hashing import canonical_json
from curate.manifest import DatasetManifest, Manifest
from curate.store import MADE_BY, Store, damaged, fetched, size
from curate.table import Table
from curate.urls import masked, without_secrets

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent
    from openlineage.client.generated.schema_dataset import SchemaDatasetFacetFields

REFUSED = "refused"
PRODUCER = "urn:assay:lineage"
"""What the events say that they come from."""
SPACE = uuid.UUID("7a3f2f0c-6f0b-5d0a-9a52-3c1f6a0e8b11")
"""Of the ids of runs, so that the same line of a ledger always gives the same id."""
COLUMNS_OF = "train.parquet"
"""The file whose columns are a data set version's; those of the other splits are the same."""
NOWHERE = {"console", "noop"}
"""What the client calls its transports that send nothing: none is configured, or all of it is switched off."""


@dataclass(frozen=True)
class Lineage(Result):
    """The events of a store, in the order of its ledger."""

    events: list[dict[str, Any]]
    """As JSON."""
    sent: str | None
    """Where they were sent: the server's URL without secrets, or the kind of transport; None if they were not."""

    def __repr__(self) -> str:
        return f"Lineage({len(self.events)} events{'' if self.sent is None else f', sent to {self.sent}'})"

    def lines(self) -> list[str]:
        """Each event as JSON in ASCII, nothing in which can steer a terminal."""
        return [json.dumps(event, sort_keys=True).replace("\x7f", "\\u007f") for event in self.events]

    def tables(self) -> list[Table]:
        rows = [
            [
                event["eventTime"][:16].replace("T", " "),
                event["job"]["name"],
                event["eventType"],
                ", ".join(map(_called, event["inputs"])),
                ", ".join(map(_called, event["outputs"])),
            ]
            for event in self.events
        ]
        title = "Lineage" if self.sent is None else f"Lineage, sent to {self.sent}"
        return [Table("lineage", title, ["time (UTC)", "job", "ended", "inputs", "outputs"], rows, texts=5)]

    def data(self) -> dict[str, Any]:
        return {"events": self.events, "sent": self.sent}


def lineage(name: str | None = None, *, send: bool = False, store: Place | None = None) -> Lineage:
    """What was made from what, as OpenLineage's run events; the package openlineage-python makes them.

    Of what was retracted there is none, and none of what the ledger does not tell of: that has no time.

    Args:
        name: of one series, its recipe's `name`; all of them if nothing is said.
        send: whether they are sent too, to where the client's configuration says (OPENLINEAGE_URL, openlineage.yml).
        store: folder, or URL in a bucket, that Assay writes to.

    Raises:
        AssayError: the package is not installed, nothing of that name is told of, ledger or a manifest are damaged, or
            an event cannot be sent.
    """
    if find_spec("openlineage") is None:
        raise AssayError(
            "The package openlineage-python, which makes the events, is not installed.",
            remedy="pip install 'assay-curation[lineage]'",
        )
    from openlineage.client.serde import Serde

    target = store_of(store)
    told = [event for event in _runs(target) if name is None or event["name"] == name]
    if name is not None and not told:
        raise AssayError(
            f"{name}: the ledger of {target.place} tells of nothing of that name.",
            remedy=target.published_names("datasets"),
        )
    events = [_run_event(target, event) for event in told]
    as_json = [Serde.to_dict(event) for event in events]  # before the client adds tags of its own
    return Lineage(as_json, _send(events) if send else None)


def _called(dataset: Mapping[str, Any]) -> str:
    version = dataset["facets"]["version"]["datasetVersion"]
    return f"{dataset['name']} {version[:16]}"


def _runs(store: Store) -> list[dict[str, Any]]:
    """The lines of the ledger that tell how a run ended: the first of each version that is there, and refusals."""
    found: dict[Any, dict[str, Any]] = {}
    for number, event in enumerate(store.events()):
        if event["event"] == REFUSED:
            found[number] = event
        elif event["event"] in MANIFESTS:
            now = store.instead(event["event"], event["name"]).get(event["version"], event["version"])
            each = Member(event["event"], event["name"], now)
            if folder(store, each).is_dir():
                found.setdefault(each, event | {"version": now})
        elif event["event"] == "retracted":
            found.pop(Member(event["kind"], event["name"], event["version"]), None)
    return list(found.values())


def _run_event(store: Store, event: Mapping[str, Any]) -> "RunEvent":
    """The event of a run, from its line of the ledger and the manifest of what it published."""
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.facet_v2 import error_message_run

    refused = event["event"] == REFUSED
    command = MADE_BY["datasets" if refused else event["event"]].split()[0]
    run = Run(str(uuid.uuid5(SPACE, canonical_json(event).decode())))
    outputs: list[OutputDataset] = []
    inputs = [_drop(event)] if "where" in event else []
    if refused:
        error = error_message_run.ErrorMessageRunFacet(_why(event), "Python", producer=PRODUCER)
        run.facets = {"errorMessage": error}
    else:
        each = Member(event["event"], event["name"], event["version"])
        manifest = MANIFESTS[each.kind].read(folder(store, each))
        inputs += [_input(parent) for parent in sorted(parents(manifest))]
        outputs = [_output(each, manifest, folder(store, each))]
    return RunEvent(
        eventType=RunState.FAIL if refused else RunState.COMPLETE,
        eventTime=event["time"],
        run=run,
        job=Job(_namespace(), f"{command}.{event['name']}"),
        inputs=inputs,
        outputs=outputs,
        producer=PRODUCER,
    )


def _namespace() -> str:
    return os.environ.get("OPENLINEAGE_NAMESPACE") or "assay"


def _why(event: Mapping[str, Any]) -> str:
    """Why a candidate was refused, in a sentence."""
    if "message" in event:
        return masked(event["message"])
    counts = event["counts"]
    rules = f" by {', '.join(event['rules'])}" if event["rules"] else ""
    return f"Refused ({event['why']}){rules}: {counts['kept']:,} rows kept, {counts['quarantined']:,} quarantined."


def _drop(event: Mapping[str, Any]) -> "InputDataset":
    """The raw files of a run, named as OpenLineage names files: by bucket and key, or by path."""
    from openlineage.client.event_v2 import InputDataset

    scheme, url, rest = without_secrets(event["where"]).partition("://")
    if not url:
        return InputDataset("file", scheme, facets=_version(event["drop"]))
    bucket, _, key = rest.partition("/")
    return InputDataset(f"{scheme}://{bucket}", key or "/", facets=_version(event["drop"]))


def _input(parent: Member) -> "InputDataset":
    from openlineage.client.event_v2 import InputDataset

    return InputDataset(_namespace(), f"{parent.kind}/{parent.name}", facets=_version(parent.version))


def _output(each: Member, manifest: Manifest, place: Path) -> "OutputDataset":
    """What was published: its version, its columns and rows where it is a data set, and the bytes of its files."""
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset, schema_dataset

    facets, rows = _version(each.version), None
    if isinstance(manifest, DatasetManifest):
        rows = manifest.counts.kept
        facets["schema"] = schema_dataset.SchemaDatasetFacet(_columns(place), producer=PRODUCER)
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        rows, size(place, manifest.files), len(manifest.files), producer=PRODUCER
    )
    name = f"{each.kind}/{each.name}"
    return OutputDataset(_namespace(), name, facets=facets, outputFacets={"outputStatistics": statistics})


def _version(version: str) -> dict[str, Any]:
    from openlineage.client.facet_v2 import dataset_version_dataset

    return {"version": dataset_version_dataset.DatasetVersionDatasetFacet(version, producer=PRODUCER)}


def _columns(place: Path) -> "list[SchemaDatasetFacetFields]":
    """The columns of a data set version, as far as its file's footer tells them: no row is read or hashed."""
    try:
        return [_column(field) for field in pq.read_schema(fetched(place / COLUMNS_OF))]
    except (OSError, pa.ArrowException):
        raise damaged(place, COLUMNS_OF, "not readable as Parquet") from None


def _column(field: pa.Field) -> "SchemaDatasetFacetFields":
    from openlineage.client.facet_v2 import schema_dataset

    inner = field.type.value_type if pa.types.is_list(field.type) else field.type
    nested = [_column(each) for each in inner] if pa.types.is_struct(inner) else []
    type_ = "list" if pa.types.is_list(field.type) else "struct" if nested else str(field.type)
    return schema_dataset.SchemaDatasetFacetFields(field.name, type_, fields=nested)


def _send(events: "list[RunEvent]") -> str:
    """Send events, in order, to where the client is configured to.

    Returns:
        Where that is.

    Raises:
        AssayError: the client has no such place, or one event cannot be sent. What it says of the error is its kind:
            words of the client and of a server may hold keys.
    """
    from openlineage.client import OpenLineageClient

    done = 0
    with _silent():
        try:
            client = OpenLineageClient()
        except Exception as error:
            raise AssayError(
                f"The configuration of OpenLineage's client is wrong ({type(error).__name__}).",
                remedy="Look at OPENLINEAGE_URL, the variables OPENLINEAGE__* and openlineage.yml.",
            ) from None
        if client.transport.kind in NOWHERE:
            raise AssayError(
                "OpenLineage's client is not configured to send events anywhere.",
                remedy="Set OPENLINEAGE_URL, and OPENLINEAGE_API_KEY if it wants a key, or write openlineage.yml.",
            )
        place = without_secrets(str(getattr(client.transport, "url", client.transport.kind)))
        try:
            for event in events:
                client.emit(event)
                done += 1
        except Exception as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            told = type(error).__name__ if status is None else f"HTTP status {status}"
            raise AssayError(
                f"{place}: event {done + 1} of {len(events)} could not be sent ({told}); {done} were.",
                remedy="Send them again when the server takes them: each has the same run id as before.",
            ) from None
        finally:
            client.close()
    return place


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing is logged meanwhile: the client and urllib3 log settings and whole URLs, keys included."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
