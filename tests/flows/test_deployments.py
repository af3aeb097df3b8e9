"""prefect.yaml names flows that exist, with parameters that they take; a deployment's form offers and refuses."""

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
from flows.pipeline import pipeline

DECLARED: dict[str, Any] = yaml.safe_load((Path(__file__).resolve().parents[2] / "prefect.yaml").read_text())
DEPLOYMENTS: list[dict[str, Any]] = DECLARED["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each["entrypoint"])
def test_a_deployment_names_a_flow_and_its_parameters(deployment: dict[str, Any]) -> None:
    # By module: Prefect puts the folder of a file on the path, and there flows/evaluation.py would hide `evaluation`.
    assert ":" not in deployment["entrypoint"]
    flow = import_object(deployment["entrypoint"])
    assert isinstance(flow, Flow)
    assert flow.name == deployment["entrypoint"].rpartition(".")[2]
    flow.validate_parameters(deployment["parameters"])


def test_each_flow_is_deployed_and_the_pipeline_daily() -> None:
    assert [each["entrypoint"].split(".")[1] for each in DEPLOYMENTS] == [
        "pipeline",
        "curation",
        "training",
        "evaluation",
    ]
    schedules = {each["entrypoint"]: each.get("schedules", []) for each in DEPLOYMENTS}
    (daily,) = schedules.pop("flows.pipeline.pipeline")
    minute, hour, *rest = daily["cron"].split()
    assert minute.isdigit()
    assert hour.isdigit()
    assert rest == ["*", "*", "*"]
    assert not any(schedules.values())


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
        ({"store": "s3://bucket/store"}, "a store is a folder; object storage is not supported yet"),
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
