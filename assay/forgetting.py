"""Forgetting: what a store holds of some rows goes, wherever it lies, and does not come back."""

import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from assay.door import Place, store_of
from assay.parents import ONE, Member, folder, lineage, made_from, members
from assay.result import Result
from curate.cache import forget as forget_entry
from curate.drafts import fsync, locked
from curate.errors import AssayError
from curate.forgotten import FILE, Forgotten, forget_again, hashed, read_forgotten
from curate.garbage import PAID, WITHOUT_ROWS, rows_kept
from curate.ledger import FORGOTTEN
from curate.progress import Progress, silent
from curate.publish.published import read_rows
from curate.publish.without import Gone, holds, without
from curate.read.expressions import compile_expression
from curate.record import KEYS, SPLITS
from curate.sets.index import Index, recorded_settings
from curate.store import Store
from curate.table import Table
from curate.traces import Traces, traces_of

HOLDING = (*SPLITS, "quarantine")

SHOWN = 20
"""Places in drops that a terminal is shown."""

Row = dict[str, Any]


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

    store: Path
    these: Gone
    holding: list[Holding]
    drops: list[dict[str, Any]]
    """Where the rows stand in drops, which are never changed: `where`, `file`, `row`."""
    alike: list[str]
    """Ids of rows that were near-duplicates of these, and stay."""
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
                "holding", f"{self.store}: {number:,} rows. {title}", ["what", "which", "rows", "fate"], rows, texts=4
            )
        ]
        if self.drops:
            places = [[each["where"], each["file"], str(each["row"])] for each in self.drops[:SHOWN]]
            places += [["", f"and {len(self.drops) - SHOWN:,} more", ""]] if len(self.drops) > SHOWN else []
            tables.append(Table("drops", "The raw files still hold them", ["drop", "file", "row"], places, texts=2))
        if self.alike:
            title = "Near-duplicates of them, which stay: name these too if they are to go"
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
            `meta`, `file`, `row`, `raw`, `split`, `stage` and `reason`; the rows of which it is true.
        reason: is noted in the list of what was forgotten.
        adapters: remove the adapters that were trained on them, too.
        remove: whether it is done, or only told.
        store: folder that Assay writes to.
        progress: told how far it is.

    Raises:
        AssayError: nothing is asked for, there is no such row, the expression makes no sense, or the store is damaged.
    """
    target = store_of(store)
    wanted = _wanted(ids, group, where)
    with ExitStack() as held:
        indexes: dict[str, Index] = {}
        if remove:
            for name in sorted({each.name for each in members(target) if each.kind == "datasets"}):
                indexes[name] = Index(target, name, recorded_settings(target, name))
                held.enter_context(indexes[name].lock(progress))
        plan = _Plan.of(target, wanted, ids, group, progress)
        if not remove:
            return plan.result(adapters)
        return plan.carry_out(indexes, reason, adapters, progress)


def _wanted(ids: Sequence[str], group: str | None, where: str | None) -> Callable[[Row], bool]:
    """Which rows are meant.

    Raises:
        AssayError: none is, or the expression is none.
    """
    if not ids and group is None and where is None:
        raise AssayError("Nothing to forget.", remedy="Name rows by their ids, or with --group or --where.")
    try:
        holds_of = None if where is None else compile_expression(where)
    except ValueError as error:
        raise AssayError(f"--where: {error}", remedy="docs/expressions.md says what may be said.") from None
    named = frozenset(ids)

    def wanted(row: Row) -> bool:
        if row["id"] in named or row["meta"].get("part_of") in named:
            return True
        if group is not None and row["group"] is not None and group in (row["group"], *row["group"].split(KEYS)):
            return True
        if holds_of is None:
            return False
        try:
            return bool(holds_of(row))
        except Exception as error:  # whatever Jinja raises of this row
            raise AssayError(
                f"--where: {where!r} cannot be said of row {row['id'] or row['file']}: {error}",
                remedy="Ask first whether it is there: `x is defined and …`.",
            ) from None

    return wanted


def _rows(path: Path) -> Iterator[Row]:
    """The rows of a published table as they are asked about."""
    quarantined = path.stem == "quarantine"
    for row in read_rows(path):
        meta = row["meta"] or ()
        pairs = (tuple(each.values()) if isinstance(each, dict) else each for each in meta)
        source, said = row.pop("source"), [turn["content"] for turn in row["turns"] or ()]
        yield (
            {"stage": None, "reason": None, "raw": None}
            | row
            | {
                "meta": dict(pairs),
                "file": source["file"],
                "row": source["row"],
                "text": "\n".join([*said, row["target"] or row.get("raw") or ""]),
                "split": None if quarantined else path.stem,
            }
        )


@dataclass(frozen=True)
class _Plan:
    """What is to be done."""

    store: Store
    these: Gone
    groups: frozenset[str]
    versions: dict[Member, Counter[str]]
    """Data set versions that hold the rows, and how many in which table."""
    aside: list[Holding]
    """Candidates that were refused and versions that were taken back which hold them."""
    trained: list[Member]
    """Adapters."""
    quoting: list[Member]
    """Scorecards, experiments and studies."""
    traces: Traces
    drops: list[dict[str, Any]]
    alike: list[str]

    @staticmethod
    def of(
        store: Store, wanted: Callable[[Row], bool], ids: Sequence[str], group: str | None, progress: Progress
    ) -> "_Plan":
        """See `forget`.

        Raises:
            AssayError: there is no such row.
        """
        published = {each: folder(store, each) for each in members(store) if each.kind == "datasets"}
        aside = {path: "candidate" for path in sorted(store.failed.glob("*")) if path.is_dir()}
        aside |= {path: "retracted" for path in sorted((store.retracted / "datasets").glob("*/*")) if path.is_dir()}
        folders = [*published.values(), *aside]
        known = read_forgotten(store.root)
        gone = _found(folders, wanted, frozenset(ids) & known.ids, progress)
        groups = frozenset() if group is None else frozenset([hashed(group)])
        if not (gone.ids or gone.raws or groups & known.groups):
            raise AssayError(
                f"No such row in any version or quarantine of {store.root}{''.join(f', {each}' for each in ids)}.",
                remedy="Ids stand in the column `id` of splits and quarantine.parquet; `assay review` shows them.",
            )
        versions = {each: rows for each, path in published.items() if (rows := holds(path, gone))}
        traces, drops, alike = _gathered(store, published, versions, folders, gone)
        later = made_from(lineage(store), list(versions))
        with_train = made_from(lineage(store), [each for each, rows in versions.items() if rows["train"]])
        quoted = Traces({*traces.pieces, *gone.ids})
        others = [each for each in members(store) if each.kind not in ("datasets", "adapters")]
        return _Plan(
            store,
            gone,
            groups,
            versions,
            [
                Holding(kind, str(path.relative_to(store.root)), path, dict(rows), "removed")
                for path, kind in aside.items()
                if (rows := holds(path, gone)) or traces.within(path)
            ],
            [each for each in with_train if each.kind == "adapters"],
            [each for each in others if quoted.within(folder(store, each))] if later else [],
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
        fate = "removed" if adapters else "stays: it was trained on them (--adapters removes it)"
        holding += [Holding("adapter", str(each), folder(store, each), {}, fate) for each in self.trained]
        singular = {"scorecards": "scorecard", "experiments": "experiment", "studies": "study"}
        holding += [
            Holding(singular[each.kind], str(each), folder(store, each), {}, "removed") for each in self.quoting
        ]
        holding += self.aside
        if cached := len(rows_kept(store.cache)):
            holding.append(Holding("cache", "cache", store.cache, {"entries": cached}, "removed: a run makes it again"))
        return Forgetting(store.root, self.these, holding, self.drops, self.alike, **{"removed": False} | done)

    def carry_out(self, indexes: dict[str, Index], reason: str, adapters: bool, progress: Progress) -> Forgetting:
        """Do it. Versions come last, for it is by them that a run which was killed finds the rows again."""
        store, told = self.store, self.result(adapters)
        forget_again(store.root, Forgotten(self.these.ids, self.groups, self.these.raws), reason)
        for each in [*self.quoting, *(self.trained if adapters else [])]:
            store.forget(each.kind, each.name, [each.version])
            store.record({"event": "retracted", **each._asdict()})
            _remove(folder(store, each))
        for held in self.aside:
            _remove(held.path)
        for entry in rows_kept(store.cache):
            forget_entry(entry)
        _forget_answers(store.cache / PAID, self.traces)
        names = sorted({each.name for each in self.versions})
        for name in names:  # until it is made again there is none, and a run that is next makes it
            indexes[name].rebuild(progress, without=[path.name for path in store.versions("datasets", name)])
        now: dict[str, str] = {}
        for each, rows in self.versions.items():
            new = without(store, folder(store, each), self.these).name
            store.record({"event": FORGOTTEN, **each._asdict(), "now": new, "rows": sum(rows[n] for n in HOLDING)})
            store.forget("datasets", each.name, [each.version], instead=new)
            _remove(folder(store, each))
            now[str(each)] = new
        for name in names:
            indexes[name].rebuild(progress)
        store.reword(lambda text: "(forgotten)" if self.traces.found(text.encode()) else text)
        files = (path for path in sorted(store.root.rglob("*")) if path.is_file() and path.name != FILE)
        left = [str(path) for path in files if not _is_model(store, path) and self.traces.within(path)]
        return Forgetting(store.root, self.these, told.holding, self.drops, self.alike, True, now, left)


def _found(folders: Sequence[Path], wanted: Callable[[Row], bool], known: frozenset[str], progress: Progress) -> Gone:
    """The rows that are meant, by what they were read as."""
    ids, raws = {*known}, set[str]()
    for number, path in enumerate(folders):
        progress("look for rows", number, len(folders), "versions")
        for row in (row for name in HOLDING for row in _rows(path / f"{name}.parquet") if wanted(row)):
            if row["id"] is None:
                raws.add(hashed(row["raw"] or ""))
            else:
                ids.add(row["meta"].get("part_of") or row["id"])
    progress("look for rows", len(folders), len(folders), "versions")
    return Gone(frozenset(ids), frozenset(raws))


def _gathered(
    store: Store,
    published: dict[Member, Path],
    holding: dict[Member, Counter[str]],
    folders: Sequence[Path],
    gone: Gone,
) -> tuple[Traces, list[dict[str, Any]], list[str]]:
    """What gives the rows away; where they stand in drops; and the rows that near-duplicates of them are."""

    def is_gone(row: Row) -> bool:
        if row["id"] is None:
            return hashed(row["raw"] or "") in gone.raws
        return row["id"] in gone.ids or row["meta"].get("part_of") in gone.ids

    def all_rows() -> Iterator[Row]:
        return (row for path in folders for name in HOLDING for row in _rows(path / f"{name}.parquet"))

    drops: dict[tuple[str, str, int], None] = {}
    alike: set[str] = set()
    for each, path in published.items():
        if not holding.get(each):
            continue
        told = {event["version"]: event.get("where") for event in store.told("datasets", each.name)}
        for name in HOLDING:
            for row in _rows(path / f"{name}.parquet"):
                if is_gone(row):
                    drops[str(told.get(each.version)), row["file"], row["row"]] = None
                elif row["reason"] == "near_duplicate" and any(id in row["evidence"] for id in gone.ids):
                    alike.add(row["id"])
    traces = traces_of((row for row in all_rows() if is_gone(row)), (row for row in all_rows() if not is_gone(row)))
    return traces, [dict(zip(("where", "file", "row"), each, strict=True)) for each in sorted(drops)], sorted(alike)


def _is_model(store: Store, path: Path) -> bool:
    return path.is_relative_to(store.cache) and path.relative_to(store.cache).parts[0] in WITHOUT_ROWS


def _forget_answers(folder: Path, traces: Traces) -> None:
    """Remove kept answers that quote a row, from the file too."""
    for path in sorted(folder.glob("*/*/answers.sqlite")):
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            found = [
                key
                for key, answer in database.execute("SELECT key, answer FROM answers")
                if traces.found(answer.encode())
            ]
            if found:
                database.execute("PRAGMA secure_delete = ON")
                database.executemany("DELETE FROM answers WHERE key = ?", [[key] for key in found])
                database.execute("VACUUM")
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _remove(path: Path) -> None:
    """Remove a published folder, or one that was set aside."""
    with locked(path.parent):
        shutil.rmtree(path)
    fsync(path.parent)
