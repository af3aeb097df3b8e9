"""Small models of every kind of attention that transformers has: made here, with random weights."""

import random
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

VOCABULARY = 200
WINDOW = 32

SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
OLD: dict[str, Any] = {"vocab_size": VOCABULARY, "n_positions": 256, "n_embd": 32, "n_layer": 2, "n_head": 4}
STILL: dict[str, Any] = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
ALTERNATING = ["sliding_attention", "full_attention"]
MAMBA: dict[str, Any] = {"mamba_d_state": 8, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", SMALL),
    "mistral": ("mistral", {**SMALL, "sliding_window": WINDOW}),
    "mistral, no window": ("mistral", {**SMALL, "sliding_window": None}),
    "mixtral": ("mixtral", {**SMALL, "sliding_window": None, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "gemma2": ("gemma2", {**SMALL, "sliding_window": WINDOW, "layer_types": ALTERNATING}),
    "gemma3": ("gemma3_text", {**SMALL, "sliding_window": WINDOW, "layer_types": ALTERNATING}),
    "qwen3": ("qwen3", SMALL),
    "phi3": ("phi3", {**SMALL, "sliding_window": WINDOW}),
    "gpt-oss": (
        "gpt_oss",
        {**SMALL, "sliding_window": WINDOW, "layer_types": ALTERNATING, "num_local_experts": 4},
    ),
    "llama4": (
        "llama4_text",
        {**SMALL, "attention_chunk_size": WINDOW, "num_local_experts": 2, "intermediate_size_mlp": 64},
    ),
    "cohere2": ("cohere2", {**SMALL, "sliding_window": WINDOW, "layer_types": ALTERNATING}),
    "bloom": ("bloom", {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "gpt2": ("gpt2", OLD | STILL),
    "gpt-neo": (
        "gpt_neo",
        {
            **SMALL,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": WINDOW,
        },
    ),
    "opt": ("opt", {**SMALL, "ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.0}),
    "roberta": (
        "roberta",
        {**SMALL, "is_decoder": True, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    ),
    "openai-gpt": ("openai-gpt", OLD | STILL),
    "mamba": ("mamba", {**SMALL, "state_size": 8, "time_step_rank": 4}),
    "bamba": ("bamba", {**SMALL, **MAMBA, "attn_layer_indices": [1]}),
    "recurrent-gemma": (
        "recurrent_gemma",
        {**SMALL, "num_hidden_layers": 3, "lru_width": 32, "attention_window_size": WINDOW},
    ),
}


def model_of(family: str, **changes: Any) -> PreTrainedModel:
    """A model in float32 whose next token hangs on what stands far before it."""
    name, given = FAMILIES[family]
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(name, **{**given, **changes})
    ).float()
    draw = torch.Generator().manual_seed(0)
    for name, weights in model.named_parameters():
        if weights.ndim == 2 and "A_log" not in name:
            weights.data.copy_(torch.randn(weights.shape, generator=draw) * 1.5 / weights.shape[1] ** 0.5)
    return model.eval()


def rows_of(common: int = 40, lengths: Sequence[int] = (30, 44, 57, 44), seed: int = 1) -> list[list[int]]:
    """Rows that begin alike, longer than a window with or without that beginning."""
    draw = random.Random(seed)
    beginning = [draw.randrange(3, VOCABULARY) for _ in range(common)]
    return [beginning + [draw.randrange(3, VOCABULARY) for _ in range(length)] for length in lengths]
