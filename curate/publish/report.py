"""What people read about a published version: the data set card (README.md) and the data-quality report (report.html).

Both are made from the manifest and the files beside it, so they show what is published; the same version gives the same
bytes. The report is one file that loads nothing, and every text of a row in it is escaped: rows are hostile.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from curate.contract import Contract, Field
from curate.distribution import quantiles
from curate.manifest import DatasetManifest, StageAccount
from curate.record import SPLITS
from curate.stage import UNREAD_KEY

COUNTED = {
    "duplicate_key": "with a key given twice, of which the last value counts",
    "empty_files": "(files of no bytes)",
    "encoding_guessed": "whose encoding is a guess",
    "reasoning_not_ended": "with reasoning that is begun and not ended",
    "null_arguments": "with arguments of calls that are null, which are left out",
    "weighted": "with a weight other than 1, which is not used",
    "weighted_messages": "with a weight of a message other than 1, which is not used",
}
"""What reading counts of rows beside their shapes, and what it is called."""
RENDERED = {
    "reasoning": "with reasoning before an answer",
    "reasoning_not_written": "(thoughts that are not written)",
    "untrained_turns": "(answers that stay in their conversation, not trained)",
}
"""What rendering counts, and what it is called."""
EXAMPLES = 3
"""Rows shown for each reason and for the conflicts."""
EXCERPT = 300
"""Characters shown of a row's text."""
RARE = 0.01
"""A label is called rare if a smaller share of the rows kept has it."""
CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
MARKUP = re.compile(r"[\\`*_\[\]<>#|~$&]|(?<=[A-Za-z]):(?=//)|(?<=\bwww)\.|^[-+=]|^\d+[.)]")
"""What Markdown takes for more than text."""
STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that no text shows, and by which it shows another."""
COLUMNS = tuple(
    Field(name, logical_type, False, description, "", "")
    for name, logical_type, description in (
        ("source", "object", "Where the row was read: drop (its hash), file, row (0-based)."),
        ("meta", "array", "Other values of the source, as key and value."),
        ("cluster", "string", "Near-duplicates share it; no cluster lies in two splits, and no group does."),
        (
            "messages",
            "array",
            "What the model is asked and answers, as the task template puts it, up to the last answer that is trained, "
            "with the reasoning that is written before an answer; `trained` is false where an answer is not trained.",
        ),
        ("text", "string", "The messages in the chat template."),
        ("tokens", "integer", "Length of the text in the base model's tokens."),
    )
)
"""Of every version, beside those that its contract documents."""
BARS = 12
"""Values of a distribution that get a bar of their own; the rarer ones share the last."""


def write_card(folder: Path, manifest: DatasetManifest, contract: Contract) -> None:
    """Write README.md: the data set card, with front matter that `datasets.load_dataset(folder)` reads.

    Args:
        folder: holds train, validation and test.parquet.
        manifest: of the version.
        contract: documents the fields.
    """
    rows = pa.concat_tables([pq.read_table(folder / f"{split}.parquet", columns=["language"]) for split in SPLITS])
    languages = [code for code, count in _ranked(rows["language"]) if code != "und" and count >= rows.num_rows / 100]
    front = {
        "pretty_name": one_line(contract.name),
        "license": one_line(contract.properties.get("license", "")),
        "language": languages,
        "task_categories": ["text-generation"],
        "tags": [one_line(tag) for tag in contract.tags],
        "size_categories": [_size_category(rows.num_rows)],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"{split}.parquet"} for split in SPLITS],
            }
        ],
    }
    front = {key: value for key, value in front.items() if value}
    header = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=float("inf"))
    page = report_environment().get_template("card.md.jinja")
    fields = [*contract.fields, *COLUMNS]
    text = page.render(header=header, manifest=manifest.content(), contract=contract, fields=fields, splits=SPLITS)
    (folder / "README.md").write_text(text, encoding="utf-8")


def in_words(counter: str) -> str:
    """What a counter of reading or rendering counts; nothing of others."""
    if counter.startswith(UNREAD_KEY):
        return f"with `{counter.removeprefix(UNREAD_KEY)}` in messages, which is not read"
    return (COUNTED | RENDERED).get(counter, "")


def write_report(folder: Path, manifest: DatasetManifest, refused: str = "") -> None:
    """Write report.html: the data-quality report, in one file.

    Args:
        folder: holds the splits' Parquet files, quarantine.parquet and conflicts.parquet.
        manifest: of the version.
        refused: why it is none and was not published.
    """
    columns = ["label", "language", "tokens", "cluster", "group"]
    rows = {split: pq.read_table(folder / f"{split}.parquet", columns=columns) for split in SPLITS}
    whole = pa.concat_tables(rows.values())
    page = report_environment().get_template("report.html.jinja")
    text = page.render(
        manifest=manifest.content(),
        refused=refused,
        splits=SPLITS,
        reasons=_reasons(folder),
        distributions=[
            {"name": "Label", "note": "What the split is stratified by.", "bars": _by_value(rows, "label")},
            {"name": "Language", "note": "ISO 639 code; und: too short to tell.", "bars": _by_value(rows, "language")},
            {"name": "Length", "note": "Tokens of the rendered row, answer included.", "bars": _by_length(rows)},
        ],
        quantiles={split: quantiles(table["tokens"]) for split, table in rows.items()},
        changes=_changes(manifest.stages),
        rare=RARE,
        sizes=[
            {"name": name, "plural": plural, "bars": _by_size(whole[column])}
            for name, plural, column in (("Cluster", "clusters", "cluster"), ("Group", "groups", "group"))
            if whole[column].null_count < whole.num_rows
        ],
        conflicts=_conflicts(folder),
        examples=_examples(manifest),
        in_words=in_words,
    )
    (folder / "report.html").write_text(text, encoding="utf-8")


def report_environment() -> SandboxedEnvironment:
    """Jinja for the templates of templates/report: sandboxed and strict, HTML escaped."""
    environment = SandboxedEnvironment(
        loader=FileSystemLoader(str(files("templates") / "report")),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["percent"] = lambda share: "<0.1%" if 0 < share < 0.0005 else f"{100 * share:.1f}%"
    environment.filters["json"] = as_json
    environment.filters["prose"] = prose
    environment.filters["code"] = code
    return environment


def as_json(value: Any) -> str:
    """A value as JSON of several lines, in which nothing steers what shows it."""
    lines = json.dumps(value, indent=2, ensure_ascii=False).split("\n")
    return "\n".join(STEERING.sub(lambda char: f"\\u{ord(char[0]):04x}", line) for line in lines)


def prose(text: str) -> str:
    """A contract's words as Markdown of one line that is text and nothing else: no tag, link, picture or heading.

    What stands between two backticks stays code, which is as inert.
    """
    parts = CODE.split(one_line(text))
    return "".join(code(part) if at % 2 else MARKUP.sub(_inert, part) for at, part in enumerate(parts))


def code(text: str) -> str:
    """A contract's words as a piece of code in Markdown, which may stand in a table."""
    return f"`{one_line(text).replace('`', chr(0x2019)) or ' '}`".replace("|", "\\|")


def one_line(text: str) -> str:
    """A contract's words in one line, in which nothing steers what shows it."""
    return STEERING.sub(lambda char: f"⟨U+{ord(char[0]):04X}⟩", " ".join(text.split()))


def _inert(sign: re.Match[str]) -> str:
    return {"<": "&lt;", ">": "&gt;", "&": "&amp;"}.get(sign[0], f"{sign[0][:-1]}\\{sign[0][-1]}")


def _size_category(rows: int) -> str:
    """The hub's name for a number of rows."""
    bounds = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M")]
    return next((name for bound, name in bounds if rows < bound), "n>10M")


def _ranked(values: pa.ChunkedArray) -> list[tuple[str, int]]:
    """Values and how often they occur, the most frequent first, ties by name."""
    counts = Counter("(none)" if value is None else str(value) for value in values.to_pylist())
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _by_value(rows: dict[str, pa.Table], column: str) -> list[dict[str, Any]]:
    """Bars of a column's values: how many rows of each split have it."""
    counts = {split: dict(_ranked(table[column])) for split, table in rows.items()}
    total: Counter[str] = Counter()
    for each in counts.values():
        total.update(each)
    names = [name for name, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))]
    bars = [(name, [name]) for name in names[:BARS]]
    if len(names) > BARS:
        bars.append((f"{len(names) - BARS} others", names[BARS:]))
    return _bars([(name, {s: sum(counts[s].get(n, 0) for n in members) for s in rows}) for name, members in bars], rows)


def _by_length(rows: dict[str, pa.Table]) -> list[dict[str, Any]]:
    """Bars of lengths in tokens, each bin twice as wide as the one before."""
    bins = {
        split: Counter(length.bit_length() for length in table["tokens"].to_pylist()) for split, table in rows.items()
    }
    found = [size for each in bins.values() for size in each]
    spans = range(min(found, default=0), max(found, default=-1) + 1)
    return _bars([(f"{1 << size >> 1}–{(1 << size) - 1}", {s: bins[s][size] for s in rows}) for size in spans], rows)


def _bars(counts: list[tuple[str, dict[str, int]]], rows: dict[str, pa.Table]) -> list[dict[str, Any]]:
    """Each bar's rows in all and its share of each split; `width` is that share against the largest, 0 to 100."""
    shares = [{split: n / max(rows[split].num_rows, 1) for split, n in each.items()} for _, each in counts]
    largest = max((share for each in shares for share in each.values()), default=0) or 1
    return [
        {
            "name": name,
            "rows": sum(each.values()),
            "shares": share,
            "widths": {split: round(100 * value / largest, 2) for split, value in share.items()},
        }
        for (name, each), share in zip(counts, shares, strict=True)
    ]


def _changes(stages: Sequence[StageAccount]) -> dict[str, Any]:
    """How the stages changed what there is of each label, language, source and length.

    Only stages that turned rows away or made some are told of, after what was read. `parts` holds for each column its
    values with their rows and share of all rows after the first and the last of these stages, and `heights`: the share
    after each, against the largest, 0 to 100. `rare` are labels that few of the rows kept have, or none any more.
    """
    told = [stages[0], *(stage for stage in stages[1:] if stage.rejected or stage.made)]
    parts: list[dict[str, Any]] = []
    for column, title in (("label", "Label"), ("language", "Language"), ("source", "Source"), ("length", "Characters")):
        found = [stage.distributions[column].values for stage in told]
        by_rows = sorted(found[0], key=lambda value: (-found[0][value], value))
        ranked = sorted(found[0], key=int) if column == "length" else by_rows[:BARS]
        values = []
        for value in ranked:
            shares = [counts.get(value, 0) / max(stage.kept, 1) for counts, stage in zip(found, told, strict=True)]
            name = f"{value}–{max(2 * int(value) - 1, 0)}" if column == "length" else value
            heights = [round(100 * share / (max(shares) or 1), 1) for share in shares]
            rows = [counts.get(value, 0) for counts in (found[0], found[-1])]
            values.append({"name": name, "rows": rows, "shares": [shares[0], shares[-1]], "heights": heights})
        more = len(found[0]) - len(ranked) + told[0].distributions[column].others[0]
        parts.append({"name": title, "values": values, "more": more})
    before, after = (stage.distributions["label"].values for stage in (told[0], told[-1]))
    kept = told[-1].kept
    rare = {label: after.get(label, 0) for label in before if after.get(label, 0) < RARE * kept}
    return {
        "stages": [stage.name for stage in told],
        "parts": [part for part in parts if len(part["values"]) > 1],
        "rare": sorted(rare.items(), key=lambda item: (item[1], item[0])),
    }


def _by_size(names: pa.ChunkedArray) -> list[dict[str, Any]]:
    """How many clusters (or groups) have how many rows, in bins of doubling width."""
    sizes = Counter(pc.value_counts(names.drop_null()).field("counts").to_pylist())
    bars = []
    for power in range(max(sizes).bit_length()):
        span = range(1 << power, 2 << power)
        found = {size: count for size, count in sizes.items() if size in span}
        if found:
            least, most = min(found), max(found)
            bars.append(
                {
                    "name": str(least) if least == most else f"{least}–{most}",
                    "count": sum(found.values()),
                    "rows": sum(size * count for size, count in found.items()),
                }
            )
    total = sum(bar["rows"] for bar in bars)
    return [bar | {"width": round(100 * bar["rows"] / total, 2)} for bar in bars]


def _reasons(folder: Path) -> list[dict[str, Any]]:
    """Why rows are in quarantine: by stage and reason, the most frequent first, with examples spread over the drop."""
    path = folder / "quarantine.parquet"
    table = pq.read_table(path, columns=["stage", "reason"])
    places: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(zip(table["stage"].to_pylist(), table["reason"].to_pylist(), strict=True)):
        places.setdefault(key, []).append(row)
    chosen = {
        key: [found[len(found) * part // EXAMPLES] for part in range(min(EXAMPLES, len(found)))]
        for key, found in places.items()
    }
    everything = {
        number: _seen(row) | {"evidence": json.loads(row["evidence"])}
        for number, row in _rows_at(path, sorted(row for rows in chosen.values() for row in rows))
    }
    kept = _kept_rows(folder, {e["evidence"]["kept"] for e in everything.values() if "kept" in e["evidence"]})
    for example in everything.values():
        example["kept"] = kept.get(example["evidence"].get("kept"))
    return [
        {
            "stage": stage,
            "reason": reason,
            "count": len(found),
            "examples": [everything[row] for row in chosen[stage, reason]],
        }
        for (stage, reason), found in sorted(places.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def _rows_at(path: Path, numbers: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Those rows of a Parquet file, by their ascending numbers; only the row groups that hold them are read."""
    with pq.ParquetFile(path) as file:
        end = 0
        for group in range(file.num_row_groups):
            begin, end = end, end + file.metadata.row_group(group).num_rows
            mine = [number for number in numbers if begin <= number < end]
            if mine:
                taken = file.read_row_group(group).take(pa.array([number - begin for number in mine]))
                yield from zip(mine, taken.to_pylist(), strict=True)


def _kept_rows(folder: Path, ids: set[str]) -> dict[str, dict[str, Any]]:
    """The rows of these ids for the eye, whether they are published or were quarantined by a later stage."""
    columns = ["id", "turns", "target", "source"]
    wanted = pc.field("id").isin(pa.array(sorted(ids), pa.string()))
    found = {
        row["id"]: _seen(row) | {"fate": f"{row['stage']}: {row['reason']}"}
        for row in _matching(folder / "quarantine.parquet", wanted, [*columns, "stage", "reason"])
    }
    for split in SPLITS:
        published = _matching(folder / f"{split}.parquet", wanted, columns)
        found |= {row["id"]: _seen(row) | {"fate": None} for row in published}
    return found


def _matching(path: Path, wanted: pc.Expression, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The few rows of a Parquet file for which `wanted` holds."""
    return pq.read_table(path, columns=columns, filters=wanted).to_pylist()  # type: ignore[no-any-return]


def _seen(row: dict[str, Any]) -> dict[str, Any]:
    """What there is to see of a row: where it came from, its text and its target."""
    text = _dialogue(row["turns"]) if row["turns"] else row["raw"] or ""
    where = f"{row['source']['file']}, row {row['source']['row']}"
    return {"id": row["id"], "source": where, "text": _excerpt(text), "target": _excerpt(row["target"] or "")}


def _conflicts(folder: Path) -> list[dict[str, Any]]:
    """The first few groups of equal prompts with different answers."""
    groups: dict[int, list[dict[str, Any]]] = {}
    for row in _matching(folder / "conflicts.parquet", pc.field("conflict") < EXAMPLES):
        groups.setdefault(row["conflict"], []).append(row)
    return [
        {
            "text": _excerpt(_dialogue(rows[0]["turns"])),
            "answers": [
                {"text": _excerpt(row["target"] or row["turns"][-1]["content"])}
                | {"source": row["source"]["file"], "version": row["version"]}
                for row in rows
            ],
        }
        for _, rows in sorted(groups.items())
    ]


def _examples(manifest: DatasetManifest) -> list[dict[str, Any]]:
    """What each rule changed: pairs of texts in parts, each a pair (whether it is what changed, text)."""
    return [
        {"stage": stage.name, "rule": rule, "pairs": [_parts(each["before"], each["after"]) for each in found]}
        for stage in manifest.stages
        for rule, found in stage.examples.items()
        if found
    ]


def _parts(before: str, after: str) -> dict[str, list[tuple[bool, str]]]:
    """Both texts in parts that are the same and parts that differ; in these nothing is invisible."""
    parts: dict[str, list[tuple[bool, str]]] = {"before": [], "after": []}
    for kind, begin, end, other_begin, other_end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        for side, text in (("before", before[begin:end]), ("after", after[other_begin:other_end])):
            if text:
                changed = kind != "equal"
                parts[side].append((changed, "".join(map(_visible, text)) if changed else text))
    return parts


def _visible(char: str) -> str:
    """A character for the eye: spaces and line ends as signs, what has no shape as its code point."""
    signs = {" ": "·", "\n": "⏎\n", "\t": "⇥"}
    shapeless = unicodedata.category(char) in ("Cc", "Cf", "Zs", "Zl", "Zp", "Mn", "Co", "Cn")
    return signs.get(char) or (f"⟨U+{ord(char):04X}⟩" if shapeless else char)


def _dialogue(turns: Sequence[dict[str, str]]) -> str:
    """Turns as one text; who speaks is said where there are several."""
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def _excerpt(text: str) -> str:
    return text if len(text) <= EXCERPT else f"{text[:EXCERPT]}…"
