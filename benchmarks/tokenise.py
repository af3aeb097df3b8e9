"""Tokenising word by distinct word, in batches as of shards, beside the tokenizer's own batches, on one thread.

    python -m benchmarks.tokenise ../shared/data MODEL_FOLDER [--rows 5500] [--repeats 5]

MODEL_FOLDER holds a tokenizer.json; the tokens of both are compared too. Times are the processor's. Each repeat begins
without any word known.
"""

import argparse
import json
import os
import statistics
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import show
from benchmarks.quality_rules import turns_of
from curate.rows.render import load_tokenizer
from curate.text.tokenise import Tokeniser, Tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CUT = 1_400
"""Characters of a piece of source code."""
BATCH = 2_500
"""Texts that are tokenised at once: about a shard's."""
SOURCES = {"notices": "notices", "prose": "GPTeacher", "chat": "Guanaco", "Chinese": "LawBench"}


def code() -> Iterator[str]:
    """The beginnings of the installed packages' modules."""
    for path in sorted(Path(sysconfig.get_paths()["purelib"]).rglob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")[:CUT]
        if len(text) == CUT:
            yield text


def compare(tokenizer: "Tokenizer", texts: Sequence[str], repeats: int) -> dict[str, list[float]]:
    """Seconds of each repeat, the two in turn.

    Raises:
        SystemExit: they give different tokens.
    """

    def library() -> list[list[int]]:
        return [each.ids for each in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def assay() -> list[Tokens]:
        tokenise = Tokeniser(tokenizer)
        return [tokens for at in range(0, len(texts), BATCH) for tokens in tokenise(texts[at : at + BATCH])]

    if [tokens.ids for tokens in assay()] != library():
        raise SystemExit("The tokens differ.")
    seconds: dict[str, list[float]] = {"assay": [], "library": []}
    for _ in range(repeats):
        seconds["assay"].append(_timed(assay))
        seconds["library"].append(_timed(library))
    return seconds


def _timed(function: Callable[[], object]) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("model", type=Path, help="folder of a model, or of its tokenizer")
    parser.add_argument("--rows", type=int, default=5_500, help="texts of each kind at most")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    os.environ["RAYON_NUM_THREADS"] = "1"  # before the tokenizer begins to work
    tokenizer, _ = load_tokenizer(options.model)
    rows, measured = [], {}
    for kind in (*SOURCES, "code"):
        found = code() if kind == "code" else _turns(SOURCES[kind], options.data)
        texts = list(islice(dict.fromkeys(found), options.rows))
        seconds = compare(tokenizer, texts, options.repeats)
        ours, theirs = statistics.median(seconds["assay"]), statistics.median(seconds["library"])
        rows.append([kind, f"{len(texts):,}", f"{ours:.2f} s", f"{theirs:.2f} s", f"{ours / theirs:.2f}"])
        measured[kind] = {"rows": len(texts), "seconds": seconds, "ratio": theirs / ours}
    show("Tokenise", ["texts", "rows", "assay", "library", "assay / library"], rows)
    print(json.dumps({"name": "tokenise", "kinds": measured}))


def _turns(source: str, data: Path) -> Iterator[str]:
    return (turn["content"] for turns in turns_of(source, data) for turn in turns)


if __name__ == "__main__":
    main()
