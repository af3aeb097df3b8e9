"""A language model that fits in a test, and a published data set version for it: made here, no network, no download."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from curate.hashing import digest, file_digest
from curate.publish.data_files import LISTED_META
from curate.record import TURNS
from curate.rows.chat_template import ChatTemplate
from curate.rows.renderer import Renderer, load_tokenizer
from curate.store import Store
from evaluation.settings import FullRecipe
from tests.manifests import dataset_manifest
from tests.project import Project, make_rows

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
QUESTION = "Which licence does this notice name? Answer with one JSON object and nothing else.\n\n"
ANSWERS = [
    {"license": "mit", "category": "Permissive", "kind": "notice", "copyleft": "none"},
    {"license": "gpl-2.0", "category": "Copyleft", "kind": "tag", "copyleft": "strong"},
    {"license": None, "category": "Public Domain", "kind": "text", "copyleft": "none"},
]
NOTICES = ["MIT, see the file LICENSE", "GPL version two", "No rights reserved: do what you like"]


def write_model(folder: Path, hidden: int = 32, seed: int = 0) -> Path:
    """A random two-layer Llama in float32 with a byte-level tokenizer and ChatML's special tokens."""
    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        [QUESTION + notice + json.dumps(answer) for notice, answer in zip(NOTICES, ANSWERS, strict=True)],
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": SPECIAL[1], "eos_token": SPECIAL[2], "pad_token": SPECIAL[2]}
    (folder / "tokenizer_config.json").write_text(json.dumps(names | {"tokenizer_class": "PreTrainedTokenizerFast"}))
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=False,
        initializer_range=0.2,  # large enough for different texts to have different next tokens
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


TOOLS = [
    {"role": "assistant", "content": '{"name": "look", "arguments": {"at": "é", "lines": 2.5}}'},
    {"role": "tool", "content": '{"name": "look", "content": "all of it"}'},
]
"""Of a conversation: a call and its result, as data sets have them."""


def renderer_of(model: Path, answers: str = "last", chat: str = "chatml") -> Renderer:
    return Renderer(ChatTemplate.load(chat, model), *load_tokenizer(model), answers)


def write_version(
    store: Store,
    model: Path,
    rows: int = 48,
    chat: bool = False,
    system: str = "",
    template: str = "chatml",
    tools: bool = False,
    answers: Sequence[object] = ANSWERS,
    meta: Callable[[int], Mapping[str, str]] | None = None,
) -> Path:
    """A published version for the model: questions about licences, or plain chat with the same answers as text; `meta`
    of the so manieth row."""
    renderer = renderer_of(model, chat=template)
    draw = random.Random(rows)
    records = []
    for index in range(rows):
        which = draw.randrange(len(ANSWERS))
        notice = NOTICES[which] + " " + "and so on " * draw.randrange(5)
        target = json.dumps(answers[which])
        messages = [{"role": "user", "content": QUESTION + notice}, {"role": "assistant", "content": target}]
        if tools:
            messages[1:1] = TOOLS
        if system:
            messages.insert(0, {"role": "system", "content": system})
        records.append(
            {
                "id": digest(["row", index])[:32],
                "target": None if chat else target,
                "label": ANSWERS[which]["category"],
                "cluster": digest(["cluster", index // 2])[:32],
                "messages": messages,
                "tokens": len(renderer.encode(messages).input_ids),
            }
            | ({"meta": [{"key": key, "value": value} for key, value in meta(index).items()]} if meta else {})
        )
    schema = pa.schema(
        {
            "id": pa.string(),
            "target": pa.string(),
            "label": pa.string(),
            "cluster": pa.string(),
            "messages": TURNS,
            "tokens": pa.int32(),
        }
        | ({"meta": LISTED_META} if meta else {})
    )
    table = pa.Table.from_pylist(records, schema)
    with store.publishing("datasets", "tiny") as draft:
        parts = {"train": (0, rows // 2), "validation": (rows // 2, rows // 4), "test": (3 * rows // 4, rows // 4)}
        for split, (begin, length) in parts.items():
            pq.write_table(table.slice(begin, length), draft.folder / f"{split}.parquet")
        base = {
            "tokenizer_sha256": file_digest(model / "tokenizer.json"),
            "chat_template_sha256": renderer.template.sha256,
        }
        return draft.publish(dataset_manifest(name="tiny", base=base))


def small_project(folder: Path, training: Mapping[str, Any], evaluation: Mapping[str, Any], **settings: Any) -> Project:
    """A project with rows, from whose drop a scorecard of a model beside it is made in seconds; `made` in a folder.

    Args:
        training, evaluation: more of these parts of the recipe.
        settings: other parts of it.
    """
    project = Project(
        folder / "made",
        fit={"model": str(write_model(folder / "model")), "max_tokens": 150},
        training={"rows": 16, "max_tokens": 150, "batch_size": 4, "rank": 4, "method": "lora", **training},
        evaluation={"rows": 6, "max_tokens": 150, "max_new_tokens": 8, "batch_size": 4, **evaluation},
        **settings,
    )
    project.add("rows.jsonl", make_rows(240))
    return project


@cache
def licences() -> FullRecipe:
    return FullRecipe.load(Path(__file__).parent.parent / "recipes/licences.yaml")


def recipe_for(model: Path, **training: object) -> FullRecipe:
    """The licence recipe with the tiny model, and settings that train it in seconds."""
    recipe = licences()
    settings = {"rows": 16, "epochs": 1, "batch_size": 4, "rank": 4, "alpha": 8, "method": "lora"} | training
    return recipe.model_copy(
        update={
            "name": "tiny",
            "fit": recipe.fit.model_copy(update={"model": str(model)}),
            "training": recipe.training.model_copy(update=settings),
            "evaluation": recipe.evaluation.model_copy(update={"rows": 8, "max_new_tokens": 12, "batch_size": 4}),
        }
    )
