"""Evaluation: systems are asked the same rows of the test split, their answers judged, the scorecard published."""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from curate.contract import Contract
from curate.errors import AssayError
from curate.hashing import canonical_json, digest
from curate.progress import Progress, silent
from curate.recipe import Recipe
from curate.render import ChatTemplate, Renderer, load_tokenizer
from curate.stage import cache_folder, keyed_folder
from curate.store import Store, read_manifest
from evaluation import gate, ljp_criminal
from evaluation.generate import Generated, generate
from evaluation.predictions import predictions
from evaluation.report import Questions, question, write_report
from evaluation.scorecard import (
    BASE,
    MAJORITY,
    SCHEMA_VERSION,
    TUNED,
    Answer,
    Asked,
    Masks,
    judged,
    majority,
    scorecard,
)
from evaluation.slices import Names, slices_of
from evaluation.statistics import Rows
from evaluation.structured import Judge
from train.adapter import check_parents, load, parents
from train.base_model import BaseModel, load_model, prepare
from train.examples import Row, read_split, select

VERSION = 2
"""Of the method; a scorecard of another one is not taken for the same."""
GENERATION = 1
"""Of the way answers are generated; those of another one are asked for again."""


def evaluate(version: Path, adapter: Path | None, recipe: Recipe, store: Store, progress: Progress = silent) -> Path:
    """Score an adapter against its base model and the majority class, or find the scorecard of the same inputs.

    Args:
        version: folder of a published data set version.
        adapter: folder of a published adapter; None scores the base model alone.
        recipe: names the base model, the chat template, the contract and the evaluation settings.
        store: where the scorecard is published.
        progress: told in rows.

    Returns:
        The scorecard's folder: scorecard.json, predictions.parquet, report.html and manifest.json. Its version is that
        of inputs, answers and judgements. Latencies come from a clock, so they stand in scorecard.json and the report
        only and do not count.

    Raises:
        AssayError: the adapter or the data set was made with another base model, tokenizer or chat template.
    """
    settings = recipe.evaluation
    manifest = read_manifest(version)
    trained = None if adapter is None else read_manifest(adapter)
    base = prepare(recipe.fit.model, store.cache, progress)
    template = ChatTemplate(recipe.render.chat)
    check_parents(f"Data set {version}", manifest["base"], base, template)
    if trained is not None:
        check_parents(f"Adapter {adapter}", trained["inputs"]["base"], base, template)
    contract = Contract.load(recipe.contract)
    inputs = {
        "method": VERSION,
        "dataset": {"name": manifest["name"], "version": manifest["version"], "manifest_sha256": digest(manifest)},
        "adapter": trained and {"name": trained["name"], "version": trained["version"]},
        "base": {"model": base.name} | parents(base, template),
        "quantization": trained["inputs"]["settings"]["quantization"] if trained else recipe.training.quantization,
        "contract_sha256": contract.sha256,
        "settings": settings.model_dump(mode="json"),
    }
    event = {"event": "scorecards", "name": recipe.name}
    found = store.made_from("scorecards", recipe.name, inputs)
    if found is not None:
        progress("evaluate (found in the store)", 1, 1, "scorecards")
        store.record(event | {"version": found.name, "found": True})
        return found

    columns = ["id", "label", "cluster", "tokens", "messages", "target"]
    told = [name for name in ("language", "source") if name in pq.read_schema(version / "test.parquet").names]
    columns += told
    rows = select(read_split(version, "test", columns, store.cache), settings.rows, settings.max_tokens, settings.seed)
    if not rows:
        raise AssayError(
            f"{version}: no row of the test split has {settings.max_tokens} tokens or fewer.",
            remedy="Raise evaluation.max_tokens in the recipe.",
        )
    renderer = Renderer(template, *load_tokenizer(base.folder), recipe.render.answers)
    given = _ask(rows, renderer, base, adapter, inputs, store.cache, progress)
    groups = [row["cluster"] or row["id"] for row in rows]
    together = Rows(groups, len(rows), settings.resamples, settings.seed)
    train = read_split(version, "train", ["messages", "target"], store.cache)
    slices = _slices(rows, train, told)
    official: dict[str, Any] | None = None
    if contract.target_schema is None:
        expected = [renderer.answer(row["messages"]) for row in rows]
        asked = Asked(together, slices=slices)
        systems = {
            name: [Answer(each, None, each.text == right) for each, right in zip(answers, expected, strict=True)]
            for name, answers in given.items()
        }
    else:
        judge = Judge(contract.target_schema, settings.fields)
        expected = [row["target"] for row in rows]
        right_answers = [json.loads(right) for right in expected]
        asked = Asked.of(together, judge, right_answers, slices)
        guess = majority((json.loads(row["target"]) for row in train), judge.fields)
        guessed = Generated(json.dumps(guess, ensure_ascii=False))
        systems = {
            name: judged(answers, right_answers, judge)
            for name, answers in ({MAJORITY: [guessed] * len(rows)} | given).items()
        }
        if settings.scorer == "ljp_criminal":
            official = {
                name: ljp_criminal.score([answer.generated.text for answer in answers], expected)
                for name, answers in systems.items()
            }
    card = scorecard(systems, asked, official=official)
    card["gate"] = gate.check(settings.gate, card)

    def describe(folder: Path, published: dict[str, Any]) -> None:
        (folder / "scorecard.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        loss = trained["loss"] if trained else None
        questions = Questions(
            [row["id"] for row in rows], [question(row["messages"]) for row in rows], expected, asked.slices
        )
        write_report(folder, published, card, loss, questions, systems)

    with store.publishing("scorecards", recipe.name) as draft:
        prompts = [renderer.decode(renderer.prompt_ids(row["messages"])) for row in rows]
        ids = [row["id"] for row in rows]
        pq.write_table(
            predictions(ids, groups, prompts, expected, systems, asked), draft.folder / "predictions.parquet"
        )
        folder = draft.publish(
            {"name": recipe.name, "schema_version": SCHEMA_VERSION, "inputs": inputs, "scores": _timeless(card)},
            describe,
        )
    store.record(event | {"version": folder.name, "found": False, "promoted": card["gate"] and card["gate"]["passed"]})
    return folder


def _slices(rows: Sequence[Row], train: Sequence[Row], told: Sequence[str]) -> Masks:
    """The slices of the test rows, those by a column only where the version has it."""
    by_column: dict[str, Names] = {"label": [row["label"] for row in rows]}
    if "language" in told:
        by_column["language"] = [row["language"] for row in rows]
    if "source" in told:
        by_column["source"] = [(row["source"] or {}).get("file") for row in rows]
    return slices_of([_asked(row) for row in rows], [_asked(row) for row in train], by_column)


def _asked(row: Row) -> str:
    """All that is said before the answer."""
    return "\n\n".join(turn["content"] for turn in row["messages"][:-1])


def _ask(
    rows: Sequence[Row],
    renderer: Renderer,
    base: BaseModel,
    adapter: Path | None,
    inputs: Mapping[str, Any],
    cache: Path,
    progress: Progress,
) -> dict[str, list[Generated]]:
    """Answers to the rows by system, each from the cache if the same was asked before."""
    prompts = [renderer.prompt_ids(row["messages"]) for row in rows]
    settings = {name: inputs["settings"][name] for name in ("max_new_tokens", "batch_size")}
    model: Any = None
    answers = {}
    for system in (BASE, TUNED)[: 1 if adapter is None else 2]:
        parent = inputs["adapter"] if system == TUNED else None
        key = digest([GENERATION, inputs["base"], inputs["quantization"], parent, settings, prompts])
        file = keyed_folder(cache / "answers", key) / "answers.json"
        if not file.is_file():
            if model is None:
                model = (
                    load(adapter, base, renderer.template)
                    if adapter
                    else load_model(base, inputs["quantization"]).eval()
                )
            with model.disable_adapter() if adapter and parent is None else nullcontext():
                given = generate(model, renderer, prompts, **settings, progress=progress, what=f"ask {system}")
            cache_folder(file.parent, partial(_write_answers, given))
        answers[system] = [Generated(**each) for each in json.loads(file.read_bytes())]
    return answers


def _write_answers(answers: Sequence[Generated], folder: Path) -> None:
    (folder / "answers.json").write_bytes(canonical_json([asdict(each) for each in answers]))


def _timeless(card: Mapping[str, Any]) -> dict[str, Any]:
    """The scorecard without what a clock gave."""
    systems = {
        name: {key: value for key, value in system.items() if key != "latency_seconds"}
        for name, system in card["systems"].items()
    }
    return {**card, "systems": systems}
