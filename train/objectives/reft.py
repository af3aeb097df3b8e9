"""Reinforced fine-tuning (ReFT, Luong et al. 2024, arXiv 2401.08967): a model that a supervised warm-up has taught the
form is asked the train rows again, several answers to each are drawn, and those that are worth more become likelier.

The paper reinforces by PPO, which trl has given up; here it is by GRPO (arXiv 2402.03300) or RLOO (arXiv 2402.14740).
Drawing, advantages and loss are those of trl's trainers. What is asked, where an answer ends, what it is worth, the
order of the rows and the checkpoints are this package's.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from peft import PeftModel, set_peft_model_state_dict
from torch.utils.data import Sampler
from transformers import GenerationConfig
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from curate.hashing import digest
from train.loop import Loop, Rows
from train.methods.trained import weights_of
from train.reward import Asked
from train.settings import TrainingSettings

if TYPE_CHECKING:
    from train.methods.trained import Trained

REFERENCE = "ref"
"""trl's name of the adapter as it was before the first step, which the KL divergence is taken from."""


class Reinforcement(Loop):
    """trl's trainer of an algorithm with the prompts, the stop tokens, the reward and the order of this package."""

    unit = "answers"
    made: type[Any]
    """trl's arguments of the algorithm."""
    generation_config: GenerationConfig
    """How trl has answers drawn."""

    def __init__(self, rows: Rows, settings: TrainingSettings, *more: Any, **known: Any) -> None:
        super().__init__(rows, settings, *more, reward_funcs=self.rewards_of, **known)
        self.asked: Asked = rows.asked  # type: ignore[assignment]  # which rows of a reinforcement have
        self.eos_token_ids = sorted(self.asked.renderer.stop_token_ids)
        self.generation_config.eos_token_id = self.eos_token_ids
        self.per_step = settings.batch_size * settings.gradient_accumulation_steps
        self.steps_per_epoch = math.ceil(len(rows.train) / prompts_of_step(settings))

    @classmethod
    def arguments(cls, settings: TrainingSettings) -> tuple[type[Any], dict[str, Any]]:
        reft = settings.reft
        return cls.made, {
            "num_generations": reft.group_size,
            "max_completion_length": reft.max_new_tokens,
            "temperature": reft.temperature,
            "beta": reft.beta,
            "mask_truncated_completions": True,
            "disable_dropout": True,  # it would be another model that answers than the one that is trained
        }

    @classmethod
    def made_of(cls, rows: Rows, settings: TrainingSettings, model: "Trained", tokenizer: Any) -> dict[str, Any]:
        asked: Asked = rows.asked  # type: ignore[assignment]
        # No published setting shapes what is drawn, as none shapes what is evaluated; and what is padded is known by
        # the tokens of each answer, of which the last is a stop token unless it was cut off.
        model.generation_config = GenerationConfig()
        tokenizer.pad_token = tokenizer.eos_token = asked.renderer.stop
        prompts = [{"row": number, "prompt": list(ids)} for number, ids in enumerate(asked.prompts)]
        return {"train_dataset": Dataset.from_list(prompts)}

    def before_training(self) -> None:
        if isinstance(self.adapter, PeftModel) and self.settings.reft.beta:  # of (IA)^3 trl copies nothing
            set_peft_model_state_dict(self.adapter, weights_of(self.adapter), adapter_name=REFERENCE)

    def goes_on(self) -> None:
        self.before = self.state.global_step * self.per_step

    def rewards_of(
        self, prompts: Sequence[Sequence[int]], completion_ids: Sequence[Sequence[int]], row: Sequence[int], **_: Any
    ) -> list[float]:
        """What the answers of a step are worth, as trl asks it; counts what they come to."""
        renderer = self.asked.renderer
        ended = [ids[-1] in renderer.stop_token_ids for ids in completion_ids]
        rewarded = [
            self.asked.reward(self.rows.train[number].id, renderer.decode(ids[: len(ids) - whole]), not whole)
            for number, ids, whole in zip(row, completion_ids, ended, strict=True)
        ]
        means = [each.mean for each in rewarded]
        size = self.settings.reft.group_size
        groups = [means[begin : begin + size] for begin in range(0, len(means), size)]
        lengths = [len(ids) for ids in completion_ids]
        tokens = sum(map(len, prompts)) + sum(lengths)
        computed = len(prompts) * (max(map(len, prompts)) + max(lengths))
        self.counts |= {
            "answers": len(prompts),
            "tokens": tokens,
            "trained": sum(length for length, whole in zip(lengths, ended, strict=True) if whole),
            "computed": computed,
            "padding": computed - tokens,
            "truncated": 1 - fmean(ended),
            "alike": fmean(len(set(group)) == 1 for group in groups),
            "reward": fmean(means),
        } | {f"reward_{part}": fmean(getattr(each, part) for each in rewarded) for part in rewarded[0]._fields}
        return means

    def told(self) -> dict[str, float]:
        return {}  # `rewards_of` has counted it

    def compute_loss(self, model: Any, inputs: dict[str, Any], *more: Any, **known: Any) -> torch.Tensor:
        loss: Any = super().compute_loss(model, inputs, *more, **known)
        if not math.isfinite(value := loss.item()):
            raise self._not_finite("the loss", value, self.step_rows)
        self.seen += len(inputs["prompt_ids"])
        self.progress("train", self.seen, self.state.max_steps * self.per_step - self.before, self.unit)
        return loss  # type: ignore[no-any-return]

    def get_batch_samples(self, *args: Any) -> Any:
        samples, count = super().get_batch_samples(*args)
        self.step_rows = sorted({each["row"] for each in samples[0]})
        return samples, count

    def _get_train_sampler(self, train_dataset: Any = None) -> "Groups":
        return Groups(len(self.rows.train), self.settings)

    def _tokenize_prompts(self, prompts: Sequence[list[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """They are tokens already: those of the renderer."""
        return list(prompts), None, {}


class Grpo(Reinforcement, GRPOTrainer):
    """Group relative policy optimisation: an answer's advantage is by how many deviations it is above its group's
    mean."""

    made = GRPOConfig


class Rloo(Reinforcement, RLOOTrainer):
    """REINFORCE, leave one out: an answer's advantage is by how much it is above the mean of the others."""

    made = RLOOConfig


TRAINERS: Mapping[str, type[Reinforcement]] = {"grpo": Grpo, "rloo": Rloo}
"""By `reft.algorithm`."""


class Groups(Sampler[int]):
    """Rows as trl's trainers take them: those of a step, each as often as answers are drawn to it, and all of them
    again for each of the step's batches. The order is a function of seed and epoch; an epoch's last step is filled up
    with the epoch's first rows, where trl would leave its rows out.

    Args:
        rows: how many there are.
        settings: of the recipe.
    """

    def __init__(self, rows: int, settings: TrainingSettings) -> None:
        self.rows = rows
        self.settings = settings
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    @property
    def _steps(self) -> int:
        return math.ceil(self.rows / prompts_of_step(self.settings))

    def __len__(self) -> int:
        settings = self.settings
        return self._steps * settings.batch_size * settings.gradient_accumulation_steps**2

    def __iter__(self) -> Iterator[int]:
        settings, prompts = self.settings, prompts_of_step(self.settings)
        generator = torch.Generator().manual_seed(int(digest([settings.seed, self.epoch])[:15], 16))
        order = cycle(torch.randperm(self.rows, generator=generator).tolist())
        for _ in range(self._steps):
            step = list(islice(order, prompts))
            for _ in range(settings.gradient_accumulation_steps):
                for row in step:
                    yield from [row] * settings.reft.group_size


def prompts_of_step(settings: TrainingSettings) -> int:
    """How many rows a step asks."""
    return settings.batch_size * settings.gradient_accumulation_steps // settings.reft.group_size
