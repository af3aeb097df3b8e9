"""The closing tables, made from what is published: the terminal prints them, Prefect keeps them as artifacts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.pipeline import Curated
from curate.split import SPLITS
from curate.store import read_manifest


@dataclass(frozen=True)
class Table:
    """A titled table of text."""

    key: str
    """Short name, e.g. "quarantine"."""
    title: str
    columns: list[str]
    rows: list[list[str]]

    def records(self) -> list[dict[str, str]]:
        """One dict per row, as Prefect's table artifacts want them."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def markdown(self) -> str:
        """A GitHub-flavoured Markdown table under its title."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        return f"### {self.title}\n\n{table}\n"


def curation_tables(curated: Curated) -> list[Table]:
    """The data set in numbers, its quarantine by reason, and its stages."""
    manifest = curated.manifest
    return [_counts(manifest), _quarantine(manifest), _stages(curated)]


def _counts(manifest: Mapping[str, Any]) -> Table:
    counts = manifest["counts"]
    rows = [
        ("rows in", counts["in"]),
        ("kept", counts["kept"]),
        *((f"  {name}", counts["splits"][name]) for name in SPLITS),
        ("quarantined", counts["quarantined"]),
        ("clusters of near-duplicates, and rows alone", counts["clusters"]),
        ("conflicts: equal prompts, different answers", counts["conflicts"]),
    ]
    title = f"Data set {manifest['name']}/{manifest['version']}"
    return Table("data-set", title, ["", "rows"], [[name, f"{number:,}"] for name, number in rows])


def _quarantine(manifest: Mapping[str, Any]) -> Table:
    reasons = [
        (rows, stage["name"], reason) for stage in manifest["stages"] for reason, rows in stage["reasons"].items()
    ]
    reasons.sort(key=lambda each: (-each[0], each[1], each[2]))
    rows = [[reason, stage, f"{number:,}"] for number, stage, reason in reasons]
    return Table("quarantine", "Quarantine", ["reason", "stage", "rows"], rows)


def _stages(curated: Curated) -> Table:
    columns = ["stage", "rows in", "kept", "quarantined", "seconds", "shards from cache"]
    rows = [
        [
            stage["name"],
            f"{stage['rows_in']:,}",
            f"{stage['kept']:,}",
            f"{stage['rejected']:,}",
            f"{curated.seconds[stage['name']]:.1f}",
            "{} of {}".format(*curated.cached[stage["name"]]),
        ]
        for stage in curated.manifest["stages"]
    ]
    return Table("stages", "Stages", columns, rows)


def training_tables(adapter: Path) -> list[Table]:
    """What the adapter of a folder was trained on, and what it did to the loss."""
    manifest = read_manifest(adapter)
    loss = manifest["loss"]
    before, *after = loss["validation"]
    rows = [
        ["data set", "{name}/{version}".format(**manifest["inputs"]["dataset"])],
        ["base model", manifest["inputs"]["base"]["model"]],
        ["rows", f"{manifest['rows']['train']:,}"],
        ["epochs", f"{len(loss['train'])}"],
        ["tokens seen", f"{manifest['tokens']['seen']:,}"],
        ["of them trained", f"{manifest['tokens']['trained']:,}"],
        ["validation loss before", f"{before:.3f}"],
        ["validation loss after each epoch", ", ".join(f"{value:.3f}" for value in after)],
        ["training loss of each epoch", ", ".join(f"{value:.3f}" for value in loss["train"])],
    ]
    return [Table("adapter", f"Adapter {manifest['name']}/{manifest['version']}", ["", "value"], rows)]
