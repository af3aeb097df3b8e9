"""The rows that all arms of an experiment are asked: the same, whatever an arm makes of its own data."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from curate.cache import cache_text, intact, keyed_folder, sound
from curate.errors import AssayError
from curate.hashing import canonical_json, digest
from curate.manifest import DatasetManifest
from curate.rows.chat_template import ChatTemplate, Refusal
from curate.rows.renderer import Renderer, load_tokenizer
from curate.rows.task_template import TaskTemplate
from curate.stage import installed
from curate.store import Store
from evaluation.ask.systems import LIBRARIES
from evaluation.evaluate import COLUMNS, Asked
from evaluation.settings import FullRecipe
from train.adapter import load
from train.audit import encode
from train.base_model import BaseTokenizer, prepare
from train.dtypes import arithmetic
from train.examples import Row, read_split, select
from train.loss import mean_loss
from train.manifest import AdapterManifest, DatasetParent
from train.qlora import renderer_of

WANTED = (*COLUMNS, "turns", "reasoning", "language", "source", "meta")
"""Of the test split, as far as it has them."""


@dataclass(frozen=True)
class Question:
    """The rows of an experiment."""

    asked: Mapping[str, Asked]
    """By arm: the same rows, as its own templates make them."""
    refused: int
    """Test rows that are asked of nobody, because some arm's template has no words for them."""

    @property
    def rows(self) -> Sequence[Row]:
        return next(iter(self.asked.values())).rows


def questions(version: Path, arms: Mapping[str, FullRecipe], against: str, store: Store) -> Question:
    """The rows of the baseline's test split that all arms are asked.

    Args:
        version: folder of the baseline's data set version.
        arms: by name, the baseline among them.
        against: the baseline's name.
        store: whose cache has the base models.

    Raises:
        AssayError: there is none that all can be asked.
    """
    known = pq.read_schema(version / "test.parquet").names
    test = read_split(version, "test", [name for name in WANTED if name in known])
    made = {name: [_messages(row, recipe, renders) for row in test] for name, recipe, renders in _renders(arms, store)}
    said = [all(each[at] is not None for each in made.values()) for at in range(len(test))]
    settings = arms[against].evaluation
    kept = {row["id"] for row, sayable in zip(test, said, strict=True) if sayable}
    chosen = select((row for row in test if row["id"] in kept), settings.rows, settings.max_tokens, settings.seed)
    if not chosen:
        raise AssayError(
            f"{version}: no row of the test split can be asked of all arms: none has {settings.max_tokens} tokens or "
            "fewer and is one that the templates of all have words for.",
            remedy="Raise evaluation.max_tokens in the recipe, or give the test split rows (split.test).",
        )
    place = {row["id"]: at for at, row in enumerate(test)}
    parent = DatasetParent.of(DatasetManifest.read(version))
    return Question(
        {
            name: Asked(parent, [row | {"messages": messages[place[row["id"]]]} for row in chosen])
            for name, messages in made.items()
        },
        len(test) - len(kept),
    )


def _renders(arms: Mapping[str, FullRecipe], store: Store) -> list[tuple[str, TaskTemplate, Renderer]]:
    """Each arm's task template and renderer."""
    found = []
    for name, recipe in arms.items():
        render, folder = recipe.render, BaseTokenizer.of(recipe.fit.model, store.cache).folder
        template = ChatTemplate.load(render.chat, folder)
        renderer = Renderer(template, *load_tokenizer(folder), render.answers, render.reasoning)
        schema = recipe.held_to().target_schema
        found.append((name, TaskTemplate(render.task, schema, thoughts=renderer.thoughts), renderer))
    return found


def _messages(row: Row, task: TaskTemplate, renderer: Renderer) -> object:
    """A row's messages; None where a template has no words for it."""
    meta = {each["key"]: each["value"] for each in row.get("meta") or ()}
    try:
        messages = task.messages({"reasoning": None, "language": "und", **row, "meta": meta})
        renderer.encode(messages)
    except Refusal:
        return None
    return messages


def row_losses(adapter: Path, recipe: FullRecipe, rows: Sequence[Row], store: Store) -> list[float]:
    """Mean negative log-likelihood (nats) of the answer's tokens of each row, its stop token among them; kept.

    Args:
        adapter: folder of a published adapter.
        recipe: that it was trained by.
        rows: with `id` and `messages` as the recipe's templates make them.
        store: in whose cache they are kept.

    Raises:
        AssayError: as `train.adapter.load`.
    """
    base = prepare(recipe.fit.model, store.cache)
    renderer = renderer_of(recipe, base)
    examples = encode(rows, renderer)
    key = [AdapterManifest.read(adapter).version, [[e.input_ids, e.labels] for e in examples]]
    kept = keyed_folder(store.cache / "losses", digest([*key, arithmetic(), installed(LIBRARIES)]))
    if not sound(kept):
        model = load(adapter, base, renderer.template)
        losses = [mean_loss(model, [example], 1) for example in examples]
        cache_text(kept, "losses.json", canonical_json(losses).decode())
    return [float(each) for each in json.loads(intact(kept, "losses.json").read_bytes())]
