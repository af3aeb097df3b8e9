"""The score of the answers to validation rows, that training chooses a checkpoint by (`training.keep_best`)."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from curate.contract import Contract
from curate.errors import AssayError
from curate.progress import Progress, silent
from curate.rows.chat_template import ChatTemplate
from curate.rows.renderer import Renderer, load_tokenizer
from curate.store import Store
from evaluation.ask.generate import generate
from evaluation.card.scorecard import TUNED, TestRows, judged, scorecard
from evaluation.card.statistics import Rows
from evaluation.judge.structured import Judge
from evaluation.settings import FullRecipe
from train.base_model import prepare_tokenizer
from train.examples import Row, read_split, select
from train.qlora import VALIDATION_ROWS

if TYPE_CHECKING:
    from peft import PeftModel

RESAMPLES = 100
"""Of intervals, which nobody looks at here."""
COLUMNS = ("id", "label", "cluster", "tokens", "messages", "target")


def validation_score(
    version: Path, recipe: FullRecipe, store: Store, progress: Progress = silent
) -> "ValidationScore | None":
    """The score that the recipe's `keep_best` names; None where a checkpoint is chosen by the loss, or none is.

    Args:
        version: folder of a published data set version.
        recipe: names the measure, the contract, and how answers are generated and judged.
        store: whose cache has the base model.
        progress: told in rows.

    Raises:
        AssayError: answers have no form to judge, or no such field that is a class.
    """
    measure = recipe.training.keep_best
    if measure in (None, "loss"):
        return None
    schema = Contract.load(recipe.contract).target_schema
    if schema is None:
        raise AssayError(
            f"training.keep_best: {measure} needs the answer's JSON Schema; the contract {recipe.contract} has none.",
            remedy="Choose by `loss`: plain chat has no fields and no form.",
        )
    judge = Judge(schema, recipe.evaluation.fields)
    field = None if "." not in str(measure) else str(measure).removesuffix(".macro_f1")
    classes = [judge.fields[number].name for number in judge.classes]
    if field is not None and field not in classes:
        raise AssayError(
            f"training.keep_best: no field {field!r} of the answer is a class.",
            remedy=f"Those that are: {', '.join(classes) or 'none'}; or choose by schema_valid, whole_match or loss.",
        )
    return ValidationScore(version, recipe, judge, field, store.cache, progress)


@dataclass(frozen=True)
class ValidationScore:
    """Has a model answer the rows that the validation loss is taken over, and judges the answers as the scorecard does;
    the same measures, from 0 to 1."""

    version: Path
    recipe: FullRecipe
    judge: Judge
    field: str | None
    """Whose macro F1 it is; None for a measure of the whole answer."""
    cache: Path
    progress: Progress

    def __call__(self, model: "PeftModel", /) -> float:
        settings, rows = self.recipe.evaluation, self._rows
        generated = generate(
            model,
            self._renderer,
            [self._renderer.prompt_ids(row["messages"]) for row in rows],
            max_new_tokens=settings.max_new_tokens,
            batch_size=settings.batch_size,
            progress=self.progress,
            what="ask the validation rows",
        )
        expected = [json.loads(row["target"]) for row in rows]
        together = Rows([row["cluster"] or row["id"] for row in rows], len(rows), RESAMPLES, settings.seed)
        answers = {TUNED: judged(generated, expected, self.judge)}
        scores = scorecard(answers, TestRows.of(together, self.judge, expected), [])["systems"][TUNED]
        if self.field is not None:
            rate = scores["fields"][self.field]["macro_f1"]
        else:
            rate = scores["whole_match"] if self.recipe.training.keep_best == "whole_match" else scores["schema_valid"]
        return float(rate["value"] or 0.0)

    @cached_property
    def _rows(self) -> list[Row]:
        training = self.recipe.training
        return select(
            read_split(self.version, "validation", COLUMNS), VALIDATION_ROWS, training.max_tokens, training.seed
        )

    @cached_property
    def _renderer(self) -> Renderer:
        render = self.recipe.render
        folder = prepare_tokenizer(self.recipe.fit.model, self.cache)
        template = ChatTemplate.load(render.chat, folder)
        return Renderer(template, *load_tokenizer(folder), render.answers, render.reasoning)
