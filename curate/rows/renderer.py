"""Record to messages, messages to text, text to token ids and labels: the one way for training, evaluation and serving.

A *task template* (templates/tasks) turns a record into messages: it may define the blocks `system`, `user` and
`assistant`; each is rendered with the turn's `content`, the record's `language` and `meta`, and the contract's target
`schema`. A *chat template* (templates/chat) turns messages into text, by the conventions of Hugging Face's chat
templates. It sets `stop`, the text that ends an answer, and may set `think_open` and `think_close`, which stand around
what was thought before an answer.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from jinja2 import Template, TemplateError
from jinja2.environment import TemplateModule
from jinja2.runtime import Context as TemplateContext

from curate.errors import AssayError
from curate.sandbox import Overrun, Sandbox, namespace
from curate.text.tokenise import Tokens, tokenise
from curate.text.tokenizer_file import read_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Message = dict[str, Any]
"""{"role": "system" | "user" | "assistant" | "tool", "content": text, "trained": False | None, or absent}."""

LIBRARIES = ("jinja2", "tokenizers")
"""Packages whose versions text and tokens depend on."""
TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json"]

ASKED = ["id", "turns", "target", "reasoning", "language", "meta"]
"""Columns of a record that its messages are made of; the id is for errors."""

Reasoning = Literal["train", "context", "omit"]

IGNORED = -100
"""Label of a token that is not trained: torch's cross-entropy ignores it."""


class Refusal(AssayError):
    """A template has no words for a row, as its `raise_exception` says, or makes more of it than it may."""


class _Refused(TemplateError):
    """What a template's `raise_exception` raises; any other error is the template's own."""


def _raise(message: str) -> NoReturn:
    raise _Refused(message)


def read_template(kind: Literal["tasks", "chat"], name: str) -> str:
    """Source of a packaged template, or of the file that `name` is a path to.

    Raises:
        AssayError: there is no such template.
    """
    if name.endswith(".jinja"):
        path = Path(name)
        if not path.is_file():
            raise AssayError(f"{name}: no such template.", remedy="Name a .jinja file, or a packaged template.")
        return path.read_text(encoding="utf-8")
    packaged = files("templates") / kind / f"{name}.jinja"
    if not packaged.is_file():
        known = sorted(entry.name.removesuffix(".jinja") for entry in (files("templates") / kind).iterdir())
        raise AssayError(
            f"No {kind} template {name!r}.", remedy=f"There are: {', '.join(known)}; or name a .jinja file."
        )
    return packaged.read_text(encoding="utf-8")


ENVIRONMENT = Sandbox(
    functions={"raise_exception": _raise, "namespace": namespace}, trim_blocks=True, lstrip_blocks=True
)
"""Jinja as transformers sets it up for chat templates, but strict: rows are data, never code."""


def _compile(kind: str, name: str, source: str) -> Template:
    try:
        return ENVIRONMENT.from_string(source)
    except (TemplateError, RecursionError, MemoryError, SyntaxError) as error:
        said = error if isinstance(error, TemplateError) else "nested too deeply to be read"
        raise AssayError(
            f"{kind.capitalize()} template {name!r}: {said}.",
            remedy="Mend the template; docs/expressions.md says what one may name.",
        ) from None


def _failure(what: str, error: Exception, remedy: str) -> AssayError:
    """What is said where a template fails on a row."""
    kind = Refusal if isinstance(error, (_Refused, Overrun, RecursionError)) else AssayError
    said = error.message if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
    return kind(f"{what}: {said}.", remedy=remedy)


@dataclass(frozen=True)
class Thoughts:
    """How an answer says what was thought before it."""

    open: str = "<think>\n"
    close: str = "\n</think>\n\n"
    written: Literal["last", "all", "none"] = "last"
    """Before which answers."""

    def before(self, content: str, reasoning: str) -> str:
        """The answer with what was thought before it."""
        return self.open + reasoning + self.close + content

    def end(self, text: str) -> int:
        """Where an answer begins in a text: behind what was thought, if that is how the text begins; else 0."""
        if not text.lstrip().startswith(self.open.strip()):
            return 0
        close = text.find(self.close.strip())
        if close < 0:
            return 0
        end = close + len(self.close.strip())
        tail = self.close[len(self.close.rstrip()) :]
        return end + len(tail) if text.startswith(tail, end) else end

    @property
    def tags(self) -> list[str]:
        """What neither an answer's thoughts nor anything within them may hold."""
        return [self.open.strip(), self.close.strip()]


def is_trained(message: Message) -> bool:
    """Whether a turn or message is an answer that may be trained."""
    return message["role"] == "assistant" and message.get("trained") is not False


class TaskTemplate:
    """Records to messages.

    Args:
        name: templates/tasks/NAME.jinja, or the path of a .jinja file.
        schema: the contract's target schema, which the template may quote; None for plain chat.
        source: the template's text, where it has been read.
        thoughts: how what was thought is written.
    """

    def __init__(
        self,
        name: str,
        schema: dict[str, Any] | None,
        source: str | None = None,
        thoughts: Thoughts = Thoughts(),
    ) -> None:
        self.name = name
        self.source = read_template("tasks", name) if source is None else source
        self.schema = schema
        self.thoughts = thoughts
        self._template = _compile("task", name, self.source)

    def messages(self, record: dict[str, Any]) -> list[Message]:
        """The messages of one record: all up to the last answer that may be trained, or all where there is none.

        Args:
            record: a row of the record's schema; `meta` as a dict.

        Raises:
            AssayError: the template asks for what the record does not have; names template, field and row.
        """
        context = self._context(record)
        system = self._block("system", "", context, record)
        messages: list[Message] = [{"role": "system", "content": system, "trained": None}] if system else []
        turns = list(record["turns"])
        if record["target"] is not None:
            turns.append({"role": "assistant", "content": record["target"], "reasoning": record.get("reasoning")})
        last = max((at for at, turn in enumerate(turns) if is_trained(turn)), default=len(turns) - 1)
        for at, turn in enumerate(turns[: last + 1]):
            content = self._block(turn["role"], turn["content"], context, record)
            reasoning = turn.get("reasoning")
            if reasoning and (self.thoughts.written == "all" or (self.thoughts.written == "last" and at == last)):
                content = self.thoughts.before(content, reasoning)
            messages.append({"role": turn["role"], "content": content, "trained": turn.get("trained")})
        return messages

    @cached_property
    def instructs(self) -> bool:
        """Whether the template has words of its own to say what is asked: a system message, or around a user's text.

        It is asked with an empty text, and has none where it cannot answer without a row's `meta`.
        """
        nobody: dict[str, Any] = {"id": "(none)", "language": None, "meta": {}}
        try:
            return any(self._block(role, "", self._context(nobody), nobody).strip() for role in ("system", "user"))
        except AssayError:
            return False

    def _context(self, record: dict[str, Any]) -> TemplateContext:
        return self._template.new_context(
            {"language": record["language"], "meta": record["meta"], "schema": self.schema}
        )

    def _block(self, block: str, content: str, context: TemplateContext, record: dict[str, Any]) -> str:
        if block not in self._template.blocks:
            return content
        context.vars["content"] = content
        try:
            return "".join(self._template.blocks[block](context))
        except Exception as error:  # whatever a row does to a template
            raise _failure(
                f"Task template {self.name!r}, block {block!r}, row {record['id']}",
                error,
                "The template may use content, language, meta and schema; put other fields into record.meta.",
            ) from None


@dataclass(frozen=True)
class SpecialTokens:
    """What the tokenizer calls its first and last token; "" where it has none."""

    bos: str
    eos: str


class ChatTemplate:
    """Messages to text.

    Args:
        name: templates/chat/NAME.jinja, or the path of a .jinja file.
        source: the template's text, where it has been read.
    """

    def __init__(self, name: str, source: str | None = None) -> None:
        self.name = name
        self.source = read_template("chat", name) if source is None else source
        self._template = _compile("chat", name, self.source)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.source.encode()).hexdigest()

    def render(self, messages: Sequence[Message], tokens: SpecialTokens, add_generation_prompt: bool = False) -> str:
        """The text of a conversation.

        Raises:
            AssayError: the template refuses the messages (a Refusal), or asks for a field they do not have.
        """
        return str(self._module(messages, tokens, add_generation_prompt))

    def words(self, tokens: SpecialTokens) -> dict[str, str]:
        """Texts that the template sets: `stop`, which ends an answer, and perhaps `think_open` and `think_close`."""
        said = vars(self._module([{"role": "user", "content": ""}], tokens, False))
        return {name: value for name, value in said.items() if isinstance(value, str)}

    def _module(self, messages: Sequence[Message], tokens: SpecialTokens, prompt: bool) -> TemplateModule:
        try:
            return self._template.make_module(
                {
                    "messages": messages,
                    "bos_token": tokens.bos,
                    "eos_token": tokens.eos,
                    "add_generation_prompt": prompt,
                }
            )
        except Exception as error:  # whatever a row does to a template
            raise _failure(f"Chat template {self.name!r}", error, "See the row's messages.") from None


def load_tokenizer(folder: Path) -> "tuple[Tokenizer, SpecialTokens]":
    """The tokenizer of a model folder (tokenizer.json, tokenizer_config.json).

    Raises:
        AssayError: the folder has no fast tokenizer, or one that is not read (`tokenizer_file`).
    """
    tokenizer, tokens = read_tokenizer(folder)
    tokenizer.no_truncation()  # some are saved with what their model was trained with
    tokenizer.no_padding()
    return tokenizer, SpecialTokens(bos=tokens.get("bos_token", ""), eos=tokens.get("eos_token", ""))


@dataclass(frozen=True)
class Span:
    """A piece of a rendered text that is tokenised by itself."""

    text: str
    answer: bool
    """Whether an assistant's turn stands here (with its stop text, where the template writes one)."""
    trained: bool = False
    """Whether it is trained: only of an answer."""


@dataclass(frozen=True)
class Encoded:
    input_ids: list[int]
    labels: list[int]
    """As long as `input_ids`: the id where the token is trained, IGNORED elsewhere."""


class Renderer:
    """The one function of training, evaluation and serving.

    A text is tokenised in spans, cut where each answer begins and ends. What a model is asked with is therefore, to
    the token, what it was trained to continue.

    Args:
        template: the chat template.
        tokenizer: the base model's.
        tokens: the tokenizer's special tokens.
        answers: train the last answer only, or all of them; never one that is marked as not trained.
        reasoning: what becomes of what was thought before an answer: `train`, written and trained with it; `context`,
            written and not trained; `omit`, not written.

    Raises:
        AssayError: the template sets no stop text, or one that is not one token of this tokenizer.
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
        words = template.words(tokens)
        if "stop" not in words:
            raise AssayError(
                f"Chat template {template.name!r} does not set `stop`, the text that ends an answer.",
                remedy='Write into it, e.g.: {% set stop = "<|im_end|>" %}',
            )
        self.stop = words["stop"]
        self.thoughts = Thoughts(
            words.get("think_open", Thoughts.open),
            words.get("think_close", Thoughts.close),
            "none" if reasoning == "omit" else answers,
        )
        stop_id = tokenizer.token_to_id(self.stop)
        if stop_id is None:
            raise AssayError(
                f"Chat template {template.name!r} ends answers with {self.stop!r}; the base model has no token for it.",
                remedy="Choose a chat template that fits the base model, or a base model that has this token.",
            )
        self.stop_token_id: int = stop_id
        self.stop_token_ids = frozenset({stop_id})

    def text(self, messages: Sequence[Message]) -> str:
        """The conversation as one text."""
        return self.template.render(messages, self.tokens)

    def spans(self, messages: Sequence[Message], text: str | None = None) -> list[Span]:
        """The text cut at each answer's beginning and end; joined, they are `text(messages)`.

        Args:
            messages: a conversation.
            text: `text(messages)`, where it is known.

        Raises:
            AssayError: the template does not render a conversation's beginning as the beginning of its text.
        """
        whole = self.text(messages) if text is None else text
        trained = [index for index, message in enumerate(messages) if is_trained(message)]
        if self.answers == "last":
            trained = trained[-1:]
        spans: list[Span] = []
        at = 0
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            begin = self.template.render(messages[:index], self.tokens, add_generation_prompt=True)
            last = index + 1 == len(messages)
            end = whole if last else self.template.render(messages[: index + 1], self.tokens)
            if not whole.startswith(end):  # a template may write the stop text after the last answer only
                end = end.removesuffix(self.stop)
            if not (whole.startswith(end) and end.startswith(begin)):
                raise AssayError(
                    f"Chat template {self.template.name!r} changes what it wrote before when a turn is added.",
                    remedy="With add_generation_prompt, the text must be the beginning of the text with the answer.",
                )
            stop_at = whole.find(self.stop, len(begin), len(end))
            stop = len(end) if stop_at < 0 else stop_at + len(self.stop)
            cut = len(begin)
            if self.reasoning == "context" and index in trained:
                cut += self.thoughts.end(whole[cut:stop])
            spans += [Span(whole[at:cut], False), Span(whole[cut:stop], True, index in trained)]
            at = stop
        if at < len(whole):
            spans.append(Span(whole[at:], False))
        return [span for span in spans if span.text]

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """Token ids and labels of a conversation; what follows the last trained answer's stop token is left out.

        Raises:
            AssayError: there is no answer to train, or a trained answer does not end with the stop token.
        """
        return next(self.encode_all([messages]))

    def encode_all(self, conversations: Iterable[Sequence[Message]]) -> Iterator[Encoded]:
        """`encode` for each, tokenised together over all cores.

        Raises:
            AssayError: as `encode`, when it comes to the conversation in question.
        """
        for pieces in self._tokenized(map(self.spans, conversations)):
            ids: list[int] = []
            labels: list[int] = []
            for tokens, trained in pieces:
                of_span = tokens.ids
                ids += of_span
                labels += of_span if trained else [IGNORED] * len(of_span)
            yield Encoded(ids, labels)

    def lengths(self, conversations: Iterable[Sequence[Message]]) -> list[int]:
        """How many tokens `encode` gives for each conversation, found without making lists of them.

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
        return [sum(tokens.count for tokens, _ in pieces) for pieces in self._tokenized(spans)]

    def _tokenized(self, conversations: Iterable[list[Span]]) -> Iterator[list[tuple[Tokens, bool]]]:
        """The spans of each conversation up to the last one that is trained: the tokens, and whether they are."""
        listed = list(conversations)
        texts = list(dict.fromkeys(span.text for spans in listed for span in spans))
        tokens_of = dict(zip(texts, tokenise(self.tokenizer, texts), strict=True))
        for spans in listed:
            last = max((index for index, span in enumerate(spans) if span.trained), default=None)
            if last is None:
                raise AssayError("A row without an answer cannot be trained.", remedy="Quarantine it before training.")
            pieces = [(tokens_of[span.text], span.trained) for span in spans[: last + 1]]
            if any(trained and tokens.last != self.stop_token_id for tokens, trained in pieces):
                raise AssayError(
                    f"Chat template {self.template.name!r} writes no stop token after an answer that is to be trained.",
                    remedy="Set render.answers to `last`, or use a template that ends every answer.",
                )
            yield pieces

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids to generate the last answer from; the messages may end with that answer or before it.

        Nothing of what was thought before that answer is in them: whoever asks does not know it.
        """
        asked = messages[:-1] if messages[-1]["role"] == "assistant" else messages
        spans = self.spans([*asked, {"role": "assistant", "content": ""}])
        last = max(index for index, span in enumerate(spans) if span.answer)
        return [token for span in spans[:last] for token in self._ids(span.text)]

    def answer(self, messages: Sequence[Message]) -> str:
        """The last answer as the template writes it, without the stop text: what a perfect model generates, but for
        what it thinks before."""
        return self.said([span.text for span in self.spans(messages) if span.answer][-1].removesuffix(self.stop))

    def said(self, reply: str) -> str:
        """A reply without what was thought before, if it begins with that."""
        return reply[self.thoughts.end(reply) :]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of generated tokens, special ones included."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    @cached_property
    def special_texts(self) -> list[str]:
        """Every text that the tokenizer takes for a special token, but those around what is thought."""
        added = self.tokenizer.get_added_tokens_decoder().values()
        return sorted(token.content for token in added if token.special and token.content not in self.thoughts.tags)

    def foreign_tokens(self, contents: Sequence[str]) -> list[str]:
        """Special tokens that stand in the words of messages: they would be taken for the template's."""
        return [text for text in self.special_texts if any(text in content for content in contents)]

    def _ids(self, text: str) -> list[int]:
        [tokens] = tokenise(self.tokenizer, [text])
        return tokens.ids
