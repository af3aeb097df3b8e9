"""Systems: who answers the test rows, and how.

A system is a baseline, a model that runs here (the base model, the adapter on it, both merged) or an endpoint. A model
may be shown shots, be held to the answer's JSON Schema and have its weights quantised. All are asked the same rows,
through the same task and chat template. A model's answers are kept in the store's cache under all that decides them.
Models are loaded one after the other, each once, for all systems that it answers for.
"""

import gc
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from curate.cache import cache_folder, keyed_folder, sound
from curate.errors import AssayError
from curate.hashing import canonical_json, digest
from curate.progress import Progress
from curate.rows.chat_template import as_sent, with_calls
from curate.rows.renderer import Renderer
from curate.stage import installed
from evaluation.ask import baselines, endpoint
from evaluation.ask.constrained import Constraint
from evaluation.ask.decoding import decoding_layout
from evaluation.ask.generate import generate
from evaluation.ask.shots import Shots, asked, conversation, fitting
from evaluation.ask.target_form import TargetForm
from evaluation.card.gate import others
from evaluation.card.scorecard import BASE, MAJORITY, TUNED, SystemInfo
from evaluation.judge.answer import Generated
from evaluation.judge.fields import Field
from evaluation.judge.structured import Judge
from evaluation.settings import BASELINES, Endpoint, FullRecipe, SystemSettings
from train.adapter import MERGED, check_quantization, load, merge, parents
from train.base_model import BaseModel, Quantization, load_model
from train.dtypes import DType, arithmetic, computed_in
from train.examples import Row, select
from train.export import Rounded, round_as
from train.manifest import AdapterManifest
from train.methods.keys import WHOLE, method_in
from train.settings import quantization_of

if TYPE_CHECKING:
    from train.methods.trained import Trained

GENERATION = 4
"""Of the way answers are generated; those of another one are asked for again."""
LIBRARIES = ("bitsandbytes", "peft", "tokenizers", "torch", "transformers")
"""Packages whose versions a model's answers depend on."""
DECIDING = (*LIBRARIES, "bm25s", "llguidance", "scikit-learn")
"""Packages that the scorecard depends on: those and what chooses shots, holds to the schema and learns from words."""
NEAREST, NEAREST_OWN = "nearest", "nearest_own"
HERE = ("base", "adapter", "merged")
"""Models that run here."""

SHOWN = 5
"""Right answers that cannot be given under a constraint that are shown, of each split."""

Systems = Mapping[str, SystemSettings]


def systems_of(
    recipe: FullRecipe, structured: bool, trained: AdapterManifest | None, version: str | None = None
) -> dict[str, SystemSettings]:
    """The systems to ask, by name, with the quantization of each model that runs here.

    Args:
        recipe: names them; by default, of structured answers, the majority class and the nearest row's answer, of all
            rows and of the adapter's own; the base model, and the adapter.
        structured: whether the contract has a JSON Schema of the answer.
        trained: the adapter's manifest, if there is an adapter.
        version: of the data set; an adapter of another one has no own rows here.

    Raises:
        AssayError: a system cannot be asked, or the gate names one that there is not.
    """
    settings = recipe.evaluation
    default = {
        MAJORITY: SystemSettings(model="majority"),
        NEAREST: SystemSettings(model="nearest"),
        NEAREST_OWN: SystemSettings(model="nearest", rows="own"),
        BASE: SystemSettings(model="base"),
        TUNED: SystemSettings(model="adapter"),
    }
    own = (
        trained is not None
        and trained.inputs.dataset.version == version
        and trained.inputs.pairs is None
        and trained.inputs.left_out is None
        and settings.split != "train"
    )
    absent = [
        *([] if structured and settings.split != "train" else [MAJORITY, NEAREST, NEAREST_OWN]),
        *([] if own else [NEAREST_OWN]),
        *([] if trained else [TUNED]),
    ]
    chosen = settings.systems or {name: each for name, each in default.items() if name not in absent}
    for name, each in chosen.items():
        where = f"evaluation.systems.{name}"
        if not structured and (each.model in BASELINES or each.constrained):
            what = "`constrained`" if each.constrained else f"the baseline `{each.model}`"
            raise AssayError(
                f"{where}: {what} needs the answer's JSON Schema; the contract {recipe.contract} has none.",
                remedy="Leave this system out: plain chat has no fields and no form.",
            )
        if trained is not None and each.model == "adapter" and each.quantization is not None:
            check_quantization(method_in(trained.inputs.settings), _loading(each.quantization))
        if settings.split == "train" and each.rows == "own":
            raise AssayError(
                f"{where}: `rows: own` are rows of the train split, which is asked itself.",
                remedy="Leave it out: of `rows: all`, those that are asked are not learned from.",
            )
        if trained is None and each.model in ("adapter", "merged"):
            raise AssayError(
                f"{where}: {each.model} needs an adapter, and none is published for {recipe.name}.",
                remedy=f"assay train {recipe.name}, or name one with --adapter.",
            )
    if settings.systems or trained:
        for name in (TUNED, *others(settings.gate)) if settings.gate else ():
            if name not in chosen:
                raise AssayError(
                    f"evaluation.gate: no system {name!r}; the gate holds `{TUNED}` to its rules.",
                    remedy=f"The recipe's systems: {', '.join(chosen)}.",
                )
    training = trained.inputs.settings if trained else recipe.training.model_dump()
    usual = dict.fromkeys(HERE, quantization_of(training)) | {"merged": "none"}
    return {
        name: each.model_copy(update={"quantization": each.quantization or usual[str(each.model)]})
        if each.model in HERE
        else each
        for name, each in chosen.items()
    }


def _loading(quantization: str) -> Quantization:
    """What the weights of a system are loaded in, before they are rounded as an exported file has them."""
    return "nf4" if quantization == "nf4" else "none"


def needs(systems: Systems, *models: str) -> bool:
    """Whether a system is of one of these models."""
    return any(each.model in models for each in systems.values())


def pairs(systems: Systems) -> list[tuple[str, str]]:
    """Which systems are compared: few enough for the tests to find something after adjusting for their number.

    The subject with each other system: `tuned`, or without one `base`, or else the first that is no baseline. And each
    other system with the one it is a change of, if that is there too: without the constraint; else with shots that are
    the same for every row; else without shots; else with weights that are not quantised; else with all rows to learn
    from.
    """
    subjects = [TUNED, BASE, *(name for name, each in systems.items() if each.model not in BASELINES), *systems]
    subject = next(name for name in subjects if name in systems)
    found = [(subject, other) for other in systems if other != subject]
    for name, each in systems.items():
        changes: list[dict[str, Any]] = [
            *([{"constrained": False}] if each.constrained else []),
            *([{"choose": "fixed"}] if each.choose == "nearest" else []),
            *([{"choose": "fixed", "shots": 0}] if each.shots else []),
            *([{"quantization": "none"}] if each.quantization not in (None, "none") else []),
            *([{"rows": "all"}] if each.rows == "own" else []),
        ]
        plainer = [
            other for change in changes for other, its in systems.items() if its == each.model_copy(update=change)
        ]
        if plainer and subject not in (name, plainer[0]):
            found.append((name, plainer[0]))
    return found


@dataclass(frozen=True)
class Answers:
    """What one system said to all rows."""

    generated: list[Generated]
    info: SystemInfo
    shots: list[list[str]]
    """For each row the ids of the training rows it was shown."""


@dataclass(frozen=True)
class Asking:
    """What every system is asked, what it may learn from, and with what it answers."""

    rows: Sequence[Row]
    """Of the split that is asked."""
    train: Sequence[Row]
    weights: Mapping[str, float]
    """By label, how many times a row counted when training chose its rows."""
    recipe: FullRecipe
    renderer: Renderer
    judge: Judge | None
    """Knows the fields of the structured answer; None for plain chat."""
    schema: Mapping[str, Any] | None
    """JSON Schema of the answer."""
    base: BaseModel | None
    """None where no system needs it."""
    adapter: Path | None
    cache: Path
    progress: Progress

    def answers(self, systems: Systems) -> dict[str, Answers]:
        """Ask the systems, those that cost nothing first.

        Raises:
            AssayError: a system cannot be asked; what others have answered is kept.
        """
        for name, each in systems.items():
            if each.shots:
                self._shots[each.rows].check(name, each.shots)
        found: dict[str, Answers] = {}
        if self.judge is not None:
            fields = self.judge.fields
            found |= {name: self._baseline(each, fields) for name, each in systems.items() if each.model in BASELINES}
        if self.base is not None:
            found |= self._here(self.base, {name: each for name, each in systems.items() if each.model in HERE})
        found |= {
            name: self._endpoint(name, each, each.model)
            for name, each in systems.items()
            if isinstance(each.model, Endpoint)
        }
        return {name: found[name] for name in systems}

    @cached_property
    def _own(self) -> list[Row]:
        """The rows that the adapter was trained on; without one, those that it would be trained on.

        Raises:
            AssayError: it was trained on others than this train split gives.
        """
        trained = None if self.adapter is None else AdapterManifest.read(self.adapter)
        settings = trained.inputs.settings if trained else self.recipe.training.model_dump()
        count, max_tokens, seed = (settings[name] for name in ("rows", "max_tokens", "seed"))
        rows = select(self.train, count, max_tokens, seed, self.weights)
        if trained and digest(sorted(row["id"] for row in rows)) != trained.rows.train_ids_sha256:
            raise AssayError(
                f"rows: own: adapter {trained.name}/{trained.version} was trained on rows of {trained.inputs.dataset}"
                + (
                    ", in pairs."
                    if trained.inputs.pairs
                    else ", of which an experiment left some out."
                    if trained.inputs.left_out
                    else ", and the train split of this version gives others."
                ),
                remedy="Evaluate it on the version that it was trained on, or ask baselines on all rows.",
            )
        return rows

    @cached_property
    def _shots(self) -> "_ByRows":
        settings = self.recipe.evaluation
        return _ByRows(lambda which: Shots(self._learned(which), settings.max_tokens, settings.seed))

    @cached_property
    def neighbours(self) -> "_ByRows":
        """As `_shots`, of rows of any length: nobody has to read them."""
        return _ByRows(lambda which: Shots.of_any_length(self._learned(which), self.recipe.evaluation.seed))

    def _learned(self, which: str) -> Sequence[Row]:
        return self._own if which == "own" else self.train

    @cached_property
    def _constraint(self) -> Constraint:
        return Constraint(self.schema or {}, self.renderer, (row["target"] for row in self.train))

    @cached_property
    def _unsayable(self) -> dict[str, Any]:
        """Right answers that constrained decoding cannot give: of the rows that are asked, and of those that the
        adapter learned, where they are rows of this version."""
        found: dict[str, Any] = {}
        splits = {self.recipe.evaluation.split: self.rows}
        with suppress(AssayError):  # it learned rows of another version
            splits |= {"train": self._own} if self.adapter else {}
        for split, rows in splits.items():
            told = []
            for row in {row["id"]: row for row in rows}.values():
                wrong = self._constraint.forbids(self.renderer.answer(row["messages"]))
                if wrong is not None:
                    told.append({"row": row["id"], "at": wrong.at, "why": wrong.why})
            if told:
                found[split] = {"rows": len(told), "first": told[:SHOWN]}
                first = f"row {told[0]['row']} at {told[0]['at'] or '/'}: {told[0]['why']}"
                self.progress(f"constrained: right answers that cannot be given ({first})", len(told), len(rows), split)
        return found

    @property
    def _unsayable_there(self) -> dict[str, Any]:
        """Of an endpoint, which writes what the schema says in the same form: by the grammar that there is here, where
        one can be made of the schema. What the adapter learned is none of its business."""
        with suppress(AssayError):
            return {split: told for split, told in self._unsayable.items() if split == "test"}
        return {}

    def _told(self, system: SystemSettings) -> dict[str, Any]:
        """What the scorecard says of a constraint."""
        if not system.constrained:
            return {}
        held = self._constraint
        seen = {"reordered": list(held.reordered), "unsayable": self._unsayable}
        return {"relaxed": list(held.relaxed)} | {key: value for key, value in seen.items() if value}

    def _chosen(self, system: SystemSettings) -> Iterator[list[Row]]:
        """The shots of each row."""
        if not system.shots:
            return ([] for _ in self.rows)
        shots = self._shots[system.rows]
        if system.choose == "nearest":
            return (shots.nearest(asked(row), system.shots) for row in self.rows)
        fixed = shots.fixed(system.shots)
        return (fixed for _ in self.rows)

    def _baseline(self, system: SystemSettings, fields: Sequence[Field]) -> Answers:
        info, learned = SystemInfo(described(system)), self._learned(system.rows)
        if system.model == "nearest":
            rows = [self.neighbours[system.rows].nearest(asked(row), 1) for row in self.rows]
            texts = ["".join(row["target"] for row in near) for near in rows]
            return Answers([Generated(text) for text in texts], info, [[row["id"] for row in near] for near in rows])
        if system.model == "majority":
            guess = baselines.majority((json.loads(row["target"]) for row in learned), fields)
            values = [guess] * len(self.rows)
        else:
            seed = self.recipe.evaluation.seed
            chosen = select(learned, baselines.TFIDF_ROWS, max(row["tokens"] for row in learned), seed)
            targets = [json.loads(row["target"]) for row in chosen]
            questions = [asked(row) for row in self.rows]
            values = baselines.tfidf([asked(row) for row in chosen], targets, questions, fields, seed)
        texts = [json.dumps(value, ensure_ascii=False) for value in values]
        return Answers([Generated(text) for text in texts], info, [[] for _ in texts])

    def _here(self, base: BaseModel, systems: Systems) -> dict[str, Answers]:
        """Answers of the models that run here, from the cache if the same was asked before."""
        settings = self.recipe.evaluation
        context = base.context()
        most = None if context is None else context - settings.max_new_tokens
        asked_of = {}
        for name, each in systems.items():
            shown = zip(self.rows, self._chosen(each), strict=True)
            asked_of[name] = [fitting(row, shots, self.renderer, most) for row, shots in shown]
        kept = {name: self._folder(base, each, [ids for ids, _ in asked_of[name]]) for name, each in systems.items()}
        loads: dict[tuple[str, str], list[str]] = {}
        for name, each in systems.items():
            if not sound(kept[name], self.progress) and each.quantization is not None:
                loads.setdefault((self._loaded_as(each), each.quantization), []).append(name)
        for (which, quantization), names in loads.items():
            tuned = any(systems[name].model == "adapter" for name in names)
            model: Any = self._load(base, which == "merged", quantization, tuned)
            for name in names:
                untuned = tuned and systems[name].model == "base"
                constraint = self._constraint if systems[name].constrained else None
                prompts = [prompt for prompt, _ in asked_of[name]]
                with model.disable_adapter() if untuned else nullcontext():
                    layout = decoding_layout(model, prompts, self.progress)
                    began = time.perf_counter()
                    given = generate(
                        model,
                        self.renderer,
                        prompts,
                        max_new_tokens=settings.max_new_tokens,
                        batch_size=settings.batch_size,
                        constraint=constraint,
                        layout=layout,
                        progress=self.progress,
                        what=f"ask {name}",
                    )
                seconds = round(time.perf_counter() - began, 4)
                cache_folder(kept[name], partial(_write, {"seconds": seconds, "layout": str(layout), "answers": given}))
            del model  # before the next one is loaded
            gc.collect()
        found = {}
        for name, each in systems.items():
            answers = json.loads((kept[name] / "answers.json").read_bytes())
            shots = [[row["id"] for row in shown] for _, shown in asked_of[name]]
            fewer = sum(len(shown) < each.shots for shown in shots)
            told = self._told(each) | {"layout": answers["layout"]}
            info = SystemInfo(described(each) | told, answers["seconds"], fewer_shots=fewer)
            found[name] = Answers([Generated(**answer) for answer in answers["answers"]], info, shots)
        return found

    def _loaded_as(self, system: SystemSettings) -> str:
        """Which model is loaded for a system: the adapter's answers for the base model too, without it; not where the
        base model's own weights were trained."""
        if system.model == "adapter" and not self._whole:
            return "base"
        return str(system.model)

    @cached_property
    def _whole(self) -> bool:
        """Whether the adapter is weights of the base model itself."""
        return self.adapter is not None and method_in(AdapterManifest.read(self.adapter).inputs.settings) in WHOLE

    def _folder(self, base: BaseModel, system: SystemSettings, prompts: Sequence[Sequence[int]]) -> Path:
        """Where the answers are kept."""
        settings = self.recipe.evaluation
        key = [
            *(GENERATION, self._parents(base, system), system.quantization, *self._computed),
            *arithmetic(),
            *(settings.max_new_tokens, settings.batch_size, prompts),
            self._constraint.grammar if system.constrained else None,
            installed([*LIBRARIES, "llguidance"] if system.constrained else LIBRARIES),
        ]
        return keyed_folder(self.cache / "answers", digest(key))

    @cached_property
    def _computed(self) -> tuple[DType, bool]:
        """What models compute in, and whether the constants of 4-bit weights are quantised: the adapter's, so that the
        base model is asked as the adapter was trained on it, as far as this machine does that."""
        own = self.recipe.training.model_dump()
        settings = own if self.adapter is None else AdapterManifest.read(self.adapter).inputs.settings
        wanted = settings.get("dtype", "auto")
        if (dtype := computed_in(wanted)) != wanted:
            self.progress(f"computed in {arithmetic()[1]}: the adapter was trained in {wanted}", 1, 1, "models")
        return dtype, settings.get("double_quantization", True)

    def _parents(self, base: BaseModel, system: SystemSettings) -> list[Any]:
        """What a model is made of."""
        if self.adapter is None or system.model == "base":
            return [parents(base, self.renderer.template)]
        return [parents(base, self.renderer.template), AdapterManifest.read(self.adapter).version, system.model, MERGED]

    def _load(self, base: BaseModel, merged: bool, quantization: str, tuned: bool) -> "Trained":
        loading = _loading(quantization)
        if self.adapter is not None and merged:
            base = merge(self.adapter, base, self.renderer.template, self.cache, self.progress)
        elif self.adapter is not None and tuned:
            return load(self.adapter, base, self.renderer.template, loading)
        model = load_model(base, loading, *self._computed)
        if quantization in get_args(Rounded):
            round_as(model, cast("Rounded", quantization))
        model.eval()
        return model

    def _endpoint(self, name: str, system: SystemSettings, model: Endpoint) -> Answers:
        """Its context is not known here: it is shown all the shots."""
        shots = list(self._chosen(system))
        form = None
        if system.constrained and self.schema is not None:
            form = TargetForm.of(self.schema, (row["target"] for row in self.train))
        given = endpoint.ask(
            model,
            [as_sent(with_calls(conversation(row, shown))) for row, shown in zip(self.rows, shots, strict=True)],
            max_new_tokens=self.recipe.evaluation.max_new_tokens,
            schema=None if form is None else form.schema,
            title=(self.schema or {}).get("title"),
            cache=self.cache,
            progress=self.progress,
            what=f"ask {name}",
        )
        price = model.price if model.price.input or model.price.output else None
        settings = described(system)
        refused = endpoint.refused(model, self.cache)
        if form is not None:
            used = endpoint.form_used(refused)
            settings |= {"reordered": list(form.reordered)} if form.reordered else {}
            if used != endpoint.FORMS[0]:
                settings["model"]["response_format"] = used
            elif lost := self._unsayable_there:
                settings["unsayable"] = lost
        if refused := [name for name in refused if form is not None or not name.startswith(endpoint.FORM)]:
            settings["model"]["refused"] = refused
        info = SystemInfo(settings, sum(each.seconds or 0 for each in given), price)
        return Answers(given, info, [[row["id"] for row in shown] for shown in shots])


class _ByRows(dict[str, Shots]):
    """Rows to choose from, by which they are (`all`, `own`); made when they are asked for."""

    def __init__(self, make: Callable[[str], Shots]) -> None:
        super().__init__()
        self.make = make

    def __missing__(self, which: str) -> Shots:
        self[which] = found = self.make(which)
        return found


def described(system: SystemSettings) -> dict[str, Any]:
    """What scorecard.json says of a system."""
    dumped = system.model_dump(mode="json")
    if isinstance(system.model, Endpoint):
        # Not how fast it is asked, nor with whose key: that changes no answer.
        dumped["model"] = system.model.model_dump(include={"url", "model", "price"})
    return dumped


def _write(kept: Mapping[str, Any], folder: Path) -> None:
    answers = [asdict(each) for each in kept["answers"]]
    (folder / "answers.json").write_bytes(canonical_json({**kept, "answers": answers}))
