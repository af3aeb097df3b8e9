"""Generation in batches against one by one, and what a constraint costs.

The same rows of a published data set are asked of its adapter, greedily and with the same stop token: by
`evaluation.ask.generate`, and by transformers' `model.generate`, the peer, one row at a time. Arithmetic is in float32,
so that the texts must be the same: in bfloat16, which is the default where the processor has it, rounding decides near
ties, and other shapes of a batch round otherwise. Then the rows are asked under the contract's schema, and libraries
for constrained decoding follow what was said, token by token, for as many rows at once as a batch holds.

    assay run recipes/licences.yaml --store STORE
    python -m benchmarks.generation STORE --rows 64

OMP_NUM_THREADS=1 makes the processor's seconds those of the work where other processes want the cores too: threads that
wait for each other count as work.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.measure import show
from curate.rows.chat_template import ChatTemplate
from curate.rows.renderer import Renderer, load_tokenizer
from curate.store import Store
from evaluation.ask.constrained import Constraint
from evaluation.ask.generate import generate
from evaluation.judge.answer import Generated
from evaluation.settings import FullRecipe
from train.adapter import load
from train.base_model import prepare
from train.examples import read_split, select


class Xgrammar:
    """`evaluation.ask.constrained.Constraint` by the other library: the schema as it is, in the same form of JSON."""

    def __init__(self, schema: dict[str, Any], renderer: Renderer) -> None:
        import xgrammar

        vocabulary = renderer.tokenizer.get_vocab()
        tokens = xgrammar.TokenizerInfo(
            sorted(vocabulary, key=vocabulary.__getitem__),
            xgrammar.VocabType.BYTE_LEVEL,
            stop_token_ids=[renderer.stop_token_id],
        )
        compiler = xgrammar.GrammarCompiler(tokens)
        self._grammar = compiler.compile_json_schema(json.dumps(schema), any_whitespace=False, strict_mode=False)
        self._batch = xgrammar.BatchGrammarMatcher()
        self._xgrammar, self._width = xgrammar, tokens.vocab_size

    def matcher(self) -> Any:
        return self._xgrammar.GrammarMatcher(self._grammar)

    def allowed(self, matchers: Sequence[Any], width: int) -> np.ndarray:
        bits = self._xgrammar.allocate_token_bitmask(len(matchers), self._width)
        self._batch.batch_fill_next_token_bitmask(list(matchers), bits)
        return np.unpackbits(bits.numpy().view(np.uint8), axis=1, count=width, bitorder="little").view(np.bool_)

    def ends(self, matcher: Any, token: int) -> bool:
        if not matcher.accept_token(token):
            raise ValueError(f"token {token} is not allowed")
        return False


def one_by_one(model: Any, renderer: Renderer, prompts: Sequence[Sequence[int]], most: int) -> list[Generated]:
    """What transformers generates of each prompt by itself."""
    import torch

    answers = []
    for prompt in prompts:
        asked = torch.tensor([prompt], device=model.device)
        out = model.generate(
            input_ids=asked,
            attention_mask=torch.ones_like(asked),
            max_new_tokens=most,
            do_sample=False,
            eos_token_id=renderer.stop_token_id,
            pad_token_id=renderer.stop_token_id,
        )
        tokens = out[0, len(prompt) :].tolist()
        truncated = tokens[-1] != renderer.stop_token_id
        said = tokens if truncated else tokens[:-1]
        answers.append(Generated(renderer.decode(said), len(said), truncated))
    return answers


def timed(what: str, work: Callable[[], list[Generated]]) -> tuple[dict[str, float], list[Generated]]:
    """Seconds of a clock and of the processor, and the answers."""
    began, worked = time.perf_counter(), time.process_time()
    answers = work()
    seconds = {"clock": time.perf_counter() - began, "processor": time.process_time() - worked}
    print(f"{what}: {seconds['clock']:.1f} s, {seconds['processor']:.1f} s of the processor", flush=True)
    return seconds, answers


def masks(constraint: Any, answers: Sequence[Sequence[int]], width: int) -> float:
    """Microseconds that masks and moves take per token, for all rows that still go on at once."""
    matchers = [constraint.matcher() for _ in answers]
    begin, tokens = time.perf_counter(), 0
    for step in range(max(map(len, answers))):
        going = [row for row, answer in enumerate(answers) if step < len(answer)]
        allowed = constraint.allowed([matchers[row] for row in going], width)
        for place, row in enumerate(going):
            assert allowed[place, answers[row][step]], "what was said is allowed"
            constraint.ends(matchers[row], answers[row][step])
        tokens += len(going)
    return 1e6 * (time.perf_counter() - begin) / tokens


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generation", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("store", type=Path, help="with a data set and an adapter of the recipe's name")
    parser.add_argument("--recipe", type=Path, default=Path(__file__).parent.parent / "recipes" / "licences.yaml")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    import torch
    from bitsandbytes.nn import Linear4bit

    recipe, store = FullRecipe.load(options.recipe), Store(options.store)
    settings = recipe.evaluation
    version, adapter = (store.resolve(kind, recipe.name) for kind in ("datasets", "adapters"))
    base = prepare(recipe.fit.model, store.cache)
    template = ChatTemplate.load(recipe.render.chat, base.folder)
    renderer = Renderer(template, *load_tokenizer(base.folder), recipe.render.answers, recipe.render.reasoning)
    columns = ["id", "label", "cluster", "tokens", "messages"]
    test = read_split(version, "test", columns)
    rows = select(test, options.rows, settings.max_tokens, settings.seed)
    prompts = [renderer.prompt_ids(row["messages"]) for row in rows]
    model = load(adapter, base, template)
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.compute_dtype = torch.float32
    schema = recipe.held_to().target_schema
    assert schema is not None, "the recipe's answers have a schema"
    constraint = Constraint(schema, renderer)
    most = settings.max_new_tokens

    def ours(held: Constraint | None = None, prompts: Sequence[Sequence[int]] = prompts) -> list[Generated]:
        return generate(model, renderer, prompts, max_new_tokens=most, batch_size=settings.batch_size, constraint=held)

    works: dict[str, Callable[[], list[Generated]]] = {
        "assay": ours,
        "one by one": lambda: one_by_one(model, renderer, prompts, most),
        "assay, constrained": lambda: ours(constraint),
    }
    ours(prompts=prompts[:2])  # warms up
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in works}
    said: dict[str, list[Generated]] = {}
    for _ in range(options.repeats):
        for name, work in works.items():
            seconds, said[name] = timed(name, work)
            runs[name].append(seconds)
    for row, one, other in zip(rows, said["assay"], said["one by one"], strict=True):
        assert (one.text, one.truncated) == (other.text, other.truncated), row["id"]
    ids = [renderer.tokenizer.encode(each.text, add_special_tokens=False).ids for each in said["assay, constrained"]]
    whole = [tokens for tokens, each in zip(ids, said["assay, constrained"], strict=True) if not each.truncated]
    constraints = {"llguidance": constraint} | (
        {"xgrammar": Xgrammar(schema, renderer)} if find_spec("xgrammar") else {}
    )
    width = model.config.vocab_size
    per_mask = {
        name: median(masks(each, whole[: settings.batch_size], width) for _ in range(options.repeats))
        for name, each in constraints.items()
    }
    report(len(rows), runs, said, per_mask)


def report(
    rows: int,
    runs: dict[str, list[dict[str, float]]],
    said: dict[str, list[Generated]],
    per_mask: dict[str, float],
) -> None:
    """Print the tables and the result."""
    medians = {name: {kind: median(each[kind] for each in of) for kind in of[0]} for name, of in runs.items()}
    tokens = {name: sum(each.tokens + (not each.truncated) for each in answers) for name, answers in said.items()}
    table = [
        [name, of["clock"], of["processor"], tokens[name], tokens[name] / of["clock"], rows / of["clock"]]
        for name, of in medians.items()
    ]
    columns = ["", "seconds", "of the processor", "tokens", "tokens/s", "rows/s"]
    show(f"{rows} rows, medians; the same texts in batches and one by one", columns, table)
    show("Microseconds a token for the masks", ["", "µs"], [[*each] for each in per_mask.items()])
    ratio = {kind: round(medians["one by one"][kind] / medians["assay"][kind], 2) for kind in medians["assay"]}
    line = {
        "name": "generation",
        "input": {"rows": rows, "tokens": tokens},
        "seconds": {name: [round(each["clock"], 2) for each in of] for name, of in runs.items()},
        "processor": {name: [round(each["processor"], 2) for each in of] for name, of in runs.items()},
        "ratio": ratio,
        "microseconds_per_mask": {name: round(each, 1) for name, each in per_mask.items()},
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
