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
from evaluation.report import FIELD_MEASURES, MEASURES, PLOTTED, best, costs, field_measures, headline


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
    """The data set in numbers, its quarantine by reason if there is any, and its stages."""
    manifest = curated.manifest
    quarantined = [_quarantine(manifest)] if manifest["counts"]["quarantined"] else []
    return [_counts(manifest), *quarantined, _stages(curated)]


def _counts(manifest: Mapping[str, Any]) -> Table:
    counts = manifest["counts"]
    read = manifest["stages"][0]["counters"]
    rows = [
        ("rows in", counts["in"]),
        *((f"  read as {shape}", read[shape]) for shape in SHAPES if shape in read),
        *([("made by dividing others", counts["made"])] if counts["made"] else []),
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


MOST_COLUMNS = 4
"""Systems, or measures, that stand side by side in a terminal of 100 columns."""
FEW = ("schema_valid", "whole_match", "extracted_match", "exact_match")
"""Measures that are shown of many systems: those that say most."""


def evaluation_tables(scorecard: Path) -> list[Table]:
    """The systems of a scorecard side by side, their forms, the systems compared, and the gate."""
    manifest = read_manifest(scorecard)
    card = json.loads((scorecard / "scorecard.json").read_text(encoding="utf-8"))
    systems = card["systems"]
    title = f"Scorecard {manifest['name']}/{manifest['version']}: {card['rows']:,} rows, % with 95% interval"
    if any(best(card, each["measure"], each["field"]) for each in card["comparisons"]):
        title += "; *: shown to be better than each of the others"
    classes = [kind for kind in get_args(Class) if any(kind in system["form"] for system in systems.values())]
    if len(systems) > MOST_COLUMNS:
        tables = _by_system(title, card)
        forms = [
            [name, ", ".join(f"{kind.replace('_', ' ')} {count:,}" for kind, count in system["form"].items())]
            for name, system in systems.items()
        ]
        tables += [Table("form", FORM_TITLE, ["system", "rows by class"], forms, texts=2)] if classes else []
    else:
        rows = [
            *((MEASURES[measure], _shares(card, measure)) for measure in _told(card)),
            *(
                (f"{field} {FIELD_MEASURES[measure]}", _shares(card, measure, field))
                for field, measure in field_measures(systems)
            ),
            *_official(systems),
            *_costs(systems),
        ]
        tables = [Table("scorecard", title, ["", *systems], [[name, *cells] for name, cells in rows])]
        forms = [
            [kind.replace("_", " "), *(f"{system['form'].get(kind, 0):,}" for system in systems.values())]
            for kind in classes
        ]
        tables += [Table("form", FORM_TITLE, ["", *systems], forms)] if forms else []
    tables += _compared(card)
    if card["gate"] is not None:
        held = [
            [each["rule"], "holds" if each["passed"] else "DOES NOT HOLD", each["why"]]
            for each in card["gate"]["rules"]
        ]
        passed = "passed" if card["gate"]["passed"] else "NOT PASSED"
        tables.append(Table("gate", f"Gate: {passed}", ["rule", "", "why"], held, texts=3))
    return tables


FORM_TITLE = "Form: answers by the one class of each"


def _told(card: Mapping[str, Any]) -> list[str]:
    """Measures of the whole answer, without what no system ever does."""
    systems = card["systems"].values()
    return [
        measure
        for measure in MEASURES
        if all(measure in system for system in systems)
        and (measure in PLOTTED or any(system[measure]["value"] for system in systems))
    ]


def _shares(card: Mapping[str, Any], measure: str, field: str | None = None) -> list[str]:
    """A measure of each system, marked if it is the best."""
    leader = best(card, measure, field)
    return [
        percent(system[measure] if field is None else system["fields"][field][measure]) + "*" * (name == leader)
        for name, system in card["systems"].items()
    ]


def _official(systems: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    if not all("official" in system for system in systems.values()):
        return []
    return [("official score", [f"{100 * system['official']['score']:.2f}" for system in systems.values()])]


def _costs(systems: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    return [
        (each["title"], [cell["text"] if (cell := each["values"][name]) else "" for name in systems])
        for each in costs(systems)
    ]


def _by_system(title: str, card: Mapping[str, Any]) -> list[Table]:
    """A line for each system: the measures that say most, the fields, what it cost."""
    systems = card["systems"]
    whole = [(MEASURES[measure], _shares(card, measure)) for measure in FEW if measure in _told(card)]
    fields = [(name, _shares(card, headline(card, name), name)) for name in card["fields"]]
    parts = [("scorecard", title, [*whole, *_official(systems)])]
    parts += [
        (f"fields-{begin}" if begin else "fields", "Fields: % right", fields[begin : begin + MOST_COLUMNS + 1])
        for begin in range(0, len(fields), MOST_COLUMNS + 1)
    ]
    parts.append(("cost", "Cost", _costs(systems)))
    return [
        Table(
            key,
            heading,
            ["system", *(name for name, _ in columns)],
            [[system, *(cells[place] for _, cells in columns)] for place, system in enumerate(systems)],
        )
        for key, heading, columns in parts
        if columns
    ]


def _compared(card: Mapping[str, Any]) -> list[Table]:
    """The first system against the others, and then other pairs: what is said of each measure; of many only the few."""
    pairs: dict[tuple[str, str], dict[str, str]] = {}
    for pair in card["comparisons"]:
        if pair["field"] is None and pair["measure"] in FEW:
            pairs.setdefault((pair["a"], pair["b"]), {})[MEASURES[pair["measure"]]] = _said(pair, card["rows"])
    if not pairs:
        return []
    first = next(iter(pairs))[0]
    columns = list(next(iter(pairs.values())))
    against = [[two, *cells.values()] for (one, two), cells in pairs.items() if one == first]
    others = [[one, two, *cells.values()] for (one, two), cells in pairs.items() if one != first]
    title = f"in points of 100; p adjusted for {card['tests']:,} tests (Holm), all of them in report.html"
    tables = [Table("compared", f"{first} against each other system, {title}", ["against", *columns], against)]
    if others:
        tables.append(
            Table("compared-others", f"Other pairs, {title}", ["system", "against", *columns], others, texts=2)
        )
    return tables


def _said(pair: Mapping[str, Any], rows: int) -> str:
    """`better +11.6, p < 0.001`, or how many rows it would take to tell, if it is their number that is lacking."""
    points = f"{100 * pair['difference']:+.1f}"
    if pair["verdict"] == "no difference shown":
        return f"not shown {points}" + (
            f", {pair['rows_needed']:,} rows needed" if (pair["rows_needed"] or 0) > rows else ""
        )
    return f"{pair['verdict']} {points}, {_p(pair)}"


def _p(pair: Mapping[str, Any]) -> str:
    return "p < 0.001" if pair["p_adjusted"] < 0.001 else f"p = {pair['p_adjusted']:.3f}"


def compared_tables(found: Mapping[str, Any]) -> list[Table]:
    """Two systems of one or two scorecards: the measures in which they differ, and the rows."""
    sides = [found[key] for key in ("a", "b")]
    same = sides[0]["scorecard"] == sides[1]["scorecard"]
    names = [each["system"] if same else f"{each['system']} of {Path(each['scorecard']).name[:8]}" for each in sides]
    differ = [
        [
            f"{pair['field']} {FIELD_MEASURES[pair['measure']]}" if pair["field"] else MEASURES[pair["measure"]],
            f"{100 * pair['difference']:+.1f} ({100 * pair['low']:+.1f} to {100 * pair['high']:+.1f})",
            "" if pair["only_a"] is None else f"{pair['only_a']:,} : {pair['only_b']:,}",
            _p(pair).removeprefix("p ").removeprefix("= "),
            pair["verdict"].replace("no difference ", "not "),
            "" if pair["rows_needed"] is None else f"{pair['rows_needed']:,}",
        ]
        for pair in found["comparisons"]
    ]
    equal = "; ".join(
        f"{field} {FIELD_MEASURES[measure]}" if field else MEASURES[measure] for measure, field in found["equal"]
    )
    rows = [
        [each["id"], *(_outcome(each, side) for side in (0, 1)), ", ".join(each["fields"])]
        for each in found["examples"]
    ]
    first = f", the first {len(rows)}" if len(rows) < found["differing"] else ""
    alone = f"{found['only_in_a']:,} only in the first, {found['only_in_b']:,} only in the second"
    return [
        Table(
            "comparisons",
            f"{names[0]} against {names[1]}: {found['rows']:,} rows in both, {alone}; "
            f"p adjusted for {len(differ)} tests (Holm)",
            ["measure", "points of 100", "rows", "p", f"{names[0]} is", "rows needed"],
            [*differ, *[[equal, "equal in every row", "", "", "", ""]] * bool(equal)],
        ),
        Table("rows", f"Rows that differ: {found['differing']:,}{first}", ["row", *names, "fields"], rows, texts=4),
    ]


def _outcome(example: Mapping[str, Any], side: int) -> str:
    """Whether one side is right in a row; if not, the class of its form, or that its content is wrong."""
    form = example["forms"][side]
    return "right" if example["right"][side] else "wrong" if form in (None, "valid") else form.replace("_", " ")


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
    """A rate with its interval: `97.9 (93–99)`; nothing where there was nothing to rate."""
    value, low, high = rate["value"], rate["low"], rate["high"]
    if value is None or low is None or high is None:
        return ""
    return f"{100 * value:.1f} ({100 * low:.0f}–{100 * high:.0f})"
