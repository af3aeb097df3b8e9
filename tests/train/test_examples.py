"""The choice of rows, and the law that the trained tokens are the answer."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import AssayError
from curate.rows.chat_template import Message
from curate.rows.renderer import IGNORED, Encoded, Renderer
from curate.store import Store
from tests.tiny import renderer_of, write_version
from train.audit import encode
from train.examples import read_split, select


def row(number: int, label: str | None = "a", cluster: str | None = None, tokens: int = 10) -> dict[str, Any]:
    return {"id": f"{number:04}", "label": label, "cluster": cluster or f"c{number}", "tokens": tokens}


def test_shares_are_proportional_to_labels() -> None:
    labels = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    rows = [row(number, label) for number, label in enumerate(labels)]
    assert Counter(r["label"] for r in select(rows, 20, 10, 0)) == {"a": 12, "b": 6, "c": 2}
    # 7 of 100: 4.2, 2.1 and 0.7 seats; the largest remainder is c's.
    assert Counter(r["label"] for r in select(rows, 7, 10, 0)) == {"a": 4, "b": 2, "c": 1}


def test_near_duplicates_come_last() -> None:
    """Ten rows of five clusters: five are chosen from all five; the sixth is somebody's second."""
    rows = [row(number, cluster=f"c{number % 5}") for number in range(10)]
    assert len({r["cluster"] for r in select(rows, 5, 10, 0)}) == 5
    assert sorted(Counter(r["cluster"] for r in select(rows, 6, 10, 0)).values()) == [1, 1, 1, 1, 2]


def test_weights_draw_a_label_as_though_its_rows_stood_so_often() -> None:
    rows = [row(number, "a") for number in range(60)] + [row(number, "b") for number in range(60, 80)]
    assert Counter(r["label"] for r in select(rows, 40, 10, 0)) == {"a": 30, "b": 10}
    assert Counter(r["label"] for r in select(rows, 40, 10, 0, {"b": 3.0})) == {"a": 20, "b": 20}
    assert Counter(r["label"] for r in select(rows, 40, 10, 0, {"a": 1 / 3})) == {"a": 20, "b": 20}
    # 90 rows: 45 of b, which has 20; each comes twice, the first five of them a third time.
    drawn = Counter(r["id"] for r in select(rows, 90, 10, 0, {"b": 3.0}) if r["label"] == "b")
    assert sorted(drawn.values()) == [2] * 15 + [3] * 5
    # All there is: 60 rows once and 20 of them three times.
    everything = Counter(r["id"] for r in select(rows, 10_000, 10, 0, {"b": 3.0}))
    assert Counter(everything.values()) == {1: 60, 3: 20}
    assert select(rows, 40, 10, 0, {}) == select(rows, 40, 10, 0)


def test_long_rows_are_left_out_and_few_rows_are_all_taken() -> None:
    rows = [row(number, tokens=number) for number in range(20)]
    assert {r["tokens"] for r in select(rows, 100, 12, 0)} == set(range(13))
    assert select(rows, 5, -1, 0) == []


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["a", "b", None]), max_size=40), st.integers(1, 30), st.integers(0, 9))
def test_the_choice_depends_on_the_rows_and_the_seed_alone(labels: list[str | None], count: int, seed: int) -> None:
    rows = [row(number, label) for number, label in enumerate(labels)]
    chosen = select(rows, count, 10, seed)
    assert len({r["id"] for r in chosen}) == len(chosen) == min(count, len(rows))
    shuffled = random.Random(seed).sample(rows, len(rows))
    assert select(shuffled, count, 10, seed) == chosen


def test_another_seed_is_another_choice() -> None:
    rows = [row(number) for number in range(200)]
    assert select(rows, 50, 10, 0) != select(rows, 50, 10, 1)


def test_a_published_split_is_read(tmp_path: Path, model_folder: Path) -> None:
    store = Store(tmp_path / "store")
    rows = read_split(write_version(store, model_folder), "train", ["id", "messages"])
    assert len(rows) == 24
    assert set(rows[0]) == {"id", "messages"}
    assert [message["role"] for message in rows[0]["messages"]] == ["user", "assistant"]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60).filter(lambda text: "<|" not in text)
TURNS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3)


def conversation(turns: list[tuple[str, str]]) -> list[Message]:
    pairs = [(("user", asked), ("assistant", answered)) for asked, answered in turns]
    return [{"role": role, "content": content} for pair in pairs for role, content in pair]


@settings(max_examples=60, deadline=None)
@given(turns=TURNS)
@pytest.mark.parametrize("answers", ["last", "all"])
def test_trained_tokens_are_the_answers(turns: list[tuple[str, str]], answers: str, model_folder: Path) -> None:
    renderer = renderer_of(model_folder, answers)
    messages = conversation(turns)
    (example,) = encode([{"id": "x", "messages": messages}], renderer)
    trained = [label for label in example.labels if label != IGNORED]
    wanted = [answered for _, answered in turns] if answers == "all" else [turns[-1][1]]
    assert renderer.decode(trained) == "".join(answer + "<|im_end|>" for answer in wanted)
    assert example.trained == len(trained)
    assert trained[-1] == example.input_ids[-1] == renderer.stop_token_id
    assert all(label in (IGNORED, token) for token, label in zip(example.input_ids, example.labels, strict=True))
    asked = renderer.prompt_ids(messages)
    assert example.input_ids[: len(asked)] == asked, "a model is asked what it was trained to continue"
    if answers == "last":
        assert example.labels == [IGNORED] * len(asked) + example.input_ids[len(asked) :]


class Shifted(Renderer):
    """Trains from one token too late."""

    def encode_all(self, conversations: Any) -> Any:
        for encoded in super().encode_all(conversations):
            first = next(i for i, label in enumerate(encoded.labels) if label != IGNORED)
            yield Encoded(encoded.input_ids, [*encoded.labels[:first], IGNORED, *encoded.labels[first + 1 :]])


class Endless(Renderer):
    """Leaves the stop token out."""

    def encode_all(self, conversations: Any) -> Any:
        for encoded in super().encode_all(conversations):
            yield Encoded(encoded.input_ids[:-1], encoded.labels[:-1])


@pytest.mark.parametrize("broken", [Shifted, Endless])
def test_a_wrong_mask_names_its_row(broken: type[Renderer], model_folder: Path) -> None:
    sound = renderer_of(model_folder)
    renderer = broken(sound.template, sound.tokenizer, sound.tokens)
    with pytest.raises(AssayError, match=r"Row r17: the tokens to be trained are .*the answer is 'yes<\|im_end\|>'"):
        encode([{"id": "r17", "messages": conversation([("well?", "yes")])}], renderer)


def test_a_row_without_an_answer_names_itself(model_folder: Path) -> None:
    with pytest.raises(AssayError, match="Row r18: A row without an answer"):
        encode([{"id": "r18", "messages": [{"role": "user", "content": "well?"}]}], renderer_of(model_folder))
