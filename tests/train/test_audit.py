"""The audit of the mask: each problem is found, counted and shown, and nothing is trained."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from tokenizers.processors import TemplateProcessing

from curate.errors import AssayError
from curate.rows.chat_template import ChatTemplate, SpecialTokens
from curate.rows.renderer import IGNORED, Encoded, Renderer, load_tokenizer
from curate.store import Store
from tests.tiny import TOOLS, recipe_for, renderer_of, write_version
from train.audit import Problem, audit
from train.manifest import AdapterManifest
from train.qlora import train

MESSAGES = [{"role": "user", "content": "well?"}, {"role": "assistant", "content": "yes"}]
ROWS = [{"id": f"r{number}", "messages": MESSAGES} for number in range(5)]


def damaged(model: Path, change: Any, begins: bool = False) -> Renderer:
    """A renderer whose tokens and labels are changed."""

    class Damaged(Renderer):
        def encode_all(self, conversations: Any) -> Any:
            for encoded in super().encode_all(conversations):
                yield Encoded(*change(list(encoded.input_ids), list(encoded.labels)))

    sound = renderer_of(model)
    return Damaged(sound.template, sound.tokenizer, SpecialTokens("<|endoftext|>", "<|im_end|>", adds_bos=begins))


STOP = 2
CHANGES: dict[Problem, Any] = {
    "no_trained_token": lambda ids, labels: (ids, [IGNORED] * len(ids)),
    "prompt_trained": lambda ids, labels: (ids, ids),
    "not_the_answer": lambda ids, labels: (ids, [IGNORED if at == len(ids) - 3 else n for at, n in enumerate(labels)]),
    "no_stop_token": lambda ids, labels: (ids[:-1], labels[:-1]),
    "padding_trained": lambda ids, labels: ([*ids, STOP], [*labels, STOP]),
    "special_token_in_answer": lambda ids, labels: ([*ids[:-1], 0, STOP], [*labels[:-1], 0, STOP]),
    "bos_twice": lambda ids, labels: ([0, 0, *ids], [IGNORED, IGNORED, *labels]),
}


@pytest.mark.parametrize("problem", CHANGES)
def test_each_problem_is_counted_and_shown(problem: Problem, model_folder: Path) -> None:
    found = audit(ROWS, damaged(model_folder, CHANGES[problem]))
    assert found.counts[problem] == 5
    assert [seen.partition(":")[0] for seen in found.first[problem]] == ["Row r0", "Row r1", "Row r2"]
    with pytest.raises(AssayError, match=rf"5 rows .* \({problem}\):\n  Row r0: ") as caught:
        found.require()
    assert "assay preview" in caught.value.remedy


def test_a_missing_bos(model_folder: Path) -> None:
    """Whether there is to be one, says the tokenizer's configuration before its post-processor, as for templates."""
    found = audit(ROWS, damaged(model_folder, lambda ids, labels: (ids[1:], labels[1:]), begins=True))
    assert {problem: count for problem, count in found.counts.items() if count} == {"bos_missing": 5}
    silent = damaged(model_folder, lambda *both: both)
    bos = ("<|endoftext|>", 0)
    silent.tokenizer.post_processor = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[bos])
    assert not audit(ROWS, silent).counts["bos_missing"], "add_bos_token: false"


PUBLISHED = """{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\n' -}}
{%- for call in message.tool_calls or [] -%}{{- '<|endoftext|>' + call.function | tojson -}}{%- endfor -%}
{{- message.content + '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"""


def test_a_published_template_that_writes_no_bos_lacks_none(model_folder: Path) -> None:
    tokenizer, tokens = load_tokenizer(model_folder)
    adding = replace(tokens, bos="<|endoftext|>", adds_bos=True)
    tokenizer.post_processor = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    renderer = Renderer(ChatTemplate("model", PUBLISHED), tokenizer, adding)
    assert audit(ROWS, renderer).counts == dict.fromkeys(get_args(Problem), 0)


def test_a_special_token_that_a_template_writes_around_a_call_is_its_own(model_folder: Path) -> None:
    renderer = Renderer(ChatTemplate("model", PUBLISHED), *load_tokenizer(model_folder), "all")
    calls = [{"id": "calls", "messages": [MESSAGES[0], *TOOLS, MESSAGES[1]]}]
    found = audit(calls, renderer)
    assert found.counts == dict.fromkeys(get_args(Problem), 0)
    assert 0 in found.examples[0].labels
    said = [{"id": "said", "messages": [MESSAGES[0], {"role": "assistant", "content": "yes<|endoftext|>"}]}]
    assert audit(said, renderer).counts["special_token_in_answer"] == 1


def test_a_row_that_is_too_long(model_folder: Path) -> None:
    found = audit([*ROWS, {"id": "long", "messages": [{**MESSAGES[0], "content": "well? " * 50}, MESSAGES[1]]}],
                  renderer_of(model_folder), max_tokens=60)  # fmt: skip
    assert found.counts["too_long"] == 1
    assert found.first["too_long"][0].startswith("Row long: it has ")


def test_a_row_that_cannot_be_rendered_does_not_hide_the_others(model_folder: Path) -> None:
    found = audit([*ROWS, {"id": "mute", "messages": MESSAGES[:1]}], renderer_of(model_folder))
    assert len(found.examples) == 5
    assert found.counts["refused"] == 1
    with pytest.raises(AssayError, match="Row mute: A row without an answer"):
        found.require()


def test_sound_rows(model_folder: Path) -> None:
    found = audit(ROWS, renderer_of(model_folder))
    assert found.counts == dict.fromkeys(get_args(Problem), 0)
    assert len(found.require()) == 5


def test_the_manifest_tells_the_counts(model_folder: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    folder = train(write_version(store, model_folder), recipe_for(model_folder), store)
    assert AdapterManifest.read(folder).rows.audit == dict.fromkeys(get_args(Problem), 0)
