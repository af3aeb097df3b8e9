"""Quality: rows that cannot teach anything.

Reasons: `empty` (no prompt), `too_short`, `too_long`, `no_answer`, `answer_too_short`, `target_not_json`. The first
that holds is named; the evidence says what was measured and the bound.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate import strict_json
from curate.record import answer_text, prompt_text
from curate.stage import Outcome, Reject, RowStage, divide


class Quality(RowStage):
    """Bounds on length, and that there is an answer."""

    min_chars: int = Field(1, ge=1, description="Shortest prompt, in characters.")
    max_chars: int = Field(1_000_000, ge=1, description="Longest prompt and answer together, in characters.")
    min_answer_chars: int = Field(1, ge=1, description="Shortest answer, in characters.")

    def run(self, table: pa.Table) -> Outcome:
        prompt = _lengths(prompt_text(table))
        answer = _lengths(answer_text(table))
        rules: list[tuple[str, Any, Any, int]] = [
            ("empty", prompt == 0, prompt, 1),
            ("too_short", prompt < self.min_chars, prompt, self.min_chars),
            ("too_long", prompt + answer > self.max_chars, prompt + answer, self.max_chars),
            ("no_answer", answer == 0, answer, 1),
            ("answer_too_short", answer < self.min_answer_chars, answer, self.min_answer_chars),
        ]
        rejects: dict[int, Reject] = {}
        for reason, bad, measured, bound in rules:
            for row in np.flatnonzero(bad).tolist():
                rejects.setdefault(row, Reject(row, reason, {"chars": int(measured[row]), "bound": bound}))
        for row, target in enumerate(table["target"].to_pylist()):
            if target is not None and row not in rejects:
                try:
                    strict_json.loads(target)
                except ValueError as error:
                    rejects[row] = Reject(row, "target_not_json", {"message": str(error), "target": target})
        return divide(table, "quality", list(rejects.values()))


def _lengths(texts: pa.Array) -> Any:
    """Characters of each text, none of them outer white space."""
    return pc.utf8_length(pc.utf8_trim_whitespace(texts)).to_numpy(zero_copy_only=False)
