"""Recipes, contracts and drops that reach outside: refused by name, and nothing of what they reach for is kept."""

import io
import json
import os
import socket
import tarfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from assay.cli import app
from curate.errors import AssayError
from curate.read.files import Files, find_files
from tests.curate.test_unharmed import lighten
from tests.project import RECIPE, Project, make_rows

SENTINEL = "sentinel-of-what-lies-outside"
SECRET = "hunter2"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A recipe and a drop of 40 good rows, beside which lies what is none of theirs."""
    lighten(monkeypatch)
    outside = json.dumps({"text": SENTINEL, "colour": "red", "count": 1}) + "\n"
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret.jsonl").write_text(outside)
    (tmp_path / "outside/contract.yaml").write_text(f"name: [{SENTINEL}")
    (tmp_path / "outside/task.jinja").write_text(SENTINEL)
    project = Project(tmp_path / "project")
    project.add("rows.jsonl", make_rows(40))
    return project


@pytest.fixture
def asked(project: Project) -> Iterator[tuple[str, list[str]]]:
    """The address of a server of the drop's files, which asks for nothing, and what is asked of it."""
    paths: list[str] = []

    class Recording(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(project.drop))

        def log_request(self, *_: Any) -> None:
            paths.append(self.path)

        def log_message(self, *_: Any) -> None:
            """No line for each request."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Recording)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", paths
    server.shutdown()
    server.server_close()


def run(command: str, project: Project, *options: str, **changes: Any) -> Result:
    """A command over the project's recipe with other sections."""
    if changes:
        project.recipe_path.write_text(yaml.safe_dump(RECIPE | {"drop": "drop"} | changes))
    workers = ["--workers", "1"] if command == "curate" else []
    arguments = [command, str(project.recipe_path), "--store", str(project.folder / "store"), *workers, *options]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})


def written(project: Project) -> bytes:
    """All that a store holds, its files' names too; tables decoded."""
    found = [b""]
    for path in sorted((project.folder / "store").rglob("*")):
        found.append(str(path.relative_to(project.folder)).encode())
        if path.is_file():
            found.append(path.read_bytes())
            if path.suffix == ".parquet":
                found.append(json.dumps(pq.read_table(path).to_pylist(), default=str).encode())
    return b"\n".join(found)


PLACES = [
    "../outside/secret.jsonl",
    "a/../../outside/*",
    "..\\outside\\secret.jsonl",
    "{outside}/secret.jsonl",
    "~/secret.jsonl",
    "C:\\secret.jsonl",
    "\\\\host\\share\\secret.jsonl",
    "file://{outside}/secret.jsonl",
    "FILE://{outside}/secret.jsonl",
    "local://{outside}/secret.jsonl",
    "filecache::file://{outside}/secret.jsonl",
    "simplecache::http://{server}/rows.jsonl",
    "zip://secret.jsonl::file://{outside}/a.zip",
    "memory://secret.jsonl",
    "github://me:mine@main/secret.jsonl",
    "ftp://{server}/rows.jsonl",
    "sftp://{server}/rows.jsonl",
    "data://text/plain,secret",
    "dir::file://{outside}",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("key", ["files", "dataset", "lookups", "references"])
def test_no_setting_of_a_recipe_names_a_place_outside(
    project: Project, asked: tuple[str, list[str]], key: str, place: str
) -> None:
    name = place.format(outside=project.folder.parent / "outside", server=asked[0])
    changes: dict[str, Any] = {
        "files": {"sources": [{"files": ["rows.jsonl", name]}]},
        "dataset": {"sources": [{"dataset": name}]},
        "lookups": {"lookups": {"side": {"files": [name], "key": "text"}}},
        "references": {"decontaminate": {"references": [{"files": [name]}]}},
    }[key]
    done = run("preview", project, **changes)
    assert done.exit_code == 1
    assert "leaves the drop" in done.output or "a recipe may name no URL" in done.output
    assert SENTINEL not in done.output
    assert not asked[1]


@pytest.mark.parametrize("key", ["contract", "task", "chat"])
@pytest.mark.parametrize("place", ["../../outside", "{outside}", "file://{outside}", "http://{server}", "link"])
def test_nothing_beside_the_recipe_is_elsewhere(
    project: Project, asked: tuple[str, list[str]], key: str, place: str
) -> None:
    outside = project.folder.parent / "outside"
    (project.folder / "link").symlink_to(outside)
    name = place.format(outside=outside, server=asked[0]).replace("../../", "../")
    named = name if key == "contract" else f"{name}/task.jinja"
    done = run(
        "preview",
        project,
        **({"contract": named} if key == "contract" else {"render": RECIPE["render"] | {key: named}}),
    )
    assert done.exit_code == 1
    assert "the recipe's folder" in done.output or "is a URL" in done.output
    assert SENTINEL not in done.output
    assert not asked[1]


@pytest.mark.parametrize("section", ["fit", "semantic"])
def test_a_model_is_no_url(project: Project, asked: tuple[str, list[str]], section: str) -> None:
    settings = RECIPE.get(section, {}) | {"model": f"http://user:{SECRET}@{asked[0]}/model"}
    done = run("curate", project, **{section: settings})
    assert done.exit_code == 1
    assert f"{section}.model 'http://{asked[0]}/model' is a URL" in done.output
    assert SECRET not in done.output
    assert not asked[1]


@pytest.mark.parametrize("package", ["", "../x", "git+https://elsewhere/x", "--index-url=http://elsewhere x"])
@pytest.mark.parametrize("key", ["sources", "fit"])
def test_no_remedy_installs_from_a_place(project: Project, package: str, key: str) -> None:
    model = {"fit": RECIPE["fit"] | {"model": f"package:{package}"}}
    done = run("curate", project, **(model if key == "fit" else {"sources": [{"package": package, "files": ["*"]}]}))
    assert done.exit_code == 1
    assert "pip install" not in done.output
    assert "Unexpected" not in done.output


def test_the_drop_may_be_a_data_sets_folder(project: Project) -> None:
    done = run("preview", project, sources=[{"dataset": "."}])
    assert done.exit_code == 0, done.output


def test_what_a_contract_folder_holds_may_not_be_a_link_out_of_it(project: Project) -> None:
    target = project.folder / "contract/contract.yaml"
    target.unlink()
    target.symlink_to(project.folder.parent / "outside/contract.yaml")
    done = run("curate", project)
    assert done.exit_code == 1
    assert "contract.yaml is a link that leaves the recipe's folder" in done.output
    assert SENTINEL not in done.output


def test_links_that_leave_the_drop_are_quarantined_and_not_read(project: Project) -> None:
    outside = project.folder.parent / "outside"
    (project.drop / "sub").mkdir()
    (project.drop / "sub/good.jsonl").write_text(json.dumps(make_rows(41)[40]) + "\n")
    (project.drop / "inside.jsonl").symlink_to(project.drop / "sub/good.jsonl")
    (project.drop / "out.jsonl").symlink_to(outside / "secret.jsonl")
    (project.drop / "chain.jsonl").symlink_to("out.jsonl")
    (project.drop / "folder").symlink_to(outside)
    (project.drop / "relative.jsonl").symlink_to("../../outside/secret.jsonl")
    done = run("curate", project, sources=[{"files": ["**/*.jsonl", "folder", "*/*.jsonl"]}])
    assert done.exit_code == 0, done.output
    told = quarantined(project)
    assert {name: why for name, why in told.items() if "link" in why} == dict.fromkeys(
        ["chain.jsonl", "folder", "out.jsonl", "relative.jsonl"],
        "a link that leads out of the drop: what it leads to is not read",
    )
    assert SENTINEL.encode() not in written(project)
    store = ["--store", str(project.folder / "store")]
    checked = CliRunner().invoke(app, ["check", "demo", *store], env={"COLUMNS": "300"})
    assert checked.exit_code == 0, checked.output
    assert "4 not at hand" in checked.output
    assert run("curate", project).exit_code == 0
    for command in ("preview", "inspect"):
        arguments = [str(project.drop)] if command == "inspect" else [str(project.recipe_path)]
        assert SENTINEL not in CliRunner().invoke(app, [command, *arguments]).output


def test_what_is_no_file_is_told_and_not_opened(project: Project) -> None:
    os.mkfifo(project.drop / "pipe.jsonl")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(project.drop)  # a socket's path is short
        try:
            listening.bind("socket.jsonl")
        finally:
            os.chdir(here)
        (project.drop / "zero.jsonl").symlink_to("/dev/zero")
        done = run("curate", project, sources=[{"files": ["*.jsonl"]}])
        shown = CliRunner().invoke(app, ["inspect", str(project.drop), "--json"])
    assert done.exit_code == 0, done.output
    assert quarantined(project) == {
        "pipe.jsonl": "a named pipe: not opened",
        "socket.jsonl": "a socket: not opened",
        "zero.jsonl": "a link that leads out of the drop: what it leads to is not read",
    }
    assert json.loads(shown.stdout)["passed_over"] == ["pipe.jsonl", "socket.jsonl", "zero.jsonl"]


def test_links_that_lead_nowhere_cost_themselves_alone(project: Project) -> None:
    (project.drop / "loop.jsonl").symlink_to("loop.jsonl")
    (project.drop / "gone.jsonl").symlink_to("none.jsonl")
    mine = project.drop / "mine"
    mine.mkdir()
    (mine / "train.jsonl").symlink_to("../gone.jsonl")
    done = run("curate", project, sources=[{"files": ["*.jsonl"]}, {"dataset": "mine"}])
    assert done.exit_code == 0, done.output
    assert quarantined(project) == dict.fromkeys(
        ["gone.jsonl", "loop.jsonl", "mine/train.jsonl"], "a link that leads to no file"
    )
    shown = CliRunner().invoke(app, ["inspect", str(project.drop), "--json"])
    assert {"gone.jsonl", "loop.jsonl"} <= set(json.loads(shown.stdout)["passed_over"])


def test_names_that_are_no_utf_8_are_read_by_their_escapes(project: Project) -> None:
    """As of files unpacked from an old archive; in a drop's folder and in a tar."""
    content = (json.dumps(make_rows(41)[40]) + "\n").encode()
    Path(os.fsdecode(os.fsencode(project.drop) + b"/Gr\xf6\xdfe.jsonl")).write_bytes(content)
    member = tarfile.TarInfo(os.fsdecode(b"\xff.jsonl"))
    member.size = len(content)
    with tarfile.open(project.drop / "a.tar", "w") as archive:
        archive.addfile(member, io.BytesIO(content))
    done = run("curate", project, sources=[{"files": ["*"]}])
    assert done.exit_code == 0, done.output
    assert rb'"Gr\\xf6\\xdfe.jsonl"' in written(project)
    assert not quarantined(project)
    shown = CliRunner().invoke(app, ["inspect", str(project.drop), "--json"])
    assert r"Gr\xf6\xdfe.jsonl" in json.loads(shown.stdout)["passed_over"]
    assert "surrogate" not in CliRunner().invoke(app, ["inspect", str(project.drop)]).output
    (project.drop / r"Gr\xf6\xdfe.jsonl").write_bytes(content)
    done = run("curate", project, sources=[{"files": ["*"]}])
    assert done.exit_code == 1
    assert r"have a file 'Gr\\xf6\\xdfe.jsonl', which differs in where it lies" in done.output


def quarantined(project: Project) -> dict[str, str]:
    """Of each file that is not opened, why."""
    [path] = (project.folder / "store").glob("datasets/*/*/quarantine.parquet")
    rows = [row for row in pq.read_table(path).to_pylist() if row["reason"] == "unreadable"]
    return {row["source"]["file"]: json.loads(row["evidence"])["message"] for row in rows}


CARDS = [
    "../../outside/secret.jsonl",
    "{outside}/secret.jsonl",
    "http://{server}/rows.jsonl",
    "zip://*::http://{server}/a.zip",
]


@pytest.mark.parametrize("place", CARDS)
def test_a_card_names_no_files(project: Project, asked: tuple[str, list[str]], place: str) -> None:
    name = place.format(outside=project.folder.parent / "outside", server=asked[0])
    mine = project.drop / "mine"
    mine.mkdir()
    (project.drop / "rows.jsonl").rename(mine / "train.jsonl")
    configs = [{"config_name": "default", "data_files": [{"split": "train", "path": name}]}]
    (mine / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n")
    (mine / ".huggingface.yaml").write_text(yaml.safe_dump({"configs": configs}))
    (mine / "mine.py").write_text(f"open({str(project.folder / 'ran')!r}, 'w')")
    done = run("curate", project, sources=[{"dataset": "mine"}])
    assert done.exit_code == 0, done.output
    assert b'"mine/train.jsonl"' in written(project)
    assert SENTINEL.encode() not in written(project)
    assert not asked[1]
    assert not (project.folder / "ran").exists()


@pytest.mark.parametrize(
    "name", ["../../../outside/secret.jsonl", "{outside}/secret.jsonl", "http://h/a.arrow", "..", ""]
)
def test_what_was_saved_to_disk_has_its_files_beside_it(project: Project, name: str) -> None:
    mine = project.drop / "mine"
    mine.mkdir()
    named = name.format(outside=project.folder.parent / "outside")
    (mine / "state.json").write_text(json.dumps({"_data_files": [{"filename": named}]}))
    done = run("preview", project, sources=[{"dataset": "mine"}])
    assert done.exit_code == 1
    assert "state.json: not as `save_to_disk` leaves it" in done.output
    assert SENTINEL not in done.output


@pytest.mark.parametrize(
    "reference", ["http://{server}/rows.jsonl", "file://{outside}/secret.jsonl", "../outside/a.json"]
)
@pytest.mark.parametrize("key", ["$ref", "$dynamicRef", "$schema"])
def test_a_schema_refers_to_nothing_outside_it(
    project: Project, asked: tuple[str, list[str]], key: str, reference: str
) -> None:
    named = reference.format(outside=project.folder.parent / "outside", server=asked[0])
    path = project.folder / "contract/target.schema.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: named}))
    for command in ("preview", "curate"):
        done = run(command, project)
        assert done.exit_code == 1
        assert "target.schema.json" in done.output
        assert named.removeprefix("..") in done.output
    assert CliRunner().invoke(app, ["contract", str(project.recipe_path)]).exit_code == 1
    assert not asked[1]


FORMS = [
    "http://user:{secret}@{server}/rows.jsonl",
    "http://{secret}@{server}/rows.jsonl",
    "http://{server}/rows.jsonl?key={secret}",
    "http://{server}/rows.jsonl#{secret}",
    "http://user:p/{secret}@{server}/rows.jsonl",
    "http://user:p@{secret}@{server}/rows.jsonl",
    "http://user:p%2F{secret}@{server}/rows.jsonl",
    "http://user:12/{secret}@{server}/none.jsonl",
    "HTTP://user:p #{secret}@{server}/rows.jsonl",
    "simplecache::http://user:{secret}@{server}/rows.jsonl",
    "zip://rows.jsonl::http://user:p/{secret}@{server}/a.zip",
    "s3://KEY:{secret}@bucket/rows.jsonl",
]


@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=() if at in (0, 9) else pytest.mark.slow) for at, form in enumerate(FORMS)]
)
def test_no_secret_of_a_url_is_written_down(
    project: Project, asked: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setitem(fsspec.config.conf, "s3", {"skip_instance_cache": True})
    url = form.format(secret=SECRET, server=asked[0])
    done = [run(command, project, "--debug", sources=[{"files": [url]}]) for command in ("preview", "curate")]
    done.append(
        run("curate", project, "--debug", "--drop", url.rpartition("/")[0], sources=[{"files": ["rows.jsonl"]}])
    )
    done.append(run("curate", project, "--debug", sources=[{"files": url}]))
    assert SECRET not in "".join(each.output for each in done)
    assert SECRET.encode() not in written(project)


@pytest.mark.parametrize("form", FORMS)
def test_prefect_is_told_no_secret_of_a_drop(project: Project, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr("flows.server.prefect_api", lambda _: pytest.fail("what a flow is called with is kept"))
    done = run("run", project, "--debug", "--drop", form.format(secret=SECRET, server="127.0.0.1:9"))
    assert done.exit_code == 1
    assert "Prefect keeps in its database what a flow is called with" in done.output
    assert "AWS_ACCESS_KEY_ID" in done.output
    assert SECRET not in done.output


@pytest.mark.parametrize("key", ["drop", "files", "dataset", "lookups", "references", "model"])
def test_a_preview_fetches_nothing_that_a_recipe_names(
    project: Project, asked: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    for name in ("huggingface_hub.constants.HF_HUB_OFFLINE", "datasets.config.HF_HUB_OFFLINE"):
        monkeypatch.setattr(name, False)
    for name in ("huggingface_hub.constants.ENDPOINT", "datasets.config.HF_ENDPOINT"):
        monkeypatch.setattr(name, f"http://{asked[0]}")
    url = f"http://{asked[0]}/rows.jsonl"
    changes: dict[str, Any] = {
        "drop": {"drop": f"http://{asked[0]}"},
        "files": {"sources": [{"files": [url]}]},
        "dataset": {"sources": [{"dataset": "me/mine"}]},
        "lookups": {"lookups": {"side": {"files": [url], "key": "text"}}},
        "references": {"decontaminate": {"references": [{"files": [url]}]}},
        "model": {"fit": {"model": "me/mine", "max_tokens": 64}},
    }[key]
    done = run("preview", project, **changes)
    assert done.exit_code == 1
    assert ("Base model 'me/mine': no such folder" if key == "model" else "a preview fetches nothing") in done.output
    assert not asked[1]
    if key == "files":
        CliRunner().invoke(app, ["curate", str(project.recipe_path), "--store", str(project.folder / "store")])
        assert asked[1]


def test_a_card_of_the_hub_names_files_of_its_repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a network: what `datasets` has resolved of the card is looked at before any of it is fetched."""

    class Builder:
        def __init__(self, *files: str) -> None:
            self.config = SimpleNamespace(data_files={"train": list(files)})

        def download_and_prepare(self) -> None:
            raise OSError("fetched")

    own = "hf://datasets/me/mine@0123/data/train.jsonl"
    for other in ("/etc/passwd", "http://h/x", "hf://datasets/me/other@1/x", f"zip://x::{own}", f"{own}/../../../x"):
        monkeypatch.setattr("datasets.load_dataset_builder", lambda *_, other=other, **__: Builder(own, other))
        with pytest.raises(AssayError, match=r"The card of the data set me/mine names .* not in its repository"):
            find_files(Files(dataset="me/mine"), tmp_path, tmp_path / "cache")
    monkeypatch.setattr("datasets.load_dataset_builder", lambda *_, **__: Builder(own))
    with pytest.raises(AssayError, match="failed: fetched"):
        find_files(Files(dataset="me/mine"), tmp_path, tmp_path / "cache")
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssayError, match="`datasets` would take for it what is called so where the command runs"):
        find_files(Files(dataset="mine"), tmp_path / "drop", tmp_path / "cache")
