"""Fit: every row's length in tokens of the base model, as it will be trained.

Reason: `too_many_tokens` (longer than the recipe's `max_tokens`; the evidence says how long). Nothing is ever cut.
"""

from typing import Literal

import pyarrow as pa
from pydantic import Field

from curate.render import Renderer
from curate.stage import Outcome, Reject, Settings, divide

VERSION = 1


class Fit(Settings):
    model: str = Field(description="Base model: package:NAME, a local folder or a hub id; its tokenizer counts.")
    max_tokens: int = Field(1024, ge=8, description="Longest row in tokens: prompt, answer and stop token.")
    policy: Literal["quarantine"] = "quarantine"


def fit(table: pa.Table, renderer: Renderer, max_tokens: int) -> Outcome:
    """Count each row's tokens into the column `tokens`; quarantine the rows that are too long.

    Args:
        table: with the column `messages`.
        renderer: of the base model.
        max_tokens: the most a row may have.
    """
    tokens = [len(renderer.encode(messages).input_ids) for messages in table["messages"].to_pylist()]
    rejects = [
        Reject(row, "too_many_tokens", {"tokens": count, "bound": max_tokens})
        for row, count in enumerate(tokens)
        if count > max_tokens
    ]
    return divide(table.append_column("tokens", pa.array(tokens, pa.int32())), "fit", rejects)
