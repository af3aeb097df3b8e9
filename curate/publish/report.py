"""The data-quality report: report.html of a version, made from its manifest and the files beside it.

It shows what is published, and the same version gives the same bytes. It is one file that loads nothing: every text of
a row is escaped, or lies packed in it and is shown as text by the one script that its policy allows. Rows are hostile.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.examples import Example
from curate.manifest import DatasetManifest
from curate.publish.bars import RARE, by_length, by_size, by_value, changes, nearest_quantiles
from curate.publish.counters import in_words
from curate.publish.decided_lines import decided_lines
from curate.publish.doubted import doubted_rows
from curate.publish.findings import Facts, findings
from curate.publish.grounded import grounded_fields
from curate.publish.pages import inlined, report_environment
from curate.publish.rejected import Rejected, rejected_rows
from curate.publish.shown_rows import EXAMPLES, changes_of, conflicts, differences, excerpt, kept_rows, rows_at, seen
from curate.publish.since_parent import since_parent
from curate.record import SPLITS, pages_of
from curate.rows.ground import Ground
from curate.rows.renderer import Renderer
from curate.rows.tokens import Token, tokens_of

MOST_TOKENS = 400
"""Tokens of a row that are shown; of a longer one its first half and its last."""
REJECTED = ["id", "turns", "target", "source", "evidence", "raw"]
"""Columns of a rejected row that are shown."""
RENDERED = (0.1, 0.5, 0.9)
"""Which rows are shown as tokens: those of these quantiles of the lengths."""


@dataclass(frozen=True)
class Beside:
    """What a report tells that is not in the version's own files."""

    masked: Mapping[str, list[Example]] = field(default_factory=dict)
    """Personal data that was replaced, by kind: examples in which the values are masked."""
    renderer: Renderer | None = None
    """Of the base model, to show rows as tokens."""
    parent: DatasetManifest | None = None
    """The last version whose rows these were compared with."""
    refused: str = ""
    """Why it is no version and was not published."""
    rejected: Rejected | None = None
    """The rejected rows; by default they are found in the version's files."""


def write_report(folder: Path, manifest: DatasetManifest, beside: Beside | None = None) -> None:
    """Write report.html.

    Args:
        folder: holds the splits' Parquet files, quarantine.parquet, conflicts.parquet and what else stages publish.
        manifest: of the version.
        beside: what else is told.
    """
    beside = beside or Beside()
    columns = ["label", "language", "tokens", "cluster", "group"]
    rows = {split: pq.read_table(folder / f"{split}.parquet", columns=columns) for split in SPLITS}
    whole = pa.concat_tables(rows.values())
    environment = report_environment()
    text = environment.get_template("report.html.jinja").render(
        style=inlined(environment, "style.css", "tokens.css", "report.css"),
        script=inlined(environment, "report.js", "doubted.js"),
        manifest=manifest.content(),
        refused=beside.refused,
        splits=SPLITS,
        findings=findings(Facts(manifest, rows, _near_duplicates(folder), beside.parent)),
        reasons=_reasons(folder),
        rejected=beside.rejected or rejected_rows(folder),
        distributions=[
            {"name": "Label", "note": "What the split is stratified by.", "bars": by_value(rows, "label")},
            {"name": "Language", "note": "ISO 639 code; und: too short to tell.", "bars": by_value(rows, "language")},
            {"name": "Length", "note": "Tokens of the rendered row, answer included.", "bars": by_length(rows)},
        ],
        quantiles={split: nearest_quantiles(table["tokens"]) for split, table in rows.items()},
        changes=changes(manifest.stages),
        parent=beside.parent,
        since=[] if beside.parent is None else since_parent(manifest, beside.parent),
        rare=RARE,
        sizes=[
            {"name": name, "plural": plural, "bars": by_size(whole[column])}
            for name, plural, column in (("Cluster", "clusters", "cluster"), ("Group", "groups", "group"))
            if whole[column].null_count < whole.num_rows
        ],
        conflicts=conflicts(folder),
        doubted=doubted_rows(folder),
        decided=decided_lines(folder),
        grounded=grounded_fields(folder, manifest),
        examples=[
            {"stage": stage.name, "rule": rule, "pairs": [changes_of(each) for each in found]}
            for stage in manifest.stages
            for rule, found in stage.examples.items()
            if found and stage.name != Ground.name
        ],
        masked={
            kind: [differences(each["before"], each["after"]) for each in found]
            for kind, found in beside.masked.items()
            if found
        },
        rendered=[] if beside.renderer is None else _rendered(folder, rows["train"], beside.renderer),
        in_words=in_words,
    )
    (folder / "report.html").write_text(text, encoding="utf-8")


def _near_duplicates(folder: Path) -> dict[str, int]:
    """The rows that went as near-duplicates, by the folder of their file, or the file where it lies in none."""
    wanted = pc.field("reason") == "near_duplicate"
    source = pq.read_table(folder / "quarantine.parquet", columns=["source"], filters=wanted)["source"]
    files = pc.struct_field(source, "file")
    counts = pc.value_counts(pc.replace_substring_regex(files, "(?s)^(.+)/[^/]*$", r"\1")).to_pylist()
    return {each["values"]: each["counts"] for each in counts}


def _reasons(folder: Path) -> list[dict[str, Any]]:
    """Why rows are in quarantine: by stage and reason, the most frequent first, with examples spread over the drop."""
    path = folder / "quarantine.parquet"
    table = pq.read_table(path, columns=["stage", "reason"])
    kinds = table.group_by(["stage", "reason"], use_threads=False).aggregate([])
    stages, reasons = (kinds[name].to_pylist() for name in ("stage", "reason"))
    places = {
        (stage, reason): pc.indices_nonzero(
            pc.and_(pc.equal(table["stage"], stage), pc.equal(table["reason"], reason))
        ).to_numpy()
        for stage, reason in zip(stages, reasons, strict=True)
    }
    chosen = {
        key: [int(found[len(found) * part // EXAMPLES]) for part in range(min(EXAMPLES, len(found)))]
        for key, found in places.items()
    }
    everything = {
        number: seen(row) | {"evidence": orjson.loads(row["evidence"])}
        for number, row in rows_at(path, sorted(row for rows in chosen.values() for row in rows), REJECTED)
    }
    kept = kept_rows(folder, {e["evidence"]["kept"] for e in everything.values() if "kept" in e["evidence"]})
    return [
        {
            "stage": stage,
            "reason": reason,
            "count": len(found),
            "examples": [_example(everything[row], kept) for row in chosen[stage, reason]],
        }
        for (stage, reason), found in sorted(places.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def _example(row: dict[str, Any], kept: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """A rejected row with its text in `parts`, and so that of the row kept in its place, if it is known."""
    other = kept.get(row["evidence"].get("kept"))
    shown = row | {"target": excerpt(row["target"])}
    if other is None:
        return shown | {"parts": [(False, excerpt(row["text"]))], "kept": None}
    parts, others = differences(row["text"], other["text"])
    return shown | {"parts": parts, "kept": other | {"parts": others, "target": excerpt(other["target"])}}


def _rendered(folder: Path, train: pa.Table, renderer: Renderer) -> list[dict[str, Any]]:
    """A few rows of train as training is given them, token by token: a short one, a middling one and a long one."""
    by_length = pc.sort_indices(train["tokens"])
    places = sorted({by_length[int(share * (len(by_length) - 1))].as_py() for share in RENDERED if len(by_length)})
    found = []
    for number, row in rows_at(folder / "train.parquet", places, ["id", "source", "messages"]):
        encoded = renderer.encode(row["messages"])
        tokens = tokens_of(encoded.input_ids, encoded.labels, renderer)
        found.append(
            {
                "source": f"train, row {number}" + (f": {pages}" if (pages := pages_of(row["source"])) else ""),
                "id": row["id"],
                "count": len(tokens),
                "trained": sum(token.trained for token in tokens),
                "pieces": _pieces(tokens),
            }
        )
    return sorted(found, key=lambda each: (each["count"], each["source"]))


def _pieces(tokens: list[Token]) -> list[list[Token]]:
    """The tokens, or the first and the last of many."""
    half = MOST_TOKENS // 2
    return [tokens] if len(tokens) <= MOST_TOKENS else [tokens[:half], tokens[-half:]]
