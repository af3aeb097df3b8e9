"""Systems: who answers the test rows, and how.

A system is a baseline, a model that runs here (the base model, the adapter on it, both merged) or an endpoint. A model
may be shown shots, be held to the answer's JSON Schema and have its weights quantised. All are asked the same rows,
through the same task and chat template. A model's answers are kept in the store's cache under all that decides them.
Models are loaded one after the other, each once, for all systems that it answers for.
"""

import gc
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.cache import cache_folder, keyed_folder, sound
from curate.errors import AssayError
from curate.hashing import canonical_json, digest
from curate.progress import Progress
from curate.rows.renderer import Renderer
from curate.stage import installed
from evaluation.ask import baselines, endpoint
from evaluation.ask.constrained import Constraint
from evaluation.ask.generate import generate
from evaluation.ask.shots import Shots, asked, conversation, fitting
from evaluation.card.gate import others
from evaluation.card.scorecard import BASE, MAJORITY, TUNED, SystemInfo
from evaluation.judge.answer import Generated
from evaluation.judge.fields import Field
from evaluation.judge.structured import Judge
from evaluation.settings import Endpoint, FullRecipe, SystemSettings
from train.adapter import MERGED, load, merge, parents
from train.base_model import BaseModel, Quantization, arithmetic, load_model
from train.examples import Row, select
from train.manifest import AdapterManifest

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

GENERATION = 2
"""Of the way answers are generated; those of another one are asked for again."""
LIBRARIES = ("bitsandbytes", "peft", "tokenizers", "torch", "transformers")
"""Packages whose versions a model's answers depend on."""
DECIDING = (*LIBRARIES, "bm25s", "llguidance", "scikit-learn")
"""Packages that the scorecard depends on: those and what chooses shots, holds to the schema and learns from words."""
BASELINES = ("majority", "tfidf")
HERE = ("base", "adapter", "merged")
"""Models that run here."""

Systems = Mapping[str, SystemSettings]


def systems_of(recipe: FullRecipe, structured: bool, trained: AdapterManifest | None) -> dict[str, SystemSettings]:
    """The systems to ask, by name, with the quantization of each model that runs here.

    Args:
        recipe: names them; by default the majority class (of structured answers), the base model and the adapter.
        structured: whether the contract has a JSON Schema of the answer.
        trained: the adapter's manifest, if there is an adapter.

    Raises:
        AssayError: a system cannot be asked, or the gate names one that there is not.
    """
    settings = recipe.evaluation
    default = {
        MAJORITY: SystemSettings(model="majority"),
        BASE: SystemSettings(model="base"),
        TUNED: SystemSettings(model="adapter"),
    }
    absent = [*([] if structured else [MAJORITY]), *([] if trained else [TUNED])]
    chosen = settings.systems or {name: each for name, each in default.items() if name not in absent}
    for name, each in chosen.items():
        where = f"evaluation.systems.{name}"
        if not structured and (each.model in BASELINES or each.constrained):
            what = "`constrained`" if each.constrained else f"the baseline `{each.model}`"
            raise AssayError(
                f"{where}: {what} needs the answer's JSON Schema; the contract {recipe.contract} has none.",
                remedy="Leave this system out: plain chat has no fields and no form.",
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
    usual = dict.fromkeys(HERE, training["quantization"]) | {"merged": "none"}
    return {
        name: each.model_copy(update={"quantization": each.quantization or usual[str(each.model)]})
        if each.model in HERE
        else each
        for name, each in chosen.items()
    }


def needs(systems: Systems, *models: str) -> bool:
    """Whether a system is of one of these models."""
    return any(each.model in models for each in systems.values())


def pairs(systems: Systems) -> list[tuple[str, str]]:
    """Which systems are compared: few enough for the tests to find something after adjusting for their number.

    The subject with each other system: `tuned`, or without one `base`, or else the first that is no baseline. And each
    other system with the one it is a change of, if that is there too: without the constraint; else with shots that are
    the same for every row; else without shots; else with weights that are not quantised.
    """
    subjects = [TUNED, BASE, *(name for name, each in systems.items() if each.model not in BASELINES), *systems]
    subject = next(name for name in subjects if name in systems)
    found = [(subject, other) for other in systems if other != subject]
    for name, each in systems.items():
        changes: list[dict[str, Any]] = [
            *([{"constrained": False}] if each.constrained else []),
            *([{"choose": "fixed"}] if each.choose == "nearest" else []),
            *([{"choose": "fixed", "shots": 0}] if each.shots else []),
            *([{"quantization": "none"}] if each.quantization == "nf4" else []),
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
    """Of the test split."""
    train: Sequence[Row]
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
            self._shots.check(name, each.shots)
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
    def _shots(self) -> Shots:
        settings = self.recipe.evaluation
        return Shots(self.train, settings.max_tokens, settings.seed)

    @cached_property
    def _constraint(self) -> Constraint:
        return Constraint(self.schema or {}, self.renderer)

    def _chosen(self, system: SystemSettings) -> Iterator[list[Row]]:
        """The shots of each row."""
        if system.choose == "nearest":
            return (self._shots.nearest(asked(row), system.shots) for row in self.rows)
        fixed = self._shots.fixed(system.shots)
        return (fixed for _ in self.rows)

    def _baseline(self, system: SystemSettings, fields: Sequence[Field]) -> Answers:
        if system.model == "majority":
            guess = baselines.majority((json.loads(row["target"]) for row in self.train), fields)
            values = [guess] * len(self.rows)
        else:
            seed = self.recipe.evaluation.seed
            rows = select(self.train, baselines.TFIDF_ROWS, max(row["tokens"] for row in self.train), seed)
            targets = [json.loads(row["target"]) for row in rows]
            questions = [asked(row) for row in self.rows]
            values = baselines.tfidf([asked(row) for row in rows], targets, questions, fields, seed)
        texts = [json.dumps(value, ensure_ascii=False) for value in values]
        return Answers([Generated(text) for text in texts], SystemInfo(described(system)), [[] for _ in texts])

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
        loads: dict[tuple[bool, Quantization], list[str]] = {}
        for name, each in systems.items():
            if not sound(kept[name], self.progress) and each.quantization is not None:
                loads.setdefault((each.model == "merged", each.quantization), []).append(name)
        for (merged, quantization), names in loads.items():
            tuned = any(systems[name].model == "adapter" for name in names)
            model: Any = self._load(base, merged, quantization, tuned)
            for name in names:
                untuned = tuned and systems[name].model == "base"
                constraint = self._constraint if systems[name].constrained else None
                with model.disable_adapter() if untuned else nullcontext():
                    began = time.perf_counter()
                    given = generate(
                        model,
                        self.renderer,
                        [prompt for prompt, _ in asked_of[name]],
                        max_new_tokens=settings.max_new_tokens,
                        batch_size=settings.batch_size,
                        constraint=constraint,
                        progress=self.progress,
                        what=f"ask {name}",
                    )
                seconds = round(time.perf_counter() - began, 4)
                cache_folder(kept[name], partial(_write, {"seconds": seconds, "answers": given}))
            del model  # before the next one is loaded
            gc.collect()
        found = {}
        for name, each in systems.items():
            answers = json.loads((kept[name] / "answers.json").read_bytes())
            shots = [[row["id"] for row in shown] for _, shown in asked_of[name]]
            fewer = sum(len(shown) < each.shots for shown in shots)
            relaxed = {"relaxed": list(self._constraint.relaxed)} if each.constrained else {}
            info = SystemInfo(described(each) | relaxed, answers["seconds"], fewer_shots=fewer)
            found[name] = Answers([Generated(**answer) for answer in answers["answers"]], info, shots)
        return found

    def _folder(self, base: BaseModel, system: SystemSettings, prompts: Sequence[Sequence[int]]) -> Path:
        """Where the answers are kept."""
        settings = self.recipe.evaluation
        key = [
            *(GENERATION, self._parents(base, system), system.quantization),
            *arithmetic(),
            *(settings.max_new_tokens, settings.batch_size, prompts),
            self.schema if system.constrained else None,
            installed([*LIBRARIES, "llguidance"] if system.constrained else LIBRARIES),
        ]
        return keyed_folder(self.cache / "answers", digest(key))

    def _parents(self, base: BaseModel, system: SystemSettings) -> list[Any]:
        """What a model is made of."""
        if self.adapter is None or system.model == "base":
            return [parents(base, self.renderer.template)]
        return [parents(base, self.renderer.template), AdapterManifest.read(self.adapter).version, system.model, MERGED]

    def _load(
        self, base: BaseModel, merged: bool, quantization: Quantization, tuned: bool
    ) -> "PreTrainedModel | PeftModel":
        if self.adapter is not None and merged:
            base = merge(self.adapter, base, self.renderer.template, self.cache, self.progress)
        elif self.adapter is not None and tuned:
            return load(self.adapter, base, self.renderer.template, quantization)
        model = load_model(base, quantization)
        model.eval()
        return model

    def _endpoint(self, name: str, system: SystemSettings, model: Endpoint) -> Answers:
        """Its context is not known here: it is shown all the shots."""
        shots = list(self._chosen(system))
        given = endpoint.ask(
            model,
            [conversation(row, shown) for row, shown in zip(self.rows, shots, strict=True)],
            max_new_tokens=self.recipe.evaluation.max_new_tokens,
            schema=self.schema if system.constrained else None,
            cache=self.cache,
            progress=self.progress,
            what=f"ask {name}",
        )
        price = model.price if model.price.input or model.price.output else None
        settings = described(system)
        if refused := endpoint.refused(model, self.cache):
            settings["model"]["refused"] = refused
        info = SystemInfo(settings, sum(each.seconds or 0 for each in given), price)
        return Answers(given, info, [[row["id"] for row in shown] for shown in shots])


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
