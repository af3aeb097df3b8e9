"""A whole store read again: every file held to the hash that was taken when it was written."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.parents import MANIFESTS
from assay.result import Result
from curate.cache import damaged as damaged_entries
from curate.errors import AssayError
from curate.hashing import digest
from curate.ledger import FORGOTTEN
from curate.manifest import DatasetManifest, Manifest
from curate.progress import Progress, silent
from curate.sets.index import Index, recorded_settings
from curate.store import MADE_BY, MANIFEST, SUMS, TELLING, Store, damage, hashes, mend, strangers
from curate.table import Table
from evaluation.card.format import read_scorecard
from evaluation.card.manifest import EvaluationInputs, ScorecardManifest
from evaluation.tune.manifest import StudyManifest
from train.manifest import AdapterManifest, DatasetParent


@dataclass(frozen=True)
class Problem:
    """Something in a store that is not as it was written."""

    where: str
    """The file or the folder."""
    what: str
    """Is wrong with it."""
    remedy: str

    @staticmethod
    def of(error: AssayError) -> "Problem":
        where, _, what = error.message.partition(": ")
        return Problem(where, what, error.remedy)

    @staticmethod
    def at(path: Path, what: str, remedy: str) -> "Problem":
        return Problem.of(AssayError(f"{path}: {what}", remedy))


@dataclass(frozen=True)
class StoreState(Result):
    """What was read of a store, and what of it is not as it was written."""

    store: str
    """Its folder, or its URL."""
    read: dict[str, int]
    """By kind (`datasets`, `adapters`, `scorecards`, `index`, `ledger`): how many of it there are."""
    problems: list[Problem]

    @property
    def passed(self) -> bool:
        """Whether all is as it was written."""
        return not self.problems

    def __repr__(self) -> str:
        return f"StoreState({self.store}: {len(self.problems)} problems)"

    def tables(self) -> list[Table]:
        rows = [[kind, f"{count:,}"] for kind, count in [*self.read.items(), ("problems", len(self.problems))]]
        return [Table("store", f"Store {self.store}, read again", ["", "there"], rows)]

    def data(self) -> dict[str, Any]:
        return {
            "store": self.store,
            "passed": self.passed,
            "read": self.read,
            "problems": [vars(each) for each in self.problems],
        }

    def require(self) -> None:
        if self.problems:
            raise AssayError(
                f"{self.store} is not as it was written:\n"
                + "\n".join(f"  {each.where}: {each.what} {each.remedy}" for each in self.problems),
                remedy="What is named is best restored from a copy of the store; all the rest is as it was written.",
            )


def check_store(store: Store, progress: Progress = silent) -> StoreState:
    """Read a whole store again.

    Args:
        store: to be read.
        progress: told how many of its folders are done.
    """
    folders = {
        kind: sorted(each for series in _folders(store.root / kind) for each in _folders(series)) for kind in MADE_BY
    }
    indexes = sorted(_folders(store.index))
    lines = list(store.ledger_lines())
    told = [(event.get("event"), event.get("name"), event.get("version")) for event, _ in lines]
    curated = {
        name for event, name, version in told if event == "datasets" and ("retracted", name, version) not in told
    }
    curated |= {folder.parent.name for folder in folders["datasets"]}
    read = {kind: len(each) for kind, each in folders.items()} | {"index": len(indexes), "ledger": len(lines)}
    problems: list[Problem] = []
    done, total = 0, sum(map(len, folders.values())) + len(indexes)
    for kind, manifest in MANIFESTS.items():
        for folder in folders[kind]:
            problems += _of_version(folder, manifest, store)
            progress("check the store", done := done + 1, total, "folders")
    for folder in indexes:
        problems += _of_index(folder, store, folder.name in curated)
        progress("check the store", done := done + 1, total, "folders")
    problems += _of_pointers(store)
    problems += _of_ledger(lines, folders)
    problems += map(Problem.of, damaged_entries(store.cache))
    return StoreState(store.place, read, problems)


def _folders(folder: Path) -> list[Path]:
    """Those in a folder, but for drafts."""
    return [each for each in folder.glob("*") if each.is_dir() and not each.name.startswith(".")]


def _of_version(folder: Path, kind: type[Manifest], store: Store) -> Iterator[Problem]:
    """A published folder: its manifest, each file, files that were added, and what it was made from."""
    try:
        manifest = kind.read(folder)
        known = hashes(folder, manifest.files)
        if isinstance(manifest, ScorecardManifest):
            read_scorecard(folder)
    except AssayError as error:
        yield Problem.of(error)
        return
    if manifest.version != folder.name:
        yield Problem.at(folder, f"holds version {manifest.version}.", f"Rename it to {manifest.version}.")
    yield from map(Problem.of, damage(folder, known))
    if not (folder / SUMS).is_file() and any((folder / name).exists() for name in TELLING):
        yield Problem.at(
            folder / SUMS, "not there, so nobody can say whether card and reports are sound.", mend(folder)
        )
    for name in strangers(folder, manifest.files):
        yield Problem.at(folder / name, "not one of the files that were published.", "Remove it, or keep it elsewhere.")
    parent = _dataset(manifest)
    if parent is None:
        return
    dataset = store.root / "datasets" / parent.name / parent.version
    if dataset.is_dir():
        try:
            found = digest(DatasetManifest.read(dataset).content())
        except AssayError:  # told of the data set itself
            return
        if found != parent.manifest_sha256:
            yield Problem.at(folder, f"made from {parent}, whose manifest was another then.", mend(dataset))


def _dataset(manifest: Manifest) -> DatasetParent | None:
    """The data set version that something was made from."""
    if isinstance(manifest, AdapterManifest | StudyManifest):
        return manifest.inputs.dataset
    if isinstance(manifest, ScorecardManifest) and isinstance(manifest.inputs, EvaluationInputs):
        return manifest.inputs.dataset
    return None


def _of_index(folder: Path, store: Store, curated: bool) -> Iterator[Problem]:
    """An index, held to itself and to what is published.

    Args:
        folder: of it.
        store: that it is of.
        curated: whether there is a version of its name, or the ledger tells of one.
    """
    name = folder.name
    if not curated and not (folder / MANIFEST).exists():  # a curation came as far as this and published nothing
        return
    remedy = f"`assay index rebuild {name}` makes the index again."
    try:
        problems = Index(store, name, recorded_settings(store, name)).check()
    except AssayError as error:
        yield Problem.of(error)
        return
    yield from (Problem.of(AssayError(problem, remedy)) for problem in problems)


def _of_pointers(store: Store) -> Iterator[Problem]:
    for kind, name in store.pointers.all():
        path = store.pointers.path(kind, name)
        try:
            pointer = store.pointers.read(kind, name)
        except AssayError as error:
            yield Problem.of(error)
            continue
        for version in {pointer.version, pointer.candidate} - {None} if pointer else ():
            if not (store.root / kind / name / str(version)).is_dir():
                yield Problem.at(
                    path,
                    f"it names {version}, which is not there.",
                    f"`assay promote {name}/VERSION --kind {kind}` names another, or make that one again.",
                )


def _of_ledger(lines: list[tuple[dict[str, Any], str]], folders: dict[str, list[Path]]) -> Iterator[Problem]:
    """The lines of the ledger, and the folders of which it does not tell."""
    told: set[tuple[Any, Any, Any]] = set()
    for event, problem in lines:
        told.add((event.get("event"), event.get("name"), event.get("version")))
        if event.get("event") == FORGOTTEN:
            told.add((event.get("kind"), event.get("name"), event.get("now")))
        if problem:
            yield Problem.of(AssayError(problem, "Restore the ledger from a copy, or delete the line."))
    for kind, each in folders.items():
        for folder in each:
            if (kind, folder.parent.name, folder.name) not in told:
                yield Problem.at(
                    folder,
                    "the ledger does not tell of it, so that its name alone never means it.",
                    "Name it with its version, or restore the ledger from a copy."
                    + (f" The next `assay curate` of {folder.parent.name} tells of it." if kind == "datasets" else ""),
                )
