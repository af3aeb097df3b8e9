"""What a recipe may reach: files below its drop and beside itself, installed packages, and storages by their schemes.

A recipe may come from elsewhere, and a drop always does. Every place that a recipe names is asked of
`require_reachable`, and every link below a folder of `Below`.

What is named on the command line is the user's own and may be anywhere. So may the folder that a recipe's `drop` names,
which is mostly not beside it, and a model's folder, of which nothing but numbers comes into a data set.
"""

import os
import re
import stat
from pathlib import Path, PureWindowsPath

from curate.errors import AssayError
from curate.urls import without_secrets

SCHEMES = ("https", "http", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "hf")
"""Storages that a recipe may name files of: none of them is this machine's disk or memory."""
LONGEST, DEEPEST = 255, 50
"""Bytes of a name, of which no file system has longer ones, and names of a path, of which a glob takes each apart."""


def is_url(name: str) -> bool:
    return "://" in name


def require_path(name: str, what: str, remedy: str) -> None:
    """See to it that a file can have a name at all.

    Raises:
        AssayError: it cannot.
    """
    parts = name.encode(errors="surrogatepass").split(b"/")
    if re.search("[\0\ud800-\udfff]", name) or max(map(len, parts)) > LONGEST or len(parts) > DEEPEST:
        problem = "too long, or a zero or no Unicode in it"
        raise AssayError(f"{what} {name[:60]!r} can be no path: {problem}.", remedy=remedy)


def require_reachable(name: str, what: str, folder: str, remedy: str) -> None:
    """See to it that a recipe may reach a place that it names.

    Args:
        name: a path below a folder, or a URL.
        what: what the place is to the recipe, e.g. "Source".
        folder: what the path is relative to, e.g. "the drop".
        remedy: what to do about a path that leaves it.

    Raises:
        AssayError: the path leaves the folder or can be none, or the URL is chained or not of a storage in SCHEMES.
    """
    if is_url(name):
        scheme = name.partition("://")[0]
        if scheme.lower() not in SCHEMES or "::" in name:
            raise AssayError(
                f"{what} {without_secrets(name)!r}: a recipe may name no URL "
                f"{'within another (::)' if '::' in name else f'of {scheme}://'}.",
                remedy=f"Name what lies below {folder}, or a URL of {', '.join(SCHEMES)}; the drop that --drop names "
                "may be any.",
            )
        return
    require_path(name, what, remedy)
    path = PureWindowsPath(name)  # whose separators are those of every system
    if path.root or ".." in path.parts or (name.startswith("~") and len(path.parts) > 1):
        raise AssayError(f"{what} {name!r} leaves {folder}.", remedy=remedy)


def installed_by(package: str, options: str = "") -> str:
    """What to do where a package that a recipe names is not installed: never a command that installs from a place.

    Args:
        package: its name as the recipe has it, which pip could take for a path, a URL or an option.
        options: of pip.
    """
    if not re.fullmatch("[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", package):
        return "That is no name of a package; mend it in the recipe."
    return f"If you trust it: pip install {options}{package}"


class Below:
    """A folder, links in which may lead out of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real = os.path.realpath(root)
        self._ways_out: dict[Path, Path | None] = {}

    def way_out(self, path: Path, is_link: bool = True) -> Path | None:
        """The outermost part of a path below the folder that leads out of it; None where the path stays in it.

        Args:
            path: begins with the folder as it was given.
            is_link: whether its last part may be a link.
        """
        if path == self.root:
            return None
        parent = path.parent
        if parent not in self._ways_out:
            self._ways_out[parent] = self.way_out(parent)
        out = self._ways_out[parent]
        if out is None and is_link:
            real = os.path.realpath(path)
            return path if os.path.commonpath([real, self._real]) != self._real else None
        return out


def unreadable_kind(mode: int) -> str | None:
    """What a thing in a folder is that is neither a file nor a folder, and so is never opened.

    Args:
        mode: as `os.stat` tells it.
    """
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    return {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}.get(stat.S_IFMT(mode), "a device")
