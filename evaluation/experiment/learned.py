"""What an arm learns from besides the rows of its own train split, held against the rows asked: pairs, and published
adapters that it starts from. Its own rows are held against them by `curate.publish.held_out`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import AssayError
from curate.hashing import digest
from curate.manifest import DatasetManifest
from curate.publish.held_out import sharing_kept
from curate.store import Store
from evaluation.experiment.settings import arm_begun_from
from train.examples import read_split
from train.manifest import AdapterManifest, DatasetParent
from train.preferences import PairRow, read_pairs, require_unseen
from train.settings import TrainingSettings

NAMES = "Experiments take pairs as `assay pairs` writes them: each names its row (`id`) and its data set (`dataset`)."


@dataclass(frozen=True)
class HeldOut:
    """The rows of which some are asked."""

    version: Path
    """Of whose test split they are: the baseline's data set version."""
    rule: Mapping[str, Any]
    """As of `curate.publish.held_out.sharing`."""
    own: frozenset[str]
    """The ids of that version's other rows that share something with them by this rule."""
    store: Store

    def require_unlearned(self, arm: str, settings: TrainingSettings) -> None:
        """See to it that an arm has learned from none of them, nor from a near-duplicate of one.

        Args:
            arm: its name.
            settings: of its training; an adapter of another arm, that it starts from, is that arm's to answer for.

        Raises:
            AssayError: it has, or it is not known whether it has.
        """
        try:
            if settings.pairs is not None:
                self._require_pairs(Path(settings.pairs), settings)
            if settings.start_from is not None and arm_begun_from(settings.start_from) is None:
                self._require_adapter(self.store.resolve("adapters", settings.start_from))
        except AssayError as error:
            raise AssayError(f"arms.{arm}: {error.message}", error.remedy) from None

    def _require_pairs(self, path: Path, settings: TrainingSettings) -> None:
        """Pairs are held against the test split's ids, clusters and prompts; those of rows of another version also as
        the rows themselves are."""
        rows = read_pairs(path)
        chosen_by_none = settings.model_copy(update={"keep_best": None, "early_stopping_patience": None})
        require_unseen(rows, path, self.version, chosen_by_none)
        of_version: dict[str, list[PairRow]] = {}
        for number, row in enumerate(rows, 1):
            if row.id is None or row.dataset is None:
                raise AssayError(
                    f"training.pairs: {path}: pair {number} does not name its row, so it cannot be held against the "
                    "rows asked.",
                    remedy=NAMES,
                )
            of_version.setdefault(row.dataset, []).append(row)
        for name, its in of_version.items():
            version = self._dataset(name, f"training.pairs: {path}")
            known = {row["id"] for split in ("train", "validation") for row in read_split(version, split, ["id"])}
            shares = self._sharing(version)
            wrong = [row for row in its if row.id not in known or row.id in shares]
            if wrong:
                raise AssayError(
                    f"training.pairs: {path}: {len(wrong):,} of {len(rows):,} pairs are of rows of {name} that share "
                    f"something with rows asked, or stand in neither its train nor its validation split; the first is "
                    f"of row {wrong[0].key}.",
                    remedy="Leave them out: collect pairs of train rows of the baseline's data set.",
                )

    def _require_adapter(self, adapter: Path) -> None:
        """An adapter was trained on no row that shares something with the test split; nor were those before it."""
        for manifest in _lineage(adapter, self.store):
            inputs, name = manifest.inputs, f"training.start_from: adapter {manifest.name}/{manifest.version}"
            shares = self._sharing(self._dataset(str(inputs.dataset), name))
            left_out = inputs.left_out.ids_sha256 if inputs.left_out else None
            if shares and left_out != digest(sorted(shares)):
                raise AssayError(
                    f"{name} may have been trained on rows asked: of its data set {inputs.dataset} {len(shares):,} "
                    "rows to train or validate on share something with rows asked.",
                    remedy="Start from an adapter that was trained on the baseline's data set, or from another arm's: "
                    "start_from: arms/NAME.",
                )
            if inputs.pairs is not None and inputs.dataset != self._parent:
                raise AssayError(
                    f"{name} learned from pairs that were held against the test split of {inputs.dataset}, not against "
                    "the rows asked.",
                    remedy="Start from one that was trained on the baseline's data set, or from another arm's: "
                    "start_from: arms/NAME.",
                )

    @property
    def _parent(self) -> DatasetParent:
        return DatasetParent.of(DatasetManifest.read(self.version))

    def _dataset(self, name: str, what: str) -> Path:
        """The folder of a data set version, NAME/VERSION."""
        folder = self.store.root / "datasets" / name
        if not (folder / "manifest.json").is_file():
            raise AssayError(
                f"{what}: its data set {name} is not in this store, so it cannot be held against the rows asked.",
                remedy="Curate it into this store, or use what was made here.",
            )
        return folder

    def _sharing(self, version: Path) -> frozenset[str]:
        """The ids of a version's rows to train or to validate on that share something with the test split."""
        if DatasetParent.of(DatasetManifest.read(version)) == self._parent:
            return self.own
        return sharing_kept(version, self.version, dict(self.rule), self.store.cache)


def _lineage(adapter: Path, store: Store) -> Iterator[AdapterManifest]:
    """The manifests of an adapter, and of those that it was trained further from."""
    manifest = AdapterManifest.read(adapter)
    yield manifest
    parent = manifest.inputs.adapter
    if parent is not None:
        yield from _lineage(store.resolve("adapters", f"{parent.name}/{parent.version}"), store)
