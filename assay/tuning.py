"""The door's `tune`: adapters of one recipe with other keys of `training`, compared on validation rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.door import Place, to_train
from assay.errors import explain
from assay.experiments import in_a_process, pace, tokens_of
from assay.results import Made, Published, Version
from curate.errors import AssayError
from curate.progress import Progress, silent

if TYPE_CHECKING:
    from curate.table import Table
    from evaluation.tune.manifest import StudyManifest
    from evaluation.tune.result import StudyResult
    from evaluation.tune.space import Point, Space
    from evaluation.tune.trial import Outcome, Trial, Work
    from train.settings import TrainingSettings


class Study(Published):
    """What the trials of a recipe scored on validation rows, and the recipe of the best."""

    @cached_property
    def manifest(self) -> "StudyManifest":
        """The content of manifest.json."""
        from evaluation.tune.manifest import StudyManifest

        return StudyManifest.read(self.folder)

    @cached_property
    def result(self) -> "StudyResult":
        """The content of result.json."""
        from curate.store import verified
        from evaluation.tune.result import RESULT, StudyResult

        return StudyResult.model_validate_json(verified(self.folder, RESULT).read_bytes())

    @property
    def report(self) -> Path:
        """The HTML page with plots and tables."""
        return self.folder / "report.html"

    @property
    def recipe(self) -> Path:
        """The recipe with the settings of the best trial."""
        return self.folder / "recipe.yaml"

    def gist(self) -> str:
        best = self.result.winner
        return f"{len(self.result.trials)} trials, best {self.result.metric} {best.value:.4f} (trial {best.number})"

    def tables(self) -> "list[Table]":
        from evaluation.tune.tables import tables

        return tables(self.result)

    def places(self) -> dict[str, Path]:
        adapter = self.made.store.root / "adapters" / str(self.result.winner.adapter)
        told = {"study": self.folder, "report": self.report}
        return told | {"recipe of the best trial": self.recipe, "its adapter": adapter}

    def data(self) -> dict[str, Any]:
        told = {"report": self.report, "recipe": self.recipe, "result": self.result.model_dump(mode="json")}
        return self.named() | told


def tune(
    version: Version | Place | None = None,
    recipe: Place | None = None,
    *,
    store: Place | None = None,
    variant: str | None = None,
    apart: bool = True,
    progress: Progress = silent,
) -> Study:
    """Search keys of `training` as the recipe's section `tune` says, by adapters that are trained and compared on rows
    of the validation split; the test split is not read.

    A trial that was trained, pruned or found to diverge before is not trained again; a run that was interrupted goes on
    where it was, and gives what it would have given. One that got too little memory, or whose settings the model does
    not take, has failed, and is tried again by the next run; anything else that goes wrong ends the study.

    Args:
        version: a data set version, or the name of one as `load` takes it; by default the recipe's latest.
        recipe: with a section `tune`; by default the one the version was curated by here.
        store: folder that Assay writes to; by default the version's.
        variant: one of the recipe's variants.
        apart: train each adapter in a process of its own, so that the memory it takes is its own. A script then keeps
            its work under `if __name__ == "__main__"`.
        progress: told how far it is.

    Raises:
        AssayError: the recipe has no section `tune`, a value in it is wrong, no trial finished, or as `train`.
    """
    from curate.manifest import DatasetManifest
    from curate.recipe import find_recipe

    version, made, loaded = to_train(version, recipe, variant, store)
    if find_spec("optuna") is None:
        raise AssayError("Optuna, which plans the trials, is not installed.", "pip install 'assay-curation[tune]'")
    from evaluation.tune.publish import publish
    from evaluation.tune.space import Space
    from evaluation.validation_score import validation_score

    space = Space.of(loaded)
    if not DatasetManifest.read(version.folder).counts.splits.get("validation"):
        raise AssayError(
            f"{version.folder}: the validation split has no rows to compare trials on.",
            remedy="Give it some: split.validation in the recipe.",
        )
    validation_score(  # that there is one, before a trial is blamed for what the metric is
        version.folder, loaded.model_copy(update={"training": space.plain}), made.store, key=space.metric_key
    )
    path = find_recipe(str(made.recipe)).absolute()
    trials = Runs(space, version.folder, path, made, apart, progress).trials()
    return Study(publish(space, version.folder, trials, path, made.variant, made.store, progress), made)


@dataclass(frozen=True)
class Runs:
    """The trials of a study, one after the other."""

    space: "Space"
    version: Path
    recipe: Path
    """Its file."""
    made: Made
    apart: bool
    progress: Progress

    def trials(self) -> "list[Trial]":
        """Train what is not known, and tell what came of each."""
        from evaluation.tune.study import propose

        self.progress(f"{self.space.count:,} trials, {self.space.tune.method}", 1, 1, "forecasts")
        done: list[Trial] = []
        began = False
        for number in range(self.space.count):
            point = propose(self.space, number, [each.told() for each in done])
            trial = self._known(number, point, done)
            if trial is None and not began:
                began = True
                self.progress(self._plan(done), 1, 1, "forecasts")
            done.append(trial or self._trained(number, point, done))
            self._tell(done)
        if not began:
            self.progress(f"no trial to train, {self.space.count} found", 1, 1, "forecasts")
        return done

    def _trial(self, number: int, point: "Point", training: "TrainingSettings", outcome: "Outcome") -> "Trial":
        from evaluation.tune.trial import Trial, rows_of

        taken = training.model_dump(mode="json").keys()
        values = {key: value for key, value in self.space.values(point).items() if key in taken}
        return Trial(number, point, values, training, outcome, rows_of(self.version, training))

    def _known(self, number: int, point: "Point", done: "Sequence[Trial]") -> "Trial | None":
        """A trial of which it is known what comes of it: it equals one before, was trained, or cannot be."""
        from evaluation.tune.trial import Outcome, Trial

        try:
            training = self.space.training(point)
        except AssayError as error:
            outcome = Outcome(state="failed", value=None, error=error.message)
            return Trial(number, point, self.space.values(point), None, outcome)
        apart = training.telling_apart()
        same = next((each for each in done if each.training and each.training.telling_apart() == apart), None)
        if same is not None:
            return replace(self._trial(number, point, training, same.outcome), same_as=same.number)
        try:
            known = self._work(training, done).known()
        except AssayError as error:
            known = self._failed(error)
        return None if known is None else self._trial(number, point, training, known)

    def _trained(self, number: int, point: "Point", done: "Sequence[Trial]") -> "Trial":
        """Train a trial; one that fails by its own doing is told, and the study goes on."""
        from evaluation.tune.tables import shown

        training = self.space.training(point)
        work = self._work(training, done)
        values = ", ".join(f"{key} {shown(value)}" for key, value in self.space.values(point).items())
        what = f"trial {number + 1} of {self.space.count}: {values}"
        self.progress(what, 0, 1, "trials")
        try:
            outcome = work.outcome(in_a_process(work, self.progress) if self.apart else work(self.progress))
        except Exception as error:
            outcome = self._failed(error)
        self.progress(what, 1, 1, "trials")
        return self._trial(number, point, training, outcome)

    def _failed(self, error: Exception) -> "Outcome":
        """What came of a trial that failed by its own doing; any other error is the study's, and is raised."""
        from evaluation.tune.trial import Outcome, own_doing

        if not own_doing(error, self.space.tune.search):
            raise error
        return Outcome(state="failed", value=None, error=explain(error)[0])

    def _work(self, training: "TrainingSettings", done: "Sequence[Trial]") -> "Work":
        from evaluation.tune.trial import Work, comparable, rows_of

        rows = rows_of(self.version, training)
        curves = comparable(done, training, rows) if self.space.tune.prune else None
        return Work(self.recipe, self.made.variant, training, rows, self.version, self.made.store.root, curves)

    def _tell(self, done: "Sequence[Trial]") -> None:
        """Say what came of the last trial."""
        from evaluation.tune.result import best_of

        last = done[-1]
        value = f": {self.space.metric} {last.outcome.value:.4f}" if last.outcome.value is not None else ""
        best = ", the best so far" if best_of(done, self.space) is last else ""
        error = f": {last.outcome.error}" if last.outcome.error else ""
        state = {"complete": "finished"}.get(last.outcome.state, last.outcome.state)
        self.progress(f"trial {last.number + 1} of {self.space.count} {state}{value}{best}{error}", 1, 1, "trials")

    def _plan(self, done: "Sequence[Trial]") -> str:
        """A line of what is to be done: at most so many tokens, as trials may be pruned or equal each other."""
        from curate.hashing import digest
        from evaluation.tune.study import propose

        todo = self.space.count - len(done)
        if self.space.tune.method == "tpe":  # what comes depends on what will have come
            tokens = todo * tokens_of(self.version, self.space.largest())
        else:
            ahead = {number: propose(self.space, number, []) for number in range(len(done), self.space.count)}
            unknown = [point for number, point in ahead.items() if self._known(number, point, done) is None]
            new = {digest(each.telling_apart()): each for each in map(self.space.training, unknown)}
            todo, tokens = len(new), sum(tokens_of(self.version, each) for each in new.values())
        line = f"{todo} trial{'s' * (todo != 1)} to train, {self.space.count - todo} found; at most {tokens:,} tokens"
        return line + pace({self.space.recipe.name}, tokens, self.made.store)
