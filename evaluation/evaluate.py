"""Evaluation: systems are asked the same rows of a split, their answers judged, the scorecard published."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import AssayError
from curate.grounding import Grounding
from curate.hashing import digest
from curate.manifest import DatasetManifest
from curate.progress import Progress, silent
from curate.rows.chat_template import ChatTemplate
from curate.rows.renderer import Renderer, load_tokenizer
from curate.stage import installed
from curate.store import Store
from evaluation.ask.neighbours import neighbours
from evaluation.ask.shots import Shots, asked
from evaluation.ask.systems import DECIDING, HERE, Answers, Asking, described, needs, pairs, systems_of
from evaluation.card import gate
from evaluation.card.format import CARD, SCHEMA_VERSION, Scorecard, timeless
from evaluation.card.manifest import AskedParent, EvaluationInputs, ScorecardManifest
from evaluation.card.predictions import predictions
from evaluation.card.report import write_report
from evaluation.card.scorecard import Masks, TestRows, judged, scorecard
from evaluation.card.side_by_side import Questions, question
from evaluation.card.slices import Names, slices_of
from evaluation.card.statistics import Rows
from evaluation.card.ungrounded import Grounds, grounds_of
from evaluation.judge import ljp_criminal
from evaluation.judge.accepted import accepted_of, names_meta
from evaluation.judge.answer import Answer
from evaluation.judge.structured import Judge
from evaluation.settings import EvaluationSettings, FullRecipe, Split, SystemSettings
from train.adapter import check_parents, parents
from train.base_model import BaseTokenizer, prepare
from train.examples import Row, read_split, select
from train.manifest import AdapterManifest, AdapterParent, BaseParent, DatasetParent, Loss

VERSION = 7
"""Of the method; a scorecard of another one is not taken for the same."""
COLUMNS = ("id", "label", "cluster", "tokens", "messages", "target")
"""Of a split, that systems are asked, shown and judged by."""


@dataclass(frozen=True)
class Asked:
    """Rows to ask in place of those of a version's own test split."""

    dataset: DatasetParent
    """The version that they are test rows of."""
    rows: Sequence[Row]
    """With COLUMNS and what the settings ask for of `meta`; messages as the recipe's task template makes them."""

    def parent(self) -> AskedParent:
        return AskedParent(
            dataset=self.dataset, rows_sha256=digest([[row["id"], row["messages"]] for row in self.rows])
        )


def evaluate(
    version: Path,
    adapter: Path | None,
    recipe: FullRecipe,
    store: Store,
    progress: Progress = silent,
    asked_rows: Asked | None = None,
    split: Split | None = None,
) -> Path:
    """Ask the recipe's systems the same rows of a split, or find the scorecard of the same inputs.

    Where rows of the train split are asked, baselines learn from, and shots are chosen from, the others that are no
    near-duplicates of them.

    Args:
        version: folder of a published data set version.
        adapter: folder of a published adapter, for the systems that need one; see `evaluation.promotion`.
        recipe: names the systems, the base model, the chat template, the contract and the evaluation settings.
        store: where the scorecard is published.
        progress: told in rows.
        asked_rows: are asked in place of those that the settings choose of the version's test split.
        split: is asked in place of the one that the settings name. Neither such a scorecard nor one of other rows is
            what the recipe's name means.

    Returns:
        The scorecard's folder: scorecard.json, predictions.parquet, report.html and manifest.json. Its version is that
        of inputs, answers and judgements. Times come from a clock, so they stand in scorecard.json and the report only
        and do not count.

    Raises:
        TakenBackError: the data set or the adapter was taken back meanwhile.
        AssayError: the adapter or the data set was made with another base model, tokenizer or chat template; there is
            no row to ask; or a system cannot be asked: what others have answered is kept for the next run.
    """
    aside = True if asked_rows is not None else None if split == recipe.evaluation.split else split
    settings = recipe.evaluation if split is None else recipe.evaluation.model_copy(update={"split": split})
    recipe = recipe.model_copy(update={"evaluation": settings})
    manifest = DatasetManifest.read(version)
    trained = None if adapter is None else AdapterManifest.read(adapter)
    contract = recipe.held_to()
    asking = systems_of(recipe, contract.target_schema is not None, trained, manifest.version)
    model = prepare(recipe.fit.model, store.cache, progress) if needs(asking, *HERE) else None
    base = model or BaseTokenizer.of(recipe.fit.model, store.cache)
    template = ChatTemplate.load(recipe.render.chat, base.folder)
    check_parents(f"Data set {version}", manifest.base.content(), base, template)
    if trained is not None:
        check_parents(f"Adapter {adapter}", trained.inputs.base.content(), base, template)
    made_by = BaseParent(model=base.name, **parents(base, template))
    inputs = _inputs(manifest, trained, made_by, contract.sha256, settings, asking, asked_rows)
    event = {"event": "scorecards", "name": recipe.name} | ({} if aside is None else {"asked": aside})
    found = store.made_from("scorecards", recipe.name, inputs)
    if found is not None:
        progress("evaluate (found in the store)", 1, 1, "scorecards")
        store.record(event | {"version": found.name, "found": True})
        return found

    rows = _rows(version, settings) if asked_rows is None else asked_rows.rows
    published = read_split(version, "train", COLUMNS)
    train = _to_learn_from(published, rows)
    renderer = Renderer(template, *load_tokenizer(base.folder), recipe.render.answers, recipe.render.reasoning)
    judge = None if contract.target_schema is None else Judge(contract.target_schema, settings.fields)
    weights = manifest.recipe.get("balance", {}).get("weights", {})
    systems = Asking(
        rows, train, weights, recipe, renderer, judge, contract.target_schema, model, adapter, store.cache, progress
    )
    answers = systems.answers(asking)
    grounds = None if judge is None else grounds_of(Grounding.of(contract), rows)
    scored = _score(rows, answers, pairs(asking), renderer, judge, settings, _slices(rows, train), grounds)
    whole = len(train) == len(published)
    taught = systems.neighbours["all"] if whole else Shots.of_any_length(published, settings.seed)
    its = [version] if adapter is None else [version, adapter]
    loss = trained.loss if trained else None
    folder = _publish(scored.beside(rows, taught), inputs, loss, recipe.name, its, store)
    gate = scored.card["gate"]
    store.record(event | {"version": folder.name, "found": False, "promoted": gate and gate["passed"]})
    return folder


def _inputs(
    manifest: DatasetManifest,
    trained: AdapterManifest | None,
    base: BaseParent,
    contract_sha256: str,
    settings: EvaluationSettings,
    asking: Mapping[str, SystemSettings],
    asked_rows: Asked | None,
) -> dict[str, Any]:
    """What a scorecard depends on, as its manifest says it."""
    inputs = EvaluationInputs(
        method=VERSION,
        dataset=DatasetParent.of(manifest),
        adapter=trained and AdapterParent(name=trained.name, version=trained.version),
        base=base,
        contract_sha256=contract_sha256,
        settings=settings.deciding(),
        systems={name: described(each) for name, each in asking.items()},
        libraries=installed(DECIDING),
    ).content()
    return inputs if asked_rows is None else inputs | {"asked": asked_rows.parent().content()}


@dataclass(frozen=True)
class Scored:
    """All systems' answers to the test rows, judged and counted."""

    card: Scorecard
    questions: Questions
    predictions: pa.Table
    systems: Mapping[str, Sequence[Answer]]

    def beside(self, rows: Sequence[Row], train: Shots) -> "Scored":
        """With the rows of the train split that are most like those that some system got wrong."""
        wrong = (place for place in range(len(rows)) if not all(each[place].exact for each in self.systems.values()))
        near = {place: neighbours(rows[place], train) for place in wrong}
        return replace(self, questions=replace(self.questions, near=near))


def _score(
    rows: Sequence[Row],
    answers: Mapping[str, Answers],
    compared: Sequence[tuple[str, str]],
    renderer: Renderer,
    judge: Judge | None,
    settings: EvaluationSettings,
    slices: Masks,
    grounds: Grounds | None,
) -> Scored:
    """Judge the answers; `compared` are the pairs of systems that are tested."""
    groups = [row["cluster"] or row["id"] for row in rows]
    together = Rows(groups, len(rows), settings.resamples, settings.seed)
    official: dict[str, Any] | None = None
    right_answers: list[Any] = []
    if judge is None:
        expected = [renderer.answer(row["messages"]) for row in rows]
        test_rows = TestRows(together, slices=slices)
        systems = {
            name: [
                Answer(each, None, renderer.said(each.text) == right)
                for each, right in zip(its.generated, expected, strict=True)
            ]
            for name, its in answers.items()
        }
    else:
        expected = [row["target"] for row in rows]
        right_answers = [json.loads(right) for right in expected]
        test_rows = TestRows.of(together, judge, right_answers, slices)
        accepted = accepted_of(rows, judge.fields, settings)
        systems = {
            name: judged(its.generated, right_answers, judge, accepted=accepted) for name, its in answers.items()
        }
        if settings.scorer == "ljp_criminal":
            official = {
                name: ljp_criminal.score([each.text for each in its.generated], expected)
                for name, its in answers.items()
            }
    info = {name: its.info for name, its in answers.items()}
    card = scorecard(systems, test_rows, compared, official, info=info, grounds=grounds, expected=right_answers)
    card["gate"] = gate.check(settings.gate if settings.split == "test" else [], card)
    ids = [row["id"] for row in rows]
    prompts = [renderer.decode(renderer.prompt_ids(row["messages"])) for row in rows]
    shots = {name: its.shots for name, its in answers.items()}
    return Scored(
        card,
        Questions(ids, [question(row["messages"]) for row in rows], expected, slices, test_rows.fields),
        predictions(ids, groups, prompts, expected, systems, test_rows, shots),
        systems,
    )


def _publish(
    scored: Scored,
    inputs: Mapping[str, Any],
    loss: Loss | None,
    name: str,
    its_parents: Sequence[Path],
    store: Store,
) -> Path:
    def describe(folder: Path, content: dict[str, Any]) -> None:
        published = ScorecardManifest.model_validate(content)
        (folder / CARD).write_text(json.dumps(scored.card, indent=2) + "\n", encoding="utf-8")
        write_report(folder, published, scored.card, loss, scored.questions, scored.systems)

    with store.publishing("scorecards", name, its_parents) as draft:
        pq.write_table(scored.predictions, draft.folder / "predictions.parquet")
        scores = timeless(scored.card)
        return draft.publish(
            {"name": name, "schema_version": SCHEMA_VERSION, "inputs": inputs, "scores": scores}, describe
        )


def columns_of(version: Path, split: str, settings: EvaluationSettings) -> list[str]:
    """What is read of the rows that are asked: COLUMNS, what they are sliced by and what answers are grounded in, where
    the version has it, and `meta` where the settings name a key of it."""
    known = pq.read_schema(version / f"{split}.parquet").names
    return [
        *COLUMNS,
        *(name for name in ("language", "source", "turns") if name in known),
        *(["meta"] if names_meta(settings) else []),
    ]


def _rows(version: Path, settings: EvaluationSettings) -> list[Row]:
    """The rows of the split to ask."""
    split = settings.split
    found = read_split(version, split, columns_of(version, split, settings))
    if not found:
        raise AssayError(
            f"{version}: the {split} split has no rows.", remedy=f"Give it some: split.{split} in the recipe."
        )
    rows = select(found, settings.rows, settings.max_tokens, settings.seed)
    if not rows:
        raise AssayError(
            f"{version}: no row of the {split} split has {settings.max_tokens} tokens or fewer.",
            remedy="Raise evaluation.max_tokens in the recipe.",
        )
    return rows


def _to_learn_from(train: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    """The rows of the train split that are neither asked nor near-duplicates of such."""
    ids, clusters = {row["id"] for row in rows}, {row["cluster"] for row in rows} - {None}
    return [row for row in train if row["id"] not in ids and row["cluster"] not in clusters]


def _slices(rows: Sequence[Row], train: Sequence[Row]) -> Masks:
    """The slices of the test rows, those by a column only where the version has it."""
    by_column: dict[str, Names] = {"label": [row["label"] for row in rows]}
    if "language" in rows[0]:
        by_column["language"] = [row["language"] for row in rows]
    if "source" in rows[0]:
        by_column["source"] = [(row["source"] or {}).get("file") for row in rows]
    return slices_of([asked(row) for row in rows], [asked(row) for row in train], by_column)
