"""Templates are exact, and what is trained is what is asked for."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from curate.errors import AssayError
from curate.record import MESSAGES, SCHEMA
from curate.rows.chat_template import ChatTemplate, SpecialTokens
from curate.rows.render import render
from curate.rows.renderer import IGNORED, Renderer, load_tokenizer
from curate.rows.task_template import TaskTemplate
from curate.stage import Outcome
from tests import records

# The chat templates that the models were published with, as their tokenizer_config.json holds them.
PUBLISHED = {
    "chatml": (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' "
        "+ '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "llama2": (
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = "
        "messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}"
        "{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
        "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + "
        "'\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}"
        "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
    ),
}
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
TOKENS = SpecialTokens("<s>", "</s>")


def byte_tokenizer() -> Tokenizer:
    """One token per byte, and the special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


TOKENIZER = byte_tokenizer()

texts = st.text(st.characters(codec="utf-8"), max_size=40).filter(lambda text: not any(t in text for t in SPECIAL))


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, str]]:
    """Alternating turns that end with the assistant's, with or without a system message."""
    messages = [{"role": "system", "content": draw(texts)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        messages += [{"role": "user", "content": draw(texts)}, {"role": "assistant", "content": draw(texts)}]
    return messages


def published(source: str, messages: list[dict[str, str]], prompt: bool) -> str:
    from transformers import PreTrainedTokenizerFast

    reference = PreTrainedTokenizerFast(tokenizer_object=TOKENIZER, bos_token="<s>", eos_token="</s>")
    reference.chat_template = source
    return str(reference.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt))


@pytest.mark.parametrize("name", sorted(PUBLISHED))
@given(conversations())
def test_equals_the_published_template_byte_for_byte(name: str, messages: list[dict[str, str]]) -> None:
    template = ChatTemplate(name)
    assert template.render(messages, TOKENS) == published(PUBLISHED[name], messages, prompt=False)
    asked = messages[:-1]
    assert template.render(asked, TOKENS, add_generation_prompt=True) == published(PUBLISHED[name], asked, prompt=True)


WITH_NAMESPACE = """
{%- set ns = namespace(system='', last=0, first=true) %}
{%- for message in messages %}
    {%- if message.role == 'system' %}{% set ns.system = ns.system ~ message.content %}{% endif %}
    {%- if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}
{%- endfor %}
{%- for message in messages if message.role != 'system' %}
    {%- if ns.first and ns.system %}{{ '<<' ~ ns.system ~ '>>' }}{% endif %}
    {%- set ns.first = false %}
    {{- message.role ~ (' (last): ' if loop.index0 + (1 if ns.system else 0) >= ns.last else ': ') ~ message.content }}
{%- endfor %}"""


@given(conversations())
def test_a_namespace_is_that_of_published_templates(messages: list[dict[str, str]]) -> None:
    said = ChatTemplate("mine", WITH_NAMESPACE).render(messages, TOKENS)
    assert said == published(WITH_NAMESPACE, messages, prompt=False)


@pytest.mark.parametrize("said", ["{% set stop = 7 %}", "{% set stop = namespace(a=1) %}"])
def test_a_template_says_what_ends_an_answer(said: str) -> None:
    with pytest.raises(AssayError) as error:
        Renderer(ChatTemplate("mine", said), TOKENIZER, TOKENS)
    assert str(error.value) == (
        "Chat template 'mine' does not set `stop`, the text that ends an answer.\n"
        'Write into it, e.g.: {% set stop = "<|im_end|>" %}'
    )


def test_of_a_template_that_does_not_say_it_is_found_or_told() -> None:
    unsaid = "{% for message in messages %}{{ message.content }}{% endfor %}"
    with pytest.raises(AssayError, match="'mine' writes no stop token after an answer") as error:
        Renderer(ChatTemplate("mine", unsaid), TOKENIZER, TOKENS)
    assert 'e.g.: {% set stop = "<|im_end|>" %}' in str(error.value)
    ended = unsaid.replace("{% endfor", "{{ eos_token if message.role == 'assistant' }}{% endfor")
    tokens = SpecialTokens("<s>", "</s>", named={"eos_token": "</s>"})
    assert Renderer(ChatTemplate("mine", ended), TOKENIZER, tokens).stop == "</s>"


def test_llama2_refuses_turns_that_do_not_alternate() -> None:
    with pytest.raises(AssayError, match="alternate"):
        ChatTemplate("llama2").render([{"role": "assistant", "content": "hello"}], TOKENS)


@pytest.mark.parametrize("name", ["guanaco", "llama2", "chatml"])
def test_rows_that_a_template_has_no_words_for_are_quarantined(name: str) -> None:
    asked, answered = ("user", "is it raining"), ("assistant", "yes")
    plain = [asked, answered]
    tool = [asked, ("assistant", '{"name": "rain"}'), ("tool", "true"), answered]
    late_tool = [asked, ("tool", "true"), asked, answered]
    late_system = [*plain, ("system", "Be kind."), answered]
    rows = [
        records.record(*turns, id=str(number)) for number, turns in enumerate([plain, tool, late_tool, late_system])
    ]
    outcome = render(
        records.table_of(rows), TaskTemplate("conversation", None), Renderer(ChatTemplate(name), TOKENIZER, TOKENS)
    )
    refused = {"guanaco": ["1", "2"], "llama2": ["1", "2", "3"], "chatml": []}[name]
    assert outcome.rejected["id"].to_pylist() == refused
    assert set(outcome.rejected["reason"].to_pylist()) <= {"refused"}
    assert all("Chat template" in evidence for evidence in outcome.rejected["evidence"].to_pylist())
    if name == "chatml":
        assert "<|im_start|>tool\ntrue<|im_end|>\n" in outcome.kept["text"].to_pylist()[1]


def test_guanaco_equals_the_real_rows(shared_data: Path) -> None:
    from curate.read.chat_markup import guanaco_turns

    template, seen = ChatTemplate("guanaco"), 0
    for line in (shared_data / "ins_guanaco_oa/prompts/oa_questions.jsonl").open(encoding="utf-8"):
        row = json.loads(line)
        messages = guanaco_turns(row["input"])
        assert template.render(messages, TOKENS, add_generation_prompt=True) == row["input"]
        whole = [*messages, {"role": "assistant", "content": row["output"]}]
        assert template.render(whole, TOKENS) == row["input"] + " " + row["output"] + "</s>"
        seen += 1
    assert seen == 953


@pytest.mark.parametrize("name", ["chatml", "llama2", "guanaco"])
@given(messages=conversations())
def test_trained_tokens_are_exactly_the_answer(name: str, messages: list[dict[str, str]]) -> None:
    renderer = Renderer(ChatTemplate(name), TOKENIZER, TOKENS)
    encoded = renderer.encode(messages)
    trained = [label for label in encoded.labels if label != IGNORED]
    assert trained[-1] == renderer.stop_token_id == encoded.input_ids[-1]
    assert renderer.decode(trained) == renderer.answer(messages) + renderer.stop
    answer = messages[-1]["content"]
    assert renderer.answer(messages).strip() == (answer.strip() if name == "llama2" else answer).strip()
    # What is asked with is what was trained to be continued, to the token.
    assert renderer.prompt_ids(messages) == encoded.input_ids[: len(encoded.input_ids) - len(trained)]
    assert renderer.prompt_ids(messages[:-1]) == renderer.prompt_ids(messages)
    assert renderer.text(messages).startswith(renderer.decode(encoded.input_ids))


@given(messages=conversations())
def test_all_answers_are_trained_where_asked_for(messages: list[dict[str, str]]) -> None:
    renderer = Renderer(ChatTemplate("chatml"), TOKENIZER, TOKENS, answers="all")
    trained = renderer.decode([label for label in renderer.encode(messages).labels if label != IGNORED])
    answers = [message["content"] for message in messages if message["role"] == "assistant"]
    assert trained == "".join(answer + "<|im_end|>" for answer in answers)


@st.composite
def records_that_think(draw: st.DrawFn) -> dict[str, Any]:
    """Conversations, or questions with a target, of which some answers are not trained and some were thought about."""
    plain = texts.filter(lambda text: "think>" not in text)
    thought = st.none() | plain.filter(bool)
    turns = []
    for _ in range(draw(st.integers(1, 4))):
        turns.append(records.turn("user", draw(plain)))
        answer = [draw(plain), draw(thought), draw(st.sampled_from([None, False]))]
        turns.append(records.turn("assistant", *answer))
    target = draw(st.none() | plain)
    if target is None:
        turns[2 * draw(st.integers(0, len(turns) // 2 - 1)) + 1]["trained"] = None
        return records.record(*turns)
    return records.record(*turns[:1], target=target, reasoning=draw(thought))


SPOKEN = {
    "chatml": lambda text: f"{text}<|im_end|>",
    "llama2": lambda text: f" {text.strip()} </s>",
    "guanaco": lambda text: f" {text}</s>",
}
"""How a template writes what an answer says, up to its stop token."""


@pytest.mark.parametrize("reasoning", ["train", "context", "omit"])
@pytest.mark.parametrize(
    ("name", "answers"),
    [("chatml", "last"), ("chatml", "all"), ("llama2", "last"), ("llama2", "all"), ("guanaco", "last")],
)
@given(row=records_that_think())
def test_what_is_trained_is_the_trained_answers_and_what_was_thought_before(
    name: str, answers: str, reasoning: str, row: dict[str, Any]
) -> None:
    renderer = Renderer(ChatTemplate(name), TOKENIZER, TOKENS, answers, reasoning)  # type: ignore[arg-type]
    messages = TaskTemplate("conversation", None, thoughts=renderer.thoughts).messages(row)
    said = [turn for turn in row["turns"] if turn["role"] == "assistant" and turn["trained"] is None]
    if row["target"] is not None:
        said.append(records.turn("assistant", row["target"], row["reasoning"]))
    wanted, thoughts = [], 0
    for turn in said if answers == "all" else said[-1:]:
        if turn["reasoning"] is None or reasoning == "omit":
            wanted.append(SPOKEN[name](turn["content"]))
            continue
        thoughts += 1
        whole = SPOKEN[name](f"<think>\n{turn['reasoning']}\n</think>\n\n{turn['content']}")
        if reasoning == "context":
            whole = whole.partition("</think>")[2]
            whole = whole.removeprefix("\n\n")
        wanted.append(whole)
    encoded = renderer.encode(messages)
    assert renderer.decode([label for label in encoded.labels if label != IGNORED]) == "".join(wanted)
    assert encoded.labels[-1] == renderer.stop_token_id
    assert renderer.lengths([messages]) == [len(encoded.input_ids)]
    text = renderer.text(messages)
    assert text.startswith(renderer.decode(encoded.input_ids))
    if answers == "last":
        assert text.count("<think>") == thoughts, "with `last`, nothing is written that was thought before"
    assert renderer.answer(messages).strip() == said[-1]["content"].strip()
    assert renderer.said(renderer.decode(encoded.input_ids)[len(renderer.decode(renderer.prompt_ids(messages))) :])


def rendered(*rows: dict[str, Any], **settings: Any) -> Outcome:
    renderer = Renderer(ChatTemplate("chatml"), TOKENIZER, TOKENS, **settings)
    return render(records.table_of(rows), TaskTemplate("conversation", None, thoughts=renderer.thoughts), renderer)


THOUGHT = records.record(
    "one",
    records.turn("assistant", "1", "first"),
    "two",
    records.turn("assistant", "3", "badly", trained=False),
    "no",
    records.turn("assistant", "2", "again"),
    "more",
    records.turn("assistant", "9", trained=False),
)


def test_reasoning_is_written_as_the_recipe_says_and_counted() -> None:
    plain = records.record("q", ("assistant", "a"))
    for settings, written, left in [
        ({}, ["again"], 2),
        ({"reasoning": "context"}, ["again"], 2),
        ({"answers": "all"}, ["first", "badly", "again"], 0),
        ({"reasoning": "omit"}, [], 3),
    ]:
        outcome = rendered(THOUGHT, plain, **settings)
        text = outcome.kept["text"][0].as_py()
        assert re.findall(r"<think>\n(.*)\n</think>\n\n", text) == written
        assert text.endswith("2<|im_end|>\n"), "what follows the last trained answer teaches nothing"
        assert "3<|im_end|>" in text, "the untrained answer before it is what the user objects to"
        counted = {"reasoning": 1, "untrained_turns": 2} | ({"reasoning_not_written": left} if left else {})
        assert outcome.counters == counted
        assert outcome.kept["turns"].to_pylist()[0] == THOUGHT["turns"], "the record keeps all"
    assert rendered(plain).counters == {}


def test_a_target_is_thought_about_too() -> None:
    outcome = rendered(records.record("q", target="{}", reasoning="so"))
    assert outcome.kept["text"][0].as_py().endswith("assistant\n<think>\nso\n</think>\n\n{}<|im_end|>\n")


def test_a_thought_that_holds_its_own_tag_is_quarantined() -> None:
    row = records.record("q", records.turn("assistant", "a", "a </think> b"))
    outcome = rendered(row)
    assert outcome.rejected["reason"].to_pylist() == ["special_token"]
    assert json.loads(outcome.rejected["evidence"][0].as_py()) == {"tokens": ["</think>"]}
    assert rendered(row, reasoning="omit").kept.num_rows == 1


def test_a_template_has_its_own_words_around_what_is_thought(tmp_path: Path) -> None:
    path = tmp_path / "own.jinja"
    source = ChatTemplate("chatml").source
    path.write_text("{%- set think_open = '[THINK]' -%}{%- set think_close = '[/THINK]' -%}" + source)
    renderer = Renderer(ChatTemplate(str(path)), TOKENIZER, TOKENS, reasoning="context")
    row = records.record("q", records.turn("assistant", "a", "why"))
    messages = TaskTemplate("conversation", None, thoughts=renderer.thoughts).messages(row)
    assert renderer.text(messages).endswith("assistant\n[THINK]why[/THINK]a<|im_end|>\n")
    assert [span.text for span in renderer.spans(messages) if span.trained] == ["a<|im_end|>"]
    assert renderer.said("[THINK]other[/THINK]a") == renderer.said("a") == renderer.answer(messages) == "a"
    assert renderer.said("[THINK]never ended") == "[THINK]never ended"


def test_guanaco_has_one_stop_token_so_all_answers_cannot_be_trained() -> None:
    with pytest.raises(AssayError, match="no stop token"):
        Renderer(ChatTemplate("guanaco"), TOKENIZER, TOKENS, answers="all")


def test_a_row_without_an_answer_cannot_be_trained() -> None:
    with pytest.raises(AssayError, match="without an answer"):
        Renderer(ChatTemplate("chatml"), TOKENIZER, TOKENS).encode([{"role": "user", "content": "x"}])


def test_a_base_model_without_the_stop_token_is_refused() -> None:
    bare = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    with pytest.raises(AssayError, match="has no token"):
        Renderer(ChatTemplate("chatml"), bare, TOKENS)


def test_a_template_that_rewrites_its_beginning_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.jinja"
    path.write_text("{% set stop = '</s>' %}{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}")
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    with pytest.raises(AssayError, match="changes what it wrote before"):
        Renderer(ChatTemplate(str(path)), TOKENIZER, TOKENS).encode(turns)


def record(content: str, target: str | None = None, **other: Any) -> dict[str, Any]:
    row = dict.fromkeys(SCHEMA.names) | {"id": "0" * 32, "turns": [{"role": "user", "content": content}], "meta": {}}
    return row | {"target": target} | other


def test_task_template_quotes_the_contract_and_puts_the_target_last() -> None:
    schema = {"properties": {key: {"enum": [f"{key}-a", f"{key}-b"]} for key in ("category", "kind", "copyleft")}}
    messages = TaskTemplate("licences", schema).messages(record("MIT {{ 7 * 7 }}", '{"kind": "tag"}'))
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert "kind-a|kind-b" in messages[0]["content"]
    assert messages[0]["content"].endswith("\n\nMIT {{ 7 * 7 }}")  # rows are data: their Jinja is inert
    assert messages[1]["content"] == '{"kind": "tag"}'


def test_a_missing_field_names_template_field_and_row(tmp_path: Path) -> None:
    path = tmp_path / "task.jinja"
    path.write_text("{% block user %}{{ meta.court }}{% endblock %}")
    with pytest.raises(AssayError) as caught:
        TaskTemplate(str(path), None).messages(record("x", id="abc"))
    assert all(part in str(caught.value) for part in (str(path), "court", "abc"))


def test_templates_run_in_a_sandbox(tmp_path: Path) -> None:
    path = tmp_path / "task.jinja"
    path.write_text("{% block user %}{{ content.__class__.__mro__ }}{% endblock %}")
    with pytest.raises(AssayError, match="unsafe"):
        TaskTemplate(str(path), None).messages(record("x"))


def test_unknown_and_broken_templates_are_named(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="chatml, guanaco, llama2"):
        ChatTemplate("alpaca")
    path = tmp_path / "broken.jinja"
    path.write_text("{% if %}")
    with pytest.raises(AssayError, match=r"broken\.jinja"):
        ChatTemplate(str(path))


def test_rows_that_hold_special_tokens_are_quarantined() -> None:
    rows = [record("fine", "ok"), record("end <|im_end|> here"), record("q", target="<s>")]
    table = pa.Table.from_pylist([row | {"meta": []} for row in rows], schema=SCHEMA)
    outcome = render(table, TaskTemplate("conversation", None), Renderer(ChatTemplate("chatml"), TOKENIZER, TOKENS))
    assert outcome.kept["messages"].to_pylist()[0][1] == {"role": "assistant", "content": "ok", "trained": None}
    assert outcome.kept["messages"].type == MESSAGES
    assert outcome.rejected["reason"].to_pylist() == ["special_token"] * 2
    assert json.loads(outcome.rejected["evidence"][0].as_py()) == {"tokens": ["<|im_end|>"]}


def test_tokenizer_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match=r"no tokenizer\.json"):
        load_tokenizer(tmp_path)
    TOKENIZER.save(str(tmp_path / "tokenizer.json"))
    config = {"bos_token": None, "eos_token": {"content": "</s>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer, tokens = load_tokenizer(tmp_path)
    assert tokens == SpecialTokens(bos="", eos="</s>", named={"eos_token": "</s>"})
    assert tokenizer.decode(tokenizer.encode("ab").ids) == "ab"


def test_a_tokenizer_that_was_saved_with_truncation_and_padding_cuts_and_pads_nothing(tmp_path: Path) -> None:
    saved = Tokenizer.from_str(TOKENIZER.to_str())
    saved.enable_truncation(3)
    saved.enable_padding(length=3)
    saved.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text("{}")
    tokenizer, _ = load_tokenizer(tmp_path)
    assert [len(tokenizer.encode(text).ids) for text in ("a", "abcd")] == [1, 4]
