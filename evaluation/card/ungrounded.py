"""Values that answers invent: those that their prompts have to hold, by `curate.grounding`, and do not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from curate.grounding import Grounding, Prompt, Said
from curate.odcs import FREE
from evaluation.card.format import Ungrounded, UngroundedField
from evaluation.card.statistics import Floats, Rows, ratio
from evaluation.judge.form import ABSENT

OWN = ""
"""In the place of the paths of keys that the schema does not have: any number, named by a model."""


@dataclass(frozen=True)
class Grounds:
    """What answers to the rows have to keep to."""

    grounding: Grounding
    prompts: Sequence[Prompt]
    """Of each row: the turns before its answer, without a template's words."""
    _found: dict[tuple[int, str, str], bool] = field(default_factory=dict)

    def scores(self, answers: Sequence[Any], rows: Rows) -> Ungrounded:
        """The share of the values of answers that are not in their prompts.

        Args:
            answers: as Python values, in the order of the rows; ABSENT where an output is no JSON, and says nothing.
            rows: which of them belong together.
        """
        looked_for: dict[str, Floats] = {}
        missing: dict[str, Floats] = {}
        for row, answer in enumerate(answers):
            for said in () if answer is ABSENT else self.grounding.said(answer):
                if said.how not in FREE:
                    path = said.path if said.path in self.grounding.fields else OWN
                    for counts, one in ((looked_for, True), (missing, not self._holds(row, said))):
                        counts.setdefault(path, np.zeros(len(answers)))[row] += one
        nothing = np.zeros(len(answers))
        whole = _scores(sum(missing.values(), nothing), sum(looked_for.values(), nothing), rows)
        by_field = {path: _scores(missing[path], looked_for[path], rows) for path in sorted(looked_for.keys() - {OWN})}
        return {**whole, "fields": by_field}

    def _holds(self, row: int, said: Said) -> bool:
        """Whether a row's prompt holds a value; what several systems say is looked for once."""
        key = row, said.how, repr(said.value)
        if key not in self._found:
            self._found[key] = self.prompts[row].find(said.value, said.how) is not None
        return self._found[key]


def grounds_of(grounding: Grounding, rows: Sequence[Mapping[str, Any]]) -> Grounds | None:
    """What answers to rows with `turns` have to keep to; None where the contract has no field that prompts have to
    hold, or a version does not tell its turns."""
    if all(how in FREE for how in grounding.fields.values()) or "turns" not in rows[0]:
        return None
    return Grounds(grounding, [Prompt(row["turns"], row.get("language")) for row in rows])


def _scores(missing: Floats, looked_for: Floats, rows: Rows) -> UngroundedField:
    return {
        "values": int(looked_for.sum()),
        "count": int(missing.sum()),
        **ratio(missing, looked_for, rows),
    }
