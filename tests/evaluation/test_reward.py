"""The reward is whole for right answers alone, and each of its parts is what the scorecard's judge says."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.judge.accepted import accepted_of
from evaluation.judge.fields import normalised
from evaluation.judge.structured import Judge
from evaluation.reward import JudgedReward, Question
from evaluation.settings import FullRecipe
from train.reward import Rewarded

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["lease", "sale"]},
        "party": {"type": "string"},
        "rent": {"type": "number"},
        "places": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "term": {"type": "object", "properties": {"from": {"type": "string"}, "law": {"type": "string"}}},
    },
    "required": ["kind", "party"],
}
"""Other keys are allowed."""
RIGHT = {
    "kind": "lease",
    "party": "Ada  Ltd.",
    "rent": 12.5,
    "places": ["Ulm", "Bonn"],
    "term": {"from": "May", "law": "German"},
}
ROW = {
    "id": "1",
    "messages": [
        {"role": "system", "content": "Answer in JSON."},
        {"role": "user", "content": "ADA ltd. rents in Ulm and Bonn, from May; Bob owns it."},
        {"role": "assistant", "content": json.dumps(RIGHT)},
    ],
    "target": json.dumps(RIGHT),
    "meta": [{"key": "too", "value": json.dumps({"term.from": ["spring"]})}],
}
"""The party, the places and the term's beginning stand in the prompt; its law does not."""
JUDGE = Judge(SCHEMA)


@cache
def asked(accepted: str | None) -> tuple[JudgedReward, Question]:
    recipe = FullRecipe.load(Path(__file__).parents[2] / "recipes/licences.yaml")
    settings = recipe.evaluation.model_copy(update={"accepted": accepted})
    reward = JudgedReward(Path(), recipe.model_copy(update={"evaluation": settings}), SCHEMA, JUDGE)
    return reward, reward.questions([ROW], accepted_of([ROW], JUDGE.fields, settings))[0]


def worth(answer: str, cut_off: bool = False, accepted: str | None = None) -> Rewarded:
    reward, question = asked(accepted)
    return reward.worth(question, answer, cut_off)


WORDS = st.sampled_from(["ada ltd.", "Ada  Ltd.", "Bob", "Ulm", "Bonn", "May", "German", "Eve", "lease", ""])
ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(["lease", "lease", "sale", "loan"]),
        "party": WORDS | st.just("Ada  Ltd."),
        "rent": st.sampled_from([12.5, 12.5, 13, True]),
        "places": st.lists(WORDS, max_size=3, unique=True) | st.just(["Bonn", "Ulm"]),
        "term": st.fixed_dictionaries({"from": WORDS | st.just("May"), "law": WORDS | st.just("German")}),
        "note": st.none(),
    },
)
SAID = (
    (ANSWERS | st.just(RIGHT)).map(json.dumps)
    | st.sampled_from(["", "{", "no", "[]", "1"])
    | ANSWERS.map(lambda value: f"Here: {json.dumps(value)}")
    | st.just(f"<think>\nSo.\n</think>\n\n{json.dumps(RIGHT)}")
)


@given(SAID, st.booleans())
def test_only_what_is_right_and_grounded_is_worth_all(answer: str, cut_off: bool) -> None:
    found = worth(answer, cut_off)
    judgement = JUDGE(answer, RIGHT, cut_off)
    assert (found.json, found.schema) == (judgement.parses, judgement.schema_valid)
    assert all(0 <= part <= 1 for part in found)
    assert found.mean == pytest.approx(sum(found) / 4)
    assert (found.fields == 1) == judgement.rules_match
    whole = judgement.schema_valid and judgement.rules_match and found.grounded == 1
    assert (found.mean == 1) == whole
    assert found.mean == 1 or answer != json.dumps(RIGHT)


@given(ANSWERS)
def test_grounded_is_what_stands_in_the_prompt(value: dict[str, Any]) -> None:
    """By hand: of party, places and the term's beginning, the share that says only what the prompt does."""
    prompt = normalised(ROW["messages"][1]["content"])  # type: ignore[index]
    said = [[value.get("party", "")], value.get("places", []), [value.get("term", {}).get("from", "")]]
    texts = [[normalised(text) for text in each if text] for each in said]
    stand = [bool(each) and all(text in prompt or text == "lease" for text in each) for each in texts]
    assert worth(json.dumps(value)).grounded == pytest.approx(sum(stand) / 3)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({}, (1, 1, 1, 1)),
        ({"party": "ada ltd."}, (1, 1, 1, 1)),
        ({"party": "Eve"}, (1, 1, 5 / 6, 2 / 3)),
        ({"party": "Bob"}, (1, 1, 5 / 6, 1)),
        ({"kind": "sale"}, (1, 1, 5 / 6, 1)),
        ({"kind": "loan"}, (1, 0, 5 / 6, 1)),
        ({"places": ["Ulm", "Rome"]}, (1, 1, 5.5 / 6, 2 / 3)),
        ({"note": "invented"}, (1, 1, 6 / 7, 1)),
        ({"term": {"from": "spring", "law": "German"}}, (1, 1, 5 / 6, 2 / 3)),
    ],
    ids=str,
)
def test_parts_of_the_reward(change: dict[str, Any], parts: tuple[float, ...]) -> None:
    assert worth(json.dumps(RIGHT | change)) == pytest.approx(parts)


def test_what_is_accepted_is_right() -> None:
    value = json.dumps(RIGHT | {"term": {"from": "spring", "law": "German"}})
    assert worth(value, accepted="too") == (1, 1, 1, 1)


def test_an_answer_within_other_text_or_cut_off_is_no_json() -> None:
    """As the scorecard has it: only an answer's own thoughts are set aside."""
    assert worth(f"Sure: {json.dumps(RIGHT)}") == (0, 0, 0, 0)
    assert worth(json.dumps(RIGHT)[:-1], cut_off=True) == (0, 0, 0, 0)
    assert worth(f"<think>Hm.</think>{json.dumps(RIGHT)}").mean == 1
