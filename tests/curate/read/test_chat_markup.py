"""Text of chat templates: the turns that a template has written are read back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.read.chat_markup import chatml_turns, guanaco_turns, llama2_turns
from curate.read.mapping import Mapper, RecordMapping
from curate.read.shapes import recognise
from curate.rows.chat_template import ChatTemplate, SpecialTokens
from tests.curate.read.made import attempt, said


def test_guanaco_turns() -> None:
    text = "### Human: a ### b\n### Assistant: c #### Human: \n\n### Human: d### Assistant:e ### Human: "
    assert guanaco_turns(text) == said(
        ("user", "a ### b"), ("assistant", "c #### Human:"), ("user", "d"), ("assistant", "e")
    )
    assert guanaco_turns("Be kind.\n### Human: hi") == said(("system", "Be kind."), ("user", "hi"))
    assert guanaco_turns(" ") == []


def test_llama2_turns() -> None:
    text = "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\na [/INST] b </s><s>[INST] c [/INST]"
    assert llama2_turns(text) == said(("system", "Be kind."), ("user", "a"), ("assistant", "b"), ("user", "c"))
    assert llama2_turns("[INST]a[/INST]b[INST]c[/INST]d</s>") == said(
        ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")
    )


MARKS = ("<s>", "</s>", "INST]", "SYS>>", "<|")


def test_the_models_own_tokens_are_no_words_and_html_is_not_the_models() -> None:
    assert guanaco_turns("<s>### Human: a</s><s>### Assistant: b <s>c</s>") == said(
        ("user", "a"), ("assistant", "b <s>c</s>")
    )
    assert llama2_turns("A preamble. [INST]a[/INST]b<|endoftext|>")[::2] == said(
        ("system", "A preamble."), ("assistant", "b")
    )


@pytest.mark.parametrize(
    "mark", ["### Human: ", "### Assistant:", "[INST]", "[/INST]", "<<SYS>>", "<|im_start|>user\n", " "]
)
def test_markup_without_an_end_takes_time_in_proportion(mark: str) -> None:
    text = f"### Human: [INST] <|im_start|>user\n{mark * 200_000}x"  # what is quadratic would take hours
    for turns_of_text in (guanaco_turns, llama2_turns, chatml_turns):
        turns_of_text(text)
    attempt(Mapper(RecordMapping(), {}), {"text": text})


# What people say, without what stands for the template itself.
CONTENTS = (
    (
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
        | st.sampled_from(["###", "# Human:", "a ### b", "[/ INST]", "<s", "x\n\ny", "<SYS>", "{{ 7 }}", "Human: hi"])
    )
    .map(str.strip)
    .filter(lambda text: text and not any(mark in text for mark in MARKS))
)


@given(st.none() | CONTENTS, st.lists(st.tuples(CONTENTS, CONTENTS), min_size=1, max_size=3), st.booleans())
@pytest.mark.parametrize(
    ("template", "turns_of_text"), [("guanaco", guanaco_turns), ("llama2", llama2_turns), ("chatml", chatml_turns)]
)
def test_what_our_templates_write_is_read_back(
    template: str, turns_of_text: Any, system: str | None, pairs: list[tuple[str, str]], prompted: bool
) -> None:
    turns = said(*([("system", system)] if system else []))
    for question, answer in pairs:
        turns += said(("user", question), ("assistant", answer))
    if prompted:  # a question to be answered
        turns = turns[:-1]
    text = ChatTemplate(template).render(turns, SpecialTokens("<s>", "</s>"))
    assert turns_of_text(text) == turns
    if len(turns) - bool(system) > 1:
        shape, [conversation], _ = recognise({"text": text})
        answered = turns[:-1] if prompted else turns
        assert (shape, conversation.turns) == (template, answered)
