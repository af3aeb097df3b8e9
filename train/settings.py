"""The recipe's section `training`."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, ConfigDict, Field, model_serializer, model_validator
from pydantic_core.core_schema import SerializerFunctionWrapHandler

from curate.recipe import Recipe
from curate.stage import ANYWHERE, BESIDE, Settings
from train.base_model import Quantization
from train.methods.keys import KEYS, QUANTIZED, SOME, WHOLE, Method, method_in, takers

Optim = Literal["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "sgd", "sophia", "muon"]
"""What takes the steps; see `train.optimizers`."""
WATCHED = {"report_to", "save_steps", "save_total_limit"}
"""Keys that change nothing in the adapter: who is told of the run, and how often it is kept."""
PARENTS = {"pairs", "start_from"}
"""Keys that name what a manifest tells by its hash, as parents."""
VALIDATION_ROWS = 64
"""Rows that are validated on unless the recipe says another number; adapters do not tell this one."""
PARTLY = {
    "beta": "`beta` is of `objective: dpo` (that of `reft` is `reft.beta`)",
    "rpo_alpha": "`rpo_alpha` is of `objective: dpo`",
    "min_lr_ratio": "`min_lr_ratio` is of schedules that fall, not of `constant`",
    "momentum": "`momentum` is of `optim: sgd`",
    "double_quantization": "`double_quantization` is of `qlora` and `qdora`",
}
"""Keys that some objective, schedule, optimizer or quantisation takes."""
USUAL_RATES = {"full": 2e-5, "partial": 2e-5, "ia3": 2e-2}
"""By method, if not 1e-3: a model's own weights move further by the same rate, and factors less far."""


def quantization_of(settings: Mapping[str, Any]) -> Quantization:
    """Of the base model's weights, as settings of training in a recipe or in a manifest have it."""
    return "nf4" if method_in(settings) in QUANTIZED else "none"


def without_effect(settings: Mapping[str, Any]) -> set[str]:
    """Keys of `training` that say nothing beside what settings say of method, objective and optimizer."""
    method = method_in(settings)
    idle = SOME - KEYS.get(method, SOME)
    idle |= set() if settings.get("objective") == "dpo" else {"beta", "rpo_alpha"}
    idle |= set() if settings.get("optim") == "sgd" else {"momentum"}
    idle |= {"min_lr_ratio"} if settings.get("lr_scheduler_type") == "constant" else set()
    return idle | (set() if method in QUANTIZED else {"double_quantization"})


def _named(text: str) -> str:
    if not re.fullmatch(r"\w+(\.\w+)*", text):  # peft makes a regular expression of it
        raise ValueError("expected the end of a module's name: `q_proj`, `layers.0.mlp.up_proj`")
    return text


Named = Annotated[str, AfterValidator(_named)]


def _kept_by(text: str) -> str:
    if not re.fullmatch(r"loss|reward|schema_valid|whole_match|.+\.macro_f1", text):
        raise ValueError("expected `loss`, `reward`, `schema_valid`, `whole_match` or `FIELD.macro_f1`")
    return text


KeptBy = Annotated[str, AfterValidator(_kept_by)]


def _one_version(name: str) -> str:
    if "/" not in name:
        raise ValueError("expected NAME/VERSION: the latest of a name is another one after each run")
    return name


Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every generator of random numbers takes: numpy's of old takes no more."""


class Finite(Settings):
    """Settings whose numbers are numbers: neither infinite nor none."""

    model_config = ConfigDict(allow_inf_nan=False)


class ReftSettings(Finite):
    """How answers are reinforced."""

    algorithm: Literal["grpo", "rloo"] = Field(
        "grpo", description="What makes advantages of rewards, and a loss of these: GRPO or RLOO, as trl has them."
    )
    group_size: int = Field(8, ge=2, description="Answers that are drawn to each prompt, and compared.")
    epochs: int = Field(1, ge=1, description="How often each row is asked; `epochs` of `training` are the warm-up's.")
    max_new_tokens: int = Field(
        256,
        ge=1,
        description="The most tokens of an answer, its stop token among them; one that is cut off is not trained.",
    )
    temperature: float = Field(
        1.0,
        ge=0.01,
        description="That answers are drawn at; at less than 0.01 logits, divided by it, may be too large for numbers.",
    )
    beta: float = Field(
        0.05, ge=0, description="What the KL divergence from the model as it was before the first step counts for."
    )
    learning_rate: float = Field(1e-5, gt=0, description="At its highest; that of `training` is the warm-up's.")


class TrainingSettings(Finite):
    """How the adapter is trained."""

    method: Method = Field(
        "qlora",
        description="What is trained: all weights (`full`), those of the modules and layers named (`partial`), or an "
        "adapter (`lora`, `dora`, `ia3`; `qlora` and `qdora` on the base model's weights in NF4).",
    )
    objective: Literal["sft", "dpo", "reft"] = Field(
        "sft",
        description="What is lowered: the negative log-likelihood of the answers, or the loss of preferences "
        "(arXiv 2305.18290) over `pairs`; `reft` (arXiv 2401.08967): answers that are drawn are reinforced by what "
        "they are worth, after a warm-up by `sft`.",
    )
    reft: ReftSettings = ReftSettings()
    pairs: Annotated[str | None, BESIDE, ANYWHERE] = Field(
        None, description="File of pairs (.parquet or .jsonl) that `dpo` is trained on, as `assay pairs` writes it."
    )
    beta: float = Field(0.1, gt=0, description="How strongly `dpo` is tied to the reference model.")
    rpo_alpha: float | None = Field(
        None,
        gt=0,
        description="What the mean negative log-likelihood of the chosen answers counts for beside the loss of `dpo` "
        "(arXiv 2404.19733); by default nothing.",
    )
    start_from: Annotated[str, AfterValidator(_one_version)] | None = Field(
        None,
        description="Published adapter (NAME/VERSION) that is trained further, and is the reference of `dpo` and "
        "`reft`; by default a fresh one and the base model, of `reft` what the warm-up gives.",
    )
    rows: int | None = Field(
        None, ge=1, description="How many rows of the train split, or pairs, are trained on; by default all."
    )
    max_tokens: int = Field(1024, ge=8, description="Only rows of at most this many tokens are chosen.")
    epochs: int = Field(1, ge=1, description="How often each row is trained on.")
    batch_size: int = Field(8, ge=1, description="Rows, pairs, or answers that are drawn, that are computed at once.")
    gradient_accumulation_steps: int = Field(
        1, ge=1, description="Batches of one step: the loss is the mean over all their trained tokens."
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Activations are computed again in the backward pass instead of kept: less memory, more time.",
    )
    learning_rate: float = Field(
        1e-3,
        gt=0,
        description="At its highest; by default 1e-3 of LoRA and DoRA, 2e-2 of `ia3`, 2e-5 of `partial` and `full`; of "
        "`dpo` a tenth of that.",
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant", "wsd"] = Field(
        "linear",
        description="How it falls behind the warm-up: in a line, in half a cosine, not at all, or in a line over the "
        "last fifth of the steps (`wsd`: warm-up, stable, decay).",
    )
    min_lr_ratio: float = Field(0.0, ge=0, le=1, description="Share of it that it falls to.")
    warmup_ratio: float = Field(0.05, ge=0, lt=1, description="Share of the steps in which it rises.")
    weight_decay: float = Field(
        0.0, ge=0, description="Of the trained weights but biases and norms; decoupled as in AdamW, for sgd L2."
    )
    optim: Optim = Field(
        "adamw",
        description="What takes the steps: AdamW; the same with 8-bit moments, or with moments that a GPU's memory "
        "pages out (on a CPU they stay, and that is said); SGD; Sophia-G; Muon, and AdamW for what is no matrix.",
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Of `optim: sgd`.")
    max_grad_norm: float | None = Field(
        1.0, gt=0, description="The norm that gradients are clipped to; null: they are not."
    )
    rank: int = Field(16, ge=1, description="Of the adapter's matrices (LoRA's r).")
    alpha: int = Field(32, ge=1, description="What the adapter is scaled by, times its rank (LoRA's alpha).")
    dropout: float = Field(0.0, ge=0, lt=1, description="Of the adapter's inputs, while it is trained.")
    use_rslora: bool = Field(False, description="Scale by alpha over the root of the rank (rsLoRA), not over the rank.")
    loraplus_lr_ratio: float | None = Field(
        None, gt=0, description="How many times faster the adapter's second matrices learn (LoRA+): 16, say; null: not."
    )
    rank_pattern: dict[Named, Annotated[int, Field(ge=1)]] = Field(
        {}, description="Another rank for some modules, by the ends of their names."
    )
    alpha_pattern: dict[Named, Annotated[int, Field(ge=1)]] = Field(
        {}, description="Another alpha for some modules, by the ends of their names."
    )
    modules_to_save: list[Named] = Field(
        [],
        description="Modules whose own weights are trained beside the adapter and kept with it, by the ends of their "
        "names, at a tenth of `learning_rate`: `embed_tokens` and `lm_head`, where a chat template has tokens that the "
        "base model has not seen.",
    )
    neftune_noise_alpha: float | None = Field(
        None, gt=0, description="Noise on the embeddings while training (NEFTune's alpha, e.g. 5); by default none."
    )
    target_modules: Literal["all-linear"] | list[str] | None = Field(
        None,
        description="Modules that are trained or get an adapter, by the ends of their names (q_proj); by default those "
        "of the method: of LoRA and DoRA all linear layers but the head and the out_proj of Mamba's layers, which peft "
        "refuses; of (IA)^3 those that peft names for the architecture.",
    )
    layers_to_transform: list[Annotated[int, Field(ge=0)]] | None = Field(
        None, description="Numbers of the layers that are trained or get an adapter; by default all."
    )
    double_quantization: bool = Field(True, description="Quantise the constants of the quantisation too (nf4).")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto",
        description="What is computed in, on a CPU of 4-bit weights alone; auto: bfloat16 where the processor has it.",
    )
    use_liger_kernel: bool = Field(
        False, description="Liger's kernels for norms, rotary positions and feed-forward layers, on a GPU."
    )
    use_unsloth: bool = Field(False, description="Unsloth's model and kernels, on a GPU.")
    keep_best: KeptBy | None = Field(
        None,
        description="The checkpoint that is kept: of the least validation `loss`, or of the best `schema_valid`, "
        "`whole_match`, `FIELD.macro_f1` or, of `reft`, `reward` of answers generated to validation rows; by default "
        "the last.",
    )
    early_stopping_patience: int | None = Field(
        None,
        ge=1,
        description="Validations without a better one (by keep_best, else loss, of `reft` reward) at which training "
        "ends.",
    )
    eval_steps: int | None = Field(
        None, ge=1, description="Steps from one validation to the next; by default an epoch."
    )
    validation_rows: int = Field(
        VALIDATION_ROWS,
        ge=1,
        description="How many rows of the validation split are validated on, before training and at each validation.",
    )
    save_steps: int | None = Field(
        None,
        ge=1,
        description="Steps from one checkpoint to the next; by default at each validation and every five minutes, as "
        "far as that takes no more than 1% of the time.",
    )
    save_total_limit: int = Field(2, ge=1, description="The most checkpoints on disk at a time.")
    report_to: list[Literal["tensorboard", "trackio", "mlflow", "wandb"]] = Field(
        [], description="Trackers that are told each step, besides the adapter's own report."
    )
    seed: Seed = Field(0, description="Of the adapter's first weights, the order of the rows, dropout and noise.")

    @model_validator(mode="before")
    @classmethod
    def _quantization_says_the_method(cls, given: Any) -> Any:
        """`quantization: nf4 | none` of recipes from before there were methods."""
        if not isinstance(given, Mapping) or "quantization" not in given:
            return given
        said = given["quantization"]
        if said not in get_args(Quantization):
            raise ValueError(f"quantization: expected `nf4` or `none`, found {said!r}; `method` says it as well")
        method = given.get("method", "qlora" if said == "nf4" else "lora")
        if method in get_args(Method) and (method in QUANTIZED) != (said == "nf4"):
            raise ValueError(f"method {method} is not of quantization {said}: leave `quantization` out")
        return {key: value for key, value in given.items() if key != "quantization"} | {"method": method}

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_given(cls, given: Any) -> Any:
        """A key that is null is not given, so that a variant of a recipe can take it away."""
        if not isinstance(given, Mapping):
            return given
        null = SOME | PARTLY.keys() | {"learning_rate"}
        return {key: value for key, value in given.items() if not (value is None and key in null)}

    @model_validator(mode="after")
    def _suited(self) -> Self:
        """What is not given is what suits: the rate of the method, and the checkpoint that training is ended for."""
        if "learning_rate" not in self.model_fields_set:
            rate = USUAL_RATES.get(self.method, 1e-3)
            self.__dict__["learning_rate"] = rate / 10 if self.objective == "dpo" else rate
        if self.early_stopping_patience and self.keep_best is None:
            if self.objective == "dpo":
                raise ValueError(
                    "with `dpo` say what ends it, `keep_best`: the loss of answers may rise where they improve"
                )
            self.__dict__["keep_best"] = "reward" if self.objective == "reft" else "loss"
        return self

    @model_validator(mode="after")
    def _of_the_method(self) -> Self:
        for key in sorted(self.model_fields_set & without_effect(vars(self))):
            what = f"method {self.method} takes no `{key}`, which {takers(key)} do" if key in SOME else PARTLY[key]
            raise ValueError(f"{what}: leave it out, or in a variant say `{key}: null`")
        return self

    @model_serializer(mode="wrap")
    def _own_keys(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What has an effect: the rest is not told as though it had."""
        said: dict[str, Any] = dump(self)
        idle = without_effect(vars(self))
        return {key: value for key, value in said.items() if key not in idle}

    @model_validator(mode="after")
    def _pairs_are_for_preferences(self) -> "TrainingSettings":
        if (self.objective == "dpo") != (self.pairs is not None):
            raise ValueError(
                "`objective: dpo` and `pairs: FILE` go together; `assay pairs SCORECARD` writes such a file"
            )
        if self.objective != "sft" and (self.optim == "sophia" or self.neftune_noise_alpha is not None):
            raise ValueError("`optim: sophia` and `neftune_noise_alpha` are of `objective: sft`")
        return self

    @model_validator(mode="after")
    def _reinforced(self) -> Self:
        if self.objective != "reft":
            if self.reft != ReftSettings() or self.keep_best == "reward":
                raise ValueError("`reft` and `keep_best: reward` are of `objective: reft`")
            return self
        if self.use_unsloth:
            raise ValueError("`use_unsloth` is not of `objective: reft`: trl's reinforcement has a head of its own")
        if self.method in WHOLE and self.reft.beta:
            raise ValueError(
                f"method {self.method} takes `reft.beta: 0`: no second copy of all weights is held to be the reference"
            )
        if self.batch_size * self.gradient_accumulation_steps % self.reft.group_size:
            raise ValueError(
                f"the {self.batch_size * self.gradient_accumulation_steps} answers of a step (batch_size times "
                f"gradient_accumulation_steps) are no whole groups of {self.reft.group_size} (reft.group_size)"
            )
        return self

    @property
    def quantization(self) -> Quantization:
        """Of the base model's weights."""
        return quantization_of({"method": self.method})

    @property
    def warm_up(self) -> "TrainingSettings":
        """Of `reft`: the supervised training that comes before, which keeps its last step."""
        return self.model_copy(
            update={
                "objective": "sft",
                "reft": ReftSettings(),
                "keep_best": None,
                "early_stopping_patience": None,
                "eval_steps": None,
            }
        )

    def reinforcing(self, start: str | None) -> "TrainingSettings":
        """Of `reft`: what comes after, from an adapter (NAME/VERSION), with its own epochs and learning rate."""
        own = {"epochs": self.reft.epochs, "learning_rate": self.reft.learning_rate}
        return self.model_copy(update={"start_from": start} | own)

    def deciding(self) -> dict[str, Any]:
        """What the adapter depends on, JSON-like."""
        idle = WATCHED | PARENTS
        idle |= {"objective"} if self.objective == "sft" else set()
        idle |= set() if self.objective == "reft" else {"reft"}
        idle |= {"validation_rows"} if self.validation_rows == VALIDATION_ROWS else set()
        idle |= set() if self.modules_to_save else {"modules_to_save"}
        return self.model_dump(mode="json", exclude=idle)

    def telling_apart(self) -> dict[str, Any]:
        """What two runs on the same data are the same by: `deciding`, and their parents as the recipe names them."""
        return self.deciding() | self.model_dump(mode="json", include=PARENTS)


class TrainingRecipe(Recipe):
    """A recipe as far as training reads it."""

    training: TrainingSettings = TrainingSettings()
