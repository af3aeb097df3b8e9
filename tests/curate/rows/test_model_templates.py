"""Chat templates that models are published with: rendered as transformers does, and what they train is proven."""

import datetime
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from curate.errors import AssayError
from curate.rows.chat_template import ChatTemplate, Message, Refusal, SpecialTokens, model_templates
from curate.rows.fit import Fit, fit
from curate.rows.published import TODAY
from curate.rows.render import render
from curate.rows.renderer import IGNORED, Encoded, Renderer, load_tokenizer
from curate.rows.task_template import TaskTemplate
from curate.text.tokenise import independent
from tests import records
from tests.curate.rows.families import LLAMA3, SOURCES, TEMPLATES, byte_level, published, sentencepiece, tokens_of
from tests.curate.rows.test_render import PUBLISHED

CALL = '{"id": "abcdefghi", "name": "rain", "arguments": {"town": "Oslo é", "days": 1.5}}'
RESULT = '{"name": "rain", "tool_call_id": "abcdefghi", "content": "wet & <b>"}'


def talk(*said: str, system: str | None = None) -> list[Message]:
    turns = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(said)]
    return [{"role": "system", "content": system}, *turns] if system is not None else turns


CONVERSATIONS = {
    "plain": talk("Is it so & <b>?", '{"answer": "é"}'),
    "long": talk(" Hi\n", "yes", "again?\n\n", "no {}\n"),
    "system": talk("Hi", "yes", system=" Be kind.\n"),
    "tool": [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": CALL},
        {"role": "tool", "content": RESULT},
        {"role": "assistant", "content": "yes"},
    ],
    "thought": talk("Hi", "<think>\nhm\n</think>\n\nyes"),
}


def as_callers_send(message: Message, reads_thoughts: bool) -> Message:
    """A message as transformers documents it, with calls and reasoning under their own keys."""
    made = dict(message)
    if message["content"] == CALL:
        call = json.loads(CALL)
        function = {"name": call["name"], "arguments": call["arguments"]}
        made |= {"content": "", "tool_calls": [{"id": call["id"], "type": "function", "function": function}]}
    if message["role"] == "tool":
        made |= json.loads(RESULT)
    if "</think>" in message["content"] and reads_thoughts:
        made |= {"content": "yes", "reasoning_content": "hm"}
    return made


class Stopped(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> "Stopped":
        return cls(TODAY.year, TODAY.month, TODAY.day)


@pytest.fixture(autouse=True)
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Stopped)


GOLDEN = [
    *sorted(
        path.stem
        for path in TEMPLATES.glob("*.jinja")
        if not re.search(r"_training$|_vl$|diffusion|idefics|llava|smolvlm|gemma4_v\d", path.stem)
    ),
    *("qwen3_training", "llama3_training", "cohere2_training", "gemma4_v5"),
    *SOURCES,
]


@pytest.mark.parametrize("name", GOLDEN)
def test_equals_transformers_to_the_letter(name: str) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    source = published(name)
    template = ChatTemplate(f"{name}.jinja", source)
    assert template.published
    named = {"bos_token": "<s>", "eos_token": "</s>"}
    tokens = SpecialTokens("<s>", "</s>", named=named)
    rendered = 0
    for messages in CONVERSATIONS.values():
        shaped = template.shaped(messages)
        wanted = [as_callers_send(message, "reasoning_content" in shaped[-1]) for message in messages]
        for count, prompt, think in ((len(messages), False, True), (-1, True, True), (-1, True, False)):
            options = named | {"add_generation_prompt": prompt, "enable_thinking": think}
            try:
                [[said], _] = render_jinja_template([wanted[:count]], chat_template=source, **options)
            except Exception:
                with pytest.raises(Refusal, match=f"Chat template '{name}"):
                    template.render(shaped[:count], tokens, prompt, think)
            else:
                assert template.render(shaped[:count], tokens, prompt, think) == said
                rendered += 1
    assert rendered >= 6


@pytest.mark.parametrize("name", ["llama3_2", "smollm3", "gptoss", "qwen3", "chatml", "guanaco", "llama2"])
@pytest.mark.parametrize("adds_bos", [False, True])
def test_servers_say_the_same_on_any_day(name: str, adds_bos: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.utils import chat_template_utils

    monkeypatch.setattr(chat_template_utils, "datetime", datetime.datetime)
    named = {"bos_token": "<s>", "eos_token": "</s>"}
    tokens = SpecialTokens("<s>", "</s>", adds_bos, named)
    ours = name in ("chatml", "guanaco", "llama2")
    template = ChatTemplate(name) if ours else ChatTemplate("model", published(name))
    for messages, prompt in ((CONVERSATIONS["long"], False), (CONVERSATIONS["long"][:-1], True)):
        [[said], _] = chat_template_utils.render_jinja_template(
            [messages], chat_template=template.served(tokens), add_generation_prompt=prompt, **named
        )
        assert said == template.render(messages, tokens, prompt)


LLAMA3_TOKENS = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
TEKKEN = ["<s>", "</s>", "[INST]", "[/INST]"]
QWEN = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
GEMMA = ["<start_of_turn>", "<end_of_turn>"]
COHERE = ["<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<BOS_TOKEN>"]
DEEPSEEK = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"]
OSS = ["<|startoftext|>", "<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>", "<|call|>"]
PHI3 = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]

Family = tuple[Callable[[], Tokenizer], str, str, list[str], str]
FAMILIES: dict[str, Family] = {  # tokenizer, bos, eos, what ends generation, what ends an answer
    "llama2": (lambda: sentencepiece([]), "<s>", "</s>", ["</s>"], "</s>"),
    "llama2 legacy": (lambda: sentencepiece([], legacy=True), "<s>", "</s>", ["</s>"], "</s>"),
    "mistral_v1": (lambda: sentencepiece([], legacy=True), "<s>", "</s>", ["</s>"], "</s>"),
    "mistral_v3": (lambda: sentencepiece(TEKKEN[2:]), "<s>", "</s>", ["</s>"], "</s>"),
    "mistral_tekken": (
        lambda: byte_level(["<s>", "</s>", "[INST]", "[/INST]"], LLAMA3),
        "<s>",
        "</s>",
        ["</s>"],
        "</s>",
    ),
    "llama3": (
        lambda: byte_level(LLAMA3_TOKENS, LLAMA3),
        *LLAMA3_TOKENS[:2],
        ["<|end_of_text|>", "<|eot_id|>"],
        "<|eot_id|>",
    ),
    "llama3_1": (lambda: byte_level(LLAMA3_TOKENS, LLAMA3), *LLAMA3_TOKENS[:2], ["<|eot_id|>"], "<|eot_id|>"),
    "llama3_2": (lambda: byte_level(LLAMA3_TOKENS, LLAMA3), *LLAMA3_TOKENS[:2], ["<|eot_id|>"], "<|eot_id|>"),
    "qwen2_5": (
        lambda: byte_level(QWEN, LLAMA3, "NFC"),
        "",
        "<|im_end|>",
        ["<|im_end|>", "<|endoftext|>"],
        "<|im_end|>",
    ),
    "qwen3": (lambda: byte_level(QWEN, LLAMA3, "NFC"), "", "<|im_end|>", ["<|im_end|>"], "<|im_end|>"),
    "gemma": (lambda: sentencepiece(GEMMA), "<s>", "</s>", ["</s>", "<end_of_turn>"], "<end_of_turn>"),
    "gemma3": (lambda: sentencepiece(GEMMA, unigram=True), "<s>", "</s>", ["<end_of_turn>"], "<end_of_turn>"),
    "phi3": (lambda: sentencepiece(PHI3, legacy=True), "<s>", "<|endoftext|>", ["<|endoftext|>", "<|end|>"], "<|end|>"),
    "phi4": (lambda: byte_level([*QWEN, "<|im_sep|>"], LLAMA3), "", "<|im_end|>", ["<|im_end|>"], "<|im_end|>"),
    "smollm2": (lambda: byte_level(QWEN), "<|im_start|>", "<|im_end|>", ["<|im_end|>"], "<|im_end|>"),
    "cohere": (lambda: byte_level(COHERE), "<BOS_TOKEN>", COHERE[1], [COHERE[1]], COHERE[1]),
    "deepseek_v3": (lambda: byte_level(DEEPSEEK, LLAMA3), *DEEPSEEK[:2], [DEEPSEEK[1]], DEEPSEEK[1]),
    "gptoss": (lambda: byte_level(OSS, LLAMA3), OSS[0], "<|return|>", ["<|return|>", "<|call|>"], "<|return|>"),
    "lfm2": (
        lambda: byte_level([*QWEN, "<|startoftext|>"]),
        "<|startoftext|>",
        "<|im_end|>",
        ["<|im_end|>"],
        "<|im_end|>",
    ),
}


def renderer_of(family: str, **settings: Any) -> Renderer:
    make, bos, eos, stops, _ = FAMILIES[family]
    tokenizer, name = make(), family.removesuffix(" legacy")
    source = PUBLISHED["llama2"] if name == "llama2" else published(name)
    template = ChatTemplate("model", source)
    return Renderer(template, tokenizer, tokens_of(tokenizer, bos, eos, stops), **settings)


def trained(encoded: Encoded) -> list[int]:
    return [label for label in encoded.labels if label != IGNORED]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_trained_continues_what_a_server_tokenises(family: str) -> None:
    from transformers import PreTrainedTokenizerFast

    renderer = renderer_of(family)
    _, bos, eos, stops, stop = FAMILIES[family]
    named = {"bos_token": bos or None, "eos_token": eos}
    server = PreTrainedTokenizerFast(tokenizer_object=renderer.tokenizer, **named)
    server.chat_template = renderer.template.source
    assert renderer.stop == stop
    assert renderer.stop_token_ids == {renderer.tokenizer.token_to_id(each) for each in {*stops, stop, eos}}
    for name in ("plain", "long"):
        messages = CONVERSATIONS[name]
        encoded = renderer.encode(messages)
        asked = server.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False)
        assert encoded.input_ids[: -len(trained(encoded))] == asked == renderer.prompt_ids(messages)
        assert encoded.input_ids[-1] == renderer.stop_token_id == trained(encoded)[-1]
        said = renderer.decode(trained(encoded)).removesuffix(stop)
        assert renderer.said(said).strip() == messages[-1]["content"].strip()
        assert renderer.answer(messages) == renderer.said(said)
        if bos and "bos_token" in renderer.template.source:
            begin = renderer.tokenizer.token_to_id(bos)
            assert encoded.input_ids[0] == begin
            assert encoded.input_ids.count(begin) == (2 if name == "long" and "llama2" in family else 1)


@pytest.mark.parametrize(
    ("name", "special", "said"),
    [
        (
            "deepseek_r1_distill",
            DEEPSEEK,
            r"at character 33, .*<think>\\n' becomes .*Assistant｜>\{\"answer\": \"Yes\"\}<",
        ),
        ("glm4moe", ["<|user|>", "<|assistant|>", "[gMASK]"], r"writes no stop token .*: .*<think></think>"),
        ("llava_next", QWEN, r"Chat template 'llava_next': 'str object' has no attribute 'text'"),
    ],
)
def test_a_template_of_which_nothing_can_be_trained_is_refused_before_any_row(
    name: str, special: list[str], said: str
) -> None:
    tokens = SpecialTokens("<s>", "</s>", named={"bos_token": "<s>", "eos_token": "</s>"})
    with pytest.raises(AssayError, match=said):
        Renderer(ChatTemplate(name, published(name)), byte_level(special), tokens)


@pytest.mark.parametrize(("family", "said"), [("qwen3", "changes what it wrote before"), ("gptoss", "no stop token")])
def test_earlier_answers_that_a_template_rewrites_are_not_trained(family: str, said: str) -> None:
    with pytest.raises(AssayError, match=said) as told:
        renderer_of(family, answers="all")
    assert "last" in str(told.value.remedy)
    last = renderer_of(family)
    assert last.decode(trained(last.encode(CONVERSATIONS["long"]))).count(last.stop) == 1


@pytest.mark.parametrize("family", ["llama3", "qwen2_5", "gemma", "llama2 legacy", "phi3", "deepseek_v3", "mistral_v3"])
def test_all_answers_are_trained_behind_what_a_server_tokenises(family: str) -> None:
    renderer = renderer_of(family, answers="all")
    messages = talk("Hi", "yes", "And so?", '{"answer": "no"}', "Is it?", "hello")
    encoded = renderer.encode(messages)
    runs = renderer.decode(trained(encoded)).split(renderer.stop)
    assert [run.strip() for run in runs] == ["yes", '{"answer": "no"}', "hello", ""]
    for count in (2, 4, 6):
        asked = renderer.prompt_ids(messages[:count])
        assert encoded.input_ids[: len(asked)] == asked
        assert encoded.labels[len(asked) - 1] == IGNORED != encoded.labels[len(asked)]


def test_thinking_is_switched_by_what_is_trained() -> None:
    think, plain = renderer_of("qwen3"), renderer_of("qwen3", reasoning="omit")
    asked = [{"role": "user", "content": "Hi"}]
    assert think.decode(think.prompt_ids(asked)).endswith("<|im_start|>assistant\n")
    assert plain.decode(plain.prompt_ids(asked)).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    spoken = think.decode(trained(think.encode(CONVERSATIONS["thought"])))
    assert spoken == "<think>\nhm\n</think>\n\nyes<|im_end|>"
    assert think.said(spoken) == "yes<|im_end|>"
    assert plain.decode(trained(plain.encode(talk("Hi", "yes")))) == "yes<|im_end|>"
    context = renderer_of("qwen3", reasoning="context")
    assert context.decode(trained(context.encode(CONVERSATIONS["thought"]))) == "yes<|im_end|>"


def test_a_reply_is_read_as_the_template_writes_answers() -> None:
    renderer = renderer_of("gptoss")
    spoken = renderer.decode(trained(renderer.encode(CONVERSATIONS["thought"])))
    assert spoken.startswith("<|channel|>analysis<|message|>hm<|end|>")
    assert renderer.said(spoken) == "yes<|return|>"
    assert renderer.said("<|channel|>final<|message|>yes") == "yes" == renderer.answer(CONVERSATIONS["thought"])


def test_thoughts_that_a_template_leaves_out_are_told() -> None:
    tokens = SpecialTokens("<s>", "</s>", named={"bos_token": "<s>"})
    renderer = Renderer(ChatTemplate("model", published("gemma4")), byte_level(["<|turn>", "<turn|>", "<s>"]), tokens)
    with pytest.raises(Refusal, match="does not write what was thought before an answer as it is: 'hm'"):
        renderer.encode(CONVERSATIONS["thought"])


def test_rows_that_a_template_has_no_words_for_are_refused_with_what_it_says() -> None:
    rows = [
        records.record(("system", "Be kind."), "Hi", ("assistant", "yes"), id="1"),
        records.record("Hi", ("assistant", "yes"), id="2"),
    ]
    outcome = render(records.table_of(rows), TaskTemplate("conversation", None), renderer_of("gemma"))
    assert outcome.kept["id"].to_pylist() == ["2"]
    assert outcome.rejected["reason"].to_pylist() == ["refused"]
    assert json.loads(outcome.rejected["evidence"][0].as_py()) == {
        "message": "Chat template 'model': System role not supported."
    }


def test_calls_are_written_in_the_models_own_way_where_a_tool_answers() -> None:
    renderer = renderer_of("qwen2_5", answers="all")
    spoken = renderer.decode(trained(renderer.encode(CONVERSATIONS["tool"])))
    call = '<tool_call>\n{"name": "rain", "arguments": {"town": "Oslo é", "days": 1.5}}\n</tool_call><|im_end|>'
    assert spoken == call + "yes<|im_end|>"
    assert "<tool_response>\nwet & <b>\n</tool_response>" in renderer.text(CONVERSATIONS["tool"])
    alone = renderer.encode(talk("Rain?", CALL))
    assert renderer.decode(trained(alone)) == CALL + "<|im_end|>", "a structured answer like any other"


def test_what_a_template_marks_must_be_what_is_asked_for() -> None:
    source = published("smollm2").replace(
        "+ message['content'] + '<|im_end|>'", "%}{% generation %}{{ message['content'] + '<|im_end|>'"
    )
    source = source.replace("+ '\n'}}{% endfor %}", "+ '\n'}}{% endgeneration %}{% endfor %}").replace(
        "'\n' %}", "'\n' }}"
    )
    tokenizer = byte_level(QWEN)
    tokens = tokens_of(tokenizer, "", "<|im_end|>")
    good = Renderer(ChatTemplate("model", source), tokenizer, tokens)
    assert good.decode(trained(good.encode(talk("Hi", "yes")))) == "yes<|im_end|>"
    late = source.replace(
        "{% generation %}{{ message['content']", "{{ message['content'][0] }}{% generation %}{{ message['content'][1:]"
    )
    with pytest.raises(AssayError, match=r"marks as generated .* whereas a model is asked to say"):
        Renderer(ChatTemplate("model", late), tokenizer, tokens)


@pytest.mark.parametrize("name", ["guanaco", "chatml", "llama2"])
@pytest.mark.parametrize("said", [None, True, False])
def test_bos_is_written_once_where_the_model_needs_it(name: str, said: bool | None, tmp_path: Path) -> None:
    sentencepiece(["<|im_start|>", "<|im_end|>"]).save(str(tmp_path / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": "</s>"} | ({} if said is None else {"add_bos_token": said})
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    renderer = Renderer(ChatTemplate(name), *load_tokenizer(tmp_path))
    encoded = renderer.encode(talk("Hi", "yes"))
    assert encoded.input_ids.count(1) == (1 if name == "llama2" or said is not False else 0)
    assert name == "chatml" or (encoded.input_ids[0] == 1) == (name == "llama2" or said is not False)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", ["llama2", "guanaco", "model"])
def test_a_llama_tokenizer_as_transformers_saves_it_trains(name: str, legacy: bool, tmp_path: Path) -> None:
    """Its decoder takes a space from the beginning of what it decodes, and both templates begin answers with one."""
    from transformers import LlamaTokenizer

    model = json.loads(sentencepiece([]).to_str())["model"]
    saved = LlamaTokenizer(vocab=model["vocab"], merges=[tuple(each) for each in model["merges"]], legacy=legacy)
    saved.chat_template = PUBLISHED["llama2"]
    saved.save_pretrained(tmp_path)
    tokenizer, tokens = load_tokenizer(tmp_path)
    renderer = Renderer(ChatTemplate.load(name, tmp_path), tokenizer, tokens)
    messages = talk("Is it so?", '{"answer": "é  yes"}')
    encoded = renderer.encode(messages)
    assert renderer.decode(trained(encoded)).replace(" ", "") == '{"answer":"éyes"}</s>'
    assert renderer.decode(trained(encoded)).startswith(' {"answer": "é  yes"}')
    whole = saved(renderer.text(messages), add_special_tokens=False)["input_ids"]
    assert encoded.input_ids == whole, "as of the whole text: no space more before the answer"


def test_a_tokenizer_that_does_not_give_an_answer_back_is_refused_before_any_row() -> None:
    tokenizer = byte_level(QWEN, None, "Lowercase")
    with pytest.raises(
        AssayError, match=r"gives back .*yes.* of the answer .*Yes.*, with chat template 'chatml'"
    ) as told:
        Renderer(ChatTemplate("chatml"), tokenizer, tokens_of(tokenizer, "", "<|im_end|>"))
    assert "use another chat template" in str(told.value.remedy)


@pytest.mark.parametrize(("name", "special"), [("mistral_v3", TEKKEN[2:]), ("mistral_v1", [])])
def test_an_answer_has_no_space_more_than_the_template_writes(name: str, special: list[str]) -> None:
    """Legacy tokenizers write one behind every special token, such as [/INST] is of v3, and before every text."""
    tokenizer = sentencepiece(special, legacy=True)
    renderer = Renderer(ChatTemplate("model", published(name)), tokenizer, tokens_of(tokenizer, "<s>", "</s>"))
    for answer in ("yes", '{"answer": "no"}'):
        messages = talk("Is it so?", answer)
        encoded = renderer.encode(messages)
        assert renderer.decode(trained(encoded)) == (" " if special else "") + answer + "</s>"
        assert encoded.input_ids[: -len(trained(encoded))] == renderer.prompt_ids(messages)


def test_text_that_a_tokenizer_does_not_give_back_is_refused_with_it() -> None:
    renderer = renderer_of("qwen2_5")
    with pytest.raises(Refusal, match=r"tokenizer gives back .* of the answer 'cafe\u0301<|im_end|>'"):
        renderer.encode(talk("Hi", "cafe\u0301"))
    assert renderer.encode(talk("cafe\u0301", "caf\u00e9"))


def test_rows_that_cannot_be_trained_are_quarantined_and_the_others_stay() -> None:
    renderer, task = renderer_of("qwen2_5", answers="all"), TaskTemplate("conversation", None)
    answers = {"whole": "caf\u00e9", "decomposed": "cafe\u0301", "late": "yes"}
    rows = [records.record("Hi", ("assistant", answer), id=name) for name, answer in answers.items()]
    table = render(records.table_of(rows), task, renderer).kept
    outcome = fit(table, task, renderer, Fit(model="m", max_tokens=200))
    assert outcome.kept["id"].to_pylist() == ["whole", "late"]
    assert outcome.kept["tokens"].to_pylist() == renderer.lengths([rows[0]["turns"], rows[2]["turns"]])
    assert outcome.rejected["reason"].to_pylist() == ["refused"]
    message = json.loads(outcome.rejected["evidence"][0].as_py())["message"]
    assert message.startswith("The base model's tokenizer gives back 'caf\u00e9<|im_end|>' of the answer 'cafe\u0301")


def test_an_answer_that_begins_within_a_token_of_its_conversation() -> None:
    """The last one stands behind the tokens that a server is sent; of earlier ones no server sends these tokens."""
    messages = talk("Hi", "\nyes", "And?", "\nno")
    last = renderer_of("llama3")
    begin, said = last.prompt_ids(messages), last.encode(messages).input_ids
    assert said[: len(begin)] == begin
    source = SOURCES["smollm2"]
    tokenizer = byte_level(QWEN, LLAMA3)
    every = Renderer(ChatTemplate("model", source), tokenizer, tokens_of(tokenizer, "", "<|im_end|>"), "all")
    with pytest.raises(Refusal, match="joins an answer that is trained with what stands before it"):
        every.encode(messages)


@given(
    texts=st.lists(st.text(st.sampled_from(" \n.a'é\u0301{#\u4e2d"), max_size=6), min_size=4, max_size=4),
    data=st.data(),
)
@pytest.mark.parametrize(("pattern", "form"), [(None, None), (LLAMA3, None), (LLAMA3, "NFC")])
def test_tokens_by_span_are_those_of_whole_texts(
    pattern: str | None, form: str | None, texts: list[str], data: st.DataObject
) -> None:
    tokenizer = TOKENIZERS[pattern, form]
    assert independent(tokenizer)
    renderer = Renderer(ChatTemplate("chatml"), tokenizer, tokens_of(tokenizer, "", "<|im_end|>"), "all")
    messages = talk(*texts)
    try:
        encoded = renderer.encode(messages)
    except Refusal:
        assert any(text.startswith((" ", "\n")) or not text.isascii() for text in texts)
        return
    for count in (2, 4):
        text = renderer.template.render(messages[: count - 1], renderer.tokens, add_generation_prompt=True)
        asked = tokenizer.encode(text, add_special_tokens=False).ids
        assert encoded.input_ids[: len(asked)] == asked
    assert renderer.decode(trained(encoded)) == f"{texts[1]}<|im_end|>{texts[3]}<|im_end|>"


TOKENIZERS = {(cut, form): byte_level(QWEN, cut, form) for cut, form in ((None, None), (LLAMA3, None), (LLAMA3, "NFC"))}


def test_where_a_model_keeps_its_templates(tmp_path: Path) -> None:
    config = tmp_path / "tokenizer_config.json"
    config.write_text("{}")
    with pytest.raises(AssayError, match="has no chat template of its own"):
        ChatTemplate.load("model", tmp_path)
    config.write_text(json.dumps({"chat_template": "one"}))
    assert model_templates(tmp_path) == {"default": "one"}
    several = [{"name": name, "template": name.upper()} for name in ("default", "tool_use")]
    config.write_text(json.dumps({"chat_template": several}))
    assert ChatTemplate.load("model", tmp_path).source == "DEFAULT"
    assert ChatTemplate.load("model:tool_use", tmp_path).source == "TOOL_USE"
    with pytest.raises(AssayError, match="has no chat template rag; it has default, tool_use"):
        ChatTemplate.load("model:rag", tmp_path)
    (tmp_path / "chat_template.jinja").write_text("file")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "rag.jinja").write_text("rag")
    assert model_templates(tmp_path) == {"default": "file", "rag": "rag"}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ namespace(__class__=1) }}", "names in it are texts that do not begin with _"),
        ("{% set ns = namespace() %}{{ ns.__class__.mro }}", "unsafe"),
        ("{% set ns = namespace(a=1) %}{{ ns }}", "found a namespace"),
        ("{% for i in range(10000000) %}{% endfor %}", "makes more than"),
        ("{{ strftime_now('%c') }}", "expected a format of a day"),
        ("{{ messages | tojson(indent=900) }}", "an indent from 0 to 8"),
        ("{{ nothing.there }}", "'nothing' is undefined"),
        ("{{ messages[0].content.format(messages) }}", "No method named 'format'"),
        ("{{ cycler }}{{ joiner() }}", "No function named 'joiner'"),
    ],
)
def test_published_templates_run_in_the_sandbox(source: str, said: str) -> None:
    with pytest.raises(AssayError, match=said):
        ChatTemplate("model", source).render(talk("Hi"), SpecialTokens("", ""))
