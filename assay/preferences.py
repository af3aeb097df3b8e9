"""The door's way from mistakes to data: a system's wrong answers as pairs to train preferences on."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from assay.door import Place, split_named, store_of
from assay.result import Result
from assay.results import Scorecard

if TYPE_CHECKING:
    from curate.table import Table
    from evaluation.pairs import Collected

WORDS = {
    "not_json": "is no JSON",
    "schema": "breaks the schema",
    "fields": "has wrong fields",
    "text": "is another text",
}


@dataclass(frozen=True)
class Pairs(Result):
    """Pairs of a right and a wrong answer that were written."""

    collected: "Collected"
    file: Path

    def __repr__(self) -> str:
        return f"Pairs({self.file}: {len(self.collected.pairs):,} of {self.collected.asked:,} answers)"

    def tables(self) -> "list[Table]":
        from curate.table import Table

        found = self.collected
        rows = [
            ["scorecard", found.scorecard],
            ["system", found.system],
            [f"{found.split} rows asked", f"{found.asked:,}"],
            ["answered right, or as is accepted", f"{found.right:,}"],
            *([f"rejected: {WORDS[why]}", f"{count:,}"] for why, count in found.why.most_common()),
            ["pairs", f"{len(found.pairs):,}"],
        ]
        return [Table("pairs", "Pairs", ["", "value"], rows)]

    def places(self) -> dict[str, Path]:
        return {"pairs": self.file}

    def data(self) -> dict[str, Any]:
        from evaluation.pairs import Why

        found = self.collected
        return {
            "file": self.file,
            "scorecard": found.scorecard,
            "system": found.system,
            "split": found.split,
            "asked": found.asked,
            "right": found.right,
            "pairs": len(found.pairs),
            "why": {kind: found.why.get(kind, 0) for kind in get_args(Why)},
        }


def pairs(
    scorecard: Scorecard | Place,
    out: Place = "pairs.parquet",
    *,
    split: str = "train",
    system: str | None = None,
    store: Place | None = None,
) -> Pairs:
    """Collect the wrong answers of a system, each with the row's own answer, for `training.objective: dpo`.

    Args:
        scorecard: a scorecard, or its folder, NAME/VERSION or NAME: the last one that asked the split.
        out: new file, .parquet or .jsonl.
        split: whose rows the scorecard asked; to be said where they are not those of train.
        system: whose answers; by default the tuned one's, or those of the only one.
        store: folder that Assay writes to; by default the scorecard's.

    Raises:
        AssayError: there is no such scorecard or system, it asked rows of another split, nothing is wrong, or the file
            is there already.
    """
    from evaluation.pairs import collect, scorecard_of

    of = split_named(split)
    if isinstance(scorecard, Scorecard):
        target, folder = scorecard.made.store if store is None else store_of(store), scorecard.folder
    else:
        target = store_of(store)
        folder = scorecard_of(target, str(scorecard), of)
    found = collect(folder, target, of, system)
    found.write(Path(out))
    return Pairs(found, Path(out))
