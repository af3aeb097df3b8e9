"""What Assay has written itself: bytes that are not those it wrote are noticed, or change nothing."""

import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from unittest.mock import patch

from curate.errors import AssayError
from curate.manifest import DatasetManifest, Manifest
from curate.publish.gate import GateResult
from curate.sets.index import Index
from curate.store import MANIFEST, Store
from evaluation.card.manifest import ScorecardManifest
from evaluation.replies import read, score
from evaluation.settings import EvaluationSettings
from tests.fuzz.readers import JSON_WORDS
from tests.fuzz.replies import SCHEMA, replies_files
from tests.fuzz.target import Target, told
from tests.project import Project, make_rows

_KEPT: list[tempfile.TemporaryDirectory[str]] = []
"""As long as the process runs."""


@cache
def project() -> Project:
    """A project with a version, its index, and a scorecard."""
    _KEPT.append(tempfile.TemporaryDirectory())
    made = Project(Path(_KEPT[0].name) / "project")
    made.add("a.jsonl", make_rows(40))
    with patch("curate.publish.gate.check_set", lambda *_: GateResult(())):  # which would cost more than all else
        made.curate()
    (file := made.folder / "replies.jsonl").write_bytes(replies_files()[0])
    settings = EvaluationSettings(resamples=100)
    score(read([file], "demo"), SCHEMA, settings, [file], Store(made.folder / "store"))
    return made


def published(kind: str) -> list[Path]:
    """The folder of what is published of a kind."""
    return [path.parent for path in (project().folder / "store" / kind).rglob(MANIFEST)]


def manifest(model: type[Manifest]) -> Callable[[bytes], None]:
    def check(data: bytes) -> None:
        """A manifest that is read can be written as it is."""
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / MANIFEST).write_bytes(data)
            try:
                found = model.read(Path(folder))
            except AssayError as error:
                told(error)
                return
            json.dumps(found.content(), ensure_ascii=False).encode()

    return check


def manifests(kind: str) -> Callable[[], list[bytes]]:
    return lambda: [(folder / MANIFEST).read_bytes() for folder in published(kind)]


def files_of_index() -> list[Path]:
    folder = project().folder / "store/index/demo"
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock")


def index(data: bytes) -> None:
    """A file of an index that is not as it was written is noticed: the first byte says which."""
    kept = files_of_index()
    changed = kept[data[0] % len(kept)] if data else kept[0]
    root = project().folder / "store"
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(root / "index", Path(folder) / "index")
        (Path(folder) / "datasets").symlink_to(root / "datasets")
        (Path(folder) / changed.relative_to(root)).write_bytes(data[1:])
        opened = Index(Store(Path(folder)), "demo", project().recipe.duplicates)
        if data[1:] != changed.read_bytes():
            assert opened.check(), f"{changed.name}: nothing is noticed"
        try:
            opened.segments()
        except AssayError as error:
            told(error)


TARGETS = (
    Target("dataset_manifest", manifest(DatasetManifest), manifests("datasets"), JSON_WORDS),
    Target("scorecard_manifest", manifest(ScorecardManifest), manifests("scorecards"), JSON_WORDS),
    Target("index", index, lambda: [bytes([at]) + path.read_bytes() for at, path in enumerate(files_of_index())]),
)
