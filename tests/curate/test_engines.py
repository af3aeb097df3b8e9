"""Engines past one machine: the same bytes, order, errors and deaths as those of processes of one."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curate.engine import WorkerDied
from curate.engines import dask_cluster, engine, host, ray_cluster
from curate.errors import AssayError
from curate.progress import silent
from curate.store import Store
from curate.workers import packed, process_pool
from tests.curate.naps import Trap, linger
from tests.curate.on_engine import lethal_project, published
from tests.curate.test_unharmed import lighten, result

ROOT = Path(__file__).resolve().parents[2]
ALONE = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
"""Runs a command where there is no network but loopback."""


def needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the package {package} is not installed: pip install -c constraints.txt {package}")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What processes of one machine publish."""
    project = lethal_project(tmp_path_factory.mktemp("processes") / "project")
    with pytest.MonkeyPatch.context() as patch, process_pool(2, silent) as map_shards:
        lighten(patch)
        published(project, map_shards)
    (path,) = (project.folder / "store/datasets").rglob("quarantine.parquet")
    assert "worker_died" in pq.read_table(path)["reason"].to_pylist()
    return result(project.folder / "store")


def run_on(name: str, folder: Path, *before: str) -> dict[str, Any]:
    """What `tests.curate.on_engine` tells."""
    command = [*before, sys.executable, "-m", "tests.curate.on_engine", name, str(folder)]
    environment = {
        key: value for key, value in os.environ.items() if key not in ("DASK_SCHEDULER_ADDRESS", "RAY_ADDRESS")
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def assert_as_processes(facts: dict[str, Any], folder: Path, expected: dict[str, bytes]) -> None:
    assert [size for size, _ in facts["naps"]] == [1, 2, 3]
    assert len({process for _, process in facts["naps"]} | {facts["driver"]}) == 3, "two workers, and the one that asks"
    assert facts["told"][0] == ["naps", 0, 6, "naps"]
    assert facts["told"][-1] == ["naps", 6, 6, "naps"]
    assert (folder / "sprung").exists(), "a worker of the cluster was killed"
    assert facts["traps"] == [1, 2, 3, 4], "it cost nothing"
    message, remedy = facts["refused"]
    assert message in ("nap 1 is refused", "nap 2 is refused")
    assert remedy == "Do not nap."
    assert result(folder / "project/store") == expected


def test_dask_gives_what_processes_give(tmp_path: Path, expected: dict[str, bytes]) -> None:
    needs("distributed")
    assert_as_processes(run_on("dask", tmp_path), tmp_path, expected)


@pytest.mark.slow
def test_ray_gives_what_processes_give(tmp_path: Path, expected: dict[str, bytes]) -> None:
    needs("ray")
    if subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        pytest.skip(
            "Ray listens on every interface: it is only started in a network namespace, which takes root and ip"
        )
    assert_as_processes(run_on("ray", tmp_path, *ALONE), tmp_path, expected)


@pytest.fixture
def terms(tmp_path: Path) -> Iterator[host.Terms]:
    with host.terms(tmp_path / "cache") as terms:
        yield terms


def test_a_worker_that_does_not_see_the_store_says_so(terms: host.Terms, tmp_path: Path) -> None:
    host.agree(terms)
    with pytest.raises(AssayError, match=r"does not see .*/elsewhere\.") as caught:
        host.agree(replace(terms, mark=tmp_path / "elsewhere/mark"))
    assert "absolute path" in caught.value.remedy


@pytest.mark.parametrize("name", ["Python", "Assay's code", "pyarrow"])
def test_a_worker_with_another_version_of_what_decides_says_so(name: str, terms: host.Terms) -> None:
    with pytest.raises(AssayError, match=rf"has {name} .*; the run was started with 0\.1\."):
        host.agree(replace(terms, versions=terms.versions | {name: "0.1"}))


def test_what_a_run_is_at_can_be_ended(terms: host.Terms, tmp_path: Path) -> None:
    results: list[bytes | WorkerDied] = []
    trap = Trap(1, tmp_path / "sprung")
    thread = threading.Thread(target=lambda: results.append(host.run(terms, packed(linger, trap))))
    thread.start()
    while thread.is_alive():
        host.end("another run")
        host.end(terms.run)
        time.sleep(0.1)
    (died,) = results
    assert isinstance(died, WorkerDied)
    assert died.killed
    assert not trap.sprung.exists()


@pytest.mark.slow
def test_who_interrupts_leaves_a_running_cluster_without_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("distributed")
    import distributed

    def interrupted(at: Any) -> None:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", at.scheduler_address)
        with engine("dask", None, Store(tmp_path / "store"), silent) as map_shards:
            signal.alarm(3)
            map_shards("traps", linger, [Trap(number, tmp_path / f"trap {number}") for number in range(1, 20)])

    with ExitStack() as held:
        held.callback(signal.signal, signal.SIGALRM, signal.signal(signal.SIGALRM, signal.default_int_handler))
        at = held.enter_context(
            distributed.LocalCluster(
                n_workers=1, processes=False, protocol="tcp", host="127.0.0.1", dashboard_address="127.0.0.1:0"
            )
        )
        with pytest.raises(KeyboardInterrupt):
            interrupted(at)
        deadline = time.monotonic() + 60
        while host._processes._busy:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert [path.name for path in (tmp_path / "store/cache").iterdir()] == []


@pytest.mark.parametrize(("name", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_what_is_not_installed_is_named_with_the_command(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, "dask", None)
    with (
        pytest.raises(AssayError, match=f"The engine {name} needs") as caught,
        engine(name, 2, Store(tmp_path), silent),
    ):
        pass
    assert caught.value.remedy == f"pip install 'assay-curation[{name}]'"


def test_ray_is_not_started_where_others_could_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_cluster, "_interfaces_up", lambda: ["eth0"])
    with (
        pytest.raises(AssayError, match=r"listen on every interface \(eth0 too\)"),
        engine("ray", 2, Store(tmp_path), silent),
    ):
        pass


def test_no_other_keys_reach_the_dask_of_a_run() -> None:
    needs("distributed")
    import distributed

    with dask_cluster._local(0) as cluster:
        address = cluster.scheduler_address
        assert address.startswith("tls://127.0.0.1:")
        for other, keys in (
            (address, distributed.security.Security.temporary()),
            (address.replace("tls:", "tcp:"), None),
        ):
            with pytest.raises(OSError, match=r"TLS certificate does not match|Timed out|TCP \(closed\)"):
                distributed.Client(other, security=keys, timeout=2)


def test_loopback_is_no_way_to_reach_it() -> None:
    assert "lo" not in ray_cluster._interfaces_up()


def test_no_scheduler_is_told_with_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("distributed")
    import dask

    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:9")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": 1}),
        pytest.raises(AssayError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9") as caught,
        engine("dask", 2, Store(tmp_path), silent),
    ):
        pass
    assert "DASK_SCHEDULER_ADDRESS" in caught.value.remedy


def test_the_environment_names_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_ENGINE", "spark")
    with pytest.raises(AssayError, match="no engine 'spark'") as caught, engine(None, 2, Store(tmp_path), silent):
        pass
    assert "processes, dask, ray" in caught.value.remedy
