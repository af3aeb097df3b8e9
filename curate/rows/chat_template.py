"""Chat templates: messages to text.

There are two kinds. Ours (templates/chat, or a .jinja file that sets `stop`) say what ends an answer, and may set
`think_open` and `think_close`, which stand around what was thought before one. Those that models are published with
say none of it: it is found by asking them (`curate.rows.renderer`), and they are rendered as transformers does
(`curate.rows.published`).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.environment import TemplateModule

from curate.errors import AssayError
from curate.rows import published
from curate.rows.plain_template import MARK, Pieces, is_plain
from curate.sandbox import Overrun, Sandbox, namespace
from curate.text import strict_json
from curate.text.tokenizer_file import read_config

Message = dict[str, Any]
"""{"role": "system" | "user" | "assistant" | "tool", "content": text, "trained": False | None, or absent}."""

MODEL = "model"
"""The name of the base model's own chat template; `model:NAME` is one of several that it has."""
CHAT_FILES = ["chat_template.jinja", "additional_chat_templates/*.jinja"]
"""Of a model's folder, where tokenizer_config.json does not hold its chat templates."""
SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Special tokens that published templates may name."""
REASONING = {"reasoning_content", "thinking"}
"""Keys of a message under which published templates read what was thought."""
THINK = ("<think>\n", "\n</think>\n\n")
"""Around what was thought, in messages and where a template says nothing else."""

MOST_PLAIN = 1 << 24
"""Characters of a conversation, each as often as it is written, from which its template is rendered in the sandbox;
that bounds what is made of it."""
MOST_SHAPES, MOST_ROLES = 1000, 100
"""Sequences of roles whose pieces are remembered, and how long one may be."""


class Refusal(AssayError):
    """A template has no words for a row, as its `raise_exception` says, or makes more of it than it may."""


class _Refused(TemplateError):
    """What a template's `raise_exception` raises; any other error is the template's own."""


def _raise(message: str) -> NoReturn:
    raise _Refused(message)


ENVIRONMENT = Sandbox(
    functions={"raise_exception": _raise, "namespace": namespace}, trim_blocks=True, lstrip_blocks=True
)
"""Of our templates. It is strict: rows are data, never code, and what is not there is an error."""
PUBLISHED = published.environment({"raise_exception": _raise})


def is_trained(message: Message) -> bool:
    """Whether a turn or message is an answer that may be trained."""
    return message["role"] == "assistant" and message.get("trained") is not False


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


def read_chat_template(name: str, folder: Path) -> str:
    """Source of a chat template; of `model` or `model:NAME`, that of the base model.

    Args:
        name: of the recipe.
        folder: the base model's, or its tokenizer's.

    Raises:
        AssayError: there is no such template.
    """
    kind, _, wanted = name.partition(":")
    if kind != MODEL:
        return read_template("chat", name)
    known = model_templates(folder)
    if wanted not in known and not (wanted == "" and "default" in known):
        raise AssayError(
            f"{folder}: the base model has no chat template {wanted or 'of its own'}"
            f"{'; it has ' + ', '.join(sorted(known)) if known else ''}.",
            remedy="Name one that it has as model:NAME." if known else "Name a packaged template or a .jinja file.",
        )
    return known[wanted or "default"]


def model_templates(folder: Path) -> dict[str, str]:
    """A model's own chat templates by name, of which the one that is meant without a name is `default`.

    As transformers reads them: from chat_template.jinja and additional_chat_templates/NAME.jinja, else from
    tokenizer_config.json.
    """
    named = {path.stem: path for path in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    if (path := folder / "chat_template.jinja").is_file():
        named["default"] = path
    if named:
        return {name: path.read_text(encoding="utf-8") for name, path in named.items()}
    said = read_config(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(said, list):
        return {str(each["name"]): str(each["template"]) for each in said}
    return {"default": said} if isinstance(said, str) else {}


def compiled(kind: str, name: str, source: str, environment: Sandbox = ENVIRONMENT) -> Template:
    """A template, ready to render.

    Raises:
        AssayError: it is none, or names what it may not.
    """
    try:
        return environment.from_string(source)
    except (TemplateError, RecursionError, MemoryError, SyntaxError) as error:
        said = error if isinstance(error, TemplateError) else "nested too deeply to be read"
        raise AssayError(
            f"{kind.capitalize()} template {name!r}: {said}.",
            remedy="Mend the template; docs/expressions.md says what one may name.",
        ) from None


def failure(what: str, error: Exception, remedy: str, refuses: bool = False) -> AssayError:
    """What is said where a template fails on a row; `refuses` where any failure is the row's."""
    refused = refuses or isinstance(error, (_Refused, Overrun, RecursionError))
    said = error.message if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
    return (Refusal if refused else AssayError)(f"{what}: {said}.", remedy=remedy)


@dataclass(frozen=True)
class SpecialTokens:
    """What the tokenizer calls its first and last token, "" where it has none, and what else of them is known."""

    bos: str
    eos: str
    adds_bos: bool = False
    """Whether the tokenizer writes `bos` before a text by itself: the model knows no text without it."""
    named: Mapping[str, str] = field(default_factory=dict)
    """All of SPECIAL that there are."""
    stops: tuple[int, ...] = ()
    """Tokens that end what the model generates, as it was published."""


ADDS_BOS, NO_THINKING = "{%- set adds_bos = true -%}", "{%- set enable_thinking = false -%}"
MACRO, END_MACRO = "{%- macro strftime_now(format) -%}", "{%- endmacro -%}"


class ChatTemplate:
    """Messages to text.

    Args:
        name: templates/chat/NAME.jinja, the path of a .jinja file, or `model` with its source.
        source: the template's text, where it has been read.
        published: whether a model was published with it, where that is known; else it is if it does not set `stop`.
    """

    def __init__(self, name: str, source: str | None = None, published: bool | None = None) -> None:
        self.name = name
        self._known_as_published = True if name.partition(":")[0] == MODEL else published
        self.source = read_template("chat", name) if source is None else source
        self._template = compiled("chat", name, self.source, PUBLISHED if self.published else ENVIRONMENT)
        self._pieces: dict[Any, Pieces] = {}

    @classmethod
    def load(cls, name: str, folder: Path) -> "ChatTemplate":
        """The template of this name, for the model in a folder; see `read_chat_template`."""
        return cls(name, read_chat_template(name, folder))

    @cached_property
    def published(self) -> bool:
        """Whether it is one that a model was published with."""
        if self._known_as_published is not None:
            return self._known_as_published
        return not any(getattr(node.target, "name", None) == "stop" for node in self._tree.find_all(nodes.Assign))

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.source.encode()).hexdigest()

    def served(self, tokens: SpecialTokens, think: bool = True) -> str:
        """The source of a template that gives plain transformers, and servers, the text that this one gives here.

        They know no `adds_bos`, think unless told otherwise, and have a clock: `strftime_now` is written out, as a
        macro that knows its day. What is put before the template is what `trained` takes away.
        """
        if not self.published:
            return ADDS_BOS * tokens.adds_bos + self.source
        thinking = "" if think or "enable_thinking" not in self.source else NO_THINKING
        calls = [node for node in self._tree.find_all(nodes.Call) if getattr(node.node, "name", None) == "strftime_now"]
        formats = {node.args[0].value for node in calls if node.args and isinstance(node.args[0], nodes.Const)}
        if not formats:
            return thinking + self.source
        days = json.dumps({each: published.tell_time(each) for each in sorted(formats)}, ensure_ascii=False)
        return f"{thinking}{MACRO}{{{{- {days}[format] -}}}}{END_MACRO}{self.source}"

    @classmethod
    def trained(cls, name: str, served: str, published: bool | None = None) -> "ChatTemplate":
        """The template that `served` was made of."""
        text = served.removeprefix(ADDS_BOS).removeprefix(NO_THINKING)
        return cls(name, text.partition(END_MACRO)[2] if text.startswith(MACRO) else text, published)

    @cached_property
    def _tree(self) -> nodes.Template:
        try:
            return PUBLISHED.parse(self.source)
        except (TemplateError, RecursionError, MemoryError):  # which `compiled` tells
            return nodes.Template([])

    @cached_property
    def _is_plain(self) -> bool:
        return not self.published and is_plain(self._tree)

    @cached_property
    def _reads_reasoning(self) -> bool:
        return bool(REASONING & published.names_in(self._tree))

    def render(
        self,
        messages: Sequence[Message],
        tokens: SpecialTokens,
        add_generation_prompt: bool = False,
        think: bool = True,
    ) -> str:
        """The text of a conversation.

        Args:
            messages: the conversation; for a published template, as `shaped` has it.
            tokens: the tokenizer's.
            add_generation_prompt: whether an answer is to follow.
            think: `enable_thinking`, of published templates.

        Raises:
            AssayError: the template refuses the messages (a Refusal), or asks for a field they do not have.
        """
        contents = [message["content"] for message in messages]
        if self._has_pieces(tokens):
            roles = tuple(message["role"] for message in messages)
            pieces = self._pieces_of(roles, tokens, add_generation_prompt)
            if pieces.copies * sum(map(len, contents)) <= MOST_PLAIN:
                return pieces.text(contents)
        return self.render_marked(messages, tokens, add_generation_prompt, think)[0]

    def around(
        self, roles: Sequence[str], tokens: SpecialTokens, add_generation_prompt: bool = False
    ) -> list[str] | None:
        """What `render` writes before, between and behind the contents of messages; None where they decide any of it.

        Raises:
            AssayError: as `render`.
        """
        return self._pieces_of(tuple(roles), tokens, add_generation_prompt).around if self._has_pieces(tokens) else None

    def _has_pieces(self, tokens: SpecialTokens) -> bool:
        return self._is_plain and MARK not in f"{tokens.bos}{tokens.eos}"

    def _pieces_of(self, roles: tuple[str, ...], tokens: SpecialTokens, add_generation_prompt: bool) -> Pieces:
        key = roles, add_generation_prompt, tokens.bos, tokens.eos, tokens.adds_bos
        if (pieces := self._pieces.get(key)) is None:
            if len(self._pieces) == MOST_SHAPES:
                self._pieces.clear()
            rendered = partial(self._module, tokens=tokens, prompt=add_generation_prompt)
            pieces = Pieces(lambda marked: str(rendered(marked)), roles)
            if len(roles) <= MOST_ROLES:
                self._pieces[key] = pieces
        return pieces

    def render_marked(
        self,
        messages: Sequence[Message],
        tokens: SpecialTokens,
        add_generation_prompt: bool = False,
        think: bool = True,
    ) -> tuple[str, list[tuple[int, int]]]:
        """`render`, and where what the template marks as generated begins and ends in the text."""
        if not self.published:
            return str(self._module(messages, tokens, add_generation_prompt)), []
        try:
            return published.marked(
                self._template.render(
                    messages=messages,
                    tools=None,
                    documents=None,
                    add_generation_prompt=add_generation_prompt,
                    enable_thinking=think,
                    **tokens.named,
                )
            )
        except Exception as error:  # whatever a row does to a template
            raise failure(f"Chat template {self.name!r}", error, "See the row's messages.", refuses=True) from None

    def words(self, tokens: SpecialTokens) -> dict[str, str]:
        """Texts that ours sets: `stop`, which ends an answer, and perhaps `think_open` and `think_close`."""
        said = vars(self._module([{"role": "user", "content": ""}], tokens, False))
        return {name: value for name, value in said.items() if isinstance(value, str)}

    def _module(self, messages: Sequence[Message], tokens: SpecialTokens, prompt: bool) -> TemplateModule:
        try:
            return self._template.make_module(
                {
                    "messages": messages,
                    "bos_token": tokens.bos,
                    "eos_token": tokens.eos,
                    "adds_bos": tokens.adds_bos,
                    "add_generation_prompt": prompt,
                }
            )
        except Exception as error:  # whatever a row does to a template
            raise failure(f"Chat template {self.name!r}", error, "See the row's messages.") from None

    def shaped(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Messages as the template expects them: for a published one, calls of tools and what was thought stand under
        keys of their own.
        """
        return with_calls(map(self._thought_apart, messages)) if self.published else messages

    def _thought_apart(self, message: Message) -> Message:
        open_, close = THINK
        thought, found, content = message["content"].partition(close)
        if message["role"] == "assistant" and self._reads_reasoning and found and thought.startswith(open_):
            thought = thought.removeprefix(open_)
            return {"role": "assistant", "content": content, "reasoning_content": thought, "thinking": thought}
        return {"role": message["role"], "content": message["content"]}


def with_calls(messages: Iterable[Message]) -> list[Message]:
    """Messages with calls of tools, and what names the tool of a result, under keys of their own.

    Calls are told apart from answers that look like them by what else is said: a conversation in which no tool speaks
    has none.
    """
    listed = list(messages)
    if not any(message["role"] == "tool" for message in listed):
        return listed
    read = {"assistant": tool_calls, "tool": tool_result}
    return [each | read[each["role"]](each["content"]) if each["role"] in read else each for each in listed]


def as_sent(messages: Sequence[Message]) -> list[Message]:
    """Messages as chat completions are asked with: where a template wants a call's arguments, they want its JSON."""
    return [
        message | {"tool_calls": [_with_json(call) for call in message["tool_calls"]]}
        if "tool_calls" in message
        else dict(message)
        for message in messages
    ]


def _with_json(call: Message) -> Message:
    function = call["function"]
    return call | {"function": function | {"arguments": json.dumps(function["arguments"], ensure_ascii=False)}}


def tool_calls(content: str) -> Message:
    """The keys `content` and `tool_calls` of a message whose last line is calls, as `read.message_list` writes them."""
    before, _, line = content.rpartition("\n")
    try:
        said = strict_json.loads(line)
    except ValueError:
        return {}
    calls = said if isinstance(said, list) else [said]
    if not calls or not all(
        isinstance(call, dict)
        and call.keys() - {"id"} == {"name", "arguments"}
        and isinstance(call["name"], str)
        and isinstance(call["arguments"], dict)
        for call in calls
    ):
        return {}
    made = [
        {key: call[key] for key in ("id",) if key in call}
        | {"type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
        for call in calls
    ]
    return {"content": before, "tool_calls": made}


def tool_result(content: str) -> Message:
    """The keys of a tool's message that names its tool or its call."""
    try:
        said = strict_json.loads(content)
    except ValueError:
        return {}
    named = (
        isinstance(said, dict) and said.keys() - {"content"} and not said.keys() - {"name", "tool_call_id", "content"}
    )
    return said if named and isinstance(said.get("content"), str) else {}
