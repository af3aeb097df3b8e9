"""Columns of question and answer, as Alpaca has them and by other names -> conversations."""

from curate.read.conversation import (
    ANSWERS,
    CONVERSATIONS,
    INPUTS,
    PROMPTS,
    Conversation,
    Paths,
    ShapeError,
    Turn,
    beginning,
    first_of,
    is_preference,
    named_group,
    text_of,
    with_system,
)
from curate.read.message_list import messages
from curate.read.raw_row import Row
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
        return [Conversation(one.turns, task) for each in each_asked for one in each]
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
    if prompt is None or answer is None or is_preference(row):
        return []
    if len(several := [name for name in PROMPTS if name in row]) > 1:
        raise ShapeError(f"prompt: {' or '.join(several)} may be what is asked; map `turns` to say which")
    if isinstance(row[prompt], list):
        said = row[answer] if isinstance(row[answer], list) else [{"role": "assistant", "content": row[answer]}]
        return messages(row | {CONVERSATIONS[0]: row[prompt] + said}, paths)
    if not isinstance(row[answer], (str, list, dict)):  # a number is the place of a choice, more often than an answer
        return []
    question, context = text_of(prompt, row[prompt]), text_of("context", row.get("context"))
    return [_asked(row, f"{question}\n\n{context}" if context.strip() else question, answer)]


def _asked(row: Row, question: str, answer: str) -> Conversation:
    """One question and its answer, behind what was said before where the row has a `history` of pairs."""
    turns: list[Turn] = []
    for pair in row.get("history") or ():
        if not (isinstance(pair, list) and len(pair) == 2):
            raise ShapeError("history: expected pairs of question and answer")
        turns += [
            {"role": role, "content": text_of("history", said)}
            for role, said in zip(("user", "assistant"), pair, strict=True)
        ]
    turns += [{"role": "user", "content": question}, {"role": "assistant", "content": text_of(answer, row[answer])}]
    group = beginning(turns) if len(turns) > 2 else None
    return Conversation(with_system(row, turns), named_group(row) or group)
