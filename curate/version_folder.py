"""A published folder: what is read of it is held to what was written.

A version is the hash of its manifest, which holds the hash of each file; SHA256SUMS, in the form of sha256sum(1), holds
those of the files that only tell of the version. Of a store in a bucket a file is fetched when it is asked for.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from curate.errors import AssayError
from curate.hashing import digest, file_digest
from curate.mirror import RESTORE, mirror_of

MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
"""Of the files of a version that its manifest does not name: its card, its report."""
MADE_BY: dict[str, str] = {
    "datasets": "curate RECIPE",
    "adapters": "train RECIPE",
    "scorecards": "evaluate RECIPE",
    "experiments": "experiment FILE",
    "studies": "tune RECIPE",
}
"""The command that publishes each kind."""
OWN_SUM = b"# "
"""What the last line of SHA256SUMS begins with, the hash of the lines above: sha256sum(1) passes over it."""
TELLING = ("README.md", "report.html", "data_docs", "scorecard.json", "contract", "croissant.json")
"""What only tells of a version, and so was not hashed before there was a SHA256SUMS."""


def version_of(manifest: Mapping[str, Any]) -> str:
    """The version that a manifest's content gives: the first 16 hex digits of the SHA-256 of all but `version`."""
    return digest({key: value for key, value in manifest.items() if key != "version"})[:16]


def manifest_bytes(folder: Path) -> bytes:
    """The manifest of a published folder, as it lies there; `read_manifest` and `curate.manifest` read it.

    Raises:
        AssayError: there is none, so the folder is not a published one.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise AssayError(f"{folder}: no {MANIFEST}, so nothing published is there.", remedy="Name a published version.")
    return path.read_bytes()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a published folder as JSON; what it says gives the version that it names.

    Raises:
        AssayError: there is none, or it is not as it was published.
    """
    content = manifest_bytes(folder)
    try:
        manifest: dict[str, Any] = json.loads(content)
        given, found = manifest["version"], version_of(manifest)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise damaged(folder, MANIFEST, "not readable as a manifest") from None
    if given != found:
        problem = f"changed since it was published: it says version {given}, its content gives {found}"
        raise damaged(folder, MANIFEST, problem)
    return manifest


def verified(folder: Path, name: str) -> Path:
    """The path of a file of a published folder, hashed again: it is as it was published.

    Raises:
        AssayError: the file is not there or has changed, or it is none that was published; says which, and what to do.
    """
    known = hashes(folder, read_manifest(folder)["files"])
    if name not in known:
        raise damaged(folder, name, f"neither {MANIFEST} nor {SUMS} names it, so nobody can say whether it is sound")
    _fetch(folder, {name: known[name]})
    if problem := changed(folder, name, known[name]):
        raise damaged(folder, name, problem)
    return folder / name


def verified_whole(folder: Path) -> Path:
    """A published folder of which every file, hashed again, is as it was published.

    Raises:
        AssayError: as `verified`.
    """
    for name, sha256 in hashes(at_hand(folder), read_manifest(folder)["files"]).items():
        if problem := changed(folder, name, sha256):
            raise damaged(folder, name, problem)
    return folder


def at_hand(folder: Path) -> Path:
    """A published folder, all of which lies on this machine: of a store in a bucket what is missing is fetched.

    Raises:
        AssayError: something of it is not there, or not as it was published.
    """
    if mirror_of(folder) is not None:
        _fetch(folder, hashes(folder, read_manifest(folder)["files"]))
    return folder


def _fetch(folder: Path, files: Mapping[str, str]) -> None:
    if (mirror := mirror_of(folder)) is not None:
        mirror.fetch(folder, files)


def fetched(path: Path) -> Path:
    """The path of a file that may be one of a published folder: of a store in a bucket it is fetched if it is.

    Raises:
        AssayError: it is not as it was published.
    """
    if (mirror := mirror_of(path)) is not None:
        for folder in path.parents:
            if mirror.is_version(folder) and (folder / MANIFEST).is_file():
                name, known = path.relative_to(folder).as_posix(), hashes(folder, read_manifest(folder)["files"])
                _fetch(folder, {name: known[name]} if name in known else {})
    return path


def size(folder: Path, files: Collection[str]) -> int:
    """Bytes of files of a published folder, none of which is read, or fetched.

    Raises:
        AssayError: one is not there, in the bucket.
        FileNotFoundError: likewise, in a folder.
    """
    if (mirror := mirror_of(folder)) is None:
        return sum((folder / name).stat().st_size for name in files)
    there = mirror.sizes(folder)
    if missing := sorted(set(files) - there.keys()):
        raise damaged(folder, missing[0], "not there, though it was published")
    return sum(there[name] for name in files)


def hashes(folder: Path, files: Mapping[str, str]) -> dict[str, str]:
    """The SHA-256 of each file of a published folder, by its path there: of those of its manifest and of SHA256SUMS.

    Versions that were published before there was a SHA256SUMS have no hash of what only tells of them.

    Args:
        folder: the published folder.
        files: of its manifest.

    Raises:
        AssayError: SHA256SUMS has changed, or a path leads out of the folder.
    """
    known = {**files, **_sums(folder)}
    for name in known:
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise damaged(folder, MANIFEST, f"it names {name!r}, which is not in its folder")
    return known


def _sums(folder: Path) -> dict[str, str]:
    """What SHA256SUMS says."""
    path = folder / SUMS
    if not path.is_file():
        return {}
    lines, _, own = path.read_bytes().rpartition(OWN_SUM)
    if own != _own_sum(lines):
        raise damaged(folder, SUMS, "changed since it was published")
    listed = (line.partition("  ") for line in lines.decode().splitlines())
    return {name: sha256 for sha256, _, name in listed}


def write_sums(folder: Path, files: Mapping[str, str]) -> None:
    """Write SHA256SUMS, if there is any file that the manifest does not name; last in it is the hash of its own lines.

    Args:
        folder: to be published, or published.
        files: of its manifest.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    told = {*files, MANIFEST, SUMS}
    lines = "".join(f"{file_digest(folder / name)}  {name}\n" for name in names if name not in told).encode()
    if lines:
        (folder / SUMS).write_bytes(lines + OWN_SUM + _own_sum(lines))


def _own_sum(lines: bytes) -> bytes:
    return hashlib.sha256(lines).hexdigest().encode() + b"\n"


def changed(folder: Path, name: str, sha256: str) -> str | None:
    """What is wrong with a file that had this hash when it was published; None where it still has."""
    path = folder / name
    if not path.is_file():
        return "not there, though it was published"
    found = file_digest(path)
    return None if found == sha256 else f"changed since it was published: its SHA-256 is {found}, it was {sha256}"


def damage(folder: Path, files: Mapping[str, str]) -> Iterator[AssayError]:
    """What is told of files of a published folder that are not as they were published: all are read, of a store in a
    bucket both there and what is here.

    Args:
        folder: the published folder.
        files: their SHA-256, by name.
    """
    mirror = mirror_of(folder)
    if mirror is not None:
        yield from (AssayError(f"{where}: {problem}.", remedy=RESTORE) for where, problem in mirror.rot(folder, files))
    for name, sha256 in files.items():
        if (mirror is None or (folder / name).is_file()) and (problem := changed(folder, name, sha256)):
            yield damaged(folder, name, problem)


def strangers(folder: Path, files: Mapping[str, str]) -> list[str]:
    """The files in a published folder that were not published with it; hidden ones, which nothing reads, are left out.

    Args:
        folder: the published folder.
        files: of its manifest.
    """
    known = {MANIFEST, SUMS, *hashes(folder, files)}
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    if not (folder / SUMS).is_file():
        found = [path for path in found if path.parts[0] not in TELLING]
    names = (path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))
    return sorted(set(names) - known)


def damaged(folder: Path, name: str, problem: str) -> AssayError:
    """What is told of a file of a published folder that is not as it was published."""
    return AssayError(f"{folder / name}: {problem}.", remedy=mend(folder))


def mend(folder: Path) -> str:
    """What to do about a published folder that is damaged."""
    if (mirror := mirror_of(folder)) is not None:
        return f"Remove {folder}: it is a copy, which is fetched again from {mirror.url}/{mirror.name(folder)}."
    series = folder.absolute().parent
    store, kind = series.parent.parent, series.parent.name
    if kind not in MADE_BY:
        return f"Restore {folder} from where it was copied."
    index = f" and {store / 'index' / series.name}, which is made again" if kind == "datasets" else ""
    return f"Restore it from a copy. Without one, remove {folder}{index}, and run `assay {MADE_BY[kind]}` again."
