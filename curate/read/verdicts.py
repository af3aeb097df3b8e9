"""Verdicts: what columns and keys of messages say of an answer: that it is good, that it is bad, or a grade.

A grade does not say which of its values are good; only the recipe can (`record.accept`).
"""

import math
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from curate.read.conversation import (
    ANSWERS,
    CONVERSATIONS,
    INPUTS,
    PROMPTS,
    REJECTED_ANSWER,
    SYSTEMS,
    TALKS,
    TOOLS,
    UNGRADED_ANSWER,
    AskingError,
    Rejection,
)
from curate.read.raw_row import Row

GOOD = frozenset(
    {"kto_tag", "good", "is_good", "accept", "accepted", "is_accepted", "approved", "is_approved", "correct"}
    | {"is_correct", "valid", "is_valid", "verified", "is_verified", "thumbs", "thumbs_up", "feedback"}
    | {"preferred", "is_preferred", "is_chosen", "desirable", "is_desirable", "acceptable", "train"}
    | {"training", "trainable", "trained", "is_trained", "loss", "use", "keep", "include", "included"}
    | {"passed", "vote", "verdict", "safe", "is_safe", "helpful", "is_helpful", "selected", "is_selected"}
    | {"exact_match", "success", "is_success", "successful", "resolved", "solved", "is_solved"}
    | {"kto_label", "liked", "upvoted", "thumb", "reaction", "useful", "usable", "truthful", "factual", "grounded"}
    | {"faithful", "chosen", "ok", "is_ok", "pass", "desired"}
    | {f"desirable_{said}" for said in ("output", "response", "completion")}
)
"""Columns that call an answer good where they are true, and bad where they are false."""
BAD = frozenset(
    {"rejected", "is_rejected", "exclude", "excluded", "deleted", "is_deleted", "spam", "is_spam", "toxic"}
    | {"is_toxic", "bad", "is_bad", "wrong", "is_wrong", "incorrect", "is_incorrect", "invalid", "is_invalid"}
    | {"thumbs_down", "undesirable", "unsafe", "is_unsafe", "harmful", "is_harmful", "discard", "discarded"}
    | {"skip", "skipped", "mask", "masked", "flagged", "is_flagged", "hallucination", "hallucinated"}
    | {"is_hallucination", "disliked", "downvoted", "low_quality"}
)
"""Columns that call an answer bad where they are true."""
LOOSE = frozenset(
    {"train", "training", "trained", "loss", "use", "keep", "include", "included", "valid"}
    | {"verified", "passed", "safe", "success", "resolved", "solved", "exact_match", "helpful", "correct"}
    | {"wrong", "incorrect", "invalid", "good", "bad", "mask", "masked", "skip", "exclude", "spam"}
    | {"thumb", "reaction", "useful", "usable", "factual", "grounded", "ok", "pass", "desired"}
    | {f"desirable_{said}" for said in ("output", "response", "completion")}
)
"""Of these, columns whose names mean other things as well: what is no verdict there (a date, a file, the letter of an
option) says nothing, where elsewhere it asks."""
GRADES = frozenset(
    {"score", "rank", "rating", "reward", "stars", "grade", "quality", "votes", "upvotes", "likes"}
    | {"helpfulness", "correctness", "quality_score", "overall_score", "answer_score", "response_score"}
    | {"reward_score", "preference_score", "human_score", "llm_score", "answer_rating", "response_rating"}
    | {"overall_rating", "user_rating", "human_rating"}
)
"""Columns whose numbers grade an answer."""
CLASSES = frozenset({"quality", "grade", "rank"})
"""Of these, columns whose words are as often the names of classes (`medium`, `5th`): a word that nobody knows says
nothing there, where elsewhere it asks."""
PLAIN = frozenset({"chosen"})
"""Of these, columns of which only true and false speak: elsewhere they name the answer, or are it."""
CLAIMS = {name: True for known in ("gold", "win", "positive") for name in (known, f"is_{known}")}
CLAIMS |= {"preference": True, "binary_label": True, "negative": False, "is_negative": False}
"""Columns that may judge an answer, or the world, by whether they call good what they are true of: where they call it
bad they ask."""
STATUS = frozenset({"status", "review_status", "annotation_status", "review", "response_status"})
"""Columns that call an answer bad by a word, and are there for much else."""
OUTCOMES = frozenset(
    {"outcome", "judgment", "judgement", "annotation", "assessment", "evaluation", "eval", "moderation"}
)
"""Columns that ask where such a word stands in them ..."""
KINDS = frozenset({"state", "type", "kind", "tag", "tags"})
"""... and those that only ask where it is one of REFUSED."""
BESIDE = frozenset(
    {"metadata", "meta", "annotation", "annotations", "info", "evaluation", "evaluations", "scores", "ratings", "eval"}
    | {"evals", "moderation", "judgment", "judgement", "assessment", "checks", "verification", "feedback"}
)
"""Columns in whose objects the columns above may stand, and lists of such objects, one for each who judged."""
OF_AN_ANSWER = frozenset(
    {"correct", "is_correct", "incorrect", "is_incorrect", "wrong", "is_wrong", "rejected", "is_rejected", "passed"}
    | {"hallucinated", "hallucination", "flagged", "is_flagged", "preferred", "is_preferred", "is_chosen", "desirable"}
    | {"is_desirable", "undesirable", "thumbs_up", "thumbs_down"}
)
SMALL, TEXTS = 8, frozenset({"text", "content", "answer", "value", "option", "name"})
"""Keys that ask in an object under any other name, where they are true or false: it has at most so many keys, and none
by which it is itself something said, or somebody."""
LABEL, LABELS, WEIGHT, RANK = "label", "labels", "weight", "rank"
"""A label is feedback where it is true or false, or one of the words that judge; a grade where it is a number; a class
else. A weight of 0 is not to be learned. A rank of 0 is the best, whatever the ranks beside it begin with."""
MESSAGE = GOOD | {WEIGHT, "learn", "train_on_turn"}
"""Keys that say that a message is to be learned, where they are true."""
JUDGING = GOOD | BAD | GRADES | STATUS | CLAIMS.keys() | OUTCOMES | KINDS | {LABEL, LABELS, WEIGHT}
"""Every name by which a column judges or grades."""
TOLD = (
    {"correct", "incorrect", "good", "bad", "wrong", "accepted", "rejected", "approved", "desirable", "undesirable"}
    | {"acceptable", "useful", "helpful", "harmful", "toxic", "unsafe", "hallucination", "hallucinated", "feedback"}
    | {"liked", "disliked", "upvoted", "downvoted", "thumb", "thumbs", "thumbs_up", "thumbs_down", "reaction"}
    | {"verdict", "preferred", "quality", "correctness", "helpfulness", "rating", "truthful", "factual", "grounded"}
    | {"faithful", "low_quality", "passed", "ok", "gold", "win", "positive", "negative", LABEL}
)
"""Of these, names that mean the same with words around them that tell whose verdict it is, and on what."""
ASKED = {"is", "was", "has"}
ANSWER = {"response", "answer", "completion", "output", "reply", "generation"}
BEFORE = (
    {"user", "human", "annotator", "rater", "reviewer", "expert", "judge", "llm", "gpt", "gpt4", "model", "assistant"}
    | {"ai", "overall", "final", "test", "tests", "all"}
    | ASKED
    | ANSWER
)
BEHIND = {"flag", "tag", "type", LABEL}
"""Such words. What follows `is` may end in the answer itself; without it `correct_answer` is one, and no verdict."""
PRODIGY, PRODIGYS = ("accept", "reject", "ignore"), ("_task_hash", "_input_hash")
"""What Prodigy's `answer` says of an annotation, and columns by which a row is known to be one."""
SPANS = ("train_detail", "training_detail", "train_spans", "loss_spans")
"""Keys of a message that say which of its characters are to be learned."""

TRUE, FALSE = {"true", "yes", "y", "t", "1", "1.0"}, {"false", "no", "n", "f", "0", "0.0"}
PRAISE = (
    {"good", "desirable", "accept", "accepted", "approve", "approved", "correct", "chosen", "preferred", "keep"}
    | {"thumbs_up", "thumbsup", "thumb_up", "up", "upvote", "upvoted", "+1", "👍", "valid", "right", "acceptable"}
    | {"safe", "excellent", "pass", "passed"}
)
BLAME = (
    {"bad", "undesirable", "reject", "rejected", "disapproved", "incorrect", "wrong", "discard", "drop", "exclude"}
    | {"thumbs_down", "thumbsdown", "thumb_down", "down", "downvote", "downvoted", "-1", "-1.0", "👎", "invalid"}
    | {"unacceptable", "unsafe", "poor", "very_poor", "very_bad", "terrible", "fail", "failed", "discarded"}
    | {"hallucinated", "hallucination", "undesired", "dispreferred"}
)
REFUSED = {"reject", "rejected", "disapproved", "undesirable", "undesired", "dispreferred", "unacceptable"}
LIKED = {"positive", "like", "liked", "ok", "high"}
DISLIKED = {"negative", "dislike", "disliked", "low", "spam"}
"""Words that judge in a column that is there for it; as a label they are as often a class."""

NUMBER = re.compile(r"\s*[-+]?(\d++(?:[.,]\d*)?|\.\d+)\s*+(%|(/|of|out of)\s*\d+|stars?|points?)?\s*", re.IGNORECASE)
MEND = (
    "write e.g. `accept: {}` below `record:` in the recipe (true for answers to be learned, false for bad ones); "
    '`accept: "true"` takes all'
)


READ = {*ANSWERS, *PROMPTS, *CONVERSATIONS, *TALKS, *TOOLS, *SYSTEMS, *INPUTS}
"""Columns in which a row says what is said."""


class UnknownVerdict(Exception):
    """A value of which nobody knows what it says of the answer."""


def normal(name: Any) -> str:
    """A column's name as the tables have it: `isCorrect` and `Is-Correct` as `is_correct`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(name).strip())
    return re.sub(r"[\s\-.]+", "_", spaced).lower()


def truth(value: Any, reverse: bool = False) -> bool | None:
    """Whether a value calls an answer good; None where it says nothing, as null, NaN and nothing do.

    Args:
        value: of a column that judges.
        reverse: whether the column calls bad what it is true of.

    Raises:
        UnknownVerdict: nobody knows.
    """
    if (
        value is None
        or (isinstance(value, str) and not value.strip())
        or (isinstance(value, float) and math.isnan(value))
    ):
        return None
    if isinstance(value, (bool, int, float, str)):
        word = _word(value)
        if word in TRUE or word in FALSE:
            return (word in TRUE) is not reverse
        if (said := _judged(word)) is not None:
            return said
        if word in LIKED or word in DISLIKED:
            return word in LIKED
    raise UnknownVerdict


def _judged(word: str) -> bool | None:
    """What a word says that judges: `not_preferred` and `unapproved` deny what they are made of; None of any other."""
    word = re.sub(r"kto_(?=true$|false$)", "", word.strip("_"))
    if word in PRAISE or word in BLAME:
        return word in PRAISE
    if word in ("true", "false"):
        return word == "true"
    denied = re.fullmatch(r"(?:not|non)_(.+)|un_?(.+)", word)
    if denied is None:
        return None
    if denied[1] in PRAISE | LIKED or denied[2] in PRAISE:
        return False
    return True if denied[1] in BLAME | DISLIKED else None


def meant(name: Any) -> str:
    """A column's normal name, without the words that tell whose verdict it has and on what, where it is such a name:
    `userFeedback` as `feedback`, `is_correct_answer` as `correct`."""
    plain = normal(name)
    words = plain.split("_")
    asks = words[0] in ASKED
    while len(words) > 1 and words[0] in BEFORE:
        del words[0]
    ends = BEHIND | ANSWER if asks else BEHIND
    while len(words) > 1 and words[-1] in ends and "_".join(words) not in TOLD:
        del words[-1]
    found = "_".join(words)
    return found if plain not in JUDGING | MESSAGE and found in TOLD else plain


@lru_cache(maxsize=1024)
def judging(columns: tuple[Any, ...]) -> tuple[tuple[str, str], ...]:
    """The columns that judge or grade an answer, or may hold such, each with the name that is meant."""
    named = [(name, meant(name)) for name in columns]
    return tuple((name, known) for name, known in named if known in JUDGING | BESIDE)


def judge(row: Row) -> tuple[Rejection | None, dict[str, str]]:
    """What a row's columns say against its one answer, and its grades as `meta`.

    A column that calls it bad comes before one that only grades it; nothing is said against what is called good.
    """
    found: list[Rejection] = []
    grades: dict[str, str] = {}
    for name, known, plain, value in _judgements(row):
        numeric = (isinstance(value, (int, float)) and not isinstance(value, bool)) or _is_number(value)
        weighs = known == WEIGHT and number(value) is not None
        grade = numeric and (known in GRADES or known == LABEL == plain)
        if weighs or grade:
            grades[name] = str(value)
        try:
            good = _said(known, value)
        except UnknownVerdict:
            if (grade or known == plain) and not _restates(known, value, row):
                found.append(Rejection(UNGRADED_ANSWER, evidence(name, value)))
            continue
        if good is False:
            return Rejection(REJECTED_ANSWER, {"column": name, "value": shown(value)}), grades
    if not found and dict in map(type, row.values()):
        found += [Rejection(UNGRADED_ANSWER, evidence(name, value)) for name, value in _claims_within(row)]
    return (found[0] if found else None), grades


def _restates(known: str, value: Any, row: Row) -> bool:
    """Whether a column that may judge the answer, or the world, only says again what the row's texts speak of."""
    if known not in CLAIMS and known not in OUTCOMES and known not in KINDS:
        return False
    words = {"positive", "negative"}
    if known in OUTCOMES or known in KINDS:
        words = {str(each).strip().lower() for each in (value if isinstance(value, list) else [value])}
    elif known.removeprefix("is_") not in words:
        words = {known.removeprefix("is_")}
    texts = [row[name] for name in (*PROMPTS, *ANSWERS, "instruction") if isinstance(row.get(name), str)]
    return any(word in text.lower() for text in texts for word in words)


def _claims_within(row: Row) -> Iterator[tuple[str, Any]]:
    """What calls the answer bad in objects under names that say nothing of verdicts."""
    for name, value in row.items():
        if type(value) is not dict or len(value) > SMALL or name in READ or meant(name) in JUDGING | BESIDE:
            continue
        if TEXTS.isdisjoint(map(normal, value)):
            for key, held in value.items():
                known = meant(key)
                if (
                    known in OF_AN_ANSWER
                    and str(held).lower() in ("true", "false")
                    and truth(held, known in BAD) is False
                ):
                    yield f"{name}.{key}", held


def _judgements(row: Row) -> Iterator[tuple[str, str, str, Any]]:
    """What may judge a row's answer: (where it stands, the name that is meant, the normal name, value)."""
    for name, known in judging(tuple(row)):
        value = row[name]
        if known in BESIDE and isinstance(value, dict) and (known not in JUDGING or "value" not in value):
            yield from ((f"{name}.{key}", inner, normal(key), value[key]) for key, inner in _held(value))
        elif known in BESIDE and isinstance(value, list) and value and isinstance(value[0], dict):
            for key, inner in _held(value[0]):
                said = [each.get(key) for each in value if isinstance(each, dict)]
                yield f"{name}.{key}", inner, normal(key), said
        elif known in JUDGING:
            yield name, known, normal(name), value


def _held(value: Row) -> list[tuple[str, str]]:
    """The keys of an object that judge; a number under `label` is a class there."""
    named = judging(tuple(value))
    return [
        (name, known)
        for name, known in named
        if known not in BESIDE and not (known in (LABEL, LABELS) and _is_class(value[name]))
    ]


def _said(known: str, value: Any) -> bool | None:
    """What the column says whose normal name is `known`; UnknownVerdict where it grades, or nobody knows."""
    if isinstance(value, dict) and "value" in value:
        value = value["value"]
    if isinstance(value, list):  # of several who judged
        if known == LABELS and not all(isinstance(each, bool) for each in value):
            return None
        said = {_said(known, each) for each in value}
        if False in said and len(said) > 1:
            raise UnknownVerdict
        return None if said <= {None} else False not in said
    if known in STATUS:
        return False if isinstance(value, str) and _word(value) in BLAME | {"deleted", "spam"} else None
    if known in OUTCOMES or known in KINDS:
        word = _word(value) if isinstance(value, str) else ""
        if word in REFUSED or (known in OUTCOMES and re.search(r"[a-z]", word) and _judged(word) is False):
            raise UnknownVerdict
        return None
    if known in CLAIMS:
        word = _word(value)
        told = word in ("true", "false") or (word in ("0", "0.0") and known == "binary_label")
        if told and (word == "true") is not CLAIMS[known]:
            raise UnknownVerdict
        return None
    if known in PLAIN:
        return value if isinstance(value, bool) else None
    if known in GOOD or known in BAD:
        try:
            return truth(value, known in BAD)
        except UnknownVerdict:
            if known in LOOSE:
                return None
            raise
    if known == WEIGHT:
        return None if (weight := number(value)) is None else weight > 0
    if isinstance(value, bool):
        return value
    if known == RANK and number(value) == 0:
        return True
    if isinstance(value, (int, float)):
        if math.isnan(value):
            return None
        raise UnknownVerdict
    if not isinstance(value, str):
        return None
    if known in (LABEL, LABELS):
        if (said_of_it := _judged(_word(value))) is not None:
            return said_of_it
        if _word(value) in {"dislike", "disliked"}:
            raise UnknownVerdict
    elif not _is_number(value):
        try:
            return truth(value)
        except UnknownVerdict:
            if known in CLASSES:
                return None
            raise
    if _is_number(value):
        raise UnknownVerdict
    return None


def message_verdict(key: str, value: Any) -> bool | None:
    """Whether a message is to be learned by one of its keys; None where the key or its value says nothing of that.

    Raises:
        AskingError: the key says so of a part of the message, or in a word that nobody knows.
        UnknownVerdict: the key grades the message.
    """
    plain, known = normal(key), meant(key)
    if known in SPANS:
        raise AskingError(f"messages: {key} says which parts of a message are trained; map `turns` to say what to do")
    if known in GRADES or known == WEIGHT or known == LABEL == plain:
        return _said(known, value)
    if known not in MESSAGE and known not in BAD and known != LABEL:
        return None
    if known in ("chosen", "ok", "pass"):
        return value if isinstance(value, bool) else None
    try:
        return truth(value, known in BAD)
    except UnknownVerdict:
        if known != plain:
            return None
        raise AskingError(f"messages: {key} is {shown(value)!r}: nobody knows whether the message is trained") from None


def evidence(name: str, value: Any, expression: str | None = None) -> dict[str, Any]:
    """Evidence of a grade, with an example of what the recipe may say of it.

    Args:
        name: where it stands.
        expression: how the recipe's expressions name it; as `name` does, if None.
    """
    said = expression or (name if re.fullmatch(r"[A-Za-z_][\w.]*", name) else f"_row[{name!r}]")
    if isinstance(value, list) and normal(name) not in KINDS:
        column, _, key = name.partition(".")
        said = f"{column} | map(attribute='{key}') | min" if key else f"{said} | min"
        value = next((each for each in value if each is not None), None)
    if normal(name) in KINDS and isinstance(value, list):
        refused = next(each for each in value if isinstance(each, str) and _word(each) in REFUSED)
        example = f"{refused!r} not in {said}"
    elif normal(name) in OUTCOMES | KINDS:
        example = f"{said} != {value!r}"
    elif normal(name) == RANK:
        example = f"{said} == 1"
    elif isinstance(value, bool):
        example = said if not value else f"not {said}"
    elif number(value) is None:
        example = f"{said} == 'good'"
    else:
        example = said + ("" if isinstance(value, (int, float)) else " | float") + f" {_good_grades(name, str(value))}"
    message = f"{name} grades the answer, and only the recipe can say which grades are good: {MEND.format(example)}"
    return {"column": name, "value": shown(value), "message": message}


def _good_grades(name: str, grade: str) -> str:
    """Such as may be good, where this is one of the grades."""
    if not 0 <= float(grade) <= 1:
        return ">= 4"
    if "." in grade:
        return ">= 0.8"
    return "== 1" if normal(name).endswith((LABEL, "score", "reward", "correctness")) else ">= 4"


def shown(value: Any) -> Any:
    """A value as evidence has it."""
    return value if isinstance(value, (bool, int, float)) else str(value)[:200]


def _word(value: Any) -> str:
    return re.sub(r"(?<=\w)[\s-]+(?=\w)", "_", str(value).strip().lower())


def number(value: Any) -> float | None:
    """A value as a finite number, if it is one or says one."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _is_class(value: Any) -> bool:
    return number(value) is not None and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, str) and NUMBER.fullmatch(value) is not None
