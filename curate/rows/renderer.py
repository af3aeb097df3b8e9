"""Messages to text, and text to token ids and labels: the one way for training, evaluation and serving.

What a model is asked with is one text, tokenised as a server does: in one piece, its special tokens read as such, and
none added (`add_special_tokens=False`), for a chat template writes them itself. What is trained stands behind just
these tokens.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from curate.errors import AssayError
from curate.rows.chat_template import (
    SPECIAL,
    THINK,
    ChatTemplate,
    Message,
    Refusal,
    SpecialTokens,
    is_trained,
)
from curate.rows.task_template import Thoughts
from curate.text.tokenise import Tokeniser, Tokens, cuts_by_gpt2, independent, unchanged
from curate.text.tokenizer_file import adds_bos, read_tokenizer, stop_ids

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LIBRARIES = ("jinja2", "tokenizers")
"""Packages whose versions text and tokens depend on."""
TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json"]

ASKED = ["id", "turns", "target", "reasoning", "language", "meta"]
"""Columns of a record that its messages are made of; the id is for errors."""

Reasoning = Literal["train", "context", "omit"]

IGNORED = -100
"""Label of a token that is not trained: torch's cross-entropy ignores it."""
SHOWN = 40
"""Characters around a place where two texts differ that are told."""
QUESTION: list[Message] = [{"role": "user", "content": "Is it so?"}]
ANSWER = '{"answer": "Yes"}'
THOUGHT = "Let me see."
"""What a template and a tokenizer are tried with, before any row."""
LINE = "\n"
"""Behind it, a SentencePiece tokenizer puts no space before what follows."""


def load_tokenizer(folder: Path) -> "tuple[Tokenizer, SpecialTokens]":
    """The tokenizer of a model folder (tokenizer.json, tokenizer_config.json), and its special tokens.

    Raises:
        AssayError: the folder has no fast tokenizer, or one that is not read (`tokenizer_file`).
    """
    tokenizer, tokens = read_tokenizer(folder)
    tokenizer.no_truncation()  # some are saved with what their model was trained with
    tokenizer.no_padding()
    bos = tokens.get("bos_token", "")
    return tokenizer, SpecialTokens(
        bos=bos,
        eos=tokens.get("eos_token", ""),
        adds_bos=bool(bos) and adds_bos(tokenizer, bos, folder),
        named={name: tokens[name] for name in SPECIAL if name in tokens},
        stops=stop_ids(folder),
    )


@dataclass(frozen=True)
class Span:
    """A piece of a rendered text."""

    text: str
    trained: bool = False
    """Whether it is an answer that is trained, with its stop text."""


@dataclass(frozen=True)
class Encoded:
    input_ids: list[int]
    labels: list[int]
    """As long as `input_ids`: the id where the token is trained, IGNORED elsewhere."""


Pieces = list[tuple[Tokens, bool]]
"""The tokens of a conversation, in pieces, and whether each is trained."""


class Renderer:
    """The one function of training, evaluation and serving.

    Of a conversation, the tokens before an answer are those of the text that a server is sent to continue, and what is
    trained is the answer, to the letter, and its stop token. Where that is not so, a template or a row is refused.

    Args:
        template: the chat template.
        tokenizer: the base model's.
        tokens: the tokenizer's special tokens.
        answers: train the last answer only, or all of them; never one that is marked as not trained.
        reasoning: what becomes of what was thought before an answer: `train`, written and trained with it; `context`,
            written and not trained; `omit`, not written.

    Raises:
        AssayError: the template's stop text is not one token of this tokenizer, or a plain conversation cannot be
            trained with these; says where it goes wrong.
    """

    def __init__(
        self,
        template: ChatTemplate,
        tokenizer: "Tokenizer",
        tokens: SpecialTokens,
        answers: Literal["last", "all"] = "last",
        reasoning: Reasoning = "train",
    ) -> None:
        self.template = template
        self.tokenizer = tokenizer
        self.tokens = tokens
        self.answers = answers
        self.reasoning = reasoning
        written: Literal["last", "all", "none"] = "none" if reasoning == "omit" else answers
        self.lead, self._marks = "", False
        """What the template writes before an answer's own words and a model has to say itself."""
        if template.published:
            self.stop, self.lead, self._marks = self._works(self._asked_of_template)
            self._spoken = self._thoughts_of_template()
            self.thoughts = Thoughts(*THINK, written)
            """How messages hold what was thought."""
        else:
            words = template.words(tokens)
            if "stop" not in words:
                raise AssayError(
                    f"Chat template {template.name!r} does not set `stop`, the text that ends an answer.",
                    remedy='Write into it, e.g.: {% set stop = "<|im_end|>" %}',
                )
            self.stop = words["stop"]
            self.thoughts = self._spoken = Thoughts(
                words.get("think_open", Thoughts.open), words.get("think_close", Thoughts.close), written
            )
        stop_id = tokenizer.token_to_id(self.stop)
        if stop_id is None:
            raise AssayError(
                f"Chat template {template.name!r} ends answers with {self.stop!r}; the base model has no token for it.",
                remedy="Choose a chat template that fits the base model, or a base model that has this token.",
            )
        self.stop_token_id: int = stop_id
        """The token that ends an answer, which is trained."""
        eos: int | None = tokenizer.token_to_id(tokens.eos)
        self.stop_token_ids = frozenset({stop_id, *tokens.stops, *([] if eos is None else [eos])})
        """All that end one when a model generates."""
        self.independent, self._cuts_by_gpt2 = independent(tokenizer), cuts_by_gpt2(tokenizer)
        self.tokenise = Tokeniser(tokenizer)
        self._works(lambda messages: self.lengths([messages]))

    @property
    def thinks(self) -> bool:
        return self.reasoning != "omit"

    def _render(self, messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
        """The text of messages that are `shaped`."""
        return self.template.render(messages, self.tokens, add_generation_prompt, self.thinks)

    def text(self, messages: Sequence[Message]) -> str:
        """The conversation as one text."""
        return self._render(self.template.shaped(messages))

    def _tried(self) -> Iterator[list[Message]]:
        """Conversations that a template and a tokenizer are tried with, the plainest first; see `_works`.

        A template may want a system's turn, or what was thought before each answer.
        """
        thinking = Thoughts().before(ANSWER, THOUGHT)
        for answer in (ANSWER, thinking) if self.thinks and self.template.published else (ANSWER,):
            answered = [*QUESTION, {"role": "assistant", "content": answer}]
            for question in ([], [{"role": "system", "content": "Answer."}]):
                yield [*question, *answered] if self.answers == "last" else [*question, *answered, *answered]

    def _works(self, attempt: Callable[[list[Message]], Any]) -> Any:
        """What an attempt gives of the first conversation that is not refused.

        Raises:
            Refusal: all are; that of the plainest.
        """
        refusals: list[Refusal] = []
        for messages in self._tried():
            try:
                return attempt(messages)
            except Refusal as refusal:
                refusals.append(refusal)
        raise refusals[0]

    def _asked_of_template(self, messages: list[Message]) -> tuple[str, str, bool]:
        """A published template's stop text, what it writes before an answer, and whether it marks what is generated.

        The stop text is the first special token that it writes behind an answer, of those that end what the model
        generates if there is one.
        """
        *asked, answer = self.template.shaped(messages)
        begin = self._render(asked, add_generation_prompt=True)
        whole, marks = self.template.render_marked([*asked, answer], self.tokens, think=self.thinks)
        self._require_beginning(begin, whole)
        lead, found, tail = whole[len(begin) :].partition(ANSWER)
        ends = [token.content for token in self.tokenizer.get_added_tokens_decoder().values() if token.content in tail]
        if not found or not ends:
            raise Refusal(
                f"Chat template {self.template.name!r} writes no stop token after an answer that is to be trained: "
                f"{whole[len(begin) :][-SHOWN:]!r}, whereas the model has to learn where to end.",
                remedy="Use a template that ends every answer with a special token of the model; one of your own says "
                'which, e.g.: {% set stop = "<|im_end|>" %}',
            )
        ends.sort(key=lambda text: (tail.index(text), -len(text)))
        known = [text for text in ends if self.tokenizer.token_to_id(text) in self.tokens.stops]
        return (known or ends)[0], "" if "reasoning_content" in answer else lead, bool(marks)

    def _thoughts_of_template(self) -> Thoughts:
        """How a published template writes what was thought; as messages hold it, where it does not say."""
        thinking = Thoughts()
        for question in ([], [{"role": "system", "content": "Answer."}]):
            with suppress(Refusal):
                asked = [*question, *QUESTION]
                begin = self._render(asked, add_generation_prompt=True)
                whole = self.text([*asked, {"role": "assistant", "content": thinking.before(ANSWER, THOUGHT)}])
                open_, found, rest = whole[len(begin) :].partition(THOUGHT)
                if found and whole.startswith(begin) and ANSWER in rest:
                    return Thoughts(open_, rest[: rest.index(ANSWER)])
        return thinking

    def _require_beginning(self, begin: str, whole: str) -> None:
        """See to it that what a server is sent is what a conversation's text begins with.

        Raises:
            Refusal: it is not; shows both texts where they part.
        """
        if whole.startswith(begin):
            return
        alike = (a == b for a, b in zip(begin, whole, strict=False))
        at = next((at for at, same in enumerate(alike) if not same), min(len(begin), len(whole)))
        shown = slice(max(0, at - SHOWN), at + SHOWN)
        raise Refusal(
            f"Chat template {self.template.name!r} changes what it wrote before when a turn is added: at character "
            f"{at:,}, {begin[shown]!r} becomes {whole[shown]!r}.",
            remedy="What a server is sent must be the beginning of the text with the answer; with render.answers: all, "
            "so must the text up to each answer. Train the last one only, or use another template.",
        )

    def spans(self, messages: Sequence[Message], text: str | None = None) -> list[Span]:
        """The text cut at the beginning and end of each answer that is trained; joined, they are `text(messages)`.

        Args:
            messages: a conversation.
            text: `text(messages)`, where it is known.

        Raises:
            Refusal: what the template writes before an answer is not what it writes to ask for it, or the answer is not
                as it was.
        """
        shaped = self.template.shaped(messages)
        whole, marks = (self._render(shaped) if text is None else text), None
        if self._marks:
            whole, marks = self.template.render_marked(shaped, self.tokens, think=self.thinks)
        trained = [index for index, message in enumerate(messages) if is_trained(message)]
        if self.answers == "last":
            trained = trained[-1:]
        spans: list[Span] = []
        at = 0
        for index in trained:
            asked = self._render(shaped[:index], add_generation_prompt=True)
            self._require_beginning(asked, whole)
            said = whole if index + 1 == len(messages) else self._render(shaped[: index + 1])
            stop_at = said.find(self.stop, len(asked))
            if stop_at >= 0:
                self._require_beginning(said[:stop_at], whole)
            if stop_at < 0 or not whole.startswith(self.stop, stop_at):
                raise Refusal(
                    f"Chat template {self.template.name!r} writes no stop token after an answer that is to be trained: "
                    f"{self.stop!r} ends the last one only.",
                    remedy="Set render.answers to `last`, or use a template that ends every answer.",
                )
            stop = stop_at + len(self.stop)
            cut = len(asked)
            if self.template.published:
                self._require_written(shaped[index], whole[cut:stop_at])
            if marks is not None and not any(begin <= cut and stop_at <= end for begin, end in marks):
                raise Refusal(
                    f"Chat template {self.template.name!r} marks as generated "
                    f"{[whole[begin:end] for begin, end in marks]!r:.200}, whereas a model is asked to say "
                    f"{whole[cut:stop]!r:.200}.",
                    remedy="Let {% generation %} stand right behind what add_generation_prompt writes.",
                )
            if self.reasoning == "context":
                cut += self._spoken.end(whole[cut:stop])
            spans += [Span(whole[at:cut]), Span(whole[cut:stop], True)]
            at = stop
        return [span for span in [*spans, Span(whole[at:])] if span.text]

    def _require_written(self, message: Message, answer: str) -> None:
        """See to it that a published template writes what an answer says, and what was thought before it.

        Raises:
            Refusal: it leaves some of it out.
        """
        thought = message.get("reasoning_content", "")
        for what, text in {"an answer": message["content"], "what was thought before an answer": thought}.items():
            if text.strip() not in answer:
                raise Refusal(
                    f"Chat template {self.template.name!r} does not write {what} as it is: {text!r:.200} is not in "
                    f"{answer!r:.200}.",
                    remedy="Use another template or, where it leaves out what was thought, render.reasoning: omit.",
                )

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """Token ids and labels of a conversation; what follows the last trained answer's stop token is left out.

        Raises:
            AssayError: there is no answer to train, or the template or the tokenizer does not give it back (a Refusal).
        """
        return next(self.encode_all([messages]))

    def encode_all(self, conversations: Iterable[Sequence[Message]]) -> Iterator[Encoded]:
        """`encode` for each, tokenised together over all cores.

        Raises:
            AssayError: as `encode`, when it comes to the conversation in question.
        """
        for pieces in self._tokenized(map(self.spans, conversations)):
            if isinstance(pieces, AssayError):
                raise pieces
            ids: list[int] = []
            labels: list[int] = []
            for tokens, trained in pieces:
                of_piece = tokens.ids
                ids += of_piece
                labels += of_piece if trained else [IGNORED] * len(of_piece)
            yield Encoded(ids, labels)

    def lengths(self, conversations: Iterable[Sequence[Message]]) -> list[int]:
        """How many tokens `encode` gives for each conversation.

        Args:
            conversations: each with an answer that is trained.

        Raises:
            AssayError: as `encode`.
        """
        return self.lengths_of(map(self.spans, conversations))

    def lengths_of(self, spans: Iterable[list[Span]]) -> list[int]:
        """`lengths` of conversations whose spans are known.

        Raises:
            AssayError: as `encode`.
        """
        lengths = []
        for length in self.measured(spans):
            if isinstance(length, Refusal):
                raise length
            lengths.append(length)
        return lengths

    def measured(self, spans: Iterable[list[Span]]) -> list[int | Refusal]:
        """`lengths_of` or, of a conversation that the tokenizer does not give back, why not.

        Raises:
            AssayError: there is no answer to train.
        """
        return [
            pieces if isinstance(pieces, Refusal) else sum(tokens.count for tokens, _ in pieces)
            for pieces in self._tokenized(spans)
        ]

    def _tokenized(self, conversations: Iterable[list[Span]]) -> Iterator[Pieces | Refusal]:
        """The pieces of each conversation up to the last one that is trained."""
        plans: list[tuple[list[Span], bool]] = []
        texts: dict[str, None] = {}
        for spans in conversations:
            last = max((index for index, span in enumerate(spans) if span.trained), default=None)
            if last is None:
                raise AssayError("A row without an answer cannot be trained.", remedy="Quarantine it before training.")
            said = spans[: last + 1]
            by_span = self.independent and self._cut_between_tokens(said)
            plans.append((said, by_span))
            texts |= dict.fromkeys([span.text for span in said] if by_span else self._prefixes(said))
        tokens_of = dict(zip(texts, self.tokenise(list(texts)), strict=True))
        for said, by_span in plans:
            if by_span:
                yield [(tokens_of[span.text], span.trained) for span in said]
            else:
                yield self._continued(said, tokens_of)

    def _cut_between_tokens(self, spans: list[Span]) -> bool:
        """Whether an independent tokenizer gives a conversation the tokens of its spans.

        It does, but where an answer that is not the last begins within a token of the whole: none does where a special
        token ends, or where GPT-2's pattern cuts, between a line's end and what is no white space.
        """
        if not all(unchanged(self.tokenizer, span.text) for span in spans if span.trained):
            return False
        for before, answer in pairwise(spans[:-1]):
            ends = before.text.endswith(self._added) or (
                self._cuts_by_gpt2
                and before.text.endswith("\n")
                and not before.text[-2:-1].isspace()
                and not answer.text[0].isspace()
            )
            if answer.trained and not ends:
                return False
        return True

    def _prefixes(self, spans: list[Span]) -> Iterator[str]:
        """The texts that `_continued` needs the tokens of."""
        before = ""
        for span in spans:
            if span.trained:
                yield from (before, before + span.text, "", span.text, LINE, LINE + span.text)
            before += span.text

    def _continued(self, spans: list[Span], tokens_of: Mapping[str, Tokens]) -> Pieces | Refusal:
        """Each trained answer behind the tokens of all the text before it, as a server makes them.

        The answer's tokens are those that it has in the whole text or, where it begins within a token of that or with
        a space more, those that it has by itself or else on a line of its own.
        """
        ids: list[int] = []
        pieces: Pieces = []
        before = ""
        for span in spans:
            if span.trained:
                asked = tokens_of[before].ids
                if asked[: len(ids)] != ids:
                    return self._not_given_back("joins an answer that is trained with what stands before it", before)
                tries = [
                    tokens_of[first + span.text].ids[len(tokens_of[first].ids) :]
                    for first in (before, "", LINE)
                    if tokens_of[first + span.text].ids[: len(tokens_of[first].ids)] == tokens_of[first].ids
                ]
                said = next((each for each in tries if self._gives_back(each, span.text)), None)
                if said is None:
                    return self._not_given_back(f"gives back {self.decode(tries[0])!r:.200} of the answer", span.text)
                pieces += [(Tokens.of(asked[len(ids) :]), False), (Tokens.of(said), True)]
                ids = asked + said
            before += span.text
        return pieces

    def _gives_back(self, ids: list[int], answer: str) -> bool:
        return self.decode(ids) == answer and ids[-1] == self.stop_token_id

    def _not_given_back(self, what: str, text: str) -> Refusal:
        return Refusal(
            f"The base model's tokenizer {what} {text[-SHOWN:]!r}, with chat template {self.template.name!r}.",
            remedy="Leave the row out; where it is every row, use another chat template, such as the model's own.",
        )

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids to generate the last answer from; the messages may end with that answer or before it.

        Nothing of what was thought before that answer is in them: whoever asks does not know it.
        """
        asked = messages[:-1] if messages[-1]["role"] == "assistant" else messages
        text = self._render(self.template.shaped(asked), add_generation_prompt=True)
        [tokens] = self.tokenise([text])
        return tokens.ids

    def answer(self, messages: Sequence[Message]) -> str:
        """The last answer as the template writes it, without the stop text: what a perfect model generates, but for
        what it thinks before."""
        return self.said([span.text for span in self.spans(messages) if span.trained][-1].removesuffix(self.stop))

    def said(self, reply: str) -> str:
        """A reply without what was thought before, if it begins with that."""
        said = reply[self._spoken.end(reply) :]
        return said.removeprefix(self.lead) if self.lead.strip() else said

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens as they stand behind others, special ones included: a space at its beginning stays."""
        anchor = self.stop_token_id
        return str(self.tokenizer.decode([anchor, *ids], skip_special_tokens=False)).removeprefix(self.stop)

    @cached_property
    def _added(self) -> tuple[str, ...]:
        return tuple(token.content for token in self.tokenizer.get_added_tokens_decoder().values())

    @cached_property
    def special_texts(self) -> list[str]:
        """Every text that the tokenizer takes for a special token, but those around what is thought."""
        added = self.tokenizer.get_added_tokens_decoder().values()
        return sorted(token.content for token in added if token.special and token.content not in self.thoughts.tags)

    def foreign_tokens(self, contents: Sequence[str]) -> list[str]:
        """Special tokens that stand in the words of messages: they would be taken for the template's."""
        return [text for text in self.special_texts if any(text in content for content in contents)]
