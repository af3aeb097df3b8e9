"""predictions.parquet: what every system said to every row, and how it was judged; what scorecards are compared by."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from evaluation.card.scorecard import TestRows
from evaluation.judge.answer import Answer

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "system": pa.string(),
        "group": pa.string(),
        "prompt": pa.string(),
        "expected": pa.string(),
        "output": pa.string(),
        "shots": pa.list_(pa.string()),
        "tokens_in": pa.int32(),
        "tokens": pa.int32(),
        "logprob": pa.float64(),
        "truncated": pa.bool_(),
        "exact_match": pa.bool_(),
        "form": pa.string(),
        "detail": pa.string(),
        "flags": pa.list_(pa.string()),
        "parses": pa.bool_(),
        "extracts": pa.bool_(),
        "schema_valid": pa.bool_(),
        "whole_match": pa.bool_(),
        "rules_match": pa.bool_(),
        "extracted_match": pa.bool_(),
        "missing_keys": pa.list_(pa.string()),
        "invented_keys": pa.list_(pa.string()),
    }
)
"""A last column `fields` has a struct for each field of the answer, where it has any: `exact`, `match`, `score`, and
the labels `given` and `wanted` of a class. What asks for a form to judge is null for plain chat. `prompt` is the
question as the model reads it; `shots` are the ids of the training rows that were shown before it."""

JUDGED = [name for name in SCHEMA.names[SCHEMA.get_field_index("form") :] if name != "flags"]
"""Columns that are a judgement's attributes of these names."""
COMPARED = pa.struct(
    [
        ("exact", pa.bool_()),
        ("match", pa.bool_()),
        ("score", pa.float64()),
        ("given", pa.string()),
        ("wanted", pa.string()),
    ]
)


def predictions(
    ids: Sequence[str],
    groups: Sequence[str | None],
    prompts: Sequence[str],
    expected: Sequence[str],
    systems: Mapping[str, Sequence[Answer]],
    test_rows: TestRows,
    shots: Mapping[str, Sequence[Sequence[str]]] | None = None,
) -> pa.Table:
    """One row per row and system. What UTF-8 cannot hold (a lone surrogate) is written as `\\ud800`."""
    schema = SCHEMA
    if test_rows.fields:
        schema = schema.append(pa.field("fields", pa.struct([(each.name, COMPARED) for each in test_rows.fields])))
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    for system, answers in systems.items():
        columns["id"] += ids
        columns["system"] += [system] * len(ids)
        columns["group"] += groups
        columns["prompt"] += map(writable, prompts)
        columns["expected"] += map(writable, expected)
        columns["output"] += [writable(answer.generated.text) for answer in answers]
        columns["shots"] += (shots or {}).get(system, [[]] * len(ids))
        columns["tokens_in"] += [answer.generated.tokens_in for answer in answers]
        columns["logprob"] += [answer.generated.logprob for answer in answers]
        columns["tokens"] += [answer.generated.tokens for answer in answers]
        columns["truncated"] += [answer.generated.truncated for answer in answers]
        columns["exact_match"] += [answer.exact for answer in answers]
        judged = [answer.judgement for answer in answers]
        columns["flags"] += [None if each is None else sorted(each.flags) for each in judged]
        for name in JUDGED:
            columns[name] += [None if each is None else getattr(each, name) for each in judged]
        if test_rows.fields:
            columns["fields"] += [_fields(row, answer, test_rows) for row, answer in enumerate(answers)]
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


def _fields(row: int, answer: Answer, test_rows: TestRows) -> dict[str, Any]:
    judgement = answer.judgement
    if judgement is None:
        return {}
    given = dict(zip(test_rows.wanted, judgement.given, strict=True))
    return {
        each.name: asdict(compared)
        | {
            "given": given.get(each.name),
            "wanted": test_rows.wanted[each.name][row] if each.name in given else None,
        }
        for each, compared in zip(test_rows.fields or (), judgement.fields, strict=True)
    }


def writable(text: str) -> str:
    """A text with what UTF-8 cannot hold written as its escape."""
    return text.encode("utf-8", "backslashreplace").decode()
