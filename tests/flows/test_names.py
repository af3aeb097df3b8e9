"""What runs are called before they have published anything."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import names
from flows.names import run_name


def named(monkeypatch: pytest.MonkeyPatch, flow: str, **parameters: Any) -> str:
    monkeypatch.setattr(names, "flow_run", SimpleNamespace(flow_name=flow, parameters=parameters))
    return run_name()


@pytest.mark.parametrize(
    ("drop", "name"),
    [
        (None, "curation licences licensedcode-data"),
        ("/data/2026-03", "curation licences 2026-03"),
        ("s3://user:secret@bucket/march/?key=1", "curation licences march"),
        ("x" * 100, "curation licences " + "x" * 60),
    ],
)
def test_a_packaged_recipe(drop: str | None, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert named(monkeypatch, "curation", recipe="licences", drop=drop) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("name: mine\ndrop: raw/march\nsources: [{files: [a]}]\n", "curation mine march"),
        ("name: mine\nsources: [{files: [a]}]\n", "curation mine project"),
        ("name: mine\nsources: [{dataset: owner/set}]\n", "curation mine set"),
        ("name: '[b] *'\nsources: [{files: [a]}]\n", "curation recipe project"),
        ("name: mine\n", "curation recipe"),
        ("- a list\n", "curation recipe"),
        ("{", "curation recipe"),
        (None, "curation recipe"),
    ],
)
def test_a_recipe_of_the_users(text: str | None, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "project/recipe.yaml"
    path.parent.mkdir()
    if text is not None:
        path.write_text(text)
    assert named(monkeypatch, "curation", recipe=str(path), drop=None) == name


def test_a_flow_that_takes_no_drop_names_the_version_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert named(monkeypatch, "training", recipe="licences", dataset="licences/0123456789abcdef") == (
        "training licences 0123456789abcdef"
    )
    assert named(monkeypatch, "evaluation", recipe="licences", dataset=None, adapter=None) == "evaluation licences"
    assert named(monkeypatch, "watcher", recipe="licences", store="store", variant=None) == "watcher licences"
