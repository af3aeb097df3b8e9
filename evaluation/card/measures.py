"""The measures of a scorecard in words, and which of them, and of its systems, are to be shown."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from evaluation.card.format import FIELD_MEASURES, FieldMeasure, Scorecard, SystemScores, WholeMeasure
from evaluation.card.scorecard import TUNED

WORDS: Mapping[str, str] = {
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
    "thought": "thinks before it answers",
}
"""Measures of the whole answer."""
FIELD_WORDS: Mapping[str, str] = {
    "accuracy": "right",
    "match": "right by its rule",
    "f1": "F1 of items",
    "macro_f1": "macro F1",
    "kappa": "kappa",
}
"""Measures of a field."""
PLOTTED: tuple[WholeMeasure, ...] = ("schema_valid", "whole_match", "rules_match", "exact_match")
"""Measures of the whole answer that are drawn."""
Systems = Mapping[str, SystemScores]


def best(card: Scorecard, measure: str, field_name: str | None = None) -> str | None:
    """The system that a comparison shows to be better than each of the others; None where none is."""
    beaten: dict[str, set[str]] = {}
    for each in card["comparisons"]:
        if (each["measure"], each["field"]) == (measure, field_name):
            if each["verdict"] == "better":
                beaten.setdefault(each["a"], set()).add(each["b"])
            elif each["verdict"] == "worse":
                beaten.setdefault(each["b"], set()).add(each["a"])
    return next((name for name, others in beaten.items() if others == card["systems"].keys() - {name}), None)


def leading(card: Scorecard, measure: WholeMeasure) -> str:
    """The system that the report is about: the tuned one, else the one with the most right answers."""
    systems = card["systems"]
    if TUNED in systems:
        return TUNED
    shares: dict[str, float] = {name: system[measure]["value"] or 0.0 for name, system in systems.items()}
    return max(shares, key=lambda name: shares[name])


def headline(card: Scorecard, name: str) -> FieldMeasure:
    """The one measure by which a field is shown; its rule's only where that changes something."""
    systems = card["systems"]
    if card["fields"][name]["kind"] in ("set", "list"):
        return "f1"
    return "match" if (name, "match") in field_measures(systems) else "accuracy"


def field_measures(systems: Systems) -> Iterator[tuple[str, FieldMeasure]]:
    """(field, measure) of the table's lines; a rule that changes no field's number has none of its own."""
    for name, measured in next(iter(systems.values()))["fields"].items():
        for measure in FIELD_MEASURES:
            scores = [each["fields"][name] for each in systems.values()]
            if measure in measured and (measure != "match" or any(of["match"] != of["accuracy"] for of in scores)):
                yield name, measure


def costs(systems: Systems) -> Iterator[dict[str, Any]]:
    """Seconds, pace, tokens and price of each system that has them, and how long the bar is, 0 to 100."""
    columns: tuple[tuple[str, Callable[[SystemScores], float | None], str], ...] = (
        ("seconds, p50", lambda each: each["latency_seconds"] and each["latency_seconds"]["p50"], "{:,.2f}"),
        ("seconds, p95", lambda each: each["latency_seconds"] and each["latency_seconds"]["p95"], "{:,.2f}"),
        ("tokens/s", lambda each: each.get("tokens_per_second"), "{:,.1f}"),
        ("tokens in", lambda each: each["tokens_in"], "{:,}"),
        ("tokens out", lambda each: each["tokens_out"], "{:,}"),
        ("price", lambda each: each.get("cost"), "{:,.4f}"),
    )
    for title, of, form in columns:
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


def in_words(measure: str, field: str | None) -> str:
    """What a comparison is of."""
    return WORDS[measure] if field is None else f"{field} {FIELD_WORDS[measure]}"
