"""Tokens as they are shown: joined, they are the text, and nothing of it is unseen."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from assay.tokens import Token, tokens_of
from curate.rows.chat_template import ChatTemplate, Message, SpecialTokens
from curate.rows.renderer import Renderer
from tests.project import byte_tokenizer
from train.audit import encode


def sentencepiece_tokenizer() -> Tokenizer:
    """A piece per letter, and bytes for what is none, as SentencePiece falls back to them."""
    pieces = [f"<0x{byte:02X}>" for byte in range(256)] + ["▁", *map(chr, range(33, 127)), "é"]
    model = models.BPE(vocab={piece: at for at, piece in enumerate(pieces)}, merges=[], byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    return tokenizer


@cache
def renderer(kind: str) -> Renderer:
    tokenizer = {"bytes": byte_tokenizer, "sentencepiece": sentencepiece_tokenizer}[kind]()
    return Renderer(ChatTemplate("chatml"), tokenizer, SpecialTokens("<|im_start|>", "<|im_end|>"))


def tokens(kind: str, said: str) -> list[Token]:
    messages: list[Message] = [{"role": "user", "content": "so?"}, {"role": "assistant", "content": said}]
    [example] = encode([{"id": "r", "messages": messages}], renderer(kind))
    return tokens_of(example, renderer(kind))


@pytest.mark.parametrize("kind", ["bytes", "sentencepiece"])
@given(said=st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("\ufffd é😀\n")), max_size=12))
def test_joined_they_are_the_text(kind: str, said: str) -> None:
    shown = tokens(kind, said)
    ids = [token.id for token in shown]
    assert "".join(token.text for token in shown) == renderer(kind).decode(ids)
    trained = "".join(token.text for token in shown if token.trained)
    assert trained == f"{said}<|im_end|>"
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
