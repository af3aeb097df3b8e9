"""What people read of a scorecard: report.html, one file that loads nothing.

Every text of a row in it is escaped. A script filters the rows, and is allowed by its hash: a policy forbids any other
script or style, and without scripting the page shows everything.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from curate.publish.pages import inlined, report_environment
from evaluation.card.format import WHOLE_MEASURES, Comparison, Scorecard, Verdict, WholeMeasure
from evaluation.card.manifest import ScorecardManifest
from evaluation.card.measures import (
    FIELD_WORDS,
    PLOTTED,
    WORDS,
    best,
    costs,
    field_measures,
    headline,
    leading,
)
from evaluation.card.side_by_side import Questions, ShownRows, shown
from evaluation.card.statistics import verdict
from evaluation.judge.answer import Answer
from evaluation.judge.form import Class, value_of
from train.manifest import Loss

MOST_LABELS = 10
"""Labels of a confusion matrix that stand by themselves: those of most rows."""
MOST_MISTAKES = 8
"""Labels taken for others that are listed: the most frequent."""
MOST_FIELDS = 12
"""Fields of which each has its plot; the table has all."""


def write_report(
    folder: Path,
    manifest: ScorecardManifest,
    card: Scorecard,
    loss: Loss | None,
    questions: Questions,
    systems: Mapping[str, Sequence[Answer]],
    value_of: Callable[[str], Any] = value_of,
) -> None:
    """Write report.html.

    Args:
        folder: the scorecard's.
        manifest: of the scorecard.
        card: what scorecard.json holds.
        loss: of the adapter's manifest; None without an adapter.
        questions: the rows.
        systems: answers by system, in the order of the rows.
        value_of: reads an answer that parses, where it is not JSON that was asked for.
    """
    environment = report_environment()
    environment.filters["shown"] = shown
    environment.filters["seconds"] = lambda value: f"{value:.2f}" if value < 100 else f"{value:,.0f}"
    main: WholeMeasure = "whole_match" if "whole_match" in next(iter(card["systems"].values())) else "exact_match"
    lead = leading(card, main)
    text = environment.get_template("scorecard.html.jinja").render(
        style=inlined(environment, "style.css", "scorecard.css"),
        script=inlined(environment, "scorecard.js"),
        manifest=manifest.content(),
        provenance=list(_flat(manifest.inputs.content())),
        card=card,
        systems=card["systems"],
        measures=WORDS,
        lines=list(field_measures(card["systems"])),
        never=[
            WORDS[measure]
            for measure in WHOLE_MEASURES
            if measure in card["systems"][lead] and not any(each[measure]["count"] for each in card["systems"].values())
        ],
        field_measures=FIELD_WORDS,
        main=main,
        lead=lead,
        against=_against(card, lead, main),
        best={key: best(card, *key) for key in {(each["measure"], each["field"]) for each in card["comparisons"]}},
        plots=list(_plots(card)),
        cost=list(costs(card["systems"])),
        comparisons=_by_first(card["comparisons"]),
        loss=loss,
        forms=[kind for kind in get_args(Class) if any(kind in system["form"] for system in card["systems"].values())],
        confusions=_confusions(card),
        rows=ShownRows.of(questions, systems, value_of),
    )
    (folder / "report.html").write_text(text, encoding="utf-8")


def _flat(values: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as lines of a name and a text; what is empty says nothing."""
    for key, value in values.items():
        name = f"{within}{key.replace('_', ' ')}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name} · ")
        elif isinstance(value, list) and len(value) > MOST_MISTAKES:
            yield name, f"{len(value):,}"
        elif value not in (None, [], {}):
            yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _against(card: Scorecard, lead: str, measure: WholeMeasure) -> dict[Verdict, list[str]]:
    """The other systems by what a comparison with the leading one says of it."""
    found: dict[Verdict, list[str]] = {"better": [], "worse": [], "no difference shown": []}
    for each in card["comparisons"]:
        if each["measure"] == measure and lead in (each["a"], each["b"]):
            way, other = (1, each["b"]) if each["a"] == lead else (-1, each["a"])
            found[verdict(way * each["difference"], each["p_adjusted"])].append(other)
    return found


def _plots(card: Scorecard) -> Iterator[dict[str, Any]]:
    """What is drawn with its intervals: measures of the whole answer, then one of each field."""
    systems = card["systems"]
    some = next(iter(systems.values()))
    for measure in PLOTTED:
        if measure in some:
            values = {name: system[measure] for name, system in systems.items()}
            if measure != "rules_match" or any(each[measure] != each["whole_match"] for each in systems.values()):
                yield {"title": WORDS[measure], "field": None, "measure": measure, "values": values}
    for name in list(card["fields"])[:MOST_FIELDS]:
        by = headline(card, name)
        yield {
            "title": FIELD_WORDS[by],
            "field": name,
            "measure": by,
            "values": {system: scores["fields"][name][by] for system, scores in systems.items()},
        }


def _by_first(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Comparisons as tables: one for each first system, a line for each measure, a column for each other system."""
    tables: dict[str, dict[tuple[str, str | None], dict[str, Comparison]]] = {}
    for each in comparisons:
        tables.setdefault(each["a"], {}).setdefault((each["measure"], each["field"]), {})[each["b"]] = each
    return [
        {"first": first, "others": list(dict.fromkeys(other for line in lines_.values() for other in line))}
        | {"lines": lines_}
        for first, lines_ in tables.items()
    ]


def _confusions(card: Scorecard) -> list[dict[str, Any]]:
    """Of each field that is a class: which labels are taken for which, by system; the rarer labels share a line."""
    found = []
    for name in card["fields"]:
        scores = {system: each["fields"][name] for system, each in card["systems"].items()}
        rows: dict[str, int] = next(
            (
                {label: one["rows"] for label, one in each["labels"].items()}
                for each in scores.values()
                if "labels" in each
            ),
            {},
        )
        if not rows:
            continue
        ranked = sorted(rows, key=lambda label: (-rows[label], label))
        heads = ranked if len(ranked) <= MOST_LABELS + 1 else ranked[:MOST_LABELS]
        found.append(
            {
                "field": name,
                "labels": [
                    {"name": label, "rows": rows[label]}
                    | {"f1": {system: each["labels"][label]["f1"] for system, each in scores.items()}}
                    for label in ranked[: 2 * MOST_LABELS]
                ],
                "more": max(0, len(ranked) - 2 * MOST_LABELS),
                "systems": {
                    system: _confusion(each["confusion"], heads, len(ranked) - len(heads))
                    for system, each in scores.items()
                },
            }
        )
    return found


def _confusion(cells: Sequence[Sequence[Any]], heads: Sequence[str], others: int) -> dict[str, Any]:
    """A matrix of counts with shades of 0 to 9 of its line's rows, and the most frequent mistakes.

    `columns` and the names of `lines` are pairs (whether it is a label, its name).
    """
    place = {label: number for number, label in enumerate(heads)}
    other, none = len(heads), len(heads) + 1
    counts = [[0] * (none + 1) for _ in range(other + 1)]
    for expected, given, count in cells:
        counts[place.get(expected, other)][none if given is None else place.get(given, other)] += count
    names = [(True, label) for label in heads]
    kept = [*range(other), *[other] * any(line[other] for line in counts), none]
    mistakes = sorted((cell for cell in cells if cell[0] != cell[1]), key=lambda cell: -cell[2])
    return {
        "columns": [[*names, (False, "other"), (False, "no label")][column] for column in kept],
        "lines": [
            {
                "name": name,
                "cells": [
                    {
                        "count": line[column],
                        "shade": -(-9 * line[column] // (sum(line) or 1)),
                        "right": column == number,
                    }
                    for column in kept
                ],
            }
            for number, (name, line) in enumerate(
                zip([*names, *[(False, f"{others:,} others")] * bool(others)], counts, strict=False)
            )
        ],
        "mistakes": mistakes[:MOST_MISTAKES],
    }
