"""prefect.yaml names flows that exist, with parameters that they take."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.utilities.importtools import import_object

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
