"""The recipes on the real data they were written for."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.engine import map_in_process
from curate.pipeline import curate
from curate.publish.version import Curated
from curate.record import SPLITS
from curate.store import Store
from evaluation.settings import FullRecipe
from train.base_model import prepare_tokenizer

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("recipes"))


def run(name: str, store: Store, drop: Path | None = None, variant: str | None = None) -> Curated:
    recipe = FullRecipe.load(RECIPES / f"{name}.yaml", variant, drop)
    tokenizer = prepare_tokenizer(recipe.fit.model, store.cache)
    curated = curate(recipe, store, tokenizer_folder=tokenizer, map_shards=map_in_process)
    counts = curated.manifest.counts
    assert counts.rows_in == counts.kept + counts.quarantined
    return curated


def rows_of(curated: Curated, *splits: str) -> list[dict[str, Any]]:
    tables = [pq.read_table(curated.folder / f"{name}.parquet") for name in splits or SPLITS]
    rows: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist()
    return [row | {"meta": {entry["key"]: entry["value"] for entry in row["meta"]}} for row in rows]


def test_contracts(shared_data: Path, store: Store) -> None:
    curated = run("contracts", store, shared_data / "legal_cuad")
    assert curated.manifest.counts.rows_in == 510
    assert not curated.manifest.stages[0].reasons.get("unmappable")
    rows = {row["meta"]["file"]: row for row in rows_of(curated)}
    assert len(rows) > 400
    name = "2ThemartComInc_19990826_10-12G_EX-10.10_6700288_EX-10.10_Co-Branding Agreement_ Agency Agreement.pdf"
    assert json.loads(rows[name]["target"]) == {
        "document_name": "CO-BRANDING AND ADVERTISING AGREEMENT",
        "parties": ["I-ESCROW, INC.", "2THEMART.COM, INC."],
        "agreement_date": "1999-06-21",
        "effective_date": "1999-06-21",
        "governing_law": "California",
    }
    # A file name whose accent is composed in the one list and decomposed in the other.
    assert any(name.startswith("LECLANCH") for name in rows)
    for row in rows.values():
        law = json.loads(row["target"])["governing_law"]
        assert law is None or law.lower() in row["turns"][0]["content"].lower()


@pytest.mark.parametrize(("variant", "opening"), [(None, "### Human: "), ("llama2", "<|im_start|>[INST] ")])
def test_guanaco(shared_data: Path, store: Store, variant: str | None, opening: str) -> None:
    curated = run("guanaco", store, shared_data / "ins_guanaco_oa", variant)
    assert curated.manifest.counts.rows_in == 953
    rows = rows_of(curated)
    assert all(row["text"].startswith(opening) for row in rows)
    assert {len(row["turns"]) for row in rows} == {2, 4, 6}
    # Rows are successive turns of the same conversations; none is in two splits.
    where: dict[str, set[str]] = {}
    for name in SPLITS:
        for row in rows_of(curated, name):
            where.setdefault(row["turns"][0]["content"], set()).add(name)
    assert all(len(names) == 1 for names in where.values())


@pytest.mark.slow
def test_instructions(shared_data: Path, store: Store) -> None:
    curated = run("instructions", store, shared_data / "ins_gpteacher")
    assert curated.manifest.counts.rows_in == 14_131
    rows = rows_of(curated)
    assert {row["label"] for row in rows} == {"Codegen", "Roleplay", "Toolformer"}
    assert all([turn["role"] for turn in row["turns"]] == ["user", "assistant"] for row in rows)
    text = next(row["text"] for row in rows if "calculates the area of a rectangle, given its width" in row["text"])
    assert text.startswith("<|im_start|>user\nWrite a C++ program that calculates the area of a rectangle")
    assert "\n\nwidth: 5, height: 8<|im_end|>\n<|im_start|>assistant\n#include <iostream>" in text


@pytest.mark.slow
def test_licences(licence_data: Path, store: Store) -> None:
    curated = run("licences", store)
    counts = curated.manifest.counts
    assert counts.rows_in == 34_873
    assert counts.kept > 20_000
    reasons = curated.manifest.stages[0].reasons
    assert reasons == {"label_underivable": 3_661}
    rows = rows_of(curated)
    strength = {"Copyleft": "strong", "Copyleft Limited": "weak"}
    for row in rows:
        target = json.loads(row["target"])
        assert list(target) == ["license", "category", "kind", "copyleft"]
        assert target["copyleft"] == strength.get(target["category"], "none")
        assert row["label"] == target["category"]
        assert target["license"] == (None if " " in row["meta"]["expression"] else row["meta"]["expression"])
    sizes = Counter(name for name in SPLITS for _ in rows_of(curated, name))
    assert sizes["train"] / counts.kept == pytest.approx(0.8, abs=0.01)
    assert sizes["test"] / counts.kept == pytest.approx(0.1, abs=0.01)
    # One-word notices live on: peers lose or merge rows that are shorter than a shingle.
    assert sum(len(row["turns"][0]["content"].split()) == 1 for row in rows) > 1_000
    quarantine = pq.read_table(curated.folder / "quarantine.parquet")
    assert all(quarantine["evidence"].is_valid().to_pylist())
    assert quarantine["raw"].drop_null().to_pylist()[0].startswith("{")
