"""Columns of question and answer, as Alpaca has them and by other names -> conversations."""

from dataclasses import replace

from curate.read.conversation import (
    ANSWERS,
    CONVERSATIONS,
    INPUTS,
    PROMPTS,
    AskingError,
    Conversation,
    Paths,
    ShapeError,
    Turn,
    beginning,
    first_of,
    named_group,
    text_of,
    tools_of,
    with_system,
)
from curate.read.message_list import answering, are_messages, in_keys_of, is_message, messages, one_answer, sharegpt
from curate.read.padding import unpadded_calls
from curate.read.raw_row import Row
from curate.read.verdicts import judge
from curate.record import content_id


def alpaca(row: Row, paths: Paths) -> list[Conversation]:
    """Rows of an instruction, an input and an output, or of an instruction and several instances of both."""
    if "instruction" not in row:
        return []
    instances = row.get("instances")
    if isinstance(instances, list) and instances and all(isinstance(each, dict) for each in instances):
        task = content_id([{"role": "user", "content": text_of("instruction", row["instruction"])}], None)
        each_asked = [alpaca(row | {"instances": None} | each, paths) for each in instances]
        if not all(each_asked):
            raise ShapeError(f"alpaca: instances.{each_asked.index([])} has no output")
        return [
            replace(one, group=task, judged=judge(each)[0])
            for each, asked in zip(instances, each_asked, strict=True)
            for one in asked
        ]
    answer = first_of(row, ANSWERS)
    if answer is None:
        return []
    question = text_of("instruction", row["instruction"]).strip()
    name = first_of(row, INPUTS)
    given = text_of(name, row[name]).strip() if name else ""
    return [_asked(row, f"{question}\n\n{given}" if given else question, answer)]


def prompt(row: Row, paths: Paths) -> list[Conversation]:
    """Rows of what is asked and what is answered, each under one of its names."""
    prompt, answer = first_of(row, PROMPTS), first_of(row, ANSWERS)
    if prompt is None or answer is None:
        return []
    if len(several := [name for name in PROMPTS if name in row]) > 1:
        raise ShapeError(f"prompt: {' or '.join(several)} may be what is asked; map `turns` to say which")
    asked = [row[prompt]] if is_message(row[prompt]) else row[prompt]
    if are_messages(asked):
        return [_conversation(row, asked, answer)]
    if (choices := _choices(row)) and len(str(row[answer]).strip("(). ")) <= 1:
        raise AskingError(
            f"{answer} is {row[answer]!r}, one of what {choices} offers, which is not read by itself: map `turns`, and "
            f"put what is offered into the question, e.g. `{prompt} ~ '\\n' ~ {OFFERED[choices]}`"
        )
    if not isinstance(row[answer], (str, list, dict)):  # a number is the place of a choice, more often than an answer
        return []
    question, context = text_of(prompt, row[prompt]), text_of("context", row.get("context"))
    return [_asked(row, f"{question}\n\n{context}" if context.strip() else question, answer)]


LETTERS = "A, B ..."
OFFERED = {name: f"{name} | join('\\n')" for name in ("choices", "options", "endings")} | {LETTERS: "A ~ '\\n' ~ B"}
"""Columns of what a question offers -> what is offered, as an expression."""


def _choices(row: Row) -> str | None:
    """The column, or columns, of what a question offers to choose from."""
    return first_of(row, tuple(OFFERED)) or (LETTERS if first_of(row, ("A",)) and first_of(row, ("B",)) else None)


def _asked(row: Row, question: str, answer: str) -> Conversation:
    """One question and its answer, behind what was said before where the row has a `history` of pairs or messages."""
    turns: list[Turn] = []
    before = row.get("history") or []
    if are_messages(before):
        return _conversation(row, before + in_keys_of(before[0], [{"role": "user", "content": question}]), answer)
    for pair in before:
        if not (isinstance(pair, list) and len(pair) == 2):
            raise ShapeError("history: expected messages, or pairs of question and answer")
        turns += [
            {"role": role, "content": text_of("history", said)}
            for role, said in zip(("user", "assistant"), pair, strict=True)
        ]
    turns.append({"role": "user", "content": question})
    given = row[answer]
    if not isinstance(given, str) and (is_message(given) or are_messages(given)):
        return _conversation(row, turns, answer)
    plain = unpadded_calls(one_answer(answer, given), tools_of(row))
    turns.append({"role": "assistant", "content": text_of(answer, plain)})
    group = beginning(turns) if len(turns) > 2 else None
    told = {"null_arguments": 1} if plain != given else {}
    return Conversation(with_system(row, turns), named_group(row) or group, told=told)


def _conversation(row: Row, asked: list[Row], answer: str) -> Conversation:
    """Messages, and behind them the answer of a column: messages too, or a text."""
    said = asked + answering(row, asked[0], answer)
    [made] = (sharegpt if "from" in said[0] else messages)(row | {CONVERSATIONS[0]: said}, "all")
    return made
