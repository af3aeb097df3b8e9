"""Reasoning, base models and splits: each case as it should come out."""

from pathlib import Path

import pytest

from assay.results import Adapter, Made
from curate.engine import map_in_process
from curate.errors import AssayError
from curate.pipeline import curate
from curate.rows.chat_template import ChatTemplate, SpecialTokens
from curate.rows.render import render
from curate.rows.renderer import Renderer
from curate.rows.task_template import TaskTemplate
from curate.store import Store
from evaluation.evaluate import evaluate
from evaluation.settings import FullRecipe
from tests.curate.read.made import read
from tests.project import byte_tokenizer
from tests.records import table_of
from train.base_model import prepare, prepare_tokenizer
from train.manifest import AdapterManifest
from train.qlora import train
from train.settings import TrainingSettings


@pytest.fixture
def cases(shared_data: Path) -> Path:
    return shared_data.parent / "cases"


def test_03_reasoning_is_trained_before_its_answer_and_counted(cases: Path) -> None:
    records, problems = read(cases / "03-reasoning-content/03-reasoning-content/input", "sums.jsonl")
    assert (len(records), problems) == (16, [])
    renderer = Renderer(ChatTemplate("chatml"), byte_tokenizer(), SpecialTokens("", ""))
    outcome = render(table_of(records), TaskTemplate("conversation", None, thoughts=renderer.thoughts), renderer)
    assert outcome.counters == {"reasoning": 16}
    assert (
        outcome.kept["text"][0]
        .as_py()
        .endswith("<|im_start|>assistant\n<think>\n2 rounds times 30 km gives 60.\n</think>\n\n60 km<|im_end|>\n")
    )


def test_15_a_tokenizer_larger_than_the_model_is_found_before_work_begins(cases: Path, tmp_path: Path) -> None:
    model = str(cases / "15-tokenizer-larger-than-model/model")
    for find in (prepare, prepare_tokenizer):
        with pytest.raises(AssayError, match=r"ids for 317 tokens, its embeddings .* have 314 rows"):
            find(model, tmp_path)


def test_17_without_validation_rows_the_loss_is_not_known(cases: Path, tmp_path: Path) -> None:
    recipe = FullRecipe.load(cases / "17-no-validation-rows/23-train-three/r2.yaml")
    store = Store(tmp_path)
    tokenizer = prepare_tokenizer(recipe.fit.model, store.cache)
    version = curate(recipe, store, tokenizer_folder=tokenizer, map_shards=map_in_process).folder
    adapter = train(version, recipe, store)
    manifest = AdapterManifest.read(adapter)
    assert (manifest.rows.train, manifest.rows.validation, manifest.loss.validation) == (3, 0, [])
    assert "validation loss not known" in repr(Adapter(adapter, Made(store)))
    for key, value in (("early_stopping_patience", 1), ("keep_best", "loss")):
        choosing = recipe.model_copy(update={"training": TrainingSettings(**{key: value})})
        with pytest.raises(AssayError, match=rf"^training\.{key}: no row of the validation split is left"):
            train(version, choosing, store)
    with pytest.raises(AssayError, match="the test split has no rows"):
        evaluate(version, adapter, recipe, store)
