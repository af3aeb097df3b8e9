"""Forgotten: rows that a store must not hold again. Of each the list keeps a hash, and nothing of what it says.

`forgotten.jsonl` of a store is a plain file that is only added to; a line has one of `id` (of a row as it was read),
`group` (SHA-256 of the group's name), `raw` (SHA-256 of a row of which no record could be made) and `file` (SHA-256 of
a document that only such rows were taken from), and `when` and `reason`. Taking a line out allows the rows again.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import xxhash

from curate.errors import AssayError, SetAsideError
from curate.hashing import digest
from curate.record import KEYS
from curate.shared import add_lines, fresh, held

FILE = "forgotten.jsonl"
KINDS = ("id", "group", "raw", "file")
NAMED = 5
"""Rows that a refusal names."""


class ForgottenError(SetAsideError):
    """A drop holds rows that were forgotten."""

    why = "forgotten"


class ForgottenMeanwhileError(AssayError):
    """Something was forgotten while a run was at work that may hold it."""


@dataclass(frozen=True)
class Forgotten:
    """What a store must not hold again, as hashes."""

    ids: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    raws: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.ids or self.groups or self.raws or self.files)

    def key(self) -> list[str]:
        """What tells it from another, for what depends on it; nothing of an empty one."""
        return [digest([sorted(each) for each in (self.ids, self.groups, self.raws, self.files)])] if self else []

    def has(self, id: str | None, group: str | None, raw: str | None, place: tuple[str, int]) -> bool:
        """Whether it is one of these rows.

        Args:
            id, group, raw: of a row as it was read; no id where it gave no record.
            place: SHA-256 of the file, and the row's number in it.
        """
        if id is None:
            return bool(self.raws) and mark(raw, *place) in self.raws
        return id in self.ids or any(hashed(form) in self.groups for form in forms(group) if self.groups)


NOTHING = Forgotten()


def mark(raw: str | None, sha256: str, row: int) -> str:
    """By what a row is known of which no record could be made: a hash of it, or, where nothing of it could be read, of
    where it stands.

    Args:
        raw: its text.
        sha256: of its file.
        row: its number there.
    """
    return hashed(raw or f"{sha256} {row}")


def forms(group: str | None) -> set[str]:
    """All that a group may be called: whole, each of its keys, without the number that tells keys apart, and as the
    stage `pii` writes what is personal."""
    if group is None:
        return set()
    keys = {group, *group.split(KEYS)}
    keys |= {re.sub(r"^\d+:", "", key) for key in keys}
    return keys | {xxhash.xxh3_128_hexdigest(key.encode()) for key in keys}


def hashed(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_forgotten(store: Path) -> Forgotten:
    """What a store must not hold again.

    Args:
        store: its folder.

    Raises:
        AssayError: a line of the list is none.
    """
    found: dict[str, set[str]] = {kind: set() for kind in KINDS}
    path = fresh(store / FILE)
    for number, line in enumerate(path.read_bytes().split(b"\n") if path.is_file() else (), 1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
            (kind,) = found.keys() & said.keys()
            found[kind].add(str(said[kind]))
        except (ValueError, AttributeError):
            raise AssayError(
                f"{path}, line {number}: not as `assay forget` writes it, so nobody can say what is not to come back.",
                remedy="Restore the file from a copy, or take the line out.",
            ) from None
    return Forgotten(*(frozenset(found[kind]) for kind in KINDS))


def forget_again(store: Path, these: Forgotten, reason: str) -> None:
    """Add to the list of what a store must not hold again, and have it on the disk.

    Args:
        store: its folder.
        these: what is on the list already is not added.
        reason: in the words of whoever asked for it.
    """
    with held(store):
        known = read_forgotten(store)
        new = [
            {kind: each, "when": datetime.now(UTC).isoformat(timespec="seconds"), "reason": reason}
            for kind, asked, there in (
                ("id", these.ids, known.ids),
                ("group", these.groups, known.groups),
                ("raw", these.raws, known.raws),
                ("file", these.files, known.files),
            )
            for each in sorted(asked - there)
        ]
        lines = "".join(json.dumps(each) + "\n" for each in new).encode()
        if not new or add_lines(store / FILE, lines):
            return
        with (store / FILE).open("ab") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())


def require_as_known(store: Path, known: Forgotten) -> None:
    """See to it that nothing was forgotten since a run began, which may hold it.

    Args:
        store: its folder.
        known: what was forgotten when the run began.

    Raises:
        ForgottenMeanwhileError: something was.
    """
    if read_forgotten(store) != known:
        raise ForgottenMeanwhileError(
            "Rows were forgotten meanwhile. Nothing was published.", remedy="Run the same command again."
        )


def refusal(rows: Iterable[Mapping[str, Any]]) -> ForgottenError:
    """What is told of a drop that holds rows that were forgotten.

    Args:
        rows: `id` and `source` of each; of documents no id, and no row.
    """
    places = sorted(((row["source"]["file"], row["source"]["row"], row["id"]) for row in rows), key=str)
    named = [
        file + ("" if number is None else f", row {number}") + (f" ({id})" if id else "")
        for file, number, id in places[:NAMED]
    ]
    more = f", and {len(places) - NAMED:,} more" if len(places) > NAMED else ""
    return ForgottenError(
        f"The drop holds rows that were forgotten: {'; '.join(named)}{more}. Nothing of it was kept.",
        remedy="Take them out of the drop's files (rows count from 0, without a header). If they may come back, take "
        f"their lines out of the store's {FILE} first.",
    )
