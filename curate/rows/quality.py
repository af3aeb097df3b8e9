"""Quality: what each row is worth, and the rows that cannot teach anything.

Every row is told its signals, in the struct column `signals`: those of `curate.text.text_signals`, of its answer (or of
its prompt, where the answer is a target: its form is judged by the contract, in `curate.rows.validate`), and those of
`curate.text.answer_signals`, null where no answer is said. A rule holds the signal of its name to bounds; a row out of
them is quarantined (`reject`), its quality halved (`score`), or neither (`ignore`), as the recipe says.

Reasons: `empty` (no prompt), `too_short`, `too_long`, `nothing_trained`, `no_answer`, `answer_too_short`,
`target_not_json`, and the names of the rules. The first that holds is named; the evidence says what was measured and
the bound, and of a flag how the answer begins and ends.

The column `quality` (0 to 1, two decimals) is the recipe's quality of a row: its rating, where the recipe names one and
the row has it; else (1 + sqrt(least(words / enough_words, 1))) / 2 of its answer, 1 for a target, halved by every rule
that `score`s it. docs/quality.md says what each rule finds, and how well this ranks what people have ranked.
"""

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator, model_validator

from curate.arrow import whole
from curate.record import answer_is_last_turn, answer_text, prompt_text, untrained_turns
from curate.stage import Outcome, Reject, RowStage, Settings, divide
from curate.text import strict_json


class Rule(Settings):
    low: float | None = Field(None, description="The signal's least value that is good; by default any.")
    high: float | None = Field(None, description="The greatest value that is good; a flag that is raised counts as 1.")
    then: Literal["reject", "score", "ignore"] = Field(
        "score", description="A row out of bounds is quarantined, its quality halved, or neither."
    )


def _ignored(low: float | None = None, high: float | None = None) -> Rule:
    return Rule(low=low, high=high, then="ignore")


REPETITIVE = 0.75
"""Share of an answer's words that stand in repeated runs of ten from which it says little but one thing: four copies of
a text. Such an answer is a loop if they are its end, and unasked."""
RULES: dict[str, Rule] = {
    "words": _ignored(50, 100_000),
    "mean_word_length": _ignored(3, 10),
    "symbol_to_word": _ignored(high=0.1),
    "alphabetic_words": _ignored(low=0.8),
    "stop_words": _ignored(low=2),
    "bullet_lines": _ignored(high=0.9),
    "ellipsis_lines": _ignored(high=0.3),
    "punctuated_lines": _ignored(low=0.12),
    "short_lines": _ignored(high=0.67),
    "duplicate_lines": _ignored(high=0.3),
    "duplicate_line_chars": _ignored(high=0.2),
    "duplicate_paragraphs": _ignored(high=0.3),
    "duplicate_paragraph_chars": _ignored(high=0.2),
    "top_2gram": _ignored(high=0.2),
    "top_3gram": _ignored(high=0.18),
    "top_4gram": _ignored(high=0.16),
    "duplicate_5gram": _ignored(high=0.15),
    "duplicate_6gram": _ignored(high=0.14),
    "duplicate_7gram": _ignored(high=0.13),
    "duplicate_8gram": _ignored(high=0.12),
    "duplicate_9gram": _ignored(high=0.11),
    "duplicate_10gram": _ignored(high=0.1),
    "echo": Rule(high=0, then="reject"),
    "loop": Rule(high=0, then="reject"),
    "cut_off": Rule(high=0, then="reject"),
    "same_words": Rule(high=0),
    "repetitive": Rule(high=REPETITIVE),
    "open_end": Rule(high=0),
    "open_brackets": Rule(high=0),
    "refusal": Rule(high=0),
    "persona": Rule(high=0),
    "placeholder": Rule(high=0),
    "only_placeholder": Rule(high=0, then="reject"),
    "no_task": Rule(high=0),
    "other_language": Rule(high=0),
}
"""The rules of a recipe that says nothing else.

Bounds of text signals are Gopher's, of `punctuated_lines` and `short_lines` FineWeb's; what they find in answers are
lists, code and short replies, so they are ignored.
"""


class Rating(Settings):
    meta: str = Field(description="Key of the record's meta whose number says how good the row is.")
    worst: float = Field(description="The number of a row of quality 0.")
    best: float = Field(description="The number of a row of quality 1; less than `worst` where it is a rank.")

    @model_validator(mode="after")
    def _spans(self) -> "Rating":
        if self.worst == self.best:
            raise ValueError("worst and best are the same number")
        return self


class Quality(RowStage):
    """Adds the columns `signals` and `quality`. Counters: rows kept whose quality each rule has halved, and `rated`."""

    name: ClassVar[str] = "quality"
    version: ClassVar[int] = 7
    reasons: ClassVar[dict[str, str]] = {
        "empty": "the prompt is empty",
        "too_short": "the prompt is shorter than `min_chars`",
        "too_long": "prompt and answer are longer than `max_chars`",
        "nothing_trained": "the row's answers are all marked as not to be trained",
        "no_answer": "there is nothing to learn",
        "answer_too_short": "the answer is shorter than `min_answer_chars`",
        "target_not_json": "the target is not strict JSON",
        "echo": "the answer is the question to the letter and nothing else, and no other turn sets a task",
        "loop": "the answer ends in copies of one text, unasked",
        "cut_off": "the answer breaks off: a code block is left open, or prose ends in a comma or in a word like `and`",
        "only_placeholder": "the answer is `[insert ...]`, `<nooutput>`, `TODO` or the like, and nothing else",
    }
    """Those of the rules that reject by default; any other rule may, and the reason is then its name."""

    min_chars: int = Field(
        1, ge=0, description="Shortest prompt, in characters; 0 where rows may be texts that nobody has asked for."
    )
    max_chars: int = Field(1_000_000, ge=1, description="Longest prompt and answer together, in characters.")
    min_answer_chars: int = Field(1, ge=1, description="Shortest answer, in characters.")
    rules: dict[str, Rule] = Field(RULES, description="Rules by signal; what is left out stays as it is by default.")
    enough_words: int = Field(300, ge=0, description="Words from which an answer is worth no more for more of them.")
    rating: Rating | None = Field(None, description="Where the data itself says how good a row is.")

    @field_validator("rules", mode="before")
    @classmethod
    def _over_the_default(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        if unknown := given.keys() - RULES.keys():
            raise ValueError(f"no such rule: {min(map(str, unknown))}; there are {', '.join(RULES)}")
        return RULES | {
            name: RULES[name].model_dump() | rule if isinstance(rule, dict) else rule for name, rule in given.items()
        }

    def run(self, table: pa.Table) -> Outcome:
        signals = measure(table)
        broken = self.broken(signals)
        answers = answer_text(table)
        rejects = self._lengths(table, answers)
        for row, evidence in _not_json(table["target"]).items():
            rejects.setdefault(row, Reject(row, "target_not_json", evidence))
        for name, flags in broken.items():
            if self.rules[name].then == "reject":
                for row in np.flatnonzero(flags).tolist():
                    if row not in rejects:
                        rejects[row] = Reject(row, name, self._evidence(name, signals[name][row], answers[row]))
        scored = {name: flags for name, flags in broken.items() if self.rules[name].then == "score"}
        quality, rated = self._quality(table, signals["words"], scored)
        table = _with_column(table, "quality", pa.array(quality))
        table = _with_column(table, "signals", pa.StructArray.from_arrays(list(signals.values()), list(signals)))
        kept = np.ones(table.num_rows, np.bool_)
        kept[list(rejects)] = False
        counters = {name: int(np.count_nonzero(flags & kept)) for name, flags in scored.items()}
        if self.rating is not None:
            counters["rated"] = int(np.count_nonzero(rated & kept))
        return divide(table, "quality", list(rejects.values()), {name: rows for name, rows in counters.items() if rows})

    def _lengths(self, table: pa.Table, answers: pa.Array) -> dict[int, Reject]:
        """What is too short or too long."""
        prompt, answer = _chars(prompt_text(table)), _chars(answers)
        bounds: list[tuple[str, Any, Any, int]] = [
            ("empty", (prompt == 0) & (self.min_chars > 0), prompt, 1),
            ("too_short", prompt < self.min_chars, prompt, self.min_chars),
            ("too_long", prompt + answer > self.max_chars, prompt + answer, self.max_chars),
            ("nothing_trained", (answer == 0) & (untrained_turns(table) > 0), answer, 1),
            ("no_answer", answer == 0, answer, 1),
            ("answer_too_short", answer < self.min_answer_chars, answer, self.min_answer_chars),
        ]
        rejects: dict[int, Reject] = {}
        for reason, bad, measured, bound in bounds:
            for row in np.flatnonzero(bad).tolist():
                rejects.setdefault(row, Reject(row, reason, {"chars": int(measured[row]), "bound": bound}))
        return rejects

    def broken(self, signals: dict[str, pa.Array]) -> dict[str, npt.NDArray[np.bool_]]:
        """Which rows are out of the bounds of each rule that is not ignored; a signal that is null is in them."""
        broken = {}
        for name, rule in self.rules.items():
            if rule.then != "ignore":
                value = pc.cast(signals[name], pa.float32()).to_numpy(zero_copy_only=False)  # null becomes NaN
                low, high = (np.float32(bound) if bound is not None else np.nan for bound in (rule.low, rule.high))
                broken[name] = (value < low) | (value > high)
        return broken

    def _evidence(self, name: str, measured: pa.Scalar, answer: pa.Scalar) -> dict[str, Any]:
        if pa.types.is_boolean(measured.type):
            said = answer.as_py().strip()
            return {"begins": said[:100], "ends": said[-100:]}
        value = measured.as_py()
        low = self.rules[name].low
        if low is not None and value < low:
            return {"measured": round(value, 4), "low": low}
        return {"measured": round(value, 4), "high": self.rules[name].high}

    def _quality(
        self, table: pa.Table, words: pa.Array, scored: dict[str, npt.NDArray[np.bool_]]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """The quality of each row, and whether it is the row's own rating."""
        has_target = pc.is_valid(table["target"]).to_numpy(zero_copy_only=False)
        enough = max(self.enough_words, 1)
        told = np.minimum(words.to_numpy(), enough).astype(np.float64) / enough
        worth = np.where(has_target | (self.enough_words == 0), 1.0, (1 + np.sqrt(told)) / 2)
        for flags in scored.values():
            worth[flags] /= 2
        rated = np.zeros(table.num_rows, np.bool_)
        if self.rating is not None:
            given = _numbers(table["meta"], self.rating.meta)
            rated = np.isfinite(given)
            place = (given[rated] - self.rating.worst) / (self.rating.best - self.rating.worst)
            worth[rated] = np.clip(place, 0, 1)
        return np.round(worth, 2).astype(np.float32), rated


def measure(table: pa.Table) -> dict[str, pa.Array]:
    """The signals of each row, in the order of RULES: float32 or bool arrays, null where nothing can be measured."""
    # Imported here for they import numba, and a recipe is loaded without it.
    from curate.text.answer_signals import answer_signals
    from curate.text.text_signals import text_signals
    from curate.text.words import split_words

    said, has_target = answer_is_last_turn(table), pc.is_valid(whole(table["target"]))
    texts = (
        pc.if_else(has_target, prompt_text(table), answer_text(table)) if has_target.true_count else answer_text(table)
    )
    words = split_words(texts)
    signals = text_signals(texts, words)
    every = said.true_count == table.num_rows
    found = answer_signals(table, words) if every else answer_signals(table.filter(said))
    if not every:
        at = np.cumsum(said.to_numpy(zero_copy_only=False)) - 1
        rows = pa.array(at, mask=pc.invert(said).to_numpy(zero_copy_only=False))
        found = {name: values.take(rows) for name, values in found.items()}
    signals |= found
    signals["repetitive"] = pc.if_else(said, signals["duplicate_10gram"], None)
    repeats = pc.fill_null(pc.greater(signals["repetitive"], REPETITIVE), False)
    signals["loop"] = pc.and_kleene(signals["loop"], repeats)
    return {name: signals[name] for name in RULES}


def _with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    if name in table.column_names:
        return table.set_column(table.schema.get_field_index(name), name, values)
    return table.append_column(name, values)


def _chars(texts: pa.Array) -> Any:
    """Characters of each text, none of them outer white space."""
    return pc.utf8_length(pc.utf8_trim_whitespace(texts)).to_numpy(zero_copy_only=False)


def _not_json(targets: pa.ChunkedArray) -> dict[int, dict[str, Any]]:
    """The rows whose target is not strict JSON, and why; each distinct target is read once."""
    known = targets.combine_chunks().dictionary_encode()
    wrong = {}
    for number, target in enumerate(known.dictionary.to_pylist()):
        try:
            strict_json.loads(target)
        except ValueError as error:
            wrong[number] = {"message": str(error), "target": target}
    if not wrong:
        return {}
    numbers = known.indices.to_pylist()
    return {row: wrong[number] for row, number in enumerate(numbers) if number in wrong}


def _numbers(meta: pa.ChunkedArray, key: str) -> npt.NDArray[np.float64]:
    """The number that stands in each row's meta under a key; NaN where there is none."""
    texts = pc.utf8_trim_whitespace(pc.map_lookup(meta.combine_chunks(), pa.scalar(key), "first"))
    is_number = pc.match_substring_regex(texts, r"^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$")
    plain = pc.replace_substring_regex(pc.if_else(is_number, texts, None), r"^\+", "")
    numbers: npt.NDArray[np.float64] = pc.cast(plain, pa.float64()).to_numpy(zero_copy_only=False)
    return numbers
