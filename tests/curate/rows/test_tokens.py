"""Tokens as they are shown: joined, they are the text, and nothing of it is unseen."""

from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from curate.rows.chat_template import ChatTemplate, Message, SpecialTokens
from curate.rows.renderer import Renderer
from curate.rows.tokens import Token, tokens_of
from tests.curate.rows.families import LLAMA3, byte_level, sentencepiece
from tests.project import byte_tokenizer
from train.audit import audit

CHATML = ["<|im_start|>", "<|im_end|>"]
TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "bytes": byte_tokenizer,
    "byte-level": lambda: byte_level(CHATML, LLAMA3),
    "sentencepiece": lambda: sentencepiece(CHATML),
    "legacy": lambda: sentencepiece(CHATML, legacy=True),
    "unigram": lambda: sentencepiece(CHATML, unigram=True),
}


@cache
def renderer(kind: str) -> Renderer:
    return Renderer(ChatTemplate("chatml"), TOKENIZERS[kind](), SpecialTokens(*CHATML))


def tokens(kind: str, said: str) -> list[Token]:
    """Of a row with this answer; none where the tokenizer does not give it back."""
    messages: list[Message] = [{"role": "user", "content": f"so {said}?"}, {"role": "assistant", "content": said}]
    examples = audit([{"id": "r", "messages": messages}], renderer(kind)).examples
    return [token for example in examples for token in tokens_of(example.input_ids, example.labels, renderer(kind))]


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(max_examples=40)
@given(said=st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("\ufffd é😀\n")), max_size=8))
def test_joined_they_are_the_text(kind: str, said: str) -> None:
    shown = tokens(kind, said)
    assume(shown)
    ids = [token.id for token in shown]
    assert "".join(token.text for token in shown) == renderer(kind).decode(ids)
    trained = [token for token in shown if token.trained]
    assert "".join(token.text for token in trained) == renderer(kind).decode([token.id for token in trained])
    assert all(token.shown() and token.shown().isprintable() for token in shown), "each is seen, on one line"


@pytest.mark.parametrize("kind", ["bytes", "sentencepiece"])
def test_a_character_of_several_tokens_comes_with_the_last(kind: str) -> None:
    shown = [token for token in tokens(kind, "a😀\ufffdb") if token.trained]
    assert [token.text for token in shown] == ["a", "", "", "", "😀", "", "", "\ufffd", "b", "<|im_end|>"]
    assert [token.shown() for token in shown][:5] == ["a", "⋯", "⋯", "⋯", "😀"]
    assert [token.special for token in shown] == [False] * 9 + [True]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" a", "·a"), ("\n\n", "⏎⏎"), ("\t", "⇥"), ("\r", "⟨U+000D⟩"), ("\xa0", "⟨U+00A0⟩"),
        ("\u200b", "⟨U+200B⟩"), ("\u202eab", "⟨U+202E⟩ab"), ("\x1b[2J", "⟨U+001B⟩[2J"), ("", "⋯"), ("é", "é"),
    ],
)  # fmt: skip
def test_what_would_not_be_seen_is(text: str, shown: str) -> None:
    assert Token(text, 0, False, False).shown() == shown
