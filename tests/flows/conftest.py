"""Prefect servers for the tests of flows: one that flows report to, and one whose worker runs them."""

from collections.abc import Iterator

import pytest

from tests.flows.served import Served, serving


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """Flows called by a test talk to a temporary server with a database of its own."""
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


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server, a worker and what they have been told, each to be killed; whoever does starts it again."""
    with serving(
        tmp_path_factory.mktemp("served"), ASSAY_KEEP="all"
    ) as made:  # what a killed run has made is looked for
        yield made
