"""Text that a chat template has written, of Guanaco, Llama 2 or ChatML -> turns."""

import re
from collections.abc import Callable

from curate.read.conversation import (
    ANSWERS,
    PROMPTS,
    Conversation,
    Paths,
    Reader,
    Turn,
    conversation_of,
    first_of,
    speaker,
    text_of,
)
from curate.read.message_list import one_answer
from curate.read.raw_row import Row

GUANACO = re.compile(r"(?<!#)###\s*(Human|Assistant):")
LLAMA2 = re.compile(r"\[(/?)INST\]")
LLAMA2_SYSTEM = re.compile(r"\s*<<SYS>>(.*?)<</SYS>>", re.DOTALL)
CHATML = re.compile(r"<\|im_start\|>(\w+)\n(.*?)(?:<\|im_end\|>|\Z)", re.DOTALL)


def guanaco_turns(text: str) -> list[Turn]:
    """Turns of a text in Guanaco's format, "### Human: ... ### Assistant: ...", each without outer spaces.

    An answer marker with nothing behind it (a prompt to be continued) gives no turn.
    """
    pieces = GUANACO.split(text)
    said = [("system", pieces[0])]
    said += [
        ("user" if name == "Human" else "assistant", content)
        for name, content in zip(pieces[1::2], pieces[2::2], strict=True)
    ]
    return _spoken(said)


def llama2_turns(text: str) -> list[Turn]:
    """Turns of a text in Llama 2's format, "<s>[INST] <<SYS>> ... <</SYS>> ... [/INST] ... </s>", trimmed likewise."""
    pieces = LLAMA2.split(text)
    said = [("system", pieces[0])]
    for closed, content in zip(pieces[1::2], pieces[2::2], strict=True):
        if not closed and (system := LLAMA2_SYSTEM.match(content)):
            said.append(("system", system[1]))
            content = content[system.end() :]
        said.append(("assistant" if closed else "user", content))
    return _spoken(said)


def chatml_turns(text: str) -> list[Turn]:
    """Turns of a text in ChatML, "<|im_start|>role ... <|im_end|>", their contents as they are."""
    said = [{"role": speaker(role), "content": content} for role, content in CHATML.findall(text)]
    return [turn for turn in said if turn["content"]]


def _spoken(said: list[tuple[str, str]]) -> list[Turn]:
    """Turns without outer spaces, without the model's own tokens around them, and without those of which nothing is
    left."""
    turns: list[Turn] = []
    for role, content in said:
        content = content.strip().removesuffix("<s>").rstrip().removesuffix("<|endoftext|>").rstrip()
        if content.count("</s>") > content.count("<s>"):  # else it is HTML's, of what is struck out
            content = content.removesuffix("</s>").rstrip()
        if content:
            turns.append({"role": role, "content": content})
    return turns


def markup_reader(opening: str, closing: str, turns_of: Callable[[str], list[Turn]]) -> Reader:
    """Reads rows whose `text`, or whose prompt with the answer beside it, a chat template has written.

    Such a text has an `opening` and behind it a `closing`, two patterns.
    """
    begins, ends = re.compile(opening), re.compile(closing)

    def read(row: Row, paths: Paths) -> list[Conversation]:
        answer = first_of(row, ANSWERS)
        for name in (*PROMPTS, "text") if answer else ("text",):
            text = row.get(name)
            if isinstance(text, str) and (begin := begins.search(text)) and ends.search(text, begin.end()):
                turns = turns_of(text)
                if answer and name != "text":
                    turns.append({"role": "assistant", "content": text_of(answer, one_answer(answer, row[answer]))})
                return [conversation_of(row, turns)] if turns else []
        return []

    return read
