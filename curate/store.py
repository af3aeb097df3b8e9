"""The store: the one folder Assay writes to, and the only way to publish into it."""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from curate.errors import AssayError
from curate.hashing import canonical_json, digest, file_digest

Kind = Literal["datasets", "adapters", "scorecards"]
MANIFEST = "manifest.json"
MADE_BY: dict[Kind, str] = {"datasets": "curate RECIPE", "adapters": "train RECIPE", "scorecards": "evaluate RECIPE"}
"""The command that publishes each kind."""
DRAFT = ".draft-"
"""What the names of folders begin with that are being filled."""


def manifest_bytes(folder: Path) -> bytes:
    """The manifest of a published folder, as it lies there; `curate.manifest` reads it.

    Raises:
        AssayError: there is none, so the folder is not a published one.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise AssayError(f"{folder}: no {MANIFEST}, so nothing published is there.", remedy="Name a published version.")
    return path.read_bytes()


@dataclass(frozen=True)
class Draft:
    """A folder being written beside the place where it will be published."""

    folder: Path
    target: Path
    unhashed: frozenset[str]

    def publish(self, manifest: dict[str, Any], describe: Callable[[Path, dict[str, Any]], None] | None = None) -> Path:
        """Name the folder by its content and move it to its place, manifest last.

        The version is the first 16 hex digits of the SHA-256 of the manifest, which holds the SHA-256 of each file.
        A version that is there already is kept: it has the same content.

        Args:
            manifest: what the content was made from; no clock, no path.
            describe: writes files that tell of the version (a card, a report), given the folder and the manifest with
                `version` and `files`; they are not hashed.

        Returns:
            The published folder.
        """
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        names = {path: path.relative_to(self.folder).as_posix() for path in files}
        hashed = {names[p]: file_digest(p) for p in files if names[p].split("/")[0] not in self.unhashed}
        content = manifest | {"files": hashed}
        version = digest(content)[:16]
        final = self.target / version
        if (final / MANIFEST).is_file():
            return final
        content = content | {"version": version}
        if describe is not None:
            describe(self.folder, content)
        for path in [*self.folder.rglob("*"), self.folder]:
            fsync(path)
        draft_manifest = self.folder / MANIFEST
        draft_manifest.write_bytes(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n")
        fsync(draft_manifest)
        self.folder.rename(final)
        fsync(self.target)
        return final


class Store:
    """Folders of a store: `datasets`, `adapters`, `scorecards`, `index`, `cache`, `ledger` and `failed`.

    Args:
        root: the folder; it is made when something is first written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = root / "cache"
        self.index = root / "index"
        self.ledger = root / "ledger"
        self.failed = root / "failed"
        """Of each data set the quarantine of the last run that published nothing."""

    @contextmanager
    def publishing(self, kind: Kind, name: str, unhashed: frozenset[str] = frozenset()) -> Iterator[Draft]:
        """A draft to fill and publish; nothing half-written is left behind, by a killed process only until the next.

        Args:
            kind: `datasets`, `adapters` or `scorecards`.
            name: name of the series, e.g. the recipe's.
            unhashed: names of files or folders at the draft's top that do not count towards the version.
        """
        target = self.root / kind / name
        with drafted(target) as folder:
            folder.chmod(0o755)
            yield Draft(folder, target, unhashed)

    def versions(self, kind: Kind, name: str) -> list[Path]:
        """Published versions of a series, in the order of their folder names."""
        return sorted(path.parent for path in (self.root / kind / name).glob(f"[0-9a-f]*/{MANIFEST}"))

    def made_from(self, kind: Kind, name: str, inputs: dict[str, Any]) -> Path | None:
        """The published version whose manifest's `inputs` are these, if there is one."""
        versions = self.versions(kind, name)
        return next((path for path in versions if json.loads(manifest_bytes(path))["inputs"] == inputs), None)

    def resolve(self, kind: Kind, name: str) -> Path:
        """The folder meant by a path, `NAME/VERSION` or `NAME` (the one published last, by the ledger).

        Raises:
            AssayError: nothing of that name is published.
        """
        if (Path(name) / MANIFEST).is_file():
            return Path(name)
        if (self.root / kind / name / MANIFEST).is_file():
            return self.root / kind / name
        present = {path.name: path for path in self.versions(kind, name)}
        for event in reversed(self.events()):
            if event["event"] == kind and event["name"] == name and event["version"] in present:
                return present[event["version"]]
        raise AssayError(f"{name}: no such version in {self.root / kind}.", remedy=self.published_names(kind))

    def published_names(self, kind: Kind) -> str:
        """The names of what is published of a kind, or the command that publishes one, in a sentence."""
        names = ", ".join(sorted(path.name for path in (self.root / kind).glob("*")))
        return f"Published there: {names or f'nothing yet; `assay {MADE_BY[kind]}` does it'}."

    def record(self, event: dict[str, Any]) -> None:
        """Append an event, with the time, to the ledger: the one place where a clock is read."""
        self.ledger.mkdir(parents=True, exist_ok=True)
        line = canonical_json({"time": datetime.now(UTC).isoformat(timespec="seconds")} | event) + b"\n"
        with (self.ledger / "events.jsonl").open("a+b") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            file.write(b"\n" + line if file.read(1) not in (b"", b"\n") else line)

    def events(self) -> list[dict[str, Any]]:
        """What the ledger holds, oldest first, but for what a full disk has left of a line."""
        path = self.ledger / "events.jsonl"
        found: list[dict[str, Any]] = []
        for line in path.read_bytes().splitlines() if path.is_file() else ():
            with suppress(ValueError):
                found.append(json.loads(line))
        return found


@contextmanager
def drafted(target: Path) -> Iterator[Path]:
    """A folder in `target` to fill and rename, removed if it was not. Those of killed processes go too."""
    target.mkdir(parents=True, exist_ok=True)
    with locked(target):
        remove_abandoned(target)
        folder = Path(tempfile.mkdtemp(prefix=DRAFT, dir=target))
        held = ExitStack()
        held.enter_context(locked(folder))
    with held:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(target: Path) -> None:
    """Remove the drafts in a folder whose processes were killed; its lock is held."""
    for draft in target.glob(f"{DRAFT}*"):
        # Else its process is alive, or has just renamed it.
        with suppress(BlockingIOError, FileNotFoundError), locked(draft, fcntl.LOCK_NB):
            shutil.rmtree(draft)


@contextmanager
def locked(folder: Path, how: int = 0) -> Iterator[None]:
    """Hold the lock of a folder, which ends with the process.

    Raises:
        BlockingIOError: another holds it, and `how` is LOCK_NB.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | how)
        yield
    finally:
        os.close(descriptor)


def fsync(path: Path) -> None:
    """Have a file, or a folder's list of names, written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
