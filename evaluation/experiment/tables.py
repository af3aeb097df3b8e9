"""What is told of an experiment in tables: on the terminal, in table.md and in the report."""

from curate.table import Table
from evaluation.experiment.result import Against, ArmResult, ExperimentResult, Score

BOTH = "the interval is over rows and seeds"
ROWS = "one seed: the interval is over rows alone"


def tables(result: ExperimentResult) -> list[Table]:
    """Scores, differences to the baseline, and what training took."""
    count = f"{result.rows:,} rows, {len(result.seeds)} seed{'s' if len(result.seeds) > 1 else ''}"
    how = BOTH if len(result.seeds) > 1 else ROWS
    return [
        Table(
            "scores",
            f"Experiment {result.name}: mean over {count}, with 95% interval ({how})",
            ["arm", *result.metrics],
            [[name, *(score_text(arm.scores[each]) for each in result.metrics)] for name, arm in result.arms.items()],
        ),
        Table(
            "differences",
            f"Beside {result.baseline}, on the same rows and seeds; p adjusted for {result.tests} tests (Holm)",
            ["arm", "metric", "difference", "p", "adjusted", "verdict"],
            [
                [name, metric, difference_text(each), _p(each.p), _p(each.p_adjusted), each.verdict]
                for name, arm in result.arms.items()
                for metric, each in arm.against.items()
            ],
            texts=2,
        ),
        Table(
            "training",
            "Training; means over seeds",
            ["arm", "rows", "left out", "trained tokens", "seconds", "peak MiB", "validation loss", "turns after"],
            [[name, *training_cells(arm)] for name, arm in result.arms.items()],
        ),
    ]


def score_text(score: Score) -> str:
    """A score with its interval."""
    if score.value is None:
        return "not known"
    return f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f})"


def difference_text(against: Against) -> str:
    """A difference with its interval."""
    if against.difference is None:
        return "not known"
    return f"{against.difference:+.3f} ({against.low:+.3f} to {against.high:+.3f})"


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def training_cells(arm: ArmResult) -> list[str]:
    """Rows, rows left out, trained tokens, seconds, memory, validation loss before training and at each validation,
    and the epochs after which it rose, by seed."""
    points = [[each.loss for each in run] for run in arm.validation]
    losses = " ".join(f"{_mean(at):.3f}" for at in zip(*points, strict=False))
    turns = ", ".join("not" if each is None else f"{each:g}" for each in arm.turns)
    return [
        f"{_mean(arm.rows):,.0f}",
        f"{arm.left_out:,}",
        f"{_mean(arm.tokens):,.0f}",
        f"{_mean(arm.seconds):,.1f}",
        f"{max(arm.memory_mib):,}",
        losses or "no rows",
        f"epoch {turns}" if any(each is not None for each in arm.turns) else "does not",
    ]


def _mean(values: "list[int] | list[float] | tuple[float, ...]") -> float:
    return sum(values) / len(values)
