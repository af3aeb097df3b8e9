"""A trial of a study: what is trained for it, and what came of that, which is found again where it is known."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import pyarrow.parquet as pq

from curate.cache import cache_text, intact, keyed_folder, sound
from curate.errors import AssayError, ShortOfDisk, no_memory
from curate.hashing import digest
from curate.manifest import Part
from curate.progress import Progress
from curate.stage import installed
from curate.store import Store, verified
from evaluation.experiment.result import trained
from evaluation.settings import FullRecipe
from evaluation.tune.space import LOSS, Point
from evaluation.tune.study import BEFORE_PRUNING, Curve, Median, Told, curve
from evaluation.validation_score import validation_score
from train.dtypes import arithmetic
from train.examples import chosen_rows
from train.forecast import SIZES
from train.halted import NotFinite, Pruned
from train.history import STEPS, History, Step, Validation
from train.manifest import AdapterManifest, Run, Validated
from train.preferences import read_pairs
from train.qlora import find, inputs_of, libraries_of, train
from train.settings import TrainingSettings

METHOD = 2
"""Version of the way to search; a study of another one is not taken for the same."""
OUTCOME = "outcome.json"


class Outcome(Part):
    """What came of a trial."""

    state: Literal["complete", "pruned", "failed"]
    value: float | None
    """The metric at the checkpoint that was kept; of a trial that was pruned the best until then."""
    validations: list[Validated] = []
    """Before training and at each validation."""
    adapter: str | None = None
    """NAME/VERSION; none where none was published."""
    tokens: int | None = None
    """Trained, over all steps that were taken, or until the checkpoint that was kept."""
    seconds: float | None = None
    """Spent in training steps."""
    memory_mib: int | None = None
    """The most that the process that trained had: resident on a CPU, allocated on a GPU."""
    error: str | None = None
    """Why it failed."""


@dataclass(frozen=True)
class Trial:
    """A trial that is over."""

    number: int
    """From 0."""
    point: Point
    values: Mapping[str, Any]
    """Of the keys that are searched, as far as its method takes them."""
    training: TrainingSettings | None
    """None where `training` does not take the values together."""
    outcome: Outcome
    rows: int = 0
    """Of an epoch."""
    same_as: int | None = None
    """The earlier trial of the same settings, whose outcome this is."""

    def told(self) -> Told:
        """As the next trials depend on it."""
        known = curve(self.outcome.validations, self.training, self.rows) if self.training else {}
        return Told(self.point, self.outcome.state, self.outcome.value, known)


def rows_of(version: Path, training: TrainingSettings) -> int:
    """How many rows an epoch has: those that there are, where these are fewer than `rows`. Pairs count as the file has
    them."""
    if training.pairs is not None:
        return len(read_pairs(Path(training.pairs))[: training.rows])
    return _chosen(version, training.rows, training.max_tokens, training.seed)


@cache
def _chosen(version: Path, rows: int | None, max_tokens: int, seed: int) -> int:
    settings = TrainingSettings(max_tokens=max_tokens, seed=seed)
    return len(chosen_rows(version, "train", rows, settings))


def comparable(before: Sequence[Trial], training: TrainingSettings, rows: int) -> list[Curve]:
    """The validations of the finished trials that were trained on as many rows over all epochs as one with these
    settings is."""
    return [
        each.told().curve
        for each in before
        if each.outcome.state == "complete"
        and each.same_as is None
        and each.training is not None
        and each.training.epochs * each.rows == training.epochs * rows
    ]


@dataclass(frozen=True)
class Work:
    """A trial to train, as another process is told of it."""

    recipe: Path
    variant: str | None
    training: TrainingSettings
    rows: int
    """Of an epoch."""
    version: Path
    store: Path
    curves: Sequence[Curve] | None
    """Of the trials before, as `comparable` gives them, by whose median it may be pruned; None where nothing is
    pruned."""

    @property
    def loaded(self) -> FullRecipe:
        """The recipe with the trial's settings."""
        return FullRecipe.load(self.recipe, self.variant).model_copy(update={"training": self.training})

    def known(self) -> Outcome | None:
        """What came of it before, if anything did: whether it was trained, pruned by the same trials, or diverged."""
        store, recipe = Store(self.store), self.loaded
        kept = self._kept(store, recipe)
        if sound(kept):
            return Outcome.model_validate_json(intact(kept, OUTCOME).read_bytes())
        found = find(self.version, recipe, store, validation_score(self.version, recipe, store))
        return None if found is None else self._of(found)

    def __call__(self, progress: Progress) -> Path:
        """Train it. Gives the adapter, or else the folder of the cache where it is kept why there is none.

        Raises:
            AssayError: as `train`, but where the run diverged, which is an outcome.
        """
        store, recipe = Store(self.store), self.loaded
        score = validation_score(self.version, recipe, store, progress)
        try:
            return train(self.version, recipe, store, progress, score, hopeless=self._median)
        except Pruned as ended:
            outcome = _pruned(ended.history, self.training, self.rows)
        except NotFinite as error:
            outcome = Outcome(state="failed", value=None, error=error.message)
        kept = self._kept(store, recipe)
        cache_text(kept, OUTCOME, outcome.model_dump_json())
        return kept

    def outcome(self, given: Path) -> Outcome:
        """What came of it, by what calling it gave."""
        kept = (given / OUTCOME).is_file()
        return Outcome.model_validate_json(intact(given, OUTCOME).read_bytes()) if kept else self._of(given)

    @property
    def _median(self) -> Median | None:
        return None if self.curves is None else Median(self.training, self.rows, self.curves)

    def _of(self, adapter: Path) -> Outcome:
        """What came of a trial whose adapter is published: whoever trained it did not prune it, so that is decided here
        as though it were at work."""
        if self._median is not None:
            for history in _validated(adapter):
                if self._median(history):
                    return _pruned(history, self.training, self.rows)
        return finished(adapter)

    def _kept(self, store: Store, recipe: FullRecipe) -> Path:
        score = validation_score(self.version, recipe, store)
        inputs = inputs_of(self.version, recipe, store, score)
        curves = None if self.curves is None else [sorted(each.items()) for each in self.curves]
        libraries = libraries_of(recipe.training) | installed(["optuna"])
        depends = [METHOD, inputs, curves, BEFORE_PRUNING, libraries, arithmetic()]
        return keyed_folder(store.cache / "trials", digest(depends))


def own_doing(error: Exception, searched: Collection[str]) -> bool:
    """Whether a trial fails for what it is, and others may not: it takes more memory than there is, or more disk as a
    searched key says how much, or a key that is searched has a value that this model or machine does not take. What is
    wrong with a key of `training` is told with its name in front; where it is told of another key, that which is to be
    changed stands in the remedy."""
    if no_memory(error):
        return True
    if isinstance(error, ShortOfDisk):
        return not SIZES.isdisjoint(searched)
    if not isinstance(error, AssayError) or not error.message.startswith("training."):
        return False
    told, _, _ = error.message.partition(": ")
    named = {*re.findall(r"\w+", told), *re.findall(r"\btraining\.(\w+)", error.remedy)}
    return not named.isdisjoint(searched)


def finished(adapter: Path) -> Outcome:
    """What came of a trial whose adapter is published."""
    manifest = AdapterManifest.read(adapter)
    run, told = cast(Run, manifest.run), trained([adapter])  # older adapters tell no run, and are of other settings
    [kept] = [each for each in run.validations if each.step == run.kept]
    by_loss = manifest.inputs.settings["keep_best"] == LOSS
    return Outcome(
        state="complete",
        value=kept.loss if by_loss else kept.score,
        validations=run.validations,
        adapter=f"{manifest.name}/{manifest.version}",
        tokens=manifest.tokens.trained,
        seconds=told["seconds"][0],
        memory_mib=told["memory_mib"][0],
    )


def _validated(adapter: Path) -> Iterator[History]:
    """A run as it was after each of its validations before its end."""
    run = cast(Run, AdapterManifest.read(adapter).run)
    rows = [row for row in pq.read_table(verified(adapter, STEPS)).to_pylist() if row["step"]]
    steps = [Step(**{name: row.get(name) for name in Step._fields}) for row in rows]
    points = [Validation(**each.model_dump()) for each in run.validations]
    for number, point in enumerate(points, 1):
        if 0 < point.step < run.planned:
            until = [step for step in steps if step.step <= point.step]
            yield History(until, points[:number], round(point.step / point.epoch))


def _pruned(history: History, training: TrainingSettings, rows: int) -> Outcome:
    validations = [Validated(**each._asdict()) for each in history.validations]
    values = curve(validations, training, rows).values()
    return Outcome(
        state="pruned",
        value=min(values) if training.keep_best == LOSS else max(values),
        validations=validations,
        tokens=history.tokens(history.steps[-1].step)[1],
        seconds=round(history.seconds(), 1),
        memory_mib=max(each.memory_mib for each in history.steps),
    )
