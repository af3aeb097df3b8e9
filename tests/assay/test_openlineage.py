"""`assay lineage`: events that openlineage-python's classes take, in order, with the parents that the store has."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pyarrow.parquet as pq
import pytest
from openlineage.client import event_v2, facet_v2
from typer.testing import CliRunner

import assay
from assay.cli import app
from curate.manifest import DatasetManifest
from curate.publish.refused import RefusedError
from curate.store import Kind, Store
from tests.curate.test_unharmed import light_gate
from tests.documented import missing
from tests.manifests import adapter_manifest, scorecard_manifest
from tests.project import Project, make_rows
from train.manifest import DatasetParent

BASES = {"_producer", "_schemaURL"}
FACETS: dict[str, Callable[..., Any]] = {
    "version": facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet,
    "outputStatistics": facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
    "errorMessage": facet_v2.error_message_run.ErrorMessageRunFacet,
}
SECRET = "never-seen"


class Made(NamedTuple):
    """A store: two data set versions of two drops, one that was refused, an adapter, a scorecard."""

    store: Path
    project: Path
    versions: list[str]
    adapter: str
    scorecard: str


def publish(store: Store, kind: Kind, manifest: dict[str, Any]) -> str:
    del manifest["files"], manifest["version"]
    with store.publishing(kind, "demo") as draft:
        (draft.folder / "weights.bin").write_bytes(b"12345")
        version = draft.publish(manifest | {"name": "demo"}).name
    store.record({"event": kind, "name": "demo", "version": version, "found": False})
    store.record({"event": kind, "name": "demo", "version": version, "found": True})  # found again: no run of its own
    return version


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    project = Project(tmp_path_factory.mktemp("project"))
    store = Store(project.folder / "store")

    def drop(name: str, rows: list[dict[str, Any]]) -> str:
        project.drop = project.folder / name
        project.add("rows.jsonl", rows)
        return project.curate().folder.name

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curate.publish.gate.check_set", light_gate)
        first = drop("first", make_rows(60))
        with pytest.raises(RefusedError):
            drop("purple", [row | {"colour": "purple"} for row in make_rows(40, seed=1)])
        second = drop("second", make_rows(60, seed=2))
    dataset = DatasetParent.of(DatasetManifest.read(store.root / "datasets/demo" / second)).content()
    trained, asked = adapter_manifest(), scorecard_manifest()
    trained["inputs"]["dataset"] = asked["inputs"]["dataset"] = dataset
    adapter = publish(store, "adapters", trained)
    asked["inputs"]["adapter"] = {"name": "demo", "version": adapter}
    return Made(store.root, project.folder, [first, second], adapter, publish(store, "scorecards", asked))


def taken(event: dict[str, Any]) -> event_v2.RunEvent:
    """An event, made of its JSON by the classes; a key that they do not know is an error."""
    rest = {key: value for key, value in event.items() if key != "schemaURL"}
    rest["eventType"] = event_v2.RunState(rest["eventType"])
    rest["run"] = event_v2.Run(event["run"]["runId"], facets=facets(event["run"]["facets"]))
    rest["job"] = event_v2.Job(**event["job"])
    rest["inputs"] = [event_v2.InputDataset(**each | {"facets": facets(each["facets"])}) for each in event["inputs"]]
    rest["outputs"] = [
        event_v2.OutputDataset(
            **each | {"facets": facets(each["facets"]), "outputFacets": facets(each["outputFacets"])}
        )
        for each in event["outputs"]
    ]
    return event_v2.RunEvent(**rest)


def facets(told: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name, content in told.items():
        assert content.keys() >= BASES
        own = {key: value for key, value in content.items() if key not in BASES}
        if name == "schema":
            found[name] = facet_v2.schema_dataset.SchemaDatasetFacet([column(each) for each in own["fields"]])
        else:
            found[name] = FACETS[name](**own)
    return found


def column(told: dict[str, Any]) -> Any:
    fields = [column(each) for each in told["fields"]]
    return facet_v2.schema_dataset.SchemaDatasetFacetFields(**told | {"fields": fields})


def named(dataset: dict[str, Any]) -> tuple[str, str, str]:
    return dataset["namespace"], dataset["name"], dataset["facets"]["version"]["datasetVersion"]


def test_each_event_is_one_of_the_standard(made: Made) -> None:
    for event in assay.lineage(store=made.store).events:
        taken(event)
        assert event["producer"] == "urn:assay:lineage"
        assert event["schemaURL"].startswith("https://openlineage.io/spec/2-0-2/OpenLineage.json")


def test_events_are_in_the_order_of_the_ledger_and_name_their_parents(made: Made) -> None:
    first, second = made.versions
    events = assay.lineage(store=made.store).events
    assert [(each["job"]["namespace"], each["job"]["name"], each["eventType"]) for each in events] == [
        ("assay", "curate.demo", "COMPLETE"),
        ("assay", "curate.demo", "FAIL"),
        ("assay", "curate.demo", "COMPLETE"),
        ("assay", "train.demo", "COMPLETE"),
        ("assay", "evaluate.demo", "COMPLETE"),
    ]
    manifests = [DatasetManifest.read(made.store / "datasets/demo" / each) for each in made.versions]
    drops = [
        ("file", str(made.project / name), each.drop.sha256)
        for name, each in zip(("first", "second"), manifests, strict=True)
    ]
    adapter = ("assay", "adapters/demo", made.adapter)
    dataset = ("assay", "datasets/demo", second)
    inputs = [[named(each) for each in event["inputs"]] for event in events]
    assert inputs[0] == [drops[0]]
    assert inputs[1][0][:2] == ("file", str(made.project / "purple"))
    assert inputs[2:] == [[drops[1], ("assay", "datasets/demo", first)], [dataset], [adapter, dataset]]
    assert [[named(each) for each in event["outputs"]] for event in events] == [
        [("assay", "datasets/demo", first)],
        [],
        [dataset],
        [adapter],
        [("assay", "scorecards/demo", made.scorecard)],
    ]
    told = [line for line in Store(made.store).events() if line["event"] not in ("promoted",) and not line.get("found")]
    assert [event["eventTime"] for event in events] == [line["time"] for line in told]


def test_an_output_tells_its_columns_rows_and_bytes(made: Made) -> None:
    first, _, _, adapter, _ = assay.lineage(store=made.store).events
    folder = made.store / "datasets/demo" / made.versions[0]
    manifest = DatasetManifest.read(folder)
    [output] = first["outputs"]
    fields = {each["name"]: each for each in output["facets"]["schema"]["fields"]}
    assert list(fields) == pq.read_schema(folder / "train.parquet").names
    assert (fields["tokens"]["type"], fields["turns"]["type"], fields["source"]["type"]) == ("int32", "list", "struct")
    assert [each["name"] for each in fields["source"]["fields"]] == ["drop", "file", "row", "places"]
    told = output["outputFacets"]["outputStatistics"]
    sizes = [(folder / name).stat().st_size for name in manifest.files]
    assert (told["rowCount"], told["size"], told["fileCount"]) == (manifest.counts.kept, sum(sizes), len(sizes))
    [output] = adapter["outputs"]
    assert output["facets"].keys() == {"version"}
    assert output["outputFacets"]["outputStatistics"]["size"] == 5
    assert "rowCount" not in output["outputFacets"]["outputStatistics"]


def test_a_refusal_says_why(made: Made) -> None:
    refused = assay.lineage(store=made.store).events[1]["run"]["facets"]["errorMessage"]
    assert refused["message"].startswith("Refused (")
    assert "0 rows kept, 40 quarantined" in refused["message"]


def test_runs_have_ids_of_their_own_that_stay(made: Made, tmp_path: Path) -> None:
    events = assay.lineage(store=made.store).events
    assert len({UUID(each["run"]["runId"]) for each in events}) == 5
    assert assay.lineage(store=shutil.copytree(made.store, tmp_path / "copy")).events == events


def test_of_what_was_retracted_or_is_of_another_name_there_is_none(made: Made, tmp_path: Path) -> None:
    store = Path(shutil.copytree(made.store, tmp_path / "store"))
    assay.retract(f"demo/{made.adapter}", kind="adapters", with_later=True, store=store)
    assert [each["job"]["name"] for each in assay.lineage("demo", store=store).events] == ["curate.demo"] * 3
    with pytest.raises(assay.AssayError, match=r"other: the ledger of .* tells of nothing of that name"):
        assay.lineage("other", store=store)


def test_drops_elsewhere_are_named_without_secrets(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    told = {"event": "refused", "name": "demo", "drop": "0" * 64, "why": "columns"}
    message = f"No column `a` in https://me:{SECRET}@host.test/x.csv."
    store.record(told | {"where": f"s3://key:{SECRET}@bucket/drops/may?token={SECRET}", "message": message})
    [event] = assay.lineage(store=store.root).events
    assert [named(each) for each in event["inputs"]] == [("s3://bucket", "drops/may", "0" * 64)]
    assert event["run"]["facets"]["errorMessage"]["message"] == "No column `a` in https://host.test/x.csv."


def test_the_command_writes_a_line_of_json_for_each(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "elsewhere")
    done = CliRunner().invoke(app, ["lineage", "--store", str(made.store)])
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines == assay.lineage(store=made.store).events
    assert {each["job"]["namespace"] for each in lines} == {"elsewhere"}
    document = json.loads(CliRunner().invoke(app, ["lineage", "--store", str(made.store), "--json"]).stdout)
    assert missing("lineage", document) == []
    assert (document["events"], document["sent"]) == (lines, None)


@contextmanager
def server(status: int) -> Iterator[tuple[str, list[Any]]]:
    """A server on the loopback that answers each event with a status; its URL, and what it was sent."""
    got: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.append((self.path, self.headers["Authorization"], body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{running.server_port}", got
        finally:
            running.shutdown()
            thread.join()


def send(made: Made, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the client writes into the environment."""
    return subprocess.run(
        [sys.executable, "-m", "assay", "lineage", "--send", "--json", "--store", str(made.store)],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if not key.startswith("OPENLINEAGE")}
        | {"PYTHONPATH": str(Path(assay.__file__).parent.parent), "HOME": str(folder)}
        | environment,
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_events_are_sent_to_where_the_client_is_configured_to(made: Made, tmp_path: Path) -> None:
    with server(201) as (host, got):
        done = send(made, tmp_path, OPENLINEAGE_URL=f"http://{host}", OPENLINEAGE_API_KEY=SECRET)
    document = json.loads(done.stdout)
    assert (done.returncode, document["sent"]) == (0, f"http://{host}")
    bodies = [body for _, _, body in got]
    assert {tag["source"] for body in bodies for tag in body["run"]["facets"].pop("tags")["tags"]} == {
        "OPENLINEAGE_CLIENT"  # which adds its own version
    }
    assert bodies == document["events"] == assay.lineage(store=made.store).events
    assert {(path, key) for path, key, _ in got} == {("/api/v1/lineage", f"Bearer {SECRET}")}
    assert SECRET not in done.stdout + done.stderr


def test_a_server_that_does_not_take_them_is_told_without_secrets(made: Made, tmp_path: Path) -> None:
    with server(422) as (host, got):
        endpoint = f"events?key={SECRET}"
        done = send(made, tmp_path, OPENLINEAGE_URL=f"http://user:{SECRET}@{host}", OPENLINEAGE_ENDPOINT=endpoint)
    error = json.loads(done.stdout)["error"]
    assert done.returncode == 1
    assert error["message"] == f"http://{host}: event 1 of 5 could not be sent (HTTP status 422); 0 were."
    assert len(got) == 1
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "not configured to send events anywhere"),
        ({"OPENLINEAGE_DISABLED": "true", "OPENLINEAGE_URL": "http://127.0.0.1:9"}, "not configured to send"),
        ({"OPENLINEAGE_URL": f"user:{SECRET}@host"}, "configuration of OpenLineage's client is wrong (ValueError)"),
    ],
)
def test_a_client_that_has_nowhere_to_send_is_an_error(
    environment: dict[str, str], message: str, made: Made, tmp_path: Path
) -> None:
    done = send(made, tmp_path, **environment)
    assert done.returncode == 1
    assert message in json.loads(done.stdout)["error"]["message"]
    assert SECRET not in done.stdout + done.stderr


def test_without_the_package_the_extra_is_named(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.openlineage.find_spec", lambda name: None)
    with pytest.raises(assay.AssayError) as error:
        assay.lineage(store=made.store)
    assert error.value.remedy == "pip install 'assay-curation[lineage]'"
