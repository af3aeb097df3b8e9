"""The store: the one place Assay writes to, a folder or one in a bucket, and the only way to publish into it.

What is read of it is held to what was written: `curate.version_folder`.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curate.drafts import drafted, fsync
from curate.errors import AssayError
from curate.hashing import file_digest
from curate.ledger import Kind as Kind
from curate.ledger import Ledger
from curate.mirror import known_again, mirror_of, mirrored
from curate.pointers import Pointer, Pointers
from curate.taken_back import require_there, while_there
from curate.version_folder import MADE_BY as MADE_BY
from curate.version_folder import MANIFEST as MANIFEST
from curate.version_folder import SUMS as SUMS
from curate.version_folder import TELLING as TELLING
from curate.version_folder import at_hand as at_hand
from curate.version_folder import changed as changed
from curate.version_folder import damage as damage
from curate.version_folder import damaged as damaged
from curate.version_folder import fetched as fetched
from curate.version_folder import hashes as hashes
from curate.version_folder import manifest_bytes as manifest_bytes
from curate.version_folder import mend as mend
from curate.version_folder import read_manifest as read_manifest
from curate.version_folder import size as size
from curate.version_folder import strangers as strangers
from curate.version_folder import verified as verified
from curate.version_folder import verified_whole as verified_whole
from curate.version_folder import version_of as version_of
from curate.version_folder import write_sums as write_sums

UNPUBLISHED = "nothing that was made from it is published"
FORGOTTEN = "forgotten.jsonl"
"""See `curate.forgotten`."""
URL = "^[A-Za-z][A-Za-z0-9+.-]+:/"
"""What a URL begins with, also one that was taken for a path, which has one slash."""


@dataclass(frozen=True)
class Draft:
    """A folder being written beside the place where it will be published."""

    folder: Path
    target: Path
    unhashed: frozenset[str]
    parents: Collection[Path]

    def publish(
        self,
        manifest: dict[str, Any],
        describe: Callable[[Path, dict[str, Any]], None] | None = None,
        ready: Callable[[], None] = lambda: None,
    ) -> Path:
        """Name the folder by its content and move it to its place, manifest last.

        The version is the first 16 hex digits of the SHA-256 of the manifest, which holds the SHA-256 of each file.
        A version that is there already is kept: it has the same content.

        Args:
            manifest: what the content was made from; no clock, no path.
            describe: writes files that tell of the version (a card, a report), given the folder and the manifest with
                `version` and `files`; their hashes stand in SHA256SUMS and do not count towards the version.
            ready: asked last, while nothing else is published: raises what keeps it from being published.

        Returns:
            The published folder.

        Raises:
            TakenBackError: something that it was made from is gone.
            AssayError: the version is there already, and damaged.
        """
        content = self.content(manifest)
        hashed: dict[str, str] = content["files"]
        final = self.target / str(content["version"])
        if (mirror := mirror_of(final)) is not None:
            mirror.refresh_version(final)
        if (final / MANIFEST).is_file():
            return verified_whole(final)
        if describe is not None:
            describe(self.folder, content)
        write_sums(self.folder, hashed)
        for path in [*self.folder.rglob("*"), self.folder]:
            if path.is_file():
                path.chmod(0o644)  # safetensors' can be read by nobody but their owner
            fsync(path)
        draft_manifest = self.folder / MANIFEST
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        draft_manifest.write_bytes(text.encode() + b"\n")
        fsync(draft_manifest)
        if mirror is not None:
            mirror.upload(self.folder, final, hashed)
        with while_there(self.target.parents[1], self.parents, UNPUBLISHED):
            ready()
            if mirror is None:
                self.folder.rename(final)
            else:
                mirror.publish(self.folder, final, hashed)
        fsync(self.target)
        return final if mirror is None else verified_whole(final)

    def content(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """A manifest with `files` and `version`, as they are by what the folder holds."""
        files = {p.relative_to(self.folder).as_posix(): p for p in self.folder.rglob("*") if p.is_file()}
        names = sorted(name for name in files if name.split("/")[0] not in self.unhashed)
        with ThreadPoolExecutor() as threads:
            digests = threads.map(file_digest, (files[name] for name in names))
            content = {**manifest, "files": dict(zip(names, digests, strict=True))}
        return content | {"version": version_of(content)}


class Store(Ledger):
    """Folders of a store: `datasets`, `adapters`, `scorecards`, `experiments`, `studies`, `pointers`, `index`, `cache`,
    `ledger`, `failed` and `retracted`; docs/store.md tells of them.

    Args:
        root: the folder; it is made when something is first written.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root / "ledger")
        known_again(root)
        self.root = root
        self.cache = root / "cache"
        self.index = root / "index"
        self.failed = root / "failed"
        """Of each data set the last candidate that was refused."""
        self.retracted = root / "retracted"
        """What was published and is taken back, in folders as it was published."""
        self.pointers = Pointers(root / "pointers")

    @property
    def place(self) -> str:
        """What it is called by who opens it: its folder, or its URL, of which `root` is the mirror."""
        mirror = mirror_of(self.root)
        return str(self.root) if mirror is None else mirror.url

    def refresh(self, below: str = "") -> None:
        """Know of what is published, of a store in a bucket: of any other there is nothing to do.

        Args:
            below: a part of the store, e.g. `datasets/NAME`.
        """
        if (mirror := mirror_of(self.root)) is not None:
            from curate.cache import forget_copies

            mirror.refresh(below)
            for part in () if below else ("pointers", "index"):
                mirror.refresh_changing(part)
            if not below:  # whoever forgets, wherever he does
                mirror.follow(self.root / FORGOTTEN, lambda: forget_copies(self.cache))

    def fetch_refused(self) -> None:
        """Have what was refused on this machine."""
        if (mirror := mirror_of(self.root)) is not None:
            mirror.refresh_folders("failed")

    def fetch_reports(self) -> None:
        """Have the reports of all that is published or was refused on this machine, and the monitor's."""
        if (mirror := mirror_of(self.root)) is not None:
            self.refresh()
            self.fetch_refused()
            mirror.refresh_changing("monitor")
            for folder in mirror.versions():
                fetched(folder / "report.html")

    def fetch_all(self) -> None:
        """Have all that is published or set aside on this machine, and nothing else."""
        if (mirror := mirror_of(self.root)) is not None:
            self.refresh()
            self.fetch_refused()
            mirror.refresh_changing("monitor")
            for folder in mirror.versions():
                at_hand(folder)

    @contextmanager
    def publishing(
        self, kind: Kind, name: str, parents: Collection[Path] = (), unhashed: frozenset[str] = frozenset()
    ) -> Iterator[Draft]:
        """A draft to fill and publish; nothing half-written is left behind, by a killed process only until the next.

        Args:
            kind: `datasets`, `adapters`, `scorecards`, `experiments` or `studies`.
            name: name of the series, e.g. the recipe's.
            parents: folders of the published versions that it is made from.
            unhashed: names of files or folders at the draft's top that do not count towards the version.

        Raises:
            TakenBackError: a parent is gone; before the draft is filled, or when it is published.
        """
        require_there(parents, UNPUBLISHED)
        target = self.root / kind / name
        with drafted(target) as folder:
            folder.chmod(0o755)
            yield Draft(folder, target, unhashed, parents)

    def versions(self, kind: Kind, name: str) -> list[Path]:
        """Published versions of a series, in the order of their folder names.

        Raises:
            AssayError: one has lost its manifest, with which it was published.
        """
        self.refresh(f"{kind}/{name}")
        found = sorted(path for path in (self.root / kind / name).glob("[0-9a-f]" * 16) if path.is_dir())
        for path in found:
            if not (path / MANIFEST).is_file():
                raise damaged(path, MANIFEST, "not there, though it was published")
        return found

    def made_from(self, kind: Kind, name: str, inputs: dict[str, Any]) -> Path | None:
        """The published version whose manifest's `inputs` are these, if there is one, every file hashed again.

        Raises:
            AssayError: it is damaged, or the manifest of another version is.
        """
        found = next((path for path in self.versions(kind, name) if read_manifest(path)["inputs"] == inputs), None)
        return None if found is None else verified_whole(found)

    def resolve(self, kind: Kind, name: str) -> Path:
        """The folder meant by a path, `NAME/VERSION` or `NAME` (the one promoted last; without a pointer, the one
        published last by the ledger); all of it lies on this machine.

        Raises:
            AssayError: nothing of that name is published or promoted, or of a NAME pointer or ledger are damaged; or
                something of it is not there.
        """
        if (Path(name) / MANIFEST).is_file():
            return at_hand(Path(name))
        self.refresh(f"{kind}/{name.partition('/')[0]}")
        return at_hand(self._found(kind, name))

    def _found(self, kind: Kind, name: str) -> Path:
        if (self.root / kind / name / MANIFEST).is_file():
            return self.root / kind / name
        series, _, old = name.partition("/")
        if old and (now := self.instead(kind, series).get(old)) is not None:
            return self._found(kind, f"{series}/{now}")
        pointer = self.pointed(kind, name)
        for version in (pointer.version, *reversed(pointer.before)):
            if version is not None and (folder := self.root / kind / name / version).is_dir():
                return folder
        if pointer.candidate is not None:
            raise AssayError(
                f"{name}: none of its {kind} is promoted; {name}/{pointer.candidate} has not passed its recipe's gate.",
                remedy=f"Evaluate it, name it with its version, or `assay promote {name}/{pointer.candidate}`.",
            )
        raise AssayError(f"{name}: no such version in {self.place}/{kind}.", remedy=self.published_names(kind))

    def pointed(self, kind: Kind, name: str) -> Pointer:
        """What a NAME means: what its pointer says, else what was published, the last by the ledger last; no scorecard
        that asked other rows than those its recipe names (`asked`).

        Raises:
            AssayError: pointer or ledger are damaged.
        """
        if (pointer := self.pointers.read(kind, name)) is not None:
            return pointer
        told = [event["version"] for event in self.told(kind, name) if not event.get("asked")]
        pointer = Pointer(None)
        for version in told:
            if (self.root / kind / name / version).is_dir():
                pointer = pointer.at(version)
        return pointer

    def promote(self, kind: Kind, name: str, version: str) -> None:
        """Let a NAME mean a version from now on.

        Raises:
            TakenBackError: it is gone.
        """
        with self._changed(kind, name, version) as write:
            old = self.pointers.read(kind, name)
            if old is None:  # of a version that has just been published the ledger tells already
                old = self.pointed(kind, name)
                if old.version == version:
                    old = old.back() if old.before else Pointer(None)
            write(old.at(version))
        if old.version != version:
            self.record({"event": "promoted", "kind": kind, "name": name, "version": version, "before": old.version})

    def propose(self, kind: Kind, name: str, version: str) -> None:
        """Have a version wait to be promoted: what NAME means stays as it is.

        Raises:
            TakenBackError: it is gone.
        """
        with self._changed(kind, name, version) as write:
            old = self.pointers.read(kind, name)
            if old is None:
                old = self.pointed(kind, name).without([version])
            if old.version != version:
                write(replace(old, candidate=version))

    @contextmanager
    def _changed(self, kind: Kind, name: str, version: str) -> Iterator[Callable[[Pointer], None]]:
        """Change a pointer to a version, which is there and stays so meanwhile."""
        there = while_there(self.root, [self.root / kind / name / version], f"{name} does not come to mean it")
        with there, self.pointers.changed(kind, name) as write:
            yield write

    def roll_back(self, kind: Kind, name: str) -> Pointer:
        """Let a NAME mean what it meant before.

        Returns:
            What it means now.

        Raises:
            AssayError: it has meant nothing else.
        """
        with self.pointers.changed(kind, name) as write:
            old = self.pointed(kind, name)
            if not old.before:
                raise AssayError(
                    f"{name}: no version before {old.version or 'the first'}.",
                    remedy=f"`assay versions {name}` lists them; `assay promote {name}/VERSION` takes one.",
                )
            write(old.back())
        told = {"event": "promoted", "kind": kind, "name": name, "version": old.before[-1], "before": old.version}
        self.record(told)
        return old.back()

    def forget(self, kind: Kind, name: str, versions: Sequence[str], instead: str | None = None) -> None:
        """Let a NAME mean, and have meant, none of these versions, but the one that takes their place."""
        with self.pointers.changed(kind, name) as write:
            if (pointer := self.pointers.read(kind, name)) is None:
                return
            left = pointer.without(versions, instead)
            write(left) if left != Pointer(None) else self.pointers.remove(kind, name)

    def published_names(self, kind: Kind) -> str:
        """The names of what is published of a kind, or the command that publishes one, in a sentence."""
        names = ", ".join(sorted({path.parent.parent.name for path in (self.root / kind).glob(f"*/*/{MANIFEST}")}))
        return f"Published there: {names or f'nothing yet; `assay {MADE_BY[kind]}` does it'}."


def store_at(place: str | Path) -> Store:
    """The store in a folder, or in a bucket.

    Raises:
        AssayError: it is a URL of another kind, or one with a key in it; or the bucket cannot be used.
    """
    if not re.match(URL, str(place)):
        return Store(Path(place).absolute())
    store = Store(mirrored(re.sub(":/+", "://", str(place), count=1)).root)
    store.refresh()
    return store
