"""The score of the answers to validation rows, that training chooses a checkpoint by (`training.keep_best`)."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from curate.errors import AssayError
from curate.hashing import digest
from curate.progress import Progress, silent
from curate.rows.renderer import Renderer
from curate.store import Store
from evaluation.ask.decoding import decoding_layout
from evaluation.ask.generate import generate
from evaluation.card.scorecard import TUNED, TestRows, judged, scorecard
from evaluation.card.statistics import Rows
from evaluation.judge.accepted import Accepted, accepted_of, names_meta
from evaluation.judge.structured import Judge
from evaluation.reward import JudgedReward, reward_of
from evaluation.settings import FullRecipe
from train.base_model import BaseTokenizer
from train.batches import Layout
from train.examples import Row, read_split, select
from train.qlora import renderer_of

if TYPE_CHECKING:
    from train.methods.trained import Trained

RESAMPLES = 100
"""Of intervals, which nobody looks at here."""
COLUMNS = ("id", "label", "cluster", "tokens", "messages", "target")


def validation_score(
    version: Path,
    recipe: FullRecipe,
    store: Store,
    progress: Progress = silent,
    left_out: Collection[str] = (),
    key: str = "training.keep_best",
) -> "ValidationScore | None":
    """The score that the recipe's `keep_best` names, or of a reinforcement the mean reward; None where a checkpoint is
    chosen by the loss, or none is.

    Args:
        version: folder of a published data set version.
        recipe: names the measure, the contract, and how answers are generated and judged.
        store: whose cache has the base model.
        progress: told in rows.
        left_out: ids of rows that are not validated on.
        key: of the recipe, that names the measure where another gave it to `keep_best`.

    Raises:
        AssayError: answers have no form to judge, or no such field that is a class.
    """
    measure = recipe.training.keep_best
    if recipe.training.objective == "reft":
        measure = measure or "reward"
    if measure in (None, "loss"):
        return None
    schema = recipe.held_to().target_schema
    if schema is None:
        raise AssayError(
            f"{key}: {measure} needs the answer's JSON Schema; the contract {recipe.contract} has none.",
            remedy="Choose by `loss`: plain chat has no fields and no form.",
        )
    judge = Judge(schema, recipe.evaluation.fields)
    name = None if "." not in str(measure) else str(measure).removesuffix(".macro_f1")
    classes = [judge.fields[number].name for number in judge.classes]
    if name is not None and name not in classes:
        raise AssayError(
            f"{key}: no field {name!r} of the answer is a class.",
            remedy=f"Those that are: {', '.join(classes) or 'none'}; or choose by schema_valid, whole_match or loss.",
        )
    reward = reward_of(version, recipe) if measure == "reward" else None
    return ValidationScore(version, recipe, schema, judge, name, store.cache, progress, left_out, reward)


@dataclass(frozen=True)
class ValidationScore:
    """Has a model answer the rows that the validation loss is taken over, and judges the answers as the scorecard does;
    the same measures, from 0 to 1."""

    version: Path
    recipe: FullRecipe
    schema: Mapping[str, Any]
    judge: Judge
    class_name: str | None
    """Whose macro F1 it is; None for a measure of the whole answer."""
    cache: Path
    progress: Progress
    left_out: Collection[str] = ()
    reward: JudgedReward | None = None
    """Whose mean it is; None for a measure of the scorecard."""
    _layout: list[Layout] = field(default_factory=list)
    """Found once a run."""

    @property
    def deciding(self) -> dict[str, Any]:
        settings = self.recipe.evaluation
        besides = {"accepted": settings.accepted, "optional": settings.optional}
        if self.reward is not None:  # which says so itself
            besides = {}
        return {
            "schema": digest(self.schema),
            "fields": {each.name: each.rule.model_dump(mode="json") for each in self.judge.fields},
            "max_new_tokens": settings.max_new_tokens,
            "batch_size": settings.batch_size,
            **{name: key for name, key in besides.items() if key is not None},
        }

    def __call__(self, model: "Trained", /) -> float:
        settings, rows = self.recipe.evaluation, self._rows
        prompts = [self._renderer.prompt_ids(row["messages"]) for row in rows]
        if not self._layout:
            self._layout.append(decoding_layout(model, prompts, self.progress))
        generated = generate(
            model,
            self._renderer,
            prompts,
            layout=self._layout[0],
            max_new_tokens=settings.max_new_tokens,
            batch_size=settings.batch_size,
            progress=self.progress,
            what="ask the validation rows",
        )
        if self.reward is not None:
            asked = self.reward.questions(rows, self._accepted)
            pairs = zip(asked, generated, strict=True)
            return fmean(self.reward.worth(its, each.text, each.truncated).mean for its, each in pairs)
        expected = [json.loads(row["target"]) for row in rows]
        together = Rows([row["cluster"] or row["id"] for row in rows], len(rows), RESAMPLES, settings.seed)
        answers = {TUNED: judged(generated, expected, self.judge, accepted=self._accepted)}
        scores = scorecard(answers, TestRows.of(together, self.judge, expected), [])["systems"][TUNED]
        if self.class_name is not None:
            rate = scores["fields"][self.class_name]["macro_f1"]
        else:
            rate = scores["whole_match"] if self.recipe.training.keep_best == "whole_match" else scores["schema_valid"]
        return float(rate["value"] or 0.0)

    @cached_property
    def _rows(self) -> list[Row]:
        training = self.recipe.training
        columns = [*COLUMNS, *(["meta"] if names_meta(self.recipe.evaluation) else [])]
        rows = [row for row in read_split(self.version, "validation", columns) if row["id"] not in self.left_out]
        return select(rows, training.validation_rows, training.max_tokens, training.seed)

    @cached_property
    def _accepted(self) -> list[Accepted]:
        settings = self.recipe.evaluation
        others = read_split(self.version, "train", ["meta"]) if names_meta(settings) else []
        return accepted_of(self._rows, self.judge.fields, settings, others)

    @cached_property
    def _renderer(self) -> Renderer:
        return renderer_of(self.recipe, BaseTokenizer.of(self.recipe.fit.model, self.cache))
