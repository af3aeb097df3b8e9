"""Prefect servers for the tests of flows: one that flows report to, and one whose worker runs them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.flows.served import Served, serving


@contextmanager
def answering() -> Iterator[None]:
    from prefect.context import refresh_global_settings_context
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120), pytest.MonkeyPatch.context() as patch:
        # The harness tells the main thread only; Prefect's other threads would start a server each.
        patch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
        refresh_global_settings_context()
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            yield
    refresh_global_settings_context()


UP = ExitStack()


@pytest.fixture(scope="session")
def prefect_server() -> None:
    """Flows called by a test talk to a temporary server with a database of its own."""
    UP.enter_context(answering())


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """After the last test of flows: a server that nobody asks is busy with its clocks."""
    if nextitem is None or not nextitem.nodeid.startswith("tests/flows/"):
        UP.close()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server, a worker and what they have been told, each to be killed; whoever does starts it again."""
    with serving(
        tmp_path_factory.mktemp("served"), ASSAY_KEEP="all"
    ) as made:  # what a killed run has made is looked for
        yield made
