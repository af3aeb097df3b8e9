"""How right near-duplicate removal is, ours and others', on texts of which it is known which are copies of each other.

    python -m benchmarks.accuracy ../shared/data [--grid]

The labelled set (`labelled`) says how each row was made, and nothing of what any system measures. Every system is given
all its texts at once, at its own default and, where it has such settings, at a threshold of 0.7 over 5 words with 128
permutations. What counts is what it keeps: of the copies of one text one is to stay, whichever it is.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import texts
from benchmarks.labelled import ALONE, OF_A_KIND, labelled
from benchmarks.measure import CACHE, Run, environment, result, run, show
from benchmarks.near_dedup import HERE, SYSTEMS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
RESAMPLES, SEED = 2_000, 0
SEMHASH = ["semhash==0.5.0", "wordllama==0.4.0.post1", "pyarrow"]
"""The embeddings are wordllama's: semhash's own are on a hub, and these come with the package."""


@dataclass(frozen=True)
class Setting:
    """A system at one setting."""

    system: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    by_kind: bool = False
    """Whether it stands in the tables of kinds."""


CORE = {"ngram": 2, "num_perm": 200, "threshold": 0.5, "b": 50, "r": 4, "min_length": 0}
"""What text-dedup's table of CORE was made with."""
NOISY = {"clean": {"unicode": "NFKC"}, "duplicates": {"threshold": 0.5, "shingle_words": 2}}
"""What a recipe says for texts that were read off paper."""
ASSAY, TOLD = "Assay", "Assay, told the answers"
SETTINGS = [
    Setting("assay", ASSAY, {"clean": {}}, True),
    Setting("text-dedup", "text-dedup", {"command": "minhash"}, True),
    Setting("data-juicer", "data-juicer", {}, True),
    Setting("datatrove", "datatrove", {}, True),
    Setting("semhash", "semhash (wordllama)", {}, True),
    Setting("text-dedup", "text-dedup, SimHash", {"command": "simhash"}),
    Setting("assay", "Assay, 0.7", {"duplicates": {"threshold": 0.7}}, True),
    Setting("text-dedup", "text-dedup, 0.7, 128", {"command": "minhash", "num_perm": 128}),
    Setting("data-juicer", "data-juicer, 0.7, 128", {"num_permutations": 128}),
    Setting("datatrove", "datatrove, 16 bands of 8", {"num_buckets": 16}),
    Setting("assay", "Assay, 0.5, 2 words, NFKC", NOISY, True),
    Setting("text-dedup", "text-dedup, 0.5, 2 words", {"command": "minhash"} | CORE, True),
    Setting("assay", TOLD, {"clean": {}, "answers": True}),
]
"""Defaults: Assay cleans and compares at 0.8; text-dedup has 250 permutations, data-juicer 256, datatrove 14 bands of
8; all compare 5 words, at 0.7 or about that. At equal settings Assay does not clean; 16 bands of 8 are a threshold of
0.707."""
GRID = [
    Setting(
        "assay",
        f"{words} words, {threshold}",
        {"clean": {"unicode": "NFKC"}, "duplicates": {"threshold": threshold, "shingle_words": words}},
    )
    for words in (5, 3, 2, 1)
    for threshold in (0.8, 0.7, 0.6, 0.5)
]
SCRIPTS = {name: name.replace("-", "_") for name in ("assay", "text-dedup", "data-juicer", "datatrove", "semhash")}


class Marks(NamedTuple):
    """What a system made of the rows, in their order."""

    kept: npt.NDArray[np.bool_]
    clusters: Ints


class Counts(NamedTuple):
    """Rows by what was to become of them and did; of each document."""

    went: Floats
    """To be removed as copies, and removed."""
    stayed: Floats
    """To stay, and kept."""
    missed: Floats
    """To be removed, and kept."""
    lost: Floats
    """To stay, and removed: texts of which no copy is left."""


def count(groups: Ints, documents: Ints, kept: npt.NDArray[np.bool_]) -> Counts:
    """Of each group of copies one row is to stay, whichever: so nothing depends on which one a system keeps.

    Args:
        groups: of each row, the text that it is a copy of.
        documents: of each row, what it was taken from; the rows of a group are of one.
    """
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    size, left = np.bincount(group), np.bincount(group, weights=kept)
    of = documents[first]
    room = int(documents.max()) + 1
    stays = np.minimum(left, 1)

    def by_document(values: Floats) -> Floats:
        return np.bincount(of, weights=values, minlength=room)

    return Counts(*map(by_document, (np.minimum(size - left, size - 1), stays, left - stays, 1 - stays)))


def scores(counts: Counts, weights: Floats | None = None) -> dict[str, Any]:
    """Precision, recall and F1 of both classes, their macro mean, and accuracy.

    Args:
        weights: of each document, shape (..., documents): the scores are then of that shape.
    """
    went, stayed, missed, lost = (
        (each if weights is None else weights @ each) for each in map(_summable(weights), counts)
    )

    def share(part: Any, *rest: Any) -> Any:
        return part / np.maximum(sum(rest, part), 1e-12)

    precision, recall = share(went, lost), share(went, missed)
    kept_precision, kept_recall = share(stayed, missed), share(stayed, lost)
    f1 = (share(2 * went, missed, lost) + share(2 * stayed, missed, lost)) / 2
    return {
        "macro F1": f1,
        "precision": precision,
        "recall": recall,
        "precision of others": kept_precision,
        "recall of others": kept_recall,
        "accuracy": share(went + stayed, missed, lost),
    }


def _summable(weights: Floats | None) -> Any:
    return np.sum if weights is None else np.asarray


def resamples(documents: int) -> Floats:
    """How often each document is drawn: shape (RESAMPLES, documents)."""
    draw = np.random.default_rng(SEED)
    return draw.multinomial(documents, np.full(documents, 1 / documents), RESAMPLES).astype(np.float64)


def interval(values: Floats) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def called(items: Ints, kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Of each item, whether a row of it was removed: that is, whether it was called a duplicate."""
    return np.bincount(items, weights=~kept) > 0


def documents_of(rows: pa.Table) -> Ints:
    names = pc.binary_join_element_wise(rows["source"], rows["document"], "/").combine_chunks().dictionary_encode()
    return names.indices.to_numpy().astype(np.int64)


def scored(rows: pa.Table, marks: Marks) -> dict[str, Any]:
    """What a system is worth: over all, with 95% intervals over documents, by kind and by source."""
    from sklearn.metrics import adjusted_rand_score

    groups, documents = rows["group"].to_numpy(), documents_of(rows)
    counts = count(groups, documents, marks.kept)
    drawn = scores(counts, resamples(int(documents.max()) + 1))
    all_rows = {name: (float(value), *interval(drawn[name])) for name, value in scores(counts).items()}
    sources, kinds = np.array(rows["source"]), np.array(rows["kind"])
    by_source = {}
    for source in dict.fromkeys(sources.tolist()):
        some = sources == source
        by_source[source] = float(scores(count(groups[some], documents[some], marks.kept[some]))["macro F1"])
    plain = np.array(rows["duplicate"]) | (kinds == "alone")
    return {
        "scores": all_rows,
        "without look-alikes": float(scores(count(groups[plain], documents[plain], marks.kept[plain]))["macro F1"]),
        "ARI": float(adjusted_rand_score(groups, marks.clusters)),
        "lost": int(counts.lost.sum()),
        "kinds": {kind: _by_kind(rows, marks.kept, kinds == kind) for kind in dict.fromkeys(kinds.tolist())},
        "sources": by_source,
    }


def _by_kind(rows: pa.Table, kept: npt.NDArray[np.bool_], some: npt.NDArray[np.bool_]) -> tuple[float, float, float]:
    """The share of a kind's items that was called duplicates, with its interval."""
    _, first, item = np.unique(rows["item"].to_numpy()[some], return_index=True, return_inverse=True)
    calls = called(item, kept[some]).astype(np.float64)
    of = np.unique(documents_of(rows)[some][first], return_inverse=True)[1]
    weights = resamples(int(of.max()) + 1)
    yes, all_ = np.bincount(of, weights=calls), np.bincount(of).astype(np.float64)
    return float(calls.mean()), *interval((weights @ yes) / (weights @ all_))


def marked(setting: Setting, python: Path, source: Path, folder: Path, ids: Sequence[int]) -> tuple[Run, Marks]:
    """A system's run over the texts of a folder, and what it made of them."""
    output = folder / "marks.parquet"
    script = HERE / "systems" / f"mark_with_{SCRIPTS[setting.system]}.py"
    variables = {"HF_HOME": folder / "hf", "DATA_JUICER_CACHE_HOME": folder / "dj"}
    if setting.system == "assay":
        variables["PYTHONPATH"] = HERE.parent
    done = run([python, script, source, output, json.dumps(setting.settings)], variables)
    table = pq.read_table(output)
    place = {id_: number for number, id_ in enumerate(table["id"].to_pylist())}
    order = np.array([place[id_] for id_ in ids])
    clusters = np.unique(np.array(table["cluster"].to_pylist()), return_inverse=True)[1]
    return done, Marks(table["kept"].combine_chunks().to_numpy(False)[order], clusters[order])


def report(rows: pa.Table, found: Mapping[str, tuple[Run, dict[str, Any]]]) -> None:
    """Print the tables."""
    percent = [
        [
            name,
            *(
                f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})"
                for value, low, high in told["scores"].values()
            ),
            f"{100 * told['without look-alikes']:.1f}",
            f"{told['ARI']:.3f}",
            told["lost"],
            f"{done.seconds:.0f}",
        ]
        for name, (done, told) in found.items()
    ]
    names = [*next(iter(found.values()))[1]["scores"]]
    show(
        f"{rows.num_rows:,} rows, %, with 95% intervals",
        ["", *names, "without look-alikes", "ARI", "lost", "seconds"],
        percent,
    )
    sources = sorted(set(rows.filter(rows["duplicate"])["source"].to_pylist()))
    lines = [[name, *(f"{100 * told['sources'][each]:.1f}" for each in sources)] for name, (_, told) in found.items()]
    show("Macro F1 by source, %", ["", *sources], lines)
    some = {each.name: found[each.name][1] for each in SETTINGS if each.by_kind and each.name in found}
    if not some:
        return
    duplicate = dict(zip(rows["kind"].to_pylist(), rows["duplicate"].to_pylist(), strict=True))
    number = pc.value_counts(rows["kind"].combine_chunks())
    count_of = {each["values"]: each["counts"] for each in number.to_pylist()}
    for yes, title in ((True, "Copies: % that were found"), (False, "Not copies: % that were called duplicates")):
        lines = []
        for kind in sorted((kind for kind in duplicate if duplicate[kind] == yes), key=_natural):
            shares = [told["kinds"][kind] for told in some.values()]
            widest = max((high - low) / 2 for _, low, high in shares)
            lines.append(
                [kind, count_of[kind], *(f"{100 * share:.0f}" for share, _, _ in shares), f"{100 * widest:.0f}"]
            )
        show(title, ["", "rows", *some, "± at most"], lines)


def _natural(kind: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", kind)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("shared", type=Path, help="the folder of real data sets")
    parser.add_argument("--of-a-kind", type=int, default=OF_A_KIND, help="pairs of each kind and source")
    parser.add_argument("--alone", type=int, default=ALONE, help="texts of each source without a copy")
    parser.add_argument("--systems", nargs="+", choices=[*SCRIPTS], default=[*SCRIPTS])
    parser.add_argument("--grid", action="store_true", help="Assay alone, by shingle and threshold")
    parser.add_argument("--peers", type=Path, default=CACHE, help="environments of the peers")
    options = parser.parse_args(arguments)
    settings = GRID if options.grid else [each for each in SETTINGS if each.system in options.systems]
    systems = {each.system for each in settings}
    requirements = {name: SYSTEMS[name].requirements for name in SCRIPTS if name in SYSTEMS} | {"semhash": SEMHASH}
    pythons = {
        name: environment(options.peers, name, requirements[name]) if name != "assay" else Path(sys.executable)
        for name in sorted(systems)
    }
    rows = labelled(options.shared, options.of_a_kind, options.alone)
    found: dict[str, tuple[Run, dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="accuracy-") as scratch:
        source = Path(scratch) / "texts"
        source.mkdir()
        half = -(-rows.num_rows // 2)  # two files, for two processes
        for number in range(2):
            part = rows.select(["id", "text", "answer"]).slice(number * half, half)
            pq.write_table(part, source / f"{number}.parquet")
        given = texts.describe(source)
        few = Path(scratch) / "few"
        few.mkdir()
        pq.write_table(rows.select(["id", "text", "answer"]).slice(0, 100), few / "0.parquet")
        if "assay" in systems:  # compiles its kernels, untimed
            marked(SETTINGS[0], pythons["assay"], few, Path(scratch), range(100))
        for setting in settings:
            folder = Path(scratch) / "run"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            done, marks = marked(setting, pythons[setting.system], source, folder, rows["id"].to_pylist())
            found[setting.name] = done, scored(rows, marks)
            print(f"{setting.name}: {done.seconds:.0f} s, {marks.kept.sum():,} rows kept", flush=True)
    report(rows, found)
    told = {name: judged for name, (_, judged) in found.items()}
    print(result("accuracy", given, {name: [done] for name, (done, _) in found.items()}, judged=told))


if __name__ == "__main__":
    main()
