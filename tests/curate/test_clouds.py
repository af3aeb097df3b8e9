"""A store on Azure's and on Google's storage: what one in a bucket of S3 promises, without the faults."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from assay.cli import app
from curate import lease, mirror
from curate.bucket import Bucket
from curate.publish.check import check_version
from curate.store import Store, verified_whole
from tests.clouds import Cloud, azure, google
from tests.curate.test_objects import curated, files, machine, publish, started
from tests.project import Project, make_rows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[azure, google], ids=["abfs", "gs"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with request.param(tmp_path_factory.mktemp("cloud")) as found:
        yield found


@pytest.fixture
def bucket(server: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(lease.SECONDS, "60")
    monkeypatch.setattr(mirror, "_mirrors", {})
    server.begin()
    return server


def test_an_object_is_created_once_and_what_is_not_there_is_told_so(bucket: Cloud) -> None:
    there = Bucket(bucket.store)
    assert there.create("a/one", b"first")
    assert not there.create("a/one", b"second")
    assert there.get("a/one") == b"first"
    assert there.get("a/two") is None
    there.put("a/one", b"third")
    there.copy("a/one", "b/one")
    there.remove(["a/one", "a/two"])
    assert (list(there.listed("a")), list(there.listed("b")), there.get("b/one")) == ([], ["b/one"], b"third")
    assert there.listed("b")["b/one"].size == 5
    assert there.listed("b")["b/one"].modified > 0


def test_a_curation_gives_the_same_bytes_and_the_next_one_elsewhere_too(bucket: Cloud, tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    for number in range(2):
        project.add(f"{number}.jsonl", make_rows(40, number))
        local = curated(project, Store(tmp_path / "local"))
        there = curated(project, machine(bucket, tmp_path / f"machine {number}"))
        assert files(there.folder) == files(local.folder)
    reader = machine(bucket, tmp_path / "reader")
    assert len(reader.versions("datasets", "demo")) == 2
    assert not any(check.failures for check in check_version(reader.resolve("datasets", "demo")))
    for command in (["check", "--all"], ["index", "check", "demo"], ["gc", "--yes"], ["versions", "demo"]):
        done = CliRunner().invoke(app, [*command, "--store", bucket.store])
        assert done.exit_code == 0, done.output


def test_of_two_writers_none_undoes_what_the_other_does(bucket: Cloud, tmp_path: Path) -> None:
    both = [started(bucket, tmp_path / f"writer {number}", "same", f"only {number}") for number in range(2)]
    for each in both:
        _, told = each.communicate(timeout=100)
        assert each.returncode == 0, told
    reader = machine(bucket, tmp_path / "reader")
    wanted = {publish(Store(tmp_path / "local"), text).name for text in ("same", "only 0", "only 1")}
    assert {verified_whole(folder).name for folder in reader.versions("datasets", "demo")} == wanted
    pointer = reader.pointed("datasets", "demo")
    promoted = [event["version"] for event in reader.events() if event["event"] == "promoted"]
    assert [*pointer.before, pointer.version] == promoted
