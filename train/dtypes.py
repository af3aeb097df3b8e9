"""What models compute in, by the machine."""

import logging
from typing import TYPE_CHECKING, Literal

from curate.errors import AssayError

if TYPE_CHECKING:
    import torch

# Where it is first imported bitsandbytes misses a package of kernels that nothing here needs, 4 bits or not.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

DType = Literal["auto", "bfloat16", "float16", "float32"]


def arithmetic() -> tuple[str, str]:
    """Where a loaded model computes, and in what: other answers may come of another."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu", str(compute_dtype())


def compute_dtype(dtype: DType = "auto") -> "torch.dtype":
    """What a GPU computes in, and a CPU multiplies 4-bit weights in; `auto` is bfloat16 where the processor has
    instructions for it, else float16 on a GPU and float32 on a CPU.

    Raises:
        AssayError: this machine does not compute in it.
    """
    import torch
    from bitsandbytes.functional import has_avx512bf16

    gpu = torch.cuda.is_available()
    if dtype == "auto":
        if torch.cuda.is_bf16_supported() if gpu else has_avx512bf16():
            return torch.bfloat16
        return torch.float16 if gpu else torch.float32
    if (dtype == "float16" and not gpu) or (dtype == "bfloat16" and gpu and not torch.cuda.is_bf16_supported()):
        raise AssayError(
            f"training.dtype: {'this GPU' if gpu else 'a CPU'} does not compute in {dtype}.",
            remedy="Leave the key out: what is computed in is then chosen by the processor.",
        )
    computing: torch.dtype = getattr(torch, dtype)
    return computing


def computed_in(dtype: DType) -> DType:
    """What stands in for a dtype that something was trained in: `auto` where this machine does not compute in it."""
    try:
        compute_dtype(dtype)
    except AssayError:
        return "auto"
    return dtype
