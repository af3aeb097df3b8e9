"""What rows say of their answers: kept, rejected, asked about; in every shape that the field uses."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.read.conversation import NOT_TEXT, REJECTED_ANSWER, UNGRADED_ANSWER, UNRECOGNISED
from curate.read.mapping import UNMAPPABLE, Mapper, RecordMapping
from curate.read.raw import Row
from curate.read.verdicts import (
    BAD,
    BLAME,
    GOOD,
    GRADES,
    JUDGING,
    LOOSE,
    PRAISE,
    TOLD,
    UnknownVerdict,
    judge,
    meant,
    normal,
    truth,
)
from tests.curate.read.made import attempt

Q: Row = {"role": "user", "content": "q"}
Q2: Row = {"role": "user", "content": "q2"}


def a(content: Any, **more: Any) -> Row:
    return {"role": "assistant", "content": content} | more


def outcome(row: Row, **mapping: Any) -> list[tuple[str, str | None]] | str:
    """Each record's last content and the reason it is rejected for; or the reason that there are none."""
    records, problem = attempt(Mapper(RecordMapping.model_validate(mapping), {}), row)
    if problem is not None:
        return problem.reason
    return [(record["turns"][-1]["content"], record["rejected"] and record["rejected"][0]) for record in records]


KEPT, BAD_ONE, ASKS = [("a", None)], [("a", REJECTED_ANSWER)], [("a", UNGRADED_ANSWER)]
PAIR = [("a", None), ("b", REJECTED_ANSWER)]
PROMPT = {"prompt": "q", "completion": "a"}
ALPACA = {"instruction": "q", "input": "", "output": "a"}
CHAT = {"messages": [Q, a("a")]}
SHAREGPT = {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}
ASKED = {"conversations": [{"from": "human", "value": "q"}]}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        # Feedback on one answer
        (PROMPT | {"label": True}, KEPT),
        (PROMPT | {"label": False}, BAD_ONE),
        (PROMPT | {"label": "False"}, BAD_ONE),
        (PROMPT | {"label": None}, KEPT),
        (PROMPT | {"label": "undesirable"}, BAD_ONE),
        (PROMPT | {"label": "negative"}, KEPT),  # a class
        (PROMPT | {"label": "geography"}, KEPT),
        (PROMPT | {"label": 0}, ASKS),
        (PROMPT | {"label": "1"}, ASKS),
        ({"prompt": [Q], "completion": [a("a")], "label": False}, BAD_ONE),
        (ALPACA | {"kto_tag": False}, BAD_ONE),
        (SHAREGPT | {"kto_tag": "false"}, BAD_ONE),
        (CHAT | {"thumbs_up": 0}, BAD_ONE),
        (CHAT | {"feedback": "thumbs-down"}, BAD_ONE),
        (CHAT | {"feedback": "too short, but true"}, ASKS),
        (ALPACA | {"isCorrect": "no"}, BAD_ONE),
        (ALPACA | {"Is Accepted": 1}, KEPT),
        (ALPACA | {"train": False}, BAD_ONE),
        (ALPACA | {"rejected": True}, BAD_ONE),
        (ALPACA | {"rejected": False}, KEPT),
        (ALPACA | {"deleted": "yes"}, BAD_ONE),
        (ALPACA | {"good": True, "spam": True}, BAD_ONE),
        ({"text": "### Human: q ### Assistant: a", "label": False}, BAD_ONE),
        ({"text": "<s>[INST] q [/INST] a </s>", "is_good": "n"}, BAD_ONE),
        ({"instruction": "q", "instances": [{"input": "", "output": "a", "label": False}]}, BAD_ONE),
        # The same with words that tell whose verdict it is, and on what
        (PROMPT | {"user_feedback": "thumbs down"}, BAD_ONE),
        (PROMPT | {"humanFeedback": "bad"}, BAD_ONE),
        (PROMPT | {"user_feedback": "too short, but true"}, KEPT),
        (PROMPT | {"feedback_type": "dislike"}, BAD_ONE),
        (PROMPT | {"answer_correct": 0}, BAD_ONE),
        (PROMPT | {"is_correct_answer": False}, BAD_ONE),
        (PROMPT | {"is_wrong_answer": True}, BAD_ONE),
        (PROMPT | {"response_label": False}, BAD_ONE),
        (PROMPT | {"human_label": "incorrect"}, BAD_ONE),
        (PROMPT | {"human_label": 3}, KEPT),
        (PROMPT | {"quality_flag": "bad"}, BAD_ONE),
        (PROMPT | {"response_quality": 3}, ASKS),
        (PROMPT | {"liked": False}, BAD_ONE),
        (PROMPT | {"downvoted": True}, BAD_ONE),
        (PROMPT | {"reaction": "explosive"}, KEPT),
        (PROMPT | {"metadata": {"is_hallucinated": "yes"}}, BAD_ONE),
        (PROMPT | {"annotation": {"label": False}}, BAD_ONE),
        ({"messages": [Q, a("a", user_feedback="bad")]}, BAD_ONE),
        ({"messages": [Q, a("a", model_label=3)]}, KEPT),
        (PROMPT | {"correct_answer": False, "user_verified": False, "bad_answer": "b"}, PAIR),
        (PROMPT | {"correct_answer": False, "user_verified": False, "is_answerable": False}, KEPT),
        # By what the value says
        *((PROMPT | {name: False}, BAD_ONE) for name in (
            "chosen", "ok", "is_answer_ok", "tests_passed", "all_tests_passed", "pass", "desirable_output")),
        *((PROMPT | {name: True}, KEPT) for name in (
            "chosen", "ok", "is_answer_ok", "tests_passed", "pass", "desirable_output", "win", "is_gold")),
        *((PROMPT | {name: False}, ASKS) for name in (
            "is_gold", "win", "is_positive", "positive", "preference", "binary_label")),
        (PROMPT | {"negative": True}, ASKS),
        (PROMPT | {"negative": False}, KEPT),
        (PROMPT | {"binary_label": 0}, ASKS),
        (PROMPT | {"binary_label": 1}, KEPT),
        (PROMPT | {"pass": 0}, BAD_ONE),
        *((PROMPT | {name: word}, ASKS) for name, word in (
            ("outcome", "fail"), ("judgment", "wrong"), ("judgement", "rejected"), ("annotation", "bad"),
            ("state", "rejected"), ("type", "Rejected"), ("outcome", "not ok"), ("tags", ["x", "rejected"]),
            ("label", "disliked"))),
        *((PROMPT | {"label": word}, BAD_ONE) for word in (
            "undesired", "not_preferred", "not preferred", "non-preferred", "unapproved", "__KTO_FALSE__")),
        *((PROMPT | {"label": word}, KEPT) for word in (
            "not_bad", "kto_true", "unknown", "universal", "notable", "nonfiction")),
        (PROMPT | {"moderation": {"flagged": True}}, BAD_ONE),
        (PROMPT | {"eval": {"passed": False}}, BAD_ONE),
        (PROMPT | {"feedback": {"rating": "bad"}}, BAD_ONE),
        (PROMPT | {"unit_run": {"passed": False, "seconds": 3}}, ASKS),
        (PROMPT | {"x": {"is_correct": "false"}}, ASKS),
        # ... and what only looks so
        *((PROMPT | {name: value}, KEPT) for name, value in (
            ("outcome", "a draw"), ("outcome", "unclear"), ("judgment", "appeal dismissed"), ("state", "NY"),
            ("type", "letter"), ("kind", "spam"), ("type", "bad"), ("tags", ["hallucination", "wrong"]), ("tags", []),
            ("chosen", 0), ("chosen", "b"), ("win", 0), ("positive", 0), ("preference", 1), ("preference", "tea"),
            ("ok", "3 of 4"), ("pass", "boarding"), ("annotation", "none"), ("moderation", {"flagged": False}),
            ("eval", {"rouge": 0.3}), ("review", {"stars": 3}), ("user", {"deleted": True, "verified": False}),
            ("option_a", {"text": "x", "correct": False}), ("author", {"name": "x", "flagged": True}),
            ("direction", "down"), ("category", "rejected"), ("genre", "negative"))),
        (PROMPT | {"completion": "rejected", "type": "rejected"}, [("rejected", None)]),
        (PROMPT | {"prompt": "Write the one that is rejected.", "state": "rejected"}, KEPT),
        (PROMPT | {"completion": "Negative.", "positive": False}, [("Negative.", None)]),
        ({"messages": [Q, a("a", chosen="b", ok=2)]}, KEPT),
        ({"messages": [Q, a("a", ok=False)]}, BAD_ONE),
        # Grades
        (PROMPT | {"score": 0.3}, ASKS),
        (ALPACA | {"rating": "4/5"}, ASKS),
        (ALPACA | {"quality": "low"}, BAD_ONE),
        (ALPACA | {"quality": "medium"}, KEPT),
        (CHAT | {"rank": 1}, ASKS),
        (CHAT | {"rank": 0}, KEPT),
        (ALPACA | {"weight": 0}, BAD_ONE),
        (ALPACA | {"weight": 0.5}, KEPT),
        (ALPACA | {"difficulty": 3, "id": 7, "category": "x"}, KEPT),
        # Columns of such names that are there for something else
        (ALPACA | {"use": "commercial"}, KEPT),
        (ALPACA | {"include": "stdio.h", "valid": "2024-01-01", "mask": "[MASK]"}, KEPT),
        (ALPACA | {"correct": "B"}, KEPT),
        (ALPACA | {"loss": 0.35}, KEPT),
        (ALPACA | {"grade": "5th"}, KEPT),
        (ALPACA | {"grade": "4 out of 5"}, ASKS),
        (ALPACA | {"verdict": "acquitted"}, ASKS),
        # Pairs
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, PAIR),
        ({"prompt": "q", "rejected": "b", "chosen": "a"}, PAIR),
        ({"prompt": "q", "chosen": "a", "rejected": None}, KEPT),
        ({"prompt": "q", "chosen": None, "rejected": "b"}, [("b", REJECTED_ANSWER)]),
        ({"prompt": "q", "chosen": "a", "rejected": ["b", "c"]}, [*PAIR, ("c", REJECTED_ANSWER)]),
        ({"prompt": "q", "chosen": ["a", "c"], "rejected": "b"}, UNRECOGNISED),
        ({"prompt": "q", "chosen": [a("a")], "rejected": [a("b")]}, PAIR),
        ({"prompt": [Q], "chosen": a("a"), "rejected": a("b")}, PAIR),
        ({"prompt": "q", "chosen": [Q, a("a")], "rejected": [Q, a("b")], "messages": [Q, a("a")]}, PAIR),
        ({"chosen": [Q, a("a")], "rejected": [Q, a("b")]}, PAIR),
        ({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}, PAIR),
        ({"chosen": "a", "rejected": "b"}, UNRECOGNISED),
        ({"prompt": "q", "chosen": json.dumps([a("a")]), "rejected": json.dumps([a("b")])}, PAIR),
        (ASKED | {"chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}}, PAIR),
        (ASKED | {"chosen": a("a"), "rejected": "b"}, PAIR),
        (SHAREGPT | {"chosen": "a", "rejected": "b"}, UNRECOGNISED),
        (ALPACA | {"rejected": "b"}, PAIR),
        ({"input": {"messages": [Q]}, "preferred_output": [a("a")], "non_preferred_output": [a("b")]}, PAIR),
        ({"question": "q", "response_j": "a", "response_k": "b"}, PAIR),
        (CHAT | {"rejected": [Q, a("b")]}, PAIR),
        (SHAREGPT | {"rejected": "b"}, PAIR),
        (CHAT | {"rejected_response": a("b")}, PAIR),
        (CHAT | {"rejected": True}, BAD_ONE),
        (ALPACA | {"output": {"chosen": "a", "rejected": "b"}}, PAIR),
        (ALPACA | {"output": {"better": "a", "worse": "b"}}, PAIR),
        (ALPACA | {"output": {"Preferred": "a", "Non-preferred": "b"}}, PAIR),
        (ASKED | {"output": {"chosen": "a", "rejected": "b"}}, PAIR),
        (ALPACA | {"output": {"accepted": "a", "rejected": "b"}}, UNRECOGNISED),
        (ALPACA | {"output": {"winner": "a", "loser": "b"}}, UNRECOGNISED),
        (ALPACA | {"instruction": "The loser, and the winner?", "output": {"winner": "a", "loser": "b"}},
         [('{"winner": "a", "loser": "b"}', None)]),
        (ALPACA | {"input": "Answer in JSON.", "output": {"positive": "a", "negative": "b"}},
         [('{"positive": "a", "negative": "b"}', None)]),
        (ALPACA | {"output": {"winner": "a", "loser": None}}, [('{"winner": "a", "loser": null}', None)]),
        (ALPACA | {"output": {"better": "a", "worse": "b", "by": 2}},
         [('{"better": "a", "worse": "b", "by": 2}', None)]),
        # A conversation that its column answers
        *((ASKED | {name: "a"}, KEPT) for name in ("output", "response", "answer", "completion")),
        *((ASKED | {name: ["a", "b"]}, UNRECOGNISED) for name in ("output", "response", "answer", "completion")),
        *(({"messages": [Q], name: [a("a")]}, KEPT) for name in ("output", "response", "answer", "completion")),
        (ASKED | {"output": [a("a")]}, KEPT),
        (ASKED | {"output": a("a")}, KEPT),
        (ASKED | {"output": ["b", "a"], "scores": [1, 2]}, PAIR),
        (ASKED | {"output": {"city": "Oslo"}}, [('{"city": "Oslo"}', None)]),
        (ASKED | {"output": [{"text": "a", "rank": 1}, {"text": "b", "rank": 2}]}, PAIR),
        (ASKED | {"answer": 3}, [("q", None)]),
        (ASKED | {"answer": []}, [("q", None)]),
        (ASKED | {"answer": " "}, [("q", None)]),
        ({"messages": [Q], "answer": [{"type": "text", "text": "a"}]}, KEPT),
        # Answers that are graded, each by itself
        *((ALPACA | {"output": None, name: [{"text": "b", "score": 1}, {"text": "a", "score": 2}]}, PAIR)
          for name in ("output", "response", "answer", "completion")),
        (ALPACA | {"output": [{"model": "m", "content": "a", "rank": 1},
                              {"model": "n", "content": "b", "rank": 2}]}, PAIR),
        (ASKED | {"output": [{"city": "Oslo"}]}, [('[{"city": "Oslo"}]', None)]),
        (ALPACA | {"output": [{"text": "a", "chosen": True}, {"text": "b", "chosen": False}]}, PAIR),
        # ... and objects that were asked for
        *((ALPACA | {"instruction": asked, "output": held}, [(json.dumps(held), None)]) for asked, held in (
            ("Find the names.", [{"text": "Ada", "label": "PER"}, {"text": "Cork", "label": "LOC"}]),
            ("Find the names.", [{"text": "Ada", "label": "PER", "score": 1}, {"text": "B", "label": "X", "score": 0}]),
            ("Rank Ada and Bob.", [{"text": "Ada", "rank": 1}, {"text": "Bob", "rank": 2}]),
            ("Give three titles, each with a score.", [{"text": "Tide", "score": 3}, {"text": "Ebb", "score": 1}]),
            ("Name the harbours.", [{"name": "Cork", "rank": 1}, {"name": "Cobh", "rank": 2}]),
            ("Name one.", [{"text": "Cork", "rank": 1}]),
        )),
        ({"prompt": "q", "winner": "a", "loser": "b"}, PAIR),
        ({"prompt": "q", "chosen_response": "a", "rejected_response": "b"}, PAIR),
        ({"prompt": "q", "response_chosen": "a", "response_rejected": "b"}, PAIR),
        # Several answers, and a verdict beside them
        ({"prompt": "q", "response_0": "b", "response_1": "a", "better_response_id": 1}, PAIR),
        ({"prompt": "q", "response_0": "b", "response_1": "a", "better_response_id": 1, "safer_response_id": 0},
         UNRECOGNISED),
        ({"prompt": "q", "response_a": "b", "response_b": "a", "winner": "model_b"}, PAIR),
        ({"prompt": "q", "response_a": "a", "response_b": "b", "winner": "tie"}, UNRECOGNISED),
        ({"prompt": "q", "response_a": "a", "response_b": "b"}, UNRECOGNISED),
        ({"prompt": "q", "response_a": "b", "response_b": "a", "winner_model_a": 0, "winner_model_b": 1}, PAIR),
        ({"conversation_a": [Q, a("a")], "conversation_b": [Q, a("b")], "winner": "model_a"}, PAIR),
        ({"instruction": "q", "output_1": "b", "output_2": "a", "preference": 2.0}, PAIR),
        ({"question": "q", "answer_0": "a", "answer_1": "b", "score_0": 0.5, "score_1": -0.5}, PAIR),
        ({"question": "q", "answer_0": "a", "answer_1": "b", "score_0": 0.0, "score_1": 0.0}, UNRECOGNISED),
        # Lists of answers
        (ALPACA | {"output": ["a", "b"]}, UNRECOGNISED),
        (ALPACA | {"output": ["a"]}, UNRECOGNISED),
        (ALPACA | {"output": ["b", "a"], "scores": [1, 4.5]}, PAIR),
        ({"prompt": "q", "responses": ["a", "b"]}, UNRECOGNISED),
        ({"messages": [Q, a(["a", "b"])]}, UNRECOGNISED),
        ({"conversations": [*ASKED["conversations"], {"from": "gpt", "value": ["a", "b"]}]}, UNRECOGNISED),
        ({"prompt": "q", "responses": ["a", "b"], "ranks": [1, 2]}, PAIR),
        ({"prompt": "q", "responses": ["b", "a"], "labels": [0, 1]}, PAIR),
        ({"prompt": "q", "responses": ["a", "b"], "scores": [3, 3]}, UNRECOGNISED),
        ({"instruction": "q", "completions": [{"response": "a", "overall_score": 5}, {"response": "b"}]}, UNRECOGNISED),
        ({"prompt": "q", "completions": [{"response": "b", "rating": "2"}, {"response": "a", "rating": "5"}]}, PAIR),
        ({"prompt": "q", "answers": [{"answer": "b", "rank": 2}, {"answer": "a", "rank": 1}]}, PAIR),
        (CHAT | {"answers": ["x", "y"]}, KEPT),
        # Steps
        ({"prompt": "q", "completions": ["a", "b"], "labels": [True, True]}, [("a\nb", None)]),
        ({"prompt": "q", "completions": ["a", "b"], "labels": [True, False]}, [("a\nb", REJECTED_ANSWER)]),
        # Messages with a flag of their own
        ({"messages": [Q, a("a", weight=1)]}, KEPT),
        ({"messages": [Q, a("a", weight=0)]}, BAD_ONE),
        ({"messages": [Q, a("a", train=False)]}, BAD_ONE),
        ({"messages": [Q, a("a", mask=1)]}, BAD_ONE),
        ({"messages": [Q, a("a", label=False)]}, BAD_ONE),
        ({"messages": [Q, a("a", label="greeting")]}, KEPT),
        ({"messages": [Q, a("a", masked=False)]}, KEPT),
        ({"messages": [Q | {"train": False}, a("a")]}, KEPT),
        ({"messages": [Q, a("a"), Q2, a("b", weight=0)]}, KEPT),
        ({"messages": [Q, a("b", loss=False), Q2, a("a", loss=True)]}, KEPT),
        ({"messages": [Q, a("a", train="perhaps")]}, UNRECOGNISED),
        ({"messages": [Q, a("a", train_detail=[{"begin_offset": 0, "end_offset": 1, "train": False}])]}, UNRECOGNISED),
        ({"messages": [Q, a("a", score=2)]}, ASKS),
        ({"conversations": [ASKED["conversations"][0], {"from": "gpt", "value": "a", "weight": 0}]}, BAD_ONE),
        # The field's own names and spellings
        ({"Prompt": "q", "Completion": "a", "Label": False}, BAD_ONE),
        ({"Prompt": "q", "Chosen": "a", "Rejected": "b"}, PAIR),
        ({"INSTRUCTION": "q", "RESPONSE": "a"}, KEPT),
        ({"inputs": "q", "targets": "a", "language": "English"}, KEPT),
        ({"inputs": [1, 2], "targets": [3]}, UNRECOGNISED),
        ({"problem": "q", "solution": "a", "success": False}, BAD_ONE),
        ({"user": "q", "assistant": "a", "exact_match": 0}, BAD_ONE),
        (ALPACA | {"rating": "very bad"}, BAD_ONE),
        (ALPACA | {"rating": "A"}, ASKS),
        (ALPACA | {"label": "hallucinated"}, BAD_ONE),
        (ALPACA | {"status": "discarded"}, BAD_ONE),
        (ALPACA | {"status": "married"}, KEPT),
        (ALPACA | {"labels": ["x", "y"]}, KEPT),
        (ALPACA | {"labels": [False]}, BAD_ONE),
        (ALPACA | {"metadata": {"is_correct": False}}, BAD_ONE),
        (ALPACA | {"metadata": {"score": 3}}, ASKS),
        (ALPACA | {"metadata": {"label": 3, "source": "x"}}, KEPT),
        (ALPACA | {"annotations": [{"rating": 1}, {"rating": 5}]}, ASKS),
        (ALPACA | {"annotations": [{"correct": False}, {"correct": False}]}, BAD_ONE),
        (ALPACA | {"annotations": [{"correct": True}, {"correct": False}]}, ASKS),
        (ALPACA | {"quality": [{"user_id": "u", "value": "bad"}]}, BAD_ONE),
        (PROMPT | {"rejected_response": "b"}, PAIR),
        (ALPACA | {"negative_answer": "b"}, PAIR),
        (ALPACA | {"corrected": "b"}, UNRECOGNISED),
        (ALPACA | {"corrected": "a"}, KEPT),
        ({"question": "q", "best_answer": "a", "incorrect_answers": ["b"]}, PAIR),
        ({"question": "q", "correct_answer": "a", "incorrect_answer": "b"}, PAIR),
        ({"prompt": "q", "chosen": "a", "rejected": ""}, KEPT),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "rating": [9, 1], "rationale": "better"}, PAIR),
        ({"prompt": "q", "response_1": "b", "response_2": "a", "chosen": "response_2"}, PAIR),
        ({"prompt": "q", "response_a": "b", "response_b": "a", "winner": "a"}, PAIR),
        ({"prompt": "q", "model_a_response": "b", "model_b_response": "a", "winner": "model_b"}, PAIR),
        ({"history": "q", "human_ref_A": "b", "human_ref_B": "a", "labels": 0, "score_A": 1, "score_B": 9}, PAIR),
        ({"context": [Q], "response1": "b", "response2": "a", "overall_preference": 1}, PAIR),
        ({"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": -2}, PAIR),
        ({"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": 0}, UNRECOGNISED),
        ({"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 0, "is_response_0_safe": False},
         [("a", REJECTED_ANSWER), ("b", REJECTED_ANSWER)]),
        ({"prompt": '["q"]', "response_a": '["b"]', "response_b": '["a"]', "winner_model_a": 0, "winner_model_b": 1},
         PAIR),
        ({"question": "q", "answers": [{"text": "b", "pm_score": 3, "selected": False},
                                       {"text": "a", "pm_score": 2, "selected": True}]}, PAIR),
        ({"query": "q", "answers": '[{"name": "f", "arguments": {}}]', "tools": "[]"},
         [('[{"name": "f", "arguments": {}}]', None)]),
        ({"question": "q", "answers": {"text": ["a"], "answer_start": [0]}}, KEPT),
        ({"question": "q", "answers": ["a"]}, KEPT), ({"question": "q", "responses": [{"text": "a"}]}, KEPT),
        ({"question": "q", "answer": ["a"]}, UNRECOGNISED),
        ({"question": "q", "answers": {"text": [], "answer_start": []}}, UNRECOGNISED),
        ({"question": "q", "choices": ["x", "y"], "answer": "B"}, UNRECOGNISED),
        ({"segments": [{"label": False, "text": "q"}, {"label": True, "text": "a"}]}, UNRECOGNISED),
        ({"conversations": ["q", "a"]}, KEPT),
        ({"conversation": [{"input": "q", "output": "a"}]}, KEPT),
        ({"messages": [Q], "answer": "a", "reasoning": "r"}, KEPT),
        ({"conversations": [{"from": "human", "text": "q"}, {"from": "gpt", "text": "a", "markdown": None}]}, KEPT),
        ({"messages": [Q, {"role": "assistant", "content": None, "audio": {"id": "x"}}]}, NOT_TEXT),
        ({"messages": [Q, a("a")], "images": ["x.png"]}, NOT_TEXT),
        # What is no text
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "q"}]}, a("a")]},
         NOT_TEXT),
        ({"conversations": [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "a"}], "image": "x.png"},
         NOT_TEXT),
        ({"question": "q", "answer": "a", "image": {"bytes": None, "path": "x.png"}}, NOT_TEXT),
        ({"question": "q", "answer": "a", "image": "https://example.org/logo.png"}, KEPT),
        # As text, and as lists by key
        ({"messages": json.dumps([Q, a("a")])}, KEPT),
        ({"messages": json.dumps(json.dumps([Q, a("a")]))}, KEPT),
        ({"messages": [json.dumps(Q), json.dumps(a("a"))]}, KEPT),
        ({"dialog": json.dumps(SHAREGPT["conversations"]), "kto_tag": False}, BAD_ONE),
        ({"Turns": [Q, a("a")], "topic": "x"}, KEPT),
        ({"text": json.dumps([Q, a("a")])}, KEPT),
        ({"text": "[1, 2]"}, UNRECOGNISED),
        ({"turns": [Q], "chosen": "a", "rejected": "b"}, PAIR),
        ({"conversations": json.dumps(SHAREGPT["conversations"]), "kto_tag": "False"}, BAD_ONE),
        ({"prompt": json.dumps([Q]), "completion": json.dumps([a("a")]), "label": "True"}, KEPT),
        ({"messages": json.dumps(Q) + "\n" + json.dumps(a("a")) + "\n"}, KEPT),
        ({"messages": json.dumps({"role": ["user", "assistant"], "content": ["q", "a"]})}, KEPT),
        ({"messages": json.dumps({"messages": [Q, a("a")]})}, KEPT),
        ({"data": json.dumps({"messages": [Q, a("a")], "label": False})}, BAD_ONE),
        ({"data": {"messages": [Q, a("a")]}, "label": False}, BAD_ONE),
        ({"data": json.dumps({"conversation": "q"})}, UNRECOGNISED),
        ({"prompt": json.dumps(Q), "completion": "a"}, KEPT),
        ({"prompt": Q, "completion": json.dumps(a("a"))}, KEPT),
        ({"messages": str([Q, a("a")])}, UNRECOGNISED),
        ({"messages": '[{"role": "user"'}, UNRECOGNISED),
        ({"messages": {"role": ["user", "assistant"], "content": ["q", "a"]}}, KEPT),
        (PROMPT | {"completion": '["a", "b"]'}, [('["a", "b"]', None)]),
    ],
    ids=lambda value: json.dumps(value, default=str)[:80],
)  # fmt: skip
def test_what_becomes_of_a_row(row: Row, expected: Any) -> None:
    assert outcome(row) == expected


# Whoever grades says which grades are good


def test_accept_takes_the_place_of_what_columns_say() -> None:
    good, poor = PROMPT | {"score": 5}, PROMPT | {"score": 2}
    assert outcome(good, accept="score >= 4") == KEPT
    assert outcome(poor, accept="score >= 4") == BAD_ONE
    assert outcome(poor, accept="true") == KEPT
    assert outcome(PROMPT | {"score": None}, accept="score >= 4 if score is not none else none") == KEPT
    assert outcome(PROMPT | {"label": False}, accept="none") == KEPT
    assert outcome(poor, accept="score") == UNMAPPABLE
    assert outcome({"messages": [Q, a("a", score=2)]}, accept="true") == KEPT
    # Of a pair the worse one stays it, and so does an answer whose messages are not trained.
    assert outcome({"prompt": "q", "chosen": "a", "rejected": "b"}, accept="true") == PAIR
    assert outcome({"messages": [Q, a("a", weight=0)]}, accept="true") == BAD_ONE
    turns = [{"role": "user", "content": "prompt"}, {"role": "assistant", "content": "completion"}]
    assert outcome(poor, turns=turns) == KEPT
    assert outcome(poor, turns=turns, accept="score > 2") == BAD_ONE


def test_a_grade_is_kept_and_the_evidence_says_what_to_do() -> None:
    [record] = Mapper(RecordMapping(), {}).records(ALPACA | {"score": 3.5}, "f")
    assert record["meta"] == {"score": "3.5"}
    reason, evidence = record["rejected"]
    assert (reason, evidence["column"], evidence["value"]) == (UNGRADED_ANSWER, "score", 3.5)
    assert "`accept: score >= 4`" in evidence["message"]
    [record] = Mapper(RecordMapping(), {}).records(ALPACA | {"weight": 0.5}, "f")
    assert (record["meta"], record["told"]) == ({"weight": "0.5"}, {"alpaca": 1, "weighted": 1})


def test_the_worse_answer_names_the_record_of_the_better() -> None:
    better, worse = Mapper(RecordMapping(), {}).records({"prompt": "q", "chosen": "a", "rejected": "b"}, "f")
    assert better["rejected"] is None
    assert worse["rejected"] == (
        REJECTED_ANSWER,
        {"better": "chosen", "worse": "rejected", "preferred": better["id"]},
    )


TALK = st.lists(st.tuples(st.text(min_size=1).filter(str.strip), st.sampled_from([None, 0, 1])), min_size=1, max_size=5)


@given(TALK)
def test_no_untrained_answer_is_the_last(talk: list[tuple[str, int | None]]) -> None:
    """By brute force: the conversation ends with its last trained answer, and before it nothing is lost."""
    said: list[Row] = []
    for content, weight in talk:
        said += [Q, a(f"a {content}") | ({} if weight is None else {"weight": weight})]
    [record] = Mapper(RecordMapping(), {}).records({"messages": said}, "f")
    trained = [place for place, (_, weight) in enumerate(talk) if weight != 0]
    assert (record["rejected"] is None) == bool(trained)
    kept = talk[: trained[-1] + 1] if trained else talk
    assert [turn["content"] for turn in record["turns"][1::2]] == [f"a {content}" for content, _ in kept]
    assert [turn.get("trained") for turn in record["turns"][1::2]] == [None if w != 0 else False for _, w in kept]


def test_what_was_thought_is_not_how_much() -> None:
    [record] = Mapper(RecordMapping(), {}).records(
        {"input": "q", "output": "<think>t</think>a", "reasoning": "on"}, "f"
    )
    assert (record["turns"][-1]["reasoning"], record["turns"][-1]["content"]) == ("t", "a")
    better, _ = Mapper(RecordMapping(), {}).records(
        {"prompt": "q", "chosen": "a", "rejected": "b", "rationale": "the judge's"}, "f"
    )
    assert "reasoning" not in better["turns"][-1]


def test_calls_as_anthropic_has_them_are_read() -> None:
    said = [
        Q,
        a([{"type": "text", "text": "so"}, {"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}}]),
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "r"}]},
        a("a"),
    ]
    [record] = Mapper(RecordMapping(), {}).records({"messages": said}, "f")
    assert [turn["role"] for turn in record["turns"]] == ["user", "assistant", "tool", "assistant"]
    assert record["turns"][1]["content"] == 'so\n{"id": "1", "name": "f", "arguments": {"x": 1}}'


# The tables


def test_names_and_words_mean_one_thing() -> None:
    assert not GOOD & BAD
    assert not (GOOD | BAD) & GRADES
    assert LOOSE <= GOOD | BAD
    assert TOLD <= JUDGING
    assert {meant(name) for name in JUDGING} == JUDGING
    assert not PRAISE & BLAME
    assert {normal(name) for name in GOOD | BAD | GRADES} == GOOD | BAD | GRADES


@pytest.mark.parametrize("value", [True, 1, 1.0, "1", "Yes", " TRUE ", "thumbs-up", "Good", "👍", "+1"])
def test_true_and_false(value: Any) -> None:
    assert truth(value) is True
    assert truth(value, reverse=True) is (str(value).lower() in ("thumbs-up", "good", "👍", "+1"))


@pytest.mark.parametrize("value", [2, 0.5, "perhaps", [], {}, b"1"])
def test_what_nobody_knows(value: Any) -> None:
    with pytest.raises(UnknownVerdict):
        truth(value)


@pytest.mark.parametrize("value", [None, "", "  ", float("nan")])
def test_what_says_nothing(value: Any) -> None:
    assert truth(value) is None


# What columns were taken for


@pytest.mark.parametrize(
    ("row", "taken"),
    [
        (PROMPT | {"label": True, "split": "x"}, {"prompt": "prompt", "completion": "answer", "label": "feedback"}),
        (ALPACA | {"score": 1}, {"instruction": "prompt", "input": "prompt", "output": "answer", "score": "grade"}),
        (CHAT | {"tools": [], "source": "x"}, {"messages": "conversation", "tools": "tools"}),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "margin": 2},
         {"prompt": "prompt", "chosen": "answer", "rejected": "rejected answer"}),
        ({"question": "q", "rationale": "r", "answer": "a", "system": "s"},
         {"question": "prompt", "rationale": "reasoning", "answer": "answer", "system": "system"}),
    ],
)  # fmt: skip
def test_what_columns_are_taken_for(row: Row, taken: dict[str, str]) -> None:
    assert Mapper(RecordMapping(), {}).records(row, "f")[0]["taken"] == taken


@pytest.mark.parametrize(("weight", "told"), [("5 kg", None), ([1, 2], None), ("0.5", 1), (2, 1), (1, None)])
def test_a_weight_that_is_no_number_says_nothing(weight: Any, told: int | None) -> None:
    [record] = Mapper(RecordMapping(), {}).records(ALPACA | {"Weight": weight}, "f")
    assert record["rejected"] is None
    assert record["told"].get("weighted") == told


def test_a_million_digits_are_looked_at_once() -> None:
    for value in ("1" * 10**6 + "x", "1" + " " * 10**6 + "x"):
        asked, grades = judge(ALPACA | {"score": value})
        assert asked is not None
        assert (asked.reason, grades) == (UNGRADED_ANSWER, {})


@pytest.mark.parametrize(
    ("more", "answer", "reason"),
    [
        ({"response": "a"}, "accept", None),
        ({"response": "a"}, "reject", REJECTED_ANSWER),
        ({"response": "a"}, "ignore", UNGRADED_ANSWER),
        ({"_task_hash": 7, "completion": "a"}, "reject", REJECTED_ANSWER),
        ({}, "reject", None),  # what is asked may be whether to accept
    ],
)
def test_what_prodigy_says_of_an_annotation(more: Row, answer: str, reason: str | None) -> None:
    [record] = Mapper(RecordMapping(), {}).records({"prompt": "q", "answer": answer} | more, "")
    assert record["turns"][-1]["content"] == ("a" if more else answer)
    assert (record["rejected"] or (None,))[0] == reason
