"""An adapter's folder holds what others need to say the same text."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from curate.rows.chat_template import ChatTemplate, Message
from curate.rows.renderer import Renderer, load_tokenizer
from curate.store import Store
from evaluation.ask.generate import generate
from tests.tiny import recipe_for, write_version
from train.adapter import load, merge
from train.base_model import BaseModel, prepare
from train.examples import read_split
from train.modelfile import go_template
from train.qlora import train
from train.serving import write_chat

CHATS = ["chatml", "guanaco", "llama2"]
WRITTEN = {
    "Modelfile",
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "chat_template.jinja",
    "example_request.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture(scope="module")
def base(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return prepare(str(model_folder), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def version(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_version(Store(tmp_path_factory.mktemp("store")), model_folder)


@pytest.fixture(scope="module")
def adapter(version: Path, model_folder: Path) -> Path:
    return train(version, recipe_for(model_folder, learning_rate=0.02, epochs=8), Store(version.parents[2]))


def renderer_for(folder: Path, chat: str) -> Renderer:
    return Renderer(ChatTemplate(chat), *load_tokenizer(folder))


@pytest.fixture(scope="module", params=CHATS)
def served(request: pytest.FixtureRequest, base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A renderer, and what transformers makes of the files that are written for it."""
    renderer = renderer_for(base.folder, request.param)
    folder = tmp_path_factory.mktemp(request.param)
    write_chat(folder, base, renderer)
    return renderer, AutoTokenizer.from_pretrained(folder)


def conversations(last: str = "user") -> st.SearchStrategy[list[Message]]:
    """Conversations of a few turns, with or without a system turn."""
    words = st.text(st.characters(codec="utf-8", exclude_characters="<>|"), min_size=1, max_size=20)

    @st.composite
    def talk(draw: st.DrawFn) -> list[Message]:
        roles = ["system"] * draw(st.integers(0, 1)) + ["user", "assistant"] * draw(st.integers(0, 2)) + ["user"]
        return [{"role": role, "content": draw(words)} for role in roles]

    return talk()


@given(messages=conversations())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_transformers_asks_to_the_token_as_we_do(served: Any, messages: list[Message]) -> None:
    renderer, tokenizer = served
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == renderer.template.render(messages, renderer.tokens, add_generation_prompt=True)
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ids == renderer.prompt_ids(messages)
    answered = [*messages, {"role": "assistant", "content": "It is so."}]
    assert tokenizer.apply_chat_template(answered, tokenize=False) == renderer.text(answered)


def test_all_that_is_written_is_published_with_its_hash(adapter: Path) -> None:
    files = json.loads((adapter / "manifest.json").read_bytes())["files"]
    assert set(files) == WRITTEN
    told = {"manifest.json", "SHA256SUMS", "steps.parquet", "report.html"}
    assert {path.name for path in adapter.iterdir()} == WRITTEN | told


def test_plain_peft_says_the_same_texts(adapter: Path, base: BaseModel, version: Path) -> None:
    """transformers, told nothing but the folder, against what evaluation does in process."""
    from peft import AutoPeftModelForCausalLM

    renderer = renderer_for(base.folder, "chatml")
    asked = [row["messages"][:-1] for row in read_split(version, "test", ["messages"])]
    ours = generate(
        load(adapter, base, ChatTemplate("chatml"), "none"),
        renderer,
        [renderer.prompt_ids(messages) for messages in asked],
        max_new_tokens=60,
        batch_size=4,
    )
    assert len({each.text for each in ours}) > 1
    assert any(not each.truncated for each in ours), "the stop token is met"
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    greedy = GenerationConfig.from_pretrained(adapter, max_new_tokens=60)
    for model in (
        AutoPeftModelForCausalLM.from_pretrained(adapter).eval(),
        AutoModelForCausalLM.from_pretrained(adapter).eval(),
    ):
        assert said(model, tokenizer, greedy, asked) == [each.text for each in ours]


def said(model: Any, tokenizer: Any, greedy: GenerationConfig | None, asked: list[list[Message]]) -> list[str]:
    """What `generate` of transformers says to all questions in one padded batch."""
    inputs = tokenizer.apply_chat_template(
        asked, add_generation_prompt=True, return_tensors="pt", return_dict=True, padding=True
    )
    options = {"generation_config": greedy} if greedy else {"max_new_tokens": 60}
    with torch.inference_mode():
        given = model.generate(**inputs, **options)
    texts: list[str] = tokenizer.batch_decode(given[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


def test_the_merged_model_chats_by_itself(adapter: Path, base: BaseModel, version: Path, tmp_path: Path) -> None:
    merged = merge(adapter, base, ChatTemplate("chatml"), tmp_path).folder
    renderer = renderer_for(base.folder, "chatml")
    asked = [row["messages"][:-1] for row in read_split(version, "test", ["messages"])]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(merged).eval(), AutoTokenizer.from_pretrained(merged)
    ours = generate(
        model, renderer, [renderer.prompt_ids(messages) for messages in asked], max_new_tokens=60, batch_size=4
    )
    assert said(model, tokenizer, None, asked) == [each.text for each in ours]


def written(base: BaseModel, folder: Path, **config: Any) -> dict[str, Any]:
    """What is written for a base model whose tokenizer_config.json says this: both configurations."""
    source, target = folder / "base", folder / "written"
    shutil.copytree(base.folder, source)
    target.mkdir()
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    changed = prepare(str(source), folder / "cache")
    write_chat(target, changed, renderer_for(source, "chatml"))
    tokenizer = AutoTokenizer.from_pretrained(target)
    assert len(tokenizer) == Tokenizer.from_file(str(source / "tokenizer.json")).get_vocab_size(), "no token is new"
    assert GenerationConfig.from_pretrained(target).pad_token_id == tokenizer.pad_token_id
    return json.loads((target / "tokenizer_config.json").read_bytes()) | json.loads(
        (target / "generation_config.json").read_bytes()
    )


@pytest.mark.parametrize(
    ("config", "pad"),
    [
        ({"eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}, "<|im_end|>"),
        ({"eos_token": "<|endoftext|>"}, "<|endoftext|>"),
        ({"eos_token": "<|endoftext|>", "pad_token": "[PAD]"}, "<|endoftext|>"),
        ({"eos_token": "<|im_end|>", "pad_token": {"content": "<|endoftext|>", "lstrip": False}}, "<|endoftext|>"),
        ({"pad_token": None}, "<|im_end|>"),
    ],
    ids=["is the stop token", "absent", "unknown to the vocabulary", "an object", "no special token named"],
)
def test_there_is_always_a_token_to_pad_with(base: BaseModel, tmp_path: Path, config: dict[str, Any], pad: str) -> None:
    found = written(base, tmp_path, **config)
    assert found["pad_token"] == pad
    stops = found["eos_token_id"]
    first = stops if isinstance(stops, int) else stops[0]
    assert first == 2, "the trained stop token, whatever the tokenizer calls its end"


def test_keys_that_would_make_another_tokenizer_are_left_out(base: BaseModel, tmp_path: Path) -> None:
    found = written(
        base,
        tmp_path,
        tokenizer_class="LlamaTokenizer",
        add_prefix_space=True,
        legacy=True,
        chat_template="{{ 'another' }}",
        bos_token="<|im_start|>",
        unk_token="<unk>",
        auto_map={"AutoTokenizer": ["evil.Tokenizer", None]},
    )
    assert found.keys() & {"unk_token", "add_prefix_space", "legacy", "chat_template", "auto_map"} == set()
    assert found["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_a_tokenizer_saved_with_truncation_and_padding_does_neither(base: BaseModel, tmp_path: Path) -> None:
    source = Path(shutil.copytree(base.folder, tmp_path / "base"))
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(source / "tokenizer.json"))
    (tmp_path / "written").mkdir()
    renderer = renderer_for(source, "chatml")
    write_chat(tmp_path / "written", prepare(str(source), tmp_path / "cache"), renderer)
    messages = [{"role": "user", "content": "a question of more than eight tokens"}]
    ids = AutoTokenizer.from_pretrained(tmp_path / "written").apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False
    )
    assert ids == renderer.prompt_ids(messages)


def test_several_stop_tokens_are_all_named_the_trained_one_first(base: BaseModel, tmp_path: Path) -> None:
    renderer = renderer_for(base.folder, "chatml")
    renderer.stop_token_ids = frozenset({0, 2})
    write_chat(tmp_path, base, renderer)
    assert GenerationConfig.from_pretrained(tmp_path).eos_token_id == [2, 0]


def test_the_note_gives_commands_and_a_request_as_it_was_trained(adapter: Path, version: Path) -> None:
    note = (adapter / "README.md").read_text(encoding="utf-8")
    for command in [
        "AutoPeftModelForCausalLM",
        "transformers serve",
        "--enable-lora",
        "convert_lora_to_gguf.py",
        "ollama",
    ]:
        assert command in note
    assert '"stop": ["<|im_end|>"]' in note
    request = json.loads((adapter / "example_request.json").read_bytes())
    asked = [row["messages"][:-1] for row in read_split(version, "train", ["messages"])]
    assert request["messages"] in [[{key: m[key] for key in ("role", "content")} for m in each] for each in asked]


def go(template: str, messages: list[Message]) -> str:
    """The little of Go's text/template that a Modelfile's template here speaks."""
    literal = r'"(?:[^"\\]|\\.)*"'
    rule = re.compile(
        rf"if and \(eq \.Role ({literal})\) \(eq \$before ({literal})\) \}}\}}\{{\{{ ({literal}) \}}\}}\{{\{{- end"
    )
    rules = [tuple(map(json.loads, match)) for match in rule.findall(template)]
    [last] = re.findall(rf"\{{\{{- ({literal}) -\}}\}}$", template)
    said, before = "", ""
    for message in messages:
        said += "".join(text for role, behind, text in rules if (role, behind) == (message["role"], before))
        said += message["content"]
        before = message["role"]
    return said + str(json.loads(last))


@given(messages=conversations())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_modelfile_s_template_writes_what_jinja_writes(served: Any, messages: list[Message]) -> None:
    renderer, _ = served
    stripped = [message | {"content": message["content"].strip() or "x"} for message in messages]  # as Llama 2 does
    template = go_template(renderer)
    assert template is not None
    assert go(template, stripped) == renderer.template.render(stripped, renderer.tokens, add_generation_prompt=True)


def test_the_modelfile_leaves_the_first_token_to_ollama_where_the_tokenizer_adds_it(base: BaseModel) -> None:
    renderer = renderer_for(base.folder, "llama2")
    renderer.tokens = replace(renderer.tokens, adds_bos=True)
    messages = [{"role": "user", "content": "Which?"}]
    template = go_template(renderer)
    assert template is not None
    assert go(template, messages) == "[INST] Which? [/INST]"


def test_a_template_that_counts_its_turns_has_no_go_template(base: BaseModel, adapter: Path) -> None:
    turns = "{%- for message in messages -%}{{ loop.index ~ message.content ~ stop }}{%- endfor -%}"
    source = "{%- set stop = eos_token -%}" + turns
    renderer = Renderer(ChatTemplate("numbered", source), *load_tokenizer(base.folder))
    assert go_template(renderer) is None
