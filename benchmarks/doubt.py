"""Doubted labels against planted errors, and what a classifier is worth with them, without them, and with none planted.

    assay curate licences --store STORE
    python -m benchmarks.doubt STORE ../shared/data [--plot docs/doubt.svg] [--sets licences cuad lingua]

Of three sets of real rows (licence notices by category; CUAD's clauses by type, each contract a group; sentences by
language) one label in twenty is replaced: by any other one, or by that of the nearest row of another label, which is
how people err. A row is right to be doubted if its label was planted; errors that the sets have had before count as
false alarms. The baseline `tfidf` then learns from four folds as they are, from those without the doubted rows, and
from those with their true labels, and is asked the true labels of the fifth; intervals are of groups of rows.
"""

import argparse
import ast
import csv
import json
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import show
from curate.record import SPLITS
from curate.sets.doubt import can_be_judged, issues
from curate.sets.out_of_sample import deal, nearest, probabilities, terms, words_and_pairs
from curate.store import Store
from evaluation.ask.baselines import TFIDF_ROWS, tfidf
from evaluation.card.statistics import Rows, compared, share
from evaluation.judge.structured import Judge

WRONG = 0.05
FOLDS = 5
OF_A_LANGUAGE = 100
COLOURS = {"licences": "#4878c0", "cuad": "#c05a48", "lingua": "#2f8f6b"}
WIDTH, HEIGHT, LEFT, TOP = 420, 300, 50, 24

Ints = npt.NDArray[np.int64]


class Labelled(NamedTuple):
    """Texts with their labels, and what each is tied into."""

    texts: list[str]
    labels: Ints
    ties: Ints

    def some(self, rows: Ints) -> "Labelled":
        labels = np.unique(self.labels[rows], return_inverse=True)[1]
        return Labelled([self.texts[row] for row in rows], labels, self.ties[rows])


def labelled(rows: Sequence[tuple[str, str, Any]]) -> Labelled:
    """(text, label, what it is tied into), of labels that can be judged."""
    texts, labels, ties = zip(*sorted(rows), strict=True)
    numbers = [np.unique(each, return_inverse=True)[1].astype(np.int64) for each in (labels, ties)]
    judged, _ = can_be_judged(*numbers, FOLDS)
    return Labelled(list(texts), *numbers).some(judged)


def licences(store: Path) -> list[tuple[str, str, str]]:
    """The published notices: text, category, cluster."""
    version = Store(store).resolve("datasets", "licences")
    tables = [pq.read_table(version / f"{split}.parquet", columns=["turns", "label", "cluster"]) for split in SPLITS]
    return [(row["turns"][0]["content"], row["label"], row["cluster"]) for row in pa.concat_tables(tables).to_pylist()]


def cuad(shared: Path) -> list[tuple[str, str, str]]:
    """Clauses: text, type, contract; those of one type alone, each text once."""
    types: dict[str, set[str]] = {}
    contract: dict[str, str] = {}
    with (shared / "legal_cuad/master_clauses.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for name in row:
                if name == "Filename" or name.endswith("-Answer") or not row[name].startswith("["):
                    continue
                for text in ast.literal_eval(row[name]):
                    types.setdefault(text.strip(), set()).add(name)
                    contract.setdefault(text.strip(), row["Filename"])
    return [(text, *found, contract[text]) for text, found in types.items() if text and len(found) == 1]


def lingua(shared: Path) -> list[tuple[str, str, str]]:
    """The first sentences of each language: text, language, text."""
    found = []
    with tarfile.open(shared / "lang_lingua_testdata/language-testdata.tar.xz") as archive:
        for member in archive:
            if member.name.startswith("sentences/") and (file := archive.extractfile(member)):
                lines = [line for line in file.read().decode().splitlines() if line.strip()]
                found += [(line, Path(member.name).stem, line) for line in lines[:OF_A_LANGUAGE]]
    return found


def planted(rows: Labelled, vectors: Any, how: str) -> Ints:
    """The labels with some of them wrong."""
    draw = np.random.default_rng(0)
    chosen = np.sort(draw.permutation(len(rows.labels))[: round(WRONG * len(rows.labels))])
    labels = rows.labels.copy()
    if how == "any":
        labels[chosen] = (labels[chosen] + draw.integers(1, labels.max() + 1, len(chosen))) % (labels.max() + 1)
        return labels
    for label in np.unique(rows.labels[chosen]):
        mine, others = chosen[rows.labels[chosen] == label], np.flatnonzero(rows.labels != label)
        like = nearest(vectors, mine, others, 1)
        labels[mine] = [rows.labels[each[0][0] if each else others[0]] for each in like]
    return labels


def measured(name: str, rows: Labelled, how: str) -> dict[str, Any]:
    """How well the planted errors are found, and what the baseline is worth."""
    vectors = terms(*words_and_pairs(pa.array(rows.texts)), int(rows.labels.max()) + 1)
    given = planted(rows, vectors, how)
    wrong = given != rows.labels
    fold = deal(given, rows.ties, FOLDS)
    began = time.process_time()
    probable = probabilities(vectors, given, fold)
    doubts = issues(given, probable)
    seconds = time.process_time() - began
    ranked = np.argsort(probable[np.arange(len(given)), given], kind="stable")
    hits = np.cumsum(wrong[ranked])
    count = int(wrong.sum())
    tops = {f"{part:g}": float(hits[int(part * count) - 1] / int(part * count)) for part in (0.25, 0.5, 1)}
    return {
        "set": name,
        "planted": how,
        "rows": len(given),
        "labels": int(given.max()) + 1,
        "wrong": count,
        "doubted": len(doubts),
        "precision": float(wrong[doubts].mean()),
        "recall": float(wrong[doubts].sum() / count),
        "top": tops,
        "seconds": round(seconds, 1),
        "curve": [
            (round(float(hits[at] / count), 3), round(float(hits[at] / (at + 1)), 3))
            for at in np.unique(np.geomspace(count / 20, 3 * count, 60).astype(int))
        ],
        "tfidf": worth(rows, given, fold, doubts),
    }


def worth(rows: Labelled, given: Ints, fold: Ints, doubts: Ints) -> dict[str, Any]:
    """Of a fold that it has not seen, how many rows the baseline `tfidf` knows the true label of."""
    asked, learned = np.flatnonzero(fold == 0), np.flatnonzero(fold != 0)
    learned = learned[np.sort(np.random.default_rng(0).permutation(len(learned))[:TFIDF_ROWS])]
    names = [str(label) for label in range(int(given.max()) + 1)]
    fields = Judge({"type": "object", "properties": {"label": {"enum": names}}, "required": ["label"]}, {}).fields
    arms = {
        "planted": (learned, given),
        "cleaned": (learned[~np.isin(learned, doubts)], given),
        "true": (learned, rows.labels),
    }
    right = {}
    for arm, (taught, labels) in arms.items():
        texts, questions = ([rows.texts[row] for row in part] for part in (taught, asked))
        answers = tfidf(texts, [{"label": names[labels[row]]} for row in taught], questions, fields, 0)
        right[arm] = np.array(
            [answer["label"] == names[rows.labels[row]] for answer, row in zip(answers, asked, strict=True)]
        )
    groups = Rows(rows.ties[asked].tolist(), len(asked))
    shares = {arm: share(each, groups) for arm, each in right.items()}
    differences = {
        arm: compared(right[arm].astype(float), right["planted"].astype(float), groups) for arm in ("cleaned", "true")
    }
    return {"rows": len(asked), "shares": shares, "against_planted": differences}


def curves(found: Sequence[dict[str, Any]]) -> str:
    """Precision by recall as an SVG, with a dot where the stage draws the line."""

    def at(recall: float, precision: float) -> str:
        return f"{LEFT + WIDTH * recall:.1f},{TOP + HEIGHT * (1 - precision):.1f}"

    shapes = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 200} {TOP + HEIGHT + 40}" '
        'font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/><g fill="#555">',
        f'<text x="{LEFT}" y="14">precision (of the rows most doubted, those planted)</text>',
        f'<text x="{LEFT + WIDTH / 2}" y="{TOP + HEIGHT + 34}" text-anchor="middle">recall (of those planted)</text>',
    ]
    for part in (0, 0.25, 0.5, 0.75, 1):
        x, y = LEFT + WIDTH * part, TOP + HEIGHT * (1 - part)
        shapes += [
            f'<text x="{x}" y="{TOP + HEIGHT + 16}" text-anchor="middle">{part:g}</text>',
            f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{part:g}</text>',
            f'<path d="M{LEFT} {y}H{LEFT + WIDTH}" stroke="#999" stroke-opacity="0.3"/>',
        ]
    for number, each in enumerate(found):
        colour = COLOURS[each["set"]]
        dashes = "" if each["planted"] == "any" else ' stroke-dasharray="5 3"'
        points = " ".join(at(*point) for point in each["curve"])
        x, y = at(each["recall"], each["precision"]).split(",")
        legend = TOP + 16 + 18 * number
        shapes += [
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"{dashes}/>',
            f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"/>',
            f'<path d="M{LEFT + WIDTH + 14} {legend - 4}h26" stroke="{colour}" stroke-width="1.8"{dashes}/>',
            f'<text x="{LEFT + WIDTH + 46}" y="{legend}">{each["set"]}, {each["planted"]} label</text>',
        ]
    return "\n".join([*shapes, "</g></svg>"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--plot", type=Path, help="an SVG to write")
    parser.add_argument(
        "--sets", nargs="+", default=["licences", "cuad", "lingua"], choices=["licences", "cuad", "lingua"]
    )
    options = parser.parse_args()
    found = []
    for name in options.sets:
        rows = labelled(
            {"licences": licences, "cuad": cuad, "lingua": lingua}[name](
                options.store if name == "licences" else options.shared
            )
        )
        for how in ("any", "like"):
            found.append(measured(name, rows, how))
            print(json.dumps({key: value for key, value in found[-1].items() if key != "curve"}), flush=True)
    columns = ["set", "planted", "rows", "labels", "wrong", "doubted", "precision", "recall"]
    told = [[*(each[key] for key in columns), *each["top"].values(), each["seconds"]] for each in found]
    show("Planted errors found", [*columns, "top 1/4", "top 1/2", "top", "seconds"], told)
    if options.plot:
        options.plot.write_text(curves(found))
    print(json.dumps({"name": "doubt", "input": {"wrong": WRONG}, "found": found}))


if __name__ == "__main__":
    main()
