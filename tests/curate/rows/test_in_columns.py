"""In columns, rows become what they become one by one."""

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from curate.record import MESSAGES, dicts
from curate.rows.chat_template import ChatTemplate, Refusal, is_trained
from curate.rows.in_columns import lengths_of, messages_of, texts_of
from curate.rows.renderer import Renderer
from curate.rows.task_template import TaskTemplate, Thoughts
from tests import records
from tests.curate.rows.test_fit import trained_tokenizer
from tests.curate.rows.test_plain_template import PLAIN, STOP
from tests.curate.rows.test_render import TOKENIZER, TOKENS

AROUND = {
    "as it is": "{% block user %}{{ content }}{% endblock %}",
    "words around": "{% block user %}Do:\n{{ content }}\n!{% endblock %}"
    "{% block assistant %}{{ '>' ~ content }}{% endblock %}",
    "a system's": "{% block system %}{% if schema %}{{ schema.a }}: {% endif %}{{ content }}{% endblock %}",
    "nothing of a system's": "{% block system %}{{ content }}{% endblock %}",
}
OF_ROW = {
    "a language": "{% block user %}{{ content }} ({{ language }}){% endblock %}",
    "of meta": "{% block user %}{{ content }}{{ meta.a if 'a' in meta else '' }}{% endblock %}",
    "read": "{% block user %}{{ content | trim }}{% endblock %}",
    "asked": "{% block user %}{% if content %}{{ content }}{% else %}nothing{% endif %}{% endblock %}",
    "set": "{% block user %}{% set said %}{{ content }}{% endset %}{{ said | length }}{% endblock %}",
    "a filter around": "{% block user %}{% filter upper %}{{ content }}{% endfilter %}{% endblock %}",
    "in a loop": "{% block user %}{% for each in [1, 2] %}{{ content }}{% endfor %}{% endblock %}",
    "left out": "{% block user %}-{% endblock %}",
    "much": "{% block user %}{{ content }}{{ schema.a * 100000 }}{% endblock %}",
    "refused": "{% block user %}{{ content ~ raise_exception('no') }}{% endblock %}",
}
CHATS = {name: PLAIN[name] for name in ("chatml", "guanaco", "left out", "numbered", "refusing")} | {"llama2": None}


SAID = records.RECORDS.map(lambda rows: [row for row in rows if row["turns"]])


def chat_template(name: str) -> ChatTemplate:
    source = CHATS[name]
    if source is None:
        return ChatTemplate(name)
    end = "{% if m.role == 'assistant' %}</s>{% endif %}{% endfor %}"
    return ChatTemplate(name, STOP + source.replace("⟪", "{% for m in messages %}").replace("⟫", end))


def task_template(name: str, written: Literal["last", "all", "none"] = "last") -> TaskTemplate:
    return TaskTemplate(name, {"a": "Answer"}, (AROUND | OF_ROW)[name], Thoughts(written=written))


def either(make: Any, *given: Any) -> Any:
    """What is made, or the words with which it is refused."""
    try:
        return make(*given)
    except Refusal as refusal:
        return refusal.message


@pytest.mark.parametrize("name", AROUND)
def test_words_around_what_is_said_are_known(name: str) -> None:
    assert task_template(name).around is not None


@pytest.mark.parametrize("name", OF_ROW)
def test_what_depends_on_the_row_is_made_row_by_row(name: str) -> None:
    assert task_template(name).around is None


@pytest.mark.parametrize("written", ["last", "all", "none"])
@pytest.mark.parametrize("name", [*AROUND, "a language", "read"])
@settings(max_examples=40)
@given(rows=records.RECORDS)
def test_messages(name: str, written: Literal["last", "all", "none"], rows: list[dict[str, Any]]) -> None:
    task = task_template(name, written)
    for table in records.layouts(rows):
        found, refused = messages_of(table, task)
        assert found.type == MESSAGES
        assert not refused
        assert found.to_pylist() == [task.messages(row) for row in dicts(table)]


@pytest.mark.parametrize("name", CHATS)
@settings(max_examples=40)
@given(rows=SAID, data=st.data())
def test_texts(name: str, rows: list[dict[str, Any]], data: st.DataObject) -> None:
    renderer = Renderer(chat_template(name), TOKENIZER, TOKENS)
    asked = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), np.bool_)
    messages, _ = messages_of(records.table_of(rows), task_template("as it is"))
    texts, refused = texts_of(messages, renderer, asked)
    for row, (text, said) in enumerate(zip(texts.to_pylist(), messages.to_pylist(), strict=True)):
        if asked[row]:
            assert either(renderer.text, said) == (refused[row].message if row in refused else text)
    assert not [row for row in refused if not asked[row]]


@pytest.mark.parametrize("tokenizer", ["bytes", "pairs", "NFC"])
@pytest.mark.parametrize(
    ("name", "answers"),
    [*((name, "last") for name in CHATS), ("chatml", "all"), ("llama2", "all"), ("refusing", "all")],
)
@settings(max_examples=15)
@given(rows=SAID)
def test_lengths(name: str, tokenizer: str, answers: Any, rows: list[dict[str, Any]]) -> None:
    of = TOKENIZER if tokenizer == "bytes" else trained_tokenizer()
    of.add_special_tokens(["<s>", "</s>"])
    if tokenizer == "NFC":
        of.normalizer = normalizers.NFC()
    renderer = Renderer(chat_template(name), of, TOKENS, answers)
    messages, _ = messages_of(records.table_of(rows), task_template("as it is"))
    texts, refused = texts_of(messages, renderer, np.ones(len(rows), np.bool_))
    table = pa.table({"messages": messages, "text": texts})
    answered = [any(map(is_trained, said)) for said in messages.to_pylist()]
    table = table.filter(pa.array([known and row not in refused for row, known in enumerate(answered)], pa.bool_()))
    wanted = []
    for row in dicts(table):
        spans = either(renderer.spans, row["messages"], row["text"])
        [length] = [spans] if isinstance(spans, str) else renderer.measured([spans])
        wanted.append(length.message if isinstance(length, Refusal) else length)
    found = [length.message if isinstance(length, Refusal) else length for length in lengths_of(table, renderer)]
    assert found == wanted


@pytest.mark.parametrize("most", ["MOST_PLAIN", "MOST_TURNS"])
def test_large_rows_are_made_row_by_row(most: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [records.record("Is it so?", ("assistant", "Yes.")), records.record("Is it?", ("assistant", "No."))]
    task, renderer = task_template("words around"), Renderer(chat_template("chatml"), TOKENIZER, TOKENS)
    messages, _ = messages_of(records.table_of(rows), task)
    texts, _ = texts_of(messages, renderer, np.ones(2, np.bool_))
    monkeypatch.setattr(f"curate.rows.in_columns.{most}", 1)
    assert messages_of(records.table_of(rows), task)[0] == messages
    assert texts_of(messages, renderer, np.ones(2, np.bool_))[0] == texts
