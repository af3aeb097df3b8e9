"""Kernels of other packages that compute a model's layers faster on a GPU: Liger's (arXiv 2410.10989) and Unsloth's."""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from curate.errors import AssayError
from curate.reach import installed_by
from train.base_model import BaseModel
from train.dtypes import compute_dtype
from train.settings import TrainingSettings

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    Trained = PeftModel | PreTrainedModel


KERNELS = {"use_liger_kernel": ("liger-kernel",), "use_unsloth": ("unsloth", "unsloth_zoo")}
"""Packages whose kernels compute what is trained, by the key that asks for them; the first is the one to install."""


def require_accelerators(settings: TrainingSettings) -> None:
    """See to it that what the recipe asks for is there.

    Raises:
        AssayError: a package or the GPU is missing, or two keys are at odds.
    """
    without = "Leave the key out: the same is computed, by plain PyTorch."
    for key, (package, *_) in KERNELS.items():
        if not getattr(settings, key):
            continue
        missing = [f"{package} is not installed"] if find_spec(package.replace("-", "_")) is None else []
        if not torch.cuda.is_available():
            missing.append("there is no GPU that its kernels could run on")
        if missing:
            how = f" {installed_by(package)}" if len(missing) == 1 and "installed" in missing[0] else ""
            raise AssayError(f"training.{key}: {', and '.join(missing)}.", remedy=without + how)
    if settings.use_liger_kernel and settings.use_unsloth:
        raise AssayError(
            "training.use_liger_kernel, use_unsloth: both put kernels of their own in the place of the same layers.",
            remedy="Leave out one of the two.",
        )
    if settings.use_unsloth and settings.start_from is not None:
        raise AssayError("training.start_from: Unsloth begins with a fresh adapter.", remedy=without)
    if settings.use_unsloth and settings.method not in ("lora", "qlora"):
        raise AssayError(
            f"training.use_unsloth: its kernels are for lora and qlora, not for method {settings.method}.",
            remedy=without,
        )
    if settings.use_unsloth and settings.quantization == "nf4" and not settings.double_quantization:
        raise AssayError(
            "training.double_quantization: Unsloth always quantises the constants too.", remedy="Leave the key out."
        )


def unsloth_model(base: BaseModel, settings: TrainingSettings) -> Any:
    """`train.base_model.load_model`, by Unsloth."""
    from unsloth import FastLanguageModel

    model, _ = FastLanguageModel.from_pretrained(
        str(base.folder),
        max_seq_length=settings.max_tokens,
        dtype=compute_dtype(settings.dtype),
        load_in_4bit=settings.quantization == "nf4",
        device_map={"": 0},
        use_gradient_checkpointing=settings.gradient_checkpointing,
        trust_remote_code=False,
    )
    return model


def accelerated(model: "Trained", settings: TrainingSettings) -> "Trained":
    """A model with the kernels that the recipe asks for in the place of its layers.

    Raises:
        AssayError: Liger has none for this architecture.
    """
    if settings.use_unsloth:
        from unsloth import FastLanguageModel

        checkpointing = settings.gradient_checkpointing
        patched: PeftModel = FastLanguageModel.patch_peft_model(model, use_gradient_checkpointing=checkpointing)
        return patched
    if settings.use_liger_kernel:
        from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN as KNOWN
        from transformers.integrations.liger import apply_liger_kernel

        kind = model.config.model_type
        if kind not in KNOWN:  # it would be left as it is without a word
            raise AssayError(
                f"training.use_liger_kernel: liger-kernel has no kernels for models of the type {kind}.",
                remedy="Leave the key out: the same is computed, by plain PyTorch.",
            )
        # The loss stays ours: it takes logits, at the columns that are trained alone.
        apply_liger_kernel(model, {"fused_linear_cross_entropy": False, "cross_entropy": False})
    return model
