"""The door's `experiment`: arms of one recipe, trained with several seeds, asked the same rows, in one table."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from signal import SIGKILL
from statistics import median
from typing import TYPE_CHECKING, Any

from assay.door import Place, positive, store_of
from assay.results import Made, Published
from curate.errors import AssayError, ShortOfMemory, no_memory
from curate.progress import Progress, silent
from curate.store import Store

if TYPE_CHECKING:
    from curate.table import Table
    from evaluation.experiment.asked import Question
    from evaluation.experiment.manifest import ExperimentManifest
    from evaluation.experiment.result import ExperimentResult
    from evaluation.experiment.settings import ExperimentSettings
    from evaluation.settings import FullRecipe
    from train.settings import TrainingSettings

METHOD = 2
"""Version of the way to compare; an experiment of another one is not taken for the same."""
ENDING = 60.0
"""Seconds that a process whose work is done may take to end by itself: trackers write what is left as it exits."""


@dataclass(frozen=True, repr=False, eq=False)
class Experiment(Published):
    """What the arms of an experiment scored on the same rows."""

    @cached_property
    def manifest(self) -> "ExperimentManifest":
        """The content of manifest.json."""
        from evaluation.experiment.manifest import ExperimentManifest

        return ExperimentManifest.read(self.folder)

    @cached_property
    def result(self) -> "ExperimentResult":
        """The content of result.json."""
        from curate.store import verified
        from evaluation.experiment.result import RESULT, ExperimentResult

        return ExperimentResult.model_validate_json(verified(self.folder, RESULT).read_bytes())

    @property
    def report(self) -> Path:
        """The HTML page with tables and plots."""
        return self.folder / "report.html"

    def gist(self) -> str:
        return f"{len(self.result.arms)} arms, {len(self.result.seeds)} seeds, {self.result.rows:,} rows"

    def tables(self) -> "list[Table]":
        from evaluation.experiment.tables import tables

        return tables(self.result)

    def places(self) -> dict[str, Path]:
        return {"experiment": self.folder, "report": self.report, "table": self.folder / "table.md"}

    def data(self) -> dict[str, Any]:
        return self.named() | {"report": self.report} | {"result": self.result.model_dump(mode="json")}


@dataclass(frozen=True)
class Arm:
    """An arm with its data."""

    name: str
    recipe: "FullRecipe"
    version: Path
    left_out: frozenset[str]

    def seeded(self, seed: int, start: Path | None = None) -> "FullRecipe":
        """Its recipe with one of the seeds, and where it goes on from another arm with that one's adapter."""
        changes = {"seed": seed} | ({} if start is None else {"start_from": f"{start.parent.name}/{start.name}"})
        return self.recipe.model_copy(update={"training": self.recipe.training.model_copy(update=changes)})

    def found(self, recipe: "FullRecipe", store: Store) -> Path | None:
        """The adapter of its recipe with a seed, where it has been trained."""
        from evaluation.reward import reward_of
        from evaluation.validation_score import validation_score
        from train.qlora import find

        score = validation_score(self.version, recipe, store, left_out=self.left_out)
        return find(self.version, recipe, store, score, self.left_out, reward=reward_of(self.version, recipe))


@dataclass(frozen=True)
class Training:
    """An adapter to train, as another process is told of it."""

    settings: "ExperimentSettings"
    recipe: Path
    drop: Place | None
    arm: str
    seed: int
    version: Path
    left_out: frozenset[str]
    store: Path
    start: Path | None = None
    """The adapter of another arm that is trained further."""

    def __call__(self, progress: Progress) -> Path:
        """Train it."""
        from evaluation.reward import reward_of
        from evaluation.validation_score import validation_score
        from train.qlora import train

        loaded, store = self.settings.arm(self.arm, self.recipe, self.drop), Store(self.store)
        recipe = Arm(self.arm, loaded, self.version, self.left_out).seeded(self.seed, self.start)
        score = validation_score(self.version, recipe, store, progress, self.left_out)
        reward = reward_of(self.version, recipe)
        return train(self.version, recipe, store, progress, score, left_out=self.left_out, reward=reward)


def experiment(
    file: Place,
    *,
    drop: Place | None = None,
    store: Place | None = None,
    workers: int | None = None,
    apart: bool = True,
    progress: Progress = silent,
) -> Experiment:
    """Curate, train and ask every arm of an experiment, or find what was done before; compare them on the same rows.

    What was curated, trained or answered before is found in the store; a run that was interrupted goes on where it was.

    Args:
        file: the experiment's YAML file.
        drop: folder of the raw files, or its URL, instead of the recipe's own.
        store: folder, or URL in a bucket, that Assay writes to.
        workers: processes to curate with; by default one per core.
        apart: train each adapter in a process of its own, so that the memory it takes is its own. A script then keeps
            its work under `if __name__ == "__main__"`.
        progress: told how far it is.

    Raises:
        AssayError: the file or an arm is wrong, or what `curate`, `train` and `evaluate` raise.
    """
    from evaluation.experiment.asked import questions
    from evaluation.experiment.result import require_metrics
    from evaluation.experiment.settings import ExperimentSettings, in_order

    path, target = Path(file), store_of(store)
    settings = ExperimentSettings.load(path)
    recipe = settings.recipe_path(path)
    recipes = {name: settings.arm(name, recipe, drop) for name in settings.arms}
    require_metrics(settings, recipes[settings.against])
    order = in_order(recipes)
    arms = _curated(settings, recipes, target, workers, progress)
    question = questions(arms[settings.against].version, recipes, settings.against, target)
    trainings = {
        (name, seed): Training(settings, recipe, drop, name, seed, arm.version, arm.left_out, target.root)
        for name, arm in ((name, arms[name]) for name in order)
        for seed in settings.seeds
    }
    adapters = _trained(arms, trainings, target, apart, progress)
    folder = _published(path.stem, settings, arms, question, adapters, target, progress)
    return Experiment(folder, Made(target))


def _curated(
    settings: "ExperimentSettings",
    recipes: Mapping[str, "FullRecipe"],
    store: Store,
    workers: int | None,
    progress: Progress,
) -> dict[str, Arm]:
    """The arms with their data set versions, the baseline's first, and the rows that each leaves out."""
    from curate.engines import engine
    from curate.pipeline import curate
    from train.base_model import prepare_tokenizer

    versions: dict[str, Path] = {}
    with engine(None, workers and positive("workers", workers), store, progress) as map_shards:
        for name in sorted(recipes, key=lambda name: name != settings.against):
            recipe = recipes[name]
            tokenizer = prepare_tokenizer(recipe.fit.model, store.cache, progress)
            contract = recipe.held_to()
            if recipe.name != recipes[settings.against].name:  # the contract was written for the recipe's own data
                contract = contract.of_any_set()
            done = curate(
                recipe,
                store,
                tokenizer_folder=tokenizer,
                map_shards=map_shards,
                progress=progress,
                contract=contract,
            )
            versions[name] = done.folder
    return _held_out(settings, recipes, versions, store, progress)


def _held_out(
    settings: "ExperimentSettings",
    recipes: Mapping[str, "FullRecipe"],
    versions: Mapping[str, Path],
    store: Store,
    progress: Progress,
) -> dict[str, Arm]:
    """The arms, none of which learns from a row that shares something with the baseline's test split: such rows are
    left out; pairs, and adapters to start from, are refused."""
    from curate.publish.held_out import sharing_kept
    from evaluation.experiment.learned import HeldOut

    held = versions[settings.against]
    rule = recipes[settings.against].duplicates.model_dump(mode="json")
    rule["threshold"] = min(recipe.duplicates.threshold for recipe in recipes.values())
    own = rule["threshold"] == recipes[settings.against].duplicates.threshold
    left_out: dict[Path, frozenset[str]] = {held: frozenset()} if own else {}
    for number, version in enumerate(versions.values()):
        if version not in left_out:
            left_out[version] = sharing_kept(version, held, rule, store.cache)
        progress("hold the test rows out", number + 1, len(versions), "arms")
    test = HeldOut(held, rule, left_out[held], store)
    for name, recipe in recipes.items():
        test.require_unlearned(name, recipe.training)
    return {name: Arm(name, recipes[name], versions[name], left_out[versions[name]]) for name in recipes}


def _trained(
    arms: Mapping[str, Arm],
    trainings: Mapping[tuple[str, int], Training],
    store: Store,
    apart: bool,
    progress: Progress,
) -> dict[tuple[str, int], Path]:
    """The adapter of each arm and seed; `trainings` has none before the one that it starts from."""
    from evaluation.experiment.settings import arm_begun_from

    before = {name: arm_begun_from(arm.recipe.training.start_from) for name, arm in arms.items()}
    found: dict[tuple[str, int], Path] = {}
    for name, seed in trainings:
        begun = before[name]
        start = None if begun is None else found.get((begun, seed))
        folder = arms[name].found(arms[name].seeded(seed, start), store) if begun is None or start else None
        if folder is not None:
            found[name, seed] = folder
    todo = [key for key in trainings if key not in found]
    progress(_forecast(arms, todo, len(found), store), 1, 1, "forecasts")
    for number, key in enumerate(todo):
        progress(f"adapter {number + 1} of {len(todo)}: {key[0]}, seed {key[1]}", 0, 1, "adapters")
        begun = before[key[0]]
        work = trainings[key] if begun is None else replace(trainings[key], start=found[begun, key[1]])
        found[key] = in_a_process(work, progress) if apart else work(progress)
        progress(f"adapter {number + 1} of {len(todo)}: {key[0]}, seed {key[1]}", 1, 1, "adapters")
    return found


def _forecast(arms: Mapping[str, Arm], todo: Sequence[tuple[str, int]], found: int, store: Store) -> str:
    """A line of what is to be done."""
    line = f"{len(todo)} adapter{'s' * (len(todo) != 1)} to train, {found} found"
    supervised = [(name, seed) for name, seed in todo if arms[name].recipe.training.objective == "sft"]
    if supervised:
        tokens = sum(
            tokens_of(arms[name].version, arms[name].seeded(seed).training, arms[name].left_out)
            for name, seed in supervised
        )
        took = pace({arm.recipe.name for arm in arms.values()}, tokens, store)
        line += f"; {tokens:,} tokens" + (took and f"{took}, and the answers")
    if others := len(todo) - len(supervised):
        line += f"; what {others} of them learn{'s' * (others == 1)} from pairs or drawn answers comes besides"
    return line


def pace(names: Collection[str], tokens: int, store: Store) -> str:
    """The time that so many tokens take, by the last runs of these names in a store; nothing where there are none."""
    paces = [
        event["tokens_per_second"]
        for event in store.events()
        if event.get("event") == "adapters" and event["name"] in names and event.get("tokens_per_second")
    ]
    if not paces:
        return ""
    last = median(paces[-5:])
    return f", about {max(1, round(tokens / last / 60)):,} min of training at {last:,.0f} tokens/s"


def tokens_of(version: Path, training: "TrainingSettings", left_out: Collection[str] = ()) -> int:
    """Tokens that an adapter is trained on, over all epochs."""
    from curate.manifest import DatasetManifest
    from train.examples import read_split, select

    weights = DatasetManifest.read(version).recipe.get("balance", {}).get("weights", {})
    rows = read_split(version, "train", ["id", "label", "cluster", "tokens"])
    kept = [row for row in rows if row["id"] not in left_out]
    chosen = select(kept, training.rows, training.max_tokens, training.seed, weights)
    return training.epochs * sum(int(row["tokens"]) for row in chosen)


def _published(
    name: str,
    settings: "ExperimentSettings",
    arms: Mapping[str, Arm],
    question: "Question",
    adapters: Mapping[tuple[str, int], Path],
    store: Store,
    progress: Progress,
) -> Path:
    """Have every adapter answer, and publish what came of it, or find it."""
    from curate.manifest import DatasetManifest
    from evaluation.evaluate import evaluate
    from evaluation.experiment.manifest import ArmParents, ExperimentInputs, RunParents
    from evaluation.experiment.publish import Answered, publish
    from train.manifest import AdapterManifest, AdapterParent, DatasetParent

    scorecards: dict[tuple[str, int], Path] = {}
    for arm, seed in ((arm, seed) for arm in arms for seed in settings.seeds):
        recipe = arms[arm].seeded(seed)
        adapter = adapters[arm, seed]
        scorecards[arm, seed] = evaluate(arms[arm].version, adapter, recipe, store, progress, question.asked[arm])
        progress("ask the adapters", len(scorecards), len(adapters), "adapters")

    def parents(arm: str, seed: int) -> RunParents:
        manifest, card = AdapterManifest.read(adapters[arm, seed]), scorecards[arm, seed]
        return RunParents(
            adapter=AdapterParent(name=manifest.name, version=manifest.version),
            scorecard=f"{card.parent.name}/{card.name}",
        )

    inputs = ExperimentInputs(
        method=METHOD,
        settings=settings.model_dump(mode="json"),
        asked=question.asked[settings.against].parent(),
        arms={
            arm: ArmParents(
                dataset=DatasetParent.of(DatasetManifest.read(each.version)),
                left_out=len(each.left_out),
                runs={str(seed): parents(arm, seed) for seed in settings.seeds},
            )
            for arm, each in arms.items()
        },
    )
    recipes = {arm: each.recipe for arm, each in arms.items()}
    return publish(name, settings, recipes, question, Answered(adapters, scorecards), inputs, store, progress)


def in_a_process(work: Callable[[Progress], Path], progress: Progress) -> Path:
    """Do some work in a process of its own, which ends with this one, and has ended when this returns.

    Args:
        work: is pickled; what it gives, and AssayErrors that it raises, come back, each as what it was.
        progress: told what the work tells.

    Raises:
        AssayError: as the work; or its process died.
    """
    from multiprocessing import get_context

    context = get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(work, there), daemon=True)
    process.start()
    there.close()
    try:
        with closing(here):
            while True:
                kind, told = here.recv()
                if kind == "progress":
                    progress(*told)
                    continue
                process.join(ENDING)
                if kind == "done":
                    return Path(told)
                raise told
    except EOFError:
        process.join()
        message = f"The process that trained died (exit status {process.exitcode})."
        if process.exitcode == -SIGKILL:
            raise ShortOfMemory(
                message,
                remedy="Most often the system has ended it because memory was short: `assay forecast` tells what "
                "training takes. The same command goes on from the last checkpoint.",
            ) from None
        raise AssayError(message, remedy="The same command goes on from the last checkpoint.") from None
    finally:
        process.kill()
        process.join()


def _serve(work: Callable[[Progress], Path], pipe: Any) -> None:
    """The other process."""
    from curate.workers import end_with_parent

    end_with_parent()
    try:
        done = "done", str(work(lambda *told: pipe.send(("progress", told))))
    except AssayError as error:
        done = "failed", error  # type: ignore[assignment]
    except Exception as error:
        from assay.errors import explain

        kind = ShortOfMemory if no_memory(error) else AssayError
        done = "failed", kind(*explain(error))  # type: ignore[assignment]
    pipe.send(done)
