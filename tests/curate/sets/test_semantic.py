"""Semantic near-duplicates against brute force over all pairs, and embeddings of a model made on the spot."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model2vec import StaticModel
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from curate.errors import AssayError
from curate.manifest import DatasetManifest
from curate.publish.check import check_version
from curate.record import SPLITS
from curate.sets import semantic
from curate.sets.components import Components
from curate.sets.semantic import Removal, Semantic, Vectors, compare, embed, model_digest
from tests.project import Project


def brute_force(vectors: Vectors, answers: list[Any], threshold: float) -> tuple[list[Removal], list[tuple[int, int]]]:
    """Rows one by one: the removals, and every pair at the threshold."""
    cosines = np.round(vectors.astype(np.float64) @ vectors.astype(np.float64).T, 6)
    removed: dict[int, Removal] = {}
    pairs = []
    for row in range(len(vectors)):
        for other in np.flatnonzero(cosines[row, :row] >= threshold).tolist():
            pairs.append((other, row))
            if row not in removed and other not in removed and answers[row] == answers[other]:
                removed[row] = Removal(row, other, float(cosines[row, other]))
    return list(removed.values()), pairs


def components(size: int, links: list[tuple[int, int]]) -> list[int]:
    joined = Components(size)
    for first, second in links:
        joined.union(first, second)
    roots: list[int] = joined.roots().tolist()
    return roots


def same_as_brute_force(vectors: Vectors, answers: list[Any], threshold: float) -> list[Removal]:
    removals, links = compare(vectors, np.array(answers), threshold)
    expected, pairs = brute_force(vectors, answers, threshold)
    assert removals == expected
    assert set(links) <= set(pairs)
    assert components(len(vectors), links) == components(len(vectors), pairs)
    assert len(links) == len(vectors) - len(set(components(len(vectors), pairs)))
    return removals


TRAIN = {"train": 1.0, "validation": 0, "test": 0}


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ROWS": 4, "OTHERS": 6, "PAIRS": 3}.items():
        monkeypatch.setattr(semantic, name, value)


ANGLES = st.lists(st.integers(0, 71), min_size=1, max_size=40)


@pytest.mark.usefixtures("small_blocks")
@given(ANGLES, st.integers(1, 6), st.integers(1, 3), st.randoms(use_true_random=False))
def test_the_same_as_brute_force_where_many_pairs_lie_on_the_threshold(
    angles: list[int], steps: int, answers: int, draw: Any
) -> None:
    """Directions of the plane, five degrees apart, and a threshold that is the cosine of some of their angles."""
    turns = np.deg2rad(5.0 * np.array(angles))
    vectors = np.stack([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32)
    threshold = float(np.round(np.cos(np.deg2rad(5.0 * steps)), 6))
    drawn = [draw.randrange(answers) for _ in angles]
    same_as_brute_force(vectors, drawn, threshold)


@pytest.mark.parametrize("threshold", [0.8, 0.95, 1.0])
def test_the_same_as_brute_force_over_more_rows_than_a_block(threshold: float) -> None:
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(300, 24))
    vectors = centres[draw.integers(0, 300, 1300)] + draw.choice([0, 0.1, 0.25], (1300, 1)) * draw.normal(
        size=(1300, 24)
    )
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    removals = same_as_brute_force(vectors, draw.choice(["a", "b"], 1300).tolist(), threshold)
    assert len(removals) > 50


def test_a_chain_is_removed_by_the_rule_and_is_one_cluster() -> None:
    turns = np.deg2rad([0, 10, 20, 30, 40])
    vectors = np.stack([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32)
    removals, links = compare(vectors, np.zeros(5), 0.98)
    assert removals == [Removal(1, 0, 0.984808), Removal(3, 2, 0.984808)]
    assert components(5, links) == [0] * 5


def test_many_equal_rows_cost_one_link_each_and_zero_vectors_are_like_nothing() -> None:
    vectors = np.zeros((3000, 8), np.float32)
    vectors[:2990, 3] = 1
    removals, links = compare(vectors, np.arange(3000) // 1500, 1.0)
    assert removals == [Removal(row, 0 if row < 1500 else 1500, 1.0) for row in range(1, 2990) if row != 1500]
    assert len(links) == 2989


def test_no_rows(small_blocks: None) -> None:
    assert compare(np.empty((0, 4), np.float32), np.empty(0), 0.9) == ([], [])


VOCABULARY = {"[UNK]": [0, 0, 0], "cat": [1, 0, 0], "feline": [2, 0.1, 0], "dog": [0, 1, 0], "sits": [0, 0, 1]}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model2vec folder that knows four words."""
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path / "model"
    StaticModel(np.array(list(VOCABULARY.values()), np.float32), tokenizer).save_pretrained(folder)
    return folder


def test_texts_are_embedded_as_unit_vectors(model: Path) -> None:
    vectors = embed(["cat sits", "Sits, CAT!", "dog", "what is this", ""], model)
    assert vectors.dtype == np.float32
    half = 0.5**0.5
    expected = [[half, 0, half], [half, 0, half], [0, 1, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(vectors, expected, atol=1e-7)


def test_static_embeddings_of_sentence_transformers_are_read_too(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "static"
    (folder / "0_StaticEmbedding").mkdir(parents=True)
    (folder / "config_sentence_transformers.json").write_text("{}")
    weights = np.array(list(VOCABULARY.values()), np.float32)
    save_file({"embedding.weight": weights}, folder / "0_StaticEmbedding/model.safetensors")
    (model / "tokenizer.json").rename(folder / "0_StaticEmbedding/tokenizer.json")
    np.testing.assert_allclose(embed(["dog"], folder), [[0, 1, 0]])


def test_a_text_is_read_to_its_end(model: Path) -> None:
    (vector,) = embed(["cat " * 2000 + "dog " * 2000], model)
    np.testing.assert_allclose(vector, [0.5**0.5, 0.5**0.5, 0], atol=1e-6)


def test_no_texts(model: Path) -> None:
    assert embed([], model).shape == (0, 3)


def test_the_same_in_other_words_is_a_duplicate(model: Path) -> None:
    texts = ["The cat", "A feline", "One dog", "cat sits"]
    removals, links = compare(embed(texts, model), np.zeros(4), Semantic().threshold)
    assert removals == [Removal(1, 0, 0.998752)]
    assert links == [(0, 1)]


def test_a_model_that_is_not_there_is_an_error_and_is_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="no such folder"):
        model_digest(tmp_path / "potion-base-8M")
    with pytest.raises(AssayError, match="not a model that model2vec opens"):
        embed(["x"], tmp_path)


def test_a_broken_model_is_an_error(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(AssayError, match="not a model that model2vec opens"):
        embed(["x"], model)


def test_a_tokenizer_that_gives_up_is_an_error(model: Path) -> None:
    path = model / "tokenizer.json"
    saved = json.loads(path.read_text())
    saved["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"Regex": "x+x+x+x+x+x+x+x+x+x+y"},
        "behavior": "Isolated",
        "invert": False,
    }
    path.write_text(json.dumps(saved))
    with pytest.raises(AssayError, match=r"model's tokenizer fails on a text: .*retry-limit"):
        embed(["x" * 200], model)


def test_a_model_is_known_by_its_content(model: Path, tmp_path: Path) -> None:
    before = model_digest(model)
    moved = model.rename(tmp_path / "moved")
    assert model_digest(moved) == before
    (moved / "config.json").write_text("{}")
    assert model_digest(moved) != before


def test_the_stage_in_a_run(model: Path, tmp_path: Path) -> None:
    project = Project(tmp_path / "project", semantic={"model": str(model)}, split=TRAIN)
    texts = ["the cat", "a feline", "one dog"]
    project.add("a.jsonl", [{"text": text, "colour": "red", "count": 1} for text in texts])
    project.add("b.jsonl", [{"text": "feline", "colour": "blue", "count": 1}])  # another answer is an example
    folder = project.curate().folder
    quarantine = pq.read_table(folder / "quarantine.parquet").to_pylist()
    assert [(row["stage"], row["reason"]) for row in quarantine] == [("semantic", "semantic_duplicate")]
    seen = json.loads(quarantine[0]["evidence"])
    assert seen["cosine"] == 0.998752
    published = [row for name in SPLITS for row in pq.read_table(folder / f"{name}.parquet").to_pylist()]
    cluster_of = {row["turns"][0]["content"]: row["cluster"] for row in published}
    kept = {row["id"]: row["turns"][0]["content"] for row in published}[seen["kept"]]
    assert {kept, quarantine[0]["turns"][0]["content"]} == {"the cat", "a feline"}
    assert cluster_of[kept] == seen["cluster"] == cluster_of["feline"] != cluster_of["one dog"]
    assert str(tmp_path) not in (folder / "manifest.json").read_text()
    assert [check.name for check in check_version(folder) if check.failures] == []


def test_rows_chosen_by_embeddings(model: Path, tmp_path: Path) -> None:
    """Of four rows two are wanted: by their words none is like another, by their embeddings three say the same."""
    project = Project(tmp_path / "project", select={"rows": 2, "model": str(model)}, quality={}, split=TRAIN)
    project.add(
        "a.jsonl", [{"text": text, "colour": "red", "count": 1} for text in ("cat", "feline", "the cat", "dog")]
    )
    folder = project.curate().folder
    quarantine = pq.read_table(folder / "quarantine.parquet").to_pylist()
    assert [(row["stage"], row["reason"]) for row in quarantine] == [("select", "not_selected")] * 2
    chosen = [row["turns"][0]["content"] for n in SPLITS for row in pq.read_table(folder / f"{n}.parquet").to_pylist()]
    assert "dog" in chosen
    assert all(json.loads(row["evidence"])["similarity"] > 0.99 for row in quarantine)
    assert str(tmp_path) not in (folder / "manifest.json").read_text()
    manifest = DatasetManifest.read(folder)
    assert manifest.embedding_sha256 == {"select": model_digest(model)}
    assert manifest.recipe["select"]["model"] == "model"
    assert [check.name for check in check_version(folder) if check.failures] == []
