"""Select against random draws and against the best by quality alone, and its time as the rows grow.

    python -m benchmarks.select ../shared/data/ins_gpteacher [--model FOLDER] [--seeds 5]

What is chosen is judged by similarities that the choice did not maximise: TF-IDF as scikit-learn makes it, of the words
of the prompts, of those of the *answers* (which the choice does not read), and of the prompts' characters. Times are
those of the processor, the less of two. With a model (see `select.model`) its choice is shown beside.
"""

import argparse
import gzip
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from benchmarks.measure import show
from curate.sets.select import Select, choose
from curate.sets.semantic import embed
from curate.text.words import shingle_sets

WANTED = 1000
SIZES = (2_000, 6_000, 18_000, 35_000, 100_000)


def read(folder: Path) -> pa.Table:
    """The distinct rows of GPTeacher's files: id, label, prompt, answer."""
    rows = {}
    for path in sorted(folder.glob("*/*.json*")):
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            for row in json.load(file):
                prompt = (row["instruction"].strip() + "\n\n" + (row.get("input") or "").strip()).strip()
                id_ = xxhash.xxh3_128_hexdigest(json.dumps([prompt, row["response"]]).encode())
                rows[id_] = {"id": id_, "label": path.parent.name, "prompt": prompt, "answer": row["response"]}
    return pa.Table.from_pylist(list(rows.values()))


def covered(vectors: Any, chosen: Any) -> float:
    """Mean over all rows of the cosine to the nearest one chosen."""
    these = vectors[chosen].T.tocsc()
    parts = [(vectors[at : at + 2000] @ these).max(axis=1).toarray() for at in range(0, vectors.shape[0], 2000)]
    return float(np.concatenate(parts).mean())


def main() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, help="folder of a model2vec model")
    parser.add_argument("--seeds", type=int, default=5, help="random draws")
    options = parser.parse_args()
    rows = read(options.folder)
    prompts = rows["prompt"].to_pylist()
    # No judge of quality is asked here: characters of the answer stand for one, as in the LIMA replications.
    length = np.array([len(text) for text in rows["answer"].to_pylist()])
    quality = (np.argsort(np.argsort(length)) / len(length)).round(2).astype(np.float32)
    equal = np.ones(len(length), np.float32)
    words = shingle_sets(rows["prompt"].combine_chunks(), 1)
    chosen = {
        "select": np.flatnonzero(choose(rows, equal, words, Select(rows=WANTED)).chosen),
        "select, of the better half": np.flatnonzero(choose(rows, quality, words, Select(rows=WANTED)).chosen),
        "best by quality alone": np.argsort(-length, kind="stable")[:WANTED],
    }
    if options.model:
        chosen["select, by embeddings"] = np.flatnonzero(
            choose(rows, equal, embed(prompts, options.model), Select(rows=WANTED)).chosen
        )
    draws = [np.random.default_rng(seed).permutation(len(length))[:WANTED] for seed in range(options.seeds)]
    found: dict[str, dict[str, float]] = {}
    for name, column, how in (
        ("words of the prompts", "prompt", {}),
        ("words of the answers", "answer", {}),
        ("characters of the prompts", "prompt", {"analyzer": "char_wb", "ngram_range": (3, 4), "max_features": 50_000}),
    ):
        vectors = TfidfVectorizer(**how).fit_transform(rows[column].to_pylist())
        random = [covered(vectors, draw) for draw in draws]
        found[name] = {key: covered(vectors, each) for key, each in chosen.items()}
        found[name] |= {"random": statistics.mean(random), "deviation": statistics.stdev(random)}
    table = [[name, *(f"{value:.3f}" for value in by.values())] for name, by in found.items()]
    show(f"Coverage by {WANTED:,} of {len(length):,} rows", ["by", *next(iter(found.values()))], table)

    seconds: dict[int, float] = {}
    for size in SIZES:
        # Rows beyond those at hand are made of two real ones each, so that words are as frequent as they are.
        draw = np.random.default_rng(0).integers(0, len(length), (size, 2))
        texts = [prompts[a] if at < len(prompts) else prompts[a][: len(prompts[a]) // 2] + prompts[b][-200:]
                 for at, (a, b) in enumerate(draw.tolist())]  # fmt: skip
        made = pa.table({"id": [f"{at:032x}" for at in range(size)], "label": pa.nulls(size, pa.string())})
        spent = []
        for _ in range(2):
            begin = time.process_time()
            choose(made, np.ones(size, np.float32), shingle_sets(pa.array(texts), 1), Select(rows=WANTED))
            spent.append(time.process_time() - begin)
        seconds[size] = min(spent)
        print(f"{size:,} rows, one label: {seconds[size]:.2f} s", flush=True)
    exponents = [_exponent(seconds, 0), _exponent(seconds, 2)]
    print(f"time grows with the rows to the power of {exponents[0]}, from {SIZES[2]:,} rows on of {exponents[1]}")
    line = {"name": "select", "input": {"rows": len(length), "chosen": WANTED}, "coverage": found}
    print(json.dumps(line | {"exponents": exponents, "seconds": {"assay": [*seconds.values()]}}))


def _exponent(seconds: dict[int, float], first: int) -> float:
    sizes = [*seconds][first:]
    return round(float(np.polyfit(np.log(sizes), np.log([seconds[size] for size in sizes]), 1)[0]), 2)


if __name__ == "__main__":
    main()
