"""What a run has told of itself so far, step by step: it is all that validations, early stopping and the choice of a
checkpoint are decided by, so a run that goes on from a checkpoint decides the same."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

STEPS = "steps.parquet"
PAIRED = ("pairs", "preferred", "margin")
"""What only steps of preferences tell."""
REWARD = ("reward", "reward_json", "reward_schema", "reward_fields", "reward_grounded")
REINFORCED = ("answers", *REWARD, "alike", "kl", "truncated")
"""What only steps of reinforcement tell."""
Entry = Mapping[str, Any]


class Step(NamedTuple):
    """One step of the optimizer."""

    step: int
    """From 1."""
    epoch: float
    """Epochs trained by then."""
    loss: float
    """Mean negative log-likelihood (nats) of the trained tokens of all its batches, before the step; or the mean loss
    of its pairs, or trl's of its answers."""
    grad_norm: float | None
    """Of the gradient before it was clipped; none where a GradScaler skipped the step."""
    learning_rate: float
    tokens: int
    """Of its rows, padding not among them."""
    trained: int
    """Of them trained."""
    computed: int
    """Tokens that went through the model: padding among them, what rows share once."""
    padding: int
    """Of them padding."""
    tokens_per_second: float
    memory_mib: int
    """The most so far: resident on a CPU, allocated on a GPU."""
    pairs: int | None = None
    """Of answers, where preferences are trained; the loss is their mean then."""
    preferred: float | None = None
    """Share of the pairs whose chosen answer has the higher implicit reward, before the step."""
    margin: float | None = None
    """Mean of how much higher it is."""
    answers: int | None = None
    """Drawn, where answers are reinforced; `tokens` are those of their prompts too."""
    reward: float | None = None
    """Their mean, and those of its parts."""
    reward_json: float | None = None
    reward_schema: float | None = None
    reward_fields: float | None = None
    reward_grounded: float | None = None
    alike: float | None = None
    """Share of the prompts whose answers are all worth the same: of them nothing is learned."""
    kl: float | None = None
    """Mean divergence (nats) of a token from the model before the first step, as trl estimates it; none where it does
    not count."""
    truncated: float | None = None
    """Share of the answers that were cut off; they are not trained."""


class Validation(NamedTuple):
    """The validation rows, asked between two steps."""

    step: int
    """Steps taken by then: 0 before training."""
    epoch: float
    loss: float
    """Mean negative log-likelihood (nats) of a trained token."""
    score: float | None
    """What `keep_best` names, of generated answers; the more, the better. None where the loss decides."""


@dataclass(frozen=True)
class History:
    """A run's steps and validations."""

    steps: list[Step]
    validations: list[Validation]
    """The first is before training; none without rows to validate on."""
    steps_per_epoch: int

    @staticmethod
    def of(entries: Iterable[Entry], steps_per_epoch: int) -> "History":
        """From the log of transformers' trainer."""
        steps, validations = [], []
        for entry in entries:
            epoch = entry["step"] / steps_per_epoch
            if "eval_loss" in entry:
                validations.append(Validation(entry["step"], epoch, entry["eval_loss"], entry.get("eval_score")))
            elif "loss" in entry:
                known: dict[str, Any] = {name: entry.get(name) for name in Step._fields}
                steps.append(Step(**known | {"epoch": epoch}))
        return History(steps, validations, steps_per_epoch)

    def best(self) -> Validation | None:
        """The best validation after a step: of the highest score, or else of the least loss; of equals the first."""
        after = [each for each in self.validations if each.step]
        return min(after, key=lambda each: each.loss if each.score is None else -each.score, default=None)

    def without_better(self) -> int:
        """How many validations there have been since the best one."""
        best = self.best()
        return 0 if best is None else sum(each.step > best.step for each in self.validations)

    def epoch_losses(self) -> list[float]:
        """Mean loss of a trained token, of a pair or of an answer, over each epoch, while it was learning; the last may
        have been stopped."""
        sums: dict[int, tuple[float, int]] = {}
        for each in self.steps:
            epoch = (each.step - 1) // self.steps_per_epoch
            loss, weight = sums.get(epoch, (0.0, 0))
            counted = each.pairs or each.answers or each.trained
            sums[epoch] = (loss + each.loss * counted, weight + counted)
        return [loss / weight for loss, weight in sums.values()]

    def tokens(self, until: int) -> tuple[int, int]:
        """(tokens seen, tokens trained) up to a step."""
        steps = [each for each in self.steps if each.step <= until]
        return sum(each.tokens for each in steps), sum(each.trained for each in steps)

    def padding(self) -> float:
        """Share of all computed tokens that were padding."""
        return sum(each.padding for each in self.steps) / sum(each.computed for each in self.steps)

    def seconds(self) -> float:
        """Spent in steps; neither validations nor checkpoints."""
        return sum(each.tokens / each.tokens_per_second for each in self.steps)

    def write(self, path: Path) -> None:
        """Write steps.parquet: a row for each step, with `validation_loss` and `score` where one was validated."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        validated = {each.step: each for each in self.validations}
        rows = [each._asdict() for each in self.steps]
        if 0 in validated:
            rows.insert(0, dict.fromkeys(Step._fields) | {"step": 0, "epoch": 0.0})
        for row in rows:
            found = validated.get(row["step"])
            row |= {"validation_loss": found and found.loss, "score": found and found.score}
        kinds = {int: pa.int64(), int | None: pa.int64(), float: pa.float64(), float | None: pa.float64()}
        idle = {*(() if self.steps[0].pairs else PAIRED), *(() if self.steps[0].answers else REINFORCED)}
        told = [name for name in Step._fields if name not in idle]
        fields = [(name, kinds[Step.__annotations__[name]]) for name in told]
        schema = pa.schema([*fields, ("validation_loss", pa.float64()), ("score", pa.float64())])
        pq.write_table(pa.Table.from_pylist(rows, schema), path)
