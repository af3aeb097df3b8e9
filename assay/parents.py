"""Parents: what each published thing of a store was made from or with regard to, and so what was made from each."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from curate.errors import AssayError
from curate.manifest import DatasetManifest, Manifest
from curate.store import MADE_BY, MANIFEST, Kind, Store
from evaluation.card.manifest import ScorecardManifest
from evaluation.experiment.manifest import ExperimentManifest, RunParents
from evaluation.tune.manifest import StudyManifest, TrialParent
from train.manifest import AdapterManifest, AdapterParent, DatasetParent, PairsParent

MANIFESTS: dict[Kind, type[Manifest]] = {
    "datasets": DatasetManifest,
    "adapters": AdapterManifest,
    "scorecards": ScorecardManifest,
    "experiments": ExperimentManifest,
    "studies": StudyManifest,
}
ONE: dict[Kind, str] = {
    "datasets": "data set",
    "adapters": "adapter",
    "scorecards": "scorecard",
    "experiments": "experiment",
    "studies": "study",
}
"""What one of each kind is called."""
REFERENCE = re.compile(r"([a-z0-9][a-z0-9_-]*)/([0-9a-f]{16})/[^/]+")
"""How a manifest names a published split that rows were kept out of the data set for."""


class Member(NamedTuple):
    """Something published."""

    kind: Kind
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"

    def told(self) -> str:
        """With its kind, for people."""
        return f"{ONE[self.kind]} {self}"


def member(kind: str, named: str) -> Member:
    """What `NAME/VERSION` means.

    Raises:
        AssayError: it is not of that form, or there is no such kind.
    """
    name, _, version = named.partition("/")
    if not re.fullmatch("[0-9a-f]{16}", version):
        raise AssayError(f"{named}: expected NAME/VERSION.", remedy=f"`assay versions {name}` lists them.")
    return Member(kind_of(kind), name, version)


def kind_of(kind: str) -> Kind:
    """A kind by its name.

    Raises:
        AssayError: there is no such kind.
    """
    for known in MANIFESTS:
        if kind == known:
            return known
    raise AssayError(f"There is no kind {kind!r}.", remedy=f"One of {', '.join(MADE_BY)}.")


def there_now(store: Store, one: Member) -> Member:
    """What has the place of something of which rows were forgotten; of all else itself."""
    return one._replace(version=store.instead(one.kind, one.name).get(one.version, one.version))


def parents(manifest: Manifest) -> set[Member]:
    """What something was made from, and what it was compared with."""
    if isinstance(manifest, DatasetManifest):
        own = {*manifest.index.compared_with, *manifest.splits_of} - {manifest.version}
        asked = (REFERENCE.fullmatch(name) for name in manifest.references)
        return {Member("datasets", manifest.name, version) for version in own} | {
            Member("datasets", *each.groups()) for each in asked if each
        }
    return set(_named(getattr(manifest, "inputs")))  # noqa: B009  each of the others has them


def _named(part: Any) -> Iterator[Member]:
    """What a part of a manifest names, at whatever depth."""
    if isinstance(part, DatasetParent):
        yield Member("datasets", part.name, part.version)
    elif isinstance(part, AdapterParent):
        yield Member("adapters", part.name, part.version)
    elif isinstance(part, BaseModel):
        if isinstance(part, RunParents):
            yield member("scorecards", part.scorecard)
        if isinstance(part, PairsParent):
            yield from (member("scorecards", each) for each in part.scorecards)
        if isinstance(part, TrialParent) and part.adapter is not None:
            yield member("adapters", part.adapter)
        for name in type(part).model_fields:
            yield from _named(getattr(part, name))
    elif isinstance(part, dict):
        for each in part.values():
            yield from _named(each)
    elif isinstance(part, list):
        for each in part:
            yield from _named(each)


def members(store: Store) -> list[Member]:
    """All that is published."""
    return [
        Member(kind, path.parent.parent.name, path.parent.name)
        for kind in MANIFESTS
        for path in sorted((store.root / kind).glob(f"*/{'[0-9a-f]' * 16}/{MANIFEST}"))
    ]


def lineage(store: Store) -> dict[Member, set[Member]]:
    """All that is published, each with its parents: of those of which rows were forgotten, what has their place now.

    Raises:
        AssayError: a manifest is damaged.
    """
    there = members(store)
    now = {
        Member("datasets", name, old): Member("datasets", name, new)
        for name in {each.name for each in there if each.kind == "datasets"}
        for old, new in store.instead("datasets", name).items()
    }
    return {
        each: {now.get(one, one) for one in parents(MANIFESTS[each.kind].read(folder(store, each)))} - {each}
        for each in there
    }


def folder(store: Store, each: Member) -> Path:
    """Where something published lies."""
    return store.root / each.kind / each.name / each.version


def made_from(known: dict[Member, set[Member]], these: Collection[Member]) -> list[Member]:
    """All that was made from these, directly or not, each before what it was made from; these themselves last."""
    found: list[Member] = []

    def visit(one: Member) -> None:
        if one in found:
            return
        for child in sorted(each for each, its in known.items() if one in its):
            visit(child)
        found.append(one)

    for each in sorted(these):
        visit(each)
    return found
