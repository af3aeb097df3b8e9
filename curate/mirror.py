"""Mirrors: a store in a bucket has a folder of this machine in front of it, laid out as any store, which may be removed
at any time: what counts lies in the bucket.

A version, published there by its manifest, comes into the mirror by that, and each file of it when it is read; an entry
of the cache is one object, and there whole or not at all. What code reads by a path below the mirror it asks for first:
of any other path that does nothing.
"""

import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from curate.bucket import PACKAGES, Found
from curate.changing import Changing, is_state
from curate.drafts import DRAFT, drafted, replace_file
from curate.errors import AssayError
from curate.hashing import file_digest
from curate.lease import Lease, leased
from curate.packed_folders import PackedFolders
from curate.urls import without_secrets

PLACES = "a store is a folder, or lies on s3://, gs:// or abfs://"
PLACE = "ASSAY_MIRROR"
"""The environment's folder for mirrors."""
ADDRESS = ".url"
"""File of a mirror: the store's URL."""
NOTES = ".numbers"
"""Folder of a mirror: which state of files that change its copies are of."""
PATTERN = "*?[]"
"""What fsspec takes for a pattern in a name."""
FIRST = ("manifest.json", "SHA256SUMS", "contract")
"""What a version comes into the mirror with: what it says, and what it was held to."""
SERIES = ("datasets", "adapters", "scorecards", "experiments", "studies")
RESTORE = "Restore it from a copy, or from an earlier state where the bucket keeps those."
"""What to do about an object that is damaged."""

_mirrors: dict[Path, "Mirror"] = {}


class Mirror(PackedFolders):
    """The mirror of a store in a bucket.

    Args:
        url: the store's.
        root: the mirror's folder.
    """

    def __init__(self, url: str, root: Path) -> None:
        super().__init__(url, root)
        self._held: dict[str, tuple[Lease, int]] = {}

    # Versions.

    def refresh(self, below: str = "") -> None:
        """Have the mirror know of all that is published, and of nothing else.

        Args:
            below: a part of the store, e.g. `datasets/NAME`.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        here = {folder for folder in self.versions() if folder.is_relative_to(self.root / below)}
        listed = self.bucket.listed(f"published/{below}".rstrip("/"))
        there = {self.root / name.partition("/")[2]: found for name, found in listed.items()}
        for gone in here - there.keys():  # what is here was there before this looked
            self._forget(gone)
        told_anew = {folder for folder, found in there.items() if folder in here and self._is_other(folder, found)}
        for folder in told_anew:
            self._forget(folder)
        taken = there.keys() - here | told_anew
        self.bucket.each(self._take, sorted(taken))
        for folder, found in there.items():
            if folder in taken or not self._noted(folder).is_file():
                self._note(folder, found.size)
            with suppress(FileNotFoundError):
                os.utime(folder, (found.modified, found.modified))

    def _noted(self, folder: Path) -> Path:
        """Where it is noted as which the copy of a version was published: each time that it is told anew what tells of
        it, the object that publishes it is longer."""
        return self.root / NOTES / f"{self._marker(folder).replace('/', '%')}"

    def _note(self, folder: Path, size: int) -> None:
        replace_file(self._noted(folder), str(size).encode())

    def _is_other(self, folder: Path, found: Found) -> bool:
        note = self._noted(folder)
        return note.is_file() and note.read_text() != str(found.size)

    def tell_anew(self, folder: Path, names: Iterable[str]) -> None:
        """Put files anew that tell of a version: every mirror takes it again."""
        self.require_held()
        self.upload(folder, folder, names)
        marker = (self.bucket.get(self._marker(folder)) or b"") + uuid4().hex.encode()
        self.bucket.put(self._marker(folder), marker)
        self._note(folder, len(marker))

    def refresh_changing(self, below: str) -> list[Path]:
        """Have files below a part of the store that change, such as pointers, be what the bucket holds; gives them."""
        names = {name.rpartition("/")[0] for name in self.bucket.listed(below) if is_state(name)}
        self.bucket.each(lambda name: self.changing(self.root / name).fresh(), sorted(names))
        return [self.root / name for name in sorted(names)]

    def refresh_version(self, folder: Path) -> None:
        """Have it know of a version if it is published, and not if it is not."""
        if (marker := self.bucket.get(self._marker(folder))) is None:
            self._forget(folder)
        elif not (folder / FIRST[0]).is_file():
            self._take(folder)
            self._note(folder, len(marker))

    def versions(self) -> list[Path]:
        """The versions that the mirror knows."""
        places = (*(f"{kind}/*/*" for kind in SERIES), "retracted/*/*/*")
        return [path.parent for place in places for path in self.root.glob(f"{place}/{FIRST[0]}")]

    def is_version(self, folder: Path) -> bool:
        """Whether a folder lies where versions do."""
        parts = folder.relative_to(self.root).parts if folder.is_relative_to(self.root) else ()
        return (len(parts) == 3 and parts[0] in SERIES) or (len(parts) == 4 and parts[0] == "retracted")

    def _marker(self, folder: Path) -> str:
        """The object that publishes a version, put last: there is one for each, and for nothing else."""
        return f"published/{self.name(folder)}"

    def fetch(self, folder: Path, files: Mapping[str, str]) -> None:
        """Have files of a version in the mirror, which are as they were published.

        Args:
            folder: the version.
            files: their SHA-256, by name.

        Raises:
            AssayError: one is not there, or not as it was published.
        """
        missing = {name: known for name, known in files.items() if not (folder / name).is_file()}
        self.bucket.each(lambda each: self._fetch(folder, *each), sorted(missing.items()))

    def rot(
        self,
        folder: Path,
        files: Mapping[str, str],
        hashed: Callable[[Path], str] = file_digest,
        known_as: str = "SHA-256",
    ) -> Iterator[tuple[str, str]]:
        """Where in the bucket files of a folder are not as they were put, and how: all of them are read there.

        Args:
            folder: a version, or another folder of files that never change.
            files: their hashes, by name.
            hashed: gives such a hash.
            known_as: the kind of hash.
        """
        with drafted(self.root / NOTES) as aside:

            def problem(number: int, name: str, known: str) -> tuple[str, str]:
                copy, there = aside / str(number), f"{self.name(folder)}/{name}"
                if not self.bucket.get_file(there, copy):
                    return f"{self.url}/{there}", "not there, though it was published"
                found = hashed(copy)
                copy.unlink()
                return f"{self.url}/{there}", "" if found == known else _unlike(found, known, known_as)

            numbered = [(number, *each) for number, each in enumerate(sorted(files.items()))]
            yield from (each for each in self.bucket.each(lambda each: problem(*each), numbered) if each[1])

    def upload(self, draft: Path, final: Path, names: Iterable[str]) -> None:
        """Put files of a version that is about to be published, of which its name tells the content: nobody sees them
        yet, and who puts them too puts the same."""
        place = self.name(final)
        self.bucket.each(lambda name: self.bucket.put_file(f"{place}/{name}", draft / name), sorted(names))

    def publish(self, draft: Path, final: Path, uploaded: Collection[str]) -> None:
        """Put what is left of a version, publish it if it is not, and move it to its place here.

        Args:
            draft: holds it.
            final: its place.
            uploaded: names of the files that are there already.

        Raises:
            LostError: this process has lost a lock that it does so under.
        """
        if self.bucket.get(self._marker(final)) is not None:  # another machine has meanwhile
            self.refresh_version(final)
            return
        files = {path.relative_to(draft).as_posix() for path in draft.rglob("*") if path.is_file()}
        self.require_held()
        there = self.bucket.listed(self.name(final))  # what is there from now on stays
        missing = {name for name in uploaded if f"{self.name(final)}/{name}" not in there}
        self.upload(draft, final, files - {FIRST[0], *uploaded} | missing)
        self.upload(draft, final, [FIRST[0]])
        self.require_held()
        marker = uuid4().hex.encode()
        if self.bucket.create(self._marker(final), marker):
            self._note(final, len(marker))
            with suppress(OSError):  # another process of this machine has just learnt of it
                draft.rename(final)
        else:
            self.refresh_version(final)

    def move(self, folder: Path, to: Path) -> None:
        """Move a version to another place of the bucket; a killed process leaves it in both, or has moved it."""
        self.require_held()
        place, other = self.name(folder), self.name(to)
        self.bucket.each(
            lambda name: self.bucket.copy(name, other + name.removeprefix(place)), self.bucket.listed(place)
        )
        if (missing := sorted(self.sizes(folder).items() - self.sizes(to).items())) and missing:
            raise AssayError(
                f"{self.url}/{other}/{missing[0][0]}: the storage has not copied it yet.",
                remedy="Run the same command again.",
            )
        self.bucket.copy(self._marker(folder), self._marker(to))
        self.remove(folder)

    def remove(self, folder: Path) -> None:
        """Remove a version, or what was set aside, from the bucket: from the first step on it is none."""
        self.require_held()
        files = self.bucket.listed(self.name(folder))
        self.bucket.remove([self._marker(folder)])
        self.bucket.remove(files or [self.name(folder)])  # what was set aside is one object

    def unpublished(self) -> dict[Path, float]:
        """Folders of versions that were put, in whole or in part, and are not published; when the last of it was."""
        published = self.bucket.listed("published")
        found: dict[Path, float] = {}
        for kind in SERIES:
            for name, each in self.bucket.listed(kind).items():
                place = "/".join(name.split("/")[:3])
                if f"published/{place}" not in published:
                    found[self.root / place] = max(found.get(self.root / place, 0.0), each.modified)
        return found

    def sizes(self, folder: Path) -> dict[str, int]:
        """Bytes of the files of a version in the bucket, by name."""
        place = self.name(folder)
        return {name.removeprefix(f"{place}/"): found.size for name, found in self.bucket.listed(place).items()}

    def size(self, paths: Iterable[Path]) -> int:
        """Bytes in the bucket of what lies at paths, or below them."""
        names = [self.name(path) for path in paths]
        tops = {name.partition("/")[0] for name in names}
        listed = [(name, found.size) for top in sorted(tops) for name, found in self.bucket.listed(top).items()]
        return sum(size for name, size in listed if any(name == each or name.startswith(f"{each}/") for each in names))

    def _take(self, folder: Path) -> None:
        place = self.name(folder)
        wanted = [name for name in self.sizes(folder) if name.partition("/")[0] in FIRST]
        with drafted(folder.parent) as draft:
            draft.chmod(0o755)
            for name in wanted:
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
            self.bucket.each(lambda name: self.bucket.get_file(f"{place}/{name}", draft / name), wanted)
            with suppress(OSError):  # another process has just done so
                draft.rename(folder)

    def _fetch(self, folder: Path, name: str, known: str) -> None:
        there, path = f"{self.name(folder)}/{name}", folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(prefix=DRAFT, dir=path.parent)
        os.close(descriptor)
        draft = Path(aside)
        try:
            problem = None
            if not self.bucket.get_file(there, draft):
                problem = "not there, though it was published"
            elif (found := file_digest(draft)) != known:
                problem = _unlike(found, known, "SHA-256")
            if problem:
                raise AssayError(
                    f"{self.url}/{there}: {problem}.",
                    remedy=RESTORE,
                )
            draft.chmod(0o644)
            draft.rename(path)
        finally:
            draft.unlink(missing_ok=True)

    # Other files that never change.

    def fetch_file(self, path: Path, intact: Callable[[Path], bool]) -> None:
        """See `curate.shared`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with drafted(self.root / NOTES) as aside:
            draft = aside / path.name
            if self.bucket.get_file(self.name(path), draft):
                if not intact(draft):
                    raise AssayError(
                        f"{self.url}/{self.name(path)}: its bytes are not those that were written.",
                        remedy="Restore it from a copy, or have it made again.",
                    )
                draft.rename(path)

    def put_files(self, paths: Iterable[Path]) -> None:
        """Put those that the bucket has not."""
        by_name = {self.name(path): path for path in paths}
        there = {
            name
            for folder in {path.parent for path in by_name.values()}
            for name in self.bucket.listed(self.name(folder))
        }
        missing = sorted(by_name.keys() - there)
        self.bucket.each(lambda name: self.bucket.put_file(name, by_name[name]), missing)

    def keep_files(self, folder: Path, names: Collection[str]) -> None:
        """Remove every file of a folder but these."""
        kept = {f"{self.name(folder)}/{name}" for name in names}
        if gone := [name for name in self.bucket.listed(self.name(folder)) if name not in kept]:
            self.require_held()
            self.bucket.remove(gone)

    # Files that change, and locks.

    def follow(self, path: Path, do: Callable[[], None]) -> None:
        """Do what is to be done once for each state of a file that changes; in a mirror that is new there is nothing
        to do for a file that is not there."""
        self.changing(path).fresh()
        done = self.root / NOTES / f"{self.name(path).replace('/', '%')}.done"
        state = file_digest(path).encode() if path.is_file() else b""
        if state != (done.read_bytes() if done.is_file() else b""):
            do()
            replace_file(done, state)

    def forget_copies(self) -> None:
        """Remove what was refused, and what the bucket has not of indexes; what is wanted is fetched again."""
        for folder in self.root.glob("failed/*"):
            self._forget(folder)
        there = self.bucket.listed("index")
        for path in self.root.glob("index/*/segments/*"):
            if not path.name.startswith(DRAFT) and self.name(path) not in there:
                path.unlink(missing_ok=True)

    def changing(self, path: Path) -> Changing:
        """A file that changes."""
        return Changing(self.bucket, self.name(path), path, self.root / NOTES)

    @contextmanager
    def leased(self, folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the lock of a folder of the store."""
        name = self.name(folder)
        with ExitStack() as held:
            lease = held.enter_context(leased(self.bucket, "store" if name == "." else name, waiting))
            self._held[name] = lease, os.getpid()
            held.callback(self._held.pop, name)
            yield

    def require_held(self) -> None:
        """See to it that this process has all locks still that it took.

        Raises:
            LostError: it has lost one.
        """
        for lease, process in list(self._held.values()):
            if process == os.getpid():
                lease.require()


def _unlike(found: str, known: str, known_as: str) -> str:
    return f"changed since it was published: its {known_as} is {found}, it was {known}"


def mirror_of(path: Path) -> Mirror | None:
    """The mirror that a path lies in; None of any other path."""
    if not _mirrors:
        return None
    return next((found for parent in (path, *path.parents) if (found := _mirrors.get(parent)) is not None), None)


def mirrored(url: str) -> Mirror:
    """The mirror of the store at a URL.

    Raises:
        AssayError: a store cannot lie there, or the URL holds a secret.
    """
    scheme = url.partition("://")[0]
    if scheme not in PACKAGES:
        raise AssayError(
            f"{without_secrets(url)}: {PLACES}.",
            remedy="Name a folder by its path."
            if scheme in ("file", "local")
            else "Name one of these. A drop may be any.",
        )
    if without_secrets(url) != url:
        raise AssayError(
            f"{without_secrets(url)}: the store's URL holds what may be a key.",
            remedy="Name it without: keys come from the environment of each machine (AWS_ACCESS_KEY_ID and such).",
        )
    if set(url) & set(PATTERN):
        raise AssayError(
            f"{url}: the store's URL holds one of {' '.join(PATTERN)}, which what removes objects takes for a pattern.",
            remedy="Name a prefix without.",
        )
    url = url.rstrip("/")
    home = os.environ.get(PLACE)
    place = Path(home) if home else Path.home() / ".cache/assay/stores"
    root = place.resolve() / sha256(url.encode()).hexdigest()[:16]
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AssayError(
            f"{root}: {error.strerror}, so there is no place for copies of what lies at {url}.",
            remedy=f"Name a folder that this user may write to by {PLACE}.",
        ) from None
    if not (root / ADDRESS).is_file() or (root / ADDRESS).read_text() != url:
        replace_file(root / ADDRESS, url.encode())
    return _mirrors.setdefault(root, Mirror(url, root))


def known_again(root: Path) -> None:
    """Know a folder for the mirror that it is, in a process that has only been given its path."""
    if root not in _mirrors and (root / ADDRESS).is_file():
        _mirrors[root] = Mirror((root / ADDRESS).read_text(), root)


def placed(url: str, name: str) -> Path:
    """Where on this machine what a store has in a bucket lies, or would."""
    return mirrored(url).root / name
