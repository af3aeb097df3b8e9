"""The kept index: what the rows of every published version of a data set are compared by, so that none is read again.

It is derived from the published versions alone: `catch_up` adds those that are not in it yet, `rebuild` makes it anew.
A version is a segment; segments of similar size are merged, so that n rows lie in at most log2(n) + 1 of them.

Which of the segments' files count says the manifest, and replacing it is the one step by which anything happens: a
killed run leaves the index as it was.
"""

import fcntl
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from pydantic import ValidationError

from curate.errors import AssayError
from curate.hashing import digest
from curate.manifest import DatasetManifest
from curate.progress import Progress, silent
from curate.sets import keys as compared_by
from curate.sets.index_check import contradictions, rows_by_version, unlike_published
from curate.sets.kept_keys import KeptKeys
from curate.sets.keys import Compared
from curate.sets.published import compared_rows, published, read_files, read_version, some_published
from curate.sets.segments import Entry, Keys, Segment, SegmentFiles
from curate.shared import fresh, leased, remove_file, replace_file
from curate.store import MANIFEST, Store

NOTHING: Mapping[str, KeptKeys] = {}
FORMAT = 2
"""Raised whenever the files are laid out in another way."""


def parameters(settings: Compared) -> dict[str, Any]:
    """Everything that what the index holds depends on, besides the published versions."""
    from curate.sets.bands import bands_for
    from curate.text.minhash import PERMUTATIONS

    bands = bands_for(settings.threshold)
    return settings.model_dump(include={"scope", "boilerplate", "shingle_words", "threshold"}) | {
        "permutations": PERMUTATIONS,
        "scheme": "affine32",
        "bands": bands,
        "rows_per_band": PERMUTATIONS // bands,
        "keys": compared_by.VERSION,
        "unicode": unicodedata.unidata_version,
    }


def recorded_settings(store: Store, name: str) -> Compared:
    """The settings a data set was last indexed under, or, where no index tells, last published under.

    Raises:
        AssayError: nothing of that name is published, or under settings that are no longer possible.
    """
    if (content := _authentic(store.index / name / MANIFEST)) is not None:
        known = content["parameters"]
    else:
        known = DatasetManifest.read(some_published(store, name)[-1]).recipe["duplicates"]
    try:
        return Compared(**{key: value for key, value in known.items() if key in Compared.model_fields})
    except ValidationError as error:
        raise AssayError(
            f"{name}: its recorded settings are no longer possible: {error}",
            remedy=f"`assay index rebuild {name} --recipe RECIPE` takes the recipe's.",
        ) from None


class Index:
    """The index of a data set.

    Args:
        store: holds the published versions, and the index in `index/NAME`.
        name: of the data set.
        settings: what rows are compared by; an index made with other `parameters` is an error wherever it is read.
    """

    def __init__(self, store: Store, name: str, settings: Compared) -> None:
        self.store = store
        self.name = name
        self.settings = settings
        self.parameters = parameters(settings)
        self.folder = store.index / name
        self._manifest = self.folder / MANIFEST
        self._files = SegmentFiles(self.folder / "segments", name, self.parameters["bands"])
        self._locked = False
        self._ready: dict[str, Entry] = {}
        """By version the segment that `make_ready` has written, which is not part of the index yet."""

    def versions(self) -> list[str]:
        """The indexed versions, in the order they were added."""
        return [version for entry in self._entries() for version in entry["versions"]]

    def segments(self) -> list[Segment]:
        """Open every segment; what is opened stays as it is, whatever becomes of the index.

        Raises:
            AssayError: the index has other parameters, or is damaged.
        """
        while True:
            entries = self._entries()
            try:
                return [self._files.open(entry) for entry in entries]
            except (AssayError, FileNotFoundError):
                if self._entries() == entries:
                    raise  # else they have just been merged

    @contextmanager
    def lock(self, progress: Progress = silent) -> Iterator[None]:
        """Keep other processes from changing the index, and wait for one that does; the same Index may lock again.

        Args:
            progress: told which process is waited for.
        """
        if self._locked:
            yield
            return
        with self._explained():
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting = f"wait for process {os.pread(descriptor, 20, 0).decode()}"
                progress(waiting, 0, 1, "index")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                progress(waiting, 1, 1, "index")
            with self._explained():
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            with leased(self.folder, lambda: progress("wait for a process of another machine", 0, 1, "index")):
                self._locked = True
                yield
        finally:
            self._locked = False
            os.close(descriptor)

    def catch_up(self, progress: Progress = silent, kept: Mapping[str, KeptKeys] = NOTHING) -> list[str]:
        """Add every published version that is not indexed yet, in their order.

        Args:
            progress: told in rows.
            kept: what the runs that made versions have found of their rows.

        Returns:
            The versions added.

        Raises:
            AssayError: the index has other parameters, is damaged or cannot be written; a version is added whole or not
                at all.
        """
        with self.lock(progress), self._writing():
            known = set(self.versions())
            missing = [folder for folder in published(self.store, self.name) if folder.name not in known]
            for folder, parts in self._read(missing, progress, kept):
                if (entry := self._ready.get(folder.name)) is not None:
                    progress("index", entry["rows"], entry["rows"], "rows")
                self.add(folder.name, DatasetManifest.read(folder).drop.sha256, parts)
        return [folder.name for folder in missing]

    def make_ready(self, folder: Path, version: str, drop: str, kept: KeptKeys | None = None) -> None:
        """Write the segment of a version that is about to be published: `catch_up` then only has to name it.

        Args:
            folder: holds the version's files.
            version: its name.
            drop: hash of its drop.
            kept: see `read_version`.

        Raises:
            AssayError: it cannot be written.
        """
        with self.lock(), self._writing():
            parts = read_files(folder, version, self.settings, kept)
            self._ready[version] = self._files.write([version], [drop], parts)

    def add(self, version: str, drop: str, parts: Iterable[Keys]) -> None:
        """Add one version, whole or not at all.

        Args:
            version: its name.
            drop: hash of its drop.
            parts: its rows, see `read_version`.

        Raises:
            AssayError: see `catch_up`.
        """
        with self.lock(), self._writing():
            entry = self._ready.pop(version, None) or self._files.write([version], [drop], parts)
            self._commit(self._files.append(self._entries(), entry))

    def rebuild(self, progress: Progress = silent, without: Collection[str] = ()) -> None:
        """Make the index anew from the published versions; until that is done the old one stays, sound or not.

        Args:
            progress: told in rows.
            without: versions that are left out; of an index that would hold none, nothing is left.

        Raises:
            AssayError: nothing is published, or the index cannot be written.
        """
        some_published(self.store, self.name)  # before anything is made
        with self.lock(progress), self._writing():
            old, new = self._referenced(), list[Entry]()
            folders = [each for each in published(self.store, self.name) if each.name not in without]
            for folder, parts in self._read(folders, progress):
                drop = DatasetManifest.read(folder).drop.sha256
                new = self._files.append(new, self._files.write([folder.name], [drop], parts))
                self._files.sweep([*old, *new])
            if folders:
                self._files.upload_again(new)
                self._commit(new)
            else:
                remove_file(self._manifest)

    def check(self, progress: Progress = silent) -> list[str]:
        """Read the whole index again and compare it with itself and with the published versions.

        Returns:
            Each problem found, naming the file or the version.
        """
        try:
            entries = self._entries()
        except AssayError as error:
            return [error.message]
        problems: list[str] = []
        done, total = 0, sum(entry["rows"] for entry in entries)
        counted: Counter[str] = Counter()
        progress("check", done, total, "rows")
        for entry in entries:
            try:
                damage = [*self._files.rotten(entry), *self._files.damage(entry)]
                if not damage:
                    segment = self._files.open(entry)
                    damage = list(contradictions(self._files, entry, segment))
                    counted.update(rows_by_version(segment))
            except (AssayError, FileNotFoundError) as error:  # removed between two looks at it
                damage = [str(error)]
            problems += damage
            done += entry["rows"]
            progress("check", done, total, "rows")
        if self._entries() != entries:  # a version was added meanwhile
            return self.check(progress)
        return [*problems, *unlike_published(self.store, self.name, entries, counted)]

    def _read(
        self, folders: list[Path], progress: Progress, kept: Mapping[str, KeptKeys] = NOTHING
    ) -> Iterator[tuple[Path, Iterator[Keys]]]:
        """The rows of versions, told as they are read."""
        done, total = 0, sum(map(compared_rows, folders))

        def told(parts: Iterator[Keys]) -> Iterator[Keys]:
            nonlocal done
            for part in parts:
                yield part
                done += pc.sum(part.rows["votes"]).as_py() or 0
                progress("index", done, total, "rows")

        for folder in folders:
            found = [kept[folder.name]] if folder.name in kept else []
            yield folder, told(read_version(folder, self.settings, *found))

    def _commit(self, entries: list[Entry]) -> None:
        """Replace the manifest: what it names is the index from now on."""
        content = {"format": FORMAT, "parameters": self.parameters, "segments": entries}
        self._files.upload(entries)
        text = json.dumps(content | {"sha256": digest(content)}, indent=2, sort_keys=True)
        replace_file(self._manifest, text.encode() + b"\n", self._files.folder)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Leave no file that the manifest does not name: before, those of a killed run, and after, those merged."""
        with self._explained():
            self._files.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            try:
                yield
            finally:
                self._sweep()

    def _sweep(self) -> None:
        self._files.sweep([*self._referenced(), *self._ready.values()])

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if str(self.store.cache) in str(error):  # of an entry, which `mended` makes again
                raise
            raise AssayError(
                f"{error.filename or self.folder}: {error.strerror or error}. The index of {self.name} is as it was.",
                remedy="Mend that (space, permissions) and run the same command again.",
            ) from error

    def _referenced(self) -> list[Entry]:
        """The segments on the disk, under whatever parameters; none if the manifest is not there or damaged."""
        content = _authentic(self._manifest)
        return content["segments"] if content else []

    def _entries(self) -> list[Entry]:
        """The segments of the index.

        Raises:
            AssayError: the manifest is damaged, of another format, or tells of other parameters.
        """
        content = _authentic(self._manifest)
        if content is None and not self._manifest.exists():
            return []
        if content is None:
            raise self._files.damaged(f"{self._manifest}: not as it was written.")
        if content["format"] != FORMAT:
            raise self._files.to_rebuild(
                f"{self._manifest}: format {content['format']}, expected {FORMAT}: another release of Assay made it."
            )
        known = content["parameters"]
        differing = sorted(key for key in known | self.parameters if known.get(key) != self.parameters.get(key))
        if differing:
            raise AssayError(
                f"{self.folder}: the index was made with other parameters: "
                + "; ".join(
                    f"{key} is {known.get(key)} there and {self.parameters.get(key)} here" for key in differing
                ),
                remedy=f"`assay index rebuild {self.name} --recipe RECIPE` makes it again with the recipe's; "
                "under another name, or in another --store, the recipe starts an index of its own.",
            )
        segments: list[Entry] = content["segments"]
        return segments


def _authentic(path: Path) -> dict[str, Any] | None:
    """An index's manifest, or None where there is none or it is not as it was written."""
    try:
        content: dict[str, Any] = json.loads(fresh(path).read_bytes())
        return content if content.pop("sha256") == digest(content) else None
    except (FileNotFoundError, ValueError, AttributeError, KeyError, TypeError):
        return None
