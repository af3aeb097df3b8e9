"""Slices of the test rows, and how near the train split is."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.text.words import shingle_sets
from evaluation.card.slices import nearest, slices_of

WORDS = st.lists(st.sampled_from("a b c d e".split()), max_size=12).map(" ".join)  # noqa: SIM905
TEXTS = st.lists(WORDS, min_size=1, max_size=8)


@settings(max_examples=60)
@given(TEXTS, TEXTS)
def test_nearest_is_brute_force(texts: list[str], others: list[str]) -> None:
    offsets, values = shingle_sets(pa.array(texts + others), 5)
    sets = [set(values[offsets[row] : offsets[row + 1]].tolist()) for row in range(len(texts) + len(others))]
    mine, theirs = sets[: len(texts)], sets[len(texts) :]
    best = [max(len(one & other) / len(one | other) for other in theirs) for one in mine]
    assert np.allclose(nearest(texts, others), best)


def test_nearest_of_the_same_text_is_one() -> None:
    assert nearest(["one two three four five six", "\ud800 lone"], ["one two three four five six"]).tolist() == [
        1.0,
        0.0,
    ]


def test_slices() -> None:
    prompts = ["x" * 50] * 6 + ["x" * 150] * 7
    languages = ["ko"] * 5 + ["de"] * 7 + [None]
    found = slices_of(
        prompts, ["y y y y y y"], {"language": languages, "label": ["same"] * 13, "source": list("abcdefghijklm")}
    )
    assert {kind: {name: int(mask.sum()) for name, mask in masks.items()} for kind, masks in found.items()} == {
        "language": {"de": 7, "ko": 5},
        "length": {"below 100": 6, "from 100": 7},
        "similarity to train": {"below 0.2": 13},
    }


def test_buckets_are_in_order() -> None:
    prompts = [size * "x" for size in (50, 200, 500, 2_000, 20_000) for _ in range(5)]
    assert list(slices_of(prompts, None, {})["length"]) == [
        "below 100",
        "from 100",
        "from 300",
        "from 1,000",
        "from 10,000",
    ]


def test_many_slices_are_bounded() -> None:
    found = slices_of([""] * 300, None, {"label": [f"l{number // 10:02}" for number in range(300)]})
    assert len(found["label"]) == 20
