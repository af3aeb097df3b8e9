"""What is told of a data set version, of its check and of its index, in tables made from what is published."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow.compute as pc

from curate.manifest import DatasetManifest
from curate.publish.check_result import Check
from curate.publish.counters import COUNTED, RENDERED, in_words
from curate.publish.shown_rows import matching
from curate.publish.version import Curated
from curate.read.shapes import SHAPES
from curate.record import SPLITS
from curate.sets.index import Index
from curate.stage import UNREAD_KEY
from curate.store import verified
from curate.table import Table

CHANGED_FILE = (
    "Most rows went for rows of an earlier version from a file of the same name: it has grown or was mended. If the "
    "drop is a folder that grows, say `drop_is: appended`: a version then holds all of its rows. If it is all the rows "
    "there are, mended ones in place of the old, say `drop_is: all`. Each row keeps the split it was in."
)
MISSING = (
    "{} rows that earlier versions published are missing from the drop, which is to be a folder that grows: they stay "
    "in those versions alone. If drops are deliveries, say `drop_is: delivery`; if this one is all the rows there are, "
    "`drop_is: all`."
)


def curation_tables(curated: Curated) -> list[Table]:
    """The data set in numbers, its quarantine by reason and warnings if there are any, its stages, and what is odd if
    anything is."""
    manifest = curated.manifest
    quarantined = [_quarantine(manifest)] if manifest.counts.quarantined else []
    warned = [[stage.name, warning] for stage in manifest.stages for warning in stage.warnings]
    warned += [["gate", f"{rule.name}: {rule.observed}; expected {rule.expected}"] for rule in manifest.gate.warnings()]
    warnings = [Table("warnings", "Warnings", ["stage", "what to look at"], warned, texts=2)] if warned else []
    said = [MISSING.format(f"{manifest.counts.missing:,}")] if manifest.counts.missing else []
    said += [CHANGED_FILE] if _is_changed_file(curated) else []
    notes = [Table("notes", "Note", [""], [[each] for each in said])] if said else []
    return [_counts(manifest), *quarantined, *warnings, _stages(curated), *notes]


def _is_changed_file(curated: Curated) -> bool:
    """Whether most rows went for those that an earlier version has from a file of the same name, as their duplicates or
    as answers that contradict them."""
    counts = curated.manifest.counts
    if sum(stage.rejected for stage in curated.manifest.stages if stage.name == "duplicates") <= counts.rows_in / 2:
        return False
    reasons = pc.field("reason").isin(["exact_duplicate", "near_duplicate", "conflict"])
    file = verified(curated.folder, "quarantine.parquet")
    rows = matching(file, (pc.field("stage") == "duplicates") & reasons, ["source", "evidence"])
    return sum(map(_of_its_file, rows)) > counts.rows_in / 2


def _of_its_file(row: dict[str, Any]) -> bool:
    """Whether a row went for one that an earlier version has from a file of its name."""
    seen = orjson.loads(row["evidence"])
    earlier = (each for each in seen.get("earlier", [seen]) if each.get("version"))
    return any(each["file"] == row["source"]["file"] for each in earlier)


def _counts(manifest: DatasetManifest) -> Table:
    counts = manifest.counts
    read = manifest.stages[0].counters
    rendered = next((stage.counters for stage in manifest.stages if stage.name == "render"), {})
    rows = [
        ("rows in", counts.rows_in),
        *((f"  read as {shape}", read[shape]) for shape in SHAPES if shape in read),
        *((f"  {said}", read[told]) for told, said in COUNTED.items() if told in read),
        *((f"  {in_words(name)}", count) for name, count in read.items() if name.startswith(UNREAD_KEY)),
        *([("made by dividing others", counts.made)] if counts.made else []),
        ("kept", counts.kept),
        *((f"  {said}", rendered[told]) for told, said in RENDERED.items() if rendered.get(told)),
        *((f"  {name}", counts.splits[name]) for name in SPLITS),
        ("quarantined", counts.quarantined),
        ("clusters of near-duplicates, and rows alone", counts.clusters),
        ("conflicts: equal prompts, different answers", counts.conflicts),
    ]
    title = f"Data set {manifest.name}/{manifest.version}"
    return Table("data-set", title, ["", "rows"], [[name, f"{number:,}"] for name, number in rows])


def _quarantine(manifest: DatasetManifest) -> Table:
    reasons = [(rows, stage.name, reason) for stage in manifest.stages for reason, rows in stage.reasons.items()]
    reasons.sort(key=lambda each: (-each[0], each[1], each[2]))
    rows = [[reason, stage, f"{number:,}"] for number, stage, reason in reasons]
    return Table("quarantine", "Quarantine", ["reason", "stage", "rows"], rows)


def _stages(curated: Curated) -> Table:
    columns = ["stage", "rows in", "kept", "quarantined", "seconds", "shards from cache"]
    rows = [
        [
            stage.name,
            f"{stage.rows_in:,}",
            f"{stage.kept:,}",
            f"{stage.rejected:,}",
            *_how(curated, stage.name),
        ]
        for stage in curated.manifest.stages
    ]
    rows += [
        [step, "", "", "", f"{curated.seconds[step]:.1f}", ""]
        for step in ("gate", "publish", "index")
        if step in curated.seconds
    ]
    return Table("stages", "Stages", columns, rows)


def _how(curated: Curated, stage: str) -> tuple[str, str]:
    """Seconds of a stage, and its shards from the cache; nothing of a version that was made some other time."""
    if stage not in curated.seconds:
        return "", ""
    return f"{curated.seconds[stage]:.1f}", "{} of {}".format(*curated.cached[stage])


def check_tables(folder: Path, checks: Sequence[Check]) -> list[Table]:
    """What was checked of a version, how much of it, and whether it holds."""
    columns = ["it holds that", "law", "compared", "which", "result"]
    rows = [
        [
            each.claim,
            each.law,
            f"{each.compared:,} {each.what}",
            each.how,
            f"FAILS: {each.failures:,}" if each.failures else "yes",
        ]
        for each in checks
    ]
    return [Table("check", f"Check of {folder.parent.name}/{folder.name}", columns, rows)]


def index_tables(index: Index) -> list[Table]:
    """An index in numbers, and what it was made with."""
    segments = index.segments()
    size = sum(path.stat().st_size for path in (index.folder / "segments").glob("*")) / 2**20
    rows = [
        ["versions", f"{sum(len(segment.versions) for segment in segments):,}"],
        ["rows", f"{sum(segment.rows.num_rows for segment in segments):,}"],
        ["segments", f"{len(segments):,}"],
        ["MiB", f"{size:,.1f}"],
        *([key, str(value)] for key, value in index.parameters.items()),
    ]
    return [Table("index", f"Index of {index.name}", ["", "value"], rows)]
