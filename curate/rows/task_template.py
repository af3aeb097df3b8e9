"""Task templates: records to messages."""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, cast

from curate.errors import AssayError
from curate.rows.chat_template import ENVIRONMENT, Message, compiled, failure, is_trained, read_template
from curate.rows.plain_template import words_around
from curate.sandbox import MOST_MADE, Bounded

MOST_AROUND = 1 << 16
"""Characters that may be made for a turn whose words do not depend on the row."""


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
        self._template = compiled("task", name, self.source)

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

    @cached_property
    def around(self) -> dict[str, tuple[str, str]] | None:
        """By role, what is written before a content and behind it; None where that depends on the row, or is much."""
        nobody: dict[str, Any] = {"id": "(none)", "language": None, "meta": {}}
        tree = ENVIRONMENT.parse(self.source)
        found = {}
        for block in self._template.blocks:
            try:
                context = self._context(nobody)
                words = words_around(tree, block, partial(self._block, block, context=context, record=nobody))
            except AssayError:
                return None
            if words is None or MOST_MADE - context.left > MOST_AROUND:
                return None
            found[block] = words
        return found

    def _context(self, record: dict[str, Any]) -> Bounded:
        named = {"language": record["language"], "meta": record["meta"], "schema": self.schema}
        return cast(Bounded, self._template.new_context(named))

    def _block(self, block: str, content: str, context: Bounded, record: dict[str, Any]) -> str:
        if block not in self._template.blocks:
            return content
        context.vars["content"] = content
        try:
            return "".join(self._template.blocks[block](context))
        except Exception as error:  # whatever a row does to a template
            raise failure(
                f"Task template {self.name!r}, block {block!r}, row {record['id']}",
                error,
                "The template may use content, language, meta and schema; put other fields into record.meta.",
            ) from None
