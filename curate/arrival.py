"""Arrival: has a drop come whole, and is it one that was seen before?

A drop is whole when its marker is there, when its files are those of its own manifest, or, where it has neither, when
nothing of it has changed for a while. It is known by its content, as `curate` knows it: the same files again, or under
other names, are no new drop. What was found at one look is kept for the next, so that looks may be runs of their own; a
wait is measured by the steady clock of each machine that looks, which nobody sets. Only how long ago a drop was told
of, and nothing has become of it, is measured by the times of the ledger.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import orjson

from curate.errors import AssayError, explained
from curate.hashing import digest
from curate.progress import Progress, silent
from curate.publish import refused
from curate.read.files import drop_digest, find_files, place_of
from curate.recipe import Recipe
from curate.shared import fresh, replace_file, turn
from curate.store import Store

State = Literal["waiting", "unreadable", "arrived", "known"]
ARRIVED, OVERDUE = "arrived", "overdue"
"""Names of the ledger's events; `datasets` and `refused` tell what became of the drop."""
AGAIN = timedelta(hours=1)
"""After so long a drop of which nothing has become is told of again: the run that was to curate it was lost, failed, or
is still at work, and then another finds all that it has done. So long, too, one that cannot be read and does not change
is left alone: what keeps it from being read may be no part of it."""
UNREADABLE = "unreadable"
OUTCOMES = {"datasets": "published as version {version}", "refused": "refused: {why}"}
SUM = re.compile(r"([0-9a-f]{64}) [ *](.+)")
"""A line of sha256sum(1)."""
BLOCK = 1 << 20


@dataclass(frozen=True)
class Arrival:
    """What one look finds of a drop."""

    place: str
    """Its folder or URL, without secrets."""
    state: State
    """waiting: not whole yet; unreadable: it, its manifest or what a source names of it cannot be read; arrived: whole,
    and nothing has become of it yet; known: it was published or refused."""
    why: str
    drop: str | None = None
    """Its content hash, once it is whole; of one that is unreadable a hash of where it lies and why."""
    due: bool = False
    """Whether it is to be told of now: to be curated, as it was first seen whole, or nothing has become of it for
    `AGAIN`; or as set aside, as it was first found to be unreadable, or for another reason than before."""


@dataclass(frozen=True)
class _File:
    size: int
    state: str
    """Another whenever the storage shows the file changed."""


def look(recipe: Recipe, store: Store, progress: Progress = silent) -> list[Arrival]:
    """Look for drops: the recipe's own or, where drops are deliveries, each folder in it.

    Whoever looks at the same time waits: of all who do, one is told that a drop is due. One that cannot be read is set
    aside, and the ledger tells of it; it is tried again when it changes.

    Raises:
        AssayError: where drops are deliveries, the place in which they lie cannot be listed; or the ledger is damaged.
    """
    notes = _turns(recipe, store) / "notes.json"
    with turn(notes.parent, f"look for drops of {recipe.name}", progress):
        before: dict[str, Any] = orjson.loads(notes.read_bytes()) if fresh(notes).is_file() else {}
        after: dict[str, Any] = {}
        found = []
        told = store.events()
        for place in _places(recipe):
            where = place_of(place)
            arrival, after[where] = _looked(recipe, store, place, before.get(where, {}), told)
            found.append(arrival)
        replace_file(notes, orjson.dumps(after))
    return found


def overdue(
    recipe: Recipe, store: Store, now: datetime, tell: Callable[[str], None], progress: Progress = silent
) -> None:
    """Tell, once, that no new drop has come for longer than the contract's service level `freshness` allows.

    Args:
        recipe: whose drops come, and whose contract says how often.
        store: whose ledger tells when the last one did, and is told once `tell` has returned: of a process that is
            killed in between the next one tells again.
        now: with its time zone.
        tell: given the sentence.
        progress: told of another run that is waited for.
    """
    level = recipe.held_to().service_levels.get("freshness")
    if level is None:
        return
    with turn(_turns(recipe, store), f"see when the last drop of {recipe.name} came", progress):
        told = [event for event in store.events() if event.get("name") == recipe.name]
        came: dict[str, str] = {}
        for event in told:
            if event["event"] == ARRIVED:
                came.setdefault(event["drop"], event["time"])
        if not came:
            return
        *_, last = came.values()
        waited = now - datetime.fromisoformat(last)
        allowed = timedelta(**{{"d": "days", "h": "hours"}[level.unit]: level.value})
        if waited <= allowed or any((each["event"], each.get("since")) == (OVERDUE, last) for each in told):
            return
        tell(
            f"{recipe.name}: the last drop came {last}, {waited.total_seconds() / 3600:,.0f} hours ago; the contract "
            f"asks for one within {level.value:g} {level.unit}."
        )
        store.record({"event": OVERDUE, "name": recipe.name, "since": last})


def superseded(store: Store, name: str, drop: str) -> str | None:
    """The version that was published of a drop, where another of the data set has been published since.

    Args:
        store: whose ledger tells it.
        name: of the recipe.
        drop: its content hash.
    """
    told = store.told("datasets", name)
    made = [event["version"] for event in told if event.get("drop") == drop]
    return made[-1] if made and told[-1].get("drop") != drop else None


def _turns(recipe: Recipe, store: Store) -> Path:
    """The folder of which whoever looks for a recipe's drops holds the lock."""
    return store.root / "arrivals" / recipe.name


def _places(recipe: Recipe) -> list[str]:
    """Where drops may be; nowhere for a recipe that reads installed packages alone, which do not arrive."""
    if all(source.package is not None for source in recipe.sources):
        return []
    if recipe.drop_is != "delivery":
        return [recipe.drop]
    storage, root = _storage(recipe.drop)
    folders = [each["name"] for each in storage.ls(root, detail=True) if each["type"] == "directory"]
    names = [PurePosixPath(folder).name for folder in sorted(folders)]
    return [f"{recipe.drop.rstrip('/')}/{name}" for name in names if not name.startswith(".")]


def _looked(
    recipe: Recipe, store: Store, place: str, note: dict[str, Any], events: list[dict[str, Any]]
) -> tuple[Arrival, dict[str, Any]]:
    """What one look finds of a drop, and what the next look is to know.

    Args:
        note: of the last look.
        events: of the ledger.
    """
    where, wrong, tried, changed = place_of(place), note.get("wrong"), {}, False
    note = {key: value for key, value in note.items() if key != "wrong"}
    try:
        files = _listed(place, {recipe.arrival.marker, recipe.arrival.manifest})
        state = digest({name: [file.size, file.state] for name, file in files.items()})
        if changed := note.get("state") != state:
            note = {"state": state, "marker": note.get("marker")}
        elif wrong and wrong.get("boot") == _boot() and _steady() - wrong["at"] < AGAIN.total_seconds():
            return _unreadable(where, wrong["why"]), note | {"wrong": wrong}
        tried = {"boot": _boot(), "at": _steady()}
        note, why = _noted(recipe, store, place, files, note)
        return Arrival(where, "waiting", why) if why else _become(recipe, store, where, files, note, events), note
    except Exception as error:  # each storage raises its own
        if (explanation := explained(error)) is None:
            raise
        why = " ".join(str(explanation).splitlines())
        found = _unreadable(where, why, due=not wrong or (changed and why != wrong["why"]))
        if found.due:
            refused.tell(store, recipe.name, str(found.drop), where, UNREADABLE, message=why)
        return found, note | {"wrong": {"why": why} | tried}


def _unreadable(where: str, why: str, due: bool = False) -> Arrival:
    return Arrival(where, "unreadable", why, digest([where, why]), due)


def _noted(
    recipe: Recipe, store: Store, place: str, files: dict[str, _File], note: dict[str, Any]
) -> tuple[dict[str, Any], str | None]:
    """What the next look is to know of a drop, its content hash once it is whole, and why it is not.

    Args:
        note: of the last look at these very files.
    """
    if "drop" in note:
        return note, None
    # By each machine's own clock: those of two that look say nothing to each other.
    since = {_boot(): _steady()} | note.get("since", {})
    note = note | {"since": since}
    if (why := _lacks(recipe, place, files, _steady() - since[_boot()], note["marker"])) is not None:
        return note, why
    found = [file for source in recipe.sources for file in find_files(source, place, store.cache)]
    marker = files[recipe.arrival.marker].state if recipe.arrival.marker is not None else None
    note = {"state": note["state"], "marker": marker}
    return note | {"drop": drop_digest(found, recipe.record.reads_names)}, None


def _become(
    recipe: Recipe,
    store: Store,
    where: str,
    files: dict[str, _File],
    note: dict[str, Any],
    events: list[dict[str, Any]],
) -> Arrival:
    """What has become of a drop that is whole; one that is due is told of, to `events` too."""
    drop = note["drop"]
    told = _told(events, recipe.name, drop)
    for event in reversed(told):
        if event["event"] in OUTCOMES:
            return Arrival(where, "known", OUTCOMES[event["event"]].format_map(event), drop)
    # A time to come was told before the clock was set back, nobody knows how long ago.
    if due := not told or abs(_now() - datetime.fromisoformat(told[-1]["time"])) >= AGAIN:
        size = sum(file.size for file in files.values())
        about = {"event": ARRIVED, "name": recipe.name, "drop": drop, "where": where}
        events.append(store.record(about | {"files": len(files), "bytes": size}))
    return Arrival(where, "arrived", f"whole since {told[0]['time']}" if told else "whole", drop, due)


def _told(events: Sequence[dict[str, Any]], name: str, drop: str) -> list[dict[str, Any]]:
    """What the ledger tells of a drop, oldest first. What was retracted has never been: if nothing else has become of
    the drop, it was never seen."""
    found: list[dict[str, Any]] = []
    for event in events:
        if (event.get("name"), event.get("drop")) == (name, drop):
            found.append(event)
        elif (event["event"], event.get("kind"), event.get("name")) == ("retracted", "datasets", name):
            kept = [each for each in found if each.get("version") != event["version"]]
            if len(kept) < len(found):
                found = kept if any(each["event"] in OUTCOMES for each in kept) else []
    return found


def _lacks(recipe: Recipe, place: str, files: dict[str, _File], still: float, passed: str | None) -> str | None:
    """Why a drop is not whole yet; None where it is.

    Args:
        still: for how many seconds nothing of it has changed.
        passed: the state of the marker with which it was last whole, as other files: in a folder that grows, the same
            marker tells nothing of what has come since.
    """
    rule = recipe.arrival
    if rule.marker is not None:
        if rule.marker not in files:
            return f"its marker {rule.marker} is not there"
        if recipe.drop_is != "delivery" and files[rule.marker].state == passed:
            return f"its marker {rule.marker} is that of the files before: it is to be written anew after the last file"
        return None
    if rule.manifest is not None:
        if rule.manifest not in files:
            return f"its manifest {rule.manifest} is not there"
        return next(_unmet(place, rule.manifest, files), None)
    if not files:
        return "no file is there"
    left = rule.still_seconds - still
    return None if left <= 0 else f"its files changed less than {rule.still_seconds} s ago"


def _unmet(place: str, manifest: str, files: dict[str, _File]) -> Iterator[str]:
    """What of a drop is not as its manifest says: sizes first, which cost nothing."""
    storage, root = _storage(place)
    listed = _manifest(place, storage.cat_file(f"{root}/{manifest}").decode(errors="replace"), manifest)
    hidden = [name for name in listed if name not in files and storage.isfile(f"{root}/{name}")]
    files = files | {name: _File(storage.size(f"{root}/{name}"), "") for name in hidden}
    for name, (size, _) in listed.items():
        if name not in files:
            yield f"{name} of its manifest is not there"
        elif size is not None and files[name].size != size:
            yield f"{name} has {files[name].size:,} of {size:,} bytes"
    for name, (_, sha256) in listed.items():
        if sha256 is not None and _sha256(storage, f"{root}/{name}") != sha256:
            yield f"{name} is not what its manifest says"


def _manifest(place: str, text: str, name: str) -> dict[str, tuple[int | None, str | None]]:
    """A drop's files as its manifest tells them: bytes and SHA-256 of each, as far as it says.

    Raises:
        AssayError: it is of neither form.
    """
    wrong = AssayError(
        f"{place_of(place)}/{name}: not readable as a manifest.",
        remedy='Write lines of sha256sum, or JSON: {"files": {"a.jsonl": {"bytes": 123, "sha256": "..."}}}.',
    )
    lines = [line for line in text.splitlines() if line.strip()]
    sums = [SUM.fullmatch(line) for line in lines]
    if lines and all(sums):
        return {each[2].removeprefix("./"): (None, each[1]) for each in sums if each}
    try:
        told = orjson.loads(text)["files"]
        return {file: (about.get("bytes"), about.get("sha256")) for file, about in told.items()}
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise wrong from None


def _listed(place: str, named: Set[str | None]) -> dict[str, _File]:
    """The files of a drop by their names in it, without hidden ones that are not named."""
    storage, root = _storage(place)
    found = {}
    for path, about in storage.find(root, detail=True).items():
        name = path[len(root) :].lstrip("/")
        if name in named or not any(part.startswith(".") for part in PurePosixPath(name).parts):
            with suppress(FileNotFoundError):  # it went since it was listed
                found[name] = _File(about["size"], str(storage.ukey(path)))
    if not found:
        storage.ls(root)  # which fails where it may not be listed: `find` passes over it
    return found


def _sha256(storage: Any, path: str) -> str:
    found = hashlib.sha256()
    with storage.open(path, "rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()


def _storage(place: str) -> tuple[Any, str]:
    """A folder or URL as fsspec has it: what reads there, with nothing remembered, and the path.

    Raises:
        AssayError: no folder is there.
    """
    import fsspec

    storage, path = fsspec.core.url_to_fs(place)
    storage.invalidate_cache()
    if not storage.isdir(path):
        raise AssayError(
            f"{place_of(place)}: no such folder.", remedy="Name where drops arrive as the recipe's `drop`."
        )
    return storage, path.rstrip("/")


def _steady() -> float:
    """Seconds since the machine's start, about; the same clock for all of its processes."""
    return time.monotonic()


def _now() -> datetime:
    """By the clock of the ledger."""
    return datetime.now(UTC)


def _boot() -> str:
    """Which start of which machine the steady clock counts from."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text().strip() if boot.is_file() else ""
