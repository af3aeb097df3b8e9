"""A worker on another machine needs nothing but the store, the drop and the wheel."""

import importlib.util
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from numba.core.caching import UserProvidedCacheLocator

from curate import mirror
from curate.cache import cache_text
from curate.engine import map_in_process
from curate.engines import engine, host
from curate.errors import AssayError
from curate.pipeline import curate
from curate.progress import silent
from curate.store import Store, store_at
from curate.workers import packed
from evaluation.settings import FullRecipe
from tests.buckets import Served, served
from tests.curate.naps import Sleep
from tests.curate.test_unharmed import lighten
from tests.project import Project, make_rows

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
ELSEWHERE = """
mount -t tmpfs none "$1" && shift && exec setpriv --reuid 65534 --regid 65534 --clear-groups \\
  --inh-caps +dac_read_search --ambient-caps +dac_read_search "$@"
"""
"""Runs a command as another user where a folder of this one is not there. The interpreter may lie where others may not
read, so that it may read all that it sees; it can write nothing but its own."""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Served]:
    with served() as found:
        for name, value in (found.environment() | {mirror.PLACE: str(tmp_path / "mirror")}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(mirror, "_mirrors", {})
        found.begin()
        yield found


def kernels_in(folder: Path) -> Path:
    """A folder with the kernels that are kept beside their modules: who cannot write there would compile all anew."""
    folder.mkdir()
    for kept in (ROOT / "curate").rglob("__pycache__/*.nb?"):
        place = folder / UserProvidedCacheLocator.get_suitable_cache_subpath(str(kept.parents[1] / "any.py"))
        place.mkdir(exist_ok=True)
        shutil.copy(kept, place)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    return folder


@contextmanager
def dask_elsewhere(here: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Dask cluster whose one worker is another user's, has a home of its own, and does not see a folder.

    Args:
        here: the folder.
        home: is empty.
    """
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("the package distributed is not installed")
    alone = ["unshare", "--mount", "sh", "-c", ELSEWHERE, "sh", str(here)]
    if shutil.which("setpriv") is None or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a worker of another user, from whom folders are hidden, takes root, unshare and setpriv")
    os.chown(home, NOBODY, NOBODY)
    environment = {key: value for key, value in os.environ.items() if key != mirror.PLACE}
    kernels = kernels_in(home / "kernels")
    environment |= {"HOME": str(home), "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(kernels)}
    known, python = home / "scheduler.json", [sys.executable, "-m"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    at = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(known)]
    scheduler = subprocess.Popen([*python, "distributed.cli.dask_scheduler", *at], **quiet)
    processes = [scheduler]
    try:
        while not known.is_file():
            assert scheduler.poll() is None
            time.sleep(0.1)
        address = json.loads(known.read_bytes())["address"]
        worker = [*alone, *python, "distributed.cli.dask_worker", address, "--no-dashboard", "--nthreads", "1"]
        processes.append(subprocess.Popen([*worker, "--no-nanny"], cwd=home, env=environment, **quiet))
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
        yield
    finally:
        for process in processes[::-1]:
            process.terminate()
            process.wait(timeout=60)


def test_a_worker_of_another_user_with_an_empty_home_gives_the_same_bytes(
    bucket: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lighten(monkeypatch)
    project = Project(tmp_path / "project")
    for number in range(2):
        lines = "".join(json.dumps(row) + "\n" for row in make_rows(20, number))
        bucket.client().put_object(Bucket="drop", Key=f"in/{number}.jsonl", Body=lines.encode())
    recipe = FullRecipe.load(project.recipe_path, drop="s3://drop/in")
    expected = curate(recipe, Store(tmp_path / "local"), tokenizer_folder=project.tokenizer, map_shards=map_in_process)
    home = Path("/var/tmp") / f"assay-{os.getpid()}"
    home.mkdir()
    try:
        with dask_elsewhere(tmp_path, home, monkeypatch):
            store = store_at(bucket.store)
            with engine("dask", None, store, silent) as map_shards:
                done = curate(recipe, store, tokenizer_folder=project.tokenizer, map_shards=map_shards)
        (worker_s,) = home.glob(".cache/assay/stores/*")
        assert list(worker_s.glob("cache/stages/*/*/checksums")), "it had the rows from the bucket"
        assert worker_s.stat().st_uid == NOBODY
    finally:
        shutil.rmtree(home)
    both = [{path.name: path.read_bytes() for path in each.folder.glob("*.*")} for each in (expected, done)]
    assert both[0] == both[1]
    assert all(done.cached[stage][0] == 0 for stage in ("read", "clean", "render", "duplicates"))
    assert not [name for name in bucket.names() if name.startswith("marks/")], "nothing of the run is left"


def there(task: Sleep) -> Path:
    raise NotImplementedError


def test_a_path_of_the_store_comes_out_as_that_of_the_machine(
    bucket: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(bucket.store)
    cache_text(store.cache / "stages/ab/abc", "x", "text")
    work = packed(there, (store.cache / "stages/ab/abc/x", Path("/elsewhere")))  # type: ignore[arg-type]
    monkeypatch.setenv(mirror.PLACE, str(tmp_path / "another"))
    monkeypatch.setattr(mirror, "_mirrors", {})
    _, (path, other) = pickle.loads(work)
    assert path == store_at(bucket.store).cache / "stages/ab/abc/x"
    assert path.is_relative_to(tmp_path / "another")
    assert path.read_text() == "text", "what a task names is fetched"
    assert other == Path("/elsewhere")


def test_a_worker_that_cannot_use_the_bucket_says_so(bucket: Served) -> None:
    with host.terms(store_at(bucket.store).cache) as terms:
        host.agree(terms)
        for name in [name for name in bucket.names() if name.startswith("marks/")]:
            bucket.client().delete_object(Bucket="store", Key=f"{bucket.number}/{name}")
        with pytest.raises(AssayError, match=r"The worker \d+ on .* finds another store at s3://store/") as caught:
            host.agree(terms)
        assert "AWS_ENDPOINT_URL" in caught.value.remedy
        bucket.fault = lambda _: "refused"
        with pytest.raises(AssayError, match=r"The worker \d+ on .*: could not get marks/") as caught:
            host.agree(terms)
        assert "hush" not in str(caught.value)
        bucket.heal()
    assert not [name for name in bucket.names() if name.startswith("marks/")]
