"""What is told of a scorecard and of a comparison, in tables made from what is published."""

from pathlib import Path
from typing import Literal, get_args

from curate.table import Table
from evaluation.card.compare import Compared, Example
from evaluation.card.format import (
    WHOLE_MEASURES,
    Comparison,
    FieldMeasure,
    Interval,
    Scorecard,
    WholeMeasure,
    read_scorecard,
)
from evaluation.card.manifest import ScorecardManifest
from evaluation.card.measures import PLOTTED, WORDS, Systems, best, costs, field_measures, headline, in_words, leading
from evaluation.judge.form import Class

MOST_COLUMNS = 4
"""Systems, or measures, that stand side by side in a terminal of 100 columns."""
FEW: tuple[WholeMeasure, ...] = ("schema_valid", "whole_match", "extracted_match", "exact_match")
"""Measures that are shown of many systems: those that say most."""


def evaluation_tables(scorecard: Path) -> list[Table]:
    """The systems of a scorecard side by side, their forms, the systems compared, and the gate."""
    manifest = ScorecardManifest.read(scorecard)
    card = read_scorecard(scorecard)
    systems = card["systems"]
    split = manifest.inputs.settings.get("split", "")
    asked = f"{card['rows']:,} {split} rows" if split else f"{card['rows']:,} rows"
    title = f"Scorecard {manifest.name}/{manifest.version}: {asked}, % with 95% interval"
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
            *((WORDS[measure], _shares(card, measure)) for measure in _seen(card)),
            *((in_words(by, field), _field_shares(card, by, field)) for field, by in field_measures(systems)),
            *_values(systems),
            *_official(systems),
            *_costs(systems),
        ]
        tables = [Table("scorecard", title, ["", *systems], [[name, *cells] for name, cells in rows])]
        forms = [
            [kind.replace("_", " "), *(f"{system['form'].get(kind, 0):,}" for system in systems.values())]
            for kind in classes
        ]
        tables += [Table("form", FORM_TITLE, ["", *systems], forms)] if forms else []
    tables += _by_value(card)
    tables += _compared(card)
    if card["gate"] is not None:
        held = [
            [each["rule"], "holds" if each["passed"] else "DOES NOT HOLD", each["why"]]
            for each in card["gate"]["rules"]
        ]
        passed = "passed" if card["gate"]["passed"] else "NOT PASSED"
        tables.append(Table("gate", f"Gate: {passed}", ["rule", "", "why"], held, texts=3))
    return tables


COUNTS: tuple[Literal["right", "wrong", "omitted", "invented"], ...] = ("right", "wrong", "omitted", "invented")
"""What becomes of a value."""
VALUE_MEASURES: tuple[tuple[str, Literal["precision", "recall"]], ...] = (
    ("values right, of those given", "precision"),
    ("values right, of those expected", "recall"),
)
FORM_TITLE = "Form: answers by the one class of each"


def _seen(card: Scorecard) -> list[WholeMeasure]:
    """Measures of the whole answer, without what no system ever does."""
    systems = card["systems"].values()
    return [
        measure
        for measure in WHOLE_MEASURES
        if all(measure in system for system in systems)
        and (measure in PLOTTED or any(system[measure]["value"] for system in systems))
    ]


def _shares(card: Scorecard, measure: WholeMeasure) -> list[str]:
    """A measure of each system, marked if it is the best."""
    leader = best(card, measure)
    return [percent(system[measure]) + "*" * (name == leader) for name, system in card["systems"].items()]


def _field_shares(card: Scorecard, measure: FieldMeasure, field: str) -> list[str]:
    """A field's measure of each system, marked if it is the best."""
    leader = best(card, measure, field)
    return [
        percent(system["fields"][field][measure]) + "*" * (name == leader) for name, system in card["systems"].items()
    ]


def _values(systems: Systems) -> list[tuple[str, list[str]]]:
    """Values of all fields: which are right, and which are not in the prompt."""
    some = next(iter(systems.values()))
    found = []
    if "values" in some:
        found += [
            (title, [percent(system["values"][measure]) for system in systems.values()])
            for title, measure in VALUE_MEASURES
        ]
    if "ungrounded" in some:
        found.append(("values not in the prompt", [percent(system["ungrounded"]) for system in systems.values()]))
    return found


def _by_value(card: Scorecard) -> list[Table]:
    """What became of the values of the leading system, by field, where something is omitted, invented or wrong."""
    lead = leading(card, "whole_match" if card["fields"] else "exact_match")
    system = card["systems"][lead]
    rows = [
        [path, *(f"{each[count]:,}" for count in COUNTS), *(percent(each[measure]) for _, measure in VALUE_MEASURES)]
        for scores in system["fields"].values()
        for path, each in scores.get("values", {}).items()
        if each["wrong"] or each["omitted"] or each["invented"]
    ]
    title = f"Values of {lead} by field, where some are not right"
    return [Table("values", title, ["field", *COUNTS, "precision", "recall"], rows)] if rows else []


def _official(systems: Systems) -> list[tuple[str, list[str]]]:
    if not all("official" in system for system in systems.values()):
        return []
    return [("official score", [f"{100 * system['official']['score']:.2f}" for system in systems.values()])]


def _costs(systems: Systems) -> list[tuple[str, list[str]]]:
    return [
        (each["title"], [cell["text"] if (cell := each["values"][name]) else "" for name in systems])
        for each in costs(systems)
    ]


def _by_system(title: str, card: Scorecard) -> list[Table]:
    """A line for each system: the measures that say most, the fields, what it cost."""
    systems = card["systems"]
    whole = [(WORDS[measure], _shares(card, measure)) for measure in FEW if measure in _seen(card)]
    fields = [(name, _field_shares(card, headline(card, name), name)) for name in card["fields"]]
    parts = [("scorecard", title, [*whole, *_official(systems)]), ("all-values", "Values", _values(systems))]
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


def _compared(card: Scorecard) -> list[Table]:
    """The first system against the others, and then other pairs: what is said of each measure; of many only the few."""
    pairs: dict[tuple[str, str], dict[str, str]] = {}
    for pair in card["comparisons"]:
        if pair["field"] is None and pair["measure"] in FEW:
            pairs.setdefault((pair["a"], pair["b"]), {})[WORDS[pair["measure"]]] = _said(pair, card["rows"])
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


def _said(pair: Comparison, rows: int) -> str:
    """`better +11.6, p < 0.001`; of what is not shown, how many rows it would take, if one test had too few."""
    points = f"{100 * pair['difference']:+.1f}"
    if pair["verdict"] == "no difference shown":
        if pair["rows_needed"] is None:
            return f"not shown {points}"
        return f"not shown {points}, " + (
            f"{pair['rows_needed']:,} rows needed" if pair["rows_needed"] > rows else _p(pair)
        )
    return f"{pair['verdict']} {points}, {_p(pair)}"


def _p(pair: Comparison) -> str:
    return "p < 0.001" if pair["p_adjusted"] < 0.001 else f"p = {pair['p_adjusted']:.3f}"


def compared_tables(found: Compared) -> list[Table]:
    """Two systems of one or two scorecards: the measures in which they differ, and the rows."""
    sides = [found["a"], found["b"]]
    same = sides[0]["scorecard"] == sides[1]["scorecard"]
    names = [each["system"] if same else f"{each['system']} of {Path(each['scorecard']).name[:8]}" for each in sides]
    differ = [
        [
            in_words(pair["measure"], pair["field"]),
            f"{100 * pair['difference']:+.1f}{_range(pair)}",
            "" if pair["only_a"] is None else f"{pair['only_a']:,} : {pair['only_b']:,}",
            _p(pair).removeprefix("p ").removeprefix("= "),
            pair["verdict"].replace("no difference ", "not "),
            "" if pair["rows_needed"] is None else f"{pair['rows_needed']:,}",
        ]
        for pair in found["comparisons"]
    ]
    equal = "; ".join(in_words(measure, field) for measure, field in found["equal"])
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


def _outcome(example: Example, side: int) -> str:
    """Whether one side is right in a row; if not, the class of its form, or that its content is wrong."""
    form = example["forms"][side]
    return "right" if example["right"][side] else "wrong" if form in (None, "valid") else form.replace("_", " ")


def _range(pair: Comparison) -> str:
    if pair["low"] is None or pair["high"] is None:
        return ""
    return f" ({100 * pair['low']:+.1f} to {100 * pair['high']:+.1f})"


def percent(rate: Interval) -> str:
    """A rate with its interval: `97.9 (93–99)`; nothing where there was nothing to rate."""
    value, low, high = rate["value"], rate["low"], rate["high"]
    if value is None or low is None or high is None:
        return ""
    return f"{100 * value:.1f} ({100 * low:.0f}–{100 * high:.0f})"
