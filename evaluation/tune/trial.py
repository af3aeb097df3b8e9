"""A trial of a study: what is trained for it, and what came of that, which is found again where it is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from curate.cache import cache_text, intact, keyed_folder, sound
from curate.hashing import digest
from curate.manifest import Part
from curate.progress import Progress
from curate.stage import installed
from curate.store import Store
from evaluation.experiment.result import trained
from evaluation.settings import FullRecipe
from evaluation.tune.space import LOSS, Point
from evaluation.tune.study import BEFORE_PRUNING, Curve, Median, Told, curve
from evaluation.validation_score import validation_score
from train.dtypes import arithmetic
from train.halted import NotFinite, Pruned
from train.history import History
from train.manifest import AdapterManifest, Run, Validated
from train.qlora import LIBRARIES, find, inputs_of, train
from train.settings import TrainingSettings

METHOD = 1
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
    same_as: int | None = None
    """The earlier trial of the same settings, whose outcome this is."""

    def told(self) -> Told:
        """As the next trials depend on it."""
        known = curve(self.outcome.validations, self.training) if self.training else {}
        return Told(self.point, self.outcome.state, self.outcome.value, known)


@dataclass(frozen=True)
class Work:
    """A trial to train, as another process is told of it."""

    recipe: Path
    variant: str | None
    training: TrainingSettings
    version: Path
    store: Path
    curves: Sequence[Curve] | None
    """Of the finished trials before, by whose median it may be pruned; None where nothing is pruned."""

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
        return None if found is None else finished(found)

    def __call__(self, progress: Progress) -> Path:
        """Train it. Gives the adapter, or else the folder of the cache where it is kept why there is none.

        Raises:
            AssayError: as `train`, but where the run diverged, which is an outcome.
        """
        store, recipe = Store(self.store), self.loaded
        score = validation_score(self.version, recipe, store, progress)
        hopeless = None if self.curves is None else Median(self.training, self.curves)
        try:
            return train(self.version, recipe, store, progress, score, hopeless=hopeless)
        except Pruned as ended:
            outcome = _pruned(ended.history, self.training)
        except NotFinite as error:
            outcome = Outcome(state="failed", value=None, error=error.message)
        kept = self._kept(store, recipe)
        cache_text(kept, OUTCOME, outcome.model_dump_json())
        return kept

    def outcome(self, given: Path) -> Outcome:
        """What came of it, by what calling it gave."""
        kept = (given / OUTCOME).is_file()
        return Outcome.model_validate_json(intact(given, OUTCOME).read_bytes()) if kept else finished(given)

    def _kept(self, store: Store, recipe: FullRecipe) -> Path:
        score = validation_score(self.version, recipe, store)
        inputs = inputs_of(self.version, recipe, store, score)
        curves = None if self.curves is None else [sorted(each.items()) for each in self.curves]
        depends = [METHOD, inputs, curves, BEFORE_PRUNING, installed([*LIBRARIES, "optuna"]), arithmetic()]
        return keyed_folder(store.cache / "trials", digest(depends))


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


def _pruned(history: History, training: TrainingSettings) -> Outcome:
    validations = [Validated(**each._asdict()) for each in history.validations]
    values = curve(validations, training).values()
    return Outcome(
        state="pruned",
        value=min(values) if training.keep_best == LOSS else max(values),
        validations=validations,
        tokens=history.tokens(history.steps[-1].step)[1],
        seconds=round(history.seconds(), 1),
        memory_mib=max(each.memory_mib for each in history.steps),
    )
