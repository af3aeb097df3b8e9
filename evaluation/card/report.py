"""What people read of a scorecard: report.html, one file that loads nothing.

Every text of a row in it is escaped; what would steer a terminal or turn the direction of writing is shown by its code
point. A script filters the rows, and is allowed by its hash: a policy forbids any other script or style, and without
scripting the page shows everything.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, get_args

from markupsafe import Markup

from curate.publish.report import report_environment
from curate.rows.render import Message
from evaluation.card.marks import Line, differences, lines
from evaluation.card.scorecard import TUNED, Masks
from evaluation.card.statistics import verdict
from evaluation.judge.answer import Answer
from evaluation.judge.form import Class

LARGEST = 4_000_000
"""Bytes of the rows' texts in the page. What is longer is shortened, and says so; then there are fewer rows."""
LENGTHS = (4000, 2000, 1000, 600, 400)
"""Characters of one text that are shown: the first of these with which all rows fit."""
MOST_LABELS = 10
"""Labels of a confusion matrix that stand by themselves: those of most rows."""
MOST_MISTAKES = 8
"""Labels taken for others that are listed: the most frequent."""
MOST_FIELDS = 12
"""Fields of which each has its plot; the table has all."""

MEASURES = {
    "parses": "parses as it is",
    "extracts": "parses if other text is forgiven",
    "schema_valid": "fits the schema",
    "whole_match": "whole answer right",
    "rules_match": "right by the fields' rules",
    "extracted_valid": "fits it if other text is forgiven",
    "extracted_match": "right if other text is forgiven",
    "wrong_but_valid": "valid, but wrong",
    "missing_keys": "lacks a key",
    "invented_keys": "has a key of its own",
    "wrong_type": "has a value of a wrong type",
    "wrong_enum": "has a value that is no choice",
    "wrong_value": "breaks another rule of the schema",
    "refusal": "declines",
    "repetition": "runs in circles",
    "empty": "says nothing",
    "exact_match": "exactly the expected text",
    "truncated": "cut off",
}
"""Measures of a system in the order they are shown, in words."""
FIELD_MEASURES = {
    "accuracy": "right",
    "match": "right by its rule",
    "f1": "F1 of items",
    "macro_f1": "macro F1",
    "kappa": "kappa",
}
"""Measures of a field in the order they are shown, in words."""
PLAIN = ("code_fence", "text_before", "text_after", "text_around", "empty", "refusal", "repetition", "no_answer")
"""Classes of form that say all; of the others it is said what exactly is wrong."""
PLOTTED = ("schema_valid", "whole_match", "rules_match", "exact_match")
"""Measures of the whole answer that are drawn."""
Measured = Mapping[str, Any]


@dataclass(frozen=True)
class Questions:
    """The rows that all systems were asked."""

    ids: Sequence[str]
    texts: Sequence[str]
    """What is asked."""
    expected: Sequence[str]
    """The right answers, JSON or plain text."""
    slices: Masks = field(default_factory=dict)
    """Kind of slice -> its name -> mask of the rows."""


def question(messages: Sequence[Message]) -> str:
    """What a conversation asks, as one text: the turns before the last answer."""
    turns = messages[:-1]
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def write_report(
    folder: Path,
    manifest: Mapping[str, Any],
    card: Mapping[str, Any],
    loss: Mapping[str, Sequence[float]] | None,
    asked: Questions,
    systems: Mapping[str, Sequence[Answer]],
    value_of: Callable[[str], Any] = json.loads,
) -> None:
    """Write report.html.

    Args:
        folder: the scorecard's.
        manifest: of the scorecard, with `version`.
        card: what scorecard.json holds.
        loss: of the adapter's manifest; None without an adapter.
        asked: the rows.
        systems: answers by system, in the order of the rows.
        value_of: reads an answer that parses, where it is not JSON that was asked for.
    """
    environment = report_environment()
    environment.filters["shown"] = shown
    environment.filters["seconds"] = lambda value: f"{value:.2f}" if value < 100 else f"{value:,.0f}"
    style, script = (
        Markup("\n".join(_source(environment, name) for name in names))  # noqa: S704 (our own files)
        for names in (["style.css", "scorecard.css"], ["scorecard.js"])
    )
    held = Rows.of(asked, systems, value_of)
    main = "whole_match" if "whole_match" in next(iter(card["systems"].values())) else "exact_match"
    lead = leading(card, main)
    text = environment.get_template("scorecard.html.jinja").render(
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; "
        "form-action 'none'",
        style=style,
        script=script,
        manifest=manifest,
        provenance=list(_flat(manifest["inputs"])),
        card=card,
        systems=card["systems"],
        measures=MEASURES,
        lines=list(field_measures(card["systems"])),
        never=[
            words
            for measure, words in MEASURES.items()
            if measure in card["systems"][lead] and not any(each[measure]["count"] for each in card["systems"].values())
        ],
        field_measures=FIELD_MEASURES,
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
        rows=held,
    )
    (folder / "report.html").write_text(text, encoding="utf-8")


def _source(environment: Any, name: str) -> str:
    source: str = environment.loader.get_source(environment, name)[0]
    return source


def _hash(source: str) -> str:
    """As a Content-Security-Policy names a script or a style that it allows."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


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


STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Characters that are seen by what they do, if at all: controls (a terminal's escape among them), the marks and
overrides of the direction of writing, what has no width but joins no letters, and lone surrogates."""


def shown(text: str) -> str:
    """A text with every character that steers written as its code point."""
    return STEERING.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text.replace("\r\n", "\n"))


def shortened(text: str, length: int) -> str:
    """A text of at most about so many characters: its beginning and its end, and how much stood between them."""
    if len(text) <= length + 100:
        return text
    begin, end = 2 * length // 3, length // 3
    return f"{text[:begin]}\n⟪ {len(text) - begin - end:,} of {len(text):,} characters left out ⟫\n{text[-end:]}"


def best(card: Mapping[str, Any], measure: str, field_name: str | None = None) -> str | None:
    """The system that a comparison shows to be better than each of the others; None where none is."""
    beaten: dict[str, set[str]] = {}
    for each in card["comparisons"]:
        if (each["measure"], each["field"]) == (measure, field_name):
            if each["verdict"] == "better":
                beaten.setdefault(each["a"], set()).add(each["b"])
            elif each["verdict"] == "worse":
                beaten.setdefault(each["b"], set()).add(each["a"])
    return next((name for name, others in beaten.items() if others == card["systems"].keys() - {name}), None)


def leading(card: Mapping[str, Any], measure: str) -> str:
    """The system that the report is about: the tuned one, else the one with the most right answers."""
    systems = card["systems"]
    if TUNED in systems:
        return TUNED
    shares: dict[str, float] = {name: system[measure]["value"] or 0.0 for name, system in systems.items()}
    return max(shares, key=lambda name: shares[name])


def _against(card: Mapping[str, Any], lead: str, measure: str) -> dict[str, list[str]]:
    """The other systems by what a comparison with the leading one says of it."""
    found: dict[str, list[str]] = {"better": [], "worse": [], "no difference shown": []}
    for each in card["comparisons"]:
        if each["measure"] == measure and lead in (each["a"], each["b"]):
            way, other = (1, each["b"]) if each["a"] == lead else (-1, each["a"])
            found[verdict(way * each["difference"], each["p_adjusted"])].append(other)
    return found


def _plots(card: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What is drawn with its intervals: measures of the whole answer, then one of each field."""
    systems = card["systems"]
    some = next(iter(systems.values()))
    for measure in PLOTTED:
        if measure in some:
            values = {name: system[measure] for name, system in systems.items()}
            if measure != "rules_match" or any(each[measure] != each["whole_match"] for each in systems.values()):
                yield {"title": MEASURES[measure], "field": None, "measure": measure, "values": values}
    for name in list(card["fields"])[:MOST_FIELDS]:
        measure = headline(card, name)
        values = {system: told["fields"][name][measure] for system, told in systems.items()}
        yield {"title": FIELD_MEASURES[measure], "field": name, "measure": measure, "values": values}


def headline(card: Mapping[str, Any], name: str) -> str:
    """The one measure by which a field is shown; its rule's only where that changes something."""
    systems = card["systems"]
    if card["fields"][name]["kind"] in ("set", "list"):
        return "f1"
    return "match" if (name, "match") in field_measures(systems) else "accuracy"


def field_measures(systems: Mapping[str, Measured]) -> Iterator[tuple[str, str]]:
    """(field, measure) of the table's lines; a rule that changes no field's number has none of its own."""
    for name, measured in next(iter(systems.values()))["fields"].items():
        for measure in FIELD_MEASURES:
            told = [each["fields"][name] for each in systems.values()]
            if measure in measured and (measure != "match" or any(each["match"] != each["accuracy"] for each in told)):
                yield name, measure


def costs(systems: Mapping[str, Measured]) -> Iterator[dict[str, Any]]:
    """Seconds, pace, tokens and price of each system that has them, and how long the bar is, 0 to 100."""
    told: tuple[tuple[str, Callable[[Measured], float | None], str], ...] = (
        ("seconds, p50", lambda each: (each["latency_seconds"] or {}).get("p50"), "{:,.2f}"),
        ("seconds, p95", lambda each: (each["latency_seconds"] or {}).get("p95"), "{:,.2f}"),
        ("tokens/s", lambda each: each.get("tokens_per_second"), "{:,.1f}"),
        ("tokens in", lambda each: each.get("tokens_in"), "{:,}"),
        ("tokens out", lambda each: each.get("tokens_out"), "{:,}"),
        ("price", lambda each: each.get("cost"), "{:,.4f}"),
    )
    for title, of, form in told:
        values = {name: of(system) for name, system in systems.items()}
        if any(values.values()):
            most = max(value or 0 for value in values.values())
            yield {
                "title": title,
                "values": {
                    name: {"text": form.format(value), "width": round(100 * value / most, 2)} if value else None
                    for name, value in values.items()
                },
            }


def _by_first(comparisons: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Comparisons as tables: one for each first system, a line for each measure, a column for each other system."""
    tables: dict[str, dict[tuple[str, str | None], dict[str, dict[str, Any]]]] = {}
    for each in comparisons:
        tables.setdefault(each["a"], {}).setdefault((each["measure"], each["field"]), {})[each["b"]] = each
    return [
        {"first": first, "others": list(dict.fromkeys(other for line in lines_.values() for other in line))}
        | {"lines": lines_}
        for first, lines_ in tables.items()
    ]


def _confusions(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of each field that is a class: which labels are taken for which, by system; the rarer labels share a line."""
    found = []
    for name in card["fields"]:
        told = {system: each["fields"][name] for system, each in card["systems"].items()}
        rows: dict[str, int] = next(
            (
                {label: one["rows"] for label, one in each["labels"].items()}
                for each in told.values()
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
                    | {"f1": {system: each["labels"][label]["f1"] for system, each in told.items()}}
                    for label in ranked[: 2 * MOST_LABELS]
                ],
                "more": max(0, len(ranked) - 2 * MOST_LABELS),
                "systems": {
                    system: _confusion(each["confusion"], heads, len(ranked) - len(heads))
                    for system, each in told.items()
                },
            }
        )
    return found


def _confusion(cells: Sequence[tuple[str, str | None, int]], heads: Sequence[str], others: int) -> dict[str, Any]:
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


@dataclass(frozen=True)
class Rows:
    """The rows in the page."""

    shared: str
    """What all questions begin with."""
    length: int
    """Characters of a text that are shown."""
    total: int
    """Rows there are."""
    cards: Sequence[Mapping[str, Any]]
    slices: Mapping[str, Sequence[str]]
    """Kind -> names."""

    @staticmethod
    def of(asked: Questions, systems: Mapping[str, Sequence[Answer]], value_of: Callable[[str], Any]) -> "Rows":
        """As many rows as fit, each text as long as lets all of them fit."""
        begin = _shared_beginning(asked.texts)
        groups = [_alike({name: answers[row] for name, answers in systems.items()}) for row in range(len(asked.ids))]
        texts = [
            [asked.texts[row][begin:], asked.expected[row], *(one.generated.text for one, names in groups[row])]
            for row in range(len(asked.ids))
        ]
        for length in LENGTHS:
            sizes = [sum(_size(text, length) for text in each) for each in texts]
            if sum(sizes) <= LARGEST:
                break
        many = 0
        while many < len(sizes) and (sum(sizes[: many + 1]) <= LARGEST):
            many += 1
        numbers = [(kind, name) for kind, names in asked.slices.items() for name in names]
        return Rows(
            asked.texts[0][:begin].strip() if asked.texts else "",
            length,
            len(texts),
            [
                {
                    "number": row + 1,
                    "id": asked.ids[row],
                    "question": shown(shortened(texts[row][0].strip(), length)),
                    "expected": _expected(asked.expected[row], length),
                    "within": [place for place, (kind, name) in enumerate(numbers) if asked.slices[kind][name][row]],
                    "right": [name for name, answers in systems.items() if answers[row].exact],
                    "wrong": [
                        _wrong(one, names, asked.expected[row], length, value_of)
                        for one, names in groups[row]
                        if not one.exact
                    ],
                    "kinds": [
                        f"{one.judgement.form if one.judgement else ''}.{one.exact:d}"
                        for one in (answers[row] for answers in systems.values())
                    ],
                }
                for row in range(many)
            ],
            {kind: list(names) for kind, names in asked.slices.items()},
        )


def _size(text: str, length: int) -> int:
    """Bytes that a text takes in the page, about, with the tags around it."""
    return 200 + len(text[:length].encode("utf-8", "replace"))


def _shared_beginning(questions: Sequence[str]) -> int:
    """How many characters of whole paragraphs all questions begin with."""
    if len(questions) < 2:
        return 0
    same = takewhile(lambda column: len(set(column)) == 1, zip(*questions, strict=False))
    return questions[0][: sum(1 for _ in same)].rfind("\n\n") + 1


def _alike(answers: Mapping[str, Answer]) -> list[tuple[Answer, list[str]]]:
    """Different answers to a row, each with the systems that gave it."""
    found: dict[tuple[str, bool], tuple[Answer, list[str]]] = {}
    for name, answer in answers.items():
        found.setdefault((answer.generated.text, answer.generated.truncated), (answer, []))[1].append(name)
    return list(found.values())


def _expected(text: str, length: int) -> dict[str, Any]:
    """The right answer: as lines of values if it is an object, else as it is."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    found = lines(value, value) if isinstance(value, dict) else []
    return {"lines": _readable(found, length), "text": "" if found else shown(shortened(text, length))}


def _wrong(
    answer: Answer, names: Sequence[str], expected: str, length: int, value_of: Callable[[str], Any]
) -> dict[str, Any]:
    """An answer that is not the expected one: as lines of values if it is read as such, else as it came."""
    judgement, text = answer.judgement, answer.generated.text
    found: list[Line] = []
    if judgement is None:
        found = [Line("", differences(text, expected))] if len(text) <= length else []
    elif judgement.parses:
        found = lines(value_of(text), json.loads(expected))
    cut = answer.generated.truncated and (judgement is None or judgement.form != "truncated")
    return {
        "names": names,
        "form": "" if judgement is None else judgement.form,
        "detail": shown(judgement.detail) if judgement is not None and judgement.form not in PLAIN else "",
        "notes": [
            note
            for holds, note in (
                (judgement is not None and judgement.rules_match, "right by the fields' rules"),
                (judgement is not None and judgement.extracted_match, "right if other text is forgiven"),
                (cut, "cut off"),
            )
            if holds
        ],
        "lines": _readable(found, length),
        "text": "" if found else shown(shortened(text, length)).strip("\n"),
    }


def _readable(found: Sequence[Line], length: int) -> list[dict[str, Any]]:
    return [
        {"path": shown(shortened(line.path, 200)), "fault": line.fault}
        | {"parts": [(kind, shown(shortened(part, length))) for kind, part in line.parts]}
        for line in found
    ]
