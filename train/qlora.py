"""Training: a published data set version -> an adapter that knows its parents."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.drafts import turn
from curate.errors import AssayError
from curate.hashing import digest
from curate.manifest import DatasetManifest
from curate.progress import Progress, silent
from curate.rows.chat_template import ChatTemplate, Message
from curate.rows.renderer import Renderer, load_tokenizer
from curate.stage import installed
from curate.store import MANIFEST, Store
from curate.taken_back import TakenBackError
from curate.workers import give_back
from train.adapter import check_parents, load, parents
from train.audit import Audit, audit
from train.base_model import BaseModel, BaseTokenizer, configuration, prepare, quiet
from train.checkpoints import Checkpoints, step_of
from train.dtypes import arithmetic
from train.examples import Example, chosen_rows, read_split, rows_of
from train.forecast import MAPPED, Forecast, foresee, lengths_of
from train.halted import Hopeless, Pruned
from train.manifest import (
    AdapterInputs,
    AdapterManifest,
    AdapterParent,
    BaseParent,
    DatasetParent,
    LeftOut,
)
from train.methods.keys import KEYS, WHOLE, method_in
from train.preferences import Pair, pairs_to_train, parent_of, read_pairs, unseen_in
from train.processes import Processes
from train.reward import Asked, Reward, tell_reasoning
from train.serving import write_chat, write_notes
from train.settings import TrainingRecipe, TrainingSettings

if TYPE_CHECKING:
    from train.loop import Loop, Score

VERSION = 3
"""Of the method; an adapter of another one is not taken for the same."""

NOTHING = (
    "nothing was reinforced: the answers to each prompt were all worth the same; warm up for longer, raise "
    "training.reft.max_new_tokens where they are cut off, or draw more of them (training.reft.group_size)"
)

LIBRARIES = ("accelerate", "bitsandbytes", "peft", "torch", "transformers", "trl")
QUANTISED = {"nf4": {"double_quantization"}, "none": set[str]()}
"""Keys that say how the base model's weights are quantised."""


@dataclass(frozen=True)
class Given:
    """What a run is given beside data set and recipe; see `train`."""

    score: "Score | None"
    reward: Reward | None
    left_out: Collection[str]
    hopeless: Hopeless | None
    force: bool


def train(
    version: Path,
    recipe: TrainingRecipe,
    store: Store,
    progress: Progress = silent,
    score: "Score | None" = None,
    force: bool = False,
    left_out: Collection[str] = (),
    reward: Reward | None = None,
    hopeless: Hopeless | None = None,
) -> Path:
    """Train an adapter, or find the one that the same inputs gave before.

    A run that was interrupted goes on from its last checkpoint and gives the adapter that it would have given. One that
    another process is at is waited for. The warm-up of a reinforcement is an adapter of its own, made or found first.
    Processes that were launched together train one adapter, each with its share of every batch; the first of them
    reads, tells and publishes.

    Args:
        version: folder of a published data set version.
        recipe: names the base model, the chat template and the training settings.
        store: where the adapter is published.
        progress: told in tokens, so its rate is tokens per second.
        score: of answers to validation rows, where `keep_best` is neither the loss nor nothing.
        force: begin though the forecast says that memory or disk will not be enough.
        left_out: ids of rows that are neither trained nor validated on.
        reward: what drawn answers are worth, where they are reinforced.
        hopeless: may end the run after a validation; then no adapter is published, and nothing kept to go on from.

    Returns:
        The adapter's folder: what `train.adapter.save` and `train.serving` write, steps.parquet, report.html and
        manifest.json.

    Raises:
        AssayError: the data set was made for another tokenizer or chat template, or a row cannot be trained; memory or
            disk will not be enough; or a loss or gradient is not finite (NotFinite); or the processes cannot train so
            together; or what it is trained from was taken back meanwhile (TakenBackError).
        Pruned: `hopeless` said so.
    """
    _require_validation(recipe.training, lambda: rows_of(version, "validation", left_out))
    processes = Processes.joined()
    if processes.count > 1:
        from train.sharded import require_shares

        require_shares(recipe.training, processes, score is not None)
    progress = progress if processes.first else silent
    base = processes.led(lambda: prepare(recipe.fit.model, store.cache, progress))
    if recipe.training.objective == "reft":
        if reward is None:
            raise AssayError(
                "training.objective: reft needs a reward, and nobody who trains was given one.",
                remedy="`assay train` and `assay.train` give it.",
            )
        if (begin := recipe.training.start_from) is None:
            chosen = chosen_rows(version, "train", recipe.training.rows, recipe.training, left_out)
            tell_reasoning(chosen, renderer_of(recipe, base), progress)
            warm_up = recipe.model_copy(update={"training": recipe.training.warm_up})
            begin = f"{recipe.name}/{train(version, warm_up, store, progress, None, force, left_out).name}"
        recipe = recipe.model_copy(update={"training": recipe.training.reinforcing(begin)})
    start = _start(recipe.training, store)
    inputs = processes.led(lambda: _inputs(version, recipe, base, start, score, left_out, reward))
    libraries = libraries_of(recipe.training)
    key = digest([inputs, libraries, arithmetic()])
    checkpoints = Checkpoints(store.cache / "training" / key, recipe.training.save_total_limit)
    # The folder's own lock is held while one is written.
    with turn(checkpoints.folder / "turn", "train", progress) if processes.first else nullcontext():
        found = processes.led(lambda: store.made_from("adapters", recipe.name, inputs))
        if found is None:
            given = Given(score, reward, left_out, hopeless, force)
            with _ending(checkpoints):
                found = _train(version, recipe, base, start, inputs, libraries, store, checkpoints, given, progress)
        elif processes.first:
            progress("train (found in the store)", 1, 1, "adapters")
            store.record({"event": "adapters", "name": recipe.name, "version": found.name, "found": True})
        if processes.first:
            checkpoints.clear()
    return found


@contextmanager
def _ending(checkpoints: Checkpoints) -> Iterator[None]:
    """What becomes of checkpoints where nothing is published: those of a pruned run go, as nobody goes on from them;
    where something that is trained from was taken back, the error says where they lie."""
    try:
        yield
    except Pruned:
        checkpoints.clear()
        raise
    except TakenBackError as gone:
        last = checkpoints.last()
        kept = f" The run until step {step_of(last)} is kept in {last}." if last else ""
        raise TakenBackError(gone.message, remedy=gone.remedy + kept) from None


def find(
    version: Path,
    recipe: TrainingRecipe,
    store: Store,
    score: "Score | None" = None,
    left_out: Collection[str] = (),
    progress: Progress = silent,
    reward: Reward | None = None,
) -> Path | None:
    """The adapter that `train` would find; None where it would train one.

    Raises:
        AssayError: the data set was made for another tokenizer or chat template.
    """
    if recipe.training.objective == "reft":
        if (begin := recipe.training.start_from) is None:
            warm_up = recipe.model_copy(update={"training": recipe.training.warm_up})
            if (warm := find(version, warm_up, store, None, left_out, progress)) is None:
                return None
            begin = f"{recipe.name}/{warm.name}"
        recipe = recipe.model_copy(update={"training": recipe.training.reinforcing(begin)})
    inputs = inputs_of(version, recipe, store, score, left_out, progress, reward)
    return store.made_from("adapters", recipe.name, inputs)


def inputs_of(
    version: Path,
    recipe: TrainingRecipe,
    store: Store,
    score: "Score | None" = None,
    left_out: Collection[str] = (),
    progress: Progress = silent,
    reward: Reward | None = None,
) -> dict[str, Any]:
    """From what `train` would train an adapter, as its manifest would say it.

    Raises:
        AssayError: the data set was made for another tokenizer or chat template.
    """
    base = prepare(recipe.fit.model, store.cache, progress)
    return _inputs(version, recipe, base, _start(recipe.training, store), score, left_out, reward)


def libraries_of(settings: TrainingSettings) -> dict[str, str]:
    """The packages that an adapter depends on, with their versions."""
    from train.accelerators import KERNELS

    asked = [package for key, packages in KERNELS.items() if getattr(settings, key) for package in packages]
    return installed([*LIBRARIES, *asked])


def _start(settings: TrainingSettings, store: Store) -> Path | None:
    """The adapter that is trained further."""
    return None if settings.start_from is None else store.resolve("adapters", settings.start_from)


def _inputs(
    version: Path,
    recipe: TrainingRecipe,
    base: BaseModel,
    start: Path | None,
    score: "Score | None",
    left_out: Collection[str],
    reward: Reward | None = None,
) -> dict[str, Any]:
    """From what an adapter is trained, as its manifest says it."""
    manifest = DatasetManifest.read(version)
    template = ChatTemplate.load(recipe.render.chat, base.folder)
    check_parents(f"Data set {version}", manifest.base.content(), base, template)
    inputs = AdapterInputs(
        method=VERSION,
        dataset=DatasetParent.of(manifest),
        base=BaseParent(model=base.name, **parents(base, template)),
        answers=recipe.render.answers,
        reasoning=recipe.render.reasoning,
        published=template.published,
        settings=recipe.training.deciding(),
        score=score.deciding if score is not None else None,
        **_more_parents(recipe.training, start),
    ).content()
    if reward is not None:
        inputs["reward"] = reward.deciding
    if left_out:
        inputs["left_out"] = LeftOut(rows=len(left_out), ids_sha256=digest(sorted(left_out))).content()
    return inputs


def _more_parents(settings: TrainingSettings, start: Path | None) -> dict[str, Any]:
    """What an adapter is made of besides, where that is something.

    Raises:
        AssayError: the pairs cannot be read, or the adapter that training starts from is of another shape.
    """
    found: dict[str, Any] = {} if settings.pairs is None else {"pairs": parent_of(settings.pairs)}
    if start is not None:
        trained = AdapterManifest.read(start)
        here, there = settings.model_dump(mode="json"), trained.inputs.settings
        there = there | {"method": method_in(there)}
        shape = KEYS[settings.method] - {"loraplus_lr_ratio"} | QUANTISED[settings.quantization]
        for key in ("method", *sorted(shape)):
            had = there.get(key, TrainingSettings.model_fields[key].default)
            if had != here[key] and {key: had} != {"target_modules": "all-linear"}:  # as null is, of older adapters
                raise AssayError(
                    f"training.start_from: adapter {trained.name}/{trained.version} has {key} {had}, the recipe "
                    f"{here[key]}.",
                    remedy=f"Set training.{key} as the adapter has it: training goes on with its weights.",
                )
        found["adapter"] = AdapterParent(name=trained.name, version=trained.version)
    return found


def _train(
    version: Path,
    recipe: TrainingRecipe,
    base: BaseModel,
    start: Path | None,
    inputs: dict[str, Any],
    libraries: dict[str, str],
    store: Store,
    checkpoints: Checkpoints,
    given: Given,
    progress: Progress,
) -> Path:
    """Train an adapter and publish it."""
    settings, made_from = recipe.training, _there(version, start, inputs, store)
    with quiet():
        from trl.trainer.utils import disable_dropout_in_model

        from train.accelerators import accelerated, require_accelerators
        from train.arguments import require_trackers, trackers_in
        from train.layout import training_layout
        from train.loop import Rows
        from train.methods.trained import adapted, tell_left_out, weights_of
        from train.publish import publish
        from train.trainer import fit

    processes = Processes.joined()
    require_trackers(settings)
    require_accelerators(settings)
    renderer = renderer_of(recipe, base)
    pairs, audits = _examples(version, recipe, renderer, progress, given.left_out)
    examples, validation = ([pair.whole for pair in pairs] or audits[0].require()), audits[1].require()
    _require_validation(settings, lambda: validation)
    _require_score(settings, given.score)
    asked = None if given.reward is None else Asked.of(examples, version, renderer, given.reward)
    lengths, config = lengths_of(examples, settings), configuration(base.folder)
    told = processes.agreed(lambda: foresee(config, settings, lengths, store.root, given.force, processes))
    progress(told.line(), 1, 1, "forecasts")
    if told.short:
        give_back(MAPPED)
    if start is None:
        model = adapted(base, settings)
    else:
        dtype = "float32" if settings.method in WHOLE else settings.dtype  # as `adapted` has it
        model = load(start, base, renderer.template, settings.quantization, dtype, trainable=True)
        model = accelerated(model, settings)
        _tell_seen(start, version, store, progress)
    if settings.objective == "dpo":  # its reference is asked without, and the loss is of the difference to it
        disable_dropout_in_model(model)
    tell_left_out(model, progress)
    computed = [side for pair in pairs for side in pair.sides] or examples
    layout = processes.led(
        lambda: training_layout(
            model,
            computed,
            checkpointing=settings.gradient_checkpointing,
            noisy=settings.neftune_noise_alpha is not None,
            dealt_out=processes.strategy == "fsdp",
            progress=progress,
        )
    )
    rows = Rows(examples, validation, given.score, layout, pairs, asked, given.hopeless, processes)
    run = f"{recipe.name}-{checkpoints.folder.name[:8]}"  # one that goes on is the same
    with trackers_in(store.root / "tracked", settings, run):
        history = fit(model, base, rows, settings, checkpoints, run, progress, _trainer(settings))

    if all(each.alike == 1 for each in history.steps):
        progress(NOTHING, 1, 1, "adapters")

    def beside(folder: Path) -> None:
        write_chat(folder, base, renderer)
        write_notes(folder, base, renderer, _shortest(version, examples, pairs), settings)

    weights = weights_of(model)
    return processes.led(
        lambda: publish(
            model, weights, base, rows, audits, history, recipe, inputs, libraries, made_from, store, beside
        )
    )


def _there(version: Path, start: Path | None, inputs: dict[str, Any], store: Store) -> list[Path]:
    """What an adapter is trained from, as far as it is published here: pairs may come from elsewhere."""
    asked = (store.root / "scorecards" / each for each in inputs.get("pairs", {}).get("scorecards", []))
    return [version, *([] if start is None else [start]), *(each for each in asked if each.is_dir())]


def _tell_seen(start: Path, version: Path, store: Store, progress: Progress) -> None:
    """Tell of data sets that the adapter has seen, itself or as one that it was trained further from."""
    told = set[str]()
    while True:
        inputs = AdapterManifest.read(start).inputs
        if inputs.dataset.name != version.parent.name and str(inputs.dataset) not in told:
            told.add(str(inputs.dataset))
            seen = f"start_from has seen {inputs.dataset}, which is not looked through for this test split"
            progress(seen, 1, 1, "adapters")
        if (before := inputs.adapter) is None:
            return
        places = [adapters / before.name / before.version for adapters in (store.root / "adapters", start.parents[1])]
        there = next((place for place in places if (place / MANIFEST).is_file()), None)
        if there is None:
            gone = (
                f"start_from goes back to {before.name}/{before.version}, which is gone: what it has seen is not known"
            )
            progress(gone, 1, 1, "adapters")
            return
        start = there


def _trainer(settings: TrainingSettings) -> "type[Loop]":
    """The trainer of the objective."""
    if settings.objective == "dpo":
        from train.objectives.dpo import PreferenceTrainer

        return PreferenceTrainer
    if settings.objective == "reft":
        with quiet():
            from train.objectives.reft import TRAINERS

        return TRAINERS[settings.reft.algorithm]
    from train.trainer import Trainer

    return Trainer


def _require_validation(settings: TrainingSettings, rows: Callable[[], Sequence[Any]]) -> None:
    """See to it that there are rows to choose a checkpoint by, where one is chosen."""
    if (settings.keep_best or settings.early_stopping_patience) and not rows():
        key = "keep_best" if "keep_best" in settings.model_fields_set else "early_stopping_patience"
        raise AssayError(
            f"training.{key}: no row of the validation split is left to choose a checkpoint by.",
            remedy="Give it more (split.validation in the recipe), or leave the key out.",
        )


def _require_score(settings: TrainingSettings, score: "Score | None") -> None:
    """See to it that there is what scores answers, where these choose a checkpoint."""
    chosen = settings.keep_best
    if score is None and chosen not in (None, "loss"):
        raise AssayError(
            f"training.keep_best: {chosen} is a score of answers, and nobody who trains was given one.",
            remedy="`assay train` and `assay.train` give it; or choose by `loss`.",
        )


def forecast(
    version: Path, recipe: TrainingRecipe, store: Store, measure: int = 0, progress: Progress = silent
) -> Forecast:
    """What training will take, whether it fits or not.

    Args:
        version: folder of a published data set version.
        recipe: names the base model, the chat template and the training settings.
        store: where the adapter would be published.
        measure: steps that are really run, after one to warm up, to tell the time; the model is loaded for them.
        progress: told in steps.

    Raises:
        AssayError: as `train`, but for a lack of memory or disk.
    """
    settings = recipe.training
    if settings.objective == "reft":
        if measure:
            raise AssayError(
                "training.objective: reft: the time that answers take to be drawn is not measured.",
                remedy="Leave --measure out.",
            )
        settings = settings.reinforcing(None)
    base = prepare(recipe.fit.model, store.cache, progress)
    template = ChatTemplate.load(recipe.render.chat, base.folder)
    check_parents(f"Data set {version}", DatasetManifest.read(version).base.content(), base, template)
    pairs, audits = _examples(version, recipe, renderer_of(recipe, base), progress)
    examples = [pair.whole for pair in pairs] or audits[0].require()
    with quiet():
        from train import trainer  # noqa: F401  so that what it takes counts
        from train.measure import seconds_per_token

    told = foresee(configuration(base.folder), settings, lengths_of(examples, settings), store.root, force=True)
    if not measure:
        return told
    computed = [side for pair in pairs for side in pair.sides] or examples
    took = seconds_per_token(base, settings, computed, measure, progress)
    return replace(told, seconds=took * told.tokens)


def renderer_of(recipe: TrainingRecipe, base: BaseTokenizer) -> Renderer:
    """What makes the tokens that are trained."""
    render = recipe.render
    template = ChatTemplate.load(render.chat, base.folder)
    return Renderer(template, *load_tokenizer(base.folder), render.answers, render.reasoning)


def _examples(
    version: Path, recipe: TrainingRecipe, renderer: Renderer, progress: Progress, left_out: Collection[str] = ()
) -> tuple[list[Pair], tuple[Audit, Audit]]:
    """The pairs to train on, where preferences are trained; and the rows to train on (of pairs what was left out) and
    those to validate on, tokenised and looked at. No row that a pair asks is validated on."""
    settings = recipe.training
    if settings.pairs is None:
        train = chosen_rows(version, "train", settings.rows, settings, left_out, progress)
        validation = chosen_rows(version, "validation", settings.validation_rows, settings, left_out)
        return [], (audit(train, renderer, settings.max_tokens), audit(validation, renderer, settings.max_tokens))
    last = Renderer(renderer.template, renderer.tokenizer, renderer.tokens, "last", renderer.reasoning)
    pairs, problems = pairs_to_train(settings, version, last, progress)
    rows = rows_of(version, "validation", left_out)
    unseen = {row["id"] for row in unseen_in(rows, read_pairs(Path(settings.pairs)))}
    asked = {row["id"] for row in rows} - unseen
    if asked:
        told = f"{len(asked):,} of {len(rows):,} rows of the validation split are left out: pairs ask them"
        progress(told, 1, 1, "choices")
    chosen = chosen_rows(version, "validation", settings.validation_rows, settings, {*left_out, *asked})
    return pairs, (problems, audit(chosen, renderer, settings.max_tokens))


def _shortest(version: Path, examples: Sequence[Example], pairs: Sequence[Pair]) -> list[Message]:
    """The messages of the shortest row, or pair, that was trained on."""
    shortest = min(examples, key=lambda example: (len(example.input_ids), example.id))
    if pairs:
        return next(pair.messages for pair in pairs if pair.id == shortest.id)
    rows = read_split(version, "train", ["id", "messages"])
    messages: list[Message] = next(row["messages"] for row in rows if row["id"] == shortest.id)
    return messages
