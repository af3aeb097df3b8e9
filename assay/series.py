"""The versions of a series: which there are, which one its name means, and letting it mean another."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.door import Place, store_of
from assay.parents import MANIFESTS, Member, folder, kind_of, lineage, made_from, member, parents, there_now
from assay.result import Result
from assay.results import Adapter, Made, Published, Scorecard, Version
from curate.errors import AssayError
from curate.manifest import DatasetManifest
from curate.pointers import Pointer
from curate.store import Kind, Store
from curate.table import Table

SHOWN: Mapping[Kind, type[Published]] = {"datasets": Version, "adapters": Adapter, "scorecards": Scorecard}
"""What `show` shows one of each kind as."""


@dataclass(frozen=True)
class Listed:
    """A version as it is listed."""

    version: str
    time: str | None
    """When it was published; None where the ledger does not tell of it."""
    means: str
    """latest, before or candidate, as the pointer says; "" of others."""
    drop: str | None
    """Hash of the drop; none of what is no data set version."""
    where: str | None
    """The drop lay."""
    kept: int | None
    quarantined: int | None
    parents: list[str]
    """What it was made from, or with regard to: a word for its kind, NAME/VERSION."""
    problem: str
    """Why its manifest cannot be read; "" where it can."""


@dataclass(frozen=True)
class Versions(Result):
    """What is published of a series, in the order of the ledger."""

    kind: Kind
    name: str
    latest: str | None
    versions: list[Listed]
    retracted: list[str]

    def __repr__(self) -> str:
        return f"Versions({self.kind} {self.name}: {len(self.versions)}, latest {self.latest})"

    def tables(self) -> list[Table]:
        rows, datasets = [], self.kind == "datasets"  # of which each names all before it: too much for a table
        for each in self.versions:
            when = (each.time or "")[:16].replace("T", " ")
            counts = ["" if count is None else f"{count:,}" for count in (each.kept, each.quarantined)]
            told = (
                [each.problem or each.where or "", *counts] if datasets else [each.problem or ", ".join(each.parents)]
            )
            rows.append([each.version, each.means, when, *told])
        columns = ["version", "", "published (UTC)", *(["drop", "kept", "quarantined"] if datasets else ["made from"])]
        title = f"{self.kind.capitalize()} {self.name}"
        tables = [Table("versions", title, columns, rows, texts=4)]
        if self.retracted:
            tables.append(Table("retracted", "Retracted", ["version"], [[each] for each in self.retracted]))
        return tables

    def data(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "name": self.name,
            "latest": self.latest,
            "versions": [vars(each) for each in self.versions],
            "retracted": self.retracted,
        }


@dataclass(frozen=True)
class Meaning(Result):
    """What a name means now."""

    kind: Kind
    name: str
    pointer: Pointer
    folder: Path

    def __repr__(self) -> str:
        return f"Meaning({self.kind} {self.name}: {self.pointer.version})"

    def tables(self) -> list[Table]:
        rows = [["latest", self.pointer.version or ""], ["before", ", ".join(reversed(self.pointer.before)) or "none"]]
        return [Table("meaning", f"{self.kind.capitalize()} {self.name}", ["", "version"], rows, texts=2)]

    def places(self) -> dict[str, Path]:
        return {"latest": self.folder}

    def data(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "name": self.name,
            "version": self.pointer.version,
            "before": list(self.pointer.before),
            "folder": self.folder,
        }


@dataclass(frozen=True)
class Shown(Result):
    """One version, what it was made from, and what was made from it."""

    kind: Kind
    result: Published
    means: str
    parents: list[str]
    children: list[str]

    def __repr__(self) -> str:
        return repr(self.result)

    def tables(self) -> list[Table]:
        rows = [
            [
                "its name means",
                {"latest": "this one", "": "another one"}.get(self.means, f"another one ({self.means})"),
            ],
            ["made from, or with regard to", ", ".join(self.parents) or "nothing published"],
            ["made from it, or with regard to it", ", ".join(self.children) or "nothing published"],
        ]
        return [*self.result.tables(), Table("lineage", "Lineage", ["", "versions"], rows, texts=2)]

    def places(self) -> dict[str, Path]:
        return self.result.places()

    def data(self) -> dict[str, Any]:
        told = {"kind": self.kind, "means": self.means, "parents": self.parents, "children": self.children}
        return told | self.result.data()


def versions(name: str, *, kind: str = "datasets", store: Place | None = None) -> Versions:
    """What is published of a series, in the order of the ledger; what it does not tell of comes last.

    Args:
        name: of the series: its recipe's `name`.
        kind: datasets, adapters, scorecards, experiments or studies.
        store: folder, or URL in a bucket, that Assay writes to.

    Raises:
        AssayError: nothing of that name was ever published, or ledger or pointer are damaged.
    """
    target, known = store_of(store), kind_of(kind)
    told = target.told(known, name)
    order = list(dict.fromkeys(event["version"] for event in told))
    there = [path.name for path in target.versions(known, name)]
    gone = [event for event in target.events() if event.get("event") == "retracted" and event["kind"] == known]
    retracted = list(dict.fromkeys(event["version"] for event in gone if event["name"] == name))
    retracted = [each for each in retracted if each not in there]
    if not there and not retracted:
        raise AssayError(f"{name}: no version in {target.place}/{known}.", remedy=target.published_names(known))
    pointer = target.pointed(known, name)
    listed = []
    for version in [*(each for each in order if each in there), *(each for each in there if each not in order)]:
        first: dict[str, Any] = next((event for event in told if event["version"] == version), {})
        listed.append(_listed(target, Member(known, name, version), pointer, first))
    return Versions(known, name, pointer.version, listed, retracted)


def published(version: str, *, kind: str = "datasets", store: Place | None = None) -> Shown:
    """A published version of any kind that is shown, with what it was made from and what was made from it.

    Args:
        version: a folder, NAME/VERSION or NAME.
        kind: datasets, adapters or scorecards.
        store: folder, or URL in a bucket, that Assay writes to.

    Raises:
        AssayError: nothing of that name is published, or something in the store is damaged.
    """
    target, known = store_of(store), kind_of(kind)
    if known not in SHOWN:
        raise AssayError(f"One of {known} is not shown.", remedy="Open the report.html in its folder.")
    result = SHOWN[known](target.resolve(known, version), Made(target))
    one = Member(known, result.name, result.id)
    children = [each.told() for each in made_from(lineage(target), [one]) if each != one]
    its = sorted(each.told() for each in parents(result.manifest))
    return Shown(known, result, _means(target.pointed(known, one.name), one.version), its, children)


def promote(version: str, *, kind: str = "datasets", store: Place | None = None) -> Meaning:
    """Let a name mean one of its versions.

    Args:
        version: NAME/VERSION.
        kind: datasets or adapters.
        store: folder, or URL in a bucket, that Assay writes to.

    Raises:
        AssayError: there is no such version, or it is damaged.
    """
    target = store_of(store)
    one = there_now(target, member(_pointed(kind), version))
    MANIFESTS[one.kind].read(target.resolve(one.kind, version))
    target.promote(one.kind, one.name, one.version)
    return _meaning(target, one.kind, one.name)


def rollback(name: str, *, kind: str = "datasets", store: Place | None = None) -> Meaning:
    """Let a name mean what it meant before. The next run that succeeds lets it mean what that gave.

    Args:
        name: of the series: its recipe's `name`.
        kind: datasets or adapters.
        store: folder, or URL in a bucket, that Assay writes to.

    Raises:
        AssayError: it has meant nothing else, or that is not there any more.
    """
    target, known = store_of(store), kind_of(_pointed(kind))
    target.roll_back(known, name)
    return _meaning(target, known, name)


def _pointed(kind: str) -> str:
    """A kind that has pointers."""
    if kind not in ("datasets", "adapters"):
        raise AssayError(f"A name of {kind} means the last one.", remedy="--kind datasets or --kind adapters.")
    return kind


def _meaning(store: Store, kind: Kind, name: str) -> Meaning:
    return Meaning(kind, name, store.pointed(kind, name), store.resolve(kind, name))


def _means(pointer: Pointer, version: str) -> str:
    if version == pointer.version:
        return "latest"
    return "candidate" if version == pointer.candidate else "before" if version in pointer.before else ""


def _listed(store: Store, one: Member, pointer: Pointer, event: Mapping[str, Any]) -> Listed:
    means, time, where = _means(pointer, one.version), event.get("time"), event.get("where")
    try:
        manifest = MANIFESTS[one.kind].read(folder(store, one))
    except AssayError as error:
        return Listed(one.version, time, means, None, where, None, None, [], error.message)
    its = sorted(each.told() for each in parents(manifest))
    if not isinstance(manifest, DatasetManifest):
        return Listed(one.version, time, means, None, None, None, None, its, "")
    counts = manifest.counts
    return Listed(one.version, time, means, manifest.drop.sha256, where, counts.kept, counts.quarantined, its, "")
