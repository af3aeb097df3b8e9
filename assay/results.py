"""Results: what was published, checked and compared, as values that a program can go on with."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.result import Result
from curate.errors import AssayError
from curate.store import Store, verified

if TYPE_CHECKING:
    from datasets import Dataset

    from curate.manifest import DatasetManifest, Manifest
    from curate.publish.check_result import Check
    from curate.sets.index import Index
    from curate.table import Table
    from evaluation.card.compare import Compared
    from evaluation.card.manifest import ScorecardManifest
    from evaluation.parity import Parity
    from train.forecast import Forecast
    from train.manifest import AdapterManifest


@dataclass(frozen=True)
class Made:
    """How something was made, so that the next step can go on from it."""

    store: Store
    recipe: str | None = None
    """As it was named; None where it was loaded, and its own name is the recipe's."""
    variant: str | None = None


@dataclass(frozen=True, repr=False, eq=False)
class Published(Result):
    """A published folder."""

    folder: Path
    made: Made

    @cached_property
    def manifest(self) -> "Manifest":
        """The content of manifest.json."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """Name of the series: the recipe's."""
        return self.manifest.name

    @property
    def id(self) -> str:
        """The version: 16 hex digits that its content gives."""
        return self.manifest.version

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}/{self.id}: {self.gist()})"

    def gist(self) -> str:
        """What is most worth knowing, in a few words."""
        raise NotImplementedError

    def named(self) -> dict[str, Any]:
        """Name, version and folder, as data."""
        return {"name": self.name, "version": self.id, "folder": self.folder}


@dataclass(frozen=True, repr=False, eq=False)
class Version(Published):
    """A data set version. Its splits are read when they are first asked for."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by stage, where it has just been curated."""
    cached: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By stage: shards that came from the cache, of how many; where it has just been curated."""

    @cached_property
    def manifest(self) -> "DatasetManifest":
        """The content of manifest.json."""
        from curate.manifest import DatasetManifest

        return DatasetManifest.read(self.folder)

    @cached_property
    def train(self) -> "Dataset":
        """The rows to train on."""
        return self._table("train")

    @cached_property
    def validation(self) -> "Dataset":
        """The rows to choose by."""
        return self._table("validation")

    @cached_property
    def test(self) -> "Dataset":
        """The rows to score by."""
        return self._table("test")

    @cached_property
    def quarantine(self) -> "Dataset":
        """The rows that did not stay, whole, with stage, reason and evidence."""
        return self._table("quarantine")

    @cached_property
    def conflicts(self) -> "Dataset":
        """Rows with equal prompts and different answers."""
        return self._table("conflicts")

    @property
    def report(self) -> Path:
        """The HTML page that tells of the version."""
        return self.folder / "report.html"

    def gist(self) -> str:
        counts = self.manifest.counts
        splits = ", ".join(f"{counts.splits[name]:,} {name}" for name in ("train", "validation", "test"))
        return f"{splits}, {counts.quarantined:,} quarantined"

    def tables(self) -> "list[Table]":
        from curate.publish.summary import curation_tables
        from curate.publish.version import Curated

        return curation_tables(Curated(self.folder, self.manifest, self.seconds, self.cached))

    def places(self) -> dict[str, Path]:
        return {"data set": self.folder, "report": self.report}

    def data(self) -> dict[str, Any]:
        told = {"name", "rows_in", "kept", "rejected", "reasons", "warnings"}
        stages = [stage.model_dump(include=told) for stage in self.manifest.stages]
        return self.named() | {
            "report": self.report,
            "quarantine": self.folder / "quarantine.parquet",
            "counts": self.manifest.counts.content(),
            "stages": stages,
            "warnings": [rule.content() for rule in self.manifest.gate.warnings()],
            "seconds": self.seconds,
            "cached": self.cached,
        }

    def _table(self, name: str) -> "Dataset":
        return read_dataset(verified(self.folder, f"{name}.parquet"))


@dataclass(frozen=True, repr=False, eq=False)
class Adapter(Published):
    """A trained adapter."""

    @cached_property
    def manifest(self) -> "AdapterManifest":
        """The content of manifest.json."""
        from train.manifest import AdapterManifest

        return AdapterManifest.read(self.folder)

    @property
    def dataset(self) -> str:
        """The data set version it was trained on, as NAME/VERSION."""
        return str(self.manifest.inputs.dataset)

    @property
    def validation_loss(self) -> list[float]:
        """Mean loss of an answer's token over the validation rows: before training, and at each validation; empty where
        there are no such rows."""
        return self.manifest.loss.validation

    @property
    def report(self) -> Path:
        """The HTML page of the run: loss by step, learning rate, gradient norm, and which checkpoint was kept."""
        return self.folder / "report.html"

    def gist(self) -> str:
        losses, run = self.validation_loss, self.manifest.run
        kept = losses[-1:] if run is None else [each.loss for each in run.validations if each.step == run.kept]
        told = f"{losses[0]:.3f} to {kept[0]:.3f}" if losses else "not known (no validation rows)"
        return f"trained on {self.manifest.rows.train:,} rows, validation loss {told}"

    def tables(self) -> "list[Table]":
        from train.summary import training_tables

        return training_tables(self.folder, self.made.store)

    def places(self) -> dict[str, Path]:
        return {"adapter": self.folder} | ({"training report": self.report} if self.report.is_file() else {})

    def data(self) -> dict[str, Any]:
        told = self.manifest.model_dump(include={"rows", "tokens", "loss", "run", "compute"}, exclude_unset=True)
        return self.named() | {"dataset": self.dataset} | told


@dataclass(frozen=True)
class Forecasted(Result):
    """What training will take."""

    forecast: "Forecast"

    @property
    def fits(self) -> bool:
        """Whether memory and disk are enough."""
        return self.forecast.lacking <= 0 and self.forecast.disk <= self.forecast.room.disk

    def __repr__(self) -> str:
        return f"Forecasted({self.forecast.line()})"

    def tables(self) -> "list[Table]":
        return self.forecast.tables()

    def data(self) -> dict[str, Any]:
        return self.forecast.data() | {"fits": self.fits}


@dataclass(frozen=True, repr=False, eq=False)
class Scorecard(Published):
    """What a set of systems scored on the same rows."""

    @cached_property
    def manifest(self) -> "ScorecardManifest":
        """The content of manifest.json."""
        from evaluation.card.manifest import ScorecardManifest

        return ScorecardManifest.read(self.folder)

    @cached_property
    def card(self) -> dict[str, Any]:
        """The content of scorecard.json."""
        from evaluation.card.format import read_scorecard

        return dict(read_scorecard(self.folder))

    @property
    def rows(self) -> int:
        """How many rows were asked."""
        return int(self.card["rows"])

    @property
    def systems(self) -> dict[str, Any]:
        """By system: its measures."""
        return dict(self.card["systems"])

    @property
    def passed(self) -> bool | None:
        """Whether the recipe's gate is passed; None where it has none."""
        gate = self.card["gate"]
        return None if gate is None else bool(gate["passed"])

    @cached_property
    def predictions(self) -> "Dataset":
        """One row per row and system: what was asked, answered and expected, and how it is judged."""
        return read_dataset(verified(self.folder, "predictions.parquet"))

    @property
    def report(self) -> Path:
        """The HTML page that shows every answer."""
        return self.folder / "report.html"

    def gist(self) -> str:
        gate = {None: "", True: ", gate passed", False: ", gate NOT passed"}[self.passed]
        return f"{', '.join(self.systems)} on {self.rows:,} rows{gate}"

    def tables(self) -> "list[Table]":
        from evaluation.card.summary import evaluation_tables

        return evaluation_tables(self.folder)

    def places(self) -> dict[str, Path]:
        return {"scorecard": self.folder, "report": self.report}

    def data(self) -> dict[str, Any]:
        return self.named() | {"report": self.report} | self.card

    def require(self) -> None:
        from evaluation.card.gate import require

        require(self.folder)


@dataclass(frozen=True)
class Scorecards(Result):
    """Scorecards of replies that came from files: one for each task among them."""

    scorecards: list[Scorecard]

    def tables(self) -> "list[Table]":
        return [table for each in self.scorecards for table in each.tables()]

    def places(self) -> dict[str, Path]:
        return {each.name: each.report for each in self.scorecards}

    def data(self) -> dict[str, Any]:
        return {"scorecards": [each.data() for each in self.scorecards]}

    def require(self) -> None:
        for each in self.scorecards:
            each.require()


@dataclass(frozen=True)
class Assayed(Result):
    """What a whole run gave."""

    version: Version
    adapter: Adapter
    scorecard: Scorecard

    def tables(self) -> "list[Table]":
        return [*self.version.tables(), *self.adapter.tables(), *self.scorecard.tables()]

    def places(self) -> dict[str, Path]:
        return {
            "data set": self.version.folder,
            "data report": self.version.report,
            **self.adapter.places(),
            "scorecard": self.scorecard.folder,
            "score report": self.scorecard.report,
        }

    def data(self) -> dict[str, Any]:
        return {
            "dataset": self.version.data(),
            "adapter": self.adapter.data(),
            "scorecard": self.scorecard.data(),
        }


@dataclass(frozen=True)
class Checks(Result):
    """What was checked of a data set version."""

    folder: Path
    checks: "Sequence[Check]"

    @property
    def passed(self) -> bool:
        """Whether everything holds."""
        return not any(each.failures for each in self.checks)

    def __repr__(self) -> str:
        failed = sum(each.failures > 0 for each in self.checks)
        what = "all hold" if self.passed else f"{failed} FAIL"
        return f"Checks({self.folder.parent.name}/{self.folder.name}: {len(self.checks)} checks, {what})"

    def tables(self) -> "list[Table]":
        from curate.publish.summary import check_tables

        return check_tables(self.folder, self.checks)

    def data(self) -> dict[str, Any]:
        return {"folder": self.folder, "passed": self.passed, "checks": [vars(each) for each in self.checks]}

    def require(self) -> None:
        failed = [each for each in self.checks if each.failures]
        if failed:
            named = [line for each in failed for line in (f"It does not hold that {each.claim}:", *each.told())]
            raise AssayError(
                f"{len(failed)} of {len(self.checks)} checks fail.\n" + "\n".join(named),
                remedy="Use another version, or remove this one's folder and curate its drop again.",
            )


@dataclass(frozen=True)
class Comparison(Result):
    """Two systems, row by row."""

    found: "Compared"
    """As `evaluation.card.compare.compare` gives it."""

    def __repr__(self) -> str:
        one, other = (self.found[side]["system"] for side in ("a", "b"))
        return f"Comparison({one} against {other}: {self.found['differing']:,} of {self.found['rows']:,} rows differ)"

    def tables(self) -> "list[Table]":
        from evaluation.card.summary import compared_tables

        return compared_tables(self.found)

    def data(self) -> dict[str, Any]:
        return dict(self.found)


@dataclass(frozen=True)
class Merged(Result):
    """An adapter merged into its base model: a whole model that chats by itself."""

    adapter: str
    """NAME/VERSION."""
    folder: Path
    """The model's; of one that was exported, its file."""
    dtype: str
    """What its weights are written in."""

    def tables(self) -> "list[Table]":
        from curate.table import Table

        files = sorted(self.folder.iterdir()) if self.folder.is_dir() else [self.folder]
        rows = [[path.name, f"{path.stat().st_size:,}"] for path in files]
        return [Table("merged", f"{self.adapter}, merged, in {self.dtype}", ["file", "bytes"], rows)]

    def places(self) -> dict[str, Path]:
        return {"model": self.folder}

    def data(self) -> dict[str, Any]:
        return {"adapter": self.adapter, "folder": self.folder, "dtype": self.dtype}


@dataclass(frozen=True)
class Parities(Result):
    """What a server makes of rows, beside what is made of them in process."""

    found: "Parity"
    """As `evaluation.parity.parity` gives it."""

    @property
    def same(self) -> bool:
        """Whether every prompt and every answer is the same."""
        return self.found.same

    def __repr__(self) -> str:
        return f"Parities({self.found.adapter} at {self.found.url}: {'the same' if self.same else 'NOT the same'})"

    def tables(self) -> "list[Table]":
        return self.found.tables()

    def data(self) -> dict[str, Any]:
        rows = [asdict(row) for row in self.found.rows]
        return vars(self.found) | {"same": self.same, "causes": dict(self.found.causes()), "rows": rows}

    def require(self) -> None:
        if not self.same:
            causes = "\n".join(f"  {cause} ({rows} rows)" for cause, rows in self.found.causes().most_common())
            raise AssayError(
                f"{self.found.url} does not ask and say what {self.found.adapter} was evaluated with:\n{causes}",
                remedy="The adapter's README.md has the commands by which each server takes its files.",
            )


@dataclass(frozen=True)
class IndexState(Result):
    """The index of a data set, and what is wrong with it."""

    index: "Index"
    problems: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"IndexState({self.index.name}: {len(self.problems)} problems)"

    def tables(self) -> "list[Table]":
        from curate.publish.summary import index_tables

        return [] if self.problems else index_tables(self.index)

    def data(self) -> dict[str, Any]:
        told = {"name": self.index.name, "folder": self.index.folder, "problems": self.problems}
        if self.problems:
            return told
        segments = self.index.segments()
        return told | {
            "versions": [version for segment in segments for version in segment.versions],
            "rows": sum(segment.rows.num_rows for segment in segments),
            "segments": len(segments),
            "parameters": self.index.parameters,
        }

    def require(self) -> None:
        if self.problems:
            raise AssayError(
                "\n".join(self.problems), remedy=f"`assay index rebuild {self.index.name}` makes the index again."
            )


def read_dataset(path: Path) -> "Dataset":
    """A Parquet file as a data set in memory; none of its rows is copied into a cache."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Dataset

    table = pq.read_table(path)
    for number, column in enumerate(table.schema):
        if pa.types.is_map(column.type):  # which `datasets` cannot hold: a list of {key, value}, as in the splits
            entry = pa.struct([pa.field("key", column.type.key_type), pa.field("value", column.type.item_type)])
            table = table.set_column(number, column.name, table[column.name].cast(pa.list_(entry)))
    return Dataset(table)
