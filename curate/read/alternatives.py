"""Several answers to one question, of which the row says which is the better -> a row for each of them.

A pair under two names (`chosen`, `rejected`), answers under numbered or lettered names (`response_a`, `response_b`)
with a verdict beside them, and lists of answers with scores, ranks or labels. Where nothing says which is the better,
or two are equally good, a row asks by an AskingError.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from curate.read.conversation import (
    ANSWERS,
    CONVERSATIONS,
    PROMPTS,
    ROLES,
    SYSTEMS,
    AskingError,
    ShapeError,
    first_of,
    json_text,
    tools_of,
)
from curate.read.json_value import text_value
from curate.read.message_list import SAID, are_messages, in_keys_of, is_message
from curate.read.padding import unpadded_calls
from curate.read.raw_row import Row
from curate.read.reasoning import is_thought
from curate.read.verdicts import UnknownVerdict, normal, number, shown, truth


@dataclass(frozen=True)
class Alternative:
    """One of several answers."""

    row: Row
    """The row as if this were its only answer."""
    evidence: dict[str, Any] | None
    """What says that it is the worse; None of a good one."""


@dataclass(frozen=True)
class Layout:
    """Where a row's answers stand."""

    read: Callable[[Row], list[Alternative] | None]
    """The answers of a row without nulls, the good ones first; None where the columns hold something else."""
    taken: dict[str, str]
    """Column -> what it is taken for."""


WORDS = (
    *(("chosen", "rejected"), ("chosen", "reject"), ("accepted", "rejected"), ("preferred", "rejected")),
    *(("preferred", "dispreferred"), ("preferred", "non_preferred"), ("better", "worse"), ("best", "worst")),
    *(("winner", "loser"), ("winning", "losing"), ("win", "lose"), ("good", "bad"), ("positive", "negative")),
    *(("correct", "incorrect"), ("correct", "wrong"), ("right", "wrong"), ("right", "hallucinated")),
)
WITHIN = {frozenset(pair): pair for pair in WORDS}
"""Keys of an object that is no answer but a pair of them ..."""
SURELY = frozenset({"chosen", "preferred", "better", "winning"})
"""... for sure where the better one is called so; elsewhere such an object may be what was asked for."""
BARE = 3
"""So many of them say alone, beside an answer under a name of its own, that there is a pair."""
NOUNS = ("response", "answer", "completion", "output", "message", "messages", "conversation", "text", "reply")
PAIRS = (
    *WORDS,
    *((f"{better}_{noun}", f"{worse}_{noun}") for better, worse in WORDS for noun in NOUNS),
    *((f"{noun}_{better}", f"{noun}_{worse}") for better, worse in WORDS for noun in NOUNS),
    *(("response_j", "response_k"), ("best_answer", "incorrect_answers")),
)
"""Names of the better and of the worse answer."""
WORSE = ("rejected", *(f"{worse}_{noun}" for _, worse in WORDS for noun in NOUNS))
WORSE += tuple(f"{noun}_{worse}" for _, worse in WORDS for noun in NOUNS)
"""Names of a worse answer than the one that stands under a plain name beside it."""
MENDED = "corrected|revised|improved|edited|fixed"
CORRECTED = re.compile(rf"({'|'.join(NOUNS)}_)?({MENDED})|({MENDED})(_{'|_'.join(NOUNS)})?|revision|correction")
"""Names of what was made of an answer that was not good enough."""
NUMBERED = re.compile(
    r"(response|answer|completion|output|generation|conversation|reply|candidate|human_ref|assistant|summary)_?([a-d]|\d)"
    r"|(model|assistant)_([a-d]|\d)_(?:response|answer|completion|output)"
)
ONE_HOT = re.compile(r"(?:winner|preferred|chosen)_(?:model_)?(\w)")
GRADE = re.compile(r"(?:score|rating|rank|reward)_?(\w)")
"""Columns that are 1 where one of the answers is the better, and that grade one of them."""
VERDICTS = frozenset(
    {"winner", "preference", "preferred", "choice", "better", "better_response_id", "safer_response_id"}
    | {"better_response", "best_response", "chosen", "label", "human_preference"}
)
"""Columns that name one of several answers."""
SIGNED = frozenset({"overall_preference", "preference_strength"})
"""Columns that are below 0 where the first of two answers is the better, and above it where the second is."""
JUDGED = re.compile(r"is_[a-z]+_(\w)_(?:safe|correct|good|valid|acceptable)")
"""Columns that are false where one of the answers is bad by itself."""
LISTS = ("completions", "responses", "candidates", "answers", "outputs", "generations", "replies", "summaries")
TEXTS = ("text", "response", "content", "answer", "output", "completion", "generated_text", "value", "message")
"""Keys of an object that is one of several answers, of which one holds it."""
HIGHER = ("overall_score", "score", "rating", "reward", "stars", "votes", "upvotes", "quality", "pm_score")
LOWER = ("rank", "ranking")
ONE_OF = ("chosen", "preferred", "is_preferred", "is_chosen", "accepted", "is_accepted", "selected", "is_selected")
BESIDE_TEXT = ("id", "model", "source", "annotator")
"""Keys beside a text and its grade, where an answer's column holds such objects."""
FLAGS = ("label", "correct", "is_correct", *ONE_OF)
"""Keys of such an object, and with an s columns beside the list, by which answers are compared."""


@lru_cache(maxsize=1024)
def layout_of(columns: tuple[Any, ...]) -> Layout | None:
    """Where rows of these columns may have several answers; None where they have none."""
    named = {normal(name): name for name in columns}
    answer = next((name for name in ANSWERS if name in columns), None)
    for better, worse in PAIRS:
        if better in named and worse in named and (answer is None or (better, worse) not in WORDS[BARE:]):
            names = named[better], named[worse]
            return Layout(partial(_pair, *names), dict(zip(names, ("answer", "rejected answer"), strict=True)))
    below = next((known for known in WORSE if known in named), None)
    if answer is not None and below is not None:
        names = answer, named[below]
        return Layout(partial(_pair, *names), dict(zip(names, ("answer", "rejected answer"), strict=True)))
    if answer is None and below is not None and any(name in columns for name in CONVERSATIONS):
        return Layout(partial(_pair, named.get("chosen"), named[below]), {named[below]: "rejected answer"})
    if answer is not None and (mended := next((known for known in named if CORRECTED.fullmatch(known)), None)):
        return Layout(partial(_corrected, answer, named[mended]), {answer: "answer", named[mended]: "corrected answer"})
    numbered = {known: match for known in named if (match := NUMBERED.fullmatch(known))}
    bases = [match[1] or match[3] for match in numbered.values()]
    if answer is None and (base := next((base for base in bases if bases.count(base) > 1), None)):
        places = {m[2] or m[4]: named[known] for known, m in numbered.items() if (m[1] or m[3]) == base}
        verdicts = {known: name for known, name in named.items() if _may_name(known, places)}
        taken = dict.fromkeys(places.values(), "answer") | dict.fromkeys(verdicts.values(), "feedback")
        return Layout(partial(_numbered, places, verdicts), taken)
    if answer is None and (alone := [named[name] for name in ("chosen", "rejected") if name in named]):
        # The other one is null in this row, or nowhere.
        use = "answer" if "chosen" in named else "rejected answer"
        return Layout(partial(_pair, named.get("chosen"), named.get("rejected")), {alone[0]: use})
    name = answer or next((named[name] for name in LISTS if name in named), None)
    if name is not None:
        beside = {key: named[each] for key in (*HIGHER, *LOWER, *FLAGS) for each in (f"{key}s", key) if each in named}
        taken = {name: "answer"} | dict.fromkeys(beside.values(), "feedback") if name != answer or beside else {}
        return Layout(partial(_list, name, beside), taken)
    return None


def pair_within(row: Row) -> str | None:
    """The column of an answer that holds an object of a better and a worse one, if there is such a column.

    Raises:
        AskingError: the object may as well be the answer, of which the question says nothing.
    """
    answer = first_of(row, ANSWERS)
    held = row[answer] if answer is not None else None
    if not isinstance(held, dict) or len(held) != 2 or not all(map(_is_answer, held.values())):
        return None
    pair = WITHIN.get(frozenset(map(normal, held)))
    if pair is None or all(_spoken(row, *pair)) or (pair[0] not in SURELY and any(_spoken(row, "json"))):
        return None
    if pair[0] not in SURELY:
        raise AskingError(
            f"{answer} is an object of {' and '.join(pair)}: a pair of answers, or the answer itself; map `turns`, "
            f"e.g. to `{answer}.{pair[0]}`, or `target` to `{answer}`"
        )
    return answer


def _asked(row: Row) -> str:
    """All texts of a row that ask."""
    asked = [row[name] for name in (*PROMPTS, "instruction", *SYSTEMS) if name in row]
    talk = first_of(row, CONVERSATIONS)
    for message in row[talk] if talk is not None and are_messages(row[talk]) else ():
        asked += [message.get(key) for key in SAID]
    return " ".join(each for each in asked if isinstance(each, str))


def _spoken(row: Row, *words: str) -> list[bool]:
    """Whether what is asked says each of the words: what has such keys is then what was asked for."""
    text = normal(_asked(row))
    return [re.search(rf"(?<![^\W_]){word}", text) is not None for word in words]


def _pair(better: Any, worse: Any, row: Row) -> list[Alternative] | None:
    row = _opened(row)
    good = [row[better]] if row.get(better, "") != "" else []
    bad = [row[worse]] if row.get(worse, "") != "" else []
    if bad and isinstance(bad[0], list) and not are_messages(bad[0]):
        [bad] = bad
    if not good + bad or not all(map(_is_answer, good + bad)):
        return None
    if good and good[0] in bad:
        raise AskingError(f"{better} and {worse} are the same answer: which is it?")
    left = {name: value for name, value in row.items() if name not in (better, worse)}
    evidence = {"better": better, "worse": worse}
    talk = first_of(row, CONVERSATIONS)
    if not good and talk is not None and are_messages(row[talk]) and _answers(row[talk][-1]):
        asked, evidence = left | {talk: row[talk][:-1]}, evidence | {"better": talk}
        return [
            Alternative(left, None),
            *(Alternative(_answered(asked, str(worse), each), dict(evidence)) for each in bad),
        ]
    return [
        *(Alternative(_answered(left, str(better), each), None) for each in good),
        *(Alternative(_answered(left, str(worse), each), dict(evidence)) for each in bad),
    ]


def _corrected(answer: str, mended: str, row: Row) -> None:
    """Nothing to read: a row whose answer was corrected asks."""
    if _is_answer(row.get(mended)) and row.get(answer) not in (None, row[mended]):
        raise AskingError(
            f"{mended} stands beside {answer}, as if that were not good enough: map `turns` to say which is learned"
        )


def _may_name(known: str, places: dict[str, str]) -> bool:
    """Whether a column says which of several answers is the better, or grades one of them."""
    of_one = ONE_HOT.fullmatch(known) or GRADE.fullmatch(known) or JUDGED.fullmatch(known)
    return known in VERDICTS | SIGNED or (of_one is not None and of_one[1] in places)


def _numbered(places: dict[str, str], verdicts: dict[str, str], row: Row) -> list[Alternative] | None:
    row = _opened(row)
    held = {place: row[name] for place, name in places.items() if name in row}
    asked = first_of(row, PROMPTS)
    if asked is not None and all(
        isinstance(said, str) and said.startswith("[") for said in (row[asked], *held.values())
    ):
        row, held = _by_turns(row, asked, held)
    if not held or not all(map(_is_answer, held.values())):
        return None
    if not _is_open(row) and not all(map(are_messages, held.values())):
        return None
    said = {known: row[name] for known, name in verdicts.items() if name in row}
    best = _best_place(said, held)
    if len(best) != 1 or not best <= held.keys():
        found = (
            ", ".join(f"{verdicts[known]}: {value!r}"[:80] for known, value in said.items()) or "no column beside them"
        )
        raise AskingError(
            f"{', '.join(places.values())} are several answers, and nothing says for sure which is the better "
            f"({found}); map `turns` to the one that is to be learned"
        )
    [good] = best
    gone = {*places.values(), *verdicts.values()}
    left = {name: value for name, value in row.items() if name not in gone}
    evidence = {"better": places[good], "by": {verdicts[known]: shown(value) for known, value in said.items()}}
    faults = {
        match[1]: {"column": verdicts[known], "value": shown(value)}
        for known, value in said.items()
        if (match := JUDGED.fullmatch(known)) and not value
    }
    return [
        Alternative(
            _answered(left, places[place], held[place]),
            faults.get(good) if place == good else evidence | {"worse": places[place]},
        )
        for place in sorted(held, key=lambda place: (place != good, place))
    ]


def _by_turns(row: Row, asked: str, held: dict[str, Any]) -> tuple[Row, dict[str, Any]]:
    """Answers as conversations, where what is asked and each of them is a list as JSON text, a text for each turn."""
    try:
        questions, *answers = [text_value(said) for said in (row[asked], *held.values())]
    except ValueError:
        return row, held
    if not all(isinstance(each, list) and len(each) == len(questions) for each in answers):
        return row, held
    row = {name: value for name, value in row.items() if name != asked}
    said = [
        [
            {"role": role, "content": text}
            for pair in zip(questions, each, strict=True)
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
        for each in answers
    ]
    return row, dict(zip(held, said, strict=True))


def _best_place(said: Row, held: dict[str, Any]) -> set[str]:
    """The places that columns, each by its normal name, say to be the better, by whatever way they say it first."""
    best = {
        place for known, value in said.items() if known in VERDICTS | SIGNED and (place := _named(known, value, held))
    }
    best |= {match[1] for known, value in said.items() if (match := ONE_HOT.fullmatch(known)) and value == 1}
    if best:
        return best
    grades = {match[1]: number(value) for known, value in said.items() if (match := GRADE.fullmatch(known))}
    lower = any(known.startswith("rank") for known in said)
    return set(_best(grades, lower)) if grades.keys() == held.keys() else set()


def _named(known: str, value: Any, held: dict[str, Any]) -> str | None:
    """Which place a verdict names: by a number, a letter, a column, a word before either (`model_a`), or its text."""
    if isinstance(value, bool):
        return None
    if known in SIGNED and (signed := number(value)) is not None:
        return sorted(held)[signed > 0] if signed and len(held) == 2 else None
    if isinstance(value, str) and (same := [place for place, text in held.items() if text == value]):
        return same[0]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = normal(value)
    match = re.fullmatch(r"(?:model_?|assistant_?|option_?|[a-z]+_)?(\w)", text)
    return match[1] if match is not None and match[1] in held else None


def _list(name: str, beside: dict[str, str], row: Row) -> list[Alternative] | None:
    if name in ANSWERS and not isinstance(row.get(name), list):
        return None
    row = _opened(row)
    several = row.get(name)
    if name not in ANSWERS and _is_open(row) and (one := _one_of(name, several, row)) is not None:
        return [Alternative(_answered({each: row[each] for each in row if each != name}, name, one), None)]
    if not (isinstance(several, list) and several and _is_open(row)) or (are_messages(several) and name in ANSWERS):
        return None
    graded = {key: row[each] for key, each in beside.items() if isinstance(row.get(each), list)}
    if name in ANSWERS and not graded and not _are_graded(several, row):
        return None
    gone = {name, *(beside[key] for key in graded)}
    left = {each: value for each, value in row.items() if each not in gone}
    steps = graded.get("label")
    if normal(name) == "completions" and steps is not None and all(isinstance(each, str) for each in several):
        return [_stepwise(name, several, beside["label"], steps, left)]
    if all(isinstance(each, dict) and not is_message(each) for each in several):
        graded |= {key: [each.get(key) for each in several] for key in (*HIGHER, *LOWER, *FLAGS) if key in several[0]}
        texts = [next((each[key] for key in TEXTS if each.get(key) is not None), None) for each in several]
    else:
        texts = several
    if not all(map(_is_answer, texts)):
        return None
    if len(texts) == 1 and not graded:
        return [Alternative(_answered(left, name, texts[0]), None)]
    key, good = _good(graded, len(texts), name)
    return [
        Alternative(
            _answered(left, name, texts[place]),
            None if place in good else {"column": name, "place": place, "by": {key: shown(graded[key][place])}},
        )
        for place in sorted(range(len(texts)), key=lambda place: (place not in good, place))
    ]


def _are_graded(several: list[Any], row: Row) -> bool:
    """Whether objects are answers of which each has its grade, and not what the question asks for: it speaks of no
    grades, and has not the texts."""
    if len(several) < 2 or not all(isinstance(each, dict) for each in several):
        return False
    keys = {normal(key) for each in several for key in each}
    grades = keys & {*HIGHER, *LOWER, *ONE_OF}
    if not grades or len(keys & {*TEXTS}) != 1 or not keys <= {*TEXTS, *HIGHER, *LOWER, *ONE_OF, *BESIDE_TEXT}:
        return False
    texts = [each.get(key) for each in several for key in TEXTS if key in each]
    asked = _asked(row)
    return not any(_spoken(row, "json", *grades)) and not any(isinstance(each, str) and each in asked for each in texts)


def _one_of(name: str, several: Any, row: Row) -> Any:
    """The one answer that a column of several names is: a text, calls of tools, or the one span that SQuAD has."""
    found: Any = several
    if isinstance(several, str) and several.lstrip().startswith("["):
        try:
            found = text_value(several)
        except ValueError:
            return several
    if isinstance(found, list) and found and all(isinstance(each, dict) and "arguments" in each for each in found):
        tools = tools_of(row)
        return several if isinstance(several, str) else json_text(unpadded_calls(found, tools))
    if isinstance(found, dict) and isinstance(spans := found.get("text"), list) and "answer_start" in found:
        if len({*spans}) == 1:
            return spans[0]
        found = spans
        name = f"{name}.text"
    elif not isinstance(several, str):
        return None
    if isinstance(found, list):
        raise AskingError(f"{name} has {len(found)} answers, not one; map `turns`, e.g. to `{name}[0]`")
    return several


def _good(graded: dict[str, list[Any]], count: int, name: str) -> tuple[str, set[int]]:
    """By which key, and at which places, answers of a list are good; ShapeError where that is not known."""
    for key in (*FLAGS, *LOWER, *HIGHER):
        values = graded.get(key, [])
        if len(values) != count:
            continue
        if key in FLAGS:
            try:
                said = [truth(value) for value in values]
            except UnknownVerdict:
                continue
            if None not in said and (key not in ONE_OF or any(said)):
                return key, {place for place, good in enumerate(said) if good}
        elif (
            len(best := _best({place: number(value) for place, value in enumerate(values)}, key in LOWER)) == 1 < count
        ):
            return key, set(best)
    raise AskingError(
        f"{name} is a list of {count} answers, and nothing says for sure which is the better (looked for scores, ranks "
        f"or labels, in a list beside it or in each); map `turns`, e.g. to `{name}[0]`"
    )


def _best(grades: dict[Any, float | None], lower: bool) -> list[Any]:
    """The places of the best grade; none where one has no grade."""
    known = [grade for grade in grades.values() if grade is not None]
    if not known or len(known) < len(grades):
        return []
    best = min(known) if lower else max(known)
    return [place for place, grade in grades.items() if grade == best]


def _stepwise(name: str, steps: list[str], column: str, labels: list[Any], left: Row) -> Alternative:
    """trl's step-wise supervision: an answer in steps, of which each was judged."""
    try:
        wrong = [place for place, label in enumerate(labels) if truth(label) is not True]
    except UnknownVerdict:
        wrong = list(range(len(labels)))
    if len(labels) != len(steps):
        raise ShapeError(f"{name} has {len(steps)} steps, {column} {len(labels)}")
    evidence = {"column": column, "value": [shown(label) for label in labels], "wrong_steps": wrong} if wrong else None
    return Alternative(left | {"completion": "\n".join(steps)}, evidence)


def _opened(row: Row) -> Row:
    """A row with what it asks under one of the names for it: a `history` may be a text, a `context` a conversation.
    What was thought is left out: of which of several answers nobody knows."""
    row = {name: value for name, value in row.items() if not is_thought(name)}
    if first_of(row, (*PROMPTS, "instruction", *CONVERSATIONS)) is None:
        if isinstance(row.get("history"), str):
            row["prompt"] = row.pop("history")
        elif are_messages(row.get("context")):
            row[CONVERSATIONS[0]] = row.pop("context")
    return row


def _is_open(row: Row) -> bool:
    """Whether a row asks for an answer: it has a question, or a conversation that does not end with an answer."""
    conversation = first_of(row, CONVERSATIONS)
    if conversation is not None and are_messages(row[conversation]):
        return not _answers(row[conversation][-1])
    return first_of(row, (*PROMPTS, "instruction")) is not None


def _is_answer(value: Any) -> bool:
    return (isinstance(value, str) and bool(value.strip())) or is_message(value) or are_messages(value)


TRANSCRIPT = re.compile(r"(?:\A|\n\n)(Human|Assistant): ?")


def _answered(left: Row, name: str, answer: Any) -> Row:
    """A row without its answers, with this one as its only."""
    row = {each: value for each, value in left.items() if each not in ANSWERS}
    if isinstance(row.get("input"), dict) and are_messages(row["input"].get(CONVERSATIONS[0])):
        row |= row.pop("input")
    said = [answer] if is_message(answer) else answer
    conversation = first_of(row, CONVERSATIONS)
    asks = first_of(row, PROMPTS) or first_of(row, ("instruction",))
    if isinstance(said, str) and asks is None and conversation is None:
        pieces = TRANSCRIPT.split(said)
        if len(pieces) < 3 or pieces[0].strip():
            raise AskingError(f"{name}: an answer without a question; columns {', '.join(map(str, row)) or '(none)'}")
        said = [
            {"role": who.lower(), "content": text.strip()} for who, text in zip(pieces[1::2], pieces[2::2], strict=True)
        ]
    if are_messages(said) and not _answers(said[0]):
        asked = {*PROMPTS, *CONVERSATIONS, "instruction"}
        return {each: value for each, value in row.items() if each not in asked} | {CONVERSATIONS[0]: said}
    if conversation is not None and are_messages(row[conversation]):
        before = row[conversation]
        if _answers(before[-1]):
            raise AskingError(
                f"{conversation} ends with an answer, and {name} is another one; map `turns` to say which"
            )
        said = [{"role": "assistant", "content": said}] if isinstance(said, str) else said
        return row | {conversation: before + in_keys_of(before[0], said)}
    return row | {"output": said}


def _answers(message: Row) -> bool:
    """Whether an assistant says a message."""
    return ROLES.get(str(message.get("role", message.get("from"))).strip().lower()) == "assistant"
