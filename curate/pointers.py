"""Pointers: which version a bare NAME means, one small file for each series: `pointers/KIND/NAME.json`.

{"version": what NAME means, or null where nothing has been promoted yet, "before": what it meant before, oldest first,
"candidate": trained and not yet promoted, or null, "check": hash of these}. Each change replaces the file whole. A
series without one is of an older store: there the ledger says what was published last.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from curate.errors import AssayError
from curate.hashing import digest
from curate.shared import fresh, held, remove_file, replace_file

CHECK = "check"
"""Key of the hash of the rest."""


@dataclass(frozen=True)
class Pointer:
    """What a NAME means, and what it meant."""

    version: str | None
    before: tuple[str, ...] = ()
    """Oldest first; no two in turn are the same."""
    candidate: str | None = None

    def at(self, version: str) -> "Pointer":
        """Pointing to a version; another that waits to be promoted goes on waiting."""
        before = () if self.version is None else (self.version,)
        same = version == self.version
        return Pointer(version, self.before if same else (*self.before, *before), self._waiting(version))

    def back(self) -> "Pointer":
        """Pointing to what it pointed to before."""
        return Pointer(self.before[-1], self.before[:-1], self._waiting(self.before[-1]))

    def _waiting(self, version: str) -> str | None:
        """The candidate, once it points to a version."""
        return None if self.candidate == version else self.candidate

    def without(self, versions: Sequence[str], instead: str | None = None) -> "Pointer":
        """As though these versions had never been, or another one in their place."""
        those = (instead if each in versions else each for each in (*self.before, self.version))
        kept = [each for each in those if each is not None]
        told = [each for at, each in enumerate(kept) if at == 0 or kept[at - 1] != each]
        candidate = None if self.candidate in versions else self.candidate
        return Pointer(told[-1] if told else None, tuple(told[:-1]), candidate)


class Pointers:
    """The pointers of a store.

    Args:
        folder: holds them, by kind.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, kind: str, name: str) -> Path:
        """Where a series' pointer lies."""
        return self.folder / kind / f"{name}.json"

    def read(self, kind: str, name: str) -> Pointer | None:
        """The pointer of a series; None where there is none.

        Raises:
            AssayError: it is not as it was written.
        """
        path = self.path(kind, name)
        try:
            content = json.loads(fresh(path).read_bytes())
            sound = content.pop(CHECK) == digest(content)
            pointer = Pointer(**content | {"before": tuple(content["before"])})
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            sound = False
        if not sound:
            raise AssayError(
                f"{path}: not as it was written, so nobody can say which version {name} means.",
                remedy="Restore it from a copy, or remove it: the ledger then says what was published last.",
            )
        return pointer

    @contextmanager
    def changed(self, kind: str, name: str) -> Iterator[Callable[[Pointer], None]]:
        """Change a pointer, while no other process does: gives what writes it."""
        path = self.path(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)

        def write(pointer: Pointer) -> None:
            content = asdict(pointer) | {"before": list(pointer.before)}
            replace_file(path, json.dumps(content | {CHECK: digest(content)}, indent=2).encode() + b"\n")

        with held(path.parent):
            yield write

    def remove(self, kind: str, name: str) -> None:
        """Remove a pointer: of a series of which nothing is left."""
        remove_file(self.path(kind, name))

    def all(self) -> list[tuple[str, str]]:
        """The kind and name of each."""
        return sorted((path.parent.name, path.stem) for path in self.folder.glob("*/*.json"))
