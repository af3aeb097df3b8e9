"""What is told of a study in tables: on the terminal, in table.md and in the report."""

from typing import Any

from curate.hashing import canonical_json
from curate.table import Table
from evaluation.tune.result import StudyResult, TrialResult

OPTIMISTIC = (
    "The best of {count} values on the same validation rows is better than it would be on others: it was chosen for "
    "being the best. What the settings are worth tells the test split, which no trial has seen."
)


def tables(result: StudyResult) -> list[Table]:
    """The trials, the best first; the keys that were searched; and why trials failed, where some did."""
    keys = list(result.search)
    told = bool(result.importance)
    better = "the lower, the better" if result.lower_is_better else "the higher, the better"
    finished = sum(each.state == "complete" for each in result.trials)
    title = f"Study {result.name}: {result.metric} on {result.rows:,} validation rows, {better}"
    failed = [[str(each.number), str(each.error)] for each in result.trials if each.state == "failed"]
    return [
        Table(
            "trials",
            title,
            ["trial", "state", *keys, result.metric, "trained tokens", "seconds", "peak MiB"],
            [_cells(each, keys, result.metric) for each in result.ranked()],
            texts=2 + len(keys),
        ),
        Table(
            "keys",
            f"Keys; {finished} of {len(result.trials)} trials finished",
            ["key", "searched", "the recipe's", f"best, trial {result.best}", *(["importance"] * told)],
            [
                [
                    key,
                    searched(result.search[key]),
                    shown(result.own[key]),
                    shown(result.winner.values[key]) if key in result.winner.values else "not taken",
                    *([f"{result.importance[key]:.2f}" if key in result.importance else ""] * told),
                ]
                for key in keys
            ],
            texts=4,
        ),
        *([Table("failed", "Trials that failed", ["trial", "why"], failed, texts=2)] if failed else []),
    ]


def optimistic(result: StudyResult) -> str:
    """What the best value is, and is not."""
    return OPTIMISTIC.format(count=sum(each.state == "complete" for each in result.trials))


def _cells(trial: TrialResult, keys: list[str], metric: str) -> list[str]:
    values = [shown(trial.values[key]) if key in trial.values else "" for key in keys]
    told = [f"{trial.value:.4f}" if trial.value is not None else ""]
    told += [f"{trial.tokens:,}" if trial.tokens is not None else ""]
    told += [f"{trial.seconds:,.1f}" if trial.seconds is not None else ""]
    told += [f"{trial.memory_mib:,}" if trial.memory_mib is not None else ""]
    return [str(trial.number), state_of(trial), *values, *told]


def state_of(trial: TrialResult) -> str:
    """What became of a trial."""
    same = f", as trial {trial.same_as}" if trial.same_as is not None else ""
    if trial.state == "pruned":
        return f"pruned after step {trial.validations[-1].step:,}{same}"
    return {"complete": "finished", "failed": "failed"}[trial.state] + same


def shown(value: Any) -> str:
    """A value as the recipe has it."""
    return value if isinstance(value, str) else canonical_json(value).decode()


def searched(values: Any) -> str:
    """What is tried of a key."""
    if isinstance(values, list):
        return ", ".join(map(shown, values))
    return f"{values['low']:g} to {values['high']:g}" + (", by the logarithm" if values["log"] else "")
