"""Forgetting: what a store holds of some rows goes, wherever it lies, and does not come back."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from assay.door import Place, store_of
from assay.held_rows import HOLDING, MARK, NAMES, Row, all_rows, is_gone, prompt_of, wanted_rows
from assay.parents import ONE, Member, folder, lineage, members
from assay.result import Result
from curate.errors import AssayError
from curate.forgotten import FILE, Forgotten, forget_again, hashed, read_forgotten
from curate.garbage import PAID, WITHOUT_ROWS, abandoned, forget_rows, remove_waste, rows_kept
from curate.hashing import canonical_json
from curate.ledger import FORGOTTEN
from curate.manifest import DatasetManifest
from curate.mirror import mirror_of
from curate.progress import Progress, silent
from curate.publish.carried import FOLDER
from curate.publish.without import Gone, holds, told_again, without
from curate.record import whole_of
from curate.sets.index import Index, recorded_settings
from curate.shared import held, remove_folder
from curate.store import MANIFEST, Store, read_manifest
from curate.table import Table
from curate.traces import Traces, texts_in, traces_of
from train.manifest import AdapterManifest

SHOWN = 20
"""Places in drops that a terminal is shown."""


class Holding(NamedTuple):
    """Something of a store that holds the rows, or was made from what does."""

    kind: str
    """data set, candidate, retracted, adapter, scorecard, experiment, study, index or cache."""
    which: str
    path: Path
    rows: dict[str, int]
    """By table."""
    fate: str
    """made again, removed, or stays."""


@dataclass(frozen=True)
class Forgetting(Result):
    """What a store holds of some rows."""

    store: str
    these: Gone
    holding: list[Holding]
    drops: list[dict[str, Any]]
    """Where the rows stand in drops, which are never changed: `where`, `file`, `row`."""
    alike: list[str]
    """Ids of rows that were near-duplicates of these, or ask the same, and stay."""
    removed: bool
    now: dict[str, str] = field(default_factory=dict)
    """By NAME/VERSION that was made again: its new name."""
    left: list[str] = field(default_factory=list)
    """Files that still say what the rows say."""

    def __repr__(self) -> str:
        return f"Forgetting({len(self.these.ids)} rows, {'gone' if self.removed else 'still there'})"

    def tables(self) -> list[Table]:
        rows = [[each.kind, each.which, _counted(each.rows), self._fate(each)] for each in self.holding]
        title = "Gone" if self.removed else "Would go; --yes does it"
        number = len(self.these.ids) + len(self.these.raws)
        tables = [
            Table(
                "holding",
                f"{self.store}: {number:,} {'row' if number == 1 else 'rows'}. {title}",
                ["what", "which", "rows", "fate"],
                rows,
                texts=4,
            )
        ]
        if self.drops:
            places = [[each["where"], each["file"], _number(each["row"])] for each in self.drops[:SHOWN]]
            places += [["", f"and {len(self.drops) - SHOWN:,} more", ""]] if len(self.drops) > SHOWN else []
            tables.append(
                Table(
                    "drops",
                    "Where they stood in the raw files when these were read",
                    ["drop", "file", "row"],
                    places,
                    texts=2,
                )
            )
        if self.alike:
            title = "Rows like them, which stay: name these too if they are to go"
            tables.append(Table("alike", title, ["row"], [[each] for each in self.alike]))
        if self.left:
            tables.append(Table("left", "Files that still say what they say", ["file"], [[each] for each in self.left]))
        return tables

    def _fate(self, each: Holding) -> str:
        return f"now {now}" if (now := self.now.get(each.which)) and each.kind == ONE["datasets"] else each.fate

    def data(self) -> dict[str, Any]:
        return {
            "store": self.store,
            "rows": sorted(self.these.ids),
            "raws": sorted(self.these.raws),
            "removed": self.removed,
            "holding": [each._asdict() | {"fate": self._fate(each)} for each in self.holding],
            "drops": self.drops,
            "alike": self.alike,
            "left": self.left,
        }

    def require(self) -> None:
        if self.left:
            raise AssayError(
                "Forgotten, but these files still say what the rows say:\n"
                + "\n".join(f"  {each}" for each in self.left),
                remedy="Remove an adapter by --adapters; whatever else is named was not written by Assay, or is new.",
            )


def _number(row: int | None) -> str:
    return "" if row is None else str(row)


def _counted(rows: dict[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in rows.items())


def forget(
    ids: Sequence[str] = (),
    *,
    group: str | None = None,
    where: str | None = None,
    reason: str = "",
    adapters: bool = False,
    remove: bool = False,
    store: Place | None = None,
    progress: Progress = silent,
) -> Forgetting:
    """Find all that a store holds of some rows, and have it forgotten if asked to: data set versions are made again
    without them, what else holds them is removed, and a later drop that brings them back is refused.

    Args:
        ids: of rows, published or quarantined; of a row that was divided, any part's stands for all of it.
        group: all rows of it.
        where: an expression (docs/expressions.md) over `id`, `group`, `label`, `language`, `target`, `turns`, `text`,
            `meta`, `file`, `documents` (names of the files that it was taken from), `row`, `raw` (text, or none),
            `split`, `stage` and `reason`; the rows of which it is true.
        reason: is noted in the list of what was forgotten.
        adapters: remove the adapters that were trained on them, too.
        remove: whether it is done, or only told.
        store: folder, or URL in a bucket, that Assay writes to.
        progress: told how far it is.

    Raises:
        AssayError: nothing is asked for, there is no such row, the expression makes no sense, or the store is damaged.
    """
    target = store_of(store)
    target.fetch_all()
    wanted = wanted_rows(ids, group, where)
    with ExitStack() as locks:
        indexes: dict[str, Index] = {}
        if remove:
            _lock(target, indexes, locks, progress)
            _finish(target, indexes, progress)
        gone = _found(_holders(target), wanted, frozenset(ids) & read_forgotten(target.root).ids, progress)
        groups = frozenset() if group is None else frozenset([hashed(group)])
        if not (gone.ids or gone.raws):
            raise AssayError(
                f"No such row in any version or quarantine of {target.place}: {', '.join(ids) or where or group}.",
                remedy="Ids stand in the column `id` of splits and quarantine.parquet; "
                f"--where is over {', '.join(NAMES)} of each row.",
            )
        if remove:  # from now on no run publishes what it has read before
            forget_again(target.root, Forgotten(gone.ids, groups, gone.raws, _documents(target, gone)), reason)
            _lock(target, indexes, locks, progress)
        plan = _Plan.of(target, gone)
        return plan.carry_out(indexes, adapters, progress) if remove else plan.result(adapters)


def _lock(store: Store, indexes: dict[str, Index], locks: ExitStack, progress: Progress) -> None:
    """Lock the index of every data set that is not locked yet."""
    for name in sorted({each.name for each in members(store) if each.kind == "datasets"} - indexes.keys()):
        indexes[name] = Index(store, name, recorded_settings(store, name))
        locks.enter_context(indexes[name].lock(progress))


def _holders(store: Store) -> list[Path]:
    """The folders of a store that hold rows: published versions, candidates that were refused, what was taken back."""
    return [
        *(folder(store, each) for each in members(store) if each.kind == "datasets"),
        *_folders(store.failed),
        *(path for name in _folders(store.retracted / "datasets") for path in _folders(name)),
    ]


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))


def _finish(store: Store, indexes: dict[str, Index], progress: Progress) -> None:
    """Remove what killed processes have left half-made or half-removed, and complete the indexes."""
    remove_waste(abandoned(store))
    for index in indexes.values():
        index.catch_up(progress)


@dataclass(frozen=True)
class _Plan:
    """What is to be done."""

    store: Store
    these: Gone
    versions: dict[Member, Counter[str]]
    """Data set versions that hold the rows, and how many in which table."""
    aside: list[Holding]
    """Candidates that were refused, and what was taken back, which hold them."""
    trained: list[Member]
    """Adapters."""
    quoting: list[Member]
    """Scorecards, experiments and studies."""
    traces: Traces
    drops: list[dict[str, Any]]
    alike: list[str]

    @staticmethod
    def of(store: Store, gone: Gone) -> "_Plan":
        """See `forget`."""
        published = {each: folder(store, each) for each in members(store) if each.kind == "datasets"}
        versions = {each: rows for each, path in published.items() if (rows := holds(path, gone))}
        traces = _traces(store, gone)
        drops, alike = _told_of(store, list(versions), gone)
        quoted = Traces({*traces.pieces, *gone.ids})
        others = [each for each in members(store) if each.kind not in ("datasets", "adapters")]
        quoting = [each for each in others if quoted.within(folder(store, each))]
        return _Plan(
            store,
            gone,
            versions,
            [
                *_aside("candidate", store, _folders(store.failed), gone, traces),
                *_aside("retracted", store, sorted(_retracted(store)), gone, quoted),
            ],
            _trained(store, {each for each, rows in versions.items() if rows["train"]}, set(quoting)),
            quoting,
            traces,
            drops,
            alike,
        )

    def result(self, adapters: bool, **done: Any) -> Forgetting:
        """What is told."""
        store = self.store
        holding = [
            Holding(ONE[each.kind], str(each), folder(store, each), dict(rows), "made again")
            for each, rows in self.versions.items()
        ]
        holding += [
            Holding("index", name, store.index / name, {}, "made again")
            for name in sorted({each.name for each in self.versions})
        ]
        fate = "removed" if adapters else "stays: its version had them to train on (--adapters removes it)"
        holding += [Holding("adapter", str(each), folder(store, each), {}, fate) for each in self.trained]
        holding += [Holding(ONE[each.kind], str(each), folder(store, each), {}, "removed") for each in self.quoting]
        holding += self.aside
        if cached := len(rows_kept(store.cache)):
            holding.append(Holding("cache", "cache", store.cache, {"entries": cached}, "removed: a run makes it again"))
        return Forgetting(store.place, self.these, holding, self.drops, self.alike, **{"removed": False} | done)

    def carry_out(self, indexes: dict[str, Index], adapters: bool, progress: Progress) -> Forgetting:
        """Do it. Versions come last, for it is by them that a run which was killed finds the rows again."""
        store, told = self.store, self.result(adapters)
        before = {*members(store)}
        self._remove_quoting(self.quoting, self.trained if adapters else [])
        for each in self.aside:
            remove_folder(each.path)
        forget_rows(store.cache)
        _forget_answers(store.cache / PAID, self.traces)
        store.reword(lambda text: "(forgotten)" if self.traces.found(text.encode()) else text)
        now = self._make_again(indexes, progress)
        # What was asked or trained meanwhile was so of a version that has gone since; no data set has come.
        quoted = Traces({*self.traces.pieces, *self.these.ids})
        store.fetch_all()
        came = [each for each in members(store) if each not in before and each.kind != "datasets"]
        self._remove_quoting([each for each in came if quoted.within(folder(store, each))], [])
        files = (path for path in sorted(store.root.rglob("*")) if path.is_file() and path.name != FILE)
        left = [str(path) for path in files if not _is_model(store, path) and self.traces.within(path)]
        return Forgetting(store.place, self.these, told.holding, self.drops, self.alike, True, now, left)

    def _remove_quoting(self, quoting: Sequence[Member], adapters: Sequence[Member]) -> None:
        store = self.store
        for each in (*quoting, *adapters):
            store.forget(each.kind, each.name, [each.version])
            store.record({"event": "retracted", **each._asdict()})
            remove_folder(folder(store, each))

    def _make_again(self, indexes: dict[str, Index], progress: Progress) -> dict[str, str]:
        """Every version without the rows; gives the new name of each."""
        store, now = self.store, dict[str, str]()
        names = sorted({each.name for each in self.versions})
        for name in names:  # until it is made again there is none, and a run that is next makes it
            indexes[name].rebuild(progress, without=[path.name for path in store.versions("datasets", name)])
        later = [each for each in members(store) if each.kind == "datasets" and each not in self.versions]
        followed = {each: DatasetManifest.read(folder(store, each)).index.compared_with[-1:] for each in later}
        for each, rows in self.versions.items():
            old = DatasetManifest.read(folder(store, each))
            new = without(store, folder(store, each), self.these).name
            store.record({"event": FORGOTTEN, **each._asdict(), "now": new, "rows": sum(rows[n] for n in HOLDING)})
            store.forget("datasets", each.name, [each.version], instead=new)
            for other in (other for other in later if (other.name, followed[other]) == (each.name, [each.version])):
                told_again(store, folder(store, other), old)
            with held(store.root):  # nothing that was made from it is published from now on
                remove_folder(folder(store, each))
            now[str(each)] = new
        for name in names:
            indexes[name].rebuild(progress)
        return now


def _trained(store: Store, on: Collection[Member], from_scorecards: Collection[Member]) -> list[Member]:
    """The adapters that were trained on the rows of versions, on pairs of scorecards, or from one of them."""
    known = {each: its for each, its in lineage(store).items() if each.kind == "adapters"}
    found: set[Member] = set()
    while more := {each for each, its in known.items() if its & {*on, *from_scorecards, *found}} - found:
        found |= more
    return sorted(found)


def _retracted(store: Store) -> Iterator[Path]:
    return (path for kind in _folders(store.retracted) for name in _folders(kind) for path in _folders(name))


def _aside(kind: str, store: Store, paths: Sequence[Path], gone: Gone, traces: Traces) -> list[Holding]:
    """Of folders that were set aside those that hold the rows, or quote them; retracted adapters of versions do."""
    found = []
    for path in paths:
        adapter = path.parts[-3] == "adapters"
        rows = Counter[str]() if adapter else holds(path, gone)
        if rows or traces.within(path) or (adapter and _saw(store, path, gone)):
            found.append(Holding(kind, str(path.relative_to(store.root)), path, dict(rows), "removed"))
    return found


def _saw(store: Store, adapter: Path, gone: Gone) -> bool:
    """Whether an adapter that was taken back was trained on a version that holds the rows."""
    parent = AdapterManifest.read(adapter).inputs.dataset
    version = store.instead("datasets", parent.name).get(parent.version, parent.version)
    places = [root / "datasets" / parent.name / version for root in (store.root, store.retracted)]
    return any(path.is_dir() and holds(path, gone)["train"] > 0 for path in places)


def _found(folders: Sequence[Path], wanted: Callable[[Row], bool], known: frozenset[str], progress: Progress) -> Gone:
    """The rows that are meant, by what they were read as."""
    ids, raws = {*known}, set[str]()
    for number, path in enumerate(folders):
        progress("look for rows", number, len(folders), "versions")
        for row in filter(wanted, all_rows(path)):
            if row["id"] is None:
                raws.add(row[MARK])
            else:
                ids.add(whole_of(row["meta"]) or row["id"])
    progress("look for rows", len(folders), len(folders), "versions")
    return Gone(frozenset(ids), frozenset(raws))


def _documents(store: Store, gone: Gone) -> frozenset[str]:
    """SHA-256 of the documents that rows were taken from, and no other row was."""
    mine, others = set[str](), set[str]()
    for path in (folder(store, each) for each in members(store) if each.kind == "datasets"):
        hashes: dict[str, set[str]] = {}  # rows know their document by its name alone
        for files in DatasetManifest.read(path).lookups.values():
            for file, sha256 in files.items():
                hashes.setdefault(file.rpartition("/")[2], set()).add(sha256)
        for row in all_rows(path) if hashes else ():
            of = mine if is_gone(row, gone) else others
            of.update(sha256 for name in row["documents"] for sha256 in hashes.get(name.rpartition("/")[2], ()))
    return frozenset(mine - others)


def _traces(store: Store, gone: Gone) -> Traces:
    """What gives the rows away."""
    holders = _holders(store)

    def rows() -> Iterator[Row]:
        return (row for path in holders for row in all_rows(path))

    def said() -> Iterator[bytes]:
        for path in holders:
            if (path / FOLDER).is_dir():
                yield from texts_in(path / FOLDER)
            if (path / MANIFEST).is_file():
                yield canonical_json(read_manifest(path)["recipe"])

    gone_rows = (row for row in rows() if is_gone(row, gone))
    return traces_of(gone_rows, (row for row in rows() if not is_gone(row, gone)), said())


def _told_of(store: Store, holding: Sequence[Member], gone: Gone) -> tuple[list[dict[str, Any]], list[str]]:
    """Where in drops the rows stand, and the ids of rows that are near-duplicates of theirs."""
    drops: dict[tuple[str, str, int | None], None] = {}
    alike: set[str | None] = set()
    asked = {prompt_of(row) for path in _holders(store) for row in all_rows(path) if is_gone(row, gone)} - {None}
    for each in (each for each in members(store) if each.kind == "datasets"):
        told = {event["version"]: event.get("where") for event in store.told("datasets", each.name)}
        for row in all_rows(folder(store, each)):
            kept = json.loads(row["evidence"]).get("kept") if row["reason"] == "near_duplicate" else None
            if is_gone(row, gone):
                if each in holding:
                    where = str(told.get(each.version))
                    drops[where, row["file"], row["row"]] = None
                    drops |= dict.fromkeys((where, name, None) for name in row["documents"][1:])
                alike.add(kept)
            elif kept in gone.ids or prompt_of(row) in asked:
                alike.add(row["id"])
    places = [dict(zip(("where", "file", "row"), place, strict=True)) for place in sorted(drops, key=str)]
    return places, sorted(id for id in alike - gone.ids if id is not None)


def _is_model(store: Store, path: Path) -> bool:
    return path.is_relative_to(store.cache) and path.relative_to(store.cache).parts[0] in WITHOUT_ROWS


def _forget_answers(folder: Path, traces: Traces) -> None:
    """Remove kept answers that quote a row, from the file too."""
    if (mirror := mirror_of(folder)) is not None:
        for lines in mirror.refresh_changing(mirror.name(folder)):
            mirror.changing(lines).reword(lambda line: b"" if traces.found(line) else line)
    for path in sorted(folder.glob("*/*/answers.sqlite")):
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            rows = database.execute("SELECT key, answer FROM answers")
            if found := [key for key, answer in rows if traces.found(answer.encode())]:
                database.execute("PRAGMA secure_delete = ON")
                database.executemany("DELETE FROM answers WHERE key = ?", [[key] for key in found])
                database.execute("VACUUM")
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
