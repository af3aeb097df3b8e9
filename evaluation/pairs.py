"""From mistake to data: the wrong answers of a system as pairs with the right ones, for training preferences.

Each pair is a row that the system was asked: `prompt`, `chosen` (the row's own answer) and `rejected` (what the system
said), as lists of messages; why the answer is wrong; and where the pair comes from. The file is one that trl's trainers
and `datasets.load_dataset` take, and `train.preferences` reads.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import AssayError
from curate.manifest import DatasetManifest
from curate.store import Store, verified
from evaluation.card.compare import PREDICTIONS, system_of
from evaluation.card.format import read_scorecard
from evaluation.card.manifest import EvaluationInputs, ScorecardManifest
from evaluation.settings import Split
from train.examples import read_split
from train.manifest import DatasetParent

Why = Literal["not_json", "schema", "fields", "text"]

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "cluster": pa.string(),
        "prompt": MESSAGES,
        "chosen": MESSAGES,
        "rejected": MESSAGES,
        "truncated": pa.bool_(),
        "why": pa.string(),
        "detail": pa.string(),
        "dataset": pa.string(),
        "split": pa.string(),
        "scorecard": pa.string(),
        "system": pa.string(),
    }
)
"""`id` and `cluster` are those of the data set's row; `truncated`: whether the rejected answer was cut off; `why`: it
is no JSON (`not_json`), breaks the schema (`schema`), has wrong fields (`fields`) or, of plain chat, is another text
(`text`); `detail`, what is wrong in words; `dataset` and `scorecard` are NAME/VERSION."""


@dataclass(frozen=True)
class Collected:
    """The pairs of one system of a scorecard."""

    scorecard: str
    system: str
    split: Split
    pairs: list[dict[str, Any]]
    """Rows of SCHEMA."""
    asked: int
    """Rows that the system was asked."""

    @property
    def right(self) -> int:
        """Answers that are right, by their fields' rules too, or accepted: of them there is no pair."""
        return self.asked - len(self.pairs)

    @property
    def why(self) -> Counter[str]:
        return Counter(pair["why"] for pair in self.pairs)

    def write(self, out: Path) -> None:
        """Write the pairs as Parquet, or as JSON Lines where the name ends in .jsonl.

        Raises:
            AssayError: the file is there already, or is to be of another kind.
        """
        if out.suffix not in (".parquet", ".jsonl"):
            raise AssayError(f"{out}: pairs are written as .parquet or .jsonl.", remedy="Name such a file.")
        if out.exists():
            raise AssayError(f"{out} is there already.", remedy="Name a new file: nothing is overwritten.")
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(self.pairs, SCHEMA), out)
        else:
            lines = (json.dumps(pair, ensure_ascii=False) + "\n" for pair in self.pairs)
            out.write_text("".join(lines), encoding="utf-8")


def scorecard_of(store: Store, named: str, split: Split) -> Path:
    """The folder of the scorecard that is meant by a path, NAME/VERSION or NAME: of these the last one that asked rows
    of a split in place of the recipe's, where there is one.

    Raises:
        AssayError: there is none.
    """
    told = reversed([event["version"] for event in store.told("scorecards", named) if event.get("asked") == split])
    folders = (store.root / "scorecards" / named / version for version in told)
    return next((folder for folder in folders if folder.is_dir()), None) or store.resolve("scorecards", named)


def collect(scorecard: Path, store: Store, split: Split = "train", system: str | None = None) -> Collected:
    """The wrong answers of one system, each with the row's own.

    Args:
        scorecard: a scorecard's folder.
        store: that has the data set version whose rows were asked.
        split: whose rows were asked. Said where it is not train: pairs of rows that a model is judged by are not to be
            trained before it is judged by them.
        system: by default `tuned`, or the only one there is.

    Raises:
        AssayError: the scorecard is of replies from files, or of rows of another split; its data set version is not
            there; or every answer is right.
    """
    manifest = ScorecardManifest.read(scorecard)
    name = f"{manifest.name}/{manifest.version}"
    inputs = manifest.inputs
    if not isinstance(inputs, EvaluationInputs):
        raise AssayError(
            f"Scorecard {name}: its replies come from files, so what they were asked is not known.",
            remedy="Name a scorecard of `assay evaluate RECIPE`.",
        )
    if inputs.asked is not None:
        raise AssayError(
            f"Scorecard {name} is of an experiment: it asked test rows of {inputs.asked.dataset}.",
            remedy="Name a scorecard of `assay evaluate RECIPE --split train`.",
        )
    asked = inputs.settings.get("split", "test")
    if asked != split:
        why = {
            "train": "",
            "validation": "A model that has trained on validation rows must not choose its checkpoint by them. ",
            "test": "`assay evaluate RECIPE --split train` asks rows that may be trained on. ",
        }
        raise AssayError(
            f"Scorecard {name} asked rows of the {asked} split, not of {split}.",
            remedy=f"{why[asked]}To collect pairs of {asked} rows all the same: --split {asked}.",
        )
    rows = {row["id"]: row for row in read_split(_version(inputs.dataset, store), split, ["id", "cluster", "messages"])}
    chosen = system_of(read_scorecard(scorecard), scorecard, system)
    predictions = pq.read_table(verified(scorecard, PREDICTIONS), filters=[("system", "=", chosen)]).to_pylist()
    origin = {"dataset": str(inputs.dataset), "split": split, "scorecard": name, "system": chosen}
    pairs = [_pair(rows[each["id"]], each) | origin for each in predictions if _wrong(each)]
    if not pairs:
        raise AssayError(
            f"Scorecard {name}: all {len(predictions):,} answers of {chosen} are right; there is nothing to pair.",
            remedy="Ask more rows (evaluation.rows), or another system: --system "
            + " or ".join(read_scorecard(scorecard)["systems"])
            + ".",
        )
    return Collected(name, chosen, split, pairs, len(predictions))


def _version(dataset: DatasetParent, store: Store) -> Path:
    version = store.resolve("datasets", str(dataset))
    if DatasetParent.of(DatasetManifest.read(version)) != dataset:
        raise AssayError(
            f"{version}: not the data set version that was asked: its manifest is another.",
            remedy="Name the store that the scorecard was made in.",
        )
    return version


def _wrong(said: Mapping[str, Any]) -> bool:
    return not (said["exact_match"] or said["whole_match"] or said["rules_match"])


def _pair(row: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    *prompt, answer = row["messages"]
    why, detail = _fault(said)
    return {
        "id": row["id"],
        "cluster": row["cluster"],
        "prompt": _plain(prompt),
        "chosen": _plain([answer]),
        "rejected": [{"role": "assistant", "content": said["output"]}],
        "truncated": said["truncated"],
        "why": why,
        "detail": detail,
    }


def _fault(said: Mapping[str, Any]) -> tuple[Why, str]:
    """Why an answer is wrong."""
    if said["form"] is None:
        return "text", ""
    if not said["schema_valid"]:
        told = f"{said['form']}: {said['detail']}" if said["detail"] else said["form"]
        return "schema" if said["parses"] else "not_json", told
    wrong = [name for name, field in (said.get("fields") or {}).items() if not field["match"]]
    return "fields", ", ".join([*wrong, *said["missing_keys"], *said["invented_keys"]])


def _plain(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [{"role": each["role"], "content": each["content"]} for each in messages]
