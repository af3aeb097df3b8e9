"""The closing tables, made from what is published: the terminal prints them, Prefect keeps them as artifacts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from curate.check import Check
from curate.index import Index
from curate.pipeline import Curated
from curate.shapes import SHAPES
from curate.split import SPLITS
from curate.store import Store, read_manifest
from evaluation.form import Class
from evaluation.report import FIELD_MEASURES, MEASURES


@dataclass(frozen=True)
class Table:
    """A titled table of text."""

    key: str
    """Short name, e.g. "quarantine"."""
    title: str
    columns: list[str]
    rows: list[list[str]]
    texts: int = 1
    """How many of the first columns are text; the others are numbers."""

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
    read = manifest["stages"][0]["counters"]
    rows = [
        ("rows in", counts["in"]),
        *((f"  read as {shape}", read[shape]) for shape in SHAPES if shape in read),
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
    rows += [
        [step, "", "", "", f"{curated.seconds[step]:.1f}", ""]
        for step in ("gate", "publish", "index")
        if step in curated.seconds
    ]
    return Table("stages", "Stages", columns, rows)


def training_tables(adapter: Path, store: Store) -> list[Table]:
    """What the adapter of a folder was trained on, what it did to the loss, and how fast it went."""
    manifest = read_manifest(adapter)
    loss = manifest["loss"]
    before, *after = loss["validation"]
    told = [event for event in store.events() if event["event"] == "adapters" and event["version"] == adapter.name]
    trained = [event for event in told if not event["found"]]
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
        ["seconds", f"{trained[-1]['seconds']:,.1f}"],
        ["tokens per second", f"{trained[-1]['tokens_per_second']:,.0f}"],
        ["found in the store", "yes" if told[-1]["found"] else "no"],
    ]
    return [Table("adapter", f"Adapter {manifest['name']}/{manifest['version']}", ["", "value"], rows)]


def evaluation_tables(scorecard: Path) -> list[Table]:
    """The systems of a scorecard side by side, their forms, the systems compared, and the gate."""
    manifest = read_manifest(scorecard)
    card = json.loads((scorecard / "scorecard.json").read_text(encoding="utf-8"))
    systems = card["systems"]
    some = next(iter(systems.values()))
    rows = [
        [title, *(percent(system[measure]) for system in systems.values())]
        for measure, title in MEASURES.items()
        if measure in some
    ]
    rows += [
        [f"{field} {title}", *(percent(system["fields"][field][measure]) for system in systems.values())]
        for field in some["fields"]
        for measure, title in FIELD_MEASURES.items()
        if measure in some["fields"][field]
    ]
    if "official" in some:
        rows.append(["official score", *(f"{100 * system['official']['score']:.2f}" for system in systems.values())])
    latencies = [system["latency_seconds"] for system in systems.values()]
    if any(latencies):
        rows.append(
            ["seconds an answer, median", *("" if each is None else f"{each['p50']:.2f}" for each in latencies)]
        )
    title = f"Scorecard {manifest['name']}/{manifest['version']}: {card['rows']} rows, % with 95% interval"
    classes = [kind for kind in get_args(Class) if any(kind in system["form"] for system in systems.values())]
    forms = [
        [kind.replace("_", " "), *(f"{system['form'].get(kind, 0):,}" for system in systems.values())]
        for kind in classes
    ]
    many = len(systems) > MOST_COLUMNS
    if many:
        tables = _by_system(title, list(systems), rows, forms)
    else:
        tables = [Table("scorecard", title, ["", *systems], rows)]
        tables += [Table("form", FORM_TITLE, ["", *systems], forms)] if forms else []
    shown = [each for each in card["comparisons"] if not many or each["measure"] in ("whole_match", "exact_match")]
    tables.append(comparison_table(shown, tests=len(card["comparisons"])))
    if card["gate"] is not None:
        held = [
            [each["rule"], "holds" if each["passed"] else "DOES NOT HOLD", each["why"]]
            for each in card["gate"]["rules"]
        ]
        passed = "passed" if card["gate"]["passed"] else "NOT PASSED"
        tables.append(Table("gate", f"Gate: {passed}", ["rule", "", "why"], held))
    return tables


MOST_COLUMNS = 5
"""Systems that stand side by side; more stand one below the other, with fewer measures."""
FORM_TITLE = "Form: answers by the one class of each"


def _by_system(
    title: str, systems: Sequence[str], rows: Sequence[Sequence[str]], forms: Sequence[Sequence[str]]
) -> list[Table]:
    """The same with a row for each system, and only the measures that say most."""
    few = {MEASURES[name] for name in ("parses", "schema_valid", "whole_match", "extracted_match")}
    chosen = [row for row in rows if row[0] in few or row[0].endswith(("F1 of items", "its rule", "score"))]
    return [
        Table(
            key,
            heading,
            ["", *(row[0] for row in table)],
            [[name, *(row[1 + place] for row in table)] for place, name in enumerate(systems)],
        )
        for key, heading, table in (("scorecard", title, chosen), ("form", FORM_TITLE, forms))
        if table
    ]


def comparison_table(
    comparisons: Sequence[Mapping[str, Any]],
    names: Mapping[str, str] | None = None,
    about: str = "Systems compared",
    tests: int | None = None,
) -> Table:
    """Pairs of systems: the difference in points, its interval, p adjusted for all of them, what it says."""
    names = names or {}
    columns = [
        "first",
        "second",
        "measure",
        "points",
        "only the first",
        "only the second",
        "p",
        "the first is",
        "rows needed",
    ]
    rows = [
        [
            names.get(pair["a"], pair["a"]),
            names.get(pair["b"], pair["b"]),
            f"{pair['field']} {FIELD_MEASURES[pair['measure']]}" if pair["field"] else MEASURES[pair["measure"]],
            f"{100 * pair['difference']:+.1f} ({100 * pair['low']:+.1f} to {100 * pair['high']:+.1f})",
            "" if pair["only_a"] is None else f"{pair['only_a']}",
            "" if pair["only_b"] is None else f"{pair['only_b']}",
            "< 0.001" if pair["p_adjusted"] < 0.001 else f"{pair['p_adjusted']:.3f}",
            pair["verdict"],
            "" if pair["rows_needed"] is None else f"{pair['rows_needed']:,}",
        ]
        for pair in comparisons
    ]
    title = f"{about}; p adjusted for {tests or len(rows)} tests (Holm)"
    return Table("comparisons", title, columns, rows)


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


def percent(rate: Mapping[str, float | None]) -> str:
    """A rate with its interval: `97.9 (92.7–99.4)`; nothing where there was nothing to rate."""
    value, low, high = rate["value"], rate["low"], rate["high"]
    if value is None or low is None or high is None:
        return ""
    return f"{100 * value:.1f} ({100 * low:.1f}–{100 * high:.1f})"
