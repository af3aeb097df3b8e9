"""prefect.yaml names flows that exist, with parameters that they take; a deployment's form offers and refuses."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import PrefectHTTPStatusError
from prefect.utilities.importtools import import_object

from curate.recipe import packaged_recipes
from flows.automations import HEARTBEATS, SILENCE
from flows.notifications import TAG
from flows.pipeline import pipeline

DECLARED_TEXT = (Path(__file__).resolve().parents[2] / "prefect.yaml").read_text()
DECLARED: dict[str, Any] = yaml.safe_load(DECLARED_TEXT)
DEPLOYMENTS: list[dict[str, Any]] = DECLARED["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each["entrypoint"])
def test_a_deployment_names_a_flow_and_its_parameters(deployment: dict[str, Any]) -> None:
    # By module: Prefect puts the folder of a file on the path, and there flows/evaluation.py would hide `evaluation`.
    assert ":" not in deployment["entrypoint"]
    flow = import_object(deployment["entrypoint"])
    assert isinstance(flow, Flow)
    assert flow.name == deployment["entrypoint"].rpartition(".")[2].replace("_", "-")
    flow.validate_parameters(deployment["parameters"])


def test_each_flow_is_deployed_and_some_on_schedules() -> None:
    of = {each["entrypoint"].rpartition(".")[2]: each for each in DEPLOYMENTS}
    assert of.keys() == {"pipeline", "watcher", "curation", "training", "evaluation", "clean_up", "monitor"}
    schedules = {name: each["schedules"][0] for name, each in of.items() if "schedules" in each}
    assert schedules.keys() == {"pipeline", "watcher", "clean_up", "monitor"}
    assert schedules["pipeline"]["cron"] == "0 3 * * *"
    assert schedules["watcher"]["interval"] == 60
    assert schedules["clean_up"]["cron"] == "0 5 * * 0"


def test_a_run_can_be_told_from_a_dead_one_and_is_known_as_ours() -> None:
    for each in DEPLOYMENTS:
        assert each["work_pool"]["job_variables"]["env"] == HEARTBEATS
        assert each["tags"][0] == TAG
        assert each["description"]


def test_a_run_beats_as_often_as_the_automations_expect_in_every_kind_of_pool() -> None:
    """Those that are commented out too: whoever takes one would have live runs called crashed."""
    ((name, seconds),) = HEARTBEATS.items()
    told = re.findall(rf'{name}: "(\d+)"', DECLARED_TEXT)
    assert told == [seconds] * len(re.findall(r"work_pool: &work_pool", DECLARED_TEXT))
    assert timedelta(seconds=2 * int(seconds)) < SILENCE < timedelta(minutes=2), "one may be late"


def test_the_page_of_deployments_lists_each_with_its_parameters() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/deployments.md").read_text()
    listed = re.findall(r"^\| `([\w-]+/[\w-]+)` \| .+ \| .+ \| (.+) \|$", page, re.MULTILINE)
    told = {name: re.findall(r"`(\w+)`", parameters) for name, parameters in listed}
    assert told == {
        f"{flow.name}/{each['name']}": [*flow.parameters.properties]
        for each in DEPLOYMENTS
        for flow in [import_object(each["entrypoint"])]
    }


@pytest.fixture(scope="module")
def deployment(prefect_server: None) -> UUID:
    made = RunnerDeployment.from_flow(pipeline, name="form").apply()
    assert isinstance(made, UUID)
    return made


def test_the_form_offers_the_packaged_recipes_and_their_variants(deployment: UUID) -> None:
    with get_client(sync_client=True) as client:
        schema = client.read_deployment(deployment).parameter_openapi_schema
    assert schema is not None
    fields = schema["properties"]
    assert fields["recipe"]["anyOf"][0]["enum"] == packaged_recipes()
    assert {"long", "search", "systems"} <= {*fields["variant"]["anyOf"][0]["enum"]}
    assert all(field["description"] for field in fields.values())


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"recipe": "nowhere"}, f"neither a YAML file nor a packaged recipe: {', '.join(packaged_recipes())}"),
        ({"store": "https://host/store"}, "a store is a folder, or lies on s3://"),
        ({"store": "s3://user:key@bucket"}, "without keys in it"),
        ({"store": "file:///store"}, "a store is a folder"),
        ({"workers": -1}, "-1 is less than the minimum of 1"),
        ({"workers": "two"}, "'two' is not valid"),
        ({"engine": "spark"}, "'spark' is not"),
        ({"variant": ""}, "'' is not valid"),
        ({"drop": "https://host/drop?token=1"}, "a URL with secrets, which Prefect would keep"),
        ({"drop": "s3://user:password@bucket/drop"}, "a URL with secrets"),
        ({"drop": "https://token@host/drop"}, "a URL with secrets"),
    ],
)
def test_what_is_wrong_is_refused_before_a_run_starts(deployment: UUID, parameters: dict[str, Any], said: str) -> None:
    with get_client(sync_client=True) as client, pytest.raises(PrefectHTTPStatusError) as error:
        client.create_flow_run_from_deployment(deployment, parameters=parameters)
    assert said in error.value.response.json()["detail"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"recipe": "licences", "store": "store"},
        {"recipe": "recipes/mine.yaml", "variant": "own", "store": "/shared/a store", "workers": 1, "drop": None},
        {"drop": "s3://bucket/drop", "variant": "long", "workers": None, "engine": "dask"},
        {"drop": "abfss://container@account.dfs.core.windows.net/drop"},
    ],
)
def test_what_is_right_is_taken(deployment: UUID, parameters: dict[str, Any]) -> None:
    with get_client(sync_client=True) as client:
        run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
        assert run.state is not None
        assert run.state.is_scheduled()
        client.delete_flow_run(run.id)
