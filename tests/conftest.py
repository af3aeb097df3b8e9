"""Fixtures shared by every test, and the environment that keeps the suite off the network."""

import gc
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from absl import logging as absl_logging
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from tests.browser import Browser, find_chromium

# Before any library that reads them at import.
os.environ.update(
    DO_NOT_TRACK="1",
    GX_ANALYTICS_ENABLED="false",
    HF_HUB_OFFLINE="1",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    TOKENIZERS_PARALLELISM="false",
)

# When Prefect sets up its logging, absl (of tensorboard, mlcroissant) closes what was standard error at absl's import:
# what pytest captures, unless it is the process's own.
absl_logging.get_absl_handler().python_handler.setStream(sys.__stderr__)

# Two busy cores make any deadline a flaky one. HYPOTHESIS_PROFILE=thorough looks longer than each change can wait.
settings.register_profile("assay", deadline=None, max_examples=25)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "assay"))


class ByFile(LoadFileScheduling):  # type: ignore[misc]
    """A file's tests run in one process, and those of the flows all in one: each other would start a Prefect server."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "tests/flows" if file.startswith("tests/flows/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile | None:
    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None


QUICK = tuple(str(Path(__file__).parent / "curate" / name) for name in ("read", "rows", "text"))
"""Folders of quick tests: they come last, so that no process is left with a long file when the others end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: str(item.path).startswith(QUICK))


def pytest_collection_finish() -> None:
    """What was imported stays, and need not be looked through for garbage."""
    gc.collect()
    gc.freeze()


ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets that lies beside the repository; tests that need it are skipped without it."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not here: {folder} does not exist")
    return folder


@pytest.fixture(scope="session")
def licence_data() -> Path:
    """The folder of `licensedcode-data` that holds rules/ and licenses/."""
    spec = importlib.util.find_spec("licensedcode")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("licensedcode-data is not installed: pip install 'assay-curation[demo]'")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium, shared by the tests of a process."""
    command = find_chromium()
    if command is None:
        pytest.skip("no Chromium on the path: apt-get install chromium-headless-shell, or chromium")
    with Browser(command, tmp_path_factory.mktemp("profile")) as started:
        yield started
