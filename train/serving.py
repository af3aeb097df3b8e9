"""What a model's folder needs so that others, who know nothing of Assay, say the same text with it.

The tokenizer, the chat template and the stop tokens that the model was trained with, in the files and by the names that
transformers saves them by; vLLM reads those too. For servers that take none of it from the folder there are the
commands, in README.md, and a Modelfile.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curate.publish.pages import report_environment
from curate.rows.chat_template import Message, as_sent
from curate.rows.renderer import Renderer
from train.base_model import BaseModel, configuration
from train.methods.keys import WHOLE
from train.modelfile import go_template
from train.settings import TrainingSettings

TEMPLATE, GENERATION = "chat_template.jinja", "generation_config.json"
REQUEST = "example_request.json"
SHORTEST_CONTEXT = 4096
"""Tokens of context that the Modelfile asks for at least: ollama's own default leaves out what is beyond, untold."""


def write_chat(folder: Path, base: BaseModel, renderer: Renderer) -> None:
    """Write tokenizer.json, tokenizer_config.json, chat_template.jinja and generation_config.json.

    What transformers makes of them tokenises as `renderer` does, and stops and pads as generation here does. Of
    tokenizer_config.json only the special tokens are kept: by its other keys transformers would make another tokenizer
    than that of tokenizer.json, which is the one that was trained with. A special token that the model has no embedding
    for is left out: it would be given a number beyond all of them.
    """
    said = json.loads((base.folder / "tokenizer.json").read_bytes())
    if said.get("truncation") or said.get("padding"):
        plain = json.dumps(said | {"truncation": None, "padding": None}, ensure_ascii=False)
        (folder / "tokenizer.json").write_text(plain, encoding="utf-8")
    else:
        shutil.copyfile(base.folder / "tokenizer.json", folder / "tokenizer.json")
    special = _special_tokens(base, renderer)
    context = base.context()
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "padding_side": "left",
        **({"model_max_length": context} if context else {}),
        **special,
    }
    _write(folder / "tokenizer_config.json", config)
    (folder / TEMPLATE).write_text(renderer.template.served(renderer.tokens, renderer.thinks), encoding="utf-8")
    number = renderer.tokenizer.token_to_id
    bos = {"bos_token_id": number(special["bos_token"])} if "bos_token" in special else {}
    stops = stop_tokens(renderer)
    generation = {
        **bos,
        "eos_token_id": stops if len(stops) > 1 else stops[0],
        "pad_token_id": number(special["pad_token"]),
        "do_sample": False,
    }
    _write(folder / GENERATION, generation)


def write_notes(
    folder: Path, base: BaseModel, renderer: Renderer, example: Sequence[Message], settings: TrainingSettings
) -> None:
    """Write README.md, Modelfile and example_request.json: how an adapter is served, and what it is asked.

    Args:
        folder: of the adapter.
        base: the model it was trained on.
        renderer: it was trained with.
        example: a conversation it was trained on, whose question becomes the example.
        settings: it was trained with.
    """
    sent = as_sent(renderer.template.shaped(_question(example)))
    request = {"model": "adapter", "messages": sent, "temperature": 0, "max_tokens": settings.max_tokens}
    _write(folder / REQUEST, request)
    (folder / "Modelfile").write_text(_modelfile(base, renderer, settings), encoding="utf-8")
    text = (
        report_environment()
        .get_template("adapter.md.jinja")
        .render(
            base=base.name,
            method=settings.method,
            whole=settings.method in WHOLE,
            plain=_plain(settings),
            rank=max(8, 1 << (settings.rank - 1).bit_length()),  # vLLM takes powers of two, from 8
            stops=stop_texts(renderer),
            quoted=json.dumps(stop_texts(renderer), ensure_ascii=False),
            system=example[0]["role"] == "system",
            calls=any("tool_calls" in message for message in sent),
            added_bos=_added_bos(renderer, _question(example)),
        )
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def stop_tokens(renderer: Renderer) -> list[int]:
    """Tokens that end an answer, the trained one first."""
    return [renderer.stop_token_id, *sorted(set(renderer.stop_token_ids) - {renderer.stop_token_id})]


def stop_texts(renderer: Renderer) -> list[str]:
    """Texts of `stop_tokens`."""
    return [renderer.decode([token]) for token in stop_tokens(renderer)]


def _special_tokens(base: BaseModel, renderer: Renderer) -> dict[str, str]:
    """The special tokens of the base model that it has embeddings for; where it has none to pad with, the stop token
    pads: what is padded is masked, and never trained."""
    config = json.loads((base.folder / "tokenizer_config.json").read_bytes())
    named = {key: value for key, value in config.items() if key.endswith("_token") and value}
    texts = {key: value["content"] if isinstance(value, dict) else value for key, value in named.items()}
    rows = configuration(base.folder).get_text_config().vocab_size
    known = {}
    for key, text in texts.items():
        number = renderer.tokenizer.token_to_id(text) if isinstance(text, str) else None
        if number is not None and number < rows:
            known[key] = text
    return {"pad_token": known.get("eos_token", renderer.stop)} | known


def _question(messages: Sequence[Message]) -> list[Message]:
    """What is said before the last answer."""
    last = max(at for at, message in enumerate(messages) if message["role"] == "assistant")
    return [{"role": message["role"], "content": message["content"]} for message in messages[:last]]


def _added_bos(renderer: Renderer, asked: Sequence[Message]) -> str:
    """The token that a GGUF file says is put before any text, where the chat template does not write it; else ""."""
    bos = renderer.tokens.bos
    written = renderer.prompt_ids(asked)[:1] == [renderer.tokenizer.token_to_id(bos)]
    return bos if renderer.tokens.adds_bos and not written else ""


def _modelfile(base: BaseModel, renderer: Renderer, settings: TrainingSettings) -> str:
    context = min(max(2 * settings.max_tokens, SHORTEST_CONTEXT), base.context() or 1 << 30)
    lines = [
        f"# See README.md for how base.gguf {'and adapter.gguf are' if _plain(settings) else 'is'} made.",
        "FROM ./base.gguf",
        *(["ADAPTER ./adapter.gguf"] if _plain(settings) else []),
    ]
    template = go_template(renderer)
    if template is None:
        lines += [
            "# The chat template says more than a Go template can: serve the adapter with llama.cpp or vLLM instead.",
        ]
    else:
        lines.append(f'TEMPLATE """{template}"""')
    lines += [f"PARAMETER stop {json.dumps(text, ensure_ascii=False)}" for text in stop_texts(renderer)]
    lines += ["PARAMETER temperature 0", "PARAMETER repeat_penalty 1", f"PARAMETER num_ctx {context}"]
    return "\n".join(lines) + "\n"


def _plain(settings: TrainingSettings) -> bool:
    """Whether servers take the adapter beside its base model: LoRA with one rank and its own scale, as they know it."""
    return settings.method in ("lora", "qlora") and not (
        settings.use_rslora or settings.rank_pattern or settings.alpha_pattern or settings.modules_to_save
    )


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
