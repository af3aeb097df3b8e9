"""Forgotten: rows that a store must not hold again. Of each the list keeps a hash, and nothing of what it says.

`forgotten.jsonl` of a store is a plain file that is only added to; a line has one of `id` (of a row as it was read),
`group` (SHA-256 of the group's name) and `raw` (SHA-256 of a row of which no record could be made), and `when` and
`reason`. Taking a line out allows the rows again.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from curate.drafts import locked
from curate.errors import AssayError, SetAsideError
from curate.hashing import digest

FILE = "forgotten.jsonl"
NAMED = 5
"""Rows that a refusal names."""


class ForgottenError(SetAsideError):
    """A drop holds rows that were forgotten."""

    why = "forgotten"


@dataclass(frozen=True)
class Forgotten:
    """What a store must not hold again, as hashes."""

    ids: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    raws: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.ids or self.groups or self.raws)

    def key(self) -> list[str]:
        """What tells it from another, for what depends on it; nothing of an empty one."""
        return [digest([sorted(each) for each in (self.ids, self.groups, self.raws)])] if self else []

    def has(self, row: Mapping[str, Any]) -> bool:
        """Whether it is one of these rows.

        Args:
            row: a record, or what is quarantined of a row that gave none, as it was read.
        """
        if row.get("id") is None:
            return bool(self.raws) and hashed(row.get("raw") or "") in self.raws
        group = row.get("group")
        return row["id"] in self.ids or bool(self.groups and group is not None and hashed(group) in self.groups)


NOTHING = Forgotten()


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
    found: dict[str, set[str]] = {"id": set(), "group": set(), "raw": set()}
    path = store / FILE
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
    return Forgotten(*(frozenset(found[kind]) for kind in ("id", "group", "raw")))


def forget_again(store: Path, these: Forgotten, reason: str) -> None:
    """Add to the list of what a store must not hold again, and have it on the disk.

    Args:
        store: its folder.
        these: what is on the list already is not added.
        reason: in the words of whoever asked for it.
    """
    with locked(store):
        known = read_forgotten(store)
        new = [
            {kind: each, "when": datetime.now(UTC).isoformat(timespec="seconds"), "reason": reason}
            for kind, asked, there in (
                ("id", these.ids, known.ids),
                ("group", these.groups, known.groups),
                ("raw", these.raws, known.raws),
            )
            for each in sorted(asked - there)
        ]
        with (store / FILE).open("ab") as file:
            file.write("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in new).encode())
            file.flush()
            os.fsync(file.fileno())


def refusal(rows: Iterable[Mapping[str, Any]]) -> ForgottenError:
    """What is told of a drop that holds rows that were forgotten.

    Args:
        rows: as `Forgotten.has` takes them, each with its `source`.
    """
    places = [(row["source"]["file"], row["source"]["row"], row.get("id")) for row in rows]
    named = [f"{file}, row {number}" + (f" ({id})" if id else "") for file, number, id in sorted(places)[:NAMED]]
    more = f", and {len(places) - NAMED:,} more" if len(places) > NAMED else ""
    return ForgottenError(
        f"The drop holds rows that were forgotten: {'; '.join(named)}{more}. Nothing of it was kept.",
        remedy="Take them out of the drop's files. If they may come back, take their lines out of the store's "
        f"{FILE} first.",
    )
