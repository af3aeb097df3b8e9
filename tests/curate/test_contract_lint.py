"""Contracts are the standard's: datacontract-cli, in an environment of its own, finds the packaged ones valid."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from assay.contracts import whole_contract
from tests.curate.test_contract import PACKAGED


@pytest.fixture(scope="module")
def datacontract(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, installed anew (some 130 MB)."""
    folder = tmp_path_factory.mktemp("datacontract")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    install = [folder / "bin/pip", "install", "--quiet", "datacontract-cli>=1.0,<2"]
    done = subprocess.run(install, env=environment, capture_output=True, text=True, timeout=280)
    if done.returncode:
        pytest.skip(f"datacontract-cli cannot be installed here: {done.stderr[-300:]}")
    return folder / "bin/datacontract"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_contract_is_valid_for_others_too(datacontract: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / "contract.odcs.yaml"
    file.write_text(yaml.safe_dump(whole_contract(name).data()["contract"], sort_keys=False, allow_unicode=True))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([datacontract, "lint", file], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "data contract is valid" in done.stdout.lower()
