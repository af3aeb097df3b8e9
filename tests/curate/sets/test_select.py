"""The choice is greedy facility location, within the bound of the optimum, and depends on the rows alone."""

import json
import math
import random
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.publish.check import check_version
from curate.sets import coverage as coverage_module
from curate.sets import select
from curate.sets.coverage import LENGTH, Embeddings, Vectors, _CoveredEmbeddings, cover, nearest_of
from curate.sets.select import Select, choose, judge, seats
from curate.text.words import shingle_sets
from tests.project import Project, make_rows

WORDS = "the box on shelf holds some small round balls that people painted for a game".split()  # noqa: SIM905
ONE = LENGTH**2


def texts_of(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 6))) for _ in range(count)]


def vectors_of(texts: list[str]) -> Vectors:
    return Vectors.of(np.arange(len(texts)), shingle_sets(pa.array(texts, pa.string()), 1))


def embeddings_of(count: int, seed: int) -> Embeddings:
    """Directions of the plane, fifteen degrees apart, and now and then none at all."""
    draw = np.random.default_rng(seed)
    turns = np.deg2rad(15 * draw.integers(0, 24, count))
    vectors = np.stack([np.cos(turns), np.sin(turns)], axis=1) * (draw.random((count, 1)) < 0.9)
    return Embeddings.of(np.arange(count), vectors.astype(np.float32))


def similarities(vectors: Vectors | Embeddings) -> Any:
    """Every pair's, by the definition; each row is like itself."""
    if isinstance(vectors, Embeddings):
        dense = vectors.vectors.astype(np.int64)
    else:
        offsets, words, weights = vectors.weights
        dense = np.zeros((vectors.rows, vectors.words), np.int64)
        for row in range(len(dense)):
            mine = slice(offsets[row], offsets[row + 1])
            dense[row, words[mine]] = weights[mine]
    products = np.clip(dense @ dense.T, 0, ONE)
    np.fill_diagonal(products, ONE)
    return products


def coverage(like: Any, chosen: list[int], sample: list[int]) -> int:
    """What `cover` says it maximises, in units of 1 / (m LENGTH**2)."""
    if not chosen:
        return 0
    rest = len(like) - len(sample)
    total = 0
    for row in sample:
        others = [like[row, each] for each in chosen if each != row]
        total += rest * max(others, default=0) + len(sample) * max([*others, *([ONE] if row in chosen else [])])
    return int(total)


@settings(max_examples=80)
@given(st.integers(2, 12), st.integers(0, 9), st.booleans(), st.data())
def test_equals_greedy_by_brute_force(rows: int, seed: int, embedded: bool, data: st.DataObject) -> None:
    vectors = embeddings_of(rows, seed) if embedded else vectors_of(texts_of(rows, seed))
    like = similarities(vectors)
    sample = sorted(data.draw(st.sets(st.integers(0, rows - 1), min_size=1)))
    candidates = data.draw(st.integers(1, rows))
    count = data.draw(st.integers(1, candidates))
    with (
        patch.object(_CoveredEmbeddings, "batch", data.draw(st.integers(1, 4))),
        patch.object(coverage_module, "BLOCK", data.draw(st.integers(1, 4))),
    ):
        chosen, gains = cover(vectors, np.array(sample), candidates, count)
        nearest, score = nearest_of(vectors, np.sort(chosen))
    told = [max((like[row, each], -each) for each in chosen.tolist()) for row in range(rows)]
    assert score.tolist() == [most for most, _ in told]
    assert nearest.tolist() == [
        row if row in chosen else -each if most else -1 for row, (most, each) in enumerate(told)
    ]
    expected: list[int] = []
    for gain in gains.tolist():
        now = coverage(like, expected, sample)
        added = [coverage(like, [*expected, row], sample) - now for row in range(candidates)]
        best = max(range(candidates), key=lambda row: (row not in expected, added[row], -row))
        assert added[best] == gain
        expected.append(best)
    assert chosen.tolist() == expected


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("part", [12, 7])
def test_covers_what_the_bound_promises_of_the_optimum(seed: int, part: int) -> None:
    vectors = vectors_of(texts_of(12, seed))
    like, sample = similarities(vectors), list(range(part))
    chosen, gains = cover(vectors, np.array(sample), 12, 4)
    best = max(coverage(like, list(each), sample) for each in combinations(range(12), 4))
    found = coverage(like, chosen.tolist(), sample)
    assert found == gains.sum()
    assert (1 - 1 / math.e) * best <= found <= best


def test_similarity_is_the_cosine_of_weighted_words() -> None:
    texts = ["red box", "red ball", "blue ball", "a thing else"]
    like = similarities(vectors_of(texts))
    red, single = math.log(1 + 4 / 2), math.log(1 + 4 / 1)
    assert like[0, 1] / ONE == pytest.approx(red**2 / (math.hypot(red, single) * math.hypot(red, red)), abs=0.002)
    assert like[0, 2] == 0
    nearest, score = nearest_of(vectors_of(texts), np.array([1, 3]))
    assert nearest.tolist() == [1, 1, 1, 3]
    assert score.tolist() == [like[0, 1], ONE, like[2, 1], ONE]
    assert nearest_of(vectors_of(["x y", "a b", "a b"]), np.array([1]))[0].tolist() == [-1, 1, 1]


def test_words_of_most_rows_tell_nothing() -> None:
    vectors = vectors_of([f"please word{row // 2}" for row in range(200)])
    like = similarities(vectors)
    assert like[0, 1] == pytest.approx(ONE, rel=0.01)
    assert like[0, 2] == 0


def table_of(texts: list[str], labels: list[str | None], quality: list[float] | None = None) -> pa.Table:
    columns = {
        "id": pa.array([f"{row:032x}" for row in range(len(texts))]),
        "label": pa.array(labels, pa.string()),
        "source": pa.array([{"file": "f", "row": row} for row in range(len(texts))]),
        "text": pa.array(texts),
    }
    if quality is not None:
        columns["quality"] = pa.array(quality, pa.float32())
    return pa.table(columns)


def judged(table: pa.Table, **options: Any) -> pa.Table:
    return judge(table, shingle_sets(table["text"].combine_chunks(), 1), Select.model_validate(options))


def chosen_ids(table: pa.Table, verdict: pa.Table) -> list[str]:
    pairs = zip(table["id"].to_pylist(), verdict["reason"].to_pylist(), strict=True)
    return sorted(id_ for id_, reason in pairs if reason is None)


@settings(max_examples=30)
@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 5), st.booleans())
def test_depends_on_the_rows_and_not_on_their_order(rows: int, count: int, seed: int, told: bool) -> None:
    draw = random.Random(seed)
    labels: list[str | None] = [draw.choice(["a", "b", None]) for _ in range(rows)]
    quality = [round(draw.random(), 2) for _ in range(rows)] if told else None
    table = table_of(texts_of(rows, seed), labels, quality)
    verdict = judged(table, rows=count)
    order = draw.sample(range(rows), rows)
    again = judged(table.take(order), rows=count)
    assert again.to_pylist() == verdict.take(order).to_pylist()
    assert len(chosen_ids(table, verdict)) == min(count, rows)
    for row, evidence in enumerate(verdict["evidence"].to_pylist()):
        if evidence is not None and "kept" in json.loads(evidence):
            stands = int(json.loads(evidence)["kept"], 16)
            assert verdict["reason"][stands].as_py() is None
            assert labels[stands] == labels[row]
            assert json.loads(evidence)["row"] == stands


def test_quality_comes_first() -> None:
    """Of twenty rows alike two are wanted: they are of the better half, and with `best` small the very best."""
    quality = [row / 20 for row in range(20)]
    table = table_of([f"word{row} same" for row in range(20)], [None] * 20, quality)
    assert min(int(id_, 16) for id_ in chosen_ids(table, judged(table, rows=2))) >= 10
    assert chosen_ids(table, judged(table, rows=2, best=0.1)) == [f"{18:032x}", f"{19:032x}"]
    evidence = json.loads(judged(table, rows=2)["evidence"][3].as_py())
    assert evidence["quality"] == 0.15


def test_two_topics_are_both_chosen_before_a_second_of_one() -> None:
    texts = ["apple pear plum"] * 30 + ["engine wheel brake", "engine wheel clutch"]
    table = table_of(texts, [None] * 32)
    chosen = [int(id_, 16) for id_ in chosen_ids(table, judged(table, rows=2))]
    assert [row >= 30 for row in chosen] == [False, True]


SIZES = st.dictionaries(st.none() | st.sampled_from("abcdefgh"), st.integers(1, 40), min_size=1)


@given(SIZES, st.integers(1, 200), st.sampled_from(["proportional", "equal"]))
def test_seats(sizes: dict[str | None, int], count: int, labels: Any) -> None:
    given_ = seats(sizes, count, labels)
    total = sum(sizes.values())
    assert sum(given_.values()) == min(count, total)
    assert all(0 <= given_[name] <= sizes[name] for name in sizes)
    if count >= len(sizes):
        assert min(given_.values()) >= 1
    if labels == "equal":
        short = [name for name in sizes if given_[name] < sizes[name]]
        assert max((given_[name] for name in short), default=0) - min((given_[name] for name in short), default=0) <= 1
    else:
        exact = {name: min(count, total) * size / total for name, size in sizes.items()}
        if min(exact.values()) >= 1:
            assert all(abs(given_[name] - exact[name]) < 1 for name in sizes)


def test_seats_by_hand() -> None:
    assert seats({"a": 60, "b": 30, "c": 10}, 10, "proportional") == {"a": 6, "b": 3, "c": 1}
    assert seats({"a": 98, "b": 1, "c": 1}, 10, "proportional") == {"a": 8, "b": 1, "c": 1}
    assert seats({"a": 60, "b": 30, "c": 2}, 20, "equal") == {"a": 9, "b": 9, "c": 2}
    assert seats({"a": 5, "b": 5, "c": 9}, 2, "proportional") == {"a": 1, "b": 0, "c": 1}
    assert seats({"a": 5, "b": 5, None: 5}, 1, "proportional") == {"a": 0, "b": 0, None: 1}


def test_a_sample_stands_for_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{topic} {topic}{row % 5} talk" for row in range(60) for topic in ("apple", "engine", "river")]
    table = table_of(texts, [None] * len(texts))
    words = shingle_sets(table["text"].combine_chunks(), 1)
    monkeypatch.setattr(select, "SAMPLE", 24)
    choice = choose(table, np.ones(len(texts), np.float32), words, Select(rows=15))
    assert np.count_nonzero(choice.chosen) == 15
    assert {texts[row].split()[0] for row in np.flatnonzero(choice.chosen)} == {"apple", "engine", "river"}
    assert choice.similarity.mean() > 0.8


def test_the_recipe_may_give_the_number_alone() -> None:
    assert Select.model_validate(1000) == Select(rows=1000)
    assert Select.model_validate(None) == Select()
    for wrong in (True, 0, "many"):
        with pytest.raises(ValidationError):
            Select.model_validate(wrong)


def test_the_stages_in_a_run(tmp_path: Path) -> None:
    project = Project(tmp_path, select=40, balance={"cap": {"red": 20}, "weights": {"blue": 2.0}})
    project.add("a.jsonl", make_rows(120))
    project.add("b.jsonl", make_rows(120, 1))
    first, again = project.curate("one"), project.curate("two", shard_bytes=4000)
    assert first.folder.name == again.folder.name
    assert first.manifest.counts.kept == 40
    told = {stage.name: stage for stage in first.manifest.stages}
    assert [name for name in told if name in ("duplicates", "balance", "select", "split")] == [
        "duplicates",
        "balance",
        "select",
        "split",
    ]
    assert told["balance"].distributions["label"].values["red"] == 20
    assert told["balance"].reasons == {"over_cap": told["balance"].rejected}
    assert told["select"].reasons == {"not_selected": told["select"].rejected}
    assert first.manifest.recipe["balance"]["weights"] == {"blue": 2.0}
    quarantine = pq.read_table(first.folder / "quarantine.parquet").to_pylist()
    over = [json.loads(row["evidence"]) for row in quarantine if row["reason"] == "over_cap"]
    assert sorted(seen["rank"] for seen in over) == list(range(21, 21 + len(over)))
    assert [check.name for check in check_version(first.folder) if check.failures] == []
