"""Projects that fail."""

import json

import yaml

from tests.project import CONTRACT, Project


def with_failing_gate(project: Project) -> None:
    """Have the contract want more rows than there are; the rule is called `enough_rows`."""
    contract = json.loads(json.dumps(CONTRACT))
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 10_000}}
    contract["schema"][1]["quality"] = [
        {"name": "enough_rows", "type": "custom", "engine": "greatExpectations", "implementation": rule}
    ]
    (project.folder / "contract/contract.yaml").write_text(yaml.safe_dump(contract, sort_keys=False))
