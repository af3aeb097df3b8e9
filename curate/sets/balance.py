"""Balance: how many rows a label may have at most, and how much each of them counts in training.

A cap is on the rows of one version: of a label that has more, the best by `quality` stay, of equals those of the least
ids. A weight takes no row out and puts none in: it is written in the manifest, and training draws the label's rows as
though each stood so many times in the train split (`train.examples.select`). Rows without a label have neither.

Reason: `over_cap`; the evidence is the label, its rows, the cap, the row's rank among them and its quality.
"""

from collections.abc import Collection, Iterator
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.errors import AssayError
from curate.sets.rows import in_order
from curate.sets.stage import Seen, SetStage, Verdict
from curate.stage import Context, evidence_json

MOST_NAMED = 20
"""Labels that an error names."""

Cap = Annotated[int, Field(ge=1)]


class Balance(SetStage):
    """How many rows a label may have, and how often they count in training."""

    name: ClassVar[str] = "balance"
    reasons: ClassVar[dict[str, str]] = {
        "over_cap": "the label has more rows than `balance.cap`, and this one is of the lesser quality"
    }

    cap: Cap | dict[str, Cap] | None = Field(
        None, description="The most rows of each label: one number for all of them, or by label."
    )
    weights: dict[str, Annotated[float, Field(gt=0, le=100)]] = Field(
        {}, description="By label, how many times each of its rows counts in training (1 where it is not named)."
    )

    @property
    def runs(self) -> bool:
        return self.cap is not None

    def prepare(self, context: Context) -> "Balance":
        if self.named():
            check_labels(self, context.labels() | {*enumerated(context.contract.row_schema)})
        return self

    def keys_of(self, table: pa.Table) -> pa.Table:
        return table.select(["id", "label", *({"quality"} & set(table.column_names))])

    def judge(self, keys: pa.Table, seen: Seen) -> Verdict:
        return Verdict(judge(keys, self))

    def key(self) -> Any:
        return [self.name, self.version, self.cap]

    def named(self) -> set[str]:
        """The labels that the recipe names."""
        return {*(self.cap if isinstance(self.cap, dict) else ()), *self.weights}

    def cap_of(self, label: str | None) -> int | None:
        """The most rows that a label may have."""
        if label is None:
            return None
        return self.cap.get(label) if isinstance(self.cap, dict) else self.cap


def enumerated(schema: Any) -> Iterator[str]:
    """Every text that a JSON Schema names as a value, in an `enum` or a `const`."""
    if isinstance(schema, dict):
        values = [*schema.get("enum", []), schema.get("const")]
        yield from (value for value in values if isinstance(value, str))
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from enumerated(inner)


def check_labels(settings: Balance, labels: Collection[str]) -> None:
    """See to it that each label that the recipe names is one: a cap or a weight of any other would do nothing.

    Args:
        settings: the caps and weights.
        labels: those there are: of this drop, of earlier ones, and those that the contract knows.

    Raises:
        AssayError: names the labels that are none.
    """
    if unknown := sorted(settings.named() - {*labels}):
        known = ", ".join(map(repr, sorted(labels)[:MOST_NAMED])) or "none"
        more = f" and {len(labels) - MOST_NAMED:,} more" if len(labels) > MOST_NAMED else ""
        raise AssayError(
            f"balance: no row has the label {', '.join(map(repr, unknown))}.",
            remedy=f"Labels of this data set: {known}{more}. Mend the name in `balance`, or see `record.label`; one "
            "that later drops will have is known from an `enum` of the contract.",
        )


def judge(rows: pa.Table, settings: Balance) -> pa.Table:
    """Find the rows over their label's cap; the result does not depend on the rows' order.

    Args:
        rows: with the columns id and label, and quality where there is one.
        settings: the caps.

    Returns:
        Columns reason and evidence (JSON), in the order of the rows.
    """
    reason: list[str | None] = [None] * rows.num_rows
    evidence: list[str | None] = [None] * rows.num_rows
    by_label = rows["label"].combine_chunks().dictionary_encode()
    of_label = pc.fill_null(by_label.indices, -1).to_numpy()
    order = best_first(rows)
    order = order[np.argsort(of_label[order], kind="stable")]  # label by label
    begins = np.searchsorted(of_label[order], np.arange(len(by_label.dictionary) + 1))
    for code, label in enumerate(by_label.dictionary.to_pylist()):
        cap = settings.cap_of(label)
        members = order[begins[code] : begins[code + 1]] if cap is not None else []
        for rank, row in enumerate(members[cap:], start=(cap or 0) + 1):
            seen: dict[str, Any] = {"label": label, "rows": len(members), "cap": cap, "rank": rank}
            if "quality" in rows.column_names:
                seen["quality"] = round(rows["quality"][int(row)].as_py(), 2)
            reason[row], evidence[row] = "over_cap", evidence_json(seen)
    return pa.table({"reason": pa.array(reason, pa.string()), "evidence": pa.array(evidence, pa.string())})


def best_first(rows: pa.Table) -> Any:
    """The numbers of the rows, those of the highest quality first (all are equal where none is told), then by id."""
    order = in_order(rows.select(["id"]))
    if "quality" not in rows.column_names:
        return order
    return order[np.argsort(-rows["quality"].to_numpy()[order], kind="stable")]
