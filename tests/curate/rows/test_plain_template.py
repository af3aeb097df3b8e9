"""What a plain template's pieces give is what the sandbox renders; what reads a content is not plain."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.rows.chat_template import ChatTemplate, Refusal, SpecialTokens
from curate.rows.task_template import TaskTemplate

STOP = "{%- set stop = '</s>' -%}"
# Between ⟪ and ⟫ is what is said of each message m.
PLAIN = {
    "chatml": None,
    "guanaco": None,
    "text": None,
    "in a condition": "⟪{{ m.content if m.role == 'user' else '[' ~ m['content'] ~ ']' }}⟫",
    "twice": "⟪{{ m.content }}{{ m.role }}{{ m.content + '\n' }}⟫",
    "left out": "⟪{% if m.role == 'user' %}{{ m.content }}{% else %}-{% endif %}⟫",
    "numbered": "⟪{{ loop.index ~ ': ' ~ m.content }}{% if not loop.last %}, {% endif %}⟫",
    "in loops": "⟪{% for n in messages %}{{ m.content ~ n.content }}⟫⟫",
    "refusing": "⟪{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}{{ m.content }}⟫",
    "empty": "{% if not messages %}nobody{% endif %}⟪{{ m.content }}{% else %}.⟫",
}
READING = {
    "trimmed": "⟪{{ m.content | trim }}⟫",
    "a filter around": "{% filter upper %}⟪{{ m.content }}⟫{% endfilter %}",
    "asked": "⟪{% if m.content == 'a' %}1{% endif %}{{ m.content }}⟫",
    "asked in an expression": "⟪{{ 'x' if m.content else 'y' }}⟫",
    "set": "⟪{% set said = m.content %}{{ said * 2 if said == '' else said }}⟫",
    "set as a block": "⟪{% set said %}{{ m.content }}{% endset %}{{ said | length }}⟫",
    "the message": "⟪{% set n = m %}{{ n.content | length }}⟫",
    "the messages": "{% set last = messages[-1:] %}{% for m in last %}{{ m.content | length }}⟫",
    "a neighbour": "⟪{{ (loop.previtem.content | length) if not loop.first }}⟫",
    "a macro": "{% macro say(x) %}{{ x | length }}{% endmacro %}⟪{{ say(m.content) }}⟫",
    "another name": "⟪{% for k in m %}{{ m[k] | length }}⟫⟫",
    "chosen": "{% for m in messages if m.content %}{{ m.content }}⟫",
    "a part": "⟪{{ m.content[:1] }}⟫",
    "compared": "⟪{{ m.content < 'b' }}⟫",
    "a mark, by an escape": "⟪{{ '\\x00' ~ '7' ~ '\\x00' }}{{ m.content }}⟫",
    "a name put over": "⟪{% set m = {'content': 'z'} %}{{ m.content }}⟫",
}
TOKENS = SpecialTokens("<s>", "</e>", adds_bos=True)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "user", "assistant", "tool"]),
            "content": st.text("ab \n\x000<>é{%", max_size=6),
        }
    ),
    max_size=5,
)


def template(name: str) -> ChatTemplate:
    source = (PLAIN | READING)[name]
    if source is None:
        return ChatTemplate(name)
    return ChatTemplate(name, STOP + source.replace("⟪", "{% for m in messages %}").replace("⟫", "{% endfor %}"))


def said(render: Callable[[], str]) -> str:
    """What is rendered, or how that is refused."""
    try:
        return render()
    except Refusal as refusal:
        return refusal.message


@pytest.mark.parametrize("name", PLAIN)
@settings(max_examples=60)
@given(messages=MESSAGES, prompt=st.booleans())
def test_pieces_give_what_the_sandbox_renders(name: str, messages: list[dict[str, str]], prompt: bool) -> None:
    ours = template(name)
    assert ours._is_plain
    for _ in range(2):  # made, and remembered
        wanted = said(lambda: ours.render_marked(messages, TOKENS, prompt)[0])
        assert said(lambda: ours.render(messages, TOKENS, prompt)) == wanted


@pytest.mark.parametrize("name", READING)
def test_what_reads_a_content_is_not_plain(name: str) -> None:
    assert not template(name)._is_plain


def test_of_a_text_that_is_too_long_the_sandbox_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.rows.chat_template.MOST_PLAIN", 100)
    monkeypatch.setattr("curate.sandbox.Bounded.left", 1000)
    ours = template("twice")
    assert ours.render([{"role": "user", "content": "x" * 50}], TOKENS).count("x") == 100
    with pytest.raises(Refusal, match="makes more than"):
        ours.render([{"role": "user", "content": "x" * 2000}], TOKENS)


def test_tokens_may_hold_what_marks_contents() -> None:
    tokens = SpecialTokens("\x000\x00", "</e>", adds_bos=True)
    template = ChatTemplate("odd", STOP + "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}")
    messages = [{"role": "user", "content": "A"}]
    assert template.render(messages, tokens) == template.render_marked(messages, tokens)[0]
    assert template.around(["user"], tokens) is None


def test_of_a_template_that_writes_the_mark_nothing_is_said_in_columns() -> None:
    task = TaskTemplate("odd", {"a": "\x00"}, "{% block user %}[{{ schema.a }}]{% endblock %}")
    assert task.around is None


def test_long_conversations_are_not_remembered() -> None:
    ours = template("numbered")
    for turns in (3, 500):
        messages = [{"role": "user", "content": str(at)} for at in range(turns)]
        assert ours.render(messages, TOKENS) == ours.render_marked(messages, TOKENS)[0]
    assert [len(roles) for roles, *_ in ours._pieces] == [3]
