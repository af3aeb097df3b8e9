"""Answer signals: phrases of several languages, sound answers beside broken ones, and the same in plain Python."""

import random
import re
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.record import answer_text
from curate.text.answer_signals import BLANK, MARKER, REFUSAL, answer_signals
from curate.text.words import split_words
from tests.records import record, table_of


def signals(prompt: str, answer: str, **languages: Any) -> dict[str, Any]:
    table = table_of([record(prompt, ("assistant", answer))])
    for name, value in languages.items():
        if name in table.column_names:
            table = table.drop_columns(name)
        table = table.append_column(name, pa.array([value], pa.bool_() if name == "mixed_language" else pa.string()))
    return {name: values.to_pylist()[0] for name, values in answer_signals(table).items()}


def raised(prompt: str, answer: str, **languages: Any) -> set[str]:
    return {name for name, value in signals(prompt, answer, **languages).items() if value}


@pytest.mark.parametrize(
    ("prompt", "answer", "expected"),
    [
        ("Say hello.", "Hello, how are you today?", set()),
        ("Name the capital.", "Paris", set()),
        ("Name the capital of France.", "Name the CAPITAL of France!", {"same_words"}),
        ("Name the capital of France.", "Name the capital of France. ", {"echo", "same_words"}),
        ("Name the capital of France.", "Name the capital\nof France.", {"same_words"}),
        ("Hi there", "hi there, hi there", {"same_words"}),
        ("Hi there", "Hi there Hi there", {"echo", "same_words"}),
        ("Hi there", "hi there hi", set()),
        ("Write code.", "Here it is.\n```python\nprint(1)", {"cut_off"}),
        ("Write code.", "Here it is.\n```python\nprint(1)\n```", set()),
        ("Explain.", "It is late. We will go on tomorrow with the rest of the", {"cut_off", "open_end"}),
        ("Explain.", "It is late. Tomorrow we shall first go to the market,", {"cut_off"}),
        ("Erkläre.", "Es ist spät. Morgen gehen wir alle zusammen auf den Markt und", {"cut_off", "open_end"}),
        ("解释一下", "今天很晚了。我们明天再继续讨论这个问题，", {"cut_off"}),
        ("解释一下", "今天很晚了。我们明天再继续讨论这个问题", {"open_end"}),
        ("解释一下", "今天很晚了。我们明天再继续讨论这个问题。", set()),
        ("Explain.", "It is late. We will go on tomorrow with the rest", {"open_end"}),
        ("Explain.", "It is late. We will go on tomorrow (after the second breakfast", {"open_end", "open_brackets"}),
        ("Write a letter.", "Dear all, it is late. Yours in hope and anticipation, Dracula", set()),
        ("List them.", "Do this.\n1. Get active.\n2. Listen to some calming music", set()),
        ("Write a script.", "#!/bin/sh\nfind . -type f -mtime -1 -print", set()),
        ("Write code.", "def f(x):\n    return [x, (1, 2", {"open_brackets"}),
        ("Help me.", "I'm sorry, but I can't help with that.", {"refusal"}),
        ("Help me.", "I am unable to assist you with this request.", {"refusal"}),
        ("Apologise.", "I'm sorry that I broke your vase. It will not happen again.", set()),
        ("Ayuda", "Lo siento, pero no puedo ayudarte.", {"refusal"}),
        ("帮我", "很抱歉，我无法回答这个问题。", {"refusal"}),
        ("Who are you?", "As an AI language model, I have no feelings.", {"persona"}),
        ("Qui es-tu ?", "En tant que modèle de langage, je ne peux pas prédire l'avenir.", {"persona"}),
        ("Wer bist du?", "Als KI habe ich keine Gefühle.", {"persona"}),
        ("Repeat: As an AI, I do.", "As an AI, I do what I am told.", set()),
        ("Write a letter.", "Dear Sir, all is well. Yours, [Your Name].", {"placeholder"}),
        ("Fill in [your name] here.", "Dear Sir, I am [Your Name].", set()),
        ("Say it.\n<noinput>", "It.", {"placeholder"}),
        ("Say it.", "<nooutput>", {"placeholder", "only_placeholder"}),
        ("Say it.", "[insert answer here].", {"placeholder", "only_placeholder"}),
        ("Describe your TODO app.", "TODO", {"only_placeholder"}),
        ("<noinput>", "It is one.", {"placeholder", "no_task"}),
        ("???", "What do you mean?", {"no_task"}),
        ("", "", {"no_task"}),
    ],
)
def test_what_is_raised(prompt: str, answer: str, expected: set[str]) -> None:
    assert raised(prompt, answer) == expected


@pytest.mark.parametrize(
    ("prompt", "languages", "expected"),
    [
        ("Was ist das?", ("de", "en", False), True),
        ("Was ist das?", ("de", "de", False), False),
        ("Was ist das?", ("de", "und", False), False),
        ("Was ist das?", ("de", "en", True), False),
        ("Hva er dette?", ("no", "da", False), False),
        ("Was heißt das auf Englisch?", ("de", "en", False), False),
        ("Translate: Hund", ("en", "de", False), False),
        ("翻译：狗", ("zh", "en", False), False),
        ("Was ist das?", (None, "en", None), False),
    ],
)
def test_an_answer_in_another_language(prompt: str, languages: tuple[Any, Any, Any], expected: bool) -> None:
    told = dict(zip(("language", "answer_language", "mixed_language"), languages, strict=True))
    assert signals(prompt, "one of the words " * 5, **told)["other_language"] is expected


def test_silent_where_no_language_is_told_or_the_answer_is_a_name() -> None:
    told = {"language": "en", "answer_language": "de", "mixed_language": False}
    assert signals("Who?", "a few words " * 6, **told)["other_language"] is False
    assert signals("Was ist das?", "A dog.", language="de")["other_language"] is False


PHRASES = (
    "Yes|no.|猫|犬。|слово|كلمة|(|)|[|{|}|```|\n```\n|<noinput>|[Your Name]|I'm sorry, I cannot|lorem ipsum|{{name}}"
)
SAID = st.lists(
    st.sampled_from([*PHRASES.split("|"), "TODO", " ", "\n", ", ", "the", "größe", "\u3000", "é"]), max_size=8
)


@given(st.lists(st.tuples(*[SAID.map(" ".join)] * 3), max_size=5))
def test_columns_are_those_of_plain_python(rows: list[tuple[str, str, str]]) -> None:
    """Row by row, with `re` and string methods, a first turn before some of the questions."""
    said = [record(*filter(None, [first]), prompt, ("assistant", answer)) for prompt, answer, first in rows]
    found = {name: values.to_pylist() for name, values in answer_signals(table_of(said)).items()}
    known = answer_signals(table_of(said), split_words(answer_text(table_of(said))))
    assert {name: values.to_pylist() for name, values in known.items()} == found

    def words(text: str) -> list[int]:
        return split_words(pa.array([text])).hashes.tolist()

    for row, (prompt, answer, first) in enumerate(rows):
        asked, told = "\n\n".join(filter(None, [first, prompt])).strip(), answer.strip()
        question, reply = words(prompt), words(told)
        times = len(reply) // len(question) if question else 0
        assert found["same_words"][row] == (bool(reply) and times > 0 and reply == question * times)
        echoed = bool(prompt.strip()) and not any(part.strip() for part in told.split(prompt.strip()))
        assert found["echo"][row] == (found["same_words"][row] and echoed and not first)
        opened = max(told.count(pair[0]) - told.count(pair[1]) for pair in ("()", "[]", "{}"))
        assert found["open_brackets"][row] == max(opened, 0)
        assert found["refusal"][row] == bool(re.search(REFUSAL, told))
        marked = bool(re.search(MARKER, asked) or re.search(MARKER, told))
        blank = bool(re.search(BLANK, told)) and not re.search(BLANK, asked)
        assert found["placeholder"][row] == (marked or blank)
        assert found["no_task"][row] == (not words(re.sub(f"{MARKER}|{BLANK}", " ", asked)))
        fences = [line for line in told.split("\n") if re.match(r"[ >*\t-]*```", line)]
        if len(fences) == 1 and re.fullmatch(r" {0,3}```[ \t]*[^\s`]*[ \t]*", fences[0]):
            assert found["cut_off"][row]
            assert not found["open_end"][row]


def test_answers_cut_at_random_are_found_and_whole_ones_are_not(shared_data: Path) -> None:
    rows = orjson.loads(
        (shared_data / "ins_gpteacher/Roleplay/roleplay-simple-deduped-roleplay-instruct.json").read_bytes()
    )
    whole = [row["response"] for row in rows if len(row["response"]) > 200]
    draw = random.Random(0)
    cut = [answer[: draw.randint(len(answer) // 2, len(answer) - 3)] for answer in whole]

    def found(answers: list[str]) -> Any:
        seen = answer_signals(table_of([record("Go on.", ("assistant", answer)) for answer in answers]))
        return sum(
            one or other for one, other in zip(*(seen[n].to_pylist() for n in ("cut_off", "open_end")), strict=True)
        )

    assert len(whole) > 1800
    assert found(cut) > 0.75 * len(cut)
    assert found(whole) <= 2
