"""Render: every row as the messages and the text that a model is trained and asked with, see `curate.rows.renderer`."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrow import whole
from curate.cache import seen_by_all
from curate.hashing import digest, file_digest
from curate.record import dicts
from curate.rows.chat_template import ChatTemplate, read_chat_template, read_template
from curate.rows.in_columns import Said, messages_of, texts_of
from curate.rows.renderer import LIBRARIES, TOKENIZER_FILES, Reasoning, Renderer, load_tokenizer
from curate.rows.task_template import TaskTemplate
from curate.stage import Beside, Context, Outcome, Reject, RowStage, Stage, divide
from curate.text.tokenizer_file import stop_ids


class Render(Stage):
    """Adds the columns `messages` and `text`."""

    name: ClassVar[str] = "render"
    version: ClassVar[int] = 5
    libraries: ClassVar[tuple[str, ...]] = LIBRARIES
    reasons: ClassVar[dict[str, str]] = {
        "special_token": "the row's own words hold the model's special tokens, or its reasoning the tags around it",
        "refused": "the chat template has no words for the row's turns (a tool's, or one role twice in turn), or a "
        "template makes more of it than it may",
    }

    task: Beside = Field(description="Task template: templates/tasks/NAME.jinja, or a path beside the recipe.")
    chat: Beside = Field(
        description="Chat template: chatml, llama2, guanaco, text, `model` (the base model's own; "
        "`model:NAME` is one of several), or the path beside the recipe of a .jinja file, one that a model was "
        "published with say."
    )
    answers: Literal["last", "all"] = Field("last", description="Which assistant turns are trained.")
    reasoning: Reasoning = Field(
        "train",
        description="What was thought before an answer: written before it and trained, written as context and not "
        "trained, or not written (the record keeps it). With `answers: last`, only the last answer's is written.",
    )

    def prepare(self, context: Context) -> "Rendering":
        folder = context.tokenizer_folder
        return Rendering(
            task=self.task,
            chat=self.chat,
            answers=self.answers,
            reasoning=self.reasoning,
            task_source=read_template("tasks", self.task),
            chat_source=read_chat_template(self.chat, folder),
            target_schema=json.dumps(context.contract.target_schema),
            tokenizer_folder=seen_by_all(folder, context.cache, "*.json"),
            stops=stop_ids(folder),
            tokenizer_sha256={name: file_digest(folder / name) for name in TOKENIZER_FILES},
        )


class Rendering(Render, RowStage):
    """The stage `render` with its templates and the base model's tokenizer."""

    task: str = Field(exclude=True)
    chat: str = Field(exclude=True)
    task_source: str
    chat_source: str
    target_schema: str
    """The contract's as JSON, in which the order of keys counts: the task template may quote it."""
    tokenizer_folder: Path = Field(exclude=True)
    tokenizer_sha256: dict[str, str]
    """By file of the tokenizer."""
    stops: tuple[int, ...]
    """Tokens that end what the base model generates, as it was published."""

    def prepared_from(self) -> dict[str, Any]:
        return {
            "base": {
                **{f"{name.removesuffix('.json')}_sha256": sha256 for name, sha256 in self.tokenizer_sha256.items()},
                "chat_template_sha256": self.renderer.template.sha256,
                "task_template_sha256": digest(self.task_source),
            }
        }

    @property
    def template(self) -> TaskTemplate:
        """Makes the messages."""
        return TaskTemplate(self.task, json.loads(self.target_schema), self.task_source, self.renderer.thoughts)

    @property
    def renderer(self) -> Renderer:
        """Makes text and tokens of them; loaded once a process."""
        tokenizer = (*sorted(self.tokenizer_sha256.items()), self.stops)
        return _renderer(self.chat, self.chat_source, self.tokenizer_folder, tokenizer, self.answers, self.reasoning)

    def run(self, table: pa.Table) -> Outcome:
        return render(table, self.template, self.renderer)


@cache
def _renderer(
    chat: str,
    source: str,
    folder: Path,
    _tokenizer: tuple[object, ...],
    answers: Literal["last", "all"],
    reasoning: Reasoning,
) -> Renderer:
    """By content: in a long-lived process, files of the same names may have changed."""
    return Renderer(ChatTemplate(chat, source), *load_tokenizer(folder), answers, reasoning)


def render(table: pa.Table, task: TaskTemplate, renderer: Renderer) -> Outcome:
    """Add the columns `messages` and `text`.

    Counters: rows with anything thought before an answer (`reasoning`), thoughts that are not written
    (`reasoning_not_written`), answers that stay in a conversation and are not trained (`untrained_turns`).

    Reasons: `special_token` (the row's own words hold text that the base model's tokenizer takes for a special token,
    which would end or begin a turn where none does, or what was thought holds a tag that is written around it; the
    evidence names it), `refused` (the chat template has no words for these turns, such as a tool's, or one role twice
    in turn, or a template makes more of the row than it may; the evidence holds what is said).
    """
    messages, refused = messages_of(table, task)
    found = {row: Reject(row, "refused", {"message": refusal.message}) for row, refusal in refused.items()}
    for row in _rows_with_any(messages, renderer.special_texts):
        tokens = renderer.foreign_tokens([message["content"] for message in messages[row].as_py()])
        found[row] = Reject(row, "special_token", {"tokens": tokens})
    counters = _thought(table, messages, task, found)
    asked = np.ones(table.num_rows, np.bool_)
    asked[[*found]] = False
    turns = Said.of(whole(table["turns"]))
    untrained = pc.equal(turns.fields["trained"], False).fill_null(False).to_numpy(zero_copy_only=False)
    counters["untrained_turns"] = int((untrained & np.repeat(asked, turns.sizes)).sum())
    texts, refused = texts_of(messages, renderer, asked)
    found |= {row: Reject(row, "refused", {"message": refusal.message}) for row, refusal in refused.items()}
    table = table.append_column("messages", messages).append_column("text", texts)
    return divide(table, Render.name, list(found.values()), dict(+counters))


def _thought(table: pa.Table, messages: pa.Array, task: TaskTemplate, found: dict[int, Reject]) -> Counter[str]:
    """Count what was thought, and put rows whose thoughts hold the tags around them to what is found."""
    turns = Said.of(whole(table["turns"]))
    thinks = np.zeros(len(messages), np.bool_)
    thinks[np.repeat(np.arange(len(messages)), turns.sizes)[_filled(turns.fields["reasoning"])]] = True
    rows = np.flatnonzero(thinks | _filled(whole(table["reasoning"])))
    records = dicts(table.select(["turns", "reasoning"]).append_column("messages", messages).take(rows))
    opening = partial(task.thoughts.before, "")
    counters: Counter[str] = Counter()
    for row, record in zip(rows.tolist(), records, strict=True):
        said = record["messages"]
        thought = [each["reasoning"] for each in (*record["turns"], record) if each["reasoning"]]
        written = [text for text in thought if any(each["content"].startswith(opening(text)) for each in said)]
        if tags := [tag for tag in task.thoughts.tags if any(tag in text for text in written)]:
            found.setdefault(row, Reject(row, "special_token", {"tokens": tags}))
        if row not in found:
            counters["reasoning"] += 1
            counters["reasoning_not_written"] += len(thought) - len(written)
    return counters


def _filled(texts: pa.Array) -> npt.NDArray[np.bool_]:
    """Which of them are not empty."""
    filled = pc.greater(pc.binary_length(texts), 0).fill_null(False)
    flags: npt.NDArray[np.bool_] = filled.to_numpy(zero_copy_only=False)
    return flags


def _rows_with_any(messages: pa.ListArray, texts: Sequence[str]) -> list[int]:
    """Rows of which a message's content holds one of the texts."""
    if not texts:
        return []
    contents = pc.struct_field(messages.flatten(), "content")
    found = pc.match_substring_regex(contents, "|".join(map(re.escape, texts))).to_numpy(zero_copy_only=False)
    row_of = np.repeat(np.arange(len(messages)), pc.list_value_length(messages).to_numpy(zero_copy_only=False))
    rows: list[int] = np.unique(row_of[found]).tolist()
    return rows
