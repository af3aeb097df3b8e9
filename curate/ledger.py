"""The ledger: what happened when, the one place with a clock. Each line holds its own hash."""

import errno
import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from curate.drafts import locked, replace_file
from curate.errors import AssayError
from curate.hashing import canonical_json, digest
from curate.mirror import mirror_of
from curate.shared import add_lines, fresh

Kind = Literal["datasets", "adapters", "scorecards", "experiments", "studies"]
EVENTS = "events.jsonl"
FORGOTTEN = "forgotten"
"""The event of a version that another takes the place of, without rows that were to be forgotten."""
CHECK = "check"
"""Key of the hash that each line of the ledger holds of the rest of itself."""
OLD_KEYS = frozenset(
    "time event name version drop where counts found seconds tokens_per_second promoted".split()  # noqa: SIM905
)
"""Those of lines that were written before each held its hash."""


class Ledger:
    """Lines of JSON that are added one by one.

    Args:
        ledger: the folder of the file.
    """

    def __init__(self, ledger: Path) -> None:
        self.ledger = ledger

    def record(self, event: dict[str, Any]) -> dict[str, Any]:
        """Append an event, with the time, to the ledger: the one place where a clock is read.

        A line that cannot be written whole is taken back.

        Returns:
            The event as `events` has it.
        """
        self.ledger.mkdir(parents=True, exist_ok=True)
        told = {"time": datetime.now(UTC).isoformat(timespec="seconds")} | event
        line = _line(told)
        if add_lines(self.ledger / EVENTS, line):
            return told
        with locked(self.ledger), (self.ledger / EVENTS).open("a+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            line = b"\n" + line if file.read(1) not in (b"", b"\n") else line
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
            except OSError:
                file.truncate(end)
                raise
        return told

    def events(self) -> list[dict[str, Any]]:
        """What the ledger holds, oldest first.

        Raises:
            AssayError: a line is not as it was written; names it.
        """
        lines = list(self.ledger_lines())
        if problems := [problem for _, problem in lines if problem]:
            raise AssayError(
                "\n".join(problems),
                remedy="Restore the file from a copy, or delete the line: a NAME without a version then means what the "
                "other lines say was published last. NAME/VERSION is read without the ledger.",
            )
        return [event for event, _ in lines]

    def told(self, kind: Kind, name: str) -> list[dict[str, Any]]:
        """The events of one series, oldest first; of what was retracted since, none; and a version of which rows were
        forgotten since by the name of the one that took its place.

        Raises:
            AssayError: as `events`.
        """
        found: list[dict[str, Any]] = []
        for event in self.events():
            of = (event.get("kind"), event.get("name"))
            if (event.get("event"), event.get("name")) == (kind, name):
                found.append(event)
            elif event.get("event") == "retracted" and of == (kind, name):
                found = [each for each in found if each["version"] != event["version"]]
            elif event.get("event") == FORGOTTEN and of == (kind, name):
                now = {event["version"]: event["now"]}
                found = [each | {"version": now.get(each["version"], each["version"])} for each in found]
        return found

    def instead(self, kind: Kind, name: str) -> dict[str, str]:
        """By version of a series of which rows were forgotten: the one that has its place now."""
        now: dict[str, str] = {}
        for event, problem in self.ledger_lines():  # `assay check --all` tells of damaged lines
            if problem or event.get("name") != name:
                continue
            if (event.get("event"), event.get("kind")) == (FORGOTTEN, kind):
                now = {old: event["now"] if new == event["version"] else new for old, new in now.items()}
                now[event["version"]] = event["now"]
            elif event.get("event") == kind:  # it is there again
                now.pop(event["version"], None)
        return now

    def reword(self, words: Callable[[str], str]) -> None:
        """Write the messages of all lines anew that are sound; the file is replaced whole."""

        def reworded(line: bytes) -> bytes:
            event, problem = _event(line)
            said = event | {"message": words(event["message"])} if not problem and event.get("message") else event
            return line if said == event else _line(said)[:-1]

        path = self.ledger / EVENTS
        if (mirror := mirror_of(path)) is not None:
            mirror.changing(path).reword(reworded)
        elif path.is_file():
            with locked(self.ledger):
                old = path.read_bytes()
                new = b"".join(reworded(line) + b"\n" for line in old.split(b"\n") if line)
                if new != old:
                    replace_file(path, new)

    def ledger_lines(self) -> Iterator[tuple[dict[str, Any], str]]:
        """Each line of the ledger: the event, and what is wrong with the line, "" where nothing is.

        Lines that were written before each had its check value are taken as they are.
        """
        path = fresh(self.ledger / EVENTS)
        for number, line in enumerate(path.read_bytes().split(b"\n") if path.is_file() else (), 1):
            if line:
                event, problem = _event(line)
                yield event, f"{path}, line {number}: {problem}." if problem else ""


def _event(line: bytes) -> tuple[dict[str, Any], str]:
    """What a line tells, and what is wrong with it."""
    event: dict[str, Any] = {}
    try:
        event = json.loads(line)
        given = event.pop(CHECK, None)
        sound = given == _check_value(event) if given else event.keys() <= OLD_KEYS
    except (ValueError, TypeError, AttributeError, RecursionError):
        sound = False
    return event, "" if sound else "not as it was written"


def _line(event: dict[str, Any]) -> bytes:
    return canonical_json(event | {CHECK: _check_value(event)}) + b"\n"


def _check_value(event: dict[str, Any]) -> str:
    return digest(event)[:16]
